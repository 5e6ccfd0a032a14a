//! Files that runs leave behind, which may come from anywhere when they are read again.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};

use super::{check_error, with_file};
use crate::artifact::{OutFile, ProfileRecord, RunRecord, SweepRecord, model_file, write_atomic};
use crate::backend::cpu::CpuBackend;
use crate::data::MemorySource;
use crate::error::Result;
use crate::model::Model;
use crate::report::Report;

/// Rows that a model is asked about.
const ROWS: usize = 70;
/// Centroid coordinates and features, at most, of a model that is asked.
const MOST_COORDINATES: usize = 1 << 14;

/// What `load` makes of a file with these bytes.
fn loaded<T>(bytes: &[u8], load: impl FnOnce(&Path) -> Result<T>) -> Option<T> {
    match with_file(bytes, ".json", load) {
        Ok(value) => Some(value),
        Err(error) => {
            check_error(&error);
            None
        }
    }
}

/// Whether what was loaded is written as something that loads as the same; `Err` where it is too large to be written.
fn reloaded<T>(write: impl FnOnce(&mut OutFile) -> Result<()>, load: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("again.json");
    write_atomic(&path, false, write)?;
    load(&path)
}

/// A model file: as it is, and as a forger would leave it, with a checksum that is right. What is loaded is written and
/// loaded as the same, and says of every row which segment it belongs to, or which column it misses.
pub fn model(bytes: &[u8]) {
    let forged = model_file::with_its_checksum(bytes);
    for bytes in [Some(bytes), forged.as_deref()].into_iter().flatten() {
        let Some(model) = loaded(bytes, model_file::load) else {
            continue;
        };
        let again = reloaded(|out| model_file::write(out, &model), model_file::load);
        assert!(
            again.expect("a model that was loaded") == model,
            "another model is written"
        );
        if model.centroids.n_clusters() * model.centroids.n_features() <= MOST_COORDINATES {
            ask(&model);
        }
    }
}

/// Scores rows in a table that the model fits.
fn ask(model: &Model) {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    let types = model.preparation.likely_types();
    let names = { model.preparation.features.iter() }
        .map(|feature| &feature.column)
        .chain(&model.id_columns);
    for name in names {
        if !columns.iter().any(|(known, _)| known == name) {
            let likely = types.iter().find(|(column, _)| column == name);
            columns.push((name.clone(), cells(likely.map(|(_, data_type)| data_type))));
        }
    }
    let fields = { columns.iter() }.map(|(name, array)| Field::new(name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(schema, arrays).expect("columns of one length");
    let source = MemorySource::new(vec![batch]).expect("one batch");
    let backend = CpuBackend::new(1).expect("a thread");
    match model.score(&source, &backend, 1 << 12) {
        Ok(scored) => {
            let n_segments = model.n_segments() as u32;
            assert_eq!(scored.assignment.labels.len(), ROWS);
            assert!(scored.assignment.labels.iter().all(|&label| label < n_segments));
        }
        Err(error) => check_error(&error),
    }
}

/// Values of a type, of all magnitudes, and a few missing.
fn cells(data_type: Option<&DataType>) -> ArrayRef {
    let rows = || (0..ROWS).map(|i| (i % 9 != 0).then_some(i as i64));
    match data_type {
        Some(DataType::Boolean) => Arc::new(rows().map(|i| i.map(|i| i % 2 == 0)).collect::<BooleanArray>()),
        Some(DataType::Utf8) => Arc::new(
            rows()
                .map(|i| i.map(|i| ["basic", "pro", ""][i as usize % 3]))
                .collect::<StringArray>(),
        ),
        Some(DataType::Timestamp(..)) => Arc::new(
            rows()
                .map(|i| i.map(|i| (i - 30).pow(9)))
                .collect::<TimestampMicrosecondArray>(),
        ),
        Some(DataType::Time64(_)) => Arc::new(
            rows()
                .map(|i| i.map(|i| i * 1_000_000))
                .collect::<Time64MicrosecondArray>(),
        ),
        _ => Arc::new(
            rows()
                .map(|i| i.map(|i| (i - 30) as f64 * 10f64.powi(i as i32 - 40)))
                .collect::<Float64Array>(),
        ),
    }
}

/// What stands between the files that [`run_files`] takes.
const BETWEEN: u8 = 0;

/// The record of a run, of its profile, of a sweep, and a model, with zero bytes between them, in any order. Each that
/// loads is written and loaded as the same; where they are of one run, its report is drawn.
pub fn run_files(bytes: &[u8]) {
    let (mut run, mut profile, mut model) = (None, None, None);
    for bytes in bytes.split(|&byte| byte == BETWEEN) {
        if let Some(record) = loaded(bytes, RunRecord::load) {
            let again = reloaded(|out| record.write(out), RunRecord::load);
            assert!(
                again.expect("a record that was loaded") == record,
                "another record is written"
            );
            run = Some(record);
        } else if let Some(record) = loaded(bytes, ProfileRecord::load) {
            let again = reloaded(|out| record.write(out), ProfileRecord::load);
            assert!(
                again.expect("a record that was loaded") == record,
                "another record is written"
            );
            profile = Some(record);
        } else if let Some(record) = loaded(bytes, SweepRecord::load) {
            let again = reloaded(|out| record.write(out), SweepRecord::load);
            assert!(
                again.expect("a record that was loaded") == record,
                "another record is written"
            );
        } else {
            let forged = model_file::with_its_checksum(bytes);
            model = forged.and_then(|bytes| loaded(&bytes, model_file::load)).or(model);
        }
    }
    if let (Some(run), Some(profile), Some(model)) = (&run, &profile, &model)
        && let Ok(report) = Report::new(run, profile, model)
    {
        let (page, text) = (report.html(), report.markdown());
        let lower = page.to_lowercase();
        assert!(
            !lower.contains("<script") && !lower.contains("<img"),
            "live markup in a report"
        );
        assert!(page.len() < 1 << 20, "a page of {} bytes", page.len());
        let is_hostile = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        assert!(
            !page.contains(is_hostile) && !text.contains(is_hostile),
            "control characters in a report"
        );
    }
}
