//! `kohort fit`: data in, a run directory and a short table of segments out.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};

use kohort::artifact::{
    Checkpoint, Claim, DeviceRecord, RunDir, RunRecord, Selection, SourceRecord, check_carried_columns,
    check_output_dir,
};
use kohort::cells::{Count, MinCell};
use kohort::data::{BatchSource, FileSource, SourceOptions};
use kohort::features::{candidate_columns, carried_columns, check_columns};
use kohort::fit::{Fit, FitOptions, Observed, fit, fit_auto};
use kohort::kmeans::{Event, Observer, StopReason};
use kohort::report::{mean, rows, sd, share, shares};
use kohort::run::{self, RunContext};
use kohort::segments::{Difference, OutcomeFigures, SegmentProfile, set_apart};
use kohort::{Error, Result};

use super::args::{ComputeArgs, FitArgs};
use super::changed::Standing;
use super::columns;
use super::config;
use super::dry_run;
use super::gates::GateArgs;
use super::levels;
use super::long::{LongJob, tell_of_checkpoint};
use super::memory::Limit;
use super::output::{
    Align, Output, Table, count, number, percent, plural, rows_in_words, seconds, shorten, show_stages, stderr_width,
    stdout_width,
};
use super::plan::{self, Device};
use super::progress::{Progress, check_interrupt};
use super::reading::{self, ReadArgs};
use super::sweep;

/// Features named for each segment.
const TOLD_FEATURES: usize = 3;

pub(crate) fn run(args: &FitArgs, limit: &Limit, output: Output) -> Result<ExitCode> {
    let begun = now();
    plan::check_folder(&args.out)?;
    let overwrite = args.overwrite || args.if_changed;
    if !args.if_changed {
        check_output_dir(&args.out, overwrite)?;
    }
    let select = plan::select_options(args)?;
    let mut options = plan::fit_options(args, select.as_ref())?;
    options.min_cell = MinCell::new(args.privacy.min_cell);
    if args.if_changed {
        let standing = Standing {
            out: &args.out,
            data: &args.data,
            source: &args.read.options(&options.features.id)?,
            output,
        };
        if let Some(code) = standing.of_run(&options, select.as_ref())? {
            return Ok(code);
        }
        check_output_dir(&args.out, overwrite)?;
    }
    let _claim = Claim::new(&args.out)?;
    let source = open(&args.data, &args.read, &args.gates, &options, output)?;
    check_carried_columns(source.schema(), &carried_columns(source.schema(), &options.features)?)?;
    levels::check_columns(&source, &options)?;
    let device = plan::device(&args.compute, plan::work(&source, &options), output)?;
    let plan = dry_run::plan(
        &source,
        &options,
        select.as_ref().map_or(1, |select| select.k.clone().count()),
        &device,
        limit,
    )?;
    if args.dry_run {
        dry_run::show(&plan, limit, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    dry_run::tell(&plan, limit, output);
    let Device {
        backend,
        record: device,
    } = device;
    let checkpoint = args.long.open(&source, &options, select.as_ref(), output)?;
    let progress = Progress::new(&args.talk, output);
    let job = LongJob {
        progress: &progress,
        checkpoint: checkpoint.as_ref(),
        deadline: args.time.deadline(begun.1),
    };
    let fitted = match &select {
        None => fit(&source, &*backend, &options, &job).map(|fitted| (fitted, None)),
        Some(select) => fit_auto(&source, &*backend, &options, select, &job)
            .map(|(fitted, sweep)| (fitted, Some(Selection::new(select, sweep)))),
    };
    progress.clear();
    let (fitted, selection) = fitted
        .map_err(|error| tell_of_checkpoint(error, checkpoint.as_ref(), output))
        .map_err(|error| plan::explain_init(error, args))?;
    if let Some(selection) = &selection {
        options = FitOptions {
            n_clusters: selection.sweep.decision.k,
            ..options
        };
    }
    output.note(&columns::text(&fitted, stderr_width()));
    progress.warn(&fitted.warnings);
    let context = context(begun, &args.data, &source, device, &args.compute)?;
    let finished = Finished {
        fit: &fitted,
        options: &options,
        source: &source,
        context: &context,
    };
    finished.write(selection, &args.out, overwrite, &progress, output)?;
    checkpoint.map_or(Ok(()), Checkpoint::remove)?;
    Ok(ExitCode::SUCCESS)
}

/// DATA as one table that can be fitted.
pub(super) fn open(
    data: &[String],
    read: &ReadArgs,
    gates: &GateArgs,
    options: &FitOptions,
    output: Output,
) -> Result<FileSource> {
    let read_as = SourceOptions {
        decoded: read.check_apart(data)?,
        ..read.options(&options.features.id)?
    };
    let source = reading::open(data, read_as, options.threads, output)?;
    options.check(source.n_rows())?;
    check_columns(source.schema(), &options.features)?;
    gates.check(&source, &candidate_columns(source.schema(), &options.features)?)?;
    Ok(source)
}

/// A fit that is to become a run directory.
pub(super) struct Finished<'f> {
    pub(super) fit: &'f Fit,
    pub(super) options: &'f FitOptions,
    pub(super) source: &'f FileSource,
    pub(super) context: &'f RunContext,
}

impl Finished<'_> {
    /// Writes the directory, and says what is in it.
    pub(super) fn write(
        &self,
        selection: Option<Selection>,
        out: &Path,
        overwrite: bool,
        progress: &Progress,
        output: Output,
    ) -> Result<()> {
        progress.event(Event::Stage("write"));
        let observed = Observed {
            source: self.source,
            observer: progress,
        };
        let dir = RunDir::create(out, overwrite)?;
        let Self {
            fit, options, context, ..
        } = *self;
        let record = run::write(dir, &observed, fit, options, selection, context, check_interrupt);
        progress.clear();
        show(fit, &record?, out, output)
    }
}

/// When a command begins: as RFC 3339, and for measuring.
pub(super) fn now() -> (String, Instant) {
    let created = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    (created, Instant::now())
}

/// What a record keeps of how it came about.
pub(super) fn context(
    (created, started): (String, Instant),
    data: &[String],
    source: &FileSource,
    device: DeviceRecord,
    compute: &ComputeArgs,
) -> Result<RunContext> {
    Ok(RunContext {
        created,
        started,
        data: data.to_vec(),
        config: config::record(),
        inputs: reading::inputs(source)?,
        source: SourceRecord::new(source),
        device,
        threads: plan::threads(compute),
    })
}

/// What a finished run is like.
fn show(fit: &Fit, record: &RunRecord, out: &Path, output: Output) -> Result<()> {
    if let Some(selection) = &record.selection {
        output.note(&sweep::in_short(selection));
    }
    output.note(&summary_line(record));
    let stages = record.time.stages.iter();
    show_stages(stages.map(|stage| (stage.stage.as_str(), stage.elapsed_s)), output);
    if let Some(bytes) = record.peak_memory_bytes {
        output.detail(&format!("  peak memory {} MiB", count(bytes >> 20)));
    }
    let width = stdout_width();
    output.data(&segment_table(fit, record, width).render(width))?;
    if let Some(text) = confidence_text(record) {
        output.note(&text);
    }
    if let Some(levels) = &record.levels {
        output.data(&format!(
            "\n{}",
            levels::table(levels, &record.segments, record.n_rows, &record.outcomes).render(width)
        ))?;
    }
    if !fit.outcomes.is_empty() {
        output.data(&format!("\n{}", outcome_table(fit).render(width)))?;
    }
    output.note(&format!(
        "run written to {}",
        kohort::error::escape(&out.to_string_lossy())
    ));
    output.object(&object(fit, record, out)?)
}

fn summary_line(record: &RunRecord) -> String {
    format!(
        "{}, {}, {}, inertia {}, {}\n{}, then {} ({})",
        plural(record.n_rows, "row"),
        plural(record.n_features as u64, "feature"),
        plural(record.n_segments as u64, "segment"),
        number(record.inertia),
        seconds(record.time.elapsed_s),
        seeding_text(record),
        plural(record.n_iter as u64, "iteration"),
        match record.stop_reason {
            StopReason::Converged => "converged",
            StopReason::Tolerance => "centroids within --tol",
            StopReason::MaxIter => "stopped at --max-iter",
            StopReason::MaxTime => "stopped at --max-time",
        },
    ) + &record.n_trimmed.map_or_else(String::new, trimmed_text)
}

fn trimmed_text(n_rows: u64) -> String {
    format!(
        "\n{} farthest from their centroids moved none of them, and are not in the inertia",
        plural(n_rows, "row")
    )
}

/// How many rows sit on a boundary, and how many are outliers.
fn confidence_text(record: &RunRecord) -> Option<String> {
    let boundary = record.boundary.as_ref()?;
    let mut text = format!(
        "{} of the rows sit on a boundary (margin up to {}: drawn again, they often change their segment)",
        boundary.share.map_or_else(|| "few".into(), percent),
        number(boundary.margin),
    );
    text += &match record.n_outliers_of_all {
        None | Some(Count::Exact(0)) => String::new(),
        Some(n) => format!("; {} far outside the segment", rows_in_words(n)),
    };
    if record.n_unassigned != Count::Exact(0) {
        text += ", and in none";
    }
    Some(text)
}

/// Where the first centroids come from: on a small table the restarts do all the work.
fn seeding_text(record: &RunRecord) -> String {
    let Some(seeding) = &record.seeding else {
        return "first centroids as given".into();
    };
    let rows = if seeding.n_sample == record.n_rows {
        format!("all {}", plural(record.n_rows, "row"))
    } else {
        format!("{} of {}", count(seeding.n_sample), plural(record.n_rows, "row"))
    };
    let refined = seeding
        .n_refined
        .map_or(String::new(), |rows| format!(", then on {}", count(rows)));
    format!(
        "seeded on {rows} ({}){refined}",
        plural(seeding.n_init as u64, "restart")
    )
}

/// The segments, for lines of `width` columns.
fn segment_table(fit: &Fit, record: &RunRecord, width: usize) -> Table {
    let name_width = (width / 3).max(16);
    let heads = [
        ("segment", Align::Right),
        ("size", Align::Right),
        ("share", Align::Right),
        ("name (draft)", Align::Left),
    ];
    let mut table = Table::new(
        &heads,
        Some("set apart by mean (difference to all, in standard deviations)"),
    );
    let n_rows = record.n_rows;
    for (segment, record) in fit.profile.segments.iter().zip(&record.segments) {
        let cells = [
            segment.segment.to_string(),
            rows(segment.count),
            share(segment.count, Count::Exact(n_rows)),
            record.name.clone(),
        ];
        let told: Vec<String> = most_apart(fit, segment)
            .map(|(name, told)| format!("{} {} ({})", shorten(name, name_width), mean(&told), sd(&told)))
            .collect();
        table.row(&cells, &told);
    }
    table
}

/// Outcomes in each segment and in all rows: the mean, or share, and its interval of 95 % confidence.
fn outcome_table(fit: &Fit) -> Table {
    let heads = ["segment", "outcome", "mean", "95 % interval", "rows", "missing"];
    let aligns = [
        Align::Right,
        Align::Left,
        Align::Right,
        Align::Right,
        Align::Right,
        Align::Right,
    ];
    let heads: Vec<(&str, Align)> = heads.into_iter().zip(aligns).collect();
    let mut table = Table::new(&heads, None);
    for outcome in &fit.outcomes {
        let figure = |v: f64| if outcome.is_share { percent(v) } else { number(v) };
        let mut row = |segment: String, figures: &OutcomeFigures| {
            let interval = figures.low.zip(figures.high);
            let missing = match figures.share_missing {
                Some(0.0) => String::new(),
                Some(share) => percent(share),
                None => "few".into(),
            };
            table.row(
                &[
                    segment,
                    outcome.outcome.clone(),
                    match (figures.mean, figures.mean_bounds) {
                        (Some(mean), _) => figure(mean),
                        (None, Some(bounds)) => shares(bounds),
                        (None, None) => "(few rows)".into(),
                    },
                    interval.map_or_else(String::new, |(low, high)| {
                        format!("{} to {}", figure(low), figure(high))
                    }),
                    rows(figures.count),
                    missing,
                ],
                &[],
            );
        };
        for (figures, number) in outcome.segments.iter().zip(1..) {
            row(number.to_string(), figures);
        }
        row("all".into(), &outcome.overall);
    }
    table
}

/// What sets a segment apart most, with the names of the features.
fn most_apart<'f>(fit: &'f Fit, segment: &'f SegmentProfile) -> impl Iterator<Item = (&'f str, Difference)> {
    let differences = set_apart(&fit.model.preparation, &fit.profile, segment.segment, TOLD_FEATURES);
    { differences.into_iter() }.map(|difference| (segment.features[difference.feature].feature.as_str(), difference))
}

/// The record of the run, the directory, and what sets each segment apart.
fn object(fit: &Fit, record: &RunRecord, out: &Path) -> Result<Value> {
    let mut object = serde_json::to_value(record)
        .map_err(|error| Error::Internal(format!("the record cannot be written as JSON: {error}")))?;
    object["out"] = out.to_string_lossy().into();
    for (n, segment) in fit.profile.segments.iter().enumerate() {
        object["segments"][n]["set_apart_by"] = most_apart(fit, segment)
            .map(|(name, told)| match told.bounds {
                None => json!({ "feature": name, "mean": told.mean, "difference_sd": told.sd, "difference_interval": told.interval }),
                Some(bounds) => json!({ "feature": name, "mean_bounds": bounds }),
            })
            .collect();
    }
    Ok(object)
}
