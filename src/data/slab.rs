//! Rows handed on in any order, by several threads at a time: for what adds up to the same however it is cut.

use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use rayon::prelude::*;

use super::Consume;
use crate::error::{Error, Result};

/// Values of some of the columns asked for, in a run of rows.
pub struct Slab<'s> {
    /// A number below that of the workers, by which threads stay out of each other's way.
    pub worker: usize,
    /// The number of its first row.
    pub first_row: usize,
    /// Its rows.
    pub n_rows: usize,
    /// The place of its first column among those asked for; the others follow it.
    pub first_column: usize,
    /// The values. Those of a column of texts may come in a dictionary that its type does not speak of: a decoder has
    /// it at hand, and no text is written out for any row.
    pub arrays: &'s [ArrayRef],
}

/// What [`super::BatchSource::scan_slabs`] hands slabs to.
pub type ConsumeSlab<'a> = dyn Fn(&Slab<'_>) -> Result<()> + Sync + 'a;

/// Hands the columns of each batch of `scan` to the threads of the pool.
pub(super) fn by_column(
    scan: impl FnOnce(&mut Consume<'_>) -> Result<()>,
    workers: usize,
    consume: &ConsumeSlab<'_>,
) -> Result<()> {
    scan(&mut |first_row, batch| {
        let columns = batch.columns().par_iter().enumerate();
        columns.try_for_each(|(first_column, array)| {
            consume(&Slab {
                worker: rayon::current_thread_index().unwrap_or(0) % workers.max(1),
                first_row,
                n_rows: batch.num_rows(),
                first_column,
                arrays: std::slice::from_ref(array),
            })
        })
    })
}

/// Runs `work` for each of `n` jobs on so many threads, each job on the first thread that is free, until one fails.
///
/// # Errors
/// One of those of `work`: which, may differ from run to run.
pub(super) fn on_threads(threads: usize, n: usize, work: &(dyn Fn(usize, usize) -> Result<()> + Sync)) -> Result<()> {
    let next = AtomicUsize::new(0);
    let worker = |worker: usize| {
        let job = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&job| job < n);
        let result = std::iter::from_fn(job).try_for_each(|job| work(worker, job));
        if result.is_err() {
            next.store(n, Ordering::Relaxed);
        }
        result
    };
    std::thread::scope(|scope| {
        let mut handles = Vec::new();
        for i in 0..threads.min(n) {
            let thread = std::thread::Builder::new().name(format!("kohort-decode-{i}"));
            let worker = &worker;
            match thread.spawn_scoped(scope, move || worker(i)) {
                Ok(handle) => handles.push(handle),
                // Those that are there do the work.
                Err(_) if i > 0 => break,
                Err(error) => return Err(Error::Internal(format!("no thread can be started: {error}"))),
            }
        }
        let joined = handles.into_iter().map(|handle| {
            let ended = handle.join();
            ended.unwrap_or_else(|_| Err(Error::Internal("a decoding thread ended early".into())))
        });
        // All are waited for, whichever fails.
        joined.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Whether these are texts in a dictionary, in a column of plain texts.
pub(super) fn is_keyed(array: &dyn Array, data_type: &DataType) -> bool {
    matches!(array.data_type(), DataType::Dictionary(_, values) if **values == *data_type)
}

/// Texts written out, as their column's type says.
pub(super) fn written_out(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if is_keyed(array, data_type) {
        return cast(array, data_type).map_err(|error| Error::Internal(error.to_string()));
    }
    Ok(ArrayRef::clone(array))
}

/// The values of a dictionary, and per row which of them it has: their number, where it has none.
///
/// # Panics
/// If `array` is no dictionary.
pub(crate) fn keys_and_values(array: &dyn Array) -> (ArrayRef, Vec<u32>) {
    let dictionary = array.as_any_dictionary();
    let values = ArrayRef::clone(dictionary.values());
    let none = values.len() as u32;
    if values.is_empty() {
        return (values, vec![none; array.len()]);
    }
    let mut keys: Vec<u32> = match dictionary.keys().as_primitive_opt::<Int32Type>() {
        Some(keys) => keys.values().iter().map(|&key| (key as u32).min(none - 1)).collect(),
        None => { dictionary.normalized_keys().into_iter() }
            .map(|key| key as u32)
            .collect(),
    };
    if let Some(nulls) = dictionary.keys().nulls() {
        let missing = !nulls.inner();
        missing.set_indices().for_each(|row| keys[row] = none);
    }
    (values, keys)
}

/// Whether two dictionaries are the same, as far as their place in memory tells.
pub(crate) fn same_values(a: &ArrayRef, b: &ArrayRef) -> bool {
    a.len() == b.len() && a.to_data().ptr_eq(&b.to_data())
}
