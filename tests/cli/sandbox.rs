//! A folder with small data files, in which the program runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use tempfile::TempDir;

/// The folder; it goes when this goes.
pub(crate) struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    /// A folder that holds `customers.parquet`.
    pub(crate) fn new() -> Self {
        let sandbox = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        sandbox.write("customers.parquet", &customers(0..240));
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes columns as a Parquet file.
    pub(crate) fn write(&self, name: &str, columns: &[(&str, ArrayRef)]) {
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
            .collect();
        let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        let file = std::fs::File::create(self.path(name)).unwrap();
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    /// The program with `args` (split at spaces), in this folder, without any Vulkan driver.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kohort"));
        command.args(args.split_whitespace()).current_dir(self.dir.path());
        for (name, value) in [
            ("VK_DRIVER_FILES", "none.json"),
            ("VK_ICD_FILENAMES", "none.json"),
            ("LC_ALL", "C"),
        ] {
            command.env(name, value);
        }
        command.env_remove("KOHORT_REQUIRE_GPU");
        command
    }

    pub(crate) fn output(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command says on stdout, which has to succeed.
    pub(crate) fn ok(&self, args: &str) -> String {
        let output = self.output(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The object of a `--json` run; fails unless stdout holds exactly one.
    pub(crate) fn object(&self, args: &str) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// Exit code and both streams as one text, with what differs from run to run taken out.
    pub(crate) fn transcript(&self, args: &str) -> String {
        self.transcript_of(args, self.output(args))
    }

    /// The same of a command that was run otherwise.
    pub(crate) fn transcript_of(&self, args: &str, output: Output) -> String {
        let code = output.status.code().map_or("none".to_owned(), |code| code.to_string());
        let folder = self.dir.path().canonicalize().unwrap();
        let told = |bytes| {
            redact(
                &String::from_utf8(bytes)
                    .unwrap()
                    .replace(folder.to_str().unwrap(), "[folder]"),
            )
        };
        let (stdout, stderr) = (told(output.stdout), told(output.stderr));
        format!("$ kohort {args}\nexit code: {code}\n---- stdout ----\n{stdout}---- stderr ----\n{stderr}")
    }

    /// Names in this folder, sorted: what a run left behind.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.dir.path())
    }
}

/// Names in a folder, sorted, hidden ones too.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Changes one digit of the labels_hash in a `run.json`.
pub(crate) fn plant_other_hash(path: &Path) {
    let record = std::fs::read_to_string(path).unwrap();
    let key = r#""labels_hash": ""#;
    let at = record.find(key).unwrap() + key.len();
    let other = if record[at..].starts_with('0') { "1" } else { "0" };
    std::fs::write(path, format!("{}{other}{}", &record[..at], &record[at + 1..])).unwrap();
}

/// Three plain groups of customers, a text column that goes with them, a constant one and a few nulls.
pub(crate) fn customers(rows: std::ops::Range<i64>) -> Vec<(&'static str, ArrayRef)> {
    let noise = |row: i64, salt: i64| ((row * 7919 + salt * 104_729) % 997) as f64 / 997.0 - 0.5;
    let group = |row: i64| [0, 0, 0, 1, 1, 2][(row % 6) as usize];
    let value = |row: i64, salt: i64, centres: [f64; 3], spread: f64| {
        ((centres[group(row)] + spread * noise(row, salt)) * 100.0).round() / 100.0
    };
    let all = |salt, centres, spread| rows.clone().map(move |row| value(row, salt, centres, spread));
    let orders = rows.clone().map(|row| value(row, 2, [3.0, 12.0, 40.0], 4.0) as i32);
    let age = all(3, [30.0, 45.0, 60.0], 20.0)
        .enumerate()
        .map(|(n, age)| (n % 17 != 5).then_some(age));
    vec![
        (
            "customer_id",
            Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| 10_000 + row))),
        ),
        (
            "recency_days",
            Arc::new(Float64Array::from_iter_values(all(1, [200.0, 60.0, 10.0], 50.0))),
        ),
        ("n_orders", Arc::new(Int32Array::from_iter_values(orders))),
        ("age", Arc::new(Float64Array::from_iter(age))),
        (
            "country",
            Arc::new(StringArray::from_iter_values(
                rows.clone().map(|row| ["UK", "FR", "FR"][group(row)]),
            )),
        ),
        ("currency", Arc::new(Int32Array::from_iter_values(rows.map(|_| 978)))),
    ]
}

/// Replaces what differs from run to run and from machine to machine: times, the CPU, why there is no GPU.
fn redact(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        lines.push_str(&mask_between(&mask_numbers(line)));
        lines.push('\n');
    }
    lines
}

/// `#` for numbers in units that no two runs share.
fn mask_numbers(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let unit = |n: usize| words.get(n + 1).map(|unit| unit.trim_end_matches([',', ':', ')', ';']));
    let varies = |n: usize| matches!(unit(n), Some("s" | "rows/s" | "MiB"));
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let masked = words
        .iter()
        .enumerate()
        .map(|(n, word)| if is_number(word) && varies(n) { "#" } else { word });
    masked.collect::<Vec<_>>().join(" ")
}

/// `#` between fixed words, where the machine has its say.
fn mask_between(line: &str) -> String {
    let places = [
        ("device: ", "; "),
        ("\"description\": \"", "\""),
        ("\"elapsed_s\": ", ","),
        ("\"threads\": ", ","),
        ("\"run_threads\": ", ","),
        ("--device gpu: ", "\""),
        ("--device gpu:3: ", "\""),
        ("--device gpu:7: ", "\""),
        ("--device gpu:all: ", "\""),
    ];
    for (before, after) in places {
        if let Some(start) = line.find(before).map(|at| at + before.len()) {
            let end = line[start..].find(after).map_or(line.len(), |at| start + at);
            return format!("{}#{}", &line[..start], &line[end..]);
        }
    }
    line.to_owned()
}

#[test]
fn only_what_varies_is_taken_out() {
    assert_eq!(
        redact("240 rows in 0.12 s, 2,000 rows/s"),
        "240 rows in # s, # rows/s\n"
    );
    assert_eq!(redact("no numbers: 5 segments\n"), "no numbers: 5 segments\n");
    assert_eq!(redact("device: 2 threads, AVX2; auto: why"), "device: #; auto: why\n");
    assert_eq!(
        redact("  \"description\": \"2 threads, AVX2\","),
        "  \"description\": \"#\",\n"
    );
    assert_eq!(redact("  \"threads\": 2\n"), "  \"threads\": #\n");
    assert_eq!(
        redact("no usable GPU for --device gpu: no driver"),
        "no usable GPU for --device gpu: #\n"
    );
}
