//! `kohort verify`: a run made again, and held against itself bit for bit.

use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;

use kohort::artifact::{DeviceRecord, RunRecord, model_file};
use kohort::data::{BatchSource, FileSource, expand};
use kohort::fit::{Fit, FitOptions, fit};
use kohort::run;
use kohort::{ErrorKind, Result};

use super::args::{ComputeArgs, VerifyArgs};
use super::output::{Align, Output, Table, plural, seconds, show_stages, stdout_width};
use super::plan::{self, Device};
use super::progress::Progress;
use super::reading;

pub(crate) fn run(args: &VerifyArgs, output: Output) -> Result<ExitCode> {
    let started = Instant::now();
    let record = RunRecord::load(&args.run)?;
    let model = model_file::load(&args.run)?;
    let source = open(&args.data, args.filter.as_deref(), &args.compute, &record, output)?;
    let options = options(&record, &args.compute);
    let progress = Progress::new(&args.talk, output);
    let (fitted, device) = again(&source, &options, &args.compute, &progress, output)?;
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
        "threads": options.threads,
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
    let files = match data {
        [] => reading::recorded_files(record)?,
        data => expand(data)?,
    };
    reading::open_again(record, &files, filter, Vec::new(), plan::threads(compute), output)
}

/// The options of a recorded run, on this machine.
pub(super) fn options(record: &RunRecord, compute: &ComputeArgs) -> FitOptions {
    FitOptions {
        threads: plan::threads(compute),
        chunk_bytes: plan::chunk_bytes(compute),
        ..run::options(record)
    }
}

/// Fits again; also what it ran on.
pub(super) fn again(
    source: &FileSource,
    options: &FitOptions,
    compute: &ComputeArgs,
    progress: &Progress,
    output: Output,
) -> Result<(Fit, DeviceRecord)> {
    let Device { backend, record } = plan::device(compute, plan::work(source, options), output)?;
    let fitted = fit(source, &*backend, options, progress);
    progress.clear();
    Ok((fitted?, record))
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
