//! Rows to grid values: the replay of a preparation, at the fit and at every scoring.

use arrow::datatypes::Schema;
use rayon::prelude::*;

use super::decode::{BadCell, decode};
use super::preparation::{FeaturePreparation, Preparation};
use super::weights::read_weights;
use super::{all_or_first_bad, find_column, room_for, scan};
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::grid::Grid;
use crate::tiles::TileSet;

/// A data set ready for a backend.
#[derive(Debug)]
pub struct Prepared {
    /// Grid values and weights of all rows, in row order.
    pub tiles: TileSet,
    /// Per row, the share of features that had no value and were filled.
    pub share_missing: Vec<f32>,
    /// Values beyond the grid, moved to its edge: none where the data is the fit's own.
    pub n_clipped: u64,
    /// The weight of one integer unit, where there are weights: inertia in units of the weight column is the integer
    /// inertia times this.
    pub weight_step: Option<f64>,
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
    let n_rows = source.n_rows();
    if n_rows == 0 {
        return Err(Error::NoRows);
    }
    let features = &preparation.features;
    let columns = preparation.columns_in(source.schema())?;
    let names: Vec<&str> = features.iter().map(|feature| feature.column.as_str()).collect();
    let weights = weight.map(|name| read_weights(source, name)).transpose()?;
    let mut tiles = TileSet::try_zeros(n_rows, features.len(), weights.is_some(), chunk_bytes)?;
    let mut share_missing = room_for(n_rows, "the shares of missing values")?;
    let mut n_clipped = 0;
    scan(source, &columns, |first_row, batch| {
        let snapped = features
            .par_iter()
            .zip(batch.columns())
            .map(|(feature, array)| Snapped::new(decode(array, &feature.kind), feature, preparation.grid))
            .collect();
        let snapped = all_or_first_bad(source, first_row, &names, snapped)?;
        share_missing.extend(shares(&snapped, batch.num_rows()));
        n_clipped += snapped.iter().map(|column| column.n_clipped).sum::<u64>();
        let values: Vec<Vec<f32>> = snapped.into_iter().map(|column| column.values).collect();
        tiles.fill_rows(first_row, &values);
        Ok(())
    })?;
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

impl Preparation {
    /// Where the features' columns stand in `schema`, in the order of the features.
    ///
    /// # Errors
    /// The first column that is missing, stands twice or has a type of another kind than at the fit.
    pub fn columns_in(&self, schema: &Schema) -> Result<Vec<usize>> {
        self.features.iter().map(|feature| place(schema, feature)).collect()
    }
}

/// Where a feature's column stands in `schema`, if it still is what it was.
fn place(schema: &Schema, feature: &FeaturePreparation) -> Result<usize> {
    let index = find_column(schema, &feature.column)?;
    let found = schema.field(index).data_type();
    if feature.kind.accepts(found) {
        return Ok(index);
    }
    Err(Error::ColumnRetyped {
        column: feature.column.clone(),
        expected: feature.data_type.clone(),
        found: found.to_string(),
    })
}

/// One column of one batch on the grid.
struct Snapped {
    values: Vec<f32>,
    /// Rows (of the batch) that were filled.
    missing: Vec<u32>,
    n_clipped: u64,
}

impl Snapped {
    fn new(
        decoded: std::result::Result<Vec<f64>, BadCell>,
        feature: &FeaturePreparation,
        grid: Grid,
    ) -> std::result::Result<Self, BadCell> {
        let mut missing = Vec::new();
        let mut n_clipped = 0;
        let snap = |(row, v): (usize, f64)| {
            let v = if v.is_nan() {
                missing.push(row as u32);
                feature.fill
            } else {
                v
            };
            let z = feature.z(v);
            n_clipped += u64::from(grid.clips(z));
            grid.snap(z)
        };
        let values = decoded?.into_iter().enumerate().map(snap).collect();
        Ok(Self {
            values,
            missing,
            n_clipped,
        })
    }
}

/// Per row of a batch, the share of its features that were filled.
fn shares(columns: &[Snapped], n_rows: usize) -> impl Iterator<Item = f32> {
    let mut counts = vec![0u32; n_rows];
    for &row in columns.iter().flat_map(|column| &column.missing) {
        counts[row as usize] += 1;
    }
    let n = columns.len() as f32;
    counts.into_iter().map(move |count| count as f32 / n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::testing::{Table, column};
    use crate::features::{FeatureOptions, learn};
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
