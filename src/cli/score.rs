//! `kohort score`: the segments of new rows under a fitted model.

use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;

use kohort::Result;
use kohort::artifact::{check_output_file, model_file, write_assignments, write_atomic};
use kohort::data::BatchSource;
use kohort::fit::Observed;
use kohort::kmeans::{Event, Observer};

use super::args::ScoreArgs;
use super::output::{Align, Output, Table, count, percent, plural, seconds, stdout_width};
use super::plan::{self, Device};
use super::progress::{Progress, check_interrupt};

pub(crate) fn run(args: &ScoreArgs, output: Output) -> Result<ExitCode> {
    let started = Instant::now();
    check_output_file(&args.out, args.overwrite)?;
    let model = model_file::load(&args.model)?;
    let source = plan::open(&args.data, &args.compute)?;
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
    scored.notices.iter().for_each(|notice| output.warning(notice));
    if scored.n_clipped > 0 {
        let values = plural(scored.n_clipped, "value");
        output.warning(&format!(
            "{values} far outside the training data, taken as the most extreme the model knows"
        ));
    }
    progress.event(Event::Stage("write"));
    let written = write_atomic(&args.out, args.overwrite, |out| {
        write_assignments(out, &observed, &scored.id_columns, &scored.assignment)?;
        check_interrupt()
    });
    progress.clear();
    written?;
    let counts = scored.assignment.counts(model.n_segments());
    let (n_rows, elapsed_s) = (source.n_rows() as u64, started.elapsed().as_secs_f64());
    output.data(&count_table(&counts, n_rows).render(stdout_width()))?;
    let out = kohort::error::escape(&args.out.to_string_lossy());
    output.note(&format!(
        "{} in {}, written to {out}",
        plural(n_rows, "row"),
        seconds(elapsed_s)
    ));
    let segments = counts
        .iter()
        .zip(1..)
        .map(|(n_rows, segment)| json!({ "segment": segment, "n_rows": n_rows }));
    output.object(&json!({
        "out": args.out.to_string_lossy(),
        "labels_hash": scored.labels_hash,
        "n_rows": n_rows,
        "n_clipped": scored.n_clipped,
        "device": device,
        "elapsed_s": elapsed_s,
        "segments": segments.collect::<Vec<_>>(),
        "warnings": scored.notices,
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn count_table(counts: &[u64], n_rows: u64) -> Table {
    let heads = [
        ("segment", Align::Right),
        ("size", Align::Right),
        ("share", Align::Right),
    ];
    let mut table = Table::new(&heads, None);
    for (&size, segment) in counts.iter().zip(1u64..) {
        table.row(
            &[segment.to_string(), count(size), percent(size as f64 / n_rows as f64)],
            &[],
        );
    }
    table
}
