//! How much memory and disk this process may take.

use std::path::Path;

/// Bytes of memory that are free for this process: what the machine has left, and what the control group of the process
/// (a container, a batch system's slot) allows. `None` where the system does not say.
#[must_use]
pub fn free_memory_bytes() -> Option<u64> {
    let machine = super::field_of(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:");
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit(&groups, &|path| std::fs::read_to_string(path).ok());
    machine.into_iter().chain(group).min()
}

/// The least limit of memory of a process's control groups and of those that hold them, of both versions; `groups` is the
/// text of `/proc/self/cgroup`, `read` gives the text of a file.
fn group_limit(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // In a container the path may be one of the machine outside: what is seen at the root holds then.
        let folders = Path::new(path).ancestors().map(|folder| {
            let inside = folder.strip_prefix("/").unwrap_or(folder);
            Path::new(root).join(inside).join(file)
        });
        let read = |path: std::path::PathBuf| read(&path)?.trim().parse::<u64>().ok();
        folders.filter_map(read).min()
    });
    limits.min()
}

/// Bytes that this process may still write to the disk that holds `folder`; `None` where the system does not say.
#[cfg(unix)]
#[must_use]
pub fn free_disk_bytes(folder: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;

    let folder = match folder.as_os_str().as_bytes() {
        b"" => c".".into(),
        bytes => std::ffi::CString::new(bytes).ok()?,
    };
    // SAFETY: all zeros are a value of this struct of integers.
    let mut figures: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string, and the struct is there to be written to.
    if unsafe { libc::statvfs(folder.as_ptr(), &raw mut figures) } != 0 {
        return None;
    }
    #[allow(clippy::useless_conversion, reason = "the types differ from system to system")]
    Some(u64::from(figures.f_bavail).saturating_mul(u64::from(figures.f_frsize)))
}

/// Other systems are not asked.
#[cfg(not(unix))]
#[must_use]
pub fn free_disk_bytes(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_all_groups_holds() {
        let files = |known: &'static [(&'static str, &'static str)]| {
            move |path: &Path| {
                let text = known.iter().find(|(name, _)| Path::new(name) == path)?.1;
                Some(text.to_owned())
            }
        };
        let second = files(&[
            ("/sys/fs/cgroup/jobs/one/memory.max", "max\n"),
            ("/sys/fs/cgroup/jobs/memory.max", "4096\n"),
            ("/sys/fs/cgroup/memory.max", "9999\n"),
        ]);
        assert_eq!(group_limit("0::/jobs/one\n", &second), Some(4096));
        assert_eq!(group_limit("0::/elsewhere\n", &second), Some(9999));
        let first = files(&[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2048\n")]);
        assert_eq!(group_limit("7:cpu:/a\n4:memory:/a/b\n0::/\n", &first), Some(2048));
        assert_eq!(group_limit("4:cpu,memory:/\n", &first), Some(2048));
        assert_eq!(group_limit("7:cpu:/a\n", &first), None);
        assert_eq!(group_limit("", &first), None);
    }

    #[test]
    fn a_disk_has_some_room_and_no_disk_none() {
        if cfg!(unix) {
            assert!(free_disk_bytes(Path::new("")).unwrap() > 0);
            assert_eq!(free_disk_bytes(Path::new("/nowhere/at/all")), None);
        }
        if cfg!(target_os = "linux") {
            assert!(free_memory_bytes().unwrap() > 1 << 20);
        }
    }
}
