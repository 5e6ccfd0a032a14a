//! One fit for each k of a range, on the same prepared data, judged over all rows.

use std::ops::{ControlFlow, RangeInclusive};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::decision::{Decision, decide};
use super::separation::valleys;
use super::stability::{N_RESAMPLES, Resampler, Stability};
use crate::backend::{Backend, TwoNearest};
use crate::cells::{Count, MinCell};
use crate::error::{Error, Result};
use crate::kmeans::{self, Event, Init, KMeansFit, KMeansParams, MAX_CLUSTERS, Observer, Standings};
use crate::metrics::{Contingency, quality_on};
use crate::segments::labels_hash;
use crate::tiles::{RowKeys, TileSet};

/// Most numbers of clusters in one sweep.
const MOST_CANDIDATES: usize = 100;

/// Which numbers of clusters are tried, and what is wished of the one that is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepOptions {
    /// Numbers of clusters.
    pub k: RangeInclusive<usize>,
    /// Where the choice should fall, if it can.
    pub prefer: Option<RangeInclusive<usize>>,
    /// Least share of the weight in the smallest cluster, from 0 to 1.
    pub min_share: f64,
    /// Resamples for each k.
    pub n_resamples: usize,
}

impl Default for SweepOptions {
    /// 2 to 12 clusters of at least 1 % of the rows each.
    fn default() -> Self {
        Self {
            k: 2..=12,
            prefer: None,
            min_share: 0.01,
            n_resamples: N_RESAMPLES,
        }
    }
}

impl SweepOptions {
    /// Whether the ranges make sense.
    ///
    /// # Errors
    /// [`Error::InvalidParam`].
    pub fn check(&self) -> Result<()> {
        let invalid = |param, range: &RangeInclusive<usize>, reason: String| {
            Err(Error::InvalidParam {
                param,
                value: format!("{}..{}", range.start(), range.end()),
                reason,
            })
        };
        let (low, high) = (*self.k.start(), *self.k.end());
        if low < 2 || high < low || high > MAX_CLUSTERS {
            return invalid(
                "n_clusters",
                &self.k,
                format!("expected a range from 2 to at most {MAX_CLUSTERS}"),
            );
        }
        if high - low >= MOST_CANDIDATES {
            let n = high - low + 1;
            return invalid(
                "n_clusters",
                &self.k,
                format!("{n} numbers of clusters; at most {MOST_CANDIDATES} are tried"),
            );
        }
        if !(0.0..=1.0).contains(&self.min_share) {
            return Err(Error::InvalidParam {
                param: "min_share",
                value: self.min_share.to_string(),
                reason: "expected a share from 0 to 1".into(),
            });
        }
        match &self.prefer {
            Some(prefer) if prefer.start() > prefer.end() || prefer.end() < &low || prefer.start() > &high => invalid(
                "prefer",
                prefer,
                format!("holds none of the numbers tried, {low} to {high}"),
            ),
            _ => Ok(()),
        }
    }
}

/// What came of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// What was chosen, and why.
    pub decision: Decision,
    /// One per number of clusters, rising.
    pub candidates: Vec<Candidate>,
    /// How each clustering goes over into the next.
    pub flows: Vec<Flow>,
    /// Rows of the sample on which stability and valleys were found; the other figures are over all rows.
    pub n_sample: u64,
    /// Resamples for each k.
    pub n_resamples: usize,
}

/// One number of clusters: the fit that a run with this k gives, judged. Clusters are numbered by size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Number of clusters.
    pub k: usize,
    /// Over keys and segments, see [`labels_hash`]: that of a fit with this k.
    pub labels_hash: String,
    /// Inertia in units of the prepared features.
    pub inertia: f64,
    /// The same as an exact integer, in decimal digits.
    pub inertia_exact: String,
    /// Iterations over all rows.
    pub n_iter: usize,
    /// Rows per cluster.
    pub sizes: Vec<Count>,
    /// Share of the weight in the smallest cluster; the most that it can be where the rows are not told.
    pub smallest_share: f64,
    /// Share of the rows' scatter that lies between clusters.
    pub share_explained: f64,
    /// Mean over all rows, squared Euclidean distances.
    pub silhouette: f64,
    /// The same per cluster.
    pub segment_silhouettes: Vec<f64>,
    /// With distances to means instead of rows.
    pub simplified_silhouette: f64,
    /// Lower is better.
    pub davies_bouldin: f64,
    /// Higher is better; none where there are no more rows than clusters.
    pub calinski_harabasz: Option<f64>,
    /// None where a resample had too few rows.
    pub stability: Option<Stability>,
    /// Per cluster, how shallow the shallowest valley towards another is: rows at the thinnest place between, over rows
    /// about the thinner centre. At most [`super::GAP`] is a gap.
    pub valleys: Vec<f64>,
}

/// Rows of each cluster of one clustering in each of the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Clusters of the first.
    pub from_k: usize,
    /// Clusters of the second.
    pub to_k: usize,
    /// Per cluster of the first, rows in each of the second.
    pub n_rows: Vec<Vec<Count>>,
}

impl Sweep {
    /// The same, with the numbers of rows that may be told.
    #[must_use]
    pub fn told(mut self, min_cell: MinCell) -> Self {
        for candidate in &mut self.candidates {
            let sizes = exact(&candidate.sizes);
            candidate.sizes = min_cell.parts(&sizes);
            if sizes.iter().any(|&n| min_cell.is_small(n)) {
                let most = (min_cell.get() - 1) as f64 / sizes.iter().sum::<u64>() as f64;
                candidate.smallest_share = most.max(candidate.smallest_share);
            }
        }
        for flow in &mut self.flows {
            let rows: Vec<Vec<u64>> = flow.n_rows.iter().map(|row| exact(row)).collect();
            let from: Vec<u64> = rows.iter().map(|row| row.iter().sum()).collect();
            let to: Vec<u64> = (0..flow.to_k).map(|to| rows.iter().map(|row| row[to]).sum()).collect();
            flow.n_rows = min_cell.flow(&rows, &min_cell.parts(&from), &min_cell.parts(&to));
        }
        self
    }
}

fn exact(counts: &[Count]) -> Vec<u64> {
    counts.iter().map(|count| count.about()).collect()
}

/// A sweep, and its fits.
#[derive(Debug, Clone)]
pub struct Swept {
    /// What is told of it.
    pub sweep: Sweep,
    /// The fit of each candidate, without labels: [`Swept::take_chosen`] finds those of the chosen one again.
    pub fits: Vec<KMeansFit>,
    /// Seconds per stage, over all candidates.
    pub stages: Vec<(&'static str, f64)>,
    /// Numbers of clusters that were not tried, since time was up.
    pub n_untried: usize,
    /// What devices did that the user should know.
    pub notices: Vec<String>,
}

/// The stages of a sweep: three of each fit, the figures over all rows, and those on the sample.
const STAGES: [&str; 5] = ["seed", "iterate", "assign", "judge", "resample"];

impl Swept {
    /// The fit that was chosen, as [`kmeans::fit`] with its k gives it.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn take_chosen(&mut self, backend: &dyn Backend, data: &TileSet) -> Result<KMeansFit> {
        let chosen = |fit: &KMeansFit| fit.centroids.n_clusters() == self.sweep.decision.k;
        let place = self.fits.iter().position(chosen);
        let place = place.ok_or_else(|| Error::Internal("the chosen k is none of the candidates".into()))?;
        let mut fit = self.fits.swap_remove(place);
        let started = Instant::now();
        let n_doubtful = fit.nearest.n_doubtful;
        let mut session = backend.open(data, fit.centroids.n_clusters())?;
        fit.nearest = session.two_nearest(&fit.centroids)?;
        fit.notices = session.notices();
        fit.nearest.n_doubtful = n_doubtful;
        fit.elapsed_s[2] = started.elapsed().as_secs_f64();
        Ok(fit)
    }
}

/// Fits every k of `options.k` with the parameters `params` (but for their number of clusters), each as
/// [`kmeans::fit`] does, judges the fits, and decides.
///
/// `inertia_unit` turns exact inertias into what is told, `row_weight` is the integer weight of one row, see
/// [`quality_on`]. The sweep ends early where the data has no more distinct rows.
///
/// # Errors
/// Parameters out of range, first centroids given (which fit one k only), and those of [`kmeans::fit`].
#[expect(clippy::too_many_arguments, reason = "those of a fit, and two more")]
pub fn sweep(
    backend: &dyn Backend,
    host: &dyn Backend,
    data: &TileSet,
    keys: &RowKeys,
    params: &KMeansParams,
    options: &SweepOptions,
    inertia_unit: f64,
    row_weight: f64,
    observer: &dyn Observer,
) -> Result<Swept> {
    options.check()?;
    if let Init::Centroids(_) = params.init {
        return Err(Error::InvalidParam {
            param: "init",
            value: "centroids".into(),
            reason: "given centroids fit one number of clusters only; a sweep finds its own".into(),
        });
    }
    let resampler = Resampler::new(host, data, keys, params.seed, options.n_resamples);
    let of_k = |k| KMeansParams {
        n_clusters: k,
        ..params.clone()
    };
    let params: Vec<KMeansParams> = options.k.clone().map(of_k).collect();
    let mut sweeper = Sweeper {
        judge: Judge {
            backend,
            data,
            keys,
            resampler: &resampler,
            inertia_unit,
            row_weight,
        },
        params: &params,
        observer,
        candidates: Vec::new(),
        flows: Vec::new(),
        fits: Vec::new(),
        before: None,
        n_untried: 0,
        notices: Vec::new(),
        elapsed_s: [0.0; STAGES.len()],
    };
    let quiet = Notices(observer);
    kmeans::fit_many(backend, host, data, keys, &params, inertia_unit, &quiet, &mut |fit| {
        sweeper.take(fit)
    })?;
    sweeper.tell(params.len());
    let Sweeper {
        candidates,
        flows,
        fits,
        n_untried,
        notices,
        elapsed_s,
        ..
    } = sweeper;
    Ok(Swept {
        sweep: Sweep {
            decision: decide(&candidates, options),
            candidates,
            flows,
            n_sample: resampler.n_rows() as u64,
            n_resamples: options.n_resamples,
        },
        fits,
        stages: STAGES.into_iter().zip(elapsed_s).collect(),
        n_untried,
        notices,
    })
}

/// Takes in one fit after another, k rising.
struct Sweeper<'s> {
    judge: Judge<'s>,
    /// Of all fits.
    params: &'s [KMeansParams],
    observer: &'s dyn Observer,
    candidates: Vec<Candidate>,
    flows: Vec<Flow>,
    fits: Vec<KMeansFit>,
    /// Labels of the last fit.
    before: Option<TwoNearest>,
    /// Numbers of clusters that are left out, since time was up.
    n_untried: usize,
    notices: Vec<String>,
    elapsed_s: [f64; STAGES.len()],
}

impl Sweeper<'_> {
    /// Tells that so many candidates are done.
    fn tell(&self, done: usize) {
        let last = self.params.len() - 1;
        self.observer.event(Event::Candidate {
            n_clusters: self.params[done.min(last)].n_clusters,
            done,
            of: self.params.len(),
        });
    }

    /// Ends the sweep where the data has no more distinct rows, and where time is up.
    fn take(&mut self, mut fit: KMeansFit) -> Result<ControlFlow<()>> {
        let params = &self.params[self.candidates.len()];
        if fit.centroids.n_clusters() < params.n_clusters && !self.fits.is_empty() {
            return Ok(ControlFlow::Break(()));
        }
        self.tell(self.candidates.len());
        let (candidate, notice, judged_s) = self.judge.candidate(&fit, params, self.observer)?;
        for notice in fit.notices.drain(..).chain(notice) {
            if !self.notices.contains(&notice) {
                self.notices.push(notice);
            }
        }
        let spent = fit.elapsed_s.into_iter().chain(judged_s);
        self.elapsed_s
            .iter_mut()
            .zip(spent)
            .for_each(|(sum, spent)| *sum += spent);
        if let (Some(before), Some(last)) = (&self.before, self.fits.last()) {
            self.flows.push(flow(before, last.centroids.n_clusters(), &fit));
        }
        self.candidates.push(candidate);
        let without = TwoNearest {
            labels: Vec::new(),
            runners_up: Vec::new(),
            may_have_ties: fit.nearest.may_have_ties,
            n_doubtful: fit.nearest.n_doubtful,
            n_audited: fit.nearest.n_audited,
        };
        self.before = Some(std::mem::replace(&mut fit.nearest, without));
        self.fits.push(fit);
        let left = self.params.len() - self.candidates.len();
        if left > 0 && self.observer.time_is_up() {
            self.n_untried = left;
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What judges fits.
struct Judge<'j> {
    backend: &'j dyn Backend,
    data: &'j TileSet,
    keys: &'j RowKeys,
    resampler: &'j Resampler<'j>,
    inertia_unit: f64,
    row_weight: f64,
}

impl Judge<'_> {
    /// The candidate, what a device did on the way, and the seconds that its figures took: over all rows, on the sample.
    fn candidate(
        &self,
        fit: &KMeansFit,
        params: &KMeansParams,
        observer: &dyn Observer,
    ) -> Result<(Candidate, Option<String>, [f64; 2])> {
        let started = Instant::now();
        let labels = &fit.nearest.labels;
        let (quality, notice) = quality_on(self.backend, self.data, labels, &fit.partial, self.row_weight)?;
        let labels_hash = labels_hash(self.keys, labels);
        let judged = Instant::now();
        let sampled = self.resampler.labels(labels);
        let stability = self.resampler.stability(&sampled, &fit.centroids, params, observer)?;
        let candidate = Candidate {
            k: fit.centroids.n_clusters(),
            labels_hash,
            inertia: fit.inertia as f64 * self.inertia_unit,
            inertia_exact: fit.inertia.to_string(),
            n_iter: fit.n_iter,
            sizes: fit.partial.counts.iter().map(|&n| Count::Exact(n)).collect(),
            smallest_share: quality.smallest_share,
            share_explained: quality.share_explained,
            silhouette: quality.silhouette.unwrap_or(0.0),
            segment_silhouettes: quality.cluster_silhouettes,
            simplified_silhouette: quality.simplified_silhouette.unwrap_or(0.0),
            davies_bouldin: quality.davies_bouldin.unwrap_or(0.0),
            calinski_harabasz: quality.calinski_harabasz,
            stability,
            valleys: valleys(self.resampler.tiles(), &sampled, &fit.centroids),
        };
        let elapsed_s = [judged - started, judged.elapsed()].map(|time| time.as_secs_f64());
        Ok((candidate, notice, elapsed_s))
    }
}

fn flow(before: &TwoNearest, from_k: usize, fit: &KMeansFit) -> Flow {
    let to_k = fit.centroids.n_clusters();
    let table = Contingency::new(&before.labels, from_k, &fit.nearest.labels, to_k);
    Flow {
        from_k,
        to_k,
        n_rows: (0..from_k)
            .map(|a| (0..to_k).map(|b| Count::Exact(table.count(a, b))).collect())
            .collect(),
    }
}

/// Passes on the wish to stop, what the user should know, and where fits stand; iterations and restarts of one fit of many
/// are no news. Fits that were begun are finished when time is up, so that each is the one of its number of clusters.
struct Notices<'n>(&'n dyn Observer);

impl Observer for Notices<'_> {
    fn event(&self, event: Event) {
        if let Event::Notice(_) = event {
            self.0.event(event);
        }
    }

    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }

    fn standings(&self) -> Option<&dyn Standings> {
        self.0.standings()
    }
}
