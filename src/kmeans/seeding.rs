//! First centroids: greedy k-means++ on a sample that depends on the data alone, several restarts, and moves of single
//! centroids from the best of them; the outcome goes on to the full data. Nothing depends on threads or devices.

use rayon::prelude::*;

use super::lloyd::{Lloyd, Outcome, run};
use super::potential::Potential;
use super::{Event, Init, KMeansParams, Observer, swap};
use crate::backend::Backend;
use crate::error::Result;
use crate::rng::Rng;
use crate::tiles::{Centroids, RowKeys, TileSet};

/// Rows of the seeding sample: all of them up to this number (or 64 per cluster, if that is more), else the ones with
/// the smallest `hash(seed, key)`.
pub const SAMPLE_ROWS: usize = 1 << 17;

/// How the first centroids were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeding {
    /// Rows in the sample.
    pub n_sample: usize,
    /// Rows of the largest sample that was iterated over between the seeding and all rows, where there was one: some
    /// eighth of all rows, if that is much more than the sample.
    pub n_refined: Option<usize>,
    /// Restarts made.
    pub n_init: usize,
    /// The restart that was best before any move, from 0.
    pub best: usize,
}

/// Rows of the seeding sample for so many clusters, where there are as many.
pub(crate) fn sample_rows(n_clusters: usize) -> usize {
    at_least(SAMPLE_ROWS, n_clusters)
}

/// So many rows, or 64 per cluster if that is more.
fn at_least(rows: usize, n_clusters: usize) -> usize {
    rows.max(64 * n_clusters)
}

/// Rows on which restarts are made and compared and most moves are tried, unless 64 per cluster are more: enough to see
/// where centroids belong. What is found there is refined on the whole sample.
const SCOUT_ROWS: usize = 1 << 14;
/// Most iterations on a sample. They are part of how first centroids are found: a run that is to make fewer iterations over
/// all rows, or that runs out of time, begins where every other one does.
const SAMPLE_ITER: usize = 300;
/// Iterations after which restarts are compared; the best goes on.
const RESTART_ITER: usize = 8;

/// The rows on which first centroids are found. They depend on the data, the seed and two sizes, which few numbers of
/// clusters change: runs on the same data share them.
pub(super) struct SeedRows {
    /// Rows wanted in the sample and in the scout, and the seed.
    wanted: [u64; 3],
    n_sample: usize,
    scout: Sample,
    /// The whole sample, where the scout is a part of it.
    sample: Option<Sample>,
}

impl SeedRows {
    fn wanted(params: &KMeansParams) -> [usize; 2] {
        [SAMPLE_ROWS, SCOUT_ROWS].map(|rows| at_least(rows, params.n_clusters))
    }

    fn serves(&self, params: &KMeansParams) -> bool {
        let [m, n_scout] = Self::wanted(params);
        self.wanted == [m as u64, n_scout as u64, params.seed]
    }

    fn draw(data: &TileSet, keys: &RowKeys, params: &KMeansParams) -> Self {
        let [m, n_scout] = Self::wanted(params);
        let wanted = [m as u64, n_scout as u64, params.seed];
        let rows = keys.sample(data.n_rows(), m, params.seed, |row| data.weight(row) > 0);
        // The sample stands in the order of its hashes: its first rows are a sample of their own.
        let n_scout = if rows.len() < 2 * n_scout { rows.len() } else { n_scout };
        Self {
            wanted,
            n_sample: rows.len(),
            scout: Sample::new(data, keys, &rows[..n_scout]),
            sample: (rows.len() > n_scout).then(|| Sample::new(data, keys, &rows)),
        }
    }
}

/// Finds the first centroids; `host` refines them on the sample, which is `drawn` already or is now.
pub(super) fn seed(
    host: &dyn Backend,
    data: &TileSet,
    keys: &RowKeys,
    params: &KMeansParams,
    drawn: &mut Option<SeedRows>,
    observer: &dyn Observer,
) -> Result<(Centroids, Seeding)> {
    let rows = match drawn.take().filter(|rows| rows.serves(params)) {
        Some(rows) => drawn.insert(rows),
        None => drawn.insert(SeedRows::draw(data, keys, params)),
    };
    let search = swap::Search::new(host, params.seed, observer);
    let (best, start) = restarts(host, &rows.scout, params, observer)?;
    let mut centroids = search.improve(&rows.scout.job(params), start, params.draws_moves)?;
    if let Some(sample) = &rows.sample {
        centroids = search.improve(&sample.job(params), centroids, params.draws_moves)?;
    }
    Ok((
        centroids,
        Seeding {
            n_sample: rows.n_sample,
            n_refined: None,
            n_init: params.n_init,
            best,
        },
    ))
}

/// Rows of the data on their own.
pub(super) struct Sample {
    pub(super) tiles: TileSet,
    pub(super) keys: RowKeys,
    total_sq_norm: u128,
}

impl Sample {
    pub(super) fn new(data: &TileSet, keys: &RowKeys, rows: &[usize]) -> Self {
        let tiles = data.gather(rows);
        Self {
            keys: RowKeys::Ids(rows.iter().map(|&row| keys.key(row)).collect()),
            total_sq_norm: tiles.weighted_sq_norm(),
            tiles,
        }
    }

    pub(super) fn job(&self, params: &KMeansParams) -> Lloyd<'_> {
        Lloyd {
            data: &self.tiles,
            keys: &self.keys,
            total_sq_norm: self.total_sq_norm,
            max_iter: SAMPLE_ITER,
            tol: params.tol,
            target: None,
        }
    }
}

/// Several starts, each refined a little; the number and the centroids of the one with the least inertia.
fn restarts(
    host: &dyn Backend,
    sample: &Sample,
    params: &KMeansParams,
    observer: &dyn Observer,
) -> Result<(usize, Centroids)> {
    let job = Lloyd {
        max_iter: RESTART_ITER,
        ..sample.job(params)
    };
    let done = std::sync::atomic::AtomicUsize::new(0);
    let values = sample.tiles.chunks()[0].to_floats();
    let restart = |index: usize| -> Result<(usize, Outcome)> {
        let mut rng = Rng::new(params.seed, index as u64);
        let start = match params.init {
            Init::Random => random(&sample.tiles, params.n_clusters, &mut rng),
            _ => greedy_kmeans_plus_plus(&sample.tiles, &values, params.n_clusters, &mut rng, observer)?,
        };
        let mut session = host.open(&sample.tiles, params.n_clusters)?;
        let refined = run(&mut *session, &job, start, &|_, _, _| (), observer)?;
        let done = 1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        observer.event(Event::Restart {
            done,
            of: params.n_init,
        });
        Ok((index, refined))
    };
    let restarts: Vec<_> = (0..params.n_init).into_par_iter().map(restart).collect::<Result<_>>()?;
    let (best, refined) = restarts
        .into_iter()
        .min_by_key(|(index, refined)| (refined.inertia, *index))
        .expect("at least one restart");
    Ok((best, refined.centroids))
}

/// Centroids on `k` different rows of the sample (on repeated ones, if it has fewer).
fn random(sample: &TileSet, k: usize, rng: &mut Rng) -> Centroids {
    let n = sample.n_rows();
    let mut rows: Vec<usize> = (0..n).collect();
    for place in 0..k.min(n) {
        let other = place + rng.below((n - place) as u128) as usize;
        rows.swap(place, other);
    }
    on_rows(sample, &(0..k).map(|place| rows[place % n]).collect::<Vec<_>>())
}

fn on_rows(sample: &TileSet, rows: &[usize]) -> Centroids {
    let d = sample.n_features();
    let mut values = vec![0; rows.len() * d];
    for (&row, place) in rows.iter().zip(values.chunks_exact_mut(d)) {
        sample.read_row(row, place);
    }
    Centroids::on_rows(d, &values)
}

/// k-means++ (Arthur and Vassilvitskii, 2007) with `2 + ln k` candidates per step, of which the one that leaves the
/// least potential is taken, as in scikit-learn. Here the potentials are exact integers; ties go to the candidate
/// drawn first. Once every row lies on a chosen centre, the rest of the centres repeat the first.
fn greedy_kmeans_plus_plus(
    sample: &TileSet,
    values: &[f32],
    k: usize,
    rng: &mut Rng,
    observer: &dyn Observer,
) -> Result<Centroids> {
    let n_candidates = 2 + (k as f64).ln() as usize;
    let first = draw_by_weight(sample, rng);
    let mut potential = Potential::new(sample, values, first);
    let mut rows = vec![first];
    while rows.len() < k {
        if observer.interrupted() {
            return Err(crate::Error::Interrupted);
        }
        if potential.total() == 0 {
            rows.resize(k, first);
            break;
        }
        let candidates: Vec<usize> = (0..n_candidates).map(|_| potential.draw(rng)).collect();
        let totals = potential.totals(&candidates);
        let best = (0..n_candidates)
            .min_by_key(|&index| (totals[index], index))
            .expect("at least two candidates");
        potential.narrow(candidates[best]);
        rows.push(candidates[best]);
    }
    Ok(on_rows(sample, &rows))
}

/// A row with probability in proportion to its weight.
fn draw_by_weight(sample: &TileSet, rng: &mut Rng) -> usize {
    let weight = |row: usize| u128::from(sample.weight(row));
    let mut left = rng.below((0..sample.n_rows()).map(weight).sum());
    (0..sample.n_rows())
        .take_while(|&row| {
            let beyond = left >= weight(row);
            left = left.saturating_sub(weight(row));
            beyond
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_rows_are_drawn_by_weight() {
        let sample = TileSet::from_rows(&[0., 1., 2., 3.], 1, Some(&[5, 0, 4, 1]), usize::MAX);
        let mut rng = Rng::new(1, 0);
        let mut drawn = [0; 4];
        (0..1000).for_each(|_| drawn[draw_by_weight(&sample, &mut rng)] += 1);
        assert_eq!(drawn[1], 0, "{drawn:?}");
        assert!(
            (430..570).contains(&drawn[0]) && (60..140).contains(&drawn[3]),
            "{drawn:?}"
        );
    }

    #[test]
    fn centres_repeat_once_all_rows_are_covered() {
        let sample = TileSet::from_rows(&[7., 7., 9.], 1, None, usize::MAX);
        let centroids =
            greedy_kmeans_plus_plus(&sample, &sample.chunks()[0].to_floats(), 4, &mut Rng::new(3, 0), &()).unwrap();
        let mut places: Vec<i32> = centroids.values().iter().map(|c| c / 256).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places, [7, 9]);
    }

    #[test]
    fn random_centres_stand_on_different_rows() {
        let rows: Vec<f32> = (0..50).map(|i| i as f32).collect();
        let sample = TileSet::from_rows(&rows, 1, None, usize::MAX);
        let mut places = random(&sample, 50, &mut Rng::new(0, 0)).values().to_vec();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 50);
    }
}
