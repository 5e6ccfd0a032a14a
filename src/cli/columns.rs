//! The table of columns: what each was taken for and what was done to it.

use std::collections::BTreeMap;

use kohort::cells::Count;
use kohort::error::escape;
use kohort::features::{ColumnReport, Coordinate, FeaturePreparation, Instant, Role, Scale, ValueKind};
use kohort::fit::Fit;

use super::output::{Align, Table, count, number, percent, plural, shorten, some_of};

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
            Count::Exact(0) => String::new(),
            Count::Exact(n) => format!("{} {:>5}", count(n), percent(n as f64 / fit.summary.n_rows as f64)),
            n => kohort::report::rows(n),
        };
        let treatment = match column.role {
            Role::Feature => treatment(
                preparation.scale,
                &features.by_ref().take(column.n_features).collect::<Vec<_>>(),
                column,
            ),
            _ => column.reason.iter().cloned().collect(),
        };
        let cells = [
            column.column.clone(),
            column.role.name().into(),
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
        Scale::Rank => "rank: (share of the values below - mean) / standard deviation",
        Scale::None => "not scaled",
    }
}

/// What is done to a feature: `(x - 12.5) / 3.4`, what `x` is where that is not the value, what stands in for a
/// missing one.
fn treatment(scale: Scale, features: &[&FeaturePreparation], column: &ColumnReport) -> Vec<String> {
    let Some(feature) = features.first() else {
        return Vec::new();
    };
    if matches!(feature.kind, ValueKind::Level(_)) {
        return one_hot(features, column);
    }
    if let ValueKind::Element { of, .. } = feature.kind {
        return embedding(scale, of, features);
    }
    let (sign, centre) = if feature.centre < 0.0 {
        ("+", -feature.centre)
    } else {
        ("-", feature.centre)
    };
    let x = match feature.log_unit {
        None if feature.ranks.is_some() => "rank".to_owned(),
        None => "x".into(),
        Some(1.0) => "ln(1 + x)".into(),
        Some(unit) => format!("ln(1 + x / {})", number(unit)),
    };
    let mut items = vec![match scale {
        Scale::None => x,
        // The scale before the weight, which is told below.
        _ => format!(
            "({x} {sign} {}) / {}",
            number(centre),
            number(feature.scale * feature.weight.sqrt())
        ),
    }];
    items.extend(match feature.kind {
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
        _ => None,
    });
    items.extend(
        feature
            .clip
            .map(|[low, high]| format!("clipped to {} to {}", number(low), number(high))),
    );
    items.extend(
        { column.log.as_ref() }.map(|log| format!("skewness {:.1}, then {:.1}", log.skewness, log.skewness_after)),
    );
    items.extend(column.fill.map(|fill| format!("missing as {}", number(fill))));
    items.extend(features[1..].iter().filter_map(|feature| match feature.kind {
        ValueKind::Missing => Some("and an indicator of them".into()),
        ValueKind::Cycle(cycle, Coordinate::Sine) => Some(format!("and its {} on a circle", cycle.name())),
        _ => None,
    }));
    items.extend(weight(feature));
    items
}

/// Lists: one scale for all of their numbers, which count as one column.
fn embedding(scale: Scale, n_numbers: u32, features: &[&FeaturePreparation]) -> Vec<String> {
    let mut items = vec![format!("{n_numbers} numbers")];
    items.extend((scale != Scale::None).then(|| {
        let factor = features[0].scale * features[0].weight.sqrt();
        format!("(x - mean) / {}, all by one scale", number(factor))
    }));
    items.extend((features.len() > n_numbers as usize).then(|| "and an indicator of missing ones".into()));
    items.extend(weight(features[0]));
    items
}

/// The levels of text that became features.
fn one_hot(features: &[&FeaturePreparation], column: &ColumnReport) -> Vec<String> {
    let level = |feature: &&FeaturePreparation| match &feature.kind {
        ValueKind::Level(level) => Some(format!("{} {}", shorten(level, 24), percent(feature.mean))),
        _ => None,
    };
    let levels: Vec<String> = features.iter().filter_map(level).collect();
    let n_levels = plural(levels.len() as u64, "level");
    let mut items = vec![format!(
        "{n_levels}: {}",
        levels.into_iter().take(3).collect::<Vec<_>>().join(", ")
    )];
    let rare = plural(column.n_rare_levels as u64, "rare level");
    items.extend((column.n_rare_levels > 0).then(|| format!("{rare} as one")));
    items.extend((column.n_missing != Count::Exact(0)).then(|| "missing as one".into()));
    items.extend(weight(features[0]));
    items
}

fn weight(feature: &FeaturePreparation) -> Option<String> {
    (feature.weight != 1.0).then(|| format!("weight {}", number(feature.weight)))
}

/// A type in a word: units, digits, and how texts are kept do not matter here.
pub(super) fn short_type(name: &str) -> String {
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
