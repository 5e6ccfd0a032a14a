//! Which device a job runs on, and why: one rule, for `--device` and for everyone who wants it explained.

use std::fmt;
use std::str::FromStr;

use super::gpu::GpuSelection;
use crate::error::{Error, ErrorKind, Result};

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

/// A device, and why it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<G> {
    /// The GPU; `None` for the CPU.
    pub gpu: Option<G>,
    /// Why, in a few words.
    pub reason: String,
}

/// The device for `request`, for a job whose passes take `work` multiply-adds (rows x features x clusters).
///
/// `open` opens a GPU. It is called only where the answer matters: looking for one takes longer than a small fit.
///
/// # Errors
/// What `open` says, where a GPU was demanded; with [`DeviceRequest::Auto`] that is a reason for the CPU.
pub fn choose<G>(request: DeviceRequest, work: u64, open: impl FnOnce(GpuSelection) -> Result<G>) -> Result<Choice<G>> {
    let demanded = |gpu| Choice {
        gpu: Some(gpu),
        reason: "asked for".into(),
    };
    match request {
        DeviceRequest::Cpu => Ok(cpu("asked for".into())),
        DeviceRequest::Gpu => open(GpuSelection::Any).map(demanded),
        DeviceRequest::GpuIndex(index) => open(GpuSelection::Index(index)).map(demanded),
        DeviceRequest::Auto if work < WORTHWHILE_WORK => {
            let (work, enough) = (millions(work), millions(WORTHWHILE_WORK));
            Ok(cpu(format!(
                "auto: {work} multiply-adds a pass, a GPU pays from {enough}"
            )))
        }
        DeviceRequest::Auto => match open(GpuSelection::Real) {
            Ok(gpu) => Ok(Choice {
                gpu: Some(gpu),
                reason: format!("auto: a real GPU, and {} multiply-adds a pass", millions(work)),
            }),
            Err(Error::DeviceNotFound { reason, .. }) => Ok(cpu(format!("auto: no usable GPU: {reason}"))),
            Err(error) if error.kind() == ErrorKind::Device => Ok(cpu(format!("auto: {error}"))),
            Err(error) => Err(error),
        },
    }
}

fn cpu<G>(reason: String) -> Choice<G> {
    Choice { gpu: None, reason }
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

    fn absent(_: GpuSelection) -> Result<GpuSelection> {
        Err(Error::DeviceNotFound {
            asked: "gpu".into(),
            reason: "none here".into(),
        })
    }

    #[test]
    fn auto_takes_a_real_gpu_for_large_jobs_only() {
        let large = choose(DeviceRequest::Auto, WORTHWHILE_WORK, Ok).unwrap();
        assert_eq!(large.gpu, Some(GpuSelection::Real));
        let small = choose(DeviceRequest::Auto, WORTHWHILE_WORK - 1, |_| -> Result<GpuSelection> {
            unreachable!("looked for a GPU")
        });
        let small = small.unwrap();
        assert_eq!(small.gpu, None);
        assert_eq!(
            small.reason,
            "auto: 63 million multiply-adds a pass, a GPU pays from 64 million"
        );
    }

    #[test]
    fn what_was_asked_for_is_taken_however_small_the_job() {
        assert_eq!(choose(DeviceRequest::Gpu, 1, Ok).unwrap().gpu, Some(GpuSelection::Any));
        assert_eq!(
            choose(DeviceRequest::GpuIndex(2), 1, Ok).unwrap().gpu,
            Some(GpuSelection::Index(2))
        );
        assert_eq!(choose(DeviceRequest::Cpu, u64::MAX, Ok).unwrap().gpu, None);
    }

    #[test]
    fn without_a_gpu_auto_goes_on_and_a_demand_fails() {
        let choice = choose(DeviceRequest::Auto, u64::MAX, absent).unwrap();
        assert_eq!(
            (choice.gpu, choice.reason.as_str()),
            (None, "auto: no usable GPU: none here")
        );
        for request in [DeviceRequest::Gpu, DeviceRequest::GpuIndex(0)] {
            assert_eq!(choose(request, u64::MAX, absent).unwrap_err().kind(), ErrorKind::Device);
        }
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
