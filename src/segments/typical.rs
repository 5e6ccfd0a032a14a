//! The most typical rows of each segment: those nearest to its centroid.

use std::collections::BinaryHeap;

use rayon::prelude::*;

use super::Assignment;
use crate::tiles::RowKeys;

/// Rows that stand for a segment: so many that no figure of them is that of a single one.
pub const N_TYPICAL: usize = 11;

/// A row that may be among the nearest: by distance, then by key.
type Near = (u64, u128, usize);

/// Per cluster its `n` rows nearest to the centroid, the nearest first, ties in order of their keys.
///
/// # Panics
/// If there are fewer keys than rows, or a label is not below `n_clusters`.
#[must_use]
pub fn typical_rows(assignment: &Assignment, keys: &RowKeys, n_clusters: usize, n: usize) -> Vec<Vec<usize>> {
    let none = || vec![BinaryHeap::new(); n_clusters];
    let with_row = |mut nearest: Vec<BinaryHeap<Near>>, row: usize| {
        let heap = &mut nearest[assignment.labels[row] as usize];
        // Distances are not negative, so that their bits are in their order.
        let distance = assignment.distances[row].to_bits();
        if heap.len() < n || heap.peek().is_some_and(|farthest| distance <= farthest.0) {
            push(heap, (distance, keys.key(row), row), n);
        }
        nearest
    };
    let merged = |mut nearest: Vec<BinaryHeap<Near>>, others: Vec<BinaryHeap<Near>>| {
        for (heap, other) in nearest.iter_mut().zip(others) {
            other.into_iter().for_each(|near| push(heap, near, n));
        }
        nearest
    };
    let rows = (0..assignment.n_rows()).into_par_iter().with_min_len(1 << 16);
    let nearest = rows.fold(none, with_row).reduce(none, merged);
    let rows = |heap: BinaryHeap<Near>| heap.into_sorted_vec().into_iter().map(|near| near.2).collect();
    nearest.into_iter().map(rows).collect()
}

fn push(heap: &mut BinaryHeap<Near>, near: Near, n: usize) {
    heap.push(near);
    if heap.len() > n {
        heap.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(n: usize) -> Assignment {
        Assignment {
            labels: (0..n as u32).map(|row| row % 3).collect(),
            runners_up: vec![0; n],
            distances: (0..n).map(|row| (row * 7919 % 23) as f64).collect(),
            distances_2: vec![99.0; n],
            share_missing: vec![0.0; n],
        }
    }

    #[test]
    fn the_nearest_rows_are_those_of_sorting() {
        let n = 200_000;
        let keys: Vec<u128> = (0..n as u128).map(|row| row * 7919 % 200_003).collect();
        let assignment = assignment(n);
        let found = typical_rows(&assignment, &RowKeys::Ids(keys.clone()), 4, 11);
        for (cluster, found) in found.iter().enumerate() {
            let mut rows: Vec<usize> = (0..n).filter(|&row| assignment.labels[row] == cluster as u32).collect();
            rows.sort_by(|&a, &b| {
                assignment.distances[a]
                    .total_cmp(&assignment.distances[b])
                    .then(keys[a].cmp(&keys[b]))
            });
            rows.truncate(11);
            assert_eq!(*found, rows);
        }
        let other = typical_rows(&assignment, &RowKeys::RowNumber, 4, 11);
        assert_ne!(found, other, "ties go by key");
    }
}
