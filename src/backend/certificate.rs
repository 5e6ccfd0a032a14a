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
//! *Coarse centroids.* It may see centroids by their high bits as well: `c = e + w` with `0 <= w_j < 256`. Half-way, by 128
//! in each feature, both real ones lie at most `128 sqrt(d)` from what is seen, and the same shift of both changes no
//! distance: one between a row and a centroid differs by at most `r = 256 sqrt(d)`, which stands for either case.
//!
//! *Matrix units* ([`MATRIX_MARGIN`]) multiply such rows and centroids by digits. In units of 256, from the middle of the
//! digits on, `y_j / 16 = H_j + L_j` and `e_j / 16 = H'_j + L'_j`, with `H_j` a multiple of 16 up to 2048 and `|L_j| <= 8` a
//! multiple of 1/16: `f16` holds them, and `f32` their products. The sum of all `H_j H'_j` is exact in any order, as its
//! parts are multiples of 256, up to `2^22 d`, and `d <= 2^10`. The other three products go to a sum of their own, rounded
//! or cut off no more than twice for each of them, by `u` of the sum of all magnitudes: units add up stretches of two
//! products or more, each cut off at a last bit of the largest, and the result too; or one after the other, rounded once.
//! (The device is tried: `gpu::matrix_units`.) Back in units of 256, with `p = 128 sqrt(d)`, these magnitudes are at most
//! `T = p (|y| + |e|) + 3 p^2`. Both sums are put together and subtracted from `|e|^2 / 2`, which has its own rounding, so
//! that with `D = sqrt(2 t)`, `|e| <= |y| + D`, and `2 a b <= a^2 + b^2`,
//!
//! `|ŝ - s| <= u (6 d T + 4 (|e|^2 / 2 + |y| |e| + 2 T))`,
//! `6 T <= 6 p (2 |y| + D) + 18 p^2 <= 3 t + 2.5 |y|^2 + 40 p^2`, `|e|^2 / 2 + |y| |e| <= 3 t + 2.5 |y|^2`.
//!
//! That is at most `u (d + 8) (3 t + 2.5 |y|^2 + 40 p^2)`. So the test for other kernels holds with `|y|^2 + 10 p^2` in the
//! place of `|y|^2`, which it multiplies by 8 for two centroids. Of the room, which is divided by a root of the same, that
//! makes no more than there is.
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

/// What a row is taken to be longer by where matrix units multiply it, per feature: squared, in units of 256 grid units.
pub const MATRIX_MARGIN: u32 = 10 * 128 * 128;

/// Twice as much as coarse values, of a row and of a centroid, may change a distance, and what rounding in the test may hide.
#[must_use]
pub fn coarse_reach(n_features: usize) -> f32 {
    (2.0 * 256.0 * (n_features as f64).sqrt() * (1.0 + 1.0 / 64.0)) as f32
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

    /// A score as matrix units give it, in units of 256 squares of 256 grid units, and `|x|^2`: digits of coarse values, with
    /// products added up one after the other.
    fn matrix_score(x: &[i32], centroid: &[i32]) -> (f32, f32) {
        let digits = |high_bits: i32| {
            let low = (high_bits & 0xff) - 128;
            ((high_bits - 128 - low) as f32 / 16.0, low as f32 / 16.0)
        };
        let (mut high, mut low) = (0.0f32, 0.0f32);
        let (mut sq_norm, mut half_norm) = (0.0f32, 0.0f64);
        for (&x, &c) in x.iter().zip(centroid) {
            let ((x_high, x_low), (c_high, c_low)) = (digits(x >> 8), digits(c >> 16));
            high = c_high.mul_add(x_high, high);
            low = c_low.mul_add(x_low, low);
            low = c_low.mul_add(x_high, low);
            low = c_high.mul_add(x_low, low);
            sq_norm = (x_high + x_low).mul_add(x_high + x_low, sq_norm);
            half_norm += f64::from(c_high + c_low).powi(2) / 2.0;
        }
        let margin = MATRIX_MARGIN as f32 / 256.0 * x.len() as f32;
        (half_norm as f32 - (high + low), sq_norm + margin)
    }

    /// Rows about half-way between two centroids, whose low bits all lean to one of them, as those of the centroids do to the
    /// row's disadvantage; seen by digits. How many were proven, and how many of these wrongly.
    fn matrix_near_ties(slack: f32) -> (usize, usize) {
        let mut rng = Rng::new(6, 1);
        let unit = 16_777_216.0;
        let (mut proven, mut wrong) = (0, 0);
        for case in 0..40_000 {
            let d = 1 + case % 40;
            let spread = 1u128 << (11 + case % 12);
            let mut number = |width: u128| rng.below(width) as i64 - width as i64 / 2;
            // High bits, 256 apart, so that leaning changes none.
            let mut coarse = || -> Vec<i64> { (0..d).map(|_| number(spread).div_euclid(256) * 256).collect() };
            let (a, b) = (coarse(), coarse());
            let ahead = number(4096) as f64;
            let length = a
                .iter()
                .zip(&b)
                .map(|(a, b)| ((a - b) as f64).powi(2))
                .sum::<f64>()
                .sqrt();
            let half_way = a.iter().zip(&b).map(|(a, b)| {
                let x = (a + b) as f64 / 2.0 + ahead * (a - b) as f64 / length.max(1.0);
                (x as i64).div_euclid(256) * 256
            });
            let leans = |at: usize, most: i64| if b[at] > a[at] { most } else { 0 };
            let x: Vec<i32> = half_way
                .enumerate()
                .map(|(at, x)| (x + leans(at, 255)) as i32)
                .collect();
            // `a` leans away from `b`, and `b` towards `a`.
            let away = |c: &[i64]| -> Vec<i32> {
                let leant = c.iter().enumerate();
                leant
                    .map(|(at, &c)| (256 * c + 65_535 - leans(at, 65_535)) as i32)
                    .collect()
            };
            let values: Vec<i32> = away(&a).into_iter().chain(away(&b)).collect();
            let [(first, sq_norm), (second, _)] = [0, 1].map(|k| matrix_score(&x, &values[k * d..(k + 1) * d]));
            let best = usize::from(second < first);
            let (lower, upper) = (unit * first.min(second), unit * first.max(second));
            if room(lower, upper, unit * sq_norm, factor(d), slack * coarse_reach(d)) > 0.0 {
                proven += 1;
                let centroids = Centroids::new(d, values);
                wrong += usize::from(scalar::two_nearest(&x, &centroids).0 as usize != best);
            }
        }
        (proven, wrong)
    }

    #[test]
    fn what_matrix_units_prove_is_true_of_the_rows() {
        let (proven, wrong) = matrix_near_ties(1.0);
        assert_eq!(wrong, 0);
        assert!(proven > 1_000, "only {proven} proven: the test proves little");
        assert!(matrix_near_ties(0.4).1 > 0, "a reach too small is not found out");
    }

    /// By how much scores from digits differ from the real ones, at most, in parts of what the bound allows for both.
    #[test]
    fn scores_from_digits_are_as_far_off_as_is_allowed_at_most() {
        let mut rng = Rng::new(6, 2);
        let mut largest = 0.0f64;
        for case in 0..4_000 {
            let d = [1, 7, 64, 1024][case % 4];
            let spread = 1u128 << (9 + case % 16);
            let mut number = || (rng.below(spread) as i64 - (spread / 2) as i64) as i32;
            let x: Vec<i32> = (0..d).map(|_| number().clamp(-(1 << 23), (1 << 23) - 1)).collect();
            let c: Vec<i32> = (0..d).map(|_| 128 * (x[case % d] / 2 + number() / 4)).collect();
            let (score, sq_norm) = matrix_score(&x, &c);
            let seen = |high_bits: i32| i128::from(high_bits - 128);
            let terms = x.iter().zip(&c).map(|(&x, &c)| (seen(x >> 8), seen(c >> 16)));
            let twice = terms.fold(0, |sum, (x, c)| sum + c * c - 2 * x * c);
            let off = (f64::from(score) - twice as f64 / 512.0).abs();
            // Of one score: half of what is allowed for two that are alike.
            let allowed = error(score, score, sq_norm, factor(d)) / 2.0;
            assert!(off <= f64::from(allowed), "{off} of {allowed}, {d} features");
            largest = largest.max(off / f64::from(allowed));
        }
        assert!(largest > 0.0005, "{largest}: nothing was rounded");
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
