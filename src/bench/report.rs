//! What a bench found, in the form that `--json` prints and `--against` reads back.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::against::Comparison;
use super::ceilings::Ceilings;
use crate::artifact::json;
use crate::backend::gpu::DeviceCeilings;
use crate::error::Result;
use crate::kmeans::StopReason;

/// The outcome of a bench.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Always [`Report::FORMAT`].
    pub format: String,
    /// Always [`Report::VERSION`].
    pub version: u64,
    /// The version of the program.
    pub kohort_version: String,
    /// What was asked for, as far as it decides what is computed.
    pub settings: Settings,
    /// Threads of the CPU.
    pub threads: usize,
    /// Times that each stage ran: the first cold, the others warm.
    pub rounds: usize,
    /// What the CPU could do at best, in this run; `None` where it was not measured.
    pub ceilings: Option<Ceilings>,
    /// One entry per data set and number of clusters.
    pub cases: Vec<CaseReport>,
    /// How it compares with an earlier one, where there was one to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Comparison>,
}

/// What decides the result of a bench, besides the data: two reports with other settings cannot be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Most iterations.
    pub max_iter: usize,
    /// See [`crate::kmeans::KMeansParams::tol`].
    pub tol: f64,
    /// Where the first centroids come from: `rows`, `k-means++`, `random` or the name of a file.
    pub init: String,
    /// Restarts of the seeding.
    pub n_init: usize,
    /// Seed of the first centroids.
    pub seed: u64,
    /// How features are scaled.
    pub scale: String,
}

/// One data set, one number of clusters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseReport {
    /// The name of the shape, for people.
    pub shape: String,
    /// What the rows are: the parameters of a workload, or files.
    pub data: String,
    /// Rows.
    pub n_rows: usize,
    /// Features that were clustered on.
    pub n_features: usize,
    /// Clusters asked for.
    pub n_clusters: usize,
    /// `n_rows` x `n_features` x 4: the bytes of the matrix in floats, by which rates are told.
    pub matrix_bytes: u64,
    /// Stages that no device takes part in: `generate` or `decode`, `learn`, `prepare`, and, of files,
    /// `write`.
    pub stages: Vec<Stage>,
    /// One entry per device.
    pub devices: Vec<DeviceReport>,
}

/// A case on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceReport {
    /// As it was asked for: `cpu`, `gpu`, `gpu:1`, …
    pub device: String,
    /// `cpu` or `gpu`.
    pub backend: String,
    /// What it is.
    pub description: String,
    /// Iterations made.
    pub n_iter: usize,
    /// Why they ended.
    pub stop_reason: StopReason,
    /// See [`crate::segments::labels_hash`].
    pub labels_hash: String,
    /// Inertia of the labels under the final centroids, in units of the prepared features.
    pub inertia: f64,
    /// The same as an exact integer.
    pub inertia_exact: String,
    /// Share of the row decisions that needed exact arithmetic.
    pub share_doubtful: f64,
    /// Share of the rows looked at in iterations that 16 bits of their values left in doubt.
    #[serde(default)]
    pub share_unsettled: f64,
    /// Share of the rows that the iterations looked at; bounds proved of the others that their labels stay.
    pub share_read: f64,
    /// Iterations of the last run that went through matrix units; `None` where the device has no clock to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_on_matrix_units: Option<usize>,
    /// The most memory that the first run held beyond what was there before it, the prepared data included in that;
    /// `None` where the system does not say.
    pub peak_memory_added_bytes: Option<u64>,
    /// What its memory could do at best, in this run; `None` for the CPU, which [`Report::ceilings`] is about, and where
    /// it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceilings: Option<DeviceCeilings>,
    /// `open`, `seed` (where there is one), `iterations`, `iterations-device` (the same iterations by the device's own
    /// clock, where it has one), `labels`, `iterations+labels`, and `iterations-unproven` where it was asked for.
    pub stages: Vec<Stage>,
}

/// The seconds of one stage, and what they mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Its name.
    pub stage: String,
    /// The first run.
    pub cold_s: f64,
    /// The others; `None` where there was only one.
    pub warm: Option<Spread>,
    /// Times that the stage looks at every row: 1, the number of iterations, or 0 where it looks at a sample or at none
    /// and rates mean nothing.
    pub passes: usize,
    /// Rows x passes per second.
    pub rows_per_s: f64,
    /// `matrix_bytes` x passes per second.
    pub bytes_per_s: f64,
    /// 2 x rows x features x clusters x passes per second, as if every distance had been computed; `None` for a stage
    /// that computes none.
    pub flop_per_s: Option<f64>,
    /// `bytes_per_s` over the bandwidth of reading, that of the CPU or of the device.
    pub share_of_read: Option<f64>,
    /// `bytes_per_s` over the bandwidth of copying (read plus written), for passes on a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_of_copy: Option<f64>,
    /// `flop_per_s` over the rate of fused multiply-adds, for passes on the CPU.
    pub share_of_fma: Option<f64>,
}

/// Seconds of repeated runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The fastest.
    pub min_s: f64,
    /// The median.
    pub median_s: f64,
    /// The slowest.
    pub max_s: f64,
}

impl Spread {
    /// Of some seconds; `None` of none.
    #[must_use]
    pub fn of(seconds: &[f64]) -> Option<Self> {
        let mut sorted = seconds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min_s, &max_s) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median_s = if sorted.len().is_multiple_of(2) {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        } else {
            sorted[middle]
        };
        Some(Self { min_s, median_s, max_s })
    }
}

impl Stage {
    /// Takes in what the memory of the device could do at best.
    pub(super) fn with_ceilings(mut self, ceilings: &DeviceCeilings) -> Self {
        self.share_of_read = Some(self.bytes_per_s / ceilings.read_bytes_per_s);
        self.share_of_copy = Some(self.bytes_per_s / ceilings.copy_bytes_per_s);
        self
    }

    /// Seconds of a typical run: the median of the warm ones, or the only one.
    #[must_use]
    pub fn typical_s(&self) -> f64 {
        self.warm.map_or(self.cold_s, |warm| warm.median_s)
    }

    /// Seconds of the fastest run.
    #[must_use]
    pub fn best_s(&self) -> f64 {
        self.warm.map_or(self.cold_s, |warm| warm.min_s.min(self.cold_s))
    }
}

impl Report {
    /// What `format` says.
    pub const FORMAT: &str = "kohort-bench";
    /// What `version` says.
    pub const VERSION: u64 = 1;

    /// Reads what an earlier bench printed with `--json`.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], [`crate::Error::ArtifactVersion`], [`crate::Error::ArtifactInvalid`] and those of
    /// reading.
    pub fn load(path: &Path) -> Result<Self> {
        json::read(path, Self::FORMAT, Self::VERSION)
    }

    /// Takes in what the CPU could do at best, and how much of that its passes made of it.
    pub fn set_ceilings(&mut self, ceilings: Ceilings) {
        let on_cpu = self.cases.iter_mut().flat_map(|case| &mut case.devices);
        for stage in on_cpu
            .filter(|device| device.backend == "cpu")
            .flat_map(|device| &mut device.stages)
        {
            if let Some(flop_per_s) = stage.flop_per_s {
                stage.share_of_read = Some(stage.bytes_per_s / ceilings.read_bytes_per_s);
                stage.share_of_fma = Some(flop_per_s / ceilings.fma_flop_per_s);
            }
        }
        self.ceilings = Some(ceilings);
    }

    /// A case whose devices do not agree: two devices and their labels' hashes.
    #[must_use]
    pub fn disagreement(&self) -> Option<(&CaseReport, &DeviceReport, &DeviceReport)> {
        self.cases.iter().find_map(|case| {
            let (first, others) = case.devices.split_first()?;
            let differs = |other: &&DeviceReport| {
                (&other.labels_hash, &other.inertia_exact) != (&first.labels_hash, &first.inertia_exact)
            };
            others.iter().find(differs).map(|other| (case, first, other))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_seconds_has_the_middle_in_the_middle() {
        let spread = |seconds: &[f64]| Spread::of(seconds).map(|s| [s.min_s, s.median_s, s.max_s]);
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[2.0]), Some([2.0; 3]));
        assert_eq!(spread(&[3.0, 1.0]), Some([1.0, 2.0, 3.0]));
        assert_eq!(spread(&[3.0, 9.0, 1.0]), Some([1.0, 3.0, 9.0]));
    }
}
