//! Layer 4: k-means on a backend. Knows tiles, centroids and partials; nothing of files, features or devices.

mod growing;
mod lloyd;
mod outlook;
mod params;
mod potential;
mod seeding;
mod standing;
mod swap;
mod trim;

pub(crate) use growing::largest_sample;
pub(crate) use lloyd::RUN_BYTES;
pub use lloyd::{KMeansFit, StopReason, fit, fit_many};
pub use params::{Init, KMeansParams, MAX_CLUSTERS};
pub(crate) use seeding::sample_rows;
pub use seeding::{SAMPLE_ROWS, Seeding};
pub(crate) use standing::again_where_wrong;
pub use standing::{RunKey, Standing, Standings};
pub use trim::{Trim, fit_trimmed};

/// Something that happened in a long job, for a progress display.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A stage began: `learn`, `prepare`, `seed`, `iterate`, `assign`, `profile`, `write`.
    Stage(&'static str),
    /// Rows of the current stage's scan that are done.
    Rows {
        /// Done so far.
        done: usize,
        /// Rows in all.
        of: usize,
    },
    /// A seeding restart is done.
    Restart {
        /// Restarts done so far.
        done: usize,
        /// Restarts in all.
        of: usize,
    },
    /// A Lloyd iteration over all rows is done.
    Iteration {
        /// Its number, from 1.
        iteration: usize,
        /// At most so many.
        max_iter: usize,
        /// Inertia of the labels it gave against the centroids it started from, in units of the prepared features.
        inertia: f64,
        /// Rows that changed their label; `None` where no one [asked](Observer::counts_moved).
        n_moved: Option<u64>,
    },
    /// A number of clusters of a sweep is tried next, or, at the end, all were.
    Candidate {
        /// The number.
        n_clusters: usize,
        /// Numbers done so far.
        done: usize,
        /// Numbers in all.
        of: usize,
    },
    /// A segment is split next, or stays whole.
    Segment {
        /// Segments of its level done so far.
        done: usize,
        /// Segments of its level.
        of: usize,
    },
    /// Something the user should know now: a device was lost and the CPU goes on, for example.
    Notice(String),
}

/// Hears what a long job does, and may ask it to stop. Called from any thread.
pub trait Observer: Sync {
    /// Something happened.
    fn event(&self, event: Event);

    /// Whether iterations should count the rows that change their label: a device then has to keep labels.
    fn counts_moved(&self) -> bool {
        true
    }

    /// Whether the job should end with [`crate::Error::Interrupted`] at the next safe point.
    fn interrupted(&self) -> bool {
        false
    }

    /// Whether iterations over all rows should end with the one that was just made, as if no more had been asked for.
    fn time_is_up(&self) -> bool {
        false
    }

    /// Who keeps where runs over all rows stand, and knows where they are to go on.
    fn standings(&self) -> Option<&dyn Standings> {
        None
    }
}

/// Hears nothing, stops nothing.
impl Observer for () {
    fn event(&self, _event: Event) {}

    fn counts_moved(&self) -> bool {
        false
    }
}
