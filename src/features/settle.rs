//! A second look at columns of numbers whose treatment depends on their quantiles or on bent values.

use rayon::prelude::*;

use super::choices::Choice;
use super::columns::{FeatureColumn, LogReport};
use super::decode::decode;
use super::kept::Kept;
use super::measure::{Candidate, Numbers, Values};
use super::options::{FeatureOptions, Missing, Scale};
use super::preparation::bend;
use super::ranks::Ranks;
use super::{all_or_first_bad, room_for, scan};
use crate::data::BatchSource;
use crate::error::Result;
use crate::num::Moments;
use crate::num::quantile::{median, quantile};
use crate::num::shape::Shape;

/// Values gathered at once for exact quantiles, in bytes (one column at least).
const GATHER_BYTES: usize = 128 << 20;
/// A logarithm is taken where the skewness is above that of an exponential distribution in magnitude,
const SKEWED: f64 = 2.0;
/// and becomes less than this share of what it was.
const STRAIGHTER: f64 = 0.5;
/// Fewer rows than this say nothing of skewness.
const MIN_ROWS_OF_A_SHAPE: usize = 30;

/// How the values of a column of numbers are bent, and what they are like then.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    /// The bounds that values are moved to, in the column's units.
    pub(super) clip: Option<[f64; 2]>,
    /// The unit of the logarithm, and what it does to the skewness.
    pub(super) log: Option<LogReport>,
    /// The ranks that take the place of the values, where they do.
    pub(super) ranks: Option<Ranks>,
    /// The median of the values as they came, where it was asked for.
    pub(super) median: Option<f64>,
    /// Of the bent values.
    pub(super) mean: f64,
    pub(super) std: f64,
    /// Median and distance between the quartiles of the bent values, where they were asked for.
    pub(super) quartiles: Option<(f64, f64)>,
}

/// What is known before the second look.
fn first_look(numbers: &Numbers, choice: &Choice, n_rows: usize) -> Settled {
    Settled {
        clip: None,
        log: { numbers.shape.as_ref() }
            .filter(|_| n_rows > 1)
            .and_then(|shape| logarithm(shape, choice.log == Some(true), n_rows)),
        ranks: None,
        median: None,
        mean: numbers.moments.mean(),
        // A single row has no spread to scale by.
        std: if n_rows == 1 { 1.0 } else { numbers.moments.std() },
        quartiles: None,
    }
}

/// The logarithm to take, if one is: because it was asked for, or because it helps. Where `ln(1 + x)` goes too far, one
/// in units of the median may do.
pub(super) fn logarithm(shape: &Shape, asked: bool, n_rows: usize) -> Option<LogReport> {
    let skewness = shape.skewness();
    let reports = shape.log_units().map(|(unit, skewness_after)| LogReport {
        unit,
        skewness,
        skewness_after,
    });
    let helps = |log: &&LogReport| {
        n_rows >= MIN_ROWS_OF_A_SHAPE
            && skewness.abs() > SKEWED
            && log.skewness_after.abs() < STRAIGHTER * skewness.abs()
    };
    let helpful = reports.iter().find(helps).cloned();
    let [first, _] = reports;
    helpful.or(asked.then_some(first))
}

/// What the second look is to find out.
struct Questions {
    clip: Option<f64>,
    median: bool,
    quartiles: bool,
    ranks: bool,
}

impl Questions {
    fn of(numbers: &Numbers, choice: &Choice, options: &FeatureOptions, n_rows: usize) -> Self {
        let fills = numbers.n_missing > 0 && matches!(choice.missing, Missing::Median | Missing::Indicator);
        Self {
            clip: options.clip.filter(|_| n_rows > 1 && numbers.may_bend()),
            median: fills,
            quartiles: options.scale == Scale::Robust,
            ranks: options.scale == Scale::Rank && n_rows > 1 && !numbers.is_flag(),
        }
    }

    fn any(&self, settled: &Settled) -> bool {
        self.clip.is_some() || self.median || self.quartiles || self.ranks || settled.log.is_some()
    }

    /// The answers, from all values that are not missing.
    fn answer(&self, settled: &mut Settled, values: &mut [f64]) {
        if self.median {
            settled.median = Some(median(values));
        }
        if let Some(share) = self.clip {
            let [low, high] = [quantile(values, share), quantile(values, 1.0 - share)];
            // Bounds that leave no difference would leave no column.
            settled.clip = (low < high).then_some([low, high]);
        }
        let unit = settled.log.as_ref().map(|log| log.unit);
        if unit.is_some() || settled.clip.is_some() || self.ranks {
            values.iter_mut().for_each(|v| *v = bend(*v, settled.clip, unit));
            if self.ranks {
                let ranks = Ranks::of(values);
                values.iter_mut().for_each(|v| *v = ranks.rank(*v));
                settled.ranks = Some(ranks);
            }
            let mut moments = Moments::default();
            moments.add_all(values);
            (settled.mean, settled.std) = (moments.mean(), moments.std());
        }
        if self.quartiles {
            let spread = quantile(values, 0.75) - quantile(values, 0.25);
            settled.quartiles = Some((median(values), spread));
        }
    }
}

/// Per feature how it is bent; `None` for texts. Values are gathered for as many columns at a time as fit
/// [`GATHER_BYTES`]; those that were kept are not read again.
pub(super) fn settled(
    source: &dyn BatchSource,
    features: &[Candidate],
    choices: &[Choice],
    options: &FeatureOptions,
    kept: &Kept,
) -> Result<Vec<Option<Settled>>> {
    let n_rows = source.n_rows();
    let mut settled = Vec::with_capacity(features.len());
    let mut open = Vec::new();
    for (at, feature) in features.iter().enumerate() {
        let Values::Numbers(numbers) = &feature.values else {
            settled.push(None);
            continue;
        };
        let choice = &choices[feature.column.index()];
        let first = first_look(numbers, choice, n_rows);
        let questions = Questions::of(numbers, choice, options, n_rows);
        if questions.any(&first) {
            open.push((at, questions));
        }
        settled.push(Some(first));
    }
    let keeps = kept.keeps();
    let (at_hand, to_read): (Vec<_>, Vec<_>) = open.into_iter().partition(|(at, _)| keeps.get(*at) == Some(&true));
    let at_once = (GATHER_BYTES / size_of::<f64>() / n_rows).max(1);
    for (groups, read) in [(at_hand.chunks(at_once), false), (to_read.chunks(at_once), true)] {
        for group in groups {
            let mut gathered = Vec::new();
            for &(at, _) in group {
                let n = (n_rows as u64 - features[at].n_missing()) as usize;
                gathered.push((&features[at], room_for(n, "exact quantiles")?));
            }
            if read {
                gather(source, &mut gathered)?;
            } else {
                let columns = gathered.par_iter_mut().zip(group);
                columns.for_each(|((_, values), (at, _))| kept.gather(*at, values));
            }
            let firsts: Vec<Settled> = group.iter().filter_map(|(at, _)| settled[*at].clone()).collect();
            let answered: Vec<Settled> = gathered
                .into_par_iter()
                .zip(group)
                .zip(firsts)
                .map(|(((_, mut values), (_, questions)), mut settled)| {
                    questions.answer(&mut settled, &mut values);
                    settled
                })
                .collect();
            for ((at, _), answered) in group.iter().zip(answered) {
                settled[*at] = Some(answered);
            }
        }
    }
    Ok(settled)
}

/// Reads the values of some columns of numbers that are not missing.
fn gather(source: &dyn BatchSource, gathered: &mut [(&Candidate, Vec<f64>)]) -> Result<()> {
    let columns: Vec<FeatureColumn> = gathered.iter().map(|(feature, _)| feature.column).collect();
    let names: Vec<&str> = gathered.iter().map(|(feature, _)| feature.name.as_str()).collect();
    scan(source, &columns, |first_row, batch| {
        let added = gathered
            .par_iter_mut()
            .zip(batch.columns())
            .map(|((feature, values), array)| {
                if let Values::Numbers(numbers) = &feature.values {
                    values.extend(decode(array, &numbers.kind)?.into_iter().filter(|v| !v.is_nan()));
                }
                Ok(())
            })
            .collect();
        all_or_first_bad(source, first_row, &names, added).map(drop)
    })
}
