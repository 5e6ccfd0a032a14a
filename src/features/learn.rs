//! What has to be known of all rows before any row can be prepared.

use arrow::array::Array;
use arrow::datatypes::{DataType, FieldRef};
use rayon::prelude::*;

use super::columns::{ColumnReport, Part, Role, plan, unusable};
use super::decode::{BadCell, Instant, TypeClass, ValueKind, decode, each_integer, instants, plain_type};
use super::options::{FeatureOptions, Scale};
use super::preparation::{FeaturePreparation, Preparation};
use super::{all_or_first_bad, room_for, scan};
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::grid::{Grid, MAX_FEATURES};
use crate::num::Moments;
use crate::num::quantile::{median, quantile};

/// Values gathered at once for exact quantiles, in bytes (one column at least).
const GATHER_BYTES: usize = 1 << 30;
/// Fewer rows than this say nothing about whether integers number the rows.
const MIN_ROWS_OF_AN_ID: u64 = 100;
/// Largest magnitude of a prepared value.
const MAX_Z: f64 = 1e140;

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
/// candidates once for exact moments, integers that may number the rows once to see whether they do, and columns with
/// missing values (or all, with [`Scale::Robust`]) once for exact quantiles.
///
/// A column counts as constant where all values are equal, and where a float column's standard deviation is within
/// the rounding noise of its magnitude: below `2^-11` (16 bits), `2^-24` (32) or `1e-13` (64) of the largest.
///
/// # Errors
/// No rows, no usable column, a column asked for by name that cannot be used, a value that cannot be used (with file
/// and row), names and patterns that fit nothing, no memory, and those of reading.
pub fn learn(source: &dyn BatchSource, options: &FeatureOptions) -> Result<Learned> {
    if source.n_rows() == 0 {
        return Err(Error::NoRows);
    }
    let mut parts = plan(source.schema(), options)?;
    let candidates = measured(source, &parts)?;
    let numbering = numbering(source, &candidates)?;
    let mut features = Vec::new();
    for (candidate, numbers_rows) in candidates.into_iter().zip(numbering) {
        match candidate.reason(source.n_rows() as u64, numbers_rows) {
            None => features.push(candidate),
            Some(reason) if candidate.named => {
                return Err(unusable(source.schema(), candidate.index, "a feature", reason));
            }
            Some(reason) => parts[candidate.index] = Part::Ignored(reason.into()),
        }
    }
    match features.len() {
        0 => return Err(Error::NoFeatures),
        n if n > MAX_FEATURES => {
            let reason = format!("at most {MAX_FEATURES} columns can be clustered on");
            return Err(Error::InvalidParam {
                param: "features",
                value: format!("{n} columns"),
                reason,
            });
        }
        _ => {}
    }
    let quantiles = quantiles(source, &features, options.scale)?;
    finish(source, options.scale, &parts, &features, &quantiles)
}

/// A column that may become a feature, and what all its rows say.
struct Candidate {
    index: usize,
    name: String,
    class: TypeClass,
    named: bool,
    kind: ValueKind,
    /// Standard deviations below this share of the largest magnitude are rounding noise.
    noise: f64,
    n_missing: u64,
    min: f64,
    max: f64,
    moments: Moments,
    /// Least and largest integer, where the column holds integers.
    integers: Option<(i128, i128)>,
}

impl Candidate {
    fn add(&mut self, array: &dyn Array) -> std::result::Result<(), BadCell> {
        for v in decode(array, &self.kind)? {
            if v.is_nan() {
                self.n_missing += 1;
            } else {
                self.min = self.min.min(v);
                self.max = self.max.max(v);
                self.moments.add(v);
            }
        }
        if self.class == TypeClass::Integer && !self.named {
            each_integer(array, |v| {
                let (min, max) = self.integers.unwrap_or((v, v));
                self.integers = Some((min.min(v), max.max(v)));
            });
        }
        Ok(())
    }

    /// Why this column cannot be a feature, if it cannot.
    fn reason(&self, n_rows: u64, numbers_rows: bool) -> Option<&'static str> {
        let std = self.moments.std();
        if self.n_missing == n_rows {
            Some("has no values")
        } else if self.min == self.max {
            Some("is constant")
        } else if !std.is_normal() || std < self.noise * self.min.abs().max(self.max.abs()) {
            Some("is constant but for rounding noise")
        } else if numbers_rows {
            Some("looks like an id: it numbers the rows")
        } else {
            None
        }
    }

    /// First number and how many there are up to the last, where these integers may number the rows.
    fn number_range(&self, n_rows: u64) -> Option<(i128, usize)> {
        let (min, max) = self.integers?;
        let len = max - min + 1;
        let may = n_rows >= MIN_ROWS_OF_AN_ID
            && self.n_missing == 0
            && (i128::from(n_rows)..2 * i128::from(n_rows)).contains(&len);
        may.then_some((min, len as usize))
    }
}

fn noise_of(data_type: &DataType) -> f64 {
    match plain_type(data_type) {
        DataType::Float16 => 2f64.powi(-11),
        DataType::Float32 => 2f64.powi(-24),
        DataType::Float64 => 1e-13,
        _ => 0.0,
    }
}

/// All candidates with their statistics over all rows.
fn measured(source: &dyn BatchSource, parts: &[Part]) -> Result<Vec<Candidate>> {
    let newest = newest(source, parts)?;
    let candidate = |(index, part): (usize, &Part)| {
        let Part::Candidate { class, named } = *part else {
            return None;
        };
        let field = source.schema().field(index);
        Some(Candidate {
            index,
            name: field.name().clone(),
            class,
            named,
            kind: match class {
                TypeClass::Integer | TypeClass::Float | TypeClass::Decimal => ValueKind::Number,
                TypeClass::Bool => ValueKind::Bool,
                TypeClass::Instant => ValueKind::DaysBefore(newest[index]),
                TypeClass::TimeOfDay => ValueKind::HoursOfDay,
                TypeClass::Duration => ValueKind::Days,
            },
            noise: noise_of(field.data_type()),
            n_missing: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            moments: Moments::default(),
            integers: None,
        })
    };
    let mut candidates: Vec<Candidate> = parts.iter().enumerate().filter_map(candidate).collect();
    if candidates.is_empty() {
        return Ok(candidates);
    }
    let columns: Vec<usize> = candidates.iter().map(|candidate| candidate.index).collect();
    let names: Vec<&str> = columns
        .iter()
        .map(|&index| source.schema().field(index).name().as_str())
        .collect();
    scan(source, &columns, |first_row, batch| {
        let added = candidates
            .par_iter_mut()
            .zip(batch.columns())
            .map(|(one, array)| one.add(array))
            .collect();
        all_or_first_bad(source, first_row, &names, added).map(drop)
    })?;
    Ok(candidates)
}

/// Per column of the schema, the newest point in time of all rows; 1970 where there is none.
fn newest(source: &dyn BatchSource, parts: &[Part]) -> Result<Vec<Instant>> {
    let mut newest = vec![Instant { day: 0, nanosecond: 0 }; parts.len()];
    let in_time = |part: &Part| {
        matches!(
            part,
            Part::Candidate {
                class: TypeClass::Instant,
                ..
            }
        )
    };
    let columns: Vec<usize> = (0..parts.len()).filter(|&index| in_time(&parts[index])).collect();
    if columns.is_empty() {
        return Ok(newest);
    }
    let mut found = vec![None; columns.len()];
    scan(source, &columns, |_, batch| {
        found.par_iter_mut().zip(batch.columns()).for_each(|(newest, array)| {
            *newest = (*newest).max(instants(array).into_iter().flatten().max());
        });
        Ok(())
    })?;
    for (&index, found) in columns.iter().zip(&found) {
        newest[index] = found.unwrap_or(newest[index]);
    }
    Ok(newest)
}

/// Per candidate, whether it is a column of integers without a gap to speak of that are all different.
fn numbering(source: &dyn BatchSource, candidates: &[Candidate]) -> Result<Vec<bool>> {
    let n_rows = source.n_rows() as u64;
    let mut seen = Vec::new();
    for (place, candidate) in candidates.iter().enumerate() {
        if let Some((first, len)) = candidate.number_range(n_rows) {
            let mut bits: Vec<u64> = room_for(len.div_ceil(64), "the search for id-like columns")?;
            bits.resize(len.div_ceil(64), 0);
            seen.push((place, first, bits, true));
        }
    }
    let mut numbering = vec![false; candidates.len()];
    if seen.is_empty() {
        return Ok(numbering);
    }
    let columns: Vec<usize> = seen.iter().map(|(place, ..)| candidates[*place].index).collect();
    scan(source, &columns, |_, batch| {
        seen.par_iter_mut()
            .zip(batch.columns())
            .for_each(|((_, first, bits, all_different), array)| {
                each_integer(array, |v| {
                    let at = (v - *first) as usize;
                    *all_different &= bits[at / 64] >> (at % 64) & 1 == 0;
                    bits[at / 64] |= 1 << (at % 64);
                });
            });
        Ok(())
    })?;
    for (place, .., all_different) in seen {
        numbering[place] = all_different;
    }
    Ok(numbering)
}

/// Exact quantiles of one column's values.
#[derive(Debug, Clone, Copy)]
struct Quantiles {
    median: f64,
    /// The distance between the quartiles.
    spread: f64,
}

/// Per feature, its quantiles where they are needed. Values are gathered for as many columns at a time as fit
/// [`GATHER_BYTES`].
fn quantiles(source: &dyn BatchSource, features: &[Candidate], scale: Scale) -> Result<Vec<Option<Quantiles>>> {
    let mut quantiles = vec![None; features.len()];
    let needed: Vec<usize> = (0..features.len())
        .filter(|&feature| scale == Scale::Robust || features[feature].n_missing > 0)
        .collect();
    let at_once = (GATHER_BYTES / size_of::<f64>() / source.n_rows()).max(1);
    for group in needed.chunks(at_once) {
        let mut gathered: Vec<(&Candidate, Vec<f64>)> = Vec::new();
        for &feature in group {
            let n = features[feature].moments.n as usize;
            gathered.push((&features[feature], room_for(n, "exact medians")?));
        }
        let columns: Vec<usize> = gathered.iter().map(|(feature, _)| feature.index).collect();
        let names: Vec<&str> = gathered.iter().map(|(feature, _)| feature.name.as_str()).collect();
        scan(source, &columns, |first_row, batch| {
            let added = gathered
                .par_iter_mut()
                .zip(batch.columns())
                .map(|((feature, values), array)| {
                    values.extend(decode(array, &feature.kind)?.into_iter().filter(|v| !v.is_nan()));
                    Ok(())
                })
                .collect();
            all_or_first_bad(source, first_row, &names, added).map(drop)
        })?;
        let found: Vec<Quantiles> = gathered
            .par_iter_mut()
            .map(|(_, values)| Quantiles {
                median: median(values),
                spread: quantile(values, 0.75) - quantile(values, 0.25),
            })
            .collect();
        group
            .iter()
            .zip(found)
            .for_each(|(&feature, found)| quantiles[feature] = Some(found));
    }
    Ok(quantiles)
}

/// Everything that was learned, put together.
fn finish(
    source: &dyn BatchSource,
    scale: Scale,
    parts: &[Part],
    features: &[Candidate],
    quantiles: &[Option<Quantiles>],
) -> Result<Learned> {
    let mut warnings = Vec::new();
    let mut prepared = Vec::with_capacity(features.len());
    let mut reaches = Vec::with_capacity(features.len());
    for (feature, quantiles) in features.iter().zip(quantiles) {
        let one = feature_preparation(source, feature, *quantiles, scale, &mut warnings);
        // Prepared values rise with the values, so the ends are enough; the fill lies between them.
        let reach = one.z(feature.min).abs().max(one.z(feature.max).abs());
        if reach.is_nan() || reach > MAX_Z {
            let reason = "reaches too far for its spread";
            return Err(unusable(source.schema(), feature.index, "a feature", reason));
        }
        prepared.push(one);
        reaches.push(reach);
    }
    let grid = Grid::covering(reaches.iter().copied().fold(0.0, f64::max));
    warnings.extend(coarse_steps(grid, scale, &prepared, &reaches));
    let columns = reports(source, scale, parts, features, &prepared);
    Ok(Learned {
        preparation: Preparation {
            scale,
            grid,
            features: prepared,
        },
        columns,
        warnings,
    })
}

fn feature_preparation(
    source: &dyn BatchSource,
    feature: &Candidate,
    quantiles: Option<Quantiles>,
    scale: Scale,
    warnings: &mut Vec<String>,
) -> FeaturePreparation {
    let (mean, std) = (feature.moments.mean(), feature.moments.std());
    let (centre, factor) = match (scale, quantiles) {
        (Scale::Minmax, _) => (feature.min, feature.max - feature.min),
        (Scale::None, _) => (mean, 1.0),
        (Scale::Robust, Some(Quantiles { median, spread })) if spread.is_normal() => (median, spread),
        (Scale::Robust, Some(Quantiles { median, .. })) => {
            warnings.push(format!(
                "column {:?}: its quartiles are equal, so it is scaled by its standard deviation instead",
                feature.name
            ));
            (median, std)
        }
        _ => (mean, std),
    };
    FeaturePreparation {
        column: feature.name.clone(),
        data_type: source.schema().field(feature.index).data_type().to_string(),
        kind: feature.kind,
        centre,
        scale: factor,
        fill: if feature.n_missing == 0 {
            mean
        } else {
            quantiles.map_or(mean, |quantiles| quantiles.median)
        },
        mean,
        std,
    }
}

/// A warning where the step is coarser than 1/1024 of some feature's standard deviation: who forces it, who suffers.
fn coarse_steps(grid: Grid, scale: Scale, features: &[FeaturePreparation], reaches: &[f64]) -> Option<String> {
    let pick = |choose: &dyn Fn(&FeaturePreparation, f64) -> bool| -> Vec<usize> {
        (0..features.len())
            .filter(|&at| choose(&features[at], reaches[at]))
            .collect()
    };
    let suffering = pick(&|feature, _| grid.step() > feature.std / feature.scale / 1024.0);
    if suffering.is_empty() {
        return None;
    }
    let forcing = pick(&|_, reach| reach > 0.0 && Grid::covering(reach) == grid);
    let list = |columns: &[usize]| {
        let mut names: Vec<String> = columns
            .iter()
            .take(8)
            .map(|&at| format!("{:?}", features[at].column))
            .collect();
        if columns.len() > 8 {
            names.push(format!("{} more", columns.len() - 8));
        }
        names.join(", ")
    };
    let in_std = |at: usize| reaches[at] * features[at].scale / features[at].std;
    let farthest = forcing.iter().map(|&at| in_std(at)).fold(0.0, f64::max);
    let whose = if forcing.len() == 1 { "column" } else { "columns" };
    let cure = if scale == Scale::None && farthest < 1e4 {
        format!(
            "{whose} {} are far larger than others: scale them (--scale zscore)",
            list(&forcing)
        )
    } else {
        format!(
            "{whose} {} reach {} standard deviations: clip or log the values, or leave the {whose} out",
            list(&forcing),
            short(farthest)
        )
    };
    Some(format!(
        "{cure}; steps are coarser than 1/1024 standard deviation for {}",
        list(&suffering)
    ))
}

fn reports(
    source: &dyn BatchSource,
    scale: Scale,
    parts: &[Part],
    features: &[Candidate],
    prepared: &[FeaturePreparation],
) -> Vec<ColumnReport> {
    let mut features = features.iter().zip(prepared);
    let of_column = |(field, part): (&FieldRef, &Part)| {
        let mut report = ColumnReport {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
            role: Role::Ignored,
            treatment: String::new(),
            n_missing: 0,
            fill: None,
            reason: None,
        };
        match part {
            Part::Id => (report.role, report.treatment) = (Role::Id, "tells rows apart".into()),
            Part::Weight => (report.role, report.treatment) = (Role::Weight, "weight of the row".into()),
            Part::Ignored(reason) => report.reason = Some(reason.clone()),
            Part::Candidate { .. } => {
                let (feature, prepared) = features.next().expect("a feature for every candidate that is left");
                report.role = Role::Feature;
                report.treatment = treatment(scale, prepared);
                report.n_missing = feature.n_missing;
                report.fill = (feature.n_missing > 0).then_some(prepared.fill);
            }
        }
        report
    };
    source.schema().fields().iter().zip(parts).map(of_column).collect()
}

/// What is done to a column, for people.
fn treatment(scale: Scale, feature: &FeaturePreparation) -> String {
    let meaning = match feature.kind {
        ValueKind::Number => String::new(),
        ValueKind::Bool => "true = 1; ".into(),
        ValueKind::DaysBefore(newest) => format!("days before {newest}; "),
        ValueKind::HoursOfDay => "hours since midnight; ".into(),
        ValueKind::Days => "days; ".into(),
    };
    let (centre, factor) = (short(feature.centre), short(feature.scale));
    match scale {
        Scale::None => format!("{meaning}not scaled: centre {centre}"),
        _ => format!("{meaning}{scale}: centre {centre}, scale {factor}"),
    }
}

/// Six significant digits.
fn short(v: f64) -> String {
    let rounded: f64 = format!("{v:.5e}").parse().expect("a number");
    if rounded == 0.0 || (1e-4..1e9).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}
