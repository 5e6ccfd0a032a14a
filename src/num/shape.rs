//! What a distribution looks like, in bounded memory: counts of values by sign, power of two and sixteenth of it.
//!
//! Counts are integers, so the shape of a union is the sum of the shapes, in any order. Figures drawn from them are
//! good to a 32nd of the value (the idea is that of DDSketch: C. Masson, J. Rim, H. Lee, VLDB 2019).

use super::logs::signed_ln_1p;
use super::widest::{Kernel, widest};

/// Counters of a page: the values of one sign and exponent.
const PAGE: usize = 16;
/// Bits of a value below those that choose its counter.
const SHIFT: u32 = 48;
/// Signs times exponents.
const PAGES: usize = 1 << 12;
/// Counters of one sign.
const SIGN: usize = PAGE * PAGES / 2;
/// The first counter of magnitudes that most values have: from `2^-32` to below `2^32`.
const NEAR_START: usize = (1023 - 32) * PAGE;
/// Counters of those magnitudes.
const NEAR: usize = 64 * PAGE;
/// The counter of 0, behind those of both signs, and the place of what is counted elsewhere.
const ZERO: usize = 2 * NEAR;
const FAR: usize = ZERO + 1;
/// Places that a counter's number, cut to so many bits, may name.
const PLACES: usize = 4 * NEAR;
/// Values whose counters are found before any of them is counted.
const RUN: usize = 256;

/// Counts of values by magnitude. Takes some kilobytes, whatever the number of values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    /// Those of magnitudes near 1, of positive values and then of negative ones, and of 0.
    near: Vec<u64>,
    /// All others.
    pages: Vec<Option<Box<[u64; PAGE]>>>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            near: vec![0; PLACES],
            pages: vec![None; PAGES],
        }
    }
}

impl Shape {
    /// Adds values, which must be finite and not -0.
    pub(crate) fn add_all(&mut self, values: &[f64]) {
        self.add_with_gaps(values, 0);
    }

    /// Adds values, so many of which are missing and stand there as 0.
    pub(crate) fn add_with_gaps(&mut self, values: &[f64], n_gaps: usize) {
        let near: &mut [u64; PLACES] = (&mut self.near[..]).try_into().expect("the counters near 1");
        let mut places = [0u16; RUN];
        for run in values.chunks(RUN) {
            widest(Places(run, &mut places));
            // No bound to check, and no branch that depends on a value.
            for &place in &places[..run.len()] {
                near[usize::from(place) % PLACES] += 1;
            }
            if near[FAR] == 0 {
                continue;
            }
            near[FAR] = 0;
            for (v, _) in run.iter().zip(places).filter(|(_, place)| usize::from(*place) == FAR) {
                let at = (v.to_bits() >> SHIFT) as usize;
                let page = self.pages[at / PAGE].get_or_insert_with(|| Box::new([0; PAGE]));
                page[at % PAGE] += 1;
            }
        }
        near[ZERO] -= n_gaps as u64;
    }

    /// Adds the values of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.near
            .iter_mut()
            .zip(&other.near)
            .for_each(|(own, other)| *own += other);
        for (own, other) in self.pages.iter_mut().zip(&other.pages) {
            if let Some(other) = other {
                let own = own.get_or_insert_with(|| Box::new([0; PAGE]));
                own.iter_mut().zip(&**other).for_each(|(own, other)| *own += other);
            }
        }
    }

    /// The counter of the value of a rank, from 0 for the least of all values, how many values lie in those below, and how
    /// many in it.
    ///
    /// # Panics
    /// If there are not so many values.
    pub(crate) fn place_of_rank(&self, rank: u64) -> (Place, u64, u64) {
        let mut below = 0;
        let with_value = { self.counters() }.filter(|(_, count)| *count > 0);
        let mut counters: Vec<(usize, u64)> = with_value.collect();
        counters.sort_by(|a, b| lowest(a.0).total_cmp(&lowest(b.0)));
        // Those of 0 and of the numbers nearest to it are told apart by no bit that chooses a counter.
        for alike in counters.chunk_by(|a, b| a.0 == b.0) {
            let count: u64 = alike.iter().map(|(_, count)| count).sum();
            if rank < below + count {
                return (Place(alike[0].0 as u16), below, count);
            }
            below += count;
        }
        panic!("no value has rank {rank} of {below}")
    }

    /// All counters, by the bits that choose them.
    fn counters(&self) -> impl Iterator<Item = (usize, u64)> {
        let near = self.near[..2 * NEAR].iter().enumerate();
        let near = near.map(|(at, &count)| (at / NEAR * SIGN + NEAR_START + at % NEAR, count));
        let pages = self.pages.iter().enumerate();
        let far = pages.flat_map(|(number, page)| {
            let counts = page.iter().flat_map(|page| page.iter().enumerate());
            counts.map(move |(at, &count)| (number * PAGE + at, count))
        });
        near.chain([(0, self.near[ZERO])]).chain(far)
    }

    /// Representative values with their counts, rising.
    fn bins(&self) -> Vec<(f64, u64)> {
        let with_value = self.counters().filter(|(_, count)| *count > 0).map(|(at, count)| {
            let [low, next] = [at, at + 1].map(|at| f64::from_bits((at as u64) << SHIFT));
            // Integers up to 16 and 0 stand for themselves; others for the middle of their bin.
            let stands_for_itself = low.abs() <= 16.0 && low.fract() == 0.0;
            (
                if stands_for_itself {
                    low
                } else {
                    f64::midpoint(low, next)
                },
                count,
            )
        });
        let mut bins: Vec<(f64, u64)> = with_value.collect();
        bins.sort_by(|a, b| a.0.total_cmp(&b.0));
        bins
    }

    /// The value below which a share `q` of the values lie; `None` where there are none.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        quantile(&self.bins(), q)
    }

    /// The share of values below `low` or above `high`.
    pub(crate) fn share_outside(&self, low: f64, high: f64) -> f64 {
        let bins = self.bins();
        let count =
            |outside: &dyn Fn(f64) -> bool| -> u64 { bins.iter().filter(|bin| outside(bin.0)).map(|bin| bin.1).sum() };
        count(&|v| v < low || v > high) as f64 / count(&|_| true).max(1) as f64
    }

    /// The skewness of the values.
    pub(crate) fn skewness(&self) -> f64 {
        skewness(&self.bins(), |v| v)
    }

    /// Two units of a logarithm that might bend these values, each with the skewness once it has. First 1 (or, where
    /// the median is less, or negative values are there so that what lies around 0 must not be torn apart, the second);
    /// then the power of two at or below the median of what is not 0.
    pub(crate) fn log_units(&self) -> [(f64, f64); 2] {
        let bins = self.bins();
        let signed = bins.first().is_some_and(|bin| bin.0 < 0.0);
        let mut magnitudes: Vec<(f64, u64)> = bins
            .iter()
            .map(|&(v, n)| (v.abs(), n))
            .filter(|bin| bin.0 > 0.0)
            .collect();
        magnitudes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let middle = quantile(&magnitudes, 0.5).unwrap_or(1.0);
        let power = f64::from_bits(middle.to_bits() & 0x7ff0_0000_0000_0000).max(f64::MIN_POSITIVE);
        let first = if signed { power } else { power.min(1.0) };
        [first, power].map(|unit| (unit, skewness(&bins, |v| signed_ln_1p(v / unit))))
    }
}

/// A counter: the values of one sign, power of two and sixteenth of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place(u16);

impl Place {
    /// Appends those of the values that are counted here.
    pub(crate) fn pick(self, values: &[f64], picked: &mut Vec<f64>) {
        // Room for all, so that no branch depends on a value.
        let (first, mut n) = (picked.len(), 0);
        picked.resize(first + values.len(), 0.0);
        let room = &mut picked[first..];
        for &v in values {
            room[n.min(values.len() - 1)] = v;
            n += usize::from((v.to_bits() >> SHIFT) as u16 == self.0);
        }
        picked.truncate(first + n);
    }
}

/// The magnitude nearest to 0 that a counter counts, with its sign.
fn lowest(at: usize) -> f64 {
    f64::from_bits((at as u64) << SHIFT)
}

/// The counter of each value.
struct Places<'v>(&'v [f64], &'v mut [u16; RUN]);

impl Kernel for Places<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (place, v) in self.1.iter_mut().zip(self.0) {
            let at = (v.to_bits() >> SHIFT) as u16;
            let (negative, magnitude) = (at / SIGN as u16, at % SIGN as u16);
            let from_start = magnitude.wrapping_sub(NEAR_START as u16);
            let near = (negative * NEAR as u16).wrapping_add(from_start);
            let far = if v.to_bits() == 0 { ZERO as u16 } else { FAR as u16 };
            *place = if from_start < NEAR as u16 { near } else { far };
        }
    }
}

fn quantile(bins: &[(f64, u64)], q: f64) -> Option<f64> {
    let total: u64 = bins.iter().map(|bin| bin.1).sum();
    let rank = (q * total.saturating_sub(1) as f64).floor() as u64;
    let mut below = 0;
    bins.iter()
        .find(|bin| {
            below += bin.1;
            below > rank
        })
        .map(|bin| bin.0)
}

/// The third standardised moment; 0 where nothing varies. Adds up in one fixed order.
fn skewness(bins: &[(f64, u64)], of: impl Fn(f64) -> f64) -> f64 {
    let total: f64 = bins.iter().map(|bin| bin.1 as f64).sum();
    let reach = bins.iter().map(|bin| of(bin.0).abs()).fold(0.0, f64::max);
    if reach == 0.0 {
        return 0.0;
    }
    // Against the largest, so that no power leaves the range.
    let bent: Vec<(f64, f64)> = bins.iter().map(|&(v, n)| (of(v) / reach, n as f64 / total)).collect();
    let mean: f64 = bent.iter().map(|(v, share)| v * share).sum();
    let moment = |power| {
        bent.iter()
            .map(|(v, share)| (v - mean).powi(power) * share)
            .sum::<f64>()
    };
    let variance = moment(2);
    if variance <= 1e-24 {
        0.0
    } else {
        moment(3) / (variance * variance.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(values: impl IntoIterator<Item = f64>) -> Shape {
        let mut shape = Shape::default();
        shape.add_all(&values.into_iter().collect::<Vec<_>>());
        shape
    }

    #[test]
    fn quantiles_are_good_to_a_32nd() {
        let values: Vec<f64> = (0..10_001).map(|i| (f64::from(i) - 2000.0) * 7.3).collect();
        let shape = shape(values.iter().copied());
        for (q, at) in [(0.0, 0), (0.1, 1000), (0.5, 5000), (0.9, 9000), (1.0, 10_000)] {
            let (found, expected): (f64, f64) = (shape.quantile(q).unwrap(), values[at]);
            assert!(
                (found - expected).abs() <= expected.abs() / 32.0 + 1e-9,
                "{q}: {found} {expected}"
            );
        }
        assert_eq!(Shape::default().quantile(0.5), None);
        assert!((shape.share_outside(0.0, 1e9) - 0.2).abs() < 1e-3 && shape.share_outside(-1e9, 1e9) == 0.0);
    }

    #[test]
    fn values_near_1_and_far_from_it_are_counted_alike() {
        let powers = [-1000, -33, -32, -31, 0, 31, 32, 500].map(|power| 2f64.powi(power));
        let values: Vec<f64> = powers.iter().flat_map(|&v| [v, -v, v * 1.03]).chain([0.0]).collect();
        let all = shape(values.iter().copied());
        assert_eq!(all.bins().iter().map(|bin| bin.1).sum::<u64>(), 25);
        let mut with_gaps = Shape::default();
        with_gaps.add_with_gaps(&[&[0.0], &values[..], &[0.0]].concat(), 2);
        assert_eq!(with_gaps, all);
        for (value, _) in all.bins() {
            assert!(values.iter().any(|v| (v - value).abs() <= v.abs() / 16.0), "{value}");
        }
        let (one, other) = values.split_at(9);
        let mut union = shape(one.iter().copied());
        union.merge(&shape(other.iter().copied()));
        assert_eq!(union, all);
        assert_ne!(union, shape(one.iter().copied()));
    }

    #[test]
    fn the_values_of_a_rank_are_found_where_they_are_counted() {
        let values: Vec<f64> = (0..3000)
            .map(|i| match i % 5 {
                0 => f64::from_bits((i % 3) as u64),
                1 => -2f64.powi(i % 90 - 40),
                _ => f64::from(i * 37 % 1001) / 8.0 - 20.0,
            })
            .collect();
        let shape = shape(values.iter().copied());
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        for (rank, value) in sorted.iter().enumerate() {
            let (place, below, count) = shape.place_of_rank(rank as u64);
            let mut picked = vec![7.0];
            place.pick(&values, &mut picked);
            picked.remove(0);
            assert_eq!(picked.len() as u64, count);
            picked.sort_by(f64::total_cmp);
            assert_eq!(picked[rank - below as usize], *value, "{rank}");
        }
    }

    #[test]
    fn skewness_of_known_shapes() {
        let even = shape((0..2000).map(|i| f64::from(i) - 1000.0));
        assert!(even.skewness().abs() < 0.01, "{}", even.skewness());
        // A Bernoulli variable of probability p: (1 - 2p) / sqrt(p (1 - p)).
        let rare = shape((0..1000).map(|i| f64::from(u8::from(i % 10 == 0))));
        assert!((rare.skewness() - 0.8 / 0.3).abs() < 1e-9);
        let powers = shape((0..1000).map(|i| (f64::from(i) / 100.0).exp()));
        let [(unit, bent), _] = powers.log_units();
        assert!(powers.skewness() > 1.5 && bent.abs() < 0.3 && unit == 1.0, "{bent}");
        assert_eq!(shape([5.0; 9]).skewness(), 0.0);
        assert!(shape([1e150, -1e150, 3.0]).skewness().is_finite());
    }

    #[test]
    fn the_unit_follows_small_and_signed_values() {
        assert_eq!(
            shape((1..100).map(|i| f64::from(i) / 1e4)).log_units()[0].0,
            2f64.powi(-8)
        );
        assert_eq!(shape((-50..1000).map(f64::from)).log_units()[0].0, 256.0);
        assert_eq!(
            shape((1..1000).map(f64::from)).log_units().map(|unit| unit.0),
            [1.0, 256.0]
        );
    }

    #[test]
    fn order_does_not_show() {
        let values: Vec<f64> = (0..500).map(|i| f64::from(i * 37 % 101) - 50.0).collect();
        let mut parts = shape(values[200..].iter().copied());
        parts.add_all(&values[..200]);
        assert_eq!(parts, shape(values.iter().copied()));
        assert_ne!(parts, shape(values[1..].iter().copied()));
    }
}
