//! The sums of rows that have their labels already, and of all rows.

use std::ops::Range;

use rayon::prelude::*;

use super::ClusterPartial;
use crate::tiles::{BLOCK, Chunk, TileSet};

/// Blocks of one task: the sums of so many rows, each below `2^23` times a weight up to `2^16`, are exact in `f64`.
pub(crate) const TASK_BLOCKS: usize = 64;
/// Sums that are added up side by side.
const LANES: usize = 8;
/// Copies of the sums of a task, by row: rows of one cluster often stand side by side, and a sum waits for its last
/// addition.
pub(crate) const COPIES: usize = 4;

/// Per cluster, the sum of weight times squared norm of its rows, in grid units squared: rows of `data` under `labels`,
/// one per row, each below `n_clusters`.
///
/// # Panics
/// If there is not one label per row, or a label is out of range.
#[must_use]
pub fn sq_norms_of_labels(data: &TileSet, labels: &[u32], n_clusters: usize) -> Vec<u128> {
    assert_eq!(labels.len(), data.n_rows(), "one label per row");
    let zero = || vec![0; n_clusters];
    let add = |mut sq_norms: Vec<u128>, (chunk, blocks): (&Chunk, Range<usize>)| {
        match chunk.weights() {
            None => add_sq_norms(&mut sq_norms, chunk, blocks, labels),
            Some(weights) => add_weighted_sq_norms(&mut sq_norms, chunk, weights, blocks, labels),
        }
        sq_norms
    };
    let merge = |mut a: Vec<u128>, b: Vec<u128>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    data.tasks(TASK_BLOCKS).fold(zero, add).reduce(zero, merge)
}

/// Adds the squared norms of the blocks of one task, in halves of 32 bits: the sum of so many fits in 64.
fn add_sq_norms(sq_norms: &mut [u128], chunk: &Chunk, blocks: Range<usize>, labels: &[u32]) {
    let mut halves = vec![[[0u64; 2]; COPIES]; sq_norms.len()];
    for block in blocks {
        let labels = &labels[chunk.first_row() + block * BLOCK..][..chunk.block_rows(block)];
        for (row, (&label, norm)) in labels.iter().zip(chunk.sq_norms(block)).enumerate() {
            let [low, high] = &mut halves[label as usize][row % COPIES];
            *low += norm & 0xffff_ffff;
            *high += norm >> 32;
        }
    }
    for (sum, halves) in sq_norms.iter_mut().zip(halves) {
        *sum += halves
            .iter()
            .map(|&[low, high]| (u128::from(high) << 32) + u128::from(low))
            .sum::<u128>();
    }
}

fn add_weighted_sq_norms(sq_norms: &mut [u128], chunk: &Chunk, weights: &[u32], blocks: Range<usize>, labels: &[u32]) {
    for block in blocks {
        let first = block * BLOCK;
        let labels = &labels[chunk.first_row() + first..][..chunk.block_rows(block)];
        let rows = labels.iter().zip(&weights[first..]).zip(chunk.sq_norms(block));
        for ((&label, &weight), norm) in rows {
            sq_norms[label as usize] += u128::from(weight) * u128::from(norm);
        }
    }
}

impl ClusterPartial {
    /// Adds up all rows of `data` under `labels`, one per row, each below `n_clusters`.
    ///
    /// # Panics
    /// If there is not one label per row, or a label is out of range.
    #[must_use]
    pub fn of_labels(data: &TileSet, labels: &[u32], n_clusters: usize) -> Self {
        assert_eq!(labels.len(), data.n_rows(), "one label per row");
        let zero = || Self::zero(n_clusters, data.n_features());
        data.tasks(TASK_BLOCKS)
            .fold(zero, |mut partial, (chunk, blocks)| {
                partial.add_blocks(chunk, blocks, labels);
                partial
            })
            .reduce(zero, |mut a, b| {
                a.merge(&b);
                a
            })
    }

    /// Adds up all rows of `data` as one cluster.
    #[must_use]
    pub fn of_all(data: &TileSet) -> Self {
        let zero = || Self::zero(1, data.n_features());
        data.tasks(TASK_BLOCKS)
            .fold(zero, |mut partial, (chunk, blocks)| {
                partial.add_whole_blocks(chunk, blocks);
                partial
            })
            .reduce(zero, |mut a, b| {
                a.merge(&b);
                a
            })
    }

    fn add_whole_blocks(&mut self, chunk: &Chunk, blocks: Range<usize>) {
        let mut sums = vec![[0.0; LANES]; self.n_features];
        for block in blocks {
            let n_rows = chunk.block_rows(block);
            // What fills the last block up is 0.
            let mut weights = [1.0; BLOCK];
            let mut weight = n_rows as u64;
            if let Some(all) = chunk.weights() {
                let of_block = &all[block * BLOCK..][..n_rows];
                weight = of_block.iter().map(|&weight| u64::from(weight)).sum();
                weights
                    .iter_mut()
                    .zip(of_block)
                    .for_each(|(to, &weight)| *to = f64::from(weight));
            }
            self.counts[0] += n_rows as u64;
            self.cluster_weights[0] += weight;
            for (feature, sums) in sums.iter_mut().enumerate() {
                let values = chunk.block(block).lane(feature);
                let runs = values.chunks_exact(LANES).zip(weights.chunks_exact(LANES));
                for (values, weights) in runs {
                    let lanes = sums.iter_mut().zip(values.iter().zip(weights));
                    lanes.for_each(|(sum, (&x, &weight))| *sum += weight * f64::from(x));
                }
            }
        }
        for (total, sums) in self.sums.iter_mut().zip(sums) {
            *total += sums.iter().map(|&sum| i128::from(sum as i64)).sum::<i128>();
        }
    }

    fn add_blocks(&mut self, chunk: &Chunk, blocks: Range<usize>, labels: &[u32]) {
        let d = self.n_features;
        let mut sums = vec![0.0; self.sums.len()];
        for block in blocks {
            let first = block * BLOCK;
            let labels = &labels[chunk.first_row() + first..][..chunk.block_rows(block)];
            let mut weights = [1.0; BLOCK];
            for (row, &label) in labels.iter().enumerate() {
                let weight = chunk.weight(first + row);
                weights[row] = f64::from(weight);
                self.counts[label as usize] += 1;
                self.cluster_weights[label as usize] += u64::from(weight);
            }
            for feature in 0..d {
                let lane = chunk.block(block).lane(feature);
                for ((&x, &weight), &label) in lane.iter().zip(&weights).zip(labels) {
                    sums[label as usize * d + feature] += weight * f64::from(x);
                }
            }
        }
        let totals = self.sums.iter_mut().zip(sums);
        totals.for_each(|(total, sum)| *total += i128::from(sum as i64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn sums_are_those_of_a_plain_loop_however_the_data_is_cut() {
        let (n, d) = (5000, 3);
        let mut rng = Rng::new(n as u64, 0);
        let rows: Vec<f32> = (0..n * d).map(|_| rng.below(1 << 24) as f32 - 8_388_607.0).collect();
        let labels: Vec<u32> = (0..n).map(|_| rng.below(5) as u32).collect();
        let weights: Vec<u32> = (0..n).map(|_| rng.below((1 << 16) + 1) as u32).collect();
        let rest: Vec<usize> = (1..n).collect();
        for weights in [None, Some(&weights[..])] {
            let data = TileSet::from_rows(&rows, d, weights, usize::MAX);
            let mut expected = ClusterPartial::zero(5, d);
            let mut x = vec![0; d];
            for (row, &label) in labels.iter().enumerate() {
                data.read_row(row, &mut x);
                expected.add_row(label as usize, &x, data.weight(row));
            }
            for chunk_bytes in [1, 64 * d * 4 * 10, usize::MAX] {
                let data = TileSet::from_rows(&rows, d, weights, chunk_bytes);
                assert_eq!(ClusterPartial::of_labels(&data, &labels, 5), expected);
                let one = ClusterPartial::of_labels(&data, &vec![0; n], 1);
                assert_eq!(ClusterPartial::of_all(&data), one);
                assert_ne!(
                    ClusterPartial::of_all(&data),
                    ClusterPartial::of_all(&data.gather(&rest))
                );
            }
            // Planted faults: a row is left out, above; one label.
            let mut wrong = labels.clone();
            wrong[4321] = (wrong[4321] + 1) % 5;
            assert_ne!(ClusterPartial::of_labels(&data, &wrong, 5), expected);
        }
    }
}
