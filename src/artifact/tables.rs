//! The tables of a run as Parquet, streamed, with bytes that depend on their content alone.

use std::borrow::Borrow;
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
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;

use super::OutFile;
use crate::cells::Count;
use crate::data::BatchSource;
use crate::error::{Error, Result};
use crate::nested::{Node, SegmentPath};
use crate::segments::{FeatureProfile, Profile};
use crate::select::{Candidate, Sweep};

/// Rows that go to the writer at once.
pub(super) const BATCH_ROWS: usize = 1 << 16;
/// Rows in a row group, at most: a whole number of batches.
const GROUP_ROWS: usize = 1 << 20;
/// A row group ends with the batch that brings it to so many bytes, encoded.
const GROUP_BYTES: usize = 128 << 20;
/// The column that stands for the row where there is no id.
pub(super) const ROW: &str = "row";

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

/// The column of paths.
pub(super) fn path_field() -> Field {
    Field::new("path", DataType::Utf8, false)
}

pub(super) fn id_fields(schema: &Schema, id_columns: &[usize]) -> Vec<FieldRef> {
    if id_columns.is_empty() {
        return vec![Arc::new(Field::new(ROW, DataType::Int64, false))];
    }
    plain_fields(schema, id_columns)
}

/// The fields of some columns, dictionaries as the values they stand for.
pub(super) fn plain_fields(schema: &Schema, columns: &[usize]) -> Vec<FieldRef> {
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

/// A Parquet file being written in batches of one size, whatever comes in: its bytes do not show how the input was cut.
/// The columns are encoded side by side.
pub(super) struct Table<W: io::Write + Send> {
    path: PathBuf,
    writer: SerializedFileWriter<W>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    coalescer: BatchCoalescer,
    /// The columns of the row group being made, and its rows so far.
    group: Vec<ArrowColumnWriter>,
    group_rows: usize,
    n_groups: usize,
}

impl<W: io::Write + Send + Borrow<OutFile>> Table<W> {
    /// A table in which no value of the columns `distinct` is expected to stand twice.
    pub(super) fn new(out: W, schema: SchemaRef, distinct: &[&str]) -> Result<Self> {
        Self::with_key_values(out, schema, distinct, Vec::new())
    }

    /// The same, with what the file says about itself.
    pub(super) fn with_key_values(
        out: W,
        schema: SchemaRef,
        distinct: &[&str],
        key_values: Vec<KeyValue>,
    ) -> Result<Self> {
        let path = out.borrow().path().to_owned();
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("kohort ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata((!key_values.is_empty()).then_some(key_values));
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

    /// The same, which encodes so many rows at once.
    pub(super) fn in_batches_of(mut self, n_rows: usize) -> Self {
        self.coalescer = BatchCoalescer::new(self.schema.clone(), n_rows);
        self
    }

    /// Bytes that the row group being made takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.group.iter().map(ArrowColumnWriter::memory_size).sum()
    }

    /// Ends the row group being made.
    pub(super) fn let_go(&mut self) -> Result<()> {
        let flushed = self.coalescer.finish_buffered_batch();
        flushed.map_err(|error| self.error(error))?;
        self.write_completed()?;
        match self.group_rows > 0 {
            true => self.end_group().map_err(write_error(&self.path)),
            false => Ok(()),
        }
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
        self.push_batch(batch)
    }

    /// Adds rows.
    pub(super) fn push_batch(&mut self, batch: RecordBatch) -> Result<()> {
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
        let bytes: usize = { self.group.iter() }
            .map(ArrowColumnWriter::get_estimated_total_bytes)
            .sum();
        if self.group_rows < GROUP_ROWS && bytes < GROUP_BYTES {
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
        self.let_go()?;
        self.writer.finish().map_err(write_error(&self.path))?;
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
pub(super) mod tests {
    use std::fs;

    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::artifact::write_atomic;
    use crate::segments::SegmentProfile;

    pub(in crate::artifact) fn written(write: impl FnOnce(&mut OutFile) -> Result<()>) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.parquet");
        write_atomic(&path, false, write)?;
        Ok(fs::read(path).unwrap())
    }

    pub(in crate::artifact) fn read_back(bytes: &[u8]) -> RecordBatch {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let schema = builder.schema().clone();
        let batches: Vec<_> = builder.build().unwrap().map(|batch| batch.unwrap()).collect();
        arrow::compute::concat_batches(&schema, &batches).unwrap()
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
