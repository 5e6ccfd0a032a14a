//! Cells of one column as an Arrow array of its type.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, ArrowPrimitiveType, BooleanBuilder, NullBuilder, PrimitiveBuilder, StringBuilder,
};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};

use crate::data::values::{self, Moment};

/// A cell is not of the type of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotOfType;

/// Takes the cells of a column, one by one.
pub(super) trait Cells {
    /// Adds a cell; `is_quoted` where it stood between quotes, so that an empty text is one.
    fn push(&mut self, cell: &str, is_quoted: bool) -> Result<(), NotOfType>;

    /// The cells since the last call.
    fn finish(&mut self) -> ArrayRef;
}

/// What takes the cells of a column of a type.
///
/// # Panics
/// If no column of a CSV file can have the type.
pub(super) fn cells_of(data_type: &DataType) -> Box<dyn Cells> {
    use DataType as T;
    match data_type {
        T::Null => Box::new(Nothing(NullBuilder::new())),
        T::Boolean => Box::new(Truths(BooleanBuilder::new())),
        T::Utf8 => Box::new(Texts(StringBuilder::new())),
        T::Int8 => parsed::<Int8Type>(data_type, |text| text.parse().ok()),
        T::Int16 => parsed::<Int16Type>(data_type, |text| text.parse().ok()),
        T::Int32 => parsed::<Int32Type>(data_type, |text| text.parse().ok()),
        T::Int64 => parsed::<Int64Type>(data_type, |text| text.parse().ok()),
        T::UInt8 => parsed::<UInt8Type>(data_type, |text| text.parse().ok()),
        T::UInt16 => parsed::<UInt16Type>(data_type, |text| text.parse().ok()),
        T::UInt32 => parsed::<UInt32Type>(data_type, |text| text.parse().ok()),
        T::UInt64 => parsed::<UInt64Type>(data_type, |text| text.parse().ok()),
        T::Float32 => parsed::<Float32Type>(data_type, |text| text.parse().ok()),
        T::Float64 => parsed::<Float64Type>(data_type, |text| text.parse().ok()),
        T::Date32 => parsed::<Date32Type>(data_type, |text| values::date(text.as_bytes())),
        T::Timestamp(TimeUnit::Nanosecond, zone) => {
            let has_zone = zone.is_some();
            parsed::<TimestampNanosecondType>(data_type, move |text| stamp(text, has_zone)?.nanoseconds())
        }
        T::Timestamp(_, zone) => {
            let has_zone = zone.is_some();
            parsed::<TimestampMicrosecondType>(data_type, move |text| stamp(text, has_zone)?.microseconds())
        }
        T::Time64(TimeUnit::Nanosecond) => {
            parsed::<Time64NanosecondType>(data_type, |text| values::time(text.as_bytes())?.nanoseconds())
        }
        T::Time64(_) => {
            parsed::<Time64MicrosecondType>(data_type, |text| values::time(text.as_bytes())?.microseconds())
        }
        other => unreachable!("no cells are read as {other}"),
    }
}

/// A point in time; a day alone is its midnight where no zone is asked for.
fn stamp(text: &str, has_zone: bool) -> Option<Moment> {
    let bytes = text.as_bytes();
    let midnight = |day: i32| Moment {
        seconds: i64::from(day) * 86_400,
        nanoseconds: 0,
        has_zone: false,
    };
    let moment = values::timestamp(bytes).or_else(|| values::date(bytes).map(midnight))?;
    (moment.has_zone == has_zone).then_some(moment)
}

struct Parsed<T: ArrowPrimitiveType, F> {
    builder: PrimitiveBuilder<T>,
    parse: F,
}

fn parsed<T: ArrowPrimitiveType>(
    data_type: &DataType,
    parse: impl Fn(&str) -> Option<T::Native> + 'static,
) -> Box<dyn Cells> {
    Box::new(Parsed {
        builder: PrimitiveBuilder::<T>::new().with_data_type(data_type.clone()),
        parse,
    })
}

impl<T: ArrowPrimitiveType, F: Fn(&str) -> Option<T::Native>> Cells for Parsed<T, F> {
    fn push(&mut self, cell: &str, _: bool) -> Result<(), NotOfType> {
        let cell = cell.trim_ascii();
        match (self.parse)(cell) {
            Some(value) => self.builder.append_value(value),
            None if values::is_null(cell.as_bytes()) => self.builder.append_null(),
            None => return Err(NotOfType),
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
}

struct Truths(BooleanBuilder);

impl Cells for Truths {
    fn push(&mut self, cell: &str, _: bool) -> Result<(), NotOfType> {
        let cell = cell.trim_ascii().as_bytes();
        match values::truth(cell) {
            None if !values::is_null(cell) => return Err(NotOfType),
            truth => self.0.append_option(truth),
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

struct Texts(StringBuilder);

impl Cells for Texts {
    fn push(&mut self, cell: &str, is_quoted: bool) -> Result<(), NotOfType> {
        match cell.is_empty() && !is_quoted {
            true => self.0.append_null(),
            false => self.0.append_value(cell),
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

struct Nothing(NullBuilder);

impl Cells for Nothing {
    fn push(&mut self, cell: &str, _: bool) -> Result<(), NotOfType> {
        if !values::is_null(cell.trim_ascii().as_bytes()) {
            return Err(NotOfType);
        }
        self.0.append_null();
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        ArrayBuilder::finish(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};

    #[test]
    fn cells_are_values_nulls_or_errors() {
        let read = |data_type: &DataType, cells: &[(&str, bool)]| {
            let mut column = cells_of(data_type);
            { cells.iter() }
                .try_for_each(|(cell, is_quoted)| column.push(cell, *is_quoted))
                .map(|()| column.finish())
        };
        let whole = read(
            &DataType::Int8,
            &[("7", false), ("", false), ("", true), (" -1", false)],
        )
        .unwrap();
        assert_eq!(
            whole.as_primitive::<Int8Type>().iter().collect::<Vec<_>>(),
            [Some(7), None, None, Some(-1)]
        );
        assert_eq!(read(&DataType::Int8, &[("128", false)]).unwrap_err(), NotOfType);
        let texts = read(&DataType::Utf8, &[("", false), ("", true), ("NA", false)]).unwrap();
        assert_eq!(
            texts.as_string::<i32>().iter().collect::<Vec<_>>(),
            [None, Some(""), Some("NA")]
        );
        let nan = read(&DataType::Float64, &[("nan", false), ("NA", false)]).unwrap();
        let nan = nan.as_primitive::<Float64Type>();
        assert!(nan.value(0).is_nan() && nan.is_null(1));
        let stamps = DataType::Timestamp(TimeUnit::Microsecond, None);
        let days = read(&stamps, &[("1970-01-02", false)]).unwrap();
        assert_eq!(days.as_primitive::<TimestampMicrosecondType>().value(0), 86_400_000_000);
        assert!(read(&stamps, &[("1970-01-02T00:00Z", false)]).is_err());
        assert_eq!(read(&DataType::Null, &[("", false), ("NA", false)]).unwrap().len(), 2);
    }
}
