//! Layer 5: how many clusters: a sweep over k on data that is prepared once, judged over all rows, with a decision in
//! words.

mod boundary;
mod decision;
mod separation;
mod stability;
mod sweep;

pub use boundary::{FLIPPED, Flips};
pub use decision::{CLEAR, CLEARNESS, Decision, FAIR, FAIR_LOSS, Strength};
pub use separation::GAP;
pub use stability::{N_RESAMPLES, SAMPLE_ROWS, Stability};
pub use sweep::{Candidate, Flow, Sweep, SweepOptions, Swept, sweep};
