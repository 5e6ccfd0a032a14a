//! Some rows of a data set as one of their own.

use super::{TileSet, row_words};
use crate::error::Result;

impl TileSet {
    /// The given rows, in the given order, in chunks of as many rows as this set's.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn subset(&self, rows: &[usize]) -> Result<Self> {
        let chunk_bytes = self.chunk_rows * row_words(self.n_features) * size_of::<u32>();
        let mut out = Self::try_zeros(rows.len(), self.n_features, self.weighted, chunk_bytes)?;
        for chunk in &mut out.chunks {
            let first_row = chunk.first_row;
            let mut gathered = self.gather(&rows[first_row..first_row + chunk.n_rows]);
            *chunk = gathered.chunks.swap_remove(0);
            chunk.first_row = first_row;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_asked_for_in_chunks_of_one_size() {
        let (n, d) = (1000, 3);
        let values: Vec<f32> = (0..n * d).map(|at| at as f32).collect();
        let weights: Vec<u32> = (0..n as u32).map(|row| row % 7).collect();
        let rows: Vec<usize> = (0..n).filter(|row| row % 3 > 0).rev().collect();
        for weights in [None, Some(&weights[..])] {
            let of_rows: Vec<f32> = rows.iter().flat_map(|&row| values[row * d..][..d].to_vec()).collect();
            let of_weights = weights.map(|weights| rows.iter().map(|&row| weights[row]).collect::<Vec<u32>>());
            for chunk_bytes in [1, 5 * 64 * d * 4, usize::MAX] {
                let data = TileSet::from_rows(&values, d, weights, chunk_bytes);
                let expected = TileSet::from_rows(&of_rows, d, of_weights.as_deref(), chunk_bytes);
                assert_eq!(data.subset(&rows).unwrap().chunks, expected.chunks);
                assert_ne!(data.subset(&rows[1..]).unwrap().chunks, expected.chunks);
            }
        }
    }
}
