//! What is fetched: the bytes that are needed, in few requests.

use crate::http_server::{Server, Ways};
use crate::program::Program;
use crate::proxy::Proxy;
use crate::stores::{s3, s3_endpoint, s3_variables};
use crate::tables::{parquet, wide};

const N_ROWS: usize = 60_000;
const N_COLUMNS: usize = 40;

#[test]
fn a_few_columns_are_a_small_part_of_the_bytes() {
    let (Some(store), Some(endpoint)) = (s3(), s3_endpoint()) else {
        return;
    };
    let (batch, properties) = wide(N_ROWS, N_COLUMNS, 20_000);
    let bytes = parquet(&batch, properties);
    let whole = bytes.len();
    store.put("bytes", &[("wide.parquet", bytes)]);
    let proxy = Proxy::new(&endpoint, |_| {});
    let program = Program::new(&s3_variables(&proxy.endpoint()));
    let url = store.url("bytes", "wide.parquet");
    program.fit(&[&url], &["--features", "x03,x31"], "narrow");
    let (requests, fetched) = proxy.counted();
    let column = whole / N_COLUMNS;
    // Two columns as often as a fit reads them, and the ends of the file; far from all of it.
    assert!(
        fetched < 8 * column + (200 << 10),
        "{fetched} of {whole} bytes: {requests:#?}"
    );
    assert!(requests.len() < 40, "{requests:#?}");
    let n_whole = |requests: &[String]| requests.iter().filter(|line| line.starts_with("GET ")).count();
    // A check whether anything has changed asks for the object's state alone.
    let code = program
        .run(&[
            "fit",
            &url,
            "-k",
            "3",
            "--device",
            "cpu",
            "--features",
            "x03,x31",
            "--out",
            "narrow",
            "--overwrite",
            "--if-changed",
        ])
        .code;
    let (requests, fetched) = proxy.counted();
    assert_eq!(code, 99);
    assert!(
        fetched < 80 << 10 && n_whole(&requests) <= 3,
        "{fetched} bytes: {requests:#?}"
    );
    // The count sees a fit that needs all columns.
    program.fit(&[&url], &[], "all");
    let (_, fetched) = proxy.counted();
    assert!(fetched > whole / 2, "{fetched} of {whole} bytes");
}

#[test]
fn row_groups_that_hold_no_wanted_row_are_not_fetched() {
    let (batch, properties) = wide(N_ROWS, 4, 20_000);
    let row = arrow::array::Int64Array::from_iter_values(0..N_ROWS as i64);
    let schema = batch.schema();
    let mut columns: Vec<_> = { schema.fields().iter() }.map(|field| field.name().clone()).collect();
    columns.push("row".into());
    let mut arrays = batch.columns().to_vec();
    arrays.push(std::sync::Arc::new(row));
    let named = columns.iter().map(String::as_str).zip(arrays);
    let batch = arrow::array::RecordBatch::try_from_iter(named).unwrap();
    let bytes = parquet(&batch, properties);
    let whole = bytes.len();
    let server = Server::new(&[("groups.parquet", bytes)], Ways::default());
    let program = Program::new(&[]);
    let fetched = |expression: &str, out: &str| {
        program.fit(
            &[&server.url("groups.parquet")],
            &["--exclude", "row", "--where", expression],
            out,
        );
        server.answered().iter().map(|answered| answered.bytes).sum::<usize>()
    };
    let (few, all) = (fetched("row < 20000", "few"), fetched("row >= 0", "all"));
    assert!(2 * few < all, "{few} and {all} of {whole} bytes");
}

/// A row group that is larger than what one reader holds is fetched piece by piece.
#[test]
fn a_large_row_group_is_never_in_memory_as_a_whole() {
    const N_ROWS: usize = 1_200_000;
    let (batch, properties) = wide(N_ROWS, 8, N_ROWS);
    let bytes = parquet(&batch, properties);
    let whole = bytes.len();
    assert!(whole > 70 << 20, "more than a reader holds");
    let program = Program::new(&[]);
    std::fs::write(program.path("local.parquet"), &bytes).unwrap();
    let server = Server::new(&[("large.parquet", bytes)], Ways::default());
    let few = ["--n-init", "1", "--max-iter", "3"];
    // One reader of all columns, and several of a few each, which hold theirs as a whole.
    let expected = program.fit(&["local.parquet"], &few, "local");
    for threads in ["1", "4"] {
        let more = [&few[..], &["--threads", threads]].concat();
        assert_eq!(program.fit(&[&server.url("large.parquet")], &more, threads), expected);
        let answered = server.answered();
        let sizes = || answered.iter().map(|answered| answered.bytes);
        assert!(sizes().max().unwrap() <= 8 << 20, "{:?}", sizes().max());
        // In few requests: each of some megabytes, and none twice in a pass.
        let passes = sizes().sum::<usize>().div_ceil(whole);
        assert!(
            passes <= 4 && answered.len() < passes * (whole >> 21),
            "{} requests, {passes} passes",
            answered.len()
        );
    }
}
