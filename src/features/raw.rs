//! Rows as they were before they were prepared: what an explanation tells in the columns' own units.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::Schema;
use rayon::prelude::*;

use super::decode::decode;
use super::preparation::Preparation;
use super::{all_or_first_bad, without_repeats};
use crate::data::BatchSource;
use crate::error::Result;

/// Reads the features' values, unprepared, from batches of their columns.
#[derive(Debug, Clone)]
pub struct RawReader<'p> {
    preparation: &'p Preparation,
    /// The features' columns, each once, as indices into the schema.
    columns: Vec<usize>,
    /// Which of them each feature is of.
    places: Vec<usize>,
}

impl<'p> RawReader<'p> {
    /// For tables of this schema.
    ///
    /// # Errors
    /// Those of [`Preparation::columns_in`].
    pub fn new(schema: &Schema, preparation: &'p Preparation) -> Result<Self> {
        let (columns, places) = without_repeats(&preparation.columns_in(schema)?);
        Ok(Self {
            preparation,
            columns: columns.iter().map(|column| column.index()).collect(),
            places,
        })
    }

    /// The columns to read, as indices into the schema.
    #[must_use]
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The values of each feature in a batch of [`RawReader::columns`] whose first row is `first_row`; NaN where there
    /// is none.
    ///
    /// # Errors
    /// The first value that cannot be used, with file and row.
    pub fn values(&self, source: &dyn BatchSource, first_row: usize, arrays: &[ArrayRef]) -> Result<Vec<Vec<f64>>> {
        let features = &self.preparation.features;
        let both = features.par_iter().zip(&self.places);
        let values: Vec<_> = both
            .map(|(feature, &place)| decode(arrays[place].as_ref() as &dyn Array, &feature.kind))
            .collect();
        let names: Vec<&str> = features.iter().map(|feature| feature.column.as_str()).collect();
        all_or_first_bad(source, first_row, &names, values)
    }
}
