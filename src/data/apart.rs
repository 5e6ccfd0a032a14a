//! A file read in a process that may end: what hostile bytes do to a decoder beyond an error or a panic (a stack that
//! overflows, memory that runs out) ends that process alone.

use std::path::{Path, PathBuf};

use arrow::datatypes::DataType;

use super::file::{Input, state_at};
use super::limits::restrain;
use super::{BatchSource, FileSource, SourceOptions};
use crate::error::{Error, Result};

/// Seconds of processor time that any file may take, and more for each of its mebibytes.
const CPU_SECONDS: u64 = 60;
const CPU_SECONDS_PER_MIB: u64 = 2;
/// Threads that decode.
const THREADS: usize = 2;

/// A file that is to be decoded apart, or was, as it is then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedFile {
    /// Its path.
    pub path: PathBuf,
    /// What tells its state from any other: a text without meaning of its own, to be handed to another process.
    pub state: String,
}

impl DecodedFile {
    /// The file as it is now.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn now(path: &Path) -> Result<Self> {
        let state = state_at(path)?;
        Ok(Self {
            path: path.into(),
            state,
        })
    }
}

/// Puts limits on this process (half of the memory that can still be had and at most `memory` bytes, processor time by
/// the size of the file), then opens a file and decodes all of its columns that can be read at all, in each way that
/// columns are decoded. Nothing is kept of them.
///
/// For a process of its own: the limits stay. Where the system knows no limits, there are none.
///
/// # Errors
/// [`Error::FileChanged`] where the file is not in the state that was named, or does not stay in it; those of
/// [`FileSource::open_with`] and of reading.
pub fn check_apart(file: DecodedFile, memory: Option<u64>, options: SourceOptions) -> Result<()> {
    let bytes = Input::open(&file.path)?.0.bytes;
    let cpu_seconds = CPU_SECONDS.saturating_add((bytes >> 20).saturating_mul(CPU_SECONDS_PER_MIB));
    restrain(memory.unwrap_or(u64::MAX), cpu_seconds);
    decode(&file, options)
}

fn decode(file: &DecodedFile, options: SourceOptions) -> Result<()> {
    let options = SourceOptions {
        decoded: vec![file.clone()],
        ..options
    };
    let source = FileSource::open_with(std::slice::from_ref(&file.path), THREADS, options)?;
    let columns = source.readable_columns();
    source.scan(&columns, &mut |_, _| Ok(()))?;
    // Texts may be handed on in dictionaries, and are decoded in another way then.
    let is_text = |&column: &usize| {
        let data_type = source.schema().field(column).data_type();
        matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    };
    let texts: Vec<usize> = columns.into_iter().filter(is_text).collect();
    source.scan_slabs(&texts, THREADS, &|_| Ok(()))?;
    match DecodedFile::now(&file.path) {
        Ok(now) if now == *file => Ok(()),
        _ => Err(Error::FileChanged {
            path: file.path.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn write(path: &Path, text: &str, modified: SystemTime) {
        std::fs::write(path, text).unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(modified).unwrap();
    }

    #[test]
    fn a_file_that_is_no_longer_what_was_decoded_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let then = SystemTime::now() - std::time::Duration::from_secs(100);
        write(&path, "x,y\n1,2\n3,4\n", then);
        let seen = DecodedFile::now(&path).unwrap();
        let open = |decoded: &[DecodedFile]| {
            let options = SourceOptions {
                decoded: decoded.to_vec(),
                ..SourceOptions::default()
            };
            FileSource::open_with(std::slice::from_ref(&path), 1, options).map(|source| source.n_rows())
        };
        assert_eq!(open(std::slice::from_ref(&seen)).unwrap(), 2);
        // Of the same length and time, and even written into the same place.
        write(&path, "x,y\n5,6\n7,8\n", then);
        let is_refused =
            |seen: &DecodedFile| matches!(open(std::slice::from_ref(seen)), Err(Error::FileChanged { .. }));
        assert!(is_refused(&seen));
        assert!(open(&[]).is_ok());
        let other = folder.path().join("b.csv");
        write(&other, "x,y\n5,6\n7,8\n", then);
        let seen = DecodedFile::now(&path).unwrap();
        assert!(!is_refused(&seen));
        std::fs::rename(&other, &path).unwrap();
        assert!(is_refused(&seen));
        // A process that is to decode another state than there is says so, before it decodes.
        let decoded = decode(&seen, SourceOptions::default());
        assert!(matches!(decoded, Err(Error::FileChanged { .. })), "{decoded:?}");
    }
}
