//! Which device a job runs on, and why: one rule, for `--device` and for everyone who wants it explained.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Multiply-adds of one pass (rows x features x clusters) from which `auto` takes a GPU.
///
/// Below it a pass on the CPU takes some ten milliseconds, and a whole fit is over before a GPU has been opened, its
/// kernels compiled and the data sent. A rule of thumb: either choice gives the same bits.
pub const WORTHWHILE_WORK: u64 = 64_000_000;

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceRequest {
    /// A real GPU where there is one and the job is large enough, else the CPU.
    Auto,
    /// A GPU: a real one where there is one, else a software adapter.
    Gpu,
    /// The adapter of this number in the list of adapters.
    GpuIndex(usize),
    /// The CPU.
    Cpu,
}

impl FromStr for DeviceRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "gpu" => Ok(Self::Gpu),
            "cpu" => Ok(Self::Cpu),
            _ => text
                .strip_prefix("gpu:")
                .and_then(|index| index.parse().ok())
                .map(Self::GpuIndex)
                .ok_or_else(|| "expected auto, gpu, gpu:N or cpu".to_owned()),
        }
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu => f.write_str("gpu"),
            Self::GpuIndex(index) => write!(f, "gpu:{index}"),
            Self::Cpu => f.write_str("cpu"),
        }
    }
}

/// An adapter that could be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its number in the list of adapters.
    pub index: usize,
    /// Its name as the driver gives it.
    pub name: String,
    /// Whether it is really a CPU (llvmpipe, SwiftShader).
    pub is_software: bool,
    /// Whether it is a card of its own, not a part of the processor; such a one is preferred.
    pub is_discrete: bool,
    /// Why it cannot run the kernels, where it cannot.
    pub unusable: Option<String>,
}

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// On the CPU.
    Cpu,
    /// On the adapter of this number.
    Gpu(usize),
}

/// A device, and why it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The device.
    pub device: Device,
    /// One line for people.
    pub reason: String,
    /// Whether the user should be warned of it: a software adapter that was asked for is slow.
    pub is_notice: bool,
}

/// The device for `request` among `adapters`, for a job whose passes take `work` multiply-adds (rows x features x
/// clusters).
///
/// # Errors
/// [`Error::DeviceNotFound`] where a GPU was demanded and none can be had.
pub fn choose(request: DeviceRequest, adapters: &[Candidate], work: u64) -> Result<Choice> {
    match request {
        DeviceRequest::Cpu => Ok(cpu("asked for".into())),
        DeviceRequest::Auto => Ok(auto(adapters, work)),
        DeviceRequest::Gpu => any_gpu(adapters),
        DeviceRequest::GpuIndex(index) => this_gpu(adapters, index),
    }
}

/// The real GPU that `auto` and `gpu` take: a card of its own before one inside the processor, then the first.
#[must_use]
pub fn best_gpu(adapters: &[Candidate]) -> Option<&Candidate> {
    adapters
        .iter()
        .filter(|adapter| !adapter.is_software && adapter.unusable.is_none())
        .min_by_key(|adapter| (!adapter.is_discrete, adapter.index))
}

fn auto(adapters: &[Candidate], work: u64) -> Choice {
    let Some(gpu) = best_gpu(adapters) else {
        return cpu(format!("auto: {}", why_no_real_gpu(adapters)));
    };
    if work < WORTHWHILE_WORK {
        let (work, enough) = (millions(work), millions(WORTHWHILE_WORK));
        return cpu(format!(
            "auto: {work} multiply-adds a pass; a GPU ({}) pays from {enough}",
            gpu.name
        ));
    }
    Choice {
        device: Device::Gpu(gpu.index),
        reason: format!("auto: a real GPU, and {} multiply-adds a pass", millions(work)),
        is_notice: false,
    }
}

fn any_gpu(adapters: &[Candidate]) -> Result<Choice> {
    if let Some(gpu) = best_gpu(adapters) {
        return Ok(taken(gpu));
    }
    adapters
        .iter()
        .find(|adapter| adapter.unusable.is_none())
        .map(taken)
        .ok_or_else(|| Error::DeviceNotFound {
            asked: "gpu".into(),
            reason: why_no_real_gpu(adapters),
        })
}

fn this_gpu(adapters: &[Candidate], index: usize) -> Result<Choice> {
    let refuse = |reason: String| Error::DeviceNotFound {
        asked: format!("gpu:{index}"),
        reason,
    };
    let gpu = adapters.iter().find(|adapter| adapter.index == index).ok_or_else(|| {
        refuse(match adapters.len() {
            0 => "no adapter was found".into(),
            1 => "the only adapter is gpu:0".into(),
            n => format!("the adapters are gpu:0 to gpu:{}", n - 1),
        })
    })?;
    match &gpu.unusable {
        Some(reason) => Err(refuse(format!("{}: {reason}", gpu.name))),
        None => Ok(taken(gpu)),
    }
}

fn taken(gpu: &Candidate) -> Choice {
    let reason = if gpu.is_software {
        "asked for; a software adapter, slower than --device cpu"
    } else {
        "asked for"
    };
    Choice {
        device: Device::Gpu(gpu.index),
        reason: reason.into(),
        is_notice: gpu.is_software,
    }
}

fn cpu(reason: String) -> Choice {
    Choice {
        device: Device::Cpu,
        reason,
        is_notice: false,
    }
}

/// Why no real GPU can be had.
fn why_no_real_gpu(adapters: &[Candidate]) -> String {
    let real = adapters.iter().find(|adapter| !adapter.is_software);
    match (real, adapters.first()) {
        (Some(gpu), _) => {
            let reason = gpu.unusable.as_deref().unwrap_or("not usable");
            format!("{} cannot be used: {reason}", gpu.name)
        }
        (None, Some(software)) => format!("no real GPU, only the software adapter {}", software.name),
        (None, None) => "no GPU was found".into(),
    }
}

fn millions(work: u64) -> String {
    if work < 1_000_000 {
        "under 1 million".into()
    } else {
        format!("{} million", work / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: usize, is_software: bool, is_discrete: bool) -> Candidate {
        Candidate {
            index,
            name: format!("adapter {index}"),
            is_software,
            is_discrete,
            unusable: None,
        }
    }

    #[test]
    fn auto_never_takes_a_software_adapter() {
        let choice = choose(DeviceRequest::Auto, &[adapter(0, true, false)], u64::MAX).unwrap();
        assert_eq!(choice.device, Device::Cpu);
        assert_eq!(choice.reason, "auto: no real GPU, only the software adapter adapter 0");
    }

    #[test]
    fn auto_takes_a_card_before_an_integrated_gpu_and_only_for_large_jobs() {
        let adapters = [
            adapter(0, true, false),
            adapter(1, false, false),
            adapter(2, false, true),
        ];
        let large = choose(DeviceRequest::Auto, &adapters, WORTHWHILE_WORK).unwrap();
        assert_eq!(large.device, Device::Gpu(2));
        let small = choose(DeviceRequest::Auto, &adapters, WORTHWHILE_WORK - 1).unwrap();
        assert_eq!(small.device, Device::Cpu);
    }

    #[test]
    fn gpu_takes_a_software_adapter_only_for_want_of_a_real_one_and_says_so() {
        let both = [adapter(0, true, false), adapter(1, false, false)];
        assert_eq!(choose(DeviceRequest::Gpu, &both, 1).unwrap().device, Device::Gpu(1));
        let software = choose(DeviceRequest::Gpu, &both[..1], 1).unwrap();
        assert_eq!((software.device, software.is_notice), (Device::Gpu(0), true));
    }

    #[test]
    fn a_gpu_that_was_demanded_and_is_absent_is_a_device_error() {
        let mut broken = adapter(0, false, true);
        broken.unusable = Some("no 64-bit atomics".into());
        for (request, adapters) in [
            (DeviceRequest::Gpu, vec![]),
            (DeviceRequest::GpuIndex(0), vec![]),
            (DeviceRequest::GpuIndex(3), vec![adapter(0, false, true)]),
            (DeviceRequest::Gpu, vec![broken.clone()]),
            (DeviceRequest::GpuIndex(0), vec![broken.clone()]),
        ] {
            let error = choose(request, &adapters, u64::MAX).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Device, "{error}");
        }
        assert_eq!(
            choose(DeviceRequest::Auto, &[broken], u64::MAX).unwrap().device,
            Device::Cpu
        );
    }

    #[test]
    fn requests_are_read_and_shown_alike() {
        for text in ["auto", "gpu", "gpu:3", "cpu"] {
            assert_eq!(text.parse::<DeviceRequest>().unwrap().to_string(), text);
        }
        for text in ["", "GPU", "gpu:", "gpu:-1", "gpu:x", "tpu"] {
            assert!(text.parse::<DeviceRequest>().is_err(), "{text:?}");
        }
    }
}
