//! What each segment is like, feature by feature, in original units.

use arrow::datatypes::DataType;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::features::{FeatureColumn, FeaturePreparation, Preparation, decode, fits_f32, without_repeats};
use crate::num::Moments;
use crate::num::quantile::{Buckets, Cell, Deciles, Histogram, Selection};
use crate::sys::{Plain, zeros};

/// Memory for decoded columns, where more than one is decoded in a pass over the data.
const PASS_BYTES: usize = 256 << 20;
/// Values that are added up at a time.
const RUN: usize = 1 << 10;
/// So many values of a segment are selected from as they are.
const FEW_VALUES: usize = 1 << 13;

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
/// feature takes 4 bytes per row where its type fits `f32`, else 8.
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
    // Per feature: all segments, then everyone.
    let mut by_feature: Vec<Vec<FeatureProfile>> = Vec::with_capacity(columns.len());
    let mut rooms = Rooms::default();
    let mut done = 0;
    while done < columns.len() {
        let types = columns[done..]
            .iter()
            .map(|column| source.schema().field(column.index()).data_type());
        let mut groups = rooms.groups(types, &counts, pass_bytes)?;
        let pass = done..done + groups.len();
        group(
            source,
            &preparation.features[pass.clone()],
            &columns[pass.clone()],
            labels,
            n_segments,
            &mut groups,
        )?;
        let features = preparation.features[pass.clone()].par_iter().zip(&mut groups);
        let summaries = features.map(|(feature, group)| group.summarise(&feature.name(), &counts));
        by_feature.extend(summaries.collect::<Vec<_>>());
        rooms.take_back(groups);
        done = pass.end;
    }
    Ok(assemble(by_feature, &counts, n_rows))
}

/// Reads some columns and puts their values into groups.
fn group(
    source: &dyn BatchSource,
    features: &[FeaturePreparation],
    columns: &[FeatureColumn],
    labels: &[u32],
    n_segments: usize,
    groups: &mut [Group],
) -> Result<()> {
    let mut n_read = 0;
    let mut order = Order::new(n_segments);
    let (columns, places) = without_repeats(columns);
    let columns: Vec<usize> = columns.iter().map(|column| column.index()).collect();
    source.scan(&columns, &mut |first_row, batch| {
        let labels = labels
            .get(first_row..first_row + batch.num_rows())
            .ok_or_else(other_data)?;
        n_read += labels.len();
        order.set(labels);
        let cells = features.par_iter().zip(groups.par_iter_mut()).zip(&places);
        let placed: Vec<_> = cells
            .map(|((feature, group), &at)| {
                decode(batch.column(at), &feature.kind).map(|values| group.place(&order, &values))
            })
            .collect();
        for (feature, placed) in features.iter().zip(placed) {
            placed.map_err(|bad| {
                let (file, row) = source.locate(first_row + bad.index);
                Error::BadValue {
                    file,
                    column: feature.column.clone(),
                    row: row + 1,
                    problem: bad.problem,
                }
            })?;
        }
        Ok(())
    })?;
    if n_read == labels.len() {
        Ok(())
    } else {
        Err(other_data())
    }
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

/// The rows of a batch by segment, so that what belongs together is written together.
struct Order {
    /// The segments that occur, and the end of their rows in `rows`.
    runs: Vec<(usize, usize)>,
    rows: Vec<u32>,
    /// For each segment where its next row goes; 0 between batches.
    next: Vec<u32>,
}

impl Order {
    fn new(n_segments: usize) -> Self {
        Self {
            runs: Vec::new(),
            rows: Vec::new(),
            next: vec![0; n_segments],
        }
    }

    /// Of a batch with these labels.
    fn set(&mut self, labels: &[u32]) {
        self.runs.clear();
        for &label in labels {
            let count = &mut self.next[label as usize];
            if *count == 0 {
                self.runs.push((label as usize, 0));
            }
            *count += 1;
        }
        let mut end = 0;
        for (label, run_end) in &mut self.runs {
            let next = &mut self.next[*label];
            (*next, end) = (end, end + *next);
            *run_end = end as usize;
        }
        self.rows.resize(labels.len(), 0);
        for (row, &label) in (0..).zip(labels) {
            let next = &mut self.next[label as usize];
            self.rows[*next as usize] = row;
            *next += 1;
        }
        self.runs.iter().for_each(|&(label, _)| self.next[label] = 0);
    }

    /// Each segment that occurs with its rows.
    fn runs(&self) -> impl Iterator<Item = (usize, &[u32])> {
        let starts = std::iter::once(0).chain(self.runs.iter().map(|&(_, end)| end));
        starts
            .zip(&self.runs)
            .map(|(start, &(label, end))| (label, &self.rows[start..end]))
    }
}

/// The values of one feature, in `f32` where its type says that they all fit.
enum Group {
    Narrow(Grouped<f32>),
    Wide(Grouped<f64>),
}

impl Group {
    fn place(&mut self, order: &Order, values: &[f64]) {
        match self {
            Self::Narrow(grouped) => grouped.place(order, values),
            Self::Wide(grouped) => grouped.place(order, values),
        }
    }

    fn summarise(&mut self, feature: &str, counts: &[usize]) -> Vec<FeatureProfile> {
        match self {
            Self::Narrow(grouped) => grouped.summarise(feature, counts),
            Self::Wide(grouped) => grouped.summarise(feature, counts),
        }
    }
}

/// Room for values, used again from pass to pass.
#[derive(Default)]
struct Rooms {
    narrow: Vec<Vec<f32>>,
    wide: Vec<Vec<f64>>,
}

impl Rooms {
    /// Groups for the first of the columns of these types, at least one, and as many as fit into `bytes`.
    fn groups<'t>(
        &mut self,
        types: impl Iterator<Item = &'t DataType>,
        counts: &[usize],
        bytes: usize,
    ) -> Result<Vec<Group>> {
        let n_rows: usize = counts.iter().sum();
        let (mut groups, mut taken) = (Vec::new(), 0);
        for data_type in types {
            let narrow = fits_f32(data_type);
            taken += n_rows * if narrow { size_of::<f32>() } else { size_of::<f64>() };
            if taken > bytes && !groups.is_empty() {
                break;
            }
            groups.push(if narrow {
                Group::Narrow(Grouped::new(self.narrow.pop(), counts)?)
            } else {
                Group::Wide(Grouped::new(self.wide.pop(), counts)?)
            });
        }
        Ok(groups)
    }

    fn take_back(&mut self, groups: Vec<Group>) {
        for group in groups {
            match group {
                Group::Narrow(grouped) => self.narrow.push(grouped.values),
                Group::Wide(grouped) => self.wide.push(grouped.values),
            }
        }
    }
}

/// The values of one feature, those of a segment side by side.
struct Grouped<V> {
    /// Room for every row, segment after segment; the values of a segment come first in its room.
    values: Vec<V>,
    /// Where the next value of each segment goes.
    next: Vec<usize>,
}

impl<V: Cell + Plain> Grouped<V> {
    fn new(room: Option<Vec<V>>, counts: &[usize]) -> Result<Self> {
        let n_rows: usize = counts.iter().sum();
        let values = room.or_else(|| zeros(n_rows)).ok_or_else(|| Error::OutOfMemory {
            what: "the profile of one feature".into(),
            bytes: (n_rows * size_of::<V>()) as u64,
        })?;
        let mut end = 0;
        let next = counts.iter().map(|count| {
            end += count;
            end - count
        });
        Ok(Self {
            values,
            next: next.collect(),
        })
    }

    fn place(&mut self, order: &Order, values: &[f64]) {
        let some_missing = values.iter().fold(false, |some, v| some | v.is_nan());
        for (label, rows) in order.runs() {
            let next = &mut self.next[label];
            let room = &mut self.values[*next..];
            if some_missing {
                let present = rows.iter().map(|&row| values[row as usize]).filter(|v| !v.is_nan());
                let placed = room.iter_mut().zip(present).map(|(cell, v)| *cell = V::of(v));
                *next += placed.count();
            } else {
                let room = room.iter_mut().zip(rows);
                room.for_each(|(cell, &row)| *cell = V::of(values[row as usize]));
                *next += rows.len();
            }
        }
    }

    /// The values of each segment.
    fn segments(&mut self, counts: &[usize]) -> Vec<&mut [V]> {
        let mut rest = self.values.as_mut_slice();
        let (mut segments, mut start) = (Vec::with_capacity(counts.len()), 0);
        for (&count, &next) in counts.iter().zip(&self.next) {
            let (room, after) = std::mem::take(&mut rest).split_at_mut(count);
            segments.push(&mut room[..next - start]);
            rest = after;
            start += count;
        }
        segments
    }

    /// One profile per segment, then that of everyone. Reorders values.
    fn summarise(&mut self, feature: &str, counts: &[usize]) -> Vec<FeatureProfile> {
        let n_rows = counts.iter().sum();
        let mut segments = self.segments(counts);
        let buckets = buckets(&segments);
        let first_look = { segments.par_iter() }
            .fold(FirstLook::empty, |look, values| look.with(values, &buckets))
            .reduce(FirstLook::empty, FirstLook::followed_by);
        let (centre, spread) = (first_look.moments.mean(), first_look.moments.std());
        let everyone = || (Selection::new(&buckets, &first_look.histogram), Vec::new());
        let (everyone, deciles) = { segments.par_iter_mut().zip(&first_look.segments) }
            .fold(everyone, |(mut everyone, mut deciles), (values, counted)| {
                deciles.push(counted.deciles(values, &buckets, &mut everyone));
                (everyone, deciles)
            })
            .reduce(everyone, |(mut everyone, mut deciles), (other, mut others)| {
                everyone.merge(other);
                deciles.append(&mut others);
                (everyone, deciles)
            });
        let all = Counted::without_histogram(&first_look.moments);
        let counted = first_look.segments.iter().chain([&all]);
        let deciles = deciles.into_iter().chain([everyone.deciles()]);
        let n_rows = counts.iter().copied().chain([n_rows]);
        { counted.zip(deciles).zip(n_rows) }
            .map(|((counted, deciles), n_rows)| FeatureProfile {
                feature: feature.to_owned(),
                count: counted.n,
                mean: counted.mean,
                median: deciles.map(|deciles| deciles.median),
                p10: deciles.map(|deciles| deciles.p10),
                p90: deciles.map(|deciles| deciles.p90),
                share_missing: (n_rows - counted.n as usize) as f32 / n_rows.max(1) as f32,
                difference_sd: { counted.mean }.map(|mean| if spread > 0.0 { (mean - centre) / spread } else { 0.0 }),
            })
            .collect()
    }
}

/// Buckets for all values together.
fn buckets<V: Cell>(segments: &[&mut [V]]) -> Buckets {
    let mut ends = Vec::with_capacity(segments.len());
    let mut end = 0;
    for segment in segments {
        end += segment.len();
        ends.push(end);
    }
    Buckets::of(end, |at| {
        let segment = ends.partition_point(|&end| end <= at);
        segments[segment][at + segments[segment].len() - ends[segment]].value()
    })
}

/// What a first look at the values of some segments gives.
struct FirstLook {
    /// Of all of them together.
    moments: Moments,
    histogram: Histogram,
    segments: Vec<Counted>,
}

impl FirstLook {
    fn empty() -> Self {
        Self {
            moments: Moments::default(),
            histogram: Histogram::empty(),
            segments: Vec::new(),
        }
    }

    /// With one more segment, of these values.
    fn with<V: Cell>(mut self, values: &[V], buckets: &Buckets) -> Self {
        let (mut moments, mut run) = (Moments::default(), Vec::with_capacity(RUN));
        for values in values.chunks(RUN) {
            run.clear();
            run.extend(values.iter().map(|v| v.value()));
            moments.add_all(&run);
        }
        self.moments.merge(&moments);
        let mut counted = Counted::without_histogram(&moments);
        if values.len() > FEW_VALUES {
            let mut histogram = Histogram::empty();
            histogram.add(buckets, values);
            self.histogram.merge(&histogram);
            counted.histogram = Some(histogram);
        } else {
            self.histogram.add(buckets, values);
        }
        self.segments.push(counted);
        self
    }

    fn followed_by(mut self, mut other: Self) -> Self {
        self.moments.merge(&other.moments);
        self.histogram.merge(&other.histogram);
        self.segments.append(&mut other.segments);
        self
    }
}

/// What a first look at one segment's values gives.
struct Counted {
    n: u64,
    mean: Option<f64>,
    /// Where there are so many values that selecting among all of them costs more.
    histogram: Option<Histogram>,
}

impl Counted {
    fn without_histogram(moments: &Moments) -> Self {
        Self {
            n: moments.n,
            mean: (moments.n > 0).then(|| moments.mean()),
            histogram: None,
        }
    }

    /// Of the same values, which may be reordered, and which are shown to `everyone`.
    fn deciles<V: Cell>(&self, values: &mut [V], buckets: &Buckets, everyone: &mut Selection<V>) -> Option<Deciles> {
        match &self.histogram {
            None => {
                everyone.add(buckets, values);
                Deciles::of(values)
            }
            Some(histogram) => {
                let mut own = Selection::new(buckets, histogram);
                own.add_with(everyone, buckets, values);
                own.deciles()
            }
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
    fn large_segments_and_small_ones_are_told_the_same_way() {
        use crate::features::{FeatureOptions, learn};
        use crate::num::quantile::{median, quantile};
        use arrow::array::{Float32Array, Float64Array, Int16Array};
        use std::sync::Arc;
        let n = 60_000;
        let mut rng = crate::rng::Rng::new(3, 0);
        let mut uniform = || rng.below(1 << 20) as f64 / f64::from(1 << 20);
        let narrow: Float32Array = (0..n)
            .map(|i| (i % 11 != 0).then(|| (uniform() * 9.0).exp() as f32))
            .collect();
        let wide: Float64Array = (0..n)
            .map(|i| (i % 4 == 0).then(|| uniform() / 3.0 - 0.1).or(Some(0.0)))
            .collect();
        let few: Int16Array = (0..n).map(|_| Some((uniform() * uniform() * 9.0) as i16)).collect();
        let table = RecordBatch::try_from_iter([
            ("narrow", Arc::new(narrow) as Arc<dyn Array>),
            ("wide", Arc::new(wide)),
            ("few", Arc::new(few)),
        ])
        .unwrap();
        let labels: Vec<u32> = (0..n as u32)
            .map(|row| if row % 3 > 0 { 0 } else { 1 + row % 400 / 100 })
            .collect();
        let source = Cut(table.clone(), 7000);
        let preparation = learn(&source, &FeatureOptions::default()).unwrap().preparation;
        let found = profile_in_passes(&source, &preparation, &labels, 5, 1 << 19).unwrap();
        for (feature, array) in table.columns().iter().enumerate() {
            let values = decode(array, &preparation.features[feature].kind).unwrap();
            for cluster in 0..6 {
                let rows = (0..n).filter(|&row| cluster == 5 || labels[row] == cluster);
                let mut own: Vec<f64> = rows.map(|row| values[row]).filter(|v| !v.is_nan()).collect();
                let mut moments = Moments::default();
                own.iter().for_each(|&v| moments.add(v));
                let plain = (
                    own.len() as u64,
                    Some(moments.mean()),
                    Some(median(&mut own)),
                    Some(quantile(&mut own, 0.1)),
                    Some(quantile(&mut own, 0.9)),
                );
                let told = found.segments.get(cluster as usize).map(|segment| &segment.features);
                let told = &told.unwrap_or(&found.overall)[feature];
                assert_eq!((told.count, told.mean, told.median, told.p10, told.p90), plain);
            }
        }
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
