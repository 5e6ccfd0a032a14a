//! First centroids: greedy k-means++ on a sample that depends on the data alone, several restarts, each refined on
//! the sample, and swaps from the best of them; the outcome goes on to the full data. All of it in integers, so that it
//! is the same everywhere.

use rayon::prelude::*;

use super::lloyd::{Lloyd, Outcome, run};
use super::{Event, Init, KMeansParams, Observer, swap};
use crate::backend::Backend;
use crate::error::Result;
use crate::rng::Rng;
use crate::tiles::{BLOCK, Centroids, Chunk, RowKeys, TileSet};

/// Rows of the seeding sample: all of them up to this number (or 64 per cluster, if that is more), else the ones with
/// the smallest `hash(seed, key)`.
pub const SAMPLE_ROWS: usize = 1 << 17;

/// How the first centroids were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeding {
    /// Rows in the sample.
    pub n_sample: usize,
    /// Restarts made.
    pub n_init: usize,
    /// The restart that was best before swaps, from 0.
    pub best: usize,
}

/// Finds the first centroids; `host` refines them on the sample.
pub(super) fn seed(
    host: &dyn Backend,
    data: &TileSet,
    keys: &RowKeys,
    params: &KMeansParams,
    observer: &dyn Observer,
) -> Result<(Centroids, Seeding)> {
    let m = SAMPLE_ROWS.max(64 * params.n_clusters);
    let rows = keys.sample(data.n_rows(), m, params.seed, |row| data.weight(row) > 0);
    let sample = data.gather(&rows);
    let sample_keys = RowKeys::Ids(rows.iter().map(|&row| keys.key(row)).collect());
    let job = Lloyd {
        data: &sample,
        keys: &sample_keys,
        max_iter: params.max_iter,
        tol: params.tol,
    };
    let done = std::sync::atomic::AtomicUsize::new(0);
    let restart = |index: usize| -> Result<(usize, Outcome)> {
        let mut rng = Rng::new(params.seed, index as u64);
        let start = match params.init {
            Init::Random => random(&sample, params.n_clusters, &mut rng),
            _ => greedy_kmeans_plus_plus(&sample, params.n_clusters, &mut rng, observer)?,
        };
        let mut session = host.open(&sample, params.n_clusters)?;
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
    let mut session = host.open(&sample, params.n_clusters)?;
    let centroids = swap::search(&mut *session, &job, refined, params.seed, observer)?.centroids;
    Ok((
        centroids,
        Seeding {
            n_sample: rows.len(),
            n_init: params.n_init,
            best,
        },
    ))
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
fn greedy_kmeans_plus_plus(sample: &TileSet, k: usize, rng: &mut Rng, observer: &dyn Observer) -> Result<Centroids> {
    let n_candidates = 2 + (k as f64).ln() as usize;
    let mut closest = Potential::new(sample);
    let first = closest.draw(sample, rng);
    closest.narrow(sample, first);
    let mut rows = vec![first];
    while rows.len() < k {
        if observer.interrupted() {
            return Err(crate::Error::Interrupted);
        }
        if closest.total == 0 {
            rows.resize(k, first);
            break;
        }
        let candidates: Vec<usize> = (0..n_candidates).map(|_| closest.draw(sample, rng)).collect();
        let trials: Vec<Potential> = candidates
            .par_iter()
            .map(|&row| {
                let mut trial = closest.clone();
                trial.narrow(sample, row);
                trial
            })
            .collect();
        let (best, trial) = trials
            .into_iter()
            .enumerate()
            .min_by_key(|(index, trial)| (trial.total, *index))
            .expect("at least two candidates");
        rows.push(candidates[best]);
        closest = trial;
    }
    Ok(on_rows(sample, &rows))
}

/// Squared distance of each row to its closest chosen centre, and what these add up to with the rows' weights.
#[derive(Clone)]
struct Potential {
    /// In grid units squared; every row at 1 before there is a centre, so that the first draw goes by weight.
    sq_dists: Vec<u64>,
    /// Weighted sums per block of 64 rows.
    blocks: Vec<u128>,
    total: u128,
    any_centre: bool,
}

impl Potential {
    fn new(sample: &TileSet) -> Self {
        let sq_dists = vec![1; sample.n_rows()];
        let mut potential = Self {
            sq_dists,
            blocks: Vec::new(),
            total: 0,
            any_centre: false,
        };
        potential.add_up(&sample.chunks()[0]);
        potential
    }

    /// Adds a centre on the given row of the sample.
    fn narrow(&mut self, sample: &TileSet, row: usize) {
        let chunk = &sample.chunks()[0];
        let mut centre = vec![0; sample.n_features()];
        chunk.read_row(row, &mut centre);
        let first = !std::mem::replace(&mut self.any_centre, true);
        self.sq_dists
            .par_chunks_mut(BLOCK)
            .enumerate()
            .with_min_len(64)
            .for_each(|(block, closest)| {
                let sq_dists = block_sq_dists(chunk, block, &centre);
                for (closest, sq_dist) in closest.iter_mut().zip(sq_dists) {
                    *closest = if first { sq_dist } else { sq_dist.min(*closest) };
                }
            });
        self.add_up(chunk);
    }

    fn add_up(&mut self, chunk: &Chunk) {
        let of_row = |row: usize| u128::from(self.sq_dists[row]) * u128::from(chunk.weight(row));
        let rows_of = |block: usize| (block * BLOCK..block * BLOCK + chunk.block_rows(block)).map(of_row);
        self.blocks = (0..chunk.n_blocks()).map(|block| rows_of(block).sum()).collect();
        self.total = self.blocks.iter().sum();
    }

    /// A row with probability in proportion to its share of the total, which is not 0.
    fn draw(&self, sample: &TileSet, rng: &mut Rng) -> usize {
        let mut left = rng.below(self.total);
        let mut skip = |sum: u128| {
            let beyond = left >= sum;
            if beyond {
                left -= sum;
            }
            beyond
        };
        let block = self.blocks.iter().take_while(|&&sum| skip(sum)).count();
        let rows = block * BLOCK..self.sq_dists.len();
        let of_row = |row: &usize| u128::from(self.sq_dists[*row]) * u128::from(sample.weight(*row));
        rows.start + rows.map(|row| of_row(&row)).take_while(|&sum| skip(sum)).count()
    }
}

/// Squared distances of a block's rows to `centre`, in grid units squared.
fn block_sq_dists(chunk: &Chunk, block: usize, centre: &[i32]) -> [u64; BLOCK] {
    let mut sq_dists = [0u64; BLOCK];
    for (lane, &c) in chunk.block(block).chunks_exact(BLOCK).zip(centre) {
        for (sq_dist, &x) in sq_dists.iter_mut().zip(lane) {
            let diff = i64::from(x as i32 - c);
            *sq_dist += (diff * diff) as u64;
        }
    }
    sq_dists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_potential() {
        let sample = TileSet::from_rows(&[0., 1., 3., 3.], 1, Some(&[5, 4, 1, 0]), usize::MAX);
        let mut potential = Potential::new(&sample);
        assert_eq!(potential.total, 10);
        potential.narrow(&sample, 0);
        assert_eq!((potential.total, &potential.sq_dists[..]), (4 + 9, &[0, 1, 9, 9][..]));
        let mut rng = Rng::new(1, 0);
        let mut drawn = [0; 4];
        for _ in 0..1300 {
            drawn[potential.draw(&sample, &mut rng)] += 1;
        }
        assert_eq!(
            (drawn[0], drawn[3]),
            (0, 0),
            "rows on a centre or without weight are never drawn"
        );
        assert!((330..470).contains(&drawn[1]), "{drawn:?}");
    }

    #[test]
    fn centres_repeat_once_all_rows_are_covered() {
        let sample = TileSet::from_rows(&[7., 7., 9.], 1, None, usize::MAX);
        let centroids = greedy_kmeans_plus_plus(&sample, 4, &mut Rng::new(3, 0), &()).unwrap();
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
