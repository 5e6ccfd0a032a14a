//! CSV as RFC 4180 has it: records of fields, which may be quoted and then hold anything, a quote as two.

/// A field of a record, as a place in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it stands between quotes, which do not belong to it.
    pub(super) is_quoted: bool,
    /// Whether it holds quotes, each written twice.
    pub(super) has_quotes: bool,
}

impl Field {
    /// The bytes as they are written.
    pub(super) fn raw<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.start..self.end]
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// A field begins with a quote, and the file ends before the next.
    NeverClosed,
    /// After a closing quote there is something else than a separator or the end of a line.
    AfterQuote,
    /// A carriage return without a line feed.
    LoneReturn,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NeverClosed => "a quote is opened and never closed",
            Self::AfterQuote => "a quoted field goes on after its closing quote (a quote inside one is written twice)",
            Self::LoneReturn => "a carriage return stands alone; lines end with a line feed, or with both",
        })
    }
}

/// What [`Records::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A record; its fields are in [`Records::fields`].
    Record,
    /// The bytes end within a record, which begins at [`Records::at`].
    Incomplete,
    /// No record is left.
    End,
}

/// Goes through bytes record by record. Lines that are empty are passed over.
pub(super) struct Records<'b> {
    bytes: &'b [u8],
    delimiter: u8,
    /// Whether no more bytes follow.
    is_last: bool,
    /// Where the next record begins.
    pub(super) at: usize,
    /// The line on which the record just found begins, from 1.
    pub(super) line: u64,
    next_line: u64,
    pub(super) fields: Vec<Field>,
}

impl<'b> Records<'b> {
    /// Records of `bytes`, whose first is on line `line` of the file.
    pub(super) fn new(bytes: &'b [u8], delimiter: u8, line: u64, is_last: bool) -> Self {
        Self {
            bytes,
            delimiter,
            is_last,
            at: 0,
            line,
            next_line: line,
            fields: Vec::new(),
        }
    }

    /// The line after the record just found.
    pub(super) fn next_line(&self) -> u64 {
        self.next_line
    }

    /// Finds the next record.
    pub(super) fn next(&mut self) -> Result<Step, Problem> {
        loop {
            self.line = self.next_line;
            if self.at == self.bytes.len() {
                return Ok(if self.is_last { Step::End } else { Step::Incomplete });
            }
            self.fields.clear();
            let mut has_quoted = false;
            let mut at = self.at;
            let end = loop {
                let Some((field, after)) = self.field(at)? else {
                    return Ok(Step::Incomplete);
                };
                has_quoted |= field.is_quoted;
                self.fields.push(field);
                match after {
                    After::Delimiter => at = field.end + usize::from(field.is_quoted) + 1,
                    After::Line(end) => break end,
                }
            };
            // Lines inside quotes count as well.
            self.next_line += match has_quoted {
                true => self.bytes[self.at..end].iter().filter(|&&byte| byte == b'\n').count() as u64,
                false => 1,
            };
            self.at = end;
            if !matches!(self.fields[..], [Field { start, end, is_quoted: false, .. }] if start == end) {
                return Ok(Step::Record);
            }
        }
    }

    /// The field that begins at `at`, and what is after it; `None` where more bytes are needed.
    fn field(&self, at: usize) -> Result<Option<(Field, After)>, Problem> {
        if self.bytes.get(at) == Some(&b'"') {
            return self.quoted(at + 1);
        }
        let is_end = |&byte: &u8| byte == self.delimiter || byte == b'\n' || byte == b'\r';
        let n = self.bytes[at..].iter().position(is_end);
        let field = |end| Field {
            start: at,
            end,
            is_quoted: false,
            has_quotes: false,
        };
        match n {
            Some(n) => Ok(self.after(at + n)?.map(|after| (field(at + n), after))),
            None if self.is_last => {
                let end = self.bytes.len();
                Ok(Some((field(end), After::Line(end))))
            }
            None => Ok(None),
        }
    }

    fn quoted(&self, start: usize) -> Result<Option<(Field, After)>, Problem> {
        let (mut at, mut has_quotes) = (start, false);
        let end = loop {
            let Some(n) = self.bytes[at..].iter().position(|&byte| byte == b'"') else {
                return if self.is_last {
                    Err(Problem::NeverClosed)
                } else {
                    Ok(None)
                };
            };
            match self.bytes.get(at + n + 1) {
                Some(b'"') => {
                    has_quotes = true;
                    at += n + 2;
                }
                None if !self.is_last => return Ok(None),
                _ => break at + n,
            }
        };
        let field = Field {
            start,
            end,
            is_quoted: true,
            has_quotes,
        };
        Ok(self.after(end + 1)?.map(|after| (field, after)))
    }

    /// What stands at the end of a field.
    fn after(&self, at: usize) -> Result<Option<After>, Problem> {
        match self.bytes.get(at) {
            Some(&byte) if byte == self.delimiter => Ok(Some(After::Delimiter)),
            Some(b'\n') => Ok(Some(After::Line(at + 1))),
            Some(b'\r') => match self.bytes.get(at + 1) {
                Some(b'\n') => Ok(Some(After::Line(at + 2))),
                None if !self.is_last => Ok(None),
                None => Ok(Some(After::Line(at + 1))),
                Some(_) => Err(Problem::LoneReturn),
            },
            Some(_) => Err(Problem::AfterQuote),
            None if self.is_last => Ok(Some(After::Line(at))),
            None => Ok(None),
        }
    }
}

enum After {
    Delimiter,
    /// The record ends, and the next would begin here.
    Line(usize),
}

/// A field without the doubling of its quotes.
pub(super) fn unescaped(raw: &str) -> String {
    raw.replace("\"\"", "\"")
}

/// The separator of a first line: whichever of comma, semicolon, tab and bar stands there most often outside of
/// quotes; comma in doubt.
pub(super) fn delimiter_of(bytes: &[u8]) -> u8 {
    const CANDIDATES: [u8; 4] = *b",;\t|";
    let mut counts = [0usize; CANDIDATES.len()];
    let mut in_quotes = false;
    for &byte in bytes {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\n' if !in_quotes => break,
            byte if !in_quotes => {
                if let Some(i) = CANDIDATES.iter().position(|&candidate| candidate == byte) {
                    counts[i] += 1;
                }
            }
            _ => {}
        }
    }
    let most = counts.iter().max().copied().unwrap_or(0);
    let first = counts.iter().position(|&count| count == most).unwrap_or(0);
    CANDIDATES[first]
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (u64, Vec<String>);

    fn rows_of(text: &str, is_last: bool) -> Result<(Vec<Row>, usize), (u64, Problem)> {
        let mut records = Records::new(text.as_bytes(), b',', 1, is_last);
        let mut rows = Vec::new();
        loop {
            match records.next() {
                Ok(Step::Record) => {
                    let fields = records
                        .fields
                        .iter()
                        .map(|field| unescaped(&text[field.start..field.end]));
                    rows.push((records.line, fields.collect()));
                }
                Ok(Step::Incomplete | Step::End) => return Ok((rows, records.at)),
                Err(problem) => return Err((records.line, problem)),
            }
        }
    }

    fn rows(text: &str) -> Vec<Row> {
        rows_of(text, true).unwrap().0
    }

    fn row(line: u64, fields: &[&str]) -> Row {
        (line, fields.iter().map(|&field| field.to_owned()).collect())
    }

    #[test]
    fn quotes_hold_anything_and_lines_are_counted() {
        let text = "a,b\r\n\"x,\"\"y\"\"\nz\",\n\n,\"\"\n1 \"in\",2";
        let expected = [
            row(1, &["a", "b"]),
            row(2, &["x,\"y\"\nz", ""]),
            row(5, &["", ""]),
            row(6, &["1 \"in\"", "2"]),
        ];
        assert_eq!(rows(text), expected);
        assert_eq!(rows(""), []);
        assert_eq!(rows("\n\r\n"), []);
        assert_eq!(rows("a\r"), [row(1, &["a"])]);
        assert_eq!(rows("\"\"\n"), [row(1, &[""])]);
    }

    #[test]
    fn what_is_broken_is_told_with_its_line() {
        assert_eq!(rows_of("a\nb,\"c\nd\n", true), Err((2, Problem::NeverClosed)));
        assert_eq!(rows_of("a\n\"b\"c\n", true), Err((2, Problem::AfterQuote)));
        assert_eq!(rows_of("a\rb\n", true), Err((1, Problem::LoneReturn)));
    }

    /// Wherever the bytes are cut, the records before the cut are those of the whole, and the rest begins one.
    #[test]
    fn a_cut_never_changes_a_record() {
        let text = "a,\"b\"\"\r\n\",c\r\n\"\",,\n\nd,e,\"f\"\r\n";
        let whole = rows(text);
        for cut in 0..=text.len() {
            let (mut found, at) = rows_of(&text[..cut], false).unwrap();
            found.extend(rows(&text[at..]));
            let texts = |rows: &[Row]| rows.iter().map(|row| row.1.clone()).collect::<Vec<_>>();
            assert_eq!(texts(&found), texts(&whole), "cut at {cut}");
        }
    }

    #[test]
    fn the_separator_is_told_from_the_first_line() {
        for (line, delimiter) in [
            ("a,b;c,d\n;;;;", b','),
            ("a;b;\"c,,,,\"\n", b';'),
            ("a\tb", b'\t'),
            ("a|b", b'|'),
            ("a\n,,,", b','),
            ("", b','),
        ] {
            assert_eq!(delimiter_of(line.as_bytes()), delimiter, "{line:?}");
        }
    }
}
