//! `kohort fit`: data in, a run directory and a short table of segments out.

use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};

use kohort::Result;
use kohort::artifact::{InputRecord, RunDir, RunRecord, check_output_dir};
use kohort::data::ParquetSource;
use kohort::features::Role;
use kohort::fit::{Fit, Observed, fit};
use kohort::kmeans::{Event, Observer, StopReason};
use kohort::run::{self, RunContext};
use kohort::segments::SegmentProfile;

use super::args::{FitArgs, InitArg};
use super::output::{Align, Output, Table, count, number, percent, plural, seconds, stderr_width, stdout_width};
use super::plan::{self, Device};
use super::progress::{Progress, check_interrupt};

/// Features named for each segment.
const TOLD_FEATURES: usize = 3;

pub(crate) fn run(args: &FitArgs, output: Output) -> Result<ExitCode> {
    let started = Instant::now();
    let created = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    check_output_dir(&args.out, args.overwrite)?;
    let options = plan::fit_options(args)?;
    let source = plan::open(&args.data, &args.compute)?;
    let Device {
        backend,
        record: device,
    } = plan::device(&args.compute, plan::work(&source, &options), output)?;
    let progress = Progress::new(&args.talk, output);
    let fitted = fit(&source, &*backend, &options, &progress);
    progress.clear();
    let fitted = fitted?;
    show_columns(&fitted, output);
    progress.warn(&fitted.warnings);
    let context = RunContext {
        created,
        started,
        data: args.data.clone(),
        init_path: match &args.kmeans.init {
            InitArg::File(path) => Some(path.to_string_lossy().into_owned()),
            InitArg::KMeansPlusPlus | InitArg::Random => None,
        },
        inputs: inputs(&source)?,
        device,
        threads: plan::threads(&args.compute),
    };
    progress.event(Event::Stage("write"));
    let observed = Observed {
        source: &source,
        observer: &progress,
    };
    let dir = RunDir::create(&args.out, args.overwrite)?;
    let record = run::write(dir, &observed, &fitted, &options, &context, check_interrupt);
    progress.clear();
    show(&fitted, &record?, args, output)?;
    Ok(ExitCode::SUCCESS)
}

/// What a record keeps of the input files.
pub(super) fn inputs(source: &ParquetSource) -> Result<Vec<InputRecord>> {
    let files = source.fingerprints()?;
    Ok(files.iter().map(InputRecord::new).collect())
}

fn show(fit: &Fit, record: &RunRecord, args: &FitArgs, output: Output) -> Result<()> {
    output.note(&summary_line(record));
    for stage in &record.time.stages {
        output.detail(&format!("  {:8} {}", stage.stage, seconds(stage.elapsed_s)));
    }
    if let Some(bytes) = record.peak_memory_bytes {
        output.detail(&format!("  peak memory {} MiB", count(bytes >> 20)));
    }
    output.data(&segment_table(fit).render(stdout_width()))?;
    output.note(&format!(
        "run written to {}",
        kohort::error::escape(&args.out.to_string_lossy())
    ));
    output.object(&object(fit, record, args))
}

fn summary_line(record: &RunRecord) -> String {
    let stopped = match record.stop_reason {
        StopReason::Converged => "converged",
        StopReason::Tolerance => "centroids within --tol",
        StopReason::MaxIter => "stopped at --max-iter",
    };
    format!(
        "{}, {}, {}: {} ({stopped}), inertia {}, {}",
        plural(record.n_rows, "row"),
        plural(record.n_features as u64, "feature"),
        plural(record.n_segments as u64, "segment"),
        plural(record.n_iter as u64, "iteration"),
        number(record.inertia),
        seconds(record.time.elapsed_s),
    )
}

/// Role and treatment of each column, on stderr.
fn show_columns(fit: &Fit, output: Output) {
    use Align::{Left, Right};
    let heads = [("column", Left), ("role", Left), ("type", Left), ("missing", Right)];
    let mut table = Table::new(&heads, Some("treatment"));
    for column in &fit.columns {
        let role = match column.role {
            Role::Feature => "feature",
            Role::Id => "id",
            Role::Weight => "weight",
            Role::Ignored => "ignored",
        };
        let missing = if column.n_missing == 0 {
            String::new()
        } else {
            count(column.n_missing)
        };
        let cells = [column.column.clone(), role.into(), column.data_type.clone(), missing];
        let mut treatment: Vec<String> = column.reason.iter().cloned().collect();
        treatment.extend(Some(column.treatment.clone()).filter(|text| !text.is_empty()));
        treatment.extend(column.fill.map(|fill| format!("missing taken as {}", number(fill))));
        table.row(&cells, &treatment);
    }
    output.note(&table.render(stderr_width()));
}

fn segment_table(fit: &Fit) -> Table {
    let heads = [
        ("segment", Align::Right),
        ("size", Align::Right),
        ("share", Align::Right),
    ];
    let mut table = Table::new(
        &heads,
        Some("set apart by (mean, difference to all in standard deviations)"),
    );
    for segment in &fit.profile.segments {
        let cells = [
            segment.segment.to_string(),
            count(segment.count),
            percent(segment.share),
        ];
        let told: Vec<String> = set_apart(segment)
            .map(|(feature, mean, sd)| format!("{feature} {} ({sd:+.2})", number(mean)))
            .collect();
        table.row(&cells, &told);
    }
    table
}

/// Name, mean and difference of the features that set a segment apart most.
fn set_apart(segment: &SegmentProfile) -> impl Iterator<Item = (&str, f64, f64)> {
    segment
        .distinguishing()
        .into_iter()
        .take(TOLD_FEATURES)
        .filter_map(|(name, sd)| {
            let feature = segment.features.iter().find(|feature| feature.feature == name)?;
            Some((name, feature.mean?, sd))
        })
}

fn object(fit: &Fit, record: &RunRecord, args: &FitArgs) -> Value {
    let segments = fit.profile.segments.iter().map(|segment| {
        let apart = set_apart(segment)
            .map(|(feature, mean, sd)| json!({ "feature": feature, "mean": mean, "difference_sd": sd }));
        json!({
            "segment": segment.segment,
            "n_rows": segment.count,
            "share": segment.share,
            "set_apart_by": apart.collect::<Vec<_>>(),
        })
    });
    json!({
        "run": args.out.to_string_lossy(),
        "labels_hash": record.labels_hash,
        "n_rows": record.n_rows,
        "n_features": record.n_features,
        "n_clusters": record.n_clusters,
        "n_segments": record.n_segments,
        "n_iter": record.n_iter,
        "stop_reason": record.stop_reason,
        "inertia": record.inertia,
        "device": record.device,
        "threads": record.threads,
        "elapsed_s": record.time.elapsed_s,
        "rows_per_s": record.time.rows_per_s,
        "peak_memory_bytes": record.peak_memory_bytes,
        "segments": segments.collect::<Vec<_>>(),
        "columns": record.columns,
        "warnings": record.warnings,
    })
}
