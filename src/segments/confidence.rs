//! How far a row's segment can be relied on: whether it sits on a boundary, and whether it is like its segment at all.

use std::borrow::Cow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Assignment, MIN_CELL};
use crate::cells::{Count, MinCell};
use crate::grid::Grid;
use crate::num::quantile::quantile;

/// A row is far out beyond the upper quartile plus so many interquartile ranges (J. Tukey, "Exploratory Data Analysis",
/// 1977: the outer fence).
const FENCE: f64 = 3.0;

/// What is held against margins and distances, at the fit and at every scoring.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Confidence {
    /// Rows with at most this margin sit on a boundary; `None` where that was not found out: one segment, or too few
    /// rows to draw again.
    pub boundary_margin: Option<f64>,
    /// Per segment, the distance beyond which a row is an outlier: [`outlier_distances`]. Empty where unknown.
    pub outlier_distances: Vec<Option<f64>>,
    /// Whether outliers get no segment, and are not profiled with one.
    pub unassign_outliers: bool,
}

impl Confidence {
    /// Whether a row sits on a boundary.
    #[must_use]
    pub fn is_boundary(&self, assignment: &Assignment, row: usize) -> Option<bool> {
        let margin = assignment.margin(row)?;
        self.boundary_margin.map(|limit| margin <= limit)
    }

    /// A row's distance to its centroid, over the distance at which outliers begin in its segment: above 1, it is one.
    #[must_use]
    pub fn outlier_score(&self, assignment: &Assignment, row: usize) -> Option<f64> {
        let segment = assignment.labels[row] as usize;
        let limit = self.outlier_distances.get(segment).copied().flatten()?;
        Some(assignment.distances[row] / limit)
    }

    fn is_outlier(&self, assignment: &Assignment, row: usize) -> bool {
        self.outlier_score(assignment, row).is_some_and(|score| score > 1.0)
    }

    /// Pairs of clusters, each with the rows on the boundary that are in one and have the other as second choice; in order
    /// of their numbers. None of more than 256 clusters, as the pairs would be many.
    #[must_use]
    pub fn between(&self, assignment: &Assignment, n_segments: usize) -> Vec<([u32; 2], u64)> {
        const MOST_CLUSTERS: usize = 256;
        if n_segments > MOST_CLUSTERS {
            return Vec::new();
        }
        let mut pairs = vec![0u64; n_segments * n_segments];
        for row in (0..assignment.n_rows()).filter(|&row| self.is_boundary(assignment, row) == Some(true)) {
            let (a, b) = (assignment.labels[row] as usize, assignment.runners_up[row] as usize);
            pairs[a.min(b) * n_segments + a.max(b)] += 1;
        }
        let numbered = pairs.into_iter().enumerate().filter(|pair| pair.1 > 0);
        let pair = |place: usize| [(place / n_segments) as u32, (place % n_segments) as u32];
        numbered.map(|(place, n)| (pair(place), n)).collect()
    }

    /// A row's segment, from 0: none for outliers, where they get none.
    #[must_use]
    pub fn segment(&self, assignment: &Assignment, row: usize) -> Option<u32> {
        let is_out = self.unassign_outliers && self.is_outlier(assignment, row);
        (!is_out).then(|| assignment.labels[row])
    }

    /// The segments of all rows, from 0; `n_segments` for rows that get none.
    #[must_use]
    pub fn segments<'a>(&self, assignment: &'a Assignment, n_segments: usize) -> Cow<'a, [u32]> {
        if !self.unassign_outliers {
            return Cow::Borrowed(&assignment.labels);
        }
        let rows = (0..assignment.n_rows()).into_par_iter().with_min_len(1 << 14);
        let segment = |row| self.segment(assignment, row).unwrap_or(n_segments as u32);
        Cow::Owned(rows.map(segment).collect())
    }

    /// Counts boundary rows and outliers among all rows.
    #[must_use]
    pub fn counts(&self, assignment: &Assignment, n_segments: usize) -> ConfidenceCounts {
        let of_row = |mut counts: ConfidenceCounts, row: usize| {
            let segment = assignment.labels[row] as usize;
            counts.n_boundary[segment] += u64::from(self.is_boundary(assignment, row) == Some(true));
            counts.n_outliers[segment] += u64::from(self.is_outlier(assignment, row));
            counts
        };
        let none = || ConfidenceCounts::none(n_segments);
        let rows = (0..assignment.n_rows()).into_par_iter().with_min_len(1 << 14);
        rows.fold(none, of_row).reduce(none, ConfidenceCounts::sum)
    }
}

/// Rows of each segment that sit on a boundary, and that are outliers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfidenceCounts {
    /// On a boundary.
    pub n_boundary: Vec<u64>,
    /// Outliers.
    pub n_outliers: Vec<u64>,
}

impl ConfidenceCounts {
    /// Per segment the rows on a boundary, and those of all, as they may be told.
    #[must_use]
    pub fn told_boundary(&self, sizes: &[u64], min_cell: MinCell) -> (Vec<Count>, Count) {
        told(&self.n_boundary, sizes, min_cell)
    }

    /// Per segment the outliers, and those of all, as they may be told.
    #[must_use]
    pub fn told_outliers(&self, sizes: &[u64], min_cell: MinCell) -> (Vec<Count>, Count) {
        told(&self.n_outliers, sizes, min_cell)
    }

    fn none(n_segments: usize) -> Self {
        Self {
            n_boundary: vec![0; n_segments],
            n_outliers: vec![0; n_segments],
        }
    }

    fn sum(mut self, other: Self) -> Self {
        let add = |own: &mut [u64], more: Vec<u64>| own.iter_mut().zip(more).for_each(|(own, more)| *own += more);
        add(&mut self.n_boundary, other.n_boundary);
        add(&mut self.n_outliers, other.n_outliers);
        self
    }
}

/// Rows of each segment that have something, and of all segments.
fn told(with: &[u64], sizes: &[u64], min_cell: MinCell) -> (Vec<Count>, Count) {
    let rows: Vec<Vec<u64>> = with.iter().zip(sizes).map(|(&n, &size)| vec![n, size - n]).collect();
    let told = min_cell.table(&rows, &min_cell.parts(sizes));
    (told.rows.iter().map(|row| row[0]).collect(), told.all[0])
}

/// How boundaries were found, and how many rows sit on them: for the record of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundaryReport {
    /// Rows with at most this margin sit on a boundary.
    pub margin: f64,
    /// Share of resamples that move a row from which on it sits on a boundary.
    pub least_share_flipped: f64,
    /// Rows of the sample that was drawn again.
    pub n_sample: u64,
    /// How often.
    pub n_resamples: usize,
    /// The sample, from the smallest margins to the largest.
    pub deciles: Vec<BoundaryDecile>,
    /// Share of all rows that sit on a boundary; none where it is not told.
    pub share: Option<f64>,
    /// The same in each segment.
    pub share_of_segments: Vec<Option<f64>>,
}

/// A tenth of the sample's rows, by margin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundaryDecile {
    /// The largest margin in it.
    pub margin: f64,
    /// Rows.
    pub n_rows: u64,
    /// Share of rows and resamples in which the row changed its segment.
    pub share_flipped: f64,
}

/// Per segment, the distance beyond which a row is an outlier: the third quartile of the segment's distances and three
/// times the range between the quartiles. `None` for segments of fewer than [`MIN_CELL`] rows, of which quartiles say
/// nothing. At least one step of the grid, so that a segment of equal rows has a distance too.
#[must_use]
pub fn outlier_distances(assignment: &Assignment, n_segments: usize, grid: Grid) -> Vec<Option<f64>> {
    let counts = assignment.counts(n_segments).into_iter();
    let mut distances: Vec<Vec<f64>> = counts.map(|count| Vec::with_capacity(count as usize)).collect();
    for (&label, &distance) in assignment.labels.iter().zip(&assignment.distances) {
        distances[label as usize].push(distance);
    }
    let fence = |mut distances: Vec<f64>| {
        (distances.len() as u64 >= MIN_CELL).then(|| {
            let [low, high] = [0.25, 0.75].map(|q| quantile(&mut distances, q));
            (high + FENCE * (high - low)).max(grid.step())
        })
    };
    distances.into_par_iter().map(fence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::NO_CLUSTER;

    fn assignment(distances: &[f64], distances_2: &[f64]) -> Assignment {
        let n = distances.len();
        Assignment {
            labels: (0..n as u32).map(|row| row % 2).collect(),
            runners_up: (0..n as u32).map(|row| (row + 1) % 2).collect(),
            distances: distances.to_vec(),
            distances_2: distances_2.to_vec(),
            share_missing: vec![0.0; n],
        }
    }

    #[test]
    fn margins_up_to_the_limit_are_on_the_boundary() {
        let assignment = assignment(&[1.0, 1.0, 1.0, 0.0], &[1.0, 3.0, 4.0, 0.0]);
        let confidence = Confidence {
            boundary_margin: Some(0.5),
            outlier_distances: vec![Some(0.5), None],
            unassign_outliers: false,
        };
        let flags = |confidence: &Confidence| [0, 1, 2, 3].map(|row| confidence.is_boundary(&assignment, row));
        assert_eq!(flags(&confidence), [Some(true), Some(true), Some(false), Some(true)]);
        assert_eq!(flags(&Confidence::default()), [None; 4]);
        let scores = [0, 1, 2].map(|row| confidence.outlier_score(&assignment, row));
        assert_eq!(scores, [Some(2.0), None, Some(2.0)]);
        let counts = confidence.counts(&assignment, 2);
        assert_eq!((counts.n_boundary, counts.n_outliers), (vec![1, 2], vec![2, 0]));
        assert_eq!(*confidence.segments(&assignment, 2), [0, 1, 0, 1]);
        let strict = Confidence {
            unassign_outliers: true,
            ..confidence.clone()
        };
        assert_eq!(*strict.segments(&assignment, 2), [2, 1, 2, 1]);
        assert_eq!(
            [strict.segment(&assignment, 0), strict.segment(&assignment, 3)],
            [None, Some(1)]
        );
        let alone = Assignment {
            runners_up: vec![NO_CLUSTER; 4],
            ..assignment.clone()
        };
        assert_eq!(confidence.is_boundary(&alone, 0), None);
    }

    #[test]
    fn the_fence_is_that_of_the_quartiles() {
        // Segment 0 has the distances 0, 1, .. 12 (quartiles 3 and 9), segment 1 ten equal ones or eleven.
        let grid = Grid::with_step_exp(-3).unwrap();
        let distances: Vec<f64> = (0..26)
            .map(|row| if row % 2 == 0 { f64::from(row / 2) } else { 0.0 })
            .collect();
        let mut few = assignment(&distances, &distances);
        assert_eq!(outlier_distances(&few, 2, grid), [Some(27.0), Some(0.125)]);
        for row in [1, 3, 5] {
            few.labels[row] = 0;
        }
        assert_eq!(outlier_distances(&few, 2, grid)[1], None);
    }
}
