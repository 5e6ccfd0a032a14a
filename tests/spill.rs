//! Memory beyond a limit: what stands in a file meanwhile gives the same bits.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

use kohort::backend::cpu::CpuBackend;
use kohort::data::MemorySource;
use kohort::fit::{Fit, FitOptions, fit};
use kohort::sys::{SpillingAllocator, keep_within, most_spilled_bytes, spilling_was_refused};

#[global_allocator]
static ALLOCATOR: SpillingAllocator = SpillingAllocator;

const MIB: usize = 1 << 20;

/// `n` rows around five centres, with a few missing values.
fn source(n: usize) -> MemorySource {
    let table = ndarray::Array2::from_shape_fn((n, 12), |(row, feature)| {
        let noise = (row * 7919 + feature * 104_729) % 1009;
        match (row * 31 + feature) % 9973 {
            0 => f64::NAN,
            _ => ((row % 5) * (feature + 1) * 40) as f64 + noise as f64 / 10.0,
        }
    });
    let names: Vec<String> = (0..12).map(|feature| format!("f{feature}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    MemorySource::from_array(table.view(), &names).unwrap()
}

fn fitted(source: &MemorySource) -> Fit {
    let options = FitOptions {
        chunk_bytes: 8 * MIB,
        ..FitOptions::new(5)
    };
    fit(source, &CpuBackend::new(2).unwrap(), &options, &()).unwrap()
}

fn pattern(len: usize, seed: u64) -> Vec<u64> {
    (0..len as u64)
        .map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed)
        .collect()
}

/// One test, since the limit is one of the process: first without, then with.
#[test]
fn what_is_spilled_is_the_same_and_goes_away() {
    let source = source(400_000);
    let free = fitted(&source);
    assert_eq!(most_spilled_bytes(), 0, "nothing is spilled without a limit");

    let folder = tempfile::tempdir().unwrap();
    keep_within(12 * MIB as u64, folder.path()).unwrap();
    let names = || std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names(), 0, "the file has no name");

    let held = fitted(&source);
    assert!(most_spilled_bytes() > 8 * MIB as u64, "{} bytes", most_spilled_bytes());
    assert_eq!(held.summary.labels_hash, free.summary.labels_hash);
    assert_eq!(held.summary.inertia_exact, free.summary.inertia_exact);
    assert_eq!(held.model.centroids, free.model.centroids);
    assert_eq!(held.assignment, free.assignment);
    assert_eq!(held.profile, free.profile);
    drop((held, free));

    blocks_keep_what_they_hold();
    assert!(!spilling_was_refused());
    assert_eq!(names(), 0);
}

/// Blocks that are made, grown, shrunk and dropped by several threads, while the pages of the file are unmapped.
fn blocks_keep_what_they_hold() {
    let held: Vec<Vec<u64>> = (0..4).map(|seed| pattern(2 * MIB, seed)).collect();
    std::thread::scope(|scope| {
        for seed in 10..13 {
            scope.spawn(move || {
                for round in 0..3 {
                    let mut grown = Vec::new();
                    for value in pattern(MIB + round, seed) {
                        grown.push(value); // reallocates on the way, within memory and into the file
                    }
                    assert!(grown == pattern(MIB + round, seed));
                    grown.truncate(MIB / 2);
                    grown.shrink_to_fit();
                    assert!(grown == pattern(MIB / 2, seed));
                    let zeros = vec![0u64; MIB + round];
                    assert!(
                        zeros.iter().all(|&value| value == 0),
                        "room that was used before is zeros again"
                    );
                }
            });
        }
    });
    for (block, seed) in held.iter().zip(0..) {
        assert!(*block == pattern(2 * MIB, seed));
    }
}
