//! What the benches share: generated rows, the machine's copy bandwidth, and a line per figure.
#![allow(unreachable_pub, clippy::print_stdout, reason = "a module of a bench, not a library")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use kohort::backend::cpu::CpuBackend;
use kohort::backend::gpu::{GpuBackend, GpuOptions, GpuSelection};
use kohort::backend::{Backend, scalar::ScalarBackend};
use kohort::tiles::{Centroids, MAX_CHUNK_BYTES, TileSet};
use kohort::workload::Workload;

/// One size: rows, features, clusters.
#[derive(Clone, Copy)]
pub struct Shape {
    pub n: usize,
    pub d: usize,
    pub k: usize,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}_k{}", self.n, self.d, self.k)
    }
}

/// Synthetic accounts on the grid, and centroids near where k-means ends: the means of the first rows of each cluster.
pub fn workload(shape: Shape) -> (TileSet, Centroids) {
    let Shape { n, d, k } = shape;
    let accounts = Workload::new(n, d, k).build().expect("a shape that can be generated");
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
        n: shape.n.min(2000),
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

/// Bytes per second of reading and writing a large buffer, with all threads.
pub fn copy_bandwidth() -> f64 {
    use rayon::prelude::*;
    let from = vec![1.0f32; 1 << 26];
    let mut to = vec![0.0f32; 1 << 26];
    let once = |to: &mut Vec<f32>| {
        let started = Instant::now();
        to.par_chunks_mut(1 << 18)
            .zip(from.par_chunks(1 << 18))
            .for_each(|(to, from)| to.copy_from_slice(from));
        black_box(to);
        started.elapsed()
    };
    let best = (0..6).map(|_| once(&mut to)).min().expect("six runs");
    2.0 * size_of_val(&from[..]) as f64 / best.as_secs_f64()
}

/// One line of figures from the fastest of the runs that criterion made.
pub fn figures(what: &str, backend: &dyn Backend, shape: Shape, best: Duration, copy: f64) {
    let seconds = best.as_secs_f64();
    let bytes = (shape.n * shape.d * 4) as f64;
    println!(
        "    {what:<10} {:<4} {shape:<18} {:>9.3} ms {:>9.1} M rows/s {:>7.2} GB/s = {:>5.1} % of copy {:>7.1} GFLOP/s",
        backend.name(),
        seconds * 1e3,
        shape.n as f64 / seconds / 1e6,
        bytes / seconds / 1e9,
        100.0 * bytes / seconds / copy,
        2.0 * (shape.n * shape.d * shape.k) as f64 / seconds / 1e9,
    );
}
