//! Files of data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use parquet::arrow::ArrowWriter;

use super::{check_error, with_file};
use crate::data::{BatchSource, FileSource, Filter, SourceOptions};
use crate::error::{Error, Result};
use crate::features::{FeatureOptions, ingest, prepare};
use crate::grid::MAX_GRID;
use crate::tiles::TileSet;

/// Files that say they have more rows are looked at, but not read: a byte can stand for very many.
const MOST_ROWS: usize = 1 << 14;
/// Values in all that are read.
const MOST_VALUES: usize = 1 << 18;
/// Chunks of prepared values, of a size that most tables need several of.
const CHUNK_BYTES: usize = 16 << 10;

/// What is read of a table: names of columns that a filter may speak of are those of the seeds.
const FILTER: &str = "amount > 3 or plan in ('basic', 'pro') or since < '2024-06-01' or active is null";

/// The ending by which a file of these bytes is taken for what it is.
fn ending(bytes: &[u8]) -> &'static str {
    match bytes {
        [b'P', b'A', b'R', ..] => ".parquet",
        [b'A', b'R', b'R', ..] | [0xff, 0xff, ..] => ".arrow",
        _ => ".csv",
    }
}

fn open(path: &Path, threads: usize, options: SourceOptions) -> Option<FileSource> {
    match FileSource::open_with(&[path.into()], threads, options) {
        Ok(source) => Some(source),
        Err(error) => {
            check_error(&error);
            None
        }
    }
}

/// Columns that can be read at once, none where the table is large.
fn readable(source: &FileSource) -> Vec<usize> {
    let n_columns = source.schema().fields().len();
    match source.n_rows() <= MOST_ROWS && source.n_rows().saturating_mul(n_columns) <= MOST_VALUES {
        true => (0..n_columns)
            .filter(|&column| source.scan(&[column], &mut |_, _| Ok(())).is_ok())
            .collect(),
        false => Vec::new(),
    }
}

/// All cells of some columns.
fn read(source: &FileSource, columns: &[usize]) -> Result<RecordBatch> {
    let schema = Arc::new(source.schema().project(columns).expect("columns of the schema"));
    let mut batches = Vec::new();
    source.scan(columns, &mut |row, batch| {
        assert_eq!(row, batches.iter().map(RecordBatch::num_rows).sum::<usize>());
        batches.push(batch.clone());
        Ok(())
    })?;
    let n_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(n_rows, source.n_rows(), "rows are missing");
    Ok(concat_batches(&schema, &batches).expect("batches of one table"))
}

/// The gate: a file of any format is opened, with statistics of its columns and without, and each column is read on its
/// own. Columns that can be read alone can be read together, and show the same cells to any number of threads.
pub fn input(bytes: &[u8]) {
    with_file(bytes, ending(bytes), |path| {
        let Some(source) = open(path, 1, SourceOptions::default()) else {
            return;
        };
        let filter = Filter::new(FILTER).expect("a filter that can be read");
        let options = SourceOptions {
            filter: Some(filter),
            ..SourceOptions::default()
        };
        let columns = readable(&source);
        if columns.is_empty() {
            return;
        }
        if let Some(filtered) = open(path, 1, options) {
            assert!(filtered.n_rows() <= source.n_rows());
        }
        let cells = read(&source, &columns);
        let threaded = open(path, 3, SourceOptions::default()).expect("it was opened before");
        match (cells, read(&threaded, &columns)) {
            (Ok(one), Ok(other)) => assert!(is_same(&one, &other), "threads see different cells"),
            (Err(one), Err(other)) => {
                check_error(&one);
                assert_eq!(one.to_string(), other.to_string());
            }
            (one, other) => panic!("{:?} on one thread, {:?} on three", one.err(), other.err()),
        }
    });
}

/// Whether two tables hold the same cells, bit for bit: NaNs equal themselves.
fn is_same(one: &RecordBatch, other: &RecordBatch) -> bool {
    let data = |batch: &RecordBatch| {
        batch
            .columns()
            .iter()
            .map(|column| column.to_data())
            .collect::<Vec<_>>()
    };
    one == other
        || one.schema() == other.schema()
            && data(one)
                .iter()
                .zip(&data(other))
                .all(|(a, b)| format!("{a:?}") == format!("{b:?}"))
}

/// From columns to tiles: a file becomes grid values in memory, twice, in chunks of different sizes.
pub fn tiles(bytes: &[u8]) {
    with_file(bytes, ending(bytes), |path| {
        let Some(source) = open(path, 2, SourceOptions::default()) else {
            return;
        };
        if source.n_rows() > MOST_ROWS || source.n_rows() * source.schema().fields().len() > MOST_VALUES {
            return;
        }
        let (learned, once) = match ingest(&source, &FeatureOptions::default(), CHUNK_BYTES) {
            Ok(ingested) => ingested,
            Err(error) => return check_error(&error),
        };
        let preparation = &learned.preparation;
        let again = prepare(&source, preparation, None, 4 * CHUNK_BYTES).expect("values that were prepared before");
        assert_eq!(
            (once.n_clipped, again.n_clipped),
            (0, 0),
            "values of the fit lie beyond its grid"
        );
        assert!(once.tiles.n_rows() == source.n_rows() && is_same_tiles(&once.tiles, &again.tiles));
    });
}

fn is_same_tiles(one: &TileSet, other: &TileSet) -> bool {
    let mut rows = [vec![0; one.n_features()], vec![0; other.n_features()]];
    one.n_rows() == other.n_rows()
        && (0..one.n_rows()).all(|row| {
            one.read_row(row, &mut rows[0]);
            other.read_row(row, &mut rows[1]);
            rows[0] == rows[1] && is_within_grid(&rows[0])
        })
}

fn is_within_grid(row: &[i32]) -> bool {
    row.iter().all(|value| value.abs() <= MAX_GRID)
}

/// CSV, of which the first byte says how it is read: any delimiter, and types that may not be those of the cells.
pub fn csv(bytes: &[u8]) {
    let Some((&how, bytes)) = bytes.split_first() else {
        return;
    };
    let options = || SourceOptions {
        delimiter: [None, Some(b';'), Some(b'\t'), Some(b'|')][usize::from(how & 3)],
        types: match how & 4 {
            0 => Vec::new(),
            _ => vec![("amount".into(), crate::data::type_of("int64").expect("a known type"))],
        },
        ..SourceOptions::default()
    };
    with_file(bytes, ".csv", |path| {
        let (Some(source), Some(other)) = (open(path, 1, options()), open(path, 3, options())) else {
            return;
        };
        let columns = readable(&source);
        let read = [&source, &other].map(|source| read(source, &columns));
        match &read {
            [Ok(one), Ok(other)] => assert!(is_same(one, other), "threads see different cells"),
            [Err(one), Err(other)] => assert_eq!(one.to_string(), other.to_string()),
            _ => panic!("threads disagree"),
        }
    });
}

/// The table that filters are asked about, in a file of its own.
fn asked() -> RecordBatch {
    const ROWS: usize = 40;
    let text = StringArray::from_iter((0..ROWS).map(|i| (i % 7 != 0).then(|| ["basic", "pro", "it's"][i % 3])));
    let columns: [(&str, ArrayRef); 6] = [
        ("id", Arc::new(Int64Array::from_iter_values(0..ROWS as i64))),
        (
            "amount",
            Arc::new(Float64Array::from_iter(
                (0..ROWS).map(|i| (i % 5 != 0).then_some(i as f64 / 4.0)),
            )),
        ),
        ("plan", Arc::new(text.clone())),
        (
            "active",
            Arc::new(BooleanArray::from_iter(
                (0..ROWS).map(|i| (i % 3 != 0).then_some(i % 2 == 0)),
            )),
        ),
        (
            "since",
            Arc::new(Date32Array::from_iter_values(19_000..19_000 + ROWS as i32)),
        ),
        ("in; \"odd\"", Arc::new(text)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).expect("a table")
}

/// Where [`asked`] lies, for as long as this process runs.
fn asked_path() -> &'static PathBuf {
    static PATH: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    PATH.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("kohort-asked-{}.parquet", std::process::id()));
        let file = std::fs::File::create(&path).expect("room for temporary files");
        let table = asked();
        let mut writer = ArrowWriter::try_new(file, table.schema(), None).expect("a writer");
        writer.write(&table).expect("room for temporary files");
        writer.close().expect("room for temporary files");
        path
    })
}

/// A filter of rows. What a record would keep of it is a filter again, and keeps the same rows.
pub fn filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let kept = |text: &str| -> Result<(RecordBatch, Option<String>)> {
        let options = SourceOptions {
            filter: Some(Filter::new(text)?),
            ..SourceOptions::default()
        };
        let source = FileSource::open_with(std::slice::from_ref(asked_path()), 1, options)?;
        let columns: Vec<usize> = (0..source.schema().fields().len()).collect();
        Ok((read(&source, &columns)?, source.recorded_filter(&|_| false)))
    };
    match kept(text) {
        Err(error) => {
            assert!(
                matches!(error, Error::FilterInvalid { .. } | Error::NoRowsKept { .. }),
                "{error}"
            );
            check_error(&error);
        }
        Ok((rows, recorded)) => {
            let recorded = recorded.expect("a filter that was used");
            let (again, _) = kept(&recorded).unwrap_or_else(|error| panic!("{recorded:?} is no filter: {error}"));
            assert_eq!(rows, again, "{recorded:?} keeps other rows");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    #[test]
    fn tables_are_the_same_bit_for_bit_or_not_at_all() {
        let numbers = |values: [f64; 3]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
        let texts = |last: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![Some("a"), None, last])) };
        let odd = [f64::NAN, 0.0, 1.5];
        let of = |values, last| table(vec![("x", numbers(values)), ("y", texts(last))]);
        let one = of(odd, Some("b"));
        assert!(is_same(&one, &of(odd, Some("b"))));
        let other_nan = f64::from_bits(f64::NAN.to_bits() ^ 1);
        for faulty in [
            of([other_nan, 0.0, 1.5], Some("b")),
            of([f64::NAN, -0.0, 1.5], Some("b")),
            of([f64::NAN, 0.0, 1.5f64.next_up()], Some("b")),
            of(odd, Some("c")),
            of(odd, None),
            one.slice(0, 2),
            one.project(&[0]).unwrap(),
            one.project(&[1, 0]).unwrap(),
            table(vec![("x", numbers(odd)), ("z", texts(Some("b")))]),
        ] {
            assert!(!is_same(&one, &faulty), "{faulty:?}");
        }
    }

    const CANARY: &str = "CANARY";

    /// A table whose texts all hold the canary, in every format.
    fn canaries() -> [Vec<u8>; 3] {
        let texts = StringArray::from_iter_values((0..300).map(|i| format!("{CANARY}-{}", i % 37)));
        let numbers = Float64Array::from_iter_values((0..300).map(|i| f64::from(i * i % 101)));
        let days = Date32Array::from_iter_values(0..300);
        let table = table(vec![
            ("who", Arc::new(texts)),
            ("amount", Arc::new(numbers)),
            ("since", Arc::new(days)),
        ]);
        let mut parquet = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut parquet, table.schema(), None).unwrap();
        writer.write(&table).unwrap();
        writer.close().unwrap();
        let mut ipc = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &table.schema()).unwrap();
        ipc.write(&table).unwrap();
        ipc.finish().unwrap();
        let rows = (0..300).map(|i| format!("{CANARY}-{},{},2024-01-{:02}\n", i % 37, i * i % 101, i % 28 + 1));
        let csv = format!("who,amount,since\n{}", rows.collect::<String>());
        [parquet, ipc.into_inner().unwrap(), csv.into_bytes()]
    }

    /// All that goes wrong with a file, in words.
    fn complaints(bytes: &[u8]) -> Vec<String> {
        with_file(bytes, ending(bytes), |path| {
            let source = match FileSource::open_with(&[path.into()], 1, SourceOptions::default()) {
                Ok(source) => source,
                Err(error) => return vec![error.to_string()],
            };
            let columns = 0..source.schema().fields().len();
            let mut errors: Vec<String> = columns
                .filter_map(|column| source.scan(&[column], &mut |_, _| Ok(())).err())
                .map(|error| error.to_string())
                .collect();
            let options = FeatureOptions {
                features: vec!["*".into()],
                ..FeatureOptions::default()
            };
            let ingested = ingest(&source, &options, CHUNK_BYTES);
            errors.extend(ingested.err().map(|error| error.to_string()));
            errors
        })
    }

    #[test]
    fn no_error_of_a_damaged_file_quotes_a_cell() {
        for bytes in canaries() {
            assert!(bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()));
            let mut n_complaints = 0;
            for seed in 0..400 {
                let mut rng = crate::rng::Rng::new(seed, 0);
                let mut damaged = bytes.clone();
                // Bits alone: what is copied could become the name of a column.
                for _ in 0..1 + rng.below(3) {
                    damaged[rng.below(bytes.len() as u128) as usize] ^= 1 << rng.below(8);
                }
                for complaint in complaints(&damaged) {
                    assert!(!complaint.contains(CANARY), "{complaint}");
                    n_complaints += 1;
                }
            }
            assert!(n_complaints > 20, "{n_complaints} of {}", ending(&bytes));
        }
        // The search sees what is there: a column of that name is named.
        let named = complaints(format!("{CANARY}\n{}", "x\n".repeat(9)).as_bytes());
        assert!(named.iter().any(|complaint| complaint.contains(CANARY)), "{named:?}");
    }

    #[test]
    fn tiles_are_the_same_however_they_are_cut_and_within_the_grid() {
        let rows: Vec<f32> = (0..400).map(|i| (i * i % 89) as f32).collect();
        let one = TileSet::from_rows(&rows, 2, None, usize::MAX);
        assert!(is_same_tiles(&one, &TileSet::from_rows(&rows, 2, None, 1)));
        let mut wrong = rows.clone();
        wrong[399] += 1.0;
        assert!(!is_same_tiles(&one, &TileSet::from_rows(&wrong, 2, None, 1)));
        assert!(!is_same_tiles(&one, &TileSet::from_rows(&rows[2..], 2, None, 1)));
        assert!(!is_same_tiles(&TileSet::from_rows(&rows[2..], 2, None, 1), &one));
        assert!(is_within_grid(&[MAX_GRID, -MAX_GRID]));
        assert!(!is_within_grid(&[0, -MAX_GRID - 1]));
    }
}
