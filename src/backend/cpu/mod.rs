//! The CPU backend: blocks of 64 rows through vector kernels, doubtful rows decided in integers, sums kept up to date
//! by what moved.
//!
//! A session keeps the exact sums of its last pass. Because they are integers, taking a row out of its old cluster and
//! adding it to the new one gives the bits that a full recount would give, so late passes add up almost nothing.

mod kernel;
mod lanes;

use rayon::prelude::*;

use self::kernel::{BlockScores, Isa, PackedCentroids};
use super::certificate;
use super::scalar;
use super::{Backend, NO_CLUSTER, Pass, Session, TwoNearest};
use crate::error::{Error, Result};
use crate::partial::ClusterPartial;
use crate::tiles::{BLOCK, Centroids, Chunk, TileSet, tile_index};

/// Most rows of a task, so that its `i64` sums hold even with the largest weights (2^23 * 2^16 * 2^22 = 2^61).
const MAX_TASK_ROWS: usize = 1 << 22;
/// Tasks per thread and pass: enough to even out, few enough that merging sums costs nothing.
const TASKS_PER_THREAD: usize = 8;

/// The CPU backend: a thread pool and the best instruction set that the processor has.
pub struct CpuBackend {
    pool: rayon::ThreadPool,
    isa: Isa,
}

impl CpuBackend {
    /// A backend with `threads` threads (0: one per core) and the best instruction set there is.
    ///
    /// # Errors
    /// [`Error::Internal`] where the operating system gives no threads.
    pub fn new(threads: usize) -> Result<Self> {
        Self::with_isa(threads, kernel::available()[0])
    }

    /// One backend for every instruction set that this processor has, best first: all give the same bits.
    ///
    /// # Errors
    /// As [`CpuBackend::new`].
    pub fn for_each_isa(threads: usize) -> Result<Vec<Self>> {
        kernel::available()
            .into_iter()
            .map(|isa| Self::with_isa(threads, isa))
            .collect()
    }

    fn with_isa(threads: usize, isa: Isa) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("kohort-cpu-{index}"))
            .build()
            .map_err(|error| Error::Internal(format!("no threads: {error}")))?;
        Ok(Self { pool, isa })
    }

    /// Runs `work` on this backend's threads: everything parallel in it uses them and no others.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn description(&self) -> String {
        let threads = self.threads();
        format!(
            "{threads} thread{}, {}",
            if threads == 1 { "" } else { "s" },
            self.isa.name
        )
    }

    fn open<'d>(&'d self, data: &'d TileSet, _max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        Ok(Box::new(CpuSession {
            backend: self,
            data,
            labels: vec![NO_CLUSTER; data.n_rows()],
            sums: None,
        }))
    }
}

struct CpuSession<'d> {
    backend: &'d CpuBackend,
    data: &'d TileSet,
    labels: Vec<u32>,
    /// Exact sums under `labels`; `None` before the first pass.
    sums: Option<ClusterPartial>,
}

impl Session for CpuSession<'_> {
    fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
        let shape = (centroids.n_clusters(), centroids.n_features());
        let kept = self
            .sums
            .take()
            .filter(|sums| (sums.n_clusters(), sums.n_features()) == shape);
        let pass = PassPlan::new(self.backend.isa, centroids, kept.is_none());
        let tasks = cut_tasks(self.data, self.backend.threads(), &mut self.labels, None);
        let deltas: Vec<Delta> = self
            .backend
            .pool
            .install(|| tasks.into_par_iter().map(|task| pass.assign(task)).collect());
        let mut partial = kept.unwrap_or_else(|| ClusterPartial::zero(shape.0, shape.1));
        let (mut n_moved, mut n_doubtful) = (0, 0);
        for delta in &deltas {
            delta.apply_to(&mut partial);
            n_moved += delta.n_moved;
            n_doubtful += delta.n_doubtful;
        }
        self.sums = Some(partial.clone());
        Ok(Pass {
            partial,
            n_moved,
            n_doubtful,
        })
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        Ok(self.labels.clone())
    }

    fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
        let n = self.data.n_rows();
        let (mut labels, mut runners_up) = (vec![NO_CLUSTER; n], vec![NO_CLUSTER; n]);
        let pass = PassPlan::new(self.backend.isa, centroids, true);
        let tasks = cut_tasks(self.data, self.backend.threads(), &mut labels, Some(&mut runners_up));
        let n_doubtful = self
            .backend
            .pool
            .install(|| tasks.into_par_iter().map(|task| pass.two_nearest(task)).sum());
        Ok(TwoNearest {
            labels,
            runners_up,
            n_doubtful,
        })
    }
}

/// A run of blocks of one chunk, with the places for their labels.
struct Task<'t> {
    chunk: &'t Chunk,
    first_block: usize,
    labels: &'t mut [u32],
    runners_up: &'t mut [u32],
}

/// Cuts the data into tasks of about equal size.
fn cut_tasks<'t>(
    data: &'t TileSet,
    threads: usize,
    labels: &'t mut [u32],
    mut runners_up: Option<&'t mut [u32]>,
) -> Vec<Task<'t>> {
    let wanted = data.n_rows().div_ceil(threads * TASKS_PER_THREAD).div_ceil(BLOCK) * BLOCK;
    let task_rows = wanted.clamp(BLOCK, MAX_TASK_ROWS);
    let mut tasks = Vec::new();
    let mut rest = labels;
    for chunk in data.chunks() {
        for first in (0..chunk.n_rows()).step_by(task_rows) {
            let rows = task_rows.min(chunk.n_rows() - first);
            let (labels, tail) = rest.split_at_mut(rows);
            rest = tail;
            let second = runners_up.take().map(|all| all.split_at_mut(rows));
            let (second, tail) = second.map_or((&mut [][..], None), |(head, tail)| (head, Some(tail)));
            runners_up = tail;
            tasks.push(Task {
                chunk,
                first_block: first / BLOCK,
                labels,
                runners_up: second,
            });
        }
    }
    tasks
}

/// What all tasks of a pass share.
struct PassPlan<'p> {
    isa: Isa,
    centroids: &'p Centroids,
    packed: PackedCentroids,
    factor: f32,
    /// No sums are kept from an earlier pass: every row is added, none taken out.
    from_scratch: bool,
}

impl<'p> PassPlan<'p> {
    fn new(isa: Isa, centroids: &'p Centroids, from_scratch: bool) -> Self {
        let packed = PackedCentroids::new(centroids);
        Self {
            isa,
            centroids,
            packed,
            factor: certificate::factor(centroids.n_features()),
            from_scratch,
        }
    }

    fn assign(&self, task: Task<'_>) -> Delta {
        let mut delta = Delta::new(self.centroids.n_clusters(), self.centroids.n_features());
        let mut scores = BlockScores::new();
        let mut x = vec![0; self.centroids.n_features()];
        for (block, labels) in task.labels.chunks_mut(BLOCK).enumerate() {
            let block = task.first_block + block;
            (self.isa.two)(task.chunk.block(block), &self.packed, &mut scores);
            for (lane, label) in labels.iter_mut().enumerate() {
                let row = block * BLOCK + lane;
                let mut nearest = scores.nearest[lane];
                if !certificate::proves(
                    scores.best[lane],
                    scores.second[lane],
                    scores.sq_norm[lane],
                    self.factor,
                ) {
                    task.chunk.read_row(row, &mut x);
                    nearest = scalar::two_nearest(&x, self.centroids).0;
                    delta.n_doubtful += 1;
                }
                let previous = std::mem::replace(label, nearest);
                delta.n_moved += u64::from(previous != nearest);
                if self.from_scratch {
                    delta.add(nearest, task.chunk, row, 1);
                } else if previous != nearest {
                    delta.add(previous, task.chunk, row, -1);
                    delta.add(nearest, task.chunk, row, 1);
                }
            }
        }
        delta
    }

    /// Fills the task's labels and runners-up; gives the number of doubtful rows.
    fn two_nearest(&self, task: Task<'_>) -> u64 {
        let mut scores = BlockScores::new();
        let mut x = vec![0; self.centroids.n_features()];
        let mut n_doubtful = 0;
        let places = task.labels.chunks_mut(BLOCK).zip(task.runners_up.chunks_mut(BLOCK));
        for (block, (labels, runners_up)) in places.enumerate() {
            let block = task.first_block + block;
            (self.isa.three)(task.chunk.block(block), &self.packed, &mut scores);
            for (lane, (label, runner_up)) in labels.iter_mut().zip(runners_up).enumerate() {
                let proves = |lower, upper| certificate::proves(lower, upper, scores.sq_norm[lane], self.factor);
                let (best, second, third) = (scores.best[lane], scores.second[lane], scores.third[lane]);
                (*label, *runner_up) = if proves(best, second) && proves(second, third) {
                    (scores.nearest[lane], scores.runner_up[lane])
                } else {
                    task.chunk.read_row(block * BLOCK + lane, &mut x);
                    n_doubtful += 1;
                    scalar::two_nearest(&x, self.centroids)
                };
                if self.centroids.n_clusters() == 1 {
                    *runner_up = NO_CLUSTER;
                }
            }
        }
        n_doubtful
    }
}

/// Changes of the sums that one task brings.
struct Delta {
    n_features: usize,
    sums: Vec<i64>,
    cluster_weights: Vec<i64>,
    counts: Vec<i64>,
    n_moved: u64,
    n_doubtful: u64,
}

impl Delta {
    fn new(n_clusters: usize, n_features: usize) -> Self {
        Self {
            n_features,
            sums: vec![0; n_clusters * n_features],
            cluster_weights: vec![0; n_clusters],
            counts: vec![0; n_clusters],
            n_moved: 0,
            n_doubtful: 0,
        }
    }

    /// Adds a row of a chunk to a cluster (`sign` 1) or takes it out (-1).
    #[inline]
    fn add(&mut self, cluster: u32, chunk: &Chunk, row: usize, sign: i64) {
        let (cluster, d) = (cluster as usize, self.n_features);
        let weight = sign * i64::from(chunk.weight(row));
        self.cluster_weights[cluster] += weight;
        self.counts[cluster] += sign;
        let values = chunk.values()[tile_index(row, 0, d)..].iter().step_by(BLOCK);
        for (sum, &x) in self.sums[cluster * d..(cluster + 1) * d].iter_mut().zip(values) {
            *sum += weight * i64::from(x as i32);
        }
    }

    fn apply_to(&self, partial: &mut ClusterPartial) {
        partial
            .sums
            .iter_mut()
            .zip(&self.sums)
            .for_each(|(sum, &delta)| *sum += i128::from(delta));
        let add = |total: &mut u64, delta: i64| {
            *total = total.checked_add_signed(delta).expect("rows leave where they came in")
        };
        partial
            .cluster_weights
            .iter_mut()
            .zip(&self.cluster_weights)
            .for_each(|(total, &delta)| add(total, delta));
        partial
            .counts
            .iter_mut()
            .zip(&self.counts)
            .for_each(|(total, &delta)| add(total, delta));
    }
}
