//! The tables of a run as Parquet, streamed, with bytes that depend on their content alone.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Float64Builder, Int32Array, Int64Array, Int64Builder,
    ListBuilder, RecordBatch, StringArray,
};
use arrow::compute::{BatchCoalescer, cast};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;

use super::OutFile;
use crate::backend::NO_CLUSTER;
use crate::cells::Count;
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::nested::{Node, Paths, SegmentPath};
use crate::segments::{Assignment, Confidence, FeatureProfile, Profile};
use crate::select::{Candidate, Sweep};

/// Rows that go to the writer at once.
const BATCH_ROWS: usize = 1 << 16;
/// Rows in a row group: a whole number of batches.
const GROUP_ROWS: usize = 1 << 20;
/// The column that stands for the row where there is no id.
const ROW: &str = "row";

/// Refuses id columns that the assignment table could not hold beside its own.
///
/// # Errors
/// [`Error::ColumnUnusable`] naming the first column whose name the table uses itself, or whose type Parquet lacks.
pub fn check_id_columns(schema: &Schema, id_columns: &[usize]) -> Result<()> {
    check_fields(&id_fields(schema, id_columns), "an id", &result_fields())
}

/// Refuses columns to be carried along that the table could not hold.
///
/// # Errors
/// Those of [`check_id_columns`].
pub fn check_carried_columns(schema: &Schema, carried: &[usize]) -> Result<()> {
    check_fields(&plain_fields(schema, carried), "a column to carry", &result_fields())
}

/// Refuses ids and columns to be carried along that the table could not hold beside its column of paths.
///
/// # Errors
/// Those of [`check_id_columns`].
pub fn check_path_column(schema: &Schema, columns: &[usize]) -> Result<()> {
    check_fields(
        &plain_fields(schema, columns),
        "a column beside the paths",
        &[path_field()],
    )
}

fn path_field() -> Field {
    Field::new("path", DataType::Utf8, false)
}

/// Refuses columns that a table with the columns `own` could not hold beside them.
pub(super) fn check_fields(fields: &[FieldRef], role: &'static str, own: &[Field]) -> Result<()> {
    for field in fields {
        let unusable = |reason: &str| {
            Err(Error::ColumnUnusable {
                column: field.name().clone(),
                role,
                reason: reason.into(),
            })
        };
        if own.iter().any(|result| result.name() == field.name()) {
            return unusable("the table that is written has a column of that name itself; rename it");
        }
        let alone = Schema::new(vec![field.clone()]);
        if ArrowSchemaConverter::new().convert(&alone).is_err() {
            return unusable("Parquet has no such type");
        }
    }
    Ok(())
}

/// Writes one row per row of the data, in its order.
///
/// The id columns as they came (a dictionary as the values it stands for) or, without any, `row`, the row number from
/// 0 (int64); then `segment` (int32, from 1; null for outliers that get none), `distance`, `segment_2` and `distance_2` (the runner-up; null where
/// there is none), `margin` (see [`Assignment::margin`]),
/// `is_boundary` (see [`Confidence::is_boundary`]), `outlier_score` (above 1 for outliers, see
/// [`Confidence::outlier_score`]) and `share_missing`. Memory does not grow with the rows.
///
/// # Errors
/// Those of [`check_id_columns`], of reading and of writing.
pub fn write_assignments(
    out: &mut OutFile,
    source: &dyn BatchSource,
    id_columns: &[usize],
    assignment: &Assignment,
    confidence: &Confidence,
) -> Result<()> {
    write_assignments_carrying(out, source, id_columns, &[], assignment, confidence, None)
}

/// [`write_assignments`], with more columns of the data after the ids, as they came, and, with `paths`, `path` (text)
/// after `segment`: the row's leaf among segments of segments.
///
/// # Errors
/// Those of [`write_assignments`].
pub fn write_assignments_carrying(
    out: &mut OutFile,
    source: &dyn BatchSource,
    id_columns: &[usize],
    carried: &[usize],
    assignment: &Assignment,
    confidence: &Confidence,
    paths: Option<&Paths>,
) -> Result<()> {
    check_id_columns(source.schema(), id_columns)?;
    check_carried_columns(source.schema(), carried)?;
    let mut fields: Vec<FieldRef> = id_fields(source.schema(), id_columns);
    fields.extend(plain_fields(source.schema(), carried));
    let n_copied = fields.len();
    fields.extend(result_fields().into_iter().map(Arc::new));
    if paths.is_some() {
        check_path_column(source.schema(), &[id_columns, carried].concat())?;
        fields.insert(n_copied + 1, Arc::new(path_field()));
    }
    let names: Vec<String> = { paths.iter() }
        .flat_map(|paths| paths.leaves.iter().map(ToString::to_string))
        .collect();
    let results = |first_row: usize, n_rows: usize| {
        let mut columns = results(assignment, confidence, first_row, n_rows);
        if let Some(paths) = paths {
            let leaves = &paths.of_row[first_row..first_row + n_rows];
            let leaves = leaves.iter().map(|&leaf| names[leaf as usize].as_str());
            columns.insert(1, Arc::new(StringArray::from_iter_values(leaves)));
        }
        columns
    };
    let mut distinct = vec!["distance", "distance_2", "margin", "outlier_score"];
    let id = fields[0].name().clone();
    if id_columns.len() <= 1 {
        distinct.push(&id);
    }
    let mut table = Table::new(out, Arc::new(Schema::new(fields)), &distinct)?;
    let mut n_written = 0;
    let copied: Vec<usize> = id_columns.iter().chain(carried).copied().collect();
    if copied.is_empty() {
        for first_row in (0..assignment.n_rows()).step_by(BATCH_ROWS) {
            let end = (first_row + BATCH_ROWS).min(assignment.n_rows());
            let rows: Int64Array = (first_row..end).map(|row| row as i64).collect();
            table.push(vec![Arc::new(rows)], results(first_row, end - first_row))?;
            n_written = end;
        }
    } else {
        source.scan(&copied, &mut |first_row, batch| {
            let end = first_row + batch.num_rows();
            if first_row != n_written || end > assignment.n_rows() {
                return Err(row_count_error());
            }
            n_written = end;
            let mut columns = batch.columns().to_vec();
            if id_columns.is_empty() {
                let rows: Int64Array = (first_row..end).map(|row| row as i64).collect();
                columns.insert(0, Arc::new(rows));
            }
            table.push(columns, results(first_row, batch.num_rows()))
        })?;
    }
    if n_written != assignment.n_rows() {
        return Err(row_count_error());
    }
    table.finish()
}

/// Writes one row per segment and feature: what [`crate::segments::FeatureProfile`] holds, `n_rows`, the size of the
/// segment, and `histogram_edges`, the borders of the bins of `histogram` (below the first, from each to below the next,
/// from the last on; of a level or truth value, without it and with it). With `nodes`, those follow, and `path` (text)
/// tells them apart: `segment` is then that of the first level.
///
/// What too few rows stand behind is null, see [`crate::cells`], in `histogram` too; `withheld` says in which rows of the
/// table that is so. In all others a null means that no row has a value.
///
/// # Errors
/// Those of writing.
pub fn write_profile(out: &mut OutFile, profile: &Profile, nodes: Option<&[Node]>) -> Result<()> {
    let nullable = |name, data_type| Field::new(name, data_type, true);
    let list = |name, data_type| Field::new_list(name, Field::new_list_field(data_type, true), false);
    let mut fields = vec![
        Field::new("segment", DataType::Int32, false),
        Field::new("feature", DataType::Utf8, false),
        nullable("n_rows", DataType::Int64),
        nullable("count", DataType::Int64),
    ];
    type Figure = (&'static str, fn(&FeatureProfile) -> Option<f64>);
    let figures: [Figure; 9] = [
        ("mean", |f| f.mean),
        ("std", |f| f.std),
        ("median", |f| f.median),
        ("p10", |f| f.p10),
        ("p90", |f| f.p90),
        ("difference_sd", |f| f.difference_sd),
        ("difference_low", |f| Some(f.difference_interval?[0])),
        ("difference_high", |f| Some(f.difference_interval?[1])),
        ("typical", |f| f.typical),
    ];
    fields.extend(figures.map(|(name, _)| nullable(name, DataType::Float64)));
    fields.extend([
        nullable("share_missing", DataType::Float32),
        list("histogram_edges", DataType::Float64),
        list("histogram", DataType::Int64),
        Field::new("withheld", DataType::Boolean, false),
    ]);
    if nodes.is_some() {
        fields.insert(1, path_field());
    }
    let mut table = Table::new(out, Arc::new(Schema::new(fields)), &[])?;
    let tops = { profile.segments.iter() }.map(|segment| {
        (
            SegmentPath::top(segment.segment.unsigned_abs()),
            segment,
            &profile.edges,
        )
    });
    let below = nodes
        .into_iter()
        .flatten()
        .map(|node| (node.path.clone(), &node.profile, &node.edges));
    for (path, segment, all_edges) in tops.chain(below) {
        let features = &segment.features;
        let n_rows = std::iter::repeat_n(as_i64(segment.count), features.len());
        let (mut edges, mut histograms) = (
            ListBuilder::new(Float64Builder::new()),
            ListBuilder::new(Int64Builder::new()),
        );
        for (feature, of_feature) in features.iter().zip(all_edges) {
            edges.append_value(of_feature.iter().copied().map(Some));
            histograms.append_value(feature.histogram.iter().map(|&n| as_i64(n)));
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_value(path.segment() as i32, features.len())),
            Arc::new(StringArray::from_iter_values(features.iter().map(|f| &f.feature))),
            Arc::new(n_rows.collect::<Int64Array>()),
            Arc::new(features.iter().map(|f| as_i64(f.count)).collect::<Int64Array>()),
        ];
        columns.extend(
            figures.map(|(_, figure)| -> ArrayRef { Arc::new(features.iter().map(figure).collect::<Float64Array>()) }),
        );
        let withheld: Vec<bool> = features.iter().map(|f| f.is_withheld(segment.count)).collect();
        columns.extend([
            Arc::new(features.iter().map(|f| f.share_missing).collect::<Float32Array>()) as ArrayRef,
            Arc::new(edges.finish()),
            Arc::new(histograms.finish()),
            Arc::new(BooleanArray::from(withheld)),
        ]);
        if nodes.is_some() {
            let path = path.to_string();
            let paths = std::iter::repeat_n(&path, features.len());
            columns.insert(1, Arc::new(StringArray::from_iter_values(paths)));
        }
        table.push(columns, Vec::new())?;
    }
    table.finish()
}

fn as_i64(count: Count) -> Option<i64> {
    count.exact().map(|n| n as i64)
}

/// Writes one row per number of clusters: the figures of [`Candidate`] that are single numbers, and whether it was
/// `chosen`.
///
/// # Errors
/// Those of writing.
pub fn write_sweep(out: &mut OutFile, sweep: &Sweep) -> Result<()> {
    type Figure = (&'static str, fn(&Candidate) -> Option<f64>);
    let of_stability: [Figure; 3] = [
        ("adjusted_rand", |c| c.stability.as_ref().map(|s| s.adjusted_rand)),
        ("least_adjusted_rand", |c| {
            c.stability.as_ref().map(|s| s.least_adjusted_rand)
        }),
        ("refined_adjusted_rand", |c| {
            c.stability.as_ref().map(|s| s.refined_adjusted_rand)
        }),
    ];
    let figures: [Figure; 8] = [
        ("inertia", |c| Some(c.inertia)),
        ("share_explained", |c| Some(c.share_explained)),
        ("silhouette", |c| Some(c.silhouette)),
        ("simplified_silhouette", |c| Some(c.simplified_silhouette)),
        ("davies_bouldin", |c| Some(c.davies_bouldin)),
        ("calinski_harabasz", |c| c.calinski_harabasz),
        ("smallest_share", |c| Some(c.smallest_share)),
        ("least_recovered", |c| {
            c.stability
                .as_ref()
                .map(|s| s.recovered.iter().copied().fold(1.0, f64::min))
        }),
    ];
    let figures: Vec<Figure> = figures.into_iter().chain(of_stability).collect();
    let integer = |name| Field::new(name, DataType::Int32, false);
    let mut fields = vec![integer("k"), integer("n_apart")];
    fields.extend(
        figures
            .iter()
            .map(|&(name, _)| Field::new(name, DataType::Float64, true)),
    );
    fields.push(Field::new("chosen", DataType::Boolean, false));
    let candidates = &sweep.candidates;
    let integers = |value: fn(&Candidate) -> usize| -> ArrayRef {
        Arc::new(candidates.iter().map(|c| value(c) as i32).collect::<Int32Array>())
    };
    let mut columns = vec![integers(|c| c.k), integers(Candidate::n_apart)];
    columns.extend(
        figures
            .iter()
            .map(|(_, value)| -> ArrayRef { Arc::new(candidates.iter().map(value).collect::<Float64Array>()) }),
    );
    let chosen: Vec<bool> = candidates.iter().map(|c| c.k == sweep.decision.k).collect();
    columns.push(Arc::new(BooleanArray::from(chosen)));
    let mut table = Table::new(out, Arc::new(Schema::new(fields)), &[])?;
    table.push(columns, Vec::new())?;
    table.finish()
}

/// Writes all rows of a source as they are; no value of the columns `distinct` is expected to stand twice.
///
/// # Errors
/// Those of reading and of writing.
pub fn write_rows(out: &mut OutFile, source: &dyn BatchSource, distinct: &[&str]) -> Result<()> {
    let columns: Vec<usize> = (0..source.schema().fields().len()).collect();
    let mut table = Table::new(out, source.schema().clone(), distinct)?;
    source.scan(&columns, &mut |_, batch| {
        table.push(batch.columns().to_vec(), Vec::new())
    })?;
    table.finish()
}

/// The columns of the assignment table after the ids.
fn result_fields() -> [Field; 8] {
    [
        Field::new("segment", DataType::Int32, true),
        Field::new("distance", DataType::Float64, false),
        Field::new("segment_2", DataType::Int32, true),
        Field::new("distance_2", DataType::Float64, true),
        Field::new("margin", DataType::Float64, true),
        Field::new("is_boundary", DataType::Boolean, true),
        Field::new("outlier_score", DataType::Float64, true),
        Field::new("share_missing", DataType::Float32, false),
    ]
}

pub(super) fn id_fields(schema: &Schema, id_columns: &[usize]) -> Vec<FieldRef> {
    if id_columns.is_empty() {
        return vec![Arc::new(Field::new(ROW, DataType::Int64, false))];
    }
    plain_fields(schema, id_columns)
}

/// The fields of some columns, dictionaries as the values they stand for.
fn plain_fields(schema: &Schema, columns: &[usize]) -> Vec<FieldRef> {
    let plain = |&column: &usize| {
        let field = schema.field(column).clone();
        match field.data_type().clone() {
            // Keys differ from batch to batch; the values are what the id is.
            DataType::Dictionary(_, values) => Arc::new(field.with_data_type(*values)),
            _ => Arc::new(field),
        }
    };
    columns.iter().map(plain).collect()
}

/// The result columns of rows `first_row ..`.
fn results(assignment: &Assignment, confidence: &Confidence, first_row: usize, n_rows: usize) -> Vec<ArrayRef> {
    let rows = first_row..first_row + n_rows;
    let segment = |label: u32| label as i32 + 1;
    let column = |field: usize| -> ArrayRef {
        let rows = rows.clone();
        match field {
            0 => Arc::new(
                rows.map(|row| confidence.segment(assignment, row).map(segment))
                    .collect::<Int32Array>(),
            ),
            1 => Arc::new(Float64Array::from(assignment.distances[rows].to_vec())),
            2 => {
                let runners_up = assignment.runners_up[rows].iter();
                let runners_up = runners_up.map(|&label| (label != NO_CLUSTER).then(|| segment(label)));
                Arc::new(runners_up.collect::<Int32Array>())
            }
            3 => Arc::new(rows.map(|row| assignment.distance_2(row)).collect::<Float64Array>()),
            4 => Arc::new(rows.map(|row| assignment.margin(row)).collect::<Float64Array>()),
            5 => {
                let flags = rows.map(|row| confidence.is_boundary(assignment, row));
                Arc::new(flags.collect::<BooleanArray>())
            }
            6 => {
                let scores = rows.map(|row| confidence.outlier_score(assignment, row));
                Arc::new(scores.collect::<Float64Array>())
            }
            _ => Arc::new(Float32Array::from(assignment.share_missing[rows].to_vec())),
        }
    };
    (0..result_fields().len()).into_par_iter().map(column).collect()
}

fn row_count_error() -> Error {
    Error::Internal("the data read for the assignments is not the data that was clustered".into())
}

/// A Parquet file being written in batches of one size, whatever comes in: its bytes do not show how the input was cut.
/// The columns are encoded side by side.
pub(super) struct Table<'a> {
    path: PathBuf,
    writer: SerializedFileWriter<&'a mut OutFile>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    coalescer: BatchCoalescer,
    /// The columns of the row group being made, and its rows so far.
    group: Vec<ArrowColumnWriter>,
    group_rows: usize,
    n_groups: usize,
}

impl<'a> Table<'a> {
    /// A table in which no value of the columns `distinct` is expected to stand twice.
    pub(super) fn new(out: &'a mut OutFile, schema: SchemaRef, distinct: &[&str]) -> Result<Self> {
        let path = out.path().to_owned();
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("kohort ", env!("CARGO_PKG_VERSION")).to_owned());
        for &column in distinct {
            let column = ColumnPath::new(vec![column.to_owned()]);
            properties = properties.set_column_dictionary_enabled(column, false);
        }
        let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties.build())).map_err(write_error(&path))?;
        let (writer, factory) = writer.into_serialized_writer().map_err(write_error(&path))?;
        Ok(Self {
            path,
            writer,
            factory,
            coalescer: BatchCoalescer::new(schema.clone(), BATCH_ROWS),
            schema,
            group: Vec::new(),
            group_rows: 0,
            n_groups: 0,
        })
    }

    /// Adds rows given as the first columns and the rest.
    pub(super) fn push(&mut self, mut columns: Vec<ArrayRef>, rest: Vec<ArrayRef>) -> Result<()> {
        for (column, field) in columns.iter_mut().zip(self.schema.fields()) {
            if column.data_type() != field.data_type() {
                *column = cast(column, field.data_type()).map_err(|error| self.error(error))?;
            }
        }
        columns.extend(rest);
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| self.error(error))?;
        let pushed = self.coalescer.push_batch(batch);
        pushed.map_err(|error| self.error(error))?;
        self.write_completed()
    }

    fn write_completed(&mut self) -> Result<()> {
        while let Some(batch) = self.coalescer.next_completed_batch() {
            self.write(&batch).map_err(write_error(&self.path))?;
        }
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        if self.group.is_empty() {
            self.group = self.factory.create_column_writers(self.n_groups)?;
        }
        let columns = self
            .group
            .par_iter_mut()
            .zip(batch.columns())
            .zip(self.schema.fields().as_ref());
        columns.try_for_each(|((writer, array), field)| {
            let leaves = compute_leaves(field, array)?;
            leaves.iter().try_for_each(|leaf| writer.write(leaf))
        })?;
        self.group_rows += batch.num_rows();
        if self.group_rows < GROUP_ROWS {
            return Ok(());
        }
        self.end_group()
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        let columns = std::mem::take(&mut self.group).into_par_iter();
        let columns: Vec<_> = columns.map(ArrowColumnWriter::close).collect::<Result<_, _>>()?;
        let mut group = self.writer.next_row_group()?;
        for column in columns {
            column.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.group_rows = 0;
        self.n_groups += 1;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        let flushed = self.coalescer.finish_buffered_batch();
        flushed.map_err(|error| self.error(error))?;
        self.write_completed()?;
        if self.group_rows > 0 {
            self.end_group().map_err(write_error(&self.path))?;
        }
        self.writer.close().map_err(write_error(&self.path))?;
        Ok(())
    }

    fn error(&self, error: ArrowError) -> Error {
        write_error(&self.path)(error.into())
    }
}

/// An error of the writer: the system's where it was the system's, else a batch that does not fit its schema.
pub(super) fn write_error(path: &Path) -> impl FnOnce(ParquetError) -> Error + '_ {
    move |error| match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => Error::io("write", path)(*error),
            Err(inner) => Error::Internal(format!("writing a table: {inner}")),
        },
        error => Error::Internal(format!("writing a table: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use arrow::array::{Array, AsArray, DictionaryArray};
    use arrow::datatypes::{Int8Type, Int64Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::artifact::write_atomic;
    use crate::model::fixture::{Cut, table};
    use crate::segments::SegmentProfile;

    fn assignment(n: usize) -> Assignment {
        Assignment {
            labels: (0..n as u32).map(|row| row % 3).collect(),
            runners_up: (0..n as u32).map(|row| (row + 1) % 3).collect(),
            distances: (0..n).map(|row| row as f64).collect(),
            distances_2: (0..n).map(|row| 3.0 * row as f64).collect(),
            share_missing: vec![0.25; n],
        }
    }

    fn confidence() -> Confidence {
        Confidence {
            boundary_margin: Some(0.4),
            outlier_distances: vec![Some(2.0); 3],
            unassign_outliers: false,
        }
    }

    fn written(write: impl FnOnce(&mut OutFile) -> Result<()>) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.parquet");
        write_atomic(&path, false, write)?;
        Ok(fs::read(path).unwrap())
    }

    fn read_back(bytes: &[u8]) -> RecordBatch {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let schema = builder.schema().clone();
        let batches: Vec<_> = builder.build().unwrap().map(|batch| batch.unwrap()).collect();
        arrow::compute::concat_batches(&schema, &batches).unwrap()
    }

    #[test]
    fn the_input_s_order_and_ids_are_kept_however_it_is_cut() {
        let n = 2 * BATCH_ROWS + 77;
        let ids: StringArray = (0..n).map(|row| Some(format!("c{}", n - row))).collect();
        let shops: Int32Array = (0..n as i32).collect();
        let data = table(vec![
            ("x", Arc::new(shops.clone())),
            ("id", Arc::new(ids.clone())),
            ("shop", Arc::new(shops)),
        ]);
        let assignment = assignment(n);
        let write = |batch_rows: usize, ids: &[usize]| {
            written(|out| write_assignments(out, &Cut(data.clone(), batch_rows), ids, &assignment, &confidence()))
                .unwrap()
        };
        let whole = write(n, &[1, 2]);
        assert_eq!(write(1000, &[1, 2]), whole);
        let back = read_back(&whole);
        let names: Vec<_> = back
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        assert_eq!(
            names,
            [
                "id",
                "shop",
                "segment",
                "distance",
                "segment_2",
                "distance_2",
                "margin",
                "is_boundary",
                "outlier_score",
                "share_missing"
            ]
        );
        assert_eq!(back.column(0).as_string::<i32>(), &ids);
        let expected = results(&assignment, &confidence(), 0, n);
        assert_eq!(&back.columns()[2..], &expected[..]);
        assert_eq!(
            expected[4].as_primitive::<arrow::datatypes::Float64Type>().value(5),
            0.5
        );
        // All margins are 0.5, but that of the first row, which has no distance to either.
        let flags = expected[5].as_boolean();
        assert_eq!((flags.value(0), flags.true_count()), (true, 1));
        assert_eq!(
            expected[6].as_primitive::<arrow::datatypes::Float64Type>().value(5),
            2.5
        );
    }

    #[test]
    fn without_an_id_rows_have_numbers_and_one_cluster_no_runner_up() {
        let data = table(vec![("x", Arc::new(Int32Array::from(vec![7, 7])))]);
        let alone = Assignment {
            labels: vec![0; 2],
            runners_up: vec![NO_CLUSTER; 2],
            distances: vec![0.0; 2],
            distances_2: vec![f64::INFINITY; 2],
            share_missing: vec![0.0; 2],
        };
        let back =
            read_back(&written(|out| write_assignments(out, &Cut(data, 1), &[], &alone, &confidence())).unwrap());
        assert_eq!(back.column(0).as_ref(), &Int64Array::from(vec![0, 1]));
        assert_eq!(back.schema().field(0).name(), ROW);
        assert_eq!(back.column(1).as_ref(), &Int32Array::from(vec![1, 1]));
        for column in [3, 4, 5, 6] {
            assert_eq!(back.column(column).null_count(), 2);
        }
    }

    #[test]
    fn the_path_of_a_row_stands_beside_its_segment() {
        let n = BATCH_ROWS + 7;
        let data = table(vec![("path", Arc::new(Int32Array::from_iter_values(0..n as i32)))]);
        let paths = Paths {
            leaves: ["1", "2.1", "2.2", "3"].map(|path| path.parse().unwrap()).to_vec(),
            of_row: (0..n as u32).map(|row| row % 4).collect(),
        };
        let write = |ids: &[usize]| {
            let (cut, assignment) = (Cut(data.clone(), 1000), assignment(n));
            written(|out| write_assignments_carrying(out, &cut, ids, &[], &assignment, &confidence(), Some(&paths)))
        };
        let back = read_back(&write(&[]).unwrap());
        assert_eq!(
            (back.schema().field(2).name().as_str(), back.num_columns()),
            ("path", 10)
        );
        assert_eq!(
            back.column(2).as_string::<i32>().value(n - 1),
            ["1", "2.1", "2.2", "3"][(n - 1) % 4]
        );
        let refused = write(&[0]);
        assert!(matches!(refused, Err(Error::ColumnUnusable { column, .. }) if column == "path"));
    }

    #[test]
    fn a_dictionary_becomes_its_values() {
        let ids: DictionaryArray<Int8Type> = (0..100)
            .map(|i| format!("c{i}"))
            .collect::<Vec<_>>()
            .iter()
            .map(|id| id.as_str())
            .collect();
        let data = table(vec![("id", Arc::new(ids))]);
        let assignment = assignment(100);
        let back = read_back(
            &written(|out| write_assignments(out, &Cut(data, 30), &[0], &assignment, &confidence())).unwrap(),
        );
        assert_eq!(back.column(0).as_string::<i32>().value(42), "c42");
    }

    #[test]
    fn a_name_of_the_table_itself_is_refused() {
        for name in ["segment", "margin", "share_missing"] {
            let data = table(vec![(name, Arc::new(Int32Array::from(vec![1])))]);
            let refused = written(|out| write_assignments(out, &Cut(data, 1), &[0], &assignment(1), &confidence()));
            assert!(matches!(refused, Err(Error::ColumnUnusable { column, .. }) if column == name));
        }
    }

    #[test]
    fn other_data_than_was_clustered_is_refused() {
        let data = table(vec![("id", Arc::new(Int32Array::from(vec![1, 2, 3])))]);
        for n in [2, 4] {
            let refused =
                written(|out| write_assignments(out, &Cut(data.clone(), 2), &[0], &assignment(n), &confidence()));
            assert!(matches!(refused, Err(Error::Internal(_))), "{n} rows");
        }
    }

    #[test]
    fn the_profile_has_a_row_per_segment_and_feature() {
        let feature = |name: &str, mean: Option<f64>| FeatureProfile {
            feature: name.into(),
            count: Count::Exact(mean.map_or(0, |_| 44)),
            mean,
            difference_sd: mean.map(|_| -1.5),
            difference_interval: mean.map(|_| [-2.0, -1.0]),
            share_missing: Some(0.5),
            histogram: vec![Count::Exact(33), Count::Exact(11)],
            ..FeatureProfile::default()
        };
        let segment = |segment: i32| SegmentProfile {
            segment,
            count: Count::Exact(88),
            share: Some(0.5),
            features: vec![feature("age", Some(f64::from(segment))), feature("visits", None)],
        };
        let mut profile = Profile {
            segments: vec![segment(1), segment(2)],
            overall: Vec::new(),
            edges: vec![vec![0.5], vec![2.0]],
        };
        profile.segments[1].features[0].histogram = vec![Count::Between(34, 43), Count::Between(1, 10)];
        let bytes = written(|out| write_profile(out, &profile, None)).unwrap();
        assert_eq!(bytes, written(|out| write_profile(out, &profile, None)).unwrap());
        let back = read_back(&bytes);
        assert_eq!(back.column(0).as_ref(), &Int32Array::from(vec![1, 1, 2, 2]));
        assert_eq!(back.column(1).as_string::<i32>().value(3), "visits");
        assert_eq!(back.column(2).as_ref(), &Int64Array::from(vec![88; 4]));
        assert_eq!(
            back.column(4).as_ref(),
            &Float64Array::from(vec![Some(1.0), None, Some(2.0), None])
        );
        let node = Node {
            path: "2.1".parse().unwrap(),
            name: String::new(),
            profile: segment(1),
            outcomes: Vec::new(),
            edges: vec![vec![0.5], vec![2.0]],
        };
        let nested = read_back(&written(|out| write_profile(out, &profile, Some(&[node]))).unwrap());
        assert_eq!(nested.column(0).as_ref(), &Int32Array::from(vec![1, 1, 2, 2, 2, 2]));
        let paths: Vec<_> = nested.column(1).as_string::<i32>().iter().flatten().collect();
        assert_eq!(paths, ["1", "1", "2", "2", "2.1", "2.1"]);
        let histograms = back.column_by_name("histogram").unwrap().as_list::<i32>();
        let bins = |row: usize| {
            histograms
                .value(row)
                .as_primitive::<Int64Type>()
                .iter()
                .collect::<Vec<_>>()
        };
        assert_eq!((bins(0), bins(2)), (vec![Some(33), Some(11)], vec![None, None]));
        let withheld = back.column_by_name("withheld").unwrap();
        assert_eq!(
            withheld.as_boolean(),
            &BooleanArray::from(vec![false, false, true, false])
        );
        assert_eq!(back.num_columns(), 17);
    }
}
