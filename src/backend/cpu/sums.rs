//! What the rows of a pass add to the exact sums of the clusters.

use super::kernel::Kernels;
use super::lane_sums::LaneSums;
use super::rows::{self, Move, integer};
use crate::partial::ClusterPartial;
use crate::tiles::BLOCK;

/// Most rows between two calls of [`Delta::settle`], so that the `i64` sums hold even with the largest weights
/// (2^23 * 2^16 * 2^23 = 2^62).
pub(super) const MAX_ROWS: usize = 1 << 23;

/// Copies of the sums, taken in turn, where there are few: an addition need not wait for the one before it.
const COPIES: usize = 4;
/// Up to so many sums there are copies.
const FEW_SUMS: usize = 1 << 10;
/// From so many rows of a block on, laying out all of them is faster than one by one.
const MANY_ROWS: usize = 8;

/// Changes of sums, weights and counts, kept by one thread over a pass.
pub(super) struct Delta {
    kernels: Kernels,
    n_features: usize,
    /// One or [`COPIES`] times `n_clusters x n_features`.
    sums: Vec<i64>,
    lanes: LaneSums,
    /// A block, row by row.
    rows: Vec<f32>,
    moves: Vec<Move>,
    cluster_weights: Vec<i64>,
    counts: Vec<i64>,
    /// Rows since the last call of [`Delta::settle`].
    n_rows: usize,
}

impl Delta {
    pub(super) fn new(n_clusters: usize, n_features: usize, kernels: &Kernels) -> Self {
        let n_sums = n_clusters * n_features;
        Self {
            kernels: *kernels,
            n_features,
            sums: vec![0; n_sums * if n_sums <= FEW_SUMS { COPIES } else { 1 }],
            lanes: LaneSums::new(n_sums, kernels.add_block),
            rows: vec![0.0; rows::stride(n_features) * BLOCK],
            moves: Vec::with_capacity(BLOCK),
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
        let all_weigh_1 = (0..labels.len()).all(|row| weight(row) == 1);
        if !all_weigh_1 {
            for (row, &label) in labels.iter().enumerate() {
                self.add_row(label as usize, &block[row..], i64::from(weight(row)));
            }
            return;
        }
        let in_lanes = labels
            .try_into()
            .is_ok_and(|labels| self.lanes.add(labels, block, &mut self.sums));
        let mut places = [0; BLOCK];
        for (place, &label) in places.iter_mut().zip(labels) {
            *place = (self.copy() + label as usize * self.n_features) as u32;
            self.n_rows += 1;
            self.cluster_weights[label as usize] += 1;
            self.counts[label as usize] += 1;
        }
        if !in_lanes {
            (self.kernels.lay_out)(block, &mut self.rows);
            (self.kernels.add_rows)(&mut self.sums, &places[..labels.len()], &self.rows, self.n_features);
        }
    }

    /// Adds the row at `values[0]`, `values[64]`, …
    fn add_row(&mut self, cluster: usize, values: &[f32], weight: i64) {
        let place = self.copy() + cluster * self.n_features;
        self.n_rows += 1;
        self.cluster_weights[cluster] += weight;
        self.counts[cluster] += 1;
        for (sum, lane) in self.sums[place..].iter_mut().zip(values.chunks(BLOCK)) {
            *sum += weight * integer(lane[0]);
        }
    }

    /// Takes some rows (one bit each) of a block out of the clusters of their old labels, and adds them to those of their
    /// new ones, which differ.
    pub(super) fn shift_rows(
        &mut self,
        moved: u64,
        [old, new]: [&[u32]; 2],
        block: &[f32],
        weight: impl Fn(usize) -> u32,
    ) {
        self.moves.clear();
        for slot in bits(moved) {
            let (from, to, weight) = (old[slot], new[slot], weight(slot));
            if weight == 1 {
                let place = |cluster: u32| (self.copy() + cluster as usize * self.n_features) as u32;
                let slot = slot as u8;
                let (from_place, to_place) = (place(from), place(to));
                self.moves.push(Move {
                    slot,
                    from: from_place,
                    to: to_place,
                });
                self.count_shift(from, to, 1);
            } else {
                self.shift(from, to, &block[slot..], weight);
            }
        }
        if self.moves.len() >= MANY_ROWS {
            (self.kernels.lay_out)(block, &mut self.rows);
        } else {
            let stride = rows::stride(self.n_features);
            for slot in self.moves.iter().map(|it| usize::from(it.slot)) {
                rows::lay_out_row(block, slot, &mut self.rows[slot * stride..][..self.n_features]);
            }
        }
        (self.kernels.shift_rows)(&mut self.sums, &self.moves, &self.rows, self.n_features);
    }

    #[inline]
    fn count_shift(&mut self, from: u32, to: u32, weight: i64) {
        self.n_rows += 1;
        self.cluster_weights[from as usize] -= weight;
        self.cluster_weights[to as usize] += weight;
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
    }

    /// Takes the row at `values[0]`, `values[64]`, … (grid values) out of the cluster `from` and adds it to `to`, which is
    /// another.
    #[inline]
    pub(super) fn shift(&mut self, from: u32, to: u32, values: &[f32], weight: u32) {
        let (copy, d, weight) = (self.copy(), self.n_features, i64::from(weight));
        self.count_shift(from, to, weight);
        let places = [from, to].map(|cluster| copy + cluster as usize * d..copy + (cluster as usize + 1) * d);
        let [from, to] = self.sums.get_disjoint_mut(places).expect("two clusters");
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

/// The numbers of the bits that are set.
pub(super) fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(bit)
    })
}
