//! `model.json`: a model as a readable, versioned, checksummed file.

use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::json::{self, MAX_BYTES};
use super::{OutFile, names};
use crate::cells::Count;
use crate::error::{Error, Result};
use crate::features::Preparation;
use crate::grid::{CENTROID_SCALE, MAX_GRID};
use crate::model::Model;
use crate::nested::{SegmentPath, Split, check_splits};
use crate::partial::ClusterPartial;
use crate::segments::{Confidence, SegmentName, adds_up};
use crate::tiles::Centroids;

const FORMAT: &str = "kohort-model";
const VERSION: u64 = 1;
/// What a centroid coordinate takes in the file at most: an `i32`, an `f64` and two separators.
const COORDINATE_BYTES: u64 = 11 + 24 + 4;
/// What a sum takes at most: as many digits as [`adds_up`] lets it have, a sign, quotes and separators.
const SUM_BYTES: u64 = 26 + 5;
/// What a feature takes in the file besides its coordinates and its name, levels of text included.
const FEATURE_BYTES: u64 = 1 << 12;
/// Bytes of a value and its rank, at most.
const RANK_BYTES: u64 = 2 * 26;

/// Most characters of a segment's name, drafts included.
const MOST_NAME_CHARS: usize = 1000;

/// The file, field by field. The checksum is over the compact JSON of all other fields.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    format: String,
    version: u64,
    kohort_version: String,
    id_columns: Vec<String>,
    weight_column: Option<String>,
    preparation: Preparation,
    /// Rows with at most this margin sit on a boundary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boundary_margin: Option<f64>,
    /// Whether outliers get no segment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unassign_outliers: bool,
    segments: Vec<SegmentEntry>,
    /// Segments that are split again, each before its parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    splits: Vec<SplitEntry>,
    checksum: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitEntry {
    /// The segment that is split.
    path: SegmentPath,
    segments: Vec<SegmentEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentEntry {
    /// From 1.
    segment: u64,
    /// What it is called, and whether that is a draft.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default = "yes", skip_serializing_if = "is_so")]
    name_is_draft: bool,
    /// As it may be told.
    n_rows: Count,
    /// Per feature, in units of the grid's step / 2^8: what counts.
    centroid: Vec<i32>,
    /// Per feature, in original units: for people.
    centroid_in_original_units: Vec<f64>,
    /// Rows farther away than this are outliers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outlier_distance: Option<f64>,
    /// The rows' integer weights together; the rows, where there are no weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u64>,
    /// Per feature, the rows' grid values times their weights, as decimal digits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sums: Vec<String>,
}

fn yes() -> bool {
    true
}

fn is_so(flag: &bool) -> bool {
    *flag
}

/// Refuses a model too large for its file, before any work is done; `n_ranks` counts the points of all
/// [`crate::features::Ranks`].
///
/// # Errors
/// [`Error::InvalidParam`] with both sizes.
pub fn check_size(n_features: usize, n_clusters: usize, n_ranks: usize) -> Result<()> {
    let needed =
        size(n_features, n_clusters, COORDINATE_BYTES).saturating_add((n_ranks as u64).saturating_mul(RANK_BYTES));
    if needed > MAX_BYTES {
        return Err(Error::InvalidParam {
            param: "n_clusters",
            value: n_clusters.to_string(),
            reason: format!(
                "a model of {n_clusters} centroids x {n_features} features takes {needed} bytes, at most {MAX_BYTES} are allowed"
            ),
        });
    }
    Ok(())
}

fn size(n_features: usize, n_clusters: usize, coordinate_bytes: u64) -> u64 {
    let coordinates = (n_features as u64).saturating_mul(n_clusters as u64);
    coordinates
        .saturating_mul(coordinate_bytes)
        .saturating_add((n_features as u64).saturating_mul(FEATURE_BYTES))
}

/// Writes a model; without the sums of its segments, where they would make the file too large.
///
/// # Errors
/// Those of [`check_size`] and of writing; [`Error::Internal`] where the model contradicts itself.
pub fn write(out: &mut OutFile, model: &Model) -> Result<()> {
    let mut file = file_of(model)?;
    check(&file).map_err(|reason| Error::Internal(format!("the model to be written is wrong: {reason}")))?;
    file.checksum = checksum(&mut file)?;
    json::write(out, &file)
}

/// 32 hexadecimal digits that stand for all that decides a row's segment: neither the names of the segments nor the
/// version of the program are in them.
///
/// # Errors
/// As [`write()`].
pub fn hash(model: &Model) -> Result<String> {
    let mut file = file_of(model)?;
    file.kohort_version.clear();
    for segment in &mut file.segments {
        segment.name.clear();
        segment.name_is_draft = true;
    }
    checksum(&mut file)
}

fn file_of(model: &Model) -> Result<ModelFile> {
    let ranks = { model.preparation.features.iter() }.filter_map(|feature| feature.ranks.as_ref());
    let n_ranks = ranks.map(crate::features::Ranks::n_points).sum();
    let n_centroids = { model.splits.iter() }
        .map(|split| split.centroids.n_clusters())
        .fold(model.n_segments(), usize::saturating_add);
    check_size(model.centroids.n_features(), n_centroids, n_ranks)?;
    let with_sums = size(model.centroids.n_features(), n_centroids, COORDINATE_BYTES + SUM_BYTES);
    let keeps_sums = with_sums <= MAX_BYTES;
    let sums = model.sums.as_ref().filter(|_| keeps_sums);
    let segments = (0..model.n_segments()).map(|cluster| SegmentEntry {
        name: model.segment_names[cluster].name.clone(),
        name_is_draft: model.segment_names[cluster].is_draft,
        outlier_distance: model.confidence.outlier_distances.get(cluster).copied().flatten(),
        ..SegmentEntry::new(
            &model.preparation,
            &model.centroids,
            model.segment_counts[cluster],
            sums,
            cluster,
        )
    });
    Ok(ModelFile {
        format: FORMAT.into(),
        version: VERSION,
        kohort_version: env!("CARGO_PKG_VERSION").into(),
        id_columns: model.id_columns.clone(),
        weight_column: model.weight_column.clone(),
        preparation: model.preparation.clone(),
        boundary_margin: model.confidence.boundary_margin,
        unassign_outliers: model.confidence.unassign_outliers,
        segments: segments.collect(),
        splits: { model.splits.iter() }
            .map(|split| SplitEntry::new(&model.preparation, split, keeps_sums))
            .collect(),
        checksum: String::new(),
    })
}

/// Reads a model from its file, or from the run directory that holds it.
///
/// The file may come from anywhere: nothing in it is believed before it is checked.
///
/// # Errors
/// [`Error::ArtifactVersion`] for a version this program does not know, [`Error::ArtifactInvalid`] with the reason
/// for anything else that is not as it must be, [`Error::NotFound`] and [`Error::Io`].
pub fn load(path: &Path) -> Result<Model> {
    let path = json::file_in(path, names::MODEL);
    let mut file: ModelFile = json::read(&path, FORMAT, VERSION)?;
    let invalid = |reason: String| json::invalid(&path, reason);
    check(&file).map_err(invalid)?;
    let stated = file.checksum.clone();
    if checksum(&mut file)? != stated {
        return Err(invalid("the checksum does not match the content".into()));
    }
    let n_features = file.preparation.n_features();
    let name = |segment: &SegmentEntry| SegmentName {
        name: segment.name.clone(),
        is_draft: segment.name_is_draft,
    };
    let segment_names = file.segments.iter().map(name).collect();
    let segment_counts: Vec<Count> = file.segments.iter().map(|segment| segment.n_rows).collect();
    let sums = sums_of(&file.segments, n_features).map_err(invalid)?;
    let splits = { file.splits.into_iter() }
        .map(|split| split.split(n_features))
        .collect::<Result<Vec<Split>, String>>()
        .map_err(invalid)?;
    check_splits(&splits, &segment_counts).map_err(invalid)?;
    let confidence = Confidence {
        boundary_margin: file.boundary_margin,
        outlier_distances: file.segments.iter().map(|segment| segment.outlier_distance).collect(),
        unassign_outliers: file.unassign_outliers,
    };
    let values = file.segments.into_iter().flat_map(|segment| segment.centroid).collect();
    Ok(Model {
        centroids: Centroids::new(n_features, values),
        preparation: file.preparation,
        id_columns: file.id_columns,
        weight_column: file.weight_column,
        segment_counts,
        segment_names,
        confidence,
        sums,
        splits,
    })
}

impl SplitEntry {
    fn new(preparation: &Preparation, split: &Split, keeps_sums: bool) -> Self {
        let sums = split.sums.as_ref().filter(|_| keeps_sums);
        let counts = split.segment_counts.iter().enumerate();
        Self {
            path: split.path.clone(),
            segments: counts
                .map(|(part, &n_rows)| {
                    SegmentEntry::new(preparation, &split.centroids, Count::Exact(n_rows), sums, part)
                })
                .collect(),
        }
    }

    fn split(self, n_features: usize) -> Result<Split, String> {
        let sums = sums_of(&self.segments, n_features)?;
        let counts = self.segments.iter().map(|segment| segment.n_rows.exact());
        let segment_counts = counts
            .collect::<Option<_>>()
            .ok_or_else(|| format!("segment {}: rows of a part are not told", self.path))?;
        let values = self.segments.into_iter().flat_map(|segment| segment.centroid).collect();
        Ok(Split {
            path: self.path,
            centroids: Centroids::new(n_features, values),
            segment_counts,
            sums,
        })
    }
}

impl SegmentEntry {
    /// A segment without the figures that only some have.
    fn new(
        preparation: &Preparation,
        centroids: &Centroids,
        n_rows: Count,
        sums: Option<&ClusterPartial>,
        cluster: usize,
    ) -> Self {
        let digits = |sums: &ClusterPartial| sums.sums_of(cluster).iter().map(i128::to_string).collect();
        Self {
            segment: cluster as u64 + 1,
            name: String::new(),
            name_is_draft: true,
            n_rows,
            centroid: centroids.row(cluster).to_vec(),
            centroid_in_original_units: preparation.centroid_in_original_units(centroids, cluster),
            outlier_distance: None,
            weight: sums.map(|sums| sums.cluster_weights[cluster]),
            sums: sums.map_or_else(Vec::new, digits),
        }
    }
}

/// The sums of segments, where all have them.
fn sums_of(segments: &[SegmentEntry], n_features: usize) -> Result<Option<ClusterPartial>, String> {
    let n_with = { segments.iter() }
        .filter(|segment| segment.weight.is_some() || !segment.sums.is_empty())
        .count();
    if n_with == 0 {
        return Ok(None);
    }
    let mut partial = ClusterPartial::zero(segments.len(), n_features);
    let counts = segments.iter().map(|segment| segment.n_rows.exact());
    partial.counts = counts
        .collect::<Option<_>>()
        .ok_or("sums of segments whose rows are not told")?;
    for (cluster, segment) in segments.iter().enumerate() {
        let wrong = |what: &str| format!("segment {}: {what}", segment.segment);
        let weight = segment.weight.filter(|&weight| weight > 0);
        let weight = weight.ok_or_else(|| wrong("sums without a weight"))?;
        if segment.sums.len() != n_features {
            let n = segment.sums.len();
            return Err(wrong(&format!("sums has {n} values for {n_features} features")));
        }
        let most = u128::from(weight) * u128::from(MAX_GRID.unsigned_abs());
        partial.cluster_weights[cluster] = weight;
        for (sum, digits) in partial.sums[cluster * n_features..].iter_mut().zip(&segment.sums) {
            let read = digits.parse().ok().filter(|sum: &i128| sum.unsigned_abs() <= most);
            *sum = read.ok_or_else(|| wrong("a sum is not that of values on the grid"))?;
        }
    }
    match adds_up(&partial) {
        true => Ok(Some(partial)),
        false => Err("the weights of the segments are too large".into()),
    }
}

/// 32 hexadecimal digits over everything but the checksum itself, which is emptied.
fn checksum(file: &mut ModelFile) -> Result<String> {
    file.checksum.clear();
    let bytes = serde_json::to_vec(&file).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(format!("{:032x}", xxh3_128(&bytes)))
}

/// The same file with the checksum that its content asks for: what a forger would write.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn with_its_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut file: ModelFile = serde_json::from_slice(bytes).ok()?;
    file.checksum = checksum(&mut file).ok()?;
    serde_json::to_vec(&file).ok()
}

/// Everything that the types do not rule out.
fn check(file: &ModelFile) -> Result<(), String> {
    file.preparation.validate()?;
    check_names(file)?;
    if !file.boundary_margin.is_none_or(|margin| (0.0..=1.0).contains(&margin)) {
        return Err("the margin of the boundary is not between 0 and 1".into());
    }
    check_segments(&file.segments, file.preparation.n_features())?;
    for split in &file.splits {
        check_segments(&split.segments, file.preparation.n_features())
            .map_err(|reason| format!("the parts of segment {}: {reason}", split.path))?;
    }
    Ok(())
}

/// Column names: all there, and each with one role.
fn check_names(file: &ModelFile) -> Result<(), String> {
    let mut features: Vec<&String> = file
        .preparation
        .features
        .iter()
        .map(|feature| &feature.column)
        .collect();
    features.dedup();
    let mut names: Vec<&String> = { features.into_iter() }
        .chain(&file.id_columns)
        .chain(&file.weight_column)
        .collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("column {:?} has two roles", pair[0])),
        None => Ok(()),
    }
}

fn check_segments(segments: &[SegmentEntry], n_features: usize) -> Result<(), String> {
    let limit = MAX_GRID.unsigned_abs() * CENTROID_SCALE as u32;
    let mut n_rows = 0u64;
    for (number, segment) in (1u64..).zip(segments) {
        if segment.segment != number {
            return Err(format!(
                "segment {} stands where segment {number} belongs",
                segment.segment
            ));
        }
        for (len, what) in [
            (segment.centroid.len(), "centroid"),
            (segment.centroid_in_original_units.len(), "centroid_in_original_units"),
        ] {
            if len != n_features {
                return Err(format!(
                    "segment {number}: {what} has {len} values for {n_features} features"
                ));
            }
        }
        if segment.name.chars().count() > MOST_NAME_CHARS {
            return Err(format!(
                "segment {number}: its name is longer than {MOST_NAME_CHARS} characters"
            ));
        }
        if segment.centroid.iter().any(|c| c.unsigned_abs() > limit) {
            return Err(format!("segment {number}: the centroid lies outside the grid"));
        }
        if !segment.centroid_in_original_units.iter().all(|value| value.is_finite()) {
            return Err(format!("segment {number}: the centroid is not finite"));
        }
        if !segment.outlier_distance.is_none_or(|d| d.is_normal() && d > 0.0) {
            return Err(format!("segment {number}: the distance of outliers is not positive"));
        }
        if !segment.n_rows.is_valid() {
            return Err(format!("segment {number}: its rows are more at least than at most"));
        }
        n_rows = n_rows
            .checked_add(segment.n_rows.bounds()[1])
            .ok_or("the numbers of rows overflow")?;
    }
    match n_rows {
        0 => Err("it has no rows in any segment".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::artifact::write_atomic;
    use crate::grid::MAX_FEATURES;
    use crate::model::fixture;

    fn model() -> Model {
        fixture::model(&fixture::customers(90))
    }

    fn text_of(model: &Model) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.json");
        write_atomic(&path, false, |out| write(out, model)).unwrap();
        fs::read(path).unwrap()
    }

    fn load_bytes(bytes: &[u8]) -> Result<Model> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.json");
        fs::write(&path, bytes).unwrap();
        load(&path)
    }

    /// Loads what a forger would write: changed, with a checksum that is right.
    fn load_forged(change: impl FnOnce(&mut ModelFile)) -> Result<Model> {
        let mut file: ModelFile = serde_json::from_slice(&text_of(&model())).unwrap();
        change(&mut file);
        let bytes = serde_json::to_vec(&file).unwrap();
        load_bytes(&with_its_checksum(&bytes).unwrap_or(bytes))
    }

    fn is_invalid(result: &Result<Model>) -> bool {
        matches!(
            result,
            Err(Error::ArtifactInvalid { .. } | Error::ArtifactVersion { .. })
        )
    }

    #[test]
    fn a_model_reads_back_equal_from_a_file_or_a_run() {
        let model = model();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(names::MODEL);
        write_atomic(&path, false, |out| write(out, &model)).unwrap();
        assert_eq!(load(&path).unwrap(), model);
        assert_eq!(load(folder.path()).unwrap(), model);
        assert!(matches!(
            load(&folder.path().join("other")),
            Err(Error::NotFound { .. })
        ));
        // Other spacing is the same model.
        let value: serde_json::Value = serde_json::from_slice(&text_of(&model)).unwrap();
        let compact = serde_json::to_vec(&value).unwrap();
        assert_eq!(load_bytes(&compact).unwrap(), model);
        assert_eq!(load_forged(|_| {}).unwrap(), model);
    }

    #[test]
    fn the_hash_is_of_all_that_decides_a_segment() {
        let model = model();
        let told = hash(&model).unwrap();
        assert_eq!(hash(&load_bytes(&text_of(&model)).unwrap()).unwrap(), told);
        let mut named = model.clone();
        (named.segment_names[0].name, named.segment_names[0].is_draft) = ("First".into(), false);
        assert_eq!(hash(&named).unwrap(), told);
        let mut other = model;
        other.confidence.unassign_outliers = !other.confidence.unassign_outliers;
        assert_ne!(hash(&other).unwrap(), told);
    }

    #[test]
    fn a_model_of_an_earlier_version_loads() {
        let older = load_forged(|file| {
            file.boundary_margin = None;
            for segment in &mut file.segments {
                (segment.outlier_distance, segment.weight) = (None, None);
                segment.name = String::new();
                segment.sums.clear();
            }
        });
        let older = older.unwrap();
        assert_eq!(older.sums, None);
        assert_eq!(older.confidence.boundary_margin, None);
        assert!(older.confidence.outlier_distances.iter().all(Option::is_none));
        // As such files have none of it, their checksums are over the rest alone.
        let text = String::from_utf8(text_of(&older)).unwrap();
        assert!(
            !text.contains("boundary")
                && !text.contains("outlier")
                && !text.contains("name\"")
                && !text.contains("draft")
        );
    }

    #[test]
    fn centroids_stand_there_in_original_units_too() {
        let model = model();
        let file: ModelFile = serde_json::from_slice(&text_of(&model)).unwrap();
        for (cluster, visits) in [(0, 0.0..20.0), (1, 95.0..120.0), (2, 195.0..220.0)] {
            let centroid = &file.segments[cluster].centroid_in_original_units;
            assert_eq!(
                centroid,
                &model.preparation.centroid_in_original_units(&model.centroids, cluster)
            );
            assert!(visits.contains(&centroid[1]), "{centroid:?}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_in_spite_of_its_checksum() {
        let limit = MAX_GRID * CENTROID_SCALE as i32;
        assert!(load_forged(|file| file.segments[0].centroid[0] = -limit).is_ok());
        type Forgery = (&'static str, fn(&mut ModelFile));
        let forgeries: [Forgery; 22] = [
            ("name", |file| file.segments[0].name = "x".repeat(1001)),
            ("margin", |file| file.boundary_margin = Some(1.5)),
            ("outliers", |file| file.segments[1].outlier_distance = Some(0.0)),
            ("beyond the grid", |file| {
                file.segments[0].centroid[0] = MAX_GRID * 256 + 1
            }),
            ("far beyond the grid", |file| file.segments[1].centroid[1] = i32::MIN),
            ("short centroid", |file| file.segments[0].centroid.truncate(1)),
            ("long centroid", |file| file.segments[2].centroid.push(0)),
            ("short original", |file| {
                file.segments[0].centroid_in_original_units.clear()
            }),
            ("no segments", |file| file.segments.clear()),
            ("numbers", |file| file.segments[0].segment = 0),
            ("order", |file| file.segments.swap(0, 1)),
            ("rows overflow", |file| {
                file.segments.iter_mut().for_each(|s| s.n_rows = Count::Exact(u64::MAX))
            }),
            ("no rows", |file| {
                file.segments.iter_mut().for_each(|s| s.n_rows = Count::Exact(0))
            }),
            ("bounds", |file| file.segments[0].n_rows = Count::Between(9, 8)),
            ("no features", |file| file.preparation.features.clear()),
            ("a feature twice", |file| {
                file.preparation.features[1] = file.preparation.features[0].clone()
            }),
            ("id is a feature", |file| file.id_columns.push("age".into())),
            ("sums of some", |file| file.segments[1].sums.clear()),
            ("no weight", |file| file.segments[1].weight = Some(0)),
            ("a sum beyond the grid", |file| {
                let weight = i128::from(file.segments[1].weight.unwrap());
                file.segments[1].sums[0] = (weight * i128::from(MAX_GRID) + 1).to_string();
            }),
            ("no number", |file| file.segments[1].sums[0] = "1.5".into()),
            ("weights overflow", |file| {
                file.segments.iter_mut().for_each(|s| s.weight = Some(u64::MAX))
            }),
        ];
        for (what, forgery) in forgeries {
            assert!(is_invalid(&load_forged(forgery)), "{what}");
        }
        let json = String::from_utf8(text_of(&model())).unwrap();
        let step_exp = format!("\"step_exp\": {}", model().preparation.grid.step_exp());
        assert!(json.contains(&step_exp));
        assert!(is_invalid(&load_bytes(
            json.replace(&step_exp, "\"step_exp\": 2000000000").as_bytes()
        )));
    }

    /// The model with its second segment split in two.
    fn nested() -> Model {
        let mut model = model();
        let row = model.centroids.row(1).to_vec();
        let halves: Vec<i32> = row
            .iter()
            .chain(&row)
            .copied()
            .zip([-9, -9, 9, 9])
            .map(|(c, by)| c + by)
            .collect();
        model.splits = vec![Split {
            path: "2".parse().unwrap(),
            centroids: Centroids::new(2, halves),
            segment_counts: vec![20, 10],
            sums: None,
        }];
        model
    }

    #[test]
    fn a_model_with_segments_of_segments_reads_back_equal() {
        let model = nested();
        assert_eq!(load_bytes(&text_of(&model)).unwrap(), model);
        let forged = |change: fn(&mut ModelFile)| {
            let mut file: ModelFile = serde_json::from_slice(&text_of(&nested())).unwrap();
            change(&mut file);
            file.checksum = checksum(&mut file).unwrap();
            load_bytes(&serde_json::to_vec(&file).unwrap())
        };
        assert_eq!(forged(|_| {}).unwrap(), model);
        type Forgery = (&'static str, fn(&mut ModelFile));
        let forgeries: [Forgery; 6] = [
            ("no such segment", |file| file.splits[0].path = "4".parse().unwrap()),
            ("no leaf", |file| file.splits[0].path = "2.1".parse().unwrap()),
            ("other rows", |file| {
                file.splits[0].segments[0].n_rows = Count::Exact(21)
            }),
            ("no parts", |file| file.splits[0].segments.clear()),
            ("long centroid", |file| file.splits[0].segments[0].centroid.push(0)),
            ("order", |file| file.splits[0].segments.swap(0, 1)),
        ];
        for (what, forgery) in forgeries {
            assert!(is_invalid(&forged(forgery)), "{what}");
        }
        let json = String::from_utf8(text_of(&model)).unwrap();
        assert!(is_invalid(&load_bytes(
            json.replace("\"path\": \"2\"", "\"path\": \"02\"").as_bytes()
        )));
    }

    #[test]
    fn edited_files_are_refused() {
        let json = String::from_utf8(text_of(&model())).unwrap();
        assert!(matches!(
            load_bytes(json.replace("\"version\": 1", "\"version\": 2").as_bytes()),
            Err(Error::ArtifactVersion {
                found: 2,
                supported: 1,
                ..
            })
        ));
        for (from, to) in [
            ("kohort-model", "kohort-run"),
            ("\"age\"", "\"agf\""),
            ("\"segment\": 1,", "\"segment\": 1, \"name\": \"VIP\","),
            ("\"checksum\": \"", "\"checksum\": \"0"),
            ("\"weight_column\": null", "\"weight_column\": \"w\""),
            ("\"centroid\": [", "\"centroid\": [NaN, "),
            ("\"centroid\": [", "\"centroid\": [1e999, "),
            ("\"segments\": [", "\"segments\": [[], "),
        ] {
            assert!(json.contains(from), "{from}");
            assert!(
                is_invalid(&load_bytes(json.replace(from, to).as_bytes())),
                "{from} -> {to}"
            );
        }
        assert!(is_invalid(&load_bytes(format!("{json}{{}}").as_bytes())));
        assert!(is_invalid(&load_bytes(b"PAR1")));
    }

    #[test]
    fn a_torn_file_is_refused_wherever_it_ends() {
        let bytes = text_of(&model());
        let end = bytes.iter().rposition(|&byte| byte == b'}').unwrap();
        for len in 0..=end {
            assert!(is_invalid(&load_bytes(&bytes[..len])), "{len} bytes");
        }
    }

    #[test]
    fn a_model_too_large_to_be_read_is_refused_before_the_work() {
        assert!(check_size(MAX_FEATURES, 300, 0).is_ok());
        assert!(check_size(16, 65536, 16 * 257).is_ok());
        let refused = check_size(MAX_FEATURES, 65536, 0);
        assert!(matches!(
            refused,
            Err(Error::InvalidParam {
                param: "n_clusters",
                ..
            })
        ));
        assert!(check_size(usize::MAX, usize::MAX, usize::MAX).is_err());
    }

    proptest! {
        #[test]
        fn damage_never_passes_for_a_model(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4)) {
            let model = model();
            let mut bytes = text_of(&model);
            for (at, byte, kind) in edits {
                let at = at.index(bytes.len());
                match kind {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            // Either refused, or the damage was to spacing alone.
            match load_bytes(&bytes) {
                Ok(loaded) => prop_assert_eq!(loaded, model),
                refused => prop_assert!(is_invalid(&refused)),
            }
        }
    }
}
