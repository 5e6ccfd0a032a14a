use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};

use super::*;
use crate::artifact::{DeviceRecord, InputRecord, RunDir, SourceRecord};
use crate::backend::cpu::CpuBackend;
use crate::data::MemorySource;
use crate::fit::{FitOptions, fit};
use crate::run::{self, RunContext};

/// Names and levels that a page must show and not obey.
const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "]]></style></svg>&lt;b&gt;",
    "\u{202e}drawkcab \u{05d0}\u{05d1}\u{05d2}\u{2066}",
    "😀🏴‍☠️ | `x` [a](javascript:alert(1)) @all #1\n<!--",
    "${{7*7}} www.example.org https://example.org",
];

/// Three groups of rows, told apart by `n_numbers` columns; one text column of hostile levels.
fn table(names: &[String]) -> RecordBatch {
    let n = 400;
    let number = |at: usize| -> ArrayRef {
        let value = |row: usize| (row % 3 * (at + 1)) as f64 + (row * (7 + at) % 13) as f64 / 40.0;
        Arc::new(Float64Array::from_iter_values((0..n).map(value)))
    };
    let level = |row: usize| HOSTILE[if row.is_multiple_of(3) { 0 } else { 1 + row % 5 }];
    let levels: ArrayRef = Arc::new(StringArray::from_iter_values((0..n).map(level)));
    let numbers = names.iter().enumerate().map(|(at, name)| (name.clone(), number(at)));
    RecordBatch::try_from_iter(numbers.chain([("plan <b>".to_owned(), levels)])).unwrap()
}

/// Both reports of a fit of some columns, as the run directory holds them.
fn reports(names: &[String], k: usize) -> [String; 2] {
    reports_of(names, FitOptions::new(k))
}

fn reports_of(names: &[String], mut options: FitOptions) -> [String; 2] {
    let source = MemorySource::new(vec![table(names)]).unwrap();
    options.features.outcomes = names.iter().take(1).cloned().collect();
    let fitted = fit(&source, &CpuBackend::new(1).unwrap(), &options, &()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let context = RunContext {
        created: "2024-12-31T00:00:00Z".into(),
        started: Instant::now(),
        data: vec![HOSTILE[0].into()],
        config: None,
        inputs: vec![InputRecord {
            path: HOSTILE[1].into(),
            absolute_path: HOSTILE[1].into(),
            bytes: 1,
            n_rows: 400,
            xxh3_128: Some("0".repeat(32)),
            etag: None,
        }],
        source: SourceRecord::default(),
        device: DeviceRecord {
            asked: "cpu".into(),
            backend: "cpu".into(),
            description: HOSTILE[2].into(),
            reason: String::new(),
        },
        threads: 1,
    };
    let out = folder.path().join("run");
    let dir = RunDir::create(&out, false).unwrap();
    run::write(dir, &source, &fitted, &options, None, &context, || Ok(())).unwrap();
    ["report.html", "report.md"].map(|name| std::fs::read_to_string(out.join(name)).unwrap())
}

/// What a parser would see of a page: the names of its tags, and whether each that is opened is closed in its order.
fn tags(html: &str) -> (std::collections::BTreeSet<String>, bool) {
    const VOID: [&str; 4] = ["!DOCTYPE", "br", "meta", "wbr"];
    let (mut names, mut open, mut in_order) = (std::collections::BTreeSet::new(), Vec::new(), true);
    for piece in html.split('<').skip(1) {
        let tag = piece.split('>').next().unwrap();
        let name = tag.trim_matches('/').split([' ', '/']).next().unwrap().to_owned();
        if tag.starts_with('/') {
            in_order &= open.pop().as_ref() == Some(&name);
        } else if !VOID.contains(&name.as_str()) && !tag.ends_with('/') {
            open.push(name.clone());
        }
        names.insert(name);
    }
    (names, in_order && open.is_empty())
}

const TAGS: &str = "!DOCTYPE a article bdi body br caption circle code dd div dl dt figcaption figure h1 h2 h3 head header \
                    html li main meta nav p path polyline rect section span strong style svg table tbody td text th \
                    thead title tr ul wbr";

#[test]
fn hostile_names_are_text() {
    let names: Vec<String> = { HOSTILE.iter() }
        .map(|name| name.to_string())
        .chain(["x".repeat(300), "a".into()])
        .collect();
    let [html, markdown] = reports(&names, 3);
    let known = TAGS.split_whitespace().map(str::to_owned).collect();
    let (found, in_order) = tags(&html);
    assert!(found.is_subset(&known) && in_order, "{found:?}");
    for text in [
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "\\u{202e}drawkcab",
        "😀🏴‍☠️",
        "xxx…xxx",
    ] {
        assert!(html.contains(text), "{text} is shown");
    }
    assert!(!html.contains('\u{202e}') && !html.contains(&"x".repeat(60)));
    assert!(!html.contains("<script") && !html.contains("src=x onerror=alert(1)>"));
    let rows: Vec<&str> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    let cells = |row: &str| row.replace("\\|", "").matches('|').count();
    assert!(
        rows.len() == 5 && rows.iter().all(|row| cells(row) == cells(rows[0])),
        "{markdown}"
    );
    for markup in ["<", "](", "@all", "://", "javascript:"] {
        assert!(!markdown.contains(markup), "{markup} in {markdown}");
    }
    // What the search is for is seen where it is.
    let planted = html.replacen("&lt;script&gt;", "<script>", 1);
    let (found, in_order) = tags(&planted);
    assert!(!found.is_subset(&known) && !in_order);
}

/// What a page could load, run or lead to, and what it lacks against that.
fn ways_out(html: &str) -> Vec<String> {
    let head = html.split("<style>").next().unwrap();
    let policy =
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">";
    let is_guarded = head.contains(policy) && head.find(policy) < head.find("<title>");
    let mut found: Vec<String> = (!is_guarded).then(|| "no policy".to_owned()).into_iter().collect();
    for tag in html.split('<').skip(1).filter_map(|piece| piece.split('>').next()) {
        // What stands between quotes is a value, and before it the name of its attribute.
        let pieces: Vec<&str> = tag.split('"').collect();
        let mut attributes = { pieces.chunks_exact(2) }.map(|pair| (pair[0].rsplit(' ').next().unwrap(), pair[1]));
        let is_way_out = |(name, value): (&str, &str)| match name {
            "href=" => !value.starts_with('#'),
            "src=" | "srcset=" | "action=" | "data=" | "style=" => true,
            name => name.starts_with("on"),
        };
        if attributes.any(is_way_out) {
            found.push(tag.to_owned());
        }
    }
    let style = html
        .split("<style>")
        .nth(1)
        .and_then(|rest| rest.split("</style>").next());
    let style = style.unwrap_or_default();
    found.extend(
        ["url(", "@import", "@font-face"]
            .into_iter()
            .filter(|way| style.contains(way))
            .map(str::to_owned),
    );
    found
}

#[test]
fn a_page_loads_and_runs_nothing_and_leads_nowhere() {
    let names: Vec<String> = HOSTILE.iter().map(|name| name.to_string()).collect();
    let [html, _] = reports(&names, 3);
    assert_eq!(ways_out(&html), Vec::<String>::new());
    // Planted faults, each of which is seen.
    for (from, to) in [
        ("default-src 'none'", "default-src *"),
        ("<title>", "<title></title><title onload=\"x()\">"),
        ("<main>", "<main style=\"background: url(https://example.org)\">"),
        ("href=\"#segments\"", "href=\"https://example.org\""),
        ("<h1>", "<img src=\"a.png\"><h1>"),
        ("<style>", "<style>@import 'a.css';"),
    ] {
        assert!(html.contains(from), "{from}");
        assert_eq!(ways_out(&html.replacen(from, to, 1)).len(), 1, "{to}");
    }
}

#[test]
fn trees_hold_every_segment_and_nothing_is_obeyed() {
    let names: Vec<String> = HOSTILE.iter().map(|name| name.to_string()).collect();
    let rule = |k| crate::nested::SplitRule {
        path: None,
        k,
        min_share: 0.01,
    };
    let mut options = FitOptions::new(3);
    options.levels = vec![rule([2, 2]), rule([2, 2])];
    options.min_cell = crate::cells::MinCell::new(1);
    let [html, markdown] = reports_of(&names, options);
    let known = TAGS.split_whitespace().map(str::to_owned).collect();
    let (found, in_order) = tags(&html);
    assert!(found.is_subset(&known) && in_order, "{found:?}");
    let tree = &html[html.find("<section id=\"tree\">").unwrap()..];
    let tree = &tree[..tree.find("</section>").unwrap()];
    // Two joins of three segments and the root, and an elbow for each of 6 and 12 parts.
    assert_eq!(tree.matches(r#"class="curve one""#).count(), 3);
    assert_eq!(tree.matches(r#"class="curve two""#).count(), 18);
    for path in ["1.1", "3.2.2"] {
        assert!(
            tree.contains(&format!("{path}</th>")) && markdown.contains(&format!("| {path} |")),
            "{path}"
        );
    }
    let one = reports_of(&names, FitOptions::new(1));
    assert!(!one[0].contains("id=\"tree\""), "one segment is no tree");
    // Segments of few rows have no exact sums, of which the tree is made.
    assert!(!reports(&names, 30)[0].contains("Leaves with several numbers"));
    let mut options = FitOptions::new(30);
    options.min_cell = crate::cells::MinCell::new(1);
    assert!(reports_of(&names, options)[0].contains("Leaves with several numbers"));
}

#[test]
fn wide_tables_of_long_names_stay_below_a_megabyte() {
    let names: Vec<String> = (0..420).map(|n| format!("{n:03}{}", "<&\">".repeat(74))).collect();
    let [html, markdown] = reports(&names, 30);
    assert!(
        html.len() < 1_000_000 && markdown.len() < 60_000,
        "{} {}",
        html.len(),
        markdown.len()
    );
    assert!(html.contains("The 6 smaller segments are in"));
    let twelve: Vec<String> = (0..60).map(|n| format!("column_{n}")).collect();
    let [html, _] = reports(&twelve, 12);
    assert!(
        html.len() < 1_000_000 && html.contains("column_<wbr>59"),
        "{}",
        html.len()
    );
}

#[test]
fn what_is_withheld_is_told_as_bounds() {
    let told = [
        Count::Exact(0),
        Count::Between(1, 10),
        Count::Exact(11),
        Count::Between(1605, 1614),
    ]
    .map(rows);
    assert_eq!(told, ["0", "under 11", "11", "1,605 to 1,614"]);
    let of = Count::Exact(300);
    let told = [
        share(Count::Exact(0), of),
        share(Count::Between(1, 10), of),
        share(Count::Between(290, 299), of),
        share(Count::Between(140, 160), of),
        share(Count::Between(1605, 1606), Count::Exact(4372)),
        share(Count::Exact(150), of),
    ];
    let expected = [
        "0.0%",
        "at most 3.3%",
        "at least 96.7%",
        "46.7% to 53.3%",
        "about 36.7%",
        "50.0%",
    ];
    assert_eq!(told, expected);
}

#[test]
fn long_names_lose_their_middle() {
    assert_eq!(shortened("abc", 3), "abc");
    assert_eq!(shortened("abcdefghijkl", 8), "abcde…kl");
}
