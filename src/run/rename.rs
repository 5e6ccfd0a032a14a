//! New names for the segments of a run, and its reports drawn again.

use std::io::Write;
use std::path::Path;

use crate::artifact::json::invalid;
use crate::artifact::{Claim, ProfileRecord, RunDir, RunRecord, model_file, names};
use crate::error::{Error, Result};
use crate::report::Report;

/// Most characters of a name that is given.
const MOST_CHARS: usize = 120;

/// Names segments (numbers from 1) of the run in a directory; its record, its model and its reports have the new names once
/// this has returned, and everything else stays as it is. `stop` is asked a last time before that.
///
/// # Errors
/// [`Error::InvalidParam`] for a segment that is not there or named twice, and for a name that is empty, too long or
/// another segment's; those of reading the run's files; whatever `stop` says. The run is as it was then.
pub fn rename(run: &Path, new: &[(i32, String)], stop: impl FnOnce() -> Result<()>) -> Result<RunRecord> {
    if !run.is_dir() {
        return Err(invalid(run, "it is no run directory"));
    }
    let _claim = Claim::new(run)?;
    let mut record = RunRecord::load(run)?;
    let mut model = model_file::load(run)?;
    let content = ProfileRecord::load(run).map_err(|error| match error {
        Error::NotFound { path } => invalid(&path, "it is not there: older versions wrote none"),
        other => other,
    })?;
    name_segments(&mut record, new)?;
    if model.segment_names.len() != record.segments.len() {
        return Err(invalid(run, "its model has another number of segments than its record"));
    }
    for (name, segment) in model.segment_names.iter_mut().zip(&record.segments) {
        (name.name, name.is_draft) = (segment.name.clone(), segment.name_is_draft);
    }
    let report = Report::new(&record, &content, &model).map_err(|_| invalid(run, "its files are not of one run"))?;
    let dir = RunDir::create(run, true).map_err(|error| match error {
        Error::OutputForeign { path, reason } => invalid(&path, format!("it cannot be replaced: {reason}")),
        other => other,
    })?;
    for (name, text) in [(names::REPORT, report.html()), (names::REPORT_SHORT, report.markdown())] {
        dir.write(name, |out| {
            out.write_all(text.as_bytes()).map_err(|error| out.error(error))
        })?;
    }
    dir.write(names::MODEL, |out| model_file::write(out, &model))?;
    dir.write(names::RUN, |out| record.write(out))?;
    dir.take_over_the_rest()?;
    stop()?;
    dir.commit()?;
    Ok(record)
}

fn name_segments(record: &mut RunRecord, new: &[(i32, String)]) -> Result<()> {
    let refused = |value: String, reason: String| {
        Err(Error::InvalidParam {
            param: "name",
            value,
            reason,
        })
    };
    let n_segments = record.segments.len();
    for (at, (number, name)) in new.iter().enumerate() {
        if new[..at].iter().any(|(other, _)| other == number) {
            return refused(number.to_string(), "this segment is named twice".into());
        }
        let Some(segment) = { record.segments.iter_mut() }.find(|segment| segment.segment == *number) else {
            return refused(
                number.to_string(),
                format!("the run has the segments 1 to {n_segments}"),
            );
        };
        let name = name.trim();
        if name.is_empty() || name.chars().count() > MOST_CHARS {
            return refused(name.into(), format!("a name has 1 to {MOST_CHARS} characters"));
        }
        (segment.name, segment.name_is_draft) = (name.to_owned(), false);
    }
    for (at, segment) in record.segments.iter().enumerate() {
        if let Some(other) = record.segments[..at].iter().find(|other| other.name == segment.name) {
            let reason = format!(
                "segments {} and {} would have this name",
                other.segment, segment.segment
            );
            return refused(segment.name.clone(), reason);
        }
    }
    Ok(())
}
