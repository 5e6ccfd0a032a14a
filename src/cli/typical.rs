//! `kohort typical`: what a typical customer of each segment is like, and, on request, who they are.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use kohort::Result;
use kohort::artifact::{
    Claim, ProfileRecord, RunRecord, check_output_file, model_file, names, write_atomic, write_typical_ids,
};
use kohort::data::FileSource;
use kohort::error::escape;
use kohort::features::ValueKind;
use kohort::segments::{SegmentProfile, is_share};

use super::args::TypicalArgs;
use super::output::{Align, Output, Table, number, plural, stdout_width};
use super::plan;
use super::progress::check_interrupt;

pub(crate) fn run(args: &TypicalArgs, output: Output) -> Result<ExitCode> {
    if let Some(out) = &args.ids {
        plan::check_folder(out)?;
        check_output_file(out, args.overwrite)?;
    }
    let _claim = args.ids.as_deref().map(Claim::new).transpose()?;
    let record = RunRecord::load(&args.run)?;
    let content = ProfileRecord::load(&args.run)?;
    let mut table = Table::new(
        &[("segment", Align::Right), ("name", Align::Left)],
        Some("middle value of the rows nearest to the segment's centre"),
    );
    let mut segments = Vec::new();
    for (segment, of_record) in content.profile.segments.iter().zip(&record.segments) {
        let told = middles(&content, segment);
        let items: Vec<String> = told
            .iter()
            .map(|(feature, told, _)| format!("{feature} {told}"))
            .collect();
        table.row(&[segment.segment.to_string(), of_record.name.clone()], &items);
        let values: Map<String, Value> = told.into_iter().map(|(feature, _, value)| (feature, value)).collect();
        segments.push(json!({ "segment": segment.segment, "name": of_record.name, "typical": values }));
    }
    output.data(&table.render(stdout_width()))?;
    let mut n_ids = None;
    if let Some(out) = &args.ids {
        let model = model_file::load(&args.run)?;
        let assignments = args.run.join(names::ASSIGNMENTS);
        let source = FileSource::open(&[assignments], plan::count_threads(None))?;
        let n = write_atomic(out, args.overwrite, |out| {
            let n = write_typical_ids(out, &source, &model, args.n)?;
            check_interrupt()?;
            Ok(n)
        })?;
        let (rows, out) = (plural(n, "row"), out.to_string_lossy());
        output.note(&format!("the ids of {rows} written to {}", escape(&out)));
        n_ids = Some(n);
    }
    output.object(&json!({
        "run": args.run.to_string_lossy(),
        "segments": segments,
        "ids": args.ids.as_ref().map(|out| out.to_string_lossy()),
        "n_ids": n_ids,
    }))?;
    Ok(ExitCode::SUCCESS)
}

/// Column, its middle value for people, and for programs; of a text the level that most of the rows have, if any.
fn middles(content: &ProfileRecord, segment: &SegmentProfile) -> Vec<(String, String, Value)> {
    let features = content.preparation.features.iter().zip(&segment.features);
    let told = features.filter_map(|(feature, figures)| {
        let (column, middle) = (feature.column.clone(), figures.typical?);
        let is_most = middle > 0.5;
        match &feature.kind {
            ValueKind::Level(level) => is_most.then(|| (column, level.clone(), json!(level))),
            ValueKind::OtherThan(_) => is_most.then(|| (column, "(other)".into(), json!("(other)"))),
            ValueKind::Missing => is_most.then(|| (column, "(missing)".into(), Value::Null)),
            kind if kind.is_coordinate() => None,
            kind if is_share(kind) => Some((column, is_most.to_string(), json!(is_most))),
            _ => Some((column, number(middle), json!(middle))),
        }
    });
    told.collect()
}
