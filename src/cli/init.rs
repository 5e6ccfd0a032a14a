//! `kohort init`: a `kohort.toml` that says what a fit would do with every column and why, to be edited.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use unicode_width::UnicodeWidthStr;

use kohort::artifact::write_atomic;
use kohort::error::{escape, told};
use kohort::features::{ColumnInspection, Role};
use kohort::segments::MIN_CELL;
use kohort::{Error, Result};

use super::args::InspectArgs;
use super::columns::short_type;
use super::config::{self, MAX_BYTES, NAME, SourceArgs, quoted};
use super::inspect;
use super::output::{Output, count, percent, plural};

#[derive(Debug, Args)]
#[command(
    after_help = "Example: kohort init 'accounts/*.parquet' --id account_id --outcome churned

The file stands in the working directory, where `kohort fit` and the other commands find it. A fit with it is the fit \
without it, until it is edited. It holds names of columns, types and shares, and no cell of the data."
)]
pub(crate) struct InitArgs {
    /// Replace the kohort.toml that is there
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) look: InspectArgs,
}

/// Comments begin here at the latest, so that one long name does not push away all others.
const MAX_INDENT: usize = 40;

pub(crate) fn run(args: &InitArgs, source: &SourceArgs, output: Output) -> Result<ExitCode> {
    refuse(args, source)?;
    let (n_rows, columns) = inspect::look(&args.look, output)?;
    let text = text(&args.look.data, n_rows, &columns);
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::BadSetting {
            place: NAME.into(),
            reason: format!(
                "{} are more than a file may name",
                plural(columns.len() as u64, "column")
            ),
            excerpt: String::new(),
            hint: Some("choose columns by patterns, with --features and --exclude".into()),
        });
    }
    config::check(&text).map_err(|error| Error::Internal(format!("the file would not read back: {error}")))?;
    write_atomic(Path::new(NAME), args.force, |out| {
        out.write_all(text.as_bytes()).map_err(|error| out.error(error))
    })?;
    let n_features = columns
        .iter()
        .filter(|column| column.report.role == Role::Feature)
        .count();
    output.note(&format!(
        "{NAME} written: {} of {} to cluster on\nedit it, then go on with: kohort fit",
        count(n_features as u64),
        plural(columns.len() as u64, "column"),
    ));
    output.object(&json!({ "out": NAME, "n_rows": n_rows, "n_columns": columns.len(), "n_features": n_features }))?;
    Ok(ExitCode::SUCCESS)
}

fn refuse(args: &InitArgs, source: &SourceArgs) -> Result<()> {
    let bad = |reason: &str, hint: &str| Error::BadSetting {
        place: NAME.into(),
        reason: reason.into(),
        excerpt: String::new(),
        hint: Some(hint.into()),
    };
    if source.config.is_some() {
        return Err(bad(
            "this is the file that is written, in the working directory",
            "leave out --config, which names a file to be read",
        ));
    }
    if !args.force && Path::new(NAME).symlink_metadata().is_ok() {
        return Err(bad("exists already", "edit it, or replace it with --force"));
    }
    Ok(())
}

/// The whole file.
fn text(data: &[String], n_rows: usize, columns: &[ColumnInspection]) -> String {
    let names: Vec<String> = data.iter().map(|name| quoted(&told(name))).collect();
    let data = match names.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let typed = config::typed(true, &["id", "features", "exclude", "outcome"]);
    let reading = config::typed(false, &["data", "threads", "json", "quiet", "verbose", "progress"]);
    let reading: String = reading.iter().map(|(_, line)| format!("{line}\n")).collect();
    format!(
        "\
# What `kohort fit` does without being told, written by `kohort init` from {rows} and {n_columns}: edit it.
# Keys are the long flags of `kohort fit --help`. A flag that is typed wins over this file;
# `kohort config show --origin fit` lists what applies and who said so. Paths count from the folder of this file.

data = {data}
{reading}
[columns]
{id}
# What to cluster on: take a line out, or in. Columns that the data gets later are left out until they are named.
{features}{outcome}{typed}
# How columns are prepared, and what else can be said of them. Each of these changes something:
{examples}
[fit]
k = \"auto\"  # or a number, or a range such as \"2..8\"
# out = \"kohort-run\"

[sweep]
# k = \"2..12\"
# prefer = \"3..5\"

[score]
# model = \"kohort-run\"
# out = \"scored.parquet\"
",
        rows = plural(n_rows as u64, "row"),
        n_columns = plural(columns.len() as u64, "column"),
        id = id(columns),
        features = features(columns),
        outcome = outcome(columns),
        typed = as_asked(&typed),
        examples = examples(columns, &typed),
    )
}

/// The id, or a column that looks like one: naming it is for a person to decide.
fn id(columns: &[ColumnInspection]) -> String {
    let quoted_if = |holds: &dyn Fn(&ColumnInspection) -> bool| -> Vec<String> {
        let chosen = columns.iter().filter(|column| holds(column));
        chosen.map(|column| quoted(&column.report.column)).collect()
    };
    let ids = quoted_if(&|column| column.report.role == Role::Id);
    let like = quoted_if(&|column| {
        column
            .report
            .reason
            .as_ref()
            .is_some_and(|why| why.starts_with("looks like an id"))
    });
    let what = "# What tells rows apart, so that their order does not matter, and names them in the result.\n";
    match (ids.as_slice(), like.first()) {
        ([id], _) => format!("{what}id = {id}\n"),
        ([_, ..], _) => format!("{what}id = [{}]\n", ids.join(", ")),
        ([], Some(id)) => format!("{what}# id = {id}\n"),
        ([], None) => String::new(),
    }
}

/// The list of features, with every other column as a comment in its place.
fn features(columns: &[ColumnInspection]) -> String {
    let asked_for = |role| matches!(role, Role::Id | Role::Weight | Role::Outcome | Role::Carried);
    let listed: Vec<&ColumnInspection> = columns.iter().filter(|column| !asked_for(column.report.role)).collect();
    // A list cannot name a column whose name is empty, and without it would leave that column out.
    let nameless = listed
        .iter()
        .any(|column| column.report.role == Role::Feature && column.report.column.is_empty());
    let entry = |column: &ColumnInspection| {
        let name = quoted(&column.report.column);
        match column.report.role {
            Role::Feature if !nameless => format!("    {name},"),
            _ => format!("    # {name},"),
        }
    };
    let entries: Vec<String> = listed.iter().map(|column| entry(column)).collect();
    let widths = entries
        .iter()
        .map(|entry| entry.width())
        .filter(|width| *width <= MAX_INDENT);
    let indent = widths.max().unwrap_or(0);
    let mut text = String::from("features = [\n");
    for (entry, column) in entries.iter().zip(&listed) {
        let pad = " ".repeat(indent.saturating_sub(entry.width()));
        text += &format!("{entry}{pad}  # {}\n", escape(&why(column)));
    }
    if nameless {
        text += "    # Every usable column is taken: one of them has an empty name, and cannot be listed.\n";
    }
    text + "]\n"
}

/// What a fit does with a column, or why it does nothing.
fn why(column: &ColumnInspection) -> String {
    let report = &column.report;
    let mut parts = vec![short_type(&report.data_type)];
    parts.extend((report.role == Role::Feature).then(|| report.treatment.clone()));
    parts.extend(report.reason.clone());
    parts.extend(
        (report.n_rare_levels > 0).then(|| format!("{} as one", plural(report.n_rare_levels as u64, "rare level"))),
    );
    // The file goes where the data does not: few rows are not counted in it.
    let missing = column.share_missing.filter(|share| *share > 0.0);
    parts.extend(missing.map(|share| match report.n_missing {
        n if n.exact().is_none_or(|n| n < MIN_CELL) => "few missing".to_owned(),
        _ => format!("{} missing", percent(share)),
    }));
    let redundant = column.redundant_with.as_ref();
    parts.extend(redundant.map(|(other, r)| format!("nearly the same as {other} (correlation {r:.2})")));
    parts.join("; ")
}

fn outcome(columns: &[ColumnInspection]) -> String {
    let outcomes = columns.iter().filter(|column| column.report.role == Role::Outcome);
    let names: Vec<String> = outcomes.map(|column| quoted(&column.report.column)).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!(
            "\n# What to profile per segment, and never to cluster on.\noutcome = [{}]\n",
            names.join(", ")
        ),
    }
}

fn as_asked(typed: &[(String, String)]) -> String {
    let lines: Vec<&str> = typed.iter().map(|(_, line)| line.as_str()).collect();
    match lines.as_slice() {
        [] => String::new(),
        lines => format!("\n# As asked for.\n{}\n", lines.join("\n")),
    }
}

/// What can be said about preparation, of a column of this table where there is one of numbers; without the keys that
/// are there already.
fn examples(columns: &[ColumnInspection], typed: &[(String, String)]) -> String {
    let is_number = |column: &&ColumnInspection| {
        let word = short_type(&column.report.data_type);
        let numbers = ["int", "uint", "float", "decimal"];
        column.report.role == Role::Feature && numbers.iter().any(|kind| word.starts_with(kind))
    };
    let number = columns.iter().find(is_number);
    let name = number.map_or("visits", |column| &column.report.column);
    let (key, name) = (config::key(name), quoted(name));
    let examples = [
        (
            "scale",
            "\"robust\"  # zscore unless you say so; or minmax, rank, none".to_owned(),
        ),
        (
            "log",
            "\"none\"  # auto unless you say so, which takes the columns with log1p above; or a list of columns".into(),
        ),
        (
            "clip",
            "0.01  # moves the ends of each column to the quantile there".into(),
        ),
        (
            "missing",
            format!("{{ {key} = \"mean\" }}  # median unless you say so; or indicator, refuse, a number"),
        ),
        ("weights", format!("{{ {key} = 2 }}  # counts so much more")),
        (
            "block",
            format!("{{ together = [{name}] }}  # columns that count as one together"),
        ),
    ];
    let left = examples
        .iter()
        .filter(|(key, _)| !typed.iter().any(|(typed, _)| typed == key));
    left.map(|(key, example)| format!("# {key} = {example}\n")).collect()
}
