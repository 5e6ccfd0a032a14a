//! Trees: which segments are alike, and segments of segments.

use std::fs::File;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::sandbox::{Sandbox, customers, names};

const FIT: &str = "fit customers.parquet -k 4 --id customer_id --device cpu -q --out run";
const LEVELS: &str = "fit customers.parquet --levels 3,2 --id customer_id --device cpu --out run";

/// Id, segment and path of every row of a file of assignments.
fn paths(sandbox: &Sandbox, name: &str) -> Vec<(i64, i32, String)> {
    let file = File::open(sandbox.path(name)).unwrap();
    let mut rows = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let ids = batch.column_by_name("customer_id").unwrap().as_primitive::<Int64Type>();
        let segments = batch.column_by_name("segment").unwrap().as_primitive::<Int32Type>();
        let paths = batch.column_by_name("path").unwrap().as_string::<i32>();
        for row in 0..batch.num_rows() {
            rows.push((ids.value(row), segments.value(row), paths.value(row).to_owned()));
        }
    }
    rows
}

#[test]
fn the_segments_of_a_run_are_joined() {
    let sandbox = Sandbox::new();
    sandbox.ok(FIT);
    insta::assert_snapshot!("help_tree", sandbox.transcript("tree --help"));
    insta::assert_snapshot!("tree", sandbox.transcript("tree run --cut 2"));
    let told = sandbox.object("tree run --cut 3 --json");
    let forks = told["forks"].as_array().unwrap();
    assert_eq!(forks.len(), 3);
    let share = |fork: &Value, key: &str| fork[key].as_f64().unwrap();
    let all: f64 = forks.iter().map(|fork| share(fork, "cost_share")).sum();
    assert!((all - share(&forks[2], "explained")).abs() < 1e-12);
    let groups = told["groups"].as_array().unwrap();
    let n_rows: u64 = groups.iter().map(|group| group["n_rows"].as_u64().unwrap()).sum();
    assert_eq!((groups.len(), n_rows), (3, 240));
    // The scatter that forks do not explain is the inertia of the run.
    let record: Value = serde_json::from_reader(File::open(sandbox.path("run/run.json")).unwrap()).unwrap();
    let exact = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let between: f64 = forks.iter().map(|fork| exact(&fork["cost_exact"])).sum();
    let within = exact(&record["inertia_exact"]);
    assert!((between / (between + within) - share(&told, "explained")).abs() < 1e-12);
}

#[test]
fn segments_of_segments_are_told_written_scored_and_verified() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!("fit_levels", sandbox.transcript(LEVELS));
    insta::assert_snapshot!("tree_levels", sandbox.transcript("tree run"));
    let fitted = paths(&sandbox, "run/assignments.parquet");
    assert_eq!(fitted.len(), 240);
    assert!(
        fitted
            .iter()
            .all(|(_, segment, path)| path.starts_with(&format!("{segment}.")))
    );
    insta::assert_snapshot!(
        "score_levels",
        sandbox.transcript("score run customers.parquet --device cpu --out scored.parquet")
    );
    assert_eq!(paths(&sandbox, "scored.parquet"), fitted);
    insta::assert_snapshot!("verify_levels", sandbox.transcript("verify run --device cpu"));
    // Planted fault: another hash of the paths in the record.
    let path = sandbox.path("run/run.json");
    let record = std::fs::read_to_string(&path).unwrap();
    let at = record.find(r#""paths_hash": ""#).unwrap() + 15;
    let other = if record[at..].starts_with('0') { "1" } else { "0" };
    std::fs::write(&path, format!("{}{other}{}", &record[..at], &record[at + 1..])).unwrap();
    assert_eq!(sandbox.output("verify run --device cpu").status.code(), Some(5));
}

#[test]
fn one_segment_of_a_run_is_split_again() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{FIT} --min-cell 3"));
    let drill = "tree run --drill 2 -k 3 --out deeper --device cpu";
    insta::assert_snapshot!("tree_drill", sandbox.transcript(drill));
    let deeper = paths(&sandbox, "deeper/assignments.parquet");
    assert!(deeper.iter().all(|(_, segment, path)| match segment {
        2 => path.starts_with("2.") && path.len() == 3,
        segment => *path == segment.to_string(),
    }));
    assert_eq!(sandbox.object("verify deeper --json --device cpu")["matches"], true);
    // And again, one level down, with the number left open.
    sandbox.ok("tree deeper --drill 2.1 -k auto --out deepest --device cpu -q");
    let record: Value = serde_json::from_reader(File::open(sandbox.path("deepest/run.json")).unwrap()).unwrap();
    assert_eq!(record["levels"]["splits"][1]["path"], "2.1");
    assert_eq!(
        record["labels_hash"],
        sandbox.object("verify deepest --json --device cpu")["checks"][0]["found"]
    );
    let mut told = String::new();
    for args in [
        "tree run --drill 9 -k 3 --out other",
        "tree deeper --drill 2 -k 3 --out other",
        "tree run --drill 1 -k 1 --out other",
        "tree run --drill 1 -k 3",
        "tree run --drill 1 -k 3 --out deeper",
        "tree run --cut 5",
        "tree nowhere",
        "fit customers.parquet --levels 3,1",
        "fit customers.parquet --levels 3,2 -k 3",
    ] {
        told += &sandbox.transcript(args);
        assert_eq!(sandbox.output(args).status.code(), Some(2), "{args}");
    }
    insta::assert_snapshot!("error_tree", told);
    assert!(!sandbox.path("other").exists());
}

#[test]
fn data_that_changed_and_columns_called_path_are_refused() {
    let sandbox = Sandbox::new();
    let mut columns = customers(0..240);
    columns[0].0 = "path";
    sandbox.write("named.parquet", &columns);
    let refused = sandbox.transcript("fit named.parquet --levels 2,2 --id path --device cpu");
    assert!(
        refused.contains("exit code: 2") && refused.contains("column \"path\""),
        "{refused}"
    );
    sandbox.ok("fit named.parquet -k 2 --id path --device cpu -q --out named");
    sandbox.ok(FIT);
    sandbox.write("customers.parquet", &customers(0..241));
    let changed = sandbox.transcript("tree run --drill 1 -k 2 --out deeper --device cpu");
    assert!(changed.contains("is not the file that the run read"), "{changed}");
    assert!(!names(&sandbox.path("")).contains(&"deeper".to_owned()));
}
