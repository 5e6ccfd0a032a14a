//! Values that were read while learning, kept in the place of the grid values they become.

use rayon::prelude::*;

use super::columns::FeatureColumn;
use crate::tiles::{Piece, TileSet};

/// Blocks of rows that a thread writes at a time.
const PIECE_BLOCKS: usize = 32;

/// The values of the candidates as `f32`, NaN where missing, of those columns in which all are `f32`s without error: a
/// data set that is decoded once instead of twice. Takes no memory beyond the prepared data, which comes to stand in
/// the same place.
pub(crate) struct Kept {
    chunk_bytes: usize,
    weighted: bool,
    held: Option<Held>,
}

struct Held {
    tiles: TileSet,
    /// The columns, and whether all their values are held.
    columns: Vec<FeatureColumn>,
    keeps: Vec<bool>,
}

impl Kept {
    /// Keeps nothing.
    pub(crate) fn nothing() -> Self {
        Self::in_chunks(0, false)
    }

    /// Keeps what it can, in chunks of at most so many bytes; nothing, where those are 0.
    pub(crate) fn in_chunks(chunk_bytes: usize, weighted: bool) -> Self {
        Self {
            chunk_bytes,
            weighted,
            held: None,
        }
    }

    /// Makes room for columns; where there is none, nothing is kept.
    pub(super) fn make_room(&mut self, n_rows: usize, columns: &[FeatureColumn]) {
        if self.chunk_bytes == 0 || columns.is_empty() || columns.len() > crate::grid::MAX_FEATURES {
            return;
        }
        let tiles = TileSet::try_zeros(n_rows, columns.len(), self.weighted, self.chunk_bytes).ok();
        self.held = tiles.map(|tiles| Held {
            tiles,
            columns: columns.to_vec(),
            keeps: vec![true; columns.len()],
        });
    }

    /// Per column whether it is kept; nothing where none is.
    pub(super) fn keeps(&self) -> Vec<bool> {
        self.held.as_ref().map_or_else(Vec::new, |held| held.keeps.clone())
    }

    /// Keeps a batch's values; a column without any is not kept any more.
    pub(super) fn put(&mut self, first_row: usize, n_rows: usize, columns: &[Option<Vec<f32>>]) {
        let Some(held) = &mut self.held else { return };
        for (keeps, column) in held.keeps.iter_mut().zip(columns) {
            *keeps &= column.is_some();
        }
        if !held.keeps.contains(&true) {
            self.held = None;
            return;
        }
        let pieces = held.tiles.pieces_mut(first_row..first_row + n_rows, PIECE_BLOCKS);
        pieces.into_par_iter().for_each(|mut piece| {
            let rows = piece.rows();
            let rows = rows.start - first_row..rows.end - first_row;
            for (at, column) in columns.iter().enumerate() {
                if let Some(column) = column {
                    piece.fill(at, &column[rows.clone()]);
                }
            }
        });
    }

    /// Keeps nothing, where the columns are not exactly these.
    pub(super) fn check(&mut self, columns: impl Iterator<Item = FeatureColumn>) {
        self.held.take_if(|held| !columns.eq(held.columns.iter().copied()));
    }

    /// Appends the values of a kept column that are not missing.
    pub(super) fn gather(&self, at: usize, values: &mut Vec<f64>) {
        let Some(held) = &self.held else { return };
        for chunk in held.tiles.chunks() {
            for block in 0..chunk.n_blocks() {
                let lane = &chunk.block(block)[at * crate::tiles::BLOCK..][..chunk.block_rows(block)];
                values.extend(lane.iter().filter(|v| !v.is_nan()).map(|&v| f64::from(v)));
            }
        }
    }

    /// The tiles, and per column whether its values stand there.
    pub(super) fn into_tiles(self) -> Option<(TileSet, Vec<bool>)> {
        self.held.map(|held| (held.tiles, held.keeps))
    }
}

/// The pieces of all rows.
pub(super) fn all_pieces(tiles: &mut TileSet) -> Vec<Piece<'_>> {
    let n_rows = tiles.n_rows();
    tiles.pieces_mut(0..n_rows, PIECE_BLOCKS)
}
