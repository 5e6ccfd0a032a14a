//! A sweep over k: every candidate is the fit that its k alone gives, and nothing depends on threads, chunks or the order
//! of the rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use kohort::backend::cpu::CpuBackend;
use kohort::cells::{Count, MinCell};
use kohort::data::MemorySource;
use kohort::features::FeatureOptions;
use kohort::fit::{Fit, FitOptions, fit, fit_auto, sweep};
use kohort::kmeans::{Event, Observer};
use kohort::rng::Rng;
use kohort::select::{Strength, Sweep, SweepOptions};
use kohort::{Error, Result};

/// Four groups in two columns, a third column of noise, weights, and ids that are no row numbers.
fn columns(n: usize, apart: f64) -> Vec<(&'static str, Vec<f64>)> {
    let mut rng = Rng::new(11, 0);
    let mut noise = || (0..6).map(|_| rng.below(1000) as f64 / 1000.0).sum::<f64>() - 3.0;
    let mut columns = vec![
        ("a", vec![]),
        ("b", vec![]),
        ("c", vec![]),
        ("w", vec![]),
        ("id", vec![]),
    ];
    for row in 0..n {
        let group = row % 10 % 4;
        let values = [
            apart * (group % 2) as f64 + noise(),
            apart * (group / 2) as f64 + noise(),
            noise(),
            1.0 + (row % 3) as f64,
            (row * 7919 % 10_007) as f64,
        ];
        columns
            .iter_mut()
            .zip(values)
            .for_each(|((_, column), value)| column.push(value));
    }
    columns
}

fn source(columns: &[(&'static str, Vec<f64>)], batch_rows: usize) -> MemorySource {
    let array = |name: &str, values: &[f64]| -> ArrayRef {
        match name {
            "id" => Arc::new(Int64Array::from_iter_values(values.iter().map(|&id| id as i64))),
            _ => Arc::new(Float64Array::from(values.to_vec())),
        }
    };
    let n = columns[0].1.len();
    let batch = |first: usize| {
        let rows = first..(first + batch_rows).min(n);
        RecordBatch::try_from_iter(
            columns
                .iter()
                .map(|(name, values)| (*name, array(name, &values[rows.clone()]))),
        )
        .unwrap()
    };
    MemorySource::new((0..n).step_by(batch_rows).map(batch).collect()).unwrap()
}

fn options(weighted: bool) -> FitOptions {
    FitOptions {
        features: FeatureOptions {
            id: vec!["id".into()],
            weight: weighted.then(|| "w".into()),
            exclude: if weighted { vec![] } else { vec!["w".into()] },
            ..FeatureOptions::default()
        },
        n_init: 3,
        ..FitOptions::new(1)
    }
}

fn select(k: std::ops::RangeInclusive<usize>) -> SweepOptions {
    SweepOptions {
        k,
        n_resamples: 3,
        ..SweepOptions::default()
    }
}

/// A candidate of the sweep that is not what a fit with its k gives, if there is one.
fn differs(sweep: &Sweep, fits: &[Fit]) -> Option<usize> {
    let same = |(candidate, fit): &(&kohort::select::Candidate, &Fit)| {
        let summary = &fit.summary;
        candidate.labels_hash == summary.labels_hash
            && candidate.inertia_exact == summary.inertia_exact.to_string()
            && candidate.inertia == summary.inertia
            && candidate.n_iter == summary.n_iter
            && candidate.sizes == fit.model.segment_counts
    };
    let pairs = sweep.candidates.iter().zip(fits);
    pairs
        .into_iter()
        .find(|pair| !same(pair))
        .map(|(candidate, _)| candidate.k)
}

#[test]
fn every_candidate_is_the_fit_with_its_k() {
    let host = CpuBackend::new(2).unwrap();
    let table = source(&columns(3000, 4.0), 3000);
    for weighted in [false, true] {
        let options = options(weighted);
        let swept = sweep(&table, &host, &options, &select(2..=6), &()).unwrap();
        let fit_with = |n_clusters| {
            let options = FitOptions {
                n_clusters,
                ..options.clone()
            };
            fit(&table, &host, &options, &()).unwrap()
        };
        let mut fits: Vec<Fit> = (2..=6).map(fit_with).collect();
        assert_eq!(swept.sweep.candidates.len(), 5);
        assert_eq!(differs(&swept.sweep, &fits), None);
        // Planted faults.
        fits[2].summary.labels_hash.replace_range(0..1, "g");
        assert_eq!(differs(&swept.sweep, &fits), Some(4));
        fits.swap(0, 1);
        assert_eq!(differs(&swept.sweep, &fits), Some(2));
    }
}

#[test]
fn a_fit_that_chooses_is_the_fit_with_the_chosen_k() {
    let host = CpuBackend::new(2).unwrap();
    let table = source(&columns(2000, 6.0), 2000);
    let options = options(true);
    let (chosen, swept) = fit_auto(&table, &host, &options, &select(2..=6), &()).unwrap();
    assert_eq!(
        (swept.decision.k, swept.decision.strength),
        (4, Strength::Clear),
        "{:?}",
        swept.decision
    );
    let four = FitOptions {
        n_clusters: 4,
        ..options
    };
    let alone = fit(&table, &host, &four, &()).unwrap();
    assert_eq!(chosen.assignment, alone.assignment);
    assert_eq!(chosen.model.centroids, alone.model.centroids);
    assert_eq!(chosen.profile, alone.profile);
    let figures = |fit: Fit| kohort::fit::FitSummary {
        stages: Vec::new(),
        ..fit.summary
    };
    assert_eq!(figures(chosen), figures(alone));
}

#[test]
fn threads_chunks_and_the_order_of_rows_change_nothing() {
    let columns = columns(2500, 2.0);
    let with = |columns: &[(&'static str, Vec<f64>)], threads: usize, chunk_bytes: usize, batch_rows: usize| {
        let options = FitOptions {
            threads,
            chunk_bytes,
            // So that every part of a segment is told.
            min_cell: MinCell::new(1),
            ..options(true)
        };
        let host = CpuBackend::new(threads).unwrap();
        sweep(&source(columns, batch_rows), &host, &options, &select(2..=5), &())
            .unwrap()
            .sweep
    };
    let whole = with(&columns, 2, 1 << 30, 2500);
    assert_eq!(with(&columns, 1, 1 << 12, 700), whole);
    let turned: Vec<(&'static str, Vec<f64>)> = columns
        .iter()
        .map(|(name, values)| (*name, values.iter().rev().copied().collect()))
        .collect();
    assert_eq!(with(&turned, 3, 1 << 13, 999), whole);
    let flows = &whole.flows;
    assert_eq!(flows.len(), 3);
    for flow in flows {
        let sum = |to: &Vec<Count>| to.iter().fold(Count::Exact(0), |sum, &n| sum.plus(n));
        let sizes: Vec<Count> = flow.n_rows.iter().map(sum).collect();
        assert_eq!(sizes, whole.candidates[flow.from_k - 2].sizes);
    }
}

#[test]
fn a_sweep_ends_where_there_are_no_more_distinct_rows() {
    let few: Vec<f64> = (0..60).map(|row| f64::from(row % 3)).collect();
    let table = source(&[("a", few)], 60);
    let host = CpuBackend::new(1).unwrap();
    let swept = sweep(&table, &host, &FitOptions::new(1), &select(2..=6), &()).unwrap();
    let tried: Vec<usize> = swept.sweep.candidates.iter().map(|candidate| candidate.k).collect();
    assert_eq!((tried, swept.sweep.decision.k), (vec![2, 3], 3));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let table = source(&[("a", vec![0.0, 1.0, 5.0])], 3);
    let host = CpuBackend::new(1).unwrap();
    let refused = |select: SweepOptions| -> Error {
        let result: Result<_> = sweep(&table, &host, &FitOptions::new(1), &select, &());
        result.unwrap_err()
    };
    for (k, text) in [(1..=3, "2"), (2..=200, "100")] {
        let error = refused(select(k));
        assert!(
            matches!(&error, Error::InvalidParam { param: "n_clusters", reason, .. } if reason.contains(text)),
            "{error}"
        );
    }
    assert!(matches!(
        refused(select(2..=4)),
        Error::TooFewRows {
            n_rows: 3,
            n_clusters: 4,
            ..
        }
    ));
    let prefer = SweepOptions {
        prefer: Some(5..=6),
        ..select(2..=3)
    };
    assert!(matches!(refused(prefer), Error::InvalidParam { param: "prefer", .. }));
    let share = SweepOptions {
        min_share: f64::NAN,
        ..select(2..=3)
    };
    assert!(matches!(refused(share), Error::InvalidParam { param: "min_share", .. }));
}

#[test]
fn an_interrupt_ends_a_sweep() {
    /// Stops once the second candidate began.
    struct Stop(std::sync::atomic::AtomicBool);
    impl Observer for Stop {
        fn event(&self, event: Event) {
            if let Event::Candidate { done: 1, .. } = event {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
        }
        fn interrupted(&self) -> bool {
            self.0.load(std::sync::atomic::Ordering::SeqCst)
        }
    }
    let table = source(&columns(500, 2.0), 500);
    let host = CpuBackend::new(1).unwrap();
    let result = sweep(&table, &host, &options(false), &select(2..=4), &Stop(false.into()));
    assert!(matches!(result, Err(Error::Interrupted)));
}
