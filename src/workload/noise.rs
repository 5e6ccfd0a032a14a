//! Noise for each cell of a table, from 32-bit integers alone, so that compilers turn the loops into vector code.

use crate::rng::mix64;

/// 64 random bits of a row, in halves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowBits {
    low: u32,
    high: u32,
}

impl From<u64> for RowBits {
    fn from(bits: u64) -> Self {
        Self {
            low: bits as u32,
            high: (bits >> 32) as u32,
        }
    }
}

/// What tells the noise of one column from that of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnKey {
    before: u32,
    between: u32,
}

impl ColumnKey {
    pub(super) fn new(seed: u64, column: u64) -> Self {
        let key = mix64(seed ^ mix64(column));
        Self {
            before: key as u32,
            between: (key >> 32) as u32,
        }
    }
}

/// 32 bits of one cell: two rounds of multiply and xor-shift (the constants of C. Wellons' `lowbias32`), the second
/// half of the row's bits let in between, so that all 64 of them count.
#[inline(always)]
pub(super) fn cell_bits(row: RowBits, column: ColumnKey) -> u32 {
    let mut h = (row.low ^ column.before).wrapping_mul(0x7feb_352d);
    h ^= h >> 15;
    h = (h ^ row.high).wrapping_add(column.between).wrapping_mul(0x846c_a68b);
    h ^ (h >> 16)
}

/// A number with mean 0, variance 1 and the bell shape of a sum of four uniform ones: at most 3.46 in size.
#[inline(always)]
pub(super) fn cell_noise(row: RowBits, column: ColumnKey) -> f32 {
    bell(cell_bits(row, column))
}

/// The same from 32 random bits.
#[inline(always)]
pub(super) fn bell(h: u32) -> f32 {
    let mut g = h.wrapping_mul(0x9e37_79b1);
    g ^= g >> 15;
    let sum = (h & 0xffff) + (h >> 16) + (g & 0xffff) + (g >> 16);
    // Each of the four has variance (2^32 - 1) / 12.
    const UNIT: f32 = 1.0 / 37_837.23;
    (sum as i32 - 131_070) as f32 * UNIT
}

/// Largest size of what [`power_of_e`] is given.
const MAX_EXPONENT: f32 = 6.4;

/// `e^v` with `v` cut off at 6.4 on both sides; relative error below 1e-5.
///
/// By additions and products alone, so the bits are the same everywhere: the whole part of `v * log2(e)` goes into the
/// exponent, and the rest, at most a half, into a polynomial.
#[inline(always)]
pub(super) fn power_of_e(v: f32) -> f32 {
    // Adding it to a small number leaves the nearest whole number in the low bits.
    const TO_WHOLE: f32 = 12_582_912.0;
    let t = v.clamp(-MAX_EXPONENT, MAX_EXPONENT) * std::f32::consts::LOG2_E;
    let shifted = t + TO_WHOLE;
    let rest = t - (shifted - TO_WHOLE);
    let whole = shifted.to_bits().wrapping_sub(TO_WHOLE.to_bits());
    let scale = f32::from_bits(whole.wrapping_add(127) << 23);
    let p = 0.009_618_13 + rest * 0.001_333_36;
    let p = 0.240_226_5 + rest * (0.055_504_1 + rest * p);
    scale * (1.0 + rest * (std::f32::consts::LN_2 + rest * p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_a_bell_shape_and_columns_do_not_depend_on_each_other() {
        const N: usize = 1 << 16;
        let keys: Vec<ColumnKey> = (0..12).map(|j| ColumnKey::new(5, j)).collect();
        let rows: Vec<RowBits> = (0..N as u64).map(|i| RowBits::from(mix64(i))).collect();
        let columns: Vec<Vec<f64>> = keys
            .iter()
            .map(|&key| rows.iter().map(|&row| f64::from(cell_noise(row, key))).collect())
            .collect();
        let mean_of = |f: &dyn Fn(usize) -> f64| (0..N).map(f).sum::<f64>() / N as f64;
        for (a, column) in columns.iter().enumerate() {
            assert!(mean_of(&|i| column[i]).abs() < 0.02);
            assert!((mean_of(&|i| column[i].powi(2)) - 1.0).abs() < 0.02);
            // The fourth moment of a sum of four uniform numbers is 2.7.
            assert!((mean_of(&|i| column[i].powi(4)) - 2.7).abs() < 0.1);
            assert!(column.iter().any(|x| x.abs() > 3.0) && column.iter().all(|x| x.abs() < 3.465));
            for other in &columns[a + 1..] {
                assert!(mean_of(&|i| column[i] * other[i]).abs() < 0.02);
                assert!(mean_of(&|i| column[i].powi(2) * other[i].powi(2) - 1.0).abs() < 0.04);
            }
        }
    }

    #[test]
    fn both_halves_of_a_row_count() {
        let key = ColumnKey::new(0, 0);
        let bits = |row: u64| cell_bits(RowBits::from(row), key);
        assert_ne!(bits(1), bits(1 | 1 << 32));
        assert_ne!(bits(1), bits(2));
    }

    #[test]
    fn the_power_is_that_of_libm() {
        for n in -640..=640 {
            let v = n as f32 / 100.0;
            let error = f64::from(power_of_e(v)) / f64::from(v).exp() - 1.0;
            assert!(error.abs() < 1e-5, "e^{v}: {error}");
        }
        assert_eq!(power_of_e(100.0), power_of_e(6.4));
        assert_eq!(power_of_e(-100.0), power_of_e(-6.4));
    }
}
