//! Against scikit-learn: the figures that judge a clustering. `tests/reference/metrics.py` made the answers, from rows
//! that are made again here.

use kohort::metrics::{Contingency, quality};
use kohort::partial::ClusterPartial;
use kohort::tiles::TileSet;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    n_rows: usize,
    n_features: usize,
    n_clusters: usize,
    step: i64,
    offset: i64,
    anew: u64,
    silhouette: f64,
    davies_bouldin: f64,
    calinski_harabasz: f64,
    adjusted_rand: f64,
    normalized_mutual_info: f64,
}

/// Knuth's MMIX generator; the upper 31 bits of each state.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
}

impl Case {
    /// Rows, labels, and other labels of the same rows.
    fn rows_and_labels(&self) -> (Vec<f32>, Vec<u32>, Vec<u32>) {
        let k = self.n_clusters as u64;
        let mut random = Random((self.n_rows * 1000 + self.n_features) as u64);
        let (mut rows, mut labels, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.n_rows {
            let cluster = random.below(k).min(random.below(k));
            for j in 1..=self.n_features as u64 {
                let heap = self.step * (cluster * j % k) as i64;
                rows.push((self.offset + heap + random.below(1000) as i64) as f32);
            }
            // The draw that decides comes first, as there.
            let mut label = |anew: u64| {
                let drawn = random.below(100) < anew;
                (if drawn { random.below(k) } else { cluster }) as u32
            };
            labels.push(label(self.anew));
            others.push(label(30));
        }
        (rows, labels, others)
    }

    /// The largest error: of the silhouette absolutely, in units of a millionth, of the others relatively, in units of
    /// a billionth.
    fn worst_error(&self, rows: &[f32], labels: &[u32], others: &[u32]) -> f64 {
        let k = self.n_clusters;
        let data = TileSet::from_rows(rows, self.n_features, None, 1 << 14);
        let found = quality(&data, labels, &ClusterPartial::of_labels(&data, labels, k), 1.0);
        let table = Contingency::new(labels, k, others, k);
        let relative = |found: f64, expected: f64| (found - expected).abs() / expected.abs() / 1e-9;
        [
            (found.silhouette.unwrap() - self.silhouette).abs() / 1e-6,
            relative(found.davies_bouldin.unwrap(), self.davies_bouldin),
            relative(found.calinski_harabasz.unwrap(), self.calinski_harabasz),
            relative(table.adjusted_rand(), self.adjusted_rand),
            relative(table.normalized_mutual_info(), self.normalized_mutual_info),
        ]
        .into_iter()
        .fold(0.0, f64::max)
    }
}

fn cases() -> Vec<Case> {
    let reference: Reference = serde_json::from_str(include_str!("reference/metrics.json")).unwrap();
    reference.cases
}

#[test]
fn all_figures_are_scikit_learns() {
    for case in cases() {
        let (rows, labels, others) = case.rows_and_labels();
        let worst = case.worst_error(&rows, &labels, &others);
        assert!(worst < 1.0, "{}: {worst} of what is allowed", case.name);
    }
}

#[test]
fn a_planted_fault_is_seen() {
    for case in cases() {
        let (mut rows, mut labels, others) = case.rows_and_labels();
        labels[7] = (labels[7] + 1) % case.n_clusters as u32;
        assert!(
            case.worst_error(&rows, &labels, &others) > 1.0,
            "{}: a label",
            case.name
        );
        let (_, labels, others) = case.rows_and_labels();
        rows[0] += 64.0;
        assert!(
            case.worst_error(&rows, &labels, &others) > 1.0,
            "{}: a value",
            case.name
        );
    }
}
