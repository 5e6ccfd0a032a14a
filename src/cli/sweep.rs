//! `kohort sweep`: a table of numbers of segments, what becomes of the segments from one to the next, and the decision.

use std::process::ExitCode;

use serde_json::Value;

use kohort::artifact::{Checkpoint, Claim, RunDir, Selection, SweepRecord, check_output_sweep};
use kohort::cells::{Count, MinCell};
use kohort::features::Role;
use kohort::fit::{SweptTable, sweep};
use kohort::kmeans::{Event, Observer};
use kohort::run;
use kohort::select::{Candidate, Flow, Sweep};
use kohort::{Error, Result};

use super::args::SweepArgs;
use super::changed::Standing;
use super::dry_run;
use super::fit::{context, now, open};
use super::long::{LongJob, tell_of_checkpoint};
use super::memory::Limit;
use super::output::{Align, Output, Table, percent, plural, seconds, show_stages, some_of, stdout_width};
use super::plan::{self, Device};
use super::progress::{Progress, check_interrupt};

/// Columns of a bar for a figure of 1.
const BAR: usize = 8;
/// Parts of a segment below this share are not named.
const TOLD_SHARE: f64 = 0.05;

pub(crate) fn run(args: &SweepArgs, limit: &Limit, output: Output) -> Result<ExitCode> {
    let begun = now();
    let overwrite = args.overwrite || args.if_changed;
    if let Some(out) = &args.out {
        plan::check_folder(out)?;
        if !args.if_changed {
            check_output_sweep(out, overwrite)?;
        }
    }
    let select = plan::sweep_options(args.n_clusters.clone(), &args.choice)?;
    let mut options = plan::job_options(*select.k.end(), true, &args.columns, &args.kmeans, &args.compute)?;
    options.min_cell = MinCell::new(args.privacy.min_cell);
    if let Some(out) = args.out.as_ref().filter(|_| args.if_changed) {
        let standing = Standing {
            out,
            data: &args.data,
            source: &args.read.options(&options.features.id)?,
            output,
        };
        if let Some(code) = standing.of_sweep(&options, &select)? {
            return Ok(code);
        }
        check_output_sweep(out, overwrite)?;
    }
    let _claim = args.out.as_deref().map(Claim::new).transpose()?;
    let source = open(&args.data, &args.read, &args.gates, &options, output)?;
    let device = plan::device(&args.compute, plan::work(&source, &options), output)?;
    let plan = dry_run::plan(&source, &options, select.k.clone().count(), &device, limit)?;
    if args.dry_run {
        dry_run::show(&plan, limit, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    dry_run::tell(&plan, limit, output);
    let Device {
        backend,
        record: device,
    } = device;
    let checkpoint = args.long.open(&source, &options, Some(&select), output)?;
    let progress = Progress::new(&args.talk, output);
    let job = LongJob {
        progress: &progress,
        checkpoint: checkpoint.as_ref(),
        deadline: args.time.deadline(begun.1),
    };
    let swept = sweep(&source, &*backend, &options, &select, &job);
    progress.clear();
    let swept = swept.map_err(|error| tell_of_checkpoint(error, checkpoint.as_ref(), output))?;
    output.note(&columns_text(&swept));
    progress.warn(&swept.warnings);
    let context = context(begun, &args.data, &source, device, &args.compute)?;
    progress.event(Event::Stage("write"));
    let dir = args.out.as_ref().map(|out| RunDir::create_sweep(out, overwrite));
    let record = run::write_sweep(dir.transpose()?, &swept, &options, &select, &context, check_interrupt);
    progress.clear();
    show(&record?, args, output)?;
    checkpoint.map_or(Ok(()), Checkpoint::remove)?;
    Ok(ExitCode::SUCCESS)
}

/// What was clustered on, and what was not.
fn columns_text(swept: &SweptTable) -> String {
    let named = |role: Role| {
        let columns = swept.columns.iter().filter(move |column| column.role == role);
        columns.map(|column| column.column.as_str())
    };
    let n_ignored = named(Role::Ignored).count();
    let mut text = format!(
        "{}: {}",
        plural(swept.n_features as u64, "feature"),
        some_of(named(Role::Feature))
    );
    if n_ignored > 0 {
        let columns = plural(n_ignored as u64, "column");
        text += &format!("\n{columns} ignored: {}", some_of(named(Role::Ignored)));
    }
    text
}

fn show(record: &SweepRecord, args: &SweepArgs, output: Output) -> Result<()> {
    let sweep = &record.selection.sweep;
    let sample = if sweep.n_sample == record.n_rows {
        "all of them".to_owned()
    } else {
        format!("{} of them", plural(sweep.n_sample, "row"))
    };
    output.note(&format!(
        "{}, {}; stability and gaps on {sample}, {}",
        plural(record.n_rows, "row"),
        seconds(record.time.elapsed_s),
        plural(sweep.n_resamples as u64, "resample"),
    ));
    let stages = record.time.stages.iter();
    show_stages(stages.map(|stage| (stage.stage.as_str(), stage.elapsed_s)), output);
    let width = stdout_width();
    output.data(&candidate_table(sweep).render(width))?;
    if !sweep.flows.is_empty() {
        output.data(&format!("\n{}", flow_table(&sweep.flows).render(width)))?;
    }
    let told: String = sweep
        .decision
        .reasons
        .iter()
        .map(|reason| format!("{reason}\n"))
        .collect();
    output.data(&super::output::fold(&format!("\n{told}"), width))?;
    output.note(&match &args.out {
        Some(out) => format!("sweep written to {}", kohort::error::escape(&out.to_string_lossy())),
        None => format!("go on with: kohort fit ... -k {}", sweep.decision.k),
    });
    output.object(&object(record, args)?)
}

fn object(record: &SweepRecord, args: &SweepArgs) -> Result<Value> {
    let mut object = serde_json::to_value(record)
        .map_err(|error| Error::Internal(format!("the record cannot be written as JSON: {error}")))?;
    object["out"] = args.out.as_ref().map(|out| out.to_string_lossy()).into();
    Ok(object)
}

/// The decision of a fit that chose its number of segments, and how the candidates compare.
pub(super) fn in_short(selection: &Selection) -> String {
    let [least, most] = selection.k;
    let mut text = format!("{least} to {most} segments tried:\n");
    text += &candidate_table(&selection.sweep).render(usize::MAX);
    for reason in &selection.sweep.decision.reasons {
        text += reason;
        text.push('\n');
    }
    text
}

fn candidate_table(sweep: &Sweep) -> Table {
    use Align::{Left, Right};
    let heads = [
        ("", Left),
        ("k", Right),
        ("silhouette", Left),
        ("stability", Left),
        ("apart", Right),
        ("smallest", Right),
        ("explained", Right),
        ("simplified", Right),
        ("Davies-B.", Right),
        ("Calinski-H.", Right),
    ];
    let mut table = Table::new(&heads, None);
    for candidate in &sweep.candidates {
        table.row(&candidate_cells(candidate, candidate.k == sweep.decision.k), &[]);
    }
    table
}

fn candidate_cells(candidate: &Candidate, is_chosen: bool) -> [String; 10] {
    let stability = candidate.stability.as_ref();
    [
        if is_chosen { ">" } else { "" }.into(),
        candidate.k.to_string(),
        with_bar(candidate.silhouette),
        stability.map_or_else(|| "too few rows".into(), |stability| with_bar(stability.adjusted_rand)),
        format!("{} of {}", candidate.n_apart(), candidate.k),
        smallest(candidate),
        percent(candidate.share_explained),
        format!("{:.3}", candidate.simplified_silhouette),
        format!("{:.3}", candidate.davies_bouldin),
        candidate
            .calinski_harabasz
            .map_or_else(String::new, |index| format!("{index:.1}")),
    ]
}

/// The share of the smallest segment, or what it is at most.
fn smallest(candidate: &Candidate) -> String {
    let is_told = candidate.sizes.iter().all(|size| size.exact().is_some());
    format!(
        "{}{}",
        if is_told { "" } else { "<=" },
        percent(candidate.smallest_share)
    )
}

/// A figure up to 1, and a bar in eighths of a column.
fn with_bar(figure: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (figure.clamp(0.0, 1.0) * (8 * BAR) as f64).round() as usize;
    format!("{figure:6.3} {}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// Where the rows of each segment are when there is one segment more.
fn flow_table(flows: &[Flow]) -> Table {
    let mut table = Table::new(
        &[("from", Align::Right), ("to", Align::Right)],
        Some("where each segment's rows go (parts below 5% left out)"),
    );
    for flow in flows {
        let rows = flow.n_rows.iter();
        let parts: Vec<String> = match rows.clone().any(|row| is_told(row)) {
            true => rows.enumerate().map(|(from, row)| parts(from, row)).collect(),
            false => vec!["withheld: some parts have too few rows to be told of".into()],
        };
        table.row(&[flow.from_k.to_string(), flow.to_k.to_string()], &parts);
    }
    table
}

/// Whether enough is told of these numbers for their shares to mean something.
fn is_told(rows: &[Count]) -> bool {
    let most = rows.iter().map(|n| n.bounds()[1]).max().unwrap_or(0) as f64;
    let mut bounds = rows.iter().map(|n| n.bounds());
    bounds.all(|[low, high]| low == high || ((high - low) as f64) < TOLD_SHARE * most)
}

/// `2 into 3 61% + 4 38%`.
fn parts(from: usize, rows: &[Count]) -> String {
    if !is_told(rows) {
        return format!("{} withheld", from + 1);
    }
    let total = rows.iter().map(|n| n.about()).sum::<u64>().max(1) as f64;
    let mut parts: Vec<(usize, f64)> = rows.iter().map(|n| n.about() as f64 / total).enumerate().collect();
    parts.retain(|&(_, share)| share >= TOLD_SHARE);
    parts.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let text: Vec<String> = parts
        .iter()
        .map(|(to, share)| format!("{} {:.0}%", to + 1, share * 100.0))
        .collect();
    format!("{} into {}", from + 1, text.join(" + "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_by_eighths() {
        assert_eq!(with_bar(1.0), " 1.000 ████████");
        assert_eq!(with_bar(0.5 + 1.0 / 64.0), " 0.516 ████▏");
        assert_eq!([with_bar(0.0), with_bar(-0.25)], [" 0.000 ", "-0.250 "]);
    }

    #[test]
    fn a_segment_is_told_by_its_large_parts() {
        assert_eq!(parts(1, &[0, 38, 61, 1].map(Count::Exact)), "2 into 3 61% + 2 38%");
        assert_eq!(parts(0, &[0, 0].map(Count::Exact)), "1 into ");
        let bounded = [Count::Exact(290), Count::Between(1, 10)];
        assert_eq!(parts(0, &bounded), "1 into 1 98%");
    }

    #[test]
    fn no_shares_are_made_up_where_nothing_is_told() {
        let nothing = vec![Count::Between(0, 2745); 30];
        assert_eq!(parts(0, &nothing), "1 withheld");
        let flow = |n_rows| Flow {
            from_k: 2,
            to_k: 3,
            n_rows,
        };
        let rows = [90, 10].map(Count::Exact).to_vec();
        let text = flow_table(&[flow(vec![rows, nothing.clone()]), flow(vec![nothing.clone(), nothing])]).render(200);
        assert!(text.contains("1 into 1 90% + 2 10%, 2 withheld\n"), "{text}");
        assert!(text.contains("withheld: some parts have too few rows"), "{text}");
        assert!(!text.contains("3%"), "{text}");
    }
}
