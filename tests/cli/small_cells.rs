//! Numbers of few rows are planted in a table, and looked for in everything that the program says and writes about its
//! segments.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::sandbox::{Sandbox, customers};

const ROWS: i64 = 1000;
/// Rows of the third group, which becomes a segment; of a level within the first; without an age; that churned.
const PLANTED: [i64; 4] = [7, 6, 9, 8];

/// Two crowds and a few rows far away, in which things are rare.
fn table() -> Vec<(&'static str, ArrayRef)> {
    let far = |row: i64| row >= ROWS - PLANTED[0];
    let group = |row: i64| if far(row) { 2 } else { row % 2 };
    let number = |of: &dyn Fn(i64) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values((0..ROWS).map(of))) };
    let plan = |row: i64| match row {
        _ if row % 2 == 0 && row < 2 * PLANTED[1] => "gift",
        _ if row % 3 == 0 || row % 100 == 1 => "gift card",
        _ => "cash",
    };
    vec![
        ("customer", Arc::new(Int64Array::from_iter_values(0..ROWS))),
        (
            "spend",
            number(&|row| [10.0, 60.0, 9000.0][group(row) as usize] + (row * 31 % 17) as f64),
        ),
        (
            "visits",
            number(&|row| [1.0, 20.0, 700.0][group(row) as usize] + (row * 7 % 5) as f64),
        ),
        (
            "age",
            Arc::new(Float64Array::from_iter((0..ROWS).map(|row| {
                (row % 2 == 0 || row >= 2 * PLANTED[2]).then_some(20.0 + (row * 13 % 50) as f64)
            }))),
        ),
        ("plan", Arc::new(StringArray::from_iter_values((0..ROWS).map(plan)))),
        (
            "churned",
            Arc::new(BooleanArray::from_iter(
                (0..ROWS).map(|row| Some(row % 2 == 1 && row < 2 * PLANTED[3])),
            )),
        ),
    ]
}

/// Every number from 1 to 10 that stands for rows in a JSON value, under the names that numbers of rows have.
fn small_counts(value: &Value, path: &str, found: &mut Vec<String>) {
    const NAMES: [&str; 8] = [
        "n_rows",
        "count",
        "sizes",
        "histogram",
        "n_missing",
        "n_outliers",
        "n_outliers_of_all",
        "weight",
    ];
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| small_counts(value, &format!("{path}.{name}"), found)),
        Value::Array(items) => {
            // A pair is what is told of a number that is withheld.
            let is_list = ["sizes", "histogram", "n_rows[]"]
                .iter()
                .any(|name| path.ends_with(name));
            let is_bounds = items.len() == 2 && items[0].as_u64() < items[1].as_u64() && !is_list;
            for item in items.iter().filter(|_| !is_bounds) {
                small_counts(item, &format!("{path}[]"), found);
            }
        }
        Value::Number(n) => {
            let name = path.rsplit('.').next().unwrap().trim_end_matches("[]");
            let is_weight_of_feature = path.contains(".features[].weight");
            if NAMES.contains(&name) && !is_weight_of_feature && n.as_f64().is_some_and(|n| (1.0..11.0).contains(&n)) {
                found.push(format!("{path} = {n}"));
            }
        }
        _ => {}
    }
}

/// Counts of 1 to 10, and shares of so many rows, in a table of the profile.
fn small_in_profile(path: &Path) -> (Vec<String>, usize) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let (mut found, mut n_withheld) = (Vec::new(), 0);
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let integers = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
        let features = batch.column_by_name("feature").unwrap().as_string::<i32>().clone();
        let means = batch
            .column_by_name("mean")
            .unwrap()
            .as_primitive::<Float64Type>()
            .clone();
        let (sizes, counts) = (integers("n_rows"), integers("count"));
        let histograms = batch.column_by_name("histogram").unwrap().as_list::<i32>().clone();
        let withheld = batch.column_by_name("withheld").unwrap().as_boolean().clone();
        for row in 0..batch.num_rows() {
            let mut told = |what: &str, n: Option<f64>| {
                if n.is_some_and(|n| (0.5..10.5).contains(&n)) {
                    found.push(format!("{what} of {}: {n:?}", features.value(row)));
                }
            };
            let of = |array: &arrow::array::Int64Array| array.is_valid(row).then(|| array.value(row) as f64);
            told("size", of(&sizes));
            told("count", of(&counts));
            told("missing", of(&sizes).zip(of(&counts)).map(|(size, count)| size - count));
            let bins = histograms.value(row);
            let bins = bins.as_primitive::<Int64Type>();
            bins.iter().for_each(|n| told("bin", n.map(|n| n as f64)));
            if features.value(row).starts_with("plan") {
                told(
                    "share",
                    of(&counts)
                        .filter(|_| means.is_valid(row))
                        .map(|n| n * means.value(row)),
                );
            }
            n_withheld += usize::from(withheld.value(row));
        }
    }
    (found, n_withheld)
}

fn json(sandbox: &Sandbox, args: &str) -> Value {
    let output = sandbox.output(args);
    assert!(
        output.status.success(),
        "{args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Everything that is told with `min_cell`: what is small in it, and what people read.
fn told(sandbox: &Sandbox, min_cell: u64) -> (Vec<String>, String) {
    let fit = format!(
        "fit people.parquet -k 3 --id customer --outcome churned --log none --device cpu --min-cell {min_cell} --out run --overwrite"
    );
    let mut found = Vec::new();
    let output = sandbox.output(&fit);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    small_counts(&json(sandbox, &format!("{fit} --json")), "fit", &mut found);
    let sweep =
        format!("sweep people.parquet -k 2..4 --id customer --log none --device cpu --min-cell {min_cell} --json");
    small_counts(&json(sandbox, &sweep)["selection"], "sweep", &mut found);
    let score =
        format!("score run people.parquet --device cpu --min-cell {min_cell} --out scored.parquet --overwrite --json");
    small_counts(&json(sandbox, &score), "score", &mut found);
    for name in ["run.json", "model.json", "profile.json"] {
        let file = std::fs::read_to_string(sandbox.path("run").join(name)).unwrap();
        small_counts(&serde_json::from_str(&file).unwrap(), name, &mut found);
    }
    let (in_profile, n_withheld) = small_in_profile(&sandbox.path("run/profile.parquet"));
    assert_eq!(n_withheld > 0, min_cell > 1);
    found.extend(in_profile);
    for name in ["report.html", "report.md"] {
        text += &std::fs::read_to_string(sandbox.path("run").join(name)).unwrap();
    }
    (found, text)
}

#[test]
fn few_rows_are_in_no_output() {
    let sandbox = Sandbox::new();
    sandbox.write("people.parquet", &table());
    let (found, text) = told(&sandbox, 11);
    assert_eq!(found, Vec::<String>::new());
    // The small segment, what is left of all rows, a level in one segment, and outcomes that few rows have.
    for told in [
        "<p class=\"size\">7 rows",
        ">7<",
        "0.7%",
        "0.8%",
        "0.9%",
        "1.2%",
        "1.6%",
        "0.0140",
        "0.01613",
    ] {
        let after = |at: usize| text[..at].ends_with(|c: char| c.is_ascii_digit() || c == '.');
        let whole = text.match_indices(told).find(|(at, _)| !after(*at));
        assert_eq!(
            whole.map(|(at, _)| &text[at.saturating_sub(60)..at + 20]),
            None,
            "{told}"
        );
    }
    assert!(text.contains("under 11") && text.contains("at most"));
    // What is told to the last row is found by the same search.
    let (found, text) = told(&sandbox, 1);
    assert!(text.contains("<p class=\"size\">7 rows") && text.contains("0.7%") && text.contains("0.8%"));
    for part in [
        "run.json.segments[].n_rows = 7",
        "sweep.sweep.candidates[].sizes[] = 7",
        "size of",
        "missing of",
        "share of",
        "bin of",
    ] {
        assert!(found.iter().any(|found| found.contains(part)), "{part}: {found:?}");
    }
    for part in ["model.json", "profile.json", "score", "fit"] {
        assert!(found.iter().any(|found| found.starts_with(part)), "{part}: {found:?}");
    }
}

#[test]
fn the_least_number_of_rows_changes_no_segment() {
    let sandbox = Sandbox::new();
    let hash = |min_cell: u64| {
        let fit = format!(
            "fit customers.parquet -k 3 --id customer_id --device cpu --min-cell {min_cell} --out run --overwrite --json"
        );
        json(&sandbox, &fit)["labels_hash"].clone()
    };
    assert_eq!(hash(1), hash(100));
    assert!(json(&sandbox, "verify run --json")["matches"].as_bool().unwrap());
    assert_eq!(
        sandbox.output("fit customers.parquet -k 3 --min-cell 0").status.code(),
        Some(2)
    );
}

#[test]
fn more_segments_than_have_histograms_make_a_run() {
    let sandbox = Sandbox::new();
    sandbox.write("many.parquet", &customers(0..300));
    sandbox.ok("fit many.parquet -k 270 --device cpu --out many");
    let profile = std::fs::read_to_string(sandbox.path("many/profile.json")).unwrap();
    let profile: serde_json::Value = serde_json::from_str(&profile).unwrap();
    let overall = profile["profile"]["overall"].as_array().unwrap();
    // Numbers have none there, flags still do.
    assert!(
        overall
            .iter()
            .any(|feature| feature["histogram"] == serde_json::json!([]))
    );
}
