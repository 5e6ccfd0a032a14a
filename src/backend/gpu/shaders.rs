//! The kernels' text, and the instances of it that a shape of data calls for.

use super::sums::Sums;
use super::template::{List, expand};
use crate::backend::certificate::MATRIX_MARGIN;
use crate::tiles::{n_pairs, row_words};

/// Threads of a workgroup of `assign`.
pub(crate) const THREADS: usize = 256;
/// Threads of a workgroup of the other kernels, a power of two.
const LANES: usize = 64;
/// Most features of a row that a thread holds in registers, as quads of rows: 4 registers each.
pub const MAX_NARROW_FEATURES: usize = 32;
/// Bytes of workgroup memory that a kernel takes for a few words.
const FEW_WORDS: usize = 16;
/// Quads of rows in a block of `wide.wgsl`: as many as a block of the tile layout has, or less.
const ROW_QUADS: [usize; 3] = [16, 8, 4];
/// Vectors of a tile of centroids in `wide.wgsl`.
const TILE_WORDS: usize = 512;
/// Most features of a row that `wide.wgsl` takes at a time where it does not hold rows whole.
const MAX_ROW_CHUNK: usize = 64;
/// Words of workgroup memory that `silhouette.wgsl` takes for a cluster, and for all of them.
const JUDGED_PIECES: usize = 10;
const SIMPLIFIED_PIECES: usize = 4;
/// Quads of rows in a block of `matrix.wgsl`: the more, the fewer threads rank the same row.
const MATRIX_ROW_QUADS: [usize; 3] = [32, 16, 8];
/// Matrices of a row of centroids that are in workgroup memory at a time, if they divide those of a row.
const MATRIX_CHUNKS: [usize; 3] = [4, 2, 1];
/// Fewest clusters that are given to matrix units.
const MIN_MATRIX_CLUSTERS: usize = 16;
/// Most features for which the sums of high digits stay exact: see `certificate`.
pub(crate) const MAX_MATRIX_FEATURES: usize = 1024;
/// Clusters up to a multiple of which there are digits: the largest number that has products at a time.
pub(crate) const PADDED_CLUSTERS: usize = 128;
/// Bytes of a vector of 4.
const VECTOR: usize = 16;

const PASS: &str = include_str!("../../../shaders/shared/pass.wgsl");
const CERTIFICATE: &str = include_str!("../../../shaders/shared/certificate.wgsl");
const ROWS: &str = include_str!("../../../shaders/shared/rows.wgsl");
const BLOCKS: &str = include_str!("../../../shaders/shared/blocks.wgsl");
const NARROW: &str = include_str!("../../../shaders/narrow.wgsl");
const WIDE: &str = include_str!("../../../shaders/wide.wgsl");
const MATRIX: &str = include_str!("../../../shaders/matrix.wgsl");
/// What has to stand before all else in a kernel for matrix units.
const MATRIX_EXTENSIONS: &str = "enable f16;\nenable wgpu_cooperative_matrix;\n";
const WORDS: &str = include_str!("../../../shaders/shared/words.wgsl");
const RESOLVE: &str = include_str!("../../../shaders/resolve.wgsl");
const UPDATE: &str = include_str!("../../../shaders/update.wgsl");
const SILHOUETTE: &str = include_str!("../../../shaders/silhouette.wgsl");
const PROBE: &str = include_str!("../../../shaders/probe.wgsl");
const CEILINGS: &str = include_str!("../../../shaders/ceilings.wgsl");

/// What a pass is to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Sums; labels are kept, and those that change counted. With `packed`, four labels to a word.
    Labels {
        /// Whether labels have 8 bits each.
        packed: bool,
    },
    /// The same from the labels and the sums of the pass before: rows that keep their label are not added.
    Moves {
        /// Whether labels have 8 bits each.
        packed: bool,
        /// Whether rows whose label the high bits of their values prove are read no further.
        coarse: bool,
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
    },
    /// `wide.wgsl`: rows in workgroup memory.
    Wide {
        /// Quads of rows in a block.
        row_quads: usize,
        /// Quads of centroids that a column of threads scores at a time.
        column_quads: usize,
        /// Columns of threads that share the features of a quad of centroids.
        slices: usize,
        /// Features of centroids in workgroup memory at a time.
        chunk: usize,
        /// Whether rows are there whole.
        whole_row: bool,
    },
    /// `matrix.wgsl`: digits of rows in workgroup memory.
    Matrix {
        /// Quads of rows in a block.
        row_quads: usize,
        /// Rows and columns of a matrix.
        side: usize,
        /// Matrices that the features of a row fill.
        steps: usize,
        /// Of these, those of centroids that are in workgroup memory at a time.
        chunk: usize,
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
    /// Whether it takes labels without proof: see [`GpuOptions::unproven`](super::GpuOptions::unproven).
    pub unproven: bool,
}

impl Variant {
    /// The variant for a shape, on a device with so much workgroup memory.
    #[must_use]
    pub fn new(n_features: usize, n_clusters: usize, weighted: bool, mode: Mode, workgroup_bytes: usize) -> Self {
        let mut kernel = Kernel::new(n_features, n_clusters, workgroup_bytes);
        if mode != Mode::Ranked {
            kernel = kernel.with_room(n_features, n_clusters, weighted, workgroup_bytes);
        }
        Self::of_kernel(kernel, n_features, n_clusters, weighted, mode, workgroup_bytes)
    }

    /// The variant for a device that multiplies matrices of `side` rows and columns; `None` for passes that are not of coarse
    /// values, and shapes that do not suit it.
    #[must_use]
    pub fn on_matrix_units(
        n_features: usize,
        n_clusters: usize,
        weighted: bool,
        mode: Mode,
        workgroup_bytes: usize,
        side: usize,
    ) -> Option<Self> {
        if !matches!(mode, Mode::Moves { coarse: true, .. }) {
            return None;
        }
        let kernel = Kernel::on_matrix_units(n_features, n_clusters, workgroup_bytes, side)?;
        let variant = Self::of_kernel(kernel, n_features, n_clusters, weighted, mode, workgroup_bytes);
        Some(variant)
    }

    fn of_kernel(
        kernel: Kernel,
        n_features: usize,
        n_clusters: usize,
        weighted: bool,
        mode: Mode,
        workgroup_bytes: usize,
    ) -> Self {
        let n_entries = n_entries(n_features, n_clusters, weighted);
        let room = workgroup_bytes - kernel.bytes(n_features);
        let sums = match mode {
            Mode::Ranked => Sums::NONE,
            Mode::Moves { .. } => Sums::of_moves(n_entries, weighted, kernel.round_rows(), room),
            Mode::Labels { .. } => Sums::of_rows(n_entries, weighted, kernel.round_rows(), room),
        };
        Self {
            n_features,
            weighted,
            mode,
            kernel,
            sums,
            unproven: false,
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
            ("unproven", flag(self.unproven)),
        ]);
        let mut extensions = "";
        let text = match self.kernel {
            Kernel::Narrow { tile_quads, resident } => {
                constants.push(("resident", flag(resident)));
                let numbers = [
                    ("FEATURES", self.n_features),
                    ("TILE_QUADS", tile_quads),
                    ("LOW_WORDS", row_words(self.n_features) - n_pairs(self.n_features)),
                ];
                expand(NARROW, &numbers, &features_of_words(self.n_features))
            }
            Kernel::Wide {
                row_quads,
                column_quads,
                slices,
                chunk,
                whole_row,
            } => {
                let words = self.kernel.block_words(self.n_features);
                constants.extend([("whole_row", flag(whole_row)), ("block_words", words as f64)]);
                let numbers = [
                    ("ROW_QUADS", row_quads),
                    ("COLUMN_QUADS", column_quads),
                    ("SLICES", slices),
                    ("CHUNK", chunk),
                ];
                expand(WIDE, &numbers, &[]) + BLOCKS
            }
            Kernel::Matrix {
                row_quads,
                side,
                steps,
                chunk,
            } => {
                extensions = MATRIX_EXTENSIONS;
                constants.push(("margin", f64::from(MATRIX_MARGIN) / 256.0));
                let numbers = [
                    ("ROW_QUADS", row_quads),
                    ("SIDE", side),
                    ("STEPS", steps),
                    ("CHUNK", chunk),
                ];
                expand(MATRIX, &numbers, &[matrix_shape(side)]) + BLOCKS
            }
        };
        Shader {
            group: Group::Pass,
            entry_point: "assign",
            // Vectors come first in workgroup memory: not every driver would see to it that they can be read whole.
            source: format!("{extensions}{PASS}\n{CERTIFICATE}\n{text}\n{ROWS}"),
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
            source: format!("{PASS}\n{CERTIFICATE}\n{WORDS}\n{RESOLVE}"),
            constants,
        }
    }

    /// Turns of all loops of `assign` that a thread makes in a round, at most, within a factor of 2.
    #[must_use]
    pub fn loops_per_round(&self, n_clusters: usize) -> usize {
        let (d, n_quads) = (self.n_features, n_clusters.div_ceil(4));
        let by_threads = |n: usize| n.div_ceil(THREADS);
        let tile_quads = self.kernel.tile_quads();
        let n_tiles = n_quads.div_ceil(tile_quads);
        // What goes through the four rows of a quad, and what adds them.
        let few = 24;
        let flush = by_threads(self.sums.n_entries) * (self.sums.replicas + 1);
        let scoring = match self.kernel {
            Kernel::Narrow { .. } => n_quads + n_tiles * (1 + by_threads(tile_quads * (d + 1))) + 4 * in_fours(d),
            Kernel::Wide {
                row_quads,
                slices,
                chunk,
                whole_row,
                ..
            } => {
                let (loads, by_features) = (by_threads(in_fours(d) * row_quads), by_threads(d * row_quads));
                let of_chunk = 2 + by_threads(chunk * tile_quads) + chunk.div_ceil(slices);
                let of_tile = d.div_ceil(chunk) * of_chunk + if whole_row { 0 } else { loads } + 8;
                // Rows are loaded, squared and added; before that, one thread looks at all quads.
                n_tiles * of_tile + loads + 2 * by_features + row_quads + 8
            }
            Kernel::Matrix {
                row_quads,
                side,
                steps,
                chunk,
            } => {
                // Loading, adding up norms, rows that move; one thread looks at all quads. Subgroups are at least as many
                // as units of work where loops are counted.
                let loads = by_threads(row_quads * steps * side / 2);
                let tile = Kernel::matrix_tile(row_quads);
                let of_chunk = chunk + by_threads(tile * chunk * side / 2) + 1;
                n_clusters.div_ceil(tile) * (steps / chunk * of_chunk + 4)
                    + 2 * loads
                    + 40
                    + by_threads(d * 4 * row_quads)
                    + row_quads
                    + 8
            }
        };
        few + scoring + flush.div_ceil(self.sums.rounds_per_flush)
    }

    /// Turns of all loops of `resolve` that a thread makes for a row, at most, within a factor of 2.
    #[must_use]
    pub fn loops_per_doubtful_row(&self, n_clusters: usize) -> usize {
        let (d, n_quads) = (self.n_features, n_clusters.div_ceil(4));
        // A row that a thread looks at alone keeps the others waiting.
        let alone = in_fours(d) + n_quads * (in_fours(d) + 5) + 2 * (d + 2);
        let together = n_clusters.div_ceil(LANES) * (d + in_fours(d) + 1) + 2 * (d + 2).div_ceil(LANES) + 8;
        alone + together
    }

    fn modes(&self) -> Vec<(&'static str, f64)> {
        let (packed, moves, coarse) = match self.mode {
            Mode::Labels { packed } => (packed, false, false),
            Mode::Moves { packed, coarse } => (packed, true, coarse),
            Mode::Ranked => (false, false, false),
        };
        vec![
            ("weighted", flag(self.weighted)),
            ("ranked", flag(self.mode == Mode::Ranked)),
            ("packed", flag(packed)),
            ("moves", flag(moves)),
            ("coarse", flag(coarse)),
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
            };
        }
        let whole = ROW_QUADS.map(|row_quads| Self::whole_rows(row_quads, n_quads));
        let fits = |kernel: &Self| kernel.bytes(n_features) + FEW_WORDS <= workgroup_bytes;
        whole
            .into_iter()
            .find(fits)
            .unwrap_or_else(|| Self::rows_by_chunks(n_quads, workgroup_bytes))
    }

    /// `matrix.wgsl` for a shape, where it suits it.
    fn on_matrix_units(n_features: usize, n_clusters: usize, workgroup_bytes: usize, side: usize) -> Option<Self> {
        if n_clusters < MIN_MATRIX_CLUSTERS || n_features > MAX_MATRIX_FEATURES {
            return None;
        }
        let steps = n_features.div_ceil(side);
        let chunks = MATRIX_CHUNKS.into_iter().filter(|&chunk| steps.is_multiple_of(chunk));
        let kernels = MATRIX_ROW_QUADS.into_iter().flat_map(|row_quads| {
            chunks.clone().map(move |chunk| Self::Matrix {
                row_quads,
                side,
                steps,
                chunk,
            })
        });
        kernels
            .into_iter()
            .find(|kernel| kernel.bytes(n_features) + FEW_WORDS <= workgroup_bytes)
    }

    /// Clusters whose products `matrix.wgsl` has in workgroup memory at a time.
    fn matrix_tile(row_quads: usize) -> usize {
        4 * THREADS / row_quads
    }

    /// Most quads of centroids that a variant for up to `n_clusters` clusters pads its tiles to.
    pub(crate) fn most_quads(n_features: usize, n_clusters: usize, workgroup_bytes: usize) -> usize {
        let n_quads = n_clusters.div_ceil(4);
        let padded = |kernel: Self| n_quads.next_multiple_of(kernel.tile_quads());
        match Self::new(n_features, n_clusters, workgroup_bytes) {
            Self::Wide { whole_row: true, .. } => ROW_QUADS
                .map(|row_quads| padded(Self::whole_rows(row_quads, n_quads)))
                .into_iter()
                .fold(0, usize::max),
            kernel => padded(kernel),
        }
    }

    /// `wide.wgsl` for so many quads of centroids.
    fn whole_rows(row_quads: usize, n_quads: usize) -> Self {
        let columns = THREADS / row_quads;
        let column_quads = if n_quads <= columns { 1 } else { 2 };
        let slices = (columns / n_quads.next_power_of_two()).max(1);
        Self::Wide {
            row_quads,
            column_quads,
            slices,
            chunk: TILE_WORDS / (columns / slices * column_quads),
            whole_row: true,
        }
    }

    /// The same for rows that fit into no workgroup memory.
    fn rows_by_chunks(n_quads: usize, workgroup_bytes: usize) -> Self {
        let mut kernel = Self::whole_rows(ROW_QUADS[0], n_quads);
        if let Self::Wide {
            row_quads,
            chunk,
            whole_row,
            ..
        } = &mut kernel
        {
            // Beside a tile, the clusters of the rows and a few words.
            let room = workgroup_bytes / VECTOR - TILE_WORDS - 3 * *row_quads;
            *chunk = (1 << (room / *row_quads).ilog2()).min(MAX_ROW_CHUNK).min(*chunk);
            *whole_row = false;
        }
        kernel
    }

    /// Smaller blocks of rows, where that makes room in workgroup memory for sums that would else go to the device's.
    fn with_room(self, n_features: usize, n_clusters: usize, weighted: bool, workgroup_bytes: usize) -> Self {
        let Self::Wide {
            row_quads,
            whole_row: true,
            ..
        } = self
        else {
            return self;
        };
        let n_entries = n_entries(n_features, n_clusters, weighted);
        let has_room = |kernel: &Self| {
            let room = workgroup_bytes - kernel.bytes(n_features);
            Sums::of_rows(n_entries, weighted, kernel.round_rows(), room) != Sums::NONE
        };
        ROW_QUADS
            .into_iter()
            .filter(|&smaller| smaller <= row_quads)
            .map(|row_quads| Self::whole_rows(row_quads, n_clusters.div_ceil(4)))
            .find(has_room)
            .unwrap_or(self)
    }

    /// Rows that a workgroup takes in one round.
    #[must_use]
    pub fn round_rows(&self) -> usize {
        match self {
            Self::Narrow { .. } => 4 * THREADS,
            Self::Wide { row_quads, .. } | Self::Matrix { row_quads, .. } => 4 * row_quads,
        }
    }

    /// Quads of centroids in a tile: the buffer is padded to whole ones.
    #[must_use]
    pub fn tile_quads(&self) -> usize {
        match *self {
            Self::Narrow { tile_quads, .. } => tile_quads,
            Self::Wide {
                row_quads,
                column_quads,
                slices,
                ..
            } => THREADS / row_quads / slices * column_quads,
            // Its digits are padded by themselves.
            Self::Matrix { .. } => 1,
        }
    }

    /// Vectors of `block` in `wide.wgsl`.
    fn block_words(&self, n_features: usize) -> usize {
        match *self {
            Self::Narrow { .. } | Self::Matrix { .. } => 0,
            Self::Wide {
                row_quads,
                whole_row: true,
                ..
            } => n_features * row_quads,
            Self::Wide { row_quads, chunk, .. } => chunk * row_quads,
        }
    }

    /// Bytes of workgroup memory, without sums.
    fn bytes(&self, n_features: usize) -> usize {
        let vectors = match *self {
            Self::Narrow { tile_quads, .. } => tile_quads * (n_features + 1),
            // Block, tile, and the clusters that the block's rows go to and come from.
            Self::Wide { row_quads, .. } => self.block_words(n_features) + TILE_WORDS + 2 * row_quads,
            // Digits, those of a tile, products, halves of norms, and the same clusters.
            Self::Matrix {
                row_quads,
                side,
                steps,
                chunk,
            } => {
                let (rows, tile) = (4 * row_quads, Self::matrix_tile(row_quads));
                let words = rows * (steps * side + 8) + tile * (chunk * side + 4) + tile * (rows + 4) + tile;
                words / 4 + 2 * row_quads
            }
        };
        VECTOR * vectors + FEW_WORDS
    }
}

/// Sums of all clusters: of each feature, of rows and, where they have weights, of these.
fn n_entries(n_features: usize, n_clusters: usize, weighted: bool) -> usize {
    n_clusters * (n_features + 1 + usize::from(weighted))
}

/// Turns of a loop that goes through features by fours, and then one by one.
fn in_fours(n_features: usize) -> usize {
    n_features / 4 + n_features % 4
}

/// Which features stand in which words of a row: see `shaders/narrow.wgsl`.
fn features_of_words(n_features: usize) -> [List; 2] {
    let pairs = (0..n_features / 2).map(|pair| vec![pair, pair / 2, 2 * pair, 2 * pair + 1]);
    let lone = (n_features % 2 == 1).then(|| vec![n_features / 2, n_features - 1]);
    [("PAIRS", pairs.collect()), ("LONE", lone.into_iter().collect())]
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

/// A kernel that judges clusters, `norms` or `silhouettes`: text and constants.
#[must_use]
pub fn judging(entry_point: &'static str, n_clusters: usize, weighted: bool, packed: bool) -> Shader {
    Shader {
        group: Group::Pass,
        entry_point,
        source: format!("{PASS}\n{WORDS}\n{SILHOUETTE}"),
        constants: vec![
            ("weighted", flag(weighted)),
            ("ranked", flag(false)),
            ("packed", flag(packed)),
            ("moves", flag(false)),
            ("coarse", flag(false)),
            ("threads", THREADS as f64),
            ("slot_words", judging_words(n_clusters) as f64),
        ],
    }
}

/// Words of workgroup memory that such a kernel takes.
#[must_use]
pub fn judging_words(n_clusters: usize) -> usize {
    JUDGED_PIECES * n_clusters + SIMPLIFIED_PIECES
}

/// The kernel that tries matrix units with matrices of `side` rows and columns: text and constants.
#[must_use]
pub fn probe(side: usize, turns: usize) -> Shader {
    let text = expand(PROBE, &[("SIDE", side), ("TURNS", turns)], &[matrix_shape(side)]);
    Shader {
        group: Group::Probe,
        entry_point: "probe",
        source: format!("{MATRIX_EXTENSIONS}{text}"),
        constants: vec![("threads", THREADS as f64)],
    }
}

/// The list `SHAPE` of kernels for matrix units.
fn matrix_shape(side: usize) -> List {
    ("SHAPE", vec![vec![side, side]])
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
    /// Those of the kernel that tries matrix units.
    Probe,
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

    const MODES: [Mode; 3] = [
        Mode::Labels { packed: true },
        Mode::Moves {
            packed: true,
            coarse: true,
        },
        Mode::Ranked,
    ];

    fn kernel(n_features: usize, n_clusters: usize, workgroup_bytes: usize) -> Kernel {
        Variant::new(
            n_features,
            n_clusters,
            false,
            Mode::Labels { packed: true },
            workgroup_bytes,
        )
        .kernel
    }

    #[test]
    fn shapes_get_the_kernels_made_for_them() {
        let narrow = |tile_quads, resident| Kernel::Narrow { tile_quads, resident };
        assert_eq!(kernel(8, 8, 48 << 10), narrow(2, true));
        assert_eq!(kernel(16, 64, 48 << 10), narrow(16, true));
        assert_eq!(kernel(32, 1000, 48 << 10), narrow(16, false));
        let wide = |row_quads, column_quads, slices, chunk, whole_row| Kernel::Wide {
            row_quads,
            column_quads,
            slices,
            chunk,
            whole_row,
        };
        assert_eq!(kernel(33, 64, 48 << 10), wide(16, 1, 1, 32, true));
        // Few clusters: columns share the features.
        assert_eq!(kernel(64, 8, 48 << 10), wide(16, 1, 8, 256, true));
        // Sums would find no room beside blocks of 64 rows.
        assert_eq!(kernel(140, 16, 48 << 10), wide(8, 1, 8, 128, true));
        // They find none in any case.
        assert_eq!(kernel(128, 1024, 48 << 10), wide(16, 2, 1, 16, true));
        assert_eq!(kernel(600, 8, 48 << 10), wide(4, 1, 32, 256, true));
        assert_eq!(kernel(1 << 15, 8, 48 << 10), wide(16, 1, 8, 64, false));
        assert_eq!(kernel(64, 8, 16 << 10), wide(4, 1, 32, 256, true));
    }

    #[test]
    fn workgroup_memory_is_never_overdrawn() {
        for n_features in [1, 4, 16, 31, 32, 33, 64, 100, 128, 300, 600, 1 << 15] {
            for n_clusters in [1, 2, 8, 9, 64, 1000, 1 << 16] {
                for workgroup_bytes in [16 << 10, 32 << 10, 48 << 10] {
                    for (mode, weighted) in MODES.iter().flat_map(|&mode| [(mode, false), (mode, true)]) {
                        let variant = Variant::new(n_features, n_clusters, weighted, mode, workgroup_bytes);
                        assert!(variant.workgroup_bytes() <= workgroup_bytes, "{variant:?}");
                        let padded = n_clusters.div_ceil(4).next_multiple_of(variant.kernel.tile_quads());
                        for most in [n_clusters, 3 * n_clusters, 1 << 17] {
                            assert!(padded <= Kernel::most_quads(n_features, most, workgroup_bytes));
                        }
                    }
                }
            }
        }
    }
}
