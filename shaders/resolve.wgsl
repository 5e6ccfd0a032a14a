// Decides the rows that `assign` left in doubt, in exact integers, and adds them to their clusters' totals.
//
// A workgroup takes one row at a time: its threads share the clusters out, then the two nearest are found in a tree.
// A squared distance is below 2^79 (2^15 features, differences below 2^32) and held in three words.
//
// Bindings: shared/pass.wgsl. Rust twin: `two_nearest` in src/backend/scalar.rs, `Centroids::sq_dist`.

// Threads of a workgroup, a power of two.
override lanes: u32 = 64u;

// A cluster and its squared distance, as words from the highest to the lowest, the cluster last: in the order of these
// words, nearer clusters come first and ties go to the lower index.
alias Candidate = vec4<u32>;
const NOBODY: Candidate = vec4<u32>(0xffffffffu, 0xffffffffu, 0xffffffffu, NO_CLUSTER);

var<workgroup> n_doubtful: u32;
var<workgroup> label_before: u32;
var<workgroup> nearest: array<Candidate, lanes>;
var<workgroup> second: array<Candidate, lanes>;

@compute @workgroup_size(lanes)
fn resolve(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if lane == 0u {
        n_doubtful = atomicLoad(&totals[params.list]);
    }
    let n = workgroupUniformLoad(&n_doubtful);
    for (var slot = group.x; slot < n; slot += params.resolve_groups) {
        let row = doubtful[slot];
        search(row, lane);
        merge(lane);
        settle(row, lane);
        // The candidates are overwritten in the next turn.
        workgroupBarrier();
    }
}

// The two nearest among every `lanes`-th cluster.
fn search(row: u32, lane: u32) {
    var best = NOBODY;
    var next = NOBODY;
    for (var cluster = lane; cluster < params.n_clusters; cluster += lanes) {
        let candidate = vec4<u32>(sq_dist(row, cluster), cluster);
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
            runners_up[row] = second[0].w + 1u;
        }
        return;
    }
    if kept && lane == 0u {
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
        add_row(row, before - 1u, true, lane);
    }
    add_row(row, cluster, false, lane);
}

// Adds the row to a cluster, or takes it away.
fn add_row(row: u32, cluster: u32, taken: bool, lane: u32) {
    let weight = weight_of(row);
    let first = 1u + cluster * width();
    for (var column = lane; column < width(); column += lanes) {
        var amount = vec2<u32>(1u, 0u);
        if column < params.n_features {
            amount = times(natural(value(row, column)), weight);
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

// `Centroids::sq_dist`: words from the highest to the lowest.
fn sq_dist(row: u32, cluster: u32) -> vec3<u32> {
    var sum = vec3<u32>();
    for (var feature = 0u; feature < params.n_features; feature++) {
        let x = i32(value(row, feature)) * 256;
        let c = centroids_exact[cluster * params.n_features + feature];
        sum = plus3(sum, vec3<u32>(square(distance_of(x, c)), 0u));
    }
    return sum.zyx;
}
