//! What a Parquet file says about itself besides its columns.

use std::path::Path;

use super::file::Input;
use super::gate;
use crate::error::Result;

/// The text under `key` in the metadata of a Parquet file that passes the gate.
///
/// # Errors
/// Those of opening a file and of the gate.
pub fn key_value(path: &Path, key: &str) -> Result<Option<String>> {
    let (_, source) = Input::open(path)?;
    let admitted = gate::admit(path, &source, false)?;
    let pairs = admitted.metadata.file_metadata().key_value_metadata();
    let found = pairs.into_iter().flatten().find(|pair| pair.key == key);
    Ok(found.and_then(|pair| pair.value.clone()))
}
