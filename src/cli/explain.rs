//! `kohort explain`: why a row is in its segment, and what would move it.

use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;

use kohort::artifact::{Claim, RunRecord, check_output_file, check_reasons, model_file, write_atomic, write_reasons};
use kohort::data::{BatchSource, FileSource, SourceOptions};
use kohort::error::escape;
use kohort::fit::Observed;
use kohort::kmeans::{Event, Observer};
use kohort::model::Model;
use kohort::segments::{Explanation, Value};
use kohort::{Error, Result};

use super::args::ExplainArgs;
use super::output::{Align, Output, Table, number, percent, plural, seconds, shorten, stdout_width};
use super::plan;
use super::progress::{Progress, check_interrupt};
use super::reading;

/// Columns told of a row.
const TOLD: usize = 8;
/// Widest name of a segment that is told whole.
const NAME_WIDTH: usize = 40;
/// Widest level that is told whole.
const TEXT_WIDTH: usize = 24;

pub(crate) fn run(args: &ExplainArgs, output: Output) -> Result<ExitCode> {
    if let Some(out) = &args.out {
        plan::check_folder(out)?;
        check_output_file(out, args.overwrite)?;
        if !args.data.is_empty() {
            plan::check_not_input(out, &args.data)?;
        }
    }
    let _claim = args.out.as_deref().map(Claim::new).transpose()?;
    let model = model_file::load(&args.run)?;
    let source = open(args, &model, output)?;
    model.check_columns(&source)?;
    let progress = Progress::new(&args.talk, output);
    let observed = Observed {
        source: &source,
        observer: &progress,
    };
    progress.event(Event::Stage("explain"));
    match &args.out {
        None => {
            let told = model.explain(&observed, &args.id);
            progress.clear();
            one(&told?, &model, output)?;
        }
        Some(_) => all(args, &observed, &model, &progress, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The data: where DATA says, or the files of the run, if they are still the same.
fn open(args: &ExplainArgs, model: &Model, output: Output) -> Result<FileSource> {
    let threads = plan::count_threads(args.threads);
    if !args.data.is_empty() {
        let read_as = SourceOptions {
            decoded: args.read.check_apart(&args.data)?,
            ..args.read.options_for(model)?
        };
        return reading::open(&args.data, read_as, threads, output);
    }
    let record = RunRecord::load(&args.run)?;
    let files = reading::recorded_files(&record)?;
    let decoded = args.read.check_files_apart(&files)?;
    if let Some(out) = &args.out {
        let inputs: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        plan::check_not_input(out, &inputs)?;
    }
    reading::open_again(&record, &files, args.read.filter.as_deref(), decoded, threads, output)
}

fn all(args: &ExplainArgs, source: &Observed<'_>, model: &Model, progress: &Progress, output: Output) -> Result<()> {
    let started = Instant::now();
    let out = args.out.as_ref().expect("asked for by --all");
    check_reasons(source, model)?;
    let threads = plan::count_threads(args.threads);
    let host = kohort::backend::cpu::CpuBackend::new(threads)?;
    let written = write_atomic(out, args.overwrite, |out| {
        host.install(|| write_reasons(out, source, model))?;
        check_interrupt()
    });
    progress.clear();
    written?;
    let (n_rows, elapsed_s) = (source.n_rows() as u64, started.elapsed().as_secs_f64());
    output.note(&format!(
        "{} explained in {}, written to {}",
        plural(n_rows, "row"),
        seconds(elapsed_s),
        escape(&out.to_string_lossy())
    ));
    output.object(&json!({ "out": out.to_string_lossy(), "n_rows": n_rows, "elapsed_s": elapsed_s }))
}

fn one(told: &Explanation, model: &Model, output: Output) -> Result<()> {
    output.data(&place_text(told, model))?;
    output.data(&format!("\n{}", reason_table(told).render(stdout_width())))?;
    output.data(&format!("\n{}\n", change_text(told, model)))?;
    let mut object = serde_json::to_value(told)
        .map_err(|error| Error::Internal(format!("the explanation cannot be written as JSON: {error}")))?;
    object["segment_name"] = called(model, told.segment).into();
    object["segment_2_name"] = told.segment_2.and_then(|segment| called(model, segment)).into();
    output.object(&object)
}

/// What a segment is called, where that is known.
fn called(model: &Model, segment: usize) -> Option<&str> {
    let name = model.segment_names.get(segment - 1)?.name.as_str();
    (!name.is_empty()).then_some(name)
}

fn place_text(told: &Explanation, model: &Model) -> String {
    let named = |segment: usize| match called(model, segment) {
        Some(name) => format!("{segment} ({})", escape(&shorten(name, NAME_WIDTH))),
        None => segment.to_string(),
    };
    let mut text = format!("segment {}", named(told.segment));
    if let (Some(other), Some(margin)) = (told.segment_2, told.margin) {
        text += &format!(", runner-up {}, margin {}", named(other), number(margin));
    }
    text += match told.is_boundary {
        Some(true) => ": on the boundary",
        Some(false) => ": not on the boundary",
        None => "",
    };
    if let Some(score) = told.outlier_score.filter(|score| *score > 1.0) {
        text += &format!("; far outside it (outlier score {})", number(score));
        text += if model.confidence.unassign_outliers {
            ", so that it gets none"
        } else {
            ""
        };
    }
    text + "\n"
}

/// What each column says, the strongest first.
fn reason_table(told: &Explanation) -> Table {
    let mut heads = vec![
        ("column", Align::Left),
        ("value", Align::Right),
        ("in its segment", Align::Right),
    ];
    if told.segment_2.is_some() {
        heads.extend([("in the runner-up", Align::Right), ("speaks for it", Align::Right)]);
    }
    let mut table = Table::new(&heads, None);
    for reason in told.reasons.iter().take(TOLD) {
        let mut cells = vec![reason.column.clone(), shown(&reason.value), shown(&reason.in_segment)];
        if let Some(in_other) = &reason.in_segment_2 {
            cells.push(shown(in_other));
            cells.push(
                reason
                    .share
                    .map_or_else(String::new, |share| format!("{:+.0}%", 100.0 * share)),
            );
        }
        table.row(&cells, &[]);
    }
    table
}

fn change_text(told: &Explanation, model: &Model) -> String {
    let Some(least) = told.changes.first() else {
        return match model.n_segments() {
            1 => "there is no other segment to move to".into(),
            _ => "no change of a single column moves this row to another segment".into(),
        };
    };
    let change = |change: &kohort::segments::Change| {
        format!(
            "{} from {} to {} (segment {})",
            escape(&change.column),
            shown(&change.from),
            shown(&change.to),
            change.segment
        )
    };
    let mut text = format!("smallest change that moves it: {}", change(least));
    let others: Vec<String> = told.changes.iter().skip(1).take(2).map(change).collect();
    if !others.is_empty() {
        text += &format!("\nor: {}", others.join("; "));
    }
    text
}

/// A value for people. Of a number all digits that the explanation gives, so that the change works as it is written.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(v) if v.abs() >= 1e-4 && v.abs() < 1e15 && short(*v) => v.to_string(),
        Value::Number(v) => number(*v),
        Value::Share(share) => percent(*share),
        Value::Flag(true) => "true".into(),
        Value::Flag(false) => "false".into(),
        Value::Text(text) => escape(&shorten(text, TEXT_WIDTH)).to_string(),
        Value::Missing => "(missing)".into(),
    }
}

/// Whether a number has few digits.
fn short(v: f64) -> bool {
    v.to_string().len() <= 9
}
