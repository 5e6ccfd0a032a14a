//! A disk that fails at any moment: an error, exit code 1, and what was there before is all that is there.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Float64Array};

use crate::sandbox::{Sandbox, names};

/// The library that makes calls fail, where there is a C compiler.
static SHIM: LazyLock<Option<(tempfile::TempDir, PathBuf)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let shim = folder.path().join("fail_at.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/fail_at.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&shim)
        .arg(source)
        .arg("-ldl");
    let built = cc.output().is_ok_and(|output| output.status.success());
    built.then_some((folder, shim))
});

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Relative names and bytes of all that is in a folder and below it.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        match path.is_dir() {
            true => {
                let below = content(&path).into_iter();
                all.extend(below.map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
                all.push((name, Vec::new()));
            }
            false => all.push((name, std::fs::read(path).unwrap())),
        }
    }
    all
}

/// Lets every call of a command that changes something in the folder fail in turn, until one run has no more of them.
fn fail_at_every_call(sandbox: &Sandbox, args: &str, least: usize) {
    let Some((_, shim)) = &*SHIM else {
        return skipped("no C compiler (cc) to build tests/cli/fail_at.c with");
    };
    let aside = tempfile::tempdir().unwrap();
    let folder = sandbox.path("").canonicalize().unwrap();
    let before = content(&folder);
    let mut n_tolerated = 0;
    for at in 1.. {
        let mark = aside.path().join(at.to_string());
        let mut command = sandbox.command(args);
        command
            .env("LD_PRELOAD", shim)
            .env("FAIL_FOLDER", &folder)
            .env("FAIL_MARK", &mark);
        let output = command.env("FAIL_AT", at.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !mark.exists() {
            assert_eq!(output.status.code(), Some(0), "{args}: {said}");
            assert!(at > least, "{args}: only {} calls were seen", at - 1);
            break;
        }
        if output.status.success() {
            // The number in a lock is for people alone.
            n_tolerated += 1;
            assert!(n_tolerated <= 1, "{args}: call {at} failed, and nothing was said");
            put_back(&folder, &before);
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{args}, call {at}: {said}");
        assert!(
            said.lines().any(|line| line.starts_with("error: cannot ")),
            "{args}, call {at}: {said}"
        );
        assert!(
            content(&folder) == before,
            "{args}, call {at}: {said} left {:?}",
            sandbox.names()
        );
    }
    assert!(content(&folder) != before, "{args}: the last run had nothing to write");
}

/// Makes a folder what it was.
fn put_back(folder: &Path, before: &[(String, Vec<u8>)]) {
    for name in names(folder) {
        let path = folder.join(name);
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
    }
    for (name, bytes) in before {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !before.iter().any(|(other, _)| other.starts_with(&format!("{name}/"))) {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn a_fit_on_a_failing_disk() {
    fail_at_every_call(
        &Sandbox::new(),
        "fit customers.parquet -k 3 --id customer_id --out run --device cpu",
        25,
    );
}

#[test]
fn a_fit_over_an_earlier_one_on_a_failing_disk() {
    let sandbox = Sandbox::new();
    let fit = "fit customers.parquet -k 3 --out run --device cpu";
    sandbox.ok(fit);
    fail_at_every_call(&sandbox, &format!("{fit} -k 2 --overwrite").replace(" -k 3", ""), 25);
}

#[test]
fn scoring_and_generating_on_a_failing_disk() {
    let sandbox = Sandbox::new();
    sandbox.ok("fit customers.parquet -k 2 --out run --device cpu");
    let score = "score run customers.parquet --device cpu --out";
    fail_at_every_call(&sandbox, &format!("{score} parts --partition-by segment"), 15);
    fail_at_every_call(
        &sandbox,
        &format!("{score} parts --partition-by segment --format csv --overwrite"),
        15,
    );
    fail_at_every_call(&sandbox, &format!("{score} scored.csv"), 5);
    fail_at_every_call(&sandbox, &format!("{score} scored.parquet"), 5);
    fail_at_every_call(
        &sandbox,
        "generate --rows 100 --features 1 --clusters 1 --files 2 --out made",
        8,
    );
    fail_at_every_call(
        &sandbox,
        "sweep customers.parquet -k 2..3 --device cpu --out choice",
        10,
    );
}

/// A filter of system calls that lets renaming and linking fail, however they are called.
fn without_renaming() -> std::io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let calls = [
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_link,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_linkat,
    ];
    let mut filter = vec![op(LOAD, 0, 0, 0)];
    for call in calls {
        filter.push(op(IS, 0, 1, call as u32));
        filter.push(op(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EIO as u32));
    }
    filter.push(op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: both calls act on this process alone, and the filter lives until the second has copied it.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    };
    if done {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

fn failed_and_left_nothing(sandbox: &Sandbox, args: &str, output: &Output, before: &[String]) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args}: {said}");
    assert!(said.contains("error: "), "{args}: {said}");
    assert_eq!(sandbox.names(), before, "{args}");
}

#[test]
fn a_file_that_cannot_get_its_name() {
    let sandbox = Sandbox::new();
    sandbox.ok("fit customers.parquet -k 2 --out run --device cpu");
    std::fs::write(sandbox.path("there.parquet"), "earlier").unwrap();
    let before = sandbox.names();
    for args in [
        "score run customers.parquet --device cpu --out scored.parquet",
        "score run customers.parquet --device cpu --out there.parquet --overwrite",
        "generate --rows 100 --out made.parquet",
        "fit customers.parquet -k 2 --out run2 --device cpu",
        "fit customers.parquet -k 2 --out run --overwrite --device cpu",
        "explain run --all --out reasons.parquet",
    ] {
        let mut command = sandbox.command(args);
        // SAFETY: between fork and exec, only system calls are made.
        unsafe { command.pre_exec(without_renaming) };
        match command.output() {
            Ok(output) => failed_and_left_nothing(&sandbox, args, &output, &before),
            Err(error) => return skipped(&format!("no filters of system calls here: {error}")),
        }
    }
    assert_eq!(std::fs::read(sandbox.path("there.parquet")).unwrap(), b"earlier");
}

#[test]
fn a_disk_that_is_full_and_a_folder_that_takes_nothing() {
    let sandbox = Sandbox::new();
    let before = sandbox.names();
    let limited = || {
        let limit = libc::rlimit {
            rlim_cur: 1 << 14,
            rlim_max: 1 << 14,
        };
        // SAFETY: both act on this process alone; an ignored signal stays ignored after exec, so that writing fails.
        match unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN) != libc::SIG_ERR
                && libc::setrlimit(libc::RLIMIT_FSIZE, &limit) == 0
        } {
            true => Ok(()),
            false => Err(std::io::Error::last_os_error()),
        }
    };
    for args in [
        "generate --rows 20k --out made.parquet",
        "generate --rows 20k --files 2 --out made",
        "fit customers.parquet -k 2 --out run --device cpu",
    ] {
        let mut command = sandbox.command(args);
        // SAFETY: between fork and exec, only system calls are made.
        unsafe { command.pre_exec(limited) };
        failed_and_left_nothing(&sandbox, args, &command.output().unwrap(), &before);
    }
    let args = "fit customers.parquet -k 2 --out /proc/run --device cpu";
    failed_and_left_nothing(&sandbox, args, &sandbox.output(args), &before);
}

#[test]
fn an_input_that_changes_or_goes_while_it_is_read() {
    let column = |salt: u64| -> ArrayRef {
        let value = |row: u64| (kohort::rng::hash_key(salt, row.into()) >> 11) as f64;
        Arc::new(Float64Array::from_iter_values((0..100_000u64).map(value)))
    };
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("goes", |path| std::fs::remove_file(path).unwrap()),
        ("is replaced", |path| {
            let other = path.with_extension("other");
            std::fs::copy(path, &other).unwrap();
            std::fs::rename(other, path).unwrap();
        }),
        ("grows", |path| {
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            std::io::Write::write_all(&mut file, b"more").unwrap();
        }),
    ];
    for (what, change) in changes {
        let sandbox = Sandbox::new();
        sandbox.write("large.parquet", &[("a", column(1)), ("b", column(2)), ("c", column(3))]);
        let args = "fit large.parquet -k 32 --tol 0 --n-init 1 --max-iter 60 --device cpu --progress plain --out run";
        let mut child = sandbox
            .command(args)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("seed ...")));
        change(&sandbox.path("large.parquet"));
        let said: Vec<String> = lines.collect();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{what}: {said:?}");
        assert!(
            said.iter()
                .any(|line| line == "error: large.parquet changed while it was being read"),
            "{what}: {said:?}"
        );
        assert!(
            !sandbox.path("run").exists() && sandbox.names().iter().all(|name| !name.starts_with('.')),
            "{what}"
        );
    }
}
