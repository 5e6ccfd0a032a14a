//! Several GPUs on the command line. Where there is one adapter only, and it is software, it is taken twice.
#![cfg(feature = "gpu")]

use std::process::Output;

use kohort::backend::gpu::{AdapterReport, GpuBackend, GpuOptions, GpuSelection, adapters};
use serde_json::Value;

use crate::sandbox::Sandbox;

/// The adapters, of which there is at least one; `None` where there is none, unless one is demanded.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn cards() -> Option<Vec<AdapterReport>> {
    if let Err(error) = GpuBackend::new(&GpuSelection::Any, GpuOptions::default()) {
        let demanded = std::env::var("KOHORT_REQUIRE_GPU").is_ok_and(|value| value == "1");
        assert!(!demanded, "KOHORT_REQUIRE_GPU=1, but {error}");
        eprintln!("SKIPPED: {error}");
        return None;
    }
    Some(adapters())
}

/// What a command gives where Vulkan drivers are those of the test.
fn output(sandbox: &Sandbox, args: &str) -> Output {
    let mut command = sandbox.command(args);
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        match std::env::var_os(name) {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.output().unwrap()
}

/// The object of a `--json` run.
fn object(sandbox: &Sandbox, args: &str) -> Value {
    let output = output(sandbox, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_fit_on_several_cards_is_that_of_the_cpu() {
    let Some(cards) = cards() else { return };
    let sandbox = Sandbox::new();
    let fit = "fit customers.parquet -k 3 --id customer_id --json";
    let on_cpu = object(&sandbox, &format!("{fit} --device cpu --out cpu"));
    let device = match &cards[..] {
        [card] if card.software => "gpu:0,0".to_owned(),
        [_] => {
            let refused = output(&sandbox, &format!("{fit} --device gpu:0,0 --out run"));
            assert_eq!(refused.status.code(), Some(2));
            assert!(String::from_utf8(refused.stdout).unwrap().contains("has gpu:0 twice"));
            return;
        }
        _ => "gpu:0,1".to_owned(),
    };
    let on_cards = object(&sandbox, &format!("{fit} --device {device} --out run"));
    for what in ["labels_hash", "inertia", "n_iter", "segments"] {
        assert_eq!(on_cards[what], on_cpu[what], "{what}");
    }
    let record = &on_cards["device"];
    assert_eq!(
        (&record["asked"], &record["backend"]),
        (&device.as_str().into(), &"gpu".into())
    );
    let described = record["description"].as_str().unwrap();
    assert!(
        described.contains(&cards[0].name) && described.starts_with("gpu:0"),
        "{described}"
    );
    assert!(
        described.contains(if device == "gpu:0,0" { "gpu:0, gpu:0: " } else { "gpu:1" }),
        "{described}"
    );
    assert!(on_cards["n_audited"].as_u64().unwrap() > 0);
    let verified = object(&sandbox, &format!("verify run --device {device} --json"));
    assert_eq!(verified["matches"], true);
    let plan = object(&sandbox, &format!("{fit} --device {device} --dry-run"));
    assert_eq!(plan["device"]["n_devices"], 2);
    let shown = output(
        &sandbox,
        &format!("fit customers.parquet -k 3 --device {device} --dry-run"),
    );
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("passes on 2 GPUs together, where all "), "{shown}");
}

#[test]
fn all_cards_are_listed_and_can_be_taken_and_timed() {
    let Some(cards) = cards() else { return };
    let sandbox = Sandbox::new();
    let listed = object(&sandbox, "devices --json");
    let all = listed["all"]["devices"].as_array().unwrap();
    let best = listed["adapters"].as_array().unwrap().len();
    assert!(!all.is_empty() && all.len() <= best && best == cards.len());
    let fit = "fit customers.parquet -k 3 --id customer_id --json";
    let on_all = object(&sandbox, &format!("{fit} --device gpu:all --out run"));
    let on_cpu = object(&sandbox, &format!("{fit} --device cpu --out cpu"));
    assert_eq!(on_all["labels_hash"], on_cpu["labels_hash"]);
    assert_eq!(on_all["device"]["asked"], "gpu:all");
    if cards[0].software {
        let bench = "bench --rows 1000 --features 3 -k 4 --rounds 1 --no-ceilings --json --device cpu,gpu:0,0";
        let report = object(&sandbox, bench);
        let devices = report["cases"][0]["devices"].as_array().unwrap();
        let names: Vec<&Value> = devices.iter().map(|device| &device["device"]).collect();
        assert_eq!(names, ["cpu", "gpu:0,0"]);
        assert_eq!(devices[0]["labels_hash"], devices[1]["labels_hash"]);
    }
}
