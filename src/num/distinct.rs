//! How many different values there are, exactly while they are few, then about, in some kilobytes.

use std::collections::HashSet;

/// Bits of a hash that choose a register.
const BITS: u32 = 12;
const REGISTERS: usize = 1 << BITS;
/// Up to so many values are counted one by one.
const FEW: usize = 1000;

/// A HyperLogLog sketch (P. Flajolet et al., 2007, with linear counting for few values): standard error 1.6 %. The
/// sketch of a union is the larger of each register, in any order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distinct {
    registers: Vec<u8>,
    /// All hashes, while they are few.
    few: Option<HashSet<u64>>,
}

impl Default for Distinct {
    fn default() -> Self {
        Self {
            registers: vec![0; REGISTERS],
            few: Some(HashSet::new()),
        }
    }
}

impl Distinct {
    /// Adds a value by a hash whose bits are all good.
    pub(crate) fn add(&mut self, hash: u64) {
        let register = &mut self.registers[(hash >> (64 - BITS)) as usize];
        let rank = ((hash << BITS) | (1 << (BITS - 1))).leading_zeros() as u8 + 1;
        *register = (*register).max(rank);
        if let Some(few) = &mut self.few {
            few.insert(hash);
            if few.len() > FEW {
                self.few = None;
            }
        }
    }

    /// Adds the values of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        let both = self.registers.iter_mut().zip(&other.registers);
        both.for_each(|(own, other)| *own = (*own).max(*other));
        match (&mut self.few, &other.few) {
            (Some(few), Some(others)) => {
                few.extend(others);
                if few.len() > FEW {
                    self.few = None;
                }
            }
            (few, _) => *few = None,
        }
    }

    /// The number of different values.
    pub(crate) fn estimate(&self) -> f64 {
        if let Some(few) = &self.few {
            return few.len() as f64;
        }
        let m = REGISTERS as f64;
        // In whole numbers, so that no order of additions shows.
        let sum: u128 = self.registers.iter().map(|&rank| 1u128 << (64 - rank)).sum();
        let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / (sum as f64 / 2f64.powi(64));
        let empty = self.registers.iter().filter(|&&rank| rank == 0).count();
        if raw <= 2.5 * m && empty > 0 {
            m * (m / empty as f64).ln()
        } else {
            raw
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    #[test]
    fn estimates_are_near() {
        for n in [0u64, 1, 2, 10, 500, 9000, 20_000, 300_000] {
            let mut distinct = Distinct::default();
            for i in (0..n).chain(0..n / 2) {
                distinct.add(xxh3_64(&i.to_le_bytes()));
            }
            let found = distinct.estimate();
            let allowed = if n <= 1000 { 0.0 } else { 0.05 };
            assert!((found - n as f64).abs() <= allowed * n as f64, "{n}: {found}");
        }
    }
}
