//! Scripts for shells.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::sandbox::Sandbox;

#[test]
fn scripts_know_every_command_and_its_flags() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = sandbox.output(&format!("completions {shell}"));
        assert!(output.status.success(), "{output:?}");
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["sweep", "n-clusters", "no-config", "zscore"] {
            assert!(script.contains(word), "{word} in the script for {shell}");
        }
        assert!(!script.contains("no-overwrite"), "what is hidden is not offered");
    }
    assert_eq!(sandbox.output("completions tcsh").status.code(), Some(2));
}

/// bash takes the script, and completes with it.
#[test]
#[cfg(target_os = "linux")]
fn bash_completes() {
    let sandbox = Sandbox::new();
    let script = String::from_utf8(sandbox.output("completions bash").stdout).unwrap();
    let ask = "\nCOMP_WORDS=(kohort fit --n-cl); COMP_CWORD=2; _kohort kohort --n-cl fit; printf '%s\\n' \"${COMPREPLY[@]}\"\n";
    let mut bash = Command::new("bash");
    let bash = bash.arg("--norc").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut bash = bash.spawn().expect("bash, as .ci/run needs it");
    bash.stdin.take().unwrap().write_all((script + ask).as_bytes()).unwrap();
    let output = bash.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "--n-clusters\n");
}
