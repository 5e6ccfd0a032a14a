//! Laws that hold for any data: partials and moments are exact commutative monoids, and a fit is the same however the
//! rows are cut, ordered or repeated.

use kohort::backend::Backend;
use kohort::backend::cpu::CpuBackend;
use kohort::backend::scalar::ScalarBackend;
use kohort::kmeans::{Init, KMeansParams, fit};
use kohort::num::Moments;
use kohort::partial::ClusterPartial;
use kohort::tiles::{Centroids, RowKeys, TileSet};
use proptest::prelude::*;

const FEATURES: usize = 3;
const CLUSTERS: usize = 4;

/// Rows on the grid, from a few small values to its edges.
fn rows(most: usize) -> impl Strategy<Value = Vec<[i32; FEATURES]>> {
    let value = prop_oneof![-3..4, -10_000..10_000, -8_388_607..8_388_608];
    prop::collection::vec([value.clone(), value.clone(), value], 1..most)
}

fn tiles(rows: &[[i32; FEATURES]], chunk_bytes: usize) -> TileSet {
    let values: Vec<f32> = rows.iter().flatten().map(|&x| x as f32).collect();
    TileSet::from_rows(&values, FEATURES, None, chunk_bytes)
}

/// The partial of rows that go to clusters in turn, with weights of every size.
fn partial(rows: &[[i32; FEATURES]]) -> ClusterPartial {
    let mut partial = ClusterPartial::zero(CLUSTERS, FEATURES);
    for (i, x) in rows.iter().enumerate() {
        partial.add_row(i % CLUSTERS, x, 1 << (i % 17));
    }
    partial
}

fn merged(a: &ClusterPartial, b: &ClusterPartial) -> ClusterPartial {
    let mut sum = a.clone();
    sum.merge(b);
    sum
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn partials_merge_like_numbers_add(a in rows(40), b in rows(40), c in rows(40)) {
        let (a, b, c) = (partial(&a), partial(&b), partial(&c));
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(&merged(&a, &ClusterPartial::zero(CLUSTERS, FEATURES)), &a);
        prop_assert!(merged(&a, &b) != a, "rows were added");
    }

    #[test]
    fn passes_over_parts_merge_to_the_pass_over_all(rows in rows(300), cut in 0usize..300) {
        let cut = cut.min(rows.len());
        let centroids = Centroids::on_rows(FEATURES, &[[1, 2, 3], [-500, 0, 0], [4_000_000, -1, 7]].concat());
        let pass = |rows: &[[i32; FEATURES]]| {
            ScalarBackend.open(&tiles(rows, 1), 3).unwrap().assign(&centroids).unwrap().partial
        };
        prop_assert_eq!(merged(&pass(&rows[..cut]), &pass(&rows[cut..])), pass(&rows));
    }

    #[test]
    fn moments_do_not_depend_on_order_or_cut(
        values in prop::collection::vec(prop_oneof![-1e3..1e3, -1e-9..1e-9, 1e15..1e16], 1..200),
        cut in 0usize..200,
    ) {
        let of = |values: &mut dyn Iterator<Item = f64>| {
            let mut moments = Moments::default();
            values.for_each(|value| moments.add(value));
            moments
        };
        let cut = cut.min(values.len());
        let whole = of(&mut values.iter().copied());
        let mut parts = of(&mut values[cut..].iter().rev().copied());
        parts.merge(&of(&mut values[..cut].iter().copied()));
        prop_assert_eq!(whole.mean().to_bits(), parts.mean().to_bits());
        prop_assert_eq!(whole.std().to_bits(), parts.std().to_bits());
    }

    #[test]
    fn a_fit_does_not_depend_on_chunks_or_row_order(rows in rows(200), k in 1usize..6, turn in 0usize..200, seed: u64) {
        let k = k.min(rows.len());
        let host = CpuBackend::new(1).unwrap();
        let params = KMeansParams { n_init: 2, seed, ..KMeansParams::new(k) };
        let run = |tiles: &TileSet, keys| fit(&host, &host, tiles, &RowKeys::Ids(keys), &params, 1.0, &()).unwrap();
        let keys: Vec<u128> = (0..rows.len() as u128).collect();
        let straight = run(&tiles(&rows, usize::MAX), keys.clone());
        let (mut turned, mut turned_keys) = (rows.clone(), keys);
        let turn = turn % rows.len();
        turned.rotate_left(turn);
        turned_keys.rotate_left(turn);
        let other = run(&tiles(&turned, 1), turned_keys);
        let mut labels = straight.nearest.labels.clone();
        labels.rotate_left(turn);
        prop_assert_eq!(&straight.centroids, &other.centroids);
        prop_assert_eq!((straight.inertia, labels), (other.inertia, other.nearest.labels));
    }

    #[test]
    fn a_weight_of_three_is_the_row_three_times(rows in rows(60), k in 1usize..4) {
        let k = k.min(rows.len());
        let host = CpuBackend::new(1).unwrap();
        let start: Vec<i32> = rows[..k].concat();
        let params = KMeansParams { init: Init::Centroids(Centroids::on_rows(FEATURES, &start)), ..KMeansParams::new(k) };
        let values: Vec<f32> = rows.iter().flatten().map(|&x| x as f32).collect();
        let weights: Vec<u32> = (0..rows.len() as u32).map(|row| 1 + 2 * (row % 2)).collect();
        let weighted = TileSet::from_rows(&values, FEATURES, Some(&weights), usize::MAX);
        let repeated: Vec<[i32; FEATURES]> =
            rows.iter().zip(&weights).flat_map(|(x, &weight)| vec![*x; weight as usize]).collect();
        let run = |tiles: &TileSet| fit(&host, &host, tiles, &RowKeys::RowNumber, &params, 1.0, &()).unwrap();
        let (a, b) = (run(&weighted), run(&tiles(&repeated, usize::MAX)));
        // Segments are numbered by rows, of which there are more on one side: compare them in any order.
        let sorted = |fit: &kohort::kmeans::KMeansFit| {
            let centroids = &fit.centroids;
            let mut rows: Vec<Vec<i32>> = (0..centroids.n_clusters()).map(|c| centroids.row(c).to_vec()).collect();
            rows.sort();
            rows
        };
        prop_assert_eq!((a.inertia, sorted(&a)), (b.inertia, sorted(&b)));
    }
}
