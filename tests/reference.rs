//! Against scikit-learn: its float64 Lloyd and ours agree on small data sets from the same start.
//! `tests/reference/make_reference.py` made the answers.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use kohort::backend::cpu::CpuBackend;
use kohort::data::MemorySource;
use kohort::features::{FeatureOptions, Scale};
use kohort::fit::{FitOptions, InitCentroids, InitChoice, fit};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    rows: Vec<Vec<f64>>,
    weights: Option<Vec<f64>>,
    start: Vec<Vec<f64>>,
    labels: Vec<usize>,
    centroids: Vec<Vec<f64>>,
    inertia: f64,
}

impl Case {
    fn names(&self) -> Vec<String> {
        (0..self.rows[0].len()).map(|feature| format!("f{feature}")).collect()
    }

    fn table(&self) -> RecordBatch {
        let column = |values: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
        let features = self.names().into_iter().enumerate();
        let mut columns: Vec<(String, ArrayRef)> = features
            .map(|(j, name)| (name, column(self.rows.iter().map(|row| row[j]).collect())))
            .collect();
        if let Some(weights) = &self.weights {
            columns.push(("weight".into(), column(weights.clone())));
        }
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn options(&self) -> FitOptions {
        let weight = self.weights.is_some().then(|| "weight".to_owned());
        let start = InitCentroids {
            path: None,
            columns: self.names(),
            rows: self.start.clone(),
        };
        FitOptions {
            features: FeatureOptions {
                scale: Scale::None,
                weight,
                ..FeatureOptions::default()
            },
            init: InitChoice::Centroids(start),
            tol: 0.0,
            ..FitOptions::new(self.start.len())
        }
    }
}

/// How far a result is from the reference: the inertia relatively, the centroids by their largest difference.
struct Difference {
    inertia: f64,
    centroids: f64,
}

/// An error where the rows are grouped in another way.
fn difference(case: &Case, labels: &[usize], centroids: &[Vec<f64>], inertia: f64) -> Result<Difference, String> {
    // Ours are numbered by size: map each of our clusters to the reference's number of its first row.
    for (row, &label) in labels.iter().enumerate() {
        let first = labels.iter().position(|&other| other == label).unwrap();
        if case.labels[row] != case.labels[first] {
            return Err(format!("row {row} is not with row {first}"));
        }
    }
    let mut worst = 0.0f64;
    for (cluster, centroid) in centroids.iter().enumerate() {
        let row = labels
            .iter()
            .position(|&label| label == cluster)
            .ok_or("an empty cluster")?;
        let expected = &case.centroids[case.labels[row]];
        worst = centroid
            .iter()
            .zip(expected)
            .fold(worst, |worst, (a, b)| worst.max((a - b).abs()));
    }
    Ok(Difference {
        inertia: (inertia / case.inertia - 1.0).abs(),
        centroids: worst,
    })
}

fn cases() -> Vec<Case> {
    let reference: Reference = serde_json::from_str(include_str!("reference/sklearn.json")).unwrap();
    reference.cases
}

#[test]
fn labels_are_scikit_learns_and_the_inertia_is_within_a_millionth() {
    for case in cases() {
        let source = MemorySource::new(vec![case.table()]).unwrap();
        let ours = fit(&source, &CpuBackend::new(2).unwrap(), &case.options(), &()).unwrap();
        let labels: Vec<usize> = ours.assignment.labels.iter().map(|&label| label as usize).collect();
        let model = &ours.model;
        let centroids: Vec<Vec<f64>> = (0..model.n_segments())
            .map(|cluster| model.preparation.centroid_in_original_units(&model.centroids, cluster))
            .collect();
        let found = difference(&case, &labels, &centroids, ours.summary.inertia).unwrap();
        assert!(
            found.inertia < 1e-6,
            "{}: inertia off by {:e}",
            case.name,
            found.inertia
        );
        // Snapping moves a value by half a step of the grid at most, hence a mean as well.
        let step = model.preparation.grid.step();
        assert!(
            found.centroids < 0.51 * step,
            "{}: {:e}, step {step:e}",
            case.name,
            found.centroids
        );
    }
}

/// Integers near 0, and the same a billion further on, where `f32` could not tell them apart.
#[test]
fn an_offset_of_a_billion_changes_no_label() {
    let labels = |offset: i64| {
        let column =
            |f: fn(i64) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..500).map(|i| f(i) + offset))) };
        let table = RecordBatch::try_from_iter([("a", column(|i| i % 3 * 2 - 1)), ("b", column(|i| i * i % 7))]);
        let source = MemorySource::new(vec![table.unwrap()]).unwrap();
        fit(&source, &CpuBackend::new(1).unwrap(), &FitOptions::new(4), &())
            .unwrap()
            .assignment
            .labels
    };
    assert_eq!(labels(0), labels(1_000_000_000));
    assert_eq!(labels(0), labels(-1_000_000_000));
}

#[test]
fn a_planted_fault_is_seen() {
    let case = &cases()[1];
    let found = difference(case, &case.labels, &case.centroids, case.inertia).unwrap();
    assert_eq!((found.inertia, found.centroids), (0.0, 0.0));
    let mut labels = case.labels.clone();
    labels[7] = (labels[7] + 1) % case.start.len();
    assert!(difference(case, &labels, &case.centroids, case.inertia).is_err());
    let mut centroids = case.centroids.clone();
    centroids[0][0] += 1e-4;
    assert!(
        difference(case, &case.labels, &centroids, case.inertia)
            .unwrap()
            .centroids
            > 0.9e-4
    );
    assert!(
        difference(case, &case.labels, &case.centroids, case.inertia * 1.00001)
            .unwrap()
            .inertia
            > 1e-6
    );
}
