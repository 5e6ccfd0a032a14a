//! Scored rows in every format, and in many files: the same rows as in one Parquet file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use kohort::data::{BatchSource, FileSource, SourceOptions, expand, name_of};
use serde_json::Value;

use crate::sandbox::{Sandbox, customers, names};

/// All rows of files as one batch.
fn read_with(files: &[PathBuf], options: SourceOptions) -> RecordBatch {
    let source = FileSource::open_with(files, 2, options).unwrap();
    let columns: Vec<usize> = (0..source.schema().fields().len()).collect();
    let mut batches = Vec::new();
    source
        .scan(&columns, &mut |_, batch| {
            batches.push(batch.clone());
            Ok(())
        })
        .unwrap();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn read(path: &Path) -> RecordBatch {
    read_with(
        &expand(&[path.to_str().unwrap().to_owned()]).unwrap(),
        SourceOptions::default(),
    )
}

/// A CSV file, in the types of `like`.
fn read_csv(path: &Path, like: &RecordBatch) -> RecordBatch {
    let schema = like.schema();
    let types = schema
        .fields()
        .iter()
        .map(|field| (field.name().clone(), field.data_type().clone()));
    let options = SourceOptions {
        types: types.filter(|(_, data_type)| !name_of(data_type).is_empty()).collect(),
        partitions: Some(Vec::new()),
        ..SourceOptions::default()
    };
    read_with(&[path.to_owned()], options)
}

fn columns(batch: &RecordBatch) -> Vec<(String, ArrayRef)> {
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name().clone());
    names.zip(batch.columns().iter().cloned()).collect()
}

/// Lines of JSON against rows, value by value.
fn is_same_as_json(rows: &RecordBatch, text: &str) -> bool {
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let cell = |array: &ArrayRef, row: usize| match array.data_type() {
        _ if array.is_null(row) => Value::Null,
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Float32 => {
            serde_json::from_str(&format!("{:?}", array.as_primitive::<Float32Type>().value(row))).unwrap()
        }
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        other => panic!("{other}"),
    };
    let columns = columns(rows);
    lines.len() == rows.num_rows()
        && lines.iter().enumerate().all(|(row, line)| {
            line.as_object().unwrap().len() == columns.len()
                && columns.iter().all(|(name, array)| line[name] == cell(array, row))
        })
}

fn fitted(options: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!(
        "fit customers.parquet {options} --id customer_id --out run --device cpu"
    ));
    sandbox
}

#[test]
fn text_holds_the_same_rows_as_parquet() {
    for options in ["-k 3 --outliers unassign", "--levels 2,2"] {
        let sandbox = fitted(options);
        let mut far = customers(0..240);
        let mut recency = far[1].1.as_primitive::<Float64Type>().values().to_vec();
        recency[7] = 9000.0;
        far[1].1 = Arc::new(arrow::array::Float64Array::from(recency));
        sandbox.write("far.parquet", &far);
        let score = "score run far.parquet --device cpu -q --out";
        for out in ["a.parquet", "a.csv", "a.jsonl", "a.ndjson", "b.txt --format csv"] {
            sandbox.ok(&format!("{score} {out}"));
        }
        let rows = read(&sandbox.path("a.parquet"));
        assert_eq!(rows.num_rows(), 240);
        let csv = read_csv(&sandbox.path("a.csv"), &rows);
        assert_eq!(columns(&csv), columns(&rows));
        let lines = std::fs::read_to_string(sandbox.path("a.jsonl")).unwrap();
        assert!(is_same_as_json(&rows, &lines));
        assert!(
            !is_same_as_json(&rows, &lines.replacen("\"segment\":1", "\"segment\":2", 1)),
            "a planted fault"
        );
        let bytes = |name: &str| std::fs::read(sandbox.path(name)).unwrap();
        assert!(bytes("a.ndjson") == bytes("a.jsonl") && bytes("b.txt") == bytes("a.csv"));
        let stdout = |args: &str| {
            let output = sandbox.output(&format!("score run far.parquet --device cpu {args}"));
            assert!(output.status.success());
            (output.stdout, String::from_utf8(output.stderr).unwrap())
        };
        let (text, said) = stdout("-o -");
        assert!(text == bytes("a.csv"));
        assert!(
            said.contains("at the fit") && said.contains("written to standard output"),
            "{said}"
        );
        assert!(stdout("-o - --format jsonl").0 == bytes("a.jsonl"));
        assert!(stdout("-o - --format parquet").0 == bytes("a.parquet"));
    }
}

#[test]
fn ids_that_look_like_formulas_are_marked_in_csv_and_told_of() {
    let sandbox = Sandbox::new();
    let mut rows = customers(0..240);
    let id = |row: usize| match row {
        3 => "=HYPERLINK(\"http://x\",\"y\")".to_owned(),
        4 => "-5".to_owned(),
        _ => format!("c{row}"),
    };
    rows[0].1 = Arc::new(StringArray::from_iter_values((0..240).map(id)));
    sandbox.write("texts.parquet", &rows);
    sandbox.ok("fit texts.parquet -k 3 --id customer_id --out run --device cpu");
    let said = sandbox.transcript("score run texts.parquet --out a.csv --device cpu");
    assert!(
        said.contains("warning: 1 text in the CSV would be formulas") && !said.contains("HYPERLINK"),
        "{said}"
    );
    let text = std::fs::read_to_string(sandbox.path("a.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[4].starts_with("\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\","),
        "{}",
        lines[4]
    );
    assert!(lines[5].starts_with("-5,"));
    let said = sandbox.transcript("score run texts.parquet --out a.jsonl --device cpu");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn one_file_for_each_file_of_the_data() {
    let sandbox = fitted("-k 3");
    for (name, rows) in [
        ("b.parquet", 100..240),
        ("year=2025/a.parquet", 0..70),
        ("year=2026/a.parquet", 70..100),
    ] {
        let path = sandbox.path("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        sandbox.write(&format!("in/{name}"), &customers(rows));
    }
    std::fs::remove_file(sandbox.path("in/b.parquet")).unwrap();
    std::fs::create_dir(sandbox.path("in/year=2027")).unwrap();
    sandbox.write("in/year=2027/b.parquet", &customers(100..240));
    sandbox.ok("score run in --out one.parquet --device cpu");
    let one = read(&sandbox.path("one.parquet"));
    for (format, ending) in [("parquet", "parquet"), ("csv", "csv"), ("jsonl", "jsonl")] {
        let out = format!("out_{format}");
        sandbox.ok(&format!(
            "score run in --out {out} --partition-by file --format {format} --device cpu"
        ));
        assert_eq!(
            names(&sandbox.path(&out)),
            ["_kohort.json", "year=2025", "year=2026", "year=2027"]
        );
        let places = [
            ("year=2025/a", 0, 70),
            ("year=2026/a", 70, 30),
            ("year=2027/b", 100, 140),
        ];
        for (name, first, n) in places {
            let path = sandbox.path(&out).join(format!("{name}.{ending}"));
            let expected = one.slice(first, n);
            match format {
                "jsonl" => assert!(is_same_as_json(&expected, &std::fs::read_to_string(path).unwrap())),
                "csv" => assert_eq!(columns(&read_csv(&path, &expected)), columns(&expected)),
                _ => {
                    let found = read_with(
                        &[path],
                        SourceOptions {
                            partitions: Some(vec![]),
                            ..SourceOptions::default()
                        },
                    );
                    assert_eq!(columns(&found), columns(&expected));
                }
            }
        }
    }
    // Files of which no row is kept are there as well, without rows.
    sandbox.ok("score run in --out few --partition-by file --where year>2025 --device cpu");
    let source = FileSource::open(&[sandbox.path("few/year=2025/a.parquet")], 1).unwrap();
    assert_eq!(source.n_rows(), 0);
    let score = "score run in --out out_parquet --partition-by file --device cpu --if-changed";
    assert_eq!(sandbox.output(score).status.code(), Some(99));
    sandbox.write("in/year=2026/a.parquet", &customers(70..99));
    assert_eq!(sandbox.output(score).status.code(), Some(0));
    assert_eq!(sandbox.output(score).status.code(), Some(99));
    std::fs::remove_file(sandbox.path("out_parquet/year=2025/a.parquet")).unwrap();
    let again = sandbox.output(score);
    assert!(String::from_utf8_lossy(&again.stderr).contains("year=2025/a.parquet is missing in it"));
    assert!(sandbox.path("out_parquet/year=2025/a.parquet").is_file());
}

/// Rows of a table by the value of a column.
fn split(rows: &RecordBatch, column: &ArrayRef) -> BTreeMap<Option<String>, RecordBatch> {
    let texts = arrow::compute::cast(column, &DataType::Utf8).unwrap();
    let texts = texts.as_string::<i32>();
    let mut parts = BTreeMap::new();
    for value in texts.iter() {
        let mask = texts.iter().map(|other| Some(other == value)).collect();
        parts.insert(value.map(str::to_owned), filter_record_batch(rows, &mask).unwrap());
    }
    parts
}

#[test]
fn a_folder_for_each_value_of_a_column() {
    let sandbox = fitted("-k 3");
    let hostile = [
        "../../up",
        "a/b",
        "a=b",
        "50%",
        "",
        ".",
        "..",
        "__HIVE_DEFAULT_PARTITION__",
        "é\u{202e}x",
        "new\nline",
        "NUL.",
        "%41",
        "plain",
    ];
    let mut rows = customers(0..240);
    let values = (0..240).map(|row| (row % 14 < 13).then(|| hostile[row % 14]));
    rows.push(("kind", Arc::new(StringArray::from_iter(values))));
    sandbox.write("hostile.parquet", &rows);
    sandbox.ok("score run hostile.parquet --out one.parquet --device cpu");
    let one = read(&sandbox.path("one.parquet"));
    let before = sandbox.names();
    sandbox.ok("score run hostile.parquet --out kinds --partition-by kind --device cpu");
    sandbox.ok("score run hostile.parquet --out segments --partition-by segment --device cpu");
    let mut expected = before;
    expected.extend(["kinds", "segments"].map(str::to_owned));
    expected.sort();
    assert_eq!(sandbox.names(), expected, "nothing beside them");
    let kinds = rows.last().unwrap().1.clone();
    let segments = one.column_by_name("segment").unwrap().clone();
    let place = one.schema().index_of("segment").unwrap();
    let mut without = one.clone();
    without.remove_column(place);
    for (folder, column, rows, by) in [
        ("kinds", "kind", &one, kinds),
        ("segments", "segment", &without, segments),
    ] {
        let all = read(&sandbox.path(folder));
        let back = all.column_by_name(column).unwrap().clone();
        let found = split(
            &all.project(&(0..rows.num_columns()).collect::<Vec<_>>()).unwrap(),
            &back,
        );
        let expected = split(rows, &by);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (value, part) in &expected {
            assert_eq!(columns(&found[value]), columns(part), "{value:?}");
        }
    }
    assert_eq!(names(&sandbox.path("segments/segment=1")), ["part-0.parquet"]);
    // Bytes do not show how the data is cut.
    for (name, range) in [("x1.parquet", 0..100), ("x2.parquet", 100..240)] {
        let cut: Vec<_> = rows
            .iter()
            .map(|(name, array)| (*name, array.slice(range.start, range.len())))
            .collect();
        sandbox.write(name, &cut);
    }
    sandbox.ok("score run x1.parquet x2.parquet --out again --partition-by segment --device cpu");
    for segment in 1..=3 {
        let bytes =
            |folder: &str| std::fs::read(sandbox.path(&format!("{folder}/segment={segment}/part-0.parquet"))).unwrap();
        assert!(bytes("again") == bytes("segments"), "segment {segment}");
    }
}

#[test]
fn only_what_scoring_wrote_is_replaced() {
    let sandbox = fitted("-k 3");
    let score = "score run customers.parquet --out parts --partition-by segment --device cpu";
    sandbox.ok(score);
    let again = format!("{score} --overwrite");
    sandbox.ok(&again);
    std::fs::create_dir(sandbox.path(".parts.tmp-killed")).unwrap();
    std::fs::write(sandbox.path(".parts.tmp-killed/_kohort.unfinished"), "").unwrap();
    std::fs::create_dir(sandbox.path(".parts.tmp-killed/segment=1")).unwrap();
    sandbox.ok(&format!("{again} --format csv"));
    assert_eq!(sandbox.names(), ["customers.parquet", "parts", "run"]);
    assert_eq!(names(&sandbox.path("parts/segment=1")), ["part-0.csv"]);
    std::fs::write(sandbox.path("parts/segment=1/photo.jpg"), "mine").unwrap();
    let mut told = vec![sandbox.transcript(score), sandbox.transcript(&again)];
    std::fs::remove_file(sandbox.path("parts/_kohort.json")).unwrap();
    told.push(sandbox.transcript(&again));
    told.push(sandbox.transcript("score run customers.parquet --out run --overwrite --partition-by segment"));
    assert_eq!(
        std::fs::read(sandbox.path("parts/segment=1/photo.jpg")).unwrap(),
        b"mine"
    );
    assert_eq!(sandbox.names(), ["customers.parquet", "parts", "run"]);
    insta::assert_snapshot!("error_score_folders", told.join("\n"));
}

#[test]
fn outputs_that_cannot_be_are_refused() {
    let sandbox = fitted("-k 3");
    let mut many = customers(0..1100);
    many.push((
        "code",
        Arc::new(StringArray::from_iter_values((0..1100).map(|row| format!("x{row}")))),
    ));
    many.push((
        "long",
        Arc::new(StringArray::from_iter_values((0..1100).map(|_| "y".repeat(300)))),
    ));
    sandbox.write("many.parquet", &many);
    for folder in ["a", "b"] {
        std::fs::create_dir(sandbox.path(folder)).unwrap();
        sandbox.write(&format!("{folder}/x.parquet"), &customers(0..240));
    }
    let before = sandbox.names();
    let told: Vec<String> = [
        "score run many.parquet --out parts --partition-by code --device cpu",
        "score run many.parquet --out parts --partition-by long --device cpu",
        "score run many.parquet --out parts --partition-by customer_id",
        "score run many.parquet --out parts --partition-by distance",
        "score run many.parquet --out parts --partition-by recency_days",
        "score run many.parquet --out parts --partition-by segmnt",
        "score run a b --out parts --partition-by file",
        "score run many.parquet -o - --json",
        "score run many.parquet -o - --partition-by segment",
        "score run many.parquet -o - --if-changed",
        "score run many.parquet -o a.csv --if-changed",
        "score run many.parquet -o a.csv --format xlsx",
    ]
    .map(|args| sandbox.transcript(args))
    .to_vec();
    assert_eq!(sandbox.names(), before, "something was left behind");
    insta::assert_snapshot!("error_score_outputs", told.join("\n"));
}
