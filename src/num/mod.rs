//! Layer 0: numbers that do not depend on the order in which they were added up.

pub(crate) mod distinct;
pub mod exact_sum;
pub(crate) mod logs;
pub mod moments;
pub mod quantile;
mod rounding;
pub(crate) mod shape;
pub(crate) mod survey;
pub(crate) mod widest;

pub use exact_sum::ExactSum;
pub use moments::Moments;
pub(crate) use rounding::round_ratio;

/// Least and largest of `values`, none of which is NaN; infinities the wrong way round where there are none.
pub(crate) fn range(values: &[f64]) -> (f64, f64) {
    widest::widest(Range(values))
}

struct Range<'v>(&'v [f64]);

impl widest::Kernel for Range<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run(self) -> (f64, f64) {
        // As integers in the order of the values: reordering those is the compiler's to do.
        let (mut least, mut largest) = (ordered(f64::INFINITY), ordered(f64::NEG_INFINITY));
        for &v in self.0 {
            least = least.min(ordered(v));
            largest = largest.max(ordered(v));
        }
        (in_order(least), in_order(largest))
    }
}

/// An integer that rises with `v`.
#[inline(always)]
fn ordered(v: f64) -> i64 {
    let bits = v.to_bits() as i64;
    bits ^ (bits >> 63 & i64::MAX)
}

/// The way back from [`ordered`].
fn in_order(ordered: i64) -> f64 {
    f64::from_bits((ordered ^ (ordered >> 63 & i64::MAX)) as u64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_range_is_that_of_all_values() {
        for n in 0..40 {
            let values: Vec<f64> = (0..n).map(|i| f64::from(i * 7 % 11) - 3.0).collect();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert_eq!(super::range(&values), (least, largest));
        }
    }
}
