//! Ways of bytes from outside into this program, as functions that take any bytes and panic where a promise is broken:
//! that every input is read or refused with one clear error, and that what was read once is read the same again.
//!
//! The fuzz targets in `fuzz/` run these functions, and so does a test, on the same seeds and mutations of them.

mod files;
mod mutation;
mod records;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use files::{csv, filter, input, tiles};
pub use mutation::Mutations;
pub use records::{model, run_files};

use crate::error::Error;

/// Bytes of a message, at most: a few names of columns and files, no data.
const MOST_MESSAGE: usize = 16 << 10;

/// Hands the path of a file with these bytes, and a name that ends like this, to `use_it`.
fn with_file<T>(bytes: &[u8], ending: &str, use_it: impl FnOnce(&Path) -> T) -> T {
    let named = tempfile::Builder::new().prefix("bytes-").suffix(ending).tempfile();
    let file = named.expect("a folder for temporary files");
    std::fs::write(file.path(), bytes).expect("room for temporary files");
    use_it(file.path())
}

/// Whether an error is one of the input: neither a defect of this program, nor one that floods a terminal.
///
/// # Panics
/// If it is not.
pub fn check_error(error: &Error) {
    let text = error.to_string();
    assert!(!matches!(error, Error::Internal(_) | Error::Io { .. }), "{text}");
    assert!(text.len() <= MOST_MESSAGE, "a message of {} bytes", text.len());
    let is_hostile = |c: char| c.is_control() && c != '\n';
    assert!(
        !text.contains(is_hostile),
        "a message with control characters: {text:?}"
    );
    let hint = error.hint().unwrap_or_default();
    assert!(!hint.contains(is_hostile), "a hint with control characters: {hint:?}");
}
