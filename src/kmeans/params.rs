//! What a k-means run is asked to do.

use crate::backend::folding::Folding;
use crate::error::{Error, Result};
use crate::tiles::Centroids;

/// Most clusters a run may ask for.
pub const MAX_CLUSTERS: usize = 1 << 16;

/// Where the first centroids come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Init {
    /// Greedy k-means++ on the sample, several restarts, the best of them improved by moves of single centroids.
    KMeansPlusPlus,
    /// Distinct rows of the sample instead, otherwise the same.
    Random,
    /// These.
    Centroids(Centroids),
}

/// Parameters of a run; [`KMeansParams::check`] refuses what makes no sense.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeansParams {
    /// Number of clusters (`k`).
    pub n_clusters: usize,
    /// Where the first centroids come from.
    pub init: Init,
    /// Restarts of the seeding; the best by inertia on the sample is then improved by moves of single centroids.
    /// Without meaning for [`Init::Centroids`].
    pub n_init: usize,
    /// Most Lloyd iterations over all rows.
    pub max_iter: usize,
    /// Stop when the squared centroid shift, summed over clusters, is at most `tol` times the mean variance of the
    /// features (scikit-learn's rule). 0 goes on until no centroid moves.
    pub tol: f64,
    /// Seed of the sample and of the restarts.
    pub seed: u64,
    /// Whether moves are drawn once none that promises something helps. Those find the last tenths of a percent, and take most
    /// of the time that first centroids take.
    pub draws_moves: bool,
    /// When equal rows are gone over once for all of them. Changes nothing in the result.
    pub folding: Folding,
}

impl KMeansParams {
    /// The defaults for `n_clusters`: k-means++, 6 restarts, 300 iterations, `tol` 1e-4, seed 0.
    #[must_use]
    pub fn new(n_clusters: usize) -> Self {
        Self {
            n_clusters,
            init: Init::KMeansPlusPlus,
            n_init: 6,
            max_iter: 300,
            tol: 1e-4,
            seed: 0,
            draws_moves: true,
            folding: Folding::Auto,
        }
    }

    /// Whether every parameter lies in its range.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] for the first that does not.
    pub fn check(&self) -> Result<()> {
        let invalid = |param, value: String, reason: &str| {
            Err(Error::InvalidParam {
                param,
                value,
                reason: reason.into(),
            })
        };
        if !(1..=MAX_CLUSTERS).contains(&self.n_clusters) {
            return invalid("n_clusters", self.n_clusters.to_string(), "must be from 1 to 65536");
        }
        if self.n_init == 0 {
            return invalid("n_init", "0".into(), "must be at least 1");
        }
        if self.max_iter == 0 {
            return invalid("max_iter", "0".into(), "must be at least 1");
        }
        if !(self.tol.is_finite() && self.tol >= 0.0) {
            return invalid("tol", self.tol.to_string(), "must be a number of at least 0");
        }
        Ok(())
    }
}
