//! From a Parquet file to prepared rows: `decode` (all columns, thrown away), `learn` (means, deviations, levels), `prepare`
//! (the replay of what was learned, decoded anew) and `ingest` (both as a fit does them, decoded once), of a table of numbers
//! and of one of numbers with gaps and texts. What is ingested is checked before anything is timed.
//! `kohort bench DATA` measures the same of files of your own, `benches/peers/ingest.py` other readers.

use std::fs::File;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use kohort::data::{BatchSource, FileSource};
use kohort::features::{FeatureOptions, Scale, ingest, learn, prepare};
use kohort::tiles::MAX_CHUNK_BYTES;
use kohort::workload::Workload;
use parquet::arrow::ArrowWriter;

const N_ROWS: usize = 500_000;
/// Rows of a batch that is written.
const BATCH: usize = 1 << 15;

/// Writes a workload to a file in `folder`, and opens it.
fn table(folder: &std::path::Path, name: &str, workload: Workload) -> FileSource {
    let path = folder.join(name).with_extension("parquet");
    let accounts = workload.build().expect("a table");
    let file = File::create(&path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, accounts.schema().clone(), None).expect("a writer");
    for first in (0..workload.n_rows).step_by(BATCH) {
        let batch = accounts.batch(first..(first + BATCH).min(workload.n_rows));
        writer.write(&batch).expect("rows");
    }
    writer.close().expect("a footer");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    FileSource::open(&[path], threads).expect("a source")
}

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(10)
        .measurement_time(Duration::from_secs(4));
    let folder = tempfile::tempdir().expect("a folder");
    let numbers = Workload::new(N_ROWS, 16, 8);
    let mixed = Workload {
        missing: 0.1,
        categorical: 3,
        ..numbers.clone()
    };
    for (name, workload) in [("numbers", numbers), ("mixed", mixed)] {
        let source = table(folder.path(), name, workload);
        for scale in [Scale::None, Scale::Zscore] {
            let options = FeatureOptions {
                exclude: vec!["truth".into(), "account_id".into()],
                scale,
                ..FeatureOptions::default()
            };
            measure(&mut criterion, &format!("{name}/{scale}"), &source, &options);
        }
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, name: &str, source: &FileSource, options: &FeatureOptions) {
    let learned = learn(source, options).expect("columns");
    let (again, ingested) = ingest(source, options, MAX_CHUNK_BYTES).expect("rows");
    let prepared = prepare(source, &learned.preparation, None, MAX_CHUNK_BYTES).expect("rows");
    assert!(
        again == learned && ingested.tiles == prepared.tiles,
        "{name}: read once is not read twice"
    );
    let all: Vec<usize> = (0..source.schema().fields().len()).collect();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(source.n_rows() as u64));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            source.scan(&all, &mut |_, batch| {
                black_box(batch);
                Ok(())
            })
        });
    });
    group.bench_function("learn", |bencher| bencher.iter(|| black_box(learn(source, options))));
    group.bench_function("prepare", |bencher| {
        bencher.iter(|| black_box(prepare(source, &learned.preparation, None, MAX_CHUNK_BYTES)));
    });
    group.bench_function("ingest", |bencher| {
        bencher.iter(|| black_box(ingest(source, options, MAX_CHUNK_BYTES)));
    });
    group.finish();
}
