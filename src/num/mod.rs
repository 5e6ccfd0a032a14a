//! Layer 0: numbers that do not depend on the order in which they were added up.

pub(crate) mod distinct;
pub mod exact_sum;
pub(crate) mod logs;
pub mod moments;
pub mod quantile;
mod rounding;
pub(crate) mod shape;
pub(crate) mod survey;
pub(crate) mod widest;

pub use exact_sum::ExactSum;
pub use moments::Moments;
pub(crate) use rounding::round_ratio;
