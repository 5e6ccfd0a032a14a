//! The part that each column plays: by name and type here, by its values in [`super::learn`].

use std::collections::HashMap;

use arrow::datatypes::{Field, Schema};
use glob::Pattern;
use serde::{Deserialize, Serialize};

use super::decode::{TypeClass, ValueKind, class_of};
use super::find_column;
use super::options::FeatureOptions;
use super::personal::Personal;
use super::weights::weight_column;
use crate::cells::Count;
use crate::error::{Error, NAME_TWICE, Result};

/// The part a column plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Clustered on.
    Feature,
    /// Tells rows apart.
    Id,
    /// Says how much each row counts.
    Weight,
    /// Profiled per segment, never clustered on.
    Outcome,
    /// Copied into the table of assignments, and not looked at.
    Carried,
    /// Not looked at.
    Ignored,
}

impl Role {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::Id => "id",
            Self::Weight => "weight",
            Self::Outcome => "outcome",
            Self::Carried => "carried",
            Self::Ignored => "ignored",
        }
    }
}

/// What was made of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    pub n_missing: Count,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
            n_missing: Count::Exact(0),
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
    /// What is measured of it; `asked` where it was named, else its own name says what it is.
    Outcome {
        column: OutcomeColumn,
        asked: bool,
    },
    Carried,
    Candidate {
        column: FeatureColumn,
        class: TypeClass,
        /// Asked for by its name, so that an error is due where it cannot be used.
        named: bool,
    },
}

/// A column that may be clustered on: the only kind that becomes tiles, and so the only kind that reaches a device.
///
/// Made where columns get their parts, for those that may be features, and by [`super::Preparation::columns_in`] for
/// the features of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FeatureColumn(usize);

/// A column that is profiled, and cannot be clustered on: nothing that makes tiles takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeColumn {
    index: usize,
    name: String,
    kind: ValueKind,
}

impl FeatureColumn {
    /// Of a feature of a preparation, which never holds ids or outcomes.
    pub(super) fn of_preparation(index: usize) -> Self {
        Self(index)
    }

    /// Its place in the schema.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

impl OutcomeColumn {
    /// Its place in the schema.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its values mean as numbers.
    #[must_use]
    pub fn kind(&self) -> &ValueKind {
        &self.kind
    }
}

/// The columns to profile, in the order of the schema.
///
/// # Errors
/// Those of [`super::check_columns`].
pub fn outcome_columns(schema: &Schema, options: &FeatureOptions) -> Result<Vec<OutcomeColumn>> {
    let parts = plan(schema, options)?.into_iter();
    Ok(parts
        .filter_map(|part| match part {
            Part::Outcome { column, .. } => Some(column),
            _ => None,
        })
        .collect())
}

/// The columns to copy into the table of assignments, as indices into the schema and in its order.
///
/// # Errors
/// Names that are not there, patterns that fit nothing.
pub fn carried_columns(schema: &Schema, options: &FeatureOptions) -> Result<Vec<usize>> {
    let carried = Selection::new(schema, &options.carry, "carry")?;
    let ids: Vec<usize> = options
        .id
        .iter()
        .map(|name| find_column(schema, name))
        .collect::<Result<_>>()?;
    Ok((0..schema.fields().len())
        .filter(|at| carried.holds(*at) && !ids.contains(at))
        .collect())
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
    let carried = Selection::new(schema, &options.carry, "carry")?;
    let outcomes = Selection::new(schema, &options.outcomes, "outcome")?;
    for index in (0..schema.fields().len()).filter(|&index| outcomes.named[index]) {
        if ids.contains(&index) {
            return Err(unusable(schema, index, "an outcome", "is the id"));
        }
    }
    for index in (0..schema.fields().len()).filter(|&index| wanted.named[index]) {
        let other = if ids.contains(&index) {
            "is the id"
        } else if weight == Some(index) {
            "is the weight"
        } else if excluded.named[index] {
            "is excluded as well"
        } else if outcomes.named[index] {
            "is an outcome"
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
        } else if outcomes.holds(index) && !wanted.named[index] {
            outcome(schema, index, outcomes.named[index])
        } else if carried.holds(index) && !wanted.named[index] {
            Ok(Part::Carried)
        } else if excluded.holds(index) {
            Ok(Part::Ignored("excluded".into()))
        } else if !options.features.is_empty() && !wanted.holds(index) {
            Ok(Part::Ignored("not asked for".into()))
        } else {
            part_by_type(
                schema,
                index,
                (wanted.named[index], wanted.holds(index)),
                counts[schema.field(index).name().as_str()] > 1,
            )
        }
    };
    (0..schema.fields().len()).map(part).collect()
}

fn part_by_type(schema: &Schema, index: usize, (named, asked): (bool, bool), twice: bool) -> Result<Part> {
    let field = schema.field(index);
    let reason = match class_of(field.data_type()) {
        Err(reason) => reason,
        Ok(_) if twice => NAME_TWICE,
        // Tags and histories are lists as well.
        Ok(TypeClass::List) if !asked => "holds lists, which are clustered on only where they are asked for",
        Ok(TypeClass::Integer | TypeClass::Float | TypeClass::Decimal | TypeClass::Text)
            if !named && names_an_id(field.name()) =>
        {
            "looks like an id by its name"
        }
        Ok(class) if class != TypeClass::Bool && Personal::by_name(field.name()).is_some() => {
            Personal::by_name(field.name()).map_or("", Personal::reason)
        }
        Ok(class) if !named && names_an_outcome(field.name(), class) => match outcome_kind(class) {
            Ok(kind) => {
                return Ok(Part::Outcome {
                    column: OutcomeColumn {
                        index,
                        name: field.name().clone(),
                        kind,
                    },
                    asked: false,
                });
            }
            Err(_) => "looks like an outcome by its name",
        },
        Ok(class) => {
            let column = FeatureColumn(index);
            return Ok(Part::Candidate { column, class, named });
        }
    };
    if named {
        Err(unusable(schema, index, "a feature", reason))
    } else {
        Ok(Part::Ignored(reason.into()))
    }
}

/// The part of a column that was asked for as an outcome, by its name or by a pattern that may pass it over.
fn outcome(schema: &Schema, index: usize, named: bool) -> Result<Part> {
    let field = schema.field(index);
    let personal = Personal::by_name(field.name()).map_or(Ok(()), |personal| Err(personal.reason()));
    let kind = personal
        .and_then(|()| class_of(field.data_type()))
        .and_then(outcome_kind);
    match kind {
        Ok(kind) => Ok(Part::Outcome {
            column: OutcomeColumn {
                index,
                name: field.name().clone(),
                kind,
            },
            asked: true,
        }),
        Err(reason) if named => Err(unusable(schema, index, "an outcome", reason)),
        Err(reason) => Ok(Part::Ignored(reason.into())),
    }
}

/// What the values of an outcome mean as numbers, or why they have no mean.
fn outcome_kind(class: TypeClass) -> std::result::Result<ValueKind, &'static str> {
    match class {
        TypeClass::Integer | TypeClass::Float | TypeClass::Decimal => Ok(ValueKind::Number),
        TypeClass::Bool => Ok(ValueKind::Bool),
        TypeClass::Duration => Ok(ValueKind::Days),
        TypeClass::Instant | TypeClass::TimeOfDay => Err("is a point in time, not an amount"),
        TypeClass::Text => Err("is text, not an amount or a truth value"),
        TypeClass::List => Err("holds lists, not amounts or truth values"),
    }
}

/// Whether a name is one that outcomes have, so that a column is not clustered on unless it is asked for: `churn`,
/// `has_churned`, `target`, and `y` where it is a truth value.
fn names_an_outcome(name: &str, class: TypeClass) -> bool {
    let words = words(name);
    match words.last().map(String::as_str) {
        Some("churn" | "churned" | "attrition" | "attrited" | "target" | "label" | "outcome" | "converted") => true,
        Some("y") => words.len() == 1 && class == TypeClass::Bool,
        _ => false,
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
pub(super) fn names_an_id(name: &str) -> bool {
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
    fn outcomes_are_profiled_and_never_features() {
        let table = schema(&[
            ("churned", DataType::Boolean),
            ("arr", DataType::Float64),
            ("arr_growth", DataType::Float64),
            ("y", DataType::Int32),
            ("since", DataType::Date32),
            ("Churn", DataType::Utf8),
            ("note", DataType::Utf8),
        ]);
        let with = |features: &[&str], outcomes: &[&str], carry: &[&str]| FeatureOptions {
            outcomes: outcomes.iter().map(|&name| name.into()).collect(),
            carry: carry.iter().map(|&name| name.into()).collect(),
            ..options(features, &[], &[], None)
        };
        let names = |options: &FeatureOptions| -> Vec<String> {
            let columns = outcome_columns(&table, options).unwrap();
            columns.iter().map(|column| column.name().to_owned()).collect()
        };
        let plain = with(&[], &[], &[]);
        assert_eq!(names(&plain), ["churned"], "by its name");
        assert_eq!(taken(&table, &plain), ["arr", "arr_growth", "y", "since", "note"]);
        let asked = with(&[], &["arr*"], &["note", "y"]);
        assert_eq!(names(&asked), ["churned", "arr", "arr_growth"]);
        assert_eq!(taken(&table, &asked), ["since"]);
        assert_eq!(carried_columns(&table, &asked).unwrap(), [3, 6]);
        let named = with(&["churned", "y"], &[], &["y"]);
        assert_eq!(taken(&table, &named), ["churned", "y"], "a name is an order");
        assert!(names(&named).is_empty());
        for (options, reason) in [
            (with(&["arr"], &["arr"], &[]), "is an outcome"),
            (with(&[], &["since"], &[]), "is a point in time, not an amount"),
            (with(&[], &["note"], &[]), "is text, not an amount or a truth value"),
        ] {
            let error = plan(&table, &options).unwrap_err();
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
