// Labels rows of few features and adds each to its cluster's totals, all from registers: one read of each value.
//
// A thread holds a quad of rows whole, one register vector per feature, and scores it against quads of centroids from
// workgroup memory: 16 multiply-adds for one vector that is read there. Rows whose label floating point does not prove
// go to the list `doubtful`, which `resolve` works off. Sums that fit are added up in workgroup memory
// (shared/rows.wgsl), the others go straight to `totals`.
//
// A template (src/backend/gpu/template.rs): `//@ for` repeats lines, so that each feature's rows have a name, and are
// registers under every driver; loops over arrays of registers are not sure to be. PAIRS are the features that share a word:
// its number, that of the word with their low bits, and theirs. LONE is the last of an odd number of features, if there is
// one: the number of its word, and its own.
//
// Bindings: shared/pass.wgsl. Rust twin: src/backend/scalar.rs; proof: src/backend/certificate.rs.

alias Centroid = vec4<f32>;

const FEATURES: u32 = 4u; // features of a row
const TILE_QUADS: u32 = 2u; // quads of centroids in workgroup memory at a time
const LOW_WORDS: u32 = 1u; // words of a row with low bits

// Words of a row with high bits.
const PAIR_WORDS: u32 = (FEATURES + 1u) / 2u;

// Whether all centroids are in workgroup memory at once, and loaded once.
override resident: bool = true;

var<workgroup> tile: array<vec4<f32>, TILE_QUADS * (FEATURES + 1u)>;

// The rows of the thread's quad.
//@ for j in FEATURES
var<private> x$j: vec4<f32>;
//@ end

@compute @workgroup_size(threads)
fn assign(@builtin(local_invocation_index) lane: u32) {
    let n_rounds = (params.n_rows + 4u * threads - 1u) / (4u * threads);
    var round = take_rounds(lane);
    if round >= n_rounds {
        return;
    }
    begin();
    clear_sums(lane);
    if resident {
        load_tile(0u, lane);
        workgroupBarrier();
    }
    var moved = 0u;
    var unflushed = 0u;
    for (var takes = 1u; round < n_rounds; takes++) {
        let end = min(round + params.rounds, n_rounds);
        for (; round < end; round++) {
            if unflushed == rounds_per_flush {
                flush(lane);
                unflushed = 0u;
            }
            moved += assign_quad(params.first_row + 4u * (round * threads + lane), lane);
            unflushed++;
        }
        if takes == params.max_takes {
            break;
        }
        round = take_rounds(lane);
    }
    flush(lane);
    flush_moved(moved, lane);
}

// Decides and adds a quad of rows; how many changed their label. Every thread of the workgroup comes here.
fn assign_quad(row: u32, lane: u32) -> u32 {
    // Where tiles of centroids pass by, all threads wait for one another.
    if moves && resident && is_settled(row) {
        pass_over(row);
        return 0u;
    }
    load_quad(row);
    rank_nothing();
    let n_quads = (params.n_clusters + 3u) / 4u;
    if resident {
        for (var quad = 0u; quad < n_quads; quad++) {
            score(quad, 4u * quad);
        }
    } else {
        for (var first = 0u; first < n_quads; first += TILE_QUADS) {
            // The tile before this one may still be in use.
            workgroupBarrier();
            load_tile(first, lane);
            workgroupBarrier();
            for (var quad = 0u; quad < min(TILE_QUADS, n_quads - first); quad++) {
                score(quad, 4u * (first + quad));
            }
        }
    }
    rank_group();
    let decided = decide(row);
    settle_until(row);
    if !ranked && !moves {
        accumulate(row, decided, lane);
    }
    let moved = relabel(row, decided);
    if moves && any(moved) {
        move_rows(row, moved, lane);
    }
    return count(moved);
}

// Zeros where there are no rows.
fn load_quad(row: u32) {
    sq_norm = vec4<f32>();
    if row < params.first_row + params.n_rows {
        let at = quad_index(row);
        //@ for q in LOW_WORDS
        let low$q = low_words(at + (PAIR_WORDS + $qu) * BLOCK_QUADS);
        //@ end
        //@ for p q j k in PAIRS
        let pair$p = tiles[at + $pu * BLOCK_QUADS];
        x$j = lower_values(pair$p, low$q, $ju % 4u);
        x$k = upper_values(pair$p, low$q, $ku % 4u);
        //@ end
        //@ for p j in LONE
        x$j = lone_values(tiles[at + $pu * BLOCK_QUADS]);
        //@ end
    }
    //@ for j in FEATURES
    sq_norm = fma(x$j, x$j, sq_norm);
    //@ end
}

// Ranks the four centroids of a quad of the tile, which are the clusters `cluster ..`.
fn score(quad: u32, cluster: u32) {
    let at = quad * (FEATURES + 1u);
    let half_norms = tile[at + FEATURES];
    var score0 = vec4<f32>(half_norms.x);
    var score1 = vec4<f32>(half_norms.y);
    var score2 = vec4<f32>(half_norms.z);
    var score3 = vec4<f32>(half_norms.w);
    //@ for j in FEATURES
    let c$j = tile[at + $ju];
    score0 = fma(-x$j, vec4<f32>(c$j.x), score0);
    score1 = fma(-x$j, vec4<f32>(c$j.y), score1);
    score2 = fma(-x$j, vec4<f32>(c$j.z), score2);
    score3 = fma(-x$j, vec4<f32>(c$j.w), score3);
    //@ end
    rank_four(score0, score1, score2, score3, cluster);
}

// The quads of centroids `first ..`, as they stand in the buffer, which is padded to whole tiles.
fn load_tile(first: u32, lane: u32) {
    for (var i = lane; i < TILE_QUADS * (FEATURES + 1u); i += threads) {
        tile[i] = centroids[first * (FEATURES + 1u) + i];
    }
}

fn accumulate(row: u32, decided: vec4<bool>, lane: u32) {
    let slot = lane & (replicas - 1u);
    //@ for i in x y z w
    if decided.$i {
        let first = nearest.$i * width();
        let weight = weight_of(row + ROW_$i);
        //@ for j in FEATURES
        add(first + $ju, times(natural(x$j.$i), weight), slot);
        //@ end
        add_row(first, weight, slot);
    }
    //@ end
}

const ROW_x: u32 = 0u;
const ROW_y: u32 = 1u;
const ROW_z: u32 = 2u;
const ROW_w: u32 = 3u;

// Adds the rows of a quad that moved, and takes them from where they were. They are few, and read again.
fn move_rows(row: u32, moved: vec4<bool>, lane: u32) {
    let slot = lane & (replicas - 1u);
    for (var i = 0u; i < 4u; i++) {
        if moved[i] {
            let first = nearest[i] * width();
            let first_before = (label_before[i] - 1u) * width();
            let weight = weight_of(row + i);
            let at = row_index(row + i);
            let in_fours = params.n_features - params.n_features % 4u;
            for (var j = 0u; j < in_fours; j += 4u) {
                let naturals = four_naturals(at, j);
                //@ for c in 0 1 2 3
                move_value(j + $cu, naturals[$c], first, first_before, weight, slot);
                //@ end
            }
            for (var j = in_fours; j < params.n_features; j++) {
                move_value(j, natural_of(at, j), first, first_before, weight, slot);
            }
            add_row(first, weight, slot);
            take_row(first_before, weight, slot);
        }
    }
}

fn move_value(feature: u32, natural: u32, first: u32, first_before: u32, weight: u32, slot: u32) {
    let amount = times(natural, weight);
    add(first + feature, amount, slot);
    take(first_before + feature, amount, slot);
}
