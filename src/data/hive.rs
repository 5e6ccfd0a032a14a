//! Columns that paths give: `year=2026/country=de/part-0.parquet`.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int64Array, StringArray};
use arrow::datatypes::DataType;

use super::schema::mismatch;
use super::values;
use crate::error::Result;

/// What Hive writes where there is no value.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// A column whose value is the same in all rows of a file.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    /// For each file an array of one.
    pub(crate) values: Vec<ArrayRef>,
}

/// The columns that the folders on the way to files give, as the paths have them; of those, the ones in `only`.
///
/// Values are whole numbers where all are (`month=01` is 1), days (`day=2026-01-31`) where all are, else text;
/// `%20` and the like stand for bytes, `__HIVE_DEFAULT_PARTITION__` for no value.
///
/// # Errors
/// [`crate::Error::SchemaMismatch`] where some files have a column, and others do not.
pub(crate) fn partitions(paths: &[&Path], only: Option<&[String]>) -> Result<Vec<Partition>> {
    let pairs: Vec<Vec<(String, Option<String>)>> = paths.iter().map(|path| pairs(path)).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in pairs.iter().flatten() {
        let is_wanted = only.is_none_or(|only| only.contains(name));
        if is_wanted && !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let partition = |name: &str| {
        let mut values = Vec::with_capacity(paths.len());
        for (pairs, path) in pairs.iter().zip(paths) {
            // The deepest folder counts where several say something.
            let value = pairs.iter().rev().find(|pair| pair.0 == name);
            let value = value.ok_or_else(|| {
                let problem = format!("is in the paths of other files ({name}=...), but not in this one's");
                mismatch(path, name, problem)
            })?;
            values.push(value.1.as_deref());
        }
        Ok(typed(name, &values))
    };
    names.into_iter().map(partition).collect()
}

/// Names and values of the folders in a path; a text that reads as what stands for no value is written `%5F_HIVE...`.
fn pairs(path: &Path) -> Vec<(String, Option<String>)> {
    let folders = path.parent().map(PathBuf::from).unwrap_or_default();
    let pair = |component: Component<'_>| {
        let text = component.as_os_str().to_str()?;
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
        let value = match value {
            NO_VALUE => None,
            value => Some(decoded(value)?),
        };
        Some((decoded(name)?, value))
    };
    folders.components().filter_map(pair).collect()
}

/// `%41` as `A`; `None` where the bytes are no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| byte == b'%');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(byte));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}

fn typed(name: &str, values: &[Option<&str>]) -> Partition {
    let all = |is: &dyn Fn(&str) -> bool| {
        values.iter().flatten().all(|value| is(value)) && values.iter().any(Option::is_some)
    };
    let (data_type, values): (_, Vec<ArrayRef>) = if all(&|value| whole(value).is_some()) {
        let one = |value: &Option<&str>| Arc::new(Int64Array::from(vec![value.and_then(whole)])) as ArrayRef;
        (DataType::Int64, values.iter().map(one).collect())
    } else if all(&|value| values::date(value.as_bytes()).is_some()) {
        let day = |value: &str| values::date(value.as_bytes());
        let one = |value: &Option<&str>| Arc::new(Date32Array::from(vec![value.and_then(day)])) as ArrayRef;
        (DataType::Date32, values.iter().map(one).collect())
    } else {
        let one = |value: &Option<&str>| Arc::new(StringArray::from(vec![*value])) as ArrayRef;
        (DataType::Utf8, values.iter().map(one).collect())
    };
    Partition {
        name: name.to_owned(),
        data_type,
        values,
    }
}

fn whole(value: &str) -> Option<i64> {
    value.parse().ok().filter(|_| !value.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Date32Type, Int64Type};

    fn of(paths: &[&str], only: Option<&[String]>) -> Result<Vec<Partition>> {
        let paths: Vec<&Path> = paths.iter().map(Path::new).collect();
        partitions(&paths, only)
    }

    #[test]
    fn values_are_numbers_days_or_text() {
        let found = of(
            &[
                "d/year=2026/month=01/day=2026-01-31/of=a%20b/x=1.parquet",
                "d/year=2025/month=12/day=2025-12-01/of=7/a.parquet",
                "d/year=__HIVE_DEFAULT_PARTITION__/month=2/day=1969-12-31/of=%zz/a.parquet",
            ],
            None,
        )
        .unwrap();
        let names: Vec<_> = found.iter().map(|partition| partition.name.as_str()).collect();
        assert_eq!(names, ["year", "month", "day", "of"]);
        let whole = |at: usize, file: usize| {
            let array = found[at].values[file].as_primitive::<Int64Type>();
            array.is_valid(0).then(|| array.value(0))
        };
        assert_eq!([0, 1, 2].map(|file| whole(0, file)), [Some(2026), Some(2025), None]);
        assert_eq!([0, 1, 2].map(|file| whole(1, file)), [Some(1), Some(12), Some(2)]);
        assert_eq!(found[2].values[2].as_primitive::<Date32Type>().value(0), -1);
        let texts: Vec<_> = found[3]
            .values
            .iter()
            .map(|value| value.as_string::<i32>().value(0))
            .collect();
        assert_eq!(texts, ["a b", "7", "%zz"]);
    }

    #[test]
    fn all_files_have_a_column_or_none_has() {
        let uneven = of(&["a=1/x", "b/x"], None).unwrap_err();
        assert!(matches!(uneven, Error::SchemaMismatch { column, .. } if column == "a"));
        assert!(of(&["a=1/x", "b/x"], Some(&[])).unwrap().is_empty());
        assert!(of(&["x=1.csv", "=1/x"], None).unwrap().is_empty());
    }
}
