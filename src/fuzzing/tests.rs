//! Every target on its seeds and on mutations of them.

use std::path::Path;

use super::{Mutations, csv, filter, input, model, run_files, tiles};

/// Runs a target on all its seeds, and on `n` mutations of each.
fn run(name: &str, target: fn(&[u8]), n: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut seeds: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{name} has no seeds");
    for (number, path) in seeds.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        target(&bytes);
        for (nth, mutated) in Mutations::new(&bytes, number as u64).take(n).enumerate() {
            let outcome = std::panic::catch_unwind(|| target(&mutated));
            assert!(outcome.is_ok(), "{name}: mutation {nth} of {}", path.display());
        }
    }
}

#[test]
fn input_files() {
    run("input", input, 150);
}

#[test]
fn columns_to_tiles() {
    run("input", tiles, 100);
}

#[test]
fn csv_files() {
    run("csv", csv, 200);
}

#[test]
fn filters() {
    run("filter", filter, 200);
}

#[test]
fn model_files() {
    run("model", model, 100);
}

#[test]
fn files_of_runs() {
    run("run_files", run_files, 50);
}

#[test]
#[should_panic(expected = "filter: mutation ")]
fn a_target_that_panics_is_found() {
    let takes_seeds_alone = |bytes: &[u8]| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/filter");
        let mut seeds = std::fs::read_dir(folder).unwrap();
        assert!(seeds.any(|seed| std::fs::read(seed.unwrap().path()).unwrap() == bytes));
    };
    run("filter", takes_seeds_alone, 5);
}

#[test]
fn mutations_are_the_same_everywhere() {
    let bytes: Vec<u8> = (0..200).collect();
    let hash = |seed| {
        let all: Vec<u8> = Mutations::new(&bytes, seed).take(100).flatten().collect();
        xxhash_rust::xxh3::xxh3_64(&all)
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}
