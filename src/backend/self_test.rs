//! Holds a backend against the scalar reference on this machine: drivers and compilers differ, results must not.

use super::scalar::ScalarBackend;
use super::silhouette::{Labelled, Scatter, SilhouetteSums};
use super::{Backend, Pass, TwoNearest};
use crate::error::Result;
use crate::partial::ClusterPartial;
use crate::rng::Rng;
use crate::tiles::{Centroids, TileSet};

/// Shapes of the data sets: rows, features, clusters, whether rows have weights.
const SHAPES: [(usize, usize, usize, bool); 8] = [
    (1, 1, 1, false),
    (257, 1, 2, false),
    (300, 2, 7, true),
    (500, 3, 16, false),
    (1000, 8, 5, true),
    (700, 16, 17, false),
    (400, 17, 64, true),
    (300, 33, 70, false),
];

/// The outcome of a [`self_test`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SelfTest {
    /// Data sets that were run: two passes, a search for the two nearest, a pass for both and the sums of judged clusters on each.
    pub n_cases: usize,
    /// Where the backend first differed from the reference; `None`: nowhere.
    pub first_difference: Option<String>,
}

impl SelfTest {
    /// Whether the backend gave the reference's bits throughout.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.first_difference.is_none()
    }
}

/// Runs generated data with ties, duplicates, weights and extremes on `backend` and on the scalar reference, and
/// compares everything with `==`.
///
/// # Errors
/// Where the device fails; a difference is an outcome, not an error.
pub fn self_test(backend: &dyn Backend) -> Result<SelfTest> {
    for (n_cases, &(n_rows, n_features, n_clusters, weighted)) in SHAPES.iter().enumerate() {
        let data = generate(n_rows, n_features, weighted);
        let centroids = spread_rows(&data, n_clusters);
        let difference = match compare(&ScalarBackend, backend, &data, &centroids)? {
            None => compare_judges(&ScalarBackend, backend, &data, &centroids)?,
            difference => difference,
        };
        if let Some(difference) = difference {
            return Ok(SelfTest {
                n_cases: n_cases + 1,
                first_difference: Some(format!(
                    "{n_rows} rows, {n_features} features, {n_clusters} clusters: {difference}"
                )),
            });
        }
    }
    Ok(SelfTest {
        n_cases: SHAPES.len(),
        first_difference: None,
    })
}

/// Two passes from `centroids`, a search for the two nearest and one pass for both on both backends: where they first
/// differ.
///
/// # Errors
/// Where either backend fails.
pub fn compare(
    expected: &dyn Backend,
    found: &dyn Backend,
    data: &TileSet,
    centroids: &Centroids,
) -> Result<Option<String>> {
    let mut expected = expected.open(data, centroids.n_clusters())?;
    let mut found = found.open(data, centroids.n_clusters())?;
    let mut centroids = centroids.clone();
    for pass in 0..2 {
        let (want, got) = (expected.assign(&centroids)?, found.assign(&centroids)?);
        let labels = diff_lists("label of row", &expected.labels()?, &found.labels()?);
        if let Some(difference) = diff_passes(&want, &got).or(labels) {
            return Ok(Some(format!("pass {pass}: {difference}")));
        }
        centroids = want.partial.centroids(&centroids);
    }
    let two = diff_two_nearest(&expected.two_nearest(&centroids)?, &found.two_nearest(&centroids)?);
    if two.is_some() {
        return Ok(two);
    }
    let (want, want_nearest) = expected.assign_two_nearest(&centroids)?;
    let (got, got_nearest) = found.assign_two_nearest(&centroids)?;
    Ok(diff_passes(&want, &got)
        .or_else(|| diff_two_nearest(&want_nearest, &got_nearest))
        .map(|difference| format!("pass for labels and two nearest: {difference}")))
}

/// Where the sums first differ by which both backends judge the clusters about `centroids`; nowhere if `found` leaves them to
/// the host.
fn compare_judges(
    expected: &dyn Backend,
    found: &dyn Backend,
    data: &TileSet,
    centroids: &Centroids,
) -> Result<Option<String>> {
    let (n_clusters, rows) = (centroids.n_clusters(), 0..data.n_rows());
    let labels = expected.open(data, n_clusters)?.two_nearest(centroids)?.labels;
    let labelled = Labelled {
        data,
        labels: &labels,
        n_clusters,
    };
    let (Some(mut expected), Some(mut found)) = (expected.judge(labelled)?, found.judge(labelled)?) else {
        return Ok(None);
    };
    let (want, got) = (expected.sq_norms(rows.clone())?, found.sq_norms(rows.clone())?);
    let partial = ClusterPartial::of_labels(data, &labels, n_clusters);
    let scatter = Scatter::new(&partial, &want, 1.0);
    let norms = diff_lists("squared norms of cluster", &want, &got);
    let (want, got) = (
        expected.silhouettes(&scatter, rows.clone())?,
        found.silhouettes(&scatter, rows)?,
    );
    Ok(norms.or_else(|| diff_judged(&want, &got)))
}

/// Where what judges found first differs.
fn diff_judged(expected: &SilhouetteSums, found: &SilhouetteSums) -> Option<String> {
    diff_lists("silhouettes of cluster", &expected.silhouettes, &found.silhouettes)
        .or_else(|| diff_lists("simplified silhouettes", &[expected.simplified], &[found.simplified]))
        .or_else(|| diff_lists("distances of cluster", &expected.distances, &found.distances))
}

/// Where two passes first differ. Rows in doubt may differ: that is no result.
fn diff_passes(expected: &Pass, found: &Pass) -> Option<String> {
    diff_lists("count of cluster", &expected.partial.counts, &found.partial.counts)
        .or_else(|| {
            diff_lists(
                "weight of cluster",
                &expected.partial.cluster_weights,
                &found.partial.cluster_weights,
            )
        })
        .or_else(|| diff_lists("sum number", &expected.partial.sums, &found.partial.sums))
        .or_else(|| {
            (expected.n_moved != found.n_moved)
                .then(|| format!("{} rows moved, not {}", found.n_moved, expected.n_moved))
        })
}

/// Where two answers first differ.
fn diff_two_nearest(expected: &TwoNearest, found: &TwoNearest) -> Option<String> {
    diff_lists("nearest cluster of row", &expected.labels, &found.labels)
        .or_else(|| diff_lists("second-nearest cluster of row", &expected.runners_up, &found.runners_up))
}

fn diff_lists<T: PartialEq + std::fmt::Display>(what: &str, expected: &[T], found: &[T]) -> Option<String> {
    if expected.len() != found.len() {
        return Some(format!("{what}: {} of them, not {}", found.len(), expected.len()));
    }
    let at = expected.iter().zip(found).position(|(a, b)| a != b)?;
    Some(format!("{what} {at} is {}, not {}", found[at], expected[at]))
}

/// Small numbers, so that ties and duplicates abound; every 50th row lies at the edge of the grid.
fn generate(n_rows: usize, n_features: usize, weighted: bool) -> TileSet {
    let mut rng = Rng::new(1, (n_rows * n_features) as u64);
    let mut rows = vec![0.0; n_rows * n_features];
    for (row, values) in rows.chunks_exact_mut(n_features).enumerate() {
        let far = row % 50 == 49;
        for x in values {
            *x = if far {
                ((rng.below(2) * 2) as f32 - 1.0) * crate::grid::MAX_GRID as f32
            } else {
                rng.below(9) as f32 - 4.0
            };
        }
    }
    let weights: Vec<u32> = (0..n_rows)
        .map(|_| rng.below(u128::from(crate::tiles::MAX_WEIGHT) + 1) as u32)
        .collect();
    TileSet::from_rows(&rows, n_features, weighted.then_some(&weights), usize::MAX)
}

/// Centroids on rows spread over the data.
fn spread_rows(data: &TileSet, n_clusters: usize) -> Centroids {
    let mut rows = vec![0; n_clusters * data.n_features()];
    for (cluster, row) in rows.chunks_exact_mut(data.n_features()).enumerate() {
        data.read_row(cluster * data.n_rows() / n_clusters, row);
    }
    Centroids::on_rows(data.n_features(), &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_agrees_with_itself() {
        let outcome = self_test(&ScalarBackend).unwrap();
        assert!(outcome.passed() && outcome.n_cases == SHAPES.len(), "{outcome:?}");
    }

    #[test]
    fn every_planted_fault_is_found() {
        let data = generate(100, 2, true);
        let centroids = spread_rows(&data, 3);
        let mut session = ScalarBackend.open(&data, 3).unwrap();
        let pass = session.assign(&centroids).unwrap();
        let faults: [fn(&mut Pass); 4] = [
            |pass| pass.partial.counts[1] += 1,
            |pass| pass.partial.cluster_weights[2] -= 1,
            |pass| pass.partial.sums[5] += 1,
            |pass| pass.n_moved -= 1,
        ];
        for fault in faults {
            let mut faulty = pass.clone();
            fault(&mut faulty);
            assert!(diff_passes(&pass, &faulty).is_some());
        }
        assert_eq!(diff_passes(&pass, &pass), None);
        let judged = SilhouetteSums {
            silhouettes: vec![1, 2],
            simplified: 3,
            distances: vec![4, 5],
        };
        let faults: [fn(&mut SilhouetteSums); 3] = [
            |judged| judged.silhouettes[1] -= 1,
            |judged| judged.simplified += 1,
            |judged| judged.distances[0] += 1,
        ];
        for fault in faults {
            let mut faulty = judged.clone();
            fault(&mut faulty);
            assert!(diff_judged(&judged, &faulty).is_some());
        }
        assert_eq!(diff_judged(&judged, &judged), None);
        let nearest = session.two_nearest(&centroids).unwrap();
        let mut faulty = nearest.clone();
        faulty.runners_up[99] ^= 1;
        assert!(diff_two_nearest(&nearest, &faulty).is_some());
        faulty.labels.pop();
        assert!(
            diff_two_nearest(&nearest, &faulty)
                .unwrap()
                .contains("99 of them, not 100")
        );
    }
}
