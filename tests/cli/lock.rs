//! Two runs into the same output: the second is refused at once, and a killed one holds up nobody.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};

use crate::sandbox::Sandbox;

/// Starts a command and waits until it says `moment`.
fn at_work(sandbox: &Sandbox, args: &str, moment: &str) -> Child {
    let mut child = sandbox
        .command(args)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut lines = stderr.lines().map(Result::unwrap);
    assert!(
        lines.any(|line| line.contains(moment)),
        "{args}: never came to {moment}"
    );
    // Somebody has to read on, or the child stops where the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// Runs the command, which is refused for process `id`.
fn refused(sandbox: &Sandbox, args: &str, id: u32) {
    let output = sandbox.output(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{args}: {said}");
    assert!(
        said.contains(&format!("is being written by another run of kohort (process {id})")),
        "{args}: {said}"
    );
    assert!(said.contains("hint: wait until that run has ended"), "{said}");
}

#[test]
fn a_second_run_into_an_output_at_work_is_refused() {
    let sandbox = Sandbox::new();
    let column = |salt: u64| -> ArrayRef {
        let value = |row: u64| (kohort::rng::hash_key(salt, row.into()) >> 11) as f64;
        Arc::new(Float64Array::from_iter_values((0..100_000u64).map(value)))
    };
    sandbox.write("large.parquet", &[("a", column(1)), ("b", column(2)), ("c", column(3))]);
    sandbox.ok("fit customers.parquet -k 3 --id customer_id --out model --device cpu");
    sandbox.ok("fit customers.parquet -k 3 --out run --device cpu");
    let before = sandbox.names();
    let small = |out: &str| format!("fit customers.parquet -k 3 --out {out} --device cpu --overwrite");
    let slow =
        "fit large.parquet -k 64 --tol 0 --n-init 1 --max-iter 1000000 --device cpu --progress plain --overwrite";
    let sweep = "sweep customers.parquet -k 2..100 --n-init 200 --device cpu --progress plain --out choice";
    let table = "generate --rows 1B --row-group 40k --out table.parquet --progress plain";
    let parts = "generate --rows 1B --row-group 40k --files 30k --out parts --progress plain";
    let fit = format!("{slow} --out run");
    let cases = [
        (
            fit.as_str(),
            "seed ...",
            vec![
                small("run"),
                small("./run"),
                "rename run 1=First".into(),
                "tree model --drill 1 -k 2 --out run --overwrite".into(),
            ],
            small("run"),
        ),
        (
            sweep,
            "sweep: 3 segments",
            vec!["sweep customers.parquet -k 2..3 --out choice".into(), small("choice")],
            "sweep customers.parquet -k 2..3 --device cpu --out choice".into(),
        ),
        (
            table,
            " of ",
            vec![
                "generate --rows 10 --out table.parquet".into(),
                "score model customers.parquet --out table.parquet".into(),
            ],
            "generate --rows 10 --features 1 --clusters 1 --out table.parquet".into(),
        ),
        (
            parts,
            " of ",
            vec!["generate --rows 10 --files 2 --out parts".into()],
            "generate --rows 10 --features 1 --clusters 1 --files 2 --out parts".into(),
        ),
    ];
    for (args, moment, others, after) in cases {
        let mut first = at_work(&sandbox, args, moment);
        for other in &others {
            refused(&sandbox, other, first.id());
        }
        sandbox.ok(&small("elsewhere"));
        first.kill().unwrap();
        first.wait().unwrap();
        sandbox.ok(&after);
    }
    let mut expected = before;
    expected.extend(["choice", "elsewhere", "parts", "table.parquet"].map(str::to_owned));
    expected.sort();
    assert_eq!(
        sandbox.names(),
        expected,
        "nothing is left of the runs that were killed"
    );
}

#[test]
fn commands_that_write_one_file_are_refused_as_well() {
    let sandbox = Sandbox::new();
    sandbox.ok("fit customers.parquet -k 3 --id customer_id --out run --device cpu");
    std::fs::write(sandbox.path(".out.parquet.lock"), "4711").unwrap();
    let held = File::open(sandbox.path(".out.parquet.lock")).unwrap();
    held.lock().unwrap();
    let commands = [
        "score run customers.parquet --device cpu --out out.parquet",
        "explain run --all --out out.parquet",
        "typical run --ids out.parquet",
    ];
    for args in commands {
        refused(&sandbox, args, 4711);
    }
    assert!(!sandbox.path("out.parquet").exists());
    held.unlock().unwrap();
    for args in commands {
        sandbox.ok(&format!("{args} --overwrite"));
    }
    assert!(!sandbox.path(".out.parquet.lock").exists());
}
