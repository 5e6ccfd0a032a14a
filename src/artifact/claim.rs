//! One run at a time into the same output: a lock that goes when its process does.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::atomic::{folder_and_name, is_temporary_file};
use crate::error::{Error, Result};

/// Most bytes of a name that a lock's name is made of; longer ones stand for themselves by their hash.
const MOST_BYTES: usize = 200;

/// Holds an output for one run, from before its work begins until it is dropped.
///
/// What is locked is the file `.NAME.lock` beside the output, which goes with the claim. The system lets go of the lock
/// of a process that was killed, so that what is left of the file holds nobody up. On file systems without locks nothing
/// is held; outputs are whole there too, see [`super::write_atomic`].
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    /// Locked as long as this lives.
    _file: Option<File>,
}

impl Claim {
    /// Claims an output, and removes the temporary files that killed runs left beside it.
    ///
    /// # Errors
    /// [`Error::OutputBusy`] where another run has claimed it; [`Error::Io`] where its folder takes no file.
    pub fn new(out: &Path) -> Result<Self> {
        let (folder, name) = folder_and_name(out)?;
        let path = folder.join(lock_name(&name));
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
            let mut file = options.open(&path).map_err(Error::io("lock", out))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::OutputBusy {
                        path: out.to_owned(),
                        process: process_in(&mut file),
                    });
                }
                Err(TryLockError::Error(_)) => {
                    return Ok(Self { path, _file: None });
                }
            }
            // Whoever held it before may have removed the file in between: then this is a lock on nothing.
            if is_at(&file, &path) {
                // Who holds it is told for people alone.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                remove_left_files(&folder, &name);
                return Ok(Self {
                    path,
                    _file: Some(file),
                });
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self._file.is_some() {
            // Removed while it is still locked, so never from under another run. What stays locks nobody out.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// `.NAME.lock`.
fn lock_name(name: &OsStr) -> OsString {
    let mut lock = OsString::from(".");
    if name.len() <= MOST_BYTES {
        lock.push(name);
    } else {
        lock.push(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(name.as_encoded_bytes())));
    }
    lock.push(".lock");
    lock
}

/// The process that wrote its number there.
fn process_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether the file is the one that stands at the path.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let (held, there) = (file.metadata().map(place), fs::symlink_metadata(path).map(place));
        matches!((held, there), (Ok(held), Ok(there)) if held == there)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Removes temporary files of the output `name` that nobody has locked.
fn remove_left_files(folder: &Path, name: &OsStr) {
    // Nothing depends on this: what cannot be read or removed stays.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && is_temporary_file(name, &entry.file_name()) {
            let left = entry.path();
            if File::open(&left).is_ok_and(|file| file.try_lock().is_ok()) {
                let _ = fs::remove_file(left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::write_atomic;

    fn listing(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = { fs::read_dir(folder).unwrap() }
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_output_is_claimed_once_and_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let claim = Claim::new(&out).unwrap();
        assert_eq!(listing(folder.path()), [".run.lock"]);
        let busy = Claim::new(&folder.path().join("./run/")).unwrap_err();
        assert!(matches!(busy, Error::OutputBusy { process, .. } if process == Some(std::process::id())));
        let other = Claim::new(&folder.path().join("run2")).unwrap();
        drop((claim, other));
        assert!(listing(folder.path()).is_empty());
        // What a killed run left is no lock.
        fs::write(folder.path().join(".run.lock"), "4711").unwrap();
        drop(Claim::new(&out).unwrap());
        assert!(listing(folder.path()).is_empty());
        let long = folder.path().join("x".repeat(255));
        drop(Claim::new(&long).unwrap());
        assert!(matches!(Claim::new(Path::new("/")), Err(Error::OutputForeign { .. })));
    }

    #[test]
    fn many_claims_never_hold_one_output_together() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let (holding, n_claims) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        if let Ok(_claim) = Claim::new(&folder.path().join("run")) {
                            assert_eq!(holding.fetch_add(1, Ordering::SeqCst), 0);
                            n_claims.fetch_add(1, Ordering::SeqCst);
                            holding.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(n_claims.into_inner() > 0 && listing(folder.path()).is_empty());
    }

    #[test]
    fn what_killed_runs_left_of_a_file_is_removed_and_what_is_at_work_or_foreign_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(folder.path().join(name), "x").unwrap();
        let stay = [
            ".a.parquet.tmp-",
            ".a.parquet.tmp-seven77",
            ".a.parquet.tmp-no.six",
            ".b.parquet.tmp-aaaaaa",
        ];
        stay.iter().for_each(|name| put(name));
        put(".a.parquet.tmp-aaaaaa");
        let out = folder.path().join("a.parquet");
        write_atomic(&out, false, |file| {
            drop(Claim::new(&out)?);
            file.write_all(b"whole").map_err(|error| file.error(error))
        })
        .unwrap();
        assert_eq!(fs::read(&out).unwrap(), b"whole");
        let mut expected: Vec<&str> = stay.into_iter().chain(["a.parquet"]).collect();
        expected.sort_unstable();
        assert_eq!(listing(folder.path()), expected);
    }
}
