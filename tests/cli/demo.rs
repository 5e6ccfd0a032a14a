//! The demo, and that its commands do what they are shown to do.

use serde_json::Value;

use crate::sandbox::{Sandbox, names};

#[test]
fn the_commands_of_the_demo_can_be_typed() {
    let sandbox = Sandbox::new();
    let output = sandbox.output("demo --rows 400 --out try");
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{talk}");
    assert_eq!(names(&sandbox.path("try")), ["accounts.parquet", "choice", "segments"]);
    let told = String::from_utf8(output.stdout).unwrap();
    let commands: Vec<&str> = talk.lines().filter_map(|line| line.strip_prefix("$ kohort ")).collect();
    assert_eq!(commands.len(), 4, "{talk}");
    let mut again = String::new();
    for command in commands {
        let writes = if command.contains("--out ") { " --overwrite" } else { "" };
        let output = sandbox.output(&format!("{command}{writes}"));
        assert!(output.status.success(), "{command}");
        again += &String::from_utf8(output.stdout).unwrap();
    }
    assert_eq!(again, told, "what they say does not vary");
    assert!(talk.contains("Now open try/segments/report.html"), "{talk}");
    let mut next = talk.lines().filter_map(|line| line.split_once("kohort explain "));
    let explain = next.next_back().unwrap().1;
    assert!(
        sandbox.output(&format!("explain {explain}")).status.success(),
        "{explain}"
    );
}

#[test]
fn a_demo_replaces_nothing_unasked_and_is_one_object_in_json() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("try")).unwrap();
    let refused = sandbox.transcript("demo --out try");
    assert!(
        refused.contains("exit code: 2") && refused.contains("exists already"),
        "{refused}"
    );
    assert!(names(&sandbox.path("try")).is_empty());
    for rows in [0, 299] {
        assert_eq!(sandbox.output(&format!("demo --rows {rows}")).status.code(), Some(2));
    }
    let output = sandbox.output("demo --rows 300 --out try --overwrite --json -q");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["report"], "try/segments/report.html");
    assert!(sandbox.path("try/segments/report.html").exists());
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(!talk.contains("$ kohort"), "{talk}");
    insta::assert_snapshot!("help_demo", sandbox.transcript("demo --help"));
}
