//! Arrow arrays of every numeric kind as `f64` values, missing ones as NaN.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, take};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use num_bigint::{BigInt, BigUint};
use serde::{Deserialize, Serialize};

use super::cycles::{Coordinate, Cycle};
use super::lists;
use crate::data::item_type;
use crate::num::widest::{Kernel, widest};
use crate::num::{Moments, round_ratio};

/// Largest magnitude of a value: the square of a difference of two such values is far inside the range of `f64`.
pub const MAX_ABS: f64 = 1e150;
/// Rows of a piece of [`decode_pieces`].
const PIECE_ROWS: usize = Moments::RUN;
const SECONDS_PER_DAY: i64 = 86_400;
const NANOSECONDS_PER_DAY: f64 = 86_400e9;

/// What a column's values mean as numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ValueKind {
    /// Integers, floats, decimals: the value itself. Integers above 2^53 are rounded to the nearest `f64`.
    Number,
    /// 0 for false, 1 for true.
    Bool,
    /// Dates and timestamps, with or without a time zone: days before this point in time.
    DaysBefore(Instant),
    /// Dates and timestamps: where their month or weekday lies on a circle, see [`Cycle`].
    Cycle(Cycle, Coordinate),
    /// Times of day: hours since midnight.
    HoursOfDay,
    /// Durations: days.
    Days,
    /// Text: 1 where it is this level, else 0. Text that is empty or blank is missing.
    Level(String),
    /// Text: 1 where it is none of these levels, else 0: rare levels, and at scoring those that the fit never saw.
    OtherThan(Vec<String>),
    /// Anything: 1 where there is no value, else 0; never missing itself.
    Missing,
    /// Lists of `of` numbers: the one in this place, from 0.
    Element {
        /// The place.
        at: u32,
        /// The length of the lists.
        of: u32,
    },
}

/// A point in time: days since 1970-01-01, and nanoseconds since that day's midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instant {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Nanoseconds since midnight, below `86_400 * 10^9`.
    pub nanosecond: i64,
}

impl std::fmt::Display for Instant {
    /// The date, and the time where it is not midnight.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = chrono::DateTime::from_timestamp(self.day.saturating_mul(SECONDS_PER_DAY), 0)
            .map(|day| day + chrono::Duration::nanoseconds(self.nanosecond));
        match time {
            Some(time) if self.nanosecond == 0 => write!(f, "{}", time.format("%Y-%m-%d")),
            Some(time) => write!(f, "{}", time.format("%Y-%m-%d %H:%M:%S%.f")),
            None => write!(f, "day {}", self.day),
        }
    }
}

impl std::str::FromStr for Instant {
    type Err = crate::error::Error;

    /// A date (`2024-12-31`), or a date and time of day (`2024-12-31T18:00:00`, or with a space), in the time zone of
    /// the data.
    fn from_str(text: &str) -> crate::error::Result<Self> {
        use chrono::{NaiveDate, NaiveDateTime};
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()
            .and_then(|date| date.and_hms_opt(0, 0, 0));
        let time = |format| NaiveDateTime::parse_from_str(text, format).ok();
        let time = date
            .or_else(|| time("%Y-%m-%dT%H:%M:%S%.f"))
            .or_else(|| time("%Y-%m-%d %H:%M:%S%.f"));
        match time {
            Some(time) => {
                let time = time.and_utc();
                let seconds = time.timestamp();
                Ok(Self {
                    day: seconds.div_euclid(SECONDS_PER_DAY),
                    nanosecond: seconds.rem_euclid(SECONDS_PER_DAY) * 1_000_000_000
                        + i64::from(time.timestamp_subsec_nanos()),
                })
            }
            None => Err(crate::error::Error::InvalidParam {
                param: "as-of",
                value: text.into(),
                reason: "is a date such as 2024-12-31, or a date and time such as 2024-12-31T18:00:00".into(),
            }),
        }
    }
}

/// A value that has no place in arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadCell {
    /// Its place in the array.
    pub index: usize,
    /// What is wrong with it, without the value.
    pub problem: &'static str,
}

/// The numeric kind of a type, before anything is learned of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TypeClass {
    Integer,
    Float,
    Decimal,
    Bool,
    Instant,
    TimeOfDay,
    Duration,
    Text,
    List,
}

/// The numeric kind of a type, or why it has none.
pub(crate) fn class_of(data_type: &DataType) -> Result<TypeClass, &'static str> {
    use DataType as T;
    Ok(match data_type {
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => TypeClass::Integer,
        T::Float16 | T::Float32 | T::Float64 => TypeClass::Float,
        T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => TypeClass::Decimal,
        T::Boolean => TypeClass::Bool,
        T::Date32 | T::Date64 | T::Timestamp(..) => TypeClass::Instant,
        T::Time32(_) | T::Time64(_) => TypeClass::TimeOfDay,
        T::Duration(_) => TypeClass::Duration,
        T::Dictionary(_, values) => class_of(values)?,
        T::RunEndEncoded(_, values) => class_of(values.data_type())?,
        T::Utf8 | T::LargeUtf8 | T::Utf8View => TypeClass::Text,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => return Err("is binary"),
        T::Interval(_) => return Err("is a calendar interval, which has no fixed length"),
        T::Null => return Err("has no values"),
        list if item_type(list).is_some() => TypeClass::List,
        _ => return Err("is nested"),
    })
}

/// The type of the values, without dictionary or run-end encoding.
pub(crate) fn plain_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        plain => plain,
    }
}

impl ValueKind {
    /// Whether this is one of the coordinates that only together say what a column's value is: a place on a circle, or in
    /// a space.
    #[must_use]
    pub fn is_coordinate(&self) -> bool {
        matches!(self, Self::Cycle(..) | Self::Element { .. })
    }

    /// Whether values of this type can stand where this kind was learned. Widths of integers and floats, scales of
    /// decimals, units of time and encodings may differ: the same quantity gives the same number.
    #[must_use]
    pub fn accepts(&self, data_type: &DataType) -> bool {
        class_of(data_type).is_ok_and(|class| match class {
            TypeClass::Integer | TypeClass::Float | TypeClass::Decimal => *self == Self::Number,
            TypeClass::Bool => *self == Self::Bool,
            TypeClass::Instant => matches!(self, Self::DaysBefore(_) | Self::Cycle(..)),
            TypeClass::TimeOfDay => *self == Self::HoursOfDay,
            TypeClass::Duration => *self == Self::Days,
            TypeClass::Text => matches!(self, Self::Level(_) | Self::OtherThan(_)),
            TypeClass::List => matches!(self, Self::Element { .. }),
        }) || (*self == Self::Missing && class_of(data_type).is_ok())
    }
}

impl Instant {
    /// So many days before this point in time.
    #[must_use]
    pub fn before(self, days: f64) -> Self {
        let whole = days.floor();
        let rest = ((days - whole) * NANOSECONDS_PER_DAY).round() as i64;
        let per_day = SECONDS_PER_DAY * 1_000_000_000;
        let nanosecond = self.nanosecond - rest;
        Self {
            // A cast of what is beyond ends at the ends.
            day: self
                .day
                .saturating_sub(whole as i64)
                .saturating_add(nanosecond.div_euclid(per_day)),
            nanosecond: nanosecond.rem_euclid(per_day),
        }
    }

    /// The nearest whole microsecond: what is left of a point in time that was told as a number of days.
    #[must_use]
    pub fn to_the_microsecond(self) -> Self {
        let nanosecond = (self.nanosecond + 500) / 1000 * 1000;
        let per_day = SECONDS_PER_DAY * 1_000_000_000;
        Self {
            day: self.day.saturating_add(nanosecond / per_day),
            nanosecond: nanosecond % per_day,
        }
    }

    /// Days from `earlier` to here: whole days are exact, the rest of a day is rounded once.
    fn days_since(self, earlier: Self) -> f64 {
        let days = (self.day - earlier.day) as f64;
        days + (self.nanosecond - earlier.nanosecond) as f64 / NANOSECONDS_PER_DAY
    }

    fn from_ticks(ticks: i64, ticks_per_second: i64) -> Self {
        let per_day = SECONDS_PER_DAY * ticks_per_second;
        Self {
            day: ticks.div_euclid(per_day),
            nanosecond: ticks.rem_euclid(per_day) * (1_000_000_000 / ticks_per_second),
        }
    }
}

/// The values of `array` as `f64`, NaN where null or NaN; never -0.
///
/// Decimals are `mantissa / 10^scale`, correctly rounded where the mantissa is below 2^53 and the scale at most 22, or
/// the mantissa beyond 128 bits; otherwise each of the two is rounded before they are divided.
///
/// # Errors
/// The first value that is infinite, or above [`MAX_ABS`] in magnitude.
///
/// # Panics
/// If `kind` does not accept the type of `array`, see [`ValueKind::accepts`].
pub fn decode(array: &dyn Array, kind: &ValueKind) -> Result<Vec<f64>, BadCell> {
    let values = decode_unchecked(array, kind)?;
    if !widest(AnyTooLarge(&values)) {
        return Ok(values);
    }
    Err(first_too_large(&values))
}

/// [`decode`], which lets values pass that are infinite or too large.
pub(super) fn decode_unchecked(array: &dyn Array, kind: &ValueKind) -> Result<Vec<f64>, BadCell> {
    assert!(
        kind.accepts(array.data_type()),
        "{kind:?} was not learned from {}",
        array.data_type()
    );
    match kind {
        ValueKind::Level(level) => return Ok(flags(array, |text| text == level)),
        ValueKind::OtherThan(levels) => return Ok(flags(array, |text| !levels.iter().any(|level| level == text))),
        ValueKind::Missing => return Ok(missing(array)),
        ValueKind::Cycle(cycle, coordinate) => return Ok(cycle.decode(array, *coordinate)),
        ValueKind::Element { at, of } => return lists::coordinate(array, *at, *of),
        _ => {}
    }
    let plain = plain(array);
    let array = plain.as_deref().unwrap_or(array);
    let values = match kind {
        ValueKind::DaysBefore(newest) => instants(array)
            .into_iter()
            .map(|instant| instant.map_or(f64::NAN, |instant| newest.days_since(instant)))
            .collect(),
        ValueKind::Number => numbers(array),
        ValueKind::Bool => array
            .as_boolean()
            .iter()
            .map(|v| v.map_or(f64::NAN, |v| f64::from(u8::from(v))))
            .collect(),
        ValueKind::HoursOfDay => times(array),
        ValueKind::Days => durations(array),
        ValueKind::Level(_)
        | ValueKind::OtherThan(_)
        | ValueKind::Missing
        | ValueKind::Cycle(..)
        | ValueKind::Element { .. } => unreachable!("returned above"),
    };
    Ok(values)
}

/// The first value that is infinite, or above [`MAX_ABS`] in magnitude.
///
/// # Panics
/// If there is none.
pub(super) fn first_too_large(values: &[f64]) -> BadCell {
    let too_large = |v: &f64| v.abs() > MAX_ABS;
    let index = values.iter().position(too_large).expect("a value that is too large");
    let problem = if values[index].is_infinite() {
        "is infinite"
    } else {
        "is too large"
    };
    BadCell { index, problem }
}

/// Whether a value is infinite or too large. Without an early end the compiler looks at many values at once.
struct AnyTooLarge<'v>(&'v [f64]);

impl Kernel for AnyTooLarge<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        self.0.iter().fold(0, |bad, v| bad | u64::from(v.abs() > MAX_ABS)) != 0
    }
}

/// Hands the values of `array` on as [`decode`] gives them, in pieces that stay in the cache, with the place of each
/// piece's first value.
///
/// # Errors
/// That of [`decode`].
pub(crate) fn decode_pieces(
    array: &dyn Array,
    kind: &ValueKind,
    mut consume: impl FnMut(usize, Vec<f64>),
) -> Result<(), BadCell> {
    for first in (0..array.len()).step_by(PIECE_ROWS) {
        let piece = array.slice(first, PIECE_ROWS.min(array.len() - first));
        let values = decode(&piece, kind).map_err(|bad| BadCell {
            index: first + bad.index,
            ..bad
        })?;
        consume(first, values);
    }
    Ok(())
}

/// Whether every value of a type is an `f32` without error, whatever it means.
pub(crate) fn fits_f32(data_type: &DataType) -> bool {
    use DataType as T;
    let data_type = item_type(data_type).unwrap_or(data_type);
    class_of(data_type) == Ok(TypeClass::Text)
        || matches!(
            plain_type(data_type),
            T::Float32 | T::Float16 | T::Int8 | T::Int16 | T::UInt8 | T::UInt16 | T::Boolean
        )
}

/// 1 for texts of which `holds`, 0 for others, NaN where there is none. Asks once per entry of a dictionary.
fn flags(array: &dyn Array, holds: impl Fn(&str) -> bool) -> Vec<f64> {
    let of_text = |text: Option<&str>| text.map_or(f64::NAN, |text| f64::from(u8::from(holds(text))));
    map_texts(array, of_text)
}

/// What `of` makes of each text, `None` where it is null, empty or blank. Asks once per entry of a dictionary.
///
/// # Panics
/// If `array` is no text.
pub(crate) fn map_texts<V: Clone>(array: &dyn Array, mut of: impl FnMut(Option<&str>) -> V) -> Vec<V> {
    match array.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let of_null = of(None);
            if dictionary.values().is_empty() {
                return vec![of_null; array.len()];
            }
            let of_values = map_texts(dictionary.values(), of);
            let keys = dictionary.normalized_keys();
            let nulls = dictionary.keys().nulls();
            let is_null = |row: usize| nulls.is_some_and(|nulls| nulls.is_null(row));
            let value = |(row, key): (usize, usize)| {
                if is_null(row) {
                    of_null.clone()
                } else {
                    of_values[key].clone()
                }
            };
            keys.into_iter().enumerate().map(value).collect()
        }
        DataType::RunEndEncoded(..) => map_texts(&plain(array).expect("runs can be written out"), of),
        _ => texts(array)
            .map(|text| of(text.filter(|text| !is_blank(text))))
            .collect(),
    }
}

/// Whether a text says nothing.
fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_whitespace())
}

fn texts<'a>(array: &'a dyn Array) -> Box<dyn Iterator<Item = Option<&'a str>> + 'a> {
    match array.data_type() {
        DataType::Utf8 => Box::new(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => Box::new(array.as_string::<i64>().iter()),
        DataType::Utf8View => Box::new(array.as_string_view().iter()),
        other => unreachable!("{other} is no text"),
    }
}

/// 1 where there is no value: null, NaN, or text that is empty.
fn missing(array: &dyn Array) -> Vec<f64> {
    let flag = |missing: bool| f64::from(u8::from(missing));
    match class_of(array.data_type()) {
        Ok(TypeClass::Text) => map_texts(array, |text| flag(text.is_none())),
        Ok(TypeClass::List) => lists::missing(array),
        Ok(TypeClass::Float) => {
            let plain = plain(array);
            let values = numbers(plain.as_deref().unwrap_or(array));
            values.into_iter().map(|v| flag(v.is_nan())).collect()
        }
        _ => match array.logical_nulls() {
            None => vec![0.0; array.len()],
            Some(nulls) => nulls.iter().map(|valid| flag(!valid)).collect(),
        },
    }
}

/// The points in time of a column of dates or timestamps.
///
/// # Panics
/// If `array` is of another type.
pub(crate) fn instants(array: &dyn Array) -> Vec<Option<Instant>> {
    let plain = plain(array);
    let array = plain.as_deref().unwrap_or(array);
    match array.data_type() {
        DataType::Date32 => optional::<Date32Type, _>(array, |day| Instant {
            day: day.into(),
            nanosecond: 0,
        }),
        DataType::Date64 => optional::<Date64Type, _>(array, |ticks| Instant::from_ticks(ticks, 1000)),
        DataType::Timestamp(TimeUnit::Second, _) => {
            optional::<TimestampSecondType, _>(array, |ticks| Instant::from_ticks(ticks, 1))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            optional::<TimestampMillisecondType, _>(array, |ticks| Instant::from_ticks(ticks, 1000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            optional::<TimestampMicrosecondType, _>(array, |ticks| Instant::from_ticks(ticks, 1_000_000))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            optional::<TimestampNanosecondType, _>(array, |ticks| Instant::from_ticks(ticks, 1_000_000_000))
        }
        other => unreachable!("{other} is no point in time"),
    }
}

/// Hands every integer of `array` that is not null to `consume`.
///
/// # Panics
/// If `array` holds no integers.
pub(crate) fn each_integer(array: &dyn Array, consume: impl FnMut(i128)) {
    let plain = plain(array);
    let array = plain.as_deref().unwrap_or(array);
    match array.data_type() {
        DataType::Int8 => each::<Int8Type>(array, consume),
        DataType::Int16 => each::<Int16Type>(array, consume),
        DataType::Int32 => each::<Int32Type>(array, consume),
        DataType::Int64 => each::<Int64Type>(array, consume),
        DataType::UInt8 => each::<UInt8Type>(array, consume),
        DataType::UInt16 => each::<UInt16Type>(array, consume),
        DataType::UInt32 => each::<UInt32Type>(array, consume),
        DataType::UInt64 => each::<UInt64Type>(array, consume),
        other => unreachable!("{other} is no integer"),
    }
}

fn each<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &dyn Array, mut consume: impl FnMut(i128)) {
    array
        .as_primitive::<T>()
        .iter()
        .flatten()
        .for_each(|v| consume(v.into()));
}

/// `array` without dictionary or run-end encoding; `None` where it has none.
fn plain(array: &dyn Array) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = take(dictionary.values(), dictionary.keys(), None).expect("keys point into their dictionary");
            Some(plain(&values).unwrap_or(values))
        }
        DataType::RunEndEncoded(_, values) => {
            let values = cast(array, values.data_type()).expect("runs can be written out");
            Some(plain(&values).unwrap_or(values))
        }
        _ => None,
    }
}

fn optional<T: ArrowPrimitiveType, V>(array: &dyn Array, value: impl Fn(T::Native) -> V) -> Vec<Option<V>> {
    array.as_primitive::<T>().iter().map(|v| v.map(&value)).collect()
}

fn floats<T: ArrowPrimitiveType>(array: &dyn Array, value: impl Fn(T::Native) -> f64) -> Vec<f64> {
    let array = array.as_primitive::<T>();
    // Adding 0 turns -0 into 0, so that the sign of a zero, which depends on row order, reaches no minimum.
    let value = |v: &T::Native| value(*v) + 0.0;
    match array.nulls() {
        None => widest(Converted(array.values(), value)),
        Some(nulls) => {
            // What stands in the place of a null is some number as well.
            let mut values: Vec<f64> = widest(Converted(array.values(), value));
            let missing = !nulls.inner();
            missing.set_indices().for_each(|row| values[row] = f64::NAN);
            values
        }
    }
}

/// Numbers as `f64`.
struct Converted<'v, N, F>(&'v [N], F);

impl<N: Copy, F: Fn(&N) -> f64> Kernel for Converted<'_, N, F> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run(self) -> Vec<f64> {
        self.0.iter().map(self.1).collect()
    }
}

fn numbers(array: &dyn Array) -> Vec<f64> {
    match array.data_type() {
        DataType::Int8 => floats::<Int8Type>(array, f64::from),
        DataType::Int16 => floats::<Int16Type>(array, f64::from),
        DataType::Int32 => floats::<Int32Type>(array, f64::from),
        DataType::Int64 => floats::<Int64Type>(array, |v| v as f64),
        DataType::UInt8 => floats::<UInt8Type>(array, f64::from),
        DataType::UInt16 => floats::<UInt16Type>(array, f64::from),
        DataType::UInt32 => floats::<UInt32Type>(array, f64::from),
        DataType::UInt64 => floats::<UInt64Type>(array, |v| v as f64),
        DataType::Float16 => floats::<Float16Type>(array, f64::from),
        DataType::Float32 => floats::<Float32Type>(array, f64::from),
        DataType::Float64 => floats::<Float64Type>(array, |v| v),
        DataType::Decimal32(_, scale) => floats::<Decimal32Type>(array, decimal(*scale)),
        DataType::Decimal64(_, scale) => floats::<Decimal64Type>(array, decimal(*scale)),
        DataType::Decimal128(_, scale) => floats::<Decimal128Type>(array, decimal(*scale)),
        DataType::Decimal256(_, scale) => {
            let (narrow, scale) = (decimal::<i128>(*scale), *scale);
            floats::<Decimal256Type>(array, move |v| match v.to_i128() {
                Some(v) => narrow(v),
                None => wide_decimal(v, scale),
            })
        }
        other => unreachable!("{other} is no number"),
    }
}

/// `mantissa / 10^scale`.
fn decimal<M: Into<i128>>(scale: i8) -> impl Fn(M) -> f64 {
    // Parsing is correctly rounded, and exact up to 10^22.
    let power: f64 = format!("1e{}", scale.unsigned_abs()).parse().expect("a number");
    move |mantissa| {
        let mantissa: i128 = mantissa.into();
        if scale >= 0 {
            mantissa as f64 / power
        } else {
            mantissa as f64 * power
        }
    }
}

fn wide_decimal(mantissa: i256, scale: i8) -> f64 {
    let mantissa = BigInt::from_signed_bytes_le(&mantissa.to_le_bytes());
    let power = BigUint::from(10u32).pow(scale.unsigned_abs().into());
    if scale >= 0 {
        round_ratio(&mantissa, &power, 0)
    } else {
        round_ratio(&(mantissa * BigInt::from(power)), &BigUint::from(1u32), 0)
    }
}

fn times(array: &dyn Array) -> Vec<f64> {
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => floats::<Time32SecondType>(array, |v| f64::from(v) / 3600.0),
        DataType::Time32(_) => floats::<Time32MillisecondType>(array, |v| f64::from(v) / 3600e3),
        DataType::Time64(TimeUnit::Microsecond) => floats::<Time64MicrosecondType>(array, |v| v as f64 / 3600e6),
        DataType::Time64(_) => floats::<Time64NanosecondType>(array, |v| v as f64 / 3600e9),
        other => unreachable!("{other} is no time of day"),
    }
}

fn durations(array: &dyn Array) -> Vec<f64> {
    let days = |ticks_per_second: i64| {
        move |ticks: i64| {
            let start = Instant { day: 0, nanosecond: 0 };
            Instant::from_ticks(ticks, ticks_per_second).days_since(start)
        }
    };
    match array.data_type() {
        DataType::Duration(TimeUnit::Second) => floats::<DurationSecondType>(array, days(1)),
        DataType::Duration(TimeUnit::Millisecond) => floats::<DurationMillisecondType>(array, days(1000)),
        DataType::Duration(TimeUnit::Microsecond) => floats::<DurationMicrosecondType>(array, days(1_000_000)),
        DataType::Duration(TimeUnit::Nanosecond) => floats::<DurationNanosecondType>(array, days(1_000_000_000)),
        other => unreachable!("{other} is no duration"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{
        BooleanArray, Date32Array, Date64Array, Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array,
        DictionaryArray, DurationMillisecondArray, Float16Array, Float32Array, Float64Array, Int8Array, Int16Array,
        Int32Array, Int64Array, RunArray, StringArray, Time32SecondArray, Time64NanosecondArray,
        TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
        UInt8Array, UInt16Array, UInt32Array, UInt64Array,
    };
    use arrow::datatypes::{Field, Fields};

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    fn check(array: &dyn Array, kind: impl std::borrow::Borrow<ValueKind>, expected: &[f64]) {
        let found = decode(array, kind.borrow()).unwrap();
        assert_eq!(bits(&found), bits(expected), "{}: {found:?}", array.data_type());
    }

    const NAN: f64 = f64::NAN;

    #[test]
    fn every_width_of_number_is_its_value() {
        let kind = &ValueKind::Number;
        check(&Int8Array::from(vec![Some(-3), None]), kind, &[-3.0, NAN]);
        check(&Int16Array::from(vec![Some(-300), None]), kind, &[-300.0, NAN]);
        check(&Int32Array::from(vec![7, -8]), kind, &[7.0, -8.0]);
        check(
            &Int64Array::from(vec![i64::MIN, (1 << 53) + 1]),
            kind,
            &[-(2f64.powi(63)), 2f64.powi(53)],
        );
        check(&UInt8Array::from(vec![255]), kind, &[255.0]);
        check(&UInt16Array::from(vec![65535]), kind, &[65535.0]);
        check(&UInt32Array::from(vec![u32::MAX]), kind, &[4294967295.0]);
        check(&UInt64Array::from(vec![u64::MAX]), kind, &[2f64.powi(64)]);
        let halves = vec![half::f16::from_f32(0.5), half::f16::NAN];
        check(&Float16Array::from(halves), kind, &[0.5, NAN]);
        check(
            &Float32Array::from(vec![Some(0.1f32), None, Some(f32::NAN)]),
            kind,
            &[f64::from(0.1f32), NAN, NAN],
        );
        check(
            &Float64Array::from(vec![Some(-0.0), None, Some(1e150)]),
            kind,
            &[0.0, NAN, 1e150],
        );
    }

    #[test]
    fn decimals_are_the_nearest_to_what_is_written() {
        let kind = &ValueKind::Number;
        check(
            &Decimal32Array::from(vec![1234]).with_precision_and_scale(9, 3).unwrap(),
            kind,
            &[1.234],
        );
        check(
            &Decimal64Array::from(vec![-1]).with_precision_and_scale(18, 18).unwrap(),
            kind,
            &[-1e-18],
        );
        let array = Decimal128Array::from(vec![Some(1_299), None])
            .with_precision_and_scale(38, 2)
            .unwrap();
        check(&array, kind, &[12.99, NAN]);
        check(
            &Decimal128Array::from(vec![12]).with_precision_and_scale(5, -3).unwrap(),
            kind,
            &[12000.0],
        );
        let wide = i256::from_string("123456789012345678901234567890123456789012345678901234567890").unwrap();
        let array = Decimal256Array::from(vec![wide, i256::from_i128(25)])
            .with_precision_and_scale(76, 1)
            .unwrap();
        check(
            &array,
            kind,
            &[12345678901234567890123456789012345678901234567890123456789.0, 2.5],
        );
    }

    #[test]
    fn points_in_time_are_days_before_the_newest_in_every_unit() {
        let newest = Instant {
            day: 10,
            nanosecond: 43_200_000_000_000,
        };
        let kind = &ValueKind::DaysBefore(newest);
        let day = SECONDS_PER_DAY;
        check(
            &Date32Array::from(vec![Some(10), None, Some(-1)]),
            kind,
            &[0.5, NAN, 11.5],
        );
        check(&Date64Array::from(vec![9 * day * 1000]), kind, &[1.5]);
        let seconds = [day * 21 / 2, -day, 11 * day, -1];
        let expected = [0.0, 11.5, -0.5, 10.5 + 1.0 / 86400.0];
        let ticks = |per_second: i64| seconds.iter().map(|s| s * per_second).collect::<Vec<_>>();
        check(&TimestampSecondArray::from(ticks(1)), kind, &expected);
        check(
            &TimestampMillisecondArray::from(ticks(1000)).with_timezone("+02:00"),
            kind,
            &expected,
        );
        check(&TimestampMicrosecondArray::from(ticks(1_000_000)), kind, &expected);
        check(&TimestampNanosecondArray::from(ticks(1_000_000_000)), kind, &expected);
        let ends = TimestampSecondArray::from(vec![i64::MIN, i64::MAX]);
        assert!(decode(&ends, kind).unwrap().iter().all(|v| v.is_finite()));
    }

    #[test]
    fn days_before_a_point_in_time_lead_back() {
        let noon = Instant {
            day: 100,
            nanosecond: 43_200_000_000_000,
        };
        for days in [0.0, 1.0, 0.25, 0.75, 99.5, -3.25] {
            assert_eq!(noon.days_since(noon.before(days)), days);
        }
        let late = Instant {
            day: 7,
            nanosecond: 86_399_999_999_600,
        };
        assert_eq!(late.to_the_microsecond(), Instant { day: 8, nanosecond: 0 });
    }

    #[test]
    fn points_in_time_are_read_as_they_are_written() {
        for text in [
            "2024-02-29",
            "1969-12-31",
            "2017-06-01 18:00:01.5",
            "1900-01-01 00:00:00.000001",
        ] {
            assert_eq!(
                text.parse::<Instant>().unwrap().to_string().trim_end_matches('0'),
                text.trim_end_matches('0')
            );
        }
        assert_eq!(
            "1970-01-02".parse::<Instant>().unwrap(),
            Instant { day: 1, nanosecond: 0 }
        );
        assert!("2023-02-29".parse::<Instant>().is_err() && "today".parse::<Instant>().is_err());
    }

    #[test]
    fn bools_times_and_durations() {
        check(
            &BooleanArray::from(vec![Some(true), Some(false), None]),
            ValueKind::Bool,
            &[1.0, 0.0, NAN],
        );
        check(&Time32SecondArray::from(vec![5400]), ValueKind::HoursOfDay, &[1.5]);
        check(
            &Time64NanosecondArray::from(vec![1_800_000_000_000]),
            ValueKind::HoursOfDay,
            &[0.5],
        );
        check(
            &DurationMillisecondArray::from(vec![Some(-43_200_000), None]),
            ValueKind::Days,
            &[-0.5, NAN],
        );
    }

    #[test]
    fn text_is_a_flag_per_level_however_it_is_kept() {
        let texts = vec![Some("a"), None, Some("b"), Some(" "), Some(""), Some("c"), Some("a")];
        let keys = texts
            .iter()
            .map(|text| text.map(|text| if text == "c" { 1 } else { 0 }));
        let few = DictionaryArray::new(Int32Array::from_iter(keys), Arc::new(StringArray::from(vec!["b", "a"])));
        let plain: [Arc<dyn Array>; 4] = [
            Arc::new(StringArray::from(texts.clone())),
            Arc::new(arrow::array::LargeStringArray::from(texts.clone())),
            Arc::new(arrow::array::StringViewArray::from(texts.clone())),
            Arc::new(
                texts
                    .into_iter()
                    .collect::<DictionaryArray<arrow::datatypes::Int8Type>>(),
            ),
        ];
        for array in plain {
            check(
                &array,
                ValueKind::Level("a".into()),
                &[1.0, NAN, 0.0, NAN, NAN, 0.0, 1.0],
            );
            let others = ValueKind::OtherThan(vec!["a".into(), "b".into()]);
            check(&array, others, &[0.0, NAN, 0.0, NAN, NAN, 1.0, 0.0]);
            check(&array, ValueKind::Missing, &[0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        }
        check(&few, ValueKind::Level("a".into()), &[0.0, NAN, 0.0, 0.0, 0.0, 1.0, 0.0]);
        check(
            &Float64Array::from(vec![Some(1.0), None, Some(NAN)]),
            ValueKind::Missing,
            &[0.0, 1.0, 1.0],
        );
        check(&Date32Array::from(vec![None, Some(3)]), ValueKind::Missing, &[1.0, 0.0]);
    }

    #[test]
    fn encodings_do_not_show() {
        let keys = Int32Array::from(vec![Some(1), None, Some(0), Some(2)]);
        let values = Float64Array::from(vec![Some(1.5), Some(2.5), None, Some(f64::INFINITY)]);
        let dictionary = DictionaryArray::new(keys, Arc::new(values));
        check(&dictionary, ValueKind::Number, &[2.5, NAN, 1.5, NAN]); // the infinity is not used
        let runs = RunArray::try_new(&Int32Array::from(vec![2, 3]), &Int32Array::from(vec![Some(4), None])).unwrap();
        check(&runs, ValueKind::Number, &[4.0, 4.0, NAN]);
        let mut seen = Vec::new();
        each_integer(&runs, |v| seen.push(v));
        assert_eq!(seen, [4, 4]);
    }

    #[test]
    fn the_first_value_that_cannot_be_used_is_named() {
        let bad = |values: Vec<f64>| decode(&Float64Array::from(values), &ValueKind::Number).unwrap_err();
        assert_eq!(
            bad(vec![1.0, f64::NEG_INFINITY, 1e200]),
            BadCell {
                index: 1,
                problem: "is infinite"
            }
        );
        assert_eq!(
            bad(vec![NAN, -1e151]),
            BadCell {
                index: 1,
                problem: "is too large"
            }
        );
    }

    #[test]
    fn types_without_a_number_say_why() {
        let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert_eq!(class_of(&text), Ok(TypeClass::Text));
        assert_eq!(class_of(&DataType::FixedSizeBinary(16)), Err("is binary"));
        assert_eq!(class_of(&DataType::Null), Err("has no values"));
        assert_eq!(class_of(&DataType::Struct(Fields::empty())), Err("is nested"));
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
        assert_eq!(class_of(&list), Ok(TypeClass::List));
        assert!(!ValueKind::Number.accepts(StringArray::from(vec!["1"]).data_type()));
        assert!(!ValueKind::Number.accepts(&DataType::Date32));
        assert!(ValueKind::Number.accepts(&DataType::Decimal128(10, 2)));
    }
}
