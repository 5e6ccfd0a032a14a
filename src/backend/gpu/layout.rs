//! The host's side of the shaders' structs, bindings and buffers. `tests/shader_layout.rs` holds both sides together.

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::shaders::PADDED_CLUSTERS;
use crate::backend::lloyd::LloydEnd;
use crate::tiles::Centroids;

/// Makes a struct as the shader sees it, and the table of its fields for the test that compares the two.
macro_rules! wgsl_struct {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        impl $name {
            /// Name, span in bytes, and name and offset of each field.
            #[must_use]
            pub fn table() -> StructTable {
                StructTable {
                    name: stringify!($name),
                    span: size_of::<Self>(),
                    fields: vec![$((stringify!($field), std::mem::offset_of!($name, $field), stringify!($type))),*],
                }
            }
        }
    };
}

/// How a struct lies in memory on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructTable {
    /// Its name, the same in WGSL.
    pub name: &'static str,
    /// Its size in bytes.
    pub span: usize,
    /// Name, offset in bytes and scalar type of each field.
    pub fields: Vec<(&'static str, usize, &'static str)>,
}

wgsl_struct! {
    /// What one dispatch is told; `shaders/shared/pass.wgsl` says what the fields mean.
    pub struct Params {
        /// First row, inside the part.
        first_row: u32,
        /// Rows of the dispatch.
        n_rows: u32,
        /// Features.
        n_features: u32,
        /// Clusters.
        n_clusters: u32,
        /// Rounds that a workgroup of `assign` takes at a time.
        rounds: u32,
        /// Times that it does so, at most.
        max_takes: u32,
        /// Workgroups of `resolve`.
        resolve_groups: u32,
        /// First of this dispatch's words of the totals.
        list: u32,
        /// Word of the totals where the sums start.
        first_total: u32,
        /// Words of a row.
        row_words: u32,
        /// Factor of the certificate.
        factor: f32,
        /// Reach of coarse values.
        reach: f32,
        /// Half-word of `centroids` where digits start.
        digits: u32,
    }
}

wgsl_struct! {
    /// What `update` and `decide` are told; `shaders/update.wgsl` says what the fields mean.
    pub struct LoopParams {
        /// Features.
        n_features: u32,
        /// Clusters.
        n_clusters: u32,
        /// Columns of totals per cluster.
        width: u32,
        /// Word of the totals where the sums start.
        first_total: u32,
        /// Workgroups of `update`.
        groups: u32,
        /// Words of `dispatch_args`.
        arg_words: u32,
        /// Words of an iteration in `history`.
        slot_words: u32,
        /// Whether there is a limit.
        limited: u32,
        /// Low word of the largest shift at which the centroids rest.
        limit_low: u32,
        /// Its middle word.
        limit_mid: u32,
        /// Its high word.
        limit_high: u32,
        /// Word of `centroids` where digits start.
        digits: u32,
        /// Matrices that the digits of a row fill; 0 where there are none.
        steps: u32,
        /// Rows and columns of a matrix.
        side: u32,
    }
}

wgsl_struct! {
    /// What the kernels that measure memory are told; `shaders/ceilings.wgsl` says what the fields mean.
    pub struct CeilingParams {
        /// Vectors of a buffer.
        n_vectors: u32,
        /// Threads of the dispatch.
        stride: u32,
    }
}

/// What a binding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingKind {
    /// A uniform struct, bound with a dynamic offset.
    Uniform,
    /// A storage buffer that is only read.
    Read,
    /// A storage buffer that is read and written.
    ReadWrite,
}

/// The bindings of `update` and `decide`.
pub const LOOP_BINDINGS: [(&str, BindingKind); 7] = [
    ("loop_params", BindingKind::Uniform),
    ("totals", BindingKind::ReadWrite),
    ("centroids", BindingKind::ReadWrite),
    ("centroids_exact", BindingKind::ReadWrite),
    ("history", BindingKind::ReadWrite),
    ("control", BindingKind::ReadWrite),
    ("dispatch_args", BindingKind::ReadWrite),
];

/// The bindings of the kernels that measure memory.
pub const CEILING_BINDINGS: [(&str, BindingKind); 4] = [
    ("ceiling_params", BindingKind::Uniform),
    ("source", BindingKind::Read),
    ("target_buffer", BindingKind::ReadWrite),
    ("checksum", BindingKind::ReadWrite),
];

/// The bindings of the kernel that tries matrix units.
pub const PROBE_BINDINGS: [(&str, BindingKind); 2] =
    [("operands", BindingKind::Read), ("results", BindingKind::ReadWrite)];

/// The bindings of group 0, in order: their names in WGSL and what they are. All kernels of a pass have the same.
pub const BINDINGS: [(&str, BindingKind); 9] = [
    ("params", BindingKind::Uniform),
    ("tiles", BindingKind::Read),
    ("weights", BindingKind::Read),
    ("centroids", BindingKind::Read),
    ("centroids_exact", BindingKind::Read),
    ("labels", BindingKind::ReadWrite),
    ("beside", BindingKind::ReadWrite),
    ("doubtful", BindingKind::ReadWrite),
    ("totals", BindingKind::ReadWrite),
];

/// Bytes of a word, on which every storage buffer is built.
pub(crate) const WORD: u64 = 4;
/// Words of one sum.
pub(crate) const SUM_WORDS: usize = 3;
/// Words of a dispatch: the length of its list, the rounds that are taken, the rows that were decided exactly, and those that
/// were passed over.
pub(crate) const LIST_WORDS: usize = 4;
/// Score of a cluster that does not exist; above `FARTHER` of `shaders/shared/rows.wgsl`.
const PADDING_SCORE: f32 = 1e37;
/// What `shaders/shared/pass.wgsl` adds to every grid value (`SHIFT`).
const SHIFT: i128 = 1 << 23;

/// Where things stand in `totals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TotalsLayout {
    pub(crate) n_lists: usize,
    pub(crate) n_clusters: usize,
    pub(crate) n_features: usize,
    pub(crate) weighted: bool,
}

impl TotalsLayout {
    /// Columns per cluster.
    pub(crate) fn width(&self) -> usize {
        self.n_features + 1 + usize::from(self.weighted)
    }

    /// Sums in columns of clusters, without the one of rows moved.
    pub(crate) fn n_entries(&self) -> usize {
        self.n_clusters * self.width()
    }

    /// Word where the sums start: after the lists and the drift.
    pub(crate) fn first_total(&self) -> usize {
        LIST_WORDS * self.n_lists + 1
    }

    /// Words in all.
    pub(crate) fn n_words(&self) -> usize {
        self.first_total() + SUM_WORDS * (1 + self.n_entries())
    }

    /// Rows that `assign` left in doubt: the lengths of all lists.
    pub(crate) fn n_left(&self, words: &[u32]) -> u64 {
        self.of_lists(words, 0)
    }

    /// Rows that floating point did not decide.
    pub(crate) fn n_doubtful(&self, words: &[u32]) -> u64 {
        self.of_lists(words, 2)
    }

    /// The drift under which the pass was made.
    pub(crate) fn drift(&self, words: &[u32]) -> f32 {
        f32::from_bits(words[self.first_total() - 1])
    }

    /// Rows that kept their labels unseen.
    pub(crate) fn n_passed_over(&self, words: &[u32]) -> u64 {
        self.of_lists(words, 3)
    }

    /// One of the words of all dispatches, summed.
    fn of_lists(&self, words: &[u32], which: usize) -> u64 {
        let of_each = words[..LIST_WORDS * self.n_lists]
            .iter()
            .skip(which)
            .step_by(LIST_WORDS);
        of_each.map(|&n| u64::from(n)).sum()
    }

    /// Rows moved.
    pub(crate) fn n_moved(&self, words: &[u32]) -> u64 {
        self.sum(words, 0) as u64
    }

    /// Rows, weight and sums of a cluster, the shift of the sums taken back.
    pub(crate) fn cluster(&self, words: &[u32], cluster: usize) -> (u64, u64, impl Iterator<Item = i128>) {
        let first = 1 + cluster * self.width();
        let count = self.sum(words, first + self.n_features) as u64;
        let weight = if self.weighted {
            self.sum(words, first + self.n_features + 1) as u64
        } else {
            count
        };
        let sums = (first..first + self.n_features)
            .map(move |entry| self.sum(words, entry) as i128 - i128::from(weight) * SHIFT);
        (count, weight, sums)
    }

    fn sum(&self, words: &[u32], entry: usize) -> u128 {
        let first = self.first_total() + SUM_WORDS * entry;
        (0..SUM_WORDS).map(|i| u128::from(words[first + i]) << (32 * i)).sum()
    }
}

/// Words of `control`.
pub(crate) const CONTROL_WORDS: usize = 8;

/// What `control` says after a submission: how many iterations were done, and why the run ended, if it did.
pub(crate) fn control(words: &[u32]) -> (usize, Option<LloydEnd>) {
    let end = match words[0] {
        1 => Some(LloydEnd::EmptyCluster),
        2 => Some(LloydEnd::Converged),
        3 => Some(LloydEnd::Rests),
        _ => None,
    };
    (words[1] as usize, end)
}

/// Where things stand in one iteration of `history`: the centroids of its pass, then its totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryLayout {
    pub(crate) totals: TotalsLayout,
}

impl HistoryLayout {
    /// Words of an iteration.
    pub(crate) fn n_words(&self) -> usize {
        self.n_coordinates() + self.totals.n_words()
    }

    /// The centroids of an iteration, and its totals.
    pub(crate) fn split<'w>(&self, words: &'w [u32]) -> (Centroids, &'w [u32]) {
        let (centroids, totals) = words.split_at(self.n_coordinates());
        let values = centroids.iter().map(|&word| word.cast_signed()).collect();
        (Centroids::new(self.totals.n_features, values), totals)
    }

    /// Its totals alone.
    pub(crate) fn totals_of<'w>(&self, words: &'w [u32]) -> &'w [u32] {
        &words[self.n_coordinates()..]
    }

    fn n_coordinates(&self) -> usize {
        self.totals.n_clusters * self.totals.n_features
    }
}

/// Floats of `centroids`: clusters padded to whole tiles of quads, each with its features and half its squared norm.
pub(crate) fn n_centroid_floats(n_clusters: usize, n_features: usize, tile_quads: usize) -> usize {
    n_clusters.next_multiple_of(4 * tile_quads) * (n_features + 1)
}

/// What `centroids` holds; padding clusters get a score that no real one reaches.
pub(crate) fn centroid_floats(centroids: &Centroids, tile_quads: usize) -> Vec<f32> {
    let (k, d) = (centroids.n_clusters(), centroids.n_features());
    let mut floats = vec![0.0; n_centroid_floats(k, d, tile_quads)];
    let (coordinates, half_norms) = (centroids.to_f32(), centroids.half_sq_norms_f32());
    for (quad, to) in floats.chunks_exact_mut(4 * (d + 1)).enumerate() {
        for (vector, to) in to.chunks_exact_mut(4).enumerate() {
            for (lane, to) in to.iter_mut().enumerate() {
                let cluster = 4 * quad + lane;
                *to = match (cluster < k, vector < d) {
                    (true, true) => coordinates[cluster * d + vector],
                    (true, false) => half_norms[cluster],
                    (false, true) => 0.0,
                    (false, false) => PADDING_SCORE,
                };
            }
        }
    }
    floats
}

/// Where `matrix.wgsl` finds centroids: their digits in `centroids`, behind what other kernels read there, and half their
/// squared norms in `centroids_exact`, behind the coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DigitsLayout {
    pub(crate) first_word: usize,
    /// Rows and columns of a matrix.
    pub(crate) side: usize,
    /// Matrices that the features of a row fill.
    pub(crate) steps: usize,
}

impl DigitsLayout {
    /// Words of so many clusters' digits, padded.
    pub(crate) fn n_words(&self, n_clusters: usize) -> usize {
        n_clusters.next_multiple_of(PADDED_CLUSTERS) * self.steps * self.side
    }

    /// The word, behind the first, with the high digits of two features; those of their low digits come a row later.
    fn word(&self, cluster: usize, pair: usize) -> usize {
        let matrix = cluster * self.steps + 2 * pair / self.side;
        matrix * self.side + pair % (self.side / 2)
    }

    /// The digits of centroids, two to a word, and half their squared norms in the units of scores: `split` of
    /// `shaders/update.wgsl`.
    pub(crate) fn digits(&self, centroids: &Centroids) -> (Vec<u32>, Vec<f32>) {
        let k = centroids.n_clusters();
        let mut words = vec![0; self.n_words(k)];
        let mut half_norms = vec![0.0; k];
        for (cluster, half_norm) in half_norms.iter_mut().enumerate() {
            let mut sq_norm = 0u64;
            for (pair, coords) in centroids.row(cluster).chunks(2).enumerate() {
                let mut digits = [[0.0; 2]; 2];
                for (at, &c) in coords.iter().enumerate() {
                    let seen = (c >> 16) - 128;
                    sq_norm += u64::from(seen.unsigned_abs()).pow(2);
                    let low = (c >> 16 & 0xff) - 128;
                    digits[0][at] = ((seen - low) / 16) as f32;
                    digits[1][at] = low as f32 / 16.0;
                }
                let word = self.word(cluster, pair);
                for (plane, [first, second]) in digits.into_iter().enumerate() {
                    words[word + plane * self.side / 2] = halves(first, second);
                }
            }
            *half_norm = (sq_norm as f64 / 512.0) as f32;
        }
        (words, half_norms)
    }
}

/// Two numbers that `f16` holds, as a word.
pub(super) fn halves(first: f32, second: f32) -> u32 {
    let [first, second] = [first, second].map(|x| u32::from(f16::from_f32(x).to_bits()));
    second << 16 | first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_centroids_are_their_high_bits() {
        let value = |half: u16| {
            let magnitude = f64::from(1024 + (half & 0x3ff)) * f64::from(i32::from(half >> 10 & 31) - 25).exp2();
            match half & 0x7fff {
                0 => 0.0,
                _ if half >> 15 == 1 => -magnitude,
                _ => magnitude,
            }
        };
        for (side, d, k) in [(8, 5, 11), (16, 33, 20)] {
            let mut rng = crate::rng::Rng::new(4, side as u64);
            let mut values: Vec<i32> = (0..k * d).map(|_| rng.below(1 << 32) as u32 as i32).collect();
            values[..3].copy_from_slice(&[i32::MIN, i32::MAX, 128 << 16]);
            let centroids = Centroids::new(d, values.clone());
            let layout = DigitsLayout {
                first_word: 0,
                side,
                steps: d.div_ceil(side),
            };
            let (words, half_norms) = layout.digits(&centroids);
            let halves: Vec<u16> = words
                .iter()
                .flat_map(|&word| [word as u16, (word >> 16) as u16])
                .collect();
            assert_eq!(halves.len(), 128 * 2 * layout.steps * side);
            let mut n_there = 0;
            for (cluster, half_norm) in half_norms.into_iter().enumerate() {
                let mut sq_norm = 0.0;
                for feature in 0..d {
                    // As `load_tile` of `matrix.wgsl` finds it.
                    let at = (cluster * layout.steps + feature / side) * 2 * side + feature % side;
                    let seen = 16.0 * (value(halves[at]) + value(halves[at + side]));
                    assert_eq!(seen, f64::from((values[cluster * d + feature] >> 16) - 128));
                    sq_norm += seen * seen;
                    n_there += [at, at + side].iter().filter(|&&at| halves[at] & 0x7fff != 0).count();
                }
                assert_eq!(half_norm, (sq_norm / 512.0) as f32);
            }
            // All others are 0.
            assert_eq!(halves.iter().filter(|&&half| half & 0x7fff != 0).count(), n_there);
        }
    }

    #[test]
    fn sums_of_three_words_lose_their_shift() {
        let layout = TotalsLayout {
            n_lists: 2,
            n_clusters: 1,
            n_features: 1,
            weighted: true,
        };
        // Lists of 4 and 5 rows, rounds taken, 2 and 1 decided exactly, 6 and 8 passed over; the drift; 7 moved; the sum
        // 2^64 + 2^32 + 1; 3 rows; weight 2.
        let words = [4, 9, 2, 6, 5, 9, 1, 8, 99, 7, 0, 0, 1, 1, 1, 3, 0, 0, 2, 0, 0];
        assert_eq!(layout.n_words(), words.len());
        assert_eq!((layout.n_left(&words), layout.n_doubtful(&words)), (9, 3));
        assert_eq!((layout.n_passed_over(&words), layout.n_moved(&words)), (14, 7));
        let (count, weight, sums) = layout.cluster(&words, 0);
        assert_eq!((count, weight), (3, 2));
        assert_eq!(sums.collect::<Vec<_>>(), [(1 << 64) + (1 << 32) + 1 - (2 << 23)]);
    }

    #[test]
    fn centroids_are_padded_to_tiles_of_quads() {
        let centroids = Centroids::on_rows(1, &[3, -4, 5]);
        let floats = centroid_floats(&centroids, 2);
        assert_eq!(floats.len(), n_centroid_floats(3, 1, 2));
        assert_eq!(floats[..8], [3.0, -4.0, 5.0, 0.0, 4.5, 8.0, 12.5, PADDING_SCORE]);
        assert_eq!(floats[8..12], [0.0; 4]);
        assert_eq!(floats[12..], [PADDING_SCORE; 4]);
    }
}
