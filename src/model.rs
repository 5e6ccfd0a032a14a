//! Layer 5: a fitted model: how to prepare the data, and the centroids.

mod explain;
#[cfg(test)]
pub(crate) mod fixture;

use crate::backend::Backend;
use crate::cells::Count;
use crate::data::{BatchSource, read_keys};
use crate::error::{Error, Result};
use crate::features::{self, Preparation};
use crate::kmeans::again_where_wrong;
use crate::nested::{Paths, Split, descend};
use crate::partial::ClusterPartial;
use crate::segments::{Assignment, Confidence, SegmentName, labels_hash};
use crate::tiles::{Centroids, RowKeys};

/// Everything needed to say which segment a new row belongs to. Holds no data of any row.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// How columns become grid values.
    pub preparation: Preparation,
    /// The centroids, one per segment, in order of segment number.
    pub centroids: Centroids,
    /// The columns that identify a row; none where rows go by their number.
    pub id_columns: Vec<String>,
    /// The column of weights in the fit, where there was one; scoring needs none.
    pub weight_column: Option<String>,
    /// Rows of the training data in each segment, as they may be told.
    pub segment_counts: Vec<Count>,
    /// What the segments are called.
    pub segment_names: Vec<SegmentName>,
    /// From where on a row sits on a boundary or is an outlier.
    pub confidence: Confidence,
    /// Exact sums and weights of the rows of each segment, from which coarser groups come; none in a model of a version
    /// that did not keep them, or where they are too heavy for [`crate::segments::adds_up`].
    pub sums: Option<ClusterPartial>,
    /// Segments that are split again, each before its own parts; none on most models.
    pub splits: Vec<Split>,
}

/// Rows held against a model.
#[derive(Debug, Clone)]
pub struct Scored {
    /// Segment and runner-up of every row.
    pub assignment: Assignment,
    /// What tells rows apart.
    pub keys: RowKeys,
    /// The id columns, as indices into the schema of the data.
    pub id_columns: Vec<usize>,
    /// Over keys and segments, see [`labels_hash`].
    pub labels_hash: String,
    /// The leaf of every row, where the model has segments of segments.
    pub paths: Option<Paths>,
    /// Values beyond the model's grid, moved to its edge: far outside anything in the training data.
    pub n_clipped: u64,
    /// Rows that needed exact arithmetic; diagnostic.
    pub n_doubtful: u64,
    /// Rows whose labels the host found again, to see whether the device computes rightly; 0 where the host did it all.
    pub n_audited: u64,
    /// What the device has to say: that it was lost, for example.
    pub notices: Vec<String>,
}

impl Model {
    /// Number of segments.
    #[must_use]
    pub fn n_segments(&self) -> usize {
        self.centroids.n_clusters()
    }

    /// The segment of every row of `source`: the nearest centroid, exact ties to the lower number.
    ///
    /// The training data gets the labels of the fit, bit for bit, on every backend and for every `chunk_bytes`.
    ///
    /// # Errors
    /// [`Error::NoRows`]; a column that is missing, ambiguous or of another type than in the fit; ids that are null
    /// or repeat; those of reading and of the device.
    pub fn score(&self, source: &dyn BatchSource, backend: &dyn Backend, chunk_bytes: usize) -> Result<Scored> {
        if source.n_rows() == 0 {
            return Err(Error::NoRows);
        }
        self.check_columns(source)?;
        again_where_wrong(&(), || self.score_rows(source, backend, chunk_bytes))
    }

    fn score_rows(&self, source: &dyn BatchSource, backend: &dyn Backend, chunk_bytes: usize) -> Result<Scored> {
        let id_columns = self.id_columns_in(source)?;
        let keys = if id_columns.is_empty() {
            RowKeys::RowNumber
        } else {
            read_keys(source, &id_columns, &self.id_columns)?
        };
        let prepared = features::prepare(source, &self.preparation, None, chunk_bytes)?;
        let mut session = backend.open(&prepared.tiles, self.n_segments())?;
        let nearest = session.two_nearest(&self.centroids)?;
        let mut notices = session.notices();
        let (mut n_doubtful, mut n_audited) = (nearest.n_doubtful, nearest.n_audited);
        drop(session);
        let mut paths = None;
        if !self.splits.is_empty() {
            let down = descend(
                &self.splits,
                self.n_segments(),
                &prepared.tiles,
                &nearest.labels,
                backend,
            )?;
            paths = Some(down.0);
            n_doubtful += down.1.n_doubtful;
            n_audited += down.1.n_audited;
            notices.extend(down.1.notices);
        }
        let grid = self.preparation.grid;
        let assignment = Assignment::new(&prepared.tiles, &self.centroids, grid, nearest, prepared.share_missing);
        Ok(Scored {
            labels_hash: labels_hash(&keys, &assignment.labels),
            assignment,
            paths,
            keys,
            id_columns,
            n_clipped: prepared.n_clipped,
            n_doubtful,
            n_audited,
            notices,
        })
    }

    /// Whether `source` has the columns that scoring needs.
    ///
    /// # Errors
    /// A column that is missing, ambiguous or of another type than in the fit.
    pub fn check_columns(&self, source: &dyn BatchSource) -> Result<()> {
        self.preparation.columns_in(source.schema())?;
        self.id_columns_in(source).map(drop)
    }

    /// Where the id columns stand in `source`.
    pub(crate) fn id_columns_in(&self, source: &dyn BatchSource) -> Result<Vec<usize>> {
        let names: Vec<&String> = source.schema().fields().iter().map(|field| field.name()).collect();
        let find = |column: &String| {
            let mut places = (0..names.len()).filter(|&i| names[i] == column);
            let place = places.next().ok_or_else(|| Error::ColumnNotFound {
                column: column.clone(),
                available: names.iter().map(|&name| name.clone()).collect(),
            })?;
            match places.next() {
                Some(_) => Err(Error::ColumnAmbiguous { column: column.clone() }),
                None => Ok(place),
            }
        };
        self.id_columns.iter().map(find).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;

    use super::fixture::{Cut, customers, model};
    use super::*;
    use crate::backend::scalar::ScalarBackend;

    fn score(model: &Model, table: RecordBatch, batch_rows: usize, chunk_bytes: usize) -> Result<Scored> {
        model.score(&Cut(table, batch_rows), &ScalarBackend, chunk_bytes)
    }

    #[test]
    fn batches_chunks_and_row_order_change_no_segment() {
        let n = 300;
        let table = customers(n);
        let model = model(&table);
        let whole = score(&model, table.clone(), n, usize::MAX).unwrap();
        assert_eq!(whole.assignment.counts(3), [100, 100, 100]);
        assert_eq!(whole.assignment.labels[..3], [0, 1, 2]);
        assert_eq!(whole.n_clipped, 0);
        let cut = score(&model, table.clone(), 7, 1).unwrap();
        assert_eq!(cut.assignment, whole.assignment);
        assert_eq!(cut.labels_hash, whole.labels_hash);
        let turned: arrow::array::UInt32Array = (0..n as u32).rev().collect();
        let turned = arrow::compute::take_record_batch(&table, &turned).unwrap();
        let turned = score(&model, turned, n, usize::MAX).unwrap();
        assert_eq!(turned.labels_hash, whole.labels_hash);
        assert_ne!(turned.assignment.labels, whole.assignment.labels);
    }

    #[test]
    fn other_columns_than_the_model_s_are_refused() {
        let table = customers(10);
        let model = model(&table);
        let without = |name: &str| {
            let keep = (0..3).filter(|&i| table.schema().field(i).name() != name);
            score(&model, table.project(&keep.collect::<Vec<_>>()).unwrap(), 10, 1)
        };
        for name in ["customer", "age", "visits"] {
            let missing = without(name).unwrap_err();
            assert!(matches!(missing, Error::ColumnNotFound { column, .. } if column == name));
        }
        let twice = score(&model, table.project(&[0, 1, 2, 0]).unwrap(), 10, 1);
        assert!(matches!(twice, Err(Error::ColumnAmbiguous { column }) if column == "customer"));
        assert!(matches!(score(&model, table.slice(0, 0), 10, 1), Err(Error::NoRows)));
    }

    #[test]
    fn columns_may_stand_in_another_order_and_among_others() {
        let table = customers(50);
        let model = model(&table);
        let mut schema = arrow::datatypes::SchemaBuilder::from(table.schema().as_ref().project(&[2, 1, 0]).unwrap());
        schema.push(arrow::datatypes::Field::new(
            "more",
            arrow::datatypes::DataType::Float64,
            true,
        ));
        let columns = [2, 1, 0, 1].map(|i| table.column(i).clone());
        let other = RecordBatch::try_new(std::sync::Arc::new(schema.finish()), columns.to_vec()).unwrap();
        assert_eq!(
            score(&model, other, 50, 1).unwrap().assignment,
            score(&model, table, 50, 1).unwrap().assignment
        );
    }
}
