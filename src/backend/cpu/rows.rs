//! A block laid out row by row, and what its rows add to the sums of their clusters. Where sums are many, each is touched
//! rarely, and a row whose values stand side by side is added in a few vectors.

use crate::tiles::BLOCK;

/// Floats between two rows: whole vectors of any instruction set.
pub(super) fn stride(n_features: usize) -> usize {
    n_features.next_multiple_of(LINE)
}

/// Floats in a cache line, and in the widest vector.
const LINE: usize = 16;

/// Lays out a block (feature by feature) row by row, at a [`stride`].
pub(super) type LayOut = fn(&[f32], &mut [f32]);

/// A row on its way: its place in the block, and where the sums of its old and of its new cluster begin.
#[derive(Clone, Copy, Default)]
pub(super) struct Move {
    pub(super) slot: u8,
    pub(super) from: u32,
    pub(super) to: u32,
}

/// Lays out one row of a block.
#[inline]
pub(super) fn lay_out_row(block: &[f32], slot: usize, row: &mut [f32]) {
    for (to, lane) in row.iter_mut().zip(block.chunks_exact(BLOCK)) {
        *to = lane[slot];
    }
}

/// A [`LayOut`] for any processor.
pub(super) fn lay_out(block: &[f32], rows: &mut [f32]) {
    let stride = stride(block.len() / BLOCK);
    for (slot, row) in rows.chunks_exact_mut(stride).enumerate().take(BLOCK) {
        lay_out_row(block, slot, row);
    }
}

/// Adds each row, `n_features` long, to the sums that begin at its place.
#[inline(always)]
pub(super) fn add(sums: &mut [i64], places: &[u32], rows: &[f32], n_features: usize) {
    for (&place, row) in places.iter().zip(rows.chunks_exact(stride(n_features))) {
        let sums = &mut sums[place as usize..][..n_features];
        for (sum, &x) in sums.iter_mut().zip(&row[..n_features]) {
            *sum += integer(x);
        }
    }
}

/// Takes each row out of some sums and adds it to others, which are not the same.
#[inline(always)]
pub(super) fn shift(sums: &mut [i64], moves: &[Move], rows: &[f32], n_features: usize) {
    let stride = stride(n_features);
    for &Move { slot, from, to } in moves {
        let row = &rows[usize::from(slot) * stride..][..n_features];
        let places = [from, to].map(|place| place as usize..place as usize + n_features);
        let [from, to] = sums.get_disjoint_mut(places).expect("two clusters");
        for ((from, to), &x) in from.iter_mut().zip(to).zip(row) {
            let x = integer(x);
            *from -= x;
            *to += x;
        }
    }
}

/// A grid value as an integer.
#[inline(always)]
pub(super) fn integer(x: f32) -> i64 {
    debug_assert!(x.abs() <= crate::grid::MAX_GRID as f32);
    // SAFETY: tiles hold integers below 2^23.
    i64::from(unsafe { x.to_int_unchecked::<i32>() })
}

/// A [`LayOut`]: squares of 16 rows and 16 features are turned in registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub(super) fn lay_out_avx512(block: &[f32], rows: &mut [f32]) {
    use std::arch::x86_64::*;
    let stride = stride(block.len() / BLOCK);
    for (square, lanes) in block.chunks(LINE * BLOCK).enumerate() {
        for first in (0..BLOCK).step_by(LINE) {
            let load = |feature: usize| match lanes.get(feature * BLOCK + first..) {
                // SAFETY: at least the sixteen rows from `first` on follow.
                Some(values) if values.len() >= LINE => unsafe { _mm512_loadu_ps(values.as_ptr()) },
                _ => _mm512_setzero_ps(),
            };
            let x: [__m512; LINE] = std::array::from_fn(load);
            // Within each quarter: pairs of features, then fours, so that register 4 i + j holds features 4 i to 4 i + 3
            // of the rows j, j + 4, j + 8, j + 12.
            let pairs: [__m512; LINE] = std::array::from_fn(|i| {
                let (a, b) = (x[i / 2 * 2], x[i / 2 * 2 + 1]);
                if i % 2 == 0 {
                    _mm512_unpacklo_ps(a, b)
                } else {
                    _mm512_unpackhi_ps(a, b)
                }
            });
            let fours: [__m512; LINE] = std::array::from_fn(|i| {
                let (a, b) = (pairs[i / 4 * 4 + i % 4 / 2], pairs[i / 4 * 4 + i % 4 / 2 + 2]);
                let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
                _mm512_castpd_ps(if i % 2 == 0 {
                    _mm512_unpacklo_pd(a, b)
                } else {
                    _mm512_unpackhi_pd(a, b)
                })
            });
            for j in 0..4 {
                // Quarters of four registers: a square of four by four.
                let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(fours[j], fours[4 + j]);
                let low_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(fours[j], fours[4 + j]);
                let high = _mm512_shuffle_f32x4::<0b10_00_10_00>(fours[8 + j], fours[12 + j]);
                let high_odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(fours[8 + j], fours[12 + j]);
                let of_quarter = [
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(low, high),
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(low_odd, high_odd),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(low, high),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(low_odd, high_odd),
                ];
                for (quarter, row) in of_quarter.into_iter().enumerate() {
                    let at = (first + 4 * quarter + j) * stride + square * LINE;
                    // SAFETY: sixteen places follow.
                    unsafe { _mm512_storeu_ps(rows[at..at + LINE].as_mut_ptr(), row) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernel;

    #[test]
    fn every_way_lays_out_the_same_rows() {
        for kernels in kernel::available() {
            for d in [1, 7, 16, 33] {
                let block: Vec<f32> = (0..d * BLOCK).map(|i| i as f32).collect();
                let mut rows = vec![-1.0; stride(d) * BLOCK];
                (kernels.lay_out)(&block, &mut rows);
                for (slot, row) in rows.chunks_exact(stride(d)).enumerate() {
                    let expected: Vec<f32> = (0..d).map(|feature| (feature * BLOCK + slot) as f32).collect();
                    assert_eq!(row[..d], expected, "{}, {d} features, row {slot}", kernels.name);
                }
            }
        }
    }
}
