//! What a table of scored rows keeps of how it came about: neither ids nor values, but what it takes to tell whether
//! scoring again would give the same.

use std::path::Path;

use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};

use super::SourceRecord;
use crate::data::{InputFile, key_value};
use crate::error::{Error, Result};

const FORMAT: &str = "kohort-score";
const VERSION: u64 = 1;

/// Under this key a Parquet file says which run, by its `labels_hash`, it is of.
const LABELS_KEY: &str = "kohort.labels_hash";
/// Under this one, by which model.
const MODEL_KEY: &str = "kohort.model_hash";
/// Under this one, how rows were scored.
const SCORE_KEY: &str = "kohort.score";

/// A scoring, as its output holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreRecord {
    /// Always `kohort-score`.
    pub format: String,
    /// Version of this format.
    pub version: u64,
    /// The program that scored.
    pub kohort_version: String,
    /// The model, see [`super::model_file::hash`].
    pub model_hash: String,
    /// Over id (or row number) and segment of every row.
    pub labels_hash: String,
    /// The files that were scored, in the order read.
    pub inputs: Vec<InputFile>,
    /// How they became a table, where they were not read as they are.
    #[serde(default, skip_serializing_if = "SourceRecord::is_plain")]
    pub source: SourceRecord,
}

impl ScoreRecord {
    /// Of rows scored by this program.
    #[must_use]
    pub fn new(model_hash: String, labels_hash: String, inputs: Vec<InputFile>, source: SourceRecord) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            kohort_version: env!("CARGO_PKG_VERSION").into(),
            model_hash,
            labels_hash,
            inputs,
            source,
        }
    }

    /// The record in a Parquet file; none in a file of another program or version, or in what is no Parquet file.
    ///
    /// # Errors
    /// Those of reading.
    pub fn of_file(path: &Path) -> Result<Option<Self>> {
        let text = match key_value(path, SCORE_KEY) {
            Err(error @ Error::Io { .. }) => return Err(error),
            found => found.ok().flatten(),
        };
        let record: Option<Self> = text.and_then(|text| serde_json::from_str(&text).ok());
        Ok(record.filter(|record| (record.format.as_str(), record.version) == (FORMAT, VERSION)))
    }
}

/// Where a table of assignments comes from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Provenance {
    /// The run's `labels_hash`.
    pub labels_hash: Option<String>,
    /// The model, see [`super::model_file::hash`].
    pub model_hash: Option<String>,
    /// How rows were scored, where that was not part of a fit.
    pub score: Option<ScoreRecord>,
}

impl Provenance {
    /// Of the rows of a fit.
    #[must_use]
    pub fn of_fit(labels_hash: String, model_hash: String) -> Self {
        Self {
            labels_hash: Some(labels_hash),
            model_hash: Some(model_hash),
            score: None,
        }
    }

    /// Of rows that a model scored.
    #[must_use]
    pub fn of_score(record: ScoreRecord) -> Self {
        Self {
            labels_hash: Some(record.labels_hash.clone()),
            model_hash: Some(record.model_hash.clone()),
            score: Some(record),
        }
    }

    pub(super) fn key_values(&self) -> Result<Vec<KeyValue>> {
        let score = self.score.as_ref().map(serde_json::to_string).transpose();
        let score = score.map_err(|error| Error::Internal(format!("a record cannot be written as JSON: {error}")))?;
        let pairs = [
            (LABELS_KEY, &self.labels_hash),
            (MODEL_KEY, &self.model_hash),
            (SCORE_KEY, &score),
        ];
        let told = pairs.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
        Ok(told.map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect())
    }
}
