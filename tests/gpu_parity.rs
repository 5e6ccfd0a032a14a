//! The GPU backend against the scalar reference, bit for bit. Runs on any adapter, software included.
#![cfg(feature = "gpu")]

mod common;

use std::ops::ControlFlow;
use std::sync::OnceLock;

use common::{Case, Values, cases, check_backend, check_that_faults_are_found, skip_without_gpu};
use kohort::backend::fallback::FallbackBackend;
use kohort::backend::gpu::{GpuBackend, GpuOptions, GpuSelection, MatrixUnits, adapters};
use kohort::backend::lloyd::{LloydEnd, LloydRule, LloydRun};
use kohort::backend::scalar::ScalarBackend;
use kohort::backend::self_test::{compare, self_test};
use kohort::backend::{Backend, NO_CLUSTER, Pass};
use kohort::error::{Error, ErrorKind};
use kohort::rng::Rng;
use kohort::tiles::{Centroids, TileSet};

const DEFAULT: GpuOptions = GpuOptions {
    memory_budget: None,
    max_chunk_bytes: None,
    threads: 2,
    checked: false,
    timed: false,
    matrix_units: MatrixUnits::IfFaster,
    unproven: false,
};

/// A GPU with these options; `None` where there is none, unless one is demanded.
fn open(options: GpuOptions) -> Option<GpuBackend> {
    match GpuBackend::new(&GpuSelection::Any, options) {
        Ok(backend) => Some(backend),
        Err(error) => {
            skip_without_gpu(&error);
            None
        }
    }
}

/// The GPU that tests share, so that each kernel is compiled once.
fn shared() -> Option<&'static GpuBackend> {
    static BACKEND: OnceLock<Option<GpuBackend>> = OnceLock::new();
    BACKEND.get_or_init(|| open(DEFAULT)).as_ref()
}

#[test]
fn every_case_is_bit_equal() {
    let Some(gpu) = shared() else { return };
    for case in cases() {
        check_backend(gpu, &case);
    }
}

#[test]
fn faults_are_found() {
    check_that_faults_are_found(&Case::new(100, 3, 4, Values::Bell).weighted());
}

#[test]
fn checked_kernels_give_the_same() {
    let Some(gpu) = open(GpuOptions {
        checked: true,
        ..DEFAULT
    }) else {
        return;
    };
    for case in [
        Case::new(257, 3, 3, Values::Small).weighted(),
        Case::new(1000, 16, 16, Values::HeavyTail),
        Case::new(300, 33, 70, Values::Small).weighted().chunks_of(2),
    ] {
        check_backend(&gpu, &case);
    }
}

#[test]
fn small_parts_and_streaming_give_the_same() {
    for memory_budget in [None, Some(0), Some(40_000)] {
        let Some(gpu) = open(GpuOptions {
            memory_budget,
            max_chunk_bytes: Some(4 << 10),
            ..DEFAULT
        }) else {
            return;
        };
        check_backend(&gpu, &Case::new(1000, 3, 8, Values::Bell).weighted().chunks_of(5));
        check_backend(&gpu, &Case::new(4097, 7, 8, Values::HeavyTail));
    }
}

#[test]
fn totals_go_straight_to_memory_where_workgroups_cannot_hold_them() {
    let Some(gpu) = shared() else { return };
    check_backend(gpu, &Case::new(3000, 16, 300, Values::HeavyTail).weighted());
}

#[test]
fn no_workgroup_makes_more_turns_than_a_software_adapter_lets_it() {
    // Some 400,000 turns of loops in all, shared by as many threads as there are cores: Mesa's adapter ends the loops of one
    // after 65,535, and says nothing.
    let Some(gpu) = shared() else { return };
    check_backend(gpu, &Case::new(400_000, 40, 3, Values::Bell));
}

#[test]
fn sums_above_32_bits_and_their_carries_are_exact() {
    // Every value at the upper edge, every weight the largest: 2^39 a row.
    let Some(gpu) = shared() else { return };
    let (n_rows, edge) = (5000, kohort::grid::MAX_GRID);
    let rows = vec![edge as f32; n_rows * 3];
    let weights = vec![kohort::tiles::MAX_WEIGHT; n_rows];
    let data = TileSet::from_rows(&rows, 3, Some(&weights), usize::MAX);
    let centroids = Centroids::on_rows(3, &[0, 0, 0, edge, edge, edge]);
    let pass = gpu.open(&data, 2).unwrap().assign(&centroids).unwrap();
    let expected = (i128::from(edge) * n_rows as i128) << 16;
    assert_eq!(pass.partial.sums_of(1), [expected; 3]);
    assert_eq!(pass.partial.sums_of(0), [0; 3]);
    assert_eq!((pass.partial.counts[1], pass.n_moved), (5000, 5000));
}

#[test]
fn every_way_of_adding_up_holds_the_extremes() {
    // All rows but a few at the upper edge, in one cluster: the fullest slots there can be, over many rounds and flushes.
    let Some(gpu) = shared() else { return };
    let edge = kohort::grid::MAX_GRID;
    // Whole numbers in 32 and 16 slots; cut ones in 4, 2 and 1; weights; none in workgroup memory.
    let shapes = [
        (150_000, 1, 2, false),
        (20_000, 2, 9, false),
        (20_000, 3, 70, false),
        (3000, 7, 120, false),
        (3000, 7, 250, false),
        (3000, 7, 500, false),
        (20_000, 2, 9, true),
        (3000, 7, 200, true),
        (2000, 33, 9, false),
        (2000, 33, 9, true),
    ];
    for (n_rows, d, k, weighted) in shapes {
        let mut rows = vec![edge as f32; n_rows * d];
        for (i, x) in rows.iter_mut().enumerate().take(40 * d) {
            *x = (i % 13) as f32 - edge as f32;
        }
        let weights = vec![kohort::tiles::MAX_WEIGHT; n_rows];
        let data = TileSet::from_rows(&rows, d, weighted.then_some(&weights), usize::MAX);
        let mut start = vec![-edge; k * d];
        start[(k - 1) * d..].fill(edge);
        let found = compare(&ScalarBackend, gpu, &data, &Centroids::on_rows(d, &start)).unwrap();
        assert_eq!(found, None, "{n_rows} x {d}, {k}, {weighted}");
    }
}

/// Every iteration as it was heard of, the run, the labels, and the rows that move in a pass after it.
type RunSeen = (Vec<(Centroids, Pass)>, LloydRun, Vec<u32>, u64);

/// A run of iterations; what may differ between backends is taken out.
fn run(backend: &dyn Backend, data: &TileSet, start: &Centroids, ask: &Ask) -> RunSeen {
    let plain = |pass: &Pass| Pass {
        n_doubtful: 0,
        n_read: 0,
        n_unsettled: 0,
        n_moved: if ask.count_moved { pass.n_moved } else { 0 },
        ..pass.clone()
    };
    let mut heard = Vec::new();
    let mut session = backend.open(data, start.n_clusters()).unwrap();
    let rule = LloydRule {
        max_iter: ask.max_iter,
        shift_limit: &|_| ask.limit,
        count_moved: ask.count_moved,
    };
    let mut each = |centroids: &Centroids, pass: &Pass| {
        heard.push((centroids.clone(), plain(pass)));
        Ok(if heard.len() == ask.stop_after {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    };
    let mut run = session.lloyd(start, &rule, &mut each).unwrap();
    run.pass = plain(&run.pass);
    let labels = session.labels().unwrap();
    (heard, run, labels, session.assign(start).unwrap().n_moved)
}

/// How a run is asked for.
struct Ask {
    max_iter: usize,
    limit: f64,
    stop_after: usize,
    count_moved: bool,
}

#[test]
fn runs_of_iterations_on_the_device_are_those_of_the_host() {
    let Some(gpu) = shared() else { return };
    let ask = |max_iter, limit, stop_after| Ask {
        max_iter,
        limit,
        stop_after,
        count_moved: true,
    };
    let never = usize::MAX;
    let cases = [
        (
            Case::new(4097, 3, 8, Values::Bell),
            ask(40, -1.0, never),
            LloydEnd::MaxIter,
        ),
        (
            Case::new(4097, 3, 8, Values::Bell),
            ask(40, 1e19, never),
            LloydEnd::Rests,
        ),
        (
            Case::new(1000, 2, 4, Values::Bell).weighted().chunks_of(5),
            ask(300, 0.0, never),
            LloydEnd::Converged,
        ),
        (
            Case::new(1000, 16, 17, Values::HeavyTail).weighted(),
            ask(7, -1.0, never),
            LloydEnd::MaxIter,
        ),
        (
            Case::new(700, 33, 5, Values::Edges),
            ask(300, 0.0, never),
            LloydEnd::Converged,
        ),
        (
            Case::new(1000, 3, 8, Values::Offset),
            ask(300, 0.0, 4),
            LloydEnd::Stopped,
        ),
        // High bits alone leave most rows in doubt: they are soon read whole.
        (
            Case::new(1000, 3, 8, Values::Offset),
            ask(9, -1.0, never),
            LloydEnd::MaxIter,
        ),
        (
            Case::new(500, 3, 300, Values::Small),
            ask(9, -1.0, never),
            LloydEnd::EmptyCluster,
        ),
        (
            Case::new(1000, 1, 300, Values::Bell),
            ask(3, -1.0, never),
            LloydEnd::MaxIter,
        ),
        (
            Case::new(100, 2, 1, Values::Small),
            ask(1, -1.0, never),
            LloydEnd::MaxIter,
        ),
    ];
    for (case, mut ask, end) in cases {
        let data = case.data();
        let start = case.centroids(&data);
        for count_moved in [true, false] {
            ask.count_moved = count_moved;
            let (want, got) = (run(&ScalarBackend, &data, &start, &ask), run(gpu, &data, &start, &ask));
            assert_eq!(want.1.end, end, "{case:?}");
            assert!(
                want == got,
                "{case:?}, {count_moved}: {} iterations, {:?}",
                got.0.len(),
                got.1.end
            );
        }
    }
}

#[test]
fn rows_that_cannot_change_their_label_are_passed_over() {
    let Some(gpu) = shared() else { return };
    // Rows by threads, and by workgroups.
    for case in [
        Case::new(20_000, 3, 4, Values::Bell),
        Case::new(5000, 40, 3, Values::Bell),
    ] {
        let data = case.data();
        let start = case.centroids(&data);
        let rule = LloydRule {
            max_iter: 60,
            shift_limit: &|_| -1.0,
            count_moved: false,
        };
        let read = |backend: &dyn Backend| {
            let mut seen = Vec::new();
            let mut each = |_: &Centroids, pass: &Pass| {
                seen.push(([pass.n_read, pass.n_unsettled], pass.partial.clone()));
                Ok(ControlFlow::Continue(()))
            };
            let mut session = backend.open(&data, start.n_clusters()).unwrap();
            session.lloyd(&start, &rule, &mut each).unwrap();
            (seen, session.labels().unwrap())
        };
        let ((want, want_labels), (got, got_labels)) = (read(&ScalarBackend), read(gpu));
        assert!(want_labels == got_labels && want.len() == got.len(), "{case:?}");
        assert!(want.iter().zip(&got).all(|(want, got)| want.1 == got.1), "{case:?}");
        let n_rows = data.n_rows() as u64;
        let (first, last) = (&got[..2], &got[got.len() - 5..]);
        assert!(first.iter().all(|&([n_read, _], _)| n_read == n_rows), "{case:?}");
        // The first pass reads all bits.
        let unsettled = [first[0].0[1], first[1].0[1]];
        assert!(
            unsettled[0] == 0 && (1..n_rows / 32).contains(&unsettled[1]),
            "{case:?}: {unsettled:?}"
        );
        let late: u64 = last.iter().map(|&([n_read, _], _)| n_read).sum();
        assert!(late < 5 * n_rows, "{case:?}: {late} of 5 x {n_rows} rows");
    }
}

#[test]
fn passes_go_on_from_one_another_whatever_comes_between() {
    let Some(gpu) = shared() else { return };
    for (case, provable) in [
        (Case::new(6000, 3, 5, Values::Bell).weighted(), true),
        (Case::new(3000, 35, 4, Values::HeavyTail), true),
        // So far from the origin floating point proves no label.
        (Case::new(2000, 2, 3, Values::Offset), false),
    ] {
        let data = case.data();
        let (mut want, mut got) = (ScalarBackend.open(&data, 8).unwrap(), gpu.open(&data, 8).unwrap());
        let mut centroids = case.centroids(&data);
        let mut n_read = Vec::new();
        for i in 0..40 {
            let (want_pass, got_pass) = (want.assign(&centroids).unwrap(), got.assign(&centroids).unwrap());
            assert_eq!(want_pass.partial, got_pass.partial, "{case:?}, pass {i}");
            assert_eq!(want_pass.n_moved, got_pass.n_moved, "{case:?}, pass {i}");
            n_read.push(got_pass.n_read);
            centroids = want_pass.partial.centroids(&centroids);
            match i {
                // A pass that ranks, a run, and other numbers of clusters.
                5 => drop(got.two_nearest(&centroids).unwrap()),
                10 | 20 => {
                    let rule = LloydRule {
                        max_iter: if i == 10 { 1 } else { 4 },
                        shift_limit: &|_| -1.0,
                        count_moved: true,
                    };
                    let mut each = |_: &Centroids, _: &Pass| Ok(ControlFlow::Continue(()));
                    let run = want.lloyd(&centroids, &rule, &mut each).unwrap();
                    assert_eq!(
                        got.lloyd(&centroids, &rule, &mut each).unwrap().centroids,
                        run.centroids
                    );
                    centroids = run.moved.unwrap_or(run.centroids);
                }
                15 => {
                    let fewer = centroids.reordered(&[1, 0]);
                    let (want, got) = (want.assign(&fewer).unwrap(), got.assign(&fewer).unwrap());
                    assert_eq!((want.partial, want.n_moved), (got.partial, got.n_moved));
                }
                _ => {}
            }
            assert!(want.labels().unwrap() == got.labels().unwrap(), "{case:?}, pass {i}");
        }
        let n_rows = data.n_rows() as u64;
        assert_eq!((n_read[0], n_read[6]), (n_rows, n_rows), "{case:?}");
        assert_eq!(n_read[39] < n_rows, provable, "{case:?}: {n_read:?}");
    }
}

#[test]
fn the_devices_clock_runs_where_it_is_asked_for_and_changes_nothing() {
    let case = Case::new(4097, 3, 8, Values::Bell).chunks_of(5);
    let data = case.data();
    let start = case.centroids(&data);
    let ask = Ask {
        max_iter: 7,
        limit: -1.0,
        stop_after: usize::MAX,
        count_moved: false,
    };
    let mut seen = Vec::new();
    for (timed, memory_budget) in [(true, None), (false, None), (true, Some(0))] {
        let options = GpuOptions {
            timed,
            memory_budget,
            ..DEFAULT
        };
        let Some(gpu) = open(options) else { return };
        assert_eq!(gpu.take_device_time(), None);
        seen.push(run(&gpu, &data, &start, &ask));
        let time = gpu.take_device_time();
        // Data that streams is gone through pass by pass.
        let runs = gpu.has_timestamps() && memory_budget.is_none();
        assert_eq!(time.map(|time| time.n_iter), runs.then_some(7));
        assert!(
            time.is_none_or(|time| time.seconds > 0.0 && time.seconds < 60.0),
            "{time:?}"
        );
        assert!(timed || !gpu.has_timestamps());
        assert_eq!(gpu.take_device_time(), None);
    }
    assert!(seen[0].0.len() == 7 && seen[0] == seen[1] && seen[0] == seen[2]);
}

#[test]
fn runs_over_streamed_data_are_the_same() {
    let Some(gpu) = open(GpuOptions {
        memory_budget: Some(0),
        max_chunk_bytes: Some(4 << 10),
        threads: 2,
        checked: true,
        timed: true,
        ..DEFAULT
    }) else {
        return;
    };
    let case = Case::new(1000, 3, 4, Values::Bell);
    let data = case.data();
    let start = case.centroids(&data);
    let ask = Ask {
        max_iter: 5,
        limit: -1.0,
        stop_after: usize::MAX,
        count_moved: true,
    };
    assert!(run(&gpu, &data, &start, &ask) == run(&ScalarBackend, &data, &start, &ask));
}

/// A GPU that takes matrix units wherever it can; `None`, said aloud, where there are none, unless they are demanded.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn with_matrix_units(checked: bool) -> Option<GpuBackend> {
    let gpu = open(GpuOptions {
        matrix_units: MatrixUnits::Always,
        checked,
        ..DEFAULT
    })?;
    if gpu.has_matrix_units() {
        return Some(gpu);
    }
    let demanded = std::env::var("KOHORT_REQUIRE_MATRIX_UNITS").is_ok_and(|value| value == "1");
    let none = format!("{} has no matrix units that kernels could use", gpu.description());
    assert!(!demanded, "KOHORT_REQUIRE_MATRIX_UNITS=1, but {none}");
    eprintln!("SKIPPED: {none}");
    None
}

/// Shapes for matrix units: one matrix and several, blocks of each height, one tile of centroids and several, either of
/// them filled and not. Few, as Mesa's adapter takes seconds to compile each.
fn matrix_cases() -> Vec<Case> {
    vec![
        Case::new(4097, 3, 16, Values::Bell),
        Case::new(2000, 16, 64, Values::Bell).chunks_of(5),
        Case::new(1500, 33, 70, Values::HeavyTail).weighted(),
        Case::new(700, 96, 130, Values::Bell),
        // Values at the edges, and so far from the origin that high bits prove nothing.
        Case::new(700, 16, 64, Values::Edges),
        Case::new(1000, 16, 64, Values::Offset),
        // More features than are suited: the other kernels have them.
        Case::new(200, 700, 20, Values::Bell),
    ]
}

#[test]
fn matrix_units_give_the_same_runs() {
    let Some(gpu) = with_matrix_units(false) else { return };
    let ask = Ask {
        max_iter: 9,
        limit: -1.0,
        stop_after: usize::MAX,
        count_moved: true,
    };
    for case in matrix_cases() {
        let data = case.data();
        let start = case.centroids(&data);
        let (want, got) = (run(&ScalarBackend, &data, &start, &ask), run(&gpu, &data, &start, &ask));
        assert!(want == got, "{case:?}: {} iterations, {:?}", got.0.len(), got.1.end);
    }
}

#[test]
fn matrix_units_prove_nearly_all_labels_and_not_those_that_lanes_do() {
    let (Some(gpu), Some(lanes)) = (with_matrix_units(false), shared()) else {
        return;
    };
    let n_unsettled = |gpu: &GpuBackend, case: &Case| -> Vec<u64> {
        let data = case.data();
        let mut centroids = case.centroids(&data);
        let mut session = gpu.open(&data, case.n_clusters).unwrap();
        let unsettled = (0..4).map(|_| {
            let pass = session.assign(&centroids).unwrap();
            centroids = pass.partial.centroids(&centroids);
            pass.n_unsettled
        });
        unsettled.collect()
    };
    for (n_features, n_clusters) in [(3, 16), (16, 64)] {
        let case = Case::new(4097, n_features, n_clusters, Values::Bell);
        let [on_units, on_lanes] = [&gpu, lanes].map(|gpu| n_unsettled(gpu, &case));
        let sums: Vec<u64> = [&on_units, &on_lanes].map(|n| n.iter().sum()).into();
        assert!(sums[1] > 0 && sums[0] < 4097 / 32 * 3, "{case:?}: {on_units:?}");
        // They see centroids less sharply: were these the same rows, they would have come from the same kernel.
        assert_ne!(on_units, on_lanes, "{case:?}");
    }
}

#[test]
fn matrix_units_give_the_same_pass_by_pass_and_with_checks() {
    let Some(gpu) = with_matrix_units(true) else { return };
    let case = Case::new(1000, 16, 64, Values::Bell).weighted().chunks_of(3);
    check_backend(&gpu, &case);
    let data = case.data();
    let (mut want, mut got) = (ScalarBackend.open(&data, 64).unwrap(), gpu.open(&data, 64).unwrap());
    let mut centroids = case.centroids(&data);
    for i in 0..6 {
        let (want_pass, got_pass) = (want.assign(&centroids).unwrap(), got.assign(&centroids).unwrap());
        assert_eq!(want_pass.partial, got_pass.partial, "pass {i}");
        assert_eq!(want_pass.n_moved, got_pass.n_moved, "pass {i}");
        assert!(want.labels().unwrap() == got.labels().unwrap(), "pass {i}");
        centroids = want_pass.partial.centroids(&centroids);
    }
}

#[test]
fn matrix_units_never_certify_near_ties_wrongly() {
    // Rows half-way between two of many centroids that stand off the grid of high bits.
    let Some(gpu) = with_matrix_units(false) else { return };
    let mut rng = Rng::new(3, 5);
    for round in 0..12usize {
        let (d, k) = (16, 64);
        let spread = 1u128 << (8 + round);
        let far: Vec<i64> = (0..k * d).map(|_| rng.below(1 << 22) as i64 - (1 << 21)).collect();
        let mut centroids: Vec<i32> = far.iter().map(|&c| (256 * c) as i32 + rng.below(256) as i32).collect();
        for c in &mut centroids[..2 * d] {
            *c = 256 * rng.below(spread) as i32 + rng.below(256) as i32;
        }
        let rows: Vec<f32> = (0..600)
            .flat_map(|_| 0..d)
            .map(|j| ((i64::from(centroids[j]) + i64::from(centroids[d + j])) / 512 + rng.below(5) as i64 - 2) as f32)
            .collect();
        let data = TileSet::from_rows(&rows, d, None, usize::MAX);
        let centroids = Centroids::new(d, centroids);
        let (mut want, mut got) = (ScalarBackend.open(&data, k).unwrap(), gpu.open(&data, k).unwrap());
        for _ in 0..2 {
            want.assign(&centroids).unwrap();
            got.assign(&centroids).unwrap();
            assert!(want.labels().unwrap() == got.labels().unwrap(), "round {round}");
        }
    }
}

#[test]
fn sums_above_64_bits_are_exact() {
    // Shifted to natural numbers, just over 2^24 rows of the largest value and weight pass 2^64.
    let Some(gpu) = shared() else { return };
    let (n_rows, edge) = ((1 << 24) + 1000, kohort::grid::MAX_GRID);
    let mut data = TileSet::zeros(n_rows, 1, true, usize::MAX);
    data.fill_rows(0, &[vec![edge as f32; n_rows]]);
    data.fill_weights(0, &vec![kohort::tiles::MAX_WEIGHT; n_rows]);
    let pass = gpu
        .open(&data, 1)
        .unwrap()
        .assign(&Centroids::on_rows(1, &[5]))
        .unwrap();
    assert_eq!(pass.partial.sums, [(i128::from(edge) * n_rows as i128) << 16]);
    assert_eq!(pass.partial.cluster_weights, [(n_rows as u64) << 16]);
}

#[test]
fn a_carry_through_a_full_word_of_a_distance_is_kept() {
    // The squares of these differences add up to just over 2^64, the carry of their low words running through middle
    // words of ones alone. The second centroid is nearer by one in the first difference.
    let Some(gpu) = shared() else { return };
    let far = 4_000_000_000u64;
    let rest = u128::from(u64::MAX) + 1 - u128::from(far).pow(2);
    let near = rest.isqrt() as i32 + 1;
    let (x, y) = (0, kohort::grid::MAX_GRID);
    let c = (i64::from(y) * 256 - far as i64) as i32;
    let centroids = Centroids::new(2, vec![-near, c, 1 - near, c]);
    let dist = centroids.sq_dist(&[x, y], 0);
    assert!(dist >> 64 == 1 && dist as u64 >> 32 == 0 && centroids.sq_dist(&[x, y], 1) >> 64 == 0);
    let data = TileSet::from_rows(&[x as f32, y as f32], 2, None, usize::MAX);
    let mut session = gpu.open(&data, 2).unwrap();
    assert_eq!(session.assign(&centroids).unwrap().n_doubtful, 1);
    assert_eq!(session.labels().unwrap(), [1]);
}

#[test]
fn near_ties_are_never_certified_wrongly() {
    // Rows about half-way between two centroids that stand off the grid, near and far from the origin.
    let Some(gpu) = shared() else { return };
    let mut rng = Rng::new(3, 2);
    for round in 0..48usize {
        let d = [1, 3, 8, 16][round % 4];
        let (offset, spread) = (1i64 << (round % 23), 1u128 << (4 + round % 17));
        let mut centroid = || -> Vec<i64> {
            (0..d)
                .map(|_| 256 * (offset + rng.below(spread) as i64) + rng.below(256) as i64)
                .collect()
        };
        let (a, b) = (centroid(), centroid());
        let rows: Vec<f32> = (0..300)
            .flat_map(|_| a.iter().zip(&b))
            .map(|(a, b)| ((a + b) / 512 + rng.below(5) as i64 - 2) as f32)
            .collect();
        let data = TileSet::from_rows(&rows, d, None, usize::MAX);
        let centroids = Centroids::new(d, a.iter().chain(&b).map(|&c| c as i32).collect());
        assert_eq!(
            compare(&ScalarBackend, gpu, &data, &centroids).unwrap(),
            None,
            "round {round}"
        );
    }
}

#[test]
fn rows_in_doubt_are_counted_and_few() {
    let Some(gpu) = shared() else { return };
    let n_doubtful = |case: Case| {
        let data = case.data();
        let centroids = case.centroids(&data);
        let mut session = gpu.open(&data, case.n_clusters).unwrap();
        let pass = session.assign(&centroids).unwrap();
        (pass.n_doubtful, session.two_nearest(&centroids).unwrap().n_doubtful)
    };
    let (assigned, ranked) = n_doubtful(Case::new(4097, 8, 16, Values::Bell));
    assert!(
        assigned <= ranked && ranked < 41,
        "{assigned} and {ranked} of 4097 rows"
    );
    // Few different values: every row is as near to several centroids.
    assert!(n_doubtful(Case::new(1000, 1, 64, Values::Small)).0 > 900);
    // One cluster leaves no doubt.
    assert_eq!(n_doubtful(Case::new(1000, 3, 1, Values::Bell)), (0, 0));
}

#[test]
fn without_proof_no_row_is_in_doubt_and_some_labels_are_wrong() {
    let unproven = GpuOptions {
        unproven: true,
        ..DEFAULT
    };
    let (Some(gpu), Some(unproven)) = (shared(), open(unproven)) else {
        return;
    };
    // Half-way between two centroids far from the origin, one unit nearer to one of them.
    let rows: Vec<f32> = (0..1000).map(|i| (8_000_000 + i % 2) as f32).collect();
    let data = TileSet::from_rows(&rows, 1, None, usize::MAX);
    let centroids = Centroids::new(1, vec![256 * 8_000_000 - 1000, 256 * 8_000_000 + 1000 + 256]);
    let pass = |gpu: &GpuBackend| gpu.open(&data, 2).unwrap().assign(&centroids).unwrap();
    let (proven, taken) = (pass(gpu), pass(&unproven));
    assert_eq!(
        (proven.partial.counts.clone(), proven.n_doubtful),
        (vec![500, 500], 1000)
    );
    assert_eq!((taken.partial.counts.iter().sum::<u64>(), taken.n_doubtful), (1000, 0));
    assert_ne!(taken.partial, proven.partial);
}

#[test]
fn a_session_keeps_its_labels_through_a_search_and_takes_any_number_of_clusters() {
    let Some(gpu) = shared() else { return };
    let case = Case::new(700, 3, 8, Values::Bell);
    let data = case.data();
    let all = case.centroids(&data);
    let few = all.reordered(&[4, 0, 2]);
    let (mut want, mut got) = (ScalarBackend.open(&data, 8).unwrap(), gpu.open(&data, 8).unwrap());
    assert_eq!(got.labels().unwrap(), vec![NO_CLUSTER; 700]);
    for centroids in [&few, &all, &few] {
        let (mut want, got) = (want.assign(centroids).unwrap(), got.assign(centroids).unwrap());
        want.n_doubtful = got.n_doubtful;
        assert_eq!(want, got);
    }
    got.two_nearest(&all).unwrap();
    assert_eq!(want.labels().unwrap(), got.labels().unwrap());
    let too_many = Centroids::on_rows(3, &[0; 27]);
    assert!(matches!(got.assign(&too_many), Err(Error::Internal(_))));
}

#[test]
fn no_rows_are_no_trouble() {
    let Some(gpu) = shared() else { return };
    let data = TileSet::zeros(0, 3, true, usize::MAX);
    let centroids = Centroids::on_rows(3, &[1, 2, 3]);
    assert_eq!(compare(&ScalarBackend, gpu, &data, &centroids).unwrap(), None);
}

#[test]
fn what_the_device_cannot_hold_is_an_error_with_both_numbers() {
    let Some(gpu) = shared() else { return };
    let data = TileSet::zeros(64, 1 << 15, false, usize::MAX);
    // 2^15 x 2^17 centroid floats are 16 GiB: more than any binding.
    let Err(error) = gpu.open(&data, 1 << 17) else {
        panic!("opened")
    };
    assert_eq!(error.kind(), ErrorKind::Device);
    assert!(
        matches!(error, Error::DeviceLimit { needed, limit, .. } if needed > limit),
        "{error}"
    );
    // The device is as good as before.
    check_backend(gpu, &Case::new(63, 2, 3, Values::Small));
}

#[test]
fn the_fallback_takes_over_what_the_device_cannot_hold() {
    let Some(gpu) = open(DEFAULT) else { return };
    let backend = FallbackBackend::new(Box::new(gpu), Box::new(ScalarBackend));
    let data = TileSet::zeros(1, 1 << 15, false, usize::MAX);
    let mut session = backend.open(&data, 1 << 17).unwrap();
    let pass = session.assign(&Centroids::on_rows(1 << 15, &[0; 1 << 15])).unwrap();
    assert_eq!((pass.partial.counts, pass.n_moved), (vec![1], 1));
    let notices = session.notices();
    assert!(
        notices.len() == 1 && notices[0].contains("went on with scalar"),
        "{notices:?}"
    );
}

#[test]
fn what_the_device_says_is_audited_and_right() {
    use kohort::backend::audit::AUDITED_ROWS;

    let Some(gpu) = open(DEFAULT) else { return };
    let backend = FallbackBackend::new(Box::new(gpu), Box::new(ScalarBackend));
    let case = Case::new(4097, 3, 8, Values::Bell).weighted().chunks_of(5);
    let data = case.data();
    let fit = |backend: &dyn Backend| common::fit(backend, &case, &data);
    let (on_gpu, by_scalar) = (fit(&backend), fit(&ScalarBackend));
    assert_eq!(on_gpu.notices, [""; 0]);
    assert_eq!(
        (on_gpu.nearest.n_audited, by_scalar.nearest.n_audited),
        (AUDITED_ROWS as u64, 0)
    );
    assert_eq!(
        (on_gpu.centroids, on_gpu.inertia),
        (by_scalar.centroids, by_scalar.inertia)
    );
}

#[test]
fn the_largest_number_of_features_works() {
    let Some(gpu) = shared() else { return };
    check_backend(gpu, &Case::new(66, 1 << 15, 3, Values::Edges));
}

#[test]
fn the_self_test_passes() {
    let Some(gpu) = shared() else { return };
    let outcome = self_test(gpu).unwrap();
    assert!(outcome.passed(), "{outcome:?}");
}

#[test]
fn adapters_are_listed_and_chosen_by_number() {
    let Some(gpu) = shared() else { return };
    let adapters = adapters();
    let chosen = adapters
        .iter()
        .find(|adapter| adapter.name == gpu.adapter_name())
        .unwrap();
    assert_eq!(chosen.software, gpu.is_software());
    assert!(chosen.workgroup_threads >= 256 && chosen.max_binding_bytes >= 1 << 20);
    let by_number = GpuBackend::new(&GpuSelection::Index(chosen.index), DEFAULT).unwrap();
    assert_eq!(by_number.description(), gpu.description());
    let error = GpuBackend::new(&GpuSelection::Index(99), DEFAULT).unwrap_err();
    assert!(matches!(error, Error::DeviceNotFound { .. }), "{error}");
    if adapters.iter().all(|adapter| adapter.software) {
        let error = GpuBackend::new(&GpuSelection::Real, DEFAULT).unwrap_err();
        assert!(error.to_string().contains("only software adapters"), "{error}");
    }
}
