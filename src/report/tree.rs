//! How segments hang together: Ward's tree over them, and their own segments below.

use std::fmt::Write as _;

use super::html::{escaped, name, sentence, title};
use super::markdown::plain;
use super::*;
use crate::artifact::{LevelsRecord, SplitRecord, Visited};
use crate::cells::MinCell;
use crate::segments::{Told, WardTree, told_apart};
use crate::select::Strength;

/// Leaves of the drawing, and forks that are told of.
const MOST_LEAVES: usize = 24;
/// Segments that a tree is made of with every run: it takes steps by their square.
const MOST_JOINED: usize = 256;
/// Lines of the drawing, parts of segments included.
const MOST_DRAWN: usize = 96;
/// Columns told of a fork.
const MOST_TOLD: usize = 3;
/// Characters of a name in the drawing.
const DRAWN_CHARS: usize = 44;

/// One side's centre in a column that tells two sides apart, of `n` rows; a share that few rows stand behind is not told
/// exactly.
#[must_use]
pub fn centre(told: &Told, side: usize, n: u64) -> String {
    if told.is_share {
        let n_with = (told.means[side] * n as f64).round() as u64;
        share(MinCell::default().told_of(n_with, n), Count::Exact(n))
    } else {
        number(told.means[side])
    }
}

/// A tree, and what its groups are.
struct Drawn<'r> {
    report: &'r Report<'r>,
    tree: &'r WardTree,
    /// Groups that are leaves of the drawing, in its order.
    leaves: Vec<Vec<usize>>,
}

/// The section of the page; nothing where there is one segment and no level below.
pub(super) fn section(report: &Report) -> String {
    let mut text = String::new();
    let k = report.model.n_segments();
    let sums = { report.model.sums.as_ref() }.filter(|_| (2..=MOST_JOINED).contains(&k));
    if k > MOST_JOINED {
        text += "<p><code>kohort tree</code> says how so many segments hang together.</p>\n";
    }
    if let Some(tree) = sums.and_then(WardTree::new) {
        let drawn = Drawn::new(report, &tree);
        text += &format!(
            "<figure>{}<figcaption>From the left, groups are opened where most of the scatter lies between their sides \
             (Ward's criterion, from the exact sums of all rows): the further left a fork stands, the more it \
             explains.{}</figcaption></figure>\n{}",
            drawn.svg(),
            if drawn.leaves.len() < tree.n_segments() {
                " Leaves with several numbers are groups of segments."
            } else {
                ""
            },
            drawn.forks(),
        );
    }
    if let Some(levels) = &report.record.levels {
        text += &parts(report, levels);
    }
    text
}

impl<'r> Drawn<'r> {
    fn new(report: &'r Report<'r>, tree: &'r WardTree) -> Self {
        let cut = tree.cut(tree.n_segments().min(MOST_LEAVES));
        let mut leaves: Vec<Vec<usize>> = Vec::new();
        for segment in tree.order() {
            match leaves.last_mut() {
                Some(leaf) if cut[leaf[0]] == cut[segment] => leaf.push(segment),
                _ => leaves.push(vec![segment]),
            }
        }
        Self { report, tree, leaves }
    }

    fn n_rows(&self, group: &[usize]) -> u64 {
        group
            .iter()
            .map(|&segment| self.report.record.segments[segment].n_rows.about())
            .sum()
    }

    /// Share of all scatter that lies between so many groups.
    fn explained(&self, n_groups: usize) -> f64 {
        let within = self.report.record.inertia_exact().unwrap_or_default() as f64;
        let all = within + self.tree.between() as f64;
        self.tree.between_groups(n_groups) as f64 / all.max(f64::MIN_POSITIVE)
    }

    fn svg(&self) -> String {
        const STEP: f64 = 22.0;
        const ROOT: f64 = 12.0;
        const LEAF: f64 = 200.0;
        const INDENT: f64 = 22.0;
        const WIDTH: f64 = 660.0;
        let mut inside = String::new();
        let mut place = vec![0.0; self.tree.n_segments()];
        let mut line = 0usize;
        let y = |line: usize| 16.0 + STEP * line as f64;
        for leaf in &self.leaves {
            leaf.iter().for_each(|&segment| place[segment] = y(line));
            self.label(
                &mut inside,
                LEAF,
                y(line),
                &leaf_name(self.report, leaf),
                self.n_rows(leaf),
                true,
            );
            line += 1;
            let Some(levels) = self.report.record.levels.as_ref().filter(|_| leaf.len() == 1) else {
                continue;
            };
            // Of each depth, where the last segment stands that parts hang from.
            let mut above = vec![y(line - 1)];
            let segments = &self.report.record.segments[leaf[0]..=leaf[0]];
            levels.walk(segments, &mut |path, visited| {
                let Visited::Part(part, _) = visited else { return };
                if line >= MOST_DRAWN {
                    return;
                }
                let depth = path.depth() - 1;
                above.truncate(depth);
                let x = LEAF + 8.0 + INDENT * depth as f64;
                let from = above[depth - 1];
                let _ = write!(
                    inside,
                    r#"<path class="curve two" d="M{0:.1} {1:.1}V{2:.1}H{x:.1}"/>"#,
                    x - INDENT + 6.0,
                    from + 9.0,
                    y(line)
                );
                above.push(y(line));
                let told = format!("{path} {}", shortened(&part.name, DRAWN_CHARS));
                self.label(&mut inside, x, y(line), &told, part.n_rows, false);
                line += 1;
            });
        }
        let height = y(line);
        let given_up = |n_groups: usize| self.explained(self.leaves.len()) - self.explained(n_groups);
        let scale = (LEAF - ROOT - 10.0) / given_up(1).max(f64::MIN_POSITIVE);
        let mut reached = vec![LEAF; self.tree.n_segments()];
        let first = self.tree.n_segments() - self.leaves.len();
        for (merge, n_groups) in self.tree.merges()[first..].iter().zip((1..self.leaves.len()).rev()) {
            let x = LEAF - scale * given_up(n_groups) - 2.0;
            let (a, b) = (merge.first, merge.second);
            let (from, to) = (place[a], place[b]);
            let _ = write!(
                inside,
                r#"<path class="curve one" d="M{:.1} {from:.1}H{x:.1}V{to:.1}H{:.1}"><title>{} explained with {} groups</title></path>"#,
                reached[a],
                reached[b],
                percent(self.explained(n_groups + 1)),
                n_groups + 1,
            );
            reached[a] = x;
            place[a] = (place[a] + place[b]) / 2.0;
        }
        if let Some(merge) = self.tree.merges().last() {
            let (x, y) = (reached[merge.first], place[merge.first]);
            let _ = write!(
                inside,
                r#"<path class="curve one" d="M{x:.1} {y:.1}H{:.1}"/>"#,
                ROOT - 6.0
            );
        }
        format!(
            r#"<svg class="chart" viewBox="0 0 {WIDTH} {height:.0}" role="img"><title>Tree of the segments; the tables below hold it</title>{inside}</svg>"#
        )
    }

    fn label(&self, inside: &mut String, x: f64, y: f64, name: &str, n: u64, is_top: bool) {
        let of_all = share(Count::Exact(n), self.report.n_rows());
        let _ = write!(
            inside,
            r#"<text{} x="{:.1}" y="{:.1}">{}, {}</text>"#,
            if is_top { r#" class="strong""# } else { "" },
            x + 6.0,
            y + 4.5,
            escaped(name),
            escaped(&of_all),
        );
    }

    /// The forks as a table.
    fn forks(&self) -> String {
        let Some(sums) = &self.report.model.sums else {
            return String::new();
        };
        let mut rows = String::new();
        for fork in self.tree.forks().iter().take(MOST_LEAVES - 1) {
            let sides = fork.sides.each_ref().map(|side| &side[..]);
            let n = sides.map(|side| self.n_rows(side));
            let mut told = Vec::new();
            if n.iter().all(|&n| n >= MIN_CELL) {
                told = told_apart(&self.report.model.preparation, sums, sides);
                told.truncate(MOST_TOLD);
            }
            let told: Vec<String> = { told.iter() }
                .map(|told| {
                    let (name, part) = (name(&told.name), 100.0 * told.part);
                    let [a, b] = [0, 1].map(|side| escaped(&centre(told, side, n[side])));
                    match told.is_list {
                        true => format!("{name} ({part:.0}%)"),
                        false => format!("{name} {a} | {b} ({part:.0}%)"),
                    }
                })
                .collect();
            let _ = writeln!(
                rows,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"t\">{} | {}</td><td class=\"t w\">{}</td></tr>",
                fork.n_groups,
                percent(self.explained(fork.n_groups)),
                numbers(sides[0]),
                numbers(sides[1]),
                told.join(", "),
            );
        }
        format!(
            "<div class=\"scroll\"><table><caption>Fork by fork: centres of both sides, and the column's part of their \
             squared distance</caption><thead><tr><th scope=\"col\">groups</th><th scope=\"col\">explained</th>\
             <th scope=\"col\" class=\"t\">parted</th><th scope=\"col\" class=\"t\">by</th></tr></thead>\n\
             <tbody>\n{rows}</tbody></table></div>\n"
        )
    }
}

/// `1, 2, 5`, without its middle where it is long.
fn numbers(segments: &[usize]) -> String {
    let told: Vec<String> = segments.iter().map(|segment| (segment + 1).to_string()).collect();
    shortened(&told.join(", "), NAME_CHARS)
}

fn leaf_name(report: &Report, leaf: &[usize]) -> String {
    match leaf {
        [segment] => format!(
            "{} {}",
            segment + 1,
            shortened(&report.record.segments[*segment].name, DRAWN_CHARS)
        ),
        several => shortened(&numbers(several), DRAWN_CHARS),
    }
}

/// Segments of segments as a table.
fn parts(report: &Report, levels: &LevelsRecord) -> String {
    let outcomes: Vec<_> = report.record.outcomes.iter().take(3).collect();
    let n_rows = report.n_rows();
    let mut rows_told = Vec::new();
    levels.walk(&report.record.segments, &mut |path, visited| {
        let (n, drafted, split, figures) = match visited {
            Visited::Top(segment, split) => {
                let at = path.segment() as usize - 1;
                let figures = report.record.outcomes.iter().filter_map(|of| of.segments.get(at));
                (segment.n_rows, &segment.name, split, figures.collect::<Vec<_>>())
            }
            Visited::Part(part, split) => (
                Count::Exact(part.n_rows),
                &part.name,
                split,
                part.outcomes.iter().collect(),
            ),
        };
        let worth: String = { outcomes.iter().zip(figures) }
            .map(|(of, figures)| format!("<td class=\"n\">{}</td>", outcome(figures, of.is_share)))
            .collect();
        rows_told.push(format!(
            "<tr><th scope=\"row\" class=\"t n\">{}{path}</th><td class=\"t w\">{}</td><td>{}</td><td>{}</td>{worth}\
             <td class=\"t w\">{}</td></tr>\n",
            "&#160;&#160;".repeat(path.depth() - 1),
            title(drafted),
            rows(n),
            share(n, n_rows),
            split.map_or_else(String::new, |split| sentence(&split_text(split))),
        ));
    });
    let n_more = rows_told.len().saturating_sub(MOST_DRAWN);
    rows_told.truncate(MOST_DRAWN);
    let heads: String = { outcomes.iter() }
        .map(|of| format!("<th scope=\"col\">{}</th>", name(&of.outcome)))
        .collect();
    let more = match n_more {
        0 => String::new(),
        n => format!("<p class=\"soft\">{n} more are in <code>run.json</code>.</p>\n"),
    };
    format!(
        "<h3>Segments of segments</h3>\n<div class=\"scroll\"><table><caption>Names say what sets a part apart within the \
         segment above</caption><thead><tr><th scope=\"col\" class=\"t\">path</th><th scope=\"col\" class=\"t\">name</th>\
         <th scope=\"col\">rows</th><th scope=\"col\">share</th>{heads}<th scope=\"col\" class=\"t\">split</th></tr></thead>\n\
         <tbody>\n{}</tbody></table></div>\n{more}",
        rows_told.concat()
    )
}

/// What became of a segment that was to be split.
#[must_use]
pub fn split_text(split: &SplitRecord) -> String {
    if split.parts.is_empty() {
        return format!("stays whole: {}", split.reasons.join("; "));
    }
    let verdict = match split.strength {
        Some(Strength::Clear) => " that stand apart",
        Some(Strength::Fair) => ", a sound cut",
        Some(Strength::None) | None => "",
    };
    let explained =
        { split.share_explained }.map_or_else(String::new, |share| format!(", {} explained", percent(share)));
    format!("{} parts{verdict}{explained}", split.parts.len())
}

/// The same for `report.md`; nothing without levels.
pub(super) fn markdown(report: &Report) -> String {
    let Some(levels) = &report.record.levels else {
        return String::new();
    };
    let n_rows = report.n_rows();
    let mut text =
        String::from("\n| path | name within the segment above (draft) | size | share |\n|---|---|--:|--:|\n");
    let mut n_told = 0;
    levels.walk(&report.record.segments, &mut |path, visited| {
        let Visited::Part(part, _) = visited else { return };
        n_told += 1;
        if n_told <= MOST_LEAVES {
            let name = plain(&part.name, 3 * NAME_CHARS);
            let n = Count::Exact(part.n_rows);
            let (size, of_all) = (rows(n), share(n, n_rows));
            let _ = writeln!(text, "| {path} | {name} | {size} | {of_all} |");
        }
    });
    if n_told > MOST_LEAVES {
        let _ = writeln!(text, "\nand {} more parts.", n_told - MOST_LEAVES);
    }
    if n_told == 0 { String::new() } else { text }
}
