//! Where options come from: the command line, `KOHORT_*` variables, `kohort.toml`, defaults, in this order.
//!
//! A file, like a variable, only ever says what could have been typed: its values are put into the command line before
//! clap parses it, so that every option has one parser and one check, and every flag can stand in a file.

mod args;
mod catalog;
mod excerpt;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod layers;
mod show;
#[cfg(test)]
mod tests;
mod values;
mod write;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use kohort::artifact::ConfigRecord;
use kohort::{Error, Result};

use super::args::{Cli, Names};
use catalog::{COLUMNS, Catalog, TOP, with_negations};
use file::{ConfigFile, Entry};
use layers::{Below, Origin, Setting, inject, resolve};

pub(crate) use args::{ConfigArgs, ConfigCommand, SourceArgs};
pub(crate) use file::{MAX_BYTES, NAME};
#[cfg(feature = "fuzzing")]
pub(crate) use fuzz::fuzz;
pub(crate) use show::run;
pub(crate) use write::{key, quoted};

/// The variable that names the file, as `--config` does.
const FILE_VARIABLE: &str = "KOHORT_CONFIG";

/// Variables by their name.
type Environment<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// Why there are no arguments to run with.
pub(crate) enum Refusal {
    /// clap's word on what was typed, or the help that was asked for.
    Usage(clap::Error),
    /// A file or a variable that cannot be used.
    Error(Error),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A command with every option from wherever it comes.
struct Resolved {
    settings: Vec<Setting>,
    file: Option<ConfigFile>,
    /// The command line that says it all.
    line: Vec<OsString>,
}

/// What this process was configured with.
static IN_USE: OnceLock<Resolved> = OnceLock::new();

/// Parses a command line together with what the environment and a file add to it.
///
/// # Errors
/// Whatever clap refuses; a file or a variable that cannot be used.
pub(crate) fn parse(line: Vec<OsString>) -> Result<Cli, Refusal> {
    let lines = Lines::new();
    let environment = |name: &str| std::env::var_os(name);
    let Some(mut resolved) = lines.resolve(&line, &environment, |source| read(source, &environment))? else {
        return Ok(lines.cli(line)?);
    };
    let cli = lines.settle(&line, &mut resolved)?;
    // A process parses its command line once.
    let _ = IN_USE.set(resolved);
    Ok(cli)
}

/// Command lines, as clap sees them.
struct Lines {
    clap: clap::Command,
    catalog: Catalog,
}

impl Lines {
    fn new() -> Self {
        Self::of(Cli::command())
    }

    fn of(cli: clap::Command) -> Self {
        let catalog = Catalog::new(cli.clone());
        let clap = with_negations(cli, &catalog);
        Self { clap, catalog }
    }

    fn cli(&self, line: Vec<OsString>) -> Result<Cli, clap::Error> {
        let mut clap = self.clap.clone();
        let matches = clap.try_get_matches_from_mut(line)?;
        Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut clap))
    }

    /// The arguments that come out. A setting that was not typed and needs another that is not there, such as
    /// `overwrite` without `out`, is put aside: it was meant for other runs.
    fn settle(&self, line: &[OsString], resolved: &mut Resolved) -> Result<Cli, clap::Error> {
        loop {
            let error = match self.cli(resolved.line.clone()) {
                Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => error,
                result => return result,
            };
            let Some(idle) = self.idle(line, resolved, &missing(&error)) else {
                return Err(error);
            };
            resolved.settings[idle].reset();
            resolved.line = inject(line, self.command_at(line), &resolved.settings);
        }
    }

    /// A setting that was not typed, for whose sake one of the arguments in `missed` is missing.
    fn idle(&self, line: &[OsString], resolved: &Resolved, missed: &[String]) -> Option<usize> {
        let at = self.command_at(line);
        let missing_with = |settings: &[Setting]| match self.cli(inject(line, at, settings)) {
            Err(error) => missing(&error),
            Ok(_) => Vec::new(),
        };
        let anyway = missing_with(&[]);
        resolved.settings.iter().position(|setting| {
            setting.opt.position.is_none() && setting.is_injected() && {
                let mut missing = missing_with(std::slice::from_ref(setting)).into_iter();
                missing.any(|name| missed.contains(&name) && !anyway.contains(&name))
            }
        })
    }

    /// The options of the command in `line`; nothing for commands that cannot be configured. `read` gives the file.
    fn resolve(
        &self,
        line: &[OsString],
        environment: Environment<'_>,
        read: impl FnOnce(&SourceArgs) -> Result<Option<ConfigFile>>,
    ) -> Result<Option<Resolved>, Refusal> {
        let typed = self.typed(line)?;
        let Some((name, typed)) = typed.subcommand() else {
            return Ok(None);
        };
        if let Some(command) = self.catalog.unconfigured(name) {
            let settings = resolve(command, Some(typed), &Below::NOTHING)?;
            let line = line.to_vec();
            return Ok(Some(Resolved {
                settings,
                file: None,
                line,
            }));
        }
        let Some(command) = self.catalog.command(name) else {
            return Ok(None);
        };
        let file = read(&SourceArgs::from_arg_matches(typed)?)?;
        let entries = self.entries(file.as_ref())?;
        let below = Below {
            environment,
            file: file.as_ref(),
            entries: &entries,
        };
        let settings = resolve(command, Some(typed), &below)?;
        let line = inject(line, self.command_at(line), &settings);
        Ok(Some(Resolved { settings, file, line }))
    }

    fn entries(&self, file: Option<&ConfigFile>) -> Result<Vec<Entry>> {
        file.map_or_else(|| Ok(Vec::new()), |file| file.entries(&self.catalog))
    }

    /// What was typed: a file may still give what is required, so that this alone is no error yet.
    fn typed(&self, line: &[OsString]) -> Result<ArgMatches, clap::Error> {
        match self.clap.clone().try_get_matches_from(line) {
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
                self.clap.clone().ignore_errors(true).try_get_matches_from(line)
            }
            result => result,
        }
    }

    /// The place of the command's name, in a line that has one: behind the program's own options and their values.
    fn command_at(&self, line: &[OsString]) -> usize {
        let takes_value = |word: &str| {
            let mut args = self.clap.get_arguments();
            args.any(|arg| arg.get_action().takes_values() && arg.get_long() == word.strip_prefix("--"))
        };
        let mut at = 1;
        while let Some(word) = line
            .get(at)
            .map(|word| word.to_string_lossy())
            .filter(|word| word.starts_with('-'))
        {
            at += if takes_value(&word) { 2 } else { 1 };
        }
        at.min(line.len() - 1)
    }
}

/// The arguments that an error finds missing, as clap writes them.
fn missing(error: &clap::Error) -> Vec<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(names))) => names.clone(),
        _ => Vec::new(),
    }
}

/// The file that counts, if there is one.
fn read(source: &SourceArgs, environment: Environment<'_>) -> Result<Option<ConfigFile>> {
    find(source, environment)
        .map(|path| ConfigFile::read(&path))
        .transpose()
}

/// The file that is asked for, or the one in the working directory.
fn find(source: &SourceArgs, environment: Environment<'_>) -> Option<PathBuf> {
    if source.no_config {
        return None;
    }
    let asked = || {
        environment(FILE_VARIABLE)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    };
    let found = || Path::new(NAME).symlink_metadata().is_ok().then(|| NAME.into());
    source.config.clone().or_else(asked).or_else(found)
}

/// Key and line of what was typed of the keys of several commands: about columns, or the others. `but` names the keys
/// to leave out.
pub(crate) fn typed(about_columns: bool, but: &[&str]) -> Vec<(String, String)> {
    let section = if about_columns { COLUMNS } else { TOP };
    let settings = IN_USE.get().map_or(&[][..], |resolved| &resolved.settings);
    let typed = settings.iter().filter(|setting| setting.opt.shared == Some(section));
    let typed = typed.filter(|setting| setting.origin == Origin::Flag && !but.contains(&setting.opt.key.as_str()));
    typed
        .filter_map(|setting| Some((setting.opt.key.clone(), write::line(setting)?)))
        .collect()
}

/// Whether a text could be used as a file.
///
/// # Errors
/// [`Error::BadSetting`] for the first thing that is wrong with it.
pub(crate) fn check(text: &str) -> Result<()> {
    ConfigFile::of_text(NAME.into(), text.to_owned())
        .entries(&Lines::new().catalog)
        .map(drop)
}

/// What a record keeps of the file in use.
pub(crate) fn record() -> Option<ConfigRecord> {
    Some(IN_USE.get()?.file.as_ref()?.record())
}

/// `kohort.toml` or whatever file is in use.
pub(crate) fn path() -> Option<PathBuf> {
    Some(IN_USE.get()?.file.as_ref()?.path.clone())
}

/// Where the option was set that an error speaks of, if that was not typed: ` (features: kohort.toml:12)`.
pub(crate) fn blame(error: &Error) -> Option<String> {
    let holds = |setting: &Setting, text: &str| {
        let mut values = setting.values.iter().filter_map(|value| value.to_str());
        values.any(|value| match value.parse::<Names>() {
            Ok(names) if setting.opt.is_names => Names::flatten(&[names]).iter().any(|name| is_about(name, text)),
            _ => is_about(value, text),
        })
    };
    let is_meant = |setting: &&Setting| match error {
        Error::InvalidParam { param, .. } => setting.opt.id == *param,
        Error::ColumnNotFound { column, .. } | Error::ColumnUnusable { column, .. } => holds(setting, column),
        Error::NotFound { path } => holds(setting, &path.to_string_lossy()),
        Error::NoFiles { pattern } => holds(setting, pattern),
        Error::OutputExists { path } | Error::OutputFolderMissing { path, .. } => {
            holds(setting, &path.to_string_lossy())
        }
        _ => false,
    };
    if let Error::InData { error, .. } = error {
        return blame(error);
    }
    let setting = IN_USE.get()?.settings.iter().find(is_meant)?;
    match &setting.origin {
        Origin::File(place) => Some(format!(" ({}: {place})", setting.opt.key)),
        Origin::Environment(name) => Some(format!(" ({}: {name})", setting.opt.key)),
        Origin::Flag | Origin::Default => None,
    }
}

/// Whether a value is this name, or says something of it: `age=mean`.
fn is_about(value: &str, name: &str) -> bool {
    value == name || value.rsplit_once('=').is_some_and(|(column, _)| column == name)
}
