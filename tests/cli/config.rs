//! `kohort.toml`, `KOHORT_*` variables, `config show` and `init`, as a user meets them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use serde_json::Value;

use crate::sandbox::Sandbox;

/// A sandbox with a `kohort.toml`.
fn with(text: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path("kohort.toml"), text).unwrap();
    sandbox
}

fn run(sandbox: &Sandbox, dir: &str) -> Value {
    serde_json::from_slice(&std::fs::read(sandbox.path(dir).join("run.json")).unwrap()).unwrap()
}

/// Runs a command that has to succeed; what it says on both streams.
fn ok(sandbox: &Sandbox, args: &str) -> String {
    let output = sandbox.output(args);
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{args}: {text}");
    text
}

const PROJECT: &str = "\
data = \"customers.parquet\"
device = \"cpu\"
seed = 5

[columns]
id = \"customer_id\"
exclude = [\"country\", \"curr*\"]

[fit]
k = 3
out = \"segments\"

[score]
model = \"segments\"
data = \"customers.parquet\"
out = \"scored.parquet\"
";

#[test]
fn a_fit_with_a_file_is_the_fit_with_its_flags() {
    let sandbox = with(PROJECT);
    let flags = "--no-config --id customer_id --exclude country,curr* --seed 5 --device cpu";
    ok(&sandbox, &format!("fit customers.parquet -k 3 --out typed {flags}"));
    ok(&sandbox, "fit");
    let [typed, found] = ["typed", "segments"].map(|dir| run(&sandbox, dir));
    for key in ["labels_hash", "options", "data", "inertia_exact"] {
        assert_eq!(typed[key], found[key], "{key}");
    }
    assert_eq!(typed["config"], Value::Null);
    let config = &found["config"];
    assert_eq!(config["name"], "kohort.toml");
    let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(PROJECT.as_bytes()));
    assert_eq!(config["xxh3_128"], hash.as_str());
    assert_eq!(config.as_object().unwrap().len(), 2, "and nothing of where it lies");
    ok(&sandbox, "score");
    assert!(sandbox.path("scored.parquet").exists());
    ok(&sandbox, "fit -k 2 --out other --seed 6");
    let other = run(&sandbox, "other");
    assert_eq!(
        (&other["n_clusters"], &other["options"]["seed"]),
        (&2.into(), &6.into()),
        "flags win"
    );
    ok(&sandbox, "sweep -k 2..3 --out choice");
    let sweep: Value = serde_json::from_slice(&std::fs::read(sandbox.path("choice/sweep.json")).unwrap()).unwrap();
    assert_eq!(sweep["config"], found["config"]);
}

#[test]
fn a_file_elsewhere_brings_its_folder() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("conf")).unwrap();
    let text = "[fit]\nk = 2\nout = \"run\"\ndata = \"../customers.parquet\"\ndevice = \"cpu\"\n";
    std::fs::write(sandbox.path("conf/mine.toml"), text).unwrap();
    std::fs::write(sandbox.path("kohort.toml"), "[fit]\nk = 9\n").unwrap();
    ok(&sandbox, "fit --config conf/mine.toml");
    let record = run(&sandbox, "conf/run");
    assert_eq!(
        (&record["n_clusters"], &record["config"]["name"]),
        (&2.into(), &"mine.toml".into())
    );
    let mut command = sandbox.command("fit --out again");
    let output = command.env("KOHORT_CONFIG", "conf/mine.toml").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(run(&sandbox, "again")["labels_hash"], record["labels_hash"]);
}

#[test]
fn every_value_has_one_origin_and_the_nearest_wins() {
    let text = format!("{PROJECT}\n[sweep]\nseed = 6\nk = \"2..5\"\n");
    let sandbox = with(&text);
    let show = |args: &str| {
        let mut command = sandbox.command(&format!("config show {args}"));
        command.env("KOHORT_SEED", "7").env("KOHORT_FIT_TOL", "0.5");
        command
            .env("KOHORT_COLUMNS_CARRY", "age,n_orders")
            .env("KOHORT_OTU", "typo");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        format!("$ kohort config show {args}\n{stdout}---- stderr ----\n{stderr}")
    };
    let lines = [
        "",
        "--origin",
        "--origin fit -k 4 --exclude a --exclude b",
        "sweep",
        "score --no-config",
        "--json",
    ];
    insta::assert_snapshot!("config_show", lines.map(show).join("\n"));
    let json: Value = serde_json::from_str(
        show("fit --json --seed 9")
            .split("\n---- stderr")
            .next()
            .unwrap()
            .split_once('\n')
            .unwrap()
            .1,
    )
    .unwrap();
    let setting = |key: &str| {
        (
            json["settings"][key]["value"].clone(),
            json["settings"][key]["origin"].clone(),
        )
    };
    assert_eq!(setting("seed"), (9.into(), "flag".into()));
    assert_eq!(setting("tol"), (0.5.into(), "environment".into()));
    assert_eq!(setting("n-clusters"), (3.into(), "file".into()));
    assert_eq!(setting("overwrite"), (false.into(), "default".into()));
}

#[test]
fn errors_show_the_place() {
    let texts = [
        "sed = 7",
        "[fti]\nk = 3",
        "[fit]\nn_clusters = 3",
        "id = \"a\"\nseed = 1",
        "[fit]\nmodel = \"a\"",
        "[fit]\nk = 0",
        "[columns]\nscale = \"robst\"",
        "[columns]\nfeatures = [\"age\", \"n_orders\", 7]",
        "[columns]\nmissing = { age = [1] }",
        "[columns]\nblock = { \"a=b\" = \"age\" }",
        "[columns]\nlog = []",
        "[columns]\nid = { a = 1 }",
        "threads = 2000",
        "verbose = \"yes\"",
        "quiet = true\nverbose = true",
        "fit = 3",
        "[fit]\nk = 3\nk = 4",
        "[fit]\nk = 3\nn-clusters = 4",
        "[fit]\nk = 3 4",
        "[fit\nk = 3",
        "[fit]\nout = \"\u{1b}[31m\u{202e}\" x",
        "seed = 1\n[fit]\nout = \"a\nb\"",
    ];
    let mut told = String::new();
    for text in texts {
        let sandbox = with(text);
        let shown = kohort::error::escape(&text.replace('\n', " ¶ "));
        told += &format!(
            "{shown}\n{}\n",
            sandbox.transcript("fit customers.parquet --device cpu")
        );
    }
    insta::assert_snapshot!("error_config", told);
}

#[test]
fn errors_of_a_run_name_the_line_that_they_come_from() {
    let mut told = String::new();
    for text in [
        "[fit]\nk = 3\n[columns]\nfeatures = [\"age\", \"n_order\"]",
        "[fit]\nk = 3\nmin-share = 0.2",
        "[fit]\nk = 3\n[columns]\nweights = { age = \"much\" }",
        "[fit]\nk = 3\ndata = \"none.parquet\"",
        "[fit]\nout = \"here\"",
        "[explain]\noverwrite = true",
    ] {
        let sandbox = with(text);
        let data = if text.contains("data") { "" } else { "customers.parquet" };
        let line = match text.contains("explain") {
            true => "explain run --id 5".to_owned(),
            false => format!("fit {data} --device cpu"),
        };
        told += &format!("{}\n{}\n", text.replace('\n', " ¶ "), sandbox.transcript(&line));
    }
    let sandbox = with("seed = 1");
    let mut command = sandbox.command("fit customers.parquet -k 2");
    let output = command.env("KOHORT_TOL", "-1").output().unwrap();
    told += &String::from_utf8(output.stderr).unwrap();
    insta::assert_snapshot!("error_from_config", told);
}

#[test]
fn what_is_no_configuration_file_is_not_read() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path("rows.csv"), "id,mail\n7390184,canary.mail@example.org\n").unwrap();
    std::fs::write(sandbox.path("large.toml"), vec![b'#'; (2 << 20) + 1]).unwrap();
    std::fs::write(sandbox.path("bytes.toml"), b"seed = 1\n# \xff\xfe\n").unwrap();
    std::fs::create_dir(sandbox.path("folder.toml")).unwrap();
    let mut told = String::new();
    for name in [
        "rows.csv",
        "large.toml",
        "bytes.toml",
        "folder.toml",
        "missing.toml",
        "customers.parquet",
    ] {
        told += &sandbox.transcript(&format!("fit customers.parquet -k 2 --device cpu --config {name}"));
    }
    assert!(!told.contains("canary"), "{told}");
    insta::assert_snapshot!("error_no_config", told);
    #[cfg(unix)]
    {
        assert!(
            std::process::Command::new("mkfifo")
                .arg(sandbox.path("kohort.toml"))
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(
            sandbox.output("fit customers.parquet -k 2").status.code(),
            Some(2),
            "it does not wait for a writer"
        );
    }
    assert!(!sandbox.path("kohort-run").exists());
}

#[test]
fn init_writes_what_a_fit_would_do() {
    let sandbox = Sandbox::new();
    let told = sandbox.transcript("init customers.parquet --outcome age --weights n_orders=2 --log none");
    let text = std::fs::read_to_string(sandbox.path("kohort.toml")).unwrap();
    insta::assert_snapshot!("init", format!("{told}\n{text}"));
    insta::assert_snapshot!(
        "error_init",
        sandbox.transcript("init customers.parquet")
            + &sandbox.transcript("init customers.parquet --force --config other.toml")
    );
    assert_eq!(
        std::fs::read_to_string(sandbox.path("kohort.toml")).unwrap(),
        text,
        "it was left alone"
    );
    ok(&sandbox, "init customers.parquet --force --quiet --json");
    assert_ne!(std::fs::read_to_string(sandbox.path("kohort.toml")).unwrap(), text);
}

/// A fit of a table without and with what `kohort init` writes for it: the same bits.
fn init_changes_nothing(sandbox: &Sandbox, flags: &str) {
    ok(
        sandbox,
        &format!("fit data.parquet -k 3 --device cpu --out without {flags}"),
    );
    ok(sandbox, &format!("init data.parquet {flags}"));
    ok(sandbox, "fit -k 3 --device cpu --out with");
    let [without, with] = ["without", "with"].map(|dir| run(sandbox, dir));
    for key in ["labels_hash", "inertia_exact", "n_features"] {
        assert_eq!(without[key], with[key], "{key}");
    }
    let model = |dir: &str| std::fs::read(sandbox.path(dir).join("model.json")).unwrap();
    let outcomes = |record: &Value| record["outcomes"].clone();
    assert_eq!(outcomes(&without), outcomes(&with));
    assert_eq!(model("without"), model("with"));
    let all = std::fs::read_to_string(sandbox.path("kohort.toml")).unwrap();
    // The examples are right, too: each line that is out can be taken in.
    for (n, line) in all.lines().enumerate() {
        let Some(example) = line
            .strip_prefix("# ")
            .filter(|line| line.contains(" = ") && !line.starts_with("id"))
        else {
            continue;
        };
        let mut lines: Vec<&str> = all.lines().collect();
        lines[n] = example;
        std::fs::write(sandbox.path("kohort.toml"), lines.join("\n")).unwrap();
        ok(sandbox, "config show fit");
    }
    std::fs::write(sandbox.path("kohort.toml"), all).unwrap();
}

#[test]
fn a_fit_with_what_init_wrote_is_the_fit_without() {
    for flags in [
        "",
        "--id customer_id",
        "--id customer_id --outcome age --missing mean,age=indicator --scale robust --clip 1%",
    ] {
        let sandbox = Sandbox::new();
        std::fs::rename(sandbox.path("customers.parquet"), sandbox.path("data.parquet")).unwrap();
        init_changes_nothing(&sandbox, flags);
    }
    let sandbox = Sandbox::new();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/online_retail_customers.parquet");
    std::fs::copy(sample, sandbox.path("data.parquet")).unwrap();
    init_changes_nothing(&sandbox, "");
}

#[test]
fn hostile_names_of_columns_stay_names() {
    let names = [
        "plain",
        "a \"quoted\" one",
        "back\\slash\\",
        "comma, and \\,",
        "new\nline]\n[fit]\nk = 9",
        "\r\n",
        "\t",
        "'''",
        "\"\"\"",
        "# hash",
        "é漢🦀",
        "\u{202e}rtl",
        "\u{1b}[31m",
        "\u{0}nul",
        "\u{7f}\u{85}\u{2028}",
        "usage_*",
        "[x]",
        "a=b",
        " ",
        "overwrite = true",
    ];
    let column = |at: usize| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(
            (0..240).map(|row| ((row * (at + 3)) % 101 + 50 * (row % 3)) as f64),
        ))
    };
    let columns: Vec<(&str, ArrayRef)> = names.iter().enumerate().map(|(at, name)| (*name, column(at))).collect();
    let sandbox = Sandbox::new();
    sandbox.write("data.parquet", &columns);
    init_changes_nothing(&sandbox, "");
    let text = std::fs::read_to_string(sandbox.path("kohort.toml")).unwrap();
    assert!(
        !text.contains(['\u{1b}', '\u{202e}', '\r', '\0', '\u{85}', '\u{2028}']),
        "{text}"
    );
    assert_eq!(text.matches("\nk = ").count(), 1, "{text}");
    let shown = ok(&sandbox, "config show fit --json");
    let shown: Value = serde_json::from_str(shown.split("\nnot set").next().unwrap()).unwrap();
    assert_eq!(
        shown["settings"]["features"]["value"].as_array().unwrap().len(),
        names.len()
    );

    let mut nameless = columns;
    nameless[3].0 = "";
    sandbox.write("data.parquet", &nameless);
    for left in ["kohort.toml", "with", "without"] {
        let path = sandbox.path(left);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap()
        } else {
            std::fs::remove_file(path).unwrap()
        }
    }
    init_changes_nothing(&sandbox, "");
}

#[test]
fn help_says_where_defaults_are_set() {
    let sandbox = Sandbox::new();
    for command in ["config", "config show", "init"] {
        insta::assert_snapshot!(
            format!("help_{}", command.replace(' ', "_")),
            ok(&sandbox, &format!("{command} --help"))
        );
    }
    let broken = with("[fit");
    assert!(
        ok(&broken, "fit --help").contains("--config <FILE>"),
        "a broken file is no hindrance to help"
    );
    ok(&broken, "fit customers.parquet -k 2 --device cpu --no-config");
}
