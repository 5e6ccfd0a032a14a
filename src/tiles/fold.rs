//! Equal rows of a data set as one, whose weight is their number.
//!
//! Scores, answers and small counts leave few distinct rows among millions. All that is added up about rows is integers,
//! so that a pass over the distinct ones, weighted, gives the bits that a pass over all of them gives.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::{BLOCK, Block, Chunk, MAX_WEIGHT, TileSet, row_bytes, row_words};
use crate::num::widest::{Kernel, widest};
use crate::rng::hash_key;
use crate::sys;

/// Fewer rows are assigned before it is known which of them are equal.
const LEAST_ROWS: usize = 1 << 17;
/// Blocks that tell whether few rows are distinct.
const SAMPLE_BLOCKS: usize = 1 << 10;
/// Of the rows in these, one in so many may be distinct.
const SAMPLE_SHARE: usize = 16;
/// The same of all rows, counted in each run of them: a larger part of a data set has no larger share of distinct rows,
/// but what a sample says is not quite what is there.
const SHARE: usize = 8;
/// Rows of a run that one thread goes through, at least, ...
const RUN_ROWS: usize = 1 << 16;
/// ... and runs, about, of more rows than that makes.
const RUNS: usize = 64;
/// Bytes that a distinct row takes while equal ones are looked for, about: an entry and places in a table, both of which
/// grow by doubling.
const ENTRY_BYTES: u64 = 128;
/// Steps beyond the first that a look into a table takes on average, at most: several times as many as hashes that are
/// as good as random take. What has more was made to.
const STEPS: u64 = 4;
/// The same on the whole, for few looks.
const FIRST_STEPS: u64 = 1 << 12;

/// The distinct rows of a data set without weights, in the order in which they come first.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    tiles: TileSet,
    places: Vec<u32>,
}

impl Fold {
    /// Whether a look at some rows, evenly spread, says that [`Fold::new`] is worth its while: they are many, have no weights,
    /// and few of them are distinct.
    ///
    /// Where most rows are distinct it takes as long as it takes to read some thousands of them.
    #[must_use]
    pub fn is_likely(data: &TileSet) -> bool {
        if data.weighted() || data.n_rows() < LEAST_ROWS {
            return false;
        }
        let blocks = sampled_blocks(data.n_rows());
        let most = blocks.len() * BLOCK / SAMPLE_SHARE;
        let mut distinct = Distinct::new(data.n_features());
        for block in blocks {
            let (chunk, row) = data.locate(block * BLOCK);
            distinct.add_block(&data.chunks()[chunk], row / BLOCK, |_, _| ());
            if distinct.entries.len() > most || distinct.is_hostile() {
                return false;
            }
        }
        true
    }

    /// How many distinct rows are few enough to be folded, within so many bytes of memory; 0 where none are.
    #[must_use]
    pub fn most_rows(n_rows: usize, n_features: usize, bytes: u64) -> usize {
        let left = bytes.saturating_sub(size_of::<u32>() as u64 * n_rows as u64);
        let affordable = left / (ENTRY_BYTES + row_bytes(n_features) + size_of::<u32>() as u64);
        (n_rows / SHARE).min(usize::try_from(affordable).unwrap_or(usize::MAX))
    }

    /// Bytes that this takes at most of so many rows, while equal ones are looked for and after; 0 of rows too few to be
    /// folded.
    #[must_use]
    pub fn most_bytes(n_rows: usize, n_features: usize) -> u64 {
        if n_rows < LEAST_ROWS {
            return 0;
        }
        let word = size_of::<u32>() as u64;
        word * n_rows as u64 + (n_rows / SHARE) as u64 * (ENTRY_BYTES + row_bytes(n_features) + word)
    }

    /// Folds equal rows, on all threads of the pool it is called in, to the same whatever their number.
    ///
    /// `None` where there are more than `most` distinct rows, each counted in every run of rows (64 of them, or as many as
    /// have 65,536 rows, and none across chunks) that it stands in; where there is no memory; and where rows were made to
    /// have the same hashes.
    ///
    /// # Panics
    /// If the data is weighted: sums and weights would be right, but nobody could tell how many rows there are.
    #[must_use]
    pub fn new(data: &TileSet, most: usize) -> Option<Self> {
        assert!(!data.weighted(), "rows without weights");
        // Those that stand several times have numbers of their own.
        let most = most.min(1 << 31);
        let mut places: Vec<u32> = sys::zeros(data.n_rows())?;
        let mut runs = runs(data, &mut places);
        let n_distinct = AtomicUsize::new(0);
        let found = runs.par_iter_mut().map(|run| run.distinct(&n_distinct, most));
        let found: Option<Vec<Vec<Entry<'_>>>> = found.collect();
        let mut all = Distinct::new(data.n_features());
        let mut numbers = Vec::new();
        for entries in found? {
            let entries = entries.into_iter();
            let of_all = entries.map(|entry| all.add(entry.hash, entry.words, entry.first_row, entry.count));
            numbers.push(of_all.collect::<Vec<u32>>());
            if all.is_hostile() {
                return None;
            }
        }
        let (mut rows, mut weights, mut first_places) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &all.entries {
            first_places.push(rows.len() as u32);
            let mut left = entry.count;
            while left > 0 {
                let weight = left.min(u64::from(MAX_WEIGHT));
                rows.push(entry.first_row);
                weights.push(weight as u32);
                left -= weight;
            }
        }
        drop(all);
        { runs.into_par_iter().zip(numbers) }.for_each(|(run, numbers)| {
            for place in run.places {
                *place = first_places[numbers[*place as usize] as usize];
            }
        });
        Some(Self {
            tiles: data.gather_weighted(&rows, &weights),
            places,
        })
    }

    /// The distinct rows, weighted by their numbers. A row that there is more than [`MAX_WEIGHT`] times stands several times
    /// there.
    #[must_use]
    pub fn tiles(&self) -> &TileSet {
        &self.tiles
    }

    /// For each row of the data, the number of an equal one in [`Fold::tiles`].
    #[must_use]
    pub fn places(&self) -> &[u32] {
        &self.places
    }

    /// What holds of each row of the data, from what holds of the distinct ones.
    ///
    /// # Panics
    /// If there is not one value per distinct row, or no memory for one per row.
    #[must_use]
    pub fn unfolded(&self, values: &[u32]) -> Vec<u32> {
        assert_eq!(values.len(), self.tiles.n_rows(), "a value per distinct row");
        let mut out = sys::zeros(self.places.len()).expect("memory for the labels");
        { out.par_chunks_mut(RUN_ROWS).zip(self.places.par_chunks(RUN_ROWS)) }.for_each(|(out, places)| {
            for (value, &place) in out.iter_mut().zip(places) {
                *value = values[place as usize];
            }
        });
        out
    }

    /// How many rows of the data differ between two labellings of the distinct ones.
    pub(crate) fn n_different(&self, a: &[u32], b: &[u32]) -> u64 {
        let weights = self
            .tiles
            .chunks()
            .iter()
            .flat_map(|chunk| chunk.weights().unwrap_or(&[]));
        { a.iter().zip(b).zip(weights) }
            .filter(|((a, b), _)| a != b)
            .map(|(_, &weight)| u64::from(weight))
            .sum()
    }
}

/// The blocks that tell whether few rows are distinct, all of them full: one of each of equal stretches of the data, by its
/// hash, so that no period of the rows can hide from them.
fn sampled_blocks(n_rows: usize) -> Vec<usize> {
    let n_blocks = n_rows / BLOCK;
    let n_stretches = n_blocks.min(SAMPLE_BLOCKS);
    let block = |stretch: usize| {
        let [first, end] =
            [stretch, stretch + 1].map(|stretch| stretch as u128 * n_blocks as u128 / n_stretches as u128);
        (first + u128::from(hash_key(0, stretch as u128)) % (end - first)) as usize
    };
    (0..n_stretches).map(block).collect()
}

/// Neighbouring blocks of a chunk, with the places of their rows.
struct Run<'t, 'p> {
    chunk: &'t Chunk,
    blocks: Range<usize>,
    /// Numbers among the distinct rows of the run, at first.
    places: &'p mut [u32],
}

/// All rows in runs, which depend on the data alone.
fn runs<'t, 'p>(data: &'t TileSet, mut places: &'p mut [u32]) -> Vec<Run<'t, 'p>> {
    let n_blocks = (data.n_rows() / RUNS).max(RUN_ROWS).div_ceil(BLOCK);
    let mut runs = Vec::new();
    for chunk in data.chunks() {
        for first in (0..chunk.n_blocks()).step_by(n_blocks) {
            let blocks = first..(first + n_blocks).min(chunk.n_blocks());
            let n_rows = (blocks.len() * BLOCK).min(chunk.n_rows() - first * BLOCK);
            let (own, rest) = std::mem::take(&mut places).split_at_mut(n_rows);
            places = rest;
            runs.push(Run {
                chunk,
                blocks,
                places: own,
            });
        }
    }
    runs
}

impl<'t> Run<'t, '_> {
    /// The distinct rows, and the number of each row among them in its place. Adds to `n_distinct` as it finds them.
    /// `None` once these are more than `most`, and where rows were made to have the same hashes.
    fn distinct(&mut self, n_distinct: &AtomicUsize, most: usize) -> Option<Vec<Entry<'t>>> {
        let mut distinct = Distinct::new(self.chunk.n_features());
        for (block, places) in self.blocks.clone().zip(self.places.chunks_mut(BLOCK)) {
            let before = distinct.entries.len();
            distinct.add_block(self.chunk, block, |lane, number| places[lane] = number);
            let n = distinct.entries.len() - before;
            if n > 0 && n_distinct.fetch_add(n, Ordering::Relaxed) + n > most || distinct.is_hostile() {
                return None;
            }
        }
        Some(distinct.entries)
    }
}

/// Rows that differ from each other, in the order in which they came.
struct Distinct<'t> {
    n_words: usize,
    entries: Vec<Entry<'t>>,
    /// A hash table, a quarter full at most, so that hardly a look takes a second step: a hash above the number of its entry
    /// and 1, or 0.
    slots: Vec<u64>,
    n_looks: u64,
    n_steps: u64,
}

/// One of them.
struct Entry<'t> {
    hash: u32,
    /// Its first word; the others stand a block's width apart.
    words: &'t [u32],
    /// Where in the data it comes first.
    first_row: usize,
    count: u64,
}

impl<'t> Distinct<'t> {
    fn new(n_features: usize) -> Self {
        Self {
            n_words: row_words(n_features),
            entries: Vec::new(),
            slots: vec![0; 64],
            n_looks: 0,
            n_steps: 0,
        }
    }

    /// Adds the rows of a block; `tell` hears the number of each.
    fn add_block(&mut self, chunk: &'t Chunk, block: usize, mut tell: impl FnMut(usize, u32)) {
        let words = chunk.block(block);
        let hashes = widest(Hashes(words));
        let first_row = chunk.first_row() + block * BLOCK;
        for (lane, hash) in hashes.into_iter().enumerate().take(chunk.block_rows(block)) {
            tell(lane, self.add(hash, &words.words()[lane..], first_row + lane, 1));
        }
    }

    /// The number of the row that is equal to this one, which is counted there; its own, where none was.
    #[inline(always)]
    fn add(&mut self, hash: u32, words: &'t [u32], first_row: usize, count: u64) -> u32 {
        self.n_looks += 1;
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return self.push(
                    at,
                    Entry {
                        hash,
                        words,
                        first_row,
                        count,
                    },
                );
            }
            if (slot >> 32) as u32 == hash {
                let number = slot as u32 - 1;
                let entry = &mut self.entries[number as usize];
                if is_same(entry.words, words, self.n_words) {
                    entry.count += count;
                    return number;
                }
            }
            self.n_steps += 1;
            at = (at + 1) & mask;
        }
    }

    /// A row that none is equal to, whose slot is free.
    #[cold]
    fn push(&mut self, at: usize, entry: Entry<'t>) -> u32 {
        let number = self.entries.len() as u32;
        self.slots[at] = slot(entry.hash, number);
        self.entries.push(entry);
        if 4 * self.entries.len() > self.slots.len() {
            self.grow();
        }
        number
    }

    fn grow(&mut self) {
        let mask = 2 * self.slots.len() - 1;
        self.slots.clear();
        self.slots.resize(mask + 1, 0);
        for (entry, number) in self.entries.iter().zip(0..) {
            let mut at = entry.hash as usize & mask;
            while self.slots[at] != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot(entry.hash, number);
        }
    }

    /// Whether looks take so many steps that the rows must have been chosen for it: a table is then no way to find equals.
    fn is_hostile(&self) -> bool {
        self.n_steps > STEPS * self.n_looks + FIRST_STEPS
    }
}

fn slot(hash: u32, number: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(number + 1)
}

fn is_same(a: &[u32], b: &[u32], n_words: usize) -> bool {
    (0..n_words).all(|word| a[word * BLOCK] == b[word * BLOCK])
}

/// A hash of each row of a block: that of A. Appleby's MurmurHash3 (x86, 32 bits), without the length, row beside row.
struct Hashes<'b>(Block<'b>);

impl Kernel for Hashes<'_> {
    type Output = [u32; BLOCK];

    #[inline(always)]
    fn run(self) -> [u32; BLOCK] {
        let mut hashes = [0u32; BLOCK];
        for words in self.0.words().chunks_exact(BLOCK) {
            for (hash, &word) in hashes.iter_mut().zip(words) {
                let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
                *hash = (*hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
            }
        }
        for hash in &mut hashes {
            *hash = (*hash ^ *hash >> 16).wrapping_mul(0x85eb_ca6b);
            *hash = (*hash ^ *hash >> 13).wrapping_mul(0xc2b2_ae35);
            *hash ^= *hash >> 16;
        }
        hashes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::rng::{Rng, mix64};

    fn tiles(rows: &[f32], n_features: usize, chunk_blocks: usize) -> TileSet {
        TileSet::from_rows(
            rows,
            n_features,
            None,
            chunk_blocks.saturating_mul(n_features * BLOCK * 4),
        )
    }

    fn rows_of(data: &TileSet) -> Vec<Vec<i32>> {
        let row = |row| {
            let mut x = vec![0; data.n_features()];
            data.read_row(row, &mut x);
            x
        };
        (0..data.n_rows()).map(row).collect()
    }

    /// What is wrong with a fold, held against a map of whole rows.
    fn fault(data: &TileSet, fold: &Fold) -> Option<&'static str> {
        let rows = rows_of(data);
        let mut counts: HashMap<&[i32], u64> = HashMap::new();
        let mut order: Vec<&[i32]> = Vec::new();
        for row in &rows {
            let count = counts.entry(row).or_insert_with(|| {
                order.push(row);
                0
            });
            *count += 1;
        }
        let folded = rows_of(&fold.tiles);
        let mut distinct: Vec<&[i32]> = folded.iter().map(Vec::as_slice).collect();
        distinct.dedup();
        let weights: Vec<u64> = (0..folded.len()).map(|row| u64::from(fold.tiles.weight(row))).collect();
        let mut added: HashMap<&[i32], u64> = HashMap::new();
        for (row, weight) in folded.iter().zip(&weights) {
            *added.entry(row).or_default() += weight;
        }
        if distinct != order {
            Some("other rows, or another order")
        } else if added != counts || weights.contains(&0) {
            Some("other weights")
        } else if (rows.iter().zip(&fold.places)).any(|(row, &place)| folded[place as usize] != *row) {
            Some("a row that is not equal")
        } else if fold.places.len() != rows.len() {
            Some("another number of rows")
        } else {
            None
        }
    }

    fn scores(n_rows: usize, n_features: usize, levels: u128) -> Vec<f32> {
        let mut rng = Rng::new(3, n_features as u64);
        // Of all sizes, so that every word of a row has to be looked at.
        let value = |_| (rng.below(levels) * rng.below(2) * 99_991) as f32 - 4e6;
        (0..n_rows * n_features).map(value).collect()
    }

    #[test]
    fn every_row_is_equal_to_the_one_in_its_place() {
        for (n_rows, d, levels) in [
            (1, 1, 2),
            (64, 3, 2),
            (1000, 1, 5),
            (5000, 2, 9),
            (3001, 7, 2),
            (700, 33, 2),
            (900, 4, 1),
        ] {
            let values = scores(n_rows, d, levels);
            let whole = Fold::new(&tiles(&values, d, usize::MAX), usize::MAX).unwrap();
            for chunk_blocks in [1, 5, usize::MAX] {
                let data = tiles(&values, d, chunk_blocks);
                for threads in [1, 2, 7] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let fold = pool.install(|| Fold::new(&data, usize::MAX)).unwrap();
                    assert_eq!(fault(&data, &fold), None, "{n_rows} x {d}");
                    assert_eq!(fold, whole, "chunks of {chunk_blocks}, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn faults_are_found() {
        let data = tiles(&scores(3000, 2, 4), 2, 7);
        let fold = Fold::new(&data, usize::MAX).unwrap();
        let faults: [fn(&mut Fold); 5] = [
            |fold| fold.places[2999] ^= 1,
            |fold| fold.places.truncate(2999),
            |fold| fold.tiles.set_weight(2, fold.tiles.weight(2) + 1),
            |fold| fold.tiles.fill_rows(1, &[vec![5.0], vec![5.0]]),
            |fold| fold.tiles = fold.tiles.gather(&(0..fold.tiles.n_rows()).rev().collect::<Vec<_>>()),
        ];
        for (number, plant) in faults.into_iter().enumerate() {
            let mut faulty = fold.clone();
            plant(&mut faulty);
            assert!(fault(&data, &faulty).is_some(), "fault {number}");
        }
    }

    #[test]
    fn what_there_is_more_often_than_a_weight_holds_stands_several_times() {
        let n = 2 * MAX_WEIGHT as usize;
        let values: Vec<f32> = (0..n + 100).map(|row| f32::from(u8::from(row % 1000 == 7))).collect();
        let data = tiles(&values, 1, 100);
        let fold = Fold::new(&data, usize::MAX).unwrap();
        assert_eq!(fault(&data, &fold), None);
        let weights: Vec<u32> = (0..3).map(|row| fold.tiles.weight(row)).collect();
        assert_eq!(
            (weights, fold.tiles.n_rows()),
            (vec![MAX_WEIGHT, MAX_WEIGHT - 32, 132], 3)
        );
        assert_eq!(fold.places[..9], [0, 0, 0, 0, 0, 0, 0, 2, 0]);
        // Exactly as many are one.
        let once = Fold::new(&tiles(&vec![1.0; MAX_WEIGHT as usize], 1, usize::MAX), 1).unwrap();
        assert_eq!((once.tiles.n_rows(), once.tiles.weight(0)), (1, MAX_WEIGHT));
    }

    #[test]
    fn values_go_to_all_rows_and_differences_are_counted_in_rows() {
        let data = tiles(&[4., 9., 4., 4., 9., 2.], 1, 1);
        let fold = Fold::new(&data, 3).unwrap();
        assert_eq!(fold.unfolded(&[10, 11, 12]), [10, 11, 10, 10, 11, 12]);
        assert_eq!(fold.n_different(&[1, 2, 3], &[1, 2, 3]), 0);
        assert_eq!(fold.n_different(&[1, 2, 3], &[7, 2, 9]), 4);
    }

    #[test]
    fn too_many_distinct_rows_are_not_folded() {
        let data = tiles(&[4., 9., 4., 4., 9., 2.], 1, 1);
        assert!(Fold::new(&data, 2).is_none() && Fold::new(&data, 3).is_some());
        // Memory for so many alone.
        let [none, all] = [0, u64::MAX].map(|bytes| Fold::most_rows(800_000, 3, bytes));
        assert_eq!((none, all), (0, 100_000));
        let most = Fold::most_bytes(800_000, 3);
        assert_eq!(Fold::most_rows(800_000, 3, most), 100_000);
        assert_eq!(Fold::most_rows(800_000, 3, most - 1), 99_999);
    }

    #[test]
    fn a_look_at_some_rows_tells_whether_it_pays() {
        let n = LEAST_ROWS + 99;
        let with = |levels: u64| {
            tiles(
                &(0..n as u64)
                    .map(|row| (mix64(row) % levels) as f32)
                    .collect::<Vec<_>>(),
                1,
                100,
            )
        };
        assert!(Fold::is_likely(&with(100)) && Fold::is_likely(&with(4000)));
        assert!(!Fold::is_likely(&with(5000)) && !Fold::is_likely(&with(1 << 22)));
        // Rows with weights, and few rows, are left as they are.
        let few = tiles(&vec![0.0; LEAST_ROWS - 1], 1, 100);
        assert!(!Fold::is_likely(&few) && Fold::is_likely(&tiles(&vec![0.0; LEAST_ROWS], 1, 100)));
        let mut weighted = with(100);
        weighted.try_weigh().unwrap();
        assert!(!Fold::is_likely(&weighted));
    }

    /// Rows of which those that are looked at first are all the same, and the others all different.
    pub(crate) fn deceiving(n_rows: usize) -> TileSet {
        let mut values: Vec<f32> = (0..n_rows).map(|row| row as f32).collect();
        for block in sampled_blocks(n_rows) {
            values[block * BLOCK..][..BLOCK].fill(0.0);
        }
        tiles(&values, 1, 1000)
    }

    #[test]
    fn what_a_look_missed_ends_it_half_way() {
        let data = deceiving(2 * LEAST_ROWS);
        assert!(Fold::is_likely(&data));
        let most = Fold::most_rows(data.n_rows(), 1, u64::MAX);
        assert!(Fold::new(&data, most).is_none());
        assert!(Fold::new(&data, usize::MAX).is_some());
    }

    #[test]
    fn the_looked_at_blocks_are_full_and_spread() {
        for n_rows in [64, 100, 6400, 1_000_001] {
            let blocks = sampled_blocks(n_rows);
            assert_eq!(blocks.len(), (n_rows / BLOCK).min(SAMPLE_BLOCKS));
            assert!(blocks.is_sorted_by(|a, b| a < b) && blocks.iter().all(|block| (block + 1) * BLOCK <= n_rows));
            let stretch = n_rows / BLOCK / blocks.len() + 1;
            assert!(blocks.windows(2).all(|pair| pair[1] - pair[0] < 2 * stretch));
        }
    }

    #[test]
    fn rows_made_to_have_the_same_hashes_end_it_soon() {
        // Their lowest bits are all that tables of these sizes look at.
        let n_distinct = 400;
        let alike = |mask: u32| {
            let mut rows = Vec::new();
            for first in 0.. {
                let values: Vec<f32> = (0..BLOCK).map(|at| (first * BLOCK + at) as f32).collect();
                let data = tiles(&values, 1, 1);
                let hashes = Hashes(data.chunks()[0].block(0)).run();
                let chosen = values.into_iter().zip(hashes).filter(|(_, hash)| hash & mask == 0);
                rows.extend(chosen.map(|(value, _)| value));
                if rows.len() >= n_distinct {
                    rows.truncate(n_distinct);
                    return tiles(&rows.repeat(4), 1, 100);
                }
            }
            unreachable!("some rows have such hashes")
        };
        assert!(Fold::new(&alike(0), n_distinct).is_some());
        assert!(Fold::new(&alike(1023), n_distinct).is_none());
    }
}
