//! What a fit or a sweep will take, from what the input declares: known before a value is read.

use std::path::Path;

use serde::Serialize;

use super::FitOptions;
use crate::backend::Backend;
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::features::{feature_range, held_row_bytes};
use crate::kmeans::{RUN_BYTES, largest_sample, sample_rows};
use crate::sys;
use crate::tiles::{BLOCK, Fold, row_bytes};

/// What the program, its threads' buffers and the decoders' pages take, about.
const PROGRAM_BYTES: u64 = 96 << 20;
/// Memory for decoded columns while segments are profiled, at most: see [`crate::segments::profile`].
const PROFILE_BYTES: u64 = 256 << 20;

/// The plan of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FitPlan {
    /// Rows.
    pub n_rows: usize,
    /// Features, least and most: texts become as many as they have common levels.
    pub n_features: [usize; 2],
    /// Tiles of 64 rows that the prepared values stand in.
    pub n_tiles: usize,
    /// Clusters at most.
    pub n_clusters: usize,
    /// Rows that the first centroids are looked for on; 0 where they are given.
    pub n_sample: usize,
    /// Rows, about, of the largest sample that is iterated over before all rows are; 0 where there is none.
    pub n_refined: usize,
    /// Bytes of the input files.
    pub input_bytes: u64,
    /// What is held in memory together when it is most, for the most features.
    pub parts: Vec<PlanPart>,
    /// All of it.
    pub peak_bytes: u64,
    /// What the process keeps within; none where that is not known.
    pub memory_limit_bytes: Option<u64>,
    /// What stands in files, to keep that limit.
    pub spilled_bytes: u64,
    /// Room on their disk; none where that is not known.
    pub free_disk_bytes: Option<u64>,
    /// What the passes run on.
    pub device: DevicePlan,
}

/// Something that takes memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanPart {
    /// What it is.
    pub what: &'static str,
    /// Its size.
    pub bytes: u64,
}

/// What the passes run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DevicePlan {
    /// `cpu` or `gpu`.
    pub backend: &'static str,
    /// How many share the rows at most.
    pub n_devices: usize,
    /// What a device with memory of its own may take of it.
    pub memory_bytes: Option<u64>,
    /// Values that stay there, or in the host's memory where there is no such device.
    pub resident_bytes: u64,
    /// Values that stream to the device in each pass.
    pub streamed_bytes: u64,
}

impl FitPlan {
    /// The plan of a fit; of a sweep where `n_numbers` of clusters are tried. `input_bytes` is the size of the files,
    /// `limit` and `folder` are those of [`sys::keep_within`].
    ///
    /// # Errors
    /// Columns that cannot play their parts.
    pub fn new(
        source: &dyn BatchSource,
        input_bytes: u64,
        options: &FitOptions,
        n_numbers: usize,
        backend: &dyn Backend,
        limit: Option<u64>,
        folder: &Path,
    ) -> Result<Self> {
        let n_rows = source.n_rows();
        let n_features = feature_range(source.schema(), &options.features)?;
        let has_ids = !options.features.id.is_empty();
        let weighted = options.features.weight.is_some() || options.trim > 0.0;
        let padded_rows = n_rows.div_ceil(BLOCK) * BLOCK;
        let values_bytes = padded_rows as u64 * row_bytes(n_features[1]);
        let held_bytes = n_rows as u64 * held_row_bytes(source.schema(), &options.features)? as u64;
        let n_sample = match options.init {
            super::InitChoice::Centroids(_) => 0,
            _ => sample_rows(options.n_clusters).min(n_rows),
        };
        let n_refined = match n_sample {
            0 => 0,
            n_sample => largest_sample(n_rows, n_sample).unwrap_or(0),
        };
        let mut parts = Parts {
            n_rows: n_rows as u64,
            n_refined: n_refined as u64,
            n_features: n_features[1] as u64,
            values_bytes,
            read_bytes: (padded_rows * n_features[1] * size_of::<f32>()) as u64,
            held_bytes: held_bytes.min(sys::spare_bytes(limit)),
            folded_bytes: if weighted {
                0
            } else {
                folded_bytes(n_rows, n_features[1], sys::spare_bytes(limit))
            },
            weighted,
            has_ids,
            n_numbers: n_numbers as u64,
        }
        .of_the_largest_stage();
        parts.retain(|part| part.bytes > 0);
        let rows_bytes: u64 = parts.iter().map(|part| part.bytes).sum();
        let spilled_bytes = limit.map_or(0, |limit| rows_bytes.saturating_sub(sys::resident_budget(limit)));
        let memory_bytes = backend.memory_budget();
        let resident_bytes = memory_bytes.map_or(values_bytes, |budget| budget.min(values_bytes));
        parts.push(PlanPart {
            what: "the program and its buffers",
            bytes: PROGRAM_BYTES,
        });
        Ok(Self {
            n_rows,
            n_features,
            n_tiles: n_rows.div_ceil(BLOCK),
            n_clusters: options.n_clusters,
            n_sample,
            n_refined,
            input_bytes,
            peak_bytes: parts.iter().map(|part| part.bytes).sum(),
            parts,
            memory_limit_bytes: limit,
            spilled_bytes,
            free_disk_bytes: sys::free_disk_bytes(folder),
            device: DevicePlan {
                backend: backend.name(),
                n_devices: backend.n_devices(),
                memory_bytes,
                resident_bytes,
                streamed_bytes: values_bytes - resident_bytes,
            },
        })
    }

    /// What the process is expected to hold in memory at most.
    #[must_use]
    pub fn expected_bytes(&self) -> u64 {
        self.memory_limit_bytes
            .map_or(self.peak_bytes, |limit| limit.min(self.peak_bytes))
    }

    /// Whether there is room for what has to go to disk. Least features are counted: what texts become is not known yet.
    ///
    /// # Errors
    /// [`Error::NoRoomToSpill`].
    pub fn check(&self, folder: &Path) -> Result<()> {
        let unsure = (self.n_features[1] - self.n_features[0]) as u64 * 4 * self.n_rows as u64;
        let needed = self.spilled_bytes.saturating_sub(unsure);
        match self.free_disk_bytes {
            Some(free) if needed > free => Err(Error::NoRoomToSpill {
                folder: folder.to_owned(),
                needed,
                free,
                limit: self.memory_limit_bytes.unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }
}

/// What folded rows take at most: they have to do with what there is to spare, and where that is not enough for any, no row
/// is folded.
fn folded_bytes(n_rows: usize, n_features: usize, spare_bytes: u64) -> u64 {
    match Fold::most_rows(n_rows, n_features, spare_bytes) {
        0 => 0,
        _ => Fold::most_bytes(n_rows, n_features).min(spare_bytes),
    }
}

/// What the parts of a plan depend on.
struct Parts {
    n_rows: u64,
    n_refined: u64,
    n_features: u64,
    values_bytes: u64,
    /// Values as they are read, before they come to stand on the grid in the same place.
    read_bytes: u64,
    /// Decoded columns that are held until they are prepared.
    held_bytes: u64,
    /// Distinct rows, and which of them each row is.
    folded_bytes: u64,
    weighted: bool,
    has_ids: bool,
    n_numbers: u64,
}

impl Parts {
    /// What grows with the rows, in the stage that takes most: the reading, the iterations, or the figures of the finished
    /// segments.
    fn of_the_largest_stage(&self) -> Vec<PlanPart> {
        let n_rows = self.n_rows;
        let part = |what, bytes| PlanPart { what, bytes };
        let always = [
            part("keys of the ids", 16 * n_rows * u64::from(self.has_ids)),
            part("shares of missing values", 4 * n_rows),
        ];
        let sharing = if self.n_numbers > 1 {
            RUN_BYTES as u64 * n_rows * self.n_numbers
        } else {
            0
        };
        let values = part("prepared values", self.values_bytes);
        let weights = part("weights", 4 * n_rows * u64::from(self.weighted));
        let labels = part("labels and runners-up", 8 * n_rows);
        let reading = vec![
            part("values as they are read", self.read_bytes),
            weights.clone(),
            part("columns held until they are prepared", self.held_bytes),
        ];
        // Values, keys, places among all rows; labels as long as it is iterated over.
        let sample_bytes = self.n_refined * (self.values_bytes / n_rows.max(1) + 16 + 8 + RUN_BYTES as u64);
        let iterating = vec![
            values,
            weights,
            labels.clone(),
            part("equal rows, where there are many", self.folded_bytes),
            // The runs of a sweep begin one after the other. A single run has let go of it before there are labels, which
            // with what is read take more.
            part("the largest sample", if sharing > 0 { sample_bytes } else { 0 }),
            part("fits that share their passes", sharing.min(self.values_bytes)),
        ];
        // Distances take the place of the values.
        let finishing = vec![
            part("distances, and segments as they are told", 20 * n_rows),
            labels,
            part(
                "columns that are profiled",
                (8 * n_rows * self.n_features).min(PROFILE_BYTES.max(8 * n_rows)),
            ),
        ];
        let total = |parts: &Vec<PlanPart>| parts.iter().map(|part| part.bytes).sum::<u64>();
        let stages = [iterating, reading, finishing].into_iter();
        let most = stages.max_by_key(total).unwrap_or_default();
        most.into_iter().chain(always).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::scalar::ScalarBackend;
    use crate::data::MemorySource;

    fn plan(n_features: usize, limit: Option<u64>) -> FitPlan {
        let table = ndarray::Array2::zeros((1000, n_features));
        let names: Vec<String> = (0..n_features).map(|n| format!("f{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let source = MemorySource::from_array(table.view(), &names).unwrap();
        FitPlan::new(&source, 5, &FitOptions::new(3), 1, &ScalarBackend, limit, Path::new("")).unwrap()
    }

    #[test]
    fn the_largest_stage_is_told_of() {
        let n_rows = 100_000_000;
        let parts = |n_features, held_bytes, weighted: bool, has_ids, n_numbers| {
            Parts {
                folded_bytes: n_rows * 5 * u64::from(!weighted),
                n_rows,
                n_refined: n_rows / 8,
                n_features,
                values_bytes: 3 * n_rows * n_features,
                read_bytes: 4 * n_rows * n_features,
                held_bytes,
                weighted,
                has_ids,
                n_numbers,
            }
            .of_the_largest_stage()
        };
        let bytes = |parts: &[PlanPart], what: &str| parts.iter().find(|part| part.what == what).map(|part| part.bytes);
        let wide = parts(40, 0, true, true, 1);
        assert_eq!(bytes(&wide, "values as they are read"), Some(n_rows * 160));
        assert_eq!(bytes(&wide, "weights"), Some(n_rows * 4));
        assert_eq!(bytes(&wide, "labels and runners-up"), None);
        assert_eq!(bytes(&wide, "keys of the ids"), Some(n_rows * 16));
        let narrow = parts(3, 0, false, false, 1);
        assert_eq!(bytes(&narrow, "prepared values"), None);
        assert_eq!(
            bytes(&narrow, "distances, and segments as they are told"),
            Some(n_rows * 20)
        );
        let mixed = parts(40, 9 * n_rows, false, false, 1);
        assert_eq!(bytes(&mixed, "columns held until they are prepared"), Some(n_rows * 9));
        assert_eq!(bytes(&mixed, "labels and runners-up"), None);
        let swept = parts(40, 9 * n_rows, false, false, 11);
        assert_eq!(bytes(&swept, "prepared values"), Some(n_rows * 120));
        assert_eq!(bytes(&swept, "labels and runners-up"), Some(n_rows * 8));
        assert_eq!(
            bytes(&swept, "the largest sample"),
            Some(n_rows / 8 * (120 + 16 + 8 + 12))
        );
        assert_eq!(bytes(&swept, "equal rows, where there are many"), Some(n_rows * 5));
        assert_eq!(bytes(&wide, "the largest sample"), None);
        assert_eq!(bytes(&swept, "fits that share their passes"), Some(n_rows * 120));
    }

    #[test]
    fn folded_rows_take_what_there_is_to_spare_or_nothing() {
        let n_rows = 10_000_000;
        let most = folded_bytes(n_rows, 3, u64::MAX);
        assert_eq!(most, 4 * n_rows as u64 + n_rows as u64 / 8 * (128 + 12 + 4));
        assert_eq!(folded_bytes(n_rows, 3, most - 1), most - 1);
        // The numbers of all rows, and nothing beside.
        assert_eq!(folded_bytes(n_rows, 3, 4 * n_rows as u64), 0);
        // Too few to look at.
        assert_eq!(folded_bytes(100_000, 3, u64::MAX), 0);
    }

    #[test]
    fn a_plan_adds_up() {
        let plan = plan(40, None);
        assert_eq!((plan.spilled_bytes, plan.n_sample, plan.n_tiles), (0, 1000, 16));
        assert_eq!(plan.peak_bytes, plan.parts.iter().map(|part| part.bytes).sum::<u64>());
        assert_eq!(plan.expected_bytes(), plan.peak_bytes);
        assert_eq!(
            (plan.device.resident_bytes, plan.device.streamed_bytes),
            (1024 * 40 * 3, 0)
        );
    }

    #[test]
    fn a_limit_sends_the_rest_to_disk_if_there_is_room() {
        let mut held = plan(400, Some(1 << 20));
        assert_eq!(held.expected_bytes(), 1 << 20);
        let beyond = held.peak_bytes - PROGRAM_BYTES - sys::resident_budget(1 << 20);
        assert_eq!(held.spilled_bytes, beyond);
        held.free_disk_bytes = Some(beyond);
        assert!(held.check(Path::new("x")).is_ok());
        held.free_disk_bytes = Some(beyond - 1);
        assert!(matches!(held.check(Path::new("x")), Err(Error::NoRoomToSpill { .. })));
        held.n_features[0] -= 1;
        assert!(held.check(Path::new("x")).is_ok(), "a feature less, and it fits");
    }
}
