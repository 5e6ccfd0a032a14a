//! `kohort generate`: synthetic accounts of any size, for trying things out and for measuring.

use std::num::NonZero;
use std::process::ExitCode;
use std::time::Instant;

use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use serde_json::json;

use kohort::artifact::{
    AccountsOptions, AccountsOut, Claim, Written, check_output_file, check_output_parts, write_accounts,
};
use kohort::kmeans::{Event, Observer};
use kohort::workload::Workload;
use kohort::{Error, Result};

use super::args::{CodecArg, GenerateArgs};
use super::output::{Output, count, plural, seconds};
use super::plan;
use super::progress::Progress;

pub(crate) fn run(args: &GenerateArgs, output: Output) -> Result<ExitCode> {
    generate(args, output).map_err(in_flags)
}

fn generate(args: &GenerateArgs, output: Output) -> Result<ExitCode> {
    let started = Instant::now();
    let workload = workload(args);
    let accounts = workload.build()?;
    plan::check_folder(&args.out)?;
    let out = match args.files {
        None => AccountsOut::File(args.out.clone()),
        Some(n_files) => AccountsOut::Folder(args.out.clone(), n_files),
    };
    match out {
        AccountsOut::File(_) => check_output_file(&args.out, args.overwrite)?,
        AccountsOut::Folder(..) => check_output_parts(&args.out, args.overwrite)?,
    }
    let _claim = Claim::new(&args.out)?;
    let options = AccountsOptions {
        codec: codec(args.codec),
        group_rows: args.row_group,
        overwrite: args.overwrite,
        threads: threads(args),
    };
    let progress = Progress::new(&args.talk, output);
    progress.event(Event::Stage("generate"));
    let written = write_accounts(&accounts, &out, &options, &progress);
    progress.clear();
    let written = written?;
    let elapsed_s = started.elapsed().as_secs_f64();
    tell(args, &written, options.threads, elapsed_s, output);
    let Workload {
        n_rows,
        n_features,
        n_clusters,
        seed,
        missing,
        outliers,
        offset,
        categorical,
    } = workload;
    output.object(&json!({
        "out": args.out.to_string_lossy(),
        "n_rows": n_rows,
        "n_features": n_features,
        "n_clusters": n_clusters,
        "seed": seed,
        "missing": missing,
        "outliers": outliers,
        "offset": offset,
        "categorical": categorical,
        "n_files": written.n_files,
        "n_row_groups": written.n_row_groups,
        "bytes": written.bytes,
        "elapsed_s": elapsed_s,
        "rows_per_s": n_rows as f64 / elapsed_s,
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn workload(args: &GenerateArgs) -> Workload {
    let kind = &args.kind;
    Workload {
        n_rows: args.rows,
        n_features: args.features,
        n_clusters: args.clusters,
        seed: kind.seed,
        missing: kind.missing,
        outliers: kind.outliers,
        offset: kind.offset,
        categorical: kind.categorical,
    }
}

fn threads(args: &GenerateArgs) -> usize {
    args.threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZero::get))
}

fn codec(codec: CodecArg) -> Compression {
    match codec {
        CodecArg::None => Compression::UNCOMPRESSED,
        CodecArg::Snappy => Compression::SNAPPY,
        CodecArg::Zstd => Compression::ZSTD(ZstdLevel::default()),
        CodecArg::Lz4 => Compression::LZ4_RAW,
        CodecArg::Gzip => Compression::GZIP(GzipLevel::default()),
        CodecArg::Brotli => Compression::BROTLI(BrotliLevel::default()),
    }
}

/// What was written, how fast, and what to do with it.
fn tell(args: &GenerateArgs, written: &Written, threads: usize, elapsed_s: f64, output: Output) {
    let out = kohort::error::escape(&args.out.to_string_lossy());
    let mib = written.bytes as f64 / f64::from(1 << 20);
    output.note(&format!(
        "{} in {}, {mib:.1} MiB in {}, {} rows/s, written to {out}",
        plural(written.n_rows as u64, "row"),
        plural(written.n_files as u64, "file"),
        seconds(elapsed_s),
        count((written.n_rows as f64 / elapsed_s) as u64),
    ));
    let groups = plural(written.n_row_groups as u64, "row group");
    output.detail(&format!("{groups}, {}", plural(threads as u64, "thread")));
    output.note(&format!(
        "cluster them with: kohort fit {out} -k {} --id account_id --exclude truth",
        args.clusters
    ));
}

/// A parameter of the library under the name that it has here.
fn in_flags(error: Error) -> Error {
    match error {
        Error::InvalidParam { param, value, reason } => Error::InvalidParam {
            param: match param {
                "n_rows" => "--rows",
                "n_features" => "--features",
                "n_clusters" => "--clusters",
                "missing" => "--missing",
                "outliers" => "--outliers",
                "offset" => "--offset",
                "categorical" => "--categorical",
                "n_files" => "--files",
                "group_rows" => "--row-group",
                other => other,
            },
            value,
            reason,
        },
        other => other,
    }
}
