//! Layer 1: the numbers of a data set on the grid, in the one layout that every backend reads.
//!
//! Rows stand in blocks of [`BLOCK`], and of each word of a row those of 64 rows side by side: a SIMD lane is a row,
//! neighbouring GPU threads read neighbouring words, and a chunk boundary always falls between blocks. [`Block`] tells
//! which words there are.

mod centroids;
mod cut;
mod floats;
mod fold;
mod keys;
mod shared;
mod subset;
mod width;
mod words;

pub use centroids::Centroids;
pub(crate) use floats::{FloatPiece, FloatRows, FloatTiles};
pub use fold::Fold;
#[cfg(test)]
pub(crate) use fold::tests::deceiving;
pub use keys::RowKeys;
pub(crate) use width::{n_pairs, row_words};
pub use words::Block;

use std::collections::TryReserveError;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use self::cut::Cuts;
use self::shared::Shared;
use crate::error::{Error, Result};
use crate::grid::MAX_FEATURES;
use crate::num::widest::{Kernel, widest};
use crate::sys::LARGE_PAGE;

/// Rows in a block.
pub const BLOCK: usize = 64;
/// Largest size of a chunk's values in bytes, unless a smaller limit is asked for.
pub const MAX_CHUNK_BYTES: usize = 1 << 30;
/// Largest integer weight: weights are quantized to `1 ..= 2^16` (or 0).
pub const MAX_WEIGHT: u32 = 1 << 16;

/// A run of rows: their grid values in tile layout and, where the data is weighted, their integer weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    first_row: usize,
    n_rows: usize,
    n_features: usize,
    words: Shared<u32>,
    weights: Option<Shared<u32>>,
}

impl Chunk {
    /// Row number, in the whole data, of this chunk's first row; a multiple of [`BLOCK`].
    #[must_use]
    pub fn first_row(&self) -> usize {
        self.first_row
    }

    /// Rows in this chunk, without the padding of the last block.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Features of each row.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Blocks of 64 rows, the last one padded with zeros.
    #[must_use]
    pub fn n_blocks(&self) -> usize {
        self.n_rows.div_ceil(BLOCK)
    }

    /// The words of all blocks, one block after the other; padding rows are 0.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The rows of block `block`.
    #[inline]
    #[must_use]
    pub fn block(&self, block: usize) -> Block<'_> {
        let len = block_words(self.n_features);
        crate::sys::about_to_read(len * size_of::<u32>());
        Block::new(&self.words[block * len..(block + 1) * len], self.n_features)
    }

    /// All values as floats without error: block by block, feature by feature, 64 rows each.
    pub(crate) fn to_floats(&self) -> Vec<f32> {
        let len = self.n_features * BLOCK;
        let mut values = vec![0.0; self.n_blocks() * len];
        { values.par_chunks_exact_mut(len).enumerate() }.for_each(|(block, values)| self.block(block).unpack(values));
        values
    }

    /// Rows of block `block` that are not padding: 64, or fewer in the last block.
    #[must_use]
    pub fn block_rows(&self, block: usize) -> usize {
        (self.n_rows - block * BLOCK).min(BLOCK)
    }

    /// The integer weights of the rows, one per row without padding; `None` where every row weighs 1.
    #[must_use]
    pub fn weights(&self) -> Option<&[u32]> {
        self.weights.as_deref()
    }

    /// The weight of one row of this chunk.
    #[must_use]
    pub fn weight(&self, row: usize) -> u32 {
        self.weights.as_ref().map_or(1, |weights| weights[row])
    }

    /// Value `(row, feature)`, `row` counted inside this chunk.
    #[must_use]
    pub fn value(&self, row: usize, feature: usize) -> i32 {
        self.block(row / BLOCK).value(row % BLOCK, feature)
    }

    /// Squared norms of a block's rows, in grid units squared: below 2^61. Padding rows are zeros.
    pub(crate) fn sq_norms(&self, block: usize) -> [u64; BLOCK] {
        let mut norms = [0; BLOCK];
        // Squares are below 2^46: so many of them add up in `f64` without rounding.
        for first in (0..self.n_features).step_by(EXACT_SQUARES) {
            let features = first..(first + EXACT_SQUARES).min(self.n_features);
            let block = self.block(block);
            let sums = widest(SqNorms { block, features });
            norms.iter_mut().zip(sums).for_each(|(norm, sum)| *norm += sum as u64);
        }
        norms
    }

    /// Sum over a block's rows of weight times squared norm.
    fn block_sq_norm(&self, block: usize) -> u128 {
        let norms = self.sq_norms(block).into_iter().map(u128::from);
        match &self.weights {
            None => norms.sum(),
            Some(weights) => {
                let rows = norms.zip(&weights[block * BLOCK..]);
                rows.map(|(norm, &weight)| norm * u128::from(weight)).sum()
            }
        }
    }

    /// Copies one row of this chunk into `out` as integers.
    pub fn read_row(&self, row: usize, out: &mut [i32]) {
        let values = self.block(row / BLOCK).row(row % BLOCK);
        out.iter_mut().zip(values).for_each(|(out, x)| *out = x);
    }
}

/// Squares of grid values that add up in `f64` without rounding: 2^7 below 2^46.
const EXACT_SQUARES: usize = 1 << 7;

/// Squared norms of the rows of a block in some features.
struct SqNorms<'b> {
    block: Block<'b>,
    features: Range<usize>,
}

impl Kernel for SqNorms<'_> {
    type Output = [f64; BLOCK];

    #[inline(always)]
    fn run(self) -> [f64; BLOCK] {
        let mut norms = [0.0; BLOCK];
        for feature in self.features {
            for (norm, x) in norms.iter_mut().zip(self.block.integers(feature)) {
                *norm += f64::from(x) * f64::from(x);
            }
        }
        norms
    }
}

/// Bytes that the values of a row take, in the host's memory and in a device's.
#[must_use]
pub fn row_bytes(n_features: usize) -> u64 {
    (row_words(n_features) * size_of::<u32>()) as u64
}

/// Words of a block.
pub(crate) fn block_words(n_features: usize) -> usize {
    row_words(n_features) * BLOCK
}

/// Rows of a chunk, all blocks full, of at most so many bytes of values, and at least one block.
fn chunk_rows(n_features: usize, chunk_bytes: usize) -> usize {
    (chunk_bytes / (block_words(n_features) * size_of::<u32>())).max(1) * BLOCK
}

/// What cannot be had of memory.
fn no_memory(n_rows: usize, n_features: usize, row_bytes: usize) -> Error {
    Error::OutOfMemory {
        what: format!("the prepared data ({n_rows} rows x {n_features} features)"),
        bytes: (n_rows as u64).saturating_mul(row_bytes as u64),
    }
}

/// A whole data set as chunks. Every backend gives the same answer for every way of cutting it.
#[derive(Debug, Clone, PartialEq)]
pub struct TileSet {
    n_rows: usize,
    n_features: usize,
    chunk_rows: usize,
    /// Rows that a first chunk of `chunk_rows` would hold before the first row.
    skipped: usize,
    weighted: bool,
    chunks: Vec<Chunk>,
    stamp: Stamp,
}

/// Tells the contents of data sets apart: another one for each, after each change, and in each copy.
#[derive(Debug)]
struct Stamp {
    number: u64,
    /// Stretches of these contents.
    cuts: Cuts,
}

impl Stamp {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            cuts: Cuts::new(),
        }
    }
}

impl Clone for Stamp {
    fn clone(&self) -> Self {
        Self::new()
    }
}

/// Data sets are equal whose values are.
impl PartialEq for Stamp {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl TileSet {
    /// A data set of zeros to be filled with [`TileSet::fill_rows`], in chunks of at most `chunk_bytes`
    /// (at least one block each).
    ///
    /// # Panics
    /// If `n_features` is 0 or above [`MAX_FEATURES`], or the machine has no memory for it.
    #[must_use]
    pub fn zeros(n_rows: usize, n_features: usize, weighted: bool, chunk_bytes: usize) -> Self {
        Self::try_zeros(n_rows, n_features, weighted, chunk_bytes).expect("memory for the tiles")
    }

    /// [`TileSet::zeros`] for sizes that come from data.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Panics
    /// If `n_features` is 0 or above [`MAX_FEATURES`].
    pub fn try_zeros(n_rows: usize, n_features: usize, weighted: bool, chunk_bytes: usize) -> Result<Self> {
        assert!(
            (1..=MAX_FEATURES).contains(&n_features),
            "1 to {MAX_FEATURES} features, not {n_features}"
        );
        let chunk_rows = chunk_rows(n_features, chunk_bytes);
        let no_memory = || no_memory(n_rows, n_features, (row_words(n_features) + usize::from(weighted)) * 4);
        let chunk = |first_row: usize| -> Result<Chunk> {
            let rows = chunk_rows.min(n_rows - first_row);
            Ok(Chunk {
                first_row,
                n_rows: rows,
                n_features,
                words: crate::sys::zeros(rows.div_ceil(BLOCK) * block_words(n_features))
                    .ok_or_else(no_memory)?
                    .into(),
                weights: ones(weighted, rows).map_err(|_| no_memory())?,
            })
        };
        let chunks = (0..n_rows).step_by(chunk_rows).map(chunk).collect::<Result<_>>()?;
        Ok(Self {
            n_rows,
            n_features,
            chunk_rows,
            skipped: 0,
            weighted,
            chunks,
            stamp: Stamp::new(),
        })
    }

    /// A data set from grid values in row-major order (`n_rows x n_features`), for tests and small samples.
    ///
    /// # Panics
    /// If `rows` is not a multiple of `n_features` or has values that are not of the grid, or `weights` has another number
    /// of rows.
    #[must_use]
    pub fn from_rows(rows: &[f32], n_features: usize, weights: Option<&[u32]>, chunk_bytes: usize) -> Self {
        assert_eq!(rows.len() % n_features, 0, "whole rows only");
        let n_rows = rows.len() / n_features;
        let mut set = Self::zeros(n_rows, n_features, weights.is_some(), chunk_bytes);
        let column = |feature: usize| rows[feature..].iter().step_by(n_features).copied().collect();
        if n_rows > 0 {
            set.fill_rows(0, &(0..n_features).map(column).collect::<Vec<Vec<f32>>>());
        }
        if let Some(weights) = weights {
            set.fill_weights(0, weights);
            assert_eq!(weights.len(), n_rows, "one weight per row");
        }
        set
    }

    /// Writes the grid values of rows `first_row ..`, given as one column per feature, all of one length.
    ///
    /// # Panics
    /// If the columns are not `n_features`, differ in length, reach past the last row or have values that are not of the
    /// grid: integers of at most [`crate::grid::MAX_GRID`] in size.
    pub fn fill_rows(&mut self, first_row: usize, columns: &[Vec<f32>]) {
        self.stamp = Stamp::new();
        assert_eq!(columns.len(), self.n_features, "one column per feature");
        let n = columns[0].len();
        assert!(first_row + n <= self.n_rows, "rows past the end");
        assert!(columns.iter().all(|column| column.len() == n), "columns of one length");
        assert!(
            columns.iter().flatten().all(|&x| words::is_of_grid(x)),
            "values of the grid"
        );
        for mut piece in self.pieces_mut(first_row..first_row + n, usize::MAX) {
            let rows = piece.rows();
            for (feature, column) in columns.iter().enumerate() {
                let values = &column[rows.start - first_row..rows.end - first_row];
                piece.put(feature, rows.clone(), |from, lane| {
                    lane.copy_from_slice(&values[from..][..lane.len()])
                });
            }
        }
    }

    /// The given rows in pieces of at most `max_blocks` blocks, in order, for several threads to write to.
    ///
    /// # Panics
    /// If there are no such rows.
    pub(crate) fn pieces_mut(&mut self, rows: Range<usize>, max_blocks: usize) -> Vec<Piece<'_>> {
        assert!(rows.end <= self.n_rows, "rows past the end");
        self.stamp = Stamp::new();
        let (n_features, len) = (self.n_features, block_words(self.n_features));
        let mut pieces = Vec::new();
        for chunk in &mut self.chunks {
            let start = rows.start.max(chunk.first_row);
            let end = rows.end.min(chunk.first_row + chunk.n_rows);
            if start >= end {
                continue;
            }
            let first_block = (start - chunk.first_row) / BLOCK;
            let end_block = (end - chunk.first_row).div_ceil(BLOCK);
            let mut block_row = chunk.first_row + first_block * BLOCK;
            let words = chunk.words[first_block * len..end_block * len].chunks_mut(max_blocks.saturating_mul(len));
            for words in words {
                let next_row = block_row + words.len() / len * BLOCK;
                let (from, to) = (start.max(block_row), end.min(next_row));
                pieces.push(Piece {
                    rows: from..to,
                    skip: from - block_row,
                    n_features,
                    words,
                });
                block_row = next_row;
            }
        }
        pieces
    }

    /// Gives every row a weight of its own, 1 where there was none.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn try_weigh(&mut self) -> Result<()> {
        self.stamp = Stamp::new();
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.weights.is_none()) {
            let bytes = chunk.n_rows as u64 * size_of::<u32>() as u64;
            chunk.weights = Some(filled(chunk.n_rows, 1).map_err(|_| Error::OutOfMemory {
                what: "the weights of the rows".into(),
                bytes,
            })?);
        }
        self.weighted = true;
        Ok(())
    }

    /// Changes the weight of a row.
    ///
    /// # Panics
    /// If the set is not weighted, the weight is above [`MAX_WEIGHT`] or the row does not exist.
    pub fn set_weight(&mut self, row: usize, weight: u32) {
        self.fill_weights(row, &[weight]);
    }

    /// Writes the integer weights of rows `first_row ..`.
    ///
    /// # Panics
    /// If the set is not weighted, a weight is above [`MAX_WEIGHT`] or a row does not exist.
    pub fn fill_weights(&mut self, first_row: usize, weights: &[u32]) {
        assert!(self.weighted, "the set was made without weights");
        self.stamp = Stamp::new();
        assert!(
            weights.iter().all(|&weight| weight <= MAX_WEIGHT),
            "weights are at most {MAX_WEIGHT}"
        );
        let mut done = 0;
        while done < weights.len() {
            let (chunk, row) = self.locate(first_row + done);
            let own = &mut self.chunks[chunk].weights.as_mut().expect("weighted")[row..];
            let run = own.len().min(weights.len() - done);
            own[..run].copy_from_slice(&weights[done..done + run]);
            done += run;
        }
    }

    /// A number that no other data set has, nor this one after a change: what a device has of it is good while this holds.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp.number
    }

    /// Chunk, and row inside it, of a row of the whole data.
    #[must_use]
    pub fn locate(&self, row: usize) -> (usize, usize) {
        let at = row + self.skipped;
        let chunk = at / self.chunk_rows;
        (chunk, if chunk == 0 { row } else { at % self.chunk_rows })
    }

    /// Rows in all chunks.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Features, the same in every chunk.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Whether rows have weights; without, each weighs 1.
    #[must_use]
    pub fn weighted(&self) -> bool {
        self.weighted
    }

    /// The chunks in row order.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The chunks in row order, to be let go one by one.
    pub(crate) fn into_chunks(self) -> Vec<Chunk> {
        self.chunks
    }

    /// Copies one row of the whole data into `out` as integers.
    pub fn read_row(&self, row: usize, out: &mut [i32]) {
        let (chunk, row) = self.locate(row);
        self.chunks[chunk].read_row(row, out);
    }

    /// The weight of one row of the whole data.
    #[must_use]
    pub fn weight(&self, row: usize) -> u32 {
        let (chunk, row) = self.locate(row);
        self.chunks[chunk].weight(row)
    }

    /// The given rows, in the given order, as a data set of one chunk.
    #[must_use]
    pub fn gather(&self, rows: &[usize]) -> Self {
        let mut out = Self::zeros(rows.len(), self.n_features, self.weighted, usize::MAX);
        let Some(chunk) = out.chunks.first_mut() else {
            return out;
        };
        let blocks = chunk
            .words
            .par_chunks_mut(block_words(self.n_features))
            .zip(rows.par_chunks(BLOCK));
        let page_rows = (LARGE_PAGE / (row_words(self.n_features) * size_of::<u32>())).max(1);
        blocks.with_min_len(16).for_each(|(block, rows)| {
            let mut page = usize::MAX;
            let mut words: [&[u32]; BLOCK] = [&[]; BLOCK];
            for (words, &row) in words.iter_mut().zip(rows) {
                if row / page_rows != page {
                    page = row / page_rows;
                    crate::sys::about_to_read(LARGE_PAGE);
                }
                let (from, row) = self.locate(row);
                *words = &self.chunks[from].words[row / BLOCK * block_words(self.n_features) + row % BLOCK..];
            }
            // Word by word: rows in order have neighbours in the same lines of memory.
            for (at, lane) in block.chunks_exact_mut(BLOCK).enumerate() {
                for (to, words) in lane.iter_mut().zip(&words[..rows.len()]) {
                    *to = words[at * BLOCK];
                }
            }
        });
        if let Some(weights) = &mut chunk.weights {
            weights
                .iter_mut()
                .zip(rows)
                .for_each(|(weight, &row)| *weight = self.weight(row));
        }
        out
    }

    /// The given rows, in the given order, with these weights instead of their own.
    ///
    /// # Panics
    /// If there is not one weight per row, or a weight is above [`MAX_WEIGHT`].
    #[must_use]
    pub fn gather_weighted(&self, rows: &[usize], weights: &[u32]) -> Self {
        assert_eq!(rows.len(), weights.len(), "one weight per row");
        assert!(
            weights.iter().all(|&weight| weight <= MAX_WEIGHT),
            "weights are at most {MAX_WEIGHT}"
        );
        let mut out = self.gather(rows);
        out.weighted = true;
        if let Some(chunk) = out.chunks.first_mut() {
            chunk.weights = Some(weights.to_vec().into());
        }
        out
    }

    /// Sum over all rows of weight times squared norm, in grid units squared: a constant of the data.
    #[must_use]
    pub fn weighted_sq_norm(&self) -> u128 {
        let of_task =
            |(chunk, blocks): (&Chunk, Range<usize>)| -> u128 { blocks.map(|block| chunk.block_sq_norm(block)).sum() };
        self.tasks(64).map(of_task).sum()
    }

    /// All blocks, in runs of at most `n_blocks` inside one chunk.
    pub(crate) fn tasks(&self, n_blocks: usize) -> impl ParallelIterator<Item = (&Chunk, Range<usize>)> {
        self.chunks.par_iter().flat_map(move |chunk| {
            let firsts = (0..chunk.n_blocks()).into_par_iter().step_by(n_blocks);
            firsts.map(move |first| (chunk, first..(first + n_blocks).min(chunk.n_blocks())))
        })
    }

    /// Bytes of values and weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chunks
            .iter()
            .map(|c| size_of_val(c.words()) + c.weights().map_or(0, size_of_val))
            .sum()
    }
}

/// A run of rows of a [`TileSet`], to be written by one thread.
pub(crate) struct Piece<'t> {
    rows: Range<usize>,
    /// Rows of the first block that come before.
    skip: usize,
    n_features: usize,
    /// The blocks that hold the rows.
    words: &'t mut [u32],
}

impl Piece<'_> {
    /// The rows, counted in the whole data.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Puts the values that `write` writes in the place of one feature in some rows (counted in the whole data): in runs
    /// inside one block, each with the number of its first row among those.
    ///
    /// # Panics
    /// If the piece holds no such rows.
    pub(crate) fn put(&mut self, feature: usize, rows: Range<usize>, mut write: impl FnMut(usize, &mut [f32])) {
        let inside = self.rows.start <= rows.start && rows.end <= self.rows.end;
        assert!(inside, "rows of another piece");
        let mut values = [0.0; BLOCK];
        let first = self.skip + (rows.start - self.rows.start);
        for (from, run) in runs(first..first + rows.len()) {
            let values = &mut values[..run.len()];
            write(from, values);
            let (block, row) = (run.start / BLOCK, run.start % BLOCK);
            let len = block_words(self.n_features);
            words::put(
                &mut self.words[block * len..][..len],
                self.n_features,
                feature,
                row,
                values,
            );
        }
    }
}

/// Rows in runs inside one block, each with the number of its first row among them.
fn runs(rows: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut next = rows.start;
    std::iter::from_fn(move || {
        let run = next..(next / BLOCK * BLOCK + BLOCK).min(rows.end);
        next = run.end;
        (!run.is_empty()).then(|| (run.start - rows.start, run))
    })
}

/// A weight of 1 for each row, where rows have weights.
fn ones(weighted: bool, n_rows: usize) -> Result<Option<Shared<u32>>, TryReserveError> {
    weighted.then(|| filled(n_rows, 1)).transpose()
}

fn filled<T: Copy>(len: usize, value: T) -> Result<Shared<T>, TryReserveError> {
    let mut values = Vec::new();
    values.try_reserve_exact(len)?;
    values.resize(len, value);
    Ok(values.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_filling_gives_the_same_tiles() {
        let (n, d) = (200, 3);
        let rows: Vec<f32> = (0..n * d).map(|i| i as f32).collect();
        for chunk_bytes in [1, 64 * 3 * 4 * 2, usize::MAX] {
            let by_rows = TileSet::from_rows(&rows, d, None, chunk_bytes);
            let mut by_columns = TileSet::zeros(n, d, false, chunk_bytes);
            for start in (0..n).step_by(37) {
                let end = (start + 37).min(n);
                let columns: Vec<Vec<f32>> = (0..d)
                    .map(|j| (start..end).map(|i| rows[i * d + j]).collect())
                    .collect();
                by_columns.fill_rows(start, &columns);
            }
            assert_eq!(by_rows, by_columns);
            let mut row = [0; 3];
            by_rows.read_row(130, &mut row);
            assert_eq!(row, [390, 391, 392]);
        }
    }

    #[test]
    fn every_change_and_every_copy_has_a_stamp_of_its_own() {
        let mut set = TileSet::zeros(100, 2, true, usize::MAX);
        let mut seen = vec![set.stamp(), set.clone().stamp()];
        assert_eq!(set.stamp(), seen[0], "looking changes nothing");
        let changes: [fn(&mut TileSet); 5] = [
            |set| set.fill_rows(3, &[vec![1.0], vec![2.0]]),
            |set| drop(set.pieces_mut(0..100, 1)),
            |set| set.set_weight(5, 2),
            |set| set.fill_weights(7, &[3]),
            |set| set.try_weigh().unwrap(),
        ];
        for change in changes {
            change(&mut set);
            seen.push(set.stamp());
        }
        let n = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), n);
        assert_eq!(set, set.clone());
    }

    #[test]
    #[should_panic(expected = "values of the grid")]
    fn values_beyond_the_grid_are_refused() {
        let _ = TileSet::from_rows(&[1.0, (crate::grid::MAX_GRID + 1) as f32], 1, None, usize::MAX);
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        let error = TileSet::try_zeros(usize::MAX / 1024, 8, false, usize::MAX).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    }

    #[test]
    fn chunks_end_between_blocks() {
        let set = TileSet::zeros(130, 2, true, 64 * 2 * 4);
        let shape: Vec<_> = set
            .chunks()
            .iter()
            .map(|c| (c.first_row(), c.n_rows(), c.n_blocks()))
            .collect();
        assert_eq!(shape, [(0, 64, 1), (64, 64, 1), (128, 2, 1)]);
        assert_eq!(set.bytes(), 3 * 64 * 2 * 4 + 130 * 4);
    }

    #[test]
    fn the_norm_counts_weights_and_no_padding() {
        let set = TileSet::from_rows(&[1., 2., 3., -4.], 2, Some(&[10, 1]), 1);
        assert_eq!(set.weighted_sq_norm(), 10 * 5 + 25);
        assert_eq!(TileSet::from_rows(&[3.0; 130], 1, None, 1).weighted_sq_norm(), 9 * 130);
    }

    #[test]
    fn gathered_rows_keep_values_and_weights() {
        let set = TileSet::from_rows(&[1., 2., 3., 4., 5., 6.], 2, Some(&[7, 8, 9]), 1);
        let picked = set.gather(&[2, 0]);
        assert_eq!(
            picked,
            TileSet::from_rows(&[5., 6., 1., 2.], 2, Some(&[9, 7]), usize::MAX)
        );
        let others = TileSet::from_rows(&[5., 6., 1., 2.], 2, Some(&[1, 3]), usize::MAX);
        assert_eq!(set.gather_weighted(&[2, 0], &[1, 3]), others);
    }
}
