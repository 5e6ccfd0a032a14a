//! `kohort inspect`: every column of the data, and what a fit would do with it and why.

use std::process::ExitCode;

use serde_json::json;

use kohort::data::{BatchSource, SourceOptions};
use kohort::features::{ColumnInspection, Role, inspect};
use kohort::fit::Observed;
use kohort::kmeans::{Event, Observer};
use kohort::{Error, Result};

use super::args::InspectArgs;
use super::columns::short_type;
use super::output::{Align, Output, Table, count, number, percent, plural, stdout_width};
use super::plan;
use super::progress::Progress;
use super::reading;

/// A terminal narrower than this is shown fewer figures.
const WIDE: usize = 110;

pub(crate) fn run(args: &InspectArgs, output: Output) -> Result<ExitCode> {
    let (n_rows, columns) = look(args, output)?;
    let width = stdout_width();
    output.data(&table(&columns, width >= WIDE).render(width))?;
    let of_role = |role: Role| columns.iter().filter(|column| column.report.role == role).count() as u64;
    output.note(&format!(
        "{}, {}: {} to cluster on, {}, {} left out",
        plural(n_rows as u64, "row"),
        plural(columns.len() as u64, "column"),
        count(of_role(Role::Feature)),
        plural(of_role(Role::Outcome), "outcome"),
        count(of_role(Role::Ignored)),
    ));
    let columns = serde_json::to_value(&columns)
        .map_err(|error| Error::Internal(format!("the columns cannot be written as JSON: {error}")))?;
    output.object(&json!({ "n_rows": n_rows, "columns": columns }))?;
    Ok(ExitCode::SUCCESS)
}

/// The number of rows, and what is in every column.
pub(super) fn look(args: &InspectArgs, output: Output) -> Result<(usize, Vec<ColumnInspection>)> {
    let options = plan::feature_options(&args.columns)?;
    let read_as = SourceOptions {
        decoded: args.read.check_apart(&args.data)?,
        ..args.read.options(&options.id)?
    };
    let source = reading::open(&args.data, read_as, plan::count_threads(args.threads), output)?;
    let progress = Progress::new(&args.talk, output);
    progress.event(Event::Stage("inspect"));
    let observed = Observed {
        source: &source,
        observer: &progress,
    };
    let columns = inspect(&observed, &options);
    progress.clear();
    Ok((source.n_rows(), columns?))
}

fn table(columns: &[ColumnInspection], wide: bool) -> Table {
    use Align::{Left, Right};
    let mut heads = vec![
        ("column", Left),
        ("type", Left),
        ("role", Left),
        ("missing", Right),
        ("distinct", Right),
    ];
    if wide {
        heads.extend(["1 %", "median", "99 %", "skew", "far"].map(|head| (head, Right)));
    } else {
        heads.push(("median", Right));
    }
    let mut table = Table::new(&heads, Some("what a fit does with it, or why not"));
    for column in columns {
        let report = &column.report;
        let mut cells = vec![
            report.column.clone(),
            short_type(&report.data_type),
            report.role.name().into(),
            column
                .share_missing
                .filter(|share| *share > 0.0)
                .map_or_else(String::new, percent),
            column.n_distinct.map_or_else(String::new, count),
        ];
        let figure = |of: &dyn Fn(&kohort::features::NumberFigures) -> String| {
            column.numbers.as_ref().map_or_else(String::new, of)
        };
        let median = figure(&|figures| number(figures.median));
        if wide {
            cells.extend([
                figure(&|figures| number(figures.p01)),
                median,
                figure(&|figures| number(figures.p99)),
                figure(&|figures| format!("{:.1}", figures.skewness)),
                figure(&|figures| {
                    if figures.share_far > 0.0 {
                        percent(figures.share_far)
                    } else {
                        String::new()
                    }
                }),
            ]);
        } else {
            cells.push(median);
        }
        table.row(&cells, &notes(column));
    }
    table
}

/// Treatment, or reason, and what else there is to say.
fn notes(column: &ColumnInspection) -> Vec<String> {
    let report = &column.report;
    let mut notes: Vec<String> = Vec::new();
    notes.extend((report.role == Role::Feature).then(|| report.treatment.clone()));
    notes.extend(report.reason.clone());
    notes.extend(
        (report.n_rare_levels > 0).then(|| format!("{} as one", plural(report.n_rare_levels as u64, "rare level"))),
    );
    let redundant = column.redundant_with.as_ref();
    notes.extend(redundant.map(|(other, r)| format!("nearly the same as {other} (correlation {r:.2})")));
    notes
}
