//! `--isolate`: each file is decoded in a process of its own before this one looks at it.
//!
//! That process runs a command of this program that help does not list. What it finds wrong comes back as an object on
//! its stdout, and is told as if this process had found it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use clap::Args;
use serde::{Deserialize, Serialize};

use kohort::data::{SourceOptions, check_apart, expand, has_query};
use kohort::{Error, ErrorKind, Result};

use super::args::TalkArgs;
use super::progress::check_interrupt;
use super::reading::{ReadArgs, a_delimiter};

/// What stands for stdin among files.
const STDIN: &str = "-";

#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    file: PathBuf,

    #[arg(long, value_parser = a_delimiter)]
    delimiter: Option<u8>,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

/// What a process found wrong with its file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Found {
    message: String,
    hint: Option<String>,
    is_about_input: bool,
}

/// Decodes one file, and says on stdout what is wrong with it, if anything is.
pub(crate) fn decode(args: &DecodeArgs) -> Result<ExitCode> {
    let options = SourceOptions {
        delimiter: args.delimiter,
        stop: Some(check_interrupt),
        ..SourceOptions::default()
    };
    if let Err(error) = check_apart(args.file.clone(), options) {
        let found = Found {
            message: error.to_string(),
            hint: error.hint(),
            is_about_input: error.kind() == ErrorKind::Input,
        };
        serde_json::to_writer(std::io::stdout(), &found).map_err(|error| Error::io("write", "stdout")(error.into()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl ReadArgs {
    /// Looks at every file of DATA in a process of its own, where that is asked for.
    ///
    /// # Errors
    /// What such a process found; [`Error::Corrupt`] for a file that ends it.
    pub(crate) fn check_apart(&self, data: &[String]) -> Result<()> {
        match self.isolate {
            true => self.check_files_apart(&expand(data)?),
            false => Ok(()),
        }
    }

    /// The same of files that were found before.
    pub(crate) fn check_files_apart(&self, files: &[PathBuf]) -> Result<()> {
        if !self.isolate {
            return Ok(());
        }
        let program = std::env::current_exe().map_err(Error::io("find", "kohort"))?;
        for path in files {
            if path.as_os_str() == STDIN {
                return Err(Error::InvalidParam {
                    param: "--isolate",
                    value: STDIN.into(),
                    reason: "is for files; stdin can be read once only: write it to a file".into(),
                });
            }
            if has_query(path) {
                return Err(Error::InvalidParam {
                    param: "--isolate",
                    value: path.to_string_lossy().into_owned(),
                    reason: "was named with a query, which is handed to no other process: download it".into(),
                });
            }
            let mut command = Command::new(&program);
            command.args(["decode-apart", "--quiet", "--no-config"]);
            if let Some(delimiter) = self.delimiter {
                command.args(["--delimiter", &char::from(delimiter).to_string()]);
            }
            run(path, command.arg("--").arg(path))?;
            check_interrupt()?;
        }
        Ok(())
    }
}

/// Runs a process that reads `path`.
fn run(path: &Path, command: &mut Command) -> Result<()> {
    let command = command.stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().map_err(Error::io("start a process for", path))?;
    if !output.status.success() {
        return Err(Error::Corrupt {
            path: path.to_owned(),
            row_group: None,
            column: None,
            reason: format!("it is corrupt, or takes too much to decode: {}", ending(output.status)),
        });
    }
    if output.stdout.is_empty() {
        return Ok(());
    }
    let found: Found = serde_json::from_slice(&output.stdout)
        .map_err(|_| Error::Internal("a process that decoded a file said what it cannot say".into()))?;
    Err(Error::FoundApart {
        message: found.message,
        hint: found.hint,
        is_about_input: found.is_about_input,
    })
}

/// How a process ended that has no exit code.
fn ending(status: ExitStatus) -> String {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal = None::<i32>;
    match signal {
        #[cfg(unix)]
        Some(libc::SIGXCPU) => "the process that decoded it used up its processor time".into(),
        Some(signal) => format!("the process that decoded it was ended by signal {signal}"),
        None => "the process that decoded it failed".into(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn run_shell(script: &str) -> Result<()> {
        run(Path::new("a.parquet"), Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_process_that_crashes_is_an_error_of_its_file() {
        assert!(run_shell("exit 0").is_ok());
        let error = |script| run_shell(script).unwrap_err().to_string();
        let crashed = error("kill -SEGV $$");
        assert!(crashed.starts_with("a.parquet: it is corrupt"), "{crashed}");
        assert!(crashed.ends_with("ended by signal 11"), "{crashed}");
        assert!(error("kill -XCPU $$").ends_with("used up its processor time"));
        assert!(error("exit 2").ends_with("failed"));
    }

    #[test]
    fn what_a_process_finds_is_told() {
        let found = run_shell(r#"echo '{"message":"a.parquet: no","hint":"try","is_about_input":true}'"#).unwrap_err();
        assert_eq!(
            (found.to_string(), found.hint()),
            ("a.parquet: no".into(), Some("try".into()))
        );
        assert_eq!(found.kind(), ErrorKind::Input);
        assert_eq!(run_shell("echo nonsense").unwrap_err().kind(), ErrorKind::Internal);
    }
}
