//! Layer 1: what a pass adds up per cluster, an exact commutative monoid.

mod labelled;

pub use labelled::sq_norms_of_labels;
pub(crate) use labelled::{COPIES, TASK_BLOCKS};

use crate::grid::CENTROID_SCALE;
use crate::tiles::Centroids;

/// Per cluster: the sum of grid values, the total weight, the number of rows. Every field is an integer, so merging
/// in any order, from any split of the data, gives the same bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPartial {
    n_clusters: usize,
    n_features: usize,
    /// `n_clusters x n_features`, row-major: sum of weight times grid value.
    pub sums: Vec<i128>,
    /// Sum of integer weights.
    pub cluster_weights: Vec<u64>,
    /// Rows, whatever their weight.
    pub counts: Vec<u64>,
}

impl ClusterPartial {
    /// The neutral element: nothing added yet.
    #[must_use]
    pub fn zero(n_clusters: usize, n_features: usize) -> Self {
        Self {
            n_clusters,
            n_features,
            sums: vec![0; n_clusters * n_features],
            cluster_weights: vec![0; n_clusters],
            counts: vec![0; n_clusters],
        }
    }

    /// Number of clusters.
    #[must_use]
    pub fn n_clusters(&self) -> usize {
        self.n_clusters
    }

    /// Number of features.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Adds one row (grid values) to a cluster.
    pub fn add_row(&mut self, cluster: usize, x: &[i32], weight: u32) {
        self.shift_row(cluster, x, i64::from(weight));
        self.cluster_weights[cluster] += u64::from(weight);
        self.counts[cluster] += 1;
    }

    /// Takes one row (grid values) out of a cluster that holds it.
    pub fn remove_row(&mut self, cluster: usize, x: &[i32], weight: u32) {
        self.shift_row(cluster, x, -i64::from(weight));
        self.cluster_weights[cluster] -= u64::from(weight);
        self.counts[cluster] -= 1;
    }

    fn shift_row(&mut self, cluster: usize, x: &[i32], weight: i64) {
        let sums = &mut self.sums[cluster * self.n_features..(cluster + 1) * self.n_features];
        for (sum, &x) in sums.iter_mut().zip(x) {
            *sum += i128::from(weight * i64::from(x));
        }
    }

    /// Adds everything `other` holds.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(
            (self.n_clusters, self.n_features),
            (other.n_clusters, other.n_features),
            "partials of one shape"
        );
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        self.cluster_weights
            .iter_mut()
            .zip(&other.cluster_weights)
            .for_each(|(a, b)| *a += b);
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
    }

    /// The clusters `order[0], order[1], …`, which may leave some out.
    #[must_use]
    pub fn reordered(&self, order: &[usize]) -> Self {
        Self {
            n_clusters: order.len(),
            n_features: self.n_features,
            sums: order
                .iter()
                .flat_map(|&cluster| self.sums_of(cluster))
                .copied()
                .collect(),
            cluster_weights: order.iter().map(|&cluster| self.cluster_weights[cluster]).collect(),
            counts: order.iter().map(|&cluster| self.counts[cluster]).collect(),
        }
    }

    /// The sums of one cluster.
    #[must_use]
    pub fn sums_of(&self, cluster: usize) -> &[i128] {
        &self.sums[cluster * self.n_features..(cluster + 1) * self.n_features]
    }

    /// Clusters that hold no weight.
    pub fn empty_clusters(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.n_clusters).filter(|&cluster| self.cluster_weights[cluster] == 0)
    }

    /// The new centroids: sum / weight, rounded once (half up) to the centroid grid. An empty cluster keeps its
    /// place in `previous`.
    ///
    /// Of all grid points this is the one with the least squared distance to the cluster's rows, which is why the
    /// inertia never rises from one iteration to the next, exactly.
    #[must_use]
    pub fn centroids(&self, previous: &Centroids) -> Centroids {
        let mut next = previous.clone();
        for cluster in 0..self.n_clusters {
            let weight = i128::from(self.cluster_weights[cluster]);
            if weight == 0 {
                continue;
            }
            for (c, &sum) in next.row_mut(cluster).iter_mut().zip(self.sums_of(cluster)) {
                let doubled = 2 * i128::from(CENTROID_SCALE) * sum + weight;
                *c = i32::try_from(doubled.div_euclid(2 * weight)).expect("a mean lies between its values");
            }
        }
        next
    }

    /// The exact inertia of these rows against `centroids`, in centroid units squared:
    /// `2^16 T - 2^9 S.C + W |C|^2` summed over clusters, where `T = total_sq_norm` is the weighted sum of `|x|^2`
    /// in grid units squared.
    ///
    /// # Panics
    /// If `total_sq_norm` is not that of the rows in here (the difference would be negative), or above 2^127 (more
    /// than 2^50 rows).
    #[must_use]
    pub fn inertia(&self, centroids: &Centroids, total_sq_norm: u128) -> u128 {
        let scale = i128::from(CENTROID_SCALE);
        let mut inertia = i128::try_from(total_sq_norm).expect("fits") * scale * scale;
        for cluster in 0..self.n_clusters {
            let weight = i128::from(self.cluster_weights[cluster]);
            for (&sum, &c) in self.sums_of(cluster).iter().zip(centroids.row(cluster)) {
                let c = i128::from(c);
                inertia += c * (weight * c - 2 * scale * sum);
            }
        }
        u128::try_from(inertia).expect("a sum of squares is not negative")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows 0, 1, 10 and 13 in one dimension, the first two in cluster 0.
    fn four_rows() -> ClusterPartial {
        let mut partial = ClusterPartial::zero(2, 1);
        for (x, cluster) in [(0, 0), (1, 0), (10, 1), (13, 1)] {
            partial.add_row(cluster, &[x], 1);
        }
        partial
    }

    #[test]
    fn a_small_answer_worked_out_by_hand() {
        let partial = four_rows();
        let centroids = partial.centroids(&Centroids::on_rows(1, &[0, 0]));
        assert_eq!(centroids.values(), [128, 11 * 256 + 128]); // 0.5 and 11.5
        let total = 1 + 100 + 169;
        assert_eq!(partial.inertia(&centroids, total), 5 * 256 * 256); // 0.25 + 0.25 + 2.25 + 2.25
    }

    #[test]
    fn merging_and_removing_undo_each_other() {
        let mut partial = four_rows();
        partial.merge(&four_rows());
        for (x, cluster) in [(0, 0), (1, 0), (10, 1), (13, 1)] {
            partial.remove_row(cluster, &[x], 1);
        }
        assert_eq!(partial, four_rows());
    }

    #[test]
    fn halves_round_up_on_both_sides_of_zero() {
        let mut partial = ClusterPartial::zero(1, 2);
        partial.add_row(0, &[1, -1], 1);
        for _ in 0..511 {
            partial.add_row(0, &[0, 0], 1);
        }
        // 256 / 512 = 0.5 and -0.5 centroid units.
        assert_eq!(partial.centroids(&Centroids::new(2, vec![9, 9])).values(), [1, 0]);
    }

    #[test]
    fn an_empty_cluster_keeps_its_centroid() {
        let partial = ClusterPartial::zero(1, 1);
        assert_eq!(partial.centroids(&Centroids::new(1, vec![77])).values(), [77]);
        assert_eq!(partial.empty_clusters().collect::<Vec<_>>(), [0]);
    }
}
