//! The rows of a [`Workload`].

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rayon::prelude::*;

use super::Workload;
use super::noise::{ColumnKey, RowBits, bell, cell_bits, cell_noise, power_of_e};
use crate::data::{BatchSource, Consume};
use crate::error::Result;
use crate::rng::mix64;
use crate::tiles::TileSet;

/// Rows that are made at a time: what is known of them stays in the first cache.
const RUN_ROWS: usize = 512;
/// Rows of a batch that [`Accounts::scan`] hands on.
const BATCH_ROWS: usize = 1 << 15;
/// `account_id` of the first row.
const FIRST_ID: i64 = 1_000_000_000;
/// How many times the noise of an outlier is wider.
const OUTLIER_WIDTH: f32 = 32.0;
/// Noise that several features share; feature `j` has a part of factor `j % N_FACTORS`.
const N_FACTORS: usize = 3;
/// Feature `j` is log-normal where `j % HEAVY_EVERY` is `HEAVY_EVERY - 1`.
const HEAVY_EVERY: usize = 4;
/// Standard deviation of the logarithm of a log-normal feature, for noise of width 1.
const HEAVY_WIDTH: f32 = 0.6;
/// The largest cluster has more than this many times the rows of the smallest.
const LARGEST_TO_SMALLEST: u64 = 24;
/// The steps of [`Accounts::tiles`] for a standard deviation of the noise.
const GRID_STEPS: f32 = 4096.0;
/// What a text column may say, by column.
const LEVELS: [&[&str]; 3] = [
    &["north", "south", "east", "west", "centre", "islands"],
    &["basic", "plus", "premium", "business"],
    &["web", "shop", "phone", "partner", "post"],
];
/// Of 256 accounts of a cluster, how many say the cluster's own level in a text column.
const OWN_LEVEL: u32 = 180;

/// Streams of random numbers; features and text columns count up from theirs.
mod stream {
    pub(super) const ROW: u64 = 1;
    pub(super) const CLUSTER: u64 = 2;
    pub(super) const OUTLIER: u64 = 3;
    pub(super) const FACTOR: u64 = 0x10;
    pub(super) const FEATURE: u64 = 1 << 20;
    pub(super) const MISSING: u64 = 2 << 20;
    pub(super) const TEXT: u64 = 3 << 20;
    pub(super) const CENTRE: u64 = 4 << 20;
    pub(super) const WIDTH: u64 = 5 << 20;
    pub(super) const LOADING: u64 = 6 << 20;
}

/// A table of synthetic accounts, made row by row when it is read.
///
/// Columns: `account_id` (int64, unique), the features `f01`, `f02`, … (float32, nullable), text columns `c01`, …, and
/// `truth` (int32): the cluster that the row was drawn from, 0 the largest, or -1 for an outlier.
///
/// ```
/// use kohort::data::BatchSource;
/// use kohort::workload::Workload;
///
/// let accounts = Workload { missing: 0.05, ..Workload::new(1_000_000_000, 16, 8) }.build()?;
/// let rows = accounts.batch(999_999_000..1_000_000_000);
/// assert_eq!((rows.num_rows(), rows.num_columns()), (1000, 18));
/// # Ok::<(), kohort::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Accounts {
    workload: Workload,
    schema: SchemaRef,
    row_key: u64,
    /// Per cluster: one past its last 32-bit draw.
    bounds: Vec<u64>,
    /// Per 12 leading bits of a draw: the first cluster it may mean.
    guide: Vec<u32>,
    /// Per cluster: how wide its noise is.
    widths: Vec<f32>,
    factors: [ColumnKey; N_FACTORS],
    features: Vec<Feature>,
}

/// How the values of one feature come about.
#[derive(Debug, Clone)]
struct Feature {
    key: ColumnKey,
    missing: ColumnKey,
    /// Per cluster.
    centres: Vec<f32>,
    factor: usize,
    /// Part of the shared noise, and of its own; their squares add up to 1.
    shared: f32,
    own: f32,
    heavy: bool,
}

/// What is known of up to [`RUN_ROWS`] rows before any feature is made.
struct Run {
    bits: [RowBits; RUN_ROWS],
    clusters: [u32; RUN_ROWS],
    widths: [f32; RUN_ROWS],
    factors: [[f32; RUN_ROWS]; N_FACTORS],
}

impl Accounts {
    pub(super) fn new(workload: &Workload) -> Self {
        let (seed, n_clusters) = (workload.seed, workload.n_clusters);
        let bounds = cluster_bounds(n_clusters);
        let first_with = |draw: u64| bounds.partition_point(|&bound| bound <= draw) as u32;
        let width = |c: usize| 0.6 + uniform(seed, stream::WIDTH, c as u64);
        Self {
            workload: workload.clone(),
            schema: schema(workload),
            row_key: mix64(mix64(seed ^ mix64(stream::ROW))),
            guide: (0..1 << 12).map(|bits| first_with(bits << 20)).collect(),
            bounds,
            widths: (0..n_clusters).map(width).collect(),
            factors: std::array::from_fn(|f| ColumnKey::new(seed, stream::FACTOR + f as u64)),
            features: (0..workload.n_features).map(|j| Feature::new(workload, j)).collect(),
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// These rows, all columns.
    ///
    /// # Panics
    /// If they reach past the last row.
    #[must_use]
    pub fn batch(&self, rows: Range<usize>) -> RecordBatch {
        let columns: Vec<usize> = (0..self.schema.fields().len()).collect();
        self.project(rows, &columns)
    }

    /// These rows, the given columns of the schema.
    ///
    /// # Panics
    /// If a row or a column does not exist.
    #[must_use]
    pub fn project(&self, rows: Range<usize>, columns: &[usize]) -> RecordBatch {
        assert!(rows.end <= self.workload.n_rows, "rows past the end");
        let features: Vec<usize> = columns.iter().filter_map(|&column| self.feature_of(column)).collect();
        let mut values = vec![vec![0.0; rows.len()]; features.len()];
        self.fill(rows.start, &features, &mut values);
        let mut values = values.into_iter();
        let arrays: Vec<ArrayRef> = columns
            .iter()
            .map(|&column| match self.feature_of(column) {
                Some(j) => self.feature_array(j, &rows, values.next().expect("one per feature asked for")),
                None => self.other_array(column, &rows),
            })
            .collect();
        let schema = self.schema.project(columns).expect("columns of the schema");
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options).expect("arrays as the schema says")
    }

    /// Writes the features of rows `first_row ..` into `columns`, one per feature and all of one length, as if nothing
    /// was missing: the quick way to numbers.
    ///
    /// # Panics
    /// If the columns are not one per feature, differ in length or reach past the last row.
    pub fn fill_features(&self, first_row: usize, columns: &mut [Vec<f32>]) {
        assert_eq!(columns.len(), self.workload.n_features, "one column per feature");
        let features: Vec<usize> = (0..columns.len()).collect();
        self.fill(first_row, &features, columns);
    }

    /// The clusters that rows `first_row ..` were drawn from, -1 for outliers.
    ///
    /// # Panics
    /// If they reach past the last row.
    pub fn fill_truth(&self, first_row: usize, truth: &mut [i32]) {
        assert!(first_row + truth.len() <= self.workload.n_rows, "rows past the end");
        for (row, truth) in (first_row..).zip(truth) {
            let bits = self.row_bits(row);
            *truth = if self.is_outlier(bits) {
                -1
            } else {
                self.cluster(bits) as i32
            };
        }
    }

    /// All rows as grid values, without the offset and as if nothing was missing: steps of 2^-12 of a standard
    /// deviation of the noise. For work on prepared rows that does not want to wait for the preparation.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn tiles(&self, chunk_bytes: usize) -> Result<TileSet> {
        let Workload { n_rows, n_features, .. } = self.workload;
        let centred = Workload {
            offset: 0.0,
            ..self.workload.clone()
        };
        let accounts = Self {
            workload: centred,
            ..self.clone()
        };
        let mut tiles = TileSet::try_zeros(n_rows, n_features, false, chunk_bytes)?;
        let batches = batches(n_rows);
        for some in batches.chunks(2 * rayon::current_num_threads()) {
            let made: Vec<Vec<Vec<f32>>> = some.par_iter().map(|rows| accounts.grid_columns(rows)).collect();
            for (rows, columns) in some.iter().zip(&made) {
                tiles.fill_rows(rows.start, columns);
            }
        }
        Ok(tiles)
    }

    fn grid_columns(&self, rows: &Range<usize>) -> Vec<Vec<f32>> {
        let mut columns = vec![vec![0.0; rows.len()]; self.workload.n_features];
        self.fill_features(rows.start, &mut columns);
        // Rounds to whole numbers below 2^22, which all values are: the largest is e^6.4 steps of 4096.
        const ROUND: f32 = 12_582_912.0;
        for value in columns.iter_mut().flatten() {
            *value = (*value * GRID_STEPS + ROUND) - ROUND;
        }
        columns
    }

    /// Values of some features of rows `first_row ..`.
    fn fill(&self, first_row: usize, features: &[usize], columns: &mut [Vec<f32>]) {
        let n = columns.first().map_or(0, Vec::len);
        assert!(columns.iter().all(|column| column.len() == n), "columns of one length");
        assert!(first_row + n <= self.workload.n_rows, "rows past the end");
        let offset = self.workload.offset as f32;
        let mut run = Run::new();
        for first in (0..n).step_by(RUN_ROWS) {
            let rows = first..n.min(first + RUN_ROWS);
            self.begin_run(first_row + first, rows.len(), &mut run);
            for (&j, column) in features.iter().zip(columns.iter_mut()) {
                self.features[j].fill(&run, offset, &mut column[rows.clone()]);
            }
        }
    }

    fn begin_run(&self, first_row: usize, n_rows: usize, run: &mut Run) {
        for (i, row) in (first_row..first_row + n_rows).enumerate() {
            let bits = self.row_bits(row);
            let cluster = self.cluster(bits);
            let far = if self.is_outlier(bits) { OUTLIER_WIDTH } else { 1.0 };
            run.bits[i] = RowBits::from(bits);
            run.clusters[i] = cluster;
            run.widths[i] = self.widths[cluster as usize] * far;
        }
        for (&key, factor) in self.factors.iter().zip(&mut run.factors) {
            for (value, &bits) in factor.iter_mut().zip(&run.bits) {
                *value = cell_noise(bits, key);
            }
        }
    }

    fn row_bits(&self, row: usize) -> u64 {
        mix64(
            self.row_key
                .wrapping_add((row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        )
    }

    fn cluster(&self, row_bits: u64) -> u32 {
        let draw = mix64(row_bits ^ stream::CLUSTER) >> 32;
        let mut cluster = self.guide[(draw >> 20) as usize];
        while self.bounds[cluster as usize] <= draw {
            cluster += 1;
        }
        cluster
    }

    fn is_outlier(&self, row_bits: u64) -> bool {
        self.workload.outliers > 0.0 && mix64(row_bits ^ stream::OUTLIER) >> 32 < threshold(self.workload.outliers)
    }

    /// The feature that a column of the schema holds.
    fn feature_of(&self, column: usize) -> Option<usize> {
        let j = column.checked_sub(1)?;
        (j < self.workload.n_features).then_some(j)
    }

    fn feature_array(&self, j: usize, rows: &Range<usize>, values: Vec<f32>) -> ArrayRef {
        let key = self.features[j].missing;
        let least = threshold(self.workload.missing);
        let is_there = |i: usize| {
            let bits = RowBits::from(self.row_bits(rows.start + i));
            u64::from(cell_bits(bits, key)) >= least
        };
        let nulls = (least > 0).then(|| NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), is_there)));
        Arc::new(Float32Array::new(values.into(), nulls))
    }

    fn other_array(&self, column: usize, rows: &Range<usize>) -> ArrayRef {
        if column == 0 {
            let ids = rows.clone().map(|row| FIRST_ID + row as i64);
            return Arc::new(Int64Array::from_iter_values(ids));
        }
        if column + 1 == self.schema.fields().len() {
            let mut truth = vec![0; rows.len()];
            self.fill_truth(rows.start, &mut truth);
            return Arc::new(Int32Array::from(truth));
        }
        Arc::new(self.text(column - 1 - self.workload.n_features, rows))
    }

    fn text(&self, column: usize, rows: &Range<usize>) -> StringArray {
        let seed = self.workload.seed;
        let levels = LEVELS[column % LEVELS.len()];
        let key = ColumnKey::new(seed, stream::TEXT + column as u64);
        let own = ColumnKey::new(seed ^ 1, stream::TEXT + column as u64);
        let level = |row: usize| {
            let row_bits = self.row_bits(row);
            let draw = cell_bits(row_bits.into(), key);
            let of = if draw & 0xff < OWN_LEVEL {
                cell_bits(mix64(self.cluster(row_bits).into()).into(), own)
            } else {
                draw >> 8
            };
            levels[of as usize % levels.len()]
        };
        StringArray::from_iter_values(rows.clone().map(level))
    }
}

impl Feature {
    fn new(workload: &Workload, j: usize) -> Self {
        let Workload { seed, n_clusters, .. } = *workload;
        let spread = centre_spread(workload);
        let j64 = j as u64;
        let key = ColumnKey::new(seed, stream::CENTRE + j64);
        let centre = |c: usize| spread * bell(cell_bits(mix64(c as u64).into(), key));
        let shared = 0.25 + 0.4 * uniform(seed, stream::LOADING, j64);
        Self {
            key: ColumnKey::new(seed, stream::FEATURE + j64),
            missing: ColumnKey::new(seed, stream::MISSING + j64),
            centres: (0..n_clusters).map(centre).collect(),
            factor: j % N_FACTORS,
            shared,
            own: (1.0 - shared * shared).sqrt(),
            heavy: j % HEAVY_EVERY == HEAVY_EVERY - 1,
        }
    }

    /// Values of as many rows of the run as `column` takes.
    fn fill(&self, run: &Run, offset: f32, column: &mut [f32]) {
        let factor = &run.factors[self.factor];
        let rows = run.bits.iter().zip(&run.clusters).zip(&run.widths).zip(factor);
        for (value, (((&bits, &cluster), &width), &shared)) in column.iter_mut().zip(rows) {
            let noise = self.shared * shared + self.own * cell_noise(bits, self.key);
            *value = self.centres[cluster as usize] + width * noise;
        }
        if self.heavy {
            for value in column.iter_mut() {
                *value = power_of_e(HEAVY_WIDTH * *value);
            }
        }
        if offset != 0.0 {
            for value in column.iter_mut() {
                *value += offset;
            }
        }
    }
}

impl Run {
    fn new() -> Self {
        Self {
            bits: [RowBits::default(); RUN_ROWS],
            clusters: [0; RUN_ROWS],
            widths: [0.0; RUN_ROWS],
            factors: [[0.0; RUN_ROWS]; N_FACTORS],
        }
    }
}

impl BatchSource for Accounts {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn n_rows(&self) -> usize {
        self.workload.n_rows
    }

    fn scan(&self, columns: &[usize], consume: &mut Consume<'_>) -> Result<()> {
        let batches = batches(self.workload.n_rows);
        for some in batches.chunks(2 * rayon::current_num_threads()) {
            let made: Vec<RecordBatch> = some
                .par_iter()
                .map(|rows| self.project(rows.clone(), columns))
                .collect();
            for (rows, batch) in some.iter().zip(&made) {
                consume(rows.start, batch)?;
            }
        }
        Ok(())
    }

    fn locate(&self, row: usize) -> (Option<PathBuf>, usize) {
        (None, row)
    }
}

/// All rows in runs of [`BATCH_ROWS`].
fn batches(n_rows: usize) -> Vec<Range<usize>> {
    (0..n_rows)
        .step_by(BATCH_ROWS)
        .map(|first| first..n_rows.min(first + BATCH_ROWS))
        .collect()
}

fn schema(workload: &Workload) -> SchemaRef {
    let digits = |n: usize| n.to_string().len().max(2);
    let names = |letter: char, n: usize| (1..=n).map(move |j| format!("{letter}{j:0width$}", width = digits(n)));
    let mut fields = vec![Field::new("account_id", DataType::Int64, false)];
    fields.extend(names('f', workload.n_features).map(|name| Field::new(name, DataType::Float32, true)));
    fields.extend(names('c', workload.categorical).map(|name| Field::new(name, DataType::Utf8, false)));
    fields.push(Field::new("truth", DataType::Int32, false));
    Arc::new(Schema::new(fields))
}

/// One past the last 32-bit draw of each cluster; sizes fall like `1 / (1 + c)`, the first and the last 24 to 1.
fn cluster_bounds(n_clusters: usize) -> Vec<u64> {
    let last = (n_clusters as u64 - 1).max(1);
    let size = |c: u64| (last << 24) / (last + (LARGEST_TO_SMALLEST - 1) * c);
    let total: u128 = (0..n_clusters as u64).map(|c| u128::from(size(c))).sum();
    let mut sum = 0u128;
    let bound = |c| {
        sum += u128::from(size(c));
        ((sum << 32) / total) as u64
    };
    (0..n_clusters as u64).map(bound).collect()
}

/// Standard deviation of the centres in each feature: the squared distance of two of them is `12 + 6 log2(k)` times
/// that of the noise on average, so that neighbours overlap for any number of clusters and features.
fn centre_spread(workload: &Workload) -> f32 {
    let log2 = usize::BITS - 1 - workload.n_clusters.leading_zeros();
    let sq_dist = 12.0 + 6.0 * f64::from(log2);
    (sq_dist / (2.0 * workload.n_features as f64)).sqrt() as f32
}

/// A number from 0 to below 1.
fn uniform(seed: u64, stream: u64, n: u64) -> f32 {
    (cell_bits(mix64(n).into(), ColumnKey::new(seed, stream)) >> 8) as f32 / (1 << 24) as f32
}

/// Of 2^32 draws, those below it are this share.
fn threshold(share: f64) -> u64 {
    (share * 4_294_967_296.0) as u64
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{Float32Type, Int32Type, Int64Type};

    use super::*;

    const N_ROWS: usize = 70_000;

    fn rich() -> Workload {
        Workload {
            seed: 3,
            missing: 0.1,
            outliers: 0.02,
            categorical: 3,
            ..Workload::new(N_ROWS, 9, 7)
        }
    }

    fn scanned(accounts: &Accounts, columns: &[usize]) -> RecordBatch {
        let mut batches = Vec::new();
        let mut push = |first_row: usize, batch: &RecordBatch| {
            assert_eq!(first_row, batches.iter().map(RecordBatch::num_rows).sum::<usize>());
            batches.push(batch.clone());
            Ok(())
        };
        accounts.scan(columns, &mut push).unwrap();
        concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    #[test]
    fn a_row_depends_on_its_number_alone() {
        let accounts = rich().build().unwrap();
        let whole = accounts.batch(0..N_ROWS);
        let all: Vec<usize> = (0..whole.num_columns()).collect();
        let in_threads = |n| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| scanned(&accounts, &all))
        };
        assert!(whole == in_threads(1) && whole == in_threads(3));
        for rows in [0..1, 511..513, 40_000..40_700, N_ROWS - 1..N_ROWS] {
            assert_eq!(accounts.batch(rows.clone()), whole.slice(rows.start, rows.len()));
        }
        let some = [3, 12, 0, 13, 1];
        assert_eq!(scanned(&accounts, &some), whole.project(&some).unwrap());
        let longer = Workload {
            n_rows: N_ROWS * 9,
            ..rich()
        }
        .build()
        .unwrap();
        assert_eq!(longer.batch(0..1000), whole.slice(0, 1000));
        let other = Workload { seed: 4, ..rich() }.build().unwrap();
        assert_ne!(other.batch(0..1000), whole.slice(0, 1000));
    }

    #[test]
    fn the_bytes_stay_the_same() {
        let batch = rich().build().unwrap().batch(0..2000);
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for column in &batch.columns()[1..10] {
            for value in column.as_primitive::<Float32Type>() {
                hash.update(&value.map_or(u32::MAX, f32::to_bits).to_le_bytes());
            }
        }
        assert_eq!(
            hash.digest(),
            GOLDEN,
            "rows that were generated before are no longer the same"
        );
    }

    const GOLDEN: u64 = 15_801_207_457_645_628_448;

    #[test]
    fn the_quick_way_gives_the_same_numbers() {
        let accounts = Workload {
            offset: 100.0,
            ..rich()
        }
        .build()
        .unwrap();
        let mut columns = vec![vec![0.0; 3000]; 9];
        accounts.fill_features(1000, &mut columns);
        let batch = accounts.batch(1000..4000);
        let tiles = accounts.tiles(1 << 16).unwrap();
        let mut row = [0; 9];
        for (i, j) in (0..3000).flat_map(|i| (0..9).map(move |j| (i, j))) {
            let array = batch.column(1 + j).as_primitive::<Float32Type>();
            assert!(array.is_null(i) || array.value(i).to_bits() == columns[j][i].to_bits());
            tiles.read_row(1000 + i, &mut row);
            assert!((row[j] as f32 / GRID_STEPS + 100.0 - columns[j][i]).abs() < 1e-3);
        }
    }

    #[test]
    fn clusters_are_unequal_and_ordered_by_size() {
        for n_clusters in [1, 2, 7, 64] {
            let accounts = Workload::new(200_000, 1, n_clusters).build().unwrap();
            let mut truth = vec![0; 200_000];
            accounts.fill_truth(0, &mut truth);
            let mut sizes = vec![0usize; n_clusters];
            truth.iter().for_each(|&c| sizes[c as usize] += 1);
            let ratio = sizes[0] as f64 / sizes[n_clusters - 1] as f64;
            assert!(n_clusters == 1 || (20.0..30.0).contains(&ratio), "{sizes:?}");
            assert!(n_clusters > 7 || sizes.is_sorted_by(|a, b| a > b), "{sizes:?}");
        }
    }

    #[test]
    fn shares_are_near_what_was_asked_for() {
        let batch = rich().build().unwrap().batch(0..N_ROWS);
        for column in &batch.columns()[1..10] {
            let share = column.null_count() as f64 / N_ROWS as f64;
            assert!((share - 0.1).abs() < 0.01, "{share}");
        }
        let truth = batch.column(13).as_primitive::<Int32Type>();
        let is_far = |row: usize| {
            batch.columns()[1..10]
                .iter()
                .any(|c| c.as_primitive::<Float32Type>().value(row).abs() > 20.0)
        };
        let outliers: Vec<usize> = (0..N_ROWS).filter(|&row| truth.value(row) == -1).collect();
        assert!((outliers.len() as f64 / N_ROWS as f64 - 0.02).abs() < 0.003);
        let far = outliers.iter().filter(|&&row| is_far(row)).count();
        assert!(far * 10 > outliers.len() * 9, "{far} of {}", outliers.len());
        let none = Workload::new(1000, 4, 2).build().unwrap().batch(0..1000);
        assert_eq!(
            none.columns().iter().map(|column| column.null_count()).sum::<usize>(),
            0
        );
        let all = Workload {
            missing: 1.0,
            outliers: 1.0,
            ..Workload::new(1000, 4, 2)
        }
        .build()
        .unwrap()
        .batch(0..1000);
        assert_eq!(all.column(4).null_count(), 1000);
        assert!(
            all.column(5)
                .as_primitive::<Int32Type>()
                .values()
                .iter()
                .all(|&truth| truth == -1)
        );
    }

    #[test]
    fn ids_are_unique_and_text_goes_with_the_cluster() {
        let batch = rich().build().unwrap().batch(0..N_ROWS);
        let ids = batch.column(0).as_primitive::<Int64Type>().values();
        assert!(ids.is_sorted_by(|a, b| a < b));
        let truth = batch.column(13).as_primitive::<Int32Type>();
        for column in 10..13 {
            let text = batch.column(column).as_string::<i32>();
            let mut counts = std::collections::BTreeMap::<&str, usize>::new();
            let of_largest: Vec<usize> = (0..N_ROWS).filter(|&row| truth.value(row) == 0).collect();
            of_largest
                .iter()
                .for_each(|&row| *counts.entry(text.value(row)).or_default() += 1);
            let own = counts.values().max().unwrap();
            assert!(counts.len() > 3 && own * 10 > of_largest.len() * 6, "{counts:?}");
        }
    }

    #[test]
    fn one_feature_of_four_is_skewed_and_an_offset_moves_them_all() {
        let workload = Workload::new(20_000, 8, 1);
        let moments = |workload: &Workload| -> Vec<(f64, f64)> {
            let batch = workload.build().unwrap().batch(0..20_000);
            let of = |j: usize| {
                let values = batch.column(1 + j).as_primitive::<Float32Type>().values();
                let mean = |f: &dyn Fn(f64) -> f64| values.iter().map(|&x| f(x.into())).sum::<f64>() / 20_000.0;
                let centre = mean(&|x| x);
                let variance = mean(&|x| (x - centre).powi(2));
                (centre, mean(&|x| (x - centre).powi(3)) / variance.powf(1.5))
            };
            (0..8).map(of).collect()
        };
        let plain = moments(&workload);
        for (j, (_, skewness)) in plain.iter().enumerate() {
            assert!(
                if j % 4 == 3 {
                    *skewness > 1.0
                } else {
                    skewness.abs() < 0.1
                },
                "{j}: {skewness}"
            );
        }
        let moved = moments(&Workload {
            offset: 1000.0,
            ..workload
        });
        assert!(plain.iter().zip(&moved).all(|(a, b)| (b.0 - a.0 - 1000.0).abs() < 0.01));
    }
}
