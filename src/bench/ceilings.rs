//! What the CPU could do at best, measured in the same run as what it did: shares of a ceiling say more than rates.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::fma;
use crate::backend::cpu::CpuBackend;

/// Bytes of a buffer that no cache holds beside another one.
const BUFFER_BYTES: usize = 256 << 20;
/// `u64`s of a buffer that a task works on at a time.
const TASK: usize = 1 << 16;
/// Runs of each measurement; the fastest counts.
const RUNS: usize = 5;

/// The best rates of the CPU, with the number of threads that passes use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceilings {
    /// Threads that took part.
    pub threads: usize,
    /// The instruction set of the multiply-adds: the widest there is.
    pub instruction_set: String,
    /// Bytes read plus bytes written per second, from one buffer to another.
    pub copy_bytes_per_s: f64,
    /// Bytes per second of reading one buffer.
    pub read_bytes_per_s: f64,
    /// Floating-point operations per second of independent `f32` multiply-adds in registers, two for each.
    pub fma_flop_per_s: f64,
}

impl Ceilings {
    /// Measures on the threads of `cpu`. Takes about a second and 512 MiB of memory.
    #[must_use]
    pub fn measure(cpu: &CpuBackend) -> Self {
        cpu.install(|| {
            let from = vec![1u64; BUFFER_BYTES / size_of::<u64>()];
            let mut to = vec![0u64; from.len()];
            let bytes = size_of_val(&from[..]) as f64;
            let copy_s = fastest(|| copy(&from, &mut to));
            let read_s = fastest(|| _ = black_box(sum(&from)));
            let (flop, fma_s) = (fma::FLOP * cpu.threads() as f64, fastest(fma_on_all_threads));
            Self {
                threads: cpu.threads(),
                instruction_set: fma::instruction_set().into(),
                copy_bytes_per_s: 2.0 * bytes / copy_s,
                read_bytes_per_s: bytes / read_s,
                fma_flop_per_s: flop / fma_s,
            }
        })
    }

    /// The better of two measurements, rate by rate: other work on the machine only ever takes away.
    #[must_use]
    pub fn or_better(self, other: &Self) -> Self {
        Self {
            copy_bytes_per_s: self.copy_bytes_per_s.max(other.copy_bytes_per_s),
            read_bytes_per_s: self.read_bytes_per_s.max(other.read_bytes_per_s),
            fma_flop_per_s: self.fma_flop_per_s.max(other.fma_flop_per_s),
            ..self
        }
    }
}

/// Seconds of the fastest of some runs, after one that warms up.
fn fastest(mut work: impl FnMut()) -> f64 {
    work();
    let seconds = (0..RUNS).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}

fn copy(from: &[u64], to: &mut [u64]) {
    let tasks = to.par_chunks_mut(TASK).zip(from.par_chunks(TASK));
    tasks.for_each(|(to, from)| to.copy_from_slice(from));
    black_box(to);
}

/// Eight sums side by side, so that no addition waits for another.
fn sum(from: &[u64]) -> u64 {
    let of_task = |task: &[u64]| {
        let mut sums = [0u64; 8];
        for eight in task.chunks_exact(8) {
            for (sum, value) in sums.iter_mut().zip(eight) {
                *sum = sum.wrapping_add(*value);
            }
        }
        sums.into_iter().fold(0, u64::wrapping_add)
    };
    from.par_chunks(TASK).map(of_task).reduce(|| 0, u64::wrapping_add)
}

fn fma_on_all_threads() {
    rayon::broadcast(|_| _ = black_box(fma::run()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_read_to_the_end() {
        let values: Vec<u64> = (0..(2 * TASK + 64) as u64).collect();
        let n = values.len() as u64;
        assert_eq!(sum(&values), n * (n - 1) / 2);
        let mut to = vec![0; values.len()];
        copy(&values, &mut to);
        assert_eq!(to, values);
    }

    #[test]
    fn the_better_rates_are_kept() {
        let ceilings = |copy, read, fma| Ceilings {
            threads: 2,
            instruction_set: "AVX2".into(),
            copy_bytes_per_s: copy,
            read_bytes_per_s: read,
            fma_flop_per_s: fma,
        };
        assert_eq!(
            ceilings(1.0, 5.0, 3.0).or_better(&ceilings(2.0, 4.0, 3.0)),
            ceilings(2.0, 5.0, 3.0)
        );
    }
}
