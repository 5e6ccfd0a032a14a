use serde_json::Value;

use crate::sandbox::{Sandbox, names};

const FIT: &str = "fit customers.parquet -k 3 --id customer_id --device cpu --out run";

fn fitted() -> Sandbox {
    let sandbox = Sandbox::new();
    assert!(sandbox.output(FIT).status.success());
    sandbox
}

fn file(sandbox: &Sandbox, name: &str) -> String {
    std::fs::read_to_string(sandbox.path("run").join(name)).unwrap()
}

#[test]
fn names_are_kept_in_the_run() {
    let sandbox = fitted();
    let table = std::fs::read(sandbox.path("run/assignments.parquet")).unwrap();
    assert!(file(&sandbox, "report.html").contains("(draft)"));
    std::fs::write(sandbox.path("names.txt"), "# of the team\n\n 3 = Loyal & <b>true</b>\n").unwrap();
    insta::assert_snapshot!("rename", sandbox.transcript("rename run 1=Lapsed --file names.txt"));
    insta::assert_snapshot!("rename_by_name", sandbox.transcript("rename run Lapsed=Gone"));
    let record: Value = serde_json::from_str(&file(&sandbox, "run.json")).unwrap();
    let named = |at: usize| {
        (
            record["segments"][at]["name"].as_str().unwrap(),
            &record["segments"][at]["name_is_draft"],
        )
    };
    assert_eq!(named(0), ("Gone", &Value::Bool(false)));
    assert_eq!(named(2), ("Loyal & <b>true</b>", &Value::Bool(false)));
    assert_eq!(named(1).1, &Value::Bool(true));
    let (html, markdown) = (file(&sandbox, "report.html"), file(&sandbox, "report.md"));
    assert!(html.contains("Loyal &amp; &lt;b&gt;true&lt;/b&gt;") && !html.contains("<b>true"));
    assert!(markdown.contains("Gone") && !markdown.contains("<b>") && !html.contains("Lapsed"));
    assert_eq!(std::fs::read(sandbox.path("run/assignments.parquet")).unwrap(), table);
    assert_eq!(names(&sandbox.path("run")).len(), 7);
    // The model has them too, and nothing that counts has changed.
    assert!(sandbox.output("verify run").status.success());
    insta::assert_snapshot!(
        "score_with_names",
        sandbox.transcript("score run customers.parquet --device cpu --out scored.parquet")
    );
    let told = sandbox.transcript("explain run --id 10000");
    assert!(told.contains("segment 1 (Gone), runner-up"), "{told}");
    assert_eq!(
        sandbox.names().len(),
        4,
        "nothing is left beside the run: {:?}",
        sandbox.names()
    );
}

#[test]
fn a_report_drawn_again_is_the_one_that_was_drawn() {
    let sandbox = fitted();
    let before = (file(&sandbox, "report.html"), file(&sandbox, "report.md"));
    let name = |at: usize| {
        let record: Value = serde_json::from_str(&file(&sandbox, "run.json")).unwrap();
        record["segments"][at]["name"].as_str().unwrap().to_owned()
    };
    let drafts = [0, 1, 2].map(name);
    let output = sandbox
        .command("rename run")
        .args((1..).zip(&drafts).map(|(number, draft)| format!("{number}={draft}")))
        .output();
    assert!(output.unwrap().status.success());
    let after = (file(&sandbox, "report.html"), file(&sandbox, "report.md"));
    assert_ne!(after, before, "they are no drafts any more");
    let without = |(html, markdown): (String, String)| {
        let drafts =
            "Names are drafts, made from the strongest differences, until <code>kohort rename</code> gives others. ";
        let html = html
            .replace(" <span class=\"soft\">(draft)</span>", "")
            .replace(drafts, "");
        (html, markdown.replace("name (draft)", "name"))
    };
    assert_eq!(without(after), without(before));
}

#[test]
fn names_that_cannot_be_given_change_nothing() {
    let sandbox = fitted();
    let before = (
        file(&sandbox, "run.json"),
        file(&sandbox, "model.json"),
        file(&sandbox, "report.html"),
    );
    let mut told = String::new();
    for args in [
        "rename run 4=Others",
        "rename run 1=Same 2=Same",
        "rename run 1=One 1=Two",
        "rename run 1=",
        "rename run Nobody=Somebody",
        "rename run",
        "rename nowhere 1=One",
        "rename run/run.json 1=One",
        "rename run --file none.txt",
    ] {
        told += &sandbox.transcript(args);
    }
    let long = sandbox
        .command("rename run")
        .arg(format!("1={}", "x".repeat(121)))
        .output()
        .unwrap();
    assert_eq!(long.status.code(), Some(2));
    // A run with a file that no run writes, and one whose files are of two runs.
    std::fs::write(sandbox.path("run/notes.txt"), "mine").unwrap();
    told += &sandbox.transcript("rename run 1=One");
    std::fs::remove_file(sandbox.path("run/notes.txt")).unwrap();
    let content = file(&sandbox, "profile.json");
    crate::sandbox::plant_other_hash(&sandbox.path("run/profile.json"));
    told += &sandbox.transcript("rename run 1=One");
    std::fs::write(
        sandbox.path("run/profile.json"),
        content.replace("\"n_rows\"", "\"rows\""),
    )
    .unwrap();
    told += &sandbox.transcript("rename run 1=One");
    std::fs::remove_file(sandbox.path("run/profile.json")).unwrap();
    told += &sandbox.transcript("rename run 1=One");
    insta::assert_snapshot!("error_rename", told);
    let after = (
        file(&sandbox, "run.json"),
        file(&sandbox, "model.json"),
        file(&sandbox, "report.html"),
    );
    assert_eq!(after, before);
}

#[test]
fn typical_customers_are_told_without_their_ids() {
    let sandbox = fitted();
    insta::assert_snapshot!("typical", sandbox.transcript("typical run"));
    let written = sandbox.transcript("typical run --ids typical.parquet -n 4");
    assert!(
        written.contains("the ids of 12 rows written to typical.parquet"),
        "{written}"
    );
    let again = sandbox.transcript("typical run --ids typical.parquet");
    assert!(
        again.contains("exit code: 2") && again.contains("typical.parquet"),
        "{again}"
    );
    let json = sandbox.output("typical run --json");
    let told: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(told["segments"][0]["typical"]["recency_days"].is_number(), "{told}");
}
