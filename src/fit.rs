//! Layer 6: the whole job, from a table to segments.

mod auto;
mod plan;

pub use auto::{SweptTable, fit_auto, sweep};
pub use plan::{DevicePlan, FitPlan, PlanPart};

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::backend::cpu::CpuBackend;
use crate::backend::folding::Folding;
use crate::cells::{Count, MinCell};
use crate::data::{BatchSource, Consume, ConsumeSlab, DuplicateIds, read_keys};
use crate::error::{Error, Result};
use crate::features::{
    ColumnReport, FeatureOptions, Kept, Learned, Preparation, Prepared, Role, ValueKind, carried_columns, column_cache,
    learn_and_keep, outcome_columns, prepare_kept,
};
use crate::kmeans::{
    self, Event, Init, KMeansFit, KMeansParams, Observer, Seeding, StopReason, Trim, again_where_wrong,
};
use crate::model::Model;
use crate::nested::{Grower, Grown, Node, Paths, SplitRule, Tried, check_rules, describe};
use crate::partial::ClusterPartial;
use crate::segments::{
    Assignment, BoundaryReport, Confidence, N_TYPICAL, OutcomeProfile, Profile, SegmentName, adds_up, draft_names,
    labels_hash, outcomes, outlier_distances, profile, typical_rows,
};
use crate::select::{Flips, N_RESAMPLES};
use crate::sys::return_freed_memory;
use crate::tiles::{Centroids, MAX_CHUNK_BYTES, RowKeys};

/// Largest chunk where no device takes chunks as they are: memory is let go chunk by chunk at the end of a fit.
const HOST_CHUNK_BYTES: usize = 128 << 20;

/// Most rows that stand for a segment.
const MOST_TYPICAL: usize = 1000;

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
    /// The file they were read from, for messages and the record.
    pub path: Option<PathBuf>,
    /// One name per coordinate: every feature, in any order; others are not looked at.
    pub columns: Vec<String>,
    /// One row per cluster; what is not a finite number cannot be used.
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
    /// The share of the rows that move no centroid, those farthest from theirs: from 0 to below a half.
    pub trim: f64,
    /// Whether outliers get no segment, see [`Confidence::unassign_outliers`].
    pub unassign_outliers: bool,
    /// Largest chunk of prepared values in bytes. Changes nothing in the result.
    pub chunk_bytes: usize,
    /// Threads for everything on the host, 0 for one per core. Changes nothing in the result.
    pub threads: usize,
    /// Which segments are split again, in this order.
    pub levels: Vec<SplitRule>,
    /// The least number of rows that is told of, and that figures are told of: see [`crate::cells`]. Changes no segment.
    pub min_cell: MinCell,
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
            trim: 0.0,
            unassign_outliers: false,
            chunk_bytes: MAX_CHUNK_BYTES,
            threads: 0,
            levels: Vec::new(),
            min_cell: MinCell::default(),
        }
    }

    /// Whether every parameter lies in its range, and `n_rows` rows can make so many clusters.
    ///
    /// # Errors
    /// [`Error::InvalidParam`], [`Error::NoRows`], [`Error::TooFewRows`].
    pub fn check(&self, n_rows: usize) -> Result<()> {
        self.params(Init::Random).check()?;
        if !(0.0..0.5).contains(&self.trim) {
            return Err(Error::InvalidParam {
                param: "trim",
                value: self.trim.to_string(),
                reason: "is a share of the rows, from 0 to below a half".into(),
            });
        }
        if self.unassign_outliers && !self.levels.is_empty() {
            return Err(Error::InvalidParam {
                param: "outliers",
                value: "unassign".into(),
                reason: "does not go with segments of segments; flag them, or leave the levels out".into(),
            });
        }
        check_rules(&self.levels).map_err(|reason| Error::InvalidParam {
            param: "levels",
            value: "as given".into(),
            reason,
        })?;
        let n_clusters = self.n_clusters;
        match n_rows {
            0 => Err(Error::NoRows),
            n_rows if n_rows < n_clusters => Err(Error::TooFewRows {
                n_rows,
                n_clusters,
                weighted: false,
            }),
            _ => Ok(()),
        }
    }

    fn params(&self, init: Init) -> KMeansParams {
        let Self {
            n_clusters,
            n_init,
            max_iter,
            tol,
            seed,
            ..
        } = *self;
        KMeansParams {
            n_clusters,
            init,
            n_init,
            max_iter,
            tol,
            seed,
            draws_moves: true,
            folding: Folding::Auto,
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
    /// The columns to copy into the table of assignments, as indices into the schema.
    pub carried_columns: Vec<usize>,
    /// What the segments are like.
    pub profile: Profile,
    /// What they are worth: columns that nothing was clustered on.
    pub outcomes: Vec<OutcomeProfile>,
    /// How the rows on a boundary were found, and how many there are.
    pub boundary: Option<BoundaryReport>,
    /// Rows of each segment that are outliers, and of all, as they may be told.
    pub n_outliers: (Vec<Count>, Count),
    /// Segments of segments, where those were asked for.
    pub nested: Option<Nested>,
    /// Figures of the run.
    pub summary: FitSummary,
    /// What the user should know: coarse steps, fewer segments than asked for, a device that was lost.
    pub warnings: Vec<String>,
}

/// Segments of segments.
#[derive(Debug, Clone)]
pub struct Nested {
    /// The leaf of every row.
    pub paths: Paths,
    /// All segments that were to be split, whether they were or not.
    pub tried: Vec<Tried>,
    /// Every segment below the first level.
    pub nodes: Vec<Node>,
    /// Over keys and leaves, as [`FitSummary::labels_hash`].
    pub paths_hash: String,
    /// What one unit of exact inertia, and of weight, is worth.
    pub units: [f64; 2],
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
    /// Row decisions that needed exact arithmetic. Diagnostic: may differ between devices. Equal rows are decided once where
    /// passes go over them once, here and below.
    pub n_doubtful: u64,
    /// Rows whose labels the host found again, to see whether the device computes rightly; 0 where the host did it all.
    pub n_audited: u64,
    /// Outliers that got no segment, as they may be told.
    pub n_unassigned: Count,
    /// Rows that moved no centroid, and are not in the inertia; `None` where none were to be left out.
    pub n_trimmed: Option<u64>,
    /// Row decisions in all.
    pub n_assigned: u64,
    /// How the first centroids were found; `None` where they were given.
    pub seeding: Option<Seeding>,
    /// Total weight of each segment, outliers with it, in units of the weight column (rows, where there is none).
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
    let job = Job {
        source: &Observed { source, observer },
        backend,
        host: &host,
        options,
        observer,
    };
    host.install(|| again_where_wrong(observer, || job.run()))
}

struct Job<'j> {
    source: &'j Observed<'j>,
    backend: &'j dyn Backend,
    host: &'j CpuBackend,
    options: &'j FitOptions,
    observer: &'j dyn Observer,
}

/// A table that is ready for k-means.
struct Ready {
    learned: Learned,
    prepared: Prepared,
    keys: RowKeys,
    id_columns: Vec<usize>,
}

impl Job<'_> {
    fn run(&self) -> Result<Fit> {
        self.options.check(self.source.n_rows())?;
        let mut clock = Clock::new(self.observer);
        let mut ready = self.ready(&mut clock)?;
        let (run, trim) = self.cluster(&mut ready)?;
        for (stage, elapsed_s) in ["seed", "iterate", "assign"].into_iter().zip(run.elapsed_s) {
            clock.stages.push((stage, elapsed_s));
        }
        self.finish(ready, run, trim, clock)
    }

    /// Runs k-means on a table that is ready.
    fn cluster(&self, ready: &mut Ready) -> Result<(KMeansFit, Option<Trim>)> {
        let Ready {
            learned,
            prepared,
            keys,
            ..
        } = ready;
        let params = self.options.params(self.init(&learned.preparation)?);
        let unit = inertia_unit(&learned.preparation, prepared);
        let tiles = &mut prepared.tiles;
        let Self {
            backend,
            host,
            options,
            observer,
            ..
        } = *self;
        if options.trim == 0.0 {
            return Ok((kmeans::fit(backend, host, tiles, keys, &params, unit, observer)?, None));
        }
        let (run, trim) = kmeans::fit_trimmed(backend, host, tiles, keys, &params, options.trim, unit, observer)?;
        Ok((run, Some(trim)))
    }

    /// Learns the preparation, and prepares the rows.
    fn ready(&self, clock: &mut Clock<'_>) -> Result<Ready> {
        let Self { source, options, .. } = *self;
        clock.stage("learn");
        let chunk_bytes = match self.backend.name() {
            "gpu" => options.chunk_bytes,
            _ => options.chunk_bytes.min(HOST_CHUNK_BYTES),
        };
        let mut kept = Kept::in_chunks(chunk_bytes, options.features.weight.is_some());
        let held = column_cache(source, &options.features)?;
        let learned = learn_and_keep(&held, &options.features, &mut kept)?;
        // First centroids that do not fit are told before the data is read again.
        self.init(&learned.preparation)?;
        let id_columns = column_indices(source.schema(), &options.features.id)?;
        let keys = match id_columns[..] {
            [] => RowKeys::RowNumber,
            _ => read_keys(source, &id_columns, &options.features.id)?,
        };
        clock.stage("prepare");
        let weight = options.features.weight.as_deref();
        let prepared = prepare_kept(&held, &learned.preparation, weight, chunk_bytes, kept)?;
        drop(held);
        return_freed_memory();
        clock.end();
        Ok(Ready {
            learned,
            prepared,
            keys,
            id_columns,
        })
    }

    /// What is made of a finished k-means run: assignment, profile, figures, model.
    fn finish(&self, ready: Ready, mut run: KMeansFit, trim: Option<Trim>, mut clock: Clock<'_>) -> Result<Fit> {
        let Ready {
            learned,
            mut prepared,
            keys,
            id_columns,
        } = ready;
        let Learned {
            preparation,
            mut columns,
            mut warnings,
        } = learned;
        let min_cell = self.options.min_cell;
        let n_segments = run.centroids.n_clusters();
        if n_segments < self.options.n_clusters {
            warnings.push(fewer_segments(n_segments, self.options.n_clusters));
        }
        warnings.extend(run.notices.iter().cloned());
        clock.stage("resample");
        let flips = Flips::count(
            self.host,
            &prepared.tiles,
            &keys,
            &run.nearest.labels,
            &run.centroids,
            self.options.seed,
            N_RESAMPLES,
            self.observer,
        )?;
        let (splits, nested) = match self.options.levels[..] {
            [] => (Vec::new(), None),
            _ => {
                clock.stage("levels");
                let grown = self.split(&preparation, &prepared, &keys, &run)?;
                warnings.extend(grown.notices.iter().cloned());
                (grown.splits.clone(), Some(grown))
            }
        };
        clock.stage("profile");
        if let Some(trim) = &trim {
            // What was left out counts from here on, as in every other fit.
            trim.restore(&mut prepared.tiles);
            run.partial = ClusterPartial::of_labels(&prepared.tiles, &run.nearest.labels, n_segments);
        }
        let labels_hash = labels_hash(&keys, &run.nearest.labels);
        let summary = self.summary(trim.as_ref(), &preparation, &prepared, &run, labels_hash);
        let units = [
            inertia_unit(&preparation, &prepared),
            prepared.weight_step.unwrap_or(1.0),
        ];
        let Prepared {
            tiles, share_missing, ..
        } = prepared;
        let assignment = Assignment::in_place_of(tiles, &run.centroids, preparation.grid, run.nearest, share_missing);
        let confidence = Confidence {
            boundary_margin: flips.as_ref().map(|flips| flips.boundary_margin(&assignment)),
            outlier_distances: outlier_distances(&assignment, n_segments, preparation.grid),
            unassign_outliers: self.options.unassign_outliers,
        };
        let counts = confidence.counts(&assignment, n_segments);
        let boundary = flips.zip(confidence.boundary_margin);
        let boundary = boundary.map(|(flips, margin)| flips.report(&assignment, margin, &counts, min_cell));
        // Of so many rows that few are told of, none stand for others.
        let n_typical = match min_cell.get() as usize {
            n @ ..=MOST_TYPICAL => N_TYPICAL.max(n),
            _ => 0,
        };
        let typical = typical_rows(&assignment, &keys, n_segments, n_typical);
        let segments = confidence.segments(&assignment, n_segments);
        // Rows without a segment are profiled as one more, of which only the number is told.
        let some_unassigned = segments.iter().any(|&segment| segment as usize == n_segments);
        let n_profiled = n_segments + usize::from(some_unassigned);
        let mut profile = profile(self.source, &preparation, &segments, n_profiled, &typical, min_cell)?;
        let n_unassigned = { profile.segments.get(n_segments) }.map_or(Count::Exact(0), |rest| rest.count);
        profile.segments.truncate(n_segments);
        let schema = self.source.schema();
        let outcome_columns = outcome_columns(schema, &self.options.features)?;
        let mut outcomes = outcomes(self.source, &outcome_columns, &segments, n_profiled, min_cell)?;
        outcomes
            .iter_mut()
            .for_each(|outcome| outcome.segments.truncate(n_segments));
        drop(segments);
        let n_outliers = match n_unassigned {
            // The sizes of the segments are told without them.
            Count::Between(_, most) => (vec![Count::Between(0, most); n_segments], n_unassigned),
            Count::Exact(_) => counts.told_outliers(&assignment.counts(n_segments), min_cell),
        };
        let segment_names = draft_names(&preparation, &profile)
            .into_iter()
            .map(SegmentName::draft)
            .collect();
        tell_missing(&mut columns, &preparation, &profile, summary.n_rows as u64);
        let carried_columns = carried_columns(schema, &self.options.features)?;
        let describe = |grown: Grown| -> Result<Nested> {
            Ok(Nested {
                nodes: describe(
                    self.source,
                    &preparation,
                    &outcome_columns,
                    &grown.paths,
                    &profile,
                    min_cell,
                )?,
                paths_hash: self::labels_hash(&keys, &grown.paths.of_row),
                paths: grown.paths,
                tried: grown.tried,
                units,
            })
        };
        let nested = nested.map(describe).transpose()?;
        let is_told = profile.segments.iter().all(|segment| segment.count.exact().is_some());
        clock.end();
        Ok(Fit {
            model: Model {
                preparation,
                centroids: run.centroids,
                id_columns: self.options.features.id.clone(),
                weight_column: self.options.features.weight.clone(),
                segment_counts: profile.segments.iter().map(|segment| segment.count).collect(),
                segment_names,
                confidence,
                // They would tell how many rows there are.
                sums: (is_told && adds_up(&run.partial)).then_some(run.partial),
                splits,
            },
            assignment,
            keys,
            id_columns,
            carried_columns,
            columns,
            profile,
            outcomes,
            boundary,
            n_outliers,
            nested,
            summary: FitSummary {
                n_unassigned,
                stages: clock.stages,
                ..summary
            },
            warnings,
        })
    }

    /// Splits the segments of a finished k-means run.
    fn split(&self, preparation: &Preparation, prepared: &Prepared, keys: &RowKeys, run: &KMeansFit) -> Result<Grown> {
        let min_cell = self.options.min_cell;
        let told = min_cell.parts(&run.partial.counts);
        let grower = Grower {
            backend: self.backend,
            host: self.host,
            data: &prepared.tiles,
            keys,
            params: &self.options.params(self.init(preparation)?),
            inertia_unit: inertia_unit(preparation, prepared),
            row_weight: prepared.weight_step.map_or(1.0, |step| 1.0 / step),
            observer: self.observer,
            min_cell: min_cell.get(),
            is_told: &told.iter().map(|count| count.exact().is_some()).collect::<Vec<_>>(),
        };
        grower.grow(&run.nearest.labels, run.centroids.n_clusters(), &self.options.levels)
    }

    /// The figures of a run, but for the seconds.
    fn summary(
        &self,
        trimmed: Option<&Trim>,
        preparation: &Preparation,
        prepared: &Prepared,
        run: &KMeansFit,
        labels_hash: String,
    ) -> FitSummary {
        let weight_step = prepared.weight_step.unwrap_or(1.0);
        let weights = run.partial.cluster_weights.iter();
        FitSummary {
            n_rows: prepared.tiles.n_rows(),
            n_features: prepared.tiles.n_features(),
            n_clusters: self.options.n_clusters,
            n_segments: run.centroids.n_clusters(),
            n_iter: run.n_iter,
            stop_reason: run.stop_reason,
            inertia: run.inertia as f64 * inertia_unit(preparation, prepared),
            inertia_exact: run.inertia,
            n_unassigned: Count::Exact(0),
            n_trimmed: trimmed.map(|trim| trim.n_rows() as u64),
            n_doubtful: run.n_doubtful,
            n_audited: run.nearest.n_audited,
            n_assigned: run.n_assigned,
            seeding: run.seeding.clone(),
            segment_weights: weights.map(|&weight| weight as f64 * weight_step).collect(),
            labels_hash,
            stages: Vec::new(),
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

/// Tells of every column as many missing values as the profile does.
fn tell_missing(columns: &mut [ColumnReport], preparation: &Preparation, profile: &Profile, n_rows: u64) {
    let features = || preparation.features.iter().zip(&profile.overall);
    for column in columns.iter_mut().filter(|column| column.role == Role::Feature) {
        let mut own = features().filter(|(feature, _)| feature.column == column.column);
        if let Some((_, figures)) = own.find(|(feature, _)| feature.kind != ValueKind::Missing) {
            column.n_missing = Count::Exact(n_rows).minus(figures.count);
        }
    }
}

/// What one unit of the exact inertia is worth.
fn inertia_unit(preparation: &Preparation, prepared: &Prepared) -> f64 {
    preparation.grid.sq_dist_value(1) * prepared.weight_step.unwrap_or(1.0)
}

impl InitCentroids {
    /// The coordinates of the features alone, in their order in `preparation`.
    ///
    /// # Errors
    /// [`Error::InitColumnNotFound`] for a feature that is not there, [`Error::InitInvalid`] for a value that is no
    /// finite number.
    pub(crate) fn of_features(&self, preparation: &Preparation) -> Result<Self> {
        let place = |column: &String| {
            self.columns
                .iter()
                .position(|name| name == column)
                .ok_or_else(|| Error::InitColumnNotFound {
                    path: self.path.clone(),
                    column: column.clone(),
                    available: self.columns.clone(),
                })
        };
        let columns = preparation.names();
        let places: Vec<usize> = columns.iter().map(place).collect::<Result<_>>()?;
        let select = |row: &Vec<f64>| places.iter().map(|&place| row[place]).collect();
        let rows: Vec<Vec<f64>> = self.rows.iter().map(select).collect();
        for (row, number) in rows.iter().zip(1..) {
            if let Some(at) = row.iter().position(|value| !value.is_finite()) {
                let reason = format!("column {:?}, row {number} is missing or not finite", columns[at]);
                return Err(self.invalid(reason));
            }
        }
        Ok(Self {
            path: self.path.clone(),
            columns,
            rows,
        })
    }

    /// The centroids on the grid of `preparation`.
    pub(crate) fn on_grid(&self, preparation: &Preparation, n_clusters: usize) -> Result<Centroids> {
        if self.rows.len() != n_clusters {
            let n_rows = self.rows.len();
            return Err(self.invalid(format!("{n_rows} rows for {n_clusters} clusters")));
        }
        let rows = self.of_features(preparation)?.rows;
        Ok(preparation.centroids_from_original(&rows))
    }

    fn invalid(&self, reason: String) -> Error {
        Error::InitInvalid {
            path: self.path.clone(),
            reason,
        }
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

    fn scan_slabs(&self, columns: &[usize], workers: usize, consume: &ConsumeSlab<'_>) -> Result<()> {
        let of = self.n_rows();
        let n_values = AtomicUsize::new(0);
        self.source.scan_slabs(columns, workers, &|slab| {
            if self.observer.interrupted() {
                return Err(Error::Interrupted);
            }
            consume(slab)?;
            let more = slab.n_rows * slab.arrays.len();
            let done = (n_values.fetch_add(more, Ordering::Relaxed) + more) / columns.len().max(1);
            self.observer.event(Event::Rows { done, of });
            Ok(())
        })
    }

    fn duplicate_ids(&self) -> DuplicateIds {
        self.source.duplicate_ids()
    }

    fn locate(&self, row: usize) -> (Option<PathBuf>, usize) {
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

    /// Ends the current stage, of which the parts are known.
    fn replace_last(&mut self, parts: &[(&'static str, f64)]) {
        self.current = None;
        self.stages.extend_from_slice(parts);
    }

    fn end(&mut self) {
        if let Some((name, started)) = self.current.take() {
            self.stages.push((name, started.elapsed().as_secs_f64()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MemorySource;

    #[test]
    fn options_are_held_against_the_number_of_rows() {
        let check = |n_clusters, n_rows| FitOptions::new(n_clusters).check(n_rows);
        assert!(check(3, 3).is_ok());
        assert!(matches!(
            check(4, 3),
            Err(Error::TooFewRows {
                n_rows: 3,
                n_clusters: 4,
                ..
            })
        ));
        assert!(matches!(check(1, 0), Err(Error::NoRows)));
        assert!(matches!(
            check(0, 3),
            Err(Error::InvalidParam {
                param: "n_clusters",
                ..
            })
        ));
    }

    #[test]
    fn first_centroids_are_looked_at_in_the_features_alone() {
        let table = ndarray::array![[1., 20.], [2., 25.], [40., 900.]];
        let source = MemorySource::from_array(table.view(), &["orders", "revenue"]).unwrap();
        let preparation = crate::features::learn(&source, &FeatureOptions::default())
            .unwrap()
            .preparation;
        let given = |columns: [&str; 3], rows: &[[f64; 3]]| InitCentroids {
            path: Some("first.parquet".into()),
            columns: columns.map(String::from).to_vec(),
            rows: rows.iter().map(|row| row.to_vec()).collect(),
        };
        let names = ["revenue", "more", "orders"];
        let two = given(names, &[[20., f64::NAN, 1.], [900., 0., 40.]]);
        let of_features = two.of_features(&preparation).unwrap();
        assert_eq!(of_features.columns, ["orders", "revenue"]);
        assert_eq!(of_features.rows, [[1., 20.], [40., 900.]]);
        assert!(matches!(two.on_grid(&preparation, 3), Err(Error::InitInvalid { .. })));
        let error = given(names, &[[20., 1., 1.], [900., 1., f64::NAN]])
            .on_grid(&preparation, 2)
            .unwrap_err();
        let text = "first.parquet: not usable as first centroids: column \"orders\", row 2 is missing or not finite";
        assert_eq!(error.to_string(), text);
        let other = given(["revenue", "more", "order"], &[[20., 1., 1.], [900., 1., 40.]]);
        let missing = other.on_grid(&preparation, 2).unwrap_err();
        assert!(matches!(&missing, Error::InitColumnNotFound { column, .. } if column == "orders"));
        assert_eq!(missing.hint().unwrap(), "did you mean \"order\"?");
    }
}
