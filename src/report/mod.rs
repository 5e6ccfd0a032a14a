//! Layer 6: a run for people: `report.html`, which needs no network and no script, and `report.md` for chats and pull
//! requests. Nothing is computed here: figures come from the records of the run, in which those of few rows are left out
//! already (see [`crate::cells`]), so that both can be drawn again from a run directory.

mod content;
pub mod figures;
mod html;
mod markdown;
mod svg;
#[cfg(test)]
mod tests;
mod tree;

pub use content::profile_record;

use figures::{count, number, percent};
pub use tree::{centre, split_text};

use crate::artifact::{ProfileRecord, RunRecord, SegmentRecord};
use crate::cells::Count;
use crate::error::{Error, Result};
use crate::features::{ColumnReport, FeaturePreparation};
use crate::model::Model;
use crate::segments::{Difference, MIN_CELL, OutcomeFigures, SegmentProfile, set_apart};

/// Segments with a card; the largest come first.
const MOST_SEGMENTS: usize = 24;
/// Columns whose distributions are told, those that set segments apart most, times segments.
const MOST_DISTRIBUTIONS: usize = 768;
/// Most columns whose distributions are told.
const MOST_COLUMNS: usize = 60;
/// Columns of which the most typical rows are told.
const MOST_TYPICAL: usize = 8;
/// Pairs of segments with rows between them.
const MOST_BOUNDARIES: usize = 24;
/// Levels of a text.
const MOST_LEVELS: usize = 6;
/// Outcomes.
const MOST_OUTCOMES: usize = 12;
/// Rows of the table of columns.
const MOST_TREATED: usize = 400;
/// Input files, and warnings.
const MOST_LINES: usize = 20;
/// Differences on a card.
const MOST_DIFFERENCES: usize = 5;
/// Characters of a name.
const NAME_CHARS: usize = 48;
/// Characters of a sentence.
const SENTENCE_CHARS: usize = 600;

/// What is told of a run.
#[derive(Debug)]
pub struct Report<'r> {
    record: &'r RunRecord,
    content: &'r ProfileRecord,
    model: &'r Model,
    columns: Vec<ColumnReport>,
}

impl<'r> Report<'r> {
    /// Of both records of a run, and its model.
    ///
    /// # Errors
    /// [`Error::Internal`] where they are not of one run, or the run's columns are not as this program writes them.
    pub fn new(record: &'r RunRecord, content: &'r ProfileRecord, model: &'r Model) -> Result<Self> {
        if content.labels_hash != record.labels_hash
            || content.profile.segments.len() != record.segments.len().min(MOST_SEGMENTS)
            || model.n_segments() != record.segments.len()
        {
            return Err(Error::Internal("the profile is not that of the run".into()));
        }
        let columns = record.columns.iter().cloned().map(serde_json::from_value);
        let columns = columns.collect::<std::result::Result<_, _>>();
        Ok(Self {
            record,
            content,
            model,
            columns: columns.map_err(|_| Error::Internal("the run's columns are not as they must be".into()))?,
        })
    }

    /// One page, below 1 MB for any table.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// The same in short.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::text(self)
    }

    /// The segments that are told of, with their names.
    fn segments(&self) -> impl Iterator<Item = (&'r SegmentProfile, &'r SegmentRecord)> {
        self.content.profile.segments.iter().zip(&self.record.segments)
    }

    fn features(&self) -> &'r [FeaturePreparation] {
        &self.content.preparation.features
    }

    /// What sets a segment apart most.
    fn set_apart(&self, segment: &SegmentProfile) -> Vec<Difference> {
        let content = self.content;
        set_apart(
            &content.preparation,
            &content.profile,
            segment.segment,
            MOST_DIFFERENCES,
        )
    }

    /// How many segments there are more than are told of.
    fn n_untold(&self) -> usize {
        self.record.segments.len() - self.content.profile.segments.len()
    }

    fn n_rows(&self) -> Count {
        Count::Exact(self.record.n_rows)
    }

    /// Whether a name is still a draft.
    fn has_drafts(&self) -> bool {
        self.record.segments.iter().any(|segment| segment.name_is_draft)
    }

    /// How many columns have their distributions told.
    fn n_told_columns(&self) -> usize {
        n_told_columns(self.content.profile.segments.len())
    }
}

fn n_told_columns(n_segments: usize) -> usize {
    (MOST_DISTRIBUTIONS / n_segments.max(1)).min(MOST_COLUMNS)
}

/// A number of rows: `1,610`, `under 11`, `1,605 to 1,614`.
#[must_use]
pub fn rows(n: Count) -> String {
    match n {
        Count::Exact(n) => count(n),
        Count::Between(low, high) if low <= 1 => format!("under {}", count(high + 1)),
        Count::Between(low, high) => format!("{} to {}", count(low), count(high)),
    }
}

/// The share of some rows: `12.1%`, or what can be told of it.
#[must_use]
pub fn share(n: Count, of: Count) -> String {
    match n.share_of(of) {
        Some(share) => percent(share),
        None => shares(n.shares_of(of)),
    }
}

/// A share between two bounds: `at most 0.7%`, `about 36.8%`, `44.1% to 45.0%`.
#[must_use]
pub fn shares([low, high]: [f64; 2]) -> String {
    if percent(low) == percent(high) {
        format!("about {}", percent(low))
    } else if low < high / 2.0 {
        format!("at most {}", percent(high))
    } else if 1.0 - high < (1.0 - low) / 2.0 {
        format!("at least {}", percent(low))
    } else {
        format!("{} to {}", percent(low), percent(high))
    }
}

/// The mean of a difference: a number, or a share, of which bounds are told where few rows stand behind it.
#[must_use]
pub fn mean(difference: &Difference) -> String {
    match (difference.is_share, difference.bounds) {
        (false, _) => number(difference.mean),
        (true, None) => percent(difference.mean),
        (true, Some(bounds)) => shares(bounds),
    }
}

/// The standard deviations of a difference: `+0.57`; `about +0.6` where its mean is not told.
#[must_use]
pub fn sd(difference: &Difference) -> String {
    match difference.bounds {
        None => format!("{:+.2}", difference.sd),
        Some(_) => format!("about {:+.1}", difference.sd),
    }
}

/// `12.1% (9.8% to 14.9%)`.
#[must_use]
pub fn outcome(figures: &OutcomeFigures, is_share: bool) -> String {
    let told = |v: f64| if is_share { percent(v) } else { number(v) };
    match (figures.mean, figures.low.zip(figures.high), figures.mean_bounds) {
        (Some(mean), Some((low, high)), _) => format!("{} ({} to {})", told(mean), told(low), told(high)),
        (Some(mean), None, _) => told(mean),
        (None, Some((low, high)), Some(bounds)) => format!("{} ({} to {})", shares(bounds), told(low), told(high)),
        (None, None, Some(bounds)) => shares(bounds),
        (None, _, None) => match figures.count {
            Count::Exact(0) => "(no values)".into(),
            n => format!("({} rows)", rows(n)),
        },
    }
}

/// A text of at most `most` characters, which loses its middle where it is longer.
fn shortened(text: &str, most: usize) -> String {
    let n = text.chars().count();
    if n <= most {
        return text.to_owned();
    }
    let tail = most / 4;
    let head = text.chars().take(most - tail - 1);
    head.chain(['…']).chain(text.chars().skip(n - tail)).collect()
}
