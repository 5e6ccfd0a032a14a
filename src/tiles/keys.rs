//! What tells rows apart: the hash of the id, or the row number.

use rayon::prelude::*;

use crate::rng::hash_key;

/// One key per row. Sampling and ties go by key, so results follow the id where there is one, not the row order.
///
/// Keys stay on the host: they never reach a device, a log, a model or a report.
#[derive(Clone)]
pub enum RowKeys {
    /// No id: the key is the row number.
    RowNumber,
    /// 128-bit hashes of the ids, one per row, all different.
    Ids(Vec<u128>),
}

impl std::fmt::Debug for RowKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RowNumber => "RowKeys::RowNumber",
            Self::Ids(_) => "RowKeys::Ids(..)",
        })
    }
}

impl RowKeys {
    /// The key of a row.
    #[must_use]
    pub fn key(&self, row: usize) -> u128 {
        match self {
            Self::RowNumber => row as u128,
            Self::Ids(keys) => keys[row],
        }
    }

    /// The `m` rows (all, if there are fewer) with the smallest `hash(seed, key)`, in that order; ties by key.
    ///
    /// Only rows that `keep` accepts take part. The choice depends on seed and keys alone.
    #[must_use]
    pub fn sample(&self, n_rows: usize, m: usize, seed: u64, keep: impl Fn(usize) -> bool + Sync) -> Vec<usize> {
        let order = |row: usize| (hash_key(seed, self.key(row)), self.key(row));
        let all = |limit: u64| -> Vec<(u64, u128, usize)> {
            (0..n_rows)
                .into_par_iter()
                .filter(|&row| keep(row))
                .map(|row| {
                    let (hash, key) = order(row);
                    (hash, key, row)
                })
                .filter(|&(hash, ..)| hash <= limit)
                .collect()
        };
        // Hashes are uniform: a limit a little above m / n holds the m smallest almost surely. If not, take all.
        let share = 1.2 * m as f64 / n_rows.max(1) as f64 + 100.0 / n_rows.max(1) as f64;
        let mut picked = if share < 0.5 {
            all((share * u64::MAX as f64) as u64)
        } else {
            Vec::new()
        };
        if picked.len() < m {
            picked = all(u64::MAX);
        }
        picked.par_sort_unstable();
        picked.truncate(m);
        picked.into_iter().map(|(.., row)| row).collect()
    }

    /// About one row in `parts`: those with the smallest `hash(seed, key)`, in the order of the rows. For samples too large
    /// to be sorted.
    ///
    /// Only rows that `keep` accepts take part. The choice depends on seed and keys alone.
    #[must_use]
    pub fn one_in(&self, parts: u64, n_rows: usize, seed: u64, keep: impl Fn(usize) -> bool + Sync) -> Vec<usize> {
        let limit = u64::MAX / parts;
        (0..n_rows)
            .into_par_iter()
            .filter(|&row| hash_key(seed, self.key(row)) <= limit && keep(row))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_follows_the_key_not_the_row() {
        let n = 5000;
        let keys: Vec<u128> = (0..n as u128).map(|i| i * i + 17).collect();
        let mut turned = keys.clone();
        turned.reverse();
        let a = RowKeys::Ids(keys).sample(n, 100, 3, |_| true);
        let b = RowKeys::Ids(turned).sample(n, 100, 3, |_| true);
        assert_eq!(a, b.iter().map(|row| n - 1 - row).collect::<Vec<_>>());
    }

    #[test]
    fn a_part_of_the_rows_follows_the_key_and_holds_smaller_samples() {
        let n = 40_000;
        let keys: Vec<u128> = (0..n as u128).map(|i| i * i + 17).collect();
        let mut turned = keys.clone();
        turned.reverse();
        let (keys, turned) = (RowKeys::Ids(keys), RowKeys::Ids(turned));
        let part = keys.one_in(8, n, 3, |row| row % 2 == 0);
        assert!((2300..2700).contains(&part.len()), "{}", part.len());
        assert!(part.is_sorted() && part.iter().all(|row| row % 2 == 0));
        let same = turned.one_in(8, n, 3, |row| row % 2 == 1);
        assert_eq!(part, same.iter().rev().map(|row| n - 1 - row).collect::<Vec<_>>());
        let sample = keys.sample(n, 2000, 3, |row| row % 2 == 0);
        assert!(sample.iter().all(|row| part.binary_search(row).is_ok()));
    }

    #[test]
    fn the_short_cut_picks_what_a_full_sort_picks() {
        let keys = RowKeys::RowNumber;
        let mut all: Vec<_> = (0..3000usize).filter(|row| row % 2 == 0).collect();
        all.sort_by_key(|&row| (hash_key(9, row as u128), row));
        for m in [0, 1, 50, 1500, 4000] {
            assert_eq!(
                keys.sample(3000, m, 9, |row| row % 2 == 0),
                all[..m.min(1500)],
                "m = {m}"
            );
        }
    }
}
