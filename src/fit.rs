//! Layer 6: the whole job, from a table to segments.

use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::backend::cpu::CpuBackend;
use crate::data::{BatchSource, Consume, read_keys};
use crate::error::{Error, Result};
use crate::features::{self, ColumnReport, FeatureOptions, Preparation};
use crate::kmeans::{self, Event, Init, KMeansParams, Observer, Seeding, StopReason};
use crate::model::Model;
use crate::segments::{Assignment, Profile, labels_hash, profile};
use crate::tiles::{Centroids, MAX_CHUNK_BYTES, RowKeys};

/// Where the first centroids come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitChoice {
    /// Greedy k-means++ on a sample, several restarts.
    #[serde(rename = "k-means++")]
    KMeansPlusPlus,
    /// Random rows of the sample, several restarts.
    Random,
    /// These, in the original units of the columns.
    Centroids(InitCentroids),
}

/// Centroids in original units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitCentroids {
    /// One name per coordinate: every feature, in any order, and nothing else is looked at.
    pub columns: Vec<String>,
    /// One row per cluster.
    pub rows: Vec<Vec<f64>>,
}

/// What a fit is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOptions {
    /// Which columns play which part, and how features are scaled.
    pub features: FeatureOptions,
    /// Number of clusters.
    pub n_clusters: usize,
    /// Where the first centroids come from.
    pub init: InitChoice,
    /// Restarts of the seeding.
    pub n_init: usize,
    /// Most iterations over all rows.
    pub max_iter: usize,
    /// Stop when centroids move less, see [`KMeansParams::tol`].
    pub tol: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Largest chunk of prepared values in bytes. Changes nothing in the result.
    pub chunk_bytes: usize,
    /// Threads for everything on the host, 0 for one per core. Changes nothing in the result.
    pub threads: usize,
}

impl FitOptions {
    /// The defaults for `n_clusters`: every usable column, z-scores, and those of [`KMeansParams::new`].
    #[must_use]
    pub fn new(n_clusters: usize) -> Self {
        let KMeansParams {
            n_init,
            max_iter,
            tol,
            seed,
            ..
        } = KMeansParams::new(n_clusters);
        Self {
            features: FeatureOptions::default(),
            n_clusters,
            init: InitChoice::KMeansPlusPlus,
            n_init,
            max_iter,
            tol,
            seed,
            chunk_bytes: MAX_CHUNK_BYTES,
            threads: 0,
        }
    }
}

/// A finished fit.
#[derive(Debug, Clone)]
pub struct Fit {
    /// What scores new rows.
    pub model: Model,
    /// Segment and runner-up of every row.
    pub assignment: Assignment,
    /// What tells rows apart.
    pub keys: RowKeys,
    /// The id columns, as indices into the schema.
    pub id_columns: Vec<usize>,
    /// What each column was taken for.
    pub columns: Vec<ColumnReport>,
    /// What the segments are like.
    pub profile: Profile,
    /// Figures of the run.
    pub summary: FitSummary,
    /// What the user should know: coarse steps, fewer segments than asked for, a device that was lost.
    pub warnings: Vec<String>,
}

/// Figures of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct FitSummary {
    /// Rows.
    pub n_rows: usize,
    /// Features.
    pub n_features: usize,
    /// Clusters asked for.
    pub n_clusters: usize,
    /// Segments there are: fewer than asked for, where the data has fewer distinct rows.
    pub n_segments: usize,
    /// Iterations over all rows.
    pub n_iter: usize,
    /// Why they ended.
    pub stop_reason: StopReason,
    /// Weighted sum of squared distances to the centroids, in units of the prepared features.
    pub inertia: f64,
    /// The same as an exact integer, in centroid units squared times weight units.
    pub inertia_exact: u128,
    /// Row decisions that needed exact arithmetic. Diagnostic: may differ between devices.
    pub n_doubtful: u64,
    /// Row decisions in all.
    pub n_assigned: u64,
    /// How the first centroids were found; `None` where they were given.
    pub seeding: Option<Seeding>,
    /// Total weight of each segment, in units of the weight column (rows, where there is none).
    pub segment_weights: Vec<f64>,
    /// Over keys and segments, see [`labels_hash`].
    pub labels_hash: String,
    /// Seconds per stage.
    pub stages: Vec<(&'static str, f64)>,
}

/// Fits a model to `source` on `backend`. Depends on data and options alone; every backend gives the same bits.
///
/// # Errors
/// Columns and values that cannot be used, parameters out of range, fewer rows than clusters, those of reading and
/// of the device, and [`Error::Interrupted`] when `observer` asks for it.
pub fn fit(
    source: &dyn BatchSource,
    backend: &dyn Backend,
    options: &FitOptions,
    observer: &dyn Observer,
) -> Result<Fit> {
    let host = CpuBackend::new(options.threads)?;
    host.install(|| {
        Job {
            source: &Observed { source, observer },
            backend,
            host: &host,
            options,
            observer,
        }
        .run()
    })
}

struct Job<'j> {
    source: &'j Observed<'j>,
    backend: &'j dyn Backend,
    host: &'j CpuBackend,
    options: &'j FitOptions,
    observer: &'j dyn Observer,
}

impl Job<'_> {
    fn run(&self) -> Result<Fit> {
        let Self { source, options, .. } = *self;
        KMeansParams {
            init: Init::Random,
            ..self.params(Init::Random)
        }
        .check()?;
        let mut clock = Clock::new(self.observer);
        clock.stage("learn");
        let learned = features::learn(source, &options.features)?;
        let (preparation, mut warnings) = (learned.preparation, learned.warnings);
        let params = self.params(self.init(&preparation)?);
        let id_columns = column_indices(source.schema(), &options.features.id)?;
        let keys = match id_columns[..] {
            [] => RowKeys::RowNumber,
            _ => read_keys(source, &id_columns, &options.features.id)?,
        };
        clock.stage("prepare");
        let weight = options.features.weight.as_deref();
        let prepared = features::prepare(source, &preparation, weight, options.chunk_bytes)?;
        clock.end();
        let weight_step = prepared.weight_step.unwrap_or(1.0);
        let unit = preparation.grid.sq_dist_value(1) * weight_step;
        let tiles = &prepared.tiles;
        let run = kmeans::fit(self.backend, self.host, tiles, &keys, &params, unit, self.observer)?;
        for (stage, elapsed_s) in ["seed", "iterate", "assign"].into_iter().zip(run.elapsed_s) {
            clock.stages.push((stage, elapsed_s));
        }
        let n_segments = run.centroids.n_clusters();
        if n_segments < options.n_clusters {
            warnings.push(fewer_segments(n_segments, options.n_clusters));
        }
        warnings.extend(run.notices);
        let assignment = Assignment::new(
            tiles,
            &run.centroids,
            preparation.grid,
            run.nearest,
            prepared.share_missing,
        );
        clock.stage("profile");
        let profile = profile(source, &preparation, &assignment.labels, n_segments)?;
        clock.end();
        let summary = FitSummary {
            n_rows: tiles.n_rows(),
            n_features: tiles.n_features(),
            n_clusters: options.n_clusters,
            n_segments,
            n_iter: run.n_iter,
            stop_reason: run.stop_reason,
            inertia: run.inertia as f64 * unit,
            inertia_exact: run.inertia,
            n_doubtful: run.n_doubtful,
            n_assigned: run.n_assigned,
            seeding: run.seeding,
            segment_weights: run
                .cluster_weights
                .iter()
                .map(|&weight| weight as f64 * weight_step)
                .collect(),
            labels_hash: labels_hash(&keys, &assignment.labels),
            stages: clock.stages,
        };
        let model = Model {
            preparation,
            centroids: run.centroids,
            id_columns: options.features.id.clone(),
            weight_column: options.features.weight.clone(),
            segment_counts: run.counts,
        };
        Ok(Fit {
            model,
            assignment,
            keys,
            id_columns,
            columns: learned.columns,
            profile,
            summary,
            warnings,
        })
    }

    fn params(&self, init: Init) -> KMeansParams {
        let FitOptions {
            n_clusters,
            n_init,
            max_iter,
            tol,
            seed,
            ..
        } = *self.options;
        KMeansParams {
            n_clusters,
            init,
            n_init,
            max_iter,
            tol,
            seed,
        }
    }

    fn init(&self, preparation: &Preparation) -> Result<Init> {
        Ok(match &self.options.init {
            InitChoice::KMeansPlusPlus => Init::KMeansPlusPlus,
            InitChoice::Random => Init::Random,
            InitChoice::Centroids(given) => Init::Centroids(given.on_grid(preparation, self.options.n_clusters)?),
        })
    }
}

impl InitCentroids {
    /// The centroids on the grid of `preparation`.
    fn on_grid(&self, preparation: &Preparation, n_clusters: usize) -> Result<Centroids> {
        let refuse = |reason: String| Error::InvalidParam {
            param: "init",
            value: "centroids".into(),
            reason,
        };
        if self.rows.len() != n_clusters {
            return Err(refuse(format!(
                "{} centroid rows for {n_clusters} clusters",
                self.rows.len()
            )));
        }
        let places: Vec<usize> = preparation
            .features
            .iter()
            .map(|feature| {
                let place = self.columns.iter().position(|column| *column == feature.column);
                place.ok_or_else(|| Error::ColumnNotFound {
                    column: feature.column.clone(),
                    available: self.columns.clone(),
                })
            })
            .collect::<Result<_>>()?;
        let rows: Vec<Vec<f64>> = self
            .rows
            .iter()
            .map(|row| places.iter().map(|&place| row[place]).collect())
            .collect();
        if let Some(row) = rows.iter().position(|row| row.iter().any(|value| !value.is_finite())) {
            return Err(refuse(format!(
                "centroid row {} has a missing or infinite value",
                row + 1
            )));
        }
        Ok(preparation.centroids_from_original(&rows))
    }
}

fn fewer_segments(n_segments: usize, n_clusters: usize) -> String {
    format!(
        "{n_segments} segments instead of {n_clusters}: the rows have fewer distinct values in the features than \
         clusters were asked for, so the others would be empty"
    )
}

fn column_indices(schema: &SchemaRef, names: &[String]) -> Result<Vec<usize>> {
    let find = |name: &String| {
        schema.index_of(name).map_err(|_| Error::ColumnNotFound {
            column: name.clone(),
            available: schema.fields().iter().map(|field| field.name().clone()).collect(),
        })
    };
    names.iter().map(find).collect()
}

/// A source that reports rows read and ends a scan when the user asks for it.
pub struct Observed<'o> {
    /// Where the rows come from.
    pub source: &'o dyn BatchSource,
    /// Who hears of them.
    pub observer: &'o dyn Observer,
}

impl BatchSource for Observed<'_> {
    fn schema(&self) -> &SchemaRef {
        self.source.schema()
    }

    fn n_rows(&self) -> usize {
        self.source.n_rows()
    }

    fn scan(&self, columns: &[usize], consume: &mut Consume<'_>) -> Result<()> {
        let of = self.n_rows();
        self.source.scan(columns, &mut |first_row: usize, batch: &RecordBatch| {
            if self.observer.interrupted() {
                return Err(Error::Interrupted);
            }
            consume(first_row, batch)?;
            self.observer.event(Event::Rows {
                done: first_row + batch.num_rows(),
                of,
            });
            Ok(())
        })
    }

    fn locate(&self, row: usize) -> (Option<std::path::PathBuf>, usize) {
        self.source.locate(row)
    }
}

/// Seconds per stage, and word of each new one to the observer.
struct Clock<'c> {
    observer: &'c dyn Observer,
    stages: Vec<(&'static str, f64)>,
    current: Option<(&'static str, Instant)>,
}

impl<'c> Clock<'c> {
    fn new(observer: &'c dyn Observer) -> Self {
        Self {
            observer,
            stages: Vec::new(),
            current: None,
        }
    }

    fn stage(&mut self, name: &'static str) {
        self.end();
        self.observer.event(Event::Stage(name));
        self.current = Some((name, Instant::now()));
    }

    fn end(&mut self) {
        if let Some((name, started)) = self.current.take() {
            self.stages.push((name, started.elapsed().as_secs_f64()));
        }
    }
}
