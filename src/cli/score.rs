//! `kohort score`: the segments of new rows under a fitted model.

use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use kohort::Result;
use kohort::artifact::{check_output_file, model_file, write_assignments, write_atomic};
use kohort::data::BatchSource;
use kohort::fit::Observed;
use kohort::kmeans::{Event, Observer};
use kohort::model::Scored;

use super::args::ScoreArgs;
use super::output::{Align, Output, Table, count, percent, plural, seconds, stdout_width};
use super::plan::{self, Device};
use super::progress::{Progress, check_interrupt};

pub(crate) fn run(args: &ScoreArgs, output: Output) -> Result<ExitCode> {
    let started = Instant::now();
    plan::check_folder(&args.out)?;
    check_output_file(&args.out, args.overwrite)?;
    plan::check_not_input(&args.out, &args.data)?;
    let model = model_file::load(&args.model)?;
    let source = plan::open(&args.data, &args.compute)?;
    model.check_columns(&source)?;
    let shape = [source.n_rows(), model.centroids.n_features(), model.n_segments()];
    let work = shape.iter().fold(1, |work, &n| u64::saturating_mul(work, n as u64));
    let Device {
        backend,
        record: device,
    } = plan::device(&args.compute, work, output)?;
    let progress = Progress::new(&args.talk, output);
    let observed = Observed {
        source: &source,
        observer: &progress,
    };
    progress.event(Event::Stage("score"));
    let scored = model.score(&observed, &*backend, plan::chunk_bytes(&args.compute));
    progress.clear();
    let scored = scored?;
    let warnings = warnings(&scored);
    warnings.iter().for_each(|warning| output.warning(warning));
    progress.event(Event::Stage("write"));
    let written = write_atomic(&args.out, args.overwrite, |out| {
        write_assignments(
            out,
            &observed,
            &scored.id_columns,
            &scored.assignment,
            &model.confidence,
        )?;
        check_interrupt()
    });
    progress.clear();
    written?;
    let elapsed_s = started.elapsed().as_secs_f64();
    let counts = model.confidence.counts(&scored.assignment, model.n_segments());
    let mut sizes = scored.assignment.counts(model.n_segments());
    let unassigned = model.confidence.unassign_outliers;
    if unassigned {
        sizes
            .iter_mut()
            .zip(&counts.n_outliers)
            .for_each(|(size, n_outliers)| *size -= n_outliers);
    }
    let segments = Segment::all(&sizes, &model.segment_counts);
    output.data(&count_table(&segments).render(stdout_width()))?;
    let n_boundary = model
        .confidence
        .boundary_margin
        .map(|_| counts.n_boundary.iter().sum::<u64>());
    let n_outliers: u64 = counts.n_outliers.iter().sum();
    if let Some(n_boundary) = n_boundary {
        output.note(&format!(
            "{} of the rows sit on a boundary; {} far outside the segment{}",
            percent(n_boundary as f64 / source.n_rows() as f64),
            plural(n_outliers, "row"),
            if unassigned && n_outliers > 0 {
                ", and in none"
            } else {
                ""
            }
        ));
    }
    let out = kohort::error::escape(&args.out.to_string_lossy());
    let n_rows = source.n_rows() as u64;
    output.note(&format!(
        "{} in {}, written to {out}",
        plural(n_rows, "row"),
        seconds(elapsed_s)
    ));
    output.object(&json!({
        "out": args.out.to_string_lossy(),
        "labels_hash": scored.labels_hash,
        "n_rows": n_rows,
        "n_clipped": scored.n_clipped,
        "n_boundary": n_boundary,
        "n_outliers": n_outliers,
        "n_unassigned": if unassigned { n_outliers } else { 0 },
        "device": device,
        "elapsed_s": elapsed_s,
        "segments": segments,
        "warnings": warnings,
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn warnings(scored: &Scored) -> Vec<String> {
    let mut warnings = scored.notices.clone();
    if scored.n_clipped > 0 {
        let values = plural(scored.n_clipped, "value");
        warnings.push(format!(
            "{values} far outside the training data, taken as the most extreme the model knows"
        ));
    }
    warnings
}

/// A segment in these rows and in those of the fit.
#[derive(Debug, Serialize)]
struct Segment {
    segment: usize,
    n_rows: u64,
    share: f64,
    share_at_fit: f64,
}

impl Segment {
    fn all(counts: &[u64], counts_at_fit: &[u64]) -> Vec<Self> {
        let share = |count: u64, counts: &[u64]| count as f64 / counts.iter().sum::<u64>().max(1) as f64;
        let both = counts.iter().zip(counts_at_fit).zip(1..);
        both.map(|((&n_rows, &at_fit), segment)| Self {
            segment,
            n_rows,
            share: share(n_rows, counts),
            share_at_fit: share(at_fit, counts_at_fit),
        })
        .collect()
    }
}

fn count_table(segments: &[Segment]) -> Table {
    let heads = ["segment", "size", "share", "at the fit"].map(|head| (head, Align::Right));
    let mut table = Table::new(&heads, None);
    for segment in segments {
        table.row(
            &[
                segment.segment.to_string(),
                count(segment.n_rows),
                percent(segment.share),
                percent(segment.share_at_fit),
            ],
            &[],
        );
    }
    table
}
