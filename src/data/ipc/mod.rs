//! Arrow IPC files (Feather) and streams: runs of record batches are the pieces.

mod frame;

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Fields};
use arrow::ipc::reader::FileDecoder;
use arrow::ipc::{Block, root_as_message};

use self::frame::{BatchFrame, Frame, Frames};
use super::decode::MAX_BATCH_ROWS;
use super::file::{FileBytes, Input, path_text, refused};
use super::gate::check_rows;
use super::guard::guarded;
use super::limits::available_memory;
use super::lists::item_type;
use super::part::{Part, Take};
use crate::error::{Error, Result, escape};

pub(crate) use self::frame::{CONTINUATION, MAGIC};

/// Rows and bytes of a piece that no more batches are added to.
const PIECE_ROWS: usize = 1 << 16;
const PIECE_BYTES: u64 = 16 << 20;

/// An Arrow IPC file or stream as a part of a table.
pub(crate) struct IpcPart {
    input: Input,
    frames: Frames,
    /// Whether it is a file, whose dictionaries may stand anywhere.
    is_file: bool,
    /// Where the batches of each piece begin, and the number of batches.
    starts: Vec<usize>,
    /// The last decoder: pieces of a scan share their dictionaries.
    decoder: Mutex<Option<(DecoderKey, Arc<FileDecoder>)>>,
}

/// What decoders differ in: the columns, and the dictionaries before a batch.
type DecoderKey = (Vec<usize>, usize);

/// Why a batch cannot be decoded.
enum Stop {
    Broken(String),
    NoMemory(u64),
}

impl From<String> for Stop {
    fn from(problem: String) -> Self {
        Self::Broken(problem)
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(problem) => f.write_str(problem),
            Self::NoMemory(bytes) => write!(f, "needs {bytes} bytes of memory"),
        }
    }
}

impl IpcPart {
    /// Finds the batches of a file or stream.
    ///
    /// # Errors
    /// [`Error::FileRefused`] for what is damaged, cut short or makes no sense.
    pub(crate) fn open(input: Input, source: &FileBytes, is_file: bool) -> Result<Self> {
        let frames = frame::find(source, is_file).map_err(|problem| refused(&input.path, problem))?;
        let mut sum = 0i64;
        for batch in &frames.batches {
            let rows = i64::try_from(batch.n_rows).ok();
            let next = rows.and_then(|rows| sum.checked_add(rows));
            sum = next.ok_or_else(|| refused(&input.path, "declares more rows than can be counted"))?;
        }
        check_rows(&input.path, sum, source.bytes())?;
        let starts = piece_starts(&frames.batches);
        input.unchanged()?;
        Ok(Self {
            input,
            frames,
            is_file,
            starts,
            decoder: Mutex::new(None),
        })
    }

    fn batches(&self, piece: usize) -> &[BatchFrame] {
        &self.frames.batches[self.starts[piece]..self.starts[piece + 1]]
    }

    /// A decoder for columns of a batch, with the dictionaries that they need.
    fn decoder(&self, source: &FileBytes, batch: &BatchFrame, columns: &[usize]) -> Result<Arc<FileDecoder>, Stop> {
        let n = match self.is_file {
            true => self.frames.dictionaries.len(),
            false => batch.n_dictionaries,
        };
        let key = (columns.to_vec(), n);
        let mut last = self.decoder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, decoder)) = &*last
            && *of == key
        {
            return Ok(Arc::clone(decoder));
        }
        let schema = &self.frames.schema;
        let projected = schema.project(columns).map_err(|error| error.to_string())?;
        let dictionaries = &self.frames.dictionaries[..n];
        let mut decoder = FileDecoder::new(Arc::clone(schema), self.frames.version).with_projection(columns.to_vec());
        for (at, dictionary) in dictionaries.iter().enumerate() {
            #[expect(
                deprecated,
                reason = "ids are how messages refer to dictionaries; there is no other way"
            )]
            let is_needed = !projected.fields_with_dict_id(dictionary.id).is_empty();
            let is_replaced =
                { dictionaries[at + 1..].iter() }.any(|later| later.id == dictionary.id && !later.is_delta);
            if is_needed && !is_replaced {
                let (block, bytes) = self.block(source, dictionary.frame, None)?;
                decoder
                    .read_dictionary(&block, &bytes)
                    .map_err(|error| error.to_string())?;
            }
        }
        let decoder = Arc::new(decoder);
        *last = Some((key, Arc::clone(&decoder)));
        Ok(decoder)
    }

    /// The bytes of a message, once it is known that there is room for them and for what they are decompressed to;
    /// of all its columns where none are given.
    fn block(&self, source: &FileBytes, frame: Frame, columns: Option<&[usize]>) -> Result<(Block, Buffer), Stop> {
        let check = |bytes: u64| {
            if bytes > available_memory() / 2 {
                return Err(Stop::NoMemory(bytes));
            }
            Ok(())
        };
        let len = (frame.metadata as u64).saturating_add(frame.body);
        check(len)?;
        let bytes = source
            .exactly(frame.offset, len as usize)
            .map_err(|error| error.to_string())?;
        let message = root_as_message(&bytes[8..frame.metadata]).map_err(|_| "it is damaged".to_owned())?;
        let body = &bytes[frame.metadata..];
        let fields = self.frames.schema.fields();
        match (
            columns,
            message.header_as_record_batch(),
            message.header_as_dictionary_batch(),
        ) {
            (Some(columns), Some(batch), _) => check(frame::decompressed(&batch, fields, columns, body)?)?,
            (None, _, Some(dictionary)) => {
                let batch = dictionary.data().ok_or_else(|| "it is empty".to_owned())?;
                let values = dictionary_values(fields, dictionary.id()).ok_or_else(|| "no column has it".to_owned())?;
                let field = Arc::new(arrow::datatypes::Field::new("", values, true));
                check(frame::decompressed(&batch, &[field], &[0], body)?)?;
            }
            _ => return Err(Stop::Broken("it is not what it was".into())),
        }
        let (metadata, body) = (frame.metadata as i32, frame.body as i64);
        Ok((Block::new(0, metadata, body), Buffer::from_vec(bytes)))
    }

    fn decode(&self, source: &FileBytes, batch: &BatchFrame, columns: &[usize]) -> Result<Vec<ArrayRef>, Stop> {
        let decoder = self.decoder(source, batch, columns)?;
        let (block, bytes) = self.block(source, batch.frame, Some(columns))?;
        let decoded = decoder
            .read_record_batch(&block, &bytes)
            .map_err(|error| error.to_string())?;
        let decoded = decoded.ok_or_else(|| "it is empty".to_owned())?;
        if decoded.num_rows() != batch.n_rows {
            let problem = format!("{} rows decoded, {} declared", decoded.num_rows(), batch.n_rows);
            return Err(Stop::Broken(problem));
        }
        Ok(decoded.columns().to_vec())
    }

    /// The error of a batch, with the column where one alone fails too.
    fn blame(&self, source: &FileBytes, at: usize, columns: &[usize], problem: &str) -> Error {
        let batch = &self.frames.batches[at];
        let alone = { columns.iter() }.find_map(|&column| {
            let problem = guarded(|| self.decode(source, batch, &[column])).err()?;
            Some((self.frames.schema.field(column).name().clone(), problem))
        });
        let (column, problem) = match alone {
            Some((column, problem)) => (Some(column), problem),
            None => (None, problem.to_owned()),
        };
        Error::Corrupt {
            path: self.input.path.clone(),
            row_group: None,
            column,
            reason: format!("record batch {at}: {problem}"),
        }
    }

    /// Decodes a batch, whatever its bytes are.
    fn decode_guarded(&self, source: &FileBytes, at: usize, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let mut no_memory = None;
        let decoded = guarded(|| {
            self.decode(source, &self.frames.batches[at], columns)
                .inspect_err(|stop| {
                    no_memory = match stop {
                        Stop::NoMemory(bytes) => Some(*bytes),
                        Stop::Broken(_) => None,
                    }
                })
        });
        decoded.map_err(|problem| match (self.input.unchanged(), no_memory) {
            (Err(changed), _) => changed,
            (Ok(()), Some(bytes)) => Error::OutOfMemory {
                what: format!("record batch {at} of {}", escape(&path_text(&self.input.path))),
                bytes,
            },
            (Ok(()), None) => self.blame(source, at, columns, &problem),
        })
    }
}

/// The type of the entries of a dictionary.
fn dictionary_values(fields: &Fields, id: i64) -> Option<DataType> {
    let schema = arrow::datatypes::Schema::new(fields.clone());
    #[expect(
        deprecated,
        reason = "ids are how messages refer to dictionaries; there is no other way"
    )]
    let users = schema.fields_with_dict_id(id);
    match users.first()?.data_type() {
        DataType::Dictionary(_, values) => Some((**values).clone()),
        _ => None,
    }
}

/// Where pieces begin: small batches go together, as long as no dictionary changes between them.
fn piece_starts(batches: &[BatchFrame]) -> Vec<usize> {
    let mut starts = Vec::new();
    let (mut rows, mut bytes, mut n_dictionaries) = (0usize, 0u64, 0);
    for (at, batch) in batches.iter().enumerate() {
        if at == 0 || rows >= PIECE_ROWS || bytes >= PIECE_BYTES || batch.n_dictionaries != n_dictionaries {
            starts.push(at);
            (rows, bytes, n_dictionaries) = (0, 0, batch.n_dictionaries);
        }
        rows += batch.n_rows;
        bytes += batch.frame.body;
    }
    starts.push(batches.len());
    starts
}

/// Whether values of a type are read: not nested, but for lists of numbers.
fn is_flat(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_flat(values),
        DataType::RunEndEncoded(_, values) => is_flat(values.data_type()),
        other => !other.is_nested() || item_type(other).is_some(),
    }
}

impl Part for IpcPart {
    fn input(&self) -> &Input {
        &self.input
    }

    fn fields(&self) -> &Fields {
        self.frames.schema.fields()
    }

    fn n_pieces(&self) -> usize {
        self.starts.len() - 1
    }

    fn n_rows(&self, piece: usize) -> usize {
        self.batches(piece).iter().map(|batch| batch.n_rows).sum()
    }

    fn is_readable(&self, column: usize) -> bool {
        is_flat(self.frames.schema.field(column).data_type())
    }

    fn read(&self, piece: usize, columns: &[usize], _room: u64, take: &mut Take<'_>) -> Result<()> {
        let source = self.input.reopen()?;
        for at in self.starts[piece]..self.starts[piece + 1] {
            let arrays = self.decode_guarded(&source, at, columns)?;
            let n_rows = self.frames.batches[at].n_rows;
            for first in (0..n_rows).step_by(MAX_BATCH_ROWS) {
                let rows = MAX_BATCH_ROWS.min(n_rows - first);
                let slices = arrays.iter().map(|array| array.slice(first, rows)).collect();
                if !take(rows, slices) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{BatchSource, FileSource};
    use arrow::array::{
        Array, AsArray, DictionaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray,
    };
    use arrow::datatypes::{Int32Type, Int64Type, Schema, SchemaRef};
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::{DictionaryHandling, FileWriter, IpcWriteOptions, StreamWriter};

    /// Rows `from..to`, with a dictionary of those rows alone.
    fn rows(from: i64, to: i64) -> RecordBatch {
        let ids = Int64Array::from_iter_values(from..to);
        let names: Vec<String> = (from..to).map(|i| format!("name {i}")).collect();
        let keys: Int32Array = (0..(to - from) as i32).map(|i| (i % 5 != 0).then_some(i)).collect();
        let words = DictionaryArray::new(keys, Arc::new(StringArray::from(names.clone())));
        let lists =
            ListArray::from_iter_primitive::<Int32Type, _, _>((from..to).map(|i| Some(vec![Some(i as i32); 2])));
        RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(ids) as ArrayRef, false),
            ("word", Arc::new(words) as ArrayRef, true),
            ("list", Arc::new(lists) as ArrayRef, true),
            (
                "view",
                Arc::new(StringViewArray::from_iter_values(names)) as ArrayRef,
                true,
            ),
        ])
        .unwrap()
    }

    fn file(batches: &[RecordBatch], codec: Option<CompressionType>) -> Vec<u8> {
        let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
        // One dictionary for all batches, as a file has.
        let options = options.with_dictionary_handling(DictionaryHandling::Delta);
        let mut writer = FileWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
        writer.into_inner().unwrap()
    }

    fn stream(batches: &[RecordBatch]) -> Vec<u8> {
        let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
        writer.into_inner().unwrap()
    }

    fn read(bytes: &[u8], columns: &[usize]) -> Result<Vec<RecordBatch>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        std::fs::write(&path, bytes).unwrap();
        let source = FileSource::open(&[path], 2)?;
        let n_columns = source.schema().fields().len();
        if columns.iter().any(|&column| column >= n_columns) {
            return Ok(Vec::new());
        }
        let mut batches = Vec::new();
        source.scan(columns, &mut |_, batch| {
            batches.push(batch.clone());
            Ok(())
        })?;
        assert_eq!(
            batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
            source.n_rows()
        );
        Ok(batches)
    }

    /// Ids and words of all rows.
    fn cells(batches: &[RecordBatch]) -> Vec<(i64, Option<String>, String)> {
        let of = |batch: &RecordBatch| {
            let ids = batch.column(0).as_primitive::<Int64Type>().clone();
            let words = arrow::compute::cast(batch.column(1), &DataType::Utf8).unwrap();
            let views = batch.column(2).as_string_view().clone();
            (0..batch.num_rows())
                .map(|row| {
                    let word = words
                        .is_valid(row)
                        .then(|| words.as_string::<i32>().value(row).to_owned());
                    (ids.value(row), word, views.value(row).to_owned())
                })
                .collect::<Vec<_>>()
        };
        batches.iter().flat_map(of).collect()
    }

    fn expected(n: i64) -> Vec<(i64, Option<String>, String)> {
        // Batches of 100 rows, in each of which every fifth word is missing.
        let word = |i: i64| (i % 100 % 5 != 0).then(|| format!("name {i}"));
        (0..n).map(|i| (i, word(i), format!("name {i}"))).collect()
    }

    fn batches(n: i64) -> Vec<RecordBatch> {
        (0..n / 100).map(|i| rows(100 * i, 100 * (i + 1))).collect()
    }

    /// Batches of one dictionary, which files have, and of a new one each, which streams may have.
    #[test]
    fn files_and_streams_give_their_rows() {
        let one = [rows(0, 100)];
        for codec in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            let found = read(&file(&one, codec), &[0, 1, 3]).unwrap();
            assert_eq!(cells(&found), expected(100), "{codec:?}");
        }
        let found = read(&stream(&batches(1000)), &[0, 1, 3]).unwrap();
        assert_eq!(cells(&found), expected(1000));
        let twice = read(&stream(&batches(300)), &[3, 0, 3]).unwrap();
        assert_eq!(twice[0].column(0), twice[0].column(2));
        assert_eq!(twice[0].column(1).as_primitive::<Int64Type>().value(7), 7);
        let lists = read(&file(&one, None), &[2]).unwrap();
        assert_eq!(lists[0].column(0), one[0].column(2));
        let large = [rows(0, 40_000)];
        let found = read(&file(&large, None), &[0, 1]).unwrap();
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_file_or_stream_that_is_cut_anywhere_is_refused() {
        let few = [rows(0, 3), rows(3, 5)];
        for bytes in [stream(&few), file(&few[..1], Some(CompressionType::LZ4_FRAME))] {
            assert!(read(&bytes, &[0, 1, 3]).is_ok());
            for len in (0..bytes.len() - 8).step_by(7) {
                let found = read(&bytes[..len], &[0, 1, 3]);
                assert!(matches!(found, Err(Error::FileRefused { .. })), "{len}: {found:?}");
            }
        }
    }

    /// Every third byte changed, one by one: never a panic, and never other rows than declared.
    #[test]
    fn damage_is_an_error_or_passes_unseen() {
        let few = [rows(0, 9)];
        let mut n_errors = 0;
        for bytes in [stream(&few), file(&few, Some(CompressionType::ZSTD))] {
            for at in (0..bytes.len()).step_by(3) {
                let mut damaged = bytes.clone();
                damaged[at] ^= [0xff, 0x01, 0x80][at % 7 % 3];
                match read(&damaged, &[0, 1, 3]) {
                    Ok(found) => drop(found),
                    Err(Error::Internal(problem)) => panic!("byte {at}: {problem}"),
                    Err(_) => n_errors += 1,
                }
            }
        }
        assert!(n_errors > 100, "{n_errors}");
    }

    #[test]
    fn sizes_are_checked_before_room_is_made() {
        let table = [rows(0, 2000)];
        let bytes = file(&table, Some(CompressionType::ZSTD));
        // The declared sizes of compressed buffers: 16,000 bytes of ids.
        let size = 16_000i64.to_le_bytes();
        let at = bytes.windows(8).position(|window| window == size).unwrap();
        let with = |declared: i64| {
            let mut bytes = bytes.clone();
            bytes[at..at + 8].copy_from_slice(&declared.to_le_bytes());
            read(&bytes, &[0]).unwrap_err()
        };
        assert!(matches!(with(1 << 60), Error::OutOfMemory { .. }));
        assert!(matches!(with(-2), Error::Corrupt { column: Some(column), .. } if column == "id"));
        assert!(matches!(with(15_999), Error::Corrupt { column: Some(column), .. } if column == "id"));
    }

    #[test]
    fn what_is_no_arrow_file_is_refused() {
        let refusal = |bytes: &[u8]| read(bytes, &[0]).unwrap_err().to_string();
        assert!(refusal(b"").ends_with("is empty"));
        assert!(refusal(b"id,x\n1,2\n").contains("is not an Arrow file"));
        assert!(refusal(b"FEA1....").contains("first version of Feather"));
        let wide = Schema::new(
            (0..70_000)
                .map(|i| arrow::datatypes::Field::new(format!("c{i}"), DataType::Null, true))
                .collect::<Vec<_>>(),
        );
        let wide: SchemaRef = Arc::new(wide);
        let bytes = stream(&[RecordBatch::new_empty(wide)]);
        assert!(refusal(&bytes).contains("it has 70000 columns, more than 65536"));
    }
}
