//! What the benches share: generated rows, the machine's copy bandwidth, and a line per figure.
#![allow(unreachable_pub, clippy::print_stdout, reason = "a module of a bench, not a library")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use kohort::backend::cpu::CpuBackend;
use kohort::backend::gpu::{GpuBackend, GpuOptions, GpuSelection};
use kohort::backend::{Backend, scalar::ScalarBackend};
use kohort::rng::Rng;
use kohort::tiles::{Centroids, MAX_CHUNK_BYTES, TileSet};

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

/// Overlapping groups of very unequal size: rows on the grid, and centroids near their centres.
pub fn workload(shape: Shape) -> (TileSet, Centroids) {
    let Shape { n, d, k } = shape;
    let mut rng = Rng::new(11, 0);
    let mut noise = |width: i64| rng.below(2 * width as u128 + 1) as i64 - width;
    let centres: Vec<i64> = (0..k * d).map(|_| noise(2_000_000)).collect();
    let mut tiles = TileSet::zeros(n, d, false, MAX_CHUNK_BYTES);
    const RUN: usize = 1 << 14;
    for first in (0..n).step_by(RUN) {
        let rows = RUN.min(n - first);
        // The square of a uniform number prefers the first groups.
        let groups: Vec<usize> = (0..rows)
            .map(|_| (noise(1000).pow(2) as usize * k / 1_000_001).min(k - 1))
            .collect();
        let columns: Vec<Vec<f32>> = (0..d)
            .map(|j| {
                groups
                    .iter()
                    .map(|group| (centres[group * d + j] + noise(1_500_000)) as f32)
                    .collect()
            })
            .collect();
        tiles.fill_rows(first, &columns);
    }
    let values = centres.iter().map(|&c| ((c + noise(300_000)) * 256) as i32).collect();
    (tiles, Centroids::new(d, values))
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
