//! One table in every form it can have on disk gives one result, bit for bit.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    StringDictionaryBuilder, TimestampMillisecondArray,
};
use arrow::compute::{cast, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Float64Type, Int8Type, Int64Type, TimeUnit};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};

use kohort::backend::cpu::CpuBackend;
use kohort::data::{AbsentColumns, BatchSource, DuplicateIds, FileSource, Filter, NullIds, SourceOptions, expand};
use kohort::fit::{FitOptions, fit};
use kohort::{Error, Result};
use tempfile::TempDir;

const ROWS: i64 = 900;

/// Customers with a column of every kind; `region` last, as a column of paths comes last.
fn customers() -> RecordBatch {
    let noise = |row: i64, salt: i64| ((row * 7919 + salt * 104_729) % 9973) as f64 / 9973.0;
    let group = |row: i64| (row % 3) as f64;
    let spend = (0..ROWS).map(|row| (row % 17 != 0).then(|| 10.0 * group(row) + noise(row, 1)));
    let visits = (0..ROWS).map(|row| (row % 23 != 0).then(|| (5.0 * group(row) + 4.0 * noise(row, 2)) as i64));
    let owed = (0..ROWS).map(|row| (1000.0 * group(row) + 700.0 * noise(row, 3)) as i128);
    let is_active = (0..ROWS).map(|row| (row % 29 != 0).then(|| noise(row, 4) < 0.3 + 0.2 * group(row)));
    let since = (0..ROWS).map(|row| (row % 31 != 0).then(|| 19_000 + (100.0 * noise(row, 5)) as i32));
    let seen = (0..ROWS).map(|row| 1_700_000_000_000 + (1e9 * noise(row, 6)) as i64);
    let mut plan = StringDictionaryBuilder::<Int8Type>::new();
    for row in 0..ROWS {
        match row % 11 {
            0 => plan.append_null(),
            _ => plan.append_value(["basic", "pro, yearly", "say \"max\""][((row + row / 7) % 3) as usize]),
        }
    }
    let region = (0..ROWS).map(|row| ["north", "south", "west"][(row % 5 % 3) as usize]);
    RecordBatch::try_from_iter_with_nullable([
        (
            "customer_id",
            Arc::new(Int64Array::from_iter_values(5_000..5_000 + ROWS)) as ArrayRef,
            true,
        ),
        ("spend", Arc::new(spend.collect::<Float64Array>()) as _, true),
        ("visits", Arc::new(visits.collect::<Int64Array>()) as _, true),
        (
            "owed",
            Arc::new(
                Decimal128Array::from_iter_values(owed)
                    .with_precision_and_scale(12, 2)
                    .unwrap(),
            ) as _,
            true,
        ),
        ("is_active", Arc::new(is_active.collect::<BooleanArray>()) as _, true),
        ("since", Arc::new(since.collect::<Date32Array>()) as _, true),
        (
            "seen",
            Arc::new(TimestampMillisecondArray::from_iter_values(seen)) as _,
            true,
        ),
        ("plan", Arc::new(plan.finish()) as _, true),
        ("region", Arc::new(StringArray::from_iter_values(region)) as _, true),
    ])
    .unwrap()
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(130))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn write_arrow(path: &Path, batch: &RecordBatch, codec: Option<CompressionType>) {
    let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = FileWriter::try_new_with_options(file, &batch.schema(), options).unwrap();
    for first in (0..batch.num_rows()).step_by(200) {
        writer
            .write(&batch.slice(first, 200.min(batch.num_rows() - first)))
            .unwrap();
    }
    writer.finish().unwrap();
}

fn write_stream(path: &Path, batch: &RecordBatch) {
    let mut writer = StreamWriter::try_new(File::create(path).unwrap(), &batch.schema()).unwrap();
    for first in (0..batch.num_rows()).step_by(77) {
        writer
            .write(&batch.slice(first, 77.min(batch.num_rows() - first)))
            .unwrap();
    }
    writer.finish().unwrap();
}

fn write_csv(path: &Path, batch: &RecordBatch, delimiter: &str, end: &str) {
    let quoted = |text: String| {
        if text.contains(['"', ',', ';', '\n']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    };
    let options = FormatOptions::default();
    let columns: Vec<ArrayFormatter<'_>> = { batch.columns().iter() }
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    let names: Vec<String> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let mut text = names.join(delimiter) + end;
    for row in 0..batch.num_rows() {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| quoted(column.value(row).to_string()))
            .collect();
        text += &(cells.join(delimiter) + end);
    }
    std::fs::write(path, text).unwrap();
}

/// Everything of a fit that must not depend on how its table is stored.
#[derive(Debug, PartialEq)]
struct Outcome {
    labels_hash: String,
    inertia: u128,
    centroids: Vec<i32>,
}

fn outcome_with(data: &Path, id: &str, options: SourceOptions) -> Result<Outcome> {
    let source = FileSource::open_with(&expand(&[data.to_str().unwrap().to_owned()])?, 2, options)?;
    let mut options = FitOptions::new(4);
    if !id.is_empty() {
        options.features.id = vec![id.into()];
    }
    let fit = fit(&source, &CpuBackend::new(2)?, &options, &())?;
    Ok(Outcome {
        labels_hash: fit.summary.labels_hash,
        inertia: fit.summary.inertia_exact,
        centroids: fit.model.centroids.values().to_vec(),
    })
}

fn outcome(data: &Path) -> Outcome {
    outcome_with(data, "customer_id", SourceOptions::default()).unwrap()
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A path in the folder, with the folders on the way to it.
    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}

#[test]
fn a_table_is_the_same_in_every_format() {
    let (folder, table) = (Folder::new(), customers());
    write_parquet(&folder.path("a.parquet"), &table);
    write_arrow(&folder.path("plain.arrow"), &table, None);
    write_arrow(&folder.path("lz4.feather"), &table, Some(CompressionType::LZ4_FRAME));
    write_arrow(&folder.path("zstd.ipc"), &table, Some(CompressionType::ZSTD));
    write_stream(&folder.path("stream.arrows"), &table);
    // A name promises less than the first bytes do.
    write_stream(&folder.path("stream.bin"), &table);
    write_csv(&folder.path("a.csv"), &table, ",", "\n");
    write_csv(&folder.path("semicolons.csv"), &table, ";", "\r\n");
    write_csv(&folder.path("tabs.tsv"), &table, "\t", "\n");
    let expected = outcome(&folder.path("a.parquet"));
    for name in [
        "plain.arrow",
        "lz4.feather",
        "zstd.ipc",
        "stream.arrows",
        "stream.bin",
        "a.csv",
        "semicolons.csv",
        "tabs.tsv",
    ] {
        assert_eq!(outcome(&folder.path(name)), expected, "{name}");
    }
}

/// The comparison above can fail: one cell of 900 rows.
#[test]
fn one_other_cell_is_another_result() {
    let (folder, table) = (Folder::new(), customers());
    let path = folder.path("a.csv");
    write_csv(&path, &table, ",", "\n");
    let before = outcome(&path);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen(",true,", ",false,", 1)).unwrap();
    assert_ne!(outcome(&path), before);
}

#[test]
fn a_table_is_the_same_in_any_number_of_files() {
    let (folder, table) = (Folder::new(), customers());
    write_parquet(&folder.path("a.parquet"), &table);
    let expected = outcome(&folder.path("a.parquet"));
    for (n, first) in (0..table.num_rows()).step_by(250).enumerate() {
        let part = table.slice(first, 250.min(table.num_rows() - first));
        write_csv(&folder.path(&format!("csv/deep/{n}.csv")), &part, ",", "\n");
        write_stream(&folder.path(&format!("arrow/{n}.arrows")), &part);
        // One file of each format.
        match n % 3 {
            0 => write_csv(&folder.path(&format!("mixed/{n}.csv")), &part, ";", "\n"),
            1 => write_parquet(&folder.path(&format!("mixed/{n}.parquet")), &part),
            _ => write_arrow(&folder.path(&format!("mixed/{n}.arrow")), &part, None),
        }
    }
    assert_eq!(outcome(&folder.path("csv")), expected);
    assert_eq!(outcome(&folder.path("arrow")), expected);
    assert_eq!(outcome(&folder.0.path().join("mixed/*")), expected);
    let refused = expand(&[folder.path("mixed").to_str().unwrap().to_owned()]).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("several formats: CSV (0.csv) and Parquet (1.parquet)"),
        "{refused}"
    );
}

#[test]
fn columns_of_paths_are_columns() {
    let (folder, table) = (Folder::new(), customers());
    write_parquet(&folder.path("a.parquet"), &table);
    let expected = outcome(&folder.path("a.parquet"));
    let regions = table.column(8);
    for region in ["north", "south", "west"] {
        let scalar = StringArray::new_scalar(region);
        let rows = filter_record_batch(&table, &arrow::compute::kernels::cmp::eq(regions, &scalar).unwrap()).unwrap();
        let others = rows.project(&(0..8).collect::<Vec<_>>()).unwrap();
        write_parquet(&folder.path(&format!("parquet/region={region}/a.parquet")), &others);
        write_csv(
            &folder.path(&format!("csv/region={region}/year=2026/a.csv")),
            &others,
            ",",
            "\n",
        );
        // Some writers leave the column in the file.
        write_arrow(&folder.path(&format!("both/region={region}/a.arrow")), &rows, None);
    }
    for name in ["parquet", "csv", "both"] {
        assert_eq!(outcome(&folder.path(name)), expected, "{name}");
    }
    // A filter on such a column leaves whole files unread.
    let text = "region in ('west', 'south') and spend > 1";
    let found = outcome_with(&folder.path("parquet"), "customer_id", filtered(text)).unwrap();
    assert_eq!(
        found,
        outcome_with(&folder.path("a.parquet"), "customer_id", filtered(text)).unwrap()
    );
    let files = expand(&[folder.path("csv").to_str().unwrap().to_owned()]).unwrap();
    let kept = FileSource::open_with(&files, 2, filtered("region = 'west' and spend > 1"))
        .unwrap()
        .kept();
    assert_eq!((kept.n_pieces, kept.n_passed_over), (3, 2));
    let none = SourceOptions {
        partitions: Some(Vec::new()),
        ..SourceOptions::default()
    };
    let without = outcome_with(&folder.path("parquet"), "customer_id", none).unwrap();
    assert_ne!(without.centroids.len(), expected.centroids.len());
}

/// The same values in the types that other writers choose.
fn retyped(batch: &RecordBatch) -> RecordBatch {
    let schema = batch.schema();
    let types = [
        DataType::UInt16,
        DataType::Float64,
        DataType::Int8,
        DataType::Decimal128(20, 4),
        DataType::Boolean,
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        DataType::LargeUtf8,
        DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::Utf8)),
    ];
    let columns = batch.columns().iter().zip(types).zip(schema.fields());
    let columns: Vec<(String, ArrayRef, bool)> = columns
        .map(|((array, data_type), field)| (field.name().clone(), cast(array, &data_type).unwrap(), true))
        .rev()
        .collect();
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

#[test]
fn types_that_differ_between_files_are_widened() {
    let (folder, table) = (Folder::new(), customers());
    write_parquet(&folder.path("a.parquet"), &table);
    let expected = outcome(&folder.path("a.parquet"));
    let (head, tail) = (table.slice(0, 400), retyped(&table.slice(400, 500)));
    write_parquet(&folder.path("one/0.parquet"), &head);
    write_parquet(&folder.path("one/1.parquet"), &tail);
    write_arrow(&folder.path("other/0.arrow"), &tail, None);
    write_arrow(&folder.path("other/1.arrow"), &head, None);
    assert_eq!(outcome(&folder.path("one")), expected);
    // The columns come in the order of the first file, which is another.
    let other = outcome(&folder.path("other"));
    assert_eq!(
        (&other.labels_hash, other.inertia),
        (&expected.labels_hash, expected.inertia)
    );
    let texts = cast(table.column(1), &DataType::Utf8).unwrap();
    let other = RecordBatch::try_from_iter([("spend", texts)]).unwrap();
    write_parquet(&folder.path("bad/0.parquet"), &table.project(&[1]).unwrap());
    write_parquet(&folder.path("bad/1.parquet"), &other);
    let refused = outcome_with(&folder.path("bad"), "", SourceOptions::default()).unwrap_err();
    assert!(
        matches!(&refused, Error::SchemaMismatch { path, column, .. } if column == "spend" && path.ends_with("1.parquet"))
    );
}

#[test]
fn an_absent_column_has_no_values_where_that_is_asked_for() {
    let (folder, table) = (Folder::new(), customers());
    let (head, tail) = (table.slice(0, 700), table.slice(700, 200));
    let mut columns = tail.columns().to_vec();
    columns[2] = arrow::array::new_null_array(&DataType::Int64, 200);
    let nulls = RecordBatch::try_new(table.schema(), columns).unwrap();
    write_parquet(&folder.path("null/0.parquet"), &head);
    write_parquet(&folder.path("null/1.parquet"), &nulls);
    write_parquet(&folder.path("absent/0.parquet"), &head);
    write_parquet(
        &folder.path("absent/1.parquet"),
        &tail.project(&[0, 1, 3, 4, 5, 6, 7, 8]).unwrap(),
    );
    let refused = outcome_with(&folder.path("absent"), "customer_id", SourceOptions::default()).unwrap_err();
    assert!(matches!(refused, Error::SchemaMismatch { column, .. } if column == "visits"));
    let absent = SourceOptions {
        absent_columns: AbsentColumns::Null,
        ..SourceOptions::default()
    };
    let found = outcome_with(&folder.path("absent"), "customer_id", absent).unwrap();
    assert_eq!(found, outcome(&folder.path("null")));
}

/// Rows in another order, as another file split gives them, change nothing where they have ids.
#[test]
fn the_order_of_files_changes_nothing_where_rows_have_ids() {
    let (folder, table) = (Folder::new(), customers());
    write_parquet(&folder.path("a.parquet"), &table);
    let order: arrow::array::UInt32Array = (0..ROWS as u32).map(|row| (row * 211 + 17) % ROWS as u32).collect();
    write_csv(
        &folder.path("b.csv"),
        &take_record_batch(&table, &order).unwrap(),
        ",",
        "\n",
    );
    let [straight, moved] = ["a.parquet", "b.csv"].map(|name| outcome(&folder.path(name)));
    assert_eq!(straight, moved);
}

/// Rows of the table that a filter wants, found without one.
fn rows_where(table: &RecordBatch, wanted: impl Fn(usize) -> bool) -> RecordBatch {
    let mask: BooleanArray = (0..table.num_rows()).map(|row| Some(wanted(row))).collect();
    filter_record_batch(table, &mask).unwrap()
}

fn filtered(text: &str) -> SourceOptions {
    SourceOptions {
        filter: Some(Filter::new(text).unwrap()),
        ..SourceOptions::default()
    }
}

#[test]
fn a_filter_gives_the_rows_it_wants_in_every_format() {
    let (folder, table) = (Folder::new(), customers());
    write_parquet(&folder.path("a.parquet"), &table);
    write_arrow(&folder.path("a.arrow"), &table, None);
    write_csv(&folder.path("a.csv"), &table, ",", "\n");
    let spend = table.column(1).as_primitive::<Float64Type>();
    let regions = table.column(8).as_string::<i32>();
    let wanted = |row: usize| {
        let id = 5_000 + row as i64;
        let rich = spend.is_valid(row) && spend.value(row) >= 0.25;
        !(5_180..5_300).contains(&id) && (rich || regions.value(row) == "west")
    };
    write_parquet(&folder.path("wanted.parquet"), &rows_where(&table, wanted));
    let expected = outcome(&folder.path("wanted.parquet"));
    let text = "(customer_id < 5180 or customer_id >= 5300) and (spend >= 0.25 or region = 'west')";
    for name in ["a.parquet", "a.arrow", "a.csv"] {
        let found = outcome_with(&folder.path(name), "customer_id", filtered(text)).unwrap();
        assert_eq!(found, expected, "{name}");
    }
    let other = filtered(&text.replace("0.25", "0.3"));
    assert_ne!(
        outcome_with(&folder.path("a.csv"), "customer_id", other).unwrap(),
        expected
    );
}

/// What statistics rule out is not read: pages that hold nothing but noise do no harm.
#[test]
fn pieces_without_a_wanted_row_are_not_read() {
    let (folder, table) = (Folder::new(), customers());
    let path = folder.path("a.parquet");
    write_parquet(&path, &table);
    let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for group in &reader.metadata().row_groups()[2..] {
        for chunk in group.columns() {
            let (start, len) = chunk.byte_range();
            bytes[start as usize..(start + len) as usize].fill(0xee);
        }
    }
    let damaged = folder.path("damaged.parquet");
    std::fs::write(&damaged, bytes).unwrap();
    let text = "customer_id < 5200 and not region is null";
    let open = |path: &PathBuf| FileSource::open_with(std::slice::from_ref(path), 2, filtered(text)).unwrap();
    let kept = open(&damaged).kept();
    assert_eq!(
        (kept.n_rows, kept.n_wanted, kept.n_pieces, kept.n_passed_over),
        (900, 200, 7, 5)
    );
    assert_eq!(
        outcome_with(&damaged, "customer_id", filtered(text)).unwrap(),
        outcome_with(&path, "customer_id", filtered(text)).unwrap()
    );
    assert_eq!(open(&path).locate(199), (Some(path.clone()), 199));
    let late = filtered("customer_id >= 5850");
    let source = FileSource::open_with(std::slice::from_ref(&path), 2, late).unwrap();
    assert_eq!((source.n_rows(), source.locate(3)), (50, (Some(path), 853)));
    let all = outcome_with(&damaged, "customer_id", filtered("spend is null or spend < 1e9"));
    assert!(matches!(all, Err(Error::Corrupt { .. })));
}

#[test]
fn rows_are_left_out_for_their_ids_as_told() {
    let (folder, table) = (Folder::new(), customers());
    let order: arrow::array::UInt32Array = (0..ROWS as u32).chain([3, 4, 4, 899]).collect();
    let repeated = take_record_batch(&table, &order).unwrap();
    write_parquet(&folder.path("a.parquet"), &table);
    write_csv(&folder.path("repeated.csv"), &repeated, ",", "\n");
    let expected = outcome(&folder.path("a.parquet"));
    let with = |duplicate_ids, null_ids| SourceOptions {
        ids: vec!["customer_id".into()],
        duplicate_ids,
        null_ids,
        ..SourceOptions::default()
    };
    let of = |name: &str, options| outcome_with(&folder.path(name), "customer_id", options);
    let refused = of("repeated.csv", with(DuplicateIds::Error, NullIds::Error)).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::DuplicateIds {
                count: 4,
                n_rows: 904,
                ..
            }
        ),
        "{refused:?}"
    );
    assert_eq!(
        of("repeated.csv", with(DuplicateIds::First, NullIds::Error)).unwrap(),
        expected
    );
    let kept = of("repeated.csv", with(DuplicateIds::Keep, NullIds::Error)).unwrap();
    assert_ne!(kept.labels_hash, expected.labels_hash);
    // Nothing but the rows is another: there are no others of one id that could be told apart otherwise.
    assert_eq!(
        of("a.parquet", with(DuplicateIds::Keep, NullIds::Error)).unwrap(),
        expected
    );
    let mut columns = repeated.columns().to_vec();
    let ids = repeated.column(0).as_primitive::<Int64Type>();
    let ids: Int64Array = (0..904)
        .map(|row| (row < 900 && row % 300 != 7).then(|| ids.value(row)))
        .collect();
    columns[0] = Arc::new(ids);
    let nulls = RecordBatch::try_new(repeated.schema(), columns).unwrap();
    write_arrow(&folder.path("nulls.arrow"), &nulls, None);
    write_parquet(
        &folder.path("without.parquet"),
        &rows_where(&table, |row| row % 300 != 7),
    );
    let refused = of("nulls.arrow", with(DuplicateIds::First, NullIds::Error)).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::NullIds {
                count: 7,
                first_row: 8,
                ..
            }
        ),
        "{refused:?}"
    );
    let dropped = of("nulls.arrow", with(DuplicateIds::Error, NullIds::Drop)).unwrap();
    assert_eq!(dropped, outcome(&folder.path("without.parquet")));
}
