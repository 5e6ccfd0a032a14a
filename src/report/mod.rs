//! Layer 6: a run for people: `report.html`, which needs no network and no script, and `report.md` for chats and pull
//! requests. Nothing is computed here: figures come from the fit, its record and the layers below, and those that fewer
//! than [`MIN_CELL`] rows stand behind are left out.

pub mod figures;
mod html;
mod markdown;
mod svg;
#[cfg(test)]
mod tests;
mod tree;

use figures::{count, number, percent};
pub use tree::{centre, split_text};

use crate::artifact::RunRecord;
use crate::features::FeaturePreparation;
use crate::fit::Fit;
use crate::segments::{
    Difference, MIN_CELL, OutcomeFigures, SegmentMap, SegmentProfile, is_small_cell, segment_map, set_apart,
};

/// Segments with a card; the largest come first.
const MOST_SEGMENTS: usize = 24;
/// Columns whose distributions are told, those that set segments apart most.
const MOST_COLUMNS: usize = 32;
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
    fit: &'r Fit,
    record: &'r RunRecord,
    map: Option<SegmentMap>,
    neighbours: Vec<Option<(u32, u64)>>,
}

impl<'r> Report<'r> {
    /// Of a fit and the record of its run.
    #[must_use]
    pub fn new(fit: &'r Fit, record: &'r RunRecord) -> Self {
        let model = &fit.model;
        Self {
            fit,
            record,
            map: segment_map(&model.preparation, &model.centroids, &model.segment_counts),
            neighbours: fit.assignment.neighbours(model.n_segments()),
        }
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

    /// The segments that are told of, with their drafted names.
    fn segments(&self) -> impl Iterator<Item = (&'r SegmentProfile, &'r str)> {
        let names = self.record.segments.iter().map(|segment| segment.name.as_str());
        self.fit.profile.segments.iter().zip(names).take(MOST_SEGMENTS)
    }

    fn features(&self) -> &'r [FeaturePreparation] {
        &self.fit.model.preparation.features
    }

    /// What sets a segment apart most.
    fn set_apart(&self, segment: &SegmentProfile) -> Vec<Difference> {
        let fit = self.fit;
        set_apart(&fit.model.preparation, &fit.profile, segment.segment, MOST_DIFFERENCES)
    }

    /// How many segments there are more than are told of.
    fn n_untold(&self) -> usize {
        self.fit.profile.segments.len().saturating_sub(MOST_SEGMENTS)
    }
}

/// A number of rows, which is not told where it is small.
fn rows(n: u64) -> String {
    if (1..MIN_CELL).contains(&n) {
        format!("under {MIN_CELL}")
    } else {
        count(n)
    }
}

/// A share of `n` rows, which is not told exactly where it is that of few rows, or of all but a few.
fn share(share: f64, n: u64) -> String {
    let least = MIN_CELL as f64 / n.max(1) as f64;
    if !is_small_cell(share, n) {
        percent(share)
    } else if least >= 0.5 {
        format!("(under {MIN_CELL} rows)")
    } else if share < 0.5 {
        format!("under {}", percent(least))
    } else {
        format!("over {}", percent(1.0 - least))
    }
}

/// The mean of a difference in a segment of `n` rows with a value: a number, or a share, which is not told exactly where
/// few rows stand behind it.
#[must_use]
pub fn mean(difference: &Difference, n: u64) -> String {
    if difference.is_share {
        share(difference.mean, n)
    } else {
        number(difference.mean)
    }
}

/// `12.1% (9.8% to 14.9%)`.
fn outcome(figures: &OutcomeFigures, is_share: bool) -> String {
    let told = |v: f64| if is_share { percent(v) } else { number(v) };
    match (figures.mean, figures.low.zip(figures.high)) {
        (Some(mean), Some((low, high))) => format!("{} ({} to {})", told(mean), told(low), told(high)),
        (Some(mean), None) => told(mean),
        (None, _) => format!("(under {MIN_CELL} rows)"),
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
