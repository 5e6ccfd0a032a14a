//! Columns of lists of numbers, from file to report, against the same numbers in columns of their own.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, LargeListArray, ListArray, RecordBatch,
};
use arrow::datatypes::{Float32Type, Int32Type};
use arrow::ipc::writer::FileWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::sandbox::Sandbox;

const ROWS: i64 = 300;
const D: usize = 8;

/// Three groups.
fn number(row: i64, at: usize) -> f32 {
    let noise = (row * 7919 + at as i64 * 104_729) % 997;
    (row % 3) as f32 * (at as f32 - 3.0) + noise as f32 / 997.0
}

/// A row without a list here and there.
fn list(row: i64) -> Option<Vec<Option<f32>>> {
    (row % 29 != 0).then(|| (0..D).map(|at| Some(number(row, at))).collect())
}

fn ids() -> (&'static str, ArrayRef) {
    ("id", Arc::new(Int64Array::from_iter_values(7000..7000 + ROWS)))
}

fn write_lists(sandbox: &Sandbox) {
    let small = ListArray::from_iter_primitive::<Float32Type, _, _>((0..ROWS).map(list));
    let large = LargeListArray::from_iter_primitive::<Float32Type, _, _>((0..ROWS).map(list));
    let fixed = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>((0..ROWS).map(list), D as i32);
    for (name, array) in [
        ("small", Arc::new(small) as ArrayRef),
        ("large", Arc::new(large) as _),
        ("fixed", Arc::new(fixed) as _),
    ] {
        let columns = [ids(), ("embedding", array)];
        sandbox.write(&format!("{name}.parquet"), &columns);
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = std::fs::File::create(sandbox.path(&format!("{name}.arrow"))).unwrap();
        let mut writer = FileWriter::try_new(file, &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
    }
}

fn write_columns(sandbox: &Sandbox) {
    let names: Vec<String> = (0..D).map(|at| format!("v{at}")).collect();
    let column = |at: usize| -> ArrayRef {
        let values = (0..ROWS).map(|row| (row % 29 != 0).then(|| number(row, at)));
        Arc::new(Float32Array::from_iter(values))
    };
    let columns = names.iter().enumerate().map(|(at, name)| (name.as_str(), column(at)));
    sandbox.write(
        "columns.parquet",
        &[ids()].into_iter().chain(columns).collect::<Vec<_>>(),
    );
}

fn segments(sandbox: &Sandbox, path: &str) -> Vec<i32> {
    let file = std::fs::File::open(sandbox.path(path)).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let of_batch = |batch: RecordBatch| batch["segment"].as_primitive::<Int32Type>().values().to_vec();
    batches.map(Result::unwrap).flat_map(of_batch).collect()
}

#[test]
fn a_list_gives_what_its_numbers_give_as_columns() {
    let sandbox = Sandbox::new();
    write_lists(&sandbox);
    write_columns(&sandbox);
    let as_it_is = "-k 3 --id id --scale none --missing mean --overwrite";
    let expected = sandbox.object(&format!("fit columns.parquet {as_it_is} --out plain --json"));
    for kind in ["small", "large", "fixed"] {
        for format in ["parquet", "arrow"] {
            let found = sandbox.object(&format!(
                "fit {kind}.{format} --features embedding {as_it_is} --out run --json"
            ));
            for field in ["labels_hash", "inertia_exact"] {
                assert_eq!(found[field], expected[field], "{kind}.{format}: {field}");
            }
            assert_eq!(
                segments(&sandbox, "run/assignments.parquet"),
                segments(&sandbox, "plain/assignments.parquet")
            );
        }
        // The model goes with every kind of list.
        sandbox.ok(&format!("score run {kind}.parquet --out scored.parquet --overwrite"));
        assert_eq!(
            segments(&sandbox, "scored.parquet"),
            segments(&sandbox, "run/assignments.parquet")
        );
    }
}

#[test]
fn nobody_is_told_of_single_numbers() {
    let sandbox = Sandbox::new();
    write_lists(&sandbox);
    let output = sandbox.output("fit fixed.parquet --features embedding -k 3 --id id --out run");
    assert!(output.status.success());
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .concat();
    let table = "8 numbers, (x - mean) / ";
    assert!(said.contains(table), "{said}");
    assert!(!said.contains("embedding["), "{said}");
    let report = std::fs::read_to_string(sandbox.path("run/report.html")).unwrap();
    assert!(!report.contains("embedding["));
    let explained = sandbox.ok("explain run --id 7001");
    assert!(
        explained.contains("(8 numbers)") && !explained.contains("embedding["),
        "{explained}"
    );
    let unasked = sandbox.ok("inspect fixed.parquet").replace('\n', " ");
    assert!(unasked.contains("only where they are asked for"), "{unasked}");
}

#[test]
fn lists_of_another_length_are_refused() {
    let sandbox = Sandbox::new();
    write_lists(&sandbox);
    sandbox.ok("fit fixed.parquet --features embedding -k 3 --id id --out run");
    let shorter = |row: i64| list(row).map(|list| list[..if row == 41 { 5 } else { D }].to_vec());
    let ragged = ListArray::from_iter_primitive::<Float32Type, _, _>((0..ROWS).map(shorter));
    sandbox.write("ragged.parquet", &[ids(), ("embedding", Arc::new(ragged) as _)]);
    for (args, wanted) in [
        (
            "fit ragged.parquet --features embedding -k 3 --id id --out other",
            "holds lists of 5 to 8 numbers, not of one length",
        ),
        (
            "score run ragged.parquet --out scored.parquet",
            "row 42: is a list of another length than those of the fit",
        ),
    ] {
        let output = sandbox.output(args);
        let said = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
    assert!(!sandbox.path("other").exists() && !sandbox.path("scored.parquet").exists());
}
