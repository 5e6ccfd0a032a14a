//! Wrong answers that other k-means programs were seen to give, without a word: none of them may be given here.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, RecordBatch};
use arrow::datatypes::{Field, Schema};

use kohort::Error;
use kohort::backend::cpu::CpuBackend;
use kohort::data::{BatchSource, MemorySource};
use kohort::features::{FeatureOptions, Scale};
use kohort::fit::{Fit, FitOptions, fit};
use kohort::rng::Rng;
use kohort::workload::Workload;

fn options(n_clusters: usize, scale: Scale) -> FitOptions {
    FitOptions {
        features: FeatureOptions {
            features: vec!["f*".into()],
            scale,
            ..FeatureOptions::default()
        },
        n_init: 1,
        max_iter: 20,
        ..FitOptions::new(n_clusters)
    }
}

fn fit_on(source: &dyn BatchSource, threads: usize, options: &FitOptions) -> Fit {
    let options = FitOptions {
        threads,
        ..options.clone()
    };
    fit(source, &CpuBackend::new(threads).unwrap(), &options, &()).unwrap()
}

/// The values that `source` has, as they are.
fn rows_of(source: &dyn BatchSource, n_features: usize) -> Vec<Vec<f64>> {
    let columns: Vec<usize> = (1..=n_features).collect();
    let mut rows = vec![Vec::new(); source.n_rows()];
    source
        .scan(&columns, &mut |first_row, batch| {
            for column in batch.columns() {
                let column = column.as_any().downcast_ref::<Float32Array>().unwrap();
                let values = column.values().iter().map(|&value| f64::from(value));
                rows[first_row..]
                    .iter_mut()
                    .zip(values)
                    .for_each(|(row, value)| row.push(value));
            }
            Ok(())
        })
        .unwrap();
    rows
}

/// Rows whose label is not the nearest centroid, in `f64` on the values as they came: differences of values near 1e4
/// are exact there, and what the grid rounds off is far less than `slack`, in units of the features.
fn rows_off(rows: &[Vec<f64>], centroids: &[Vec<f64>], labels: &[u32], slack: f64) -> usize {
    let distance = |row: &[f64], centroid: &[f64]| {
        let squares = row.iter().zip(centroid).map(|(x, c)| (x - c).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let off = |(row, label): &(&Vec<f64>, &u32)| {
        let nearest = centroids.iter().map(|centroid| distance(row, centroid));
        distance(row, &centroids[**label as usize]) > nearest.fold(f64::INFINITY, f64::min) + slack
    };
    rows.iter().zip(labels).filter(off).count()
}

fn centroids_of(fit: &Fit) -> Vec<Vec<f64>> {
    let (preparation, centroids) = (&fit.model.preparation, &fit.model.centroids);
    let original = |cluster| preparation.centroid_in_original_units(centroids, cluster);
    (0..centroids.n_clusters()).map(original).collect()
}

/// With 1e4 added to every value, scikit-learn-intelex left 3,139 of 4,000 rows off their nearest centroid, and
/// SuperKMeans 3,235: the squares of the values drown the differences.
#[test]
fn an_offset_leaves_no_row_off_its_nearest_centroid() {
    let (n_rows, n_features) = (4000, 8);
    for scale in [Scale::None, Scale::Zscore] {
        let workload = Workload {
            offset: 1e4,
            ..Workload::new(n_rows, n_features, 32)
        };
        let accounts = workload.build().unwrap();
        let rows = rows_of(&accounts, n_features);
        assert!(rows.iter().flatten().all(|&value| value > 9e3), "the offset is there");
        let fit = fit_on(&accounts, 2, &options(32, scale));
        let (centroids, labels) = (centroids_of(&fit), &fit.assignment.labels);
        assert_eq!(centroids.len(), 32);
        if scale == Scale::None {
            assert_eq!(rows_off(&rows, &centroids, labels, 1e-3), 0);
        } else {
            // Near is meant in standard deviations there.
            let scaled = |row: &Vec<f64>| -> Vec<f64> {
                let z = |(j, &value): (usize, &f64)| fit.model.preparation.z(j, value);
                row.iter().enumerate().map(z).collect()
            };
            let rows: Vec<Vec<f64>> = rows.iter().map(scaled).collect();
            let centroids: Vec<Vec<f64>> = centroids.iter().map(scaled).collect();
            assert_eq!(rows_off(&rows, &centroids, labels, 1e-3), 0);
        }
    }
}

/// The check above has to find rows that are off: labels as a program gives them that lost the differences.
#[test]
fn rows_off_their_centroid_are_found() {
    let rows: Vec<Vec<f64>> = (0..100).map(|row| vec![1e4 + f64::from(row)]).collect();
    let centroids = [vec![1e4 + 24.5], vec![1e4 + 74.5]];
    let right: Vec<u32> = (0..100).map(|row| u32::from(row >= 50)).collect();
    assert_eq!(rows_off(&rows, &centroids, &right, 1e-3), 0);
    let mut wrong = right;
    wrong[7] = 1;
    wrong[99] = 0;
    assert_eq!(rows_off(&rows, &centroids, &wrong, 1e-3), 2);
}

/// scikit-learn changed 1,641 of 200,000 labels between 1 and 2 threads: sums in floating point depend on their order.
#[test]
fn threads_change_nothing() {
    let accounts = Workload {
        outliers: 0.01,
        ..Workload::new(20_000, 16, 32)
    }
    .build()
    .unwrap();
    let options = options(32, Scale::Zscore);
    let one = fit_on(&accounts, 1, &options);
    for threads in [2, 7] {
        let other = fit_on(&accounts, threads, &options);
        assert_eq!(other.assignment.labels, one.assignment.labels, "{threads} threads");
        assert_eq!(other.model.centroids, one.model.centroids, "{threads} threads");
        assert_eq!(
            other.summary.inertia_exact, one.summary.inertia_exact,
            "{threads} threads"
        );
    }
}

fn table(columns: Vec<(&str, ArrayRef)>) -> MemorySource {
    let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    MemorySource::new(vec![RecordBatch::try_new(Arc::new(schema), arrays).unwrap()]).unwrap()
}

/// SuperKMeans turns one NaN into centroids of NaN, with every label 0. Here a NaN is a missing value: what stands in
/// for a null stands in for it too, bit for bit.
#[test]
fn a_nan_is_a_missing_value_and_spreads_nowhere() {
    let mut rng = Rng::new(3, 0);
    let values: Vec<f64> = (0..900)
        .map(|row| (row % 3 * 100) as f64 + rng.below(1000) as f64 / 100.0)
        .collect();
    let other: Vec<f64> = (0..900)
        .map(|row| (row % 3 * 7) as f64 + rng.below(1000) as f64 / 1000.0)
        .collect();
    let hole = |row: usize| row % 50 == 7;
    let with = |missing: Option<f64>| {
        let cells = values.iter().enumerate();
        let cells: Float64Array = cells
            .map(|(row, &v)| if hole(row) { missing } else { Some(v) })
            .collect();
        let other = Float32Array::from_iter_values(other.iter().map(|&v| v as f32));
        table(vec![("f1", Arc::new(cells) as ArrayRef), ("f2", Arc::new(other))])
    };
    let options = options(3, Scale::Zscore);
    let nan = fit_on(&with(Some(f64::NAN)), 2, &options);
    assert!(centroids_of(&nan).iter().flatten().all(|value| value.is_finite()));
    assert!(nan.summary.inertia.is_finite());
    let counts = nan.assignment.counts(3);
    assert!(counts.iter().all(|&n| n >= 250), "three groups of 300 rows: {counts:?}");
    assert!(nan.assignment.share_missing[7] == 0.5 && nan.assignment.share_missing[8] == 0.0);
    let null = fit_on(&with(None), 2, &options);
    assert_eq!(nan.assignment, null.assignment);
    assert_eq!(nan.model.centroids, null.model.centroids);
}

/// A column of nothing but NaN, and an infinite value, are said to be what they are.
#[test]
fn what_is_no_number_is_refused_by_name() {
    let good: ArrayRef = Arc::new(Float64Array::from_iter_values((0..100).map(f64::from)));
    let nan: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN; 100]));
    let mut infinite: Vec<f64> = (0..100).map(f64::from).collect();
    infinite[41] = f64::INFINITY;
    let try_fit = |column: ArrayRef, features: &[&str]| {
        let source = table(vec![("f1", Arc::clone(&good)), ("f2", column)]);
        let mut options = options(2, Scale::Zscore);
        options.features.features = features.iter().map(|&name| name.to_owned()).collect();
        fit(&source, &CpuBackend::new(1).unwrap(), &options, &())
    };
    let ignored = try_fit(Arc::clone(&nan), &["f*"]).unwrap();
    assert_eq!(ignored.summary.n_features, 1);
    let named = try_fit(nan, &["f1", "f2"]).unwrap_err();
    assert!(
        matches!(&named, Error::ColumnUnusable { column, .. } if column == "f2"),
        "{named}"
    );
    let far = try_fit(Arc::new(Float64Array::from(infinite)), &["f*"]).unwrap_err();
    assert!(
        matches!(&far, Error::BadValue { column, row: 42, .. } if column == "f2"),
        "{far}"
    );
}
