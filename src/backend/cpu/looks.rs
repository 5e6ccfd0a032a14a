//! The ways to look at a row, and what they cost.

use super::coarse_kernel::CoarseKernels;
use super::kernel::Kernels;
use crate::tiles::{Centroids, row_words};

/// How rows are looked at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstLook {
    /// In `f32`.
    Floats,
    /// In [integers](super::coarse), pairs of them.
    Pairs,
    /// In the same integers, on a [matrix unit](super::matrix_unit).
    Matrix,
}

impl FirstLook {
    /// The cheapest for so many centroids, as far as their shape tells.
    pub(super) fn new(kernels: &Kernels, centroids: &Centroids) -> Self {
        Self::cheapest(kernels.coarse.as_ref(), centroids.n_clusters(), centroids.n_features())
    }

    /// The cheapest for a shape; one in integers leaves rows to look at again, and has to pay.
    fn cheapest(kernels: Option<&CoarseKernels>, n_clusters: usize, n_features: usize) -> Self {
        let Some(kernels) = kernels else {
            return Self::Floats;
        };
        let cost = |look: Self| look.cost(n_clusters, n_features);
        let coarse = if kernels.has_matrix_unit && cost(Self::Matrix) < cost(Self::Pairs) {
            Self::Matrix
        } else {
            Self::Pairs
        };
        if cost(coarse) < 0.9 * cost(Self::Floats) {
            coarse
        } else {
            Self::Floats
        }
    }

    /// Whether rows that a look in integers leaves open are held against the two centroids in question alone, if no third
    /// is: to know the third costs two operations per centroid of all rows.
    pub(super) fn narrows(self, centroids: &Centroids) -> bool {
        self != Self::Floats && narrowing_pays(centroids.n_clusters(), centroids.n_features())
    }

    /// Estimated cycles per row.
    pub(super) fn cost(self, n_clusters: usize, n_features: usize) -> f64 {
        let (k, d) = (n_clusters as f64, n_features as f64);
        match self {
            // A multiply-add per centroid and feature of sixteen rows, five operations per centroid.
            Self::Floats => k * (d + 4.0) / 16.0,
            // One operation does two features, after these are rounded.
            Self::Pairs => (k * (d / 2.0 + 2.5) + 1.5 * d) / 16.0,
            // A step does 64 features of sixteen rows and centroids, after these are rounded and split.
            Self::Matrix => {
                let n_steps = n_features.div_ceil(64) as f64;
                n_clusters.next_multiple_of(16) as f64 * (0.5 + 0.55 * n_steps) + 0.4 * d
            }
        }
    }
}

fn narrowing_pays(n_clusters: usize, n_features: usize) -> bool {
    /// Rows that are left open, of which hardly any have a third.
    const OPEN: f64 = 0.02;
    let saved = FirstLook::Floats.cost(n_clusters, n_features) - 2.0 * gather_cost(n_features);
    OPEN * saved > n_clusters as f64 / 8.0
}

/// Estimated cycles of a row that is looked at again.
pub(super) fn second_look_cost(n_clusters: usize, n_features: usize) -> f64 {
    FirstLook::Floats.cost(n_clusters, n_features) + gather_cost(n_features)
}

/// Taking a row out of its block.
pub(super) fn gather_cost(n_features: usize) -> f64 {
    6.0 * row_words(n_features) as f64 + 60.0
}

/// Reading the low bits of a row as well, and joining them with the high ones.
pub(super) fn low_bits_cost(n_features: usize) -> f64 {
    0.25 * n_features as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernel;

    #[test]
    fn first_looks_are_the_cheapest_there_are() {
        assert_eq!(FirstLook::cheapest(None, 256, 64), FirstLook::Floats);
        for kernels in kernel::available().iter().filter_map(|kernels| kernels.coarse) {
            let look = |k, d| FirstLook::cheapest(Some(&kernels), k, d);
            assert_eq!(look(8, 8), FirstLook::Pairs);
            assert_eq!(look(256, 64) == FirstLook::Matrix, kernels.has_matrix_unit);
        }
        assert!(narrowing_pays(1024, 128) && !narrowing_pays(256, 64));
    }
}
