//! The segments on a plane, and what lies between them.

use super::*;

/// The map, with a list of the segments beside it.
pub(super) fn section(report: &Report) -> String {
    let Some(map) = &report.content.map else {
        return String::new();
    };
    let segments = &report.record.segments;
    let shares: Vec<f64> = { segments.iter() }
        .map(|segment| content::about(segment.n_rows, report.n_rows()))
        .collect();
    let titles: Vec<String> = { segments.iter() }
        .map(|segment| {
            format!(
                "Segment {}, {}: {} rows",
                segment.segment,
                shortened(&segment.name, NAME_CHARS),
                rows(segment.n_rows)
            )
        })
        .collect();
    let list: String = { report.segments() }
        .map(|(segment, record)| {
            format!(
                "<tr><th scope=\"row\"><span class=\"num\">{}</span></th><td class=\"t w\">{}</td><td>{}</td></tr>\n",
                segment.segment,
                title(&record.name),
                share(segment.count, report.n_rows())
            )
        })
        .collect();
    format!(
        "<div class=\"beside\"><figure>{}<figcaption>The plane that shows most of what lies between the segments, {} of \
         it: principal components of the centroids, each as heavy as its rows. Distances are those of the prepared \
         features; areas are sizes, not spread: rows of neighbours mix. {}{}</figcaption></figure>\n\
         <div class=\"scroll\"><table><caption>Segments on the map</caption><thead><tr><th scope=\"col\">segment</th>\
         <th scope=\"col\" class=\"t\">name</th><th scope=\"col\">share</th></tr></thead>\n<tbody>\n{list}</tbody></table></div></div>\n",
        svg::map(map, &shares, &titles),
        percent(map.shares[0] + map.shares[1]),
        direction(report, "To the right", &map.axes[0]),
        direction(report, "Up", &map.axes[1]),
    )
}

/// `To the right: more orders, less recency.`
fn direction(report: &Report, way: &str, features: &[(usize, f64)]) -> String {
    let told = features
        .iter()
        .filter(|feature| feature.1.abs() >= 0.2)
        .map(|&(at, part)| {
            let more = if part > 0.0 { "more" } else { "less" };
            format!("{more} {}", name(&report.features()[at].name()))
        });
    let told: Vec<String> = told.collect();
    if told.is_empty() {
        String::new()
    } else {
        format!("{way}: {}. ", told.join(", "))
    }
}

/// How many rows sit between two segments, and what lies between these.
pub(super) fn between(report: &Report) -> String {
    let Some(boundary) = &report.record.boundary else {
        return String::new();
    };
    let share_of_all = boundary.share.map_or_else(|| "few".into(), percent);
    let text = format!(
        "<p class=\"soft\">{share_of_all} of the rows sit on a boundary: their margin, how much nearer they are to their own \
         segment than to the next, is at most {}, where another draw of the rows moves {} of them or more to another segment. \
         In <code>assignments.parquet</code>, <code>is_boundary</code> marks them.</p>\n",
        number(boundary.margin),
        percent(boundary.least_share_flipped),
    );
    if report.content.boundaries.is_empty() {
        return text;
    }
    let lines: String = report
        .content
        .boundaries
        .iter()
        .map(|pair| between_row(report, pair))
        .collect();
    format!(
        "{text}<div class=\"scroll\"><table><caption>Pairs of segments with rows between them, and what tells the two apart \
         there: the columns along which their centres lie farthest apart, with the part of the squared distance and the means of \
         both</caption><thead><tr><th scope=\"col\" class=\"t\">between</th><th scope=\"col\">rows</th>\
         <th scope=\"col\" class=\"t\">what lies between</th></tr></thead>\n<tbody>\n{lines}</tbody></table></div>\n"
    )
}

fn between_row(report: &Report, pair: &crate::artifact::Boundary) -> String {
    let segments = &report.content.profile.segments;
    let [a, b] = pair.segments;
    let figures = |segment: i32, at: usize| {
        let segment = segments.get(segment as usize - 1)?;
        let feature = &segment.features[at];
        Some(match (feature.mean, feature.mean_bounds) {
            (Some(mean), _) if crate::segments::is_share(&report.features()[at].kind) => percent(mean),
            (Some(mean), _) => number(mean),
            (None, bounds) => shares(bounds?),
        })
    };
    let apart: Vec<String> = { pair.apart.iter() }
        .map(|&(at, part)| {
            let means = figures(a, at).zip(figures(b, at));
            let means = means.map_or_else(String::new, |(a, b)| format!(": {a} against {b}"));
            format!("{} ({}){means}", name(&report.features()[at].name()), percent(part))
        })
        .collect();
    format!(
        "<tr><th scope=\"row\" class=\"t n\"><span class=\"num\">{a}</span><span class=\"num\">{b}</span></th><td class=\"n\">{}</td>\
         <td class=\"t\">{}</td></tr>\n",
        rows(pair.n_rows),
        apart.join("; "),
    )
}
