//! A second look at columns of numbers whose treatment depends on their quantiles or on bent values.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::choices::Choice;
use super::columns::LogReport;
use super::kept::Kept;
use super::measure::{Candidate, Numbers, Values};
use super::options::{FeatureOptions, Missing, Scale};
use super::pass::Pass;
use super::preparation::bend;
use super::ranks::Ranks;
use super::{locked, room_for};
use crate::data::BatchSource;
use crate::error::Result;
use crate::num::Moments;
use crate::num::quantile::{median_of_ranks, quantile_of_ranks};
use crate::num::shape::Place;
use crate::num::survey::Survey;
use crate::num::widest::{Kernel, widest};

/// Bytes of the values that are gathered together (of one column at least).
const GATHER_BYTES: u64 = 128 << 20;
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
        log: logarithm(numbers, choice.log, n_rows),
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
pub(super) fn logarithm(numbers: &Numbers, asked: Option<bool>, n_rows: usize) -> Option<LogReport> {
    if n_rows < 2 || asked == Some(false) || !numbers.may_bend() {
        return None;
    }
    let shape = &numbers.shape;
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
    helpful.or((asked == Some(true)).then_some(first))
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

    /// The quantiles that are asked for.
    fn quantiles(&self) -> impl Iterator<Item = Quantile> {
        let bounds = self.clip.map(|share| [share, 1.0 - share].map(Quantile::At));
        let quartiles = self.quartiles.then_some([0.25, 0.75].map(Quantile::At));
        let median = (self.median || self.quartiles).then_some(Quantile::Median);
        bounds.into_iter().chain(quartiles).flatten().chain(median)
    }

    /// The answers that quantiles of the values give.
    fn answer(&self, settled: &mut Settled, of: impl Fn(Quantile, &dyn Fn(f64) -> f64) -> f64) {
        let as_it_is = |v| v;
        if self.median {
            settled.median = Some(of(Quantile::Median, &as_it_is));
        }
        if let Some(share) = self.clip {
            let [low, high] = [share, 1.0 - share].map(|q| of(Quantile::At(q), &as_it_is));
            // Bounds that leave no difference would leave no column.
            settled.clip = (low < high).then_some([low, high]);
        }
        if self.quartiles {
            let (clip, unit) = settled.bounds_and_unit();
            // Bending keeps the order.
            let bent = |v| bend(v, clip, unit);
            let spread = of(Quantile::At(0.75), &bent) - of(Quantile::At(0.25), &bent);
            settled.quartiles = Some((of(Quantile::Median, &bent), spread));
        }
    }
}

impl Settled {
    fn bounds_and_unit(&self) -> (Option<[f64; 2]>, Option<f64>) {
        (self.clip, self.log.as_ref().map(|log| log.unit))
    }

    /// Bends all values, ranks them, and gives them their ranks.
    fn rank(&mut self, values: &mut [f64]) {
        bend_all(values, self.bounds_and_unit());
        let ranks = Ranks::of(values);
        values.iter_mut().for_each(|v| *v = ranks.rank(*v));
        self.ranks = Some(ranks);
        let mut moments = Moments::default();
        moments.add_all(values);
        (self.mean, self.std) = (moments.mean(), moments.std());
    }
}

/// A quantile of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Quantile {
    At(f64),
    Median,
}

impl Quantile {
    /// Of `n` values, the r-th smallest of which is `value_at(r)`.
    fn of(self, n: usize, value_at: impl FnMut(usize) -> f64) -> f64 {
        match self {
            Self::At(q) => quantile_of_ranks(n, q, value_at),
            Self::Median => median_of_ranks(n, value_at),
        }
    }
}

/// Where the values are that decide the quantiles asked for of a column: in one counter of its shape for each rank.
struct Wanted {
    n: usize,
    /// Values in the counters that are looked into.
    n_picked: u64,
    /// Per rank the number of its counter among `places`, and how many values lie in those below it.
    ranks: HashMap<usize, (usize, u64)>,
    places: Vec<Place>,
}

/// The values of each counter that is looked into.
type Picked = Vec<Vec<f64>>;

impl Wanted {
    fn of(numbers: &Numbers, questions: &Questions) -> Self {
        let (mut ranks, mut places, mut n_picked) = (HashMap::new(), Vec::new(), 0);
        let n = numbers.moments.n as usize;
        for quantile in questions.quantiles() {
            quantile.of(n, |rank| {
                let (place, below, count) = numbers.shape.place_of_rank(rank as u64);
                let number = places.iter().position(|other| *other == place).unwrap_or_else(|| {
                    n_picked += count;
                    places.push(place);
                    places.len() - 1
                });
                ranks.insert(rank, (number, below));
                0.0
            });
        }
        Self {
            n,
            n_picked,
            ranks,
            places,
        }
    }

    fn pick(&self, picked: &mut Picked, values: &[f64]) {
        let places = self.places.iter().zip(picked);
        places.for_each(|(place, picked)| place.pick(values, picked));
    }

    /// The values of the ranks, from all that were picked.
    fn values(&self, mut picked: Picked) -> impl Fn(usize) -> f64 {
        let sort = |values: &mut Vec<f64>| values.sort_unstable_by(f64::total_cmp);
        picked.iter_mut().for_each(sort);
        move |rank| {
            let (number, below) = self.ranks[&rank];
            picked[number][rank - below as usize]
        }
    }
}

/// Per feature how it is bent; `None` for texts. Quantiles are looked for where the shapes say that they are, among few
/// values; ranks need all values of a column.
pub(super) fn settled(
    source: &dyn BatchSource,
    features: &[Candidate],
    choices: &[Choice],
    options: &FeatureOptions,
    kept: &Kept,
) -> Result<Vec<Option<Settled>>> {
    let n_rows = source.n_rows();
    let mut columns = Vec::new();
    for (at, feature) in features.iter().enumerate() {
        if let Values::Numbers(numbers) = &feature.values {
            let choice = &choices[feature.column.index()];
            columns.push(Column {
                at,
                numbers,
                questions: Questions::of(numbers, choice, options, n_rows),
                settled: first_look(numbers, choice, n_rows),
            });
        }
    }
    let pass = Pass { source, features, kept };
    find_quantiles(&pass, &mut columns)?;
    measure_bent(&pass, &mut columns)?;
    rank(&pass, &mut columns)?;
    let mut settled = vec![None; features.len()];
    columns
        .into_iter()
        .for_each(|column| settled[column.at] = Some(column.settled));
    Ok(settled)
}

/// A column of numbers on the way.
struct Column<'c> {
    /// Its place among the features.
    at: usize,
    numbers: &'c Numbers,
    questions: Questions,
    settled: Settled,
}

/// Answers what quantiles answer.
fn find_quantiles(pass: &Pass<'_>, columns: &mut [Column<'_>]) -> Result<()> {
    let mut open: Vec<(&mut Column<'_>, Wanted)> = Vec::new();
    for column in columns {
        let wanted = Wanted::of(column.numbers, &column.questions);
        if !wanted.places.is_empty() {
            open.push((column, wanted));
        }
    }
    let mut rest = &mut open[..];
    while !rest.is_empty() {
        let n_together = n_together(rest.iter().map(|(_, wanted)| wanted.n_picked));
        let (group, later) = std::mem::take(&mut rest).split_at_mut(n_together);
        rest = later;
        let (at, wanted): (Vec<usize>, Vec<&Wanted>) = group.iter().map(|(column, wanted)| (column.at, wanted)).unzip();
        let picked = pass.fold(
            &at,
            &|column| vec![Vec::new(); wanted[column].places.len()],
            &|picked: &mut Picked, column, values| wanted[column].pick(picked, values),
            &|one, other| one.iter_mut().zip(other).for_each(|(one, other)| one.extend(other)),
        )?;
        for ((column, wanted), picked) in group.iter_mut().zip(picked) {
            let value_at = wanted.values(picked);
            let of = |quantile: Quantile, bent: &dyn Fn(f64) -> f64| quantile.of(wanted.n, |rank| bent(value_at(rank)));
            column.questions.answer(&mut column.settled, of);
        }
    }
    Ok(())
}

/// How many columns of so many values are gathered together.
fn n_together(n_values: impl Iterator<Item = u64>) -> usize {
    let mut bytes = 0;
    let fits = |n: &u64| {
        bytes += n * size_of::<f64>() as u64;
        bytes <= GATHER_BYTES
    };
    n_values.take_while(fits).count().max(1)
}

/// Means and deviations of bent values.
fn measure_bent(pass: &Pass<'_>, columns: &mut [Column<'_>]) -> Result<()> {
    let is_bent =
        |column: &&mut Column<'_>| !column.questions.ranks && column.settled.bounds_and_unit() != (None, None);
    let mut bent: Vec<&mut Column<'_>> = columns.iter_mut().filter(is_bent).collect();
    let at: Vec<usize> = bent.iter().map(|column| column.at).collect();
    let bounds_and_units: Vec<_> = bent.iter().map(|column| column.settled.bounds_and_unit()).collect();
    let add = |moments: &mut Moments, column: usize, values: &mut [f64]| {
        bend_all(values, bounds_and_units[column]);
        let survey = Survey::filling(values);
        moments.add_run(values, &survey);
    };
    let moments = pass.fold(&at, &|_| Moments::default(), &add, &|one, other| one.merge(&other))?;
    for (column, moments) in bent.iter_mut().zip(moments) {
        (column.settled.mean, column.settled.std) = (moments.mean(), moments.std());
    }
    Ok(())
}

/// Ranks the values of the columns that are to be ranked, as many columns at a time as fit [`GATHER_BYTES`].
fn rank(pass: &Pass<'_>, columns: &mut [Column<'_>]) -> Result<()> {
    let mut ranked: Vec<&mut Column<'_>> = columns.iter_mut().filter(|column| column.questions.ranks).collect();
    let mut rest = &mut ranked[..];
    while !rest.is_empty() {
        let n_together = n_together(rest.iter().map(|column| column.numbers.moments.n));
        let (group, later) = std::mem::take(&mut rest).split_at_mut(n_together);
        rest = later;
        let room =
            |column: &&mut Column<'_>| room_for(column.numbers.moments.n as usize, "exact ranks").map(Mutex::new);
        let all = group.iter().map(room).collect::<Result<Vec<Mutex<Vec<f64>>>>>()?;
        let gather = |(): &mut (), column: usize, values: &mut [f64]| {
            locked(&all[column]).extend(values.iter().filter(|v| !v.is_nan()));
        };
        let at: Vec<usize> = group.iter().map(|column| column.at).collect();
        pass.fold(&at, &|_| (), &gather, &|(), ()| ())?;
        group.par_iter_mut().zip(all).for_each(|(column, values)| {
            let mut values = values.into_inner().unwrap_or_else(PoisonError::into_inner);
            column.settled.rank(&mut values);
        });
    }
    Ok(())
}

/// Values and what becomes of each, in their place.
struct Bend<'v, F: Fn(f64) -> f64>(&'v mut [f64], F);

impl<F: Fn(f64) -> f64> Kernel for Bend<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.0.iter_mut().for_each(|v| *v = (self.1)(*v));
    }
}

fn bend_all(values: &mut [f64], (clip, unit): (Option<[f64; 2]>, Option<f64>)) {
    match (clip, unit) {
        (None, None) => {}
        (None, unit) => widest(Bend(values, |v| bend(v, None, unit))),
        (clip, None) => widest(Bend(values, |v| bend(v, clip, None))),
        (clip, unit) => widest(Bend(values, |v| bend(v, clip, unit))),
    }
}
