//! What each cluster would bring if it were split in two, and cost if its centroid were taken away: estimates that say
//! which moves are worth a trial.
//!
//! The gain of a split is that of 2-means on the cluster's rows, the best of a few starts. The cost of a removal is what
//! the rows lose by going to their runners-up, less what the runners-up gain by moving to their new means. Both come from
//! the first rows of each cluster only, where it has many. All in `f64`, one thread per cluster, every sum in a fixed
//! order and nothing fused: the same on every machine.

use rayon::prelude::*;

use crate::backend::{NO_CLUSTER, TwoNearest};
use crate::grid::CENTROID_SCALE;
use crate::num::widest::{Kernel, widest};
use crate::rng::Rng;
use crate::tiles::{BLOCK, Centroids, TileSet};

/// Rows of a cluster that are looked at.
const MOST_ROWS: usize = 1 << 12;
/// Iterations of 2-means from each start.
const SPLIT_ITER: usize = 8;
/// Starts of 2-means from the centroid and a row drawn by squared distance, besides the one along the longest axis.
const DRAWN_STARTS: usize = 2;
/// Iterations that find the longest axis.
const AXIS_ITER: usize = 4;
/// Streams of random numbers from here on, apart from those of the restarts.
const STREAM: u64 = 1 << 32;

/// Rows by cluster, with their runners-up.
pub(super) struct Grouped {
    /// Rows, those of cluster 0 first, in row order.
    rows: Vec<u32>,
    /// Where each cluster's rows begin, and the end.
    starts: Vec<usize>,
    labels: Vec<u32>,
    runners_up: Vec<u32>,
}

impl Grouped {
    pub(super) fn new(nearest: TwoNearest, n_clusters: usize) -> Self {
        let mut starts = vec![0; n_clusters + 1];
        nearest.labels.iter().for_each(|&label| starts[label as usize + 1] += 1);
        (0..n_clusters).for_each(|cluster| starts[cluster + 1] += starts[cluster]);
        let mut next = starts.clone();
        let mut rows = vec![0; nearest.labels.len()];
        for (row, &label) in nearest.labels.iter().enumerate() {
            rows[next[label as usize]] = row as u32;
            next[label as usize] += 1;
        }
        Self {
            rows,
            starts,
            labels: nearest.labels,
            runners_up: nearest.runners_up,
        }
    }

    pub(super) fn rows(&self, cluster: usize) -> &[u32] {
        &self.rows[self.starts[cluster]..self.starts[cluster + 1]]
    }

    pub(super) fn labels(&self) -> &[u32] {
        &self.labels
    }

    pub(super) fn label(&self, row: usize) -> usize {
        self.labels[row] as usize
    }
}

/// Of one cluster, in centroid units squared times weight.
pub(super) struct Outlook {
    /// By how much a split would lower the inertia; 0 where its rows are all alike.
    pub(super) split_gain: f64,
    /// The centroids of the two halves.
    pub(super) halves: [Vec<i32>; 2],
    /// By how much the inertia would grow without its centroid.
    pub(super) removal_cost: f64,
    /// The clusters that its rows would go to, most weight first.
    pub(super) neighbours: Vec<usize>,
}

impl Outlook {
    /// Puts two centroids onto the halves.
    pub(super) fn apply(&self, centroids: &mut Centroids, first: usize, second: usize) {
        centroids.row_mut(first).copy_from_slice(&self.halves[0]);
        centroids.row_mut(second).copy_from_slice(&self.halves[1]);
    }
}

/// The outlook of every cluster. `seed` and `round` decide where the starts of 2-means are drawn.
pub(super) fn outlook(data: &TileSet, centroids: &Centroids, grouped: &Grouped, seed: u64, round: u64) -> Vec<Outlook> {
    let k = centroids.n_clusters();
    let weight_of = |cluster: usize| -> f64 {
        let weight = |&row: &u32| u64::from(data.weight(row as usize));
        grouped.rows(cluster).iter().map(weight).sum::<u64>() as f64
    };
    let weights: Vec<f64> = (0..k).into_par_iter().map(weight_of).collect();
    (0..k)
        .into_par_iter()
        .map(|cluster| {
            let members = Members::new(data, centroids, grouped, cluster);
            let share = weights[cluster] / members.weight.max(1.0);
            let mut rng = Rng::new(seed, STREAM + round * k as u64 + cluster as u64);
            let (split_gain, halves) = members.split(&mut rng);
            let centre = centroids.row(cluster);
            let place = |half: &Vec<f64>| half.iter().zip(centre).map(|(x, &c)| c + x.round() as i32).collect();
            let (removal_cost, neighbours) = members.removal(centroids, cluster, share, &weights);
            Outlook {
                split_gain: split_gain * share,
                halves: halves.each_ref().map(place),
                removal_cost,
                neighbours,
            }
        })
        .collect()
}

/// The first rows of a cluster as differences from its centroid, feature by feature, in centroid units.
struct Members {
    n: usize,
    d: usize,
    /// `d x n`.
    values: Vec<f64>,
    weights: Vec<f64>,
    weight: f64,
    /// Runner-up and place in here, sorted.
    runners_up: Vec<(u32, u32)>,
}

impl Members {
    fn new(data: &TileSet, centroids: &Centroids, grouped: &Grouped, cluster: usize) -> Self {
        let rows = grouped.rows(cluster);
        let rows = &rows[..rows.len().min(MOST_ROWS)];
        let (n, d) = (rows.len(), centroids.n_features());
        let own = data.gather(&rows.iter().map(|&row| row as usize).collect::<Vec<_>>());
        let mut values = vec![0.0; n * d];
        let blocks = own
            .chunks()
            .iter()
            .flat_map(|chunk| (0..chunk.n_blocks()).map(|block| chunk.block(block)));
        for (block, first) in blocks.zip((0..n).step_by(BLOCK)) {
            for (feature, &c) in centroids.row(cluster).iter().enumerate() {
                let end = (first + BLOCK).min(n);
                let lane = &mut values[feature * n..][first..end];
                for (value, x) in lane.iter_mut().zip(block.lane(feature)) {
                    *value = f64::from(x) * CENTROID_SCALE as f64 - f64::from(c);
                }
            }
        }
        let weights: Vec<f64> = (0..n).map(|row| f64::from(own.weight(row))).collect();
        let mut runners_up: Vec<(u32, u32)> = rows
            .iter()
            .enumerate()
            .map(|(place, &row)| (grouped.runners_up[row as usize], place as u32))
            .collect();
        runners_up.sort_unstable();
        Self {
            n,
            d,
            values,
            weight: weights.iter().sum(),
            weights,
            runners_up,
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.n)
    }

    /// The scalar product of each row with `direction`.
    fn project(&self, direction: &[f64]) -> Vec<f64> {
        widest(Project {
            members: self,
            direction,
        })
    }

    /// The sum of the rows, each times its factor.
    fn combine(&self, factors: &[f64]) -> Vec<f64> {
        widest(Combine { members: self, factors })
    }

    /// By how much the best split found lowers the inertia of these rows, and the means of its halves.
    fn split(&self, rng: &mut Rng) -> (f64, [Vec<f64>; 2]) {
        let none = (0.0, [vec![0.0; self.d], vec![0.0; self.d]]);
        if self.n < 2 {
            return none;
        }
        let mut sq_norms = vec![0.0; self.n];
        for lane in self.lanes() {
            sq_norms.iter_mut().zip(lane).for_each(|(sum, &x)| *sum += x * x);
        }
        let axis = self.axis(&sq_norms);
        let starts = std::iter::once((axis, 0.0)).chain((0..DRAWN_STARTS).map(|_| {
            let row = self.draw(&sq_norms, rng);
            let direction: Vec<f64> = self.lanes().map(|lane| lane[row]).collect();
            (direction, sq_norms[row] / 2.0)
        }));
        starts
            .map(|(direction, limit)| self.two_means(direction, limit))
            .fold(none, |best, found| if found.0 > best.0 { found } else { best })
    }

    /// A row with probability in proportion to weight times squared norm.
    fn draw(&self, sq_norms: &[f64], rng: &mut Rng) -> usize {
        let share = |row: usize| sq_norms[row] * self.weights[row];
        let total: f64 = (0..self.n).map(share).sum();
        let mut left = total * (rng.below(1 << 53) as f64 / (1u64 << 53) as f64);
        (0..self.n - 1)
            .take_while(|&row| {
                left -= share(row);
                left >= 0.0
            })
            .count()
    }

    /// The direction in which the rows differ most, by a few power iterations from the farthest row.
    fn axis(&self, sq_norms: &[f64]) -> Vec<f64> {
        let farthest = (1..self.n).fold(0, |best, row| if sq_norms[row] > sq_norms[best] { row } else { best });
        let mut axis: Vec<f64> = self.lanes().map(|lane| lane[farthest]).collect();
        for _ in 0..AXIS_ITER {
            let norm = dot(&axis, &axis).sqrt();
            if norm == 0.0 {
                break;
            }
            axis.iter_mut().for_each(|x| *x /= norm);
            let mut factors = self.project(&axis);
            factors
                .iter_mut()
                .zip(&self.weights)
                .for_each(|(factor, weight)| *factor *= weight);
            axis = self.combine(&factors);
        }
        axis
    }

    /// 2-means from the halves on the two sides of `x . direction = limit`.
    fn two_means(&self, mut direction: Vec<f64>, mut limit: f64) -> (f64, [Vec<f64>; 2]) {
        let all = self.combine(&self.weights);
        let mut best = (0.0, [vec![0.0; self.d], vec![0.0; self.d]]);
        for _ in 0..SPLIT_ITER {
            let mut factors = self.project(&direction);
            for (factor, &weight) in factors.iter_mut().zip(&self.weights) {
                *factor = if *factor > limit { weight } else { 0.0 };
            }
            let weight: f64 = factors.iter().sum();
            let rest = self.weight - weight;
            if weight == 0.0 || rest == 0.0 {
                break;
            }
            let over: Vec<f64> = self.combine(&factors).iter().map(|sum| sum / weight).collect();
            let under: Vec<f64> = all
                .iter()
                .zip(&over)
                .map(|(all, x)| (all - x * weight) / rest)
                .collect();
            direction = over.iter().zip(&under).map(|(a, b)| a - b).collect();
            limit = (dot(&over, &over) - dot(&under, &under)) / 2.0;
            let gain = dot(&direction, &direction) * weight * rest / self.weight;
            if gain <= best.0 {
                break;
            }
            best = (gain, [under, over]);
        }
        best
    }

    /// What the inertia would grow by without this cluster's centroid, and the clusters that take the rows. `share`:
    /// by what factor the whole cluster weighs more than the rows in here; `weights`: those of all clusters.
    fn removal(&self, centroids: &Centroids, cluster: usize, share: f64, weights: &[f64]) -> (f64, Vec<usize>) {
        let mut cost = 0.0;
        let mut takers = Vec::new();
        for group in self.runners_up.chunk_by(|a, b| a.0 == b.0) {
            if group[0].0 == NO_CLUSTER {
                continue;
            }
            let taker = group[0].0 as usize;
            let weight: f64 = group.iter().map(|&(_, row)| self.weights[row as usize]).sum();
            if weight == 0.0 {
                continue;
            }
            // Means of what goes, and where the taker stands; both from this centroid.
            let mean = |lane: &[f64]| {
                let terms = group
                    .iter()
                    .map(|&(_, row)| lane[row as usize] * self.weights[row as usize]);
                terms.sum::<f64>() / weight
            };
            let places = centroids.row(taker).iter().zip(centroids.row(cluster));
            let (mut grows, mut sq_shift) = (0.0, 0.0);
            for ((&to, &from), lane) in places.zip(self.lanes()) {
                let (to, mean) = (f64::from(to) - f64::from(from), mean(lane));
                grows += to * (to - 2.0 * mean);
                sq_shift += (to - mean) * (to - mean);
            }
            let weight = weight * share;
            cost += weight * grows - sq_shift * weight * weight / (weight + weights[taker]);
            takers.push((weight, taker));
        }
        takers.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        (cost, takers.into_iter().map(|(_, taker)| taker).collect())
    }
}

/// See [`Members::project`].
struct Project<'m> {
    members: &'m Members,
    direction: &'m [f64],
}

impl Kernel for Project<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run(self) -> Vec<f64> {
        let mut products = vec![0.0; self.members.n];
        for (lane, &c) in self.members.lanes().zip(self.direction) {
            for (product, &x) in products.iter_mut().zip(lane) {
                *product += x * c;
            }
        }
        products
    }
}

/// See [`Members::combine`].
struct Combine<'m> {
    members: &'m Members,
    factors: &'m [f64],
}

impl Kernel for Combine<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run(self) -> Vec<f64> {
        let mut sums = Vec::with_capacity(self.members.d);
        for lane in self.members.lanes() {
            sums.push(dot(lane, self.factors));
        }
        sums
    }
}

/// The scalar product, added up in eight strands: a fixed order that vector units can follow.
#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const STRANDS: usize = 8;
    let mut sums = [0.0; STRANDS];
    let (a_runs, b_runs) = (a.chunks_exact(STRANDS), b.chunks_exact(STRANDS));
    let rest: f64 = a_runs
        .remainder()
        .iter()
        .zip(b_runs.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a_runs.zip(b_runs) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::backend::scalar::ScalarBackend;

    fn outlooks(rows: &[f32], weights: Option<&[u32]>, centroids: &[i32]) -> Vec<Outlook> {
        let data = TileSet::from_rows(rows, 1, weights, usize::MAX);
        let centroids = Centroids::new(1, centroids.to_vec());
        let nearest = ScalarBackend.open(&data, 3).unwrap().two_nearest(&centroids).unwrap();
        let grouped = Grouped::new(nearest, centroids.n_clusters());
        outlook(&data, &centroids, &grouped, 0, 0)
    }

    /// In grid units squared.
    fn unit(value: f64) -> f64 {
        value / (CENTROID_SCALE * CENTROID_SCALE) as f64
    }

    #[test]
    fn gains_and_costs_worked_out_by_hand() {
        // Clusters {0, 0, 6, 6}, {20, 24} and {40} with centroids 3, 22 and 40.
        let found = outlooks(&[0., 6., 0., 6., 20., 24., 40.], None, &[3 * 256, 22 * 256, 40 * 256]);
        assert_eq!(unit(found[0].split_gain), 36.0);
        let mut halves = found[0].halves.concat();
        halves.sort_unstable();
        assert_eq!(halves, [0, 6 * 256]);
        assert_eq!((unit(found[1].split_gain), found[2].split_gain), (8.0, 0.0));
        // Without 40 its row goes to 22, 18 away, which moves to 28: {20, 24, 40} lie 224 around it, before 8.
        assert!((unit(found[2].removal_cost) - 216.0).abs() < 1e-9);
        assert_eq!(
            (&found[2].neighbours[..], &found[1].neighbours[..]),
            (&[1][..], &[0, 2][..])
        );
    }

    #[test]
    fn a_weight_counts_as_often() {
        let once = outlooks(&[0., 6., 20.], Some(&[2, 2, 3]), &[3 * 256, 20 * 256]);
        let twice = outlooks(&[0., 0., 6., 6., 20., 20., 20.], None, &[3 * 256, 20 * 256]);
        for (once, twice) in once.iter().zip(&twice) {
            assert_eq!(
                (once.split_gain, once.removal_cost),
                (twice.split_gain, twice.removal_cost)
            );
        }
    }

    #[test]
    fn rows_all_alike_cannot_be_split() {
        let found = outlooks(&[5., 5., 5., 9.], None, &[5 * 256, 9 * 256]);
        assert_eq!((found[0].split_gain, found[1].split_gain), (0.0, 0.0));
    }
}
