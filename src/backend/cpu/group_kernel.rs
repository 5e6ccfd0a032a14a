//! Distances of some rows of a block to the centroids of a group, one centroid in each lane, and what follows from them
//! for each row: see [`super::groups`].

use super::groups::{Grouping, VECTOR};
use super::kernel::PADDING_SCORE;
use super::lanes::Lanes;
use crate::backend::certificate;
use crate::tiles::{BLOCK, Centroids};

/// Centroids in groups, one in each lane of a few vectors: for rows that are measured against some groups only.
pub(super) struct GroupTable {
    n_features: usize,
    /// Centroids of a group, with those that fill it up.
    width: usize,
    /// `n_groups x (width / 16) x n_features x 16`, negated.
    coords: Vec<f32>,
    /// `n_groups x width`.
    half_sq_norms: Vec<f32>,
    /// The place of each centroid in its group.
    places: Vec<u32>,
    /// Error of a half squared distance `t` of a row `x`: `error_of_t * t + error_of_norm * |x|^2 / 2`.
    error_of_t: f32,
    error_of_norm: f32,
    /// How far the groups have gone, rounded both ways; as many as there are lower bounds of a row.
    ways_below: Vec<f32>,
    ways_above: Vec<f32>,
    /// Units of a lower bound in a step of the grid.
    units: f32,
}

impl GroupTable {
    /// `ways`: how far each group has gone; `units`: units of a lower bound in a step of the grid, a power of two.
    pub(super) fn new(centroids: &Centroids, grouping: &Grouping, ways: &[f64], units: f32) -> Self {
        let d = centroids.n_features();
        let (values, norms) = (centroids.to_f32(), centroids.half_sq_norms_f32());
        let mut coords = vec![0.0; grouping.clusters.len() * d];
        let mut half_sq_norms = vec![PADDING_SCORE; grouping.clusters.len()];
        for (place, &cluster) in grouping.clusters.iter().enumerate() {
            let Some(&norm) = norms.get(cluster as usize) else {
                continue;
            };
            half_sq_norms[place] = norm;
            for feature in 0..d {
                let to = (place / VECTOR * d + feature) * VECTOR + place % VECTOR;
                coords[to] = -values[cluster as usize * d + feature];
            }
        }
        let factor = certificate::nearest_even_factor(d);
        // The place of a centroid in its group takes the last bits of its score: at most `width` units in the last
        // place, each at most 2^-23 of the score.
        let packing = 1.01 * grouping.width.next_power_of_two() as f32 * f32::EPSILON;
        let rounded = |slack: f32| -> Vec<f32> {
            let mut ways: Vec<f32> = ways.iter().map(|&way| way as f32 * slack).collect();
            ways.resize(grouping.n_lower(), 0.0);
            ways
        };
        Self {
            n_features: d,
            width: grouping.width,
            coords,
            half_sq_norms,
            places: (0..grouping.width as u32).collect(),
            error_of_t: 3.0 * factor + packing,
            error_of_norm: 6.0 * factor,
            ways_below: rounded(1.0 - ROUNDING),
            ways_above: rounded(1.0 + ROUNDING),
            units,
        }
    }

    /// Bits of a score that hold the place of its centroid in the group.
    fn place_bits(&self) -> u32 {
        self.width.next_power_of_two() as u32 - 1
    }

    /// The place in its group of the centroid with this score.
    #[inline]
    pub(super) fn place(&self, score: f32) -> usize {
        (score.to_bits() & self.place_bits()) as usize
    }

    /// At most so far is a row from a centroid with this score.
    #[inline]
    pub(super) fn farthest(&self, score: f32, half_sq_norm: f32) -> f32 {
        (2.0 * (score.max(0.0) + self.error(score, half_sq_norm))).sqrt() * (1.0 + ROUNDING)
    }

    /// What is kept of the distance of a row to a group in which this is the least score of the other centroids.
    #[inline]
    pub(super) fn lower(&self, score: f32, half_sq_norm: f32, group: usize) -> u16 {
        let sq_dist = 2.0 * (score - self.error(score, half_sq_norm)).max(0.0);
        let distance = sq_dist.sqrt() * (1.0 - ROUNDING);
        // A cast of too large a number gives the largest that fits.
        ((distance + self.ways_below[group]) * (self.units * (1.0 - ROUNDING))) as u16
    }

    /// Error of the score of a row with this half squared norm. See [`certificate`].
    #[inline]
    pub(super) fn error(&self, score: f32, half_sq_norm: f32) -> f32 {
        self.error_of_t * score.max(0.0) + self.error_of_norm * half_sq_norm
    }
}

/// What is found out about the rows of a block.
pub(super) struct GroupScores {
    /// `|x|^2 / 2`.
    pub(super) half_sq_norm: [f32; BLOCK],
    /// At most so far is each row from its centroid.
    pub(super) reach: [f32; BLOCK],
    /// Groups (one bit each) that a row was or is to be measured against.
    pub(super) open: [u64; BLOCK],
    /// `64 x n_lower`: the least score of a row in each group that it was measured against, with its place in the last
    /// bits; `f32::MAX` for the others.
    pub(super) least: Vec<f32>,
    /// The second-least, likewise.
    pub(super) second: Vec<f32>,
    /// The least score of each row, its group, and the least score of all other centroids that were measured.
    pub(super) best: [f32; BLOCK],
    pub(super) best_group: [u8; BLOCK],
    pub(super) runner_up: [f32; BLOCK],
}

impl GroupScores {
    pub(super) fn new() -> Self {
        Self {
            half_sq_norm: [0.0; BLOCK],
            reach: [0.0; BLOCK],
            open: [0; BLOCK],
            least: Vec::new(),
            second: Vec::new(),
            best: [0.0; BLOCK],
            best_group: [0; BLOCK],
            runner_up: [0.0; BLOCK],
        }
    }

    /// Begins a block.
    pub(super) fn clear(&mut self, n_lower: usize) {
        for scores in [&mut self.least, &mut self.second] {
            scores.resize(BLOCK * n_lower, f32::MAX);
            scores.fill(f32::MAX);
        }
    }
}

/// Covers the roundings of a few operations in `f32`.
pub(super) const ROUNDING: f32 = 1.0 / (1 << 20) as f32;
/// Beyond every real score, below `f32::MAX`.
const UNSCORED: f32 = 1e38;

/// [`super::kernel::Kernels::group`], for `ROWS` rows at a time, then `HALF` as many, against `WIDE` times [`VECTOR`]
/// centroids at a time where the group is made of such.
///
/// # Safety
/// The instruction set of `V` must be present; `VECS * V::WIDTH` is [`VECTOR`].
#[inline(always)]
pub(super) unsafe fn group<V: Lanes, const VECS: usize, const ROWS: usize, const HALF: usize, const WIDE: usize>(
    block: &[f32],
    rows: &[u8],
    table: &GroupTable,
    group: usize,
    out: &mut GroupScores,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if (table.width / VECTOR).is_multiple_of(WIDE) {
            group_of_all::<V, VECS, ROWS, HALF, WIDE>(block, rows, table, group, out);
        } else {
            group_of_all::<V, VECS, ROWS, HALF, 1>(block, rows, table, group, out);
        }
    }
}

/// # Safety
/// As [`group`].
#[inline(always)]
unsafe fn group_of_all<V: Lanes, const VECS: usize, const ROWS: usize, const HALF: usize, const WIDE: usize>(
    block: &[f32],
    rows: &[u8],
    table: &GroupTable,
    group: usize,
    out: &mut GroupScores,
) {
    let full = rows.len() - rows.len() % ROWS;
    let (full, rest) = rows.split_at(full);
    // SAFETY (both): the caller's promise.
    for rows in full.chunks_exact(ROWS) {
        let rows = std::array::from_fn(|i| usize::from(rows[i]));
        unsafe { group_of_rows::<V, VECS, ROWS, WIDE>(block, rows, table, group, out) };
    }
    for rows in rest.chunks(HALF) {
        // The last row is repeated where there are too few.
        let rows = std::array::from_fn(|i| usize::from(rows[i.min(rows.len() - 1)]));
        unsafe { group_of_rows::<V, VECS, HALF, WIDE>(block, rows, table, group, out) };
    }
}

/// [`super::kernel::Kernels::norms`].
#[inline(always)]
pub(super) fn norms(block: &[f32], out: &mut GroupScores) {
    let mut sums = [0.0f32; BLOCK];
    for lane in block.chunks_exact(BLOCK) {
        for (sum, &x) in sums.iter_mut().zip(lane) {
            *sum += x * x;
        }
    }
    out.half_sq_norm = sums.map(|sum| 0.5 * sum);
}

/// # Safety
/// As [`group`].
#[inline(always)]
unsafe fn group_of_rows<V: Lanes, const VECS: usize, const ROWS: usize, const WIDE: usize>(
    block: &[f32],
    rows: [usize; ROWS],
    table: &GroupTable,
    group: usize,
    out: &mut GroupScores,
) {
    let len = table.n_features * VECTOR;
    let n_vectors = table.width / VECTOR;
    // SAFETY: the caller's promise, for every call of `V`'s functions.
    unsafe {
        let mut least = [V::splat(f32::MAX); ROWS];
        let mut second = least;
        for first in (0..n_vectors).step_by(WIDE) {
            let coords: [&[f32]; WIDE] =
                std::array::from_fn(|n| &table.coords[(group * n_vectors + first + n) * len..][..len]);
            let norms = &table.half_sq_norms[group * table.width + first * VECTOR..][..WIDE * VECTOR];
            let places = &table.places[first * VECTOR..][..WIDE * VECTOR];
            let norms: [[V; VECS]; WIDE] =
                std::array::from_fn(|n| std::array::from_fn(|v| V::load(&norms[n * VECTOR + v * V::WIDTH..])));
            let mut sums = [norms; ROWS];
            for (feature, lane) in block.chunks_exact(BLOCK).enumerate() {
                let coords: [[V; VECS]; WIDE] = coords.map(|coords| {
                    let coords = &coords[feature * VECTOR..][..VECTOR];
                    std::array::from_fn(|v| V::load(&coords[v * V::WIDTH..]))
                });
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let x = V::splat(lane[row % BLOCK]);
                    for (sum, c) in sums.as_flattened_mut().iter_mut().zip(coords.as_flattened()) {
                        *sum = x.mul_add(*c, *sum);
                    }
                }
            }
            for (i, sums) in sums.into_iter().enumerate() {
                let norm = V::splat(out.half_sq_norm[rows[i]]);
                for (v, sum) in sums.as_flattened().iter().enumerate() {
                    let score = sum.add(norm).with_index(table.place_bits(), &places[v * V::WIDTH..]);
                    second[i] = second[i].min(least[i].max(score));
                    least[i] = least[i].min(score);
                }
            }
        }
        for (i, row) in rows.into_iter().enumerate() {
            let first = least[i].least();
            let place = row * table.ways_above.len() + group;
            out.least[place] = first;
            out.second[place] = least[i].without(first).min(second[i]).least();
        }
    }
}

/// [`super::kernel::Kernels::open`]: bit by bit, the groups whose lower bound lies within a row's reach.
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
pub(super) unsafe fn open<V: Lanes>(lower: &[u16], table: &GroupTable, out: &mut GroupScores) {
    let units = table.units * (1.0 + ROUNDING);
    for (row, lower) in lower.chunks_exact(table.ways_above.len()).enumerate() {
        let mut open = 0;
        // SAFETY: the caller's promise; there are whole vectors of bounds.
        unsafe {
            let (units, reach) = (V::splat(units), V::splat(out.reach[row]));
            for first in (0..lower.len()).step_by(V::WIDTH) {
                let limit = reach.add(V::load(&table.ways_above[first..])).mul(units);
                let closed = V::load_u16(&lower[first..]).gt_bits(limit);
                open |= (!closed & ((1 << V::WIDTH) - 1)) << first;
            }
        }
        out.open[row] = open;
    }
}

/// [`super::kernel::Kernels::rank`]: for each row with open groups the least and second-least score, and lower bounds of
/// its distances to the open groups, as if its centroid were none of theirs.
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
pub(super) unsafe fn rank<V: Lanes>(lower: &mut [u16], table: &GroupTable, out: &mut GroupScores) {
    let n_lower = table.ways_below.len();
    for (row, lower) in lower.chunks_exact_mut(n_lower).enumerate() {
        if out.open[row] == 0 {
            continue;
        }
        let least = &out.least[row * n_lower..][..n_lower];
        let second = &out.second[row * n_lower..][..n_lower];
        // SAFETY: the caller's promise; there are whole vectors of scores and bounds.
        unsafe {
            let mut best = V::splat(f32::MAX);
            for first in (0..n_lower).step_by(V::WIDTH) {
                best = best.min(V::load(&least[first..]));
            }
            let best = best.least();
            let mut runner_up = V::splat(f32::MAX);
            let mut groups = 0;
            let (zero, norm) = (V::splat(0.0), V::splat(out.half_sq_norm[row] * table.error_of_norm));
            for first in (0..n_lower).step_by(V::WIDTH) {
                let scores = V::load(&least[first..]);
                groups |= scores.same_bits(best) << first;
                runner_up = runner_up.min(scores.without(best)).min(V::load(&second[first..]));
                let error = scores.max(zero).mul_add(V::splat(table.error_of_t), norm);
                let sq_dist = scores.sub(error).max(zero).mul(V::splat(2.0));
                let distance = sq_dist.sqrt().mul(V::splat(1.0 - ROUNDING));
                let units = V::splat(table.units * (1.0 - ROUNDING));
                let bound = distance.add(V::load(&table.ways_below[first..])).mul(units);
                let kept = V::load_u16(&lower[first..]);
                scores
                    .select_lt(V::splat(UNSCORED), bound, kept)
                    .store_u16(&mut lower[first..]);
            }
            out.best[row] = best;
            out.best_group[row] = groups.trailing_zeros() as u8;
            // The same score in two groups is the second-least as well.
            out.runner_up[row] = if groups.is_power_of_two() {
                runner_up.least()
            } else {
                best
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernel;

    /// Every instruction set ranks a row that was measured against the first `least.len()` of four groups.
    fn ranked(least: &[f32], second: &[f32]) -> Vec<(f32, u8, f32, Vec<u16>)> {
        let (k, d) = (64, 64);
        let centroids = Centroids::new(d, (0..k * d).map(|i| (i * 7919 % 4099) as i32).collect());
        let grouping = Grouping::new(&centroids).unwrap();
        let table = GroupTable::new(&centroids, &grouping, &[1.0; 4], 1.0);
        let rank = |kernels: &kernel::Kernels| {
            let mut scores = GroupScores::new();
            scores.clear(grouping.n_lower());
            scores.open[0] = (1 << least.len()) - 1;
            scores.least[..least.len()].copy_from_slice(least);
            scores.second[..second.len()].copy_from_slice(second);
            let mut lower = vec![77; grouping.n_lower()];
            (kernels.rank)(&mut lower, &table, &mut scores);
            (scores.best[0], scores.best_group[0], scores.runner_up[0], lower)
        };
        kernel::available().iter().map(rank).collect()
    }

    #[test]
    fn the_least_two_scores_are_found_and_bounds_follow() {
        for (best, group, runner_up, lower) in ranked(&[800.0, 200.0, 5000.0], &[900.0, 450.0, 6000.0]) {
            assert_eq!((best, group, runner_up), (200.0, 1, 450.0));
            // sqrt(2 t) + 1, rounded downwards; what was not measured stays.
            assert_eq!(lower[..4], [40, 20, 100, 77]);
        }
        for (.., runner_up, _) in ranked(&[800.0, 200.0], &[900.0, 1000.0]) {
            assert_eq!(runner_up, 800.0);
        }
    }

    #[test]
    fn equal_scores_in_two_groups_stay_in_doubt() {
        for (best, _, runner_up, _) in ranked(&[200.0, 800.0, 200.0], &[900.0, 1000.0, 900.0]) {
            assert_eq!((best, runner_up), (200.0, 200.0));
        }
    }
}
