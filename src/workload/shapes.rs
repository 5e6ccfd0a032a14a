//! The sizes that figures are given for.

use std::fmt;

use super::Workload;

/// One size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// What it is called; the cells of [`gpu_grid`] are all called `grid`.
    pub name: &'static str,
    /// Rows.
    pub n_rows: usize,
    /// Features.
    pub n_features: usize,
    /// Clusters.
    pub n_clusters: usize,
}

const fn shape(name: &'static str, n_rows: usize, n_features: usize, n_clusters: usize) -> Shape {
    Shape {
        name,
        n_rows,
        n_features,
        n_clusters,
    }
}

/// The six sizes that CPUs are compared on.
pub const ANCHORS: [Shape; 6] = [
    shape("A", 1_000_000, 8, 8),
    shape("B", 1_000_000, 16, 64),
    shape("C", 5_000_000, 16, 16),
    shape("D", 1_000_000, 64, 256),
    shape("E", 200_000, 128, 1024),
    shape("F", 10_000_000, 32, 100),
];

/// The 60 sizes that GPUs are compared on: 1, 10 and 100 million rows, 4 to 32 features, 4 to 64 clusters.
pub fn gpu_grid() -> impl Iterator<Item = Shape> {
    let sizes = [1_000_000, 10_000_000, 100_000_000].into_iter();
    sizes.flat_map(|n| {
        [4, 8, 12, 16, 32]
            .into_iter()
            .flat_map(move |d| [4, 8, 16, 64].map(|k| shape("grid", n, d, k)))
    })
}

impl Shape {
    /// The rows of this size.
    #[must_use]
    pub fn workload(self) -> Workload {
        Workload::new(self.n_rows, self.n_features, self.n_clusters)
    }
}

impl fmt::Display for Shape {
    /// `10M x 32, k=100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.n_rows;
        match n {
            _ if n >= 1_000_000 && n.is_multiple_of(1_000_000) => write!(f, "{}M", n / 1_000_000)?,
            _ if n >= 1_000 && n.is_multiple_of(1_000) => write!(f, "{}k", n / 1_000)?,
            _ => write!(f, "{n}")?,
        }
        write!(f, " x {}, k={}", self.n_features, self.n_clusters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_named_and_can_be_built() {
        assert_eq!(ANCHORS[5].to_string(), "10M x 32, k=100");
        assert_eq!(ANCHORS[4].to_string(), "200k x 128, k=1024");
        assert_eq!(shape("x", 1234, 1, 1).to_string(), "1234 x 1, k=1");
        let mut grid: Vec<Shape> = gpu_grid().collect();
        assert!(
            ANCHORS
                .iter()
                .chain(&grid)
                .all(|shape| shape.workload().check().is_ok())
        );
        grid.dedup();
        assert_eq!(grid.len(), 60);
    }
}
