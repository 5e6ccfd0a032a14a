//! Centroids as exact integers, 2^8 finer than the grid.

use crate::grid::CENTROID_SCALE;

/// `n_clusters x n_features` integers, row-major, in units of `step / 2^8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Centroids {
    n_features: usize,
    values: Vec<i32>,
}

impl Centroids {
    /// Centroids from row-major integers in units of `step / 2^8`.
    ///
    /// # Panics
    /// If `values` is not a whole number of rows, or empty.
    #[must_use]
    pub fn new(n_features: usize, values: Vec<i32>) -> Self {
        assert!(
            n_features > 0 && !values.is_empty() && values.len().is_multiple_of(n_features),
            "whole centroids only"
        );
        Self { n_features, values }
    }

    /// Centroids that stand exactly on the given data rows (`n_clusters x n_features` grid values).
    #[must_use]
    pub fn on_rows(n_features: usize, rows: &[i32]) -> Self {
        Self::new(n_features, rows.iter().map(|&x| x * CENTROID_SCALE as i32).collect())
    }

    /// Number of centroids.
    #[must_use]
    pub fn n_clusters(&self) -> usize {
        self.values.len() / self.n_features
    }

    /// Number of features.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// All coordinates, row-major.
    #[must_use]
    pub fn values(&self) -> &[i32] {
        &self.values
    }

    /// The coordinates of one centroid.
    #[must_use]
    pub fn row(&self, cluster: usize) -> &[i32] {
        &self.values[cluster * self.n_features..(cluster + 1) * self.n_features]
    }

    /// The coordinates of one centroid, to be changed.
    pub fn row_mut(&mut self, cluster: usize) -> &mut [i32] {
        &mut self.values[cluster * self.n_features..(cluster + 1) * self.n_features]
    }

    /// The centroids `order[0], order[1], …`, which may leave some out.
    #[must_use]
    pub fn reordered(&self, order: &[usize]) -> Self {
        Self::new(
            self.n_features,
            order
                .iter()
                .flat_map(|&cluster| self.row(cluster).iter().copied())
                .collect(),
        )
    }

    /// Exact squared distance of data row `x` (grid values) to a centroid, in centroid units squared.
    ///
    /// Each difference is below 2^32, each square below 2^64, and there are at most 2^15 of them: their halves of 32
    /// bits add up in 64.
    #[inline]
    #[must_use]
    pub fn sq_dist(&self, x: &[i32], cluster: usize) -> u128 {
        let (mut low, mut high) = (0, 0);
        for (&x, &c) in x.iter().zip(self.row(cluster)) {
            let diff = (i64::from(x) * CENTROID_SCALE - i64::from(c)).unsigned_abs();
            let square = (diff & 0xffff_ffff) * (diff & 0xffff_ffff);
            low += square & 0xffff_ffff;
            high += square >> 32;
        }
        (u128::from(high) << 32) + u128::from(low)
    }

    /// `f32` coordinates in grid units (`c / 2^8`), row-major: each within one rounding of the exact value.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        self.values
            .iter()
            .map(|&c| c as f32 * (1.0 / CENTROID_SCALE as f32))
            .collect()
    }

    /// Half the exact squared norm of each centroid in grid units, rounded to `f32` (relative error below `2^-23`).
    #[must_use]
    pub fn half_sq_norms_f32(&self) -> Vec<f32> {
        (0..self.n_clusters())
            .map(|cluster| {
                let norm: u128 = self
                    .row(cluster)
                    .iter()
                    .map(|&c| u128::from(c.unsigned_abs()).pow(2))
                    .sum();
                (norm as f64 * (0.5 / (CENTROID_SCALE * CENTROID_SCALE) as f64)) as f32
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::MAX_GRID;

    #[test]
    fn the_farthest_distance_fits() {
        let centroids = Centroids::new(2, vec![-MAX_GRID * 256, -MAX_GRID * 256]);
        let side = u128::from(2 * MAX_GRID as u64 * 256).pow(2);
        assert_eq!(centroids.sq_dist(&[MAX_GRID, MAX_GRID], 0), 2 * side);
    }

    #[test]
    fn f32_views_are_in_grid_units() {
        let centroids = Centroids::on_rows(2, &[3, -4]);
        assert_eq!(centroids.to_f32(), [3.0, -4.0]);
        assert_eq!(centroids.half_sq_norms_f32(), [12.5]);
    }
}
