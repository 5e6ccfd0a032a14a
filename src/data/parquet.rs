//! A Parquet file as a part of a table: its row groups are the pieces.

use std::sync::Arc;

use arrow::datatypes::Fields;
use parquet::file::metadata::ParquetMetaData;

use super::bounds::bounds_of;
use super::decode::Task;
use super::file::{FileBytes, Input};
use super::filter::Bounds;
use super::gate;
use super::part::{Part, Take};
use crate::error::Result;

/// A Parquet file, with what the gate found out.
pub(crate) struct ParquetPart {
    pub(super) input: Input,
    pub(super) metadata: Arc<ParquetMetaData>,
    /// Top-level columns.
    pub(super) fields: Fields,
    /// For each of them its leaf, or `None` where it is nested.
    pub(super) leaves: Vec<Option<usize>>,
}

impl ParquetPart {
    /// A file that the gate lets in; its statistics are read where they are of use.
    ///
    /// # Errors
    /// Those of [`gate::admit`].
    pub(crate) fn open(input: Input, source: &FileBytes, with_statistics: bool) -> Result<Self> {
        let admitted = gate::admit(&input.path, source, with_statistics)?;
        Ok(Self {
            input,
            metadata: admitted.metadata,
            fields: admitted.fields,
            leaves: admitted.leaves,
        })
    }

    fn task<'t>(&'t self, group: usize, columns: &'t [usize], page_bytes: u64, keyed: bool) -> Task<'t> {
        Task {
            part: self,
            group,
            columns,
            page_bytes,
            keyed,
        }
    }
}

impl Part for ParquetPart {
    fn input(&self) -> &Input {
        &self.input
    }

    fn fields(&self) -> &Fields {
        &self.fields
    }

    fn n_pieces(&self) -> usize {
        self.metadata.num_row_groups()
    }

    fn n_rows(&self, piece: usize) -> usize {
        // The gate has seen that the rows can be counted.
        usize::try_from(self.metadata.row_group(piece).num_rows()).unwrap_or(0)
    }

    fn is_readable(&self, column: usize) -> bool {
        self.leaves[column].is_some()
    }

    fn bounds(&self, piece: usize, column: usize) -> Option<Bounds> {
        // Those of a list are of its numbers.
        let leaf = self.leaves[column].filter(|_| !self.fields[column].data_type().is_nested())?;
        let orders = self.metadata.file_metadata().column_orders();
        let order = orders.and_then(|orders| orders.get(leaf));
        bounds_of(
            self.metadata.row_group(piece).column(leaf),
            order,
            self.fields[column].data_type(),
        )
    }

    fn has_columns_apart(&self) -> bool {
        true
    }

    fn read_keyed(&self, piece: usize, columns: &[usize], room: u64, take: &mut Take<'_>) -> Result<()> {
        self.task(piece, columns, room, true).run(take)
    }

    fn read(&self, piece: usize, columns: &[usize], room: u64, take: &mut Take<'_>) -> Result<()> {
        self.task(piece, columns, room, false).run(take)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::slab::{is_keyed, written_out};
    use super::super::{BatchSource, FileSource, Filter, Slab, SourceOptions};
    use super::*;
    use crate::error::Error;
    use arrow::array::RecordBatch;
    use arrow::array::{
        Array, ArrayRef, AsArray, FixedSizeListArray, Float64Array, Int64Array, LargeListArray, ListArray, StringArray,
    };
    use arrow::datatypes::{DataType, Field};
    use arrow::datatypes::{Float32Type, Float64Type, Int64Type};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, Encoding};
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
    use tempfile::TempDir;

    const ROWS: usize = 5000;

    /// Rows `from..to` of a table whose every cell follows from its row number.
    fn rows(from: usize, to: usize) -> RecordBatch {
        let ids = Int64Array::from_iter_values(from as i64..to as i64);
        let x: Float64Array = (from..to).map(|i| (i % 7 != 0).then_some(i as f64 / 3.0)).collect();
        let city = StringArray::from_iter_values((from..to).map(|i| format!("city {}", i % 40)));
        RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(ids) as ArrayRef, false),
            ("x", Arc::new(x) as ArrayRef, true),
            ("city", Arc::new(city) as ArrayRef, true),
        ])
        .unwrap()
    }

    fn write_with(path: &Path, batch: &RecordBatch, properties: WriterPropertiesBuilder) {
        let file = std::fs::File::create(path).unwrap();
        let properties = properties.set_max_row_group_row_count(Some(700)).build();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
    }

    fn write(path: &Path, batch: &RecordBatch) {
        write_with(path, batch, WriterProperties::builder());
    }

    /// A table in `n` files.
    fn in_files(n: usize) -> (TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..n)
            .map(|i| folder.path().join(format!("part-{i}.parquet")))
            .collect();
        for (i, path) in paths.iter().enumerate() {
            write(path, &rows(i * ROWS / n, (i + 1) * ROWS / n));
        }
        (folder, paths)
    }

    fn read(source: &FileSource, columns: &[usize]) -> Result<Vec<RecordBatch>> {
        let (mut batches, mut next) = (Vec::new(), 0);
        source.scan(columns, &mut |row, batch| {
            assert_eq!(row, next);
            next += batch.num_rows();
            batches.push(batch.clone());
            Ok(())
        })?;
        assert_eq!(next, source.n_rows());
        Ok(batches)
    }

    /// All cells in one batch, for comparison.
    fn whole(batches: &[RecordBatch]) -> RecordBatch {
        arrow::compute::concat_batches(&batches[0].schema(), batches).unwrap()
    }

    /// A file whose bytes `damage` has changed; what reading all of it gives.
    fn read_damaged(
        batch: &RecordBatch,
        properties: WriterPropertiesBuilder,
        damage: impl Fn(&mut Vec<u8>),
    ) -> Result<usize> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.parquet");
        write_with(&path, batch, properties);
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let source = FileSource::open(&[path], 2)?;
        let all: Vec<usize> = (0..batch.num_columns()).collect();
        Ok(read(&source, &all)?.iter().map(RecordBatch::num_rows).sum())
    }

    #[test]
    fn rows_are_the_same_for_any_threads_and_files() {
        let expected = rows(0, ROWS);
        for files in [1, 5] {
            let (_folder, paths) = in_files(files);
            for threads in [1, 2, 7] {
                let source = FileSource::open(&paths, threads).unwrap();
                let found = whole(&read(&source, &[0, 1, 2]).unwrap());
                assert_eq!(found.columns(), expected.columns(), "{files} files, {threads} threads");
            }
        }
    }

    #[test]
    fn columns_come_in_the_order_asked_for() {
        let (_folder, paths) = in_files(2);
        let source = FileSource::open(&paths, 2).unwrap();
        let found = whole(&read(&source, &[2, 0, 2]).unwrap());
        let expected = rows(0, ROWS);
        assert_eq!(found.columns(), [2, 0, 2].map(|i| expected.column(i).clone()));
        assert!(read(&source, &[]).unwrap().iter().all(|batch| batch.num_columns() == 0));
    }

    /// All values of some columns as slabs give them, and whether texts came in a dictionary.
    fn by_slabs(source: &FileSource, columns: &[usize], workers: usize) -> (Vec<ArrayRef>, bool) {
        let parts: Mutex<Vec<(usize, usize, ArrayRef)>> = Mutex::default();
        let keyed = AtomicBool::new(false);
        let consume = |slab: &Slab<'_>| {
            assert!(slab.worker < workers);
            for (at, array) in (slab.first_column..).zip(slab.arrays) {
                assert_eq!(array.len(), slab.n_rows);
                let data_type = source.schema().field(columns[at]).data_type();
                keyed.fetch_or(is_keyed(array, data_type), Ordering::Relaxed);
                let array = written_out(array, data_type).unwrap();
                parts.lock().unwrap().push((at, slab.first_row, array));
            }
            Ok(())
        };
        source.scan_slabs(columns, workers, &consume).unwrap();
        let mut parts = parts.into_inner().unwrap();
        parts.sort_by_key(|(column, first_row, _)| (*column, *first_row));
        let of_column = |at: usize| {
            let mut next = 0;
            let own: Vec<&dyn Array> = { parts.iter() }
                .filter(|part| part.0 == at)
                .map(|(_, first_row, array)| {
                    assert_eq!(*first_row, next, "rows without a gap");
                    next += array.len();
                    &**array
                })
                .collect();
            arrow::compute::concat(&own).unwrap()
        };
        ((0..columns.len()).map(of_column).collect(), keyed.into_inner())
    }

    #[test]
    fn slabs_hold_the_rows_however_they_are_cut() {
        let all = rows(0, ROWS);
        for files in [1, 5] {
            let (_folder, paths) = in_files(files);
            for threads in [1, 2, 7, 40] {
                let source = FileSource::open(&paths, threads).unwrap();
                let (found, keyed) = by_slabs(&source, &[2, 0, 1, 2], threads);
                let expected = [2, 0, 1, 2].map(|column| all.column(column).clone());
                assert_eq!(found, expected, "{files} files, {threads} threads");
                assert!(keyed);
                let options = SourceOptions {
                    filter: Some(Filter::new("x > 20 and city != 'city 7'").unwrap()),
                    ..SourceOptions::default()
                };
                let source = FileSource::open_with(&paths, threads, options).unwrap();
                let expected = whole(&read(&source, &[0, 2]).unwrap());
                assert!((1..ROWS).contains(&expected.num_rows()));
                assert_eq!(by_slabs(&source, &[0, 2], threads).0, expected.columns());
            }
        }
    }

    #[test]
    fn texts_that_are_written_out_in_part_come_as_texts() {
        // The dictionary is given up after some pages.
        let texts = StringArray::from_iter_values((0..3000).map(|i| format!("{} {}", i % 700, "x".repeat(i % 90))));
        let batch = RecordBatch::try_from_iter([("t", Arc::new(texts) as ArrayRef)]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let properties = WriterProperties::builder()
            .set_dictionary_page_size_limit(4000)
            .set_data_page_row_count_limit(100)
            .set_write_batch_size(50);
        write_with(&path, &batch, properties);
        let source = FileSource::open(&[path], 2).unwrap();
        let (found, _) = by_slabs(&source, &[0], 2);
        assert_eq!(found, batch.columns());
    }

    /// Lists of three numbers, gaps of every kind among them.
    fn lists(n: usize) -> RecordBatch {
        let list = |i: usize| match i % 11 {
            3 => None,
            5 => Some(Vec::new()),
            _ => Some(
                (0..3)
                    .map(|j| (!(i + j).is_multiple_of(13)).then_some((i * 3 + j) as f32))
                    .collect(),
            ),
        };
        let fixed = |i: usize| list(i).filter(|list| list.len() == 3);
        let small = ListArray::from_iter_primitive::<Float32Type, _, _>((0..n).map(list));
        let large = LargeListArray::from_iter_primitive::<Float32Type, _, _>((0..n).map(list));
        let fixed = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>((0..n).map(fixed), 3);
        RecordBatch::try_from_iter([
            ("small", Arc::new(small) as ArrayRef),
            ("large", Arc::new(large) as ArrayRef),
            ("fixed", Arc::new(fixed) as ArrayRef),
        ])
        .unwrap()
    }

    #[test]
    fn lists_are_read_back_from_pages_of_every_version() {
        let expected = lists(2000);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for dictionary in [false, true] {
                let properties = WriterProperties::builder()
                    .set_writer_version(version)
                    .set_dictionary_enabled(dictionary)
                    .set_data_page_row_count_limit(90)
                    .set_write_batch_size(30);
                write_with(&path, &expected, properties);
                let source = FileSource::open(std::slice::from_ref(&path), 2).unwrap();
                let found = whole(&read(&source, &[0, 1, 2]).unwrap());
                assert_eq!(
                    found.columns(),
                    expected.columns(),
                    "{version:?}, dictionary {dictionary}"
                );
                assert_eq!(by_slabs(&source, &[0, 1, 2], 2).0, expected.columns());
            }
        }
    }

    #[test]
    fn damaged_lists_are_an_error_or_other_numbers() {
        let batch = lists(60);
        let properties = || {
            WriterProperties::builder()
                .set_writer_version(WriterVersion::PARQUET_2_0)
                .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
        };
        let mut n_errors = 0;
        for at in (4..1200).step_by(3) {
            let found = read_damaged(&batch, properties(), |bytes| {
                if at < footer_start(bytes) {
                    bytes[at] ^= 0x5a;
                }
            });
            match found {
                Ok(n_rows) => assert_eq!(n_rows, 60),
                Err(Error::Corrupt { column, .. }) => {
                    assert!(column.is_some());
                    n_errors += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(n_errors > 0, "no damage was seen");
    }

    #[test]
    fn a_row_is_located_in_its_file() {
        let (_folder, paths) = in_files(5);
        let source = FileSource::open(&paths, 2).unwrap();
        assert_eq!(source.locate(0), (Some(paths[0].clone()), 0));
        assert_eq!(source.locate(999), (Some(paths[0].clone()), 999));
        assert_eq!(source.locate(1000), (Some(paths[1].clone()), 0));
        assert_eq!(source.locate(4999), (Some(paths[4].clone()), 999));
    }

    #[test]
    fn files_may_order_their_columns_differently_but_not_differ() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write(&path("a"), &rows(0, 10));
        write(&path("b"), &rows(10, 20).project(&[2, 1, 0]).unwrap());
        write(&path("missing"), &rows(0, 10).project(&[0, 1]).unwrap());
        let mut retyped = rows(0, 10).columns().to_vec();
        retyped[0] = retyped[2].clone();
        let names = ["id", "x", "city"]
            .into_iter()
            .zip(retyped)
            .map(|(name, array)| (name, array, true));
        write(
            &path("retyped"),
            &RecordBatch::try_from_iter_with_nullable(names).unwrap(),
        );

        let source = FileSource::open(&[path("a"), path("b")], 2).unwrap();
        assert_eq!(
            whole(&read(&source, &[0, 1, 2]).unwrap()).columns(),
            rows(0, 20).columns()
        );
        for (first, second, wanted) in [
            ("a", "missing", "city"),
            ("missing", "a", "city"),
            ("a", "retyped", "id"),
        ] {
            let Err(Error::SchemaMismatch { path: file, column, .. }) =
                FileSource::open(&[path(first), path(second)], 1)
            else {
                panic!("{second} passed as a part of {first}");
            };
            assert_eq!((file, column.as_str()), (path(second), wanted));
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_an_error_when_asked_for() {
        let batch = rows(0, 10);
        let names = ["id", "x", "x"].into_iter().zip(batch.columns().to_vec());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, &RecordBatch::try_from_iter(names).unwrap());
        let source = FileSource::open(&[path], 1).unwrap();
        assert!(read(&source, &[0]).is_ok());
        assert!(matches!(read(&source, &[1]), Err(Error::ColumnAmbiguous { .. })));
    }

    #[test]
    fn a_nested_column_is_no_obstacle_until_it_is_asked_for() {
        let city: ArrayRef = rows(0, 10).column(2).clone();
        let nested = arrow::array::StructArray::from(vec![(Arc::new(Field::new("city", DataType::Utf8, true)), city)]);
        let ids = rows(0, 10).column(0).clone();
        let batch = RecordBatch::try_from_iter([("s", Arc::new(nested) as ArrayRef), ("id", ids)]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, &batch);
        let source = FileSource::open(&[path], 1).unwrap();
        assert_eq!(whole(&read(&source, &[1]).unwrap()).column(0), batch.column(1));
        assert!(matches!(read(&source, &[0]), Err(Error::ColumnUnusable { .. })));
    }

    #[test]
    fn what_is_no_parquet_file_is_refused() {
        let refused = |damage: fn(&mut Vec<u8>)| {
            let found = read_damaged(&rows(0, 100), WriterProperties::builder(), damage);
            assert!(matches!(found, Err(Error::FileRefused { .. })), "{found:?}");
        };
        refused(Vec::clear);
        refused(|bytes| bytes.truncate(3));
        refused(|bytes| bytes.truncate(8));
        refused(|bytes| bytes.truncate(bytes.len() / 2));
        refused(|bytes| bytes[0] = b'X');
        refused(|bytes| {
            let n = bytes.len();
            bytes[n - 1] = b'E';
        });
        refused(|bytes| {
            let n = bytes.len();
            bytes[n - 8..n - 4].fill(0xff);
        });
    }

    #[test]
    fn a_broken_page_is_placed_in_its_column() {
        let broken = read_damaged(&rows(0, 700), WriterProperties::builder(), |bytes| {
            bytes[4..40].fill(0xff);
        });
        let Err(Error::Corrupt { row_group, column, .. }) = broken else {
            panic!("a broken page header passed");
        };
        assert_eq!((row_group, column.as_deref()), (Some(0), Some("id")));
    }

    fn footer_start(bytes: &[u8]) -> usize {
        let n = bytes.len();
        n - 8 - u32::from_le_bytes(bytes[n - 8..n - 4].try_into().unwrap()) as usize
    }

    /// Replaces the varint of `from` by that of `to`, which takes as many bytes, wherever it stands in the footer.
    fn lie(bytes: &mut [u8], from: u64, to: u64) {
        let varint = |mut n: u64| {
            let mut out = Vec::new();
            n <<= 1;
            while n >= 0x80 {
                out.push(n as u8 | 0x80);
                n >>= 7;
            }
            out.push(n as u8);
            out
        };
        let (from, to) = (varint(from), varint(to));
        assert_eq!(from.len(), to.len());
        for at in footer_start(bytes)..bytes.len() - 8 - from.len() {
            if bytes[at..at + from.len()] == from {
                bytes[at..at + from.len()].copy_from_slice(&to);
            }
        }
    }

    #[test]
    fn a_lie_about_the_rows_is_found() {
        // 300 rows are there, 8000 declared in every place of the footer.
        let plain = WriterProperties::builder().set_dictionary_enabled(false);
        let found = read_damaged(&rows(0, 300), plain, |bytes| lie(bytes, 300, 8000));
        assert!(
            matches!(found, Err(Error::Corrupt { row_group: Some(0), .. })),
            "{found:?}"
        );
    }

    #[test]
    fn a_dictionary_index_out_of_range_is_an_error_though_the_decoder_panics() {
        let amounts = arrow::array::Decimal128Array::from_iter_values((0..200).map(|i| i % 3))
            .with_precision_and_scale(30, 2)
            .unwrap();
        let batch = RecordBatch::try_from_iter([("amount", Arc::new(amounts) as ArrayRef)]).unwrap();
        let properties =
            WriterProperties::builder().set_statistics_enabled(parquet::file::properties::EnabledStatistics::None);
        let flip = |bytes: &mut Vec<u8>, at: usize| {
            if at < footer_start(bytes) {
                bytes[at] ^= 0xff;
            }
        };
        let errors: Vec<Error> = (4..200)
            .filter_map(|at| read_damaged(&batch, properties.clone(), |bytes| flip(bytes, at)).err())
            .collect();
        let placed =
            |error: &&Error| matches!(error, Error::Corrupt { row_group: Some(0), column, .. } if column.is_some());
        assert_eq!(
            errors.iter().find(|error| !placed(error)).map(ToString::to_string),
            None
        );
        let panicked = |error: &&Error| error.to_string().ends_with(super::super::guard::PANICKED);
        assert!(
            errors.iter().filter(panicked).count() > 0,
            "no damage reached the decoder"
        );
    }

    #[test]
    fn every_encoding_and_codec_is_read_back() {
        let expected = rows(0, 3000);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        for encoding in [
            Encoding::PLAIN,
            Encoding::DELTA_LENGTH_BYTE_ARRAY,
            Encoding::DELTA_BYTE_ARRAY,
        ] {
            for codec in [
                Compression::SNAPPY,
                Compression::ZSTD(Default::default()),
                Compression::LZ4_RAW,
            ] {
                let properties = WriterProperties::builder()
                    .set_dictionary_enabled(false)
                    .set_column_encoding("city".into(), encoding)
                    .set_column_encoding("id".into(), Encoding::DELTA_BINARY_PACKED)
                    .set_column_encoding("x".into(), Encoding::BYTE_STREAM_SPLIT)
                    .set_compression(codec)
                    .set_data_page_row_count_limit(500);
                write_with(&path, &expected, properties);
                let source = FileSource::open(std::slice::from_ref(&path), 2).unwrap();
                assert_eq!(whole(&read(&source, &[0, 1, 2]).unwrap()).columns(), expected.columns());
            }
        }
    }

    #[test]
    fn wide_rows_come_in_small_batches() {
        let long = "x".repeat(100_000);
        let texts = StringArray::from_iter_values((0..600).map(|i| if i % 2 == 0 { long.as_str() } else { "y" }));
        let batch = RecordBatch::try_from_iter([("text", Arc::new(texts) as ArrayRef)]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, &batch);
        let source = FileSource::open(&[path], 2).unwrap();
        let batches = read(&source, &[0]).unwrap();
        assert!(batches.len() > 2 && batches.iter().all(|batch| batch.num_rows() < 200));
        assert_eq!(whole(&batches).column(0).as_string::<i32>().value(598), long);
    }

    #[test]
    fn an_error_of_the_consumer_ends_the_scan() {
        let (_folder, paths) = in_files(5);
        let source = FileSource::open(&paths, 3).unwrap();
        let mut seen = 0;
        let found = source.scan(&[0], &mut |_, _| {
            seen += 1;
            if seen == 2 { Err(Error::Interrupted) } else { Ok(()) }
        });
        assert!(matches!(found, Err(Error::Interrupted)) && seen == 2);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_an_error() {
        let (_folder, paths) = in_files(2);
        let source = FileSource::open(&paths, 1).unwrap();
        let found = source.scan(&[0], &mut |row, _| {
            if row == 0 {
                write(&paths[0], &rows(0, 10));
            }
            Ok(())
        });
        assert!(matches!(found, Err(Error::FileChanged { .. })), "{found:?}");
        assert!(matches!(read(&source, &[0]), Err(Error::FileChanged { .. })));
    }

    #[test]
    fn files_are_fingerprinted() {
        let (_folder, paths) = in_files(2);
        let found = FileSource::open(&paths, 1).unwrap().fingerprints().unwrap();
        let rows: Vec<u64> = found.iter().map(|file| file.n_rows).collect();
        assert_eq!(rows, [2500, 2500]);
        assert_ne!(found[0].xxh3_128, found[1].xxh3_128);
    }

    #[test]
    fn nulls_and_values_survive() {
        let (_folder, paths) = in_files(1);
        let source = FileSource::open(&paths, 2).unwrap();
        let all = whole(&read(&source, &[0, 1]).unwrap());
        let x = all.column(1).as_primitive::<Float64Type>();
        assert!(x.is_null(7) && x.value(8) == 8.0 / 3.0);
        assert_eq!(all.column(0).as_primitive::<Int64Type>().value(4999), 4999);
    }
}
