//! What a table of scored rows keeps of how it came about: neither ids nor values, but what it takes to tell whether
//! scoring again would give the same.

use std::path::Path;

use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};

use super::{OutFile, SourceRecord, TableFormat, json, names};
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
    /// The format that they were written in.
    #[serde(default)]
    pub table: TableFormat,
    /// `file`, or the column that tells the rows of one file from those of another; none where there is one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_by: Option<String>,
    /// The files of a folder, relative to it, sorted, with `/` between folders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
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
            table: TableFormat::default(),
            partition_by: None,
            files: Vec::new(),
        }
    }

    /// Writes the record of a folder.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write(&self, out: &mut OutFile) -> Result<()> {
        json::write(out, self)
    }

    /// The record of a folder of scored rows; none where it has none that this program reads.
    ///
    /// # Errors
    /// Those of reading.
    pub fn of_folder(folder: &Path) -> Result<Option<Self>> {
        match json::read(&folder.join(names::SCORE), FORMAT, VERSION) {
            Ok(record) => Ok(Some(record)),
            Err(error @ Error::Io { .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// The first file that the record names and that is not in the folder.
    #[must_use]
    pub fn missing_in(&self, folder: &Path) -> Option<&str> {
        let is_missing = |name: &&String| !folder.join(name).is_file();
        self.files.iter().find(is_missing).map(String::as_str)
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
