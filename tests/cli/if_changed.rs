//! `--if-changed`: exit code 99 where nothing has changed, and nothing is touched then.

use std::path::Path;
use std::time::SystemTime;

use crate::sandbox::{Sandbox, customers, names};

/// Names, sizes and times of all that is in the folder and below it.
fn state(folder: &Path) -> Vec<(String, u64, SystemTime)> {
    let mut state = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        let metadata = path.metadata().unwrap();
        if metadata.is_dir() {
            state.extend(
                self::state(&path)
                    .into_iter()
                    .map(|(inner, n, at)| (format!("{name}/{inner}"), n, at)),
            );
        }
        state.push((name, metadata.len(), metadata.modified().unwrap()));
    }
    state
}

/// Runs the command, which has to find that nothing has changed, and to leave everything as it is.
fn unchanged(sandbox: &Sandbox, args: &str) {
    let before = state(&sandbox.path(""));
    let output = sandbox.output(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(99), "{args}: {said}");
    assert_eq!(said.lines().count(), usize::from(!args.contains("-q")), "{said}");
    assert_eq!(state(&sandbox.path("")), before, "{args}");
}

/// Runs the command, which has to make its output again and to say why.
fn made_again(sandbox: &Sandbox, args: &str, why: &str) {
    let output = sandbox.output(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{args}: {said}");
    assert!(said.contains("is made again") && said.contains(why), "{args}: {said}");
}

#[test]
fn a_fit_is_made_again_only_where_something_has_changed() {
    let sandbox = Sandbox::new();
    let fit = "fit customers.parquet -k 3 --id customer_id --out run --device cpu --if-changed";
    sandbox.ok(fit);
    unchanged(&sandbox, fit);
    unchanged(&sandbox, &format!("{fit} --threads 1 -q"));
    unchanged(&sandbox, &fit.replace("customers.parquet", "./customers.parquet"));
    insta::assert_snapshot!("unchanged", sandbox.transcript(&format!("{fit} --json")));
    let named = "rename run 1=First";
    sandbox.ok(named);
    unchanged(&sandbox, fit);
    made_again(&sandbox, &format!("{fit} --seed 1"), "a setting of k-means");
    made_again(&sandbox, fit, "a setting of k-means");
    let other = fit.replace("-k 3", "-k 4");
    made_again(&sandbox, &other, "the number of segments");
    made_again(
        &sandbox,
        &format!("{other} --exclude age"),
        "what is done with the columns",
    );
    made_again(&sandbox, fit, "the number of segments");
    std::fs::remove_file(sandbox.path("run/report.md")).unwrap();
    made_again(&sandbox, fit, "report.md is missing");
    sandbox.write("customers.parquet", &customers(0..239));
    made_again(&sandbox, fit, "customers.parquet is not what it was made of");
    unchanged(&sandbox, fit);
    sandbox.write("more.parquet", &customers(239..260));
    let more = fit.replace("customers.parquet", "customers.parquet more.parquet");
    made_again(&sandbox, &more, "it was made of 1 files, now there are 2");
    let auto = fit.replace("-k 3", "-k 2..4");
    made_again(&sandbox, &auto, "the number of segments");
    unchanged(&sandbox, &auto);
    made_again(&sandbox, &auto.replace("2..4", "2..5"), "the number of segments");
}

#[test]
fn filters_count_and_those_with_untold_values_always_run() {
    let sandbox = Sandbox::new();
    let with = |filter: &str| {
        let mut command = sandbox.command("fit customers.parquet -k 3 --id customer_id --out run --if-changed");
        let output = command.args(["--where", filter]).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(with("age > 20").0, Some(0));
    assert_eq!(with("age > 20").0, Some(99));
    let (code, said) = with("age > 21");
    assert!(
        code == Some(0) && said.contains("--where is not what it was made with"),
        "{said}"
    );
    assert_eq!(with("customer_id != 10007").0, Some(0));
    let (code, said) = with("customer_id != 10007");
    assert!(
        code == Some(0) && said.contains("leaves out values of --where"),
        "{said}"
    );
}

#[test]
fn what_is_not_ours_is_not_replaced() {
    let sandbox = Sandbox::new();
    let fit = "fit customers.parquet -k 3 --out run --device cpu --if-changed";
    std::fs::create_dir(sandbox.path("run")).unwrap();
    std::fs::write(sandbox.path("run/photo.jpg"), "mine").unwrap();
    let refused = sandbox.transcript(fit);
    std::fs::remove_dir_all(sandbox.path("run")).unwrap();
    sandbox.ok(fit);
    std::fs::write(sandbox.path("scored.parquet"), "mine").unwrap();
    let score = "score run customers.parquet --out scored.parquet --device cpu --if-changed";
    let refused = [
        refused,
        sandbox.transcript(score),
        sandbox.transcript(&fit.replace("customers.parquet", "-")),
    ];
    assert_eq!(std::fs::read(sandbox.path("scored.parquet")).unwrap(), b"mine");
    insta::assert_snapshot!("error_if_changed", refused.join("\n"));
}

#[test]
fn a_sweep_is_made_again_only_where_something_has_changed() {
    let sandbox = Sandbox::new();
    let sweep = "sweep customers.parquet -k 2..4 --id customer_id --out choice --device cpu --if-changed";
    sandbox.ok(sweep);
    unchanged(&sandbox, sweep);
    made_again(
        &sandbox,
        &format!("{sweep} --prefer 3..4"),
        "the numbers of segments to try",
    );
    made_again(
        &sandbox,
        &format!("{sweep} --n-init 2"),
        "the numbers of segments to try",
    );
    unchanged(&sandbox, &format!("{sweep} --n-init 2"));
    sandbox.write("customers.parquet", &customers(0..239));
    made_again(&sandbox, &format!("{sweep} --n-init 2"), "is not what it was made of");
}

#[test]
fn scoring_is_done_again_only_where_something_has_changed() {
    let sandbox = Sandbox::new();
    let fit = "fit customers.parquet -k 3 --id customer_id --out run --device cpu";
    sandbox.ok(fit);
    let score = "score run customers.parquet --out scored.parquet --device cpu --if-changed";
    sandbox.ok(score);
    unchanged(&sandbox, score);
    unchanged(&sandbox, &score.replace("run customers", "run/model.json customers"));
    sandbox.ok("rename run 1=First");
    unchanged(&sandbox, score);
    sandbox.ok(&format!("{fit} --overwrite --seed 1 --n-init 1 -k 4").replace("-k 3 ", ""));
    made_again(&sandbox, score, "another model");
    let some = format!("{score} --on-duplicate-id first");
    made_again(&sandbox, &some, "--on-duplicate-id is not what it was made with");
    sandbox.write("customers.parquet", &customers(0..239));
    made_again(&sandbox, &some, "is not what it was made of");
    unchanged(&sandbox, &some);
}
