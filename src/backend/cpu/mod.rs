//! The CPU backend: tiles of 64 rows through vector kernels, doubtful rows decided in integers, rows passed over while
//! bounds prove that they stay, sums kept up to date by what moved.
//!
//! A session keeps labels, bounds and the exact sums of its last pass. Because sums are integers, taking a row out of
//! its old cluster and adding it to the new one gives the bits that a full recount would give; because bounds are
//! proven, a row passed over keeps the label that a look would give. So late passes do almost nothing, and every pass
//! gives what a pass from scratch gives.

mod bounds;
mod coarse;
mod coarse_kernel;
mod exact;
mod group_kernel;
mod group_task;
mod groups;
mod kernel;
mod lane_sums;
mod lanes;
mod looks;
#[cfg(target_arch = "x86_64")]
mod matrix_kernel;
#[cfg(not(target_arch = "x86_64"))]
#[path = "matrix_unsupported.rs"]
mod matrix_kernel;
#[cfg(target_arch = "x86_64")]
mod matrix_unit;
mod pairs;
mod policy;
mod rows;
mod session;
mod sums;
mod task;

use std::ffi::OsStr;

use self::kernel::Kernels;
use self::session::{CpuSession, CpuSessions};
use super::{Backend, Session, Sessions};
use crate::error::{Error, Result};
use crate::tiles::TileSet;

/// Environment variable that forces an instruction set: `amx`, `avx512`, `avx2`, `neon` or `portable`.
pub const SIMD_VARIABLE: &str = "KOHORT_SIMD";

/// The kernels asked for by name, or the best.
fn choose(available: Vec<Kernels>, asked: Option<&str>) -> Result<Kernels> {
    let plain = |name: &str| name.replace('-', "").to_lowercase();
    let Some(asked) = asked else {
        return Ok(available[0]);
    };
    let found = available.iter().find(|kernels| plain(kernels.name) == plain(asked));
    found.copied().ok_or_else(|| Error::InvalidParam {
        param: SIMD_VARIABLE,
        value: asked.to_owned(),
        reason: format!(
            "this processor has {}",
            available
                .iter()
                .map(|kernels| kernels.name)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    })
}

/// The CPU backend: a thread pool and the best instruction set that the processor has.
pub struct CpuBackend {
    pool: rayon::ThreadPool,
    kernels: Kernels,
    pruning: Pruning,
}

/// When a session passes over rows that bounds prove to keep their labels. Changes nothing in any result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pruning {
    /// Never: every pass looks at every row.
    Never,
    /// Where it is faster.
    Auto,
    /// From the second pass on.
    Always,
}

impl CpuBackend {
    /// A backend with `threads` threads (0: one per core) and the best instruction set there is, or the one that the
    /// environment variable [`SIMD_VARIABLE`] names.
    ///
    /// # Errors
    /// [`Error::Internal`] where the operating system gives no threads, [`Error::InvalidParam`] where the processor
    /// lacks the instruction set asked for.
    pub fn new(threads: usize) -> Result<Self> {
        let asked = std::env::var_os(SIMD_VARIABLE);
        Self::with_kernels(
            threads,
            choose(kernel::available(), asked.as_deref().and_then(OsStr::to_str))?,
        )
    }

    /// One backend for every instruction set that this processor has, best first: all give the same bits.
    ///
    /// # Errors
    /// As [`CpuBackend::new`].
    pub fn for_each_isa(threads: usize) -> Result<Vec<Self>> {
        kernel::available()
            .into_iter()
            .map(|kernels| Self::with_kernels(threads, kernels))
            .collect()
    }

    fn with_kernels(threads: usize, kernels: Kernels) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("kohort-cpu-{index}"))
            .build()
            .map_err(|error| Error::Internal(format!("no threads: {error}")))?;
        Ok(Self {
            pool,
            kernels,
            pruning: Pruning::Auto,
        })
    }

    /// The same backend with another way of pruning.
    #[must_use]
    pub fn with_pruning(self, pruning: Pruning) -> Self {
        Self { pruning, ..self }
    }

    /// Runs `work` on this backend's threads: everything parallel in it uses them and no others.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn description(&self) -> String {
        let threads = self.threads();
        format!(
            "{threads} thread{}, {}",
            if threads == 1 { "" } else { "s" },
            self.kernels.name
        )
    }

    fn open<'d>(&'d self, data: &'d TileSet, _max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        Ok(Box::new(CpuSession::new(self, data)))
    }

    fn open_shared<'d>(&'d self, data: &'d TileSet, n_runs: usize) -> Option<Box<dyn Sessions + 'd>> {
        Some(Box::new(CpuSessions::new(self, data, n_runs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_set_can_be_asked_for_by_name() {
        let last = kernel::available().len() - 1;
        let name = kernel::available()[last].name;
        assert_eq!(
            choose(kernel::available(), Some(&name.to_uppercase())).unwrap().name,
            name
        );
        assert_eq!(
            choose(kernel::available(), None).unwrap().name,
            kernel::available()[0].name
        );
        let error = choose(kernel::available(), Some("mmx")).err().unwrap().to_string();
        assert!(error.contains("mmx") && error.contains(name), "{error}");
    }
}
