//! Rows as CSV or as JSON lines, for what does not read Parquet.
//!
//! Floats are the shortest digits that read back as the same bits. Dates and times are as in ISO 8601; points in time of
//! a zone are those of UTC, with a Z. What is missing is an empty cell (an empty text is `""`), or `null`.
//!
//! A spreadsheet takes texts that begin with `=`, `+`, `-`, `@`, a tab or a line break for formulas. In CSV, such texts
//! get a `'` before them, unless they are plain numbers; they are counted, so that it can be said. JSON lines have
//! them as they are.

use std::borrow::Borrow;
use std::io::{self, Write};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::OutFile;
use crate::error::{Error, Result};

/// A format of rows as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextFormat {
    Csv,
    Jsonl,
}

/// Rows being written as text.
pub(super) struct TextTable<W: Write + Borrow<OutFile>> {
    out: W,
    format: TextFormat,
    /// What stands before each value of a row.
    before: Vec<Vec<u8>>,
    /// The rows of a batch.
    text: Vec<u8>,
    n_formulas: u64,
}

impl<W: Write + Borrow<OutFile>> TextTable<W> {
    /// Begins a table; CSV has a line of names first.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn new(out: W, format: TextFormat, schema: &Schema) -> Result<Self> {
        let names = schema.fields().iter().map(|field| field.name().as_str()).enumerate();
        let mut text = Vec::new();
        let mut n_formulas = 0;
        let before = match format {
            TextFormat::Csv => {
                let commas = names.map(|(n, name)| {
                    let comma: &[u8] = if n == 0 { b"" } else { b"," };
                    text.extend_from_slice(comma);
                    n_formulas += u64::from(push_csv_text(&mut text, name));
                    comma.to_vec()
                });
                let commas = commas.collect();
                text.push(b'\n');
                commas
            }
            TextFormat::Jsonl => {
                let keys = names.map(|(n, name)| {
                    let mut key = if n == 0 { b"{".to_vec() } else { b",".to_vec() };
                    push_json_text(&mut key, name);
                    key.push(b':');
                    key
                });
                keys.collect()
            }
        };
        let mut table = Self {
            out,
            format,
            before,
            text,
            n_formulas,
        };
        table.flush()?;
        Ok(table)
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Those of writing; [`Error::Internal`] for values that cannot be told.
    pub(super) fn push_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns: Vec<Column> = batch.columns().iter().map(Column::new).collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            for (column, before) in columns.iter().zip(&self.before) {
                self.text.extend_from_slice(before);
                match self.format {
                    TextFormat::Csv => self.n_formulas += u64::from(column.push_csv(&mut self.text, row)?),
                    TextFormat::Jsonl => column.push_json(&mut self.text, row)?,
                }
            }
            let end: &[u8] = if self.format == TextFormat::Csv { b"\n" } else { b"}\n" };
            self.text.extend_from_slice(end);
        }
        self.flush()
    }

    /// Hands all of the file to the system; the number of texts that were marked as no formulas.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn finish(mut self) -> Result<u64> {
        let flushed = self.out.flush();
        flushed.map_err(|error| self.out.borrow().error(error))?;
        Ok(self.n_formulas)
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.out.write_all(&self.text);
        written.map_err(|error| self.out.borrow().error(error))?;
        self.text.clear();
        Ok(())
    }
}

/// The values of a column, ready to be told.
pub(super) struct Column {
    values: ArrayRef,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    F16,
    F32,
    F64,
    /// What is told as it is in JSON as well: whole numbers, decimals, truth values.
    Bare,
    /// What is between quotes in JSON: dates, bytes, all else.
    Quoted,
    /// Points in time, as those of UTC.
    Utc,
}

impl Column {
    pub(super) fn new(array: &ArrayRef) -> Result<Self> {
        use DataType as T;
        let (values, kind) = match array.data_type() {
            T::Dictionary(_, values) => return Self::new(&cast(array, values).map_err(untold)?),
            T::Utf8 => (array.clone(), Kind::Text),
            T::LargeUtf8 | T::Utf8View => (cast(array, &T::Utf8).map_err(untold)?, Kind::Text),
            T::Float16 => (array.clone(), Kind::F16),
            T::Float32 => (array.clone(), Kind::F32),
            T::Float64 => (array.clone(), Kind::F64),
            T::Boolean | T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => {
                (array.clone(), Kind::Bare)
            }
            whole if whole.is_integer() => (array.clone(), Kind::Bare),
            T::Timestamp(unit, Some(_)) => {
                // The numbers are those of UTC whatever the zone: without it, nothing is moved.
                let plain = array.to_data().into_builder().data_type(T::Timestamp(*unit, None));
                (make_array(plain.build().map_err(untold)?), Kind::Utc)
            }
            _ => (array.clone(), Kind::Quoted),
        };
        Ok(Self { values, kind })
    }

    /// A value as text, unquoted; none where it is missing.
    pub(super) fn text(&self, row: usize) -> Result<Option<String>> {
        if self.values.is_null(row) {
            return Ok(None);
        }
        let mut text = Vec::new();
        match self.kind {
            Kind::Text => text.extend_from_slice(self.values.as_string::<i32>().value(row).as_bytes()),
            _ => self.push_plain(&mut text, row)?,
        }
        Ok(Some(String::from_utf8_lossy(&text).into_owned()))
    }

    /// Adds a value that is not missing and no text.
    fn push_plain(&self, out: &mut Vec<u8>, row: usize) -> Result<()> {
        let written = match self.kind {
            Kind::F16 => write!(
                out,
                "{:?}",
                self.values.as_primitive::<Float16Type>().value(row).to_f32()
            ),
            Kind::F32 => write!(out, "{:?}", self.values.as_primitive::<Float32Type>().value(row)),
            Kind::F64 => write!(out, "{:?}", self.values.as_primitive::<Float64Type>().value(row)),
            _ => {
                let formatter = ArrayFormatter::try_new(&self.values, &FormatOptions::new()).map_err(untold)?;
                let zone = if self.kind == Kind::Utc { "Z" } else { "" };
                formatter
                    .value(row)
                    .try_to_string()
                    .map_err(untold)
                    .map(|value| write!(out, "{value}{zone}"))?
            }
        };
        written.map_err(|error: io::Error| Error::Internal(error.to_string()))
    }

    /// Whether it was a text that looks like a formula.
    fn push_csv(&self, out: &mut Vec<u8>, row: usize) -> Result<bool> {
        if self.values.is_null(row) {
            return Ok(false);
        }
        match self.kind {
            Kind::Text => Ok(push_csv_text(out, self.values.as_string::<i32>().value(row))),
            Kind::Quoted | Kind::Utc => {
                let text = self.text(row)?.unwrap_or_default();
                Ok(push_csv_text(out, &text))
            }
            _ => self.push_plain(out, row).map(|()| false),
        }
    }

    fn push_json(&self, out: &mut Vec<u8>, row: usize) -> Result<()> {
        let is_finite = match self.kind {
            Kind::F16 => self.values.as_primitive::<Float16Type>().value(row).is_finite(),
            Kind::F32 => self.values.as_primitive::<Float32Type>().value(row).is_finite(),
            Kind::F64 => self.values.as_primitive::<Float64Type>().value(row).is_finite(),
            _ => true,
        };
        // JSON has no other numbers.
        if self.values.is_null(row) || !is_finite {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match self.kind {
            Kind::Text => push_json_text(out, self.values.as_string::<i32>().value(row)),
            Kind::Quoted | Kind::Utc => push_json_text(out, &self.text(row)?.unwrap_or_default()),
            _ => self.push_plain(out, row)?,
        }
        Ok(())
    }
}

fn untold(error: ArrowError) -> Error {
    Error::Internal(format!("a value cannot be written as text: {error}"))
}

/// What formulas begin with, in spreadsheets of any language: the wide forms of the signs too.
const FORMULA_STARTS: [char; 11] = [
    '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
];

/// Adds a text between quotes where it needs them; whether it looked like a formula, and was marked as none.
fn push_csv_text(out: &mut Vec<u8>, text: &str) -> bool {
    let is_formula = text.starts_with(FORMULA_STARTS) && text.parse::<f64>().is_err();
    let needs_quotes = text.is_empty()
        || text.contains([',', '"', '\n', '\r', ';', '\t'])
        || text.starts_with(char::is_whitespace)
        || text.ends_with(char::is_whitespace);
    let mark: &[u8] = if is_formula { b"'" } else { b"" };
    if !needs_quotes {
        out.extend_from_slice(mark);
        out.extend_from_slice(text.as_bytes());
        return is_formula;
    }
    out.push(b'"');
    out.extend_from_slice(mark);
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
    is_formula
}

fn push_json_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a text is written to memory");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray, UInt64Array,
    };
    use serde_json::Value;

    use super::*;
    use crate::artifact::write_atomic;
    use crate::data::{BatchSource, FileSource, SourceOptions, type_of};
    use crate::model::fixture::table;

    fn written(format: TextFormat, batches: &[RecordBatch]) -> (String, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let n_formulas = write_atomic(&path, false, |out| {
            let mut table = TextTable::new(out, format, &batches[0].schema())?;
            batches.iter().try_for_each(|batch| table.push_batch(batch))?;
            table.finish()
        });
        (fs::read_to_string(path).unwrap(), n_formulas.unwrap())
    }

    const FLOATS: [f64; 9] = [
        0.1,
        -0.0,
        1e300,
        5e-324,
        f64::MAX,
        1.0 / 3.0,
        1e16,
        123456789.125,
        -2.5e-7,
    ];
    const TEXTS: [&str; 9] = ["a", "", " b ", "c,d", "e\"f", "two\nlines\r\n", "é;ü", "-12.5", "NA"];

    fn all_kinds() -> RecordBatch {
        let n = FLOATS.len() as i64;
        let floats = FLOATS.iter().enumerate().map(|(n, &value)| (n != 3).then_some(value));
        let small: Float32Array = FLOATS
            .iter()
            .map(|&value| Some((value as f32).clamp(-1e30, 1e30)))
            .collect();
        let stamps: Vec<i64> = (0..n).map(|n| n * 1_234_567_890_123 - 5_000_000_000_000).collect();
        table(vec![
            (
                "text",
                Arc::new(StringArray::from(
                    TEXTS.map(|text| (text != "a").then_some(text)).to_vec(),
                )),
            ),
            (
                "whole",
                Arc::new(Int64Array::from_iter_values((0..n).map(|n| n - (1 << 62)))),
            ),
            (
                "large",
                Arc::new(UInt64Array::from_iter_values((0..n as u64).map(|n| u64::MAX - n))),
            ),
            ("float", Arc::new(floats.collect::<Float64Array>())),
            ("small", Arc::new(small)),
            (
                "truth",
                Arc::new((0..n).map(|n| (n != 2).then_some(n % 2 == 0)).collect::<BooleanArray>()),
            ),
            (
                "day",
                Arc::new(Date32Array::from_iter_values((0..n as i32).map(|n| n * 9_999 - 20_000))),
            ),
            ("stamp", Arc::new(TimestampMicrosecondArray::from(stamps.clone()))),
            (
                "zoned",
                Arc::new(TimestampMicrosecondArray::from(stamps).with_timezone("Europe/Vienna")),
            ),
        ])
    }

    #[test]
    fn csv_reads_back_as_the_same_values() {
        let rows = all_kinds();
        let (text, n_formulas) = written(TextFormat::Csv, &[rows.slice(0, 4), rows.slice(4, 5)]);
        assert_eq!(
            (text.clone(), n_formulas),
            written(TextFormat::Csv, std::slice::from_ref(&rows))
        );
        assert_eq!(n_formulas, 0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("back.csv");
        fs::write(&path, &text).unwrap();
        let types = [
            "text",
            "int64",
            "uint64",
            "float64",
            "float32",
            "bool",
            "date",
            "timestamp",
            "timestamp_utc",
        ];
        let schema = rows.schema();
        let named = schema.fields().iter().zip(types);
        let options = SourceOptions {
            types: named
                .map(|(field, name)| (field.name().clone(), type_of(name).unwrap()))
                .collect(),
            ..SourceOptions::default()
        };
        let source = FileSource::open_with(&[path], 1, options).unwrap();
        let mut back = Vec::new();
        let columns: Vec<usize> = (0..rows.num_columns()).collect();
        source
            .scan(&columns, &mut |_, batch| {
                back.push(batch.clone());
                Ok(())
            })
            .unwrap();
        let back = arrow::compute::concat_batches(&back[0].schema(), &back).unwrap();
        for (n, field) in rows.schema().fields().iter().enumerate() {
            let expected: ArrayRef = match field.name().as_str() {
                // The same points in time: their zone is not told.
                "zoned" => {
                    let zoned = rows
                        .column(n)
                        .as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
                    Arc::new(zoned.clone().with_timezone("UTC"))
                }
                _ => rows.column(n).clone(),
            };
            assert_eq!(back.column(n), &expected, "{}", field.name());
        }
        // A comparison that could not fail would be none.
        assert_ne!(back.column(3).slice(0, 1).as_ref(), rows.column(3).slice(1, 1).as_ref());
    }

    #[test]
    fn json_lines_read_back_as_the_same_values() {
        let rows = all_kinds();
        let (text, _) = written(TextFormat::Jsonl, std::slice::from_ref(&rows));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), rows.num_rows());
        for (row, line) in lines.iter().enumerate() {
            let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
            assert_eq!(keys.len(), rows.num_columns());
            let text = (TEXTS[row] != "a").then_some(TEXTS[row]);
            assert_eq!(line["text"].as_str(), text);
            assert_eq!(line["whole"].as_i64(), Some(row as i64 - (1 << 62)));
            assert_eq!(line["large"].as_u64(), Some(u64::MAX - row as u64));
            let float = line["float"].as_f64().map(f64::to_bits);
            assert_eq!(float, (row != 3).then_some(FLOATS[row].to_bits()));
            let small = rows.column(4).as_primitive::<Float32Type>().value(row);
            assert_eq!(
                line["small"].to_string().parse::<f32>().unwrap().to_bits(),
                small.to_bits()
            );
            assert_eq!(line["truth"].as_bool(), (row != 2).then_some(row % 2 == 0));
        }
        assert_eq!(lines[0]["day"], "1915-03-31");
        assert_eq!(lines[0]["stamp"], "1969-11-04T03:06:40");
        assert_eq!(lines[0]["zoned"], "1969-11-04T03:06:40Z");
    }

    #[test]
    fn what_is_no_number_decimals_and_odd_names() {
        let rows = table(vec![
            ("=1+1", Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY]))),
            (
                "a \"b\"",
                Arc::new(
                    Decimal128Array::from(vec![12_345, -5])
                        .with_precision_and_scale(10, 2)
                        .unwrap(),
                ),
            ),
        ]);
        let (csv, n_formulas) = written(TextFormat::Csv, std::slice::from_ref(&rows));
        assert_eq!(
            (csv.as_str(), n_formulas),
            ("'=1+1,\"a \"\"b\"\"\"\nNaN,123.45\ninf,-0.05\n", 1)
        );
        let (json, _) = written(TextFormat::Jsonl, &[rows]);
        assert_eq!(
            json,
            "{\"=1+1\":null,\"a \\\"b\\\"\":123.45}\n{\"=1+1\":null,\"a \\\"b\\\"\":-0.05}\n"
        );
    }

    #[test]
    fn texts_that_a_spreadsheet_would_run_are_marked_in_csv_alone() {
        let texts = [
            "=cmd()",
            "+49 555",
            "-12",
            "+1e5",
            "-a",
            "@x",
            "\t=1",
            "\r=1",
            "a=b",
            "'=a",
            "\u{ff1d}1",
        ];
        let rows = table(vec![("id", Arc::new(StringArray::from(texts.to_vec())))]);
        let (csv, n_formulas) = written(TextFormat::Csv, std::slice::from_ref(&rows));
        let expected = "id\n'=cmd()\n'+49 555\n-12\n+1e5\n'-a\n'@x\n\"'\t=1\"\n\"'\r=1\"\na=b\n'=a\n'\u{ff1d}1\n";
        assert_eq!((csv.as_str(), n_formulas), (expected, 7));
        let (json, _) = written(TextFormat::Jsonl, &[rows]);
        let back: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(back.iter().zip(texts).all(|(line, text)| line["id"] == text));
        // What is no text may begin with a sign as well: a day before the year 0, of a zone or of none.
        let days = TimestampMicrosecondArray::from(vec![-70_000_000_000_000_000, 0]);
        let days: [ArrayRef; 2] = [Arc::new(days.clone().with_timezone("UTC")), Arc::new(days)];
        for days in days {
            let (csv, n_formulas) = written(TextFormat::Csv, &[table(vec![("day", days)])]);
            assert!(csv.starts_with("day\n'-") && csv.contains("\n1970-01-01"), "{csv}");
            assert_eq!(n_formulas, 1);
        }
    }
}
