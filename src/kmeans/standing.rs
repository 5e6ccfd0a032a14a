//! Where a run of iterations stands, so that another process can go on from there and end with the same bits.

use super::{Observer, Seeding};
use crate::error::{Error, Result};
use crate::tiles::Centroids;

/// What tells a run from the others of one job: of a sweep, or of rounds that trim other rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunKey {
    /// Number of clusters.
    pub n_clusters: usize,
    /// Number of features.
    pub n_features: usize,
    /// [`crate::tiles::TileSet::weighted_sq_norm`] of the rows: others weigh something else.
    pub total_sq_norm: u128,
    /// Whether the first centroids were given.
    pub is_given: bool,
    /// Most iterations.
    pub max_iter: usize,
}

/// A run between two iterations. All that follows depends on the centroids alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Iterations made.
    pub n_iter: usize,
    /// Centroids of the next one.
    pub centroids: Centroids,
    /// How the first centroids were found; `None` where they were given.
    pub seeding: Option<Seeding>,
    /// Passes made, rows that needed exact arithmetic in them, rows looked at.
    pub work: [u64; 3],
}

/// Keeps where runs stand. Called between iterations.
pub trait Standings: Sync {
    /// Where a run is to go on; `None` where it begins.
    ///
    /// # Errors
    /// Where what was kept is none of this run.
    fn standing(&self, run: &RunKey) -> Result<Option<Standing>>;

    /// Keeps where a run stands, if it is time to. `standing` makes the copy.
    ///
    /// # Errors
    /// Those of writing it down.
    fn keep(&self, run: &RunKey, standing: &dyn Fn() -> Standing) -> Result<()>;

    /// Forgets where all runs stand: they begin, here and in any process that goes on from here.
    ///
    /// # Errors
    /// Those of removing what was written down.
    fn forget(&self) -> Result<()>;
}

/// Does `job`, and does all of it again where a device computed wrongly: the backend has put that out of use by then. Where
/// runs stood came of it, and is forgotten.
///
/// # Errors
/// Those of `job`, and of forgetting.
pub(crate) fn again_where_wrong<T>(observer: &dyn Observer, job: impl Fn() -> Result<T>) -> Result<T> {
    match job() {
        Err(Error::DeviceWrong { .. }) => {
            if let Some(standings) = observer.standings() {
                standings.forget()?;
            }
            job()
        }
        done => done,
    }
}

/// What a run keeps its standing with.
#[derive(Clone)]
pub(super) struct Book<'b> {
    pub(super) standings: &'b dyn Standings,
    pub(super) run: RunKey,
    pub(super) seeding: Option<Seeding>,
}

impl Book<'_> {
    /// Keeps where the run stands before its next pass.
    pub(super) fn keep(&self, n_iter: usize, centroids: &Centroids, work: [u64; 3]) -> Result<()> {
        self.standings.keep(&self.run, &|| Standing {
            n_iter,
            centroids: centroids.clone(),
            seeding: self.seeding.clone(),
            work,
        })
    }
}
