//! What rows add to the sums of their clusters, from where they stand in memory: those that move one by one, and whole
//! blocks laid out row by row. Values are put together and added in whole vectors.

use crate::tiles::{BLOCK, n_pairs, row_words};

/// Features that are added at a time.
pub(super) const STEP: usize = 8;

/// Sums of a cluster, filled up to whole steps.
pub(super) fn stride(n_features: usize) -> usize {
    n_features.next_multiple_of(STEP)
}

/// Words between two rows that are laid out: whole vectors of any instruction set.
pub(super) fn row_stride(n_features: usize) -> usize {
    row_words(n_features).next_multiple_of(LINE)
}

/// Words in a cache line, and in the widest vector.
const LINE: usize = 16;

/// A row on its way: where its first word stands, and where the sums of its old and of its new cluster begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    pub(super) at: usize,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) weight: u32,
}

/// Eight values side by side.
///
/// # Safety
/// As for [`super::lanes::Lanes`].
pub(super) trait Eight: Copy {
    /// The values of four pairs and of their low bits.
    unsafe fn join(high: [u32; 4], low: [u32; 2]) -> Self;
    /// Each times `weight`.
    unsafe fn times(self, weight: u32) -> Self;
    /// Adds each to its sum.
    unsafe fn add_to(self, sums: &mut [i64; STEP]);
    /// Subtracts each from its sum.
    unsafe fn take_from(self, sums: &mut [i64; STEP]);
}

/// [`Eight`] for any processor.
impl Eight for [i64; STEP] {
    #[inline(always)]
    unsafe fn join(high: [u32; 4], low: [u32; 2]) -> Self {
        let high: [[u8; 2]; STEP] = bytemuck::cast(high.map(u32::to_le));
        let low: [u8; STEP] = bytemuck::cast(low.map(u32::to_le));
        std::array::from_fn(|i| i64::from(i16::from_le_bytes(high[i])) << 8 | i64::from(low[i]))
    }
    #[inline(always)]
    unsafe fn times(self, weight: u32) -> Self {
        self.map(|x| x * i64::from(weight))
    }
    #[inline(always)]
    unsafe fn add_to(self, sums: &mut [i64; STEP]) {
        sums.iter_mut().zip(self).for_each(|(sum, x)| *sum += x);
    }
    #[inline(always)]
    unsafe fn take_from(self, sums: &mut [i64; STEP]) {
        sums.iter_mut().zip(self).for_each(|(sum, x)| *sum -= x);
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::Eight512;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Eight, STEP};
    use std::arch::x86_64::*;

    /// One vector; needs AVX-512 F and DQ.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Eight512(__m512i);

    // SAFETY (every block below): the trait's contract gives the instruction set; arrays are as long as vectors, and the
    // unaligned forms of load and store are used.
    impl Eight for Eight512 {
        #[inline(always)]
        unsafe fn join(high: [u32; 4], low: [u32; 2]) -> Self {
            let (h, l) = (high.map(u32::cast_signed), low.map(u32::cast_signed));
            unsafe {
                let high = _mm512_cvtepi16_epi64(_mm_setr_epi32(h[0], h[1], h[2], h[3]));
                let low = _mm512_cvtepu8_epi64(_mm_setr_epi32(l[0], l[1], 0, 0));
                Self(_mm512_or_si512(_mm512_slli_epi64::<8>(high), low))
            }
        }
        #[inline(always)]
        unsafe fn times(self, weight: u32) -> Self {
            unsafe { Self(_mm512_mullo_epi64(self.0, _mm512_set1_epi64(i64::from(weight)))) }
        }
        #[inline(always)]
        unsafe fn add_to(self, sums: &mut [i64; STEP]) {
            unsafe {
                let sum = _mm512_add_epi64(_mm512_loadu_si512(sums.as_ptr().cast()), self.0);
                _mm512_storeu_si512(sums.as_mut_ptr().cast(), sum);
            }
        }
        #[inline(always)]
        unsafe fn take_from(self, sums: &mut [i64; STEP]) {
            unsafe {
                let sum = _mm512_sub_epi64(_mm512_loadu_si512(sums.as_ptr().cast()), self.0);
                _mm512_storeu_si512(sums.as_mut_ptr().cast(), sum);
            }
        }
    }
}

/// The words of a row, one in each `GAP`.
#[derive(Clone, Copy)]
struct Row<'w, const GAP: usize> {
    words: &'w [u32],
    n_features: usize,
}

impl<const GAP: usize> Row<'_, GAP> {
    /// Calls `take` with the number of each step and its values, those behind the last feature anything below 2^24.
    ///
    /// # Safety
    /// The instruction set of `E` must be present.
    #[inline(always)]
    unsafe fn each<E: Eight>(self, mut take: impl FnMut(usize, E)) {
        let pairs = n_pairs(self.n_features);
        let whole = self.n_features / STEP;
        for step in 0..whole {
            let high = &self.words[4 * step * GAP..][..3 * GAP + 1];
            let low = &self.words[(pairs + 2 * step) * GAP..][..GAP + 1];
            let high = std::array::from_fn(|i| high[i * GAP]);
            let low = std::array::from_fn(|i| low[i * GAP]);
            // SAFETY: the caller's promise.
            take(step, unsafe { E::join(high, low) });
        }
        if whole * STEP < self.n_features {
            let (high, low) = self.rest(whole);
            // SAFETY: the caller's promise.
            take(whole, unsafe { E::join(high, low) });
        }
    }

    /// The words of the last step, which is not whole.
    fn rest(self, step: usize) -> ([u32; 4], [u32; 2]) {
        let (pairs, end) = (n_pairs(self.n_features), row_words(self.n_features));
        let word = |word: usize, end: usize| if word < end { self.words[word * GAP] } else { 0 };
        let high: [u32; 4] = std::array::from_fn(|i| word(4 * step + i, pairs));
        let mut low: [u32; 2] = std::array::from_fn(|i| word(pairs + 2 * step + i, end));
        if !self.n_features.is_multiple_of(2) {
            // Its low bits stand beside its high ones.
            let last = self.n_features % STEP - 1;
            low[last / 4] |= (high[last / 2] >> 16 & 0xff) << (last % 4 * 8);
        }
        (high, low)
    }
}

/// Takes rows out of the sums of their old clusters and adds them to those of their new ones, which are others: sums, rows,
/// the words that these point into, features.
pub(super) type Shift = fn(&mut [i64], &[Move], &[u32], usize);

/// A [`Shift`] of rows whose words stand `GAP` apart.
///
/// # Safety
/// The instruction set of `E` must be present.
#[inline(always)]
pub(super) unsafe fn shift<E: Eight, const GAP: usize>(
    sums: &mut [i64],
    moves: &[Move],
    words: &[u32],
    n_features: usize,
) {
    let stride = stride(n_features);
    let span = (row_words(n_features) - 1) * GAP + 1;
    for &Move { at, from, to, weight } in moves {
        let row = Row::<GAP> {
            words: &words[at..at + span],
            n_features,
        };
        let places = [to, from].map(|place| place as usize..place as usize + stride);
        let [to, from] = sums.get_disjoint_mut(places).expect("two clusters");
        let (to, from) = (to.as_chunks_mut::<STEP>().0, from.as_chunks_mut::<STEP>().0);
        // SAFETY: the caller's promise.
        unsafe {
            row.each::<E>(|step, values| {
                let values = if weight == 1 { values } else { values.times(weight) };
                values.take_from(&mut from[step]);
                values.add_to(&mut to[step]);
            });
        }
    }
}

/// Lays out the words of a block row by row, at a stride.
pub(super) type LayOut = fn(&[u32], &mut [u32], usize);

/// A [`LayOut`] for any processor.
pub(super) fn lay_out(block: &[u32], rows: &mut [u32], stride: usize) {
    for (slot, row) in rows.chunks_exact_mut(stride).enumerate().take(BLOCK) {
        for (to, lane) in row.iter_mut().zip(block.chunks_exact(BLOCK)) {
            *to = lane[slot];
        }
    }
}

/// Adds rows that are laid out to the sums that begin at their places: sums, places with weights, rows, features.
pub(super) type Add = fn(&mut [i64], &[(u32, u32)], &[u32], usize);

/// An [`Add`].
///
/// # Safety
/// The instruction set of `E` must be present.
#[inline(always)]
pub(super) unsafe fn add<E: Eight>(sums: &mut [i64], places: &[(u32, u32)], rows: &[u32], n_features: usize) {
    let stride = stride(n_features);
    for (&(place, weight), words) in places.iter().zip(rows.chunks_exact(row_stride(n_features))) {
        let row = Row::<1> { words, n_features };
        let sums = sums[place as usize..][..stride].as_chunks_mut::<STEP>().0;
        // SAFETY: the caller's promise.
        unsafe {
            row.each::<E>(|step, values| {
                let values = if weight == 1 { values } else { values.times(weight) };
                values.add_to(&mut sums[step]);
            });
        }
    }
}

/// A [`LayOut`]: squares of 16 rows and 16 words are turned in registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub(super) fn lay_out_avx512(block: &[u32], rows: &mut [u32], stride: usize) {
    use std::arch::x86_64::*;
    for (square, lanes) in block.chunks(LINE * BLOCK).enumerate() {
        for first in (0..BLOCK).step_by(LINE) {
            let load = |word: usize| match lanes.get(word * BLOCK + first..) {
                // SAFETY: at least the sixteen rows from `first` on follow.
                Some(values) if values.len() >= LINE => unsafe {
                    _mm512_castsi512_ps(_mm512_loadu_si512(values.as_ptr().cast()))
                },
                _ => _mm512_setzero_ps(),
            };
            let x: [__m512; LINE] = std::array::from_fn(load);
            // Within each quarter: pairs of words, then fours, so that register 4 i + j holds words 4 i to 4 i + 3
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
                    unsafe { _mm512_storeu_si512(rows[at..at + LINE].as_mut_ptr().cast(), _mm512_castps_si512(row)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernel;
    use crate::grid::MAX_GRID;
    use crate::rng::Rng;
    use crate::tiles::TileSet;

    #[test]
    fn every_way_lays_out_the_same_rows() {
        for kernels in kernel::available() {
            for words in [1, 7, 16, 33] {
                let block: Vec<u32> = (0..(words * BLOCK) as u32).collect();
                let stride = words.next_multiple_of(LINE);
                let mut rows = vec![!0; stride * BLOCK];
                (kernels.lay_out)(&block, &mut rows, stride);
                for (slot, row) in rows.chunks_exact(stride).enumerate() {
                    let expected: Vec<u32> = (0..words).map(|word| (word * BLOCK + slot) as u32).collect();
                    assert_eq!(row[..words], expected, "{}, {words} words, row {slot}", kernels.name);
                }
            }
        }
    }

    #[test]
    fn rows_are_added_and_shifted_as_one_by_one() {
        let mut rng = Rng::new(3, 1);
        for kernels in kernel::available() {
            for d in [1, 2, 3, 5, 7, 8, 9, 10, 13, 16, 17, 23, 33] {
                let n = 2 * BLOCK;
                let width = 2 * u128::from(MAX_GRID.unsigned_abs()) + 1;
                let values: Vec<f32> = (0..n * d)
                    .map(|_| (rng.below(width) as i32 - MAX_GRID) as f32)
                    .collect();
                let tiles = TileSet::from_rows(&values, d, None, usize::MAX);
                let block = tiles.chunks()[0].block(0).words();
                for weighted in [false, true] {
                    let weight = |row: usize| if weighted { 1 + row as u32 % 60_000 } else { 1 };
                    let place = |row: usize| (row % 3 * stride(d)) as u32;
                    let mut sums = vec![0; 3 * stride(d)];
                    let mut rows = vec![!0; row_stride(d) * BLOCK];
                    (kernels.lay_out)(block, &mut rows, row_stride(d));
                    let places: Vec<(u32, u32)> = (0..BLOCK).map(|row| (place(row), weight(row))).collect();
                    (kernels.add_rows)(&mut sums, &places, &rows, d);
                    let of_row = |row: usize| Move {
                        at: row / BLOCK * row_words(d) * BLOCK + row % BLOCK,
                        from: place(row),
                        to: place(row + 1),
                        weight: weight(row),
                    };
                    let moves: Vec<Move> = (0..n).map(of_row).collect();
                    (kernels.shift_rows)(&mut sums, &moves, tiles.chunks()[0].words(), d);
                    // The same of rows that are laid out, there and back again.
                    let [mut there, mut back] = [(); 2].map(|()| moves[..BLOCK].to_vec());
                    for (row, (there, back)) in there.iter_mut().zip(&mut back).enumerate() {
                        (there.at, back.at) = (row * row_stride(d), row * row_stride(d));
                        std::mem::swap(&mut back.from, &mut back.to);
                    }
                    let before = sums.clone();
                    (kernels.shift_laid_out)(&mut sums, &there, &rows, d);
                    let mut twice = before.clone();
                    (kernels.shift_rows)(&mut twice, &moves[..BLOCK], tiles.chunks()[0].words(), d);
                    assert!(sums == twice && sums != before);
                    (kernels.shift_laid_out)(&mut sums, &back, &rows, d);
                    assert_eq!(sums, before);
                    let mut expected = vec![0; 3 * d];
                    for row in 0..n {
                        for (j, &x) in values[row * d..][..d].iter().enumerate() {
                            let x = i64::from(weight(row)) * x as i64;
                            expected[(row + 1) % 3 * d + j] += x;
                            expected[row % 3 * d + j] -= if row < BLOCK { 0 } else { x };
                        }
                    }
                    for (sums, expected) in sums.chunks(stride(d)).zip(expected.chunks(d)) {
                        assert_eq!(sums[..d], *expected, "{}, {d} features, {weighted}", kernels.name);
                    }
                }
            }
        }
    }
}
