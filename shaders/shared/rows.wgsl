// What the kernels that label rows share: ranking of scores, the certificate, labels, and sums in workgroup memory.
//
// This text stands after each such kernel. A kernel handles rows by quads: vectors of 4.
//
// *Sums in workgroup memory.* Entry `e` of the totals stands `replicas` times side by side; threads next to each other
// add to different ones, so that rows of one cluster do not wait for one another. No slot can overflow: with the
// numbers that are added below 2^b, 2^(32 - b) rows fit into a slot, and the host (`Sums::rounds_per_flush`) lets no
// more rounds pass before `flush` than bring so many to a slot even if all rows are in one cluster. With one piece, b = 24:
// 256 rows. With two, a number is cut at `split_bits`: the low piece of 12 bits or, weighted, 20 (below 2^40 in all) and
// a high piece of no more. Where rows move, slots have a sign, so that half as many fit; rows that move are few, so that
// numbers are always cut in two, and each row adds or takes no more than one number to or from a slot.
//
// Rust twin: src/backend/gpu/sums.rs (`Sums`).

// Whether labels are what floating point says, right or not, and all rows are looked at. Benches hold against it what proof
// costs; no job runs so.
override unproven: bool = false;
// Threads of a workgroup.
override threads: u32 = 256u;
// Pieces that a number is cut into; 0: sums do not fit, and go straight to `totals`.
override pieces: u32 = 0u;
override split_bits: u32 = 12u;
// Slots per entry, a power of two.
override replicas: u32 = 1u;
// Words of `sums`: entries times `replicas` times `pieces`, at least one.
override sum_words: u32 = 1u;
// Rounds after which `sums` have to be flushed.
override rounds_per_flush: u32 = 1u;

var<workgroup> sums: array<atomic<u32>, sum_words>;
var<workgroup> n_moved: atomic<u32>;
var<workgroup> n_passed_over: atomic<u32>;
var<workgroup> taken: u32;

// The nearest clusters of a quad so far, by computed score. What is equal stays in doubt.
var<private> best: vec4<f32>;
var<private> second: vec4<f32>;
var<private> third: vec4<f32>; // only if `ranked`
var<private> nearest: vec4<u32>;
var<private> runner_up: vec4<u32>; // only if `ranked`
// The group of four clusters that holds the nearest so far, by its first, and their scores; until `rank_group`, `best` is
// the best of them, `second` the best of all other groups. Unless `ranked`.
var<private> group: vec4<u32>;
var<private> score_a: vec4<f32>;
var<private> score_b: vec4<f32>;
var<private> score_c: vec4<f32>;
var<private> score_d: vec4<f32>;
// |x|^2 of the quad's rows.
var<private> sq_norm: vec4<f32>;
// The labels that the quad's rows had, plus one.
var<private> label_before: vec4<u32>;
// By how much other clusters are farther than the nearest, and the drift (see `totals`); only if `moves`.
var<private> room: vec4<f32>;
var<private> drift: f32;
// Rows that this thread passed over.
var<private> passed_over: u32;

fn rank_nothing() {
    best = vec4<f32>(FAR);
    second = vec4<f32>(FARTHER);
    third = vec4<f32>(FARTHER);
    nearest = vec4<u32>(NO_CLUSTER);
    runner_up = vec4<u32>(NO_CLUSTER);
    group = vec4<u32>(NO_CLUSTER);
    score_a = vec4<f32>(FARTHER);
    score_b = vec4<f32>(FARTHER);
    score_c = vec4<f32>(FARTHER);
    score_d = vec4<f32>(FARTHER);
}

fn rank(score: vec4<f32>, cluster: vec4<u32>) {
    let closer = score < best;
    if ranked {
        third = min(third, max(second, score));
        runner_up = select(select(runner_up, cluster, score < second), nearest, closer);
    }
    second = min(second, max(best, score));
    nearest = select(nearest, cluster, closer);
    best = min(best, score);
}

// Ranks the clusters `cluster ..`: three operations a score instead of five, since a group is looked into once, at the end.
fn rank_four(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, cluster: u32) {
    if ranked {
        rank(a, vec4<u32>(cluster));
        rank(b, vec4<u32>(cluster + 1u));
        rank(c, vec4<u32>(cluster + 2u));
        rank(d, vec4<u32>(cluster + 3u));
        return;
    }
    let least = min(min(a, b), min(c, d));
    let closer = least < best;
    group = select(group, vec4<u32>(cluster), closer);
    score_a = select(score_a, a, closer);
    score_b = select(score_b, b, closer);
    score_c = select(score_c, c, closer);
    score_d = select(score_d, d, closer);
    second = min(second, max(best, least));
    best = min(best, least);
}

// Looks into the group that was the best of all: its nearest cluster, and whether its next one is the second of all.
fn rank_group() {
    if ranked {
        return;
    }
    let second_in_group = min(
        max(min(score_a, score_b), min(score_c, score_d)),
        min(max(score_a, score_b), max(score_c, score_d)),
    );
    second = min(second, second_in_group);
    // Equal ones are in doubt, whichever is taken.
    var in_group = select(vec4<u32>(3u), vec4<u32>(2u), score_c == best);
    in_group = select(in_group, vec4<u32>(1u), score_b == best);
    in_group = select(in_group, vec4<u32>(), score_a == best);
    nearest = select(vec4<u32>(NO_CLUSTER), group + in_group, best < vec4<f32>(FAR));
}

// Which of the rows `row ..` of the dispatch's part are decided; notes their labels, and lists the others.
fn decide(row: u32) -> vec4<bool> {
    let present = vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.first_row + params.n_rows);
    var proven = vec4<bool>();
    if moves && !unproven {
        room = room_of(best, second, sq_norm);
        proven = room > vec4<f32>();
    } else {
        proven = proves(best, second, sq_norm);
    }
    if ranked {
        proven = proven & proves(second, third, sq_norm);
    }
    if unproven {
        proven = vec4<bool>(true);
    }
    let decided = present & proven;
    if any(present & !proven) {
        for (var i = 0u; i < 4u; i++) {
            if present[i] && !proven[i] {
                let slot = atomicAdd(&totals[params.list], 1u);
                doubtful[slot] = row + i;
            }
        }
    }
    if ranked {
        for (var i = 0u; i < 4u; i++) {
            if decided[i] {
                atomicStore(&labels[row + i], nearest[i] + 1u);
                beside[row + i] = runner_up[i] + 1u;
            }
        }
    }
    return decided;
}

// Reads the drift.
fn begin() {
    if moves {
        drift = bitcast<f32>(atomicLoad(&totals[params.first_total - 1u]));
    }
}

// Whether the rows of a quad keep their labels whatever they are: no centroid has come far enough since they were looked
// at, or there are none.
fn is_settled(row: u32) -> bool {
    return row >= params.first_row + params.n_rows || bitcast<f32>(beside[row / 4u]) > drift;
}

fn pass_over(row: u32) {
    let end = params.first_row + params.n_rows;
    passed_over += min(row + 4u, max(end, row)) - row;
}

// Notes up to which drift the rows of a quad keep their labels: the least by which a centroid is farther than the nearest
// one, beyond the drift so far. 0 for rows in doubt.
fn settle_until(row: u32) {
    if !moves || unproven || row >= params.first_row + params.n_rows {
        return;
    }
    let present = vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.first_row + params.n_rows);
    let room_of_present = select(vec4<f32>(FAR), room, present);
    let least = min(min(room_of_present.x, room_of_present.y), min(room_of_present.z, room_of_present.w));
    // What rounding adds is taken away again.
    beside[row / 4u] = bitcast<u32>((drift + least) * (1.0 - 1.0 / 1048576.0));
}

// Which of the decided rows have a new label, which is written. What they had is in `label_before`.
fn relabel(row: u32, decided: vec4<bool>) -> vec4<bool> {
    if ranked || !any(decided) {
        return vec4<bool>();
    }
    let label = nearest + vec4<u32>(1u);
    if packed {
        let word = atomicLoad(&labels[row / 4u]);
        // Mostly nothing is to be done.
        if all(decided) && word == pack(label) {
            return vec4<bool>();
        }
        label_before = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
    } else {
        for (var i = 0u; i < 4u; i++) {
            if decided[i] {
                label_before[i] = atomicLoad(&labels[row + i]);
            }
        }
    }
    let moved = decided & (label_before != label);
    if any(moved) {
        if packed {
            atomicStore(&labels[row / 4u], pack(select(label_before, label, moved)));
        } else {
            for (var i = 0u; i < 4u; i++) {
                if moved[i] {
                    atomicStore(&labels[row + i], label[i]);
                }
            }
        }
    }
    return moved;
}

// Four labels of 8 bits.
fn pack(label: vec4<u32>) -> u32 {
    return label.x | (label.y << 8u) | (label.z << 16u) | (label.w << 24u);
}

fn count(rows: vec4<bool>) -> u32 {
    let one = select(vec4<u32>(), vec4<u32>(1u), rows);
    return one.x + one.y + one.z + one.w;
}

// Adds an amount to an entry of the totals: in this workgroup's share, where the entries fit.
fn add(entry: u32, amount: vec2<u32>, slot: u32) {
    if pieces == 0u {
        add_total(entry + 1u, amount);
        return;
    }
    let at = entry * replicas + slot;
    if pieces == 1u {
        atomicAdd(&sums[at], amount.x);
        return;
    }
    atomicAdd(&sums[at], amount.x & ((1u << split_bits) - 1u));
    // Mostly not 0: a branch would cost more than it saves.
    atomicAdd(&sums[sum_words / 2u + at], (amount.x >> split_bits) | (amount.y << (32u - split_bits)));
}

// Takes away what `add` adds.
fn take(entry: u32, amount: vec2<u32>, slot: u32) {
    if pieces == 0u {
        add_total(entry + 1u, negative(amount));
        return;
    }
    let at = entry * replicas + slot;
    atomicSub(&sums[at], amount.x & ((1u << split_bits) - 1u));
    atomicSub(&sums[sum_words / 2u + at], (amount.x >> split_bits) | (amount.y << (32u - split_bits)));
}

// Adds a row, but for its values, to the cluster whose entries start at `first`.
fn add_row(first: u32, weight: u32, slot: u32) {
    if pieces == 0u {
        add_total(first + params.n_features + 1u, vec2<u32>(1u, 0u));
    } else {
        // Nothing of 1 is in the high piece.
        atomicAdd(&sums[(first + params.n_features) * replicas + slot], 1u);
    }
    if weighted {
        add(first + params.n_features + 1u, vec2<u32>(weight, 0u), slot);
    }
}

fn take_row(first: u32, weight: u32, slot: u32) {
    take(first + params.n_features, vec2<u32>(1u, 0u), slot);
    if weighted {
        take(first + params.n_features + 1u, vec2<u32>(weight, 0u), slot);
    }
}

// The next rounds for this workgroup: those from the number returned on. Workgroups take what they can get through,
// so none waits for another, and those that start late find nothing left.
fn take_rounds(lane: u32) -> u32 {
    if lane == 0u {
        taken = atomicAdd(&totals[params.list + 1u], params.rounds);
    }
    return workgroupUniformLoad(&taken);
}

fn clear_sums(lane: u32) {
    for (var i = lane; i < sum_words; i += threads) {
        atomicStore(&sums[i], 0u);
    }
    if lane == 0u {
        atomicStore(&n_moved, 0u);
        atomicStore(&n_passed_over, 0u);
    }
    workgroupBarrier();
}

// Adds this workgroup's share to the totals and clears it.
fn flush(lane: u32) {
    if ranked || pieces == 0u {
        return;
    }
    workgroupBarrier();
    for (var entry = lane; entry < params.n_clusters * width(); entry += threads) {
        let amount = gather(entry, lane);
        if (amount.x | amount.y) != 0u {
            add_total(entry + 1u, amount);
        }
    }
    workgroupBarrier();
}

// The sum of an entry's slots, which are cleared: at most 2^6 of them, each below 2^32, and the high pieces' sum below
// 2^38, so that it stays below 2^58 when it is shifted by up to 20 bits.
fn gather(entry: u32, lane: u32) -> vec2<u32> {
    var sum = vec2<u32>();
    for (var i = 0u; i < replicas; i++) {
        // Threads side by side start at different slots, which lie in different banks of memory.
        let at = entry * replicas + ((i + lane) & (replicas - 1u));
        let low = atomicExchange(&sums[at], 0u);
        sum = plus2(sum, vec2<u32>(low, above(low)));
        if pieces == 2u {
            let high = atomicExchange(&sums[sum_words / 2u + at], 0u);
            let shifted = vec2<u32>(high << split_bits, (high >> (32u - split_bits)) | (above(high) << split_bits));
            sum = plus2(sum, shifted);
        }
    }
    return sum;
}

// What stands above the word of a slot: zeros or, where slots have a sign, what that says.
fn above(word: u32) -> u32 {
    return select(0u, 0xffffffffu, moves && (word >> 31u) != 0u);
}

// Adds this workgroup's rows moved, and passed over, to the totals.
fn flush_moved(moved: u32, lane: u32) {
    if ranked {
        return;
    }
    if moved != 0u {
        atomicAdd(&n_moved, moved);
    }
    if passed_over != 0u {
        atomicAdd(&n_passed_over, passed_over);
    }
    workgroupBarrier();
    if lane == 0u {
        add_total(0u, vec2<u32>(atomicLoad(&n_moved), 0u));
        if moves {
            atomicAdd(&totals[params.list + 3u], atomicLoad(&n_passed_over));
        }
    }
}
