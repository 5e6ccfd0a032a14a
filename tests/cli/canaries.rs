//! Ids, personal data and cell values that few rows share are planted in a table, and looked for in everything that
//! the program says and writes.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::sandbox::Sandbox;

const ROWS: i64 = 400;
/// Pieces of text that stand in no output by chance.
const CANARIES: [&str; 9] = [
    "7390184",        // ids, and a second number of the same people
    "canary.mail",    // e-mail addresses under an innocent name
    "Canaria",        // names of people
    "555 01",         // phone numbers under an innocent name
    "keeper@zoo",     // an e-mail address that many rows share
    "RARE-CANARY",    // a level that four rows have
    "LONG-CANARY",    // prose
    "CODE-CANARY",    // a text that is different in every row
    "CARRIED-CANARY", // what is only to be carried along
];

fn table(rows: i64) -> Vec<(&'static str, ArrayRef)> {
    let text = |of: &dyn Fn(i64) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values((0..rows).map(of))) };
    let number = |of: &dyn Fn(i64) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values((0..rows).map(of))) };
    vec![
        (
            "customer",
            Arc::new(Int64Array::from_iter_values(
                (0..rows).map(|row| 739_018_400_000 + 7 * row),
            )),
        ),
        ("account_no", text(&|row| format!("7390184{row:05}"))),
        ("login", text(&|row| format!("canary.mail.{row}@example.org"))),
        ("full_name", text(&|row| format!("Ann Canaria{}", row % 5))),
        ("line", text(&|row| format!("+49 555 01{row:05}"))),
        ("manager", text(&|row| format!("keeper@zoo{}.org", row % 3))),
        (
            "plan",
            text(&|row| {
                if row % 100 == 3 {
                    "RARE-CANARY".into()
                } else {
                    format!("plan {}", row % 3)
                }
            }),
        ),
        (
            "remarks",
            text(&|row| format!("LONG-CANARY{} {}", row % 2, "and so on ".repeat(20))),
        ),
        ("code", text(&|row| format!("CODE-CANARY{row}"))),
        ("branch", text(&|row| format!("CARRIED-CANARY{}", row % 4))),
        ("spend", number(&|row| (row % 3) as f64 * 10.0 + (row * 31 % 17) as f64)),
        ("visits", number(&|row| (row % 3) as f64 * 4.0 + (row * 7 % 5) as f64)),
        (
            "churned",
            Arc::new(BooleanArray::from_iter((0..rows).map(|row| Some(row % 4 == 1)))),
        ),
    ]
}

/// The canaries in a text.
fn found_in(text: &str) -> BTreeSet<&'static str> {
    CANARIES.into_iter().filter(|canary| text.contains(canary)).collect()
}

/// A file as text: the cells of a Parquet file with its metadata, the bytes of any other.
fn as_text(path: &Path, columns: impl Fn(&str) -> bool) -> String {
    let bytes = std::fs::read(path).unwrap();
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if path.extension().is_some_and(|ending| ending == "parquet") {
        // The statistics of ids stand in the metadata as they are in the cells.
        text.clear();
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        text += &format!("{:?}", reader.metadata().file_metadata().key_value_metadata());
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            for (field, array) in batch
                .schema()
                .fields()
                .iter()
                .zip(batch.columns())
                .filter(|(field, _)| columns(field.name()))
            {
                for row in 0..array.len() {
                    text += &format!("{}={}\n", field.name(), array_value_to_string(array, row).unwrap());
                }
            }
        }
    }
    text
}

/// Everything a command says.
fn said(sandbox: &Sandbox, args: &str, code: i32) -> String {
    let output = sandbox.output(args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args}: {text}");
    text
}

#[test]
fn no_output_holds_a_canary() {
    let sandbox = Sandbox::new();
    sandbox.write("people.parquet", &table(ROWS));
    let source = as_text(&sandbox.path("people.parquet"), |_| true);
    assert_eq!(
        found_in(&source).len(),
        CANARIES.len(),
        "the search finds what is there"
    );
    let fit = "fit people.parquet -k 3 --id customer --carry branch --device cpu --progress json -v --out run";
    let mut everything = said(&sandbox, fit, 0);
    everything += &said(&sandbox, &format!("{fit} --overwrite --json"), 0);
    everything += &said(
        &sandbox,
        "score run people.parquet --device cpu --out scored.parquet -v",
        0,
    );
    everything += &said(&sandbox, &format!("{fit} --overwrite --dry-run --json"), 0);
    everything += &said(&sandbox, "verify run --json", 0);
    everything += &said(&sandbox, "inspect people.parquet --id customer --carry branch", 0);
    everything += &said(
        &sandbox,
        "inspect people.parquet --id customer --carry branch --json",
        0,
    );
    everything += &said(&sandbox, "explain run --all --out reasons.parquet -v", 0);
    let told = said(&sandbox, "explain run --id 739018400021", 0);
    assert_eq!(
        found_in(&told),
        BTreeSet::new(),
        "neither the id nor other cells that few share"
    );
    everything += &said(&sandbox, "typical run --ids typical.parquet", 0);
    everything += &said(&sandbox, "typical run --json", 0);
    everything += &said(&sandbox, "rename run 1=First --json", 0);
    everything += &said(&sandbox, "init people.parquet --id customer --carry branch -v", 0);
    everything += &as_text(&sandbox.path("kohort.toml"), |_| true);
    everything += &said(&sandbox, "config show --origin fit", 0);
    everything += &said(&sandbox, "fit -k 3 --device cpu --out configured", 0);
    everything += &as_text(&sandbox.path("configured/run.json"), |_| true);
    let levels = "fit people.parquet --levels 3,2..3 --id customer --carry branch --device cpu -v --out levels";
    everything += &said(&sandbox, levels, 0);
    everything += &said(&sandbox, "tree levels --cut 2 -v", 0);
    everything += &said(&sandbox, "tree levels --json", 0);
    everything += &said(&sandbox, "tree run --drill 2 -k 2 --out deeper --device cpu", 0);
    everything += &said(
        &sandbox,
        "score deeper people.parquet --device cpu --out paths.parquet -v",
        0,
    );
    everything += &said(&sandbox, "verify deeper", 0);
    let score = "score run people.parquet --device cpu -v --out";
    everything += &said(&sandbox, &format!("{score} scored.parquet --if-changed"), 99);
    everything += &said(&sandbox, &format!("{score} scored.csv"), 0);
    everything += &said(&sandbox, &format!("{score} scored --partition-by segment"), 0);
    everything += &as_text(&sandbox.path("scored/_kohort.json"), |_| true);
    everything += &as_text(&sandbox.path("scored/segment=1/part-0.parquet"), |name| {
        name != "customer"
    });
    let own = |name: &str| !matches!(name, "customer" | "branch");
    for run in ["run", "levels", "deeper"] {
        for name in [
            "run.json",
            "model.json",
            "profile.parquet",
            "profile.json",
            "report.html",
            "report.md",
        ] {
            everything += &as_text(&sandbox.path(run).join(name), |_| true);
        }
        everything += &as_text(&sandbox.path(run).join("assignments.parquet"), own);
    }
    everything += &as_text(&sandbox.path("scored.parquet"), own);
    everything += &as_text(&sandbox.path("paths.parquet"), own);
    everything += &as_text(&sandbox.path("reasons.parquet"), own);
    everything += &as_text(&sandbox.path("typical.parquet"), own);
    let scored = as_text(&sandbox.path("scored.csv"), |_| true);
    assert_eq!(
        found_in(&scored),
        BTreeSet::from(["7390184"]),
        "the ids alone, where they belong"
    );
    assert_eq!(found_in(&everything), BTreeSet::new());
    assert!(
        everything.contains("plan 2") && everything.contains("is personal data"),
        "the outputs were read"
    );
    let assignments = as_text(&sandbox.path("run/assignments.parquet"), |_| true);
    assert_eq!(
        found_in(&assignments),
        BTreeSet::from(["7390184", "CARRIED-CANARY"]),
        "where they belong"
    );
}

#[test]
fn no_error_holds_a_canary() {
    let sandbox = Sandbox::new();
    let mut twice = table(ROWS);
    twice[0].1 = Arc::new(Int64Array::from_iter_values(
        (0..ROWS).map(|row| 739_018_400_000 + row / 2),
    ));
    sandbox.write("twice.parquet", &twice);
    let mut infinite = table(ROWS);
    infinite[10].1 = Arc::new(Float64Array::from_iter_values(
        (0..ROWS).map(|row| if row == 9 { f64::INFINITY } else { 1.0 * row as f64 }),
    ));
    sandbox.write("infinite.parquet", &infinite);
    sandbox.write("people.parquet", &table(ROWS));
    let mut everything = said(
        &sandbox,
        "fit people.parquet -k 3 --id customer --carry branch --out run",
        0,
    );
    for (args, code) in [
        ("explain run --id 7390184", 2),
        ("explain run people.parquet --id 7390184 --json", 2),
        ("explain run twice.parquet --id 739018400000", 2),
        ("fit twice.parquet -k 3 --id customer", 2),
        ("fit twice.parquet -k 3 --id customer --json", 2),
        ("fit infinite.parquet -k 3 --id customer", 2),
        ("fit people.parquet -k 3 --id customer --features login", 2),
        ("fit people.parquet -k 3 --id customer --features full_name,spend", 2),
        ("fit people.parquet -k 3 --id customer --features code", 2),
        ("fit people.parquet -k 3 --id customer --outcome line", 2),
        ("fit people.parquet -k 3 --id customer --missing plan=median", 2),
        ("fit people.parquet -k 3 --weight login", 2),
        (
            "score run people.parquet --device cpu --out parts --partition-by customer",
            2,
        ),
        (
            "score run people.parquet --device cpu --out parts --partition-by logn",
            2,
        ),
    ] {
        everything += &said(&sandbox, args, code);
    }
    assert_eq!(found_in(&everything), BTreeSet::new());
    assert!(everything.contains("row 10: is infinite"), "{everything}");
}

/// What rows are looked for with is not told again: not in the record, not where the filter is wrong, and not where a
/// text file breaks.
#[test]
fn a_filter_and_a_text_file_leave_values_untold() {
    let sandbox = Sandbox::new();
    sandbox.write("people.parquet", &table(ROWS));
    let mut everything = String::new();
    let mut run = |args: &str, filter: &str, code: i32| {
        let mut command = sandbox.command(args);
        if !filter.is_empty() {
            command.args(["--where", filter]);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args}: {text}");
        everything += &text;
    };
    let wanted = "customer != 739018400007 and login != 'canary.mail.3@example.org' and code != 'CODE-CANARY7' \
                  and plan != 'RARE-CANARY' and manager != 'keeper@zoo1.org' and line not like '+49 555 01%9' \
                  and full_name <> 'Ann Canaria3' and visits >= 1 and plan in ('plan 0', 'plan 1', 'plan 2')";
    run(
        "fit people.parquet -k 3 --id customer --carry branch --out run -v",
        wanted,
        0,
    );
    run(
        "sweep people.parquet -k 2..3 --id customer --carry branch --out sweep",
        wanted,
        0,
    );
    run(
        "fit people.parquet -k 3 --id customer",
        &wanted.replace("code", "coda"),
        2,
    );
    run(
        "fit people.parquet -k 3 --id customer",
        &wanted.replace(" != 'CODE", " 'CODE"),
        2,
    );
    run(
        "fit people.parquet -k 3 --id customer",
        "login = 'canary.mail.3@example.org",
        2,
    );
    run(
        "fit people.parquet -k 3 --id customer --json",
        "customer == 7390184O",
        2,
    );
    run(
        "fit people.parquet -k 3 --id customer",
        "customer = 'canary.mail.3@example.org'",
        2,
    );
    std::fs::write(
        sandbox.path("a.csv"),
        "customer,code\n7390184,1\nCODE-CANARY,2,RARE-CANARY\n",
    )
    .unwrap();
    run("fit a.csv -k 3 --id customer", "", 2);
    std::fs::write(sandbox.path("a.csv"), "customer,code\n7390184,1\nCODE-CANARY,2\n").unwrap();
    run("fit a.csv -k 3 --id customer --schema customer=int64", "", 2);
    for name in [
        "run/run.json",
        "run/report.html",
        "run/report.md",
        "run/model.json",
        "sweep/sweep.json",
    ] {
        everything += &as_text(&sandbox.path(name), |_| true);
    }
    assert_eq!(found_in(&everything), BTreeSet::new());
    assert!(everything.contains("login != ? and code != ?"), "the record was read");
    assert!(everything.contains("visits >= 1 and plan in ('plan 0', 'plan 1', 'plan 2')"));
}
