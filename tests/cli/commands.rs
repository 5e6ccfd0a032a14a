//! What the commands say when all is well, and that they agree with each other.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::Stdio;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, StringArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::sandbox::{Sandbox, customers, names};

const FIT: &str = "fit customers.parquet -k 3 --id customer_id --device cpu --threads 2 --out run";

/// Segment of each customer in an assignments file.
fn segments(sandbox: &Sandbox, name: &str) -> BTreeMap<i64, i32> {
    let file = File::open(sandbox.path(name)).unwrap();
    let mut segments = BTreeMap::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let ids = batch.column_by_name("customer_id").unwrap().as_primitive::<Int64Type>();
        let labels = batch.column_by_name("segment").unwrap().as_primitive::<Int32Type>();
        segments.extend(ids.values().iter().copied().zip(labels.values().iter().copied()));
    }
    segments
}

#[test]
fn a_fit_is_told_and_written() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!("fit", sandbox.transcript(FIT));
    assert_eq!(
        names(&sandbox.path("run")),
        [
            "assignments.parquet",
            "model.json",
            "profile.json",
            "profile.parquet",
            "report.html",
            "report.md",
            "run.json"
        ]
    );
    let segments = segments(&sandbox, "run/assignments.parquet");
    assert_eq!(segments.len(), 240);
    let count = |segment| segments.values().filter(|s| **s == segment).count();
    assert_eq!([count(1), count(2), count(3)], [120, 80, 40]);
    insta::assert_snapshot!("fit_again", sandbox.transcript(FIT));
    insta::assert_snapshot!(
        "fit_overwrite_quiet",
        sandbox.transcript(&format!("{FIT} --overwrite -q"))
    );
}

#[test]
fn trimmed_rows_and_ranks_are_recorded_and_verified() {
    let sandbox = Sandbox::new();
    for (options, n_trimmed) in [("--trim 5%", Some(12)), ("--scale rank", None)] {
        let record = sandbox.object(&format!("{FIT} {options} --overwrite --json"));
        assert_eq!(record["n_trimmed"].as_u64(), n_trimmed, "{options}");
        // What is left out of the centroids is a customer all the same.
        let n_rows = record["segments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|segment| &segment["n_rows"]);
        assert_eq!(n_rows.map(|n| n.as_u64().unwrap()).sum::<u64>(), 240, "{options}");
        assert_eq!(
            sandbox.object("verify run --threads 1 --json")["matches"],
            true,
            "{options}"
        );
        sandbox.ok("score run customers.parquet --out scored.parquet --overwrite");
        assert_eq!(
            segments(&sandbox, "run/assignments.parquet"),
            segments(&sandbox, "scored.parquet"),
            "{options}"
        );
    }
}

#[test]
fn outliers_get_no_segment_where_that_is_asked() {
    let sandbox = Sandbox::new();
    // Two groups of 60, and 3 rows far from both.
    let spend = |row: u32| match row {
        0..60 => f64::from(row % 7),
        60..120 => 1000.0 + f64::from(row % 7),
        _ => 1500.0,
    };
    let columns: [(&str, ArrayRef); 2] = [
        (
            "customer_id",
            Arc::new(arrow::array::Int64Array::from_iter_values(0..123)),
        ),
        ("spend", Arc::new(Float64Array::from_iter_values((0..123).map(spend)))),
    ];
    sandbox.write("far.parquet", &columns);
    let fit = "fit far.parquet -k 2 --id customer_id --log none --device cpu --out far --json --min-cell 1 --outliers";
    let flagged = sandbox.object(&format!("{fit} flag"));
    assert_eq!(
        (
            flagged["n_unassigned"].as_u64(),
            flagged["segments"][0]["n_rows"].as_u64()
        ),
        (Some(0), Some(63))
    );
    let unassigned = sandbox.object(&format!("{fit} unassign --overwrite"));
    assert_eq!(unassigned["labels_hash"], flagged["labels_hash"]);
    assert_eq!(unassigned["n_unassigned"], 3);
    assert_eq!(unassigned["segments"][0]["n_rows"], 60);
    let scored = sandbox.object("score far far.parquet --out far.scored.parquet --min-cell 1 --json");
    assert_eq!(
        (&scored["n_unassigned"], &scored["segments"][0]["n_rows"]),
        (&3.into(), &60.into())
    );
    for name in ["far/assignments.parquet", "far.scored.parquet"] {
        let file = File::open(sandbox.path(name)).unwrap();
        let batch = ParquetRecordBatchReaderBuilder::try_new(file)
            .unwrap()
            .build()
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let segments = batch.column_by_name("segment").unwrap();
        assert_eq!(
            (0..123).filter(|&row| segments.is_null(row)).collect::<Vec<_>>(),
            [120, 121, 122],
            "{name}"
        );
    }
    assert!(sandbox.ok("explain far --id 121").contains("so that it gets none"));
    let typical = sandbox.object("typical far --ids far.typical.parquet -n 70 --json");
    assert_eq!(typical["n_ids"], 120, "no row without a segment is typical of one");
    assert_eq!(sandbox.object("verify far --json")["matches"], true);
    let told = sandbox.object(&format!("{fit} unassign --overwrite").replace(" --min-cell 1", ""));
    let few = serde_json::json!([1, 10]);
    assert_eq!(told["n_unassigned"], few);
    assert!(
        told["segments"]
            .as_array()
            .unwrap()
            .iter()
            .any(|segment| segment["n_rows"].is_array())
    );
    assert!(told["n_outliers_of_all"] == few);
}

#[test]
fn a_fit_tells_its_warnings_and_what_it_left_out() {
    let sandbox = Sandbox::new();
    let args = "fit customers.parquet -k 1 --device cpu --features *_days,age --weight n_orders --scale robust";
    insta::assert_snapshot!("fit_with_options", sandbox.transcript(args));
    let few: Vec<(&str, ArrayRef)> = vec![("a", Arc::new(Float64Array::from(vec![1.0, 1.0, 2.0, 2.0, 2.0])))];
    sandbox.write("few.parquet", &few);
    insta::assert_snapshot!(
        "fit_fewer_segments",
        sandbox.transcript("fit few.parquet -k 4 --device cpu --out few")
    );
}

#[test]
fn a_wide_table_tells_its_ignored_columns_by_reason() {
    let sandbox = Sandbox::new();
    let notes: Vec<String> = (0..50).map(|n| format!("note_{n}")).collect();
    let mut columns = customers(0..240);
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..240).map(|row| format!("note {row}"))));
    columns.extend(notes.iter().map(|name| (name.as_str(), Arc::clone(&text))));
    sandbox.write("wide.parquet", &columns);
    let fit = "fit wide.parquet -k 2 --id customer_id --device cpu";
    insta::assert_snapshot!("fit_wide", sandbox.transcript(fit));
}

#[test]
fn first_centroids_from_a_file_give_the_segments_of_that_file() {
    let sandbox = Sandbox::new();
    let floats = |values: &[f64]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
    let orders: ArrayRef = Arc::new(Int32Array::from(vec![40, 12, 3]));
    let init = [
        ("age", floats(&[60.0, 45.0, 30.0])),
        ("n_orders", orders),
        ("recency_days", floats(&[10.0, 60.0, 200.0])),
    ];
    sandbox.write("init.parquet", &init);
    let names: ArrayRef = Arc::new(StringArray::from(vec!["new", "steady", "old"]));
    let other = [floats(&[f64::NAN, 1.0, 2.0]), names];
    let more: Vec<_> = init
        .iter()
        .cloned()
        .chain(["other", "name"].into_iter().zip(other))
        .collect();
    sandbox.write("more.parquet", &more);
    sandbox.ok(FIT);
    sandbox.ok("fit customers.parquet -k 3 --id customer_id --exclude country --device cpu --init init.parquet --out from_file",
    );
    let expected = segments(&sandbox, "run/assignments.parquet");
    assert_eq!(expected, segments(&sandbox, "from_file/assignments.parquet"));
    let more =
        "fit customers.parquet -k 3 --id customer_id --exclude country --device cpu --init more.parquet --out more";
    insta::assert_snapshot!("fit_init_file", sandbox.transcript(more));
    assert_eq!(expected, segments(&sandbox, "more/assignments.parquet"));
    assert_eq!(sandbox.object("verify more --json")["matches"], true);
}

#[test]
fn json_is_one_object_and_the_same_run() {
    let sandbox = Sandbox::new();
    let fit = sandbox.object(&format!("{FIT} --json"));
    let record: Value = serde_json::from_reader(File::open(sandbox.path("run/run.json")).unwrap()).unwrap();
    assert_eq!(fit["labels_hash"], record["labels_hash"]);
    assert_eq!(fit["segments"].as_array().unwrap().len(), 3);
    assert_eq!(fit["segments"][0]["n_rows"], 120);
    assert_eq!(fit["segments"][0]["weight"], 120.0);
    assert!(fit["segments"][0]["set_apart_by"][0]["feature"].is_string());
    assert_eq!(fit["out"], "run");
    for (key, value) in record.as_object().unwrap() {
        assert!(key == "segments" || fit[key] == *value, "{key}");
    }
    let score = sandbox.object("score run customers.parquet --out scored.parquet --json");
    assert_eq!(score["labels_hash"], record["labels_hash"]);
    let verify = sandbox.object("verify run --json");
    assert_eq!(verify["matches"], true);
    let devices = sandbox.object("devices --json");
    assert_eq!(devices["auto"]["device"], "cpu");
}

#[test]
fn files_order_and_threads_change_no_segment() {
    let sandbox = Sandbox::new();
    let all = customers(0..240);
    let part = |rows: std::ops::Range<usize>| -> Vec<(&str, ArrayRef)> {
        all.iter()
            .map(|(name, array)| (*name, array.slice(rows.start, rows.len())))
            .collect()
    };
    for (n, rows) in [0..7, 7..100, 100..240].into_iter().enumerate() {
        sandbox.write(&format!("part{n}.parquet"), &part(rows));
    }
    let order = UInt32Array::from_iter_values((0..240).map(|n| n * 77 % 240));
    let shuffled: Vec<_> = all
        .iter()
        .map(|(name, array)| (*name, take(array, &order, None).unwrap()))
        .collect();
    sandbox.write("shuffled.parquet", &shuffled);
    let hash = |args: &str| {
        let fit = format!("fit {args} -k 3 --id customer_id --device cpu --out run --overwrite --json");
        sandbox.object(&fit)["labels_hash"].clone()
    };
    let whole = hash("customers.parquet");
    assert_eq!(whole, hash("customers.parquet --threads 1"));
    assert_eq!(whole, hash("part*.parquet --threads 3"));
    assert_eq!(whole, hash("shuffled.parquet --chunk-bytes 4096"));
    assert_ne!(whole, hash("part0.parquet part1.parquet"), "the comparison cannot fail");
}

#[test]
fn the_training_data_scores_to_the_segments_of_the_fit() {
    let sandbox = Sandbox::new();
    sandbox.ok(FIT);
    insta::assert_snapshot!(
        "score",
        sandbox.transcript("score run customers.parquet --out scored.parquet --device cpu")
    );
    assert_eq!(
        segments(&sandbox, "run/assignments.parquet"),
        segments(&sandbox, "scored.parquet")
    );
    let again = "score run/model.json customers.parquet --out scored.parquet --overwrite -q";
    insta::assert_snapshot!("score_by_model_file_quiet", sandbox.transcript(again));
}

#[test]
fn a_run_is_verified() {
    let sandbox = Sandbox::new();
    sandbox.ok(FIT);
    insta::assert_snapshot!("verify", sandbox.transcript("verify run --device cpu --threads 1"));
    std::fs::rename(sandbox.path("customers.parquet"), sandbox.path("moved.parquet")).unwrap();
    insta::assert_snapshot!(
        "verify_moved_data",
        sandbox.transcript("verify run moved.parquet --device cpu")
    );
}

#[test]
fn devices_without_a_gpu_are_explained() {
    let sandbox = Sandbox::new();
    let text = sandbox.ok("devices");
    assert!(text.contains("cpu"), "{text}");
    assert!(text.contains("auto"), "{text}");
}

#[test]
fn progress_goes_to_stderr_in_the_form_asked_for() {
    let sandbox = Sandbox::new();
    let stderr = |args: &str| String::from_utf8(sandbox.output(args).stderr).unwrap();
    assert_eq!(stderr(&format!("{FIT} -q")), "", "no progress without a terminal");
    let plain = stderr(&format!("{FIT} --overwrite -q --progress plain"));
    assert!(
        plain
            .lines()
            .any(|line| line.contains("iteration 1 of at most 300, inertia")),
        "{plain}"
    );
    let json = stderr(&format!("{FIT} --overwrite -q --progress json"));
    let events: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        events
            .iter()
            .any(|event| event["event"] == "iteration" && event["n_moved"].is_u64()),
        "{json}"
    );
}

#[test]
fn a_reader_who_leaves_is_no_failure() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command(FIT)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(sandbox.path("run/run.json").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_behind_stdout_is_told() {
    for args in [FIT.to_owned(), format!("{FIT} --json")] {
        let sandbox = Sandbox::new();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = sandbox.command(&args).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("error: cannot write standard output: "), "{told}");
    }
}

#[test]
fn help_and_version_are_data() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.ok("--version"),
        format!("kohort {}\n", env!("CARGO_PKG_VERSION"))
    );
    for command in ["fit", "inspect", "sweep", "score", "devices", "verify"] {
        insta::assert_snapshot!(format!("help_{command}"), sandbox.ok(&format!("{command} --help")));
    }
}

/// The environment can force an instruction set; the segments are the same with each.
#[test]
fn an_instruction_set_is_forced_by_the_environment() {
    let sandbox = Sandbox::new();
    let fit = |simd: &str, out: &str| {
        let args = format!("fit customers.parquet -k 3 --id customer_id --device cpu --json --out {out}");
        sandbox.command(&args).env("KOHORT_SIMD", simd).output().unwrap()
    };
    let hash = |out: &str| {
        let run = std::fs::read_to_string(sandbox.path(out).join("run.json")).unwrap();
        let run: serde_json::Value = serde_json::from_str(&run).unwrap();
        (run["labels_hash"].clone(), run["device"]["description"].clone())
    };
    assert!(
        sandbox
            .output("fit customers.parquet -k 3 --id customer_id --device cpu --out best")
            .status
            .success()
    );
    let plain = if cfg!(target_arch = "aarch64") {
        "neon"
    } else {
        "portable"
    };
    assert!(fit(plain, "plain").status.success());
    let (best, plainest) = (hash("best"), hash("plain"));
    assert_eq!(best.0, plainest.0);
    assert!(
        plainest.1.as_str().unwrap().to_lowercase().ends_with(plain),
        "{plainest:?}"
    );
    let refused = fit("mmx", "none");
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8(refused.stdout).unwrap();
    assert!(text.contains("KOHORT_SIMD mmx: this processor has"), "{text}");
}
