//! All rows of a data set, for several threads to write to at a time.

use std::ops::Range;
use std::sync::Mutex;

use super::locked;
use crate::tiles::{FloatPiece, FloatTiles, Piece, TileSet};

/// Blocks of rows behind one lock.
const PIECE_BLOCKS: usize = 64;

/// Some rows that one thread at a time writes to.
pub(super) trait Writable {
    /// Which ones, counted in the whole data.
    fn rows(&self) -> Range<usize>;

    /// Puts values in the place of one feature in some of them.
    fn put(&mut self, feature: usize, rows: Range<usize>, values: &[f32]);
}

impl Writable for Piece<'_> {
    fn rows(&self) -> Range<usize> {
        self.rows()
    }

    fn put(&mut self, feature: usize, rows: Range<usize>, values: &[f32]) {
        self.put(feature, rows, |from, lane| {
            lane.copy_from_slice(&values[from..][..lane.len()])
        });
    }
}

impl Writable for FloatPiece<'_> {
    fn rows(&self) -> Range<usize> {
        self.rows()
    }

    fn put(&mut self, feature: usize, rows: Range<usize>, values: &[f32]) {
        self.put(feature, rows.start, values);
    }
}

/// Rows in pieces, each behind a lock of its own, with a number per row beside them.
pub(super) struct SharedRows<'t, P> {
    /// The first row of each piece.
    starts: Vec<usize>,
    pieces: Vec<Mutex<(P, &'t mut [f32])>>,
}

impl<'t> SharedRows<'t, Piece<'t>> {
    /// All rows of `tiles`; `beside` has a number for each of them, or none.
    pub(super) fn new(tiles: &'t mut TileSet, beside: &'t mut [f32]) -> Self {
        let n_rows = tiles.n_rows();
        Self::of_pieces(tiles.pieces_mut(0..n_rows, PIECE_BLOCKS), beside)
    }

    /// Lets `write` put values in the place of one feature in some rows: in runs of neighbouring places, each with the
    /// number of its first row, counted from the first of those rows.
    pub(super) fn write(&self, feature: usize, rows: Range<usize>, mut write: impl FnMut(usize, &mut [f32])) {
        let first_row = rows.start;
        self.each(rows, |(piece, _), rows| {
            let from = rows.start - first_row;
            piece.put(feature, rows, |at, lane| write(from + at, lane));
        });
    }
}

impl<'t> SharedRows<'t, FloatPiece<'t>> {
    /// All rows of `tiles`.
    pub(super) fn of_floats(tiles: &'t mut FloatTiles) -> Self {
        Self::of_pieces(tiles.pieces_mut(PIECE_BLOCKS), &mut [])
    }
}

impl<'t, P: Writable> SharedRows<'t, P> {
    fn of_pieces(pieces: Vec<P>, mut beside: &'t mut [f32]) -> Self {
        let starts = pieces.iter().map(|piece| piece.rows().start).collect();
        let with_own = pieces.into_iter().map(|piece| {
            let len = piece.rows().len().min(beside.len());
            let (own, rest) = std::mem::take(&mut beside).split_at_mut(len);
            beside = rest;
            Mutex::new((piece, own))
        });
        Self {
            pieces: with_own.collect(),
            starts,
        }
    }

    /// Writes the values of one feature in the rows from `first_row`.
    pub(super) fn fill(&self, feature: usize, first_row: usize, values: &[f32]) {
        self.each(first_row..first_row + values.len(), |(piece, _), rows| {
            let own = &values[rows.start - first_row..rows.end - first_row];
            piece.put(feature, rows, own);
        });
    }

    /// Adds to the numbers beside the rows from `first_row`.
    pub(super) fn add(&self, first_row: usize, more: &[f32]) {
        self.each(first_row..first_row + more.len(), |(piece, beside), rows| {
            let start = piece.rows().start;
            let beside = &mut beside[rows.start - start..rows.end - start];
            let more = &more[rows.start - first_row..rows.end - first_row];
            beside.iter_mut().zip(more).for_each(|(n, more)| *n += more);
        });
    }

    /// Hands the pieces of some rows to `write`, with those of the rows that lie in each.
    fn each(&self, rows: Range<usize>, mut write: impl FnMut(&mut (P, &'t mut [f32]), Range<usize>)) {
        let first = self
            .starts
            .partition_point(|&start| start <= rows.start)
            .saturating_sub(1);
        for piece in &self.pieces[first..] {
            let mut piece = locked(piece);
            let own = piece.0.rows();
            if own.start >= rows.end {
                break;
            }
            write(&mut piece, own.start.max(rows.start)..own.end.min(rows.end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_same_whichever_way_they_are_written() {
        let (n, d) = (9000, 3);
        let value = |row: usize, feature: usize| (row * d + feature) as f32;
        let all: Vec<f32> = (0..n * d).map(|at| at as f32).collect();
        let count = |row: usize| (row % 5) as f32;
        for (step, chunk_bytes) in [(1000, usize::MAX), (4097, 64 * d * 4), (n, 70_000)] {
            let expected = TileSet::from_rows(&all, d, None, chunk_bytes);
            let mut tiles = TileSet::zeros(n, d, false, chunk_bytes);
            let mut beside = vec![1.0; n];
            let rows = SharedRows::new(&mut tiles, &mut beside);
            std::thread::scope(|scope| {
                for feature in 0..d {
                    let rows = &rows;
                    scope.spawn(move || {
                        for first in (0..n).step_by(step) {
                            let own = first..(first + step).min(n);
                            let values: Vec<f32> = own.clone().map(|row| value(row, feature)).collect();
                            rows.fill(feature, first, &values);
                            rows.add(first, &own.map(count).collect::<Vec<_>>());
                        }
                    });
                }
            });
            drop(rows);
            assert_eq!(tiles, expected);
            assert!(
                beside
                    .iter()
                    .enumerate()
                    .all(|(row, &n)| n == 1.0 + d as f32 * count(row))
            );
        }
        let mut tiles = TileSet::zeros(n, d, false, usize::MAX);
        SharedRows::new(&mut tiles, &mut []).fill(1, 8999, &[5.0]);
        let mut row = [0; 3];
        tiles.read_row(8999, &mut row);
        assert_eq!(row, [0, 5, 0]);
    }
}
