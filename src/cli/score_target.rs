//! Where scored rows go: a file, a folder of files, or stdout.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;

use kohort::artifact::{
    AssignmentTable, PartitionBy, Provenance, RunDir, ScoreRecord, TableFormat, check_output_file, check_output_scored,
    write_atomic, write_stream,
};
use kohort::data::{FileSource, relative_names};
use kohort::{Error, Result};

use super::args::{FormatArg, ScoreArgs};
use super::changed::refuse_stdin;
use super::plan;
use super::progress::check_interrupt;

/// What `--partition-by` calls the files of DATA.
const BY_FILE: &str = "file";
/// What errors call stdout.
const STDOUT: &str = "standard output";

/// Where rows go, and how they are written.
pub(super) struct Target<'a> {
    args: &'a ScoreArgs,
    pub(super) format: TableFormat,
}

impl<'a> Target<'a> {
    /// What the arguments say together.
    pub(super) fn new(args: &'a ScoreArgs) -> Result<Self> {
        let is_stdout = args.out.as_os_str() == "-";
        let refused = |param: &'static str, value: &str, reason: &str| {
            let (value, reason) = (value.into(), reason.into());
            Err(Error::InvalidParam { param, value, reason })
        };
        if is_stdout {
            let given = [
                ("--json", args.talk.json, "puts its own object on stdout"),
                (
                    "--partition-by",
                    args.partition_by.is_some(),
                    "makes files, which stdout cannot hold",
                ),
                (
                    "--if-changed",
                    args.if_changed,
                    "looks at what is there, and nothing is left of stdout",
                ),
                ("--overwrite", args.overwrite, "has nothing to replace"),
            ];
            if let Some((param, _, reason)) = given.into_iter().find(|&(_, given, _)| given) {
                return refused(param, "with --out -", reason);
            }
        }
        let by_name = || TableFormat::by_name(&args.out).filter(|_| args.partition_by.is_none());
        let format = match args.format {
            Some(FormatArg::Parquet) => TableFormat::Parquet,
            Some(FormatArg::Csv) => TableFormat::Csv,
            Some(FormatArg::Jsonl) => TableFormat::Jsonl,
            None if is_stdout => TableFormat::Csv,
            None => by_name().unwrap_or_default(),
        };
        if is_stdout && format == TableFormat::Parquet && io::stdout().is_terminal() {
            return refused(
                "--format",
                "parquet",
                "is not for a terminal; redirect it, or take csv or jsonl",
            );
        }
        if args.if_changed {
            refuse_stdin(&args.data)?;
        }
        if args.if_changed && args.partition_by.is_none() && format != TableFormat::Parquet {
            let reason = "text keeps no record of how it was made; write Parquet, or a folder with --partition-by";
            return refused("--if-changed", &format!("with a {} file", format.ending()), reason);
        }
        Ok(Self { args, format })
    }

    pub(super) fn is_stdout(&self) -> bool {
        self.args.out.as_os_str() == "-"
    }

    fn out(&self) -> &'a Path {
        &self.args.out
    }

    pub(super) fn partition_by(&self) -> Option<&'a str> {
        self.args.partition_by.as_deref()
    }

    /// What was scored there earlier.
    pub(super) fn earlier(&self) -> Result<Option<ScoreRecord>> {
        match self.partition_by() {
            Some(_) => ScoreRecord::of_folder(self.out()),
            None => ScoreRecord::of_file(self.out()),
        }
    }

    /// Refuses an output that could not be put in place later.
    pub(super) fn check(&self, overwrite: bool) -> Result<()> {
        match self.partition_by() {
            _ if self.is_stdout() => Ok(()),
            Some(_) => check_output_scored(self.out(), overwrite),
            None => {
                check_output_file(self.out(), overwrite)?;
                plan::check_not_input(self.out(), &self.args.data)
            }
        }
    }

    /// The names of the files, in the order of those of DATA, where there is one for each.
    pub(super) fn names(&self) -> Result<Option<Vec<String>>> {
        if self.partition_by() != Some(BY_FILE) {
            return Ok(None);
        }
        let inputs = relative_names(&self.args.data)?;
        let named = |input: &String| Path::new(input).with_extension(self.format.ending());
        let names: Vec<String> = inputs
            .iter()
            .map(|input| named(input).to_string_lossy().into_owned())
            .collect();
        let mut sorted: Vec<(&String, &String)> = names.iter().zip(&inputs).collect();
        sorted.sort();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let reason = format!("two files of DATA would both become {}", pair[0].0);
            return Err(Error::InvalidParam {
                param: "--partition-by",
                value: BY_FILE.into(),
                reason: reason + "; name a folder above both, or give each a run of its own",
            });
        }
        Ok(Some(names))
    }

    /// Refuses a column that rows cannot be spread by.
    pub(super) fn check_column(&self, source: &FileSource, ids: &[usize], has_paths: bool) -> Result<()> {
        match self.partition_by() {
            None | Some(BY_FILE) => Ok(()),
            Some(column) => AssignmentTable::check_partition(source, ids, has_paths, column),
        }
    }

    /// Writes the rows; the number of files, and of texts that were marked as no formulas.
    pub(super) fn write(
        &self,
        table: &AssignmentTable<'_>,
        source: &FileSource,
        mut record: ScoreRecord,
        overwrite: bool,
    ) -> Result<(usize, u64)> {
        if self.is_stdout() {
            let write = |out: &mut _| table.write_as(self.format, out, &Provenance::of_score(record));
            return match write_stream(stdout()?, Path::new(STDOUT), write) {
                // A reader who left has what it wanted.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok((1, 0)),
                written => Ok((1, written?)),
            };
        }
        record.table = self.format;
        let Some(column) = self.partition_by() else {
            let n_formulas = write_atomic(self.out(), overwrite, |out| {
                let n_formulas = table.write_as(self.format, out, &Provenance::of_score(record))?;
                check_interrupt()?;
                Ok(n_formulas)
            });
            return Ok((1, n_formulas?));
        };
        let by = match self.names()? {
            Some(names) => PartitionBy::Files(names.into_iter().zip(source.rows_of_files()).collect()),
            None => PartitionBy::Column(column.to_owned()),
        };
        let dir = RunDir::create_scored(self.out(), overwrite)?;
        let provenance = Provenance::of_fit(record.labels_hash.clone(), record.model_hash.clone());
        let written = table.write_parts(self.format, &dir, &by, &provenance)?;
        let n_files = written.files.len();
        record.partition_by = Some(column.to_owned());
        record.files = written.files;
        dir.write(kohort::artifact::names::SCORE, |out| record.write(out))?;
        check_interrupt()?;
        dir.commit()?;
        Ok((n_files, written.n_formulas))
    }
}

/// Stdout as a file, unbuffered.
fn stdout() -> Result<File> {
    #[cfg(unix)]
    let handle = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned();
    #[cfg(windows)]
    let handle = std::os::windows::io::AsHandle::as_handle(&io::stdout()).try_clone_to_owned();
    handle.map(File::from).map_err(Error::io("write", STDOUT))
}
