//! All that is printed: stdout is data, stderr is talk. No colour, so none is ever needed to understand a line.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::json;
use terminal_size::{Width, terminal_size_of};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use kohort::cells::Count;
use kohort::error::escape;
pub(crate) use kohort::report::figures::{count, number, percent, plural, seconds};
use kohort::report::rows;
use kohort::{Error, ErrorKind, Result};

use super::args::TalkArgs;
use super::config::blame;

/// A number of rows in a sentence: `37 rows`, `under 11 rows`, `some rows` where next to nothing is told of it.
pub(crate) fn rows_in_words(n: Count) -> String {
    match (n, n.bounds()) {
        (Count::Exact(n), _) => plural(n, "row"),
        (_, [low, high]) if low > 1 && high > 2 * low => "some rows".into(),
        _ => format!("{} rows", rows(n)),
    }
}

/// Where a command says things.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
    /// Nothing goes to stdout.
    muted: bool,
}

impl Output {
    pub(crate) fn new(talk: &TalkArgs) -> Self {
        Self {
            json: talk.json,
            quiet: talk.quiet,
            verbose: talk.verbose,
            muted: false,
        }
    }

    /// For a command within a command, whose own object is the one on stdout.
    pub(crate) fn muted_where_json(self) -> Self {
        Self {
            muted: self.json,
            ..self
        }
    }

    /// For what goes wrong before the arguments are understood.
    pub(crate) fn early(json: bool) -> Self {
        Self {
            json,
            quiet: false,
            verbose: false,
            muted: false,
        }
    }

    /// Talk, unless `--quiet`.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            err_lines(text);
        }
    }

    /// Talk for `--verbose` only.
    pub(crate) fn detail(self, text: &str) {
        if self.verbose {
            err_lines(text);
        }
    }

    /// Something the user should know even with `--quiet`.
    pub(crate) fn warning(self, text: &str) {
        err_lines(&format!("warning: {}", escape(text)));
    }

    /// Data for people on stdout; nothing with `--json`.
    ///
    /// # Errors
    /// Where stdout takes no more, for another reason than a reader who left.
    pub(crate) fn data(self, text: &str) -> Result<()> {
        if self.json { Ok(()) } else { out(text) }
    }

    /// The one object on stdout, with `--json` only.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub(crate) fn object(self, object: &impl Serialize) -> Result<()> {
        if !self.json || self.muted {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(object)
            .map_err(|source| Error::Internal(format!("the result cannot be written as JSON: {source}")))?;
        out(&(text + "\n"))
    }

    /// An error, and the next step where there is one.
    pub(crate) fn error(self, error: &Error) {
        let message = in_flags(error) + &blame(error).unwrap_or_default();
        let hint = error.hint();
        if self.json {
            self.error_object(&message, hint.as_deref(), error.kind());
        } else {
            err_lines(&error_text(&message, hint.as_deref()));
        }
    }

    /// A failure that the `--json` object has told already.
    pub(crate) fn failed(self, message: &str, hint: &str) {
        if !self.json {
            err_lines(&error_text(message, Some(hint)));
        }
    }

    /// What is wrong with the command line, or the help that was asked for; the exit code.
    pub(crate) fn usage(self, error: &clap::Error) -> u8 {
        if self.json && error.use_stderr() {
            let text = error.to_string();
            let mut parts = text.trim_end().splitn(2, "\n\n");
            let message = parts.next().unwrap_or_default().trim_start_matches("error: ");
            self.error_object(message, parts.next(), ErrorKind::Input);
        } else {
            // A reader of the help who left is no failure.
            let _ = error.print();
        }
        if error.use_stderr() {
            super::exit_code(ErrorKind::Input)
        } else {
            0
        }
    }

    fn error_object(self, message: &str, hint: Option<&str>, kind: ErrorKind) {
        let kind_name = match kind {
            ErrorKind::Input => "input",
            ErrorKind::Device => "device",
            ErrorKind::Gate => "gate",
            ErrorKind::Mismatch => "mismatch",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::Internal => "internal",
        };
        let exit_code = super::exit_code(kind);
        let object = json!({ "error": message, "hint": hint, "kind": kind_name, "exit_code": exit_code });
        // What stdout does not take is said on stderr.
        if self.object(&object).is_err() {
            err_lines(&error_text(message, hint));
        }
    }
}

/// What an error says, with a parameter under the name that it has on the command line.
fn in_flags(error: &Error) -> String {
    let Error::InvalidParam { param, value, reason } = error else {
        return error.to_string();
    };
    let flag = match *param {
        "n_clusters" => "-k",
        "features" => "--features",
        "exclude" => "--exclude",
        "prefer" => "--prefer",
        "min_share" => "--min-share",
        "drill" => "--drill",
        "levels" => "--levels",
        "init" => "--init",
        "schema" => "--schema",
        other => other,
    };
    format!("{flag} {}: {}", escape(value), escape(reason))
}

/// `error: …`, a blank line, `hint: …`.
fn error_text(message: &str, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("error: {message}\n\nhint: {hint}"),
        None => format!("error: {message}"),
    }
}

/// Talk from elsewhere: the progress display, the signal handler.
pub(super) fn err_lines(text: &str) {
    err_line(&fold(text, stderr_width()));
}

/// One line for programs, however wide the terminal.
#[expect(clippy::print_stderr, reason = "the one place that writes to stderr")]
pub(super) fn err_line(text: &str) {
    eprintln!("{text}");
}

/// `text` with lines longer than `width` broken at a space, where they have one.
pub(super) fn fold(text: &str, width: usize) -> String {
    let mut folded = String::with_capacity(text.len());
    for mut line in text.split_inclusive('\n') {
        while line.trim_end().width() > width {
            let fitting = take_width(line.chars(), width.saturating_add(1)).len();
            let Some(space) = line[..fitting].trim_start().rfind(' ') else {
                break;
            };
            let space = space + fitting - line[..fitting].trim_start().len();
            folded += line[..space].trim_end();
            folded.push('\n');
            line = line[space..].trim_start_matches(' ');
        }
        folded += line;
    }
    folded
}

fn out(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::io("write", "standard output")),
    }
}

/// Columns the terminal behind stdout has; no limit where there is no terminal.
pub(crate) fn stdout_width() -> usize {
    terminal_size_of(io::stdout()).map_or(usize::MAX, |(Width(width), _)| usize::from(width))
}

/// Columns the terminal behind stderr has; no limit where there is no terminal.
pub(crate) fn stderr_width() -> usize {
    terminal_size_of(io::stderr()).map_or(usize::MAX, |(Width(width), _)| usize::from(width))
}

pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table in plain text. Where a line is too short, the last column, which holds lists, is wrapped between items,
/// and long texts in columns aligned to the left lose their middle.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    last: Option<&'static str>,
    rows: Vec<(Vec<String>, Vec<String>)>,
}

impl Table {
    /// Columns of single cells, then, where there is one, the column of lists.
    pub(crate) fn new(columns: &[(&'static str, Align)], last: Option<&'static str>) -> Self {
        Self {
            columns: columns.to_vec(),
            last,
            rows: Vec::new(),
        }
    }

    /// One row; texts from outside are escaped here.
    pub(crate) fn row(&mut self, cells: &[String], list: &[String]) {
        debug_assert_eq!(cells.len(), self.columns.len());
        let escaped = |texts: &[String]| texts.iter().map(|text| escape(text)).collect();
        self.rows.push((escaped(cells), escaped(list)));
    }

    /// The table in lines of at most `width` columns where the single cells leave room for that.
    pub(crate) fn render(&self, width: usize) -> String {
        let widths = self.widths(width);
        let indent: usize = widths.iter().map(|width| width + GAP.len()).sum();
        let room = width.saturating_sub(indent).max(MIN_LIST);
        let header: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut text = String::new();
        self.line(&mut text, &header, &fold(self.last.unwrap_or_default(), room), &widths);
        for (cells, list) in &self.rows {
            self.line(&mut text, cells, &wrap(list, room), &widths);
        }
        text
    }

    /// The widths of the single cells' columns in a line of `width`: the widest of texts gives way first.
    fn widths(&self, width: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len()).map(|j| self.column_width(j)).collect();
        let room = width.saturating_sub(if self.last.is_some() { MIN_LIST } else { 0 });
        while widths.iter().map(|width| width + GAP.len()).sum::<usize>() > room {
            let texts = (0..widths.len()).filter(|&j| self.columns[j].1 == Align::Left && widths[j] > MIN_TEXT);
            let Some(widest) = texts.max_by_key(|&j| widths[j]) else {
                break;
            };
            widths[widest] -= 1;
        }
        widths
    }

    fn column_width(&self, j: usize) -> usize {
        let cells = self.rows.iter().map(|(cells, _)| cells[j].width());
        cells.chain([self.columns[j].0.width()]).max().unwrap_or(0)
    }

    /// One row, whose last cell may have several lines.
    fn line(&self, text: &mut String, cells: &[String], last: &str, widths: &[usize]) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            let cell = shorten(cell, *width);
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            match align {
                Align::Left => line.extend([&*cell, &pad, GAP]),
                Align::Right => line.extend([&*pad, &cell, GAP]),
            }
        }
        let indent = " ".repeat(line.width());
        for (n, part) in last.lines().enumerate() {
            if n > 0 {
                let _ = writeln!(text, "{}", line.trim_end());
                line = indent.clone();
            }
            line.push_str(part);
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

const GAP: &str = "  ";
/// The least room a list is given, however narrow the terminal.
const MIN_LIST: usize = 24;
/// The least width of a column of texts that had to be shortened.
const MIN_TEXT: usize = 12;

/// A text in at most `width` columns, without its middle where it is longer: names tend to differ at both ends.
pub(crate) fn shorten(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return text.into();
    }
    let room = width.saturating_sub(1);
    let head = take_width(text.chars(), room.div_ceil(2));
    let tail: Vec<char> = take_width(text.chars().rev(), room / 2).chars().collect();
    format!("{head}…{}", tail.iter().rev().collect::<String>()).into()
}

/// As many of `chars` as fit in `width` columns.
pub(super) fn take_width(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut left = width;
    chars
        .take_while(|c| {
            let fits = c.width().unwrap_or(0) <= left;
            left = left.saturating_sub(c.width().unwrap_or(0));
            fits
        })
        .collect()
}

/// The items, separated by commas, in lines of at most `room` columns where every item fits.
fn wrap(items: &[String], room: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let item = if n + 1 < items.len() {
            format!("{item},")
        } else {
            item.clone()
        };
        match lines.last_mut() {
            Some(line) if line.width() + 1 + item.width() <= room => line.extend([" ", item.as_str()]),
            _ => lines.push(item),
        }
    }
    lines.join("\n")
}

/// A number of bytes: `512 MB`, `12.8 GB`.
pub(crate) fn bytes_in_words(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit > 0 && value < 99.95 {
        format!("{value:.1} {}", units[unit])
    } else {
        format!("{value:.0} {}", units[unit])
    }
}

/// Seconds per stage, with `--verbose`.
pub(crate) fn show_stages<'s>(stages: impl IntoIterator<Item = (&'s str, f64)>, output: Output) {
    for (stage, elapsed_s) in stages {
        output.detail(&format!("  {stage:8} {}", seconds(elapsed_s)));
    }
}

/// The first few of many names: `a, b, c, ...`.
pub(crate) fn some_of<'n>(mut names: impl Iterator<Item = &'n str>) -> String {
    let told: Vec<String> = names.by_ref().take(5).map(escape).collect();
    let others = if names.next().is_some() { ", ..." } else { "" };
    told.join(", ") + others
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (-0.034_56, "-0.03456"),
            (12.5, "12.5"),
            (999.46, "999.5"),
            (999.7, "1,000"),
            (1_234_567.8, "1,234,568"),
            (-1_234.4, "-1,234"),
            (0.000_01, "1.000e-5"),
            (1e20, "1.000e20"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(
            [count(0), count(999), count(1000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [percent(0.0), percent(0.0004), percent(0.5926)],
            ["0.0%", "<0.1%", "59.3%"]
        );
        let names = ["a", "b", "c", "d", "e", "f"];
        assert_eq!(some_of(names.into_iter()), "a, b, c, d, e, ...");
        assert_eq!(some_of(names[..5].iter().copied()), "a, b, c, d, e");
        let words = [
            Count::Exact(1),
            Count::Between(1, 10),
            Count::Between(11, 9989),
            Count::Between(40, 45),
        ];
        assert_eq!(
            words.map(rows_in_words),
            ["1 row", "under 11 rows", "some rows", "40 to 45 rows"]
        );
        assert_eq!(plural(1, "row") + ", " + &plural(2_000, "row"), "1 row, 2,000 rows");
    }

    #[test]
    fn a_table_is_aligned_and_its_lists_wrap_between_items() {
        let mut table = Table::new(&[("segment", Align::Right), ("name", Align::Left)], Some("features"));
        table.row(
            &strings(&["1", "é漢"]),
            &strings(&["first item", "second item", "third item"]),
        );
        table.row(&strings(&["12", "b"]), &strings(&["x"]));
        let wide = "segment  name  features\n      1  é漢   first item, second item, third item\n     12  b     x\n";
        assert_eq!(table.render(usize::MAX), wide);
        let narrow = "segment  name  features\n      1  é漢   first item, second item,\n               third item\n     12  b     x\n";
        assert_eq!(table.render(40), narrow);
    }

    #[test]
    fn long_names_lose_their_middle_where_the_line_is_short() {
        assert_eq!(shorten("usage_2024_q1", 13), "usage_2024_q1");
        assert_eq!(shorten("usage_2024_q1", 8), "usag…_q1");
        assert_eq!(shorten("漢字漢字", 6), "漢…字");
        let mut table = Table::new(&[("column", Align::Left), ("size", Align::Right)], Some("features"));
        table.row(&strings(&["a_name_of_thirty_columns_width", "1,234"]), &strings(&["x"]));
        let lines = "column           size  features\na_name_…_width  1,234  x\n";
        assert_eq!(table.render(47), lines);
    }

    #[test]
    fn long_lines_break_at_spaces() {
        let text = "a line of words\nshort\nunbreakable_word x\n";
        let folded = "a line of\nwords\nshort\nunbreakable_word x\n";
        assert_eq!(fold(text, 9), folded);
        assert_eq!(fold(text, usize::MAX), text);
        assert_eq!(fold("   é漢字 é漢字", 9), "   é漢字\né漢字");
    }

    #[test]
    fn an_error_names_the_flag() {
        let error = |param| Error::InvalidParam {
            param,
            value: "usage_*".into(),
            reason: "matches no column".into(),
        };
        assert_eq!(in_flags(&error("features")), "--features usage_*: matches no column");
        assert_eq!(in_flags(&Error::NoRows), "the data has no rows");
    }

    #[test]
    fn cells_from_outside_cannot_drive_the_terminal() {
        let mut table = Table::new(&[("column", Align::Left)], None);
        table.row(&strings(&["a\u{1b}[2J\n"]), &[]);
        assert_eq!(table.render(80), "column\na\\u{1b}[2J\\n\n");
    }

    #[test]
    fn an_error_has_its_hint_after_a_blank_line() {
        assert_eq!(error_text("no", Some("do")), "error: no\n\nhint: do");
        assert_eq!(error_text("no", None), "error: no");
    }
}
