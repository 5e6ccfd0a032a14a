//! Independent `f32` multiply-adds in registers, with the widest instruction set of the processor.

/// Multiply-adds of each value in a [`run`]: together a few milliseconds.
const ROUNDS: usize = 2_000_000;
/// Lanes times registers, the same for every instruction set, so that [`FLOP`] is too.
const VALUES: usize = 192;

/// Floating-point operations of a [`run`].
pub(super) const FLOP: f64 = 2.0 * (ROUNDS * VALUES) as f64;

/// What [`run`] uses.
pub(super) fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            return "AVX2";
        }
    }
    if cfg!(target_arch = "aarch64") {
        "NEON"
    } else {
        "portable"
    }
}

/// Does [`FLOP`] operations on this thread; the result is of no interest, but has to be used.
pub(super) fn run() -> f32 {
    let (factor, addend) = std::hint::black_box((0.999f32, 0.001f32));
    #[cfg(target_arch = "x86_64")]
    {
        if instruction_set() == "AVX-512" {
            // SAFETY: the processor has AVX-512F, `instruction_set` has asked it.
            return unsafe { avx512(factor, addend) };
        }
        if instruction_set() == "AVX2" {
            // SAFETY: the processor has AVX2 and FMA, `instruction_set` has asked it.
            return unsafe { avx2(factor, addend) };
        }
    }
    #[cfg(target_arch = "aarch64")]
    return neon(factor, addend);
    #[cfg(not(target_arch = "aarch64"))]
    portable(factor, addend)
}

/// 12 registers of 16 lanes: enough for two units of a latency of six.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(factor: f32, addend: f32) -> f32 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (factor, addend) = (_mm512_set1_ps(factor), _mm512_set1_ps(addend));
    let mut sums = [addend; VALUES / 16];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, addend);
        }
    }
    sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
}

/// 12 registers of 8 lanes, twice: 24 would not fit into the 16 that there are.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(factor: f32, addend: f32) -> f32 {
    use std::arch::x86_64::{
        _mm_add_ps, _mm_cvtss_f32, _mm_hadd_ps, _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps,
        _mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps,
    };
    let (factor, addend) = (_mm256_set1_ps(factor), _mm256_set1_ps(addend));
    let mut total = _mm256_setzero_ps();
    for _ in 0..2 {
        let mut sums = [addend; VALUES / 16];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, addend);
            }
        }
        total = sums.into_iter().fold(total, |total, sum| _mm256_add_ps(total, sum));
    }
    let four = _mm_add_ps(_mm256_castps256_ps128(total), _mm256_extractf128_ps::<1>(total));
    let two = _mm_hadd_ps(four, four);
    _mm_cvtss_f32(_mm_hadd_ps(two, two))
}

/// 24 registers of 4 lanes, twice: 48 would not fit into the 32 that there are.
#[cfg(target_arch = "aarch64")]
fn neon(factor: f32, addend: f32) -> f32 {
    use std::arch::aarch64::{vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32};
    #[target_feature(enable = "neon")]
    fn all(factor: f32, addend: f32) -> f32 {
        let (factor, addend) = (vdupq_n_f32(factor), vdupq_n_f32(addend));
        let mut total = vdupq_n_f32(0.0);
        for _ in 0..2 {
            let mut sums = [addend; VALUES / 8];
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = vfmaq_f32(addend, *sum, factor);
                }
            }
            total = sums.into_iter().fold(total, |total, sum| vaddq_f32(total, sum));
        }
        vaddvq_f32(total)
    }
    // SAFETY: every 64-bit ARM processor that Rust builds for by this name has NEON.
    unsafe { all(factor, addend) }
}

/// For processors without any of these: whatever the compiler makes of it.
#[cfg(not(target_arch = "aarch64"))]
fn portable(factor: f32, addend: f32) -> f32 {
    let mut sums = [addend; VALUES];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = *sum * factor + addend;
        }
    }
    sums.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x becomes 0.999 x + 0.001 until it is 1: a value left out, or worked on too seldom, would be missed.
    fn worked_on(sum: f32) {
        assert!((sum - VALUES as f32).abs() < 0.5, "{sum}");
    }

    #[test]
    fn every_value_is_worked_on_whatever_the_instruction_set() {
        worked_on(run());
        #[cfg(not(target_arch = "aarch64"))]
        worked_on(portable(0.999, 0.001));
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA.
            worked_on(unsafe { avx2(0.999, 0.001) });
        }
    }
}
