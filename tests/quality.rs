//! The default fit finds the groups: its inertia is held against Lloyd from the true centres. `tests/reference/quality.py`
//! does the same at full size against scikit-learn.

use kohort::backend::cpu::CpuBackend;
use kohort::kmeans::{Init, KMeansFit, KMeansParams, fit};
use kohort::rng::Rng;
use kohort::tiles::{Centroids, RowKeys, TileSet};

/// Groups around centres, in grid units, rows in turn.
struct Groups {
    centres: Vec<[i32; 2]>,
    rows: TileSet,
}

impl Groups {
    /// `sizes[i]` rows around `centres[i]`, about normal with the given deviation.
    fn new(centres: Vec<[i32; 2]>, sizes: &[usize], deviation: f64) -> Self {
        let mut rng = Rng::new(1, 0);
        let mut normal = || {
            // The sum of twelve uniform numbers has variance 1.
            let sum: f64 = (0..12).map(|_| rng.below(1 << 30) as f64 / f64::from(1 << 30)).sum();
            deviation * (sum - 6.0)
        };
        let mut rows = Vec::new();
        for (centre, &size) in centres.iter().zip(sizes) {
            for _ in 0..size {
                rows.extend(centre.map(|c| (f64::from(c) + normal()).round() as f32));
            }
        }
        let rows = TileSet::from_rows(&rows, 2, None, usize::MAX);
        Self { centres, rows }
    }

    fn fit(&self, params: &KMeansParams) -> KMeansFit {
        let backend = CpuBackend::new(2).unwrap();
        backend
            .install(|| fit(&backend, &backend, &self.rows, &RowKeys::RowNumber, params, 1.0, &()))
            .unwrap()
    }

    /// Inertia of the default fit, and of Lloyd from `start`.
    fn against(&self, start: &[[i32; 2]], seed: u64) -> (f64, f64) {
        let defaults = KMeansParams {
            seed,
            ..KMeansParams::new(self.centres.len())
        };
        let from = KMeansParams {
            init: Init::Centroids(Centroids::on_rows(2, start.as_flattened())),
            ..defaults.clone()
        };
        (self.fit(&defaults).inertia as f64, self.fit(&from).inertia as f64)
    }
}

fn grid(side: i32, spacing: i32) -> Vec<[i32; 2]> {
    (0..side * side)
        .map(|i| [i % side * spacing, i / side * spacing])
        .collect()
}

#[test]
fn a_grid_of_groups_is_found() {
    let groups = Groups::new(grid(6, 5_600), &[120; 36], 1_000.0);
    for seed in 0..3 {
        let (found, best) = groups.against(&groups.centres, seed);
        assert!(found <= 1.005 * best, "{}", found / best);
    }
}

#[test]
fn groups_of_very_unequal_size_are_found() {
    let sizes: Vec<usize> = (1..=25).map(|i| 3_000 / i).collect();
    let groups = Groups::new(grid(5, 8_000), &sizes, 1_000.0);
    for seed in 0..3 {
        let (found, best) = groups.against(&groups.centres, seed);
        assert!(found <= 1.005 * best, "{}", found / best);
    }
}

/// More rows than the part of the sample on which most moves are tried.
#[test]
fn many_rows_are_no_hindrance() {
    let groups = Groups::new(grid(5, 5_600), &[1_600; 25], 1_000.0);
    let (found, best) = groups.against(&groups.centres, 0);
    assert!(found <= 1.005 * best, "{}", found / best);
}

/// The bound means something: with two centroids in one group and one between two others, Lloyd ends far above.
#[test]
fn a_start_with_a_group_missed_is_told_apart() {
    let groups = Groups::new(grid(6, 5_600), &[120; 36], 1_000.0);
    let mut start = groups.centres.clone();
    start[35] = [300, 300];
    let (found, stuck) = groups.against(&start, 0);
    assert!(stuck > 1.02 * found, "{}", stuck / found);
}

#[test]
fn seeds_do_not_depend_on_threads() {
    let groups = Groups::new(grid(4, 3_000), &[2_200; 16], 1_000.0);
    let params = KMeansParams::new(16);
    let labels = |threads: usize| {
        let backend = CpuBackend::new(threads).unwrap();
        let fitted = backend.install(|| fit(&backend, &backend, &groups.rows, &RowKeys::RowNumber, &params, 1.0, &()));
        let fitted = fitted.unwrap();
        (fitted.nearest.labels, fitted.centroids, fitted.inertia)
    };
    assert_eq!(labels(1), labels(3));
}
