//! How the values of every column are distributed in each segment.

use super::*;
use crate::features::ValueKind;
use crate::segments::{FeatureProfile, is_share};

/// A table for each column: histogram, deciles and mean of numbers, shares of levels.
pub(super) fn section(report: &Report) -> String {
    let content = report.content;
    let mut columns = content::by_strength(&content.preparation, &content.profile.segments);
    columns.truncate(report.n_told_columns());
    let tables: String = columns.iter().map(|places| column_table(report, places)).collect();
    let mut text = format!(
        "<p class=\"soft\">Columns that tell the segments apart most come first. Above, how many rows have which values; \
         both ends hold all values beyond. Below, bars reach from the value that a tenth of the rows lie below (p10) to \
         that which nine tenths lie below (p90), with a tick at the median; the dashed line is the median of all rows. Both \
         are drawn on the scale of the clustering: where values were bent by a logarithm, they are too. Parts that are not \
         told are drawn as the middle of what they can be.</p>\n<div class=\"grid-of wide-of\">\n{tables}</div>\n"
    );
    if content.n_columns > columns.len() {
        text += &format!(
            "<p class=\"soft\">The other {} columns are in <code>profile.parquet</code>.</p>\n",
            content.n_columns - columns.len()
        );
    }
    text
}

fn column_table(report: &Report, places: &[usize]) -> String {
    let is_number = |at: usize| !is_share(&report.features()[at].kind) && !report.content.profile.is_flag(at);
    let mut of_numbers = places.iter().filter(|&&at| is_number(at));
    match of_numbers.next() {
        Some(&at) => number_table(report, at),
        None => share_table(report, places),
    }
}

/// Histograms, deciles and mean of a column of numbers.
fn number_table(report: &Report, at: usize) -> String {
    let feature = &report.features()[at];
    let profile = &report.content.profile;
    let overall = &profile.overall[at];
    let segments = || report.segments().map(|(segment, _)| &segment.features[at]);
    let bent = |values: [f64; 3]| values.map(|v| feature.z(v));
    let edges: Vec<f64> = profile.edges[at].iter().map(|&edge| feature.z(edge)).collect();
    let ends = svg::outer_ends(&edges);
    let inner = segments().chain([overall]).filter_map(deciles).flat_map(bent);
    let axis = Axis::covering(inner.chain(ends.into_iter().flatten()), CELL);
    let reference = deciles(overall).map(|deciles| feature.z(deciles[1]));
    let draw = |figures: &FeatureProfile, values: [f64; 3]| {
        let [p10, median, p90] = values.map(number);
        let title = format!("p10 {p10}, median {median}, p90 {p90}");
        let bins: Vec<f64> = figures.histogram.iter().map(|n| n.about() as f64).collect();
        axis.map_or_else(String::new, |axis| {
            svg::distribution(axis, (&edges, &bins), bent(values), reference, &title)
        })
    };
    let with_missing = segments().any(|figures| figures.share_missing != Some(0.0));
    let line = |head: String, class: &str, figures: &FeatureProfile, size: Count| {
        let missing = match with_missing {
            true => format!("<td>{}</td>", missing(figures, size)),
            false => String::new(),
        };
        let Some(values) = deciles(figures) else {
            let n = match figures.count {
                Count::Exact(0) => "no values".into(),
                n => format!("{} values", rows(n)),
            };
            return format!(
                "<tr{class}><th scope=\"row\" class=\"t\">{head}</th><td class=\"t\" colspan=\"5\">{n}</td>{missing}</tr>\n"
            );
        };
        let [p10, median, p90] = values.map(number);
        format!(
            "<tr{class}><th scope=\"row\" class=\"t\">{head}</th><td class=\"t\">{}</td><td>{p10}</td><td>{median}</td>\
             <td>{p90}</td><td>{}</td>{missing}</tr>\n",
            draw(figures, values),
            figures.mean.map_or_else(String::new, number),
        )
    };
    let mut lines: String = { report.segments() }
        .map(|(segment, _)| line(segment.segment.to_string(), "", &segment.features[at], segment.count))
        .collect();
    lines += &line("all".into(), " class=\"all\"", overall, report.n_rows());
    let heads = ["p10", "median", "p90", "mean", "missing"];
    let heads = heads[..if with_missing { 5 } else { 4 }].iter();
    let heads: String = heads.map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    format!(
        "<div class=\"card\"><div class=\"scroll\"><table><caption><strong>{}</strong>{}</caption><thead><tr>\
         <th scope=\"col\" class=\"t\">segment</th><th scope=\"col\" class=\"t\">distribution</th>{heads}</tr></thead>\n\
         <tbody>\n{lines}</tbody></table></div></div>\n",
        name(&feature.column),
        unit(&feature.kind),
    )
}

fn deciles(figures: &FeatureProfile) -> Option<[f64; 3]> {
    Some([figures.p10?, figures.median?, figures.p90?])
}

fn missing(figures: &FeatureProfile, size: Count) -> String {
    match figures.share_missing {
        Some(0.0) => String::new(),
        Some(share) => percent(f64::from(share)),
        None => shares(size.minus(figures.count).shares_of(size)),
    }
}

fn unit(kind: &ValueKind) -> String {
    match kind {
        ValueKind::DaysBefore(newest) => format!(", days before {newest}"),
        ValueKind::HoursOfDay => ", hours since midnight".into(),
        ValueKind::Days => ", days".into(),
        _ => String::new(),
    }
}

/// Shares of the levels of a text, or of a truth value.
fn share_table(report: &Report, places: &[usize]) -> String {
    let features = report.features();
    let overall = &report.content.profile.overall;
    let of_all = |at: usize| overall[at].about().unwrap_or(0.0);
    let mut levels = places.to_vec();
    levels.sort_by(|&a, &b| of_all(b).total_cmp(&of_all(a)));
    let n_levels = levels.len();
    levels.truncate(MOST_LEVELS);
    let heads: String = { levels.iter() }
        .map(|&at| {
            let level = content::level_name(&features[at]).unwrap_or_else(|| match features[at].kind {
                ValueKind::Bool => "true".into(),
                _ => "1".into(),
            });
            format!("<th scope=\"col\" class=\"w\">{}</th>", name(&level))
        })
        .collect();
    let line = |head: String, class: &str, all: &[FeatureProfile]| {
        let cells: String = levels.iter().map(|&at| share_cell(&all[at])).collect();
        format!("<tr{class}><th scope=\"row\" class=\"t\">{head}</th>{cells}</tr>\n")
    };
    let mut lines: String = { report.segments() }
        .map(|(segment, _)| line(segment.segment.to_string(), "", &segment.features))
        .collect();
    lines += &line("all".into(), " class=\"all\"", overall);
    let more = if n_levels > MOST_LEVELS {
        format!(", the {MOST_LEVELS} most frequent of {n_levels} levels")
    } else {
        String::new()
    };
    format!(
        "<div class=\"card\"><div class=\"scroll\"><table class=\"even\"><caption><strong>{}</strong>, share of rows{more}</caption>\
         <thead><tr><th scope=\"col\" class=\"t\">segment</th>{heads}</tr></thead>\n<tbody>\n{lines}</tbody></table></div></div>\n",
        name(&features[places[0]].column)
    )
}

fn share_cell(figures: &FeatureProfile) -> String {
    let told = match (figures.mean, figures.mean_bounds) {
        (Some(mean), _) => percent(mean),
        (None, Some(bounds)) if figures.count.bounds()[0] >= MIN_CELL => shares(bounds),
        _ => return "<td>–</td>".into(),
    };
    let bar = svg::share(figures.about().unwrap_or(0.0), &told);
    format!("<td>{told}{bar}</td>")
}
