//! Long jobs: checkpoints, resuming after SIGKILL, and ending in time.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use serde_json::json;

use crate::sandbox::Sandbox;

/// More rows than are seeded on, so that there are iterations to be killed in.
const N_ROWS: u64 = 150_000;
const FIT: &str = "fit large.parquet -k 24 --tol 0 --n-init 1 --max-iter 14 --device cpu";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let column = |salt: u64| -> ArrayRef {
        let value = |row: u64| (kohort::rng::hash_key(salt, row.into()) >> 11) as f64;
        Arc::new(Float64Array::from_iter_values((0..N_ROWS).map(value)))
    };
    sandbox.write("large.parquet", &[("a", column(1)), ("b", column(2)), ("c", column(3))]);
    sandbox
}

#[test]
#[cfg(unix)]
fn a_fit_that_is_killed_again_and_again_ends_as_one_that_is_not() {
    let sandbox = sandbox();
    let whole = sandbox.object(&format!("{FIT} --out whole --json"));
    let long = format!("{FIT} --out pieces --checkpoint c.json --checkpoint-every 0s --resume");
    let mut n_killed = 0;
    while kill_in_iteration(&sandbox, &format!("{long} --progress plain"), 4) {
        n_killed += 1;
        assert!(n_killed < 20, "it comes no further");
        assert!(!sandbox.path("pieces").exists(), "nothing half-written");
        assert!(sandbox.path("c.json").exists());
    }
    assert!(n_killed >= 3, "killed {n_killed} times");
    assert!(!sandbox.path("c.json").exists(), "gone when all is done");
    let record = std::fs::read_to_string(sandbox.path("pieces/run.json")).unwrap();
    let pieces: serde_json::Value = serde_json::from_str(&record).unwrap();
    for field in [
        "labels_hash",
        "inertia_exact",
        "n_iter",
        "stop_reason",
        "seeding",
        "segments",
    ] {
        let segments_by_name = |run: &serde_json::Value| match &run[field] {
            // The table that a command prints says more of segments than the record.
            serde_json::Value::Array(list) => list.iter().map(|segment| segment["n_rows"].clone()).collect(),
            other => vec![other.clone()],
        };
        assert_eq!(segments_by_name(&pieces), segments_by_name(&whole), "{field}");
    }
}

/// Kills a command when it has told of so many iterations; false where it ended before.
#[cfg(unix)]
fn kill_in_iteration(sandbox: &Sandbox, args: &str, n: usize) -> bool {
    let mut command = sandbox.command(args);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut told = lines.filter(|line| line.contains(": iteration ")).take(n);
    let is_killed = told.by_ref().count() == n;
    if is_killed {
        child.kill().unwrap();
    } else {
        drop(told);
    }
    let status = child.wait().unwrap();
    assert!(is_killed || status.success(), "{status}");
    is_killed
}

#[test]
fn a_checkpoint_is_gone_on_from_by_its_own_job_only() {
    let sandbox = sandbox();
    assert!(kill_in_iteration(
        &sandbox,
        &format!("{FIT} --checkpoint c.json --checkpoint-every 0s --progress plain"),
        2
    ));
    insta::assert_snapshot!(sandbox.transcript(&format!("{FIT} --checkpoint c.json -q")));
    insta::assert_snapshot!(sandbox.transcript(&format!("{FIT} --checkpoint c.json --resume --seed 7 -q")));
    std::fs::copy(sandbox.path("customers.parquet"), sandbox.path("large.parquet")).unwrap();
    insta::assert_snapshot!(sandbox.transcript(&format!("{FIT} --checkpoint c.json --resume -q")));
    std::fs::write(sandbox.path("c.json"), "{").unwrap();
    insta::assert_snapshot!(sandbox.transcript(&format!("{FIT} --checkpoint c.json --resume -q")));
    insta::assert_snapshot!(sandbox.transcript(&format!("{FIT} --resume -q")));
    // A mistake in the name of the file is told before the data is read.
    assert_eq!(
        sandbox.output(&format!("{FIT} --checkpoint no/c.json")).status.code(),
        Some(1)
    );
    assert!(!sandbox.path("kohort-run").exists());
}

#[test]
fn a_sweep_keeps_and_removes_its_checkpoint() {
    let sandbox = Sandbox::new();
    let sweep = "sweep customers.parquet -k 2..5 --json";
    let whole = sandbox.object(sweep);
    let kept = sandbox.object(&format!("{sweep} --checkpoint c.json --checkpoint-every 0s"));
    assert_eq!(kept["selection"], whole["selection"]);
    assert!(!sandbox.path("c.json").exists());
}

#[test]
fn when_time_is_up_what_was_found_is_written_and_can_be_made_again() {
    let sandbox = sandbox();
    let run = sandbox.object(&format!("{FIT} --max-time 0s --out timed --json"));
    assert_eq!((&run["stop_reason"], &run["n_iter"]), (&json!("max_time"), &json!(1)));
    assert_eq!(sandbox.object("verify timed --json")["matches"], json!(true));
    let report = std::fs::read_to_string(sandbox.path("timed/report.html")).unwrap();
    assert!(report.contains("when the time allowed was up"));

    let sweep = sandbox.output("sweep customers.parquet -k 2..60 --max-time 0s --json");
    let said = String::from_utf8(sweep.stderr).unwrap();
    assert!(said.contains("time was up: 3 to 60 segments were not tried"), "{said}");
}
