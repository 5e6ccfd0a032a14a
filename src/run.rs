//! Layer 6: a fit and its run directory, and the way back from one to the other.

mod changed;
mod rename;
mod sweep;

pub use changed::{Difference, Reading, Scoring, difference_of_run, difference_of_score, difference_of_sweep};
pub use rename::rename;
pub use sweep::write_sweep;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use crate::artifact::{
    AssignmentTable, ConfigRecord, DeviceRecord, InitRecord, InputRecord, LevelsRecord, OptionsRecord, PartRecord,
    Provenance, RunDir, RunRecord, SeedingRecord, SegmentRecord, Selection, SourceRecord, SplitRecord, StageRecord,
    TimeRecord, model_file, names, write_profile,
};
use crate::backend::cpu::CpuBackend;
use crate::cells::MinCell;
use crate::data::{BatchSource, FileSource, InputFile};
use crate::error::{Error, Result, told};
use crate::features::Preparation;
use crate::fit::{Fit, FitOptions, InitCentroids, InitChoice, Nested};
use crate::kmeans::StopReason;
use crate::model::Model;
use crate::nested::{Node, Tried};
use crate::report::{Report, profile_record};
use crate::select::SweepOptions;
use crate::tiles::MAX_CHUNK_BYTES;

/// What a run directory says besides the fit itself.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// When the run began, as RFC 3339.
    pub created: String,
    /// The same for measuring.
    pub started: Instant,
    /// DATA as it was given.
    pub data: Vec<String>,
    /// The configuration file that options were taken from, where there was one.
    pub config: Option<ConfigRecord>,
    /// The files that were read.
    pub inputs: Vec<InputRecord>,
    /// How they became a table.
    pub source: SourceRecord,
    /// What the fit ran on.
    pub device: DeviceRecord,
    /// Threads of the CPU.
    pub threads: usize,
}

/// Writes everything but the record into `dir`, then the record; the directory is there once this has returned.
///
/// `selection` says how the number of clusters was chosen, where it was. `stop` is asked a last time before the directory gets its name.
///
/// # Errors
/// Those of writing and of reading the ids; whatever `stop` says.
pub fn write(
    dir: RunDir,
    source: &dyn BatchSource,
    fit: &Fit,
    options: &FitOptions,
    selection: Option<Selection>,
    context: &RunContext,
    stop: impl FnOnce() -> Result<()>,
) -> Result<RunRecord> {
    let started = Instant::now();
    dir.write(names::MODEL, |out| model_file::write(out, &fit.model))?;
    let host = CpuBackend::new(context.threads)?;
    dir.write(names::ASSIGNMENTS, |out| {
        let table = AssignmentTable {
            id_columns: &fit.id_columns,
            carried: &fit.carried_columns,
            paths: fit.nested.as_ref().map(|nested| &nested.paths),
            ..AssignmentTable::new(source, &fit.assignment, &fit.model.confidence)
        };
        let provenance = Provenance::of_fit(fit.summary.labels_hash.clone(), model_file::hash(&fit.model)?);
        host.install(|| table.write(out, &provenance))
    })?;
    dir.write(names::PROFILE, |out| {
        write_profile(out, &fit.profile, fit.nested.as_ref().map(|nested| &nested.nodes[..]))
    })?;
    let mut record = record(fit, options, context, started.elapsed().as_secs_f64())?;
    record.selection = selection;
    if fit.summary.stop_reason == StopReason::MaxTime {
        // With as many at most the run can be made again.
        record.options.max_iter = fit.summary.n_iter;
    }
    let content = profile_record(fit, options.min_cell);
    dir.write(names::PROFILE_RECORD, |out| content.write(out))?;
    let report = Report::new(&record, &content, &fit.model)?;
    for (name, text) in [(names::REPORT, report.html()), (names::REPORT_SHORT, report.markdown())] {
        dir.write(name, |out| {
            out.write_all(text.as_bytes()).map_err(|error| out.error(error))
        })?;
    }
    dir.write(names::RUN, |out| record.write(out))?;
    stop()?;
    dir.commit()?;
    Ok(record)
}

fn record(fit: &Fit, options: &FitOptions, context: &RunContext, write_s: f64) -> Result<RunRecord> {
    let summary = &fit.summary;
    let elapsed_s = context.started.elapsed().as_secs_f64();
    let stage = |stage: &str, elapsed_s| StageRecord {
        stage: stage.into(),
        elapsed_s,
    };
    let mut stages: Vec<StageRecord> = summary
        .stages
        .iter()
        .map(|&(name, elapsed_s)| stage(name, elapsed_s))
        .collect();
    stages.push(stage("write", write_s));
    let columns = fit.columns.iter().map(serde_json::to_value).collect::<Result<_, _>>();
    Ok(RunRecord {
        format: RunRecord::FORMAT.into(),
        version: RunRecord::VERSION,
        kohort_version: env!("CARGO_PKG_VERSION").into(),
        labels_hash: summary.labels_hash.clone(),
        data: context.data.iter().map(|name| told(name).into_owned()).collect(),
        inputs: context.inputs.clone(),
        source: context.source.clone(),
        n_rows: summary.n_rows as u64,
        n_features: summary.n_features,
        n_clusters: summary.n_clusters,
        n_segments: summary.n_segments,
        config: context.config.clone(),
        options: options_record(options, &fit.model.preparation)?,
        selection: None,
        columns: columns.map_err(|source| Error::Internal(format!("the columns cannot be written: {source}")))?,
        device: context.device.clone(),
        threads: context.threads,
        n_iter: summary.n_iter,
        stop_reason: summary.stop_reason,
        inertia: summary.inertia,
        inertia_exact: summary.inertia_exact.to_string(),
        n_unassigned: summary.n_unassigned,
        n_trimmed: summary.n_trimmed,
        n_doubtful: summary.n_doubtful,
        share_doubtful: summary.n_doubtful as f64 / (summary.n_assigned as f64).max(1.0),
        n_audited: summary.n_audited,
        seeding: summary.seeding.as_ref().map(|seeding| SeedingRecord {
            n_sample: seeding.n_sample as u64,
            n_refined: seeding.n_refined.map(|rows| rows as u64),
            n_init: seeding.n_init,
            best: seeding.best,
        }),
        time: TimeRecord {
            created: context.created.clone(),
            stages,
            elapsed_s,
            rows_per_s: summary.n_rows as f64 / elapsed_s.max(f64::MIN_POSITIVE),
        },
        peak_memory_bytes: crate::sys::peak_memory_bytes(),
        warnings: fit.warnings.clone(),
        segments: segment_records(fit),
        outcomes: fit.outcomes.clone(),
        boundary: fit.boundary.clone(),
        n_outliers: fit.n_outliers.0.clone(),
        n_outliers_of_all: Some(fit.n_outliers.1),
        levels: fit.nested.as_ref().map(levels_record),
    })
}

fn levels_record(nested: &Nested) -> LevelsRecord {
    let [inertia_unit, weight_step] = nested.units;
    let split = |tried: &Tried| {
        let parts = nested
            .nodes
            .iter()
            .filter(|node| node.path.parent().as_ref() == Some(&tried.path));
        let part = |(node, &weight): (&Node, &u64)| PartRecord {
            path: node.path.clone(),
            name: node.name.clone(),
            // Parts of fewer rows than are told of are not made.
            n_rows: node.profile.count.about(),
            share: node.profile.count.about() as f64 / (nested.paths.of_row.len() as f64).max(1.0),
            weight: weight as f64 * weight_step,
            outcomes: node.outcomes.clone(),
        };
        SplitRecord {
            path: tried.path.clone(),
            strength: tried.strength,
            reasons: tried.reasons.clone(),
            share_explained: tried.share_explained,
            inertia: tried.inertia.map(|inertia| inertia as f64 * inertia_unit),
            inertia_exact: tried.inertia.map(|inertia| inertia.to_string()),
            n_iter: tried.n_iter,
            parts: parts.zip(&tried.weights).map(part).collect(),
        }
    };
    LevelsRecord {
        paths_hash: nested.paths_hash.clone(),
        n_leaves: nested.paths.leaves.len(),
        splits: nested.tried.iter().map(split).collect(),
    }
}

fn options_record(options: &FitOptions, preparation: &Preparation) -> Result<OptionsRecord> {
    let init = match &options.init {
        InitChoice::KMeansPlusPlus => InitRecord::KMeansPlusPlus,
        InitChoice::Random => InitRecord::Random,
        InitChoice::Centroids(given) => {
            let InitCentroids { path, columns, rows } = given.of_features(preparation)?;
            let path = path.map(|path| path.to_string_lossy().into_owned());
            InitRecord::Centroids { path, columns, rows }
        }
    };
    Ok(options_with(options, init))
}

/// What is recorded of options, with these first centroids.
fn options_with(options: &FitOptions, init: InitRecord) -> OptionsRecord {
    OptionsRecord {
        features: options.features.clone(),
        n_clusters: options.n_clusters,
        init,
        n_init: options.n_init,
        max_iter: options.max_iter,
        tol: options.tol,
        seed: options.seed,
        trim: options.trim,
        unassign_outliers: options.unassign_outliers,
        levels: options.levels.clone(),
        min_cell: options.min_cell.get(),
    }
}

fn segment_records(fit: &Fit) -> Vec<SegmentRecord> {
    let weights = &fit.summary.segment_weights;
    let segments = fit.profile.segments.iter().zip(weights).zip(&fit.model.segment_names);
    segments
        .map(|((segment, &weight), name)| SegmentRecord {
            segment: segment.segment,
            name: name.name.clone(),
            name_is_draft: name.is_draft,
            n_rows: segment.count,
            share: segment.share,
            weight: segment.count.exact().map(|_| weight),
        })
        .collect()
}

/// What decides the result of a fit or a sweep, for a [`crate::artifact::Checkpoint`]: the files by their hashes, how they
/// are read, and options.
///
/// # Errors
/// Those of reading the files.
pub fn job_of(source: &FileSource, options: &FitOptions, select: Option<&SweepOptions>) -> Result<serde_json::Value> {
    let files = source.fingerprints()?;
    let of_file = |file: &InputFile| match &file.xxh3_128 {
        Some(hash) => serde_json::json!([file.bytes, hash]),
        None => serde_json::json!([file.bytes, file.etag, file.path]),
    };
    let files: Vec<_> = files.iter().map(of_file).collect();
    let select = select.map(|select| (&select.k, &select.prefer, select.min_share, select.n_resamples));
    Ok(serde_json::json!({
        "input_files": files,
        "reading": SourceRecord::new(source),
        "columns": options.features,
        "numbers_of_segments": (options.n_clusters, select),
        "first_centroids": (&options.init, options.n_init),
        "iterations": (options.max_iter, options.tol),
        "seed": options.seed,
        "trim": options.trim,
        "outliers": options.unassign_outliers,
        "levels": options.levels,
    }))
}

/// The options that make a recorded run again.
#[must_use]
pub fn options(record: &RunRecord) -> FitOptions {
    let OptionsRecord {
        features,
        n_clusters,
        init,
        n_init,
        max_iter,
        tol,
        seed,
        trim,
        unassign_outliers,
        levels,
        min_cell,
    } = record.options.clone();
    FitOptions {
        features,
        n_clusters,
        init: match init {
            InitRecord::KMeansPlusPlus => InitChoice::KMeansPlusPlus,
            InitRecord::Random => InitChoice::Random,
            InitRecord::Centroids { path, columns, rows } => InitChoice::Centroids(InitCentroids {
                path: path.map(PathBuf::from),
                columns,
                rows,
            }),
        },
        n_init,
        max_iter,
        tol,
        seed,
        trim,
        unassign_outliers,
        levels,
        chunk_bytes: MAX_CHUNK_BYTES,
        threads: 0,
        min_cell: MinCell::new(min_cell),
    }
}

/// Something that a run and its repetition must agree on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What: `labels_hash`, `inertia`, `centroids`, `iterations`.
    pub what: &'static str,
    /// In the run.
    pub expected: String,
    /// Now.
    pub found: String,
    /// Whether they are the same, bit for bit.
    pub matches: bool,
}

/// Holds a fit against the record and the model of an earlier run; nothing is compared with a tolerance.
#[must_use]
pub fn compare(record: &RunRecord, model: &Model, fit: &Fit) -> Vec<Check> {
    let check = |what, expected: String, found: String| Check {
        what,
        matches: expected == found,
        expected,
        found,
    };
    let summary = &fit.summary;
    let (old, new) = (&model.centroids, &fit.model.centroids);
    let shape = |centroids: &crate::tiles::Centroids| {
        format!(
            "{} x {}, hash {}",
            centroids.n_clusters(),
            centroids.n_features(),
            centroids_hash(centroids)
        )
    };
    let mut checks = vec![
        check("labels_hash", record.labels_hash.clone(), summary.labels_hash.clone()),
        check(
            "inertia",
            record.inertia_exact.clone(),
            summary.inertia_exact.to_string(),
        ),
        Check {
            what: "centroids",
            matches: old == new,
            expected: shape(old),
            found: shape(new),
        },
        check("iterations", record.n_iter.to_string(), summary.n_iter.to_string()),
    ];
    if let (Some(levels), Some(nested)) = (&record.levels, &fit.nested) {
        let inertia = |inertia: u128| {
            if inertia == 0 {
                String::new()
            } else {
                inertia.to_string()
            }
        };
        let then = levels
            .splits
            .iter()
            .filter_map(|split| split.inertia_exact.as_ref()?.parse::<u128>().ok());
        let now = nested.tried.iter().filter_map(|tried| tried.inertia);
        let splits = |model: &Model| format!("{} splits, hash {}", model.splits.len(), splits_hash(model));
        checks.extend([
            check("paths_hash", levels.paths_hash.clone(), nested.paths_hash.clone()),
            check("inertia of parts", inertia(then.sum()), inertia(now.sum())),
            Check {
                what: "parts",
                matches: model.splits == fit.model.splits,
                expected: splits(model),
                found: splits(&fit.model),
            },
        ]);
    }
    checks
}

/// As [`centroids_hash`], of all splits.
fn splits_hash(model: &Model) -> String {
    let hashes = model
        .splits
        .iter()
        .map(|split| format!("{} {}\n", split.path, centroids_hash(&split.centroids)));
    format!(
        "{:08x}",
        xxhash_rust::xxh3::xxh3_64(hashes.collect::<String>().as_bytes()) >> 32
    )
}

/// Eight hexadecimal digits that tell centroids apart for people; what counts is their equality.
fn centroids_hash(centroids: &crate::tiles::Centroids) -> String {
    let values = (0..centroids.n_clusters()).flat_map(|cluster| centroids.row(cluster).iter());
    let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
    format!("{:08x}", xxhash_rust::xxh3::xxh3_64(&bytes) >> 32)
}
