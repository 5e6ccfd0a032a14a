//! What a typical customer of each segment is like.

use super::*;
use crate::segments::is_share;

/// Middle values of the rows nearest to each centroid, in the columns that tell segments apart most.
pub(super) fn section(report: &Report) -> String {
    let content = report.content;
    let mut columns = content::by_strength(&content.preparation, &content.profile.segments);
    columns.truncate(MOST_TYPICAL);
    let features = report.features();
    let heads: String = { columns.iter() }
        .map(|places| {
            format!(
                "<th scope=\"col\" class=\"w\">{}</th>",
                name(&features[places[0]].column)
            )
        })
        .collect();
    let mut some = false;
    let lines: String = { report.segments() }
        .map(|(segment, record)| {
            let cells: String = { columns.iter() }
                .map(|places| {
                    let told = middle(report, segment, places);
                    some |= told.is_some();
                    format!("<td>{}</td>", told.unwrap_or_else(|| "–".into()))
                })
                .collect();
            format!(
                "<tr><th scope=\"row\" class=\"t w\"><span class=\"num\">{}</span>{}</th>{cells}</tr>\n",
                segment.segment,
                title(&record.name)
            )
        })
        .collect();
    if !some {
        return String::new();
    }
    let n = report.record.options.min_cell.max(crate::segments::N_TYPICAL as u64);
    format!(
        "<p class=\"soft\">The middle value, to three digits, among the {n} rows nearest to each segment's centre: no \
         single customer. <code>kohort typical</code> tells of more columns, and writes who they are where that is asked for.</p>\n\
         <div class=\"scroll\"><table><caption>A typical customer of each segment</caption><thead><tr>\
         <th scope=\"col\" class=\"t\">segment</th>{heads}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>\n"
    )
}

/// What most of the typical rows have in a column.
fn middle(report: &Report, segment: &SegmentProfile, places: &[usize]) -> Option<String> {
    let (features, figures) = (report.features(), |at: usize| segment.features[at].typical);
    let first = places[0];
    if !is_share(&features[first].kind) {
        return figures(first).map(number);
    }
    if content::level_name(&features[first]).is_none() {
        return figures(first).map(|share| if share > 0.5 { "true" } else { "false" }.into());
    }
    let told = places.iter().filter_map(|&at| Some((at, figures(at)?)));
    let told: Vec<(usize, f64)> = told.collect();
    let most = told.iter().find(|(_, share)| *share > 0.5);
    let level = most.and_then(|(at, _)| content::level_name(&features[*at]));
    (!told.is_empty()).then(|| level.map_or_else(|| "mixed".into(), |level| name(&level)))
}
