//! The kernels' text, and the instances of it that a shape of data calls for.

use super::sums::Sums;
use super::template::expand;

/// Threads of a workgroup of `assign`.
pub(crate) const THREADS: usize = 256;
/// Threads of a workgroup of the other kernels, a power of two.
const LANES: usize = 64;
/// Most features of a row that a thread holds in registers, as quads of rows: 4 registers each.
pub const MAX_NARROW_FEATURES: usize = 32;
/// Most clusters, and most clusters times features, whose sums a thread holds in registers.
const MAX_PRIVATE: (usize, usize) = (8, 64);
/// Bytes of workgroup memory that a kernel takes for a few words.
const FEW_WORDS: usize = 16;
/// Columns of threads in `wide.wgsl`.
const COLUMNS: usize = 16;
/// Quads of rows in a block.
const BLOCK_QUADS: usize = 16;
/// Bytes of a vector of 4.
const VECTOR: usize = 16;

const PASS: &str = include_str!("../../../shaders/shared/pass.wgsl");
const ROWS: &str = include_str!("../../../shaders/shared/rows.wgsl");
const NARROW: &str = include_str!("../../../shaders/narrow.wgsl");
const WIDE: &str = include_str!("../../../shaders/wide.wgsl");
const WORDS: &str = include_str!("../../../shaders/shared/words.wgsl");
const RESOLVE: &str = include_str!("../../../shaders/resolve.wgsl");
const UPDATE: &str = include_str!("../../../shaders/update.wgsl");
const CEILINGS: &str = include_str!("../../../shaders/ceilings.wgsl");

/// What a pass is to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Sums alone: labels are not touched.
    Sums,
    /// Sums; labels are kept, and those that change counted. With `packed`, four labels to a word.
    Labels {
        /// Whether labels have 8 bits each.
        packed: bool,
    },
    /// The two nearest clusters of each row, and no sums.
    Ranked,
}

/// Which kernel holds rows, and how much of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// `narrow.wgsl`: rows in registers.
    Narrow {
        /// Quads of centroids in workgroup memory at a time, a power of two.
        tile_quads: usize,
        /// Whether that is all of them.
        resident: bool,
        /// Clusters whose sums are in registers: all, or 0.
        private: usize,
    },
    /// `wide.wgsl`: rows in workgroup memory.
    Wide {
        /// Quads of centroids that a column of threads scores at a time.
        column_quads: usize,
        /// Whether rows are there whole.
        whole_row: bool,
    },
}

/// All that a kernel's text and constants depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Features of a row.
    pub n_features: usize,
    /// Whether rows have weights.
    pub weighted: bool,
    /// What the pass is to give.
    pub mode: Mode,
    /// The kernel.
    pub kernel: Kernel,
    /// How it adds up.
    pub sums: Sums,
}

impl Variant {
    /// The variant for a shape, on a device with so much workgroup memory.
    #[must_use]
    pub fn new(n_features: usize, n_clusters: usize, weighted: bool, mode: Mode, workgroup_bytes: usize) -> Self {
        let n_entries = n_clusters * (n_features + 1 + usize::from(weighted));
        let mut kernel = Kernel::new(n_features, n_clusters, workgroup_bytes);
        let room = workgroup_bytes - kernel.bytes(n_features);
        let may_be_private = !weighted && n_clusters <= MAX_PRIVATE.0 && n_clusters * n_features <= MAX_PRIVATE.1;
        let sums = match (&mut kernel, mode) {
            (_, Mode::Ranked) => Sums::NONE,
            (Kernel::Narrow { private, .. }, _) if may_be_private => {
                *private = n_clusters;
                Sums::of_private(n_entries, THREADS, room)
            }
            _ => Sums::of_rows(n_entries, weighted, kernel.round_rows(), room),
        };
        Self {
            n_features,
            weighted,
            mode,
            kernel,
            sums,
        }
    }

    /// The kernel `assign`: text and constants.
    #[must_use]
    pub fn assign(&self) -> Shader {
        let mut constants = self.modes();
        constants.extend([
            ("threads", THREADS as f64),
            ("pieces", self.sums.pieces as f64),
            ("split_bits", f64::from(self.sums.split_bits)),
            ("replicas", self.sums.replicas as f64),
            ("sum_words", self.sums.words() as f64),
            ("rounds_per_flush", self.sums.rounds_per_flush as f64),
        ]);
        let text = match self.kernel {
            Kernel::Narrow {
                tile_quads,
                resident,
                private,
            } => {
                constants.push(("resident", flag(resident)));
                let numbers = [
                    ("FEATURES", self.n_features),
                    ("TILE_QUADS", tile_quads),
                    ("PRIVATE", private),
                ];
                expand(NARROW, &numbers)
            }
            Kernel::Wide {
                column_quads,
                whole_row,
            } => {
                let words = self.kernel.block_words(self.n_features);
                constants.extend([("whole_row", flag(whole_row)), ("block_words", words as f64)]);
                expand(WIDE, &[("COLUMN_QUADS", column_quads)])
            }
        };
        Shader {
            group: Group::Pass,
            entry_point: "assign",
            source: format!("{PASS}\n{ROWS}\n{text}"),
            constants,
        }
    }

    /// The kernel `resolve`: text and constants.
    #[must_use]
    pub fn resolve(&self) -> Shader {
        let mut constants = self.modes();
        constants.push(("lanes", LANES as f64));
        Shader {
            group: Group::Pass,
            entry_point: "resolve",
            source: format!("{PASS}\n{WORDS}\n{RESOLVE}"),
            constants,
        }
    }

    fn modes(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("weighted", flag(self.weighted)),
            ("ranked", flag(self.mode == Mode::Ranked)),
            ("kept", flag(matches!(self.mode, Mode::Labels { .. }))),
            ("packed", flag(self.mode == Mode::Labels { packed: true })),
        ]
    }

    /// Bytes of workgroup memory that `assign` takes.
    #[must_use]
    pub fn workgroup_bytes(&self) -> usize {
        self.kernel.bytes(self.n_features) + 4 * self.sums.words()
    }
}

impl Kernel {
    /// The kernel for a shape, its sums in workgroup memory.
    #[must_use]
    pub fn new(n_features: usize, n_clusters: usize, workgroup_bytes: usize) -> Self {
        let n_quads = n_clusters.div_ceil(4);
        if n_features <= MAX_NARROW_FEATURES {
            let most = workgroup_bytes / 4 / (VECTOR * (n_features + 1));
            let tile_quads = n_quads.next_power_of_two().min(1 << most.ilog2());
            return Self::Narrow {
                tile_quads,
                resident: n_quads <= tile_quads,
                private: 0,
            };
        }
        let fits = |column_quads, whole_row| {
            let kernel = Self::Wide {
                column_quads,
                whole_row,
            };
            // A few words for sums as well.
            (kernel.bytes(n_features) + FEW_WORDS <= workgroup_bytes).then_some(kernel)
        };
        let one_is_enough = n_quads <= COLUMNS;
        let first = if one_is_enough { 1 } else { 2 };
        fits(first, true)
            .or_else(|| fits(first, false))
            .or_else(|| fits(2, false))
            .expect("WebGPU's least workgroup memory is enough for a chunk")
    }

    /// Rows that a workgroup takes in one round.
    #[must_use]
    pub fn round_rows(&self) -> usize {
        match self {
            Self::Narrow { .. } => 4 * THREADS,
            Self::Wide { .. } => 4 * BLOCK_QUADS,
        }
    }

    /// Quads of centroids in a tile: the buffer is padded to whole ones.
    #[must_use]
    pub fn tile_quads(&self) -> usize {
        match *self {
            Self::Narrow { tile_quads, .. } => tile_quads,
            Self::Wide { column_quads, .. } => COLUMNS * column_quads,
        }
    }

    /// Vectors of `block` in `wide.wgsl`.
    fn block_words(&self, n_features: usize) -> usize {
        match *self {
            Self::Narrow { .. } => 0,
            Self::Wide { whole_row: true, .. } => n_features * BLOCK_QUADS,
            Self::Wide { column_quads, .. } => 32 / column_quads * BLOCK_QUADS,
        }
    }

    /// Bytes of workgroup memory, without sums.
    fn bytes(&self, n_features: usize) -> usize {
        let vectors = match *self {
            Self::Narrow { tile_quads, .. } => tile_quads * (n_features + 1),
            // Block, tile, and the clusters of the block's rows.
            Self::Wide { .. } => self.block_words(n_features) + 512 + BLOCK_QUADS,
        };
        VECTOR * vectors + FEW_WORDS
    }
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// A kernel between two passes, `update` or `decide`: text and constants.
#[must_use]
pub fn between_passes(entry_point: &'static str) -> Shader {
    Shader {
        group: Group::Iteration,
        entry_point,
        source: format!("{WORDS}\n{UPDATE}"),
        constants: vec![("lanes", LANES as f64)],
    }
}

/// A kernel that measures the device's memory, `fill_memory`, `read_memory` or `copy_memory`: text and constants.
#[must_use]
pub fn memory_kernel(entry_point: &'static str) -> Shader {
    Shader {
        group: Group::Ceiling,
        entry_point,
        source: CEILINGS.into(),
        constants: vec![("threads", THREADS as f64)],
    }
}

/// The bindings that a kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Those of a pass.
    Pass,
    /// Those between passes.
    Iteration,
    /// Those of kernels that measure memory.
    Ceiling,
}

/// A kernel ready to be compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Shader {
    /// Its bindings.
    pub group: Group,
    /// Its entry point.
    pub entry_point: &'static str,
    /// WGSL.
    pub source: String,
    /// Values of its `override` constants.
    pub constants: Vec<(&'static str, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [Mode; 3] = [Mode::Sums, Mode::Labels { packed: true }, Mode::Ranked];

    fn kernel(n_features: usize, n_clusters: usize, workgroup_bytes: usize) -> Kernel {
        Variant::new(n_features, n_clusters, false, Mode::Sums, workgroup_bytes).kernel
    }

    #[test]
    fn shapes_get_the_kernels_made_for_them() {
        let narrow = |tile_quads, resident, private| Kernel::Narrow {
            tile_quads,
            resident,
            private,
        };
        assert_eq!(kernel(8, 8, 48 << 10), narrow(2, true, 8));
        assert_eq!(kernel(32, 3, 48 << 10), narrow(1, true, 0));
        assert_eq!(kernel(16, 64, 48 << 10), narrow(16, true, 0));
        assert_eq!(kernel(32, 1000, 48 << 10), narrow(16, false, 0));
        let wide = |column_quads, whole_row| Kernel::Wide {
            column_quads,
            whole_row,
        };
        assert_eq!(kernel(64, 64, 48 << 10), wide(1, true));
        assert_eq!(kernel(128, 1024, 48 << 10), wide(2, true));
        assert_eq!(kernel(1 << 15, 8, 48 << 10), wide(1, false));
        assert_eq!(kernel(64, 8, 16 << 10), wide(2, false));
    }

    #[test]
    fn workgroup_memory_is_never_overdrawn() {
        for n_features in [1, 4, 16, 31, 32, 33, 64, 100, 128, 1 << 15] {
            for n_clusters in [1, 2, 8, 9, 64, 1000, 1 << 16] {
                for workgroup_bytes in [16 << 10, 32 << 10, 48 << 10] {
                    for (mode, weighted) in MODES.iter().flat_map(|&mode| [(mode, false), (mode, true)]) {
                        let variant = Variant::new(n_features, n_clusters, weighted, mode, workgroup_bytes);
                        assert!(variant.workgroup_bytes() <= workgroup_bytes, "{variant:?}");
                        assert!(variant.kernel.tile_quads() >= 1);
                    }
                }
            }
        }
    }
}
