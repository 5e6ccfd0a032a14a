//! A first look at a tile in 16-bit integers, which vector units multiply at twice the rate of `f32`. It settles nearly
//! all rows, with proof; the few others get a second look in `f32`.
//!
//! Rows and centroids are scaled by one factor, so that nearly all norms stay below [`MAX_NORM`], and rounded to
//! integers `q` and `p_k`, for rows by what is there of their bits: see [`Rounding`]. Integer arithmetic is exact, so the
//! half squared distances `t_k = |q - p_k|^2 / 2` of the rounded vectors are too: they come from
//! `|p_k|^2 / 2 - q.p_k + |q|^2 / 2`, where both halves are rounded down to integers and the lowest bits of the score make
//! room for the number of the centroid, so that ranking the scores ranks the centroids with them. What that leaves open is
//! a range of integers for each `t_k`.
//!
//! A scaled coordinate of a row is no farther than some `r` from its integer, so that the row is no farther than
//! `r sqrt(d)` from `q`; a scaled centroid is no farther than `e` (measured) from `p_k`. Distances obey the triangle
//! inequality: the scaled distance `D_k` differs from `sqrt(2 t_k)` by at most their sum. So the nearest centroid is
//! proven, and the others are farther by at least the difference, where
//!
//! `sqrt(2 t_2) - sqrt(2 t_1) > 2 r sqrt(d) + 2 e`.
//!
//! As in [`certificate`](crate::backend::certificate), `sqrt(2 t_2) - sqrt(2 t_1) >= (t_2 - t_1) / sqrt(t_1 + t_2)`.
//!
//! *Range.* With norms up to `R`, scores lie between `-R^2 / 2` and `3/2 R^2`, `t_k` between 0 and `2 R^2`, and `2 R^2`
//! is below 2^31: a sum of products that wraps on its way is right in the end. A row with a larger norm is told by the
//! sum of its squares, and proves nothing.

use crate::grid::CENTROID_SCALE;
use crate::tiles::{BLOCK, Centroids, TileSet, n_pairs};

use super::kernel::{GROUP, Line};
use super::matrix_kernel::{Digits, MatrixRows};

/// Largest norm of a rounded vector.
pub(super) const MAX_NORM: i32 = 30_000;
/// Score of the centroid that fills up the last group: behind every real one of a row that can be proven.
pub(super) const PADDING_SCORE: i32 = MAX_NORM * MAX_NORM / 2 * 3 + (1 << 20);
/// Most centroids: their numbers take so few bits that scores stay sharp.
const MAX_CLUSTERS: usize = 1 << 14;
/// Most features.
const MAX_FEATURES: usize = 1 << 12;
/// Covers the roundings in what is computed once per pass.
const SLACK: f64 = 1.0 + 1.0 / (1u64 << 16) as f64;

/// How the coordinates of rows become integers.
///
/// Bits that are dropped stand for what lies half a unit above those that stay, give or take half a unit. All rows lie
/// below that by the same, so that centroids are moved instead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rounding {
    /// They are the high bits.
    High,
    /// They are the high bits times this, in units of 2^-15, rounded.
    ScaledHigh(i16),
    /// They are the high bits and so many of the low ones.
    Finer(u32),
}

/// One, in the units of [`Rounding::ScaledHigh`].
const HIGH_UNITS: f64 = (1 << 15) as f64;
/// Values of the lowest of the high bits.
const HIGH_STEP: f64 = 256.0;
const LOW_BITS: u32 = 8;

impl Rounding {
    /// One that keeps vectors of such norms, in grid units, below [`MAX_NORM`] by `spare`. `finest`: low bits may be read.
    fn new(norm: f64, spare: f64, finest: bool) -> Self {
        let of_high = (f64::from(MAX_NORM) - spare) / norm.max(1.0) / SLACK * HIGH_STEP;
        if of_high < 1.0 {
            return Self::ScaledHigh((of_high * HIGH_UNITS) as i16);
        }
        match (of_high.log2() as u32).min(LOW_BITS) {
            bits @ 1.. if finest => Self::Finer(bits),
            _ => Self::High,
        }
    }

    /// From grid units to those of the integers.
    fn scale(self) -> f64 {
        self.fineness() / HIGH_STEP
    }

    /// The same, from the units of the high bits.
    pub(super) fn fineness(self) -> f64 {
        match self {
            Self::High => 1.0,
            Self::ScaledHigh(factor) => f64::from(factor) / HIGH_UNITS,
            Self::Finer(bits) => f64::from(1 << bits),
        }
    }

    /// By how much integers stand below what they are rounded from, on the way there.
    fn offset(self) -> f64 {
        match self {
            Self::High | Self::Finer(_) => 0.5,
            Self::ScaledHigh(_) => 0.5 * self.fineness(),
        }
    }

    /// How far a scaled coordinate of a row, less the offset, is from its integer, at most.
    fn error(self) -> f64 {
        match self {
            Self::High | Self::Finer(_) => 0.5,
            Self::ScaledHigh(_) => 0.5 + self.offset(),
        }
    }
}

/// Centroids as the coarse kernels read them, filled up to whole groups of [`GROUP`] with one behind all others.
pub(super) struct CoarseTable {
    pub(super) n_pairs: usize,
    /// Pairs of coordinates, negated, the first in the lower half: whole groups times `n_pairs`, row-major.
    pub(super) pairs: Vec<i32>,
    /// Half the squared norms, rounded down.
    pub(super) half_sq_norms: Vec<i32>,
    /// The low bits of a score that hold the number of its centroid.
    pub(super) tag_mask: i32,
    /// How the rows are rounded that they are held against.
    pub(super) rounding: Rounding,
    /// From the units of the integers to grid units, rounded downwards.
    pub(super) unscale: f32,
    /// By so much the distances of the integers have to differ.
    pub(super) slack: f32,
    /// There where a [matrix unit](super::matrix_kernel) multiplies them.
    pub(super) digits: Option<Digits>,
}

impl CoarseTable {
    /// `None` for shapes that do not suit it. `usual_norm`: see [`usual_norm`]; `finest`: low bits may be read.
    pub(super) fn new(centroids: &Centroids, usual_norm: f64, finest: bool) -> Option<Self> {
        let (k, d) = (centroids.n_clusters(), centroids.n_features());
        if !(2..=MAX_CLUSTERS).contains(&k) || d > MAX_FEATURES {
            return None;
        }
        let root_d = (d as f64).sqrt();
        let norm = |cluster| sq_norm(centroids.row(cluster).iter().map(|&c| f64::from(c))).sqrt();
        let largest = (0..k).map(norm).fold(0.0, f64::max) / CENTROID_SCALE as f64;
        let rounding = Rounding::new(largest.max(usual_norm), root_d, finest);
        let places = k.next_multiple_of(GROUP);
        let n_pairs = n_pairs(d);
        let mut table = Self {
            n_pairs,
            pairs: vec![0; places * n_pairs],
            half_sq_norms: vec![PADDING_SCORE; places],
            tag_mask: places.next_power_of_two() as i32 - 1,
            rounding,
            unscale: (1.0 / (rounding.scale() * SLACK)) as f32,
            slack: 0.0,
            digits: None,
        };
        let errors = (0..k).map(|cluster| table.set(cluster, centroids.row(cluster)));
        let error = errors.fold(0.0, f64::max);
        table.slack = ((2.0 * rounding.error() * root_d + 2.0 * error) * SLACK) as f32;
        Some(table)
    }

    /// The same for kernels that [have a matrix unit](super::coarse_kernel::CoarseKernels::has_matrix_unit).
    pub(super) fn with_digits(self) -> Self {
        let digits = Digits::new(&self.pairs, self.n_pairs, &self.half_sq_norms);
        Self {
            digits: Some(digits),
            ..self
        }
    }

    /// Takes in a centroid; gives how far its rounded coordinates are from the scaled ones.
    fn set(&mut self, cluster: usize, row: &[i32]) -> f64 {
        let (scale, offset) = (self.rounding.scale() / CENTROID_SCALE as f64, self.rounding.offset());
        let mut sq_error = 0.0;
        let mut sq_norm = 0;
        let pairs = &mut self.pairs[cluster * self.n_pairs..][..self.n_pairs];
        for (pair, coords) in pairs.iter_mut().zip(row.chunks(2)) {
            let [first, second] = std::array::from_fn(|at| {
                // Beside the last of an odd number of features stands 0, whatever rows have there.
                let scaled = coords.get(at).map_or(0.0, |&c| f64::from(c) * scale - offset);
                let rounded = scaled.round();
                sq_error += (scaled - rounded) * (scaled - rounded);
                sq_norm += rounded as i64 * rounded as i64;
                -(rounded as i16)
            });
            *pair = pack(first, second);
        }
        self.half_sq_norms[cluster] = (sq_norm / 2) as i32;
        sq_error.sqrt()
    }

    pub(super) fn n_groups(&self) -> usize {
        self.half_sq_norms.len() / GROUP
    }

    #[inline(always)]
    pub(super) fn row(&self, place: usize) -> &[i32] {
        &self.pairs[place * self.n_pairs..][..self.n_pairs]
    }
}

fn pack(first: i16, second: i16) -> i32 {
    i32::from(second) << 16 | i32::from(first) & 0xffff
}

/// A tile rounded to integers: pairs of features, 64 rows each.
pub(super) struct CoarseRows {
    /// Room for the pairs, where they are not those that stand in memory.
    pub(super) pairs: Vec<Line>,
    /// Squared norm of each row; above the square of [`MAX_NORM`] where the row cannot be proven.
    pub(super) sq_norms: [u32; BLOCK],
    /// What a matrix unit needs beside them.
    pub(super) matrix: MatrixRows,
}

impl CoarseRows {
    pub(super) fn new() -> Self {
        Self {
            pairs: Vec::new(),
            sq_norms: [0; BLOCK],
            matrix: MatrixRows::default(),
        }
    }

    /// Room for tiles of so many pairs of features.
    pub(super) fn reserve(&mut self, n_pairs: usize) {
        self.pairs.resize(n_pairs * BLOCK / Line::ZERO.0.len(), Line::ZERO);
    }
}

fn sq_norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum()
}

/// Blocks whose rows tell how large norms usually are.
const SAMPLE_BLOCKS: usize = 32;
/// The share of the rows that may have larger norms, which take a second look.
const LARGER: f64 = 0.005;

/// A norm, in grid units, that few rows exceed. Decides how fast a pass is, never what it finds.
pub(super) fn usual_norm(data: &TileSet) -> f64 {
    let n_blocks: usize = data.chunks().iter().map(|chunk| chunk.n_blocks()).sum();
    let stride = n_blocks.div_ceil(SAMPLE_BLOCKS).max(1);
    let blocks = data
        .chunks()
        .iter()
        .flat_map(|chunk| (0..chunk.n_blocks()).map(move |block| (chunk, block)));
    let blocks = blocks.step_by(stride);
    let mut sq_norms: Vec<u64> = blocks.flat_map(|(chunk, block)| chunk.sq_norms(block)).collect();
    if sq_norms.is_empty() {
        return 0.0;
    }
    let at = (sq_norms.len() as f64 * (1.0 - LARGER)) as usize;
    (*sq_norms.select_nth_unstable(at).1 as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernel::{self, Tile, TileScores};
    use crate::backend::scalar::two_nearest;
    use crate::grid::MAX_GRID;
    use crate::rng::Rng;

    /// What coarse looks at rows about half-way between two centroids came to.
    #[derive(Debug, Default)]
    struct Outcome {
        proven: usize,
        /// Rows in doubt with two centroids left.
        narrowed: usize,
        wrong: usize,
        /// Rows whose margin is larger than the truth.
        too_sure: usize,
        /// Ways of rounding that there were, a bit each.
        roundings: u8,
    }

    /// Looks at tiles of rows that stand about half-way between two of a few centroids, and at some that are far larger
    /// than is usual, with `share` of the slack, on every instruction set.
    fn near_ties(share: f32) -> Outcome {
        let mut outcome = Outcome::default();
        for kernels in kernel::available() {
            let Some(coarse) = kernels.coarse else { continue };
            let mut rng = Rng::new(17, 4);
            let mut coarse_rows = CoarseRows::new();
            for case in 0..400 {
                // Now and then so many that a matrix unit takes several steps, and groups of centroids.
                let (d, k) = match case % 50 {
                    49 => (61 + case / 50 * 20, 40),
                    _ => (1 + case % 21, 2 + case % 9),
                };
                let width = 1u128 << (10 + case % 12);
                let mut number = |width: u128| rng.below(width) as i64 - width as i64 / 2;
                let centroids: Vec<i32> = (0..k * d).map(|_| (256 * number(width) + number(256)) as i32).collect();
                let centroids = Centroids::new(d, centroids);
                let rows: Vec<Vec<i32>> = (0..BLOCK)
                    .map(|slot| {
                        let (a, b) = (centroids.row(slot % k), centroids.row((slot + 1) % k));
                        let spread = (width >> (2 + slot % 12)).max(4);
                        let halfway = a.iter().zip(b).map(|(&a, &b)| (i64::from(a) + i64::from(b)) / 512);
                        let far = if slot % 16 == 15 { 60 } else { 1 };
                        let edge = i64::from(MAX_GRID);
                        halfway
                            .map(|x| (far * (x + number(spread))).clamp(-edge, edge) as i32)
                            .collect()
                    })
                    .collect();
                let values: Vec<f32> = rows.iter().flatten().map(|&x| x as f32).collect();
                let tiles = TileSet::from_rows(&values, d, None, usize::MAX);
                let usual_norm = if case % 4 < 2 { 0.0 } else { 2e7 };
                let mut table = CoarseTable::new(&centroids, usual_norm, case % 2 == 0).expect("this shape suits");
                outcome.roundings |= match table.rounding {
                    Rounding::High => 1,
                    Rounding::ScaledHigh(_) => 2,
                    Rounding::Finer(_) => 4,
                };
                table.slack *= share;
                if coarse.has_matrix_unit && case % 3 > 0 {
                    table = table.with_digits();
                }
                let tile = Tile {
                    block: tiles.chunks()[0].block(0),
                    values: &tiles.chunks()[0].to_floats(),
                    n_rows: BLOCK,
                    ahead: &[],
                };
                let [mut nearest, mut two, mut beside] = std::array::from_fn(|_| TileScores::new());
                (coarse.nearest)(&tile, &table, &mut coarse_rows, &mut nearest);
                (coarse.two_nearest)(&tile, &table, &mut coarse_rows, &mut two);
                if k > 2 {
                    (coarse.with_rival)(&tile, &table, &mut coarse_rows, &mut beside);
                }
                (coarse.leave)();
                for (slot, x) in rows.iter().enumerate() {
                    let (best, second) = two_nearest(x, &centroids);
                    if nearest.doubtful >> slot & 1 == 0 {
                        outcome.proven += 1;
                        outcome.wrong += usize::from(nearest.nearest[slot] != best);
                        let distance = |cluster: u32| (centroids.sq_dist(x, cluster as usize) as f64).sqrt();
                        let margin = (distance(second) - distance(best)) / CENTROID_SCALE as f64;
                        outcome.too_sure += usize::from(f64::from(nearest.margin[slot]) > margin);
                    }
                    if two.doubtful >> slot & 1 == 0 {
                        outcome.proven += 1;
                        outcome.wrong += usize::from([two.nearest[slot], two.runner_up[slot]] != [best, second]);
                    } else if two.narrowed >> slot & 1 == 1 {
                        outcome.narrowed += 1;
                        let found = [two.nearest[slot], two.runner_up[slot]];
                        outcome.wrong += usize::from(found != [best, second] && found != [second, best]);
                    }
                    if (beside.doubtful & beside.narrowed) >> slot & 1 == 1 {
                        outcome.narrowed += 1;
                        outcome.wrong += usize::from(![beside.nearest[slot], beside.runner_up[slot]].contains(&best));
                    }
                }
            }
        }
        outcome
    }

    #[test]
    fn what_is_proven_is_true() {
        let outcome = near_ties(1.0);
        assert_eq!((outcome.wrong, outcome.too_sure), (0, 0));
        let some_set_has_it = kernel::available().iter().any(|kernels| kernels.coarse.is_some());
        assert!(outcome.roundings == 7 || !some_set_has_it, "{outcome:?}");
        assert!(
            outcome.proven > 10_000 && outcome.narrowed > 1000 || !some_set_has_it,
            "the test proves little: {outcome:?}"
        );
    }

    #[test]
    fn a_slack_too_small_is_found_out() {
        if kernel::available().iter().any(|kernels| kernels.coarse.is_some()) {
            let outcome = near_ties(0.01);
            assert!(outcome.wrong > 0 && outcome.too_sure > 0, "{outcome:?}");
        }
    }

    #[test]
    fn no_score_leaves_its_range() {
        let edge = 256 * MAX_GRID;
        let d = 9;
        let corners: Vec<i32> = (0..4 * d)
            .map(|i| if i % 3 == i / d % 3 { edge } else { -edge })
            .collect();
        let table = CoarseTable::new(&Centroids::new(d, corners), 0.0, true).expect("this shape suits");
        for place in 0..4 {
            let of_pair = |&pair: &i32| i64::from(pair as i16).pow(2) + i64::from(pair >> 16).pow(2);
            let sq_norm: i64 = table.row(place).iter().map(of_pair).sum();
            assert!(sq_norm <= i64::from(MAX_NORM).pow(2), "{sq_norm}");
            assert_eq!(i64::from(table.half_sq_norms[place]), sq_norm / 2);
        }
        let largest = i64::from(PADDING_SCORE) + i64::from(MAX_NORM).pow(2) / 2 + MAX_CLUSTERS as i64;
        assert!(largest < i64::from(i32::MAX));
    }

    #[test]
    fn few_rows_exceed_the_usual_norm() {
        let rows: Vec<f32> = (0..2 * 10_000)
            .map(|i| if i % 2000 < 2 { 1e6 } else { (i % 50) as f32 })
            .collect();
        let norm = usual_norm(&TileSet::from_rows(&rows, 2, None, 1 << 16));
        assert!((50.0..100.0).contains(&norm), "{norm}");
    }
}
