// Labels rows of many features and adds each to its cluster's totals.
//
// A workgroup takes a block of 64 rows at a time and keeps it in workgroup memory, where it fits: one read of each
// value. Threads stand in 16 columns of 16: those of a column hold the block's 16 quads of rows, each column scores its
// own quads of centroids. Per feature, 1 + COLUMN_QUADS vectors read give 16 COLUMN_QUADS multiply-adds. Centroids pass
// through workgroup memory in tiles of 16 columns and chunks of features. Rows too long for workgroup memory pass
// in the same chunks, once per tile of centroids, and once more for the sums.
//
// A template (src/backend/gpu/template.rs): `//@ for` repeats lines.
//
// Bindings: shared/pass.wgsl. Rust twin: src/backend/scalar.rs; proof: src/backend/certificate.rs.

const COLUMN_QUADS: u32 = 1u; // quads of centroids that a column scores at a time: 1 or 2

// Whether workgroup memory holds whole rows.
override whole_row: bool = true;
// Vectors of `block`: 16 for each feature of the row, or of a chunk.
override block_words: u32 = 512u;

// Columns of threads.
const COLUMNS: u32 = 16u;
// Features of centroids that are in workgroup memory at a time.
const CHUNK: u32 = 32u / COLUMN_QUADS;
// Quads of centroids in a tile.
const TILE_QUADS: u32 = COLUMNS * COLUMN_QUADS;

// Features x 16 quads of rows.
var<workgroup> block: array<vec4<f32>, block_words>;
// Features of a chunk x quads of a tile; when all tiles are done, two vectors of each thread's ranking.
var<workgroup> tile: array<vec4<f32>, CHUNK * TILE_QUADS>;
// The cluster of each row, or NO_CLUSTER where it is not to be added.
var<workgroup> assigned: array<u32, BLOCK>;

@compute @workgroup_size(threads)
fn assign(@builtin(local_invocation_index) lane: u32) {
    let n_rounds = (params.n_rows + BLOCK - 1u) / BLOCK;
    var round = take_rounds(lane);
    if round >= n_rounds {
        return;
    }
    clear_sums(lane);
    var moved = 0u;
    var unflushed = 0u;
    while round < n_rounds {
        let end = min(round + params.rounds, n_rounds);
        for (; round < end; round++) {
            if unflushed == rounds_per_flush {
                flush(lane);
                unflushed = 0u;
            }
            moved += assign_block(params.first_row + round * BLOCK, lane);
            unflushed++;
        }
        round = take_rounds(lane);
    }
    flush(lane);
    flush_moved(moved, lane);
}

// Decides and adds the rows of a block; how many changed their label, as far as this thread saw to them.
fn assign_block(row: u32, lane: u32) -> u32 {
    sq_norm = vec4<f32>();
    rank_nothing();
    if whole_row {
        load_block(row, 0u, params.n_features, lane);
        workgroupBarrier();
        square(params.n_features, lane);
    }
    let n_quads = (params.n_clusters + 3u) / 4u;
    for (var first = 0u; first < n_quads; first += TILE_QUADS) {
        rank_tile(first, row, lane);
    }
    merge_columns(lane);
    var moved = 0u;
    if lane < BLOCK_QUADS {
        moved = settle(row + 4u * lane, lane);
    }
    workgroupBarrier();
    if !ranked {
        accumulate(row, lane);
    }
    workgroupBarrier();
    return moved;
}

// Features `first .. first + n` of the block that starts with `row`.
fn load_block(row: u32, first: u32, n: u32, lane: u32) {
    let at = quad_index(row) + first * BLOCK_QUADS;
    for (var i = lane; i < n * BLOCK_QUADS; i += threads) {
        block[i] = tiles[at + i];
    }
}

// Adds to |x|^2 what this thread's column has to see to of the first `n` features in workgroup memory.
fn square(n: u32, lane: u32) {
    for (var j = lane / BLOCK_QUADS; j < n; j += COLUMNS) {
        let x = block[j * BLOCK_QUADS + lane % BLOCK_QUADS];
        sq_norm = fma(x, x, sq_norm);
    }
}

// Scores and ranks the quads of centroids `first .. first + TILE_QUADS`.
fn rank_tile(first: u32, row: u32, lane: u32) {
    let column = lane / BLOCK_QUADS;
    let quad = lane % BLOCK_QUADS;
    let stride = params.n_features + 1u;
    //@ for q in COLUMN_QUADS
    let half_norms$q = centroids[(first + $qu * COLUMNS + column) * stride + params.n_features];
    //@ for c in x y z w
    var score$q$c = vec4<f32>(half_norms$q.$c);
    //@ end
    //@ end
    for (var chunk = 0u; chunk < params.n_features; chunk += CHUNK) {
        let n = min(CHUNK, params.n_features - chunk);
        // What is there may still be in use.
        workgroupBarrier();
        load_tile(first, chunk, n, lane);
        if !whole_row {
            load_block(row, chunk, n, lane);
        }
        workgroupBarrier();
        if !whole_row && first == 0u {
            square(n, lane);
        }
        let at = select(0u, chunk * BLOCK_QUADS, whole_row) + quad;
        for (var j = 0u; j < n; j++) {
            let x = -block[at + j * BLOCK_QUADS];
            //@ for q in COLUMN_QUADS
            let c$q = tile[j * TILE_QUADS + $qu * COLUMNS + column];
            //@ for c in x y z w
            score$q$c = fma(x, vec4<f32>(c$q.$c), score$q$c);
            //@ end
            //@ end
        }
    }
    //@ for q in COLUMN_QUADS
    let cluster$q = 4u * (first + $qu * COLUMNS + column);
    rank(score$qx, cluster$q);
    rank(score$qy, cluster$q + 1u);
    rank(score$qz, cluster$q + 2u);
    rank(score$qw, cluster$q + 3u);
    //@ end
}

// Features `chunk .. chunk + n` of a tile of centroids, from the buffer, which is padded to whole tiles.
fn load_tile(first: u32, chunk: u32, n: u32, lane: u32) {
    for (var i = lane; i < CHUNK * TILE_QUADS; i += threads) {
        let quad = i / CHUNK;
        let j = i % CHUNK;
        if j < n {
            tile[j * TILE_QUADS + quad] = centroids[(first + quad) * (params.n_features + 1u) + chunk + j];
        }
    }
}

// Brings the rankings of all columns together in the threads of the first one.
fn merge_columns(lane: u32) {
    var all_best: vec4<f32>;
    var all_second: vec4<f32>;
    var all_third: vec4<f32>;
    var all_nearest: vec4<u32>;
    var all_runner_up: vec4<u32>;
    var all_sq_norm: vec4<f32>;
    // One row of each quad at a time: the rankings of all four do not fit.
    for (var i = 0u; i < 4u; i++) {
        workgroupBarrier();
        // Cluster numbers are below 2^24, and 0 here for none.
        tile[2u * lane] = vec4<f32>(best[i], second[i], third[i], sq_norm[i]);
        tile[2u * lane + 1u] = vec4<f32>(f32(nearest[i] + 1u), f32(runner_up[i] + 1u), 0.0, 0.0);
        workgroupBarrier();
        if lane < BLOCK_QUADS {
            var scores = tile[2u * lane];
            var clusters = tile[2u * lane + 1u].xy;
            for (var column = 1u; column < COLUMNS; column++) {
                let at = 2u * (column * BLOCK_QUADS + lane);
                let more = tile[at];
                let more_clusters = tile[at + 1u].xy;
                insert(&scores, &clusters, more.x, more_clusters.x);
                insert(&scores, &clusters, more.y, more_clusters.y);
                insert(&scores, &clusters, more.z, 0.0);
                scores.w += more.w;
            }
            all_best[i] = scores.x;
            all_second[i] = scores.y;
            all_third[i] = scores.z;
            all_sq_norm[i] = scores.w;
            all_nearest[i] = u32(clusters.x) - 1u;
            all_runner_up[i] = u32(clusters.y) - 1u;
        }
    }
    best = all_best;
    second = all_second;
    third = all_third;
    nearest = all_nearest;
    runner_up = all_runner_up;
    sq_norm = all_sq_norm;
}

// `rank` for one row: the three best scores and the clusters of two.
fn insert(scores: ptr<function, vec4<f32>>, clusters: ptr<function, vec2<f32>>, score: f32, cluster: f32) {
    let before = *scores;
    if score >= FAR {
        return; // no cluster
    }
    if score < before.x {
        *scores = vec4<f32>(score, before.xy, before.w);
        *clusters = vec2<f32>(cluster, (*clusters).x);
    } else if score < before.y {
        *scores = vec4<f32>(before.x, score, before.yw);
        *clusters = vec2<f32>((*clusters).x, cluster);
    } else if score < before.z {
        *scores = vec4<f32>(before.xy, score, before.w);
    }
}

// Decides a quad of the block; how many rows changed their label.
fn settle(row: u32, quad: u32) -> u32 {
    let decided = decide(row);
    let cluster = select(vec4<u32>(NO_CLUSTER), nearest, decided);
    for (var i = 0u; i < 4u; i++) {
        assigned[4u * quad + i] = cluster[i];
    }
    return relabel(row, decided);
}

// Adds the rows of the block: threads side by side take rows side by side.
fn accumulate(row: u32, lane: u32) {
    let offset = lane % BLOCK;
    let cluster = assigned[offset];
    if cluster == NO_CLUSTER {
        return;
    }
    let slot = lane & (replicas - 1u);
    let first = cluster * width();
    let weight = weight_of(row + offset);
    for (var j = lane / BLOCK; j < params.n_features; j += threads / BLOCK) {
        add(first + j, times(natural(value_of(row + offset, j)), weight), slot);
    }
    if lane < BLOCK {
        add_row(first, weight, slot);
    }
}

fn value_of(row: u32, feature: u32) -> f32 {
    if whole_row {
        return block[feature * BLOCK_QUADS + (row % BLOCK) / 4u][row % 4u];
    }
    return value(row, feature);
}
