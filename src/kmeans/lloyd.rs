//! Lloyd's iteration in integers: assign, add up, refill empty clusters, move the centroids, stop.

use std::ops::ControlFlow;

use rayon::prelude::*;

use super::seeding::{Seeding, seed};
use super::{Event, Init, KMeansParams, Observer};
use crate::backend::lloyd::{LloydEnd, LloydRule, LloydRun, centroid_shift};
use crate::backend::{Backend, Pass, Session, TwoNearest};
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
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct KMeansFit {
    /// Final centroids, the largest cluster first.
    pub centroids: Centroids,
    /// Labels and runners-up of all rows under these centroids.
    pub nearest: TwoNearest,
    /// Rows per cluster.
    pub counts: Vec<u64>,
    /// Integer weight per cluster.
    pub cluster_weights: Vec<u64>,
    /// Exact inertia of the labels, in centroid units squared times weight units.
    pub inertia: u128,
    /// Iterations over all rows.
    pub n_iter: usize,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Rows that needed exact arithmetic, over all passes. Diagnostic: may differ between backends.
    pub n_doubtful: u64,
    /// Rows assigned, over all passes.
    pub n_assigned: u64,
    /// Rows that were looked at in the iterations, each as often as it was: bounds prove of the others that their labels
    /// stay. Diagnostic: may differ between backends.
    pub n_read: u64,
    /// How the first centroids were found; `None` where they were given.
    pub seeding: Option<Seeding>,
    /// What the device did that the user should know.
    pub notices: Vec<String>,
    /// Seconds spent on seeding, on iterations and on the final assignment.
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
    params.check()?;
    let n_rows = if data.weighted() {
        (0..data.n_rows()).filter(|&row| data.weight(row) > 0).count()
    } else {
        data.n_rows()
    };
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
    let started = std::time::Instant::now();
    let (start, seeding) = match &params.init {
        Init::Centroids(centroids) => (centroids.clone(), None),
        _ => {
            observer.event(Event::Stage("seed"));
            let (centroids, seeding) = seed(host, data, keys, params, observer)?;
            (centroids, Some(seeding))
        }
    };
    let seeded = std::time::Instant::now();
    observer.event(Event::Stage("iterate"));
    let mut session = backend.open(data, start.n_clusters())?;
    let job = Lloyd {
        data,
        keys,
        total_sq_norm: data.weighted_sq_norm(),
        max_iter: params.max_iter,
        tol: params.tol,
        target: None,
    };
    let report = |iteration, inertia: u128, n_moved| {
        let inertia = inertia as f64 * inertia_unit;
        observer.event(Event::Iteration {
            iteration,
            max_iter: params.max_iter,
            inertia,
            n_moved,
        });
    };
    let outcome = run(&mut *session, &job, start, &report, observer)?;
    let iterated = std::time::Instant::now();
    observer.event(Event::Stage("assign"));
    let numbered = number(&mut *session, data, &outcome)?;
    let notices = session.notices();
    notices
        .iter()
        .for_each(|notice| observer.event(Event::Notice(notice.clone())));
    Ok(KMeansFit {
        inertia: outcome.inertia,
        n_iter: outcome.n_iter,
        stop_reason: outcome.stop_reason,
        n_doubtful: outcome.n_doubtful + numbered.nearest.n_doubtful,
        n_read: outcome.n_read,
        n_assigned: (outcome.n_passes + 1) * data.n_rows() as u64,
        seeding,
        notices,
        elapsed_s: [seeded - started, iterated - seeded, iterated.elapsed()].map(|time| time.as_secs_f64()),
        centroids: numbered.centroids,
        nearest: numbered.nearest,
        counts: numbered.counts,
        cluster_weights: numbered.cluster_weights,
    })
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
    n_iter: usize,
    n_passes: u64,
    stop_reason: StopReason,
    n_doubtful: u64,
    n_read: u64,
}

/// Iterates from `start` until the centroids rest, move little, or `max_iter` is reached.
///
/// Centroids are integers, so "no label changes any more" is "no centroid moved", seen without another pass. The
/// inertia never rises: the nearest centroid is exact, and a rounded mean is the best grid point for its rows.
pub(super) fn run(
    session: &mut dyn Session,
    job: &Lloyd<'_>,
    start: Centroids,
    report: &dyn Fn(usize, u128, Option<u64>),
    observer: &dyn Observer,
) -> Result<Outcome> {
    let total = job.total_sq_norm;
    let mut centroids = start;
    let mut made = Made::default();
    let limit = |partial: &ClusterPartial| job.shift_limit(partial);
    let (stop_reason, run) = loop {
        let rule = LloydRule {
            max_iter: job.max_iter - made.n_iter,
            shift_limit: &limit,
            count_moved: observer.counts_moved(),
        };
        let mut each = |centroids: &Centroids, pass: &Pass| {
            made.hears_of(job, centroids, pass);
            report(made.n_iter, made.inertia, rule.count_moved.then_some(pass.n_moved));
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            Ok(if made.is_hopeless {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        };
        let mut run = session.lloyd(&centroids, &rule, &mut each)?;
        match run.end {
            LloydEnd::Converged => break (StopReason::Converged, run),
            LloydEnd::Rests => break (StopReason::Tolerance, run),
            LloydEnd::MaxIter | LloydEnd::Stopped => break (StopReason::MaxIter, run),
            LloydEnd::EmptyCluster => {}
        }
        let refilled = refill(session, job, &run.centroids, &mut run.pass.partial)?;
        let next = run.pass.partial.centroids(&run.centroids);
        if next == run.centroids && !refilled {
            break (StopReason::Converged, run);
        }
        if made.is_hopeless {
            break (StopReason::MaxIter, run);
        }
        let rests = !refilled && centroid_shift(&run.centroids, &next) as f64 <= limit(&run.pass.partial);
        centroids = next;
        if rests || made.n_iter == job.max_iter {
            let pass = session.assign(&centroids)?;
            let (end, stop_reason) = if rests {
                (LloydEnd::Rests, StopReason::Tolerance)
            } else {
                (LloydEnd::MaxIter, StopReason::MaxIter)
            };
            break (stop_reason, LloydRun { centroids, pass, end });
        }
    };
    // Where the centroids moved after the last iteration, rows were labelled once more.
    let once_more = matches!(run.end, LloydEnd::Rests | LloydEnd::MaxIter);
    if once_more {
        made.n_doubtful += run.pass.n_doubtful;
        made.n_read += run.pass.n_read;
        made.inertia = run.pass.partial.inertia(&run.centroids, total);
    }
    Ok(Outcome {
        centroids: run.centroids,
        partial: run.pass.partial,
        inertia: made.inertia,
        n_iter: made.n_iter,
        n_passes: made.n_iter as u64 + u64::from(once_more),
        stop_reason,
        n_doubtful: made.n_doubtful,
        n_read: made.n_read,
    })
}

/// The iterations so far.
#[derive(Default)]
struct Made {
    n_iter: usize,
    n_doubtful: u64,
    n_read: u64,
    /// Of the last one.
    inertia: u128,
    is_hopeless: bool,
}

impl Made {
    fn hears_of(&mut self, job: &Lloyd<'_>, centroids: &Centroids, pass: &Pass) {
        let before = (self.n_iter > 0).then_some(self.inertia);
        self.n_iter += 1;
        self.n_doubtful += pass.n_doubtful;
        self.n_read += pass.n_read;
        self.inertia = pass.partial.inertia(centroids, job.total_sq_norm);
        self.is_hopeless = job.is_hopeless(self.n_iter, before, self.inertia);
    }
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
    counts: Vec<u64>,
    cluster_weights: Vec<u64>,
}

/// Drops clusters without weight, orders the rest by size (largest first, ties by centroid) and labels all rows.
///
/// Exact ties between centroids go to the lower index, so a new order can shift a few rows: sizes are counted again
/// and the order mended until it stands (a larger cluster only gains by moving up; a few rounds at most).
fn number(session: &mut dyn Session, data: &TileSet, outcome: &Outcome) -> Result<Numbered> {
    let kept: Vec<usize> = (0..outcome.centroids.n_clusters())
        .filter(|&c| outcome.partial.cluster_weights[c] > 0)
        .collect();
    let mut counts: Vec<u64> = kept.iter().map(|&cluster| outcome.partial.counts[cluster]).collect();
    let mut centroids = outcome.centroids.reordered(&kept);
    let mut rounds = 0;
    loop {
        let mut order: Vec<usize> = (0..centroids.n_clusters()).collect();
        order.sort_by(|&a, &b| {
            counts[b]
                .cmp(&counts[a])
                .then_with(|| centroids.row(a).cmp(centroids.row(b)))
        });
        centroids = centroids.reordered(&order);
        let nearest = session.two_nearest(&centroids)?;
        let cluster_weights;
        (counts, cluster_weights) = sizes(data, &nearest.labels, centroids.n_clusters());
        rounds += 1;
        if rounds == 4 || counts.is_sorted_by(|a, b| a >= b) {
            return Ok(Numbered {
                centroids,
                nearest,
                counts,
                cluster_weights,
            });
        }
    }
}

/// Rows and weight of each cluster.
fn sizes(data: &TileSet, labels: &[u32], n_clusters: usize) -> (Vec<u64>, Vec<u64>) {
    const RUN: usize = 1 << 16;
    let none = || (vec![0; n_clusters], vec![0; n_clusters]);
    let of_run = |(run, labels): (usize, &[u32])| -> (Vec<u64>, Vec<u64>) {
        let (mut counts, mut weights) = none();
        for (row, &label) in labels.iter().enumerate() {
            counts[label as usize] += 1;
            if data.weighted() {
                weights[label as usize] += u64::from(data.weight(run * RUN + row));
            }
        }
        (counts, weights)
    };
    let add = |mut a: Vec<u64>, b: Vec<u64>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    let runs = labels.par_chunks(RUN).enumerate().map(of_run);
    let (counts, weights) = runs.reduce(none, |a, b| (add(a.0, b.0), add(a.1, b.1)));
    let weights = if data.weighted() { weights } else { counts.clone() };
    (counts, weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::scalar::ScalarBackend;
    use crate::backend::scalar::two_nearest;
    use std::sync::Mutex;

    fn fit_scalar(data: &TileSet, params: &KMeansParams) -> Result<KMeansFit> {
        fit(
            &ScalarBackend,
            &ScalarBackend,
            data,
            &RowKeys::RowNumber,
            params,
            1.0,
            &(),
        )
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
        assert_eq!((one.counts, one.centroids.values()), (vec![10], &[7296][..])); // mean 28.5
        let all = fit_scalar(&data, &KMeansParams::new(10)).unwrap();
        assert_eq!((all.inertia, all.counts), (0, vec![1; 10]));
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
        assert_eq!((fit.counts, fit.inertia), (vec![3, 2, 1], 0));
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
        assert_eq!(fit.counts, [3, 1, 1]);
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
