//! The pages of one column chunk, each looked at before and after the `parquet` crate decompresses it: what a header
//! or the first bytes of a page declare decides how much memory the decoders take.

use std::ops::Range;

use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::SerializedPageReader;

use super::delta;
use super::file::FileBytes;
use super::lists::n_beginnings;
use super::thrift::{CUT_SHORT, Walk, Walker};

/// Bytes a page header is first looked for in, and at most.
const HEADER_BYTES: usize = 512;
const MAX_HEADER_BYTES: u64 = 16 << 20;

const DATA_PAGE: i32 = 0;
const INDEX_PAGE: i32 = 1;
const DICTIONARY_PAGE: i32 = 2;
const DATA_PAGE_V2: i32 = 3;

/// What a page may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of one page after decompression, and of one batch's strings.
    pub(crate) bytes: u64,
    /// Rows decoded at a time.
    pub(crate) batch_rows: usize,
}

/// The fields of a page header that matter here.
#[derive(Debug, Default, Clone, Copy)]
struct Header {
    kind: i32,
    uncompressed: i32,
    compressed: i32,
    num_values: i32,
    num_nulls: i32,
    num_rows: i32,
    level_bytes: i64,
}

/// Bytes of a number in a list while it is decoded, about: itself, its levels, and its copy in the batch.
pub(crate) const BYTES_IN_LIST: u64 = 20;

/// The pages of one column chunk of a flat column, or one of lists of numbers.
pub(crate) struct GuardedPages {
    inner: SerializedPageReader<FileBytes>,
    source: FileBytes,
    offset: u64,
    remaining: u64,
    compression: Compression,
    physical: Type,
    type_length: i32,
    optional: bool,
    /// Whether the values stand in lists.
    in_lists: bool,
    values_left: i64,
    limits: Limits,
    ahead: Option<Header>,
    keeps_dictionary: bool,
    longest: u64,
    held: u64,
    held_values: u64,
}

fn fail(reason: impl Into<String>) -> ParquetError {
    ParquetError::General(reason.into())
}

impl GuardedPages {
    /// The pages of `chunk`, whose offsets have passed the gate; `keeps_dictionary` for a column that is decoded into
    /// an Arrow dictionary.
    pub(crate) fn new(
        source: &FileBytes,
        chunk: &ColumnChunkMetaData,
        limits: Limits,
        keeps_dictionary: bool,
    ) -> Result<Self> {
        let (offset, remaining) = chunk.byte_range();
        let rows = usize::try_from(chunk.num_values())?;
        Ok(Self {
            inner: SerializedPageReader::new(source.clone().into(), chunk, rows, None)?,
            source: source.clone(),
            offset,
            remaining,
            compression: chunk.compression(),
            physical: chunk.column_type(),
            type_length: chunk.column_descr().type_length(),
            optional: chunk.column_descr().max_def_level() > 0,
            in_lists: chunk.column_descr().max_rep_level() > 0,
            values_left: chunk.num_values(),
            limits,
            ahead: None,
            keeps_dictionary,
            longest: 0,
            held: 0,
            held_values: 0,
        })
    }

    /// Longest entry of the chunk's dictionary of strings, 0 if there is none. Ends the use of these pages.
    pub(crate) fn longest_entry(mut self) -> Result<u64> {
        match self.look()? {
            Some(header) if header.kind == DICTIONARY_PAGE => match self.get_next_page()? {
                Some(Page::DictionaryPage { buf, num_values, .. }) => longest(&buf, num_values),
                _ => Ok(0),
            },
            _ => Ok(0),
        }
    }

    /// The header of the next page that is no index page, checked; `None` at the end.
    fn look(&mut self) -> Result<Option<Header>> {
        while self.ahead.is_none() && self.remaining > 0 {
            let (header, len) = self.read_header()?;
            self.offset += len;
            self.remaining -= len;
            self.check_header(&header).map_err(fail)?;
            self.offset += header.compressed as u64;
            self.remaining -= header.compressed as u64;
            if header.kind != INDEX_PAGE {
                self.ahead = Some(header);
            }
        }
        Ok(self.ahead)
    }

    /// The header at the current offset and its length.
    fn read_header(&self) -> Result<(Header, u64)> {
        let most = self.remaining.min(MAX_HEADER_BYTES) as usize;
        let mut size = most.min(HEADER_BYTES);
        loop {
            let bytes = self
                .source
                .exactly(self.offset, size)
                .map_err(|error| fail(error.to_string()))?;
            let mut walker = Walker::new(&bytes);
            match parse_header(&mut walker) {
                Ok(header) => return Ok((header, walker.position() as u64)),
                Err(_) if size < most => size = most.min(size * 16),
                Err(CUT_SHORT) => return Err(fail("a page header ends in the middle of a value")),
                Err(problem) => return Err(fail(format!("a page header {problem}"))),
            }
        }
    }

    fn check_header(&mut self, header: &Header) -> Result<(), String> {
        let (compressed, uncompressed) = (i64::from(header.compressed), i64::from(header.uncompressed));
        if compressed < 0 || uncompressed < 0 || compressed as u64 > self.remaining {
            return Err(format!(
                "a page declares {compressed} bytes ({uncompressed} uncompressed), {} are left",
                self.remaining
            ));
        }
        if !matches!(self.compression, Compression::UNCOMPRESSED) {
            self.check_expansion(compressed, uncompressed)?;
        }
        if header.level_bytes < 0 || header.level_bytes > compressed || header.level_bytes > uncompressed {
            return Err("a page declares levels longer than itself".into());
        }
        let whole =
            header.num_values >= header.num_nulls.max(header.num_rows) && header.num_nulls.min(header.num_rows) >= 0;
        if !whole {
            return Err("a page declares impossible numbers of values".into());
        }
        if matches!(header.kind, DATA_PAGE | DATA_PAGE_V2) {
            self.values_left -= i64::from(header.num_values);
            if self.values_left < 0 {
                return Err("the pages hold more values than declared".into());
            }
        }
        Ok(())
    }

    /// A page larger than its codec can make it, or than there is room for, is refused before room is made.
    fn check_expansion(&self, compressed: i64, uncompressed: i64) -> Result<(), String> {
        let ratio = match self.compression {
            Compression::SNAPPY => 32,
            Compression::LZ4 | Compression::LZ4_RAW => 256,
            Compression::GZIP(_) => 1100,
            _ => i64::from(i32::MAX),
        };
        if uncompressed > compressed.saturating_mul(ratio).saturating_add(1024) {
            return Err(format!(
                "a page declares {uncompressed} bytes in {compressed} compressed ones"
            ));
        }
        if uncompressed as u64 > self.limits.bytes {
            let limit = self.limits.bytes;
            return Err(format!(
                "a page of {uncompressed} bytes exceeds the memory limit of {limit} bytes for a page"
            ));
        }
        Ok(())
    }

    fn check_page(&mut self, page: &Page) -> Result<()> {
        let (buf, repetition, start, encoding, num_values) = match page {
            Page::DictionaryPage { buf, num_values, .. } => return self.check_dictionary(buf, *num_values),
            Page::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                ..
            } => {
                let repetition = self.repetition(buf, [*rep_level_encoding, *def_level_encoding])?;
                let after = buf.get(repetition.end..).unwrap_or(&[]);
                let start = repetition.end + self.level_bytes(after, *def_level_encoding, *num_values);
                (buf, repetition, start, encoding, num_values)
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                def_levels_byte_len: def,
                rep_levels_byte_len: rep,
                ..
            } => (
                buf,
                0..*rep as usize,
                (*def as usize).saturating_add(*rep as usize),
                encoding,
                num_values,
            ),
        };
        let bytes = buf
            .get(start..)
            .ok_or_else(|| fail("a page is shorter than its levels"))?;
        let strings = self.check_values(bytes, *encoding, u64::from(*num_values))?;
        if !self.in_lists {
            return self.hold(strings, u64::from(*num_values));
        }
        // A batch is so many lists, however long they are.
        let levels = buf
            .get(repetition)
            .ok_or_else(|| fail("a page is shorter than its levels"))?;
        let n_lists = n_beginnings(levels, *num_values).map_err(fail)?;
        self.hold(u64::from(*num_values) * BYTES_IN_LIST, n_lists)
    }

    /// Where the levels of repetition stand in a page of version 1.
    fn repetition(&self, buf: &[u8], encodings: [Encoding; 2]) -> Result<Range<usize>> {
        if !self.in_lists {
            return Ok(0..0);
        }
        if encodings != [Encoding::RLE; 2] {
            return Err(fail("lists of an old encoding are not supported"));
        }
        let len = buf
            .first_chunk::<4>()
            .map_or(0, |len| u32::from_le_bytes(*len) as usize);
        Ok(4..len.saturating_add(4))
    }

    /// Bytes of the definition levels that stand before the values of a page of version 1.
    fn level_bytes(&self, buf: &[u8], encoding: Encoding, num_values: u32) -> usize {
        #[expect(deprecated, reason = "old files have it")]
        let packed = Encoding::BIT_PACKED;
        if !self.optional {
            0
        } else if encoding == packed {
            (num_values as usize).div_ceil(8)
        } else {
            buf.first_chunk::<4>()
                .map_or(0, |len| (u32::from_le_bytes(*len) as usize).saturating_add(4))
        }
    }

    /// Checks the head of a page's values; gives the most bytes of strings that one batch can take of them.
    fn check_values(&self, bytes: &[u8], encoding: Encoding, most: u64) -> Result<u64> {
        // A page of nulls alone may hold no bytes.
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut strings = bytes.len() as u64;
        match encoding {
            Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY => {
                delta::check_count(bytes, most).map_err(fail)?;
            }
            Encoding::DELTA_BYTE_ARRAY => strings = delta::written_out(bytes, most).map_err(fail)?,
            Encoding::BYTE_STREAM_SPLIT => self.check_split(strings, most)?,
            encoding if is_dictionary(encoding) => {
                let values = most.min(self.limits.batch_rows as u64);
                // A column that stays dictionary-encoded in memory repeats no entry.
                strings = if self.keeps_dictionary {
                    0
                } else {
                    self.longest.saturating_mul(values)
                };
            }
            _ => {}
        }
        if self.keeps_dictionary && !is_dictionary(encoding) {
            // A batch with a plain page in it is written out, what it has of the dictionary as well.
            let entries = self.longest.saturating_mul(self.limits.batch_rows as u64);
            strings = strings.saturating_add(entries);
        }
        Ok(if self.physical == Type::BYTE_ARRAY { strings } else { 0 })
    }

    /// A stream-split page is as long as whole values: one stream for each byte of a value.
    fn check_split(&self, len: u64, most: u64) -> Result<()> {
        let width = self.width().unwrap_or(1);
        if len.is_multiple_of(width) && len / width <= most {
            return Ok(());
        }
        Err(fail(format!(
            "a page of {len} bytes cannot hold stream-split values of {width} bytes"
        )))
    }

    /// Bytes of a value where all values have the same length.
    fn width(&self) -> Option<u64> {
        match self.physical {
            Type::INT32 | Type::FLOAT => Some(4),
            Type::INT64 | Type::DOUBLE => Some(8),
            Type::INT96 => Some(12),
            Type::FIXED_LEN_BYTE_ARRAY => Some(self.type_length.max(1) as u64),
            Type::BOOLEAN | Type::BYTE_ARRAY => None,
        }
    }

    fn check_dictionary(&mut self, buf: &[u8], num_values: u32) -> Result<()> {
        if self.physical == Type::BYTE_ARRAY {
            self.longest = longest(buf, num_values)?;
            return Ok(());
        }
        let width = self
            .width()
            .ok_or_else(|| fail("a column of truth values has a dictionary"))?;
        if u64::from(num_values).saturating_mul(width) > buf.len() as u64 {
            let len = buf.len();
            return Err(fail(format!(
                "a dictionary declares {num_values} values in {len} bytes"
            )));
        }
        Ok(())
    }

    /// Counts what the batch being decoded holds of strings, which has to fit.
    fn hold(&mut self, strings: u64, num_values: u64) -> Result<()> {
        self.held = self.held.saturating_add(strings);
        if self.held > self.limits.bytes {
            let (held, limit) = (self.held, self.limits.bytes);
            let what = if self.in_lists { "lists" } else { "strings" };
            return Err(fail(format!(
                "{what} of {held} bytes exceed the memory limit of {limit} bytes for a batch"
            )));
        }
        self.held_values += num_values;
        if self.held_values >= self.limits.batch_rows as u64 {
            // The rest of this page belongs to the next batch.
            self.held_values %= self.limits.batch_rows as u64;
            self.held = if self.held_values == 0 { 0 } else { strings };
        }
        Ok(())
    }
}

fn is_dictionary(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY)
}

/// Longest entry of a dictionary of strings, whose entries have to lie inside it.
fn longest(buf: &[u8], num_values: u32) -> Result<u64> {
    let (mut rest, mut longest) = (buf, 0);
    for _ in 0..num_values {
        let entry = rest.split_first_chunk::<4>().and_then(|(len, tail)| {
            let len = u32::from_le_bytes(*len) as usize;
            Some((len, tail.get(len..)?))
        });
        let (len, tail) = entry.ok_or_else(|| fail("a dictionary declares more entries than it holds"))?;
        longest = longest.max(len as u64);
        rest = tail;
    }
    Ok(longest)
}

fn parse_header(walker: &mut Walker<'_>) -> Walk<Header> {
    let mut header = Header {
        kind: -1,
        ..Header::default()
    };
    walker.structure(|walker, field| {
        match field.id {
            1 => header.kind = walker.int32()?,
            2 => header.uncompressed = walker.int32()?,
            3 => header.compressed = walker.int32()?,
            5 if header.kind == DATA_PAGE => parse_counts(walker, &mut header, false)?,
            8 if header.kind == DATA_PAGE_V2 => parse_counts(walker, &mut header, true)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    match header.kind {
        DATA_PAGE | INDEX_PAGE | DICTIONARY_PAGE | DATA_PAGE_V2 => Ok(header),
        _ => Err("is of an unknown type"),
    }
}

/// The header of a data page of either version.
fn parse_counts(walker: &mut Walker<'_>, header: &mut Header, v2: bool) -> Walk<()> {
    let (mut def, mut rep) = (0, 0);
    walker.structure(|walker, field| {
        match (field.id, v2) {
            (1, _) => header.num_values = walker.int32()?,
            (2, true) => header.num_nulls = walker.int32()?,
            (3, true) => header.num_rows = walker.int32()?,
            (5, true) => def = walker.int32()?,
            (6, true) => rep = walker.int32()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    header.level_bytes = if def < 0 || rep < 0 {
        -1
    } else {
        i64::from(def) + i64::from(rep)
    };
    Ok(())
}

impl Iterator for GuardedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for GuardedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let header = self.look()?;
        self.ahead = None;
        let page = self.inner.get_next_page()?;
        match (&header, &page) {
            (Some(_), Some(page)) => self.check_page(page)?,
            (None, None) if self.values_left > 0 => {
                return Err(fail(format!(
                    "{} of the declared values are not in the pages",
                    self.values_left
                )));
            }
            (None, None) => {}
            _ => return Err(fail("the pages do not follow one another")),
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.look()?;
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.look()?;
        self.ahead = None;
        self.inner.skip_next_page()
    }
}

/// The pages of one chunk as the crate asks for them: an iterator of one page reader.
pub(crate) struct OneChunk(pub(crate) Option<GuardedPages>);

impl Iterator for OneChunk {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(Box::new(pages) as Box<dyn PageReader>))
    }
}

impl PageIterator for OneChunk {}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::schema::types::{ColumnDescriptor, ColumnPath, Type as SchemaType};
    use std::io::Write;
    use std::sync::Arc;

    /// A signed integer in a field that follows the one before.
    fn int(value: i64) -> Vec<u8> {
        let mut bytes = vec![0x15];
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
            })
        })
    }

    /// A page of plain values: kind 0 (data) or 2 (dictionary), with a checksum.
    fn page(kind: i32, num_values: i64, body: &[u8], crc: u32) -> Vec<u8> {
        let len = body.len() as i64;
        let mut bytes = [int(i64::from(kind)), int(len), int(len), int(i64::from(crc as i32))].concat();
        bytes.push(if kind == DATA_PAGE { 0x1c } else { 0x3c });
        bytes.extend([int(num_values), int(0)].concat());
        if kind == DATA_PAGE {
            bytes.extend([int(3), int(3)].concat());
        }
        bytes.extend([0, 0]);
        bytes.extend(body);
        bytes
    }

    /// Reads all pages of a chunk of `physical` values in these bytes; the number of pages.
    fn read_as(physical: Type, bytes: &[u8], num_values: i64) -> Result<usize> {
        let column = SchemaType::primitive_type_builder("c", physical).build()?;
        let column = ColumnDescriptor::new(Arc::new(column), 0, 0, ColumnPath::from("c"));
        let chunk = ColumnChunkMetaData::builder(Arc::new(column))
            .set_num_values(num_values)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(bytes.len() as i64)
            .set_data_page_offset(4)
            .build()?;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"PAR1").unwrap();
        file.write_all(bytes).unwrap();
        let source = FileBytes::new(file, bytes.len() as u64 + 4);
        let limits = Limits {
            bytes: 1 << 20,
            batch_rows: 1000,
        };
        let mut pages = GuardedPages::new(&source, &chunk, limits, false)?;
        let mut n = 0;
        while pages.get_next_page()?.is_some() {
            n += 1;
        }
        Ok(n)
    }

    fn read(bytes: &[u8], num_values: i64) -> Result<usize> {
        read_as(Type::INT32, bytes, num_values)
    }

    fn says(found: Result<usize>, text: &str) {
        let error = found.expect_err(text).to_string();
        assert!(error.contains(text), "{error}");
    }

    #[test]
    fn whole_pages_pass() {
        let body = [7; 40];
        let bytes = [
            page(DICTIONARY_PAGE, 10, &body, crc32(&body)),
            page(DATA_PAGE, 10, &body, crc32(&body)),
        ]
        .concat();
        assert_eq!(read(&bytes, 10).unwrap(), 2);
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let body = [7; 40];
        let mut bytes = page(DATA_PAGE, 10, &body, crc32(&body));
        *bytes.last_mut().unwrap() ^= 1;
        says(read(&bytes, 10), "CRC");
    }

    #[test]
    fn missing_and_surplus_values_are_found() {
        let body = [7; 40];
        let bytes = page(DATA_PAGE, 10, &body, crc32(&body));
        says(read(&bytes, 11), "1 of the declared values");
        says(read(&bytes, 9), "more values than declared");
        says(
            read(&page(DATA_PAGE, -1, &body, crc32(&body)), 10),
            "impossible numbers",
        );
    }

    #[test]
    fn a_dictionary_is_as_large_as_its_bytes() {
        let body = [0; 40];
        let bytes = page(DICTIONARY_PAGE, i64::from(i32::MAX), &body, crc32(&body));
        says(read(&bytes, 10), "declares 2147483647 values in 40 bytes");
        says(read_as(Type::BYTE_ARRAY, &bytes, 10), "more entries than it holds");
        says(read_as(Type::BOOLEAN, &bytes, 10), "truth values");
    }

    #[test]
    fn a_page_cannot_leave_its_chunk() {
        let body = [7; 40];
        let bytes = page(DATA_PAGE, 10, &body, crc32(&body));
        says(read(&bytes[..bytes.len() - 1], 10), "39 are left");
        says(read(&bytes[..5], 10), "in the middle of a value");
    }

    #[test]
    fn strings_that_a_small_dictionary_multiplies_are_counted() {
        let mut entry = 2000u32.to_le_bytes().to_vec();
        entry.resize(2004, b'x');
        let dictionary = page(DICTIONARY_PAGE, 1, &entry, crc32(&entry));
        // 1000 times the one entry, run-length encoded: bit width 1, run of 1000 zeros.
        let body = [1, 0xd0, 0x0f, 0];
        let mut data = page(DATA_PAGE, 1000, &body, crc32(&body));
        let encoding = data.len() - body.len() - 7;
        assert_eq!(data[encoding], 0);
        data[encoding] = 2 * 2;
        says(
            read_as(Type::BYTE_ARRAY, &[dictionary, data].concat(), 1000),
            "memory limit",
        );
    }
}
