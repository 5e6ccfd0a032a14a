//! `kohort completions`: a script for a shell, from the definition of the command line.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use kohort::Result;

use super::args::{Cli, TalkArgs};
use super::output::Output;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kohort completions bash > ~/.local/share/bash-completion/completions/kohort
  kohort completions zsh > \"${fpath[1]}/_kohort\"
  kohort completions fish > ~/.config/fish/completions/kohort.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

pub(crate) fn run(args: &CompletionsArgs, output: Output) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kohort", &mut script);
    let script = String::from_utf8_lossy(&script);
    output.data(&script)?;
    output.object(&json!({ "shell": args.shell.to_string(), "script": script }))?;
    Ok(ExitCode::SUCCESS)
}
