//! `report.html`: one file without scripts, links to elsewhere or anything to load.

mod choice;
mod features;
mod how;
mod map;
mod outcomes;
mod typical;

use super::svg::{self, Axis, CELL, Curve};
use super::*;
use crate::cells::Count;
use crate::error::escape;

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

/// A line may end after an underscore, and before a capital letter that follows a small one.
fn breakable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in escaped(text).chars() {
        if before == '_' || (before.is_lowercase() && c.is_uppercase()) {
            out.push_str("<wbr>");
        }
        out.push(c);
        before = c;
    }
    out
}

/// A name, which may hold several names.
pub(super) fn title(text: &str) -> String {
    format!("<bdi>{}</bdi>", breakable(&shortened(text, 3 * NAME_CHARS)))
}

pub(super) fn sentence(text: &str) -> String {
    escaped(&shortened(text, SENTENCE_CHARS))
}

pub(super) fn page(report: &Report) -> String {
    let sections = [
        ("segments", "The segments", segments(report)),
        ("typical", "Typical customers", typical::section(report)),
        ("k", "How many segments", choice::section(report)),
        ("map", "Map", map::section(report)),
        ("tree", "How they hang together", super::tree::section(report)),
        ("between", "Between segments", map::between(report)),
        ("outcomes", "Outcomes", outcomes::section(report)),
        ("features", "Feature by feature", features::section(report)),
        ("columns", "The data, and what was done to it", how::columns(report)),
        ("how", "How it was computed", how::section(report)),
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
    let cards: String = report
        .segments()
        .map(|(segment, record)| card(report, segment, record))
        .collect();
    let drafts = if report.has_drafts() {
        "Names are drafts, made from the strongest differences, until <code>kohort rename</code> gives others. "
    } else {
        ""
    };
    let least = report.record.options.min_cell;
    let withheld = if least > 1 {
        format!(
            " Numbers of 1 to {} rows are not told, nor others from which they could be found by subtracting: these \
             are given as what they can be.",
            least - 1
        )
    } else {
        String::new()
    };
    let mut text = format!(
        "<p class=\"soft\">{drafts}Differences are those between the mean here and the mean of all rows, in standard \
         deviations (sd) of all rows, with what holds them with 95 % confidence; that says how precise they are, not that \
         they could not be there by chance, as the segments were made from them.{withheld}</p>\n\
         <div class=\"grid-of\">\n{cards}</div>\n"
    );
    if report.n_untold() > 0 {
        text += &format!(
            "<p class=\"soft\">The {} smaller segments are in <code>profile.parquet</code>.</p>\n",
            report.n_untold()
        );
    }
    text
}

fn card(report: &Report, segment: &SegmentProfile, record: &SegmentRecord) -> String {
    let number = segment.segment;
    let share = share(segment.count, report.n_rows());
    let mut text = format!(
        "<article class=\"card\">\n<h3><span class=\"num\">{number}</span>{}{}</h3>\n<p class=\"size\">{} rows, {share}</p>\n",
        title(&record.name),
        if record.name_is_draft {
            " <span class=\"soft\">(draft)</span>"
        } else {
            ""
        },
        rows(segment.count),
    );
    let title = format!("Segment {number} is {share} of all rows");
    text += &svg::share(content::about(segment.count, report.n_rows()), &title);
    text += &apart_table(report, segment);
    let at = number as usize - 1;
    for of in report.record.outcomes.iter().take(MOST_OUTCOMES) {
        if let Some(figures) = of.segments.get(at) {
            text += &format!(
                "<p>{}: <strong>{}</strong>; all: {}</p>\n",
                name(&of.outcome),
                outcome(figures, of.is_share),
                outcome(&of.overall, of.is_share),
            );
        }
    }
    if let Some(neighbour) = &report.content.neighbours[at] {
        text += &format!(
            "<p class=\"soft\">Next to segment {}, the second choice of {} of its rows.</p>\n",
            neighbour.segment,
            super::share(neighbour.n_rows, segment.count),
        );
    }
    text + "</article>\n"
}

fn apart_table(report: &Report, segment: &SegmentProfile) -> String {
    let differences = report.set_apart(segment);
    if differences.is_empty() {
        return match segment.count.bounds() {
            [_, most] if most < report.record.options.min_cell => {
                "<p class=\"soft\">Figures of so few rows are not told.</p>\n".into()
            }
            _ => String::new(),
        };
    }
    let ends = |difference: &Difference| difference.interval.into_iter().flatten().chain([difference.sd]);
    let reach = differences.iter().flat_map(ends).map(f64::abs).fold(1.0, f64::max);
    let rows: String = differences
        .iter()
        .map(|difference| apart_row(report, difference, reach))
        .collect();
    format!(
        "<div class=\"scroll\"><table><caption>What sets it apart</caption><thead><tr><th scope=\"col\" class=\"t\">feature</th>\
         <th scope=\"col\">mean</th><th scope=\"col\">of all</th><th scope=\"col\">sd</th></tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn apart_row(report: &Report, difference: &Difference, reach: f64) -> String {
    let at = difference.feature;
    let all = &report.content.profile.overall[at];
    let of_all = match (all.mean, all.mean_bounds) {
        (Some(mean), _) if difference.is_share => percent(mean),
        (Some(mean), _) => number(mean),
        (None, Some(bounds)) => shares(bounds),
        (None, None) => String::new(),
    };
    let interval = difference
        .interval
        .map_or_else(String::new, |[low, high]| format!("{low:+.2} to {high:+.2}"));
    format!(
        "<tr><th scope=\"row\" class=\"t w\">{}</th><td>{}</td><td>{of_all}</td><td class=\"n\">{} {}<br>\
         <span class=\"fine\">{interval}</span></td></tr>\n",
        name(&report.features()[at].name()),
        mean(difference),
        sd(difference),
        svg::difference(
            difference.sd,
            difference.interval,
            reach,
            &format!("{} standard deviations, 95 % interval {interval}", sd(difference)),
        ),
    )
}
