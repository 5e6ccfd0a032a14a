// Between two passes: `update` moves the centroids to the means of their rows, in integers as the host does it;
// `decide` ends the run where nothing is left to do. Both write down what the host has to hear of the iteration.
//
// A run that has ended stays as it is: its later dispatches have no workgroups, or return at once.
//
// Bindings: here. Rust twin: src/backend/gpu/layout.rs (`LoopParams`, `LOOP_BINDINGS`, `HistoryLayout`, `DigitsLayout`);
// `ClusterPartial::centroids`, `Centroids::half_sq_norms_f32`, `lloyd::judge`.

struct LoopParams {
    n_features: u32,
    n_clusters: u32,
    width: u32, // columns of totals per cluster
    first_total: u32, // word of `totals` where the sums start
    groups: u32, // workgroups of `update`
    arg_words: u32, // words of `dispatch_args`
    slot_words: u32, // words of an iteration in `history`
    limited: u32, // whether there is a limit
    limit_low: u32, // the largest shift at which the centroids rest
    limit_mid: u32,
    limit_high: u32,
    digits: u32, // word of `centroids` where digits start
    steps: u32, // matrices that the digits of a row fill; 0 where there are none
    side: u32, // rows and columns of a matrix
}

// Why a run ended.
const EMPTY_CLUSTER: u32 = 1u;
const CONVERGED: u32 = 2u;
const RESTS: u32 = 3u;

// Words of `control`.
const END: u32 = 0u; // why the run ended, or 0
const N_DONE: u32 = 1u; // iterations done
const SHIFT_WORDS: u32 = 2u; // three: the squared shift of all centroids
const CHANGED: u32 = 5u; // whether any centroid moved
const EMPTY: u32 = 6u; // whether any cluster has no weight
const LARGEST: u32 = 7u; // the largest squared shift of one centroid, as a float

// IN   loop_params
@group(0) @binding(0) var<uniform> loop_params: LoopParams;
// IN, OUT  totals: as in shared/pass.wgsl; the sums of the clusters stay, the drift grows, the rest is cleared
@group(0) @binding(1) var<storage, read_write> totals: array<u32>;
// OUT  centroids: as in shared/pass.wgsl, by single words
@group(0) @binding(2) var<storage, read_write> centroids: array<u32>;
// IN, OUT  centroids_exact: as in shared/pass.wgsl
@group(0) @binding(3) var<storage, read_write> centroids_exact: array<i32>;
// OUT  history: per iteration, the centroids that the pass had, and its totals
@group(0) @binding(4) var<storage, read_write> history: array<u32>;
// IN, OUT  control: 8 words
@group(0) @binding(5) var<storage, read_write> control: array<atomic<u32>>;
// OUT  dispatch_args: workgroups of every dispatch of a pass, 3 words each; none where the run has ended
@group(0) @binding(6) var<storage, read_write> dispatch_args: array<u32>;

// Threads of a workgroup, a power of two.
override lanes: u32 = 64u;

var<workgroup> norms: array<vec3<u32>, lanes>;
var<workgroup> shifts: array<vec3<u32>, lanes>;
var<workgroup> ended: u32;

// Whether the run has ended before this dispatch; the same for all threads.
fn has_ended(lane: u32) -> bool {
    if lane == 0u {
        ended = atomicLoad(&control[END]);
    }
    return workgroupUniformLoad(&ended) != 0u;
}

// First word of this iteration in `history`.
fn slot() -> u32 {
    return atomicLoad(&control[N_DONE]) * loop_params.slot_words;
}

@compute @workgroup_size(lanes)
fn update(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if has_ended(lane) {
        return;
    }
    for (var cluster = group.x; cluster < loop_params.n_clusters; cluster += loop_params.groups) {
        update_cluster(cluster, lane);
    }
}

// Moves one centroid, by all threads of a workgroup.
fn update_cluster(cluster: u32, lane: u32) {
    let d = loop_params.n_features;
    // The weight stands in the last column: without weights, that of the rows.
    let weight = total((cluster + 1u) * loop_params.width - 1u).xy;
    var norm = vec3<u32>();
    var shift = vec3<u32>();
    for (var j = lane; j < loop_params.width; j += lanes) {
        let sum = note_total(cluster * loop_params.width + j);
        if j < d {
            let before = centroids_exact[cluster * d + j];
            var after = before;
            if (weight.x | weight.y) != 0u {
                after = mean(sum, weight);
            }
            history[slot() + cluster * d + j] = bitcast<u32>(before);
            centroids_exact[cluster * d + j] = after;
            centroids[((cluster / 4u) * (d + 1u) + j) * 4u + cluster % 4u] = bitcast<u32>(f32(after) * (1.0 / 256.0));
            norm = plus3(norm, vec3<u32>(square(distance_of(after, 0)), 0u));
            shift = plus3(shift, vec3<u32>(square(distance_of(after, before)), 0u));
        }
    }
    add_up(norm, shift, lane);
    if lane == 0u {
        // Half the squared norm, from units of 1/256 squared.
        let half_norm = to_f32(norms[0]) * (1.0 / 131072.0);
        centroids[((cluster / 4u) * (d + 1u) + d) * 4u + cluster % 4u] = bitcast<u32>(half_norm);
        note(shifts[0], weight);
    }
    // The sums are overwritten.
    workgroupBarrier();
    if loop_params.steps > 0u {
        split(cluster, lane);
    }
}

// The sums of all threads' numbers, in place 0.
fn add_up(norm: vec3<u32>, shift: vec3<u32>, lane: u32) {
    norms[lane] = norm;
    shifts[lane] = shift;
    for (var half = lanes / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            norms[lane] = plus3(norms[lane], norms[lane + half]);
            shifts[lane] = plus3(shifts[lane], shifts[lane + half]);
        }
    }
}

// Writes down the digits of a centroid that has moved, and half the squared norm of what they say: see matrix.wgsl.
fn split(cluster: u32, lane: u32) {
    let d = loop_params.n_features;
    let side = loop_params.side;
    // Other threads have written what is read.
    storageBarrier();
    var norm = vec3<u32>();
    for (var pair = lane; pair < (d + 1u) / 2u; pair += lanes) {
        var high = 0u;
        var low = 0u;
        for (var i = 0u; i < min(2u, d - 2u * pair); i++) {
            let bits = centroids_exact[cluster * d + 2u * pair + i] >> 16u;
            norm = plus3(norm, vec3<u32>(square(distance_of(bits, 128)), 0u));
            high |= half(bits >> 8u, 19u) << (16u * i);
            low |= half((bits & 0xff) - 128, 11u) << (16u * i);
        }
        let matrix = cluster * loop_params.steps + 2u * pair / side;
        let word = loop_params.digits + matrix * side + pair % (side / 2u);
        centroids[word] = high;
        centroids[word + side / 2u] = low;
    }
    add_up(norm, vec3<u32>(), lane);
    if lane == 0u {
        // In units of 256 squares of 256 grid units.
        let half_norm = to_f32(norms[0]) * (1.0 / 512.0);
        centroids_exact[loop_params.n_clusters * d + cluster] = bitcast<i32>(half_norm);
    }
    // The sums are overwritten in the next turn.
    workgroupBarrier();
}

// The bits that f16 has for a whole number up to 2^10 times 2^(exponent - 15).
fn half(number: i32, exponent: u32) -> u32 {
    let magnitude = u32(abs(number));
    if magnitude == 0u {
        return 0u;
    }
    let first = firstLeadingBit(magnitude);
    return select(0u, 0x8000u, number < 0) | ((first + exponent) << 10u) | ((magnitude << (10u - first)) & 0x3ffu);
}

// What a cluster means for the run.
fn note(shift: vec3<u32>, weight: vec2<u32>) {
    if (weight.x | weight.y) == 0u {
        atomicStore(&control[EMPTY], 1u);
    }
    if (shift.x | shift.y | shift.z) == 0u {
        return;
    }
    atomicStore(&control[CHANGED], 1u);
    // Floats above 0 have the order of their bits.
    atomicMax(&control[LARGEST], bitcast<u32>(to_f32(shift)));
    // Carries are seen from what stood there before, so no order can lose one.
    let low = atomicAdd(&control[SHIFT_WORDS], shift.x);
    let carry = select(0u, 1u, shift.x > 0xffffffffu - low);
    let mid = atomicAdd(&control[SHIFT_WORDS + 1u], shift.y);
    let after = mid + shift.y;
    let carry_mid = select(0u, 1u, after < mid);
    var high = shift.z + carry_mid;
    if carry != 0u {
        high += select(0u, 1u, atomicAdd(&control[SHIFT_WORDS + 1u], 1u) == 0xffffffffu);
    }
    atomicAdd(&control[SHIFT_WORDS + 2u], high);
}

// Sum number `entry` of the clusters.
fn total(entry: u32) -> vec3<u32> {
    let word = loop_params.first_total + 3u * (1u + entry);
    return vec3<u32>(totals[word], totals[word + 1u], totals[word + 2u]);
}

// The same, written down.
fn note_total(entry: u32) -> vec3<u32> {
    let word = loop_params.first_total + 3u * (1u + entry);
    let sum = total(entry);
    let to = slot() + loop_params.n_clusters * loop_params.n_features + word;
    for (var i = 0u; i < 3u; i++) {
        history[to + i] = sum[i];
    }
    return sum;
}

// The mean in 1/256 of grid units, rounded half up: `floor((512 S + W) / (2 W))` for the sum S and the weight W.
//
// The sum N is that of shifted values, S = N - 2^23 W, so that this is `floor((512 N + W) / (2 W)) - 2^31`. Each
// shifted value is below 2^24, hence N <= (2^24 - 1) W, and the quotient is below 2^32. W is below 2^57, so that a
// remainder, once doubled, has no more than 59 bits; 512 N + W fits three words.
fn mean(sum: vec3<u32>, weight: vec2<u32>) -> i32 {
    let scaled = vec3<u32>(sum.x << 9u, (sum.y << 9u) | (sum.x >> 23u), (sum.z << 9u) | (sum.y >> 23u));
    let dividend = plus3(scaled, vec3<u32>(weight, 0u));
    let divisor = vec2<u32>(weight.x << 1u, (weight.y << 1u) | (weight.x >> 31u));
    // The high words are the first remainder: less than the divisor, as the quotient has one word.
    var rest = dividend.yz;
    var quotient = 0u;
    for (var i = 0u; i < 32u; i++) {
        let bit = (dividend.x >> (31u - i)) & 1u;
        rest = vec2<u32>((rest.x << 1u) | bit, (rest.y << 1u) | (rest.x >> 31u));
        let fits = rest.y > divisor.y || (rest.y == divisor.y && rest.x >= divisor.x);
        if fits {
            rest = vec2<u32>(rest.x - divisor.x, rest.y - divisor.y - select(0u, 1u, rest.x < divisor.x));
        }
        quotient = (quotient << 1u) | select(0u, 1u, fits);
    }
    return bitcast<i32>(quotient - 0x80000000u);
}

// A number as floating point, with a relative error below 2^-23 + 2^-31: the highest 32 bits are converted, and the
// power of two is exact. (The certificate has room for d + 3 such errors, of which the norm's terms meet d + 1.)
fn to_f32(number: vec3<u32>) -> f32 {
    var words = number;
    var exponent = 64u;
    while words.z == 0u && exponent > 0u {
        words = vec3<u32>(0u, words.xy);
        exponent -= 32u;
    }
    if words.z == 0u {
        return 0.0;
    }
    let zeros = countLeadingZeros(words.z);
    var top = words.z;
    if zeros > 0u {
        top = (words.z << zeros) | (words.y >> (32u - zeros));
    }
    return f32(top) * bitcast<f32>((127u + exponent - zeros) << 23u);
}

// The end of an iteration, by one workgroup.
@compute @workgroup_size(lanes)
fn decide(@builtin(local_invocation_index) lane: u32) {
    if has_ended(lane) {
        return;
    }
    // What is of this pass alone stands before the clusters.
    let to = slot() + loop_params.n_clusters * loop_params.n_features;
    for (var i = lane; i < loop_params.first_total + 3u; i += lanes) {
        history[to + i] = totals[i];
        if i != loop_params.first_total - 1u {
            totals[i] = 0u;
        }
    }
    if lane == 0u {
        ended = end();
    }
    let end = workgroupUniformLoad(&ended);
    if end != 0u {
        for (var i = lane; i < loop_params.arg_words; i += lanes) {
            dispatch_args[i] = 0u;
        }
    }
    // All threads have read where the iteration is written down.
    storageBarrier();
    workgroupBarrier();
    if lane == 0u {
        let drift = bitcast<f32>(totals[loop_params.first_total - 1u]);
        totals[loop_params.first_total - 1u] = bitcast<u32>(grown(drift));
        atomicStore(&control[END], end);
        atomicAdd(&control[N_DONE], 1u);
        for (var i = SHIFT_WORDS; i <= LARGEST; i++) {
            atomicStore(&control[i], 0u);
        }
    }
}

// The drift after the shifts of this iteration, or a little more. A row's distances to two centroids change by no more than
// what both move, together.
fn grown(drift: f32) -> f32 {
    let shift = sqrt(bitcast<f32>(atomicLoad(&control[LARGEST]))) / 256.0 * (1.0 + 1.0 / 1024.0);
    return (drift + 2.0 * shift) * (1.0 + 1.0 / 1048576.0);
}

// Why the run ends here, or 0.
fn end() -> u32 {
    if atomicLoad(&control[EMPTY]) != 0u {
        return EMPTY_CLUSTER;
    }
    if atomicLoad(&control[CHANGED]) == 0u {
        return CONVERGED;
    }
    let shift = vec3<u32>(
        atomicLoad(&control[SHIFT_WORDS]),
        atomicLoad(&control[SHIFT_WORDS + 1u]),
        atomicLoad(&control[SHIFT_WORDS + 2u]),
    );
    let limit = vec3<u32>(loop_params.limit_low, loop_params.limit_mid, loop_params.limit_high);
    return select(0u, RESTS, loop_params.limited != 0u && !is_less(limit, shift));
}
