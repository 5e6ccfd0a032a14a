//! What the segments are worth: outcomes that nothing was clustered on, with how sure their means are.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cells::{Count, MIN_CELL, MinCell};
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::features::{BadCell, OutcomeColumn, decode};
use crate::num::Moments;

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// One outcome in all segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeProfile {
    /// The column.
    pub outcome: String,
    /// Whether all values are truth values, or 0 and 1, so that the mean is a share of rows.
    pub is_share: bool,
    /// Segments in order of their number.
    pub segments: Vec<OutcomeFigures>,
    /// All rows together.
    pub overall: OutcomeFigures,
}

/// One outcome in some rows. Weights play no part in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeFigures {
    /// Rows that have a value.
    pub count: Count,
    /// Share of rows without one; `None` where it is not told.
    pub share_missing: Option<f64>,
    /// Mean of the values, rounded once from the exact sum; `None`, like the interval, where too few rows stand behind it,
    /// see [`crate::cells`].
    pub mean: Option<f64>,
    /// Of a share that is not told, the least and the most that it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_bounds: Option<[f64; 2]>,
    /// Lower end of the interval that holds the mean of such rows with 95 % confidence; none below 11 values.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
}

/// Profiles outcomes per segment: `labels` holds the cluster of each row of `source`, from 0 and below `n_segments`.
/// Reads the data once. The same for any order of the rows.
///
/// The interval of a share is Wilson's (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927), that of a mean Student's, from
/// the standard deviation within the segment: on heavy tails it is a guide, no guarantee.
///
/// # Errors
/// Those of reading and decoding, and [`Error::Internal`] where `labels` are not those of this data.
pub fn outcomes(
    source: &dyn BatchSource,
    columns: &[OutcomeColumn],
    labels: &[u32],
    n_segments: usize,
    min_cell: MinCell,
) -> Result<Vec<OutcomeProfile>> {
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let mut counts = vec![0u64; n_segments];
    for &label in labels {
        *counts.get_mut(label as usize).ok_or_else(other_data)? += 1;
    }
    let mut moments = vec![vec![Moments::default(); n_segments]; columns.len()];
    let mut are_flags = vec![true; columns.len()];
    let mut n_read = 0;
    let indices: Vec<usize> = columns.iter().map(OutcomeColumn::index).collect();
    source.scan(&indices, &mut |first_row, batch| {
        let labels = labels
            .get(first_row..first_row + batch.num_rows())
            .ok_or_else(other_data)?;
        n_read += labels.len();
        let cells = moments
            .par_iter_mut()
            .zip(&mut are_flags)
            .zip(columns)
            .zip(batch.columns());
        let added: Vec<_> = cells
            .map(|(((moments, are_flags), column), array)| {
                let values = decode(array, column.kind())?;
                *are_flags &= values.iter().all(|v| v.is_nan() || [0.0, 1.0].contains(v));
                add(moments, labels, &values);
                Ok(())
            })
            .collect();
        for (column, added) in columns.iter().zip(added) {
            added.map_err(|bad: BadCell| {
                let (file, row) = source.locate(first_row + bad.index);
                Error::BadValue {
                    file,
                    column: column.name().into(),
                    row: row + 1,
                    problem: bad.problem,
                }
            })?;
        }
        Ok(())
    })?;
    if n_read != labels.len() {
        return Err(other_data());
    }
    let both = columns.iter().zip(&moments).zip(are_flags);
    Ok(both
        .map(|((column, moments), are_flags)| profile(column.name(), are_flags, moments, &counts, min_cell))
        .collect())
}

/// Adds the values of a batch, but for missing ones, to their segments.
fn add(moments: &mut [Moments], labels: &[u32], values: &[f64]) {
    let mut by_segment = vec![Vec::new(); moments.len()];
    for (&label, &v) in labels.iter().zip(values).filter(|(_, v)| !v.is_nan()) {
        by_segment[label as usize].push(v);
    }
    for (moments, values) in moments.iter_mut().zip(by_segment) {
        moments.add_all(&values);
    }
}

fn profile(outcome: &str, is_share: bool, moments: &[Moments], sizes: &[u64], min_cell: MinCell) -> OutcomeProfile {
    let mut all = Moments::default();
    moments.iter().for_each(|moments| all.merge(moments));
    let cells = |moments: &Moments, size: u64| {
        let n_with = if is_share {
            (moments.mean() * moments.n as f64).round() as u64
        } else {
            moments.n
        };
        vec![n_with, moments.n - n_with, size - moments.n]
    };
    let rows: Vec<Vec<u64>> = moments.iter().zip(sizes).map(|(own, &size)| cells(own, size)).collect();
    let told_sizes = min_cell.parts(sizes);
    let told = min_cell.table(&rows, &told_sizes);
    let tell = |moments: &Moments, cells: &[Count], size: Count, is_small: bool| {
        let count = size.minus(cells[2]);
        let share_missing = cells[2].share_of(size);
        let empty = OutcomeFigures {
            count,
            share_missing,
            mean: None,
            mean_bounds: None,
            low: None,
            high: None,
        };
        if is_share && cells[0].share_of(count).is_none() {
            // From the least and the most that it can be, and the fewest values.
            let [least, most] = cells[0].shares_of(count);
            let n = count.bounds()[0];
            let end = |share: f64, end: usize| (n >= MIN_CELL).then(|| wilson(n as f64, share)[end]);
            OutcomeFigures {
                mean: (most <= 0.0).then_some(0.0),
                mean_bounds: (most > 0.0).then_some([least, most]),
                low: end(least, 0),
                high: end(most, 1),
                ..empty
            }
        } else if moments.n > 0 && min_cell.tells_figures(moments.n) && !is_small {
            let interval = (moments.n >= MIN_CELL).then(|| interval(moments, is_share));
            OutcomeFigures {
                mean: Some(moments.mean()),
                low: interval.map(|interval| interval[0]),
                high: interval.map(|interval| interval[1]),
                ..empty
            }
        } else {
            empty
        }
    };
    let segments = moments.iter().zip(sizes).zip(told.rows.iter().zip(&told_sizes));
    OutcomeProfile {
        outcome: outcome.into(),
        is_share,
        segments: segments
            .map(|((moments, &size), (cells, &told))| tell(moments, cells, told, min_cell.is_small(size)))
            .collect(),
        overall: tell(&all, &told.all, Count::Exact(sizes.iter().sum()), false),
    }
}

/// Of the mean of at least [`MIN_CELL`] values.
fn interval(moments: &Moments, is_share: bool) -> [f64; 2] {
    let (n, mean) = (moments.n as f64, moments.mean());
    if is_share {
        wilson(n, mean)
    } else {
        student(n, mean, moments.std())
    }
}

/// Of a share among `n` rows.
fn wilson(n: f64, share: f64) -> [f64; 2] {
    let square = Z * Z;
    let centre = (share + square / (2.0 * n)) / (1.0 + square / n);
    let reach = Z / (1.0 + square / n) * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    [(centre - reach).max(0.0), (centre + reach).min(1.0)]
}

/// Of the mean of `n` values with a population standard deviation, at least [`MIN_CELL`] of them.
fn student(n: f64, mean: f64, std: f64) -> [f64; 2] {
    let reach = t_quantile(n - 1.0) * std / (n - 1.0).sqrt();
    [mean - reach, mean + reach]
}

/// The 97.5 % quantile of Student's distribution with at least 10 degrees of freedom, to 4 digits: the expansion of
/// Cornish and Fisher (Abramowitz and Stegun 26.7.5).
pub(super) fn t_quantile(freedom: f64) -> f64 {
    let z = Z;
    let terms = [
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
    ];
    z + terms[0] / freedom + terms[1] / freedom.powi(2) + terms[2] / freedom.powi(3)
}

fn other_data() -> Error {
    Error::Internal("the data being profiled is not the data that was clustered".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float64Array, RecordBatch, UInt32Array};
    use arrow::compute::take_record_batch;

    use super::*;
    use crate::features::{FeatureOptions, outcome_columns};
    use crate::model::fixture::{Cut, table};

    /// 60 rows in three segments (the last has 5 rows), some values missing.
    fn rows() -> (RecordBatch, Vec<u32>) {
        let churned = (0..60).map(|i| (i % 10 != 9).then_some(i % 4 == 0));
        let arr = (0..60).map(|i| Some(f64::from(i * i % 37) * 0.1));
        let table = table(vec![
            ("churned", Arc::new(BooleanArray::from_iter(churned)) as _),
            ("arr", Arc::new(Float64Array::from_iter(arr)) as _),
        ]);
        (table, (0..60).map(|i| if i >= 55 { 2 } else { i % 2 }).collect())
    }

    fn profiled(table: &RecordBatch, labels: &[u32], batch_rows: usize) -> Vec<OutcomeProfile> {
        told(table, labels, batch_rows, MinCell::default())
    }

    fn told(table: &RecordBatch, labels: &[u32], batch_rows: usize, min_cell: MinCell) -> Vec<OutcomeProfile> {
        let options = FeatureOptions {
            outcomes: vec!["churned".into(), "arr".into()],
            ..Default::default()
        };
        let columns = outcome_columns(table.schema_ref(), &options).unwrap();
        outcomes(&Cut(table.clone(), batch_rows), &columns, labels, 3, min_cell).unwrap()
    }

    #[test]
    fn figures_are_those_of_a_plain_sum() {
        let (table, labels) = rows();
        let found = told(&table, &labels, 60, MinCell::new(1));
        let rows = (0..55).filter(|i| i % 2 == 0 && i % 10 != 9);
        let n = rows.clone().count();
        let churned = rows.filter(|i| i % 4 == 0).count();
        let figures = &found[0].segments[0];
        assert_eq!(
            (figures.count, figures.mean),
            (Count::Exact(n as u64), Some(churned as f64 / n as f64))
        );
        assert!(found[0].is_share && !found[1].is_share);
        let arr: Vec<f64> = (0..55u32)
            .filter(|i| i % 2 == 1)
            .map(|i| f64::from(i * i % 37) * 0.1)
            .collect();
        let mean = arr.iter().sum::<f64>() / arr.len() as f64;
        let variance = arr.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (arr.len() - 1) as f64;
        let reach = 2.0555 * (variance / arr.len() as f64).sqrt(); // t with 26 degrees of freedom
        let figures = &found[1].segments[1];
        assert!((figures.mean.unwrap() - mean).abs() < 1e-12);
        assert!(
            (figures.high.unwrap() - mean - reach).abs() < 1e-4 * reach,
            "{figures:?} {reach}"
        );
        assert!((mean - figures.low.unwrap() - reach).abs() < 1e-4 * reach);
        assert_eq!(found[0].overall.share_missing, Some(0.1));
    }

    #[test]
    fn few_rows_are_not_told() {
        let (table, labels) = rows();
        let last = &profiled(&table, &labels, 60)[1].segments[2];
        assert_eq!(last.count, Count::Between(1, 10));
        assert_eq!((last.mean, last.low, last.high), (None, None, None));
        // 14 of 28 churned, and 1 to 10 values are missing: the share is told as what it can be.
        let churned = &profiled(&table, &labels, 60)[0].segments[0];
        let [low, high] = churned.mean_bounds.unwrap();
        assert!(churned.mean.is_none() && low < 0.5 && 0.5 < high, "{churned:?}");
        let [least, _] = wilson(28.0, 0.5);
        assert!(churned.low.unwrap() < least && churned.high.unwrap() > 1.0 - least);
    }

    #[test]
    fn order_and_cuts_do_not_show_and_another_value_does() {
        let (table, labels) = rows();
        let whole = profiled(&table, &labels, 60);
        assert_eq!(whole, profiled(&table, &labels, 7));
        let turned: UInt32Array = (0..60).rev().collect();
        let turned_labels: Vec<u32> = labels.iter().rev().copied().collect();
        assert_eq!(
            whole,
            profiled(&take_record_batch(&table, &turned).unwrap(), &turned_labels, 60)
        );
        assert_ne!(whole, profiled(&table, &turned_labels, 60));
    }

    #[test]
    fn intervals_worked_out_elsewhere() {
        // R: prop.test(8, 20, correct = FALSE)$conf.int
        let [low, high] = wilson(20.0, 0.4);
        assert!(
            (low - 0.218_806_5).abs() < 1e-6 && (high - 0.613_418_8).abs() < 1e-6,
            "{low} {high}"
        );
        assert_eq!(wilson(50.0, 0.0)[0], 0.0);
        // R: qt(.975, c(10, 30, 1000))
        for (freedom, t) in [(10.0, 2.228_139), (30.0, 2.042_272), (1000.0, 1.962_339)] {
            assert!(
                (t_quantile(freedom) - t).abs() < 1e-4 * t,
                "{freedom}: {}",
                t_quantile(freedom)
            );
        }
    }
}
