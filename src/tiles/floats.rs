//! Values that are not on the grid yet, in the place where they will be.

use std::ops::Range;

use rayon::prelude::*;

use super::{BLOCK, Chunk, Stamp, TileSet, block_words, chunk_rows, no_memory, ones, runs, words};
use crate::error::Result;

/// Blocks that a thread takes at a time.
const PIECE_BLOCKS: usize = 32;

/// A float per value: block by block, feature by feature, 64 rows each.
pub(crate) struct FloatTiles {
    n_rows: usize,
    n_features: usize,
    chunk_rows: usize,
    weighted: bool,
    /// The bits of the floats of each chunk of the data set that they become.
    chunks: Vec<Vec<u32>>,
}

impl FloatTiles {
    /// Zeros; see [`TileSet::try_zeros`].
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub(crate) fn try_zeros(n_rows: usize, n_features: usize, weighted: bool, chunk_bytes: usize) -> Result<Self> {
        let chunk_rows = chunk_rows(n_features, chunk_bytes);
        let chunk = |first_row: usize| {
            let rows = chunk_rows.min(n_rows - first_row);
            let bits = crate::sys::zeros(rows.div_ceil(BLOCK) * BLOCK * n_features);
            bits.ok_or_else(|| no_memory(n_rows, n_features, n_features * size_of::<f32>()))
        };
        Ok(Self {
            n_rows,
            n_features,
            chunk_rows,
            weighted,
            chunks: (0..n_rows).step_by(chunk_rows).map(chunk).collect::<Result<_>>()?,
        })
    }

    /// All rows in pieces of at most `max_blocks` blocks, for several threads to write to.
    pub(crate) fn pieces_mut(&mut self, max_blocks: usize) -> Vec<FloatPiece<'_>> {
        let (n_rows, n_features, len) = (self.n_rows, self.n_features, self.n_features * BLOCK);
        let firsts = (0..).step_by(self.chunk_rows);
        let pieces = self.chunks.iter_mut().zip(firsts).flat_map(|(bits, first)| {
            let pieces = bits
                .chunks_mut(max_blocks * len)
                .zip((first..).step_by(max_blocks * BLOCK));
            pieces.map(|(bits, first)| FloatPiece {
                rows: first..(first + bits.len() / n_features).min(n_rows),
                values: bytemuck::cast_slice_mut(bits),
                n_features,
            })
        });
        pieces.collect()
    }

    /// All rows in runs of at most `n_blocks` blocks, to be read by several threads.
    pub(crate) fn tasks(&self, n_blocks: usize) -> impl ParallelIterator<Item = FloatRows<'_>> {
        let (n_rows, n_features) = (self.n_rows, self.n_features);
        self.chunks.par_iter().enumerate().flat_map(move |(chunk, bits)| {
            let first = chunk * self.chunk_rows;
            let runs = bits.par_chunks(n_blocks * n_features * BLOCK).enumerate();
            runs.map(move |(run, bits)| FloatRows {
                values: bytemuck::cast_slice(bits),
                n_features,
                n_rows: (n_rows - first - run * n_blocks * BLOCK).min(n_blocks * BLOCK),
            })
        })
    }

    /// Puts the values on the grid, those of `features` as `snap` has them, the others as zeros, and hands the memory
    /// back that this leaves. `beside` has a number for each row; `snap` is given blocks of both, whole ones but the last,
    /// and what it gives is added up.
    ///
    /// Packed blocks take the place of floats that were read before: of a stretch of blocks the packed ones end where, or
    /// before, the floats of the next begin, so that threads can pack a third as many blocks as are done already.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub(crate) fn pack(
        self,
        features: &[usize],
        beside: &mut [f32],
        snap: impl Fn(&mut [f32], &mut [f32]) -> u64 + Sync,
    ) -> Result<(TileSet, u64)> {
        let Self {
            n_rows,
            n_features,
            chunk_rows,
            weighted,
            chunks,
        } = self;
        let (len, packed_len) = (n_features * BLOCK, block_words(n_features));
        let is_taken: Vec<bool> = (0..n_features).map(|feature| features.contains(&feature)).collect();
        let mut total = 0;
        let mut packed = Vec::with_capacity(chunks.len());
        for (mut bits, beside) in chunks.into_iter().zip(beside.chunks_mut(chunk_rows)) {
            let pack_block = |values: &mut [f32], beside: &mut [f32], out: &mut [u32]| {
                let n = snap(values, beside);
                let others = values
                    .chunks_exact_mut(BLOCK)
                    .zip(&is_taken)
                    .filter(|(_, taken)| !**taken);
                others.for_each(|(lane, _)| lane.fill(0.0));
                words::pack(out, n_features, values);
                n
            };
            let n_blocks = bits.len() / len;
            let mut room = vec![0.0; len];
            let mut done = 0;
            if packed_len == len {
                // Every block stays in its place.
                let blocks = bits
                    .par_chunks_mut(len)
                    .zip(beside.par_chunks_mut(BLOCK))
                    .with_min_len(PIECE_BLOCKS / 4);
                let counts = blocks.map_init(
                    || room.clone(),
                    |room, (bits, beside)| {
                        room.copy_from_slice(bytemuck::cast_slice(bits));
                        pack_block(room, beside, bits)
                    },
                );
                total += counts.sum::<u64>();
                done = n_blocks;
            }
            while done < n_blocks {
                let together = (done * len / packed_len).min(n_blocks) - done;
                if together < PIECE_BLOCKS {
                    // One by one: each comes to stand in its own place, or before it.
                    room.copy_from_slice(bytemuck::cast_slice(&bits[done * len..][..len]));
                    let rows = done * BLOCK..beside.len().min((done + 1) * BLOCK);
                    let out = &mut bits[done * packed_len..][..packed_len];
                    total += pack_block(&mut room, &mut beside[rows], out);
                    done += 1;
                    continue;
                }
                let (before, floats) = bits.split_at_mut(done * len);
                let outs = before[done * packed_len..][..together * packed_len].par_chunks_mut(packed_len);
                let floats = floats[..together * len].par_chunks_mut(len);
                let beside = beside[done * BLOCK..].par_chunks_mut(BLOCK);
                let blocks = outs.zip(floats).zip(beside).with_min_len(PIECE_BLOCKS / 4);
                let counts =
                    blocks.map(|((out, floats), beside)| pack_block(bytemuck::cast_slice_mut(floats), beside, out));
                total += counts.sum::<u64>();
                done += together;
            }
            bits.truncate(n_blocks * packed_len);
            crate::sys::shrink(&mut bits);
            let rows = beside.len();
            packed.push(Chunk {
                first_row: packed.len() * chunk_rows,
                n_rows: rows,
                n_features,
                words: bits.into(),
                weights: ones(weighted, rows).map_err(|_| no_memory(n_rows, n_features, size_of::<u32>()))?,
            });
        }
        let tiles = TileSet {
            n_rows,
            n_features,
            chunk_rows,
            skipped: 0,
            weighted,
            chunks: packed,
            stamp: Stamp::new(),
        };
        Ok((tiles, total))
    }
}

/// A run of rows of [`FloatTiles`], to be read.
pub(crate) struct FloatRows<'t> {
    values: &'t [f32],
    n_features: usize,
    n_rows: usize,
}

impl FloatRows<'_> {
    /// The values of a feature, without padding.
    pub(crate) fn values(&self, feature: usize) -> impl Iterator<Item = f32> {
        crate::sys::about_to_read(size_of_val(self.values));
        let blocks = self.values.chunks_exact(self.n_features * BLOCK);
        let lanes = blocks.flat_map(move |block| &block[feature * BLOCK..][..BLOCK]);
        lanes.take(self.n_rows).copied()
    }
}

/// A run of rows of [`FloatTiles`], to be written by one thread.
pub(crate) struct FloatPiece<'t> {
    rows: Range<usize>,
    n_features: usize,
    values: &'t mut [f32],
}

impl FloatPiece<'_> {
    /// The rows, counted in the whole data.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Puts values in the place of one feature in the rows from `first_row` (counted in the whole data) on.
    pub(crate) fn put(&mut self, feature: usize, first_row: usize, values: &[f32]) {
        let first = first_row - self.rows.start;
        for (from, run) in runs(first..first + values.len()) {
            let at = (run.start / BLOCK * self.n_features + feature) * BLOCK + run.start % BLOCK;
            self.values[at..][..run.len()].copy_from_slice(&values[from..][..run.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some columns are kept and doubled, others are not; all sizes below, at and far above what is packed one by one.
    #[test]
    fn packing_in_place_loses_no_value() {
        for d in [1, 2, 3, 4, 5, 7, 8, 13] {
            for (n, chunk_bytes) in [
                (1, 1),
                (64, 1),
                (200, usize::MAX),
                (70_001, usize::MAX),
                (30_000, 5_000_000 / d),
            ] {
                let value = |row: usize, feature: usize| ((row * 7 + feature * 31) % 4_000_001) as f32 - 2e6;
                let mut floats = FloatTiles::try_zeros(n, d, d % 2 == 0, chunk_bytes).unwrap();
                for mut piece in floats.pieces_mut(3) {
                    for feature in 0..d {
                        let rows = piece.rows();
                        let values: Vec<f32> = rows.clone().map(|row| value(row, feature)).collect();
                        let (first, rest) = values.split_at(values.len() / 3);
                        piece.put(feature, rows.start, first);
                        piece.put(feature, rows.start + first.len(), rest);
                    }
                }
                let features: Vec<usize> = (0..d).filter(|feature| d == 1 || feature % 3 != 1).collect();
                let mut beside: Vec<f32> = (0..n).map(|row| row as f32).collect();
                let (tiles, total) = floats
                    .pack(&features, &mut beside, |values, beside| {
                        values.iter_mut().for_each(|x| *x *= 2.0);
                        beside.iter_mut().for_each(|n| *n += 1.0);
                        beside.len() as u64
                    })
                    .unwrap();
                let mut expected = TileSet::zeros(n, d, d % 2 == 0, chunk_bytes);
                let column = |feature: usize| {
                    let of_row = |row| {
                        if features.contains(&feature) {
                            2.0 * value(row, feature)
                        } else {
                            0.0
                        }
                    };
                    (0..n).map(of_row).collect()
                };
                expected.fill_rows(0, &(0..d).map(column).collect::<Vec<Vec<f32>>>());
                assert!(tiles == expected, "{n} rows, {d} features");
                assert_eq!(total, n as u64);
                assert!(beside.iter().enumerate().all(|(row, &n)| n == row as f32 + 1.0));
            }
        }
    }
}
