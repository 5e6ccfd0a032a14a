//! `kohort verify`: a run made again, and held against itself bit for bit.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;

use kohort::artifact::{InputRecord, RunRecord, model_file};
use kohort::data::BatchSource;
use kohort::data::FileSource;
use kohort::fit::{FitOptions, fit};
use kohort::run;
use kohort::{Error, ErrorKind, Result};

use super::args::{ComputeArgs, VerifyArgs};
use super::output::{Align, Output, Table, plural, seconds, show_stages, some_of, stdout_width};
use super::plan::{self, Device};
use super::progress::Progress;
use super::reading;

pub(crate) fn run(args: &VerifyArgs, output: Output) -> Result<ExitCode> {
    let started = Instant::now();
    let record = RunRecord::load(&args.run)?;
    let model = model_file::load(&args.run)?;
    let source = open(&args.data, args.filter.as_deref(), &args.compute, &record, output)?;
    let threads = plan::threads(&args.compute);
    let options = FitOptions {
        threads,
        chunk_bytes: plan::chunk_bytes(&args.compute),
        ..run::options(&record)
    };
    let Device {
        backend,
        record: device,
    } = plan::device(&args.compute, plan::work(&source, &options), output)?;
    let progress = Progress::new(&args.talk, output);
    let fitted = fit(&source, &*backend, &options, &progress);
    progress.clear();
    let fitted = fitted?;
    show_stages(fitted.summary.stages.iter().copied(), output);
    let checks = run::compare(&record, &model, &fitted);
    let matches = checks.iter().all(|check| check.matches);
    output.data(&check_table(&checks).render(stdout_width()))?;
    output.object(&json!({
        "run": args.run.to_string_lossy(),
        "matches": matches,
        "checks": checks,
        "n_rows": source.n_rows(),
        "device": device,
        "threads": threads,
        "run_device": record.device,
        "run_threads": record.threads,
    }))?;
    if matches {
        output.note(&format!(
            "verified: {} in the same segments, bit for bit, {}",
            plural(record.n_rows, "row"),
            seconds(started.elapsed().as_secs_f64())
        ));
        return Ok(ExitCode::SUCCESS);
    }
    output.failed(
        "the run and its repetition differ",
        &format!("the run was made by kohort {}", record.kohort_version),
    );
    Ok(super::exit_code(ErrorKind::Mismatch).into())
}

/// The data of the run, byte for byte: where DATA says, or where the run found it.
pub(super) fn open(
    data: &[String],
    filter: Option<&str>,
    compute: &ComputeArgs,
    record: &RunRecord,
    output: Output,
) -> Result<FileSource> {
    let options = reading::recorded_options(record, filter)?;
    let threads = plan::threads(compute);
    let source = if data.is_empty() {
        let paths: Vec<_> = record.inputs.iter().map(InputRecord::locate).collect();
        match paths.iter().find(|path| !path.exists()) {
            Some(gone) => return Err(Error::InputGone { path: gone.clone() }),
            None => reading::open_files(&paths, options, threads, output)?,
        }
    } else {
        reading::open(data, options, threads, output)?
    };
    check_inputs(&record.inputs, &super::fit::inputs(&source)?)?;
    Ok(source)
}

/// Refuses data that is not byte for byte what the run read.
pub(super) fn check_inputs(expected: &[InputRecord], found: &[InputRecord]) -> Result<()> {
    if expected.len() != found.len() {
        return Err(Error::InvalidParam {
            param: "DATA",
            value: format!("of {}", plural(found.len() as u64, "file")),
            reason: format!(
                "the run read {} ({})",
                plural(expected.len() as u64, "file"),
                some_of(expected.iter().map(|input| input.path.as_str()))
            ),
        });
    }
    let same = |(old, new): &(&InputRecord, &InputRecord)| (old.bytes, &old.xxh3_128) == (new.bytes, &new.xxh3_128);
    match expected.iter().zip(found).find(|pair| !same(pair)) {
        Some((_, changed)) => Err(Error::InputChanged {
            path: Path::new(&changed.path).to_owned(),
        }),
        None => Ok(()),
    }
}

fn check_table(checks: &[run::Check]) -> Table {
    use Align::Left;
    let mut table = Table::new(
        &[("check", Left), ("in the run", Left), ("now", Left), ("same", Left)],
        None,
    );
    for check in checks {
        let same = if check.matches { "yes" } else { "NO" };
        table.row(
            &[
                check.what.into(),
                check.expected.clone(),
                check.found.clone(),
                same.into(),
            ],
            &[],
        );
    }
    table
}
