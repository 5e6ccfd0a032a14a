//! Layer 5: what a business reader sees of a clustering: who belongs where, and what each segment is like.

mod assignment;
mod confidence;
mod explain;
mod outcomes;
mod profile;

pub use assignment::{Assignment, labels_hash};
pub use confidence::{BoundaryDecile, BoundaryReport, Confidence, ConfidenceCounts, outlier_distances};
pub use explain::{Change, Explainer, Explanation, Reason, Value};
pub use outcomes::{MIN_CELL, OutcomeFigures, OutcomeProfile, outcomes};
pub use profile::{FeatureProfile, Profile, SegmentProfile, profile};
