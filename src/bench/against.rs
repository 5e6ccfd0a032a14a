//! Two reports side by side: was it slower, and was the answer the same?

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::FIT;
use super::report::{CaseReport, DeviceReport, Report, Settings, Stage};
use crate::artifact::json::invalid;
use crate::error::Result;

/// What comparing with an earlier report gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// From here on, this many times the earlier seconds is too slow.
    pub slower_than: f64,
    /// One entry for each stage that both have.
    pub stages: Vec<Compared>,
    /// Cases and devices whose labels differ.
    pub mismatches: Vec<LabelsDiffer>,
    /// Cases and devices that the earlier report lacks.
    pub unmatched: Vec<String>,
    /// Whether the threads differ, so that times say little.
    pub other_threads: bool,
}

/// One stage, now and then: seconds of the fastest run, which other work on the machine touches least.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// The shape.
    pub shape: String,
    /// The device; `None` for a stage without one.
    pub device: Option<String>,
    /// The stage.
    pub stage: String,
    /// Seconds in the earlier report.
    pub then_s: f64,
    /// Seconds now.
    pub now_s: f64,
    /// `now_s / then_s`.
    pub ratio: f64,
    /// Whether the gate is held against this stage.
    pub gated: bool,
}

/// The same rows, the same settings, other segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelsDiffer {
    /// The shape.
    pub shape: String,
    /// The device.
    pub device: String,
    /// The hash in the earlier report.
    pub then: String,
    /// The hash now.
    pub now: String,
}

/// The least that clocks count: a stage may seem to take no time.
const CLOCK_S: f64 = 1e-9;

impl Comparison {
    /// Holds `now` against `then`, which was read from `path`.
    ///
    /// # Errors
    /// [`crate::Error::ArtifactInvalid`] where the settings differ, or no case is in both.
    pub fn new(now: &Report, then: &Report, path: &Path, slower_than: f64) -> Result<Self> {
        if let Some(what) = other_setting(&now.settings, &then.settings) {
            return Err(invalid(path, format!("it was made with another {what}")));
        }
        let mut comparison = Self {
            slower_than,
            stages: Vec::new(),
            mismatches: Vec::new(),
            unmatched: Vec::new(),
            other_threads: now.threads != then.threads,
        };
        for case in &now.cases {
            match then.cases.iter().find(|other| same_case(case, other)) {
                Some(earlier) => comparison.add_case(case, earlier),
                None => comparison.unmatched.push(case.shape.clone()),
            }
        }
        if comparison.stages.iter().any(|stage| stage.gated) {
            Ok(comparison)
        } else {
            Err(invalid(path, "it has no case and device of this bench"))
        }
    }

    fn add_case(&mut self, now: &CaseReport, then: &CaseReport) {
        self.add_stages(&now.shape, None, &now.stages, &then.stages);
        for device in &now.devices {
            match then.devices.iter().find(|other| other.device == device.device) {
                Some(earlier) => self.add_device(&now.shape, device, earlier),
                None => self.unmatched.push(format!("{} on {}", now.shape, device.device)),
            }
        }
    }

    fn add_device(&mut self, shape: &str, now: &DeviceReport, then: &DeviceReport) {
        self.add_stages(shape, Some(&now.device), &now.stages, &then.stages);
        if now.labels_hash != then.labels_hash {
            self.mismatches.push(LabelsDiffer {
                shape: shape.into(),
                device: now.device.clone(),
                then: then.labels_hash.clone(),
                now: now.labels_hash.clone(),
            });
        }
    }

    fn add_stages(&mut self, shape: &str, device: Option<&str>, now: &[Stage], then: &[Stage]) {
        for stage in now {
            let Some(earlier) = then.iter().find(|other| other.stage == stage.stage) else {
                continue;
            };
            let (now_s, then_s) = (stage.best_s(), earlier.best_s());
            self.stages.push(Compared {
                shape: shape.into(),
                device: device.map(str::to_owned),
                stage: stage.stage.clone(),
                then_s,
                now_s,
                ratio: now_s.max(CLOCK_S) / then_s.max(CLOCK_S),
                gated: stage.stage == FIT,
            });
        }
    }

    /// The gated stages that are too slow.
    pub fn slower(&self) -> impl Iterator<Item = &Compared> {
        self.stages
            .iter()
            .filter(|stage| stage.gated && stage.ratio >= self.slower_than)
    }
}

/// Whether two cases are the same rows and the same number of clusters.
fn same_case(a: &CaseReport, b: &CaseReport) -> bool {
    let key = |case: &CaseReport| (case.data.clone(), case.n_rows, case.n_features, case.n_clusters);
    key(a) == key(b)
}

/// The option of the first setting that differs.
fn other_setting(now: &Settings, then: &Settings) -> Option<&'static str> {
    let same = [
        ("--iters", now.max_iter == then.max_iter),
        ("--tol", now.tol == then.tol),
        ("--init", now.init == then.init),
        ("--n-init", now.n_init == then.n_init),
        ("--seed", now.seed == then.seed),
        ("--scale", now.scale == then.scale),
    ];
    same.iter().find(|(_, same)| !same).map(|(option, _)| *option)
}
