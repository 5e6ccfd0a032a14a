//! Counter-based random numbers: number `i` of stream `s` depends on `(seed, s, i)` alone, never on what was drawn before.

/// Golden-ratio increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes all bits of `z` (the finaliser of SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
#[must_use]
pub fn mix64(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A 64-bit hash of a row's key under a seed; rows are sampled by the smallest of these.
#[must_use]
pub fn hash_key(seed: u64, key: u128) -> u64 {
    let a = mix64(seed.wrapping_add(GOLDEN) ^ mix64(key as u64));
    mix64(a.wrapping_add(GOLDEN) ^ mix64((key >> 64) as u64))
}

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// Stream `stream` under `seed`.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        Self {
            state: mix64(mix64(seed.wrapping_add(GOLDEN)) ^ stream.wrapping_mul(GOLDEN)),
        }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix64(self.state)
    }

    /// A number in `0..bound`, uniform without bias: draws under a mask, rejected until one fits.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u128) -> u128 {
        assert!(bound > 0, "no number is below 0");
        // The mask is the smallest of the form 2^b - 1 that holds the bound: fewer than two draws on average.
        let mask = u128::MAX >> (bound - 1).leading_zeros().min(127);
        loop {
            let draw = (u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())) & mask;
            if draw < bound {
                return draw;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_the_bound_comes_up() {
        let mut rng = Rng::new(7, 0);
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            seen[rng.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count > 140), "{seen:?}");
        assert_eq!(rng.below(1), 0);
        assert!(rng.below(u128::MAX) < u128::MAX);
    }

    #[test]
    fn streams_and_seeds_differ() {
        assert_ne!(Rng::new(1, 0).next_u64(), Rng::new(1, 1).next_u64());
        assert_ne!(Rng::new(1, 0).next_u64(), Rng::new(2, 0).next_u64());
        assert_ne!(hash_key(0, 1), hash_key(0, 2));
        assert_ne!(hash_key(0, 1), hash_key(0, 1 << 64));
    }
}
