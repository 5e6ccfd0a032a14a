//! How rows scatter about the means of their clusters, from exact sums.

use num_bigint::{BigInt, BigUint};

use crate::num::round_ratio;
use crate::partial::{ClusterPartial, sq_norms_of_labels};
use crate::tiles::TileSet;

/// Exact sums per cluster under given labels, and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispersion {
    /// Sums, weights and counts.
    pub partial: ClusterPartial,
    /// Sum of weight times squared norm per cluster, in grid units squared.
    pub sq_norms: Vec<u128>,
}

impl Dispersion {
    /// Of the rows of `data` under `labels`, whose sums are `partial`.
    ///
    /// # Panics
    /// If there is not one label per row, or a label is out of range.
    #[must_use]
    pub fn new(data: &TileSet, labels: &[u32], partial: ClusterPartial) -> Self {
        let sq_norms = sq_norms_of_labels(data, labels, partial.n_clusters());
        Self { partial, sq_norms }
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
        let mut total = Self {
            partial: ClusterPartial::zero(1, d),
            sq_norms: vec![self.sq_norms.iter().sum()],
        };
        for cluster in 0..self.n_clusters() {
            let sums = total.partial.sums.iter_mut().zip(self.partial.sums_of(cluster));
            sums.for_each(|(a, b)| *a += b);
        }
        total.partial.cluster_weights[0] = self.weight();
        total.partial.counts[0] = self.partial.counts.iter().sum();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn dispersion(data: &TileSet, labels: &[u32], k: usize) -> Dispersion {
        Dispersion::new(data, labels, ClusterPartial::of_labels(data, labels, k))
    }

    #[test]
    fn norms_are_weighted_and_added_up_by_cluster() {
        let rows = [3., 4., -1., 0., 0., 2., 1., 1.];
        for chunk_bytes in [1, usize::MAX] {
            let data = TileSet::from_rows(&rows, 2, Some(&[2, 3, 0, 1]), chunk_bytes);
            assert_eq!(dispersion(&data, &[1, 0, 0, 1], 2).sq_norms, [3, 52]);
            assert_eq!(dispersion(&data, &[1, 0, 0, 1], 2).total().sq_norms, [55]);
        }
    }

    #[test]
    fn scatter_worked_out_by_hand() {
        let data = TileSet::from_rows(&[0., 2., 10., 14.], 1, None, usize::MAX);
        let found = dispersion(&data, &[0, 0, 1, 1], 2);
        assert_eq!([0, 1].map(|cluster| found.variance(cluster)), [1.0, 4.0]);
        assert_eq!((found.within(), found.between()), (10.0, 121.0));
        assert_eq!(found.share_explained(), 121.0 / 131.0);
        assert_eq!(found.calinski_harabasz(1.0), Some(121.0 * 2.0 / 10.0));
        assert_eq!(dispersion(&data, &[0; 4], 1).calinski_harabasz(1.0), None);
        let alike = TileSet::from_rows(&[3.0; 4], 1, None, usize::MAX);
        assert_eq!(dispersion(&alike, &[0, 0, 1, 1], 2).share_explained(), 1.0);
    }
}
