//! Blocks of rows measured against those groups of centroids that their bounds leave open.

use super::group_kernel::GroupScores;
use super::groups::{GroupView, MAX_GROUPS};
use super::sums::bits;
use super::task::{PassPlan, Task, Worker};
use crate::tiles::BLOCK;

/// Buffers for one block.
pub(super) struct GroupWorker {
    scores: GroupScores,
    /// Rows to be measured, group by group: `MAX_GROUPS x 64`, of which the first `n_rows[group]` of each are in use.
    rows: Vec<u8>,
    n_rows: [u8; MAX_GROUPS],
}

impl GroupWorker {
    pub(super) fn new() -> Self {
        Self {
            scores: GroupScores::new(),
            rows: vec![0; MAX_GROUPS * BLOCK],
            n_rows: [0; MAX_GROUPS],
        }
    }

    /// Which of the first rows (one bit each) have open groups.
    fn open_rows(&self, n_rows: usize) -> u64 {
        let open = self.scores.open[..n_rows].iter().enumerate();
        open.fold(0, |rows, (slot, &open)| rows | u64::from(open != 0) << slot)
    }

    #[inline]
    fn push(&mut self, group: usize, row: usize) {
        let n = &mut self.n_rows[group];
        self.rows[group * BLOCK + usize::from(*n)] = row as u8;
        *n += 1;
    }
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
        let rows = task.rows_of(block);
        let n_lower = view.grouping.n_lower();
        let bounds = rows.start * n_lower..rows.end * n_lower;
        for (slot, row) in rows.clone().enumerate() {
            worker.groups.scores.reach[slot] = view.reach(task.row_bounds[row], task.labels[row]);
        }
        self.open(worker, &task.lower[bounds.clone()], view, all);
        let n_open = queue_own_groups(worker, &task.labels[rows.clone()], view);
        if n_open == 0 {
            return;
        }
        worker.tally.n_read += n_open;
        let mut values = std::mem::take(&mut worker.values);
        task.block(block)
            .unpack_rows(worker.groups.open_rows(rows.len()), &mut values);
        worker.groups.scores.clear(n_lower);
        (self.kernels.norms)(&values, &mut worker.groups.scores);
        self.measure(worker, &values, view);
        self.open_other_groups(worker, task, block, view, all);
        self.measure(worker, &values, view);
        (self.kernels.rank)(&mut task.lower[bounds], &view.table, &mut worker.groups.scores);
        for slot in 0..rows.len() {
            if worker.groups.scores.open[slot] != 0 {
                self.settle_row(worker, task, &values[slot..], block * BLOCK + slot, view);
            }
        }
        worker.values = values;
        worker.delta.follow(task.chunk.words(), false);
    }

    /// Finds the groups that may hold a centroid within reach of each row.
    fn open(&self, worker: &mut Worker, lower: &[u16], view: &GroupView, all: bool) {
        let scores = &mut worker.groups.scores;
        let every = u64::MAX >> (u64::BITS as usize - view.grouping.n_groups());
        if all {
            scores.open.fill(every);
        } else {
            (self.kernels.open)(lower, &view.table, scores);
            scores.open.iter_mut().for_each(|open| *open &= every);
        }
    }

    /// Measures the rows on all lists, and empties these.
    fn measure(&self, worker: &mut Worker, values: &[f32], view: &GroupView) {
        let groups = &mut worker.groups;
        for group in 0..view.grouping.n_groups() {
            let n = usize::from(std::mem::take(&mut groups.n_rows[group]));
            if n > 0 {
                let rows = &groups.rows[group * BLOCK..][..n];
                (self.kernels.group)(values, rows, &view.table, group, &mut groups.scores);
                worker.tally.n_pairs += n as u64;
            }
        }
    }

    /// With what is known of the rows' distances to their own groups, puts them onto the lists of the other groups that
    /// may hold their nearest centroid.
    fn open_other_groups(&self, worker: &mut Worker, task: &Task<'_>, block: usize, view: &GroupView, all: bool) {
        let rows = task.rows_of(block);
        let n_lower = view.grouping.n_lower();
        let mut own = [0; BLOCK];
        for (slot, row) in rows.clone().enumerate() {
            let scores = &mut worker.groups.scores;
            if scores.open[slot] != 0 {
                let group = view.grouping.group_of(task.labels[row]);
                own[slot] = 1 << group;
                // No farther than its nearest centroid in its own group, whether that is still its own or not.
                let score = scores.least[slot * n_lower + group];
                scores.reach[slot] = view.table.farthest(score, scores.half_sq_norm[slot]);
            }
        }
        self.open(worker, &task.lower[rows.start * n_lower..rows.end * n_lower], view, all);
        for (slot, &own) in own.iter().enumerate().take(rows.len()) {
            let open = &mut worker.groups.scores.open[slot];
            let others = *open & !own;
            *open |= own;
            if own == 0 {
                *open = 0;
                continue;
            }
            for group in bits(others) {
                worker.groups.push(group, slot);
            }
        }
    }

    /// Decides the row at `values[0]`, `values[64]`, …, whose open groups were measured, and keeps what was found out about
    /// it.
    fn settle_row(&self, worker: &mut Worker, task: &mut Task<'_>, values: &[f32], row: usize, view: &GroupView) {
        let slot = row % BLOCK;
        let (grouping, table, scores) = (&view.grouping, &view.table, &worker.groups.scores);
        let (norm, best, runner_up) = (scores.half_sq_norm[slot], scores.best[slot], scores.runner_up[slot]);
        let label = if runner_up - best > table.error(best, norm) + table.error(runner_up, norm) {
            grouping.cluster(usize::from(scores.best_group[slot]), table.place(best))
        } else {
            worker.tally.n_doubtful += 1;
            worker.exact.two_nearest(values, self.centroids, &self.kernels).nearest
        };
        task.row_bounds[row] = view.keep_upper(table.farthest(best, norm), label);
        let (group, n_lower) = (grouping.group_of(label), grouping.n_lower());
        let place = slot * n_lower + group;
        if grouping.cluster(group, table.place(scores.least[place])) == label {
            task.lower[row * n_lower + group] = table.lower(scores.second[place], norm, group);
        }
        let previous = std::mem::replace(&mut task.labels[row], label);
        if previous != label {
            worker.tally.n_moved += 1;
            worker.delta.shift(task.place(row), [previous, label], task.weight(row));
        }
    }
}

/// Puts every row that has open groups onto the list of its own; gives their number.
fn queue_own_groups(worker: &mut Worker, labels: &[u32], view: &GroupView) -> u64 {
    let mut n_open = 0;
    for (slot, &label) in labels.iter().enumerate() {
        if worker.groups.scores.open[slot] != 0 {
            worker.groups.push(view.grouping.group_of(label), slot);
            n_open += 1;
        }
    }
    n_open
}
