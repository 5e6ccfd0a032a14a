//! Passes over prepared rows, on every backend of this machine, answers checked before anything is timed:
//! `assign` (labels and runners-up, nothing added up), `lloyd` (a pass of a converging run: labels, moved rows added
//! up), `accumulate` (a first pass: labels, every row added up) and `fit` (seeding, ten iterations, labels). `quality`
//! judges the labels (silhouettes of all rows and the indices beside them), on the CPU alone. `fold` is about rows of which
//! few are distinct: the look that tells whether to fold them, the folding, and whole fits with and without.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use common::{backends, check_answer, figures, workload};
use criterion::{Criterion, Throughput};
use kohort::backend::cpu::CpuBackend;
use kohort::backend::folding::Folding;
use kohort::backend::{Backend, Session};
use kohort::bench::Ceilings;
use kohort::kmeans::{KMeansParams, fit};
use kohort::metrics::quality;
use kohort::rng::mix64;
use kohort::tiles::{Centroids, Fold, MAX_CHUNK_BYTES, RowKeys, TileSet};
use kohort::workload::{ANCHORS, Shape};

/// The shapes A and B of `kohort bench`, one between them, and a tenth of D.
const SHAPES: [Shape; 4] = [
    ANCHORS[0],
    Shape {
        name: "AB",
        n_clusters: 16,
        ..ANCHORS[1]
    },
    ANCHORS[1],
    Shape {
        name: "D/10",
        n_rows: 100_000,
        ..ANCHORS[3]
    },
];

type Body = fn(&dyn Backend, &mut dyn Session, &TileSet, &Centroids);

fn assign(_: &dyn Backend, session: &mut dyn Session, _: &TileSet, centroids: &Centroids) {
    black_box(session.two_nearest(centroids).expect("a pass"));
}

fn lloyd(_: &dyn Backend, session: &mut dyn Session, _: &TileSet, centroids: &Centroids) {
    let pass = session.assign(centroids).expect("a pass");
    black_box(pass.partial.centroids(centroids));
}

fn accumulate(backend: &dyn Backend, _: &mut dyn Session, tiles: &TileSet, centroids: &Centroids) {
    let mut session = backend.open(tiles, centroids.n_clusters()).expect("a session");
    black_box(session.assign(centroids).expect("a pass"));
}

fn whole_fit(backend: &dyn Backend, _: &mut dyn Session, tiles: &TileSet, centroids: &Centroids) {
    let host = CpuBackend::new(0).expect("threads");
    let params = KMeansParams {
        n_init: 1,
        max_iter: 10,
        tol: 0.0,
        ..KMeansParams::new(centroids.n_clusters())
    };
    black_box(fit(backend, &host, tiles, &RowKeys::RowNumber, &params, 1.0, &()).expect("a fit"));
}

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(10)
        .measurement_time(Duration::from_secs(4));
    let ceilings = Ceilings::measure(&CpuBackend::new(0).expect("threads"));
    println!(
        "at best in this run: read {:.1} GB/s, copy {:.1} GB/s, multiply-adds {:.1} GFLOP/s",
        ceilings.read_bytes_per_s / 1e9,
        ceilings.copy_bytes_per_s / 1e9,
        ceilings.fma_flop_per_s / 1e9
    );
    let backends = backends();
    for shape in SHAPES {
        backends.iter().for_each(|backend| check_answer(&**backend, shape));
        let (tiles, centroids) = workload(shape);
        let bodies: [(&str, Body); 4] = [
            ("assign", assign),
            ("lloyd", lloyd),
            ("accumulate", accumulate),
            ("fit", whole_fit),
        ];
        for (what, body) in bodies {
            let mut group = criterion.benchmark_group(what);
            group.throughput(Throughput::Elements(shape.n_rows as u64));
            for backend in &backends {
                let mut session = backend.open(&tiles, shape.n_clusters).expect("a session");
                let mut best = Duration::MAX;
                group.bench_function(format!("{}/{}", backend.name(), shape.name), |bencher| {
                    bencher.iter_custom(|iters| {
                        (0..iters)
                            .map(|_| {
                                let started = Instant::now();
                                body(&**backend, &mut *session, &tiles, &centroids);
                                let elapsed = started.elapsed();
                                best = best.min(elapsed);
                                elapsed
                            })
                            .sum()
                    });
                });
                if best < Duration::MAX {
                    figures(what, &**backend, shape, best, &ceilings);
                }
            }
            group.finish();
        }
        judge(&mut criterion, shape, &tiles, &centroids);
        fold(&mut criterion, &shape.to_string(), &tiles, &[], shape.n_clusters);
    }
    fold(&mut criterion, "quintiles", &quintiles(), &backends, 8);
    criterion.final_summary();
}

/// Two million rows of three scores from 1 to 5: 125 of them are distinct.
fn quintiles() -> TileSet {
    let score = |at: u64| (mix64(at) % 5 + 1) as f32 * 100_000.0;
    let rows: Vec<f32> = (0..6_000_000).map(score).collect();
    TileSet::from_rows(&rows, 3, None, MAX_CHUNK_BYTES)
}

/// The look at some rows; the folding where that says so, and fits over every row and over the distinct ones.
fn fold(criterion: &mut Criterion, name: &str, tiles: &TileSet, backends: &[Box<dyn Backend>], n_clusters: usize) {
    let host = CpuBackend::new(0).expect("threads");
    let mut group = criterion.benchmark_group("fold");
    group.throughput(Throughput::Elements(tiles.n_rows() as u64));
    group.bench_function(format!("look/{name}"), |bencher| {
        bencher.iter(|| black_box(Fold::is_likely(tiles)));
    });
    if Fold::is_likely(tiles) {
        let most = Fold::most_rows(tiles.n_rows(), tiles.n_features(), u64::MAX);
        group.bench_function(format!("fold/{name}"), |bencher| {
            bencher.iter(|| host.install(|| black_box(Fold::new(tiles, most))));
        });
    }
    for backend in backends {
        let params = |folding| KMeansParams {
            folding,
            ..KMeansParams::new(n_clusters)
        };
        let run = |folding| {
            host.install(|| {
                fit(
                    &**backend,
                    &host,
                    tiles,
                    &RowKeys::RowNumber,
                    &params(folding),
                    1.0,
                    &(),
                )
            })
            .expect("a fit")
        };
        let (every_row, folded) = (run(Folding::Never), run(Folding::Auto));
        assert!(every_row.nearest.labels == folded.nearest.labels && every_row.inertia == folded.inertia);
        for (how, folding) in [("every row", Folding::Never), ("folded", Folding::Auto)] {
            group.bench_function(format!("fit of {how}/{}/{name}", backend.name()), |bencher| {
                bencher.iter(|| black_box(run(folding)));
            });
        }
    }
    group.finish();
}

fn judge(criterion: &mut Criterion, shape: Shape, tiles: &TileSet, centroids: &Centroids) {
    let host = CpuBackend::new(0).expect("threads");
    let mut session = host.open(tiles, shape.n_clusters).expect("a session");
    let partial = session.assign(centroids).expect("a pass").partial;
    let labels = session.labels().expect("labels");
    let mut group = criterion.benchmark_group("quality");
    group.throughput(Throughput::Elements(shape.n_rows as u64));
    group.bench_function(format!("cpu/{}", shape.name), |bencher| {
        bencher.iter(|| host.install(|| black_box(quality(tiles, &labels, &partial, 1.0))));
    });
    group.finish();
}
