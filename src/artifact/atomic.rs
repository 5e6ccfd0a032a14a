//! Outputs that appear whole or not at all: temporary name in the target folder, fsync, rename, fsync the folder.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use super::names;
use crate::data::is_remote;
use crate::error::{Error, Result};

/// A file being written, which knows the name it will have.
#[derive(Debug)]
pub struct OutFile {
    file: BufWriter<Target>,
    path: PathBuf,
}

/// Where the bytes of a file go.
#[derive(Debug)]
enum Target {
    Open(File),
    /// Opened for every piece: there may be more of them than a process may hold open.
    Reopened(PathBuf),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Open(file) => file.write(bytes),
            Self::Reopened(path) => fs::OpenOptions::new().append(true).open(path)?.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Open(file) => file.flush(),
            Self::Reopened(_) => Ok(()),
        }
    }
}

impl OutFile {
    /// The name it will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `error` as one of writing this file.
    pub fn error(&self, error: impl Into<io::Error>) -> Error {
        Error::io("write", &self.path)(error.into())
    }

    /// Everything written so far on disk, not only in the system's cache.
    fn sync(mut self) -> Result<()> {
        let synced = self.file.flush().and_then(|()| match self.file.get_ref() {
            Target::Open(file) => file.sync_all(),
            Target::Reopened(path) => fs::OpenOptions::new().append(true).open(path)?.sync_all(),
        });
        synced.map_err(Error::io("write", &self.path))
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Refuses, before any work is done, an output file that could not be put in place later.
///
/// # Errors
/// [`Error::OutputExists`] where it exists and may not be replaced; [`Error::OutputForeign`] where it is no file;
/// [`Error::Io`] where its folder is missing or cannot be written to.
pub fn check_output_file(path: &Path, overwrite: bool) -> Result<()> {
    let (folder, _) = folder_and_name(path)?;
    match kind_of(path)? {
        None => {}
        Some(kind) if kind.is_dir() => return Err(foreign(path, "it is a folder")),
        Some(_) if !overwrite => return Err(exists(path)),
        Some(kind) if !kind.is_file() => return Err(foreign(path, "it is not a regular file")),
        Some(_) => {}
    }
    check_folder(&folder)
}

/// Refuses, before any work is done, a run directory that could not be put in place later.
///
/// # Errors
/// As [`check_output_file`]; with `overwrite`, [`Error::OutputForeign`] where anything but an empty folder or a run
/// directory with nothing added to it stands there.
pub fn check_output_dir(path: &Path, overwrite: bool) -> Result<()> {
    check_output_folder(path, overwrite, Content::Run)
}

/// [`check_output_dir`] for a folder of part files.
///
/// # Errors
/// As [`check_output_file`]; with `overwrite`, [`Error::OutputForeign`] where anything but a folder of part files
/// alone stands there.
pub fn check_output_parts(path: &Path, overwrite: bool) -> Result<()> {
    check_output_folder(path, overwrite, Content::Parts)
}

/// [`check_output_dir`] for a folder of scored rows in many files.
///
/// # Errors
/// As [`check_output_file`]; with `overwrite`, [`Error::OutputForeign`] where anything but an empty folder or the files
/// that scoring wrote there stands there.
pub fn check_output_scored(path: &Path, overwrite: bool) -> Result<()> {
    check_output_folder(path, overwrite, Content::Scored)
}

/// [`check_output_dir`] for the directory of a sweep.
///
/// # Errors
/// As [`check_output_file`]; with `overwrite`, [`Error::OutputForeign`] where anything but an empty folder or a sweep
/// with nothing added to it stands there.
pub fn check_output_sweep(path: &Path, overwrite: bool) -> Result<()> {
    check_output_folder(path, overwrite, Content::Sweep)
}

fn check_output_folder(path: &Path, overwrite: bool, content: Content) -> Result<()> {
    let (folder, _) = folder_and_name(path)?;
    if kind_of(path)?.is_some() {
        if !overwrite {
            return Err(exists(path));
        }
        check_replaceable(path, path, content)?;
    }
    check_folder(&folder)
}

/// What a folder that is written here holds: no other is ever replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// The files in [`names::ALL`], [`names::RUN`] among them.
    Run,
    /// The files that [`names::part`] names.
    Parts,
    /// The files in [`names::ALL_OF_SWEEP`], [`names::SWEEP`] among them.
    Sweep,
    /// Files in folders, as the record in [`names::SCORE`] lists them.
    Scored,
}

impl Content {
    fn owns(self, name: &OsStr) -> bool {
        match self {
            Self::Run => names::ALL.iter().any(|ours| name == *ours),
            Self::Parts => name.to_str().is_some_and(names::is_part),
            Self::Sweep => names::ALL_OF_SWEEP.iter().any(|ours| name == *ours),
            Self::Scored => name == names::SCORE || name == UNFINISHED,
        }
    }

    /// The file that such a folder is not without.
    fn record(self) -> Option<&'static str> {
        match self {
            Self::Run => Some(names::RUN),
            Self::Parts => None,
            Self::Sweep => Some(names::SWEEP),
            Self::Scored => Some(names::SCORE),
        }
    }
}

/// Writes a file under a temporary name and gives it its own once `write` has succeeded and all is on disk.
///
/// # Errors
/// Those of `write` and of the system, [`Error::OutputExists`] where the file exists and `overwrite` is off. Nothing
/// is left behind then.
pub fn write_atomic<T>(path: &Path, overwrite: bool, write: impl FnOnce(&mut OutFile) -> Result<T>) -> Result<T> {
    let (folder, name) = folder_and_name(path)?;
    let mut builder = tempfile::Builder::new();
    let prefix = hidden(&name, "tmp");
    builder.prefix(&prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask, as any new file
    let temporary = builder.tempfile_in(&folder).map_err(Error::io("create", path))?;
    let (file, temporary) = temporary.into_parts();
    // So that nobody takes it for what a killed run left; where the system locks nothing, nobody looks.
    let _ = file.try_lock();
    let mut out = OutFile {
        file: BufWriter::new(Target::Open(file)),
        path: path.to_owned(),
    };
    let value = write(&mut out)?;
    out.sync()?;
    if overwrite {
        temporary.persist(path).map_err(|e| Error::io("write", path)(e.error))?;
    } else {
        temporary.persist_noclobber(path).map_err(|e| match e.error.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => Error::io("write", path)(e.error),
        })?;
    }
    let synced = sync_folder(&folder);
    if synced.is_err() && !overwrite {
        // It may not last, so it is not there. One that replaced another stays: the other is gone.
        let _ = fs::remove_file(path);
    }
    synced.map(|()| value)
}

/// Writes to what is open already and has no name to be put in place of, such as a pipe; `shown` is what errors call it.
///
/// # Errors
/// Those of `write` and of the system.
pub fn write_stream<T>(file: File, shown: &Path, write: impl FnOnce(&mut OutFile) -> Result<T>) -> Result<T> {
    let mut out = OutFile {
        file: BufWriter::new(Target::Open(file)),
        path: shown.to_owned(),
    };
    let value = write(&mut out)?;
    out.flush().map_err(Error::io("write", shown))?;
    Ok(value)
}

/// A run directory, or a folder of part files, in the making: a hidden folder beside its place, removed unless
/// [`RunDir::commit`] is reached.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    folder: PathBuf,
    name: OsString,
    overwrite: bool,
    content: Content,
    temporary: TempDir,
    /// Folders below it.
    folders: Mutex<BTreeSet<PathBuf>>,
    /// Held while the directory is made: what a killed run left is locked by nobody.
    _lock: Option<File>,
}

impl RunDir {
    /// Begins the run directory `path`, and removes what runs that were killed left beside it.
    ///
    /// # Errors
    /// Those of [`check_output_dir`].
    pub fn create(path: &Path, overwrite: bool) -> Result<Self> {
        Self::create_with(path, overwrite, Content::Run)
    }

    /// Begins the folder `path` of part files, see [`names::part`].
    ///
    /// # Errors
    /// Those of [`check_output_parts`].
    pub fn create_parts(path: &Path, overwrite: bool) -> Result<Self> {
        Self::create_with(path, overwrite, Content::Parts)
    }

    /// Begins the directory `path` of a sweep.
    ///
    /// # Errors
    /// Those of [`check_output_sweep`].
    pub fn create_sweep(path: &Path, overwrite: bool) -> Result<Self> {
        Self::create_with(path, overwrite, Content::Sweep)
    }

    fn create_with(path: &Path, overwrite: bool, content: Content) -> Result<Self> {
        check_output_folder(path, overwrite, content)?;
        let (folder, name) = folder_and_name(path)?;
        remove_left(&folder, &name, content);
        let temporary = temporary_dir(&folder, &name, "tmp").map_err(Error::io("create", path))?;
        let lock = locked(temporary.path());
        Ok(Self {
            path: path.to_owned(),
            folder,
            name,
            overwrite,
            content,
            temporary,
            folders: Mutex::default(),
            _lock: lock,
        })
    }

    /// Begins the folder `path` of scored rows, see [`RunDir::begin`].
    ///
    /// # Errors
    /// Those of [`check_output_scored`].
    pub fn create_scored(path: &Path, overwrite: bool) -> Result<Self> {
        let dir = Self::create_with(path, overwrite, Content::Scored)?;
        // What a killed run leaves is known by it.
        let mark = dir.temporary.path().join(UNFINISHED);
        File::create_new(mark).map_err(Error::io("create", path))?;
        Ok(dir)
    }

    /// Begins one of many files, by its relative name with `/` between folders. It is on disk, and known to be of the
    /// folder, once it was given to [`RunDir::end`].
    ///
    /// # Errors
    /// Those of the system.
    ///
    /// # Panics
    /// If the name leads out of the folder, or this is no folder of scored rows.
    pub fn begin(&self, name: &str) -> Result<OutFile> {
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        assert!(
            self.content == Content::Scored && Path::new(name).components().all(is_plain),
            "{name} is no file of such a folder"
        );
        let (path, temporary) = (self.path.join(name), self.temporary.path().join(name));
        let below = temporary.ancestors().skip(1);
        let below = below.take_while(|folder| *folder != self.temporary.path());
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.extend(below.map(Path::to_owned));
        drop(folders);
        let folder = temporary.parent().unwrap_or(self.temporary.path());
        fs::create_dir_all(folder).map_err(Error::io("create", &path))?;
        File::create_new(&temporary).map_err(Error::io("create", &path))?;
        Ok(OutFile {
            file: BufWriter::new(Target::Reopened(temporary)),
            path,
        })
    }

    /// Puts a file that was begun, and handed to the system, on disk.
    ///
    /// # Errors
    /// Those of the system.
    pub fn end(&self, name: &str) -> Result<()> {
        let file = fs::OpenOptions::new()
            .append(true)
            .open(self.temporary.path().join(name));
        let synced = file.and_then(|file| file.sync_all());
        synced.map_err(Error::io("write", self.path.join(name)))
    }

    /// Where the directory will stand.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one of the files that such a directory holds; on disk when this returns.
    ///
    /// # Errors
    /// Those of `write` and of the system.
    ///
    /// # Panics
    /// If `name` is no file of such a directory: it could not be replaced later.
    pub fn write<T>(&self, name: &str, write: impl FnOnce(&mut OutFile) -> Result<T>) -> Result<T> {
        assert!(
            self.content.owns(OsStr::new(name)),
            "{name} is no file of such a directory"
        );
        let path = self.path.join(name);
        let file = File::create_new(self.temporary.path().join(name)).map_err(Error::io("create", &path))?;
        let mut out = OutFile {
            file: BufWriter::new(Target::Open(file)),
            path,
        };
        let value = write(&mut out)?;
        out.sync()?;
        Ok(value)
    }

    /// Takes over the files of the run that stands in its place, but for those that are written already: under a second
    /// name where the system can, else as copies.
    ///
    /// # Errors
    /// Those of the system.
    pub fn take_over_the_rest(&self) -> Result<()> {
        for name in names::ALL {
            let (old, new) = (self.path.join(name), self.temporary.path().join(name));
            if new.exists() || kind_of(&old)?.is_none() || fs::hard_link(&old, &new).is_ok() {
                continue;
            }
            fs::copy(&old, &new).map_err(Error::io("write", &old))?;
            let copy = File::open(&new).and_then(|file| file.sync_all());
            copy.map_err(Error::io("write", &old))?;
        }
        Ok(())
    }

    /// Puts the finished directory in its place.
    ///
    /// With `overwrite`, an earlier run there is kept aside until the new one stands, then removed.
    ///
    /// # Errors
    /// Those of [`check_output_dir`], checked again, and of the system. What stood there before still does then.
    pub fn commit(mut self) -> Result<()> {
        if self.content == Content::Scored {
            let mark = self.temporary.path().join(UNFINISHED);
            fs::remove_file(mark).map_err(Error::io("create", &self.path))?;
        }
        let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        folders.iter().try_for_each(|folder| sync_folder(folder))?;
        sync_folder(self.temporary.path())?;
        let old = match kind_of(&self.path)? {
            None => None,
            Some(_) if !self.overwrite => return Err(exists(&self.path)),
            Some(_) => Some(self.set_aside()?),
        };
        if let Err(error) = fs::rename(self.temporary.path(), &self.path) {
            if let Some(old) = old {
                put_back(old, &self.path);
            }
            return Err(match error.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => exists(&self.path),
                _ => Error::io("create", &self.path)(error),
            });
        }
        // It has its name now; there is nothing left to clean up under the old one.
        self.temporary.disable_cleanup(true);
        if let Err(error) = sync_folder(&self.folder) {
            self.take_back(old);
            return Err(error);
        }
        if let Some(old) = old {
            remove_run(old, self.content);
        }
        Ok(())
    }

    /// Undoes the last renaming, where it may not last.
    fn take_back(&self, old: Option<TempDir>) {
        if fs::rename(&self.path, self.temporary.path()).is_ok() {
            let _ = fs::remove_dir_all(self.temporary.path());
            if let Some(old) = old {
                put_back(old, &self.path);
            }
        }
    }

    /// Moves what stands at the target into a hidden folder beside it, if it may be replaced.
    fn set_aside(&self) -> Result<TempDir> {
        check_replaceable(&self.path, &self.path, self.content)?;
        let aside = temporary_dir(&self.folder, &self.name, "old").map_err(Error::io("create", &self.path))?;
        fs::rename(&self.path, aside.path().join(OLD_RUN)).map_err(Error::io("replace", &self.path))?;
        // Looked at again now that nobody finds it under its name: it may have gained a file in between.
        if let Err(error) = check_replaceable(&aside.path().join(OLD_RUN), &self.path, self.content) {
            put_back(aside, &self.path);
            return Err(error);
        }
        Ok(aside)
    }
}

/// What tells that a folder of scored rows is not finished.
const UNFINISHED: &str = "_kohort.unfinished";
/// Name of the earlier run inside the folder it is kept aside in.
const OLD_RUN: &str = "run";

/// Gives a run that was set aside its place back; where even that fails it stays aside rather than be deleted.
fn put_back(aside: TempDir, path: &Path) {
    if fs::rename(aside.path().join(OLD_RUN), path).is_err() {
        let _ = aside.keep();
    }
}

/// Removes an earlier run.
fn remove_run(aside: TempDir, content: Content) {
    if remove_ours(&aside.path().join(OLD_RUN), content).is_err() {
        let _ = aside.keep();
    }
}

/// Removes a run directory, file by file by our own names: anything else keeps its folder alive.
fn remove_ours(dir: &Path, content: Content) -> io::Result<()> {
    if content == Content::Scored {
        let listed = Listed::of(dir).map_err(io::Error::other)?;
        for file in listed.files {
            let _ = fs::remove_file(dir.join(file));
        }
        // The deepest come last.
        for folder in listed.folders.iter().rev() {
            let _ = fs::remove_dir(dir.join(folder));
        }
        return fs::remove_dir(dir);
    }
    for file in ours(dir, content) {
        // What cannot be removed makes the next line fail.
        let _ = fs::remove_file(file);
    }
    fs::remove_dir(dir)
}

/// The entries of a folder that have names of ours.
fn ours(dir: &Path, content: Content) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_ours = |entry: &fs::DirEntry| content.owns(&entry.file_name());
    entries.filter(is_ours).map(|entry| entry.path()).collect()
}

/// Removes what killed runs left in the making of the run directory `name`: hidden folders that hold files of a run
/// and that nobody has locked. A folder is locked before it gets its first file, so no run at work loses one.
fn remove_left(folder: &Path, name: &OsStr, content: Content) {
    let prefix = hidden(name, "tmp");
    // Nothing depends on this: what cannot be read or removed stays.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let left = entry.path();
        let is_ours = entry.file_name().to_string_lossy().starts_with(&prefix)
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && ours(&left, content).iter().any(|file| file.is_file());
        if is_ours && let Some(_lock) = locked(&left) {
            let _ = match content {
                Content::Scored if left.join(UNFINISHED).is_file() => fs::remove_dir_all(&left),
                _ => remove_ours(&left, content),
            };
        }
    }
}

/// A folder that is locked as long as this lives; none where it is locked already, or the system locks no folders.
fn locked(folder: &Path) -> Option<File> {
    let file = File::open(folder).ok()?;
    file.try_lock().is_ok().then_some(file)
}

/// Refuses to replace anything but an empty folder or one that holds our files alone.
fn check_replaceable(dir: &Path, shown: &Path, content: Content) -> Result<()> {
    let kind = kind_of(dir)?.ok_or_else(|| Error::NotFound { path: shown.to_owned() })?;
    if !kind.is_dir() {
        return Err(foreign(shown, "it is not a folder"));
    }
    if content == Content::Scored {
        return check_scored(dir, shown);
    }
    let (mut n_entries, mut has_record) = (0, false);
    for entry in fs::read_dir(dir).map_err(Error::io("read", shown))? {
        let entry = entry.map_err(Error::io("read", shown))?;
        let is_file = entry.file_type().map_err(Error::io("read", shown))?.is_file();
        let name = entry.file_name();
        if !is_file || !content.owns(&name) {
            let name = name.to_string_lossy();
            return Err(foreign(shown, &format!("it holds {name:?}, which no run writes")));
        }
        n_entries += 1;
        has_record |= content.record().is_some_and(|record| name == record);
    }
    if let Some(record) = content.record()
        && n_entries > 0
        && !has_record
    {
        return Err(foreign(shown, &format!("it holds files but no {record}")));
    }
    Ok(())
}

/// Refuses to replace anything but an empty folder or one that holds what its record lists alone.
fn check_scored(dir: &Path, shown: &Path) -> Result<()> {
    let listed = Listed::of(dir).map_err(Error::io("read", shown))?;
    if listed.files.is_empty() && listed.folders.is_empty() && listed.foreign.is_none() {
        return Ok(());
    }
    if !listed.has_record {
        return Err(foreign(shown, &format!("it holds files but no {}", names::SCORE)));
    }
    match listed.foreign {
        None => Ok(()),
        Some(name) => Err(foreign(
            shown,
            &format!("it holds {name:?}, which scoring did not write"),
        )),
    }
}

/// What is in a folder of scored rows.
#[derive(Default)]
struct Listed {
    /// Relative names of the files that its record lists, and of the record.
    files: Vec<String>,
    /// All folders below it, each before what is in it.
    folders: Vec<PathBuf>,
    /// The first thing that its record does not list.
    foreign: Option<String>,
    has_record: bool,
}

impl Listed {
    fn of(dir: &Path) -> io::Result<Self> {
        let record = super::ScoreRecord::of_folder(dir).map_err(io::Error::other)?;
        let mut listed = Self {
            has_record: record.is_some(),
            ..Self::default()
        };
        let known: BTreeSet<String> = record.into_iter().flat_map(|record| record.files).collect();
        listed.walk(dir, Path::new(""), &known)?;
        Ok(listed)
    }

    fn walk(&mut self, dir: &Path, below: &Path, known: &BTreeSet<String>) -> io::Result<()> {
        for entry in fs::read_dir(dir.join(below))? {
            let entry = entry?;
            let relative = below.join(entry.file_name());
            let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
            let name = parts.join("/");
            let kind = entry.file_type()?;
            let leads_to = |known: &BTreeSet<String>| {
                let folder = format!("{name}/");
                known
                    .range(folder.clone()..)
                    .next()
                    .is_some_and(|next| next.starts_with(&folder))
            };
            if kind.is_dir() && leads_to(known) {
                self.folders.push(relative.clone());
                self.walk(dir, &relative, known)?;
            } else if kind.is_file() && (known.contains(&name) || (name == names::SCORE && self.has_record)) {
                self.files.push(name);
            } else {
                self.foreign.get_or_insert(name);
            }
        }
        Ok(())
    }
}

/// Folder and last part of an output path.
pub(super) fn folder_and_name(path: &Path) -> Result<(PathBuf, OsString)> {
    check_local(path)?;
    let name = path
        .file_name()
        .ok_or_else(|| foreign(path, "it has no name of its own"))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Ok((folder.to_owned(), name.to_owned()))
}

/// Refuses an output that would be in an object store.
///
/// # Errors
/// [`Error::OutputRemote`].
pub fn check_local(path: &Path) -> Result<()> {
    match is_remote(path) {
        true => Err(Error::OutputRemote { path: path.to_owned() }),
        false => Ok(()),
    }
}

/// Refuses a folder that is missing or that takes no new entry, by making one.
fn check_folder(folder: &Path) -> Result<()> {
    let metadata = fs::metadata(folder).map_err(Error::io("write to", folder))?;
    if !metadata.is_dir() {
        return Err(foreign(folder, "it is not a folder"));
    }
    temporary_dir(folder, OsStr::new("kohort"), "tmp")
        .and_then(TempDir::close)
        .map_err(Error::io("write to", folder))
}

/// What stands at a path, symbolic links not followed.
fn kind_of(path: &Path) -> Result<Option<fs::FileType>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("write", path)(error)),
    }
}

fn temporary_dir(folder: &Path, name: &OsStr, what: &str) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let prefix = hidden(name, what);
    builder.prefix(&prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777)); // less the umask, as any new folder
    builder.tempdir_in(folder)
}

/// `.NAME.WHAT-`, with a long name cut so that the random part still fits into 255 bytes.
fn hidden(name: &OsStr, what: &str) -> String {
    let name: String = name.to_string_lossy().chars().take(40).collect();
    format!(".{name}.{what}-")
}

/// Whether a name is that of a temporary file of the output `name`.
pub(super) fn is_temporary_file(name: &OsStr, found: &OsStr) -> bool {
    let random = found
        .to_str()
        .and_then(|found| found.strip_prefix(&hidden(name, "tmp")));
    random.is_some_and(|random| random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn exists(path: &Path) -> Error {
    Error::OutputExists { path: path.to_owned() }
}

fn foreign(path: &Path, reason: &str) -> Error {
    Error::OutputForeign {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Makes new names in a folder last through a power cut, where the system can.
fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(Error::io("write", folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn text(content: &'static str) -> impl FnOnce(&mut OutFile) -> Result<()> {
        move |out| out.write_all(content.as_bytes()).map_err(|e| out.error(e))
    }

    /// Writes half and fails, as a full disk or Ctrl-C would.
    fn torn(out: &mut OutFile) -> Result<()> {
        out.write_all(&[b'x'; 100_000]).unwrap();
        Err(Error::Interrupted)
    }

    fn run_dir(path: &Path, overwrite: bool, content: &'static str) -> Result<()> {
        let run = RunDir::create(path, overwrite)?;
        run.write(names::RUN, text(content))?;
        run.write(names::MODEL, text("{}"))?;
        run.commit()
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.parquet");
        assert!(write_atomic(&path, false, torn).is_err());
        assert_eq!(listing(folder.path()), [""; 0]);
        write_atomic(&path, false, text("one")).unwrap();
        assert!(matches!(
            write_atomic(&path, false, text("two")),
            Err(Error::OutputExists { .. })
        ));
        assert!(write_atomic(&path, true, torn).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        write_atomic(&path, true, text("two")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(listing(folder.path()), ["scores.parquet"]);
    }

    #[test]
    fn a_run_directory_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let run = RunDir::create(&path, false).unwrap();
        run.write(names::RUN, text("{}")).unwrap();
        assert!(run.write(names::MODEL, torn).is_err());
        assert!(!path.exists());
        drop(run);
        assert_eq!(listing(folder.path()), [""; 0]);
        run_dir(&path, false, "{}").unwrap();
        assert_eq!(listing(folder.path()), ["run"]);
        assert_eq!(listing(&path), [names::MODEL, names::RUN]);
    }

    #[test]
    fn a_run_is_replaced_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        run_dir(&path, false, "old").unwrap();
        assert!(matches!(run_dir(&path, false, "new"), Err(Error::OutputExists { .. })));
        let unfinished = RunDir::create(&path, true).unwrap();
        assert!(unfinished.write(names::RUN, torn).is_err());
        drop(unfinished);
        assert_eq!(fs::read_to_string(path.join(names::RUN)).unwrap(), "old");
        run_dir(&path, true, "new").unwrap();
        assert_eq!(fs::read_to_string(path.join(names::RUN)).unwrap(), "new");
        assert_eq!(listing(folder.path()), ["run"]);
    }

    #[test]
    fn a_folder_of_parts_replaces_parts_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let parts = |n: usize, overwrite: bool| {
            let dir = RunDir::create_parts(&path, overwrite)?;
            (0..n).try_for_each(|part| dir.write(&names::part(part), text("rows")))?;
            dir.commit()
        };
        parts(3, false).unwrap();
        assert!(matches!(parts(2, false), Err(Error::OutputExists { .. })));
        assert!(matches!(run_dir(&path, true, "{}"), Err(Error::OutputForeign { .. })));
        parts(2, true).unwrap();
        assert_eq!(listing(&path), ["part-00000.parquet", "part-00001.parquet"]);
        fs::write(path.join("part-00002.parquet.crc"), "").unwrap();
        assert!(matches!(parts(1, true), Err(Error::OutputForeign { .. })));
        assert_eq!(listing(&path).len(), 3);
        assert_eq!(listing(folder.path()), ["data"]);
        assert!(names::is_part(&names::part(99_999)) && !names::is_part("part-1.parquet"));
    }

    #[test]
    fn an_empty_folder_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        fs::create_dir(&path).unwrap();
        assert!(run_dir(&path, false, "{}").is_err());
        run_dir(&path, true, "{}").unwrap();
        assert_eq!(listing(&path), [names::MODEL, names::RUN]);
    }

    #[test]
    fn nothing_that_is_not_ours_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str| {
            let path = folder.path().join(name);
            let before = fs::symlink_metadata(&path).unwrap().file_type();
            assert!(
                matches!(run_dir(&path, true, "{}"), Err(Error::OutputForeign { .. })),
                "{name}"
            );
            assert_eq!(fs::symlink_metadata(&path).unwrap().file_type(), before);
        };
        let make = |name: &str| {
            fs::create_dir(folder.path().join(name)).unwrap();
            folder.path().join(name)
        };
        fs::write(make("photos").join("a.jpg"), "a").unwrap();
        fs::write(make("no-record").join(names::MODEL), "{}").unwrap();
        let with_notes = make("with-notes");
        fs::write(with_notes.join(names::RUN), "{}").unwrap();
        fs::write(with_notes.join("notes.txt"), "mine").unwrap();
        fs::create_dir(make("odd").join(names::RUN)).unwrap();
        fs::write(folder.path().join("file"), "a").unwrap();
        for name in ["photos", "no-record", "with-notes", "odd", "file"] {
            refused(name);
        }
        assert_eq!(listing(&with_notes), ["notes.txt", names::RUN]);
        assert_eq!(listing(folder.path()).len(), 5);
    }

    #[test]
    fn what_comes_in_between_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        run_dir(&path, false, "old").unwrap();
        let run = RunDir::create(&path, true).unwrap();
        run.write(names::RUN, text("new")).unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        assert!(matches!(run.commit(), Err(Error::OutputForeign { .. })));
        assert_eq!(listing(&path), [names::MODEL, "notes.txt", names::RUN]);
        assert_eq!(listing(folder.path()), ["run"]);

        let other = folder.path().join("other");
        let run = RunDir::create(&other, false).unwrap();
        fs::create_dir(&other).unwrap();
        assert!(matches!(run.commit(), Err(Error::OutputExists { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        run_dir(&real, false, "old").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(matches!(run_dir(&link, true, "new"), Err(Error::OutputForeign { .. })));
        assert_eq!(fs::read_to_string(real.join(names::RUN)).unwrap(), "old");
    }

    #[cfg(unix)]
    #[test]
    fn outputs_have_the_permissions_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            let metadata = fs::metadata(folder.path().join(name)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        fs::write(folder.path().join("plain"), "").unwrap();
        write_atomic(&folder.path().join("ours"), false, text("")).unwrap();
        fs::create_dir(folder.path().join("plain.d")).unwrap();
        run_dir(&folder.path().join("ours.d"), false, "{}").unwrap();
        assert_eq!((mode("ours"), mode("ours.d")), (mode("plain"), mode("plain.d")));
    }

    #[test]
    fn an_output_is_checked_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(check_output_dir(&folder.path().join("run"), false).is_ok());
        assert!(check_output_file(&folder.path().join("out"), false).is_ok());
        assert!(check_output_file(&file, true).is_ok());
        assert!(matches!(
            check_output_file(&file, false),
            Err(Error::OutputExists { .. })
        ));
        let is_foreign = |result: Result<()>| matches!(result, Err(Error::OutputForeign { .. }));
        assert!(is_foreign(check_output_file(folder.path(), true)));
        assert!(is_foreign(check_output_dir(Path::new("/"), true)));
        for check in [check_output_file, check_output_dir] {
            let missing = check(&folder.path().join("no/such"), false);
            assert!(matches!(missing, Err(Error::Io { action: "write to", .. })));
            assert!(check(&file.join("run"), false).is_err());
        }
        assert_eq!(listing(folder.path()), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn what_a_killed_run_left_goes_and_a_run_at_work_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let left = |name: &str, files: &[&str]| {
            let dir = folder.path().join(name);
            fs::create_dir(&dir).unwrap();
            files.iter().for_each(|file| fs::write(dir.join(file), "x").unwrap());
        };
        left(".run.tmp-killed", &[names::MODEL]);
        left(".run.tmp-begun", &[]);
        left(".run.tmp-foreign", &[names::MODEL, "photo.jpg"]);
        left(".other.tmp-killed", &[names::MODEL]);
        let at_work = RunDir::create(&path, false).unwrap();
        at_work.write(names::MODEL, text("{}")).unwrap();
        run_dir(&path, false, "{}").unwrap();
        assert!(at_work.temporary.path().join(names::MODEL).is_file());
        drop(at_work);
        let stay = [".other.tmp-killed", ".run.tmp-begun", ".run.tmp-foreign", "run"];
        assert_eq!(listing(folder.path()), stay);
        assert_eq!(listing(&folder.path().join(".run.tmp-foreign")), ["photo.jpg"]);
    }
}
