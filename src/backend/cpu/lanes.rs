//! A few rows side by side in one vector register, for each instruction set.

/// `WIDTH` rows' worth of `f32`, with what the kernels need of an instruction set.
///
/// *The order of scores* is that of numbers where both are at least `+0`; a number with a minus sign stands before all
/// of these; two with a minus sign stand in any order. Comparing bits as integers has this order, and leaves the
/// floating-point pipes to the distances.
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
    /// The values of `table` at the first `WIDTH` numbers of `index`, which has at least so many, all below its length.
    unsafe fn gather(table: &[f32], index: &[u32]) -> Self;
    /// The same with numbers of 16 bits.
    unsafe fn gather_u16(table: &[f32], index: &[u16]) -> Self;
    /// Into the first `WIDTH` values of `to`, which has at least so many.
    unsafe fn store(self, to: &mut [f32]);
    /// Into the first `WIDTH` values of `to`, which has at least so many.
    unsafe fn store_index(index: Self::Index, to: &mut [u32]);
    /// `self * factor + addend`, fused or not.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// The lesser of each lane in [the order of scores](Lanes).
    unsafe fn min(self, other: Self) -> Self;
    /// The greater of each lane in [the order of scores](Lanes).
    unsafe fn max(self, other: Self) -> Self;
    /// `if_less` in lanes where `self` stands before `other` in [the order of scores](Lanes), else `otherwise`.
    unsafe fn select_index_lt(self, other: Self, if_less: Self::Index, otherwise: Self::Index) -> Self::Index;
    /// Bit `i` is set where `self > other` in lane `i`, as numbers; not set for NaN.
    unsafe fn gt_bits(self, other: Self) -> u64;
    /// Bit `i` is set where number `i` of the first `WIDTH` of `a` and of `b`, which have at least so many, differ.
    unsafe fn differ_bits(a: &[u32], b: &[u32]) -> u64;
    /// The first `WIDTH` numbers of `from`, which has at least so many.
    unsafe fn load_u16(from: &[u16]) -> Self;
    /// Into the first `WIDTH` numbers of `to`, which has at least so many: towards zero, what is too large as the
    /// largest. No lane is negative or NaN.
    unsafe fn store_u16(self, to: &mut [u16]);
    /// The square root, to the nearest.
    unsafe fn sqrt(self) -> Self;
    /// `if_less` in lanes where `self` stands before `other` in [the order of scores](Lanes), else `otherwise`.
    unsafe fn select_lt(self, other: Self, if_less: Self, otherwise: Self) -> Self;
    /// Bit `i` is set where lane `i` has the bits of `value`.
    unsafe fn same_bits(self, value: f32) -> u64;
    /// The bits of each lane with those of `clear` replaced by `index`, which has no others.
    unsafe fn with_index(self, clear: u32, index: &[u32]) -> Self;
    /// The first of all lanes in [the order of scores](Lanes).
    unsafe fn least(self) -> f32;
    /// `f32::MAX` in lanes that have the bits of `value`.
    unsafe fn without(self, value: f32) -> Self;
    /// `1 / sqrt(self)` for positive normal numbers, with a relative error below 2^-11.
    unsafe fn rsqrt(self) -> Self;
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
    unsafe fn gather(table: &[f32], index: &[u32]) -> Self {
        Self(std::array::from_fn(|i| table[index[i] as usize]))
    }
    #[inline(always)]
    unsafe fn gather_u16(table: &[f32], index: &[u16]) -> Self {
        Self(std::array::from_fn(|i| table[usize::from(index[i])]))
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
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] - other.0[i]))
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * other.0[i]))
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
    #[inline(always)]
    unsafe fn gt_bits(self, other: Self) -> u64 {
        (0..4).map(|i| u64::from(self.0[i] > other.0[i]) << i).sum()
    }
    #[inline(always)]
    unsafe fn differ_bits(a: &[u32], b: &[u32]) -> u64 {
        (0..4).map(|i| u64::from(a[i] != b[i]) << i).sum()
    }
    #[inline(always)]
    unsafe fn load_u16(from: &[u16]) -> Self {
        Self(std::array::from_fn(|i| f32::from(from[i])))
    }
    #[inline(always)]
    unsafe fn store_u16(self, to: &mut [u16]) {
        to[..4].copy_from_slice(&self.0.map(|x| x as u16));
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }
    #[inline(always)]
    unsafe fn select_lt(self, other: Self, if_less: Self, otherwise: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if self.0[i] < other.0[i] {
                if_less.0[i]
            } else {
                otherwise.0[i]
            }
        }))
    }
    #[inline(always)]
    unsafe fn same_bits(self, value: f32) -> u64 {
        (0..4)
            .map(|i| u64::from(self.0[i].to_bits() == value.to_bits()) << i)
            .sum()
    }
    #[inline(always)]
    unsafe fn with_index(self, clear: u32, index: &[u32]) -> Self {
        Self(std::array::from_fn(|i| {
            f32::from_bits(self.0[i].to_bits() & !clear | index[i])
        }))
    }
    #[inline(always)]
    unsafe fn least(self) -> f32 {
        self.0
            .into_iter()
            .fold(f32::MAX, |least, x| if x < least { x } else { least })
    }
    #[inline(always)]
    unsafe fn without(self, value: f32) -> Self {
        Self(
            self.0
                .map(|x| if x.to_bits() == value.to_bits() { f32::MAX } else { x }),
        )
    }
    #[inline(always)]
    unsafe fn rsqrt(self) -> Self {
        Self(std::array::from_fn(|i| 1.0 / self.0[i].sqrt()))
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
    pub(in super::super) struct Avx2(pub(in super::super) __m256);

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
        unsafe fn gather(table: &[f32], index: &[u32]) -> Self {
            unsafe {
                let index = _mm256_loadu_si256(index[..Self::WIDTH].as_ptr().cast());
                Self(_mm256_i32gather_ps::<4>(table.as_ptr(), index))
            }
        }
        #[inline(always)]
        unsafe fn gather_u16(table: &[f32], index: &[u16]) -> Self {
            unsafe {
                let index = _mm_loadu_si128(index[..Self::WIDTH].as_ptr().cast());
                Self(_mm256_i32gather_ps::<4>(table.as_ptr(), _mm256_cvtepu16_epi32(index)))
            }
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
        unsafe fn add(self, other: Self) -> Self {
            unsafe { Self(_mm256_add_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe {
                let (a, b) = (_mm256_castps_si256(self.0), _mm256_castps_si256(other.0));
                Self(_mm256_castsi256_ps(_mm256_min_epi32(a, b)))
            }
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe {
                let (a, b) = (_mm256_castps_si256(self.0), _mm256_castps_si256(other.0));
                Self(_mm256_castsi256_ps(_mm256_max_epi32(a, b)))
            }
        }
        #[inline(always)]
        unsafe fn select_index_lt(self, other: Self, if_less: __m256i, otherwise: __m256i) -> __m256i {
            unsafe {
                let less = _mm256_cmpgt_epi32(_mm256_castps_si256(other.0), _mm256_castps_si256(self.0));
                _mm256_blendv_epi8(otherwise, if_less, less)
            }
        }
        #[inline(always)]
        unsafe fn gt_bits(self, other: Self) -> u64 {
            unsafe { u64::from(_mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0)) as u32) }
        }
        #[inline(always)]
        unsafe fn differ_bits(a: &[u32], b: &[u32]) -> u64 {
            unsafe {
                let (a, b) = (a[..8].as_ptr().cast(), b[..8].as_ptr().cast());
                let same = _mm256_cmpeq_epi32(_mm256_loadu_si256(a), _mm256_loadu_si256(b));
                u64::from(!_mm256_movemask_ps(_mm256_castsi256_ps(same)) as u32 & 0xff)
            }
        }
        #[inline(always)]
        unsafe fn load_u16(from: &[u16]) -> Self {
            unsafe {
                let numbers = _mm_loadu_si128(from[..Self::WIDTH].as_ptr().cast());
                Self(_mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(numbers)))
            }
        }
        #[inline(always)]
        unsafe fn store_u16(self, to: &mut [u16]) {
            unsafe {
                let numbers = _mm256_cvttps_epi32(_mm256_min_ps(self.0, _mm256_set1_ps(65535.0)));
                // Packing works on the halves apart: the first four stand in the first quarter, the others in the third.
                let packed = _mm256_permute4x64_epi64::<0b00_00_10_00>(_mm256_packus_epi32(numbers, numbers));
                _mm_storeu_si128(to[..Self::WIDTH].as_mut_ptr().cast(), _mm256_castsi256_si128(packed));
            }
        }
        #[inline(always)]
        unsafe fn sqrt(self) -> Self {
            unsafe { Self(_mm256_sqrt_ps(self.0)) }
        }
        #[inline(always)]
        unsafe fn select_lt(self, other: Self, if_less: Self, otherwise: Self) -> Self {
            unsafe {
                let less = _mm256_cmpgt_epi32(_mm256_castps_si256(other.0), _mm256_castps_si256(self.0));
                Self(_mm256_blendv_ps(otherwise.0, if_less.0, _mm256_castsi256_ps(less)))
            }
        }
        #[inline(always)]
        unsafe fn same_bits(self, value: f32) -> u64 {
            unsafe {
                let value = _mm256_set1_epi32(value.to_bits() as i32);
                let same = _mm256_cmpeq_epi32(_mm256_castps_si256(self.0), value);
                u64::from(_mm256_movemask_ps(_mm256_castsi256_ps(same)) as u32)
            }
        }
        #[inline(always)]
        unsafe fn with_index(self, clear: u32, index: &[u32]) -> Self {
            unsafe {
                let index = _mm256_loadu_si256(index[..Self::WIDTH].as_ptr().cast());
                let kept = _mm256_andnot_si256(_mm256_set1_epi32(clear as i32), _mm256_castps_si256(self.0));
                Self(_mm256_castsi256_ps(_mm256_or_si256(kept, index)))
            }
        }
        #[inline(always)]
        unsafe fn least(self) -> f32 {
            unsafe {
                let bits = _mm256_castps_si256(self.0);
                let four = _mm_min_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256::<1>(bits));
                let two = _mm_min_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
                let one = _mm_min_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
                f32::from_bits(_mm_cvtsi128_si32(one) as u32)
            }
        }
        #[inline(always)]
        unsafe fn without(self, value: f32) -> Self {
            unsafe {
                let bits = _mm256_castps_si256(self.0);
                let same = _mm256_cmpeq_epi32(bits, _mm256_set1_epi32(value.to_bits() as i32));
                Self(_mm256_blendv_ps(
                    self.0,
                    _mm256_set1_ps(f32::MAX),
                    _mm256_castsi256_ps(same),
                ))
            }
        }
        #[inline(always)]
        unsafe fn rsqrt(self) -> Self {
            unsafe {
                // 1.5 * 2^-12 at most.
                Self(_mm256_rsqrt_ps(self.0))
            }
        }
    }

    /// 16 rows; needs AVX-512F.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(pub(in super::super) __m512);

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
        unsafe fn gather(table: &[f32], index: &[u32]) -> Self {
            unsafe {
                let index = _mm512_loadu_si512(index[..Self::WIDTH].as_ptr().cast());
                Self(_mm512_i32gather_ps::<4>(index, table.as_ptr()))
            }
        }
        #[inline(always)]
        unsafe fn gather_u16(table: &[f32], index: &[u16]) -> Self {
            unsafe {
                let index = _mm256_loadu_si256(index[..Self::WIDTH].as_ptr().cast());
                Self(_mm512_i32gather_ps::<4>(_mm512_cvtepu16_epi32(index), table.as_ptr()))
            }
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
        unsafe fn add(self, other: Self) -> Self {
            unsafe { Self(_mm512_add_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe {
                let (a, b) = (_mm512_castps_si512(self.0), _mm512_castps_si512(other.0));
                Self(_mm512_castsi512_ps(_mm512_min_epi32(a, b)))
            }
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe {
                let (a, b) = (_mm512_castps_si512(self.0), _mm512_castps_si512(other.0));
                Self(_mm512_castsi512_ps(_mm512_max_epi32(a, b)))
            }
        }
        #[inline(always)]
        unsafe fn select_index_lt(self, other: Self, if_less: __m512i, otherwise: __m512i) -> __m512i {
            unsafe {
                let less = _mm512_cmplt_epi32_mask(_mm512_castps_si512(self.0), _mm512_castps_si512(other.0));
                _mm512_mask_blend_epi32(less, otherwise, if_less)
            }
        }
        #[inline(always)]
        unsafe fn gt_bits(self, other: Self) -> u64 {
            unsafe { u64::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn differ_bits(a: &[u32], b: &[u32]) -> u64 {
            unsafe {
                let (a, b) = (a[..16].as_ptr().cast(), b[..16].as_ptr().cast());
                u64::from(_mm512_cmpneq_epi32_mask(_mm512_loadu_si512(a), _mm512_loadu_si512(b)))
            }
        }
        #[inline(always)]
        unsafe fn load_u16(from: &[u16]) -> Self {
            unsafe {
                let numbers = _mm256_loadu_si256(from[..Self::WIDTH].as_ptr().cast());
                Self(_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(numbers)))
            }
        }
        #[inline(always)]
        unsafe fn store_u16(self, to: &mut [u16]) {
            unsafe {
                let numbers = _mm512_cvttps_epi32(_mm512_min_ps(self.0, _mm512_set1_ps(65535.0)));
                _mm256_storeu_si256(to[..Self::WIDTH].as_mut_ptr().cast(), _mm512_cvtepi32_epi16(numbers));
            }
        }
        #[inline(always)]
        unsafe fn sqrt(self) -> Self {
            unsafe { Self(_mm512_sqrt_ps(self.0)) }
        }
        #[inline(always)]
        unsafe fn select_lt(self, other: Self, if_less: Self, otherwise: Self) -> Self {
            unsafe {
                let less = _mm512_cmplt_epi32_mask(_mm512_castps_si512(self.0), _mm512_castps_si512(other.0));
                Self(_mm512_mask_blend_ps(less, otherwise.0, if_less.0))
            }
        }
        #[inline(always)]
        unsafe fn same_bits(self, value: f32) -> u64 {
            unsafe {
                let value = _mm512_set1_epi32(value.to_bits() as i32);
                u64::from(_mm512_cmpeq_epi32_mask(_mm512_castps_si512(self.0), value))
            }
        }
        #[inline(always)]
        unsafe fn with_index(self, clear: u32, index: &[u32]) -> Self {
            unsafe {
                let index = _mm512_loadu_si512(index[..Self::WIDTH].as_ptr().cast());
                let kept = _mm512_andnot_si512(_mm512_set1_epi32(clear as i32), _mm512_castps_si512(self.0));
                Self(_mm512_castsi512_ps(_mm512_or_si512(kept, index)))
            }
        }
        #[inline(always)]
        unsafe fn least(self) -> f32 {
            unsafe { f32::from_bits(_mm512_reduce_min_epi32(_mm512_castps_si512(self.0)) as u32) }
        }
        #[inline(always)]
        unsafe fn without(self, value: f32) -> Self {
            unsafe {
                let bits = _mm512_castps_si512(self.0);
                let same = _mm512_cmpeq_epi32_mask(bits, _mm512_set1_epi32(value.to_bits() as i32));
                Self(_mm512_mask_blend_ps(same, self.0, _mm512_set1_ps(f32::MAX)))
            }
        }
        #[inline(always)]
        unsafe fn rsqrt(self) -> Self {
            unsafe {
                // 2^-14 at most.
                Self(_mm512_rsqrt14_ps(self.0))
            }
        }
    }
}
