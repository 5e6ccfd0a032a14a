//! What segments of segments are like, and what they are called.

use super::{Paths, SegmentPath};
use crate::cells::MinCell;
use crate::data::BatchSource;
use crate::error::Result;
use crate::features::{OutcomeColumn, Preparation};
use crate::segments::{
    FeatureProfile, OutcomeFigures, Profile, SegmentProfile, draft_names, is_share, outcomes, profile,
};

/// A segment of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub path: SegmentPath,
    /// A name, drafted from what sets it apart within the segment that it is part of.
    pub name: String,
    /// What it is like; differences are those to all rows.
    pub profile: SegmentProfile,
    /// Outcomes in it, in the order of the columns.
    pub outcomes: Vec<OutcomeFigures>,
    /// See [`Profile::edges`].
    pub edges: Vec<Vec<f64>>,
}

/// All segments below the first level, sorted; `top` is the profile of that one. Reads the data once per level and more,
/// as [`profile`] does.
///
/// # Errors
/// Those of reading.
pub fn describe(
    source: &dyn BatchSource,
    preparation: &Preparation,
    outcome_columns: &[OutcomeColumn],
    paths: &Paths,
    top: &Profile,
    min_cell: MinCell,
) -> Result<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    for depth in 2..=paths.depth() {
        let (segments, labels) = paths.at_depth(depth);
        // One more stands for the rows whose leaf is not so deep.
        let n = segments.len() + 1;
        let of_level = profile(source, preparation, &labels, n, &vec![Vec::new(); n], min_cell)?;
        let outcomes = outcomes(source, outcome_columns, &labels, n, min_cell)?;
        let edges = of_level.edges;
        let segments: Vec<(SegmentPath, SegmentProfile)> = segments.into_iter().zip(of_level.segments).collect();
        let mut first = 0;
        // Sorted paths: the parts of a segment stand together.
        for parts in segments.chunk_by(|a, b| a.0.parent() == b.0.parent()) {
            let whole = whole_of(&parts[0].0, &nodes, top);
            let profiles: Vec<&SegmentProfile> = parts.iter().map(|(_, profile)| profile).collect();
            let names = draft_names(preparation, &within(preparation, &profiles, whole, &top.overall));
            let named = parts.iter().zip(names).zip(first..);
            let made: Vec<Node> = named
                .map(|(((path, profile), name), at)| Node {
                    path: path.clone(),
                    name,
                    profile: SegmentProfile {
                        segment: path.number() as i32,
                        ..profile.clone()
                    },
                    outcomes: outcomes.iter().map(|outcome| outcome.segments[at].clone()).collect(),
                    edges: edges.clone(),
                })
                .collect();
            nodes.extend(made);
            first += parts.len();
        }
    }
    nodes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(nodes)
}

/// The profile of the segment that holds `part`.
fn whole_of<'n>(part: &SegmentPath, nodes: &'n [Node], top: &'n Profile) -> &'n SegmentProfile {
    let parent = part.parent().expect("two levels down at least");
    match nodes.iter().find(|node| node.path == parent) {
        Some(node) => &node.profile,
        None => &top.segments[parent.segment() as usize - 1],
    }
}

/// The profiles of a segment's parts, with differences to the segment instead of all rows, in what is about a standard
/// deviation of its rows: what is a small difference among all may be the one that parts them.
fn within(
    preparation: &Preparation,
    parts: &[&SegmentProfile],
    whole: &SegmentProfile,
    overall: &[FeatureProfile],
) -> Profile {
    let kinds = preparation.features.iter().map(|feature| is_share(&feature.kind));
    let spreads = { whole.features.iter().zip(overall).zip(kinds) }
        .map(|((own, all), is_share)| spread(own, is_share) / spread(all, is_share))
        .map(|ratio| if ratio.is_finite() && ratio > 0.0 { ratio } else { 1.0 });
    let spreads: Vec<f64> = spreads.collect();
    let difference = |own: &FeatureProfile, at: usize| {
        let to_whole = own.difference_sd? - whole.features[at].difference_sd?;
        Some(to_whole / spreads[at])
    };
    let segment = |(part, number): (&&SegmentProfile, i32)| SegmentProfile {
        segment: number,
        count: part.count,
        share: part.share,
        features: { part.features.iter().enumerate() }
            .map(|(at, own)| FeatureProfile {
                difference_sd: difference(own, at),
                difference_interval: None,
                ..own.clone()
            })
            .collect(),
    };
    Profile {
        segments: parts.iter().zip(1..).map(segment).collect(),
        overall: whole.features.clone(),
        edges: Vec::new(),
    }
}

/// How far values lie apart: about a standard deviation, times one factor for all features of a kind.
fn spread(feature: &FeatureProfile, is_share: bool) -> f64 {
    let of_share = |p: f64| (p * (1.0 - p)).max(0.0).sqrt();
    match is_share {
        true => feature.mean.map_or(0.0, of_share),
        false => feature.p90.zip(feature.p10).map_or(0.0, |(p90, p10)| p90 - p10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::Count;
    use crate::model::fixture;

    fn profile(number: i32, features: [(f64, f64, f64); 2]) -> SegmentProfile {
        let feature = |(sd, p10, p90): (f64, f64, f64)| FeatureProfile {
            count: Count::Exact(100),
            mean: Some((p10 + p90) / 2.0),
            p10: Some(p10),
            p90: Some(p90),
            difference_sd: Some(sd),
            ..FeatureProfile::default()
        };
        SegmentProfile {
            segment: number,
            count: Count::Exact(100),
            share: Some(0.1),
            features: features.map(feature).to_vec(),
        }
    }

    #[test]
    fn parts_are_named_by_what_parts_them() {
        let preparation = fixture::preparation(&fixture::customers(30));
        let all = profile(0, [(0.0, 0.0, 100.0), (0.0, 0.0, 1000.0)]);
        // Of one age, and all with many visits: a tenth of the spread of all is what there is.
        let whole = profile(1, [(0.5, 50.0, 60.0), (2.0, 900.0, 1000.0)]);
        let parts = [
            profile(1, [(0.51, 50.0, 60.0), (2.1, 950.0, 1000.0)]),
            profile(2, [(0.49, 50.0, 60.0), (1.9, 900.0, 950.0)]),
        ];
        let within = within(&preparation, &parts.each_ref(), &whole, &all.features);
        let told = |part: usize, at: usize| within.segments[part].features[at].difference_sd.unwrap();
        assert!((told(0, 1) - 1.0).abs() < 1e-9 && (told(1, 0) + 0.1).abs() < 1e-9);
        assert_eq!(draft_names(&preparation, &within), ["High visits", "Low visits"]);
    }
}
