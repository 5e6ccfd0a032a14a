//! A data set in the hands of the CPU: what is kept from pass to pass.

use std::cell::OnceCell;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::bounds::{Bounds, UNKNOWN, steps};
use super::coarse::{CoarseTable, usual_norm};
use super::groups::{GroupBounds, Grouping};
use super::looks::FirstLook;
use super::policy::{Mode, Policy};
use super::sums;
use super::task::{PassPlan, Places, Sums, Tally, Task, Worker, cut};
use super::{CpuBackend, Pruning};
use crate::backend::{Pass, Session, Sessions, TwoNearest};
use crate::error::Result;
use crate::partial::ClusterPartial;
use crate::sys;
use crate::tiles::{Centroids, TileSet};

pub(super) struct CpuSession<'d> {
    backend: &'d CpuBackend,
    data: &'d TileSet,
    /// Of the last pass; empty before the first.
    labels: Vec<u32>,
    /// What later passes have of earlier ones with centroids of the same shape; `None` before the first pass.
    kept: Option<Kept>,
    /// See [`usual_norm`]; computed when first asked for.
    usual_norm: OnceCell<f64>,
}

/// What is kept between passes, beside the labels.
struct Kept {
    /// Clusters and features.
    shape: (usize, usize),
    /// Exact sums under the labels.
    sums: Mutex<ClusterPartial>,
    /// One per thread.
    workers: Vec<Mutex<Worker>>,
    policy: Policy,
    /// Centroids of the last pass, from which bounds follow them.
    centroids: Centroids,
    /// `None` where nothing is ever pruned.
    bounds: Option<Bounds>,
    /// There in [`Mode::Groups`].
    groups: Option<GroupBounds>,
}

impl<'d> CpuSession<'d> {
    pub(super) fn new(backend: &'d CpuBackend, data: &'d TileSet) -> Self {
        Self {
            backend,
            data,
            labels: Vec::new(),
            kept: None,
            usual_norm: OnceCell::new(),
        }
    }

    /// What a first look in integers needs; `None` for shapes that do not suit it.
    fn coarse_table(&self, centroids: &Centroids, finest: bool) -> Option<CoarseTable> {
        let usual_norm = *self.usual_norm.get_or_init(|| usual_norm(self.data));
        let table = CoarseTable::new(centroids, usual_norm, finest)?;
        let look = FirstLook::new(&self.backend.kernels, centroids);
        Some(if look == FirstLook::Matrix {
            table.with_digits()
        } else {
            table
        })
    }

    /// Begins with centroids of a shape.
    fn start(&self, centroids: &Centroids) -> Kept {
        let (k, d) = (centroids.n_clusters(), centroids.n_features());
        let n_rows = self.data.n_rows();
        let pruning = if k == 1 { Pruning::Never } else { self.backend.pruning };
        let workers = 0..self.backend.threads();
        let policy = Policy::new(pruning, k, d, FirstLook::new(&self.backend.kernels, centroids));
        Kept {
            shape: (k, d),
            sums: Mutex::new(ClusterPartial::zero(k, d)),
            workers: workers
                .map(|_| Mutex::new(Worker::new(k, d, &self.backend.kernels)))
                .collect(),
            centroids: centroids.clone(),
            bounds: (pruning != Pruning::Never).then(|| Bounds::new(k, n_rows, policy.has_rivals())),
            policy,
            groups: None,
        }
    }
}

impl CpuSession<'_> {
    /// What a pass needs of its session. `two`: it finds runners-up as well.
    fn begin<'c>(&mut self, centroids: &'c Centroids, two: bool) -> (Kept, PassPlan<'c>) {
        let shape = (centroids.n_clusters(), centroids.n_features());
        let kept = self.kept.take().filter(|kept| kept.shape == shape);
        let from_scratch = kept.is_none();
        let mut kept = kept.unwrap_or_else(|| self.start(centroids));
        if !two && !from_scratch {
            kept.follow(centroids, self.data, &self.labels, self.backend);
        }
        let first = self.labels.is_empty();
        if first {
            self.labels = labels(self.data.n_rows());
        }
        // Where sums begin anew among labels, those that a coarse look leaves open could not be counted as moved.
        let coarse = (kept.policy.is_coarse() && from_scratch == first)
            .then(|| self.coarse_table(centroids, kept.policy.is_finest()))
            .flatten();
        let plan = PassPlan {
            coarse,
            sums: if from_scratch { Sums::FromScratch } else { Sums::Kept },
            first,
            two,
            ..PassPlan::new(self.backend.kernels, centroids)
        };
        let plan = if two { plan } else { kept.with_bounds(plan) };
        (kept, plan)
    }

    /// Takes back what was lent to a pass, and gives what came of it.
    fn end(&mut self, mut kept: Kept, plan: &PassPlan<'_>) -> (Pass, Tally) {
        let tally = kept.end_pass(plan, self.data.n_rows());
        let n_rows = self.data.n_rows() as u64;
        let pass = Pass {
            partial: lock(&kept.sums).clone(),
            n_moved: if plan.first { n_rows } else { tally.n_moved },
            n_doubtful: tally.n_doubtful,
            n_read: tally.n_read,
            n_unsettled: tally.n_unsettled,
        };
        self.kept = Some(kept);
        (pass, tally)
    }

    /// A pass that labels all rows; with places for runners-up, it finds these as well, and keeps no bounds.
    fn pass(&mut self, centroids: &Centroids, runners_up: &mut [u32]) -> (Pass, Tally) {
        let (mut kept, plan) = self.begin(centroids, !runners_up.is_empty());
        let shares = kept.shares(&plan, self.data, [&mut self.labels, runners_up], self.backend);
        make(self.backend, vec![shares]);
        self.end(kept, &plan)
    }
}

/// Several runs on one data set: a block that is read for one of them is there for all.
pub(super) struct CpuSessions<'d> {
    backend: &'d CpuBackend,
    sessions: Vec<CpuSession<'d>>,
}

impl<'d> CpuSessions<'d> {
    pub(super) fn new(backend: &'d CpuBackend, data: &'d TileSet, n_runs: usize) -> Self {
        Self {
            backend,
            sessions: (0..n_runs).map(|_| CpuSession::new(backend, data)).collect(),
        }
    }
}

impl Sessions for CpuSessions<'_> {
    fn session(&mut self, run: usize) -> &mut dyn Session {
        &mut self.sessions[run]
    }

    fn assign(&mut self, sets: &[Option<&Centroids>]) -> Result<Vec<Option<Pass>>> {
        let mut begun: Vec<_> = (self.sessions.iter_mut().zip(sets))
            .map(|(session, centroids)| centroids.map(|centroids| session.begin(centroids, false)))
            .collect();
        let shares = (self.sessions.iter_mut().zip(&mut begun)).filter_map(|(session, begun)| {
            let (kept, plan) = begun.as_mut()?;
            let CpuSession { data, labels, .. } = session;
            Some(kept.shares(plan, data, [labels, &mut []], self.backend))
        });
        make(self.backend, shares.collect());
        let ended = (self.sessions.iter_mut().zip(begun))
            .map(|(session, begun)| begun.map(|(kept, plan)| session.end(kept, &plan).0));
        Ok(ended.collect())
    }
}

impl Session for CpuSession<'_> {
    fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
        Ok(self.pass(centroids, &mut []).0)
    }

    fn resume(&mut self, centroids: &Centroids, labels: Vec<u32>, partial: ClusterPartial) -> Result<()> {
        let mut kept = self.start(centroids);
        kept.sums = Mutex::new(partial);
        (self.kept, self.labels) = (Some(kept), labels);
        Ok(())
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        Ok(self.labels.clone())
    }

    fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
        let n = self.data.n_rows();
        let (mut labels, mut runners_up) = (labels(n), labels(n));
        let is_coarse = FirstLook::new(&self.backend.kernels, centroids) != FirstLook::Floats
            && self.kept.as_ref().is_none_or(|kept| kept.policy.is_coarse_of_all());
        let is_finest = self.kept.as_ref().is_some_and(|kept| kept.policy.is_finest());
        let plan = PassPlan {
            coarse: is_coarse.then(|| self.coarse_table(centroids, is_finest)).flatten(),
            ..PassPlan::new(self.backend.kernels, centroids)
        };
        let places = Places {
            labels: &mut labels,
            runners_up: &mut runners_up,
            ..Places::default()
        };
        let tasks = cut(self.data, self.backend.threads(), places);
        let add = |mut a: Tally, b: Tally| {
            a.add(b);
            a
        };
        let tally = self.backend.install(|| {
            let of_task = |worker: &mut Worker, mut task: Task<'_>| {
                plan.assign(worker, &mut task);
                std::mem::take(&mut worker.tally)
            };
            let worker = || Worker::new(1, centroids.n_features(), &self.backend.kernels);
            tasks
                .into_par_iter()
                .map_init(worker, of_task)
                .reduce(Tally::default, add)
        });
        Ok(TwoNearest {
            labels,
            runners_up,
            may_have_ties: tally.n_ties > 0,
            n_doubtful: tally.n_doubtful,
            n_audited: 0,
        })
    }

    fn assign_two_nearest(&mut self, centroids: &Centroids) -> Result<(Pass, TwoNearest)> {
        if let Some(kept) = &mut self.kept {
            // Of no more use, and as large as what comes in their place.
            (kept.bounds, kept.groups) = (None, None);
        }
        let mut runners_up = labels(self.data.n_rows());
        let (pass, tally) = self.pass(centroids, &mut runners_up);
        self.kept = None;
        let nearest = TwoNearest {
            // A copy of them would take as long as a pass over few features.
            labels: std::mem::take(&mut self.labels),
            runners_up,
            may_have_ties: tally.n_ties > 0,
            n_doubtful: 0,
            n_audited: 0,
        };
        Ok((pass, nearest))
    }
}

impl Kept {
    /// Takes the bounds to where the centroids are now, those of groups first if the mode has become theirs.
    fn follow(&mut self, centroids: &Centroids, data: &TileSet, labels: &[u32], backend: &CpuBackend) {
        let Some(bounds) = &mut self.bounds else {
            return;
        };
        let steps = steps(&self.centroids, centroids, &backend.kernels);
        self.centroids.clone_from(centroids);
        bounds.follow(&steps);
        let worn = self.groups.as_ref().is_some_and(GroupBounds::is_worn);
        match self.policy.mode() {
            Mode::Groups { all } if all || worn => {
                // Both kinds of bounds share their places; beside those of groups, those against rivals would take too much.
                bounds.blocks.fill(UNKNOWN);
                bounds.rivals = None;
                self.groups = Grouping::new(centroids)
                    .map(|grouping| GroupBounds::new(grouping, centroids, data, labels, &backend.kernels));
                self.policy.start_groups();
            }
            Mode::Groups { .. } => {
                let groups = self.groups.as_mut().expect("there in this mode");
                groups.follow(&steps);
            }
            _ => self.groups = None,
        }
    }

    /// A pass that goes by the bounds, and keeps them.
    fn with_bounds<'p>(&self, plan: PassPlan<'p>) -> PassPlan<'p> {
        PassPlan {
            ways: self.bounds.as_ref().map(Bounds::ways).unwrap_or_default(),
            rivals: self.bounds.as_ref().is_some_and(|bounds| bounds.rivals.is_some()),
            mode: self.policy.mode(),
            groups: self.groups.as_ref().map(|groups| groups.view(plan.centroids)),
            ..plan
        }
    }

    /// The shares of a pass.
    fn shares<'p>(
        &'p mut self,
        plan: &'p PassPlan<'p>,
        data: &'p TileSet,
        [labels, runners_up]: [&'p mut [u32]; 2],
        backend: &CpuBackend,
    ) -> Vec<Share<'p>> {
        let mut places = Places {
            labels,
            runners_up,
            ..Places::default()
        };
        if let Some(bounds) = &mut self.bounds {
            (places.row_bounds, places.block_bounds) = (&mut bounds.rows, &mut bounds.blocks);
            if let Some(rivals) = &mut bounds.rivals {
                (places.rival_bounds, places.rivals) = (&mut rivals.bounds, &mut rivals.clusters);
            }
        }
        if let Some(groups) = &mut self.groups {
            places.lower = &mut groups.lower;
        }
        let (workers, sums) = (&self.workers, &self.sums);
        cut(data, backend.threads(), places)
            .into_iter()
            .map(|task| Share {
                plan,
                workers,
                sums,
                task,
            })
            .collect()
    }

    /// Adds up what the threads found in a pass.
    fn end_pass(&mut self, plan: &PassPlan<'_>, n_rows: usize) -> Tally {
        let mut tally = Tally::default();
        for worker in &self.workers {
            let mut worker = lock(worker);
            worker.delta.settle(&mut lock(&self.sums));
            tally.add(std::mem::take(&mut worker.tally));
        }
        if !plan.two {
            let rounding = plan.coarse.as_ref().map(|table| table.rounding);
            self.policy.learn(&tally, n_rows, rounding);
        }
        tally
    }
}

/// A task of a pass, with what all threads keep for it.
struct Share<'p> {
    plan: &'p PassPlan<'p>,
    workers: &'p [Mutex<Worker>],
    sums: &'p Mutex<ClusterPartial>,
    task: Task<'p>,
}

/// Makes passes over the same rows together: each is cut into the same shares, and a thread takes the blocks of a share
/// one by one through all of them.
fn make(backend: &CpuBackend, passes: Vec<Vec<Share<'_>>>) {
    let n_shares = passes.first().map_or(0, Vec::len);
    let mut by_rows: Vec<Vec<Share<'_>>> = (0..n_shares).map(|_| Vec::with_capacity(passes.len())).collect();
    for shares in passes {
        for (together, share) in by_rows.iter_mut().zip(shares) {
            together.push(share);
        }
    }
    backend.install(|| by_rows.into_par_iter().for_each(make_together));
}

fn make_together(mut shares: Vec<Share<'_>>) {
    let thread = rayon::current_thread_index().unwrap_or(0);
    let n_blocks = shares[0].task.n_blocks();
    let mut workers: Vec<_> = shares.iter().map(|share| lock(&share.workers[thread])).collect();
    for (share, worker) in shares.iter().zip(&mut workers) {
        if worker.delta.n_rows() + share.task.labels.len() > sums::MAX_ROWS {
            worker.delta.settle(&mut lock(share.sums));
        }
    }
    for block in 0..n_blocks {
        for (share, worker) in shares.iter_mut().zip(&mut workers) {
            share.plan.take_block(worker, &mut share.task, block);
        }
    }
    for (share, worker) in shares.iter_mut().zip(&mut workers) {
        share.plan.finish(worker, &mut share.task);
    }
}

/// Room for the labels of so many rows; the pass that fills them first takes the memory, on all threads.
fn labels(n_rows: usize) -> Vec<u32> {
    sys::zeros(n_rows).expect("memory for the labels")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
