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
            // A hang or an abort leaves no other trace of the bytes it came from.
            let what = format!("{name}: mutation {nth} of {}", path.display());
            let _told = Told(&what);
            target(&mutated);
        }
    }
}

/// Says what was going on, where a panic ends it.
struct Told<'w>(&'w str);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
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
fn mutations_are_the_same_everywhere() {
    let bytes: Vec<u8> = (0..200).collect();
    let hash = |seed| {
        let all: Vec<u8> = Mutations::new(&bytes, seed).take(100).flatten().collect();
        xxhash_rust::xxh3::xxh3_64(&all)
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}
