//! The text of a filter as a tree.
//!
//! ```text
//! expr  = all { "or" all }                 all = not { "and" not }
//! not   = "not" not | "(" expr ")" | test
//! test  = column [ compare value | ["not"] "in" "(" value {"," value} ")" | ["not"] "between" value "and" value
//!                | ["not"] "like" value | "is" ["not"] "null" ]
//! ```
//! Words are read in any case. A column is a word, or anything between double quotes; a value is a number, `true`,
//! `false`, or a text between single quotes. A quote inside quotes is written twice.

use std::ops::Range;

/// Filters nested deeper than this are refused.
const MAX_DEPTH: usize = 64;

/// What is wrong with a filter, and where: bytes of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) what: String,
    pub(super) at: Range<usize>,
}

/// A filter as a tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Test(Test),
}

/// What is asked of one column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Test {
    pub(super) column: String,
    pub(super) at: Range<usize>,
    pub(super) how: How,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum How {
    IsTrue,
    IsNull,
    Compare(Compare, Value),
    In(Vec<Value>),
    Between(Value, Value),
    Like(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) literal: Literal,
    pub(super) at: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Number(String),
    Text(String),
    Bool(bool),
}

impl How {
    /// The values that are written in it.
    pub(super) fn values(&self) -> Vec<&Value> {
        match self {
            Self::IsTrue | Self::IsNull => Vec::new(),
            Self::Compare(_, value) | Self::Like(value) => vec![value],
            Self::In(values) => values.iter().collect(),
            Self::Between(low, high) => vec![low, high],
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// A word, in lower case where it is looked at.
    Word(String),
    /// A column in double quotes.
    Quoted(String),
    Value(Literal),
    Compare(Compare),
    Open,
    Close,
    Comma,
    /// What a record has in the place of a value that it does not tell.
    Withheld,
}

#[derive(Debug, Clone, PartialEq)]
struct Token {
    kind: Kind,
    at: Range<usize>,
}

/// Reads a filter.
///
/// # Errors
/// The first place that cannot be read.
pub(super) fn parse(text: &str) -> Result<Expr, Problem> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        end: text.len(),
        depth: 0,
    };
    let expr = parser.any()?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.expected("and, or, or the end")),
    }
}

/// The text of a filter with a dot for every character of its values but the quotes: what may be shown of it.
pub(super) fn masked(text: &str) -> String {
    let mut masked: Vec<char> = text.chars().collect();
    let mut in_text = false;
    let mut in_name = false;
    let mut before = ' ';
    let mut is_number = false;
    for c in &mut masked {
        let shown = *c;
        let begins = !(before.is_alphanumeric() || before == '_');
        is_number = match shown {
            _ if in_text || in_name => false,
            '0'..='9' => is_number || begins,
            '.' | 'e' | 'E' => is_number,
            _ => false,
        };
        match shown {
            '\'' if !in_name => in_text = !in_text,
            '"' if !in_text => in_name = !in_name,
            _ if in_text || is_number => *c = '.',
            _ => {}
        }
        before = shown;
    }
    masked.into_iter().collect()
}

fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (kind, len) = token(&text[at..]).map_err(|(what, len)| Problem { what, at: at..at + len })?;
        tokens.push(Token { kind, at: at..at + len });
        at += len;
    }
    Ok(tokens)
}

/// The token at the beginning of `text`, and its bytes.
fn token(text: &str) -> Result<(Kind, usize), (String, usize)> {
    let two = |kind, len| Ok((kind, len));
    let first = text.chars().next().unwrap_or(' ');
    match first {
        '(' => two(Kind::Open, 1),
        ')' => two(Kind::Close, 1),
        ',' => two(Kind::Comma, 1),
        '?' => two(Kind::Withheld, 1),
        '\'' => quoted(text, '\'', "this text").map(|(text, len)| (Kind::Value(Literal::Text(text)), len)),
        '"' => quoted(text, '"', "this name").map(|(text, len)| (Kind::Quoted(text), len)),
        '=' | '!' | '<' | '>' => compare(text),
        '0'..='9' | '.' | '-' | '+' => number(text),
        c if c.is_alphabetic() || c == '_' => {
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
            let len = text.find(|c| !is_part(c)).unwrap_or(text.len());
            two(Kind::Word(text[..len].to_owned()), len)
        }
        c => Err((format!("{c:?} means nothing here"), c.len_utf8())),
    }
}

fn compare(text: &str) -> Result<(Kind, usize), (String, usize)> {
    const ALL: [(&str, Compare); 8] = [
        ("==", Compare::Equal),
        ("!=", Compare::NotEqual),
        ("<>", Compare::NotEqual),
        ("<=", Compare::LessOrEqual),
        (">=", Compare::GreaterOrEqual),
        ("=", Compare::Equal),
        ("<", Compare::Less),
        (">", Compare::Greater),
    ];
    let found = ALL.into_iter().find(|(sign, _)| text.starts_with(sign));
    let (sign, compare) = found.ok_or_else(|| ("\"!\" means nothing here; not equal is !=".to_owned(), 1))?;
    Ok((Kind::Compare(compare), sign.len()))
}

fn number(text: &str) -> Result<(Kind, usize), (String, usize)> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_');
    let mut len = 1 + text[1..].find(|c| !is_part(c)).unwrap_or(text.len() - 1);
    if text[..len].ends_with(['e', 'E']) && text[len..].starts_with(['-', '+']) {
        len += 1 + text[len + 1..].find(|c| !is_part(c)).unwrap_or(text.len() - len - 1);
    }
    let after = &text.as_bytes()[len..];
    if matches!(after, [b'-' | b':' | b'/', b'0'..=b'9', ..]) {
        let rest = text[len..].find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | ':' | '/')));
        let what = "dates and times stand between single quotes: '2026-01-31'".into();
        return Err((what, len + rest.unwrap_or(after.len())));
    }
    let digits = text[..len].strip_prefix('+').unwrap_or(&text[..len]);
    let is_number =
        digits.parse::<f64>().is_ok_and(f64::is_finite) && digits.ends_with(|c: char| c.is_ascii_digit() || c == '.');
    if is_number {
        Ok((Kind::Value(Literal::Number(digits.to_owned())), len))
    } else {
        Err((
            "this is no number; dates and texts stand between single quotes".into(),
            len,
        ))
    }
}

/// What stands between quotes.
fn quoted(text: &str, quote: char, what: &str) -> Result<(String, usize), (String, usize)> {
    let mut content = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            content.push(c);
        } else if chars.next_if(|&(_, next)| next == quote).is_some() {
            content.push(quote);
        } else {
            return Ok((content, at + 1));
        }
    }
    Err((format!("{what} has no quote at its end"), text.len()))
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    end: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    /// Where the next token is, or the end.
    fn place(&self) -> Range<usize> {
        let at = self.tokens.get(self.next).map(|token| token.at.clone());
        at.unwrap_or(self.end..self.end)
    }

    fn expected(&self, what: &str) -> Problem {
        let what = match self.peek() {
            Some(Kind::Withheld) => {
                "this value is not in the record of the run, for privacy; give --where again".into()
            }
            _ => format!("expected {what}"),
        };
        Problem { what, at: self.place() }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Kind::Word(found)) if found.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_it = self.is_word(word);
        self.next += usize::from(is_it);
        is_it
    }

    fn take(&mut self, kind: &Kind, what: &str) -> Result<(), Problem> {
        if self.peek() != Some(kind) {
            return Err(self.expected(what));
        }
        self.next += 1;
        Ok(())
    }

    fn any(&mut self) -> Result<Expr, Problem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let what = format!("filters are nested at most {MAX_DEPTH} deep");
            return Err(Problem { what, at: self.place() });
        }
        let mut parts = vec![self.all()?];
        while self.take_word("or") {
            parts.push(self.all()?);
        }
        self.depth -= 1;
        Ok(one_or(parts, Expr::Any))
    }

    fn all(&mut self) -> Result<Expr, Problem> {
        let mut parts = vec![self.not()?];
        while self.take_word("and") {
            parts.push(self.not()?);
        }
        Ok(one_or(parts, Expr::All))
    }

    fn not(&mut self) -> Result<Expr, Problem> {
        let mut negated = false;
        while self.take_word("not") {
            negated = !negated;
        }
        let inner = match self.peek() {
            Some(Kind::Open) => {
                self.next += 1;
                let inner = self.any()?;
                self.take(&Kind::Close, "a closing bracket")?;
                inner
            }
            _ => self.test()?,
        };
        Ok(if negated { Expr::Not(Box::new(inner)) } else { inner })
    }

    fn test(&mut self) -> Result<Expr, Problem> {
        if let Some(Kind::Value(_)) = self.peek() {
            return self.turned();
        }
        let (column, at) = self.column()?;
        let test = |how| Expr::Test(Test { column, at, how });
        if let Some(&Kind::Compare(compare)) = self.peek() {
            self.next += 1;
            let value = self.value()?;
            return Ok(test(How::Compare(compare, value)));
        }
        if self.take_word("is") {
            let negated = self.take_word("not");
            if !self.take_word("null") {
                return Err(self.expected("null"));
            }
            return Ok(not_if(negated, test(How::IsNull)));
        }
        let negated = self.take_word("not");
        let how = if self.take_word("in") {
            self.list()?
        } else if self.take_word("between") {
            let low = self.value()?;
            if !self.take_word("and") {
                return Err(self.expected("and, and the other end"));
            }
            How::Between(low, self.value()?)
        } else if self.take_word("like") {
            How::Like(self.value()?)
        } else if negated {
            return Err(self.expected("in, between or like"));
        } else {
            How::IsTrue
        };
        Ok(not_if(negated, test(how)))
    }

    /// `5 < column`.
    fn turned(&mut self) -> Result<Expr, Problem> {
        let value = self.value()?;
        let Some(&Kind::Compare(compare)) = self.peek() else {
            return Err(self.expected("a comparison: = != < <= > >="));
        };
        self.next += 1;
        let (column, at) = self.column()?;
        let compare = match compare {
            Compare::Less => Compare::Greater,
            Compare::LessOrEqual => Compare::GreaterOrEqual,
            Compare::Greater => Compare::Less,
            Compare::GreaterOrEqual => Compare::LessOrEqual,
            same => same,
        };
        let how = How::Compare(compare, value);
        Ok(Expr::Test(Test { column, at, how }))
    }

    fn column(&mut self) -> Result<(String, Range<usize>), Problem> {
        const KEPT: [&str; 10] = [
            "and", "or", "not", "in", "is", "null", "between", "like", "true", "false",
        ];
        let name = match self.peek() {
            Some(Kind::Word(word)) if !KEPT.iter().any(|kept| word.eq_ignore_ascii_case(kept)) => word.clone(),
            Some(Kind::Quoted(name)) => name.clone(),
            _ => return Err(self.expected("a column")),
        };
        let at = self.place();
        self.next += 1;
        Ok((name, at))
    }

    fn value(&mut self) -> Result<Value, Problem> {
        let literal = match self.peek() {
            Some(Kind::Value(literal)) => literal.clone(),
            Some(Kind::Word(word)) if word.eq_ignore_ascii_case("true") => Literal::Bool(true),
            Some(Kind::Word(word)) if word.eq_ignore_ascii_case("false") => Literal::Bool(false),
            Some(Kind::Word(word)) if word.eq_ignore_ascii_case("null") => {
                return Err(self.expected("a value; missing values are found by `is null`"));
            }
            Some(Kind::Word(_) | Kind::Quoted(_)) => {
                return Err(self.expected("a value; a text stands between single quotes"));
            }
            _ => return Err(self.expected("a value: a number, true, false, or a text between single quotes")),
        };
        let at = self.place();
        self.next += 1;
        Ok(Value { literal, at })
    }

    fn list(&mut self) -> Result<How, Problem> {
        self.take(&Kind::Open, "values in brackets: (1, 2)")?;
        let mut values = vec![self.value()?];
        while self.peek() == Some(&Kind::Comma) {
            self.next += 1;
            values.push(self.value()?);
        }
        self.take(&Kind::Close, "a comma or a closing bracket")?;
        Ok(How::In(values))
    }
}

fn one_or(mut parts: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => many(parts),
    }
}

fn not_if(negated: bool, expr: Expr) -> Expr {
    if negated { Expr::Not(Box::new(expr)) } else { expr }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as text, with brackets everywhere.
    fn shown(expr: &Expr) -> String {
        let joined = |parts: &[Expr], word: &str| parts.iter().map(shown).collect::<Vec<_>>().join(word);
        match expr {
            Expr::All(parts) => format!("({})", joined(parts, " & ")),
            Expr::Any(parts) => format!("({})", joined(parts, " | ")),
            Expr::Not(inner) => format!("!{}", shown(inner)),
            Expr::Test(test) => {
                let values: Vec<String> = { test.how.values().into_iter() }
                    .map(|value| match &value.literal {
                        Literal::Number(text) => text.clone(),
                        Literal::Text(text) => format!("'{text}'"),
                        Literal::Bool(truth) => truth.to_string(),
                    })
                    .collect();
                let how = match &test.how {
                    How::IsTrue => "?".into(),
                    How::IsNull => "null".into(),
                    How::Compare(compare, _) => format!("{compare:?}"),
                    How::In(_) => "in".into(),
                    How::Between(..) => "between".into(),
                    How::Like(_) => "like".into(),
                };
                format!("{} {how} {}", test.column, values.join(","))
                    .trim_end()
                    .to_owned()
            }
        }
    }

    #[test]
    fn a_filter_is_read_as_it_is_meant() {
        for (text, tree) in [
            ("a > 1", "a Greater 1"),
            ("a>=-1.5e-3 AND b", "(a GreaterOrEqual -1.5e-3 & b ?)"),
            (
                "a = 1 or b = 2 and not c <> 'x'",
                "(a Equal 1 | (b Equal 2 & !c NotEqual 'x'))",
            ),
            ("(a == 1 or b) and c is not null", "((a Equal 1 | b ?) & !c null)"),
            ("not not a", "a ?"),
            ("\"my \"\"col\"\"\" in ('it''s', 'y')", "my \"col\" in 'it's','y'"),
            (
                "a not in (1,2) or a between 1 and 2 and b",
                "(!a in 1,2 | (a between 1,2 & b ?))",
            ),
            ("x.y like 'a%' and 5 < z", "(x.y like 'a%' & z Greater 5)"),
            ("flag = TRUE", "flag Equal true"),
        ] {
            assert_eq!(parse(text).map(|expr| shown(&expr)), Ok(tree.into()), "{text}");
        }
    }

    #[test]
    fn a_problem_has_its_place() {
        for (text, at, what) in [
            ("", 0..0, "expected a column"),
            (
                "a >",
                3..3,
                "expected a value: a number, true, false, or a text between single quotes",
            ),
            ("a > 1 adn b", 6..9, "expected and, or, or the end"),
            ("a = b", 4..5, "expected a value; a text stands between single quotes"),
            (
                "a = null",
                4..8,
                "expected a value; missing values are found by `is null`",
            ),
            ("a in 1", 5..6, "expected values in brackets: (1, 2)"),
            ("a in (1 2)", 8..9, "expected a comma or a closing bracket"),
            ("(a", 2..2, "expected a closing bracket"),
            ("a ~ 1", 2..3, "'~' means nothing here"),
            ("a = 'x", 4..6, "this text has no quote at its end"),
            (
                "a > 2026-01-01",
                4..14,
                "dates and times stand between single quotes: '2026-01-31'",
            ),
            (
                "a = 1x",
                4..6,
                "this is no number; dates and texts stand between single quotes",
            ),
            ("a not null", 6..10, "expected in, between or like"),
            ("a between 1 or 2", 12..14, "expected and, and the other end"),
            (
                "a = ?",
                4..5,
                "this value is not in the record of the run, for privacy; give --where again",
            ),
        ] {
            let problem = parse(text).unwrap_err();
            assert_eq!((problem.at, problem.what.as_str()), (at, what), "{text}");
        }
        let deep = "(".repeat(100_000);
        assert!(parse(&deep).unwrap_err().what.contains("nested at most 64 deep"));
        let negated = "not ".repeat(100_001) + "a";
        assert_eq!(parse(&negated).map(|expr| shown(&expr)), Ok("!a ?".into()));
    }

    #[test]
    fn values_are_masked_and_names_are_not() {
        for (text, expected) in [
            (
                "age_2 > 18.5 and \"v 1\" = 'it''s 7'",
                "age_2 > .... and \"v 1\" = '..''...'",
            ),
            ("x = 1e5 or y=-3", "x = ... or y=-."),
            ("a = 'open", "a = '...."),
        ] {
            assert_eq!(masked(text), expected);
        }
    }
}
