//! Test bodies that every backend runs: generated data sets, and the comparison with the scalar reference.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use kohort::backend::scalar::ScalarBackend;
use kohort::backend::{Backend, Pass, Session, TwoNearest, self_test};
use kohort::error::Result;
use kohort::grid::MAX_GRID;
use kohort::kmeans::{self, Init, KMeansFit, KMeansParams};
use kohort::rng::Rng;
use kohort::tiles::{BLOCK, Centroids, MAX_WEIGHT, RowKeys, TileSet};

/// What the values of a data set are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// A bell over the middle of the grid, as prepared data is.
    Bell,
    /// Few different small integers: duplicates and exact ties abound.
    Small,
    /// Most near 0, some 10^5 times as far.
    HeavyTail,
    /// Every value at one edge of the grid or the other.
    Edges,
    /// A narrow bell far from 0, where floating point is least sure.
    Offset,
}

/// One data set with its first centroids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Rows.
    pub(crate) n_rows: usize,
    /// Features.
    pub(crate) n_features: usize,
    /// Clusters.
    pub(crate) n_clusters: usize,
    /// What the values are like.
    pub(crate) values: Values,
    /// Whether rows have weights, some of them 0 and some the largest.
    pub(crate) weighted: bool,
    /// Blocks of 64 rows in a chunk of the tile set.
    pub(crate) chunk_blocks: usize,
}

impl Case {
    /// An unweighted case in one chunk.
    pub(crate) fn new(n_rows: usize, n_features: usize, n_clusters: usize, values: Values) -> Self {
        Self {
            n_rows,
            n_features,
            n_clusters,
            values,
            weighted: false,
            chunk_blocks: usize::MAX / BLOCK,
        }
    }

    /// The same with weights.
    pub(crate) fn weighted(self) -> Self {
        Self { weighted: true, ..self }
    }

    /// The same in chunks of so many blocks.
    pub(crate) fn chunks_of(self, chunk_blocks: usize) -> Self {
        Self { chunk_blocks, ..self }
    }

    /// The rows.
    pub(crate) fn data(&self) -> TileSet {
        let mut rng = Rng::new(self.values as u64, (self.n_rows * 1000 + self.n_features) as u64);
        let rows: Vec<f32> = (0..self.n_rows * self.n_features)
            .map(|_| value(self.values, &mut rng) as f32)
            .collect();
        let weights: Vec<u32> = (0..self.n_rows)
            .map(|_| match rng.below(8) {
                0 => 0,
                1 => MAX_WEIGHT,
                _ => 1 + rng.below(u128::from(MAX_WEIGHT)) as u32,
            })
            .collect();
        let chunk_bytes = self.chunk_blocks.saturating_mul(self.n_features * BLOCK * 4);
        let weights = self.weighted.then_some(weights.as_slice());
        TileSet::from_rows(&rows, self.n_features, weights, chunk_bytes)
    }

    /// Centroids on rows spread over the data; with more clusters than rows some are the same.
    pub(crate) fn centroids(&self, data: &TileSet) -> Centroids {
        let mut rows = vec![0; self.n_clusters * self.n_features];
        for (cluster, row) in rows.chunks_exact_mut(self.n_features).enumerate() {
            data.read_row(cluster * self.n_rows / self.n_clusters, row);
        }
        Centroids::on_rows(self.n_features, &rows)
    }
}

/// A fit of a case's data from its first centroids.
pub(crate) fn fit(backend: &dyn Backend, case: &Case, data: &TileSet) -> KMeansFit {
    let params = KMeansParams {
        init: Init::Centroids(case.centroids(data)),
        ..KMeansParams::new(case.n_clusters)
    };
    kmeans::fit(backend, &ScalarBackend, data, &RowKeys::RowNumber, &params, 1.0, &()).unwrap()
}

fn value(values: Values, rng: &mut Rng) -> i64 {
    let bell = |rng: &mut Rng, width: u128| (0..4).map(|_| rng.below(width) as i64).sum::<i64>() - 2 * width as i64;
    let edge = i64::from(MAX_GRID);
    match values {
        Values::Bell => bell(rng, 1 << 20),
        Values::Small => rng.below(7) as i64 - 3,
        Values::HeavyTail if rng.below(20) == 0 => (rng.below(1 << 24) as i64 - edge).clamp(-edge, edge),
        Values::HeavyTail => bell(rng, 40),
        Values::Edges => (rng.below(2) as i64 * 2 - 1) * edge,
        Values::Offset => 8_000_000 + bell(rng, 500),
    }
}

/// Runs a case on `backend` and on the scalar reference; panics where any bit of the results differs.
pub(crate) fn check_backend(backend: &dyn Backend, case: &Case) {
    let data = case.data();
    let centroids = case.centroids(&data);
    let outcome = self_test::compare(&ScalarBackend, backend, &data, &centroids);
    match outcome {
        Ok(None) => {}
        Ok(Some(difference)) => panic!("{case:?} on {}: {difference}", backend.description()),
        Err(error) => panic!("{case:?} on {}: {error}", backend.description()),
    }
}

/// A fault planted into one place of a backend's results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A label of the last pass.
    Label,
    /// A sum.
    Sum,
    /// A cluster's weight.
    Weight,
    /// The number of rows moved.
    Moved,
    /// A second-nearest cluster.
    RunnerUp,
}

/// The scalar backend with a planted fault: [`check_backend`] must turn it down.
pub(crate) struct Faulty(pub(crate) Fault);

impl Backend for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn description(&self) -> String {
        format!("scalar with a planted fault: {:?}", self.0)
    }

    fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        Ok(Box::new(FaultySession(self.0, ScalarBackend.open(data, max_clusters)?)))
    }
}

struct FaultySession<'d>(Fault, Box<dyn Session + 'd>);

impl Session for FaultySession<'_> {
    fn assign(&mut self, centroids: &Centroids) -> Result<Pass> {
        let mut pass = self.1.assign(centroids)?;
        match self.0 {
            Fault::Sum => *pass.partial.sums.last_mut().unwrap() += 1,
            Fault::Weight => pass.partial.cluster_weights[0] += 1,
            Fault::Moved => pass.n_moved += 1,
            Fault::Label | Fault::RunnerUp => {}
        }
        Ok(pass)
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        let mut labels = self.1.labels()?;
        if self.0 == Fault::Label {
            *labels.last_mut().unwrap() ^= 1;
        }
        Ok(labels)
    }

    fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest> {
        let mut nearest = self.1.two_nearest(centroids)?;
        if self.0 == Fault::RunnerUp {
            nearest.runners_up[0] ^= 1;
        }
        Ok(nearest)
    }
}

/// Asserts that [`check_backend`] turns every [`Fault`] down, which shows that it can.
pub(crate) fn check_that_faults_are_found(case: &Case) {
    check_backend(&ScalarBackend, case);
    for fault in [Fault::Label, Fault::Sum, Fault::Weight, Fault::Moved, Fault::RunnerUp] {
        let faulty = Faulty(fault);
        let outcome = std::panic::catch_unwind(|| check_backend(&faulty, case));
        assert!(outcome.is_err(), "{fault:?} went unseen");
    }
}

/// Shapes that every backend is run on: feature and cluster counts around vector and tile borders, row counts around
/// block and workgroup borders, each kind of values, with and without weights, in one chunk and in many.
pub(crate) fn cases() -> Vec<Case> {
    use Values::{Bell, Edges, HeavyTail, Offset, Small};
    vec![
        Case::new(1, 1, 1, Bell),
        Case::new(1000, 1, 2, HeavyTail).weighted(),
        Case::new(63, 2, 3, Small),
        Case::new(4097, 2, 3, Edges).weighted().chunks_of(7),
        Case::new(127, 3, 1, Small).weighted(),
        Case::new(1000, 3, 8, Offset),
        Case::new(500, 5, 9, Small).weighted(),
        Case::new(1000, 6, 4, Offset),
        Case::new(129, 7, 8, Small).weighted().chunks_of(1),
        Case::new(4097, 8, 16, Bell),
        Case::new(1000, 8, 17, Edges),
        Case::new(4097, 15, 17, HeavyTail).weighted(),
        Case::new(1000, 16, 16, Small).chunks_of(3),
        Case::new(1000, 16, 64, Bell).weighted(),
        Case::new(64, 17, 2, Offset).weighted(),
        Case::new(1000, 17, 70, Small),
        Case::new(65, 31, 16, Edges).weighted(),
        Case::new(1000, 33, 17, Bell).weighted(),
        Case::new(127, 33, 3, Offset),
        Case::new(129, 35, 5, Small).weighted(),
        Case::new(1000, 64, 64, HeavyTail),
        Case::new(129, 65, 70, Small).weighted().chunks_of(1),
        Case::new(65, 65, 2, Edges),
        Case::new(300, 130, 9, Bell).weighted(),
        Case::new(129, 250, 5, HeavyTail),
        Case::new(70, 400, 40, Small),
        Case::new(70, 703, 3, HeavyTail),
        Case::new(5, 3, 64, Small),
    ]
}

/// Says that a test goes without a GPU, or fails where one is demanded with `KOHORT_REQUIRE_GPU=1`.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn skip_without_gpu(error: &kohort::Error) {
    let demanded = std::env::var("KOHORT_REQUIRE_GPU").is_ok_and(|value| value == "1");
    assert!(!demanded, "KOHORT_REQUIRE_GPU=1, but {error}");
    eprintln!("SKIPPED: {error}");
}
