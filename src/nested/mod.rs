//! Layer 5: segments of segments: which are split, into how many, and which leaf every row belongs to.
//!
//! A segment is split on its own rows as they were prepared for the whole, so one preparation serves all levels, and a
//! row is scored by going down: to the nearest centroid of the first level, then to the nearest of that segment's own.

mod describe;
mod grow;
mod path;

pub use describe::{Node, describe};
pub use grow::{Grower, Grown, Tried};
pub use path::{MAX_DEPTH, SegmentPath};

use std::collections::HashMap;
use std::ops::RangeInclusive;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::cells::Count;
use crate::error::{Error, Result};
use crate::kmeans::MAX_CLUSTERS;
use crate::partial::ClusterPartial;
use crate::tiles::{Centroids, TileSet};

/// Numbers of segments that are tried below the first level, where none is named.
pub const AUTO: RangeInclusive<usize> = 2..=6;

/// The segments of a segment: all that scoring needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The segment that was split.
    pub path: SegmentPath,
    /// One per part, in order of their number.
    pub centroids: Centroids,
    /// Rows of the training data in each.
    pub segment_counts: Vec<u64>,
    /// Exact sums and weights, as [`crate::model::Model::sums`].
    pub sums: Option<ClusterPartial>,
}

/// Which segments are to be split, and into how many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitRule {
    /// The segment; where there is none, all of the level that the rules before have come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<SegmentPath>,
    /// Least and most parts: one number where both are equal, else the data has to speak for one of them.
    pub k: [usize; 2],
    /// Least share of the segment's weight in a part, where the number is to be found.
    pub min_share: f64,
}

impl SplitRule {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        let [least, most] = self.k;
        if least < 2 || most < least || most > MAX_CLUSTERS {
            return Err(format!(
                "a segment is split into 2 parts at least, and {MAX_CLUSTERS} at most"
            ));
        }
        if most - least >= 100 {
            return Err("at most 100 numbers of parts are tried".into());
        }
        if !(0.0..=1.0).contains(&self.min_share) {
            return Err("the least share of a part is not from 0 to 1".into());
        }
        Ok(())
    }
}

/// Checks rules, and that they do not go deeper than a path reaches.
///
/// # Errors
/// What is wrong, in words.
pub fn check_rules(rules: &[SplitRule]) -> Result<(), String> {
    rules.iter().try_for_each(SplitRule::check)?;
    let n_levels = 1 + rules.iter().filter(|rule| rule.path.is_none()).count();
    match n_levels <= MAX_DEPTH {
        true => Ok(()),
        false => Err(format!("at most {MAX_DEPTH} levels, not {n_levels}")),
    }
}

/// The leaf of every row: the segment that it is in and that is not split any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// All leaves, sorted.
    pub leaves: Vec<SegmentPath>,
    /// Per row, its leaf's place among them.
    pub of_row: Vec<u32>,
}

impl Paths {
    /// Rows in each leaf.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.leaves.len()];
        self.of_row.iter().for_each(|&leaf| counts[leaf as usize] += 1);
        counts
    }

    /// The segments that stand `depth` numbers deep, sorted, and per row its own as a place among them; their number
    /// where the row's leaf is not so deep.
    #[must_use]
    pub fn at_depth(&self, depth: usize) -> (Vec<SegmentPath>, Vec<u32>) {
        let deep = |leaf: &&SegmentPath| leaf.depth() >= depth;
        let mut nodes: Vec<SegmentPath> = self
            .leaves
            .iter()
            .filter(deep)
            .map(|leaf| leaf.at_depth(depth))
            .collect();
        nodes.dedup();
        let place = |leaf: &SegmentPath| match leaf.depth() >= depth {
            true => nodes.partition_point(|node| *node < leaf.at_depth(depth)) as u32,
            false => nodes.len() as u32,
        };
        let places: Vec<u32> = self.leaves.iter().map(place).collect();
        let of_row = self.of_row.par_iter().map(|&leaf| places[leaf as usize]).collect();
        (nodes, of_row)
    }

    /// Numbers in the deepest path.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.leaves.iter().map(SegmentPath::depth).max().unwrap_or(1)
    }
}

/// Rows on their way down.
struct Descent {
    nodes: Vec<SegmentPath>,
    is_split: Vec<bool>,
    places: HashMap<SegmentPath, usize>,
    of_row: Vec<u32>,
}

impl Descent {
    /// All rows in the segments of the first level.
    fn new(labels: &[u32], n_segments: usize) -> Self {
        let nodes: Vec<SegmentPath> = (1..=n_segments as u32).map(SegmentPath::top).collect();
        Self {
            is_split: vec![false; n_segments],
            places: nodes.iter().cloned().zip(0..).collect(),
            nodes,
            of_row: labels.to_vec(),
        }
    }

    /// The rows of a leaf, rising; none where it is no leaf.
    fn rows(&self, path: &SegmentPath) -> Option<Vec<usize>> {
        let node = *self.places.get(path).filter(|&&node| !self.is_split[node])?;
        let rows = self.of_row.par_iter().enumerate();
        Some(
            rows.filter(|&(_, &of)| of as usize == node)
                .map(|(row, _)| row)
                .collect(),
        )
    }

    /// Splits a leaf; `labels` has the part of each of its rows, from 0.
    fn split(&mut self, path: &SegmentPath, rows: &[usize], labels: &[u32], n_parts: usize) {
        let first = self.nodes.len();
        for part in 1..=n_parts as u32 {
            let child = path.child(part);
            self.places.insert(child.clone(), self.nodes.len());
            self.nodes.push(child);
            self.is_split.push(false);
        }
        self.is_split[self.places[path]] = true;
        for (&row, &label) in rows.iter().zip(labels) {
            self.of_row[row] = first as u32 + label;
        }
    }

    /// The leaves at one depth, sorted.
    fn leaves_at(&self, depth: usize) -> Vec<SegmentPath> {
        let leaves = self
            .nodes
            .iter()
            .zip(&self.is_split)
            .filter(|&(node, split)| !split && node.depth() == depth);
        let mut leaves: Vec<SegmentPath> = leaves.map(|(node, _)| node.clone()).collect();
        leaves.sort();
        leaves
    }

    fn end(self) -> Paths {
        let leaves = self.nodes.iter().zip(&self.is_split).filter(|&(_, split)| !split);
        let mut leaves: Vec<SegmentPath> = leaves.map(|(node, _)| node.clone()).collect();
        leaves.sort();
        let place = |node: &SegmentPath| leaves.binary_search(node).unwrap_or_default() as u32;
        let places: Vec<u32> = self.nodes.iter().map(place).collect();
        let mut of_row = self.of_row;
        of_row.par_iter_mut().for_each(|node| *node = places[*node as usize]);
        Paths { leaves, of_row }
    }
}

/// What going down told besides the paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Descended {
    /// Rows that needed exact arithmetic; diagnostic.
    pub n_doubtful: u64,
    /// Rows whose labels the host found again, see [`crate::backend::audit`].
    pub n_audited: u64,
    /// What the device has to say.
    pub notices: Vec<String>,
}

/// The leaf of every row of `data`, whose segments on the first level are `labels`, from 0.
///
/// # Errors
/// Those of the backend, [`Error::OutOfMemory`]; [`Error::Internal`] where a split is of no leaf.
pub fn descend(
    splits: &[Split],
    n_segments: usize,
    data: &TileSet,
    labels: &[u32],
    backend: &dyn Backend,
) -> Result<(Paths, Descended)> {
    let mut descent = Descent::new(labels, n_segments);
    let mut told = Descended::default();
    for split in splits {
        let rows = descent.rows(&split.path);
        let rows = rows.ok_or_else(|| Error::Internal("a split is of no leaf of the tree".into()))?;
        let n_parts = split.centroids.n_clusters();
        let labels = if rows.is_empty() {
            Vec::new()
        } else {
            let subset = data.subset(&rows)?;
            let mut session = backend.open(&subset, n_parts)?;
            let nearest = session.two_nearest(&split.centroids)?;
            told.n_doubtful += nearest.n_doubtful;
            told.n_audited += nearest.n_audited;
            told.notices.extend(session.notices());
            nearest.labels
        };
        descent.split(&split.path, &rows, &labels, n_parts);
    }
    told.notices.dedup();
    Ok((descent.end(), told))
}

/// Refuses a segment that cannot be split, because it is not there or is split already.
///
/// # Errors
/// [`Error::InvalidParam`].
pub fn check_leaf(splits: &[Split], n_segments: usize, path: &SegmentPath) -> Result<()> {
    let mut descent = Descent::new(&[], n_segments);
    for split in splits.iter().filter(|split| split.path.depth() < MAX_DEPTH) {
        if descent.rows(&split.path).is_some() {
            descent.split(&split.path, &[], &[], split.centroids.n_clusters());
        }
    }
    match descent.rows(path) {
        Some(_) if path.depth() < MAX_DEPTH => Ok(()),
        Some(_) => Err(Error::InvalidParam {
            param: "drill",
            value: path.to_string(),
            reason: format!("paths have at most {MAX_DEPTH} numbers"),
        }),
        None => Err(grow::no_leaf(path, &descent)),
    }
}

/// Whether splits make a tree over `segment_counts` rows in the segments of the first level: each of a leaf, its parts
/// holding as many rows as it.
///
/// # Errors
/// What is wrong, in words.
pub fn check_splits(splits: &[Split], segment_counts: &[Count]) -> Result<(), String> {
    let tops = (1..).map(SegmentPath::top).zip(segment_counts.iter().copied());
    let mut leaves: HashMap<SegmentPath, Count> = tops.collect();
    for split in splits {
        let path = &split.path;
        let n_rows = leaves
            .remove(path)
            .ok_or_else(|| format!("segment {path} is split, but is no leaf"))?;
        let counted = split.segment_counts.iter().try_fold(0u64, |sum, &n| sum.checked_add(n));
        let [low, high] = n_rows.bounds();
        if !counted.is_some_and(|counted| (low..=high).contains(&counted)) {
            return Err(format!("the parts of segment {path} do not hold its rows"));
        }
        if path.depth() == MAX_DEPTH {
            return Err(format!("segment {path} is too deep to be split"));
        }
        leaves.extend(
            (1..)
                .map(|part| path.child(part))
                .zip(split.segment_counts.iter().map(|&n| Count::Exact(n))),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::scalar::ScalarBackend;

    fn path(text: &str) -> SegmentPath {
        text.parse().unwrap()
    }

    fn split(of: &str, centroids: &[i32], counts: &[u64]) -> Split {
        Split {
            path: path(of),
            centroids: Centroids::on_rows(1, centroids),
            segment_counts: counts.to_vec(),
            sums: None,
        }
    }

    #[test]
    fn rows_go_down_to_their_leaves() {
        let rows = [0.0, 10.0, 100.0, 110.0, 160.0, 1.0, 163.0];
        let data = TileSet::from_rows(&rows, 1, None, usize::MAX);
        let labels = [0, 0, 1, 1, 1, 0, 1];
        let splits = [
            split("2", &[105, 160], &[2, 2]),
            split("2.2", &[160, 163], &[1, 1]),
            split("1", &[0, 10], &[2, 1]),
        ];
        let (paths, _) = descend(&splits, 2, &data, &labels, &ScalarBackend).unwrap();
        let told: Vec<String> = paths
            .of_row
            .iter()
            .map(|&leaf| paths.leaves[leaf as usize].to_string())
            .collect();
        assert_eq!(told, ["1.1", "1.2", "2.1", "2.1", "2.2.1", "1.1", "2.2.2"]);
        assert_eq!(paths.counts(), [2, 1, 2, 1, 1]);
        assert_eq!(paths.depth(), 3);
        let (nodes, of_row) = paths.at_depth(2);
        assert_eq!(nodes, ["1.1", "1.2", "2.1", "2.2"].map(path));
        assert_eq!(of_row, [0, 1, 2, 2, 3, 0, 3]);
        let (nodes, of_row) = paths.at_depth(3);
        assert_eq!((nodes.len(), of_row), (2, vec![2, 2, 2, 2, 0, 2, 1]));
        // A leaf without any of these rows.
        let (paths, _) = descend(&splits[..2], 2, &data, &[0; 7], &ScalarBackend).unwrap();
        assert_eq!(paths.counts(), [7, 0, 0, 0]);
    }

    #[test]
    fn splits_that_make_no_tree_are_refused() {
        let good = [split("1", &[0, 1], &[5, 4]), split("1.2", &[0, 1], &[3, 1])];
        assert_eq!(check_splits(&good, &[9, 2].map(Count::Exact)), Ok(()));
        let refused = |splits: &[Split]| check_splits(splits, &[9, 2].map(Count::Exact)).is_err();
        assert!(refused(&[good[1].clone(), good[0].clone()]), "a part before the whole");
        assert!(refused(&[good[0].clone(), good[0].clone()]), "twice");
        assert!(refused(&[split("3", &[0, 1], &[0, 0])]), "no such segment");
        assert!(refused(&[split("1", &[0, 1], &[5, 5])]), "other rows");
        assert!(refused(&[split("1", &[0, 1], &[u64::MAX, 10])]), "overflow");
        assert!(
            descend(
                &[good[1].clone()],
                2,
                &TileSet::from_rows(&[0.0], 1, None, 1),
                &[0],
                &ScalarBackend
            )
            .is_err()
        );
    }

    #[test]
    fn only_leaves_can_be_split() {
        let splits = [split("2", &[0, 1], &[1, 1])];
        let told = |of: &str| check_leaf(&splits, 3, &path(of)).map_err(|error| error.to_string());
        assert_eq!([told("1"), told("2.2")], [Ok(()), Ok(())]);
        assert_eq!(told("2").unwrap_err(), "drill = 2: this segment is split already");
        let missing = told("2.3").unwrap_err();
        assert_eq!(
            missing,
            "drill = 2.3: there is no such segment; there are 1, 2.1, 2.2, 3"
        );
    }

    #[test]
    fn rules_are_held_against_their_ranges() {
        let rule = |k, min_share| SplitRule {
            path: None,
            k,
            min_share,
        };
        assert!(check_rules(&[rule([2, 6], 0.01), rule([3, 3], 0.0)]).is_ok());
        for wrong in [
            rule([1, 1], 0.0),
            rule([3, 2], 0.0),
            rule([2, 200], 0.0),
            rule([2, 3], f64::NAN),
        ] {
            assert!(check_rules(&[wrong]).is_err());
        }
        assert!(check_rules(&vec![rule([2, 2], 0.0); MAX_DEPTH]).is_err());
    }
}
