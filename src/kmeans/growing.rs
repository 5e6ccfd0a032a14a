//! Iterations on growing samples, between the seeding and those over all rows.
//!
//! Where a run over all rows begins at the centroids of a small sample, its first dozens of iterations only make up for
//! the sample's noise, and no bound saves anything while centroids go that far. On one row in eight they cost an eighth
//! and come as close as matters. The idea is that of progressive sampling (Provost, Jensen, Oates, "Efficient progressive
//! sampling", 1999); the samples depend on keys and seed alone, and hold each other.

use super::lloyd::{Outcome, run};
use super::seeding::{Sample, Seeding, sample_rows};
use super::{Init, KMeansParams, Observer};
use crate::backend::Backend;
use crate::backend::folding::FoldingBackend;
use crate::error::Result;
use crate::tiles::{Centroids, RowKeys, TileSet};

/// Each sample is so many times as large as the one before; all rows are likewise.
const GROWTH: u64 = 8;
/// A sample that is not even so many times as large as that of the seeding brings little.
const LEAST_GROWTH: usize = 4;
/// Where centroids rest after so few iterations on a sample, as few will do on all rows.
const FEW_ITER: usize = 8;

/// The samples that a run grows through, the smallest first: one row in so many each.
fn parts(n_rows: usize, n_sample: usize) -> Vec<u64> {
    let is_larger = |parts: &u64| n_rows as u64 / parts >= (LEAST_GROWTH * n_sample) as u64;
    let parts = std::iter::successors(Some(GROWTH), |parts| parts.checked_mul(GROWTH));
    let mut parts: Vec<u64> = parts.take_while(is_larger).collect();
    parts.reverse();
    parts
}

/// Rows of the largest sample between one of `n_sample` rows and all of them, about; `None` where there is none.
pub(crate) fn largest_sample(n_rows: usize, n_sample: usize) -> Option<usize> {
    parts(n_rows, n_sample).last().map(|&parts| n_rows / parts as usize)
}

/// Whether a run with these parameters grows through samples of so many rows.
pub(super) fn grows(n_rows: usize, params: &KMeansParams) -> bool {
    !matches!(params.init, Init::Centroids(_)) && !parts(n_rows, sample_rows(params.n_clusters)).is_empty()
}

/// The samples of a data set.
pub(super) struct Samples {
    /// Whether several runs grow through them: all are kept then, else the last one.
    shared: bool,
    drawn: Vec<(u64, Sample)>,
    seed: u64,
}

impl Samples {
    /// For one run, or for several that share them.
    pub(super) fn new(shared: bool) -> Self {
        Self {
            shared,
            drawn: Vec::new(),
            seed: 0,
        }
    }

    /// Lets go of those that were drawn.
    pub(super) fn clear(&mut self) {
        self.drawn.clear();
    }

    fn draw(&mut self, data: &TileSet, keys: &RowKeys, seed: u64, parts: u64) -> &Sample {
        if self.seed != seed || !self.shared {
            self.clear();
        }
        self.seed = seed;
        let place = self.drawn.iter().position(|&(of, _)| of == parts).unwrap_or_else(|| {
            let rows = keys.one_in(parts, data.n_rows(), seed, |row| data.weight(row) > 0);
            self.drawn.push((parts, Sample::new(data, keys, &rows)));
            self.drawn.len() - 1
        });
        &self.drawn[place].1
    }
}

/// What a run is to grow from, and with what.
pub(super) struct Growing<'g> {
    pub(super) backend: &'g dyn Backend,
    pub(super) data: &'g TileSet,
    pub(super) keys: &'g RowKeys,
    pub(super) params: &'g KMeansParams,
}

impl Growing<'_> {
    /// Takes the centroids through Lloyd's iteration on each sample in turn; notes in `seeding` how far that went. Gives
    /// what devices did that the user should know.
    pub(super) fn grow(
        &self,
        centroids: &mut Centroids,
        seeding: &mut Seeding,
        samples: &mut Samples,
        observer: &dyn Observer,
    ) -> Result<Vec<String>> {
        let mut notices = Vec::new();
        for parts in parts(self.data.n_rows(), seeding.n_sample) {
            let sample = samples.draw(self.data, self.keys, self.params.seed, parts);
            // Weights of 0 can leave it smaller than expected.
            if sample.tiles.n_rows() > 2 * seeding.n_sample {
                let refined = self.iterate(sample, centroids.clone(), &mut notices, observer)?;
                *centroids = refined.centroids;
                seeding.n_refined = Some(sample.tiles.n_rows());
                if refined.n_iter <= FEW_ITER {
                    break;
                }
            }
        }
        Ok(notices)
    }

    fn iterate(
        &self,
        sample: &Sample,
        start: Centroids,
        notices: &mut Vec<String>,
        observer: &dyn Observer,
    ) -> Result<Outcome> {
        // Of a data set whose rows are folded the backend knows nothing but that: the sample has distinct rows of its own.
        let backend = FoldingBackend::new(self.backend, &sample.tiles, self.params.folding);
        let mut session = backend.open(&sample.tiles, start.n_clusters())?;
        let job = sample.job(self.params);
        let refined = run(&mut *session, &job, start, &|_, _, _| (), observer)?;
        notices.extend(session.notices());
        Ok(refined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::CpuBackend;
    use crate::kmeans::{KMeansFit, SAMPLE_ROWS, fit, sample_rows};
    use crate::rng::mix64;

    fn fit_on(backend: &CpuBackend, data: &TileSet, keys: &RowKeys, params: &KMeansParams) -> KMeansFit {
        fit(backend, backend, data, keys, params, 1.0, &()).unwrap()
    }

    #[test]
    fn a_run_over_all_rows_goes_on_from_where_an_eighth_of_them_rests() {
        let n_rows = 8 * LEAST_GROWTH * SAMPLE_ROWS + 999;
        // Three heaps that overlap.
        let value = |row: usize| (mix64(row as u64) % 3 * 4000 + mix64(row as u64 + 7) % 9000) as f32;
        let values: Vec<f32> = (0..n_rows).map(value).collect();
        let weights: Vec<u32> = (0..n_rows).map(|row| u32::from(row % 5 > 0)).collect();
        let data = TileSet::from_rows(&values, 1, Some(&weights), usize::MAX);
        let (keys, backend) = (RowKeys::RowNumber, CpuBackend::new(2).unwrap());
        let params = KMeansParams::new(3);
        let found = fit_on(&backend, &data, &keys, &params);
        let rows = keys.one_in(8, n_rows, params.seed, |row| weights[row] > 0);
        let seeding = found.seeding.clone().unwrap();
        assert_eq!(
            (seeding.n_sample, seeding.n_refined),
            (sample_rows(3), Some(rows.len()))
        );
        // The same by hand: the seeding on the smallest hashes, a run on the part, a run on all.
        let first = keys.sample(n_rows, SAMPLE_ROWS, params.seed, |row| weights[row] > 0);
        let first = Sample::new(&data, &keys, &first);
        let seeded = crate::kmeans::seeding::seed(&backend, &first.tiles, &first.keys, &params, &mut None, &());
        let part = Sample::new(&data, &keys, &rows);
        let from = |start| KMeansParams {
            init: Init::Centroids(start),
            ..params.clone()
        };
        let on_part = fit_on(&backend, &part.tiles, &part.keys, &from(seeded.unwrap().0));
        let by_hand = fit_on(&backend, &data, &keys, &from(on_part.centroids));
        assert_eq!((found.inertia, found.n_iter), (by_hand.inertia, by_hand.n_iter));
        assert_eq!(found.nearest.labels, by_hand.nearest.labels);
        // Growth is no formality here: the part rests elsewhere than the sample.
        let seeded_alone = fit_on(&backend, &first.tiles, &first.keys, &params).centroids;
        assert_ne!(seeded_alone, found.centroids);
    }

    #[test]
    fn growth_ends_where_centroids_rest_soon() {
        let n_rows = 60_000;
        let grown_to = |width: u64| {
            let value = |row: usize| (mix64(row as u64) % 4 * 20_000 + mix64(row as u64 + 9) % width) as f32;
            let data = TileSet::from_rows(&(0..n_rows).map(value).collect::<Vec<_>>(), 1, None, usize::MAX);
            let backend = CpuBackend::new(1).unwrap();
            let growing = Growing {
                backend: &backend,
                data: &data,
                keys: &RowKeys::RowNumber,
                params: &KMeansParams {
                    tol: 1e-7,
                    ..KMeansParams::new(4)
                },
            };
            let mut seeding = Seeding {
                n_sample: 10,
                n_refined: None,
                n_init: 1,
                best: 0,
            };
            let mut centroids = Centroids::on_rows(1, &[1000, 21_000, 41_000, 61_000]);
            let mut samples = Samples::new(true);
            let notices = growing.grow(&mut centroids, &mut seeding, &mut samples, &()).unwrap();
            assert!(notices.is_empty());
            let sizes: Vec<usize> = samples.drawn.iter().map(|(_, sample)| sample.tiles.n_rows()).collect();
            assert_eq!(seeding.n_refined, sizes.last().copied());
            sizes
        };
        // Heaps apart rest at once; one in 512 of the rows shows it. Those that run into each other need all samples.
        assert!(matches!(grown_to(2000)[..], [90..=150]));
        assert!(matches!(grown_to(70_000)[..], [90..=150, 800..=1050, 7000..=8000]));
    }

    #[test]
    fn samples_grow_by_eight_up_to_an_eighth() {
        assert!(parts(4_000_000, 1 << 17).is_empty());
        assert_eq!(parts(5_000_000, 1 << 17), [8]);
        assert_eq!(parts(30_000_000, 1 << 17), [8]);
        assert_eq!(parts(40_000_000, 1 << 17), [64, 8]);
        assert_eq!(parts(1_000_000_000, 1 << 17), [512, 64, 8]);
        assert_eq!(parts(1_000_000_000, 1 << 22), [8]);
        assert_eq!(largest_sample(10_000_000, 1 << 17), Some(1_250_000));
        assert_eq!(largest_sample(1_000_000, 1 << 17), None);
    }
}
