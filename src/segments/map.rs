//! Segments on a plane: the principal components of their centroids, each as heavy as its rows.

use serde::{Deserialize, Serialize};

use crate::cells::Count;
use crate::features::Preparation;
use crate::tiles::Centroids;

/// More segments than this are not drawn: the map would be a cloud, and its matrix large.
pub const MOST_MAPPED: usize = 64;
/// Rounds of rotations; matrices of this size need fewer than ten.
const MOST_ROUNDS: usize = 60;

/// Where the segments lie on the plane that shows most of what lies between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentMap {
    /// Per segment its place, in units of the prepared features, about the mean of all rows.
    pub points: Vec<[f64; 2]>,
    /// Per axis its share of the scatter between the segments.
    pub shares: [f64; 2],
    /// Per axis the features that it follows most: their place in the model, and the axis' part of their direction,
    /// from -1 to 1; positive where the feature grows along the axis.
    pub axes: [Vec<(usize, f64)>; 2],
}

/// The map of 2 to [`MOST_MAPPED`] segments of about so many rows; `None` for other numbers, or where all segments lie in one place.
///
/// The eigenvectors of the segments' weighted scatter, by Jacobi's rotations in a fixed order on `f64` (no other
/// functions than square roots): the same bits everywhere. An axis points to where its farthest segment lies.
#[must_use]
pub fn segment_map(preparation: &Preparation, centroids: &Centroids, counts: &[Count]) -> Option<SegmentMap> {
    let n = centroids.n_clusters();
    if !(2..=MOST_MAPPED).contains(&n) {
        return None;
    }
    let rows: Vec<Vec<f64>> = (0..n)
        .map(|cluster| {
            let row = centroids.row(cluster).iter();
            row.map(|&c| preparation.grid.centroid_value(c)).collect()
        })
        .collect();
    let counts: Vec<f64> = counts.iter().map(|count| count.about() as f64).collect();
    let total: f64 = counts.iter().sum();
    let roots: Vec<f64> = counts.iter().map(|count| (count / total).sqrt()).collect();
    let scaled = weighted_and_centred(&rows, &roots);
    let scatter: Vec<Vec<f64>> = scaled
        .iter()
        .map(|a| scaled.iter().map(|b| dot(a, b)).collect())
        .collect();
    let trace: f64 = (0..n).map(|i| scatter[i][i]).sum();
    if trace.is_nan() || trace <= 0.0 {
        return None;
    }
    let mut found = eigen(scatter);
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut points = vec![[0.0; 2]; n];
    let mut map_axes = [Vec::new(), Vec::new()];
    let mut shares = [0.0; 2];
    for (axis, (value, vector)) in found.into_iter().take(2).enumerate() {
        let value = value.max(0.0);
        shares[axis] = value / trace;
        // What is left of rounding alone is no axis.
        if shares[axis] < 1e-12 {
            continue;
        }
        let direction = direction(&scaled, &vector);
        let places: Vec<f64> = { rows.iter() }
            .map(|row| dot(row, &direction) - mean_place(&rows, &roots, &direction))
            .collect();
        let farthest = places
            .iter()
            .fold(0.0, |far: f64, &v| if v.abs() > far.abs() { v } else { far });
        let sign = if farthest < 0.0 { -1.0 } else { 1.0 };
        points
            .iter_mut()
            .zip(&places)
            .for_each(|(point, place)| point[axis] = sign * place);
        let mut features: Vec<(usize, f64)> = direction.iter().map(|v| sign * v).enumerate().collect();
        features.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        features.truncate(3);
        map_axes[axis] = features;
    }
    Some(SegmentMap {
        points,
        shares,
        axes: map_axes,
    })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn mean_place(rows: &[Vec<f64>], roots: &[f64], direction: &[f64]) -> f64 {
    let places = rows.iter().zip(roots);
    places.map(|(row, root)| root * root * dot(row, direction)).sum()
}

/// Rows less their weighted mean, times the roots of their weights (which add up to 1).
fn weighted_and_centred(rows: &[Vec<f64>], roots: &[f64]) -> Vec<Vec<f64>> {
    let n_features = rows[0].len();
    let mean: Vec<f64> = (0..n_features)
        .map(|f| rows.iter().zip(roots).map(|(row, root)| root * root * row[f]).sum())
        .collect();
    let both = rows.iter().zip(roots);
    both.map(|(row, root)| row.iter().zip(&mean).map(|(v, mean)| root * (v - mean)).collect())
        .collect()
}

/// The unit vector over features that an eigenvector over rows stands for.
fn direction(scaled: &[Vec<f64>], vector: &[f64]) -> Vec<f64> {
    let n_features = scaled[0].len();
    let sums: Vec<f64> = (0..n_features)
        .map(|f| scaled.iter().zip(vector).map(|(row, v)| row[f] * v).sum())
        .collect();
    let length = dot(&sums, &sums).sqrt();
    sums.into_iter().map(|v| v / length).collect()
}

/// Eigenvalues and eigenvectors of a symmetric matrix, in no order (Jacobi 1846; Golub and Van Loan, 8.5).
fn eigen(mut a: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let n = a.len();
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(i == j)).collect()).collect();
    let scale: f64 = (0..n).map(|i| a[i][i].abs()).sum();
    for _ in 0..MOST_ROUNDS {
        let pairs = (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q)));
        let off: f64 = pairs.clone().map(|(p, q)| a[p][q].abs()).fold(0.0, f64::max);
        if off <= scale * 1e-17 {
            break;
        }
        for (p, q) in pairs {
            rotate(&mut a, &mut vectors, p, q);
        }
    }
    (0..n)
        .map(|i| (a[i][i], vectors.iter().map(|row| row[i]).collect()))
        .collect()
}

/// Turns the plane of `p` and `q` so that `a[p][q]` becomes 0.
fn rotate(a: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) {
    if a[p][q] == 0.0 {
        return;
    }
    let tau = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    let sign = if tau < 0.0 { -1.0 } else { 1.0 };
    let t = sign / (tau.abs() + (1.0 + tau * tau).sqrt());
    let c = 1.0 / (1.0 + t * t).sqrt();
    let s = t * c;
    let turn = |row: &mut Vec<f64>| (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    a.iter_mut().for_each(turn);
    let (upper, lower) = a.split_at_mut(q);
    for (x, y) in upper[p].iter_mut().zip(&mut lower[0]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
    vectors.iter_mut().for_each(turn);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{customers, preparation};

    fn counts(counts: &[u64]) -> Vec<Count> {
        counts.iter().map(|&n| n.into()).collect()
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn a_plane_in_many_dimensions_is_found_again() {
        // Two features: the map is a turned copy, so all distances stay.
        let mut preparation = preparation(&customers(200));
        preparation.features.truncate(2);
        let unit = 256 << 10;
        let centroids = Centroids::new(2, vec![0, 0, 8 * unit, unit, -3 * unit, 2 * unit, unit, -unit]);
        let map = segment_map(&preparation, &centroids, &counts(&[400, 100, 50, 7])).unwrap();
        let place = |cluster: usize| {
            centroids
                .row(cluster)
                .iter()
                .map(|&c| preparation.grid.centroid_value(c))
        };
        let mut compared = 0;
        for a in 0..4 {
            for b in 0..a {
                let there: f64 = place(a).zip(place(b)).map(|(x, y)| (x - y) * (x - y)).sum();
                let here: f64 = (0..2)
                    .map(|axis| (map.points[a][axis] - map.points[b][axis]).powi(2))
                    .sum();
                assert!((here / there - 1.0).abs() < 1e-9, "{here} {there}");
                compared += usize::from(!near(here, 0.0) && (2.0 * here / there - 1.0).abs() > 1e-9);
            }
        }
        assert_eq!(compared, 6, "a wrong distance would be seen");
        assert!(near(map.shares[0] + map.shares[1], 1.0) && map.shares[0] > map.shares[1]);
        assert_eq!(map.axes[0][0].0, 0, "the first axis follows the first feature");
        assert!(map.points[1][0] > 0.0, "it points to the farthest segment");
    }

    #[test]
    fn one_place_and_one_segment_are_no_map() {
        let preparation = preparation(&customers(200));
        let n = preparation.n_features();
        let same = Centroids::new(n, vec![5; 3 * n]);
        assert_eq!(segment_map(&preparation, &same, &counts(&[1, 2, 3])), None);
        let one = Centroids::new(n, (0..n as i32).collect());
        assert_eq!(segment_map(&preparation, &one, &counts(&[3])), None);
        let two = Centroids::new(n, (0..2 * n as i32).map(|v| v * v).collect());
        let map = segment_map(&preparation, &two, &counts(&[1, 3])).unwrap();
        assert!(near(map.shares[0], 1.0) && map.points.iter().all(|point| point[1] == 0.0));
    }
}
