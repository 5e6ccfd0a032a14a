//! Sums of `f64` values and of their products without any rounding.

use num_bigint::{BigInt, BigUint};

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
/// Values that [`ExactSum::add_all`] adds up in `f64` before it turns to the wide integer.
const RUN: usize = 1 << 10;
/// Bits of a value that one level of a run holds: `RUN` sums of so many stay below `2^53`.
const LEVEL_BITS: i32 = 40;
/// Magnitudes between which the parts of a square are exact in `f64`: `2^-480` and `2^480`.
const SQUARES: std::ops::Range<i32> = -480..480;

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
    /// A run of values is taken apart into levels of 40 bits below its largest, by rounding each value to a multiple
    /// of the level's unit (which is exact, as in J. Demmel and H. D. Nguyen, "Parallel reproducible summation",
    /// 2015); the sum of a level is an integer below `2^53` times its unit, so `f64` holds it. What the levels do not
    /// hold, seldom anything, is added on its own.
    pub fn add_all(&mut self, values: &[f64]) {
        values
            .chunks(RUN)
            .for_each(|run| self.add_values(run, &Magnitudes::of(run)));
    }

    /// [`ExactSum::add_all`] of the values to `sum`, and of their squares to `sum_sq`.
    pub(super) fn add_all_with_squares(sum: &mut Self, sum_sq: &mut Self, values: &[f64]) {
        for run in values.chunks(RUN) {
            let magnitudes = Magnitudes::of(run);
            sum.add_values(run, &magnitudes);
            sum_sq.add_squares(run, &magnitudes);
        }
    }

    fn add_values(&mut self, run: &[f64], magnitudes: &Magnitudes) {
        if let Some(top) = magnitudes.top {
            self.add_run::<2>(run, top, Term::Value);
        }
    }

    fn add_squares(&mut self, run: &[f64], magnitudes: &Magnitudes) {
        let Some(top) = magnitudes.top else { return };
        if top > SQUARES.end || magnitudes.bottom < SQUARES.start {
            return run.iter().for_each(|&v| self.add_product(v, v));
        }
        self.add_run::<3>(run, 2 * top, Term::HighSquare);
        if magnitudes.wide {
            // The low half of a value is at most 2^-26 of it.
            self.add_run::<3>(run, 2 * top - 24, Term::Cross);
            self.add_run::<3>(run, 2 * top - 50, Term::LowSquare);
        }
    }

    /// Adds one term of each value of a run; all terms are at most `2^top`.
    fn add_run<const LEVELS: usize>(&mut self, run: &[f64], top: i32, term: Term) {
        let lowest_unit = top - LEVEL_BITS * LEVELS as i32;
        if top + MANTISSA_BITS as i32 - LEVEL_BITS > 1000 || lowest_unit < -1022 {
            return run.iter().for_each(|&v| self.add(term.of(v)));
        }
        let levels = Levels::<LEVELS>::below(top);
        let (sums, complete) = match term {
            Term::Value => widest(AddUp(&levels, run, |v| v)),
            Term::HighSquare => widest(AddUp(&levels, run, high_square)),
            Term::Cross => widest(AddUp(&levels, run, cross)),
            Term::LowSquare => widest(AddUp(&levels, run, low_square)),
        };
        sums.into_iter().for_each(|sum| self.add(sum));
        if !complete {
            let rest = run.iter().map(|&v| levels.split(term.of(v)).1);
            rest.filter(|&rest| rest != 0.0).for_each(|rest| self.add(rest));
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

/// What of a value is added: itself, or a part of its square, each without rounding.
#[derive(Clone, Copy)]
enum Term {
    Value,
    HighSquare,
    Cross,
    LowSquare,
}

impl Term {
    fn of(self, v: f64) -> f64 {
        match self {
            Self::Value => v,
            Self::HighSquare => high_square(v),
            Self::Cross => cross(v),
            Self::LowSquare => low_square(v),
        }
    }
}

/// `v` as a number of 26 bits and the rest, which has 26 bits too (Veltkamp, Dekker 1971); for `|v| < 2^480`.
#[inline(always)]
fn halves(v: f64) -> (f64, f64) {
    let scaled = v * 134_217_729.0; // 2^27 + 1
    let high = scaled - (scaled - v);
    (high, v - high)
}

#[inline(always)]
fn high_square(v: f64) -> f64 {
    let (high, _) = halves(v);
    high * high
}

#[inline(always)]
fn cross(v: f64) -> f64 {
    let (high, low) = halves(v);
    2.0 * high * low
}

#[inline(always)]
fn low_square(v: f64) -> f64 {
    let (_, low) = halves(v);
    low * low
}

/// What has to be known of a run before it is added up.
struct Magnitudes {
    /// All values are below `2^top`; `None` where all are 0.
    top: Option<i32>,
    /// No value but 0 is below `2^bottom`.
    bottom: i32,
    /// Whether some value has more than 26 bits.
    wide: bool,
}

impl Magnitudes {
    fn of(run: &[f64]) -> Self {
        let (largest, smallest, bits) = widest(Extremes(run));
        debug_assert!(f64::from_bits(largest).is_finite(), "only finite values can be added");
        Self {
            top: (largest > 0).then(|| exponent(largest) + 1),
            bottom: exponent(smallest),
            wide: bits & ((1 << 27) - 1) != 0,
        }
    }
}

/// `e` with `2^e <= v < 2^(e + 1)`, for the bits of a positive normal `v`; -1023 below those.
fn exponent(bits: u64) -> i32 {
    (bits >> 52) as i32 - 1023
}

/// Of the magnitudes' bits, which rise with them: the most, the least but 0, and those that some value has.
///
/// Like the loop of [`AddUp`] this is integer arithmetic wherever values meet, which the compiler may reorder, and
/// hence vectorise.
struct Extremes<'v>(&'v [f64]);

impl Kernel for Extremes<'_> {
    type Output = (u64, u64, u64);

    #[inline(always)]
    fn run(self) -> Self::Output {
        let (mut largest, mut smallest_less_1, mut all) = (0, u64::MAX, 0);
        for v in self.0 {
            let bits = v.abs().to_bits();
            largest = largest.max(bits);
            smallest_less_1 = smallest_less_1.min(bits.wrapping_sub(1));
            all |= bits;
        }
        (largest, smallest_less_1.saturating_add(1), all)
    }
}

/// Windows of [`LEVEL_BITS`] bits, one below the other.
struct Levels<const LEVELS: usize> {
    /// Adding and taking away one of these rounds a value to a multiple of its level's unit.
    rounders: [f64; LEVELS],
    units: [f64; LEVELS],
}

impl<const LEVELS: usize> Levels<LEVELS> {
    /// For values up to `2^top`.
    fn below(top: i32) -> Self {
        let power = |exp: i32| f64::from_bits(((exp + 1023) as u64) << 52);
        let unit = |level: usize| top - LEVEL_BITS * (level as i32 + 1);
        Self {
            rounders: std::array::from_fn(|level| 1.5 * power(unit(level) + MANTISSA_BITS as i32 - 1)),
            units: std::array::from_fn(|level| power(unit(level))),
        }
    }

    /// For each level `v` in units, as the last bits of a number with those of its rounder before; and what is left.
    #[inline(always)]
    fn split(&self, v: f64) -> ([u64; LEVELS], f64) {
        let mut rest = v;
        let bits = self.rounders.map(|rounder| {
            let rounded = rest + rounder;
            rest -= rounded - rounder;
            rounded.to_bits()
        });
        (bits, rest)
    }
}

/// The sum of a term of all values in each level, and whether that is everything.
struct AddUp<'v, const LEVELS: usize, F: Fn(f64) -> f64>(&'v Levels<LEVELS>, &'v [f64], F);

impl<const LEVELS: usize, F: Fn(f64) -> f64> Kernel for AddUp<'_, LEVELS, F> {
    type Output = ([f64; LEVELS], bool);

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Self(levels, values, term) = self;
        let (mut sums, mut left) = ([0u64; LEVELS], 0);
        for &v in values {
            let (bits, rest) = levels.split(term(v));
            for level in 0..LEVELS {
                sums[level] = sums[level].wrapping_add(bits[level]);
            }
            left |= rest.to_bits() << 1; // all but the sign
        }
        let n = values.len() as u64;
        let sum = |level: usize| {
            let of_rounders = n.wrapping_mul(levels.rounders[level].to_bits());
            sums[level].wrapping_sub(of_rounders) as i64 as f64 * levels.units[level]
        };
        (std::array::from_fn(sum), left == 0)
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
            ExactSum::add_all_with_squares(&mut sum, &mut sum_sq, &values);
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
