//! Lloyd's iteration in integers: assign, add up, refill empty clusters, move the centroids, stop.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::growing::{Growing, Samples, grows};
use super::seeding::{SeedRows, Seeding, seed};
use super::standing::{Book, RunKey};
use super::{Event, Init, KMeansParams, Observer};
use crate::backend::folding::FoldingBackend;
use crate::backend::lloyd::{LloydEnd, LloydRule, LloydRun, Reached, Verdict, centroid_shift, judge};
use crate::backend::{Backend, Pass, Session, Sessions, TwoNearest};
use crate::error::{Error, Result};
use crate::grid::CENTROID_SCALE;
use crate::partial::ClusterPartial;
use crate::tiles::{Centroids, RowKeys, TileSet};

/// Why the iteration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// No centroid moved, hence no label can change any more.
    Converged,
    /// The centroids moved less than `tol` asks for.
    Tolerance,
    /// `max_iter` iterations were made.
    MaxIter,
    /// Time was up: the run is one with as many iterations at most.
    MaxTime,
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct KMeansFit {
    /// Final centroids, the largest cluster first.
    pub centroids: Centroids,
    /// Labels and runners-up of all rows under these centroids.
    pub nearest: TwoNearest,
    /// Sums, integer weights and rows per cluster under these labels.
    pub partial: ClusterPartial,
    /// Exact inertia of the labels, in centroid units squared times weight units.
    pub inertia: u128,
    /// Iterations over all rows.
    pub n_iter: usize,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Rows of a pass: fewer than there are where equal ones were [folded](crate::backend::folding). Diagnostic.
    pub n_pass_rows: usize,
    /// Rows that needed exact arithmetic, over all passes. Diagnostic: may differ between backends.
    pub n_doubtful: u64,
    /// Rows assigned, over all passes, as many in each as there are in a pass. Diagnostic.
    pub n_assigned: u64,
    /// Rows that were looked at in the iterations, each as often as it was: bounds prove of the others that their labels
    /// stay. Diagnostic: may differ between backends.
    pub n_read: u64,
    /// Rows among these that 16 bits of their values left in doubt, over all passes of this run.
    pub n_unsettled: u64,
    /// How the first centroids were found; `None` where they were given.
    pub seeding: Option<Seeding>,
    /// What the device did that the user should know.
    pub notices: Vec<String>,
    /// Seconds spent on seeding, on iterations (an equal part each, where runs shared their passes) and on the final
    /// assignment.
    pub elapsed_s: [f64; 3],
}

/// Runs k-means on `data`.
///
/// `backend` makes the passes over all rows, `host` refines the restarts on the sample. The result depends on data,
/// keys and parameters alone, never on either backend. `inertia_unit` turns the exact inertia into what
/// [`Event::Iteration`] reports. There are fewer clusters than asked for where the data has fewer distinct rows (or,
/// rarely, where a cluster is empty when `max_iter` is reached).
///
/// # Errors
/// Parameters out of range, fewer rows than clusters, [`Error::Interrupted`], and those of the backends.
pub fn fit(
    backend: &dyn Backend,
    host: &dyn Backend,
    data: &TileSet,
    keys: &RowKeys,
    params: &KMeansParams,
    inertia_unit: f64,
    observer: &dyn Observer,
) -> Result<KMeansFit> {
    let mut found = None;
    let params = std::slice::from_ref(params);
    fit_many(backend, host, data, keys, params, inertia_unit, observer, &mut |fit| {
        found = Some(fit);
        Ok(ControlFlow::Continue(()))
    })?;
    found.ok_or_else(|| Error::Internal("a run gave no fit".into()))
}

/// As [`fit`], for several sets of parameters (numbers of clusters, seeds): `take` gets what [`fit`] gives for each of
/// them, in their order, until it asks for no more. Equal rows are folded once for all of them, where that pays or one of
/// them asks for it. Where the backend can, passes over the rows serve all runs that still go on, as many together
/// as keep no more memory than the data.
///
/// # Errors
/// As for [`fit`], and those of `take`.
#[expect(clippy::too_many_arguments, reason = "those of a fit, and who takes the fits")]
pub fn fit_many(
    backend: &dyn Backend,
    host: &dyn Backend,
    data: &TileSet,
    keys: &RowKeys,
    params: &[KMeansParams],
    inertia_unit: f64,
    observer: &dyn Observer,
    take: &mut dyn FnMut(KMeansFit) -> Result<ControlFlow<()>>,
) -> Result<()> {
    check(data, params)?;
    let folding = params.iter().map(|params| params.folding).max().unwrap_or_default();
    let backend = &FoldingBackend::new(backend, data, folding);
    let total_sq_norm = data.weighted_sq_norm();
    let together = (data.bytes() / (RUN_BYTES * data.n_rows())).max(1);
    let mut drawn = None;
    let mut samples = Samples::new(params.len() > 1);
    let mut groups = params.chunks(together);
    let job = |params: &KMeansParams| Lloyd {
        data,
        keys,
        total_sq_norm,
        max_iter: params.max_iter,
        tol: params.tol,
        target: None,
    };
    while let Some(group) = groups.next() {
        let mut begin = |params: &KMeansParams| Begun::new(job(params), host, params, &mut drawn, observer);
        let (mut begun, mut opened) = match group {
            [params] => {
                let (begun, session) = begin_while_it_opens(backend, data, params, &mut begin)?;
                (vec![begun], session)
            }
            _ => (group.iter().map(begin).collect::<Result<Vec<_>>>()?, None),
        };
        for (begun, params) in begun.iter_mut().zip(group) {
            let growing = Growing {
                backend,
                data,
                keys,
                params,
            };
            begun.grow(&growing, &mut samples, observer)?;
        }
        if groups.len() == 0 {
            drawn = None;
            samples.clear();
        }
        observer.event(Event::Stage("iterate"));
        let report = |n_iter, inertia: u128, n_moved, max_iter| {
            observer.event(Event::Iteration {
                iteration: n_iter,
                max_iter,
                inertia: inertia as f64 * inertia_unit,
                n_moved,
            });
        };
        let shared = if begun.len() > 1 {
            backend.open_shared(data, begun.len())
        } else {
            None
        };
        if let Some(mut sessions) = shared {
            let started = Instant::now();
            iterate_together(&mut *sessions, &mut begun, &report, observer)?;
            let iterated = started.elapsed() / begun.len() as u32;
            for (index, run) in begun.into_iter().enumerate() {
                let session = sessions.session(index);
                if take(run.finish(session, backend.n_pass_rows(), iterated, observer)?)?.is_break() {
                    return Ok(());
                }
            }
            continue;
        }
        let mut alone = |mut begun: Begun<'_>| {
            let started = Instant::now();
            let mut session = match opened.take() {
                Some(session) => session,
                None => backend.open(data, begun.run.centroids.n_clusters())?,
            };
            let max_iter = begun.run.job.max_iter;
            let report = |n_iter, inertia, n_moved| report(n_iter, inertia, n_moved, max_iter);
            begun.run.iterate(&mut *session, &report, observer)?;
            begun.finish(&mut *session, backend.n_pass_rows(), started.elapsed(), observer)
        };
        for begun in begun {
            if take(alone(begun)?)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Looks for the first centroids while equal rows are folded and the device takes hold of the data, if that leaves room
/// there for a sample.
fn begin_while_it_opens<'d, 'l>(
    backend: &'d FoldingBackend<'_>,
    data: &'d TileSet,
    params: &KMeansParams,
    begin: &mut dyn FnMut(&KMeansParams) -> Result<Begun<'l>>,
) -> Result<(Begun<'l>, Option<Box<dyn Session + 'd>>)> {
    let leaves_room = |bytes: usize| {
        let budget = backend.memory_budget();
        !(grows(data.n_rows(), params) && budget.is_some_and(|budget| bytes as u64 > budget / 2))
    };
    let open = || backend.open(data, params.n_clusters);
    if backend.may_fold() {
        let started = Instant::now();
        let mut opened = None;
        // Folding is work for all threads of the pool that the seeding belongs to.
        let begun = rayon::in_place_scope(|pool| {
            pool.spawn(|_| {
                let fold = backend.fold().filter(|fold| leaves_room(fold.tiles().bytes()));
                opened = fold.map(|_| open());
            });
            begin(params)
        });
        let seeded = started.elapsed();
        return Ok((Begun { seeded, ..begun? }, opened.transpose()?));
    }
    if !leaves_room(data.bytes()) {
        return Ok((begin(params)?, None));
    }
    std::thread::scope(|scope| {
        // Seeding stays in this thread, and in the pool that it belongs to.
        let opening = std::thread::Builder::new()
            .name("kohort-open".into())
            .spawn_scoped(scope, open);
        let begun = begin(params);
        let session = match opening {
            Ok(opening) => {
                let ended = opening.join();
                ended.unwrap_or_else(|_| Err(Error::Internal("the thread that opens the device ended early".into())))
            }
            Err(_) => open(),
        };
        Ok((begun?, Some(session?)))
    })
}

/// What a run keeps per row, at most: labels, runners-up and bounds.
pub(crate) const RUN_BYTES: usize = 12;

/// Whether there are rows enough.
fn check(data: &TileSet, params: &[KMeansParams]) -> Result<()> {
    let n_rows = if data.weighted() {
        (0..data.n_rows()).filter(|&row| data.weight(row) > 0).count()
    } else {
        data.n_rows()
    };
    for params in params {
        params.check()?;
        if data.n_rows() == 0 {
            return Err(Error::NoRows);
        }
        if n_rows < params.n_clusters {
            return Err(Error::TooFewRows {
                n_rows,
                n_clusters: params.n_clusters,
                weighted: n_rows < data.n_rows(),
            });
        }
    }
    Ok(())
}

/// A run that has its first centroids.
struct Begun<'l> {
    run: Run<'l>,
    seeding: Option<Seeding>,
    /// The first centroids come from a sample, and from here.
    is_seeded: bool,
    seeded: Duration,
    /// What devices did on the way here that the user should know.
    notices: Vec<String>,
}

impl<'l> Begun<'l> {
    /// With the centroids where the run stood, those that are given, or those that seeding finds.
    fn new(
        job: Lloyd<'l>,
        host: &dyn Backend,
        params: &KMeansParams,
        drawn: &mut Option<SeedRows>,
        observer: &'l dyn Observer,
    ) -> Result<Self> {
        let started = Instant::now();
        let run = RunKey {
            n_clusters: params.n_clusters,
            n_features: job.data.n_features(),
            total_sq_norm: job.total_sq_norm,
            is_given: matches!(params.init, Init::Centroids(_)),
            max_iter: params.max_iter,
        };
        let standings = observer.standings();
        let stood = standings.map(|standings| standings.standing(&run)).transpose()?;
        let stood = stood.flatten();
        let book = |seeding: &Option<Seeding>| {
            standings.map(|standings| Book {
                standings,
                run,
                seeding: seeding.clone(),
            })
        };
        if let Some(stood) = stood {
            let mut run = Run::new(job, stood.centroids, book(&stood.seeding));
            run.n_iter = stood.n_iter;
            [run.n_passes, run.n_doubtful, run.n_read] = stood.work;
            return Ok(Self {
                run,
                seeding: stood.seeding,
                is_seeded: false,
                seeded: started.elapsed(),
                notices: Vec::new(),
            });
        }
        let (start, seeding) = match &params.init {
            Init::Centroids(centroids) => (centroids.clone(), None),
            _ => {
                observer.event(Event::Stage("seed"));
                let (centroids, seeding) = seed(host, job.data, job.keys, params, drawn, observer)?;
                (centroids, Some(seeding))
            }
        };
        Ok(Self {
            run: Run::new(job, start, book(&seeding)),
            is_seeded: seeding.is_some(),
            seeding,
            seeded: started.elapsed(),
            notices: Vec::new(),
        })
    }

    /// Iterates on samples before all rows, where the first centroids were found on one, and keeps where the run stands.
    fn grow(&mut self, growing: &Growing<'_>, samples: &mut Samples, observer: &dyn Observer) -> Result<()> {
        if let (true, Some(seeding)) = (self.is_seeded, &mut self.seeding) {
            let started = Instant::now();
            let notices = growing.grow(&mut self.run.centroids, seeding, samples, observer)?;
            self.notices.extend(notices);
            if let Some(book) = &mut self.run.book {
                book.seeding = Some(seeding.clone());
            }
            self.seeded += started.elapsed();
        }
        if self.run.n_iter == 0 {
            self.run.keep(&self.run.centroids)?;
        }
        Ok(())
    }

    /// The two nearest centroids of all rows, and clusters in their final order. Where the rows have to be labelled once
    /// more, that pass finds both.
    fn finish(
        self,
        session: &mut dyn Session,
        n_pass_rows: usize,
        iterated: Duration,
        observer: &dyn Observer,
    ) -> Result<KMeansFit> {
        observer.event(Event::Stage("assign"));
        let Self {
            run,
            seeding,
            seeded,
            mut notices,
            ..
        } = self;
        let (started, data) = (Instant::now(), run.job.data);
        let mut nearest = None;
        let outcome = run.end(|centroids| {
            let (pass, found) = session.assign_two_nearest(centroids)?;
            nearest = Some(found);
            Ok(pass)
        })?;
        let nearest = match nearest {
            Some(nearest) => nearest,
            None => session.two_nearest(&outcome.centroids)?,
        };
        let n_doubtful = outcome.n_doubtful + nearest.n_doubtful;
        let numbered = number(session, data, &outcome, nearest)?;
        notices.extend(session.notices());
        notices
            .iter()
            .for_each(|notice| observer.event(Event::Notice(notice.clone())));
        Ok(KMeansFit {
            inertia: outcome.inertia,
            n_iter: outcome.n_iter,
            stop_reason: outcome.stop_reason,
            n_doubtful,
            n_read: outcome.n_read,
            n_unsettled: outcome.n_unsettled,
            n_pass_rows,
            n_assigned: (outcome.n_passes + 1) * n_pass_rows as u64,
            seeding,
            notices,
            elapsed_s: [seeded, iterated, started.elapsed()].map(|time| time.as_secs_f64()),
            centroids: numbered.centroids,
            nearest: numbered.nearest,
            partial: numbered.partial,
        })
    }
}

/// [`Run::iterate`] for several runs; a pass over the rows is for all that still iterate. `report` hears of each run's
/// `max_iter` as well.
fn iterate_together(
    sessions: &mut dyn Sessions,
    begun: &mut [Begun<'_>],
    report: &dyn Fn(usize, u128, Option<u64>, usize),
    observer: &dyn Observer,
) -> Result<()> {
    while begun.iter().any(|begun| begun.run.iterates()) {
        if observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let sets = begun
            .iter()
            .map(|Begun { run, .. }| run.iterates().then_some(&run.centroids));
        let sets: Vec<Option<&Centroids>> = sets.collect();
        let passes = sessions.assign(&sets)?;
        for (index, (Begun { run, .. }, pass)) in begun.iter_mut().zip(passes).enumerate() {
            if let Some(pass) = pass {
                let max_iter = run.job.max_iter;
                let report = |n_iter, inertia, n_moved| report(n_iter, inertia, n_moved, max_iter);
                run.take(pass, sessions.session(index), &report)?;
            }
        }
    }
    Ok(())
}

/// With a target: so many iterations are trusted to bring as much as the last one.
const PATIENCE: usize = 16;

/// What a run of iterations works on, whichever session makes its passes.
#[derive(Clone, Copy)]
pub(super) struct Lloyd<'l> {
    pub(super) data: &'l TileSet,
    pub(super) keys: &'l RowKeys,
    /// [`TileSet::weighted_sq_norm`] of `data`.
    pub(super) total_sq_norm: u128,
    pub(super) max_iter: usize,
    pub(super) tol: f64,
    /// Give up once the inertia would stay above this even if the next few iterations brought as much as the last one.
    pub(super) target: Option<u128>,
}

impl Lloyd<'_> {
    /// The largest shift of the centroids at which they rest; see [`LloydRule::shift_limit`].
    fn shift_limit(&self, partial: &ClusterPartial) -> f64 {
        self.tol * mean_variance(partial, self.total_sq_norm) * (CENTROID_SCALE * CENTROID_SCALE) as f64
    }

    /// Whether the target is out of reach after `n_iter` iterations, the last of which lowered the inertia from
    /// `before`.
    fn is_hopeless(&self, n_iter: usize, before: Option<u128>, inertia: u128) -> bool {
        let (Some(target), Some(before)) = (self.target, before) else {
            return false;
        };
        let left = (self.max_iter - n_iter).min(PATIENCE) as u128;
        before.saturating_sub(inertia).saturating_mul(left) < inertia.saturating_sub(target)
    }
}

/// Where a run of iterations ended: labels of the session's last pass are those of `centroids`.
pub(super) struct Outcome {
    pub(super) centroids: Centroids,
    pub(super) partial: ClusterPartial,
    pub(super) inertia: u128,
    pub(super) n_iter: usize,
    n_passes: u64,
    stop_reason: StopReason,
    n_doubtful: u64,
    n_read: u64,
    n_unsettled: u64,
}

/// What a run of iterations is about to do.
enum Stage {
    /// Iterate.
    Iterate,
    /// Label the rows once more: the centroids moved after the last pass, and labels and centroids are to agree.
    Label(StopReason),
    /// Nothing: the last pass, with these sums, agrees with the centroids.
    Done(StopReason, ClusterPartial),
}

/// Hears of each iteration: its number, its inertia, and the rows moved where that is asked for.
type Report<'r> = dyn Fn(usize, u128, Option<u64>) + 'r;

/// A run of iterations between two of them.
struct Run<'l> {
    job: Lloyd<'l>,
    centroids: Centroids,
    stage: Stage,
    n_iter: usize,
    n_passes: u64,
    n_doubtful: u64,
    n_read: u64,
    n_unsettled: u64,
    /// Of the last pass.
    inertia: u128,
    is_hopeless: bool,
    /// Whether it ends when time is up.
    heeds_time: bool,
    time_is_up: bool,
    book: Option<Book<'l>>,
}

impl<'l> Run<'l> {
    fn new(job: Lloyd<'l>, start: Centroids, book: Option<Book<'l>>) -> Self {
        Self {
            job,
            book,
            centroids: start,
            stage: Stage::Iterate,
            n_iter: 0,
            n_passes: 0,
            n_doubtful: 0,
            n_read: 0,
            n_unsettled: 0,
            inertia: 0,
            is_hopeless: false,
            heeds_time: true,
            time_is_up: false,
        }
    }

    /// Keeps where it stands before a pass under `centroids`.
    fn keep(&self, centroids: &Centroids) -> Result<()> {
        let work = [self.n_passes, self.n_doubtful, self.n_read];
        let book = self.book.as_ref();
        book.map_or(Ok(()), |book| book.keep(self.n_iter, centroids, work))
    }

    fn iterates(&self) -> bool {
        matches!(self.stage, Stage::Iterate)
    }

    /// Iterates in `session` until the centroids rest, move little, or `max_iter` is reached.
    ///
    /// Centroids are integers, so "no label changes any more" is "no centroid moved", seen without another pass. The
    /// inertia never rises: the nearest centroid is exact, and a rounded mean is the best grid point for its rows.
    fn iterate(&mut self, session: &mut dyn Session, report: &Report<'_>, observer: &dyn Observer) -> Result<()> {
        let job = self.job;
        let limit = |partial: &ClusterPartial| job.shift_limit(partial);
        while self.iterates() {
            let rule = LloydRule {
                max_iter: job.max_iter - self.n_iter,
                shift_limit: &limit,
                count_moved: observer.counts_moved(),
            };
            let start = self.centroids.clone();
            let mut each = |centroids: &Centroids, pass: &Pass| {
                self.hear_of(centroids, pass)?;
                report(self.n_iter, self.inertia, rule.count_moved.then_some(pass.n_moved));
                if observer.interrupted() {
                    return Err(Error::Interrupted);
                }
                self.time_is_up = self.heeds_time && observer.time_is_up();
                Ok(self.flow())
            };
            let ended = session.lloyd(&start, &rule, &mut each)?;
            self.conclude(ended, session)?;
        }
        Ok(())
    }

    /// Takes in one iteration's pass under `centroids`.
    fn take(&mut self, pass: Pass, session: &mut dyn Session, report: &Report<'_>) -> Result<()> {
        let job = self.job;
        let centroids = self.centroids.clone();
        self.hear_of(&centroids, &pass)?;
        report(self.n_iter, self.inertia, Some(pass.n_moved));
        let rule = LloydRule {
            max_iter: job.max_iter,
            shift_limit: &|partial| job.shift_limit(partial),
            count_moved: true,
        };
        let reached = Reached {
            n_iter: self.n_iter,
            centroids,
            pass,
            flow: self.flow(),
        };
        match judge(&rule, &reached) {
            Verdict::Go(next) => self.centroids = next,
            Verdict::End(end, moved) => self.conclude(reached.into_run(end, moved), session)?,
        }
        Ok(())
    }

    fn hear_of(&mut self, centroids: &Centroids, pass: &Pass) -> Result<()> {
        self.keep(centroids)?;
        let before = (self.n_iter > 0).then_some(self.inertia);
        self.n_iter += 1;
        self.count(centroids, pass);
        self.is_hopeless = self.job.is_hopeless(self.n_iter, before, self.inertia);
        Ok(())
    }

    fn count(&mut self, centroids: &Centroids, pass: &Pass) {
        self.n_passes += 1;
        self.n_doubtful += pass.n_doubtful;
        self.n_read += pass.n_read;
        self.n_unsettled += pass.n_unsettled;
        self.inertia = pass.partial.inertia(centroids, self.job.total_sq_norm);
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.is_hopeless || self.time_is_up {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Decides what follows where iterations have ended. Those that came upon a cluster without weight go on.
    fn conclude(&mut self, run: LloydRun, session: &mut dyn Session) -> Result<()> {
        let partial = run.pass.partial;
        self.centroids = run.moved.unwrap_or(run.centroids);
        self.stage = match run.end {
            LloydEnd::Converged => Stage::Done(StopReason::Converged, partial),
            LloydEnd::Stopped if self.time_is_up => {
                let next = partial.centroids(&self.centroids);
                let shift = centroid_shift(&self.centroids, &next) as f64;
                self.centroids = next;
                // What would have ended the run anyway is what ended it.
                Stage::Label(if shift <= self.job.shift_limit(&partial) {
                    StopReason::Tolerance
                } else {
                    StopReason::MaxTime
                })
            }
            LloydEnd::Stopped => Stage::Done(StopReason::MaxIter, partial),
            LloydEnd::Rests => Stage::Label(StopReason::Tolerance),
            LloydEnd::MaxIter => Stage::Label(StopReason::MaxIter),
            LloydEnd::EmptyCluster => self.refill(partial, session)?,
        };
        Ok(())
    }

    /// What follows a pass that left a cluster without weight.
    fn refill(&mut self, mut partial: ClusterPartial, session: &mut dyn Session) -> Result<Stage> {
        let refilled = refill(session, &self.job, &self.centroids, &mut partial)?;
        let next = partial.centroids(&self.centroids);
        if next == self.centroids && !refilled {
            return Ok(Stage::Done(StopReason::Converged, partial));
        }
        if self.is_hopeless {
            return Ok(Stage::Done(StopReason::MaxIter, partial));
        }
        let rests = centroid_shift(&self.centroids, &next) as f64 <= self.job.shift_limit(&partial);
        self.centroids = next;
        Ok(if rests && !refilled {
            Stage::Label(StopReason::Tolerance)
        } else if self.n_iter == self.job.max_iter {
            Stage::Label(StopReason::MaxIter)
        } else if self.time_is_up {
            Stage::Label(StopReason::MaxTime)
        } else {
            Stage::Iterate
        })
    }

    /// Where it ended. `last` makes a pass under the centroids, where rows have to be labelled once more.
    fn end(mut self, last: impl FnOnce(&Centroids) -> Result<Pass>) -> Result<Outcome> {
        let (stop_reason, partial) = match std::mem::replace(&mut self.stage, Stage::Iterate) {
            Stage::Done(stop_reason, partial) => (stop_reason, partial),
            Stage::Label(stop_reason) => {
                let pass = last(&self.centroids)?;
                let centroids = self.centroids.clone();
                self.count(&centroids, &pass);
                (stop_reason, pass.partial)
            }
            Stage::Iterate => unreachable!("a run ends after its iterations"),
        };
        Ok(Outcome {
            centroids: self.centroids,
            partial,
            inertia: self.inertia,
            n_iter: self.n_iter,
            n_passes: self.n_passes,
            stop_reason,
            n_doubtful: self.n_doubtful,
            n_read: self.n_read,
            n_unsettled: self.n_unsettled,
        })
    }
}

/// Iterates on a sample from `start` until the centroids rest, move little, or `max_iter` is reached, even when time is up:
/// where a run over all rows begins does not depend on how long that took.
pub(super) fn run(
    session: &mut dyn Session,
    job: &Lloyd<'_>,
    start: Centroids,
    report: &Report<'_>,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let mut run = Run {
        heeds_time: false,
        ..Run::new(*job, start, None)
    };
    run.iterate(session, report, observer)?;
    run.end(|centroids| session.assign(centroids))
}

/// Weighted variance of the features, averaged over them, in grid units squared.
fn mean_variance(partial: &ClusterPartial, total_sq_norm: u128) -> f64 {
    let weight = partial.cluster_weights.iter().sum::<u64>() as f64;
    let d = partial.n_features();
    let sq_means: f64 = (0..d)
        .map(|feature| {
            let sum: i128 = partial.sums.iter().skip(feature).step_by(d).sum();
            (sum as f64 / weight).powi(2)
        })
        .sum();
    (total_sq_norm as f64 / weight - sq_means) / d as f64
}

/// Gives each empty cluster the row that lies farthest from its centroid (ties by key), taken out of its cluster as
/// long as that keeps some weight. Whether any row was moved: rows on their centroid are left there.
fn refill(
    session: &mut dyn Session,
    job: &Lloyd<'_>,
    centroids: &Centroids,
    partial: &mut ClusterPartial,
) -> Result<bool> {
    let labels = session.labels()?;
    let empty: Vec<usize> = partial.empty_clusters().collect();
    // A row is passed over only when it is the last one with weight in its cluster: at most once per cluster.
    let candidates = farthest_rows(job, centroids, &labels, centroids.n_clusters());
    let mut x = vec![0; centroids.n_features()];
    let mut empty = empty.into_iter().peekable();
    let mut moved = false;
    for row in candidates {
        let Some(&cluster) = empty.peek() else { break };
        let (from, weight) = (labels[row] as usize, job.data.weight(row));
        if partial.cluster_weights[from] > u64::from(weight) {
            job.data.read_row(row, &mut x);
            partial.remove_row(from, &x, weight);
            partial.add_row(cluster, &x, weight);
            empty.next();
            moved = true;
        }
    }
    Ok(moved)
}

/// The `m` rows with weight that lie farthest from (and not on) their centroids, farthest first, ties by key.
fn farthest_rows(job: &Lloyd<'_>, centroids: &Centroids, labels: &[u32], m: usize) -> Vec<usize> {
    let rank = |&(sq_dist, key, _): &(u128, u128, usize)| (std::cmp::Reverse(sq_dist), key);
    let keep = |rows: &mut Vec<(u128, u128, usize)>| {
        rows.sort_unstable_by_key(rank);
        rows.truncate(m);
    };
    let of_run = |(run, labels): (usize, &[u32])| {
        let mut x = vec![0; centroids.n_features()];
        let mut rows = Vec::new();
        for (offset, &label) in labels.iter().enumerate() {
            let row = run * RUN + offset;
            job.data.read_row(row, &mut x);
            let sq_dist = centroids.sq_dist(&x, label as usize);
            if sq_dist > 0 && job.data.weight(row) > 0 {
                rows.push((sq_dist, job.keys.key(row), row));
            }
        }
        keep(&mut rows);
        rows
    };
    const RUN: usize = 1 << 14;
    let mut rows = labels
        .par_chunks(RUN)
        .enumerate()
        .map(of_run)
        .reduce(Vec::new, |mut a, mut b| {
            a.append(&mut b);
            keep(&mut a);
            a
        });
    keep(&mut rows);
    rows.into_iter().map(|(.., row)| row).collect()
}

/// Clusters in their final order.
struct Numbered {
    centroids: Centroids,
    nearest: TwoNearest,
    partial: ClusterPartial,
}

/// Drops clusters without weight, orders the rest by size (largest first, ties by centroid) and names the labels anew.
///
/// Exact ties between centroids go to the lower index, so a new order can shift a few rows: where there may be any, all
/// rows are labelled again, sizes counted again and the order mended until it stands (a larger cluster only gains by
/// moving up; a few rounds at most).
fn number(session: &mut dyn Session, data: &TileSet, outcome: &Outcome, nearest: TwoNearest) -> Result<Numbered> {
    let mut kept: Vec<usize> = (0..outcome.centroids.n_clusters())
        .filter(|&c| outcome.partial.cluster_weights[c] > 0)
        .collect();
    let mut counts: Vec<u64> = kept.iter().map(|&cluster| outcome.partial.counts[cluster]).collect();
    let all_kept = kept.len() == outcome.centroids.n_clusters();
    let mut nearest = (all_kept && !nearest.may_have_ties).then_some(nearest);
    let mut rounds = 0;
    loop {
        let mut order: Vec<usize> = (0..kept.len()).collect();
        let row = |place: usize| outcome.centroids.row(kept[place]);
        order.sort_by(|&a, &b| counts[b].cmp(&counts[a]).then_with(|| row(a).cmp(row(b))));
        kept = order.into_iter().map(|place| kept[place]).collect();
        let centroids = outcome.centroids.reordered(&kept);
        if let Some(mut nearest) = nearest.take() {
            rename(&mut nearest, &kept);
            return Ok(Numbered {
                centroids,
                nearest,
                partial: outcome.partial.reordered(&kept),
            });
        }
        let nearest = session.two_nearest(&centroids)?;
        counts = sizes(&nearest.labels, kept.len());
        rounds += 1;
        if rounds == 4 || counts.is_sorted_by(|a, b| a >= b) {
            let mut partial = outcome.partial.reordered(&kept);
            // A tie that is broken in another way takes its row from a cluster to a later one, as they stood before:
            // if all sizes are the same, no row has moved.
            if partial.counts != counts {
                partial = ClusterPartial::of_labels(data, &nearest.labels, kept.len());
            }
            return Ok(Numbered {
                centroids,
                nearest,
                partial,
            });
        }
    }
}

/// Names clusters by their places in `order`, which has them all.
fn rename(nearest: &mut TwoNearest, order: &[usize]) {
    let mut names = vec![0; order.len()];
    for (name, &cluster) in order.iter().enumerate() {
        names[cluster] = name as u32;
    }
    if names.is_sorted() {
        return;
    }
    // The runner-up of a single cluster is no cluster: its one name is in order.
    for labels in [&mut nearest.labels, &mut nearest.runners_up] {
        labels
            .par_iter_mut()
            .with_min_len(1 << 14)
            .for_each(|label| *label = names[*label as usize]);
    }
}

/// Rows of each cluster.
fn sizes(labels: &[u32], n_clusters: usize) -> Vec<u64> {
    const RUN: usize = 1 << 16;
    let none = || vec![0; n_clusters];
    let of_run = |labels: &[u32]| -> Vec<u64> {
        let mut counts = none();
        labels.iter().for_each(|&label| counts[label as usize] += 1);
        counts
    };
    let add = |mut a: Vec<u64>, b: Vec<u64>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    labels.par_chunks(RUN).map(of_run).reduce(none, add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::scalar::ScalarBackend;
    use crate::backend::scalar::two_nearest;
    use std::sync::Mutex;

    fn fit_scalar(data: &TileSet, params: &KMeansParams) -> Result<KMeansFit> {
        fit_on(&ScalarBackend, data, params)
    }

    fn fit_on(backend: &dyn Backend, data: &TileSet, params: &KMeansParams) -> Result<KMeansFit> {
        fit(backend, &ScalarBackend, data, &RowKeys::RowNumber, params, 1.0, &())
    }

    #[test]
    fn four_rows_give_the_answer_worked_out_by_hand() {
        let data = TileSet::from_rows(&[0., 1., 10., 13.], 1, None, usize::MAX);
        let fit = fit_scalar(&data, &KMeansParams::new(2)).unwrap();
        assert_eq!(fit.centroids.values(), [128, 11 * 256 + 128]);
        assert_eq!(fit.nearest.labels, [0, 0, 1, 1]);
        assert_eq!(fit.nearest.runners_up, [1, 1, 0, 0]);
        assert_eq!(fit.inertia, 5 * 256 * 256);
        assert_eq!(fit.stop_reason, StopReason::Converged);
    }

    #[test]
    fn the_edges_of_k() {
        let rows: Vec<f32> = (0..10).map(|i| (i * i) as f32).collect();
        let data = TileSet::from_rows(&rows, 1, None, usize::MAX);
        let one = fit_scalar(&data, &KMeansParams::new(1)).unwrap();
        assert_eq!(
            (one.partial.counts.clone(), one.centroids.values()),
            (vec![10], &[7296][..])
        ); // mean 28.5
        let all = fit_scalar(&data, &KMeansParams::new(10)).unwrap();
        assert_eq!((all.inertia, all.partial.counts), (0, vec![1; 10]));
        let error = fit_scalar(&data, &KMeansParams::new(11)).unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooFewRows {
                    n_rows: 10,
                    n_clusters: 11,
                    weighted: false
                }
            ),
            "{error}"
        );
        assert!(matches!(
            fit_scalar(&data, &KMeansParams::new(0)),
            Err(Error::InvalidParam {
                param: "n_clusters",
                ..
            })
        ));
    }

    #[test]
    fn fewer_distinct_rows_than_clusters_give_fewer_clusters() {
        let data = TileSet::from_rows(&[5., 5., 5., 8., 8., 1.], 1, None, usize::MAX);
        let fit = fit_scalar(&data, &KMeansParams::new(5)).unwrap();
        assert_eq!((fit.partial.counts, fit.inertia), (vec![3, 2, 1], 0));
    }

    #[test]
    fn empty_clusters_take_the_farthest_row() {
        // Two of three centroids start where no row is nearest.
        let data = TileSet::from_rows(&[0., 1., 2., 100., 300.], 1, None, usize::MAX);
        let params = KMeansParams {
            init: Init::Centroids(Centroids::on_rows(1, &[1, -9000, -9001])),
            ..KMeansParams::new(3)
        };
        let fit = fit_scalar(&data, &params).unwrap();
        assert_eq!(fit.partial.counts, [3, 1, 1]);
        assert_eq!(fit.nearest.labels, [0, 0, 0, 1, 2]);
    }

    #[test]
    fn a_weight_of_two_is_the_row_twice() {
        let rows = [0., 3., 4., 20., 21., 29.];
        let weights = [2, 1, 2, 1, 1, 1];
        let twice: Vec<f32> = rows
            .iter()
            .zip(weights)
            .flat_map(|(&x, w)| std::iter::repeat_n(x, w as usize))
            .collect();
        let start = Init::Centroids(Centroids::on_rows(1, &[0, 29]));
        let params = KMeansParams {
            init: start,
            ..KMeansParams::new(2)
        };
        let weighted = fit_scalar(&TileSet::from_rows(&rows, 1, Some(&weights), usize::MAX), &params).unwrap();
        let repeated = fit_scalar(&TileSet::from_rows(&twice, 1, None, usize::MAX), &params).unwrap();
        assert_eq!(
            (weighted.centroids, weighted.inertia),
            (repeated.centroids, repeated.inertia)
        );
    }

    #[test]
    fn rows_without_weight_move_nothing_and_are_labelled() {
        let data = TileSet::from_rows(&[0., 2., 50., 10.], 1, Some(&[1, 1, 0, 1]), usize::MAX);
        let fit = fit_scalar(&data, &KMeansParams::new(2)).unwrap();
        assert_eq!(fit.nearest.labels[2], fit.nearest.labels[3]);
        assert_eq!(fit.centroids.values(), [256, 2560]);
        assert!(matches!(
            fit_scalar(&data, &KMeansParams::new(4)),
            Err(Error::TooFewRows {
                n_rows: 3,
                weighted: true,
                ..
            })
        ));
    }

    #[test]
    fn the_inertia_never_rises_and_is_that_of_the_labels() {
        struct Curve(Mutex<Vec<f64>>);
        impl Observer for Curve {
            fn event(&self, event: Event) {
                if let Event::Iteration { inertia, .. } = event {
                    self.0.lock().unwrap().push(inertia);
                }
            }
        }
        let mut rng = crate::rng::Rng::new(5, 5);
        let rows: Vec<f32> = (0..3000).map(|_| rng.below(1000) as f32).collect();
        let data = TileSet::from_rows(&rows, 3, None, 4096);
        let start: Vec<i32> = rows[..24].iter().map(|&x| x as i32).collect();
        let params = KMeansParams {
            init: Init::Centroids(Centroids::on_rows(3, &start)),
            tol: 0.0,
            ..KMeansParams::new(8)
        };
        let curve = Curve(Mutex::new(Vec::new()));
        let fit = fit(
            &ScalarBackend,
            &ScalarBackend,
            &data,
            &RowKeys::RowNumber,
            &params,
            1.0,
            &curve,
        )
        .unwrap();
        let curve = curve.0.into_inner().unwrap();
        assert!(curve.len() > 5 && curve.is_sorted_by(|a, b| a >= b), "{curve:?}");
        let mut x = [0; 3];
        let direct: u128 = (0..1000)
            .map(|row| {
                data.read_row(row, &mut x);
                fit.centroids.sq_dist(&x, two_nearest(&x, &fit.centroids).0 as usize)
            })
            .sum();
        assert_eq!(fit.inertia, direct);
    }

    /// Rows without weight half way between the others' places: exact ties, which the order of the clusters decides. In
    /// half of the sets there are none.
    #[test]
    fn sums_are_those_of_the_labels_when_ties_go_elsewhere_too() {
        let mut n_retied = 0;
        for seed in 0..40 {
            let mut rng = crate::rng::Rng::new(seed, 0);
            let rows: Vec<f32> = (0..80).map(|_| rng.below(10) as f32).collect();
            let rows: Vec<f32> = rows
                .into_iter()
                .map(|x| if seed % 2 == 0 { x } else { x * x * x })
                .collect();
            let weights: Vec<u32> = rows.iter().map(|x| 1 - *x as u32 % 2).collect();
            let data = TileSet::from_rows(&rows, 1, Some(&weights), 256);
            let params = KMeansParams {
                seed,
                ..KMeansParams::new(5)
            };
            let fit = fit_scalar(&data, &params).unwrap();
            // Which says that there were ties only where there were some.
            let on_cpu = fit_on(&crate::backend::cpu::CpuBackend::new(1).unwrap(), &data, &params).unwrap();
            assert_eq!(
                (&on_cpu.partial, &on_cpu.nearest.labels, &on_cpu.nearest.runners_up),
                (&fit.partial, &fit.nearest.labels, &fit.nearest.runners_up)
            );
            let k = fit.centroids.n_clusters();
            assert_eq!(fit.partial, ClusterPartial::of_labels(&data, &fit.nearest.labels, k));
            let last_first: Vec<usize> = (0..k).rev().collect();
            let mut session = ScalarBackend.open(&data, k).unwrap();
            let before = session.assign(&fit.centroids.reordered(&last_first)).unwrap().partial;
            n_retied += usize::from(before.reordered(&last_first) != fit.partial);
        }
        assert!(n_retied > 5, "the order hardly matters: {n_retied}");
    }

    #[test]
    fn the_device_takes_hold_of_the_data_while_seeds_are_looked_for() {
        /// Neither the opening nor the seeding goes on before the other has begun.
        struct Meeting(Mutex<[bool; 2]>, std::sync::Condvar);
        impl Meeting {
            fn arrive(&self, who: usize) {
                let mut here = self.0.lock().unwrap();
                here[who] = true;
                self.1.notify_all();
                let limit = Duration::from_secs(20);
                let (_here, waited) = self
                    .1
                    .wait_timeout_while(here, limit, |here| *here != [true; 2])
                    .unwrap();
                assert!(
                    !waited.timed_out(),
                    "{} waited in vain",
                    ["the device", "the seeding"][who]
                );
            }
        }
        impl Observer for Meeting {
            fn event(&self, event: Event) {
                if matches!(event, Event::Stage("seed")) {
                    self.arrive(1);
                }
            }
        }
        struct Device<'m>(&'m Meeting);
        impl Backend for Device<'_> {
            fn name(&self) -> &'static str {
                "gpu"
            }
            fn description(&self) -> String {
                String::new()
            }
            fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
                self.0.arrive(0);
                ScalarBackend.open(data, max_clusters)
            }
        }
        let data = TileSet::from_rows(&[0., 1., 10., 13.], 1, None, usize::MAX);
        let (meeting, params) = (
            Meeting(Mutex::new([false; 2]), std::sync::Condvar::new()),
            KMeansParams::new(2),
        );
        let device = Device(&meeting);
        let found = fit(
            &device,
            &ScalarBackend,
            &data,
            &RowKeys::RowNumber,
            &params,
            1.0,
            &meeting,
        )
        .unwrap();
        assert_eq!(found.centroids, fit_scalar(&data, &params).unwrap().centroids);
    }

    #[test]
    fn a_run_that_time_ended_is_one_with_as_many_iterations() {
        struct Ended;
        impl Observer for Ended {
            fn event(&self, _event: Event) {}
            fn time_is_up(&self) -> bool {
                true
            }
        }
        // More rows than the sample has, and groups that run into each other.
        let mut rng = crate::rng::Rng::new(4, 0);
        let value = |_| (rng.below(30_000) + rng.below(30_000)) as f32;
        let values: Vec<f32> = (0..4 * super::super::SAMPLE_ROWS).map(value).collect();
        let data = TileSet::from_rows(&values, 2, None, usize::MAX);
        let cpu = crate::backend::cpu::CpuBackend::new(2).unwrap();
        let data_and = |params: &KMeansParams, observer: &dyn Observer| {
            fit(&cpu, &cpu, &data, &RowKeys::RowNumber, params, 1.0, observer).unwrap()
        };
        let params = KMeansParams {
            tol: 0.0,
            ..KMeansParams::new(7)
        };
        let ended = data_and(&params, &Ended);
        assert_eq!((ended.stop_reason, ended.n_iter), (StopReason::MaxTime, 1));
        let again = KMeansParams { max_iter: 1, ..params };
        assert_eq!(data_and(&again, &()).centroids, ended.centroids);
    }

    #[test]
    fn an_interrupt_ends_the_run() {
        struct Stop;
        impl Observer for Stop {
            fn event(&self, _event: Event) {}
            fn interrupted(&self) -> bool {
                true
            }
        }
        let data = TileSet::from_rows(&[0., 1.], 1, None, usize::MAX);
        let result = fit(
            &ScalarBackend,
            &ScalarBackend,
            &data,
            &RowKeys::RowNumber,
            &KMeansParams::new(1),
            1.0,
            &Stop,
        );
        assert!(matches!(result, Err(Error::Interrupted)));
    }
}
