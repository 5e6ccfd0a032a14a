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
///
/// `Auto` takes one GPU, however many there are: on machines with several, others work as well, and it is for people to
/// say that a job may have them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceRequest {
    /// A real GPU where there is one and the job is large enough, else the CPU.
    Auto,
    /// A GPU: a real one where there is one, else a software adapter.
    Gpu,
    /// The adapters of these numbers in the list of adapters, at least one.
    Gpus(Vec<usize>),
    /// All adapters of the best kind that there is.
    AllGpus,
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
            "gpu:all" => Ok(Self::AllGpus),
            _ => text
                .strip_prefix("gpu:")
                .and_then(|list| list.split(',').map(|index| index.parse().ok()).collect())
                .map(Self::Gpus)
                .ok_or_else(|| "expected auto, gpu, gpu:N, gpu:N,M, gpu:all or cpu".to_owned()),
        }
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu => f.write_str("gpu"),
            Self::Gpus(list) => {
                let list: Vec<String> = list.iter().map(usize::to_string).collect();
                write!(f, "gpu:{}", list.join(","))
            }
            Self::AllGpus => f.write_str("gpu:all"),
            Self::Cpu => f.write_str("cpu"),
        }
    }
}

/// Requests with commas between them; a number belongs to the list before it, as in `cpu,gpu:0,1,gpu:2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRequests(pub Vec<DeviceRequest>);

impl FromStr for DeviceRequests {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut requests: Vec<String> = Vec::new();
        for item in text.split(',') {
            let is_number = !item.is_empty() && item.bytes().all(|byte| byte.is_ascii_digit());
            match requests.last_mut() {
                Some(list) if is_number => *list += &format!(",{item}"),
                _ => requests.push(item.to_owned()),
            }
        }
        requests
            .iter()
            .map(|request| request.parse())
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The devices for a job, and why they were taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<G> {
    /// The GPUs; none for the CPU.
    pub gpus: Vec<(GpuSelection, G)>,
    /// Why, in a few words.
    pub reason: String,
}

/// The devices for `request`, for a job whose passes take `work` multiply-adds (rows x features x clusters).
///
/// `open` opens a GPU, one of so many, `all` gives the numbers of all that [`DeviceRequest::AllGpus`] means. They are called only where the
/// answer matters: looking for a GPU takes longer than a small fit.
///
/// # Errors
/// What these say, where a GPU was demanded; with [`DeviceRequest::Auto`] that is a reason for the CPU.
pub fn choose<G>(
    request: &DeviceRequest,
    work: u64,
    all: impl FnOnce() -> Result<Vec<usize>>,
    mut open: impl FnMut(GpuSelection, usize) -> Result<G>,
) -> Result<Choice<G>> {
    let mut demanded = |selections: Vec<GpuSelection>| {
        let n_gpus = selections.len();
        let gpus = selections
            .into_iter()
            .map(|selection| Ok((selection, open(selection, n_gpus)?)));
        Ok(Choice {
            gpus: gpus.collect::<Result<_>>()?,
            reason: "asked for".into(),
        })
    };
    let numbered = |list: &[usize]| list.iter().copied().map(GpuSelection::Index).collect();
    match request {
        DeviceRequest::Cpu => Ok(cpu("asked for".into())),
        DeviceRequest::Gpu => demanded(vec![GpuSelection::Any]),
        DeviceRequest::Gpus(list) => demanded(numbered(list)),
        DeviceRequest::AllGpus => demanded(numbered(&all()?)),
        DeviceRequest::Auto if work < WORTHWHILE_WORK => {
            let (work, enough) = (millions(work), millions(WORTHWHILE_WORK));
            Ok(cpu(format!(
                "auto: {work} multiply-adds a pass, a GPU pays from {enough}"
            )))
        }
        DeviceRequest::Auto => match open(GpuSelection::Real, 1) {
            Ok(gpu) => Ok(Choice {
                gpus: vec![(GpuSelection::Real, gpu)],
                reason: format!("auto: a real GPU, and {} multiply-adds a pass", millions(work)),
            }),
            Err(Error::DeviceNotFound { reason, .. }) => Ok(cpu(format!("auto: no usable GPU: {reason}"))),
            Err(error) if error.kind() == ErrorKind::Device => Ok(cpu(format!("auto: {error}"))),
            Err(error) => Err(error),
        },
    }
}

fn cpu<G>(reason: String) -> Choice<G> {
    Choice {
        gpus: Vec::new(),
        reason,
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

    fn absent(_: GpuSelection, _: usize) -> Result<GpuSelection> {
        Err(none_here())
    }

    fn none_here() -> Error {
        Error::DeviceNotFound {
            asked: "gpu".into(),
            reason: "none here".into(),
        }
    }

    /// What is taken where every GPU can be opened, and numbers 1 and 2 are all of them.
    fn taken(request: &DeviceRequest, work: u64) -> Vec<GpuSelection> {
        let mut n_opened = Vec::new();
        let open = |selection, n| {
            n_opened.push(n);
            Ok(selection)
        };
        let choice = choose(request, work, || Ok(vec![1, 2]), open).unwrap();
        assert!(n_opened.iter().all(|&n| n == choice.gpus.len()) && n_opened.len() == choice.gpus.len());
        choice
            .gpus
            .into_iter()
            .map(|(asked, opened)| {
                assert_eq!(asked, opened);
                opened
            })
            .collect()
    }

    #[test]
    fn auto_takes_a_real_gpu_for_large_jobs_only() {
        assert_eq!(taken(&DeviceRequest::Auto, WORTHWHILE_WORK), [GpuSelection::Real]);
        let (all, open) = (
            || unreachable!("looked for all"),
            |_, _| -> Result<GpuSelection> { unreachable!("looked for a GPU") },
        );
        let small = choose(&DeviceRequest::Auto, WORTHWHILE_WORK - 1, all, open).unwrap();
        assert_eq!(small.gpus, []);
        assert_eq!(
            small.reason,
            "auto: 63 million multiply-adds a pass, a GPU pays from 64 million"
        );
    }

    #[test]
    fn what_was_asked_for_is_taken_however_small_the_job() {
        use GpuSelection::Index;
        assert_eq!(taken(&DeviceRequest::Gpu, 1), [GpuSelection::Any]);
        assert_eq!(taken(&DeviceRequest::Gpus(vec![2]), 1), [Index(2)]);
        assert_eq!(taken(&DeviceRequest::Gpus(vec![3, 0]), 1), [Index(3), Index(0)]);
        assert_eq!(taken(&DeviceRequest::AllGpus, 1), [Index(1), Index(2)]);
        assert_eq!(taken(&DeviceRequest::Cpu, u64::MAX), []);
    }

    #[test]
    fn without_a_gpu_auto_goes_on_and_a_demand_fails() {
        let none = || Err(none_here());
        let choice = choose(&DeviceRequest::Auto, u64::MAX, none, absent).unwrap();
        assert_eq!(
            (choice.gpus, choice.reason.as_str()),
            (vec![], "auto: no usable GPU: none here")
        );
        for request in [DeviceRequest::Gpu, DeviceRequest::Gpus(vec![0]), DeviceRequest::AllGpus] {
            let error = choose(&request, u64::MAX, none, absent).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Device);
        }
        // One of several that is not there is missed, and not left out.
        let second = |selection, _| match selection {
            GpuSelection::Index(1) => Err(none_here()),
            found => Ok(found),
        };
        let two = DeviceRequest::Gpus(vec![0, 1]);
        assert_eq!(choose(&two, 1, none, second).unwrap_err().kind(), ErrorKind::Device);
    }

    #[test]
    fn requests_are_read_and_shown_alike() {
        for text in ["auto", "gpu", "gpu:3", "gpu:0,1", "gpu:2,2,0", "gpu:all", "cpu"] {
            assert_eq!(text.parse::<DeviceRequest>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "GPU",
            "gpu:",
            "gpu:-1",
            "gpu:x",
            "gpu:1,",
            "gpu:,1",
            "gpu:0,all",
            "gpus",
            "tpu",
        ] {
            assert!(text.parse::<DeviceRequest>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn several_requests_are_told_apart_from_the_numbers_of_one() {
        let read = |text: &str| -> Result<Vec<String>, String> {
            let DeviceRequests(requests) = text.parse()?;
            Ok(requests.iter().map(DeviceRequest::to_string).collect())
        };
        assert_eq!(
            read("cpu,gpu:0,1,gpu,gpu:2,auto,gpu:all").unwrap(),
            ["cpu", "gpu:0,1", "gpu", "gpu:2", "auto", "gpu:all"]
        );
        for text in ["", "cpu,", "1", "cpu,1", "gpu,1", "gpu:all,1", "gpu:0,,1"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
