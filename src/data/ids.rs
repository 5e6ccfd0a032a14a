//! Ids as 128-bit keys: equal ids give equal keys whatever type a writer chose for them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::cmp::lt;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType,
    Int8Type, Int16Type, Int32Type, Int64Type, Schema, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use num_traits::AsPrimitive;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::BatchSource;
use super::options::DuplicateIds;
use super::schema::type_name;
use crate::error::{Error, Result};
use crate::tiles::RowKeys;

/// Rows whose keys one task makes.
const TASK_ROWS: usize = 1 << 12;
/// Parts that keys are sorted in, by their upper 8 bits.
const PARTS: usize = 1 << 8;

/// The kinds of ids; two ids of different kinds are never equal.
#[derive(Clone, Copy)]
enum Kind {
    Integer = 1,
    Decimal = 2,
    Bool = 3,
    Date = 4,
    LocalTime = 5,
    Instant = 6,
    TimeOfDay = 7,
    Text = 8,
    Bytes = 9,
}

/// Appends one row's value of a column, which is not null, to the bytes that are hashed.
type Append = Box<dyn Fn(usize, &mut Vec<u8>) + Send + Sync>;

/// The keys of all rows, from the id column or columns (indices into the source's schema, and their names).
///
/// Ids are equal if their values are: whatever the width of an integer, the scale of a decimal, the unit of a time,
/// or the layout of a text. A key is the XXH3-128 of all id columns, each tagged with its kind and length.
///
/// Where the source keeps rows of one id ([`DuplicateIds::Keep`]), the second, third and so on have keys of their own.
///
/// # Errors
/// [`Error::ColumnUnusable`] for types that are no ids (floats among them), [`Error::NullIds`],
/// [`Error::DuplicateIds`], [`Error::OutOfMemory`], and those of reading.
pub fn read_keys(source: &dyn BatchSource, columns: &[usize], names: &[String]) -> Result<RowKeys> {
    let Keys {
        mut keys, nulls, rise, ..
    } = keys_and_nulls(source, columns, names)?;
    if let Some(i) = nulls.iter().position(|&(count, _)| count > 0) {
        return Err(Error::NullIds {
            column: names[i].clone(),
            count: nulls[i].0,
            n_rows: keys.len(),
            first_row: nulls[i].1 + 1,
        });
    }
    match source.duplicate_ids() {
        _ if rise => {}
        DuplicateIds::Keep => tell_apart(&mut keys)?,
        DuplicateIds::Error | DuplicateIds::First => refuse_duplicates(&keys, names)?,
    }
    Ok(RowKeys::Ids(keys))
}

/// The keys of all rows, and what is missing.
pub(crate) struct Keys {
    pub(crate) keys: Vec<u128>,
    /// Rows in which an id column is null, in order.
    pub(crate) null_rows: Vec<usize>,
    /// For each column how many nulls it has, and the row of the first.
    nulls: Vec<(usize, usize)>,
    /// Whether each id is above that of the row before, so that none stands twice.
    rise: bool,
}

/// Reads ids, whatever they are.
pub(crate) fn keys_and_nulls(source: &dyn BatchSource, columns: &[usize], names: &[String]) -> Result<Keys> {
    let schema = source.schema();
    for (&column, name) in columns.iter().zip(names) {
        check_type(name, schema.field(column).data_type())?;
    }
    let n_rows = source.n_rows();
    let mut keys = with_room(n_rows)?;
    let mut nulls = vec![(0usize, 0usize); columns.len()];
    let mut null_rows = Vec::new();
    let mut rise = Rise::of(schema, columns);
    source.scan(columns, &mut |first_row, batch| {
        count_nulls(first_row, batch, &mut nulls);
        add_null_rows(first_row, batch, &mut null_rows);
        rise.add(batch);
        let appends = appends(batch, names)?;
        if first_row != keys.len() || batch.num_rows() > n_rows - first_row {
            return Err(Error::Internal(format!(
                "a batch at row {first_row} does not follow the rows before"
            )));
        }
        keys.resize(first_row + batch.num_rows(), 0);
        let pieces = keys[first_row..].par_chunks_mut(TASK_ROWS).enumerate();
        pieces.for_each_init(Vec::new, |bytes, (piece, keys)| {
            for (row, key) in (piece * TASK_ROWS..).zip(keys) {
                bytes.clear();
                appends.iter().for_each(|append| append(row, bytes));
                *key = xxh3_128(bytes);
            }
        });
        Ok(())
    })?;
    Ok(Keys {
        keys,
        null_rows,
        nulls,
        rise: rise.so_far,
    })
}

/// Whether the ids of a column rise from row to row, as they do in many a table: then nothing has to be sorted to see that
/// none stands twice.
struct Rise {
    so_far: bool,
    /// The last id.
    last: Option<ArrayRef>,
}

impl Rise {
    /// Of a single column, of a type whose values are equal where their ids are.
    fn of(schema: &Schema, columns: &[usize]) -> Self {
        let so_far = match columns {
            [column] => {
                let data_type = schema.field(*column).data_type();
                let is_text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
                data_type.is_integer() || is_text
            }
            _ => false,
        };
        Self { so_far, last: None }
    }

    fn add(&mut self, batch: &RecordBatch) {
        let (Some(ids), n) = (batch.columns().first(), batch.num_rows()) else {
            return;
        };
        if !self.so_far || n == 0 {
            return;
        }
        let is_below = |one: &ArrayRef, other: &ArrayRef| {
            let below = lt(one, other);
            below.is_ok_and(|below| below.true_count() == below.len())
        };
        let after_last = self.last.as_ref().is_none_or(|last| is_below(last, &ids.slice(0, 1)));
        self.so_far = after_last && is_below(&ids.slice(0, n - 1), &ids.slice(1, n - 1));
        self.last = Some(ids.slice(n - 1, 1));
    }
}

/// Rows whose id an earlier row has, in order.
pub(crate) fn repeated_rows(ids: &Keys) -> Result<Vec<usize>> {
    if ids.rise {
        return Ok(Vec::new());
    }
    let keys = &ids.keys;
    let mut seen = repeated(keys)?;
    let is_later = |key: &u128| {
        seen.get_mut(key).is_some_and(|count| {
            *count += 1;
            *count > 1
        })
    };
    Ok(positions(keys, is_later))
}

fn positions(keys: &[u128], mut of: impl FnMut(&u128) -> bool) -> Vec<usize> {
    let rows = keys.iter().enumerate().filter(|(_, key)| of(key));
    rows.map(|(row, _)| row).collect()
}

/// Gives rows of one id keys of their own: the first keeps that of the id, others have their number in it.
fn tell_apart(keys: &mut [u128]) -> Result<()> {
    let mut seen = repeated(keys)?;
    for key in keys {
        if let Some(count) = seen.get_mut(key) {
            *count += 1;
            if *count > 1 {
                *key = xxh3_128(&[key.to_le_bytes(), u128::from(*count).to_le_bytes()].concat());
            }
        }
    }
    Ok(())
}

/// The keys that stand more than once, each with a count of 0.
fn repeated(keys: &[u128]) -> Result<HashMap<u128, u64>> {
    let mut repeated = HashMap::new();
    if share_a_head(keys)? {
        let mut sorted = with_room(keys.len())?;
        sorted.extend_from_slice(keys);
        sorted.sort_unstable();
        let pairs = sorted.windows(2).filter(|pair| pair[0] == pair[1]);
        repeated.extend(pairs.map(|pair| (pair[0], 0)));
    }
    Ok(repeated)
}

fn with_room<T>(n_rows: usize) -> Result<Vec<T>> {
    let mut keys = Vec::new();
    keys.try_reserve_exact(n_rows).map_err(|_| Error::OutOfMemory {
        what: "the ids".into(),
        bytes: (n_rows as u64).saturating_mul(size_of::<T>() as u64),
    })?;
    Ok(keys)
}

fn refuse_duplicates(keys: &[u128], names: &[String]) -> Result<()> {
    // Ids without duplicates, all but always: their first halves differ as well, and sort in half the room.
    if !share_a_head(keys)? {
        return Ok(());
    }
    let mut sorted = with_room(keys.len())?;
    sorted.extend_from_slice(keys);
    sorted.sort_unstable();
    let count = sorted.windows(2).filter(|pair| pair[0] == pair[1]).count();
    if count > 0 {
        return Err(Error::DuplicateIds {
            columns: names.to_vec(),
            count,
            n_rows: keys.len(),
        });
    }
    Ok(())
}

/// Whether two keys have their upper 64 bits in common.
fn share_a_head(keys: &[u128]) -> Result<bool> {
    let head = |key: u128| (key >> 64) as u64;
    let part = |key: u128| (key >> 120) as usize;
    let mut ends = [0; PARTS];
    keys.iter().for_each(|&key| ends[part(key)] += 1);
    let mut end = 0;
    for count in &mut ends {
        end += *count;
        *count = end;
    }
    let mut heads: Vec<u64> = with_room(keys.len())?;
    heads.resize(keys.len(), 0);
    let mut next = ends;
    for &key in keys.iter().rev() {
        let next = &mut next[part(key)];
        *next -= 1;
        heads[*next] = head(key);
    }
    let (mut parts, mut rest, mut start) = (Vec::with_capacity(PARTS), heads.as_mut_slice(), 0);
    for end in ends {
        let (part, after) = rest.split_at_mut(end - start);
        parts.push(part);
        (rest, start) = (after, end);
    }
    let shares = |part: &mut [u64]| {
        part.sort_unstable();
        part.windows(2).any(|pair| pair[0] == pair[1])
    };
    Ok(parts.into_par_iter().any(shares))
}

/// Adds the rows of a batch in which some column is null.
fn add_null_rows(first_row: usize, batch: &RecordBatch, rows: &mut Vec<usize>) {
    let masks: Vec<NullBuffer> = { batch.columns().iter() }
        .filter_map(|array| array.logical_nulls().filter(|nulls| nulls.null_count() > 0))
        .collect();
    if !masks.is_empty() {
        let is_null = |row: &usize| masks.iter().any(|mask| mask.is_null(*row));
        rows.extend((0..batch.num_rows()).filter(is_null).map(|row| first_row + row));
    }
}

/// Adds a batch's nulls to the count and the first row of each column.
fn count_nulls(first_row: usize, batch: &RecordBatch, nulls: &mut [(usize, usize)]) {
    for (array, (count, first)) in batch.columns().iter().zip(nulls) {
        let Some(mask) = array.logical_nulls() else { continue };
        if *count == 0 {
            *first = first_row + mask.iter().position(|valid| !valid).unwrap_or(0);
        }
        *count += mask.null_count();
    }
}

fn unusable(name: &str, data_type: &DataType) -> Error {
    let reason = match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "floating-point values have no exact identity",
        _ => "values of its type have no identity",
    };
    Error::ColumnUnusable {
        column: name.to_owned(),
        role: "an id",
        reason: format!("{reason} ({})", type_name(data_type)),
    }
}

fn check_type(name: &str, data_type: &DataType) -> Result<()> {
    use DataType as T;
    match data_type {
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 | T::Boolean => Ok(()),
        T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => Ok(()),
        T::Date32 | T::Date64 | T::Timestamp(..) | T::Time32(_) | T::Time64(_) => Ok(()),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => Ok(()),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => Ok(()),
        T::Dictionary(_, values) if !matches!(**values, T::Dictionary(..)) => check_type(name, values),
        _ => Err(unusable(name, data_type)),
    }
}

/// For each column how to append a row's value: its kind and bytes, or a mark for null.
fn appends(batch: &RecordBatch, names: &[String]) -> Result<Vec<Append>> {
    let columns = batch.columns().iter().zip(names);
    columns
        .map(|(array, name)| {
            let append = append_values(array).ok_or_else(|| unusable(name, array.data_type()))?;
            let nulls = array.logical_nulls();
            Ok(match nulls.filter(|nulls| nulls.null_count() > 0) {
                None => append,
                Some(nulls) => skip_nulls(nulls, append),
            })
        })
        .collect()
}

fn skip_nulls(nulls: NullBuffer, append: Append) -> Append {
    Box::new(move |row, out| {
        if nulls.is_valid(row) {
            append(row, out);
        }
    })
}

/// A value as its kind, its length and its bytes: no two sequences of values give the same bytes.
fn tagged(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind as u8);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends the values of a primitive column, each times `factor`.
macro_rules! integers {
    ($array:expr, $type:ty, $kind:expr, $factor:expr) => {{
        let array = $array.as_primitive::<$type>().clone();
        Box::new(move |row, out: &mut Vec<u8>| {
            let value: i128 = array.value(row).as_();
            tagged($kind, &(value * $factor).to_le_bytes(), out);
        }) as Append
    }};
}

/// Appends the values of a column of texts or bytes.
macro_rules! bytes {
    ($array:expr, $kind:expr) => {{
        let array = $array.clone();
        Box::new(move |row, out: &mut Vec<u8>| {
            let value: &[u8] = array.value(row).as_ref();
            tagged($kind, value, out);
        }) as Append
    }};
}

fn append_values(array: &ArrayRef) -> Option<Append> {
    use DataType as T;
    Some(match array.data_type() {
        T::Int8 => integers!(array, Int8Type, Kind::Integer, 1),
        T::Int16 => integers!(array, Int16Type, Kind::Integer, 1),
        T::Int32 => integers!(array, Int32Type, Kind::Integer, 1),
        T::Int64 => integers!(array, Int64Type, Kind::Integer, 1),
        T::UInt8 => integers!(array, UInt8Type, Kind::Integer, 1),
        T::UInt16 => integers!(array, UInt16Type, Kind::Integer, 1),
        T::UInt32 => integers!(array, UInt32Type, Kind::Integer, 1),
        T::UInt64 => integers!(array, UInt64Type, Kind::Integer, 1),
        T::Decimal32(_, scale) => decimals::<Decimal32Type>(array, *scale),
        T::Decimal64(_, scale) => decimals::<Decimal64Type>(array, *scale),
        T::Decimal128(_, scale) => decimals::<Decimal128Type>(array, *scale),
        T::Decimal256(_, scale) => decimals::<Decimal256Type>(array, *scale),
        T::Date32 | T::Date64 | T::Time32(_) | T::Time64(_) | T::Timestamp(..) => append_times(array)?,
        T::Dictionary(..) => append_dictionary(array)?,
        _ => append_bytes(array)?,
    })
}

/// Dates in milliseconds; times and timestamps in nanoseconds, the latter told apart by whether they name an instant.
fn append_times(array: &ArrayRef) -> Option<Append> {
    use DataType as T;
    let (day, kind) = match array.data_type() {
        T::Timestamp(_, None) => (0, Kind::LocalTime),
        T::Timestamp(..) => (0, Kind::Instant),
        T::Date32 | T::Date64 => (86_400_000, Kind::Date),
        _ => (0, Kind::TimeOfDay),
    };
    Some(match array.data_type() {
        T::Date32 => integers!(array, Date32Type, kind, day),
        T::Date64 => integers!(array, Date64Type, kind, 1),
        T::Time32(TimeUnit::Second) => integers!(array, Time32SecondType, kind, 1_000_000_000),
        T::Time32(TimeUnit::Millisecond) => integers!(array, Time32MillisecondType, kind, 1_000_000),
        T::Time64(TimeUnit::Microsecond) => integers!(array, Time64MicrosecondType, kind, 1_000),
        T::Time64(TimeUnit::Nanosecond) => integers!(array, Time64NanosecondType, kind, 1),
        T::Timestamp(TimeUnit::Second, _) => integers!(array, TimestampSecondType, kind, 1_000_000_000),
        T::Timestamp(TimeUnit::Millisecond, _) => integers!(array, TimestampMillisecondType, kind, 1_000_000),
        T::Timestamp(TimeUnit::Microsecond, _) => integers!(array, TimestampMicrosecondType, kind, 1_000),
        T::Timestamp(TimeUnit::Nanosecond, _) => integers!(array, TimestampNanosecondType, kind, 1),
        _ => return None,
    })
}

fn append_bytes(array: &ArrayRef) -> Option<Append> {
    use DataType as T;
    Some(match array.data_type() {
        T::Boolean => {
            let array = array.as_boolean().clone();
            Box::new(move |row, out| tagged(Kind::Bool, &[u8::from(array.value(row))], out))
        }
        T::Utf8 => bytes!(array.as_string::<i32>(), Kind::Text),
        T::LargeUtf8 => bytes!(array.as_string::<i64>(), Kind::Text),
        T::Utf8View => bytes!(array.as_string_view(), Kind::Text),
        T::Binary => bytes!(array.as_binary::<i32>(), Kind::Bytes),
        T::LargeBinary => bytes!(array.as_binary::<i64>(), Kind::Bytes),
        T::BinaryView => bytes!(array.as_binary_view(), Kind::Bytes),
        T::FixedSizeBinary(_) => bytes!(array.as_fixed_size_binary(), Kind::Bytes),
        _ => return None,
    })
}

/// Each row as the entry it refers to; nothing is written out.
fn append_dictionary(array: &ArrayRef) -> Option<Append> {
    let dictionary = array.as_any_dictionary_opt()?;
    let entries = append_values(dictionary.values())?;
    if dictionary.values().is_empty() {
        return Some(Box::new(|_, _| {}));
    }
    let keys = dictionary.normalized_keys();
    Some(Box::new(move |row, out| entries(keys[row], out)))
}

/// Decimals without trailing zeros; whole ones as integers, where they are not too large for that.
fn decimals<T: DecimalType>(array: &ArrayRef, scale: i8) -> Append
where
    T::Native: Into256,
{
    let array = Arc::new(array.as_primitive::<T>().clone());
    Box::new(move |row, out| append_decimal(array.value(row).into_256(), i32::from(scale), out))
}

fn append_decimal(mut value: i256, mut scale: i32, out: &mut Vec<u8>) {
    let ten = i256::from_i128(10);
    if value == i256::ZERO {
        scale = 0;
    }
    while value != i256::ZERO && value.wrapping_rem(ten) == i256::ZERO {
        value = value.wrapping_div(ten);
        scale -= 1;
    }
    let mut whole = value.to_i128();
    for _ in scale..0 {
        whole = whole.and_then(|whole| whole.checked_mul(10));
    }
    match whole {
        Some(whole) if scale <= 0 => tagged(Kind::Integer, &whole.to_le_bytes(), out),
        _ => {
            let mut bytes = [0; 36];
            bytes[..32].copy_from_slice(&value.to_le_bytes());
            bytes[32..].copy_from_slice(&scale.to_le_bytes());
            tagged(Kind::Decimal, &bytes, out);
        }
    }
}

/// The native integers of decimals, widened.
trait Into256 {
    fn into_256(self) -> i256;
}

impl Into256 for i32 {
    fn into_256(self) -> i256 {
        i256::from_i128(self.into())
    }
}

impl Into256 for i64 {
    fn into_256(self) -> i256 {
        i256::from_i128(self.into())
    }
}

impl Into256 for i128 {
    fn into_256(self) -> i256 {
        i256::from_i128(self)
    }
}

impl Into256 for i256 {
    fn into_256(self) -> i256 {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MemorySource;
    use arrow::array::*;

    fn table(columns: Vec<ArrayRef>) -> MemorySource {
        let named = columns
            .into_iter()
            .enumerate()
            .map(|(i, array)| (format!("c{i}"), array, true));
        MemorySource::new(vec![RecordBatch::try_from_iter_with_nullable(named).unwrap()]).unwrap()
    }

    fn keys(columns: Vec<ArrayRef>) -> Result<Vec<u128>> {
        let names: Vec<String> = (0..columns.len()).map(|i| format!("c{i}")).collect();
        let all: Vec<usize> = (0..columns.len()).collect();
        match read_keys(&table(columns), &all, &names)? {
            RowKeys::Ids(keys) => Ok(keys),
            RowKeys::RowNumber => unreachable!("ids were asked for"),
        }
    }

    fn one(array: impl Array + 'static) -> Vec<u128> {
        keys(vec![Arc::new(array)]).unwrap()
    }

    #[test]
    fn equal_values_of_other_types_are_equal_ids() {
        let numbers = one(Int64Array::from(vec![5, -3, 700]));
        assert_eq!(one(Int16Array::from(vec![5, -3, 700])), numbers);
        let decimal = |values: Vec<i128>, scale| Decimal128Array::from(values).with_precision_and_scale(20, scale);
        assert_eq!(one(decimal(vec![500, -300, 70000], 2).unwrap()), numbers);
        assert_eq!(one(UInt8Array::from(vec![5])), numbers[..1]);
        let texts = one(StringArray::from(vec!["a", "", "ab"]));
        assert_eq!(one(LargeStringArray::from(vec!["a", "", "ab"])), texts);
        assert_eq!(one(StringViewArray::from(vec!["a", "", "ab"])), texts);
        let words: DictionaryArray<Int8Type> = vec!["a", "", "ab"].into_iter().collect();
        assert_eq!(one(words), texts);
        assert_eq!(
            one(Date32Array::from(vec![2])),
            one(Date64Array::from(vec![2 * 86_400_000]))
        );
        assert_eq!(
            one(TimestampSecondArray::from(vec![7])),
            one(TimestampNanosecondArray::from(vec![7_000_000_000]))
        );
    }

    #[test]
    fn ids_that_rise_are_known_to_differ_and_others_are_looked_at() {
        let rise = |batches: Vec<ArrayRef>| {
            let of_array = |array: ArrayRef| RecordBatch::try_from_iter_with_nullable([("id", array, true)]).unwrap();
            let source = MemorySource::new(batches.into_iter().map(of_array).collect()).unwrap();
            let names = ["id".to_owned()];
            (
                keys_and_nulls(&source, &[0], &names).unwrap().rise,
                read_keys(&source, &[0], &names).is_ok(),
            )
        };
        let numbers = |ids: &[i64]| Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef;
        let texts = |ids: &[&str]| Arc::new(StringArray::from(ids.to_vec())) as ArrayRef;
        assert_eq!(
            rise(vec![numbers(&[-2, 3]), numbers(&[]), numbers(&[4]), numbers(&[9, 11])]),
            (true, true)
        );
        assert_eq!(rise(vec![texts(&["A-9", "B"]), texts(&["Ba", "c"])]), (true, true));
        // Out of order, and the same twice, in a batch and across two.
        assert_eq!(rise(vec![numbers(&[3, 2]), numbers(&[4])]), (false, true));
        assert_eq!(rise(vec![numbers(&[1, 3]), numbers(&[2, 4])]), (false, true));
        assert_eq!(rise(vec![numbers(&[1, 2]), numbers(&[2, 4])]), (false, false));
        assert_eq!(rise(vec![numbers(&[1, 2, 2])]), (false, false));
        assert_eq!(rise(vec![texts(&["b", "c"]), texts(&["c"])]), (false, false));
        let gap = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef;
        assert_eq!(rise(vec![gap]), (false, false));
    }

    #[test]
    fn other_values_and_kinds_are_other_ids() {
        let fraction = Decimal128Array::from(vec![50, 55])
            .with_precision_and_scale(20, 1)
            .unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![5, 6])),
            Arc::new(StringArray::from(vec!["5", "6"])),
            Arc::new(BinaryArray::from(vec![&b"5"[..], b"6"])),
            Arc::new(Date32Array::from(vec![5, 6])),
            Arc::new(TimestampSecondArray::from(vec![5, 6])),
            Arc::new(TimestampSecondArray::from(vec![5, 6]).with_timezone("UTC")),
        ];
        let mut all: Vec<u128> = columns
            .into_iter()
            .flat_map(|array| keys(vec![array]).unwrap())
            .collect();
        all.push(one(fraction)[1]);
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n);
    }

    #[test]
    fn columns_of_a_compound_id_do_not_run_together() {
        let left: ArrayRef = Arc::new(StringArray::from(vec!["ab", "a"]));
        let right: ArrayRef = Arc::new(StringArray::from(vec!["c", "bc"]));
        let found = keys(vec![left, right]).unwrap();
        assert_ne!(found[0], found[1]);
    }

    #[test]
    fn null_ids_are_counted() {
        let ids: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, None]));
        let found = keys(vec![Arc::new(Int32Array::from(vec![1, 1, 1])), ids]);
        let Err(Error::NullIds {
            column,
            count,
            n_rows,
            first_row,
        }) = found
        else {
            panic!("null ids passed");
        };
        assert_eq!((column.as_str(), count, n_rows, first_row), ("c1", 2, 3, 2));
        let keys_null: DictionaryArray<Int8Type> = vec![Some("a"), None].into_iter().collect();
        assert!(matches!(keys(vec![Arc::new(keys_null)]), Err(Error::NullIds { .. })));
    }

    #[test]
    fn repeated_ids_are_counted() {
        let found = keys(vec![Arc::new(Int32Array::from(vec![4, 4, 1, 4]))]);
        assert!(matches!(
            found,
            Err(Error::DuplicateIds {
                count: 2,
                n_rows: 4,
                ..
            })
        ));
    }

    #[test]
    fn floats_are_no_ids() {
        let found = keys(vec![Arc::new(Float64Array::from(vec![1.0]))]);
        assert!(matches!(found, Err(Error::ColumnUnusable { role: "an id", .. })));
    }
}
