//! `--isolate`: each file is decoded in a process of its own before this one looks at it.
//!
//! That process is given the same command line, and a variable with the file: it gets as far as opening DATA, decodes
//! the file instead, and ends. What it finds wrong, it says itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio, exit};

use kohort::data::{SourceOptions, check_apart, expand};
use kohort::{Error, Result};

use super::progress::check_interrupt;
use super::reading::ReadArgs;

/// The variable that names the file to such a process.
const FILE_VARIABLE: &str = "_KOHORT_ISOLATED_FILE";

/// What stands for stdin among files.
const STDIN: &str = "-";

impl ReadArgs {
    /// Looks at every file of DATA in a process of its own, where that is asked for. Does not come back in such a process.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a file that ends its process; in that process those of opening and decoding.
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
        if let Some(path) = std::env::var_os(FILE_VARIABLE) {
            let options = SourceOptions {
                delimiter: self.delimiter,
                stop: Some(check_interrupt),
                ..SourceOptions::default()
            };
            check_apart(PathBuf::from(path), options)?;
            exit(0);
        }
        let program = std::env::current_exe().map_err(Error::io("find", "kohort"))?;
        let line: Vec<OsString> = std::env::args_os().skip(1).collect();
        for path in files {
            if path.as_os_str() == STDIN {
                return Err(Error::InvalidParam {
                    param: "--isolate",
                    value: STDIN.into(),
                    reason: "is for files; stdin can be read once only: write it to a file".into(),
                });
            }
            let mut command = Command::new(&program);
            command.args(&line).env(FILE_VARIABLE, path).stdin(Stdio::null());
            match run(path, &mut command)? {
                0 => {}
                // It has said what is wrong, as this process would have.
                code => exit(code),
            }
        }
        Ok(())
    }
}

/// The exit code of a process that reads `path`.
fn run(path: &Path, command: &mut Command) -> Result<i32> {
    let status = command.status().map_err(Error::io("start a process for", path))?;
    status.code().ok_or_else(|| Error::Corrupt {
        path: path.to_owned(),
        row_group: None,
        column: None,
        reason: format!("it is corrupt, or takes too much to decode: {}", ending(status)),
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
        None => "the process that decoded it was ended".into(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn run_shell(script: &str) -> Result<i32> {
        run(Path::new("a.parquet"), Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_process_that_crashes_is_an_error_of_its_file() {
        assert_eq!(run_shell("exit 0").unwrap(), 0);
        assert_eq!(run_shell("exit 2").unwrap(), 2);
        let error = |script| run_shell(script).unwrap_err().to_string();
        let crashed = error("kill -SEGV $$");
        assert!(crashed.starts_with("a.parquet: it is corrupt"), "{crashed}");
        assert!(crashed.ends_with("ended by signal 11"), "{crashed}");
        assert!(error("kill -XCPU $$").ends_with("used up its processor time"));
    }
}
