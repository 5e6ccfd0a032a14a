//! Blocks of rows measured against those groups of centroids that their bounds leave open.

use super::groups::{GroupView, MAX_GROUPS};
use super::kernel::GroupScores;
use super::task::{PassPlan, Task, Worker};
use crate::tiles::BLOCK;

/// Covers the roundings of a distance in `f32`.
const ROUNDING: f32 = 1.0 / (1 << 20) as f32;

/// Buffers for one block.
pub(super) struct GroupWorker {
    scores: GroupScores,
    /// Rows to be measured, group by group: `MAX_GROUPS x 64`, of which the first `n_rows[group]` of each are in use.
    rows: Vec<u8>,
    n_rows: [u8; MAX_GROUPS],
    /// Groups (one bit each) that a row was or is to be measured against.
    open: [u64; BLOCK],
    /// Least and second-least score of each row and group that was measured: `64 x n_groups`.
    found: Vec<[f32; 2]>,
    /// At most so far is each row from its centroid.
    reach: [f32; BLOCK],
}

impl GroupWorker {
    pub(super) fn new() -> Self {
        Self {
            scores: GroupScores::new(),
            rows: vec![0; MAX_GROUPS * BLOCK],
            n_rows: [0; MAX_GROUPS],
            open: [0; BLOCK],
            found: vec![[0.0; 2]; BLOCK * MAX_GROUPS],
            reach: [0.0; BLOCK],
        }
    }

    #[inline]
    fn push(&mut self, group: usize, row: usize) {
        let n = &mut self.n_rows[group];
        self.rows[group * BLOCK + usize::from(*n)] = row as u8;
        *n += 1;
    }
}

/// Where a row's nearest centroid may be, after all open groups were measured.
struct Nearest {
    group: usize,
    least: f32,
    /// The least score of all other centroids that were measured.
    second: f32,
}

impl PassPlan<'_> {
    /// Labels the rows of a block by groups. `all`: the bounds say nothing yet, every group is open.
    pub(super) fn assign_block_by_groups(
        &self,
        worker: &mut Worker,
        task: &mut Task<'_>,
        block: usize,
        view: &GroupView,
        all: bool,
    ) {
        let n_open = self.open_own_groups(worker, task, block, view, all);
        if n_open == 0 {
            return;
        }
        worker.tally.n_read += n_open;
        let values = task.chunk.block(task.first_block + block);
        (self.kernels.norms)(values, &mut worker.groups.scores);
        self.measure(worker, values, view);
        self.open_other_groups(worker, task, block, view, all);
        self.measure(worker, values, view);
        for slot in 0..task.rows_of(block).len() {
            if worker.groups.open[slot] != 0 {
                self.settle_row(worker, task, block * BLOCK + slot, view);
            }
        }
    }

    /// Puts every row that is not safe onto the list of its own group; gives their number.
    fn open_own_groups(&self, worker: &mut Worker, task: &Task<'_>, block: usize, view: &GroupView, all: bool) -> u64 {
        let n_groups = view.grouping.n_groups();
        let mut n_open = 0;
        for (slot, row) in task.rows_of(block).enumerate() {
            let label = task.labels[row];
            let lower = &task.lower[row * n_groups..][..n_groups];
            let is_open = all || view.open_groups(lower, view.reach(task.row_bounds[row], label)) != 0;
            let own = view.grouping.group_of(label);
            worker.groups.open[slot] = u64::from(is_open) << own;
            if is_open {
                worker.groups.push(own, slot);
                n_open += 1;
            }
        }
        n_open
    }

    /// Measures the rows on all lists, and empties these.
    fn measure(&self, worker: &mut Worker, values: &[f32], view: &GroupView) {
        let (groups, n_groups) = (&mut worker.groups, view.grouping.n_groups());
        for group in 0..n_groups {
            let n = usize::from(std::mem::take(&mut groups.n_rows[group]));
            if n == 0 {
                continue;
            }
            let rows = &groups.rows[group * BLOCK..][..n];
            (self.kernels.group)(values, rows, &view.table, group, &mut groups.scores);
            worker.tally.n_pairs += n as u64;
            for &row in rows {
                let row = usize::from(row);
                groups.found[row * n_groups + group] = [groups.scores.least[row], groups.scores.second[row]];
            }
        }
    }

    /// With what is known of the rows' distances to their own groups, puts them onto the lists of the other groups that
    /// may hold their nearest centroid.
    fn open_other_groups(&self, worker: &mut Worker, task: &Task<'_>, block: usize, view: &GroupView, all: bool) {
        let n_groups = view.grouping.n_groups();
        for (slot, row) in task.rows_of(block).enumerate() {
            let groups = &mut worker.groups;
            let own = groups.open[slot];
            if own == 0 {
                continue;
            }
            // No farther than its nearest centroid in its own group, whether that is still its own or not.
            let score = groups.found[slot * n_groups + own.trailing_zeros() as usize][0];
            let reach = farthest(view, score, groups.scores.half_sq_norm[slot]);
            groups.reach[slot] = reach;
            let lower = &task.lower[row * n_groups..][..n_groups];
            let every = u64::MAX >> (u64::BITS as usize - n_groups);
            let mut others = if all { every } else { view.open_groups(lower, reach) } & !own;
            groups.open[slot] |= others;
            while others != 0 {
                groups.push(others.trailing_zeros() as usize, slot);
                others &= others - 1;
            }
        }
    }

    /// Decides a row whose open groups were measured, and keeps what was found out about it.
    fn settle_row(&self, worker: &mut Worker, task: &mut Task<'_>, row: usize, view: &GroupView) {
        let (slot, n_groups) = (row % BLOCK, view.grouping.n_groups());
        let values = &task.chunk.block(task.first_block + row / BLOCK)[slot..];
        let norm = worker.groups.scores.half_sq_norm[slot];
        let nearest = worker.groups.nearest(slot, n_groups);
        let error = view.table.error(nearest.least, norm) + view.table.error(nearest.second, norm);
        let label = if nearest.second - nearest.least > error {
            let place = view.table.place(nearest.least);
            view.grouping.clusters[nearest.group * view.grouping.width + place]
        } else {
            worker.tally.n_doubtful += 1;
            worker.exact.two_nearest(values, self.centroids, &self.kernels).nearest
        };
        let previous = std::mem::replace(&mut task.labels[row], label);
        if previous != label {
            worker.tally.n_moved += 1;
            worker.delta.shift(previous, label, values, task.weight(row));
        }
        task.row_bounds[row] = view.keep_upper(farthest(view, nearest.least, norm), label);
        let lower = &mut task.lower[row * n_groups..][..n_groups];
        let mut open = worker.groups.open[slot];
        while open != 0 {
            let group = open.trailing_zeros() as usize;
            open &= open - 1;
            let [least, second] = worker.groups.found[slot * n_groups + group];
            let cluster = view.grouping.clusters[group * view.grouping.width + view.table.place(least)];
            let of_others = if cluster == label { second } else { least };
            lower[group] = view.keep_lower(nearest_possible(view, of_others, norm), group);
        }
    }
}

impl GroupWorker {
    /// The nearest centroid of a row among those measured.
    fn nearest(&self, slot: usize, n_groups: usize) -> Nearest {
        let mut nearest = Nearest {
            group: 0,
            least: f32::MAX,
            second: f32::MAX,
        };
        let mut open = self.open[slot];
        while open != 0 {
            let group = open.trailing_zeros() as usize;
            open &= open - 1;
            let [least, second] = self.found[slot * n_groups + group];
            if least < nearest.least {
                nearest = Nearest {
                    group,
                    least,
                    second: second.min(nearest.least),
                };
            } else {
                nearest.second = nearest.second.min(least);
            }
        }
        nearest
    }
}

/// At most so far is a row from a centroid with this score.
#[inline]
fn farthest(view: &GroupView, score: f32, half_sq_norm: f32) -> f32 {
    (2.0 * (score.max(0.0) + view.table.error(score, half_sq_norm))).sqrt() * (1.0 + ROUNDING)
}

/// At least so far is a row from a centroid with this score.
#[inline]
fn nearest_possible(view: &GroupView, score: f32, half_sq_norm: f32) -> f32 {
    (2.0 * (score - view.table.error(score, half_sq_norm)).max(0.0)).sqrt() * (1.0 - ROUNDING)
}
