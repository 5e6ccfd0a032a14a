//! The messages of an Arrow IPC file or stream, found and held against the bytes there are before anything is decoded.

use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::{MessageHeader, MetadataVersion, RecordBatch, root_as_footer, root_as_message};
use std::sync::Arc;

use crate::data::file::FileBytes;
use crate::data::guard::guarded;

/// What a message begins with; writers before Arrow 0.15 left it out.
pub(crate) const CONTINUATION: [u8; 4] = [0xff; 4];
/// What a file begins and ends with.
pub(crate) const MAGIC: &[u8; 6] = b"ARROW1";
/// Where the messages of a file begin, at the earliest.
const FILE_START: u64 = 8;
/// Most zero bytes that a file may have before its first message, which some writers align.
const MAX_PADDING: u64 = 64;
/// Most bytes of a message without its body, or of a footer.
const MAX_METADATA: u64 = 64 << 20;
/// Most columns, as of a Parquet file.
const MAX_COLUMNS: usize = 65_536;

/// A message and its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) offset: u64,
    /// Bytes before the body.
    pub(super) metadata: usize,
    pub(super) body: u64,
}

/// A dictionary, or more entries of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct DictionaryFrame {
    pub(super) frame: Frame,
    pub(super) id: i64,
    pub(super) is_delta: bool,
}

/// A record batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchFrame {
    pub(super) frame: Frame,
    pub(super) n_rows: usize,
    /// Dictionaries that come before it.
    pub(super) n_dictionaries: usize,
}

/// Everything that a file or stream holds.
pub(super) struct Frames {
    pub(super) schema: SchemaRef,
    pub(super) version: MetadataVersion,
    pub(super) dictionaries: Vec<DictionaryFrame>,
    pub(super) batches: Vec<BatchFrame>,
}

/// Finds all messages.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn find(source: &FileBytes, is_file: bool) -> Result<Frames, String> {
    let end = if is_file { footer_start(source)? } else { source.bytes() };
    let mut walk = Walk {
        source,
        at: if is_file { file_start(source, end)? } else { 0 },
        end,
        dictionaries: Vec::new(),
        batches: Vec::new(),
    };
    let (schema, version) = walk.schema()?;
    while walk.message()? {}
    let Walk {
        dictionaries, batches, ..
    } = walk;
    if is_file {
        check_footer(source, end, batches.len())?;
    }
    Ok(Frames {
        schema,
        version,
        dictionaries,
        batches,
    })
}

fn exactly(source: &FileBytes, offset: u64, len: u64) -> Result<Vec<u8>, String> {
    let len = usize::try_from(len).map_err(|error| error.to_string())?;
    source.exactly(offset, len).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "is cut short: it ends within a message".into(),
        _ => format!("cannot be read: {error}"),
    })
}

/// Where the first message of a file begins.
fn file_start(source: &FileBytes, end: u64) -> Result<u64, String> {
    let padding = exactly(source, FILE_START, MAX_PADDING.min(end - FILE_START))?;
    let zeros = padding.iter().take_while(|&&byte| byte == 0).count() as u64;
    Ok(FILE_START + zeros)
}

/// Where the footer of a file begins.
fn footer_start(source: &FileBytes) -> Result<u64, String> {
    let len = source.bytes();
    let tail_len = 4 + MAGIC.len() as u64;
    if len < FILE_START + tail_len {
        return Err(format!("is cut short: {len} bytes hold no Arrow file"));
    }
    let tail = exactly(source, len - tail_len, tail_len)?;
    if &tail[4..] != MAGIC {
        return Err("does not end with ARROW1: it is cut short or damaged".into());
    }
    let footer = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if footer == 0 || footer > MAX_METADATA || footer > len - tail_len - FILE_START {
        return Err(format!(
            "declares a footer of {footer} bytes in a file of {len} bytes: it is damaged"
        ));
    }
    Ok(len - tail_len - footer)
}

/// Whether the footer tells of the record batches that are there.
fn check_footer(source: &FileBytes, start: u64, n_batches: usize) -> Result<(), String> {
    let bytes = exactly(source, start, source.bytes() - start - 4 - MAGIC.len() as u64)?;
    let declared = guarded(|| root_as_footer(&bytes).map(|footer| footer.recordBatches().map_or(0, |list| list.len())))
        .map_err(|_| "has a footer that cannot be read: it is damaged".to_owned())?;
    if declared != n_batches {
        return Err(format!(
            "declares {declared} record batches, but holds {n_batches}: it is damaged"
        ));
    }
    Ok(())
}

struct Walk<'s> {
    source: &'s FileBytes,
    at: u64,
    end: u64,
    dictionaries: Vec<DictionaryFrame>,
    batches: Vec<BatchFrame>,
}

impl Walk<'_> {
    /// The bytes of the next message without its body, and their number with what is before them; `None` at the end.
    fn metadata(&mut self) -> Result<Option<(Vec<u8>, usize)>, String> {
        if self.end - self.at < 8 {
            return Err("ends without the mark for the end: it is cut short, or its writer was not closed".into());
        }
        let head = exactly(self.source, self.at, 8)?;
        if head[..4] != CONTINUATION {
            return Err("holds a message without its mark: it is damaged, or of Arrow before 0.15".into());
        }
        let len = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
        if len == 0 {
            return Ok(None);
        }
        if len > MAX_METADATA || len > self.end - self.at - 8 {
            return Err(format!(
                "declares a message of {len} bytes where {} are left",
                self.end - self.at - 8
            ));
        }
        let bytes = exactly(self.source, self.at + 8, len)?;
        Ok(Some((bytes, 8 + len as usize)))
    }

    /// The place of a message, and on to the next.
    fn frame(&mut self, metadata: usize, body: i64) -> Result<Frame, String> {
        let left = self.end - self.at - metadata as u64;
        let body = u64::try_from(body).ok().filter(|&body| body <= left);
        let body = body.ok_or_else(|| "is cut short, or declares a message that is longer than the file".to_owned())?;
        let frame = Frame {
            offset: self.at,
            metadata,
            body,
        };
        self.at += metadata as u64 + body;
        Ok(frame)
    }

    fn schema(&mut self) -> Result<(SchemaRef, MetadataVersion), String> {
        let Some((bytes, metadata)) = self.metadata()? else {
            return Err("holds no schema".into());
        };
        let unreadable = |problem: String| format!("has a schema that cannot be read: {problem}");
        let (schema, version, body) = guarded(|| -> Result<_, String> {
            let message = root_as_message(&bytes).map_err(|_| "it is damaged".to_owned())?;
            let schema = message.header_as_schema().ok_or("the first message is no schema")?;
            if !schema.endianness().equals_to_target_endianness() {
                return Err("its numbers are of the other byte order".into());
            }
            let n = schema.fields().map_or(0, |fields| fields.len());
            if n > MAX_COLUMNS {
                return Err(format!("it has {n} columns, more than {MAX_COLUMNS}"));
            }
            let arrow = try_fb_to_schema(schema).map_err(|error| error.to_string())?;
            Ok((Arc::new(arrow), message.version(), message.bodyLength()))
        })
        .map_err(unreadable)?;
        self.frame(metadata, body)?;
        Ok((schema, version))
    }

    /// Takes the next message; `false` at the end.
    fn message(&mut self) -> Result<bool, String> {
        let Some((bytes, metadata)) = self.metadata()? else {
            return Ok(false);
        };
        let what = format!("message {}", self.dictionaries.len() + self.batches.len() + 1);
        let parsed = guarded(|| Parsed::of(&bytes)).map_err(|problem| format!("{what}: {problem}"))?;
        let frame = self.frame(metadata, parsed.body)?;
        match parsed.dictionary {
            Some((id, is_delta)) => self.dictionaries.push(DictionaryFrame { frame, id, is_delta }),
            None => self.batches.push(BatchFrame {
                frame,
                n_rows: parsed.n_rows,
                n_dictionaries: self.dictionaries.len(),
            }),
        }
        Ok(true)
    }
}

/// What is known of a message from its metadata.
struct Parsed {
    body: i64,
    n_rows: usize,
    /// Id of the dictionary, and whether entries are added to it.
    dictionary: Option<(i64, bool)>,
}

impl Parsed {
    fn of(bytes: &[u8]) -> Result<Self, String> {
        let message = root_as_message(bytes).map_err(|_| "it is damaged".to_owned())?;
        let body = message.bodyLength();
        let (batch, dictionary) = match message.header_type() {
            MessageHeader::RecordBatch => (message.header_as_record_batch(), None),
            MessageHeader::DictionaryBatch => {
                let batch = message.header_as_dictionary_batch().ok_or("it is empty")?;
                (batch.data(), Some((batch.id(), batch.isDelta())))
            }
            _ => return Err("it is neither a record batch nor a dictionary".into()),
        };
        let batch = batch.ok_or("it is empty")?;
        check_places(&batch, body)?;
        let n_rows = usize::try_from(batch.length()).map_err(|_| format!("it declares {} rows", batch.length()))?;
        Ok(Self {
            body,
            n_rows,
            dictionary,
        })
    }
}

/// Whether all buffers lie inside the body, and no length is negative.
fn check_places(batch: &RecordBatch<'_>, body: i64) -> Result<(), String> {
    for buffer in batch.buffers().into_iter().flatten() {
        let end = buffer.offset().checked_add(buffer.length());
        if buffer.offset() < 0 || buffer.length() < 0 || end.is_none_or(|end| end > body) {
            return Err("a buffer lies outside of it".into());
        }
    }
    let mut nodes = batch.nodes().into_iter().flatten();
    match nodes.any(|node| node.length() < 0 || node.null_count() < 0 || node.null_count() > node.length()) {
        true => Err("it declares values that cannot be".into()),
        false => Ok(()),
    }
}

/// Bytes that the buffers of columns take when they are decompressed.
///
/// # Errors
/// Buffers that are missing, or whose declared size cannot be.
pub(super) fn decompressed(
    batch: &RecordBatch<'_>,
    fields: &[Arc<Field>],
    columns: &[usize],
    body: &[u8],
) -> Result<u64, String> {
    if batch.compression().is_none() {
        return Ok(0);
    }
    let buffers: Vec<_> = batch.buffers().into_iter().flatten().collect();
    let mut variadic = batch.variadicBufferCounts().into_iter().flatten();
    let (mut at, mut sum) = (0usize, 0u64);
    for (column, field) in fields.iter().enumerate() {
        let n = n_buffers(field.data_type(), &mut variadic);
        let n = n.ok_or("buffers of a column are missing, or it is a union, which is not read from compressed data")?;
        let own = at.checked_add(n).and_then(|end| buffers.get(at..end));
        let own = own.ok_or("buffers of a column are missing")?;
        at += n;
        if !columns.contains(&column) {
            continue;
        }
        for buffer in own.iter().filter(|buffer| buffer.length() > 0) {
            let start = usize::try_from(buffer.offset()).unwrap_or(usize::MAX);
            let size = start.checked_add(8).and_then(|end| body.get(start..end));
            let size = size
                .filter(|_| buffer.length() >= 8)
                .ok_or("a compressed buffer is cut short")?;
            let size = i64::from_le_bytes(size.try_into().map_err(|_| "a compressed buffer is cut short")?);
            // -1 stands for a buffer that is not compressed after all.
            if size < -1 {
                return Err("a compressed buffer declares a negative size".into());
            }
            sum = sum.saturating_add(size.max(0) as u64);
        }
    }
    Ok(sum)
}

/// Buffers of a column; `None` where the message does not say.
fn n_buffers(data_type: &DataType, variadic: &mut impl Iterator<Item = i64>) -> Option<usize> {
    use DataType as T;
    let child = |n: usize, field: &Field, variadic: &mut dyn Iterator<Item = i64>| {
        Some(n + n_buffers(field.data_type(), &mut { variadic })?)
    };
    match data_type {
        T::Null => Some(0),
        T::Utf8 | T::LargeUtf8 | T::Binary | T::LargeBinary => Some(3),
        T::Utf8View | T::BinaryView => usize::try_from(variadic.next()?).ok()?.checked_add(2),
        T::List(field) | T::LargeList(field) | T::Map(field, _) => child(2, field, variadic),
        T::ListView(field) | T::LargeListView(field) => child(3, field, variadic),
        T::FixedSizeList(field, _) => child(1, field, variadic),
        T::Struct(fields) => fields.iter().try_fold(1, |n, field| child(n, field, variadic)),
        T::RunEndEncoded(ends, values) => child(child(0, ends, variadic)?, values, variadic),
        // How many a union has depends on the version.
        T::Union(..) => None,
        _ => Some(2),
    }
}
