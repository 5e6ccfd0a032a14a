//! What silhouettes and the Davies-Bouldin index ask of every row, as integers: the definition, and the oracle.
//!
//! With squared Euclidean distances the mean distance of a row to all rows of a cluster has a closed form,
//! `|x - mean|^2 + variance`. Here means are cut to `2^-24` of a grid unit, and squared distances to them and variances
//! to `2^-24` of a squared one: far finer than any figure that is told. What follows of them is a quotient or a root, cut once
//! to [`SILHOUETTE_BITS`] or [`DISTANCE_BITS`] bits. So a row's figures are integers, which any device finds in whatever way
//! it likes: the host in `f64`, where that proves the last bit (`metrics::silhouette`), a GPU in words of 32 bits
//! (`shaders/silhouette.wgsl`).

use std::ops::Range;

use num_bigint::BigInt;

use crate::error::Result;
use crate::grid::CENTROID_SCALE;
use crate::partial::ClusterPartial;
use crate::tiles::{Centroids, TileSet};

/// Silhouettes are in units of `2^-32`.
pub const SILHOUETTE_BITS: u32 = 32;
/// Distances to the own mean are below two to this, in units that depend on the cluster: see [`ClusterScatter::shift`].
pub const DISTANCE_BITS: u32 = 44;
/// Bits behind the point of a mean in grid units, and of a squared distance in squared grid units.
pub const FINE_BITS: u32 = 24;
/// Bits of a mean behind those of a centroid.
const LACKING_BITS: u32 = 16;
/// Bits of a squared distance behind those of a squared centroid unit.
const SQ_BITS: u32 = 8;
/// A silhouette of 1.
const ONE: i64 = 1 << SILHOUETTE_BITS;
/// [`ClusterScatter::without_itself`] at most: a cluster that barely weighs more than one row counts as if it weighed more.
const MOST_WITHOUT_ITSELF: f64 = (1u64 << 38) as f64;

/// Rows and their clusters.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'d> {
    /// The rows.
    pub data: &'d TileSet,
    /// The cluster of each.
    pub labels: &'d [u32],
    /// How many clusters there are.
    pub n_clusters: usize,
}

/// Rows and their clusters in the hands of a device, to be judged.
pub trait Judge: Send {
    /// Sum over those of `rows` that each cluster has of weight times squared norm, in grid units squared.
    ///
    /// # Errors
    /// Where the device fails.
    fn sq_norms(&mut self, rows: Range<usize>) -> Result<Vec<u128>>;

    /// The sums of `rows`.
    ///
    /// # Errors
    /// Where the device fails.
    fn silhouettes(&mut self, scatter: &Scatter, rows: Range<usize>) -> Result<SilhouetteSums>;
}

/// How the rows of each cluster lie about its mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scatter {
    /// The means, cut to the centroid grid; of a cluster without weight anything.
    pub means: Centroids,
    /// What these lack, `n_clusters x n_features`, in units of `2^-16` centroid units.
    pub lacking: Vec<u16>,
    /// One per cluster.
    pub clusters: Vec<ClusterScatter>,
}

/// How the rows of one cluster lie about its mean. Squared distances are in units of `2^-FINE_BITS` squared grid units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterScatter {
    /// Mean squared distance of its rows to their mean, rounded: below 2^87.
    pub variance: u128,
    /// By how much the mean over all its rows but one is larger, as a share of the mean over all: `u / (w - u)` for the
    /// weight `w` of the cluster and `u` of a row, times 2^32, rounded. Below 2^39.
    pub without_itself: u64,
    /// Whether it weighs no more than one row, whose silhouette is 0.
    pub is_alone: bool,
    /// Whether it has no weight, and so no mean.
    pub is_empty: bool,
    /// Bits by which squared distances to the mean are shifted before the root is taken, an even number: those of rows with
    /// weight stay below `2^(2 DISTANCE_BITS)`.
    pub shift: u32,
    /// The squared norm of what its mean lacks, cut up.
    pub lacking_norm: u32,
}

impl Scatter {
    /// Of clusters with these sums, and these sums of weight times squared norm; a row weighs `row_weight`.
    #[must_use]
    pub fn new(partial: &ClusterPartial, sq_norms: &[u128], row_weight: f64) -> Self {
        let (k, d) = (partial.n_clusters(), partial.n_features());
        let weights = &partial.cluster_weights;
        let fine_means: Vec<i64> = (0..k * d)
            .map(|place| {
                let weight = i128::from(weights[place / d].max(1));
                // A mean lies between grid values.
                (partial.sums[place] << FINE_BITS).div_euclid(weight) as i64
            })
            .collect();
        let lacking: Vec<u16> = fine_means.iter().map(|&mean| mean as u16).collect();
        let clusters = (0..k).map(|cluster| {
            let weight = weights[cluster];
            let others = weight as f64 - row_weight;
            let without_itself = if others > 0.0 {
                row_weight / others
            } else {
                f64::INFINITY
            };
            let [scatter, variance] = scatter(partial, sq_norms[cluster], cluster);
            // Cut means are off by less than a unit in each feature: of any number, by less than a 16th and 16 such squares.
            let farthest: BigInt = &scatter + (&scatter >> 4) + (4 * d + 4);
            let bits = farthest.bits().min(u64::from(2 * DISTANCE_BITS)) as u32;
            let squares = lacking[cluster * d..(cluster + 1) * d]
                .iter()
                .map(|&lack| u64::from(lack).pow(2));
            ClusterScatter {
                variance: variance.try_into().expect("a mean of squares below 2^87"),
                without_itself: (without_itself * ONE as f64).round().min(MOST_WITHOUT_ITSELF) as u64,
                is_alone: others <= 0.0,
                is_empty: weight == 0,
                shift: (2 * DISTANCE_BITS - bits) & !1,
                lacking_norm: squares.sum::<u64>().div_ceil(1 << (2 * LACKING_BITS - SQ_BITS)) as u32,
            }
        });
        Self {
            clusters: clusters.collect(),
            means: Centroids::new(
                d,
                fine_means.iter().map(|&mean| (mean >> LACKING_BITS) as i32).collect(),
            ),
            lacking,
        }
    }

    /// Squared distance of a row to the mean of a cluster: not below the exact one, and less than two units above it.
    #[must_use]
    pub fn sq_dist(&self, x: &[i32], cluster: usize) -> u128 {
        let lacking = &self.lacking[cluster * x.len()..][..x.len()];
        let values = x.iter().zip(self.means.row(cluster)).zip(lacking);
        // Below 2^33 x 2^16, 2^15 times: 2^63 in magnitude only where all differ by more than there is room for.
        let cross: i64 = values
            .map(|((&x, &mean), &lack)| (i64::from(x) * CENTROID_SCALE - i64::from(mean)) * i64::from(lack))
            .sum();
        let squares = (self.means.sq_dist(x, cluster) << SQ_BITS) as i128;
        let cross = i128::from(cross >> (LACKING_BITS - 1 - SQ_BITS));
        (squares - cross) as u128 + u128::from(self.clusters[cluster].lacking_norm)
    }

    /// The figures of a row of cluster `label`.
    #[must_use]
    pub fn of_row(&self, x: &[i32], label: usize) -> RowFigures {
        let own = &self.clusters[label];
        if own.is_empty {
            return RowFigures::default();
        }
        let to_own = self.sq_dist(x, label);
        let others = (0..self.clusters.len()).filter(|&other| other != label && !self.clusters[other].is_empty);
        let sq_dists = others.map(|other| (self.sq_dist(x, other), self.clusters[other].variance));
        let nearest = sq_dists.fold(None, |least: Option<[u128; 2]>, (sq_dist, variance)| {
            let [mean, rows] = least.unwrap_or([u128::MAX; 2]);
            Some([mean.min(sq_dist), rows.min(sq_dist + variance)])
        });
        let to_rows = to_own + own.variance;
        let to_other_rows = to_rows + ((to_rows * u128::from(own.without_itself)) >> SILHOUETTE_BITS);
        let [silhouette, simplified] = nearest.map_or([0; 2], |[mean, rows]| {
            let of_rows = if own.is_alone {
                0
            } else {
                silhouette(to_other_rows, rows, share)
            };
            [of_rows, silhouette(to_own, mean, root_of_share)]
        });
        let fits = to_own <= ((1 << (2 * DISTANCE_BITS)) - 1) >> own.shift;
        RowFigures {
            silhouette,
            simplified,
            distance: if fits {
                (to_own << own.shift).isqrt() as u64
            } else {
                (1 << DISTANCE_BITS) - 1
            },
        }
    }
}

/// Sum and mean of weight times squared distance of a cluster's rows to their mean, the first cut and the other rounded to the
/// units of squared distances; 0 without weight.
fn scatter(partial: &ClusterPartial, sq_norm: u128, cluster: usize) -> [BigInt; 2] {
    let weight = partial.cluster_weights[cluster];
    if weight == 0 {
        return [BigInt::ZERO, BigInt::ZERO];
    }
    let sq_sums = { partial.sums_of(cluster).iter() }.map(|&sum| BigInt::from(sum).pow(2));
    let times_weight = (BigInt::from(weight) * sq_norm - sq_sums.sum::<BigInt>()) << FINE_BITS;
    let sq_weight = BigInt::from(weight) * weight;
    [
        &times_weight / weight,
        (2u32 * times_weight + &sq_weight) / (2u32 * sq_weight),
    ]
}

/// `(b - a) / max(a, b)` in units of `2^-32`, where `share` gives the smaller over the larger; 0 where they are equal.
fn silhouette(own: u128, other: u128, share: fn(u128, u128) -> i64) -> i64 {
    match own.cmp(&other) {
        std::cmp::Ordering::Less => ONE - share(own, other),
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Greater => share(other, own) - ONE,
    }
}

/// `less / more`, cut to 32 bits, for `less < more` below 2^95.
fn share(less: u128, more: u128) -> i64 {
    ((less << SILHOUETTE_BITS) / more) as i64
}

/// The root of `less / more`, cut to 32 bits, for `less < more` below 2^95.
fn root_of_share(less: u128, more: u128) -> i64 {
    let high = less << SILHOUETTE_BITS;
    let low = (high % more) << SILHOUETTE_BITS;
    ((((high / more) << SILHOUETTE_BITS) | (low / more)) as u64).isqrt() as i64
}

/// What a row adds to the sums, but for its weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowFigures {
    /// Its silhouette, in units of `2^-32`.
    pub silhouette: i64,
    /// Its simplified silhouette, likewise.
    pub simplified: i64,
    /// Its distance to the own mean: the root of `2^shift` squared centroid units.
    pub distance: u64,
}

/// Figures times weight, added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilhouetteSums {
    /// Silhouettes of each cluster's rows.
    pub silhouettes: Vec<i128>,
    /// Simplified silhouettes of all rows.
    pub simplified: i128,
    /// Distances of each cluster's rows.
    pub distances: Vec<u128>,
}

impl SilhouetteSums {
    /// Nothing yet.
    #[must_use]
    pub fn zero(n_clusters: usize) -> Self {
        Self {
            silhouettes: vec![0; n_clusters],
            simplified: 0,
            distances: vec![0; n_clusters],
        }
    }

    /// Adds a row.
    pub fn add(&mut self, label: usize, row: RowFigures, weight: u32) {
        let weight = i128::from(weight);
        self.silhouettes[label] += weight * i128::from(row.silhouette);
        self.simplified += weight * i128::from(row.simplified);
        self.distances[label] += weight as u128 * u128::from(row.distance);
    }

    /// The sums of both.
    #[must_use]
    pub fn merged(mut self, other: &Self) -> Self {
        let silhouettes = self.silhouettes.iter_mut().zip(&other.silhouettes);
        silhouettes.for_each(|(a, b)| *a += b);
        self.simplified += other.simplified;
        let distances = self.distances.iter_mut().zip(&other.distances);
        distances.for_each(|(a, b)| *a += b);
        self
    }
}

/// The oracle: row by row.
#[derive(Debug)]
pub struct ScalarJudge<'d>(pub Labelled<'d>);

impl Judge for ScalarJudge<'_> {
    fn sq_norms(&mut self, rows: Range<usize>) -> Result<Vec<u128>> {
        let mut sq_norms = vec![0; self.0.n_clusters];
        let mut x = vec![0; self.0.data.n_features()];
        for row in rows {
            self.0.data.read_row(row, &mut x);
            let sq_norm: u128 = x.iter().map(|&x| u128::from(x.unsigned_abs()).pow(2)).sum();
            sq_norms[self.0.labels[row] as usize] += u128::from(self.0.data.weight(row)) * sq_norm;
        }
        Ok(sq_norms)
    }

    fn silhouettes(&mut self, scatter: &Scatter, rows: Range<usize>) -> Result<SilhouetteSums> {
        let mut sums = SilhouetteSums::zero(self.0.n_clusters);
        let mut x = vec![0; self.0.data.n_features()];
        for row in rows {
            self.0.data.read_row(row, &mut x);
            let label = self.0.labels[row] as usize;
            sums.add(label, scatter.of_row(&x, label), self.0.data.weight(row));
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows 0, 2 | 10, 14 in one dimension.
    fn two_pairs() -> (TileSet, [u32; 4], Scatter) {
        let data = TileSet::from_rows(&[0., 2., 10., 14.], 1, None, usize::MAX);
        let labels = [0, 0, 1, 1];
        let partial = ClusterPartial::of_labels(&data, &labels, 2);
        let mut judge = ScalarJudge(Labelled {
            data: &data,
            labels: &labels,
            n_clusters: 2,
        });
        let sq_norms = judge.sq_norms(0..data.n_rows()).unwrap();
        assert_eq!(sq_norms, [4, 296]);
        let scatter = Scatter::new(&partial, &sq_norms, 1.0);
        (data, labels, scatter)
    }

    #[test]
    fn figures_worked_out_by_hand() {
        let (data, labels, scatter) = two_pairs();
        let variances = [0, 1].map(|cluster| scatter.clusters[cluster].variance);
        assert_eq!(variances, [1 << FINE_BITS, 4 << FINE_BITS]);
        let plain = |cluster: &ClusterScatter| !cluster.is_alone && !cluster.is_empty && cluster.lacking_norm == 0;
        assert!(scatter.clusters.iter().all(|c| c.without_itself == 1 << 32 && plain(c)));
        // Row 0: to the other row of its cluster 4; to those of the other (100 + 196) / 2.
        let row = scatter.of_row(&[0], 0);
        assert_eq!(row.silhouette, ONE - (4 << 32) / 148);
        assert_eq!(row.simplified, ONE - (1 << 32) / 12);
        // A scatter of 2, and some room, has 26 bits, so that 62 of 88 are left; roots are 2^12 and 2^31 times as large.
        assert_eq!(scatter.clusters[0].shift, 62);
        assert_eq!(row.distance, 1 << (12 + 31));
        let mut judge = ScalarJudge(Labelled {
            data: &data,
            labels: &labels,
            n_clusters: 2,
        });
        let whole = judge.silhouettes(&scatter, 0..4).unwrap();
        assert_eq!(whole.distances[0], 2 << 43);
        let halves = [0..1, 1..4].map(|rows| judge.silhouettes(&scatter, rows).unwrap());
        assert_eq!(halves[0].clone().merged(&halves[1]), whole);
    }

    #[test]
    fn distances_to_means_between_grid_points_are_exact_but_for_the_last_bit() {
        let mut rng = crate::rng::Rng::new(2, 0);
        for d in [1, 2, 9, 40] {
            let rows: Vec<f32> = (0..7 * d)
                .map(|_| (rng.below(1 << 24) as i32 - (1 << 23) + 1) as f32)
                .collect();
            let data = TileSet::from_rows(&rows, d, None, usize::MAX);
            let labels = [0; 7];
            let partial = ClusterPartial::of_labels(&data, &labels, 1);
            let sq_norms = [data.weighted_sq_norm()];
            let scatter = Scatter::new(&partial, &sq_norms, 1.0);
            let mut x = vec![0; d];
            for row in 0..7 {
                data.read_row(row, &mut x);
                // About the cut mean, in units of 2^-48.
                let exact: u128 = { x.iter().zip(scatter.means.values()).zip(&scatter.lacking) }
                    .map(|((&x, &mean), &lack)| {
                        let mean = (i64::from(mean) << LACKING_BITS) + i64::from(lack);
                        u128::from(((i64::from(x) << FINE_BITS) - mean).unsigned_abs()).pow(2)
                    })
                    .sum();
                let (found, least) = (scatter.sq_dist(&x, 0), exact.div_ceil(1 << FINE_BITS));
                assert!((least..least + 2).contains(&found), "{d}, {row}: {found} {least}");
            }
        }
    }

    #[test]
    fn the_edges() {
        let (_, _, scatter) = two_pairs();
        // On the wrong side: row 12 of cluster 0.
        assert!(scatter.of_row(&[12], 0).silhouette < 0 && scatter.of_row(&[12], 0).simplified < 0);
        // On the own mean.
        assert_eq!(scatter.of_row(&[12], 1).simplified, ONE);
        // As far from both.
        let mut even = scatter.clone();
        even.means = Centroids::on_rows(1, &[0, 10]);
        even.clusters[0] = even.clusters[1];
        even.clusters[0].without_itself = 0;
        let between = even.of_row(&[5], 0);
        assert_eq!([between.silhouette, between.simplified], [0, 0]);
        // Alone, without weight, and with nobody else.
        let mut edge = scatter.clone();
        edge.clusters[0].is_alone = true;
        assert_eq!(edge.of_row(&[0], 0).silhouette, 0);
        edge.clusters[1].is_empty = true;
        assert_eq!(edge.of_row(&[0], 0).simplified, 0);
        assert_eq!(edge.of_row(&[10], 1), RowFigures::default());
        // A row without weight may be farther away than all that have some.
        assert_eq!(scatter.of_row(&[1 << 22], 0).distance, (1 << DISTANCE_BITS) - 1);
    }

    #[test]
    fn the_largest_numbers_fit() {
        let far = crate::grid::MAX_GRID;
        let d = 1 << 15;
        let rows: Vec<f32> = [far, -far].iter().flat_map(|&x| vec![x as f32; d]).collect();
        let data = TileSet::from_rows(&rows, d, Some(&[crate::tiles::MAX_WEIGHT, 1]), usize::MAX);
        let labels = [0, 0];
        let mut judge = ScalarJudge(Labelled {
            data: &data,
            labels: &labels,
            n_clusters: 1,
        });
        let partial = ClusterPartial::of_labels(&data, &labels, 1);
        let row_weight = f64::from(crate::tiles::MAX_WEIGHT);
        let scatter = Scatter::new(&partial, &judge.sq_norms(0..2).unwrap(), row_weight);
        let cluster = scatter.clusters[0];
        assert!(
            cluster.without_itself == 1 << 38 && cluster.variance < 1 << 87,
            "{cluster:?}"
        );
        let mut two = scatter.clone();
        two.means = Centroids::new(d, [vec![far * 256; d], vec![-far * 256; d]].concat());
        two.lacking = vec![u16::MAX; 2 * d];
        let variance = (1 << 87) - 1;
        two.clusters = vec![ClusterScatter { variance, ..cluster }; 2];
        let figures = two.of_row(&vec![-far; d], 0);
        assert!(
            figures.silhouette < -ONE + ONE / 100 && figures.simplified < -ONE + 2,
            "{figures:?}"
        );
    }

    #[test]
    fn shares_are_cut_once() {
        assert_eq!([share(1, 3), share(2, 3)], [0x5555_5555, 0xaaaa_aaaa]);
        assert_eq!(root_of_share(1, 4), 1 << 31);
        let most = (1u128 << 95) - 1;
        assert_eq!([share(most - 1, most), root_of_share(most - 1, most)], [ONE - 1; 2]);
        for (less, more) in [(5u128, 7u128), (1 << 70, (1 << 71) + 5), (3, 1 << 90)] {
            let exact = (less as f64 / more as f64).sqrt() * ONE as f64;
            assert!((root_of_share(less, more) as f64 - exact.floor()).abs() <= 1.0);
        }
    }
}
