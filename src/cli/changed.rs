//! `--if-changed`: whether what is there already is what would come out, so that nothing has to be done.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use kohort::artifact::{RunRecord, ScoreRecord, SweepRecord, names};
use kohort::data::{SourceOptions, expand};
use kohort::error::escape;
use kohort::fit::FitOptions;
use kohort::run::{Difference, Reading, Scoring, difference_of_run, difference_of_score, difference_of_sweep};
use kohort::select::SweepOptions;
use kohort::{Error, Result};

use super::output::Output;
use super::progress::check_interrupt;

/// Exit code where there was nothing to do.
const UNCHANGED: u8 = 99;

/// The output that a run might not have to make again.
#[derive(Clone, Copy)]
pub(super) struct Standing<'s> {
    pub(super) out: &'s Path,
    pub(super) data: &'s [String],
    pub(super) source: &'s SourceOptions,
    pub(super) output: Output,
}

impl Standing<'_> {
    /// The exit code of a fit that is not made, where the run that is there is the one it would give.
    pub(super) fn of_run(&self, options: &FitOptions, select: Option<&SweepOptions>) -> Result<Option<ExitCode>> {
        let record = || RunRecord::load(self.out);
        self.of_folder(&names::ALL, record, |record, now| {
            difference_of_run(record, now, options, select)
        })
    }

    /// The same of a sweep.
    pub(super) fn of_sweep(&self, options: &FitOptions, select: &SweepOptions) -> Result<Option<ExitCode>> {
        let record = || SweepRecord::load(self.out);
        self.of_folder(&names::ALL_OF_SWEEP, record, |record, now| {
            difference_of_sweep(record, now, options, select)
        })
    }

    /// The same of scoring, with the record of the table that is there.
    pub(super) fn of_score(&self, record: &ScoreRecord, scoring: &Scoring<'_>) -> Result<Option<ExitCode>> {
        let missing = record
            .missing_in(self.out)
            .map(|name| Difference::Incomplete(name.to_owned()));
        self.held_against(missing, |now| difference_of_score(record, now, scoring))
    }

    fn of_folder<R>(
        &self,
        files: &[&'static str],
        load: impl FnOnce() -> Result<R>,
        difference: impl FnOnce(&R, &Reading<'_>) -> Result<Option<Difference>>,
    ) -> Result<Option<ExitCode>> {
        if !self.out.is_dir() {
            self.data_as_files()?;
            return Ok(None);
        }
        let record = match load() {
            Err(error @ Error::Io { .. }) => return Err(error),
            // Whether that may be replaced is seen later.
            Err(_) => return Ok(None),
            Ok(record) => record,
        };
        let missing = files.iter().find(|name| !self.out.join(name).is_file());
        let missing = missing.map(|name| Difference::Incomplete((*name).to_owned()));
        self.held_against(missing, |now| difference(&record, now))
    }

    fn held_against(
        &self,
        found: Option<Difference>,
        difference: impl FnOnce(&Reading<'_>) -> Result<Option<Difference>>,
    ) -> Result<Option<ExitCode>> {
        let files = self.data_as_files()?;
        let options = SourceOptions {
            stop: Some(check_interrupt),
            ..self.source.clone()
        };
        let now = Reading {
            files: &files,
            options: &options,
        };
        let difference = match found {
            Some(found) => Some(found),
            None => difference(&now)?,
        };
        let out = escape(&self.out.to_string_lossy());
        let Some(difference) = difference else {
            let same = "the same files, settings and version of kohort";
            self.output
                .note(&format!("nothing has changed: {out} was made with {same}"));
            let object = json!({ "changed": false, "out": self.out.to_string_lossy(), "exit_code": UNCHANGED });
            self.output.object(&object)?;
            return Ok(Some(UNCHANGED.into()));
        };
        self.output.note(&format!("{out} is made again: {difference}"));
        Ok(None)
    }

    /// The files that DATA names.
    fn data_as_files(&self) -> Result<Vec<std::path::PathBuf>> {
        refuse_stdin(self.data)?;
        expand(self.data)
    }
}

/// Refuses data of which nothing is known before it is read.
pub(super) fn refuse_stdin(data: &[String]) -> Result<()> {
    if data.iter().any(|data| data == "-") {
        return Err(Error::InvalidParam {
            param: "--if-changed",
            value: "with - for stdin".into(),
            reason: "what a pipe gives is only known once it is read; name files".into(),
        });
    }
    Ok(())
}
