//! Whether there is a gap between neighbouring clusters, or the border cuts through a crowd.
//!
//! The rows of two clusters are looked at along the line through their centroids. Two groups of their own leave fewer
//! rows between them than about either centre; one group that was cut in two does not. The idea is that of G-means
//! (Hamerly and Elkan, 2003) and dip-means (Kalogeratos and Likas, 2012); here it judges the borders of a k that was
//! fitted anyway, and asks for the depth of the valley instead of testing a distribution.

use rayon::prelude::*;

use crate::tiles::{Centroids, TileSet};

/// Two clusters have a gap between them where the rows at the thinnest place are at most this share of those about the
/// centre with fewer rows.
pub const GAP: f64 = 0.85;
/// Bins from one half of the distance of the centroids beyond the first to one half beyond the second.
const BINS: usize = 20;
/// Bins whose mean is taken, on either side of one: single bins of small clusters are noisy.
const REACH: usize = 1;

/// Per cluster, the shallowest valley towards any other: rows at the thinnest place between two centroids, over rows
/// about the thinner of both. Near 0 for groups apart, near 1 for a crowd cut in two. `labels` holds one per row.
pub(super) fn valleys(data: &TileSet, labels: &[u32], centroids: &Centroids) -> Vec<f64> {
    let k = centroids.n_clusters();
    let histograms = histograms(data, labels, centroids);
    let valley = |a: usize, b: usize| depth(&histograms[pair(a, b, k)]);
    let shallowest = |a: usize| {
        let others = (0..k).filter(|&b| b != a);
        others.map(|b| valley(a.min(b), a.max(b))).fold(0.0, f64::max)
    };
    (0..k).map(shallowest).collect()
}

type Histogram = [u32; BINS];

/// Place of the clusters `a < b` among all pairs.
fn pair(a: usize, b: usize, k: usize) -> usize {
    a * k + b
}

/// For each pair of clusters, where their rows lie along the line through both centroids.
fn histograms(data: &TileSet, labels: &[u32], centroids: &Centroids) -> Vec<Histogram> {
    let k = centroids.n_clusters();
    let between = sq_dists_between(centroids);
    let zero = || vec![[0; BINS]; k * k];
    let rows = (0..data.n_rows()).into_par_iter().filter(|&row| data.weight(row) > 0);
    let add = |(mut histograms, mut x): (Vec<Histogram>, Vec<i32>), row: usize| {
        data.read_row(row, &mut x);
        let own = labels[row] as usize;
        let to_own = centroids.sq_dist(&x, own) as f64;
        for other in (0..k).filter(|&other| other != own) {
            // 0 on the own centroid, 1/2 on the border, negative on the far side of the own centroid.
            let to_other = centroids.sq_dist(&x, other) as f64;
            let along = 0.5 * (1.0 + (to_own - to_other) / between[pair(own, other, k)]);
            let along = if own < other { along } else { 1.0 - along };
            let bin = ((along + 0.5) * (BINS as f64 / 2.0)).floor();
            if (0.0..BINS as f64).contains(&bin) {
                histograms[pair(own.min(other), own.max(other), k)][bin as usize] += 1;
            }
        }
        (histograms, x)
    };
    let merge = |mut a: Vec<Histogram>, b: Vec<Histogram>| {
        let bins = a.iter_mut().flatten().zip(b.iter().flatten());
        bins.for_each(|(a, b)| *a += b);
        a
    };
    rows.fold(|| (zero(), vec![0; data.n_features()]), add)
        .map(|(histograms, _)| histograms)
        .reduce(zero, merge)
}

/// Squared distances of all pairs of centroids.
fn sq_dists_between(centroids: &Centroids) -> Vec<f64> {
    let k = centroids.n_clusters();
    let sq_dist = |a: usize, b: usize| -> f64 {
        let pairs = centroids.row(a).iter().zip(centroids.row(b));
        pairs.map(|(&a, &b)| u128::from(a.abs_diff(b)).pow(2)).sum::<u128>() as f64
    };
    (0..k * k).map(|place| sq_dist(place / k, place % k).max(1.0)).collect()
}

/// The thinnest place between the densest of either side, over the thinner of these two. One standard deviation of the
/// difference of both counts is added to the thinnest place: where rows are few, a valley may be chance.
fn depth(histogram: &Histogram) -> f64 {
    let rows = |bin: usize| -> f64 {
        let bins = &histogram[bin.saturating_sub(REACH)..(bin + REACH + 1).min(BINS)];
        f64::from(bins.iter().sum::<u32>()) * (2 * REACH + 1) as f64 / bins.len() as f64
    };
    let rows: Vec<f64> = (0..BINS).map(rows).collect();
    let densest = |mut bins: std::ops::Range<usize>| {
        let first = bins.next().expect("a half is not empty");
        bins.fold(first, |best, bin| if rows[bin] > rows[best] { bin } else { best })
    };
    let (left, right) = (densest(0..BINS / 2), densest(BINS / 2..BINS));
    let least = rows[left..=right].iter().copied().fold(f64::INFINITY, f64::min);
    let thinner = rows[left].min(rows[right]);
    if thinner > 0.0 {
        ((least + (least + thinner).sqrt()) / thinner).min(1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Sums of eight draws, a bell of width 200 around each centre.
    fn bells(centres: &[f32], n: usize) -> (TileSet, Vec<u32>) {
        let mut rng = Rng::new(1, 0);
        let mut draw = |_| rng.below(250) as f32;
        let value = |row: usize| centres[row % centres.len()] + (0..8).map(&mut draw).sum::<f32>() - 1000.0;
        let rows: Vec<f32> = (0..n).map(value).collect();
        let labels = (0..n).map(|row| (row % centres.len()) as u32).collect();
        (TileSet::from_rows(&rows, 1, None, usize::MAX), labels)
    }

    #[test]
    fn groups_apart_have_a_gap_and_a_crowd_cut_in_two_has_none() {
        let (data, labels) = bells(&[0., 2000., 6000.], 6000);
        let apart = valleys(&data, &labels, &Centroids::on_rows(1, &[0, 2000, 6000]));
        assert!(apart.iter().all(|&valley| valley < 0.1), "{apart:?}");
        // The first bell cut in two at its middle.
        let (data, _) = bells(&[0.], 6000);
        let mut x = [0];
        let side = |row: usize| {
            data.read_row(row, &mut x);
            u32::from(x[0] > 0)
        };
        let labels: Vec<u32> = (0..6000).map(side).collect();
        let cut = valleys(&data, &labels, &Centroids::on_rows(1, &[-160, 160]));
        assert!(cut.iter().all(|&valley| valley > GAP), "{cut:?}");
    }
}
