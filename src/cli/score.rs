//! `kohort score`: the segments of new rows under a fitted model.

use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use kohort::Result;
use kohort::artifact::{AssignmentTable, Claim, ScoreRecord, SourceRecord, check_path_column, model_file};
use kohort::cells::{Count, MinCell};
use kohort::data::{BatchSource, SourceOptions};
use kohort::fit::Observed;
use kohort::kmeans::{Event, Observer};
use kohort::model::{Model, Scored};
use kohort::nested::{Paths, SegmentPath};
use kohort::report::{rows, share};
use kohort::run::Scoring;

use super::args::ScoreArgs;
use super::changed::Standing;
use super::output::{Align, Output, Table, plural, rows_in_words, seconds, stdout_width};
use super::plan::{self, Device};
use super::progress::Progress;
use super::reading;
use super::score_target::Target;

pub(crate) fn run(args: &ScoreArgs, output: Output) -> Result<ExitCode> {
    let started = Instant::now();
    let target = Target::new(args)?;
    if !target.is_stdout() {
        plan::check_folder(&args.out)?;
    }
    let earlier = args.if_changed.then(|| target.earlier()).transpose()?.flatten();
    // What is not known to be ours is only replaced where that is asked for.
    let overwrite = args.overwrite || earlier.is_some();
    if earlier.is_none() {
        target.check(overwrite)?;
    }
    let mut files = target.names()?;
    let model = model_file::load(&args.model)?;
    let model_hash = model_file::hash(&model)?;
    let options = args.read.options_for(&model)?;
    if let Some(earlier) = &earlier {
        let standing = Standing {
            out: &args.out,
            data: &args.data,
            source: &options,
            output,
        };
        files.iter_mut().for_each(|files| files.sort());
        let scoring = Scoring {
            model_hash: &model_hash,
            ids: &model.id_columns,
            table: target.format,
            partition_by: target.partition_by(),
            files,
        };
        if let Some(code) = standing.of_score(earlier, &scoring)? {
            return Ok(code);
        }
        target.check(overwrite)?;
    }
    let _claim = (!target.is_stdout()).then(|| Claim::new(&args.out)).transpose()?;
    let options = SourceOptions {
        decoded: args.read.check_apart(&args.data)?,
        ..options
    };
    let source = reading::open(&args.data, options, plan::threads(&args.compute), output)?;
    model.check_columns(&source)?;
    let ids: Vec<usize> = { model.id_columns.iter() }
        .filter_map(|id| source.schema().index_of(id).ok())
        .collect();
    if !model.splits.is_empty() {
        check_path_column(source.schema(), &ids)?;
    }
    target.check_column(&source, &ids, !model.splits.is_empty())?;
    args.gates
        .check(&source, &model.preparation.distinct_columns_in(source.schema())?)?;
    let shape = [source.n_rows(), model.centroids.n_features(), model.n_segments()];
    let work = shape.iter().fold(1, |work, &n| u64::saturating_mul(work, n as u64));
    let Device {
        backend,
        record: device,
    } = plan::device(&args.compute, work, output)?;
    let progress = Progress::new(&args.talk, output);
    let observed = Observed {
        source: &source,
        observer: &progress,
    };
    progress.event(Event::Stage("score"));
    let scored = model.score(&observed, &*backend, plan::chunk_bytes(&args.compute));
    progress.clear();
    let scored = scored?;
    let n_values = source.n_rows() as u64 * model.centroids.n_features() as u64;
    args.clip_gate.check(scored.n_clipped, n_values)?;
    let mut warnings = warnings(&scored);
    warnings.iter().for_each(|warning| output.warning(warning));
    progress.event(Event::Stage("write"));
    let record = ScoreRecord::new(
        model_hash,
        scored.labels_hash.clone(),
        source.fingerprints()?,
        SourceRecord::new(&source),
    );
    let table = AssignmentTable {
        id_columns: &scored.id_columns,
        paths: scored.paths.as_ref(),
        ..AssignmentTable::new(&observed, &scored.assignment, &model.confidence)
    };
    let written = target.write(&table, &source, record, overwrite);
    progress.clear();
    let (n_files, n_formulas) = written?;
    if n_formulas > 0 {
        warnings.push(format!(
            "{} in the CSV would be formulas in a spreadsheet, and got a ' before them; Parquet and JSON lines have them \
             as they are",
            plural(n_formulas, "text")
        ));
        warnings
            .iter()
            .rev()
            .take(1)
            .for_each(|warning| output.warning(warning));
    }
    let elapsed_s = started.elapsed().as_secs_f64();
    let min_cell = MinCell::new(args.privacy.min_cell);
    let counts = model.confidence.counts(&scored.assignment, model.n_segments());
    let with_outliers = scored.assignment.counts(model.n_segments());
    let mut sizes = with_outliers.clone();
    let unassigned = model.confidence.unassign_outliers;
    if unassigned {
        sizes
            .iter_mut()
            .zip(&counts.n_outliers)
            .for_each(|(size, n_outliers)| *size -= n_outliers);
    }
    let told = told_sizes(&sizes, source.n_rows() as u64, min_cell);
    let segments = Segment::all(source.n_rows() as u64, &told[..sizes.len()], &model);
    // Where stdout holds the rows, the tables are talk.
    let tell = |text: &str| match target.is_stdout() {
        true => {
            output.note(text.trim_end());
            Ok(())
        }
        false => output.data(text),
    };
    tell(&count_table(&segments).render(stdout_width()))?;
    let leaves = scored
        .paths
        .as_ref()
        .map(|paths| leaves(&model, paths, &told, min_cell));
    if let Some(leaves) = &leaves {
        tell(&format!("\n{}", leaf_table(leaves).render(stdout_width())))?;
    }
    let n_boundary = model
        .confidence
        .boundary_margin
        .map(|_| counts.told_boundary(&with_outliers, min_cell).1);
    let n_outliers = match told[..] {
        [.., rest] if unassigned => rest,
        _ => counts.told_outliers(&with_outliers, min_cell).1,
    };
    if let Some(n_boundary) = n_boundary {
        output.note(&format!(
            "{} of the rows sit on a boundary; {} far outside the segment{}",
            share(n_boundary, Count::Exact(source.n_rows() as u64)),
            rows_in_words(n_outliers),
            if unassigned && n_outliers != Count::Exact(0) {
                ", and in none"
            } else {
                ""
            }
        ));
    }
    let out = match target.is_stdout() {
        true => "standard output".into(),
        false => kohort::error::escape(&args.out.to_string_lossy()),
    };
    let n_rows = source.n_rows() as u64;
    output.note(&format!(
        "{} in {}, written to {out}{}",
        plural(n_rows, "row"),
        seconds(elapsed_s),
        match target.partition_by() {
            Some(_) => format!(" in {}", plural(n_files as u64, "file")),
            None => String::new(),
        }
    ));
    output.object(&json!({
        "out": args.out.to_string_lossy(),
        "n_files": n_files,
        "labels_hash": scored.labels_hash,
        "n_rows": n_rows,
        "n_clipped": scored.n_clipped,
        "n_boundary": n_boundary,
        "n_outliers": n_outliers,
        "n_unassigned": if unassigned { n_outliers } else { Count::Exact(0) },
        "device": device,
        "n_audited": scored.n_audited,
        "elapsed_s": elapsed_s,
        "segments": segments,
        "leaves": leaves,
        "warnings": warnings,
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn warnings(scored: &Scored) -> Vec<String> {
    let mut warnings = scored.notices.clone();
    if scored.n_clipped > 0 {
        let values = plural(scored.n_clipped, "value");
        warnings.push(format!(
            "{values} far outside the training data, taken as the most extreme the model knows"
        ));
    }
    warnings
}

/// The sizes of the segments as they may be told, then the rows that are in none.
fn told_sizes(sizes: &[u64], n_rows: u64, min_cell: MinCell) -> Vec<Count> {
    let rest = n_rows - sizes.iter().sum::<u64>();
    min_cell.parts(&[sizes, &[rest]].concat())
}

/// A segment in these rows and in those of the fit.
#[derive(Debug, Serialize)]
struct Segment {
    segment: usize,
    name: String,
    #[serde(flatten)]
    size: Size,
}

/// A number of rows, here and at the fit.
#[derive(Debug, Serialize)]
struct Size {
    n_rows: Count,
    share: Option<f64>,
    share_at_fit: Option<f64>,
    /// Number and both shares, for people.
    #[serde(skip)]
    told: [String; 3],
}

impl Size {
    /// Numbers of rows, each with that of all.
    fn new([n_rows, of]: [Count; 2], [at_fit, of_fit]: [Count; 2]) -> Self {
        Self {
            n_rows,
            share: n_rows.share_of(of),
            share_at_fit: at_fit.share_of(of_fit),
            told: [rows(n_rows), share(n_rows, of), share(at_fit, of_fit)],
        }
    }
}

/// Rows of all segments at the fit.
fn rows_at_fit(model: &Model) -> Count {
    model.segment_counts.iter().copied().fold(Count::Exact(0), Count::plus)
}

impl Segment {
    fn all(n_rows: u64, counts: &[Count], model: &Model) -> Vec<Self> {
        let counts_at_fit = &model.segment_counts;
        let n_rows = Count::Exact(n_rows);
        let n_at_fit = rows_at_fit(model);
        let both = counts
            .iter()
            .zip(counts_at_fit)
            .zip(model.segment_names.iter().zip(1..));
        both.map(|((&count, &at_fit), (name, segment))| Self {
            segment,
            name: name.name.clone(),
            size: Size::new([count, n_rows], [at_fit, n_at_fit]),
        })
        .collect()
    }
}

/// A leaf in these rows and in those of the fit.
#[derive(Debug, Serialize)]
struct Leaf {
    path: SegmentPath,
    #[serde(flatten)]
    size: Size,
}

/// The leaves, of whose numbers those of `tops`, the segments of the first level, tell no more than they should.
fn leaves(model: &Model, paths: &Paths, tops: &[Count], min_cell: MinCell) -> Vec<Leaf> {
    let at_fit = |path: &SegmentPath| match path.parent() {
        None => model.segment_counts.get(path.segment() as usize - 1).copied(),
        Some(parent) => {
            let split = model.splits.iter().find(|split| split.path == parent)?;
            split
                .segment_counts
                .get(path.number() as usize - 1)
                .map(|&n| Count::Exact(n))
        }
    };
    let counts = paths.counts();
    let mut told = Vec::with_capacity(counts.len());
    // Sorted paths: the leaves of a segment stand together.
    for of_segment in paths.leaves.chunk_by(|a, b| a.segment() == b.segment()) {
        let own = &counts[told.len()..told.len() + of_segment.len()];
        told.extend(match (tops[of_segment[0].segment() as usize - 1], of_segment) {
            (top, [_]) => vec![top],
            (Count::Exact(_), _) => min_cell.parts(own),
            (top, _) => vec![Count::Between(0, top.bounds()[1]); own.len()],
        });
    }
    let n_rows = Count::Exact(counts.iter().sum());
    let n_at_fit = rows_at_fit(model);
    let leaf = |(path, count): (&SegmentPath, Count)| Leaf {
        path: path.clone(),
        size: Size::new([count, n_rows], [at_fit(path).unwrap_or(Count::Exact(0)), n_at_fit]),
    };
    paths.leaves.iter().zip(told).map(leaf).collect()
}

fn leaf_table(leaves: &[Leaf]) -> Table {
    let heads = [
        ("path", Align::Left),
        ("size", Align::Right),
        ("share", Align::Right),
        ("at the fit", Align::Right),
    ];
    let mut table = Table::new(&heads, None);
    for leaf in leaves {
        let [n_rows, share, at_fit] = leaf.size.told.clone();
        table.row(&[leaf.path.to_string(), n_rows, share, at_fit], &[]);
    }
    table
}

fn count_table(segments: &[Segment]) -> Table {
    let mut heads = ["segment", "size", "share", "at the fit"]
        .map(|head| (head, Align::Right))
        .to_vec();
    heads.push(("name", Align::Left));
    let mut table = Table::new(&heads, None);
    for segment in segments {
        let [n_rows, share, at_fit] = segment.size.told.clone();
        let name = segment.name.clone();
        table.row(&[segment.segment.to_string(), n_rows, share, at_fit, name], &[]);
    }
    table
}
