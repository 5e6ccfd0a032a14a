//! `profile.json`: what the reports of a run are drawn from, so that they can be drawn again without the data. Like all that
//! is told of segments, it holds no figure of few rows.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::json;
use super::{OutFile, names};
use crate::cells::Count;
use crate::error::{Error, Result};
use crate::features::Preparation;
use crate::segments::{FeatureProfile, Profile, SegmentMap};

const FORMAT: &str = "kohort-profile";
const VERSION: u64 = 1;

/// The segments and the features that reports tell of, as `profile.json` holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileRecord {
    /// Always `kohort-profile`.
    pub format: String,
    /// Version of this format.
    pub version: u64,
    /// Over id and segment of every row: that of the run it belongs to.
    pub labels_hash: String,
    /// Columns that were clustered on, told of or not.
    pub n_columns: usize,
    /// How the features that are told of were prepared.
    pub preparation: Preparation,
    /// The profile of these features, in the largest segments.
    pub profile: Profile,
    /// The map of all segments; none where there are too many, or one.
    pub map: Option<SegmentMap>,
    /// Per segment that is told of, the one that is second choice of most of its rows.
    pub neighbours: Vec<Option<Neighbour>>,
    /// Pairs of segments with rows between them, most rows first.
    pub boundaries: Vec<Boundary>,
}

/// The segment that is second choice of most rows of another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// Its number, from 1.
    pub segment: i32,
    /// The rows whose second choice it is.
    pub n_rows: Count,
}

/// Two segments, and the rows that sit between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boundary {
    /// Their numbers, from 1, rising.
    pub segments: [i32; 2],
    /// Rows on the boundary that are in one, with the other as second choice.
    pub n_rows: Count,
    /// The features that lie between the two: their place, and their part of the squared distance of the centroids, the
    /// largest first.
    pub apart: Vec<(usize, f64)>,
}

impl ProfileRecord {
    /// What [`ProfileRecord::format`] holds.
    pub const FORMAT: &'static str = FORMAT;
    /// What [`ProfileRecord::version`] holds.
    pub const VERSION: u64 = VERSION;

    /// Writes the record.
    ///
    /// # Errors
    /// Those of writing; [`Error::Internal`] where the record contradicts itself.
    pub fn write(&self, out: &mut OutFile) -> Result<()> {
        self.check()
            .map_err(|reason| Error::Internal(format!("the record of the profile is wrong: {reason}")))?;
        json::write(out, self)
    }

    /// Reads a record from its file, or from the run directory that holds it.
    ///
    /// # Errors
    /// [`Error::ArtifactVersion`] for a version this program does not know, [`Error::ArtifactInvalid`] for anything
    /// else that is not as it must be, [`Error::NotFound`] and [`Error::Io`].
    pub fn load(path: &Path) -> Result<Self> {
        let path = json::file_in(path, names::PROFILE_RECORD);
        let record: Self = json::read(&path, FORMAT, VERSION)?;
        record.check().map_err(|reason| json::invalid(&path, reason))?;
        Ok(record)
    }

    /// Everything that the types do not rule out.
    fn check(&self) -> Result<(), String> {
        if (self.format.as_str(), self.version) != (FORMAT, VERSION) {
            return Err("format or version are not this program's".into());
        }
        self.preparation.validate_told()?;
        let profile = &self.profile;
        let n_features = self.preparation.n_features();
        let segments = || profile.segments.iter().map(|segment| &segment.features);
        if !segments()
            .chain([&profile.overall])
            .all(|features| features.len() == n_features)
            || profile.edges.len() != n_features
        {
            return Err(format!("not every segment has figures of {n_features} features"));
        }
        let in_order = |(segment, number): (&crate::segments::SegmentProfile, i32)| segment.segment == number;
        if !profile.segments.iter().zip(1..).all(in_order) || self.neighbours.len() != profile.segments.len() {
            return Err("the segments are not in order".into());
        }
        let fits = |(feature, edges): (&FeatureProfile, &Vec<f64>)| {
            feature.histogram.len() == if edges.is_empty() { 0 } else { edges.len() + 1 }
        };
        if !segments()
            .chain([&profile.overall])
            .all(|features| features.iter().zip(&profile.edges).all(fits))
        {
            return Err("a histogram has another number of bins than borders give".into());
        }
        let counts = profile.segments.iter().map(|segment| segment.count);
        let of_features = segments()
            .flatten()
            .flat_map(|f| f.histogram.iter().copied().chain([f.count]));
        let between = self.boundaries.iter().map(|boundary| boundary.n_rows);
        let beside = self.neighbours.iter().flatten().map(|neighbour| neighbour.n_rows);
        if !counts
            .chain(of_features)
            .chain(between)
            .chain(beside)
            .all(Count::is_valid)
        {
            return Err("a number of rows is more at least than at most".into());
        }
        let axes = self.map.iter().flat_map(|map| map.axes.iter().flatten());
        let named = self.boundaries.iter().flat_map(|boundary| &boundary.apart).chain(axes);
        if !{ named }.all(|(feature, part)| *feature < n_features && part.is_finite()) {
            return Err("it names a feature that is not there".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::artifact::write_atomic;
    use crate::cells::MinCell;
    use crate::model::fixture::{Cut, customers, preparation};
    use crate::segments::profile;

    fn record() -> ProfileRecord {
        let (table, n) = (customers(200), 200);
        let preparation = preparation(&table);
        let labels: Vec<u32> = (0..n).map(|row| row % 2).collect();
        let profile = profile(&Cut(table, 200), &preparation, &labels, 2, &[], MinCell::default()).unwrap();
        ProfileRecord {
            format: FORMAT.into(),
            version: VERSION,
            labels_hash: "0".repeat(32),
            n_columns: 2,
            preparation,
            profile,
            map: Some(SegmentMap {
                points: vec![[0.5, 1.0], [-0.5, -1.0]],
                shares: [0.75, 0.25],
                axes: [vec![(0, 0.5)], vec![(1, -1.0)]],
            }),
            neighbours: vec![
                Some(Neighbour {
                    segment: 2,
                    n_rows: Count::Between(1, 10),
                }),
                None,
            ],
            boundaries: vec![Boundary {
                segments: [1, 2],
                n_rows: Count::Exact(40),
                apart: vec![(1, 0.75), (0, 0.25)],
            }],
        }
    }

    fn load_changed(change: impl FnOnce(&mut ProfileRecord)) -> Result<ProfileRecord> {
        let mut record = record();
        change(&mut record);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.json");
        fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
        ProfileRecord::load(&path)
    }

    #[test]
    fn a_record_reads_back_equal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(names::PROFILE_RECORD);
        write_atomic(&path, false, |out| record().write(out)).unwrap();
        assert_eq!(ProfileRecord::load(folder.path()).unwrap(), record());
        assert_eq!(load_changed(|_| {}).unwrap(), record());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        type Change = (&'static str, fn(&mut ProfileRecord));
        let changes: [Change; 11] = [
            ("format", |record| record.format = "kohort-run".into()),
            ("no features", |record| record.preparation.features.clear()),
            ("short", |record| record.profile.segments[1].features.truncate(1)),
            ("short overall", |record| record.profile.overall.truncate(1)),
            ("edges", |record| record.profile.edges.truncate(1)),
            ("bins", |record| record.profile.edges[0].push(1e9)),
            ("order", |record| record.profile.segments.swap(0, 1)),
            ("neighbours", |record| record.neighbours.truncate(1)),
            ("bounds", |record| record.boundaries[0].n_rows = Count::Between(3, 2)),
            ("feature", |record| record.boundaries[0].apart[0].0 = 2),
            ("axis", |record| record.map.as_mut().unwrap().axes[0][0].0 = 9),
        ];
        for (what, change) in changes {
            assert!(
                matches!(load_changed(change), Err(Error::ArtifactInvalid { .. })),
                "{what}"
            );
        }
        assert!(matches!(
            load_changed(|record| record.version = 2),
            Err(Error::ArtifactVersion { found: 2, .. })
        ));
    }
}
