//! Where a run of iterations stands, so that another process can go on from there and end with the same bits.

use super::{Event, Observer, Seeding};
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
}

/// Does `job`, and does all of it again where a device computed wrongly: the backend has put that out of use by then. Where
/// runs stood came of it, so that they go on from nowhere.
///
/// # Errors
/// Those of `job`.
pub(crate) fn again_where_wrong<T>(observer: &dyn Observer, job: impl Fn(&dyn Observer) -> Result<T>) -> Result<T> {
    match job(observer) {
        Err(Error::DeviceWrong { .. }) => job(&FromTheStart {
            observer,
            standings: observer.standings().map(Unread),
        }),
        done => done,
    }
}

/// Passes everything on but where runs stood.
struct FromTheStart<'o> {
    observer: &'o dyn Observer,
    standings: Option<Unread<'o>>,
}

impl Observer for FromTheStart<'_> {
    fn event(&self, event: Event) {
        self.observer.event(event);
    }

    fn counts_moved(&self) -> bool {
        self.observer.counts_moved()
    }

    fn interrupted(&self) -> bool {
        self.observer.interrupted()
    }

    fn time_is_up(&self) -> bool {
        self.observer.time_is_up()
    }

    fn standings(&self) -> Option<&dyn Standings> {
        self.standings.as_ref().map(|standings| standings as &dyn Standings)
    }
}

/// Keeps where runs stand, and does not read it.
struct Unread<'s>(&'s dyn Standings);

impl Standings for Unread<'_> {
    fn standing(&self, _run: &RunKey) -> Result<Option<Standing>> {
        Ok(None)
    }

    fn keep(&self, run: &RunKey, standing: &dyn Fn() -> Standing) -> Result<()> {
        self.0.keep(run, standing)
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
