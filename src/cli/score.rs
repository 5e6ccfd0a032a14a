//! `kohort score`: the segments of new rows under a fitted model.

use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use kohort::Result;
use kohort::artifact::{check_output_file, check_path_column, model_file, write_assignments_carrying, write_atomic};
use kohort::data::BatchSource;
use kohort::fit::Observed;
use kohort::kmeans::{Event, Observer};
use kohort::model::{Model, Scored};
use kohort::nested::{Paths, SegmentPath};

use super::args::ScoreArgs;
use super::output::{Align, Output, Table, count, percent, plural, seconds, stdout_width};
use super::plan::{self, Device};
use super::progress::{Progress, check_interrupt};
use super::reading;

pub(crate) fn run(args: &ScoreArgs, output: Output) -> Result<ExitCode> {
    let started = Instant::now();
    plan::check_folder(&args.out)?;
    check_output_file(&args.out, args.overwrite)?;
    plan::check_not_input(&args.out, &args.data)?;
    let model = model_file::load(&args.model)?;
    let source = reading::open(
        &args.data,
        args.read.options_for(&model)?,
        plan::threads(&args.compute),
        output,
    )?;
    model.check_columns(&source)?;
    if !model.splits.is_empty() {
        let ids: Vec<usize> = { model.id_columns.iter() }
            .filter_map(|id| source.schema().index_of(id).ok())
            .collect();
        check_path_column(source.schema(), &ids)?;
    }
    args.gates
        .check(&source, &model.preparation.distinct_columns_in(source.schema())?)?;
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
    let n_values = source.n_rows() as u64 * model.centroids.n_features() as u64;
    args.clip_gate.check(scored.n_clipped, n_values)?;
    let warnings = warnings(&scored);
    warnings.iter().for_each(|warning| output.warning(warning));
    progress.event(Event::Stage("write"));
    let written = write_atomic(&args.out, args.overwrite, |out| {
        write_assignments_carrying(
            out,
            &observed,
            &scored.id_columns,
            &[],
            &scored.assignment,
            &model.confidence,
            scored.paths.as_ref(),
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
    let leaves = scored.paths.as_ref().map(|paths| leaves(&model, paths));
    if let Some(leaves) = &leaves {
        output.data(&format!("\n{}", leaf_table(leaves).render(stdout_width())))?;
    }
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
        "leaves": leaves,
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

/// A leaf in these rows and in those of the fit.
#[derive(Debug, Serialize)]
struct Leaf {
    path: SegmentPath,
    n_rows: u64,
    share: f64,
    share_at_fit: f64,
}

fn leaves(model: &Model, paths: &Paths) -> Vec<Leaf> {
    let at_fit = |path: &SegmentPath| match path.parent() {
        None => model.segment_counts.get(path.segment() as usize - 1).copied(),
        Some(parent) => {
            let split = model.splits.iter().find(|split| split.path == parent)?;
            split.segment_counts.get(path.number() as usize - 1).copied()
        }
    };
    let at_fit: Vec<u64> = paths
        .leaves
        .iter()
        .map(|path| at_fit(path).unwrap_or_default())
        .collect();
    let segments = Segment::all(&paths.counts(), &at_fit);
    let leaf = |(path, segment): (&SegmentPath, Segment)| Leaf {
        path: path.clone(),
        n_rows: segment.n_rows,
        share: segment.share,
        share_at_fit: segment.share_at_fit,
    };
    paths.leaves.iter().zip(segments).map(leaf).collect()
}

fn leaf_table(leaves: &[Leaf]) -> Table {
    let heads = [
        ("path", Align::Left),
        ("size", Align::Right),
        ("share", Align::Right),
        ("at the fit", Align::Right),
    ];
    let mut table = Table::new(&heads, None);
    for leaf in leaves {
        let cells = [
            leaf.path.to_string(),
            count(leaf.n_rows),
            percent(leaf.share),
            percent(leaf.share_at_fit),
        ];
        table.row(&cells, &[]);
    }
    table
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
