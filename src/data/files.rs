//! Files of any format as one table: pieces of them are decoded ahead by a few threads and handed on in row order.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};

use super::decode::MAX_BATCH_ROWS;
use super::filter::{Bounds, ComparedValue};
use super::fingerprint::InputFile;
use super::guard::guarded_read;
use super::ids::{keys_and_nulls, repeated_rows};
use super::limits::available_memory;
use super::options::{DuplicateIds, NullIds, SourceOptions};
use super::part::Part;
use super::schema::{Columns, Matched, Origin, match_columns, repeated, type_name, widen};
use super::select::Selection;
use super::slab::{ConsumeSlab, Slab, is_keyed, on_threads, written_out};
use super::{BatchSource, Consume, format, hive};
use crate::error::{Error, Result};

/// Batches that a thread may be ahead of the consumer.
const BATCHES_AHEAD: usize = 2;
/// Pieces, or shares of their columns, that there should be for each thread, so that none waits long for the last.
const JOBS_PER_THREAD: usize = 4;
/// Smallest and largest room for one page or one batch's strings.
const MIN_ROOM: u64 = 64 << 20;
const MAX_ROOM: u64 = 1 << 31;
/// A file that declares more values than fit in memory, and more than this many times its own bytes, is no data.
const MAX_EXPANSION: u64 = 1000;

/// One or more files with the same columns, read as one table.
///
/// Rows come in order of the files, then as they stand there. The columns are those of the first file, by name; the
/// others may have them in another order and in types that can be widened to one.
pub struct FileSource {
    parts: Vec<Box<dyn Part>>,
    /// For each part, where its values for each column come from.
    origins: Vec<Vec<Origin>>,
    /// First row of each part, and the number of all rows.
    starts: Vec<usize>,
    schema: SchemaRef,
    threads: usize,
    options: SourceOptions,
    /// The rows that are kept; all where there is none.
    selection: Option<Selection>,
    kept: RowsKept,
    /// Rows that have each of the values that the filter compares columns with.
    value_counts: Vec<u64>,
    /// What the files are, once that was asked for: each is read as a whole for it.
    fingerprints: OnceLock<Vec<InputFile>>,
}

/// What became of the rows of files before anything else was done with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowsKept {
    /// Rows in the files.
    pub n_rows: usize,
    /// Rows that the filter keeps.
    pub n_wanted: usize,
    /// Pieces of the files (row groups, runs of record batches), and how many of them the filter did not read.
    pub n_pieces: usize,
    /// Pieces whose statistics said that no row of them is wanted.
    pub n_passed_over: usize,
    /// Rows that were left out for having no id.
    pub n_without_id: usize,
    /// Rows that were left out for having the id of an earlier row.
    pub n_repeated: usize,
}

impl FileSource {
    /// Opens files with the default options; at most `threads` threads will decode.
    ///
    /// # Errors
    /// Those of [`FileSource::open_with`].
    pub fn open(paths: &[PathBuf], threads: usize) -> Result<Self> {
        Self::open_with(paths, threads, SourceOptions::default())
    }

    /// Opens files and checks what they declare and that they belong together. CSV files are read once, for their
    /// types. The path `-` is stdin, which is copied to a file without a name.
    ///
    /// # Errors
    /// [`Error::FileRefused`], [`Error::Corrupt`], [`Error::SchemaMismatch`], [`Error::OutOfMemory`], and those of
    /// opening a file; [`Error::NoFiles`] without any.
    pub fn open_with(paths: &[PathBuf], threads: usize, options: SourceOptions) -> Result<Self> {
        let threads = threads.max(1);
        let parts = format::open_parts(paths, threads, &options)?;
        if parts.is_empty() {
            let pattern = String::new();
            return Err(Error::NoFiles { pattern });
        }
        let mut starts = vec![0usize];
        for part in &parts {
            let rows = (0..part.n_pieces()).map(|piece| part.n_rows(piece));
            let start = starts.last().copied().unwrap_or(0);
            let next = { rows }.try_fold(start, usize::checked_add);
            let path = &part.input().path;
            starts.push(next.ok_or_else(|| super::file::refused(path, "declares more rows than can be counted"))?);
        }
        let files: Vec<Columns<'_>> = { parts.iter() }
            .map(|part| Columns {
                path: &part.input().path,
                fields: part.fields(),
            })
            .collect();
        let paths: Vec<_> = files.iter().map(|file| file.path).collect();
        let partitions = hive::partitions(&paths, options.partitions.as_deref())?;
        let n_rows = starts.last().copied().unwrap_or(0);
        let n_pieces = parts.iter().map(|part| part.n_pieces()).sum();
        let names = partitions.iter().map(|partition| partition.name.clone()).collect();
        let Matched { schema, origins } = match_columns(&files, partitions, options.absent_columns)?;
        let mut source = Self {
            parts,
            origins,
            starts,
            schema,
            threads,
            options: SourceOptions {
                partitions: Some(names),
                ..options
            },
            selection: None,
            value_counts: Vec::new(),
            fingerprints: OnceLock::new(),
            kept: RowsKept {
                n_rows,
                n_wanted: n_rows,
                n_pieces,
                ..RowsKept::default()
            },
        };
        source.select_wanted()?;
        source.select_ids()?;
        Ok(source)
    }

    /// The filter as it may be written down, where there is one: `?` stands for values of which `is_private` says so.
    #[must_use]
    pub fn recorded_filter(&self, is_private: &dyn Fn(&ComparedValue<'_>) -> bool) -> Option<String> {
        let filter = self.options.filter.as_ref()?;
        Some(filter.recorded(&self.value_counts, is_private))
    }

    /// Rows of each file that are kept.
    #[must_use]
    pub fn rows_of_files(&self) -> Vec<usize> {
        let ends = self.starts.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
        let kept = |(start, n_rows)| match &self.selection {
            Some(selection) => selection.slice(start, n_rows).count_set_bits(),
            None => n_rows,
        };
        ends.map(kept).collect()
    }

    /// What was left out of the files.
    #[must_use]
    pub fn kept(&self) -> RowsKept {
        self.kept
    }

    /// Keeps the rows that the filter wants; pieces that hold none, as their statistics say, are not read.
    fn select_wanted(&mut self) -> Result<()> {
        let Some(filter) = &self.options.filter else {
            return Ok(());
        };
        let bound = filter.bind(&self.schema)?;
        let schema = self.projected(bound.columns())?;
        self.check_plausible(bound.columns())?;
        let tasks = self.tasks(bound.columns(), &schema, None);
        let (wanted, passed_over): (Vec<Task<'_>>, Vec<_>) = { tasks.into_iter() }
            .partition(|task| bound.may_hold(task.part.n_rows(task.piece) as u64, &|column| task.bounds(column)));
        let mut kept = BooleanBufferBuilder::new(self.kept.n_rows);
        kept.append_n(self.kept.n_rows, false);
        let mut value_counts = Vec::new();
        self.run(&wanted, &mut |task, before, batch| {
            self.options.check_stop()?;
            bound.count(batch, &mut value_counts)?;
            let mask = bound.ask(batch)?;
            let rows = mask.values().set_indices().filter(|&row| mask.is_valid(row));
            rows.for_each(|row| kept.set_bit(task.first_row + before + row, true));
            Ok(())
        })?;
        let n_passed_over = passed_over.len();
        let selection = Selection::new(kept.finish());
        let n_wanted = selection.n_kept();
        let n_rows = self.kept.n_rows;
        if n_wanted == 0 && n_rows > 0 {
            return Err(Error::NoRowsKept { n_rows });
        }
        self.kept = RowsKept {
            n_wanted,
            n_passed_over,
            ..self.kept
        };
        (self.selection, self.value_counts) = (Some(selection), value_counts);
        Ok(())
    }

    /// Leaves out rows for their ids, as the options say.
    fn select_ids(&mut self) -> Result<()> {
        let drops_nulls = self.options.null_ids == NullIds::Drop;
        let keeps_first = self.options.duplicate_ids == DuplicateIds::First;
        let names = self.options.ids.clone();
        if names.is_empty() || !(drops_nulls || keeps_first) {
            return Ok(());
        }
        let place = |name: &String| {
            self.schema.index_of(name).map_err(|_| Error::ColumnNotFound {
                column: name.clone(),
                available: self.schema.fields().iter().map(|field| field.name().clone()).collect(),
            })
        };
        let columns: Vec<usize> = names.iter().map(place).collect::<Result<_>>()?;
        if drops_nulls {
            let null_rows = keys_and_nulls(self, &columns, &names)?.null_rows;
            self.kept.n_without_id = null_rows.len();
            self.leave_out(&null_rows);
        }
        let keys = keeps_first
            .then(|| keys_and_nulls(self, &columns, &names))
            .transpose()?;
        // Rows without an id do not repeat one: where they are not left out, all of them are told of later.
        if let Some(keys) = keys.filter(|keys| keys.null_rows.is_empty()) {
            let repeated = repeated_rows(&keys)?;
            self.kept.n_repeated = repeated.len();
            self.leave_out(&repeated);
        }
        Ok(())
    }

    /// Leaves out rows, by their numbers among those kept so far, in order.
    fn leave_out(&mut self, rows: &[usize]) {
        if rows.is_empty() {
            return;
        }
        let mut rows = rows.iter().copied().peekable();
        let keeps = |nth: usize| rows.next_if_eq(&nth).is_none();
        let all = || Selection::new(BooleanBuffer::new_set(self.kept.n_rows));
        self.selection = Some(self.selection.take().unwrap_or_else(all).and(keeps));
    }

    /// Every piece, and what is wanted of it; those of which no row is kept are left out.
    fn tasks<'a>(
        &'a self,
        columns: &[usize],
        schema: &'a SchemaRef,
        selection: Option<&'a Selection>,
    ) -> Vec<Task<'a>> {
        let room = self.room();
        let mut tasks = Vec::new();
        let mut first_row = 0;
        for (part, origins) in self.parts.iter().zip(&self.origins) {
            for piece in 0..part.n_pieces() {
                let n_rows = part.n_rows(piece);
                let kept = selection.map(|selection| selection.slice(first_row, n_rows));
                let n_kept = kept.as_ref().map_or(n_rows, BooleanBuffer::count_set_bits);
                if n_kept > 0 || selection.is_none() {
                    tasks.push(Task {
                        part: &**part,
                        piece,
                        first_row,
                        kept: kept.filter(|_| n_kept < n_rows),
                        n_kept,
                        origins: columns.iter().map(|&column| &origins[column]).collect(),
                        schema,
                        room,
                    });
                }
                first_row += n_rows;
            }
        }
        tasks
    }

    /// The columns in shares that are read apart, so that few pieces keep all threads busy: the place of the first of
    /// each share, its columns, and what they look like.
    fn column_shares<'c>(&self, columns: &'c [usize], threads: usize) -> Result<Vec<(usize, &'c [usize], SchemaRef)>> {
        let n_pieces: usize = self.parts.iter().map(|part| part.n_pieces()).sum();
        let apart = self.parts.iter().all(|part| part.has_columns_apart());
        let n_shares = if apart && threads > 1 {
            (JOBS_PER_THREAD * threads).div_ceil(n_pieces.max(1))
        } else {
            1
        };
        let of_share = columns.len().div_ceil(n_shares).max(1);
        let shares = columns.chunks(of_share).enumerate();
        shares
            .map(|(at, share)| Ok((at * of_share, share, self.projected(share)?)))
            .collect()
    }

    /// Runs tasks on threads and hands what they give to `consume` in their order: the task, the rows of it that came
    /// before, and the batch.
    fn run<'a>(
        &self,
        tasks: &[Task<'a>],
        consume: &mut dyn FnMut(&Task<'a>, usize, &RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let threads = self.threads.min(tasks.len());
        std::thread::scope(|scope| -> Result<()> {
            let mut receivers = Vec::with_capacity(threads);
            for i in 0..threads {
                let (out, from) = sync_channel(BATCHES_AHEAD);
                std::thread::Builder::new()
                    .name(format!("kohort-decode-{i}"))
                    .spawn_scoped(scope, move || work(tasks, i, threads, &out))
                    .map_err(Error::io("start a thread for", &self.parts[0].input().path))?;
                receivers.push(from);
            }
            for (i, task) in tasks.iter().enumerate() {
                let rows = drain(&receivers[i % threads], &mut |before, batch| {
                    consume(task, before, batch)
                })?;
                if rows != task.n_kept {
                    return Err(Error::Internal(format!("{rows} rows handed on of {}", task.n_kept)));
                }
            }
            Ok(())
        })?;
        self.parts.iter().try_for_each(|part| part.input().unchanged())
    }

    /// What the files were read with, and the columns that their paths give: the same options give the same table.
    #[must_use]
    pub fn options(&self) -> &SourceOptions {
        &self.options
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.input().bytes).sum()
    }

    /// Path, size, rows and hash of each file, in order.
    ///
    /// # Errors
    /// Those of reading; [`Error::FileChanged`].
    pub fn fingerprints(&self) -> Result<Vec<InputFile>> {
        if let Some(found) = self.fingerprints.get() {
            self.parts.iter().try_for_each(|part| part.input().unchanged())?;
            return Ok(found.clone());
        }
        let rows = self.starts.windows(2).map(|pair| (pair[1] - pair[0]) as u64);
        let parts = self.parts.iter().zip(rows);
        let found: Vec<InputFile> =
            { parts.map(|(part, rows)| InputFile::of(part.input(), rows)) }.collect::<Result<_>>()?;
        Ok(self.fingerprints.get_or_init(|| found).clone())
    }

    /// The columns that a scan can be asked for: neither nested nor of a name that stands twice.
    pub(super) fn readable_columns(&self) -> Vec<usize> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for field in self.schema.fields() {
            *counts.entry(field.name()).or_default() += 1;
        }
        let is_readable = |column: usize| {
            let name = self.schema.field(column).name().as_str();
            let mut parts = self.parts.iter().zip(&self.origins);
            counts[name] == 1
                && parts.all(|(part, origins)| match origins[column] {
                    Origin::Column(place) => part.is_readable(place),
                    Origin::Value(_) | Origin::Absent => true,
                })
        };
        (0..self.schema.fields().len())
            .filter(|&column| is_readable(column))
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
            let nested = |at: usize| match self.origins[at][column] {
                Origin::Column(place) => !self.parts[at].is_readable(place),
                Origin::Value(_) | Origin::Absent => false,
            };
            if (0..self.parts.len()).any(nested) {
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
        let held: u64 = self.parts.iter().map(|part| part.input().bytes).sum();
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

    fn room(&self) -> u64 {
        (available_memory() / (4 * self.threads as u64)).clamp(MIN_ROOM, MAX_ROOM)
    }
}

/// A piece of a part, and what is wanted of it.
struct Task<'a> {
    part: &'a dyn Part,
    piece: usize,
    /// The number of its first row among all rows of the files.
    first_row: usize,
    /// Which of its rows are kept, where not all are; and how many.
    kept: Option<BooleanBuffer>,
    n_kept: usize,
    /// For each column of the batches where its values come from.
    origins: Vec<&'a Origin>,
    /// What the batches look like.
    schema: &'a SchemaRef,
    room: u64,
}

impl Task<'_> {
    fn n_rows(&self) -> usize {
        self.part.n_rows(self.piece)
    }

    /// What is known of the values of a column of the batches.
    fn bounds(&self, column: usize) -> Option<Bounds> {
        match self.origins[column] {
            Origin::Value(value) => Some(Bounds::of_one(value, self.n_rows() as u64)),
            Origin::Absent => Some(Bounds::of_none(self.n_rows() as u64)),
            // Values of another type are in other units.
            Origin::Column(place)
                if self.part.fields()[*place].data_type() == self.schema.field(column).data_type() =>
            {
                self.part.bounds(self.piece, *place)
            }
            Origin::Column(_) => None,
        }
    }

    /// Reads the piece and hands its batches to `take`, until that gives `false`.
    fn run(&self, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<()> {
        let Some(kept) = &self.kept else {
            return self.read(take);
        };
        let (mut row, mut failed) = (0, None);
        self.read(&mut |batch| {
            let mask = BooleanArray::new(kept.slice(row, batch.num_rows()), None);
            row += batch.num_rows();
            match mask.true_count() {
                0 => true,
                _ => match filter_record_batch(&batch, &mask) {
                    Ok(batch) => take(batch),
                    Err(error) => {
                        failed = Some(Error::Internal(error.to_string()));
                        false
                    }
                },
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Reads all rows of the piece.
    fn read(&self, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<()> {
        let places: Vec<usize> = { self.origins.iter() }.filter_map(|origin| origin.place()).collect();
        if places.is_empty() {
            return self.count_rows(take);
        }
        let mut failed = None;
        self.part.read(
            self.piece,
            &places,
            self.room,
            &mut |rows, arrays| match self.batch(rows, arrays) {
                Ok(batch) => take(batch),
                Err(error) => {
                    failed = Some(error);
                    false
                }
            },
        )?;
        failed.map_or(Ok(()), Err)
    }

    /// Batches that need nothing of the file: the rows are those declared.
    fn count_rows(&self, take: &mut dyn FnMut(RecordBatch) -> bool) -> Result<()> {
        let mut left = self.n_rows();
        while left > 0 {
            let rows = left.min(MAX_BATCH_ROWS);
            if !take(self.batch(rows, Vec::new())?) {
                break;
            }
            left -= rows;
        }
        Ok(())
    }

    /// Reads the piece and hands its columns to `take`, texts in the dictionary that they stand in.
    fn run_keyed(&self, take: &mut dyn FnMut(usize, &[ArrayRef]) -> Result<()>) -> Result<()> {
        let places: Vec<usize> = { self.origins.iter() }.filter_map(|origin| origin.place()).collect();
        let (mut row, mut result) = (0, Ok(()));
        let mut hand_on = |rows: usize, arrays: Vec<ArrayRef>| {
            let kept = self
                .kept
                .as_ref()
                .map(|kept| BooleanArray::new(kept.slice(row, rows), None));
            row += rows;
            result = self.columns(rows, arrays).and_then(|mut arrays| {
                let mut n_kept = rows;
                if let Some(kept) = &kept {
                    n_kept = kept.true_count();
                    for array in &mut arrays {
                        *array = filter(array, kept).map_err(|error| Error::Internal(error.to_string()))?;
                    }
                }
                if n_kept == 0 { Ok(()) } else { take(n_kept, &arrays) }
            });
            result.is_ok()
        };
        if places.is_empty() {
            let n_rows = self.n_rows();
            let mut rows = { (0..n_rows).step_by(MAX_BATCH_ROWS) }.map(|first| MAX_BATCH_ROWS.min(n_rows - first));
            rows.all(|rows| hand_on(rows, Vec::new()));
        } else {
            self.part.read_keyed(self.piece, &places, self.room, &mut hand_on)?;
        }
        result
    }

    /// Arrays of the columns that the file has as a batch of the table.
    fn batch(&self, rows: usize, arrays: Vec<ArrayRef>) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(self.schema), self.columns(rows, arrays)?, &options)
            .map_err(|error| Error::Internal(error.to_string()))
    }

    /// Arrays of the columns that the file has as columns of the table, in its types but for dictionaries of texts.
    fn columns(&self, rows: usize, arrays: Vec<ArrayRef>) -> Result<Vec<ArrayRef>> {
        let mut arrays = arrays.iter();
        let mut columns = Vec::with_capacity(self.origins.len());
        for (origin, field) in self.origins.iter().zip(self.schema.fields()) {
            let data_type = field.data_type();
            let column = match origin {
                Origin::Column(place) => match arrays.next() {
                    Some(array) => {
                        let own_type = self.part.fields()[*place].data_type();
                        if own_type == data_type && is_keyed(array, data_type) {
                            Ok(Arc::clone(array))
                        } else {
                            widen(&written_out(array, own_type)?, data_type)
                        }
                    }
                    None => return Err(Error::Internal("a part left out a column".into())),
                },
                Origin::Value(value) => repeated(Some(value), data_type, rows),
                Origin::Absent => repeated(None, data_type, rows),
            };
            columns.push(
                column.map_err(|problem| super::schema::mismatch(&self.part.input().path, field.name(), problem))?,
            );
        }
        Ok(columns)
    }
}

/// What a decoding thread hands on.
enum Message {
    Batch(RecordBatch),
    Done,
    Failed(Error),
}

/// Decodes every `threads`-th piece, from the `first`, until one fails or nobody listens.
fn work(tasks: &[Task<'_>], first: usize, threads: usize, out: &SyncSender<Message>) {
    for task in tasks.iter().skip(first).step_by(threads) {
        let path = &task.part.input().path;
        let result = guarded_read(path, || task.run(&mut |batch| out.send(Message::Batch(batch)).is_ok()));
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

/// Hands the batches of one piece on; the number of its rows.
fn drain(from: &Receiver<Message>, consume: &mut Consume<'_>) -> Result<usize> {
    let mut rows = 0;
    loop {
        match from.recv() {
            Ok(Message::Batch(batch)) => {
                consume(rows, &batch)?;
                rows += batch.num_rows();
            }
            Ok(Message::Done) => return Ok(rows),
            Ok(Message::Failed(error)) => return Err(error),
            // A closed channel is no end of data.
            Err(_) => return Err(Error::Internal("a decoding thread ended early".into())),
        }
    }
}

impl BatchSource for FileSource {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn n_rows(&self) -> usize {
        self.selection.as_ref().map_or(self.kept.n_rows, Selection::n_kept)
    }

    fn scan(&self, columns: &[usize], consume: &mut Consume<'_>) -> Result<()> {
        let schema = self.projected(columns)?;
        self.check_plausible(columns)?;
        let tasks = self.tasks(columns, &schema, self.selection.as_ref());
        let mut row = 0;
        self.run(&tasks, &mut |_, _, batch| {
            consume(row, batch)?;
            row += batch.num_rows();
            Ok(())
        })
    }

    fn scan_slabs(&self, columns: &[usize], workers: usize, consume: &ConsumeSlab<'_>) -> Result<()> {
        self.projected(columns)?;
        self.check_plausible(columns)?;
        let threads = self.threads.min(workers).max(1);
        let shares = self.column_shares(columns, threads)?;
        let mut jobs = Vec::new();
        for (first_column, share, schema) in &shares {
            let mut first_row = 0;
            for task in self.tasks(share, schema, self.selection.as_ref()) {
                let n_kept = task.n_kept;
                jobs.push((first_row, *first_column, task));
                first_row += n_kept;
            }
        }
        // Columns of one row group stand next to each other.
        jobs.sort_by_key(|(first_row, first_column, _)| (*first_row, *first_column));
        on_threads(threads, jobs.len(), &|worker, job| {
            let (first_row, first_column, task) = &jobs[job];
            let mut rows = 0;
            task.run_keyed(&mut |n_rows, arrays| {
                let slab = Slab {
                    worker,
                    first_row: first_row + rows,
                    n_rows,
                    first_column: *first_column,
                    arrays,
                };
                rows += n_rows;
                consume(&slab)
            })?;
            if rows == task.n_kept {
                return Ok(());
            }
            Err(Error::Internal(format!("{rows} rows handed on of {}", task.n_kept)))
        })?;
        self.parts.iter().try_for_each(|part| part.input().unchanged())
    }

    fn duplicate_ids(&self) -> DuplicateIds {
        self.options.duplicate_ids
    }

    fn locate(&self, row: usize) -> (Option<PathBuf>, usize) {
        let row = self.selection.as_ref().map_or(row, |selection| selection.nth(row));
        let part = self.starts.partition_point(|&start| start <= row).saturating_sub(1);
        let part = part.min(self.parts.len() - 1);
        (Some(self.parts[part].input().path.clone()), row - self.starts[part])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_channel_is_not_the_end_of_data() {
        let (out, from) = sync_channel(1);
        out.send(Message::Batch(RecordBatch::new_empty(Arc::new(Schema::empty()))))
            .unwrap();
        drop(out);
        assert!(matches!(drain(&from, &mut |_, _| Ok(())), Err(Error::Internal(_))));
    }
}
