//! Sums of a block of rows per cluster in the lanes of vectors: where clusters and features are few, adding the block to
//! every cluster under a mask is faster than adding row by row, each addition of which waits for the one before.

use super::rows;
use crate::tiles::{BLOCK, Block};

/// Lanes of a sum.
pub(super) const WIDTH: usize = 16;
/// Up to so many sums it is faster than rows laid out one after the other.
const MAX_SUMS: usize = 128;
/// Blocks that a lane can take: each adds 64 / 16 values below 2^23.
const MAX_BLOCKS: usize = 60;

/// Adds a block of rows (labels, values) to the lanes of their clusters, `n_clusters x n_features x 16`, and counts them.
pub(super) type AddBlock = fn(&[u32; BLOCK], &[i32], &mut [i32], &mut [i64]);

/// The lanes of all sums; none where there are too many, or the instruction set has no masks.
pub(super) struct LaneSums {
    add: Option<AddBlock>,
    lanes: Vec<i32>,
    /// Rows of each cluster.
    counts: Vec<i64>,
    /// The values of a block.
    values: Vec<i32>,
    /// Blocks since the last call of [`LaneSums::settle`].
    n_blocks: usize,
}

impl LaneSums {
    pub(super) fn new(n_clusters: usize, n_features: usize, add: Option<AddBlock>) -> Self {
        let add = add.filter(|_| n_clusters * n_features <= MAX_SUMS);
        let room = |len: usize| if add.is_some() { len } else { 0 };
        Self {
            add,
            lanes: vec![0; room(n_clusters * n_features * WIDTH)],
            counts: vec![0; room(n_clusters)],
            values: vec![0; room(n_features * BLOCK)],
            n_blocks: 0,
        }
    }

    /// Adds a block, and from time to time all lanes to `sums`; false where that has to be done row by row.
    pub(super) fn add(&mut self, labels: &[u32; BLOCK], block: Block<'_>, sums: &mut [i64]) -> bool {
        let Some(add) = self.add else {
            return false;
        };
        block.unpack_integers(&mut self.values);
        add(labels, &self.values, &mut self.lanes, &mut self.counts);
        self.n_blocks += 1;
        if self.n_blocks == MAX_BLOCKS {
            self.settle(sums, block.n_features());
        }
        true
    }

    /// The rows of each cluster since this was last asked.
    pub(super) fn take_counts(&mut self) -> impl Iterator<Item = i64> {
        self.counts.iter_mut().map(std::mem::take)
    }

    /// Adds all lanes to `sums`, which stand at a [stride](rows::stride), and starts anew.
    pub(super) fn settle(&mut self, sums: &mut [i64], n_features: usize) {
        if self.n_blocks == 0 {
            return;
        }
        self.n_blocks = 0;
        let clusters = sums.chunks_mut(rows::stride(n_features));
        for (sums, lanes) in clusters.zip(self.lanes.chunks_exact_mut(n_features * WIDTH)) {
            for (sum, lanes) in sums.iter_mut().zip(lanes.chunks_exact_mut(WIDTH)) {
                *sum += lanes.iter().map(|&lane| i64::from(lane)).sum::<i64>();
                lanes.fill(0);
            }
        }
    }
}

/// An [`AddBlock`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub(super) fn add_avx512(labels: &[u32; BLOCK], block: &[i32], lanes: &mut [i32], counts: &mut [i64]) {
    use std::arch::x86_64::*;
    let load = |from: &[u32]| {
        let from = from[..WIDTH].as_ptr();
        // SAFETY: sixteen numbers stand there.
        unsafe { _mm512_loadu_si512(from.cast()) }
    };
    let labels: [__m512i; BLOCK / WIDTH] = std::array::from_fn(|part| load(&labels[part * WIDTH..]));
    let n_features = block.len() / BLOCK;
    for (cluster, (sums, count)) in lanes.chunks_exact_mut(n_features * WIDTH).zip(counts).enumerate() {
        let cluster = _mm512_set1_epi32(cluster as i32);
        let masks = labels.map(|labels| _mm512_cmpeq_epi32_mask(labels, cluster));
        *count += masks.iter().map(|mask| i64::from(mask.count_ones())).sum::<i64>();
        for (sums, lane) in sums.chunks_exact_mut(WIDTH).zip(block.chunks_exact(BLOCK)) {
            // SAFETY: sixteen numbers stand in each chunk.
            unsafe {
                let mut sum = _mm512_loadu_si512(sums.as_ptr().cast());
                for (values, mask) in lane.chunks_exact(WIDTH).zip(masks) {
                    let values = _mm512_loadu_si512(values.as_ptr().cast());
                    sum = _mm512_mask_add_epi32(sum, mask, sum, values);
                }
                _mm512_storeu_si512(sums.as_mut_ptr().cast(), sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::backend::cpu::kernel;
    use crate::backend::cpu::sums::Delta;
    use crate::grid::MAX_GRID;
    use crate::partial::ClusterPartial;
    use crate::tiles::{BLOCK, TileSet};

    /// Blocks of the largest values: no lane may overflow, and nothing may be lost on the way to the sums.
    #[test]
    fn the_largest_values_add_up_in_lanes_and_one_by_one() {
        let edge = MAX_GRID as f32;
        let n_blocks = 3 * super::MAX_BLOCKS + 7;
        for kernels in kernel::available() {
            for (n_clusters, n_features) in [(3, 2), (12, 10), (40, 20)] {
                let mut delta = Delta::new(n_clusters, n_features, &kernels);
                let rows: Vec<f32> = (0..BLOCK * n_features)
                    .map(|i| {
                        if (i % n_features).is_multiple_of(2) {
                            edge
                        } else {
                            -edge
                        }
                    })
                    .collect();
                let tiles = TileSet::from_rows(&rows, n_features, None, usize::MAX);
                let labels: [u32; BLOCK] = std::array::from_fn(|row| u32::from(row >= 16) * 2);
                for _ in 0..n_blocks {
                    delta.add_block(&labels, tiles.chunks()[0].block(0), |_| 1);
                }
                let mut partial = ClusterPartial::zero(n_clusters, n_features);
                delta.settle(&mut partial);
                let total = i128::from(MAX_GRID) * n_blocks as i128;
                assert_eq!(partial.sums_of(0)[..2], [16 * total, -16 * total]);
                assert_eq!(partial.sums_of(1)[..2], [0, 0]);
                assert_eq!(partial.sums_of(2)[..2], [48 * total, -48 * total]);
                assert_eq!(partial.counts[..3], [16 * n_blocks as u64, 0, 48 * n_blocks as u64]);
            }
        }
    }
}
