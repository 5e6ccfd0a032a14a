//! What is typed about configuration.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::super::args::TalkArgs;

/// Which file is read, for every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct SourceArgs {
    /// Take what is not typed from this file, as `kohort config --help` says [default: kohort.toml in the working
    /// directory, where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Read no file
    #[arg(long, global = true, conflicts_with = "config")]
    pub(crate) no_config: bool,
}

const CONFIG_HELP: &str = "Flags win over KOHORT_* variables, these over kohort.toml, that over the defaults.

  # kohort.toml: keys are long flags; paths count from the folder of the file
  data = \"accounts/*.parquet\"
  seed = 7

  [columns]                        # for every command that takes columns
  id = \"account_id\"
  exclude = [\"tmp_*\", \"notes\"]
  missing = { age = \"mean\" }
  block = { usage = \"usage_*\", firm = [\"size\", \"sector\"] }

  [fit]                            # for one command, and any of its flags
  k = 5
  out = \"segments\"

Variables are named like keys: KOHORT_SEED, KOHORT_COLUMNS_ID, KOHORT_FIT_OUT. KOHORT_CONFIG names the file, as \
--config does. A switch that a file turns on is turned off by --no-SWITCH, such as --no-overwrite. \
`kohort init DATA` writes a file to start from.";

#[derive(Debug, Args)]
#[command(after_help = CONFIG_HELP)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) what: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print what a command would work with, as lines of kohort.toml, and who said so
    Show(ShowArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kohort config show               what is set for any command
  kohort config show fit           every option of a fit
  kohort config show --origin fit -k 5 --seed 7")]
pub(crate) struct ShowArgs {
    /// Say of each option where its value comes from
    #[arg(long)]
    pub(crate) origin: bool,

    /// A command such as fit, with flags if you like [default: all, but only what is set]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}
