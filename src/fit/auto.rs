//! The number of clusters found by a sweep: alone, or as the beginning of a fit.

use super::{Clock, Fit, FitOptions, Job, Observed, Ready, inertia_unit};
use crate::backend::Backend;
use crate::backend::cpu::CpuBackend;
use crate::data::BatchSource;
use crate::error::Result;
use crate::features::{ColumnReport, Preparation, Prepared};
use crate::kmeans::{Observer, again_where_wrong};
use crate::select::{self, Sweep, SweepOptions, Swept};

/// A sweep over a table.
#[derive(Debug, Clone)]
pub struct SweptTable {
    /// Candidates and decision.
    pub sweep: Sweep,
    /// How the features were prepared.
    pub preparation: Preparation,
    /// What each column was taken for.
    pub columns: Vec<ColumnReport>,
    /// Rows.
    pub n_rows: usize,
    /// Features.
    pub n_features: usize,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Seconds per stage.
    pub stages: Vec<(&'static str, f64)>,
}

/// Fits every number of clusters of `select.k` to `source` and says which to take. `options` are those of [`super::fit`], but
/// for the number of clusters; each candidate has the labels that a fit with its number gives.
///
/// # Errors
/// Those of [`super::fit`] and of [`select::sweep`].
pub fn sweep(
    source: &dyn BatchSource,
    backend: &dyn Backend,
    options: &FitOptions,
    select: &SweepOptions,
    observer: &dyn Observer,
) -> Result<SweptTable> {
    with_job(source, backend, options, select, observer, |job| {
        let mut clock = Clock::new(observer);
        let mut ready = job.ready(&mut clock)?;
        let swept = job.sweep(&mut ready, select, &mut clock)?;
        Ok(SweptTable {
            sweep: swept.sweep.told(options.min_cell),
            n_rows: ready.prepared.tiles.n_rows(),
            n_features: ready.prepared.tiles.n_features(),
            preparation: ready.learned.preparation,
            columns: ready.learned.columns,
            warnings: ready.learned.warnings,
            stages: clock.stages,
        })
    })
}

/// Fits the number of clusters that a sweep chooses: what [`super::fit`] with that number gives, and the sweep, which
/// looks at all rows even where the fit leaves some out.
///
/// `options.n_clusters` is not looked at.
///
/// # Errors
/// Those of [`sweep`].
pub fn fit_auto(
    source: &dyn BatchSource,
    backend: &dyn Backend,
    options: &FitOptions,
    select: &SweepOptions,
    observer: &dyn Observer,
) -> Result<(Fit, Sweep)> {
    with_job(source, backend, options, select, observer, |job| {
        let mut clock = Clock::new(observer);
        let mut ready = job.ready(&mut clock)?;
        let mut swept = job.sweep(&mut ready, select, &mut clock)?;
        let chosen = FitOptions {
            n_clusters: swept.sweep.decision.k,
            ..options.clone()
        };
        let job = Job {
            options: &chosen,
            ..*job
        };
        clock.stage("assign");
        let (run, trim) = if chosen.trim > 0.0 {
            job.cluster(&mut ready)?
        } else {
            (swept.take_chosen(backend, &ready.prepared.tiles)?, None)
        };
        clock.end();
        Ok((job.finish(ready, run, trim, clock)?, swept.sweep.told(options.min_cell)))
    })
}

fn with_job<R: Send>(
    source: &dyn BatchSource,
    backend: &dyn Backend,
    options: &FitOptions,
    select: &SweepOptions,
    observer: &dyn Observer,
    work: impl Fn(&Job<'_>) -> Result<R> + Sync,
) -> Result<R> {
    select.check()?;
    let options = FitOptions {
        n_clusters: *select.k.end(),
        ..options.clone()
    };
    options.check(source.n_rows())?;
    let host = CpuBackend::new(options.threads)?;
    let job = Job {
        source: &Observed { source, observer },
        backend,
        host: &host,
        options: &options,
        observer,
    };
    host.install(|| again_where_wrong(observer, || work(&job)))
}

impl Job<'_> {
    fn sweep(&self, ready: &mut Ready, select: &SweepOptions, clock: &mut Clock<'_>) -> Result<Swept> {
        let Prepared { tiles, weight_step, .. } = &ready.prepared;
        clock.stage("sweep");
        let params = self.options.params(self.init(&ready.learned.preparation)?);
        let swept = select::sweep(
            self.backend,
            self.host,
            tiles,
            &ready.keys,
            &params,
            select,
            inertia_unit(&ready.learned.preparation, &ready.prepared),
            weight_step.map_or(1.0, |step| 1.0 / step),
            self.observer,
        )?;
        ready.learned.warnings.extend(swept.notices.iter().cloned());
        clock.replace_last(&swept.stages);
        if swept.n_untried > 0 {
            let (least, most) = (select.k.end() + 1 - swept.n_untried, select.k.end());
            let warning = format!("time was up: {least} to {most} segments were not tried");
            ready.learned.warnings.push(warning);
        }
        Ok(swept)
    }
}
