//! What a run remembers of its input files.

use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::file::{Input, path_text};
use super::objects::Object;
use crate::error::{Error, Result};

/// Bytes read at a time.
const STEP: usize = 1 << 20;

/// One input file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// The path or URL as it was given, without what may be secret.
    pub path: String,
    /// Size of the file.
    pub bytes: u64,
    /// Rows in it.
    pub n_rows: u64,
    /// XXH3-128 of its bytes, 32 hexadecimal digits; none of an object that was read in parts and has an ETag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xxh3_128: Option<String>,
    /// The ETag of an object, where equal ones mean equal bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

impl InputFile {
    /// Reads the whole file for its hash; an object that its ETag stands for is asked for that again instead.
    pub(crate) fn of(input: &Input, n_rows: u64) -> Result<Self> {
        let etag = input.object().and_then(|object| object.etag().map(str::to_owned));
        let xxh3_128 = match (&etag, input.object()) {
            (Some(_), Some(object)) if input.is_remote() => {
                object.unchanged()?;
                None
            }
            _ => Some(hash(input, None)?),
        };
        Ok(Self {
            path: path_text(&input.path),
            bytes: input.bytes,
            n_rows,
            xxh3_128,
            etag,
        })
    }
}

/// What tells whether a file that was read is the one that is there now.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// Its path or URL.
    pub path: &'k str,
    /// Its size.
    pub bytes: u64,
    /// As [`InputFile::xxh3_128`].
    pub xxh3_128: Option<&'k str>,
    /// As [`InputFile::etag`].
    pub etag: Option<&'k str>,
}

impl<'k> From<&'k InputFile> for Known<'k> {
    fn from(file: &'k InputFile) -> Self {
        Self {
            path: &file.path,
            bytes: file.bytes,
            xxh3_128: file.xxh3_128.as_deref(),
            etag: file.etag.as_deref(),
        }
    }
}

impl Known<'_> {
    /// Whether two files are of the same bytes; `None` where nothing is known of both that could tell.
    #[must_use]
    pub fn is_same(&self, other: &Known<'_>) -> Option<bool> {
        if self.bytes != other.bytes {
            return Some(false);
        }
        let by_etag = self.has_etag(other.path, other.etag);
        match (self.xxh3_128, other.xxh3_128) {
            _ if by_etag => Some(true),
            (Some(hash), Some(other)) => Some(hash == other),
            _ if self.path == other.path => Some(false),
            _ => None,
        }
    }

    /// Another object may have the same ETag by chance: it counts for the same URL alone.
    fn has_etag(&self, path: &str, etag: Option<&str>) -> bool {
        self.path == path && self.etag.is_some() && self.etag == etag
    }
}

/// Whether the file or object at `path` has the bytes that are known; nothing of it is decoded, and where the size
/// differs, or an ETag tells, nothing is read. `stop` is asked now and then.
///
/// # Errors
/// Those of opening and reading; [`crate::Error::FileChanged`]; whatever `stop` says.
pub fn is_of_bytes(path: &Path, known: &Known<'_>, stop: Option<fn() -> Result<()>>) -> Result<bool> {
    let (input, _) = Input::open(path)?;
    if input.bytes != known.bytes {
        return Ok(false);
    }
    let etag = input.object().and_then(Object::etag);
    if known.has_etag(&path_text(path), etag) {
        return Ok(true);
    }
    match known.xxh3_128 {
        Some(expected) => Ok(hash(&input, stop)? == expected),
        None => Ok(false),
    }
}

/// XXH3-128 of all bytes.
fn hash(input: &Input, stop: Option<fn() -> Result<()>>) -> Result<String> {
    let check_stop = || stop.map_or(Ok(()), |stop| stop());
    let mut hash = Xxh3::new();
    if let Some(object) = input.object().filter(|_| input.is_remote()) {
        object.stream(&mut |block| {
            hash.update(block);
            check_stop()
        })?;
        return Ok(format!("{:032x}", hash.digest128()));
    }
    let source = input.reopen()?;
    let mut buffer = vec![0; STEP];
    let mut offset = 0;
    loop {
        check_stop()?;
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
            (found.xxh3_128.as_deref(), found.bytes),
            (Some(whole.as_str()), bytes.len() as u64)
        );
        fn known(bytes: u64, hash: &str) -> Known<'_> {
            Known {
                path: "a",
                bytes,
                xxh3_128: Some(hash),
                etag: None,
            }
        }
        let is_of = |bytes: u64, hash: &str| is_of_bytes(file.path(), &known(bytes, hash), None).unwrap();
        assert!(is_of(found.bytes, &whole));
        assert!(!is_of(found.bytes - 1, &whole) && !is_of(found.bytes, &"0".repeat(32)));
        let stopped = is_of_bytes(
            file.path(),
            &known(found.bytes, &whole),
            Some(|| Err(Error::Interrupted)),
        );
        assert!(matches!(stopped, Err(Error::Interrupted)));
        std::fs::write(file.path(), &bytes[1..]).unwrap();
        assert!(matches!(InputFile::of(&input, 5), Err(Error::FileChanged { .. })));
    }

    #[test]
    fn an_etag_counts_for_the_same_url_alone() {
        let known = |path, bytes, xxh3_128, etag| Known {
            path,
            bytes,
            xxh3_128,
            etag,
        };
        let (a, b) = (Some("a"), Some("b"));
        for (then, now, expected) in [
            (known("s3://b/x", 4, None, a), known("s3://b/x", 4, None, a), Some(true)),
            (
                known("s3://b/x", 4, None, a),
                known("s3://b/x", 4, None, b),
                Some(false),
            ),
            (known("s3://b/x", 4, None, a), known("s3://b/y", 4, None, a), None),
            (known("s3://b/x", 4, None, a), known("x", 4, b, None), None),
            (known("s3://b/x", 4, b, a), known("x", 4, b, None), Some(true)),
            (known("s3://b/x", 4, b, a), known("s3://b/x", 4, b, b), Some(true)),
            (
                known("s3://b/x", 4, None, a),
                known("s3://b/x", 5, None, a),
                Some(false),
            ),
            (known("x", 4, a, None), known("y", 4, b, None), Some(false)),
            (known("x", 4, None, None), known("x", 4, None, None), Some(false)),
        ] {
            assert_eq!(then.is_same(&now), expected, "{then:?} {now:?}");
        }
    }
}
