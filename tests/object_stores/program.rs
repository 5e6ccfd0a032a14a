//! The program in a folder of its own, and what comes out of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kohort::artifact::{RunRecord, model_file};
use tempfile::TempDir;

/// A folder in which the program runs, with nothing in its environment that stores are found by but what is set here.
pub(crate) struct Program {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// What tells whether two fits are the same.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Results {
    pub(crate) labels_hash: String,
    pub(crate) model_hash: String,
    pub(crate) n_rows: u64,
}

impl Program {
    pub(crate) fn new(variables: &[(String, String)]) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            variables: variables.to_vec(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kohort"));
        command.args(args).current_dir(self.dir.path());
        for (name, _) in std::env::vars() {
            if ["AWS_", "AZURE_", "AZURITE_", "GOOGLE_"]
                .iter()
                .any(|start| name.starts_with(start))
            {
                command.env_remove(name);
            }
        }
        command.env_remove("KOHORT_REQUIRE_GPU").env("LC_ALL", "C");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        Said::from(self.command(args).output().unwrap())
    }

    /// Runs the program, which must do what it is asked.
    pub(crate) fn runs(&self, args: &[&str]) -> Said {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {}", said.stderr);
        said
    }

    /// Fits, on the CPU, and gives what came out.
    pub(crate) fn fit(&self, data: &[&str], more: &[&str], out: &str) -> Results {
        let options = ["--device", "cpu", "--quiet", "-k", "3", "--out", out];
        self.runs(&[&["fit"], data, &options, more].concat());
        self.results(out)
    }

    pub(crate) fn results(&self, run: &str) -> Results {
        let record = RunRecord::load(&self.path(run)).unwrap();
        let model = model_file::load(&self.path(run)).unwrap();
        Results {
            labels_hash: record.labels_hash,
            model_hash: model_file::hash(&model).unwrap(),
            n_rows: record.n_rows,
        }
    }

    /// All that was written below the folder, as one text.
    pub(crate) fn everything_written(&self) -> Vec<u8> {
        fn add(folder: &Path, all: &mut Vec<u8>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    add(&path, all);
                } else {
                    all.extend(path.to_str().unwrap().bytes());
                    all.extend(std::fs::read(&path).unwrap());
                }
            }
        }
        let mut all = Vec::new();
        add(self.dir.path(), &mut all);
        all
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    /// Checks an error: its exit code and its first line.
    #[track_caller]
    pub(crate) fn is_error(&self, code: i32, line: &str) {
        let first = self.stderr.lines().find(|line| line.starts_with("error:"));
        assert_eq!((self.code, first), (code, Some(line)), "{}", self.stderr);
    }
}
