//! What a GPU is asked for and what is said of one: plain data, the same with and without GPU support.

use crate::error::{Error, Result};

/// Which adapter to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuSelection {
    /// The best hardware adapter, discrete before integrated; never one that is software on a CPU.
    Real,
    /// The best hardware adapter, or else software on a CPU, for tests.
    Any,
    /// The adapter with this number in [`adapters`](super::gpu::adapters).
    Index(usize),
}

impl std::fmt::Display for GpuSelection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Real | Self::Any => f.write_str("gpu"),
            Self::Index(index) => write!(f, "gpu:{index}"),
        }
    }
}

/// Whether matrix units multiply, where the device has such.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MatrixUnits {
    /// Where they turn out to be faster, in passes of the job itself; never on an adapter that is software on a CPU.
    #[default]
    IfFaster,
    /// Wherever they can. For tests and benches.
    Always,
    /// Nowhere.
    Never,
}

/// Environment variable that says what matrix units are used for: `if-faster`, `always` or `never`.
pub const MATRIX_UNITS_VARIABLE: &str = "KOHORT_MATRIX_UNITS";

impl MatrixUnits {
    /// What [`MATRIX_UNITS_VARIABLE`] says, or else the default.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] where it says anything else.
    pub fn from_environment() -> Result<Self> {
        std::env::var_os(MATRIX_UNITS_VARIABLE)
            .map_or(Ok(Self::default()), |asked| Self::named(&asked.to_string_lossy()))
    }

    fn named(name: &str) -> Result<Self> {
        match name {
            "if-faster" => Ok(Self::IfFaster),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(Error::InvalidParam {
                param: MATRIX_UNITS_VARIABLE,
                value: name.to_owned(),
                reason: "is none of if-faster, always, never".into(),
            }),
        }
    }
}

/// How a GPU is used. No option but `unproven` changes a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GpuOptions {
    /// Device memory that may be taken, in bytes; the rest of the data streams. `None`: a cautious share of what
    /// the device has.
    pub memory_budget: Option<u64>,
    /// Largest part of the data in one buffer, in bytes; at least one block of 64 rows. `None`: 256 MiB.
    pub max_chunk_bytes: Option<u64>,
    /// Threads that make data ready for the device; 0 is one.
    pub threads: usize,
    /// Whether kernels keep the checks of array bounds and loops that trusted kernels go without. For tests.
    pub checked: bool,
    /// Whether iterations are timed by the device's own clock, where it has one. For benches.
    pub timed: bool,
    /// Whether matrix units multiply.
    pub matrix_units: MatrixUnits,
    /// Whether labels are taken as floating point finds them, right or not. For benches, which measure what proof costs.
    pub unproven: bool,
}

/// The best rates of a GPU's memory, and of the way to it.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceCeilings {
    /// Bytes of each buffer that was read or copied.
    pub buffer_bytes: u64,
    /// Whether times are by the device's clock; else by the host's, the way of a submission included.
    pub device_clock: bool,
    /// Bytes read plus bytes written per second, by a kernel that copies.
    pub copy_bytes_per_s: f64,
    /// Bytes per second, by a kernel that reads.
    pub read_bytes_per_s: f64,
    /// Bytes per second from host memory that the device can read to its own, by the host's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_bytes_per_s: Option<f64>,
}

impl DeviceCeilings {
    /// What both GPUs give at best, each for itself at the same time.
    #[must_use]
    pub fn together(self, other: Self) -> Self {
        Self {
            buffer_bytes: self.buffer_bytes.min(other.buffer_bytes),
            device_clock: self.device_clock && other.device_clock,
            copy_bytes_per_s: self.copy_bytes_per_s + other.copy_bytes_per_s,
            read_bytes_per_s: self.read_bytes_per_s + other.read_bytes_per_s,
            upload_bytes_per_s: self
                .upload_bytes_per_s
                .zip(other.upload_bytes_per_s)
                .map(|(one, two)| one + two),
        }
    }
}

/// One adapter of this machine.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AdapterReport {
    /// Its number, for [`GpuSelection::Index`].
    pub index: usize,
    /// What the driver calls it.
    pub name: String,
    /// The graphics interface: `vulkan`, `metal`, `dx12`.
    pub backend: String,
    /// Driver and its version.
    pub driver: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub kind: String,
    /// Whether it is software on a CPU, which only tests want.
    pub software: bool,
    /// Largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// Largest part of a buffer that a kernel sees, in bytes.
    pub max_binding_bytes: u64,
    /// Memory that a workgroup shares, in bytes.
    pub workgroup_bytes: u32,
    /// Most threads in a workgroup.
    pub workgroup_threads: u32,
    /// Smallest and largest number of threads that run in step.
    pub subgroup_threads: (u32, u32),
    /// What it has of the features that kernels can make use of.
    pub features: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_units_are_asked_for_by_name() {
        let [faster, always, never] = ["if-faster", "always", "never"].map(|name| MatrixUnits::named(name).unwrap());
        assert_eq!(
            [faster, always, never],
            [MatrixUnits::IfFaster, MatrixUnits::Always, MatrixUnits::Never]
        );
        let error = MatrixUnits::named("sometimes").unwrap_err();
        assert_eq!(
            error.to_string(),
            "KOHORT_MATRIX_UNITS = sometimes: is none of if-faster, always, never"
        );
    }
}
