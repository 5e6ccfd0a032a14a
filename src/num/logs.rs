//! Logarithms from additions, multiplications and divisions alone: the same bits on every machine, which the system's
//! library does not promise.

// The polynomial's coefficients are digits of a published approximation.
#![expect(clippy::excessive_precision, reason = "coefficients as published")]

const LN2_HIGH: f64 = 6.93147180369123816490e-01;
const LN2_LOW: f64 = 1.90821492927058770002e-10;
const COEFFICIENTS: [f64; 7] = [
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
];

/// `ln(1 + x)` for finite `x >= 0`, within two units in the last place.
///
/// The reduction and the polynomial are those of `log1p` in FreeBSD's msun (FDLIBM, Sun Microsystems 1993).
#[inline]
pub(crate) fn ln_1p(x: f64) -> f64 {
    let sum = 1.0 + x;
    // What the addition lost, against the sum; beyond 2^53 it is the 1.
    let lost = if x < 1.0 { x - (sum - 1.0) } else { 1.0 - (sum - x) };
    // sum = 2^exponent * mantissa, the mantissa between sqrt(1/2) and sqrt(2).
    let bits = sum.to_bits() + (0x3ff0_0000_0000_0000 - 0x3fe6_a09e_0000_0000);
    let exponent = (bits >> 52) as i64 - 1023;
    let mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) + 0x3fe6_a09e_0000_0000);
    let exponent = exponent as f64;
    let f = mantissa - 1.0;
    let half_square = 0.5 * f * f;
    let s = f / (2.0 + f);
    let z = s * s;
    let polynomial = COEFFICIENTS.iter().rev().fold(0.0, |sum, c| z * (sum + c));
    s * (half_square + polynomial) + (exponent * LN2_LOW + lost / sum) - half_square + f + exponent * LN2_HIGH
}

/// `ln(1 + x)` above 0, its mirror image below: rises with `x`, whatever its sign.
#[inline]
pub(crate) fn signed_ln_1p(x: f64) -> f64 {
    ln_1p(x.abs()).copysign(x)
}

/// The way back from [`signed_ln_1p`]; for people, as its last bit is the system library's.
pub(crate) fn signed_exp_m1(y: f64) -> f64 {
    y.abs().exp_m1().copysign(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_logarithm() {
        let tenths = (0..4000).map(|i| 10f64.powf(f64::from(i) / 12.0 - 180.0));
        for x in tenths.chain([0.0, 0.41, 0.42, 1.0, 3.0, 2f64.powi(53), 1e150, f64::from_bits(1)]) {
            let (found, expected) = (ln_1p(x), x.ln_1p());
            let ulp = f64::from_bits(expected.to_bits() + 1) - expected;
            assert!((found - expected).abs() <= 2.0 * ulp, "{x:e}: {found:e} {expected:e}");
        }
        assert_eq!(ln_1p(0.0).to_bits(), 0);
        assert_eq!(signed_ln_1p(-3.0), -ln_1p(3.0));
    }

    #[test]
    fn it_rises_and_comes_back() {
        let mut last = f64::NEG_INFINITY;
        for i in -3000..3000 {
            let x = f64::from(i).powi(3) / 1e4;
            let y = signed_ln_1p(x);
            assert!(y > last || (i == -2999 + 2999 && y == 0.0), "{x}");
            assert!((signed_exp_m1(y) - x).abs() <= 1e-13 * x.abs(), "{x}");
            last = y;
        }
    }
}
