//! Layer 3: the devices that run passes over tiles, behind one trait.
//!
//! A backend knows tiles, centroids and partials, never Arrow arrays, files or feature names. Every backend gives
//! the same bits: each row goes to the centroid with the least exact squared distance, exact ties to the lower
//! index, and everything that is added up is an integer.

use lloyd::{EachIteration, LloydRule, LloydRun};
use silhouette::{Judge, Labelled};

use crate::error::Result;
use crate::partial::ClusterPartial;
use crate::tiles::{Centroids, TileSet};

pub mod audit;
pub mod certificate;
pub mod choice;
pub mod cpu;
#[cfg(test)]
mod failing;
pub mod fallback;
pub mod folding;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(not(feature = "gpu"))]
#[path = "gpu_disabled.rs"]
pub mod gpu;
mod gpu_types;
pub mod joint;
pub mod lloyd;
pub mod scalar;
pub mod self_test;
pub mod silhouette;

/// The runner-up of a row when there is one cluster only.
pub const NO_CLUSTER: u32 = u32::MAX;

/// A device that can run passes.
pub trait Backend: Send + Sync {
    /// `scalar`, `cpu` or `gpu`.
    fn name(&self) -> &'static str;

    /// One line for people: threads and instruction set, or the adapter.
    fn description(&self) -> String;

    /// How many devices it is.
    fn n_devices(&self) -> usize {
        1
    }

    /// Bytes of a device's own memory that data may take; `None` where passes work in the host's.
    fn memory_budget(&self) -> Option<u64> {
        None
    }

    /// Takes hold of a data set for any number of passes; decides what stays on the device and what streams.
    ///
    /// `max_clusters` is the largest number of centroids that any pass will bring.
    ///
    /// # Errors
    /// Where the device lacks the memory or the limits for this shape.
    fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>>;

    /// Takes hold of a data set for `n_runs` runs whose passes share each read of the data; `None` where the device gains
    /// nothing by that.
    fn open_shared<'d>(&'d self, _data: &'d TileSet, _n_runs: usize) -> Option<Box<dyn Sessions + 'd>> {
        None
    }

    /// Takes hold of rows and their clusters, to judge them; `None` where the device gains nothing by that,
    /// so that the host had better do it.
    ///
    /// # Errors
    /// Where the device fails.
    fn judge<'d>(&'d self, _rows: Labelled<'d>) -> Result<Option<Box<dyn Judge + 'd>>> {
        Ok(None)
    }

    /// What the device's own clock says of the iterations of [`Session::lloyd`] that were made since the last call;
    /// `None` where it has none, was not asked to look at it, or made iterations pass by pass.
    fn take_device_time(&self) -> Option<DeviceTime> {
        None
    }
}

/// Iterations by a device's own clock.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DeviceTime {
    /// How many.
    pub n_iter: usize,
    /// Seconds of all of them, from the start of their first pass to the move of their centroids; not what lies between
    /// one iteration and the next.
    pub seconds: f64,
    /// How many of them went through matrix units.
    pub n_on_matrix_units: usize,
}

/// Several runs on a data set in the hands of a backend.
pub trait Sessions: Send {
    /// The session of one run, for all but its shared passes.
    fn session(&mut self, run: usize) -> &mut dyn Session;

    /// [`Session::assign`] of every run that brings centroids.
    ///
    /// # Errors
    /// As for [`Session::assign`].
    fn assign(&mut self, sets: &[Option<&Centroids>]) -> Result<Vec<Option<Pass>>>;
}

/// A data set in the hands of a backend.
pub trait Session: Send {
    /// One pass: labels every row with its nearest centroid and adds up each cluster.
    ///
    /// # Errors
    /// Where the device fails; the session is then of no further use.
    fn assign(&mut self, centroids: &Centroids) -> Result<Pass>;

    /// Has passes go on from where one under `centroids` ended that gave these labels and sums. The default makes that pass.
    ///
    /// # Errors
    /// As for [`Session::assign`].
    fn resume(&mut self, centroids: &Centroids, _labels: Vec<u32>, _partial: ClusterPartial) -> Result<()> {
        self.assign(centroids).map(drop)
    }

    /// The labels that the last [`Session::assign`] gave, in row order.
    ///
    /// # Errors
    /// Where the device fails.
    fn labels(&mut self) -> Result<Vec<u32>>;

    /// Nearest and second-nearest centroid of every row, both exact, ties to the lower index.
    ///
    /// # Errors
    /// Where the device fails.
    fn two_nearest(&mut self, centroids: &Centroids) -> Result<TwoNearest>;

    /// What [`Session::assign`] and then [`Session::two_nearest`] give, in one pass where the device can: the last pass of
    /// a run. The session may give its labels away, so that neither [`Session::labels`] nor `n_moved` of the next pass
    /// means anything.
    ///
    /// # Errors
    /// As for both.
    fn assign_two_nearest(&mut self, centroids: &Centroids) -> Result<(Pass, TwoNearest)> {
        Ok((self.assign(centroids)?, self.two_nearest(centroids)?))
    }

    /// Lloyd's iterations from `start`, each a pass and the move of the centroids to the means of their rows. Ends by
    /// `rule`, where no centroid moves, where a cluster is left without weight, or where `each` asks for it.
    ///
    /// The default makes passes one by one. A session that overrides it gives the same in every respect; it may make
    /// iterations ahead of those that `each` has heard of.
    ///
    /// # Errors
    /// Where the device fails, and those of `each`.
    fn lloyd(&mut self, start: &Centroids, rule: &LloydRule<'_>, each: &mut EachIteration<'_>) -> Result<LloydRun> {
        lloyd::by_passes(&mut |centroids| self.assign(centroids), start, None, rule, each)
    }

    /// What the session did that its user should hear of: a device that was lost, for example.
    fn notices(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// The outcome of one pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Sums, weights and counts per cluster.
    pub partial: ClusterPartial,
    /// Rows whose label differs from that of the session's previous pass; all rows in the first.
    pub n_moved: u64,
    /// Rows that floating point could not decide, and exact arithmetic did. Diagnostic: may differ between backends, and equal
    /// rows that are [folded](folding) count once, here and below.
    pub n_doubtful: u64,
    /// Rows that were looked at; bounds proved of the others that their labels stay. Diagnostic as well.
    pub n_read: u64,
    /// Rows among these that 16 bits of their values left in doubt, so that they were looked at once more. Diagnostic as well.
    pub n_unsettled: u64,
}

/// Nearest and second-nearest centroid of every row, in row order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwoNearest {
    /// The nearest.
    pub labels: Vec<u32>,
    /// The second-nearest; [`NO_CLUSTER`] where there is one cluster only.
    pub runners_up: Vec<u32>,
    /// Whether a row may be equally far from its nearest and its second-nearest centroid, or from that and another one,
    /// so that the order of the centroids decided. Diagnostic: false only where no row is.
    pub may_have_ties: bool,
    /// Rows that needed exact arithmetic. Diagnostic: may differ between backends.
    pub n_doubtful: u64,
    /// Rows whose clusters the host found again, see [`audit`]. Diagnostic: 0 where the host works itself.
    pub n_audited: u64,
}
