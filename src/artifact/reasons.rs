//! Why each row is where it is, as a Parquet table.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use rayon::prelude::*;

use super::OutFile;
use super::tables::{Table, check_fields, id_fields};
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::features::RawReader;
use crate::model::Model;
use crate::segments::{Change, Explanation, Reason, Value};

/// Reasons told of each row.
const N_REASONS: usize = 3;

/// The columns of the table after the ids.
fn fields() -> Vec<Field> {
    let mut fields = vec![
        Field::new("segment", DataType::Int32, false),
        Field::new("segment_2", DataType::Int32, true),
        Field::new("margin", DataType::Float64, true),
    ];
    for n in 1..=N_REASONS {
        fields.push(Field::new(format!("reason_{n}"), DataType::Utf8, true));
        fields.push(Field::new(format!("share_{n}"), DataType::Float64, true));
    }
    fields.extend([
        Field::new("change_column", DataType::Utf8, true),
        Field::new("change_from", DataType::Utf8, true),
        Field::new("change_to", DataType::Utf8, true),
        Field::new("change_segment", DataType::Int32, true),
        Field::new("change_size", DataType::Float64, true),
    ]);
    fields
}

/// Refuses data of which [`write_reasons`] could not write a table.
///
/// # Errors
/// Those of [`Model::check_columns`]; [`Error::ColumnUnusable`] for an id column whose name the table uses itself.
pub fn check_reasons(source: &dyn BatchSource, model: &Model) -> Result<()> {
    model.check_columns(source)?;
    let id_columns = model.id_columns_in(source)?;
    check_fields(&id_fields(source.schema(), &id_columns), "an id", &fields())
}

/// Writes one row per row of the data, in its order: the id columns as they came (or `row`, from 0), `segment`,
/// `segment_2`, `margin`; the three columns that speak most for the segment against the runner-up, `reason_1` to
/// `reason_3`, with their shares of the difference of the squared distances; and the smallest change that would move the
/// row, as text in the column's units: `change_column`, `change_from`, `change_to`, `change_segment`, `change_size`.
/// Memory does not grow with the rows.
///
/// # Errors
/// Those of [`check_reasons`], of reading and of writing.
pub fn write_reasons(out: &mut OutFile, source: &dyn BatchSource, model: &Model) -> Result<()> {
    check_reasons(source, model)?;
    if source.n_rows() == 0 {
        return Err(Error::NoRows);
    }
    let id_columns = model.id_columns_in(source)?;
    let mut all: Vec<FieldRef> = id_fields(source.schema(), &id_columns);
    all.extend(fields().into_iter().map(Arc::new));
    let mut table = Table::new(out, Arc::new(Schema::new(all)), &["margin", "change_size"])?;
    let (reader, explainer) = (RawReader::new(source.schema(), &model.preparation)?, model.explainer());
    let mut columns = id_columns.clone();
    columns.extend(reader.columns());
    source.scan(&columns, &mut |first_row, batch| {
        let values = reader.values(source, first_row, &batch.columns()[id_columns.len()..])?;
        let raw = |row: usize| -> Vec<f64> { values.iter().map(|of_feature| of_feature[row]).collect() };
        let rows = (0..batch.num_rows()).into_par_iter();
        let told: Vec<Explanation> = rows.map(|row| explainer.explain(&raw(row))).collect();
        let mut ids = batch.columns()[..id_columns.len()].to_vec();
        if ids.is_empty() {
            let numbers: Int64Array = (first_row..first_row + batch.num_rows())
                .map(|row| row as i64)
                .collect();
            ids.push(Arc::new(numbers));
        }
        table.push(ids, results(&told))
    })?;
    table.finish()
}

fn results(told: &[Explanation]) -> Vec<ArrayRef> {
    let number = |of: &dyn Fn(&Explanation) -> Option<f64>| -> ArrayRef {
        Arc::new(told.iter().map(of).collect::<Float64Array>())
    };
    let segment = |of: &dyn Fn(&Explanation) -> Option<usize>| -> ArrayRef {
        let segments = told.iter().map(|told| of(told).map(|segment| segment as i32));
        Arc::new(segments.collect::<Int32Array>())
    };
    let text = |of: &dyn Fn(&Explanation) -> Option<String>| -> ArrayRef {
        Arc::new(told.iter().map(of).collect::<StringArray>())
    };
    // What speaks against the segment is no reason for it.
    fn reason(told: &Explanation, n: usize) -> Option<&Reason> {
        told.reasons.get(n).filter(|reason| reason.contribution > 0.0)
    }
    fn change(told: &Explanation) -> Option<&Change> {
        told.changes.first()
    }
    let mut columns = vec![
        segment(&|told| Some(told.segment)),
        segment(&|told| told.segment_2),
        number(&|told| told.margin),
    ];
    for n in 0..N_REASONS {
        columns.push(text(&|told| Some(reason(told, n)?.column.clone())));
        columns.push(number(&|told| reason(told, n)?.share));
    }
    columns.extend([
        text(&|told| Some(change(told)?.column.clone())),
        text(&|told| plain(&change(told)?.from)),
        text(&|told| plain(&change(told)?.to)),
        segment(&|told| Some(change(told)?.segment)),
        number(&|told| Some(change(told)?.size)),
    ]);
    columns
}

/// A value as text with all its digits.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Number(v) | Value::Share(v) => Some(v.to_string()),
        Value::Flag(v) => Some(v.to_string()),
        Value::Text(text) => Some(text.clone()),
        Value::Missing => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use arrow::array::AsArray;
    use arrow::datatypes::Int32Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::artifact::write_atomic;
    use crate::model::fixture::{Cut, customers, model, table};

    #[test]
    fn every_row_has_what_it_is_told_alone_however_the_data_is_cut() {
        let data = customers(90);
        let model = model(&data);
        let folder = tempfile::tempdir().unwrap();
        let write = |batch_rows: usize| {
            let path = folder.path().join("reasons.parquet");
            write_atomic(&path, true, |out| {
                write_reasons(out, &Cut(data.clone(), batch_rows), &model)
            })
            .unwrap();
            fs::read(path).unwrap()
        };
        let whole = write(90);
        assert_eq!(write(7), whole);
        let file = fs::File::open(folder.path().join("reasons.parquet")).unwrap();
        let back = ParquetRecordBatchReaderBuilder::try_new(file)
            .unwrap()
            .build()
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        assert_eq!(back.num_rows(), 90);
        let column = |name: &str| back.column_by_name(name).unwrap();
        for row in [0, 40, 89] {
            let id = column("customer").as_string::<i32>().value(row).to_owned();
            let told = model.explain(&Cut(data.clone(), 90), &[id]).unwrap();
            assert_eq!(
                column("segment").as_primitive::<Int32Type>().value(row),
                told.segment as i32
            );
            assert_eq!(column("reason_1").as_string::<i32>().value(row), told.reasons[0].column);
            assert_eq!(
                column("change_to").as_string::<i32>().value(row),
                plain(&told.changes[0].to).unwrap()
            );
        }
    }

    #[test]
    fn an_id_with_a_name_of_the_table_is_refused() {
        let data = customers(20);
        let mut model = model(&data);
        model.id_columns = vec!["margin".into()];
        let columns = ["margin", "age", "visits"].into_iter().zip(data.columns().to_vec());
        let refused = check_reasons(&Cut(table(columns.collect()), 20), &model);
        assert!(matches!(refused, Err(Error::ColumnUnusable { column, .. }) if column == "margin"));
    }
}
