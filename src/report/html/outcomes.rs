//! What the segments are worth.

use super::*;
use crate::segments::OutcomeProfile;

/// A table for each outcome: means and their intervals.
pub(super) fn section(report: &Report) -> String {
    let outcomes = &report.record.outcomes;
    if outcomes.is_empty() {
        return String::new();
    }
    let tables: String = outcomes
        .iter()
        .take(MOST_OUTCOMES)
        .map(|of| outcome_table(report, of))
        .collect();
    let mut text = format!(
        "<p class=\"soft\">Nothing was clustered on these columns. Means with intervals of 95 % confidence (Wilson's for \
         shares, Student's for others); the dashed line is the mean of all rows.</p>\n<div class=\"grid-of wide-of\">\n{tables}</div>\n"
    );
    if outcomes.len() > MOST_OUTCOMES {
        text += "<p class=\"soft\">The other outcomes are in <code>run.json</code>.</p>\n";
    }
    text
}

fn outcome_table(report: &Report, of: &OutcomeProfile) -> String {
    let all = || of.segments.iter().take(MOST_SEGMENTS).chain([&of.overall]);
    let axis = Axis::covering(all().flat_map(|figures| [figures.low, figures.high]).flatten(), CELL);
    let line = |head: String, class: &str, figures: &OutcomeFigures| {
        let middle = |[low, high]: [f64; 2]| f64::midpoint(low, high);
        let about = figures.mean.or_else(|| figures.mean_bounds.map(middle));
        let interval = about.zip(figures.low.zip(figures.high));
        let drawn = axis.zip(interval).map(|(axis, (mean, (low, high)))| {
            svg::range(axis, [low, mean, high], of.overall.mean, &outcome(figures, of.is_share))
        });
        format!(
            "<tr{class}><th scope=\"row\" class=\"t\">{head}</th><td class=\"t\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>\n",
            drawn.unwrap_or_default(),
            outcome(figures, of.is_share),
            rows(figures.count),
        )
    };
    let mut lines: String = { report.segments().zip(&of.segments) }
        .map(|((segment, _), figures)| line(segment.segment.to_string(), "", figures))
        .collect();
    lines += &line("all".into(), " class=\"all\"", &of.overall);
    let what = if of.is_share { "share" } else { "mean" };
    format!(
        "<div class=\"card\"><div class=\"scroll\"><table><caption><strong>{}</strong></caption><thead><tr>\
         <th scope=\"col\" class=\"t\">segment</th><th scope=\"col\" class=\"t\">interval</th><th scope=\"col\">{what}</th>\
         <th scope=\"col\">rows</th></tr></thead>\n<tbody>\n{lines}</tbody></table></div></div>\n",
        name(&of.outcome)
    )
}
