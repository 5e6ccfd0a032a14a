//! How many values are missing, before anything is made of a column.

use arrow::datatypes::Schema;
use rayon::prelude::*;

use super::columns::{FeatureColumn, Part, names_an_id, plan};
use super::decode::{ValueKind, decode};
use super::options::FeatureOptions;
use super::personal::Personal;
use super::preparation::Preparation;
use super::scan;
use crate::data::BatchSource;
use crate::error::{Error, Result};

/// The columns that would be clustered on if their values allow it.
///
/// # Errors
/// Those of [`super::check_columns`].
pub fn candidate_columns(schema: &Schema, options: &FeatureOptions) -> Result<Vec<FeatureColumn>> {
    let parts = plan(schema, options)?.into_iter();
    Ok(parts
        .filter_map(|part| match part {
            Part::Candidate { column, .. } => Some(column),
            _ => None,
        })
        .collect())
}

impl Preparation {
    /// The columns of the features, each once.
    ///
    /// # Errors
    /// Those of [`Preparation::columns_in`].
    pub fn distinct_columns_in(&self, schema: &Schema) -> Result<Vec<FeatureColumn>> {
        let mut columns = self.columns_in(schema)?;
        columns.dedup();
        Ok(columns)
    }
}

/// Rows in which each column has no value: null, NaN, or text that is empty or blank.
///
/// # Errors
/// Those of reading.
pub fn count_missing(source: &dyn BatchSource, columns: &[FeatureColumn]) -> Result<Vec<u64>> {
    let mut counts = vec![0u64; columns.len()];
    scan(source, columns, |_, batch| {
        let of_column = |column: &arrow::array::ArrayRef| {
            let flags = decode(column, &ValueKind::Missing);
            let flags = flags.map_err(|bad| Error::Internal(format!("whether a value is missing {}", bad.problem)))?;
            Ok(flags.iter().filter(|&&flag| flag > 0.0).count() as u64)
        };
        let found: Result<Vec<u64>> = batch.columns().par_iter().map(of_column).collect();
        counts.iter_mut().zip(found?).for_each(|(count, found)| *count += found);
        Ok(())
    })?;
    Ok(counts)
}

/// Whether a column holds ids or personal data, as far as its name says, so that values it is compared with are not
/// written down.
#[must_use]
pub fn is_private_by_name(name: &str) -> bool {
    names_an_id(name) || Personal::by_name(name).is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::MemorySource;
    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};

    #[test]
    fn what_is_missing_is_counted_as_a_fit_counts_it() {
        let columns: [(&str, ArrayRef, bool); 4] = [
            ("customer_id", Arc::new(Int64Array::from(vec![1, 2, 3, 4])), true),
            (
                "n",
                Arc::new(Int64Array::from(vec![Some(1), None, Some(3), None])),
                true,
            ),
            (
                "x",
                Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::NAN), None, Some(2.0)])),
                true,
            ),
            (
                "t",
                Arc::new(StringArray::from(vec![Some("a"), Some(" "), Some(""), None])),
                true,
            ),
        ];
        let source = MemorySource::new(vec![RecordBatch::try_from_iter_with_nullable(columns).unwrap()]).unwrap();
        let candidates = candidate_columns(source.schema(), &FeatureOptions::default()).unwrap();
        let places: Vec<usize> = candidates.iter().map(|column| column.index()).collect();
        assert_eq!(places, [1, 2, 3]);
        assert_eq!(count_missing(&source, &candidates).unwrap(), [2, 2, 3]);
    }

    #[test]
    fn ids_and_personal_data_are_known_by_name() {
        for (name, expected) in [("customer_id", true), ("email", true), ("age", false), ("plan", false)] {
            assert_eq!(is_private_by_name(name), expected, "{name}");
        }
    }
}
