//! Trimmed k-means: the rows farthest from their centroids do not move them.
//!
//! A fit, and the farthest share of the rows left out of the next one, in turn, until the same rows are left out
//! (S. Chawla, A. Gionis: "k-means--: A unified approach to clustering and outlier detection", SDM 2013, with whole fits
//! in place of single iterations). From the second fit on, which is seeded without the first outliers, neither step
//! raises the sum that both look for the least of. Rows left out weigh nothing, and are labelled like all others.

use rayon::prelude::*;

use super::{Init, KMeansFit, KMeansParams, Observer, fit};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::tiles::{RowKeys, TileSet};

/// Most fits after the first.
const MAX_ROUNDS: usize = 20;
/// Rows that a thread measures at a time.
const RUN: usize = 1 << 14;

/// What was left out.
#[derive(Debug, Clone)]
pub struct Trim {
    /// Rows and their weights, by row.
    rows: Vec<(usize, u32)>,
    /// Fits made.
    pub n_rounds: usize,
}

impl Trim {
    /// Rows left out.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// Gives the rows of `data` their weights back.
    pub fn restore(&self, data: &mut TileSet) {
        self.rows.iter().for_each(|&(row, weight)| data.set_weight(row, weight));
    }
}

/// As [`fit`], with a share of the rows that have weight left out: those farthest from their centroids, ties by key.
/// `data` is left with weights of 0 for them; sums, weights and inertia of the fit are without them, labels and counts
/// of all rows. Iterations and seconds are those of all fits.
///
/// # Errors
/// As for [`fit`]; [`Error::TooFewRows`] too where not enough rows are left, [`Error::OutOfMemory`].
///
/// # Panics
/// If `share` is not from 0 to below 1.
#[expect(clippy::too_many_arguments, reason = "those of a fit, and the share")]
pub fn fit_trimmed(
    backend: &dyn Backend,
    host: &dyn Backend,
    data: &mut TileSet,
    keys: &RowKeys,
    params: &KMeansParams,
    share: f64,
    inertia_unit: f64,
    observer: &dyn Observer,
) -> Result<(KMeansFit, Trim)> {
    assert!((0.0..1.0).contains(&share), "a share of the rows");
    data.try_weigh()?;
    let n_weighted = (0..data.n_rows()).filter(|&row| data.weight(row) > 0).count();
    let n_trimmed = (share * n_weighted as f64) as usize;
    if n_weighted - n_trimmed < params.n_clusters {
        return Err(Error::TooFewRows {
            n_rows: n_weighted - n_trimmed,
            n_clusters: params.n_clusters,
            weighted: true,
        });
    }
    let run = |data: &TileSet, params: &KMeansParams| fit(backend, host, data, keys, params, inertia_unit, observer);
    let mut found = run(data, params)?;
    let mut trim = Trim {
        rows: Vec::new(),
        n_rounds: 1,
    };
    while trim.n_rounds <= MAX_ROUNDS {
        trim.restore(data);
        // At first outliers may have clusters of their own, near whose centroids they are.
        let least_rows = if trim.n_rounds == 1 { n_trimmed as u64 + 1 } else { 0 };
        let rows = farthest(data, keys, &found, least_rows, n_trimmed)?;
        let is_settled = rows == trim.rows;
        rows.iter().for_each(|&(row, _)| data.set_weight(row, 0));
        if is_settled {
            break;
        }
        // The first centroids may be those of outliers, so that they are looked for once more.
        let again = if trim.n_rounds == 1 {
            params.clone()
        } else {
            KMeansParams {
                n_clusters: found.centroids.n_clusters(),
                init: Init::Centroids(found.centroids.clone()),
                ..params.clone()
            }
        };
        trim.rows = rows;
        trim.n_rounds += 1;
        found = continued(found, run(data, &again)?);
    }
    Ok((found, trim))
}

/// A fit after an earlier one, with the work of both.
fn continued(earlier: KMeansFit, fit: KMeansFit) -> KMeansFit {
    let mut notices = earlier.notices;
    notices.extend(fit.notices);
    notices.dedup();
    KMeansFit {
        n_iter: earlier.n_iter + fit.n_iter,
        n_doubtful: earlier.n_doubtful + fit.n_doubtful,
        n_assigned: earlier.n_assigned + fit.n_assigned,
        n_read: earlier.n_read + fit.n_read,
        n_unsettled: earlier.n_unsettled + fit.n_unsettled,
        seeding: fit.seeding.or(earlier.seeding),
        elapsed_s: std::array::from_fn(|stage| earlier.elapsed_s[stage] + fit.elapsed_s[stage]),
        notices,
        ..fit
    }
}

/// The `n` rows with weight that lie farthest from the nearest centroid of a cluster of at least so many rows (of any,
/// where there is none), ties by key: rows and weights, by row.
fn farthest(data: &TileSet, keys: &RowKeys, fit: &KMeansFit, least_rows: u64, n: usize) -> Result<Vec<(usize, u32)>> {
    if n == 0 {
        return Ok(Vec::new());
    }
    let no_memory = || Error::OutOfMemory {
        what: "the distances of all rows".into(),
        bytes: 16 * data.n_rows() as u64,
    };
    let (centroids, labels) = (&fit.centroids, &fit.nearest.labels);
    let counts = fit.partial.counts.iter().enumerate();
    let large: Vec<usize> = counts
        .filter(|(_, n)| **n >= least_rows)
        .map(|(cluster, _)| cluster)
        .collect();
    let nearest = |x: &[i32], label: usize| -> u128 {
        if large.is_empty() || fit.partial.counts[label] >= least_rows {
            return centroids.sq_dist(x, label);
        }
        let sq_dists = large.iter().map(|&cluster| centroids.sq_dist(x, cluster));
        sq_dists.min().unwrap_or(0)
    };
    // Exact distances, each rounded once: whoever is farther does not come out nearer.
    let mut sq_dists: Vec<f64> = crate::sys::zeros(data.n_rows()).ok_or_else(no_memory)?;
    { sq_dists.par_chunks_mut(RUN).enumerate() }.for_each(|(run, sq_dists)| {
        let mut x = vec![0; data.n_features()];
        for (row, sq_dist) in (run * RUN..).zip(sq_dists) {
            data.read_row(row, &mut x);
            let label = labels[row] as usize;
            *sq_dist = if data.weight(row) > 0 {
                nearest(&x, label) as f64
            } else {
                -1.0
            };
        }
    });
    let mut ranked = Vec::new();
    ranked.try_reserve_exact(sq_dists.len()).map_err(|_| no_memory())?;
    ranked.extend_from_slice(&sq_dists);
    let (.., &mut limit, _) = ranked.select_nth_unstable_by(n - 1, |a, b| b.total_cmp(a));
    let of = |holds: &dyn Fn(f64) -> bool| -> Vec<usize> {
        (0..sq_dists.len()).filter(|&row| holds(sq_dists[row])).collect()
    };
    let mut rows = of(&|sq_dist| sq_dist > limit);
    let mut tied = of(&|sq_dist| sq_dist == limit);
    tied.sort_unstable_by_key(|&row| keys.key(row));
    rows.extend(tied.into_iter().take(n - rows.len()));
    rows.sort_unstable();
    Ok(rows.into_iter().map(|row| (row, data.weight(row))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::CpuBackend;
    use crate::backend::scalar::ScalarBackend;
    use crate::rng::Rng;

    /// Two groups of 300 rows around (-1000, 0) and (1000, 0), and 12 rows scattered far away.
    fn groups() -> (TileSet, usize) {
        let mut rng = Rng::new(3, 0);
        let mut near = |centre: f32| centre + rng.below(201) as f32 - 100.0;
        let mut rows = Vec::new();
        for _ in 0..300 {
            rows.extend([near(-1000.0), near(0.0), near(1000.0), near(0.0)]);
        }
        for outlier in 0..12 {
            rows.extend([near(40_000.0) * (1.0 + outlier as f32), near(90_000.0)]);
        }
        (TileSet::from_rows(&rows, 2, None, usize::MAX), 12)
    }

    fn trimmed(backend: &dyn Backend, share: f64) -> (KMeansFit, Trim, TileSet) {
        let (mut data, _) = groups();
        let params = KMeansParams::new(2);
        let (fit, trim) = fit_trimmed(
            backend,
            &CpuBackend::new(1).unwrap(),
            &mut data,
            &RowKeys::RowNumber,
            &params,
            share,
            1.0,
            &(),
        )
        .unwrap();
        (fit, trim, data)
    }

    #[test]
    fn far_rows_do_not_move_the_centroids() {
        let cpu = CpuBackend::new(2).unwrap();
        let (fit, trim, mut data) = trimmed(&cpu, 0.02);
        assert_eq!(trim.rows, (600..612).map(|row| (row, 1)).collect::<Vec<_>>());
        for cluster in 0..2 {
            let [x, y] = [0, 1].map(|feature| f64::from(fit.centroids.row(cluster)[feature]) / 256.0);
            assert!((x.abs() - 1000.0).abs() < 20.0 && y.abs() < 20.0, "{x} {y}");
        }
        // They are labelled all the same, and weigh nothing.
        assert_eq!(fit.partial.counts.iter().sum::<u64>(), 612);
        assert_eq!(fit.partial.cluster_weights, [300, 300]);
        assert_eq!((0..612).filter(|&row| data.weight(row) == 0).count(), 12);
        trim.restore(&mut data);
        assert!((0..612).all(|row| data.weight(row) == 1));
        // Without the trim they have a cluster of their own.
        let (untrimmed, none, _) = trimmed(&cpu, 0.0);
        assert_eq!((none.n_rows(), none.n_rounds), (0, 1));
        assert!(untrimmed.partial.cluster_weights[1] < 300);
    }

    #[test]
    fn every_backend_leaves_out_the_same_rows() {
        let (expected, trim, _) = trimmed(&ScalarBackend, 0.1);
        for threads in [1, 3] {
            let (fit, found, _) = trimmed(&CpuBackend::new(threads).unwrap(), 0.1);
            assert_eq!((&found.rows, found.n_rounds), (&trim.rows, trim.n_rounds));
            assert_eq!(
                (&fit.centroids, fit.inertia, fit.n_iter),
                (&expected.centroids, expected.inertia, expected.n_iter)
            );
            assert_eq!(fit.nearest.labels, expected.nearest.labels);
        }
    }

    #[test]
    fn rows_without_weight_are_not_counted_as_left_out() {
        let rows: Vec<f32> = (0..100).map(|i| (i * i) as f32).collect();
        let weights: Vec<u32> = (0..100).map(|i| u32::from(i < 90) * 3).collect();
        let mut data = TileSet::from_rows(&rows, 1, Some(&weights), usize::MAX);
        let host = CpuBackend::new(1).unwrap();
        let keys = RowKeys::RowNumber;
        let mut run = |k, share| fit_trimmed(&host, &host, &mut data, &keys, &KMeansParams::new(k), share, 1.0, &());
        let (_, trim) = run(1, 0.1).unwrap();
        assert_eq!(trim.n_rows(), 9);
        assert!(trim.rows.iter().all(|&(row, weight)| row < 90 && weight == 3));
        assert!(matches!(run(50, 0.5), Err(Error::TooFewRows { n_rows: 41, .. })));
    }
}
