// Labels rows of many features and adds each to its cluster's totals.
//
// A workgroup keeps a block of rows (shared/blocks.wgsl) in workgroup memory, where it fits: one read of each value. Each
// column of threads scores its own quads of centroids; where clusters are few, SLICES columns share a quad of centroids,
// each for a share of the features, and add up. Per feature, 1 + COLUMN_QUADS vectors read give 16 COLUMN_QUADS
// multiply-adds. Centroids pass through workgroup memory in tiles of all columns and chunks of features. Rows too long for
// workgroup memory pass in the same chunks, once per tile of centroids, and once more for the sums.
//
// A template (src/backend/gpu/template.rs): `//@ for` repeats lines.
//
// Bindings: shared/pass.wgsl. Rust twin: src/backend/scalar.rs; proof: src/backend/certificate.rs.

alias Centroid = vec4<f32>;

const ROW_QUADS: u32 = 16u; // quads of rows in a block, a power of two up to 16
const COLUMN_QUADS: u32 = 1u; // quads of centroids that a column scores at a time: 1 or 2
const SLICES: u32 = 1u; // columns that share a quad of centroids, a power of two; 1 unless COLUMN_QUADS is 1
const CHUNK: u32 = 32u; // features of centroids that are in workgroup memory at a time

// Whether workgroup memory holds whole rows.
override whole_row: bool = true;
// Vectors of `block`: ROW_QUADS for each feature of the row, or of a chunk.
override block_words: u32 = 512u;

// Rows of a block.
const ROWS: u32 = 4u * ROW_QUADS;
// Columns of threads: 256 threads stand in them.
const COLUMNS: u32 = 256u / ROW_QUADS;
// Columns with centroids of their own, and quads of centroids in a tile.
const CENTROID_COLUMNS: u32 = COLUMNS / SLICES;
const TILE_QUADS: u32 = CENTROID_COLUMNS * COLUMN_QUADS;
// Vectors of `tile`: a chunk of a tile takes as many or less.
const TILE_WORDS: u32 = 512u;

// Features x quads of rows.
var<workgroup> block: array<vec4<f32>, block_words>;
// Features of a chunk x quads of a tile; or four vectors each of half the threads, for the other half.
var<workgroup> tile: array<vec4<f32>, TILE_WORDS>;

@compute @workgroup_size(threads)
fn assign(@builtin(local_invocation_index) lane: u32) {
    assign_blocks(lane);
}

// Loads and ranks the rows of a block.
fn rank_block(row: u32, lane: u32) {
    if whole_row {
        load_block(row, 0u, params.n_features, lane);
        workgroupBarrier();
        square(params.n_features, lane);
    }
    let n_quads = (params.n_clusters + 3u) / 4u;
    for (var first = 0u; first < n_quads; first += TILE_QUADS) {
        rank_tile(first, row, lane);
    }
    rank_group();
    merge_columns(lane);
}

fn lend(at: u32, part: u32, words: vec4<f32>) {
    tile[at + part * TILE_WORDS / 4u] = words;
}

fn lent(at: u32, part: u32) -> vec4<f32> {
    return tile[at + part * TILE_WORDS / 4u];
}

// Features `first .. first + n` of the block that starts with `row`: columns take four at a time, and one of them the rest.
// `first` is a multiple of 4, and so is `n` but at the end of the row.
fn load_block(row: u32, first: u32, n: u32, lane: u32) {
    let column = lane / ROW_QUADS;
    let quad = lane % ROW_QUADS;
    let pairs = quad_index(row) + quad + (first / 2u) * BLOCK_QUADS;
    let lows = quad_index(row) + quad + (pair_words() + first / 4u) * BLOCK_QUADS;
    let fours = n / 4u;
    for (var four = column; four < fours; four += COLUMNS) {
        let pair = tiles[pairs + 2u * four * BLOCK_QUADS];
        let next = tiles[pairs + (2u * four + 1u) * BLOCK_QUADS];
        let low = low_words(lows + four * BLOCK_QUADS);
        let to = 4u * four * ROW_QUADS + quad;
        block[to] = lower_values(pair, low, 0u);
        block[to + ROW_QUADS] = upper_values(pair, low, 1u);
        block[to + 2u * ROW_QUADS] = lower_values(next, low, 2u);
        block[to + 3u * ROW_QUADS] = upper_values(next, low, 3u);
    }
    if n % 4u != 0u && column == fours % COLUMNS {
        let to = 4u * fours * ROW_QUADS + quad;
        load_rest(pairs + 2u * fours * BLOCK_QUADS, lows + fours * BLOCK_QUADS, n % 4u, to);
    }
}

// The last one to three features of a quad's rows, whose words stand at `pairs` and `low`.
fn load_rest(pairs: u32, low: u32, n: u32, to: u32) {
    var at = to;
    if n != 1u {
        let pair = tiles[pairs];
        let bits = low_words(low);
        block[at] = lower_values(pair, bits, 0u);
        block[at + ROW_QUADS] = upper_values(pair, bits, 1u);
        at += 2u * ROW_QUADS;
    }
    if n != 2u {
        block[at] = lone_values(tiles[pairs + (n / 2u) * BLOCK_QUADS]);
    }
}

// Adds to |x|^2 what this thread's column has to see to of the first `n` features in workgroup memory.
fn square(n: u32, lane: u32) {
    for (var j = lane / ROW_QUADS; j < n; j += COLUMNS) {
        let x = block[j * ROW_QUADS + lane % ROW_QUADS];
        sq_norm = fma(x, x, sq_norm);
    }
}

// Scores and ranks the quads of centroids `first .. first + TILE_QUADS`.
fn rank_tile(first: u32, row: u32, lane: u32) {
    let column = lane / ROW_QUADS / SLICES;
    let slice = (lane / ROW_QUADS) % SLICES;
    let quad = lane % ROW_QUADS;
    let stride = params.n_features + 1u;
    //@ for q in COLUMN_QUADS
    var half_norms$q = vec4<f32>();
    if slice == 0u {
        half_norms$q = centroids[(first + $qu * CENTROID_COLUMNS + column) * stride + params.n_features];
    }
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
        let at = select(0u, chunk * ROW_QUADS, whole_row) + quad;
        // By fours, since not every compiler unrolls a loop whose end it does not know.
        var j = slice;
        for (; j + 3u * SLICES < n; j += 4u * SLICES) {
            //@ for u in 0 1 2 3
            let x$u = -block[at + (j + $uu * SLICES) * ROW_QUADS];
            //@ for q in COLUMN_QUADS
            let c$q_$u = tile[(j + $uu * SLICES) * TILE_QUADS + $qu * CENTROID_COLUMNS + column];
            //@ for c in x y z w
            score$q$c = fma(x$u, vec4<f32>(c$q_$u.$c), score$q$c);
            //@ end
            //@ end
            //@ end
        }
        for (; j < n; j += SLICES) {
            let x = -block[at + j * ROW_QUADS];
            //@ for q in COLUMN_QUADS
            let c$q = tile[j * TILE_QUADS + $qu * CENTROID_COLUMNS + column];
            //@ for c in x y z w
            score$q$c = fma(x, vec4<f32>(c$q.$c), score$q$c);
            //@ end
            //@ end
        }
    }
    // The shares of all slices, halved and halved again.
    for (var half = SLICES / 2u; half > 0u; half /= 2u) {
        // Columns of the first half, and where the shares of the thread that adds them stand.
        let at = (column * half + slice % half) * ROW_QUADS + quad;
        workgroupBarrier();
        if slice >= half && slice < 2u * half {
            tile[at] = score0x;
            tile[at + TILE_WORDS / 4u] = score0y;
            tile[at + TILE_WORDS / 2u] = score0z;
            tile[at + 3u * TILE_WORDS / 4u] = score0w;
        }
        workgroupBarrier();
        if slice < half {
            score0x += tile[at];
            score0y += tile[at + TILE_WORDS / 4u];
            score0z += tile[at + TILE_WORDS / 2u];
            score0w += tile[at + 3u * TILE_WORDS / 4u];
        }
    }
    if slice == 0u {
        //@ for q in COLUMN_QUADS
        rank_four(score$qx, score$qy, score$qz, score$qw, 4u * (first + $qu * CENTROID_COLUMNS + column));
        //@ end
    }
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

fn number_of(row: u32, feature: u32) -> u32 {
    if whole_row && !coarse {
        return natural(block[feature * ROW_QUADS + (row % ROWS) / 4u][row % 4u]);
    }
    return natural_of(row_index(row), feature);
}
