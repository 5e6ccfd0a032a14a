//! Values that were read while learning, kept in the place of the grid values they become.

use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::Schema;

use super::columns::{FeatureColumn, Part, plan};
use super::decode::{TypeClass, fits_f32};
use super::options::FeatureOptions;
use super::rows::SharedRows;
use crate::data::{BatchSource, ColumnCache};
use crate::error::Result;
use crate::sys::{kept_limit, spare_bytes};
use crate::tiles::{FloatPiece, FloatTiles};

/// Bytes of a text's number in its dictionary.
const KEY_BYTES: usize = 4;

/// The table, which holds those of the candidates that [`Kept`] has no place for, as far as there is memory to spare.
///
/// # Errors
/// Those of [`super::check_columns`].
pub(crate) fn column_cache<'s>(source: &'s dyn BatchSource, options: &FeatureOptions) -> Result<ColumnCache<'s>> {
    let columns = worth_holding(source.schema(), options)?;
    Ok(ColumnCache::new(source, &columns, spare_bytes(kept_limit())))
}

/// Bytes of a row of the columns that [`column_cache`] holds, about.
///
/// # Errors
/// Those of [`super::check_columns`].
pub(crate) fn held_row_bytes(schema: &Schema, options: &FeatureOptions) -> Result<usize> {
    let bytes = |column: &usize| schema.field(*column).data_type().primitive_width().unwrap_or(KEY_BYTES);
    Ok(worth_holding(schema, options)?.iter().map(bytes).sum())
}

/// The candidates that are read more than once: those that are no `f32`s; all, where a text among them means that
/// nobody knows their place in the prepared data before they are read.
fn worth_holding(schema: &Schema, options: &FeatureOptions) -> Result<Vec<usize>> {
    let parts = plan(schema, options)?;
    let candidates = || {
        { parts.iter() }.filter_map(|part| match part {
            Part::Candidate { column, class, .. } => Some((column.index(), *class)),
            _ => None,
        })
    };
    let all = candidates().any(|(_, class)| matches!(class, TypeClass::Text | TypeClass::List));
    let worth = |&(column, class): &(usize, TypeClass)| {
        class != TypeClass::List && (all || !fits_f32(schema.field(column).data_type()))
    };
    Ok(candidates().filter(worth).map(|(column, _)| column).collect())
}

/// The values of the candidates as `f32`, NaN where missing, of those columns in which all are `f32`s without error: a
/// data set that is decoded once instead of twice. Takes no memory beyond the prepared data, which comes to stand in
/// the same place.
pub(crate) struct Kept {
    chunk_bytes: usize,
    weighted: bool,
    held: Option<Held>,
}

/// Keeps values that several threads read.
pub(super) struct Keeper<'k> {
    rows: SharedRows<'k, FloatPiece<'k>>,
    lost: Vec<AtomicBool>,
}

/// Keeps the values of a column in the rows from `first_row`.
pub(super) struct KeepColumn<'k, 't> {
    keeper: &'k Keeper<'t>,
    column: usize,
    first_row: usize,
}

impl KeepColumn<'_, '_> {
    /// Keeps values of the rows from number `offset` of these.
    pub(super) fn put(&self, offset: usize, values: &[f32]) {
        self.keeper.rows.fill(self.column, self.first_row + offset, values);
    }

    /// Does not keep the column any more.
    pub(super) fn lose(self) {
        self.keeper.lost[self.column].store(true, Ordering::Relaxed);
    }
}

impl<'t> Keeper<'t> {
    /// What keeps the values of a column in the rows from `first_row`, if it is still kept.
    pub(super) fn column(&self, column: usize, first_row: usize) -> Option<KeepColumn<'_, 't>> {
        (!self.lost[column].load(Ordering::Relaxed)).then_some(KeepColumn {
            keeper: self,
            column,
            first_row,
        })
    }

    /// Per column whether it is not kept any more.
    pub(super) fn lost(self) -> Vec<bool> {
        self.lost.into_iter().map(AtomicBool::into_inner).collect()
    }
}

struct Held {
    tiles: FloatTiles,
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
        let tiles = FloatTiles::try_zeros(n_rows, columns.len(), self.weighted, self.chunk_bytes).ok();
        self.held = tiles.map(|tiles| Held {
            tiles,
            columns: columns.to_vec(),
            keeps: vec![true; columns.len()],
        });
    }

    /// What threads write to, where anything is kept.
    pub(super) fn keeper(&mut self) -> Option<Keeper<'_>> {
        let held = self.held.as_mut()?;
        Some(Keeper {
            lost: held.keeps.iter().map(|keeps| AtomicBool::new(!keeps)).collect(),
            rows: SharedRows::of_floats(&mut held.tiles),
        })
    }

    /// Does not keep the columns that were lost any more.
    pub(super) fn forget(&mut self, lost: Option<Vec<bool>>) {
        let (Some(held), Some(lost)) = (&mut self.held, lost) else {
            return;
        };
        held.keeps
            .iter_mut()
            .zip(lost)
            .for_each(|(keeps, lost)| *keeps &= !lost);
        if !held.keeps.contains(&true) {
            self.held = None;
        }
    }

    /// Per column whether it is kept; nothing where none is.
    pub(super) fn keeps(&self) -> Vec<bool> {
        self.held.as_ref().map_or_else(Vec::new, |held| held.keeps.clone())
    }

    /// Keeps nothing, where the columns are not exactly these.
    pub(super) fn check(&mut self, columns: impl Iterator<Item = FeatureColumn>) {
        self.held.take_if(|held| !columns.eq(held.columns.iter().copied()));
    }

    /// The tiles in which the values of kept columns stand.
    pub(super) fn tiles(&self) -> Option<&FloatTiles> {
        self.held.as_ref().map(|held| &held.tiles)
    }

    /// The tiles, and per column whether its values stand there.
    pub(super) fn into_tiles(self) -> Option<(FloatTiles, Vec<bool>)> {
        self.held.map(|held| (held.tiles, held.keeps))
    }
}
