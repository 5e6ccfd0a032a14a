//! A table that is in memory already.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use ndarray::ArrayView2;

use super::decode::MAX_BATCH_ROWS;
use super::{BatchSource, Consume};
use crate::error::{Error, Result};

/// Record batches of one schema, in order.
pub struct MemorySource {
    batches: Vec<RecordBatch>,
    schema: SchemaRef,
    n_rows: usize,
}

impl MemorySource {
    /// A table of these batches.
    ///
    /// # Errors
    /// [`Error::NoRows`] without a batch; [`Error::InvalidParam`] if a batch has other columns than the first.
    pub fn new(batches: Vec<RecordBatch>) -> Result<Self> {
        let schema = batches.first().ok_or(Error::NoRows)?.schema();
        let same = |other: &Schema| {
            let pairs = schema.fields().iter().zip(other.fields());
            other.fields().len() == schema.fields().len() && { pairs }
                .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
        };
        if let Some(odd) = batches.iter().position(|batch| !same(&batch.schema())) {
            return Err(Error::InvalidParam {
                param: "batches",
                value: format!("batch {odd}"),
                reason: "its columns differ from those of the first batch".into(),
            });
        }
        let n_rows = batches.iter().map(RecordBatch::num_rows).sum();
        let fields = schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self {
            batches,
            schema,
            n_rows,
        })
    }
}

impl MemorySource {
    /// A table of a dense array, `n_rows x n_features`, with one name per column. Values are copied; NaN is missing.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] where the number of names is not that of columns; [`Error::NoRows`] without rows.
    pub fn from_array(array: ArrayView2<'_, f64>, names: &[&str]) -> Result<Self> {
        if names.len() != array.ncols() || names.is_empty() {
            return Err(Error::InvalidParam {
                param: "names",
                value: format!("{} names", names.len()),
                reason: format!("one name is needed for each of {} columns", array.ncols()),
            });
        }
        if array.nrows() == 0 {
            return Err(Error::NoRows);
        }
        let column = |j: usize| Arc::new(Float64Array::from_iter_values(array.column(j).iter().copied())) as ArrayRef;
        let columns = names.iter().enumerate().map(|(j, name)| (*name, column(j), true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns);
        Self::new(vec![batch.map_err(|error| Error::Internal(error.to_string()))?])
    }
}

impl BatchSource for MemorySource {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn scan(&self, columns: &[usize], consume: &mut Consume<'_>) -> Result<()> {
        let mut row = 0;
        for batch in &self.batches {
            let part = batch
                .project(columns)
                .map_err(|error| Error::Internal(error.to_string()))?;
            for first in (0..part.num_rows()).step_by(MAX_BATCH_ROWS) {
                let rows = MAX_BATCH_ROWS.min(part.num_rows() - first);
                consume(row + first, &part.slice(first, rows))?;
            }
            row += part.num_rows();
        }
        Ok(())
    }

    fn locate(&self, row: usize) -> (Option<PathBuf>, usize) {
        (None, row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int32Array, StringArray};
    use arrow::datatypes::Float64Type;

    fn batch(values: Vec<i32>) -> RecordBatch {
        let names = values.iter().map(|v| format!("n{v}")).collect::<Vec<_>>();
        RecordBatch::try_from_iter([
            ("a", Arc::new(Int32Array::from(values)) as _),
            ("b", Arc::new(StringArray::from(names)) as _),
        ])
        .unwrap()
    }

    #[test]
    fn batches_come_in_order_with_their_columns() {
        let source = MemorySource::new(vec![batch(vec![1, 2]), batch(vec![]), batch(vec![3])]).unwrap();
        let mut seen = Vec::new();
        source
            .scan(&[1, 0], &mut |row, batch| {
                seen.push((row, batch.num_rows(), batch.schema().field(0).name().clone()));
                Ok(())
            })
            .unwrap();
        assert_eq!(source.n_rows(), 3);
        assert_eq!(seen, [(0, 2, "b".to_owned()), (2, 1, "b".to_owned())]);
    }

    #[test]
    fn an_array_is_a_table_in_batches_of_bounded_size() {
        let array = ndarray::Array2::from_shape_fn((MAX_BATCH_ROWS + 3, 2), |(i, j)| (10 * i + j) as f64);
        let source = MemorySource::from_array(array.view(), &["a", "b"]).unwrap();
        let mut seen = Vec::new();
        source
            .scan(&[1], &mut |row, batch| {
                let first = batch.column(0).as_primitive::<Float64Type>().value(0);
                seen.push((row, batch.num_rows(), first));
                Ok(())
            })
            .unwrap();
        assert_eq!(
            seen,
            [
                (0, MAX_BATCH_ROWS, 1.0),
                (MAX_BATCH_ROWS, 3, (10 * MAX_BATCH_ROWS + 1) as f64)
            ]
        );
        assert!(MemorySource::from_array(array.view(), &["a"]).is_err());
    }

    #[test]
    fn no_batch_and_odd_batches_are_errors() {
        assert!(matches!(MemorySource::new(vec![]), Err(Error::NoRows)));
        let odd = batch(vec![1]).project(&[0]).unwrap();
        assert!(matches!(
            MemorySource::new(vec![batch(vec![1]), odd]),
            Err(Error::InvalidParam { .. })
        ));
    }
}
