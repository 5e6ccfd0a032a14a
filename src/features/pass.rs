//! Another look at the values of columns of numbers, from where they were kept, or from the data.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::columns::FeatureColumn;
use super::decode::decode_pieces;
use super::kept::Kept;
use super::measure::{Candidate, Values};
use super::{all_or_first_bad, locked, n_workers, scan_slabs};
use crate::data::BatchSource;
use crate::error::Result;
use crate::num::Moments;
use crate::tiles::{BLOCK, FloatRows, FloatTiles};

/// Where the values of columns of numbers are.
pub(super) struct Pass<'p> {
    pub(super) source: &'p dyn BatchSource,
    pub(super) features: &'p [Candidate],
    pub(super) kept: &'p Kept,
}

/// Takes in values of a column, given by its place among those of the pass: at most [`Moments::RUN`], NaN where missing.
pub(super) type Add<'a, T> = dyn Fn(&mut T, usize, &mut [f64]) + Sync + 'a;

impl Pass<'_> {
    /// Folds over all values of columns, given by their places among the features: those that were kept are not read. `none`
    /// and `add` are told which of these columns it is; `merge` may not depend on the order.
    ///
    /// # Errors
    /// Those of reading, and values that cannot be used.
    pub(super) fn fold<T: Send>(
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
    tiles: &FloatTiles,
    columns: &[(usize, usize)],
    none: &(dyn Fn(usize) -> T + Sync),
    add: &Add<'_, T>,
    merge: &(dyn Fn(Vec<T>, Vec<T>) -> Vec<T> + Sync),
) -> Vec<T> {
    let nothing = || columns.iter().map(|(column, _)| none(*column)).collect::<Vec<T>>();
    let take_in = |mut all: Vec<T>, rows: FloatRows<'_>| {
        let mut values = Vec::with_capacity(Moments::RUN);
        for (tally, &(column, at)) in all.iter_mut().zip(columns) {
            values.clear();
            values.extend(rows.values(at).map(f64::from));
            add(tally, column, &mut values);
        }
        all
    };
    tiles
        .tasks(Moments::RUN / BLOCK)
        .fold(nothing, take_in)
        .reduce(nothing, merge)
}
