//! Small tables of customers, as files of every format.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

/// Customers in three groups, by their numbers.
pub(crate) fn customers(rows: Range<u64>) -> RecordBatch {
    let noise = |row: u64, salt: u64| (kohort::rng::hash_key(salt, row.into()) % 1000) as f64 / 1000.0;
    let column = |salt: u64| -> ArrayRef {
        let value = |row: u64| (row % 3 * salt) as f64 + noise(row, salt);
        Arc::new(Float64Array::from_iter_values(rows.clone().map(value)))
    };
    RecordBatch::try_from_iter([
        (
            "customer",
            Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row as i64))) as ArrayRef,
        ),
        ("spend", column(5)),
        ("visits", column(9)),
    ])
    .unwrap()
}

/// Numbers that do not compress, in so many columns and row groups of so many rows.
pub(crate) fn wide(n_rows: usize, n_columns: usize, group_rows: usize) -> (RecordBatch, WriterProperties) {
    let column = |salt: usize| -> ArrayRef {
        let value = |row: usize| {
            let hash = kohort::rng::hash_key(salt as u64 + 1, row as u128);
            (hash >> 12) as f64 / (1u64 << 52) as f64 + (row % 3) as f64 * 4.0
        };
        Arc::new(Float64Array::from_iter_values((0..n_rows).map(value)))
    };
    let names: Vec<String> = (0..n_columns).map(|at| format!("x{at:02}")).collect();
    let columns = names.iter().enumerate().map(|(at, name)| (name.as_str(), column(at)));
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_compression(Compression::UNCOMPRESSED)
        .set_max_row_group_row_count(Some(group_rows));
    (RecordBatch::try_from_iter(columns).unwrap(), properties.build())
}

pub(crate) fn parquet(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

pub(crate) fn small_parquet(rows: Range<u64>) -> Vec<u8> {
    parquet(&customers(rows), WriterProperties::default())
}

pub(crate) fn csv(rows: Range<u64>) -> Vec<u8> {
    let batch = customers(rows);
    let mut text = String::from("customer,spend,visits\n");
    let spend = batch.column(1).as_any().downcast_ref::<Float64Array>().unwrap();
    let visits = batch.column(2).as_any().downcast_ref::<Float64Array>().unwrap();
    let ids = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
    for row in 0..batch.num_rows() {
        text += &format!("{},{},{}\n", ids.value(row), spend.value(row), visits.value(row));
    }
    text.into_bytes()
}

pub(crate) fn arrow_file(rows: Range<u64>) -> Vec<u8> {
    let batch = customers(rows);
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

/// A data set of several files of each format, and what is no data: names below a folder, and bytes.
pub(crate) fn data_set() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("one.parquet", small_parquet(0..300)),
        ("years/year=2025/b.parquet", small_parquet(0..150)),
        ("years/year=2025/a.parquet", small_parquet(150..300)),
        ("years/year=2026/part-0.parquet", small_parquet(300..450)),
        ("years/_old/x.parquet", b"hidden".to_vec()),
        ("years/_SUCCESS", Vec::new()),
        ("years/notes.txt", b"no data".to_vec()),
        ("table.csv", csv(0..200)),
        ("table.arrow", arrow_file(0..200)),
    ]
}

/// Writes the files below a folder.
pub(crate) fn write(folder: &Path, files: &[(&str, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
