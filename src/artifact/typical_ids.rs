//! Who is most typical of each segment: the ids of rows, written to a file of their own and only when asked for.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Schema};

use super::OutFile;
use super::tables::{Table, check_fields, id_fields};
use crate::data::{BatchSource, read_keys};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::segments::{Assignment, typical_rows};
use crate::tiles::RowKeys;

/// Writes, of a run's table of assignments, the `n` rows of each segment that are nearest to its centroid: `segment`
/// (int32, from 1), `rank` (int32, 1 for the nearest; ties in order of the ids' hashes), the id columns, or `row` where
/// there is none, and `distance`. Gives back how many rows that is.
///
/// # Errors
/// [`Error::ArtifactInvalid`] where the table is not one of assignments to the model's segments; an id column that is
/// called like a column of this table; those of reading and writing.
pub fn write_typical_ids(out: &mut OutFile, assignments: &dyn BatchSource, model: &Model, n: usize) -> Result<u64> {
    let schema = assignments.schema();
    let place = |name: &str| {
        schema.index_of(name).map_err(|_| Error::ColumnNotFound {
            column: name.into(),
            available: schema.fields().iter().map(|field| field.name().clone()).collect(),
        })
    };
    let ids = match model.id_columns[..] {
        [] => vec![place("row")?],
        _ => model
            .id_columns
            .iter()
            .map(|name| place(name))
            .collect::<Result<Vec<_>>>()?,
    };
    let mut fields: Vec<Field> = result_fields().to_vec();
    let id_fields = id_fields(schema, &ids);
    check_fields(&id_fields, "an id", &fields)?;
    fields.splice(2..2, id_fields.iter().map(|field| field.as_ref().clone()));
    let (labels, distances) = nearest(assignments, [place("segment")?, place("distance")?], model.n_segments())?;
    let keys = match model.id_columns[..] {
        [] => RowKeys::RowNumber,
        _ => read_keys(assignments, &ids, &model.id_columns)?,
    };
    let assignment = Assignment {
        labels,
        distances,
        runners_up: Vec::new(),
        distances_2: Vec::new(),
        share_missing: Vec::new(),
    };
    let mut typical = typical_rows(&assignment, &keys, model.n_segments() + 1, n);
    typical.truncate(model.n_segments());
    let rows: Vec<usize> = typical.iter().flatten().copied().collect();
    let of_segment = |(rows, segment): (&Vec<usize>, i32)| (1..=rows.len() as i32).map(move |rank| (segment, rank));
    let (segments, ranks): (Vec<i32>, Vec<i32>) = typical.iter().zip(1..).flat_map(of_segment).unzip();
    let distances: Float64Array = rows.iter().map(|&row| Some(assignment.distances[row])).collect();
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(segments)), Arc::new(Int32Array::from(ranks))];
    columns.extend(values_of(assignments, &ids, &rows)?);
    columns.push(Arc::new(distances));
    let mut table = Table::new(out, Arc::new(Schema::new(fields)), &[])?;
    if !rows.is_empty() {
        table.push(columns, Vec::new())?;
    }
    table.finish()?;
    Ok(rows.len() as u64)
}

fn result_fields() -> [Field; 3] {
    [
        Field::new("segment", DataType::Int32, false),
        Field::new("rank", DataType::Int32, false),
        Field::new("distance", DataType::Float64, false),
    ]
}

/// Cluster and distance of every row.
fn nearest(source: &dyn BatchSource, columns: [usize; 2], n_segments: usize) -> Result<(Vec<u32>, Vec<f64>)> {
    let (mut labels, mut distances) = (Vec::new(), Vec::new());
    let wrong = |what: &str| Error::Internal(format!("the table of assignments {what}"));
    source.scan(&columns, &mut |_, batch| {
        let segments = batch.column(0).as_primitive_opt::<Int32Type>();
        let of_batch = batch.column(1).as_primitive_opt::<Float64Type>();
        let (Some(segments), Some(of_batch)) = (segments, of_batch) else {
            return Err(wrong("has other types than those of a run"));
        };
        // Outliers may be in no segment: one more, which nobody is told of.
        let none = n_segments as i32 + 1;
        let in_model = |segment: Option<i32>| segment.is_none_or(|segment| (1..none).contains(&segment));
        let is_distance = |distance: &f64| *distance >= 0.0 && distance.is_finite();
        if of_batch.null_count() > 0 || !segments.iter().all(in_model) || !of_batch.values().iter().all(is_distance) {
            return Err(wrong("has other segments than the model, or a distance that is none"));
        }
        labels.extend(segments.iter().map(|segment| segment.unwrap_or(none) as u32 - 1));
        distances.extend_from_slice(of_batch.values());
        Ok(())
    })?;
    Ok((labels, distances))
}

/// The values of some rows, in their order.
fn values_of(source: &dyn BatchSource, columns: &[usize], rows: &[usize]) -> Result<Vec<ArrayRef>> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&at| rows[at]);
    let mut pieces: Vec<Vec<ArrayRef>> = vec![Vec::new(); columns.len()];
    let mut next = 0;
    let failed = |error: arrow::error::ArrowError| Error::Internal(format!("ids cannot be copied: {error}"));
    source.scan(columns, &mut |first_row, batch| {
        let end = first_row + batch.num_rows();
        let here = order[next..].iter().take_while(|&&at| rows[at] < end);
        let wanted: UInt32Array = here.map(|&at| (rows[at] - first_row) as u32).collect();
        next += wanted.len();
        if !wanted.is_empty() {
            for (pieces, column) in pieces.iter_mut().zip(batch.columns()) {
                pieces.push(take(column, &wanted, None).map_err(failed)?);
            }
        }
        Ok(())
    })?;
    // From the order of reading to that of the rows.
    let mut places = vec![0u32; rows.len()];
    for (read, &at) in order.iter().enumerate() {
        places[at] = read as u32;
    }
    let places = UInt32Array::from(places);
    let whole = |pieces: &Vec<ArrayRef>| {
        let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
        take(&concat(&pieces).map_err(failed)?, &places, None).map_err(failed)
    };
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    pieces.iter().map(whole).collect()
}
