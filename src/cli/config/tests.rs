//! Every argument of every command can stand in a file and in the environment, and is told of; hostile files are
//! refused, not followed.

use std::ffi::OsString;

use clap::{Arg, ArgAction, CommandFactory};
use proptest::prelude::*;

use super::catalog::{COLUMNS, CommandOptions, Kind, Opt, TOP};
use super::layers::{Origin, Setting, variable};
use super::*;

/// Some text that every kind of option takes one of.
const SAMPLES: [&str; 20] = [
    "7",
    "5..6",
    "0.25",
    "true",
    "auto",
    "cpu",
    "A",
    "a.parquet",
    "some",
    "a=1",
    "a=b",
    "2024-12-31",
    "1%",
    "x",
    "200k",
    "3,4",
    ";",
    "x > 1",
    "1=x",
    "UTF-8",
];

/// A value that clap takes and that is not the default.
fn sample(command: &CommandOptions, opt: &Opt) -> Option<OsString> {
    if opt.kind == Kind::Switch {
        return Some("true".into());
    }
    let words = command
        .clap()
        .get_arguments()
        .filter(|arg| arg.get_id() == opt.id.as_str());
    let words = words.flat_map(|arg| arg.get_possible_values());
    let mut samples: Vec<OsString> = words.map(|word| word.get_name().into()).collect();
    samples.extend(SAMPLES.map(Into::into));
    let is_new = |text: &OsString| !opt.defaults.iter().any(|default| text == default.as_str());
    { samples.into_iter().filter(is_new) }.find(|text| command.refusal(opt, std::slice::from_ref(text)).is_none())
}

/// `key = "value"`, always as text: what a switch and a list take is tried elsewhere.
fn toml_line(opt: &Opt, value: &OsString) -> String {
    match opt.kind {
        Kind::Switch => format!("{} = true\n", opt.key),
        _ => format!("{} = {}\n", opt.key, quoted(value.to_str().unwrap())),
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(Into::into).collect()
}

fn nothing(_: &str) -> Option<OsString> {
    None
}

fn file(text: &str) -> Option<ConfigFile> {
    Some(ConfigFile::of_text(NAME.into(), text.to_owned()))
}

/// An option after a command line, the environment and a file have had their say.
fn setting(
    lines: &Lines,
    line: &[OsString],
    environment: Environment<'_>,
    text: &str,
    id: &str,
) -> Result<Setting, String> {
    let resolved = lines.resolve(line, environment, |_| Ok(file(text)));
    let resolved = resolved.map_err(|refusal| match refusal {
        Refusal::Usage(error) => error.to_string(),
        Refusal::Error(error) => error.to_string(),
    })?;
    let resolved = resolved.ok_or("cannot be configured")?;
    let setting = resolved
        .settings
        .iter()
        .find(|setting| setting.opt.id == id)
        .ok_or("is no option")?
        .clone();
    // What clap is given says the same.
    let typed = lines.typed(&resolved.line).map_err(|error| error.to_string())?;
    let typed = typed.subcommand().ok_or("has no command")?.1;
    if typed.value_source(id) != Some(clap::parser::ValueSource::CommandLine) {
        return Err("does not reach clap".into());
    }
    let raw: Vec<OsString> = typed.get_raw(id).into_iter().flatten().map(Into::into).collect();
    match setting.opt.kind == Kind::Switch || raw == setting.values {
        true => Ok(setting),
        false => Err(format!("reaches clap as {raw:?}")),
    }
}

/// Puts a value of an option everywhere it can stand, and holds what comes out against it.
fn try_everywhere(lines: &Lines, command: &CommandOptions, opt: &Opt) -> Result<(), String> {
    let value = sample(command, opt).ok_or("no sample fits: add one")?;
    let expected = vec![value.clone()];
    let line = words(&["kohort", &command.name]);
    // Positional arguments before this one.
    let before = command.options.iter().filter(|other| other.comes_before(opt));
    let before: String = before
        .filter_map(|other| Some(toml_line(other, &sample(command, other)?)))
        .collect();
    let check = |setting: Setting, values: &[OsString], origin: &Origin| match setting {
        Setting {
            values: found,
            origin: from,
            ..
        } if found == values && from == *origin => Ok(()),
        Setting { values, origin, .. } => Err(format!("{values:?} from {origin:?}")),
    };
    for section in [command.name.as_str()].into_iter().chain(opt.shared) {
        let head = if section == TOP {
            String::new()
        } else {
            format!("[{section}]\n")
        };
        let own = toml_line(opt, &value);
        let text = match section == command.name {
            true => format!("{head}{before}{own}"),
            false => format!("{head}{own}[{}]\n{before}", command.name),
        };
        let at = text.lines().position(|line| own.trim_end() == line).unwrap() + 1;
        let place = format!("{NAME}:{at}");
        let found = setting(lines, &line, &nothing, &text, &opt.id)?;
        let shown = show::text(&[&found], true);
        check(found.clone(), &expected, &Origin::File(place.clone()))?;
        if !shown.starts_with(&format!("{} = ", opt.key)) || !shown.ends_with(&format!("# {place}\n")) {
            return Err(format!("is shown as {shown:?}"));
        }
        let again = format!("[{}]\n{before}{}", command.name, show::text(&[&found], false));
        let again = setting(lines, &line, &nothing, &again, &opt.id)?;
        if again.values != found.values {
            return Err(format!("is shown as {shown:?}, which reads back as {:?}", again.values));
        }
        let name = variable(section, opt);
        let environment = |asked: &str| (asked == name).then(|| value.clone());
        let text = format!("[{}]\n{before}", command.name);
        let found = setting(lines, &line, &environment, &text, &opt.id)?;
        check(found, &expected, &Origin::Environment(name.clone()))?;
    }
    if opt.position.is_none() {
        let mut line = line;
        line.push(match opt.kind {
            Kind::Switch => format!("--{}", opt.key).into(),
            _ => catalog::flag_with(opt, &value),
        });
        check(setting(lines, &line, &nothing, "", &opt.id)?, &expected, &Origin::Flag)?;
    }
    Ok(())
}

/// The arguments that cannot be set by a file, by a variable or by a flag as they should, and why.
fn unsettable(cli: clap::Command, of: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = Lines::of(cli.clone());
    let mut built = cli;
    built.build();
    let mut faults = Vec::new();
    for command in built.get_subcommands().filter(|command| of(command.get_name())) {
        let prints = |arg: &&Arg| matches!(arg.get_id().as_str(), "help" | "version" | "config" | "no_config");
        for arg in command.get_arguments().filter(|arg| !prints(arg)) {
            let Some(options) = lines.catalog.command(command.get_name()) else {
                continue;
            };
            let opt = options.options.iter().find(|opt| opt.id == arg.get_id().as_str());
            let tried = opt.map_or(Err("is not known".into()), |opt| try_everywhere(&lines, options, opt));
            faults.extend(
                tried
                    .err()
                    .map(|fault| format!("{} {}: {fault}", command.get_name(), arg.get_id())),
            );
        }
    }
    faults
}

#[test]
fn every_argument_of_every_command_can_be_set_everywhere() {
    assert_eq!(unsettable(Cli::command(), |_| true), Vec::<String>::new());
    let names: Vec<String> = Lines::new()
        .catalog
        .commands
        .iter()
        .map(|command| command.name.clone())
        .collect();
    for name in [
        "fit", "sweep", "score", "inspect", "explain", "verify", "devices", "bench", "generate",
    ] {
        assert!(names.iter().any(|known| known == name), "{name} is walked");
    }
}

#[test]
fn a_new_flag_needs_no_work_and_one_that_does_is_found() {
    let with = |arg: Arg| Cli::command().mut_subcommand("fit", |fit| fit.arg(arg));
    let plain = Arg::new("new").long("new-flag").value_parser(clap::value_parser!(u8));
    assert_eq!(unsettable(with(plain), |name| name == "fit"), Vec::<String>::new());
    let counted = Arg::new("planted").long("planted").action(ArgAction::Count);
    let faults = unsettable(with(counted), |name| name == "fit");
    assert!(
        faults.len() == 1 && faults[0].starts_with("fit planted: "),
        "{faults:?}"
    );
    let unheard = Arg::new("planted")
        .long("planted")
        .value_parser(["unheard"])
        .default_value("unheard");
    assert_eq!(
        unsettable(with(unheard), |name| name == "fit"),
        ["fit planted: no sample fits: add one"]
    );
}

#[test]
fn one_of_a_group_puts_aside_the_others_and_chains_of_needs_are_followed() {
    let deeper = Arg::new("deeper").long("deeper").requires("seed_of_it");
    let deepest = Arg::new("deepest")
        .long("deepest")
        .requires_all(["deeper", "seed_of_it"]);
    let cli = Cli::command().mut_subcommand("fit", |fit| {
        let needed = Arg::new("seed_of_it").long("seed-of-it");
        fit.args([deeper, deepest, needed])
    });
    assert_eq!(unsettable(cli.clone(), |name| name == "fit"), Vec::<String>::new());
    let lines = Lines::of(cli);
    let typed = |line: &[&str]| {
        let text = "data = \"a\"\n[fit]\nk = 3\ndeeper = \"x\"\ndeepest = \"y\"\n";
        let line = words(line);
        let Ok(Some(mut resolved)) = lines.resolve(&line, &nothing, |_| Ok(file(text))) else {
            panic!("refused")
        };
        let _ = lines.settle(&line, &mut resolved);
        let line = resolved.line.into_iter().map(|word| word.into_string().unwrap());
        line.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(typed(&["kohort", "fit"]), "kohort fit --n-clusters=3 -- a");
    assert_eq!(
        typed(&["kohort", "fit", "--levels", "4,5", "--seed-of-it", "1"]),
        "kohort fit --deeper=x --deepest=y --levels 4,5 --seed-of-it 1 -- a"
    );
}

#[test]
fn keys_are_shared_by_commands_that_mean_the_same() {
    let catalog = Lines::new().catalog;
    let shared_in = |key: &str| -> Vec<(&str, Option<&str>)> {
        let options = catalog.commands.iter();
        let of_command = |command: &'_ CommandOptions| command.options.iter().find(|opt| opt.key == key).cloned();
        options
            .filter_map(|command| Some((command.name.as_str(), of_command(command)?.shared)))
            .collect()
    };
    let places = |key: &str, names: &[&str]| {
        let mut places = shared_in(key);
        places.retain(|(name, _)| names.contains(name));
        places.into_iter().map(|(_, place)| place).collect::<Vec<_>>()
    };
    assert_eq!(
        places("id", &["fit", "inspect", "sweep", "explain"]),
        [Some(COLUMNS), Some(COLUMNS), Some(COLUMNS), None]
    );
    assert_eq!(places("data", &["fit", "inspect", "sweep"]), [Some(TOP); 3]);
    assert_eq!(places("data", &["score", "explain", "verify", "bench"]), [None; 4]);
    assert!(shared_in("threads").into_iter().all(|(_, place)| place == Some(TOP)));
    assert!(shared_in("json").into_iter().all(|(_, place)| place == Some(TOP)));
    assert_eq!(places("log", &["fit", "sweep", "inspect"]), [Some(COLUMNS); 3]);
    assert_eq!(
        places("seed", &["fit", "sweep", "bench", "generate"]),
        [Some(TOP), Some(TOP), None, None]
    );
    assert!(shared_in("out").into_iter().all(|(_, place)| place.is_none()));
}

#[test]
fn no_two_settings_share_a_name() {
    let catalog = Lines::new().catalog;
    let mut names: Vec<(String, String)> = Vec::new();
    for section in [TOP].into_iter().chain(catalog.sections()) {
        names.extend(
            { catalog.section(section).into_iter() }
                .map(|(_, opt)| (variable(section, opt), format!("{section}.{}", opt.key))),
        );
        assert!(
            section == TOP || catalog.find(TOP, section).is_none(),
            "{section} is a section and a key"
        );
    }
    names.sort();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0].0 == pair[1].0).collect();
    assert_eq!(twice, Vec::<&[(String, String)]>::new());
    assert!(
        names
            .iter()
            .all(|(name, _)| !["KOHORT_CONFIG", "KOHORT_SIMD", "KOHORT_MATRIX_UNITS"].contains(&name.as_str()))
    );
}

fn values_of(text: &str, line: &[&str], id: &str) -> Vec<String> {
    let resolved = Lines::new().resolve(&words(line), &nothing, |_| Ok(file(text)));
    let Ok(Some(resolved)) = resolved else {
        panic!("{text} is refused")
    };
    values(resolved, id)
}

/// What was set for an option.
fn values(resolved: Resolved, id: &str) -> Vec<String> {
    let setting = resolved
        .settings
        .into_iter()
        .find(|setting| setting.opt.id == id)
        .unwrap();
    setting
        .values
        .into_iter()
        .map(|value| value.into_string().unwrap())
        .collect()
}

#[test]
fn values_become_what_would_be_typed() {
    let columns = |text: &str, id: &str| values_of(&format!("[columns]\n{text}\n"), &["kohort", "fit"], id);
    assert_eq!(columns("id = \"a,b\"", "id"), ["a,b"], "a text is what is typed");
    assert_eq!(
        columns(r#"id = ["a,b", "c\\", "d\\,e"]"#, "id"),
        [r"a\,b", r"c\", r"d\\,e"],
        "an entry is a name"
    );
    let typed = |id: &str| {
        Names::flatten(
            &columns(r#"id = ["a,b", "c\\", "d\\,e"]"#, id)
                .iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(typed("id"), ["a,b", "c\\", "d\\,e"]);
    assert_eq!(
        columns("missing = { \"b,c\" = 0, \"*\" = \"mean\", a = \"median\" }", "missing"),
        [r"b\,c=0", "*=mean", "a=median"],
        "in the order of the file"
    );
    assert_eq!(columns("[columns.missing]\nx = -1.5\n", "missing"), ["x=-1.5"]);
    assert_eq!(columns("missing = 0", "missing"), ["0"]);
    assert_eq!(
        columns("block = { usage = \"usage_*\", firm = [\"a,b\", \"c\"] }", "block"),
        ["usage=usage_*", r"firm=a\,b,c"]
    );
    assert_eq!(columns("as-of = 2024-12-31", "as_of"), ["2024-12-31"]);
    assert_eq!(columns("clip = 1_0e-3", "clip"), ["10e-3"]);
    let fit = |text: &str, id: &str| values_of(text, &["kohort", "fit"], id);
    assert_eq!(fit("seed = 0xff", "seed"), ["255"]);
    assert_eq!(fit("[fit]\nk = 5", "n_clusters"), ["5"]);
    assert_eq!(fit("[fit]\nn-clusters = \"2..4\"", "n_clusters"), ["2..4"]);
    assert_eq!(
        values_of("[bench]\nrows = [1_000, \"2M\"]", &["kohort", "bench"], "rows"),
        ["1000", "2M"]
    );
}

#[test]
fn a_narrower_section_wins_and_an_empty_list_takes_back() {
    let text = "[columns]\nexclude = [\"a\", \"b\"]\n[fit]\nexclude = \"c\"\n[sweep]\nexclude = []\n";
    let exclude = |line: &[&str]| values_of(text, line, "exclude");
    assert_eq!(exclude(&["kohort", "fit"]), ["c"]);
    assert_eq!(exclude(&["kohort", "sweep"]), Vec::<String>::new());
    assert_eq!(exclude(&["kohort", "inspect"]), ["a", "b"]);
    assert_eq!(
        exclude(&["kohort", "fit", "--exclude", "d", "--exclude", "e,f"]),
        ["d", "e,f"]
    );
}

#[test]
fn what_is_typed_puts_aside_what_it_excludes() {
    let on = |text: &str, line: &[&str], id: &str| values_of(text, line, id)[0] == "true";
    assert!(on("quiet = true", &["kohort", "devices"], "quiet"));
    assert!(!on("quiet = true", &["kohort", "devices", "-v"], "quiet"));
    assert!(!on("quiet = true", &["kohort", "devices", "--no-quiet"], "quiet"));
    assert!(!on(
        "quiet = true\n[devices]\nverbose = true",
        &["kohort", "devices"],
        "quiet"
    ));
    assert!(on("[bench]\nno-ceilings = true", &["kohort", "bench"], "no_ceilings"));
    assert!(!on(
        "[bench]\nno-ceilings = true",
        &["kohort", "bench", "--ceilings"],
        "no_ceilings"
    ));
    let shape = values_of("[bench]\nshape = \"C\"", &["kohort", "bench", "--rows", "5"], "shape");
    assert_eq!(shape, Vec::<String>::new());
}

#[test]
fn what_needs_something_that_is_not_there_is_put_aside() {
    let lines = Lines::new();
    let overwrites = |text: &str, line: &[&str]| {
        let line = words(line);
        let Ok(Some(mut resolved)) = lines.resolve(&line, &nothing, |_| Ok(file(text))) else {
            panic!("{text} is refused")
        };
        lines.settle(&line, &mut resolved).map(|_| {
            resolved
                .settings
                .iter()
                .find(|s| s.opt.id == "overwrite")
                .unwrap()
                .is_on()
        })
    };
    let text = "data = \"a\"\n[sweep]\noverwrite = true\n";
    assert!(!overwrites(text, &["kohort", "sweep"]).unwrap());
    assert!(overwrites(text, &["kohort", "sweep", "--out", "o"]).unwrap());
    assert!(
        overwrites(text, &["kohort", "sweep", "--overwrite"]).is_err(),
        "what is typed is meant"
    );
    assert!(
        overwrites("[sweep]\noverwrite = true\n", &["kohort", "sweep", "--out", "o"]).is_err(),
        "DATA is missing"
    );
}

#[test]
fn positional_arguments_keep_their_order() {
    let line = |text: &str, line: &[&str]| {
        let resolved = Lines::new().resolve(&words(line), &nothing, |_| Ok(file(text)));
        let Ok(Some(resolved)) = resolved else {
            panic!("{text} is refused")
        };
        resolved
            .line
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let both = "[score]\nmodel = \"m\"\ndata = [\"a\", \"-b\"]\nout = \"o\"\n";
    assert_eq!(line(both, &["kohort", "score"]), "kohort score --out=o -- m a -b");
    assert_eq!(
        line(both, &["kohort", "score", "n", "--threads", "2"]),
        "kohort score --out=o n --threads 2 -- a -b"
    );
    assert_eq!(
        line(both, &["kohort", "score", "--", "n"]),
        "kohort score --out=o -- n a -b"
    );
    assert_eq!(
        line(both, &["kohort", "score", "n", "c", "--out", "p"]),
        "kohort score n c --out p"
    );
    let data = "[score]\ndata = \"a\"";
    assert_eq!(
        line(data, &["kohort", "score"]),
        "kohort score",
        "DATA is not taken for the model"
    );
    let early = ["kohort", "--config", "fit", "fit", "x"];
    assert_eq!(line("seed = 1", &early), "kohort --config fit fit --seed=1 x");
}

#[test]
fn paths_count_from_the_folder_of_the_file() {
    let lines = Lines::new();
    let at = |folder: &str, text: &str, id: &str| -> Vec<String> {
        let file = ConfigFile::of_text(Path::new(folder).join(NAME), text.to_owned());
        let Ok(Some(resolved)) = lines.resolve(&words(&["kohort", "fit"]), &nothing, |_| Ok(Some(file))) else {
            panic!("{text} is refused")
        };
        values(resolved, id)
    };
    let data = "data = [\"a/*.parquet\", \"/b\", \"../c\", \"-\"]";
    assert_eq!(at("", data, "data"), ["a/*.parquet", "/b", "../c", "-"]);
    assert_eq!(at("conf", data, "data"), ["conf/a/*.parquet", "/b", "conf/../c", "-"]);
    assert_eq!(
        at("co[n]f", "data = \"a/*.parquet\"", "data"),
        ["co[[]n[]]f/a/*.parquet"],
        "a folder is no pattern"
    );
    assert_eq!(at("conf", "[fit]\nout = \"o\"", "out"), ["conf/o"]);
    assert_eq!(at("conf", "init = \"random\"", "init"), ["random"]);
    assert_eq!(at("conf", "init = \"c.parquet\"", "init"), ["conf/c.parquet"]);
    assert_eq!(at("conf", "[fit]\nexclude = \"o\"", "exclude"), ["o"], "no path");
}

/// What is said of a file; a panic fails the test.
fn verdict(text: &str) -> Result<(), String> {
    check(text).map_err(|error| error.to_string())
}

#[test]
fn hostile_files_are_refused_and_soon() {
    let n = 400_000;
    for text in [
        format!("a = {}", "[".repeat(n)),
        format!("a = {}", "{a=".repeat(n)),
        format!("{}a = 1", "a.".repeat(n)),
        format!("[{}a]", "a.".repeat(n)),
        format!("[columns]\nweights = {{ {}a = 1 }}", "a.".repeat(n)),
        format!("[columns]\nmissing = {}{}", "[".repeat(79), "]".repeat(79)),
        format!("seed = {}", "9".repeat(n)),
        format!("[fit]\nout = \"{}", "x".repeat(n)),
        "seed = 1\nseed = 2".into(),
        format!("{} = 1", "x".repeat(n)),
        format!("[{}]", "x".repeat(n)),
        format!("[columns]\nscale = \"{}\"", "x".repeat(n)),
        format!("device = \"{}\"", "x".repeat(n)),
        format!("[fit]\nk = \"{}\"", "9".repeat(n)),
        "\0".into(),
        "seed = 1\r".into(),
        "[fit]\nout = \"\u{1b}[31m\"\n[fit]".into(),
        "data = \"\\uD800\"".into(),
    ] {
        let told = verdict(&text).expect_err(&text[..text.len().min(60)]);
        assert!(!told.contains('\u{1b}') && !told.contains('\0'), "{told:?}");
        assert!(
            told.len() < 2000,
            "{} bytes about {:?}",
            told.len(),
            &text[..text.len().min(60)]
        );
    }
    let wide: String = (0..20_000).map(|n| format!("    \"column {n}\", # why\n")).collect();
    assert_eq!(verdict(&format!("[columns]\nfeatures = [\n{wide}]\n")), Ok(()));
    assert_eq!(verdict("\u{feff}seed = 1\r\n"), Ok(()));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), at in 0..400usize, byte in any::<u8>()) {
        static LINES: std::sync::LazyLock<Lines> = std::sync::LazyLock::new(Lines::new);
        let verdict = |text: &str| LINES.entries(file(text).as_ref()).map(drop);
        let _ = verdict(&text);
        let mut good = b"data = [\"a\", 'b']\nseed = 7\ntol = 1e-4\n[columns]\nid = \"\"\"x\"\"\"\nmissing = { a = \"mean\" }\n\
            as-of = 2024-12-31\n[columns.block]\nusage = [\"u\\u00e9\"]\n[fit]\nk = 'auto'\noverwrite = true\n".to_vec();
        let at = at % good.len();
        good[at] = byte;
        let _ = verdict(&String::from_utf8_lossy(&good));
    }
}
