//! One snapshot for each error that a user can cause.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};

use crate::sandbox::{Sandbox, customers, names, plant_other_hash};

fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn ids(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Runs each command line, holds what they say against one snapshot, and checks that they left nothing behind.
fn check(sandbox: &Sandbox, snapshot: &str, lines: &[&str]) {
    let before = sandbox.names();
    let transcripts: Vec<String> = lines.iter().map(|args| sandbox.transcript(args)).collect();
    assert_eq!(sandbox.names(), before, "something was left behind");
    insta::assert_snapshot!(format!("error_{snapshot}"), transcripts.join("\n"));
}

#[test]
fn usage() {
    check(
        &Sandbox::new(),
        "usage",
        &[
            "fit customers.parquet",
            "fit -k 3",
            "fit customers.parquet -k 3 --cluster 3",
            "fitt customers.parquet",
            "fit customers.parquet -k many",
            "fit customers.parquet -k 3 --scale log",
            "fit customers.parquet -k 3 --device tpu",
            "fit customers.parquet -k 3 --init best",
            "fit customers.parquet -k 3 --threads 0",
            "fit customers.parquet -k 3 --features a,,b",
            "fit customers.parquet -k 3 -q -v",
            "fit customers.parquet -k many --json",
        ],
    );
}

#[test]
fn a_choice_of_k() {
    check(
        &Sandbox::new(),
        "choice_of_k",
        &[
            "sweep customers.parquet -k 5..2",
            "sweep customers.parquet -k 1..4",
            "sweep customers.parquet -k 2..300",
            "sweep customers.parquet -k 2..6 --prefer 7..9",
            "sweep customers.parquet --min-share 120%",
            "sweep customers.parquet --init first.parquet",
            "sweep customers.parquet --overwrite",
            "sweep customers.parquet --out missing/sweep",
            "sweep no_such.parquet",
            "fit customers.parquet -k 3 --prefer 2..4",
            "fit customers.parquet -k auto --init first.parquet",
            "fit customers.parquet -k 2..x --json",
        ],
    );
}

#[test]
fn parameters() {
    check(
        &Sandbox::new(),
        "parameters",
        &[
            "fit customers.parquet -k 0",
            "fit customers.parquet -k 241",
            "fit customers.parquet -k 1000000 --device cpu",
            "fit customers.parquet -k 3 --n-init 0",
            "fit customers.parquet -k 3 --max-iter 0",
            "fit customers.parquet -k 3 --tol -1",
            "fit customers.parquet -k 3 --tol NaN",
            "fit customers.parquet -k 241 --json",
        ],
    );
}

#[test]
fn files() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("empty")).unwrap();
    std::fs::write(sandbox.path("text.parquet"), "customer_id,recency\n1,2\n").unwrap();
    let whole = std::fs::read(sandbox.path("customers.parquet")).unwrap();
    std::fs::write(sandbox.path("cut.parquet"), &whole[..whole.len() - 100]).unwrap();
    let half = whole.len() / 2;
    let mut damaged = whole;
    damaged[8..half].fill(0xff);
    std::fs::write(sandbox.path("damaged.parquet"), damaged).unwrap();
    sandbox.write("no_rows.parquet", &customers(0..0));
    check(
        &sandbox,
        "files",
        &[
            "fit missing.parquet -k 3",
            "fit empty -k 3",
            "fit none_*.parquet -k 3",
            "fit text.parquet -k 3",
            "fit cut.parquet -k 3",
            "fit damaged.parquet -k 3",
            "fit customers.parquet ./customers.parquet -k 3",
            "fit no_rows.parquet -k 3",
        ],
    );
}

#[test]
fn columns() {
    let sandbox = Sandbox::new();
    let mut other = customers(0..10);
    other[1].1 = texts(&["x"; 10]);
    sandbox.write("other_type.parquet", &other);
    sandbox.write("fewer.parquet", &customers(0..10)[..4]);
    sandbox.write(
        "twice.parquet",
        &[("a", floats(&[1.0, 2.0, 3.0])), ("a", floats(&[1.0, 2.0, 4.0]))],
    );
    sandbox.write(
        "all_twice.parquet",
        &["a", "a", "b", "b"].map(|name| (name, floats(&[1.0, 2.0, 3.0]))),
    );
    let many: Vec<String> = (0..30).map(|n| format!("note_{n}")).collect();
    let many: Vec<(&str, ArrayRef)> = many
        .iter()
        .map(|name| (name.as_str(), texts(&["x", "y", "z"])))
        .collect();
    sandbox.write("many_texts.parquet", &many);
    sandbox.write(
        "texts.parquet",
        &[("name", texts(&["a", "b", "c"])), ("town", texts(&["x", "y", "z"]))],
    );
    check(
        &sandbox,
        "columns",
        &[
            "fit customers.parquet -k 3 --features recency_day,age",
            "fit customers.parquet -k 3 --features usage_*",
            "fit customers.parquet -k 3 --id customer",
            "fit customers.parquet -k 3 --weight kilo",
            "fit customers.parquet -k 3 --exclude kilo",
            "fit texts.parquet -k 2 --features name",
            "fit customers.parquet -k 3 --features currency,age",
            "fit customers.parquet -k 3 --weight country",
            "fit customers.parquet -k 3 --id customer_id --features customer_id,age",
            "fit twice.parquet -k 2",
            "fit all_twice.parquet -k 2",
            "fit texts.parquet -k 2",
            "fit many_texts.parquet -k 2",
            "fit customers.parquet other_type.parquet -k 3",
            "fit customers.parquet fewer.parquet -k 3",
        ],
    );
}

#[test]
fn values() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "infinite.parquet",
        &[
            ("a", floats(&[1.0, 2.0, 3.0])),
            ("b", floats(&[1.0, f64::NEG_INFINITY, 0.0])),
        ],
    );
    sandbox.write("huge.parquet", &[("a", floats(&[1.0, 1e300, 3.0]))]);
    sandbox.write(
        "null_ids.parquet",
        &[
            ("id", ids(&[Some(1), None, Some(2), None])),
            ("a", floats(&[1.0, 2.0, 3.0, 9.0])),
        ],
    );
    sandbox.write(
        "same_ids.parquet",
        &[
            ("id", ids(&[Some(7), Some(1), Some(7), Some(7)])),
            ("a", floats(&[1.0, 2.0, 3.0, 9.0])),
        ],
    );
    sandbox.write(
        "weights.parquet",
        &[("w", floats(&[1.0, -2.0, 3.0])), ("a", floats(&[1.0, 2.0, 3.0]))],
    );
    sandbox.write(
        "no_weight.parquet",
        &[("w", floats(&[0.0, 0.0, 0.0])), ("a", floats(&[1.0, 2.0, 3.0]))],
    );
    check(
        &sandbox,
        "values",
        &[
            "fit infinite.parquet -k 2",
            "fit huge.parquet -k 2 --scale none",
            "fit null_ids.parquet -k 2 --id id",
            "fit same_ids.parquet -k 2 --id id",
            "fit weights.parquet -k 2 --weight w",
            "fit no_weight.parquet -k 2 --weight w",
        ],
    );
}

#[test]
fn first_centroids() {
    let sandbox = Sandbox::new();
    let centre = |recency: &[f64]| {
        let n = recency.len();
        vec![
            ("recency_days", floats(recency)),
            ("n_orders", floats(&vec![3.0; n])),
            ("age", floats(&vec![40.0; n])),
        ]
    };
    sandbox.write("two.parquet", &centre(&[10.0, 200.0]));
    sandbox.write("short.parquet", &centre(&[10.0, 60.0, 200.0])[..2]);
    sandbox.write("infinite.parquet", &centre(&[10.0, f64::INFINITY, 200.0]));
    sandbox.write("text.parquet", &[("recency_days", texts(&["a", "b", "c"]))]);
    let mut null = centre(&[1.0, 2.0, 3.0]);
    null[2].1 = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(2.0)]));
    sandbox.write("null.parquet", &null);
    let fit =
        |init: &str| format!("fit customers.parquet -k 3 --id customer_id --exclude country --init {init}.parquet");
    let mut days = centre(&[10.0, 60.0, 200.0]);
    days[0].1 = Arc::new(arrow::array::Date32Array::from(vec![1, 2, 3]));
    sandbox.write("days.parquet", &days);
    let mut near = centre(&[10.0, 60.0, 200.0]);
    near[0].0 = "recency";
    sandbox.write("near.parquet", &near);
    let lines = ["none", "two", "short", "near", "infinite", "text", "days", "null"].map(fit);
    check(&sandbox, "first_centroids", &lines.each_ref().map(String::as_str));
}

#[test]
fn outputs() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("taken")).unwrap();
    std::fs::write(sandbox.path("taken/photo.jpg"), "mine").unwrap();
    std::fs::write(sandbox.path("taken.txt"), "mine").unwrap();
    check(
        &sandbox,
        "outputs",
        &[
            "fit customers.parquet -k 3 --out taken",
            "fit customers.parquet -k 3 --out taken --overwrite",
            "fit customers.parquet -k 3 --out taken.txt/run",
            "fit customers.parquet -k 3 --out no/such/run",
            "fit missing.parquet -k 3 --out no/such/run --json",
            "score taken.txt customers.parquet --out no/such.parquet",
        ],
    );
    assert_eq!(
        std::fs::read_to_string(sandbox.path("taken/photo.jpg")).unwrap(),
        "mine"
    );
}

#[test]
fn devices() {
    check(
        &Sandbox::new(),
        "devices",
        &[
            "fit customers.parquet -k 3 --device gpu",
            "fit customers.parquet -k 3 --device gpu:7",
            "fit customers.parquet -k 3 --device gpu:3,7",
            "fit customers.parquet -k 3 --device gpu:all",
            "fit customers.parquet -k 3 --device gpu --json",
        ],
    );
}

#[test]
fn scoring() {
    let sandbox = Sandbox::new();
    assert!(
        sandbox
            .output("fit customers.parquet -k 3 --id customer_id --out run --device cpu")
            .status
            .success()
    );
    let model = std::fs::read_to_string(sandbox.path("run/model.json")).unwrap();
    std::fs::write(sandbox.path("cut.json"), &model[..model.len() / 2]).unwrap();
    std::fs::write(sandbox.path("other.json"), "{\"hello\": 1}").unwrap();
    let mut renamed = customers(0..10);
    renamed[2].0 = "n_order";
    sandbox.write("renamed.parquet", &renamed);
    let mut retyped = customers(0..10);
    retyped[2].1 = texts(&["1"; 10]);
    sandbox.write("retyped.parquet", &retyped);
    std::fs::write(sandbox.path("taken.parquet"), "mine").unwrap();
    check(
        &sandbox,
        "scoring",
        &[
            "score run customers.parquet",
            "score nowhere customers.parquet --out scored.parquet",
            "score cut.json customers.parquet --out scored.parquet",
            "score other.json customers.parquet --out scored.parquet",
            "score run renamed.parquet --out scored.parquet",
            "score run retyped.parquet --out scored.parquet",
            "score run customers.parquet --out taken.parquet",
            "score run missing.parquet --out scored.parquet",
            "score run customers.parquet --out ./customers.parquet --overwrite",
        ],
    );
}

#[test]
fn verifying() {
    let sandbox = Sandbox::new();
    assert!(
        sandbox
            .output("fit customers.parquet -k 3 --id customer_id --out run --device cpu")
            .status
            .success()
    );
    sandbox.write("changed.parquet", &customers(1..241));
    std::fs::create_dir(sandbox.path("empty")).unwrap();
    std::fs::create_dir(sandbox.path("edited")).unwrap();
    for name in names(&sandbox.path("run")) {
        std::fs::copy(sandbox.path("run").join(&name), sandbox.path("edited").join(&name)).unwrap();
    }
    plant_other_hash(&sandbox.path("edited/run.json"));
    check(
        &sandbox,
        "verifying",
        &[
            "verify nowhere",
            "verify empty",
            "verify run changed.parquet",
            "verify run customers.parquet changed.parquet",
            "verify edited --device cpu",
            "verify edited --device cpu --json",
        ],
    );
    std::fs::remove_file(sandbox.path("customers.parquet")).unwrap();
    check(&sandbox, "data_gone", &["verify run"]);
}

/// What follows `?` in a URL, and a password in it, are in none of these lines.
#[test]
#[cfg(not(feature = "object-store"))]
fn object_stores_in_a_build_without_them() {
    check(
        &Sandbox::new(),
        "no_object_stores",
        &[
            "fit s3://bucket/accounts/*.parquet -k 3",
            "inspect https://host/a.parquet?sig=SECRET",
            "fit customers.parquet gs://bucket/a.parquet -k 3 --json",
            "inspect https://user:SECRET@host/a.parquet",
            "inspect http://host/a.parquet",
        ],
    );
}

#[test]
fn outputs_in_object_stores() {
    check(
        &Sandbox::new(),
        "remote_outputs",
        &[
            "fit customers.parquet -k 3 --out s3://bucket/segments",
            "sweep customers.parquet -k 2..3 --out gs://bucket/choice",
            "generate --rows 10 --out az://container/accounts.parquet",
            "demo --out https://user:SECRET@host/demo?sig=SECRET",
        ],
    );
}
