//! Layer 2: where rows come from, as Arrow record batches in a fixed row order.

mod apart;
mod bounds;
mod cache;
mod csv;
mod decode;
mod delta;
mod file;
mod files;
mod filter;
mod fingerprint;
mod format;
mod gate;
mod guard;
mod hive;
mod ids;
mod ipc;
mod key_value;
mod limits;
mod lists;
mod memory;
#[cfg(feature = "object-store")]
mod objects;
#[cfg(not(feature = "object-store"))]
#[path = "objects_disabled.rs"]
mod objects;
mod options;
mod pages;
mod parquet;
mod part;
mod schema;
mod select;
mod slab;
mod source;
mod stdin;
mod thrift;
mod url;
mod values;

pub use self::apart::{DecodedFile, check_apart};
pub use self::cache::ColumnCache;
pub use self::file::read_small;
pub use self::files::{FileSource, RowsKept};
pub use self::filter::{ComparedValue, Filter};
pub use self::fingerprint::{InputFile, Known, is_of_bytes};
pub use self::ids::read_keys;
pub use self::key_value::key_value;
pub(crate) use self::limits::available_memory;
pub(crate) use self::lists::item_type;
pub use self::memory::MemorySource;
pub use self::objects::{has_query, stop_waiting_with};
pub use self::options::{AbsentColumns, DuplicateIds, NullIds, SourceOptions, name_of, type_of};
pub use self::slab::{ConsumeSlab, Slab};
pub(crate) use self::slab::{keys_and_values, same_values};
pub use self::source::{expand, relative_names};
pub use self::url::is_remote;
pub(crate) use self::values::is_time;

use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;

/// A table that can be read any number of times, always in the same row order.
pub trait BatchSource: Sync {
    /// Names and types of all columns.
    fn schema(&self) -> &SchemaRef;

    /// Rows in the whole table.
    fn n_rows(&self) -> usize;

    /// Hands the given columns (indices into [`BatchSource::schema`], in the order given) of all rows to `consume`,
    /// batch by batch in row order, with the row number of each batch's first row.
    ///
    /// # Errors
    /// Those of reading, and whatever `consume` returns; nothing is handed on after the first one.
    fn scan(&self, columns: &[usize], consume: &mut Consume<'_>) -> Result<()>;

    /// Hands the given columns of all rows to `consume`, cut into runs of rows and columns in whatever way is fastest, in
    /// any order and from several threads at a time, each with a number below `workers`.
    ///
    /// # Errors
    /// As [`BatchSource::scan`]; but where more than one thing is wrong, which of them is told may differ from run to run.
    fn scan_slabs(&self, columns: &[usize], workers: usize, consume: &ConsumeSlab<'_>) -> Result<()> {
        slab::by_column(|each| self.scan(columns, each), workers, consume)
    }

    /// What becomes of rows whose id an earlier row has.
    fn duplicate_ids(&self) -> DuplicateIds {
        DuplicateIds::Error
    }

    /// File (where there is one) and row number in that file, from 0, of a row: for messages.
    fn locate(&self, row: usize) -> (Option<PathBuf>, usize);
}

/// What [`BatchSource::scan`] hands batches to: the row number of the first row, and the batch.
pub type Consume<'a> = dyn FnMut(usize, &RecordBatch) -> Result<()> + 'a;
