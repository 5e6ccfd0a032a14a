//! What a file of any format is to a table: pieces of rows, each of which can be read on its own and by any thread.

use arrow::array::ArrayRef;
use arrow::datatypes::Fields;

use super::file::Input;
use super::filter::Bounds;
use crate::error::Result;

/// Takes a number of rows, and their values for each column asked for; `false` where no more are wanted.
pub(crate) type Take<'t> = dyn FnMut(usize, Vec<ArrayRef>) -> bool + 't;

/// One file of a table.
pub(crate) trait Part: Send + Sync {
    /// The file.
    fn input(&self) -> &Input;

    /// Its columns, in its own order.
    fn fields(&self) -> &Fields;

    /// Pieces it is read in.
    fn n_pieces(&self) -> usize;

    /// Rows in a piece.
    fn n_rows(&self, piece: usize) -> usize;

    /// Whether a column's values are of a kind that can be read: not nested, but for lists of numbers.
    fn is_readable(&self, column: usize) -> bool;

    /// What is known of a column's values in a piece before it is read.
    fn bounds(&self, _piece: usize, _column: usize) -> Option<Bounds> {
        None
    }

    /// Whether some columns of a piece can be decoded without the work of decoding the others.
    fn has_columns_apart(&self) -> bool {
        false
    }

    /// [`Part::read`], which may hand on the texts of a column of plain texts in a dictionary.
    ///
    /// # Errors
    /// Those of [`Part::read`].
    fn read_keyed(&self, piece: usize, columns: &[usize], room: u64, take: &mut Take<'_>) -> Result<()> {
        self.read(piece, columns, room, take)
    }

    /// Decodes columns of a piece, in batches, until `take` gives `false`. `room` is the memory that one decoder may
    /// take for a page, or a batch's strings. Exactly [`Part::n_rows`] rows are handed on, or an error comes back.
    ///
    /// # Errors
    /// What is wrong with the file, where.
    fn read(&self, piece: usize, columns: &[usize], room: u64, take: &mut Take<'_>) -> Result<()>;
}
