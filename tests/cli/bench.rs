//! `kohort bench`: what it says, what it measures, and that a planted slowness and a planted other answer are found.

use serde_json::Value;

use crate::sandbox::Sandbox;

const TINY: &str = "bench --rows 3000 --features 3 --clusters 2,4 --iters 3 --rounds 2 --threads 2 --no-ceilings";

/// The object of a `--json` run, which is kept as `name`.
fn report(sandbox: &Sandbox, args: &str, name: &str) -> Value {
    let output = sandbox.output(&format!("{args} --json"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(sandbox.path(name), &output.stdout).unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stages(of: &Value) -> Vec<&str> {
    let stages = of["stages"].as_array().unwrap();
    stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect()
}

/// Exit code and stderr.
fn verdict(sandbox: &Sandbox, args: &str) -> (i32, String) {
    let output = sandbox.output(args);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn help_and_errors() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!("help_bench", sandbox.transcript("bench --help"));
    std::fs::write(
        sandbox.path("other.json"),
        "{\"format\": \"kohort-run\", \"version\": 1}",
    )
    .unwrap();
    let before = sandbox.names();
    let lines = [
        "bench customers.parquet",
        "bench customers.parquet -k 3 --shape A",
        "bench --shape G",
        "bench --shape A -k 3",
        "bench --rows 10 --features usage",
        "bench --rows 0",
        "bench --rows 10 --exclude a",
        "bench --rows 10 -k 11 --no-ceilings -q",
        "bench --init best",
        "bench --device cpu,tpu",
        "bench --device cpu,1",
        "bench --rows 100 --device gpu --no-ceilings",
        "bench --slower-than 0",
        "bench --against none.json",
        "bench --against other.json",
        "bench customers.parquet -k 3 --features none --no-ceilings -q",
        "bench customers.parquet -k 2,3 --init customers.parquet --no-ceilings -q",
    ];
    let transcripts: Vec<String> = lines.iter().map(|args| sandbox.transcript(args)).collect();
    assert_eq!(sandbox.names(), before, "something was left behind");
    insta::assert_snapshot!("error_bench", transcripts.join("\n"));
}

#[test]
fn sizes_are_measured_stage_by_stage() {
    let sandbox = Sandbox::new();
    let report = report(&sandbox, TINY, "report.json");
    let cases = report["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for (case, k) in cases.iter().zip([2, 4]) {
        assert_eq!(case["n_clusters"], k);
        assert_eq!((&case["n_rows"], &case["n_features"]), (&3000.into(), &3.into()));
        assert_eq!(stages(case), ["generate", "learn", "prepare"]);
        let device = &case["devices"][0];
        assert_eq!(stages(device), ["open", "iterations", "labels", "iterations+labels"]);
        assert_eq!((&device["device"], &device["n_iter"]), (&"cpu".into(), &3.into()));
        assert!(device["stages"][1]["warm"]["median_s"].as_f64().unwrap() > 0.0);
        assert_eq!(device["labels_hash"].as_str().unwrap().len(), 32);
    }
    assert!(report["ceilings"].is_null());
}

#[test]
fn the_answer_does_not_depend_on_threads_and_is_that_of_a_fit() {
    let sandbox = Sandbox::new();
    let start = "--features recency_days,n_orders --init first.parquet --tol 0 --threads";
    let rows = crate::sandbox::customers(0..3);
    sandbox.write("first.parquet", &rows);
    let hash = |threads| {
        let args = format!("bench customers.parquet -k 3 {start} {threads} --iters 300 --rounds 1 --no-ceilings");
        let report = report(&sandbox, &args, "report.json");
        assert_eq!(
            stages(&report["cases"][0]),
            ["ingest", "decode", "learn", "prepare", "write"]
        );
        let device = &report["cases"][0]["devices"][0];
        assert_eq!(device["stop_reason"], "converged");
        (device["labels_hash"].clone(), device["inertia"].clone())
    };
    let one = hash(1);
    assert_eq!(hash(7), one);
    let fit = format!("fit customers.parquet -k 3 {start} 2 --device cpu --json --out run");
    let record: Value = serde_json::from_slice(&sandbox.output(&fit).stdout).unwrap();
    assert_eq!((record["labels_hash"].clone(), record["inertia"].clone()), one);
}

#[test]
fn a_planted_slowness_and_a_planted_answer_are_found() {
    let sandbox = Sandbox::new();
    report(&sandbox, TINY, "then.json");
    let (code, talk) = verdict(&sandbox, &format!("{TINY} --against then.json --slower-than 1000"));
    assert_eq!(code, 0, "{talk}");

    // As if it had been a thousand times faster.
    let edit = |change: &dyn Fn(&mut Value)| {
        let text = std::fs::read(sandbox.path("then.json")).unwrap();
        let mut report: Value = serde_json::from_slice(&text).unwrap();
        change(&mut report["cases"][1]["devices"][0]);
        std::fs::write(sandbox.path("edited.json"), report.to_string()).unwrap();
    };
    edit(&|device| {
        for seconds in ["cold_s", "warm"] {
            let stage = &mut device["stages"][3][seconds];
            let faster = |value: &mut Value| *value = (value.as_f64().unwrap() / 1000.0).into();
            match stage.as_object_mut() {
                Some(spread) => spread.values_mut().for_each(faster),
                None => faster(stage),
            }
        }
    });
    let against = format!("{TINY} --against edited.json --slower-than 10");
    let (code, talk) = verdict(&sandbox, &against);
    assert_eq!(code, 4, "{talk}");
    assert!(
        talk.contains("error: 3k x 3, k=4 on cpu: iterations+labels takes"),
        "{talk}"
    );

    edit(&|device| device["labels_hash"] = "0".repeat(32).into());
    let (code, talk) = verdict(&sandbox, &format!("{against}00"));
    assert_eq!(code, 5, "{talk}");
    assert!(talk.contains("error: 3k x 3, k=4 on cpu: labels"), "{talk}");

    // What a bench with `--against` prints can be compared with in turn; other settings cannot.
    report(
        &sandbox,
        &format!("{TINY} --against then.json --slower-than 1000"),
        "again.json",
    );
    let (code, talk) = verdict(&sandbox, &format!("{TINY} --against again.json --slower-than 1000"));
    assert_eq!(code, 0, "{talk}");
    let (code, talk) = verdict(&sandbox, &format!("{TINY} --seed 3 --against then.json"));
    assert_eq!(code, 2, "{talk}");
    assert!(
        talk.contains("--against then.json: it was made with another --seed"),
        "{talk}"
    );
}
