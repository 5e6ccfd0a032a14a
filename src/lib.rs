//! kohort.
pub mod artifact;
pub mod backend;
pub mod data;
pub mod error;
pub mod features;
pub mod grid;
pub mod kmeans;
pub mod num;
pub mod partial;
pub mod rng;
pub mod segments;
pub mod sys;
pub mod tiles;
pub use error::{Error, ErrorKind, Result};
