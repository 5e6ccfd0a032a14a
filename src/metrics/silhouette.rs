//! Silhouettes of all rows in linear time, and the other figures that need one look at every row.
//!
//! With squared Euclidean distances the mean distance of a row to all rows of a cluster has a closed form in the
//! cluster's sum, sum of squared norms and weight: `|x - mean|^2 + variance`. So the silhouette of every row takes as
//! many multiplications as one assignment, not a comparison with every other row. It equals scikit-learn's
//! `silhouette_score(X, labels, metric="sqeuclidean")`; its default metric, the plain distance, has no closed form.

use std::ops::Range;

use rayon::prelude::*;

use super::dispersion::{COPIES, Dispersion, TASK_BLOCKS};
use crate::num::widest::{Kernel, widest};
use crate::partial::ClusterPartial;
use crate::tiles::{BLOCK, Block, Chunk, TileSet};

/// Features that are added up at a time; tables are padded to a multiple of it.
const STEP: usize = 4;
/// Silhouettes are added up in units of `2^-40`.
const SILHOUETTE_UNIT: f64 = 1.0 / (1u64 << 40) as f64;
/// Distances are added up as integers of so many bits.
const DISTANCE_BITS: i32 = 52;

/// How good a clustering is, over all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    /// Weighted mean over all rows of the silhouette (Rousseeuw, 1987) with squared Euclidean distances, from -1 to 1;
    /// `None` where there is one cluster only.
    pub silhouette: Option<f64>,
    /// The same per cluster; 0 where it holds no weight.
    pub cluster_silhouettes: Vec<f64>,
    /// The simplified silhouette (Hruschka, 2004): distances to the means of the own and of the nearest other cluster
    /// instead of mean distances to their rows.
    pub simplified_silhouette: Option<f64>,
    /// Davies-Bouldin index (1979): lower is better.
    pub davies_bouldin: Option<f64>,
    /// Calinski-Harabasz index, see [`Dispersion::calinski_harabasz`].
    pub calinski_harabasz: Option<f64>,
    /// See [`Dispersion::share_explained`].
    pub share_explained: f64,
    /// Share of the weight in the smallest cluster.
    pub smallest_share: f64,
}

/// Judges `labels` (one per row), under which the clusters' sums are `partial`. Rows without weight count for nothing; a row of weight `w`
/// counts as `w / row_weight` rows, where `row_weight` is 1 for data without weights.
///
/// # Panics
/// If there is not one label per row, or a label is out of range.
#[must_use]
pub fn quality(data: &TileSet, labels: &[u32], partial: &ClusterPartial, row_weight: f64) -> Quality {
    let n_clusters = partial.n_clusters();
    let dispersion = Dispersion::new(data, labels, partial.clone());
    let table = Means::new(&dispersion, row_weight);
    let zero = || Sums::zero(n_clusters);
    let sums = data
        .tasks(TASK_BLOCKS)
        .fold(
            || (zero(), table.room()),
            |(mut sums, mut room), (chunk, blocks)| {
                sums.add(&table, &mut room, chunk, blocks, labels);
                (sums, room)
            },
        )
        .map(|(sums, _)| sums)
        .reduce(zero, Sums::merged);
    let weight = dispersion.weight() as f64;
    let weights = &dispersion.partial.cluster_weights;
    let several = n_clusters > 1 && weight > 0.0;
    let mean_of = |sum: i128, weight: f64| sum as f64 * SILHOUETTE_UNIT / weight.max(1.0);
    let clusters = sums.silhouettes.iter().zip(weights);
    Quality {
        silhouette: several.then(|| mean_of(sums.silhouettes.iter().sum(), weight)),
        cluster_silhouettes: clusters.map(|(&sum, &weight)| mean_of(sum, weight as f64)).collect(),
        simplified_silhouette: several.then(|| mean_of(sums.simplified, weight)),
        davies_bouldin: several.then(|| davies_bouldin(&dispersion, &table, &sums)),
        calinski_harabasz: dispersion.calinski_harabasz(row_weight),
        share_explained: dispersion.share_explained(),
        smallest_share: weights
            .iter()
            .min()
            .map_or(0.0, |&least| least as f64 / weight.max(1.0)),
    }
}

/// The mean over clusters of the worst ratio of two clusters' mean distances to the distance of their means.
fn davies_bouldin(dispersion: &Dispersion, table: &Means, sums: &Sums) -> f64 {
    let k = dispersion.n_clusters();
    let spread = |cluster: usize| {
        let weight = dispersion.partial.cluster_weights[cluster].max(1) as f64;
        sums.distances[cluster] as f64 / table.distance_scale[cluster] / weight
    };
    let spreads: Vec<f64> = (0..k).map(spread).collect();
    let worst = |cluster: usize| {
        let ratio = |other: usize| {
            let means = table.means[cluster].iter().zip(&table.means[other]);
            let distance = means.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            let sum = spreads[cluster] + spreads[other];
            // As scikit-learn has it: means that coincide do not count.
            if distance > 0.0 { sum / distance } else { 0.0 }
        };
        let others = (0..k).filter(|&other| other != cluster);
        others.map(ratio).fold(0.0, f64::max)
    };
    (0..k).map(worst).sum::<f64>() / k as f64
}

/// The clusters' means as the kernel wants them, as differences from an origin near the mean of all rows.
struct Means {
    origin: Vec<f64>,
    means: Vec<Vec<f64>>,
    /// Per cluster, minus twice its mean, padded with zeros.
    factors: Vec<Vec<f64>>,
    /// Squared norms of the means; infinite where a cluster holds no weight.
    sq_norms: Vec<f64>,
    variances: Vec<f64>,
    /// What makes the mean over all rows of the own cluster one over all others: weight / (weight - one row's), 0
    /// where there is no other.
    without_itself: Vec<f64>,
    /// Powers of two that bring a distance to the own mean below `2^DISTANCE_BITS`.
    distance_scale: Vec<f64>,
}

impl Means {
    fn new(dispersion: &Dispersion, row_weight: f64) -> Self {
        let clusters = 0..dispersion.n_clusters();
        let origin = dispersion.origin();
        let means: Vec<Vec<f64>> = clusters.clone().map(|c| dispersion.mean(c, &origin)).collect();
        let weights = &dispersion.partial.cluster_weights;
        let variances: Vec<f64> = clusters.clone().map(|c| dispersion.variance(c)).collect();
        let factors = |mean: &Vec<f64>| {
            let mut factors: Vec<f64> = mean.iter().map(|m| -2.0 * m).collect();
            factors.resize(mean.len().next_multiple_of(STEP), 0.0);
            factors
        };
        let sq_norm = |c: usize| match weights[c] {
            0 => f64::INFINITY,
            _ => means[c].iter().map(|m| m * m).sum(),
        };
        let without_itself = |c: usize| {
            let weight = weights[c] as f64;
            if weight > row_weight {
                weight / (weight - row_weight)
            } else {
                0.0
            }
        };
        // No row with weight is farther from its mean than the root of weight times variance.
        let distance_scale = |c: usize| {
            let most = (weights[c] as f64 * variances[c]).sqrt();
            if most > 0.0 {
                2f64.powi(DISTANCE_BITS - 2 - most.log2().ceil() as i32)
            } else {
                1.0
            }
        };
        Self {
            origin: origin.iter().map(|&x| f64::from(x)).collect(),
            factors: means.iter().map(factors).collect(),
            sq_norms: clusters.clone().map(sq_norm).collect(),
            without_itself: clusters.clone().map(without_itself).collect(),
            distance_scale: clusters.clone().map(distance_scale).collect(),
            variances,
            means,
        }
    }

    /// Room for the values of a block.
    fn room(&self) -> Vec<f64> {
        vec![0.0; self.origin.len().next_multiple_of(STEP) * BLOCK]
    }
}

/// What is added up over rows: integers.
struct Sums {
    /// Weight times silhouette per cluster, in [`SILHOUETTE_UNIT`]s.
    silhouettes: Vec<i128>,
    simplified: i128,
    /// Weight times distance to the own mean per cluster, times [`Means::distance_scale`].
    distances: Vec<i128>,
}

impl Sums {
    fn zero(n_clusters: usize) -> Self {
        Self {
            silhouettes: vec![0; n_clusters],
            simplified: 0,
            distances: vec![0; n_clusters],
        }
    }

    fn merged(mut self, other: Self) -> Self {
        let add = |a: &mut Vec<i128>, b: Vec<i128>| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        add(&mut self.silhouettes, other.silhouettes);
        add(&mut self.distances, other.distances);
        self.simplified += other.simplified;
        self
    }

    /// Adds blocks of one task.
    fn add(&mut self, table: &Means, room: &mut [f64], chunk: &Chunk, blocks: Range<usize>, labels: &[u32]) {
        let k = self.silhouettes.len();
        // Of the rows of one task without weights each sum stays below 2^63.
        let mut sums = vec![[[0i64; 2]; COPIES]; k];
        let mut simplified = 0i64;
        for block in blocks {
            let first = block * BLOCK;
            let labels = &labels[chunk.first_row() + first..][..chunk.block_rows(block)];
            let rows = widest(BlockSilhouettes {
                table,
                block: chunk.block(block),
                room,
                labels,
            });
            let Some(weights) = chunk.weights() else {
                simplified += rows.simplified[..labels.len()].iter().sum::<i64>();
                for (row, &label) in labels.iter().enumerate() {
                    let [silhouette, distance] = &mut sums[label as usize][row % COPIES];
                    *silhouette += rows.silhouettes[row];
                    *distance += rows.distances[row];
                }
                continue;
            };
            for (row, (&label, &weight)) in labels.iter().zip(&weights[first..]).enumerate() {
                let (label, weight) = (label as usize, i128::from(weight));
                self.silhouettes[label] += weight * i128::from(rows.silhouettes[row]);
                self.distances[label] += weight * i128::from(rows.distances[row]);
                self.simplified += weight * i128::from(rows.simplified[row]);
            }
        }
        for (cluster, copies) in sums.iter().enumerate() {
            for &[silhouette, distance] in copies {
                self.silhouettes[cluster] += i128::from(silhouette);
                self.distances[cluster] += i128::from(distance);
            }
        }
        self.simplified += i128::from(simplified);
    }
}

/// Of the rows of a block, silhouettes in units of [`SILHOUETTE_UNIT`] and scaled distances to the own mean.
struct Rows {
    silhouettes: [i64; BLOCK],
    simplified: [i64; BLOCK],
    distances: [i64; BLOCK],
}

struct BlockSilhouettes<'b> {
    table: &'b Means,
    block: Block<'b>,
    room: &'b mut [f64],
    labels: &'b [u32],
}

impl Kernel for BlockSilhouettes<'_> {
    type Output = Rows;

    /// Every lane is a row, and every lane's operations stand in one order: no instruction set changes a bit.
    #[inline(always)]
    fn run(self) -> Rows {
        let Self {
            table,
            block,
            room,
            labels,
        } = self;
        let mut sq_norms = [0.0; BLOCK];
        let places = room.chunks_exact_mut(BLOCK).zip(&table.origin);
        for (feature, (to, &origin)) in places.enumerate().take(block.n_features()) {
            for ((to, x), norm) in to.iter_mut().zip(block.integers(feature)).zip(&mut sq_norms) {
                *to = f64::from(x) - origin;
                *norm += *to * *to;
            }
        }
        let mut label = [0.0; BLOCK];
        label
            .iter_mut()
            .zip(labels)
            .for_each(|(to, &label)| *to = f64::from(label));
        // Own cluster, and the least of the others: mean squared distance to the rows, squared distance to the mean.
        let (mut own, mut own_mean) = ([0.0; BLOCK], [0.0; BLOCK]);
        let (mut other, mut other_mean) = ([f64::INFINITY; BLOCK], [f64::INFINITY; BLOCK]);
        for (cluster, factors) in table.factors.iter().enumerate() {
            let number = cluster as f64;
            let (norm, variance) = (table.sq_norms[cluster], table.variances[cluster]);
            let mut sq_dists = sq_norms;
            for (lanes, factors) in room.chunks_exact(STEP * BLOCK).zip(factors.chunks_exact(STEP)) {
                let (a, rest) = lanes.split_at(BLOCK);
                let (b, rest) = rest.split_at(BLOCK);
                let (c, d) = rest.split_at(BLOCK);
                for row in 0..BLOCK {
                    let sum = sq_dists[row] + factors[0] * a[row] + factors[1] * b[row];
                    sq_dists[row] = sum + factors[2] * c[row] + factors[3] * d[row];
                }
            }
            for row in 0..BLOCK {
                let to_mean = (sq_dists[row] + norm).max(0.0);
                let to_rows = to_mean + variance;
                let is_own = label[row] == number;
                own[row] = if is_own { to_rows } else { own[row] };
                own_mean[row] = if is_own { to_mean } else { own_mean[row] };
                let (to_rows, to_mean) = if is_own {
                    (f64::INFINITY, f64::INFINITY)
                } else {
                    (to_rows, to_mean)
                };
                other[row] = if to_rows < other[row] { to_rows } else { other[row] };
                other_mean[row] = if to_mean < other_mean[row] {
                    to_mean
                } else {
                    other_mean[row]
                };
            }
        }
        let mut rows = Rows {
            silhouettes: [0; BLOCK],
            simplified: [0; BLOCK],
            distances: [0; BLOCK],
        };
        let (mut without_itself, mut distance_scale) = ([0.0; BLOCK], [0.0; BLOCK]);
        for (row, &label) in labels.iter().enumerate() {
            without_itself[row] = table.without_itself[label as usize];
            distance_scale[row] = table.distance_scale[label as usize];
        }
        for row in 0..BLOCK {
            let of_row = silhouette(own[row] * without_itself[row], other[row]);
            // The only row of its cluster has the silhouette 0.
            let of_row = if without_itself[row] > 0.0 { of_row } else { 0.0 };
            let distance = own_mean[row].sqrt();
            let simplified = silhouette(distance, other_mean[row].sqrt());
            rows.silhouettes[row] = rounded(of_row / SILHOUETTE_UNIT);
            rows.simplified[row] = rounded(simplified / SILHOUETTE_UNIT);
            rows.distances[row] = rounded(distance * distance_scale[row]);
        }
        rows
    }
}

/// The nearest integer of `v`, ties to even, for `|v| < 2^51`: as the last bits of a sum, which vectors have everywhere.
#[inline(always)]
fn rounded(v: f64) -> i64 {
    const ROUNDER: f64 = 1.5 * (1u64 << 52) as f64;
    ((v + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits())) as i64
}

/// `(b - a) / max(a, b)`, 0 where both are 0.
#[inline(always)]
fn silhouette(a: f64, b: f64) -> f64 {
    let larger = if a > b { a } else { b };
    if larger > 0.0 && larger.is_finite() {
        (b - a) / larger
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn quality(data: &TileSet, labels: &[u32], k: usize, row_weight: f64) -> Quality {
        super::quality(data, labels, &ClusterPartial::of_labels(data, labels, k), row_weight)
    }

    /// Rows in three heaps, far from 0, some of them twice.
    fn heaps(n: usize, d: usize) -> (Vec<f32>, Vec<u32>) {
        let mut rng = Rng::new(9, n as u64);
        let labels: Vec<u32> = (0..n).map(|_| rng.below(3) as u32).collect();
        let value = |label: u32, rng: &mut Rng| (700_000 + 900 * label as i64 + rng.below(1000) as i64) as f32;
        let rows = labels.iter().flat_map(|&label| {
            let row: Vec<f32> = (0..d).map(|_| value(label, &mut rng)).collect();
            row
        });
        (rows.collect(), labels)
    }

    /// From all pairs of rows, row after row, each row standing `weight` times.
    fn by_pairs(rows: &[f32], d: usize, labels: &[u32], k: usize, weights: &[u32]) -> f64 {
        let row = |i: usize| &rows[i * d..(i + 1) * d];
        let sq_dist = |i: usize, j: usize| -> f64 {
            let pairs = row(i).iter().zip(row(j));
            pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
        };
        let n = labels.len();
        let (mut total, mut weight) = (0.0, 0.0);
        for i in 0..n {
            let mut sums = vec![(0.0, 0.0); k];
            for j in 0..n {
                let of = &mut sums[labels[j] as usize];
                *of = (
                    of.0 + f64::from(weights[j]) * sq_dist(i, j),
                    of.1 + f64::from(weights[j]),
                );
            }
            let own = labels[i] as usize;
            let others = (0..k).filter(|&c| c != own && sums[c].1 > 0.0);
            let b = others.map(|c| sums[c].0 / sums[c].1).fold(f64::INFINITY, f64::min);
            let a = sums[own].0 / (sums[own].1 - 1.0);
            weight += f64::from(weights[i]);
            if sums[own].1 > 1.0 && a.max(b) > 0.0 {
                total += f64::from(weights[i]) * (b - a) / a.max(b);
            }
        }
        total / weight
    }

    #[test]
    fn the_closed_form_is_the_mean_over_all_pairs() {
        for (n, d) in [(150, 1), (150, 3), (200, 4), (90, 9)] {
            let (rows, labels) = heaps(n, d);
            let mut rng = Rng::new(1, 1);
            let weights: Vec<u32> = (0..n).map(|_| rng.below(4) as u32).collect();
            for weights in [None, Some(&weights[..])] {
                let data = TileSet::from_rows(&rows, d, weights, usize::MAX);
                let found = quality(&data, &labels, 3, 1.0).silhouette.unwrap();
                let expected = by_pairs(&rows, d, &labels, 3, weights.unwrap_or(&vec![1; n]));
                assert!((found - expected).abs() < 1e-11, "{n} x {d}: {found} {expected}");
            }
        }
    }

    #[test]
    fn a_weight_of_two_is_the_row_twice() {
        let (rows, labels) = heaps(60, 2);
        let weights: Vec<u32> = (0..60).map(|row| 1 + row % 3).collect();
        let twice = |values: &[f32]| -> Vec<f32> {
            let rows = values.chunks(2).zip(&weights);
            rows.flat_map(|(row, &w)| row.repeat(w as usize)).collect()
        };
        let labels_twice: Vec<u32> = labels
            .iter()
            .zip(&weights)
            .flat_map(|(&l, &w)| vec![l; w as usize])
            .collect();
        let weighted = quality(&TileSet::from_rows(&rows, 2, Some(&weights), 1), &labels, 3, 1.0);
        let repeated = quality(&TileSet::from_rows(&twice(&rows), 2, None, 1), &labels_twice, 3, 1.0);
        assert_eq!(weighted, repeated);
        // Weights in thirds of a row.
        let thirds: Vec<u32> = weights.iter().map(|w| 3 * w).collect();
        let in_thirds = quality(&TileSet::from_rows(&rows, 2, Some(&thirds), 1), &labels, 3, 3.0);
        assert!((in_thirds.silhouette.unwrap() - weighted.silhouette.unwrap()).abs() < 1e-12);
    }

    #[test]
    fn threads_chunks_and_the_order_of_rows_change_no_bit() {
        let (n, d) = (3000, 5);
        let (rows, labels) = heaps(n, d);
        let whole = quality(&TileSet::from_rows(&rows, d, None, usize::MAX), &labels, 3, 1.0);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let cut = TileSet::from_rows(&rows, d, None, 64 * d * 4);
            assert_eq!(pool.install(|| quality(&cut, &labels, 3, 1.0)), whole);
        }
        let turned: Vec<f32> = rows.chunks(d).rev().flatten().copied().collect();
        let turned_labels: Vec<u32> = labels.iter().rev().copied().collect();
        let turned = TileSet::from_rows(&turned, d, None, usize::MAX);
        assert_eq!(quality(&turned, &turned_labels, 3, 1.0), whole);
        // Planted fault: one label.
        let mut wrong = labels.clone();
        wrong[1234] = (wrong[1234] + 1) % 3;
        assert_ne!(quality(&TileSet::from_rows(&rows, d, None, 1), &wrong, 3, 1.0), whole);
    }

    #[test]
    fn the_edges() {
        let data = TileSet::from_rows(&[0., 0., 4., 4.], 1, None, usize::MAX);
        let perfect = quality(&data, &[0, 0, 1, 1], 2, 1.0);
        assert_eq!(
            (perfect.silhouette, perfect.simplified_silhouette),
            (Some(1.0), Some(1.0))
        );
        assert_eq!((perfect.davies_bouldin, perfect.share_explained), (Some(0.0), 1.0));
        let one = quality(&data, &[0; 4], 1, 1.0);
        assert_eq!(
            (one.silhouette, one.davies_bouldin, one.smallest_share),
            (None, None, 1.0)
        );
        // A row on its own counts 0: (1 + 1 + 0) / 3.
        let single = quality(&TileSet::from_rows(&[0., 0., 4.], 1, None, 1), &[0, 0, 1], 2, 1.0);
        assert!((single.silhouette.unwrap() - 2.0 / 3.0).abs() < 1e-12);
        // All rows alike, in two clusters: nothing can be told.
        let alike = quality(&TileSet::from_rows(&[7.0; 4], 1, None, 1), &[0, 0, 1, 1], 2, 1.0);
        assert_eq!((alike.silhouette, alike.davies_bouldin), (Some(0.0), Some(0.0)));
    }
}
