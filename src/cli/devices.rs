//! `kohort devices`: what there is, what it can do, whether it computes right, and what `auto` would take.

use std::process::ExitCode;

use serde_json::{Value, json};

use kohort::backend::Backend;
use kohort::backend::choice::{DeviceRequest, WORTHWHILE_WORK, choose};
use kohort::backend::cpu::CpuBackend;
use kohort::backend::gpu::{AdapterReport, GpuBackend, GpuOptions, GpuSelection, adapters};
use kohort::backend::self_test::{SelfTest, self_test};
use kohort::error::escape;
use kohort::{ErrorKind, Result};

use super::output::{Output, count, plural};
use super::progress::check_interrupt;

/// A device and how its self-test went.
struct Tested {
    /// What `--device` takes.
    name: String,
    description: String,
    adapter: Option<AdapterReport>,
    outcome: Result<SelfTest>,
}

pub(crate) fn run(output: Output) -> Result<ExitCode> {
    let cpu = CpuBackend::new(0)?;
    let description = cpu.description();
    let mut devices = vec![Tested {
        name: "cpu".into(),
        description,
        adapter: None,
        outcome: self_test(&cpu),
    }];
    for adapter in adapters() {
        check_interrupt()?;
        let outcome = open(GpuSelection::Index(adapter.index)).and_then(|gpu| self_test(&gpu));
        let (name, description) = (
            format!("gpu:{}", adapter.index),
            format!("{} ({})", adapter.name, adapter.kind),
        );
        devices.push(Tested {
            name,
            description,
            adapter: Some(adapter),
            outcome,
        });
    }
    let auto = choose(DeviceRequest::Auto, u64::MAX, open)?;
    let reason = match &auto.gpu {
        Some(gpu) => format!("{}, a real GPU", gpu.adapter_name()),
        None => auto.reason.trim_start_matches("auto: ").to_owned(),
    };
    for device in &devices {
        output.data(&device.text())?;
    }
    output.data(&auto_text(auto.gpu.is_some(), &reason))?;
    let adapters: Vec<Value> = devices[1..].iter().map(Tested::object).collect();
    output.object(&json!({
        "cpu": devices[0].object(),
        "adapters": adapters,
        "auto": {
            "device": if auto.gpu.is_some() { "gpu" } else { "cpu" },
            "reason": reason,
            "gpu_from_multiply_adds": WORTHWHILE_WORK,
        },
    }))?;
    let wrong = |device: &&Tested| device.outcome.as_ref().is_ok_and(|test| !test.passed());
    Ok(match devices.iter().find(wrong) {
        Some(device) => {
            let hint = format!(
                "do not use {}; a newer driver may help, and please report it",
                device.name
            );
            output.failed(&format!("{} computes wrongly", device.name), &hint);
            super::exit_code(ErrorKind::Mismatch).into()
        }
        None => ExitCode::SUCCESS,
    })
}

fn open(selection: GpuSelection) -> Result<GpuBackend> {
    GpuBackend::new(&selection, GpuOptions::default())
}

fn auto_text(takes_gpu: bool, reason: &str) -> String {
    let reason = escape(reason);
    if takes_gpu {
        let work = WORTHWHILE_WORK / 1_000_000;
        format!("\nauto takes {reason}, from {work} million multiply-adds a pass (rows x features x segments)\n")
    } else {
        format!(
            "\nauto takes cpu: {reason}\n\
             for a GPU: its vendor's driver and, on Linux, the Vulkan loader (libvulkan1) have to be installed\n"
        )
    }
}

impl Tested {
    fn text(&self) -> String {
        let mut lines = vec![format!("{:<6} {}", self.name, escape(&self.description))];
        if let Some(adapter) = &self.adapter {
            lines.extend(adapter_lines(adapter));
        }
        lines.push(format!("self-test: {}", self.outcome_text()));
        lines.join("\n       ") + "\n"
    }

    fn outcome_text(&self) -> String {
        match &self.outcome {
            Ok(SelfTest {
                n_cases,
                first_difference: None,
            }) => {
                format!(
                    "passed, {} bit for bit as the reference",
                    plural(*n_cases as u64, "data set")
                )
            }
            Ok(SelfTest {
                first_difference: Some(difference),
                ..
            }) => format!("FAILED, {}", escape(difference)),
            Err(error) => format!("not run, {error}"),
        }
    }

    fn object(&self) -> Value {
        let passed = self.outcome.as_ref().ok().map(SelfTest::passed);
        json!({
            "device": self.name,
            "description": self.description,
            "adapter": self.adapter,
            "self_test_passed": passed,
            "self_test": self.outcome_text(),
        })
    }
}

fn adapter_lines(adapter: &AdapterReport) -> [String; 4] {
    let kind = if adapter.software {
        "software on the CPU, never taken by auto"
    } else {
        &adapter.kind
    };
    let (least, most) = adapter.subgroup_threads;
    let features = if adapter.features.is_empty() {
        "none".into()
    } else {
        adapter.features.join(", ")
    };
    [
        format!("{}, {kind}, driver {}", adapter.backend, escape(&adapter.driver)),
        format!(
            "buffers up to {} MiB, {} MiB in one binding",
            count(adapter.max_buffer_bytes >> 20),
            count(adapter.max_binding_bytes >> 20)
        ),
        format!(
            "workgroups of {} threads with {} KiB, subgroups of {least} to {most}",
            adapter.workgroup_threads,
            adapter.workgroup_bytes >> 10
        ),
        format!("features: {features}"),
    ]
}
