//! Rows to grid values: the replay of a preparation, at the fit and at every scoring.

use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Schema};

use super::columns::FeatureColumn;
use super::decode::{BadCell, ValueKind, decode};
use super::kept::{Kept, column_cache};
use super::learn::{Learned, learn_and_keep};
use super::options::FeatureOptions;
use super::preparation::{FeaturePreparation, Preparation, bend};
use super::rows::SharedRows;
use super::weights::read_weights;
use super::{bad_value, find_column, scan_slabs, without_repeats};
use crate::data::{BatchSource, Slab, keys_and_values};
use crate::error::{Error, Result};
use crate::grid::Grid;
use crate::num::widest::{Kernel, widest};
use crate::sys::zeros;
use crate::tiles::{BLOCK, Piece, TileSet};

/// A data set ready for a backend.
#[derive(Debug)]
pub struct Prepared {
    /// Grid values and weights of all rows, in row order.
    pub tiles: TileSet,
    /// Per row, the share of columns that had no value.
    pub share_missing: Vec<f32>,
    /// Values beyond the grid, moved to its edge: none where the data is the fit's own.
    pub n_clipped: u64,
    /// The weight of one integer unit, where there are weights: inertia in units of the weight column is the integer
    /// inertia times this.
    pub weight_step: Option<f64>,
}

/// [`learn`](super::learn) and [`prepare`], as a fit does them: columns are decoded once, as far as the values can stand in the
/// place of the prepared ones, or in a small part of the memory that is free.
///
/// # Errors
/// Those of both.
pub fn ingest(source: &dyn BatchSource, options: &FeatureOptions, chunk_bytes: usize) -> Result<(Learned, Prepared)> {
    let weight = options.weight.as_deref();
    let mut kept = Kept::in_chunks(chunk_bytes, weight.is_some());
    let held = column_cache(source, options)?;
    let learned = learn_and_keep(&held, options, &mut kept)?;
    let prepared = prepare_kept(&held, &learned.preparation, weight, chunk_bytes, kept)?;
    Ok((learned, prepared))
}

/// Replays `preparation` on all rows of `source`, in chunks of at most `chunk_bytes`.
///
/// # Errors
/// A column that is missing, stands twice or has a type of another kind, a value or weight that cannot be used (with
/// file and row), no rows at all, no memory, and those of reading.
pub fn prepare(
    source: &dyn BatchSource,
    preparation: &Preparation,
    weight: Option<&str>,
    chunk_bytes: usize,
) -> Result<Prepared> {
    prepare_kept(source, preparation, weight, chunk_bytes, Kept::nothing())
}

/// [`prepare`], which does not read what was kept while these features were learned.
pub(crate) fn prepare_kept(
    source: &dyn BatchSource,
    preparation: &Preparation,
    weight: Option<&str>,
    chunk_bytes: usize,
    kept: Kept,
) -> Result<Prepared> {
    let n_rows = source.n_rows();
    if n_rows == 0 {
        return Err(Error::NoRows);
    }
    let n_features = preparation.features.len();
    let columns = preparation.columns_in(source.schema())?;
    let weights = weight.map(|name| read_weights(source, name)).transpose()?;
    // Numbers of missing values at first, which are exact; shares in the end.
    let mut share_missing = zeros(n_rows).ok_or_else(|| Error::OutOfMemory {
        what: "the shares of missing values".into(),
        bytes: n_rows as u64 * 4,
    })?;
    let places = without_repeats(&columns);
    let once = Once::of(&places.1);
    let (mut tiles, mut n_clipped, to_read) = match kept.into_tiles() {
        Some((floats, keeps)) => {
            let (at_hand, to_read): (Vec<usize>, _) = (0..n_features).partition(|&at| keeps[at]);
            let (tiles, n_clipped) = floats.pack(&at_hand, &mut share_missing, |block, n_missing| {
                widest(SnapKept {
                    block,
                    at_hand: &at_hand,
                    preparation,
                    once: &once,
                    n_missing,
                })
            })?;
            (tiles, n_clipped, to_read)
        }
        None => {
            let tiles = TileSet::try_zeros(n_rows, n_features, weights.is_some(), chunk_bytes)?;
            (tiles, 0, (0..n_features).collect())
        }
    };
    if !to_read.is_empty() {
        let columns: Vec<FeatureColumn> = to_read.iter().map(|&at| columns[at]).collect();
        let (columns, from_columns) = without_repeats(&columns);
        let mut features = vec![Vec::new(); columns.len()];
        { to_read.iter().zip(from_columns) }.for_each(|(&at, column)| features[column].push(at));
        let reading = Reading {
            features,
            once: &once,
            preparation,
        };
        let rows = SharedRows::new(&mut tiles, &mut share_missing);
        let read_clipped = AtomicU64::new(0);
        scan_slabs(source, &columns, &|slab| match reading.fill(slab, &rows) {
            Ok(n_clipped) => {
                read_clipped.fetch_add(n_clipped, Ordering::Relaxed);
                Ok(())
            }
            Err((bad, at)) => Err(bad_value(source, slab.first_row, &preparation.features[at].column, bad)),
        })?;
        n_clipped += read_clipped.into_inner();
    }
    // Where nothing is missing the zeros stay untouched, and take no memory.
    let some_missing = share_missing.iter_mut().filter(|n| **n > 0.0);
    some_missing.for_each(|n| *n /= places.0.len() as f32);
    if let Some(weights) = &weights {
        tiles.fill_weights(0, &weights.values);
    }
    Ok(Prepared {
        tiles,
        share_missing,
        n_clipped,
        weight_step: weights.map(|weights| weights.step),
    })
}

/// Puts the values that stand in a block of floats on the grid; gives the number of values beyond it.
struct SnapKept<'s> {
    block: &'s mut [f32],
    at_hand: &'s [usize],
    preparation: &'s Preparation,
    once: &'s Once,
    /// One per row of the block.
    n_missing: &'s mut [f32],
}

impl Kernel for SnapKept<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let mut n_clipped = 0;
        let mut values = [0f32; BLOCK];
        for &at in self.at_hand {
            let lane = &mut self.block[at * BLOCK..][..self.n_missing.len()];
            let values = &mut values[..lane.len()];
            values.copy_from_slice(lane);
            if let Some(counts) = self.once.counted(at, self.n_missing) {
                count_missing(values, counts);
            }
            n_clipped += snap(values, &self.preparation.features[at], self.preparation.grid, lane);
        }
        n_clipped
    }
}

/// Which features are the first of their column: those that count a row's missing values.
struct Once(Vec<bool>);

impl Once {
    /// Of features at these places among their columns.
    fn of(places: &[usize]) -> Self {
        let mut next = 0;
        let first = |&place: &usize| {
            let is_first = place == next;
            next += usize::from(is_first);
            is_first
        };
        Self(places.iter().map(first).collect())
    }

    fn counted<'n>(&self, feature: usize, n_missing: &'n mut [f32]) -> Option<&'n mut [f32]> {
        self.0[feature].then_some(n_missing)
    }
}

/// Counts missing values per row.
#[inline(always)]
fn count_missing<V: Copy + Into<f64>>(values: &[V], counts: &mut [f32]) {
    if values
        .iter()
        .fold(0, |missing, &v| missing | u32::from(v.into().is_nan()))
        == 0
    {
        return;
    }
    { counts.iter_mut().zip(values) }.for_each(|(n, &v)| *n += f32::from(u8::from(v.into().is_nan())));
}

/// Puts the values of a feature, NaN where they are missing, on the grid; gives the number of values beyond it.
#[inline(always)]
fn snap<V: Copy + Into<f64>>(values: &[V], feature: &FeaturePreparation, grid: Grid, out: &mut [f32]) -> u64 {
    // A loop for each way: what only some of the features need, such as a logarithm, none of the others pays for.
    match (&feature.ranks, feature.clip, feature.log_unit) {
        (None, None, None) => snap_with(values, feature.fill, grid, out, |v| feature.scaled(v)),
        (None, clip, None) => snap_with(values, feature.fill, grid, out, |v| feature.scaled(bend(v, clip, None))),
        (None, None, unit) => snap_with(values, feature.fill, grid, out, |v| feature.scaled(bend(v, None, unit))),
        _ => snap_with(values, feature.fill, grid, out, |v| feature.z(v)),
    }
}

#[inline(always)]
fn snap_with<V: Copy + Into<f64>>(values: &[V], fill: f64, grid: Grid, out: &mut [f32], z: impl Fn(f64) -> f64) -> u64 {
    let mut n_clipped = 0;
    for (out, &v) in out.iter_mut().zip(values) {
        let v = v.into();
        let z = z(if v.is_nan() { fill } else { v });
        n_clipped += u64::from(grid.clips(z));
        *out = grid.snap(z);
    }
    n_clipped
}

/// Values of a feature on the grid, see [`snap`], and how many rows miss one.
struct Snap<'s> {
    values: &'s [f64],
    feature: &'s FeaturePreparation,
    grid: Grid,
    n_missing: Option<&'s mut [f32]>,
    out: &'s mut [f32],
}

impl Kernel for Snap<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        if let Some(counts) = self.n_missing {
            count_missing(self.values, counts);
        }
        snap(self.values, self.feature, self.grid, self.out)
    }
}

impl Preparation {
    /// Where the features' columns stand in `schema`, in the order of the features.
    ///
    /// # Errors
    /// The first column that is missing, stands twice or has a type of another kind than at the fit.
    pub fn columns_in(&self, schema: &Schema) -> Result<Vec<FeatureColumn>> {
        self.features.iter().map(|feature| place(schema, feature)).collect()
    }
}

/// Where a feature's column stands in `schema`, if it still is what it was.
fn place(schema: &Schema, feature: &FeaturePreparation) -> Result<FeatureColumn> {
    let index = find_column(schema, &feature.column)?;
    let found = schema.field(index).data_type();
    if feature.kind.accepts(found) {
        return Ok(FeatureColumn::of_preparation(index));
    }
    Err(Error::ColumnRetyped {
        column: feature.column.clone(),
        expected: feature.data_type.clone(),
        found: found.to_string(),
    })
}

/// How batches of columns become features.
struct Reading<'r> {
    /// Of each column that is read.
    features: Vec<Vec<usize>>,
    once: &'r Once,
    preparation: &'r Preparation,
}

impl Reading<'_> {
    /// Writes the features of a slab's columns; gives the number of values beyond the grid, or the first bad row's first
    /// bad cell and its feature.
    fn fill<'r>(
        &self,
        slab: &Slab<'_>,
        rows: &SharedRows<'r, Piece<'r>>,
    ) -> std::result::Result<u64, (BadCell, usize)> {
        let (mut n_clipped, mut worst) = (0, None::<(BadCell, usize)>);
        let mut snapped = vec![0.0; slab.n_rows];
        let mut n_missing = vec![0.0; slab.n_rows];
        let mut counted = false;
        for (features, array) in self.features[slab.first_column..].iter().zip(slab.arrays) {
            let dictionary = Dictionary::of(array);
            for &at in features {
                let feature = &self.preparation.features[at];
                let counts = self.once.counted(at, &mut n_missing);
                counted |= counts.is_some();
                let known = dictionary
                    .as_ref()
                    .and_then(|dictionary| dictionary.snapped(feature, self.preparation.grid));
                if let Some(known) = known {
                    n_clipped += known.count(counts);
                    let own = slab.first_row..slab.first_row + slab.n_rows;
                    let writer = known.writer();
                    rows.write(at, own, |from, lane| known.write(&writer, from, lane));
                    continue;
                }
                let values = decode(array, &feature.kind);
                match values {
                    Ok(values) => {
                        n_clipped += widest(Snap {
                            values: &values,
                            feature,
                            grid: self.preparation.grid,
                            n_missing: counts,
                            out: &mut snapped,
                        });
                        rows.fill(at, slab.first_row, &snapped);
                    }
                    Err(bad) if worst.is_none_or(|(worst, first)| (bad.index, at) < (worst.index, first)) => {
                        worst = Some((bad, at));
                    }
                    Err(_) => {}
                }
            }
        }
        if counted && n_missing.iter().any(|n| *n > 0.0) {
            rows.add(slab.first_row, &n_missing);
        }
        worst.map_or(Ok(n_clipped), Err)
    }
}

/// A column in a dictionary: what becomes of a value is found out once.
struct Dictionary {
    values: ArrayRef,
    /// Per row the number of its value, or the number of values where it has none.
    keys: Vec<u32>,
}

/// What becomes of each value of a dictionary, and of rows without one.
struct Known<'k> {
    keys: &'k [u32],
    snapped: Vec<f32>,
    missing: Vec<bool>,
    clipped: Vec<bool>,
}

impl Dictionary {
    /// Of a column that is in one, which has fewer values than rows.
    fn of(array: &ArrayRef) -> Option<Self> {
        let is_short = |array: &ArrayRef| array.as_any_dictionary().values().len() < array.len();
        let is_one = matches!(array.data_type(), DataType::Dictionary(..)) && is_short(array);
        is_one.then(|| {
            let (values, keys) = keys_and_values(array);
            Self { values, keys }
        })
    }

    /// What becomes of its values; `None` where one, which no row may have, cannot be used.
    fn snapped(&self, feature: &FeaturePreparation, grid: Grid) -> Option<Known<'_>> {
        let mut values = decode(&self.values, &feature.kind).ok()?;
        values.push(if feature.kind == ValueKind::Missing {
            1.0
        } else {
            f64::NAN
        });
        let missing = values.iter().map(|v| v.is_nan()).collect();
        let mut snapped = vec![0.0; values.len()];
        snap(&values, feature, grid, &mut snapped);
        let clipped = values.iter().map(|&v| grid.clips(feature.z(v))).collect();
        Some(Known {
            keys: &self.keys,
            snapped,
            missing,
            clipped,
        })
    }
}

/// Values of a dictionary that differ from what most become, at most, for which keys are compared instead of looked up.
const FEW: usize = 4;

impl Known<'_> {
    /// Counts missing values per row; gives how many lie beyond the grid.
    fn count(&self, n_missing: Option<&mut [f32]>) -> u64 {
        if let Some(n_missing) = n_missing.filter(|_| self.missing.contains(&true)) {
            let missing = n_missing
                .iter_mut()
                .zip(self.keys)
                .filter(|(_, key)| self.missing[**key as usize]);
            missing.for_each(|(n, _)| *n += 1.0);
        }
        if !self.clipped.contains(&true) {
            return 0;
        }
        self.keys.iter().filter(|key| self.clipped[**key as usize]).count() as u64
    }

    /// How values are written: of two, one for a level and one for all others, it is enough to know who has the level.
    fn writer(&self) -> Writer {
        let [first, last] = [self.snapped.first(), self.snapped.last()].map(|value| value.copied().unwrap_or(0.0));
        let n_of = |value: f32| self.snapped.iter().filter(|other| **other == value).count();
        let common = if n_of(first) > n_of(last) { first } else { last };
        let others = || self.snapped.iter().enumerate().filter(|(_, value)| **value != common);
        if others().count() > FEW {
            return Writer::LookedUp;
        }
        let mut few = [(u32::MAX, common); FEW];
        { few.iter_mut().zip(others()) }.for_each(|(few, (key, &value))| *few = (key as u32, value));
        Writer::Compared { common, few }
    }

    /// Writes the values of rows, the first of which is number `from`.
    fn write(&self, writer: &Writer, from: usize, lane: &mut [f32]) {
        let keys = &self.keys[from..][..lane.len()];
        match *writer {
            Writer::LookedUp => { lane.iter_mut().zip(keys) }.for_each(|(out, &key)| *out = self.snapped[key as usize]),
            Writer::Compared { common, few } => widest(Compare {
                keys,
                common,
                few,
                lane,
            }),
        }
    }
}

/// How the values of a dictionary are found.
enum Writer {
    /// By their keys.
    LookedUp,
    /// All keys but a few have a common one.
    Compared { common: f32, few: [(u32, f32); FEW] },
}

/// For each key the value that `few` have for it, or the common one.
struct Compare<'c> {
    keys: &'c [u32],
    common: f32,
    few: [(u32, f32); FEW],
    lane: &'c mut [f32],
}

impl Kernel for Compare<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (out, &key) in self.lane.iter_mut().zip(self.keys) {
            *out = self.few.iter().fold(
                self.common,
                |value, &(own, other)| if key == own { other } else { value },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::testing::{Table, column};
    use crate::features::{FeatureOptions, Scale, learn};
    use arrow::array::{Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array};

    fn table() -> Table {
        let a = (0..150).map(|i| (i % 7 != 3).then_some(f64::from(i * i % 31)));
        let b = (0..150).map(|i| (i % 14 != 3).then_some(i * 5 % 13));
        Table::new(
            vec![
                column("a", Float64Array::from_iter(a)),
                column("b", Int32Array::from_iter(b)),
            ],
            64,
        )
    }

    #[test]
    fn what_was_kept_gives_the_same_as_what_is_read_again() {
        use crate::features::learn::learn_and_keep;
        let table = table();
        let wide = (0..150).map(|i| (i % 5 != 0).then_some(f64::from(i) / 3.0));
        let mixed = Table::new(
            vec![
                column("wide", Float64Array::from_iter(wide)),
                column("narrow", Int32Array::from_iter_values((0..150).map(|i| i * i % 17))),
                column(
                    "late",
                    Float64Array::from_iter_values((0..150).map(|i| if i == 149 { 0.1 } else { 0.5 })),
                ),
            ],
            64,
        );
        let dropped = Table::new(
            vec![
                column("constant", Int32Array::from_iter_values((0..150).map(|_| 4))),
                column("narrow", Int32Array::from_iter_values((0..150).map(|i| i * i % 17))),
            ],
            64,
        );
        for (table, expected) in [
            (&table, Some(vec![true, true])),
            (&mixed, Some(vec![false, true, false])),
            (&dropped, None),
        ] {
            for (batch_rows, chunk_bytes) in [(150, usize::MAX), (64, 1), (7, 1000)] {
                let table = table.in_batches_of(batch_rows);
                for scale in [Scale::Zscore, Scale::Robust, Scale::Rank] {
                    let options = FeatureOptions {
                        scale,
                        ..Default::default()
                    };
                    let plain = learn(&table, &options).unwrap();
                    let mut kept = Kept::in_chunks(chunk_bytes, false);
                    assert_eq!(learn_and_keep(&table, &options, &mut kept).unwrap(), plain);
                    assert_eq!((!kept.keeps().is_empty()).then(|| kept.keeps()), expected);
                    let again = prepare(&table, &plain.preparation, None, chunk_bytes).unwrap();
                    let found = prepare_kept(&table, &plain.preparation, None, chunk_bytes, kept).unwrap();
                    assert_eq!(
                        (&found.tiles, &found.share_missing),
                        (&again.tiles, &again.share_missing)
                    );
                    assert_eq!(
                        (found.n_clipped, found.weight_step),
                        (again.n_clipped, again.weight_step)
                    );
                }
            }
        }
    }

    fn learned(table: &Table) -> Preparation {
        learn(table, &FeatureOptions::default()).unwrap().preparation
    }

    #[test]
    fn batches_and_chunks_change_nothing() {
        let table = table();
        let preparation = learned(&table);
        let whole = prepare(&table, &preparation, None, usize::MAX).unwrap();
        for batch_rows in [1, 37, 64, 1000] {
            let cut = prepare(&table.in_batches_of(batch_rows), &preparation, None, usize::MAX).unwrap();
            assert_eq!(whole.tiles, cut.tiles);
            assert_eq!(whole.share_missing, cut.share_missing);
        }
        let chunked = prepare(&table, &preparation, None, 1).unwrap();
        assert_eq!(chunked.tiles.chunks().len(), 3);
        let (mut a, mut b) = ([0; 2], [0; 2]);
        for row in 0..150 {
            whole.tiles.read_row(row, &mut a);
            chunked.tiles.read_row(row, &mut b);
            assert_eq!(a, b);
        }
        assert_eq!((whole.n_clipped, whole.weight_step), (0, None));
    }

    #[test]
    fn values_are_snapped_and_missing_ones_filled() {
        let table = table();
        let preparation = learned(&table);
        let prepared = prepare(&table, &preparation, None, usize::MAX).unwrap();
        assert_eq!(&prepared.share_missing[2..5], [0.0, 1.0, 0.0]);
        assert_eq!(prepared.share_missing[10], 0.5);
        let mut x = [0; 2];
        prepared.tiles.read_row(3, &mut x);
        let filled = preparation
            .features
            .iter()
            .map(|f| preparation.grid.snap(f.z(f.fill)) as i32);
        assert!(x.iter().copied().eq(filled));
        prepared.tiles.read_row(5, &mut x);
        assert_eq!(x[0], preparation.grid.snap(preparation.z(0, 25.0)) as i32);
        assert_eq!(x[1], preparation.grid.snap(preparation.z(1, 12.0)) as i32);
    }

    #[test]
    fn weights_come_along() {
        let weights = column("w", Float64Array::from(vec![0.5, 0.0, 2.0]));
        let table = Table::new(vec![column("a", Int32Array::from(vec![1, 2, 4])), weights], 2);
        let options = FeatureOptions {
            weight: Some("w".into()),
            ..Default::default()
        };
        let preparation = learn(&table, &options).unwrap().preparation;
        let prepared = prepare(&table, &preparation, Some("w"), usize::MAX).unwrap();
        assert_eq!(preparation.n_features(), 1);
        assert_eq!(
            (0..3).map(|row| prepared.tiles.weight(row)).collect::<Vec<_>>(),
            [1, 0, 4]
        );
        assert_eq!(prepared.weight_step, Some(0.5));
    }

    #[test]
    fn new_data_may_be_wider_but_not_other() {
        let preparation = learned(&table());
        let other = |a, b| prepare(&Table::new(vec![a, b], 64), &preparation, None, usize::MAX);
        let values: Vec<i64> = (0..9).collect();
        let cents = Decimal128Array::from_iter_values((0..9).map(|v| v * 100))
            .with_precision_and_scale(10, 2)
            .unwrap();
        let same = other(column("b", Int64Array::from(values.clone())), column("a", cents)).unwrap();
        let float = Float64Array::from_iter_values((0..9).map(f64::from));
        let again = other(column("a", float), column("b", Int64Array::from(values))).unwrap();
        assert_eq!(
            same.tiles, again.tiles,
            "order of columns, widths and scales do not matter"
        );
        let dates = Date32Array::from(vec![1, 2]);
        let error = other(column("a", dates), column("b", Int64Array::from(vec![1, 2]))).unwrap_err();
        assert!(
            matches!(&error, Error::ColumnRetyped { expected, found, .. } if expected == "Float64" && found == "Date32")
        );
        let one = || column("a", Int64Array::from(vec![1, 2]));
        assert!(matches!(
            other(one(), column("c", Int64Array::from(vec![1, 2]))),
            Err(Error::ColumnNotFound { .. })
        ));
        assert!(matches!(other(one(), one()), Err(Error::ColumnAmbiguous { .. })));
    }

    #[test]
    fn values_off_the_grid_are_counted_and_bad_ones_named() {
        let preparation = learned(&table());
        let b = || column("b", Int64Array::from(vec![1, 2]));
        let far = Table::new(vec![column("a", Float64Array::from(vec![1e100, -1e100])), b()], 1);
        assert_eq!(prepare(&far, &preparation, None, usize::MAX).unwrap().n_clipped, 2);
        let bad = Table::new(vec![column("a", Float64Array::from(vec![0.0, f64::INFINITY])), b()], 1);
        let error = prepare(&bad, &preparation, None, usize::MAX).unwrap_err();
        assert_eq!(error.to_string(), "column \"a\", row 2: is infinite");
        let empty = Table::new(vec![column("a", Float64Array::from(vec![0.0; 0]))], 1);
        assert!(matches!(
            prepare(&empty, &preparation, None, usize::MAX),
            Err(Error::NoRows)
        ));
    }
}
