//! `run.json`: what a run was given, on what it ran and what came out; enough to make it again and compare.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::json;
use super::levels_record::LevelsRecord;
use super::{OutFile, Selection, SourceRecord, names};
use crate::cells::{Count, MIN_CELL};
use crate::data::{InputFile, Known, is_remote};
use crate::error::{Error, Result};
use crate::features::FeatureOptions;
use crate::kmeans::StopReason;
use crate::nested::{SplitRule, check_rules};
use crate::segments::{BoundaryReport, OutcomeProfile};

const FORMAT: &str = "kohort-run";
const VERSION: u64 = 1;

/// A run, as `run.json` holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// Always `kohort-run`.
    pub format: String,
    /// Version of this format.
    pub version: u64,
    /// The program that made the run.
    pub kohort_version: String,
    /// Over id (or row number) and segment of every row, see [`crate::segments::labels_hash`].
    pub labels_hash: String,
    /// DATA as it was given: files, folders, globs.
    pub data: Vec<String>,
    /// The files behind it, in the order read.
    pub inputs: Vec<InputRecord>,
    /// How they became a table, where they were not read as they are.
    #[serde(default, skip_serializing_if = "SourceRecord::is_plain")]
    pub source: SourceRecord,
    /// Rows.
    pub n_rows: u64,
    /// Features used.
    pub n_features: usize,
    /// Clusters asked for.
    pub n_clusters: usize,
    /// Segments found.
    pub n_segments: usize,
    /// The configuration file that options were taken from, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigRecord>,
    /// Everything that decides the result.
    pub options: OptionsRecord,
    /// How the number of clusters was chosen; none where it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// Role and treatment of each column of the data.
    pub columns: Vec<serde_json::Value>,
    /// What it ran on.
    pub device: DeviceRecord,
    /// Threads of the CPU.
    pub threads: usize,
    /// Iterations over all rows.
    pub n_iter: usize,
    /// Why they ended.
    pub stop_reason: StopReason,
    /// Inertia in units of the scaled features (and of the integer weights' step).
    pub inertia: f64,
    /// The same without rounding, in centroid units squared times integer weights: a whole number in decimal digits.
    pub inertia_exact: String,
    /// Outliers that got no segment, and are in the size of none.
    #[serde(default = "none")]
    pub n_unassigned: Count,
    /// Rows that moved no centroid, and are not in the inertia; none where none were to be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_trimmed: Option<u64>,
    /// Rows that needed exact arithmetic, over all passes, equal ones once where passes go over them once; may differ
    /// between devices.
    pub n_doubtful: u64,
    /// Their share of the rows assigned, over all passes.
    pub share_doubtful: f64,
    /// Rows whose labels the host found again in exact integers, to see whether the device computes rightly; none where
    /// the host did it all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_audited: u64,
    /// How the first centroids were found; none where they were given.
    pub seeding: Option<SeedingRecord>,
    /// When and how fast: with the memory, all that differs when the run is made again on the same machine.
    pub time: TimeRecord,
    /// Most memory held; none where the system does not say.
    pub peak_memory_bytes: Option<u64>,
    /// What the user was told.
    pub warnings: Vec<String>,
    /// The segments in order of their number.
    pub segments: Vec<SegmentRecord>,
    /// Outcomes in each segment, with their intervals.
    #[serde(default)]
    pub outcomes: Vec<OutcomeProfile>,
    /// How the rows on a boundary were found, and how many there are; none with one segment, or in too few rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<BoundaryReport>,
    /// Rows of each segment that are outliers.
    #[serde(default)]
    pub n_outliers: Vec<Count>,
    /// Rows that are outliers, of all segments; none in files of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_outliers_of_all: Option<Count>,
    /// Segments of segments, where those were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<LevelsRecord>,
}

/// A configuration file: its name, not where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigRecord {
    /// The name of the file, without its folder.
    pub name: String,
    /// XXH3-128 of its bytes, 32 hexadecimal digits.
    pub xxh3_128: String,
}

impl ConfigRecord {
    /// Of the file at `path` with these bytes.
    #[must_use]
    pub fn new(path: &Path, bytes: &[u8]) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self {
            name: name.into_owned(),
            xxh3_128: format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes)),
        }
    }
}

/// One input file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputRecord {
    /// As it was found from DATA.
    pub path: String,
    /// The same from the root, for a run that is made again elsewhere.
    pub absolute_path: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub n_rows: u64,
    /// XXH3-128 of its bytes, 32 hexadecimal digits; none of an object that was read in parts and has an ETag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xxh3_128: Option<String>,
    /// The ETag of an object, where equal ones mean equal bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// Everything that decides the result besides the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionsRecord {
    /// Which columns play which part, and how features are scaled.
    pub features: FeatureOptions,
    /// Clusters asked for.
    pub n_clusters: usize,
    /// Where the first centroids come from.
    pub init: InitRecord,
    /// Restarts of the seeding.
    pub n_init: usize,
    /// Most iterations.
    pub max_iter: usize,
    /// When to stop early.
    pub tol: f64,
    /// Seed of the sample and of the restarts.
    pub seed: u64,
    /// The least number of rows that is told of; decides nothing about the segments.
    #[serde(default = "default_min_cell")]
    pub min_cell: u64,
    /// The share of the rows that moved no centroid.
    #[serde(default, skip_serializing_if = "is_none_trimmed")]
    pub trim: f64,
    /// Whether outliers got no segment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unassign_outliers: bool,
    /// Which segments are split again, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<SplitRule>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn none() -> Count {
    Count::Exact(0)
}

fn default_min_cell() -> u64 {
    MIN_CELL
}

fn is_none_trimmed(trim: &f64) -> bool {
    *trim == 0.0
}

/// Where the first centroids come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", deny_unknown_fields)]
pub enum InitRecord {
    /// Greedy k-means++ on the sample.
    #[serde(rename = "k-means++")]
    KMeansPlusPlus,
    /// Distinct rows of the sample.
    #[serde(rename = "random")]
    Random,
    /// These, in original units.
    #[serde(rename = "centroids")]
    Centroids {
        /// The file they were read from; it is not needed again.
        path: Option<String>,
        /// One name per coordinate.
        columns: Vec<String>,
        /// One list of coordinates per cluster.
        rows: Vec<Vec<f64>>,
    },
}

/// What a run ran on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRecord {
    /// As asked for: `auto`, `cpu`, `gpu`, `gpu:N`, `gpu:N,M`, `gpu:all`.
    pub asked: String,
    /// `scalar`, `cpu` or `gpu`.
    pub backend: String,
    /// Threads and instruction set, or the adapter; of several, the number of each.
    pub description: String,
    /// Why this one.
    pub reason: String,
}

/// How the first centroids were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedingRecord {
    /// Rows in the sample.
    pub n_sample: u64,
    /// Rows of the largest sample that was iterated over between the seeding and all rows, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_refined: Option<u64>,
    /// Restarts made.
    pub n_init: usize,
    /// The restart that won, from 0.
    pub best: usize,
}

/// When a run was made, and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRecord {
    /// When the run began, as RFC 3339.
    pub created: String,
    /// Seconds per stage, in order.
    pub stages: Vec<StageRecord>,
    /// Seconds in all, up to the writing of this record.
    pub elapsed_s: f64,
    /// Rows of the data per second of `elapsed_s`.
    pub rows_per_s: f64,
}

/// One stage of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRecord {
    /// `learn`, `prepare`, `seed`, `iterate`, `assign`, `profile`, `write`.
    pub stage: String,
    /// Seconds.
    pub elapsed_s: f64,
}

/// One segment in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentRecord {
    /// Its number, from 1.
    pub segment: i32,
    /// Its name, drafted from what sets it apart.
    #[serde(default)]
    pub name: String,
    /// Whether the name is a draft: nobody has given it another one yet.
    #[serde(default = "yes")]
    pub name_is_draft: bool,
    /// Rows in it.
    pub n_rows: Count,
    /// Share of all rows; none where the number is not told.
    pub share: Option<f64>,
    /// Its weight in units of the weight column; the number of rows where the data has no weights. None where the number
    /// of rows is not told.
    pub weight: Option<f64>,
}

fn yes() -> bool {
    true
}

impl InputRecord {
    /// The record of an input file.
    #[must_use]
    pub fn new(file: &InputFile) -> Self {
        let given = PathBuf::from(&file.path);
        // What stdin gave is nowhere, and a URL is the same everywhere.
        let is_file = file.path != "-" && !is_remote(&given);
        let absolute = is_file
            .then(|| std::path::absolute(&given).ok())
            .flatten()
            .unwrap_or(given);
        Self {
            path: file.path.clone(),
            absolute_path: absolute.to_string_lossy().into_owned(),
            bytes: file.bytes,
            n_rows: file.n_rows,
            xxh3_128: file.xxh3_128.clone(),
            etag: file.etag.clone(),
        }
    }

    /// What tells whether a file is the one that was read.
    #[must_use]
    pub fn known(&self) -> Known<'_> {
        Known {
            path: &self.path,
            bytes: self.bytes,
            xxh3_128: self.xxh3_128.as_deref(),
            etag: self.etag.as_deref(),
        }
    }

    /// Where the file is now: under the path as given if something is there, else under the absolute one.
    #[must_use]
    pub fn locate(&self) -> PathBuf {
        let given = PathBuf::from(&self.path);
        if is_remote(&given) || given.exists() {
            given
        } else {
            PathBuf::from(&self.absolute_path)
        }
    }
}

impl RunRecord {
    /// What [`RunRecord::format`] holds.
    pub const FORMAT: &'static str = FORMAT;
    /// What [`RunRecord::version`] holds.
    pub const VERSION: u64 = VERSION;

    /// Writes the record.
    ///
    /// # Errors
    /// Those of writing; [`Error::Internal`] where the record contradicts itself.
    pub fn write(&self, out: &mut OutFile) -> Result<()> {
        self.check()
            .map_err(|reason| Error::Internal(format!("the record of the run is wrong: {reason}")))?;
        json::write(out, self)
    }

    /// Reads a record from its file, or from the run directory that holds it.
    ///
    /// # Errors
    /// [`Error::ArtifactVersion`] for a version this program does not know, [`Error::ArtifactInvalid`] for anything
    /// else that is not as it must be, [`Error::NotFound`] and [`Error::Io`].
    pub fn load(path: &Path) -> Result<Self> {
        let path = json::file_in(path, names::RUN);
        let record: Self = json::read(&path, FORMAT, VERSION)?;
        record.check().map_err(|reason| json::invalid(&path, reason))?;
        Ok(record)
    }

    /// The inertia without rounding.
    #[must_use]
    pub fn inertia_exact(&self) -> Option<u128> {
        self.inertia_exact.parse().ok()
    }

    /// Everything that the types do not rule out.
    fn check(&self) -> Result<(), String> {
        if (self.format.as_str(), self.version) != (FORMAT, VERSION) {
            return Err("format or version are not this program's".into());
        }
        let is_hash = |text: &str| text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let inputs = self.inputs.iter().filter_map(|input| input.xxh3_128.as_ref());
        let config = self.config.iter().map(|config| &config.xxh3_128);
        if !is_hash(&self.labels_hash) || !inputs.chain(config).all(|hash| is_hash(hash)) {
            return Err("a hash is not 32 hexadecimal digits".into());
        }
        let is_unknown = |input: &InputRecord| input.xxh3_128.is_none() && input.etag.is_none();
        if self.inputs.iter().any(is_unknown) {
            return Err("a file has neither a hash nor an ETag".into());
        }
        if self.inertia_exact().is_none() {
            return Err("inertia_exact is not a whole number".into());
        }
        let stages = self.time.stages.iter().map(|stage| stage.elapsed_s);
        let numbers = [
            self.inertia,
            self.share_doubtful,
            self.time.elapsed_s,
            self.time.rows_per_s,
            self.options.tol,
        ];
        if !numbers.into_iter().chain(stages).all(f64::is_finite) {
            return Err("a number is not finite".into());
        }
        let in_order = self
            .segments
            .iter()
            .zip(1..)
            .all(|(segment, number)| segment.segment == number);
        if !self
            .boundary
            .as_ref()
            .is_none_or(|boundary| (0.0..=1.0).contains(&boundary.margin))
        {
            return Err("the margin of the boundary is not between 0 and 1".into());
        }
        if self.segments.len() != self.n_segments || !in_order {
            return Err(format!("it does not list {} segments in order", self.n_segments));
        }
        let sum = |end: usize| {
            let ends = self.segments.iter().map(|segment| segment.n_rows.bounds()[end]);
            ends.fold(self.n_unassigned.bounds()[end], u64::saturating_add)
        };
        let all_valid = self.segments.iter().all(|segment| segment.n_rows.is_valid());
        if !all_valid || !self.n_unassigned.is_valid() || !(sum(0)..=sum(1)).contains(&self.n_rows) {
            return Err(format!("its segments do not hold {} rows together", self.n_rows));
        }
        check_rules(&self.options.levels)?;
        if let Some(levels) = &self.levels {
            levels.check(&self.segments, self.outcomes.len())?;
        }
        self.source.check()?;
        self.options.init.check(self.n_features, self.options.n_clusters)
    }
}

impl InitRecord {
    fn check(&self, n_features: usize, n_clusters: usize) -> Result<(), String> {
        let Self::Centroids { columns, rows, .. } = self else {
            return Ok(());
        };
        let fits = |row: &Vec<f64>| row.len() == columns.len() && row.iter().all(|value| value.is_finite());
        if columns.len() < n_features || rows.len() != n_clusters || !rows.iter().all(fits) {
            return Err(format!(
                "the first centroids are not {n_clusters} rows of {n_features} finite numbers"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::artifact::{RunDir, write_atomic};

    fn options(init: InitRecord) -> OptionsRecord {
        OptionsRecord {
            features: FeatureOptions {
                id: vec!["customer".into()],
                ..FeatureOptions::default()
            },
            n_clusters: 2,
            init,
            n_init: 10,
            max_iter: 300,
            tol: 1e-4,
            seed: u64::MAX,
            trim: 0.125,
            unassign_outliers: true,
            levels: Vec::new(),
            min_cell: 11,
        }
    }

    fn input(path: &str) -> InputFile {
        InputFile {
            path: path.into(),
            bytes: 1234,
            n_rows: 10,
            xxh3_128: Some("f".repeat(32)),
            etag: None,
        }
    }

    fn boundary() -> BoundaryReport {
        BoundaryReport {
            margin: 0.05,
            least_share_flipped: 0.1,
            n_sample: 10,
            n_resamples: 8,
            deciles: vec![crate::segments::BoundaryDecile {
                margin: 0.5,
                n_rows: 10,
                share_flipped: 0.25,
            }],
            share: Some(0.1),
            share_of_segments: vec![None, Some(0.25)],
        }
    }

    fn record() -> RunRecord {
        let segment = |segment, n_rows: u64| SegmentRecord {
            segment,
            name: format!("High <{segment}>"),
            name_is_draft: true,
            n_rows: n_rows.into(),
            share: Some(n_rows as f64 / 10.0),
            weight: Some(n_rows as f64),
        };
        RunRecord {
            format: RunRecord::FORMAT.into(),
            version: RunRecord::VERSION,
            kohort_version: "0.1.0".into(),
            labels_hash: "0123456789abcdef".repeat(2),
            data: vec!["data/*.parquet".into()],
            inputs: vec![InputRecord::new(&input("data/a.parquet"))],
            source: SourceRecord::default(),
            n_rows: 10,
            n_features: 3,
            n_clusters: 2,
            n_segments: 2,
            config: Some(ConfigRecord::new(Path::new("some/where/kohort.toml"), b"k = 2")),
            options: options(InitRecord::KMeansPlusPlus),
            selection: None,
            columns: vec![serde_json::json!({"column": "age", "role": "feature"})],
            device: DeviceRecord {
                asked: "auto".into(),
                backend: "cpu".into(),
                description: "2 threads, AVX2".into(),
                reason: "no GPU".into(),
            },
            threads: 2,
            n_iter: 7,
            stop_reason: StopReason::Converged,
            inertia: 0.1 + 0.2,
            inertia_exact: u128::MAX.to_string(),
            n_unassigned: Count::Exact(0),
            n_trimmed: Some(1),
            n_doubtful: 1,
            share_doubtful: 1.0 / 70.0,
            n_audited: 10,
            seeding: Some(SeedingRecord {
                n_sample: 10,
                n_refined: None,
                n_init: 10,
                best: 3,
            }),
            time: TimeRecord {
                created: "2026-01-02T03:04:05Z".into(),
                stages: vec![StageRecord {
                    stage: "learn".into(),
                    elapsed_s: 0.25,
                }],
                elapsed_s: 0.5,
                rows_per_s: 20.0,
            },
            peak_memory_bytes: None,
            warnings: Vec::new(),
            segments: vec![segment(1, 6), segment(2, 4)],
            outcomes: Vec::new(),
            boundary: Some(boundary()),
            n_outliers: vec![Count::Between(1, 10), Count::Exact(0)],
            n_outliers_of_all: Some(Count::Between(1, 10)),
            levels: None,
        }
    }

    fn load_changed(change: impl FnOnce(&mut RunRecord)) -> Result<RunRecord> {
        let mut record = record();
        change(&mut record);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.json");
        fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
        RunRecord::load(&path)
    }

    #[test]
    fn a_record_reads_back_equal_from_its_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let mut record = record();
        for init in [
            InitRecord::KMeansPlusPlus,
            InitRecord::Random,
            InitRecord::Centroids {
                path: Some("first.parquet".into()),
                columns: ["a", "b", "c"].map(String::from).to_vec(),
                rows: vec![vec![0.1, 1e300, -3.0], vec![-1.0, 0.0, 5e-324]],
            },
        ] {
            record.options = options(init);
            let run = RunDir::create(&path, true).unwrap();
            run.write(names::RUN, |out| record.write(out)).unwrap();
            run.commit().unwrap();
            assert_eq!(RunRecord::load(&path).unwrap(), record);
            assert_eq!(RunRecord::load(&path.join(names::RUN)).unwrap(), record);
        }
        assert_eq!(record.inertia_exact(), Some(u128::MAX));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert!(load_changed(|_| {}).is_ok());
        type Change = (&'static str, fn(&mut RunRecord));
        let changes: [Change; 15] = [
            ("boundary", |record| record.boundary.as_mut().unwrap().margin = 2.0),
            ("format", |record| record.format = "kohort-model".into()),
            ("hash", |record| record.labels_hash = "xyz".into()),
            ("upper case", |record| record.labels_hash = "A".repeat(32)),
            ("input hash", |record| record.inputs[0].xxh3_128 = Some(String::new())),
            ("input known by nothing", |record| record.inputs[0].xxh3_128 = None),
            ("config hash", |record| {
                record.config = Some(ConfigRecord {
                    name: "kohort.toml".into(),
                    xxh3_128: "-".into(),
                });
            }),
            ("exact inertia", |record| record.inertia_exact = "-1".into()),
            ("not finite", |record| record.time.rows_per_s = f64::INFINITY),
            ("segments", |record| record.segments.truncate(1)),
            ("order", |record| record.segments.swap(0, 1)),
            ("rows", |record| record.n_rows = 11),
            ("overflow", |record| record.segments[0].n_rows = Count::Exact(u64::MAX)),
            ("bounds", |record| record.segments[0].n_rows = Count::Between(7, 6)),
            ("init", |record| {
                record.options.init = InitRecord::Centroids {
                    path: None,
                    columns: ["a", "b", "c"].map(String::from).to_vec(),
                    rows: vec![vec![1.0, 2.0, 3.0], vec![4.0, 5.0]],
                }
            }),
        ];
        for (what, change) in changes {
            assert!(
                matches!(load_changed(change), Err(Error::ArtifactInvalid { .. })),
                "{what}"
            );
        }
        let newer = load_changed(|record| record.version = 9);
        assert!(matches!(
            newer,
            Err(Error::ArtifactVersion {
                found: 9,
                supported: 1,
                ..
            })
        ));
    }

    #[test]
    fn a_wrong_record_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        let mut record = record();
        record.time.elapsed_s = f64::NAN;
        assert!(write_atomic(&path, false, |out| record.write(out)).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn an_input_is_found_from_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        fs::write(&path, "x").unwrap();
        let mut moved = InputRecord::new(&input(path.to_str().unwrap()));
        moved.path = "no/such/a.parquet".into();
        assert_eq!(moved.locate(), path);
        let relative = InputRecord::new(&input("data/a.parquet"));
        assert!(Path::new(&relative.absolute_path).is_absolute());
    }
}
