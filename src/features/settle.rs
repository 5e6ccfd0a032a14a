//! A second look at columns of numbers whose treatment depends on their quantiles or on bent values.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::choices::Choice;
use super::columns::{FeatureColumn, LogReport};
use super::decode::decode_pieces;
use super::kept::Kept;
use super::measure::{Candidate, Numbers, Values};
use super::options::{FeatureOptions, Missing, Scale};
use super::preparation::bend;
use super::ranks::Ranks;
use super::{all_or_first_bad, locked, n_workers, room_for, scan_slabs};
use crate::data::BatchSource;
use crate::error::Result;
use crate::num::Moments;
use crate::num::quantile::{median_of_ranks, quantile_of_ranks};
use crate::num::shape::Place;
use crate::num::survey::Survey;
use crate::num::widest::{Kernel, widest};
use crate::tiles::{BLOCK, Chunk, TileSet};

/// Values gathered at once for exact ranks, in bytes (one column at least).
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
    /// Per rank the number of its counter among `places`, and how many values lie in those below it.
    ranks: HashMap<usize, (usize, u64)>,
    places: Vec<Place>,
}

/// The values of each counter that is looked into.
type Picked = Vec<Vec<f64>>;

impl Wanted {
    fn of(numbers: &Numbers, questions: &Questions) -> Self {
        let (mut ranks, mut places) = (HashMap::new(), Vec::new());
        let n = numbers.moments.n as usize;
        for quantile in questions.quantiles() {
            quantile.of(n, |rank| {
                let (place, below) = numbers.shape.place_of_rank(rank as u64);
                let number = places.iter().position(|other| *other == place).unwrap_or_else(|| {
                    places.push(place);
                    places.len() - 1
                });
                ranks.insert(rank, (number, below));
                0.0
            });
        }
        Self { n, ranks, places }
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
/// values; ranks need all values of a column, which are gathered for as many columns at a time as fit [`GATHER_BYTES`].
pub(super) fn settled(
    source: &dyn BatchSource,
    features: &[Candidate],
    choices: &[Choice],
    options: &FeatureOptions,
    kept: &Kept,
) -> Result<Vec<Option<Settled>>> {
    let n_rows = source.n_rows();
    let mut settled = Vec::with_capacity(features.len());
    let mut asked = Vec::new();
    for (at, feature) in features.iter().enumerate() {
        let Values::Numbers(numbers) = &feature.values else {
            settled.push(None);
            continue;
        };
        let choice = &choices[feature.column.index()];
        asked.push((at, numbers, Questions::of(numbers, choice, options, n_rows)));
        settled.push(Some(first_look(numbers, choice, n_rows)));
    }
    let pass = Pass { source, features, kept };
    let wanted = asked
        .iter()
        .map(|(at, numbers, questions)| (*at, Wanted::of(numbers, questions)));
    let (places, wanted): (Vec<usize>, Vec<Wanted>) = wanted.filter(|(_, wanted)| !wanted.places.is_empty()).unzip();
    let picked = pass.fold(
        &places,
        &|column| vec![Vec::new(); wanted[column].places.len()],
        &|picked: &mut Picked, column, values| wanted[column].pick(picked, values),
        &|one, other| one.iter_mut().zip(other).for_each(|(one, other)| one.extend(other)),
    )?;
    for ((at, wanted), picked) in places.iter().zip(&wanted).zip(picked) {
        let value_at = wanted.values(picked);
        let questions = asked.iter().find(|asked| asked.0 == *at).map(|asked| &asked.2);
        if let (Some(settled), Some(questions)) = (&mut settled[*at], questions) {
            questions.answer(settled, |quantile, bent| {
                quantile.of(wanted.n, |rank| bent(value_at(rank)))
            });
        }
    }
    let ranked = |at: usize| {
        asked
            .iter()
            .any(|(other, _, questions)| *other == at && questions.ranks)
    };
    let bent = settled.iter().enumerate().filter_map(|(at, settled)| {
        let bounds_and_unit = settled.as_ref()?.bounds_and_unit();
        (bounds_and_unit != (None, None) && !ranked(at)).then_some((at, bounds_and_unit))
    });
    let (places, bounds_and_units): (Vec<usize>, Vec<_>) = bent.unzip();
    let add_bent = |moments: &mut Moments, column: usize, values: &mut [f64]| {
        bend_all(values, bounds_and_units[column]);
        let survey = Survey::filling(values);
        moments.add_run(values, &survey);
    };
    let moments = pass.fold(&places, &|_| Moments::default(), &add_bent, &|one, other| {
        one.merge(&other)
    })?;
    for (at, moments) in places.into_iter().zip(moments) {
        if let Some(settled) = &mut settled[at] {
            (settled.mean, settled.std) = (moments.mean(), moments.std());
        }
    }
    let ranked: Vec<usize> = (0..features.len()).filter(|at| ranked(*at)).collect();
    let at_once = (GATHER_BYTES / size_of::<f64>() / n_rows).max(1);
    for group in ranked.chunks(at_once) {
        let room = |at: &usize| {
            let n = (n_rows as u64 - features[*at].n_missing()) as usize;
            room_for(n, "exact ranks")
        };
        let all = group.iter().map(room).collect::<Result<Vec<Vec<f64>>>>()?;
        rank_columns(&pass, group, all, &mut settled)?;
    }
    Ok(settled)
}

/// Gathers all values of some columns, and ranks them.
fn rank_columns(
    pass: &Pass<'_>,
    columns: &[usize],
    room: Vec<Vec<f64>>,
    settled: &mut [Option<Settled>],
) -> Result<()> {
    let all: Vec<Mutex<Vec<f64>>> = room.into_iter().map(Mutex::new).collect();
    let gather = |(): &mut (), column: usize, values: &mut [f64]| {
        locked(&all[column]).extend(values.iter().filter(|v| !v.is_nan()));
    };
    pass.fold(columns, &|_| (), &gather, &|(), ()| ())?;
    let open = settled.iter_mut().enumerate().filter(|(at, _)| columns.contains(at));
    let both: Vec<_> = open.zip(all).collect();
    both.into_par_iter().for_each(|((_, settled), values)| {
        let mut values = values.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(settled) = settled {
            settled.rank(&mut values);
        }
    });
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

/// Where the values of columns of numbers are read again.
struct Pass<'p> {
    source: &'p dyn BatchSource,
    features: &'p [Candidate],
    kept: &'p Kept,
}

/// Takes in values of a column, given by its place among those of the pass: at most [`Moments::RUN`], NaN where missing.
type Add<'a, T> = dyn Fn(&mut T, usize, &mut [f64]) + Sync + 'a;

impl Pass<'_> {
    /// Folds over all values of columns, given by their places among the features: those that were kept are not read.
    fn fold<T: Send>(
        &self,
        columns: &[usize],
        none: &(dyn Fn(usize) -> T + Sync),
        add: &Add<'_, T>,
        merge: &(dyn Fn(&mut T, T) + Sync),
    ) -> Result<Vec<T>> {
        let keeps = self.kept.keeps();
        let (at_hand, to_read): (Vec<_>, Vec<_>) =
            { columns.iter().copied().enumerate() }.partition(|(_, at)| keeps.get(*at) == Some(&true));
        let mut found: Vec<Option<T>> = columns.iter().map(|_| None).collect();
        let merge_all = |mut all: Vec<T>, others: Vec<T>| {
            all.iter_mut().zip(others).for_each(|(one, other)| merge(one, other));
            all
        };
        if let Some(tiles) = self.kept.tiles().filter(|_| !at_hand.is_empty()) {
            let values = fold_kept(tiles, &at_hand, none, add, &merge_all);
            at_hand
                .iter()
                .zip(values)
                .for_each(|((column, _), value)| found[*column] = Some(value));
        }
        if !to_read.is_empty() {
            let values = self.fold_read(&to_read, none, add, &merge_all)?;
            to_read
                .iter()
                .zip(values)
                .for_each(|((column, _), value)| found[*column] = Some(value));
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn fold_read<T: Send>(
        &self,
        columns: &[(usize, usize)],
        none: &(dyn Fn(usize) -> T + Sync),
        add: &Add<'_, T>,
        merge: &(dyn Fn(Vec<T>, Vec<T>) -> Vec<T> + Sync),
    ) -> Result<Vec<T>> {
        let of = |(_, at): &(usize, usize)| &self.features[*at];
        let places: Vec<FeatureColumn> = columns.iter().map(|column| of(column).column).collect();
        let names: Vec<&str> = columns.iter().map(|column| of(column).name.as_str()).collect();
        let nothing = || columns.iter().map(|(column, _)| none(*column)).collect::<Vec<T>>();
        let tallies: Vec<Mutex<Vec<T>>> = (0..n_workers()).map(|_| Mutex::new(nothing())).collect();
        scan_slabs(self.source, &places, &|slab| {
            let mut tallies = locked(&tallies[slab.worker]);
            let added = (slab.first_column..).zip(slab.arrays).map(|(place, array)| {
                let Values::Numbers(numbers) = &of(&columns[place]).values else {
                    return Ok(());
                };
                let tally = &mut tallies[place];
                decode_pieces(array, &numbers.kind, |_, mut values| {
                    add(tally, columns[place].0, &mut values)
                })
            });
            let added = added.collect();
            let names = &names[slab.first_column..][..slab.arrays.len()];
            all_or_first_bad(self.source, slab.first_row, names, added).map(drop)
        })?;
        let tallies = { tallies.into_iter() }.map(|tally| tally.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(tallies.reduce(merge).unwrap_or_default())
    }
}

fn fold_kept<T: Send>(
    tiles: &TileSet,
    columns: &[(usize, usize)],
    none: &(dyn Fn(usize) -> T + Sync),
    add: &Add<'_, T>,
    merge: &(dyn Fn(Vec<T>, Vec<T>) -> Vec<T> + Sync),
) -> Vec<T> {
    let nothing = || columns.iter().map(|(column, _)| none(*column)).collect::<Vec<T>>();
    let take_in = |mut all: Vec<T>, (chunk, blocks): (&Chunk, Range<usize>)| {
        let mut values = Vec::with_capacity(Moments::RUN);
        for (tally, &(column, at)) in all.iter_mut().zip(columns) {
            values.clear();
            for block in blocks.clone() {
                let lane = &chunk.block(block)[at * BLOCK..][..chunk.block_rows(block)];
                values.extend(lane.iter().map(|&v| f64::from(v)));
            }
            add(tally, column, &mut values);
        }
        all
    };
    tiles
        .tasks(Moments::RUN / BLOCK)
        .fold(nothing, take_in)
        .reduce(nothing, merge)
}
