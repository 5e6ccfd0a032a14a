//! Stands in for the GPU backend in builds without the feature `gpu`: there are no adapters, and none can be opened.

pub use super::gpu_types::{
    AdapterReport, DeviceCeilings, GpuOptions, GpuSelection, MATRIX_UNITS_VARIABLE, MatrixUnits,
};
use super::{Backend, Session};
use crate::error::{Error, Result};
use crate::tiles::TileSet;

/// The GPUs of this machine: none that this build could see.
#[must_use]
pub fn adapters() -> Vec<AdapterReport> {
    Vec::new()
}

/// The numbers of all GPUs.
///
/// # Errors
/// Always [`Error::DeviceNotFound`].
pub fn all() -> Result<Vec<usize>> {
    Err(not_found(&"gpu:all"))
}

fn not_found(asked: &dyn std::fmt::Display) -> Error {
    Error::DeviceNotFound {
        asked: asked.to_string(),
        reason: "kohort was built without GPU support (feature `gpu`)".into(),
    }
}

/// What has to be there on this machine for a GPU to be found, in a sentence.
#[must_use]
pub fn advice() -> String {
    "kohort has to be built with the feature `gpu`".into()
}

/// A GPU backend that cannot be made.
#[derive(Debug)]
pub struct GpuBackend {
    never: std::convert::Infallible,
}

impl GpuBackend {
    /// Says that this build has no GPU support.
    ///
    /// # Errors
    /// Always [`Error::DeviceNotFound`].
    pub fn new(selection: &GpuSelection, _options: GpuOptions) -> Result<Self> {
        Err(not_found(selection))
    }

    /// Whether the adapter is software on a CPU.
    #[must_use]
    pub fn is_software(&self) -> bool {
        match self.never {}
    }

    /// Whether the adapter's own clock is in use.
    #[must_use]
    pub fn has_timestamps(&self) -> bool {
        match self.never {}
    }

    /// Whether the adapter has matrix units that kernels may use.
    #[must_use]
    pub fn has_matrix_units(&self) -> bool {
        match self.never {}
    }

    /// What the adapter's memory gives at best.
    ///
    /// # Errors
    /// None: there is no such backend.
    pub fn ceilings(&self) -> Result<DeviceCeilings> {
        match self.never {}
    }

    /// What the driver calls the adapter.
    #[must_use]
    pub fn adapter_name(&self) -> &str {
        match self.never {}
    }
}

impl Backend for GpuBackend {
    fn name(&self) -> &'static str {
        match self.never {}
    }

    fn description(&self) -> String {
        match self.never {}
    }

    fn open<'d>(&'d self, _data: &'d TileSet, _max_clusters: usize) -> Result<Box<dyn Session + 'd>> {
        match self.never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_gpu_says_so() {
        assert!(adapters().is_empty());
        let error = GpuBackend::new(&GpuSelection::Any, GpuOptions::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no usable GPU for --device gpu: kohort was built without GPU support (feature `gpu`)"
        );
        assert!(
            all()
                .unwrap_err()
                .to_string()
                .starts_with("no usable GPU for --device gpu:all: ")
        );
    }
}
