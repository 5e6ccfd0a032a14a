//! Stretches of a data set as data sets of their own, on the same values in memory.

use std::ops::Range;
use std::sync::OnceLock;

use super::{BLOCK, Chunk, Stamp, TileSet, block_words};

/// The ways in which a data set was cut so far.
pub(super) type Cuts = OnceLock<Box<Cut>>;

/// One of them.
#[derive(Debug)]
pub(super) struct Cut {
    n_blocks: Vec<usize>,
    stretches: Vec<TileSet>,
    next: Cuts,
}

impl TileSet {
    /// The data in stretches of so many blocks each, in row order. Until the data changes they are the same ones each time,
    /// so that a device finds again what it has of its own.
    ///
    /// # Panics
    /// If these are not all blocks of the data.
    #[must_use]
    pub fn cut(&self, n_blocks: &[usize]) -> &[TileSet] {
        let mut cuts = &self.stamp.cuts;
        loop {
            let cut = cuts.get_or_init(|| {
                Box::new(Cut {
                    n_blocks: n_blocks.to_vec(),
                    stretches: self.stretches(n_blocks),
                    next: Cuts::new(),
                })
            });
            if cut.n_blocks == n_blocks {
                return &cut.stretches;
            }
            cuts = &cut.next;
        }
    }

    fn stretches(&self, n_blocks: &[usize]) -> Vec<TileSet> {
        let all: usize = n_blocks.iter().sum();
        assert_eq!(all, self.n_rows.div_ceil(BLOCK), "every block in one stretch");
        let mut first = 0;
        let stretch = |&n: &usize| {
            let rows = first..(first + n * BLOCK).min(self.n_rows);
            first = rows.end;
            self.stretch(&rows)
        };
        n_blocks.iter().map(stretch).collect()
    }

    /// The given rows, which begin with a block.
    fn stretch(&self, rows: &Range<usize>) -> TileSet {
        TileSet {
            n_rows: rows.len(),
            n_features: self.n_features,
            chunk_rows: self.chunk_rows,
            skipped: (rows.start + self.skipped) % self.chunk_rows,
            weighted: self.weighted,
            chunks: self.chunks.iter().filter_map(|chunk| chunk.stretch(rows)).collect(),
            stamp: Stamp::new(),
        }
    }
}

impl Chunk {
    /// What there is in here of some rows of the whole data, as a chunk of these.
    fn stretch(&self, rows: &Range<usize>) -> Option<Chunk> {
        let start = rows.start.max(self.first_row);
        let end = rows.end.min(self.first_row + self.n_rows);
        let own = start.checked_sub(self.first_row)?..end.checked_sub(self.first_row)?;
        if own.is_empty() {
            return None;
        }
        let len = block_words(self.n_features);
        Some(Chunk {
            first_row: start - rows.start,
            n_rows: own.len(),
            n_features: self.n_features,
            words: self.words.part(own.start / BLOCK * len..own.end.div_ceil(BLOCK) * len),
            weights: self.weights.as_ref().map(|weights| weights.part(own)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(weighted: bool, chunk_blocks: usize) -> TileSet {
        let (n, d) = (1000, 3);
        let rows: Vec<f32> = (0..n * d).map(|at| at as f32).collect();
        let weights: Vec<u32> = (0..n as u32).map(|row| row % 7).collect();
        TileSet::from_rows(&rows, d, weighted.then_some(&weights), chunk_blocks * d * BLOCK * 4)
    }

    /// Every row and its weight, read one by one; and the rows of the chunks, whose blocks are held against these.
    fn rows(data: &TileSet) -> Vec<([i32; 3], u32)> {
        let mut next = 0;
        for chunk in data.chunks() {
            assert_eq!((chunk.first_row() % BLOCK, chunk.first_row()), (0, next));
            assert_eq!(chunk.words().len(), chunk.n_blocks() * 3 * BLOCK);
            for row in 0..chunk.n_rows() {
                let (at, inside) = data.locate(next);
                assert_eq!(
                    (&data.chunks()[at] as *const Chunk, inside),
                    (chunk as *const Chunk, row)
                );
                next += 1;
            }
        }
        assert_eq!(next, data.n_rows());
        let row = |row| {
            let mut x = [0; 3];
            data.read_row(row, &mut x);
            (x, data.weight(row))
        };
        (0..data.n_rows()).map(row).collect()
    }

    #[test]
    fn stretches_hold_every_row_once_and_no_value_twice() {
        for (weighted, chunk_blocks) in [(false, 1), (true, 3), (true, 5), (false, 100)] {
            let data = data(weighted, chunk_blocks);
            let all = rows(&data);
            for n_blocks in [&[16][..], &[8, 8], &[1, 0, 11, 4], &[2, 3, 11, 0]] {
                let cut = data.cut(n_blocks);
                let found: Vec<_> = cut.iter().flat_map(rows).collect();
                assert_eq!(found, all, "{n_blocks:?} in chunks of {chunk_blocks}");
                // A stretch can be cut as well.
                let n = cut[0].n_rows().div_ceil(BLOCK);
                let again: Vec<_> = cut[0].cut(&[n / 2, n - n / 2]).iter().flat_map(rows).collect();
                assert_eq!(again, rows(&cut[0]));
                let bytes: usize = cut.iter().map(TileSet::bytes).sum();
                assert_eq!(bytes, data.bytes());
                let first = cut.iter().find(|stretch| stretch.n_rows() > 0).unwrap();
                assert_eq!(first.chunks()[0].words().as_ptr(), data.chunks()[0].words().as_ptr());
            }
        }
    }

    #[test]
    fn stretches_are_the_same_until_the_data_changes() {
        let mut data = data(true, 5);
        let stamps = |data: &TileSet, n_blocks: &[usize]| -> Vec<u64> {
            data.cut(n_blocks).iter().map(TileSet::stamp).collect()
        };
        let (halves, thirds) = (stamps(&data, &[8, 8]), stamps(&data, &[5, 5, 6]));
        assert_eq!(
            (stamps(&data, &[8, 8]), stamps(&data, &[5, 5, 6])),
            (halves.clone(), thirds)
        );
        assert_ne!(stamps(&data.clone(), &[8, 8]), halves);
        let words = data.chunks()[1].words().as_ptr();
        data.fill_rows(700, &[vec![-1.0], vec![-2.0], vec![-3.0]]);
        data.set_weight(700, 5);
        assert_ne!(stamps(&data, &[8, 8]), halves);
        assert_eq!(rows(&data.cut(&[8, 8])[1])[700 - 512], ([-1, -2, -3], 5));
        assert_eq!(data.chunks()[1].words().as_ptr(), words, "written in its place");
    }

    #[test]
    fn a_copy_that_is_written_to_leaves_the_other_as_it_was() {
        let data = data(true, 5);
        let before = rows(&data);
        let mut copy = data.clone();
        copy.fill_rows(0, &[vec![9.0], vec![9.0], vec![9.0]]);
        copy.set_weight(999, 60);
        assert_eq!(rows(&data), before);
        assert_eq!((rows(&copy)[0].0, rows(&copy)[999].1), ([9; 3], 60));
    }
}
