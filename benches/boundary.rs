//! Whether the rows that are flagged as sitting on a boundary are those that move: flags from one set of resamples, held
//! against 32 fresh ones (of another sample, where there are more rows than a sample has). `cargo bench --bench boundary`.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::time::Instant;

use kohort::backend::cpu::CpuBackend;
use kohort::cells::MinCell;
use kohort::features::{FeatureOptions, prepare};
use kohort::fit::{FitOptions, fit};
use kohort::segments::ConfidenceCounts;
use kohort::select::Flips;
use kohort::tiles::MAX_CHUNK_BYTES;
use kohort::workload::Workload;

const FRESH: usize = 32;

fn main() {
    let host = CpuBackend::new(0).expect("threads");
    println!("   rows   d   k  flagged  they move  others move  seconds  whole fit  moves by tenth of margins, %");
    for (n_rows, n_features, k, seed) in [
        (500, 6, 3, 1),
        (2_000, 8, 4, 2),
        (8_000, 8, 5, 3),
        (8_000, 16, 12, 4),
        (100_000, 12, 6, 5),
    ] {
        let workload = Workload {
            seed,
            ..Workload::new(n_rows, n_features, k)
        };
        let source = workload.build().expect("a table");
        let options = FitOptions {
            features: FeatureOptions {
                exclude: vec!["truth".into(), "account_id".into()],
                ..FeatureOptions::default()
            },
            ..FitOptions::new(k)
        };
        let started = Instant::now();
        let fitted = fit(&source, &host, &options, &()).expect("a fit");
        let elapsed_s = started.elapsed().as_secs_f64();
        let resample_s: f64 = { fitted.summary.stages.iter() }
            .filter(|stage| stage.0 == "resample")
            .map(|stage| stage.1)
            .sum();
        let prepared = prepare(&source, &fitted.model.preparation, None, MAX_CHUNK_BYTES).expect("rows");
        let (labels, centroids) = (&fitted.assignment.labels, &fitted.model.centroids);
        let fresh = Flips::count(
            &host,
            &prepared.tiles,
            &fitted.keys,
            labels,
            centroids,
            12_345,
            FRESH,
            &(),
        );
        let fresh = fresh.expect("resamples").expect("more than one segment");
        let [(n_flagged, flagged), (n_others, others)] = fresh.shares(&fitted.assignment, &fitted.model.confidence);
        let none = ConfidenceCounts {
            n_boundary: vec![0; k],
            n_outliers: vec![0; k],
        };
        let deciles = fresh.report(&fitted.assignment, 0.0, &none, MinCell::default()).deciles;
        let deciles: Vec<String> = deciles
            .iter()
            .map(|decile| format!("{:.1}", 100.0 * decile.share_flipped))
            .collect();
        println!(
            "{n_rows:>7} {n_features:>3} {k:>3} {:>7.1}% {:>12.1}% {:>14.2}% {resample_s:>8.3} {elapsed_s:>11.2}  {}",
            100.0 * n_flagged as f64 / (n_flagged + n_others) as f64,
            100.0 * flagged,
            100.0 * others,
            deciles.join(" ")
        );
    }
}
