//! Pairs of 16-bit integers side by side in one vector register: half the width of an `f32`, twice the products in one
//! instruction.

use super::lanes::Lanes;

/// As many lanes of 32 bits as [`Lanes`] has rows, each a pair of 16-bit integers (the first in the lower half) or a sum
/// of their products. Sums wrap.
///
/// # Safety
/// As for [`Lanes`].
pub(super) trait PairLanes: Copy {
    /// The same rows in `f32`.
    type Floats: Lanes;

    /// All lanes `value`.
    unsafe fn splat(value: i32) -> Self;
    /// Pairs, or numbers that are not negative, the first lanes' worth of `from`, which has at least so many.
    unsafe fn load(from: &[u32]) -> Self;
    /// The same into the first lanes' worth of `to`, which has at least so many.
    unsafe fn store(self, to: &mut [u32]);
    /// What [`PairLanes::pick`] takes to pick two bytes of each word, the lowest of which is 0, or [`ABSENT`].
    unsafe fn bytes(bytes: [u8; 2]) -> Self;
    /// Pairs of the bytes picked, as numbers.
    unsafe fn pick(self, bytes: Self) -> Self;
    /// Both numbers times `2^bits` plus the upper `bits` (up to 8) of the 8 bits of `low`; what does not fit in 16 bits
    /// becomes one of the least or of the largest numbers that do: above 2^15 - 2^bits in size.
    unsafe fn finer(self, low: Self, bits: u32) -> Self;
    /// Both numbers of each pair times those of `factors`, divided by 2^15 and rounded to the nearest.
    unsafe fn scale(self, factors: Self) -> Self;
    /// `self` plus the products of the pairs of `a` and `b`.
    unsafe fn add_products(self, a: Self, b: Self) -> Self;
    /// `self` plus the squares of a pair, where that stays below 2^30, else some number that is at least so large.
    /// `self` is such a sum.
    unsafe fn add_squares(self, pair: Self) -> Self;
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// Half of a number that is not negative, rounded down.
    unsafe fn half(self) -> Self;
    /// The lesser of each lane.
    unsafe fn min(self, other: Self) -> Self;
    /// The greater of each lane.
    unsafe fn max(self, other: Self) -> Self;
    /// `self` with the bits of `mask` cleared, and those of `tag` set.
    unsafe fn with_tag(self, mask: Self, tag: Self) -> Self;
    /// The bits of `self` that `mask` has.
    unsafe fn tag(self, mask: Self) -> Self;
    /// Bit `i` is set where `self <= other` in lane `i`.
    unsafe fn le_bits(self, other: Self) -> u64;
    /// The nearest `f32`.
    unsafe fn to_floats(self) -> Self::Floats;
}

/// A byte that is not there: 0 is picked in its place.
pub(super) const ABSENT: u8 = 0x80;

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2Pairs, Avx512Pairs};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{ABSENT, PairLanes};
    use crate::backend::cpu::lanes::{Avx2, Avx512};
    use std::arch::x86_64::*;

    /// Of each word of 128 bits two bytes, each in place of two.
    #[inline(always)]
    unsafe fn order(bytes: [u8; 2]) -> __m128i {
        let of = |word: usize, byte: u8| if byte == ABSENT { ABSENT } else { 4 * word as u8 + byte };
        let order: [u8; 16] = std::array::from_fn(|at| {
            if at % 2 == 0 {
                of(at / 4, bytes[at / 2 % 2])
            } else {
                ABSENT
            }
        });
        // SAFETY: sixteen bytes are read, the instruction set is there wherever this is inlined.
        unsafe { _mm_loadu_si128(order.as_ptr().cast()) }
    }

    /// 16 lanes; needs AVX-512 F, BW and VNNI.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512Pairs(__m512i);

    // SAFETY (every block below): the trait's contract gives the instruction set; the slices are checked to be long
    // enough, and the unaligned forms of load and store are used.
    impl Avx512Pairs {
        /// Each lane times 2^8.
        ///
        /// # Safety
        /// AVX-512 must be present.
        #[inline(always)]
        pub(in super::super) unsafe fn shift_byte(self) -> Self {
            unsafe { Self(_mm512_slli_epi32::<8>(self.0)) }
        }
    }

    // SAFETY: as above.
    impl PairLanes for Avx512Pairs {
        type Floats = Avx512;

        #[inline(always)]
        unsafe fn splat(value: i32) -> Self {
            unsafe { Self(_mm512_set1_epi32(value)) }
        }
        #[inline(always)]
        unsafe fn load(from: &[u32]) -> Self {
            unsafe { Self(_mm512_loadu_si512(from[..16].as_ptr().cast())) }
        }
        #[inline(always)]
        unsafe fn store(self, to: &mut [u32]) {
            unsafe { _mm512_storeu_si512(to[..16].as_mut_ptr().cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn bytes(bytes: [u8; 2]) -> Self {
            unsafe { Self(_mm512_broadcast_i32x4(order(bytes))) }
        }
        #[inline(always)]
        unsafe fn pick(self, bytes: Self) -> Self {
            unsafe { Self(_mm512_shuffle_epi8(self.0, bytes.0)) }
        }
        #[inline(always)]
        unsafe fn finer(self, low: Self, bits: u32) -> Self {
            unsafe {
                let most = _mm512_set1_epi16(i16::MAX >> bits);
                let least = _mm512_set1_epi16(i16::MIN >> bits);
                let high = _mm512_min_epi16(_mm512_max_epi16(self.0, least), most);
                let high = _mm512_sll_epi16(high, _mm_cvtsi32_si128(bits as i32));
                let low = _mm512_srl_epi16(low.0, _mm_cvtsi32_si128(8 - bits as i32));
                Self(_mm512_or_si512(high, low))
            }
        }
        #[inline(always)]
        unsafe fn scale(self, factors: Self) -> Self {
            unsafe { Self(_mm512_mulhrs_epi16(self.0, factors.0)) }
        }
        #[inline(always)]
        unsafe fn add_products(self, a: Self, b: Self) -> Self {
            unsafe { Self(_mm512_dpwssd_epi32(self.0, a.0, b.0)) }
        }
        #[inline(always)]
        unsafe fn add_squares(self, pair: Self) -> Self {
            unsafe { Self(_mm512_dpwssds_epi32(self.0, pair.0, pair.0)) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { Self(_mm512_add_epi32(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { Self(_mm512_sub_epi32(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn half(self) -> Self {
            unsafe { Self(_mm512_srli_epi32::<1>(self.0)) }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe { Self(_mm512_min_epi32(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { Self(_mm512_max_epi32(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn with_tag(self, mask: Self, tag: Self) -> Self {
            unsafe { Self(_mm512_or_si512(_mm512_andnot_si512(mask.0, self.0), tag.0)) }
        }
        #[inline(always)]
        unsafe fn tag(self, mask: Self) -> Self {
            unsafe { Self(_mm512_and_si512(self.0, mask.0)) }
        }
        #[inline(always)]
        unsafe fn le_bits(self, other: Self) -> u64 {
            unsafe { u64::from(_mm512_cmple_epi32_mask(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn to_floats(self) -> Avx512 {
            unsafe { Avx512(_mm512_cvtepi32_ps(self.0)) }
        }
    }

    /// 8 lanes; needs AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2Pairs(__m256i);

    // SAFETY: as above.
    impl PairLanes for Avx2Pairs {
        type Floats = Avx2;

        #[inline(always)]
        unsafe fn splat(value: i32) -> Self {
            unsafe { Self(_mm256_set1_epi32(value)) }
        }
        #[inline(always)]
        unsafe fn load(from: &[u32]) -> Self {
            unsafe { Self(_mm256_loadu_si256(from[..8].as_ptr().cast())) }
        }
        #[inline(always)]
        unsafe fn store(self, to: &mut [u32]) {
            unsafe { _mm256_storeu_si256(to[..8].as_mut_ptr().cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn bytes(bytes: [u8; 2]) -> Self {
            unsafe { Self(_mm256_broadcastsi128_si256(order(bytes))) }
        }
        #[inline(always)]
        unsafe fn pick(self, bytes: Self) -> Self {
            unsafe { Self(_mm256_shuffle_epi8(self.0, bytes.0)) }
        }
        #[inline(always)]
        unsafe fn finer(self, low: Self, bits: u32) -> Self {
            unsafe {
                let most = _mm256_set1_epi16(i16::MAX >> bits);
                let least = _mm256_set1_epi16(i16::MIN >> bits);
                let high = _mm256_min_epi16(_mm256_max_epi16(self.0, least), most);
                let high = _mm256_sll_epi16(high, _mm_cvtsi32_si128(bits as i32));
                let low = _mm256_srl_epi16(low.0, _mm_cvtsi32_si128(8 - bits as i32));
                Self(_mm256_or_si256(high, low))
            }
        }
        #[inline(always)]
        unsafe fn scale(self, factors: Self) -> Self {
            unsafe { Self(_mm256_mulhrs_epi16(self.0, factors.0)) }
        }
        #[inline(always)]
        unsafe fn add_products(self, a: Self, b: Self) -> Self {
            unsafe { Self(_mm256_add_epi32(self.0, _mm256_madd_epi16(a.0, b.0))) }
        }
        #[inline(always)]
        unsafe fn add_squares(self, pair: Self) -> Self {
            unsafe {
                // Two squares are 2^31 at most: from 2^30 on, the sum stays below 2^32.
                let sum = _mm256_min_epu32(self.0, _mm256_set1_epi32(1 << 30));
                let sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pair.0, pair.0));
                Self(_mm256_min_epu32(sum, _mm256_set1_epi32(i32::MAX)))
            }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { Self(_mm256_add_epi32(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { Self(_mm256_sub_epi32(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn half(self) -> Self {
            unsafe { Self(_mm256_srli_epi32::<1>(self.0)) }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe { Self(_mm256_min_epi32(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { Self(_mm256_max_epi32(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn with_tag(self, mask: Self, tag: Self) -> Self {
            unsafe { Self(_mm256_or_si256(_mm256_andnot_si256(mask.0, self.0), tag.0)) }
        }
        #[inline(always)]
        unsafe fn tag(self, mask: Self) -> Self {
            unsafe { Self(_mm256_and_si256(self.0, mask.0)) }
        }
        #[inline(always)]
        unsafe fn le_bits(self, other: Self) -> u64 {
            unsafe {
                let greater = _mm256_cmpgt_epi32(self.0, other.0);
                u64::from(!_mm256_movemask_ps(_mm256_castsi256_ps(greater)) as u32 & 0xff)
            }
        }
        #[inline(always)]
        unsafe fn to_floats(self) -> Avx2 {
            unsafe { Avx2(_mm256_cvtepi32_ps(self.0)) }
        }
    }
}
