//! Sums of `f64` values and of their products without any rounding.

use num_bigint::{BigInt, BigUint};

use super::survey::Survey;
use super::widest::{Kernel, widest};

/// Bits between neighbouring chunks.
const CHUNK_BITS: usize = 32;
/// Exponent of the lowest bit: that of the product of the two smallest numbers.
const LOWEST_EXP: i32 = 2 * -1074;
/// From the lowest bit of the smallest product to the highest of the largest, 2^64 times over.
const CHUNKS: usize = 136;
/// Additions between two carries: each adds less than `2^53` to a chunk, which holds 63 bits and a sign.
const MAX_PENDING: u32 = 512;
/// Bits of a mantissa.
const MANTISSA_BITS: usize = 53;
/// Most values that are added up in one go: so many numbers of a level's bits are below `2^63`.
pub(super) const RUN: usize = 1 << 11;
/// Bits of a term that one level of a run holds: a sign, and as many as leave the exponent of a rounder alone.
const LEVEL_BITS: i32 = 50;
/// Levels that are worth their while.
const MAX_LEVELS: i32 = 4;

/// The exact sum of any number (below 2^64) of finite `f64` values and products of two of them.
///
/// It depends on the multiset of what was added and on nothing else. A small superaccumulator: a wide integer in
/// chunks 32 bits apart, each with room for carries that are propagated now and then (R. Neal, "Fast exact summation
/// using small and large superaccumulators", 2015). Ours is wide enough for products as well.
#[derive(Clone)]
pub struct ExactSum {
    chunks: [i64; CHUNKS],
    pending: u32,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self {
            chunks: [0; CHUNKS],
            pending: 0,
        }
    }
}

impl ExactSum {
    /// The empty sum.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `v`, which must be finite.
    #[inline]
    pub fn add(&mut self, v: f64) {
        let (negative, mantissa, exp) = split(v);
        self.make_room(1);
        self.add_at(negative, mantissa, (exp - LOWEST_EXP) as usize);
    }

    /// Adds `a * b` without rounding it; both must be finite.
    #[inline]
    pub fn add_product(&mut self, a: f64, b: f64) {
        let (a_negative, a, a_exp) = split(a);
        let (b_negative, b, b_exp) = split(b);
        let product = u128::from(a) * u128::from(b);
        let low = product as u64 & ((1 << MANTISSA_BITS) - 1);
        let high = (product >> MANTISSA_BITS) as u64;
        let bit = (a_exp + b_exp - LOWEST_EXP) as usize;
        self.make_room(2);
        self.add_at(a_negative != b_negative, low, bit);
        self.add_at(a_negative != b_negative, high, bit + MANTISSA_BITS);
    }

    /// Adds all values, which must be finite: what [`ExactSum::add`] gives for each, many times faster.
    ///
    /// Of a run of values it is known between which powers of two their bits lie. Each value is taken apart into as
    /// many levels of 50 bits as that takes, by rounding it to a multiple of the level's unit (which is exact, as in
    /// J. Demmel and H. D. Nguyen, "Parallel reproducible summation", 2015); the multiples add up as integers.
    pub fn add_all(&mut self, values: &[f64]) {
        values.chunks(RUN).for_each(|run| self.add_run(run, &Survey::of(run)));
    }

    /// [`ExactSum::add_all`] of a run of values, of which something is known.
    ///
    /// # Panics
    /// If there are more than [`RUN`].
    pub(super) fn add_run(&mut self, run: &[f64], survey: &Survey) {
        let Some(span) = Span::of(survey) else { return };
        if !self.add_terms(run, span, |v| v) {
            run.iter().for_each(|&v| self.add(v));
        }
    }

    /// Adds the square of each value of such a run.
    ///
    /// # Panics
    /// If there are more than [`RUN`].
    pub(super) fn add_squares(&mut self, run: &[f64], survey: &Survey) {
        let Some(span) = Span::of(survey) else { return };
        let added = if span.is_exact_squared() {
            self.add_terms(run, span.squared(), |v| v * v)
        } else {
            // A product is its rounded value and the error of that, which is an `f64` as well (Dekker 1971).
            span.squared().is_normal()
                && span.rounded_squares().n_levels() <= MAX_LEVELS
                && span.errors_of_squares().n_levels() <= MAX_LEVELS
                && self.add_terms(run, span.rounded_squares(), |v| v * v)
                && self.add_terms(run, span.errors_of_squares(), |v| v.mul_add(v, -(v * v)))
        };
        if !added {
            run.iter().for_each(|&v| self.add_product(v, v));
        }
    }

    /// Adds a term of each value of a run; adds nothing, and says so, where the terms' bits lie too far apart.
    fn add_terms(&mut self, run: &[f64], span: Span, term: impl Fn(f64) -> f64) -> bool {
        assert!(run.len() <= RUN, "a run has at most {RUN} values");
        if !span.is_normal() {
            return false;
        }
        match span.n_levels() {
            ..=1 => self.add_levels::<1>(run, span, term),
            2 => self.add_levels::<2>(run, span, term),
            3 => self.add_levels::<3>(run, span, term),
            MAX_LEVELS => self.add_levels::<4>(run, span, term),
            _ => return false,
        }
        true
    }

    fn add_levels<const LEVELS: usize>(&mut self, run: &[f64], span: Span, term: impl Fn(f64) -> f64) {
        let units: [i32; LEVELS] = std::array::from_fn(|level| span.unit(level));
        for (sum, unit) in widest(AddUp(run, units.map(rounder), term)).into_iter().zip(units) {
            // Each half has fewer bits than an `f64`.
            let (high, low) = (sum >> 32, sum & 0xffff_ffff);
            self.add(high as f64 * power(unit + 32));
            self.add(low as f64 * power(unit));
        }
    }

    /// Adds everything `other` holds.
    pub fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        other.carry();
        self.carry();
        self.chunks.iter_mut().zip(&other.chunks).for_each(|(a, b)| *a += b);
        self.pending = 1;
    }

    /// The sum as `integer * 2^exponent`, without rounding; the integer is odd, or 0.
    #[must_use]
    pub fn to_big(&self) -> (BigInt, i32) {
        let mut carried = self.clone();
        carried.carry();
        let (top, digits) = carried.chunks.split_last().expect("there are chunks");
        let digits = digits.iter().map(|&chunk| chunk as u32).collect();
        let sum = (BigInt::from(*top) << (CHUNK_BITS * (CHUNKS - 1))) + BigInt::from(BigUint::new(digits));
        let zeros = sum.trailing_zeros().unwrap_or(0);
        (sum >> zeros, LOWEST_EXP + zeros as i32)
    }

    /// The sum, rounded once to the nearest `f64` (ties to even); infinite where it is beyond the largest.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        let (sum, exp) = self.to_big();
        super::round_ratio(&sum, &BigUint::from(1u32), i64::from(exp))
    }

    #[inline]
    fn make_room(&mut self, additions: u32) {
        if self.pending + additions > MAX_PENDING {
            self.carry();
        }
        self.pending += additions;
    }

    /// Adds `mantissa * 2^bit` (in units of the lowest bit), `mantissa < 2^53`.
    #[inline]
    fn add_at(&mut self, negative: bool, mantissa: u64, bit: usize) {
        let (chunk, shift) = (bit / CHUNK_BITS, bit % CHUNK_BITS);
        let low = i64::from((mantissa << shift) as u32);
        let high = (mantissa >> (CHUNK_BITS - shift)) as i64;
        // Negation without a branch: -x = !x + 1.
        let mask = -i64::from(negative);
        self.chunks[chunk] += (low ^ mask) - mask;
        self.chunks[chunk + 1] += (high ^ mask) - mask;
    }

    /// Brings every chunk but the last into `0 .. 2^32`: the one way to write this sum.
    fn carry(&mut self) {
        let mut carry = 0;
        let (top, lower) = self.chunks.split_last_mut().expect("there are chunks");
        for chunk in lower {
            let sum = *chunk + carry;
            carry = sum >> CHUNK_BITS;
            *chunk = sum & 0xffff_ffff;
        }
        *top += carry;
        self.pending = 0;
    }
}

impl PartialEq for ExactSum {
    fn eq(&self, other: &Self) -> bool {
        self.to_big() == other.to_big()
    }
}

impl std::fmt::Debug for ExactSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExactSum({:?})", self.to_f64())
    }
}

/// Between which powers of two the bits of all values of a run lie.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// All magnitudes are below `2^top`.
    top: i32,
    /// No magnitude but 0 is below `2^bottom`.
    bottom: i32,
    /// All values are multiples of `2^lowest`.
    lowest: i32,
}

impl Span {
    /// `None` where all values are 0.
    fn of(survey: &Survey) -> Option<Self> {
        let reach = survey.reach();
        debug_assert!(reach.is_finite(), "only finite values can be added");
        let bottom = exponent(survey.smallest);
        let n_zeros = (survey.bits | 1 << (MANTISSA_BITS - 1)).trailing_zeros() as i32;
        (reach > 0.0).then(|| Self {
            top: exponent(reach) + 1,
            bottom,
            lowest: bottom - (MANTISSA_BITS as i32 - 1) + n_zeros,
        })
    }

    /// Whether arithmetic with such numbers, and with those that take them apart, stays among normal ones.
    fn is_normal(self) -> bool {
        self.top <= 900 && self.lowest.min(self.bottom) >= -900
    }

    /// The exponent of a level's unit. What a level leaves is at most half of its unit.
    fn unit(self, level: usize) -> i32 {
        self.top - LEVEL_BITS - (LEVEL_BITS + 1) * level as i32
    }

    /// Levels until every value is a multiple of the last one's unit.
    fn n_levels(self) -> i32 {
        (self.top - self.lowest + 1 + LEVEL_BITS) / (LEVEL_BITS + 1)
    }

    /// Whether squares have no more bits than an `f64`.
    fn is_exact_squared(self) -> bool {
        let n_bits = self.bottom + 1 - self.lowest;
        2 * n_bits <= MANTISSA_BITS as i32
    }

    fn squared(self) -> Self {
        Self {
            top: 2 * self.top,
            bottom: 2 * self.bottom,
            lowest: 2 * self.lowest,
        }
    }

    /// Those of squares rounded to `f64`: to a multiple of the last bit of the least.
    fn rounded_squares(self) -> Self {
        let squared = self.squared();
        Self {
            lowest: squared.lowest.max(squared.bottom + 1 - MANTISSA_BITS as i32),
            ..squared
        }
    }

    /// Those of what that takes away: at most half of the last bit of the largest.
    fn errors_of_squares(self) -> Self {
        let squared = self.squared();
        Self {
            top: squared.top - MANTISSA_BITS as i32,
            bottom: squared.lowest,
            ..squared
        }
    }
}

/// `2^exp`, for exponents of normal numbers.
fn power(exp: i32) -> f64 {
    f64::from_bits(((exp + 1023) as u64) << 52)
}

/// Adding and taking away this number rounds to a multiple of `2^unit`; the last bits of the sum are the multiple.
fn rounder(unit: i32) -> f64 {
    1.5 * power(unit + MANTISSA_BITS as i32 - 1)
}

/// `e` with `2^e <= v < 2^(e + 1)`, for a positive normal `v`; -1023 below those.
fn exponent(v: f64) -> i32 {
    (v.to_bits() >> 52) as i32 - 1023
}

/// The sum of a term of all values in each level, in units; what the last one leaves is 0.
///
/// Integer arithmetic wherever values meet, which the compiler may reorder, and hence vectorise.
struct AddUp<'v, const LEVELS: usize, F: Fn(f64) -> f64>(&'v [f64], [f64; LEVELS], F);

impl<const LEVELS: usize, F: Fn(f64) -> f64> Kernel for AddUp<'_, LEVELS, F> {
    type Output = [i64; LEVELS];

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Self(values, rounders, term) = self;
        let mut sums = [0u64; LEVELS];
        for &v in values {
            let mut rest = term(v);
            for level in 0..LEVELS {
                let rounded = rest + rounders[level];
                rest -= rounded - rounders[level];
                sums[level] = sums[level].wrapping_add(rounded.to_bits());
            }
        }
        let n = values.len() as u64;
        std::array::from_fn(|level| sums[level].wrapping_sub(n.wrapping_mul(rounders[level].to_bits())) as i64)
    }
}

/// Sign, mantissa and exponent: `v = mantissa * 2^exponent`.
#[inline]
fn split(v: f64) -> (bool, u64, i32) {
    debug_assert!(v.is_finite(), "only finite values can be added");
    let bits = v.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let exp = (bits >> 52 & 0x7ff) as i32;
    let normal = u64::from(exp != 0);
    (bits >> 63 != 0, fraction | normal << 52, exp.max(1) - 1075)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum_of(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::new();
        values.iter().for_each(|&v| sum.add(v));
        sum
    }

    /// The oracle: every value as an integer in units of `2^-1074`, or its square in units of `2^-2148`.
    fn big(v: f64) -> BigInt {
        let (negative, mantissa, exp) = split(v);
        let magnitude = BigInt::from(mantissa) << (exp + 1074) as u32;
        if negative { -magnitude } else { magnitude }
    }

    fn same(sum: &ExactSum, units: &BigInt, exp: i32) -> bool {
        let (found, found_exp) = sum.to_big();
        (found << (found_exp - LOWEST_EXP) as u32) == units << (exp - LOWEST_EXP) as u32
    }

    fn finite() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(|bits| {
                let v = f64::from_bits(bits);
                if v.is_finite() {
                    v
                } else {
                    f64::from_bits(bits & !(1 << 62))
                }
            }),
            -1e6..1e6f64,
            (-1000i32..1000).prop_map(f64::from),
        ]
    }

    proptest! {
        #[test]
        fn sums_and_products_are_those_of_big_integers(values in proptest::collection::vec(finite(), 0..40)) {
            let sum = sum_of(&values);
            prop_assert!(same(&sum, &values.iter().map(|&v| big(v)).sum(), -1074));
            let mut squares = ExactSum::new();
            let mut expected = BigInt::ZERO;
            for pair in values.windows(2) {
                squares.add_product(pair[0], pair[1]);
                expected += big(pair[0]) * big(pair[1]);
            }
            prop_assert!(same(&squares, &expected, -2148));
        }

        #[test]
        fn order_and_split_change_nothing(values in proptest::collection::vec(finite(), 0..40), cut in 0usize..40) {
            let sum = sum_of(&values);
            let mut turned = values.clone();
            turned.reverse();
            prop_assert_eq!(&sum, &sum_of(&turned));
            let cut = cut.min(values.len());
            let mut merged = sum_of(&values[..cut]);
            merged.merge(&sum_of(&values[cut..]));
            prop_assert_eq!(&sum, &merged);
            prop_assert_eq!(sum.to_f64().to_bits(), merged.to_f64().to_bits());
        }
    }

    /// Values whose runs take every path: of one size and of all sizes, with few bits and with many, zeros among them.
    fn runs() -> impl Strategy<Value = Vec<f64>> {
        let near = prop_oneof![
            -1e6..1e6f64,
            (-1e3..1e3f32).prop_map(f64::from),
            (-9i32..9).prop_map(f64::from),
            (-60.0..60.0f64).prop_map(f64::exp2),
        ];
        prop_oneof![
            proptest::collection::vec(near, 0..2 * RUN),
            proptest::collection::vec(-1e-3..1e3f64, 0..2 * RUN),
            proptest::collection::vec((-1e3..1e3f32).prop_map(f64::from), 0..2 * RUN),
            proptest::collection::vec(finite(), 0..50),
        ]
    }

    proptest! {
        #[test]
        fn runs_give_what_one_after_the_other_gives(values in runs(), exp in prop_oneof![Just(0i32), -1000..1000i32]) {
            let values: Vec<f64> = values.into_iter().map(|v| v * 2f64.powi(exp)).filter(|v| v.is_finite()).collect();
            let (mut sum, mut sum_sq) = (ExactSum::new(), ExactSum::new());
            for run in values.chunks(RUN) {
                let survey = Survey::of(run);
                sum.add_run(run, &survey);
                sum_sq.add_squares(run, &survey);
            }
            let mut products = ExactSum::new();
            values.iter().for_each(|&v| products.add_product(v, v));
            prop_assert!(sum == sum_of(&values));
            prop_assert!(sum_sq == products);
            let mut alone = ExactSum::new();
            alone.add_all(&values);
            prop_assert!(alone == sum);
        }
    }

    #[test]
    fn the_oracle_sees_a_difference_of_the_last_bit() {
        assert!(same(&sum_of(&[1.0]), &big(1.0), -1074));
        assert!(!same(&sum_of(&[1.0]), &big(1.0f64.next_up()), -1074));
        assert_ne!(sum_of(&[1.0]), sum_of(&[1.0, f64::from_bits(1)]));
    }

    #[test]
    fn many_additions_to_one_chunk_carry_in_time() {
        for v in [f64::MAX.sqrt(), -(2f64.powi(53) - 1.0), 1e-308] {
            let mut sum = ExactSum::new();
            (0..10_000).for_each(|_| sum.add(v));
            assert!(same(&sum, &(big(v) * 10_000), -1074), "{v}");
            let mut squares = ExactSum::new();
            (0..10_000).for_each(|_| squares.add_product(v, v));
            assert!(same(&squares, &(big(v) * big(v) * 10_000), -2148), "{v}");
        }
    }

    #[test]
    fn what_cancels_is_gone() {
        assert_eq!(sum_of(&[1e300, 1.0, -1e300]).to_f64(), 1.0);
        assert_eq!(sum_of(&[-0.0]).to_f64().to_bits(), 0);
        assert_eq!(sum_of(&[0.1; 10]).to_f64(), 1.0); // plain additions give 0.9999999999999999
        assert_eq!(sum_of(&[f64::MAX, f64::MAX]).to_f64(), f64::INFINITY);
    }
}
