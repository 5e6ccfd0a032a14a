//! Ctrl-C: exit code 130, and nothing half-written.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};

use crate::sandbox::Sandbox;

/// Enough rows that a fit to the last iteration takes far longer than the signal needs to arrive.
const N_ROWS: usize = 400_000;

#[test]
#[cfg(unix)]
fn an_interrupted_fit_leaves_nothing() {
    let sandbox = Sandbox::new();
    let column = |salt: u64| -> ArrayRef {
        let value = |row: u64| (kohort::rng::hash_key(salt, row.into()) >> 11) as f64;
        Arc::new(Float64Array::from_iter_values((0..N_ROWS as u64).map(value)))
    };
    sandbox.write(
        "large.parquet",
        &[("a", column(1)), ("b", column(2)), ("c", column(3)), ("d", column(4))],
    );
    let before = sandbox.names();
    let args = "fit large.parquet -k 64 --tol 0 --n-init 1 --max-iter 100000 --device cpu --progress plain";
    for moment in ["learn ...", "seed ...", "iteration 1 "] {
        let (code, said) = interrupt_at(&sandbox, args, moment);
        assert_eq!(code, Some(130), "{moment}: {said:?}");
        assert_eq!(said.last().unwrap(), "error: interrupted; nothing was written");
        assert_eq!(sandbox.names(), before, "{moment}");
    }
}

#[test]
#[cfg(unix)]
fn an_interrupted_sweep_leaves_nothing() {
    let sandbox = Sandbox::new();
    let before = sandbox.names();
    let args = "sweep customers.parquet -k 2..100 --n-init 200 --device cpu --progress plain --out choice";
    let (code, said) = interrupt_at(&sandbox, args, "sweep: 3 segments");
    assert_eq!(code, Some(130), "{said:?}");
    assert_eq!(said.last().unwrap(), "error: interrupted; nothing was written");
    assert_eq!(sandbox.names(), before);
}

#[test]
#[cfg(unix)]
fn an_interrupted_generation_leaves_nothing() {
    let sandbox = Sandbox::new();
    let before = sandbox.names();
    for (args, moment) in [
        (
            "generate --rows 1B --out accounts.parquet --progress plain",
            "generate ...",
        ),
        (
            "generate --rows 1B --row-group 40k --out accounts.parquet --progress plain",
            " of ",
        ),
        (
            "generate --rows 1B --row-group 40k --files 30k --out parts --progress plain",
            " of ",
        ),
    ] {
        let (code, said) = interrupt_at(&sandbox, args, moment);
        assert_eq!(code, Some(130), "{args}: {said:?}");
        assert_eq!(said.last().unwrap(), "error: interrupted; nothing was written");
        assert_eq!(sandbox.names(), before, "{args}");
    }
}

/// Exit code, and what stderr says from the line on that holds `moment`, when the signal comes after that line.
#[cfg(unix)]
fn interrupt_at(sandbox: &Sandbox, args: &str, moment: &str) -> (Option<i32>, Vec<String>) {
    let mut child = sandbox
        .command(args)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains(moment)), "never came to {moment}");
    // SAFETY: a signal to a process that this test started and has not waited for yet, so the number is still its own.
    assert_eq!(unsafe { libc::kill(child.id().try_into().unwrap(), libc::SIGINT) }, 0);
    let said = lines.collect();
    (child.wait().unwrap().code(), said)
}
