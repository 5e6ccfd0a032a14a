//! Rows on their way to a file, in the format that was asked for.

use std::borrow::Borrow;
use std::io::Write;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};

use super::OutFile;
use super::tables::Table;
use super::text_table::{TextFormat, TextTable};
use crate::error::Result;

/// A format of tables that are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFormat {
    /// Parquet.
    #[default]
    Parquet,
    /// CSV with a header.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

impl TableFormat {
    /// The format that a name promises.
    #[must_use]
    pub fn by_name(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "parquet" | "parq" | "pq" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }

    /// How names of such files end.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// What a file of rows says and how it is laid out.
#[derive(Clone)]
pub(super) struct Layout<'l> {
    pub(super) format: TableFormat,
    pub(super) schema: SchemaRef,
    /// Columns of which no value is expected to stand twice.
    pub(super) distinct: Vec<&'l str>,
    /// What a Parquet file says about itself.
    pub(super) key_values: Vec<KeyValue>,
    /// Rows that are encoded at once.
    pub(super) batch_rows: usize,
}

/// A file being written row by row.
pub(super) enum RowsOut<W: Write + Send + Borrow<OutFile>> {
    Parquet(Box<Table<W>>),
    Text(TextTable<W>),
}

impl<W: Write + Send + Borrow<OutFile>> RowsOut<W> {
    pub(super) fn new(out: W, layout: &Layout<'_>) -> Result<Self> {
        let text = |out, format| TextTable::new(out, format, &layout.schema).map(Self::Text);
        match layout.format {
            TableFormat::Csv => text(out, TextFormat::Csv),
            TableFormat::Jsonl => text(out, TextFormat::Jsonl),
            TableFormat::Parquet => {
                let key_values = layout.key_values.clone();
                let table = Table::with_key_values(out, layout.schema.clone(), &layout.distinct, key_values)?;
                Ok(Self::Parquet(Box::new(table.in_batches_of(layout.batch_rows))))
            }
        }
    }

    pub(super) fn push_batch(&mut self, batch: RecordBatch) -> Result<()> {
        match self {
            Self::Parquet(table) => table.push_batch(batch),
            Self::Text(table) => table.push_batch(&batch),
        }
    }

    /// Bytes of rows that are encoded but not written yet.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Parquet(table) => table.held_bytes(),
            Self::Text(_) => 0,
        }
    }

    /// Writes what is held.
    pub(super) fn let_go(&mut self) -> Result<()> {
        match self {
            Self::Parquet(table) => table.let_go(),
            Self::Text(_) => Ok(()),
        }
    }

    /// Hands all of the file to the system; the number of texts that were marked as no formulas.
    pub(super) fn finish(self) -> Result<u64> {
        match self {
            Self::Parquet(table) => table.finish().map(|()| 0),
            Self::Text(table) => table.finish(),
        }
    }
}
