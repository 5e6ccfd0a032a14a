//! A run of blocks in the hands of one thread.

use super::bounds::{UNKNOWN, Ways};
use super::coarse::{CoarseRows, CoarseTable, Rounding};
use super::exact::Exact;
use super::group_task::GroupWorker;
use super::groups::GroupView;
use super::kernel::{CentroidTable, Kernels, Tile, TileScores};
use super::looks::FirstLook;
use super::policy::Mode;
use super::sums::{Delta, bits};
use crate::backend::NO_CLUSTER;
use crate::sys::fetch_ahead;
use crate::tiles::{BLOCK, Block, Centroids, Chunk, TileSet, block_words, n_pairs};

/// A run of blocks of one chunk, with the places for what is found out about their rows.
pub(super) struct Task<'t> {
    pub(super) chunk: &'t Chunk,
    pub(super) first_block: usize,
    pub(super) labels: &'t mut [u32],
    /// Empty where no runners-up are wanted.
    pub(super) runners_up: &'t mut [u32],
    /// Empty where no bounds are kept.
    pub(super) row_bounds: &'t mut [f32],
    /// Bounds against rivals, and these; empty where none are told apart.
    pub(super) rival_bounds: &'t mut [f32],
    pub(super) rivals: &'t mut [u16],
    pub(super) block_bounds: &'t mut [f32],
    /// Rows times `n_lower`, empty where no bounds of groups are kept.
    pub(super) lower: &'t mut [u16],
}

/// Most rows of a task.
const MAX_TASK_ROWS: usize = 1 << 22;
/// Memory takes about as long to answer as a block of so many bytes takes to be worked on.
const FETCH_AHEAD_BYTES: usize = 1 << 13;
/// Tasks per thread and pass: enough to even out, few enough that they cost nothing.
const TASKS_PER_THREAD: usize = 8;

/// Where what is found out about all rows goes; empty what is not wanted.
#[derive(Default)]
pub(super) struct Places<'t> {
    pub(super) labels: &'t mut [u32],
    pub(super) runners_up: &'t mut [u32],
    pub(super) row_bounds: &'t mut [f32],
    pub(super) rival_bounds: &'t mut [f32],
    pub(super) rivals: &'t mut [u16],
    pub(super) block_bounds: &'t mut [f32],
    pub(super) lower: &'t mut [u16],
}

/// Cuts the data into tasks of about equal size.
pub(super) fn cut<'t>(data: &'t TileSet, threads: usize, mut places: Places<'t>) -> Vec<Task<'t>> {
    let wanted = data.n_rows().div_ceil(threads * TASKS_PER_THREAD).div_ceil(BLOCK) * BLOCK;
    let task_rows = wanted.clamp(BLOCK, MAX_TASK_ROWS);
    let n_lower = places.lower.len() / data.n_rows().max(1);
    let mut tasks = Vec::new();
    for chunk in data.chunks() {
        for first in (0..chunk.n_rows()).step_by(task_rows) {
            let rows = task_rows.min(chunk.n_rows() - first);
            tasks.push(Task {
                chunk,
                first_block: first / BLOCK,
                labels: take(&mut places.labels, rows),
                runners_up: take(&mut places.runners_up, rows),
                row_bounds: take(&mut places.row_bounds, rows),
                rival_bounds: take(&mut places.rival_bounds, rows),
                rivals: take(&mut places.rivals, rows),
                block_bounds: take(&mut places.block_bounds, rows.div_ceil(BLOCK)),
                lower: take(&mut places.lower, rows * n_lower),
            });
        }
    }
    tasks
}

/// The first `n` of the rest, or nothing where there is nothing.
fn take<'t, T>(rest: &mut &'t mut [T], n: usize) -> &'t mut [T] {
    rest.split_off_mut(..n.min(rest.len())).unwrap_or_default()
}

impl<'t> Task<'t> {
    pub(super) fn n_blocks(&self) -> usize {
        self.labels.len().div_ceil(BLOCK)
    }

    /// Rows of a block of this task, as places in `labels`.
    pub(super) fn rows_of(&self, block: usize) -> std::ops::Range<usize> {
        block * BLOCK..((block + 1) * BLOCK).min(self.labels.len())
    }

    /// A block as it stands.
    pub(super) fn block(&self, block: usize) -> Block<'t> {
        self.chunk.block(self.first_block + block)
    }

    /// What is to be fetched while a block is worked on, so far ahead that memory keeps up: the high bits of one that comes
    /// after it, or all of it.
    fn ahead(&self, block: usize, high_only: bool) -> &'t [u32] {
        let d = self.chunk.n_features();
        let len = block_words(d);
        let ahead = self.first_block + block + (FETCH_AHEAD_BYTES / (len * size_of::<u32>())).max(1);
        if ahead >= self.chunk.n_blocks() {
            return &[];
        }
        let wanted = if high_only { n_pairs(d) * BLOCK } else { len };
        &self.chunk.words()[ahead * len..][..wanted]
    }

    /// Where the first word of a row stands in its chunk.
    pub(super) fn place(&self, row: usize) -> usize {
        (self.first_block + row / BLOCK) * block_words(self.chunk.n_features()) + row % BLOCK
    }

    /// Has the low bits of a row fetched, which are to be read soon.
    fn fetch_low_bits(&self, row: usize) {
        let d = self.chunk.n_features();
        let low = self.place(row) + n_pairs(d) * BLOCK;
        let end = self.place(row) + block_words(d);
        let words = self.chunk.words();
        (low..end).step_by(BLOCK).for_each(|at| fetch_ahead(&words[at]));
    }

    pub(super) fn weight(&self, row: usize) -> u32 {
        self.chunk.weight(self.first_block * BLOCK + row)
    }
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) n_moved: u64,
    pub(super) n_doubtful: u64,
    /// Rows among these that are equally far from some of their nearest centroids.
    pub(super) n_ties: u64,
    /// Rows that were looked at.
    pub(super) n_read: u64,
    /// Pairs of rows and groups that were measured.
    pub(super) n_pairs: u64,
    /// Rows that had a coarse look, and those of them that it did not settle.
    pub(super) n_coarse: u64,
    pub(super) n_unsettled: u64,
    /// Rows that keep bounds, and those of them that the bounds did not clear.
    pub(super) n_watched: u64,
    pub(super) n_unsafe: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.n_moved += other.n_moved;
        self.n_doubtful += other.n_doubtful;
        self.n_ties += other.n_ties;
        self.n_read += other.n_read;
        self.n_pairs += other.n_pairs;
        self.n_coarse += other.n_coarse;
        self.n_unsettled += other.n_unsettled;
        self.n_watched += other.n_watched;
        self.n_unsafe += other.n_unsafe;
    }
}

/// What one thread keeps over all tasks of all passes.
pub(super) struct Worker {
    pub(super) delta: Delta,
    pub(super) tally: Tally,
    pub(super) exact: Exact,
    pub(super) groups: GroupWorker,
    scores: TileScores,
    coarse: CoarseRows,
    /// Rows gathered from several blocks, as they stand in memory.
    gathered: Vec<u32>,
    /// Rows of a tile as floats.
    pub(super) values: Vec<f32>,
    /// Rows that need a look, as places in the task.
    pending: Vec<u32>,
    /// Rows that need another one after a coarse look.
    unsettled: Vec<u32>,
}

/// From so many moved rows of a block on, all of it is laid out at once.
const MANY_MOVED: u32 = 12;

/// How closely rows are looked at.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    /// As the pass has it: in integers where that pays.
    First,
    /// So that an answer is sure.
    Second,
}

impl Worker {
    pub(super) fn new(n_clusters: usize, n_features: usize, kernels: &Kernels) -> Self {
        Self {
            delta: Delta::new(n_clusters, n_features, kernels),
            tally: Tally::default(),
            exact: Exact::default(),
            groups: GroupWorker::new(),
            scores: TileScores::new(),
            coarse: CoarseRows::new(),
            gathered: vec![0; block_words(n_features)],
            values: vec![0.0; n_features * BLOCK],
            pending: Vec::with_capacity(2 * BLOCK),
            unsettled: Vec::with_capacity(2 * BLOCK),
        }
    }
}

impl Worker {
    #[inline]
    fn waiting(&mut self, look: Look) -> &mut Vec<u32> {
        match look {
            Look::First => &mut self.pending,
            Look::Second => &mut self.unsettled,
        }
    }

    /// Takes as many rows as there is room for from those that wait for such a look; gives their number.
    fn take_waiting(&mut self, look: Look, rows: &mut [u32; BLOCK]) -> usize {
        let waiting = self.waiting(look);
        let n = waiting.len().min(BLOCK);
        rows[..n].copy_from_slice(&waiting[..n]);
        waiting.drain(..n);
        n
    }
}

/// What all tasks of a pass share.
pub(super) struct PassPlan<'p> {
    pub(super) kernels: Kernels,
    pub(super) centroids: &'p Centroids,
    pub(super) table: CentroidTable,
    /// There where rows are looked at in integers first.
    pub(super) coarse: Option<CoarseTable>,
    /// Rows that it leaves open are held against two centroids alone, where no third is in question.
    pub(super) narrows: bool,
    pub(super) ways: Ways,
    /// Bounds tell single rivals apart.
    pub(super) rivals: bool,
    pub(super) mode: Mode,
    /// There in [`Mode::Groups`].
    pub(super) groups: Option<GroupView>,
    pub(super) sums: Sums,
    /// There are no labels from an earlier pass.
    pub(super) first: bool,
    /// Runners-up are found as well, and no bounds.
    pub(super) two: bool,
}

/// What a pass does to the sums of the clusters.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sums {
    /// Nothing.
    None,
    /// None are kept from an earlier pass: every row is added, none taken out.
    FromScratch,
    /// They follow the rows that move.
    Kept,
}

impl<'p> PassPlan<'p> {
    /// A pass that finds the two nearest centroids of every row, and nothing else.
    pub(super) fn new(kernels: Kernels, centroids: &'p Centroids) -> Self {
        let narrows = FirstLook::new(&kernels, centroids).narrows(centroids);
        Self {
            kernels,
            centroids,
            table: CentroidTable::new(centroids),
            coarse: None,
            narrows,
            ways: Ways::default(),
            rivals: false,
            mode: Mode::Plain,
            groups: None,
            sums: Sums::None,
            first: true,
            two: true,
        }
    }
}

impl PassPlan<'_> {
    /// Labels the rows of a task and adds up what moved.
    pub(super) fn assign(&self, worker: &mut Worker, task: &mut Task<'_>) {
        for block in 0..task.n_blocks() {
            self.take_block(worker, task, block);
        }
        self.finish(worker, task);
    }

    /// [`PassPlan::assign`] for one block; rows of it may wait for those that follow.
    #[inline]
    pub(super) fn take_block(&self, worker: &mut Worker, task: &mut Task<'_>, block: usize) {
        match self.mode {
            Mode::Groups { all } => {
                let view = self.groups.as_ref().expect("there in this mode");
                self.assign_block_by_groups(worker, task, block, view, all);
            }
            Mode::Prune { in_place_from } => self.prune_block(worker, task, block, in_place_from),
            Mode::Watch if self.mode.keeps_bounds(task.first_block + block) => {
                self.check(&mut worker.tally, task, block);
                self.assign_block(worker, task, block);
            }
            Mode::Watch | Mode::Plain => self.assign_block(worker, task, block),
        }
    }

    /// After the last block: the rows that wait.
    pub(super) fn finish(&self, worker: &mut Worker, task: &mut Task<'_>) {
        self.assign_gathered(worker, task, Look::First, 1);
        self.assign_gathered(worker, task, Look::Second, 1);
        worker.delta.follow(task.chunk.words(), true);
        if let Some(kernels) = &self.kernels.coarse {
            (kernels.leave)();
        }
        if self.two && self.centroids.n_clusters() == 1 {
            task.runners_up.fill(NO_CLUSTER);
        }
    }

    /// The rows (one bit each) of a block that need a look, and the least margin that any row has left; `None` where
    /// their bounds are not known.
    fn check(&self, tally: &mut Tally, task: &Task<'_>, block: usize) -> Option<(u64, f32)> {
        let (rows, bound) = (task.rows_of(block), task.block_bounds[block]);
        if bound.is_nan() {
            return None;
        }
        tally.n_watched += rows.len() as u64;
        let (ways, labels) = (&self.ways, &task.labels[rows.clone()]);
        let (mut open, mut least) = ways.unsafe_rows(&task.row_bounds[rows.clone()], labels, &self.kernels);
        if self.rivals {
            let (bounds, rivals) = (&task.rival_bounds[rows.clone()], &task.rivals[rows]);
            let (beside, least_beside) = ways.unsafe_beside(bounds, labels, rivals, &self.kernels);
            (open, least) = (open | beside, least.min(least_beside));
        }
        tally.n_unsafe += u64::from(open.count_ones());
        Some((open, least))
    }

    /// Labels those rows of a block that need a look, or has them wait until there is a tile of them.
    fn prune_block(&self, worker: &mut Worker, task: &mut Task<'_>, block: usize, in_place_from: u32) {
        let rows = task.rows_of(block);
        if self.ways.is_block_safe(task.block_bounds[block]) {
            worker.tally.n_watched += rows.len() as u64;
            return;
        }
        let Some((open, least)) = self.check(&mut worker.tally, task, block) else {
            self.assign_block(worker, task, block);
            return;
        };
        if open.count_ones() >= in_place_from.min(rows.len() as u32) {
            self.assign_block(worker, task, block);
            return;
        }
        // What the rows that wait will have left is not known yet: the next pass checks them one by one.
        task.block_bounds[block] = if open == 0 {
            self.ways.block_bound(least)
        } else {
            f32::NEG_INFINITY
        };
        worker.pending.extend(bits(open).map(|slot| (rows.start + slot) as u32));
        self.assign_gathered(worker, task, Look::First, BLOCK);
    }

    /// Labels all rows of a block where they stand; those that need another look keep their labels until then.
    fn assign_block(&self, worker: &mut Worker, task: &mut Task<'_>, block: usize) {
        let rows = task.rows_of(block);
        let ahead = task.ahead(block, self.reads_high_bits_alone());
        let values_of = task.block(block);
        let mut values = std::mem::take(&mut worker.values);
        if !self.is_coarse(Look::First) {
            values_of.unpack(&mut values);
        }
        let tile = Tile {
            block: values_of,
            values: &values,
            n_rows: rows.len(),
            ahead,
        };
        let keeps_bounds = self.mode.keeps_bounds(task.first_block + block);
        self.find(worker, &tile, Look::First, keeps_bounds);
        self.decide_narrowed(worker, task, |slot| rows.start + slot);
        for slot in bits(worker.scores.doubtful) {
            let row = rows.start + slot;
            task.fetch_low_bits(row);
            worker.unsettled.push(row as u32);
            worker.scores.margin[slot] = f32::NEG_INFINITY;
            worker.scores.margin_of_rest[slot] = f32::NEG_INFINITY;
            // Sums begin with some cluster for every row.
            worker.scores.nearest[slot] = if self.sums == Sums::Kept { task.labels[row] } else { 0 };
        }
        if self.two {
            task.runners_up[rows.clone()].copy_from_slice(&worker.scores.runner_up[..rows.len()]);
        }
        let labels = &mut task.labels[rows.clone()];
        let moved = if self.first {
            // Nothing to compare with; labels that were never read take their memory in one go.
            labels.copy_from_slice(&worker.scores.nearest[..rows.len()]);
            0
        } else {
            (self.kernels.exchange)(labels, &mut worker.scores.nearest)
        };
        worker.tally.n_moved += u64::from(moved.count_ones());
        self.keep_bounds(worker, task, block);
        let (labels, weight) = (&task.labels[rows.clone()], |slot| task.weight(rows.start + slot));
        match self.sums {
            Sums::FromScratch => worker.delta.add_block(labels, values_of, weight),
            Sums::Kept if moved.count_ones() >= MANY_MOVED => {
                let found = [&worker.scores.nearest[..], labels];
                worker.delta.shift_block(moved, found, values_of, weight);
            }
            Sums::Kept => {
                for slot in bits(moved) {
                    let row = rows.start + slot;
                    task.fetch_low_bits(row);
                    let labels = [worker.scores.nearest[slot], labels[slot]];
                    worker.delta.shift(task.place(row), labels, weight(slot));
                }
                worker.delta.follow(task.chunk.words(), false);
            }
            Sums::None => {}
        }
        worker.values = values;
        self.assign_gathered(worker, task, Look::Second, BLOCK);
    }

    /// Keeps the bounds of a block that was just looked at, where any are kept.
    fn keep_bounds(&self, worker: &Worker, task: &mut Task<'_>, block: usize) {
        if self.mode.keeps_bounds(task.first_block + block) {
            let rows = task.rows_of(block);
            let (ways, scores, n_rows) = (&self.ways, &worker.scores, rows.len());
            let mut margins = &scores.margin;
            let (labels, mut least) = (&task.labels[rows.clone()], f32::MAX);
            if self.rivals {
                let rivals = &mut task.rivals[rows.clone()];
                for (rival, &found) in rivals.iter_mut().zip(&scores.runner_up) {
                    *rival = self.rival(found);
                }
                let bounds = &mut task.rival_bounds[rows.clone()];
                least = ways.rival_bounds(&margins[..n_rows], labels, rivals, bounds, &self.kernels);
                margins = &scores.margin_of_rest;
            }
            let bounds = &mut task.row_bounds[rows];
            task.block_bounds[block] = least.min(ways.row_bounds(&margins[..n_rows], labels, bounds, &self.kernels));
        } else if self.mode != Mode::Plain {
            task.block_bounds[block] = UNKNOWN;
        }
    }

    /// Labels the rows that wait for such a look, 64 at a time, as long as there are `enough`.
    #[inline]
    fn assign_gathered(&self, worker: &mut Worker, task: &mut Task<'_>, look: Look, enough: usize) {
        while worker.waiting(look).len() >= enough {
            let mut rows = [0; BLOCK];
            let n = worker.take_waiting(look, &mut rows);
            self.assign_rows(worker, task, &rows[..n], look);
        }
    }

    /// Labels some rows of a task, at most 64.
    fn assign_rows(&self, worker: &mut Worker, task: &mut Task<'_>, rows: &[u32], look: Look) {
        let (mut gathered, mut values) = (std::mem::take(&mut worker.gathered), std::mem::take(&mut worker.values));
        let high_only = self.is_coarse(look) && self.reads_high_bits_alone();
        gather(task, rows, &mut gathered, high_only);
        let block = Block::new(&gathered, self.centroids.n_features());
        if !self.is_coarse(look) {
            block.unpack(&mut values);
        }
        let tile = Tile {
            block,
            values: &values,
            n_rows: rows.len(),
            ahead: &[],
        };
        self.find(worker, &tile, look, self.mode != Mode::Plain);
        if look == Look::First {
            self.decide_narrowed(worker, task, |slot| rows[slot] as usize);
        }
        (worker.gathered, worker.values) = (gathered, values);
        for (slot, &row) in rows.iter().enumerate() {
            if worker.scores.doubtful >> slot & 1 == 1 {
                worker.unsettled.push(row);
                continue;
            }
            let (row, nearest) = (row as usize, worker.scores.nearest[slot]);
            let previous = std::mem::replace(&mut task.labels[row], nearest);
            if self.two {
                task.runners_up[row] = worker.scores.runner_up[slot];
            } else if let Some(bound) = task.row_bounds.get_mut(row) {
                let mut margin = worker.scores.margin[slot];
                if self.rivals {
                    task.rivals[row] = self.rival(worker.scores.runner_up[slot]);
                    task.rival_bounds[row] = self.ways.rival_bound(margin, nearest, task.rivals[row]);
                    margin = worker.scores.margin_of_rest[slot];
                }
                *bound = self.ways.row_bound(margin, nearest);
            }
            if previous != nearest {
                worker.tally.n_moved += 1;
                if self.sums != Sums::None {
                    worker
                        .delta
                        .shift(task.place(row), [previous, nearest], task.weight(row));
                }
            }
        }
        worker.delta.follow(task.chunk.words(), false);
        if look == Look::First {
            self.assign_gathered(worker, task, Look::Second, BLOCK);
        }
    }

    /// Whether such a look is taken in integers.
    fn is_coarse(&self, look: Look) -> bool {
        self.coarse.is_some() && look == Look::First
    }

    /// Whether most rows are labelled without their low bits.
    fn reads_high_bits_alone(&self) -> bool {
        let coarse = self.coarse.as_ref().filter(|_| self.sums != Sums::FromScratch);
        coarse.is_some_and(|table| !matches!(table.rounding, Rounding::Finer(_)))
    }

    /// A number that a kernel gives as a rival. Of rows that are in doubt, which have no bounds, it may be none.
    #[inline]
    fn rival(&self, found: u32) -> u16 {
        found.min(self.centroids.n_clusters() as u32 - 1) as u16
    }

    /// The nearest centroids of a tile's rows, in the worker's scores, but for those that need a second look, with what
    /// bounds need, where they are kept.
    fn find(&self, worker: &mut Worker, tile: &Tile<'_>, look: Look, keeps_bounds: bool) {
        let with_rival = keeps_bounds && self.rivals;
        match (self.kernels.coarse, &self.coarse) {
            (Some(kernels), Some(table)) if look == Look::First => {
                let score = match () {
                    () if self.two => kernels.two_nearest,
                    () if with_rival || self.narrows => kernels.with_rival,
                    () => kernels.nearest,
                };
                score(tile, table, &mut worker.coarse, &mut worker.scores);
                worker.tally.n_coarse += tile.n_rows as u64;
            }
            _ => {
                let score = match () {
                    () if self.two => self.kernels.two_nearest,
                    () if with_rival => self.kernels.with_rival,
                    () => self.kernels.nearest,
                };
                score(tile, &self.table, &mut worker.scores);
                self.decide(worker, tile);
            }
        }
        if look == Look::First {
            worker.tally.n_read += tile.n_rows as u64;
        }
    }

    /// Decides those rows of a tile that a look in integers left open between two centroids. `row_of`: where a row of the tile
    /// stands in the task. Others stay in doubt.
    fn decide_narrowed(&self, worker: &mut Worker, task: &Task<'_>, row_of: impl Fn(usize) -> usize) {
        let Worker {
            scores, tally, exact, ..
        } = worker;
        if self.narrows {
            let narrowed = scores.doubtful & scores.narrowed;
            scores.doubtful &= !narrowed;
            bits(narrowed).for_each(|slot| task.fetch_low_bits(row_of(slot)));
            for slot in bits(narrowed) {
                let row = row_of(slot);
                let values = task.block(row / BLOCK).row(row % BLOCK);
                let two = [scores.nearest[slot], scores.runner_up[slot]];
                let found = exact.nearer(values, two, self.centroids, &self.kernels);
                (scores.nearest[slot], scores.runner_up[slot]) = (found.nearest, found.other);
                // The rest is farther than the one of the two that seemed to be the nearest, and so than the nearest.
                scores.margin[slot] = if self.rivals {
                    found.margin
                } else {
                    found.margin.min(scores.margin_of_rest[slot])
                };
                tally.n_doubtful += u64::from(found.close);
                tally.n_ties += u64::from(found.tied);
            }
        }
        tally.n_unsettled += u64::from(scores.doubtful.count_ones());
    }

    /// Decides the doubtful rows of a tile exactly.
    fn decide(&self, worker: &mut Worker, tile: &Tile<'_>) {
        for slot in bits(std::mem::take(&mut worker.scores.doubtful)) {
            let ranked = worker
                .exact
                .two_nearest(&tile.values[slot..], self.centroids, &self.kernels);
            worker.scores.nearest[slot] = ranked.nearest;
            worker.scores.runner_up[slot] = ranked.runner_up;
            worker.scores.margin[slot] = ranked.margin;
            worker.scores.margin_of_rest[slot] = ranked.margin_of_rest;
            worker.tally.n_doubtful += 1;
            worker.tally.n_ties += u64::from(ranked.tied);
        }
    }
}

/// Copies rows of a task, or their high bits alone, side by side into the words of a block; what stands behind them stays
/// as it was.
fn gather(task: &Task<'_>, rows: &[u32], to: &mut [u32], high_only: bool) {
    let words = task.chunk.words();
    let to = if high_only {
        &mut to[..n_pairs(task.chunk.n_features()) * BLOCK]
    } else {
        to
    };
    for (slot, &row) in rows.iter().enumerate() {
        let from = words[task.place(row as usize)..].iter().step_by(BLOCK);
        for (to, from) in to[slot..].iter_mut().step_by(BLOCK).zip(from) {
            *to = *from;
        }
    }
}
