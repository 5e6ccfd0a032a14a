//! Layer 2: deterministic synthetic accounts, for benches, demonstrations and tests of any size.
//!
//! Row `i` depends on the seed, the shape and `i` alone: the bytes are the same for any number of threads, any batch
//! size, any split into files, and on every platform (integers, and floats through additions, products and square
//! roots alone). Nothing is kept but a table of the clusters' centres.
//!
//! The rows are meant to be hard in the way that accounts are: clusters overlap and differ in size by a factor of
//! more than 20, noise is correlated between features and wider in some clusters than in others, one feature of four
//! is log-normal like revenue, and single rows are thrown far off.

mod accounts;
mod b2b;
mod noise;
mod shapes;

pub use accounts::Accounts;
pub use b2b::B2bAccounts;
pub use shapes::{ANCHORS, Shape, gpu_grid};

use crate::error::{Error, Result};
use crate::grid::MAX_FEATURES;

/// Most clusters, those that a fit may be asked for.
const MAX_CLUSTERS: usize = 1 << 16;
/// Most rows: about a trillion.
const MAX_ROWS: usize = 1 << 40;
/// Most values in the table of centres, 256 MiB.
const MAX_CENTRES: usize = 1 << 26;
/// Most categorical columns.
const MAX_CATEGORICAL: usize = 1 << 10;

/// What to generate; [`Workload::build`] makes a table of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Rows.
    pub n_rows: usize,
    /// Features, `float32`.
    pub n_features: usize,
    /// Clusters that the rows are drawn from.
    pub n_clusters: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Share of feature cells that are null.
    pub missing: f64,
    /// Share of rows thrown far off their cluster; their `truth` is -1.
    pub outliers: f64,
    /// Added to every feature value, in standard deviations of the noise (which are about 1).
    pub offset: f64,
    /// Number of text columns that go with the cluster.
    pub categorical: usize,
}

impl Workload {
    /// Rows of this shape: seed 0, nothing missing, no outliers, no offset, no text.
    #[must_use]
    pub fn new(n_rows: usize, n_features: usize, n_clusters: usize) -> Self {
        Self {
            n_rows,
            n_features,
            n_clusters,
            seed: 0,
            missing: 0.0,
            outliers: 0.0,
            offset: 0.0,
            categorical: 0,
        }
    }

    /// Whether every parameter lies in its range.
    ///
    /// # Errors
    /// [`Error::InvalidParam`].
    pub fn check(&self) -> Result<()> {
        in_range("n_rows", self.n_rows, 1, MAX_ROWS)?;
        in_range("n_features", self.n_features, 1, MAX_FEATURES)?;
        in_range("n_clusters", self.n_clusters, 1, MAX_CLUSTERS)?;
        in_range("categorical", self.categorical, 0, MAX_CATEGORICAL)?;
        let n_centres = self.n_clusters * self.n_features;
        if n_centres > MAX_CENTRES {
            return Err(invalid(
                "n_clusters",
                self.n_clusters,
                format!("clusters times features is at most {MAX_CENTRES}, not {n_centres}"),
            ));
        }
        for (param, share) in [("missing", self.missing), ("outliers", self.outliers)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(invalid(param, share, "expected a share from 0 to 1".into()));
            }
        }
        if !(self.offset as f32).is_finite() {
            return Err(invalid(
                "offset",
                self.offset,
                "expected a number that a float32 can hold".into(),
            ));
        }
        Ok(())
    }

    /// The table of these rows. Rows are made when they are asked for.
    ///
    /// # Errors
    /// Those of [`Workload::check`].
    pub fn build(&self) -> Result<Accounts> {
        self.check()?;
        Ok(Accounts::new(self))
    }
}

fn in_range(param: &'static str, value: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(invalid(
        param,
        value,
        format!("expected a whole number from {least} to {most}"),
    ))
}

fn invalid(param: &'static str, value: impl ToString, reason: String) -> Error {
    Error::InvalidParam {
        param,
        value: value.to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_generated_is_refused_by_name() {
        let refused = |change: &dyn Fn(&mut Workload)| {
            let mut workload = Workload::new(10, 2, 3);
            change(&mut workload);
            match workload.build() {
                Err(Error::InvalidParam { param, .. }) => param,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(&|w| w.n_rows = 0), "n_rows");
        assert_eq!(refused(&|w| w.n_rows = MAX_ROWS + 1), "n_rows");
        assert_eq!(refused(&|w| w.n_features = 0), "n_features");
        assert_eq!(refused(&|w| w.n_features = MAX_FEATURES + 1), "n_features");
        assert_eq!(refused(&|w| w.n_clusters = 0), "n_clusters");
        assert_eq!(
            refused(&|w| (w.n_clusters, w.n_features) = (1 << 16, 1 << 15)),
            "n_clusters"
        );
        assert_eq!(refused(&|w| w.categorical = MAX_CATEGORICAL + 1), "categorical");
        for share in [-0.1, 1.1, f64::NAN] {
            assert_eq!(refused(&|w| w.missing = share), "missing");
            assert_eq!(refused(&|w| w.outliers = share), "outliers");
        }
        assert_eq!(refused(&|w| w.offset = 1e39), "offset");
        assert_eq!(refused(&|w| w.offset = f64::NAN), "offset");
        assert!(Workload::new(1, 1, 5).build().is_ok());
    }
}
