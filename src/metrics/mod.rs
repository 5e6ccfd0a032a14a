//! Layer 4: how good a clustering is, and how far two clusterings agree. Knows tiles and labels, and what a
//! backend does for it; nothing of devices, files or features.
//!
//! What is taken over all rows is added up in integers (exact sums, or fixed-point numbers of a documented unit), so
//! that no figure depends on threads, chunks or the order of the rows.

mod agreement;
mod dispersion;
mod silhouette;

pub use agreement::{Contingency, Recovered};
pub use dispersion::Dispersion;
pub use silhouette::{Quality, quality, quality_on};
