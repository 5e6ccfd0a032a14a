//! Which rows of a table are wanted: `--where` as a tree, held against the types of columns, asked of batches, and of
//! what is known of a piece of a file before it is read.

mod parse;
mod test;

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{and_kleene, not, or_kleene};
use arrow::datatypes::{DataType, Date32Type, Int64Type, Schema};
use arrow::error::ArrowError;

use self::parse::{Compare, Expr, How, Literal, Problem, masked};
use self::test::{Asked, Ends};
use crate::error::{Error, Result};

/// Characters that are shown before and after the place of a problem.
const SHOWN: usize = 32;

/// A filter, as it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    text: String,
    expr: Expr,
}

/// A value that a filter compares a column with, and how many rows it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComparedValue<'f> {
    /// The column.
    pub column: &'f str,
    /// The value, where the column is text.
    pub text: Option<&'f str>,
    /// Whether it is the end of a range, and no value that rows are looked for with.
    pub is_end: bool,
    /// Rows that have this value, or fit this pattern, among those that were read.
    pub n_rows: u64,
}

impl Filter {
    /// Reads a filter: comparisons of columns with values (`= != < <= > >=`), `in (...)`, `between ... and ...`,
    /// `like '...'`, `is null`, columns of truth values, joined by `and`, `or`, `not` and brackets.
    ///
    /// Values are numbers, `true`, `false`, and texts, dates and times between single quotes. What a missing value is
    /// compared with is unknown, as in SQL, and rows of which the whole is unknown are not wanted; NaN is missing.
    ///
    /// # Errors
    /// [`Error::FilterInvalid`] with the place.
    pub fn new(text: &str) -> Result<Self> {
        let expr = parse::parse(text).map_err(|problem| invalid(text, &problem, None))?;
        Ok(Self {
            text: text.to_owned(),
            expr,
        })
    }

    /// What may be written down of it: `?` stands for values of which `is_private` says so. `counts` has the rows that
    /// each value names, as [`Bound::count`] gives them.
    pub(crate) fn recorded(&self, counts: &[u64], is_private: &dyn Fn(&ComparedValue<'_>) -> bool) -> String {
        let mut counts = counts.iter().copied();
        let mut withheld: Vec<Range<usize>> = Vec::new();
        each_test(&self.expr, &mut |test| {
            let is_end = match &test.how {
                How::Compare(compare, _) => !matches!(compare, Compare::Equal | Compare::NotEqual),
                how => matches!(how, How::Between(..)),
            };
            for value in test.how.values() {
                let compared = ComparedValue {
                    column: &test.column,
                    text: match &value.literal {
                        Literal::Text(text) => Some(text),
                        Literal::Number(_) | Literal::Bool(_) => None,
                    },
                    is_end,
                    n_rows: counts.next().unwrap_or(0),
                };
                if !matches!(value.literal, Literal::Bool(_)) && is_private(&compared) {
                    withheld.push(value.at.clone());
                }
            }
        });
        withheld.sort_by_key(|at| at.start);
        let mut text = String::with_capacity(self.text.len());
        let mut from = 0;
        for at in &withheld {
            text += &self.text[from..at.start];
            text.push('?');
            from = at.end;
        }
        text + &self.text[from..]
    }

    /// The filter for a table of these columns.
    ///
    /// # Errors
    /// [`Error::FilterInvalid`] with the place: columns that are not there or stand twice, and values that they cannot
    /// be compared with.
    pub(crate) fn bind(&self, schema: &Schema) -> Result<Bound> {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        let tree = self.bind_expr(&self.expr, schema, &mut columns, &mut values)?;
        Ok(Bound { tree, columns, values })
    }

    fn bind_expr(
        &self,
        expr: &Expr,
        schema: &Schema,
        columns: &mut Vec<usize>,
        values: &mut Vec<(usize, Asked)>,
    ) -> Result<Tree> {
        let mut all = |parts: &[Expr]| {
            { parts.iter() }
                .map(|part| self.bind_expr(part, schema, columns, values))
                .collect::<Result<Vec<_>>>()
        };
        Ok(match expr {
            Expr::All(parts) => Tree::All(all(parts)?),
            Expr::Any(parts) => Tree::Any(all(parts)?),
            Expr::Not(inner) => Tree::Not(Box::new(self.bind_expr(inner, schema, columns, values)?)),
            Expr::Test(test) => {
                let mut places = (0..schema.fields().len()).filter(|&at| *schema.field(at).name() == test.column);
                let place = places.next().filter(|_| places.next().is_none()).ok_or_else(|| {
                    let is_twice = schema.fields().iter().any(|field| *field.name() == test.column);
                    let what = if is_twice {
                        "this column stands more than once in the data"
                    } else {
                        "there is no such column"
                    };
                    let problem = Problem {
                        what: what.into(),
                        at: test.at.clone(),
                    };
                    let available = schema.fields().iter().map(|field| field.name().clone()).collect();
                    invalid(
                        &self.text,
                        &problem,
                        (!is_twice).then(|| (test.column.clone(), available)),
                    )
                })?;
                let asked = Asked::of(test, schema.field(place).data_type());
                let asked = asked.map_err(|problem| invalid(&self.text, &problem, None))?;
                let column = columns.iter().position(|&column| column == place).unwrap_or_else(|| {
                    columns.push(place);
                    columns.len() - 1
                });
                for value in test.how.values() {
                    let how = match test.how {
                        How::Like(_) => How::Like(value.clone()),
                        _ => How::Compare(Compare::Equal, value.clone()),
                    };
                    let alone = Asked::of(&parse::Test { how, ..test.clone() }, schema.field(place).data_type());
                    values.push((column, alone.map_err(|problem| invalid(&self.text, &problem, None))?));
                }
                Tree::Test { column, asked }
            }
        })
    }
}

fn each_test(expr: &Expr, take: &mut dyn FnMut(&parse::Test)) {
    match expr {
        Expr::All(parts) | Expr::Any(parts) => parts.iter().for_each(|part| each_test(part, take)),
        Expr::Not(inner) => each_test(inner, take),
        Expr::Test(test) => take(test),
    }
}

/// A problem with what is around it, its values masked, and a caret under its place.
fn invalid(text: &str, problem: &Problem, column: Option<(String, Vec<String>)>) -> Error {
    // Tabs and line ends would move the caret.
    let shown: Vec<char> = masked(text)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let at = text[..problem.at.start].chars().count();
    let width = text[problem.at.clone()].chars().count().clamp(1, SHOWN);
    let (from, to) = (at.saturating_sub(SHOWN), (at + width + SHOWN).min(shown.len()));
    let before = if from > 0 { "... " } else { "" };
    let after = if to < shown.len() { " ..." } else { "" };
    let line: String = shown[from..to].iter().collect();
    let indent = before.len() + at - from;
    Error::FilterInvalid {
        what: problem.what.clone(),
        shown: format!("  {before}{line}{after}\n  {}{}", " ".repeat(indent), "^".repeat(width)),
        column,
    }
}

/// A filter whose columns are known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    tree: Tree,
    /// The columns it asks about, as places in the schema.
    columns: Vec<usize>,
    /// Every value that a column is compared with, alone: the place among the columns, and who has it.
    values: Vec<(usize, Asked)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Tree {
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
    Test {
        /// Place among [`Bound::columns`].
        column: usize,
        asked: Asked,
    },
}

/// What is known of a column's values in a piece of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) n_nulls: Option<u64>,
    pub(crate) values: Option<Between>,
}

/// The values of a column in a piece lie between two, both included.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Between {
    Whole(i128, i128),
    Float(f64, f64),
    Text(String, String),
}

impl Bound {
    /// The columns it asks about, as places in the schema.
    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Which rows of a batch of [`Bound::columns`] are wanted; null where that is not known, so that they are not.
    ///
    /// # Errors
    /// What the arrow crate says of arrays that cannot be.
    pub(crate) fn ask(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        self.tree.ask(batch).map_err(Error::Internal)
    }

    /// Adds the rows of a batch that have each of the values which columns are compared with.
    ///
    /// # Errors
    /// As [`Bound::ask`].
    pub(crate) fn count(&self, batch: &RecordBatch, counts: &mut Vec<u64>) -> Result<()> {
        counts.resize(self.values.len(), 0);
        for ((column, asked), count) in self.values.iter().zip(counts) {
            let has_it = asked.ask(batch.column(*column)).map_err(Error::Internal)?;
            *count += has_it.true_count() as u64;
        }
        Ok(())
    }

    /// Whether a piece of `n_rows` rows may hold one that is wanted. `bounds` tells what is known of a column, by its
    /// place among [`Bound::columns`].
    pub(crate) fn may_hold(&self, n_rows: u64, bounds: &dyn Fn(usize) -> Option<Bounds>) -> bool {
        self.tree.may_be(true, n_rows, bounds)
    }
}

impl Tree {
    fn ask(&self, batch: &RecordBatch) -> Result<BooleanArray, String> {
        let fold = |parts: &[Self], join: fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, ArrowError>| {
            let mut parts = parts.iter().map(|part| part.ask(batch));
            let first = parts.next().ok_or("a filter without parts")??;
            parts.try_fold(first, |sum, part| join(&sum, &part?).map_err(|error| error.to_string()))
        };
        match self {
            Self::All(parts) => fold(parts, and_kleene),
            Self::Any(parts) => fold(parts, or_kleene),
            Self::Not(inner) => not(&inner.ask(batch)?).map_err(|error| error.to_string()),
            Self::Test { column, asked } => asked.ask(batch.column(*column)),
        }
    }

    /// Whether some row may make it true, or false.
    fn may_be(&self, truth: bool, n_rows: u64, bounds: &dyn Fn(usize) -> Option<Bounds>) -> bool {
        let may_be = |part: &Self| part.may_be(truth, n_rows, bounds);
        match self {
            Self::All(parts) if truth => parts.iter().all(may_be),
            Self::All(parts) => parts.iter().any(may_be),
            Self::Any(parts) if truth => parts.iter().any(may_be),
            Self::Any(parts) => parts.iter().all(may_be),
            Self::Not(inner) => inner.may_be(!truth, n_rows, bounds),
            Self::Test { column, asked } => bounds(*column).is_none_or(|bounds| bounds.allow(asked, truth, n_rows)),
        }
    }
}

impl Bounds {
    /// Of rows that all have the one value of `array`: a number, a day or a text.
    pub(crate) fn of_one(array: &ArrayRef, n_rows: u64) -> Self {
        if array.is_null(0) {
            return Self::of_none(n_rows);
        }
        let values = match array.data_type() {
            DataType::Int64 => Some(i128::from(array.as_primitive::<Int64Type>().value(0))),
            DataType::Date32 => Some(i128::from(array.as_primitive::<Date32Type>().value(0))),
            _ => None,
        };
        let text = array.as_string_opt::<i32>().map(|texts| texts.value(0).to_owned());
        Self {
            n_nulls: Some(0),
            values: values
                .map(|value| Between::Whole(value, value))
                .or_else(|| text.map(|text| Between::Text(text.clone(), text))),
        }
    }

    /// Of rows without a value.
    pub(crate) fn of_none(n_rows: u64) -> Self {
        Self {
            n_nulls: Some(n_rows),
            values: None,
        }
    }

    /// Whether a value within these bounds may be what is asked for, or (where `truth` is false) may not be it.
    fn allow(&self, asked: &Asked, truth: bool, n_rows: u64) -> bool {
        if *asked == Asked::IsNull {
            return match (self.n_nulls, truth) {
                // NaN is missing, and not counted.
                (Some(n), true) => n > 0 || matches!(self.values, None | Some(Between::Float(..))),
                (Some(n), false) => n < n_rows,
                (None, _) => true,
            };
        }
        if self.n_nulls == Some(n_rows) {
            return false;
        }
        match (asked, &self.values) {
            (Asked::Whole(ranges), Some(Between::Whole(min, max))) => {
                let ends = ranges
                    .iter()
                    .map(|&[low, high]| (low <= *max && *min <= high, low <= *min && *max <= high));
                allow(ends, truth)
            }
            (Asked::Floats(ranges), Some(Between::Float(min, max))) => allow(
                ranges
                    .iter()
                    .map(|ends| (ends.meets(min, max), ends.holds(min) && ends.holds(max))),
                truth,
            ),
            (Asked::Texts(ranges), Some(Between::Text(min, max))) => {
                let covers = |ends: &Ends<String>| ends.holds(min.as_str()) && ends.holds(max.as_str());
                allow(ranges.iter().map(|ends| (ends.meets(min, max), covers(ends))), truth)
            }
            _ => true,
        }
    }
}

/// Of ranges that meet the bounds, or hold all that is within them: whether a value may lie in one, or outside of all.
fn allow(mut ends: impl Iterator<Item = (bool, bool)>, truth: bool) -> bool {
    match truth {
        true => ends.any(|(meets, _)| meets),
        false => !ends.any(|(_, covers)| covers),
    }
}

impl<T: PartialOrd> Ends<T> {
    /// Whether some value from `min` to `max` may lie in the range.
    fn meets(&self, min: &T, max: &T) -> bool {
        let below = self
            .low
            .as_ref()
            .is_none_or(|(low, included)| low < max || (*included && low == max));
        let above = self
            .high
            .as_ref()
            .is_none_or(|(high, included)| min < high || (*included && min == high));
        below && above
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::*;
    use arrow::datatypes::{Field, Int8Type, TimeUnit};

    fn table() -> RecordBatch {
        let plan: DictionaryArray<Int8Type> = [Some("gold"), None, Some("free"), Some("gold"), Some("it's")]
            .into_iter()
            .collect();
        let amounts = Decimal128Array::from(vec![Some(1050), Some(-5), None, Some(0), Some(99_999)]);
        let amounts = amounts.with_precision_and_scale(9, 2).unwrap();
        let days = Date32Array::from(vec![Some(0), Some(19_000), Some(20_000), None, Some(20_001)]);
        let seen = TimestampMillisecondArray::from(vec![Some(0), Some(86_400_000), Some(-1), None, Some(1)]);
        RecordBatch::try_from_iter_with_nullable([
            (
                "n",
                Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(-4), Some(1 << 60)])) as ArrayRef,
                true,
            ),
            (
                "x",
                Arc::new(Float64Array::from(vec![
                    Some(0.5),
                    Some(f64::NAN),
                    None,
                    Some(-0.0),
                    Some(3.0),
                ])) as _,
                true,
            ),
            ("plan", Arc::new(plan) as _, true),
            (
                "paid",
                Arc::new(BooleanArray::from(vec![
                    Some(true),
                    Some(false),
                    None,
                    Some(true),
                    Some(false),
                ])) as _,
                true,
            ),
            ("amount", Arc::new(amounts) as _, true),
            ("day", Arc::new(days) as _, true),
            ("seen", Arc::new(seen) as _, true),
            (
                "raw",
                Arc::new(BinaryArray::from(vec![Some(&b"a"[..]), None, None, None, None])) as _,
                true,
            ),
        ])
        .unwrap()
    }

    /// The rows of the table that a filter wants.
    fn kept(text: &str) -> Vec<usize> {
        let table = table();
        let bound = Filter::new(text).unwrap().bind(&table.schema()).unwrap();
        let mask = bound.ask(&table.project(bound.columns()).unwrap()).unwrap();
        (0..table.num_rows())
            .filter(|&row| mask.is_valid(row) && mask.value(row))
            .collect()
    }

    #[test]
    fn rows_are_kept_as_in_sql() {
        let cases: [(&str, &[usize]); 38] = [
            ("n = 1", &[0]),
            ("n != 1", &[1, 3, 4]),
            ("n > 1.5", &[1, 4]),
            ("n >= 1152921504606846976", &[4]),
            ("n > 1152921504606846975.9", &[4]),
            ("n < 1e300", &[0, 1, 3, 4]),
            ("not n = 1", &[1, 3, 4]),
            ("n in (1, -4, 7)", &[0, 3]),
            ("n not in (1, -4, 7)", &[1, 4]),
            ("n between 1 and 2", &[0, 1]),
            ("n not between 1 and 2", &[3, 4]),
            ("n is null", &[2]),
            ("n is not null", &[0, 1, 3, 4]),
            ("2 >= n", &[0, 1, 3]),
            ("x = 0", &[3]),
            ("x is null", &[1, 2]),
            ("x <= 0.5", &[0, 3]),
            ("not x <= 0.5", &[4]),
            ("plan = 'gold'", &[0, 3]),
            ("plan <> 'gold'", &[2, 4]),
            ("plan is null", &[1]),
            ("plan in ('free', 'it''s')", &[2, 4]),
            ("plan like 'g%'", &[0, 3]),
            ("plan not like '%e%'", &[0, 3, 4]),
            ("plan >= 'g'", &[0, 3, 4]),
            ("plan between 'f' and 'g'", &[2]),
            ("paid", &[0, 3]),
            ("not paid", &[1, 4]),
            ("paid = false or plan = 'gold'", &[0, 1, 3, 4]),
            ("amount > 10.495", &[0, 4]),
            ("amount = 10.5", &[0]),
            ("amount < 0", &[1]),
            ("day >= '2024-10-04'", &[2, 4]),
            ("day > '2024-10-04 12:00'", &[4]),
            ("day = '2024-10-04 12:00'", &[]),
            ("seen < '1970-01-01'", &[2]),
            ("seen > '1970-01-01' and n > 1", &[1, 4]),
            ("n = 1 or raw is not null and paid", &[0]),
        ];
        for (text, rows) in cases {
            assert_eq!(kept(text), rows, "{text}");
        }
    }

    #[test]
    fn problems_are_shown_with_their_place_and_without_values() {
        let schema = table().schema();
        let shown = |text: &str| match Filter::new(text).and_then(|filter| filter.bind(&schema)) {
            Err(Error::FilterInvalid { what, shown, .. }) => format!("{what}\n{shown}"),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(
            shown("n > 5 and plann = 'gold'"),
            "there is no such column\n  n > . and plann = '....'\n            ^^^^^"
        );
        assert_eq!(
            shown("plan = 7"),
            "the column is Dictionary(Int8, Utf8), so it is compared with a text between single quotes\n  plan = .\n         ^"
        );
        assert!(shown("day > 'soon'").starts_with("the column is Date32, so it is compared with a date"));
        assert!(shown("seen > '2026-01-01 10:00Z'").starts_with("the column is Timestamp(ms)"));
        assert!(shown("raw = 'a'").starts_with("this column is Binary, which can only be null or not"));
        assert!(shown("n").starts_with("this column is Int64: say what it is compared with"));
        assert!(shown("n like '1%'").starts_with("this column is Int64; patterns are for text"));
        assert!(shown("paid = 1").contains("true or false"));
        let long = format!(
            "{} and nn = 1 and {}",
            "n > 0 and ".repeat(20) + "n > 0",
            "n > 0 and ".repeat(20) + "n > 0"
        );
        let found = shown(&long);
        let lines: Vec<&str> = found.lines().collect();
        assert!(
            lines[1].starts_with("  ... ") && lines[1].ends_with(" ...") && lines[1].len() < 90,
            "{found}"
        );
        assert_eq!(&lines[1][lines[2].find('^').unwrap()..][..2], "nn");
        let twice = Schema::new(vec![
            Field::new("a", DataType::Int8, true),
            Field::new("a", DataType::Int8, true),
        ]);
        let twice = Filter::new("a = 1").unwrap().bind(&twice).unwrap_err();
        assert!(twice.to_string().contains("more than once"), "{twice}");
    }

    #[test]
    fn values_that_are_private_are_left_out_of_a_record() {
        let filter = Filter::new("n in (1, 17) or plan = 'gold' and 4<n or plan like 'f%' or paid = true").unwrap();
        let table = table();
        let bound = filter.bind(&table.schema()).unwrap();
        let mut counts = Vec::new();
        bound
            .count(&table.project(bound.columns()).unwrap(), &mut counts)
            .unwrap();
        assert_eq!(counts, [1, 0, 2, 0, 1, 2]);
        let told = |value: &ComparedValue<'_>| value.is_end || value.n_rows > 1;
        assert_eq!(
            filter.recorded(&counts, &|value| !told(value)),
            "n in (?, ?) or plan = 'gold' and 4<n or plan like ? or paid = true"
        );
        assert_eq!(filter.recorded(&counts, &|_| false), filter.text);
        let hidden = filter.recorded(&counts, &|value| value.column == "n" || value.text.is_some());
        assert_eq!(hidden, "n in (?, ?) or plan = ? and ?<n or plan like ? or paid = true");
        assert!(
            Filter::new(&hidden)
                .unwrap_err()
                .to_string()
                .contains("give --where again")
        );
    }

    /// What is passed over by bounds holds no row that is wanted: every filter on every piece of a small table, whose
    /// bounds are as narrow as can be.
    #[test]
    fn bounds_never_pass_over_a_row_that_is_wanted() {
        let pieces: [[Option<i64>; 3]; 7] = [
            [Some(1), Some(2), Some(3)],
            [Some(2), Some(2), Some(2)],
            [None, Some(2), Some(5)],
            [None, None, None],
            [None, Some(4), Some(4)],
            [Some(7), Some(9), None],
            [Some(-3), Some(0), Some(4)],
        ];
        let tests = [
            "v = 2",
            "v != 2",
            "v < 2",
            "v <= 2.5",
            "v > 4",
            "v in (0, 9)",
            "v between 3 and 4",
            "v is null",
        ];
        let mut filters: Vec<String> = tests
            .iter()
            .flat_map(|test| [(*test).to_owned(), format!("not ({test})")])
            .collect();
        for a in tests {
            filters.extend(
                tests
                    .iter()
                    .flat_map(|b| [format!("{a} and not {b}"), format!("not ({a} or {b})")]),
            );
        }
        let (mut n_passed, mut n_read) = (0, 0);
        for values in pieces {
            let present: Vec<i64> = values.into_iter().flatten().collect();
            let n_nulls = Some(values.len() as u64 - present.len() as u64);
            let ends = present.iter().min().zip(present.iter().max());
            let floats: Float64Array = values.iter().map(|value| value.map(|v| v as f64)).collect();
            let texts: StringArray = values
                .iter()
                .map(|value| value.map(|v| format!("{:02}", v + 10)))
                .collect();
            let columns: [(ArrayRef, Option<Between>); 3] = [
                (
                    Arc::new(Int64Array::from(values.to_vec())),
                    ends.map(|(min, max)| Between::Whole((*min).into(), (*max).into())),
                ),
                (
                    Arc::new(floats),
                    ends.map(|(min, max)| Between::Float(*min as f64, *max as f64)),
                ),
                (
                    Arc::new(texts),
                    ends.map(|(min, max)| Between::Text(format!("{:02}", min + 10), format!("{:02}", max + 10))),
                ),
            ];
            for (array, between) in columns {
                let batch = RecordBatch::try_from_iter_with_nullable([("v", array, true)]).unwrap();
                for text in &filters {
                    let text = match batch.schema().field(0).data_type() {
                        DataType::Utf8 => as_texts(text),
                        _ => text.clone(),
                    };
                    let bound = Filter::new(&text).unwrap().bind(&batch.schema()).unwrap();
                    let wanted = bound.ask(&batch).unwrap().true_count() > 0;
                    let bounds = Bounds {
                        n_nulls,
                        values: between.clone(),
                    };
                    let may_hold = bound.may_hold(3, &|_| Some(bounds.clone()));
                    assert!(may_hold || !wanted, "{text} of {values:?}");
                    n_passed += usize::from(!may_hold);
                    n_read += usize::from(may_hold && !wanted);
                }
            }
        }
        // Bounds are of use: few pieces without a wanted row are read all the same.
        assert!(
            n_passed > 3 * n_read,
            "{n_passed} passed over, {n_read} read for nothing"
        );
    }

    /// `v < 2.5` for values that are written as texts, ten higher, in two digits.
    fn as_texts(filter: &str) -> String {
        let mut out = String::new();
        let mut number = String::new();
        for c in filter.chars().chain(std::iter::once(' ')) {
            if c.is_ascii_digit() || c == '.' {
                number.push(c);
                continue;
            }
            if let Ok(value) = number.parse::<f64>() {
                out += &format!("'{:02}'", value.floor() + 10.0);
                number.clear();
            }
            out.push(c);
        }
        out
    }

    #[test]
    fn a_zone_is_known_or_is_that_of_utc() {
        let seen = TimestampSecondArray::from(vec![3600, 3601]).with_timezone("Europe/Berlin");
        let batch = RecordBatch::try_from_iter([("at", Arc::new(seen) as ArrayRef)]).unwrap();
        assert_eq!(
            batch.column(0).data_type(),
            &DataType::Timestamp(TimeUnit::Second, Some("Europe/Berlin".into()))
        );
        for text in ["at > '1970-01-01 01:00'", "at > '1970-01-01 02:00+01:00'"] {
            let bound = Filter::new(text).unwrap().bind(&batch.schema()).unwrap();
            assert_eq!(
                bound.ask(&batch).unwrap(),
                BooleanArray::from(vec![false, true]),
                "{text}"
            );
        }
    }
}
