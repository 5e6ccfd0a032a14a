//! What cannot be read is told in one line, with the object, and the right exit code.

use std::time::{Duration, Instant};

use crate::http_server::{Etags, Server, Ways};
use crate::program::Program;
use crate::proxy::Proxy;
use crate::stores::{azure, s3, s3_endpoint, s3_variables};
use crate::tables::{data_set, parquet, small_parquet, wide};

fn fit(url: &str) -> [&str; 8] {
    ["fit", url, "-k", "3", "--device", "cpu", "--out", "run"]
}

#[test]
fn what_is_not_there_is_told() {
    if let Some(store) = s3() {
        store.put("errors", &data_set());
        let program = Program::new(&store.variables);
        let missing = store.url("errors", "no.parquet");
        program
            .run(&fit(&missing))
            .is_error(2, &format!("error: no such file or folder: {missing}"));
        let line = "error: cannot read s3://kohort-no/a.parquet: there is no such bucket or container";
        program.run(&fit("s3://kohort-no/a.parquet")).is_error(1, line);
        let glob = store.url("errors", "years/*.csv");
        program
            .run(&fit(&glob))
            .is_error(2, &format!("error: no data file matches {glob}"));
        let mixed = store.url("errors", "");
        let said = program.run(&fit(&mixed));
        assert!(
            said.code == 2 && said.stderr.contains("holds files of several formats"),
            "{}",
            said.stderr
        );
    }
    if let Some(store) = azure() {
        let program = Program::new(&store.variables);
        let missing = store.url("errors", "no.parquet");
        program
            .run(&fit(&missing))
            .is_error(2, &format!("error: no such file or folder: {missing}"));
        let line = "error: cannot read az://kohort-no/a.parquet: there is no such bucket or container";
        program.run(&fit("az://kohort-no/a.parquet")).is_error(1, line);
    }
    let server = Server::new(&[], Ways::default());
    let missing = server.url("no.parquet");
    Program::new(&[])
        .run(&fit(&missing))
        .is_error(2, &format!("error: no such file or folder: {missing}"));
}

#[test]
fn wrong_credentials_are_told() {
    if let Some(store) = s3() {
        store.put("denied", &[("a.parquet", small_parquet(0..100))]);
        let program = Program::new(&store.variables_but("AWS_ACCESS_KEY_ID", "NOBODY"));
        let url = store.url("denied", "a.parquet");
        program
            .run(&fit(&url))
            .is_error(1, &format!("error: cannot read {url}: access is denied"));
    }
    if let Some(store) = azure() {
        store.put("denied", &[("a.parquet", small_parquet(0..100))]);
        // Base64, as keys are.
        let program = Program::new(&store.variables_but("AZURE_STORAGE_ACCOUNT_KEY", "cGxhbnRlZC1zZWNyZXQ="));
        let url = store.url("denied", "a.parquet");
        let said = program.run(&fit(&url));
        said.is_error(1, &format!("error: cannot read {url}: access is denied"));
        assert!(!said.stderr.contains("cGxhbnRlZC1zZWNyZXQ"));
    }
}

#[test]
fn an_endpoint_that_is_not_encrypted_has_to_be_allowed() {
    let Some(store) = s3() else { return };
    let program = Program::new(&store.variables_but("AWS_ALLOW_HTTP", "false"));
    let url = store.url("errors", "one.parquet");
    program
        .run(&fit(&url))
        .is_error(1, &format!("error: cannot read {url}: its endpoint is not encrypted"));
}

#[test]
fn nobody_at_the_address_is_told_within_seconds() {
    // The near end of a connection: its port is taken, so that no other server gets it, and nobody listens there.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let nobody = format!("http://{}", taken.local_addr().unwrap());
    let started = Instant::now();
    let program = Program::new(&s3_variables(&nobody));
    let line = "error: cannot read s3://kohort/a.parquet: no connection can be made";
    program.run(&fit("s3://kohort/a.parquet")).is_error(1, line);
    let line = format!("error: cannot read {nobody}/a.parquet: no connection can be made");
    program.run(&fit(&format!("{nobody}/a.parquet"))).is_error(1, &line);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_is_an_error() {
    let (batch, properties) = wide(30_000, 6, 10_000);
    let bytes = parquet(&batch, properties);
    for (etags, after) in [(Etags::Strong, 2), (Etags::Strong, 5), (Etags::Weak, 3)] {
        let ways = Ways {
            etags,
            replaced_after: Some(after),
            ..Ways::default()
        };
        let server = Server::new(&[("a.parquet", bytes.clone())], ways);
        let url = server.url("a.parquet");
        let program = Program::new(&[]);
        program
            .run(&fit(&url))
            .is_error(1, &format!("error: {url} changed while it was being read"));
        assert!(!program.path("run").exists());
    }
}

#[test]
fn an_object_that_is_replaced_after_it_was_listed_is_an_error() {
    let (Some(store), Some(endpoint)) = (s3(), s3_endpoint()) else {
        return;
    };
    store.put(
        "replaced",
        &[
            ("a.parquet", small_parquet(0..100)),
            ("b.parquet", small_parquet(100..200)),
        ],
    );
    let done = std::sync::Once::new();
    let proxy = Proxy::new(&endpoint, move |line| {
        if line.contains("/replaced/b.parquet") {
            done.call_once(|| s3().unwrap().put("replaced", &[("b.parquet", small_parquet(500..600))]));
        }
    });
    let program = Program::new(&s3_variables(&proxy.endpoint()));
    let changed = store.url("replaced", "b.parquet");
    let line = format!("error: {changed} changed while it was being read");
    program.run(&fit(&store.url("replaced", ""))).is_error(1, &line);
    // What is there now is read.
    program.fit(&[&store.url("replaced", "")], &[], "again");
}

#[test]
fn servers_that_cannot_be_read_from_are_told() {
    let bytes = small_parquet(0..20_000);
    let cases = [
        (
            Ways {
                no_ranges: true,
                ..Ways::default()
            },
            "the server gives no parts of files",
        ),
        (
            Ways {
                etags: Etags::None,
                no_dates: true,
                ..Ways::default()
            },
            "the server tells neither ETag nor Last-Modified, so that a change would go unseen",
        ),
        (
            Ways {
                status: Some((503, "busy")),
                ..Ways::default()
            },
            "the store answered with status 503",
        ),
        (
            Ways {
                status: Some((400, "what?")),
                ..Ways::default()
            },
            "the store answered with status 400",
        ),
        (
            Ways {
                status: Some((401, "who?")),
                ..Ways::default()
            },
            "access is denied",
        ),
    ];
    for (ways, problem) in cases {
        let server = Server::new(&[("a.parquet", bytes.clone())], ways);
        let url = server.url("a.parquet");
        Program::new(&[])
            .run(&fit(&url))
            .is_error(1, &format!("error: cannot read {url}: {problem}"));
    }
}

#[test]
fn without_an_etag_the_time_of_change_tells() {
    let server = Server::new(
        &[("a.parquet", small_parquet(0..20_000))],
        Ways {
            etags: Etags::None,
            ..Ways::default()
        },
    );
    let program = Program::new(&[]);
    program.fit(&[&server.url("a.parquet")], &[], "run");
    let record = std::fs::read_to_string(program.path("run/run.json")).unwrap();
    assert!(record.contains("xxh3_128") && !record.contains("etag"));
}

#[test]
fn what_an_address_cannot_be_is_told() {
    let program = Program::new(&[]);
    for (url, reason) in [
        (
            "https://user:pw@host/a.parquet",
            "https://host/a.parquet: has a user or a password in it, which are not taken from there",
        ),
        (
            "http://10.0.0.1/a.parquet",
            "http://10.0.0.1/a.parquet: is not encrypted: take https://; http:// is read from this machine alone",
        ),
        (
            "https://host/data/",
            "https://host/data/: names no single file, and https:// has no list of files: name each",
        ),
        ("s3:///a", "s3:///a: names no bucket"),
    ] {
        program.run(&fit(url)).is_error(2, &format!("error: {reason}"));
    }
    std::fs::write(program.path("a.csv"), "a\n1\n2\n3\n").unwrap();
    let line = "error: s3://kohort/run cannot be the output: results are written to this machine's disks alone";
    for args in [
        &["fit", "a.csv", "-k", "2", "--out", "s3://kohort/run"][..],
        &["sweep", "a.csv", "-k", "2..3", "--out", "s3://kohort/run"],
        &["generate", "--rows", "10", "--out", "s3://kohort/run"],
        &["score", "m", "a.csv", "--out", "s3://kohort/run"],
    ] {
        program.run(args).is_error(2, line);
    }
}

#[test]
#[cfg(unix)]
fn a_wait_for_the_network_can_be_ended() {
    let ways = Ways {
        stalls_after: Some(300),
        ..Ways::default()
    };
    let server = Server::new(&[("a.parquet", small_parquet(0..20_000))], ways);
    let url = server.url("a.parquet");
    let program = Program::new(&[]);
    let mut child = program
        .command(&fit(&url))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while server.answered().iter().all(|answered| answered.method != "GET") {
        std::thread::sleep(Duration::from_millis(20));
    }
    let started = Instant::now();
    // SAFETY: a signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(started.elapsed() < Duration::from_secs(5));
}
