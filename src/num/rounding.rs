//! From big integers to the nearest `f64`, rounded once, ties to even.

use num_bigint::{BigInt, BigUint, Sign};

/// Bits that an intermediate result keeps: 53, one to round by, and some to spare.
const KEPT_BITS: i64 = 68;

/// `numerator * 2^exp / denominator`, correctly rounded.
///
/// # Panics
/// If `denominator` is 0.
pub(crate) fn round_ratio(numerator: &BigInt, denominator: &BigUint, exp: i64) -> f64 {
    let magnitude = numerator.magnitude();
    let shift = (KEPT_BITS + denominator.bits() as i64 - magnitude.bits() as i64).max(0);
    let scaled = magnitude << shift as u64;
    let quotient = &scaled / denominator;
    let inexact = &quotient * denominator != scaled;
    round(numerator.sign() == Sign::Minus, &quotient, inexact, exp - shift)
}

/// `sqrt(radicand * 2^exp) / denominator`, correctly rounded.
///
/// # Panics
/// If `denominator` is 0.
pub(crate) fn round_sqrt_ratio(radicand: &BigUint, denominator: &BigUint, exp: i64) -> f64 {
    let odd = exp.rem_euclid(2);
    let shift = (KEPT_BITS + denominator.bits() as i64 - radicand.bits() as i64 / 2).max(0);
    let scaled = radicand << (odd + 2 * shift) as u64;
    let square = denominator * denominator;
    // floor(sqrt(floor(x))) = floor(sqrt(x)), so that dividing before the root loses nothing but the sticky bit.
    let quotient = &scaled / &square;
    let root = quotient.sqrt();
    let inexact = &root * &root != quotient || &quotient * &square != scaled;
    round(false, &root, inexact, (exp - odd) / 2 - shift)
}

/// `(magnitude + e) * 2^exp` with `0 < e < 1` where `inexact`, else `e = 0`, correctly rounded.
fn round(negative: bool, magnitude: &BigUint, inexact: bool, exp: i64) -> f64 {
    if magnitude.bits() == 0 {
        return 0.0;
    }
    let top = exp + magnitude.bits() as i64 - 1;
    if top > 1023 {
        return if negative { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // The exponent of the last bit that the result has.
    let last = (top - 52).max(-1074);
    let drop = last - exp;
    let mantissa = if drop <= 0 {
        magnitude << (-drop) as u64
    } else {
        let kept = magnitude >> drop as u64;
        let rest = magnitude - (&kept << drop as u64);
        let half = BigUint::from(1u32) << (drop - 1) as u64;
        let up = rest > half || (rest == half && (inexact || kept.bit(0)));
        kept + u32::from(up)
    };
    let mantissa = mantissa.iter_u64_digits().next().unwrap_or(0);
    let value = mantissa as f64 * exp2(last);
    if negative { -value } else { value }
}

/// `2^e` for `-1074 <= e <= 1023`.
fn exp2(e: i64) -> f64 {
    f64::from_bits(if e < -1022 {
        1 << (e + 1074)
    } else {
        ((e + 1023) as u64) << 52
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_ratio_of_exact_numbers_is_what_ieee_division_gives(a in -(1i64 << 53)..1 << 53, b in 1u64..1 << 53) {
            let ratio = round_ratio(&BigInt::from(a), &BigUint::from(b), 0);
            prop_assert_eq!(ratio, a as f64 / b as f64);
        }

        #[test]
        fn a_root_of_an_exact_number_is_what_ieee_gives(a in 0u64..1 << 53, exp in -100i64..100) {
            let root = round_sqrt_ratio(&BigUint::from(a), &BigUint::from(1u32), 2 * exp);
            prop_assert_eq!(root, (a as f64).sqrt() * exp2(exp));
        }
    }

    #[test]
    fn the_ends_of_the_range_round_as_they_should() {
        let (one, unit) = (BigInt::from(1), BigUint::from(1u32));
        assert_eq!(round_ratio(&one, &unit, -1074), f64::from_bits(1));
        assert_eq!(round_ratio(&one, &unit, -1075), 0.0); // a tie goes to even
        assert_eq!(round_ratio(&BigInt::from(3), &unit, -1076), f64::from_bits(1));
        assert_eq!(round_ratio(&BigInt::from(-1), &unit, 1024), f64::NEG_INFINITY);
        assert_eq!(round_ratio(&BigInt::from(0), &unit, 0).to_bits(), 0);
        assert_eq!(round_ratio(&BigInt::from((1u64 << 54) - 1), &unit, 970), f64::INFINITY);
    }
}
