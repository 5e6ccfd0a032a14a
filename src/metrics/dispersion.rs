//! How rows scatter about the means of their clusters, from exact sums.

use num_bigint::{BigInt, BigUint};
use rayon::prelude::*;

use crate::num::round_ratio;
use crate::partial::ClusterPartial;
use crate::tiles::{BLOCK, Chunk, TileSet};

/// Blocks of one task: the sums of so many rows, each below `2^23` times a weight up to `2^16`, are exact in `f64`.
pub(super) const TASK_BLOCKS: usize = 64;
/// Copies of the sums, by row: rows of one cluster often stand side by side, and a sum waits for its last addition.
const COPIES: usize = 4;

/// Exact sums per cluster under given labels, and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispersion {
    /// Sums, weights and counts.
    pub partial: ClusterPartial,
    /// Sum of weight times squared norm per cluster, in grid units squared.
    pub sq_norms: Vec<u128>,
}

impl Dispersion {
    /// Adds up all rows of `data` under `labels` (one per row, each below `n_clusters`).
    ///
    /// # Panics
    /// If there is not one label per row, or a label is out of range.
    #[must_use]
    pub fn new(data: &TileSet, labels: &[u32], n_clusters: usize) -> Self {
        assert_eq!(labels.len(), data.n_rows(), "one label per row");
        let zero = || Self::zero(n_clusters, data.n_features());
        tasks(data)
            .fold(zero, |mut sums, (chunk, blocks)| {
                sums.add(chunk, blocks, labels);
                sums
            })
            .reduce(zero, |mut a, b| {
                a.merge(&b);
                a
            })
    }

    fn zero(n_clusters: usize, n_features: usize) -> Self {
        Self {
            partial: ClusterPartial::zero(n_clusters, n_features),
            sq_norms: vec![0; n_clusters],
        }
    }

    /// Adds everything `other` holds.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn merge(&mut self, other: &Self) {
        self.partial.merge(&other.partial);
        let norms = self.sq_norms.iter_mut().zip(&other.sq_norms);
        norms.for_each(|(a, b)| *a += b);
    }

    /// Adds blocks of a chunk.
    fn add(&mut self, chunk: &Chunk, blocks: std::ops::Range<usize>, labels: &[u32]) {
        let (k, d) = (self.partial.n_clusters(), self.partial.n_features());
        let mut sums = vec![0.0; COPIES * k * d];
        for block in blocks {
            let first = block * BLOCK;
            let labels = &labels[chunk.first_row() + first..][..chunk.block_rows(block)];
            let norms = chunk.sq_norms(block);
            for (row, (&label, norm)) in labels.iter().zip(norms).enumerate() {
                let (label, weight) = (label as usize, chunk.weight(first + row));
                self.partial.counts[label] += 1;
                self.partial.cluster_weights[label] += u64::from(weight);
                self.sq_norms[label] += u128::from(weight) * u128::from(norm);
            }
            for (feature, lane) in chunk.block(block).chunks_exact(BLOCK).enumerate() {
                let rows = lane.iter().zip(labels).enumerate();
                match chunk.weights() {
                    None => rows.for_each(|(row, (&x, &label))| {
                        sums[(row % COPIES * k + label as usize) * d + feature] += f64::from(x);
                    }),
                    Some(weights) => rows.for_each(|(row, (&x, &label))| {
                        let weight = f64::from(weights[first + row]);
                        sums[(row % COPIES * k + label as usize) * d + feature] += weight * f64::from(x);
                    }),
                }
            }
        }
        for copy in sums.chunks_exact(k * d) {
            let totals = self.partial.sums.iter_mut().zip(copy);
            totals.for_each(|(total, &sum)| *total += i128::from(sum as i64));
        }
    }

    /// Number of clusters.
    #[must_use]
    pub fn n_clusters(&self) -> usize {
        self.sq_norms.len()
    }

    /// Weight of all clusters.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.partial.cluster_weights.iter().sum()
    }

    /// All clusters as one.
    #[must_use]
    pub fn total(&self) -> Self {
        let d = self.partial.n_features();
        let mut total = Self::zero(1, d);
        for cluster in 0..self.n_clusters() {
            let sums = total.partial.sums.iter_mut().zip(self.partial.sums_of(cluster));
            sums.for_each(|(a, b)| *a += b);
        }
        total.partial.cluster_weights[0] = self.weight();
        total.partial.counts[0] = self.partial.counts.iter().sum();
        total.sq_norms[0] = self.sq_norms.iter().sum();
        total
    }

    /// Mean squared distance of a cluster's rows to their mean, in grid units squared, rounded once; 0 without weight.
    #[must_use]
    pub fn variance(&self, cluster: usize) -> f64 {
        let weight = self.partial.cluster_weights[cluster];
        if weight == 0 {
            return 0.0;
        }
        let sq_sums: BigInt = self
            .partial
            .sums_of(cluster)
            .iter()
            .map(|&sum| BigInt::from(sum).pow(2))
            .sum();
        let numerator = BigInt::from(weight) * BigInt::from(self.sq_norms[cluster]) - sq_sums;
        round_ratio(&numerator, &BigUint::from(weight).pow(2), 0)
    }

    /// Mean of a cluster as differences from `origin`, in grid units; zeros without weight.
    #[must_use]
    pub fn mean(&self, cluster: usize, origin: &[i32]) -> Vec<f64> {
        let weight = self.partial.cluster_weights[cluster];
        let sums = self.partial.sums_of(cluster).iter().zip(origin);
        let difference = |(&sum, &x): (&i128, &i32)| (sum - i128::from(weight) * i128::from(x)) as f64;
        sums.map(|sum| difference(sum) / weight.max(1) as f64).collect()
    }

    /// The mean of all rows, rounded to the grid: an origin that keeps differences small.
    #[must_use]
    pub fn origin(&self) -> Vec<i32> {
        let weight = i128::from(self.weight().max(1));
        let total = self.total();
        let sums = total.partial.sums.iter();
        sums.map(|&sum| sum.div_euclid(weight) as i32).collect()
    }

    /// Weighted sum of squared distances to the clusters' means, in grid units squared times weight.
    #[must_use]
    pub fn within(&self) -> f64 {
        let clusters = 0..self.n_clusters();
        clusters
            .map(|c| self.partial.cluster_weights[c] as f64 * self.variance(c))
            .sum()
    }

    /// Weighted sum of squared distances of the clusters' means to the mean of all, in the same units.
    #[must_use]
    pub fn between(&self) -> f64 {
        let origin = self.origin();
        let centre = self.total().mean(0, &origin);
        let of_cluster = |cluster: usize| {
            let mean = self.mean(cluster, &origin);
            let sq_dist: f64 = mean.iter().zip(&centre).map(|(m, c)| (m - c) * (m - c)).sum();
            self.partial.cluster_weights[cluster] as f64 * sq_dist
        };
        (0..self.n_clusters()).map(of_cluster).sum()
    }

    /// Share of the rows' scatter that lies between the clusters, from 0 to 1; 1 where there is no scatter at all.
    #[must_use]
    pub fn share_explained(&self) -> f64 {
        let (between, within) = (self.between(), self.within());
        if between + within > 0.0 {
            between / (between + within)
        } else {
            1.0
        }
    }

    /// Calinski-Harabasz index (1974), the variance ratio criterion: higher is better. `row_weight` is the weight of
    /// one row, in units of the integer weights. `None` unless there are more rows than clusters, and two of these.
    #[must_use]
    pub fn calinski_harabasz(&self, row_weight: f64) -> Option<f64> {
        let (n, k) = (self.weight() as f64 / row_weight, self.n_clusters() as f64);
        let within = self.within();
        match (k > 1.0 && n > k, within > 0.0) {
            (false, _) => None,
            (true, true) => Some(self.between() * (n - k) / (within * (k - 1.0))),
            (true, false) => Some(1.0), // as scikit-learn has it
        }
    }
}

/// Runs of blocks of a data set, for one task each.
pub(super) fn tasks(data: &TileSet) -> impl ParallelIterator<Item = (&Chunk, std::ops::Range<usize>)> {
    data.chunks().par_iter().flat_map(|chunk| {
        let firsts = (0..chunk.n_blocks()).into_par_iter().step_by(TASK_BLOCKS);
        firsts.map(move |first| (chunk, first..(first + TASK_BLOCKS).min(chunk.n_blocks())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn rows(n: usize, d: usize) -> (Vec<f32>, Vec<u32>, Vec<u32>) {
        let mut rng = Rng::new(n as u64, d as u64);
        let rows = (0..n * d).map(|_| rng.below(1 << 24) as f32 - 8_000_000.0).collect();
        let labels = (0..n).map(|_| rng.below(5) as u32).collect();
        let weights = (0..n).map(|_| rng.below(1 << 16) as u32).collect();
        (rows, labels, weights)
    }

    #[test]
    fn sums_are_those_of_a_plain_loop_however_the_data_is_cut() {
        let (n, d) = (5000, 3);
        let (rows, labels, weights) = rows(n, d);
        for weights in [None, Some(&weights[..])] {
            let mut expected = Dispersion::zero(5, d);
            let mut x = vec![0; d];
            let data = TileSet::from_rows(&rows, d, weights, usize::MAX);
            for (row, &label) in labels.iter().enumerate() {
                data.read_row(row, &mut x);
                let (label, weight) = (label as usize, data.weight(row));
                expected.partial.add_row(label, &x, weight);
                let norm: i64 = x.iter().map(|&x| i64::from(x).pow(2)).sum();
                expected.sq_norms[label] += norm as u128 * u128::from(weight);
            }
            for chunk_bytes in [1, 64 * d * 4 * 10, usize::MAX] {
                let data = TileSet::from_rows(&rows, d, weights, chunk_bytes);
                assert_eq!(Dispersion::new(&data, &labels, 5), expected);
            }
            // Planted fault: one label.
            let mut wrong = labels.clone();
            wrong[4321] = (wrong[4321] + 1) % 5;
            assert_ne!(Dispersion::new(&data, &wrong, 5), expected);
        }
    }

    #[test]
    fn scatter_worked_out_by_hand() {
        let data = TileSet::from_rows(&[0., 2., 10., 14.], 1, None, usize::MAX);
        let dispersion = Dispersion::new(&data, &[0, 0, 1, 1], 2);
        assert_eq!([0, 1].map(|cluster| dispersion.variance(cluster)), [1.0, 4.0]);
        assert_eq!((dispersion.within(), dispersion.between()), (10.0, 121.0));
        assert_eq!(dispersion.share_explained(), 121.0 / 131.0);
        assert_eq!(dispersion.calinski_harabasz(1.0), Some(121.0 * 2.0 / 10.0));
        assert_eq!(Dispersion::new(&data, &[0; 4], 1).calinski_harabasz(1.0), None);
        let alike = TileSet::from_rows(&[3.0; 4], 1, None, usize::MAX);
        assert_eq!(Dispersion::new(&alike, &[0, 0, 1, 1], 2).share_explained(), 1.0);
    }
}
