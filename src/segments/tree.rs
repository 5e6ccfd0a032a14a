//! Which segments are alike: Ward's tree over the segments of a run, from the exact sums of their rows.
//!
//! Of all pairs the one is joined whose union adds least to the scatter within (J. Ward, "Hierarchical grouping to
//! optimize an objective function", 1963). Costs are whole numbers: a group's mean is its sum over its weight, rounded
//! once to the grid of the centroids, as everywhere, and the scatter about it is exact, so a cost is what the inertia
//! of all rows rises by, and none is below 0, as that mean is the best point of the grid for its rows.

use rayon::prelude::*;

use crate::features::{Preparation, ValueKind};
use crate::grid::CENTROID_SCALE;
use crate::partial::ClusterPartial;

/// Total weight times features below which no sum in here overflows.
const MOST_WEIGHT: u128 = 1 << 62;

/// A tree whose leaves are the segments, from 0. A group goes by its lowest segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WardTree {
    n_segments: usize,
    merges: Vec<Merge>,
}

/// Two groups become one, which goes on as the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// The group with the lower number.
    pub first: usize,
    /// The other.
    pub second: usize,
    /// What the scatter within rises by, in centroid units squared times weight units.
    pub cost: u128,
}

/// A group opened into its two sides, as segments, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// Groups there are once it is open.
    pub n_groups: usize,
    /// The segments of either side, rising; the side with the lowest segment first.
    pub sides: [Vec<usize>; 2],
    /// What the scatter within falls by.
    pub cost: u128,
}

impl WardTree {
    /// Of the sums and weights of segments. `None` where they are too heavy to be added up exactly (some 2^62 over the
    /// number of features), or a segment has no weight.
    ///
    /// Each round joins the pair with the least cost, ties by the lower numbers. Takes `O(k^2 d)` steps and more where
    /// many segments are nearest to one.
    #[must_use]
    pub fn new(sums: &ClusterPartial) -> Option<Self> {
        if !adds_up(sums) || sums.cluster_weights.contains(&0) {
            return None;
        }
        let k = sums.n_clusters();
        let mut groups = Groups::new(sums);
        let mut nearest: Vec<Option<Pair>> = (0..k).into_par_iter().map(|a| groups.nearest_after(a)).collect();
        let mut merges = Vec::with_capacity(k - 1);
        for _ in 1..k {
            let first = (0..k).filter(|&a| nearest[a].is_some());
            let first = first.min_by_key(|&a| (nearest[a].map(|pair| pair.cost), a))?;
            let Pair { cost, second } = nearest[first].take()?;
            merges.push(Merge { first, second, cost });
            groups.join(first, second);
            nearest[second] = None;
            let changed = (0..k)
                .into_par_iter()
                .map(|a| groups.nearest_after_join(a, first, second, nearest[a]));
            nearest = changed.collect();
        }
        Some(Self { n_segments: k, merges })
    }

    /// Segments.
    #[must_use]
    pub fn n_segments(&self) -> usize {
        self.n_segments
    }

    /// The merges in their order; one less than segments.
    #[must_use]
    pub fn merges(&self) -> &[Merge] {
        &self.merges
    }

    /// The scatter between all segments: the costs of all merges together.
    #[must_use]
    pub fn between(&self) -> u128 {
        self.merges.iter().map(|merge| merge.cost).sum()
    }

    /// The scatter between `n_groups` groups.
    ///
    /// # Panics
    /// If there are not so many segments, or none.
    #[must_use]
    pub fn between_groups(&self, n_groups: usize) -> u128 {
        let merges = &self.merges[self.n_segments - n_groups..];
        merges.iter().map(|merge| merge.cost).sum()
    }

    /// For each segment the lowest one of its group, where merges have left `n_groups` groups.
    ///
    /// # Panics
    /// If there are not so many segments, or none.
    #[must_use]
    pub fn cut(&self, n_groups: usize) -> Vec<usize> {
        let mut group: Vec<usize> = (0..self.n_segments).collect();
        for merge in &self.merges[..self.n_segments - n_groups] {
            group
                .iter_mut()
                .filter(|group| **group == merge.second)
                .for_each(|group| *group = merge.first);
        }
        group
    }

    /// The groups of a cut as segments, the largest (by `sizes`) first, ties by the lowest segment.
    ///
    /// # Panics
    /// As [`WardTree::cut`].
    #[must_use]
    pub fn groups(&self, n_groups: usize, sizes: &[u64]) -> Vec<Vec<usize>> {
        let of_segment = self.cut(n_groups);
        let mut groups: Vec<Vec<usize>> = vec![Vec::new(); self.n_segments];
        of_segment
            .iter()
            .enumerate()
            .for_each(|(segment, &group)| groups[group].push(segment));
        groups.retain(|group| !group.is_empty());
        let size = |group: &Vec<usize>| group.iter().map(|&segment| u128::from(sizes[segment])).sum::<u128>();
        groups.sort_by_key(|group| (std::cmp::Reverse(size(group)), group[0]));
        groups
    }

    /// The forks from the root on: each is a merge undone.
    #[must_use]
    pub fn forks(&self) -> Vec<Fork> {
        let mut members: Vec<Vec<usize>> = (0..self.n_segments).map(|segment| vec![segment]).collect();
        let mut forks = Vec::with_capacity(self.merges.len());
        for (merge, n_groups) in self.merges.iter().zip((2..=self.n_segments).rev()) {
            let second = std::mem::take(&mut members[merge.second]);
            let first = members[merge.first].clone();
            members[merge.first].extend(&second);
            members[merge.first].sort_unstable();
            forks.push(Fork {
                n_groups,
                sides: [first, second],
                cost: merge.cost,
            });
        }
        forks.reverse();
        forks
    }

    /// The segments in an order in which those of every group stand together: a first side above its second.
    #[must_use]
    pub fn order(&self) -> Vec<usize> {
        let mut members: Vec<Vec<usize>> = (0..self.n_segments).map(|segment| vec![segment]).collect();
        for merge in &self.merges {
            let second = std::mem::take(&mut members[merge.second]);
            members[merge.first].extend(second);
        }
        members.swap_remove(0)
    }
}

/// Whether sums of this weight can be worked with here.
#[must_use]
pub fn adds_up(sums: &ClusterPartial) -> bool {
    let weight: u128 = sums.cluster_weights.iter().map(|&weight| u128::from(weight)).sum();
    weight * (sums.n_features() as u128) < MOST_WEIGHT
}

/// The nearest group with a higher number.
#[derive(Debug, Clone, Copy)]
struct Pair {
    cost: u128,
    second: usize,
}

/// The groups there are.
struct Groups {
    sums: ClusterPartial,
    /// Per group, its part of the scatter between groups, with the origin as their mean; `None` where there is none any
    /// more.
    between: Vec<Option<i128>>,
}

impl Groups {
    fn new(sums: &ClusterPartial) -> Self {
        let between =
            (0..sums.n_clusters()).map(|a| Some(between(sums.sums_of(a).iter().copied(), sums.cluster_weights[a])));
        Self {
            between: between.collect(),
            sums: sums.clone(),
        }
    }

    fn cost(&self, a: usize, b: usize) -> Option<u128> {
        let (of_a, of_b) = (self.between[a]?, self.between[b]?);
        let sums = self.sums.sums_of(a).iter().zip(self.sums.sums_of(b));
        let weight = self.sums.cluster_weights[a] + self.sums.cluster_weights[b];
        let cost = of_a + of_b - between(sums.map(|(a, b)| a + b), weight);
        Some(u128::try_from(cost).expect("a rounded mean is the best for its rows"))
    }

    fn nearest_after(&self, a: usize) -> Option<Pair> {
        let after = a + 1..self.between.len();
        let pairs = after.filter_map(|second| {
            let cost = self.cost(a, second)?;
            Some(Pair { cost, second })
        });
        pairs.min_by_key(|pair| (pair.cost, pair.second))
    }

    /// The same once `first` has taken in `second`, where it was `known` before.
    fn nearest_after_join(&self, a: usize, first: usize, second: usize, known: Option<Pair>) -> Option<Pair> {
        self.between[a]?;
        match known {
            Some(pair) if pair.second != first && pair.second != second && a != first => {
                let joined = Pair {
                    cost: if a < first { self.cost(a, first)? } else { u128::MAX },
                    second: first,
                };
                let nearer = (joined.cost, joined.second) < (pair.cost, pair.second);
                Some(if nearer { joined } else { pair })
            }
            // The last group has none after it.
            None if a != first => None,
            _ => self.nearest_after(a),
        }
    }

    fn join(&mut self, first: usize, second: usize) {
        let d = self.sums.n_features();
        let (before, after) = self.sums.sums.split_at_mut(second * d);
        let into = before[first * d..].iter_mut();
        into.zip(&after[..d]).for_each(|(sum, more)| *sum += more);
        self.sums.cluster_weights[first] += self.sums.cluster_weights[second];
        let sums = self.sums.sums_of(first).iter().copied();
        self.between[first] = Some(between(sums, self.sums.cluster_weights[first]));
        self.between[second] = None;
    }
}

/// `sum c (2^9 S - W c)` over features, `c` the rounded mean: what `2^16 sum |x|^2` is above the scatter about `c`.
fn between(sums: impl Iterator<Item = i128>, weight: u64) -> i128 {
    let weight = i128::from(weight);
    sums.map(|sum| {
        let c = i128::from(rounded_mean(sum, weight));
        c * (2 * i128::from(CENTROID_SCALE) * sum - weight * c)
    })
    .sum()
}

/// `sum / weight` in centroid units, halves upwards: as [`ClusterPartial::centroids`] rounds it.
fn rounded_mean(sum: i128, weight: i128) -> i64 {
    let (above, below) = (2 * i128::from(CENTROID_SCALE) * sum + weight, 2 * weight);
    match (i64::try_from(above), i64::try_from(below)) {
        (Ok(above), Ok(below)) => above.div_euclid(below),
        _ => above.div_euclid(below) as i64,
    }
}

/// What tells two groups apart in one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The column's feature that differs most, as its place in the model.
    pub feature: usize,
    /// What it is called: the column, where that holds lists of numbers, none of which says something alone.
    pub name: String,
    /// Whether the column holds lists, so that `means` are told nowhere.
    pub is_list: bool,
    /// The column's part of the squared distance between the means, from 0 to 1.
    pub part: f64,
    /// The feature's means on both sides, each brought back from the prepared values to the column's own units.
    pub means: [f64; 2],
    /// Whether these are shares of rows.
    pub is_share: bool,
}

/// Columns by their part of the squared distance between the means of two groups, the largest first, ties in the model's
/// order; those without any are left out.
///
/// # Panics
/// If a group is empty, a segment not there, or the sums are not those of the model's features.
#[must_use]
pub fn told_apart(preparation: &Preparation, sums: &ClusterPartial, groups: [&[usize]; 2]) -> Vec<Told> {
    assert_eq!(
        sums.n_features(),
        preparation.n_features(),
        "sums of the model's features"
    );
    let means = groups.map(|group| mean_of(sums, group));
    let sq = |j: usize| i128::from(means[0][j] - means[1][j]).pow(2);
    let features = &preparation.features;
    // Per column: its squares, and its feature that differs most.
    let mut columns: Vec<(i128, usize)> = Vec::new();
    for (j, feature) in features.iter().enumerate() {
        match columns.last_mut() {
            Some((sum, most)) if features[*most].column == feature.column => {
                *sum += sq(j);
                if sq(j) > sq(*most) {
                    *most = j;
                }
            }
            _ => columns.push((sq(j), j)),
        }
    }
    let all: i128 = columns.iter().map(|column| column.0).sum();
    columns.retain(|column| column.0 > 0);
    columns.sort_by_key(|column| std::cmp::Reverse(column.0));
    let told = |(sum, feature): (i128, usize)| {
        let prepared = &features[feature];
        let is_share = super::is_share(&prepared.kind);
        let original = |side: usize| {
            let z = preparation
                .grid
                .centroid_value(i32::try_from(means[side][feature]).expect("a mean of grid values"));
            let v = prepared.original(z);
            if is_share { v.clamp(0.0, 1.0) } else { v }
        };
        let is_list = matches!(prepared.kind, ValueKind::Element { .. });
        Told {
            feature,
            name: if is_list {
                prepared.column.clone()
            } else {
                prepared.name()
            },
            is_list,
            part: sum as f64 / all as f64,
            means: [original(0), original(1)],
            is_share,
        }
    };
    columns.into_iter().map(told).collect()
}

/// The mean of some segments together, in centroid units.
fn mean_of(sums: &ClusterPartial, group: &[usize]) -> Vec<i64> {
    let weight: i128 = group
        .iter()
        .map(|&segment| i128::from(sums.cluster_weights[segment]))
        .sum();
    assert!(weight > 0, "a group with weight");
    let sum = |j: usize| group.iter().map(|&segment| sums.sums_of(segment)[j]).sum::<i128>();
    (0..sums.n_features()).map(|j| rounded_mean(sum(j), weight)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::tiles::{Centroids, TileSet};

    /// Scatter of the rows of some segments about their mean, rounded to the grid: from all rows.
    fn scatter(data: &TileSet, labels: &[u32], group: &[usize]) -> u128 {
        let d = data.n_features();
        let rows: Vec<usize> = (0..labels.len())
            .filter(|&row| group.contains(&(labels[row] as usize)))
            .collect();
        let mut x = vec![0; d];
        let (mut sums, mut weight) = (vec![0i128; d], 0i128);
        for &row in &rows {
            data.read_row(row, &mut x);
            weight += i128::from(data.weight(row));
            sums.iter_mut()
                .zip(&x)
                .for_each(|(sum, &x)| *sum += i128::from(x) * i128::from(data.weight(row)));
        }
        let mean = sums
            .iter()
            .map(|sum| (512 * sum + weight).div_euclid(2 * weight) as i32);
        let mean = Centroids::new(d, mean.collect());
        let of_row = |&row: &usize| {
            let mut x = vec![0; d];
            data.read_row(row, &mut x);
            u128::from(data.weight(row)) * mean.sq_dist(&x, 0)
        };
        rows.iter().map(of_row).sum()
    }

    /// Ward's tree, each cost from all rows and every pair tried in every round.
    fn naive(data: &TileSet, labels: &[u32], k: usize) -> Vec<Merge> {
        let mut groups: Vec<Vec<usize>> = (0..k).map(|segment| vec![segment]).collect();
        let mut merges = Vec::new();
        for _ in 1..k {
            let mut best: Option<Merge> = None;
            for first in 0..k {
                for second in (first + 1..k).filter(|&second| !groups[first].is_empty() && !groups[second].is_empty()) {
                    let both = [&groups[first][..], &groups[second][..]].concat();
                    let parts = scatter(data, labels, &groups[first]) + scatter(data, labels, &groups[second]);
                    let cost = scatter(data, labels, &both) - parts;
                    if best.is_none_or(|best| cost < best.cost) {
                        best = Some(Merge { first, second, cost });
                    }
                }
            }
            let best = best.unwrap();
            let second = std::mem::take(&mut groups[best.second]);
            groups[best.first].extend(second);
            merges.push(best);
        }
        merges
    }

    fn rows(seed: u64, n: usize, d: usize, k: usize, weighted: bool, range: u128) -> (TileSet, Vec<u32>) {
        let mut rng = Rng::new(seed, 1);
        let labels: Vec<u32> = (0..n)
            .map(|row| if row < k { row } else { rng.below(k as u128) as usize } as u32)
            .collect();
        let values: Vec<f32> = (0..n * d)
            .map(|at| (rng.below(range) as i64 + i64::from(labels[at / d]) * 37 % 11 * 50) as f32)
            .collect();
        let weights: Vec<u32> = (0..n).map(|_| 1 + rng.below(9) as u32).collect();
        (
            TileSet::from_rows(&values, d, weighted.then_some(&weights[..]), usize::MAX),
            labels,
        )
    }

    #[test]
    fn the_tree_is_that_of_a_search_over_all_rows() {
        for (seed, n, d, k, weighted, range) in [
            (1, 60, 3, 8, false, 400),
            (2, 60, 2, 7, true, 100),
            (3, 12, 1, 12, false, 3), // ties everywhere
            (4, 40, 4, 2, true, 1000),
            (5, 5, 2, 1, false, 10),
        ] {
            let (data, labels) = rows(seed, n, d, k, weighted, range);
            let sums = ClusterPartial::of_labels(&data, &labels, k);
            let tree = WardTree::new(&sums).unwrap();
            let expected = naive(&data, &labels, k);
            assert_eq!(tree.merges(), expected, "seed {seed}");
            let all: Vec<usize> = (0..k).collect();
            let within: u128 = all.iter().map(|&segment| scatter(&data, &labels, &[segment])).sum();
            assert_eq!(tree.between() + within, scatter(&data, &labels, &all));
            // Planted fault: one row in another segment.
            if k > 1 {
                let mut other = labels.clone();
                other[n - 1] = (other[n - 1] + 1) % k as u32;
                let other = WardTree::new(&ClusterPartial::of_labels(&data, &other, k));
                assert_ne!(other.map(|tree| tree.merges), Some(expected), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_tree_worked_out_by_hand() {
        // Rows at 0, 10, 1 and 30, one each: 0 and 1 are joined, then 10, then 30.
        let mut sums = ClusterPartial::zero(4, 1);
        [0, 10, 1, 30]
            .iter()
            .enumerate()
            .for_each(|(segment, &x)| sums.add_row(segment, &[x], 1));
        let tree = WardTree::new(&sums).unwrap();
        let joined: Vec<(usize, usize)> = tree.merges().iter().map(|merge| (merge.first, merge.second)).collect();
        assert_eq!(joined, [(0, 2), (0, 1), (0, 3)]);
        assert_eq!(tree.merges()[0].cost, 1 << 15, "a half, in centroid units squared");
        assert_eq!(tree.order(), [0, 2, 1, 3]);
        assert_eq!(tree.cut(4), [0, 1, 2, 3]);
        assert_eq!(tree.cut(2), [0, 0, 0, 3]);
        assert_eq!(tree.groups(3, &[5, 9, 1, 2]), [vec![1], vec![0, 2], vec![3]]);
        let forks = tree.forks();
        assert_eq!(forks[0].sides, [vec![0, 1, 2], vec![3]]);
        assert_eq!(forks[2].sides, [vec![0], vec![2]]);
        assert_eq!((forks[0].n_groups, forks[2].n_groups), (2, 4));
        assert_eq!((tree.between_groups(1), tree.between_groups(4)), (0, tree.between()));
        assert_eq!(tree.between_groups(2), forks[0].cost);
    }

    #[test]
    fn what_cannot_be_added_up_has_no_tree() {
        let mut sums = ClusterPartial::zero(2, 1);
        assert_eq!(WardTree::new(&sums), None, "no weight");
        sums.cluster_weights = vec![1 << 61, 1 << 61];
        assert_eq!(WardTree::new(&sums), None, "too heavy");
        sums.cluster_weights = vec![1 << 61, 1];
        assert!(WardTree::new(&sums).is_some());
    }

    #[test]
    fn sides_are_told_by_the_columns_between_them() {
        let data = crate::model::fixture::customers(90);
        let model = crate::model::fixture::model(&data);
        let sums = model.sums.as_ref().unwrap();
        let told = told_apart(&model.preparation, sums, [&[0], &[1, 2]]);
        assert_eq!(told[0].feature, 1, "visits made the segments");
        assert!(told[0].part > 0.9 && told.iter().map(|told| told.part).sum::<f64>() > 0.999);
        assert!(
            (0.0..20.0).contains(&told[0].means[0]) && (140.0..170.0).contains(&told[0].means[1]),
            "{told:?}"
        );
        assert!(!told[0].is_share);
    }
}
