//! Every command that reads data reads it from a store, or says in one line that it does not.

use crate::program::Program;
use crate::stores::s3;
use crate::tables::{data_set, write};

#[test]
fn commands_read_objects_as_they_read_files() {
    let Some(store) = s3() else { return };
    let program = Program::new(&store.variables);
    write(&program.path("local"), &data_set());
    store.put("commands", &data_set());
    let years = store.url("commands", "years");
    let one = store.url("commands", "one.parquet");
    program.fit(&["local/years"], &["--id", "customer"], "run");
    let score = |data: &str, out: &str, more: &[&str]| {
        program.runs(&[&["score", "run", data, "--out", out, "--device", "cpu"], more].concat());
    };
    score("local/years", "local.csv", &[]);
    score(&years, "store.csv", &["--isolate"]);
    let read = |name: &str| std::fs::read(program.path(name)).unwrap();
    assert_eq!(read("store.csv"), read("local.csv"));
    for (name, of_local) in [("years", "by-local"), ("years/year=202[56]/", "by-local-glob")] {
        score(
            &format!("local/{name}"),
            of_local,
            &["--partition-by", "file", "--format", "csv"],
        );
        score(
            &store.url("commands", name),
            "by-store",
            &["--partition-by", "file", "--format", "csv", "--overwrite"],
        );
        for file in ["year=2025/a.csv", "year=2026/part-0.csv"] {
            assert_eq!(
                read(&format!("by-store/{file}")),
                read(&format!("{of_local}/{file}")),
                "{name}"
            );
        }
    }
    let inspected = |data: &str| program.runs(&["inspect", data]).stdout;
    assert_eq!(inspected(&one), inspected("local/one.parquet"));
    let planned = program.runs(&["fit", &one, "-k", "3", "--device", "cpu", "--dry-run", "--out", "no"]);
    assert!(
        planned.stdout.contains("300") && !program.path("no").exists(),
        "{planned:?}"
    );
    program.runs(&["bench", &one, "-k", "2", "--device", "cpu"]);
}

#[test]
fn a_run_knows_its_objects_again() {
    let Some(store) = s3() else { return };
    let program = Program::new(&store.variables);
    store.put("again", &data_set());
    let (one, csv) = (store.url("again", "one.parquet"), store.url("again", "table.csv"));
    program.fit(&[&one], &[], "run");
    program.fit(&[&csv], &[], "of-csv");
    let inputs = |run: &str| {
        let record = std::fs::read(program.path(run).join("run.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        record["inputs"][0].clone()
    };
    let input = inputs("run");
    assert_eq!(
        (&input["path"], &input["absolute_path"]),
        (&one.as_str().into(), &one.as_str().into())
    );
    assert!(input["etag"].as_str().is_some_and(|etag| etag.len() == 32) && input.get("xxh3_128").is_none());
    // What was copied as a whole is known by its bytes as well.
    assert!(inputs("of-csv")["etag"].is_string() && inputs("of-csv")["xxh3_128"].is_string());
    let (_, whole) = data_set().swap_remove(7);
    std::fs::write(program.path("copy.csv"), whole).unwrap();
    program.runs(&["verify", "run", "--device", "cpu"]);
    program.runs(&["verify", "of-csv", "copy.csv", "--device", "cpu"]);
    let again = |data: &str, run: &str| {
        program
            .run(&[
                "fit",
                data,
                "-k",
                "3",
                "--device",
                "cpu",
                "--out",
                run,
                "--overwrite",
                "--if-changed",
            ])
            .code
    };
    assert_eq!(
        (again(&one, "run"), again(&csv, "of-csv"), again("copy.csv", "of-csv")),
        (99, 99, 99)
    );
    std::fs::write(program.path("one.parquet"), crate::tables::small_parquet(0..300)).unwrap();
    let said = program.run(&["verify", "run", "one.parquet", "--device", "cpu"]);
    said.is_error(2, &format!("error: one.parquet: cannot be held against what the run read: of {one} its ETag alone is known; name that object"));
    store.put("again", &[("one.parquet", crate::tables::small_parquet(1..301))]);
    let said = program.run(&["verify", "run", "--device", "cpu"]);
    said.is_error(
        2,
        &format!("error: {one} is not the file that the run read: its bytes differ"),
    );
    assert_eq!((again(&one, "run"), again(&one, "run")), (0, 99));
}
