//! The potential of k-means++: the exact squared distance of every row to its closest centre, and what a further centre
//! would leave of it.
//!
//! Squared distances between grid rows are integers below 2^63. Most rows are far from a candidate, and `f32` shows it:
//! differences of grid values are exact in `f32`, so a sum of `d` squares is off by a factor of at most
//! `(1 + 2^-24)^(d+1)`, and a computed sum above the row's bound (its squared distance times a little more than that
//! factor) proves that the candidate is no nearer. Only the rows that are left are measured exactly.

use rayon::prelude::*;

use crate::num::widest::{Kernel, widest};
use crate::rng::Rng;
use crate::tiles::{BLOCK, Chunk, TileSet};

/// Candidates that the filter looks at together.
const GROUP: usize = 4;
/// Features after which the filter looks whether any row is left.
const CHECK: usize = 16;
/// Blocks that a thread takes at least.
const MIN_BLOCKS: usize = 64;
/// With more rows left than this, a block is measured as a whole.
const FEW: u32 = 6;

/// Squared distance of each row to its closest centre, and what these add up to with the rows' weights.
#[derive(Clone)]
pub(super) struct Potential<'s> {
    chunk: &'s Chunk,
    /// Its values, see [`Chunk::to_floats`].
    values: &'s [f32],
    filter: Filter,
    /// In grid units squared, one per row.
    sq_dists: Vec<u64>,
    /// `f32` sums of at least this much prove a squared distance of at least that in `sq_dists`. Whole blocks, the
    /// padding at 0, so that it is never left.
    bounds: Vec<f32>,
    /// Weighted sums per block of 64 rows.
    blocks: Vec<u128>,
    total: u128,
}

impl<'s> Potential<'s> {
    /// With one centre, on a row of `sample`, which is a data set of one chunk, whose `values` are given as well.
    pub(super) fn new(sample: &'s TileSet, values: &'s [f32], row: usize) -> Self {
        Self::with_filter(sample, values, row, filters()[0])
    }

    fn with_filter(sample: &'s TileSet, values: &'s [f32], row: usize, filter: Filter) -> Self {
        let chunk = &sample.chunks()[0];
        let mut potential = Self {
            chunk,
            values,
            filter,
            sq_dists: vec![u64::MAX; chunk.n_rows()],
            bounds: vec![0.0; chunk.n_blocks() * BLOCK],
            blocks: Vec::new(),
            total: 0,
        };
        let rows_of = |block: usize| block * BLOCK..block * BLOCK + chunk.block_rows(block);
        potential.blocks = (0..chunk.n_blocks())
            .map(|block| rows_of(block).map(|row| potential.of_row(row)).sum())
            .collect();
        potential.total = potential.blocks.iter().sum();
        potential.bounds[..chunk.n_rows()].fill(f32::INFINITY);
        potential.narrow(row);
        potential
    }

    /// What is left, in grid units squared times weight.
    pub(super) fn total(&self) -> u128 {
        self.total
    }

    /// What each of the candidate rows, as a further centre, would leave.
    pub(super) fn totals(&self, candidates: &[usize]) -> Vec<u128> {
        let centres: Vec<Vec<f32>> = candidates.iter().map(|&row| self.centre(row)).collect();
        let groups: Vec<Packed> = centres.chunks(GROUP).map(pack).collect();
        let add = |mut gains: Vec<u128>, block: usize| {
            let places = gains.chunks_mut(GROUP).zip(centres.chunks(GROUP)).zip(&groups);
            for ((gains, centres), packed) in places {
                let masks = self.left(block, packed);
                for ((gain, centre), mask) in gains.iter_mut().zip(centres).zip(masks) {
                    self.measure(block, centre, mask, |row, sq_dist| {
                        let saved = self.sq_dists[row].saturating_sub(sq_dist);
                        *gain += u128::from(saved) * u128::from(self.chunk.weight(row));
                    });
                }
            }
            gains
        };
        let merge = |mut a: Vec<u128>, b: Vec<u128>| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        };
        let none = || vec![0; candidates.len()];
        let blocks = (0..self.chunk.n_blocks()).into_par_iter().with_min_len(MIN_BLOCKS);
        let gains = blocks.fold(none, add).reduce(none, merge);
        gains.into_iter().map(|gain| self.total - gain).collect()
    }

    /// Adds a centre on the given row.
    pub(super) fn narrow(&mut self, row: usize) {
        let centre = self.centre(row);
        let packed = pack(std::slice::from_ref(&centre));
        let slack = 1.0 + (self.n_features() as f64 + 4.0) / f64::from(1 << 23);
        let add = |mut nearer: Vec<(usize, u64)>, block: usize| {
            self.measure(block, &centre, self.left(block, &packed)[0], |row, sq_dist| {
                if sq_dist < self.sq_dists[row] {
                    nearer.push((row, sq_dist));
                }
            });
            nearer
        };
        let merge = |mut a: Vec<_>, mut b: Vec<_>| {
            a.append(&mut b);
            a
        };
        let blocks = (0..self.chunk.n_blocks()).into_par_iter().with_min_len(MIN_BLOCKS);
        for (row, sq_dist) in blocks.fold(Vec::new, add).reduce(Vec::new, merge) {
            let before = std::mem::replace(&mut self.sq_dists[row], sq_dist);
            let saved = u128::from(before - sq_dist) * u128::from(self.chunk.weight(row));
            self.bounds[row] = (sq_dist as f64 * slack) as f32;
            self.blocks[row / BLOCK] -= saved;
            self.total -= saved;
        }
    }

    /// A row with probability in proportion to its share of the total, which is not 0.
    pub(super) fn draw(&self, rng: &mut Rng) -> usize {
        let mut left = rng.below(self.total);
        let mut skip = |sum: u128| {
            let beyond = left >= sum;
            if beyond {
                left -= sum;
            }
            beyond
        };
        let block = self.blocks.iter().take_while(|&&sum| skip(sum)).count();
        let rows = block * BLOCK..self.sq_dists.len();
        rows.start + rows.map(|row| self.of_row(row)).take_while(|&sum| skip(sum)).count()
    }

    fn of_row(&self, row: usize) -> u128 {
        u128::from(self.sq_dists[row]) * u128::from(self.chunk.weight(row))
    }

    fn n_features(&self) -> usize {
        self.chunk.n_features()
    }

    /// The values of a block.
    fn block(&self, block: usize) -> &'s [f32] {
        let len = self.n_features() * BLOCK;
        &self.values[block * len..][..len]
    }

    fn row(&self, row: usize) -> impl Iterator<Item = &'s f32> + use<'s> {
        self.block(row / BLOCK)[row % BLOCK..].iter().step_by(BLOCK)
    }

    fn centre(&self, row: usize) -> Vec<f32> {
        self.row(row).copied().collect()
    }

    /// Rows of a block, as bits, that `f32` cannot prove to be closer to their centre than to each candidate.
    fn left(&self, block: usize, candidates: &Packed) -> [u64; GROUP] {
        let bounds = self.bounds[block * BLOCK..][..BLOCK].try_into().expect("64 bounds");
        (self.filter)(self.block(block), candidates, bounds)
    }

    /// Calls `take` with each row of a block whose bit is set in `mask`, and its exact squared distance to `centre`.
    fn measure(&self, block: usize, centre: &[f32], mask: u64, mut take: impl FnMut(usize, u64)) {
        let mut rest = mask;
        let whole = (mask.count_ones() > FEW).then(|| {
            widest(BlockSqDists {
                block: self.block(block),
                centre,
            })
        });
        while rest != 0 {
            let row = block * BLOCK + rest.trailing_zeros() as usize;
            let sq_dist = match &whole {
                Some(sq_dists) => sq_dists[row % BLOCK],
                None => row_sq_dist(self.row(row), centre),
            };
            take(row, sq_dist);
            rest &= rest - 1;
        }
    }
}

/// Features whose squared differences, below 2^48 each, add up to less than 2^53, so exactly in `f64`.
const EXACT_FEATURES: usize = 32;

/// Exact squared distances of a block's rows to `centre`, in grid units squared.
struct BlockSqDists<'b> {
    block: &'b [f32],
    centre: &'b [f32],
}

impl Kernel for BlockSqDists<'_> {
    type Output = [u64; BLOCK];

    #[inline(always)]
    fn run(self) -> [u64; BLOCK] {
        let mut sq_dists = [0u64; BLOCK];
        let lanes = self.block.chunks(EXACT_FEATURES * BLOCK);
        for (lanes, centre) in lanes.zip(self.centre.chunks(EXACT_FEATURES)) {
            let mut sums = [0.0f64; BLOCK];
            for (lane, &c) in lanes.chunks_exact(BLOCK).zip(centre) {
                for (sum, &x) in sums.iter_mut().zip(lane) {
                    let diff = f64::from(x - c);
                    *sum += diff * diff;
                }
            }
            for (sq_dist, sum) in sq_dists.iter_mut().zip(sums) {
                *sq_dist += sum as u64;
            }
        }
        sq_dists
    }
}

/// Exact squared distance of a row to `centre`, in grid units squared.
fn row_sq_dist<'r>(row: impl Iterator<Item = &'r f32>, centre: &[f32]) -> u64 {
    row.zip(centre)
        .map(|(&x, &c)| {
            let diff = (x - c) as i64;
            (diff * diff) as u64
        })
        .sum()
}

/// Up to [`GROUP`] candidates, feature by feature; the last one repeats.
type Packed = Vec<[f32; GROUP]>;

fn pack(centres: &[Vec<f32>]) -> Packed {
    let at = |slot: usize| &centres[slot.min(centres.len() - 1)];
    (0..centres[0].len())
        .map(|feature| std::array::from_fn(|slot| at(slot)[feature]))
        .collect()
}

/// Of a block's rows: which have an `f32` squared distance below their bound, per candidate.
type Filter = fn(&[f32], &[[f32; GROUP]], &[f32; BLOCK]) -> [u64; GROUP];

/// The filters that this processor can run, best first. All give masks that leave no row out that matters; they may
/// differ in others.
fn filters() -> Vec<Filter> {
    let mut found: Vec<Filter> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: AVX-512F was just detected.
            found.push(|block, candidates, bounds| unsafe { filter_avx512(block, candidates, bounds) });
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: AVX2 and FMA were just detected.
            found.push(|block, candidates, bounds| unsafe { filter_avx2(block, candidates, bounds) });
        }
    }
    found.push(filter_portable);
    found
}

/// The filter with the intrinsics of one instruction set: `$vectors` vectors of `$width` rows at a time. Sums only grow,
/// so it stops as soon as no row is below its bound.
#[cfg(target_arch = "x86_64")]
macro_rules! filter_x86 {
    ($name:ident, $features:literal, $vectors:literal x $width:literal, $zero:ident, $load:ident, $splat:ident, $sub:ident, $fma:ident, $below:expr) => {
        #[target_feature(enable = $features)]
        fn $name(block: &[f32], candidates: &[[f32; GROUP]], bounds: &[f32; BLOCK]) -> [u64; GROUP] {
            use std::arch::x86_64::*;
            let mut masks = [0; GROUP];
            for first in (0..BLOCK).step_by($vectors * $width) {
                let mut sums = [[$zero(); $vectors]; GROUP];
                let mut below = [0u64; GROUP];
                let parts = block.chunks(CHECK * BLOCK).zip(candidates.chunks(CHECK));
                for (lanes, centres) in parts {
                    for (lane, centre) in lanes.chunks_exact(BLOCK).zip(centres) {
                        let rows = &lane[first..first + $vectors * $width];
                        for vector in 0..$vectors {
                            // SAFETY: `rows` holds all vectors, and the load needs no alignment.
                            let x = unsafe { $load(rows.as_ptr().add(vector * $width)) };
                            for slot in 0..GROUP {
                                let diff = $sub(x, $splat(centre[slot]));
                                sums[slot][vector] = $fma(diff, diff, sums[slot][vector]);
                            }
                        }
                    }
                    below = [0; GROUP];
                    let bounds = &bounds[first..first + $vectors * $width];
                    for vector in 0..$vectors {
                        // SAFETY: as above.
                        let bound = unsafe { $load(bounds.as_ptr().add(vector * $width)) };
                        for slot in 0..GROUP {
                            below[slot] |= u64::from($below(sums[slot][vector], bound)) << (vector * $width);
                        }
                    }
                    if below == [0; GROUP] {
                        break;
                    }
                }
                for (mask, below) in masks.iter_mut().zip(below) {
                    *mask |= below << first;
                }
            }
            masks
        }
    };
}

#[cfg(target_arch = "x86_64")]
filter_x86!(
    filter_avx512,
    "avx512f",
    4 x 16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_set1_ps,
    _mm512_sub_ps,
    _mm512_fmadd_ps,
    |sum, bound| _mm512_cmp_ps_mask::<_CMP_LT_OQ>(sum, bound)
);
#[cfg(target_arch = "x86_64")]
filter_x86!(
    filter_avx2,
    "avx2,fma",
    2 x 8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_set1_ps,
    _mm256_sub_ps,
    _mm256_fmadd_ps,
    |sum, bound| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(sum, bound)) as u8
);

fn filter_portable(block: &[f32], candidates: &[[f32; GROUP]], bounds: &[f32; BLOCK]) -> [u64; GROUP] {
    std::array::from_fn(|slot| {
        let mut sums = [0.0f32; BLOCK];
        for (lane, centre) in block.chunks_exact(BLOCK).zip(candidates) {
            for (sum, &x) in sums.iter_mut().zip(lane) {
                let diff = x - centre[slot];
                *sum += diff * diff;
            }
        }
        let below = sums.iter().zip(bounds).enumerate();
        below.fold(0, |mask, (row, (sum, bound))| mask | u64::from(sum < bound) << row)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::MAX_GRID;

    /// The naive potential: every row against every centre, in integers.
    fn naive(sample: &TileSet, centres: &[usize]) -> (Vec<u64>, u128) {
        let read = |row: usize| {
            let mut x = vec![0; sample.n_features()];
            sample.read_row(row, &mut x);
            x
        };
        let sq_dist =
            |a: &[i32], b: &[i32]| -> u64 { a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum() };
        let nearest = |row: usize| centres.iter().map(|&centre| sq_dist(&read(row), &read(centre))).min();
        let sq_dists: Vec<u64> = (0..sample.n_rows()).filter_map(nearest).collect();
        let weighted = sq_dists
            .iter()
            .enumerate()
            .map(|(row, &sq_dist)| u128::from(sq_dist) * u128::from(sample.weight(row)));
        let total = weighted.sum();
        (sq_dists, total)
    }

    #[test]
    fn the_potential_is_the_naive_one() {
        let mut rng = Rng::new(2, 0);
        let filters = filters();
        for case in 0..40 * filters.len() {
            let (filter, case) = (filters[case / 40], case % 40);
            let (n, d) = (1 + case * 7, 1 + case % 70);
            let width = [3, 1000, 2 * MAX_GRID as u128][case % 3];
            let offset = [0, MAX_GRID as i64 / 2, -i64::from(MAX_GRID)][case % 3];
            let rows: Vec<f32> = (0..n * d).map(|_| (rng.below(width) as i64 + offset) as f32).collect();
            let weights: Vec<u32> = (0..n).map(|_| rng.below(1 << 16) as u32).collect();
            let weights = (case % 2 == 0).then_some(&weights[..]);
            let sample = TileSet::from_rows(&rows, d, weights, usize::MAX);
            let values = sample.chunks()[0].to_floats();
            let mut centres = vec![rng.below(n as u128) as usize];
            let mut potential = Potential::with_filter(&sample, &values, centres[0], filter);
            for _ in 0..12 {
                assert_eq!(
                    (potential.sq_dists.clone(), potential.total),
                    naive(&sample, &centres),
                    "case {case}"
                );
                let candidates: Vec<usize> = (0..1 + case % 9).map(|_| rng.below(n as u128) as usize).collect();
                let with = |&row: &usize| naive(&sample, &[&centres[..], &[row]].concat()).1;
                assert_eq!(
                    potential.totals(&candidates),
                    candidates.iter().map(with).collect::<Vec<_>>()
                );
                potential.narrow(candidates[0]);
                centres.push(candidates[0]);
            }
        }
    }

    #[test]
    fn the_filter_leaves_most_rows_out() {
        let mut rng = Rng::new(4, 0);
        let rows: Vec<f32> = (0..64 * 8).map(|_| rng.below(1 << 23) as f32).collect();
        let sample = TileSet::from_rows(&rows, 8, None, usize::MAX);
        let values = sample.chunks()[0].to_floats();
        for filter in filters() {
            let mut potential = Potential::with_filter(&sample, &values, 0, filter);
            (1..20).for_each(|row| potential.narrow(row));
            let left = potential.left(0, &pack(&[potential.centre(40)]))[0];
            assert!(left >> 40 & 1 == 1 && left.count_ones() < 32, "{left:b}");
        }
    }

    /// The twin of the test above: a bound without slack leaves out rows that are nearer.
    #[test]
    fn a_bound_too_small_is_found_out() {
        let mut rng = Rng::new(8, 0);
        let rows: Vec<f32> = (0..64 * 60).map(|_| rng.below(1 << 23) as f32).collect();
        let sample = TileSet::from_rows(&rows, 60, None, usize::MAX);
        let values = sample.chunks()[0].to_floats();
        let mut potential = Potential::new(&sample, &values, 0);
        for bound in &mut potential.bounds {
            *bound *= 0.7;
        }
        let candidates: Vec<usize> = (1..64).collect();
        let with = |&row: &usize| naive(&sample, &[0, row]).1;
        assert_ne!(
            potential.totals(&candidates),
            candidates.iter().map(with).collect::<Vec<_>>()
        );
    }

    #[test]
    fn draws_follow_the_potential() {
        let sample = TileSet::from_rows(&[0., 1., 3., 3.], 1, Some(&[5, 4, 1, 0]), usize::MAX);
        let values = sample.chunks()[0].to_floats();
        let potential = Potential::new(&sample, &values, 0);
        assert_eq!((potential.total, &potential.sq_dists[..]), (4 + 9, &[0, 1, 9, 9][..]));
        let mut rng = Rng::new(1, 0);
        let mut drawn = [0; 4];
        for _ in 0..1300 {
            drawn[potential.draw(&mut rng)] += 1;
        }
        assert_eq!(
            (drawn[0], drawn[3]),
            (0, 0),
            "rows on a centre or without weight are never drawn"
        );
        assert!((330..470).contains(&drawn[1]), "{drawn:?}");
    }
}
