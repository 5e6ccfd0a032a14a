//! Parquet files as one table: row groups are decoded ahead by a few threads and handed on in row order.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use super::decode::{InputPart, Task};
use super::fingerprint::InputFile;
use super::limits::available_memory;
use super::{BatchSource, Consume, file, gate};
use crate::error::{Error, Result, escape};

/// Batches that a thread may be ahead of the consumer.
const BATCHES_AHEAD: usize = 2;
/// Smallest and largest room for one page or one batch's strings.
const MIN_PAGE_BYTES: u64 = 64 << 20;
const MAX_PAGE_BYTES: u64 = 1 << 31;
/// A file that declares more values than fit in memory, and more than this many times its own bytes, is no data.
const MAX_EXPANSION: u64 = 1000;

/// One or more Parquet files with the same columns, read as one table.
///
/// Rows come in order of the files, then of their row groups. The columns are those of the first file; the others may
/// have them in another order.
pub struct ParquetSource {
    parts: Vec<InputPart>,
    /// First row of each part, and the number of all rows.
    starts: Vec<usize>,
    schema: SchemaRef,
    threads: usize,
}

impl ParquetSource {
    /// Opens files and checks their metadata and that they belong together; at most `threads` threads will decode.
    ///
    /// # Errors
    /// [`Error::FileRefused`], [`Error::Corrupt`], [`Error::SchemaMismatch`], [`Error::OutOfMemory`], and those of
    /// opening a file; [`Error::NoFiles`] without any.
    pub fn open(paths: &[PathBuf], threads: usize) -> Result<Self> {
        let mut parts: Vec<InputPart> = Vec::with_capacity(paths.len());
        let mut starts = vec![0usize];
        for path in paths {
            let admitted = gate::admit(path)?;
            let rows = usize::try_from(admitted.metadata.file_metadata().num_rows()).ok();
            let next = rows.and_then(|rows| starts.last()?.checked_add(rows));
            starts.push(next.ok_or_else(|| file::refused(path, "declares more rows than can be counted"))?);
            let first = parts.first().map_or(&admitted.fields, |part| &part.fields);
            let places = match_columns(path, first, &admitted.fields)?;
            parts.push(InputPart {
                path: path.clone(),
                identity: admitted.identity,
                metadata: admitted.metadata,
                fields: admitted.fields,
                leaves: admitted.leaves,
                places,
            });
        }
        let Some(first) = parts.first() else {
            let pattern = String::new();
            return Err(Error::NoFiles { pattern });
        };
        let schema = Arc::new(Schema::new(first.fields.iter().map(plain_field).collect::<Vec<_>>()));
        Ok(Self {
            parts,
            starts,
            schema,
            threads: threads.max(1),
        })
    }

    /// Path, size, rows and hash of each file, in order.
    ///
    /// # Errors
    /// Those of reading; [`Error::FileChanged`].
    pub fn fingerprints(&self) -> Result<Vec<InputFile>> {
        let rows = self.starts.windows(2).map(|pair| (pair[1] - pair[0]) as u64);
        let parts = self.parts.iter().zip(rows);
        parts
            .map(|(part, rows)| InputFile::of(&part.path, part.identity, rows))
            .collect()
    }

    /// What the batches of a scan look like.
    ///
    /// # Errors
    /// [`Error::ColumnAmbiguous`] and [`Error::ColumnUnusable`] (nested).
    fn projected(&self, columns: &[usize]) -> Result<SchemaRef> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for field in self.schema.fields() {
            *counts.entry(field.name()).or_default() += 1;
        }
        let mut fields = Vec::with_capacity(columns.len());
        for &column in columns {
            let field = &self.schema.fields()[column];
            let column_name = field.name().clone();
            if counts[column_name.as_str()] > 1 {
                return Err(Error::ColumnAmbiguous { column: column_name });
            }
            let nested = |part: &InputPart| part.leaves[part.places[column]].is_none();
            if self.parts.iter().any(nested) {
                return Err(Error::ColumnUnusable {
                    column: column_name,
                    role: "a column",
                    reason: format!("it is nested ({})", type_name(field.data_type())),
                });
            }
            fields.push(field.clone());
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Refuses files that declare far more values than they and the memory can hold.
    fn check_plausible(&self, columns: &[usize]) -> Result<()> {
        let values = (self.n_rows() as u64).saturating_mul(columns.len() as u64);
        let bytes = values.saturating_mul(4);
        let held: u64 = self.parts.iter().map(|part| part.identity.bytes).sum();
        if bytes > available_memory() && bytes / MAX_EXPANSION > held {
            let what = format!(
                "{} rows of {} columns in {held} bytes of files",
                self.n_rows(),
                columns.len()
            );
            return Err(Error::OutOfMemory { what, bytes });
        }
        Ok(())
    }

    fn page_bytes(&self) -> u64 {
        (available_memory() / (4 * self.threads as u64)).clamp(MIN_PAGE_BYTES, MAX_PAGE_BYTES)
    }
}

/// A column by name and type alone: what else a file says of it (field numbers, nullability) may differ.
fn plain_field(field: &FieldRef) -> Field {
    Field::new(field.name(), field.data_type().clone(), true)
}

/// For each column of the first file its place in this one; of columns with one name the n-th goes with the n-th.
fn match_columns(path: &Path, first: &Fields, fields: &Fields) -> Result<Vec<usize>> {
    let mismatch = |column: &str, problem: String| Error::SchemaMismatch {
        path: path.into(),
        column: column.to_owned(),
        problem,
    };
    let mut by_name: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for (i, field) in fields.iter().enumerate() {
        by_name.entry(field.name()).or_default().push_back(i);
    }
    let mut places = Vec::with_capacity(first.len());
    for wanted in first {
        let place = by_name
            .get_mut(wanted.name().as_str())
            .and_then(|places| places.pop_front());
        let place = place.ok_or_else(|| mismatch(wanted.name(), "is missing".into()))?;
        let (expected, found) = (wanted.data_type(), fields[place].data_type());
        if expected != found {
            let problem = format!("is {}, but {} in the first file", type_name(found), type_name(expected));
            return Err(mismatch(wanted.name(), problem));
        }
        places.push(place);
    }
    match by_name.into_values().flatten().min() {
        Some(extra) => Err(mismatch(fields[extra].name(), "is not in the first file".into())),
        None => Ok(places),
    }
}

/// A type as text, cut short: nested types may be large.
pub(crate) fn type_name(data_type: &DataType) -> String {
    escape(&data_type.to_string().chars().take(80).collect::<String>())
}

/// What a decoding thread hands on.
enum Message {
    Batch(RecordBatch),
    Done,
    Failed(Error),
}

/// Decodes every `threads`-th row group, from the `first`, until one fails or nobody listens.
fn work(tasks: &[Task<'_>], first: usize, threads: usize, out: &SyncSender<Message>) {
    for task in tasks.iter().skip(first).step_by(threads) {
        let result = task.run(&mut |batch| out.send(Message::Batch(batch)).is_ok());
        let failed = result.is_err();
        let message = match result {
            Ok(()) => Message::Done,
            Err(error) => Message::Failed(error),
        };
        if out.send(message).is_err() || failed {
            return;
        }
    }
}

/// Hands the batches of one row group on; the number of its rows.
fn drain(from: &Receiver<Message>, first_row: usize, consume: &mut Consume<'_>) -> Result<usize> {
    let mut rows = 0;
    loop {
        match from.recv() {
            Ok(Message::Batch(batch)) => {
                consume(first_row + rows, &batch)?;
                rows += batch.num_rows();
            }
            Ok(Message::Done) => return Ok(rows),
            Ok(Message::Failed(error)) => return Err(error),
            // A closed channel is no end of data.
            Err(_) => return Err(Error::Internal("a decoding thread ended early".into())),
        }
    }
}

impl BatchSource for ParquetSource {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn n_rows(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn scan(&self, columns: &[usize], consume: &mut Consume<'_>) -> Result<()> {
        let schema = self.projected(columns)?;
        self.check_plausible(columns)?;
        let page_bytes = self.page_bytes();
        let tasks: Vec<Task<'_>> = self
            .parts
            .iter()
            .flat_map(|part| (0..part.metadata.num_row_groups()).map(move |group| (part, group)))
            .map(|(part, group)| Task {
                part,
                group,
                columns,
                schema: &schema,
                page_bytes,
            })
            .collect();
        let threads = self.threads.min(tasks.len());
        std::thread::scope(|scope| -> Result<()> {
            let mut receivers = Vec::with_capacity(threads);
            for i in 0..threads {
                let (out, from) = sync_channel(BATCHES_AHEAD);
                let tasks = &tasks;
                std::thread::Builder::new()
                    .name(format!("kohort-decode-{i}"))
                    .spawn_scoped(scope, move || work(tasks, i, threads, &out))
                    .map_err(Error::io("start a thread for", &self.parts[0].path))?;
                receivers.push(from);
            }
            let mut row = 0;
            for (i, task) in tasks.iter().enumerate() {
                let rows = drain(&receivers[i % threads], row, consume)?;
                if rows != task.n_rows() {
                    return Err(Error::Internal(format!(
                        "{rows} rows handed on, {} decoded",
                        task.n_rows()
                    )));
                }
                row += rows;
            }
            Ok(())
        })?;
        self.parts
            .iter()
            .try_for_each(|part| file::unchanged(&part.path, part.identity))
    }

    fn locate(&self, row: usize) -> (Option<PathBuf>, usize) {
        let part = self.starts.partition_point(|&start| start <= row).saturating_sub(1);
        let part = part.min(self.parts.len() - 1);
        (Some(self.parts[part].path.clone()), row - self.starts[part])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::{Float64Type, Int64Type};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, Encoding};
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
    use tempfile::TempDir;

    const ROWS: usize = 5000;

    /// Rows `from..to` of a table whose every cell follows from its row number.
    fn rows(from: usize, to: usize) -> RecordBatch {
        let ids = Int64Array::from_iter_values(from as i64..to as i64);
        let x: Float64Array = (from..to).map(|i| (i % 7 != 0).then_some(i as f64 / 3.0)).collect();
        let city = StringArray::from_iter_values((from..to).map(|i| format!("city {}", i % 40)));
        RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(ids) as ArrayRef, false),
            ("x", Arc::new(x) as ArrayRef, true),
            ("city", Arc::new(city) as ArrayRef, true),
        ])
        .unwrap()
    }

    fn write_with(path: &Path, batch: &RecordBatch, properties: WriterPropertiesBuilder) {
        let file = std::fs::File::create(path).unwrap();
        let properties = properties.set_max_row_group_row_count(Some(700)).build();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
    }

    fn write(path: &Path, batch: &RecordBatch) {
        write_with(path, batch, WriterProperties::builder());
    }

    /// A table in `n` files.
    fn in_files(n: usize) -> (TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..n)
            .map(|i| folder.path().join(format!("part-{i}.parquet")))
            .collect();
        for (i, path) in paths.iter().enumerate() {
            write(path, &rows(i * ROWS / n, (i + 1) * ROWS / n));
        }
        (folder, paths)
    }

    fn read(source: &ParquetSource, columns: &[usize]) -> Result<Vec<RecordBatch>> {
        let (mut batches, mut next) = (Vec::new(), 0);
        source.scan(columns, &mut |row, batch| {
            assert_eq!(row, next);
            next += batch.num_rows();
            batches.push(batch.clone());
            Ok(())
        })?;
        assert_eq!(next, source.n_rows());
        Ok(batches)
    }

    /// All cells in one batch, for comparison.
    fn whole(batches: &[RecordBatch]) -> RecordBatch {
        arrow::compute::concat_batches(&batches[0].schema(), batches).unwrap()
    }

    /// A file whose bytes `damage` has changed; what reading all of it gives.
    fn read_damaged(
        batch: &RecordBatch,
        properties: WriterPropertiesBuilder,
        damage: impl Fn(&mut Vec<u8>),
    ) -> Result<usize> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.parquet");
        write_with(&path, batch, properties);
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let source = ParquetSource::open(&[path], 2)?;
        let all: Vec<usize> = (0..batch.num_columns()).collect();
        Ok(read(&source, &all)?.iter().map(RecordBatch::num_rows).sum())
    }

    #[test]
    fn rows_are_the_same_for_any_threads_and_files() {
        let expected = rows(0, ROWS);
        for files in [1, 5] {
            let (_folder, paths) = in_files(files);
            for threads in [1, 2, 7] {
                let source = ParquetSource::open(&paths, threads).unwrap();
                let found = whole(&read(&source, &[0, 1, 2]).unwrap());
                assert_eq!(found.columns(), expected.columns(), "{files} files, {threads} threads");
            }
        }
    }

    #[test]
    fn columns_come_in_the_order_asked_for() {
        let (_folder, paths) = in_files(2);
        let source = ParquetSource::open(&paths, 2).unwrap();
        let found = whole(&read(&source, &[2, 0, 2]).unwrap());
        let expected = rows(0, ROWS);
        assert_eq!(found.columns(), [2, 0, 2].map(|i| expected.column(i).clone()));
        assert!(read(&source, &[]).unwrap().iter().all(|batch| batch.num_columns() == 0));
    }

    #[test]
    fn a_row_is_located_in_its_file() {
        let (_folder, paths) = in_files(5);
        let source = ParquetSource::open(&paths, 2).unwrap();
        assert_eq!(source.locate(0), (Some(paths[0].clone()), 0));
        assert_eq!(source.locate(999), (Some(paths[0].clone()), 999));
        assert_eq!(source.locate(1000), (Some(paths[1].clone()), 0));
        assert_eq!(source.locate(4999), (Some(paths[4].clone()), 999));
    }

    #[test]
    fn files_may_order_their_columns_differently_but_not_differ() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write(&path("a"), &rows(0, 10));
        write(&path("b"), &rows(10, 20).project(&[2, 1, 0]).unwrap());
        write(&path("missing"), &rows(0, 10).project(&[0, 1]).unwrap());
        let mut retyped = rows(0, 10).columns().to_vec();
        retyped[0] = retyped[1].clone();
        let names = ["id", "x", "city"]
            .into_iter()
            .zip(retyped)
            .map(|(name, array)| (name, array, true));
        write(
            &path("retyped"),
            &RecordBatch::try_from_iter_with_nullable(names).unwrap(),
        );

        let source = ParquetSource::open(&[path("a"), path("b")], 2).unwrap();
        assert_eq!(
            whole(&read(&source, &[0, 1, 2]).unwrap()).columns(),
            rows(0, 20).columns()
        );
        for (first, second, wanted) in [
            ("a", "missing", "city"),
            ("missing", "a", "city"),
            ("a", "retyped", "id"),
        ] {
            let Err(Error::SchemaMismatch { path: file, column, .. }) =
                ParquetSource::open(&[path(first), path(second)], 1)
            else {
                panic!("{second} passed as a part of {first}");
            };
            assert_eq!((file, column.as_str()), (path(second), wanted));
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_an_error_when_asked_for() {
        let batch = rows(0, 10);
        let names = ["id", "x", "x"].into_iter().zip(batch.columns().to_vec());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, &RecordBatch::try_from_iter(names).unwrap());
        let source = ParquetSource::open(&[path], 1).unwrap();
        assert!(read(&source, &[0]).is_ok());
        assert!(matches!(read(&source, &[1]), Err(Error::ColumnAmbiguous { .. })));
    }

    #[test]
    fn a_nested_column_is_no_obstacle_until_it_is_asked_for() {
        let city: ArrayRef = rows(0, 10).column(2).clone();
        let nested = arrow::array::StructArray::from(vec![(Arc::new(Field::new("city", DataType::Utf8, true)), city)]);
        let ids = rows(0, 10).column(0).clone();
        let batch = RecordBatch::try_from_iter([("s", Arc::new(nested) as ArrayRef), ("id", ids)]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, &batch);
        let source = ParquetSource::open(&[path], 1).unwrap();
        assert_eq!(whole(&read(&source, &[1]).unwrap()).column(0), batch.column(1));
        assert!(matches!(read(&source, &[0]), Err(Error::ColumnUnusable { .. })));
    }

    #[test]
    fn what_is_no_parquet_file_is_refused() {
        let refused = |damage: fn(&mut Vec<u8>)| {
            let found = read_damaged(&rows(0, 100), WriterProperties::builder(), damage);
            assert!(matches!(found, Err(Error::FileRefused { .. })), "{found:?}");
        };
        refused(Vec::clear);
        refused(|bytes| bytes.truncate(3));
        refused(|bytes| bytes.truncate(8));
        refused(|bytes| bytes.truncate(bytes.len() / 2));
        refused(|bytes| bytes[0] = b'X');
        refused(|bytes| {
            let n = bytes.len();
            bytes[n - 1] = b'E';
        });
        refused(|bytes| {
            let n = bytes.len();
            bytes[n - 8..n - 4].fill(0xff);
        });
    }

    #[test]
    fn a_broken_page_is_placed_in_its_column() {
        let broken = read_damaged(&rows(0, 700), WriterProperties::builder(), |bytes| {
            bytes[4..40].fill(0xff);
        });
        let Err(Error::Corrupt { row_group, column, .. }) = broken else {
            panic!("a broken page header passed");
        };
        assert_eq!((row_group, column.as_deref()), (Some(0), Some("id")));
    }

    fn footer_start(bytes: &[u8]) -> usize {
        let n = bytes.len();
        n - 8 - u32::from_le_bytes(bytes[n - 8..n - 4].try_into().unwrap()) as usize
    }

    /// Replaces the varint of `from` by that of `to`, which takes as many bytes, wherever it stands in the footer.
    fn lie(bytes: &mut [u8], from: u64, to: u64) {
        let varint = |mut n: u64| {
            let mut out = Vec::new();
            n <<= 1;
            while n >= 0x80 {
                out.push(n as u8 | 0x80);
                n >>= 7;
            }
            out.push(n as u8);
            out
        };
        let (from, to) = (varint(from), varint(to));
        assert_eq!(from.len(), to.len());
        for at in footer_start(bytes)..bytes.len() - 8 - from.len() {
            if bytes[at..at + from.len()] == from {
                bytes[at..at + from.len()].copy_from_slice(&to);
            }
        }
    }

    #[test]
    fn a_lie_about_the_rows_is_found() {
        // 300 rows are there, 8000 declared in every place of the footer.
        let plain = WriterProperties::builder().set_dictionary_enabled(false);
        let found = read_damaged(&rows(0, 300), plain, |bytes| lie(bytes, 300, 8000));
        assert!(
            matches!(found, Err(Error::Corrupt { row_group: Some(0), .. })),
            "{found:?}"
        );
    }

    #[test]
    fn a_dictionary_index_out_of_range_is_an_error_though_the_decoder_panics() {
        let amounts = arrow::array::Decimal128Array::from_iter_values((0..200).map(|i| i % 3))
            .with_precision_and_scale(30, 2)
            .unwrap();
        let batch = RecordBatch::try_from_iter([("amount", Arc::new(amounts) as ArrayRef)]).unwrap();
        let properties =
            WriterProperties::builder().set_statistics_enabled(parquet::file::properties::EnabledStatistics::None);
        let flip = |bytes: &mut Vec<u8>, at: usize| {
            if at < footer_start(bytes) {
                bytes[at] ^= 0xff;
            }
        };
        let errors: Vec<Error> = (4..200)
            .filter_map(|at| read_damaged(&batch, properties.clone(), |bytes| flip(bytes, at)).err())
            .collect();
        let placed =
            |error: &&Error| matches!(error, Error::Corrupt { row_group: Some(0), column, .. } if column.is_some());
        assert_eq!(
            errors.iter().find(|error| !placed(error)).map(ToString::to_string),
            None
        );
        let panicked = |error: &&Error| error.to_string().ends_with(super::super::guard::PANICKED);
        assert!(
            errors.iter().filter(panicked).count() > 0,
            "no damage reached the decoder"
        );
    }

    #[test]
    fn every_encoding_and_codec_is_read_back() {
        let expected = rows(0, 3000);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        for encoding in [
            Encoding::PLAIN,
            Encoding::DELTA_LENGTH_BYTE_ARRAY,
            Encoding::DELTA_BYTE_ARRAY,
        ] {
            for codec in [
                Compression::SNAPPY,
                Compression::ZSTD(Default::default()),
                Compression::LZ4_RAW,
            ] {
                let properties = WriterProperties::builder()
                    .set_dictionary_enabled(false)
                    .set_column_encoding("city".into(), encoding)
                    .set_column_encoding("id".into(), Encoding::DELTA_BINARY_PACKED)
                    .set_column_encoding("x".into(), Encoding::BYTE_STREAM_SPLIT)
                    .set_compression(codec)
                    .set_data_page_row_count_limit(500);
                write_with(&path, &expected, properties);
                let source = ParquetSource::open(std::slice::from_ref(&path), 2).unwrap();
                assert_eq!(whole(&read(&source, &[0, 1, 2]).unwrap()).columns(), expected.columns());
            }
        }
    }

    #[test]
    fn wide_rows_come_in_small_batches() {
        let long = "x".repeat(100_000);
        let texts = StringArray::from_iter_values((0..600).map(|i| if i % 2 == 0 { long.as_str() } else { "y" }));
        let batch = RecordBatch::try_from_iter([("text", Arc::new(texts) as ArrayRef)]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, &batch);
        let source = ParquetSource::open(&[path], 2).unwrap();
        let batches = read(&source, &[0]).unwrap();
        assert!(batches.len() > 2 && batches.iter().all(|batch| batch.num_rows() < 200));
        assert_eq!(whole(&batches).column(0).as_string::<i32>().value(598), long);
    }

    #[test]
    fn an_error_of_the_consumer_ends_the_scan() {
        let (_folder, paths) = in_files(5);
        let source = ParquetSource::open(&paths, 3).unwrap();
        let mut seen = 0;
        let found = source.scan(&[0], &mut |_, _| {
            seen += 1;
            if seen == 2 { Err(Error::Interrupted) } else { Ok(()) }
        });
        assert!(matches!(found, Err(Error::Interrupted)) && seen == 2);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_an_error() {
        let (_folder, paths) = in_files(2);
        let source = ParquetSource::open(&paths, 1).unwrap();
        let found = source.scan(&[0], &mut |row, _| {
            if row == 0 {
                write(&paths[0], &rows(0, 10));
            }
            Ok(())
        });
        assert!(matches!(found, Err(Error::FileChanged { .. })), "{found:?}");
        assert!(matches!(read(&source, &[0]), Err(Error::FileChanged { .. })));
    }

    #[test]
    fn a_closed_channel_is_not_the_end_of_data() {
        let (out, from) = sync_channel(1);
        out.send(Message::Batch(rows(0, 10))).unwrap();
        drop(out);
        assert!(matches!(drain(&from, 0, &mut |_, _| Ok(())), Err(Error::Internal(_))));
    }

    #[test]
    fn files_are_fingerprinted() {
        let (_folder, paths) = in_files(2);
        let found = ParquetSource::open(&paths, 1).unwrap().fingerprints().unwrap();
        let rows: Vec<u64> = found.iter().map(|file| file.n_rows).collect();
        assert_eq!(rows, [2500, 2500]);
        assert_ne!(found[0].xxh3_128, found[1].xxh3_128);
    }

    #[test]
    fn nulls_and_values_survive() {
        let (_folder, paths) = in_files(1);
        let source = ParquetSource::open(&paths, 2).unwrap();
        let all = whole(&read(&source, &[0, 1]).unwrap());
        let x = all.column(1).as_primitive::<Float64Type>();
        assert!(x.is_null(7) && x.value(8) == 8.0 / 3.0);
        assert_eq!(all.column(0).as_primitive::<Int64Type>().value(4999), 4999);
    }
}
