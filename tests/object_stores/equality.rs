//! The same bits from a store as from files on disk.

use crate::http_server::{Server, Ways};
use crate::program::{Program, Results};
use crate::stores::{Store, azure, google, s3};
use crate::tables::{data_set, write};

/// Fits of local files and of the same in a store.
fn compare(store: &Store, folder: &str) {
    let program = Program::new(&store.variables);
    write(&program.path("local"), &data_set());
    store.put(folder, &data_set());
    for (at, (names, more)) in [
        (&["one.parquet"][..], &[][..]),
        (&["years"], &["--id", "customer"]),
        (&["years/"], &[]),
        (&["years/year=*/*.parquet"], &["--where", "year = 2025 and spend > 1"]),
        (
            &["years/year=2025/[ab].parquet", "years/year=2026"],
            &["--on-duplicate-id", "first", "--id", "customer"],
        ),
        (&["years/year=202?"], &["--exclude", "visits"]),
        (&["table.csv"], &[]),
        (&["table.arrow"], &["--memory", "2GB"]),
    ]
    .into_iter()
    .enumerate()
    {
        let local: Vec<String> = names.iter().map(|name| format!("local/{name}")).collect();
        let urls: Vec<String> = names.iter().map(|name| store.url(folder, name)).collect();
        let fit = |data: &[String], out: &str| {
            let data: Vec<&str> = data.iter().map(String::as_str).collect();
            program.fit(&data, more, out)
        };
        let expected = fit(&local, &format!("local-{at}"));
        assert_eq!(fit(&urls, &format!("store-{at}")), expected, "{urls:?}");
    }
}

#[test]
fn a_fit_from_s3_is_that_of_the_files() {
    if let Some(store) = s3() {
        compare(&store, "equality");
    }
}

#[test]
fn a_fit_from_azure_is_that_of_the_files() {
    if let Some(store) = azure() {
        compare(&store, "equality");
    }
}

#[test]
fn a_fit_from_google_is_that_of_the_files() {
    if let Some(store) = google() {
        compare(&store, "equality-google");
    }
}

#[test]
fn a_fit_over_http_is_that_of_the_files() {
    let program = Program::new(&[]);
    let files = data_set();
    write(&program.path("local"), &files);
    let server = Server::new(&files, Ways::default());
    let of = |name: &str| program.fit(&[&format!("local/{name}")], &[], &format!("of-{name}"));
    for name in ["one.parquet", "table.csv", "table.arrow"] {
        assert_eq!(
            program.fit(&[&server.url(name)], &[], &format!("http-{name}")),
            of(name),
            "{name}"
        );
    }
    let names = ["years/year=2025/a.parquet", "years/year=2026/part-0.parquet"];
    let local = names.map(|name| format!("local/{name}"));
    let urls = names.map(|name| server.url(name));
    assert_eq!(
        program.fit(&urls.each_ref().map(String::as_str), &[], "two-http"),
        program.fit(&local.each_ref().map(String::as_str), &[], "two-local")
    );
}

/// The comparison sees another value, another order of columns that matter, and a row less.
#[test]
fn another_table_does_not_pass_for_the_same() {
    let program = Program::new(&[]);
    let files = data_set();
    let server = Server::new(&files, Ways::default());
    let fit = |name: &str, more: &[&str], out: &str| -> Results { program.fit(&[&server.url(name)], more, out) };
    let whole = fit("one.parquet", &[], "whole");
    assert_eq!(fit("one.parquet", &[], "again"), whole);
    assert_ne!(fit("one.parquet", &["--where", "customer > 0"], "less"), whole);
    assert_ne!(
        fit("one.parquet", &["--exclude", "visits"], "narrow").model_hash,
        whole.model_hash
    );
    let mut other = crate::tables::customers(0..300).columns().to_vec();
    let spend = other[1].clone();
    other[1] = arrow::compute::concat(&[&spend.slice(1, 299), &spend.slice(0, 1)]).unwrap();
    let schema = crate::tables::customers(0..1).schema();
    let other = arrow::array::RecordBatch::try_new(schema, other).unwrap();
    server.put("one.parquet", crate::tables::parquet(&other, Default::default()));
    assert_ne!(fit("one.parquet", &[], "other"), whole);
}
