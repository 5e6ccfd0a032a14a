//! Values to ranks: the share of all values that lie below one, as a function that can be stored and replayed.

use serde::{Deserialize, Serialize};

use super::decode::MAX_ABS;

/// Most points of a function: their ranks are 1/256 apart.
const MAX_KNOTS: usize = 257;

/// A rising, piecewise linear function from values to ranks between 0 and 1. Equal values share the middle of their
/// ranks, as in scipy's `rankdata`; values beyond the ends have the ranks of the ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranks {
    /// Strictly rising.
    values: Vec<f64>,
    /// The rank of each, strictly rising as well.
    ranks: Vec<f64>,
}

impl Ranks {
    /// The ranks of some values, at least two of which differ; sorts them. Depends on the multiset of values alone.
    ///
    /// Exact at the least and the largest value and at up to 255 values between, linear from each to the next.
    ///
    /// # Panics
    /// If all values are equal.
    pub(super) fn of(values: &mut [f64]) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let n = values.len();
        let at = |knot: usize| values[(knot as u128 * (n as u128 - 1) / (MAX_KNOTS as u128 - 1)) as usize];
        let mut knots: Vec<f64> = (0..MAX_KNOTS).map(at).collect();
        knots.dedup();
        assert!(knots.len() > 1, "values that differ");
        let rank = |knot: &f64| {
            let below = values.partition_point(|v| v < knot);
            let up_to = values.partition_point(|v| v <= knot);
            (below + up_to) as f64 / (2.0 * n as f64)
        };
        Self {
            ranks: knots.iter().map(rank).collect(),
            values: knots,
        }
    }

    /// Points between which the function is linear.
    #[must_use]
    pub fn n_points(&self) -> usize {
        self.values.len()
    }

    /// The rank of a value, which must not be NaN.
    #[must_use]
    pub fn rank(&self, v: f64) -> f64 {
        along(&self.values, &self.ranks, v)
    }

    /// The value of a rank; the ends, for ranks beyond theirs.
    #[must_use]
    pub fn value(&self, rank: f64) -> f64 {
        along(&self.ranks, &self.values, rank)
    }

    /// What makes this no such function, in words.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let rises = |numbers: &[f64]| numbers.windows(2).all(|pair| pair[0] < pair[1]);
        let Self { values, ranks } = self;
        if values.len() != ranks.len() || !(2..=MAX_KNOTS).contains(&values.len()) {
            Some("has no or too many ranks")
        } else if !values.iter().all(|v| v.abs() <= MAX_ABS) || !rises(values) {
            Some("has ranks of values that do not rise")
        } else if !ranks.iter().all(|rank| (0.0..=1.0).contains(rank)) || !rises(ranks) {
            Some("has ranks that do not rise from 0 to 1")
        } else {
            None
        }
    }
}

/// The point at `x` of the line through points that rise in both directions.
fn along(xs: &[f64], ys: &[f64], x: f64) -> f64 {
    let after = xs.partition_point(|&knot| knot <= x);
    if after == 0 {
        return ys[0];
    }
    let Some(&next) = xs.get(after) else {
        return ys[after - 1];
    };
    let (x0, y0) = (xs[after - 1], ys[after - 1]);
    let share = (x - x0) / (next - x0);
    // Rounding may not pass the next point.
    (y0 + share * (ys[after] - y0)).min(ys[after])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_the_middle_of_their_ranks() {
        let ranks = Ranks::of(&mut [0.0, 7.0, 0.0, 3.0, 0.0, 3.0]);
        assert_eq!(
            [0.0, 3.0, 7.0].map(|v| (ranks.rank(v) * 12.0).round()),
            [3.0, 8.0, 11.0]
        );
        // Between them the ranks rise evenly, beyond them not at all.
        assert_eq!(ranks.rank(5.0), f64::midpoint(ranks.rank(3.0), ranks.rank(7.0)));
        assert_eq!(
            [ranks.rank(-1.0), ranks.rank(1e300)],
            [ranks.rank(0.0), ranks.rank(7.0)]
        );
    }

    #[test]
    fn the_order_of_values_does_not_matter_and_ranks_lead_back() {
        let value = |i: u32| f64::from(i * 7919 % 10_007).powi(3);
        let mut values: Vec<f64> = (0..10_007).map(value).collect();
        let ranks = Ranks::of(&mut values);
        let mut reversed: Vec<f64> = (0..10_007).rev().map(value).collect();
        assert_eq!(Ranks::of(&mut reversed), ranks);
        assert_eq!(ranks.values.len(), MAX_KNOTS);
        assert!(ranks.problem().is_none());
        for (at, v) in values.iter().enumerate().step_by(97) {
            let exact = (at as f64 + 0.5) / values.len() as f64;
            assert!((ranks.rank(*v) - exact).abs() < 0.5 / 256.0, "{at}");
            assert!((ranks.value(ranks.rank(*v)) - v).abs() <= 1e-9 * v.abs());
        }
        let inner = values.windows(2).all(|pair| ranks.rank(pair[0]) < ranks.rank(pair[1]));
        assert!(inner, "different values have different ranks");
    }

    #[test]
    fn what_is_no_such_function_is_found_out() {
        let sound = Ranks::of(&mut [1.0, 2.0, 3.0]);
        let with = |values: &[f64], ranks: &[f64]| Ranks {
            values: values.to_vec(),
            ranks: ranks.to_vec(),
        };
        assert!(sound.problem().is_none());
        for broken in [
            with(&[1.0], &[0.5]),
            with(&[1.0, 2.0], &[0.5]),
            with(&[1.0, 1.0], &[0.1, 0.2]),
            with(&[1.0, f64::NAN], &[0.1, 0.2]),
            with(&[1.0, f64::INFINITY], &[0.1, 0.2]),
            with(&[1.0, 2.0], &[0.2, 0.2]),
            with(&[1.0, 2.0], &[-0.1, 0.2]),
            with(&[1.0, 2.0], &[0.1, f64::NAN]),
        ] {
            assert!(broken.problem().is_some(), "{broken:?}");
        }
    }
}
