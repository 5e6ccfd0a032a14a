//! From arguments to built objects: the source, the device with its reason, the options.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use kohort::artifact::{DeviceRecord, check_local};
use kohort::backend::Backend;
use kohort::backend::choice::{DeviceRequest, choose};
use kohort::backend::cpu::CpuBackend;
use kohort::backend::fallback::FallbackBackend;
use kohort::backend::gpu::{self, GpuBackend, GpuOptions, GpuSelection, MatrixUnits};
use kohort::backend::joint::{JointBackend, WORTHWHILE_SHARE};
use kohort::cells::MinCell;
use kohort::data::BatchSource;
use kohort::data::FileSource;
use kohort::data::expand;
use kohort::features::{Block, FeatureOptions, LogChoice, MissingRule, Scale};
use kohort::fit::{FitOptions, InitCentroids, InitChoice};
use kohort::nested::{AUTO, SegmentPath, SplitRule};
use kohort::select::SweepOptions;
use kohort::tiles::MAX_CHUNK_BYTES;
use kohort::{Error, Result};

use super::args::{
    ChoiceArgs, ColumnArgs, ComputeArgs, FitArgs, InitArg, KMeansArgs, Names, NumberArg, OutliersArg, ScaleArg,
};
use super::output::{Output, plural};

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
    let matrix_units = MatrixUnits::from_environment()?;
    let choice = choose(&compute.device, work, gpu::all, |selection, n_gpus| {
        GpuBackend::new(
            &selection,
            GpuOptions {
                max_chunk_bytes: compute.chunk_bytes.map(|n| n as u64),
                threads: threads(compute) / n_gpus,
                matrix_units,
                ..GpuOptions::default()
            },
        )
    })?;
    let is_software = choice.gpus.iter().any(|(_, gpu)| gpu.is_software());
    let cpu = CpuBackend::new(threads(compute))?;
    let backend: Box<dyn Backend> = match together(choice.gpus, &compute.device)? {
        Some(gpus) => Box::new(FallbackBackend::new(gpus, Box::new(cpu))),
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

/// The GPUs of a choice as one backend; `None` where there are none.
///
/// Those that were named share every job. Of all GPUs only so many take part as a job is worth.
///
/// # Errors
/// The same GPU twice, unless it is software: tests have no other way of getting two.
pub(crate) fn together(
    mut gpus: Vec<(GpuSelection, GpuBackend)>,
    asked: &DeviceRequest,
) -> Result<Option<Box<dyn Backend>>> {
    let is_known = |at: usize| gpus[..at].iter().any(|(earlier, _)| *earlier == gpus[at].0);
    if let Some(twice) = (0..gpus.len()).find(|&at| is_known(at) && !gpus[at].1.is_software()) {
        return Err(Error::InvalidParam {
            param: "device",
            value: asked.to_string(),
            reason: format!("has {} twice", gpus[twice].0),
        });
    }
    if gpus.len() < 2 {
        return Ok(gpus.pop().map(|(_, gpu)| Box::new(gpu) as Box<dyn Backend>));
    }
    let worthwhile = match asked {
        DeviceRequest::AllGpus => WORTHWHILE_SHARE,
        _ => 0,
    };
    let named =
        |(selection, gpu): (GpuSelection, GpuBackend)| (selection.to_string(), Box::new(gpu) as Box<dyn Backend>);
    let devices = gpus.into_iter().map(named).collect();
    Ok(Some(Box::new(JointBackend::new(devices, worthwhile))))
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

/// How a number of clusters is to be found, where it is not given.
///
/// # Errors
/// Ranges that make no sense; wishes for a choice that is not left open.
pub(crate) fn select_options(args: &FitArgs) -> Result<Option<SweepOptions>> {
    let k = match top(args)? {
        NumberArg::Within(range) => range.clone(),
        NumberArg::Auto => SweepOptions::default().k,
        NumberArg::Fixed(n) => {
            let is_open_below = args.levels.iter().any(|level| !matches!(level, NumberArg::Fixed(_)));
            let given = [
                ("prefer", args.choice.prefer.is_some()),
                ("min_share", args.choice.min_share.is_some() && !is_open_below),
            ];
            let given = given.into_iter().find(|&(_, given)| given);
            return given.map_or(Ok(None), |(param, _)| {
                Err(Error::InvalidParam {
                    param,
                    value: "is given".into(),
                    reason: format!("but -k {n} leaves no choice; give -k auto or a range such as -k 2..12"),
                })
            });
        }
    };
    sweep_options(k, &args.choice).map(Some)
}

/// The number of segments of the first level.
fn top(args: &FitArgs) -> Result<&NumberArg> {
    let top = args.n_clusters.as_ref().or(args.levels.first());
    top.ok_or_else(|| Error::Internal("neither -k nor --levels".into()))
}

/// How a segment is to be split.
pub(crate) fn split_rule(path: Option<SegmentPath>, k: &NumberArg, min_share: Option<f64>) -> Result<SplitRule> {
    let [least, most] = match k {
        NumberArg::Fixed(n) => [*n, *n],
        NumberArg::Auto => [*AUTO.start(), *AUTO.end()],
        NumberArg::Within(range) => [*range.start(), *range.end()],
    };
    let rule = SplitRule {
        path,
        k: [least, most],
        min_share: min_share.unwrap_or(SweepOptions::default().min_share),
    };
    rule.check().map_err(|reason| Error::InvalidParam {
        param: if rule.path.is_some() { "n_clusters" } else { "--levels" },
        value: if least == most {
            least.to_string()
        } else {
            format!("{least}..{most}")
        },
        reason,
    })?;
    Ok(rule)
}

/// Which numbers of clusters are tried, and what is wished.
pub(crate) fn sweep_options(k: RangeInclusive<usize>, choice: &ChoiceArgs) -> Result<SweepOptions> {
    let defaults = SweepOptions::default();
    let options = SweepOptions {
        k,
        prefer: choice.prefer.clone(),
        min_share: choice.min_share.unwrap_or(defaults.min_share),
        ..defaults
    };
    options.check()?;
    Ok(options)
}

/// What a fit is asked to do. Where the number of clusters is left to a sweep, it is the largest of it.
pub(crate) fn fit_options(args: &FitArgs, select: Option<&SweepOptions>) -> Result<FitOptions> {
    let n_clusters = match (top(args)?, select) {
        (_, Some(select)) => *select.k.end(),
        (NumberArg::Fixed(n), None) => *n,
        _ => return Err(Error::Internal("a number of clusters to be found, and no sweep".into())),
    };
    let below = args.levels.iter().skip(1);
    let levels = below.map(|level| split_rule(None, level, args.choice.min_share));
    let options = job_options(n_clusters, select.is_some(), &args.columns, &args.kmeans, &args.compute)?;
    Ok(FitOptions {
        levels: levels.collect::<Result<_>>()?,
        trim: args.trim.unwrap_or(options.trim),
        unassign_outliers: args.outliers == OutliersArg::Unassign,
        ..options
    })
}

/// The same for any command that fits; `swept` where several numbers of clusters are tried.
pub(crate) fn job_options(
    n_clusters: usize,
    swept: bool,
    columns: &ColumnArgs,
    kmeans: &KMeansArgs,
    compute: &ComputeArgs,
) -> Result<FitOptions> {
    if let (true, InitArg::File(path)) = (swept, &kmeans.init) {
        return Err(Error::InvalidParam {
            param: "init",
            value: path.to_string_lossy().into_owned(),
            reason: "first centroids fit one number of segments only; give it with -k N".into(),
        });
    }
    Ok(FitOptions {
        features: feature_options(columns)?,
        n_clusters,
        init: init(&kmeans.init, n_clusters)?,
        n_init: kmeans.n_init,
        max_iter: kmeans.max_iter,
        tol: kmeans.tol,
        seed: kmeans.seed,
        trim: 0.0,
        unassign_outliers: false,
        chunk_bytes: chunk_bytes(compute),
        threads: threads(compute),
        levels: Vec::new(),
        min_cell: MinCell::default(),
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
        months: Names::flatten(&treatment.month),
        weekdays: Names::flatten(&treatment.weekday),
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
        ScaleArg::Rank => Scale::Rank,
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
    let source = FileSource::open(&[path.to_owned()], 1)?;
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
    let Ok(source) = FileSource::open(std::slice::from_ref(path), 1) else {
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
    check_local(out)?;
    match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => Err(Error::OutputFolderMissing {
            path: out.to_owned(),
            folder: folder.to_owned(),
        }),
        _ => Ok(()),
    }
}
