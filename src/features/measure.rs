//! What all rows say of each column that may become a feature: exact sums and counts, in one pass.

use std::sync::{Mutex, PoisonError};

use arrow::array::Array;
use arrow::datatypes::DataType;
use rayon::prelude::*;

use super::choices::Choice;
use super::columns::{FeatureColumn, Part};
use super::cycles::Cycle;
use super::decode::{
    BadCell, Instant, MAX_ABS, TypeClass, ValueKind, decode_unchecked, each_integer, first_too_large, instants,
    plain_type,
};
use super::kept::{KeepColumn, Keeper, Kept};
use super::levels::{LevelCounter, LevelCounts};
use super::lists::Lists;
use super::{all_or_first_bad, locked, n_workers, room_for, scan, scan_slabs};
use crate::data::BatchSource;
use crate::error::Result;
use crate::num::Moments;
use crate::num::shape::Shape;
use crate::num::survey::Survey;

/// Fewer rows than this say nothing about whether integers number the rows.
const MIN_ROWS_OF_AN_ID: u64 = 100;
/// Integers below this, `2^53`, are `f64`s without error.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// A column that may become a feature, and what all its rows say.
pub(super) struct Candidate {
    pub(super) column: FeatureColumn,
    pub(super) name: String,
    pub(super) named: bool,
    pub(super) values: Values,
}

/// What all rows of a column say.
pub(super) enum Values {
    Numbers(Box<Numbers>),
    Texts(LevelCounts),
    Lists(Box<Lists>),
}

/// The values of a column of numbers.
#[derive(Clone)]
pub(super) struct Numbers {
    class: TypeClass,
    pub(super) kind: ValueKind,
    /// Standard deviations below this share of the largest magnitude are rounding noise.
    noise: f64,
    pub(super) n_missing: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) moments: Moments,
    /// What says whether a logarithm helps, and where to look for a quantile.
    pub(super) shape: Shape,
    /// Rows in each month or weekday, where these take part.
    pub(super) cycles: Vec<(Cycle, Vec<u64>)>,
    /// Least and largest integer, where the column holds integers.
    integers: Option<(i128, i128)>,
}

/// What one thread has seen of a column.
enum Tally {
    Numbers(Box<Numbers>),
    Texts(LevelCounter),
    Lists(Box<Lists>),
}

impl Tally {
    /// Of no rows of a candidate, of which nothing is known yet.
    fn of(candidate: &Candidate) -> Self {
        match &candidate.values {
            Values::Numbers(numbers) => Self::Numbers(numbers.clone()),
            Values::Texts(_) => Self::Texts(LevelCounter::default()),
            Values::Lists(_) => Self::Lists(Box::default()),
        }
    }

    /// Adds the values of a batch; those of numbers are kept, where that is asked.
    fn add(
        &mut self,
        array: &dyn Array,
        keep: Option<KeepColumn<'_, '_>>,
        may_number: bool,
    ) -> std::result::Result<(), BadCell> {
        match self {
            Self::Numbers(numbers) => numbers.add(array, keep, may_number),
            Self::Texts(counter) => {
                counter.add(array);
                Ok(())
            }
            Self::Lists(lists) => lists.add(array),
        }
    }

    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Numbers(numbers), Self::Numbers(others)) => numbers.merge(&others),
            (Self::Texts(counter), Self::Texts(others)) => counter.merge(others),
            (Self::Lists(lists), Self::Lists(others)) => lists.merge(&others),
            _ => unreachable!("two tallies of one column"),
        }
    }

    fn values(self) -> Values {
        match self {
            Self::Numbers(numbers) => Values::Numbers(numbers),
            Self::Texts(counter) => Values::Texts(counter.counted()),
            Self::Lists(lists) => Values::Lists(lists),
        }
    }
}

impl Candidate {
    /// Rows without a value.
    pub(super) fn n_missing(&self) -> u64 {
        match &self.values {
            Values::Numbers(numbers) => numbers.n_missing,
            Values::Texts(counts) => counts.n_missing,
            Values::Lists(lists) => lists.n_missing,
        }
    }
}

impl Numbers {
    /// Adds the values of a batch, and keeps them as `f32` as long as nothing is lost by that.
    fn add(
        &mut self,
        array: &dyn Array,
        mut keep: Option<KeepColumn<'_, '_>>,
        may_number: bool,
    ) -> std::result::Result<(), BadCell> {
        let mut narrow = vec![0.0; if keep.is_some() { Moments::RUN } else { 0 }];
        for first in (0..array.len()).step_by(Moments::RUN) {
            let piece = array.slice(first, Moments::RUN.min(array.len() - first));
            let in_array = |bad: BadCell| BadCell {
                index: first + bad.index,
                ..bad
            };
            let mut values = decode_unchecked(&piece, &self.kind).map_err(in_array)?;
            let survey = match &keep {
                Some(_) => Survey::narrowing(&mut values, &mut narrow[..piece.len()]),
                None => Survey::filling(&mut values),
            };
            if survey.reach() > MAX_ABS {
                return Err(in_array(first_too_large(&values)));
            }
            if let Some(lost) = keep.take_if(|_| survey.is_wide) {
                lost.lose();
            }
            if let Some(keep) = &keep {
                keep.put(first, &narrow[..piece.len()]);
            }
            self.add_piece(&piece, &values, &survey, may_number);
        }
        Ok(())
    }

    /// Adds a piece of a batch, with its values and 0 in the place of those that are missing.
    fn add_piece(&mut self, piece: &dyn Array, values: &[f64], survey: &Survey, may_number: bool) {
        self.n_missing += survey.n_missing as u64;
        self.min = self.min.min(survey.least);
        self.max = self.max.max(survey.largest);
        self.moments.add_run(values, survey);
        self.shape.add_with_gaps(values, survey.n_missing);
        if !self.cycles.is_empty() {
            for instant in instants(piece).into_iter().flatten() {
                for (cycle, counts) in &mut self.cycles {
                    cycle.place(instant).into_iter().for_each(|place| counts[place] += 1);
                }
            }
        }
        if self.class != TypeClass::Integer || !may_number || survey.n_missing == piece.len() {
            return;
        }
        let mut add = |v: i128| {
            let (min, max) = self.integers.unwrap_or((v, v));
            self.integers = Some((min.min(v), max.max(v)));
        };
        if survey.reach() < EXACT_INTEGERS {
            add(survey.least as i128);
            add(survey.largest as i128);
        } else {
            each_integer(piece, add);
        }
    }

    /// Adds what `other` has seen of the same column.
    fn merge(&mut self, other: &Self) {
        self.n_missing += other.n_missing;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.moments.merge(&other.moments);
        self.shape.merge(&other.shape);
        for ((_, counts), (_, others)) in self.cycles.iter_mut().zip(&other.cycles) {
            counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
        }
        if let Some((low, high)) = other.integers {
            let (min, max) = self.integers.unwrap_or((low, high));
            self.integers = Some((min.min(low), max.max(high)));
        }
    }

    /// Why this column cannot be a feature, if it cannot.
    pub(super) fn reason(&self, n_rows: u64, numbers_rows: bool) -> Option<&'static str> {
        let std = self.moments.std();
        if self.n_missing == n_rows {
            Some("has no values")
        } else if n_rows == 1 {
            None
        } else if self.min == self.max {
            Some("is constant")
        } else if !std.is_normal() || std < self.noise * self.min.abs().max(self.max.abs()) {
            Some("is constant but for rounding noise")
        } else if numbers_rows {
            Some("looks like an id: it numbers the rows")
        } else {
            None
        }
    }

    /// Whether a logarithm may be of use: not for truth values and times of day.
    pub(super) fn may_bend(&self) -> bool {
        !matches!(self.class, TypeClass::Bool | TypeClass::TimeOfDay)
    }

    /// Whether the values are truth values, as such or as 0 and 1.
    pub(super) fn is_flag(&self) -> bool {
        self.class == TypeClass::Bool || (self.class == TypeClass::Integer && (self.min, self.max) == (0.0, 1.0))
    }

    /// First number and how many there are up to the last, where these integers may number the rows.
    fn number_range(&self, n_rows: u64) -> Option<(i128, usize)> {
        let (min, max) = self.integers?;
        let len = max - min + 1;
        let may = n_rows >= MIN_ROWS_OF_AN_ID
            && self.n_missing == 0
            && (i128::from(n_rows)..2 * i128::from(n_rows)).contains(&len);
        may.then_some((min, len as usize))
    }
}

fn noise_of(data_type: &DataType) -> f64 {
    match plain_type(data_type) {
        DataType::Float16 => 2f64.powi(-11),
        DataType::Float32 => 2f64.powi(-24),
        DataType::Float64 => 1e-13,
        _ => 0.0,
    }
}

/// All candidates with their statistics over all rows.
pub(super) fn measured(
    source: &dyn BatchSource,
    parts: &[Part],
    choices: &[Choice],
    as_of: Option<Instant>,
    kept: &mut Kept,
) -> Result<Vec<Candidate>> {
    let newest = match as_of {
        Some(as_of) => vec![as_of; parts.len()],
        None => newest(source, parts)?,
    };
    let candidate = |part: &Part| {
        let Part::Candidate { column, class, named } = *part else {
            return None;
        };
        let index = column.index();
        let field = source.schema().field(index);
        let kind = match class {
            TypeClass::Integer | TypeClass::Float | TypeClass::Decimal => ValueKind::Number,
            TypeClass::Bool => ValueKind::Bool,
            TypeClass::Instant => ValueKind::DaysBefore(newest[index]),
            TypeClass::TimeOfDay => ValueKind::HoursOfDay,
            TypeClass::Duration => ValueKind::Days,
            TypeClass::Text | TypeClass::List => {
                return Some(Candidate {
                    column,
                    name: field.name().clone(),
                    named,
                    values: match class {
                        TypeClass::List => Values::Lists(Box::default()),
                        _ => Values::Texts(LevelCounts::default()),
                    },
                });
            }
        };
        let numbers = Numbers {
            class,
            kind,
            noise: noise_of(field.data_type()),
            n_missing: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            moments: Moments::default(),
            shape: Shape::default(),
            cycles: { choices[index].cycles.iter() }
                .map(|&cycle| (cycle, vec![0; cycle.len()]))
                .collect(),
            integers: None,
        };
        Some(Candidate {
            column,
            name: field.name().clone(),
            named,
            values: Values::Numbers(Box::new(numbers)),
        })
    };
    let mut candidates: Vec<Candidate> = parts.iter().filter_map(candidate).collect();
    if candidates.is_empty() {
        return Ok(candidates);
    }
    let columns: Vec<FeatureColumn> = candidates.iter().map(|candidate| candidate.column).collect();
    let names: Vec<&str> = columns
        .iter()
        .map(|column| source.schema().field(column.index()).name().as_str())
        .collect();
    // A text becomes several features, so that what is kept would not be in their place.
    if candidates
        .iter()
        .all(|candidate| matches!(candidate.values, Values::Numbers(_)))
    {
        kept.make_room(source.n_rows(), &columns);
    }
    let mut merged: Vec<Tally> = candidates.iter().map(Tally::of).collect();
    // A tally per thread: what is added up does not depend on who added what.
    let tallies: Vec<Mutex<Vec<Tally>>> = { 0..n_workers() }
        .map(|_| Mutex::new(candidates.iter().map(Tally::of).collect()))
        .collect();
    let keeper = kept.keeper();
    scan_slabs(source, &columns, &|slab| {
        let mut tallies = locked(&tallies[slab.worker]);
        let mut added = Vec::with_capacity(slab.arrays.len());
        for (at, array) in (slab.first_column..).zip(slab.arrays) {
            let keep = { keeper.as_ref() }.and_then(|keeper| keeper.column(at, slab.first_row));
            added.push(tallies[at].add(array, keep, !candidates[at].named));
        }
        let names = &names[slab.first_column..][..slab.arrays.len()];
        all_or_first_bad(source, slab.first_row, names, added).map(drop)
    })?;
    let lost = keeper.map(Keeper::lost);
    kept.forget(lost);
    for tally in tallies {
        let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        { merged.iter_mut().zip(tally) }.for_each(|(all, one)| all.merge(one));
    }
    for (candidate, all) in candidates.iter_mut().zip(merged) {
        candidate.values = all.values();
    }
    Ok(candidates)
}

/// Per column of the schema, the newest point in time of all rows; 1970 where there is none.
fn newest(source: &dyn BatchSource, parts: &[Part]) -> Result<Vec<Instant>> {
    let mut newest = vec![Instant { day: 0, nanosecond: 0 }; parts.len()];
    let in_time = |part: &Part| match part {
        Part::Candidate {
            column,
            class: TypeClass::Instant,
            ..
        } => Some(*column),
        _ => None,
    };
    let columns: Vec<FeatureColumn> = parts.iter().filter_map(in_time).collect();
    if columns.is_empty() {
        return Ok(newest);
    }
    let found: Vec<Mutex<Option<Instant>>> = columns.iter().map(|_| Mutex::new(None)).collect();
    scan_slabs(source, &columns, &|slab| {
        for (found, array) in found[slab.first_column..].iter().zip(slab.arrays) {
            let newest = instants(array).into_iter().flatten().max();
            let mut found = locked(found);
            *found = (*found).max(newest);
        }
        Ok(())
    })?;
    for (column, found) in columns.iter().zip(&found) {
        let newest = &mut newest[column.index()];
        *newest = locked(found).unwrap_or(*newest);
    }
    Ok(newest)
}

/// Per candidate, whether it is a column of integers without a gap to speak of that are all different.
pub(super) fn numbering(source: &dyn BatchSource, candidates: &[Candidate]) -> Result<Vec<bool>> {
    let n_rows = source.n_rows() as u64;
    let mut seen = Vec::new();
    for (place, candidate) in candidates.iter().enumerate() {
        let Values::Numbers(numbers) = &candidate.values else {
            continue;
        };
        if let Some((first, len)) = numbers.number_range(n_rows) {
            let mut bits: Vec<u64> = room_for(len.div_ceil(64), "the search for id-like columns")?;
            bits.resize(len.div_ceil(64), 0);
            seen.push((place, first, bits, true));
        }
    }
    let mut numbering = vec![false; candidates.len()];
    if seen.is_empty() {
        return Ok(numbering);
    }
    let columns: Vec<FeatureColumn> = seen.iter().map(|(place, ..)| candidates[*place].column).collect();
    scan(source, &columns, |_, batch| {
        seen.par_iter_mut()
            .zip(batch.columns())
            .for_each(|((_, first, bits, all_different), array)| {
                each_integer(array, |v| {
                    let at = (v - *first) as usize;
                    *all_different &= bits[at / 64] >> (at % 64) & 1 == 0;
                    bits[at / 64] |= 1 << (at % 64);
                });
            });
        Ok(())
    })?;
    for (place, .., all_different) in seen {
        numbering[place] = all_different;
    }
    Ok(numbering)
}
