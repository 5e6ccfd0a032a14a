//! The table of assignments: who is in which segment, and how clearly.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use rayon::prelude::*;

use super::partition::{ByFile, ByValue, PartitionBy, PartsWritten, Spread, check_column};
use super::rows_out::{Layout, RowsOut, TableFormat};
use super::tables::{BATCH_ROWS, check_fields, id_fields, path_field, plain_fields};
use super::{OutFile, Provenance, RunDir};
use crate::backend::NO_CLUSTER;
use crate::data::BatchSource;
use crate::error::{BY_COLUMN, Error, Result};
use crate::nested::Paths;
use crate::segments::{Assignment, Confidence};

/// The columns of which hardly any value stands twice.
const DISTINCT: [&str; 4] = ["distance", "distance_2", "margin", "outlier_score"];

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

/// One row per row of the data, in its order.
///
/// The id columns as they came (a dictionary as the values it stands for) or, without any, `row`, the row number from
/// 0 (int64); then the carried columns, as they came; `segment` (int32, from 1; null for outliers that get none), with
/// paths `path` (text: the row's leaf among segments of segments), `distance`, `segment_2` and `distance_2` (the
/// runner-up; null where there is none), `margin` (see [`Assignment::margin`]), `is_boundary` (see
/// [`Confidence::is_boundary`]), `outlier_score` (above 1 for outliers, see [`Confidence::outlier_score`]) and
/// `share_missing`.
#[derive(Clone, Copy)]
pub struct AssignmentTable<'t> {
    /// The data.
    pub source: &'t dyn BatchSource,
    /// The columns that tell rows apart, as indices into its schema.
    pub id_columns: &'t [usize],
    /// More columns to be copied.
    pub carried: &'t [usize],
    /// Segment and runner-up of every row.
    pub assignment: &'t Assignment,
    /// From where on a row sits on a boundary or is an outlier.
    pub confidence: &'t Confidence,
    /// The leaf of every row, where there are segments of segments.
    pub paths: Option<&'t Paths>,
}

impl<'t> AssignmentTable<'t> {
    /// Of rows that go by their number.
    #[must_use]
    pub fn new(source: &'t dyn BatchSource, assignment: &'t Assignment, confidence: &'t Confidence) -> Self {
        Self {
            source,
            id_columns: &[],
            carried: &[],
            assignment,
            confidence,
            paths: None,
        }
    }

    /// Writes the table as Parquet, with where it comes from. Memory does not grow with the rows.
    ///
    /// # Errors
    /// Those of [`check_id_columns`], [`check_carried_columns`] and [`check_path_column`]; those of reading and of
    /// writing.
    pub fn write(&self, out: &mut OutFile, provenance: &Provenance) -> Result<()> {
        self.write_as(TableFormat::Parquet, out, provenance).map(drop)
    }

    /// The same in any format; where it comes from is only told by Parquet. Returns the number of texts that would be
    /// formulas in a spreadsheet, and that CSV has with a `'` before them.
    ///
    /// # Errors
    /// Those of [`AssignmentTable::write`].
    pub fn write_as(&self, format: TableFormat, out: &mut OutFile, provenance: &Provenance) -> Result<u64> {
        let layout = self.layout(format, provenance)?;
        let mut rows = RowsOut::new(out, &layout)?;
        self.scan(None, &mut |batch| rows.push_batch(batch))?;
        rows.finish()
    }

    /// Writes the table in many files of a folder. Memory does not grow with the rows, but with the number of files
    /// that are made at once: [`super::MAX_PARTITIONS`] at most.
    ///
    /// The column by which rows are spread is not in the files: the names of their folders tell it.
    ///
    /// # Errors
    /// Those of [`AssignmentTable::write`] and [`AssignmentTable::check_partition`]; [`Error::InvalidParam`] for a column
    /// of more values.
    pub fn write_parts(
        &self,
        format: TableFormat,
        dir: &RunDir,
        by: &PartitionBy,
        provenance: &Provenance,
    ) -> Result<PartsWritten> {
        let mut layout = self.layout(format, provenance)?;
        let mut also = None;
        let mut parts: Box<dyn Spread + '_> = match by {
            PartitionBy::Files(files) => Box::new(ByFile::new(dir, layout, files)),
            PartitionBy::Column(column) => {
                also = self.column_to_read(column)?;
                if let Some(also) = also {
                    let field = plain_fields(self.source.schema(), &[also]);
                    let fields: Vec<FieldRef> = layout.schema.fields().iter().cloned().chain(field).collect();
                    layout.schema = Arc::new(Schema::new(fields));
                }
                let names = layout.schema.fields().iter().map(|field| field.name());
                let place = names.enumerate().rfind(|(_, name)| *name == column);
                let place = place
                    .ok_or_else(|| Error::Internal("the column to partition by is lost".into()))?
                    .0;
                Box::new(ByValue::new(dir, layout, place, column))
            }
        };
        self.scan(also, &mut |batch| parts.push(batch))?;
        parts.finish()
    }

    /// Refuses a column that rows cannot be spread by.
    ///
    /// # Errors
    /// [`Error::ColumnNotFound`], [`Error::ColumnAmbiguous`]; [`Error::ColumnUnusable`] for ids, floats and nested
    /// columns.
    pub fn check_partition(
        source: &dyn BatchSource,
        id_columns: &[usize],
        has_paths: bool,
        column: &str,
    ) -> Result<()> {
        let own = result_fields().into_iter().chain(has_paths.then(path_field));
        if let Some(field) = own.into_iter().find(|field| field.name() == column) {
            return check_column(&field);
        }
        let schema = source.schema();
        let mut places = (0..schema.fields().len()).filter(|&place| schema.field(place).name() == column);
        let place = places.next().ok_or_else(|| Error::ColumnNotFound {
            column: column.to_owned(),
            available: { schema.fields().iter().map(|field| field.name().clone()) }
                .chain(["segment".to_owned()])
                .collect(),
        })?;
        if places.next().is_some() {
            let column = column.to_owned();
            return Err(Error::ColumnAmbiguous { column });
        }
        if id_columns.contains(&place) {
            return Err(Error::ColumnUnusable {
                column: column.to_owned(),
                role: BY_COLUMN,
                reason: "it is an id, of which each would be a folder".into(),
            });
        }
        check_column(schema.field(place))
    }

    /// The column of the data that has to be read for a partition; none where the table has it itself.
    fn column_to_read(&self, column: &str) -> Result<Option<usize>> {
        Self::check_partition(self.source, self.id_columns, self.paths.is_some(), column)?;
        let is_own = self.schema()?.fields().iter().any(|field| field.name() == column);
        let place = self.source.schema().index_of(column).ok();
        Ok(place.filter(|_| !is_own))
    }

    fn layout(&self, format: TableFormat, provenance: &Provenance) -> Result<Layout<'_>> {
        Ok(Layout {
            format,
            schema: self.schema()?,
            distinct: self.distinct(),
            key_values: provenance.key_values()?,
            batch_rows: BATCH_ROWS,
        })
    }

    /// The columns.
    fn schema(&self) -> Result<SchemaRef> {
        let schema = self.source.schema();
        check_id_columns(schema, self.id_columns)?;
        check_carried_columns(schema, self.carried)?;
        let mut fields: Vec<FieldRef> = id_fields(schema, self.id_columns);
        fields.extend(plain_fields(schema, self.carried));
        let n_copied = fields.len();
        fields.extend(result_fields().into_iter().map(Arc::new));
        if self.paths.is_some() {
            check_path_column(schema, &[self.id_columns, self.carried].concat())?;
            fields.insert(n_copied + 1, Arc::new(path_field()));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Columns of which no value is expected to stand twice.
    fn distinct(&self) -> Vec<&str> {
        let mut distinct = DISTINCT.to_vec();
        match self.id_columns {
            [] => distinct.push(super::tables::ROW),
            [id] => distinct.push(self.source.schema().field(*id).name()),
            _ => {}
        }
        distinct
    }

    /// Hands the rows on in batches, in their order; with one more column of the data, it stands last.
    fn scan(&self, also: Option<usize>, take: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        let mut fields: Vec<FieldRef> = self.schema()?.fields().to_vec();
        fields.extend(
            also.into_iter()
                .flat_map(|also| plain_fields(self.source.schema(), &[also])),
        );
        let schema = Arc::new(Schema::new(fields));
        let names: Vec<String> = { self.paths.iter() }
            .flat_map(|paths| paths.leaves.iter().map(ToString::to_string))
            .collect();
        let n_rows = self.assignment.n_rows();
        let numbers = |first_row: usize, end: usize| -> ArrayRef {
            Arc::new((first_row..end).map(|row| row as i64).collect::<Int64Array>())
        };
        let mut batch = |first_row: usize, end: usize, mut columns: Vec<ArrayRef>| {
            if self.id_columns.is_empty() {
                columns.insert(0, numbers(first_row, end));
            }
            let last = also.and_then(|_| columns.pop());
            columns.extend(self.results(&names, first_row, end - first_row));
            columns.extend(last);
            take(batch_of(&schema, columns)?)
        };
        let copied: Vec<usize> = self
            .id_columns
            .iter()
            .chain(self.carried)
            .copied()
            .chain(also)
            .collect();
        let mut n_taken = 0;
        if copied.is_empty() {
            for first_row in (0..n_rows).step_by(BATCH_ROWS) {
                n_taken = (first_row + BATCH_ROWS).min(n_rows);
                batch(first_row, n_taken, Vec::new())?;
            }
        } else {
            self.source.scan(&copied, &mut |first_row, copied| {
                let end = first_row + copied.num_rows();
                if first_row != n_taken || end > n_rows {
                    return Err(row_count_error());
                }
                n_taken = end;
                batch(first_row, end, copied.columns().to_vec())
            })?;
        }
        match n_taken == n_rows {
            true => Ok(()),
            false => Err(row_count_error()),
        }
    }

    /// The columns after those that are copied; `names` are those of the leaves.
    fn results(&self, names: &[String], first_row: usize, n_rows: usize) -> Vec<ArrayRef> {
        let mut columns = results(self.assignment, self.confidence, first_row, n_rows);
        if let Some(paths) = self.paths {
            let leaves = &paths.of_row[first_row..first_row + n_rows];
            let leaves = leaves.iter().map(|&leaf| names[leaf as usize].as_str());
            columns.insert(1, Arc::new(StringArray::from_iter_values(leaves)));
        }
        columns
    }
}

/// Columns as a batch, each in the type that it is to have.
fn batch_of(schema: &SchemaRef, mut columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let wrong = |error| Error::Internal(format!("rows of the assignments: {error}"));
    for (column, field) in columns.iter_mut().zip(schema.fields()) {
        if column.data_type() != field.data_type() {
            *column = cast(column, field.data_type()).map_err(wrong)?;
        }
    }
    RecordBatch::try_new(schema.clone(), columns).map_err(wrong)
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

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, DictionaryArray};
    use arrow::datatypes::Int8Type;

    use super::super::tables::ROW;
    use super::super::tables::tests::{read_back, written};
    use super::*;
    use crate::artifact::{ScoreRecord, SourceRecord, write_atomic};
    use crate::model::fixture::{Cut, table};

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

    fn write(
        out: &mut OutFile,
        source: &dyn BatchSource,
        id_columns: &[usize],
        assignment: &Assignment,
        paths: Option<&Paths>,
    ) -> Result<()> {
        let confidence = confidence();
        let table = AssignmentTable {
            id_columns,
            paths,
            ..AssignmentTable::new(source, assignment, &confidence)
        };
        table.write(out, &Provenance::default())
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
        let whole_of = |batch_rows: usize, ids: &[usize]| {
            written(|out| write(out, &Cut(data.clone(), batch_rows), ids, &assignment, None)).unwrap()
        };
        let whole = whole_of(n, &[1, 2]);
        assert_eq!(whole_of(1000, &[1, 2]), whole);
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
        let back = read_back(&written(|out| write(out, &Cut(data, 1), &[], &alone, None)).unwrap());
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
        let beside = |ids: &[usize]| {
            let (cut, assignment) = (Cut(data.clone(), 1000), assignment(n));
            written(|out| write(out, &cut, ids, &assignment, Some(&paths)))
        };
        let back = read_back(&beside(&[]).unwrap());
        assert_eq!(
            (back.schema().field(2).name().as_str(), back.num_columns()),
            ("path", 10)
        );
        assert_eq!(
            back.column(2).as_string::<i32>().value(n - 1),
            ["1", "2.1", "2.2", "3"][(n - 1) % 4]
        );
        let refused = beside(&[0]);
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
        let back = read_back(&written(|out| write(out, &Cut(data, 30), &[0], &assignment, None)).unwrap());
        assert_eq!(back.column(0).as_string::<i32>().value(42), "c42");
    }

    #[test]
    fn a_name_of_the_table_itself_is_refused() {
        for name in ["segment", "margin", "share_missing"] {
            let data = table(vec![(name, Arc::new(Int32Array::from(vec![1])))]);
            let refused = written(|out| write(out, &Cut(data, 1), &[0], &assignment(1), None));
            assert!(matches!(refused, Err(Error::ColumnUnusable { column, .. }) if column == name));
        }
    }

    #[test]
    fn other_data_than_was_clustered_is_refused() {
        let data = table(vec![("id", Arc::new(Int32Array::from(vec![1, 2, 3])))]);
        for n in [2, 4] {
            let refused = written(|out| write(out, &Cut(data.clone(), 2), &[0], &assignment(n), None));
            assert!(matches!(refused, Err(Error::Internal(_))), "{n} rows");
        }
    }

    #[test]
    fn a_file_says_where_it_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scored.parquet");
        let inputs = vec![crate::data::InputFile {
            path: "a.parquet".into(),
            bytes: 7,
            n_rows: 3,
            xxh3_128: Some("0".repeat(32)),
            etag: None,
        }];
        let record = ScoreRecord::new("1".repeat(32), "2".repeat(32), inputs, SourceRecord::default());
        let data = table(vec![("id", Arc::new(Int32Array::from(vec![1, 2, 3])))]);
        let write = |provenance: &Provenance| {
            let (assignment, confidence, data) = (assignment(3), confidence(), Cut(data.clone(), 2));
            let table = AssignmentTable::new(&data, &assignment, &confidence);
            write_atomic(&path, true, |out| table.write(out, provenance)).unwrap();
        };
        write(&Provenance::of_score(record.clone()));
        assert_eq!(ScoreRecord::of_file(&path).unwrap(), Some(record));
        let told = |key: &str| crate::data::key_value(&path, key).unwrap();
        assert_eq!(told("kohort.model_hash"), Some("1".repeat(32)));
        assert_eq!(told("kohort.labels_hash"), Some("2".repeat(32)));
        write(&Provenance::of_fit("3".repeat(32), "4".repeat(32)));
        assert_eq!(ScoreRecord::of_file(&path).unwrap(), None);
        assert_eq!(told("kohort.labels_hash"), Some("3".repeat(32)));
        write(&Provenance::default());
        assert_eq!(told("kohort.labels_hash"), None);
        for text in ["no table", ""] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(ScoreRecord::of_file(&path).unwrap(), None);
        }
        assert_eq!(ScoreRecord::of_file(&folder.path().join("none")).unwrap(), None);
    }
}
