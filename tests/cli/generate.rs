//! `kohort generate`: what it says, what it writes, and what it refuses.

use crate::sandbox::{Sandbox, names};

const GENERATE: &str = "generate --rows 3k --features 4 --clusters 3 --threads 2";

#[test]
fn accounts_are_written_and_told() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!("help_generate", sandbox.transcript("generate --help"));
    let args = format!("{GENERATE} --out a.parquet");
    insta::assert_snapshot!("generate", sandbox.transcript(&args));
    let quiet = format!("{GENERATE} --threads 1 --out b.parquet -q");
    let quiet = quiet.replacen("--threads 2 ", "", 1);
    insta::assert_snapshot!("generate_quiet", sandbox.transcript(&quiet));
    let bytes = |name: &str| std::fs::read(sandbox.path(name)).unwrap();
    assert!(bytes("a.parquet") == bytes("b.parquet"));
    let replaced = sandbox.output(&format!("{GENERATE} --seed 1 --out b.parquet --overwrite"));
    assert!(replaced.status.success() && bytes("a.parquet") != bytes("b.parquet"));
}

#[test]
fn a_folder_of_files_holds_the_rows_of_one_file() {
    let sandbox = Sandbox::new();
    let rich = format!("{GENERATE} --missing 0.1 --outliers 0.01 --offset 5 --categorical 2 --codec zstd");
    let folder = format!("{rich} --files 3 --row-group 500 --out parts --verbose");
    insta::assert_snapshot!("generate_folder", sandbox.transcript(&folder));
    let parts = ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"];
    assert_eq!(names(&sandbox.path("parts")), parts);
    let object = sandbox.output(&format!("{rich} --out one.parquet --json"));
    let object: serde_json::Value = serde_json::from_slice(&object.stdout).unwrap();
    assert_eq!((&object["n_rows"], &object["n_files"]), (&3000.into(), &1.into()));
    assert_eq!(object["bytes"], sandbox.path("one.parquet").metadata().unwrap().len());
    let hash = |data: &str| {
        let args = format!("fit {data} -k 3 --id account_id --exclude truth --device cpu --json --overwrite");
        let output = sandbox.output(&args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        object["labels_hash"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash("parts"), hash("one.parquet"));
}

#[test]
fn what_cannot_be_generated_is_refused() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("folder")).unwrap();
    std::fs::write(sandbox.path("folder/notes.txt"), "mine").unwrap();
    let lines = [
        "generate --out a.parquet",
        "generate --rows 10",
        "generate --rows many --out a.parquet",
        "generate --rows 0 --out a.parquet",
        "generate --rows 10 --features 0 --out a.parquet",
        "generate --rows 10 --features 40k --out a.parquet",
        "generate --rows 10 --clusters 0 --out a.parquet",
        "generate --rows 10 --features 30k --clusters 60k --out a.parquet",
        "generate --rows 10 --missing 1.5 --out a.parquet",
        "generate --rows 10 --outliers -0.1 --out a.parquet",
        "generate --rows 10 --offset nan --out a.parquet",
        "generate --rows 10 --categorical 1M --out a.parquet",
        "generate --rows 10 --files 11 --out parts",
        "generate --rows 10 --files 0 --out parts",
        "generate --rows 10 --row-group 0 --out a.parquet",
        "generate --rows 1M --row-group 1 --out a.parquet",
        "generate --rows 10 --codec rar --out a.parquet",
        "generate --rows 10 --threads 0 --out a.parquet",
        "generate --rows 10 --out customers.parquet",
        "generate --rows 10 --out folder",
        "generate --rows 10 --files 2 --out folder",
        "generate --rows 10 --files 2 --out folder --overwrite",
        "generate --rows 10 --files 2 --out customers.parquet --overwrite",
        "generate --rows 10 --out none/a.parquet",
        "generate --rows 10 --missing 2 --out a.parquet --json",
    ];
    let before = sandbox.names();
    let transcripts: Vec<String> = lines.iter().map(|args| sandbox.transcript(args)).collect();
    assert_eq!(sandbox.names(), before, "something was left behind");
    assert!(transcripts.iter().all(|told| told.contains("exit code: 2\n")));
    insta::assert_snapshot!("error_generating", transcripts.join("\n"));
}
