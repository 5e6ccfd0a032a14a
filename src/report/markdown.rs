//! `report.md`: the segments in a table, for chats and pull requests.

use super::*;
use crate::error::escape;

/// A text from outside as plain text in Markdown: nothing in it is markup, a link, a mention or the border of a cell.
pub(super) fn plain(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let text = escape(&shortened(text, most));
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let within_word = before.is_alphanumeric() && chars.peek().is_some_and(|next| next.is_alphanumeric());
        match c {
            '_' if within_word => out.push(c),
            '&' | '<' | '>' | '@' | '#' | ':' | '|' | '`' | '"' | '\'' => out += &format!("&#{};", u32::from(c)),
            '\\' | '*' | '_' | '[' | ']' | '!' | '~' | '$' | '{' | '}' => out.extend(['\\', c]),
            c => out.push(c),
        }
        before = c;
    }
    // What is not preceded by a scheme can still be made a link.
    out.replace("www.", "www&#46;")
}

pub(super) fn text(report: &Report) -> String {
    let record = report.record;
    let mut text = format!(
        "# {} from {}\n\n",
        figures::plural(record.n_segments as u64, "segment"),
        figures::plural(record.n_rows, "row")
    );
    if let Some(selection) = &record.selection {
        for reason in &selection.sweep.decision.reasons {
            text += &format!("- {reason}\n");
        }
        text.push('\n');
    }
    let outcomes: Vec<_> = record.outcomes.iter().take(3).collect();
    let drafts = if report.has_drafts() { " (draft)" } else { "" };
    let heads: String = { outcomes.iter() }
        .map(|of| format!(" {} (95 % interval) |", plain(&of.outcome, NAME_CHARS)))
        .collect();
    text += &format!(
        "| segment | name{drafts} | size | share | what sets it apart |{heads}\n|--:|---|--:|--:|---|{}\n",
        "--:|".repeat(outcomes.len())
    );
    for (at, (segment, of_record)) in report.segments().enumerate() {
        let told: Vec<String> = report
            .set_apart(segment)
            .iter()
            .take(3)
            .map(|one| apart(report, one))
            .collect();
        let worth: String = { outcomes.iter() }
            .map(|of| {
                let told = of.segments.get(at).map(|figures| outcome(figures, of.is_share));
                format!(" {} |", told.unwrap_or_default())
            })
            .collect();
        text += &format!(
            "| {} | {} | {} | {} | {} |{worth}\n",
            segment.segment,
            plain(&of_record.name, 3 * NAME_CHARS),
            rows(segment.count),
            share(segment.count, report.n_rows()),
            told.join(", "),
        );
    }
    if report.n_untold() > 0 {
        text += &format!("\nand {} smaller ones.\n", report.n_untold());
    }
    text += &tree::markdown(report);
    for warning in record.warnings.iter().take(3) {
        text += &format!("\nNote: {}\n", plain(warning, SENTENCE_CHARS));
    }
    text + &format!(
        "\n{}, {}, seed {}, labels hash `{}`, kohort {}\n",
        figures::plural(record.n_features as u64, "feature"),
        figures::plural(record.n_iter as u64, "iteration"),
        record.options.seed,
        record.labels_hash,
        record.kohort_version,
    )
}

/// `recency_days 35.4 (-0.57 sd)`.
fn apart(report: &Report, difference: &Difference) -> String {
    let name = plain(&report.features()[difference.feature].name(), NAME_CHARS);
    format!("{name} {} ({} sd)", mean(difference), sd(difference))
}
