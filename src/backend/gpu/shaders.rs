//! The kernels' text, and the variants of it that a shape of data calls for.

/// Rows that a workgroup of `assign` takes at a time.
pub(crate) const WORKGROUP_ROWS: usize = 256;
/// Threads of a workgroup of `resolve`, a power of two.
const RESOLVE_LANES: usize = 64;
/// Most vectors of 4 features that a thread holds.
const MAX_FEATURE_VECS: usize = 8;
/// Workgroup memory that `assign` may take for sums, in bytes: several workgroups are to share a processor.
const MAX_LOCAL_BYTES: usize = 12 << 10;

const PASS: &str = include_str!("../../../shaders/shared/pass.wgsl");
const ASSIGN: &str = include_str!("../../../shaders/assign.wgsl");
const RESOLVE: &str = include_str!("../../../shaders/resolve.wgsl");

/// All that a kernel's text and constants depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Vectors of 4 features that a thread holds.
    pub feature_vecs: usize,
    /// Whether these hold a whole row.
    pub whole_row: bool,
    /// Centroids in workgroup memory at a time.
    pub cluster_tile: usize,
    /// Sums that workgroup memory holds, or 0.
    pub local_entries: usize,
    /// Whether rows have weights.
    pub weighted: bool,
    /// Whether the two nearest are asked for, and no sums.
    pub ranked: bool,
}

impl Variant {
    /// The variant for a shape. `n_entries` sums go to workgroup memory where `workgroup_bytes` allow it.
    #[must_use]
    pub fn new(
        n_features: usize,
        n_clusters: usize,
        n_entries: usize,
        weighted: bool,
        ranked: bool,
        workgroup_bytes: usize,
    ) -> Self {
        let whole_row = n_features <= 4 * MAX_FEATURE_VECS;
        let feature_vecs = if whole_row {
            n_features.div_ceil(4)
        } else {
            MAX_FEATURE_VECS
        };
        let cluster_tile = cluster_tile(n_clusters);
        // The tile, its half norms, the count of rows moved.
        let taken = cluster_tile * (16 * feature_vecs + 4) + 4;
        let room = MAX_LOCAL_BYTES.min(workgroup_bytes.saturating_sub(taken)) / 8;
        // Two sizes only, so that few variants are compiled.
        let local_entries = [room / 8, room]
            .into_iter()
            .find(|&entries| n_entries <= entries && !ranked)
            .unwrap_or(0);
        Self {
            feature_vecs,
            whole_row,
            cluster_tile,
            local_entries,
            weighted,
            ranked,
        }
    }

    /// The kernel `assign`: text and constants.
    #[must_use]
    pub fn assign(&self) -> Shader {
        let text = with_const(ASSIGN, "FEATURE_VECS", self.feature_vecs);
        let text = with_const(&text, "CLUSTER_TILE", self.cluster_tile);
        Shader {
            entry_point: "assign",
            source: format!("{PASS}\n{text}"),
            constants: vec![
                ("weighted", f64::from(u8::from(self.weighted))),
                ("ranked", f64::from(u8::from(self.ranked))),
                ("workgroup_rows", WORKGROUP_ROWS as f64),
                ("whole_row", f64::from(u8::from(self.whole_row))),
                ("local_entries", self.local_entries as f64),
                ("local_words", (2 * self.local_entries).max(1) as f64),
            ],
        }
    }

    /// The kernel `resolve`: text and constants.
    #[must_use]
    pub fn resolve(&self) -> Shader {
        Shader {
            entry_point: "resolve",
            source: format!("{PASS}\n{RESOLVE}"),
            constants: vec![
                ("weighted", f64::from(u8::from(self.weighted))),
                ("ranked", f64::from(u8::from(self.ranked))),
                ("lanes", RESOLVE_LANES as f64),
            ],
        }
    }
}

/// Centroids in workgroup memory at a time, for this many clusters.
#[must_use]
pub fn cluster_tile(n_clusters: usize) -> usize {
    match n_clusters {
        0..=4 => 4,
        5..=8 => 8,
        _ => 16,
    }
}

/// A kernel ready to be compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Shader {
    /// Its entry point.
    pub entry_point: &'static str,
    /// WGSL.
    pub source: String,
    /// Values of its `override` constants.
    pub constants: Vec<(&'static str, f64)>,
}

/// `text` with another value in its one line `const NAME: u32 = ...u;`.
fn with_const(text: &str, name: &str, value: usize) -> String {
    let start = format!("const {name}: u32 = ");
    let at = text.find(&start).expect("the template declares it") + start.len();
    let end = at + text[at..].find("u;").expect("an unsigned literal");
    format!("{}{value}{}", &text[..at], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_takes_its_values() {
        let shader = Variant::new(17, 9, 9 * 18, false, false, 16 << 10).assign();
        assert!(shader.source.contains("const FEATURE_VECS: u32 = 5u; //"));
        assert!(shader.source.contains("const CLUSTER_TILE: u32 = 16u; //"));
    }

    #[test]
    fn workgroup_memory_is_never_overdrawn() {
        for (n_features, n_clusters) in [(1, 1), (16, 64), (32, 1000), (1 << 15, 2)] {
            for workgroup_bytes in [16 << 10, 48 << 10] {
                let n_entries = n_clusters * (n_features + 1);
                let variant = Variant::new(n_features, n_clusters, n_entries, false, false, workgroup_bytes);
                let tile = variant.cluster_tile * (16 * variant.feature_vecs + 4) + 4;
                assert!(tile + (8 * variant.local_entries).max(4) <= workgroup_bytes);
                assert!(variant.local_entries == 0 || n_entries <= variant.local_entries);
            }
        }
        assert_eq!(
            Variant::new(16, 64, 64 * 17, false, false, 16 << 10).local_entries,
            1536
        );
    }
}
