//! Distances of a tile of up to 64 rows to a list of centroids, and what follows from them for each row: the nearest
//! centroid, whether that is proven, and by how much the others are farther.

use super::bounds::{self, RivalBounds, RowBounds, UnsafeBeside, UnsafeRows};
use super::coarse_kernel::{self, CoarseKernels};
use super::group_kernel::{self, GroupScores, GroupTable};
use super::groups::VECTOR;
use super::lane_sums::AddBlock;
use super::lanes::{Lanes, Portable};
#[cfg(target_arch = "x86_64")]
use super::matrix_kernel;
use super::rows::{self, Add, LayOut, Move, Shift};
use crate::backend::certificate;
use crate::sys::{fetch_ahead, fetch_early};
use crate::tiles::{BLOCK, Block, Centroids};

/// Centroids scored together: with the rows of a tile side by side they fill the registers.
pub(super) const GROUP: usize = 4;
/// Half the squared norm of the centroid that fills up the last group: its score stands behind every real one, and is
/// far from overflow in the certificate.
pub(super) const PADDING_SCORE: f32 = 1e30;

/// Centroids as the kernels read them, filled up to whole groups with one that stands behind all others.
pub(super) struct CentroidTable {
    n_features: usize,
    /// Whole groups times `n_features`, row-major, negated.
    coords: Vec<f32>,
    half_sq_norms: Vec<f32>,
    /// Factor of the certificate.
    factor: f32,
}

impl CentroidTable {
    pub(super) fn new(centroids: &Centroids) -> Self {
        let (k, d) = (centroids.n_clusters(), centroids.n_features());
        let places = k.next_multiple_of(GROUP);
        let mut coords = centroids.to_f32();
        coords.iter_mut().for_each(|c| *c = -*c);
        coords.resize(places * d, 0.0);
        let mut half_sq_norms = centroids.half_sq_norms_f32();
        half_sq_norms.resize(places, PADDING_SCORE);
        Self {
            n_features: d,
            coords,
            half_sq_norms,
            factor: certificate::nearest_even_factor(d),
        }
    }

    fn n_groups(&self) -> usize {
        self.half_sq_norms.len() / GROUP
    }

    #[inline(always)]
    fn group(&self, index: usize) -> [u32; GROUP] {
        std::array::from_fn(|slot| (index * GROUP + slot) as u32)
    }

    #[inline(always)]
    fn row(&self, cluster: u32) -> &[f32] {
        &self.coords[cluster as usize * self.n_features..][..self.n_features]
    }
}

/// A tile of rows, those past `n_rows` anything finite.
#[derive(Clone, Copy)]
pub(super) struct Tile<'t> {
    /// The rows as they stand in memory.
    pub(super) block: Block<'t>,
    /// The same as floats, value `(row, feature)` at `feature * 64 + row`; anything where only high bits are looked at.
    pub(super) values: &'t [f32],
    pub(super) n_rows: usize,
    /// What is read next, fetched while this tile is worked on.
    pub(super) ahead: &'t [u32],
}

/// The part of what is read next that is fetched while some rows of a tile are worked on, a share for each group of
/// centroids.
pub(super) struct Ahead<'t>(std::slice::Chunks<'t, [u32; LINE]>);

impl<'t> Ahead<'t> {
    /// For the rows from `first` on, `n_rows` of them, over `n_groups` groups.
    pub(super) fn new(ahead: &'t [u32], first: usize, n_rows: usize, n_groups: usize) -> Self {
        let lines = ahead.as_chunks().0;
        let lines = &lines[lines.len() * first / BLOCK..][..lines.len() * n_rows / BLOCK];
        Self(lines.chunks(lines.len().div_ceil(n_groups).max(1)))
    }

    /// Has the next share fetched.
    #[inline(always)]
    pub(super) fn fetch(&mut self) {
        for line in self.0.next().unwrap_or_default() {
            fetch_ahead(&line[0]);
        }
    }

    /// The same where a share takes long.
    #[inline(always)]
    pub(super) fn fetch_early(&mut self) {
        for line in self.0.next().unwrap_or_default() {
            fetch_early(&line[0]);
        }
    }
}

/// What the kernels find for each row of a tile; whole cache lines, as vectors are.
#[repr(align(64))]
pub(super) struct TileScores {
    /// The nearest centroid.
    pub(super) nearest: [u32; BLOCK],
    /// The second-nearest, where it is asked for.
    pub(super) runner_up: [u32; BLOCK],
    /// By how much all other centroids are farther than the nearest, in grid units, at least (0: unknown).
    pub(super) margin: [f32; BLOCK],
    /// The same of all but `runner_up`.
    pub(super) margin_of_rest: [f32; BLOCK],
    /// Rows (one bit each) whose answer is not proven.
    pub(super) doubtful: u64,
    /// Rows whose nearest centroid is `nearest` or `runner_up`, as far as a coarse look for rivals tells.
    pub(super) narrowed: u64,
}

impl TileScores {
    pub(super) fn new() -> Self {
        Self {
            nearest: [0; BLOCK],
            runner_up: [0; BLOCK],
            margin: [0.0; BLOCK],
            margin_of_rest: [0.0; BLOCK],
            doubtful: 0,
            narrowed: 0,
        }
    }
}

/// Scores a tile against all centroids.
type ScoreKernel = fn(&Tile<'_>, &CentroidTable, &mut TileScores);

/// An instruction set that this processor has, with its kernels.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    pub(super) name: &'static str,
    /// Fills `nearest`, `margin`, `doubtful`.
    pub(super) nearest: ScoreKernel,
    /// Fills `nearest`, `runner_up`, `doubtful` (of either).
    pub(super) two_nearest: ScoreKernel,
    /// Fills `nearest`, `runner_up` (which need not be the second-nearest), both margins, `doubtful` (of the nearest). There
    /// are three clusters at least.
    pub(super) with_rival: ScoreKernel,
    /// Fills `half_sq_norm` for all rows of a block.
    pub(super) norms: fn(&[f32], &mut GroupScores),
    /// Scores some rows of a block (values, rows), whose norms are there, against a group.
    pub(super) group: fn(&[f32], &[u8], &GroupTable, usize, &mut GroupScores),
    /// Finds the groups that the lower bounds of a block's rows leave open within `reach`.
    pub(super) open: fn(&[u16], &GroupTable, &mut GroupScores),
    /// Ranks what was scored, and writes the lower bounds that follow.
    pub(super) rank: fn(&mut [u16], &GroupTable, &mut GroupScores),
    /// Adds a block of rows to the lanes of their clusters, where the instruction set has masks.
    pub(super) add_block: Option<AddBlock>,
    /// Of a block's rows, those that their bounds do not clear.
    pub(super) unsafe_rows: UnsafeRows,
    /// The same of bounds against single rivals.
    pub(super) unsafe_beside: UnsafeBeside,
    /// The bounds that follow from margins.
    pub(super) row_bounds: RowBounds,
    /// The same against single rivals.
    pub(super) rival_bounds: RivalBounds,
    /// Lays out a block row by row.
    pub(super) lay_out: LayOut,
    /// Adds rows that are laid out to the sums of their clusters.
    pub(super) add_rows: Add,
    /// Takes rows out of the sums of their old clusters, and adds them to those of their new ones.
    pub(super) shift_rows: Shift,
    /// The same of rows that are laid out.
    pub(super) shift_laid_out: Shift,
    /// Exchanges the labels of a tile and the nearest centroids found; gives the rows (one bit each) that differed.
    pub(super) exchange: fn(&mut [u32], &mut [u32; BLOCK]) -> u64,
    /// Does `nearest` and `two_nearest` in integers, at less cost and for fewer rows.
    pub(super) coarse: Option<CoarseKernels>,
    /// Squared distance of two centroids, in centroid units squared, with a relative error below 2^-30.
    pub(super) centroid_sq_dist: fn(&[i32], &[i32]) -> f64,
}

/// Half the squared distances of `VECS` vectors of rows, from `first` on, to a group of centroids. `NORMS`: computes
/// half the squared norms of the rows beside them, else takes those given.
///
/// # Safety
/// The instruction set of `V` must be present; `first + VECS * V::WIDTH <= 64`.
#[inline(always)]
unsafe fn half_sq_dists<V: Lanes, const VECS: usize, const NORMS: bool>(
    tile: &Tile<'_>,
    first: usize,
    half_sq_norms: &mut [V; VECS],
    table: &CentroidTable,
    group: [u32; GROUP],
) -> [[V; VECS]; GROUP] {
    // SAFETY: the caller's promise, for every call of `V`'s functions.
    unsafe {
        let norm = |slot: usize| V::splat(table.half_sq_norms[group[slot] as usize]);
        let mut sums: [[V; VECS]; GROUP] = std::array::from_fn(|slot| [norm(slot); VECS]);
        let mut norms = [V::splat(0.0); VECS];
        let [c0, c1, c2, c3] = group.map(|cluster| table.row(cluster));
        let coords = c0.iter().zip(c1).zip(c2).zip(c3);
        for (lane, (((&c0, &c1), &c2), &c3)) in tile.values.chunks_exact(BLOCK).zip(coords) {
            let x: [V; VECS] = std::array::from_fn(|v| V::load(&lane[first + v * V::WIDTH..]));
            for (sums, c) in sums.iter_mut().zip([c0, c1, c2, c3]) {
                let c = V::splat(c);
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = x.mul_add(c, *sum);
                }
            }
            if NORMS {
                for (norm, x) in norms.iter_mut().zip(x) {
                    *norm = x.mul_add(x, *norm);
                }
            }
        }
        if NORMS {
            *half_sq_norms = norms.map(|norm| norm.mul(V::splat(0.5)));
        }
        for sums in &mut sums {
            for (sum, &half_sq_norm) in sums.iter_mut().zip(half_sq_norms.iter()) {
                *sum = sum.add(half_sq_norm);
            }
        }
        sums
    }
}

/// What a comparison needs of two half squared distances: the proven part of their difference, and an upper bound of
/// their exact sum. See [`certificate`].
#[inline(always)]
unsafe fn gap<V: Lanes>(lower: V, upper: V, half_sq_norm: V, factor: V) -> (V, V) {
    // SAFETY: the caller's promise.
    unsafe {
        let sum = lower.add(upper);
        let error = factor.mul(V::splat(3.0).mul_add(sum, V::splat(12.0).mul(half_sq_norm)));
        (upper.sub(lower).sub(error), sum.add(error))
    }
}

/// The nearest few centroids of `VECS` vectors of rows, as far as they are known.
struct Ranking<V: Lanes, const VECS: usize> {
    best: [V; VECS],
    second: [V; VECS],
    third: [V; VECS],
    nearest: [V::Index; VECS],
    runner_up: [V::Index; VECS],
}

impl<V: Lanes, const VECS: usize> Ranking<V, VECS> {
    /// # Safety
    /// The instruction set of `V` must be present.
    #[inline(always)]
    unsafe fn new() -> Self {
        // SAFETY: the caller's promise.
        let (none, first) = unsafe { (V::splat(f32::MAX), V::splat_index(0)) };
        Self {
            best: [none; VECS],
            second: [none; VECS],
            third: [none; VECS],
            nearest: [first; VECS],
            runner_up: [first; VECS],
        }
    }

    /// Takes in the scores of a group. `three`: keeps the third score and the runner-up's index as well.
    ///
    /// # Safety
    /// The instruction set of `V` must be present.
    #[inline(always)]
    unsafe fn add(&mut self, three: bool, scores: [[V; VECS]; GROUP], group: [u32; GROUP]) {
        // SAFETY: the caller's promise.
        unsafe {
            for (scores, cluster) in scores.into_iter().zip(group) {
                let cluster = V::splat_index(cluster);
                for (v, score) in scores.into_iter().enumerate() {
                    if three {
                        self.third[v] = self.third[v].min(self.second[v].max(score));
                        // The old best where this one is better, this one where it only beats the second.
                        self.runner_up[v] = score.select_index_lt(self.second[v], cluster, self.runner_up[v]);
                        self.runner_up[v] = score.select_index_lt(self.best[v], self.nearest[v], self.runner_up[v]);
                    }
                    self.second[v] = self.second[v].min(self.best[v].max(score));
                    self.nearest[v] = score.select_index_lt(self.best[v], cluster, self.nearest[v]);
                    self.best[v] = self.best[v].min(score);
                }
            }
        }
    }
}

/// What a score kernel is to find.
pub(super) mod find {
    /// [`super::Kernels::nearest`].
    pub(in super::super) const NEAREST: u8 = 0;
    /// [`super::Kernels::two_nearest`].
    pub(in super::super) const TWO_NEAREST: u8 = 1;
    /// [`super::Kernels::with_rival`].
    pub(in super::super) const WITH_RIVAL: u8 = 2;
}

/// A lower bound of the difference of two distances, rounded downwards by more than all that was rounded on the way, see
/// [`certificate`]. `difference` and `sum` are those of [`gap`].
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
unsafe fn margin<V: Lanes>(difference: V, sum: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let least = V::splat(1e-30);
        difference
            .max(V::splat(0.0))
            .mul(sum.max(least).rsqrt())
            .mul(V::splat(MARGIN_SHRINK))
    }
}

/// A kernel that finds `WHAT` (one of [`find`]) for `VECS` vectors of rows. Gives those (one bit each) that are not proven:
/// written to memory vector by vector, they would be waited for.
///
/// # Safety
/// As [`half_sq_dists`].
#[inline(always)]
unsafe fn score<V: Lanes, const VECS: usize, const WHAT: u8>(
    tile: &Tile<'_>,
    first: usize,
    table: &CentroidTable,
    out: &mut TileScores,
) -> u64 {
    let mut doubtful = 0;
    // SAFETY: the caller's promise, for every call of `V`'s functions.
    unsafe {
        let mut norms = [V::splat(0.0); VECS];
        let mut ranking = Ranking::<V, VECS>::new();
        let n_groups = table.n_groups();
        let mut ahead = Ahead::new(tile.ahead, first, VECS * V::WIDTH, n_groups);
        let group = table.group(0);
        let three = WHAT != find::NEAREST;
        ranking.add(
            three,
            half_sq_dists::<V, VECS, true>(tile, first, &mut norms, table, group),
            group,
        );
        for index in 1..n_groups {
            ahead.fetch();
            let group = table.group(index);
            let scores = half_sq_dists::<V, VECS, false>(tile, first, &mut norms, table, group);
            ranking.add(three, scores, group);
        }
        ahead.fetch();
        let factor = V::splat(table.factor);
        let zero = V::splat(0.0);
        for (v, norm) in norms.into_iter().enumerate() {
            let at = first + v * V::WIDTH;
            let (difference, sum) = gap(ranking.best[v], ranking.second[v], norm, factor);
            let mut proven = difference.gt_bits(zero);
            V::store_index(ranking.nearest[v], &mut out.nearest[at..]);
            if three {
                V::store_index(ranking.runner_up[v], &mut out.runner_up[at..]);
            }
            if WHAT == find::TWO_NEAREST {
                let (difference, _) = gap(ranking.second[v], ranking.third[v], norm, factor);
                proven &= difference.gt_bits(zero);
            } else {
                margin(difference, sum).store(&mut out.margin[at..]);
            }
            if WHAT == find::WITH_RIVAL {
                let (difference, sum) = gap(ranking.best[v], ranking.third[v], norm, factor);
                margin(difference, sum).store(&mut out.margin_of_rest[at..]);
            }
            let rows = (1u64 << V::WIDTH) - 1;
            doubtful |= (!proven & rows) << at;
        }
    }
    doubtful
}

/// From so many features on, fewer rows at a time: those of a whole tile no longer stay in the first-level cache.
const WIDE: usize = 64;
/// Words in a cache line.
const LINE: usize = 16;

/// A cache line, where vectors of any width begin.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; LINE]);

impl Line {
    pub(super) const ZERO: Self = Self([0; LINE]);
}

/// Covers the error of [`Lanes::rsqrt`] and the roundings around it.
pub(super) const MARGIN_SHRINK: f32 = 1.0 - 1.0 / 1024.0;
/// [`score`] for all rows of a tile: as many at a time as the registers hold, then vector by vector.
///
/// # Safety
/// The instruction set of `V` must be present; `VECS * V::WIDTH` divides 64.
#[inline(always)]
unsafe fn score_tile<V: Lanes, const VECS: usize, const HALF: usize, const WHAT: u8>(
    tile: &Tile<'_>,
    table: &CentroidTable,
    out: &mut TileScores,
) {
    let mut first = 0;
    out.doubtful = 0;
    // SAFETY: the caller's promise; `first` stays below 64 in steps that divide it.
    unsafe {
        while HALF < VECS && table.n_features > WIDE && tile.n_rows > first + (HALF - 1) * V::WIDTH {
            out.doubtful |= score::<V, HALF, WHAT>(tile, first, table, out);
            first += HALF * V::WIDTH;
        }
        while tile.n_rows > first + (VECS - 1) * V::WIDTH {
            out.doubtful |= score::<V, VECS, WHAT>(tile, first, table, out);
            first += VECS * V::WIDTH;
        }
        while tile.n_rows > first {
            out.doubtful |= score::<V, 1, WHAT>(tile, first, table, out);
            first += V::WIDTH;
        }
    }
    if tile.n_rows < BLOCK {
        out.doubtful &= (1 << tile.n_rows) - 1;
    }
}

/// [`Kernels::exchange`].
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
unsafe fn exchange<V: Lanes>(labels: &mut [u32], found: &mut [u32; BLOCK]) -> u64 {
    let Ok(labels) = <&mut [u32; BLOCK]>::try_from(&mut *labels) else {
        let mut differ = 0;
        for (row, (label, found)) in labels.iter_mut().zip(found).enumerate() {
            differ |= u64::from(label != found) << row;
            std::mem::swap(label, found);
        }
        return differ;
    };
    let mut differ = 0;
    for first in (0..BLOCK).step_by(V::WIDTH) {
        // SAFETY: the caller's promise.
        differ |= unsafe { V::differ_bits(&labels[first..], &found[first..]) } << first;
    }
    std::mem::swap(labels, found);
    differ
}

/// [`Kernels::centroid_sq_dist`]: differences are exact, squares and sums in `f64`.
#[inline(always)]
fn centroid_sq_dist(a: &[i32], b: &[i32]) -> f64 {
    const LANES: usize = 16;
    let sq = |a: i32, b: i32| {
        let diff = f64::from(a) - f64::from(b);
        diff * diff
    };
    let mut sums = [0.0; LANES];
    let (a_runs, b_runs) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a_runs
        .remainder()
        .iter()
        .zip(b_runs.remainder())
        .map(|(&a, &b)| sq(a, b))
        .sum();
    for (a, b) in a_runs.zip(b_runs) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += sq(a[lane], b[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The kernels of one instruction set; its functions are compiled with `$enable`.
macro_rules! kernels {
    ($module:ident, $lanes:ty, $eight:ty, $vecs:literal, $group_rows:literal, $wide:literal, $name:expr $(, $enable:literal)?) => {
        mod $module {
            use super::*;

            // SAFETY (this function and those below): `available` asks the processor for the instruction set before it
            // gives these out.
            $(#[target_feature(enable = $enable)])?
            fn exchange_(labels: &mut [u32], found: &mut [u32; BLOCK]) -> u64 {
                unsafe { exchange::<$lanes>(labels, found) }
            }
            $(#[target_feature(enable = $enable)])?
            fn add_rows_(sums: &mut [i64], places: &[(u32, u32)], rows: &[u32], n_features: usize) {
                unsafe { rows::add::<$eight>(sums, places, rows, n_features) }
            }
            $(#[target_feature(enable = $enable)])?
            fn shift_rows_(sums: &mut [i64], moves: &[Move], words: &[u32], n_features: usize) {
                unsafe { rows::shift::<$eight, BLOCK>(sums, moves, words, n_features) }
            }
            $(#[target_feature(enable = $enable)])?
            fn shift_laid_out_(sums: &mut [i64], moves: &[Move], rows: &[u32], n_features: usize) {
                unsafe { rows::shift::<$eight, 1>(sums, moves, rows, n_features) }
            }
            $(#[target_feature(enable = $enable)])?
            fn nearest_(tile: &Tile<'_>, table: &CentroidTable, out: &mut TileScores) {
                unsafe { score_tile::<$lanes, $vecs, { $vecs / 2 }, { find::NEAREST }>(tile, table, out) }
            }
            $(#[target_feature(enable = $enable)])?
            fn two_nearest_(tile: &Tile<'_>, table: &CentroidTable, out: &mut TileScores) {
                unsafe { score_tile::<$lanes, $vecs, { $vecs / 2 }, { find::TWO_NEAREST }>(tile, table, out) }
            }
            $(#[target_feature(enable = $enable)])?
            fn with_rival_(tile: &Tile<'_>, table: &CentroidTable, out: &mut TileScores) {
                unsafe { score_tile::<$lanes, $vecs, { $vecs / 2 }, { find::WITH_RIVAL }>(tile, table, out) }
            }
            $(#[target_feature(enable = $enable)])?
            fn norms_(block: &[f32], out: &mut GroupScores) {
                group_kernel::norms(block, out)
            }
            $(#[target_feature(enable = $enable)])?
            fn group_(block: &[f32], rows: &[u8], table: &GroupTable, index: usize, out: &mut GroupScores) {
                const VECS: usize = VECTOR / <$lanes as Lanes>::WIDTH;
                unsafe { group_kernel::group::<$lanes, VECS, $group_rows, { $group_rows / 2 }, $wide>(block, rows, table, index, out) }
            }
            $(#[target_feature(enable = $enable)])?
            fn open_(lower: &[u16], table: &GroupTable, out: &mut GroupScores) {
                unsafe { group_kernel::open::<$lanes>(lower, table, out) }
            }
            $(#[target_feature(enable = $enable)])?
            fn rank_(lower: &mut [u16], table: &GroupTable, out: &mut GroupScores) {
                unsafe { group_kernel::rank::<$lanes>(lower, table, out) }
            }
            $(#[target_feature(enable = $enable)])?
            fn unsafe_rows_(bounds: &[f32], labels: &[u32], ways: &[f32]) -> (u64, f32) {
                unsafe { bounds::unsafe_rows::<$lanes>(bounds, labels, ways) }
            }
            $(#[target_feature(enable = $enable)])?
            fn unsafe_beside_(bounds: &[f32], labels: &[u32], rivals: &[u16], ways: &[f32]) -> (u64, f32) {
                unsafe { bounds::unsafe_beside::<$lanes>(bounds, labels, rivals, ways) }
            }
            $(#[target_feature(enable = $enable)])?
            fn rival_bounds_(margins: &[f32], labels: &[u32], rivals: &[u16], ways: &[f32], bounds: &mut [f32]) -> f32 {
                unsafe { bounds::rival_bounds::<$lanes>(margins, labels, rivals, ways, bounds) }
            }
            $(#[target_feature(enable = $enable)])?
            fn row_bounds_(margins: &[f32], labels: &[u32], ways: &[f32], bounds: &mut [f32]) -> f32 {
                unsafe { bounds::row_bounds::<$lanes>(margins, labels, ways, bounds) }
            }
            $(#[target_feature(enable = $enable)])?
            fn centroid_sq_dist_(a: &[i32], b: &[i32]) -> f64 {
                centroid_sq_dist(a, b)
            }

            #[allow(unused_unsafe, reason = "without a target feature the calls are safe")]
            pub(super) const KERNELS: Kernels = Kernels {
                name: $name,
                nearest: |tile, table, out| unsafe { nearest_(tile, table, out) },
                two_nearest: |tile, table, out| unsafe { two_nearest_(tile, table, out) },
                with_rival: |tile, table, out| unsafe { with_rival_(tile, table, out) },
                norms: |block, out| unsafe { norms_(block, out) },
                group: |block, rows, table, index, out| unsafe { group_(block, rows, table, index, out) },
                open: |lower, table, out| unsafe { open_(lower, table, out) },
                rank: |lower, table, out| unsafe { rank_(lower, table, out) },
                add_block: None,
                unsafe_rows: |bounds, labels, ways| unsafe { unsafe_rows_(bounds, labels, ways) },
                unsafe_beside: |bounds, labels, rivals, ways| unsafe { unsafe_beside_(bounds, labels, rivals, ways) },
                row_bounds: |margins, labels, ways, bounds| unsafe { row_bounds_(margins, labels, ways, bounds) },
                rival_bounds: |margins, labels, rivals, ways, bounds| unsafe {
                    rival_bounds_(margins, labels, rivals, ways, bounds)
                },
                lay_out: rows::lay_out,
                add_rows: |sums, places, rows, n_features| unsafe { add_rows_(sums, places, rows, n_features) },
                shift_rows: |sums, moves, words, n_features| unsafe { shift_rows_(sums, moves, words, n_features) },
                shift_laid_out: |sums, moves, rows, n_features| unsafe {
                    shift_laid_out_(sums, moves, rows, n_features)
                },
                coarse: None,
                exchange: |labels, found| unsafe { exchange_(labels, found) },
                centroid_sq_dist: |a, b| unsafe { centroid_sq_dist_(a, b) },
            };
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernels!(
    avx512,
    super::super::lanes::Avx512,
    super::super::rows::Eight512,
    4,
    8,
    2,
    "AVX-512",
    "avx512f,avx512bw,avx512vl,avx512dq"
);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx2,
    super::super::lanes::Avx2,
    [i64; rows::STEP],
    2,
    4,
    1,
    "AVX2",
    "avx2,fma"
);
#[cfg(target_arch = "aarch64")]
kernels!(portable, Portable, [i64; rows::STEP], 4, 4, 1, "NEON");
#[cfg(not(target_arch = "aarch64"))]
kernels!(portable, Portable, [i64; rows::STEP], 2, 2, 1, "portable");

/// The instruction sets that this processor has, best first.
pub(super) fn available() -> Vec<Kernels> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
        {
            let avx512 = Kernels {
                // SAFETY: AVX-512F was just detected.
                add_block: Some(|labels, block, lanes, counts| unsafe {
                    super::lane_sums::add_avx512(labels, block, lanes, counts)
                }),
                // SAFETY: just detected.
                coarse: is_x86_feature_detected!("avx512vnni").then(|| unsafe { coarse_kernel::avx512() }),
                // SAFETY: AVX-512F was just detected.
                lay_out: |block, rows, stride| unsafe { rows::lay_out_avx512(block, rows, stride) },
                ..avx512::KERNELS
            };
            if let Some(coarse) = matrix_kernel::available() {
                found.push(Kernels {
                    name: "AMX",
                    coarse: Some(coarse),
                    ..avx512
                });
            }
            found.push(avx512);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            found.push(Kernels {
                // SAFETY: AVX2 and FMA were just detected.
                coarse: Some(unsafe { coarse_kernel::avx2() }),
                ..avx2::KERNELS
            });
        }
    }
    found.push(portable::KERNELS);
    found
}
