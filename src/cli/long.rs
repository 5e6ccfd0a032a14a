//! Long jobs: checkpoints, going on from one, and ending in time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use kohort::artifact::Checkpoint;
use kohort::data::FileSource;
use kohort::fit::FitOptions;
use kohort::kmeans::{Event, Observer, Standings};
use kohort::run::job_of;
use kohort::select::SweepOptions;
use kohort::{Error, Result};

use super::output::{Output, plural};
use super::progress::{Progress, is_interrupted};

#[derive(Debug, Args)]
#[command(next_help_heading = "Long jobs")]
pub(crate) struct CheckpointArgs {
    /// Keep where the iterations stand in this file, every so often and when interrupted; it is removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,

    /// Go on from the checkpoint, if it is there, to the result that the command would have had without a break
    #[arg(long, requires = "checkpoint")]
    pub(crate) resume: bool,

    /// How often the checkpoint is written, such as 30s, 5min or 1h
    #[arg(long, value_name = "TIME", default_value = "1min", value_parser = a_time, requires = "checkpoint")]
    pub(crate) checkpoint_every: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Long jobs")]
pub(crate) struct MaxTimeArgs {
    /// Make no more iterations (and try no more numbers of segments) after this time, such as 90s, 10min or 2h; what was
    /// found is written as always
    #[arg(long, value_name = "TIME", value_parser = a_time)]
    pub(crate) max_time: Option<Duration>,
}

/// A number of seconds, or of another unit.
fn a_time(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 90s, 10min or 2h".to_owned();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| expected())?;
    let seconds = match unit.trim() {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(expected()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| expected())
}

impl CheckpointArgs {
    /// The checkpoint of a job, where one is asked for.
    pub(crate) fn open(
        &self,
        source: &FileSource,
        options: &FitOptions,
        select: Option<&SweepOptions>,
        output: Output,
    ) -> Result<Option<Checkpoint>> {
        let Some(path) = &self.checkpoint else { return Ok(None) };
        let job = job_of(source, options, select)?;
        let checkpoint = Checkpoint::open(path, job, self.resume, self.checkpoint_every, is_interrupted)?;
        match checkpoint.resumed() {
            (0, _) if self.resume => output.note("no checkpoint yet: begins from the start"),
            (0, _) => {}
            (n_runs, n_iter) => {
                let runs = if n_runs > 1 {
                    format!(" of {n_runs} fits")
                } else {
                    String::new()
                };
                output.note(&format!("goes on after {}{runs}", plural(n_iter as u64, "iteration")));
            }
        }
        Ok(Some(checkpoint))
    }
}

/// Says how to go on where a job with a checkpoint was interrupted.
pub(crate) fn tell_of_checkpoint(error: Error, checkpoint: Option<&Checkpoint>, output: Output) -> Error {
    if let (Error::Interrupted, Some(checkpoint)) = (&error, checkpoint) {
        let path = kohort::error::escape(&checkpoint.path().to_string_lossy());
        output.note(&format!("{path} holds where it stands: go on with --resume"));
    }
    error
}

impl MaxTimeArgs {
    /// When a job that began at `started` is to end.
    pub(crate) fn deadline(&self, started: Instant) -> Option<Instant> {
        started.checked_add(self.max_time?)
    }
}

/// Progress of a job that may be long.
pub(crate) struct LongJob<'l> {
    pub(crate) progress: &'l Progress,
    pub(crate) checkpoint: Option<&'l Checkpoint>,
    pub(crate) deadline: Option<Instant>,
}

impl Observer for LongJob<'_> {
    fn event(&self, event: Event) {
        self.progress.event(event);
    }

    fn counts_moved(&self) -> bool {
        self.progress.counts_moved()
    }

    fn interrupted(&self) -> bool {
        self.progress.interrupted()
    }

    fn time_is_up(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn standings(&self) -> Option<&dyn Standings> {
        self.checkpoint.map(|checkpoint| checkpoint as &dyn Standings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let seconds = |text| a_time(text).map(|time| time.as_secs_f64());
        assert_eq!(seconds("90"), Ok(90.0));
        assert_eq!(seconds("0.5s"), Ok(0.5));
        assert_eq!(seconds("10min"), Ok(600.0));
        assert_eq!(seconds("2 h"), Ok(7200.0));
        assert_eq!(seconds("0"), Ok(0.0));
        for wrong in ["", "s", "-1s", "1w", "1e99", "nan", "inf", "1.2.3"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
