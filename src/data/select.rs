//! Which rows of a table are kept: one bit each.

use arrow::buffer::BooleanBuffer;

/// Rows that are kept, by their number among all rows of the files.
pub(crate) struct Selection {
    kept: BooleanBuffer,
    n_kept: usize,
}

impl Selection {
    /// Rows whose bit is set.
    pub(crate) fn new(kept: BooleanBuffer) -> Self {
        Self {
            n_kept: kept.count_set_bits(),
            kept,
        }
    }

    /// Rows that are kept.
    pub(crate) fn n_kept(&self) -> usize {
        self.n_kept
    }

    /// Those of `n` rows from `first`.
    pub(crate) fn slice(&self, first: usize, n: usize) -> BooleanBuffer {
        self.kept.slice(first, n)
    }

    /// The number that the `nth` kept row (from 0) has among all rows.
    pub(crate) fn nth(&self, nth: usize) -> usize {
        self.kept.set_indices().nth(nth).unwrap_or(self.kept.len())
    }

    /// The same without some of the kept rows, those for which `keeps` says no; it is asked about them in order.
    pub(crate) fn and(&self, mut keeps: impl FnMut(usize) -> bool) -> Self {
        let mut builder = arrow::array::BooleanBufferBuilder::new(self.kept.len());
        builder.append_n(self.kept.len(), false);
        for (nth, row) in self.kept.set_indices().enumerate() {
            builder.set_bit(row, keeps(nth));
        }
        Self::new(builder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_their_number_among_those_kept() {
        let selection = Selection::new(BooleanBuffer::from_iter((0..100).map(|row| row % 3 == 1)));
        assert_eq!(selection.n_kept(), 33);
        assert_eq!((selection.nth(0), selection.nth(10), selection.nth(32)), (1, 31, 97));
        assert_eq!(selection.slice(3, 6).count_set_bits(), 2);
        let fewer = selection.and(|nth| nth % 2 == 0);
        assert_eq!((fewer.n_kept(), fewer.nth(1)), (17, 7));
    }
}
