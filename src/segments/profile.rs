//! What each segment is like, feature by feature, in original units.

use arrow::datatypes::DataType;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bins::{self, Spread};
use super::effect::Group;
use super::told::{self, FeatureFigures, Figures};
use crate::cells::{Count, MIN_CELL, MinCell};
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::features::{BadCell, FeatureColumn, FeaturePreparation, Preparation, decode, fits_f32, without_repeats};
use crate::num::Moments;
use crate::num::quantile::{Buckets, Cell, Deciles, Histogram, Selection, median};
use crate::sys::{Plain, zeros};

/// Memory for decoded columns, where more than one is decoded in a pass over the data.
const PASS_BYTES: usize = 256 << 20;
/// Values that are added up at a time.
const RUN: usize = 1 << 10;
/// Of more segments there are no histograms: they would take more memory than the figures.
const MOST_WITH_HISTOGRAMS: usize = 256;
/// So many values of a segment are selected from as they are.
const FEW_VALUES: usize = 1 << 13;

/// What the segments are like, as it may be told: see [`crate::cells`]. The same for any order of the rows; weights play
/// no part in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Segments in order of their number.
    pub segments: Vec<SegmentProfile>,
    /// All rows together: one entry per feature, `difference_sd` 0.
    pub overall: Vec<FeatureProfile>,
    /// Per feature the borders of the bins of its histograms, rising, in its units: below the first, from each to below
    /// the next, from the last on.
    pub edges: Vec<Vec<f64>>,
}

impl Profile {
    /// Whether all values of a feature are 0 or 1, so that its mean is a share of rows.
    #[must_use]
    pub fn is_flag(&self, feature: usize) -> bool {
        self.edges.get(feature).is_some_and(|edges| edges[..] == [0.5])
    }
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentProfile {
    /// Its number, from 1.
    pub segment: i32,
    /// Rows in it.
    pub count: Count,
    /// Share of all rows; `None` where the number is not told.
    pub share: Option<f64>,
    /// One entry per feature, in the model's order.
    pub features: Vec<FeatureProfile>,
}

/// One feature in one segment, in original units (dates as days before the newest value). Missing values are left out.
/// `None` where no row has a value, and where figures are not told as too few rows stand behind them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureProfile {
    /// The column.
    pub feature: String,
    /// Rows that have a value.
    pub count: Count,
    /// Mean, rounded once from the exact sum; of a level or truth value, the share of rows that have it.
    pub mean: Option<f64>,
    /// Of a share that is not told, the least and the most that it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_bounds: Option<[f64; 2]>,
    /// Standard deviation of the population, rounded once.
    pub std: Option<f64>,
    /// The middle value, or the mean of the two middle ones.
    pub median: Option<f64>,
    /// The value that a tenth of the rows lie below (linear between ranks).
    pub p10: Option<f64>,
    /// The value that nine tenths of the rows lie below (linear between ranks).
    pub p90: Option<f64>,
    /// Share of rows without a value.
    pub share_missing: Option<f32>,
    /// Mean here less mean of all rows, in standard deviations of all rows; 0 where all values are equal.
    pub difference_sd: Option<f64>,
    /// What holds that difference with 95 % confidence, least and most; from 11 values on.
    pub difference_interval: Option<[f64; 2]>,
    /// The middle value of the 11 rows nearest to the centroid, to three digits.
    pub typical: Option<f64>,
    /// Rows in each bin, see [`Profile::edges`]; of a level or truth value, without it and with it. Empty where there are
    /// more than 256 segments.
    pub histogram: Vec<Count>,
}

impl Default for FeatureProfile {
    fn default() -> Self {
        Self {
            feature: String::new(),
            count: Count::Exact(0),
            mean: None,
            mean_bounds: None,
            std: None,
            median: None,
            p10: None,
            p90: None,
            share_missing: None,
            difference_sd: None,
            difference_interval: None,
            typical: None,
            histogram: Vec::new(),
        }
    }
}

impl FeatureProfile {
    /// Whether something is not told of it that a segment of `n_rows` rows has.
    #[must_use]
    pub fn is_withheld(&self, n_rows: Count) -> bool {
        let is_some = |count: Count| count.bounds()[1] > 0;
        let counts = self.histogram.iter().chain([&self.count, &n_rows]);
        { counts }.any(|count| count.exact().is_none()) || (self.mean.is_none() && is_some(self.count))
    }

    /// The mean, or the middle of what a share can be.
    #[must_use]
    pub fn about(&self) -> Option<f64> {
        let middle = |[low, high]: [f64; 2]| f64::midpoint(low, high);
        self.mean.or_else(|| self.mean_bounds.map(middle))
    }
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
/// feature takes 4 bytes per row where its type fits `f32`, else 8. `typical` names the most typical rows of each
/// segment, see [`super::typical_rows`]; their middle values are told where there are at least [`MIN_CELL`] of them, and no fewer than `min_cell`.
///
/// # Errors
/// Those of reading and decoding, [`Error::OutOfMemory`], and [`Error::Internal`] where `labels` are not those of
/// this data.
pub fn profile(
    source: &dyn BatchSource,
    preparation: &Preparation,
    labels: &[u32],
    n_segments: usize,
    typical: &[Vec<usize>],
    min_cell: MinCell,
) -> Result<Profile> {
    let typical = Marked::new(typical, n_segments, MIN_CELL.max(min_cell.get()));
    let (figures, sizes) = figures_in_passes(source, preparation, labels, n_segments, &typical, PASS_BYTES)?;
    Ok(told::profile(preparation, figures, &sizes, min_cell))
}

/// The exact figures of each feature, and the sizes of the segments.
fn figures_in_passes(
    source: &dyn BatchSource,
    preparation: &Preparation,
    labels: &[u32],
    n_segments: usize,
    typical: &Marked,
    pass_bytes: usize,
) -> Result<(Vec<FeatureFigures>, Vec<u64>)> {
    let mut counts = vec![0usize; n_segments];
    for &label in labels {
        *counts.get_mut(label as usize).ok_or_else(other_data)? += 1;
    }
    let columns = preparation.columns_in(source.schema())?;
    let mut by_feature: Vec<FeatureFigures> = Vec::with_capacity(columns.len());
    let mut rooms = Rooms::default();
    while by_feature.len() < columns.len() {
        let done = by_feature.len();
        let types = columns[done..]
            .iter()
            .map(|column| source.schema().field(column.index()).data_type());
        let mut groups = rooms.groups(types, &counts, pass_bytes)?;
        let features = &preparation.features[done..done + groups.len()];
        let of_typical = group(
            source,
            features,
            &columns[done..done + groups.len()],
            labels,
            n_segments,
            typical,
            &mut groups,
        )?;
        let features = features.par_iter().zip(&mut groups).zip(of_typical);
        let figures = features.map(|((feature, group), of_typical)| {
            let mut figures = group.summarise(feature, &counts);
            let middles = typical.middles(&of_typical);
            figures
                .rows
                .iter_mut()
                .zip(middles)
                .for_each(|(own, middle)| own.typical = middle);
            figures
        });
        by_feature.extend(figures.collect::<Vec<_>>());
        rooms.take_back(groups);
    }
    Ok((by_feature, counts.into_iter().map(|count| count as u64).collect()))
}

/// The most typical rows of all segments, in the order in which they are read.
struct Marked {
    /// Row, and place of its value: segment after segment.
    rows: Vec<(usize, usize)>,
    /// Per segment where its values end.
    ends: Vec<usize>,
}

impl Marked {
    fn new(typical: &[Vec<usize>], n_segments: usize, least: u64) -> Self {
        let (mut rows, mut ends) = (Vec::new(), Vec::with_capacity(n_segments));
        for segment in 0..n_segments {
            let of_segment = typical.get(segment).filter(|rows| rows.len() as u64 >= least);
            rows.extend(
                of_segment
                    .into_iter()
                    .flatten()
                    .zip(rows.len()..)
                    .map(|(&row, place)| (row, place)),
            );
            ends.push(rows.len());
        }
        rows.sort_unstable();
        Self { rows, ends }
    }

    /// Takes the values of a batch that are wanted.
    fn take(&self, first_row: usize, values: &[f64], into: &mut [f64]) {
        let from = self.rows.partition_point(|&(row, _)| row < first_row);
        let of_batch = self.rows[from..]
            .iter()
            .take_while(|&&(row, _)| row < first_row + values.len());
        of_batch.for_each(|&(row, place)| into[place] = values[row - first_row]);
    }

    /// Per segment the middle value, to three digits; `None` where fewer than half the rows have one.
    fn middles(&self, values: &[f64]) -> Vec<Option<f64>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let middle = |(start, &end): (usize, &usize)| {
            let mut present: Vec<f64> = values[start..end].iter().copied().filter(|v| !v.is_nan()).collect();
            let told = !present.is_empty() && 2 * present.len() >= end - start;
            told.then(|| format!("{:.2e}", median(&mut present)).parse().expect("a number"))
        };
        starts.zip(&self.ends).map(middle).collect()
    }
}

/// Reads some columns and puts their values into groups; gives back those of the most typical rows.
fn group(
    source: &dyn BatchSource,
    features: &[FeaturePreparation],
    columns: &[FeatureColumn],
    labels: &[u32],
    n_segments: usize,
    typical: &Marked,
    groups: &mut [Room],
) -> Result<Vec<Vec<f64>>> {
    let mut n_read = 0;
    let mut of_typical = vec![vec![f64::NAN; typical.rows.len()]; groups.len()];
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
        let placed: Vec<_> = { cells.zip(&mut of_typical) }
            .map(|(((feature, group), &at), of_typical)| {
                let values = decode(batch.column(at), &feature.kind)?;
                typical.take(first_row, &values, of_typical);
                group.place(&order, &values);
                Ok(())
            })
            .collect();
        for (feature, placed) in features.iter().zip(placed) {
            placed.map_err(|bad: BadCell| {
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
        Ok(of_typical)
    } else {
        Err(other_data())
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
enum Room {
    Narrow(Grouped<f32>),
    Wide(Grouped<f64>),
}

impl Room {
    fn place(&mut self, order: &Order, values: &[f64]) {
        match self {
            Self::Narrow(grouped) => grouped.place(order, values),
            Self::Wide(grouped) => grouped.place(order, values),
        }
    }

    fn summarise(&mut self, feature: &FeaturePreparation, counts: &[usize]) -> FeatureFigures {
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
    ) -> Result<Vec<Room>> {
        let n_rows: usize = counts.iter().sum();
        let (mut groups, mut taken) = (Vec::new(), 0);
        for data_type in types {
            let narrow = fits_f32(data_type);
            taken += n_rows * if narrow { size_of::<f32>() } else { size_of::<f64>() };
            if taken > bytes && !groups.is_empty() {
                break;
            }
            groups.push(if narrow {
                Room::Narrow(Grouped::new(self.narrow.pop(), counts)?)
            } else {
                Room::Wide(Grouped::new(self.wide.pop(), counts)?)
            });
        }
        Ok(groups)
    }

    fn take_back(&mut self, groups: Vec<Room>) {
        for group in groups {
            match group {
                Room::Narrow(grouped) => self.narrow.push(grouped.values),
                Room::Wide(grouped) => self.wide.push(grouped.values),
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

    /// Figures of each segment, then of everyone. Reorders values.
    fn summarise(&mut self, feature: &FeaturePreparation, counts: &[usize]) -> FeatureFigures {
        let mut segments = self.segments(counts);
        let buckets = buckets(&segments);
        let first_look = { segments.par_iter() }
            .fold(FirstLook::empty, |look, values| look.with(values, &buckets))
            .reduce(FirstLook::empty, FirstLook::followed_by);
        let everyone = || (Selection::new(&buckets, &first_look.histogram), Vec::new());
        let (everyone, mut deciles) = { segments.par_iter_mut().zip(&first_look.segments) }
            .fold(everyone, |(mut everyone, mut deciles), (values, counted)| {
                deciles.push(counted.deciles(values, &buckets, &mut everyone));
                (everyone, deciles)
            })
            .reduce(everyone, |(mut everyone, mut deciles), (other, mut others)| {
                everyone.merge(other);
                deciles.append(&mut others);
                (everyone, deciles)
            });
        let of_all = everyone.deciles();
        deciles.push(of_all);
        let all = Counted::without_histogram(&first_look.moments);
        // A coordinate has no distribution that says something to people.
        let is_coordinate = feature.kind.is_coordinate();
        let is_flag = !is_coordinate
            && segments
                .par_iter()
                .all(|values| values.iter().all(|v| [0.0, 1.0].contains(&v.value())));
        let edges = match of_all.zip(all.group) {
            _ if is_coordinate => Vec::new(),
            _ if is_flag => vec![0.5],
            Some((deciles, group)) if counts.len() <= MOST_WITH_HISTOGRAMS => {
                let Deciles { p01, p99, .. } = deciles;
                let (mean, std) = (group.mean, group.std);
                bins::edges(feature, Spread { p01, p99, mean, std })
            }
            _ => Vec::new(),
        };
        let mut bins: Vec<Vec<u64>> = segments.par_iter().map(|values| bins::count(values, &edges)).collect();
        bins.push(
            (0..=edges.len())
                .map(|bin| bins.iter().map(|bins| bins[bin]).sum())
                .collect(),
        );
        let counted = first_look.segments.iter().chain([&all]);
        let rows = counted
            .zip(deciles)
            .zip(bins)
            .map(|((counted, deciles), bins)| Figures {
                group: counted.group,
                deciles,
                bins,
                typical: None,
            });
        FeatureFigures {
            rows: rows.collect(),
            edges,
            is_flag,
        }
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
    group: Option<Group>,
    /// Where there are so many values that selecting among all of them costs more.
    histogram: Option<Histogram>,
}

impl Counted {
    fn without_histogram(moments: &Moments) -> Self {
        Self {
            group: (moments.n > 0).then(|| Group {
                n: moments.n,
                mean: moments.mean(),
                std: moments.std(),
            }),
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
        told_in_passes(
            &source,
            &preparation(&customers(200)),
            labels,
            4,
            pass_bytes,
            MinCell::new(1),
        )
    }

    fn told_in_passes(
        source: &Cut,
        preparation: &Preparation,
        labels: &[u32],
        n_segments: usize,
        pass_bytes: usize,
        min_cell: MinCell,
    ) -> Profile {
        // Every third row of a segment, as if these were the most typical.
        let of_segment = |segment: usize| {
            (0..labels.len())
                .filter(move |&row| labels[row] as usize == segment)
                .step_by(3)
        };
        let typical: Vec<Vec<usize>> = (0..n_segments).map(|segment| of_segment(segment).collect()).collect();
        let typical = Marked::new(&typical, n_segments, MIN_CELL);
        let (figures, sizes) =
            figures_in_passes(source, preparation, labels, n_segments, &typical, pass_bytes).unwrap();
        told::profile(preparation, figures, &sizes, min_cell)
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
    fn agrees(found: &FeatureProfile, values: &[Option<f64>], everyone: &[Option<f64>], edges: &[f64]) -> bool {
        let place = |v: f64, edges: &[f64]| edges.iter().filter(|edge| v >= **edge).count();
        let mean_std = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares = values.iter().map(|v| (v - mean).powi(2));
            (mean, (squares.sum::<f64>() / values.len() as f64).sqrt())
        };
        let mut present: Vec<f64> = values.iter().flatten().copied().collect();
        present.sort_by(f64::total_cmp);
        let (centre, spread) = mean_std(&everyone.iter().flatten().copied().collect::<Vec<_>>());
        let (mean, _) = mean_std(&present);
        let (_, std) = mean_std(&present);
        let bins: Vec<u64> = found.histogram.iter().map(|count| count.exact().unwrap()).collect();
        let in_bins = (0..bins.len()).map(|bin| present.iter().filter(|v| place(**v, edges) == bin).count() as u64);
        found.count == Count::Exact(present.len() as u64)
            && found.share_missing == Some((values.len() - present.len()) as f32 / values.len() as f32)
            && in_bins.eq(bins.iter().copied())
            && close(found.std, std)
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
            let edges = &profile.edges[feature];
            assert!(edges.len() > 3, "{edges:?}");
            assert!(agrees(&profile.overall[feature], &all, &all, edges));
            for cluster in 0..3 {
                let rows = (0..n).filter(|&row| labels[row] == cluster);
                let values: Vec<_> = rows
                    .map(|row| column.is_valid(row).then(|| column.value(row)))
                    .collect();
                let segment = &profile.segments[cluster as usize];
                assert_eq!(
                    (segment.segment, segment.count),
                    (cluster as i32 + 1, Count::Exact(values.len() as u64))
                );
                assert_eq!(segment.share, Some(values.len() as f64 / n as f64));
                let found = &segment.features[feature];
                assert_eq!(found.feature, name);
                assert!(agrees(found, &values, &all, edges));
                let mut typical: Vec<f64> = values.iter().step_by(3).flatten().copied().collect();
                let typical = crate::num::quantile::median(&mut typical);
                assert!(
                    (found.typical.unwrap() / typical - 1.0).abs() < 5e-3,
                    "{typical} {found:?}"
                );
                // Planted faults: the comparison must see each.
                for fault in [
                    FeatureProfile {
                        count: found.count.plus(Count::Exact(1)),
                        ..found.clone()
                    },
                    FeatureProfile {
                        histogram: [&[Count::Exact(999)], &found.histogram[1..]].concat(),
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
                    faults_seen += u32::from(!agrees(&fault, &values, &all, edges));
                }
            }
        }
        assert_eq!(faults_seen, 2 * 3 * 4);
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
        let mut of_turned = profiled(&turned, &turned_labels, 64, 1);
        // Other rows are every third one.
        let both = of_turned.segments.iter_mut().zip(&whole.segments);
        for (own, other) in both.flat_map(|(own, other)| own.features.iter_mut().zip(&other.features)) {
            own.typical = other.typical;
        }
        assert_eq!(of_turned, whole);
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
        let found = told_in_passes(&source, &preparation, &labels, 5, 1 << 19, MinCell::new(1));
        for (feature, array) in table.columns().iter().enumerate() {
            let values = decode(array, &preparation.features[feature].kind).unwrap();
            for cluster in 0..6 {
                let rows = (0..n).filter(|&row| cluster == 5 || labels[row] == cluster);
                let mut own: Vec<f64> = rows.map(|row| values[row]).filter(|v| !v.is_nan()).collect();
                let mut moments = Moments::default();
                own.iter().for_each(|&v| moments.add(v));
                let plain = (
                    Count::Exact(own.len() as u64),
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
        assert_eq!((empty.count, empty.share), (Count::Exact(0), Some(0.0)));
        let age = &empty.features[0];
        assert_eq!(
            (age.mean, age.median, age.difference_sd, age.share_missing),
            (None, None, None, Some(0.0))
        );
        assert_eq!(empty.distinguishing(), []);
        // All ages of the rows 3, 10, 17 are missing.
        let missing = customers(18);
        let labels: Vec<u32> = (0..18).map(|row| u32::from(row % 7 == 3)).collect();
        let age = &profiled(&missing, &labels, 5, 1).segments[1].features[0];
        assert_eq!(
            (age.count, age.mean, age.share_missing),
            (Count::Exact(0), None, Some(1.0))
        );
    }

    #[test]
    fn what_sets_a_segment_apart_comes_first() {
        let feature = |name: &str, difference_sd| FeatureProfile {
            feature: name.into(),
            mean: Some(0.0),
            difference_sd,
            ..FeatureProfile::default()
        };
        let segment = SegmentProfile {
            segment: 1,
            count: Count::Exact(1),
            share: Some(1.0),
            features: vec![
                feature("a", Some(0.5)),
                feature("b", Some(-2.0)),
                feature("c", None),
                feature("d", Some(-0.5)),
            ],
        };
        assert_eq!(segment.distinguishing(), [("b", -2.0), ("a", 0.5), ("d", -0.5)]);
    }

    /// A level that 4 rows have, and a segment of 7 rows.
    #[test]
    fn few_rows_are_not_told() {
        use crate::features::{FeatureOptions, learn};
        use arrow::array::{Array, BooleanArray, Float64Array, StringArray};
        use std::sync::Arc;
        let n = 407;
        let labels: Vec<u32> = (0..n as u32).map(|row| if row >= 400 { 2 } else { row % 2 }).collect();
        let plan = (0..n).map(|row| {
            if row < 8 && row % 2 == 0 {
                "rare"
            } else {
                ["gold", "free"][row / 3 % 2]
            }
        });
        let trial = (0..n).map(|row| Some(row % 50 == 0));
        let spend = (0..n).map(|row| (row % 97 != 1).then_some((row * row % 89) as f64));
        let table = RecordBatch::try_from_iter([
            ("plan", Arc::new(StringArray::from_iter_values(plan)) as Arc<dyn Array>),
            ("trial", Arc::new(BooleanArray::from_iter(trial))),
            ("spend", Arc::new(Float64Array::from_iter(spend))),
        ])
        .unwrap();
        let source = Cut(table, n);
        let preparation = learn(&source, &FeatureOptions::default()).unwrap().preparation;
        let told = |min_cell| told_in_passes(&source, &preparation, &labels, 3, PASS_BYTES, MinCell::new(min_cell));
        let (all, told) = (told(1), told(11));
        assert_eq!(all.segments[2].count, Count::Exact(7));
        assert_eq!(
            (told.segments[2].count, told.segments[2].share),
            (Count::Between(1, 10), None)
        );
        assert_eq!(told.segments[0].count, Count::Between(197, 206), "one of both others");
        let small = &told.segments[2];
        for feature in &small.features {
            let figures = [feature.mean, feature.std, feature.median, feature.p10, feature.p90];
            assert_eq!(figures, [None; 5], "{feature:?}");
            assert!(feature.typical.is_none() && feature.difference_sd.is_none() && feature.is_withheld(small.count));
            assert!(feature.histogram.iter().all(|count| count.exact().is_none()));
        }
        let mut n_withheld = 0;
        for (own, exact) in told.segments.iter().zip(&all.segments) {
            for (own, exact) in own.features.iter().zip(&exact.features) {
                let share = exact.histogram[1].share_of(exact.count);
                if let Some([low, high]) = own.mean_bounds {
                    assert!(low <= share.unwrap() && share.unwrap() <= high, "{own:?}");
                    assert!(own.mean.is_none() && own.median.is_none() && own.difference_sd.is_none());
                    n_withheld += 1;
                }
                for (told, exact) in own.histogram.iter().zip(&exact.histogram) {
                    let n = exact.exact().unwrap();
                    let [low, high] = told.bounds();
                    assert!(low <= n && n <= high && (told.exact().is_none() || n == 0 || n >= 11));
                }
            }
        }
        assert!(n_withheld > 6, "{n_withheld}");
        let spend = told.segments[1].features.last().unwrap();
        assert!(spend.mean.is_some() && spend.difference_interval.is_some());
    }

    #[test]
    fn labels_of_other_data_are_refused() {
        let source = Cut(customers(10), 4);
        let preparation = preparation(&customers(200));
        for labels in [vec![0; 9], vec![0; 11], vec![4; 10]] {
            assert!(matches!(
                profile(&source, &preparation, &labels, 4, &[], MinCell::default()),
                Err(Error::Internal(_))
            ));
        }
    }
}
