//! The part that each column plays: by name and type here, by its values in [`super::learn`].

use std::collections::HashMap;

use arrow::datatypes::{Field, Schema};
use glob::Pattern;
use serde::Serialize;

use super::decode::{TypeClass, class_of};
use super::find_column;
use super::options::FeatureOptions;
use super::personal::Personal;
use super::weights::weight_column;
use crate::error::{Error, NAME_TWICE, Result};

/// The part a column plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Clustered on.
    Feature,
    /// Tells rows apart.
    Id,
    /// Says how much each row counts.
    Weight,
    /// Not looked at.
    Ignored,
}

/// What was made of a column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnReport {
    /// Its name.
    pub column: String,
    /// Its Arrow type.
    pub data_type: String,
    /// The part it plays.
    pub role: Role,
    /// What is done to it, for people: `zscore: centre 12.3, scale 4.5`. Empty where it is ignored.
    pub treatment: String,
    /// Rows without a value; 0 where the column's values were not read.
    pub n_missing: u64,
    /// What stands in for missing values, in the column's units; `None` where none is missing.
    pub fill: Option<f64>,
    /// Why it is ignored.
    pub reason: Option<String>,
    /// Features that it became.
    pub n_features: usize,
    /// Levels of text that are too rare for a feature of their own, and share one.
    pub n_rare_levels: usize,
    /// The logarithm that it is bent by.
    pub log: Option<LogReport>,
}

/// A logarithm, `ln(1 + x / unit)`, and why it was taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogReport {
    /// The unit.
    pub unit: f64,
    /// Skewness of the values, good to some percent.
    pub skewness: f64,
    /// Skewness of their logarithms.
    pub skewness_after: f64,
}

impl std::fmt::Display for LogReport {
    /// `log1p (skewness 8.36, then 0.21)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.unit == 1.0 {
            f.write_str("log1p")?;
        } else {
            write!(f, "log1p in units of {}", self.unit)?;
        }
        write!(f, " (skewness {:.1}, then {:.1})", self.skewness, self.skewness_after)
    }
}

impl ColumnReport {
    /// Of a column that is ignored, for a reason yet to be told.
    pub(super) fn new(field: &Field) -> Self {
        Self {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
            role: Role::Ignored,
            treatment: String::new(),
            n_missing: 0,
            fill: None,
            reason: None,
            n_features: 0,
            n_rare_levels: 0,
            log: None,
        }
    }
}

/// The part of a column as far as name and type decide it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Id,
    Weight,
    Ignored(String),
    Candidate {
        class: TypeClass,
        /// Asked for by its name, so that an error is due where it cannot be used.
        named: bool,
    },
}

/// The part of every column of `schema`, in its order.
pub(crate) fn plan(schema: &Schema, options: &FeatureOptions) -> Result<Vec<Part>> {
    let ids: Vec<usize> = options
        .id
        .iter()
        .map(|name| find_column(schema, name))
        .collect::<Result<_>>()?;
    if let Some(n) = (1..ids.len()).find(|&n| ids[..n].contains(&ids[n])) {
        return Err(unusable(schema, ids[n], "an id", "is named twice"));
    }
    let weight = options
        .weight
        .as_ref()
        .map(|name| weight_column(schema, name))
        .transpose()?
        .map(|(index, _)| index);
    if let Some(weight) = weight.filter(|weight| ids.contains(weight)) {
        return Err(unusable(schema, weight, "the weight", "is the id"));
    }
    let excluded = Selection::new(schema, &options.exclude, "exclude")?;
    let wanted = Selection::new(schema, &options.features, "features")?;
    for index in (0..schema.fields().len()).filter(|&index| wanted.named[index]) {
        let other = if ids.contains(&index) {
            "is the id"
        } else if weight == Some(index) {
            "is the weight"
        } else if excluded.named[index] {
            "is excluded as well"
        } else {
            continue;
        };
        return Err(unusable(schema, index, "a feature", other));
    }
    let mut counts = HashMap::new();
    for field in schema.fields() {
        *counts.entry(field.name().as_str()).or_insert(0) += 1;
    }
    let part = |index: usize| {
        if ids.contains(&index) {
            Ok(Part::Id)
        } else if weight == Some(index) {
            Ok(Part::Weight)
        } else if excluded.holds(index) {
            Ok(Part::Ignored("excluded".into()))
        } else if !options.features.is_empty() && !wanted.holds(index) {
            Ok(Part::Ignored("not asked for".into()))
        } else {
            part_by_type(
                schema,
                index,
                wanted.named[index],
                counts[schema.field(index).name().as_str()] > 1,
            )
        }
    };
    (0..schema.fields().len()).map(part).collect()
}

fn part_by_type(schema: &Schema, index: usize, named: bool, twice: bool) -> Result<Part> {
    let field = schema.field(index);
    let reason = match class_of(field.data_type()) {
        Err(reason) => reason,
        Ok(_) if twice => NAME_TWICE,
        Ok(TypeClass::Integer | TypeClass::Float | TypeClass::Decimal | TypeClass::Text)
            if !named && names_an_id(field.name()) =>
        {
            "looks like an id by its name"
        }
        Ok(class) if class != TypeClass::Bool && Personal::by_name(field.name()).is_some() => {
            Personal::by_name(field.name()).map_or("", Personal::reason)
        }
        Ok(class) => return Ok(Part::Candidate { class, named }),
    };
    if named {
        Err(unusable(schema, index, "a feature", reason))
    } else {
        Ok(Part::Ignored(reason.into()))
    }
}

/// [`Error::ColumnUnusable`] for a column of `schema`.
pub(crate) fn unusable(schema: &Schema, index: usize, role: &'static str, reason: &str) -> Error {
    Error::ColumnUnusable {
        column: schema.field(index).name().clone(),
        role,
        reason: reason.into(),
    }
}

/// The columns that a list of names and patterns means.
pub(super) struct Selection {
    pub(super) named: Vec<bool>,
    matched: Vec<bool>,
}

impl Selection {
    /// An entry that is a column's name is that name, even where it could be read as a pattern.
    pub(super) fn new(schema: &Schema, entries: &[String], param: &'static str) -> Result<Self> {
        let n = schema.fields().len();
        let mut selection = Self {
            named: vec![false; n],
            matched: vec![false; n],
        };
        for entry in entries {
            match find_column(schema, entry) {
                Ok(index) => selection.named[index] = true,
                Err(Error::ColumnNotFound { .. }) if entry.contains(['*', '?', '[']) => {
                    selection.add_pattern(schema, entry, param)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(selection)
    }

    fn add_pattern(&mut self, schema: &Schema, entry: &str, param: &'static str) -> Result<()> {
        let refuse = |reason: String| Error::InvalidParam {
            param,
            value: entry.into(),
            reason,
        };
        let pattern = Pattern::new(entry).map_err(|error| refuse(format!("is no pattern: {}", error.msg)))?;
        let mut any = false;
        for (matched, field) in self.matched.iter_mut().zip(schema.fields()) {
            let hit = pattern.matches(field.name());
            *matched |= hit;
            any |= hit;
        }
        if any {
            Ok(())
        } else {
            Err(refuse("matches no column".into()))
        }
    }

    pub(super) fn holds(&self, index: usize) -> bool {
        self.named[index] || self.matched[index]
    }
}

/// Whether a name is one that ids have: `id`, `customer_id`, `customerId`, `CustomerID`, `uuid`, `household_key`,
/// `rowid`, `index`, pandas' `__index_level_0__`. The word must stand alone: `paid`, `valid` and `humid` are no ids.
fn names_an_id(name: &str) -> bool {
    let words = words(name);
    let Some(last) = words.last() else { return false };
    match last.as_str() {
        "id" | "uuid" | "guid" | "key" | "rowid" => true,
        "index" => words.len() == 1,
        "customerid" | "clientid" | "userid" | "accountid" | "memberid" | "orderid" | "sessionid" => true,
        _ => name.starts_with("__index_level_"),
    }
}

/// The words of a name in lower case: parted by anything but letters and digits, and where a capital follows a small
/// letter or digit.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let starts = c.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit());
        if starts || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("there is one").extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};

    fn schema(columns: &[(&str, DataType)]) -> Schema {
        Schema::new(
            columns
                .iter()
                .map(|(name, kind)| Field::new(*name, kind.clone(), true))
                .collect::<Vec<_>>(),
        )
    }

    fn options(features: &[&str], exclude: &[&str], id: &[&str], weight: Option<&str>) -> FeatureOptions {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        FeatureOptions {
            features: owned(features),
            exclude: owned(exclude),
            id: owned(id),
            weight: weight.map(Into::into),
            ..Default::default()
        }
    }

    fn shop() -> Schema {
        schema(&[
            ("customer_id", DataType::Int64),
            ("usage_day", DataType::Float64),
            ("usage_night", DataType::Float64),
            ("country", DataType::Utf8),
            ("w", DataType::Int32),
        ])
    }

    fn taken(schema: &Schema, options: &FeatureOptions) -> Vec<String> {
        let parts = plan(schema, options).unwrap();
        let names = schema.fields().iter().map(|field| field.name().clone());
        names
            .zip(parts)
            .filter(|(_, part)| matches!(part, Part::Candidate { .. }))
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn names_of_ids_and_names_that_only_look_so() {
        for name in [
            "id",
            "ID",
            "Id",
            "customer_id",
            "customerId",
            "CustomerID",
            "row id",
            "uuid",
            "user_guid",
            "household_key",
        ] {
            assert!(names_an_id(name), "{name}");
        }
        for name in [
            "rowid",
            "index",
            "__index_level_0__",
            "CUSTOMERID",
            "order.id",
            "plan2ID",
        ] {
            assert!(names_an_id(name), "{name}");
        }
        for name in [
            "paid",
            "PAID",
            "valid",
            "humid",
            "id_score",
            "price_index",
            "keys",
            "monkey",
            "idle",
            "",
            "_",
        ] {
            assert!(!names_an_id(name), "{name}");
        }
    }

    #[test]
    fn without_a_choice_every_column_that_is_no_id_takes_part() {
        assert_eq!(
            taken(&shop(), &options(&[], &[], &[], None)),
            ["usage_day", "usage_night", "country", "w"]
        );
        assert_eq!(
            taken(&shop(), &options(&[], &["usage_n*"], &["country"], Some("w"))),
            ["usage_day"],
            "ids may be text"
        );
        let parts = plan(&shop(), &options(&[], &[], &[], None)).unwrap();
        assert_eq!(parts[0], Part::Ignored("looks like an id by its name".into()));
        let personal = schema(&[
            ("email", DataType::Utf8),
            ("phone", DataType::Int64),
            ("mobile", DataType::Boolean),
        ]);
        assert_eq!(taken(&personal, &options(&[], &[], &[], None)), ["mobile"]);
        let error = plan(&personal, &options(&["email"], &[], &[], None)).unwrap_err();
        assert!(
            error.to_string().ends_with("is personal data: e-mail addresses"),
            "{error}"
        );
    }

    #[test]
    fn names_and_patterns_choose() {
        assert_eq!(
            taken(&shop(), &options(&["usage_*"], &[], &[], None)),
            ["usage_day", "usage_night"]
        );
        assert_eq!(
            taken(&shop(), &options(&["w", "customer_id"], &[], &[], None)),
            ["customer_id", "w"]
        );
        assert_eq!(
            taken(&shop(), &options(&["*"], &["w"], &[], None)),
            ["usage_day", "usage_night", "country"]
        );
        let odd = schema(&[("a*", DataType::Int8), ("ab", DataType::Int8)]);
        assert_eq!(
            taken(&odd, &options(&["a*"], &[], &[], None)),
            ["a*"],
            "a name before a pattern"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused = |options: FeatureOptions| plan(&shop(), &options).unwrap_err();
        assert!(matches!(
            refused(options(&["usage_dy"], &[], &[], None)),
            Error::ColumnNotFound { .. }
        ));
        assert!(matches!(
            refused(options(&["x*"], &[], &[], None)),
            Error::InvalidParam { param: "features", .. }
        ));
        assert!(matches!(
            refused(options(&[], &["x*"], &[], None)),
            Error::InvalidParam { param: "exclude", .. }
        ));
        assert!(matches!(
            refused(options(&[], &["x"], &[], None)),
            Error::ColumnNotFound { .. }
        ));
        assert!(matches!(
            refused(options(&["[a"], &[], &[], None)),
            Error::InvalidParam { .. }
        ));
        for (options, reason) in [
            (options(&["w"], &["w"], &[], None), "is excluded as well"),
            (options(&["w"], &[], &["w"], None), "is the id"),
            (options(&["w"], &[], &[], Some("w")), "is the weight"),
            (options(&[], &[], &["w"], Some("w")), "is the id"),
            (options(&[], &[], &["country", "w", "country"], None), "is named twice"),
        ] {
            let error = refused(options);
            assert!(error.to_string().ends_with(reason), "{error}");
        }
    }

    #[test]
    fn a_name_that_stands_twice_names_nothing() {
        let twice = schema(&[("a", DataType::Int8), ("a", DataType::Int8), ("b", DataType::Int8)]);
        assert_eq!(taken(&twice, &options(&[], &[], &[], None)), ["b"]);
        let error = plan(&twice, &options(&["a"], &[], &[], None)).unwrap_err();
        assert!(matches!(error, Error::ColumnAmbiguous { .. }));
    }
}
