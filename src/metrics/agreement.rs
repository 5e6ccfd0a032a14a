//! How far two clusterings of the same rows agree.

use rayon::prelude::*;

/// Rows of one task.
const RUN: usize = 1 << 16;

/// How many rows are in cluster `i` of one clustering and in cluster `j` of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contingency {
    n_a: usize,
    n_b: usize,
    /// `n_a x n_b`, row-major.
    counts: Vec<u64>,
}

/// How well a cluster of the first clustering is found again in the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recovered {
    /// The cluster of the second that is most like it; ties to the lower number.
    pub cluster: usize,
    /// Their Jaccard index: rows in both, over rows in either.
    pub jaccard: f64,
}

impl Contingency {
    /// Counts the rows under labels `a` (below `n_a`) and `b` (below `n_b`).
    ///
    /// # Panics
    /// If the two differ in length or a label is out of range.
    #[must_use]
    pub fn new(a: &[u32], n_a: usize, b: &[u32], n_b: usize) -> Self {
        assert_eq!(a.len(), b.len(), "two labels per row");
        let zero = || vec![0u64; n_a * n_b];
        let count = |mut counts: Vec<u64>, (a, b): (&[u32], &[u32])| {
            for (&a, &b) in a.iter().zip(b) {
                assert!((b as usize) < n_b, "a label out of range");
                counts[a as usize * n_b + b as usize] += 1;
            }
            counts
        };
        let add = |mut a: Vec<u64>, b: Vec<u64>| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        };
        let runs = a.par_chunks(RUN).zip(b.par_chunks(RUN));
        Self {
            n_a,
            n_b,
            counts: runs.fold(zero, count).reduce(zero, add),
        }
    }

    /// Rows in cluster `a` of the first clustering and `b` of the second.
    #[must_use]
    pub fn count(&self, a: usize, b: usize) -> u64 {
        self.counts[a * self.n_b + b]
    }

    /// Clusters of the two clusterings.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.n_a, self.n_b)
    }

    /// Sizes of the clusters of both.
    fn sizes(&self) -> (Vec<u64>, Vec<u64>) {
        let of_a = (0..self.n_a).map(|a| (0..self.n_b).map(|b| self.count(a, b)).sum());
        let of_b = (0..self.n_b).map(|b| (0..self.n_a).map(|a| self.count(a, b)).sum());
        (of_a.collect(), of_b.collect())
    }

    /// Adjusted Rand index (Hubert and Arabie, 1985): 1 for the same clustering, 0 on average by chance. Chance is
    /// taken out of integer numbers of pairs.
    #[must_use]
    pub fn adjusted_rand(&self) -> f64 {
        let (of_a, of_b) = self.sizes();
        let squares = |counts: &[u64]| counts.iter().map(|&n| u128::from(n).pow(2)).sum::<u128>();
        let n: u128 = of_a.iter().map(|&n| u128::from(n)).sum();
        let (both, in_a, in_b) = (squares(&self.counts), squares(&of_a), squares(&of_b));
        // Ordered pairs that are together in both, in one of the two only, in neither.
        let together = (both - n) as f64;
        let (only_a, only_b) = ((in_a - both) as f64, (in_b - both) as f64);
        let apart = (n * n + both - in_a - in_b) as f64;
        if only_a == 0.0 && only_b == 0.0 {
            return 1.0;
        }
        let by_chance = (together + only_a) * (only_a + apart) + (together + only_b) * (only_b + apart);
        2.0 * (together * apart - only_a * only_b) / by_chance
    }

    /// Mutual information, normalised by the arithmetic mean of both entropies: from 0 to 1.
    #[must_use]
    pub fn normalized_mutual_info(&self) -> f64 {
        let (of_a, of_b) = self.sizes();
        let n = of_a.iter().sum::<u64>() as f64;
        let entropy = |sizes: &[u64]| -> f64 {
            let shares = sizes.iter().filter(|&&size| size > 0).map(|&size| size as f64 / n);
            -shares.map(|share| share * share.ln()).sum::<f64>()
        };
        let (in_a, in_b) = (entropy(&of_a), entropy(&of_b));
        if in_a + in_b == 0.0 {
            return 1.0;
        }
        let information = in_a + in_b - entropy(&self.counts);
        (2.0 * information / (in_a + in_b)).clamp(0.0, 1.0)
    }

    /// For each cluster of the first clustering, the cluster of the second that is most like it.
    #[must_use]
    pub fn recovered(&self) -> Vec<Recovered> {
        let (of_a, of_b) = self.sizes();
        let best = |a: usize| {
            let mut best = Recovered {
                cluster: 0,
                jaccard: 0.0,
            };
            for (b, &size) in of_b.iter().enumerate() {
                let both = self.count(a, b);
                let either = (of_a[a] + size - both).max(1);
                let jaccard = both as f64 / either as f64;
                if jaccard > best.jaccard {
                    best = Recovered { cluster: b, jaccard };
                }
            }
            best
        };
        (0..self.n_a).map(best).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(a: &[u32], b: &[u32]) -> Contingency {
        let clusters = |labels: &[u32]| labels.iter().max().map_or(0, |&most| most as usize + 1);
        Contingency::new(a, clusters(a), b, clusters(b))
    }

    #[test]
    fn small_answers_worked_out_by_hand() {
        let same = table(&[0, 0, 1, 1], &[1, 1, 0, 0]);
        assert_eq!((same.adjusted_rand(), same.normalized_mutual_info()), (1.0, 1.0));
        // scikit-learn's documentation: adjusted_rand_score([0, 0, 1, 1], [0, 0, 1, 2]) is 0.57.
        let split = table(&[0, 0, 1, 1], &[0, 0, 1, 2]);
        assert_eq!(split.adjusted_rand(), 4.0 / 7.0);
        assert!((split.normalized_mutual_info() - 0.8).abs() < 1e-12);
        // All rows apart from each other's: the worst there is.
        assert_eq!(table(&[0, 0, 1, 1], &[0, 1, 0, 1]).adjusted_rand(), -0.5);
        assert_eq!(table(&[0, 0, 0, 0], &[0, 1, 2, 3]).adjusted_rand(), 0.0);
        assert_eq!(table(&[0, 0], &[0, 0]).adjusted_rand(), 1.0);
    }

    #[test]
    fn a_cluster_is_found_again_where_most_of_it_is() {
        let table = table(&[0, 0, 0, 1, 1, 2], &[2, 2, 0, 1, 1, 0]);
        let recovered = table.recovered();
        assert_eq!(
            recovered[0],
            Recovered {
                cluster: 2,
                jaccard: 2.0 / 3.0
            }
        );
        assert_eq!(
            recovered[1],
            Recovered {
                cluster: 1,
                jaccard: 1.0
            }
        );
        assert_eq!(
            recovered[2],
            Recovered {
                cluster: 0,
                jaccard: 0.5
            }
        );
        assert_eq!((table.count(0, 2), table.count(2, 0), table.shape()), (2, 1, (3, 3)));
    }
}
