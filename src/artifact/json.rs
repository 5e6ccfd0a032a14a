//! Versioned JSON files: read with suspicion, written so that people can read them too.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{Formatter, Serializer};

use super::OutFile;
use crate::data::{available_memory, read_small};
use crate::error::{Error, NOT_REGULAR, Result, escape};

/// Largest file that is read or written.
pub(super) const MAX_BYTES: u64 = 512 << 20;
/// What a byte of text becomes in memory, at most: two bytes of a list (`0,`) are a value of any type.
const MEMORY_PER_BYTE: u64 = 16;
/// Files of so many bytes are read whatever memory there is.
const SMALL: u64 = 4 << 20;

/// What tells a file of ours from any other, read before everything else.
#[derive(serde::Deserialize)]
struct Header {
    format: String,
    version: u64,
}

/// Reads a JSON file of the given format and version.
///
/// Only a regular file of at most [`MAX_BYTES`] is read. Unknown and repeated fields, numbers out of range, deep
/// nesting and anything after the end are refused by the parser and by the types.
///
/// # Errors
/// [`Error::ArtifactVersion`] for another version, [`Error::ArtifactInvalid`] for anything else that is not as it
/// must be, [`Error::NotFound`] and [`Error::Io`].
pub(crate) fn read<T: DeserializeOwned>(path: &Path, format: &str, version: u64) -> Result<T> {
    let bytes = read_capped(path, MAX_BYTES)?;
    let parse_error = |error: serde_json::Error| {
        // The parser's own text may quote the file; where it stopped is enough.
        let what = if error.is_data() {
            "unexpected content"
        } else {
            "not valid JSON"
        };
        invalid(
            path,
            format!("{what} at line {}, column {}", error.line(), error.column()),
        )
    };
    let header: Header = serde_json::from_slice(&bytes).map_err(|error| match error.is_data() {
        true => invalid(path, format!("it is not a {format} file")),
        false => parse_error(error),
    })?;
    if header.format != format {
        return Err(invalid(path, format!("it is not a {format} file")));
    }
    if header.version != version {
        return Err(Error::ArtifactVersion {
            path: path.to_owned(),
            found: header.version,
            supported: version,
        });
    }
    serde_json::from_slice(&bytes).map_err(parse_error)
}

fn read_capped(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let refused = |error| match error {
        Error::FileRefused { path, reason } if reason == NOT_REGULAR => invalid(&path, "it is not a regular file"),
        Error::FileRefused { path, .. } => invalid(&path, format!("it is larger than {max_bytes} bytes")),
        error => error,
    };
    let bytes = read_small(path, max_bytes).map_err(refused)?;
    let needed = (bytes.len() as u64).saturating_mul(MEMORY_PER_BYTE);
    if bytes.len() as u64 > SMALL && needed > available_memory() {
        let what = escape(&path.to_string_lossy());
        return Err(Error::OutOfMemory { what, bytes: needed });
    }
    Ok(bytes)
}

/// Writes `value` for people: one field per line, lists on one line.
pub(super) fn write(out: &mut OutFile, value: &impl Serialize) -> Result<()> {
    let mut serializer = Serializer::with_formatter(&mut *out, Readable::default());
    let written = value.serialize(&mut serializer);
    written.map_err(|error| out.error(error))?;
    out.write_all(b"\n").map_err(|error| out.error(error))
}

/// The file meant by a path that may name a run directory.
pub(super) fn file_in(path: &Path, name: &str) -> PathBuf {
    if path.is_dir() {
        path.join(name)
    } else {
        path.to_owned()
    }
}

pub(crate) fn invalid(path: &Path, reason: impl Into<String>) -> Error {
    Error::ArtifactInvalid {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

/// Objects over several lines, arrays on one: lists of numbers stay short.
#[derive(Default)]
struct Readable {
    depth: usize,
    has_value: bool,
}

impl Readable {
    fn new_line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        write!(writer, "\n{:1$}", "", 2 * self.depth)
    }
}

impl Formatter for Readable {
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        writer.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.new_line(writer)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value {
            self.new_line(writer)?;
        }
        writer.write_all(b"}")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::artifact::write_atomic;
    use serde_json::{Value, json};

    fn read_text(text: impl AsRef<[u8]>) -> Result<Value> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        fs::write(&path, text).unwrap();
        read(&path, "kohort-test", 3)
    }

    #[test]
    fn what_is_written_is_readable_and_reads_back() {
        let value = json!({"format": "kohort-test", "version": 3, "empty": {}, "none": [], "numbers": [1, 0.1, -2e300],
            "parts": [{"a": 1}, {"b": {"c": "x"}}]});
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        write_atomic(&path, false, |out| write(out, &value)).unwrap();
        assert_eq!(read::<Value>(&path, "kohort-test", 3).unwrap(), value);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\n  \"numbers\": [1, 0.1, -2e+300]"), "{text}");
        assert!(
            text.contains("\"empty\": {}") && text.contains("\"none\": []"),
            "{text}"
        );
        assert!(text.contains("\"parts\": [{\n    \"a\": 1\n  }, {\n"), "{text}");
    }

    #[test]
    fn only_our_format_and_version_are_read() {
        assert!(read_text(r#"{"format":"kohort-test","version":3}"#).is_ok());
        let newer = read_text(r#"{"format":"kohort-test","version":4,"new":[1]}"#);
        assert!(matches!(
            newer,
            Err(Error::ArtifactVersion {
                found: 4,
                supported: 3,
                ..
            })
        ));
        for text in [
            r#"{"format":"other","version":3}"#,
            r#"{"version":3}"#,
            r#"{"format":"kohort-test"}"#,
            r#"{"format":"kohort-test","version":-3}"#,
            r#"{"format":"kohort-test","version":3.0}"#,
            r#"{"format":"kohort-test","version":3}x"#,
            r#"{"format":"kohort-test","version":3}{}"#,
            r#"{"format":"kohort-test","version":3,"format":"kohort-test"}"#,
            r#"{"format":"kohort-test","version":3,"a":NaN}"#,
            r#"{"format":"kohort-test","version":3,"a":1e999}"#,
            r#"{"format":"kohort-test","version":3"#,
            "[]",
            "",
            "\0\0\0\0",
        ] {
            assert!(matches!(read_text(text), Err(Error::ArtifactInvalid { .. })), "{text}");
        }
        assert!(matches!(read_text([0xff, 0xfe]), Err(Error::ArtifactInvalid { .. })));
        assert!(matches!(
            read_text(format!(
                r#"{{"format":"kohort-test","version":3,"a":{}"#,
                "[".repeat(1_000_000)
            )),
            Err(Error::ArtifactInvalid { .. })
        ));
    }

    #[test]
    fn only_a_regular_file_of_sane_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        assert!(matches!(read_capped(&path, 10), Err(Error::NotFound { .. })));
        assert!(matches!(
            read_capped(folder.path(), 10),
            Err(Error::ArtifactInvalid { .. })
        ));
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(read_capped(&path, 10).unwrap(), b"0123456789");
        assert!(matches!(read_capped(&path, 9), Err(Error::ArtifactInvalid { .. })));
    }
}
