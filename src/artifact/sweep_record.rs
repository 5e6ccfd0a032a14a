//! `sweep.json`: what a sweep was given, on what it ran and what came out.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::json;
use super::run_record::{ConfigRecord, DeviceRecord, InputRecord, OptionsRecord, TimeRecord};
use super::{OutFile, names};
use crate::error::Result;
use crate::select::{Sweep, SweepOptions};

const FORMAT: &str = "kohort-sweep";
const VERSION: u64 = 1;

/// A sweep, as `sweep.json` holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepRecord {
    /// Always `kohort-sweep`.
    pub format: String,
    /// Version of this format.
    pub version: u64,
    /// The program that made the sweep.
    pub kohort_version: String,
    /// What was chosen, from what, and why.
    pub selection: Selection,
    /// DATA as it was given: files, folders, globs.
    pub data: Vec<String>,
    /// The files behind it, in the order read.
    pub inputs: Vec<InputRecord>,
    /// Rows.
    pub n_rows: u64,
    /// Features used.
    pub n_features: usize,
    /// The configuration file that had its say in the options, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigRecord>,
    /// The options of a fit that gives the chosen segments.
    pub options: OptionsRecord,
    /// Role and treatment of each column of the data.
    pub columns: Vec<serde_json::Value>,
    /// What it ran on.
    pub device: DeviceRecord,
    /// Threads of the CPU.
    pub threads: usize,
    /// When and how fast: all that differs when the sweep is made again.
    pub time: TimeRecord,
    /// What the user was told.
    pub warnings: Vec<String>,
}

/// How a number of clusters was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Least and most clusters tried.
    pub k: [usize; 2],
    /// Least and most clusters preferred.
    pub prefer: Option<[usize; 2]>,
    /// Least share of the weight in a segment.
    pub min_share: f64,
    /// Candidates and decision.
    pub sweep: Sweep,
}

impl Selection {
    /// Of a sweep with these options.
    #[must_use]
    pub fn new(options: &SweepOptions, sweep: Sweep) -> Self {
        let ends = |range: &std::ops::RangeInclusive<usize>| [*range.start(), *range.end()];
        Self {
            k: ends(&options.k),
            prefer: options.prefer.as_ref().map(ends),
            min_share: options.min_share,
            sweep,
        }
    }
}

impl SweepRecord {
    /// What [`SweepRecord::format`] holds.
    pub const FORMAT: &'static str = FORMAT;
    /// What [`SweepRecord::version`] holds.
    pub const VERSION: u64 = VERSION;

    /// Writes the record.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write(&self, out: &mut OutFile) -> Result<()> {
        json::write(out, self)
    }

    /// Reads a record from its file, or from the directory that holds it.
    ///
    /// # Errors
    /// [`crate::Error::ArtifactVersion`] for a version this program does not know, [`crate::Error::ArtifactInvalid`] for anything
    /// else that is not as it must be, [`crate::Error::NotFound`] and [`crate::Error::Io`].
    pub fn load(path: &Path) -> Result<Self> {
        let path = json::file_in(path, names::SWEEP);
        let record: Self = json::read(&path, FORMAT, VERSION)?;
        let Sweep {
            decision, candidates, ..
        } = &record.selection.sweep;
        if !candidates.iter().any(|candidate| candidate.k == decision.k) {
            return Err(json::invalid(
                &path,
                format!("{} segments are none of the candidates", decision.k),
            ));
        }
        Ok(record)
    }
}
