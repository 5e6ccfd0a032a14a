//! What was learned, in words: a report on every column, and a warning of coarse steps.

use arrow::datatypes::{FieldRef, Schema};

use super::columns::{ColumnReport, Part, Role};
use super::decode::ValueKind;
use super::options::Scale;
use super::preparation::FeaturePreparation;
use crate::grid::Grid;

/// A warning where the step is coarser than 1/1024 of some feature's standard deviation: who forces it, who suffers.
pub(super) fn coarse_steps(
    grid: Grid,
    scale: Scale,
    features: &[FeaturePreparation],
    reaches: &[f64],
) -> Option<String> {
    let pick = |choose: &dyn Fn(&FeaturePreparation, f64) -> bool| -> Vec<usize> {
        (0..features.len())
            .filter(|&at| choose(&features[at], reaches[at]))
            .collect()
    };
    let suffering = pick(&|feature, _| grid.step() > feature.std / feature.scale / 1024.0);
    if suffering.is_empty() {
        return None;
    }
    let forcing = pick(&|_, reach| reach > 0.0 && Grid::covering(reach) == grid);
    // `column "a"`, or `columns "a", "b"`.
    let list = |columns: &[usize]| {
        let mut names: Vec<String> = columns
            .iter()
            .take(8)
            .map(|&at| format!("{:?}", features[at].column))
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
    let in_std = |at: usize| reaches[at] * features[at].scale / features[at].std;
    let cure = match scale {
        Scale::Zscore => far(&forcing, "standard deviations", &in_std),
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

/// What was made of every column: `prepared` and `n_missing` hold the features, in the order of the schema.
pub(super) fn reports(
    schema: &Schema,
    scale: Scale,
    parts: &[Part],
    prepared: &[FeaturePreparation],
    n_missing: &[u64],
) -> Vec<ColumnReport> {
    let mut features = prepared.iter().zip(n_missing);
    let of_column = |(field, part): (&FieldRef, &Part)| {
        let mut report = ColumnReport {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
            role: Role::Ignored,
            treatment: String::new(),
            n_missing: 0,
            fill: None,
            reason: None,
        };
        match part {
            Part::Id => (report.role, report.treatment) = (Role::Id, "tells rows apart".into()),
            Part::Weight => (report.role, report.treatment) = (Role::Weight, "weight of the row".into()),
            Part::Ignored(reason) => report.reason = Some(reason.clone()),
            Part::Candidate { .. } => {
                let (prepared, &n_missing) = features.next().expect("a feature for every candidate that is left");
                report.role = Role::Feature;
                report.treatment = treatment(scale, prepared);
                report.n_missing = n_missing;
                report.fill = (n_missing > 0).then_some(prepared.fill);
            }
        }
        report
    };
    schema.fields().iter().zip(parts).map(of_column).collect()
}

/// What is done to a column, for people.
fn treatment(scale: Scale, feature: &FeaturePreparation) -> String {
    let meaning = match feature.kind {
        ValueKind::Number => String::new(),
        ValueKind::Bool => "true = 1; ".into(),
        ValueKind::DaysBefore(newest) => format!("days before {newest}; "),
        ValueKind::HoursOfDay => "hours since midnight; ".into(),
        ValueKind::Days => "days; ".into(),
    };
    let (centre, factor) = (short(feature.centre), short(feature.scale));
    match scale {
        Scale::None => format!("{meaning}not scaled: centre {centre}"),
        _ => format!("{meaning}{scale}: centre {centre}, scale {factor}"),
    }
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
