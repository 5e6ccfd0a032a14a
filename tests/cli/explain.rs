//! Why a customer is where it is.

use serde_json::Value;

use crate::sandbox::{Sandbox, names};

const FIT: &str = "fit customers.parquet -k 3 --id customer_id --device cpu -q --out run";

#[test]
fn a_row_is_explained() {
    let sandbox = Sandbox::new();
    assert!(sandbox.output(FIT).status.success());
    insta::assert_snapshot!("explain", sandbox.transcript("explain run --id 10003"));
    let told = sandbox.output("explain run customers.parquet --id 10003 --json");
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let changes = told["changes"].as_array().unwrap();
    assert!(!changes.is_empty() && told["reasons"].as_array().unwrap().len() == 4);
    assert!(changes.iter().all(|change| change["segment"] != told["segment"]));
}

#[test]
fn every_row_is_explained_in_a_file() {
    let sandbox = Sandbox::new();
    assert!(sandbox.output(FIT).status.success());
    let all = "explain run --all --out reasons.parquet";
    insta::assert_snapshot!("explain_all", sandbox.transcript(all));
    assert!(sandbox.path("reasons.parquet").exists());
    assert_eq!(sandbox.output(all).status.code(), Some(2), "not replaced unasked");
    assert!(sandbox.output(&format!("{all} --overwrite --json")).status.success());
}

#[test]
fn what_cannot_be_explained_says_why() {
    let sandbox = Sandbox::new();
    assert!(sandbox.output(FIT).status.success());
    let mut columns = crate::sandbox::customers(0..240);
    columns.remove(1);
    sandbox.write("narrow.parquet", &columns);
    let before = sandbox.names();
    let mut told = String::new();
    for args in [
        "explain run --id 99999",
        "explain run --id 10001 --id 10002",
        "explain run narrow.parquet --id 10003",
        "explain run narrow.parquet --all --out reasons.parquet",
        "explain run",
        "explain run --all",
        "explain run --id 10003 --out reasons.parquet",
        "explain run/model.json --id 10003",
        "explain nowhere --id 10003",
    ] {
        told += &sandbox.transcript(args);
        assert_ne!(sandbox.output(args).status.code(), Some(0), "{args}");
    }
    insta::assert_snapshot!("error_explain", told);
    // Another row in the file of the run: no longer what the run read.
    sandbox.write("customers.parquet", &crate::sandbox::customers(0..241));
    let changed = sandbox.transcript("explain run --id 10003");
    assert!(changed.contains("is not the file that the run read"), "{changed}");
    assert_eq!(sandbox.names(), before);
    assert_eq!(names(&sandbox.path("run")).len(), 7);
}
