//! Decoding of one row group's columns, in batches of bounded size.

use std::sync::Arc;

use arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::{Encoding, Type};
use parquet::column::page::PageIterator;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::file::FileBytes;
use super::gate::{check_decodable, column_name, corrupt};
use super::guard::{guarded, short};
use super::pages::{BYTES_IN_LIST, GuardedPages, Limits, OneChunk};
use super::parquet::ParquetPart;
use super::part::Take;
use crate::error::{Error, Result};

/// Most rows of a batch.
pub(crate) const MAX_BATCH_ROWS: usize = 1 << 14;
/// Bytes a batch should take; rows that are wider come in batches of fewer rows.
pub(crate) const BATCH_BYTES: u64 = 16 << 20;

/// One row group to decode, and which of the file's columns.
pub(crate) struct Task<'a> {
    pub(crate) part: &'a ParquetPart,
    pub(crate) group: usize,
    /// Columns of the file, in the order they are handed on.
    pub(crate) columns: &'a [usize],
    /// Bytes of one page, and of one batch's strings.
    pub(crate) page_bytes: u64,
    /// Whether plain texts that stand in a dictionary are handed on in it.
    pub(crate) keyed: bool,
}

/// Why a row group cannot be decoded: told the consumer, or found broken.
enum Stop {
    /// Nobody takes further batches.
    Unwanted,
    Broken(String),
}

impl From<ParquetError> for Stop {
    fn from(error: ParquetError) -> Self {
        Self::Broken(short(&error.to_string()))
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unwanted => "not wanted any more",
            Self::Broken(reason) => reason,
        })
    }
}

impl Task<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.part.metadata.row_group(self.group)
    }

    /// Rows the row group declares; the gate has seen that they can be counted.
    pub(crate) fn n_rows(&self) -> usize {
        usize::try_from(self.metadata().num_rows()).unwrap_or(0)
    }

    /// The leaf of a column.
    fn leaf(&self, column: usize) -> Option<usize> {
        self.part.leaves[column]
    }

    fn corrupt(&self, column: Option<usize>, reason: impl Into<String>) -> Error {
        let name = column.map(|column| self.part.fields[column].name().clone());
        corrupt(&self.part.input.path, self.group, name, reason)
    }

    /// Decodes the row group and hands its batches to `take`, until that gives `false`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the column where one column alone fails too; [`Error::FileChanged`] if the file is not
    /// what it was when it was opened.
    pub(crate) fn run(&self, take: &mut Take<'_>) -> Result<()> {
        let source = self.part.input.reopen()?;
        let mut wanted = true;
        let outcome = guarded(|| {
            self.decode(&source, self.columns, &mut |rows, arrays| {
                wanted = take(rows, arrays);
                wanted
            })
        });
        match outcome {
            Err(reason) if wanted => {
                self.part.input.unchanged()?;
                Err(self.blame(&source, &reason))
            }
            _ => Ok(()),
        }
    }

    /// Finds the column that cannot be decoded, by decoding each alone.
    fn blame(&self, source: &FileBytes, reason: &str) -> Error {
        for &column in self.columns {
            if let Err(reason) = guarded(|| self.decode(source, &[column], &mut |_, _| true)) {
                return self.corrupt(Some(column), reason);
            }
        }
        self.corrupt(None, reason)
    }

    /// Decodes some columns of the row group.
    fn decode(&self, source: &FileBytes, columns: &[usize], take: &mut Take<'_>) -> Result<(), Stop> {
        let mut leaves = Vec::with_capacity(columns.len());
        for &column in columns {
            leaves.push(self.leaf(column).ok_or_else(|| Stop::Broken("is nested".into()))?);
        }
        let chunks = leaves.iter().map(|&leaf| self.metadata().column(leaf).byte_range());
        let source = &source.ahead(chunks.map(|(start, len)| start..start.saturating_add(len)));
        let limits = Limits {
            bytes: self.page_bytes,
            batch_rows: self.batch_rows(source, columns)?,
        };
        let group = Group {
            task: self,
            source,
            limits,
        };
        let levels = self.levels(columns, &leaves)?;
        let reader = ParquetRecordBatchReader::try_new_with_row_groups(&levels, &group, limits.batch_rows, None)?;
        // The reader gives each leaf once, in file order.
        let mut sorted = leaves.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let order: Vec<usize> = leaves
            .iter()
            .map(|leaf| sorted.partition_point(|other| other < leaf))
            .collect();
        let mut rows = 0;
        for batch in reader {
            let batch = batch.map_err(|error| Stop::Broken(short(&error.to_string())))?;
            rows += batch.num_rows();
            self.check_rows(rows, false)?;
            let arrays = order.iter().map(|&i| batch.column(i).clone()).collect();
            if !take(batch.num_rows(), arrays) {
                return Err(Stop::Unwanted);
            }
        }
        self.check_rows(rows, true)
    }

    fn check_rows(&self, rows: usize, all: bool) -> Result<(), Stop> {
        let declared = self.n_rows();
        if rows > declared || (all && rows < declared) {
            return Err(Stop::Broken(format!("{rows} rows decoded, {declared} declared")));
        }
        Ok(())
    }

    fn levels(&self, columns: &[usize], leaves: &[usize]) -> Result<FieldLevels, ParquetError> {
        let schema = self.part.metadata.file_metadata().schema_descr();
        let mask = ProjectionMask::leaves(schema, leaves.iter().copied());
        let mut fields = self.part.fields.to_vec();
        for &column in columns.iter().filter(|&&column| self.keeps_dictionary(column)) {
            if let text @ (DataType::Utf8 | DataType::LargeUtf8) = fields[column].data_type() {
                let keyed = DataType::Dictionary(DataType::Int32.into(), text.clone().into());
                fields[column] = Arc::new(fields[column].as_ref().clone().with_data_type(keyed));
            }
        }
        parquet_to_arrow_field_levels(schema, mask, Some(&fields.into()))
    }

    /// Rows of a batch: at most [`MAX_BATCH_ROWS`], fewer where rows are wide.
    fn batch_rows(&self, source: &FileBytes, columns: &[usize]) -> Result<usize, Stop> {
        let mut width = 0u64;
        for &column in columns {
            let chunk = self.leaf(column).map(|leaf| self.metadata().column(leaf));
            if let Some(chunk) = chunk {
                check_decodable(chunk).map_err(Stop::Broken)?;
                width = width.saturating_add(self.value_width(source, column, chunk)?);
            }
        }
        let rows = (BATCH_BYTES / width.max(1)).clamp(1, MAX_BATCH_ROWS as u64);
        // The crate makes room for whole batches.
        Ok((rows as usize).min(self.n_rows().max(1)))
    }

    /// Bytes that a value of a column takes in memory, about.
    fn value_width(&self, source: &FileBytes, column: usize, chunk: &ColumnChunkMetaData) -> Result<u64, Stop> {
        let in_list = chunk.column_descr().max_rep_level() > 0;
        if in_list {
            let per_row = (chunk.num_values() as u64).div_ceil(self.n_rows().max(1) as u64);
            return Ok(per_row.saturating_mul(BYTES_IN_LIST));
        }
        Ok(match chunk.column_type() {
            Type::BOOLEAN => 1,
            Type::INT32 | Type::FLOAT => 4,
            Type::INT64 | Type::DOUBLE => 8,
            Type::INT96 => 16,
            Type::FIXED_LEN_BYTE_ARRAY => chunk.column_descr().type_length().max(16) as u64,
            Type::BYTE_ARRAY if self.keeps_dictionary(column) && is_all_dictionary(chunk) => 16,
            Type::BYTE_ARRAY => {
                let limits = Limits {
                    bytes: self.page_bytes,
                    batch_rows: 1,
                };
                let longest = GuardedPages::new(source, chunk, limits, false)?.longest_entry()?;
                let mean = chunk.uncompressed_size() as u64 / self.n_rows().max(1) as u64;
                16 + mean.max(longest)
            }
        })
    }

    /// Whether a column's values are handed on in a dictionary: where its type says so, and where texts stand in one.
    fn keeps_dictionary(&self, column: usize) -> bool {
        match self.part.fields[column].data_type() {
            DataType::Dictionary(..) => true,
            DataType::Utf8 | DataType::LargeUtf8 if self.keyed => {
                { self.leaf(column) }.is_some_and(|leaf| is_all_dictionary(self.metadata().column(leaf)))
            }
            _ => false,
        }
    }
}

/// Whether all values of a chunk stand in its dictionary, as the file says.
fn is_all_dictionary(chunk: &ColumnChunkMetaData) -> bool {
    let encodings = [Encoding::RLE_DICTIONARY, Encoding::PLAIN_DICTIONARY];
    let mask = chunk.page_encoding_stats_mask();
    mask.is_some_and(|mask| encodings.into_iter().any(|encoding| mask.is_only(encoding)))
}

/// One row group, as the crate asks for its pages.
struct Group<'a> {
    task: &'a Task<'a>,
    source: &'a FileBytes,
    limits: Limits,
}

impl RowGroups for Group<'_> {
    fn num_rows(&self) -> usize {
        self.task.n_rows()
    }

    fn column_chunks(&self, leaf: usize) -> parquet::errors::Result<Box<dyn PageIterator>> {
        let chunk = self.task.metadata().column(leaf);
        let field = self.task.part.leaves.iter().position(|&other| other == Some(leaf));
        let keeps = field.is_some_and(|at| self.task.keeps_dictionary(at));
        let pages = GuardedPages::new(self.source, chunk, self.limits, keeps)
            .map_err(|error| ParquetError::General(format!("{}: {error}", column_name(chunk))))?;
        Ok(Box::new(OneChunk(Some(pages))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.task.metadata()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.task.part.metadata
    }
}
