//! How much memory and disk this process may take.

use std::path::Path;

/// Bytes of memory that this process can still have: the least of what the machine has left, what the control groups of
/// the process (a container, a batch system's slot) allow, and what its address space may still grow by (`ulimit -v`).
/// `None` where the system does not say.
#[must_use]
pub fn free_memory_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo");
    let machine = meminfo.ok().and_then(|text| super::field_of(&text, "MemAvailable:"));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_free(&groups, &|path| std::fs::read_to_string(path).ok());
    [machine, group, address_space()].into_iter().flatten().min()
}

/// The least that is left of a process's control groups and of those that hold them, of both versions: the limit less
/// what is used and cannot be given back. `groups` is the text of `/proc/self/cgroup`, `read` gives the text of a file.
fn group_free(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let free = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, [limit, used], cache) = match controllers {
            "" => ("/sys/fs/cgroup", ["memory.max", "memory.current"], "inactive_file "),
            _ if controllers.split(',').any(|name| name == "memory") => (
                "/sys/fs/cgroup/memory",
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
                "total_inactive_file ",
            ),
            _ => return None,
        };
        let left_in = |folder: std::path::PathBuf| {
            let number = |file: &str| read(&folder.join(file))?.trim().parse::<u64>().ok();
            let limit = number(limit)?;
            let stat = read(&folder.join("memory.stat")).unwrap_or_default();
            let cache = stat
                .lines()
                .find_map(|line| line.strip_prefix(cache)?.trim().parse::<u64>().ok());
            Some(limit.saturating_sub(number(used).unwrap_or(0).saturating_sub(cache.unwrap_or(0))))
        };
        // In a container the path may be one of the machine outside: what is seen at the root holds then.
        let folders = { Path::new(path).ancestors() }
            .map(|folder| Path::new(root).join(folder.strip_prefix("/").unwrap_or(folder)));
        folders.filter_map(left_in).min()
    });
    free.min()
}

/// What is left of a limit on the address space.
#[cfg(unix)]
fn address_space() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit that outlives the call, which writes nothing else.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    if status != 0 || limit.rlim_cur == libc::RLIM_INFINITY {
        return None;
    }
    Some(limit.rlim_cur.saturating_sub(mapped_bytes().unwrap_or(0)))
}

/// Other systems have none.
#[cfg(not(unix))]
fn address_space() -> Option<u64> {
    None
}

/// The address space that this process has taken, in bytes; `None` where the system does not say.
pub(crate) fn mapped_bytes() -> Option<u64> {
    super::field_of(&std::fs::read_to_string("/proc/self/status").ok()?, "VmSize:")
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
        assert_eq!(group_free("0::/jobs/one\n", &second), Some(4096));
        assert_eq!(group_free("0::/elsewhere\n", &second), Some(9999));
        let first = files(&[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2048\n")]);
        assert_eq!(group_free("7:cpu:/a\n4:memory:/a/b\n0::/\n", &first), Some(2048));
        assert_eq!(group_free("4:cpu,memory:/\n", &first), Some(2048));
        assert_eq!(group_free("7:cpu:/a\n", &first), None);
        assert_eq!(group_free("", &first), None);
        let used = files(&[
            ("/sys/fs/cgroup/memory.max", "9999\n"),
            ("/sys/fs/cgroup/memory.current", "5000\n"),
            ("/sys/fs/cgroup/memory.stat", "anon 7\ninactive_file 1000\n"),
        ]);
        assert_eq!(
            group_free("0::/\n", &used),
            Some(5999),
            "what is cached can be given back"
        );
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
