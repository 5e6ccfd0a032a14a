//! Layer 5: what a business reader sees of a clustering: who belongs where, and what each segment is like.

mod assignment;
mod confidence;
mod explain;
mod map;
mod naming;
mod outcomes;
mod profile;
mod tree;

pub use crate::features::MIN_CELL;
pub use assignment::{Assignment, labels_hash};
pub use confidence::{BoundaryDecile, BoundaryReport, Confidence, ConfidenceCounts, outlier_distances};
pub use explain::{Change, Explainer, Explanation, Reason, Value};
pub use map::{MOST_MAPPED, SegmentMap, segment_map};
pub use naming::{Difference, draft_names, is_share, is_small_cell, set_apart};
pub use outcomes::{OutcomeFigures, OutcomeProfile, outcomes};
pub use profile::{FeatureProfile, Profile, SegmentProfile, profile};
pub use tree::{Fork, Merge, Told, WardTree, adds_up, told_apart};
