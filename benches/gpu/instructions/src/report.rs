//! What is printed of a kernel: as the driver says it, and as it is counted in the driver's text.

use kohort_instructions::graph::{around, loops, scoring, usual_turn};
use kohort_instructions::text::{Counts, read};
use serde::Serialize;

use crate::driver::Report;
use crate::kernels::{Compiled, Instance};

/// All that is known of a compiled kernel.
#[derive(Serialize)]
pub struct Summary {
    /// The kernel.
    pub kernel: String,
    /// Bytes of workgroup memory, by the layout rules of WGSL.
    pub workgroup_bytes: usize,
    /// What the driver says.
    #[serde(flatten)]
    pub report: Report,
    /// Instructions of the whole text, where it is of a dialect that is read.
    pub all: Option<Counts>,
    /// One turn of the loop that scores rows.
    pub scoring: Option<Counts>,
    /// One turn of the loop around it that takes four rows a thread, as usual: without inner loops, rows in doubt, and
    /// sums that go on to where they are kept.
    pub round: Option<Counts>,
    /// Instructions per value.
    pub per_value: Option<PerValue>,
}

/// Instructions that a thread has per value of its rows.
#[derive(Clone, Copy, Serialize)]
pub struct PerValue {
    /// In all turns of the scoring loop.
    scoring: f64,
    /// In the round around it.
    round: f64,
}

/// Names under which drivers tell the same, in lower case.
const REGISTERS: [&str; 3] = ["number of gprs", "vgprs", "register count"];
const IN_FLIGHT: [&str; 2] = ["max warps/sm", "subgroups per simd"];
const SPILLED: [&str; 3] = ["spills to memory", "spilled vgprs", "spilled sgprs"];
const SCRATCH: [&str; 4] = ["slm size", "scratch size", "stack size", "local memory size"];
const INSTRUCTIONS: [&str; 2] = ["instruction count", "instructions"];
const CODE: [&str; 2] = ["code size", "binary size"];

impl Summary {
    pub fn new(instance: &Instance, kernel: &Compiled, report: Report) -> Self {
        let blocks = report
            .texts
            .iter()
            .filter(|(name, _)| name.to_lowercase().contains("assembly"));
        let blocks = blocks.filter_map(|(_, text)| read(text)).next();
        let mut summary = Self {
            kernel: instance.name.clone(),
            workgroup_bytes: kernel.workgroup_bytes,
            report,
            all: None,
            scoring: None,
            round: None,
            per_value: None,
        };
        let Some(blocks) = blocks else {
            return summary;
        };
        let mut all = Counts::default();
        blocks.iter().for_each(|block| all += block.counts);
        summary.all = Some(all);
        let loops = loops(&blocks);
        let Some(inner) = scoring(&blocks, &loops).filter(|_| instance.shape.is_some()) else {
            return summary;
        };
        let turn = inner.own(&blocks, &loops);
        summary.scoring = Some(turn);
        let Some((depth, (d, k))) = instance.round_depth.zip(instance.shape) else {
            return summary;
        };
        // What every round stores is no way off the usual one.
        let rare = |counts: &Counts| counts.atomics > 0;
        let round = (0..depth).try_fold(inner, |inner, _| around(inner, &loops));
        summary.round = round.map(|round| usual_turn(round, &blocks, &loops, rare));
        // A turn scores one or more quads of centroids: 16 multiply-adds a feature each.
        let turns = k.div_ceil(4) as f64 * (16 * d) as f64 / turn.fma as f64;
        let values = (4 * d) as f64;
        let per_value = |counts: Counts| counts.total() as f64 / values;
        summary.per_value = summary.round.map(|round| PerValue {
            scoring: turns * per_value(turn),
            round: per_value(round),
        });
        summary
    }

    /// The statistic that has one of these names.
    fn statistic(&self, names: &[&str]) -> Option<f64> {
        let found = self
            .report
            .statistics
            .iter()
            .filter(|(name, _)| names.contains(&name.to_lowercase().as_str()));
        found.map(|&(_, value)| value).reduce(|a, b| a + b)
    }
}

/// Three tables: the driver's statistics; a turn of the scoring loop; a usual round, per value.
pub fn print(summaries: &[Summary]) {
    print_table(
        &[
            "kernel",
            "registers",
            "in flight",
            "spilled",
            "scratch B",
            "shared B",
            "instructions",
            "code B",
        ],
        summaries.iter().map(|summary| {
            let statistic = |names: &[&str]| summary.statistic(names).map_or("-".into(), |value| value.to_string());
            vec![
                summary.kernel.clone(),
                statistic(&REGISTERS),
                statistic(&IN_FLIGHT),
                statistic(&SPILLED),
                statistic(&SCRATCH),
                summary.workgroup_bytes.to_string(),
                statistic(&INSTRUCTIONS),
                statistic(&CODE),
            ]
        }),
    );
    let scoring = |summary: &Summary| summary.scoring.map(|turn| row(&summary.kernel, &turn, 1.0, 0));
    if summaries.iter().any(|summary| summary.scoring.is_some()) {
        println!(
            "\nOne turn of the loop that scores (shared: reads of workgroup memory, of these vectors of 16 bytes)\n"
        );
        print_table(&HEAD, summaries.iter().filter_map(scoring));
    }
    if summaries.iter().any(|summary| summary.round.is_some()) {
        println!("\nInstructions per value: a usual round without scoring, by kind; scoring; both\n");
        let head: Vec<&str> = HEAD.iter().copied().chain(["scoring", "both"]).collect();
        let round = |summary: &Summary| {
            let PerValue { scoring, round } = summary.per_value?;
            let counts = summary.round?;
            let mut row = row(&summary.kernel, &counts, counts.total() as f64 / round, 2);
            row.extend([format!("{scoring:.1}"), format!("{:.1}", scoring + round)]);
            Some(row)
        };
        print_table(&head, summaries.iter().filter_map(round));
    }
}

const HEAD: [&str; 18] = [
    "kernel",
    "fma",
    "matrix",
    "float",
    "min/max",
    "compare",
    "select",
    "convert",
    "integer",
    "moves",
    "uniform",
    "shared",
    "vectors",
    "sh. atomics",
    "loads",
    "vectors",
    "control",
    "all",
];

fn row(kernel: &str, counts: &Counts, per: f64, decimals: usize) -> Vec<String> {
    let counts = [
        counts.fma,
        counts.matrix,
        counts.float,
        counts.min_max,
        counts.compare,
        counts.select,
        counts.convert,
        counts.integer,
        counts.moves,
        counts.uniform,
        counts.shared_reads,
        counts.shared_vectors,
        counts.shared_atomics,
        counts.loads,
        counts.vector_loads,
        counts.control,
        counts.total(),
    ];
    let numbers = counts.iter().map(|&count| format!("{:.decimals$}", count as f64 / per));
    std::iter::once(kernel.to_owned()).chain(numbers).collect()
}

/// The first column to the left, all others to the right.
fn print_table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = std::iter::once(head.iter().map(|&cell| cell.into()).collect())
        .chain(rows)
        .collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|i| rows.iter().map(|row| row[i].len()).max().unwrap_or(0))
        .collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, width))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
