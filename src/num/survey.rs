//! What has to be known of values before they are added up, found in one loop over them.

use super::widest::{Kernel, widest};

/// Values that are looked at at a time. Each place has extremes of its own: what the compiler need not reorder, it
/// vectorises.
const LANES: usize = 16;

/// Extremes of the values that are not missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Survey {
    /// The least value; infinite where there is none.
    pub(crate) least: f64,
    /// The largest value; minus infinity where there is none.
    pub(crate) largest: f64,
    /// The least magnitude but 0; infinite where there is none.
    pub(crate) smallest: f64,
    /// The mantissa's bits that some value has.
    pub(crate) bits: u64,
    /// How many are NaN.
    pub(crate) n_missing: usize,
    /// Whether some value is no `f32`.
    pub(crate) is_wide: bool,
}

impl Survey {
    /// Of values none of which is missing.
    pub(crate) fn of(values: &[f64]) -> Self {
        widest(Look(values))
    }

    /// Of values in which it puts 0 in the place of each NaN: what adds nothing to a sum.
    pub(crate) fn filling(values: &mut [f64]) -> Self {
        widest(Fill(values))
    }

    /// [`Survey::filling`], which writes the values before, as `f32`s, to `narrow`: with an error where one `is_wide`.
    ///
    /// # Panics
    /// If there is not one place per value.
    pub(crate) fn narrowing(values: &mut [f64], narrow: &mut [f32]) -> Self {
        assert_eq!(values.len(), narrow.len(), "one place per value");
        widest(Narrow(values, narrow))
    }

    /// The largest magnitude.
    pub(crate) fn reach(&self) -> f64 {
        self.largest.max(-self.least).max(0.0)
    }
}

/// Extremes of the values in each place.
struct Seen {
    least: [f64; LANES],
    largest: [f64; LANES],
    smallest: [f64; LANES],
    bits: [u64; LANES],
    n_missing: [u64; LANES],
    n_wide: [u64; LANES],
}

impl Seen {
    #[inline(always)]
    fn nothing() -> Self {
        Self {
            least: [f64::INFINITY; LANES],
            largest: [f64::NEG_INFINITY; LANES],
            smallest: [f64::INFINITY; LANES],
            bits: [0; LANES],
            n_missing: [0; LANES],
            n_wide: [0; LANES],
        }
    }

    /// No comparison holds of NaN.
    #[inline(always)]
    fn see(&mut self, lane: usize, v: f64) {
        self.least[lane] = if v < self.least[lane] { v } else { self.least[lane] };
        self.largest[lane] = if v > self.largest[lane] { v } else { self.largest[lane] };
        let magnitude = if v == 0.0 { f64::INFINITY } else { v.abs() };
        let smallest = self.smallest[lane];
        self.smallest[lane] = if magnitude < smallest { magnitude } else { smallest };
        self.bits[lane] |= v.to_bits();
    }

    #[inline(always)]
    fn see_missing(&mut self, lane: usize, v: f64) -> f64 {
        self.n_missing[lane] += u64::from(v.is_nan());
        if v.is_nan() { 0.0 } else { v }
    }

    #[inline(always)]
    fn see_width(&mut self, lane: usize, v: f64) -> f32 {
        let narrow = v as f32;
        self.n_wide[lane] += u64::from(f64::from(narrow) != v) & u64::from(!v.is_nan());
        narrow
    }

    #[inline(always)]
    fn survey(self) -> Survey {
        Survey {
            least: self.least.into_iter().fold(f64::INFINITY, f64::min),
            largest: self.largest.into_iter().fold(f64::NEG_INFINITY, f64::max),
            smallest: self.smallest.into_iter().fold(f64::INFINITY, f64::min),
            bits: self.bits.into_iter().fold(0, |all, bits| all | bits) & ((1 << 52) - 1),
            n_missing: self.n_missing.into_iter().sum::<u64>() as usize,
            is_wide: self.n_wide.into_iter().any(|n| n > 0),
        }
    }
}

struct Look<'v>(&'v [f64]);

impl Kernel for Look<'_> {
    type Output = Survey;

    #[inline(always)]
    fn run(self) -> Survey {
        let mut seen = Seen::nothing();
        let (runs, rest) = self.0.as_chunks::<LANES>();
        for run in runs {
            { run.iter().enumerate() }.for_each(|(lane, &v)| seen.see(lane, v));
        }
        { rest.iter().enumerate() }.for_each(|(lane, &v)| seen.see(lane, v));
        seen.survey()
    }
}

struct Fill<'v>(&'v mut [f64]);

impl Kernel for Fill<'_> {
    type Output = Survey;

    #[inline(always)]
    fn run(self) -> Survey {
        let mut seen = Seen::nothing();
        let (runs, rest) = self.0.as_chunks_mut::<LANES>();
        for run in runs {
            for (lane, v) in run.iter_mut().enumerate() {
                seen.see(lane, *v);
                *v = seen.see_missing(lane, *v);
            }
        }
        for (lane, v) in rest.iter_mut().enumerate() {
            seen.see(lane, *v);
            *v = seen.see_missing(lane, *v);
        }
        seen.survey()
    }
}

struct Narrow<'v>(&'v mut [f64], &'v mut [f32]);

impl Kernel for Narrow<'_> {
    type Output = Survey;

    #[inline(always)]
    fn run(self) -> Survey {
        let mut seen = Seen::nothing();
        let (runs, rest) = self.0.as_chunks_mut::<LANES>();
        let (narrow_runs, narrow_rest) = self.1.as_chunks_mut::<LANES>();
        for (run, narrow) in runs.iter_mut().zip(narrow_runs) {
            for (lane, (v, narrow)) in run.iter_mut().zip(narrow).enumerate() {
                seen.see(lane, *v);
                *narrow = seen.see_width(lane, *v);
                *v = seen.see_missing(lane, *v);
            }
        }
        for (lane, (v, narrow)) in rest.iter_mut().zip(narrow_rest).enumerate() {
            seen.see(lane, *v);
            *narrow = seen.see_width(lane, *v);
            *v = seen.see_missing(lane, *v);
        }
        seen.survey()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oracle: one value after the other.
    fn plainly(values: &[f64]) -> Survey {
        let present = || values.iter().copied().filter(|v| !v.is_nan());
        let magnitudes = present().map(f64::abs).filter(|v| *v > 0.0);
        Survey {
            least: present().fold(f64::INFINITY, f64::min),
            largest: present().fold(f64::NEG_INFINITY, f64::max),
            smallest: magnitudes.fold(f64::INFINITY, f64::min),
            bits: values.iter().fold(0, |all, v| all | v.to_bits()) & ((1 << 52) - 1),
            n_missing: values.iter().filter(|v| v.is_nan()).count(),
            is_wide: present().any(|v| f64::from(v as f32) != v),
        }
    }

    fn values(n: u32, gaps: bool) -> Vec<f64> {
        let value = |i: u32| match i * 7 % 11 {
            3 if gaps => f64::NAN,
            5 => 0.0,
            other => (f64::from(other) - 4.5) * f64::from(i % 5 + 1),
        };
        (0..n).map(value).collect()
    }

    #[test]
    fn every_way_of_looking_finds_the_same() {
        for n in 0..70 {
            let whole = values(n, false);
            assert_eq!(Survey::of(&whole), plainly(&whole));
            let gaps = values(n, true);
            let filled: Vec<f64> = gaps.iter().map(|v| if v.is_nan() { 0.0 } else { *v }).collect();
            let (mut one, mut other) = (gaps.clone(), gaps.clone());
            assert_eq!(Survey::filling(&mut one), plainly(&gaps));
            let mut narrow = vec![9.0; gaps.len()];
            assert_eq!(Survey::narrowing(&mut other, &mut narrow), plainly(&gaps));
            assert_eq!((&one, &other), (&filled, &filled));
            assert!({ narrow.iter().zip(&gaps) }.all(|(n, v)| n.is_nan() == v.is_nan()));
            assert!({ narrow.iter().zip(&gaps) }.all(|(n, v)| n.is_nan() || f64::from(*n) == *v));
        }
    }

    #[test]
    fn a_single_value_that_is_no_f32_is_seen_wherever_it_stands() {
        for at in 0..40 {
            let mut whole = values(40, true);
            whole[at] = 0.1;
            assert!(Survey::narrowing(&mut whole, &mut [0.0; 40]).is_wide, "{at}");
        }
        let mut infinite = [f64::NEG_INFINITY, 1.0];
        let survey = Survey::narrowing(&mut infinite, &mut [0.0; 2]);
        assert_eq!((survey.reach(), survey.is_wide), (f64::INFINITY, false));
    }
}
