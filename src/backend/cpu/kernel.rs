//! Scores of one block of 64 rows against all centroids: best, runner-up and (where wanted) third per row.

use super::lanes::{Lanes, Portable};
use crate::tiles::{BLOCK, Centroids};

/// Centroids scored together, each in a register of its own.
const GROUP: usize = 8;
/// Score of the centroids that fill up the last group: above every real one, and far from overflow in the certificate.
const PADDING_SCORE: f32 = 1e30;

/// Centroids in the order in which the kernel reads them: groups of 8, feature by feature.
pub(super) struct PackedCentroids {
    n_features: usize,
    /// `groups x n_features x GROUP`, negated.
    coords: Vec<f32>,
    /// `groups x GROUP`.
    half_sq_norms: Vec<f32>,
}

impl PackedCentroids {
    pub(super) fn new(centroids: &Centroids) -> Self {
        let (k, d) = (centroids.n_clusters(), centroids.n_features());
        let groups = k.div_ceil(GROUP);
        let (values, norms) = (centroids.to_f32(), centroids.half_sq_norms_f32());
        let mut coords = vec![0.0; groups * d * GROUP];
        let mut half_sq_norms = vec![PADDING_SCORE; groups * GROUP];
        for cluster in 0..k {
            let (group, slot) = (cluster / GROUP, cluster % GROUP);
            half_sq_norms[cluster] = norms[cluster];
            for feature in 0..d {
                coords[(group * d + feature) * GROUP + slot] = -values[cluster * d + feature];
            }
        }
        Self {
            n_features: d,
            coords,
            half_sq_norms,
        }
    }
}

/// What the kernel finds for each of the 64 rows of a block.
pub(super) struct BlockScores {
    /// `|x|^2`, for the certificate.
    pub(super) sq_norm: [f32; BLOCK],
    /// Scores `|c|^2 / 2 - x.c`, least first.
    pub(super) best: [f32; BLOCK],
    pub(super) second: [f32; BLOCK],
    /// Filled only where three are wanted.
    pub(super) third: [f32; BLOCK],
    /// Centroids with the best and (where three are wanted) the second score; the lower index on equal scores.
    pub(super) nearest: [u32; BLOCK],
    pub(super) runner_up: [u32; BLOCK],
}

impl BlockScores {
    pub(super) fn new() -> Self {
        Self {
            sq_norm: [0.0; BLOCK],
            best: [0.0; BLOCK],
            second: [0.0; BLOCK],
            third: [0.0; BLOCK],
            nearest: [0; BLOCK],
            runner_up: [0; BLOCK],
        }
    }
}

/// A kernel for one instruction set: block (`n_features x 64`), centroids, scores.
pub(super) type Kernel = fn(&[f32], &PackedCentroids, &mut BlockScores);

/// `THREE`: keep the third score and the runner-up's index as well.
///
/// # Safety
/// The instruction set of `V` must be present.
#[inline(always)]
unsafe fn score<V: Lanes, const THREE: bool>(block: &[f32], centroids: &PackedCentroids, out: &mut BlockScores) {
    // SAFETY: the caller's promise, for every call of `V`'s functions.
    unsafe {
        for first in (0..BLOCK).step_by(V::WIDTH) {
            let (mut best, mut second, mut third) = (V::splat(f32::MAX), V::splat(f32::MAX), V::splat(f32::MAX));
            let (mut nearest, mut runner_up) = (V::splat_index(0), V::splat_index(0));
            let group_len = centroids.n_features * GROUP;
            for (group, norms) in centroids.half_sq_norms.chunks_exact(GROUP).enumerate() {
                let mut scores = [V::splat(0.0); GROUP];
                for (score, &norm) in scores.iter_mut().zip(norms) {
                    *score = V::splat(norm);
                }
                let coords = &centroids.coords[group * group_len..(group + 1) * group_len];
                for (lane, coords) in block.chunks_exact(BLOCK).zip(coords.chunks_exact(GROUP)) {
                    let x = V::load(&lane[first..]);
                    for (score, &c) in scores.iter_mut().zip(coords) {
                        *score = x.mul_add(V::splat(c), *score);
                    }
                }
                for (slot, &score) in scores.iter().enumerate() {
                    let cluster = V::splat_index((group * GROUP + slot) as u32);
                    if THREE {
                        third = third.min(second.max(score));
                        // The runner-up is the old best where this one is better, this one where it only beats the second.
                        runner_up = score.select_index_lt(second, cluster, runner_up);
                        runner_up = score.select_index_lt(best, nearest, runner_up);
                    }
                    second = second.min(best.max(score));
                    nearest = score.select_index_lt(best, cluster, nearest);
                    best = best.min(score);
                }
            }
            best.store(&mut out.best[first..]);
            second.store(&mut out.second[first..]);
            V::store_index(nearest, &mut out.nearest[first..]);
            if THREE {
                third.store(&mut out.third[first..]);
                V::store_index(runner_up, &mut out.runner_up[first..]);
            }
            let mut sq_norm = V::splat(0.0);
            for lane in block.chunks_exact(BLOCK) {
                let x = V::load(&lane[first..]);
                sq_norm = x.mul_add(x, sq_norm);
            }
            sq_norm.store(&mut out.sq_norm[first..]);
        }
    }
}

/// An instruction set that this processor has, with its two kernels.
#[derive(Clone, Copy)]
pub(super) struct Isa {
    pub(super) name: &'static str,
    /// Best and second score.
    pub(super) two: Kernel,
    /// Best, second and third score.
    pub(super) three: Kernel,
}

/// The instruction sets that this processor has, best first.
pub(super) fn available() -> Vec<Isa> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            found.push(Isa {
                name: "AVX-512",
                // SAFETY: AVX-512F was just detected.
                two: |block, centroids, out| unsafe { score_avx512::<false>(block, centroids, out) },
                // SAFETY: as above.
                three: |block, centroids, out| unsafe { score_avx512::<true>(block, centroids, out) },
            });
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            found.push(Isa {
                name: "AVX2",
                // SAFETY: AVX2 and FMA were just detected.
                two: |block, centroids, out| unsafe { score_avx2::<false>(block, centroids, out) },
                // SAFETY: as above.
                three: |block, centroids, out| unsafe { score_avx2::<true>(block, centroids, out) },
            });
        }
    }
    found.push(Isa {
        name: if cfg!(target_arch = "aarch64") {
            "NEON"
        } else {
            "portable"
        },
        // SAFETY: the portable lanes need nothing that the build target lacks.
        two: |block, centroids, out| unsafe { score::<Portable, false>(block, centroids, out) },
        // SAFETY: as above.
        three: |block, centroids, out| unsafe { score::<Portable, true>(block, centroids, out) },
    });
    found
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn score_avx512<const THREE: bool>(block: &[f32], centroids: &PackedCentroids, out: &mut BlockScores) {
    // SAFETY: this function runs only where AVX-512F is present.
    unsafe { score::<super::lanes::Avx512, THREE>(block, centroids, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn score_avx2<const THREE: bool>(block: &[f32], centroids: &PackedCentroids, out: &mut BlockScores) {
    // SAFETY: this function runs only where AVX2 and FMA are present.
    unsafe { score::<super::lanes::Avx2, THREE>(block, centroids, out) }
}
