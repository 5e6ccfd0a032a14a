//! Layer 5: what a business reader sees of a clustering: who belongs where, and what each segment is like.

mod assignment;
mod bins;
mod confidence;
mod effect;
mod explain;
mod map;
mod naming;
mod outcomes;
mod profile;
mod told;
mod tree;
mod typical;

pub use crate::cells::MIN_CELL;
pub use assignment::{Assignment, labels_hash};
pub use confidence::{BoundaryDecile, BoundaryReport, Confidence, ConfidenceCounts, outlier_distances};
pub use explain::{Change, Explainer, Explanation, Reason, Value};
pub use map::{MOST_MAPPED, SegmentMap, segment_map};
pub use naming::{Difference, SegmentName, draft_names, is_share, set_apart};
pub use outcomes::{OutcomeFigures, OutcomeProfile, outcomes};
pub use profile::{FeatureProfile, Profile, SegmentProfile, profile};
pub use tree::{Fork, Merge, Told, WardTree, adds_up, told_apart};
pub use typical::{N_TYPICAL, typical_rows};
