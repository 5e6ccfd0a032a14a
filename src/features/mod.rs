//! Layer 2: from Arrow columns to grid values: which columns take part, what is learned from them, and the replay.
//!
//! [`learn`] looks at the data and gives a [`Preparation`] and a report on every column; [`prepare`] replays a
//! preparation on data, the fit's own or new. Whatever is learned depends on the multiset of rows alone: moments are
//! exact sums, quantiles exact selections, so neither row order nor batches nor threads can change a bit.

mod choices;
mod columns;
mod cycles;
mod decode;
mod gaps;
mod inspect;
mod kept;
mod learn;
mod levels;
mod lists;
mod measure;
mod options;
mod outlook;
mod pass;
mod personal;
mod preparation;
mod ranks;
mod raw;
mod report;
mod rows;
mod settle;
mod transform;
mod weights;

pub use columns::{ColumnReport, FeatureColumn, LogReport, OutcomeColumn, Role, carried_columns, outcome_columns};
pub use cycles::{Coordinate, Cycle};
pub use decode::{BadCell, Instant, MAX_ABS, ValueKind, decode};
pub use gaps::{candidate_columns, count_missing, is_private_by_name};
pub use inspect::{ColumnInspection, NumberFigures, inspect};
pub use learn::{Learned, learn};
pub use options::{Block, FeatureOptions, LogChoice, Missing, MissingRule, Scale};
pub use outlook::feature_range;
pub use preparation::{FeaturePreparation, Preparation};
pub use ranks::Ranks;
pub use raw::RawReader;
pub use transform::{Prepared, ingest, prepare};

pub(crate) use decode::fits_f32;
pub(crate) use kept::{Kept, column_cache, held_row_bytes};
pub(crate) use learn::learn_and_keep;
pub(crate) use transform::prepare_kept;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use crate::data::{BatchSource, Slab};
use crate::error::{Error, Result};

pub use crate::cells::MIN_CELL;

/// Whether the columns that `options` name are there and of a kind that can be used, as far as names and types say.
///
/// # Errors
/// Those of [`learn`] that need no look at any row.
pub fn check_columns(schema: &Schema, options: &FeatureOptions) -> Result<()> {
    columns::plan(schema, options)?;
    choices::choices(schema, options).map(drop)
}

/// Columns without repeats, in order of first mention, and the place of each of `columns` among them.
pub(crate) fn without_repeats(columns: &[FeatureColumn]) -> (Vec<FeatureColumn>, Vec<usize>) {
    let (mut once, mut places) = (Vec::new(), HashMap::new());
    let place = |&column: &FeatureColumn| {
        *places.entry(column).or_insert_with(|| {
            once.push(column);
            once.len() - 1
        })
    };
    let places = columns.iter().map(place).collect();
    (once, places)
}

/// The column named `name`.
fn find_column(schema: &Schema, name: &str) -> Result<usize> {
    let mut places = schema
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| field.name() == name);
    match (places.next(), places.next()) {
        (Some((index, _)), None) => Ok(index),
        (Some(_), Some(_)) => Err(Error::ColumnAmbiguous { column: name.into() }),
        (None, _) => Err(Error::ColumnNotFound {
            column: name.into(),
            available: schema.fields().iter().map(|field| field.name().clone()).collect(),
        }),
    }
}

/// [`BatchSource::scan`] of columns that may be clustered on, and of no others: everything that is learned or becomes
/// tiles is read here.
fn scan(
    source: &dyn BatchSource,
    columns: &[FeatureColumn],
    consume: impl FnMut(usize, &RecordBatch) -> Result<()>,
) -> Result<()> {
    let columns: Vec<usize> = columns.iter().map(|column| column.index()).collect();
    scan_indices(source, &columns, consume)
}

/// [`BatchSource::scan`], and a check that it hands on the rows it promised.
fn scan_indices(
    source: &dyn BatchSource,
    columns: &[usize],
    mut consume: impl FnMut(usize, &RecordBatch) -> Result<()>,
) -> Result<()> {
    let mut seen = 0;
    source.scan(columns, &mut |first_row, batch| {
        if first_row != seen || batch.num_columns() != columns.len() || batch.num_rows() > source.n_rows() - seen {
            return Err(Error::Internal(format!(
                "a batch at row {first_row} does not follow row {seen}"
            )));
        }
        seen += batch.num_rows();
        consume(first_row, batch)
    })?;
    if seen == source.n_rows() {
        Ok(())
    } else {
        Err(Error::Internal(format!("{seen} rows read of {}", source.n_rows())))
    }
}

/// [`BatchSource::scan_slabs`] of columns that may be clustered on, on all threads of the pool, and a check that it hands
/// on all values. What goes wrong is told as if rows had come in order, so that the same cell is named every time: after
/// an error the rows are read once more, in order, up to the first one.
fn scan_slabs(
    source: &dyn BatchSource,
    columns: &[FeatureColumn],
    consume: &(dyn Fn(&Slab<'_>) -> Result<()> + Sync),
) -> Result<()> {
    let indices: Vec<usize> = columns.iter().map(|column| column.index()).collect();
    let n_values = AtomicU64::new(0);
    let scanned = source.scan_slabs(&indices, n_workers(), &|slab| {
        consume(slab)?;
        let more = slab.n_rows as u64 * slab.arrays.len() as u64;
        n_values.fetch_add(more, Ordering::Relaxed);
        Ok(())
    });
    match scanned {
        Ok(()) => {
            let (n_values, wanted) = (n_values.into_inner(), source.n_rows() as u64 * columns.len() as u64);
            if n_values == wanted {
                return Ok(());
            }
            Err(Error::Internal(format!("{n_values} values read of {wanted}")))
        }
        Err(Error::Interrupted) => Err(Error::Interrupted),
        Err(error) => {
            scan(source, columns, |first_row, batch| {
                consume(&Slab {
                    worker: 0,
                    first_row,
                    n_rows: batch.num_rows(),
                    first_column: 0,
                    arrays: batch.columns(),
                })
            })?;
            Err(error)
        }
    }
}

/// Threads that slabs come from.
fn n_workers() -> usize {
    rayon::current_num_threads()
}

/// The value behind a lock; a thread that panicked ends the job in its own way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The results of the columns of one batch, or the error of its first bad row (of its first column there), so that
/// the same cell is named however the data is cut.
fn all_or_first_bad<T>(
    source: &dyn BatchSource,
    first_row: usize,
    names: &[&str],
    results: Vec<std::result::Result<T, BadCell>>,
) -> Result<Vec<T>> {
    let worst = results
        .iter()
        .zip(names)
        .filter_map(|(result, name)| result.as_ref().err().map(|bad| (bad, *name)))
        .min_by_key(|(bad, _)| bad.index);
    if let Some((bad, name)) = worst {
        return Err(bad_value(source, first_row, name, *bad));
    }
    Ok(results.into_iter().filter_map(std::result::Result::ok).collect())
}

/// The error of a cell of a batch whose first row is `first_row`.
fn bad_value(source: &dyn BatchSource, first_row: usize, column: &str, bad: BadCell) -> Error {
    let (file, row) = source.locate(first_row + bad.index);
    Error::BadValue {
        file,
        column: column.into(),
        row: row + 1,
        problem: bad.problem,
    }
}

/// An empty vector with room for `len` values.
fn room_for<T>(len: usize, what: &str) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory {
        what: what.into(),
        bytes: (len as u64).saturating_mul(size_of::<T>() as u64),
    })?;
    Ok(values)
}

#[cfg(test)]
mod testing;
