//! The proof that a label found in `f32` is the exact one.
//!
//! With the score `s_k = |c_k|^2 / 2 - x.c_k`, half the squared distance is `t_k = s_k + |x|^2 / 2`. A computed
//! score `ŝ_k` starts from the rounded norm and adds `d` products of grid values with rounded coordinates, in any
//! order, fused or not; each term passes at most `d + 3` roundings, so that with `u = 2^-23`
//!
//! `|ŝ_k - s_k| <= u (d + 3) (|c_k|^2 / 2 + |x| |c_k|)`, up to terms of order `u^2`.
//!
//! (`2^-23`, not `2^-24`: WGSL lets every operation round up or down as it likes, and the proof is to hold there too.
//! Nothing is ever subnormal: all numbers are multiples of `2^-8`.)
//!
//! By `|c_k| <= |x| + sqrt(2 t_k)` the bracket is at most `3 t_k + 2.5 |x|^2`: the bound needs nothing per centroid.
//! It grows with `t_k`, so the second-best computed score stands for all that lie behind it. With
//! `a = u (d + 8) (1 + 2^-6)`, which leaves room for the second-order terms, for rounding in `|x|^2` and in the
//! test itself, the nearest centroid is proven where
//!
//! `ŝ_2 - ŝ_1 > a (3 (ŝ_1 + ŝ_2) + 8 |x|^2)`.
//!
//! For the runner-up the same test is made between the second and the third score.
//!
//! The CPU rounds to nearest, so that there `u = 2^-24`, and its kernels add `|x|^2 / 2` last and compare `t_k` itself:
//! `|t̂_k - t_k| <= u (d + 4) (|c_k|^2 / 2 + |x| |c_k| + |x|^2 / 2) <= u (d + 4) (3 t_k + 3 |x|^2)`, and the nearest
//! centroid is proven where
//!
//! `t̂_2 - t̂_1 > e`, `e = a (3 (t̂_1 + t̂_2) + 6 |x|^2)`, `a = u (d + 8) (1 + 2^-6)`.
//!
//! A computed `t̂` below zero then proves nothing for any centroid: `t` is not negative, so `|t̂|` is below the error,
//! and two of them are closer to each other than `e`. That is why their order does not matter.
//!
//! *Margins.* With distances `D = sqrt(2 t)`, `D_2 - D_1 = 2 (t_2 - t_1) / (D_2 + D_1)` and `D_1 + D_2 <=
//! 2 sqrt(t_1 + t_2)`, so that `D_2 - D_1 >= (t̂_2 - t̂_1 - e) / sqrt(t̂_1 + t̂_2 + e)`: by so much all other centroids
//! are farther than the nearest one, at least.
//!
//! *Coarse values.* A pass may read the high bits of values alone: the row that it sees, `y`, lies at most `r` from the
//! real one, `x = y + v` with `0 <= v_j <= 255`, `r = 255 sqrt(d)`. No distance to a centroid differs by more than that,
//! so that the nearest centroid is proven where, for `y`, the others are more than `2 r` farther.
//!
//! *Drift.* What is left of the margin, `D_2 - D_1 - 2 r`, is the room that centroids have: while they have moved less
//! than that, two of them together, no other one has become the nearest, and the row need not be looked at. (Elkan: Using
//! the triangle inequality to accelerate k-means, ICML 2003; Hamerly: Making k-means even faster, SDM 2010.)

/// The factor `a` for `n_features` features.
#[must_use]
pub fn factor(n_features: usize) -> f32 {
    let u = 1.0 / f64::from(1 << 23);
    (u * (n_features as f64 + 8.0) * (1.0 + 1.0 / 64.0)) as f32
}

/// The factor `a` for the half squared distances of a device that rounds to nearest.
#[must_use]
pub fn nearest_even_factor(n_features: usize) -> f32 {
    factor(n_features) / 2.0
}

/// Twice the farthest that a row can be from its coarse values, and what rounding in the test may hide.
#[must_use]
pub fn coarse_reach(n_features: usize) -> f32 {
    (2.0 * 255.0 * (n_features as f64).sqrt() * (1.0 + 1.0 / 64.0)) as f32
}

/// By how much the computed scores of two centroids may differ from their real difference.
#[inline(always)]
fn error(lower: f32, upper: f32, sq_norm: f32, factor: f32) -> f32 {
    factor * (3.0 * (lower + upper) + 8.0 * sq_norm)
}

/// By how much all other centroids are farther from a row than the one with the computed score `lower`, in grid units, at
/// least; 0 where that is not proven to be the nearest. Of a row that is seen by its coarse values `reach` is
/// [`coarse_reach`], else 0.
#[must_use]
pub fn room(lower: f32, upper: f32, sq_norm: f32, factor: f32, reach: f32) -> f32 {
    let error = error(lower, upper, sq_norm, factor);
    let (gap, sum) = (upper - lower - error, lower + upper + sq_norm + 2.0 * error);
    if gap > 0.0 && sum > 0.0 {
        (gap / sum.sqrt() * (1.0 - 1.0 / 256.0) - reach).max(0.0)
    } else {
        0.0
    }
}

/// Whether the centroid with the computed score `lower` is proven nearer than the one with `upper`.
///
/// `factor` from [`factor`], `sq_norm` the computed `|x|^2`, all in grid units squared. False for NaN.
#[inline(always)]
#[must_use]
pub fn proves(lower: f32, upper: f32, sq_norm: f32, factor: f32) -> bool {
    upper - lower > error(lower, upper, sq_norm, factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::scalar;
    use crate::rng::Rng;
    use crate::tiles::Centroids;

    /// Whether half squared distances prove the nearest centroid, as the vector kernels of the CPU do it.
    fn halves_prove(lower: f32, upper: f32, half_sq_norm: f32, factor: f32) -> bool {
        upper - lower > factor * (3.0 * (lower + upper) + 12.0 * half_sq_norm)
    }

    /// Rows about half-way between two centroids, near and far from the origin, scored in `f32` with a fixed order
    /// of additions. How many were proven, and how many of these wrongly.
    fn near_ties(slack: f32, halves: bool) -> (usize, usize) {
        let mut rng = Rng::new(3, 1);
        let (mut proven, mut wrong) = (0, 0);
        for case in 0..60_000 {
            let d = 1 + case % 20;
            let offset = 1i64 << (case % 22);
            let spread = 1u128 << (4 + case % 16);
            let mut number = |centre: i64, width: u128| centre + rng.below(width) as i64;
            let a: Vec<i64> = (0..d).map(|_| 256 * number(offset, spread) + number(0, 256)).collect();
            let b: Vec<i64> = (0..d).map(|_| 256 * number(offset, spread) + number(0, 256)).collect();
            let x: Vec<i32> = a
                .iter()
                .zip(&b)
                .map(|(a, b)| ((a + b) / 512 + number(-2, 4)) as i32)
                .collect();
            let centroids = Centroids::new(d, a.iter().chain(&b).map(|&c| c as i32).collect());
            let (coords, norms) = (centroids.to_f32(), centroids.half_sq_norms_f32());
            let score = |k: usize| {
                let terms = x.iter().zip(&coords[k * d..]);
                terms.fold(norms[k], |score, (&x, &c)| score - x as f32 * c)
            };
            let sq_norm = x.iter().fold(0.0, |sum, &x| sum + x as f32 * x as f32);
            let half_sq_norm = 0.5 * sq_norm;
            let half_sq_dist = |k: usize| half_sq_norm + score(k);
            let best = if halves {
                usize::from(half_sq_dist(1) < half_sq_dist(0))
            } else {
                usize::from(score(1) < score(0))
            };
            let other = 1 - best;
            let proven_here = if halves {
                let factor = slack * nearest_even_factor(d);
                halves_prove(half_sq_dist(best), half_sq_dist(other), half_sq_norm, factor)
            } else {
                proves(score(best), score(other), sq_norm, slack * factor(d))
            };
            if proven_here {
                proven += 1;
                wrong += usize::from(scalar::two_nearest(&x, &centroids).0 as usize != best);
            }
        }
        (proven, wrong)
    }

    #[test]
    fn what_is_proven_is_true() {
        for halves in [false, true] {
            let (proven, wrong) = near_ties(1.0, halves);
            assert_eq!(wrong, 0);
            assert!(proven > 10_000, "only {proven} proven: the test proves little");
        }
    }

    #[test]
    fn a_bound_too_small_is_found_out() {
        assert!(near_ties(0.01, false).1 > 0 && near_ties(0.01, true).1 > 0);
    }

    /// Rows about half-way between two centroids whose low bits all lean to one of them, scored by their high bits. How many
    /// were proven, and how many of these wrongly.
    fn coarse_near_ties(slack: f32) -> (usize, usize) {
        let mut rng = Rng::new(5, 1);
        let (mut proven, mut wrong) = (0, 0);
        for case in 0..40_000 {
            let d = 1 + case % 20;
            let spread = 1u128 << (10 + case % 12);
            let mut number = |width: u128| rng.below(width) as i64 - width as i64 / 2;
            let a: Vec<i64> = (0..d).map(|_| number(spread)).collect();
            let b: Vec<i64> = (0..d).map(|_| number(spread)).collect();
            // From the middle towards `a`, by so much in all features together.
            let ahead = number(2048) as f64;
            let length = a
                .iter()
                .zip(&b)
                .map(|(a, b)| (a - b) as f64)
                .map(|c| c * c)
                .sum::<f64>()
                .sqrt();
            let coarse: Vec<i32> = a
                .iter()
                .zip(&b)
                .map(|(a, b)| ((a + b) as f64 / 2.0 + ahead * (a - b) as f64 / length.max(1.0)) as i32)
                .map(|x| x.div_euclid(256) * 256)
                .collect();
            let x: Vec<i32> = (0..d).map(|j| coarse[j] + if b[j] > a[j] { 255 } else { 0 }).collect();
            let values: Vec<i32> = a.iter().chain(&b).map(|&c| c as i32).collect();
            let centroids = Centroids::on_rows(d, &values);
            let (coords, norms) = (centroids.to_f32(), centroids.half_sq_norms_f32());
            let score = |k: usize| {
                let terms = coarse.iter().zip(&coords[k * d..]);
                terms.fold(norms[k], |score, (&x, &c)| score - x as f32 * c)
            };
            let sq_norm = coarse.iter().fold(0.0, |sum, &x| sum + x as f32 * x as f32);
            let best = usize::from(score(1) < score(0));
            let (lower, upper) = (score(best), score(1 - best));
            if room(lower, upper, sq_norm, factor(d), slack * coarse_reach(d)) > 0.0 {
                proven += 1;
                wrong += usize::from(scalar::two_nearest(&x, &centroids).0 as usize != best);
            }
        }
        (proven, wrong)
    }

    #[test]
    fn what_coarse_values_prove_is_true_of_the_rows() {
        let (proven, wrong) = coarse_near_ties(1.0);
        assert_eq!(wrong, 0);
        assert!(proven > 1_000, "only {proven} proven: the test proves little");
        assert!(coarse_near_ties(0.4).1 > 0, "a reach too small is not found out");
    }

    #[test]
    fn the_room_of_a_row_is_there_and_not_much_more() {
        let mut rng = Rng::new(9, 2);
        let (mut n_rooms, mut n_tight) = (0, 0);
        for case in 0..20_000 {
            let d = 1 + case % 20;
            let spread = 1u128 << (12 + case % 11);
            let mut number = || (rng.below(spread) as i64 - (spread / 2) as i64) as i32;
            let values: Vec<i32> = (0..2 * d).map(|_| number()).collect();
            let x: Vec<i32> = (0..d).map(|_| number()).collect();
            let centroids = Centroids::on_rows(d, &values);
            let (coords, norms) = (centroids.to_f32(), centroids.half_sq_norms_f32());
            let distance = |k: usize| {
                let squares = x.iter().zip(&values[k * d..]).map(|(&x, &c)| f64::from(x - c).powi(2));
                squares.sum::<f64>().sqrt()
            };
            let real = (distance(0) - distance(1)).abs();
            for (seen, reach) in [
                (x.clone(), 0.0),
                (x.iter().map(|x| x.div_euclid(256) * 256).collect(), coarse_reach(d)),
            ] {
                let score = |k: usize| {
                    let terms = seen.iter().zip(&coords[k * d..]);
                    terms.fold(norms[k], |score, (&x, &c)| score - x as f32 * c)
                };
                let sq_norm = seen.iter().fold(0.0, |sum, &x| sum + x as f32 * x as f32);
                let (lower, upper) = (score(0).min(score(1)), score(0).max(score(1)));
                let room = f64::from(room(lower, upper, sq_norm, factor(d), reach));
                assert!(room <= real, "{room} of {real}, {d} features");
                n_rooms += usize::from(room > 0.0);
                n_tight += usize::from(room > 0.9 * real);
            }
        }
        assert!(n_rooms > 20_000 && n_tight > 1_000, "{n_rooms} rooms, {n_tight} tight");
    }

    #[test]
    fn nan_proves_nothing() {
        assert!(!proves(f32::NAN, 1.0, 0.0, factor(1)) && !proves(0.0, f32::NAN, 0.0, factor(1)));
        assert_eq!(room(f32::NAN, 1.0, 0.0, factor(1), 0.0), 0.0);
        assert_eq!(room(0.0, f32::NAN, 0.0, factor(1), 0.0), 0.0);
    }
}
