//! `--isolate`: files are decoded in processes of their own first.

use std::sync::Arc;

use arrow::array::{Float64Array, StringArray};

use crate::sandbox::Sandbox;

/// Overwrites the pages of a file, whose first columns are in its first half.
fn damage(sandbox: &Sandbox, name: &str) {
    let mut bytes = std::fs::read(sandbox.path("customers.parquet")).unwrap();
    let half = bytes.len() / 2;
    bytes[8..half].fill(0xff);
    std::fs::write(sandbox.path(name), bytes).unwrap();
}

#[test]
fn a_good_file_is_fitted_as_ever() {
    let sandbox = Sandbox::new();
    let hash = |more: &str, out: &str| {
        sandbox.ok(&format!("fit customers.parquet -k 3 {more} --out {out}"));
        let record = std::fs::read_to_string(sandbox.path(out).join("run.json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        record["labels_hash"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash("--isolate", "apart"), hash("", "plain"));
    sandbox.object("score apart customers.parquet --isolate --json --out scored.parquet");
    sandbox.object("inspect customers.parquet --isolate --json");
}

#[test]
fn a_broken_file_is_told_once_with_its_column() {
    let sandbox = Sandbox::new();
    damage(&sandbox, "damaged.parquet");
    let before = sandbox.names();
    let said = |more: &str| {
        let output = sandbox.output(&format!("fit customers.parquet damaged.parquet -k 3 --out out {more}"));
        assert_eq!(output.status.code(), Some(2));
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (out, err)
    };
    let (out, err) = said("--isolate");
    assert_eq!(out, "");
    assert_eq!(err.matches("error: ").count(), 1, "{err}");
    assert!(err.contains("damaged.parquet: row group 0: column \""), "{err}");
    let object: serde_json::Value = serde_json::from_str(&said("--isolate --json").0).unwrap();
    assert_eq!(object["exit_code"], 2);
    assert_eq!(sandbox.names(), before);
}

#[test]
fn columns_that_are_not_used_are_decoded_too() {
    let sandbox = Sandbox::new();
    let notes = StringArray::from_iter_values((0..90).map(|i| format!("note {i}")));
    let amounts = Float64Array::from_iter_values((0..90).map(|i| f64::from(i % 3 * 100 + i)));
    sandbox.write(
        "notes.parquet",
        &[("note", Arc::new(notes)), ("amount", Arc::new(amounts))],
    );
    let mut bytes = std::fs::read(sandbox.path("notes.parquet")).unwrap();
    bytes[4..60].fill(0xff);
    std::fs::write(sandbox.path("notes.parquet"), bytes).unwrap();
    sandbox.ok("fit notes.parquet -k 3 --exclude note --out plain");
    let output = sandbox.output("fit notes.parquet -k 3 --exclude note --out out --isolate");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("notes.parquet: row group 0: column \"note\""), "{said}");
}

#[test]
fn stdin_cannot_be_decoded_twice() {
    let output = Sandbox::new().output("fit - -k 3 --out out --isolate");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("is for files; stdin can be read once only")
    );
}
