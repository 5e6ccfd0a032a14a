//! Exact k-means for customer segmentation: a table in, segments out, the same bits on every CPU and GPU.
//!
//! Labels, centroids, counts and inertia of a fit depend on the data and the options alone: not on the device, the
//! number of threads, the way the data is cut into files or chunks, and, where there is an id column, not on the order
//! of the rows. `ARCHITECTURE.md` says how.
//!
//! ```
//! use kohort::backend::cpu::CpuBackend;
//! use kohort::data::MemorySource;
//! use kohort::fit::{FitOptions, fit};
//!
//! // Orders per year and revenue of six customers.
//! let customers = ndarray::array![[1., 20.], [2., 25.], [1., 30.], [40., 900.], [45., 1000.], [2., 22.]];
//! let source = MemorySource::from_array(customers.view(), &["orders", "revenue"])?;
//! let fit = fit(&source, &CpuBackend::new(0)?, &FitOptions::new(2), &())?;
//! assert_eq!(fit.assignment.labels, [0, 0, 0, 1, 1, 0]); // the largest segment first
//!
//! // The model scores new rows; the training data gets the labels of the fit, bit for bit.
//! let scored = fit.model.score(&source, &CpuBackend::new(1)?, 1 << 20)?;
//! assert_eq!(scored.labels_hash, fit.summary.labels_hash);
//! # Ok::<(), kohort::Error>(())
//! ```
//!
//! Tables can also be Arrow record batches ([`data::MemorySource::new`]) or Parquet files
//! ([`data::FileSource`]). The modules are layers, see `ARCHITECTURE.md`; imports go downwards only:
//!
//! [`fit`], [`run`], [`report`], [`mod@bench`] → [`model`], [`segments`], [`artifact`] → [`kmeans`], [`metrics`] → [`backend`] → [`features`],
//! [`data`], [`workload`] → [`tiles`], [`partial`] → [`error`], [`grid`], [`rng`], [`num`], [`cells`].

pub mod artifact;
pub mod backend;
pub mod bench;
pub mod cells;
pub mod data;
pub mod error;
pub mod features;
pub mod fit;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod grid;
pub mod kmeans;
pub mod metrics;
pub mod model;
pub mod nested;
pub mod num;
pub mod partial;
pub mod report;
pub mod rng;
pub mod run;
pub mod segments;
pub mod select;
pub mod sys;
pub mod tiles;
pub mod workload;

pub use error::{Error, ErrorKind, Result};
