//! What the rows of a pass add to the exact sums of the clusters.

use super::lane_sums::{AddBlock, LaneSums};
use crate::partial::ClusterPartial;
use crate::tiles::BLOCK;

/// Most rows between two calls of [`Delta::settle`], so that the `i64` sums hold even with the largest weights
/// (2^23 * 2^16 * 2^23 = 2^62).
pub(super) const MAX_ROWS: usize = 1 << 23;

/// Copies of the sums, taken in turn, where there are few: an addition need not wait for the one before it.
const COPIES: usize = 4;
/// Up to so many sums there are copies.
const FEW_SUMS: usize = 1 << 10;

/// Changes of sums, weights and counts, kept by one thread over a pass.
pub(super) struct Delta {
    n_features: usize,
    /// One or [`COPIES`] times `n_clusters x n_features`.
    sums: Vec<i64>,
    lanes: LaneSums,
    cluster_weights: Vec<i64>,
    counts: Vec<i64>,
    /// Rows since the last call of [`Delta::settle`].
    n_rows: usize,
}

impl Delta {
    pub(super) fn new(n_clusters: usize, n_features: usize, add_block: Option<AddBlock>) -> Self {
        let n_sums = n_clusters * n_features;
        Self {
            n_features,
            sums: vec![0; n_sums * if n_sums <= FEW_SUMS { COPIES } else { 1 }],
            lanes: LaneSums::new(n_sums, add_block),
            cluster_weights: vec![0; n_clusters],
            counts: vec![0; n_clusters],
            n_rows: 0,
        }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Where the copy of the sums begins that comes next.
    #[inline(always)]
    fn copy(&self) -> usize {
        let n_sums = self.counts.len() * self.n_features;
        if self.sums.len() > n_sums {
            self.n_rows % COPIES * n_sums
        } else {
            0
        }
    }

    /// Adds the rows of a block (grid values, feature by feature) to the clusters of their labels.
    pub(super) fn add_block(&mut self, labels: &[u32], block: &[f32], weight: impl Fn(usize) -> u32) {
        let d = self.n_features;
        let all_weigh_1 = (0..labels.len()).all(|row| weight(row) == 1);
        if let (Ok(labels), true) = (labels.try_into(), all_weigh_1)
            && self.lanes.add(labels, block, &mut self.sums)
        {
            self.count(labels);
            return;
        }
        let mut weights = [1; BLOCK];
        let mut places = [0; BLOCK];
        for (row, &label) in labels.iter().enumerate() {
            let cluster = label as usize;
            weights[row] = i64::from(weight(row));
            places[row] = self.copy() + cluster * d;
            self.n_rows += 1;
            self.cluster_weights[cluster] += weights[row];
            self.counts[cluster] += 1;
        }
        for (feature, lane) in block.chunks_exact(BLOCK).enumerate() {
            let mut terms: [i64; BLOCK] = std::array::from_fn(|row| integer(lane[row]));
            if !all_weigh_1 {
                terms.iter_mut().zip(weights).for_each(|(term, weight)| *term *= weight);
            }
            for (&place, term) in places[..labels.len()].iter().zip(terms) {
                self.sums[place + feature] += term;
            }
        }
    }

    /// Counts the rows of a block that all weigh 1.
    fn count(&mut self, labels: &[u32; BLOCK]) {
        self.n_rows += BLOCK;
        for &label in labels {
            self.cluster_weights[label as usize] += 1;
            self.counts[label as usize] += 1;
        }
    }

    /// Takes the row at `values[0]`, `values[64]`, … (grid values) out of the cluster `from` and adds it to `to`, which is
    /// another.
    #[inline]
    pub(super) fn shift(&mut self, from: u32, to: u32, values: &[f32], weight: u32) {
        let (from, to, weight, d) = (from as usize, to as usize, i64::from(weight), self.n_features);
        let copy = self.copy();
        self.n_rows += 1;
        self.cluster_weights[from] -= weight;
        self.cluster_weights[to] += weight;
        self.counts[from] -= 1;
        self.counts[to] += 1;
        let [from, to] = self
            .sums
            .get_disjoint_mut([from, to].map(|cluster| copy + cluster * d..copy + (cluster + 1) * d))
            .expect("two clusters");
        for ((from, to), lane) in from.iter_mut().zip(to).zip(values.chunks(BLOCK)) {
            let x = weight * integer(lane[0]);
            *from -= x;
            *to += x;
        }
    }

    /// Adds all changes to `partial` and starts anew.
    pub(super) fn settle(&mut self, partial: &mut ClusterPartial) {
        if self.n_rows == 0 {
            return;
        }
        self.n_rows = 0;
        self.lanes.settle(&mut self.sums);
        for sums in self.sums.chunks_mut(partial.sums.len()) {
            for (sum, delta) in partial.sums.iter_mut().zip(sums) {
                *sum += i128::from(std::mem::take(delta));
            }
        }
        let add = |totals: &mut [u64], deltas: &mut [i64]| {
            // What threads add and take out comes in any order: totals may pass below zero on the way.
            for (total, delta) in totals.iter_mut().zip(deltas) {
                *total = total.wrapping_add_signed(std::mem::take(delta));
            }
        };
        add(&mut partial.cluster_weights, &mut self.cluster_weights);
        add(&mut partial.counts, &mut self.counts);
    }
}

/// A grid value as an integer.
#[inline(always)]
fn integer(x: f32) -> i64 {
    debug_assert!(x.abs() <= crate::grid::MAX_GRID as f32);
    // SAFETY: tiles hold integers below 2^23.
    i64::from(unsafe { x.to_int_unchecked::<i32>() })
}
