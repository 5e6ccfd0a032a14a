//! What a run remembers of its input files.

use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::file::{Input, path_text};
use crate::error::{Error, Result};

/// Bytes read at a time.
const STEP: usize = 1 << 20;

/// One input file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// The path as it was given.
    pub path: String,
    /// Size of the file.
    pub bytes: u64,
    /// Rows in it.
    pub n_rows: u64,
    /// XXH3-128 of its bytes, 32 hexadecimal digits.
    pub xxh3_128: String,
}

impl InputFile {
    /// Reads the whole file for its hash.
    pub(crate) fn of(input: &Input, n_rows: u64) -> Result<Self> {
        Ok(Self {
            path: path_text(&input.path),
            bytes: input.identity.bytes,
            n_rows,
            xxh3_128: hash(input, None)?,
        })
    }
}

/// Whether the file at `path` has so many bytes and this hash, see [`InputFile`]; nothing of it is decoded, and where the
/// size differs nothing is read. `stop` is asked now and then.
///
/// # Errors
/// Those of opening and reading; [`Error::FileChanged`]; whatever `stop` says.
pub fn is_of_bytes(path: &Path, bytes: u64, xxh3_128: &str, stop: Option<fn() -> Result<()>>) -> Result<bool> {
    let (input, _) = Input::open(path)?;
    Ok(input.identity.bytes == bytes && hash(&input, stop)? == xxh3_128)
}

/// XXH3-128 of all bytes.
fn hash(input: &Input, stop: Option<fn() -> Result<()>>) -> Result<String> {
    let source = input.reopen()?;
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; STEP];
    let mut offset = 0;
    loop {
        stop.map_or(Ok(()), |stop| stop())?;
        let n = source
            .read_at(offset, &mut buffer)
            .map_err(Error::io("read", &input.path))?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        offset += n as u64;
    }
    input.unchanged()?;
    Ok(format!("{:032x}", hash.digest128()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_all_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..3 * STEP + 17).map(|i| (i * i % 251) as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let (input, _) = Input::open(file.path()).unwrap();
        let found = InputFile::of(&input, 5).unwrap();
        let whole = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes));
        assert_eq!(
            (found.xxh3_128.as_str(), found.bytes),
            (whole.as_str(), bytes.len() as u64)
        );
        let is_of = |bytes: u64, hash: &str| is_of_bytes(file.path(), bytes, hash, None).unwrap();
        assert!(is_of(found.bytes, &whole));
        assert!(!is_of(found.bytes - 1, &whole) && !is_of(found.bytes, &"0".repeat(32)));
        let stopped = is_of_bytes(file.path(), found.bytes, &whole, Some(|| Err(Error::Interrupted)));
        assert!(matches!(stopped, Err(Error::Interrupted)));
        std::fs::write(file.path(), &bytes[1..]).unwrap();
        assert!(matches!(InputFile::of(&input, 5), Err(Error::FileChanged { .. })));
    }
}
