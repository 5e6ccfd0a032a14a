//! What was learned, in words: a report on every column, and a warning of coarse steps.

use arrow::datatypes::{FieldRef, Schema};

use super::columns::{ColumnReport, LogReport, Part, Role};
use super::cycles::Coordinate;
use super::decode::ValueKind;
use super::options::Scale;
use super::preparation::FeaturePreparation;
use crate::grid::Grid;

/// What a column was made into.
#[derive(Debug, Clone, Default)]
pub(super) struct Made {
    pub(super) features: Vec<FeaturePreparation>,
    /// Per feature its largest prepared magnitude, and the standard deviation of its prepared values.
    pub(super) reaches: Vec<f64>,
    pub(super) spreads: Vec<f64>,
    pub(super) n_missing: u64,
    /// Whether something stands in for missing values.
    pub(super) filled: bool,
    pub(super) log: Option<LogReport>,
    /// Levels of text that share a feature.
    pub(super) n_rare_levels: usize,
}

/// A warning where the step is coarser than 1/1024 of some feature's standard deviation: who forces it, who suffers.
pub(super) fn coarse_steps(
    grid: Grid,
    scale: Scale,
    features: &[FeaturePreparation],
    reaches: &[f64],
    spreads: &[f64],
) -> Option<String> {
    let pick =
        |choose: &dyn Fn(usize) -> bool| -> Vec<usize> { (0..features.len()).filter(|&at| choose(at)).collect() };
    let suffering = pick(&|at| grid.step() > spreads[at] / 1024.0);
    if suffering.is_empty() {
        return None;
    }
    let forcing = pick(&|at| reaches[at] > 0.0 && Grid::covering(reaches[at]) == grid);
    // `column "a"`, or `columns "a", "b"`.
    let list = |columns: &[usize]| {
        let mut names: Vec<String> = columns
            .iter()
            .take(8)
            .map(|&at| format!("{:?}", features[at].name()))
            .collect();
        if columns.len() > 8 {
            names.push(format!("{} more", columns.len() - 8));
        }
        format!(
            "{} {}",
            if columns.len() == 1 { "column" } else { "columns" },
            names.join(", ")
        )
    };
    let far = |columns: &[usize], unit: &str, reach: &dyn Fn(usize) -> f64| {
        let farthest = columns.iter().map(|&at| reach(at)).fold(0.0, f64::max);
        let (verb, them) = if columns.len() == 1 {
            ("reaches", "it")
        } else {
            ("reach", "them")
        };
        let up_to = short(farthest);
        format!(
            "{} {verb} {up_to} {unit}: clip or log the values, or leave {them} out",
            list(columns)
        )
    };
    let own = suffering.iter().all(|at| forcing.contains(at));
    let in_std = |at: usize| reaches[at] / spreads[at];
    let cure = match scale {
        Scale::Zscore | Scale::Rank => far(&forcing, "standard deviations", &in_std),
        Scale::Robust => far(&forcing, "quartile distances", &|at| reaches[at]),
        Scale::None if !own => format!(
            "{} far above the rest: scale the features (--scale zscore)",
            list(&forcing)
        ),
        Scale::Minmax | Scale::None => far(&suffering, "standard deviations", &in_std),
    };
    Some(format!(
        "{cure}; steps are coarser than 1/1024 standard deviation for {}",
        list(&suffering)
    ))
}

/// What was made of every column: `made` holds those that are clustered on, in the order of the schema.
pub(super) fn reports(schema: &Schema, scale: Scale, parts: &[Part], made: &[Made]) -> Vec<ColumnReport> {
    let mut made = made.iter();
    let of_column = |(field, part): (&FieldRef, &Part)| {
        let mut report = ColumnReport::new(field);
        part.report(&mut report);
        if matches!(part, Part::Candidate { .. }) {
            let made = made.next().expect("features for every candidate that is left");
            report.role = Role::Feature;
            report.treatment = treatment(scale, made);
            report.n_missing = made.n_missing.into();
            report.fill = (made.filled && made.n_missing > 0).then_some(made.features[0].fill);
            report.n_features = made.features.len();
            report.n_rare_levels = made.n_rare_levels;
            report.log.clone_from(&made.log);
        }
        report
    };
    schema.fields().iter().zip(parts).map(of_column).collect()
}

impl Part {
    /// Writes down role, treatment and reason as far as the part says them: not those of candidates.
    pub(super) fn report(&self, report: &mut ColumnReport) {
        match self {
            Self::Id => (report.role, report.treatment) = (Role::Id, "tells rows apart".into()),
            Self::Weight => (report.role, report.treatment) = (Role::Weight, "weight of the row".into()),
            Self::Outcome { asked, .. } => {
                (report.role, report.treatment) = (Role::Outcome, "profiled per segment".into());
                report.reason = (!asked).then(|| "looks like an outcome by its name".into());
            }
            Self::Carried => (report.role, report.treatment) = (Role::Carried, "copied as it is".into()),
            Self::Ignored(reason) => report.reason = Some(reason.clone()),
            Self::Candidate { .. } => {}
        }
    }
}

/// What is done to a column, for people.
fn treatment(scale: Scale, made: &Made) -> String {
    let feature = &made.features[0];
    let meaning = match feature.kind {
        ValueKind::Number => String::new(),
        ValueKind::Bool => "true = 1; ".into(),
        ValueKind::DaysBefore(newest) => format!("days before {newest}; "),
        ValueKind::HoursOfDay => "hours since midnight; ".into(),
        ValueKind::Days => "days; ".into(),
        ValueKind::Level(_) | ValueKind::OtherThan(_) | ValueKind::Missing | ValueKind::Cycle(..) => {
            return one_hot(made);
        }
        ValueKind::Element { of, .. } => return embedding(scale, of, made),
    };
    let clip = feature.clip.map_or_else(String::new, |[low, high]| {
        format!("clipped to {} .. {}; ", short(low), short(high))
    });
    let log = made.log.as_ref().map_or_else(String::new, |log| format!("{log}; "));
    let ranks = if feature.ranks.is_some() { "ranks; " } else { "" };
    let (centre, factor) = (short(feature.centre), short(feature.scale));
    let mut indicator = String::new();
    for feature in &made.features[1..] {
        match feature.kind {
            ValueKind::Cycle(cycle, Coordinate::Sine) => indicator += &format!("; its {} on a circle", cycle.name()),
            ValueKind::Missing => indicator += "; an indicator of missing values",
            _ => {}
        }
    }
    match scale {
        Scale::None => format!("{meaning}{clip}{log}not scaled: centre {centre}{indicator}"),
        _ => format!("{meaning}{clip}{log}{ranks}{scale}: centre {centre}, scale {factor}{indicator}"),
    }
}

/// Of lists: one scale for all of their numbers.
fn embedding(scale: Scale, n_numbers: u32, made: &Made) -> String {
    let mut text = match scale {
        Scale::None => format!("{n_numbers} numbers, not scaled"),
        Scale::Minmax => format!(
            "{n_numbers} numbers; minmax, all by one scale: {}",
            short(made.features[0].scale)
        ),
        _ => format!(
            "{n_numbers} numbers, as one column; zscore, all by one scale: {}",
            short(made.features[0].scale)
        ),
    };
    if made.features.len() > n_numbers as usize {
        text += "; an indicator of missing values";
    }
    text
}

fn one_hot(made: &Made) -> String {
    let count = |holds: fn(&ValueKind) -> bool| made.features.iter().filter(|feature| holds(&feature.kind)).count();
    let mut text = format!("one-hot: {} levels", count(|kind| matches!(kind, ValueKind::Level(_))));
    if made.n_rare_levels > 0 {
        text += &format!(", {} rare ones as one", made.n_rare_levels);
    }
    if count(|kind| *kind == ValueKind::Missing) > 0 {
        text += ", missing as one";
    }
    text
}

/// Six significant digits.
fn short(v: f64) -> String {
    let rounded: f64 = format!("{v:.5e}").parse().expect("a number");
    if rounded == 0.0 || (1e-4..1e9).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}
