//! A table in many files: one for each file of the data, or one for each value of a column, in folders as Hive names
//! them (`segment=3/part-0.parquet`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{BatchCoalescer, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema};

use super::rows_out::{Layout, RowsOut};
use super::tables::BATCH_ROWS;
use super::text_table::Column;
use super::{OutFile, RunDir};
use crate::error::{BY_COLUMN, Error, Result};

/// Most values of a column that get a file each.
pub const MAX_PARTITIONS: usize = 1000;
/// Rows that one of many files encodes at once.
pub(super) const PART_BATCH_ROWS: usize = 1 << 11;
/// Bytes of encoded rows that all files together hold back; the largest are written first.
const HELD_BYTES: usize = 128 << 20;
/// Most bytes in the name of a folder.
const MAX_NAME: usize = 255;
/// What Hive calls the folder of rows without a value.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// How rows are spread over files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionBy {
    /// The rows of each file of the data together: relative names, `/` between folders, and numbers of rows.
    Files(Vec<(String, usize)>),
    /// The rows that have the same value in this column: one of the data, or of the table itself.
    Column(String),
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartsWritten {
    /// Relative names, sorted, `/` between folders.
    pub files: Vec<String>,
    /// Texts that were marked as no formulas, see [`super::AssignmentTable::write`].
    pub n_formulas: u64,
}

/// Takes rows and puts each where it belongs.
pub(super) trait Spread {
    fn push(&mut self, batch: RecordBatch) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<PartsWritten>;
}

/// One file after the other.
pub(super) struct ByFile<'p> {
    dir: &'p RunDir,
    layout: Layout<'p>,
    files: std::slice::Iter<'p, (String, usize)>,
    /// Its name is the last in `written`.
    open: Option<(RowsOut<OutFile>, usize)>,
    written: PartsWritten,
}

impl<'p> ByFile<'p> {
    pub(super) fn new(dir: &'p RunDir, layout: Layout<'p>, files: &'p [(String, usize)]) -> Self {
        Self {
            dir,
            layout,
            files: files.iter(),
            open: None,
            written: PartsWritten::default(),
        }
    }

    /// Ends files that have all their rows, and begins the next one; false where there is none.
    fn turn(&mut self) -> Result<bool> {
        loop {
            match self.open.take() {
                Some((rows, left)) if left > 0 => {
                    self.open = Some((rows, left));
                    return Ok(true);
                }
                Some((rows, _)) => {
                    let name = self.written.files.last().map_or("", String::as_str);
                    self.written.n_formulas += end(self.dir, name, rows)?;
                }
                None => {}
            }
            let Some((name, n_rows)) = self.files.next().cloned() else {
                return Ok(false);
            };
            let rows = RowsOut::new(self.dir.begin(&name)?, &self.layout)?;
            self.written.files.push(name);
            self.open = Some((rows, n_rows));
        }
    }
}

impl Spread for ByFile<'_> {
    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            let more = self.turn()?;
            let Some((rows, left)) = self.open.as_mut().filter(|_| more) else {
                return Err(Error::Internal("there are more rows than the files have".into()));
            };
            let n = (*left).min(batch.num_rows() - from);
            rows.push_batch(batch.slice(from, n))?;
            *left -= n;
            from += n;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<PartsWritten> {
        if self.turn()? {
            return Err(Error::Internal("there are fewer rows than the files have".into()));
        }
        self.written.files.sort();
        Ok(self.written)
    }
}

/// All files at once.
pub(super) struct ByValue<'p> {
    dir: &'p RunDir,
    /// Of the files: without the column, which the folders tell.
    layout: Layout<'p>,
    column: String,
    /// Where it stands in the rows that come.
    place: usize,
    /// Rows come in as many as these, however the data is cut: what is held back depends on the rows alone.
    rows: BatchCoalescer,
    places: HashMap<Option<String>, usize>,
    open: Vec<(String, RowsOut<OutFile>)>,
}

impl<'p> ByValue<'p> {
    /// `layout` is that of the rows that come, with the column at `place`.
    pub(super) fn new(dir: &'p RunDir, mut layout: Layout<'p>, place: usize, column: &str) -> Self {
        let rows = BatchCoalescer::new(layout.schema.clone(), BATCH_ROWS);
        let kept = { layout.schema.fields().iter().enumerate() }.filter(|&(n, _)| n != place);
        layout.schema = Schema::new(kept.map(|(_, field)| field.clone()).collect::<Vec<_>>()).into();
        layout.batch_rows = PART_BATCH_ROWS;
        Self {
            dir,
            layout,
            column: column.to_owned(),
            place,
            rows,
            places: HashMap::new(),
            open: Vec::new(),
        }
    }

    fn take_completed(&mut self) -> Result<()> {
        while let Some(batch) = self.rows.next_completed_batch() {
            self.spread(batch)?;
        }
        Ok(())
    }

    fn spread(&mut self, mut batch: RecordBatch) -> Result<()> {
        let wrong = |error| Error::Internal(format!("rows cannot be spread over files: {error}"));
        let values = Column::new(&batch.remove_column(self.place))?;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.open.len()];
        for row in 0..batch.num_rows() {
            let place = self.place_of(values.text(row)?)?;
            if place == rows.len() {
                rows.push(Vec::new());
            }
            rows[place].push(row as u32);
        }
        for ((_, out), rows) in self.open.iter_mut().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
            out.push_batch(take_record_batch(&batch, &UInt32Array::from(rows)).map_err(wrong)?)?;
        }
        let mut held: Vec<(usize, usize)> = { self.open.iter().enumerate() }
            .map(|(place, (_, out))| (out.held_bytes(), place))
            .collect();
        let mut all: usize = held.iter().map(|(bytes, _)| bytes).sum();
        held.sort_unstable();
        while let Some((bytes, place)) = held.pop().filter(|_| all > HELD_BYTES) {
            self.open[place].1.let_go()?;
            all -= bytes;
        }
        Ok(())
    }

    /// The file of a value.
    fn place_of(&mut self, value: Option<String>) -> Result<usize> {
        let n_open = self.open.len();
        let entry = match self.places.entry(value) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(entry) => entry,
        };
        let refused = |reason: String| Error::InvalidParam {
            param: "--partition-by",
            value: self.column.clone(),
            reason,
        };
        if n_open == MAX_PARTITIONS {
            return Err(refused(format!(
                "has more than {MAX_PARTITIONS} values, and each would be a file of its own; take a column of fewer"
            )));
        }
        let folder = folder_of(&self.column, entry.key().as_deref());
        if folder.len() > MAX_NAME {
            return Err(refused(format!(
                "a value is too long for the name of a folder ({MAX_NAME} bytes)"
            )));
        }
        let name = format!("{folder}/part-0.{}", self.layout.format.ending());
        let out = RowsOut::new(self.dir.begin(&name)?, &self.layout)?;
        self.open.push((name, out));
        entry.insert(n_open);
        Ok(n_open)
    }
}

impl Spread for ByValue<'_> {
    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let pushed = self.rows.push_batch(batch);
        pushed.map_err(|error| Error::Internal(format!("rows to be spread over files: {error}")))?;
        self.take_completed()
    }

    fn finish(mut self: Box<Self>) -> Result<PartsWritten> {
        let flushed = self.rows.finish_buffered_batch();
        flushed.map_err(|error| Error::Internal(format!("rows to be spread over files: {error}")))?;
        self.take_completed()?;
        let mut written = PartsWritten::default();
        for (name, out) in self.open {
            written.n_formulas += end(self.dir, &name, out)?;
            written.files.push(name);
        }
        written.files.sort();
        Ok(written)
    }
}

fn end(dir: &RunDir, name: &str, rows: RowsOut<OutFile>) -> Result<u64> {
    let n_formulas = rows.finish()?;
    dir.end(name)?;
    Ok(n_formulas)
}

/// `COLUMN=VALUE` with what no folder should have in its name as `%2F` and the like, as Hive writes it.
fn folder_of(column: &str, value: Option<&str>) -> String {
    let value = match value {
        None => NO_VALUE.to_owned(),
        // A text that says so is not the same as none.
        Some(NO_VALUE) => NO_VALUE.replacen('_', "%5F", 1),
        Some(value) => escaped(value),
    };
    format!("{}={value}", escaped(column))
}

/// The characters that Hive escapes, those that Windows has no names with, and what drives terminals.
fn escaped(text: &str) -> String {
    const ASIDE: &str = "\"#%'*/:=?\\{[]^<>|";
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let is_plain =
            !ASIDE.contains(c) && !c.is_control() && crate::error::escape(c.encode_utf8(&mut [0; 4])).chars().eq([c]);
        match is_plain {
            true => out.push(c),
            false => c
                .encode_utf8(&mut [0; 4])
                .bytes()
                .for_each(|byte| out += &format!("%{byte:02X}")),
        }
    }
    // Windows drops these from the end of a name.
    if let Some(last) = out.pop() {
        match last {
            '.' | ' ' => out += &format!("%{:02X}", last as u32),
            last => out.push(last),
        }
    }
    out
}

/// Refuses a column that rows cannot be spread by: one whose values are no few texts.
pub(super) fn check_column(field: &Field) -> Result<()> {
    let reason = match field.data_type() {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "holds measured numbers, of which each is another",
        nested if nested.is_nested() => "is nested",
        _ => return Ok(()),
    };
    Err(Error::ColumnUnusable {
        column: field.name().clone(),
        role: BY_COLUMN,
        reason: reason.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_as_hive_names_them() {
        for (value, folder) in [
            (Some("3"), "a%3Db=3"),
            (None, "a%3Db=__HIVE_DEFAULT_PARTITION__"),
            (Some("__HIVE_DEFAULT_PARTITION__"), "a%3Db=%5F_HIVE_DEFAULT_PARTITION__"),
            (Some(""), "a%3Db="),
            (Some("../../etc/x"), "a%3Db=..%2F..%2Fetc%2Fx"),
            (Some(".."), "a%3Db=.%2E"),
            (Some("50% \u{1b}[31m"), "a%3Db=50%25 %1B%5B31m"),
            (Some("é \u{202e}"), "a%3Db=é %E2%80%AE"),
            (Some("a\0b\n"), "a%3Db=a%00b%0A"),
        ] {
            assert_eq!(folder_of("a=b", value), folder);
        }
    }
}
