//! A table in memory for the tests of this layer.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::data::{BatchSource, Consume};
use crate::error::Result;

/// One batch, handed on in slices of `batch_rows`.
pub(super) struct Table {
    batch: RecordBatch,
    schema: SchemaRef,
    batch_rows: usize,
}

pub(super) fn column(name: &str, array: impl Array + 'static) -> (String, ArrayRef) {
    (name.into(), Arc::new(array))
}

impl Table {
    pub(super) fn new(columns: Vec<(String, ArrayRef)>, batch_rows: usize) -> Self {
        let field = |(name, array): &(String, ArrayRef)| Field::new(name, array.data_type().clone(), true);
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect());
        Self {
            batch: batch.unwrap(),
            schema,
            batch_rows,
        }
    }

    pub(super) fn in_batches_of(&self, batch_rows: usize) -> Self {
        Self {
            batch: self.batch.clone(),
            schema: self.schema.clone(),
            batch_rows,
        }
    }

    pub(super) fn reversed(&self) -> Self {
        let order = UInt32Array::from_iter_values((0..self.batch.num_rows() as u32).rev());
        let columns = self
            .batch
            .columns()
            .iter()
            .map(|column| take(column, &order, None).unwrap());
        let batch = RecordBatch::try_new(self.schema.clone(), columns.collect()).unwrap();
        Self {
            batch,
            schema: self.schema.clone(),
            batch_rows: self.batch_rows,
        }
    }
}

impl BatchSource for Table {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn n_rows(&self) -> usize {
        self.batch.num_rows()
    }

    fn scan(&self, columns: &[usize], consume: &mut Consume<'_>) -> Result<()> {
        for first_row in (0..self.n_rows()).step_by(self.batch_rows) {
            let rows = self.batch_rows.min(self.n_rows() - first_row);
            consume(first_row, &self.batch.slice(first_row, rows).project(columns).unwrap())?;
        }
        Ok(())
    }

    fn locate(&self, row: usize) -> (Option<PathBuf>, usize) {
        (None, row)
    }
}
