//! Silhouettes of all rows in linear time, and the other figures that need one look at every row.
//!
//! With squared Euclidean distances the mean distance of a row to all rows of a cluster has a closed form in the
//! cluster's sum, sum of squared norms and weight: `|x - mean|^2 + variance`. So the silhouette of every row takes as
//! many multiplications as one assignment, not a comparison with every other row. It equals scikit-learn's
//! `silhouette_score(X, labels, metric="sqeuclidean")`; its default metric, the plain distance, has no closed form.
//!
//! What a row adds is an integer, as [`backend::silhouette`](crate::backend::silhouette) defines it. The host finds it in
//! `f64`: it knows how far off every sum can be, takes both ends, and where they give the same integer, that is it. The other
//! rows, few among thousands, are decided in integers. So no instruction set and no order of operations changes a bit.
//!
//! *How far off.* About the origin, `|x|^2 - 2 x.m + |m|^2` is a sum of `2 d + 2` terms which are rounded once each, and once
//! more when they are added; coordinates are exact. Whatever the order, fused or not, the sum is off by at most
//! `(2 d + 4) 2^-53 (|x| + |m|)^2`, up to second order, so by less than `e (|x|^2 + |m|^2)` for `e = (2 d + 8) 2^-52`. With
//! `|m|^2 <= 2 (|x|^2 + D)` that is `e (3 |x|^2 + 2 D)`, and with the largest `|m|^2` of all clusters what it is there: neither
//! depends on the cluster, so that both hold for the least of several distances as for each.

use std::ops::Range;

use rayon::prelude::*;

use super::dispersion::Dispersion;
use crate::backend::Backend;
use crate::backend::silhouette::{
    DISTANCE_BITS, FINE_BITS, Labelled, RowFigures, SILHOUETTE_BITS, Scatter, SilhouetteSums,
};
use crate::error::{ErrorKind, Result};
use crate::grid::CENTROID_SCALE;
use crate::num::widest::{Kernel, widest};
use crate::partial::{COPIES, ClusterPartial, TASK_BLOCKS};
use crate::tiles::{BLOCK, Block, Chunk, TileSet};

/// Features that are added up at a time; tables are padded to a multiple of it.
const STEP: usize = 4;
/// A silhouette of 1.
const ONE: f64 = (1u64 << SILHOUETTE_BITS) as f64;
/// Units of a mean in a grid unit, and of a squared distance in a squared one.
const FINE: f64 = (1u64 << FINE_BITS) as f64;
/// What a quotient, a root and a product of such may be off, relatively.
const ROUNDING: f64 = 1.0 / (1u64 << 49) as f64;

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
    let dispersion = Dispersion::new(data, labels, partial.clone());
    let scatter = Scatter::new(partial, &dispersion.sq_norms, row_weight);
    Quality::new(&dispersion, &scatter, &on_host(data, labels, &scatter), row_weight)
}

/// The same, where a device helps with what needs a look at every row. Where that fails the host does it all, and there is
/// something to say of it.
///
/// # Errors
/// Those of the backend that are no failure of its device; [`Error::DeviceWrong`](crate::Error::DeviceWrong) where that
/// computes wrongly, so that what it gave before cannot be trusted.
///
/// # Panics
/// As for [`quality`].
pub fn quality_on(
    backend: &dyn Backend,
    data: &TileSet,
    labels: &[u32],
    partial: &ClusterPartial,
    row_weight: f64,
) -> Result<(Quality, Option<String>)> {
    assert_eq!(labels.len(), data.n_rows(), "one label per row");
    let rows = Labelled {
        data,
        labels,
        n_clusters: partial.n_clusters(),
    };
    let judged = || -> Result<Option<Quality>> {
        let Some(mut judge) = backend.judge(rows)? else {
            return Ok(None);
        };
        let sq_norms = judge.sq_norms(0..data.n_rows())?;
        let scatter = Scatter::new(partial, &sq_norms, row_weight);
        let sums = judge.silhouettes(&scatter, 0..data.n_rows())?;
        let dispersion = Dispersion {
            partial: partial.clone(),
            sq_norms,
        };
        Ok(Some(Quality::new(&dispersion, &scatter, &sums, row_weight)))
    };
    let notice = match judged() {
        Ok(Some(quality)) => return Ok((quality, None)),
        Ok(None) => None,
        Err(error) if error.kind() == ErrorKind::Device => Some(format!(
            "{error}; silhouettes were found on the CPU, which gives the same results"
        )),
        Err(error) => return Err(error),
    };
    Ok((quality(data, labels, partial, row_weight), notice))
}

impl Quality {
    fn new(dispersion: &Dispersion, scatter: &Scatter, sums: &SilhouetteSums, row_weight: f64) -> Self {
        let weight = dispersion.weight() as f64;
        let weights = &dispersion.partial.cluster_weights;
        let several = dispersion.n_clusters() > 1 && weight > 0.0;
        let mean_of = |sum: i128, weight: f64| sum as f64 / ONE / weight.max(1.0);
        let clusters = sums.silhouettes.iter().zip(weights);
        Self {
            silhouette: several.then(|| mean_of(sums.silhouettes.iter().sum(), weight)),
            cluster_silhouettes: clusters.map(|(&sum, &weight)| mean_of(sum, weight as f64)).collect(),
            simplified_silhouette: several.then(|| mean_of(sums.simplified, weight)),
            davies_bouldin: several.then(|| davies_bouldin(dispersion, scatter, sums)),
            calinski_harabasz: dispersion.calinski_harabasz(row_weight),
            share_explained: dispersion.share_explained(),
            smallest_share: weights
                .iter()
                .min()
                .map_or(0.0, |&least| least as f64 / weight.max(1.0)),
        }
    }
}

/// The mean over clusters of the worst ratio of two clusters' mean distances to the distance of their means.
fn davies_bouldin(dispersion: &Dispersion, scatter: &Scatter, sums: &SilhouetteSums) -> f64 {
    let k = dispersion.n_clusters();
    let origin = dispersion.origin();
    let means: Vec<Vec<f64>> = (0..k).map(|cluster| dispersion.mean(cluster, &origin)).collect();
    let spread = |cluster: usize| {
        let weight = dispersion.partial.cluster_weights[cluster].max(1) as f64;
        let unit = 2f64.powi((FINE_BITS + scatter.clusters[cluster].shift) as i32 / 2);
        sums.distances[cluster] as f64 / unit / weight
    };
    let spreads: Vec<f64> = (0..k).map(spread).collect();
    let worst = |cluster: usize| {
        let ratio = |other: usize| {
            let means = means[cluster].iter().zip(&means[other]);
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

/// The sums over all rows, found on the host.
fn on_host(data: &TileSet, labels: &[u32], scatter: &Scatter) -> SilhouetteSums {
    let table = Table::new(scatter);
    let zero = || SilhouetteSums::zero(scatter.clusters.len());
    data.tasks(TASK_BLOCKS)
        .fold(
            || (zero(), table.room()),
            |(mut sums, mut room), (chunk, blocks)| {
                add_task(&mut sums, &table, &mut room, chunk, blocks, labels);
                (sums, room)
            },
        )
        .map(|(sums, _)| sums)
        .reduce(zero, |a, b| a.merged(&b))
}

/// Adds the blocks of one task.
fn add_task(
    sums: &mut SilhouetteSums,
    table: &Table<'_>,
    room: &mut [f64],
    chunk: &Chunk,
    blocks: Range<usize>,
    labels: &[u32],
) {
    let mut x = vec![0; chunk.n_features()];
    // Of the rows of one task without weights each sum stays below 2^63.
    let mut of_clusters = vec![[[0i64; 2]; COPIES]; sums.distances.len()];
    let mut simplified = 0i64;
    for block in blocks {
        let first = block * BLOCK;
        let labels = &labels[chunk.first_row() + first..][..chunk.block_rows(block)];
        let mut rows = widest(BlockFigures {
            table,
            block: chunk.block(block),
            room,
            labels,
        });
        for row in (0..labels.len()).filter(|&row| !rows.proven[row]).collect::<Vec<_>>() {
            chunk.read_row(first + row, &mut x);
            rows.set(row, table.scatter.of_row(&x, labels[row] as usize));
        }
        let Some(weights) = chunk.weights() else {
            simplified += rows.simplified[..labels.len()].iter().sum::<i64>();
            for (row, &label) in labels.iter().enumerate() {
                let [silhouette, distance] = &mut of_clusters[label as usize][row % COPIES];
                *silhouette += rows.silhouettes[row];
                *distance += rows.distances[row];
            }
            continue;
        };
        for (row, (&label, &weight)) in labels.iter().zip(&weights[first..]).enumerate() {
            sums.add(label as usize, rows.get(row), weight);
        }
    }
    for (cluster, copies) in of_clusters.iter().enumerate() {
        for &[silhouette, distance] in copies {
            sums.silhouettes[cluster] += i128::from(silhouette);
            sums.distances[cluster] += distance as u128;
        }
    }
    sums.simplified += i128::from(simplified);
}

/// Clusters as the kernel wants them: their means as differences from an origin between them, in grid units.
struct Table<'s> {
    scatter: &'s Scatter,
    origin: Vec<f64>,
    /// Per cluster, minus twice its mean, padded with zeros.
    factors: Vec<Vec<f64>>,
    clusters: Vec<Added>,
    /// `e` of the module's text.
    error: f64,
    /// The largest squared norm of a mean.
    largest_norm: f64,
    /// 0 where there is one cluster only that has weight, so that silhouettes are 0; else 1.
    has_others: f64,
}

/// What is added to `|x|^2 - 2 x.m` of a cluster, and what is made of the sum. Infinite without weight.
#[derive(Clone, Copy)]
struct Added {
    /// For the squared distance to the mean, in squared grid units.
    norm: f64,
    /// More, for the mean squared distance to all its rows.
    variance: f64,
    /// What makes that one over all rows but one.
    without_itself: f64,
    /// 0 for the only row of a cluster, else 1.
    counts: f64,
    /// What makes squared distances to the own mean squares of the units in which distances are told.
    distance_scale: f64,
}

impl<'s> Table<'s> {
    fn new(scatter: &'s Scatter) -> Self {
        let means = &scatter.means;
        let (k, d) = (means.n_clusters(), means.n_features());
        let full: Vec<usize> = (0..k).filter(|&cluster| !scatter.clusters[cluster].is_empty).collect();
        let mean = |cluster: usize, feature: usize| {
            let lacking = f64::from(scatter.lacking[cluster * d + feature]) / f64::from(1u32 << u16::BITS);
            (f64::from(means.row(cluster)[feature]) + lacking) / CENTROID_SCALE as f64
        };
        let origin: Vec<f64> = (0..d)
            .map(|feature| {
                let sum: f64 = full.iter().map(|&cluster| mean(cluster, feature)).sum();
                (sum / full.len().max(1) as f64).round()
            })
            .collect();
        let of_cluster = |cluster: usize| {
            let mean: Vec<f64> = (0..d).map(|feature| mean(cluster, feature) - origin[feature]).collect();
            let norm: f64 = mean.iter().map(|m| m * m).sum();
            let mut factors: Vec<f64> = mean.iter().map(|m| -2.0 * m).collect();
            factors.resize(d.next_multiple_of(STEP), 0.0);
            let of = &scatter.clusters[cluster];
            let added = Added {
                norm: if of.is_empty { f64::INFINITY } else { norm },
                variance: of.variance as f64 / FINE,
                without_itself: 1.0 + of.without_itself as f64 / ONE,
                counts: f64::from(u8::from(!of.is_alone)),
                distance_scale: FINE * 2f64.powi(of.shift as i32),
            };
            (factors, added)
        };
        let (factors, clusters): (_, Vec<Added>) = (0..k).map(of_cluster).unzip();
        let norms = full.iter().map(|&cluster| clusters[cluster].norm);
        Self {
            scatter,
            largest_norm: norms.fold(0.0, f64::max),
            origin,
            factors,
            clusters,
            error: (2 * d + 8) as f64 * f64::EPSILON,
            has_others: f64::from(u8::from(full.len() > 1)),
        }
    }

    /// Room for the values of a block.
    fn room(&self) -> Vec<f64> {
        vec![0.0; self.origin.len().next_multiple_of(STEP) * BLOCK]
    }
}

/// What the rows of a block add; of those that are not proven nothing is known.
struct Rows {
    silhouettes: [i64; BLOCK],
    simplified: [i64; BLOCK],
    distances: [i64; BLOCK],
    proven: [bool; BLOCK],
}

impl Rows {
    fn set(&mut self, row: usize, figures: RowFigures) {
        self.silhouettes[row] = figures.silhouette;
        self.simplified[row] = figures.simplified;
        self.distances[row] = figures.distance as i64;
    }

    fn get(&self, row: usize) -> RowFigures {
        RowFigures {
            silhouette: self.silhouettes[row],
            simplified: self.simplified[row],
            distance: self.distances[row] as u64,
        }
    }
}

struct BlockFigures<'b> {
    table: &'b Table<'b>,
    block: Block<'b>,
    room: &'b mut [f64],
    labels: &'b [u32],
}

impl Kernel for BlockFigures<'_> {
    type Output = Rows;

    /// Every lane is a row.
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
        // `|x|^2 - 2 x.m` of the own cluster; and the least distances of the others, to means and to rows.
        let mut own = [0.0; BLOCK];
        let (mut mean, mut rows) = ([f64::INFINITY; BLOCK], [f64::INFINITY; BLOCK]);
        for ((cluster, factors), of) in table.factors.iter().enumerate().zip(&table.clusters) {
            let number = cluster as f64;
            let mut sums = sq_norms;
            for (lanes, factors) in room.chunks_exact(STEP * BLOCK).zip(factors.chunks_exact(STEP)) {
                let (a, rest) = lanes.split_at(BLOCK);
                let (b, rest) = rest.split_at(BLOCK);
                let (c, d) = rest.split_at(BLOCK);
                for row in 0..BLOCK {
                    let sum = sums[row] + factors[0] * a[row] + factors[1] * b[row];
                    sums[row] = sum + factors[2] * c[row] + factors[3] * d[row];
                }
            }
            for row in 0..BLOCK {
                let is_own = label[row] == number;
                own[row] = if is_own { sums[row] } else { own[row] };
                let sum = if is_own { f64::INFINITY } else { sums[row] };
                let to_mean = sum + of.norm;
                mean[row] = least(mean[row], to_mean);
                rows[row] = least(rows[row], to_mean + of.variance);
            }
        }
        let mut found = Rows {
            silhouettes: [0; BLOCK],
            simplified: [0; BLOCK],
            distances: [0; BLOCK],
            proven: [false; BLOCK],
        };
        let mut of_own = [Added {
            norm: 0.0,
            variance: 0.0,
            without_itself: 1.0,
            counts: 0.0,
            distance_scale: 1.0,
        }; BLOCK];
        of_own
            .iter_mut()
            .zip(labels)
            .for_each(|(to, &label)| *to = table.clusters[label as usize]);
        for row in 0..BLOCK {
            let of = &of_own[row];
            let near = |sq_dist: f64| Near {
                value: sq_dist,
                // Squared distances are cut up, by less than two units.
                error: table.error
                    * least(
                        sq_norms[row] + table.largest_norm,
                        3.0 * sq_norms[row] + 2.0 * sq_dist.abs(),
                    )
                    + 2.0 / FINE,
            };
            let own_mean = near(own[row] + of.norm);
            let own_rows = near(own_mean.value + of.variance).times(of.without_itself);
            let (silhouette, is_sure) = silhouette(own_rows, near(rows[row]));
            let (simplified, is_sure_too) = simplified(own_mean, near(mean[row]));
            let (distance, is_proven) = own_mean.times(of.distance_scale).root();
            found.silhouettes[row] = integer(silhouette * of.counts * table.has_others);
            found.simplified[row] = integer(simplified * table.has_others);
            found.distances[row] = integer(distance);
            let fits = distance < (1u64 << DISTANCE_BITS) as f64 - 1.0;
            found.proven[row] = is_sure & is_sure_too & is_proven & fits;
        }
        found
    }
}

/// A number that is off by no more than `error`.
#[derive(Clone, Copy)]
struct Near {
    value: f64,
    error: f64,
}

impl Near {
    /// The number times a positive factor, cut to an integer or not: of a product of integers in units of `2^-FINE_BITS`.
    #[inline(always)]
    fn times(self, factor: f64) -> Self {
        let value = self.value * factor;
        Self {
            value,
            error: self.error * factor * (1.0 + ROUNDING) + value.abs() * ROUNDING + 1.0 / FINE,
        }
    }

    /// The number, cut to an integer below 2^51, and whether it is that wherever it may be.
    #[inline(always)]
    fn cut(self) -> (f64, bool) {
        let cut = floor(self.value);
        let is_proven = (self.value - self.error >= cut) & (self.value + self.error < cut + 1.0);
        (cut, is_proven)
    }

    /// The same of the number's root: squares are compared, which are off by no more than a root.
    #[inline(always)]
    fn root(self) -> (f64, bool) {
        let cut = floor(self.value.sqrt());
        let (error, above) = (self.error + self.value * ROUNDING, cut + 1.0);
        let is_proven = (self.value - error >= cut * cut) & (self.value + error < above * above);
        (cut, is_proven)
    }

    /// The smaller over the larger of both, times `unit`; whether it is below that is seen by its error.
    #[inline(always)]
    fn share(self, other: Self, unit: f64) -> Self {
        let (less, more) = (least(self.value, other.value), most(self.value, other.value));
        let scale = unit / more;
        let value = less * scale;
        Self {
            value,
            // Of second order, and rounding. Where errors are not far below the larger one, nothing is proven anyway.
            error: (self.error + other.error) * scale * (1.0 + 1.0 / 1024.0) + value.abs() * ROUNDING,
        }
    }
}

/// The silhouette of a row with these mean squared distances to the own and another cluster, and whether it is proven.
#[inline(always)]
fn silhouette(own: Near, other: Near) -> (f64, bool) {
    let share = own.share(other, ONE);
    let (cut, is_proven) = share.cut();
    (
        signed(ONE - cut, own, other),
        is_proven & (share.value + share.error < ONE),
    )
}

/// The same of roots.
#[inline(always)]
fn simplified(own: Near, other: Near) -> (f64, bool) {
    let share = own.share(other, ONE * ONE);
    let (cut, is_proven) = share.root();
    (
        signed(ONE - cut, own, other),
        is_proven & (share.value + share.error < ONE * ONE * (1.0 - ROUNDING)),
    )
}

/// With the sign of a row that is nearer to its own cluster, or to the other.
#[inline(always)]
fn signed(v: f64, own: Near, other: Near) -> f64 {
    if own.value < other.value { v } else { -v }
}

#[inline(always)]
fn least(a: f64, b: f64) -> f64 {
    if b < a { b } else { a }
}

#[inline(always)]
fn most(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

/// A number below 2^51, cut to an integer; vectors have no more than this everywhere.
#[inline(always)]
fn floor(v: f64) -> f64 {
    let nearest = (v + ROUNDER) - ROUNDER;
    if nearest > v { nearest - 1.0 } else { nearest }
}

/// What makes the last bits of a sum those of an integer below 2^51: vectors have it everywhere.
const ROUNDER: f64 = 1.5 * (1u64 << 52) as f64;

/// An integer below 2^51 as one.
#[inline(always)]
fn integer(v: f64) -> i64 {
    ((v + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits())) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::silhouette::{Judge, ScalarJudge};
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
                // Silhouettes are cut to 32 bits.
                assert!((found - expected).abs() < 2.5e-10, "{n} x {d}: {found} {expected}");
            }
        }
    }

    /// Rows of `d` features in heaps of different sizes, labelled with errors; some far off, some on one value.
    fn awkward(n: usize, d: usize, k: usize, spread: u128) -> (Vec<f32>, Vec<u32>) {
        let mut rng = Rng::new(4, (n * d * k) as u64);
        let mut rows = Vec::new();
        let mut labels = Vec::new();
        for row in 0..n {
            let heap = rng.below(k as u128) as i64;
            let far = if row % 97 == 0 { 4_000_000 } else { 0 };
            for feature in 0..d {
                let noise = if heap == 0 { 0 } else { rng.below(spread) as i64 };
                rows.push((heap * 1000 * (1 + feature as i64 % 3) + far + noise - 3_000_000) as f32);
            }
            let anew = rng.below(10) == 0;
            labels.push(if anew { rng.below(k as u128) as u32 } else { heap as u32 });
        }
        (rows, labels)
    }

    /// What the oracle says of the sums over all rows, and what the host makes of them; how many rows were not proven.
    fn both(data: &TileSet, labels: &[u32], k: usize, row_weight: f64) -> (SilhouetteSums, SilhouetteSums, usize) {
        let partial = ClusterPartial::of_labels(data, labels, k);
        let mut oracle = ScalarJudge(Labelled {
            data,
            labels,
            n_clusters: k,
        });
        let sq_norms = oracle.sq_norms(0..data.n_rows()).unwrap();
        assert_eq!(sq_norms, Dispersion::new(data, labels, partial.clone()).sq_norms);
        let scatter = Scatter::new(&partial, &sq_norms, row_weight);
        let table = Table::new(&scatter);
        let mut room = table.room();
        let mut open = 0;
        for chunk in data.chunks() {
            for block in 0..chunk.n_blocks() {
                let labels = &labels[chunk.first_row() + block * BLOCK..][..chunk.block_rows(block)];
                let rows = BlockFigures {
                    table: &table,
                    block: chunk.block(block),
                    room: &mut room,
                    labels,
                };
                let rows = rows.run();
                open += rows.proven[..labels.len()].iter().filter(|proven| !**proven).count();
            }
        }
        let expected = oracle.silhouettes(&scatter, 0..data.n_rows()).unwrap();
        (expected, on_host(data, labels, &scatter), open)
    }

    #[test]
    fn the_host_finds_the_integers_of_the_oracle() {
        for (n, d, k, spread) in [
            (700, 1, 2, 500),
            (5000, 8, 6, 3000),
            (3000, 7, 5, 1),
            (3000, 33, 9, 1 << 22),
            (400, 300, 3, 100_000),
            (90, 2, 1, 50),
        ] {
            let (rows, labels) = awkward(n, d, k, spread);
            let weights: Vec<u32> = (0..n as u32).map(|row| row % 5 * 13).collect();
            for (weights, row_weight) in [(None, 1.0), (Some(&weights[..]), 13.0)] {
                let data = TileSet::from_rows(&rows, d, weights, 1 << 14);
                // One cluster more than there are rows of.
                for k in [k, k + 1] {
                    let (expected, found, open) = both(&data, &labels, k, row_weight);
                    assert_eq!(found, expected, "{n} x {d}, {k}");
                    // The heap of equal rows, those far off, and next to no others.
                    if spread > 1 && k > 1 && weights.is_none() {
                        assert!(open < n / 2, "{n} x {d}, {k}: {open} rows are open");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_at_random_are_nearly_all_proven() {
        let mut rng = Rng::new(8, 1);
        let (n, d) = (20_000, 16);
        let rows: Vec<f32> = (0..n * d).map(|_| rng.below(1 << 20) as f32).collect();
        let labels: Vec<u32> = (0..n).map(|_| rng.below(8) as u32).collect();
        let data = TileSet::from_rows(&rows, d, None, usize::MAX);
        let (expected, found, open) = both(&data, &labels, 8, 1.0);
        assert_eq!(found, expected);
        assert!(
            (1..n / 100).contains(&open),
            "{open} of {n} rows are open: the proof proves nothing, or everything"
        );
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
