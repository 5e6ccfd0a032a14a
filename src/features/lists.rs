//! Columns of lists of numbers of one length, such as embeddings: each place in the lists is a coordinate.
//!
//! A row without a list, or with an empty one, has no value. Lists of different lengths make no column.

use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::DataType;

use super::decode::{BadCell, ValueKind, decode};
use crate::grid::MAX_FEATURES;
use crate::num::Moments;
use crate::num::survey::Survey;

/// Rows whose numbers are looked at together, so that they stay in the cache.
const RUN: usize = 1 << 10;

/// Where a row's list begins among the numbers of all lists, and its length: 0 where there is none.
fn places(array: &dyn Array) -> (ArrayRef, Vec<(usize, usize)>) {
    let is_null = |row: usize| array.is_null(row);
    let spans = |offset: &dyn Fn(usize) -> usize| -> Vec<(usize, usize)> {
        let span = |row: usize| {
            if is_null(row) {
                (0, 0)
            } else {
                (offset(row), offset(row + 1) - offset(row))
            }
        };
        (0..array.len()).map(span).collect()
    };
    match array.data_type() {
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let offsets = lists.value_offsets();
            (ArrayRef::clone(lists.values()), spans(&|row| offsets[row] as usize))
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            let offsets = lists.value_offsets();
            (ArrayRef::clone(lists.values()), spans(&|row| offsets[row] as usize))
        }
        DataType::FixedSizeList(_, len) => {
            let len = usize::try_from(*len).unwrap_or(0);
            (
                ArrayRef::clone(array.as_fixed_size_list().values()),
                spans(&|row| row * len),
            )
        }
        other => unreachable!("{other} is no list"),
    }
}

/// One coordinate of each row, NaN where there is none.
///
/// # Errors
/// The first row whose list is not `of` numbers long, or whose number cannot be used.
pub(super) fn coordinate(array: &dyn Array, at: u32, of: u32) -> Result<Vec<f64>, BadCell> {
    let (numbers, places) = places(array);
    if let Some(index) = places.iter().position(|&(_, len)| len != 0 && len != of as usize) {
        let problem = "is a list of another length than those of the fit";
        return Err(BadCell { index, problem });
    }
    let own = places
        .iter()
        .map(|&(start, len)| (len > 0).then(|| (start + at as usize) as u64));
    let own = take(&numbers, &UInt64Array::from_iter(own), None).expect("places inside the lists");
    decode(&own, &ValueKind::Number)
}

/// 1 where a row has no list, else 0.
pub(super) fn missing(array: &dyn Array) -> Vec<f64> {
    let (_, places) = places(array);
    places
        .into_iter()
        .map(|(_, len)| f64::from(u8::from(len == 0)))
        .collect()
}

/// What all rows say of a column of lists. The union of two is their sum, in any order.
#[derive(Clone, Default)]
pub(super) struct Lists {
    /// Rows without a list.
    pub(super) n_missing: u64,
    /// The least and the largest length.
    lengths: Option<(usize, usize)>,
    /// Of each place, as long as all lists have as many.
    pub(super) coordinates: Vec<Coordinates>,
}

/// The numbers in one place of all lists.
#[derive(Clone)]
pub(super) struct Coordinates {
    pub(super) moments: Moments,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Default for Coordinates {
    fn default() -> Self {
        Self {
            moments: Moments::default(),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Coordinates {
    /// The mean, and the standard deviation; of no numbers 0.
    pub(super) fn mean_and_std(&self) -> (f64, f64) {
        match self.moments.n {
            0 => (0.0, 0.0),
            _ => (self.moments.mean(), self.moments.std()),
        }
    }
}

impl Lists {
    /// Adds a batch.
    ///
    /// # Errors
    /// The first row that holds a number that cannot be used.
    pub(super) fn add(&mut self, array: &dyn Array) -> Result<(), BadCell> {
        let (numbers, places) = places(array);
        for (first, places) in (0..).step_by(RUN).zip(places.chunks(RUN)) {
            self.n_missing += places.iter().filter(|&&(_, len)| len == 0).count() as u64;
            let lengths = || places.iter().map(|&(_, len)| len).filter(|&len| len > 0);
            if let (Some(least), Some(most)) = (lengths().min(), lengths().max()) {
                self.meet(least, most);
            }
            if !self.coordinates.is_empty() {
                self.add_run(&numbers, places).map_err(|bad| BadCell {
                    index: first + bad.index,
                    ..bad
                })?;
            }
        }
        Ok(())
    }

    /// Takes note of lengths; there is nothing to add up where they differ, or are too large.
    fn meet(&mut self, least: usize, most: usize) {
        let (own_least, own_most) = self.lengths.unwrap_or((least, most));
        let (least, most) = (least.min(own_least), most.max(own_most));
        if self.lengths.is_none() && least == most && most <= MAX_FEATURES {
            self.coordinates = vec![Coordinates::default(); most];
        } else if least != most || most > MAX_FEATURES {
            self.coordinates.clear();
        }
        self.lengths = Some((least, most));
    }

    /// Adds rows that all have as many numbers as there are coordinates, or none.
    fn add_run(&mut self, numbers: &ArrayRef, places: &[(usize, usize)]) -> Result<(), BadCell> {
        let d = self.coordinates.len();
        let rows: Vec<(usize, usize)> = { places.iter().enumerate() }
            .filter(|(_, (_, len))| *len > 0)
            .map(|(row, (start, _))| (row, *start))
            .collect();
        let (Some(first), Some(end)) = (rows.first(), rows.last().map(|row| row.1 + d)) else {
            return Ok(());
        };
        let base = first.1;
        let values = decode(&numbers.slice(base, end - base), &ValueKind::Number).map_err(|bad| {
            let row = rows.partition_point(|row| row.1 <= base + bad.index).saturating_sub(1);
            BadCell {
                index: rows[row].0,
                ..bad
            }
        })?;
        let mut own = Vec::with_capacity(rows.len());
        for (at, coordinate) in self.coordinates.iter_mut().enumerate() {
            own.clear();
            own.extend(
                rows.iter()
                    .map(|(_, start)| values[start - base + at])
                    .filter(|v| !v.is_nan()),
            );
            for run in own.chunks(Moments::RUN) {
                let survey = Survey::of(run);
                coordinate.min = coordinate.min.min(survey.least);
                coordinate.max = coordinate.max.max(survey.largest);
                coordinate.moments.add_run(run, &survey);
            }
        }
        Ok(())
    }

    /// Adds what `other` holds.
    pub(super) fn merge(&mut self, other: &Self) {
        self.n_missing += other.n_missing;
        let Some((least, most)) = other.lengths else { return };
        self.meet(least, most);
        for (own, other) in self.coordinates.iter_mut().zip(&other.coordinates) {
            own.moments.merge(&other.moments);
            own.min = own.min.min(other.min);
            own.max = own.max.max(other.max);
        }
    }

    /// Why this column cannot be clustered on, if it cannot.
    pub(super) fn reason(&self, n_rows: u64) -> Option<String> {
        let varies = |coordinate: &Coordinates| coordinate.mean_and_std().1 > 0.0;
        match self.lengths {
            None => Some("has no values".into()),
            Some((least, most)) if least != most => {
                Some(format!("holds lists of {least} to {most} numbers, not of one length"))
            }
            Some((_, most)) if most > MAX_FEATURES => Some(format!(
                "holds lists of {most} numbers; at most {MAX_FEATURES} can be clustered on"
            )),
            Some(_) if n_rows > 1 && !self.coordinates.iter().any(varies) => Some("is constant".into()),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{FixedSizeListArray, LargeListArray, ListArray};
    use arrow::datatypes::{Float32Type, Int32Type};

    fn lists(rows: Vec<Option<Vec<Option<f32>>>>) -> ListArray {
        ListArray::from_iter_primitive::<Float32Type, _, _>(rows)
    }

    fn some(values: &[f32]) -> Option<Vec<Option<f32>>> {
        Some(values.iter().map(|&v| (!v.is_nan()).then_some(v)).collect())
    }

    fn table() -> Vec<Option<Vec<Option<f32>>>> {
        vec![
            some(&[1.0, 2.0]),
            None,
            some(&[3.0, f32::NAN]),
            Some(vec![]),
            some(&[5.0, 8.0]),
        ]
    }

    #[test]
    fn coordinates_are_those_of_every_kind_of_list() {
        let array = lists(table());
        let fixed: FixedSizeListArray = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
            table().into_iter().map(|row| row.filter(|row| !row.is_empty())),
            2,
        );
        let large = LargeListArray::from_iter_primitive::<Float32Type, _, _>(table());
        for array in [&array as &dyn Array, &fixed, &large] {
            let first = coordinate(array, 0, 2).unwrap();
            assert_eq!(
                first.iter().map(|v| !v.is_nan()).collect::<Vec<_>>(),
                [true, false, true, false, true]
            );
            assert_eq!((first[0], first[2], first[4]), (1.0, 3.0, 5.0));
            let second = coordinate(array.slice(2, 3).as_ref(), 1, 2).unwrap();
            assert!(second[0].is_nan() && second[1].is_nan() && second[2] == 8.0);
            assert_eq!(missing(array), [0.0, 1.0, 0.0, 1.0, 0.0]);
        }
        let longer = coordinate(&lists(vec![some(&[1.0, 2.0]), some(&[1.0])]), 0, 2).unwrap_err();
        assert_eq!(
            (longer.index, longer.problem),
            (1, "is a list of another length than those of the fit")
        );
        let infinite = coordinate(&lists(vec![some(&[1.0]), some(&[f32::INFINITY])]), 0, 1).unwrap_err();
        assert_eq!(infinite.index, 1);
    }

    #[test]
    fn what_is_added_up_does_not_depend_on_cuts() {
        let whole = lists(table());
        let mut all = Lists::default();
        all.add(&whole).unwrap();
        assert_eq!((all.n_missing, all.lengths), (2, Some((2, 2))));
        let [first, second] = &all.coordinates[..] else {
            panic!("two coordinates")
        };
        assert_eq!((first.moments.mean(), first.min, first.max), (3.0, 1.0, 5.0));
        assert_eq!((second.moments.mean(), second.moments.n), (5.0, 2));
        for cut in 0..5 {
            let (mut a, mut b) = (Lists::default(), Lists::default());
            a.add(&whole.slice(0, cut)).unwrap();
            b.add(&whole.slice(cut, 5 - cut)).unwrap();
            b.merge(&a);
            assert_eq!((b.n_missing, b.lengths), (2, Some((2, 2))));
            assert!(
                b.coordinates
                    .iter()
                    .zip(&all.coordinates)
                    .all(|(a, b)| a.moments == b.moments)
            );
        }
        assert_eq!(all.reason(5), None);
    }

    #[test]
    fn what_is_no_column_says_why() {
        let reason = |array: &dyn Array, n: u64| {
            let mut lists = Lists::default();
            lists.add(array).unwrap();
            lists.reason(n).unwrap()
        };
        assert_eq!(reason(&lists(vec![None, Some(vec![])]), 2), "has no values");
        let ragged = lists(vec![some(&[1.0, 2.0]), some(&[1.0])]);
        assert_eq!(reason(&ragged, 2), "holds lists of 1 to 2 numbers, not of one length");
        assert_eq!(reason(&lists(vec![some(&[1.0, 2.0]); 3]), 3), "is constant");
        let long = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1); MAX_FEATURES + 1])]);
        assert!(
            reason(&long, 1).starts_with("holds lists of 32769 numbers;"),
            "{}",
            reason(&long, 1)
        );
        let bad = lists(vec![None, some(&[1.0]), some(&[f32::INFINITY])]);
        assert_eq!(Lists::default().add(&bad).unwrap_err().index, 2);
    }
}
