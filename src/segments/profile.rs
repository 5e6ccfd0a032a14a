//! What each segment is like, feature by feature, in original units.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::features::{Preparation, decode};
use crate::num::Moments;
use crate::num::quantile::{median, quantile};

/// Memory for decoded columns, where more than one is decoded in a pass over the data.
const PASS_BYTES: usize = 256 << 20;
/// Values whose moments one task adds up.
const TASK_VALUES: usize = 1 << 16;

/// What the segments are like. The same for any order of the rows; weights play no part in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Segments in order of their number.
    pub segments: Vec<SegmentProfile>,
    /// All rows together: one entry per feature, `difference_sd` 0.
    pub overall: Vec<FeatureProfile>,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentProfile {
    /// Its number, from 1.
    pub segment: i32,
    /// Rows in it.
    pub count: u64,
    /// Share of all rows.
    pub share: f64,
    /// One entry per feature, in the model's order.
    pub features: Vec<FeatureProfile>,
}

/// One feature in one segment, in original units (dates as days before the newest value). Missing values are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureProfile {
    /// The column.
    pub feature: String,
    /// Rows that have a value.
    pub count: u64,
    /// Mean, rounded once from the exact sum; `None`, like all others, where no row has a value.
    pub mean: Option<f64>,
    /// The middle value, or the mean of the two middle ones.
    pub median: Option<f64>,
    /// The value that a tenth of the rows lie below (linear between ranks).
    pub p10: Option<f64>,
    /// The value that nine tenths of the rows lie below (linear between ranks).
    pub p90: Option<f64>,
    /// Share of rows without a value.
    pub share_missing: f32,
    /// Mean here less mean of all rows, in standard deviations of all rows; 0 where all values are equal.
    pub difference_sd: Option<f64>,
}

impl SegmentProfile {
    /// Features and their `difference_sd`, those that set the segment apart most first, ties in the model's order.
    #[must_use]
    pub fn distinguishing(&self) -> Vec<(&str, f64)> {
        let differences = self.features.iter();
        let mut differences: Vec<(&str, f64)> = differences
            .filter_map(|feature| Some((feature.feature.as_str(), feature.difference_sd?)))
            .collect();
        differences.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        differences
    }
}

/// Profiles all segments: `labels` holds the cluster of each row of `source`, from 0 and below `n_segments`.
///
/// Reads the data once per feature, or several features at once while they fit into a fixed amount of memory; a
/// feature takes 8 bytes per row.
///
/// # Errors
/// Those of reading and decoding, [`Error::OutOfMemory`], and [`Error::Internal`] where `labels` are not those of
/// this data.
pub fn profile(
    source: &dyn BatchSource,
    preparation: &Preparation,
    labels: &[u32],
    n_segments: usize,
) -> Result<Profile> {
    profile_in_passes(source, preparation, labels, n_segments, PASS_BYTES)
}

fn profile_in_passes(
    source: &dyn BatchSource,
    preparation: &Preparation,
    labels: &[u32],
    n_segments: usize,
    pass_bytes: usize,
) -> Result<Profile> {
    let n_rows = labels.len();
    let mut counts = vec![0usize; n_segments];
    for &label in labels {
        *counts.get_mut(label as usize).ok_or_else(other_data)? += 1;
    }
    let columns = preparation.columns_in(source.schema())?;
    let per_pass = (pass_bytes / (n_rows * size_of::<f64>()).max(1)).clamp(1, columns.len().max(1));
    // Per feature: all segments, then everyone.
    let mut by_feature: Vec<Vec<FeatureProfile>> = Vec::with_capacity(columns.len());
    for (features, columns) in preparation.features.chunks(per_pass).zip(columns.chunks(per_pass)) {
        let mut grouped = features
            .iter()
            .map(|_| Grouped::new(&counts))
            .collect::<Result<Vec<_>>>()?;
        let mut n_read = 0;
        source.scan(columns, &mut |first_row, batch| {
            let labels = labels
                .get(first_row..first_row + batch.num_rows())
                .ok_or_else(other_data)?;
            n_read += labels.len();
            for ((feature, grouped), array) in features.iter().zip(&mut grouped).zip(batch.columns()) {
                let values = decode(array, &feature.kind).map_err(|bad| {
                    let (file, row) = source.locate(first_row + bad.index);
                    Error::BadValue {
                        file,
                        column: feature.column.clone(),
                        row: row + 1,
                        problem: bad.problem,
                    }
                })?;
                grouped.place(labels, &values);
            }
            Ok(())
        })?;
        if n_read != n_rows {
            return Err(other_data());
        }
        by_feature.extend(
            features
                .iter()
                .zip(grouped)
                .map(|(feature, grouped)| grouped.summarise(&feature.column)),
        );
    }
    Ok(assemble(by_feature, &counts, n_rows))
}

/// Turns "per feature, all segments" into "per segment, all features".
fn assemble(mut by_feature: Vec<Vec<FeatureProfile>>, counts: &[usize], n_rows: usize) -> Profile {
    let overall = by_feature
        .iter_mut()
        .map(|profiles| profiles.pop().expect("everyone stands last"))
        .collect();
    let mut by_feature: Vec<_> = by_feature.into_iter().map(Vec::into_iter).collect();
    let segments = counts.iter().enumerate().map(|(cluster, &count)| SegmentProfile {
        segment: cluster as i32 + 1,
        count: count as u64,
        share: count as f64 / n_rows as f64,
        features: by_feature.iter_mut().filter_map(Iterator::next).collect(),
    });
    Profile {
        segments: segments.collect(),
        overall,
    }
}

fn other_data() -> Error {
    Error::Internal("the data being profiled is not the data that was clustered".into())
}

/// The values of one feature, those of a segment side by side.
struct Grouped {
    /// Room for every row, segment after segment; the values of a segment come first in its room.
    values: Vec<f64>,
    /// Room of each segment.
    counts: Vec<usize>,
    /// Where the next value of each segment goes.
    next: Vec<usize>,
}

impl Grouped {
    fn new(counts: &[usize]) -> Result<Self> {
        let n_rows: usize = counts.iter().sum();
        let mut values = Vec::new();
        values.try_reserve_exact(n_rows).map_err(|_| Error::OutOfMemory {
            what: "the profile of one feature".into(),
            bytes: (n_rows * size_of::<f64>()) as u64,
        })?;
        values.resize(n_rows, 0.0);
        let mut end = 0;
        let next = counts.iter().map(|count| {
            end += count;
            end - count
        });
        Ok(Self {
            values,
            next: next.collect(),
            counts: counts.to_vec(),
        })
    }

    fn place(&mut self, labels: &[u32], values: &[f64]) {
        for (&label, &value) in labels.iter().zip(values) {
            if !value.is_nan() {
                let next = &mut self.next[label as usize];
                self.values[*next] = value;
                *next += 1;
            }
        }
    }

    /// One profile per segment, then that of everyone.
    fn summarise(mut self, feature: &str) -> Vec<FeatureProfile> {
        let n_rows = self.values.len();
        let mut rest = self.values.as_mut_slice();
        let (mut parts, mut start) = (Vec::with_capacity(self.counts.len()), 0);
        for (&count, &next) in self.counts.iter().zip(&self.next) {
            let (room, after) = std::mem::take(&mut rest).split_at_mut(count);
            parts.push((count, &mut room[..next - start]));
            rest = after;
            start += count;
        }
        let summaries = parts.into_par_iter().map(|(count, values)| Summary::of(values, count));
        let summaries: Vec<Summary> = summaries.collect();
        let mut end = 0;
        start = 0;
        for (&count, &next) in self.counts.iter().zip(&self.next) {
            self.values.copy_within(start..next, end);
            end += next - start;
            start += count;
        }
        let everyone = Summary::of(&mut self.values[..end], n_rows);
        let overall = everyone.moments.clone();
        let all = summaries.into_iter().chain([everyone]);
        all.map(|summary| summary.against(feature, &overall)).collect()
    }
}

/// What is known of a set of values before it is held against everyone's.
struct Summary {
    moments: Moments,
    median: Option<f64>,
    p10: Option<f64>,
    p90: Option<f64>,
    share_missing: f32,
}

impl Summary {
    /// Of the values that `n_rows` rows have; reorders them.
    fn of(values: &mut [f64], n_rows: usize) -> Self {
        let moments = values.par_chunks(TASK_VALUES).map(|values| {
            let mut moments = Moments::default();
            values.iter().for_each(|&value| moments.add(value));
            moments
        });
        let moments = moments.reduce(Moments::default, |mut a, b| {
            a.merge(&b);
            a
        });
        let n_missing = n_rows - values.len();
        let mut some = |f: &dyn Fn(&mut [f64]) -> f64| (!values.is_empty()).then(|| f(values));
        Self {
            moments,
            median: some(&median),
            p10: some(&|values| quantile(values, 0.1)),
            p90: some(&|values| quantile(values, 0.9)),
            share_missing: n_missing as f32 / n_rows.max(1) as f32,
        }
    }

    fn against(self, feature: &str, overall: &Moments) -> FeatureProfile {
        let mean = (self.moments.n > 0).then(|| self.moments.mean());
        let (centre, spread) = (overall.mean(), overall.std());
        FeatureProfile {
            feature: feature.to_owned(),
            count: self.moments.n,
            mean,
            median: self.median,
            p10: self.p10,
            p90: self.p90,
            share_missing: self.share_missing,
            difference_sd: mean.map(|mean| if spread > 0.0 { (mean - centre) / spread } else { 0.0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
    use arrow::datatypes::Float64Type;

    use super::*;
    use crate::model::fixture::{Cut, customers, preparation};

    fn labels(n: usize) -> Vec<u32> {
        (0..n as u32).map(|row| row * 7 % 5 % 3).collect()
    }

    fn profiled(table: &RecordBatch, labels: &[u32], batch_rows: usize, pass_bytes: usize) -> Profile {
        let source = Cut(table.clone(), batch_rows);
        profile_in_passes(&source, &preparation(&customers(200)), labels, 4, pass_bytes).unwrap()
    }

    /// Linear between ranks, written out.
    fn naive_quantile(sorted: &[f64], q: f64) -> f64 {
        let rank = q * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
        low + (high - low) * rank.fract()
    }

    fn close(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() <= 1e-12 * expected.abs().max(1.0))
    }

    /// Whether `found` is what adding up and sorting the plain way gives.
    fn agrees(found: &FeatureProfile, values: &[Option<f64>], everyone: &[Option<f64>]) -> bool {
        let mean_std = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares = values.iter().map(|v| (v - mean).powi(2));
            (mean, (squares.sum::<f64>() / values.len() as f64).sqrt())
        };
        let mut present: Vec<f64> = values.iter().flatten().copied().collect();
        present.sort_by(f64::total_cmp);
        let (centre, spread) = mean_std(&everyone.iter().flatten().copied().collect::<Vec<_>>());
        let (mean, _) = mean_std(&present);
        found.count == present.len() as u64
            && found.share_missing == (values.len() - present.len()) as f32 / values.len() as f32
            && close(found.mean, mean)
            && close(found.median, naive_quantile(&present, 0.5))
            && close(found.p10, naive_quantile(&present, 0.1))
            && close(found.p90, naive_quantile(&present, 0.9))
            && close(found.difference_sd, (mean - centre) / spread)
    }

    #[test]
    fn a_profile_is_what_plain_arithmetic_gives() {
        let n = 200;
        let (table, labels) = (customers(n), labels(n));
        let profile = profiled(&table, &labels, n, PASS_BYTES);
        let mut faults_seen = 0;
        for (feature, name) in ["age", "visits"].into_iter().enumerate() {
            let column = table.column_by_name(name).unwrap().as_primitive::<Float64Type>();
            let all: Vec<Option<f64>> = column.iter().collect();
            assert!(agrees(&profile.overall[feature], &all, &all));
            for cluster in 0..3 {
                let rows = (0..n).filter(|&row| labels[row] == cluster);
                let values: Vec<_> = rows
                    .map(|row| column.is_valid(row).then(|| column.value(row)))
                    .collect();
                let segment = &profile.segments[cluster as usize];
                assert_eq!(
                    (segment.segment, segment.count),
                    (cluster as i32 + 1, values.len() as u64)
                );
                assert_eq!(segment.share, values.len() as f64 / n as f64);
                let found = &segment.features[feature];
                assert_eq!(found.feature, name);
                assert!(agrees(found, &values, &all));
                // Planted faults: the comparison must see each.
                for fault in [
                    FeatureProfile {
                        count: found.count + 1,
                        ..found.clone()
                    },
                    FeatureProfile {
                        p90: found.p10,
                        ..found.clone()
                    },
                    FeatureProfile {
                        difference_sd: found.difference_sd.map(|d| d + 1e-6),
                        ..found.clone()
                    },
                ] {
                    faults_seen += u32::from(!agrees(&fault, &values, &all));
                }
            }
        }
        assert_eq!(faults_seen, 2 * 3 * 3);
    }

    #[test]
    fn order_batches_and_passes_change_no_bit() {
        let n = 200;
        let (table, labels) = (customers(n), labels(n));
        let whole = profiled(&table, &labels, n, PASS_BYTES);
        assert_eq!(profiled(&table, &labels, 7, 1), whole);
        let turned: UInt32Array = (0..n as u32).rev().collect();
        let turned = arrow::compute::take_record_batch(&table, &turned).unwrap();
        let turned_labels: Vec<u32> = labels.iter().rev().copied().collect();
        assert_eq!(profiled(&turned, &turned_labels, 64, 1), whole);
        assert_ne!(profiled(&turned, &labels, n, PASS_BYTES), whole);
    }

    #[test]
    fn a_segment_without_values_has_no_numbers() {
        let profile = profiled(&customers(200), &labels(200), 200, PASS_BYTES);
        let empty = &profile.segments[3];
        assert_eq!((empty.count, empty.share), (0, 0.0));
        let age = &empty.features[0];
        assert_eq!(
            (age.mean, age.median, age.difference_sd, age.share_missing),
            (None, None, None, 0.0)
        );
        assert_eq!(empty.distinguishing(), []);
        // All ages of the rows 3, 10, 17 are missing.
        let missing = customers(18);
        let labels: Vec<u32> = (0..18).map(|row| u32::from(row % 7 == 3)).collect();
        let age = &profiled(&missing, &labels, 5, 1).segments[1].features[0];
        assert_eq!((age.count, age.mean, age.share_missing), (0, None, 1.0));
    }

    #[test]
    fn what_sets_a_segment_apart_comes_first() {
        let feature = |name: &str, difference_sd| FeatureProfile {
            feature: name.into(),
            count: 1,
            mean: Some(0.0),
            median: None,
            p10: None,
            p90: None,
            share_missing: 0.0,
            difference_sd,
        };
        let segment = SegmentProfile {
            segment: 1,
            count: 1,
            share: 1.0,
            features: vec![
                feature("a", Some(0.5)),
                feature("b", Some(-2.0)),
                feature("c", None),
                feature("d", Some(-0.5)),
            ],
        };
        assert_eq!(segment.distinguishing(), [("b", -2.0), ("a", 0.5), ("d", -0.5)]);
    }

    #[test]
    fn labels_of_other_data_are_refused() {
        let source = Cut(customers(10), 4);
        let preparation = preparation(&customers(200));
        for labels in [vec![0; 9], vec![0; 11], vec![4; 10]] {
            assert!(matches!(
                profile(&source, &preparation, &labels, 4),
                Err(Error::Internal(_))
            ));
        }
    }
}
