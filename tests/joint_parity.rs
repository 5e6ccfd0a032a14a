//! Several devices as one against the scalar reference, bit for bit: backends of any kind, and GPUs that are one adapter
//! opened twice.

mod common;

use std::sync::{Arc, Mutex};

use common::{Case, Fault, Faulty, Values, cases, check_backend};
use kohort::backend::cpu::{CpuBackend, Pruning};
use kohort::backend::joint::JointBackend;
use kohort::backend::scalar::ScalarBackend;
use kohort::backend::self_test::{compare, self_test};
use kohort::backend::{Backend, Session};
use kohort::tiles::{Centroids, TileSet};

fn joint(devices: Vec<Box<dyn Backend>>) -> JointBackend {
    let named = |(n, device)| (format!("device {n}"), device);
    JointBackend::new(devices.into_iter().enumerate().map(named).collect(), 0)
}

fn scalar() -> Box<dyn Backend> {
    Box::new(ScalarBackend)
}

fn cpu(pruning: Pruning) -> Box<dyn Backend> {
    Box::new(CpuBackend::new(1).unwrap().with_pruning(pruning))
}

/// What devices were given: rows, and where the first data set stands, whose contents have a stamp of their own.
type Given = Arc<Mutex<Vec<(usize, usize)>>>;

/// The scalar backend with memory for so many bytes, which notes what it is given.
struct Small {
    budget: u64,
    given: Given,
}

impl Backend for Small {
    fn name(&self) -> &'static str {
        "small"
    }

    fn description(&self) -> String {
        format!("scalar with {} bytes", self.budget)
    }

    fn memory_budget(&self) -> Option<u64> {
        Some(self.budget)
    }

    fn open<'d>(&'d self, data: &'d TileSet, max_clusters: usize) -> kohort::Result<Box<dyn Session + 'd>> {
        let place = std::ptr::from_ref(data).addr();
        self.given.lock().unwrap().push((data.n_rows(), place));
        ScalarBackend.open(data, max_clusters)
    }
}

/// Devices that have memory for so many blocks of `case` each, and what they are given.
fn small(case: &Case, n_blocks: &[u64]) -> (JointBackend, Vec<Given>) {
    let given: Vec<Given> = n_blocks.iter().map(|_| Given::default()).collect();
    let words = case.n_features + usize::from(case.weighted) + 1;
    let device = |(given, n): (&Given, &u64)| {
        Box::new(Small {
            budget: n * 64 * 4 * words as u64,
            given: Arc::clone(given),
        }) as Box<dyn Backend>
    };
    (joint(given.iter().zip(n_blocks).map(device).collect()), given)
}

#[test]
fn backends_of_several_kinds_give_the_bits_of_one() {
    let backend = joint(vec![cpu(Pruning::Auto), scalar(), cpu(Pruning::Always)]);
    for case in cases() {
        check_backend(&backend, &case);
    }
    let outcome = self_test(&backend).unwrap();
    assert!(outcome.passed(), "{outcome:?}");
}

#[test]
fn cuts_inside_chunks_and_of_any_size_change_nothing() {
    // 63 blocks in chunks of 5; room for 10, 20 and 40 of them.
    let case = Case::new(4001, 3, 8, Values::HeavyTail).weighted().chunks_of(5);
    let (backend, given) = small(&case, &[10, 20, 40]);
    check_backend(&backend, &case);
    let rows = given.iter().map(|given| given.lock().unwrap()[0].0);
    assert!(rows.eq([640, 1280, 4001 - 1920]));
}

#[test]
fn each_device_gets_the_same_stretch_in_every_session_until_the_data_changes() {
    let case = Case::new(1000, 2, 3, Values::Bell);
    let (backend, given) = small(&case, &[100, 100]);
    let mut data = case.data();
    for _ in 0..2 {
        backend.open(&data, 3).unwrap();
    }
    for given in &given {
        let given = given.lock().unwrap();
        assert!(given.len() == 2 && given[0] == given[1], "{given:?}");
    }
    // What the change makes is another stretch, which holds the change.
    let centroids = case.centroids(&data);
    let sums = |data: &TileSet| backend.open(data, 3).unwrap().assign(&centroids).unwrap().partial.sums;
    let before = sums(&data);
    data.fill_rows(999, &[vec![1e6], vec![1e6]]);
    let after = ScalarBackend
        .open(&data, 3)
        .unwrap()
        .assign(&centroids)
        .unwrap()
        .partial
        .sums;
    assert_ne!(before, after);
    assert_eq!(sums(&data), after);
}

fn check_without_rows(backend: &dyn Backend) {
    let data = TileSet::zeros(0, 3, true, usize::MAX);
    let centroids = Centroids::on_rows(3, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(compare(&ScalarBackend, backend, &data, &centroids).unwrap(), None);
}

#[test]
fn no_row_one_row_and_fewer_blocks_than_devices() {
    let backend = joint(vec![scalar(), cpu(Pruning::Auto), scalar(), cpu(Pruning::Never)]);
    check_without_rows(&backend);
    for (n_rows, n_clusters) in [(1, 1), (1, 3), (64, 2), (65, 2), (128, 5), (129, 3)] {
        check_backend(&backend, &Case::new(n_rows, 2, n_clusters, Values::Small).weighted());
    }
}

#[test]
fn a_fault_of_one_device_is_found_in_what_all_give() {
    let case = Case::new(1000, 3, 4, Values::Bell).weighted();
    for fault in [Fault::Label, Fault::Sum, Fault::Weight, Fault::Moved, Fault::RunnerUp] {
        for at in 0..2 {
            let mut devices = vec![scalar(), scalar()];
            devices.insert(at, Box::new(Faulty(fault)));
            let backend = joint(devices);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check_backend(&backend, &case)));
            assert!(outcome.is_err(), "{fault:?} of device {at} went unseen");
        }
    }
}

#[test]
fn a_fit_is_the_same() {
    let case = Case::new(4097, 3, 8, Values::Bell).weighted().chunks_of(7);
    let data = case.data();
    let fit = |backend: &dyn Backend| common::fit(backend, &case, &data);
    let (one, several) = (
        fit(&ScalarBackend),
        fit(&joint(vec![scalar(), cpu(Pruning::Auto), scalar()])),
    );
    assert!(one.n_iter > 3);
    assert_eq!(
        (
            one.centroids,
            one.partial,
            one.inertia,
            one.n_iter,
            one.nearest.labels,
            one.nearest.runners_up
        ),
        (
            several.centroids,
            several.partial,
            several.inertia,
            several.n_iter,
            several.nearest.labels,
            several.nearest.runners_up
        )
    );
}

#[cfg(feature = "gpu")]
mod gpu {
    use std::collections::BTreeSet;

    use super::*;
    use common::skip_without_gpu;
    use kohort::backend::fallback::FallbackBackend;
    use kohort::backend::gpu::{self, GpuBackend, GpuOptions, GpuSelection};

    /// The adapter, opened once for each of these options; `None` where there is none, unless one is demanded.
    fn open(options: &[GpuOptions]) -> Option<Vec<Box<dyn Backend>>> {
        let mut devices: Vec<Box<dyn Backend>> = Vec::new();
        for &options in options {
            match GpuBackend::new(&GpuSelection::Any, options) {
                Ok(gpu) => devices.push(Box::new(gpu)),
                Err(error) => {
                    skip_without_gpu(&error);
                    return None;
                }
            }
        }
        Some(devices)
    }

    #[test]
    fn two_logical_devices_give_the_bits_of_one() {
        let Some(devices) = open(&[GpuOptions::default(); 2]) else {
            return;
        };
        let backend = FallbackBackend::new(Box::new(joint(devices)), scalar());
        // Not all cases: software takes a second or two to compile the kernels of each, for each device.
        for case in [
            Case::new(4097, 8, 16, Values::Bell),
            Case::new(129, 7, 8, Values::Small).weighted().chunks_of(1),
            Case::new(1000, 33, 17, Values::HeavyTail).weighted(),
            Case::new(5, 3, 64, Values::Small),
        ] {
            check_backend(&backend, &case);
        }
        check_without_rows(&backend);
    }

    #[test]
    fn devices_of_a_few_kib_stream_their_shares() {
        let limited = |memory_budget| GpuOptions {
            memory_budget: Some(memory_budget),
            max_chunk_bytes: Some(6 << 10),
            checked: true,
            ..GpuOptions::default()
        };
        for budgets in [[0, 0], [8 << 10, 8 << 10], [4 << 10, 40 << 10]] {
            let Some(devices) = open(&budgets.map(limited)) else {
                return;
            };
            let backend = joint(devices);
            check_backend(&backend, &Case::new(1000, 3, 8, Values::Bell).weighted().chunks_of(5));
            check_backend(&backend, &Case::new(4097, 7, 8, Values::HeavyTail));
        }
    }

    #[test]
    fn a_gpu_works_with_backends_of_other_kinds() {
        let Some(mut devices) = open(&[GpuOptions::default()]) else {
            return;
        };
        devices.push(cpu(Pruning::Auto));
        devices.push(scalar());
        check_backend(&joint(devices), &Case::new(4097, 16, 17, Values::Offset).weighted());
    }

    #[test]
    fn all_adapters_are_of_one_kind() {
        if open(&[GpuOptions::default()]).is_none() {
            assert!(gpu::all().is_err());
            return;
        }
        let (all, adapters) = (gpu::all().unwrap(), gpu::adapters());
        assert!(!all.is_empty() && all.is_sorted());
        let kinds: BTreeSet<_> = all
            .iter()
            .map(|&index| (&adapters[index].kind, &adapters[index].backend))
            .collect();
        assert_eq!(kinds.len(), 1, "{kinds:?}");
    }
}
