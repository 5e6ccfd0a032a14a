//! The CPU backend against the scalar reference, bit for bit: every instruction set of this machine, several thread
//! counts.

mod common;

use common::{Case, Values, cases, check_backend};
use kohort::backend::cpu::{CpuBackend, Pruning};
use kohort::backend::scalar::ScalarBackend;
use kohort::backend::{Backend, Pass, Session};
use kohort::tiles::Centroids;

/// A pass of two sessions, first the one that is tested: they agree on sums, rows moved and labels.
fn same_pass(sessions: [&mut dyn Session; 2], centroids: &Centroids, what: &str) -> [Pass; 2] {
    let [ours, reference] = sessions;
    let (pass, expected) = (ours.assign(centroids).unwrap(), reference.assign(centroids).unwrap());
    assert_eq!(
        (&pass.partial, pass.n_moved),
        (&expected.partial, expected.n_moved),
        "{what}"
    );
    assert_eq!(ours.labels().unwrap(), reference.labels().unwrap(), "{what}");
    [pass, expected]
}

#[test]
fn every_instruction_set_and_thread_count_is_bit_equal() {
    for threads in [1, 2, 7] {
        for backend in CpuBackend::for_each_isa(threads).unwrap() {
            for case in cases() {
                check_backend(&backend, &case);
            }
        }
    }
}

/// The sums of a session follow the rows that moved; over a whole run they must stay what a recount gives.
#[test]
fn sums_kept_over_many_passes_equal_a_recount() {
    let case = Case::new(3000, 4, 9, Values::Small).weighted().chunks_of(5);
    let data = case.data();
    let backend = CpuBackend::new(2).unwrap();
    let (mut ours, mut reference) = (backend.open(&data, 9).unwrap(), ScalarBackend.open(&data, 9).unwrap());
    let mut centroids = case.centroids(&data);
    for _ in 0..12 {
        let pass = ours.assign(&centroids).unwrap();
        assert_eq!(pass.partial, reference.assign(&centroids).unwrap().partial);
        centroids = pass.partial.centroids(&centroids);
    }
    // Another number of clusters starts the sums anew; `n_moved` still counts against the last labels.
    let fewer = Centroids::new(4, centroids.values()[..5 * 4].to_vec());
    let (a, b) = (ours.assign(&fewer).unwrap(), reference.assign(&fewer).unwrap());
    assert_eq!((a.partial, a.n_moved), (b.partial, b.n_moved));
}

/// Bounds change nothing: in every iteration labels, sums and rows moved are those of a backend that looks at every
/// row, while fewer rows are looked at.
#[test]
fn pruned_passes_equal_full_passes_in_every_iteration() {
    for case in [
        Case::new(6000, 2, 5, Values::Bell),
        Case::new(20_000, 3, 12, Values::HeavyTail).weighted().chunks_of(9),
        Case::new(5000, 4, 40, Values::Small),
        Case::new(9000, 5, 33, Values::Bell).weighted(),
        Case::new(7000, 3, 150, Values::Bell).chunks_of(50),
        // Features enough for a bound of its own against the second-nearest centroid.
        Case::new(6000, 20, 9, Values::HeavyTail).weighted(),
        Case::new(6000, 33, 7, Values::HeavyTail).chunks_of(7),
        Case::new(3000, 24, 3, Values::Offset),
        Case::new(3000, 18, 700, Values::Small),
        Case::new(1000, 64, 256, Values::HeavyTail).weighted(),
        Case::new(1500, 64, 200, Values::Bell).chunks_of(5),
        Case::new(700, 100, 650, Values::Small),
        // Exact ties between centroids of different groups.
        Case::new(4000, 64, 80, Values::Small).weighted(),
        Case::new(4000, 64, 90, Values::Edges),
    ] {
        for pruned in CpuBackend::for_each_isa(3).unwrap() {
            let description = pruned.description();
            let data = case.data();
            let pruned = pruned.with_pruning(Pruning::Always);
            let full = CpuBackend::new(2).unwrap().with_pruning(Pruning::Never);
            let (mut ours, mut plain) = (pruned.open(&data, 150).unwrap(), full.open(&data, 150).unwrap());
            let mut centroids = case.centroids(&data);
            let (mut n_read, mut n_passes) = (0, 0);
            for iteration in 0..25 {
                let what = format!("{case:?} on {description}, iteration {iteration}");
                let [pass, expected] = same_pass([&mut *ours, &mut *plain], &centroids, &what);
                assert_eq!(expected.n_read, data.n_rows() as u64);
                n_read += pass.n_read;
                n_passes += 1;
                centroids = pass.partial.centroids(&centroids);
            }
            assert!(
                n_read < n_passes * data.n_rows() as u64 * 9 / 10,
                "{case:?}: {n_read} rows in {n_passes} passes"
            );
        }
    }
}

/// Where clusters and features are many, rows are looked at in integers first, and some of them again: whole runs give
/// what the reference gives, weights, outliers and exact ties among them.
#[test]
fn runs_with_many_clusters_equal_the_reference_in_every_iteration() {
    for case in [
        Case::new(2000, 16, 64, Values::Bell).chunks_of(3),
        Case::new(1500, 17, 50, Values::HeavyTail).weighted(),
        Case::new(1000, 32, 40, Values::Small),
        Case::new(1000, 32, 40, Values::Offset),
        // Rows left open are held against two centroids alone.
        Case::new(300, 160, 700, Values::Small),
        Case::new(300, 161, 700, Values::Offset).weighted(),
    ] {
        let data = case.data();
        for backend in CpuBackend::for_each_isa(2).unwrap() {
            let description = backend.description();
            let (mut ours, mut reference) = (
                backend.open(&data, 700).unwrap(),
                ScalarBackend.open(&data, 700).unwrap(),
            );
            let mut centroids = case.centroids(&data);
            for iteration in 0..5 {
                let what = format!("{case:?} on {description}, iteration {iteration}");
                let [pass, _] = same_pass([&mut *ours, &mut *reference], &centroids, &what);
                centroids = pass.partial.centroids(&centroids);
            }
            let (two, expected) = (
                ours.two_nearest(&centroids).unwrap(),
                reference.two_nearest(&centroids).unwrap(),
            );
            assert_eq!(
                (two.labels, two.runners_up),
                (expected.labels, expected.runners_up),
                "{case:?}"
            );
        }
    }
}

/// Runs that share their passes give what each gives alone, whichever of them rest.
#[test]
fn shared_passes_equal_passes_alone() {
    let case = Case::new(5000, 16, 64, Values::Bell).weighted().chunks_of(11);
    let data = case.data();
    for backend in CpuBackend::for_each_isa(3).unwrap() {
        let sizes = [64, 3, 1, 17];
        let mut sets = sizes.map(|n_clusters| Case { n_clusters, ..case }.centroids(&data));
        let mut together = backend.open_shared(&data, sizes.len()).unwrap();
        let mut alone = sizes.map(|k| backend.open(&data, k).unwrap());
        for iteration in 0..8 {
            let rests = |run: usize| (iteration + run) % 5 == 4;
            let wanted: Vec<Option<&Centroids>> = (0..4).map(|run| (!rests(run)).then(|| &sets[run])).collect();
            let passes = together.assign(&wanted).unwrap();
            for (run, pass) in passes.into_iter().enumerate() {
                let expected = (!rests(run)).then(|| alone[run].assign(&sets[run]).unwrap());
                assert_eq!(pass, expected, "run {run}, iteration {iteration}");
                assert_eq!(together.session(run).labels().unwrap(), alone[run].labels().unwrap());
                if let Some(pass) = expected {
                    sets[run] = pass.partial.centroids(&sets[run]);
                }
            }
        }
    }
}

/// A session that is told how a pass ended goes on as the one that made it, also where centroids have jumped since.
#[test]
fn passes_go_on_from_one_that_another_session_made() {
    for case in [
        Case::new(5000, 3, 7, Values::Bell).weighted().chunks_of(9),
        Case::new(3000, 24, 40, Values::HeavyTail),
        Case::new(2000, 4, 12, Values::Small),
    ] {
        let data = case.data();
        for pruning in [Pruning::Never, Pruning::Auto, Pruning::Always] {
            for backend in CpuBackend::for_each_isa(2).unwrap() {
                let backend = backend.with_pruning(pruning);
                let mut reference = ScalarBackend.open(&data, case.n_clusters).unwrap();
                let start = case.centroids(&data);
                let partial = reference.assign(&start).unwrap().partial;
                let mut ours = backend.open(&data, case.n_clusters).unwrap();
                ours.resume(&start, reference.labels().unwrap(), partial).unwrap();
                let mut centroids = start.clone();
                let jump = start.row(2).to_vec();
                centroids.row_mut(0).copy_from_slice(&jump);
                for iteration in 0..6 {
                    let what = format!(
                        "{case:?}, {pruning:?} on {}, iteration {iteration}",
                        backend.description()
                    );
                    let [pass, _] = same_pass([&mut *ours, &mut *reference], &centroids, &what);
                    centroids = pass.partial.centroids(&centroids);
                }
            }
        }
    }
}
