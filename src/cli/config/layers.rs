//! What a command works with, and who said so: flags win over the environment, that over the file, that over the
//! defaults; and what is said of one command over what is said of all.

use std::ffi::OsString;

use clap::ArgMatches;
use clap::parser::ValueSource;

use kohort::{Error, Result};

use super::Environment;
use super::catalog::{Catalog, CommandOptions, Kind, Opt, TOP, flag_with, negation_id};
use super::file::{ConfigFile, Entry};

/// Who said what an option is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// This variable.
    Environment(String),
    /// The file, here: `kohort.toml:12`.
    File(String),
    /// Nobody.
    Default,
}

/// An option, what it is and who said so.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) opt: Opt,
    /// As typed; `true` or `false` of a switch; nothing where it is not set.
    pub(crate) values: Vec<OsString>,
    pub(crate) origin: Origin,
    /// The less, the more it counts.
    rank: u8,
    /// Where the key stands in the file.
    at: usize,
}

impl Setting {
    /// Whether it says anything, so that it could stand in the way of another.
    pub(super) fn is_on(&self) -> bool {
        match self.values.first() {
            Some(value) => self.opt.kind != Kind::Switch || value != "false",
            None => false,
        }
    }

    /// Whether it is put into the command line.
    pub(super) fn is_injected(&self) -> bool {
        !matches!(self.origin, Origin::Flag | Origin::Default) && self.is_on()
    }

    /// Back to the default.
    pub(super) fn reset(&mut self) {
        *self = default_of(&self.opt);
    }
}

/// The layers below the command line.
pub(super) struct Below<'l> {
    pub(super) environment: Environment<'l>,
    pub(super) file: Option<&'l ConfigFile>,
    pub(super) entries: &'l [Entry],
}

impl Below<'_> {
    pub(super) const NOTHING: Below<'static> = Below {
        environment: &|_| None,
        file: None,
        entries: &[],
    };
}

/// The variable for an option in a section: `KOHORT_FIT_OUT`, `KOHORT_COLUMNS_ID`, `KOHORT_SEED`.
pub(super) fn variable(section: &str, opt: &Opt) -> String {
    let path = match section {
        TOP => opt.key.clone(),
        section => format!("{section}_{}", opt.key),
    };
    format!("KOHORT_{}", path.replace('-', "_").to_uppercase())
}

/// Every option of a command with its value. `typed` is the command line.
///
/// # Errors
/// [`Error::BadSetting`] for variables that cannot be used, and for two settings of one rank that exclude each other.
pub(super) fn resolve(command: &CommandOptions, typed: Option<&ArgMatches>, below: &Below<'_>) -> Result<Vec<Setting>> {
    let settings = command.options.iter().map(|opt| {
        Ok(match typed.and_then(|typed| of_flags(opt, typed)) {
            Some(setting) => setting,
            None => match of_environment(command, opt, below)? {
                Some(setting) => setting,
                None => of_file(command, opt, below).unwrap_or_else(|| default_of(opt)),
            },
        })
    });
    let mut settings: Vec<Setting> = settings.collect::<Result<_>>()?;
    overrule(&mut settings, below.file)?;
    Ok(settings)
}

fn of_flags(opt: &Opt, typed: &ArgMatches) -> Option<Setting> {
    // Where nothing is read from elsewhere there is nothing to turn off either.
    let is_known = |id: &str| typed.try_contains_id(id).is_ok();
    let is_typed = |id: &str| is_known(id) && typed.value_source(id) == Some(ValueSource::CommandLine);
    let values = match opt.kind {
        Kind::Switch if is_typed(&opt.id) => vec!["true".into()],
        Kind::Switch if is_typed(&negation_id(&opt.id)) => vec!["false".into()],
        Kind::One | Kind::Many if is_typed(&opt.id) => typed.get_raw(&opt.id)?.map(Into::into).collect(),
        _ => return None,
    };
    Some(Setting {
        opt: opt.clone(),
        values,
        origin: Origin::Flag,
        rank: 0,
        at: 0,
    })
}

/// The sections that speak of an option of a command, the one that counts more first.
fn sections<'o>(command: &'o CommandOptions, opt: &Opt) -> impl Iterator<Item = &'o str> {
    [command.name.as_str()].into_iter().chain(opt.shared)
}

fn of_environment(command: &CommandOptions, opt: &Opt, below: &Below<'_>) -> Result<Option<Setting>> {
    for (section, rank) in sections(command, opt).zip(1..) {
        if let Some(setting) = of_variable(command, opt, section, below)? {
            return Ok(Some(Setting { rank, ..setting }));
        }
    }
    Ok(None)
}

/// What the variable for an option in a section says.
fn of_variable(command: &CommandOptions, opt: &Opt, section: &str, below: &Below<'_>) -> Result<Option<Setting>> {
    let name = variable(section, opt);
    let Some(value) = (below.environment)(&name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let refuse = |reason: String| Error::BadSetting {
        place: name.clone(),
        reason,
        excerpt: String::new(),
        hint: Some(format!(
            "the variable stands for --{}: unset it, or set it to what the flag takes",
            opt.key
        )),
    };
    let value = match (opt.kind, value.to_str()) {
        (Kind::Switch, Some("true" | "1")) => "true".into(),
        (Kind::Switch, Some("false" | "0")) => "false".into(),
        (Kind::Switch, _) => return Err(refuse("expected true or false".into())),
        _ => value,
    };
    if let Some(reason) = command.refusal(opt, std::slice::from_ref(&value)) {
        return Err(refuse(reason));
    }
    Ok(Some(Setting {
        opt: opt.clone(),
        values: vec![value],
        origin: Origin::Environment(name),
        rank: 1,
        at: 0,
    }))
}

fn of_file(command: &CommandOptions, opt: &Opt, below: &Below<'_>) -> Option<Setting> {
    let mut sections = sections(command, opt).zip(3..);
    sections.find_map(|(section, rank)| {
        Some(Setting {
            rank,
            ..of_entry(opt, section, below)?
        })
    })
}

/// What the file says of an option in a section.
fn of_entry(opt: &Opt, section: &str, below: &Below<'_>) -> Option<Setting> {
    let mut entries = below.entries.iter();
    let entry = entries.find(|entry| entry.section == section && entry.id == opt.id)?;
    Some(Setting {
        opt: opt.clone(),
        values: entry.values.clone(),
        origin: Origin::File(below.file?.place(entry.span.start)),
        rank: 3,
        at: entry.span.start,
    })
}

/// What is set in a section, by a variable or by the file.
///
/// # Errors
/// [`Error::BadSetting`] for variables that cannot be used.
pub(super) fn in_section(catalog: &Catalog, section: &str, below: &Below<'_>) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for (command, opt) in catalog.section(section) {
        let setting = of_variable(command, opt, section, below)?;
        settings.extend(setting.or_else(|| of_entry(opt, section, below)));
    }
    Ok(settings)
}

fn default_of(opt: &Opt) -> Setting {
    let values = match opt.kind {
        Kind::Switch => vec!["false".into()],
        _ => opt.defaults.iter().map(Into::into).collect(),
    };
    Setting {
        opt: opt.clone(),
        values,
        origin: Origin::Default,
        rank: u8::MAX,
        at: 0,
    }
}

/// Of two options that exclude each other, the one that counts less falls back to its default; of two flags clap
/// speaks, and two of the same layer are an error as two flags are.
fn overrule(settings: &mut [Setting], file: Option<&ConfigFile>) -> Result<()> {
    for a in 0..settings.len() {
        for b in 0..a {
            let [first, second] = [&settings[b], &settings[a]];
            let speak = |setting: &Setting| setting.is_on() && setting.origin != Origin::Default;
            if !(speak(first) && speak(second) && first.opt.conflicts_with(&second.opt)) {
                continue;
            }
            match first.rank.cmp(&second.rank) {
                std::cmp::Ordering::Less => settings[a].reset(),
                std::cmp::Ordering::Greater => settings[b].reset(),
                std::cmp::Ordering::Equal if first.origin == Origin::Flag => {}
                std::cmp::Ordering::Equal => return Err(excluded(first, second, file)),
            }
        }
    }
    Ok(())
}

fn excluded(first: &Setting, second: &Setting, file: Option<&ConfigFile>) -> Error {
    let (first, second) = if first.at <= second.at {
        (first, second)
    } else {
        (second, first)
    };
    let reason = |what: &str| format!("`{}` excludes {what}", second.opt.key);
    match (&first.origin, &second.origin, file) {
        (Origin::File(place), Origin::File(_), Some(file)) => {
            let reason = reason(&format!("`{}` ({place})", first.opt.key));
            file.error(second.at..second.at + 1, reason, None)
        }
        (Origin::Environment(other), Origin::Environment(place), _) => Error::BadSetting {
            place: place.clone(),
            reason: reason(other),
            excerpt: String::new(),
            hint: Some("unset one of the two variables".into()),
        },
        _ => Error::Internal("two settings of one layer come from two".into()),
    }
}

/// The command line with everything that other layers say put into it, where clap finds it as if it had been typed.
/// `at` is the place of the command's name.
pub(super) fn inject(line: &[OsString], at: usize, settings: &[Setting]) -> Vec<OsString> {
    let mut full: Vec<OsString> = line[..=at].to_vec();
    let (mut positional, named): (Vec<&Setting>, _) =
        settings.iter().partition(|setting| setting.opt.position.is_some());
    let named: Vec<&Setting> = named;
    for setting in named.into_iter().filter(|setting| setting.is_injected()) {
        match setting.opt.kind {
            Kind::Switch => full.push(format!("--{}", setting.opt.key).into()),
            _ => full.extend(setting.values.iter().map(|value| flag_with(&setting.opt, value))),
        }
    }
    full.extend_from_slice(&line[at + 1..]);
    positional.sort_by_key(|setting| setting.opt.position);
    // One that is missing would get what is meant for the next.
    let there = positional.into_iter().take_while(|setting| setting.is_on());
    let more = there
        .filter(|setting| setting.is_injected())
        .flat_map(|setting| &setting.values);
    let more: Vec<OsString> = more.cloned().collect();
    if !more.is_empty() && !line[at + 1..].iter().any(|arg| arg == "--") {
        full.push("--".into());
    }
    full.extend(more);
    full
}

/// Every variable that names an option.
pub(super) fn known_variables(catalog: &Catalog) -> Vec<String> {
    let sections = [TOP].into_iter().chain(catalog.sections());
    let of_section = |section| { catalog.section(section).into_iter() }.map(move |(_, opt)| variable(section, opt));
    sections.flat_map(of_section).collect()
}
