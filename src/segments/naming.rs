//! What sets a segment apart, and a name drafted from it.

use super::MIN_CELL;
use super::profile::{FeatureProfile, Profile, SegmentProfile};
use crate::features::{Preparation, ValueKind};

/// Standard deviations that a mean must lie from that of all rows to give a name.
const NAMING: f64 = 0.25;
/// Differences that make a name, and the most that tell a segment from another of the same name.
const NAMED: usize = 2;
const MOST_NAMED: usize = 4;
/// Standard deviations between two features that say the same of a segment.
const ALIKE: f64 = 0.02;
/// Characters of a column or level that a name takes.
const NAME_CHARS: usize = 32;

/// What a segment is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentName {
    /// The name; empty where none is known.
    pub name: String,
    /// Whether it is a draft: nobody has given another one yet.
    pub is_draft: bool,
}

impl SegmentName {
    /// A draft.
    #[must_use]
    pub fn draft(name: String) -> Self {
        Self { name, is_draft: true }
    }
}

/// A feature that sets a segment apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The feature's place in the model.
    pub feature: usize,
    /// Its mean in the segment, or, where [`Difference::is_share`], the share of rows; about, where it is not told.
    pub mean: f64,
    /// Mean here less mean of all rows, in standard deviations of all rows; about, where it is not told.
    pub sd: f64,
    /// What holds that with 95 % confidence.
    pub interval: Option<[f64; 2]>,
    /// Whether the mean is a share of rows.
    pub is_share: bool,
    /// Of a share that is not told, the least and the most that it can be.
    pub bounds: Option<[f64; 2]>,
}

/// Whether the mean of a feature is a share of rows.
#[must_use]
pub fn is_share(kind: &ValueKind) -> bool {
    matches!(
        kind,
        ValueKind::Bool | ValueKind::Level(_) | ValueKind::OtherThan(_) | ValueKind::Missing
    )
}

/// What sets segment `segment` (from 1) apart, the strongest first, at most `most` features, one of each column: of the
/// levels of a text the one that is more frequent here than elsewhere, unless another says far more. Of features that
/// say the same of every segment the first is told. Nothing comes from fewer than [`MIN_CELL`] values.
///
/// # Panics
/// If there is no such segment.
#[must_use]
pub fn set_apart(preparation: &Preparation, profile: &Profile, segment: i32, most: usize) -> Vec<Difference> {
    let features = &preparation.features;
    let segment = &profile.segments[segment as usize - 1];
    let both = features
        .iter()
        .zip(segment.features.iter().zip(&profile.overall))
        .enumerate();
    let mut all: Vec<Difference> = both
        // A coordinate means nothing to people.
        .filter(|(_, (feature, _))| !feature.kind.is_coordinate())
        .filter_map(|(at, (feature, (own, all)))| {
            let is_share = is_share(&feature.kind) || profile.is_flag(at);
            difference(at, is_share, own, all)
        })
        .collect();
    all.sort_by(|a, b| b.sd.abs().total_cmp(&a.sd.abs()));
    let mut one_each: Vec<Difference> = Vec::new();
    for one in all {
        let column = &features[one.feature].column;
        match { one_each.iter_mut() }.find(|other| features[other.feature].column == *column) {
            None => one_each.push(one),
            Some(other) if other.sd < 0.0 && one.sd >= -other.sd / 2.0 => *other = one,
            Some(_) => {}
        }
    }
    let mut told: Vec<Difference> = Vec::new();
    for one in one_each {
        if told.len() < most
            && !told
                .iter()
                .any(|other| say_the_same(profile, one.feature, other.feature))
        {
            told.push(one);
        }
    }
    told
}

/// Whether two features differ from their means alike, or the opposite way, in every segment.
fn say_the_same(profile: &Profile, a: usize, b: usize) -> bool {
    let sd = |segment: &SegmentProfile, at: usize| segment.features[at].difference_sd.unwrap_or(0.0);
    let all_near = |sign: f64| {
        let segments = profile.segments.iter();
        let mut gaps = segments.map(|segment| (sd(segment, a) - sign * sd(segment, b)).abs());
        gaps.all(|gap| gap <= ALIKE)
    };
    all_near(1.0) || all_near(-1.0)
}

fn difference(at: usize, is_share: bool, own: &FeatureProfile, all: &FeatureProfile) -> Option<Difference> {
    let mean = own.about()?;
    let sd = own.difference_sd.or_else(|| {
        // Of a share, from what is told of it.
        let all = all
            .about()
            .filter(|all| is_share && (0.0..1.0).contains(all) && *all > 0.0)?;
        Some((mean - all) / (all * (1.0 - all)).sqrt())
    })?;
    (own.count.bounds()[0] >= MIN_CELL).then_some(Difference {
        feature: at,
        mean,
        sd,
        interval: own.difference_interval,
        is_share,
        bounds: own.mean_bounds,
    })
}

/// A name for each segment, from its strongest differences: `High n_orders, low recency_days`. No two are the same: a
/// segment that would be called like an earlier one gets more differences, or its number.
#[must_use]
pub fn draft_names(preparation: &Preparation, profile: &Profile) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(profile.segments.len());
    let mut taken = std::collections::HashSet::new();
    for segment in &profile.segments {
        let differences = set_apart(preparation, profile, segment.segment, MOST_NAMED);
        let strong = differences.iter().filter(|difference| difference.sd.abs() >= NAMING);
        let words: Vec<String> = strong.map(|difference| words(preparation, difference)).collect();
        let mut tried = (NAMED..=MOST_NAMED).map(|n| joined(&words[..n.min(words.len())], segment));
        let name = tried.clone().find(|name| !taken.contains(name)).unwrap_or_else(|| {
            let name = tried.next_back().expect("one name at least");
            format!("{name} ({})", segment.segment)
        });
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

fn joined(words: &[String], segment: &SegmentProfile) -> String {
    let text = words.join(", ");
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None if segment.count.bounds()[0] < MIN_CELL => format!("Segment {}", segment.segment),
        None => "Close to the average".into(),
    }
}

/// A difference in words.
fn words(preparation: &Preparation, difference: &Difference) -> String {
    let feature = &preparation.features[difference.feature];
    let (is_more, column) = (difference.sd > 0.0, shortened(&feature.column));
    let by_share = |what: &str| match (is_more, difference.mean >= 0.5) {
        (true, true) => format!("mostly {what}"),
        (true, false) => format!("more {what}"),
        (false, true) => format!("less {what}"),
        (false, false) => format!("hardly any {what}"),
    };
    match &feature.kind {
        ValueKind::Bool | ValueKind::Missing if !is_more && difference.mean < 0.5 => {
            let missing = if feature.kind == ValueKind::Missing {
                " missing"
            } else {
                ""
            };
            format!("rarely {column}{missing}")
        }
        ValueKind::Bool => by_share(&column),
        ValueKind::Missing => by_share(&format!("{column} missing")),
        ValueKind::Level(level) => by_share(&format!("{column} {}", shortened(level))),
        ValueKind::OtherThan(_) => by_share(&format!("other {column}")),
        ValueKind::DaysBefore(_) => format!("{} {column}", if is_more { "early" } else { "late" }),
        ValueKind::Cycle(cycle, _) => format!("other {} of {column}", cycle.name()),
        ValueKind::Element { .. } => format!("other {column}"),
        ValueKind::HoursOfDay => format!("{} {column}", if is_more { "late" } else { "early" }),
        ValueKind::Number | ValueKind::Days => format!("{} {column}", if is_more { "high" } else { "low" }),
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= NAME_CHARS {
        text.to_owned()
    } else {
        text.chars().take(NAME_CHARS - 1).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeaturePreparation;
    use crate::grid::Grid;

    fn preparation(kinds: Vec<(&str, ValueKind)>) -> Preparation {
        let feature = |(column, kind): (&str, ValueKind)| FeaturePreparation {
            column: column.into(),
            data_type: "Float64".into(),
            kind,
            clip: None,
            log_unit: None,
            ranks: None,
            centre: 0.0,
            scale: 1.0,
            weight: 1.0,
            fill: 0.0,
            mean: 0.0,
            std: 1.0,
        };
        Preparation {
            scale: crate::features::Scale::Zscore,
            grid: Grid::covering(8.0),
            features: kinds.into_iter().map(feature).collect(),
        }
    }

    fn segment(segment: i32, count: u64, figures: &[(f64, f64)]) -> SegmentProfile {
        let feature = |&(mean, sd): &(f64, f64)| FeatureProfile {
            count: count.into(),
            mean: Some(mean),
            difference_sd: Some(sd),
            ..FeatureProfile::default()
        };
        SegmentProfile {
            segment,
            count: count.into(),
            share: Some(0.5),
            features: figures.iter().map(feature).collect(),
        }
    }

    fn names(preparation: &Preparation, segments: Vec<SegmentProfile>) -> Vec<String> {
        let overall = segments[0].features.clone();
        let edges = Vec::new();
        draft_names(
            preparation,
            &Profile {
                segments,
                overall,
                edges,
            },
        )
    }

    #[test]
    fn names_are_the_strongest_differences() {
        let level = |level: &str| ValueKind::Level(level.into());
        let preparation = preparation(vec![
            ("orders", ValueKind::Number),
            ("recency", ValueKind::Number),
            ("plan", level("gold")),
            ("plan", level("free")),
        ]);
        let segments = vec![
            segment(1, 100, &[(9.0, 1.5), (3.0, -0.7), (0.2, 0.1), (0.1, -0.2)]),
            segment(2, 100, &[(1.0, 0.1), (3.0, -0.3), (0.8, 0.6), (0.0, -0.9)]),
            segment(3, 100, &[(1.0, 0.1), (3.0, -0.1), (0.3, 0.2), (0.3, 0.2)]),
            segment(4, 10, &[(1.0, 9.0), (3.0, -1.0), (0.3, 2.0), (0.3, 1.0)]),
        ];
        let expected = [
            "High orders, low recency",
            "Mostly plan gold, low recency",
            "Close to the average",
            "Segment 4",
        ];
        assert_eq!(names(&preparation, segments), expected);
    }

    #[test]
    fn no_two_names_are_the_same() {
        let preparation = preparation(vec![
            ("a", ValueKind::Number),
            ("b", ValueKind::Number),
            ("c", ValueKind::Number),
            ("less b", ValueKind::Number),
        ]);
        let same = |number| segment(number, 50, &[(1.0, 3.0), (1.0, 2.0), (1.0, 1.0), (5.0, -1.99)]);
        assert_eq!(
            names(&preparation, vec![same(1), same(2), same(3)]),
            ["High a, high b", "High a, high b, high c", "High a, high b, high c (3)"]
        );
    }

    #[test]
    fn a_share_that_is_not_told_still_gives_a_name() {
        let preparation = preparation(vec![("plan", ValueKind::Level("gold".into()))]);
        let mut own = segment(1, 400, &[(0.0, 0.0)]);
        let overall = vec![FeatureProfile {
            mean: Some(0.5),
            ..own.features[0].clone()
        }];
        (own.features[0].mean, own.features[0].difference_sd) = (None, None);
        own.features[0].mean_bounds = Some([1.0 / 400.0, 10.0 / 400.0]);
        let profile = Profile {
            segments: vec![own],
            overall,
            edges: Vec::new(),
        };
        assert_eq!(draft_names(&preparation, &profile), ["Hardly any plan gold"]);
        let told = &set_apart(&preparation, &profile, 1, 5)[0];
        assert_eq!((told.bounds, told.interval), (Some([0.0025, 0.025]), None));
        assert!((told.sd - (0.01375 - 0.5) / 0.5).abs() < 1e-12);
    }
}
