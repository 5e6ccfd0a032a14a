//! A look at every column, in memory that hardly grows with the rows: what is in it, and what a fit would make of it.

use std::collections::HashMap;

use arrow::array::Array;
use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::columns::{ColumnReport, FeatureColumn, Part, Role};
use super::decode::{Instant, TypeClass, ValueKind, class_of, decode_pieces, map_texts};
use super::kept::Kept;
use super::learn::{Judged, judge};
use super::levels::Levels;
use super::measure::{Candidate, Values};
use super::options::{FeatureOptions, Scale};
use super::preparation::bend;
use super::scan_indices;
use super::settle::logarithm;
use crate::cells::MIN_CELL;
use crate::data::BatchSource;
use crate::error::Result;
use crate::num::distinct::Distinct;
use crate::num::shape::Shape;

/// Rows that say how columns go together, spread evenly over all.
const PAIR_ROWS: usize = 20_000;
/// Pairs of columns are looked at among this many features.
const PAIR_FEATURES: usize = 400;
/// Fewer rows with both values say nothing about a pair.
const MIN_PAIRS: u64 = 30;
/// Correlation from which a column says nearly what another says.
const COLLINEAR: f64 = 0.95;
/// Values so many quartile distances beyond the quartiles are far (J. W. Tukey, Exploratory Data Analysis, 1977).
const FAR: f64 = 3.0;

/// What was seen of a column, and the role and treatment that a fit would give it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnInspection {
    /// Role, treatment and reason, from the same code that decides in a fit; figures of the treatment that take a
    /// second look at the data are left out.
    #[serde(flatten)]
    pub report: ColumnReport,
    /// Share of rows without a value; `None` for nested and binary columns, which are not read.
    pub share_missing: Option<f64>,
    /// Different values: exact up to 1,000 (texts up to 10,000), else to 2 %.
    pub n_distinct: Option<u64>,
    /// Of features, outcomes and weights alone, with 11 values at least: those of ids and personal data are not shown.
    pub numbers: Option<NumberFigures>,
    /// Frequent levels of text with their share of the rows, the most frequent first.
    pub levels: Vec<(String, f64)>,
    /// An earlier feature that says nearly the same, and the correlation of the two (of their logarithms, where these
    /// are taken).
    pub redundant_with: Option<(String, f64)>,
}

/// Figures of a column of numbers, in its units (days for dates and durations). Neither the least value nor the largest is
/// one: they are values of single rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberFigures {
    /// The 1 % quantile, to 3 %.
    pub p01: f64,
    /// The median, to 3 %.
    pub median: f64,
    /// The 99 % quantile, to 3 %.
    pub p99: f64,
    /// The skewness, to some percent.
    pub skewness: f64,
    /// Share of values more than three quartile distances beyond the quartiles; 0 where the quartiles are equal.
    pub share_far: f64,
}

/// Looks at every column of `source`. Reads the data twice (three times where there are dates or integers that may
/// number the rows).
///
/// # Errors
/// Those of [`super::check_columns`], a value in a column that would be clustered on and cannot be used, and those of
/// reading.
pub fn inspect(source: &dyn BatchSource, options: &FeatureOptions) -> Result<Vec<ColumnInspection>> {
    let judged = judge(source, options, &mut Kept::nothing())?;
    let kinds: HashMap<usize, ValueKind> = { judged.candidates.iter() }
        .filter_map(|(candidate, _)| match &candidate.values {
            Values::Numbers(numbers) => Some((candidate.column.index(), numbers.kind.clone())),
            Values::Texts(_) | Values::Lists(_) => None,
        })
        .collect();
    let fields = source.schema().fields();
    let mut sketches: Vec<Sketch> = (0..fields.len())
        .filter_map(|index| Sketch::of(index, fields[index].data_type(), kinds.get(&index)))
        .collect();
    let mut sample = Sample::of(source, options, &judged);
    let columns: Vec<usize> = sketches.iter().map(|sketch| sketch.index).collect();
    scan_indices(source, &columns, |first_row, batch| {
        sketches
            .par_iter_mut()
            .zip(batch.columns())
            .for_each(|(sketch, array)| sketch.add(array));
        sample.add(first_row, &columns, batch.columns());
        Ok(())
    })?;
    let sketches: HashMap<usize, Sketch> = sketches.into_iter().map(|sketch| (sketch.index, sketch)).collect();
    let redundant = sample.redundant();
    Ok(told(source, options, judged, &sketches, &redundant))
}

/// Everything that was seen, column by column.
fn told(
    source: &dyn BatchSource,
    options: &FeatureOptions,
    judged: Judged,
    sketches: &HashMap<usize, Sketch>,
    redundant: &HashMap<usize, (usize, f64)>,
) -> Vec<ColumnInspection> {
    let n_rows = source.n_rows();
    let schema = source.schema();
    let mut candidates: HashMap<usize, _> = { judged.candidates.into_iter() }
        .map(|(candidate, verdict)| (candidate.column.index(), (candidate, verdict)))
        .collect();
    let of_column = |(index, part): (usize, &Part)| {
        let mut report = ColumnReport::new(schema.field(index));
        let (mut levels, mut n_texts) = (Vec::new(), None);
        part.report(&mut report);
        if let Some((candidate, verdict)) = candidates.remove(&index) {
            if let Values::Texts(counts) = &candidate.values {
                n_texts = Some(counts.n_distinct());
            }
            match verdict {
                Ok(chosen) => {
                    let asked = judged.choices[index].log;
                    as_feature(&mut report, &candidate, chosen.as_ref(), options.scale, asked, n_rows);
                    levels = shares(chosen, n_rows);
                }
                Err(reason) => report.reason = Some(reason),
            }
        }
        let sketch = sketches.get(&index);
        report.n_missing = sketch.map_or(0, |sketch| sketch.n_missing).into();
        let shown = matches!(report.role, Role::Feature | Role::Outcome | Role::Weight);
        let with = redundant.get(&index);
        ColumnInspection {
            share_missing: sketch.map(|sketch| sketch.n_missing as f64 / n_rows as f64),
            n_distinct: n_texts.or_else(|| sketch.and_then(|sketch| sketch.n_distinct(n_rows))),
            numbers: sketch.filter(|_| shown).and_then(Sketch::figures),
            redundant_with: with.map(|&(other, r)| (schema.field(other).name().clone(), r)),
            levels,
            report,
        }
    };
    judged.parts.iter().enumerate().map(of_column).collect()
}

/// The treatment of a candidate that would be clustered on, as far as one look tells.
fn as_feature(
    report: &mut ColumnReport,
    candidate: &Candidate,
    levels: Option<&Levels>,
    scale: Scale,
    asked: Option<bool>,
    n_rows: usize,
) {
    report.role = Role::Feature;
    match (&candidate.values, levels) {
        (Values::Numbers(numbers), _) => {
            report.log = logarithm(numbers, asked, n_rows);
            report.n_features = 1;
            let log = report.log.as_ref().map_or_else(String::new, |log| format!("{log}; "));
            report.treatment = format!("{log}{scale}");
        }
        (_, Some(levels)) => {
            report.n_rare_levels = levels.others.0;
            let more = [levels.others.1, candidate.n_missing()]
                .into_iter()
                .filter(|&n| n > 0)
                .count();
            report.n_features = levels.kept.len() + more;
            report.treatment = format!("one-hot: {} levels", levels.kept.len());
        }
        _ => {}
    }
}

fn shares(levels: Option<Levels>, n_rows: usize) -> Vec<(String, f64)> {
    let kept = levels.map_or_else(Vec::new, |levels| levels.kept);
    kept.into_iter()
        .map(|(level, count)| (level, count as f64 / n_rows as f64))
        .collect()
}

/// One column in bounded memory.
struct Sketch {
    index: usize,
    /// `None` for text.
    kind: Option<ValueKind>,
    n_missing: u64,
    n_values: u64,
    min: f64,
    max: f64,
    shape: Shape,
    distinct: Distinct,
    /// Values that no arithmetic can use were met.
    broken: bool,
}

impl Sketch {
    fn of(index: usize, data_type: &arrow::datatypes::DataType, kind: Option<&ValueKind>) -> Option<Self> {
        let class = class_of(data_type).ok()?;
        let kind = kind.cloned().or(match class {
            TypeClass::List => return None,
            TypeClass::Text => None,
            TypeClass::Integer | TypeClass::Float | TypeClass::Decimal => Some(ValueKind::Number),
            TypeClass::Bool => Some(ValueKind::Bool),
            TypeClass::Instant => Some(ValueKind::DaysBefore(Instant { day: 0, nanosecond: 0 })),
            TypeClass::TimeOfDay => Some(ValueKind::HoursOfDay),
            TypeClass::Duration => Some(ValueKind::Days),
        });
        Some(Self {
            index,
            kind,
            n_missing: 0,
            n_values: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            shape: Shape::default(),
            distinct: Distinct::default(),
            broken: false,
        })
    }

    fn add(&mut self, array: &dyn Array) {
        match self.kind.clone() {
            None => {
                let hashes = map_texts(array, |text| text.map(|text| xxh3_64(text.as_bytes())));
                for hash in hashes {
                    match hash {
                        Some(hash) => self.distinct.add(hash),
                        None => self.n_missing += 1,
                    }
                }
            }
            Some(kind) => {
                let seen = decode_pieces(array, &kind, |_, mut values| {
                    let n = values.len();
                    values.retain(|v| !v.is_nan());
                    self.n_missing += (n - values.len()) as u64;
                    self.n_values += values.len() as u64;
                    for v in &values {
                        self.distinct.add(xxh3_64(&v.to_bits().to_le_bytes()));
                        self.min = self.min.min(*v);
                        self.max = self.max.max(*v);
                    }
                    self.shape.add_all(&values);
                });
                self.broken |= seen.is_err();
            }
        }
    }

    /// `None` where some values could not be looked at.
    fn n_distinct(&self, n_rows: usize) -> Option<u64> {
        let most = n_rows as u64 - self.n_missing;
        (!self.broken).then(|| (self.distinct.estimate().round() as u64).min(most))
    }

    fn figures(&self) -> Option<NumberFigures> {
        self.kind.as_ref()?;
        if self.n_values < MIN_CELL {
            return None;
        }
        let quantile = |q| Some(self.shape.quantile(q)?.clamp(self.min, self.max));
        let (low, median, high) = (quantile(0.25)?, quantile(0.5)?, quantile(0.75)?);
        let reach = FAR * (high - low);
        Some(NumberFigures {
            p01: quantile(0.01)?,
            median,
            p99: quantile(0.99)?,
            skewness: self.shape.skewness(),
            share_far: if reach > 0.0 {
                self.shape.share_outside(low - reach, high + reach)
            } else {
                0.0
            },
        })
    }
}

/// Some rows of the features that are numbers, bent as in a fit.
struct Sample {
    stride: usize,
    columns: Vec<Sampled>,
}

struct Sampled {
    column: FeatureColumn,
    kind: ValueKind,
    log_unit: Option<f64>,
    /// NaN where missing.
    values: Vec<f64>,
}

impl Sample {
    fn of(source: &dyn BatchSource, options: &FeatureOptions, judged: &Judged) -> Self {
        let n_rows = source.n_rows();
        let numbers = judged.candidates.iter().filter(|(_, verdict)| verdict.is_ok());
        let sampled = numbers.filter_map(|(candidate, _)| {
            let Values::Numbers(numbers) = &candidate.values else {
                return None;
            };
            let asked = judged.choices[candidate.column.index()].log;
            let log = logarithm(numbers, asked, n_rows);
            Some(Sampled {
                column: candidate.column,
                kind: numbers.kind.clone(),
                log_unit: log
                    .filter(|_| !matches!(options.scale, Scale::None | Scale::Rank) || asked == Some(true))
                    .map(|log| log.unit),
                values: Vec::new(),
            })
        });
        Self {
            stride: n_rows.div_ceil(PAIR_ROWS),
            columns: sampled.take(PAIR_FEATURES).collect(),
        }
    }

    /// Adds the rows of a batch of `columns` whose number the stride divides.
    fn add(&mut self, first_row: usize, columns: &[usize], arrays: &[arrow::array::ArrayRef]) {
        let places: HashMap<usize, usize> = columns.iter().enumerate().map(|(at, &column)| (column, at)).collect();
        let first = first_row.next_multiple_of(self.stride) - first_row;
        let stride = self.stride;
        self.columns.par_iter_mut().for_each(|sampled| {
            let Some(&at) = places.get(&sampled.column.index()) else {
                return;
            };
            let (values, unit) = (&mut sampled.values, sampled.log_unit);
            // Values that cannot be used were an error before.
            let _ = decode_pieces(&arrays[at], &sampled.kind, |start, piece| {
                let begin = if start <= first {
                    first - start
                } else {
                    (stride - (start - first) % stride) % stride
                };
                values.extend(piece.iter().skip(begin).step_by(stride).map(|&v| bend(v, None, unit)));
            });
        });
    }

    /// For each feature that says nearly what an earlier one says, that one and the correlation.
    fn redundant(&self) -> HashMap<usize, (usize, f64)> {
        let strongest = |later: usize| {
            let pairs = (0..later).map(|earlier| {
                (
                    earlier,
                    correlation(&self.columns[earlier].values, &self.columns[later].values),
                )
            });
            let strongest = pairs.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
            let (earlier, r) = strongest;
            let index = |at: usize| self.columns[at].column.index();
            (r.abs() >= COLLINEAR).then(|| (index(later), (index(earlier), r)))
        };
        (0..self.columns.len()).into_par_iter().filter_map(strongest).collect()
    }
}

/// Pearson's correlation over the rows that have both values; 0 where they say nothing.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let both = || a.iter().zip(b).filter(|(a, b)| !a.is_nan() && !b.is_nan());
    let n = both().count() as u64;
    if n < MIN_PAIRS {
        return 0.0;
    }
    let mean = |of: &dyn Fn((&f64, &f64)) -> f64| both().map(of).sum::<f64>() / n as f64;
    let (mean_a, mean_b) = (mean(&|(a, _)| *a), mean(&|(_, b)| *b));
    let covariance = |of: &dyn Fn(f64, f64) -> f64| both().map(|(a, b)| of(a - mean_a, b - mean_b)).sum::<f64>();
    let spread = (covariance(&|a, _| a * a) * covariance(&|_, b| b * b)).sqrt();
    if spread > 0.0 {
        covariance(&|a, b| a * b) / spread
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Array, Int64Array, StringArray};

    use super::*;
    use crate::features::learn;
    use crate::features::testing::{Table, column};

    const N: i32 = 1000;

    fn table() -> Table {
        let each = || 0..N;
        let noise = |i: i32| f64::from(i * 7919 % 997);
        Table::new(
            vec![
                column("customer_id", Int64Array::from_iter_values(each().map(i64::from))),
                column(
                    "spend",
                    Float64Array::from_iter(each().map(|i| (i % 10 != 3).then(|| (noise(i) / 110.0).exp()))),
                ),
                column(
                    "spend_cents",
                    Float64Array::from_iter_values(each().map(|i| 100.0 * (noise(i) / 110.0).exp())),
                ),
                column("visits", Int32Array::from_iter_values(each().map(|i| i * 31 % 40))),
                column(
                    "plan",
                    StringArray::from_iter_values(each().map(|i| ["a", "b", "c"][(i % 3) as usize])),
                ),
                column(
                    "mail",
                    StringArray::from_iter_values(each().map(|i| format!("x{i}@y.org"))),
                ),
                column("zero", Int32Array::from_iter_values(each().map(|_| 0))),
                column("churned", Int32Array::from_iter_values(each().map(|i| i % 2))),
                column(
                    "odd",
                    Float64Array::from_iter_values(each().map(|i| if i == 999 { 1e9 } else { noise(i) })),
                ),
            ],
            64,
        )
    }

    fn seen(table: &Table) -> Vec<ColumnInspection> {
        inspect(table, &FeatureOptions::default()).unwrap()
    }

    #[test]
    fn every_column_is_seen() {
        let seen = seen(&table());
        let spend = &seen[1];
        assert_eq!((spend.report.n_missing, spend.share_missing), (100.into(), Some(0.1)));
        let figures = spend.numbers.as_ref().unwrap();
        let mut values: Vec<f64> = (0..N)
            .filter(|i| i % 10 != 3)
            .map(|i| (f64::from(i * 7919 % 997) / 110.0).exp())
            .collect();
        for (found, q) in [(figures.p01, 0.01), (figures.median, 0.5), (figures.p99, 0.99)] {
            let expected = crate::num::quantile::quantile(&mut values, q);
            assert!((found / expected - 1.0).abs() < 0.05, "{figures:?} {expected}");
        }
        assert!(
            spend.report.treatment.starts_with("log1p (skewness "),
            "{}",
            spend.report.treatment
        );
        assert_eq!(seen[2].redundant_with.as_ref().unwrap().0, "spend");
        assert_eq!(seen[3].redundant_with, None);
        assert_eq!(seen[3].n_distinct, Some(40));
        assert_eq!(
            seen[4].levels,
            [("a".to_owned(), 0.334), ("b".into(), 0.333), ("c".into(), 0.333)]
        );
        assert!(seen[8].numbers.as_ref().unwrap().share_far > 0.0);
        for hidden in [0, 5] {
            assert_eq!(seen[hidden].numbers, None);
            assert!(seen[hidden].n_distinct.unwrap().abs_diff(1000) < 30);
            assert_eq!(seen[hidden].report.role, Role::Ignored);
        }
        assert_eq!(seen[6].report.reason.as_deref(), Some("is constant"));
        assert_eq!(seen[7].report.role, Role::Outcome);
    }

    #[test]
    fn a_fit_gives_the_roles_that_were_told() {
        let seen = seen(&table());
        let learned = learn(&table(), &FeatureOptions::default()).unwrap();
        for (seen, fitted) in seen.iter().zip(&learned.columns) {
            let seen = &seen.report;
            assert_eq!(
                (seen.role, &seen.reason),
                (fitted.role, &fitted.reason),
                "{}",
                seen.column
            );
            assert_eq!(
                (&seen.log, seen.n_features),
                (&fitted.log, fitted.n_features),
                "{}",
                seen.column
            );
        }
    }

    #[test]
    fn values_of_few_rows_have_no_figures_and_those_at_the_ends_are_not_told() {
        let figures = |n: i32| {
            let values = Float64Array::from_iter_values((0..n).map(|i| f64::from(i * i) + 0.5));
            inspect(&Table::new(vec![column("a", values)], 64), &FeatureOptions::default()).unwrap()[0]
                .numbers
                .clone()
        };
        assert_eq!(figures(10), None);
        assert!(figures(11).is_some());
        let told = figures(1000).unwrap();
        assert!(told.p01 > 50.0 && told.p99 < 0.995 * 999.0 * 999.0, "{told:?}");
    }

    #[test]
    fn batches_do_not_show() {
        let whole = seen(&table().in_batches_of(5000));
        for rows in [1, 7, 300] {
            assert_eq!(whole, seen(&table().in_batches_of(rows)), "{rows}");
        }
    }

    #[test]
    fn correlations_worked_out_by_hand() {
        let a: Vec<f64> = (0..100).map(f64::from).collect();
        let down: Vec<f64> = a.iter().map(|v| 5.0 - 2.0 * v).collect();
        let bent: Vec<f64> = a.iter().map(|v| v * v).collect();
        assert!((correlation(&a, &down) + 1.0).abs() < 1e-12);
        assert!((correlation(&a, &bent) - 0.967_642).abs() < 1e-5);
        assert_eq!(correlation(&a[..20], &down[..20]), 0.0, "too few rows");
        assert_eq!(correlation(&a, &[3.0; 100]), 0.0);
    }
}
