// Decides the rows that `assign` left in doubt, and adds them to their clusters' totals.
//
// Those that it left with the high bits of their values alone are looked at once more, a thread each, with all bits. Then a
// workgroup takes one row at a time, in exact integers: its threads share the clusters out, and the two nearest are found
// in a tree. A squared distance is below 2^79 (2^15 features, differences below 2^32) and held in three words.
//
// Bindings: shared/pass.wgsl. Rust twin: `two_nearest` in src/backend/scalar.rs, `Centroids::sq_dist`.

alias Centroid = vec4<f32>;

// Threads of a workgroup, a power of two.
override lanes: u32 = 64u;

// A cluster and its squared distance, as words from the highest to the lowest, the cluster last: in the order of these
// words, nearer clusters come first and ties go to the lower index.
alias Candidate = vec4<u32>;
const NOBODY: Candidate = vec4<u32>(0xffffffffu, 0xffffffffu, 0xffffffffu, NO_CLUSTER);

var<workgroup> n_doubtful: u32;
// Rows of a turn that floating point does not decide.
var<workgroup> n_open: atomic<u32>;
var<workgroup> n_exact: u32;
var<workgroup> open_rows: array<u32, lanes>;
var<workgroup> label_before: u32;
var<workgroup> nearest: array<Candidate, lanes>;
var<workgroup> second: array<Candidate, lanes>;

@compute @workgroup_size(lanes)
fn resolve(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if lane == 0u {
        n_doubtful = atomicLoad(&totals[params.list]);
    }
    let n = workgroupUniformLoad(&n_doubtful);
    var n_decided = 0u;
    if coarse {
        for (var first = group.x * lanes; first < n; first += params.resolve_groups * lanes) {
            if lane == 0u {
                atomicStore(&n_open, 0u);
            }
            workgroupBarrier();
            if first + lane < n {
                look_closer(doubtful[first + lane]);
            }
            workgroupBarrier();
            if lane == 0u {
                n_exact = atomicLoad(&n_open);
            }
            let n_rows = workgroupUniformLoad(&n_exact);
            for (var i = 0u; i < n_rows; i++) {
                decide_exactly(open_rows[i], lane);
            }
            n_decided += n_rows;
        }
    } else {
        for (var slot = group.x; slot < n; slot += params.resolve_groups) {
            decide_exactly(doubtful[slot], lane);
            n_decided++;
        }
    }
    if lane == 0u && n_decided > 0u {
        atomicAdd(&totals[params.list + 2u], n_decided);
    }
}

// Decides a row by all bits of its values, by one thread, or puts it down as open.
fn look_closer(row: u32) {
    let row_at = row_index(row);
    let in_fours = params.n_features - params.n_features % 4u;
    var sq_norm = 0.0;
    for (var feature = 0u; feature < in_fours; feature += 4u) {
        let x = four_values(row_at, feature);
        sq_norm = fma(x.w, x.w, fma(x.z, x.z, fma(x.y, x.y, fma(x.x, x.x, sq_norm))));
    }
    for (var feature = in_fours; feature < params.n_features; feature++) {
        let x = value(row_at, feature);
        sq_norm = fma(x, x, sq_norm);
    }
    var best = FAR;
    var next = FARTHER;
    var cluster = NO_CLUSTER;
    for (var quad = 0u; quad < (params.n_clusters + 3u) / 4u; quad++) {
        let at = quad * (params.n_features + 1u);
        var scores = centroids[at + params.n_features];
        for (var feature = 0u; feature < in_fours; feature += 4u) {
            let x = -four_values(row_at, feature);
            scores = fma(vec4<f32>(x.x), centroids[at + feature], scores);
            scores = fma(vec4<f32>(x.y), centroids[at + feature + 1u], scores);
            scores = fma(vec4<f32>(x.z), centroids[at + feature + 2u], scores);
            scores = fma(vec4<f32>(x.w), centroids[at + feature + 3u], scores);
        }
        for (var feature = in_fours; feature < params.n_features; feature++) {
            scores = fma(vec4<f32>(-value(row_at, feature)), centroids[at + feature], scores);
        }
        for (var i = 0u; i < 4u; i++) {
            cluster = select(cluster, 4u * quad + i, scores[i] < best);
            next = min(next, max(best, scores[i]));
            best = min(best, scores[i]);
        }
    }
    if !proves(vec4<f32>(best), vec4<f32>(next), vec4<f32>(sq_norm)).x {
        open_rows[atomicAdd(&n_open, 1u)] = row;
        return;
    }
    let before = relabelled(row, cluster + 1u);
    if before != cluster + 1u {
        add_total(0u, vec2<u32>(1u, 0u));
        add_row(row, before - 1u, true, 0u, 1u);
        add_row(row, cluster, false, 0u, 1u);
    }
}

// The grid value of the row that starts at `at`.
fn value(at: u32, feature: u32) -> f32 {
    return f32(value_of(natural_of(at, feature)));
}

// The same for the features `first .. first + 4`, of which the first is a multiple of 4.
fn four_values(at: u32, first: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(four_naturals(at, first)) - vec4<i32>(0x800000));
}

// Decides a row in integers, by all threads.
fn decide_exactly(row: u32, lane: u32) {
    search(row, lane);
    merge(lane);
    settle(row, lane);
    // The candidates are overwritten in the next turn.
    workgroupBarrier();
}

// The two nearest among every `lanes`-th cluster.
fn search(row: u32, lane: u32) {
    let row_at = row_index(row);
    var best = NOBODY;
    var next = NOBODY;
    for (var cluster = lane; cluster < params.n_clusters; cluster += lanes) {
        let candidate = vec4<u32>(sq_dist(row_at, cluster), cluster);
        if before(candidate, best) {
            next = best;
            best = candidate;
        } else if before(candidate, next) {
            next = candidate;
        }
    }
    nearest[lane] = best;
    second[lane] = next;
}

// The two nearest of all threads, in place 0.
fn merge(lane: u32) {
    for (var half = lanes / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            let a = nearest[lane];
            let b = nearest[lane + half];
            if before(a, b) {
                second[lane] = first_of(second[lane], b);
            } else {
                nearest[lane] = b;
                second[lane] = first_of(a, second[lane + half]);
            }
        }
    }
    workgroupBarrier();
}

// Writes the label and adds the row to its cluster.
fn settle(row: u32, lane: u32) {
    let cluster = nearest[0].w;
    if ranked {
        if lane == 0u {
            atomicStore(&labels[row], cluster + 1u);
            beside[row] = second[0].w + 1u;
        }
        return;
    }
    if lane == 0u {
        label_before = relabelled(row, cluster + 1u);
        if label_before != cluster + 1u {
            add_total(0u, vec2<u32>(1u, 0u));
        }
    }
    if moves {
        let before = workgroupUniformLoad(&label_before);
        if before == cluster + 1u {
            return;
        }
        add_row(row, before - 1u, true, lane, lanes);
    }
    add_row(row, cluster, false, lane, lanes);
}

// Adds every `step`-th column of the row to a cluster, or takes it away.
fn add_row(row: u32, cluster: u32, taken: bool, first_column: u32, step: u32) {
    let at = row_index(row);
    let weight = weight_of(row);
    let first = 1u + cluster * width();
    for (var column = first_column; column < width(); column += step) {
        var amount = vec2<u32>(1u, 0u);
        if column < params.n_features {
            amount = times(natural_of(at, column), weight);
        } else if column > params.n_features {
            amount = vec2<u32>(weight, 0u);
        }
        if taken {
            amount = negative(amount);
        }
        add_total(first + column, amount);
    }
}

// Writes a row's label; the one that it had, plus one. No other thread writes this row's bits.
fn relabelled(row: u32, label: u32) -> u32 {
    if !packed {
        return atomicExchange(&labels[row], label);
    }
    let bits = 8u * (row % 4u);
    let before = (atomicLoad(&labels[row / 4u]) >> bits) & 0xffu;
    atomicXor(&labels[row / 4u], (before ^ label) << bits);
    return before;
}

fn before(a: Candidate, b: Candidate) -> bool {
    if a.x != b.x {
        return a.x < b.x;
    }
    if a.y != b.y {
        return a.y < b.y;
    }
    if a.z != b.z {
        return a.z < b.z;
    }
    return a.w < b.w;
}

fn first_of(a: Candidate, b: Candidate) -> Candidate {
    if before(a, b) {
        return a;
    }
    return b;
}

// `Centroids::sq_dist` of the row that starts at `at`: words from the highest to the lowest.
fn sq_dist(at: u32, cluster: u32) -> vec3<u32> {
    let in_fours = params.n_features - params.n_features % 4u;
    var sum = vec3<u32>();
    for (var feature = 0u; feature < in_fours; feature += 4u) {
        let naturals = four_naturals(at, feature);
        for (var i = 0u; i < 4u; i++) {
            sum = plus3(sum, sq_difference(naturals[i], feature + i, cluster));
        }
    }
    for (var feature = in_fours; feature < params.n_features; feature++) {
        sum = plus3(sum, sq_difference(natural_of(at, feature), feature, cluster));
    }
    return sum.zyx;
}

// The square of the distance in one feature, low word first.
fn sq_difference(natural: u32, feature: u32, cluster: u32) -> vec3<u32> {
    let c = centroids_exact[cluster * params.n_features + feature];
    return vec3<u32>(square(distance_of(value_of(natural) * 256, c)), 0u);
}
