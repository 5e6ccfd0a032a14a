//! What is done to columns of every kind, as a user sees it, and what cannot be done.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, StringArray};
use serde_json::Value;

use crate::sandbox::{Sandbox, customers};

/// 300 accounts with a column of every kind.
fn accounts() -> Vec<(&'static str, ArrayRef)> {
    let n = 300;
    let group = |row: i64| row % 3;
    let noise = |row: i64| ((row * 7919) % 101) as f64 / 101.0;
    let plan = |row: i64| match (group(row), row % 50) {
        (_, 7) => None,
        (_, 11) => Some("legacy"),
        (0, _) => Some("free"),
        (1, _) => Some("team"),
        _ => Some("enterprise"),
    };
    let spend = |row: i64| (2.0 * group(row) as f64 + 3.0 * noise(row)).exp();
    let since = |row: i64| (row % 7 != 3).then(|| 19_000 - 300 * group(row) as i32 - (row % 90) as i32);
    vec![
        ("plan", Arc::new(StringArray::from_iter((0..n).map(plan)))),
        (
            "usage_spend",
            Arc::new(Float64Array::from_iter_values((0..n).map(spend))),
        ),
        (
            "usage_trend",
            Arc::new(Float64Array::from_iter(
                (0..n).map(|row| (row % 5 > 0).then(|| noise(row) - 0.5)),
            )),
        ),
        ("since", Arc::new(Date32Array::from_iter((0..n).map(since)))),
        (
            "trial",
            Arc::new(BooleanArray::from_iter(
                (0..n).map(|row| Some(group(row) == 0 && row % 2 == 0)),
            )),
        ),
        (
            "contact_email",
            Arc::new(StringArray::from_iter_values(
                (0..n).map(|row| format!("p{row}@example.org")),
            )),
        ),
        (
            "note",
            Arc::new(StringArray::from_iter_values(
                (0..n).map(|row| format!("ask {}", row * 3)),
            )),
        ),
        (
            "survey",
            Arc::new(Float64Array::from_iter(
                (0..n).map(|row| (row % 4 == 0).then(|| noise(row))),
            )),
        ),
    ]
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("accounts.parquet", &accounts());
    sandbox
}

#[test]
fn every_kind_of_column_is_prepared_and_told() {
    let sandbox = sandbox();
    let fit = "fit accounts.parquet -k 3 --device cpu --out run";
    insta::assert_snapshot!("prepared", sandbox.transcript(fit));
    insta::assert_snapshot!(
        "prepared_scores_the_same",
        sandbox.transcript("score run accounts.parquet --device cpu --out scored.parquet")
    );
    let options = "--log usage_spend --clip 2% --missing indicator,since=0 --as-of 2022-02-01 \
                   --block usage=usage_* --weights usage=2,plan=0.5 --scale robust";
    let fit = format!("fit accounts.parquet -k 3 --device cpu --out chosen {options}");
    insta::assert_snapshot!("prepared_as_asked", sandbox.transcript(&fit));
    let verify = sandbox.output("verify chosen --json");
    let verify: Value = serde_json::from_slice(&verify.stdout).unwrap();
    assert_eq!(verify["matches"], true, "{verify}");
}

#[test]
fn outcomes_are_told_per_segment_and_change_none() {
    let sandbox = sandbox();
    let mut more = accounts();
    more.push((
        "churned",
        Arc::new(BooleanArray::from_iter(
            (0..300).map(|row| (row % 11 > 0).then_some(row % 3 == 0)),
        )),
    ));
    more.push((
        "arr",
        Arc::new(Float64Array::from_iter_values(
            (0..300).map(|row| f64::from(row % 3 * 1000 + row)),
        )),
    ));
    sandbox.write("more.parquet", &more);
    let fit = "fit more.parquet -k 3 --device cpu --outcome arr --carry note,plan --features *,plan --out run";
    insta::assert_snapshot!("outcomes", sandbox.transcript(fit));
    let record = |name: &str| -> Value {
        serde_json::from_reader(std::fs::File::open(sandbox.path(name).join("run.json")).unwrap()).unwrap()
    };
    let with = record("run");
    assert_eq!(with["outcomes"][1]["outcome"], "arr");
    assert!(
        sandbox
            .output("fit accounts.parquet -k 3 --device cpu --out plain")
            .status
            .success()
    );
    assert_eq!(with["labels_hash"], record("plain")["labels_hash"]);
    assert!(sandbox.output("verify run").status.success());
}

#[test]
fn an_inspection_tells_what_a_fit_does() {
    let sandbox = sandbox();
    insta::assert_snapshot!(
        "inspect",
        sandbox.transcript("inspect accounts.parquet --exclude trial")
    );
    let inspected = sandbox.output("inspect accounts.parquet --json");
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    let fitted = sandbox.output("fit accounts.parquet -k 3 --device cpu --json");
    let fitted: Value = serde_json::from_slice(&fitted.stdout).unwrap();
    let both = inspected["columns"]
        .as_array()
        .unwrap()
        .iter()
        .zip(fitted["columns"].as_array().unwrap());
    for (seen, made) in both {
        for key in ["column", "role", "reason", "log", "n_features"] {
            assert_eq!(seen[key], made[key], "{key} of {}", seen["column"]);
        }
    }
    insta::assert_snapshot!(
        "error_inspect",
        [
            "inspect nothing.parquet",
            "inspect accounts.parquet --id nothing",
            "inspect"
        ]
        .map(|args| sandbox.transcript(args))
        .join("\n")
    );
}

#[test]
fn new_levels_and_missing_values_can_be_scored() {
    let sandbox = sandbox();
    assert!(
        sandbox
            .output("fit accounts.parquet -k 3 --device cpu --out run")
            .status
            .success()
    );
    let mut new = accounts();
    new[0].1 = Arc::new(StringArray::from_iter(
        (0..300).map(|row| (row % 2 == 0).then_some("never seen")),
    ));
    sandbox.write("new.parquet", &new);
    let output = sandbox.output("score run new.parquet --device cpu --out scored.parquet --json");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let sandbox = sandbox();
    sandbox.write("customers.parquet", &customers(0..240));
    let fit = |options: &str| sandbox.transcript(&format!("fit accounts.parquet -k 3 --device cpu {options}"));
    let lines = [
        "--clip 0.7",
        "--clip 0",
        "--missing most",
        "--missing usage_trend=refuse",
        "--missing plan=median",
        "--missing nothing=0",
        "--as-of yesterday",
        "--weights usage_spend",
        "--weights usage_spend=0",
        "--weights email=2",
        "--block usage_*",
        "--block usage=usage_* --block more=usage_spend",
        "--block texts=note,contact_email",
        "--log income",
        "--features contact_email",
        "--features note",
        "--outcome plan",
        "--outcome contact_email",
        "--outcome since",
        "--features usage_spend --outcome usage_spend",
        "--carry nothing",
    ];
    let told: Vec<String> = lines.into_iter().map(fit).collect();
    insta::assert_snapshot!("error_preparation", told.join("\n"));
    assert!(!sandbox.path("kohort-run").exists());
}
