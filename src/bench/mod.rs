//! Layer 6: how fast the stages of a fit are, on any device, against what the machine could do at best.
//!
//! A bench runs what every user runs: [`features::learn`], [`features::prepare`], [`Backend::open`] and
//! [`kmeans::fit`], nothing made for it alone. What is held against other programs is the stage [`FIT`]: exactly so
//! many iterations from given centroids (fewer only where no centroid moves any more), then the labels of all rows under
//! the final centroids.

mod against;
mod ceilings;
mod fma;
mod generated;
mod report;

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::artifact::{AssignmentTable, Provenance, write_atomic};
use crate::backend::cpu::CpuBackend;
use crate::backend::folding::Folding;
use crate::backend::gpu::DeviceCeilings;
use crate::backend::lloyd::LloydRule;
use crate::backend::{Backend, DeviceTime, Session};
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::features::{self, FeatureOptions, Learned, Prepared};
use crate::fit::{InitChoice, Observed};
use crate::kmeans::{self, Event, Init, KMeansFit, KMeansParams, Observer};
use crate::segments::{Assignment, Confidence, labels_hash};
use crate::sys;
use crate::tiles::{Centroids, RowKeys, TileSet};

pub use against::{Compared, Comparison, LabelsDiffer};
pub use ceilings::Ceilings;
pub use generated::Generated;
pub use report::{CaseReport, DeviceReport, Report, Settings, Spread, Stage};

/// The stage that peers and gates are held against: the iterations and the final labels together.
pub const FIT: &str = "iterations+labels";

/// The stage of the iterations by the device's own clock.
pub const BY_DEVICE: &str = "iterations-device";

/// The stage of iterations that take labels without proof.
pub const UNPROVEN: &str = "iterations-unproven";

/// Where the first centroids of a bench come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// Rows of the data, chosen by the hash of their number and the seed: no time goes into seeding.
    Rows,
    /// As in a fit.
    Choice(InitChoice),
}

/// What a bench is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchOptions {
    /// Which columns are features, and how they are scaled.
    pub features: FeatureOptions,
    /// Where the first centroids come from.
    pub start: Start,
    /// Restarts of the seeding, where there is one.
    pub n_init: usize,
    /// Most iterations.
    pub max_iter: usize,
    /// See [`KMeansParams::tol`].
    pub tol: f64,
    /// Seed of the first centroids.
    pub seed: u64,
    /// Times that every stage runs; the first is cold.
    pub rounds: usize,
    /// Largest chunk of prepared values in bytes.
    pub chunk_bytes: usize,
}

/// A data set and a number of clusters.
pub struct Case<'c> {
    /// Name, for people.
    pub shape: String,
    /// What the rows are, so that two reports know the same case.
    pub data: String,
    /// The rows.
    pub source: &'c dyn BatchSource,
    /// Where they come from.
    pub origin: Origin,
    /// Number of clusters.
    pub n_clusters: usize,
}

/// Where the rows of a case come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Origin {
    /// Files: reading them, and writing the assignments, is on the clock as well.
    Files,
    /// They were generated, in so many seconds, and lie in memory.
    Memory {
        /// Seconds of generating.
        generate_s: f64,
    },
    /// They are generated whenever they are read: on the clock of learning and preparing.
    Generator,
}

/// A device under the name that it was asked for.
pub struct Device {
    /// As asked for.
    pub name: String,
    /// What makes the passes.
    pub backend: Box<dyn Backend>,
    /// What its memory gives at best, where it is not the CPU's and was measured.
    pub ceilings: Option<DeviceCeilings>,
    /// The same device without the proof of labels, where it is to be timed what that costs.
    pub unproven: Option<Box<dyn Backend>>,
}

/// A bench of some cases on some devices.
pub struct Bench<'b> {
    /// The devices.
    pub devices: &'b [Device],
    /// Threads for what happens on the host.
    pub host: &'b CpuBackend,
    /// What is asked for.
    pub options: &'b BenchOptions,
    /// Hears of the stages, and may stop them.
    pub observer: &'b dyn Observer,
}

impl Bench<'_> {
    /// Runs every stage of one case on every device.
    ///
    /// # Errors
    /// Those of a fit, and of the devices.
    pub fn run(&self, case: &Case<'_>) -> Result<CaseReport> {
        self.host.install(|| self.run_on_threads(case))
    }

    fn run_on_threads(&self, case: &Case<'_>) -> Result<CaseReport> {
        let source = &Observed {
            source: case.source,
            observer: self.observer,
        };
        let (learned, prepared, [ingest, decode, learn, prepare]) = self.prepare(case, source)?;
        let tiles = &prepared.tiles;
        let work = Work {
            n_rows: tiles.n_rows(),
            n_features: tiles.n_features(),
            n_clusters: case.n_clusters,
        };
        let stage = |name, seconds: &[f64]| work.stage(name, seconds, 1);
        let mut stages = match case.origin {
            Origin::Files => vec![
                stage("ingest", &ingest),
                stage("decode", &decode),
                stage("learn", &learn),
                stage("prepare", &prepare),
            ],
            Origin::Memory { generate_s } => vec![
                stage("generate", &[generate_s]),
                stage("learn", &learn),
                stage("prepare", &prepare),
            ],
            Origin::Generator => vec![stage("generate+learn", &learn), stage("generate+prepare", &prepare)],
        };
        let params = self.params(case, &learned, tiles)?;
        let mut devices = Vec::new();
        for (n, device) in self.devices.iter().enumerate() {
            let (report, fit) = self.run_device(device, &learned, &prepared, &params, work)?;
            devices.push(report);
            if n == 0 && case.origin == Origin::Files {
                stages.push(stage("write", &self.write(source, &learned, &prepared, &fit)?));
            }
        }
        Ok(CaseReport {
            shape: case.shape.clone(),
            data: case.data.clone(),
            n_rows: work.n_rows,
            n_features: work.n_features,
            n_clusters: work.n_clusters,
            matrix_bytes: work.matrix_bytes(),
            stages,
            devices,
        })
    }

    /// Reads, learns and prepares, in every round anew: the last preparation, and the seconds of each stage.
    ///
    /// `ingest` is what a fit does of files, which keeps what it can of the first reading; the others take it apart.
    fn prepare(&self, case: &Case<'_>, source: &Observed<'_>) -> Result<(Learned, Prepared, [Vec<f64>; 4])> {
        let mut seconds = [const { Vec::new() }; 4];
        let weight = self.options.features.weight.as_deref();
        let mut last = None;
        for _ in 0..self.options.rounds {
            // Two preparations at a time would need twice the memory.
            drop(last.take());
            if case.origin == Origin::Files {
                self.timed("ingest", &mut seconds[0], || {
                    features::ingest(source, &self.options.features, self.options.chunk_bytes)
                })?;
            }
            let learned = self.timed("learn", &mut seconds[2], || {
                features::learn(source, &self.options.features)
            })?;
            let (columns, _) = features::without_repeats(&learned.preparation.columns_in(source.schema())?);
            let columns: Vec<usize> = columns.iter().map(|column| column.index()).collect();
            if case.origin == Origin::Files {
                self.timed("decode", &mut seconds[1], || source.scan(&columns, &mut |_, _| Ok(())))?;
            }
            let prepared = self.timed("prepare", &mut seconds[3], || {
                features::prepare(source, &learned.preparation, weight, self.options.chunk_bytes)
            })?;
            last = Some((learned, prepared));
        }
        let (learned, prepared) = last.ok_or_else(|| Error::Internal("a bench without rounds".into()))?;
        Ok((learned, prepared, seconds))
    }

    /// The parameters of every fit of a case.
    fn params(&self, case: &Case<'_>, learned: &Learned, tiles: &TileSet) -> Result<KMeansParams> {
        let options = self.options;
        let init = match &options.start {
            Start::Rows => Init::Centroids(chosen_rows(tiles, case.n_clusters, options.seed)),
            Start::Choice(InitChoice::KMeansPlusPlus) => Init::KMeansPlusPlus,
            Start::Choice(InitChoice::Random) => Init::Random,
            Start::Choice(InitChoice::Centroids(given)) => {
                Init::Centroids(given.on_grid(&learned.preparation, case.n_clusters)?)
            }
        };
        Ok(KMeansParams {
            n_clusters: case.n_clusters,
            init,
            n_init: options.n_init,
            max_iter: options.max_iter,
            tol: options.tol,
            seed: options.seed,
            draws_moves: true,
            // Passes are held against ceilings, which are those of passes over every row.
            folding: Folding::Never,
        })
    }

    /// The fits of all rounds on one device, and the last of them.
    fn run_device(
        &self,
        device: &Device,
        learned: &Learned,
        prepared: &Prepared,
        params: &KMeansParams,
        work: Work,
    ) -> Result<(DeviceReport, KMeansFit)> {
        let backend = TimedOpen {
            backend: &*device.backend,
            open_s: Mutex::new(0.0),
        };
        let unit = learned.preparation.grid.sq_dist_value(1) * prepared.weight_step.unwrap_or(1.0);
        let mut seconds = [const { Vec::new() }; 5];
        let mut by_device: Vec<DeviceTime> = Vec::new();
        let (mut last, mut peak) = (None, None);
        for round in 0..self.options.rounds {
            drop(last.take());
            let before = sys::memory_bytes();
            sys::reset_peak_memory();
            let mark = sys::peak_memory_bytes();
            let fit = kmeans::fit(
                &backend,
                self.host,
                &prepared.tiles,
                &RowKeys::RowNumber,
                params,
                unit,
                self.observer,
            )?;
            if round == 0 {
                peak = peak_added(before, mark, sys::peak_memory_bytes());
            }
            by_device.extend(device.backend.take_device_time());
            let [seed_s, iterate_s, labels_s] = fit.elapsed_s;
            let open_s = backend.open_s();
            let iterations_s = iterate_s - open_s;
            let times = [open_s, seed_s, iterations_s, labels_s, iterations_s + labels_s];
            seconds.iter_mut().zip(times).for_each(|(all, s)| all.push(s));
            last = Some(fit);
        }
        let fit = last.ok_or_else(|| Error::Internal("a bench without rounds".into()))?;
        let pass = |name: &str, seconds: &[f64], passes| work.stage(name, seconds, passes).with_distances(work);
        let [open, seed, iterations, labels, both] = &seconds;
        let mut stages = vec![
            // On the CPU nothing moves.
            work.stage("open", open, usize::from(device.backend.name() == "gpu")),
            pass("iterations", iterations, fit.n_iter),
            pass("labels", labels, 1),
            pass(FIT, both, fit.n_iter + 1),
        ];
        if let Some(time) = by_device.last() {
            let seconds: Vec<f64> = by_device.iter().map(|time| time.seconds).collect();
            stages.insert(2, pass(BY_DEVICE, &seconds, time.n_iter));
        }
        if let Some(twin) = &device.unproven {
            let seconds = self.unproven(&**twin, &prepared.tiles, params.n_clusters, fit.n_iter)?;
            stages.push(pass(UNPROVEN, &seconds, fit.n_iter));
        }
        if let Some(ceilings) = &device.ceilings {
            let of_passes = |stage: Stage| match stage.flop_per_s {
                Some(_) => stage.with_ceilings(ceilings),
                None => stage,
            };
            stages = stages.into_iter().map(of_passes).collect();
        }
        if fit.seeding.is_some() {
            stages.insert(1, work.stage("seed", seed, 0));
        }
        let report = DeviceReport {
            device: device.name.clone(),
            backend: device.backend.name().into(),
            description: device.backend.description(),
            n_iter: fit.n_iter,
            stop_reason: fit.stop_reason,
            labels_hash: labels_hash(&RowKeys::RowNumber, &fit.nearest.labels),
            inertia: fit.inertia as f64 * unit,
            inertia_exact: fit.inertia.to_string(),
            share_doubtful: fit.n_doubtful as f64 / (fit.n_assigned as f64).max(1.0),
            // All rows are assigned once more, with their runners-up, after the iterations.
            share_unsettled: fit.n_unsettled as f64 / (fit.n_read as f64).max(1.0),
            share_read: fit.n_read as f64 / (fit.n_assigned as f64 - fit.nearest.labels.len() as f64).max(1.0),
            n_on_matrix_units: by_device.last().map(|time| time.n_on_matrix_units),
            peak_memory_added_bytes: peak,
            ceilings: device.ceilings,
            stages,
        };
        Ok((report, fit))
    }

    /// Seconds of so many iterations without the proof of labels, from rows of the data: by the device's clock, where it
    /// has one.
    fn unproven(&self, twin: &dyn Backend, tiles: &TileSet, n_clusters: usize, n_iter: usize) -> Result<Vec<f64>> {
        let start = chosen_rows(tiles, n_clusters, self.options.seed);
        let rule = LloydRule {
            max_iter: n_iter,
            shift_limit: &|_| -1.0,
            count_moved: self.observer.counts_moved(),
        };
        let round = |_| {
            let mut session = twin.open(tiles, n_clusters)?;
            let started = Instant::now();
            let mut done = 0;
            session.lloyd(&start, &rule, &mut |_, _| {
                done += 1;
                Ok(ControlFlow::Continue(()))
            })?;
            let of_all = n_iter as f64 / f64::from(done);
            let by_host = started.elapsed().as_secs_f64();
            Ok(of_all * twin.take_device_time().map_or(by_host, |time| time.seconds))
        };
        (0..self.options.rounds).map(round).collect()
    }

    /// Seconds of writing the assignments to a file that does not stay: distances, compression and sync included.
    fn write(
        &self,
        source: &Observed<'_>,
        learned: &Learned,
        prepared: &Prepared,
        fit: &KMeansFit,
    ) -> Result<Vec<f64>> {
        let temporary = std::env::temp_dir();
        let folder = tempfile::tempdir_in(&temporary).map_err(Error::io("create", &temporary))?;
        let path = folder.path().join("assignments.parquet");
        let mut seconds = Vec::new();
        for _ in 0..self.options.rounds {
            let (nearest, shares) = (fit.nearest.clone(), prepared.share_missing.clone());
            self.timed("write", &mut seconds, || {
                let grid = learned.preparation.grid;
                let assignment = Assignment::new(&prepared.tiles, &fit.centroids, grid, nearest, shares);
                write_atomic(&path, true, |out| {
                    AssignmentTable::new(source, &assignment, &Confidence::default()).write(out, &Provenance::default())
                })
            })?;
        }
        Ok(seconds)
    }

    /// What `work` gives; its seconds go to `seconds`.
    fn timed<T>(&self, stage: &'static str, seconds: &mut Vec<f64>, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.observer.event(Event::Stage(stage));
        let started = Instant::now();
        let value = work()?;
        seconds.push(started.elapsed().as_secs_f64());
        Ok(value)
    }
}

/// `n_clusters` rows (all, if there are fewer), chosen by the hash of their number, as centroids.
fn chosen_rows(tiles: &TileSet, n_clusters: usize, seed: u64) -> Centroids {
    let rows = RowKeys::RowNumber.sample(tiles.n_rows(), n_clusters, seed, |row| tiles.weight(row) > 0);
    let d = tiles.n_features();
    let mut values = vec![0; rows.len() * d];
    for (row, out) in rows.into_iter().zip(values.chunks_exact_mut(d)) {
        tiles.read_row(row, out);
    }
    Centroids::on_rows(d, &values)
}

/// How much the peak rose over what was held before; `None` where the system does not say, or the peak is an old one.
fn peak_added(before: Option<u64>, mark: Option<u64>, after: Option<u64>) -> Option<u64> {
    let (before, mark, after) = (before?, mark?, after?);
    // A mark that could not be reset hides every peak below it.
    let hidden = after <= mark && mark > before + (before / 100);
    (!hidden).then(|| after.saturating_sub(before))
}

/// What rates are counted in.
#[derive(Debug, Clone, Copy)]
struct Work {
    n_rows: usize,
    n_features: usize,
    n_clusters: usize,
}

impl Work {
    fn matrix_bytes(self) -> u64 {
        4 * self.n_rows as u64 * self.n_features as u64
    }

    /// A stage that looks at every row `passes` times.
    fn stage(self, name: &str, seconds: &[f64], passes: usize) -> Stage {
        let (cold_s, warm) = seconds
            .split_first()
            .map_or((0.0, None), |(&cold, warm)| (cold, Spread::of(warm)));
        let mut stage = Stage {
            stage: name.into(),
            cold_s,
            warm,
            passes,
            rows_per_s: 0.0,
            bytes_per_s: 0.0,
            flop_per_s: None,
            share_of_read: None,
            share_of_copy: None,
            share_of_fma: None,
        };
        let passes_per_s = passes as f64 / stage.typical_s().max(f64::MIN_POSITIVE);
        stage.rows_per_s = self.n_rows as f64 * passes_per_s;
        stage.bytes_per_s = self.matrix_bytes() as f64 * passes_per_s;
        stage
    }
}

impl Stage {
    /// The same for a stage that finds the nearest of all centroids for every row.
    fn with_distances(mut self, work: Work) -> Self {
        self.flop_per_s = Some(2.0 * self.rows_per_s * work.n_features as f64 * work.n_clusters as f64);
        self
    }
}

/// A backend whose clock runs while it opens a data set. The session is the backend's own.
struct TimedOpen<'b> {
    backend: &'b dyn Backend,
    open_s: Mutex<f64>,
}

impl TimedOpen<'_> {
    /// Seconds of the last opening.
    fn open_s(&self) -> f64 {
        *self.open_s.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for TimedOpen<'_> {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn description(&self) -> String {
        self.backend.description()
    }

    fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        let started = Instant::now();
        let session = self.backend.open(data, max_clusters)?;
        *self.open_s.lock().unwrap_or_else(PoisonError::into_inner) = started.elapsed().as_secs_f64();
        Ok(session)
    }
}

#[cfg(test)]
mod tests;
