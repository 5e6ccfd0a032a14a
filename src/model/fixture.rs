//! Small tables and a model of them, for tests.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;

use super::Model;
use crate::cells::MinCell;
use crate::data::{BatchSource, Consume};
use crate::error::Result;
use crate::features::{self, FeatureOptions, Preparation};
use crate::partial::ClusterPartial;
use crate::segments::{Confidence, SegmentName, outlier_distances};
use crate::tiles::Centroids;

/// One table, handed out in batches of a given number of rows.
#[derive(Debug, Clone)]
pub(crate) struct Cut(pub(crate) RecordBatch, pub(crate) usize);

impl BatchSource for Cut {
    fn schema(&self) -> &SchemaRef {
        self.0.schema_ref()
    }

    fn n_rows(&self) -> usize {
        self.0.num_rows()
    }

    fn scan(&self, columns: &[usize], consume: &mut Consume<'_>) -> Result<()> {
        let table = self.0.project(columns).unwrap();
        (0..self.n_rows())
            .step_by(self.1)
            .try_for_each(|row| consume(row, &table.slice(row, self.1.min(self.n_rows() - row))))
    }

    fn locate(&self, row: usize) -> (Option<PathBuf>, usize) {
        (None, row)
    }
}

pub(crate) fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

/// `n` customers with an id, `age` (some missing) and `visits` (three groups).
pub(crate) fn customers(n: usize) -> RecordBatch {
    let ids: StringArray = (0..n).map(|row| Some(format!("c{row}"))).collect();
    let age: Float64Array = (0..n)
        .map(|row| (row % 7 != 3).then(|| 20.0 + (row * 37 % 60) as f64 * 0.7))
        .collect();
    let visits: Float64Array = (0..n).map(|row| Some((row % 3 * 100 + row * 13 % 10) as f64)).collect();
    table(vec![
        ("customer", Arc::new(ids)),
        ("age", Arc::new(age)),
        ("visits", Arc::new(visits)),
    ])
}

/// A model with three segments of the customers.
pub(crate) fn model(customers: &RecordBatch) -> Model {
    let preparation = preparation(customers);
    let n = customers.num_rows();
    let grid = preparation.grid;
    let centroids = [-1.2, 0.1, 1.25].map(|z| [grid.snap_centroid(0.01 * z), grid.snap_centroid(z)]);
    let mut model = Model {
        centroids: Centroids::new(2, centroids.concat()),
        preparation,
        id_columns: vec!["customer".into()],
        weight_column: None,
        segment_counts: Vec::new(),
        segment_names: ["Young", "", "<b>Old</b>"]
            .map(|name| SegmentName::draft(name.into()))
            .to_vec(),
        confidence: Confidence::default(),
        sums: None,
        splits: Vec::new(),
    };
    let source = Cut(customers.clone(), n);
    let tiles = features::prepare(&source, &model.preparation, None, usize::MAX)
        .unwrap()
        .tiles;
    let scored = model.score(
        &Cut(customers.clone(), n),
        &crate::backend::scalar::ScalarBackend,
        usize::MAX,
    );
    let assignment = scored.unwrap().assignment;
    model.segment_counts = MinCell::default().parts(&assignment.counts(3));
    model.sums = Some(ClusterPartial::of_labels(&tiles, &assignment.labels, 3));
    model.confidence = Confidence {
        boundary_margin: Some(0.125),
        outlier_distances: outlier_distances(&assignment, 3, grid),
        unassign_outliers: false,
    };
    model
}

/// How `age` and `visits` are prepared.
pub(crate) fn preparation(customers: &RecordBatch) -> Preparation {
    let options = FeatureOptions {
        features: vec!["age".into(), "visits".into()],
        ..FeatureOptions::default()
    };
    let source = Cut(customers.clone(), customers.num_rows());
    features::learn(&source, &options).unwrap().preparation
}
