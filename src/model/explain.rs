//! The row with an id, explained.

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::Model;
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::features::RawReader;
use crate::segments::{Explainer, Explanation};

impl Model {
    /// Explains rows under this model.
    #[must_use]
    pub fn explainer(&self) -> Explainer<'_> {
        Explainer::new(&self.preparation, &self.centroids, &self.confidence)
    }

    /// Explains the row whose id columns read as `ids`, one text for each; of a model without ids, the row with that
    /// number, from 0.
    ///
    /// # Errors
    /// [`Error::IdNotFound`], [`Error::IdAmbiguous`], neither of which holds the id; [`Error::InvalidParam`] for
    /// another number of texts than id columns; those of [`Model::check_columns`] and of reading.
    pub fn explain(&self, source: &dyn BatchSource, ids: &[String]) -> Result<Explanation> {
        let n_expected = self.id_columns.len().max(1);
        if ids.len() != n_expected {
            return Err(Error::InvalidParam {
                param: "id",
                value: format!("given {} times", ids.len()),
                reason: match self.id_columns.len() {
                    0 => "the model has no id column: give one row number, from 0".into(),
                    n => format!(
                        "expected {n}, one for each id column, in this order: {}",
                        self.id_columns.join(", ")
                    ),
                },
            });
        }
        let reader = RawReader::new(source.schema(), &self.preparation)?;
        let mut columns = self.id_columns_in(source)?;
        let n_ids = columns.len();
        columns.extend(reader.columns());
        let mut found: Option<Vec<f64>> = None;
        let mut n_found = 0;
        source.scan(&columns, &mut |first_row, batch| {
            let rows = if n_ids == 0 {
                row_numbered(first_row, batch, &ids[0])
            } else {
                rows_named(batch, ids)?
            };
            n_found += rows.len();
            if let (Some(&row), None) = (rows.first(), &found) {
                let one: Vec<_> = batch.columns()[n_ids..]
                    .iter()
                    .map(|array| array.slice(row, 1))
                    .collect();
                let values = reader.values(source, first_row + row, &one)?;
                found = Some(values.iter().map(|of_feature| of_feature[0]).collect());
            }
            Ok(())
        })?;
        let columns = self.id_columns.clone();
        match (found, n_found) {
            (Some(raw), 1) => Ok(self.explainer().explain(&raw)),
            (Some(_), count) => Err(Error::IdAmbiguous { columns, count }),
            (None, _) => Err(Error::IdNotFound {
                columns,
                n_rows: source.n_rows(),
            }),
        }
    }
}

/// The row of a batch that has this number in the whole data.
fn row_numbered(first_row: usize, batch: &RecordBatch, number: &str) -> Vec<usize> {
    let row = number.parse::<usize>().ok().and_then(|row| row.checked_sub(first_row));
    row.filter(|&row| row < batch.num_rows()).into_iter().collect()
}

/// The rows of a batch whose first columns read as `ids`.
fn rows_named(batch: &RecordBatch, ids: &[String]) -> Result<Vec<usize>> {
    let options = FormatOptions::default();
    let mut rows: Vec<usize> = (0..batch.num_rows()).collect();
    for (array, id) in batch.columns().iter().zip(ids) {
        let formatter = ArrayFormatter::try_new(array, &options)
            .map_err(|_| Error::Internal("an id column has no text form".into()))?;
        let mut text = String::new();
        rows.retain(|&row| {
            text.clear();
            array.is_valid(row) && formatter.value(row).write(&mut text).is_ok() && text == *id
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;
    use crate::backend::scalar::ScalarBackend;
    use crate::model::fixture::{Cut, customers, model, table};

    #[test]
    fn the_row_is_found_however_the_data_is_cut_and_agrees_with_scoring() {
        let data = customers(90);
        let model = model(&data);
        let scored = model.score(&Cut(data.clone(), 90), &ScalarBackend, usize::MAX).unwrap();
        for row in [0, 5, 89] {
            let id = format!("c{row}");
            let told = model
                .explain(&Cut(data.clone(), 90), std::slice::from_ref(&id))
                .unwrap();
            assert_eq!(model.explain(&Cut(data.clone(), 7), &[id]).unwrap(), told);
            assert_eq!(told.segment, scored.assignment.labels[row] as usize + 1);
            assert_eq!(told.distance, scored.assignment.distances[row]);
            assert_eq!(told.distance_2, scored.assignment.distance_2(row));
            assert_eq!(told.margin, scored.assignment.margin(row));
            assert_eq!(told.is_boundary, model.confidence.is_boundary(&scored.assignment, row));
        }
    }

    #[test]
    fn an_id_that_is_not_there_or_twice_is_refused_without_being_told() {
        let data = customers(20);
        let model = model(&data);
        let twice = arrow::compute::concat_batches(&data.schema(), [&data, &data.slice(3, 2)]).unwrap();
        let refused = |data: &RecordBatch, ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|&id| id.into()).collect();
            model.explain(&Cut(data.clone(), 4), &ids).unwrap_err()
        };
        let missing = refused(&data, &["c77"]);
        assert!(matches!(missing, Error::IdNotFound { n_rows: 20, .. }));
        let ambiguous = refused(&twice, &["c3"]);
        assert!(matches!(ambiguous, Error::IdAmbiguous { count: 2, .. }));
        for error in [missing, ambiguous] {
            let text = format!("{error} {error:?} {:?}", error.hint());
            assert!(!text.contains("c77") && !text.contains("c3"), "{text}");
        }
        assert!(matches!(
            refused(&data, &["c1", "c2"]),
            Error::InvalidParam { param: "id", .. }
        ));
        let without = data.project(&[0, 1]).unwrap();
        assert!(matches!(refused(&without, &["c1"]), Error::ColumnNotFound { column, .. } if column == "visits"));
    }

    #[test]
    fn compound_ids_numbers_and_row_numbers() {
        let shop: DictionaryArray<Int32Type> = ["a", "b", "a", "b"].into_iter().collect();
        let number = Int64Array::from(vec![1, 1, 2, 2]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("shop", Arc::new(shop)),
            ("number", Arc::new(number)),
            ("age", Arc::new(Float64Array::from(vec![20.0, 30.0, 40.0, 50.0]))),
            ("visits", Arc::new(Float64Array::from(vec![0.0, 100.0, 200.0, 300.0]))),
            ("name", Arc::new(StringArray::from(vec!["x"; 4]))),
        ];
        let data = table(columns);
        let mut model = model(&customers(90));
        model.id_columns = vec!["shop".into(), "number".into()];
        let explain = |model: &Model, ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|&id| id.into()).collect();
            model.explain(&Cut(data.clone(), 3), &ids)
        };
        let by_id = explain(&model, &["b", "2"]).unwrap();
        assert!(matches!(explain(&model, &["b", "3"]), Err(Error::IdNotFound { .. })));
        model.id_columns.clear();
        assert_eq!(explain(&model, &["3"]).unwrap(), by_id);
        assert_ne!(explain(&model, &["0"]).unwrap(), by_id);
        for id in ["4", "-1", "one"] {
            assert!(matches!(explain(&model, &[id]), Err(Error::IdNotFound { .. })));
        }
    }
}
