//! What a file has to pass before the `parquet` crate decodes any of it.
//!
//! First the frame and the footer, in our own bounded walk (the crate recurses along the schema and makes room for
//! what lists declare), then the crate's metadata, every offset and count in checked arithmetic.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Fields;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::{Compression, Type};
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
    RowGroupMetaData,
};

use super::file::{self, FileBytes, refused};
use super::guard::guarded;
use super::limits::available_memory;
use super::lists::item_type;
use super::thrift::{Field, Walk, Walker};
use crate::error::{Error, Result, escape};

const MAGIC: &[u8; 4] = b"PAR1";
const MAGIC_ENCRYPTED: &[u8; 4] = b"PARE";
const MAX_FOOTER: u64 = 64 << 20;
const MAX_DEPTH: usize = 100;
const MAX_COLUMNS: usize = 65_536;
/// Nodes of a schema: columns and the groups above them.
const MAX_NODES: usize = 4 * MAX_COLUMNS;
/// All column paths together; the crate keeps one for each column.
const MAX_PATH_BYTES: u64 = 256 << 20;
/// What the crate needs in memory for one structure of the footer, rounded up.
const STRUCT_BYTES: u64 = 1 << 10;
/// A run needs at least a value and a label of four bytes for each row.
const ROW_BYTES: u64 = 8;
/// More rows to a byte of data are not believed: a row group of 2^20 equal rows takes some dozen bytes, and to read
/// 2^31 rows out of a few hundred bytes takes minutes.
const MAX_ROWS_PER_BYTE: u64 = 1 << 20;

/// A file whose frame and metadata hold together.
pub(crate) struct Admitted {
    pub(crate) metadata: Arc<ParquetMetaData>,
    /// Top-level columns as Arrow sees them.
    pub(crate) fields: Fields,
    /// For each top-level column its leaf, or `None` where it is nested.
    pub(crate) leaves: Vec<Option<usize>>,
}

/// Lets a file in, or says why not. Statistics of its columns are left aside where nobody asks for them.
///
/// # Errors
/// [`Error::FileRefused`], [`Error::Corrupt`], [`Error::OutOfMemory`], and those of reading.
pub(crate) fn admit(path: &Path, source: &FileBytes, with_statistics: bool) -> Result<Admitted> {
    let footer = read_footer(path, source, source.bytes())?;
    let summary = walk_footer(&footer).map_err(|problem| refused(path, format!("the footer {problem}")))?;
    let needed = summary.structs.saturating_mul(STRUCT_BYTES);
    if needed > available_memory() / 2 {
        return Err(Error::OutOfMemory {
            what: format!("the metadata of {}", escape(&file::path_text(path))),
            bytes: needed,
        });
    }
    let metadata = Arc::new(parse_metadata(path, &footer, with_statistics)?);
    let data_end = source.bytes() - 8 - footer.len() as u64;
    check_metadata(path, &metadata, data_end)?;
    let fields = arrow_fields(path, &metadata)?;
    let leaves = leaves(&metadata, &fields);
    Ok(Admitted {
        metadata,
        fields,
        leaves,
    })
}

/// The bytes of the footer, after the frame of the file was looked at.
fn read_footer(path: &Path, source: &FileBytes, len: u64) -> Result<Vec<u8>> {
    let read = |offset, len| source.exactly(offset, len).map_err(Error::io("read", path));
    if len == 0 {
        return Err(refused(path, "is empty"));
    }
    let head = read(0, len.min(4) as usize)?;
    if head == MAGIC_ENCRYPTED {
        return Err(refused(path, "is encrypted, which is not supported"));
    }
    if head != MAGIC {
        return Err(refused(path, "is not a Parquet file: it does not start with PAR1"));
    }
    if len < 12 {
        return Err(refused(path, format!("is cut short: {len} bytes hold no Parquet file")));
    }
    let tail = read(len - 8, 8)?;
    if &tail[4..] == MAGIC_ENCRYPTED {
        return Err(refused(path, "has an encrypted footer, which is not supported"));
    }
    if &tail[4..] != MAGIC {
        return Err(refused(path, "does not end with PAR1: it is cut short or damaged"));
    }
    let footer_len = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if footer_len == 0 || footer_len > len - 12 || footer_len > MAX_FOOTER {
        let reason = format!("declares a footer of {footer_len} bytes in a file of {len} bytes: it is damaged");
        return Err(refused(path, reason));
    }
    read(len - 8 - footer_len, footer_len as usize)
}

/// What the walk over the footer gathers.
#[derive(Default)]
struct Summary {
    /// Physical type of each leaf, as the schema has it.
    leaves: Vec<i64>,
    /// Structures declared by all lists.
    structs: u64,
}

fn walk_footer(bytes: &[u8]) -> Walk<Summary> {
    let mut summary = Summary::default();
    let mut walker = Walker::new(bytes);
    walker.structure(|walker, field| match field.id {
        2 => walk_schema(walker, &mut summary).map(|()| true),
        4 => walk_row_groups(walker, &summary).map(|()| true),
        _ => Ok(false),
    })?;
    summary.structs = walker.structs();
    Ok(summary)
}

/// One node of the schema: physical type if it is a leaf, length of its name, children.
#[derive(Default)]
struct Node {
    physical: Option<i64>,
    name_len: u64,
    children: i32,
}

fn walk_node(walker: &mut Walker<'_>) -> Walk<Node> {
    let mut node = Node::default();
    walker.structure(|walker, Field { id, .. }| {
        match id {
            1 => node.physical = Some(walker.int()?),
            4 => node.name_len = walker.binary()?.len() as u64,
            5 => node.children = walker.int32()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(node)
}

/// The schema is a flat list in depth-first order; `open` holds, for each group above, the children still to come
/// and the length of its path.
fn walk_schema(walker: &mut Walker<'_>, summary: &mut Summary) -> Walk<()> {
    let mut open: Vec<(i32, u64)> = Vec::new();
    let mut path_bytes = 0u64;
    summary.leaves.clear();
    walker.structures(|walker, i| {
        let node = walk_node(walker)?;
        if node.children < 0 || i >= MAX_NODES {
            return Err("declares a schema that cannot be");
        }
        let above = open.last().map_or(0, |&(_, len)| len);
        if i > 0 {
            let (left, _) = open.last_mut().ok_or("holds a schema with nodes left over")?;
            *left -= 1;
        }
        if node.physical.is_some() && node.children == 0 {
            path_bytes += above + node.name_len;
            summary.leaves.push(node.physical.unwrap_or_default());
        }
        open.push((node.children, above + node.name_len));
        if open.len() > MAX_DEPTH + 1 {
            return Err("holds a schema nested more than 100 deep");
        }
        while open.last().is_some_and(|&(left, _)| left == 0) {
            open.pop();
        }
        if summary.leaves.len() > MAX_COLUMNS || path_bytes > MAX_PATH_BYTES {
            return Err("holds more than 65536 columns, or names that are far too long");
        }
        Ok(())
    })?;
    if !open.is_empty() {
        return Err("holds a schema with nodes missing");
    }
    Ok(())
}

fn walk_row_groups(walker: &mut Walker<'_>, summary: &Summary) -> Walk<()> {
    walker.structures(|walker, _| {
        walker.structure(|walker, field| {
            if field.id == 1 {
                walker.structures(|walker, leaf| walk_chunk(walker, summary.leaves.get(leaf).copied()))?;
            }
            Ok(field.id == 1)
        })
    })
}

fn walk_chunk(walker: &mut Walker<'_>, schema_type: Option<i64>) -> Walk<()> {
    walker.structure(|walker, field| match field.id {
        1 if !walker.binary()?.is_empty() => Err("refers to column data in another file, which is not supported"),
        1 => Ok(true),
        3 => {
            walker.structure(|walker, field| {
                if field.id == 1 && Some(walker.int()?) != schema_type {
                    return Err("gives a column one type in the schema and another in a row group");
                }
                Ok(field.id == 1)
            })?;
            Ok(true)
        }
        8 | 9 => Err("declares an encrypted column, which is not supported"),
        _ => Ok(false),
    })
}

fn parse_metadata(path: &Path, footer: &[u8], with_statistics: bool) -> Result<ParquetMetaData> {
    let statistics = match with_statistics {
        true => ParquetStatisticsPolicy::KeepAll,
        false => ParquetStatisticsPolicy::SkipAll,
    };
    let options = ParquetMetaDataOptions::new()
        .with_column_stats_policy(statistics)
        .with_encoding_stats_as_mask(true)
        .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
    guarded(|| ParquetMetaDataReader::decode_metadata_with_options(footer, Some(&options)))
        .map_err(|problem| refused(path, format!("the footer cannot be read: {problem}")))
}

/// Arrow's view of the columns. An embedded Arrow schema that is broken, or fits the file badly, is left aside.
fn arrow_fields(path: &Path, metadata: &ParquetMetaData) -> Result<Fields> {
    let file = metadata.file_metadata();
    guarded(|| parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()))
        .or_else(|_| guarded(|| parquet_to_arrow_schema(file.schema_descr(), None)))
        .map(|schema| schema.fields)
        .map_err(|problem| refused(path, format!("its schema cannot be read: {problem}")))
}

/// The leaf of each top-level column that is one, without levels of repetition, or a list of numbers.
fn leaves(metadata: &ParquetMetaData, fields: &Fields) -> Vec<Option<usize>> {
    let schema = metadata.file_metadata().schema_descr();
    let mut leaves = vec![None; fields.len()];
    for leaf in 0..schema.num_columns() {
        let column = schema.column(leaf);
        let root = schema.get_column_root_idx(leaf);
        let is_flat = column.path().parts().len() == 1 && column.max_rep_level() == 0 && column.max_def_level() <= 1;
        let is_list = column.max_rep_level() == 1 && item_type(fields[root].data_type()).is_some();
        if is_flat || is_list {
            leaves[root] = Some(leaf);
        }
    }
    leaves
}

fn check_metadata(path: &Path, metadata: &ParquetMetaData, data_end: u64) -> Result<()> {
    let declared = metadata.file_metadata().num_rows();
    let mut sum = 0i64;
    for (i, group) in metadata.row_groups().iter().enumerate() {
        let rows = group.num_rows();
        if rows < 0 {
            return Err(corrupt(path, i, None, format!("declares {rows} rows")));
        }
        sum = sum
            .checked_add(rows)
            .ok_or_else(|| corrupt(path, i, None, "declares more rows than can be counted"))?;
        check_group(path, i, group, data_end)?;
    }
    if sum != declared || declared < 0 {
        let reason = format!("declares {declared} rows, but its row groups {sum}: it is damaged");
        return Err(refused(path, reason));
    }
    check_rows(path, declared, data_end)
}

/// Refuses so many rows where there are too few bytes for them, or too little memory.
///
/// # Errors
/// [`Error::FileRefused`], [`Error::OutOfMemory`].
pub(crate) fn check_rows(path: &Path, declared: i64, data_end: u64) -> Result<()> {
    if declared as u64 / MAX_ROWS_PER_BYTE > data_end {
        let reason = format!("declares {declared} rows in {data_end} bytes, more than any data has: it is damaged");
        return Err(refused(path, reason));
    }
    let bytes = (declared as u64).saturating_mul(ROW_BYTES);
    if bytes > available_memory() {
        let what = format!("{}: {declared} rows", escape(&file::path_text(path)));
        return Err(Error::OutOfMemory { what, bytes });
    }
    Ok(())
}

fn check_group(path: &Path, index: usize, group: &RowGroupMetaData, data_end: u64) -> Result<()> {
    for chunk in group.columns() {
        if let Err(reason) = check_chunk(chunk, group.num_rows(), data_end) {
            return Err(corrupt(path, index, Some(column_name(chunk)), reason));
        }
    }
    Ok(())
}

fn check_chunk(chunk: &ColumnChunkMetaData, rows: i64, data_end: u64) -> Result<(), String> {
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let (len, values) = (chunk.compressed_size(), chunk.num_values());
    if chunk.uncompressed_size() < 0 || len < 0 || values < 0 {
        return Err("declares a negative size".into());
    }
    let end = start.checked_add(len).and_then(|end| u64::try_from(end).ok());
    // A chunk without values may have no page to point at.
    let inside = |offset: i64| (offset >= 4 || values == 0) && offset >= 0 && offset as u64 <= data_end;
    if !inside(start) || !inside(chunk.data_page_offset()) || end.is_none_or(|end| end > data_end) {
        return Err(format!("lies outside the file: {len} bytes at {start}"));
    }
    if chunk.column_descr().max_rep_level() == 0 && values != rows {
        return Err(format!("declares {values} values for {rows} rows"));
    }
    // A page has a header of some bytes and at most 2^31 values, however well they are packed.
    let most = (len as u64 / 8).saturating_mul(1 << 31);
    if values as u64 > most {
        return Err(format!("declares {values} values in {len} bytes"));
    }
    Ok(())
}

/// Whether the pages of a column can be decompressed and its values decoded.
pub(crate) fn check_decodable(chunk: &ColumnChunkMetaData) -> Result<(), String> {
    if matches!(chunk.compression(), Compression::LZO) {
        return Err("is compressed with LZO, which is not supported".into());
    }
    let width = chunk.column_descr().type_length();
    if chunk.column_type() == Type::FIXED_LEN_BYTE_ARRAY && !(1..=1 << 20).contains(&width) {
        return Err(format!("declares values of {width} bytes each"));
    }
    Ok(())
}

/// The name of a chunk's column, its parts joined by dots.
pub(crate) fn column_name(chunk: &ColumnChunkMetaData) -> String {
    chunk.column_path().string()
}

/// A damaged row group, with what is wrong.
pub(crate) fn corrupt(path: &Path, row_group: usize, column: Option<String>, reason: impl Into<String>) -> Error {
    Error::Corrupt {
        path: path.into(),
        row_group: Some(row_group),
        column,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::metadata::FileMetaData;
    use parquet::schema::types::{ColumnDescriptor, ColumnPath, SchemaDescriptor, Type as SchemaType};

    /// A schema element: its physical type (or none), name, and children.
    fn node(physical: Option<u8>, children: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        match physical {
            Some(physical) => bytes.extend([0x15, physical << 1, 0x38, 1, b'c']),
            None => bytes.extend([0x48, 1, b'g']),
        }
        if children > 0 {
            bytes.extend([0x15, children << 1]);
        }
        bytes.push(0);
        bytes
    }

    /// A footer of a schema alone: field 2, a list in its long form.
    fn footer(nodes: &[Vec<u8>]) -> Vec<u8> {
        let n = nodes.len();
        let mut bytes = vec![0x29, 0xfc, n as u8 | 0x80, (n >> 7) as u8 | 0x80, (n >> 14) as u8];
        bytes.extend(nodes.concat());
        bytes.push(0);
        bytes
    }

    #[test]
    fn a_schema_is_walked_without_recursion() {
        let nodes = [node(None, 2), node(None, 1), node(Some(1), 0), node(Some(5), 0)];
        assert_eq!(
            walk_footer(&footer(&nodes)).map(|summary| summary.leaves),
            Ok(vec![1, 5])
        );
        let deep = |n: usize| {
            let mut nodes = vec![node(None, 1); n];
            nodes.push(node(Some(1), 0));
            footer(&nodes)
        };
        assert!(walk_footer(&deep(100)).is_ok());
        assert!(walk_footer(&deep(102)).is_err());
        assert!(walk_footer(&deep(100_000)).is_err());
    }

    #[test]
    fn nodes_left_over_or_missing_are_errors() {
        assert!(walk_footer(&footer(&[node(None, 2), node(Some(1), 0)])).is_err());
        assert!(walk_footer(&footer(&[node(None, 1), node(Some(1), 0), node(Some(1), 0)])).is_err());
    }

    #[test]
    fn too_many_columns_are_an_error() {
        let wide = |n: usize| {
            // The root declares its children in three bytes.
            let z = (n << 1) as u32;
            let mut root = vec![0x48, 1, b'g', 0x15];
            root.extend([z as u8 | 0x80, (z >> 7) as u8 | 0x80, (z >> 14) as u8, 0]);
            let mut nodes = vec![root];
            nodes.extend(std::iter::repeat_n(node(Some(1), 0), n));
            footer(&nodes)
        };
        assert!(walk_footer(&wide(60_000)).is_ok());
        assert!(walk_footer(&wide(65_537)).is_err());
    }

    /// What the gate says of a chunk of `values` integers for 100 rows in `len` bytes at `start`, where the data of
    /// the file ends at byte 1000.
    fn judge(values: i64, start: i64, len: i64) -> Result<(), String> {
        let column = SchemaType::primitive_type_builder("c", Type::INT32).build().unwrap();
        let column = ColumnDescriptor::new(Arc::new(column), 0, 0, ColumnPath::from("c"));
        let chunk = ColumnChunkMetaData::builder(Arc::new(column))
            .set_num_values(values)
            .set_total_compressed_size(len)
            .set_data_page_offset(start)
            .build()
            .unwrap();
        check_chunk(&chunk, if values < 0 { 100 } else { values.max(100) }, 1000)
    }

    #[test]
    fn a_chunk_lies_inside_its_file_and_can_hold_its_values() {
        assert_eq!(judge(100, 4, 996), Ok(()));
        assert!(judge(99, 4, 996).is_err());
        assert!(judge(-1, 4, 996).is_err());
        assert!(judge(100, 4, 997).is_err());
        assert!(judge(100, -4, 10).is_err());
        assert!(judge(100, 4, -1).is_err());
        assert!(judge(100, i64::MAX, i64::MAX).is_err());
        assert!(judge(1 << 61, 4, 996).is_err());
    }

    #[test]
    fn rows_beyond_belief_are_refused_before_they_are_read() {
        let judge = |rows: i64, data_end: u64| {
            let root = SchemaType::group_type_builder("schema").build().unwrap();
            let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
            let group = RowGroupMetaData::builder(Arc::clone(&schema))
                .set_num_rows(rows)
                .build()
                .unwrap();
            let file = FileMetaData::new(2, rows, None, None, schema, None);
            check_metadata(Path::new("a"), &ParquetMetaData::new(file, vec![group]), data_end)
        };
        assert!(judge(100 << 20, 100).is_ok());
        let error = judge(101 << 20, 100).unwrap_err().to_string();
        assert!(error.starts_with("a: declares 105906176 rows in 100 bytes"), "{error}");
    }
}
