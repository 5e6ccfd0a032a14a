//! The kernels of [`super::coarse`] on a [matrix unit](super::matrix_unit), which multiplies 8-bit integers: a number of 16
//! bits is two digits, `256 h + l` with both from -128 to 127, and a product of two numbers four products of digits. All
//! sums are exact, so that the scores have the bits that other kernels give them.
//!
//! The unit scores sixteen rows against sixteen centroids at a time. While it works on some centroids, the vector units rank
//! the scores of those before the last.

use super::coarse::{CoarseRows, CoarseTable, PADDING_SCORE};
use super::coarse_kernel::{self, CoarseKernels, Ranking, conclude, round};
use super::kernel::{Ahead, Line, Tile, TileScores, find};
use super::matrix_unit::{self as unit, SIDE};
use super::pairs::{Avx512Pairs, PairLanes};
use crate::tiles::BLOCK;

/// Pairs of features whose digits stand in a word.
const PAIRS_PER_WORD: usize = 2;
/// The digits of so many pairs of features are multiplied in one step.
const STEP_PAIRS: usize = SIDE * PAIRS_PER_WORD;
/// Lines of a word of the digits of 64 rows.
const BLOCK_LINES: usize = BLOCK / SIDE;
/// Lines of the high or of the low digits of 64 rows in a step.
const PLANE: usize = SIDE * BLOCK_LINES;

/// Digits of centroids, filled up to whole groups of [`SIDE`] with one behind all others.
pub(super) struct Digits {
    /// Steps that the features of a row take.
    n_steps: usize,
    /// For each group and step the high digits, then the low ones, a line for each centroid.
    lines: Vec<Line>,
    /// Half the squared norm of each centroid, sixteen times.
    half_sq_norms: Vec<Line>,
    /// The numbers of the centroids: from memory they come into all lanes at no cost, where registers keep a unit busy.
    numbers: Vec<i32>,
}

impl Digits {
    /// Those of pairs of coordinates, negated: so many of each centroid, row-major; and of half squared norms.
    pub(super) fn new(pairs: &[i32], n_pairs: usize, half_sq_norms: &[i32]) -> Self {
        let n_steps = n_pairs.div_ceil(STEP_PAIRS);
        let n_groups = half_sq_norms.len().div_ceil(SIDE);
        let mut lines = vec![Line::ZERO; n_groups * n_steps * 2 * SIDE];
        for (centroid, pairs) in pairs.chunks_exact(n_pairs).enumerate() {
            for (word, pairs) in pairs.chunks(PAIRS_PER_WORD).enumerate() {
                let pair = |at: usize| pairs.get(at).map_or(0, |pair| pair.cast_unsigned());
                let [high, low] = digits([pair(0), pair(1)]);
                let first = (centroid / SIDE * n_steps + word / SIDE) * 2 * SIDE + centroid % SIDE;
                lines[first].0[word % SIDE] = high;
                lines[first + SIDE].0[word % SIDE] = low;
            }
        }
        let norm = |place: usize| half_sq_norms.get(place).copied().unwrap_or(PADDING_SCORE);
        Self {
            n_steps,
            lines,
            numbers: (0..(n_groups * SIDE) as i32).collect(),
            half_sq_norms: (0..n_groups * SIDE)
                .map(|place| Line([norm(place).cast_unsigned(); SIDE]))
                .collect(),
        }
    }

    fn n_groups(&self) -> usize {
        self.half_sq_norms.len() / SIDE
    }
}

/// Both digits of the numbers of two pairs: a word of the high ones and one of the low ones.
fn digits([first, second]: [u32; 2]) -> [u32; 2] {
    const LOWER: u32 = 0x00ff_00ff;
    let carry = |pair: u32| {
        let halves = [pair, pair >> 16].map(|half| (half as u16).wrapping_add(0x80));
        u32::from(halves[1]) << 16 | u32::from(halves[0])
    };
    let high = [first, second].map(carry);
    [
        high[0] >> 8 & LOWER | high[1] & !LOWER,
        first & LOWER | second << 8 & !LOWER,
    ]
}

/// [`digits`] of all pairs of a tile: for each step the high digits, then the low ones, 64 rows side by side. What stands
/// behind the last pair are digits of anything: those of the centroids are 0 there.
///
/// # Safety
/// AVX-512 F and BW must be present.
#[inline(always)]
unsafe fn split(pairs: &[u32], out: &mut [Line]) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise; lines are whole vectors, and so are 16 words.
    unsafe {
        let lower = _mm512_set1_epi32(0x00ff_00ff);
        let carry = _mm512_set1_epi16(0x80);
        // `b` where bits of the mask are set, else `a`.
        const SELECT: i32 = 0xd8;
        for (word, both) in pairs.chunks(PAIRS_PER_WORD * BLOCK).enumerate() {
            let (first, second) = both.split_at(BLOCK);
            let at = (word / SIDE * 2 * SIDE + word % SIDE) * BLOCK_LINES;
            for v in 0..BLOCK_LINES {
                let first = _mm512_loadu_si512(first[v * SIDE..][..SIDE].as_ptr().cast());
                // Behind the last of an odd number of pairs there is none.
                let second = match second.get(v * SIDE..(v + 1) * SIDE) {
                    Some(second) => _mm512_loadu_si512(second.as_ptr().cast()),
                    None => _mm512_setzero_si512(),
                };
                let low = _mm512_ternarylogic_epi32::<SELECT>(_mm512_slli_epi32::<8>(second), first, lower);
                let carried = _mm512_srli_epi32::<8>(_mm512_add_epi16(first, carry));
                let high = _mm512_ternarylogic_epi32::<SELECT>(_mm512_add_epi16(second, carry), carried, lower);
                _mm512_store_si512(out[at + v].0.as_mut_ptr().cast(), high);
                _mm512_store_si512(out[at + PLANE + v].0.as_mut_ptr().cast(), low);
            }
        }
    }
}

/// Sums of products of digits of sixteen rows and sixteen centroids, a line for each centroid.
#[derive(Clone, Copy)]
struct Products {
    /// Of the high ones.
    high: [Line; SIDE],
    /// Of a high and a low one.
    cross: [Line; SIDE],
    /// Of the low ones, and half the squared norms of the centroids.
    low: [Line; SIDE],
}

impl Products {
    const NONE: Self = {
        let none = [Line::ZERO; SIDE];
        Self {
            high: none,
            cross: none,
            low: none,
        }
    };

    /// The scores of a centroid.
    ///
    /// # Safety
    /// AVX-512 must be present.
    #[inline(always)]
    unsafe fn scores(&self, centroid: usize) -> Avx512Pairs {
        // SAFETY: the caller's promise.
        unsafe {
            let [high, cross, low] =
                [&self.high, &self.cross, &self.low].map(|lines| Avx512Pairs::load(&lines[centroid].0));
            high.shift_byte().add(cross).shift_byte().add(low)
        }
    }
}

/// What a thread keeps for the unit.
#[derive(Default)]
pub(super) struct MatrixRows {
    /// The digits of a tile.
    digits: Vec<Line>,
    /// Sums that are written and ranked in turn.
    turns: Vec<Products>,
}

/// Registers: sums, rows and centroids.
mod register {
    pub(super) const HIGH: usize = 0;
    pub(super) const CROSS: usize = 1;
    pub(super) const LOW: usize = 2;
    pub(super) const ROWS_HIGH: usize = 4;
    pub(super) const ROWS_LOW: usize = 5;
    pub(super) const CENTROIDS_HIGH: usize = 6;
    pub(super) const CENTROIDS_LOW: usize = 7;
}

/// Sixteen rows of a tile and sixteen centroids.
#[derive(Clone, Copy)]
struct Pairing {
    /// Which rows.
    side: usize,
    /// Which centroids.
    group: usize,
}

/// A ranking that goes on with the scores of a pairing, some centroids at a time.
struct Ranker<'t, const THREE: bool> {
    ranking: Ranking<Avx512Pairs, 1>,
    mask: Avx512Pairs,
    products: &'t Products,
    /// Of the centroids of the pairing.
    numbers: &'t [i32; SIDE],
}

impl<'t, const THREE: bool> Ranker<'t, THREE> {
    fn new(
        ranking: Ranking<Avx512Pairs, 1>,
        mask: Avx512Pairs,
        products: &'t Products,
        digits: &'t Digits,
        group: usize,
    ) -> Self {
        Self {
            ranking,
            mask,
            products,
            numbers: &digits.numbers.as_chunks().0[group],
        }
    }

    /// Goes on with `N` centroids, from `first` on, as far as there are any.
    ///
    /// # Safety
    /// AVX-512 must be present.
    #[inline(always)]
    unsafe fn go_on<const N: usize>(&mut self, first: usize) {
        if first < SIDE {
            // Shares divide a group: the remainders below only say so.
            for slot in first..first + N {
                // SAFETY: the caller's promise.
                unsafe {
                    let number = Avx512Pairs::splat(self.numbers[slot % SIDE]);
                    self.ranking
                        .take(THREE, 0, self.products.scores(slot % SIDE), number, self.mask);
                }
            }
        }
    }
}

/// Sums up the products of a pairing, in so many steps, or any number if that is 0. What stands in the registers is written
/// to `last` before; in between, `ranker` goes on.
///
/// # Safety
/// AVX-512 must be present, and the unit in use. Where there is one step, the centroids of a pairing for rows that are not
/// the first are those of the one before.
#[inline(always)]
unsafe fn multiply<const THREE: bool, const STEPS: usize, const SHARE: usize>(
    rows: &[Line],
    digits: &Digits,
    Pairing { side, group }: Pairing,
    last: &mut Products,
    mut ranker: Option<&mut Ranker<'_, THREE>>,
) {
    use register::*;
    let n_steps = if STEPS == 0 { digits.n_steps } else { STEPS };
    let centroids = &digits.lines[group * n_steps * 2 * SIDE..][..n_steps * 2 * SIDE];
    let norms = &digits.half_sq_norms[group * SIDE..][..SIDE];
    // They are still there.
    let has_centroids = STEPS == 1 && side > 0;
    for step in 0..n_steps {
        let rows = &rows[step * 2 * PLANE + side..];
        let centroids = &centroids[step * 2 * SIDE..][..2 * SIDE];
        // SAFETY: the caller's promise.
        let mut rank_some = |part: usize| unsafe {
            if let Some(ranker) = &mut ranker {
                ranker.go_on::<SHARE>((step * 4 + part) * SHARE);
            }
        };
        // SAFETY: the caller's promise.
        unsafe {
            if step == 0 {
                unit::store::<HIGH>(&mut last.high);
                unit::zero::<HIGH>();
            }
            unit::load::<ROWS_HIGH>(rows, BLOCK_LINES);
            if !has_centroids {
                unit::load::<CENTROIDS_HIGH>(centroids, 1);
            }
            unit::add_products::<HIGH, CENTROIDS_HIGH, ROWS_HIGH>();
            rank_some(0);
            if step == 0 {
                unit::store::<CROSS>(&mut last.cross);
                unit::zero::<CROSS>();
            }
            unit::load::<ROWS_LOW>(&rows[PLANE..], BLOCK_LINES);
            unit::add_products::<CROSS, CENTROIDS_HIGH, ROWS_LOW>();
            rank_some(1);
            if step == 0 {
                unit::store::<LOW>(&mut last.low);
                unit::load::<LOW>(norms, 1);
            }
            if !has_centroids {
                unit::load::<CENTROIDS_LOW>(&centroids[SIDE..], 1);
            }
            unit::add_products::<CROSS, CENTROIDS_LOW, ROWS_HIGH>();
            rank_some(2);
            unit::add_products::<LOW, CENTROIDS_LOW, ROWS_LOW>();
            rank_some(3);
        }
    }
}

/// Ranks the scores of so many sides of a tile. Centroids are read once for all of them.
///
/// # Safety
/// AVX-512 F, BW and VNNI must be present, and the unit in use.
#[inline(always)]
unsafe fn rank<const THREE: bool, const STEPS: usize, const SHARE: usize>(
    mut ahead: Ahead<'_>,
    (rows, n_sides): (&[Line], usize),
    turns: &mut [Products; 2],
    (table, digits): (&CoarseTable, &Digits),
) -> [Ranking<Avx512Pairs, 1>; BLOCK_LINES] {
    let [mut last, mut ready] = turns.each_mut();
    // SAFETY: the caller's promise.
    unsafe {
        let mask = Avx512Pairs::splat(table.tag_mask);
        let mut rankings = [Ranking::<Avx512Pairs, 1>::new(); BLOCK_LINES];
        // Pairings whose products are summed up, and were written before these.
        let (mut summed, mut written): (Option<Pairing>, Option<Pairing>) = (None, None);
        for group in 0..digits.n_groups() {
            ahead.fetch_early();
            for side in 0..n_sides {
                let next = Pairing { side, group };
                if let Some(of) = written {
                    let mut ranker = Ranker::new(rankings[of.side], mask, ready, digits, of.group);
                    multiply::<THREE, STEPS, SHARE>(rows, digits, next, last, Some(&mut ranker));
                    rankings[of.side] = ranker.ranking;
                } else {
                    multiply::<THREE, STEPS, SHARE>(rows, digits, next, last, None);
                }
                (summed, written) = (Some(next), summed);
                std::mem::swap(&mut last, &mut ready);
            }
        }
        unit::store::<{ register::HIGH }>(&mut last.high);
        unit::store::<{ register::CROSS }>(&mut last.cross);
        unit::store::<{ register::LOW }>(&mut last.low);
        for (of, products) in [(written, &*ready), (summed, &*last)] {
            let Some(Pairing { side, group }) = of else { continue };
            let mut ranker = Ranker::<THREE>::new(rankings[side], mask, products, digits, group);
            ranker.go_on::<SIDE>(0);
            rankings[side] = ranker.ranking;
        }
        rankings
    }
}

/// Finds `WHAT` (one of [`find`]) of all rows of a tile.
///
/// # Safety
/// AVX-512 F, BW and VNNI and the unit must be present.
#[inline(always)]
unsafe fn score_tile<const WHAT: u8, const THREE: bool>(
    tile: &Tile<'_>,
    (table, digits): (&CoarseTable, &Digits),
    rows: &mut CoarseRows,
    out: &mut TileScores,
) {
    rows.reserve(table.n_pairs);
    let CoarseRows {
        pairs,
        sq_norms,
        matrix,
    } = rows;
    matrix.digits.resize(digits.n_steps * 2 * PLANE, Line::ZERO);
    matrix.turns.resize(2, Products::NONE);
    let turns: &mut [Products; 2] = matrix.turns.as_mut_slice().try_into().expect("two of them");
    (out.doubtful, out.narrowed) = (0, 0);
    // SAFETY: the caller's promise.
    unsafe {
        unit::enter();
        let pairs = round::<Avx512Pairs, BLOCK_LINES>(tile, table, bytemuck::cast_slice_mut(pairs), sq_norms);
        split(pairs, &mut matrix.digits);
        let n_sides = tile.n_rows.div_ceil(SIDE);
        let ahead = Ahead::new(tile.ahead, 0, BLOCK, digits.n_groups());
        let (rows, with) = ((&matrix.digits[..], n_sides), (table, digits));
        let rankings = match digits.n_steps {
            1 => rank::<THREE, 1, 4>(ahead, rows, turns, with),
            2 => rank::<THREE, 2, 2>(ahead, rows, turns, with),
            _ => rank::<THREE, 0, 2>(ahead, rows, turns, with),
        };
        for (side, ranking) in rankings.iter().enumerate().take(n_sides) {
            out.doubtful |= conclude::<_, 1, WHAT>(ranking, sq_norms, side * SIDE, table, out);
        }
    }
    if tile.n_rows < BLOCK {
        out.doubtful &= (1 << tile.n_rows) - 1;
    }
}

/// The kernels, where the processor has what they need: for tables with digits; for others those that multiply pairs.
pub(super) fn available() -> Option<CoarseKernels> {
    macro_rules! kernel {
        ($name:ident, $what:expr) => {{
            // SAFETY (both): asked for below, before these are given out.
            #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
            fn with_digits(
                tile: &Tile<'_>,
                with: (&CoarseTable, &Digits),
                rows: &mut CoarseRows,
                out: &mut TileScores,
            ) {
                unsafe { score_tile::<{ $what }, { $what != find::NEAREST }>(tile, with, rows, out) }
            }
            |tile, table, rows, out| match &table.digits {
                Some(digits) => unsafe { with_digits(tile, (table, digits), rows, out) },
                None => unsafe { (coarse_kernel::avx512().$name)(tile, table, rows, out) },
            }
        }};
    }
    let present = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
        && unit::is_available();
    present.then(|| CoarseKernels {
        nearest: kernel!(nearest, find::NEAREST),
        two_nearest: kernel!(two_nearest, find::TWO_NEAREST),
        with_rival: kernel!(with_rival, find::WITH_RIVAL),
        has_matrix_unit: true,
        leave: unit::leave,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::tiles::{Centroids, TileSet};

    #[test]
    fn a_number_is_its_digits() {
        for number in (i16::MIN..=32_639).step_by(7) {
            let pair = u32::from(number as u16) << 16 | 0x1234;
            let [high, low] = digits([pair, pair]).map(|word| word.to_le_bytes().map(i32::from));
            let signed = |byte: i32| i32::from(byte as u8 as i8);
            // The second pair's stand between those of the first.
            for at in [2, 3] {
                assert_eq!(256 * signed(high[at]) + signed(low[at]), i32::from(number));
            }
        }
    }

    /// Everything that is found, with and without digits, bit by bit.
    #[test]
    fn scores_are_those_of_pairs() {
        let Some(kernels) = available() else { return };
        let mut rng = Rng::new(11, 0);
        for (d, k, n_rows) in [
            (1, 4, 64),
            (33, 16, 64),
            (64, 17, 1),
            (65, 40, 33),
            (128, 64, 64),
            (131, 100, 48),
            (300, 30, 64),
        ] {
            let mut number = |width: u128| rng.below(width) as i64 - width as i64 / 2;
            let centroids: Vec<i32> = (0..k * d).map(|_| number(1 << 29) as i32).collect();
            let rows: Vec<f32> = (0..n_rows * d).map(|_| number(1 << 21) as f32).collect();
            let tiles = TileSet::from_rows(&rows, d, None, usize::MAX);
            let tile = Tile {
                block: tiles.chunks()[0].block(0),
                values: &[],
                n_rows,
                ahead: &[],
            };
            for (usual_norm, finest) in [(0.0, true), (0.0, false), (3e8, false)] {
                let table = || CoarseTable::new(&Centroids::new(d, centroids.clone()), usual_norm, finest).unwrap();
                let found = |table: &CoarseTable| {
                    [kernels.nearest, kernels.two_nearest, kernels.with_rival].map(|find| {
                        let mut out = TileScores::new();
                        find(&tile, table, &mut CoarseRows::new(), &mut out);
                        let margins = [out.margin, out.margin_of_rest].map(|margins| margins.map(f32::to_bits));
                        let labels = [out.nearest, out.runner_up];
                        (
                            labels.map(|all| all[..n_rows].to_vec()),
                            margins.map(|all| all[..n_rows].to_vec()),
                            [out.doubtful, out.doubtful & out.narrowed],
                        )
                    })
                };
                assert_eq!(
                    found(&table().with_digits()),
                    found(&table()),
                    "{d} features, {k} clusters"
                );
                (kernels.leave)();
            }
        }
    }
}
