//! `kohort sweep`, and fits that choose their number of segments.

use std::fs::{self, File};

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::sandbox::{Sandbox, names};

const SWEEP: &str = "sweep customers.parquet -k 2..5 --id customer_id --exclude age --device cpu --threads 2";

#[test]
fn a_sweep_is_told_and_written() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!("sweep", sandbox.transcript(&format!("{SWEEP} --out choice")));
    assert_eq!(names(&sandbox.path("choice")), ["sweep.json", "sweep.parquet"]);
    let record: Value = serde_json::from_slice(&fs::read(sandbox.path("choice/sweep.json")).unwrap()).unwrap();
    let sweep = &record["selection"]["sweep"];
    assert_eq!(
        (&sweep["decision"]["k"], sweep["candidates"].as_array().unwrap().len()),
        (&3.into(), 4)
    );
    let file = File::open(sandbox.path("choice/sweep.parquet")).unwrap();
    let mut batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batch = batches.next().unwrap().unwrap();
    let k = batch.column_by_name("k").unwrap().as_primitive::<Int32Type>();
    assert_eq!(k.values(), &[2, 3, 4, 5]);
    let chosen: Vec<bool> = batch
        .column_by_name("chosen")
        .unwrap()
        .as_boolean()
        .values()
        .iter()
        .collect();
    assert_eq!(chosen, [false, true, false, false]);
    // Again: refused, then replaced by the same. Without --out nothing is written.
    insta::assert_snapshot!("sweep_again", sandbox.transcript(&format!("{SWEEP} --out choice")));
    let again = sandbox.object(&format!("{SWEEP} --out choice --overwrite --json"));
    assert_eq!(&again["selection"]["sweep"], sweep);
    let before = sandbox.names();
    assert_eq!(sandbox.object(&format!("{SWEEP} --json"))["out"], Value::Null);
    assert_eq!(sandbox.names(), before);
}

#[test]
fn a_fit_chooses_its_number_of_segments_and_can_be_verified() {
    let sandbox = Sandbox::new();
    let fit = "fit customers.parquet --id customer_id --exclude age --device cpu --threads 2";
    insta::assert_snapshot!("fit_auto", sandbox.transcript(&format!("{fit} -k 2..5 --out chosen")));
    let record: Value = serde_json::from_slice(&fs::read(sandbox.path("chosen/run.json")).unwrap()).unwrap();
    assert_eq!(
        (&record["n_clusters"], &record["selection"]["k"]),
        (&3.into(), &serde_json::json!([2, 5]))
    );
    let three = sandbox.object(&format!("{fit} -k 3 --out three --json"));
    assert_eq!(three["labels_hash"], record["labels_hash"]);
    assert!(three.get("selection").is_none());
    for file in ["assignments.parquet", "profile.parquet", "model.json"] {
        let read = |run: &str| fs::read(sandbox.path(run).join(file)).unwrap();
        assert!(read("chosen") == read("three"), "{file} differs");
    }
    sandbox.object("verify chosen --device cpu --json");
    let preferred = sandbox.object(&format!(
        "{fit} -k auto --prefer 4..5 --min-share 3% --out preferred --json"
    ));
    assert!([4, 5].contains(&preferred["n_clusters"].as_i64().unwrap()));
}
