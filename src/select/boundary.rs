//! Which customers sit on a boundary: whose segment would be another one if the rows were drawn again.
//!
//! A sample of the rows is drawn again as for stability, and the clusters found on all rows are refined on each draw.
//! How often that moves a row falls with its margin; the curve is fitted by isotonic regression (pool adjacent violators:
//! M. Ayer and others, "An empirical distribution function for sampling with incomplete information", 1955), and the
//! boundary ends where it falls below [`FLIPPED`]. Everything is counted in integers over rows sorted by margin, so that
//! neither their order nor threads show.
//!
//! Borders move by another measure in a fresh draw of as many rows as the data has, and that is what a boundary is to
//! tell. To first order the variance of a centroid is one over the number of rows. A fit of `n` fresh rows and the fit at
//! hand are apart by `1 / n + 1 / n`; a draw of the sample's `m` rows and the fit by `1 / m`, and, as the sample is not all
//! rows, `1 / m - 1 / n` more. Margins on the boundary are in proportion to the deviation, so that the one found on draws is
//! taken times `sqrt(2 m / (2 n - m))`: 1.41 for up to [`super::SAMPLE_ROWS`] rows, and less for more.
//! `benches/peers/boundary.py` holds that against fresh draws.

use super::stability::Resampler;
use crate::backend::Backend;
use crate::cells::{Count, MinCell};
use crate::error::Result;
use crate::kmeans::Observer;
use crate::segments::{Assignment, BoundaryDecile, BoundaryReport, Confidence, ConfidenceCounts};
use crate::sys::{LARGE_PAGE, about_to_read};
use crate::tiles::{Centroids, RowKeys, TileSet};

/// From this share of draws that move it on, a row sits on a boundary.
pub const FLIPPED: f64 = 0.1;
/// One in so many: the same.
const ONE_IN: u64 = 10;
/// Most iterations on a resample, which starts from where it will nearly end.
const MAX_ITER: usize = 30;

/// How far borders move in a fresh draw of `n_rows` rows, over how far they move in draws of a sample of `n_sample`.
fn fresh_over_drawn(n_sample: usize, n_rows: usize) -> f64 {
    (2.0 * n_sample as f64 / (2 * n_rows - n_sample) as f64).sqrt()
}

/// How often each row of a sample changed its cluster when the sample was drawn again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flips {
    /// Rows of the whole data.
    rows: Vec<usize>,
    /// Resamples that moved each.
    n_flipped: Vec<u64>,
    n_resamples: usize,
}

impl Flips {
    /// Draws a sample of at most [`super::SAMPLE_ROWS`] rows `n_resamples` times and counts the rows that leave their
    /// cluster in `labels` (of all rows). `None` where there is one cluster, or a resample has fewer rows than clusters.
    ///
    /// # Errors
    /// Those of the backend, and [`crate::Error::Interrupted`].
    #[expect(
        clippy::too_many_arguments,
        reason = "a clustering, and how often it is held against draws"
    )]
    pub fn count(
        host: &dyn Backend,
        data: &TileSet,
        keys: &RowKeys,
        labels: &[u32],
        centroids: &Centroids,
        seed: u64,
        n_resamples: usize,
        observer: &dyn Observer,
    ) -> Result<Option<Self>> {
        if centroids.n_clusters() < 2 {
            return Ok(None);
        }
        let resampler = Resampler::new(host, data, keys, seed, n_resamples);
        let Some(drawn) = resampler.refined_labels(centroids, MAX_ITER, observer)? else {
            return Ok(None);
        };
        let mut n_flipped = vec![0; resampler.n_rows()];
        for refined in &drawn {
            let own = resampler.rows().iter().map(|&row| {
                about_to_read(LARGE_PAGE);
                labels[row]
            });
            let both = n_flipped.iter_mut().zip(own.zip(refined));
            both.for_each(|(n, (own, &refined))| *n += u64::from(own != refined));
        }
        Ok(Some(Self {
            rows: resampler.rows().to_vec(),
            n_flipped,
            n_resamples,
        }))
    }

    /// Largest margin that belongs to the boundary; 0 (exact ties alone) where hardly any row moved.
    ///
    /// # Panics
    /// If the assignment has no runners-up, or fewer rows than the data.
    #[must_use]
    pub fn boundary_margin(&self, assignment: &Assignment) -> f64 {
        let blocks = falling(self.by_margin(assignment), self.n_resamples as u64);
        let on_boundary = blocks.iter().take_while(|block| ONE_IN * block.flipped >= block.trials);
        let margin = on_boundary.last().map_or(0.0, |block| block.margin);
        (margin * fresh_over_drawn(self.rows.len(), assignment.labels.len())).min(1.0)
    }

    /// What the record says, with the shares of all rows that `confidence` puts on a boundary.
    ///
    /// # Panics
    /// As for [`Flips::boundary_margin`].
    #[must_use]
    pub fn report(
        &self,
        assignment: &Assignment,
        margin: f64,
        counts: &ConfidenceCounts,
        min_cell: MinCell,
    ) -> BoundaryReport {
        let sorted = self.by_margin(assignment);
        let n = sorted.len();
        // Tenths of fewer rows than are told are left out.
        let tenths = 0..if min_cell.tells_figures(n as u64 / 10) { 10 } else { 0 };
        let deciles = tenths.filter_map(|tenth| {
            let rows = &sorted[n * tenth / 10..n * (tenth + 1) / 10];
            let flipped: u64 = rows.iter().map(|row| row.1).sum();
            Some(BoundaryDecile {
                margin: rows.last()?.0,
                n_rows: rows.len() as u64,
                share_flipped: flipped as f64 / (rows.len() * self.n_resamples) as f64,
            })
        });
        let sizes = assignment.counts(counts.n_boundary.len());
        let (n_boundary, n_boundary_of_all) = counts.told_boundary(&sizes, min_cell);
        let told_sizes = min_cell.parts(&sizes);
        BoundaryReport {
            margin,
            least_share_flipped: FLIPPED,
            n_sample: n as u64,
            n_resamples: self.n_resamples,
            deciles: deciles.collect(),
            share: n_boundary_of_all.share_of(Count::Exact(sizes.iter().sum())),
            share_of_segments: { n_boundary.iter().zip(told_sizes) }
                .map(|(n, size)| n.share_of(size))
                .collect(),
        }
    }

    /// Share of rows and resamples that changed, of rows on the boundary and of the others, and how many rows each
    /// are: to hold a boundary against other draws than those it was found on.
    #[must_use]
    pub fn shares(&self, assignment: &Assignment, confidence: &Confidence) -> [(u64, f64); 2] {
        [true, false].map(|wanted| {
            let both = self.rows.iter().zip(&self.n_flipped);
            let there = both.filter(|(row, _)| confidence.is_boundary(assignment, **row) == Some(wanted));
            let (n, flipped) = there.fold((0, 0), |(n, sum), (_, &flipped)| (n + 1, sum + flipped));
            (n, flipped as f64 / (n.max(1) * self.n_resamples as u64) as f64)
        })
    }

    /// Margin and flips of the sample's rows, by margin, then flips.
    fn by_margin(&self, assignment: &Assignment) -> Vec<(f64, u64)> {
        let both = self.rows.iter().zip(&self.n_flipped);
        let margin = |row: usize| {
            // The runner-up and two distances.
            about_to_read(3 * LARGE_PAGE);
            assignment.margin(row).expect("a runner-up")
        };
        let mut sorted: Vec<(f64, u64)> = both.map(|(&row, &flipped)| (margin(row), flipped)).collect();
        sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        sorted
    }
}

/// Rows between two margins, with one share of flips.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Block {
    /// The largest margin.
    margin: f64,
    flipped: u64,
    trials: u64,
}

impl Block {
    /// Both together, the later one's margin.
    fn and(self, later: Self) -> Self {
        Self {
            margin: later.margin,
            flipped: self.flipped + later.flipped,
            trials: self.trials + later.trials,
        }
    }

    fn flips_less_than(&self, other: &Self) -> bool {
        u128::from(self.flipped) * u128::from(other.trials) < u128::from(other.flipped) * u128::from(self.trials)
    }
}

/// The isotonic regression of flips on margins, falling; rows of one margin are one.
fn falling(sorted: Vec<(f64, u64)>, n_resamples: u64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let rows = sorted.chunk_by(|a, b| a.0 == b.0);
    for rows in rows {
        let mut block = Block {
            margin: rows[0].0,
            flipped: rows.iter().map(|row| row.1).sum(),
            trials: rows.len() as u64 * n_resamples,
        };
        while let Some(last) = blocks.pop_if(|last| last.flips_less_than(&block)) {
            block = last.and(block);
        }
        blocks.push(block);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::CpuBackend;
    use crate::grid::Grid;
    use crate::kmeans::{self, Init, KMeansParams};
    use crate::metrics::Contingency;
    use crate::rng::Rng;

    #[test]
    fn the_curve_falls_and_pools_what_rises() {
        let rows = vec![(0.0, 4), (0.1, 1), (0.2, 3), (0.3, 0), (0.3, 1), (0.4, 0)];
        let block = |margin, flipped, trials| Block {
            margin,
            flipped,
            trials,
        };
        let expected = [block(0.0, 4, 4), block(0.2, 4, 8), block(0.3, 1, 8), block(0.4, 0, 4)];
        assert_eq!(falling(rows, 4), expected);
    }

    /// Three overlapping bells on a plane.
    fn crowd(n: usize) -> TileSet {
        another_crowd(n, 8)
    }

    fn another_crowd(n: usize, seed: u64) -> TileSet {
        let mut rng = Rng::new(seed, 3);
        let mut bell = || (0..12).map(|_| rng.below(2000) as f32).sum::<f32>() - 12_000.0;
        let centre = [[0.0, 0.0], [6000.0, 0.0], [0.0, 6000.0]];
        let rows: Vec<f32> = (0..n).flat_map(|row| centre[row % 3].map(|c| c + bell())).collect();
        TileSet::from_rows(&rows, 2, None, usize::MAX)
    }

    fn clustered(data: &TileSet, keys: &RowKeys, threads: usize) -> (CpuBackend, Centroids, Assignment) {
        let host = CpuBackend::new(threads).unwrap();
        let fit = kmeans::fit(&host, &host, data, keys, &KMeansParams::new(3), 1.0, &()).unwrap();
        let grid = Grid::with_step_exp(0).unwrap();
        let assignment = Assignment::new(data, &fit.centroids, grid, fit.nearest, vec![0.0; data.n_rows()]);
        (host, fit.centroids, assignment)
    }

    fn flips(data: &TileSet, keys: &RowKeys, threads: usize, seed: u64, n: usize) -> (Flips, Assignment) {
        let (host, centroids, assignment) = clustered(data, keys, threads);
        let flips = Flips::count(&host, data, keys, &assignment.labels, &centroids, seed, n, &()).unwrap();
        (flips.unwrap(), assignment)
    }

    #[test]
    fn flagged_rows_flip_in_fresh_draws_and_the_others_hardly_ever() {
        let data = crowd(3000);
        let (found, assignment) = flips(&data, &RowKeys::RowNumber, 2, 0, 8);
        let confidence = Confidence {
            boundary_margin: Some(found.boundary_margin(&assignment)),
            outlier_distances: Vec::new(),
            unassign_outliers: false,
        };
        let (fresh, _) = flips(&data, &RowKeys::RowNumber, 2, 77, 16);
        assert_ne!(found.rows, fresh.rows, "another order, so other draws");
        let [(n_flagged, flagged), (n_others, others)] = fresh.shares(&assignment, &confidence);
        assert_eq!(n_flagged + n_others, 3000);
        assert!((30..900).contains(&n_flagged), "{n_flagged} flagged");
        assert!(
            flagged > 0.15 && others < 0.02,
            "{flagged} of the flagged, {others} of the others"
        );
        // A threshold at random does not do that.
        let planted = Confidence {
            boundary_margin: Some(0.5),
            outlier_distances: Vec::new(),
            unassign_outliers: false,
        };
        assert!(fresh.shares(&assignment, &planted)[0].1 < 0.15);
        let counts = confidence.counts(&assignment, 3);
        let margin = confidence.boundary_margin.unwrap();
        let report = found.report(&assignment, margin, &counts, MinCell::default());
        assert_eq!(report.deciles.iter().map(|decile| decile.n_rows).sum::<u64>(), 3000);
        let decile = |n: usize| report.deciles[n].share_flipped;
        assert!(decile(0) > 0.01 && decile(0) > 3.0 * decile(4) && decile(9) < 0.01);
        assert_eq!(report.share, Some(n_flagged as f64 / 3000.0));
    }

    /// The share of fresh draws, fitted from the same start, that move the rows whose margin is about `margin`.
    fn moved_about(margin: f64, data: &TileSet, threads: usize) -> f64 {
        let (host, centroids, assignment) = clustered(data, &RowKeys::RowNumber, threads);
        let there = |row: &usize| (0.8..1.25).contains(&(assignment.margin(*row).unwrap() / margin));
        let rows: Vec<usize> = (0..data.n_rows()).filter(there).collect();
        let params = KMeansParams {
            init: Init::Centroids(centroids),
            tol: 0.0,
            ..KMeansParams::new(3)
        };
        let n_draws = 24;
        let moved = |seed: u64| {
            let fresh = another_crowd(data.n_rows(), 100 + seed);
            let fit = kmeans::fit(&host, &host, &fresh, &RowKeys::RowNumber, &params, 1.0, &()).unwrap();
            let labels = labels_like(data, &fit.centroids, &host, &assignment.labels);
            rows.iter()
                .filter(|&&row| labels[row] != assignment.labels[row])
                .count()
        };
        (0..n_draws).map(moved).sum::<usize>() as f64 / (rows.len() * n_draws as usize) as f64
    }

    /// Labels under other centroids, numbered like `own`.
    fn labels_like(data: &TileSet, centroids: &Centroids, host: &CpuBackend, own: &[u32]) -> Vec<u32> {
        let labels = host.open(data, 3).unwrap().two_nearest(centroids).unwrap().labels;
        let table = Contingency::new(&labels, 3, own, 3);
        let name = |cluster: usize| (0..3).max_by_key(|&of| table.count(cluster, of)).unwrap() as u32;
        labels.iter().map(|&label| name(label as usize)).collect()
    }

    #[test]
    fn a_tenth_of_fresh_draws_moves_rows_where_the_boundary_ends() {
        let [mut at_end, mut at_that_of_draws] = [0.0, 0.0];
        let n_tables = 4;
        for seed in 0..n_tables {
            let data = another_crowd(3000, seed);
            let (found, assignment) = flips(&data, &RowKeys::RowNumber, 2, 0, 32);
            let margin = found.boundary_margin(&assignment);
            at_end += moved_about(margin, &data, 2) / n_tables as f64;
            // Where draws of the rows themselves stop to move them, fresh ones go on.
            at_that_of_draws += moved_about(margin / fresh_over_drawn(3000, 3000), &data, 2) / n_tables as f64;
        }
        assert!((0.07..0.13).contains(&at_end), "{at_end}");
        assert!(at_that_of_draws > 0.16, "{at_that_of_draws}");
    }

    #[test]
    fn order_threads_and_chunks_do_not_show() {
        let data = crowd(1500);
        let n = data.n_rows();
        let keys: Vec<u128> = (0..n as u128).map(|row| row * row + 5).collect();
        let turned: Vec<usize> = (0..n).rev().collect();
        let turned_keys = RowKeys::Ids(keys.iter().rev().copied().collect());
        let (a, of_a) = flips(&data, &RowKeys::Ids(keys), 1, 3, 4);
        let (b, of_b) = flips(&data.gather(&turned), &turned_keys, 3, 3, 4);
        assert_eq!(a.boundary_margin(&of_a).to_bits(), b.boundary_margin(&of_b).to_bits());
        assert_eq!(a.by_margin(&of_a), b.by_margin(&of_b));
        assert_eq!(a.n_flipped, b.n_flipped);
        assert!(a.n_flipped.iter().any(|&n| n > 0));
    }

    #[test]
    fn borders_move_more_in_fresh_draws_and_less_with_more_rows() {
        assert_eq!(fresh_over_drawn(500, 500), 2f64.sqrt());
        assert_eq!(fresh_over_drawn(100, 2550), 0.2);
    }

    #[test]
    fn one_cluster_and_more_clusters_than_rows_have_no_boundary() {
        let data = crowd(12);
        let host = CpuBackend::new(1).unwrap();
        for centroids in [
            Centroids::on_rows(2, &[0, 0]),
            Centroids::on_rows(2, &(0..24).collect::<Vec<i32>>()),
        ] {
            let flips = Flips::count(&host, &data, &RowKeys::RowNumber, &[0; 12], &centroids, 0, 4, &());
            assert_eq!(flips.unwrap(), None);
        }
    }
}
