//! What the user chose for single columns, by name or pattern.

use arrow::datatypes::Schema;

use super::columns::{Selection, unusable};
use super::cycles::Cycle;
use super::decode::{TypeClass, class_of};
use super::options::{FeatureOptions, LogChoice, Missing, Scale};
use crate::error::{Error, Result};

/// What was chosen for one column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// Whether it is bent by a logarithm; `None` where its values decide.
    pub(super) log: Option<bool>,
    pub(super) missing: Missing,
    /// Whether `missing` was chosen for this column by its name.
    pub(super) missing_named: bool,
    /// What of its dates takes part beside their age.
    pub(super) cycles: Vec<Cycle>,
    pub(super) weight: f64,
    /// The block it belongs to.
    pub(super) block: Option<usize>,
    /// Options that speak of it by its name.
    pub(super) named_in: Vec<&'static str>,
}

/// Per column of `schema` what was chosen, and per block how much it counts.
pub(super) fn choices(schema: &Schema, options: &FeatureOptions) -> Result<(Vec<Choice>, Vec<f64>)> {
    let auto = options.log == LogChoice::Auto;
    let as_they_are = options.log == LogChoice::None || (auto && matches!(options.scale, Scale::None | Scale::Rank));
    if options.scale == Scale::Rank && matches!(options.log, LogChoice::Columns(_)) {
        return Err(Error::InvalidParam {
            param: "log",
            value: "columns".into(),
            reason: "changes nothing about ranks: leave it out, or scale otherwise".into(),
        });
    }
    let choice = Choice {
        log: as_they_are.then_some(false),
        missing: Missing::default(),
        missing_named: false,
        cycles: Vec::new(),
        weight: 1.0,
        block: None,
        named_in: Vec::new(),
    };
    let mut choices = vec![choice; schema.fields().len()];
    if let LogChoice::Columns(columns) = &options.log {
        let chosen = Selection::new(schema, columns, "log")?;
        for (at, choice) in choices.iter_mut().enumerate() {
            choice.log = Some(chosen.holds(at));
            choice.name(chosen.named[at], "--log");
        }
    }
    for (columns, cycle, param, option) in [
        (&options.months, Cycle::Month, "month", "--month"),
        (&options.weekdays, Cycle::Weekday, "weekday", "--weekday"),
    ] {
        let chosen = Selection::new(schema, columns, param)?;
        for (at, choice) in choices.iter_mut().enumerate().filter(|(at, _)| chosen.holds(*at)) {
            let is_date = class_of(schema.field(at).data_type()) == Ok(TypeClass::Instant);
            if chosen.named[at] && !is_date {
                return Err(unusable(schema, at, option, "it holds no dates"));
            }
            if is_date {
                choice.cycles.push(cycle);
            }
            choice.name(chosen.named[at], option);
        }
    }
    check_clip(options.clip)?;
    for rule in &options.missing {
        let chosen = rule
            .column
            .as_ref()
            .map(|column| select(schema, column, "missing"))
            .transpose()?;
        for (at, choice) in choices.iter_mut().enumerate() {
            if chosen.as_ref().is_none_or(|chosen| chosen.holds(at)) {
                choice.missing = rule.how;
                choice.missing_named = chosen.as_ref().is_some_and(|chosen| chosen.named[at]);
                choice.name(choice.missing_named, "--missing");
            }
        }
    }
    let weights = weigh(schema, options, &mut choices)?;
    Ok((choices, weights))
}

impl Choice {
    fn name(&mut self, named: bool, option: &'static str) {
        if named && !self.named_in.contains(&option) {
            self.named_in.push(option);
        }
    }
}

fn select(schema: &Schema, column: &str, param: &'static str) -> Result<Selection> {
    Selection::new(schema, std::slice::from_ref(&column.to_owned()), param)
}

fn check_clip(clip: Option<f64>) -> Result<()> {
    match clip {
        Some(share) if !(share > 0.0 && share < 0.5) => Err(Error::InvalidParam {
            param: "clip",
            value: share.to_string(),
            reason: "is a share above 0 and below 0.5".into(),
        }),
        _ => Ok(()),
    }
}

/// Puts columns into blocks, and gives columns and blocks their weights.
fn weigh(schema: &Schema, options: &FeatureOptions, choices: &mut [Choice]) -> Result<Vec<f64>> {
    let refuse = |param, value: &str, reason: String| Error::InvalidParam {
        param,
        value: value.into(),
        reason,
    };
    for (number, block) in options.blocks.iter().enumerate() {
        if options.blocks[..number].iter().any(|other| other.name == block.name) {
            return Err(refuse("block", &block.name, "is given twice".into()));
        }
        let chosen = Selection::new(schema, &block.columns, "block")?;
        for (at, choice) in choices.iter_mut().enumerate().filter(|(at, _)| chosen.holds(*at)) {
            if let Some(other) = choice.block.replace(number) {
                let (column, other) = (schema.field(at).name(), &options.blocks[other].name);
                let reason = format!("column {column:?} is in block {other:?} as well");
                return Err(refuse("block", &block.name, reason));
            }
            choice.name(chosen.named[at], "--block");
        }
    }
    let mut blocks = vec![1.0; options.blocks.len()];
    for (name, weight) in &options.weights {
        if !(weight.is_normal() && (1e-6..=1e6).contains(weight)) {
            return Err(refuse(
                "weights",
                name,
                format!("{weight} is not between 1e-6 and 1e6; --exclude leaves a column out"),
            ));
        }
        if let Some(number) = options.blocks.iter().position(|block| block.name == *name) {
            blocks[number] = *weight;
            continue;
        }
        let chosen = select(schema, name, "weights")?;
        for (at, choice) in choices.iter_mut().enumerate().filter(|(at, _)| chosen.holds(*at)) {
            choice.weight = *weight;
            choice.name(chosen.named[at], "--weights");
        }
    }
    Ok(blocks)
}

/// What each feature column counts in squared distances. Where there are blocks, the columns of one share its weight
/// in proportion to their own, the columns of none make up one more block of weight 1, and all together count as many
/// as they are.
///
/// # Errors
/// A block without any feature.
pub(super) fn column_weights(columns: &[&Choice], options: &FeatureOptions, blocks: &[f64]) -> Result<Vec<f64>> {
    if blocks.is_empty() {
        return Ok(columns.iter().map(|choice| choice.weight).collect());
    }
    // The last stands for what is in no block.
    let place = |choice: &Choice| choice.block.unwrap_or(blocks.len());
    let mut sums = vec![0.0; blocks.len() + 1];
    for choice in columns {
        sums[place(choice)] += choice.weight;
    }
    if let Some(empty) = sums[..blocks.len()].iter().position(|&sum| sum == 0.0) {
        return Err(Error::InvalidParam {
            param: "block",
            value: options.blocks[empty].name.clone(),
            reason: "has no column that is clustered on".into(),
        });
    }
    let weight_of = |at: usize| blocks.get(at).copied().unwrap_or(1.0);
    let total: f64 = (0..sums.len()).filter(|&at| sums[at] > 0.0).map(weight_of).sum();
    let each = columns.len() as f64 / total;
    Ok(columns
        .iter()
        .map(|choice| choice.weight / sums[place(choice)] * weight_of(place(choice)) * each)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::options::{Block, MissingRule};
    use arrow::datatypes::{DataType, Field};

    fn schema() -> Schema {
        let field = |name: &str| Field::new(name, DataType::Float64, true);
        Schema::new(["use_a", "use_b", "firm", "age"].map(field).to_vec())
    }

    fn block(name: &str, columns: &[&str]) -> Block {
        Block {
            name: name.into(),
            columns: columns.iter().map(|&column| column.into()).collect(),
        }
    }

    #[test]
    fn the_last_rule_that_speaks_of_a_column_counts() {
        let rule = |column: Option<&str>, how| MissingRule {
            column: column.map(Into::into),
            how,
        };
        let options = FeatureOptions {
            log: LogChoice::Columns(vec!["use_*".into()]),
            missing: vec![rule(None, Missing::Mean), rule(Some("age"), Missing::Constant(0.0))],
            ..Default::default()
        };
        let (choices, _) = choices(&schema(), &options).unwrap();
        assert_eq!(choices[0].missing, Missing::Mean);
        assert_eq!(
            (choices[3].missing, choices[3].missing_named),
            (Missing::Constant(0.0), true)
        );
        assert_eq!([0, 2].map(|at| choices[at].log), [Some(true), Some(false)]);
        assert_eq!(choices[3].named_in, ["--missing"]);
    }

    #[test]
    fn blocks_have_equal_say_and_columns_share_it() {
        let options = FeatureOptions {
            weights: vec![("use_b".into(), 3.0), ("firm".into(), 2.0)],
            blocks: vec![block("usage", &["use_*"]), block("firm_block", &["firm"])],
            ..Default::default()
        };
        let (choices, blocks) = choices(&schema(), &options).unwrap();
        let columns: Vec<&Choice> = choices.iter().collect();
        let weights = column_weights(&columns, &options, &blocks).unwrap();
        let each = 4.0 / 3.0;
        assert_eq!(weights, [0.25 * each, 0.75 * each, each, each]);
        let heavier = FeatureOptions {
            weights: vec![("usage".into(), 2.0)],
            ..options.clone()
        };
        let (choices, blocks) = super::choices(&schema(), &heavier).unwrap();
        let columns: Vec<&Choice> = choices.iter().collect();
        assert_eq!(
            column_weights(&columns, &heavier, &blocks).unwrap(),
            [1.0, 1.0, 1.0, 1.0]
        );
        let empty = column_weights(&columns[..2], &options, &blocks).unwrap_err();
        assert_eq!(
            empty.to_string(),
            "block = firm_block: has no column that is clustered on"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |options: FeatureOptions| choices(&schema(), &options).unwrap_err().to_string();
        let of_weights = |name: &str, weight| FeatureOptions {
            weights: vec![(name.into(), weight)],
            ..Default::default()
        };
        assert!(refused(of_weights("age", 0.0)).starts_with("weights = age: 0 is not between"));
        assert!(refused(of_weights("agee", 1.0)).contains("agee"));
        assert!(choices(&schema(), &of_weights("age", f64::NAN)).is_err());
        let clip = |clip| FeatureOptions {
            clip: Some(clip),
            ..Default::default()
        };
        assert!(choices(&schema(), &clip(0.01)).is_ok());
        assert!(choices(&schema(), &clip(0.5)).is_err());
        let twice = FeatureOptions {
            blocks: vec![block("a", &["use_*"]), block("b", &["use_a"])],
            ..Default::default()
        };
        assert_eq!(refused(twice), "block = b: column \"use_a\" is in block \"a\" as well");
    }
}
