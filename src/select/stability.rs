//! Whether the same clusters come out again when the rows are drawn again.
//!
//! The rows of a sample (all rows, up to [`SAMPLE_ROWS`]) are drawn with replacement: each counts as often as a Poisson
//! variable with mean 1 says, which depends on seed, resample and the row's key alone (the bootstrap as it is made on
//! streams: Oza and Russell, 2001; N. Chamandy and others, 2012). On each resample k-means runs twice, from fresh seeds
//! and from the clusters found on all rows. All rows of the sample are then labelled with what came out and held
//! against their labels in the whole data.

use std::ops::ControlFlow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::backend::lloyd::LloydRule;
use crate::backend::{Backend, Pass, TwoNearest};
use crate::error::{Error, Result};
use crate::kmeans::{self, Event, Init, KMeansParams, Observer};
use crate::metrics::Contingency;
use crate::rng::{hash_key, mix64};
use crate::tiles::{Centroids, MAX_WEIGHT, RowKeys, TileSet};

/// Most rows that are resampled: those with the smallest hash of their keys.
pub const SAMPLE_ROWS: usize = 1 << 13;
/// Resamples for each k.
pub const N_RESAMPLES: usize = 8;
/// Most restarts on a resample.
const MOST_INIT: usize = 2;
/// Keeps the draws of rows apart from those of seeds.
const STREAM: u64 = 0x5be1_1a7e_0000_0000;
/// Distribution function of a Poisson variable with mean 1, up to where the rest is below 2^-20.
const POISSON: [f64; 9] = [
    0.367_879_441_171_442_33,
    0.735_758_882_342_884_7,
    0.919_698_602_928_606,
    0.981_011_843_123_846_1,
    0.996_340_153_172_656_3,
    0.999_405_815_182_418_3,
    0.999_916_758_850_711_9,
    0.999_989_750_803_325_2,
    0.999_998_874_797_402_2,
];

/// How well clusters stand up to another draw of the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stability {
    /// Adjusted Rand index of the labels against those of a resample, fresh seeds, mean over the resamples.
    pub adjusted_rand: f64,
    /// The least of these.
    pub least_adjusted_rand: f64,
    /// The same mean, each resample starting from the clusters found: what is lost here is lost at the borders alone.
    pub refined_adjusted_rand: f64,
    /// Per cluster, Jaccard index with the cluster most like it, fresh seeds, mean over the resamples (C. Hennig,
    /// "Cluster-wise assessment of cluster stability", 2007).
    pub recovered: Vec<f64>,
}

/// The rows that are resampled, drawn once for all k.
pub(super) struct Resampler<'r> {
    host: &'r dyn Backend,
    /// Rows of the whole data, in the order of their hashes.
    rows: Vec<usize>,
    /// The same on their own.
    tiles: TileSet,
    resamples: Vec<Resample>,
    seed: u64,
}

/// One draw.
struct Resample {
    tiles: TileSet,
    keys: RowKeys,
}

impl<'r> Resampler<'r> {
    pub(super) fn new(host: &'r dyn Backend, data: &TileSet, keys: &RowKeys, seed: u64, n_resamples: usize) -> Self {
        let rows = keys.sample(data.n_rows(), SAMPLE_ROWS, seed ^ STREAM, |row| data.weight(row) > 0);
        let tiles = data.gather(&rows);
        let of_rows = RowKeys::Ids(rows.iter().map(|&row| keys.key(row)).collect());
        let draw = |number: usize| draw(&tiles, &of_rows, mix64(seed ^ STREAM).wrapping_add(number as u64));
        Self {
            host,
            resamples: (0..n_resamples).map(draw).collect(),
            rows,
            tiles,
            seed,
        }
    }

    /// Rows in the sample.
    pub(super) fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// The sample.
    pub(super) fn tiles(&self) -> &TileSet {
        &self.tiles
    }

    /// Its rows, as numbers of the whole data.
    pub(super) fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The sample's part of the labels of all rows.
    pub(super) fn labels(&self, of_all: &[u32]) -> Vec<u32> {
        self.rows.iter().map(|&row| of_all[row]).collect()
    }

    /// Holds the clustering `labels` (of the sample), `centroids` against those of all resamples. `None` where a
    /// resample has too few rows for so many clusters.
    ///
    /// # Errors
    /// Those of the backend, and [`crate::Error::Interrupted`].
    pub(super) fn stability(
        &self,
        labels: &[u32],
        centroids: &Centroids,
        params: &KMeansParams,
        observer: &dyn Observer,
    ) -> Result<Option<Stability>> {
        let k = centroids.n_clusters();
        if self.resamples.iter().any(|resample| resample.tiles.n_rows() < k) {
            return Ok(None);
        }
        let tables = (0..self.resamples.len()).into_par_iter().map(|number| {
            let fresh = KMeansParams {
                n_clusters: k,
                n_init: params.n_init.min(MOST_INIT),
                seed: mix64(self.seed ^ STREAM ^ mix64(number as u64)),
                init: params.init.clone(),
                // Which clusters come out is seen without them.
                draws_moves: false,
                ..*params
            };
            let refined = KMeansParams {
                init: Init::Centroids(centroids.clone()),
                ..fresh.clone()
            };
            let table = |params: &KMeansParams| -> Result<Contingency> {
                let found = self.refit(number, params, observer)?;
                Ok(Contingency::new(labels, k, &found.labels, k))
            };
            Ok((table(&fresh)?, table(&refined)?))
        });
        let tables: Vec<(Contingency, Contingency)> = tables.collect::<Result<_>>()?;
        Ok(Some(Stability::new(&tables, k)))
    }

    /// Labels of the whole sample under where `centroids` go on each resample, cluster by cluster; at most `max_iter`
    /// iterations. `None` where a resample has too few rows for so many clusters.
    ///
    /// # Errors
    /// Those of the backend, and [`crate::Error::Interrupted`].
    pub(super) fn refined_labels(
        &self,
        centroids: &Centroids,
        max_iter: usize,
        observer: &dyn Observer,
    ) -> Result<Option<Vec<Vec<u32>>>> {
        let k = centroids.n_clusters();
        if self.resamples.iter().any(|resample| resample.tiles.n_rows() < k) {
            return Ok(None);
        }
        let labels = self.resamples.par_iter().map(|resample| {
            let mut each = |_: &Centroids, _: &Pass| match observer.interrupted() {
                true => Err(Error::Interrupted),
                false => Ok(ControlFlow::Continue(())),
            };
            let rule = LloydRule {
                max_iter,
                shift_limit: &|_| 0.0,
                count_moved: false,
            };
            let run = self.host.open(&resample.tiles, k)?.lloyd(centroids, &rule, &mut each)?;
            let refined = run.moved.unwrap_or(run.centroids);
            Ok(self.host.open(&self.tiles, k)?.two_nearest(&refined)?.labels)
        });
        labels.collect::<Result<_>>().map(Some)
    }

    /// Labels of the whole sample under what k-means makes of one resample.
    fn refit(&self, number: usize, params: &KMeansParams, observer: &dyn Observer) -> Result<TwoNearest> {
        let Resample { tiles, keys } = &self.resamples[number];
        let fit = kmeans::fit(self.host, self.host, tiles, keys, params, 1.0, &Quiet(observer))?;
        let mut session = self.host.open(&self.tiles, fit.centroids.n_clusters())?;
        session.two_nearest(&fit.centroids)
    }
}

impl Stability {
    fn new(tables: &[(Contingency, Contingency)], n_clusters: usize) -> Self {
        let n = tables.len() as f64;
        let fresh: Vec<f64> = tables.iter().map(|(fresh, _)| fresh.adjusted_rand()).collect();
        let refined: f64 = tables.iter().map(|(_, refined)| refined.adjusted_rand()).sum();
        let mut recovered = vec![0.0; n_clusters];
        for (fresh, _) in tables {
            let clusters = recovered.iter_mut().zip(fresh.recovered());
            clusters.for_each(|(sum, found)| *sum += found.jaccard / n);
        }
        Self {
            adjusted_rand: fresh.iter().sum::<f64>() / n,
            least_adjusted_rand: fresh.iter().copied().fold(1.0, f64::min),
            refined_adjusted_rand: refined / n,
            recovered,
        }
    }
}

/// Draws rows with replacement: those that came up, with how often as their weight.
fn draw(sample: &TileSet, keys: &RowKeys, seed: u64) -> Resample {
    let times = |row: usize| poisson(hash_key(seed, keys.key(row)));
    let drawn: Vec<(usize, u32)> = (0..sample.n_rows())
        .map(|row| (row, times(row)))
        .filter(|d| d.1 > 0)
        .collect();
    let rows: Vec<usize> = drawn.iter().map(|&(row, _)| row).collect();
    // Weights of the data go up to the largest there may be: an eighth of them leaves room for nine times.
    let weight = |&(row, times): &(usize, u32)| match sample.weighted() {
        false => times,
        true => (sample.weight(row) * times)
            .div_ceil(POISSON.len() as u32)
            .min(MAX_WEIGHT),
    };
    Resample {
        tiles: sample.gather_weighted(&rows, &drawn.iter().map(weight).collect::<Vec<_>>()),
        keys: RowKeys::Ids(rows.iter().map(|&row| keys.key(row)).collect()),
    }
}

/// A Poisson variable with mean 1 from 64 random bits.
fn poisson(bits: u64) -> u32 {
    let uniform = (bits >> 11) as f64 / (1u64 << 53) as f64;
    POISSON.iter().filter(|&&share| share <= uniform).count() as u32
}

/// Passes on the wish to stop, and nothing else.
pub(super) struct Quiet<'q>(pub(super) &'q dyn Observer);

impl Observer for Quiet<'_> {
    fn event(&self, _event: Event) {}

    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::CpuBackend;
    use crate::rng::Rng;

    #[test]
    fn draws_have_the_mean_and_the_zeros_of_poisson() {
        let mut rng = Rng::new(3, 0);
        let draws: Vec<u32> = (0..100_000).map(|_| poisson(rng.next_u64())).collect();
        let mean = f64::from(draws.iter().sum::<u32>()) / 1e5;
        let zeros = draws.iter().filter(|&&n| n == 0).count() as f64 / 1e5;
        assert!(
            (mean - 1.0).abs() < 0.02 && (zeros - 0.368).abs() < 0.01,
            "{mean} {zeros}"
        );
        assert_eq!((poisson(0), poisson(u64::MAX)), (0, 9));
    }

    fn rows(spread: u128) -> (TileSet, Vec<u32>) {
        let mut rng = Rng::new(5, 1);
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for row in 0..1200u32 {
            labels.push(row % 3);
            let x = 10_000 * (row % 3) as i32 + rng.below(spread) as i32;
            rows.extend([x as f32, rng.below(spread) as f32]);
        }
        (TileSet::from_rows(&rows, 2, None, usize::MAX), labels)
    }

    #[test]
    fn clear_groups_come_out_again_and_halves_of_a_crowd_do_not() {
        let host = CpuBackend::new(2).unwrap();
        let stability = |spread: u128, k: usize| {
            let (data, _) = rows(spread);
            let params = KMeansParams::new(k);
            let fit = kmeans::fit(&host, &host, &data, &RowKeys::RowNumber, &params, 1.0, &()).unwrap();
            let resampler = Resampler::new(&host, &data, &RowKeys::RowNumber, 0, 4);
            let labels = resampler.labels(&fit.nearest.labels);
            resampler
                .stability(&labels, &fit.centroids, &params, &())
                .unwrap()
                .unwrap()
        };
        let clear = stability(3000, 3);
        assert_eq!((clear.adjusted_rand, clear.refined_adjusted_rand), (1.0, 1.0));
        assert_eq!(clear.recovered, [1.0; 3]);
        let crowd = stability(200_000, 7);
        assert!(crowd.adjusted_rand < 0.9 && crowd.recovered[6] < 0.9, "{crowd:?}");
        assert!(crowd.least_adjusted_rand <= crowd.adjusted_rand);
    }

    #[test]
    fn resamples_follow_the_key_not_the_row() {
        let host = CpuBackend::new(1).unwrap();
        let (data, _) = rows(5000);
        let n = data.n_rows();
        let keys: Vec<u128> = (0..n as u128).map(|row| row * row).collect();
        let turned: Vec<usize> = (0..n).rev().collect();
        let turned_keys = RowKeys::Ids(keys.iter().rev().copied().collect());
        let a = Resampler::new(&host, &data, &RowKeys::Ids(keys), 7, 2);
        let b = Resampler::new(&host, &data.gather(&turned), &turned_keys, 7, 2);
        assert_eq!(a.tiles, b.tiles);
        assert!(a.resamples.iter().zip(&b.resamples).all(|(a, b)| a.tiles == b.tiles));
        assert_ne!(a.resamples[0].tiles, a.resamples[1].tiles);
    }
}
