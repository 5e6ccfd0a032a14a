//! What the user may say about how a table is read.

use arrow::datatypes::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};

use super::apart::DecodedFile;
use super::filter::Filter;
use crate::error::{Error, Result};

/// How files become a table.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// Types of columns of CSV files, instead of those that their values suggest.
    pub types: Vec<(String, DataType)>,
    /// Types that columns of CSV files have where their values allow it: those that a model knows.
    pub likely_types: Vec<(String, DataType)>,
    /// What separates the fields of CSV files; told from the first line where it is not given.
    pub delimiter: Option<u8>,
    /// What becomes of a column that some files do not have.
    pub absent_columns: AbsentColumns,
    /// The columns that paths (`year=2026/`) give; all that they have where this is not given.
    pub partitions: Option<Vec<String>>,
    /// The rows that are wanted; all where this is not given.
    pub filter: Option<Filter>,
    /// The columns that tell rows apart, for what is done about ids.
    pub ids: Vec<String>,
    /// What becomes of rows whose id an earlier row has.
    pub duplicate_ids: DuplicateIds,
    /// What becomes of rows without an id.
    pub null_ids: NullIds,
    /// Files that were decoded in processes of their own, as they were then: one that has changed since is refused.
    pub decoded: Vec<DecodedFile>,
    /// Whether statistics of columns are looked at without a filter too.
    pub statistics: bool,
    /// Asked now and then while stdin is read, and ends that with its error.
    pub stop: Option<fn() -> Result<()>>,
}

impl SourceOptions {
    /// What [`SourceOptions::stop`] says.
    pub(crate) fn check_stop(&self) -> Result<()> {
        self.stop.map_or(Ok(()), |stop| stop())
    }
}

/// What becomes of a column that some files of a table do not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AbsentColumns {
    /// The files are refused: that a value is not known is not the same as that nobody wrote it down.
    #[default]
    Refuse,
    /// It has no values there.
    Null,
}

/// What becomes of rows whose id an earlier row has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicateIds {
    /// The data is refused.
    #[default]
    Error,
    /// The first row of each id is kept, in order of the files and of their rows.
    First,
    /// All are kept; rows of one id are told apart by their order.
    Keep,
}

/// What becomes of rows without an id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NullIds {
    /// The data is refused.
    #[default]
    Error,
    /// They are left out.
    Drop,
}

/// The names of the types that columns of CSV files can be given.
const TYPE_NAMES: [&str; 16] = [
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
    "bool",
    "text",
    "date",
    "timestamp",
    "timestamp_utc",
    "time",
];

/// The type that a name stands for: `int8` to `uint64`, `float32`, `float64`, `bool`, `text`, `date`, `timestamp`,
/// `timestamp_utc`, `time`.
///
/// # Errors
/// [`Error::InvalidParam`] for another name.
pub fn type_of(name: &str) -> Result<DataType> {
    use DataType as T;
    Ok(match name {
        "int8" => T::Int8,
        "int16" => T::Int16,
        "int32" => T::Int32,
        "int64" => T::Int64,
        "uint8" => T::UInt8,
        "uint16" => T::UInt16,
        "uint32" => T::UInt32,
        "uint64" => T::UInt64,
        "float32" => T::Float32,
        "float64" => T::Float64,
        "bool" => T::Boolean,
        "text" => T::Utf8,
        "date" => T::Date32,
        "timestamp" => T::Timestamp(TimeUnit::Microsecond, None),
        "timestamp_utc" => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "time" => T::Time64(TimeUnit::Microsecond),
        _ => {
            return Err(Error::InvalidParam {
                param: "schema",
                value: name.into(),
                reason: format!("is no type; there are {}", TYPE_NAMES.join(", ")),
            });
        }
    })
}

/// The name of a type that columns of CSV files can be given; empty for another.
#[must_use]
pub fn name_of(data_type: &DataType) -> &'static str {
    let is_it = |name: &&&str| type_of(name).is_ok_and(|named| named == *data_type);
    TYPE_NAMES.iter().find(is_it).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_one_name() {
        for name in TYPE_NAMES {
            assert_eq!(name_of(&type_of(name).unwrap()), name);
        }
        assert!(type_of("integer").unwrap_err().to_string().contains("int64"));
        assert_eq!(name_of(&DataType::Binary), "");
    }
}
