//! `kohort devices`: what there is, what it can do, whether it computes right, and what `auto` would take.

use std::process::ExitCode;

use serde_json::{Value, json};

use kohort::backend::Backend;
use kohort::backend::choice::{DeviceRequest, WORTHWHILE_WORK, choose};
use kohort::backend::cpu::CpuBackend;
use kohort::backend::gpu::{self, AdapterReport, GpuBackend, GpuOptions, GpuSelection, adapters, advice};
use kohort::backend::joint::WORTHWHILE_SHARE;
use kohort::backend::self_test::{SelfTest, self_test};
use kohort::error::escape;
use kohort::{ErrorKind, Result};

use super::output::{Output, count, plural};

/// A device and how its self-test went.
struct Tested {
    /// What `--device` takes.
    name: String,
    description: String,
    adapter: Option<AdapterReport>,
    outcome: Result<SelfTest>,
}

pub(crate) fn run(output: Output) -> Result<ExitCode> {
    let mut devices = vec![test_cpu(output)?];
    for adapter in adapters() {
        devices.push(test_adapter(adapter, output)?);
    }
    let auto = choose(&DeviceRequest::Auto, u64::MAX, gpu::all, |selection, _| open(selection))?;
    let gpu = auto.gpus.first();
    let reason = match gpu {
        Some((_, gpu)) => format!("{}, a real GPU", gpu.adapter_name()),
        None => auto.reason.trim_start_matches("auto: ").to_owned(),
    };
    output.data(&auto_text(gpu.is_some(), &reason))?;
    // Without any there is nothing that could be taken together.
    let all = gpu::all().unwrap_or_default();
    output.data(&all_text(&all))?;
    let adapters: Vec<Value> = devices[1..].iter().map(Tested::object).collect();
    output.object(&json!({
        "cpu": devices[0].object(),
        "adapters": adapters,
        "auto": {
            "device": if gpu.is_some() { "gpu" } else { "cpu" },
            "reason": reason,
            "gpu_from_multiply_adds": WORTHWHILE_WORK,
        },
        "all": {
            "devices": all.iter().map(|index| name_of(*index)).collect::<Vec<_>>(),
            "multiply_adds_each": WORTHWHILE_SHARE,
        },
    }))?;
    Ok(verdict(&devices, output))
}

/// Says what there is before it is tested: a test of a slow device takes seconds.
fn test_cpu(output: Output) -> Result<Tested> {
    let cpu = CpuBackend::new(0)?;
    let (name, description) = ("cpu".to_owned(), cpu.description());
    output.data(&head_text(&name, &description, None))?;
    Tested {
        name,
        description,
        adapter: None,
        outcome: self_test(&cpu),
    }
    .told(output)
}

fn test_adapter(adapter: AdapterReport, output: Output) -> Result<Tested> {
    let name = name_of(adapter.index);
    let description = format!("{} ({})", adapter.name, adapter.kind);
    output.data(&head_text(&name, &description, Some(&adapter)))?;
    let outcome = open(GpuSelection::Index(adapter.index)).and_then(|gpu| self_test(&gpu));
    Tested {
        name,
        description,
        adapter: Some(adapter),
        outcome,
    }
    .told(output)
}

fn verdict(devices: &[Tested], output: Output) -> ExitCode {
    let wrong = |device: &&Tested| device.outcome.as_ref().is_ok_and(|test| !test.passed());
    let Some(device) = devices.iter().find(wrong) else {
        return ExitCode::SUCCESS;
    };
    let hint = format!(
        "do not use {}; a newer driver may help, and please report it",
        device.name
    );
    output.failed(&format!("{} computes wrongly", device.name), &hint);
    super::exit_code(ErrorKind::Mismatch).into()
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
        format!("\nauto takes cpu: {reason}\nfor a GPU: {}\n", advice())
    }
}

/// How several GPUs are taken, where there are several.
fn all_text(all: &[usize]) -> String {
    let [first, .., last] = all else {
        return String::new();
    };
    let names: Vec<String> = all.iter().map(|&index| name_of(index)).collect();
    let work = WORTHWHILE_SHARE / 1_000_000;
    format!(
        "--device gpu:all takes {} together, as far as each gets {} million multiply-adds a pass; --device gpu:{first},{last} \
         takes these two for any job\n",
        names.join(", "),
        count(work),
    )
}

/// What `--device` takes for an adapter.
fn name_of(index: usize) -> String {
    GpuSelection::Index(index).to_string()
}

/// Where everything stands but the name of a device.
const INDENT: &str = "       ";

fn head_text(name: &str, description: &str, adapter: Option<&AdapterReport>) -> String {
    let mut text = format!("{name:<6} {}\n", escape(description));
    for line in adapter.into_iter().flat_map(adapter_lines) {
        text += &format!("{INDENT}{line}\n");
    }
    text
}

impl Tested {
    /// Says how the test went.
    fn told(self, output: Output) -> Result<Self> {
        output.data(&format!("{INDENT}self-test: {}\n", self.outcome_text()))?;
        Ok(self)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_all_is_told_of_where_there_are_several() {
        assert_eq!([all_text(&[]), all_text(&[2])], ["", ""]);
        assert_eq!(
            all_text(&[0, 2, 3]),
            "--device gpu:all takes gpu:0, gpu:2, gpu:3 together, as far as each gets 8,000 million multiply-adds a pass; \
             --device gpu:0,3 takes these two for any job\n"
        );
    }
}
