//! What is asked of a column, once its type is known: ranges that a value lies in, or a pattern that it fits.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{cast, take};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::parse::{Compare, How, Literal, Problem, Test, Value};
use crate::data::schema::type_name;
use crate::data::values;

const NANOSECONDS_PER_DAY: i128 = 86_400_000_000_000;

/// What is asked of a column's values; of one that is missing, nothing is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    /// No value is there: null, or a float that is no number.
    IsNull,
    /// Whole numbers within one of these ranges, both ends included: integers, mantissas of decimals, and ticks of
    /// dates and times.
    Whole(Vec<[i128; 2]>),
    /// Floats within one of these.
    Floats(Vec<Ends<f64>>),
    /// Texts within one of these, in order of their bytes.
    Texts(Vec<Ends<String>>),
    /// Texts of a pattern.
    Like(Vec<Piece>),
    /// Truth values: whether false is asked for, and whether true is.
    Bools([bool; 2]),
}

/// A range; an end that is not there is open, and comes with whether it belongs to the range.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ends<T> {
    pub(super) low: Option<(T, bool)>,
    pub(super) high: Option<(T, bool)>,
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// This character.
    Char(char),
    /// Any one.
    One,
    /// Any number of any.
    Many,
}

/// What kind of value a column is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Whole numbers over a power of ten.
    Whole(i32),
    Float,
    Text,
    Bool,
    /// Nanoseconds in a tick, and whether ticks name an instant.
    Instant(i128, bool),
    TimeOfDay(i128),
}

impl Class {
    fn of(data_type: &DataType) -> Option<Self> {
        use DataType as T;
        Some(match data_type {
            T::Dictionary(_, values) => Self::of(values)?,
            T::RunEndEncoded(_, values) => Self::of(values.data_type())?,
            T::Decimal32(_, scale) | T::Decimal64(_, scale) | T::Decimal128(_, scale) => Self::Whole((*scale).into()),
            T::Float16 | T::Float32 | T::Float64 => Self::Float,
            T::Utf8 | T::LargeUtf8 | T::Utf8View => Self::Text,
            T::Boolean => Self::Bool,
            T::Date32 => Self::Instant(NANOSECONDS_PER_DAY, false),
            T::Date64 => Self::Instant(1_000_000, false),
            T::Timestamp(unit, zone) => Self::Instant(nanoseconds(*unit), zone.is_some()),
            T::Time32(unit) | T::Time64(unit) => Self::TimeOfDay(nanoseconds(*unit)),
            integer if integer.is_integer() => Self::Whole(0),
            _ => return None,
        })
    }

    /// What values of this kind are compared with.
    fn wants(self) -> &'static str {
        match self {
            Self::Whole(_) | Self::Float => "a number",
            Self::Text => "a text between single quotes",
            Self::Bool => "true or false",
            Self::Instant(..) => "a date or time between single quotes: '2026-01-31' or '2026-01-31 18:00'",
            Self::TimeOfDay(_) => "a time between single quotes: '18:00'",
        }
    }
}

fn nanoseconds(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// A value that a column is compared with, in the units of its values.
#[derive(Debug, Clone)]
enum Point {
    /// The whole numbers at or below, and at or above it.
    Whole([i128; 2]),
    Float(f64),
    Text(String),
    Bool(bool),
}

impl Asked {
    /// Of a column of a type.
    ///
    /// # Errors
    /// A type that nothing can be asked of, and values of another kind, with their place.
    pub(super) fn of(test: &Test, data_type: &DataType) -> Result<Self, Problem> {
        if test.how == How::IsNull {
            return Ok(Self::IsNull);
        }
        let problem = |what: String, at: &Range<usize>| Problem { what, at: at.clone() };
        let name = type_name(data_type);
        let class = Class::of(data_type);
        let class = class.ok_or_else(|| {
            problem(
                format!("this column is {name}, which can only be null or not"),
                &test.at,
            )
        })?;
        let point = |value: &Value| {
            let point = Point::of(&value.literal, class);
            point.ok_or_else(|| {
                let what = format!("the column is {name}, so it is compared with {}", class.wants());
                problem(what, &value.at)
            })
        };
        match &test.how {
            How::IsNull => Ok(Self::IsNull),
            How::IsTrue if class == Class::Bool => Ok(Self::Bools([false, true])),
            How::IsTrue => {
                let what = format!("this column is {name}: say what it is compared with, such as > 0");
                Err(problem(what, &test.at))
            }
            How::Compare(compare, value) => Ok(ranges(*compare, &point(value)?)),
            How::In(values) => {
                let points: Result<Vec<_>, _> = values.iter().map(point).collect();
                let asked = points?
                    .iter()
                    .map(|point| ranges(Compare::Equal, point))
                    .reduce(Self::or);
                Ok(asked.unwrap_or(Self::Bools([false, false])))
            }
            How::Between(low, high) => {
                let (low, high) = (point(low)?, point(high)?);
                Ok(ranges(Compare::GreaterOrEqual, &low).and_up_to(&high))
            }
            How::Like(value) => match (&value.literal, class) {
                (Literal::Text(pattern), Class::Text) => Ok(Self::Like(pieces(pattern))),
                (_, Class::Text) => Err(problem(
                    "a pattern stands between single quotes: 'a%'".into(),
                    &value.at,
                )),
                _ => Err(problem(
                    format!("this column is {name}; patterns are for text"),
                    &test.at,
                )),
            },
        }
    }

    /// What either asks for; both are of one kind.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Self::Whole([a, b].concat()),
            (Self::Floats(a), Self::Floats(b)) => Self::Floats([a, b].concat()),
            (Self::Texts(a), Self::Texts(b)) => Self::Texts([a, b].concat()),
            (Self::Bools(a), Self::Bools(b)) => Self::Bools([a[0] || b[0], a[1] || b[1]]),
            (first, _) => first,
        }
    }

    /// What it asks for, but nothing beyond `high`.
    fn and_up_to(self, high: &Point) -> Self {
        match (self, high) {
            (Self::Whole(ranges), Point::Whole([floor, _])) => {
                Self::Whole(ranges.into_iter().map(|[low, _]| [low, *floor]).collect())
            }
            (Self::Floats(ranges), Point::Float(high)) => Self::Floats(up_to(ranges, high)),
            (Self::Texts(ranges), Point::Text(high)) => Self::Texts(up_to(ranges, high)),
            (Self::Bools(asked), Point::Bool(high)) => Self::Bools([asked[0], asked[1] && *high]),
            (asked, _) => asked,
        }
    }
}

fn up_to<T: Clone>(ranges: Vec<Ends<T>>, high: &T) -> Vec<Ends<T>> {
    let bounded = |ends: Ends<T>| Ends {
        high: Some((high.clone(), true)),
        ..ends
    };
    ranges.into_iter().map(bounded).collect()
}

impl Point {
    /// What a literal is in a column of a class; `None` where it is of another kind.
    fn of(literal: &Literal, class: Class) -> Option<Self> {
        match (literal, class) {
            (Literal::Number(digits), Class::Whole(scale)) => Some(Self::Whole(whole(digits, scale))),
            (Literal::Number(digits), Class::Float) => digits.parse().ok().map(Self::Float),
            (Literal::Text(text), Class::Text) => Some(Self::Text(text.clone())),
            (Literal::Bool(truth), Class::Bool) => Some(Self::Bool(*truth)),
            (Literal::Text(text), Class::Instant(tick, is_instant)) => instant(text, tick, is_instant),
            (Literal::Text(text), Class::TimeOfDay(tick)) => {
                let time = values::time(text.as_bytes())?;
                Some(Self::Whole(in_ticks(i128::from(time.nanoseconds()?), tick)))
            }
            _ => None,
        }
    }
}

/// The ticks at or before a point in time, and at or after it. Without a zone, times of instants are those of UTC.
fn instant(text: &str, tick: i128, is_instant: bool) -> Option<Point> {
    let bytes = text.as_bytes();
    let nanoseconds = match values::timestamp(bytes) {
        Some(moment) if moment.has_zone && !is_instant => return None,
        Some(moment) => i128::from(moment.seconds) * 1_000_000_000 + i128::from(moment.nanoseconds),
        None => i128::from(values::date(bytes)?) * NANOSECONDS_PER_DAY,
    };
    Some(Point::Whole(in_ticks(nanoseconds, tick)))
}

fn in_ticks(nanoseconds: i128, tick: i128) -> [i128; 2] {
    [nanoseconds.div_euclid(tick), -(-nanoseconds).div_euclid(tick)]
}

/// The whole numbers around a decimal number times `10^scale`; what is far beyond any value is moved to the ends.
fn whole(digits: &str, scale: i32) -> [i128; 2] {
    let negative = digits.starts_with('-');
    let (number, exponent) = match digits.trim_start_matches('-').split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse().unwrap_or(i32::MAX)),
        None => (digits.trim_start_matches('-'), 0),
    };
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    let mut shift = exponent.saturating_add(scale).saturating_sub(after.len() as i32);
    let mut mantissa = 0i128;
    let (mut is_full, mut has_rest) = (false, false);
    for digit in before.bytes().chain(after.bytes()).map(|byte| i128::from(byte - b'0')) {
        match mantissa.checked_mul(10).and_then(|tens| tens.checked_add(digit)) {
            Some(more) if !is_full => mantissa = more,
            // Digits beyond those that fit count by their place alone.
            _ => {
                (is_full, has_rest) = (true, has_rest || digit != 0);
                shift = shift.saturating_add(1);
            }
        }
    }
    while shift > 0 && mantissa != 0 {
        match mantissa.checked_mul(10) {
            Some(more) => mantissa = more,
            None => {
                return if negative {
                    [i128::MIN, -i128::MAX]
                } else {
                    [i128::MAX, i128::MAX]
                };
            }
        }
        shift -= 1;
    }
    while shift < 0 && (mantissa != 0) {
        has_rest |= mantissa % 10 != 0;
        mantissa /= 10;
        shift += 1;
    }
    let above = mantissa.saturating_add(has_rest.into());
    if negative {
        [-above, -mantissa]
    } else {
        [mantissa, above]
    }
}

/// The ranges of a comparison with one value.
fn ranges(compare: Compare, point: &Point) -> Asked {
    match point {
        Point::Whole(around) => Asked::Whole(whole_ranges(compare, *around)),
        Point::Float(value) => Asked::Floats(open_ranges(compare, value)),
        Point::Text(value) => Asked::Texts(open_ranges(compare, value)),
        Point::Bool(value) => {
            let holds = |candidate: bool| match compare {
                Compare::Equal => candidate == *value,
                Compare::NotEqual => candidate != *value,
                Compare::Less => !candidate & *value,
                Compare::LessOrEqual => candidate <= *value,
                Compare::Greater => candidate & !*value,
                Compare::GreaterOrEqual => candidate >= *value,
            };
            Asked::Bools([holds(false), holds(true)])
        }
    }
}

fn whole_ranges(compare: Compare, [floor, ceiling]: [i128; 2]) -> Vec<[i128; 2]> {
    let (below, above) = (
        floor.saturating_sub((floor == ceiling).into()),
        ceiling.saturating_add((floor == ceiling).into()),
    );
    match compare {
        // Between two whole numbers, none is equal.
        Compare::Equal => vec![[ceiling, floor]],
        Compare::NotEqual => vec![[i128::MIN, below], [above, i128::MAX]],
        Compare::Less => vec![[i128::MIN, below]],
        Compare::LessOrEqual => vec![[i128::MIN, floor]],
        Compare::Greater => vec![[above, i128::MAX]],
        Compare::GreaterOrEqual => vec![[ceiling, i128::MAX]],
    }
}

fn open_ranges<T: Clone>(compare: Compare, value: &T) -> Vec<Ends<T>> {
    let end = |included| Some((value.clone(), included));
    let range = |low, high| Ends { low, high };
    match compare {
        Compare::Equal => vec![range(end(true), end(true))],
        Compare::NotEqual => vec![range(None, end(false)), range(end(false), None)],
        Compare::Less => vec![range(None, end(false))],
        Compare::LessOrEqual => vec![range(None, end(true))],
        Compare::Greater => vec![range(end(false), None)],
        Compare::GreaterOrEqual => vec![range(end(true), None)],
    }
}

impl<T: PartialOrd> Ends<T> {
    pub(super) fn holds<Q>(&self, value: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
        Q: PartialOrd + ?Sized,
    {
        let low = self
            .low
            .as_ref()
            .is_none_or(|(low, included)| low.borrow() < value || (*included && low.borrow() == value));
        let high = self
            .high
            .as_ref()
            .is_none_or(|(high, included)| value < high.borrow() || (*included && high.borrow() == value));
        low && high
    }
}

/// `%` stands for anything, `_` for one character, a backslash makes the next one stand for itself.
fn pieces(pattern: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '%' => Piece::Many,
            '_' => Piece::One,
            '\\' => Piece::Char(chars.next().unwrap_or('\\')),
            c => Piece::Char(c),
        });
    }
    pieces
}

/// Whether a text fits a pattern: the last `%` takes up what is too much, so no more than pattern times text is tried.
fn fits(text: &str, pattern: &[Piece]) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut piece, mut back) = (0, 0, None);
    while at < text.len() {
        match pattern.get(piece) {
            Some(Piece::Many) => {
                back = Some((piece + 1, at));
                piece += 1;
            }
            Some(Piece::One) => (at, piece) = (at + 1, piece + 1),
            Some(&Piece::Char(c)) if c == text[at] => (at, piece) = (at + 1, piece + 1),
            _ => match &mut back {
                Some((after, tried)) => {
                    *tried += 1;
                    (at, piece) = (*tried, *after);
                }
                None => return false,
            },
        }
    }
    pattern[piece..].iter().all(|piece| *piece == Piece::Many)
}

impl Asked {
    /// Whether each value is what is asked for; null where there is none.
    ///
    /// # Errors
    /// What the arrow crate says of an array that cannot be.
    pub(super) fn ask(&self, array: &ArrayRef) -> Result<BooleanArray, String> {
        use DataType as T;
        match array.data_type() {
            T::Dictionary(..) if *self != Self::IsNull => {
                let dictionary = array.as_any_dictionary();
                let of_values = self.ask(dictionary.values())?;
                let rows = take(&of_values, dictionary.keys(), None).map_err(|error| error.to_string())?;
                return Ok(rows.as_boolean().clone());
            }
            T::RunEndEncoded(_, values) => {
                return self.ask(&cast(array, values.data_type()).map_err(|error| error.to_string())?);
            }
            _ => {}
        }
        Ok(match self {
            Self::IsNull => is_null(array),
            Self::Whole(ranges) => wholes(array, |value| {
                ranges.iter().any(|[low, high]| *low <= value && value <= *high)
            }),
            Self::Floats(ranges) => floats(array, |value| ranges.iter().any(|ends| ends.holds(&value))),
            Self::Texts(ranges) => texts(array, |value| ranges.iter().any(|ends| ends.holds(value))),
            Self::Like(pattern) => texts(array, |value| fits(value, pattern)),
            Self::Bools([when_false, when_true]) => {
                let truths = array.as_boolean().iter();
                truths
                    .map(|truth| truth.map(|truth| if truth { *when_true } else { *when_false }))
                    .collect()
            }
        })
    }
}

fn is_null(array: &ArrayRef) -> BooleanArray {
    if array.data_type().is_floating() {
        let is_number = floats(array, |_| true);
        return (0..array.len()).map(|row| Some(is_number.is_null(row))).collect();
    }
    match array.logical_nulls() {
        None => (0..array.len()).map(|_| Some(false)).collect(),
        Some(nulls) => nulls.iter().map(|valid| Some(!valid)).collect(),
    }
}

fn each<T: ArrowPrimitiveType>(array: &ArrayRef, holds: impl Fn(T::Native) -> Option<bool>) -> BooleanArray {
    array
        .as_primitive::<T>()
        .iter()
        .map(|value| value.and_then(&holds))
        .collect()
}

fn wholes(array: &ArrayRef, holds: impl Fn(i128) -> bool) -> BooleanArray {
    use DataType as T;
    macro_rules! of {
        ($type:ty) => {
            each::<$type>(array, |value| Some(holds(value.into())))
        };
    }
    match array.data_type() {
        T::Int8 => of!(Int8Type),
        T::Int16 => of!(Int16Type),
        T::Int32 => of!(Int32Type),
        T::Int64 => of!(Int64Type),
        T::UInt8 => of!(UInt8Type),
        T::UInt16 => of!(UInt16Type),
        T::UInt32 => of!(UInt32Type),
        T::UInt64 => of!(UInt64Type),
        T::Decimal32(..) => of!(Decimal32Type),
        T::Decimal64(..) => of!(Decimal64Type),
        T::Decimal128(..) => of!(Decimal128Type),
        T::Date32 => of!(Date32Type),
        T::Date64 => of!(Date64Type),
        T::Time32(TimeUnit::Second) => of!(Time32SecondType),
        T::Time32(_) => of!(Time32MillisecondType),
        T::Time64(TimeUnit::Microsecond) => of!(Time64MicrosecondType),
        T::Time64(_) => of!(Time64NanosecondType),
        T::Timestamp(TimeUnit::Second, _) => of!(TimestampSecondType),
        T::Timestamp(TimeUnit::Millisecond, _) => of!(TimestampMillisecondType),
        T::Timestamp(TimeUnit::Microsecond, _) => of!(TimestampMicrosecondType),
        T::Timestamp(TimeUnit::Nanosecond, _) => of!(TimestampNanosecondType),
        other => unreachable!("{other} has no whole numbers"),
    }
}

/// NaN is no value.
fn floats(array: &ArrayRef, holds: impl Fn(f64) -> bool) -> BooleanArray {
    let of = |value: f64| (!value.is_nan()).then(|| holds(value));
    match array.data_type() {
        DataType::Float16 => each::<Float16Type>(array, |value| of(value.into())),
        DataType::Float32 => each::<Float32Type>(array, |value| of(value.into())),
        _ => each::<Float64Type>(array, of),
    }
}

fn texts(array: &ArrayRef, holds: impl Fn(&str) -> bool) -> BooleanArray {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().map(|text| text.map(&holds)).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(|text| text.map(&holds)).collect(),
        _ => array.as_string_view().iter().map(|text| text.map(&holds)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_whatever_their_scale() {
        for (digits, scale, expected) in [
            ("2", 0, [2, 2]),
            ("2.5", 0, [2, 3]),
            ("-2.5", 0, [-3, -2]),
            ("2.5", 1, [25, 25]),
            ("2.505", 2, [250, 251]),
            ("1e3", 0, [1000, 1000]),
            ("25e-1", 0, [2, 3]),
            ("1e-400", 0, [0, 1]),
            ("0.000", 0, [0, 0]),
            ("1e300", 0, [i128::MAX, i128::MAX]),
            ("-1e300", 0, [i128::MIN, -i128::MAX]),
            ("9007199254740993", 0, [9_007_199_254_740_993; 2]),
            ("5", -2, [0, 1]),
        ] {
            assert_eq!(whole(digits, scale), expected, "{digits}, scale {scale}");
        }
    }

    #[test]
    fn patterns_fit_as_in_sql() {
        for (pattern, text, expected) in [
            ("a%", "abc", true),
            ("a%", "bac", false),
            ("%c", "abc", true),
            ("%b%", "abc", true),
            ("a_c", "abc", true),
            ("a_c", "ac", false),
            ("%", "", true),
            ("", "", true),
            ("", "a", false),
            ("%ab%ab", "abxababab", true),
            ("%ab%abc", "abxababab", false),
            ("100\\%", "100%", true),
            ("100\\%", "1000", false),
            ("_", "é", true),
        ] {
            assert_eq!(fits(text, &pieces(pattern)), expected, "{text} like {pattern}");
        }
        assert!(!fits(
            &"a".repeat(50_000),
            &pieces(&"%a".repeat(20).replace("%a", "%ab"))
        ));
    }
}
