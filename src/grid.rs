//! The grid on which all arithmetic is exact: prepared values as integers times one power-of-two step.
//!
//! A prepared value `z` (in standard deviations, or whatever the scaling gives) becomes the integer
//! `x = round(z / step)` with `|x| < 2^23`. Every such `x` is an `f32` without error, sums of them are
//! integers, and integer sums do not depend on order, threads or devices. Centroids live on a grid 2^8
//! finer, as `i32`.

use serde::{Deserialize, Serialize};

/// Largest magnitude of a grid value: `2^23 - 1`.
pub const MAX_GRID: i32 = (1 << 23) - 1;
/// Centroids are integers in units of `step / 2^CENTROID_BITS`.
pub const CENTROID_BITS: u32 = 8;
/// `2^CENTROID_BITS`: a grid value times this is in centroid units.
pub const CENTROID_SCALE: i64 = 1 << CENTROID_BITS;
/// Most features a data set may have: squared distances in grid units then fit in `u64`.
pub const MAX_FEATURES: usize = 1 << 15;

/// One power-of-two step for all features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// The step is `2^step_exp`.
    step_exp: i32,
}

impl Grid {
    /// The finest grid on which every value of magnitude up to `max_abs` fits.
    ///
    /// `max_abs` must be finite; 0 gives a step of 1. Depends on the data's largest magnitude alone, hence
    /// not on the order of rows.
    #[must_use]
    pub fn covering(max_abs: f64) -> Self {
        assert!(max_abs.is_finite(), "the largest magnitude must be finite");
        if max_abs == 0.0 {
            return Self { step_exp: 0 };
        }
        // 2^(e-1) <= max_abs < 2^e for the exponent e found here; rounding up to 2^23 is caught by the loop.
        let mut step_exp = (max_abs.log2().floor() as i32 - 23).clamp(Self::MIN_EXP, Self::MAX_EXP);
        while (max_abs / exp2(step_exp)).round_ties_even() > f64::from(MAX_GRID) {
            step_exp += 1;
        }
        Self { step_exp }
    }

    /// Exponents between which squares of steps stay normal `f64`s.
    const MIN_EXP: i32 = -480;
    const MAX_EXP: i32 = 480;

    /// A grid with the step `2^step_exp`, or `None` where that leaves the range of exact arithmetic.
    #[must_use]
    pub fn with_step_exp(step_exp: i32) -> Option<Self> {
        (Self::MIN_EXP..=Self::MAX_EXP + 1)
            .contains(&step_exp)
            .then_some(Self { step_exp })
    }

    /// The exponent of the step.
    #[must_use]
    pub fn step_exp(self) -> i32 {
        self.step_exp
    }

    /// The distance between neighbouring grid values, in units of `z`.
    #[must_use]
    pub fn step(self) -> f64 {
        exp2(self.step_exp)
    }

    /// `z` on the grid, as an integer-valued `f32`; values beyond the grid go to its edge.
    #[inline]
    #[must_use]
    pub fn snap(self, z: f64) -> f32 {
        // A multiplication by a power of two is exact; both roundings below are to integers below 2^24.
        let x = (z * exp2(-self.step_exp)).round_ties_even();
        x.clamp(-f64::from(MAX_GRID), f64::from(MAX_GRID)) as f32
    }

    /// Whether `z` lies beyond the grid, so that [`Grid::snap`] moves it to the edge.
    #[inline]
    #[must_use]
    pub fn clips(self, z: f64) -> bool {
        (z * exp2(-self.step_exp)).round_ties_even().abs() > f64::from(MAX_GRID)
    }

    /// `z` on the centroid grid.
    #[must_use]
    pub fn snap_centroid(self, z: f64) -> i32 {
        let c = (z * exp2(CENTROID_BITS as i32 - self.step_exp)).round_ties_even();
        let limit = f64::from(MAX_GRID) * CENTROID_SCALE as f64;
        c.clamp(-limit, limit) as i32
    }

    /// A centroid coordinate in units of `z`.
    #[must_use]
    pub fn centroid_value(self, c: i32) -> f64 {
        f64::from(c) * exp2(self.step_exp - CENTROID_BITS as i32)
    }

    /// A squared distance (or inertia) from centroid units squared to units of `z` squared.
    #[must_use]
    pub fn sq_dist_value(self, sq_dist: u128) -> f64 {
        // u128 -> f64 rounds to nearest once, as u64 -> f64 does; the power of two after it is exact.
        let rounded = u64::try_from(sq_dist).map_or_else(|_| sq_dist as f64, |small| small as f64);
        rounded * exp2(2 * (self.step_exp - CENTROID_BITS as i32))
    }
}

/// `2^e` without rounding, for exponents of normal numbers.
#[inline]
fn exp2(e: i32) -> f64 {
    debug_assert!((-1022..=1023).contains(&e));
    f64::from_bits(((e + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_as_fine_as_it_can_be() {
        for max_abs in [
            1e-12,
            0.3,
            1.0,
            2.0,
            3.999_999_99,
            4.0,
            500.0,
            1e9,
            8_388_607.0,
            8_388_607.4,
            8_388_607.6,
            1e140,
        ] {
            let grid = Grid::covering(max_abs);
            let top = (max_abs / grid.step()).round();
            assert!(top <= f64::from(MAX_GRID), "{max_abs}");
            assert!(
                (max_abs / (grid.step() / 2.0)).round() > f64::from(MAX_GRID),
                "{max_abs}: half the step would do"
            );
            assert!(!grid.clips(max_abs) && !grid.clips(-max_abs));
        }
    }

    #[test]
    fn snapping_rounds_and_clips() {
        let grid = Grid::covering(8_388_607.0);
        assert_eq!(grid.step(), 1.0);
        assert_eq!(grid.snap(2.5), 2.0);
        assert_eq!(grid.snap(-3.5), -4.0);
        assert_eq!(grid.snap(1e20), MAX_GRID as f32);
        assert!(grid.clips(1e20));
        assert_eq!(grid.snap_centroid(1.5), 384);
        assert_eq!(grid.centroid_value(384), 1.5);
        assert_eq!(grid.sq_dist_value(1 << 16), 1.0);
    }
}
