//! How data is read: formats, stdin, filters, ids and gates.

use std::io::Write;
use std::process::{Output, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use arrow::ipc::writer::StreamWriter;
use serde_json::Value;

use crate::sandbox::{Sandbox, customers};

/// Runs the program with arguments that may hold spaces, and with these bytes on stdin.
fn run(sandbox: &Sandbox, args: &[&str], stdin: &[u8]) -> Output {
    let mut command = sandbox.command("");
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // A program that refuses its arguments reads nothing.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    child.wait_with_output().unwrap()
}

fn transcript(sandbox: &Sandbox, args: &[&str]) -> String {
    let shown: Vec<String> = args
        .iter()
        .map(|arg| {
            if arg.contains(' ') {
                format!("\"{arg}\"")
            } else {
                (*arg).to_owned()
            }
        })
        .collect();
    sandbox.transcript_of(&shown.join(" "), run(sandbox, args, b""))
}

/// What one JSON object on stdout says.
fn object(sandbox: &Sandbox, args: &[&str], stdin: &[u8]) -> Value {
    let output = run(sandbox, args, stdin);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let fields: Vec<Field> = { columns.iter() }
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns.iter().map(|(_, array)| array.clone()).collect(),
    )
    .unwrap()
}

fn stream(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let batch = batch(columns);
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn csv(columns: &[(&str, ArrayRef)]) -> String {
    let batch = batch(columns);
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut text = names.join(",") + "\n";
    for row in 0..batch.num_rows() {
        let cells: Vec<String> = { batch.columns().iter() }
            .map(|column| arrow::util::display::array_value_to_string(column, row).unwrap())
            .collect();
        text += &(cells.join(",") + "\n");
    }
    text
}

#[test]
fn stdin_takes_every_format_and_a_run_of_it_can_be_verified() {
    let sandbox = Sandbox::new();
    let columns = customers(0..240);
    let arrow = stream(&columns);
    let inputs = [
        std::fs::read(sandbox.path("customers.parquet")).unwrap(),
        arrow.clone(),
        csv(&columns).into_bytes(),
    ];
    let fit = |data: &str, out: &str, stdin: &[u8]| {
        let args = ["fit", data, "-k", "3", "--id", "customer_id", "--out", out, "--json"];
        object(&sandbox, &args, stdin)["labels_hash"].clone()
    };
    let expected = fit("customers.parquet", "run", b"");
    for (n, bytes) in inputs.iter().enumerate() {
        assert_eq!(fit("-", &format!("run{n}"), bytes), expected, "{n}");
    }
    let verified = object(&sandbox, &["verify", "run1", "-", "--json"], &arrow);
    assert_eq!(verified["matches"], true);
    std::fs::write(sandbox.path("a.arrows"), &arrow).unwrap();
    assert_eq!(
        object(&sandbox, &["verify", "run1", "a.arrows", "--json"], b"")["matches"],
        true
    );
    let score = ["score", "run", "-", "--out", "scored.parquet", "--json"];
    assert_eq!(object(&sandbox, &score, &arrow)["labels_hash"], expected);
}

#[test]
fn a_model_tells_the_types_of_a_text_file_that_says_too_little() {
    let sandbox = Sandbox::new();
    let text = csv(&customers(0..240));
    std::fs::write(sandbox.path("a.csv"), &text).unwrap();
    sandbox.object("fit a.csv -k 3 --id customer_id --out run --json");
    // Two customers whose age nobody knows, in countries with a number for a name.
    let few = "customer_id,recency_days,n_orders,age,country,currency\n1,200,3,,44,978\n2,10.5,40,,33,978\n";
    std::fs::write(sandbox.path("few.csv"), few).unwrap();
    let scored = object(
        &sandbox,
        &["score", "run", "few.csv", "--out", "few.parquet", "--json"],
        b"",
    );
    assert_eq!(scored["n_rows"], 2);
}

#[test]
fn a_filtered_run_is_verified_with_its_filter() {
    let sandbox = Sandbox::new();
    let fit = |out: &str, filter: &str| {
        let args = [
            "fit",
            "customers.parquet",
            "-k",
            "3",
            "--id",
            "customer_id",
            "--out",
            out,
            "--where",
            filter,
            "--json",
        ];
        object(&sandbox, &args, b"")
    };
    let told = fit("told", "recency_days > 20 and country in ('UK', 'FR')");
    assert_eq!(told["source"]["where"], "recency_days > 20 and country in ('UK', 'FR')");
    assert_eq!(object(&sandbox, &["verify", "told", "--json"], b"")["matches"], true);
    let hidden = fit("hidden", "customer_id != 10004 and age > 20");
    assert_eq!(hidden["source"]["where"], "customer_id != ? and age > 20");
    insta::assert_snapshot!("reading_verify_withheld", transcript(&sandbox, &["verify", "hidden"]));
    let with = |filter: &str| {
        run(&sandbox, &["verify", "hidden", "--where", filter], b"")
            .status
            .code()
    };
    assert_eq!(with("customer_id != 10004 and age > 20"), Some(0));
    assert_eq!(with("customer_id != 10005 and age > 20"), Some(5));
    assert_eq!(told["n_rows"].as_u64().map(|n| n < 240), Some(true));
}

#[test]
fn filters_ids_and_gates_say_what_they_do() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path("a.csv"), csv(&customers(0..240))).unwrap();
    let text = csv(&customers(0..30)) + &csv(&customers(3..9)).split_once('\n').unwrap().1.replace("10005,", ",");
    std::fs::write(sandbox.path("ids.csv"), text).unwrap();
    let fit = |data: &'static str, more: &[&'static str]| {
        let args: Vec<&str> = ["fit", data, "-k", "3", "--id", "customer_id"]
            .iter()
            .chain(more)
            .copied()
            .collect();
        transcript(&sandbox, &args)
    };
    let said = [
        fit(
            "a.csv",
            &["--where", "age >= 30 and not country = 'FR'", "--out", "run"],
        ),
        fit("a.csv", &["--where", "age >= 30 adn country = 'UK'"]),
        fit("a.csv", &["--where", "agee >= 30 and country = 'UK'"]),
        fit("a.csv", &["--where", "country = 3"]),
        fit("a.csv", &["--where", "age > 1000"]),
        fit("ids.csv", &[]),
        fit("ids.csv", &["--on-null-id", "drop"]),
        fit(
            "ids.csv",
            &["--on-null-id", "drop", "--on-duplicate-id", "first", "--out", "run2"],
        ),
        fit("a.csv", &["--min-rows", "1000", "--max-null-share", "5%"]),
        fit("a.csv", &["--min-rows", "1000", "--json"]),
    ];
    insta::assert_snapshot!("reading_filters_ids_gates", said.join("\n"));
}

#[test]
fn scores_pass_gates_or_nothing_is_written() {
    let sandbox = Sandbox::new();
    sandbox.object("fit customers.parquet -k 3 --id customer_id --out run --json");
    let mut far = customers(0..240);
    far[1].1 = Arc::new(arrow::array::Float64Array::from_iter_values(
        (0..240).map(|row| f64::from(row % 4) * 1e12),
    ));
    sandbox.write("far.parquet", &far);
    let score = |more: &[&'static str]| {
        let args = ["score", "run", "far.parquet", "--out", "scored.parquet"];
        transcript(&sandbox, &args.iter().chain(more).copied().collect::<Vec<_>>())
    };
    let said = [score(&["--max-clip-share", "1%"]), score(&["--max-null-share", "1%"])];
    insta::assert_snapshot!("reading_score_gates", said.join("\n"));
    assert!(!sandbox.path("scored.parquet").exists());
    assert!(
        run(
            &sandbox,
            &[
                "score",
                "run",
                "far.parquet",
                "--out",
                "scored.parquet",
                "--max-clip-share",
                "50%"
            ],
            b""
        )
        .status
        .success()
    );
}

#[test]
fn files_that_cannot_be_read_are_told_with_their_place() {
    let sandbox = Sandbox::new();
    let write = |name: &str, bytes: &[u8]| {
        let path = sandbox.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let text = csv(&customers(0..30));
    write("ragged.csv", text.replace("10020,", "10020,7,").as_bytes());
    write("open.csv", text.replacen("UK", "\"UK", 1).as_bytes());
    write(
        "latin.csv",
        &text
            .replace("FR", "caf\u{e9}")
            .bytes()
            .map(|b| if b == 0xc3 { 0xe9 } else { b })
            .filter(|&b| b != 0xa9)
            .collect::<Vec<_>>(),
    );
    write("words.csv", text.replacen("10007,", "ten,", 1).as_bytes());
    write("packed.csv.gz", b"\x1f\x8b\x08rest");
    write("data.bin", b"what is this");
    let arrow = stream(&customers(0..30));
    write("cut.arrows", &arrow[..arrow.len() - 40]);
    write("folder/a.csv", text.as_bytes());
    write("folder/a.arrow", &arrow);
    write("hive/year=2025/a.csv", text.as_bytes());
    write("hive/b.csv", text.as_bytes());
    let said: Vec<String> = [
        &["inspect", "ragged.csv"][..],
        &["inspect", "open.csv"],
        &["inspect", "latin.csv"],
        &["inspect", "words.csv", "--schema", "customer_id=int32"],
        &["inspect", "words.csv", "--schema", "customer_id=integer"],
        &["inspect", "customers.parquet", "--schema", "customer_id=int32"],
        &["inspect", "packed.csv.gz"],
        &["inspect", "data.bin"],
        &["inspect", "cut.arrows"],
        &["inspect", "folder"],
        &["inspect", "hive"],
        &["inspect", "-"],
    ]
    .iter()
    .map(|args| transcript(&sandbox, args))
    .collect();
    insta::assert_snapshot!("reading_broken_files", said.join("\n"));
}
