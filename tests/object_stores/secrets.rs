//! Nothing that is secret is said or written: queries, keys, and what servers answer.

use crate::http_server::{Server, Ways};
use crate::program::Program;
use crate::stores::{azure, s3, s3_endpoint};
use crate::tables::{data_set, small_parquet};

/// Stands in everything that must not come out.
const SECRET: &str = "PLANTEDsecret";

fn is_in(haystack: &[u8]) -> bool {
    haystack.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

/// Runs commands on a URL, and looks for the secret in all that they say and write.
#[track_caller]
fn check(program: &Program, url: &str, code: i32) {
    let commands = [
        &[
            "fit",
            url,
            "-k",
            "3",
            "--device",
            "cpu",
            "--out",
            "run",
            "--verbose",
            "--id",
            "customer",
        ][..],
        &[
            "fit",
            url,
            "-k",
            "3",
            "--device",
            "cpu",
            "--out",
            "run",
            "--json",
            "--overwrite",
        ],
        &[
            "fit",
            url,
            "-k",
            "3",
            "--device",
            "cpu",
            "--out",
            "no-column",
            "--features",
            "nothing",
        ],
        &[
            "fit",
            url,
            "-k",
            "3",
            "--device",
            "cpu",
            "--out",
            "no-row",
            "--where",
            "spend > 1e9",
        ],
        &["fit", url, "-k", "100000", "--device", "cpu", "--out", "too-many"],
        &["inspect", url, "--json"],
        &["bench", url, "-k", "2", "--device", "cpu"],
        &["fit", url, "-k", "3", "--isolate", "--out", "apart"],
    ];
    for (at, args) in commands.iter().enumerate() {
        let said = program.run(args);
        assert!(
            !is_in(said.stdout.as_bytes()) && !is_in(said.stderr.as_bytes()),
            "{args:?}: {said:?}"
        );
        if at == 0 {
            assert_eq!(said.code, code, "{said:?}");
        }
    }
    assert!(!is_in(&program.everything_written()));
}

#[test]
fn a_signature_in_a_url_is_used_and_not_told() {
    let ways = Ways {
        query: Some("sig=PLANTEDsecret&se=2026"),
        ..Ways::default()
    };
    let server = Server::new(&data_set(), ways);
    let url = format!("{}?sig={SECRET}&se=2026", server.url("one.parquet"));
    let program = Program::new(&[]);
    check(&program, &url, 0);
    let record = std::fs::read_to_string(program.path("run/run.json")).unwrap();
    assert!(record.contains(&server.url("one.parquet")));
    // A wrong one is denied, and not told either.
    let wrong = format!("{}?sig={SECRET}", server.url("one.parquet"));
    let program = Program::new(&[]);
    check(&program, &wrong, 1);
    program.run(&["inspect", &wrong]).is_error(
        1,
        &format!("error: cannot read {}: access is denied", server.url("one.parquet")),
    );
    check(
        &Program::new(&[]),
        &format!("https://user:{SECRET}@127.0.0.1:1/a.parquet?{SECRET}"),
        2,
    );
    check(
        &Program::new(&[]),
        &format!("s3://user:{SECRET}@bucket/a.parquet?X-Amz-Signature={SECRET}"),
        2,
    );
}

#[test]
fn what_a_server_says_is_not_passed_on() {
    for status in [400, 401, 403, 404, 500] {
        let ways = Ways {
            status: Some((status, SECRET)),
            ..Ways::default()
        };
        let server = Server::new(&[("a.parquet", small_parquet(0..9))], ways);
        let code = if status == 404 { 2 } else { 1 };
        let program = Program::new(&[]);
        let said = program.run(&["inspect", &server.url("a.parquet")]);
        assert!(said.code == code && !is_in(said.stderr.as_bytes()), "{said:?}");
    }
}

#[test]
fn keys_in_the_environment_are_not_told() {
    if let (Some(store), Some(_)) = (s3(), s3_endpoint()) {
        store.put("secrets", &data_set());
        let url = store.url("secrets", "one.parquet");
        // This server knows the name of a key alone.
        let variables = [
            store.variables_but("AWS_SECRET_ACCESS_KEY", SECRET),
            vec![("AWS_SESSION_TOKEN".into(), SECRET.into())],
        ];
        check(&Program::new(&variables.concat()), &url, 0);
        check(
            &Program::new(&store.variables_but("AWS_ACCESS_KEY_ID", SECRET)),
            &url,
            1,
        );
        check(
            &Program::new(&store.variables_but("AWS_ENDPOINT_URL", &format!("http://u:{SECRET}@127.0.0.1:9"))),
            &url,
            1,
        );
        check(&Program::new(&store.variables_but("AWS_ALLOW_HTTP", SECRET)), &url, 1);
    }
    if let Some(store) = azure() {
        let url = store.url("secrets", "one.parquet");
        check(
            &Program::new(&store.variables_but("AZURE_STORAGE_ACCOUNT_KEY", SECRET)),
            &url,
            1,
        );
        let signed = [("AZURE_STORAGE_SAS_TOKEN".to_owned(), format!("sv=2020&sig={SECRET}"))];
        let variables: Vec<_> = { store.variables.iter() }
            .filter(|(name, _)| name != "AZURE_STORAGE_ACCOUNT_KEY")
            .cloned()
            .chain(signed)
            .collect();
        check(&Program::new(&variables), &url, 1);
    }
}

/// The search finds a secret that is there.
#[test]
fn a_planted_secret_is_found() {
    let program = Program::new(&[]);
    assert!(!is_in(&program.everything_written()));
    std::fs::write(program.path("a"), format!("x{SECRET}y")).unwrap();
    assert!(is_in(&program.everything_written()));
}
