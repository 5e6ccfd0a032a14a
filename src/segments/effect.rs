//! How far a segment's mean lies from that of all rows, and how precisely that is known.

use super::outcomes::t_quantile;
use crate::cells::MIN_CELL;

/// Number, mean and standard deviation (of the population) of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Group {
    pub(super) n: u64,
    pub(super) mean: f64,
    pub(super) std: f64,
}

/// The standardised difference `(mean - mean of all) / standard deviation of all`; 0 where all values are equal.
pub(super) fn difference(segment: Group, all: Group) -> f64 {
    if all.std > 0.0 {
        (segment.mean - all.mean) / all.std
    } else {
        0.0
    }
}

/// The interval that holds the standardised difference of such rows with 95 % confidence; `None` below [`MIN_CELL`]
/// values.
///
/// A segment is a part of all rows: with `f` their share, its difference to all is `1 - f` times that to the rest, and the
/// variances of both means add up (B. L. Welch, Biometrika 34, 1947, with Student's quantile for the segment's values).
/// `d^2 / 2 n` is added for the standard deviation that it is divided by (L. V. Hedges and I. Olkin, "Statistical Methods
/// for Meta-Analysis", 1985, chapter 5). It says how precise the difference is, not that the segment was worth finding:
/// the segments were made from these values.
pub(super) fn interval(segment: Group, all: Group) -> Option<[f64; 2]> {
    if segment.n < MIN_CELL {
        return None;
    }
    let d = difference(segment, all);
    if segment.n >= all.n || all.std <= 0.0 {
        return Some([d, d]);
    }
    let (n, n_all) = (segment.n as f64, all.n as f64);
    let n_rest = n_all - n;
    // In standard deviations of all: the squares about the mean of all are those within both parts, and between them.
    let within = (segment.std / all.std).powi(2);
    let rest = (n_all - n * within - n * d * d * n_all / n_rest).max(0.0) / n_rest;
    let variance =
        (n_rest / n_all).powi(2) * (within / (n - 1.0) + rest / (n_rest - 1.0).max(1.0)) + d * d / (2.0 * n_all);
    let reach = t_quantile(n - 1.0) * variance.sqrt();
    Some([d - reach, d + reach])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Moments;

    fn group(values: &[f64]) -> Group {
        let mut moments = Moments::default();
        moments.add_all(values);
        Group {
            n: moments.n,
            mean: moments.mean(),
            std: moments.std(),
        }
    }

    #[test]
    fn the_interval_is_that_of_both_parts() {
        let values: Vec<f64> = (0..200)
            .map(|i| f64::from(i * i % 101) + if i < 60 { 40.0 } else { 0.0 })
            .collect();
        let (own, rest, all) = (group(&values[..60]), group(&values[60..]), group(&values));
        // The plain way, from the rows of the rest.
        let d = (own.mean - all.mean) / all.std;
        let of_means = own.std.powi(2) / 59.0 + rest.std.powi(2) / 139.0;
        let variance = 0.7f64.powi(2) * of_means / all.std.powi(2) + d * d / 400.0;
        let reach = 2.000_995 * variance.sqrt(); // t with 59 degrees of freedom
        let [low, high] = interval(own, all).unwrap();
        assert!((high - d - reach).abs() < 1e-5 * reach && (d - low - reach).abs() < 1e-5 * reach);
        let [low, high] = interval(group(&values[..59]), all).unwrap();
        assert!((high - d - reach).abs() > 1e-5 * reach && (d - low - reach).abs() > 1e-5 * reach);
    }

    /// Of intervals of draws from a known population, about 95 % hold the difference of the population.
    #[test]
    fn intervals_hold_what_they_say() {
        let mut rng = crate::rng::Rng::new(8, 0);
        let mut draw =
            |centre: f64, width: f64| centre + width * (rng.below(1 << 20) as f64 / f64::from(1 << 20) - 0.5);
        let mut held = 0;
        for _ in 0..400 {
            let mut values: Vec<f64> = (0..50).map(|_| draw(3.0, 4.0)).collect();
            values.extend((0..150).map(|_| draw(0.0, 8.0)));
            let [low, high] = interval(group(&values[..50]), group(&values)).unwrap();
            // Mixture: mean 0.75, variance 0.25 * 4/3 + 0.75 * 16/3 + 0.1875 * 9.
            let truth = 2.25 / (1.0f64 / 3.0 + 4.0 + 1.6875).sqrt();
            held += u32::from(low <= truth && truth <= high);
        }
        assert!((364..=400).contains(&held), "{held} of 400");
    }

    #[test]
    fn few_values_and_equal_ones() {
        let all = group(&[1.0; 40]);
        assert_eq!(interval(group(&[1.0; 20]), all), Some([0.0, 0.0]));
        assert_eq!(interval(group(&[1.0; 10]), all), None);
        let all = group(&(0..40).map(f64::from).collect::<Vec<_>>());
        assert_eq!(interval(all, all), Some([0.0, 0.0]));
    }
}
