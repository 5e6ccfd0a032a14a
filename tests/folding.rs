//! Fits that go over equal rows once: the bits of fits over every row, on every backend.

mod common;

use std::ops::ControlFlow;
use std::sync::Mutex;

use kohort::backend::Backend;
use kohort::backend::cpu::CpuBackend;
use kohort::backend::folding::Folding;
use kohort::backend::gpu::{GpuBackend, GpuOptions, GpuSelection};
use kohort::backend::scalar::ScalarBackend;
use kohort::kmeans::{self, Event, Init, KMeansFit, KMeansParams, Observer};
use kohort::rng::mix64;
use kohort::segments::labels_hash;
use kohort::tiles::{BLOCK, Centroids, RowKeys, TileSet};

/// Rows of which few are distinct.
#[derive(Debug, Clone, Copy)]
struct Table {
    n_rows: usize,
    n_features: usize,
    /// Values that a feature may have.
    levels: u64,
    /// Rows that may be distinct.
    most: u64,
    chunk_blocks: usize,
}

const fn table(n_rows: usize, n_features: usize, levels: u64) -> Table {
    Table {
        n_rows,
        n_features,
        levels,
        most: u64::MAX,
        chunk_blocks: usize::MAX / BLOCK,
    }
}

impl Table {
    /// The same with so many distinct rows at most.
    const fn of(self, most: u64) -> Self {
        Self { most, ..self }
    }

    fn data(&self) -> TileSet {
        // Low values are more frequent, and far from 0, so that no two rows weigh the same.
        let value = |at: usize| {
            let [a, b] = [mix64(at as u64), mix64(at as u64 ^ 1 << 40)].map(|x| x % self.levels);
            (a.min(b) * 70_001) as f32 - 3e6
        };
        let row = |row: usize| {
            let first = (mix64(row as u64 ^ 1 << 50) % self.most.min(1 << 30)) as usize * self.n_features;
            (first..first + self.n_features).map(value)
        };
        let values: Vec<f32> = (0..self.n_rows).flat_map(row).collect();
        let chunk_bytes = self.chunk_blocks.saturating_mul(self.n_features * BLOCK * 4);
        TileSet::from_rows(&values, self.n_features, None, chunk_bytes)
    }
}

fn params(k: usize, folding: Folding) -> KMeansParams {
    KMeansParams {
        n_init: 2,
        max_iter: 12,
        folding,
        ..KMeansParams::new(k)
    }
}

/// Whether rows that move are counted, and what was heard of them and of the inertia.
struct Heard {
    counts_moved: bool,
    iterations: Mutex<Vec<(usize, f64, Option<u64>)>>,
}

impl Heard {
    fn new(counts_moved: bool) -> Self {
        Self {
            counts_moved,
            iterations: Mutex::default(),
        }
    }
}

impl Observer for Heard {
    fn event(&self, event: Event) {
        if let Event::Iteration {
            iteration,
            inertia,
            n_moved,
            ..
        } = event
        {
            self.iterations.lock().unwrap().push((iteration, inertia, n_moved));
        }
    }

    fn counts_moved(&self) -> bool {
        self.counts_moved
    }
}

/// A fit and what was heard of it.
type Told = (KMeansFit, Vec<(usize, f64, Option<u64>)>);

fn fit(backend: &dyn Backend, data: &TileSet, params: &KMeansParams, counts_moved: bool) -> Told {
    let heard = Heard::new(counts_moved);
    let host = CpuBackend::new(2).unwrap();
    let fit = kmeans::fit(backend, &host, data, &RowKeys::RowNumber, params, 1.0, &heard).unwrap();
    (fit, heard.iterations.into_inner().unwrap())
}

/// What of two fits differs first.
fn difference(a: &Told, b: &Told) -> Option<&'static str> {
    let hash = |fit: &KMeansFit| labels_hash(&RowKeys::RowNumber, &fit.nearest.labels);
    let ((a, heard_a), (b, heard_b)) = (a, b);
    let same = [
        ("centroids", a.centroids == b.centroids),
        ("labels", a.nearest.labels == b.nearest.labels && hash(a) == hash(b)),
        ("runners-up", a.nearest.runners_up == b.nearest.runners_up),
        ("sums, weights and counts", a.partial == b.partial),
        ("inertia", a.inertia == b.inertia),
        ("iterations", (a.n_iter, a.stop_reason) == (b.n_iter, b.stop_reason)),
        ("seeding", a.seeding == b.seeding),
        ("what was heard", heard_a == heard_b),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}

fn backends() -> Vec<Box<dyn Backend>> {
    let mut backends: Vec<Box<dyn Backend>> = vec![
        Box::new(ScalarBackend),
        Box::new(CpuBackend::new(1).unwrap()),
        Box::new(CpuBackend::new(7).unwrap()),
    ];
    match GpuBackend::new(&GpuSelection::Any, GpuOptions::default()) {
        Ok(gpu) => backends.push(Box::new(gpu)),
        Err(error) => common::skip_without_gpu(&error),
    }
    backends
}

#[test]
fn folded_fits_equal_fits_over_every_row() {
    let cases = [
        // One feature, and odd numbers of them.
        (table(3000, 1, 9), 4),
        (table(5000, 3, 5), 8),
        (table(2000, 7, 2), 5),
        (table(1500, 33, 9).of(200), 3),
        (table(4000, 4, 50).of(500), 6),
        // All rows alike; as many clusters as there are distinct rows, and more.
        (table(1000, 2, 1), 3),
        (table(2000, 1, 6), 6),
        (table(2000, 2, 2), 9),
        (table(1, 5, 9), 1),
        // More often than a weight can say.
        (table(100_000, 1, 2), 2),
        // Hardly any row twice.
        (table(900, 6, 40), 5),
    ];
    let backends = backends();
    for (table, k) in cases {
        let data = table.data();
        let cut = Table {
            chunk_blocks: 3,
            ..table
        }
        .data();
        for counts_moved in [true, false] {
            let expected = fit(&ScalarBackend, &data, &params(k, Folding::Never), counts_moved);
            assert_eq!(expected.0.n_pass_rows, table.n_rows);
            for backend in &backends {
                let name = backend.description();
                for (data, cut) in [(&data, "whole"), (&cut, "in chunks")] {
                    let folded = fit(&**backend, data, &params(k, Folding::Always), counts_moved);
                    assert_eq!(
                        difference(&folded, &expected),
                        None,
                        "{table:?}, k = {k}, {cut}, on {name}"
                    );
                    let [n, all] = [folded.0.n_pass_rows, table.n_rows];
                    assert!(n <= all && (n < all || all <= 900), "{table:?}: {n} rows in a pass");
                }
            }
        }
    }
}

#[test]
fn every_difference_is_found() {
    let data = table(2000, 2, 4).data();
    let told = fit(&ScalarBackend, &data, &params(5, Folding::Never), true);
    assert_eq!(difference(&told, &told.clone()), None);
    type Fault = (&'static str, fn(&mut Told));
    let faults: [Fault; 8] = [
        ("centroids", |told| {
            told.0.centroids = told.0.centroids.reordered(&[1, 0, 2, 3, 4])
        }),
        ("labels", |told| told.0.nearest.labels[1999] ^= 1),
        ("runners-up", |told| told.0.nearest.runners_up[0] ^= 1),
        ("sums, weights and counts", |told| told.0.partial.counts[2] += 1),
        ("inertia", |told| told.0.inertia += 1),
        ("iterations", |told| told.0.n_iter += 1),
        ("seeding", |told| told.0.seeding = None),
        ("what was heard", |told| {
            let moved = told.1.last_mut().and_then(|heard| heard.2.as_mut());
            *moved.expect("rows that moved were counted") += 1;
        }),
    ];
    for (what, plant) in faults {
        let mut faulty = told.clone();
        plant(&mut faulty);
        assert_eq!(difference(&faulty, &told), Some(what));
    }
}

#[test]
fn a_cluster_left_empty_takes_the_same_row() {
    let data = table(4000, 2, 5).data();
    let from = |folding| KMeansParams {
        init: Init::Centroids(Centroids::on_rows(
            2,
            &[-3_000_000, -3_000_000, 8_000_000, 8_000_000, 8_000_001, 8_000_000],
        )),
        ..params(3, folding)
    };
    let expected = fit(&ScalarBackend, &data, &from(Folding::Never), true);
    for backend in backends() {
        let folded = fit(&*backend, &data, &from(Folding::Always), true);
        assert_eq!(difference(&folded, &expected), None, "{}", backend.description());
    }
}

#[test]
fn fits_that_share_their_passes_fold_once_for_all() {
    let data = table(6000, 3, 4).data();
    let of = |folding| [2, 3, 5, 7].map(|k| params(k, folding));
    let host = CpuBackend::new(2).unwrap();
    let many = |backend: &dyn Backend, params: &[KMeansParams]| {
        let mut fits = Vec::new();
        let mut take = |fit| {
            fits.push((fit, Vec::new()));
            Ok(ControlFlow::Continue(()))
        };
        kmeans::fit_many(backend, &host, &data, &RowKeys::RowNumber, params, 1.0, &(), &mut take).unwrap();
        fits
    };
    let expected = many(&ScalarBackend, &of(Folding::Never));
    // One that asks for it folds for all.
    let mut one = of(Folding::Never);
    one[2].folding = Folding::Always;
    for backend in backends() {
        for params in [&of(Folding::Always), &one] {
            let folded: Vec<Told> = many(&*backend, params);
            assert_eq!(folded.len(), expected.len());
            for (folded, expected) in folded.iter().zip(&expected) {
                assert_eq!(difference(folded, expected), None, "on {}", backend.description());
                assert!(folded.0.n_pass_rows <= 64);
            }
        }
    }
}

#[test]
fn rows_are_folded_by_themselves_where_that_pays() {
    let host = CpuBackend::new(2).unwrap();
    // 10 levels in two features, of which many rows are worth the look; too many levels; rows with weights.
    let few = table(140_000, 2, 10).data();
    let many = table(140_000, 4, 80).data();
    let mut weighted = few.clone();
    weighted.try_weigh().unwrap();
    for (data, n_pass_rows) in [(&few, 100), (&many, 140_000), (&weighted, 140_000)] {
        let found = fit(&host, data, &params(6, Folding::Auto), true);
        let expected = fit(&host, data, &params(6, Folding::Never), true);
        assert_eq!(difference(&found, &expected), None);
        assert_eq!((found.0.n_pass_rows, expected.0.n_pass_rows), (n_pass_rows, 140_000));
        assert!(found.0.n_read <= found.0.n_assigned && found.0.n_assigned.is_multiple_of(n_pass_rows as u64));
    }
}
