//! A file read in a process that may end: what hostile bytes do to a decoder beyond an error or a panic (a stack that
//! overflows, memory that runs out) ends that process alone.

use std::path::PathBuf;

use super::file::Input;
use super::limits::restrain;
use super::{BatchSource, FileSource, SourceOptions};
use crate::error::Result;

/// Seconds of processor time that any file may take, and more for each of its mebibytes.
const CPU_SECONDS: u64 = 60;
const CPU_SECONDS_PER_MIB: u64 = 2;
/// Threads that decode.
const THREADS: usize = 2;

/// Puts limits on this process (half of the memory that can still be had, processor time by the size of the file), then
/// opens a file and decodes all of its columns that can be read at all. Nothing is kept of them.
///
/// For a process of its own: the limits stay. Where the system knows no limits, there are none.
///
/// # Errors
/// Those of [`FileSource::open_with`] and of reading.
pub fn check_apart(path: PathBuf, options: SourceOptions) -> Result<()> {
    let bytes = Input::open(&path)?.0.bytes;
    restrain(CPU_SECONDS.saturating_add((bytes >> 20).saturating_mul(CPU_SECONDS_PER_MIB)));
    let source = FileSource::open_with(&[path], THREADS, options)?;
    source.scan(&source.readable_columns(), &mut |_, _| Ok(()))
}
