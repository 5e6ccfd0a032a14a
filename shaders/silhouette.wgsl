// Judges clusters: `norms` adds up squared norms, `silhouettes` what src/backend/silhouette.rs says of a row, in integers.
//
// A thread takes a row at a time, and finds its distances to all means in three words. Quotients are made bit by bit, and so
// are roots: some 2,500 instructions a row, and 30 for each of its values and clusters.
//
// What rows add goes to workgroup memory in pieces of 16 bits, of which a workgroup's rows, up to 2^16, fill no word.
//
// Bindings: shared/pass.wgsl, where
// IN   centroids_exact: the means, cut to integers
// IN   beside: ENTRY_WORDS words per cluster, which `variance_of` and those after it read; then what the means lack, a word
//      for each cluster and feature
// OUT  totals: sums of 3 words (low first). `norms`: 3 a cluster, of which the first counts. `silhouettes`: 3 a cluster, its
//      silhouettes plus 1, its distances and its weight; then the simplified silhouettes of all rows plus 1
//
// Rust twin: src/backend/silhouette.rs (`ScalarJudge`); src/backend/gpu/judge.rs.

alias Centroid = vec4<f32>;

// Threads of a workgroup.
override threads: u32 = 256u;
// Words of `slots`: PIECES per cluster, and four.
override slot_words: u32 = 14u;

// Words of a cluster in `beside`.
const ENTRY_WORDS: u32 = 8u;
// Bits of `flags_of`.
const IS_ALONE: u32 = 1u;
const IS_EMPTY: u32 = 2u;
// Words of a cluster in `slots`: four pieces of silhouettes, four of distances, two of weight; or five of norms.
const PIECES: u32 = 10u;
const DISTANCE_PIECES: u32 = 4u;
const WEIGHT_PIECES: u32 = 8u;
const NORM_PIECES: u32 = 5u;
// Binary digits of a simplified silhouette's root, and of a distance.
const ROOT_DIGITS: u32 = 32u;
const DISTANCE_DIGITS: u32 = 44u;

// A silhouette of 0, plus 1, in units of 2^-32.
const NEITHER: vec2<u32> = vec2<u32>(0u, 1u);
const NOBODY: vec3<u32> = vec3<u32>(0xffffffffu);

var<workgroup> slots: array<atomic<u32>, slot_words>;

@compute @workgroup_size(threads)
fn norms(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    clear(lane);
    for (var round = 0u; round < params.rounds; round++) {
        let offset = (group.x * params.rounds + round) * threads + lane;
        if offset < params.n_rows {
            add_norm(params.first_row + offset);
        }
    }
    workgroupBarrier();
    for (var cluster = lane; cluster < params.n_clusters; cluster += threads) {
        add_wide(3u * cluster, gathered(PIECES * cluster, NORM_PIECES));
    }
}

@compute @workgroup_size(threads)
fn silhouettes(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    clear(lane);
    var simplified = vec2<u32>();
    for (var round = 0u; round < params.rounds; round++) {
        let offset = (group.x * params.rounds + round) * threads + lane;
        if offset < params.n_rows {
            simplified = plus2(simplified, judge(params.first_row + offset));
        }
    }
    add_number(PIECES * params.n_clusters, simplified);
    workgroupBarrier();
    for (var cluster = lane; cluster < params.n_clusters; cluster += threads) {
        add_wide(3u * cluster, gathered(PIECES * cluster, 4u));
        add_wide(3u * cluster + 1u, gathered(PIECES * cluster + DISTANCE_PIECES, 4u));
        add_wide(3u * cluster + 2u, gathered(PIECES * cluster + WEIGHT_PIECES, 2u));
    }
    if lane == 0u {
        add_wide(3u * params.n_clusters, gathered(PIECES * params.n_clusters, 4u));
    }
}

fn clear(lane: u32) {
    for (var i = lane; i < slot_words; i += threads) {
        atomicStore(&slots[i], 0u);
    }
    workgroupBarrier();
}

fn add_norm(row: u32) {
    let at = row_index(row);
    var norm = vec3<u32>();
    for (var feature = 0u; feature < params.n_features; feature++) {
        let value = value_of(natural_of(at, feature));
        norm = plus3(norm, vec3<u32>(square(u32(abs(value))), 0u));
    }
    let weighed = times_word(norm, weight_of(row));
    let slot = PIECES * cluster_of(row);
    add_number(slot, weighed.xy);
    // Below 2^61, and 2^77 with its weight.
    atomicAdd(&slots[slot + 4u], weighed.z);
}

// Adds a row; its simplified silhouette plus 1, times its weight.
fn judge(row: u32) -> vec2<u32> {
    let weight = weight_of(row);
    if weight == 0u {
        return vec2<u32>();
    }
    let own = cluster_of(row);
    let at = row_index(row);
    var to_own = vec3<u32>();
    var mean = NOBODY;
    var rows = NOBODY;
    for (var cluster = 0u; cluster < params.n_clusters; cluster++) {
        let distance = sq_dist(at, cluster);
        if cluster == own {
            to_own = distance;
        } else if (flags_of(cluster) & IS_EMPTY) == 0u {
            mean = least(mean, distance);
            rows = least(rows, plus3(distance, variance_of(cluster)));
        }
    }
    var silhouette = NEITHER;
    var simplified = NEITHER;
    if any(mean != NOBODY) {
        let to_rows = plus3(to_own, variance_of(own));
        let to_other_rows = plus3(to_rows, times_share(to_rows, without_itself_of(own)));
        if (flags_of(own) & IS_ALONE) == 0u {
            silhouette = nearer(to_other_rows, rows, false);
        }
        simplified = nearer(to_own, mean, true);
    }
    let slot = PIECES * own;
    add_number(slot, times_weight(silhouette, weight));
    let distance = root(shifted(to_own, shift_of(own)), DISTANCE_DIGITS);
    add_number(slot + DISTANCE_PIECES, times_weight(distance, weight));
    atomicAdd(&slots[slot + WEIGHT_PIECES], weight & 0xffffu);
    atomicAdd(&slots[slot + WEIGHT_PIECES + 1u], weight >> 16u);
    return times_weight(simplified, weight);
}

// `silhouette` plus 1, of squared distances or, with `rooted`, of their roots.
fn nearer(own: vec3<u32>, other: vec3<u32>, rooted: bool) -> vec2<u32> {
    if all(own == other) {
        return NEITHER;
    }
    let is_nearer = is_less(own, other);
    var less = other;
    var more = own;
    if is_nearer {
        less = own;
        more = other;
    }
    let high = quotient(less, more);
    var share = high.bits;
    if rooted {
        let low = quotient(high.rest, more);
        share = root(vec3<u32>(low.bits, high.bits, 0u), ROOT_DIGITS).x;
    }
    if !is_nearer {
        return vec2<u32>(share, 0u);
    }
    // 2^33 less the share.
    return vec2<u32>(0u - share, select(1u, 2u, share == 0u));
}

// 32 bits behind the point of a quotient below 1, and 2^32 times what is left of it.
struct Quotient {
    bits: u32,
    rest: vec3<u32>,
}

// `less / more`, for `less < more` below 2^95.
fn quotient(less: vec3<u32>, more: vec3<u32>) -> Quotient {
    var rest = less;
    var bits = 0u;
    for (var i = 0u; i < 32u; i++) {
        rest = vec3<u32>(rest.x << 1u, (rest.y << 1u) | (rest.x >> 31u), (rest.z << 1u) | (rest.y >> 31u));
        bits = bits << 1u;
        if !is_less(rest, more) {
            rest = minus3(rest, more);
            bits |= 1u;
        }
    }
    return Quotient(bits, rest);
}

// The root of a number of `2 digits` bits, cut to an integer, digit by digit: what is left never has more than two bits more
// than the root so far.
fn root(n: vec3<u32>, digits: u32) -> vec2<u32> {
    var rest = vec2<u32>();
    var found = vec2<u32>();
    for (var digit = digits; digit > 0u; digit--) {
        let at = digit - 1u;
        let two = (n[at / 16u] >> (2u * (at % 16u))) & 3u;
        rest = vec2<u32>((rest.x << 2u) | two, (rest.y << 2u) | (rest.x >> 30u));
        let trial = vec2<u32>((found.x << 2u) | 1u, (found.y << 2u) | (found.x >> 30u));
        found = vec2<u32>(found.x << 1u, (found.y << 1u) | (found.x >> 31u));
        if rest.y > trial.y || (rest.y == trial.y && rest.x >= trial.x) {
            rest = vec2<u32>(rest.x - trial.x, rest.y - trial.y - select(0u, 1u, rest.x < trial.x));
            found.x |= 1u;
        }
    }
    return found;
}

// `Scatter::sq_dist` of the row that starts at `at`.
fn sq_dist(at: u32, cluster: u32) -> vec3<u32> {
    var squares = vec3<u32>();
    // How far the row is beyond the means, times what these lack; and where it is short of them.
    var beyond = vec2<u32>();
    var short = vec2<u32>();
    let mean = cluster * params.n_features;
    let rest = ENTRY_WORDS * params.n_clusters + mean;
    for (var feature = 0u; feature < params.n_features; feature++) {
        let x = value_of(natural_of(at, feature)) * 256;
        let c = centroids_exact[mean + feature];
        let distance = distance_of(x, c);
        let lack = beside[rest + feature];
        let low = (distance & 0xffffu) * lack;
        let high = (distance >> 16u) * lack;
        let part = plus2(vec2<u32>(low, 0u), vec2<u32>(high << 16u, high >> 16u));
        squares = plus3(squares, vec3<u32>(square(distance), 0u));
        if x < c {
            short = plus2(short, part);
        } else {
            beyond = plus2(beyond, part);
        }
    }
    let sum = plus3(shifted(squares, 8u), vec3<u32>(lacking_norm_of(cluster), 0u, 0u));
    if is_less(vec3<u32>(beyond, 0u), vec3<u32>(short, 0u)) {
        // Cut down, as it is taken away: what is added is cut up.
        let more = plus2(minus3(vec3<u32>(short, 0u), vec3<u32>(beyond, 0u)).xy, vec2<u32>(127u, 0u));
        return plus3(sum, vec3<u32>((more.x >> 7u) | (more.y << 25u), more.y >> 7u, 0u));
    }
    let less = minus3(vec3<u32>(beyond, 0u), vec3<u32>(short, 0u));
    return minus3(sum, vec3<u32>((less.x >> 7u) | (less.y << 25u), less.y >> 7u, 0u));
}

fn cluster_of(row: u32) -> u32 {
    if packed {
        return ((atomicLoad(&labels[row / 4u]) >> (8u * (row % 4u))) & 0xffu) - 1u;
    }
    return atomicLoad(&labels[row]) - 1u;
}

fn variance_of(cluster: u32) -> vec3<u32> {
    let at = ENTRY_WORDS * cluster;
    return vec3<u32>(beside[at], beside[at + 1u], beside[at + 2u]);
}

fn without_itself_of(cluster: u32) -> vec2<u32> {
    let at = ENTRY_WORDS * cluster + 3u;
    return vec2<u32>(beside[at], beside[at + 1u]);
}

fn shift_of(cluster: u32) -> u32 {
    return beside[ENTRY_WORDS * cluster + 5u];
}

fn flags_of(cluster: u32) -> u32 {
    return beside[ENTRY_WORDS * cluster + 6u];
}

fn lacking_norm_of(cluster: u32) -> u32 {
    return beside[ENTRY_WORDS * cluster + 7u];
}

// A number times a weight of up to 2^16, where that is below 2^64.
fn times_weight(n: vec2<u32>, weight: u32) -> vec2<u32> {
    if !weighted {
        return n;
    }
    let low = product(n.x, weight);
    return vec2<u32>(low.x, low.y + n.y * weight);
}

// A number below 2^88 times a share below 2^39 in units of 2^-32, cut to an integer.
fn times_share(n: vec3<u32>, share: vec2<u32>) -> vec3<u32> {
    return plus3(times_word(n, share.x).yzw, times_word(n, share.y).xyz);
}

// The product of two numbers of one word.
fn product(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let mid = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let cross = (a & 0xffffu) * (b >> 16u) + (mid & 0xffffu);
    return vec2<u32>((cross << 16u) | (low & 0xffffu), (a >> 16u) * (b >> 16u) + (mid >> 16u) + (cross >> 16u));
}

fn times_word(n: vec3<u32>, word: u32) -> vec4<u32> {
    let low = product(n.x, word);
    let mid = product(n.y, word);
    let high = product(n.z, word);
    let second = plus2(vec2<u32>(low.y, 0u), mid);
    let third = plus2(vec2<u32>(second.y, 0u), high);
    return vec4<u32>(low.x, second.x, third.x, third.y);
}

// Adds to four slots.
fn add_number(slot: u32, n: vec2<u32>) {
    atomicAdd(&slots[slot], n.x & 0xffffu);
    atomicAdd(&slots[slot + 1u], n.x >> 16u);
    atomicAdd(&slots[slot + 2u], n.y & 0xffffu);
    if (n.y >> 16u) != 0u {
        atomicAdd(&slots[slot + 3u], n.y >> 16u);
    }
}

// What so many slots hold.
fn gathered(slot: u32, n_pieces: u32) -> vec3<u32> {
    var sum = vec3<u32>();
    for (var piece = 0u; piece < n_pieces; piece++) {
        sum = plus3(sum, shifted(vec3<u32>(atomicLoad(&slots[slot + piece]), 0u, 0u), 16u * piece));
    }
    return sum;
}

// Adds a number to a sum of three words, whatever others add.
fn add_wide(entry: u32, amount: vec3<u32>) {
    let at = params.first_total + 3u * entry;
    var carry = 0u;
    for (var word = 0u; word < 3u; word++) {
        let carried = amount[word] + carry;
        // Only a word of ones becomes 0 by its carry.
        var next = select(0u, 1u, carried < carry);
        if carried != 0u {
            let before = atomicAdd(&totals[at + word], carried);
            next += select(0u, 1u, before > 0xffffffffu - carried);
        }
        carry = next;
    }
}
