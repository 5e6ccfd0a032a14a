//! Splitting segments on their own rows.

use super::{Descent, Paths, SegmentPath, Split, SplitRule};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::kmeans::{self, Event, Init, KMeansFit, KMeansParams, MAX_CLUSTERS, Observer};
use crate::partial::ClusterPartial;
use crate::segments::adds_up;
use crate::select::{self, Strength, Sweep, SweepOptions};
use crate::tiles::{RowKeys, TileSet};

/// What splits segments.
#[derive(Clone, Copy)]
pub struct Grower<'g> {
    /// Makes the passes over the rows of a segment.
    pub backend: &'g dyn Backend,
    /// Refines restarts and resamples.
    pub host: &'g dyn Backend,
    /// All rows, prepared.
    pub data: &'g TileSet,
    /// What tells them apart.
    pub keys: &'g RowKeys,
    /// As for the first level, but for the number of clusters and for first centroids that were given.
    pub params: &'g KMeansParams,
    /// What one unit of the exact inertia is worth.
    pub inertia_unit: f64,
    /// Integer weight of one row.
    pub row_weight: f64,
    /// Fewer rows are not told of: no part has less.
    pub min_cell: u64,
    /// Per segment of the first level, whether its number of rows is told.
    pub is_told: &'g [bool],
    /// Hears of the segments that are done.
    pub observer: &'g dyn Observer,
}

/// What became of the segments that were to be split.
#[derive(Debug, Clone)]
pub struct Grown {
    /// The splits, a segment before its parts.
    pub splits: Vec<Split>,
    /// The leaf of every row.
    pub paths: Paths,
    /// All segments that were to be split, whether they were or not.
    pub tried: Vec<Tried>,
    /// What the device had to say.
    pub notices: Vec<String>,
}

/// A segment that was to be split.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// The segment.
    pub path: SegmentPath,
    /// Its rows.
    pub n_rows: u64,
    /// Weight of each part, in integer units; none where it stays whole.
    pub weights: Vec<u64>,
    /// How far the data speaks for the number of parts; none where it was given, or nothing was tried.
    pub strength: Option<Strength>,
    /// Why so many, or why none.
    pub reasons: Vec<String>,
    /// Share of the scatter of its rows that lies between the parts.
    pub share_explained: Option<f64>,
    /// Inertia of the parts, exact.
    pub inertia: Option<u128>,
    /// Iterations over its rows.
    pub n_iter: usize,
}

/// A segment on its own.
struct Part<'p> {
    path: &'p SegmentPath,
    data: TileSet,
    keys: RowKeys,
    /// Rows that can be a centre.
    n_weighted: usize,
}

/// A clustering of a segment's rows, and what speaks for it.
struct Found {
    fit: KMeansFit,
    strength: Option<Strength>,
    reasons: Vec<String>,
}

/// Why a segment stays whole.
struct Whole {
    strength: Option<Strength>,
    reason: String,
}

impl Whole {
    /// Where nothing could be tried.
    fn untried(reason: impl Into<String>) -> Self {
        Self {
            strength: None,
            reason: reason.into(),
        }
    }
}

impl Grower<'_> {
    /// Splits the segments of the first level, `labels`, by `rules` in their order. Each is split on its own rows,
    /// weights and keys; the result depends on them and the parameters alone.
    ///
    /// A segment stays whole where it has too few rows or distinct rows, or, where the number of parts is to be found,
    /// no number of them comes out again on other draws of its rows.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] for a rule that names no leaf, or too many segments; those of k-means and of the sweep.
    pub fn grow(&self, labels: &[u32], n_segments: usize, rules: &[SplitRule]) -> Result<Grown> {
        let mut descent = Descent::new(labels, n_segments);
        let (mut splits, mut tried, mut notices) = (Vec::new(), Vec::new(), Vec::new());
        let mut depth = 0;
        for rule in rules {
            let segments = match &rule.path {
                Some(path) => vec![path.clone()],
                None => {
                    depth += 1;
                    descent.leaves_at(depth)
                }
            };
            for (done, path) in segments.iter().enumerate() {
                let rows = descent.rows(path).ok_or_else(|| no_leaf(path, &descent))?;
                let part = self.part(path, &rows)?;
                let outcome = match path.depth() == 1 && !self.is_told[path.segment() as usize - 1] {
                    // With its parts it would be told after all.
                    true => Err(Whole::untried("its number of rows is not told")),
                    false => self.split(&part, rule, done, segments.len())?,
                };
                let (mut told, fit) = match outcome {
                    Ok(found) => {
                        let fit = found.fit;
                        notices.extend(fit.notices.iter().cloned());
                        (told_of(&part, &fit, found.strength, found.reasons), Some(fit))
                    }
                    Err(whole) => (untold(&part, whole), None),
                };
                told.n_rows = rows.len() as u64;
                tried.push(told);
                let Some(fit) = fit else { continue };
                let n_parts = fit.centroids.n_clusters();
                if descent.nodes.len() + n_parts > MAX_CLUSTERS {
                    return Err(too_many());
                }
                descent.split(path, &rows, &fit.nearest.labels, n_parts);
                splits.push(Split {
                    path: path.clone(),
                    centroids: fit.centroids,
                    segment_counts: fit.partial.counts.clone(),
                    sums: adds_up(&fit.partial).then_some(fit.partial),
                });
            }
        }
        notices.dedup();
        Ok(Grown {
            splits,
            paths: descent.end(),
            tried,
            notices,
        })
    }

    fn part<'p>(&self, path: &'p SegmentPath, rows: &[usize]) -> Result<Part<'p>> {
        let data = self.data.subset(rows)?;
        let n_weighted = match data.weighted() {
            true => (0..rows.len()).filter(|&row| data.weight(row) > 0).count(),
            false => rows.len(),
        };
        Ok(Part {
            path,
            data,
            keys: RowKeys::Ids(rows.iter().map(|&row| self.keys.key(row)).collect()),
            n_weighted,
        })
    }

    /// The parts of a segment, or why it stays whole.
    fn split(&self, part: &Part<'_>, rule: &SplitRule, done: usize, of: usize) -> Result<Result<Found, Whole>> {
        let [least, most] = rule.k;
        let fixed = least == most;
        let n = part.n_weighted;
        // A part that is found has to be large enough to be told of.
        let most_parts = if fixed { n } else { n / self.min_cell.max(1) as usize };
        self.observer.event(Event::Segment { done, of });
        if most_parts < least {
            let rows = if n == 1 { "row" } else { "rows" };
            return Ok(Err(Whole::untried(format!("{n} {rows} are too few for {least} parts"))));
        }
        let found = if fixed {
            Found {
                fit: self.fit(part, least)?,
                strength: None,
                reasons: Vec::new(),
            }
        } else {
            match self.choose(part, least..=most.min(most_parts), rule.min_share)? {
                Ok(found) => found,
                Err(whole) => return Ok(Err(whole)),
            }
        };
        let least_rows = found.fit.partial.counts.iter().min().copied().unwrap_or(0);
        Ok(match found.fit.centroids.n_clusters() {
            1 => Err(Whole::untried("all its rows are the same")),
            _ if least_rows < self.min_cell => {
                let reason = format!(
                    "a part would have fewer than {} rows, too few to be told of",
                    self.min_cell
                );
                Err(Whole::untried(reason))
            }
            _ => Ok(found),
        })
    }

    fn fit(&self, part: &Part<'_>, n_clusters: usize) -> Result<KMeansFit> {
        let params = self.params_of(n_clusters);
        let quiet = Quiet(self.observer);
        let (unit, data) = (self.inertia_unit, &part.data);
        kmeans::fit(self.backend, self.host, data, &part.keys, &params, unit, &quiet)
    }

    fn params_of(&self, n_clusters: usize) -> KMeansParams {
        KMeansParams {
            n_clusters,
            init: match &self.params.init {
                Init::Centroids(_) => Init::KMeansPlusPlus,
                other => other.clone(),
            },
            ..*self.params
        }
    }

    /// The number of parts that the data speaks for, if it does.
    fn choose(
        &self,
        part: &Part<'_>,
        k: std::ops::RangeInclusive<usize>,
        min_share: f64,
    ) -> Result<Result<Found, Whole>> {
        let options = SweepOptions {
            k,
            prefer: None,
            min_share: min_share.max(self.min_cell as f64 / part.n_weighted as f64),
            ..SweepOptions::default()
        };
        let mut swept = select::sweep(
            self.backend,
            self.host,
            &part.data,
            &part.keys,
            &self.params_of(*options.k.start()),
            &options,
            self.inertia_unit,
            self.row_weight,
            &Quiet(self.observer),
        )?;
        let strength = swept.sweep.decision.strength;
        if let Some(reason) = not_sound(&swept.sweep, &options) {
            return Ok(Err(Whole {
                strength: Some(strength),
                reason,
            }));
        }
        let reasons = swept.sweep.decision.reasons.clone();
        let mut fit = swept.take_chosen(self.backend, &part.data)?;
        fit.notices.append(&mut swept.notices);
        Ok(Ok(Found {
            fit,
            strength: Some(strength),
            reasons,
        }))
    }
}

/// Why none of the numbers tried is taken.
fn not_sound(sweep: &Sweep, options: &SweepOptions) -> Option<String> {
    let decision = &sweep.decision;
    let chosen = sweep.candidates.iter().find(|candidate| candidate.k == decision.k)?;
    let (least, most) = (options.k.start(), options.k.end());
    if decision.strength == Strength::None {
        let best = chosen.stability.as_ref().map_or_else(String::new, |stability| {
            format!(" (best: {}, adjusted Rand {:.2})", chosen.k, stability.adjusted_rand)
        });
        return Some(format!(
            "none of {least} to {most} parts come out again when its rows are drawn again{best}"
        ));
    }
    (chosen.smallest_share < options.min_share)
        .then(|| format!("each of {least} to {most} parts leaves one that is too small"))
}

fn told_of(part: &Part<'_>, fit: &KMeansFit, strength: Option<Strength>, reasons: Vec<String>) -> Tried {
    let scatter = scatter(&part.data, &fit.partial);
    Tried {
        path: part.path.clone(),
        n_rows: 0,
        weights: fit.partial.cluster_weights.clone(),
        strength,
        reasons,
        share_explained: (scatter > 0).then(|| 1.0 - fit.inertia as f64 / scatter as f64),
        inertia: Some(fit.inertia),
        n_iter: fit.n_iter,
    }
}

fn untold(part: &Part<'_>, Whole { strength, reason }: Whole) -> Tried {
    Tried {
        path: part.path.clone(),
        n_rows: 0,
        weights: Vec::new(),
        strength,
        reasons: vec![reason],
        share_explained: None,
        inertia: None,
        n_iter: 0,
    }
}

/// The scatter of rows about their mean.
fn scatter(data: &TileSet, partial: &ClusterPartial) -> u128 {
    let mut all = ClusterPartial::zero(1, partial.n_features());
    for cluster in 0..partial.n_clusters() {
        all.merge(&partial.reordered(&[cluster]));
    }
    let mean = all.centroids(&crate::tiles::Centroids::new(
        partial.n_features(),
        vec![0; partial.n_features()],
    ));
    all.inertia(&mean, data.weighted_sq_norm())
}

pub(super) fn no_leaf(path: &SegmentPath, descent: &Descent) -> Error {
    let reason = match descent.places.get(path) {
        Some(_) => "this segment is split already".into(),
        None => {
            let leaves = descent.nodes.iter().zip(&descent.is_split).filter(|&(_, split)| !split);
            let mut leaves: Vec<&SegmentPath> = leaves.map(|(node, _)| node).collect();
            leaves.sort();
            let told: Vec<String> = leaves.iter().take(12).map(|leaf| leaf.to_string()).collect();
            let more = if leaves.len() > 12 { ", ..." } else { "" };
            format!("there is no such segment; there are {}{more}", told.join(", "))
        }
    };
    Error::InvalidParam {
        param: "drill",
        value: path.to_string(),
        reason,
    }
}

fn too_many() -> Error {
    Error::InvalidParam {
        param: "levels",
        value: "as given".into(),
        reason: format!("they make more than {MAX_CLUSTERS} segments in all"),
    }
}

/// Passes on the wish to stop and what the user should know.
struct Quiet<'q>(&'q dyn Observer);

impl Observer for Quiet<'_> {
    fn event(&self, event: Event) {
        if let Event::Notice(_) = event {
            self.0.event(event);
        }
    }

    fn counts_moved(&self) -> bool {
        false
    }

    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}
