//! What the benches share: generated rows, backends, and a line per figure.
#![allow(unreachable_pub, clippy::print_stdout, reason = "a module of a bench, not a library")]

use std::time::Duration;

use kohort::backend::cpu::CpuBackend;
use kohort::backend::gpu::{GpuBackend, GpuOptions, GpuSelection};
use kohort::backend::{Backend, scalar::ScalarBackend};
use kohort::bench::Ceilings;
use kohort::tiles::{Centroids, MAX_CHUNK_BYTES, TileSet};
use kohort::workload::Shape;

/// Synthetic accounts on the grid, and centroids near where k-means ends: the means of the first rows of each cluster.
pub fn workload(shape: Shape) -> (TileSet, Centroids) {
    let (n, d, k) = (shape.n_rows, shape.n_features, shape.n_clusters);
    let accounts = shape.workload().build().expect("a shape that can be generated");
    let tiles = accounts.tiles(MAX_CHUNK_BYTES).expect("memory for the tiles");
    let mut truth = vec![0; n.min(1 << 16)];
    accounts.fill_truth(0, &mut truth);
    let (mut sums, mut counts) = (vec![0i64; k * d], vec![0i64; k]);
    let mut row = vec![0; d];
    for (i, &cluster) in truth.iter().enumerate() {
        let cluster = cluster as usize;
        tiles.read_row(i, &mut row);
        counts[cluster] += 1;
        let sum = &mut sums[cluster * d..(cluster + 1) * d];
        sum.iter_mut().zip(&row).for_each(|(sum, &x)| *sum += i64::from(x));
    }
    let mean = |(i, &sum): (usize, &i64)| (sum * 256 / counts[i / d].max(1)) as i32;
    (tiles, Centroids::new(d, sums.iter().enumerate().map(mean).collect()))
}

/// The CPU backend, and a GPU where there is one (a software adapter only where `KOHORT_BENCH_SOFTWARE_GPU` is set).
pub fn backends() -> Vec<Box<dyn Backend>> {
    let mut backends: Vec<Box<dyn Backend>> = vec![Box::new(CpuBackend::new(0).expect("threads"))];
    let software = std::env::var_os("KOHORT_BENCH_SOFTWARE_GPU").is_some();
    let selection = if software {
        GpuSelection::Any
    } else {
        GpuSelection::Real
    };
    match GpuBackend::new(&selection, GpuOptions::default()) {
        Ok(gpu) => backends.push(Box::new(gpu)),
        Err(error) => println!("no GPU in this run: {error}"),
    }
    for backend in &backends {
        println!("{}: {}", backend.name(), backend.description());
    }
    backends
}

/// Holds the first rows' answer of `backend` against the scalar reference.
pub fn check_answer(backend: &dyn Backend, shape: Shape) {
    let (tiles, centroids) = workload(Shape {
        n_rows: shape.n_rows.min(2000),
        ..shape
    });
    let pass = |backend: &dyn Backend| {
        let mut session = backend.open(&tiles, centroids.n_clusters()).expect("a session");
        let partial = session.assign(&centroids).expect("a pass").partial;
        (partial, session.labels().expect("labels"))
    };
    assert!(
        pass(backend) == pass(&ScalarBackend),
        "{} differs from the reference at {shape}",
        backend.name()
    );
}

/// One line of figures from the fastest of the runs that criterion made, beside what the CPU could do at best.
pub fn figures(what: &str, backend: &dyn Backend, shape: Shape, best: Duration, ceilings: &Ceilings) {
    let seconds = best.as_secs_f64();
    let (rows, bytes) = (shape.n_rows as f64, (shape.n_rows * shape.n_features * 4) as f64);
    let flop = 2.0 * rows * (shape.n_features * shape.n_clusters) as f64;
    println!(
        "    {what:<10} {:<4} {:<18} {:>9.3} ms {:>9.1} M rows/s {:>7.2} GB/s = {:>5.1} % of reading {:>7.1} GFLOP/s \
         = {:>5.1} % of multiply-adds",
        backend.name(),
        shape.to_string(),
        seconds * 1e3,
        rows / seconds / 1e6,
        bytes / seconds / 1e9,
        100.0 * bytes / seconds / ceilings.read_bytes_per_s,
        flop / seconds / 1e9,
        100.0 * flop / seconds / ceilings.fma_flop_per_s,
    );
}
