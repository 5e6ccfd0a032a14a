//! From arguments to built objects: the source, the device with its reason, the options.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use kohort::artifact::DeviceRecord;
use kohort::backend::Backend;
use kohort::backend::choice::choose;
use kohort::backend::cpu::CpuBackend;
use kohort::backend::fallback::FallbackBackend;
use kohort::backend::gpu::{GpuBackend, GpuOptions};
use kohort::data::BatchSource;
use kohort::data::ParquetSource;
use kohort::data::expand;
use kohort::features::{Block, FeatureOptions, LogChoice, MissingRule, Scale};
use kohort::fit::{FitOptions, InitCentroids, InitChoice};
use kohort::tiles::MAX_CHUNK_BYTES;
use kohort::{Error, Result};

use super::args::{ColumnArgs, ComputeArgs, FitArgs, InitArg, Names, ScaleArg};
use super::output::{Output, plural};

/// The files that DATA names, as one table.
pub(crate) fn open(data: &[String], compute: &ComputeArgs) -> Result<ParquetSource> {
    ParquetSource::open(&expand(data)?, threads(compute))
}

/// Threads to use: those asked for, or all.
pub(crate) fn threads(compute: &ComputeArgs) -> usize {
    count_threads(compute.threads)
}

/// As many threads as asked for, or all.
pub(crate) fn count_threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZero::get))
}

/// A device that is ready to work.
pub(crate) struct Device {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) record: DeviceRecord,
}

/// Takes a device for passes of `work` multiply-adds, and says which and why.
pub(crate) fn device(compute: &ComputeArgs, work: u64, output: Output) -> Result<Device> {
    let choice = choose(compute.device, work, |selection| {
        GpuBackend::new(
            &selection,
            GpuOptions {
                max_chunk_bytes: compute.chunk_bytes.map(|n| n as u64),
                ..GpuOptions::default()
            },
        )
    })?;
    let is_software = choice.gpu.as_ref().is_some_and(GpuBackend::is_software);
    let cpu = CpuBackend::new(threads(compute))?;
    let backend: Box<dyn Backend> = match choice.gpu {
        Some(gpu) => Box::new(FallbackBackend::new(Box::new(gpu), Box::new(cpu))),
        None => Box::new(cpu),
    };
    let record = DeviceRecord {
        asked: compute.device.to_string(),
        backend: backend.name().to_owned(),
        description: backend.description(),
        reason: choice.reason,
    };
    output.note(&format!("device: {}; {}", record.description, record.reason));
    if is_software {
        output.warning("this adapter is software on the CPU, and slower than --device cpu; the segments are the same");
    }
    Ok(Device { backend, record })
}

/// About so many multiply-adds a pass takes, as far as is known before the columns are looked at: how many features
/// texts become is not.
pub(crate) fn work(source: &dyn BatchSource, options: &FitOptions) -> u64 {
    let named = &options.features;
    let aside = |name: &String| named.id.contains(name) || named.weight.as_ref() == Some(name);
    let usable =
        |data_type: &DataType| data_type.is_numeric() || data_type.is_temporal() || *data_type == DataType::Boolean;
    let fields = source.schema().fields().iter();
    let n_features = fields
        .filter(|field| usable(field.data_type()) && !aside(field.name()))
        .count();
    [source.n_rows(), n_features, options.n_clusters]
        .iter()
        .fold(1, |work, &n| u64::saturating_mul(work, n as u64))
}

/// What a fit is asked to do.
pub(crate) fn fit_options(args: &FitArgs) -> Result<FitOptions> {
    let kmeans = &args.kmeans;
    Ok(FitOptions {
        features: feature_options(&args.columns)?,
        n_clusters: args.n_clusters,
        init: init(&kmeans.init, args.n_clusters)?,
        n_init: kmeans.n_init,
        max_iter: kmeans.max_iter,
        tol: kmeans.tol,
        seed: kmeans.seed,
        chunk_bytes: chunk_bytes(&args.compute),
        threads: threads(&args.compute),
    })
}

/// Which columns play which part, and what is done to them.
pub(crate) fn feature_options(columns: &ColumnArgs) -> Result<FeatureOptions> {
    let treatment = &columns.treatment;
    let log = Names::flatten(&treatment.log);
    let log = match log.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["auto"] => LogChoice::Auto,
        ["none"] => LogChoice::None,
        _ => LogChoice::Columns(log),
    };
    let missing = Names::flatten(&treatment.missing)
        .into_iter()
        .map(|rule| match rule.rsplit_once('=') {
            Some((column, how)) => Ok(MissingRule {
                column: Some(column.into()),
                how: how.parse()?,
            }),
            None => Ok(MissingRule {
                column: None,
                how: rule.parse()?,
            }),
        });
    let weights = Names::flatten(&treatment.weights).into_iter().map(|weight| {
        let (name, number) = weight.rsplit_once('=').unwrap_or((&weight, ""));
        let number = number.parse().map_err(|_| Error::InvalidParam {
            param: "weights",
            value: weight.clone(),
            reason: "is a column or block, =, and a number: usage=2".into(),
        })?;
        Ok((name.to_owned(), number))
    });
    let blocks = treatment.block.iter().map(|block| {
        let refuse = |reason: &str| Error::InvalidParam {
            param: "block",
            value: block.clone(),
            reason: reason.into(),
        };
        let (name, columns) = block
            .split_once('=')
            .ok_or_else(|| refuse("is a name, =, and columns: usage='usage_*'"))?;
        let columns: Names = columns.parse().map_err(|reason: String| refuse(&reason))?;
        Ok(Block {
            name: name.into(),
            columns: Names::flatten(&[columns]),
        })
    });
    Ok(FeatureOptions {
        id: Names::flatten(&columns.id),
        features: Names::flatten(&columns.features),
        exclude: Names::flatten(&columns.exclude),
        weight: columns.weight.clone(),
        outcomes: Names::flatten(&columns.outcome),
        carry: Names::flatten(&columns.carry),
        scale: scale(columns.scale),
        log,
        clip: treatment.clip,
        missing: missing.collect::<Result<_>>()?,
        as_of: treatment.as_of,
        weights: weights.collect::<Result<_>>()?,
        blocks: blocks.collect::<Result<_>>()?,
    })
}

/// How features are scaled.
pub(crate) fn scale(arg: ScaleArg) -> Scale {
    match arg {
        ScaleArg::Zscore => Scale::Zscore,
        ScaleArg::Robust => Scale::Robust,
        ScaleArg::Minmax => Scale::Minmax,
        ScaleArg::None => Scale::None,
    }
}

/// Where the first of `n_clusters` centroids come from.
pub(crate) fn init(arg: &InitArg, n_clusters: usize) -> Result<InitChoice> {
    Ok(match arg {
        InitArg::KMeansPlusPlus => InitChoice::KMeansPlusPlus,
        InitArg::Random => InitChoice::Random,
        InitArg::File(path) => InitChoice::Centroids(read_centroids(path, n_clusters)?),
    })
}

/// Bytes of prepared values in one piece.
pub(crate) fn chunk_bytes(compute: &ComputeArgs) -> usize {
    compute.chunk_bytes.unwrap_or(MAX_CHUNK_BYTES)
}

/// The rows of a Parquet file as centroids: its columns of numbers and booleans. What is null becomes NaN, which is
/// refused only in a column that is a feature.
fn read_centroids(path: &Path, n_clusters: usize) -> Result<InitCentroids> {
    let source = ParquetSource::open(&[path.to_owned()], 1)?;
    if source.n_rows() != n_clusters {
        let n_rows = plural(source.n_rows() as u64, "row");
        return Err(Error::InitInvalid {
            path: Some(path.to_owned()),
            reason: format!("{n_rows}, but -k asks for {n_clusters} segments"),
        });
    }
    let fields = source.schema().fields();
    let columns: Vec<usize> = (0..fields.len())
        .filter(|&j| is_coordinate(fields[j].data_type()))
        .collect();
    let mut rows = vec![Vec::with_capacity(columns.len()); n_clusters];
    source.scan(&columns, &mut |first_row, batch| {
        batch
            .columns()
            .iter()
            .try_for_each(|column| push_column(column, &mut rows[first_row..]))
    })?;
    Ok(InitCentroids {
        path: Some(path.to_owned()),
        columns: columns.iter().map(|&j| fields[j].name().clone()).collect(),
        rows,
    })
}

fn is_coordinate(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

fn push_column(column: &dyn Array, rows: &mut [Vec<f64>]) -> Result<()> {
    let array = cast(column, &DataType::Float64)
        .map_err(|error| Error::Internal(format!("a column of numbers does not become floats: {error}")))?;
    for (value, row) in array.as_primitive::<Float64Type>().iter().zip(rows) {
        row.push(value.unwrap_or(f64::NAN));
    }
    Ok(())
}

/// The error of a fit; where the file of first centroids has the column that it misses, in a type that is no number,
/// it says so.
pub(crate) fn explain_init(error: Error, args: &FitArgs) -> Error {
    let (Error::InitColumnNotFound { column, .. }, InitArg::File(path)) = (&error, &args.kmeans.init) else {
        return error;
    };
    let Ok(source) = ParquetSource::open(std::slice::from_ref(path), 1) else {
        return error;
    };
    let Ok(field) = source.schema().field_with_name(column) else {
        return error;
    };
    let mut reason = format!("column {column:?} is {}, not a number", field.data_type());
    if field.data_type().is_temporal() {
        reason += "; give dates as days before the newest, as profile.parquet does";
    }
    Error::InitInvalid {
        path: Some(path.clone()),
        reason,
    }
}

/// Refuses an output that is one of the files to be read: `--overwrite` is for earlier outputs.
pub(crate) fn check_not_input(out: &Path, data: &[String]) -> Result<()> {
    let Ok(out_file) = out.canonicalize() else {
        return Ok(());
    };
    let is_out = |file: &PathBuf| file.canonicalize().is_ok_and(|file| file == out_file);
    if expand(data)?.iter().any(is_out) {
        return Err(Error::OutputForeign {
            path: out.to_owned(),
            reason: "it is one of the files of DATA".into(),
        });
    }
    Ok(())
}

/// Refuses an output whose folder is not there, before any work is done.
pub(crate) fn check_folder(out: &Path) -> Result<()> {
    match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => Err(Error::OutputFolderMissing {
            path: out.to_owned(),
            folder: folder.to_owned(),
        }),
        _ => Ok(()),
    }
}
