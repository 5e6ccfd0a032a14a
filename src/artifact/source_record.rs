//! How a run's files became a table, as `run.json` holds it: what it takes to read them so again.

use serde::{Deserialize, Serialize};

use crate::data::{
    AbsentColumns, ComparedValue, DuplicateIds, FileSource, Filter, NullIds, SourceOptions, is_time, name_of, type_of,
};
use crate::error::Result;
use crate::features::is_private_by_name;
use crate::segments::MIN_CELL;

/// What differs from reading files as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceRecord {
    /// Types that columns of CSV files were given: names, and names of types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<(String, String)>,
    /// The rows that were wanted, with `?` for values that are not told: those that ids and personal data are compared
    /// with.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// What became of rows whose id an earlier row has.
    #[serde(skip_serializing_if = "is_default")]
    pub duplicate_ids: DuplicateIds,
    /// What became of rows without an id.
    #[serde(skip_serializing_if = "is_default")]
    pub null_ids: NullIds,
    /// What separates fields of CSV files, where it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// What became of columns that some files do not have.
    #[serde(skip_serializing_if = "is_default")]
    pub absent_columns: AbsentColumns,
    /// Columns that the paths of the files gave.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<String>,
}

/// An address has a sign of its own, a number of a person or an account many digits; dates have few letters between.
fn looks_personal(text: &str) -> bool {
    text.contains('@') || (text.bytes().filter(u8::is_ascii_digit).count() > 5 && !is_time(text))
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl SourceRecord {
    /// Whether files were read as they are.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        is_default(self)
    }

    /// Of a table.
    ///
    /// Values that its filter compares columns with are told where they are names and no cell values: at least
    /// [`MIN_CELL`] rows have them, or they are ends of ranges of numbers or times; and where neither the column nor the
    /// value looks like an id or personal data.
    #[must_use]
    pub fn new(source: &FileSource) -> Self {
        let options = source.options();
        let is_private = |value: &ComparedValue<'_>| {
            let is_named_so = is_private_by_name(value.column) || options.ids.iter().any(|id| id == value.column);
            let is_named_by_many = value.n_rows >= MIN_CELL || (value.is_end && value.text.is_none_or(is_time));
            is_named_so || !is_named_by_many || value.text.is_some_and(looks_personal)
        };
        Self {
            filter: source.recorded_filter(&is_private),
            ..Self::of_options(options)
        }
    }

    fn of_options(options: &SourceOptions) -> Self {
        let types = options.types.iter();
        Self {
            filter: None,
            duplicate_ids: options.duplicate_ids,
            null_ids: options.null_ids,
            types: types
                .map(|(column, data_type)| (column.clone(), name_of(data_type).into()))
                .collect(),
            delimiter: options.delimiter.map(char::from),
            absent_columns: options.absent_columns,
            partitions: options.partitions.clone().unwrap_or_default(),
        }
    }

    /// The options that read the files so again, with the columns that tell rows apart. `filter` stands in for the
    /// recorded one.
    ///
    /// # Errors
    /// [`crate::Error::InvalidParam`] for types that are none; [`crate::Error::FilterInvalid`] for a filter of which
    /// values are not told, where none stands in.
    pub fn options(&self, ids: &[String], filter: Option<Filter>) -> Result<SourceOptions> {
        let types = self.types.iter();
        let recorded = || self.filter.as_deref().map(Filter::new).transpose();
        Ok(SourceOptions {
            filter: match filter {
                Some(filter) => Some(filter),
                None => recorded()?,
            },
            ids: ids.to_vec(),
            duplicate_ids: self.duplicate_ids,
            null_ids: self.null_ids,
            types: types
                .map(|(column, name)| Ok((column.clone(), type_of(name)?)))
                .collect::<Result<_>>()?,
            delimiter: self.delimiter.and_then(|delimiter| u8::try_from(delimiter).ok()),
            absent_columns: self.absent_columns,
            partitions: Some(self.partitions.clone()),
            ..SourceOptions::default()
        })
    }

    /// Everything that the types do not rule out.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.delimiter.is_some_and(|delimiter| !delimiter.is_ascii()) {
            return Err("the separator of fields is no ASCII character".into());
        }
        let types = self.types.iter().try_for_each(|(_, name)| type_of(name).map(drop));
        types.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of 40 rows, as a CSV file.
    fn source(options: SourceOptions) -> FileSource {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let line = |i: usize| {
            format!(
                "K-{i:02},{},{},{i}@x.org\n",
                20 + i,
                ["gold", "free"][usize::from(i > 2)]
            )
        };
        let text: String = std::iter::once("code,age,plan,login\n".to_owned())
            .chain((0..40).map(line))
            .collect();
        std::fs::write(&path, text).unwrap();
        FileSource::open_with(&[path], 1, options).unwrap()
    }

    fn filtered(text: &str) -> SourceOptions {
        SourceOptions {
            filter: Some(Filter::new(text).unwrap()),
            ids: vec!["code".into()],
            ..SourceOptions::default()
        }
    }

    #[test]
    fn options_come_back_and_a_plain_record_is_empty() {
        let options = SourceOptions {
            types: vec![("age".into(), type_of("float32").unwrap())],
            delimiter: Some(b','),
            absent_columns: AbsentColumns::Null,
            duplicate_ids: DuplicateIds::First,
            null_ids: NullIds::Drop,
            ..filtered("age > 30 and plan = 'free'")
        };
        let ids = options.ids.clone();
        let record = SourceRecord::new(&source(options));
        let json = serde_json::to_string(&record).unwrap();
        assert!(json.contains(r#""where":"age > 30 and plan = 'free'""#), "{json}");
        let again: SourceRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(again, record);
        assert_eq!(SourceRecord::new(&source(again.options(&ids, None).unwrap())), record);
        let plain = SourceRecord::new(&source(SourceOptions::default()));
        assert!(plain.is_plain() && !record.is_plain());
        assert_eq!(serde_json::to_string(&plain).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<SourceRecord>("{}").unwrap(), plain);
    }

    #[test]
    fn values_that_few_rows_have_or_that_look_personal_are_not_written_down() {
        let recorded = |text: &str| SourceRecord::new(&source(filtered(text))).filter.unwrap();
        for (text, expected) in [
            ("code != 'K-07'", "code != ?"),
            ("code > 'K-07'", "code > ?"),
            ("age = 21 or age between 30 and 50", "age = ? or age between 30 and 50"),
            ("plan = 'free' or plan = 'gold'", "plan = 'free' or plan = ?"),
            ("plan != 'never' and plan < 'z'", "plan != ? and plan < ?"),
            ("login like '%@x.org'", "login like ?"),
            ("login like '%x.org'", "login like '%x.org'"),
        ] {
            assert_eq!(recorded(text), expected);
        }
        let options = filtered("code != 'K-07'");
        let (ids, filter) = (options.ids.clone(), options.filter.clone());
        let record = SourceRecord::new(&source(options));
        assert!(record.check().is_ok());
        let refused = record.options(&ids, None).unwrap_err();
        assert!(refused.to_string().contains("give --where again"));
        assert_eq!(record.options(&ids, filter.clone()).unwrap().filter, filter);
        assert!(looks_personal("DE02 1203 0000") && !looks_personal("2026-01-31 18:00") && !looks_personal("gold"));
    }

    #[test]
    fn what_makes_no_sense_is_found() {
        let of = |json: &str| serde_json::from_str::<SourceRecord>(json).unwrap().check();
        assert!(of(r#"{"types": [["a", "int64"]]}"#).is_ok());
        assert!(of(r#"{"types": [["a", "int65"]]}"#).is_err());
        assert!(of(r#"{"delimiter": "é"}"#).is_err());
        assert!(serde_json::from_str::<SourceRecord>(r#"{"what": 1}"#).is_err());
    }
}
