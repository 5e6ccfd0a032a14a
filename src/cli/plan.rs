//! From arguments to built objects: the source, the device with its reason, the options.

use std::num::NonZero;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
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
use kohort::features::{FeatureOptions, Scale};
use kohort::fit::{FitOptions, InitCentroids, InitChoice};
use kohort::tiles::MAX_CHUNK_BYTES;
use kohort::{Error, Result};

use super::args::{ComputeArgs, FitArgs, InitArg, Names, ScaleArg};
use super::output::Output;

/// The files that DATA names, as one table.
pub(crate) fn open(data: &[String], compute: &ComputeArgs) -> Result<ParquetSource> {
    ParquetSource::open(&expand(data)?, threads(compute))
}

/// Threads to use: those asked for, or all.
pub(crate) fn threads(compute: &ComputeArgs) -> usize {
    compute
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZero::get))
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

/// At most so many multiply-adds a pass takes, as far as is known before the columns are looked at.
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
    let (columns, kmeans) = (&args.columns, &args.kmeans);
    Ok(FitOptions {
        features: FeatureOptions {
            id: Names::flatten(&columns.id),
            features: Names::flatten(&columns.features),
            exclude: Names::flatten(&columns.exclude),
            weight: columns.weight.clone(),
            scale: match columns.scale {
                ScaleArg::Zscore => Scale::Zscore,
                ScaleArg::Robust => Scale::Robust,
                ScaleArg::Minmax => Scale::Minmax,
                ScaleArg::None => Scale::None,
            },
        },
        n_clusters: args.n_clusters,
        init: match &kmeans.init {
            InitArg::KMeansPlusPlus => InitChoice::KMeansPlusPlus,
            InitArg::Random => InitChoice::Random,
            InitArg::File(path) => InitChoice::Centroids(read_centroids(path, args.n_clusters)?),
        },
        n_init: kmeans.n_init,
        max_iter: kmeans.max_iter,
        tol: kmeans.tol,
        seed: kmeans.seed,
        chunk_bytes: chunk_bytes(&args.compute),
        threads: threads(&args.compute),
    })
}

/// Bytes of prepared values in one piece.
pub(crate) fn chunk_bytes(compute: &ComputeArgs) -> usize {
    compute.chunk_bytes.unwrap_or(MAX_CHUNK_BYTES)
}

/// The rows of a Parquet file as centroids: all its columns, which have to be numbers.
fn read_centroids(path: &Path, n_clusters: usize) -> Result<InitCentroids> {
    let source = ParquetSource::open(&[path.to_owned()], 1)?;
    if source.n_rows() != n_clusters {
        return Err(Error::InvalidParam {
            param: "--init",
            value: path.display().to_string(),
            reason: format!("{} rows, but -k asks for {n_clusters} clusters", source.n_rows()),
        });
    }
    let fields = source.schema().fields();
    if let Some(field) = fields.iter().find(|field| !field.data_type().is_numeric()) {
        return Err(Error::ColumnUnusable {
            column: field.name().clone(),
            role: "a coordinate of the first centroids",
            reason: format!("it is {}, not a number", field.data_type()),
        });
    }
    let columns: Vec<usize> = (0..fields.len()).collect();
    let mut rows = vec![Vec::with_capacity(columns.len()); n_clusters];
    source.scan(&columns, &mut |first_row, batch| {
        (0..columns.len()).try_for_each(|j| push_column(path, first_row, batch, j, &mut rows[first_row..]))
    })?;
    Ok(InitCentroids {
        columns: fields.iter().map(|field| field.name().clone()).collect(),
        rows,
    })
}

fn push_column(path: &Path, first_row: usize, batch: &RecordBatch, j: usize, rows: &mut [Vec<f64>]) -> Result<()> {
    let column = batch.schema_ref().field(j).name();
    let array = cast(batch.column(j), &DataType::Float64)
        .map_err(|error| Error::Internal(format!("a column of numbers does not become floats: {error}")))?;
    let values = array.as_primitive::<Float64Type>();
    for (i, row) in rows.iter_mut().enumerate().take(batch.num_rows()) {
        let problem = if values.is_null(i) {
            Some("is null")
        } else {
            (!values.value(i).is_finite()).then_some("is not finite")
        };
        if let Some(problem) = problem {
            return Err(Error::InvalidParam {
                param: "--init",
                value: path.display().to_string(),
                reason: format!("column {column:?}, row {} {problem}", first_row + i + 1),
            });
        }
        row.push(values.value(i));
    }
    Ok(())
}
