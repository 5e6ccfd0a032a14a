//! Bounds for many clusters: one per row and group of centroids, so that a row is measured only against the groups that
//! may hold its nearest centroid (Ding et al., "Yinyang k-means", 2015).
//!
//! Per row: an upper bound of the distance to its own centroid, and for each group a lower bound of the distance to
//! all others in it. As in [`super::bounds`] the numbers are not touched while they hold: what is kept of a lower bound
//! `l` is `l + R_g`, where `R_g` adds up how far the farthest-moving centroid of the group went in each pass, and of an
//! upper bound `u` it is `u - A_k`, where `A_k` adds up the steps of its centroid. Lower bounds are 16-bit multiples of
//! a unit, rounded downwards, so that they take a small part of the memory that the data takes.

use std::sync::Arc;

use super::bounds::{GROWTH, MEMORY_SHARE};
use super::group_kernel::{GroupTable, ROUNDING};
use super::kernel::Kernels;
use crate::grid::CENTROID_SCALE;
use crate::tiles::{Centroids, TileSet};

/// Centroids of a group are a multiple of this.
pub(super) const VECTOR: usize = 16;
/// Most vectors of centroids in a group.
const MAX_VECTORS: usize = 4;
/// Most groups: a row's open groups are bits of a `u64`.
pub(super) const MAX_GROUPS: usize = 64;
/// Fewer groups than this leave too little to prune.
const MIN_GROUPS: usize = 4;
/// Lower bounds reach to so many typical distances of a row to its centroid; farther ones are cut off.
const REACH: f64 = 16.0;
/// Rows looked at for the typical distance.
const SAMPLE_ROWS: usize = 256;

/// Which centroids stand together.
pub(super) struct Grouping {
    /// `n_groups x width` clusters, [`u32::MAX`] in places left over.
    pub(super) clusters: Vec<u32>,
    pub(super) width: usize,
    /// The group of each cluster.
    group_of: Vec<u8>,
}

impl Grouping {
    /// Groups of centroids near each other, or `None` where group bounds make no sense for this shape.
    pub(super) fn new(centroids: &Centroids) -> Option<Self> {
        let k = centroids.n_clusters();
        let (n_groups, width) = shape(k, centroids.n_features())?;
        let mut order: Vec<u32> = (0..k as u32).collect();
        bisect(centroids, &mut order, n_groups);
        let mut clusters = vec![u32::MAX; n_groups * width];
        let mut group_of = vec![0; k];
        for group in 0..n_groups {
            for (slot, &cluster) in order[share(k, group, n_groups)].iter().enumerate() {
                clusters[group * width + slot] = cluster;
                group_of[cluster as usize] = group as u8;
            }
        }
        Some(Self {
            clusters,
            width,
            group_of,
        })
    }

    pub(super) fn n_groups(&self) -> usize {
        self.clusters.len() / self.width
    }

    /// Lower bounds of a row: one per group, filled up to whole vectors.
    pub(super) fn n_lower(&self) -> usize {
        self.n_groups().next_multiple_of(VECTOR)
    }

    /// The cluster in a place of a group.
    #[inline]
    pub(super) fn cluster(&self, group: usize, place: usize) -> u32 {
        self.clusters[group * self.width + place]
    }

    #[inline]
    pub(super) fn group_of(&self, cluster: u32) -> usize {
        usize::from(self.group_of[cluster as usize])
    }
}

/// Number and width of the groups for a shape; `None` where bounds of groups make no sense.
pub(super) fn shape(n_clusters: usize, n_features: usize) -> Option<(usize, usize)> {
    let row_bytes = MEMORY_SHARE * (n_features * size_of::<f32>()) as f64;
    let affordable = (row_bytes - (size_of::<u32>() + size_of::<f32>()) as f64) / size_of::<u16>() as f64;
    let most = (affordable.max(0.0) as usize).min(MAX_GROUPS);
    let width = (1..=MAX_VECTORS)
        .map(|vectors| vectors * VECTOR)
        .find(|width| n_clusters.div_ceil(*width).next_multiple_of(VECTOR) <= most)?;
    let n_groups = n_clusters.div_ceil(width);
    (n_groups >= MIN_GROUPS).then_some((n_groups, width))
}

/// Part `part` of `parts` of `0..n`, all of about equal size.
fn share(n: usize, part: usize, parts: usize) -> std::ops::Range<usize> {
    n * part / parts..n * (part + 1) / parts
}

/// Orders centroids so that each of `parts` equal shares of them lies close together: cut in two across the feature in
/// which they differ most, and so on.
fn bisect(centroids: &Centroids, order: &mut [u32], parts: usize) {
    if parts == 1 {
        return;
    }
    let spread = |feature: &usize| {
        let values = order
            .iter()
            .map(|&cluster| f64::from(centroids.row(cluster as usize)[*feature]));
        let (sum, squares) = values.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        squares - sum * sum / order.len() as f64
    };
    let widest = (0..centroids.n_features())
        .max_by(|a, b| spread(a).total_cmp(&spread(b)))
        .unwrap_or(0);
    order.sort_unstable_by_key(|&cluster| (centroids.row(cluster as usize)[widest], cluster));
    let left = parts / 2;
    let (a, b) = order.split_at_mut(order.len() * left / parts);
    bisect(centroids, a, left);
    bisect(centroids, b, parts - left);
}

/// What a session remembers of its rows and groups.
pub(super) struct GroupBounds {
    grouping: Arc<Grouping>,
    /// `A_k` of each cluster, in grid units.
    own: Vec<f64>,
    /// `R_g` of each group.
    groups: Vec<f64>,
    typical: f64,
    unit: f32,
    /// `n_rows x n_lower`; the upper bounds stand in place of the bounds of single rows,
    /// [`super::bounds::Bounds::rows`].
    pub(super) lower: Vec<u16>,
}

impl GroupBounds {
    /// Bounds that say nothing yet about rows with these labels under these centroids.
    pub(super) fn new(
        grouping: Grouping,
        centroids: &Centroids,
        data: &TileSet,
        labels: &[u32],
        kernels: &Kernels,
    ) -> Self {
        let n_groups = grouping.n_groups();
        let typical = typical_distance(centroids, data, labels, kernels);
        let unit = (REACH * typical / f64::from(u16::MAX)).log2().ceil().exp2() as f32;
        Self {
            own: vec![0.0; centroids.n_clusters()],
            groups: vec![0.0; n_groups],
            typical,
            unit,
            lower: vec![0; data.n_rows() * grouping.n_lower()],
            grouping: Arc::new(grouping),
        }
    }

    /// Follows the centroids, which went so far each, see [`super::bounds::steps`].
    pub(super) fn follow(&mut self, steps: &[f64]) {
        for (own, step) in self.own.iter_mut().zip(steps) {
            *own = (*own + step) * GROWTH;
        }
        for (group, clusters) in self
            .groups
            .iter_mut()
            .zip(self.grouping.clusters.chunks(self.grouping.width))
        {
            let steps = clusters.iter().filter_map(|&cluster| steps.get(cluster as usize));
            *group = (*group + steps.fold(0.0, |most: f64, &step| most.max(step))) * GROWTH;
        }
    }

    /// Whether the centroids have gone so far that the numbers kept leave the range of 16 bits.
    pub(super) fn is_worn(&self) -> bool {
        self.groups.iter().any(|&way| way > self.typical * REACH / 4.0)
    }

    /// What the tasks of a pass need of these bounds, for the centroids that were followed to.
    pub(super) fn view(&self, centroids: &Centroids) -> GroupView {
        let rounded = |slack: f32| self.own.iter().map(|&way| way as f32 * slack).collect();
        GroupView {
            grouping: Arc::clone(&self.grouping),
            table: GroupTable::new(centroids, &self.grouping, &self.groups, 1.0 / self.unit),
            own_below: rounded(1.0 - ROUNDING),
            own_above: rounded(1.0 + ROUNDING),
        }
    }
}

/// Root mean square distance of some rows to their centroids, in grid units; never 0.
fn typical_distance(centroids: &Centroids, data: &TileSet, labels: &[u32], kernels: &Kernels) -> f64 {
    let mut x = vec![0; data.n_features()];
    let stride = (data.n_rows() / SAMPLE_ROWS).max(1);
    let (mut sum, mut n) = (0.0, 0.0);
    for row in (0..data.n_rows()).step_by(stride) {
        data.read_row(row, &mut x);
        x.iter_mut().for_each(|x| *x *= CENTROID_SCALE as i32);
        sum += (kernels.centroid_sq_dist)(&x, centroids.row(labels[row] as usize));
        n += 1.0;
    }
    (sum / n).sqrt().max(1.0) / CENTROID_SCALE as f64
}

/// Group bounds as they stand in a pass.
pub(super) struct GroupView {
    pub(super) grouping: Arc<Grouping>,
    pub(super) table: GroupTable,
    own_below: Vec<f32>,
    own_above: Vec<f32>,
}

impl GroupView {
    /// At most so far is a row of cluster `label` from its centroid.
    #[inline]
    pub(super) fn reach(&self, upper: f32, label: u32) -> f32 {
        (upper + self.own_above[label as usize]) * (1.0 + ROUNDING)
    }

    /// What is kept of a row's distance to its centroid, at most `reach`.
    #[inline]
    pub(super) fn keep_upper(&self, reach: f32, label: u32) -> f32 {
        let kept = reach - self.own_below[label as usize];
        kept + kept.abs() * ROUNDING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_centroid_stands_in_one_group() {
        let d = 64;
        let values = (0..100 * d).map(|i| (i * 7919 % 10007) as i32).collect();
        let grouping = Grouping::new(&Centroids::new(d, values)).unwrap();
        assert_eq!((grouping.n_groups(), grouping.width), (7, 16));
        let mut seen: Vec<u32> = grouping.clusters.iter().copied().filter(|&c| c != u32::MAX).collect();
        for &cluster in &seen {
            let group = grouping.group_of(cluster);
            assert!(grouping.clusters[group * 16..][..16].contains(&cluster));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<u32>>());
    }

    #[test]
    fn bounds_take_a_small_part_of_the_memory() {
        for (k, d) in [(256, 64), (1024, 128), (100, 64), (4000, 512)] {
            let values = (0..k * d).map(|i| i as i32).collect();
            let grouping = Grouping::new(&Centroids::new(d, values)).unwrap();
            let bytes = 4 + 4 + 2 * grouping.n_lower();
            assert!(bytes as f64 <= 0.2 * 4.0 * d as f64, "{k} {d}: {bytes}");
        }
        let few_features = Centroids::new(4, vec![0; 4 * 300]);
        assert!(Grouping::new(&few_features).is_none());
    }

    #[test]
    fn neighbours_stand_together() {
        // Two heaps of 40 centroids each, far apart in the last feature, given alternately.
        let d = 64;
        let values = (0..80 * d).map(|i| {
            if i % d == d - 1 && i / d % 2 == 0 {
                1 << 20
            } else {
                (i * 31 % 97) as i32
            }
        });
        let grouping = Grouping::new(&Centroids::new(d, values.collect())).unwrap();
        for group in grouping.clusters.chunks(grouping.width) {
            let heaps: Vec<u32> = group.iter().filter(|&&c| c != u32::MAX).map(|c| c % 2).collect();
            let odd = heaps.iter().sum::<u32>() as usize;
            assert!(
                odd == 0 || odd == heaps.len() || grouping.n_groups() % 2 == 1,
                "{heaps:?}"
            );
        }
    }
}
