//! `report.html`: one file without scripts, links to elsewhere or anything to load.

use super::svg::{self, Axis, CELL, Curve};
use super::*;
use crate::error::escape;
use crate::features::ValueKind;
use crate::kmeans::StopReason;
use crate::segments::{FeatureProfile, OutcomeProfile, is_share};

const STYLE: &str = include_str!("page.css");
/// Even if some text were not escaped, a browser would run and load nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A text as it stands in HTML, between tags and in attributes: control and bidirectional characters are shown as
/// such, what has a meaning in HTML is written as entities.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in escape(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A name from outside: its direction of writing is its own matter.
pub(super) fn name(text: &str) -> String {
    format!("<bdi>{}</bdi>", breakable(&shortened(text, NAME_CHARS)))
}

/// A line may end after an underscore.
fn breakable(text: &str) -> String {
    escaped(text).replace('_', "_<wbr>")
}

/// A drafted name, which may hold several names.
pub(super) fn title(text: &str) -> String {
    format!("<bdi>{}</bdi>", breakable(&shortened(text, 3 * NAME_CHARS)))
}

pub(super) fn sentence(text: &str) -> String {
    escaped(&shortened(text, SENTENCE_CHARS))
}

pub(super) fn page(report: &Report) -> String {
    let sections = [
        ("segments", "The segments", segments(report)),
        ("k", "How many segments", decision(report)),
        ("map", "Map", map(report)),
        ("tree", "How they hang together", tree::section(report)),
        ("outcomes", "Outcomes", outcomes(report)),
        ("features", "Feature by feature", features(report)),
        ("columns", "The data, and what was done to it", columns(report)),
        ("how", "How it was computed", how(report)),
    ];
    let told: Vec<_> = sections.iter().filter(|section| !section.2.is_empty()).collect();
    let links: String = { told.iter() }
        .map(|(id, title, _)| format!("<li><a href=\"#{id}\">{title}</a></li>"))
        .collect();
    let body: String = { told.iter() }
        .map(|(id, title, text)| format!("<section id=\"{id}\">\n<h2>{title}</h2>\n{text}</section>\n"))
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{heading}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<header>\n<h1>{heading}</h1>\n{summary}<nav aria-label=\"Sections\"><ul>{links}</ul></nav>\n\
         </header>\n{body}</main>\n</body>\n</html>\n",
        heading = heading(report),
        summary = summary(report),
    )
}

fn heading(report: &Report) -> String {
    let record = report.record;
    format!(
        "{} from {}",
        figures::plural(record.n_segments as u64, "segment"),
        figures::plural(record.n_rows, "row")
    )
}

fn summary(report: &Report) -> String {
    let record = report.record;
    let data: Vec<String> = { record.data.iter().take(3) }
        .map(|data| format!("<code>{}</code>", name(data)))
        .collect();
    let mut text = format!(
        "<p class=\"soft\">{}, {} on {} features, kohort {}</p>\n",
        data.join(", "),
        escaped(&record.time.created),
        record.n_features,
        escaped(&record.kohort_version),
    );
    for warning in record.warnings.iter().take(MOST_LINES) {
        text += &format!("<p><strong>Note:</strong> {}</p>\n", sentence(warning));
    }
    text
}

fn segments(report: &Report) -> String {
    let cards: String = { report.segments() }
        .map(|(segment, drafted)| card(report, segment, drafted))
        .collect();
    let mut text = format!(
        "<p class=\"soft\">Names are drafts, made from the strongest differences. Differences are those between the \
         mean here and the mean of all rows, in standard deviations (sd) of all rows. Figures of fewer than {MIN_CELL} \
         rows are not told.</p>\n<div class=\"grid-of\">\n{cards}</div>\n"
    );
    if report.n_untold() > 0 {
        text += &format!(
            "<p class=\"soft\">The {} smaller segments are in <code>profile.parquet</code>.</p>\n",
            report.n_untold()
        );
    }
    text
}

fn card(report: &Report, segment: &SegmentProfile, drafted: &str) -> String {
    let number = segment.segment;
    let n_rows = report.record.n_rows;
    let mut text = format!(
        "<article class=\"card\">\n<h3><span class=\"num\">{number}</span>{}</h3>\n<p class=\"size\">{} rows, {}</p>\n",
        title(drafted),
        rows(segment.count),
        share(segment.share, n_rows),
    );
    if !is_small_cell(segment.share, n_rows) {
        text += &svg::share(
            segment.share,
            &format!("Segment {number} is {} of all rows", percent(segment.share)),
        );
    }
    text += &apart_table(report, segment);
    let at = number as usize - 1;
    for outcome_of in report.fit.outcomes.iter().take(MOST_OUTCOMES) {
        text += &format!(
            "<p>{}: <strong>{}</strong>; all: {}</p>\n",
            name(&outcome_of.outcome),
            outcome(&outcome_of.segments[at], outcome_of.is_share),
            outcome(&outcome_of.overall, outcome_of.is_share),
        );
    }
    if let Some((neighbour, n)) = report.neighbours[at].filter(|_| segment.count >= MIN_CELL) {
        text += &format!(
            "<p class=\"soft\">Next to segment {}, the second choice of {} of its rows.</p>\n",
            neighbour + 1,
            share(n as f64 / segment.count as f64, segment.count),
        );
    }
    text + "</article>\n"
}

fn apart_table(report: &Report, segment: &SegmentProfile) -> String {
    let differences = report.set_apart(segment);
    if differences.is_empty() {
        return String::new();
    }
    let reach = differences
        .iter()
        .map(|difference| difference.sd.abs())
        .fold(1.0, f64::max);
    let rows: String = { differences.iter() }
        .map(|difference| {
            let at = difference.feature;
            let all = &report.fit.profile.overall[at];
            // From an exact difference the number of rows could be found.
            let sd = match (difference.is_small_cell, difference.sd > 0.0) {
                (false, _) => format!("{:+.2}", difference.sd),
                (true, true) => "more".into(),
                (true, false) => "less".into(),
            };
            let bar = if difference.is_small_cell {
                String::new()
            } else {
                svg::difference(
                    difference.sd,
                    reach,
                    &format!("{:+.2} standard deviations", difference.sd),
                )
            };
            format!(
                "<tr><th scope=\"row\" class=\"t w\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{sd} {bar}</td></tr>\n",
                name(&report.features()[at].name()),
                mean(difference, segment.features[at].count),
                all_mean(all, difference.is_share),
            )
        })
        .collect();
    format!(
        "<div class=\"scroll\"><table><caption>What sets it apart</caption><thead><tr><th scope=\"col\" class=\"t\">feature</th>\
         <th scope=\"col\">mean</th><th scope=\"col\">of all</th><th scope=\"col\">sd</th></tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn all_mean(all: &FeatureProfile, is_share: bool) -> String {
    match all.mean.filter(|_| all.count >= MIN_CELL) {
        None => String::new(),
        Some(mean) if is_share => share(mean, all.count),
        Some(mean) => number(mean),
    }
}

fn decision(report: &Report) -> String {
    let Some(selection) = &report.record.selection else {
        return format!(
            "<p>{} were asked for. <code>kohort sweep</code>, or <code>kohort fit -k auto</code>, judges a range of \
             numbers and says which stands out.</p>\n",
            figures::plural(report.record.n_clusters as u64, "segment")
        );
    };
    let sweep = &selection.sweep;
    let reasons: String = { sweep.decision.reasons.iter() }
        .map(|reason| format!("<li>{}</li>\n", sentence(reason)))
        .collect();
    let curve = |name, class, value: &dyn Fn(&crate::select::Candidate) -> Option<f64>| Curve {
        name,
        class,
        points: sweep
            .candidates
            .iter()
            .map(|candidate| (candidate.k, value(candidate)))
            .collect(),
    };
    let curves = [
        curve("stability", "one", &|c| c.stability.as_ref().map(|s| s.adjusted_rand)),
        curve("silhouette", "two", &|c| Some(c.silhouette)),
        curve("explained", "three", &|c| Some(c.share_explained)),
    ];
    format!(
        "<ul class=\"plain\">\n{reasons}</ul>\n<figure>{}<figcaption>Stability (solid): agreement \
         with {} resamples, adjusted Rand index. Silhouette (dashed): how much nearer rows are to their own segment than \
         to the next. Explained (dotted): share of the scatter that lies between segments; it always \
         grows.</figcaption></figure>\n{}",
        svg::curves(&curves, sweep.decision.k),
        sweep.n_resamples,
        candidates(sweep),
    )
}

fn candidates(sweep: &crate::select::Sweep) -> String {
    let row = |c: &crate::select::Candidate| {
        let chosen = c.k == sweep.decision.k;
        let stability = c
            .stability
            .as_ref()
            .map_or_else(String::new, |s| format!("{:.3}", s.adjusted_rand));
        format!(
            "<tr{}><th scope=\"row\">{}{}</th><td>{stability}</td><td>{:.3}</td><td class=\"n\">{} of {}</td><td>{}</td>\
             <td>{}</td><td>{:.3}</td><td>{}</td></tr>\n",
            if chosen { " class=\"here\"" } else { "" },
            c.k,
            if chosen { " (chosen)" } else { "" },
            c.silhouette,
            c.n_apart(),
            c.k,
            percent(c.smallest_share),
            percent(c.share_explained),
            c.davies_bouldin,
            c.calinski_harabasz.map_or_else(String::new, number),
        )
    };
    let rows: String = sweep.candidates.iter().map(row).collect();
    let heads: String = [
        "segments",
        "stability",
        "silhouette",
        "with a gap",
        "smallest",
        "explained",
        "Davies-Bouldin",
        "Calinski-Harabasz",
    ]
    .map(|head| format!("<th scope=\"col\">{head}</th>"))
    .concat();
    format!(
        "<div class=\"scroll\"><table><caption>Every number tried</caption><thead><tr>{heads}</tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn map(report: &Report) -> String {
    let Some(map) = &report.map else {
        return String::new();
    };
    let profile = &report.fit.profile;
    let shares: Vec<f64> = profile.segments.iter().map(|segment| segment.share).collect();
    let titles: Vec<String> = { profile.segments.iter().zip(&report.record.segments) }
        .map(|(segment, record)| {
            format!(
                "Segment {}, {}: {} rows",
                segment.segment,
                shortened(&record.name, NAME_CHARS),
                rows(segment.count)
            )
        })
        .collect();
    let list: String = { report.segments() }
        .map(|(segment, drafted)| {
            format!(
                "<tr><th scope=\"row\"><span class=\"num\">{}</span></th><td class=\"t w\">{}</td><td>{}</td></tr>\n",
                segment.segment,
                title(drafted),
                share(segment.share, report.record.n_rows)
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

fn outcomes(report: &Report) -> String {
    let fit = report.fit;
    if fit.outcomes.is_empty() {
        return String::new();
    }
    let tables: String = fit
        .outcomes
        .iter()
        .take(MOST_OUTCOMES)
        .map(|of| outcome_table(report, of))
        .collect();
    let mut text = format!(
        "<p class=\"soft\">Nothing was clustered on these columns. Means with intervals of 95 % confidence (Wilson's for \
         shares, Student's for others); the dashed line is the mean of all rows.</p>\n<div class=\"grid-of wide-of\">\n{tables}</div>\n"
    );
    if fit.outcomes.len() > MOST_OUTCOMES {
        text += "<p class=\"soft\">The other outcomes are in <code>run.json</code>.</p>\n";
    }
    text
}

fn outcome_table(report: &Report, of: &OutcomeProfile) -> String {
    let all = || of.segments.iter().take(MOST_SEGMENTS).chain([&of.overall]);
    let axis = Axis::covering(all().flat_map(|figures| [figures.low, figures.high]).flatten(), CELL);
    let line = |head: String, class: &str, figures: &OutcomeFigures| {
        let interval = figures.mean.zip(figures.low.zip(figures.high));
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

fn features(report: &Report) -> String {
    let mut columns = by_column(report);
    let n_columns = columns.len();
    columns.truncate(MOST_COLUMNS);
    let tables: String = columns.iter().map(|places| column_table(report, places)).collect();
    let mut text = format!(
        "<p class=\"soft\">Columns that tell the segments apart most come first. Bars reach from the value that a tenth of \
         the rows lie below (p10) to that which nine tenths lie below (p90), with a tick at the median; the dashed line \
         is the median of all rows. A bar is drawn on the scale of the clustering: where values were bent by a logarithm, \
         it is too.</p>\n<div class=\"grid-of wide-of\">\n{tables}</div>\n"
    );
    if n_columns > MOST_COLUMNS {
        text += &format!(
            "<p class=\"soft\">The other {} columns are in <code>profile.parquet</code>.</p>\n",
            n_columns - MOST_COLUMNS
        );
    }
    text
}

/// The features of each column, those columns first whose means differ most.
fn by_column(report: &Report) -> Vec<Vec<usize>> {
    let mut columns: Vec<Vec<usize>> = Vec::new();
    for (at, feature) in report.features().iter().enumerate() {
        match columns.last_mut() {
            Some(places) if report.features()[places[0]].column == feature.column => places.push(at),
            _ => columns.push(vec![at]),
        }
    }
    let strength = |places: &Vec<usize>| {
        let segments = report.segments().filter(|(segment, _)| segment.count >= MIN_CELL);
        let differences = segments.flat_map(|(segment, _)| places.iter().map(|&at| segment.features[at].difference_sd));
        differences.flatten().map(f64::abs).fold(0.0, f64::max)
    };
    columns.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
    columns
}

fn column_table(report: &Report, places: &[usize]) -> String {
    let features = report.features();
    let of_numbers: Vec<usize> = { places.iter().copied() }
        .filter(|&at| !is_share(&features[at].kind))
        .collect();
    match of_numbers.first() {
        Some(&at) => number_table(report, at),
        None => share_table(report, places),
    }
}

/// Deciles and mean of a column of numbers.
fn number_table(report: &Report, at: usize) -> String {
    let feature = &report.features()[at];
    let overall = &report.fit.profile.overall[at];
    let deciles = |figures: &FeatureProfile| {
        let told = (figures.count >= MIN_CELL).then_some(figures)?;
        Some([told.p10?, told.median?, told.p90?])
    };
    let all = report
        .segments()
        .map(|(segment, _)| &segment.features[at])
        .chain([overall]);
    let bent = |values: [f64; 3]| values.map(|v| feature.z(v));
    let axis = Axis::covering(all.filter_map(deciles).flat_map(bent), CELL);
    let reference = deciles(overall).map(|deciles| feature.z(deciles[1]));
    let line = |head: String, class: &str, figures: &FeatureProfile, n_rows: u64| {
        let Some(values) = deciles(figures) else {
            let n = if figures.count == 0 {
                "no values".into()
            } else {
                format!("under {MIN_CELL} values")
            };
            return format!(
                "<tr{class}><th scope=\"row\" class=\"t\">{head}</th><td class=\"t\" colspan=\"6\">{n}</td></tr>\n"
            );
        };
        let [p10, median, p90] = values.map(number);
        let drawn = axis.map(|axis| {
            let title = format!("p10 {p10}, median {median}, p90 {p90}");
            svg::range(axis, bent(values), reference, &title)
        });
        format!(
            "<tr{class}><th scope=\"row\" class=\"t\">{head}</th><td class=\"t\">{}</td><td>{p10}</td><td>{median}</td>\
             <td>{p90}</td><td>{}</td><td class=\"n\">{}</td></tr>\n",
            drawn.unwrap_or_default(),
            figures.mean.map_or_else(String::new, number),
            missing(figures, n_rows),
        )
    };
    let mut lines: String = { report.segments() }
        .map(|(segment, _)| line(segment.segment.to_string(), "", &segment.features[at], segment.count))
        .collect();
    lines += &line("all".into(), " class=\"all\"", overall, report.record.n_rows);
    let heads = ["p10", "median", "p90", "mean", "missing"].map(|head| format!("<th scope=\"col\">{head}</th>"));
    format!(
        "<div class=\"card\"><div class=\"scroll\"><table><caption><strong>{}</strong>{}</caption><thead><tr>\
         <th scope=\"col\" class=\"t\">segment</th><th scope=\"col\" class=\"t\">p10 to p90</th>{}</tr></thead>\n\
         <tbody>\n{lines}</tbody></table></div></div>\n",
        name(&feature.column),
        unit(&feature.kind),
        heads.concat(),
    )
}

fn missing(figures: &FeatureProfile, n_rows: u64) -> String {
    if figures.share_missing > 0.0 {
        share(f64::from(figures.share_missing), n_rows)
    } else {
        String::new()
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
    let overall = &report.fit.profile.overall;
    let mut levels = places.to_vec();
    levels.sort_by(|&a, &b| {
        overall[b]
            .mean
            .unwrap_or(0.0)
            .total_cmp(&overall[a].mean.unwrap_or(0.0))
    });
    let n_levels = levels.len();
    levels.truncate(MOST_LEVELS);
    let heads: String = { levels.iter() }
        .map(|&at| {
            let head = match &features[at].kind {
                ValueKind::Level(level) => name(level),
                ValueKind::OtherThan(_) => "(other)".into(),
                ValueKind::Missing => "(missing)".into(),
                _ => "true".into(),
            };
            format!("<th scope=\"col\" class=\"w\">{head}</th>")
        })
        .collect();
    let line = |head: String, class: &str, all: &[FeatureProfile], told: bool| {
        let cells: String = { levels.iter() }
            .map(|&at| match all[at].mean.filter(|_| told && all[at].count >= MIN_CELL) {
                None => "<td>–</td>".into(),
                Some(mean) => {
                    let figure = share(mean, all[at].count);
                    let bar = if is_small_cell(mean, all[at].count) {
                        String::new()
                    } else {
                        format!(" {}", svg::share(mean, &figure))
                    };
                    format!("<td class=\"n\">{figure}{bar}</td>")
                }
            })
            .collect();
        format!("<tr{class}><th scope=\"row\" class=\"t\">{head}</th>{cells}</tr>\n")
    };
    let mut lines: String = { report.segments() }
        .map(|(segment, _)| {
            line(
                segment.segment.to_string(),
                "",
                &segment.features,
                segment.count >= MIN_CELL,
            )
        })
        .collect();
    lines += &line("all".into(), " class=\"all\"", overall, true);
    let more = if n_levels > MOST_LEVELS {
        format!(", the {MOST_LEVELS} most frequent of {n_levels} levels")
    } else {
        String::new()
    };
    format!(
        "<div class=\"card\"><div class=\"scroll\"><table><caption><strong>{}</strong>, share of rows{more}</caption>\
         <thead><tr><th scope=\"col\" class=\"t\">segment</th>{heads}</tr></thead>\n<tbody>\n{lines}</tbody></table></div></div>\n",
        name(&features[places[0]].column)
    )
}

fn columns(report: &Report) -> String {
    let columns = &report.fit.columns;
    let n_rows = report.record.n_rows;
    let lines: String = { columns.iter().take(MOST_TREATED) }
        .map(|column| {
            let mut done = column.treatment.clone();
            if let Some(fill) = column.fill {
                done += &format!("; missing as {}", number(fill));
            }
            if let Some(reason) = &column.reason {
                done = if done.is_empty() {
                    reason.clone()
                } else {
                    format!("{done}; {reason}")
                };
            }
            let missing = if column.n_missing > 0 {
                share(column.n_missing as f64 / n_rows.max(1) as f64, n_rows)
            } else {
                String::new()
            };
            format!(
                "<tr><th scope=\"row\" class=\"t w\">{}</th><td class=\"t\">{}</td><td class=\"t w\">{}</td>\
                 <td class=\"n\">{missing}</td><td class=\"t w\">{}</td></tr>\n",
                name(&column.column),
                column.role.name(),
                name(&column.data_type),
                escaped(&shortened(&done, 4 * NAME_CHARS)),
            )
        })
        .collect();
    let mut text = format!(
        "<div class=\"scroll\"><table><caption>Every column, the part it plays, and what was done to it or why it is left \
         out</caption><thead><tr><th scope=\"col\" class=\"t\">column</th><th scope=\"col\" class=\"t\">role</th>\
         <th scope=\"col\" class=\"t\">type</th><th scope=\"col\">missing</th><th scope=\"col\" class=\"t\">treatment</th></tr></thead>\n\
         <tbody>\n{lines}</tbody></table></div>\n"
    );
    if columns.len() > MOST_TREATED {
        text += &format!(
            "<p class=\"soft\">The other {} columns are in <code>run.json</code>.</p>\n",
            columns.len() - MOST_TREATED
        );
    }
    text
}

fn how(report: &Report) -> String {
    let record = report.record;
    let stopped = match record.stop_reason {
        StopReason::Converged => "converged: no centroid moved any more",
        StopReason::Tolerance => "centroids moved less than the tolerance",
        StopReason::MaxIter => "stopped at the most iterations allowed",
    };
    let seeding = record.seeding.as_ref().map_or_else(
        || "first centroids as given".to_owned(),
        |seeding| {
            let restarts = figures::plural(seeding.n_init as u64, "restart");
            format!("{restarts} on {}", figures::plural(seeding.n_sample, "row"))
        },
    );
    let device = &record.device;
    let facts = [
        (
            "method",
            "exact k-means (Lloyd's iterations on integers), the same bits on every device".into(),
        ),
        ("labels hash", format!("<code>{}</code>", escaped(&record.labels_hash))),
        ("seed", format!("{}; {}", record.options.seed, escaped(&seeding))),
        ("iterations", format!("{}, {stopped}", record.n_iter)),
        (
            "inertia",
            format!(
                "{} ({} exactly)",
                number(record.inertia),
                escaped(&record.inertia_exact)
            ),
        ),
        (
            "device",
            format!(
                "{}: {}; {}",
                escaped(&device.backend),
                sentence(&device.description),
                sentence(&device.reason)
            ),
        ),
        (
            "time",
            format!(
                "{}, {}",
                escaped(&record.time.created),
                figures::seconds(record.time.elapsed_s)
            ),
        ),
        (
            "made again by",
            "<code>kohort verify</code> with the run directory".into(),
        ),
    ];
    let facts: String = facts
        .iter()
        .map(|(what, text)| format!("<dt>{what}</dt><dd>{text}</dd>\n"))
        .collect();
    let inputs: String = { record.inputs.iter().take(MOST_LINES) }
        .map(|input| {
            format!(
                "<tr><th scope=\"row\" class=\"t w\">{}</th><td>{}</td><td>{}</td><td class=\"t w\"><code>{}</code></td></tr>\n",
                name(&input.path),
                count(input.n_rows),
                count(input.bytes),
                escaped(&input.xxh3_128)
            )
        })
        .collect();
    let more = record.inputs.len().saturating_sub(MOST_LINES);
    let more = if more > 0 {
        format!("; {more} more are in run.json")
    } else {
        String::new()
    };
    format!(
        "<dl>\n{facts}</dl>\n<div class=\"scroll\"><table><caption>Files read{more}</caption><thead><tr>\
         <th scope=\"col\" class=\"t\">file</th><th scope=\"col\">rows</th><th scope=\"col\">bytes</th>\
         <th scope=\"col\" class=\"t\">XXH3-128</th></tr></thead>\n<tbody>\n{inputs}</tbody></table></div>\n"
    )
}
