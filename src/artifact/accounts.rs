//! Synthetic accounts as Parquet: row groups are made and encoded on all threads, and written in order.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::tables::write_error;
use super::{OutFile, RunDir, names, write_atomic};
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::kmeans::{Event, Observer};
use crate::workload::Accounts;

/// Values in a row group, unless it is asked for so many rows: 32 MiB of numbers.
const GROUP_VALUES: usize = 1 << 23;
/// Rows that are made at once, in a thread.
const BATCH_ROWS: usize = 1 << 14;
/// Most files.
const MAX_FILES: usize = 99_999;
/// Most rows in a row group: its values are counted in 32 bits.
const MAX_GROUP_ROWS: usize = 1 << 30;
/// Most row groups in a file: they are counted in 16 bits.
const MAX_GROUPS: usize = 1 << 15;

/// Where the rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountsOut {
    /// One file.
    File(PathBuf),
    /// A folder with so many files, [`names::part`], of about as many rows each.
    Folder(PathBuf, usize),
}

/// How the rows are written.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountsOptions {
    /// How pages are compressed.
    pub codec: Compression,
    /// Rows in a row group; without, 2^23 values, but from 2^14 to 2^20 rows (more, where a file would have too many
    /// row groups).
    pub group_rows: Option<usize>,
    /// Replace what was written there earlier.
    pub overwrite: bool,
    /// Threads. Changes nothing in the files.
    pub threads: usize,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Rows.
    pub n_rows: usize,
    /// Files.
    pub n_files: usize,
    /// Row groups in all of them.
    pub n_row_groups: usize,
    /// Size of all files.
    pub bytes: u64,
}

/// Writes all rows of `accounts`, whole or not at all. The bytes do not depend on the number of threads.
///
/// Memory does not grow with the number of rows: one row group per thread is made or waits, and one is being written.
///
/// # Errors
/// [`Error::InvalidParam`] for numbers of files, rows or threads that cannot be; those of [`super::check_output_file`]
/// and [`super::check_output_parts`]; those of writing; [`Error::Interrupted`] when `observer` asks for it.
pub fn write_accounts(
    accounts: &Accounts,
    out: &AccountsOut,
    options: &AccountsOptions,
    observer: &dyn Observer,
) -> Result<Written> {
    let files = files(accounts, out, options)?;
    let properties = properties(accounts, options.codec);
    let pipeline = Pipeline {
        accounts,
        factory: &column_factory(accounts, &properties)?,
        groups: &files.iter().flatten().cloned().collect::<Vec<_>>(),
        n_workers: options.threads,
        observer,
    };
    pipeline.run(|groups| {
        let mut table = Table {
            accounts,
            properties: &properties,
            groups,
            observer,
            written: Written::default(),
        };
        match out {
            AccountsOut::File(path) => {
                write_atomic(path, options.overwrite, |file| table.write(file, files[0].len()))?;
            }
            AccountsOut::Folder(path, _) => {
                let dir = RunDir::create_parts(path, options.overwrite)?;
                for (n, groups) in files.iter().enumerate() {
                    dir.write(&names::part(n), |file| table.write(file, groups.len()))?;
                }
                dir.commit()?;
            }
        }
        Ok(table.written)
    })
}

/// The rows of each row group of each file.
fn files(accounts: &Accounts, out: &AccountsOut, options: &AccountsOptions) -> Result<Vec<Vec<Range<usize>>>> {
    let n_rows = accounts.n_rows();
    let n_columns = accounts.schema().fields().len();
    let n_files = match *out {
        AccountsOut::File(_) => 1,
        AccountsOut::Folder(_, n_files) => n_files,
    };
    in_range("n_files", n_files, MAX_FILES.min(n_rows))?;
    let file_rows = n_rows.div_ceil(n_files);
    let group_rows = options.group_rows.unwrap_or_else(|| {
        let group_rows = (GROUP_VALUES / n_columns).clamp(1 << 14, 1 << 20);
        group_rows.max(file_rows.div_ceil(MAX_GROUPS))
    });
    in_range("group_rows", group_rows, MAX_GROUP_ROWS)?;
    in_range("threads", options.threads, 1024)?;
    let n_groups = file_rows.div_ceil(group_rows);
    if n_groups > MAX_GROUPS {
        return Err(Error::InvalidParam {
            param: "group_rows",
            value: group_rows.to_string(),
            reason: format!(
                "a file holds at most {MAX_GROUPS} row groups, not {n_groups}: take larger ones, or more files"
            ),
        });
    }
    let first_of = |file: usize| (file as u128 * n_rows as u128 / n_files as u128) as usize;
    let groups = |file: usize| {
        let end = first_of(file + 1);
        let group = |first: usize| first..end.min(first + group_rows);
        (first_of(file)..end).step_by(group_rows).map(group).collect()
    };
    Ok((0..n_files).map(groups).collect())
}

fn in_range(param: &'static str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::InvalidParam {
        param,
        value: value.to_string(),
        reason: format!("expected a whole number from 1 to {most}"),
    })
}

fn properties(accounts: &Accounts, codec: Compression) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(codec)
        .set_created_by(concat!("kohort ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_max_row_group_row_count(None);
    for field in accounts.schema().fields() {
        // Nearly all of their values differ: a dictionary would be begun and given up in every row group.
        if matches!(field.data_type(), DataType::Float32 | DataType::Int64) {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false);
        }
    }
    properties.build()
}

/// A file's head, and what makes its columns.
type Parts<W> = (SerializedFileWriter<W>, ArrowRowGroupWriterFactory);

fn begin<W: io::Write + Send>(
    out: W,
    accounts: &Accounts,
    properties: &WriterProperties,
) -> std::result::Result<Parts<W>, ParquetError> {
    ArrowWriter::try_new(out, accounts.schema().clone(), Some(properties.clone()))?.into_serialized_writer()
}

fn column_factory(accounts: &Accounts, properties: &WriterProperties) -> Result<ArrowRowGroupWriterFactory> {
    let (_, factory) = begin(io::sink(), accounts, properties).map_err(encode_error)?;
    Ok(factory)
}

fn encode_error(error: ParquetError) -> Error {
    Error::Internal(format!("encoding rows: {error}"))
}

/// The encoded columns of a row group.
type Group = Result<Vec<ArrowColumnChunk>>;

/// Worker `w` of `n` makes row groups `w`, `w + n`, and so on.
struct Pipeline<'p> {
    accounts: &'p Accounts,
    factory: &'p ArrowRowGroupWriterFactory,
    groups: &'p [Range<usize>],
    n_workers: usize,
    observer: &'p dyn Observer,
}

impl Pipeline<'_> {
    /// Hands the row groups in order to `consume`; where that ends early, so do the workers.
    fn run<T>(&self, consume: impl FnOnce(&mut dyn Iterator<Item = Group>) -> Result<T>) -> Result<T> {
        let n_workers = self.n_workers.min(self.groups.len()).max(1);
        thread::scope(|scope| {
            let start = |worker: usize| -> Result<Receiver<Group>> {
                let (sender, receiver) = sync_channel(0);
                let begun = thread::Builder::new()
                    .name(format!("generate-{worker}"))
                    .spawn_scoped(scope, move || self.work(worker, n_workers, &sender));
                begun.map_err(|error| Error::Internal(format!("no thread could be started: {error}")))?;
                Ok(receiver)
            };
            let receivers = (0..n_workers).map(start).collect::<Result<Vec<_>>>()?;
            let mut in_order = (0..self.groups.len()).map_while(|group| receivers[group % n_workers].recv().ok());
            consume(&mut in_order)
        })
    }

    fn work(&self, worker: usize, n_workers: usize, sender: &SyncSender<Group>) {
        for rows in self.groups.iter().skip(worker).step_by(n_workers) {
            let group = self.encode(rows.clone());
            let failed = group.is_err();
            // Nobody listens where writing has failed.
            if sender.send(group).is_err() || failed {
                return;
            }
        }
    }

    fn encode(&self, rows: Range<usize>) -> Group {
        let schema = self.accounts.schema();
        let mut writers = self.factory.create_column_writers(0).map_err(encode_error)?;
        for first in rows.clone().step_by(BATCH_ROWS) {
            if self.observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let batch = self.accounts.batch(first..rows.end.min(first + BATCH_ROWS));
            for ((writer, field), array) in writers.iter_mut().zip(schema.fields()).zip(batch.columns()) {
                for leaf in compute_leaves(field, array).map_err(encode_error)? {
                    writer.write(&leaf).map_err(encode_error)?;
                }
            }
        }
        writers
            .into_iter()
            .map(|writer| writer.close().map_err(encode_error))
            .collect()
    }
}

/// The files being written.
struct Table<'t> {
    accounts: &'t Accounts,
    properties: &'t WriterProperties,
    groups: &'t mut dyn Iterator<Item = Group>,
    observer: &'t dyn Observer,
    written: Written,
}

impl Table<'_> {
    /// Writes one file of the next `n_groups` row groups.
    fn write(&mut self, out: &mut OutFile, n_groups: usize) -> Result<()> {
        let path: PathBuf = out.path().to_owned();
        let (mut writer, _) = begin(&mut *out, self.accounts, self.properties).map_err(write_error(&path))?;
        for _ in 0..n_groups {
            let columns = self.groups.next();
            let columns = columns.ok_or_else(|| Error::Internal("a thread that makes rows ended early".into()))??;
            self.written.n_rows += write_group(&mut writer, columns).map_err(write_error(&path))?;
            self.written.n_row_groups += 1;
            self.tell()?;
        }
        writer.finish().map_err(write_error(&path))?;
        self.written.n_files += 1;
        self.written.bytes += writer.bytes_written() as u64;
        Ok(())
    }

    fn tell(&self) -> Result<()> {
        let (done, of) = (self.written.n_rows, self.accounts.n_rows());
        self.observer.event(Event::Rows { done, of });
        if self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        Ok(())
    }
}

/// Appends a row group; its rows.
fn write_group<W: io::Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    columns: Vec<ArrowColumnChunk>,
) -> std::result::Result<usize, ParquetError> {
    let mut group = writer.next_row_group()?;
    for column in columns {
        column.append_to_row_group(&mut group)?;
    }
    Ok(group.close()?.num_rows() as usize)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::array::RecordBatch;
    use arrow::compute::concat_batches;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;
    use crate::data::FileSource;
    use crate::workload::Workload;

    const N_ROWS: usize = 50_000;

    fn accounts() -> Accounts {
        let workload = Workload {
            missing: 0.1,
            categorical: 1,
            ..Workload::new(N_ROWS, 3, 4)
        };
        workload.build().unwrap()
    }

    fn options(threads: usize, group_rows: usize) -> AccountsOptions {
        AccountsOptions {
            codec: Compression::SNAPPY,
            group_rows: Some(group_rows),
            overwrite: false,
            threads,
        }
    }

    fn read(files: &[PathBuf]) -> RecordBatch {
        let source = FileSource::open(files, 1).unwrap();
        let mut batches = Vec::new();
        let mut push = |_, batch: &RecordBatch| {
            batches.push(batch.clone());
            Ok(())
        };
        source.scan(&[0, 1, 2, 3, 4, 5], &mut push).unwrap();
        concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    fn parts(folder: &Path) -> Vec<PathBuf> {
        let mut parts: Vec<PathBuf> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        parts.sort();
        parts
    }

    #[test]
    fn the_bytes_depend_neither_on_threads_nor_the_rows_on_the_split() {
        let (accounts, folder) = (accounts(), tempfile::tempdir().unwrap());
        let file = |name: &str| folder.path().join(name);
        for threads in [1, 3] {
            let out = AccountsOut::File(file(&format!("{threads}.parquet")));
            let written = write_accounts(&accounts, &out, &options(threads, 7000), &()).unwrap();
            let bytes = fs::metadata(file(&format!("{threads}.parquet"))).unwrap().len();
            let expected = Written {
                n_rows: N_ROWS,
                n_files: 1,
                n_row_groups: 8,
                bytes,
            };
            assert_eq!(written, expected);
        }
        assert!(fs::read(file("1.parquet")).unwrap() == fs::read(file("3.parquet")).unwrap());
        let all = AccountsOut::Folder(file("parts"), 7);
        let written = write_accounts(&accounts, &all, &options(3, 3000), &()).unwrap();
        assert_eq!((written.n_files, written.n_row_groups), (7, 21));
        let expected = accounts.batch(0..N_ROWS);
        let same = |found: RecordBatch| found.num_rows() == N_ROWS && found.columns() == expected.columns();
        assert!(same(read(&[file("1.parquet")])));
        assert!(same(read(&parts(&file("parts")))));
        let first = SerializedFileReader::new(fs::File::open(file("1.parquet")).unwrap()).unwrap();
        let sizes: Vec<i64> = first
            .metadata()
            .row_groups()
            .iter()
            .map(|group| group.num_rows())
            .collect();
        assert_eq!(sizes, [7000, 7000, 7000, 7000, 7000, 7000, 7000, 1000]);
    }

    /// Asks to stop after some events.
    struct StopsAfter(AtomicUsize);

    impl Observer for StopsAfter {
        fn event(&self, _: Event) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }

        fn interrupted(&self) -> bool {
            self.0.load(Ordering::SeqCst) == 0
        }
    }

    #[test]
    fn an_interrupted_table_leaves_nothing() {
        let (accounts, folder) = (accounts(), tempfile::tempdir().unwrap());
        let path = folder.path().join("out");
        for out in [AccountsOut::File(path.clone()), AccountsOut::Folder(path, 5)] {
            for n_events in [0, 1, 4] {
                let observer = StopsAfter(AtomicUsize::new(n_events));
                let result = write_accounts(&accounts, &out, &options(2, 5000), &observer);
                assert!(matches!(result, Err(Error::Interrupted)));
                assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
            }
        }
    }

    #[test]
    fn numbers_that_cannot_be_are_refused_by_name() {
        let (accounts, folder) = (accounts(), tempfile::tempdir().unwrap());
        let path = folder.path().join("out");
        let refused = |out: AccountsOut, options: AccountsOptions| match write_accounts(&accounts, &out, &options, &())
        {
            Err(Error::InvalidParam { param, .. }) => param,
            other => panic!("{other:?}"),
        };
        for n_files in [0, N_ROWS + 1, MAX_FILES + 1] {
            assert_eq!(
                refused(AccountsOut::Folder(path.clone(), n_files), options(1, 1000)),
                "n_files"
            );
        }
        let file = || AccountsOut::File(path.clone());
        for group_rows in [0, 1, MAX_GROUP_ROWS + 1] {
            assert_eq!(refused(file(), options(1, group_rows)), "group_rows");
        }
        assert_eq!(refused(file(), options(0, 1000)), "threads");
        let large = Workload::new(1 << 40, 1, 1).build().unwrap();
        let groups = AccountsOptions {
            group_rows: None,
            ..options(1, 1)
        };
        let files = files(&large, &AccountsOut::Folder(path.clone(), 10), &groups).unwrap();
        assert!(files.iter().all(|groups| groups.len() <= MAX_GROUPS));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
