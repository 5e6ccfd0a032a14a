//! What has to be known of all rows before any row can be prepared.

use arrow::datatypes::{FieldRef, Schema};

use super::choices::{Choice, choices, column_weights};
use super::columns::{ColumnReport, Part, plan, unusable};
use super::cycles::{Coordinate, Cycle};
use super::decode::ValueKind;
use super::kept::Kept;
use super::levels::Levels;
use super::lists::{Coordinates, Lists};
use super::measure::{Candidate, Numbers, Values, measured, numbering};
use super::options::{FeatureOptions, Missing, Scale};
use super::preparation::{FeaturePreparation, Preparation};
use super::report::{Made, coarse_steps, reports};
use super::settle::{Settled, settled};
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::grid::{Grid, MAX_FEATURES};

/// Largest magnitude of a prepared value.
const MAX_Z: f64 = 1e140;

/// Flags and texts with less spread than a flag that one row in fifteen has, or has not, count less than a column of
/// numbers: else the few rows of a rare flag are far from all others, and a segment of their own.
const MIN_FLAG_STD: f64 = 0.25;
/// What a flag, or a text of two levels, counts of a column of numbers. Squared distances of two rows average to the same,
/// but those of a flag are nothing or all, so that it is the easiest of all cuts, whatever it means: it counts half
/// (C. Hennig, T. Liao: "How to find an appropriate clustering for mixed-type variables with application to
/// socio-economic stratification", Applied Statistics 62, 2013).
const FLAG_WEIGHT: f64 = 0.5;

/// What [`learn`] gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// How rows become grid values.
    pub preparation: Preparation,
    /// What was made of each column, in the order of the schema.
    pub columns: Vec<ColumnReport>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Learns from all rows which columns can be clustered on and how to prepare them.
///
/// Depends on the options and on the multiset of rows alone. Columns of dates are read once for the newest date, all
/// candidates once for exact moments, counts of levels and shapes, integers that may number the rows once to see
/// whether they do, and columns with missing values, a logarithm or bounds (or all, with [`Scale::Robust`] and [`Scale::Rank`]) once for
/// exact quantiles, ranks and moments of what they become.
///
/// A column counts as constant where all values are equal, and where a float column's standard deviation is within
/// the rounding noise of its magnitude: below `2^-11` (16 bits), `2^-24` (32) or `1e-13` (64) of the largest. A single
/// row is taken as it is, with a scale of 1. A column that has no value in more than half of the rows takes part only
/// where it is named.
///
/// Text becomes one feature per frequent level (at least 1 % of the rows, and 11), one for all others and one for
/// missing values, scaled together so that the column's variance is that of one column of numbers.
///
/// # Errors
/// No rows, no usable column, a column asked for by name that cannot be used, a value that cannot be used (with file
/// and row), names and patterns that fit nothing, missing values that were to be refused, no memory, and those of
/// reading.
pub fn learn(source: &dyn BatchSource, options: &FeatureOptions) -> Result<Learned> {
    learn_and_keep(source, options, &mut Kept::nothing())
}

/// [`learn`], which leaves in `kept` what it read of the candidates, where that is exact.
pub(crate) fn learn_and_keep(source: &dyn BatchSource, options: &FeatureOptions, kept: &mut Kept) -> Result<Learned> {
    let schema = source.schema();
    let Judged {
        mut parts,
        choices,
        blocks,
        candidates,
    } = judge(source, options, kept)?;
    let mut features = Vec::new();
    let mut levels = Vec::new();
    for (candidate, verdict) in candidates {
        match verdict {
            Ok(chosen) => {
                features.push(candidate);
                levels.push(chosen);
            }
            Err(reason) if candidate.named => {
                return Err(unusable(schema, candidate.column.index(), "a feature", &reason));
            }
            Err(reason) => parts[candidate.column.index()] = Part::Ignored(reason),
        }
    }
    if features.is_empty() {
        return Err(no_features(schema, &parts));
    }
    features
        .iter()
        .try_for_each(|feature| check_missing(schema, feature, &choices[feature.column.index()]))?;
    kept.check(features.iter().map(|feature| feature.column));
    let settled = settled(source, &features, &choices, options, kept)?;
    let chosen: Vec<&Choice> = features
        .iter()
        .map(|feature| &choices[feature.column.index()])
        .collect();
    let weights = column_weights(&chosen, options, &blocks)?;
    let mut made = Vec::with_capacity(features.len());
    let mut warnings = unused_choices(schema, &choices, &parts);
    for ((feature, levels), (settled, weight)) in features.iter().zip(levels).zip(settled.into_iter().zip(weights)) {
        let maker = Maker {
            source,
            feature,
            scale: options.scale,
            missing: choices[feature.column.index()].missing,
            weight,
        };
        made.push(match (&feature.values, levels, settled) {
            (Values::Numbers(numbers), _, Some(settled)) => maker.of_numbers(numbers, settled, &mut warnings)?,
            (Values::Lists(lists), ..) => maker.of_lists(lists)?,
            (_, Some(levels), _) => maker.of_levels(levels),
            _ => return Err(Error::Internal("a column is neither numbers nor text".into())),
        });
    }
    if made.iter().any(|made| made.features.len() != 1) {
        *kept = Kept::nothing();
    }
    finish(source, options.scale, &parts, made, warnings)
}

/// What becomes of every column, and why.
pub(super) struct Judged {
    pub(super) parts: Vec<Part>,
    pub(super) choices: Vec<Choice>,
    /// How much each block counts.
    pub(super) blocks: Vec<f64>,
    /// The candidates, with the levels of those that are text, or why they cannot be clustered on.
    pub(super) candidates: Vec<(Candidate, Verdict)>,
}

type Verdict = std::result::Result<Option<Levels>, String>;

/// Looks at all rows of all candidates, and decides.
pub(super) fn judge(source: &dyn BatchSource, options: &FeatureOptions, kept: &mut Kept) -> Result<Judged> {
    if source.n_rows() == 0 {
        return Err(Error::NoRows);
    }
    let parts = plan(source.schema(), options)?;
    let (choices, blocks) = choices(source.schema(), options)?;
    let candidates = measured(source, &parts, &choices, options.as_of, kept)?;
    let numbering = numbering(source, &candidates)?;
    let n_rows = source.n_rows() as u64;
    let both = candidates.into_iter().zip(numbering);
    let judged = both.map(|(candidate, numbers_rows)| {
        let verdict = usable(&candidate, n_rows, numbers_rows);
        (candidate, verdict)
    });
    let candidates = judged.collect();
    Ok(Judged {
        parts,
        choices,
        blocks,
        candidates,
    })
}

/// The levels of a column of text, none of a column of numbers; why it cannot be clustered on, where it cannot.
fn usable(candidate: &Candidate, n_rows: u64, numbers_rows: bool) -> Verdict {
    let chosen = match &candidate.values {
        Values::Numbers(numbers) => match numbers.reason(n_rows, numbers_rows) {
            Some(reason) => Err(reason.into()),
            None => Ok(None),
        },
        Values::Lists(lists) => lists.reason(n_rows).map_or(Ok(None), Err),
        Values::Texts(counts) => match counts.forms.personal() {
            Some(personal) => Err(personal.reason().into()),
            None => counts.choose(n_rows).map(Some),
        },
    }?;
    let n_missing = candidate.n_missing();
    if !candidate.named && n_missing > n_rows / 2 {
        let share = 100 * n_missing / n_rows;
        return Err(format!("has no value in {share} % of the rows"));
    }
    Ok(chosen)
}

/// [`Error::NoFeatures`] with why each column is ignored.
fn no_features(schema: &Schema, parts: &[Part]) -> Error {
    let ignored = |(field, part): (&FieldRef, &Part)| match part {
        Part::Ignored(reason) => Some((field.name().clone(), reason.clone())),
        _ => None,
    };
    Error::NoFeatures {
        ignored: schema.fields().iter().zip(parts).filter_map(ignored).collect(),
    }
}

/// Whether missing values of a column are treated in a way that they can be.
fn check_missing(schema: &Schema, feature: &Candidate, choice: &Choice) -> Result<()> {
    let n_missing = feature.n_missing();
    let reason = match (choice.missing, &feature.values) {
        (Missing::Refuse, _) if n_missing > 0 => {
            format!("{n_missing} rows have no value, and missing values are refused")
        }
        (Missing::Median | Missing::Mean | Missing::Constant(_), Values::Texts(_)) if choice.missing_named => {
            "it is text, where no value is a level of its own".into()
        }
        _ => return Ok(()),
    };
    Err(unusable(schema, feature.column.index(), "a feature", &reason))
}

/// A warning for each column that options speak of by its name, and that is not clustered on.
fn unused_choices(schema: &Schema, choices: &[Choice], parts: &[Part]) -> Vec<String> {
    let unused = |((field, choice), part): ((&FieldRef, &Choice), &Part)| {
        let idle = !matches!(part, Part::Candidate { .. }) && !choice.named_in.is_empty();
        idle.then(|| {
            format!(
                "column {:?} is not clustered on, so {} does nothing",
                field.name(),
                choice.named_in.join(", ")
            )
        })
    };
    schema
        .fields()
        .iter()
        .zip(choices)
        .zip(parts)
        .filter_map(unused)
        .collect()
}

/// Makes features of a column.
struct Maker<'m> {
    source: &'m dyn BatchSource,
    feature: &'m Candidate,
    scale: Scale,
    missing: Missing,
    weight: f64,
}

impl Maker<'_> {
    fn of_numbers(&self, numbers: &Numbers, settled: Settled, warnings: &mut Vec<String>) -> Result<Made> {
        let unit = settled.log.as_ref().map(|log| log.unit);
        let ends = [numbers.min, numbers.max].map(|v| super::preparation::bend(v, settled.clip, unit));
        let (centre, factor) = match self.scale {
            Scale::Zscore | Scale::Robust | Scale::Rank if numbers.is_flag() => {
                (settled.mean, settled.std.max(MIN_FLAG_STD) / FLAG_WEIGHT.sqrt())
            }
            _ => self.centre_and_scale(&settled, ends, warnings),
        };
        let mean = numbers.moments.mean();
        let value = FeaturePreparation {
            clip: settled.clip,
            log_unit: unit,
            ranks: settled.ranks,
            fill: match (numbers.n_missing, self.missing) {
                (_, Missing::Constant(v)) => v,
                (0, _) | (_, Missing::Mean | Missing::Refuse) => mean,
                (_, Missing::Median | Missing::Indicator) => settled.median.unwrap_or(mean),
            },
            mean,
            std: if self.source.n_rows() == 1 {
                1.0
            } else {
                numbers.moments.std()
            },
            ..self.feature(numbers.kind.clone(), centre, factor)
        };
        // Prepared values rise with the values, so the ends are enough; what stands in may lie beyond.
        let reach = [numbers.min, numbers.max, value.fill].map(|v| value.z(v).abs());
        let reach = reach.into_iter().fold(0.0, f64::max);
        self.check_reaches(&[reach])?;
        let mut made = Made {
            reaches: vec![reach],
            spreads: vec![settled.std / value.scale],
            n_missing: numbers.n_missing,
            filled: true,
            log: settled.log,
            n_rare_levels: 0,
            features: vec![value],
        };
        if self.missing == Missing::Indicator && numbers.n_missing > 0 {
            // As it is: what is seldom missing says little, what is missing in half of the rows as much as a quarter
            // of a column.
            let share = numbers.n_missing as f64 / self.source.n_rows() as f64;
            self.push_flag(&mut made, ValueKind::Missing, share, share, 1.0);
        }
        for (cycle, counts) in &numbers.cycles {
            self.push_cycle(&mut made, *cycle, counts);
        }
        Ok(made)
    }

    /// Whether prepared values stay where squares of their differences can be computed with.
    fn check_reaches(&self, reaches: &[f64]) -> Result<()> {
        if reaches.iter().all(|reach| *reach <= MAX_Z) {
            return Ok(());
        }
        let (schema, column) = (self.source.schema(), self.feature.column.index());
        Err(unusable(schema, column, "a feature", "reaches too far for its spread"))
    }

    /// Both coordinates of a month or weekday, scaled together so that the squared distance of two rows is 2 in the mean, as
    /// it is for a column of numbers; nothing where all dates have the same.
    fn push_cycle(&self, made: &mut Made, cycle: Cycle, counts: &[u64]) {
        if counts.iter().filter(|&&count| count > 0).count() < 2 {
            return;
        }
        let n = counts.iter().sum::<u64>() as f64;
        let moments = [Coordinate::Sine, Coordinate::Cosine].map(|coordinate| {
            let mean_of = |of: &dyn Fn(f64) -> f64| {
                let values = counts
                    .iter()
                    .enumerate()
                    .map(|(place, &count)| (cycle.at(place, coordinate), count));
                values.map(|(v, count)| of(v) * count as f64).sum::<f64>() / n
            };
            let mean = mean_of(&|v| v);
            (coordinate, mean, mean_of(&|v| (v - mean) * (v - mean)))
        });
        let variance: f64 = moments.iter().map(|&(.., variance)| variance).sum();
        let factor = match self.scale {
            Scale::Minmax | Scale::None => 1.0,
            Scale::Zscore | Scale::Robust | Scale::Rank => variance.sqrt(),
        };
        for (coordinate, mean, variance) in moments {
            let feature = FeaturePreparation {
                fill: mean,
                mean,
                std: if variance > 0.0 { variance.sqrt() } else { 1.0 },
                ..self.feature(ValueKind::Cycle(cycle, coordinate), mean, factor)
            };
            made.reaches.push(feature.z(1.0).abs().max(feature.z(-1.0).abs()));
            made.spreads.push(variance.sqrt() / feature.scale);
            made.features.push(feature);
        }
    }

    fn centre_and_scale(&self, settled: &Settled, [min, max]: [f64; 2], warnings: &mut Vec<String>) -> (f64, f64) {
        let Settled { mean, std, .. } = *settled;
        match (self.scale, settled.quartiles) {
            _ if self.source.n_rows() == 1 => (mean, std),
            (Scale::Minmax, _) => (min, max - min),
            (Scale::None, _) => (mean, 1.0),
            (Scale::Robust, Some((median, spread))) if spread.is_normal() => (median, spread),
            (Scale::Robust, Some((median, _))) => {
                warnings.push(format!(
                    "column {:?}: its quartiles are equal, so it is scaled by its standard deviation instead",
                    self.feature.name
                ));
                (median, std)
            }
            _ => (mean, std),
        }
    }

    /// One feature per level, one for the others and one for missing values. With [`Scale::Minmax`] and
    /// [`Scale::None`] rows of different levels are 1 apart, else the squared distance of two rows is 2 in the mean,
    /// as it is for a column of numbers, or half of that where there are two levels, see [`FLAG_WEIGHT`].
    fn of_levels(&self, levels: Levels) -> Made {
        let n_rows = self.source.n_rows() as f64;
        let n_missing = self.feature.n_missing();
        let n_present = n_rows - n_missing as f64;
        let names: Vec<String> = levels.kept.iter().map(|level| level.0.clone()).collect();
        let mut flags: Vec<(ValueKind, u64)> = { levels.kept.into_iter() }
            .map(|(level, count)| (ValueKind::Level(level), count))
            .collect();
        if levels.others.1 > 0 {
            flags.push((ValueKind::OtherThan(names), levels.others.1));
        }
        if n_missing > 0 {
            flags.push((ValueKind::Missing, n_missing));
        }
        let variance: f64 = flags
            .iter()
            .map(|&(_, count)| count as f64 / n_rows * (1.0 - count as f64 / n_rows))
            .sum();
        let factor = match self.scale {
            Scale::Minmax | Scale::None => std::f64::consts::SQRT_2,
            // Two levels are two flags.
            Scale::Zscore | Scale::Robust | Scale::Rank => {
                let weight = if flags.len() == 2 { FLAG_WEIGHT } else { 1.0 };
                (variance.max(2.0 * MIN_FLAG_STD * MIN_FLAG_STD) / weight).sqrt()
            }
        };
        let mut made = Made {
            n_missing,
            n_rare_levels: levels.others.0,
            ..Made::default()
        };
        for (kind, count) in flags {
            let count = count as f64;
            let mean = if kind == ValueKind::Missing {
                count / n_rows
            } else {
                count / n_present
            };
            self.push_flag(&mut made, kind, count / n_rows, mean, factor);
        }
        made
    }

    /// One feature per coordinate, with one scale for all of them, so that distances between lists keep their proportions:
    /// with [`Scale::Zscore`], [`Scale::Robust`] and [`Scale::Rank`] the squared distance of two rows is 2 in the mean, as it
    /// is for a column of numbers; with [`Scale::Minmax`] the widest coordinate has a range of 1. Nothing is bent or
    /// clipped. A missing list is the mean list, unless a constant stands in for its numbers.
    fn of_lists(&self, lists: &Lists) -> Result<Made> {
        let n_missing = lists.n_missing;
        let figures: Vec<(f64, f64)> = lists.coordinates.iter().map(Coordinates::mean_and_std).collect();
        let variance: f64 = figures.iter().map(|(_, std)| std * std).sum();
        let widest = lists
            .coordinates
            .iter()
            .map(|one| one.max - one.min)
            .fold(0.0, f64::max);
        let factor = match self.scale {
            _ if self.source.n_rows() == 1 => 1.0,
            Scale::None => 1.0,
            Scale::Minmax => widest,
            Scale::Zscore | Scale::Robust | Scale::Rank => variance.sqrt(),
        };
        let mut made = Made {
            n_missing,
            // Each coordinate by its own mean, which no single number tells.
            filled: matches!(self.missing, Missing::Constant(_)),
            ..Made::default()
        };
        let of = lists.coordinates.len() as u32;
        for ((at, one), (mean, std)) in (0..of).zip(&lists.coordinates).zip(figures) {
            let feature = FeaturePreparation {
                fill: match self.missing {
                    Missing::Constant(v) => v,
                    _ => mean,
                },
                mean,
                std: if std > 0.0 { std } else { 1.0 },
                ..self.feature(ValueKind::Element { at, of }, mean, factor)
            };
            let ends = if one.moments.n > 0 {
                [one.min, one.max]
            } else {
                [mean; 2]
            };
            let reach = ends.into_iter().chain([feature.fill]).map(|v| feature.z(v).abs());
            made.reaches.push(reach.fold(0.0, f64::max));
            made.spreads.push(std / feature.scale);
            made.features.push(feature);
        }
        self.check_reaches(&made.reaches)?;
        if self.missing == Missing::Indicator && n_missing > 0 {
            let share = n_missing as f64 / self.source.n_rows() as f64;
            self.push_flag(&mut made, ValueKind::Missing, share, share, 1.0);
        }
        Ok(made)
    }

    /// A feature that is 1 in a share of all rows, and so often in the mean of those that have a value.
    fn push_flag(&self, made: &mut Made, kind: ValueKind, share: f64, mean: f64, factor: f64) {
        let spread = (share * (1.0 - share)).sqrt();
        let flag = FeaturePreparation {
            fill: 0.0,
            mean,
            // A level that every row with a value has varies in none of them.
            std: if mean < 1.0 { (mean * (1.0 - mean)).sqrt() } else { 1.0 },
            ..self.feature(kind, share, factor)
        };
        made.reaches.push(flag.z(0.0).abs().max(flag.z(1.0).abs()));
        made.spreads.push(spread / flag.scale);
        made.features.push(flag);
    }

    /// What all features of the column have in common; `factor` is the scale before the column's weight.
    fn feature(&self, kind: ValueKind, centre: f64, factor: f64) -> FeaturePreparation {
        FeaturePreparation {
            column: self.feature.name.clone(),
            data_type: self
                .source
                .schema()
                .field(self.feature.column.index())
                .data_type()
                .to_string(),
            kind,
            clip: None,
            log_unit: None,
            ranks: None,
            centre,
            // The square of a difference counts `weight` times.
            scale: factor / self.weight.sqrt(),
            weight: self.weight,
            fill: 0.0,
            mean: 0.0,
            std: 1.0,
        }
    }
}

/// Everything that was learned, put together.
fn finish(
    source: &dyn BatchSource,
    scale: Scale,
    parts: &[Part],
    made: Vec<Made>,
    mut warnings: Vec<String>,
) -> Result<Learned> {
    let columns = reports(source.schema(), scale, parts, &made);
    let reaches: Vec<f64> = made.iter().flat_map(|made| made.reaches.iter().copied()).collect();
    let spreads: Vec<f64> = made.iter().flat_map(|made| made.spreads.iter().copied()).collect();
    let features: Vec<FeaturePreparation> = made.into_iter().flat_map(|made| made.features).collect();
    if features.len() > MAX_FEATURES {
        return Err(Error::InvalidParam {
            param: "features",
            value: format!("{} features", features.len()),
            reason: format!("at most {MAX_FEATURES} can be clustered on"),
        });
    }
    // Nothing reaches anywhere in a single row; its grid is that of values within a standard deviation.
    let reach = reaches.iter().copied().fold(0.0, f64::max);
    let grid = Grid::covering(if reach == 0.0 { 1.0 } else { reach });
    warnings.extend(coarse_steps(grid, scale, &features, &reaches, &spreads));
    Ok(Learned {
        preparation: Preparation { scale, grid, features },
        columns,
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::features::Role;
    use crate::features::options::{LogChoice, MissingRule};
    use crate::features::prepare;
    use crate::features::testing::{Table, column};
    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int32Array,
        Int64Array, ListArray, NullArray, StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Float32Type, Int32Type, Int64Type};

    const N: i32 = 120;

    fn each<T>(value: impl Fn(i32) -> T) -> impl Iterator<Item = T> {
        (0..N).map(value)
    }

    /// A customer table with a column of every sort.
    fn shop() -> Table {
        let country = StringArray::from_iter_values(each(|i| if i % 9 == 0 { "Malta" } else { "UK" }));
        let country = DictionaryArray::new(Int32Array::from_iter_values(each(|i| i)), Arc::new(country));
        let spend = Decimal128Array::from_iter_values(each(|i| i128::from(i * i * 7 % 9001)));
        let levels = DictionaryArray::new(
            Int32Array::from_iter_values(each(|i| i % 3)),
            Arc::new(Int64Array::from(vec![10, 20, 40])) as ArrayRef,
        );
        let ages = each(|i| (i % 10 != 4).then(|| f64::from(20 + i * 37 % 50)));
        let last = each(|i| i64::from(i * 31 % 97) * 86_400_000_000 + i64::from(i));
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>(each(|i| Some(vec![Some(i)])));
        Table::new(
            vec![
                column(
                    "customer_id",
                    Int64Array::from_iter_values(each(|i| i64::from(i * 100))),
                ),
                column("country", country),
                column("total_spend", spend.with_precision_and_scale(12, 2).unwrap()),
                column("last_order", TimestampMicrosecondArray::from_iter_values(last)),
                column("first_day", Date32Array::from_iter_values(each(|i| 14_000 + i % 50))),
                column("is_uk", BooleanArray::from_iter(each(|i| Some(i % 9 != 0)))),
                column("level", levels),
                column("age", Float64Array::from_iter(ages)),
                column("number", Int32Array::from_iter_values(each(|i| 1000 + i))),
                column("constant", Int32Array::from_iter_values(each(|_| 5))),
                column(
                    "noise",
                    Float64Array::from_iter_values(each(|i| 0.3 + f64::from(i % 2) * 1e-16)),
                ),
                column("empty", Float32Array::from_iter(each(|_| None::<f32>))),
                column("nothing", NullArray::new(N as usize)),
                column("list", list),
            ],
            50,
        )
    }

    fn named(features: &[&str]) -> FeatureOptions {
        FeatureOptions {
            features: features.iter().map(|&name| name.into()).collect(),
            ..Default::default()
        }
    }

    fn scaled(scale: Scale) -> FeatureOptions {
        FeatureOptions {
            scale,
            log: LogChoice::None,
            ..Default::default()
        }
    }

    fn floats(values: &[f64]) -> Table {
        Table::new(vec![column("x", Float64Array::from(values.to_vec()))], 3)
    }

    fn only(values: &[f64], scale: Scale) -> FeaturePreparation {
        learn(&floats(values), &scaled(scale))
            .unwrap()
            .preparation
            .features
            .remove(0)
    }

    #[test]
    fn every_column_gets_a_role_and_a_reason() {
        let options = FeatureOptions {
            weight: Some("age".into()),
            ..Default::default()
        };
        let learned = learn(&shop(), &options).unwrap();
        let roles: Vec<(&str, Role, Option<&str>)> = learned
            .columns
            .iter()
            .map(|c| (c.column.as_str(), c.role, c.reason.as_deref()))
            .collect();
        let ignored = |name, reason| (name, Role::Ignored, Some(reason));
        let feature = |name| (name, Role::Feature, None);
        assert_eq!(
            roles,
            [
                ignored("customer_id", "looks like an id by its name"),
                feature("country"),
                feature("total_spend"),
                feature("last_order"),
                feature("first_day"),
                feature("is_uk"),
                feature("level"),
                ("age", Role::Weight, None),
                ignored("number", "looks like an id: it numbers the rows"),
                ignored("constant", "is constant"),
                ignored("noise", "is constant but for rounding noise"),
                ignored("empty", "has no values"),
                ignored("nothing", "has no values"),
                ignored(
                    "list",
                    "holds lists, which are clustered on only where they are asked for"
                ),
            ]
        );
        assert_eq!(learned.preparation.validate(), Ok(()));
        assert!(
            learned.columns[3]
                .treatment
                .starts_with("days before 1970-04-07 00:00:00.000")
        );
        assert!(
            learned.columns[4]
                .treatment
                .starts_with("days before 2008-06-19; zscore: centre ")
        );
    }

    #[test]
    fn neither_row_order_nor_batches_change_a_bit() {
        for scale in [Scale::Zscore, Scale::Robust, Scale::Minmax, Scale::Rank, Scale::None] {
            let options = FeatureOptions {
                log: match scale {
                    Scale::Rank => LogChoice::Auto,
                    _ => LogChoice::Columns(vec!["total_spend".into(), "last_order".into()]),
                },
                clip: Some(0.05),
                missing: vec![MissingRule {
                    column: None,
                    how: Missing::Indicator,
                }],
                weights: vec![("age".into(), 2.0)],
                ..scaled(scale)
            };
            let expected = learn(&shop(), &options).unwrap();
            assert_eq!(expected, learn(&shop().reversed(), &options).unwrap());
            for batch_rows in [1, 7, 64, 1000] {
                assert_eq!(expected, learn(&shop().in_batches_of(batch_rows), &options).unwrap());
            }
            let json = serde_json::to_string(&expected.preparation).unwrap();
            assert_eq!(
                serde_json::from_str::<Preparation>(&json).unwrap(),
                expected.preparation
            );
        }
    }

    #[test]
    fn a_changed_value_is_seen() {
        let (a, b) = (
            only(&[1.0, 2.0, 4.0], Scale::Zscore),
            only(&[1.0, 2.0, 4.0f64.next_up()], Scale::Zscore),
        );
        assert_ne!(a, b);
    }

    #[test]
    fn a_list_is_as_its_numbers_in_columns_of_their_own_but_for_one_scale() {
        use super::super::transform::Prepared;
        const D: usize = 5;
        let number = |i: i32, j: usize| f32::from((i * 37 + j as i32 * 11) as i16 % 23) * (1.0 + j as f32);
        let has_list = |i: i32| i % 10 != 3;
        let lists = each(|i| {
            has_list(i).then(|| {
                (0..D)
                    .map(|j| (i % 17 != j as i32).then(|| number(i, j)))
                    .collect::<Vec<_>>()
            })
        });
        let list = ListArray::from_iter_primitive::<Float32Type, _, _>(lists);
        let plain = (0..D).map(|j| {
            let values = each(|i| (has_list(i) && i % 17 != j as i32).then(|| number(i, j)));
            column(&format!("v{j}"), Float32Array::from_iter(values))
        });
        let other = || column("other", Int32Array::from_iter_values(each(|i| i * i % 31)));
        let table = Table::new(vec![column("v", list), other()], 50);
        let columns = Table::new(plain.chain([other()]).collect(), 50);
        let mean = |scale: Scale| FeatureOptions {
            missing: vec![MissingRule {
                column: None,
                how: Missing::Mean,
            }],
            ..scaled(scale)
        };
        let asked = |scale: Scale| FeatureOptions {
            features: vec!["v".into(), "other".into()],
            ..mean(scale)
        };
        let tiles = |prepared: Prepared| (prepared.tiles, prepared.n_clipped);
        // As they are, nothing differs.
        let found = learn(&table, &asked(Scale::None)).unwrap().preparation;
        let expected = learn(&columns, &mean(Scale::None)).unwrap().preparation;
        let prepared = |table: &Table, preparation| tiles(prepare(table, preparation, None, usize::MAX).unwrap());
        assert_eq!(prepared(&table, &found), prepared(&columns, &expected));
        assert_ne!(prepared(&table, &found), prepared(&columns.reversed(), &expected));
        let named: Vec<String> = (0..D).map(|j| format!("v[{j}]")).chain(["other".into()]).collect();
        assert_eq!(found.names(), named);
        // Scaled, all by one scale: the root of the sum of the variances.
        let found = learn(&table, &asked(Scale::Zscore)).unwrap();
        let expected = learn(&columns, &mean(Scale::Zscore)).unwrap().preparation;
        let variances = expected.features[..D].iter().map(|feature| feature.std * feature.std);
        let scale = variances.sum::<f64>().sqrt();
        for (own, plain) in found.preparation.features[..D].iter().zip(&expected.features) {
            assert_eq!(
                (own.mean, own.std, own.fill, own.centre),
                (plain.mean, plain.std, plain.fill, plain.centre)
            );
            assert_eq!(own.scale, scale);
        }
        assert_eq!(found.preparation.features[D], expected.features[D]);
        assert_eq!(found.columns[0].n_features, D);
        assert!(
            found.columns[0]
                .treatment
                .starts_with("5 numbers, as one column; zscore, all by one scale: ")
        );
        let json = serde_json::to_string(&found.preparation).unwrap();
        assert_eq!(serde_json::from_str::<Preparation>(&json).unwrap(), found.preparation);
        assert_eq!(found.preparation.validate(), Ok(()));
        for other in [table.reversed(), table.in_batches_of(7)] {
            assert_eq!(learn(&other, &asked(Scale::Zscore)).unwrap(), found);
        }
        // A list counts as one column, in blocks as elsewhere.
        let weighted = FeatureOptions {
            weights: vec![("v".into(), 4.0)],
            ..asked(Scale::Zscore)
        };
        assert_eq!(
            learn(&table, &weighted).unwrap().preparation.features[0].scale,
            scale / 2.0
        );
        let kind = ValueKind::Element { at: 5, of: 5 };
        let mut broken = found.preparation;
        broken.features[0].kind = kind;
        assert!(broken.validate().unwrap_err().ends_with("stands in no place of a list"));
    }

    #[test]
    fn lists_that_cannot_be_clustered_on_say_why() {
        let with = |lists: Vec<Option<Vec<Option<f32>>>>| {
            let list = ListArray::from_iter_primitive::<Float32Type, _, _>(lists);
            Table::new(vec![column("v", list)], 2)
        };
        let row = |values: &[f32]| Some(values.iter().copied().map(Some).collect::<Vec<_>>());
        let ragged = with(vec![row(&[1.0, 2.0]), row(&[3.0]), row(&[4.0, 5.0])]);
        let error = learn(&ragged, &named(&["v"])).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("holds lists of 1 to 2 numbers, not of one length"),
            "{error}"
        );
        let good = with(vec![row(&[1.0, 2.0]), row(&[3.0, 5.0]), None]);
        let preparation = learn(&good, &named(&["v"])).unwrap().preparation;
        let error = prepare(&ragged, &preparation, None, usize::MAX).unwrap_err();
        let Error::BadValue { row: 2, problem, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(problem, "is a list of another length than those of the fit");
        let infinite = with(vec![row(&[1.0, 2.0]), None, row(&[3.0, f32::INFINITY])]);
        assert!(matches!(
            learn(&infinite, &named(&["v"])),
            Err(Error::BadValue { row: 3, .. })
        ));
        let refuse = FeatureOptions {
            missing: vec![MissingRule {
                column: None,
                how: Missing::Refuse,
            }],
            ..named(&["v"])
        };
        assert!(
            learn(&good, &refuse)
                .unwrap_err()
                .to_string()
                .contains("1 rows have no value")
        );
    }

    #[test]
    fn what_is_named_and_cannot_be_used_is_an_error() {
        for (name, reason) in [
            ("constant", "is constant"),
            ("noise", "is constant but for rounding noise"),
            ("empty", "has no values"),
            ("nothing", "has no values"),
        ] {
            match learn(&shop(), &named(&[name])) {
                Err(Error::ColumnUnusable {
                    column,
                    role: "a feature",
                    reason: found,
                }) => {
                    assert_eq!((column.as_str(), found.as_str()), (name, reason));
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        let learned = learn(&shop(), &named(&["customer_id", "number"])).unwrap();
        assert_eq!(
            learned.preparation.n_features(),
            2,
            "ids by name are features when asked for"
        );
        assert!(matches!(
            learn(&shop(), &named(&["const*"])),
            Err(Error::NoFeatures { .. })
        ));
    }

    #[test]
    fn integers_with_gaps_or_repeats_number_nothing() {
        let used = |value: &dyn Fn(i32) -> Option<i64>| {
            let table = Table::new(vec![column("n", Int64Array::from_iter(each(value)))], 50);
            learn(&table, &FeatureOptions::default()).is_ok()
        };
        let high = i64::MAX - 2 * i64::from(N);
        assert!(
            !used(&|i| Some(high + i64::from((i * 7) % N))),
            "a range beyond 2^53 that numbers the rows"
        );
        assert!(used(&|i| Some(i64::from(i * 3))), "two of three are missing");
        assert!(
            used(&|i| Some(i64::from(if i == 5 { 2 * N - 3 } else { i / 2 * 2 }))),
            "repeats"
        );
        assert!(used(&|i| (i > 0).then_some(i.into())), "a null");
    }

    #[test]
    fn each_scale_does_what_it_says() {
        let values = [1.0, 2.0, 3.0, 4.0, 10.0];
        let figures = |scale| {
            let feature = only(&values, scale);
            (feature.centre, feature.scale)
        };
        assert_eq!(figures(Scale::Zscore), (4.0, 10f64.sqrt()));
        assert_eq!(figures(Scale::Robust), (3.0, 2.0));
        assert_eq!(figures(Scale::Minmax), (1.0, 9.0));
        assert_eq!(figures(Scale::None), (4.0, 1.0));
        // Ranks 0.1, 0.3, .., 0.9, however far the values are.
        let rounded = |(centre, scale): (f64, f64)| ((centre * 1e9).round(), (scale * scale * 1e9).round());
        assert_eq!(rounded(figures(Scale::Rank)), (5e8, 8e7));
        let flat = learn(&floats(&[0.0, 0.0, 0.0, 0.0, 1.0]), &scaled(Scale::Robust)).unwrap();
        assert_eq!(
            (flat.preparation.features[0].centre, flat.preparation.features[0].scale),
            (0.0, 0.4)
        );
        assert!(
            flat.warnings[0].contains("\"x\": its quartiles are equal"),
            "{:?}",
            flat.warnings
        );
    }

    #[test]
    fn missing_values_get_the_median_of_the_others() {
        let feature = only(&[5.0, f64::NAN, 1.0, 2.0, 100.0, f64::NAN], Scale::Zscore);
        assert_eq!((feature.fill, feature.mean), (3.5, 27.0));
        assert_eq!(only(&[5.0, 1.0], Scale::Zscore).fill, 3.0);
        let learned = learn(&floats(&[5.0, f64::NAN, 1.0]), &FeatureOptions::default()).unwrap();
        assert_eq!(
            (learned.columns[0].n_missing, learned.columns[0].fill),
            (1.into(), Some(3.0))
        );
    }

    #[test]
    fn a_huge_offset_is_no_matter() {
        for offset in [0.0, 1e9] {
            let table = floats(&[offset - 1.0, offset + 1.0, offset + 1.0, offset - 1.0]);
            let learned = learn(&table, &FeatureOptions::default()).unwrap();
            assert!(learned.warnings.is_empty());
            let tiles = prepare(&table, &learned.preparation, None, usize::MAX).unwrap().tiles;
            let one = learned.preparation.grid.snap(1.0) as i32;
            assert_eq!(
                (tiles.chunks()[0].value(0, 0), tiles.chunks()[0].value(1, 0)),
                (-one, one)
            );
        }
    }

    #[test]
    fn the_column_that_forces_coarse_steps_is_named() {
        let spikes =
            Float64Array::from_iter_values((0..100_000_000u32).step_by(400).map(|i| if i == 0 { 1e9 } else { 0.0 }));
        let n = spikes.len() as i64;
        let calm = Int64Array::from_iter_values((0..n).map(|i| i % 10));
        let table = Table::new(vec![column("spiky", spikes), column("calm", calm)], 100_000);
        let fits = learn(&table, &FeatureOptions::default()).unwrap();
        assert!(
            fits.warnings.is_empty(),
            "500 standard deviations are no trouble: {:?}",
            fits.warnings
        );
        let learned = learn(&table, &scaled(Scale::None)).unwrap();
        assert_eq!(learned.warnings.len(), 1);
        let warning = &learned.warnings[0];
        assert!(
            warning.starts_with("column \"spiky\" far above the rest") && warning.ends_with("for column \"calm\""),
            "{warning}"
        );
        let robust = floats(&[0.0, 1.0, 2.0, 3.0, 1e9]);
        let learned = learn(&robust, &scaled(Scale::Robust)).unwrap();
        assert!(
            learned.warnings.is_empty(),
            "against its own spread the column is fine: {:?}",
            learned.warnings
        );
        let zeros = (0..99_999).map(|i| f64::from(i % 2)).chain([1e9]);
        let calm = Int64Array::from_iter_values((0..100_000).map(|i| i % 10));
        let table = Table::new(
            vec![
                column("spiky", Float64Array::from_iter_values(zeros)),
                column("calm", calm),
            ],
            10_000,
        );
        let warning = learn(&table, &scaled(Scale::Robust)).unwrap().warnings.remove(0);
        assert!(
            warning.starts_with("column \"spiky\" reaches 1e9 quartile distances: clip"),
            "{warning}"
        );
        assert!(
            warning.ends_with("coarser than 1/1024 standard deviation for column \"calm\""),
            "{warning}"
        );
    }

    #[test]
    fn bad_values_are_named_by_the_first_row_that_has_one() {
        let infinite_at = |at: &'static [i32]| {
            Float64Array::from_iter_values(each(move |i| {
                if at.contains(&i) {
                    f64::INFINITY
                } else {
                    f64::from(i % 7)
                }
            }))
        };
        let table = Table::new(
            vec![
                column("a", infinite_at(&[40, 90])),
                column("b", infinite_at(&[30, 100])),
            ],
            50,
        );
        for batch_rows in [1, 20, 35, 200] {
            let error = learn(&table.in_batches_of(batch_rows), &FeatureOptions::default()).unwrap_err();
            assert_eq!(error.to_string(), "column \"b\", row 31: is infinite");
        }
        let exclude = FeatureOptions {
            exclude: vec!["[ab]".into()],
            ..Default::default()
        };
        assert!(
            matches!(learn(&table, &exclude), Err(Error::NoFeatures { .. })),
            "what is not used may hold anything"
        );
    }

    #[test]
    fn nothing_to_learn_from_is_an_error() {
        assert!(matches!(
            learn(&floats(&[]), &FeatureOptions::default()),
            Err(Error::NoRows)
        ));
        assert!(matches!(
            learn(&floats(&[1.0, 1.0]), &FeatureOptions::default()),
            Err(Error::NoFeatures { .. })
        ));
        let ids = Table::new(vec![column("id", Int64Array::from(vec![3, 9, 4]))], 3);
        let hint = learn(&ids, &FeatureOptions::default()).unwrap_err().hint();
        assert!(hint.unwrap().contains("looks like an id"));
        let tiny = f64::from_bits(3);
        assert!(matches!(
            learn(&floats(&[0.0, tiny]), &FeatureOptions::default()),
            Err(Error::NoFeatures { .. })
        ));
        let far = floats(&[0.0, 1e-200, 2e-200, 3e-200, 1e100]);
        assert!(matches!(
            learn(&far, &scaled(Scale::Robust)),
            Err(Error::ColumnUnusable { .. })
        ));
    }

    #[test]
    fn a_column_of_two_values_counts_half() {
        let n = 120;
        let text = |n_levels: i32| StringArray::from_iter_values((0..n).map(move |i| format!("l{}", i % n_levels)));
        let table = Table::new(
            vec![
                column(
                    "number",
                    Float64Array::from_iter_values((0..n).map(|i| f64::from(i * i % 101))),
                ),
                column("flag", BooleanArray::from_iter((0..n).map(|i| Some(i % 3 == 0)))),
                column("two", text(2)),
                column("three", text(3)),
            ],
            50,
        );
        let learned = learn(&table, &scaled(Scale::Zscore)).unwrap();
        let prepared = prepare(&table, &learned.preparation, None, usize::MAX).unwrap();
        let step = learned.preparation.grid.step();
        let mut variances = std::collections::BTreeMap::new();
        for (at, feature) in learned.preparation.features.iter().enumerate() {
            let values: Vec<f64> = (0..n as usize)
                .map(|row| {
                    let mut x = vec![0; learned.preparation.n_features()];
                    prepared.tiles.read_row(row, &mut x);
                    f64::from(x[at]) * step
                })
                .collect();
            let mean = values.iter().sum::<f64>() / f64::from(n);
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
            *variances.entry(feature.column.as_str()).or_insert(0.0) += variance;
        }
        for (column, expected) in [("number", 1.0), ("flag", 0.5), ("two", 0.5), ("three", 1.0)] {
            assert!(
                (variances[column] - expected).abs() < 1e-4,
                "{column}: {}",
                variances[column]
            );
        }
    }

    #[test]
    fn months_and_weekdays_lie_on_circles() {
        let days = (0..N).map(|i| (i % 13 != 5).then_some(20_000 + i * 11 % 730));
        let table = Table::new(vec![column("since", Date32Array::from_iter(days))], 50);
        let options = FeatureOptions {
            months: vec!["since".into()],
            weekdays: vec!["s*".into()],
            ..scaled(Scale::Zscore)
        };
        let learned = learn(&table, &options).unwrap();
        assert_eq!(
            learned.preparation.names(),
            [
                "since",
                "since (month, sine)",
                "since (month, cosine)",
                "since (weekday, sine)",
                "since (weekday, cosine)"
            ]
        );
        assert!(
            learned.columns[0]
                .treatment
                .ends_with("; its month on a circle; its weekday on a circle")
        );
        assert_eq!(learn(&table.reversed(), &options).unwrap(), learned);
        let json = serde_json::to_string(&learned.preparation).unwrap();
        assert_eq!(serde_json::from_str::<Preparation>(&json).unwrap(), learned.preparation);
        // A month counts as much as a column of numbers, and missing dates lie in the middle.
        let prepared = prepare(&table, &learned.preparation, None, usize::MAX).unwrap();
        let (step, n_present) = (
            learned.preparation.grid.step(),
            (0..N).filter(|i| i % 13 != 5).count() as f64,
        );
        let mut sum = 0.0;
        for row in 0..N as usize {
            let mut x = vec![0; 5];
            prepared.tiles.read_row(row, &mut x);
            sum += x[1..3].iter().map(|&x| (f64::from(x) * step).powi(2)).sum::<f64>();
            assert!(row % 13 != 5 || x[1..].iter().all(|x| x.abs() <= 1), "{row}: {x:?}");
        }
        assert!((sum / n_present - 1.0).abs() < 1e-4, "{sum}");
        let wrong = FeatureOptions {
            months: vec!["x".into()],
            ..Default::default()
        };
        assert!(matches!(
            learn(&floats(&[1.0, 2.0]), &wrong),
            Err(Error::ColumnUnusable { .. })
        ));
    }

    #[test]
    fn only_order_counts_in_ranks() {
        let values: Vec<f64> = (0..5000).map(|i| f64::from(i * 7919 % 4001 - 2000) / 100.0).collect();
        let bent: Vec<f64> = values.iter().map(|v| v.exp() - 5.0).collect();
        let [feature, other] = [only(&values, Scale::Rank), only(&bent, Scale::Rank)];
        let knots = values.iter().zip(&bent).step_by(17);
        // Equal but for what lies between two of the points that are kept.
        assert!(
            knots
                .clone()
                .all(|(v, w)| (feature.z(*v) - other.z(*w)).abs() < 0.5 / 256.0 / feature.scale)
        );
        assert!(
            knots
                .clone()
                .all(|(v, _)| (feature.original(feature.z(*v)) - v).abs() < 1e-9)
        );
        let error = learn(
            &floats(&values),
            &FeatureOptions {
                log: LogChoice::Columns(vec!["x".into()]),
                ..scaled(Scale::Rank)
            },
        );
        assert!(matches!(error, Err(Error::InvalidParam { param: "log", .. })));
    }

    #[test]
    fn a_single_row_is_a_point_without_spread() {
        for scale in [Scale::Zscore, Scale::Robust, Scale::Minmax, Scale::Rank, Scale::None] {
            let learned = learn(&floats(&[299.25]), &scaled(scale)).unwrap();
            let FeaturePreparation { mean, std, .. } = learned.preparation.features[0];
            assert_eq!(
                (mean, std, learned.preparation.validate()),
                (299.25, 1.0, Ok(())),
                "{scale}"
            );
            assert_eq!(learned.preparation.z(0, 299.25), 0.0, "{scale}");
            assert!(learned.warnings.is_empty(), "{:?}", learned.warnings);
        }
        assert!(matches!(
            learn(&floats(&[f64::NAN]), &FeatureOptions::default()),
            Err(Error::NoFeatures { .. })
        ));
    }

    fn plans() -> Table {
        let plan = each(|i| match i {
            _ if i % 12 == 5 => None,
            0..60 => Some("basic"),
            60..90 => Some("gold"),
            90..118 => Some("silver"),
            _ => Some("platinum"),
        });
        let calls = each(|i| f64::from(i * 7 % 13).exp());
        Table::new(
            vec![
                column("plan", StringArray::from_iter(plan)),
                column("calls", Float64Array::from_iter_values(calls)),
                column("rare", BooleanArray::from_iter(each(|i| Some(i == 3)))),
                column("email", StringArray::from_iter_values(each(|i| format!("m{}", i % 3)))),
                column(
                    "note",
                    StringArray::from_iter_values(each(|i| format!("a{}@b.org", i % 3))),
                ),
                column("code", StringArray::from_iter_values(each(|i| format!("X{i}")))),
                column(
                    "survey",
                    Float64Array::from_iter(each(|i| (i % 3 == 0).then(|| f64::from(i)))),
                ),
            ],
            50,
        )
    }

    /// Mean of the squared length of all prepared rows, in the features of one column.
    fn variance(table: &Table, preparation: &Preparation, name: &str) -> f64 {
        let tiles = prepare(table, preparation, None, usize::MAX).unwrap().tiles;
        let features = (0..preparation.n_features()).filter(|&at| preparation.features[at].column == name);
        let step = preparation.grid.step();
        let square = |at| {
            (0..N as usize)
                .map(|row| (f64::from(tiles.chunks()[0].value(row, at)) * step).powi(2))
                .sum::<f64>()
        };
        features.map(square).sum::<f64>() / f64::from(N)
    }

    #[test]
    fn text_weighs_as_much_as_a_column_of_numbers() {
        let learned = learn(&plans(), &FeatureOptions::default()).unwrap();
        let preparation = &learned.preparation;
        assert_eq!(
            preparation.names(),
            [
                "plan = basic",
                "plan = gold",
                "plan = silver",
                "plan = (other)",
                "plan (missing)",
                "calls",
                "rare"
            ]
        );
        for name in ["plan", "calls"] {
            let variance = variance(&plans(), preparation, name);
            assert!((variance - 1.0).abs() < 1e-4, "{name}: {variance}");
        }
        assert!(
            variance(&plans(), preparation, "rare") < 0.2,
            "a rare flag does not stand apart from all others"
        );
        let weighted = FeatureOptions {
            weights: vec![("plan".into(), 3.0)],
            ..Default::default()
        };
        let weighted = learn(&plans(), &weighted).unwrap().preparation;
        assert!((variance(&plans(), &weighted, "plan") - 3.0).abs() < 1e-4);
        let ignored = |name: &str| {
            let report = learned.columns.iter().find(|report| report.column == name);
            report.unwrap().reason.clone().unwrap()
        };
        assert_eq!(ignored("email"), "is personal data: e-mail addresses");
        assert_eq!(ignored("note"), "is personal data: e-mail addresses");
        assert_eq!(ignored("code"), "looks like an id: every text is different");
        assert_eq!(ignored("survey"), "has no value in 66 % of the rows");
        assert_eq!(
            learned.columns[0].treatment,
            "one-hot: 3 levels, 1 rare ones as one, missing as one"
        );
        assert_eq!(
            (learned.columns[0].n_missing, learned.columns[0].n_rare_levels),
            (10.into(), 1)
        );
        assert_eq!(
            learn(&plans(), &named(&["survey"])).unwrap().preparation.n_features(),
            1
        );
        let error = learn(&plans(), &named(&["note"])).unwrap_err();
        assert!(
            error.to_string().ends_with("is personal data: e-mail addresses"),
            "{error}"
        );
    }

    #[test]
    fn levels_that_the_fit_never_saw_are_other_or_nothing() {
        let preparation = learn(&plans(), &named(&["plan"])).unwrap().preparation;
        let new = Table::new(
            vec![column(
                "plan",
                StringArray::from(vec![Some("never"), None, Some("gold")]),
            )],
            3,
        );
        let prepared = prepare(&new, &preparation, None, usize::MAX).unwrap();
        let ones =
            |row: usize| -> Vec<bool> { (0..5).map(|at| prepared.tiles.chunks()[0].value(row, at) > 0).collect() };
        assert_eq!(ones(0), [false, false, false, true, false]);
        assert_eq!(ones(1), [false, false, false, false, true]);
        assert_eq!(ones(2), [false, true, false, false, false]);
        assert_eq!(
            prepared.share_missing,
            [0.0, 1.0, 0.0],
            "one column is missing, not five features"
        );
    }

    #[test]
    fn logarithms_are_taken_where_they_straighten() {
        let learned = learn(&plans(), &named(&["calls"])).unwrap();
        let log = learned.columns[1].log.clone().unwrap();
        assert!(
            log.skewness > 2.0 && log.skewness_after.abs() < 0.5 && log.unit == 1.0,
            "{log:?}"
        );
        assert!(
            learned.columns[1].treatment.starts_with("log1p (skewness "),
            "{}",
            learned.columns[1].treatment
        );
        let feature = &learned.preparation.features[0];
        let logs: Vec<f64> = each(|i| crate::num::logs::signed_ln_1p(f64::from(i * 7 % 13).exp())).collect();
        let mut moments = crate::num::Moments::default();
        moments.add_all(&logs);
        assert_eq!((feature.centre, feature.scale), (moments.mean(), moments.std()));
        let none = FeatureOptions {
            log: LogChoice::None,
            ..named(&["calls"])
        };
        assert_eq!(learn(&plans(), &none).unwrap().preparation.features[0].log_unit, None);
        let clipped = FeatureOptions {
            clip: Some(0.1),
            ..none
        };
        let clipped = learn(&plans(), &clipped).unwrap();
        let [low, high] = clipped.preparation.features[0].clip.unwrap();
        assert_eq!((low, high), (1f64.exp(), 11f64.exp()));
        let variance = variance(&plans(), &clipped.preparation, "calls");
        assert!((variance - 1.0).abs() < 1e-4, "{variance}");
    }

    #[test]
    fn missing_values_are_treated_as_asked() {
        let table = floats(&[5.0, f64::NAN, 1.0, 2.0, 100.0, f64::NAN]);
        let with = |how| {
            let missing = vec![MissingRule {
                column: Some("x".into()),
                how,
            }];
            learn(
                &table,
                &FeatureOptions {
                    missing,
                    ..Default::default()
                },
            )
        };
        assert_eq!(with(Missing::Mean).unwrap().preparation.features[0].fill, 27.0);
        assert_eq!(
            with(Missing::Constant(-1.0)).unwrap().preparation.features[0].fill,
            -1.0
        );
        let indicated = with(Missing::Indicator).unwrap();
        assert_eq!(indicated.preparation.names(), ["x", "x (missing)"]);
        assert_eq!(indicated.columns[0].n_features, 2);
        let tiles = prepare(&table, &indicated.preparation, None, usize::MAX).unwrap().tiles;
        let flag = |row| f64::from(tiles.chunks()[0].value(row, 1)) * indicated.preparation.grid.step();
        assert!((flag(1) - 2.0 / 3.0).abs() < 1e-4 && (flag(0) + 1.0 / 3.0).abs() < 1e-4);
        let refused = with(Missing::Refuse).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "column \"x\" cannot be used as a feature: 2 rows have no value, and missing values are refused"
        );
        let far = with(Missing::Constant(1e6)).unwrap();
        assert_eq!(
            prepare(&table, &far.preparation, None, usize::MAX).unwrap().n_clipped,
            0
        );
    }

    #[test]
    fn dates_are_counted_from_the_day_asked_for() {
        let options = FeatureOptions {
            as_of: Some("2010-01-01".parse().unwrap()),
            ..named(&["first_day"])
        };
        let learned = learn(&shop(), &options).unwrap();
        assert!(
            learned.columns[4]
                .treatment
                .starts_with("days before 2010-01-01; zscore")
        );
        let newest = learn(&shop(), &named(&["first_day"])).unwrap().preparation.features[0].mean;
        let days = 14_610 - 14_049; // 2010-01-01 and the newest day
        assert_eq!(learned.preparation.features[0].mean, newest + f64::from(days));
    }

    #[test]
    fn options_for_columns_that_are_not_clustered_on_are_told() {
        let options = FeatureOptions {
            weights: vec![("code".into(), 2.0)],
            ..Default::default()
        };
        let warnings = learn(&plans(), &options).unwrap().warnings;
        assert_eq!(
            warnings,
            ["column \"code\" is not clustered on, so --weights does nothing"]
        );
    }

    #[test]
    fn dictionary_values_are_read_through() {
        let keys = Int32Array::from(vec![0, 1, 1, 2]);
        let values: DictionaryArray<Int32Type> = DictionaryArray::new(
            keys,
            Arc::new(arrow::array::PrimitiveArray::<Int64Type>::from(vec![3, 5, 7])),
        );
        let learned = learn(&Table::new(vec![column("d", values)], 2), &FeatureOptions::default()).unwrap();
        assert_eq!(learned.preparation.features[0].mean, 5.0);
        assert!(learned.preparation.features[0].data_type.starts_with("Dictionary"));
    }
}
