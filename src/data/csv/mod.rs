//! CSV files with a header: read once for their records and types, then piece by piece like any other format.

mod cells;
mod guess;
mod records;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Fields};

use self::cells::{Cells, cells_of};
use self::guess::Guess;
use self::records::{Problem, Records, Step, delimiter_of, unescaped};
use super::decode::{BATCH_BYTES, MAX_BATCH_ROWS};
use super::file::{FileBytes, Input, refused};
use super::guard::guarded_read;
use super::options::SourceOptions;
use super::part::{Part, Take};
use super::schema::type_name;
use crate::error::{Error, Result};

/// Bytes read at a time.
const STEP: usize = 1 << 20;
/// Bytes of a piece, about.
const PIECE_BYTES: u64 = 4 << 20;
/// Most bytes of one record.
const MAX_RECORD: usize = 16 << 20;
/// Most columns, as of a Parquet file.
const MAX_COLUMNS: usize = 65_536;
/// What some programs write before UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Records that stand together in a file.
#[derive(Debug, Clone, Copy)]
struct Piece {
    offset: u64,
    bytes: usize,
    /// The line of its first record.
    line: u64,
    n_rows: usize,
}

/// A CSV file whose records were found, and whose columns have no types yet.
pub(crate) struct CsvFile {
    input: Input,
    delimiter: u8,
    names: Vec<String>,
    pieces: Vec<Piece>,
    guesses: Vec<Guess>,
}

/// A CSV file as a part of a table.
pub(crate) struct CsvPart {
    file: CsvFile,
    fields: Fields,
}

impl CsvFile {
    /// Goes through the file once for its records and once, on `threads` threads, for what their cells may be.
    ///
    /// # Errors
    /// [`Error::FileRefused`] with the line for what is no CSV with a header; those of reading.
    pub(crate) fn open(input: Input, source: &FileBytes, threads: usize, options: &SourceOptions) -> Result<Self> {
        let mut splitter = Splitter::new(&input.path, source, options.delimiter)?;
        splitter.run(options)?;
        let Splitter {
            delimiter,
            names,
            pieces,
            ..
        } = splitter;
        let mut file = Self {
            guesses: vec![Guess::new(); names.len()],
            input,
            delimiter,
            names,
            pieces,
        };
        file.guess(source, threads, options)?;
        file.input.unchanged()?;
        Ok(file)
    }

    /// Looks at every cell.
    fn guess(&mut self, source: &FileBytes, threads: usize, options: &SourceOptions) -> Result<()> {
        let next = AtomicUsize::new(0);
        // And the first piece that is broken.
        let mut broken: Option<(usize, Error)> = None;
        let found = Mutex::new((self.guesses.clone(), &mut broken));
        let file = &*self;
        let work = || {
            let mut guesses = file.guesses.clone();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(piece) = file.pieces.get(at) else { break };
                let seen = options.check_stop().and_then(|()| {
                    guarded_read(&file.input.path, || {
                        file.each_record(source, piece, &mut |record| {
                            let cells = guesses.iter_mut().zip(&record.records.fields);
                            cells.for_each(|(guess, field)| guess.see(field.raw(record.text.as_bytes())));
                            Ok(())
                        })
                    })
                });
                if let Err(error) = seen {
                    // The first piece that is broken is told of, whichever thread finds one first.
                    let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if found.1.as_ref().is_none_or(|(other, _)| at < *other) {
                        *found.1 = Some((at, error));
                    }
                    break;
                }
            }
            let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            found
                .0
                .iter_mut()
                .zip(guesses)
                .for_each(|(all, one)| *all = all.and(one));
        };
        std::thread::scope(|scope| {
            (1..threads.min(file.pieces.len())).for_each(|_| {
                scope.spawn(work);
            });
            work();
        });
        let (guesses, _) = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.guesses = guesses;
        broken.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Hands the records of a piece on.
    fn each_record(
        &self,
        source: &FileBytes,
        piece: &Piece,
        take: &mut dyn FnMut(&Record<'_, '_>) -> Result<()>,
    ) -> Result<()> {
        let path = &self.input.path;
        let bytes = source
            .exactly(piece.offset, piece.bytes)
            .map_err(Error::io("read", path))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| self.not_text(&bytes, piece, error.valid_up_to()))?;
        let mut records = Records::new(&bytes, self.delimiter, piece.line, true);
        loop {
            match records.next() {
                Ok(Step::Record) => check_width(path, &self.names, &records)?,
                Ok(Step::Incomplete | Step::End) => return Ok(()),
                Err(problem) => return Err(broken(path, records.line, problem)),
            }
            take(&Record {
                text,
                records: &records,
            })?;
        }
    }

    /// Where the bytes stop being text.
    fn not_text(&self, bytes: &[u8], piece: &Piece, at: usize) -> Error {
        let mut records = Records::new(bytes, self.delimiter, piece.line, true);
        while let Ok(Step::Record) = records.next() {
            if records.at > at {
                let column = records.fields.iter().position(|field| field.end > at);
                let name = column.and_then(|column| self.names.get(column)).cloned();
                return self.corrupt(name, records.line, "holds bytes that are no UTF-8");
            }
        }
        self.corrupt(None, piece.line, "holds bytes that are no UTF-8")
    }

    fn corrupt(&self, column: Option<String>, line: u64, problem: &str) -> Error {
        Error::Corrupt {
            path: self.input.path.clone(),
            row_group: None,
            column,
            reason: format!("line {line} {problem}"),
        }
    }
}

/// A record of a piece.
struct Record<'t, 'r> {
    text: &'t str,
    records: &'r Records<'t>,
}

fn broken(path: &Path, line: u64, problem: Problem) -> Error {
    refused(path, format!("line {line}: {problem}"))
}

fn check_width(path: &Path, names: &[String], records: &Records<'_>) -> Result<()> {
    let (found, expected) = (records.fields.len(), names.len());
    if found == expected {
        return Ok(());
    }
    let fields = |n: usize| {
        if n == 1 {
            "1 field".into()
        } else {
            format!("{n} fields")
        }
    };
    let problem = format!("{}, where the header has {}", fields(found), fields(expected));
    Err(refused(path, format!("line {} has {problem}", records.line)))
}

/// Finds the records of a file, block by block.
struct Splitter<'s> {
    path: &'s Path,
    source: &'s FileBytes,
    delimiter: u8,
    names: Vec<String>,
    pieces: Vec<Piece>,
    /// Bytes that were read and belong to no record yet, and where they stand in the file.
    rest: Vec<u8>,
    offset: u64,
    line: u64,
}

impl<'s> Splitter<'s> {
    fn new(path: &'s Path, source: &'s FileBytes, delimiter: Option<u8>) -> Result<Self> {
        let mut splitter = Self {
            path,
            source,
            delimiter: b',',
            names: Vec::new(),
            pieces: Vec::new(),
            rest: Vec::new(),
            offset: 0,
            line: 1,
        };
        let n = source.bytes().min(2) as usize;
        match source.exactly(0, n).map_err(Error::io("read", path))?[..] {
            [] => return Err(refused(path, "is empty")),
            [0xff, 0xfe] | [0xfe, 0xff] => return Err(refused(path, "is UTF-16; CSV files are read as UTF-8")),
            _ => splitter.read_block()?,
        }
        if splitter.rest.starts_with(MARK) {
            splitter.rest.drain(..MARK.len());
            splitter.offset = MARK.len() as u64;
        }
        splitter.delimiter = delimiter.unwrap_or_else(|| match path.extension() {
            Some(ending) if ending.eq_ignore_ascii_case("tsv") => b'\t',
            _ => delimiter_of(&splitter.rest),
        });
        Ok(splitter)
    }

    fn read_block(&mut self) -> Result<()> {
        let had = self.rest.len();
        let at = self.offset + had as u64;
        let n = (self.source.bytes().saturating_sub(at)).min(STEP as u64) as usize;
        let block = self.source.exactly(at, n).map_err(Error::io("read", self.path))?;
        if let Some(zero) = block.iter().position(|&byte| byte == 0) {
            let lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
            let line = self.line + lines(&self.rest) + lines(&block[..zero]);
            return Err(refused(
                self.path,
                format!("line {line} holds a zero byte: it is no CSV file"),
            ));
        }
        self.rest.extend_from_slice(&block);
        Ok(())
    }

    fn is_last(&self) -> bool {
        self.offset + self.rest.len() as u64 >= self.source.bytes()
    }

    fn run(&mut self, options: &SourceOptions) -> Result<()> {
        loop {
            options.check_stop()?;
            self.split()?;
            if self.is_last() {
                break;
            }
            if self.rest.len() > MAX_RECORD {
                let what = "a record of more than 16 MiB begins: a quote may never be closed";
                return Err(refused(self.path, format!("line {}: {what}", self.line)));
            }
            self.read_block()?;
        }
        if self.names.is_empty() {
            return Err(refused(self.path, "has no header: all of its lines are empty"));
        }
        Ok(())
    }

    /// Takes the records that are complete from the rest.
    fn split(&mut self) -> Result<()> {
        let rest = std::mem::take(&mut self.rest);
        let mut records = Records::new(&rest, self.delimiter, self.line, self.is_last_of(&rest));
        loop {
            let before = (records.at, records.next_line());
            match records.next() {
                Ok(Step::Record) if self.names.is_empty() => self.take_header(&rest, &records)?,
                Ok(Step::Record) => {
                    check_width(self.path, &self.names, &records)?;
                    self.take_record(before, records.at);
                }
                Ok(Step::Incomplete | Step::End) => break,
                Err(problem) => return Err(broken(self.path, records.line, problem)),
            }
        }
        let (at, line) = (records.at, records.line);
        self.rest = rest[at..].to_vec();
        self.offset += at as u64;
        self.line = line;
        Ok(())
    }

    fn is_last_of(&self, rest: &[u8]) -> bool {
        self.offset + rest.len() as u64 >= self.source.bytes()
    }

    /// A record between two places of the rest, of which the first may be before empty lines.
    fn take_record(&mut self, (from, line): (usize, u64), to: usize) {
        let (from, to) = (self.offset + from as u64, self.offset + to as u64);
        match self.pieces.last_mut() {
            Some(piece) if to - piece.offset <= PIECE_BYTES => {
                // Empty lines between records belong to the piece as well.
                piece.bytes = (to - piece.offset) as usize;
                piece.n_rows += 1;
            }
            _ => self.pieces.push(Piece {
                offset: from,
                bytes: (to - from) as usize,
                line,
                n_rows: 1,
            }),
        }
    }

    fn take_header(&mut self, rest: &[u8], records: &Records<'_>) -> Result<()> {
        let n = records.fields.len();
        if n > MAX_COLUMNS {
            return Err(refused(self.path, format!("has {n} columns, more than {MAX_COLUMNS}")));
        }
        let name = |(at, field): (usize, &records::Field)| {
            let text = std::str::from_utf8(field.raw(rest)).ok()?;
            let text = if field.is_quoted { text } else { text.trim() };
            Some(match text.is_empty() {
                // As some programs leave the name of row numbers empty.
                true => format!("column_{}", at + 1),
                false if field.has_quotes => unescaped(text),
                false => text.to_owned(),
            })
        };
        let names: Option<Vec<String>> = records.fields.iter().enumerate().map(name).collect();
        self.names = names.ok_or_else(|| {
            let reason = format!("line {} holds bytes that are no UTF-8", records.line);
            refused(self.path, reason)
        })?;
        Ok(())
    }
}

/// Gives the columns of CSV files types: what was asked for, else what all cells of all files allow, so that a table
/// has the same types however it is divided into files.
///
/// # Errors
/// [`Error::ColumnNotFound`] for a type that was asked for a column which no file has.
pub(crate) fn typed(files: Vec<CsvFile>, options: &SourceOptions) -> Result<Vec<CsvPart>> {
    let mut guesses: HashMap<(String, usize), Guess> = HashMap::new();
    for file in &files {
        for (key, guess) in numbered(&file.names).zip(&file.guesses) {
            let all = guesses.entry(key).or_insert_with(Guess::new);
            *all = all.and(*guess);
        }
    }
    let find = |types: &[(String, DataType)], name: &str| {
        let last = types.iter().rev().find(|(column, _)| column == name);
        last.map(|(_, data_type)| data_type.clone())
    };
    for (column, _) in &options.types {
        if !guesses.keys().any(|(name, _)| name == column) {
            let mut available: Vec<String> = guesses.keys().map(|(name, _)| name.clone()).collect();
            available.sort();
            return Err(Error::ColumnNotFound {
                column: column.clone(),
                available,
            });
        }
    }
    let part = |file: CsvFile| {
        let field = |key: (String, usize)| {
            let data_type = find(&options.types, &key.0).unwrap_or_else(|| {
                let likely = find(&options.likely_types, &key.0);
                guesses[&key].data_type(likely.as_ref())
            });
            Field::new(key.0, data_type, true)
        };
        CsvPart {
            fields: numbered(&file.names).map(field).collect(),
            file,
        }
    };
    Ok(files.into_iter().map(part).collect())
}

/// Each name with how often it stood before.
fn numbered(names: &[String]) -> impl Iterator<Item = (String, usize)> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    names.iter().map(move |name| {
        let nth = seen.entry(name).or_default();
        *nth += 1;
        (name.clone(), *nth - 1)
    })
}

impl CsvPart {
    fn decode(&self, piece: &Piece, columns: &[usize], take: &mut Take<'_>) -> Result<()> {
        let source = self.file.input.reopen()?;
        let mut cells: Vec<Box<dyn Cells>> = { columns.iter() }
            .map(|&column| cells_of(self.fields[column].data_type()))
            .collect();
        let most = (BATCH_BYTES / (8 * columns.len().max(1) as u64)).clamp(1, MAX_BATCH_ROWS as u64) as usize;
        let (mut rows, mut bytes, mut n_rows, mut wanted) = (0, 0, 0, true);
        let mut hand_on = |rows: &mut usize, cells: &mut [Box<dyn Cells>]| {
            let arrays: Vec<ArrayRef> = cells.iter_mut().map(|cells| cells.finish()).collect();
            take(std::mem::take(rows), arrays)
        };
        self.file.each_record(&source, piece, &mut |record| {
            if !wanted {
                return Ok(());
            }
            for (cells, &column) in cells.iter_mut().zip(columns) {
                bytes += self.push(record, column, &mut **cells)?;
            }
            (rows, n_rows) = (rows + 1, n_rows + 1);
            if rows == most || bytes as u64 >= BATCH_BYTES {
                bytes = 0;
                wanted = hand_on(&mut rows, &mut cells);
            }
            Ok(())
        })?;
        if wanted && n_rows != piece.n_rows {
            return Err(Error::FileChanged {
                path: self.file.input.path.clone(),
            });
        }
        if wanted && rows > 0 {
            hand_on(&mut rows, &mut cells);
        }
        Ok(())
    }

    /// Adds a cell of a record; the bytes it has.
    fn push(&self, record: &Record<'_, '_>, column: usize, cells: &mut dyn Cells) -> Result<usize> {
        let field = record.records.fields[column];
        let raw = &record.text[field.start..field.end];
        let pushed = match field.has_quotes {
            true => cells.push(&unescaped(raw), field.is_quoted),
            false => cells.push(raw, field.is_quoted),
        };
        pushed.map_err(|_| {
            let column = &self.fields[column];
            let problem = format!("holds what is no {}", type_name(column.data_type()));
            self.file
                .corrupt(Some(column.name().clone()), record.records.line, &problem)
        })?;
        Ok(raw.len())
    }
}

impl Part for CsvPart {
    fn input(&self) -> &Input {
        &self.file.input
    }

    fn fields(&self) -> &Fields {
        &self.fields
    }

    fn n_pieces(&self) -> usize {
        self.file.pieces.len()
    }

    fn n_rows(&self, piece: usize) -> usize {
        self.file.pieces[piece].n_rows
    }

    fn is_readable(&self, _: usize) -> bool {
        true
    }

    fn read(&self, piece: usize, columns: &[usize], _room: u64, take: &mut Take<'_>) -> Result<()> {
        let piece = &self.file.pieces[piece];
        // Nothing there is known to panic; a defect would be an error of the file, not the end of the run.
        let read = guarded_read(&self.file.input.path, || self.decode(piece, columns, take));
        read.or_else(|error| self.file.input.unchanged().and(Err(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{BatchSource, FileSource, type_of};
    use arrow::array::{Array, AsArray, RecordBatch};
    use arrow::datatypes::{Float64Type, Int64Type};

    /// Reads all columns of CSV files with these contents.
    fn read_with(files: &[&[u8]], options: SourceOptions, threads: usize) -> Result<RecordBatch> {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..files.len())
            .map(|i| folder.path().join(format!("{i}.csv")))
            .collect();
        for (path, bytes) in paths.iter().zip(files) {
            std::fs::write(path, bytes).unwrap();
        }
        let source = FileSource::open_with(&paths, threads, options)?;
        let columns: Vec<usize> = (0..source.schema().fields().len()).collect();
        let mut batches = vec![RecordBatch::new_empty(source.schema().clone())];
        source.scan(&columns, &mut |row, batch| {
            assert_eq!(row, batches.iter().map(RecordBatch::num_rows).sum::<usize>());
            batches.push(batch.clone());
            Ok(())
        })?;
        assert_eq!(
            batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
            source.n_rows()
        );
        Ok(arrow::compute::concat_batches(source.schema(), &batches).unwrap())
    }

    fn read(text: &str) -> Result<RecordBatch> {
        read_with(&[text.as_bytes()], SourceOptions::default(), 2)
    }

    /// What is said of bytes that are refused, after the name of the file.
    fn refusal(bytes: &[u8]) -> String {
        let error = read_with(&[bytes], SourceOptions::default(), 2).unwrap_err();
        let text = error.to_string();
        text.split_once("0.csv: ")
            .map_or(text.clone(), |(_, reason)| reason.to_owned())
    }

    #[test]
    fn columns_have_names_types_and_values() {
        let batch = read("\u{feff}id, plan ,\"a \"\"b\"\"\",\n1,\"gold, old\",2.5,true\n\n2,,,FALSE\r\n").unwrap();
        let names: Vec<_> = batch
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        assert_eq!(names, ["id", "plan", "a \"b\"", "column_4"]);
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 2]);
        let plans: Vec<_> = batch.column(1).as_string::<i32>().iter().collect();
        assert_eq!(plans, [Some("gold, old"), None]);
        let amounts: Vec<_> = batch.column(2).as_primitive::<Float64Type>().iter().collect();
        assert_eq!(amounts, [Some(2.5), None]);
        assert!(batch.column(3).as_boolean().value(0) && !batch.column(3).as_boolean().value(1));
    }

    /// Pieces, threads, line ends and the last line end change nothing, and no record is lost at a block's end.
    #[test]
    fn a_large_file_is_read_the_same_in_any_way() {
        let rows = 120_000;
        let quoted = "x\n\"\"y, ".repeat(5);
        let line = |i: usize| {
            format!(
                "{i},\"{quoted}{i}\",{}",
                if i.is_multiple_of(3) {
                    String::new()
                } else {
                    format!("{}.5", i % 9)
                }
            )
        };
        let text: String = std::iter::once("id,text,x".into())
            .chain((0..rows).map(line))
            .map(|line| line + "\n")
            .collect();
        let expected = read_with(&[text.as_bytes()], SourceOptions::default(), 1).unwrap();
        assert_eq!(expected.num_rows(), rows);
        let ids = expected.column(0).as_primitive::<Int64Type>();
        assert!(ids.values().iter().enumerate().all(|(i, &id)| i as i64 == id));
        let texts = expected.column(1).as_string::<i32>();
        let unquoted = quoted.replace("\"\"", "\"");
        assert!(
            (0..rows)
                .step_by(997)
                .all(|i| texts.value(i) == format!("{unquoted}{i}"))
        );
        assert_eq!(expected.column(2).null_count(), rows.div_ceil(3));
        let trimmed = text.trim_end();
        assert_eq!(
            read_with(&[trimmed.as_bytes()], SourceOptions::default(), 5).unwrap(),
            expected
        );
        let cut = text
            .match_indices('\n')
            .map(|(at, _)| at + 1)
            .find(|&at| {
                at > 5_000_000
                    && text[at..].starts_with(|c: char| c.is_ascii_digit())
                    && text[..at - 1].ends_with(['5', ','])
            })
            .unwrap();
        let second = format!("id,text,x\n{}", &text[cut..]);
        let files = [&text.as_bytes()[..cut], second.as_bytes()];
        assert_eq!(read_with(&files, SourceOptions::default(), 3).unwrap(), expected);
    }

    #[test]
    fn types_are_those_of_all_files_or_those_asked_for() {
        let files = [&b"a,b\n1,2026-01-01\n"[..], b"b,a\n2026-01-02T10:00,x7\n"];
        let batch = read_with(&files, SourceOptions::default(), 1).unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().value(0), "1");
        assert!(matches!(batch.schema().field(1).data_type(), DataType::Timestamp(..)));
        let asked = |column: &str, name: &str| SourceOptions {
            types: vec![(column.into(), type_of(name).unwrap())],
            ..SourceOptions::default()
        };
        let batch = read_with(&[b"zip,n\n00501,3\n"], asked("zip", "int32"), 1).unwrap();
        assert_eq!(batch.schema().field(0).data_type(), &DataType::Int32);
        let error = read_with(&[b"n\n1\n\n2.5\n"], asked("n", "int64"), 1).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("column \"n\": line 4 holds what is no Int64"),
            "{error}"
        );
        let error = read_with(&[b"n\n1\n"], asked("m", "int64"), 1).unwrap_err();
        assert!(matches!(error, Error::ColumnNotFound { column, .. } if column == "m"));
        let semicolons = SourceOptions {
            delimiter: Some(b';'),
            ..SourceOptions::default()
        };
        assert_eq!(read_with(&[b"a,b;c\n1,2;3\n"], semicolons, 1).unwrap().num_columns(), 2);
    }

    #[test]
    fn what_is_broken_is_refused_with_its_line() {
        let refused: [(&[u8], &str); 11] = [
            (b"", "is empty"),
            (b"\n\r\n\n", "has no header: all of its lines are empty"),
            (b"a,b\n1,2\n3\n", "line 3 has 1 field, where the header has 2 fields"),
            (b"a\n\"1\n2\n3", "line 2: a quote is opened and never closed"),
            (
                b"a,b\n\"1\"2,3\n",
                "line 2: a quoted field goes on after its closing quote (a quote inside one is written twice)",
            ),
            (
                b"a\r1\r2\n",
                "line 1: a carriage return stands alone; lines end with a line feed, or with both",
            ),
            (b"a\n1\n\0\n", "line 3 holds a zero byte: it is no CSV file"),
            (b"\xff\xfea\0\n\0", "is UTF-16; CSV files are read as UTF-8"),
            (b"a,caf\xe9\n1,2\n", "line 1 holds bytes that are no UTF-8"),
            (
                b"a,b\n1,x\n2,caf\xe9\n",
                "column \"b\": line 3 holds bytes that are no UTF-8",
            ),
            (
                b"a,b\n1,x\n2,\"caf\n\xe9\"\n",
                "column \"b\": line 3 holds bytes that are no UTF-8",
            ),
        ];
        for (bytes, expected) in refused {
            assert_eq!(refusal(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(read("a,b\n").unwrap().num_rows(), 0);
    }

    #[test]
    fn what_is_far_too_large_is_refused_before_it_is_held() {
        let columns = vec!["c"; 1_000_000].join(",");
        assert_eq!(refusal(columns.as_bytes()), "has 1000000 columns, more than 65536");
        let mut field = b"a\n1\n\"".to_vec();
        field.resize(MAX_RECORD + 2 * STEP, b'x');
        let expected = "line 3: a record of more than 16 MiB begins: a quote may never be closed";
        assert_eq!(refusal(&field), expected);
    }

    #[test]
    fn a_file_that_changes_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "a\n1\n").unwrap();
        let source = FileSource::open(std::slice::from_ref(&path), 1).unwrap();
        std::fs::write(&path, "a\n1\n2\n").unwrap();
        let read = source.scan(&[0], &mut |_, _| Ok(()));
        assert!(matches!(read, Err(Error::FileChanged { .. })), "{read:?}");
    }
}
