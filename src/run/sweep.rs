//! The directory of a sweep.

use std::time::Instant;

use super::{RunContext, options_record};
use crate::artifact::{self, RunDir, Selection, StageRecord, SweepRecord, TimeRecord, names};
use crate::error::{Error, Result, told};
use crate::fit::{FitOptions, SweptTable};
use crate::select::SweepOptions;

/// What `sweep.json` says of a sweep, and, with `dir`, its directory, which is there once this has returned.
///
/// `stop` is asked a last time before the directory gets its name.
///
/// # Errors
/// Those of writing; whatever `stop` says.
pub fn write_sweep(
    dir: Option<RunDir>,
    swept: &SweptTable,
    options: &FitOptions,
    select: &SweepOptions,
    context: &RunContext,
    stop: impl FnOnce() -> Result<()>,
) -> Result<SweepRecord> {
    let started = Instant::now();
    let mut record = record(swept, options, select, context)?;
    let Some(dir) = dir else {
        return Ok(record);
    };
    dir.write(names::SWEEP_TABLE, |out| artifact::write_sweep(out, &swept.sweep))?;
    record.time.stages.push(StageRecord {
        stage: "write".into(),
        elapsed_s: started.elapsed().as_secs_f64(),
    });
    dir.write(names::SWEEP, |out| record.write(out))?;
    stop()?;
    dir.commit()?;
    Ok(record)
}

fn record(
    swept: &SweptTable,
    options: &FitOptions,
    select: &SweepOptions,
    context: &RunContext,
) -> Result<SweepRecord> {
    let elapsed_s = context.started.elapsed().as_secs_f64();
    let stages = swept.stages.iter().map(|&(stage, elapsed_s)| StageRecord {
        stage: stage.into(),
        elapsed_s,
    });
    let columns = swept.columns.iter().map(serde_json::to_value).collect::<Result<_, _>>();
    let chosen = FitOptions {
        n_clusters: swept.sweep.decision.k,
        ..options.clone()
    };
    Ok(SweepRecord {
        format: SweepRecord::FORMAT.into(),
        version: SweepRecord::VERSION,
        kohort_version: env!("CARGO_PKG_VERSION").into(),
        selection: Selection::new(select, swept.sweep.clone()),
        data: context.data.iter().map(|name| told(name).into_owned()).collect(),
        inputs: context.inputs.clone(),
        source: context.source.clone(),
        n_rows: swept.n_rows as u64,
        n_features: swept.n_features,
        config: context.config.clone(),
        options: options_record(&chosen, &swept.preparation)?,
        columns: columns.map_err(|source| Error::Internal(format!("the columns cannot be written: {source}")))?,
        device: context.device.clone(),
        threads: context.threads,
        time: TimeRecord {
            created: context.created.clone(),
            stages: stages.collect(),
            elapsed_s,
            rows_per_s: swept.n_rows as f64 / elapsed_s.max(f64::MIN_POSITIVE),
        },
        warnings: swept.warnings.clone(),
    })
}
