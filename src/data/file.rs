//! One input file or object, opened without blocking and never mistaken for another: its identity is taken when it is first
//! seen and compared whenever it is looked at again.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::objects::{Object, Reading};
use super::url::is_remote;
use crate::error::{Error, NOT_REGULAR, Result};

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    bytes: u64,
    modified: Option<SystemTime>,
    inode: (u64, u64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = {
            use std::os::unix::fs::MetadataExt;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let inode = (0, 0);
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            inode,
        }
    }
}

/// What tells one state of a file from another more strictly than its [`Identity`], as a text that processes can hand
/// each other: whoever writes to it, sets its times or puts another in its place changes it, but so does who gives it
/// another name.
fn state(metadata: &Metadata) -> String {
    let Identity { bytes, modified, inode } = Identity::of(metadata);
    let modified = modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    #[cfg(unix)]
    let changed = {
        use std::os::unix::fs::MetadataExt;
        (metadata.ctime(), metadata.ctime_nsec())
    };
    #[cfg(not(unix))]
    let changed = (0, 0);
    let modified = modified.unwrap_or_default().as_nanos();
    format!("{bytes}-{modified}-{}-{}-{}-{}", inode.0, inode.1, changed.0, changed.1)
}

/// The [`state`] of what is at a path, or behind a URL.
///
/// # Errors
/// Those of [`metadata`] and of [`Object::open`].
pub(crate) fn state_at(path: &Path) -> Result<String> {
    match is_remote(path) {
        true => Ok(Object::open(path)?.state()),
        false => Ok(state(&metadata(path)?)),
    }
}

/// What is at a path, links followed.
pub(crate) fn metadata(path: &Path) -> Result<Metadata> {
    std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { path: path.into() },
        _ => Error::io("read", path)(error),
    })
}

/// Opens a regular file; a FIFO, a device or a folder is refused, and nothing blocks on one.
fn open(path: &Path) -> Result<(File, Identity)> {
    let before = metadata(path)?;
    require_regular(path, &before)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    let file = options.open(path).map_err(Error::io("read", path))?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    require_regular(path, &metadata)?;
    Ok((file, Identity::of(&metadata)))
}

/// The bytes of a small file from outside, opened as data is.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Io`]; [`Error::FileRefused`] for what is no regular file, or has more than `most` bytes.
pub fn read_small(path: &Path, most: u64) -> Result<Vec<u8>> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    if bytes.len() as u64 > most {
        return Err(refused(path, format!("is larger than {most} bytes")));
    }
    Ok(bytes)
}

fn require_regular(path: &Path, metadata: &Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(Error::FileRefused {
        path: path.into(),
        reason: NOT_REGULAR.into(),
    })
}

/// Opens a file that was seen before.
///
/// # Errors
/// [`Error::FileChanged`] if it is another file now, or the same one with other contents, or gone.
fn reopen(path: &Path, expected: Identity) -> Result<File> {
    match open(path) {
        Ok((file, found)) if found == expected => Ok(file),
        Ok(_) | Err(Error::NotFound { .. } | Error::FileRefused { .. }) => {
            Err(Error::FileChanged { path: path.into() })
        }
        Err(error) => Err(error),
    }
}

/// Compares a file with what it was.
///
/// # Errors
/// [`Error::FileChanged`] as in [`reopen`].
fn unchanged(path: &Path, expected: Identity) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if Identity::of(&metadata) == expected => Ok(()),
        _ => Err(Error::FileChanged { path: path.into() }),
    }
}

/// One input: a file or object as it was when it was first seen, or what stdin gave, kept in a file without a name.
#[derive(Clone)]
pub(crate) struct Input {
    /// The path or URL as it was given, without what may be secret; [`STDIN`] for what stdin gave.
    pub(crate) path: PathBuf,
    /// Bytes in it.
    pub(crate) bytes: u64,
    held: Held,
    /// The object that a copy was made of.
    copied: Option<Object>,
}

/// Where the bytes of an input are.
#[derive(Clone)]
enum Held {
    File(Identity),
    /// A copy in a file without a name.
    Copy(Arc<File>),
    Object(Object),
}

/// What stands for stdin among the names of files.
pub(crate) const STDIN: &str = "-";

impl Input {
    /// Opens a file or an object for the first time.
    ///
    /// # Errors
    /// Those of [`open`] and of [`Object::open`].
    pub(crate) fn open(path: &Path) -> Result<(Self, FileBytes)> {
        let input = |bytes, held| Self {
            path: path.into(),
            bytes,
            held,
            copied: None,
        };
        if is_remote(path) {
            let object = Object::open(path)?;
            let source = FileBytes::of_object(object.clone());
            return Ok((input(object.bytes(), Held::Object(object)), source));
        }
        let (file, identity) = open(path)?;
        let source = FileBytes::new(file, identity.bytes);
        Ok((input(identity.bytes, Held::File(identity)), source))
    }

    /// What stdin gave, as it was written to `copy`.
    pub(crate) fn of_stdin(copy: File) -> Result<Self> {
        let metadata = copy.metadata().map_err(Error::io("read", STDIN))?;
        Ok(Self {
            path: STDIN.into(),
            bytes: metadata.len(),
            held: Held::Copy(Arc::new(copy)),
            copied: None,
        })
    }

    /// This input as one that can be read back and forth: an object is copied by `copy`.
    ///
    /// # Errors
    /// Those of `copy`.
    pub(crate) fn at_hand(self, copy: impl FnOnce(&Object) -> Result<File>) -> Result<Self> {
        match self.held {
            Held::Object(object) => Ok(Self {
                held: Held::Copy(Arc::new(copy(&object)?)),
                copied: Some(object),
                ..self
            }),
            _ => Ok(self),
        }
    }

    /// Opens it again.
    ///
    /// # Errors
    /// Those of [`reopen`].
    pub(crate) fn reopen(&self) -> Result<FileBytes> {
        match &self.held {
            Held::File(identity) => reopen(&self.path, *identity).map(|file| FileBytes::new(file, self.bytes)),
            Held::Copy(copy) => Ok(FileBytes {
                from: From::File(Arc::clone(copy)),
                bytes: self.bytes,
            }),
            Held::Object(object) => object.sound().map(|()| FileBytes::of_object(object.clone())),
        }
    }

    /// Compares it with what it was. What came of an object was compared when it came, so that this only tells of what
    /// went wrong with it.
    ///
    /// # Errors
    /// [`Error::FileChanged`]; for an object, those of requests.
    pub(crate) fn unchanged(&self) -> Result<()> {
        match &self.held {
            Held::File(identity) => unchanged(&self.path, *identity),
            Held::Copy(_) => Ok(()),
            Held::Object(object) => object.sound(),
        }
    }

    /// The object that this is, or is a copy of.
    pub(crate) fn object(&self) -> Option<&Object> {
        match &self.held {
            Held::Object(object) => Some(object),
            Held::File(_) | Held::Copy(_) => self.copied.as_ref(),
        }
    }

    /// Whether reading all of it means to fetch all of it.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.held, Held::Object(_))
    }
}

/// An open file or object read by position, so that threads and column readers never move each other's place in it.
#[derive(Clone)]
pub(crate) struct FileBytes {
    from: From,
    bytes: u64,
}

#[derive(Clone)]
enum From {
    File(Arc<File>),
    Object(Reading),
}

/// Bytes that a page header is read in at a time; most headers are shorter than this.
const HEADER_BUFFER: usize = 512;

impl FileBytes {
    pub(crate) fn new(file: File, bytes: u64) -> Self {
        let from = From::File(Arc::new(file));
        Self { from, bytes }
    }

    fn of_object(object: Object) -> Self {
        let bytes = object.bytes();
        let from = From::Object(Reading::new(object));
        Self { from, bytes }
    }

    /// Bytes in the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is in the [`state`] in which the file at `path` was found before.
    ///
    /// # Errors
    /// [`Error::FileChanged`]; those of the system.
    pub(crate) fn check_state(&self, path: &Path, expected: &str) -> Result<()> {
        let found = match &self.from {
            From::File(file) => state(&file.metadata().map_err(Error::io("read", path))?),
            From::Object(reading) => reading.state(),
        };
        match found == expected {
            true => Ok(()),
            false => Err(Error::FileChanged { path: path.into() }),
        }
    }

    /// The same, for a reader of `ranges`: those of an object are fetched before they are asked for.
    pub(crate) fn ahead(&self, ranges: impl Iterator<Item = Range<u64>>) -> Self {
        let from = match &self.from {
            From::File(file) => From::File(Arc::clone(file)),
            From::Object(reading) => {
                let end = self.bytes;
                let within = ranges.map(|range| range.start.min(end)..range.end.min(end));
                From::Object(reading.ahead(within.collect()))
            }
        };
        Self { from, ..*self }
    }

    /// Fills `buffer` from `offset`, or as much of it as the file holds; returns the bytes read.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_once(offset + done as u64, &mut buffer[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_once(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &self.from {
            From::File(file) => read_once(file, buffer, offset),
            From::Object(reading) => {
                let n = buffer.len().min(self.bytes.saturating_sub(offset) as usize);
                if n > 0 {
                    buffer[..n].copy_from_slice(&reading.bytes_at(offset..offset + n as u64)?);
                }
                Ok(n)
            }
        }
    }

    /// Exactly `len` bytes from `offset`.
    pub(crate) fn exactly(&self, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
        let end = self.end_of(offset, len)?;
        let mut buffer = Vec::new();
        buffer
            .try_reserve_exact(len)
            .map_err(|_| std::io::ErrorKind::OutOfMemory)?;
        if let From::Object(reading) = &self.from {
            buffer.extend_from_slice(&reading.bytes_at(offset..end)?);
            return Ok(buffer);
        }
        buffer.resize(len, 0);
        if self.read_at(offset, &mut buffer)? < len {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(buffer)
    }

    /// The same, without a copy where the bytes are in memory already.
    fn shared(&self, offset: u64, len: usize) -> std::io::Result<Bytes> {
        match &self.from {
            From::File(_) => self.exactly(offset, len).map(Bytes::from),
            From::Object(reading) => reading.bytes_at(offset..self.end_of(offset, len)?),
        }
    }

    fn end_of(&self, offset: u64, len: usize) -> std::io::Result<u64> {
        let end = offset.checked_add(len as u64).filter(|&end| end <= self.bytes);
        end.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(unix)]
fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// A reader that starts at a position of a [`FileBytes`].
pub(crate) struct Cursor {
    source: FileBytes,
    offset: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.source.read_once(self.offset, buffer)?;
        self.offset += n as u64;
        Ok(n)
    }
}

impl Length for FileBytes {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for FileBytes {
    type T = std::io::BufReader<Cursor>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let source = self.clone();
        Ok(std::io::BufReader::with_capacity(
            HEADER_BUFFER,
            Cursor { source, offset: start },
        ))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        match self.shared(start, length) {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(ParquetError::External(Box::new(error))),
        }
    }
}

/// The path of a file as text.
pub(crate) fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A refusal of a file, with why.
pub(crate) fn refused(path: &Path, reason: impl Into<String>) -> Error {
    Error::FileRefused {
        path: PathBuf::from(path),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_a_missing_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(open(folder.path()), Err(Error::FileRefused { .. })));
        assert!(matches!(open(&folder.path().join("no")), Err(Error::NotFound { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_fifo_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe.parquet");
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: `name` is a valid C string.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        assert!(matches!(open(&path), Err(Error::FileRefused { .. })));
    }

    #[test]
    fn a_file_that_grew_or_was_replaced_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"one").unwrap();
        let (_, identity) = open(&path).unwrap();
        assert!(unchanged(&path, identity).is_ok() && reopen(&path, identity).is_ok());
        std::fs::write(&path, b"four").unwrap();
        assert!(matches!(unchanged(&path, identity), Err(Error::FileChanged { .. })));
        assert!(matches!(reopen(&path, identity), Err(Error::FileChanged { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(reopen(&path, identity), Err(Error::FileChanged { .. })));
    }

    #[test]
    fn a_small_file_is_read_whole_and_a_larger_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"four").unwrap();
        assert_eq!(read_small(&path, 4).unwrap(), b"four");
        assert!(matches!(read_small(&path, 3), Err(Error::FileRefused { .. })));
        assert!(matches!(read_small(folder.path(), 4), Err(Error::FileRefused { .. })));
    }

    #[test]
    fn reading_past_the_end_is_an_error_not_an_allocation() {
        let file = tempfile::tempfile().unwrap();
        let source = FileBytes::new(file, 3);
        assert!(source.get_bytes(1, usize::MAX).is_err());
        assert!(source.get_bytes(u64::MAX, 1).is_err());
    }
}
