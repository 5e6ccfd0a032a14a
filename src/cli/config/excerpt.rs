//! The line of a text that is wrong, with a mark below the place.

use std::ops::Range;

use kohort::error::escape;
use unicode_width::UnicodeWidthStr;

use crate::cli::output::take_width;

/// Lines are cut to this width where the terminal is wider, or is none.
const MAX_WIDTH: usize = 100;
/// What is shown before the place in a line that is too long.
const LEAD: usize = 20;

/// A line break, then the line that `span` begins in and, below, carets under the span: in lines of `width` columns,
/// with control characters shown escaped.
pub(super) fn excerpt(text: &str, span: Range<usize>, width: usize) -> String {
    let start = floor_boundary(text, span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let number = (1 + text[..line_start].matches('\n').count()).to_string();
    let margin = " ".repeat(number.len());
    let room = width.min(MAX_WIDTH).saturating_sub(number.len() + 4).max(2 * LEAD);

    let (before, rest) = line.split_at(start.saturating_sub(line_start).min(line.len()));
    let len = floor_boundary(rest, span.len());
    let (marked, after) = rest.split_at(len);
    let [before, marked, after] = [before, marked, after].map(|part| escape(&part.replace('\t', " ")));
    let before = match before.width() + marked.width() > room {
        true => tail(&before, LEAD),
        false => before,
    };
    let shown = head(&format!("{before}{marked}{after}"), room);
    let carets = "^".repeat(marked.width().clamp(1, room - before.width().min(room - 1)));
    format!(
        "\n{margin} |\n{number} | {shown}\n{margin} | {}{carets}",
        " ".repeat(before.width())
    )
}

/// The nearest place at or before `at` where a character begins.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The first characters, in `width` columns.
fn head(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    take_width(text.chars(), width - 1) + "…"
}

/// The last characters, in `width` columns.
fn tail(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let last = take_width(text.chars().rev(), width - 1);
    ['…'].into_iter().chain(last.chars().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_below_the_place() {
        let text = "a = 1\nöut = \"x\"\n";
        let at = text.find("\"x\"").unwrap();
        assert_eq!(excerpt(text, at..at + 3, 80), "\n  |\n2 | öut = \"x\"\n  |       ^^^");
        assert_eq!(excerpt(text, 0..0, 80), "\n  |\n1 | a = 1\n  | ^");
        assert_eq!(
            excerpt(text, 5..6, 80),
            "\n  |\n1 | a = 1\n  |      ^",
            "the end of a line"
        );
        assert_eq!(excerpt("", 0..0, 80), "\n  |\n1 | \n  | ^");
        assert_eq!(excerpt("ab", 40..90, 80), "\n  |\n1 | ab\n  |   ^", "beyond the end");
    }

    #[test]
    fn long_and_hostile_lines_are_tamed() {
        let text = format!("{}\u{1b}[31m = 漢{}", "x".repeat(500), "y".repeat(5000));
        for at in [0, 3, 500, 504, 507, 508, 900, 5400] {
            for len in [0, 1, 3, 4000] {
                let shown = excerpt(&text, at..at + len, 80);
                assert!(!shown.contains('\u{1b}'), "{shown:?}");
                assert!(shown.lines().all(|line| line.width() <= 80), "{shown}");
                assert!(shown.lines().last().unwrap().contains('^'), "{shown}");
            }
        }
        let cut = excerpt(&text, 506..507, 80);
        assert!(
            cut.contains(" | …x") && cut.lines().nth(2).unwrap().ends_with('…'),
            "{cut}"
        );
        let tabs = excerpt("\tk = 1", 1..2, 80);
        assert_eq!(tabs, "\n  |\n1 |  k = 1\n  |  ^");
    }
}
