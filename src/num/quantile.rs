//! Exact quantiles by selection.

/// The quantile `q` (0 to 1) of `values`, which it reorders: linear between the two nearest ranks, as numpy's default.
///
/// Depends on the multiset of values alone.
///
/// # Panics
/// If there is no value, or `q` is outside 0 to 1.
#[must_use]
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    assert!(!values.is_empty() && (0.0..=1.0).contains(&q), "values, and a share");
    let rank = q * (values.len() - 1) as f64;
    let (at, share) = (rank.floor() as usize, rank.fract());
    let (_, &mut low, above) = values.select_nth_unstable_by(at, f64::total_cmp);
    if share == 0.0 {
        return low;
    }
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    let gap = high - low;
    // From the nearer end, so that the result never leaves [low, high].
    if share < 0.5 {
        low + gap * share
    } else {
        high - gap * (1.0 - share)
    }
}

/// The middle value, or the mean of the two middle ones; reorders `values`.
///
/// # Panics
/// If there is no value.
#[must_use]
pub fn median(values: &mut [f64]) -> f64 {
    let n = values.len();
    assert!(n > 0, "values");
    let (below, &mut high, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return high;
    }
    let low = below.iter().copied().max_by(f64::total_cmp).unwrap_or(high);
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        let values = [7.0, 1.0, 3.0, 2.0, 10.0, 4.0];
        for (q, expected) in [(0.0, 1.0), (0.25, 2.25), (0.5, 3.5), (0.75, 6.25), (1.0, 10.0)] {
            assert_eq!(quantile(&mut values.clone(), q), expected, "q = {q}");
        }
        assert_eq!(quantile(&mut [5.0], 0.3), 5.0);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut [-1.0]), -1.0);
    }
}
