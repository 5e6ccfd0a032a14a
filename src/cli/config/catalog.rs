//! Every option of every command as clap defines it, and the one key under which it stands in a file. Nothing is
//! listed by hand, so that a new flag can be set like any other.

use std::any::TypeId;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{StyledStr, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction};

use super::super::args::Names;

/// The place of keys that several commands share, besides [`COLUMNS`]: the top of the file.
pub(super) const TOP: &str = "";
/// The section of what several commands are told about columns.
pub(super) const COLUMNS: &str = "columns";
/// What help lists under these headings belongs there.
const COLUMN_HEADINGS: [&str; 2] = ["Columns", "Preparation"];
/// Commands that take nothing from anywhere: they show files, write one, or print what is always the same.
const UNCONFIGURED: [&str; 4] = ["completions", "config", INIT, "help"];
const INIT: &str = "init";
/// The command whose options other commands share.
const FIT: &str = "fit";
/// Options that are the same wherever help says the same of them, under whatever heading.
const SAME_BY_HELP: [&str; 2] = ["data", "threads"];

/// How an option takes values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// None: it is on or off.
    Switch,
    /// One.
    One,
    /// Any number.
    Many,
}

/// An option of a command.
#[derive(Debug, Clone)]
pub(crate) struct Opt {
    /// clap's name.
    pub(crate) id: String,
    /// The key in a file: the long flag, or the name of a positional argument.
    pub(crate) key: String,
    /// Other spellings of the flag.
    pub(super) aliases: Vec<String>,
    /// The section for all commands that have it, [`TOP`] or [`COLUMNS`], where there is one.
    pub(super) shared: Option<&'static str>,
    pub(super) kind: Kind,
    /// A number would be a mistake.
    pub(super) is_text: bool,
    /// A path: relative ones count from the folder of the file.
    pub(super) is_path: bool,
    /// A comma inside a name is written `\,`.
    pub(crate) is_names: bool,
    /// Values are `NAME=VALUE`.
    pub(super) takes_pairs: bool,
    /// The place of a positional argument, from 1.
    pub(super) position: Option<usize>,
    pub(super) defaults: Vec<String>,
    pub(super) is_hidden: bool,
    /// What it cannot stand beside, by clap's names.
    conflicts: Vec<String>,
}

impl Opt {
    pub(super) fn conflicts_with(&self, other: &Self) -> bool {
        self.conflicts.contains(&other.id) || other.conflicts.contains(&self.id)
    }

    /// Of positional arguments.
    pub(super) fn comes_before(&self, other: &Self) -> bool {
        self.position.is_some() && self.position < other.position
    }

    fn is_called(&self, key: &str) -> bool {
        self.key == key || self.aliases.iter().any(|alias| alias == key)
    }
}

/// A command and its options.
#[derive(Debug)]
pub(crate) struct CommandOptions {
    pub(crate) name: String,
    pub(crate) options: Vec<Opt>,
    clap: clap::Command,
}

/// All commands that can be configured.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) commands: Vec<CommandOptions>,
    /// The command that writes down what it was told.
    init: Option<CommandOptions>,
}

impl Catalog {
    /// Of the whole command line.
    pub(crate) fn new(mut cli: clap::Command) -> Self {
        cli.build();
        let configured = |command: &&clap::Command| !UNCONFIGURED.contains(&command.get_name());
        let commands: Vec<&clap::Command> = cli.get_subcommands().filter(configured).collect();
        let sharing = Sharing::new(&commands);
        let of_command = |command: &&clap::Command| CommandOptions {
            name: command.get_name().to_owned(),
            options: own_args(command).map(|arg| option(command, arg, &sharing)).collect(),
            clap: (*command).clone(),
        };
        Self {
            commands: commands.iter().map(of_command).collect(),
            init: cli.find_subcommand(INIT).as_ref().map(of_command),
        }
    }

    pub(crate) fn command(&self, name: &str) -> Option<&CommandOptions> {
        self.commands.iter().find(|command| command.name == name)
    }

    /// A command that is told everything by flags, by its name.
    pub(super) fn unconfigured(&self, name: &str) -> Option<&CommandOptions> {
        self.init.as_ref().filter(|command| command.name == name)
    }

    /// Names of all sections.
    pub(super) fn sections(&self) -> Vec<&str> {
        let commands = self.commands.iter().map(|command| command.name.as_str());
        [COLUMNS].into_iter().chain(commands).collect()
    }

    /// All options that can stand in a section, each once, with a command that has it.
    pub(super) fn section(&self, section: &str) -> Vec<(&CommandOptions, &Opt)> {
        if let Some(command) = self.command(section) {
            return command.options.iter().map(|opt| (command, opt)).collect();
        }
        let mut found: Vec<(&CommandOptions, &Opt)> = Vec::new();
        for command in &self.commands {
            for opt in command.options.iter().filter(|opt| opt.shared == Some(section)) {
                if !found.iter().any(|(_, other)| other.key == opt.key) {
                    found.push((command, opt));
                }
            }
        }
        found
    }

    /// The option that `key` means in a section.
    pub(super) fn find(&self, section: &str, key: &str) -> Option<(&CommandOptions, &Opt)> {
        let mut options = self.section(section).into_iter();
        options.find(|(_, opt)| opt.is_called(key))
    }

    /// The sections in which `key` means something.
    pub(super) fn homes(&self, key: &str) -> Vec<&str> {
        let sections = [TOP].into_iter().chain(self.sections());
        sections.filter(|section| self.find(section, key).is_some()).collect()
    }
}

impl CommandOptions {
    #[cfg(test)]
    pub(super) fn clap(&self) -> &clap::Command {
        &self.clap
    }

    /// Why clap refuses these values of an option, if it does: nothing else of the command line is looked at.
    pub(super) fn refusal(&self, opt: &Opt, values: &[OsString]) -> Option<String> {
        let mut clap = self.clap.clone();
        let mut line = vec![OsString::from("kohort")];
        match (opt.kind, opt.position) {
            (Kind::Switch, _) => return None,
            (_, None) => line.extend(values.iter().map(|value| flag_with(opt, value))),
            (_, Some(_)) => {
                line.push("--".into());
                // Any text will do for what stands before it.
                for before in self.options.iter().filter(|other| other.comes_before(opt)) {
                    clap = clap.mut_arg(before.id.clone(), |arg| arg.value_parser(ValueParser::os_string()));
                    line.push("x".into());
                }
                line.extend(values.iter().cloned());
            }
        }
        let error = clap.try_get_matches_from(line).err()?;
        let of_value = matches!(
            error.kind(),
            ErrorKind::InvalidValue
                | ErrorKind::ValueValidation
                | ErrorKind::InvalidUtf8
                | ErrorKind::TooManyValues
                | ErrorKind::TooFewValues
                | ErrorKind::WrongNumberOfValues
        );
        of_value.then(|| reason(&error))
    }
}

/// `--key=value`.
pub(super) fn flag_with(opt: &Opt, value: &OsString) -> OsString {
    let mut flag = OsString::from(format!("--{}=", opt.key));
    flag.push(value);
    flag
}

/// What clap's error about a value says of it.
fn reason(error: &clap::Error) -> String {
    if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue)
        && !valid.is_empty()
    {
        let near = match error.get(ContextKind::SuggestedValue) {
            Some(ContextValue::String(near)) => format!("; did you mean {near}?"),
            _ => String::new(),
        };
        return format!("expected one of {}{near}", valid.join(", "));
    }
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None if error.kind() == ErrorKind::InvalidUtf8 => "is not valid UTF-8".into(),
        None => "a value is required".into(),
    }
}

/// The arguments of a command that are its own: not what prints help, and not what says which file is read.
fn own_args(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    let prints = |action: &ArgAction| {
        use ArgAction::{Help, HelpLong, HelpShort, Version};
        matches!(action, Help | HelpLong | HelpShort | Version)
    };
    let args = command.get_arguments();
    args.filter(move |arg| !arg.is_global_set() && !prints(arg.get_action()))
}

fn option(command: &clap::Command, arg: &Arg, sharing: &Sharing<'_>) -> Opt {
    let value_name = arg.get_value_names().and_then(|names| names.first());
    let value_name = value_name.map_or("", |name| name.as_str());
    let type_id = arg.get_value_parser().type_id();
    let is_names = type_id == TypeId::of::<Names>();
    let is_path = type_id == TypeId::of::<PathBuf>();
    let is_data = value_name == "DATA";
    let kind = match arg.get_action() {
        ArgAction::SetTrue => Kind::Switch,
        ArgAction::Append => Kind::Many,
        _ => Kind::One,
    };
    let defaults = arg.get_default_values().iter();
    Opt {
        id: arg.get_id().to_string(),
        key: key_of(arg),
        aliases: arg
            .get_all_aliases()
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect(),
        shared: sharing.section(arg),
        kind,
        is_text: is_path || is_data || (is_names && !value_name.contains(['N', '='])),
        is_path: is_path || is_data || arg.get_id() == "init",
        is_names,
        takes_pairs: kind == Kind::Many && value_name.contains('='),
        position: arg.get_index(),
        defaults: match kind {
            Kind::Switch => Vec::new(),
            _ => defaults.map(|value| value.to_string_lossy().into_owned()).collect(),
        },
        is_hidden: arg.is_hide_set(),
        conflicts: conflicts(command, arg),
    }
}

/// What an argument cannot stand beside: what it excludes, and the others of a group of which one is to be chosen.
fn conflicts(command: &clap::Command, arg: &Arg) -> Vec<String> {
    let id = arg.get_id();
    let choices = command.get_groups().filter(|group| !(*group).clone().is_multiple());
    let choices = choices.filter(|group| group.get_args().any(|member| member == id));
    let others = choices
        .flat_map(|group| group.get_args())
        .filter(|member| *member != id);
    let excluded = command.get_arg_conflicts_with(arg).into_iter().map(Arg::get_id);
    excluded.chain(others).map(|other| other.to_string()).collect()
}

fn key_of(arg: &Arg) -> String {
    match arg.get_long() {
        Some(long) => long.to_owned(),
        None => arg.get_id().as_str().replace('_', "-"),
    }
}

/// Which options of a command are those of a fit, so that one key sets them for all: those that help describes alike,
/// under the same heading.
struct Sharing<'c> {
    /// The options of a fit that another command has as well.
    shared: HashMap<&'c str, Described<'c>>,
}

/// Heading and text of an option in the help.
#[derive(Debug, PartialEq, Eq)]
struct Described<'c> {
    heading: Option<&'c str>,
    text: String,
}

impl<'c> Described<'c> {
    fn of(arg: &'c Arg) -> Self {
        Self {
            heading: arg.get_help_heading(),
            text: arg.get_help().map(StyledStr::to_string).unwrap_or_default(),
        }
    }

    /// Options without a heading are a command's own, but for a few.
    fn is_same(&self, other: &Self, id: &str) -> bool {
        let same_place = self.heading.is_some() && self.heading == other.heading;
        self.text == other.text && (same_place || SAME_BY_HELP.contains(&id))
    }
}

impl<'c> Sharing<'c> {
    fn new(commands: &[&'c clap::Command]) -> Self {
        let (fit, others): (Vec<&clap::Command>, _) = commands.iter().partition(|command| command.get_name() == FIT);
        let others: Vec<&clap::Command> = others;
        let is_taken = |id: &str, of_fit: &Described<'_>| {
            let mut args = others.iter().flat_map(|command| command.get_arguments());
            args.any(|arg| arg.get_id() == id && of_fit.is_same(&Described::of(arg), id))
        };
        let args = fit.into_iter().flat_map(|fit| fit.get_arguments());
        Self {
            shared: { args.map(|arg| (arg.get_id().as_str(), Described::of(arg))) }
                .filter(|(id, of_fit)| is_taken(id, of_fit))
                .collect(),
        }
    }

    fn section(&self, arg: &Arg) -> Option<&'static str> {
        let id = arg.get_id().as_str();
        let of_fit = self.shared.get(id)?;
        let is_of_columns = of_fit.heading.is_some_and(|heading| COLUMN_HEADINGS.contains(&heading));
        let section = if is_of_columns { COLUMNS } else { TOP };
        of_fit.is_same(&Described::of(arg), id).then_some(section)
    }
}

/// The command line with a hidden `--no-x` for every switch `--x`, which turns off what a file turned on; for a
/// switch `--no-y` it is `--y`.
pub(super) fn with_negations(mut cli: clap::Command, catalog: &Catalog) -> clap::Command {
    for command in &catalog.commands {
        let switches = command.options.iter().filter(|opt| opt.kind == Kind::Switch);
        let negations: Vec<Arg> = switches.map(negation).collect();
        cli = cli.mut_subcommand(&command.name, |clap| clap.args(negations));
    }
    cli
}

fn negation(opt: &Opt) -> Arg {
    // clap keeps names as long as the program runs, and there are few.
    let id: &'static str = negation_id(&opt.id).leak();
    let long: &'static str = match opt.key.strip_prefix("no-") {
        Some(key) => key.to_owned().leak(),
        None => format!("no-{}", opt.key).leak(),
    };
    Arg::new(id)
        .long(long)
        .action(ArgAction::SetTrue)
        .hide(true)
        .overrides_with(clap::Id::from(opt.id.clone().leak() as &'static str))
}

/// clap's name for what turns a switch off.
pub(super) fn negation_id(id: &str) -> String {
    format!("not {id}")
}
