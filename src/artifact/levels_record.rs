//! The segments of segments in `run.json`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::SegmentRecord;
use crate::cells::Count;
use crate::nested::SegmentPath;
use crate::segments::OutcomeFigures;
use crate::select::Strength;

/// What became of the segments that were to be split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelsRecord {
    /// Over id (or row number) and leaf of every row, the leaves counted in order of their paths: see
    /// [`crate::segments::labels_hash`].
    pub paths_hash: String,
    /// Segments in all that are not split.
    pub n_leaves: usize,
    /// A segment before its parts.
    pub splits: Vec<SplitRecord>,
}

/// A segment that was to be split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitRecord {
    /// The segment.
    pub path: SegmentPath,
    /// How far the data speaks for the number of parts; none where it was given, or nothing could be tried.
    pub strength: Option<Strength>,
    /// Why so many parts, or why none.
    pub reasons: Vec<String>,
    /// Share of the scatter of its rows that lies between the parts; none where it stays whole.
    pub share_explained: Option<f64>,
    /// Inertia of the parts in units of the scaled features.
    pub inertia: Option<f64>,
    /// The same without rounding, as [`super::RunRecord::inertia_exact`].
    pub inertia_exact: Option<String>,
    /// Iterations over its rows.
    pub n_iter: usize,
    /// The parts in order of their number; none where it stays whole.
    pub parts: Vec<PartRecord>,
}

/// A segment of a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRecord {
    /// Where it stands.
    pub path: SegmentPath,
    /// Its name, drafted from what sets it apart within the segment that it is part of.
    pub name: String,
    /// Rows in it.
    pub n_rows: u64,
    /// Share of all rows.
    pub share: f64,
    /// Its weight in units of the weight column; the number of rows where the data has no weights.
    pub weight: f64,
    /// Outcomes in it, in the order of those of the run.
    pub outcomes: Vec<OutcomeFigures>,
}

impl LevelsRecord {
    /// Everything that the types do not rule out.
    pub(super) fn check(&self, segments: &[SegmentRecord], n_outcomes: usize) -> Result<(), String> {
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if self.paths_hash.len() != 32 || !self.paths_hash.bytes().all(is_hex) {
            return Err("paths_hash is not 32 hexadecimal digits".into());
        }
        let tops = (1..).map(SegmentPath::top);
        let mut leaves: HashMap<SegmentPath, Count> = tops.zip(segments.iter().map(|segment| segment.n_rows)).collect();
        for split in &self.splits {
            let path = &split.path;
            if split.parts.is_empty() {
                if !leaves.contains_key(path) {
                    return Err(format!("segment {path} is said to stay whole, but is no leaf"));
                }
                continue;
            }
            let n_rows = leaves
                .remove(path)
                .ok_or_else(|| format!("segment {path} is split, but is no leaf"))?;
            let counted = split
                .parts
                .iter()
                .try_fold(0u64, |sum, part| sum.checked_add(part.n_rows));
            let [low, high] = n_rows.bounds();
            if !counted.is_some_and(|counted| (low..=high).contains(&counted)) {
                return Err(format!("the parts of segment {path} do not hold its rows"));
            }
            for (part, number) in split.parts.iter().zip(1..) {
                if part.path.parent().as_ref() != Some(path) || part.path.number() != number {
                    return Err(format!(
                        "segment {} stands among the parts of segment {path}",
                        part.path
                    ));
                }
                if !(part.share.is_finite() && part.weight.is_finite()) || part.outcomes.len() != n_outcomes {
                    return Err(format!("segment {}: its figures are not those of a part", part.path));
                }
                leaves.insert(part.path.clone(), Count::Exact(part.n_rows));
            }
            let exact = split
                .inertia_exact
                .as_ref()
                .map(|digits| digits.parse::<u128>().is_ok());
            if exact != Some(true) || !split.inertia.is_some_and(f64::is_finite) {
                return Err(format!("segment {path}: the inertia of its parts is no number"));
            }
        }
        match leaves.len() == self.n_leaves {
            true => Ok(()),
            false => Err(format!("there are {} leaves, not {}", leaves.len(), self.n_leaves)),
        }
    }

    /// Every segment with its parts, from the first level down: its depth, what was tried of it, and itself where it is
    /// below the first level.
    pub fn walk<'r>(&'r self, segments: &'r [SegmentRecord], visit: &mut dyn FnMut(&SegmentPath, Visited<'r>)) {
        for segment in segments {
            let path = SegmentPath::top(segment.segment.unsigned_abs().max(1));
            visit(&path, Visited::Top(segment, self.of(&path)));
            self.walk_parts(&path, visit);
        }
    }

    fn walk_parts<'r>(&'r self, path: &SegmentPath, visit: &mut dyn FnMut(&SegmentPath, Visited<'r>)) {
        for part in self.of(path).into_iter().flat_map(|split| &split.parts) {
            visit(&part.path, Visited::Part(part, self.of(&part.path)));
            self.walk_parts(&part.path, visit);
        }
    }

    /// What was tried of a segment; where that was more than once, the last time.
    #[must_use]
    pub fn of(&self, path: &SegmentPath) -> Option<&SplitRecord> {
        self.splits.iter().rev().find(|split| split.path == *path)
    }
}

/// A segment, and what became of it where it was to be split.
#[derive(Debug, Clone, Copy)]
pub enum Visited<'r> {
    /// Of the first level.
    Top(&'r SegmentRecord, Option<&'r SplitRecord>),
    /// Below.
    Part(&'r PartRecord, Option<&'r SplitRecord>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(segment: i32, n_rows: u64) -> SegmentRecord {
        SegmentRecord {
            segment,
            name: String::new(),
            name_is_draft: true,
            n_rows: Count::Exact(n_rows),
            share: Some(0.5),
            weight: Some(n_rows as f64),
        }
    }

    fn part(path: &str, n_rows: u64) -> PartRecord {
        PartRecord {
            path: path.parse().unwrap(),
            name: "Low <x>".into(),
            n_rows,
            share: 0.1,
            weight: 1.0,
            outcomes: Vec::new(),
        }
    }

    fn split(path: &str, parts: Vec<PartRecord>) -> SplitRecord {
        SplitRecord {
            path: path.parse().unwrap(),
            strength: None,
            reasons: Vec::new(),
            share_explained: Some(0.5),
            inertia: Some(1.5),
            inertia_exact: Some("15".into()),
            n_iter: 1,
            parts,
        }
    }

    fn levels() -> LevelsRecord {
        LevelsRecord {
            paths_hash: "0123456789abcdef".repeat(2),
            n_leaves: 4,
            splits: vec![
                split("2", vec![part("2.1", 3), part("2.2", 1)]),
                split("1", Vec::new()),
                split("2.1", vec![part("2.1.1", 2), part("2.1.2", 1)]),
            ],
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let segments = [segment(1, 6), segment(2, 4)];
        assert_eq!(levels().check(&segments, 0), Ok(()));
        let text = serde_json::to_string(&levels()).unwrap();
        assert_eq!(serde_json::from_str::<LevelsRecord>(&text).unwrap(), levels());
        type Change = (&'static str, fn(&mut LevelsRecord));
        let changes: [Change; 8] = [
            ("hash", |levels| levels.paths_hash.push('0')),
            ("leaves", |levels| levels.n_leaves = 5),
            ("order", |levels| levels.splits.swap(0, 2)),
            ("twice", |levels| levels.splits[2] = levels.splits[0].clone()),
            ("rows", |levels| levels.splits[0].parts[1].n_rows = 2),
            ("another's part", |levels| {
                levels.splits[0].parts[1].path = "1.2".parse().unwrap()
            }),
            ("inertia", |levels| levels.splits[0].inertia_exact = Some("-1".into())),
            ("whole, but no leaf", |levels| {
                levels.splits[1].path = "3".parse().unwrap()
            }),
        ];
        for (what, change) in changes {
            let mut changed = levels();
            change(&mut changed);
            assert!(changed.check(&segments, 0).is_err(), "{what}");
        }
        assert!(levels().check(&segments, 1).is_err(), "outcomes");
    }

    #[test]
    fn a_walk_comes_to_every_segment_in_order() {
        let segments = [segment(1, 6), segment(2, 4)];
        let mut visited = Vec::new();
        levels().walk(&segments, &mut |path, at| {
            let n_rows = match at {
                Visited::Top(segment, _) => segment.n_rows,
                Visited::Part(part, _) => Count::Exact(part.n_rows),
            };
            visited.push((path.to_string(), n_rows));
        });
        let told: Vec<(&str, u64)> = visited.iter().map(|(path, n)| (path.as_str(), n.about())).collect();
        assert_eq!(
            told,
            [("1", 6), ("2", 4), ("2.1", 3), ("2.1.1", 2), ("2.1.2", 1), ("2.2", 1)]
        );
    }
}
