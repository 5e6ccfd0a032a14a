//! What the statistics of a Parquet column chunk say of its values, where they can be relied on.

use arrow::datatypes::{DataType, TimeUnit};
use parquet::basic::{ColumnOrder, LogicalType, TimeUnit as ParquetUnit};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::filter::{Between, Bounds};

/// Bounds of a chunk whose values are read as `data_type`, in the units of that type.
///
/// Minimum and maximum count where the file says that they are in the order of the type: older ones are not, for texts
/// and unsigned integers. They need not be values of the column, only enclose all of them (long texts are cut short).
pub(crate) fn bounds_of(
    chunk: &ColumnChunkMetaData,
    order: Option<&ColumnOrder>,
    data_type: &DataType,
) -> Option<Bounds> {
    let statistics = chunk.statistics()?;
    let is_ordered = match order {
        Some(ColumnOrder::TYPE_DEFINED_ORDER(_) | ColumnOrder::IEEE_754_TOTAL_ORDER) => {
            !statistics.is_min_max_deprecated()
        }
        _ => false,
    };
    let values = is_ordered.then(|| between(statistics, chunk.column_descr().logical_type_ref(), data_type));
    Some(Bounds {
        n_nulls: statistics.null_count_opt(),
        values: values.flatten(),
    })
}

fn between(statistics: &Statistics, logical: Option<&LogicalType>, data_type: &DataType) -> Option<Between> {
    use DataType as T;
    match (statistics, data_type) {
        (_, T::Dictionary(_, values)) => between(statistics, logical, values),
        (Statistics::Int32(values), T::Int8 | T::Int16 | T::Int32 | T::Date32) => whole(values, |&v| v.into()),
        (Statistics::Int32(values), T::UInt8 | T::UInt16 | T::UInt32) => whole(values, |&v| (v as u32).into()),
        (Statistics::Int64(values), T::Int64) => whole(values, |&v| v.into()),
        (Statistics::Int64(values), T::UInt64) => whole(values, |&v| (v as u64).into()),
        (Statistics::Int64(values), T::Timestamp(unit, _)) if is_in(logical, *unit) => whole(values, |&v| v.into()),
        (Statistics::Float(values), T::Float32) => float(values, |&v| v.into()),
        (Statistics::Double(values), T::Float64) => float(values, |&v| v),
        (Statistics::ByteArray(values), T::Utf8 | T::LargeUtf8 | T::Utf8View) => {
            let text =
                |bytes: &parquet::data_type::ByteArray| std::str::from_utf8(bytes.data()).ok().map(str::to_owned);
            Some(Between::Text(text(values.min_opt()?)?, text(values.max_opt()?)?))
        }
        _ => None,
    }
}

/// Whether ticks are stored in the unit that they are read in.
fn is_in(logical: Option<&LogicalType>, unit: TimeUnit) -> bool {
    let Some(LogicalType::Timestamp(stored)) = logical else {
        return false;
    };
    matches!(
        (stored.unit, unit),
        (ParquetUnit::MILLIS, TimeUnit::Millisecond)
            | (ParquetUnit::MICROS, TimeUnit::Microsecond)
            | (ParquetUnit::NANOS, TimeUnit::Nanosecond)
    )
}

fn whole<T>(values: &ValueStatistics<T>, of: impl Fn(&T) -> i128) -> Option<Between> {
    let (min, max) = (of(values.min_opt()?), of(values.max_opt()?));
    (min <= max).then_some(Between::Whole(min, max))
}

fn float<T>(values: &ValueStatistics<T>, of: impl Fn(&T) -> f64) -> Option<Between> {
    let (min, max) = (of(values.min_opt()?), of(values.max_opt()?));
    // A bound that is no number says nothing.
    (min <= max).then_some(Between::Float(min, max))
}
