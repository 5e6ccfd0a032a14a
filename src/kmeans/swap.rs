//! A way out of local minima: take a centroid that is hardly missed, put it where the error is, iterate again, and
//! keep what is better.
//!
//! Random swap clustering (Fränti, "Efficiency of random swap clustering", 2018), with two changes: the centroid to
//! take is one of those whose rows lose least by going to their runners-up, and the place to put it is drawn in
//! proportion to squared distance, as in k-means++. Gains are exact integers and the number of trials depends on the
//! shape of the data alone, so the result is the same everywhere.

use rayon::prelude::*;

use super::Observer;
use super::lloyd::{Lloyd, Outcome, run};
use crate::backend::{NO_CLUSTER, Session};
use crate::error::Result;
use crate::rng::Rng;
use crate::tiles::Centroids;

/// A centroid is taken from among so many that are missed least.
const REMOVABLE: usize = 5;
/// Most trials in a row that bring nothing, before the search ends.
const MAX_FAILURES: usize = 40;
/// Multiply-adds that all trials may take together.
const WORK: u64 = 6_000_000_000;
/// Most iterations of a trial: enough to see whether it is better.
const TRIAL_ITER: usize = 12;
/// Stream of random numbers, apart from those of the restarts.
const STREAM: u64 = 1 << 32;

/// Tries swaps from `best` on, and gives the best that was found, refined to the end.
pub(super) fn search(
    session: &mut dyn Session,
    job: &Lloyd<'_>,
    mut best: Outcome,
    seed: u64,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let k = best.centroids.n_clusters();
    if k == 1 {
        return Ok(best);
    }
    let pass = job.data.n_rows() as u64 * (job.data.n_features() * k) as u64;
    let trials = WORK / (TRIAL_ITER as u64 * pass.max(1));
    let short = Lloyd {
        max_iter: job.max_iter.min(TRIAL_ITER),
        ..*job
    };
    let first = best.inertia;
    let mut rng = Rng::new(seed, STREAM);
    let mut errors = Errors::new(session, job, &best.centroids)?;
    let mut failures = 0;
    for _ in 0..trials {
        if failures == MAX_FAILURES || errors.total() == 0 {
            break;
        }
        let swapped = errors.swap(job, &best.centroids, &mut rng);
        let trial = run(session, &short, swapped, &|_, _, _| (), observer)?;
        if trial.inertia < best.inertia {
            best = trial;
            errors = Errors::new(session, job, &best.centroids)?;
            failures = 0;
        } else {
            failures += 1;
        }
    }
    if best.inertia == first {
        Ok(best)
    } else {
        run(session, job, best.centroids, &|_, _, _| (), observer)
    }
}

/// Where the error of a clustering lies.
struct Errors {
    /// Weighted squared distances of the rows to their centroids, added up row by row.
    cumulative: Vec<u128>,
    /// Clusters by what the inertia would grow by if their rows went to their runners-up, least first.
    missed_least: Vec<usize>,
}

impl Errors {
    fn new(session: &mut dyn Session, job: &Lloyd<'_>, centroids: &Centroids) -> Result<Self> {
        let nearest = session.two_nearest(centroids)?;
        let of_row = |row: usize| -> (u128, u128) {
            let mut x = vec![0; centroids.n_features()];
            job.data.read_row(row, &mut x);
            let [near, far] = [nearest.labels[row], nearest.runners_up[row]].map(|cluster| match cluster {
                NO_CLUSTER => 0,
                cluster => centroids.sq_dist(&x, cluster as usize),
            });
            let weight = u128::from(job.data.weight(row));
            (weight * near, weight * (far - near))
        };
        let rows: Vec<(u128, u128)> = (0..job.data.n_rows())
            .into_par_iter()
            .with_min_len(1 << 10)
            .map(of_row)
            .collect();
        let mut growth: Vec<(u128, usize)> = (0..centroids.n_clusters()).map(|cluster| (0, cluster)).collect();
        let mut sum = 0;
        let cumulative = rows
            .iter()
            .zip(&nearest.labels)
            .map(|(&(error, grows), &label)| {
                growth[label as usize].0 += grows;
                sum += error;
                sum
            })
            .collect();
        growth.sort_unstable();
        Ok(Self {
            cumulative,
            missed_least: growth.into_iter().map(|(_, cluster)| cluster).collect(),
        })
    }

    fn total(&self) -> u128 {
        self.cumulative.last().copied().unwrap_or(0)
    }

    /// The centroids with one of those missed least put onto a row, drawn in proportion to the rows' errors.
    fn swap(&self, job: &Lloyd<'_>, centroids: &Centroids, rng: &mut Rng) -> Centroids {
        let taken = self.missed_least[rng.below(REMOVABLE.min(self.missed_least.len()) as u128) as usize];
        let drawn = rng.below(self.total());
        let row = self.cumulative.partition_point(|&sum| sum <= drawn);
        let mut x = vec![0; centroids.n_features()];
        job.data.read_row(row, &mut x);
        let mut swapped = centroids.clone();
        swapped
            .row_mut(taken)
            .copy_from_slice(Centroids::on_rows(x.len(), &x).row(0));
        swapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::backend::scalar::ScalarBackend;
    use crate::tiles::{RowKeys, TileSet};

    /// Three groups; two centroids start in the first, so that Lloyd alone never finds the third.
    #[test]
    fn a_swap_leaves_a_local_minimum() {
        let rows: Vec<f32> = [0.0, 1_000.0, 1_100.0]
            .iter()
            .flat_map(|&c| (0..20).map(move |i| c + i as f32))
            .collect();
        let data = TileSet::from_rows(&rows, 1, None, usize::MAX);
        let job = Lloyd {
            data: &data,
            keys: &RowKeys::RowNumber,
            max_iter: 50,
            tol: 0.0,
        };
        let mut session = ScalarBackend.open(&data, 3).unwrap();
        let start = Centroids::on_rows(1, &[0, 19, 1_050]);
        let stuck = run(&mut *session, &job, start, &|_, _, _| (), &()).unwrap();
        let before = stuck.inertia;
        let found = search(&mut *session, &job, stuck, 0, &()).unwrap();
        assert!(found.inertia < before / 10, "{} from {before}", found.inertia);
    }
}
