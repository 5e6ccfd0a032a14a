// Labels every row with its nearest cluster where floating point proves it, and adds the row to that cluster's totals.
//
// One thread holds one row; centroids pass through workgroup memory in tiles. Rows whose label is not proven go to
// the list `doubtful`, which `resolve` works off. With `ranked`, nearest and second-nearest must both be proven, and
// nothing is added up.
//
// Bindings: shared/pass.wgsl. Rust twin: src/backend/scalar.rs; proof: src/backend/certificate.rs.

// The two lines below are the template: the host replaces the values (src/backend/gpu/shaders.rs), since arrays in
// registers cannot take their length from an override.
const FEATURE_VECS: u32 = 4u; // features held at a time, in vectors of 4
const CLUSTER_TILE: u32 = 8u; // centroids in workgroup memory at a time, a multiple of 4

// Rows that a workgroup takes at a time: its threads.
override workgroup_rows: u32 = 256u;
// Whether FEATURE_VECS hold the whole row, which is then read once.
override whole_row: bool = true;
// Sums that fit into workgroup memory, or 0: then they go straight to `totals`.
override local_entries: u32 = 0u;
// Words of `local`: two per sum, at least one.
override local_words: u32 = 1u;

// Scores where there is no cluster (yet): far above all real ones (below 2^65), and the second proven to be far above
// the first. Centroids that pad a tile score higher still, so they are never ranked.
const FAR: f32 = 1e30;
const FARTHER: f32 = 1e34;

// The nearest clusters so far by computed score; ties stay with the lower index.
struct Ranking {
    best: f32,
    second: f32,
    third: f32,
    nearest: u32,
    runner_up: u32,
}

alias Row = array<vec4<f32>, FEATURE_VECS>;

var<workgroup> tile: array<vec4<f32>, CLUSTER_TILE * FEATURE_VECS>;
var<workgroup> tile_half_norms: array<vec4<f32>, CLUSTER_TILE / 4u>;
// Low words, then high words, of this workgroup's share of the totals (without the rows moved).
var<workgroup> local: array<atomic<u32>, local_words>;
var<workgroup> local_moved: atomic<u32>;

@compute @workgroup_size(workgroup_rows)
fn assign(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    clear_local(lane);
    let first = group.x * params.rounds * workgroup_rows + lane;
    var moved = 0u;
    for (var round = 0u; round < params.rounds; round++) {
        let offset = first + round * workgroup_rows;
        moved += assign_row(params.first_row + offset, offset < params.n_rows, lane);
    }
    flush_local(lane, moved);
}

// Decides and adds one row; every thread of the workgroup comes here, those without a row with `present` false.
// 1 where the label changed.
fn assign_row(row: u32, present: bool, lane: u32) -> u32 {
    var x: Row;
    if whole_row {
        load_features(&x, row, 0u, present);
    }
    var sq_norm = 0.0;
    var ranking = Ranking(FAR, FARTHER, FARTHER, NO_CLUSTER, NO_CLUSTER);
    for (var first = 0u; first < params.n_clusters; first += CLUSTER_TILE) {
        rank_tile(&ranking, &x, &sq_norm, first, row, present, lane);
    }
    if !present {
        return 0u;
    }
    let certain = proves(ranking.best, ranking.second, sq_norm)
        && (!ranked || proves(ranking.second, ranking.third, sq_norm));
    if !certain {
        let slot = atomicAdd(&totals[params.list], 1u);
        doubtful[slot] = row;
        return 0u;
    }
    if ranked {
        labels[row] = ranking.nearest + 1u;
        runners_up[row] = ranking.runner_up + 1u;
        return 0u;
    }
    let before = labels[row];
    labels[row] = ranking.nearest + 1u;
    accumulate(&x, row, ranking.nearest);
    return select(0u, 1u, before != ranking.nearest + 1u);
}

// `certificate::proves`.
fn proves(lower: f32, upper: f32, sq_norm: f32) -> bool {
    return upper - lower > params.factor * (3.0 * (lower + upper) + 8.0 * sq_norm);
}

// Scores the clusters `first .. first + CLUSTER_TILE` for one row and ranks them; the first tile gives |x|^2 too.
fn rank_tile(
    ranking: ptr<function, Ranking>,
    x: ptr<function, Row>,
    sq_norm: ptr<function, f32>,
    first: u32,
    row: u32,
    present: bool,
    lane: u32,
) {
    let n_vecs = (params.n_features + 3u) / 4u;
    var scores: array<f32, CLUSTER_TILE>;
    for (var first_vec = 0u; first_vec < n_vecs; first_vec += FEATURE_VECS) {
        // The tile before this one may still be in use.
        workgroupBarrier();
        load_tile(first, first_vec, n_vecs, lane);
        if !whole_row {
            load_features(x, row, first_vec, present);
        }
        workgroupBarrier();
        if first_vec == 0u {
            for (var c = 0u; c < CLUSTER_TILE; c++) {
                scores[c] = tile_half_norms[c / 4u][c % 4u];
            }
        }
        if first == 0u {
            *sq_norm += square(x);
        }
        for (var c = 0u; c < CLUSTER_TILE; c++) {
            scores[c] = score(scores[c], x, c);
        }
    }
    for (var c = 0u; c < CLUSTER_TILE; c++) {
        rank(ranking, scores[c], first + c);
    }
}

// `start` minus the scalar product of the features held with centroid `c` of the tile.
fn score(start: f32, x: ptr<function, Row>, c: u32) -> f32 {
    var sum = start;
    for (var v = 0u; v < FEATURE_VECS; v++) {
        let a = -(*x)[v];
        let b = tile[c * FEATURE_VECS + v];
        sum = fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
    }
    return sum;
}

// The sum of squares of the features held.
fn square(x: ptr<function, Row>) -> f32 {
    var sum = 0.0;
    for (var v = 0u; v < FEATURE_VECS; v++) {
        let a = (*x)[v];
        sum = fma(a.w, a.w, fma(a.z, a.z, fma(a.y, a.y, fma(a.x, a.x, sum))));
    }
    return sum;
}

fn rank(ranking: ptr<function, Ranking>, score: f32, cluster: u32) {
    if score < (*ranking).best {
        (*ranking).third = (*ranking).second;
        (*ranking).second = (*ranking).best;
        (*ranking).runner_up = (*ranking).nearest;
        (*ranking).best = score;
        (*ranking).nearest = cluster;
    } else if score < (*ranking).second {
        (*ranking).third = (*ranking).second;
        (*ranking).second = score;
        (*ranking).runner_up = cluster;
    } else if score < (*ranking).third {
        (*ranking).third = score;
    }
}

// Features `4 first_vec ..` of a row; zeros past the last feature and for threads without a row.
fn load_features(x: ptr<function, Row>, row: u32, first_vec: u32, present: bool) {
    for (var v = 0u; v < FEATURE_VECS; v++) {
        let feature = 4u * (first_vec + v);
        (*x)[v] = vec4<f32>(
            load_feature(row, feature, present),
            load_feature(row, feature + 1u, present),
            load_feature(row, feature + 2u, present),
            load_feature(row, feature + 3u, present),
        );
    }
}

fn load_feature(row: u32, feature: u32, present: bool) -> f32 {
    if present && feature < params.n_features {
        return tiles[tile_index(row, feature)];
    }
    return 0.0;
}

// Vectors `first_vec .. first_vec + FEATURE_VECS` of the clusters `first .. first + CLUSTER_TILE` (the buffer is padded
// to whole tiles of clusters), and their half norms.
fn load_tile(first: u32, first_vec: u32, n_vecs: u32, lane: u32) {
    for (var i = lane; i < CLUSTER_TILE * FEATURE_VECS; i += workgroup_rows) {
        let v = first_vec + i % FEATURE_VECS;
        var value = vec4<f32>();
        if v < n_vecs {
            value = centroids[(first + i / FEATURE_VECS) * n_vecs + v];
        }
        tile[i] = value;
    }
    let n_padded = (params.n_clusters + CLUSTER_TILE - 1u) / CLUSTER_TILE * CLUSTER_TILE;
    if lane < CLUSTER_TILE / 4u {
        tile_half_norms[lane] = centroids[n_padded * n_vecs + first / 4u + lane];
    }
}

// Adds one row to a cluster.
fn accumulate(x: ptr<function, Row>, row: u32, cluster: u32) {
    let weight = weight_of(row);
    let first = cluster * width();
    if whole_row {
        for (var v = 0u; v < FEATURE_VECS; v++) {
            for (var i = 0u; i < 4u; i++) {
                if 4u * v + i < params.n_features {
                    add(first + 4u * v + i, shifted((*x)[v][i], weight));
                }
            }
        }
    } else {
        for (var feature = 0u; feature < params.n_features; feature++) {
            add(first + feature, shifted(tiles[tile_index(row, feature)], weight));
        }
    }
    add(first + params.n_features, vec2<u32>(1u, 0u));
    if weighted {
        add(first + params.n_features + 1u, vec2<u32>(weight, 0u));
    }
}

// Adds to column `entry` of the clusters, in workgroup memory where the columns fit.
fn add(entry: u32, amount: vec2<u32>) {
    if local_entries == 0u {
        add_total(entry + 1u, amount);
        return;
    }
    let low = atomicAdd(&local[entry], amount.x);
    let carried = amount.y + select(0u, 1u, amount.x > 0xffffffffu - low);
    if carried != 0u {
        atomicAdd(&local[local_entries + entry], carried);
    }
}

fn clear_local(lane: u32) {
    for (var i = lane; i < local_words; i += workgroup_rows) {
        atomicStore(&local[i], 0u);
    }
    if lane == 0u {
        atomicStore(&local_moved, 0u);
    }
    workgroupBarrier();
}

// Adds this workgroup's share to the totals.
fn flush_local(lane: u32, moved: u32) {
    if moved != 0u {
        atomicAdd(&local_moved, moved);
    }
    workgroupBarrier();
    if lane == 0u {
        add_total(0u, vec2<u32>(atomicLoad(&local_moved), 0u));
    }
    if ranked || local_entries == 0u {
        return;
    }
    for (var entry = lane; entry < params.n_clusters * width(); entry += workgroup_rows) {
        let amount = vec2<u32>(atomicLoad(&local[entry]), atomicLoad(&local[local_entries + entry]));
        if (amount.x | amount.y) != 0u {
            add_total(entry + 1u, amount);
        }
    }
}
