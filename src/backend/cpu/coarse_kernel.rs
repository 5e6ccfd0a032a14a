//! The kernels of [`super::coarse`].

use super::coarse::{CoarseRows, CoarseTable, MAX_NORM, Rounding};
use super::kernel::{Ahead, GROUP, MARGIN_SHRINK, Tile, TileScores, find};
use super::lanes::Lanes;
use super::pairs::{ABSENT, PairLanes};
use crate::tiles::BLOCK;

/// Rounds a tile to pairs of integers, 64 rows each, with their squared norms in `sq_norms`: in `room`, or where they stand
/// in memory.
///
/// # Safety
/// The instruction set of `P` must be present; `VECS` vectors hold the rows of a tile.
#[inline(always)]
pub(super) unsafe fn round<'r, P: PairLanes, const VECS: usize>(
    tile: &Tile<'r>,
    table: &CoarseTable,
    room: &'r mut [u32],
    sq_norms: &mut [u32; BLOCK],
) -> &'r [u32] {
    let high = tile.block.pairs();
    // What stands beside the last of an odd number of features is no coordinate.
    let beside = |pair: usize, both: i32| {
        let is_alone = 2 * pair + 1 == tile.block.n_features();
        if is_alone { both & 0xffff } else { both }
    };
    // SAFETY: the caller's promise, for every call of the vectors' functions.
    unsafe {
        let mut norms = [P::splat(0); VECS];
        match table.rounding {
            Rounding::High => {
                for (pair, words) in high.chunks_exact(BLOCK).enumerate() {
                    let mask = P::splat(beside(pair, -1));
                    for (v, norm) in norms.iter_mut().enumerate() {
                        *norm = norm.add_squares(P::load(&words[v * P::Floats::WIDTH..]).tag(mask));
                    }
                }
            }
            Rounding::ScaledHigh(factor) => {
                let both = i32::from(factor) << 16 | i32::from(factor);
                let places = room.chunks_exact_mut(BLOCK).zip(high.chunks_exact(BLOCK));
                for (pair, (out, words)) in places.enumerate() {
                    let factors = P::splat(beside(pair, both));
                    for (v, norm) in norms.iter_mut().enumerate() {
                        let at = v * P::Floats::WIDTH;
                        let pair = P::load(&words[at..]).scale(factors);
                        *norm = norm.add_squares(pair);
                        pair.store(&mut out[at..]);
                    }
                }
            }
            Rounding::Finer(bits) => {
                let low = tile.block.low_words();
                // Which bytes of the word hold the low bits of an even pair, of an odd one, and of a feature alone.
                let [even, odd, alone] = [P::bytes([0, 1]), P::bytes([2, 3]), P::bytes([2, ABSENT])];
                for (pair, (out, words)) in room.chunks_exact_mut(BLOCK).zip(high.chunks_exact(BLOCK)).enumerate() {
                    let mask = P::splat(beside(pair, -1));
                    let (low, bytes) = match low.get(pair / 2 * BLOCK..) {
                        Some(low) if beside(pair, -1) == -1 => (low, if pair % 2 == 0 { even } else { odd }),
                        _ => (words, alone),
                    };
                    for (v, norm) in norms.iter_mut().enumerate() {
                        let at = v * P::Floats::WIDTH;
                        let low = P::load(&low[at..]).pick(bytes);
                        let pair = P::load(&words[at..]).tag(mask).finer(low, bits);
                        *norm = norm.add_squares(pair);
                        pair.store(&mut out[at..]);
                    }
                }
            }
        }
        for (v, norm) in norms.into_iter().enumerate() {
            norm.store(&mut sq_norms[v * P::Floats::WIDTH..]);
        }
    }
    if table.rounding == Rounding::High { high } else { room }
}

/// Scores of `VECS` vectors of rows, from `first` on, against a group of centroids.
///
/// # Safety
/// The instruction set of `P` must be present.
#[inline(always)]
unsafe fn scores<P: PairLanes, const VECS: usize>(
    pairs: &[u32],
    first: usize,
    table: &CoarseTable,
    group: usize,
) -> [[P; VECS]; GROUP] {
    // SAFETY: the caller's promise.
    unsafe {
        let place = |slot: usize| group * GROUP + slot;
        let mut sums: [[P; VECS]; GROUP] =
            std::array::from_fn(|slot| [P::splat(table.half_sq_norms[place(slot)]); VECS]);
        let [c0, c1, c2, c3]: [&[i32]; GROUP] = std::array::from_fn(|slot| table.row(place(slot)));
        let coords = c0.iter().zip(c1).zip(c2).zip(c3);
        for (lane, (((&c0, &c1), &c2), &c3)) in pairs.chunks_exact(BLOCK).zip(coords) {
            let x: [P; VECS] = std::array::from_fn(|v| P::load(&lane[first + v * P::Floats::WIDTH..]));
            for (sums, c) in sums.iter_mut().zip([c0, c1, c2, c3]) {
                let c = P::splat(c);
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = sum.add_products(x, c);
                }
            }
        }
        sums
    }
}

/// The least few scores of `VECS` vectors of rows, each with the number of its centroid in the low bits.
#[derive(Clone, Copy)]
pub(super) struct Ranking<P: PairLanes, const VECS: usize> {
    best: [P; VECS],
    second: [P; VECS],
    third: [P; VECS],
}

impl<P: PairLanes, const VECS: usize> Ranking<P, VECS> {
    /// # Safety
    /// The instruction set of `P` must be present.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        // SAFETY: the caller's promise.
        let none = unsafe { P::splat(i32::MAX) };
        Self {
            best: [none; VECS],
            second: [none; VECS],
            third: [none; VECS],
        }
    }

    /// Takes in the scores of a group. `three`: keeps the third as well.
    ///
    /// # Safety
    /// The instruction set of `P` must be present.
    #[inline(always)]
    unsafe fn add(&mut self, three: bool, scores: [[P; VECS]; GROUP], group: usize, mask: P) {
        for (slot, scores) in scores.into_iter().enumerate() {
            for (v, score) in scores.into_iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { self.take(three, v, score, P::splat((group * GROUP + slot) as i32), mask) };
            }
        }
    }

    /// The same for the scores of vector `v` of a centroid with this number.
    ///
    /// # Safety
    /// The instruction set of `P` must be present.
    #[inline(always)]
    pub(super) unsafe fn take(&mut self, three: bool, v: usize, score: P, number: P, mask: P) {
        // SAFETY: the caller's promise.
        unsafe {
            let score = score.with_tag(mask, number);
            if three {
                self.third[v] = self.third[v].min(self.second[v].max(score));
            }
            self.second[v] = self.second[v].min(self.best[v].max(score));
            self.best[v] = self.best[v].min(score);
        }
    }
}

/// By how much the scaled distances that belong to two scores differ, at least, less the slack.
///
/// # Safety
/// The instruction set of `P` must be present.
#[inline(always)]
unsafe fn margin<P: PairLanes>(lower: P, upper: P, half_sq_norm: P, table: &CoarseTable) -> P::Floats {
    // SAFETY: the caller's promise.
    unsafe {
        let mask = P::splat(table.tag_mask);
        // One more, for the halves that were rounded down.
        let lower = lower.with_tag(mask, mask).add(half_sq_norm).add(P::splat(1));
        let upper = upper.with_tag(mask, P::splat(0)).add(half_sq_norm);
        let sum = lower.to_floats().add(upper.to_floats()).max(P::Floats::splat(1.0));
        let difference = upper.sub(lower).to_floats();
        let distance = difference.mul(sum.rsqrt()).mul(P::Floats::splat(MARGIN_SHRINK));
        distance.sub(P::Floats::splat(table.slack))
    }
}

/// Finds `WHAT` (one of [`find`]) of `VECS` vectors of rows. Gives those (one bit each) that are not proven: written to memory
/// vector by vector, they would be waited for.
///
/// # Safety
/// The instruction set of `P` must be present.
#[inline(always)]
unsafe fn score<P: PairLanes, const VECS: usize, const WHAT: u8>(
    mut ahead: Ahead<'_>,
    (pairs, sq_norms): (&[u32], &[u32; BLOCK]),
    first: usize,
    table: &CoarseTable,
    out: &mut TileScores,
) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        let mask = P::splat(table.tag_mask);
        let mut ranking = Ranking::<P, VECS>::new();
        for group in 0..table.n_groups() {
            ahead.fetch();
            let scores = scores::<P, VECS>(pairs, first, table, group);
            ranking.add(WHAT != find::NEAREST, scores, group, mask);
        }
        conclude::<P, VECS, WHAT>(&ranking, sq_norms, first, table, out)
    }
}

/// What follows from the ranking of `VECS` vectors of rows, from `first` on; adds to `narrowed`. Gives those that are not proven.
///
/// # Safety
/// The instruction set of `P` must be present.
#[inline(always)]
pub(super) unsafe fn conclude<P: PairLanes, const VECS: usize, const WHAT: u8>(
    ranking: &Ranking<P, VECS>,
    sq_norms: &[u32; BLOCK],
    first: usize,
    table: &CoarseTable,
    out: &mut TileScores,
) -> u64 {
    let (mut doubtful, mut narrowed) = (0, 0);
    // SAFETY: the caller's promise.
    unsafe {
        let mask = P::splat(table.tag_mask);
        let zero = P::Floats::splat(0.0);
        let largest = P::splat(MAX_NORM * MAX_NORM);
        for v in 0..VECS {
            let at = first + v * P::Floats::WIDTH;
            let (best, second) = (ranking.best[v], ranking.second[v]);
            let sq_norm = P::load(&sq_norms[at..]);
            let half_sq_norm = sq_norm.half();
            let farther = margin(best, second, half_sq_norm, table);
            let is_usual = sq_norm.le_bits(largest);
            let mut proven = farther.gt_bits(zero) & is_usual;
            best.tag(mask).store(&mut out.nearest[at..]);
            let unscaled = |farther: P::Floats| farther.max(zero).mul(P::Floats::splat(table.unscale));
            if WHAT != find::NEAREST {
                second.tag(mask).store(&mut out.runner_up[at..]);
            }
            if WHAT == find::TWO_NEAREST {
                let farther = margin(second, ranking.third[v], half_sq_norm, table).gt_bits(zero);
                narrowed |= (farther & is_usual) << at;
                proven &= farther;
            } else {
                unscaled(farther).store(&mut out.margin[at..]);
            }
            if WHAT == find::WITH_RIVAL {
                let farther = margin(best, ranking.third[v], half_sq_norm, table);
                unscaled(farther).store(&mut out.margin_of_rest[at..]);
                narrowed |= (farther.gt_bits(zero) & is_usual) << at;
            }
            let rows = (1u64 << P::Floats::WIDTH) - 1;
            doubtful |= (!proven & rows) << at;
        }
    }
    out.narrowed |= narrowed;
    doubtful
}

/// Finds `WHAT` (one of [`find`]) of all rows of a tile. `VECS` vectors at a time; `ALL` hold a tile.
///
/// # Safety
/// The instruction set of `P` must be present; `VECS` vectors divide a tile.
#[inline(always)]
unsafe fn score_tile<P: PairLanes, const VECS: usize, const ALL: usize, const WHAT: u8>(
    tile: &Tile<'_>,
    table: &CoarseTable,
    rows: &mut CoarseRows,
    out: &mut TileScores,
) {
    rows.reserve(table.n_pairs);
    let CoarseRows { pairs, sq_norms, .. } = rows;
    (out.doubtful, out.narrowed) = (0, 0);
    // SAFETY: the caller's promise.
    unsafe {
        let pairs = round::<P, ALL>(tile, table, bytemuck::cast_slice_mut(pairs), sq_norms);
        let step = VECS * P::Floats::WIDTH;
        for first in (0..tile.n_rows).step_by(step) {
            let ahead = Ahead::new(tile.ahead, first, step, table.n_groups());
            out.doubtful |= score::<P, VECS, WHAT>(ahead, (pairs, sq_norms), first, table, out);
        }
    }
    if tile.n_rows < BLOCK {
        out.doubtful &= (1 << tile.n_rows) - 1;
    }
}

/// Rounds a tile and scores it against all centroids.
type CoarseKernel = fn(&Tile<'_>, &CoarseTable, &mut CoarseRows, &mut TileScores);

/// The kernels of an instruction set; they fill what those of [`super::kernel::Kernels`] with the same names fill.
#[derive(Clone, Copy)]
pub(super) struct CoarseKernels {
    pub(super) nearest: CoarseKernel,
    pub(super) two_nearest: CoarseKernel,
    pub(super) with_rival: CoarseKernel,
    /// Tables may have digits.
    pub(super) has_matrix_unit: bool,
    /// Ends what the kernels began on this thread.
    pub(super) leave: fn(),
}

/// [`CoarseKernels`] of one instruction set; its functions are compiled with `$enable`.
#[cfg(target_arch = "x86_64")]
macro_rules! coarse_kernels {
    ($name:ident, $pairs:ty, $vecs:literal, $all:literal, $enable:literal) => {
        /// # Safety
        #[doc = concat!("The processor must have ", $enable, ".")]
        pub(super) unsafe fn $name() -> CoarseKernels {
            // SAFETY (this function and those below): the caller's promise.
            #[target_feature(enable = $enable)]
            fn nearest(tile: &Tile<'_>, table: &CoarseTable, rows: &mut CoarseRows, out: &mut TileScores) {
                unsafe { score_tile::<$pairs, $vecs, $all, { find::NEAREST }>(tile, table, rows, out) }
            }
            #[target_feature(enable = $enable)]
            fn two_nearest(tile: &Tile<'_>, table: &CoarseTable, rows: &mut CoarseRows, out: &mut TileScores) {
                unsafe { score_tile::<$pairs, $vecs, $all, { find::TWO_NEAREST }>(tile, table, rows, out) }
            }
            #[target_feature(enable = $enable)]
            fn with_rival(tile: &Tile<'_>, table: &CoarseTable, rows: &mut CoarseRows, out: &mut TileScores) {
                unsafe { score_tile::<$pairs, $vecs, $all, { find::WITH_RIVAL }>(tile, table, rows, out) }
            }
            CoarseKernels {
                nearest: |tile, table, rows, out| unsafe { nearest(tile, table, rows, out) },
                two_nearest: |tile, table, rows, out| unsafe { two_nearest(tile, table, rows, out) },
                with_rival: |tile, table, rows, out| unsafe { with_rival(tile, table, rows, out) },
                has_matrix_unit: false,
                leave: || (),
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
coarse_kernels!(avx512, super::pairs::Avx512Pairs, 4, 4, "avx512f,avx512bw,avx512vnni");
#[cfg(target_arch = "x86_64")]
coarse_kernels!(avx2, super::pairs::Avx2Pairs, 2, 8, "avx2,fma");
