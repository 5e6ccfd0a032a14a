//! Compiled kernels on disk, for drivers that keep none themselves: opening a GPU the second time is quicker.
//!
//! The file is a convenience and never trusted: it starts with a hash of the rest, wgpu and the driver check what is
//! behind it against themselves, and anything odd means that kernels are compiled anew. It holds kernels, no data.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

/// Largest file that is read or written, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// Bytes of the hash.
const HASH_BYTES: usize = 16;

/// Where the cache of an adapter is kept; `None` where the system names no folder for such things, or the driver takes
/// none.
pub(crate) fn path(info: &wgpu::AdapterInfo) -> Option<PathBuf> {
    let name = wgpu::util::pipeline_cache_key(info)?;
    let folder = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(folder.join("kohort").join(name))
}

/// What [`save`] wrote; `None` where nothing is there, or something else is.
pub(crate) fn load(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let (hash, data) = bytes.split_at_checked(HASH_BYTES)?;
    (hash == xxh3_128(data).to_le_bytes()).then(|| data.to_vec())
}

/// Keeps `data`, whole or not at all. That it cannot be kept is no failure of anything.
pub(crate) fn save(path: &Path, data: &[u8]) {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().ok_or(std::io::ErrorKind::NotFound)?;
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&xxh3_128(data).to_le_bytes())?;
        file.write_all(data)?;
        file.persist(path)?;
        Ok(())
    };
    if data.len() as u64 + HASH_BYTES as u64 <= MAX_BYTES {
        let _ = write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper").join("cache");
        assert_eq!(load(&path), None);
        save(&path, b"kernels");
        assert_eq!(load(&path).as_deref(), Some(&b"kernels"[..]));
        save(&path, b"others");
        assert_eq!(load(&path).as_deref(), Some(&b"others"[..]));
        let whole = std::fs::read(&path).unwrap();
        for (at, wrong) in [(0, whole[0] ^ 1), (HASH_BYTES, b'O')] {
            let mut bytes = whole.clone();
            bytes[at] = wrong;
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(load(&path), None, "byte {at}");
        }
        for len in [0, HASH_BYTES - 1, whole.len() - 1] {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert_eq!(load(&path), None, "{len} bytes");
        }
        // A folder in the way hurts nobody.
        assert_eq!(load(folder.path()), None);
        save(folder.path(), b"x");
    }
}
