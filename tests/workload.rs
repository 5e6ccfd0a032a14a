//! Synthetic accounts through the public API: a fit needs no file, and k-means has work to do on them.

use kohort::artifact::{AccountsOptions, AccountsOut, write_accounts};
use kohort::backend::cpu::CpuBackend;
use kohort::data::{BatchSource, FileSource};
use kohort::features::FeatureOptions;
use kohort::fit::{FitOptions, fit};
use kohort::kmeans::{self, Init, KMeansParams, StopReason};
use kohort::tiles::{Centroids, RowKeys};
use kohort::workload::Workload;
use parquet::basic::Compression;

fn options(n_clusters: usize) -> FitOptions {
    let mut options = FitOptions::new(n_clusters);
    options.features = FeatureOptions {
        id: vec!["account_id".into()],
        exclude: vec!["truth".into()],
        ..FeatureOptions::default()
    };
    options
}

#[test]
fn a_fit_of_generated_rows_is_that_of_their_file() {
    let workload = Workload {
        missing: 0.02,
        outliers: 0.001,
        categorical: 1,
        ..Workload::new(40_000, 6, 5)
    };
    let accounts = workload.build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("accounts.parquet");
    let written = AccountsOptions {
        codec: Compression::SNAPPY,
        group_rows: Some(9000),
        overwrite: false,
        threads: 2,
    };
    write_accounts(&accounts, &AccountsOut::File(file.clone()), &written, &()).unwrap();
    let labels_hash = |source: &dyn BatchSource, threads: usize| {
        let backend = CpuBackend::new(threads).unwrap();
        let fit = fit(source, &backend, &options(5), &()).unwrap();
        assert_eq!(fit.summary.n_features, 12, "six of numbers, and the levels of a text");
        fit.summary.labels_hash
    };
    let in_memory = labels_hash(&accounts, 1);
    assert_eq!(in_memory, labels_hash(&accounts, 3));
    assert_eq!(in_memory, labels_hash(&FileSource::open(&[file], 2).unwrap(), 2));
}

#[test]
fn labels_keep_moving_for_fifteen_iterations_from_random_rows() {
    for (n_features, n_clusters) in [(4, 8), (8, 8), (16, 16), (32, 64)] {
        let accounts = Workload::new(50_000, n_features, n_clusters).build().unwrap();
        let tiles = accounts.tiles(1 << 30).unwrap();
        let mut rows = vec![0; n_clusters * n_features];
        for (cluster, row) in rows.chunks_mut(n_features).enumerate() {
            tiles.read_row(cluster * (50_000 / n_clusters), row);
        }
        let params = KMeansParams {
            init: Init::Centroids(Centroids::on_rows(n_features, &rows)),
            max_iter: 15,
            tol: 0.0,
            ..KMeansParams::new(n_clusters)
        };
        let cpu = CpuBackend::new(0).unwrap();
        let run = kmeans::fit(&cpu, &cpu, &tiles, &RowKeys::RowNumber, &params, 1.0, &()).unwrap();
        assert_eq!(
            (run.n_iter, run.stop_reason),
            (15, StopReason::MaxIter),
            "{n_features} x {n_clusters}"
        );
    }
}

#[test]
fn most_rows_go_with_the_cluster_they_were_drawn_from() {
    let accounts = Workload::new(50_000, 8, 8).build().unwrap();
    let fit = fit(&accounts, &CpuBackend::new(0).unwrap(), &options(8), &()).unwrap();
    let mut truth = vec![0; 50_000];
    accounts.fill_truth(0, &mut truth);
    let mut together = [[0u32; 8]; 8];
    for (&label, &truth) in fit.assignment.labels.iter().zip(&truth) {
        together[label as usize][truth as usize] += 1;
    }
    let share = together.iter().filter_map(|row| row.iter().max()).sum::<u32>() as f64 / 50_000.0;
    assert!((0.6..0.98).contains(&share), "{share}");
}
