//! How the values of a block of 64 rows stand in memory: 24 bits each, the high 16 apart from the low 8.
//!
//! Most of what is asked of the data needs the high bits alone, and those of a few rows more; who reads only these reads
//! half as much as a float. A grid value is `256 high + low`, where `high` is signed and `low` from 0 to 255.
//!
//! A block of `d` features is so many words of 32 bits a row, word by word, those of 64 rows side by side:
//!
//! - `ceil(d / 2)` *pairs*: the high bits of two features, the first in the lower half;
//! - then the low bits of four features a word, the first in the lowest byte.
//!
//! The last of an odd number of features has no partner. Its own low bits stand in the upper half of its pair, so that no
//! shape takes more memory than one float per value.

use crate::num::widest::{Kernel, widest};

use super::BLOCK;
use super::width::{n_pairs, row_words};

/// The word of a row that holds the high bits of a feature, and where in it they begin.
fn high_place(feature: usize) -> (usize, u32) {
    (feature / 2, feature as u32 % 2 * 16)
}

/// The same for the low bits.
fn low_place(feature: usize, n_features: usize) -> (usize, u32) {
    if feature == n_features & !1 {
        (feature / 2, 16)
    } else {
        (n_pairs(n_features) + feature / 4, feature as u32 % 4 * 8)
    }
}

/// A word's 64 rows.
type Lane = [u32; BLOCK];

fn lane(words: &[u32], word: usize) -> &Lane {
    words[word * BLOCK..][..BLOCK].try_into().expect("64 words")
}

/// The grid value of high bits that begin at bit `high_at` of one word, and low bits at `low_at` of another.
#[inline(always)]
fn joined(high: u32, high_at: u32, low: u32, low_at: u32) -> i32 {
    ((high << (16 - high_at)) as i32 >> 16 << 8) | (low >> low_at & 0xff) as i32
}

/// The values of 64 rows, padding included, as they stand in memory.
#[derive(Debug, Clone, Copy)]
pub struct Block<'b> {
    words: &'b [u32],
    n_features: usize,
}

impl<'b> Block<'b> {
    /// Of `row_words(n_features)` words for each of 64 rows.
    #[inline]
    pub(crate) fn new(words: &'b [u32], n_features: usize) -> Self {
        debug_assert_eq!(words.len(), row_words(n_features) * BLOCK, "the words of a block");
        Self { words, n_features }
    }

    /// Features of each row.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// All words.
    #[must_use]
    pub fn words(&self) -> &'b [u32] {
        self.words
    }

    /// The words of the high bits, which come first.
    #[must_use]
    pub fn pairs(&self) -> &'b [u32] {
        &self.words[..n_pairs(self.n_features) * BLOCK]
    }

    /// The words of the low bits of all features that have a partner.
    pub(crate) fn low_words(&self) -> &'b [u32] {
        &self.words[n_pairs(self.n_features) * BLOCK..]
    }

    /// Value `(row, feature)`.
    #[must_use]
    pub fn value(&self, row: usize, feature: usize) -> i32 {
        let (high, high_at) = high_place(feature);
        let (low, low_at) = low_place(feature, self.n_features);
        joined(
            self.words[high * BLOCK + row],
            high_at,
            self.words[low * BLOCK + row],
            low_at,
        )
    }

    /// One row, feature by feature.
    pub fn row(self, row: usize) -> impl Iterator<Item = i32> + Clone {
        (0..self.n_features).map(move |feature| self.value(row, feature))
    }

    /// The values of a feature, as floats without error.
    #[must_use]
    pub fn lane(&self, feature: usize) -> [f32; BLOCK] {
        widest(LaneOf { block: *self, feature })
    }

    /// The values of a feature, for loops that are compiled for wide vectors themselves.
    #[inline(always)]
    pub(crate) fn integers(&self, feature: usize) -> [i32; BLOCK] {
        let (high, high_at) = high_place(feature);
        let (low, low_at) = low_place(feature, self.n_features);
        let (high, low) = (lane(self.words, high), lane(self.words, low));
        std::array::from_fn(|row| joined(high[row], high_at, low[row], low_at))
    }

    /// All values as floats without error, feature by feature, 64 rows each.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn unpack(&self, out: &mut [f32]) {
        self.unpack_as(out, |x| x as f32);
    }

    /// [`Block::unpack`] to integers.
    pub(crate) fn unpack_integers(&self, out: &mut [i32]) {
        self.unpack_as(out, |x| x);
    }

    fn unpack_as<T>(&self, out: &mut [T], of: impl Fn(i32) -> T) {
        assert_eq!(out.len(), self.n_features * BLOCK, "a place per value");
        widest(Unpack { block: *self, out, of });
    }

    /// Some rows (one bit each) as [`Block::unpack`] has them; the others stay as they are in `out`.
    ///
    /// # Panics
    /// If `out` has another length.
    pub(crate) fn unpack_rows(&self, rows: u64, out: &mut [f32]) {
        if rows.count_ones() >= FEW_ROWS {
            return self.unpack(out);
        }
        assert_eq!(out.len(), self.n_features * BLOCK, "a float per value");
        let mut rest = rows;
        while rest != 0 {
            let row = rest.trailing_zeros() as usize;
            for (to, x) in out[row..].iter_mut().step_by(BLOCK).zip(self.row(row)) {
                *to = x as f32;
            }
            rest &= rest - 1;
        }
    }
}

/// From so many rows on, reading all of a block is faster than one by one.
const FEW_ROWS: u32 = 8;

/// See [`Block::lane`].
struct LaneOf<'b> {
    block: Block<'b>,
    feature: usize,
}

impl Kernel for LaneOf<'_> {
    type Output = [f32; BLOCK];

    #[inline(always)]
    fn run(self) -> [f32; BLOCK] {
        self.block.integers(self.feature).map(|x| x as f32)
    }
}

/// See [`Block::unpack`].
struct Unpack<'b, 'o, T, F> {
    block: Block<'b>,
    out: &'o mut [T],
    of: F,
}

impl<T, F: Fn(i32) -> T> Kernel for Unpack<'_, '_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Block { words, n_features } = self.block;
        let pairs = n_pairs(n_features);
        // Four features share their low bits' word.
        for (quad, out) in self.out.chunks_mut(4 * BLOCK).enumerate() {
            let low = |pair: usize| {
                let alone = quad * 4 + pair * 2 + 1 == n_features;
                if alone {
                    (lane(words, quad * 2 + pair), 16)
                } else {
                    (lane(words, pairs + quad), pair as u32 * 16)
                }
            };
            for (pair, out) in out.chunks_mut(2 * BLOCK).enumerate() {
                let (high, (low, low_at)) = (lane(words, quad * 2 + pair), low(pair));
                let (first, second) = out.split_at_mut(BLOCK);
                for ((x, &high), &low) in first.iter_mut().zip(high).zip(low) {
                    *x = (self.of)(joined(high, 0, low, low_at));
                }
                for ((x, &high), &low) in second.iter_mut().zip(high).zip(low) {
                    *x = (self.of)(joined(high, 16, low, low_at + 8));
                }
            }
        }
    }
}

/// Puts the values of some neighbouring rows of a block, from row `first_row` on, in the place of one feature.
///
/// Values are integers of the grid, at most [`crate::grid::MAX_GRID`] in size.
pub(crate) fn put(words: &mut [u32], n_features: usize, feature: usize, first_row: usize, values: &[f32]) {
    widest(Put {
        words,
        n_features,
        feature,
        first_row,
        values,
    });
}

/// Puts all values of a block, feature by feature, 64 rows each, in their places; every other bit becomes 0.
pub(crate) fn pack(words: &mut [u32], n_features: usize, values: &[f32]) {
    debug_assert_eq!(values.len(), n_features * BLOCK, "a float per value");
    widest(Pack {
        words,
        n_features,
        values,
    });
}

struct Pack<'w, 'v> {
    words: &'w mut [u32],
    n_features: usize,
    values: &'v [f32],
}

/// A value of the grid as an integer; what is none becomes some number.
#[inline(always)]
fn integer(x: f32) -> i32 {
    debug_assert!(is_of_grid(x), "{x} is not of the grid");
    x as i32
}

/// Whether it is an integer of the grid.
pub(super) fn is_of_grid(x: f32) -> bool {
    x.abs() <= crate::grid::MAX_GRID as f32 && x.fract() == 0.0
}

impl Kernel for Pack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (pairs, lows) = self.words.split_at_mut(n_pairs(self.n_features) * BLOCK);
        let quads = self.values.chunks_exact(4 * BLOCK);
        let rest = quads.remainder();
        let n_quads = self.n_features / 4;
        let places = pairs.chunks_exact_mut(2 * BLOCK).zip(lows.chunks_exact_mut(BLOCK));
        for (values, (pairs, low)) in quads.zip(places) {
            let (first, second) = pairs.split_at_mut(BLOCK);
            for row in 0..BLOCK {
                let x: [i32; 4] = std::array::from_fn(|i| integer(values[i * BLOCK + row]));
                first[row] = (x[0] >> 8 & 0xffff | x[1] >> 8 << 16) as u32;
                second[row] = (x[2] >> 8 & 0xffff | x[3] >> 8 << 16) as u32;
                low[row] = u32::from_le_bytes(x.map(|x| x as u8));
            }
        }
        pairs[2 * n_quads * BLOCK..].fill(0);
        lows[n_quads * BLOCK..].fill(0);
        for (i, values) in rest.chunks_exact(BLOCK).enumerate() {
            let (words, n_features, feature) = (&mut *self.words, self.n_features, 4 * n_quads + i);
            Put {
                words,
                n_features,
                feature,
                first_row: 0,
                values,
            }
            .run();
        }
    }
}

struct Put<'w, 'v> {
    words: &'w mut [u32],
    n_features: usize,
    feature: usize,
    first_row: usize,
    values: &'v [f32],
}

impl Kernel for Put<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut set = |(word, at): (usize, u32), mask: u32, bits: fn(i32) -> u32| {
            let lane = &mut self.words[word * BLOCK..][..BLOCK][self.first_row..][..self.values.len()];
            for (word, &x) in lane.iter_mut().zip(self.values) {
                *word = *word & !(mask << at) | (bits(integer(x)) & mask) << at;
            }
        };
        set(high_place(self.feature), 0xffff, |x| (x >> 8) as u32);
        set(low_place(self.feature, self.n_features), 0xff, |x| x as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::MAX_GRID;
    use crate::rng::Rng;

    /// The words of some rows, each bit by the description above.
    fn described(rows: &[Vec<i32>], n_features: usize) -> Vec<u32> {
        let n_pairs = n_features.div_ceil(2);
        let mut words = vec![0; BLOCK * (n_pairs + (n_features / 2 * 2).div_ceil(4))];
        for (row, values) in rows.iter().enumerate() {
            for (j, &x) in values.iter().enumerate() {
                let (high, low) = (x.div_euclid(256) as i16 as u16, x.rem_euclid(256) as u32);
                words[j / 2 * BLOCK + row] |= u32::from(high) << (16 * (j % 2));
                if j + 1 == n_features && n_features % 2 == 1 {
                    words[j / 2 * BLOCK + row] |= low << 16;
                } else {
                    words[(n_pairs + j / 4) * BLOCK + row] |= low << (8 * (j % 4));
                }
            }
        }
        words
    }

    #[test]
    fn values_stand_where_they_are_said_to_and_come_back() {
        let mut rng = Rng::new(5, 0);
        let edge = MAX_GRID;
        for d in [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 31, 33] {
            let mut value = || match rng.below(8) {
                0 => edge,
                1 => -edge,
                2 => 0,
                3 => -1,
                _ => rng.below(2 * edge as u128 + 1) as i32 - edge,
            };
            let rows: Vec<Vec<i32>> = (0..BLOCK).map(|_| (0..d).map(|_| value()).collect()).collect();
            let mut words = vec![!0; BLOCK * row_words(d)];
            for feature in 0..d {
                let values: Vec<f32> = rows.iter().map(|row| row[feature] as f32).collect();
                let (first, rest) = values.split_at(17);
                put(&mut words, d, feature, 17, rest);
                put(&mut words, d, feature, 0, first);
            }
            let expected = described(&rows, d);
            let block = Block::new(&expected, d);
            // What belongs to no feature stays as it was.
            let mut again = vec![0; words.len()];
            let mut values = vec![0.0; d * BLOCK];
            Block::new(&words, d).unpack(&mut values);
            for feature in 0..d {
                put(&mut again, d, feature, 0, &values[feature * BLOCK..][..BLOCK]);
                assert_eq!(block.lane(feature)[..], values[feature * BLOCK..][..BLOCK]);
            }
            assert_eq!(again, expected, "{d} features");
            again.fill(!0);
            pack(&mut again, d, &values);
            assert_eq!(again, expected, "{d} features");
            let mut few = vec![0.5; d * BLOCK];
            block.unpack_rows(1 << 3 | 1 << 63, &mut few);
            for (row, x) in rows.iter().enumerate() {
                assert_eq!(block.row(row).collect::<Vec<_>>(), *x);
                for (feature, &x) in x.iter().enumerate() {
                    let at = feature * BLOCK + row;
                    assert_eq!((values[at], block.value(row, feature)), (x as f32, x));
                    assert_eq!(few[at], if row == 3 || row == 63 { x as f32 } else { 0.5 });
                }
            }
        }
    }
}
