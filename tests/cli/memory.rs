//! `--dry-run`, `--memory`, `--spill-dir`.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const FIT: &str = "fit customers.parquet -k 3 --id customer_id --device cpu";

#[test]
fn a_plan_is_shown_and_nothing_is_done() {
    let sandbox = Sandbox::new();
    let before = sandbox.names();
    insta::assert_snapshot!(sandbox.transcript(&format!("{FIT} --memory 4GB --dry-run")));
    let sweep = "sweep customers.parquet -k 2..6 --exclude country,currency --device cpu --memory 4GB --dry-run";
    insta::assert_snapshot!(sandbox.transcript(sweep));
    let plan = sandbox.object(&format!("{FIT} --memory 2GB --dry-run --json"));
    assert_eq!(plan["memory_limit_bytes"], json!(2_000_000_000u64));
    assert_eq!((&plan["n_rows"], &plan["n_tiles"]), (&json!(240), &json!(4)));
    assert_eq!(sandbox.names(), before);
}

#[test]
fn what_the_plan_says_is_what_a_run_finds() {
    let sandbox = Sandbox::new();
    let plan = sandbox.object(&format!("{FIT} --dry-run --json"));
    let run = sandbox.object(&format!("{FIT} --json"));
    let [least, most] = [0, 1].map(|end| plan["n_features"][end].as_u64().unwrap());
    let n_features = run["n_features"].as_u64().unwrap();
    assert!(
        (least..=most).contains(&n_features),
        "{n_features} of {least} to {most}"
    );
    assert_eq!(plan["n_rows"], run["n_rows"]);
    assert_eq!(plan["n_sample"], run["seeding"]["n_sample"]);
    if let (Some(planned), Some(found)) = (plan["peak_bytes"].as_u64(), run["peak_memory_bytes"].as_u64()) {
        assert!(found < planned, "{found} bytes held, {planned} planned");
    }
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let sandbox = Sandbox::new();
    for args in ["--memory 1MB", "--memory lots", "--memory 0%"] {
        assert_eq!(
            sandbox.output(&format!("{FIT} {args}")).status.code(),
            Some(2),
            "{args}"
        );
    }
    insta::assert_snapshot!(sandbox.transcript(&format!("{FIT} --memory 10MB -q")));
}

#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn a_folder_that_cannot_be_spilled_to_is_told_at_once() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.transcript(&format!("{FIT} --spill-dir nowhere -q")));
    let run = |args: &str| sandbox.object(&format!("{FIT} --overwrite --json {args}"))["labels_hash"].clone();
    assert_ne!(run(""), Value::Null);
    assert_eq!(run("--memory 640MiB --spill-dir ."), run(""));
    assert!(
        sandbox.names().iter().all(|name| !name.starts_with('.')),
        "{:?}",
        sandbox.names()
    );
}
