//! Whole k-means runs: the same bits for every backend, thread count, chunk size and (with ids) row order.

mod common;

use std::ops::ControlFlow;

use common::{Case, Values};
use kohort::backend::Backend;
use kohort::backend::cpu::CpuBackend;
use kohort::backend::gpu::{GpuBackend, GpuOptions, GpuSelection};
use kohort::backend::scalar::ScalarBackend;
use kohort::kmeans::{Init, KMeansFit, KMeansParams, StopReason, fit, fit_many};
use kohort::tiles::{RowKeys, TileSet};

/// Everything of a fit that must not depend on where it ran.
#[derive(PartialEq)]
struct Outcome {
    centroids: Vec<i32>,
    labels: Vec<u32>,
    runners_up: Vec<u32>,
    counts: Vec<u64>,
    inertia: u128,
    n_iter: usize,
    stop_reason: StopReason,
}

fn result(fit: KMeansFit) -> Outcome {
    Outcome {
        centroids: fit.centroids.values().to_vec(),
        labels: fit.nearest.labels,
        runners_up: fit.nearest.runners_up,
        counts: fit.partial.counts,
        inertia: fit.inertia,
        n_iter: fit.n_iter,
        stop_reason: fit.stop_reason,
    }
}

fn cases() -> Vec<(Case, KMeansParams)> {
    let few = |k| KMeansParams {
        n_init: 3,
        max_iter: 20,
        ..KMeansParams::new(k)
    };
    vec![
        (Case::new(700, 2, 4, Values::HeavyTail), few(4)),
        (
            Case::new(700, 5, 7, Values::Small).weighted(),
            KMeansParams { tol: 0.0, ..few(7) },
        ),
        (
            Case::new(300, 3, 40, Values::Small),
            KMeansParams {
                init: Init::Random,
                seed: 9,
                ..few(40)
            },
        ),
        (
            Case::new(500, 17, 3, Values::Bell),
            KMeansParams { max_iter: 2, ..few(3) },
        ),
        (Case::new(400, 1, 5, Values::Offset), few(5)),
    ]
}

#[test]
fn every_backend_gives_the_scalar_fit() {
    let host = CpuBackend::new(2).unwrap();
    let mut backends: Vec<Box<dyn Backend>> = vec![
        Box::new(CpuBackend::new(1).unwrap()),
        Box::new(CpuBackend::new(7).unwrap()),
    ];
    match GpuBackend::new(&GpuSelection::Any, GpuOptions::default()) {
        Ok(gpu) => backends.push(Box::new(gpu)),
        Err(error) => common::skip_without_gpu(&error),
    }
    for (case, params) in cases() {
        let data = case.data();
        let run = |backend: &dyn Backend, host: &dyn Backend, data: &TileSet| {
            result(fit(backend, host, data, &RowKeys::RowNumber, &params, 1.0, &()).unwrap())
        };
        let expected = run(&ScalarBackend, &ScalarBackend, &data);
        for backend in &backends {
            assert!(
                run(&**backend, &host, &data) == expected,
                "{case:?} on {}",
                backend.description()
            );
            let cut = case.chunks_of(2).data();
            assert!(
                run(&**backend, &host, &cut) == expected,
                "{case:?} in chunks on {}",
                backend.description()
            );
        }
    }
}

#[test]
fn fits_that_share_their_passes_equal_fits_alone() {
    let data = Case::new(900, 4, 9, Values::HeavyTail).weighted().data();
    let params = [(3, 0), (9, 0), (9, 5), (1, 2)].map(|(k, seed)| KMeansParams {
        seed,
        n_init: 2,
        max_iter: 4 + k,
        ..KMeansParams::new(k)
    });
    let host = CpuBackend::new(2).unwrap();
    let backends: [&dyn Backend; 2] = [&host, &ScalarBackend];
    for backend in backends {
        let mut together = Vec::new();
        let mut take = |fit| {
            together.push(fit);
            Ok(ControlFlow::Continue(()))
        };
        fit_many(backend, &host, &data, &RowKeys::RowNumber, &params, 1.0, &(), &mut take).unwrap();
        assert_eq!(together.len(), params.len());
        for (found, params) in together.into_iter().zip(&params) {
            let alone = fit(&host, &host, &data, &RowKeys::RowNumber, params, 1.0, &()).unwrap();
            assert!(result(found) == result(alone), "{params:?} on {}", backend.name());
        }
    }
}

#[test]
fn with_ids_the_order_of_the_rows_changes_nothing() {
    let host = CpuBackend::new(2).unwrap();
    for (case, params) in cases() {
        let data = case.data();
        let n = case.n_rows;
        // Any step without a common factor with n visits every row once.
        let order: Vec<usize> = (0..n).map(|i| (i * 211 + 17) % n).collect();
        let ids: Vec<u128> = (0..n as u128).map(|row| row * 977 + 5).collect();
        let moved_ids = order.iter().map(|&row| ids[row]).collect();
        let run = |data: &TileSet, ids| fit(&host, &host, data, &RowKeys::Ids(ids), &params, 1.0, &()).unwrap();
        let (straight, moved) = (run(&data, ids), run(&data.gather(&order), moved_ids));
        assert_eq!(
            (&straight.centroids, straight.inertia),
            (&moved.centroids, moved.inertia),
            "{case:?}"
        );
        let labels: Vec<u32> = order.iter().map(|&row| straight.nearest.labels[row]).collect();
        assert_eq!(labels, moved.nearest.labels, "{case:?}");
    }
}

/// The comparison above can fail: another seed gives another result somewhere.
#[test]
fn another_seed_is_another_run() {
    let host = CpuBackend::new(1).unwrap();
    let (case, params) = cases().swap_remove(2);
    let data = case.data();
    let run = |seed| {
        let params = KMeansParams { seed, ..params.clone() };
        result(fit(&host, &host, &data, &RowKeys::RowNumber, &params, 1.0, &()).unwrap())
    };
    assert!(run(9) == run(9));
    assert!(run(9) != run(10));
}
