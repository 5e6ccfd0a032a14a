//! `kohort config show`: what a command would work with, and who said so.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr;

use kohort::error::{escape, told};
use kohort::{Error, Result};

use super::super::output::Output;
use super::args::{ConfigArgs, ConfigCommand, ShowArgs, SourceArgs};
use super::catalog::{Catalog, Kind, TOP};
use super::layers::{Below, Origin, Setting, in_section, known_variables};
use super::{FILE_VARIABLE, Lines, Refusal, read, write};

/// Variables that are no options.
const OTHER_VARIABLES: [&str; 3] = [
    FILE_VARIABLE,
    kohort::backend::cpu::SIMD_VARIABLE,
    kohort::backend::gpu::MATRIX_UNITS_VARIABLE,
];
/// Comments begin here at the latest, so that one long value does not push away all others.
const MAX_INDENT: usize = 44;

pub(crate) fn run(args: &ConfigArgs, source: &SourceArgs, output: Output) -> Result<ExitCode> {
    let ConfigCommand::Show(args) = &args.what;
    let (asked, told) = Told::of(args, output);
    match show(&asked, source, &told) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Refusal::Usage(error)) => Ok(told.output.usage(&error).into()),
        Err(Refusal::Error(error)) => Err(error),
    }
}

/// How it is told.
struct Told {
    origin: bool,
    output: Output,
}

impl Told {
    /// The command line to look at, and how to tell of it: `--origin` and `--json` may stand anywhere before a `--`.
    fn of(args: &ShowArgs, output: Output) -> (Vec<OsString>, Self) {
        let mut talk = args.talk;
        let mut origin = args.origin;
        let mut ended = false;
        let mut asked = args.command.clone();
        asked.retain(|word| {
            ended |= word == "--";
            let (is_origin, is_json) = (!ended && word == "--origin", !ended && word == "--json");
            origin |= is_origin;
            talk.json |= is_json;
            !is_origin && !is_json
        });
        let output = if talk.json { Output::new(&talk) } else { output };
        (asked, Self { origin, output })
    }
}

fn show(asked: &[OsString], source: &SourceArgs, told: &Told) -> Result<(), Refusal> {
    let lines = Lines::new();
    let environment = |name: &str| std::env::var_os(name);
    let Some(name) = asked.first() else {
        return Ok(show_all(&lines, source, told)?);
    };
    check_name(&lines.catalog, name)?;
    let mut line = vec![OsString::from("kohort")];
    line.extend(source.config.iter().map(|path| {
        let mut flag = OsString::from("--config=");
        flag.push(path);
        flag
    }));
    line.extend(source.no_config.then(|| "--no-config".into()));
    line.extend_from_slice(asked);
    let Some(mut resolved) = lines.resolve(&line, &environment, |source| read(source, &environment))? else {
        return Ok(());
    };
    match lines.settle(&line, &mut resolved) {
        Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => return Err(error.into()),
        // What is missing is seen as not set.
        _ => {}
    }
    let name = name.to_string_lossy();
    let file = resolved.file.map(|file| file.path.to_string_lossy().into_owned());
    let shown = |setting: &&Setting| !setting.opt.is_hidden || setting.origin != Origin::Default;
    let settings: Vec<&Setting> = resolved.settings.iter().filter(shown).collect();
    told.output.data(&text(&settings, told.origin))?;
    let unset: Vec<&str> = { settings.iter() }
        .filter(|setting| setting.values.is_empty())
        .map(|setting| setting.opt.key.as_str())
        .collect();
    if !unset.is_empty() {
        told.output.note(&format!("not set: {}", unset.join(", ")));
    }
    tell_of_unknown(&lines.catalog, told.output);
    let settings: Map<String, Value> = objects(&settings, "").collect();
    Ok(told
        .output
        .object(&json!({ "file": file, "command": name, "settings": settings }))?)
}

/// What the file and variables set, section by section.
fn show_all(lines: &Lines, source: &SourceArgs, told: &Told) -> Result<()> {
    let environment = |name: &str| std::env::var_os(name);
    let file = read(source, &environment)?;
    let entries = lines.entries(file.as_ref())?;
    let below = Below {
        environment: &environment,
        file: file.as_ref(),
        entries: &entries,
    };
    let (mut all, mut text_of_all) = (Map::new(), String::new());
    for section in [TOP].into_iter().chain(lines.catalog.sections()) {
        let settings = in_section(&lines.catalog, section, &below)?;
        if settings.is_empty() {
            continue;
        }
        let settings: Vec<&Setting> = settings.iter().collect();
        let is_first = text_of_all.is_empty();
        text_of_all += if is_first { "" } else { "\n" };
        if section != TOP {
            text_of_all += &format!("[{section}]\n");
        }
        text_of_all += &text(&settings, told.origin);
        let prefix = if section == TOP {
            String::new()
        } else {
            format!("{section}.")
        };
        all.extend(objects(&settings, &prefix));
    }
    told.output.data(&text_of_all)?;
    let path = file.map(|file| file.path.to_string_lossy().into_owned());
    told.output.note(&match (&path, all.is_empty()) {
        (None, true) => "nothing is set: there is no kohort.toml here, and no KOHORT_ variable".into(),
        (Some(path), true) => format!("nothing is set by {}", escape(path)),
        (_, false) => "all else is at its default: `kohort config show fit` lists every option of a command".into(),
    });
    tell_of_unknown(&lines.catalog, told.output);
    told.output
        .object(&json!({ "file": path, "command": null, "settings": all }))
}

fn check_name(catalog: &Catalog, name: &OsString) -> Result<()> {
    let name = name.to_string_lossy();
    if catalog.command(&name).is_some() {
        return Ok(());
    }
    let known: Vec<&str> = catalog.commands.iter().map(|command| command.name.as_str()).collect();
    Err(Error::InvalidParam {
        param: "COMMAND",
        value: name.into_owned(),
        reason: format!("is none of {}", known.join(", ")),
    })
}

/// Variables that look like ours and mean nothing, most often for a slip in the name.
fn tell_of_unknown(catalog: &Catalog, output: Output) {
    let known = known_variables(catalog);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut unknown: Vec<String> = names
        .filter(|name| name.starts_with("KOHORT_"))
        .filter(|name| !known.contains(name) && !OTHER_VARIABLES.contains(&name.as_str()))
        .collect();
    unknown.sort();
    if !unknown.is_empty() {
        output.note(&format!("no option is named by {}", escape(&unknown.join(", "))));
    }
}

/// Lines of TOML, where asked for with a comment on each that says where it comes from.
pub(super) fn text(settings: &[&Setting], origin: bool) -> String {
    let lines: Vec<(String, &Origin)> = { settings.iter() }
        .filter_map(|setting| Some((write::line(setting)?, &setting.origin)))
        .collect();
    let widths = lines
        .iter()
        .map(|(line, _)| line.width())
        .filter(|width| *width <= MAX_INDENT);
    let indent = widths.max().unwrap_or(0);
    let mut text = String::new();
    for (line, from) in lines {
        text += &line;
        if origin {
            text += &" ".repeat(indent.saturating_sub(line.width()));
            text += &format!("  # {}", comment(from));
        }
        text.push('\n');
    }
    text
}

fn comment(origin: &Origin) -> String {
    match origin {
        Origin::Flag => "flag".into(),
        Origin::Environment(name) => name.clone(),
        Origin::File(place) => place.clone(),
        Origin::Default => "default".into(),
    }
}

/// Each setting under its key, behind `prefix`.
fn objects<'s>(settings: &'s [&'s Setting], prefix: &'s str) -> impl Iterator<Item = (String, Value)> + 's {
    let of_setting = move |setting: &&Setting| {
        let opt = &setting.opt;
        let texts = setting
            .values
            .iter()
            .map(|value| told(&value.to_string_lossy()).into_owned());
        let texts: Vec<String> = texts.collect();
        let scalar = |text: &String| match write::is_number(opt, text) {
            true => serde_json::from_str(text).unwrap_or_default(),
            false => Value::from(text.as_str()),
        };
        let value = match opt.kind {
            Kind::Switch => (texts.first().is_some_and(|on| on == "true")).into(),
            Kind::One => texts.first().map(scalar).unwrap_or_default(),
            Kind::Many => write::items(opt, &texts).iter().map(scalar).collect(),
        };
        let (origin, place) = match &setting.origin {
            Origin::Flag => ("flag", None),
            Origin::Environment(name) => ("environment", Some(name)),
            Origin::File(place) => ("file", Some(place)),
            Origin::Default => ("default", None),
        };
        let value = json!({ "value": value, "origin": origin, "place": place });
        (format!("{prefix}{}", setting.opt.key), value)
    };
    settings.iter().map(of_setting)
}
