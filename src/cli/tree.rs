//! `kohort tree`: which segments are alike, as a tree, and coarser groups of them.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use kohort::artifact::{Claim, RunRecord, check_output_dir, model_file};
use kohort::cells::Count;
use kohort::data::BatchSource;
use kohort::features::Preparation;
use kohort::model::Model;
use kohort::nested::{SegmentPath, check_leaf};
use kohort::report::{centre, rows, share};
use kohort::run;
use kohort::segments::{Fork, MIN_CELL, Told, WardTree, told_apart};
use kohort::{Error, Result};

use super::args::{NumberArg, TreeArgs};
use super::dendrogram;
use super::fit::{Finished, context, now};
use super::levels;
use super::output::{Align, Output, Table, count, percent, plural, shorten, stdout_width};
use super::plan;
use super::progress::Progress;
use super::verify;

/// Columns told of a fork or a group.
const TOLD: usize = 3;
/// Columns of the terminal that the lines of the dendrogram take, where the terminal is wide.
const LINES: usize = 36;
/// Forks that are told of.
const MOST_FORKS: usize = 30;
/// Runs of segments that are listed.
const MOST_RUNS: usize = 12;

pub(crate) fn run(args: &TreeArgs, output: Output) -> Result<ExitCode> {
    if let (Some(path), Some(k), Some(out)) = (&args.drill, &args.n_clusters, &args.out) {
        return drill(args, path, k, out, output);
    }
    let tree = Tree::load(&args.run)?;
    let cut = args.cut.map(|n| tree.check_cut(n)).transpose()?;
    let width = stdout_width();
    output.note(&tree.summary());
    output.data(&tree.dendrogram(width).render(width))?;
    if tree.ward.n_segments() > 1 {
        output.data(&format!("\n{}", tree.fork_table().render(width)))?;
    }
    if tree.ward.n_segments() > MOST_FORKS + 1 {
        output.note(&format!("the first {MOST_FORKS} forks; --json has them all"));
    }
    if let Some(levels) = &tree.record.levels {
        let table = levels::table(levels, &tree.record.segments, tree.record.n_rows, &tree.record.outcomes);
        output.data(&format!("\n{}", table.render(width)))?;
    }
    if let Some(n_groups) = cut {
        output.data(&format!("\n{}", tree.group_table(n_groups).render(width)))?;
    }
    output.object(&tree.object(&args.run, cut))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a run again with one segment more that is split.
fn drill(args: &TreeArgs, path: &SegmentPath, k: &NumberArg, out: &Path, output: Output) -> Result<ExitCode> {
    let begun = now();
    plan::check_folder(out)?;
    check_output_dir(out, args.overwrite)?;
    let _claim = Claim::new(out)?;
    let record = RunRecord::load(&args.run)?;
    let model = model_file::load(&args.run)?;
    check_leaf(&model.splits, model.n_segments(), path)?;
    let mut options = verify::options(&record, &args.compute);
    options.levels.push(plan::split_rule(Some(path.clone()), k, None)?);
    let source = verify::open(&[], args.filter.as_deref(), &args.compute, &record, output)?;
    options.check(source.n_rows())?;
    levels::check_columns(&source, &options)?;
    let progress = Progress::new(&args.talk, output);
    let (fitted, device) = verify::again(&source, &options, &args.compute, &progress, output)?;
    let differs = |what: &run::Check| !what.matches && matches!(what.what, "labels_hash" | "centroids");
    if let Some(check) = run::compare(&record, &model, &fitted).into_iter().find(differs) {
        return Err(Error::Mismatch {
            what: check.what.into(),
            expected: check.expected,
            found: check.found,
        });
    }
    progress.warn(&fitted.warnings);
    let context = context(begun, &record.data, &source, device, &args.compute)?;
    let finished = Finished {
        fit: &fitted,
        options: &options,
        source: &source,
        context: &context,
    };
    finished.write(record.selection, out, args.overwrite, &progress, output)?;
    Ok(ExitCode::SUCCESS)
}

/// A run, and Ward's tree over its segments.
struct Tree {
    record: RunRecord,
    model: Model,
    ward: WardTree,
    /// Scatter within all rows, in exact units, for shares.
    scatter: f64,
}

impl Tree {
    fn load(run: &Path) -> Result<Self> {
        let record = RunRecord::load(run)?;
        let model = model_file::load(run)?;
        let unusable = |reason: &str| Error::ArtifactInvalid {
            path: run.to_owned(),
            reason: reason.into(),
        };
        if model.segment_counts.len() != record.segments.len() {
            return Err(unusable("model.json and run.json are not of one run"));
        }
        let ward = model.sums.as_ref().and_then(WardTree::new).ok_or_else(|| {
            unusable(
                "its model holds no exact sums, of which the tree is made: an earlier version wrote it, or a segment has \
                 fewer rows than are told of (--min-cell)",
            )
        })?;
        let within = record.inertia_exact().unwrap_or_default();
        Ok(Self {
            scatter: (within as f64 + ward.between() as f64).max(f64::MIN_POSITIVE),
            record,
            model,
            ward,
        })
    }

    fn check_cut(&self, n_groups: usize) -> Result<usize> {
        match n_groups <= self.ward.n_segments() {
            true => Ok(n_groups),
            false => Err(Error::InvalidParam {
                param: "--cut",
                value: n_groups.to_string(),
                reason: format!("the run has {}", plural(self.ward.n_segments() as u64, "segment")),
            }),
        }
    }

    fn preparation(&self) -> &Preparation {
        &self.model.preparation
    }

    /// Share of the scatter of all rows that lies between `n_groups` groups.
    fn explained(&self, n_groups: usize) -> f64 {
        self.ward.between_groups(n_groups) as f64 / self.scatter
    }

    /// Rows of each segment: a run with sums tells all of them.
    fn counts(&self) -> Vec<u64> {
        self.model.segment_counts.iter().map(|count| count.about()).collect()
    }

    fn n_rows(&self, group: &[usize]) -> u64 {
        let counts = &self.model.segment_counts;
        group.iter().map(|&segment| counts[segment].about()).sum()
    }

    fn share(&self, group: &[usize]) -> f64 {
        self.n_rows(group) as f64 / (self.record.n_rows as f64).max(1.0)
    }

    /// What tells two groups apart, the strongest first; nothing where few rows stand behind one.
    fn told(&self, groups: [&[usize]; 2]) -> Vec<Told> {
        match &self.model.sums {
            Some(sums) if groups.iter().all(|group| self.n_rows(group) >= MIN_CELL) => {
                let mut told = told_apart(self.preparation(), sums, groups);
                told.truncate(TOLD);
                told
            }
            _ => Vec::new(),
        }
    }

    fn summary(&self) -> String {
        let k = self.ward.n_segments();
        format!(
            "{} of {}: {} of the scatter lies between them",
            plural(k as u64, "segment"),
            plural(self.record.n_rows, "row"),
            percent(self.explained(k)),
        )
    }

    /// The segments in the tree's order, and its lines, for `width` columns.
    fn dendrogram(&self, width: usize) -> Table {
        let k = self.ward.n_segments();
        let room = if width < 100 { LINES * 2 / 3 } else { LINES };
        let heads = [
            ("segment", Align::Right),
            ("size", Align::Right),
            ("share", Align::Right),
            ("name (draft)", Align::Left),
        ];
        let mut table = Table::new(&heads, Some("joined where least scatter is given up"));
        let given_up = |n_groups: usize| self.ward.between() as f64 - self.ward.between_groups(n_groups) as f64;
        let heights: Vec<f64> = (1..k).rev().map(given_up).collect();
        let lines = dendrogram::lines(&self.ward, &heights, room);
        for (&segment, line) in self.ward.order().iter().zip(lines) {
            let record = &self.record.segments[segment];
            let cells = [
                record.segment.to_string(),
                rows(record.n_rows),
                share(record.n_rows, Count::Exact(self.record.n_rows)),
                record.name.clone(),
            ];
            table.row(&cells, &[line]);
        }
        table
    }

    /// The forks, and what tells their sides apart.
    fn fork_table(&self) -> Table {
        let heads = [
            ("groups", Align::Right),
            ("explained", Align::Right),
            ("parted", Align::Left),
        ];
        let mut table = Table::new(
            &heads,
            Some("by (centres of both sides, part of their squared distance)"),
        );
        for fork in self.ward.forks().iter().take(MOST_FORKS) {
            let sides = fork.sides.each_ref().map(|side| listed(side));
            let cells = [
                fork.n_groups.to_string(),
                percent(self.explained(fork.n_groups)),
                sides.join(" | "),
            ];
            table.row(&cells, &self.told_texts(fork.sides.each_ref().map(|side| &side[..])));
        }
        table
    }

    fn told_texts(&self, groups: [&[usize]; 2]) -> Vec<String> {
        let told = self.told(groups);
        let n = groups.map(|group| self.n_rows(group));
        let text = |told: &Told| {
            let (a, b) = (centre(told, 0, n[0]), centre(told, 1, n[1]));
            let (name, part) = (shorten(&told.name, 32), 100.0 * told.part);
            match told.is_list {
                true => format!("{name} ({part:.0}%)"),
                false => format!("{name} {a} | {b} ({part:.0}%)"),
            }
        };
        told.iter().map(text).collect()
    }

    /// The groups of a cut, and what sets each apart from all others.
    fn group_table(&self, n_groups: usize) -> Table {
        let heads = [
            ("group", Align::Right),
            ("segments", Align::Left),
            ("size", Align::Right),
            ("share", Align::Right),
        ];
        let mut table = Table::new(
            &heads,
            Some("set apart by (centre here, of all others; part of the squared distance)"),
        );
        for (group, number) in self.ward.groups(n_groups, &self.counts()).iter().zip(1..) {
            let cells: [String; 4] = [
                i32::to_string(&number),
                listed(group),
                count(self.n_rows(group)),
                percent(self.share(group)),
            ];
            table.row(&cells, &self.told_texts([group, &self.others(group)]));
        }
        table
    }

    fn others(&self, group: &[usize]) -> Vec<usize> {
        (0..self.ward.n_segments())
            .filter(|segment| !group.contains(segment))
            .collect()
    }

    fn object(&self, run: &Path, cut: Option<usize>) -> Value {
        let numbers = |group: &[usize]| -> Vec<usize> { group.iter().map(|segment| segment + 1).collect() };
        let forks = self.ward.forks();
        let forks: Vec<Value> = { forks.iter() }
            .map(|fork: &Fork| {
                let sides = fork.sides.each_ref().map(|side| &side[..]);
                json!({
                    "n_groups": fork.n_groups,
                    "explained": self.explained(fork.n_groups),
                    "sides": sides.map(numbers),
                    "cost_exact": fork.cost.to_string(),
                    "cost_share": fork.cost as f64 / self.scatter,
                    "told_apart_by": self.told_objects(sides),
                })
            })
            .collect();
        let groups = cut.map(|n_groups| {
            let groups = self.ward.groups(n_groups, &self.counts());
            let group = |(group, number): (&Vec<usize>, i32)| {
                json!({
                    "group": number,
                    "segments": numbers(group),
                    "n_rows": self.n_rows(group),
                    "share": self.share(group),
                    "set_apart_by": self.told_objects([group, &self.others(group)]),
                })
            };
            groups.iter().zip(1..).map(group).collect::<Vec<Value>>()
        });
        json!({
            "run": run.to_string_lossy(),
            "n_rows": self.record.n_rows,
            "explained": self.explained(self.ward.n_segments()),
            "segments": self.record.segments,
            "order": numbers(&self.ward.order()),
            "forks": forks,
            "groups": groups,
            "levels": self.record.levels,
        })
    }

    fn told_objects(&self, groups: [&[usize]; 2]) -> Vec<Value> {
        let object = |told: &Told| {
            json!({
                "feature": told.name,
                "means": (!told.is_list).then_some(told.means),
                "part": told.part,
            })
        };
        self.told(groups).iter().map(object).collect()
    }
}

/// Segments by their numbers, neighbours as `3-5`; of many the first, and how many there are.
fn listed(segments: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &segment in segments {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == segment => *last = segment,
            _ => runs.push((segment, segment)),
        }
    }
    let text = |&(first, last): &(usize, usize)| match last - first {
        0 => (first + 1).to_string(),
        1 => format!("{} {}", first + 1, last + 1),
        _ => format!("{}-{}", first + 1, last + 1),
    };
    let told = runs.iter().take(MOST_RUNS).map(text).collect::<Vec<_>>().join(" ");
    match runs.len() > MOST_RUNS {
        true => format!("{told} ... ({} in all)", segments.len()),
        false => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_listed_in_runs() {
        assert_eq!(listed(&[0, 1, 3, 5, 6, 7]), "1 2 4 6-8");
        assert_eq!(listed(&[9]), "10");
        let odd: Vec<usize> = (0..50).map(|n| 2 * n).collect();
        assert_eq!(listed(&odd), "1 3 5 7 9 11 13 15 17 19 21 23 ... (50 in all)");
    }
}
