//! A few rows side by side in one vector register, for each instruction set.

/// `WIDTH` rows' worth of `f32`, with what the score kernel needs of an instruction set.
///
/// # Safety
/// The functions of an implementation may only run where its instruction set is present. They are inlined into the
/// functions of [`super::kernel`] that enable it, whose callers ask the processor first.
pub(super) trait Lanes: Copy {
    /// Rows in a vector.
    const WIDTH: usize;
    /// `WIDTH` unsigned integers beside it.
    type Index: Copy;

    /// All lanes `value`.
    unsafe fn splat(value: f32) -> Self;
    /// All lanes `value`.
    unsafe fn splat_index(value: u32) -> Self::Index;
    /// The first `WIDTH` values of `from`, which has at least so many.
    unsafe fn load(from: &[f32]) -> Self;
    /// Into the first `WIDTH` values of `to`, which has at least so many.
    unsafe fn store(self, to: &mut [f32]);
    /// Into the first `WIDTH` values of `to`, which has at least so many.
    unsafe fn store_index(index: Self::Index, to: &mut [u32]);
    /// `self * factor + addend`, fused or not.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The lesser of each lane; no lane is NaN.
    unsafe fn min(self, other: Self) -> Self;
    /// The greater of each lane; no lane is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// `if_less` in lanes where `self < other`, else `otherwise`.
    unsafe fn select_index_lt(self, other: Self, if_less: Self::Index, otherwise: Self::Index) -> Self::Index;
}

/// Plain arrays, which the compiler turns into whatever the build target has (SSE2, NEON).
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 4]);

impl Lanes for Portable {
    const WIDTH: usize = 4;
    type Index = [u32; 4];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn splat_index(value: u32) -> [u32; 4] {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(from: &[f32]) -> Self {
        Self([from[0], from[1], from[2], from[3]])
    }
    #[inline(always)]
    unsafe fn store(self, to: &mut [f32]) {
        to[..4].copy_from_slice(&self.0);
    }
    #[inline(always)]
    unsafe fn store_index(index: [u32; 4], to: &mut [u32]) {
        to[..4].copy_from_slice(&index);
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // Fused only where the target has it in hardware: a library call per lane would be far slower.
        Self(std::array::from_fn(|i| {
            if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
                self.0[i].mul_add(factor.0[i], addend.0[i])
            } else {
                self.0[i] * factor.0[i] + addend.0[i]
            }
        }))
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] < other.0[i] { self.0[i] } else { other.0[i] }
        }))
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }
        }))
    }
    #[inline(always)]
    unsafe fn select_index_lt(self, other: Self, if_less: [u32; 4], otherwise: [u32; 4]) -> [u32; 4] {
        std::array::from_fn(|i| {
            if self.0[i] < other.0[i] {
                if_less[i]
            } else {
                otherwise[i]
            }
        })
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// 8 rows; needs AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(__m256);

    // SAFETY (every block below): the trait's contract gives the instruction set; the slices are checked to be long
    // enough, and the unaligned forms of load and store are used.
    impl Lanes for Avx2 {
        const WIDTH: usize = 8;
        type Index = __m256i;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { Self(_mm256_set1_ps(value)) }
        }
        #[inline(always)]
        unsafe fn splat_index(value: u32) -> __m256i {
            unsafe { _mm256_set1_epi32(value as i32) }
        }
        #[inline(always)]
        unsafe fn load(from: &[f32]) -> Self {
            unsafe { Self(_mm256_loadu_ps(from[..Self::WIDTH].as_ptr())) }
        }
        #[inline(always)]
        unsafe fn store(self, to: &mut [f32]) {
            unsafe { _mm256_storeu_ps(to[..Self::WIDTH].as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        unsafe fn store_index(index: __m256i, to: &mut [u32]) {
            unsafe { _mm256_storeu_si256(to[..Self::WIDTH].as_mut_ptr().cast(), index) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, addend.0)) }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe { Self(_mm256_min_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { Self(_mm256_max_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn select_index_lt(self, other: Self, if_less: __m256i, otherwise: __m256i) -> __m256i {
            unsafe {
                let less = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0));
                _mm256_blendv_epi8(otherwise, if_less, less)
            }
        }
    }

    /// 16 rows; needs AVX-512F.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(__m512);

    // SAFETY: as above.
    impl Lanes for Avx512 {
        const WIDTH: usize = 16;
        type Index = __m512i;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { Self(_mm512_set1_ps(value)) }
        }
        #[inline(always)]
        unsafe fn splat_index(value: u32) -> __m512i {
            unsafe { _mm512_set1_epi32(value as i32) }
        }
        #[inline(always)]
        unsafe fn load(from: &[f32]) -> Self {
            unsafe { Self(_mm512_loadu_ps(from[..Self::WIDTH].as_ptr())) }
        }
        #[inline(always)]
        unsafe fn store(self, to: &mut [f32]) {
            unsafe { _mm512_storeu_ps(to[..Self::WIDTH].as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        unsafe fn store_index(index: __m512i, to: &mut [u32]) {
            unsafe { _mm512_storeu_si512(to[..Self::WIDTH].as_mut_ptr().cast(), index) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, addend.0)) }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe { Self(_mm512_min_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { Self(_mm512_max_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn select_index_lt(self, other: Self, if_less: __m512i, otherwise: __m512i) -> __m512i {
            unsafe {
                let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0);
                _mm512_mask_blend_epi32(less, otherwise, if_less)
            }
        }
    }
}
