//! What reports tell of a fit: the largest segments, the features that matter in them, and what lies between segments.

use std::collections::BTreeSet;

use super::{MOST_BOUNDARIES, MOST_DIFFERENCES, MOST_SEGMENTS, n_told_columns};
use crate::artifact::{Boundary, Neighbour, ProfileRecord};
use crate::cells::{Count, MinCell};
use crate::features::{FeaturePreparation, Preparation, ValueKind};
use crate::fit::Fit;
use crate::model::Model;
use crate::segments::{MIN_CELL, Profile, SegmentMap, SegmentProfile, segment_map, set_apart};

/// Features told of a boundary, and their least part of the distance.
const MOST_APART: usize = 3;
const LEAST_PART: f64 = 0.05;

/// What the reports of a fit are drawn from; `min_cell` is that of its options.
#[must_use]
pub fn profile_record(fit: &Fit, min_cell: MinCell) -> ProfileRecord {
    let Model {
        preparation,
        centroids,
        segment_counts,
        ..
    } = &fit.model;
    let mut profile = Profile {
        segments: fit.profile.segments.iter().take(MOST_SEGMENTS).cloned().collect(),
        ..fit.profile.clone()
    };
    let mut map = segment_map(preparation, centroids, segment_counts);
    for axis in map.iter_mut().flat_map(|map| &mut map.axes) {
        axis.retain(|(feature, _)| !is_of_list(&preparation.features[*feature]));
    }
    let mut boundaries = boundaries(fit, min_cell);
    let told = told_features(preparation, &profile, map.as_ref(), &boundaries);
    // Features have other places among those that are told.
    let place = |at: usize| told.binary_search(&at).expect("all that are named are told");
    for (feature, _) in map.iter_mut().flat_map(|map| map.axes.iter_mut().flatten()) {
        *feature = place(*feature);
    }
    for (feature, _) in boundaries.iter_mut().flat_map(|boundary| &mut boundary.apart) {
        *feature = place(*feature);
    }
    for segment in &mut profile.segments {
        segment.features = selected(&segment.features, &told);
    }
    profile.overall = selected(&profile.overall, &told);
    profile.edges = selected(&profile.edges, &told);
    ProfileRecord {
        format: ProfileRecord::FORMAT.into(),
        version: ProfileRecord::VERSION,
        labels_hash: fit.summary.labels_hash.clone(),
        n_columns: columns(preparation).count(),
        preparation: Preparation {
            features: selected(&preparation.features, &told),
            ..preparation.clone()
        },
        neighbours: neighbours(fit, min_cell, profile.segments.len()),
        profile,
        map,
        boundaries,
    }
}

fn selected<T: Clone>(of: &[T], places: &[usize]) -> Vec<T> {
    places.iter().map(|&at| of[at].clone()).collect()
}

/// The places of the features of each column.
fn columns(preparation: &Preparation) -> impl Iterator<Item = Vec<usize>> {
    let mut next = 0;
    let columns = preparation.features.chunk_by(|a, b| a.column == b.column);
    columns.map(move |features| {
        next += features.len();
        (next - features.len()..next).collect()
    })
}

/// Places of features, column by column; those columns first whose means differ most in some segment.
pub(super) fn by_strength(preparation: &Preparation, segments: &[SegmentProfile]) -> Vec<Vec<usize>> {
    let strength = |places: &Vec<usize>| {
        let large = segments.iter().filter(|segment| segment.count.bounds()[0] >= MIN_CELL);
        let differences = large.flat_map(|segment| places.iter().map(|&at| segment.features[at].difference_sd));
        differences.flatten().map(f64::abs).fold(0.0, f64::max)
    };
    let says = |places: &Vec<usize>| !is_of_list(&preparation.features[places[0]]);
    let mut columns: Vec<Vec<usize>> = columns(preparation).filter(says).collect();
    columns.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
    columns
}

/// The features of all columns that a report names, rising.
fn told_features(
    preparation: &Preparation,
    profile: &Profile,
    map: Option<&SegmentMap>,
    boundaries: &[Boundary],
) -> Vec<usize> {
    let apart = |segment: &SegmentProfile| set_apart(preparation, profile, segment.segment, MOST_DIFFERENCES);
    let mut named: BTreeSet<usize> = profile.segments.iter().flat_map(apart).map(|one| one.feature).collect();
    named.extend(map.iter().flat_map(|map| map.axes.iter().flatten()).map(|axis| axis.0));
    named.extend(
        boundaries
            .iter()
            .flat_map(|boundary| &boundary.apart)
            .map(|apart| apart.0),
    );
    let by_strength = by_strength(preparation, &profile.segments);
    let strong = by_strength
        .iter()
        .take(n_told_columns(profile.segments.len()))
        .flatten();
    named.extend(strong);
    let is_named = |places: &Vec<usize>| places.iter().any(|at| named.contains(at));
    columns(preparation).filter(is_named).flatten().collect()
}

/// Per segment that is told of, the second choice of most of its rows.
fn neighbours(fit: &Fit, min_cell: MinCell, n_told: usize) -> Vec<Option<Neighbour>> {
    let sizes = fit.assignment.counts(fit.model.n_segments());
    let neighbours = fit.assignment.neighbours(fit.model.n_segments()).into_iter().zip(sizes);
    let told = |(neighbour, size): (Option<(u32, u64)>, u64)| {
        let (cluster, n) = neighbour.filter(|_| min_cell.tells_figures(size))?;
        Some(Neighbour {
            segment: cluster as i32 + 1,
            n_rows: min_cell.told_of(n, size),
        })
    };
    neighbours.take(n_told).map(told).collect()
}

/// Pairs of segments with rows between them.
fn boundaries(fit: &Fit, min_cell: MinCell) -> Vec<Boundary> {
    let model = &fit.model;
    let sizes = fit.assignment.counts(model.n_segments());
    let pairs = model.confidence.between(&fit.assignment, model.n_segments());
    let numbers: Vec<u64> = pairs.iter().map(|pair| pair.1).collect();
    let told = min_cell.parts(&numbers);
    let both_told = |[a, b]: [u32; 2]| {
        [a, b]
            .iter()
            .all(|&at| (at as usize) < MOST_SEGMENTS && min_cell.tells_figures(sizes[at as usize]))
    };
    let pairs = pairs.iter().zip(told).filter(|((pair, _), _)| both_told(*pair));
    let mut boundaries: Vec<Boundary> = pairs
        .map(|(([a, b], _), n_rows)| Boundary {
            segments: [*a as i32 + 1, *b as i32 + 1],
            n_rows,
            apart: apart(model, *a as usize, *b as usize),
        })
        .collect();
    boundaries.sort_by_key(|boundary| std::cmp::Reverse(boundary.n_rows.about()));
    boundaries.truncate(MOST_BOUNDARIES);
    boundaries
}

/// The features with the largest parts of the squared distance of two centroids, one of each column.
fn apart(model: &Model, a: usize, b: usize) -> Vec<(usize, f64)> {
    let squares = model.centroids.row(a).iter().zip(model.centroids.row(b));
    let squares: Vec<f64> = squares.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).collect();
    let total: f64 = squares.iter().sum();
    let mut parts: Vec<(usize, f64)> = squares
        .iter()
        .map(|square| square / total.max(1.0))
        .enumerate()
        .collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    let column = |at: usize| &model.preparation.features[at].column;
    let mut told: Vec<(usize, f64)> = Vec::new();
    for (at, part) in parts {
        let says = !is_of_list(&model.preparation.features[at]);
        if says
            && told.len() < MOST_APART
            && part >= LEAST_PART
            && !told.iter().any(|other| column(other.0) == column(at))
        {
            told.push((at, part));
        }
    }
    told
}

/// Whether a feature is a number of a list, which says nothing alone.
fn is_of_list(feature: &FeaturePreparation) -> bool {
    matches!(feature.kind, ValueKind::Element { .. })
}

/// The level of a text, or of what is missing, that a feature stands for.
pub(super) fn level_name(feature: &FeaturePreparation) -> Option<String> {
    match &feature.kind {
        ValueKind::Level(level) => Some(level.clone()),
        ValueKind::OtherThan(_) => Some("(other)".into()),
        ValueKind::Missing => Some("(missing)".into()),
        _ => None,
    }
}

/// A share for drawings.
pub(super) fn about(n: Count, of: Count) -> f64 {
    let [low, high] = n.shares_of(of);
    f64::midpoint(low, high)
}
