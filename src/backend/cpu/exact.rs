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

/// What is found for a row that one of two centroids is the nearest to.
pub(super) struct Nearer {
    pub(super) nearest: u32,
    pub(super) other: u32,
    /// Whether it took exact arithmetic.
    pub(super) close: bool,
    pub(super) tied: bool,
    /// By how much the other is farther, in grid units, at least.
    pub(super) margin: f32,
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
        Ranked {
            nearest: best.1,
            runner_up: runner_up.1,
            tied: best.0 == runner_up.0 || runner_up.0 == third.0,
            margin: margin(least, second),
            margin_of_rest: margin(least, rest),
        }
    }

    /// The nearer of two centroids to a row of grid values: by exact squared distance, ties to the lower index.
    pub(super) fn nearer(
        &mut self,
        row: impl Iterator<Item = i32> + Clone,
        two: [u32; 2],
        centroids: &Centroids,
        kernels: &Kernels,
    ) -> Nearer {
        self.x.clear();
        self.x.extend(row.clone().map(|x| x * CENTROID_SCALE as i32));
        let sq_dists = two.map(|cluster| (kernels.centroid_sq_dist)(&self.x, centroids.row(cluster as usize)));
        let [least, most] = [sq_dists[0].min(sq_dists[1]), sq_dists[0].max(sq_dists[1])];
        let close = most <= least * SLACK;
        let mut tied = false;
        let mut nearest = usize::from(sq_dists[1] < sq_dists[0]);
        if close {
            self.x.clear();
            self.x.extend(row);
            let exact = two.map(|cluster| (centroids.sq_dist(&self.x, cluster as usize), cluster));
            tied = exact[0].0 == exact[1].0;
            nearest = usize::from(exact[1] < exact[0]);
        }
        Nearer {
            nearest: two[nearest],
            other: two[1 - nearest],
            close,
            tied,
            margin: margin(least, most),
        }
    }
}

/// By how much the distances that belong to two squared ones, in centroid units, differ at least, in grid units.
fn margin(least: f64, other: f64) -> f32 {
    let margin = (other.sqrt() / SLACK - least.sqrt() * SLACK) / CENTROID_SCALE as f64;
    margin.max(0.0) as f32 * (1.0 - f32::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernel;
    use crate::backend::scalar;
    use crate::rng::Rng;

    #[test]
    fn the_nearer_of_two_is_the_first_of_all() {
        let mut rng = Rng::new(5, 0);
        let (mut n_ties, mut n_close) = (0, 0);
        for kernels in kernel::available() {
            for case in 0..300 {
                let d = 1 + case % 40;
                let width = [3, 1 << 12, 1 << 22][case % 3];
                let row: Vec<i32> = (0..d).map(|_| rng.below(width) as i32).collect();
                let centroids: Vec<i32> = (0..2 * d).map(|_| rng.below(256 * width) as i32).collect();
                let mirrored = centroids.iter().enumerate().map(|(at, &c)| match case % 2 {
                    // The second as far from the row as the first, but for a step now and then.
                    0 if at >= d => 512 * row[at - d] - centroids[at - d] + i32::from(case % 4 == 0 && at == d),
                    _ => c,
                });
                let centroids = Centroids::new(d, mirrored.collect());
                let [best, second] = <[u32; 2]>::from(scalar::two_nearest(&row, &centroids));
                for two in [[0, 1], [1, 0]] {
                    let found = Exact::default().nearer(row.iter().copied(), two, &centroids, &kernels);
                    assert_eq!(
                        [found.nearest, found.other],
                        [best, second],
                        "{}, case {case}",
                        kernels.name
                    );
                    let distance = |cluster: u32| (centroids.sq_dist(&row, cluster as usize) as f64).sqrt();
                    let margin = (distance(second) - distance(best)) / CENTROID_SCALE as f64;
                    assert!(f64::from(found.margin) <= margin);
                    n_ties += usize::from(found.tied);
                    n_close += usize::from(found.close && !found.tied);
                }
            }
        }
        assert!(
            n_ties > 100 && n_close > 10,
            "{n_ties} ties, {n_close} close: the test proves little"
        );
    }
}
