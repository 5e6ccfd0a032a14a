//! One schema for the files of a table: columns go together by name, and types that differ become one that holds all
//! their values.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use super::hive::Partition;
use super::options::AbsentColumns;
use crate::error::{Error, IS_MISSING, NOT_IN_FIRST, Result, escape};

/// Digits before and after the point of the integers of a type.
const INT64_DIGITS: u8 = 19;
const UINT64_DIGITS: u8 = 20;

/// Where a file's values for a column of the table come from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// From a column of the file, widened where its type is another.
    Column(usize),
    /// All rows of the file have this value: an array of one, which its path gives.
    Value(ArrayRef),
    /// The file has no such column; all values are null.
    Absent,
}

impl Origin {
    /// The column of the file, where there is one.
    pub(crate) fn place(&self) -> Option<usize> {
        match self {
            Self::Column(place) => Some(*place),
            Self::Value(_) | Self::Absent => None,
        }
    }
}

/// The columns of a table, and per file where its values for them come from.
pub(crate) struct Matched {
    pub(crate) schema: SchemaRef,
    pub(crate) origins: Vec<Vec<Origin>>,
}

/// A file to be matched with others.
pub(crate) struct Columns<'f> {
    pub(crate) path: &'f Path,
    pub(crate) fields: &'f Fields,
}

/// A column of the table while files are matched: its type so far, and its place in each file.
struct Union {
    name: String,
    data_type: DataType,
    places: Vec<Option<usize>>,
}

/// Puts the columns of files together: those of the first in its order, then what later ones have beyond it, then what
/// their paths say. Of columns with one name the n-th goes with the n-th.
///
/// Types that differ are widened where every value keeps its meaning, see [`widened`]. A column that a file does not
/// have is refused, or null there, as `absent` says. A column of the files goes before one of their paths with the
/// same name.
///
/// # Errors
/// [`Error::SchemaMismatch`] with file and column.
pub(crate) fn match_columns(
    files: &[Columns<'_>],
    partitions: Vec<Partition>,
    absent: AbsentColumns,
) -> Result<Matched> {
    let mut unions: Vec<Union> = Vec::new();
    let mut by_name: HashMap<(&str, usize), usize> = HashMap::new();
    for (at, file) in files.iter().enumerate() {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (place, field) in file.fields.iter().enumerate() {
            let nth = seen.entry(field.name()).or_default();
            let union = *by_name.entry((field.name(), *nth)).or_insert_with(|| {
                unions.push(Union {
                    name: field.name().clone(),
                    data_type: field.data_type().clone(),
                    places: vec![None; files.len()],
                });
                unions.len() - 1
            });
            *nth += 1;
            let union = &mut unions[union];
            union.add(file.path, at, place, field.data_type())?;
        }
    }
    if absent == AbsentColumns::Refuse {
        unions.iter().try_for_each(|union| union.check_places(files))?;
    }
    let of_file = |at: usize| {
        let columns = unions.iter().map(|union| match union.places[at] {
            Some(place) => Origin::Column(place),
            None => Origin::Absent,
        });
        columns.collect::<Vec<_>>()
    };
    let mut origins: Vec<Vec<Origin>> = (0..files.len()).map(of_file).collect();
    let mut fields: Vec<Field> = { unions.iter() }
        .map(|union| Field::new(&union.name, union.data_type.clone(), true))
        .collect();
    for partition in partitions {
        if unions.iter().any(|union| union.name == partition.name) {
            continue;
        }
        fields.push(Field::new(&partition.name, partition.data_type, true));
        for (origins, value) in origins.iter_mut().zip(partition.values) {
            origins.push(Origin::Value(value));
        }
    }
    Ok(Matched {
        schema: Arc::new(Schema::new(fields)),
        origins,
    })
}

impl Union {
    fn add(&mut self, path: &Path, file: usize, place: usize, data_type: &DataType) -> Result<()> {
        self.places[file] = Some(place);
        self.data_type = widened(&self.data_type, data_type).ok_or_else(|| {
            let (found, expected) = (type_name(data_type), type_name(&self.data_type));
            mismatch(
                path,
                &self.name,
                format!("is {found}, but {expected} in the files before"),
            )
        })?;
        Ok(())
    }

    fn check_places(&self, files: &[Columns<'_>]) -> Result<()> {
        let lacking = self.places.iter().position(Option::is_none);
        let having = self.places.iter().position(Option::is_some);
        match (lacking, having) {
            (Some(0), Some(having)) => {
                let problem = NOT_IN_FIRST.into();
                Err(mismatch(files[having].path, &self.name, problem))
            }
            (Some(lacking), _) => Err(mismatch(files[lacking].path, &self.name, IS_MISSING.into())),
            (None, _) => Ok(()),
        }
    }
}

pub(crate) fn mismatch(path: &Path, column: &str, problem: String) -> Error {
    Error::SchemaMismatch {
        path: path.into(),
        column: column.to_owned(),
        problem,
    }
}

/// The least type that holds the values of both as they are; `None` where there is none.
///
/// Integers become wider integers, signed where one is; integers, floats and decimals with a float become a float that
/// holds both (64-bit integers and decimals are rounded to `f64` then, as features are anyway); decimals and integers
/// a decimal with the digits of both; dates with timestamps of no zone timestamps; timestamps the finer unit; texts
/// the larger layout; a dictionary its values; what has no values anything. Text and truth values become nothing else.
pub(crate) fn widened(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType as T;
    match (a, b) {
        _ if a == b => Some(a.clone()),
        (T::Null, other) | (other, T::Null) => Some(other.clone()),
        (T::Dictionary(_, values), other) | (other, T::Dictionary(_, values)) => match other {
            T::Dictionary(_, others) => widened(values, others),
            other => widened(values, other),
        },
        // Writers name the numbers of a list in several ways.
        (T::List(a), T::List(b)) if a.data_type() == b.data_type() => Some(T::List(Arc::clone(a))),
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Utf8 | T::LargeUtf8 | T::Utf8View) => Some(T::LargeUtf8),
        (T::Date32 | T::Date64, T::Date32 | T::Date64) => Some(T::Date64),
        (T::Date32 | T::Date64, T::Timestamp(unit, None)) | (T::Timestamp(unit, None), T::Date32 | T::Date64) => {
            Some(T::Timestamp(finer(*unit, TimeUnit::Millisecond), None))
        }
        (T::Timestamp(a, zone), T::Timestamp(b, other)) if zone.is_some() == other.is_some() => {
            Some(T::Timestamp(finer(*a, *b), zone.clone()))
        }
        (a, b) if a.is_numeric() && b.is_numeric() => numbers(a, b),
        _ => None,
    }
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    a.max(b)
}

fn numbers(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType as T;
    if a.is_integer() && b.is_integer() {
        return integers(a, b);
    }
    if a.is_floating() || b.is_floating() {
        let fits_f32 = |data_type: &DataType| {
            matches!(
                data_type,
                T::Float16 | T::Float32 | T::Int8 | T::UInt8 | T::Int16 | T::UInt16
            )
        };
        return Some(if fits_f32(a) && fits_f32(b) {
            T::Float32
        } else {
            T::Float64
        });
    }
    let ((whole, scale), (other_whole, other_scale)) = (digits(a)?, digits(b)?);
    let (whole, scale) = (whole.max(other_whole), scale.max(other_scale));
    let precision = u8::try_from(whole + i32::from(scale)).ok()?;
    match precision {
        1..=38 => Some(T::Decimal128(precision, scale)),
        39..=76 => Some(T::Decimal256(precision, scale)),
        _ => None,
    }
}

/// Bits of an integer type, and whether it is signed.
fn bits(data_type: &DataType) -> Option<(usize, bool)> {
    let width = data_type.primitive_width()? * 8;
    Some((width, data_type.is_signed_integer()))
}

fn integers(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType as T;
    let ((a, a_signed), (b, b_signed)) = (bits(a)?, bits(b)?);
    let signed_bits = |bits: usize, is_signed: bool| if is_signed { bits } else { 2 * bits };
    if a_signed || b_signed {
        return match signed_bits(a, a_signed).max(signed_bits(b, b_signed)) {
            8 => Some(T::Int8),
            16 => Some(T::Int16),
            32 => Some(T::Int32),
            64 => Some(T::Int64),
            _ => None,
        };
    }
    match a.max(b) {
        8 => Some(T::UInt8),
        16 => Some(T::UInt16),
        32 => Some(T::UInt32),
        _ => Some(T::UInt64),
    }
}

/// Digits before the point, and after it.
fn digits(data_type: &DataType) -> Option<(i32, i8)> {
    use DataType as T;
    match data_type {
        T::Decimal32(precision, scale)
        | T::Decimal64(precision, scale)
        | T::Decimal128(precision, scale)
        | T::Decimal256(precision, scale) => Some((i32::from(*precision) - i32::from(*scale), (*scale).max(0))),
        T::UInt64 => Some((UINT64_DIGITS.into(), 0)),
        integer if integer.is_integer() => Some((INT64_DIGITS.into(), 0)),
        _ => None,
    }
}

/// Rows of a column in the type of the table.
///
/// # Errors
/// Why a value has no place in that type.
pub(crate) fn widen(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, String> {
    if array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    // What the crate says may quote a value.
    cast_with_options(array, data_type, &options)
        .map_err(|_| format!("holds a value that is no {} of the other files", type_name(data_type)))
}

/// `n_rows` times the one value of `value`, or null.
pub(crate) fn repeated(value: Option<&ArrayRef>, data_type: &DataType, n_rows: usize) -> Result<ArrayRef, String> {
    match value {
        None => Ok(new_null_array(data_type, n_rows)),
        Some(value) => take(value, &UInt32Array::from(vec![0; n_rows]), None).map_err(|error| error.to_string()),
    }
}

/// A type as text, cut short: nested types may be large.
pub(crate) fn type_name(data_type: &DataType) -> String {
    escape(&data_type.to_string().chars().take(80).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType as T;

    #[test]
    fn types_become_the_least_that_holds_both() {
        let stamp = |unit| T::Timestamp(unit, None);
        let text = || Box::new(T::Utf8);
        let cases = [
            (T::Int8, T::Int64, Some(T::Int64)),
            (T::UInt8, T::UInt32, Some(T::UInt32)),
            (T::UInt32, T::Int8, Some(T::Int64)),
            (T::UInt64, T::Int8, None),
            (T::Int16, T::Float32, Some(T::Float32)),
            (T::Int32, T::Float32, Some(T::Float64)),
            (T::Int64, T::Float64, Some(T::Float64)),
            (T::Float32, T::Float64, Some(T::Float64)),
            (T::Decimal128(9, 2), T::Decimal128(12, 3), Some(T::Decimal128(12, 3))),
            (T::Decimal128(12, 2), T::Decimal128(12, 3), Some(T::Decimal128(13, 3))),
            (T::Decimal128(9, 2), T::Int32, Some(T::Decimal128(21, 2))),
            (T::Decimal128(9, 2), T::Float32, Some(T::Float64)),
            (T::Decimal256(76, 0), T::Decimal256(76, 70), None),
            (
                T::Date32,
                stamp(TimeUnit::Microsecond),
                Some(stamp(TimeUnit::Microsecond)),
            ),
            (T::Date32, stamp(TimeUnit::Second), Some(stamp(TimeUnit::Millisecond))),
            (
                stamp(TimeUnit::Second),
                stamp(TimeUnit::Nanosecond),
                Some(stamp(TimeUnit::Nanosecond)),
            ),
            (T::Date32, T::Timestamp(TimeUnit::Second, Some("UTC".into())), None),
            (T::Dictionary(Box::new(T::Int8), text()), T::Utf8, Some(T::Utf8)),
            (
                T::Dictionary(Box::new(T::Int8), text()),
                T::Dictionary(Box::new(T::Int32), text()),
                Some(T::Utf8),
            ),
            (T::Utf8, T::Utf8View, Some(T::LargeUtf8)),
            (T::Null, T::Boolean, Some(T::Boolean)),
            (T::Boolean, T::Int8, None),
            (T::Int8, T::Utf8, None),
            (T::Date32, T::Int32, None),
        ];
        for (a, b, expected) in cases {
            assert_eq!(widened(&a, &b), expected, "{a} and {b}");
            assert_eq!(widened(&b, &a), expected, "{b} and {a}");
        }
    }

    #[test]
    fn values_survive_every_widening() {
        use arrow::array::{Date32Array, Decimal128Array, Int32Array};
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![Some(1), None]));
        let stamps = widen(&dates, &T::Timestamp(TimeUnit::Microsecond, None)).unwrap();
        assert_eq!(stamps.to_data().buffers()[0].typed_data::<i64>()[0], 86_400_000_000);
        let amounts = Decimal128Array::from(vec![1234])
            .with_precision_and_scale(9, 2)
            .unwrap();
        let amounts = widen(&(Arc::new(amounts) as ArrayRef), &T::Decimal128(12, 3)).unwrap();
        assert_eq!(amounts.to_data().buffers()[0].typed_data::<i128>()[0], 12340);
        let whole: ArrayRef = Arc::new(Int32Array::from(vec![7]));
        let whole = widen(&whole, &T::Decimal128(21, 2)).unwrap();
        assert_eq!(whole.to_data().buffers()[0].typed_data::<i128>()[0], 700);
        let far: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
        assert!(widen(&far, &T::Timestamp(TimeUnit::Nanosecond, None)).is_err());
    }

    fn fields(columns: &[(&str, T)]) -> Fields {
        columns
            .iter()
            .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
            .collect()
    }

    #[test]
    fn a_column_that_is_absent_is_refused_or_null() {
        let (first, second) = (fields(&[("a", T::Int8)]), fields(&[("b", T::Utf8), ("a", T::Int32)]));
        let files = [("1", &first), ("2", &second)].map(|(path, fields)| Columns {
            path: Path::new(path),
            fields,
        });
        let refused = match_columns(&files, Vec::new(), AbsentColumns::Refuse);
        let Err(Error::SchemaMismatch { path, column, .. }) = refused else {
            panic!("a column that is not in all files passed");
        };
        assert_eq!((path.to_str(), column.as_str()), (Some("2"), "b"));
        let matched = match_columns(&files, Vec::new(), AbsentColumns::Null).unwrap();
        assert_eq!(matched.schema.fields(), &fields(&[("a", T::Int32), ("b", T::Utf8)]));
        assert!(matches!(matched.origins[0][..], [Origin::Column(0), Origin::Absent]));
        assert!(matches!(matched.origins[1][..], [Origin::Column(1), Origin::Column(0)]));
    }
}
