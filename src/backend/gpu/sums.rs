//! How a workgroup adds up its rows in its own memory before it adds to the totals, and the proof that nothing there
//! overflows. `shaders/shared/rows.wgsl` is the other side.

/// Most workgroup memory for sums, in bytes: several workgroups are to share a processor.
const MAX_BYTES: usize = 36 << 10;
/// Bits of a slot.
const SLOT_BITS: u32 = 32;
/// Bits of a grid value that was shifted to a natural number.
const VALUE_BITS: u32 = 24;
/// Bits of that number times a weight of up to 2^16.
const WEIGHTED_BITS: u32 = 40;

/// The slots of workgroup memory for one kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sums {
    /// Pieces that a number is cut into, each with slots of its own; 0 where sums go straight to the totals.
    pub pieces: usize,
    /// Bits of the low piece, where there are two.
    pub split_bits: u32,
    /// Slots per entry and piece, a power of two.
    pub replicas: usize,
    /// Entries.
    pub n_entries: usize,
    /// Rounds that may pass before the slots have to be flushed.
    pub rounds_per_flush: usize,
}

impl Sums {
    /// Sums that go straight to the totals.
    pub const NONE: Self = Self {
        pieces: 0,
        split_bits: 12,
        replicas: 1,
        n_entries: 0,
        rounds_per_flush: i32::MAX as usize,
    };

    /// Slots for `n_entries` entries in `bytes` bytes: as many replicas as fit, and whole numbers where there are many
    /// (two pieces hold more rows, but need two additions). `round_rows` rows are added in a round, spread evenly over
    /// the replicas; where these are more, each gets one at most.
    pub(crate) fn of_rows(n_entries: usize, weighted: bool, round_rows: usize, bytes: usize) -> Self {
        let cut = |pieces, split_bits| move |replicas| (pieces, split_bits, replicas);
        let candidates: Vec<(usize, u32, usize)> = if weighted {
            [32, 16, 8, 4, 2, 1].map(cut(2, WEIGHTED_BITS / 2)).into()
        } else {
            let whole = [32, 16].map(cut(1, VALUE_BITS / 2));
            whole.into_iter().chain([4, 2, 1].map(cut(2, VALUE_BITS / 2))).collect()
        };
        let bits = if weighted { WEIGHTED_BITS } else { VALUE_BITS };
        Self::first_that_fits(&candidates, n_entries, bytes, |pieces, replicas| {
            slot_numbers(bits, pieces) * replicas.min(round_rows) / round_rows
        })
    }

    /// Slots for the few rows that move, each with a sign: cut in two, a row in at most one of the replicas.
    pub(crate) fn of_moves(n_entries: usize, weighted: bool, round_rows: usize, bytes: usize) -> Self {
        let bits = if weighted { WEIGHTED_BITS } else { VALUE_BITS };
        let candidates = [4, 2, 1].map(|replicas| (2, bits / 2, replicas));
        Self::first_that_fits(&candidates, n_entries, bytes, |pieces, replicas| {
            slot_numbers(bits, pieces) / 2 * replicas.min(round_rows) / round_rows
        })
    }

    fn first_that_fits(
        candidates: &[(usize, u32, usize)],
        n_entries: usize,
        bytes: usize,
        rounds: impl Fn(usize, usize) -> usize,
    ) -> Self {
        let words = bytes.min(MAX_BYTES) / 4;
        let fits = |&&(pieces, _, replicas): &&(usize, u32, usize)| n_entries * pieces * replicas <= words;
        let Some(&(pieces, split_bits, replicas)) = candidates.iter().find(fits) else {
            return Self::NONE;
        };
        Self {
            pieces,
            split_bits,
            replicas,
            n_entries,
            rounds_per_flush: rounds(pieces, replicas),
        }
    }

    /// Words of workgroup memory.
    #[must_use]
    pub fn words(&self) -> usize {
        (self.n_entries * self.pieces * self.replicas).max(1)
    }
}

/// How many numbers of `bits` bits fit into a slot when they are cut into so many equal pieces: `2^(32 - b)` of them
/// add up to at most `2^(32 - b) (2^b - 1) < 2^32`.
fn slot_numbers(bits: u32, pieces: usize) -> usize {
    1 << (SLOT_BITS - bits.div_ceil(pieces as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::MAX_GRID;
    use crate::tiles::MAX_WEIGHT;

    const ROUND_ROWS: usize = 1024;

    /// What is in the fullest slot of each piece before the flush, when all rows have the largest value and weight and
    /// go to one cluster.
    fn fullest(sums: &Sums, number: u64, numbers_per_slot: usize) -> [u64; 2] {
        let low = match sums.pieces {
            1 => number,
            _ => number & ((1 << sums.split_bits) - 1),
        };
        // The worst number has ones in the low piece and a high piece as large as the real one.
        let low = low.max(if sums.pieces == 2 {
            (1 << sums.split_bits) - 1
        } else {
            0
        });
        [low, number >> sums.split_bits].map(|piece| piece * numbers_per_slot as u64)
    }

    fn largest(weighted: bool) -> u64 {
        let value = (1 << 23) + MAX_GRID as u64;
        if weighted { value * u64::from(MAX_WEIGHT) } else { value }
    }

    #[test]
    fn no_slot_overflows_before_its_flush() {
        let mut seen = std::collections::HashSet::new();
        for n_entries in [1, 18, 100, 272, 300, 1000, 1088, 2200, 4500, 9000, 20_000] {
            for bytes in [8 << 10, 24 << 10, 48 << 10] {
                for weighted in [false, true] {
                    for round_rows in [ROUND_ROWS, 64, 32, 16] {
                        let sums = Sums::of_rows(n_entries, weighted, round_rows, bytes);
                        if sums == Sums::NONE {
                            continue;
                        }
                        seen.insert((sums.pieces, sums.replicas, weighted));
                        assert!(4 * sums.words() <= bytes && sums.rounds_per_flush >= 1, "{sums:?}");
                        let rows = sums.rounds_per_flush * round_rows.div_ceil(sums.replicas);
                        let [low, high] = fullest(&sums, largest(weighted), rows);
                        assert!(low < 1 << 32 && (sums.pieces == 1 || high < 1 << 32), "{sums:?}");
                        // One round more would be too many, at the extreme: the bound is not slack by accident.
                        let rows = 2 * rows;
                        let [low, high] = fullest(&sums, largest(weighted), rows);
                        assert!(low >= 1 << 32 || high >= 1 << 32 || weighted, "{sums:?}");
                    }
                }
            }
        }
        // Every regime came up.
        for replicas in [32, 16, 8, 4, 2, 1] {
            let pieces = if replicas < 16 { 2 } else { 1 };
            assert!(replicas == 8 || seen.contains(&(pieces, replicas, false)), "{replicas}");
            assert!(seen.contains(&(2, replicas, true)), "{replicas}, weighted");
        }
    }

    #[test]
    fn rows_that_move_overflow_no_slot_in_either_direction() {
        for n_entries in [1, 300, 2200, 4500] {
            for weighted in [false, true] {
                for round_rows in [ROUND_ROWS, 64, 16] {
                    let sums = Sums::of_moves(n_entries, weighted, round_rows, 48 << 10);
                    assert_ne!(sums, Sums::NONE);
                    let rows = sums.rounds_per_flush * round_rows.div_ceil(sums.replicas);
                    let pieces = fullest(&sums, largest(weighted), rows);
                    assert!(
                        sums.rounds_per_flush >= 1 && pieces.iter().all(|&piece| piece < 1 << 31),
                        "{sums:?}"
                    );
                    let pieces = fullest(&sums, largest(weighted), 2 * rows);
                    assert!(pieces.iter().any(|&piece| piece >= 1 << 31), "{sums:?}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_goes_to_the_totals() {
        assert_eq!(Sums::of_rows(9217, false, ROUND_ROWS, 48 << 10), Sums::NONE);
        assert_eq!(Sums::of_rows(9217, false, 64, 48 << 10).words(), 1);
    }
}
