//! The GPU backend: WGSL kernels through wgpu, with nothing beyond WebGPU's core, so that any vendor's GPU will do; and,
//! beside them, kernels for matrix units, where there are such and they are faster.
//!
//! Kernels score in `f32` and prove what they find ([`certificate`](super::certificate)); rows in doubt are decided
//! by a second kernel in exact integers. Sums are exact natural numbers in words of 32 bits, added with carry by
//! atomics, so their order cannot matter. The kernels' text is in `shaders/`.

use std::sync::OnceLock;

mod adapter;
mod advice;
mod buffers;
mod ceilings;
mod clock;
mod device;
mod judge;
#[doc(hidden)]
pub mod layout;
mod lloyd;
mod matrix_units;
mod pipeline_cache;
mod plan;
mod session;
#[doc(hidden)]
pub mod shaders;
#[doc(hidden)]
pub mod sums;
mod template;

pub use super::gpu_types::{
    AdapterReport, DeviceCeilings, GpuOptions, GpuSelection, MATRIX_UNITS_VARIABLE, MatrixUnits,
};
use super::silhouette::{Judge, Labelled};
use super::{Backend, DeviceTime, Session};
use crate::error::Result;
use crate::tiles::TileSet;
use device::Device;
use judge::GpuJudge;
use session::GpuSession;

/// The GPUs of this machine, in the order of their numbers; software adapters are among them.
#[must_use]
pub fn adapters() -> Vec<AdapterReport> {
    let (_instance, adapters) = adapter::enumerate();
    adapters
        .iter()
        .enumerate()
        .map(|(i, a)| adapter::report(i, a))
        .collect()
}

/// The numbers of all adapters of the best kind there is, each card once: discrete ones where there are any, software ones
/// where there is nothing else.
///
/// # Errors
/// [`DeviceNotFound`](crate::Error::DeviceNotFound) where there are none.
pub fn all() -> Result<Vec<usize>> {
    adapter::all()
}

/// What has to be there on this machine for a GPU to be found, in a sentence.
#[must_use]
pub fn advice() -> String {
    advice::advice()
}

/// The backend that runs passes on a GPU.
pub struct GpuBackend {
    selection: GpuSelection,
    device: Device,
    /// The same adapter opened again, after the first device was lost.
    second: OnceLock<Device>,
    name: String,
    description: String,
    software: bool,
    budget: u64,
    options: GpuOptions,
}

impl std::fmt::Debug for GpuBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GpuBackend")
            .field("description", &self.description)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl GpuBackend {
    /// Opens the adapter that `selection` means.
    ///
    /// # Errors
    /// [`DeviceNotFound`](crate::Error::DeviceNotFound) with what is missing,
    /// [`DeviceLost`](crate::Error::DeviceLost) where the driver refuses.
    pub fn new(selection: &GpuSelection, options: GpuOptions) -> Result<Self> {
        let adapter = adapter::choose(selection)?;
        let report = adapter::report(0, &adapter);
        let budget = options
            .memory_budget
            .unwrap_or_else(|| adapter::default_budget(&adapter));
        let software = if report.software { ", software on the CPU" } else { "" };
        Ok(Self {
            selection: *selection,
            device: Device::open(&adapter, &options)?,
            second: OnceLock::new(),
            description: format!("{} ({}, {}{software})", report.name, report.backend, report.driver),
            name: report.name,
            software: report.software,
            budget,
            options,
        })
    }

    /// The device to open sessions on: a new one, once, where the first is lost.
    fn device(&self) -> Result<&Device> {
        if !self.device.is_lost() {
            return Ok(&self.device);
        }
        if let Some(second) = self.second.get() {
            return Ok(second);
        }
        let adapter = adapter::choose(&self.selection)?;
        if adapter::report(0, &adapter).name != self.name {
            return Err(device::lost("its adapter is gone"));
        }
        let second = Device::open(&adapter, &self.options)?;
        Ok(self.second.get_or_init(|| second))
    }

    /// Whether the adapter is software on a CPU.
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.software
    }

    /// Whether the adapter's own clock is in use: [`GpuOptions::timed`], on an adapter that has one.
    #[must_use]
    pub fn has_timestamps(&self) -> bool {
        self.device.has_timestamps()
    }

    /// Whether the adapter has matrix units that kernels may use: [`GpuOptions::matrix_units`], on an adapter that lists the
    /// matrices they need and multiplies them right.
    #[must_use]
    pub fn has_matrix_units(&self) -> bool {
        self.device.matrix_side().is_some()
    }

    /// What the adapter's memory gives at best; takes up to 2 GiB of it for that time.
    ///
    /// # Errors
    /// Where the device fails, or has no memory left.
    pub fn ceilings(&self) -> Result<DeviceCeilings> {
        self.device
            .guarded(|| ceilings::measure(&self.device, self.software, self.budget))
    }

    /// What the driver calls the adapter.
    #[must_use]
    pub fn adapter_name(&self) -> &str {
        &self.name
    }
}

impl Backend for GpuBackend {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn description(&self) -> String {
        self.description.clone()
    }

    fn memory_budget(&self) -> Option<u64> {
        Some(self.budget)
    }

    fn take_device_time(&self) -> Option<DeviceTime> {
        Some(self.device.take_time()).filter(|time| time.n_iter > 0)
    }

    fn judge<'d>(&'d self, rows: Labelled<'d>) -> Result<Option<Box<dyn Judge + 'd>>> {
        let device = self.device()?;
        device.guarded(|| {
            let judge = GpuJudge::open(device, rows, self.budget, &self.options)?;
            Ok(judge.map(|judge| Box::new(judge) as Box<dyn Judge + 'd>))
        })
    }

    fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        let device = self.device()?;
        device.guarded(|| {
            let session = GpuSession::open(device, data, max_clusters, self.budget, &self.options)?;
            Ok(Box::new(session) as Box<dyn Session + 'd>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiles::Centroids;

    /// A GPU that is lost when a test wants it.
    struct Losable(&'static GpuBackend);

    impl Backend for Losable {
        fn name(&self) -> &'static str {
            self.0.name()
        }

        fn description(&self) -> String {
            self.0.description()
        }

        fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
            self.0.open(data, max_clusters)
        }
    }

    #[test]
    fn a_gpu_that_is_lost_leaves_its_rows_to_the_other() {
        use crate::backend::joint::JointBackend;
        use crate::backend::scalar::ScalarBackend;

        let open = || GpuBackend::new(&GpuSelection::Any, GpuOptions::default()).ok();
        let values: Vec<f32> = (0..2000).map(|at| (at * at % 997) as f32).collect();
        let data = TileSet::from_rows(&values, 2, None, 4096);
        let start = Centroids::on_rows(2, &[0, 0, 500, 400, 900, 990]);
        let mut expected = ScalarBackend.open(&data, 3).unwrap();
        let first = expected.assign(&start).unwrap();
        let second = expected.assign(&first.partial.centroids(&start)).unwrap();
        assert!(second.n_moved > 0);
        for lost in 0..2 {
            let (Some(a), Some(b)) = (open(), open()) else { return };
            let gpus: [&'static GpuBackend; 2] = [Box::leak(Box::new(a)), Box::leak(Box::new(b))];
            let named = gpus.map(|gpu| (String::from("gpu"), Box::new(Losable(gpu)) as Box<dyn Backend>));
            let both = JointBackend::new(named.into(), 0);
            let mut session = both.open(&data, 3).unwrap();
            let partial = session.assign(&start).unwrap().partial;
            assert_eq!(partial, first.partial);
            gpus[lost].device.device.destroy();
            let pass = session.assign(&partial.centroids(&start)).unwrap();
            assert_eq!((&pass.partial, pass.n_moved), (&second.partial, second.n_moved));
            assert_eq!(session.labels().unwrap(), expected.labels().unwrap());
            let notices = session.notices();
            assert!(
                notices.len() == 1 && notices[0].contains("went on with gpu"),
                "{notices:?}"
            );
            // With the other one lost as well, there is none.
            gpus[1 - lost].device.device.destroy();
            let error = session.two_nearest(&start).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Device, "{error}");
            // Another session begins with both, opened again.
            let again = both.open(&data, 3).unwrap().assign(&start).unwrap();
            assert_eq!(again.partial, first.partial);
        }
    }

    #[test]
    fn a_lost_device_is_opened_again_once() {
        let Ok(backend) = GpuBackend::new(&GpuSelection::Any, GpuOptions::default()) else {
            return; // tests/gpu_parity.rs says so, or fails where a GPU is demanded
        };
        let data = TileSet::zeros(100, 3, false, usize::MAX);
        let centroids = Centroids::on_rows(3, &[0; 6]);
        let mut session = backend.open(&data, 2).unwrap();
        let pass = session.assign(&centroids).unwrap();
        backend.device.device.destroy();
        let error = session.assign(&centroids).unwrap_err();
        assert!(matches!(error, crate::Error::DeviceLost { .. }), "{error}");
        for _ in 0..2 {
            assert_eq!(backend.open(&data, 2).unwrap().assign(&centroids).unwrap(), pass);
        }
        let second = backend.second.get().unwrap();
        second.device.destroy();
        let third = backend
            .open(&data, 2)
            .and_then(|mut session| session.assign(&centroids));
        assert!(third.is_err(), "there is no third");
    }
}
