//! Rows that floating point cannot decide.

use super::kernel::Kernels;
use crate::backend::NO_CLUSTER;
use crate::grid::CENTROID_SCALE;
use crate::tiles::{BLOCK, Centroids};

/// More than the relative errors of two distances of [`Kernels::centroid_sq_dist`].
const SLACK: f64 = 1.0 + 1.0 / (1u64 << 26) as f64;

/// What exact arithmetic finds for a row.
pub(super) struct Ranked {
    pub(super) nearest: u32,
    pub(super) runner_up: u32,
    /// Whether it is as far from the nearest as from the second-nearest, or from that as from another one.
    pub(super) tied: bool,
    /// By how much all other centroids are farther than the nearest, in grid units, at least.
    pub(super) margin: f32,
    /// The same of all but the runner-up.
    pub(super) margin_of_rest: f32,
}

/// Buffers for deciding one row after another.
#[derive(Default)]
pub(super) struct Exact {
    /// The row in centroid units.
    x: Vec<i32>,
    sq_dists: Vec<f64>,
}

impl Exact {
    /// Nearest and second-nearest centroid of the row at `values[0]`, `values[64]`, …: by exact squared
    /// distance, ties to the lower index. Only centroids that an estimate leaves in question are measured exactly.
    pub(super) fn two_nearest(&mut self, values: &[f32], centroids: &Centroids, kernels: &Kernels) -> Ranked {
        let grid = values.iter().step_by(BLOCK).map(|&x| x as i32);
        self.x.clear();
        self.x.extend(grid.clone().map(|x| x * CENTROID_SCALE as i32));
        let sq_dist = |cluster: usize| (kernels.centroid_sq_dist)(&self.x, centroids.row(cluster));
        self.sq_dists.clear();
        self.sq_dists.extend((0..centroids.n_clusters()).map(sq_dist));
        let (mut least, mut second) = (f64::MAX, f64::MAX);
        for &sq_dist in &self.sq_dists {
            second = second.min(least.max(sq_dist));
            least = least.min(sq_dist);
        }
        let mut best = (u128::MAX, NO_CLUSTER);
        let (mut runner_up, mut third) = (best, best);
        self.x.clear();
        self.x.extend(grid);
        let in_question = self
            .sq_dists
            .iter()
            .enumerate()
            .filter(|&(_, &sq_dist)| sq_dist <= second * SLACK);
        for (cluster, _) in in_question {
            let candidate = (centroids.sq_dist(&self.x, cluster), cluster as u32);
            if candidate < best {
                (best, runner_up, third) = (candidate, best, runner_up);
            } else if candidate < runner_up {
                (runner_up, third) = (candidate, runner_up);
            } else if candidate < third {
                third = candidate;
            }
        }
        let rest = self.sq_dists.iter().enumerate();
        let rest = rest.filter(|&(cluster, _)| ![best.1, runner_up.1].contains(&(cluster as u32)));
        let rest = rest.fold(f64::MAX, |least, (_, &sq_dist)| least.min(sq_dist));
        let margin = |other: f64| {
            let margin = (other.sqrt() / SLACK - least.sqrt() * SLACK) / CENTROID_SCALE as f64;
            margin.max(0.0) as f32 * (1.0 - f32::EPSILON)
        };
        Ranked {
            nearest: best.1,
            runner_up: runner_up.1,
            tied: best.0 == runner_up.0 || runner_up.0 == third.0,
            margin: margin(second),
            margin_of_rest: margin(rest),
        }
    }
}
