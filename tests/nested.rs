//! Segments of segments: every split is the k-means run on the segment's rows alone, scoring goes down the same way, and
//! nothing depends on threads, chunks, batches or the order of the rows.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use kohort::backend::Backend;
use kohort::backend::cpu::CpuBackend;
use kohort::backend::gpu::{GpuBackend, GpuOptions, GpuSelection};
use kohort::backend::scalar::ScalarBackend;
use kohort::cells::MinCell;
use kohort::data::{MemorySource, read_keys};
use kohort::features::{FeatureOptions, Scale, prepare};
use kohort::fit::{Fit, FitOptions, fit};
use kohort::kmeans::{self, KMeansParams};
use kohort::nested::{Split, SplitRule};
use kohort::partial::ClusterPartial;
use kohort::rng::Rng;
use kohort::select::Strength;
use kohort::tiles::{RowKeys, TileSet};

const N: usize = 1800;
const FEATURES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Three groups far apart in `a`. The first has no parts, the second two in `c`, the third three.
fn row(row: usize) -> (usize, [f64; 5]) {
    let mut rng = Rng::new(5, row as u64);
    let mut noise = || (0..6).map(|_| rng.below(1000) as f64 / 1000.0).sum::<f64>() - 3.0;
    let (group, part) = [(0, 0), (1, 0), (2, 0), (0, 0), (1, 1), (2, 1), (0, 0), (1, 1), (2, 2)][row % 9];
    let values = [
        60.0 * group as f64 + noise(),
        noise(),
        9.0 * part as f64 + noise(),
        noise(),
        noise(),
    ];
    (10 * group + part, values)
}

/// The rows `order`, in batches.
fn source(order: &[usize], batch_rows: usize) -> MemorySource {
    let batch = |rows: &[usize]| {
        let column =
            |j: usize| -> ArrayRef { Arc::new(Float64Array::from_iter_values(rows.iter().map(|&r| row(r).1[j]))) };
        let ids = rows.iter().map(|&row| (row * 7919 % 10_007) as i64);
        let weights = rows.iter().map(|&row| (row % 4) as f64);
        let mut columns: Vec<(&str, ArrayRef)> = FEATURES.into_iter().zip((0..5).map(column)).collect();
        columns.push(("w", Arc::new(Float64Array::from_iter_values(weights))));
        columns.push(("id", Arc::new(Int64Array::from_iter_values(ids))));
        RecordBatch::try_from_iter(columns).unwrap()
    };
    MemorySource::new(order.chunks(batch_rows).map(batch).collect()).unwrap()
}

fn in_order() -> Vec<usize> {
    (0..N).collect()
}

fn rule(path: Option<&str>, k: [usize; 2]) -> SplitRule {
    SplitRule {
        path: path.map(|path| path.parse().unwrap()),
        k,
        min_share: 0.01,
    }
}

fn options(weighted: bool, levels: &[SplitRule]) -> FitOptions {
    FitOptions {
        features: FeatureOptions {
            features: FEATURES.map(String::from).to_vec(),
            id: vec!["id".into()],
            weight: weighted.then(|| "w".into()),
            scale: Scale::None,
            ..FeatureOptions::default()
        },
        n_init: 3,
        levels: levels.to_vec(),
        ..FitOptions::new(3)
    }
}

/// Path of each row by its number in [`row`].
fn paths(fit: &Fit, order: &[usize]) -> BTreeMap<usize, String> {
    let paths = &fit.nested.as_ref().unwrap().paths;
    let of_row = paths.of_row.iter().map(|&leaf| paths.leaves[leaf as usize].to_string());
    order.iter().copied().zip(of_row).collect()
}

/// The first split that is not what k-means on its rows alone gives, with the scalar backend.
fn differs(fit: &Fit, source: &MemorySource, options: &FitOptions) -> Option<String> {
    let weight = options.features.weight.as_deref();
    let all = prepare(source, &fit.model.preparation, weight, usize::MAX)
        .unwrap()
        .tiles;
    let id = source_column(source, "id");
    let keys = read_keys(source, &[id], &["id".into()]).unwrap();
    let mut of_row: Vec<String> = fit
        .assignment
        .labels
        .iter()
        .map(|label| (label + 1).to_string())
        .collect();
    for split in &fit.model.splits {
        let rows: Vec<usize> = (0..N).filter(|&row| of_row[row] == split.path.to_string()).collect();
        let mut x = vec![0; FEATURES.len()];
        let mut values = Vec::new();
        for &row in &rows {
            all.read_row(row, &mut x);
            values.extend(x.iter().map(|&x| x as f32));
        }
        let weights: Vec<u32> = rows.iter().map(|&row| all.weight(row)).collect();
        let data = TileSet::from_rows(&values, FEATURES.len(), weight.map(|_| &weights[..]), usize::MAX);
        let keys = RowKeys::Ids(rows.iter().map(|&row| keys.key(row)).collect());
        let params = KMeansParams {
            n_init: options.n_init,
            ..KMeansParams::new(split.centroids.n_clusters())
        };
        let alone = kmeans::fit(&ScalarBackend, &ScalarBackend, &data, &keys, &params, 1.0, &()).unwrap();
        let sums = ClusterPartial::of_labels(&data, &alone.nearest.labels, alone.centroids.n_clusters());
        let expected = Split {
            path: split.path.clone(),
            centroids: alone.centroids,
            segment_counts: sums.counts.clone(),
            sums: Some(sums),
        };
        if expected != *split {
            return Some(split.path.to_string());
        }
        for (&row, label) in rows.iter().zip(&alone.nearest.labels) {
            of_row[row] = format!("{}.{}", split.path, label + 1);
        }
    }
    let told: Vec<String> = paths(fit, &in_order()).into_values().collect();
    (of_row != told).then(|| "the paths".into())
}

fn source_column(source: &MemorySource, name: &str) -> usize {
    kohort::data::BatchSource::schema(source).index_of(name).unwrap()
}

#[test]
fn a_split_is_the_fit_of_its_rows_alone() {
    let host = CpuBackend::new(2).unwrap();
    let table = source(&in_order(), N);
    for (weighted, levels) in [
        (false, vec![rule(None, [2, 2])]),
        (true, vec![rule(None, [3, 3]), rule(None, [2, 2])]),
        (
            true,
            vec![
                rule(Some("3"), [2, 2]),
                rule(Some("3.2"), [4, 4]),
                rule(Some("1"), [2, 4]),
            ],
        ),
    ] {
        let options = options(weighted, &levels);
        let mut fitted = fit(&table, &host, &options, &()).unwrap();
        assert!(!fitted.model.splits.is_empty());
        assert_eq!(differs(&fitted, &table, &options), None);
        // Planted faults: a centroid, a row.
        let kept = fitted.model.splits[1].centroids.clone();
        fitted.model.splits[1].centroids.row_mut(1)[0] += 1;
        assert_eq!(
            differs(&fitted, &table, &options),
            Some(fitted.model.splits[1].path.to_string())
        );
        fitted.model.splits[1].centroids = kept;
        let of_row = &mut fitted.nested.as_mut().unwrap().paths.of_row;
        of_row[7] = u32::from(of_row[7] == 0);
        assert_eq!(differs(&fitted, &table, &options), Some("the paths".into()));
    }
}

#[test]
fn levels_that_are_left_open_split_what_has_parts_and_leave_the_rest() {
    let host = CpuBackend::new(2).unwrap();
    let order = in_order();
    let table = source(&order, N);
    let fitted = fit(
        &table,
        &host,
        &options(false, &[rule(None, [2, 5]), rule(None, [2, 5])]),
        &(),
    )
    .unwrap();
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (&at, path) in &paths(&fitted, &order) {
        groups.entry(path.clone()).or_default().push(row(at).0);
    }
    for truth in groups.values() {
        assert!(
            truth.iter().all(|group| *group == truth[0]),
            "one true part in each leaf"
        );
    }
    assert_eq!(groups.len(), 6, "{:?}", groups.keys());
    let nested = fitted.nested.as_ref().unwrap();
    let whole: Vec<_> = nested.tried.iter().filter(|tried| tried.weights.is_empty()).collect();
    assert_eq!(whole.len(), 6, "the group without parts, and the parts of the others");
    assert!(
        whole.iter().all(|tried| tried.strength == Some(Strength::None)),
        "{whole:?}"
    );
    assert!(
        whole[0].reasons[0].contains("come out again when its rows are drawn again"),
        "{whole:?}"
    );
    let split = nested.tried.iter().filter(|tried| !tried.weights.is_empty());
    for tried in split {
        assert_eq!(tried.strength, Some(Strength::Clear));
        assert!(tried.share_explained.unwrap() > 0.8);
        let named = nested
            .nodes
            .iter()
            .filter(|node| node.path.parent().as_ref() == Some(&tried.path));
        let of_c = |name: &str| ["High c", "Low c", "Close to the average"].contains(&name);
        assert!(
            named.clone().all(|node| of_c(&node.name)),
            "{:?}",
            named.collect::<Vec<_>>()
        );
    }
}

#[test]
fn segments_too_small_or_all_the_same_stay_whole() {
    let column: ArrayRef = Arc::new(Float64Array::from([vec![1.0; 40], vec![5.0, 6.0, 7.0]].concat()));
    let table = MemorySource::new(vec![RecordBatch::try_from_iter([("a", column)]).unwrap()]).unwrap();
    let host = CpuBackend::new(1).unwrap();
    let options = |k| FitOptions {
        levels: vec![rule(None, k)],
        min_cell: MinCell::new(1),
        ..FitOptions::new(2)
    };
    let fixed = fit(&table, &host, &options([4, 4]), &()).unwrap();
    let reasons: Vec<String> = fixed
        .nested
        .unwrap()
        .tried
        .iter()
        .map(|tried| tried.reasons.join(""))
        .collect();
    assert_eq!(reasons, ["all its rows are the same", "3 rows are too few for 4 parts"]);
    let open = fit(&table, &host, &options([2, 4]), &()).unwrap();
    assert!(open.model.splits.is_empty());
    assert_eq!(open.nested.unwrap().paths.counts(), [40, 3]);
    // What is not told is not split, nor into parts that are not told.
    let told = FitOptions {
        min_cell: MinCell::new(4),
        ..options([2, 2])
    };
    let reasons = fit(&table, &host, &told, &()).unwrap().nested.unwrap().tried;
    let reasons: Vec<String> = reasons.iter().map(|tried| tried.reasons.join("")).collect();
    assert_eq!(reasons, ["its number of rows is not told"; 2]);
    let column: ArrayRef = Arc::new(Float64Array::from(
        [vec![1.0; 40], vec![50.0; 37], vec![51.0; 3]].concat(),
    ));
    let table = MemorySource::new(vec![RecordBatch::try_from_iter([("a", column)]).unwrap()]).unwrap();
    let nested = fit(&table, &host, &told, &()).unwrap().nested.unwrap();
    assert_eq!(
        nested.tried[1].reasons,
        ["a part would have fewer than 4 rows, too few to be told of"]
    );
}

#[test]
fn threads_chunks_batches_backends_and_row_order_change_nothing() {
    let host = CpuBackend::new(2).unwrap();
    let order = in_order();
    let options = options(true, &[rule(None, [2, 4]), rule(Some("2.1"), [2, 2])]);
    let expected = fit(&source(&order, N), &host, &options, &()).unwrap();
    let same = |fitted: &Fit, order: &[usize]| {
        let hash = |fit: &Fit| fit.nested.as_ref().unwrap().paths_hash.clone();
        fitted.model == expected.model
            && hash(fitted) == hash(&expected)
            && paths(fitted, order) == paths(&expected, &in_order())
    };
    for threads in [1, 7] {
        let cut = FitOptions {
            chunk_bytes: 1,
            threads: 1,
            ..options.clone()
        };
        let backend = CpuBackend::new(threads).unwrap();
        let fitted = fit(&source(&order, 137), &backend, &cut, &()).unwrap();
        assert!(same(&fitted, &order), "{threads} threads");
    }
    let turned: Vec<usize> = (0..N).map(|at| at * 77 % N).collect();
    assert_ne!(turned, order);
    let fitted = fit(&source(&turned, 500), &host, &options, &()).unwrap();
    assert!(same(&fitted, &turned), "row order");
    // Planted fault: another seed is another fit.
    let other = FitOptions {
        levels: vec![rule(None, [3, 3])],
        ..options.clone()
    };
    assert!(!same(&fit(&source(&order, N), &host, &other, &()).unwrap(), &order));
}

#[test]
fn a_gpu_gives_the_same_paths() {
    let gpu = match GpuBackend::new(&GpuSelection::Any, GpuOptions::default()) {
        Ok(gpu) => gpu,
        Err(error) => return common::skip_without_gpu(&error),
    };
    let host = CpuBackend::new(2).unwrap();
    let table = source(&in_order()[..600], 600);
    let options = options(true, &[rule(Some("2"), [2, 2]), rule(Some("2.1"), [2, 2])]);
    let [expected, fitted] = [&host as &dyn Backend, &gpu].map(|backend| fit(&table, backend, &options, &()).unwrap());
    assert_eq!(fitted.model, expected.model);
    assert_eq!(fitted.nested.unwrap().paths, expected.nested.unwrap().paths);
    let scored = fitted.model.score(&table, &gpu, usize::MAX).unwrap();
    assert_eq!(
        scored.paths,
        expected.model.score(&table, &host, usize::MAX).unwrap().paths
    );
}

#[test]
fn scoring_the_training_data_gives_the_paths_of_the_fit() {
    let host = CpuBackend::new(2).unwrap();
    let table = source(&in_order(), N);
    let fitted = fit(
        &table,
        &host,
        &options(true, &[rule(None, [3, 3]), rule(None, [2, 2])]),
        &(),
    )
    .unwrap();
    let expected = &fitted.nested.as_ref().unwrap().paths;
    for (backend, chunk_bytes) in [(&host as &dyn Backend, usize::MAX), (&ScalarBackend, 1)] {
        let scored = fitted.model.score(&table, backend, chunk_bytes).unwrap();
        assert_eq!(scored.assignment.labels, fitted.assignment.labels);
        assert_eq!(scored.paths.as_ref(), Some(expected));
    }
    let counts = fitted
        .model
        .splits
        .iter()
        .map(|split| split.segment_counts.iter().sum::<u64>());
    assert!(counts.sum::<u64>() > N as u64, "two levels");
    let mut other = fitted.model.clone();
    other.splits.pop();
    assert_ne!(
        other.score(&table, &host, usize::MAX).unwrap().paths.as_ref(),
        Some(expected)
    );
}

#[test]
fn a_rule_for_a_segment_that_is_not_there_is_refused() {
    let host = CpuBackend::new(1).unwrap();
    let table = source(&in_order(), N);
    for levels in [
        vec![rule(Some("4"), [2, 2])],
        vec![rule(Some("1"), [2, 2]), rule(Some("1"), [2, 2])],
    ] {
        let refused = fit(&table, &host, &options(false, &levels), &()).unwrap_err();
        assert!(
            matches!(refused, kohort::Error::InvalidParam { param: "drill", .. }),
            "{refused}"
        );
    }
    let bad = options(false, &[rule(None, [1, 1])]);
    let refused = fit(&table, &host, &bad, &()).unwrap_err();
    assert!(matches!(refused, kohort::Error::InvalidParam { param: "levels", .. }));
}
