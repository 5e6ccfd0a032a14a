//! What the rows of a pass add to the exact sums of the clusters.

use super::kernel::Kernels;
use super::lane_sums::LaneSums;
use super::rows::{self, Move};
use crate::partial::ClusterPartial;
use crate::tiles::{BLOCK, Block};

/// Most rows between two calls of [`Delta::settle`], so that the `i64` sums hold even with the largest weights
/// (2^23 * 2^16 * 2^23 = 2^62).
pub(super) const MAX_ROWS: usize = 1 << 23;

/// Copies of the sums, taken in turn, where there are few: an addition need not wait for the one before it.
const COPIES: usize = 4;
/// Up to so many sums there are copies.
const FEW_SUMS: usize = 1 << 10;
/// Rows that follow their labels together.
const BATCH: usize = BLOCK;

/// Changes of sums, weights and counts, kept by one thread over a pass.
pub(super) struct Delta {
    kernels: Kernels,
    n_features: usize,
    /// From the sums of a cluster to those of the next.
    stride: usize,
    /// From a copy to the next; 0 where there is one.
    n_copied: usize,
    /// One or [`COPIES`] times `n_clusters` times the [stride](rows::stride).
    sums: Vec<i64>,
    lanes: LaneSums,
    /// Rows whose values have not followed their labels yet.
    moves: Vec<Move>,
    /// A block, row by row.
    rows: Vec<u32>,
    cluster_weights: Vec<i64>,
    counts: Vec<i64>,
    /// Rows since the last call of [`Delta::settle`].
    n_rows: usize,
}

impl Delta {
    pub(super) fn new(n_clusters: usize, n_features: usize, kernels: &Kernels) -> Self {
        let stride = rows::stride(n_features);
        let n_sums = n_clusters * stride;
        let copies = if n_sums <= FEW_SUMS { COPIES } else { 1 };
        Self {
            kernels: *kernels,
            n_features,
            stride,
            n_copied: if copies > 1 { n_sums } else { 0 },
            sums: vec![0; n_sums * copies],
            lanes: LaneSums::new(n_clusters, n_features, kernels.add_block),
            moves: Vec::with_capacity(2 * BATCH),
            rows: vec![0; rows::row_stride(n_features) * BLOCK],
            cluster_weights: vec![0; n_clusters],
            counts: vec![0; n_clusters],
            n_rows: 0,
        }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Where the sums of a cluster begin in the copy that comes next.
    #[inline(always)]
    fn place(&self, cluster: u32) -> u32 {
        (self.n_rows % COPIES * self.n_copied + cluster as usize * self.stride) as u32
    }

    /// Adds the rows of a block to the clusters of their labels.
    pub(super) fn add_block(&mut self, labels: &[u32], block: Block<'_>, weight: impl Fn(usize) -> u32) {
        if let Ok(labels) = labels.try_into()
            && (0..BLOCK).all(|row| weight(row) == 1)
            && self.lanes.add(labels, block, &mut self.sums)
        {
            self.n_rows += BLOCK;
            return;
        }
        let mut places = [(0, 0); BLOCK];
        for (row, (place, &label)) in places.iter_mut().zip(labels).enumerate() {
            let weight = weight(row);
            *place = (self.place(label), weight);
            self.n_rows += 1;
            self.cluster_weights[label as usize] += i64::from(weight);
            self.counts[label as usize] += 1;
        }
        (self.kernels.lay_out)(block.words(), &mut self.rows, rows::row_stride(self.n_features));
        (self.kernels.add_rows)(&mut self.sums, &places[..labels.len()], &self.rows, self.n_features);
    }

    /// Has some rows (one bit each) of a block follow their labels at once, which is faster where they are many.
    pub(super) fn shift_block(
        &mut self,
        moved: u64,
        [old, new]: [&[u32]; 2],
        block: Block<'_>,
        weight: impl Fn(usize) -> u32,
    ) {
        let stride = rows::row_stride(self.n_features);
        (self.kernels.lay_out)(block.words(), &mut self.rows, stride);
        let waiting = self.moves.len();
        for slot in bits(moved) {
            self.shift(slot * stride, [old[slot], new[slot]], weight(slot));
        }
        (self.kernels.shift_laid_out)(&mut self.sums, &self.moves[waiting..], &self.rows, self.n_features);
        self.moves.truncate(waiting);
    }

    /// Has a row, whose first word stands at `at`, follow its label from one cluster to another: its values when
    /// [`Delta::follow`] is called.
    #[inline]
    pub(super) fn shift(&mut self, at: usize, [from, to]: [u32; 2], weight: u32) {
        self.moves.push(Move {
            at,
            from: self.place(from),
            to: self.place(to),
            weight,
        });
        self.n_rows += 1;
        let weight = i64::from(weight);
        self.cluster_weights[from as usize] -= weight;
        self.cluster_weights[to as usize] += weight;
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
    }

    /// Lets the values of rows that moved follow, which stand in `words`: all, or as soon as there are many.
    #[inline]
    pub(super) fn follow(&mut self, words: &[u32], all: bool) {
        if all || self.moves.len() >= BATCH {
            (self.kernels.shift_rows)(&mut self.sums, &self.moves, words, self.n_features);
            self.moves.clear();
        }
    }

    /// Adds all changes to `partial` and starts anew.
    pub(super) fn settle(&mut self, partial: &mut ClusterPartial) {
        if self.n_rows == 0 {
            return;
        }
        self.n_rows = 0;
        debug_assert!(self.moves.is_empty(), "all rows have followed");
        self.lanes.settle(&mut self.sums, self.n_features);
        for (cluster, n) in self.lanes.take_counts().enumerate() {
            self.counts[cluster] += n;
            self.cluster_weights[cluster] += n;
        }
        let stride = self.stride;
        for sums in self.sums.chunks_mut(self.counts.len() * stride) {
            for (totals, sums) in partial.sums.chunks_mut(self.n_features).zip(sums.chunks(stride)) {
                totals
                    .iter_mut()
                    .zip(sums)
                    .for_each(|(total, &sum)| *total += i128::from(sum));
            }
            sums.fill(0);
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
