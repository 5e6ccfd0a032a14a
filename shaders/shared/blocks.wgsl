// Rows by blocks: a workgroup takes 4 ROW_QUADS rows at a time, which the kernel scores, and adds them to their clusters'
// totals. Threads stand in columns of ROW_QUADS: those of a column have the block's quads of rows.
//
// This text stands after each such kernel, which has the constants ROW_QUADS, ROWS and COLUMNS, and the functions:
// `rank_block`, to bring the rankings of a block together in the first column; `lend` and `lent`, for four vectors each of
// half the threads, for the other half, in workgroup memory; and `number_of`.
//
// Rust twin: src/backend/gpu/shaders.rs (`Kernel`).

// The cluster of each row, or NO_CLUSTER where it is not to be added.
var<workgroup> assigned: array<u32, ROWS>;
// The cluster that it is to be taken from; only if `moves`.
var<workgroup> left: array<u32, ROWS>;
// Quads of a block that have to be looked at; only if `moves`.
var<workgroup> n_unsettled: u32;

// Takes blocks until there are none.
fn assign_blocks(lane: u32) {
    let n_rounds = (params.n_rows + ROWS - 1u) / ROWS;
    let first = take_rounds(lane);
    if first >= n_rounds {
        return;
    }
    begin();
    clear_sums(lane);
    var round = first;
    var moved = 0u;
    var unflushed = 0u;
    for (var takes = 1u; round < n_rounds; takes++) {
        let end = min(round + params.rounds, n_rounds);
        for (; round < end; round++) {
            if unflushed == rounds_per_flush {
                flush(lane);
                unflushed = 0u;
            }
            moved += assign_block(params.first_row + round * ROWS, lane);
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

// Decides and adds the rows of a block; how many changed their label, as far as this thread saw to them.
fn assign_block(row: u32, lane: u32) -> u32 {
    if moves {
        // Two conditions in one would count as different from thread to thread.
        if is_block_settled(row, lane) {
            if lane < ROW_QUADS {
                pass_over(row + 4u * lane);
            }
            return 0u;
        }
    }
    sq_norm = vec4<f32>();
    rank_nothing();
    rank_block(row, lane);
    var moved = 0u;
    if lane < ROW_QUADS {
        moved = settle(row + 4u * lane, lane);
    }
    workgroupBarrier();
    if !ranked {
        accumulate(row, lane);
    }
    workgroupBarrier();
    return moved;
}

// `is_settled` for all quads of a block.
fn is_block_settled(row: u32, lane: u32) -> bool {
    if lane == 0u {
        n_unsettled = 0u;
        for (var quad = 0u; quad < ROW_QUADS; quad++) {
            n_unsettled += select(1u, 0u, is_settled(row + 4u * quad));
        }
    }
    return workgroupUniformLoad(&n_unsettled) == 0u;
}

// Brings the rankings of all columns together in the first one, and their shares of |x|^2.
fn merge_columns(lane: u32) {
    let column = lane / ROW_QUADS;
    for (var half = COLUMNS / 2u; half > 0u; half /= 2u) {
        let at = lane % (half * ROW_QUADS);
        let gives = column >= half && column < 2u * half;
        workgroupBarrier();
        if gives {
            lend(at, 0u, best);
            lend(at, 1u, second);
            lend(at, 2u, sq_norm);
            lend(at, 3u, bitcast<vec4<f32>>(nearest));
        }
        workgroupBarrier();
        let other_best = lent(at, 0u);
        let other_second = lent(at, 1u);
        let other_nearest = bitcast<vec4<u32>>(lent(at, 3u));
        if column < half {
            sq_norm += lent(at, 2u);
        }
        if !ranked {
            if column < half {
                rank(other_best, other_nearest);
                second = min(second, other_second);
            }
            continue;
        }
        workgroupBarrier();
        if gives {
            lend(at, 0u, third);
            lend(at, 1u, bitcast<vec4<f32>>(runner_up));
        }
        workgroupBarrier();
        if column < half {
            rank(or_nothing(other_best), other_nearest);
            rank(or_nothing(other_second), bitcast<vec4<u32>>(lent(at, 1u)));
            third = min(third, lent(at, 0u));
        }
    }
}

// A score that says that there is no cluster stays the last of all.
fn or_nothing(score: vec4<f32>) -> vec4<f32> {
    return select(vec4<f32>(FARTHER), score, score < vec4<f32>(FAR));
}

// Decides a quad of the block; how many rows changed their label.
fn settle(row: u32, quad: u32) -> u32 {
    let decided = decide(row);
    settle_until(row);
    let moved = relabel(row, decided);
    var added = decided;
    if moves {
        added = moved;
    }
    let cluster = select(vec4<u32>(NO_CLUSTER), nearest, added);
    for (var i = 0u; i < 4u; i++) {
        assigned[4u * quad + i] = cluster[i];
        if moves {
            left[4u * quad + i] = label_before[i] - 1u;
        }
    }
    return count(moved);
}

// Adds the rows of the block: threads side by side take rows side by side.
fn accumulate(row: u32, lane: u32) {
    let offset = lane % ROWS;
    let cluster = assigned[offset];
    if cluster == NO_CLUSTER {
        return;
    }
    let slot = lane & (replicas - 1u);
    let first = cluster * width();
    let first_before = left[offset] * width();
    let weight = weight_of(row + offset);
    for (var j = lane / ROWS; j < params.n_features; j += threads / ROWS) {
        let amount = times(number_of(row + offset, j), weight);
        add(first + j, amount, slot);
        if moves {
            take(first_before + j, amount, slot);
        }
    }
    if lane < ROWS {
        add_row(first, weight, slot);
        if moves {
            take_row(first_before, weight, slot);
        }
    }
}
