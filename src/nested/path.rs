//! The name of a segment of segments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most numbers in a path.
pub const MAX_DEPTH: usize = 8;

/// `2.1.3`: segment 3 of segment 1 of segment 2. Sorted as a reader expects: 2, 2.1, 2.10, 3.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SegmentPath(Vec<u32>);

impl SegmentPath {
    /// A segment of the first level, from 1.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    pub fn top(segment: u32) -> Self {
        assert!(segment > 0, "segments are numbered from 1");
        Self(vec![segment])
    }

    /// Segment number `segment`, from 1, of this one.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    pub fn child(&self, segment: u32) -> Self {
        assert!(segment > 0, "segments are numbered from 1");
        Self(self.0.iter().copied().chain([segment]).collect())
    }

    /// The segment that holds this one; none of the first level.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        (self.0.len() > 1).then(|| Self(self.0[..self.0.len() - 1].to_vec()))
    }

    /// How many numbers it has.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Its first number: the segment of the first level that it lies in.
    #[must_use]
    pub fn segment(&self) -> u32 {
        self.0[0]
    }

    /// Its last number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.0[self.0.len() - 1]
    }

    /// What it lies in on level `depth`; itself, where it is no deeper.
    #[must_use]
    pub fn at_depth(&self, depth: usize) -> Self {
        Self(self.0[..depth.clamp(1, self.0.len())].to_vec())
    }
}

impl fmt::Display for SegmentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, number) in self.0.iter().enumerate() {
            let dot = if at > 0 { "." } else { "" };
            write!(f, "{dot}{number}")?;
        }
        Ok(())
    }
}

impl FromStr for SegmentPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
            digits.then(|| text.parse().ok()).flatten()
        };
        let numbers: Option<Vec<u32>> = text.split('.').map(number).collect();
        let numbers = numbers.filter(|numbers| numbers.len() <= MAX_DEPTH);
        numbers
            .map(Self)
            .ok_or_else(|| format!("expected a segment such as 2 or 2.1.3, of at most {MAX_DEPTH} numbers"))
    }
}

impl TryFrom<String> for SegmentPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SegmentPath> for String {
    fn from(path: SegmentPath) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_are_written_and_sorted_by_number() {
        let path: SegmentPath = "2.10.3".parse().unwrap();
        assert_eq!(path.to_string(), "2.10.3");
        assert_eq!((path.segment(), path.number(), path.depth()), (2, 3, 3));
        assert_eq!(path.parent().unwrap(), SegmentPath::top(2).child(10));
        assert_eq!(path.at_depth(1), SegmentPath::top(2));
        assert_eq!(path.at_depth(9), path);
        assert_eq!(SegmentPath::top(2).parent(), None);
        let mut paths: Vec<SegmentPath> = ["3", "2.10", "2", "2.9", "2.9.1"].map(|p| p.parse().unwrap()).to_vec();
        paths.sort();
        let sorted: Vec<String> = paths.iter().map(SegmentPath::to_string).collect();
        assert_eq!(sorted, ["2", "2.9", "2.9.1", "2.10", "3"]);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "0",
            "2.",
            ".2",
            "2..1",
            "02",
            "2.-1",
            "+2",
            "a",
            "1.2.3.4.5.6.7.8.9",
            "4294967296",
        ] {
            assert!(text.parse::<SegmentPath>().is_err(), "{text}");
            assert!(
                serde_json::from_str::<SegmentPath>(&format!("{text:?}")).is_err(),
                "{text}"
            );
        }
    }
}
