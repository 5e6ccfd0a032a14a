//! Every row's segment, runner-up and how clear the choice was.

use std::borrow::Borrow;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use crate::backend::{NO_CLUSTER, TwoNearest};
use crate::grid::Grid;
use crate::num::widest::{Kernel, widest};
use crate::tiles::{BLOCK, Block, Centroids, Chunk, RowKeys, TileSet};

/// Blocks whose distances one task finds, at least.
const TASK_BLOCKS: usize = 64;

/// Segment and runner-up of every row, in row order. The same bits on every device and for any number of threads.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The nearest cluster of each row, from 0 (segment numbers are one more).
    pub labels: Vec<u32>,
    /// The second-nearest cluster of each row, from 0; [`NO_CLUSTER`] where there is one cluster only.
    pub runners_up: Vec<u32>,
    /// Distance of each row to its centroid, in units of the scaled features.
    pub distances: Vec<f64>,
    /// Distance of each row to the runner-up's centroid; infinite where there is none.
    pub distances_2: Vec<f64>,
    /// Share of each row's features that had no value and were filled.
    pub share_missing: Vec<f32>,
}

impl Assignment {
    /// Adds exact distances to what a pass found.
    ///
    /// A distance is the square root, rounded once, of the exact squared distance rounded once.
    ///
    /// # Panics
    /// If the parts differ in their number of rows, or name a cluster that is not there.
    #[must_use]
    pub fn new(
        tiles: &TileSet,
        centroids: &Centroids,
        grid: Grid,
        nearest: TwoNearest,
        share_missing: Vec<f32>,
    ) -> Self {
        let n_rows = tiles.n_rows();
        Self::of_chunks(n_rows, tiles.chunks().iter(), centroids, grid, nearest, share_missing)
    }

    /// [`Assignment::new`], which lets each chunk of the tiles go once its distances are known: both together take
    /// little more memory than the tiles alone.
    pub(crate) fn in_place_of(
        tiles: TileSet,
        centroids: &Centroids,
        grid: Grid,
        nearest: TwoNearest,
        share_missing: Vec<f32>,
    ) -> Self {
        let n_rows = tiles.n_rows();
        let chunks = tiles.into_chunks().into_iter();
        Self::of_chunks(n_rows, chunks, centroids, grid, nearest, share_missing)
    }

    fn of_chunks<C: Borrow<Chunk>>(
        n_rows: usize,
        chunks: impl Iterator<Item = C>,
        centroids: &Centroids,
        grid: Grid,
        nearest: TwoNearest,
        share_missing: Vec<f32>,
    ) -> Self {
        let TwoNearest { labels, runners_up, .. } = nearest;
        assert!(
            labels.len() == n_rows && runners_up.len() == n_rows && share_missing.len() == n_rows,
            "one entry per row"
        );
        let room = || crate::sys::zeros(n_rows).expect("memory for the distances");
        let (mut distances, mut distances_2) = (room(), room());
        for chunk in chunks {
            let chunk = chunk.borrow();
            let rows = chunk.first_row()..chunk.first_row() + chunk.n_rows();
            let first = distances[rows.clone()].par_chunks_mut(BLOCK);
            let second = distances_2[rows.clone()].par_chunks_mut(BLOCK);
            let nearest = labels[rows.clone()].par_chunks(BLOCK);
            let runners_up = runners_up[rows].par_chunks(BLOCK);
            let blocks = first.zip(second).zip(nearest.zip(runners_up));
            blocks.enumerate().with_min_len(TASK_BLOCKS).for_each_init(
                || vec![0; chunk.n_features() * BLOCK],
                |rows, (block, ((first, second), (nearest, runners_up)))| {
                    widest(Distances {
                        block: chunk.block(block),
                        rows,
                        centroids,
                        grid,
                        found: [(nearest, first), (runners_up, second)],
                    });
                },
            );
        }
        Self {
            labels,
            runners_up,
            distances,
            distances_2,
            share_missing,
        }
    }

    /// Rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.labels.len()
    }

    /// How clear the choice was: `(d2 - d1) / (d2 + d1)`, from 0 (on the boundary) to 1 (on the centroid).
    ///
    /// 0 where both distances are 0; `None` where there is no runner-up.
    #[must_use]
    pub fn margin(&self, row: usize) -> Option<f64> {
        let (d1, d2) = (self.distances[row], self.distances_2[row]);
        (self.runners_up[row] != NO_CLUSTER).then(|| if d2 > 0.0 { (d2 - d1) / (d2 + d1) } else { 0.0 })
    }

    /// Distance to the runner-up's centroid; `None` where there is none.
    #[must_use]
    pub fn distance_2(&self, row: usize) -> Option<f64> {
        (self.runners_up[row] != NO_CLUSTER).then(|| self.distances_2[row])
    }

    /// Per cluster the one that is runner-up of most of its rows, and of how many; ties go to the lower number. `None`
    /// where no row has a runner-up, and for all of more than 256 clusters, as the pairs would be many.
    #[must_use]
    pub fn neighbours(&self, n_clusters: usize) -> Vec<Option<(u32, u64)>> {
        const MOST_CLUSTERS: usize = 256;
        if n_clusters > MOST_CLUSTERS {
            return vec![None; n_clusters];
        }
        let mut pairs = vec![0u64; n_clusters * n_clusters];
        let both = self.labels.iter().zip(&self.runners_up);
        for (&label, &runner_up) in both.filter(|&(_, &runner_up)| runner_up != NO_CLUSTER) {
            pairs[label as usize * n_clusters + runner_up as usize] += 1;
        }
        let most = |row: &[u64]| {
            let counts = (0..).zip(row.iter().copied()).filter(|&(_, count)| count > 0);
            counts.reduce(|most, next| if next.1 > most.1 { next } else { most })
        };
        pairs.chunks_exact(n_clusters).map(most).collect()
    }

    /// Rows of each of the first `n_clusters` clusters.
    #[must_use]
    pub fn counts(&self, n_clusters: usize) -> Vec<u64> {
        let mut counts = vec![0; n_clusters];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }
}

/// Distances of the rows of one block.
struct Distances<'d> {
    block: Block<'d>,
    /// Room for the rows as integers, one after the other.
    rows: &'d mut [i32],
    centroids: &'d Centroids,
    grid: Grid,
    /// Clusters, and where the distances to them go.
    found: [(&'d [u32], &'d mut [f64]); 2],
}

impl Kernel for Distances<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let n_features = self.centroids.n_features();
        for feature in 0..n_features {
            for (row, x) in self.block.integers(feature).into_iter().enumerate() {
                self.rows[row * n_features + feature] = x;
            }
        }
        for (clusters, distances) in self.found {
            let rows = self.rows.chunks_exact(n_features);
            for ((x, &cluster), distance) in rows.zip(clusters).zip(distances) {
                *distance = match cluster {
                    NO_CLUSTER => f64::INFINITY,
                    cluster => self
                        .grid
                        .sq_dist_value(self.centroids.sq_dist(x, cluster as usize))
                        .sqrt(),
                };
            }
        }
    }
}

/// 32 hexadecimal digits that stand for who is in which segment, whatever the order of the rows.
///
/// The sum modulo 2^128 over all rows of XXH3-128 of the row's key (16 bytes) and segment number (from 1, 4 bytes),
/// both little-endian. Keys are hashes of ids where there is an id, so that shuffled rows give the same digits, and
/// row numbers where there is none. It guards against mistakes, not against an adversary.
///
/// # Panics
/// If there are fewer keys than labels.
#[must_use]
pub fn labels_hash(keys: &RowKeys, labels: &[u32]) -> String {
    let sum = labels
        .par_iter()
        .enumerate()
        .map(|(row, &label)| {
            let mut bytes = [0; 20];
            bytes[..16].copy_from_slice(&keys.key(row).to_le_bytes());
            bytes[16..].copy_from_slice(&(label + 1).to_le_bytes());
            xxh3_128(&bytes)
        })
        .reduce(|| 0, u128::wrapping_add);
    format!("{sum:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::backend::scalar::ScalarBackend;
    use crate::rng::Rng;

    fn assigned(rows: &[f32], d: usize, centroids: &Centroids, chunk_bytes: usize) -> Assignment {
        let tiles = TileSet::from_rows(rows, d, None, chunk_bytes);
        let nearest = ScalarBackend
            .open(&tiles, centroids.n_clusters())
            .unwrap()
            .two_nearest(centroids)
            .unwrap();
        let share = vec![0.0; tiles.n_rows()];
        {
            let grid = Grid::with_step_exp(0).unwrap();
            let whole = Assignment::new(&tiles, centroids, grid, nearest.clone(), share.clone());
            assert_eq!(Assignment::in_place_of(tiles, centroids, grid, nearest, share), whole);
            whole
        }
    }

    #[test]
    fn neighbours_are_counted_and_ties_go_to_the_lower_number() {
        let (labels, runners_up) = (vec![0, 0, 0, 0, 1, 1, 1, 2], vec![2, 1, 2, 1, 0, 2, 2, NO_CLUSTER]);
        let n = labels.len();
        let assignment = Assignment {
            labels,
            runners_up,
            distances: vec![1.0; n],
            distances_2: vec![2.0; n],
            share_missing: vec![0.0; n],
        };
        assert_eq!(assignment.neighbours(3), [Some((1, 2)), Some((2, 2)), None]);
        assert_eq!(assignment.neighbours(257), vec![None; 257]);
    }

    #[test]
    fn distances_and_margins_worked_out_by_hand() {
        let centroids = Centroids::on_rows(2, &[0, 0, 6, 8]);
        let a = assigned(&[0., 0., 3., 4., 6., 8., 9., 12.], 2, &centroids, usize::MAX);
        assert_eq!(a.labels, [0, 0, 1, 1]);
        assert_eq!(a.distances, [0.0, 5.0, 0.0, 5.0]);
        assert_eq!(a.distances_2, [10.0, 5.0, 10.0, 15.0]);
        let margins: Vec<_> = (0..4).map(|row| a.margin(row).unwrap()).collect();
        assert_eq!(margins, [1.0, 0.0, 1.0, 0.5]);
        assert_eq!(a.counts(2), [2, 2]);
    }

    #[test]
    fn two_centroids_on_the_row_leave_no_margin() {
        let a = assigned(&[2.0], 1, &Centroids::on_rows(1, &[2, 2]), usize::MAX);
        assert_eq!((a.margin(0), a.distance_2(0)), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn one_cluster_has_no_runner_up() {
        let a = assigned(&[2.0, 5.0], 1, &Centroids::on_rows(1, &[1]), usize::MAX);
        assert_eq!((a.margin(1), a.distance_2(1)), (None, None));
        assert_eq!(a.distances, [1.0, 4.0]);
    }

    #[test]
    fn chunks_and_threads_change_no_bit() {
        let (n, d) = (333, 3);
        let mut rng = Rng::new(5, 0);
        let rows: Vec<f32> = (0..n * d).map(|_| rng.below(1 << 20) as f32 - 500_000.0).collect();
        let centroids = Centroids::new(d, (0..5 * d).map(|_| rng.below(1 << 28) as i32 - (1 << 27)).collect());
        let whole = assigned(&rows, d, &centroids, usize::MAX);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| assigned(&rows, d, &centroids, 1)), whole);
        }
        for row in 0..n {
            let exact = |cluster: u32| -> f64 {
                let squares = (0..d).map(|j| {
                    let diff = rows[row * d + j] as i128 * 256 - i128::from(centroids.row(cluster as usize)[j]);
                    diff * diff
                });
                (squares.sum::<i128>() as f64 / 65536.0).sqrt()
            };
            assert_eq!(whole.distances[row], exact(whole.labels[row]));
            assert_eq!(whole.distances_2[row], exact(whole.runners_up[row]));
        }
    }

    #[test]
    fn the_hash_follows_the_id_and_sees_one_changed_label() {
        let keys: Vec<u128> = (0..1000u128).map(|i| xxh3_128(&i.to_le_bytes())).collect();
        let labels: Vec<u32> = (0..1000).map(|i| i * 7 % 5).collect();
        let hash = labels_hash(&RowKeys::Ids(keys.clone()), &labels);
        let turned = |values: &[u32]| values.iter().rev().copied().collect::<Vec<_>>();
        let turned_keys = RowKeys::Ids(keys.iter().rev().copied().collect());
        assert_eq!(hash.len(), 32);
        assert_eq!(labels_hash(&turned_keys, &turned(&labels)), hash);
        // Planted faults: one label changed, two labels exchanged, a row left out.
        let mut changed = labels.clone();
        changed[500] += 1;
        let mut exchanged = labels.clone();
        exchanged.swap(0, 1);
        for faulty in [&changed[..], &exchanged, &labels[..999]] {
            assert_ne!(labels_hash(&RowKeys::Ids(keys.clone()), faulty), hash);
        }
    }

    #[test]
    fn the_hash_of_row_numbers_is_pinned() {
        // A change here breaks `kohort verify` for every run written before.
        assert_eq!(
            labels_hash(&RowKeys::RowNumber, &[0, 2]),
            "8a254ac7aba0101dd225fb9b4adc7629"
        );
        assert_eq!(labels_hash(&RowKeys::RowNumber, &[]), "0".repeat(32));
    }
}
