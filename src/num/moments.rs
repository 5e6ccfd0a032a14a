//! Mean and standard deviation from exact sums, each rounded once.

use num_bigint::BigUint;

use super::exact_sum::{ExactSum, RUN};
use super::rounding::{round_ratio, round_sqrt_ratio};
use super::survey::Survey;

/// Count, exact sum and exact sum of squares of values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// How many values.
    pub n: u64,
    /// Their sum.
    pub sum: ExactSum,
    /// The sum of their squares.
    pub sum_sq: ExactSum,
}

impl Moments {
    /// Most values that are added at a time.
    pub(crate) const RUN: usize = RUN;

    /// Adds one value, which must be finite.
    #[inline]
    pub fn add(&mut self, v: f64) {
        self.n += 1;
        self.sum.add(v);
        self.sum_sq.add_product(v, v);
    }

    /// Adds all values, which must be finite.
    pub fn add_all(&mut self, values: &[f64]) {
        values.chunks(RUN).for_each(|run| self.add_run(run, &Survey::of(run)));
    }

    /// Adds a run of values, 0 in the place of those that are missing.
    ///
    /// # Panics
    /// If there are more than [`Moments::RUN`].
    pub(crate) fn add_run(&mut self, run: &[f64], survey: &Survey) {
        self.n += (run.len() - survey.n_missing) as u64;
        self.sum.add_run(run, survey);
        self.sum_sq.add_squares(run, survey);
    }

    /// Adds everything `other` holds.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.sum.merge(&other.sum);
        self.sum_sq.merge(&other.sum_sq);
    }

    /// The mean, correctly rounded; NaN where there is no value.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.n == 0 {
            return f64::NAN;
        }
        let (sum, exp) = self.sum.to_big();
        round_ratio(&sum, &BigUint::from(self.n), i64::from(exp))
    }

    /// The standard deviation of the population, correctly rounded however far the values lie from 0; NaN where
    /// there is no value.
    #[must_use]
    pub fn std(&self) -> f64 {
        if self.n == 0 {
            return f64::NAN;
        }
        let (sum, sum_exp) = self.sum.to_big();
        let (sum_sq, sum_sq_exp) = self.sum_sq.to_big();
        let exp = sum_sq_exp.min(2 * sum_exp);
        // n * sum_sq - sum^2 = n^2 * variance, never negative.
        let of_squares = (sum_sq << (sum_sq_exp - exp) as u32) * self.n;
        let of_sum = (&sum * &sum) << (2 * sum_exp - exp) as u32;
        let spread = of_squares - of_sum;
        round_sqrt_ratio(spread.magnitude(), &BigUint::from(self.n), i64::from(exp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: impl IntoIterator<Item = f64>) -> Moments {
        let mut moments = Moments::default();
        values.into_iter().for_each(|v| moments.add(v));
        moments
    }

    #[test]
    fn a_huge_offset_costs_no_digit() {
        for offset in [0.0, 1e9, 1e15, -1e15] {
            let moments = moments([offset - 1.0, offset + 1.0, offset - 1.0, offset + 1.0]);
            assert_eq!((moments.mean(), moments.std()), (offset, 1.0));
        }
    }

    #[test]
    fn small_answers_worked_out_by_hand() {
        let two = moments([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((two.mean(), two.std()), (5.0, 2.0));
        let thirds = moments([0.0, 0.0, 1.0]);
        assert_eq!(thirds.mean(), 1.0 / 3.0);
        assert_eq!(thirds.std(), 0.471_404_520_791_031_7); // sqrt(2) / 3
        assert_eq!(moments([0.1; 7]).std(), 0.0);
        assert!(moments([]).mean().is_nan() && moments([]).std().is_nan());
    }

    #[test]
    fn extreme_magnitudes_stay_in_range() {
        let tiny = f64::from_bits(1);
        assert_eq!(moments([tiny, 3.0 * tiny]).std(), tiny);
        assert_eq!(moments([1e150, -1e150]).std(), 1e150);
    }

    #[test]
    fn merging_is_adding() {
        let values: Vec<f64> = (0..1000).map(|i| (f64::from(i) * 0.37).sin() * 1e3).collect();
        let whole = moments(values.iter().copied());
        let mut parts = moments(values[700..].iter().copied());
        parts.merge(&moments(values[..700].iter().copied()));
        assert_eq!(whole, parts);
        assert_eq!(whole.std().to_bits(), parts.std().to_bits());
        assert_ne!(whole, moments(values[1..].iter().copied()));
    }
}
