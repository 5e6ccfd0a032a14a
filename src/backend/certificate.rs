//! The proof that a label found in `f32` is the exact one.
//!
//! With the score `s_k = |c_k|^2 / 2 - x.c_k`, half the squared distance is `t_k = s_k + |x|^2 / 2`. A computed
//! score `ŝ_k` starts from the rounded norm and adds `d` products of grid values with rounded coordinates, in any
//! order, fused or not; each term passes at most `d + 3` roundings, so that with `u = 2^-24`
//!
//! `|ŝ_k - s_k| <= u (d + 3) (|c_k|^2 / 2 + |x| |c_k|)`, up to terms of order `u^2`.
//!
//! By `|c_k| <= |x| + sqrt(2 t_k)` the bracket is at most `3 t_k + 2.5 |x|^2`: the bound needs nothing per centroid.
//! It grows with `t_k`, so the second-best computed score stands for all that lie behind it. With
//! `a = u (d + 8) (1 + 2^-6)`, which leaves room for the second-order terms, for rounding in `|x|^2` and in the
//! test itself, the nearest centroid is proven where
//!
//! `ŝ_2 - ŝ_1 > a (3 (ŝ_1 + ŝ_2) + 8 |x|^2)`.
//!
//! For the runner-up the same test is made between the second and the third score.

/// The factor `a` for `n_features` features.
#[must_use]
pub fn factor(n_features: usize) -> f32 {
    let u = 1.0 / f64::from(1 << 24);
    (u * (n_features as f64 + 8.0) * (1.0 + 1.0 / 64.0)) as f32
}

/// Whether the centroid with the computed score `lower` is proven nearer than the one with `upper`.
///
/// `factor` from [`factor`], `sq_norm` the computed `|x|^2`, all in grid units squared. False for NaN.
#[inline(always)]
#[must_use]
pub fn proves(lower: f32, upper: f32, sq_norm: f32, factor: f32) -> bool {
    upper - lower > factor * (3.0 * (lower + upper) + 8.0 * sq_norm)
}
