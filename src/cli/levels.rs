//! Segments of segments in a table.

use arrow::datatypes::SchemaRef;

use kohort::Result;
use kohort::artifact::{LevelsRecord, SegmentRecord, Visited, check_path_column};
use kohort::cells::Count;
use kohort::data::BatchSource;
use kohort::features::carried_columns;
use kohort::fit::FitOptions;
use kohort::report::{rows, share, split_text};
use kohort::segments::{OutcomeFigures, OutcomeProfile};

use super::output::{Align, Table, number, percent};

/// Outcomes that are told of each segment.
const TOLD_OUTCOMES: usize = 2;

/// Refuses ids and columns to carry that the table of assignments could not hold beside its paths.
pub(super) fn check_columns(source: &dyn BatchSource, options: &FitOptions) -> Result<()> {
    if options.levels.is_empty() {
        return Ok(());
    }
    let schema: &SchemaRef = source.schema();
    let mut columns = carried_columns(schema, &options.features)?;
    columns.extend(options.features.id.iter().filter_map(|id| schema.index_of(id).ok()));
    check_path_column(schema, &columns)
}

/// Every segment with its parts below it, and what is said of it.
pub(super) fn table(
    levels: &LevelsRecord,
    segments: &[SegmentRecord],
    n_rows: u64,
    outcomes: &[OutcomeProfile],
) -> Table {
    let heads = [
        ("path", Align::Left),
        ("size", Align::Right),
        ("share", Align::Right),
        ("name (draft), within the segment above", Align::Left),
    ];
    let last = if outcomes.is_empty() {
        "parts"
    } else {
        "outcomes, parts"
    };
    let mut table = Table::new(&heads, Some(last));
    let of_all = Count::Exact(n_rows);
    levels.walk(segments, &mut |path, visited| {
        let indent = "  ".repeat(path.depth() - 1);
        let (n_rows, name, split, figures) = match visited {
            Visited::Top(segment, split) => {
                let at = path.segment() as usize - 1;
                let figures: Vec<&OutcomeFigures> = outcomes.iter().filter_map(|of| of.segments.get(at)).collect();
                (segment.n_rows, &segment.name, split, figures)
            }
            Visited::Part(part, split) => (
                Count::Exact(part.n_rows),
                &part.name,
                split,
                part.outcomes.iter().collect(),
            ),
        };
        let mut told: Vec<String> = { outcomes.iter().zip(figures) }
            .take(TOLD_OUTCOMES)
            .filter_map(|(outcome, figures)| {
                let mean = figures.mean?;
                let mean = if outcome.is_share { percent(mean) } else { number(mean) };
                Some(format!("{} {mean}", outcome.outcome))
            })
            .collect();
        told.extend(split.map(split_text));
        let cells = [
            format!("{indent}{path}"),
            rows(n_rows),
            share(n_rows, of_all),
            format!("{indent}{name}"),
        ];
        table.row(&cells, &told);
    });
    table
}
