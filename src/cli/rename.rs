//! `kohort rename`: names for segments, kept in the run.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use kohort::artifact::RunRecord;
use kohort::run;
use kohort::{Error, Result};

use super::args::RenameArgs;
use super::output::{Align, Output, Table, plural, stdout_width};
use super::progress::check_interrupt;

/// Largest file of names.
const MOST_BYTES: u64 = 1 << 20;

pub(crate) fn run(args: &RenameArgs, output: Output) -> Result<ExitCode> {
    let before = RunRecord::load(&args.run)?;
    let mut given = args.names.clone();
    if let Some(file) = &args.file {
        given.extend(lines(file)?);
    }
    let names = given
        .iter()
        .map(|text| a_name(text, &before))
        .collect::<Result<Vec<_>>>()?;
    let record = run::rename(&args.run, &names, check_interrupt)?;
    let heads = [
        ("segment", Align::Right),
        ("name", Align::Left),
        ("before", Align::Left),
    ];
    let mut table = Table::new(&heads, None);
    let both = record.segments.iter().zip(&before.segments);
    for (segment, before) in both.clone() {
        let draft = if segment.name_is_draft { " (draft)" } else { "" };
        let changed = if segment.name == before.name {
            String::new()
        } else {
            before.name.clone()
        };
        table.row(
            &[segment.segment.to_string(), format!("{}{draft}", segment.name), changed],
            &[],
        );
    }
    output.data(&table.render(stdout_width()))?;
    output.note(&format!(
        "{} named in {}, reports drawn again",
        plural(names.len() as u64, "segment"),
        kohort::error::escape(&args.run.to_string_lossy())
    ));
    let segments: Vec<Value> = both
        .map(|(segment, before)| {
            json!({
                "segment": segment.segment,
                "name": segment.name,
                "name_is_draft": segment.name_is_draft,
                "before": before.name,
            })
        })
        .collect();
    output.object(&json!({ "run": args.run.to_string_lossy(), "segments": segments }))?;
    Ok(ExitCode::SUCCESS)
}

/// `1=Loyal`, or the name that a segment has, `=`, and the one that it gets.
fn a_name(text: &str, record: &RunRecord) -> Result<(i32, String)> {
    let numbered = text.split_once('=').and_then(|(number, name)| {
        let number: i32 = number.trim().parse().ok()?;
        Some((number, name.to_owned()))
    });
    let by_name = || {
        let segments = record.segments.iter().filter(|segment| !segment.name.is_empty());
        let mut named = segments.filter_map(|segment| {
            let name = text.strip_prefix(segment.name.as_str())?.strip_prefix('=')?;
            Some((segment.segment, name.to_owned()))
        });
        named.next()
    };
    numbered.or_else(by_name).ok_or_else(|| Error::InvalidParam {
        param: "name",
        value: text.into(),
        reason: "is a segment's number or its name, =, and a new name: 1='Loyal customers'".into(),
    })
}

/// The lines of a file that name something.
fn lines(path: &Path) -> Result<Vec<String>> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
    let read = file.take(MOST_BYTES + 1).read_to_string(&mut text);
    read.map_err(Error::io("read", path))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(Error::InvalidParam {
            param: "file",
            value: path.to_string_lossy().into_owned(),
            reason: format!("is larger than {MOST_BYTES} bytes"),
        });
    }
    let lines = text.lines().map(str::trim);
    Ok(lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect())
}
