//! Columns that are read more than once, held as they were decoded.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::SchemaRef;

use super::slab::on_threads;
use super::{BatchSource, Consume, ConsumeSlab, DuplicateIds, Slab};
use crate::error::Result;

/// A table that holds what [`BatchSource::scan_slabs`] first reads of some of its columns, and hands that on when they
/// are asked for again: decoding takes longer than anything that is done to the values. A column for which there is no
/// room is read every time.
pub struct ColumnCache<'s> {
    source: &'s dyn BatchSource,
    /// Bytes that may still be held.
    room: AtomicU64,
    /// Per column of the schema.
    columns: Vec<Mutex<Held>>,
}

/// What is held of a column.
enum Held {
    /// Nothing, as it is not asked for, or does not fit.
    Nothing,
    /// Values so far, each with the number of its first row, and how many they are.
    Part(Vec<(usize, ArrayRef)>, usize),
    /// All values.
    All(Vec<(usize, ArrayRef)>),
}

impl<'s> ColumnCache<'s> {
    /// Holds `columns` (indices into the schema of `source`) in at most `room` bytes.
    pub fn new(source: &'s dyn BatchSource, columns: &[usize], room: u64) -> Self {
        let held = (0..source.schema().fields().len()).map(|index| {
            Mutex::new(if columns.contains(&index) {
                Held::Part(Vec::new(), 0)
            } else {
                Held::Nothing
            })
        });
        Self {
            source,
            room: AtomicU64::new(room),
            columns: held.collect(),
        }
    }

    fn held(&self, column: usize) -> MutexGuard<'_, Held> {
        self.columns[column].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, column: usize) -> bool {
        matches!(*self.held(column), Held::All(_))
    }

    /// Takes in values of a column, where there is room.
    fn keep(&self, column: usize, first_row: usize, array: &ArrayRef) {
        let mut held = self.held(column);
        let Held::Part(arrays, n_rows) = &mut *held else {
            return;
        };
        let bytes = array.get_array_memory_size() as u64;
        let take = |room: u64| room.checked_sub(bytes);
        if self
            .room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
        {
            *n_rows += array.len();
            arrays.push((first_row, ArrayRef::clone(array)));
        } else {
            self.let_go(&mut held);
        }
    }

    /// Holds nothing of a column any more.
    fn let_go(&self, held: &mut Held) {
        if let Held::Part(arrays, _) = std::mem::replace(held, Held::Nothing) {
            let bytes = arrays.iter().map(|(_, array)| array.get_array_memory_size() as u64);
            self.room.fetch_add(bytes.sum(), Ordering::Relaxed);
        }
    }

    /// After a scan of a column: whether all of it came.
    fn close(&self, column: usize, came: bool) {
        let mut held = self.held(column);
        match &mut *held {
            Held::Part(arrays, n_rows) if came && *n_rows == self.source.n_rows() => {
                *held = Held::All(std::mem::take(arrays));
            }
            _ => self.let_go(&mut held),
        }
    }

    /// Reads `columns`, given with their places among those asked for.
    fn read(&self, columns: &[(usize, usize)], workers: usize, consume: &ConsumeSlab<'_>) -> Result<()> {
        let indices: Vec<usize> = columns.iter().map(|(_, column)| *column).collect();
        let result = self.source.scan_slabs(&indices, workers, &|slab| {
            for (&(place, column), array) in columns[slab.first_column..].iter().zip(slab.arrays) {
                self.keep(column, slab.first_row, array);
                consume(&Slab {
                    first_column: place,
                    arrays: std::slice::from_ref(array),
                    ..*slab
                })?;
            }
            Ok(())
        });
        indices.iter().for_each(|&column| self.close(column, result.is_ok()));
        result
    }

    /// Hands on `columns`, given with their places among those asked for, all of which are held.
    fn hand_on(&self, columns: &[(usize, usize)], workers: usize, consume: &ConsumeSlab<'_>) -> Result<()> {
        let mut arrays = Vec::new();
        for &(place, column) in columns {
            if let Held::All(held) = &*self.held(column) {
                let of_column = held
                    .iter()
                    .map(|(first_row, array)| (*first_row, place, ArrayRef::clone(array)));
                arrays.extend(of_column);
            }
        }
        arrays.sort_by_key(|(first_row, place, _)| (*first_row, *place));
        on_threads(workers, arrays.len(), &|worker, job| {
            let (first_row, first_column, array) = &arrays[job];
            consume(&Slab {
                worker,
                first_row: *first_row,
                n_rows: array.len(),
                first_column: *first_column,
                arrays: std::slice::from_ref(array),
            })
        })
    }
}

impl BatchSource for ColumnCache<'_> {
    fn schema(&self) -> &SchemaRef {
        self.source.schema()
    }

    fn n_rows(&self) -> usize {
        self.source.n_rows()
    }

    fn scan(&self, columns: &[usize], consume: &mut Consume<'_>) -> Result<()> {
        self.source.scan(columns, consume)
    }

    fn scan_slabs(&self, columns: &[usize], workers: usize, consume: &ConsumeSlab<'_>) -> Result<()> {
        let (at_hand, to_read): (Vec<_>, Vec<_>) =
            { columns.iter().copied().enumerate() }.partition(|(_, column)| self.has(*column));
        if !to_read.is_empty() {
            self.read(&to_read, workers, consume)?;
        }
        self.hand_on(&at_hand, workers, consume)
    }

    fn duplicate_ids(&self) -> DuplicateIds {
        self.source.duplicate_ids()
    }

    fn locate(&self, row: usize) -> (Option<PathBuf>, usize) {
        self.source.locate(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MemorySource;
    use crate::error::Error;
    use arrow::array::{Float64Array, Int32Array, RecordBatch, StringArray};
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicUsize;

    /// Counts the columns that are read.
    struct Counting(MemorySource, AtomicUsize);

    impl BatchSource for Counting {
        fn schema(&self) -> &SchemaRef {
            self.0.schema()
        }
        fn n_rows(&self) -> usize {
            self.0.n_rows()
        }
        fn scan(&self, columns: &[usize], consume: &mut Consume<'_>) -> Result<()> {
            self.1.fetch_add(columns.len(), Ordering::Relaxed);
            self.0.scan(columns, consume)
        }
        fn locate(&self, row: usize) -> (Option<PathBuf>, usize) {
            self.0.locate(row)
        }
    }

    fn table() -> Counting {
        let batch = |first: i32| {
            let rows = first..first + 100;
            let texts = StringArray::from_iter_values(rows.clone().map(|i| format!("t{}", i % 3)));
            let floats = Float64Array::from_iter_values(rows.clone().map(f64::from));
            let columns: [(&str, ArrayRef); 3] = [
                ("a", std::sync::Arc::new(Int32Array::from_iter_values(rows))),
                ("b", std::sync::Arc::new(floats)),
                ("c", std::sync::Arc::new(texts)),
            ];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        Counting(
            MemorySource::new(vec![batch(0), batch(100)]).unwrap(),
            AtomicUsize::new(0),
        )
    }

    /// All values that a scan hands on, in order, as text.
    fn all(source: &dyn BatchSource, columns: &[usize]) -> BTreeMap<(usize, usize), String> {
        let found = Mutex::new(BTreeMap::new());
        let scanned = source.scan_slabs(columns, 2, &|slab| {
            for (place, array) in (slab.first_column..).zip(slab.arrays) {
                let before = found
                    .lock()
                    .unwrap()
                    .insert((place, slab.first_row), format!("{array:?}"));
                assert!(before.is_none() && array.len() == slab.n_rows && slab.worker < 2);
            }
            Ok(())
        });
        scanned.unwrap();
        found.into_inner().unwrap()
    }

    #[test]
    fn what_is_held_is_handed_on_as_it_was_read() {
        let table = table();
        let expected = all(&table, &[2, 0, 1]);
        for (room, at_first, later) in [(u64::MAX, 3, 1), (0, 3, 3)] {
            let cache = ColumnCache::new(&table, &[0, 2], room);
            for n_read in [at_first, later, later] {
                table.1.store(0, Ordering::Relaxed);
                assert_eq!(all(&cache, &[2, 0, 1]), expected);
                assert_eq!(table.1.load(Ordering::Relaxed), n_read, "{room}");
            }
            let some: BTreeMap<_, _> = { expected.iter() }
                .filter(|((place, _), _)| *place == 1)
                .map(|((_, first_row), values)| ((0, *first_row), values.clone()))
                .collect();
            assert_eq!(all(&cache, &[0]), some);
        }
    }

    #[test]
    fn a_column_that_does_not_fit_makes_room_for_others() {
        let table = table();
        let of = |column: usize| table.0.n_rows() * [4, 8][column];
        let cache = ColumnCache::new(&table, &[0, 1], of(0) as u64 + 600);
        all(&cache, &[1]);
        assert!(!cache.has(1));
        all(&cache, &[0]);
        assert!(cache.has(0), "{:?}", cache.room);
    }

    #[test]
    fn what_a_failed_scan_left_is_not_taken_for_a_column() {
        let table = table();
        let cache = ColumnCache::new(&table, &[0], u64::MAX);
        let stopped = cache.scan_slabs(&[0], 1, &|slab| match slab.first_row {
            0 => Ok(()),
            _ => Err(Error::Interrupted),
        });
        assert!(matches!(stopped, Err(Error::Interrupted)));
        assert!(!cache.has(0));
        assert_eq!(all(&cache, &[0]), all(&table, &[0]));
    }
}
