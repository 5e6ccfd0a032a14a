//! One snapshot for each error that a user can cause.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};

use crate::sandbox::{Sandbox, customers};

fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn ids(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Runs each command line, holds what it says against its snapshot, and checks that nothing was left behind.
fn check(sandbox: &Sandbox, cases: &[(&str, &str)]) {
    let before = sandbox.names();
    for (name, args) in cases {
        insta::assert_snapshot!(format!("error_{name}"), sandbox.transcript(args));
        assert_eq!(sandbox.names(), before, "{name} left something behind");
    }
}

#[test]
fn usage() {
    check(
        &Sandbox::new(),
        &[
            ("no_k", "fit customers.parquet"),
            ("no_data", "fit -k 3"),
            ("unknown_flag", "fit customers.parquet -k 3 --cluster 3"),
            ("unknown_command", "fitt customers.parquet"),
            ("k_is_no_number", "fit customers.parquet -k many"),
            ("unknown_scale", "fit customers.parquet -k 3 --scale log"),
            ("unknown_device", "fit customers.parquet -k 3 --device tpu"),
            ("unknown_init", "fit customers.parquet -k 3 --init best"),
            ("no_threads", "fit customers.parquet -k 3 --threads 0"),
            ("empty_name", "fit customers.parquet -k 3 --features a,,b"),
            ("quiet_and_verbose", "fit customers.parquet -k 3 -q -v"),
            ("usage_json", "fit customers.parquet -k many --json"),
        ],
    );
}

#[test]
fn parameters() {
    check(
        &Sandbox::new(),
        &[
            ("k_is_0", "fit customers.parquet -k 0"),
            ("k_above_rows", "fit customers.parquet -k 241"),
            ("k_above_limit", "fit customers.parquet -k 1000000"),
            ("n_init_is_0", "fit customers.parquet -k 3 --n-init 0"),
            ("max_iter_is_0", "fit customers.parquet -k 3 --max-iter 0"),
            ("tol_is_negative", "fit customers.parquet -k 3 --tol -1"),
            ("tol_is_nan", "fit customers.parquet -k 3 --tol NaN"),
            ("k_above_rows_json", "fit customers.parquet -k 241 --json"),
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
    let mut damaged = whole;
    damaged[8..400].fill(0xff);
    std::fs::write(sandbox.path("damaged.parquet"), damaged).unwrap();
    sandbox.write("no_rows.parquet", &customers(0..0));
    check(
        &sandbox,
        &[
            ("no_such_file", "fit missing.parquet -k 3"),
            ("empty_folder", "fit empty -k 3"),
            ("glob_without_match", "fit none_*.parquet -k 3"),
            ("not_parquet", "fit text.parquet -k 3"),
            ("cut_file", "fit cut.parquet -k 3"),
            ("damaged_file", "fit damaged.parquet -k 3"),
            ("named_twice", "fit customers.parquet ./customers.parquet -k 3"),
            ("no_rows", "fit no_rows.parquet -k 3"),
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
        "texts.parquet",
        &[("name", texts(&["a", "b", "c"])), ("town", texts(&["x", "y", "z"]))],
    );
    check(
        &sandbox,
        &[
            (
                "unknown_feature",
                "fit customers.parquet -k 3 --features recency_day,age",
            ),
            ("unknown_pattern", "fit customers.parquet -k 3 --features usage_*"),
            ("unknown_id", "fit customers.parquet -k 3 --id customer"),
            ("unknown_weight", "fit customers.parquet -k 3 --weight kilo"),
            ("unknown_exclude", "fit customers.parquet -k 3 --exclude kilo"),
            ("text_feature", "fit customers.parquet -k 3 --features country,age"),
            ("constant_feature", "fit customers.parquet -k 3 --features currency,age"),
            ("text_weight", "fit customers.parquet -k 3 --weight country"),
            (
                "id_as_feature",
                "fit customers.parquet -k 3 --id customer_id --features customer_id,age",
            ),
            ("name_twice", "fit twice.parquet -k 2"),
            ("nothing_to_cluster_on", "fit texts.parquet -k 2"),
            ("files_differ_in_type", "fit customers.parquet other_type.parquet -k 3"),
            ("files_differ_in_columns", "fit customers.parquet fewer.parquet -k 3"),
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
        &[
            ("infinite_value", "fit infinite.parquet -k 2"),
            ("huge_value", "fit huge.parquet -k 2 --scale none"),
            ("null_ids", "fit null_ids.parquet -k 2 --id id"),
            ("duplicate_ids", "fit same_ids.parquet -k 2 --id id"),
            ("negative_weight", "fit weights.parquet -k 2 --weight w"),
            ("no_weight", "fit no_weight.parquet -k 2 --weight w"),
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
    let fit = |init: &str| format!("fit customers.parquet -k 3 --id customer_id --init {init}.parquet");
    let cases = [
        ("init_missing", "none"),
        ("init_of_other_k", "two"),
        ("init_without_column", "short"),
    ];
    let more = [
        ("init_infinite", "infinite"),
        ("init_text", "text"),
        ("init_null", "null"),
    ];
    let lines: Vec<(&str, String)> = cases
        .iter()
        .chain(&more)
        .map(|(name, init)| (*name, fit(init)))
        .collect();
    check(
        &sandbox,
        &lines
            .iter()
            .map(|(name, line)| (*name, line.as_str()))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn outputs() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("taken")).unwrap();
    std::fs::write(sandbox.path("taken/photo.jpg"), "mine").unwrap();
    std::fs::write(sandbox.path("taken.txt"), "mine").unwrap();
    check(
        &sandbox,
        &[
            ("out_exists", "fit customers.parquet -k 3 --out taken"),
            ("out_is_no_run", "fit customers.parquet -k 3 --out taken --overwrite"),
            ("out_below_a_file", "fit customers.parquet -k 3 --out taken.txt/run"),
            ("out_in_no_folder", "fit customers.parquet -k 3 --out no/such/run"),
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
        &[
            ("no_gpu", "fit customers.parquet -k 3 --device gpu"),
            ("no_such_gpu", "fit customers.parquet -k 3 --device gpu:7"),
            ("no_gpu_json", "fit customers.parquet -k 3 --device gpu --json"),
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
        &[
            ("score_without_out", "score run customers.parquet"),
            ("score_no_model", "score nowhere customers.parquet --out scored.parquet"),
            (
                "score_cut_model",
                "score cut.json customers.parquet --out scored.parquet",
            ),
            (
                "score_no_kohort_model",
                "score other.json customers.parquet --out scored.parquet",
            ),
            ("score_renamed_column", "score run renamed.parquet --out scored.parquet"),
            ("score_retyped_column", "score run retyped.parquet --out scored.parquet"),
            ("score_out_exists", "score run customers.parquet --out taken.parquet"),
            ("score_no_data", "score run missing.parquet --out scored.parquet"),
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
    let record = std::fs::read_to_string(sandbox.path("run/run.json")).unwrap();
    std::fs::create_dir(sandbox.path("edited")).unwrap();
    for name in ["model.json", "assignments.parquet", "profile.parquet"] {
        std::fs::copy(sandbox.path("run").join(name), sandbox.path("edited").join(name)).unwrap();
    }
    std::fs::write(sandbox.path("edited/run.json"), plant_other_hash(&record)).unwrap();
    check(
        &sandbox,
        &[
            ("verify_nowhere", "verify nowhere"),
            ("verify_no_run", "verify empty"),
            ("verify_changed_data", "verify run changed.parquet"),
            ("verify_more_data", "verify run customers.parquet changed.parquet"),
            ("verify_differs", "verify edited --device cpu"),
            ("verify_differs_json", "verify edited --device cpu --json"),
        ],
    );
    std::fs::remove_file(sandbox.path("customers.parquet")).unwrap();
    check(&sandbox, &[("verify_data_gone", "verify run")]);
}

/// The record with one digit of its labels_hash changed.
fn plant_other_hash(record: &str) -> String {
    let at = record.find("\"labels_hash\"").unwrap() + "\"labels_hash\": \"".len();
    let other = if record[at..].starts_with('0') { "1" } else { "0" };
    format!("{}{other}{}", &record[..at], &record[at + 1..])
}
