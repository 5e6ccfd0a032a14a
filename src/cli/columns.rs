//! The table of columns: what each was taken for and what was done to it.

use std::collections::BTreeMap;

use kohort::error::escape;
use kohort::features::{ColumnReport, FeaturePreparation, Instant, Role, Scale, ValueKind};
use kohort::fit::Fit;

use super::output::{Align, Table, count, number, percent, plural, some_of};

/// Tables of more columns than this tell the ignored ones below, by reason.
const MAX_ROWS: usize = 40;

/// The table, in lines of at most `width` columns, and below it the ignored columns of a wide table.
pub(crate) fn text(fit: &Fit, width: usize) -> String {
    let (mut rows, mut below): (Vec<&ColumnReport>, Vec<&ColumnReport>) = (fit.columns.iter().collect(), Vec::new());
    if rows.len() > MAX_ROWS {
        (below, rows) = rows.into_iter().partition(|column| column.role == Role::Ignored);
    }
    let mut text = table(fit, &rows).render(width);
    for (reason, names) in by_reason(&below) {
        let columns = plural(names.len() as u64, "column");
        text += &format!(
            "ignored, {}: {columns} ({})\n",
            escape(reason),
            some_of(names.into_iter())
        );
    }
    text
}

fn table(fit: &Fit, rows: &[&ColumnReport]) -> Table {
    use Align::{Left, Right};
    let heads = [("column", Left), ("role", Left), ("type", Left), ("missing", Right)];
    let preparation = &fit.model.preparation;
    let mut table = Table::new(&heads, Some(treatment_head(preparation.scale)));
    let mut features = preparation.features.iter();
    for column in rows {
        let missing = match column.n_missing {
            0 => String::new(),
            n => format!("{} {:>5}", count(n), percent(n as f64 / fit.summary.n_rows as f64)),
        };
        let (role, treatment) = match column.role {
            Role::Feature => (
                "feature",
                features
                    .next()
                    .map_or_else(Vec::new, |it| treatment(preparation.scale, it, column)),
            ),
            Role::Id => ("id", Vec::new()),
            Role::Weight => ("weight", Vec::new()),
            Role::Ignored => ("ignored", column.reason.iter().cloned().collect()),
        };
        let cells = [
            column.column.clone(),
            role.into(),
            short_type(&column.data_type),
            missing,
        ];
        table.row(&cells, &treatment);
    }
    table
}

fn treatment_head(scale: Scale) -> &'static str {
    match scale {
        Scale::Zscore => "zscore: (x - mean) / standard deviation",
        Scale::Robust => "robust: (x - median) / interquartile range",
        Scale::Minmax => "minmax: (x - least) / range",
        Scale::None => "not scaled",
    }
}

/// What is done to a feature: `(x - 12.5) / 3.4`, what `x` is where that is not the value, what stands in for a
/// missing one.
fn treatment(scale: Scale, feature: &FeaturePreparation, column: &ColumnReport) -> Vec<String> {
    let (sign, centre) = if feature.centre < 0.0 {
        ("+", -feature.centre)
    } else {
        ("-", feature.centre)
    };
    let mut items = vec![match scale {
        Scale::None => "x".to_owned(),
        _ => format!("(x {sign} {}) / {}", number(centre), number(feature.scale)),
    }];
    items.extend(match feature.kind {
        ValueKind::Number => None,
        ValueKind::Bool => Some("x = 1 where true".into()),
        // The day says enough here, and the table is wide already.
        ValueKind::DaysBefore(newest) => {
            let day = Instant {
                nanosecond: 0,
                ..newest
            };
            Some(format!("x = days before {day}"))
        }
        ValueKind::HoursOfDay => Some("x = hours since midnight".into()),
        ValueKind::Days => Some("x = days".into()),
    });
    items.extend(column.fill.map(|fill| format!("missing as {}", number(fill))));
    items
}

/// A type in a word: units, digits, and how texts are kept do not matter here.
fn short_type(name: &str) -> String {
    let text = |name: &str| matches!(name, "Utf8" | "LargeUtf8" | "Utf8View");
    let head = name.split('(').next().unwrap_or(name);
    match head {
        _ if text(name) => "text".into(),
        "Dictionary" if name.trim_end_matches(')').rsplit(", ").next().is_some_and(text) => "text".into(),
        "Boolean" => "bool".into(),
        "Decimal32" | "Decimal64" | "Decimal128" | "Decimal256" => "decimal".into(),
        "Date32" | "Date64" => "date".into(),
        "Time32" | "Time64" => "time".into(),
        _ => head.to_lowercase(),
    }
}

fn by_reason<'c>(columns: &[&'c ColumnReport]) -> BTreeMap<&'c str, Vec<&'c str>> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for column in columns {
        let reason = column.reason.as_deref().unwrap_or_default();
        reasons.entry(reason).or_default().push(&column.column);
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_words() {
        let cases = [
            ("Int32", "int32"),
            ("Utf8", "text"),
            ("Dictionary(Int8, LargeUtf8)", "text"),
            ("Dictionary(Int8, Int64)", "dictionary"),
            ("Decimal128(14, 2)", "decimal"),
            ("Timestamp(ms, \"UTC\")", "timestamp"),
            ("List(Int32)", "list"),
            ("Boolean", "bool"),
        ];
        for (name, word) in cases {
            assert_eq!(short_type(name), word);
        }
    }
}
