//! What has to be known of all rows before any row can be prepared.

use arrow::array::Array;
use arrow::datatypes::{DataType, FieldRef, Schema};
use rayon::prelude::*;

use super::columns::{ColumnReport, Part, plan, unusable};
use super::decode::{
    BadCell, Instant, TypeClass, ValueKind, decode, decode_pieces, each_integer, instants, plain_type,
};
use super::kept::Kept;
use super::options::{FeatureOptions, Scale};
use super::preparation::{FeaturePreparation, Preparation};
use super::report::{coarse_steps, reports};
use super::{all_or_first_bad, room_for, scan};
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::grid::{Grid, MAX_FEATURES};
use crate::num::quantile::{median, quantile};
use crate::num::{Moments, range};

/// Values gathered at once for exact quantiles, in bytes (one column at least).
const GATHER_BYTES: usize = 128 << 20;
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
/// the rounding noise of its magnitude: below `2^-11` (16 bits), `2^-24` (32) or `1e-13` (64) of the largest. A single
/// row is taken as it is, with a scale of 1.
///
/// # Errors
/// No rows, no usable column, a column asked for by name that cannot be used, a value that cannot be used (with file
/// and row), names and patterns that fit nothing, no memory, and those of reading.
pub fn learn(source: &dyn BatchSource, options: &FeatureOptions) -> Result<Learned> {
    learn_and_keep(source, options, &mut Kept::nothing())
}

/// [`learn`], which leaves in `kept` what it read of the candidates, where that is exact.
pub(crate) fn learn_and_keep(source: &dyn BatchSource, options: &FeatureOptions, kept: &mut Kept) -> Result<Learned> {
    if source.n_rows() == 0 {
        return Err(Error::NoRows);
    }
    let mut parts = plan(source.schema(), options)?;
    let candidates = measured(source, &parts, kept)?;
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
        0 => return Err(no_features(source.schema(), &parts)),
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
    kept.check(features.iter().map(|feature| feature.index));
    let quantiles = quantiles(source, &features, options.scale, kept)?;
    finish(source, options.scale, &parts, &features, &quantiles)
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
    /// Adds the values of a batch; gives them as `f32`, in which nothing is lost, or `None` where `keep` is not asked
    /// for or cannot be had.
    fn add(&mut self, array: &dyn Array, keep: bool) -> std::result::Result<Option<Vec<f32>>, BadCell> {
        let mut narrow = keep.then(|| Vec::with_capacity(array.len()));
        let kind = self.kind;
        decode_pieces(array, &kind, |_, mut values| {
            if let Some(kept) = &mut narrow {
                kept.extend(values.iter().map(|&v| v as f32));
                let lost = |v: &f64| f64::from(*v as f32) != *v && !v.is_nan();
                if values.iter().fold(false, |some, v| some | lost(v)) {
                    narrow = None;
                }
            }
            let n_missing = values.iter().filter(|v| v.is_nan()).count();
            if n_missing > 0 {
                self.n_missing += n_missing as u64;
                values.retain(|v| !v.is_nan());
            }
            let (min, max) = range(&values);
            self.min = self.min.min(min);
            self.max = self.max.max(max);
            self.moments.add_all(&values);
        })?;
        if self.class == TypeClass::Integer && !self.named {
            each_integer(array, |v| {
                let (min, max) = self.integers.unwrap_or((v, v));
                self.integers = Some((min.min(v), max.max(v)));
            });
        }
        Ok(narrow)
    }

    /// Why this column cannot be a feature, if it cannot.
    fn reason(&self, n_rows: u64, numbers_rows: bool) -> Option<&'static str> {
        let std = self.moments.std();
        if self.n_missing == n_rows {
            Some("has no values")
        } else if n_rows == 1 {
            None
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
fn measured(source: &dyn BatchSource, parts: &[Part], kept: &mut Kept) -> Result<Vec<Candidate>> {
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
    kept.make_room(source.n_rows(), &columns);
    scan(source, &columns, |first_row, batch| {
        let keeps = kept.keeps();
        let added = candidates
            .par_iter_mut()
            .zip(batch.columns())
            .enumerate()
            .map(|(at, (one, array))| one.add(array, keeps.get(at) == Some(&true)))
            .collect();
        let narrow = all_or_first_bad(source, first_row, &names, added)?;
        kept.put(first_row, batch.num_rows(), &narrow);
        Ok(())
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
/// [`GATHER_BYTES`]; those that were kept are not read again.
fn quantiles(
    source: &dyn BatchSource,
    features: &[Candidate],
    scale: Scale,
    kept: &Kept,
) -> Result<Vec<Option<Quantiles>>> {
    let mut quantiles = vec![None; features.len()];
    let needed = (0..features.len()).filter(|&feature| scale == Scale::Robust || features[feature].n_missing > 0);
    let keeps = kept.keeps();
    let (at_hand, to_read): (Vec<usize>, Vec<usize>) = needed.partition(|&feature| keeps.get(feature) == Some(&true));
    let at_once = (GATHER_BYTES / size_of::<f64>() / source.n_rows()).max(1);
    for (groups, read) in [(at_hand.chunks(at_once), false), (to_read.chunks(at_once), true)] {
        for group in groups {
            let mut gathered: Vec<(&Candidate, Vec<f64>)> = Vec::new();
            for &feature in group {
                let n = features[feature].moments.n as usize;
                gathered.push((&features[feature], room_for(n, "exact medians")?));
            }
            if read {
                gather(source, &mut gathered)?;
            } else {
                let columns = gathered.par_iter_mut().zip(group);
                columns.for_each(|((_, values), &feature)| kept.gather(feature, values));
            }
            let found: Vec<Quantiles> = gathered
                .par_iter_mut()
                .map(|(_, values)| Quantiles::of(values))
                .collect();
            for (&feature, found) in group.iter().zip(found) {
                quantiles[feature] = Some(found);
            }
        }
    }
    Ok(quantiles)
}

impl Quantiles {
    fn of(values: &mut [f64]) -> Self {
        Self {
            median: median(values),
            spread: quantile(values, 0.75) - quantile(values, 0.25),
        }
    }
}

/// Reads the values of some columns that are not missing.
fn gather(source: &dyn BatchSource, gathered: &mut [(&Candidate, Vec<f64>)]) -> Result<()> {
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
    })
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
    // Nothing reaches anywhere in a single row; its grid is that of values within a standard deviation.
    let reach = reaches.iter().copied().fold(0.0, f64::max);
    let grid = Grid::covering(if reach == 0.0 { 1.0 } else { reach });
    warnings.extend(coarse_steps(grid, scale, &prepared, &reaches));
    let n_missing: Vec<u64> = features.iter().map(|feature| feature.n_missing).collect();
    let columns = reports(source.schema(), scale, parts, &prepared, &n_missing);
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
    let mean = feature.moments.mean();
    // A single row has no spread to scale by.
    let std = if source.n_rows() == 1 {
        1.0
    } else {
        feature.moments.std()
    };
    let (centre, factor) = match (scale, quantiles) {
        _ if source.n_rows() == 1 => (mean, std),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::features::Role;
    use crate::features::prepare;
    use crate::features::testing::{Table, column};
    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int32Array,
        Int64Array, ListArray, NullArray, StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Int32Type, Int64Type};

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
                ignored("country", "is text"),
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
                ignored("list", "is nested"),
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
        for scale in [Scale::Zscore, Scale::Robust, Scale::Minmax, Scale::None] {
            let expected = learn(&shop(), &scaled(scale)).unwrap();
            assert_eq!(expected, learn(&shop().reversed(), &scaled(scale)).unwrap());
            for batch_rows in [1, 7, 64, 1000] {
                assert_eq!(
                    expected,
                    learn(&shop().in_batches_of(batch_rows), &scaled(scale)).unwrap()
                );
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
    fn what_is_named_and_cannot_be_used_is_an_error() {
        for (name, reason) in [
            ("country", "is text"),
            ("constant", "is constant"),
            ("noise", "is constant but for rounding noise"),
            ("empty", "has no values"),
            ("nothing", "has no values"),
            ("list", "is nested"),
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
        assert_eq!((learned.columns[0].n_missing, learned.columns[0].fill), (1, Some(3.0)));
    }

    #[test]
    fn a_huge_offset_is_no_matter() {
        for offset in [0.0, 1e9] {
            let table = floats(&[offset - 1.0, offset + 1.0, offset + 1.0, offset - 1.0]);
            let learned = learn(&table, &FeatureOptions::default()).unwrap();
            assert!(learned.warnings.is_empty());
            let tiles = prepare(&table, &learned.preparation, None, usize::MAX).unwrap().tiles;
            let one = learned.preparation.grid.snap(1.0);
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
    fn a_single_row_is_a_point_without_spread() {
        for scale in [Scale::Zscore, Scale::Robust, Scale::Minmax, Scale::None] {
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
