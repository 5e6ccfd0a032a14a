//! How much memory this process may still take: what refuses a file whose metadata declares more than any machine has.

/// Bytes that can still be had, the least of what the machine has free and what the process is allowed;
/// `u64::MAX` where the system does not say.
pub(crate) fn available_memory() -> u64 {
    [machine(), control_group(), address_space()]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(u64::MAX)
}

/// The number after `key` in a file of `key: number kB` lines, in bytes.
fn kilobytes(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim_start_matches(':')
        .split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

fn machine() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemAvailable")
}

fn number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What the control group allows, less what it uses and cannot give back.
fn control_group() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let name = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let folder = format!("/sys/fs/cgroup{}", name.trim_end_matches('/'));
    let limit = number(&format!("{folder}/memory.max"))?;
    let used = number(&format!("{folder}/memory.current"))?;
    let stat = std::fs::read_to_string(format!("{folder}/memory.stat")).unwrap_or_default();
    let cache = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let cache = cache.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cache)))
}

/// What is left of a limit on the address space (`ulimit -v`).
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
    let used = kilobytes("/proc/self/status", "VmSize").unwrap_or(0);
    Some(limit.rlim_cur.saturating_sub(used))
}

/// Lets this process take half of the memory that can still be had, and so many seconds of processor time; it leaves no
/// image of its memory where it ends badly.
#[cfg(unix)]
pub(crate) fn restrain(cpu_seconds: u64) {
    let used = kilobytes("/proc/self/status", "VmSize").unwrap_or(0);
    let memory = match available_memory() {
        u64::MAX => libc::RLIM_INFINITY,
        bytes => used.saturating_add(bytes / 2),
    };
    for (resource, most) in [
        (libc::RLIMIT_AS, memory),
        (libc::RLIMIT_CPU, cpu_seconds),
        (libc::RLIMIT_CORE, 0),
    ] {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `limit` is a valid rlimit that outlives both calls, which write and read nothing else. What fails leaves
        // the limit that there was.
        unsafe {
            if libc::getrlimit(resource, &raw mut limit) == 0 {
                limit.rlim_cur = limit.rlim_max.min(most);
                libc::setrlimit(resource, &raw const limit);
            }
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn restrain(_cpu_seconds: u64) {}

#[cfg(not(unix))]
fn address_space() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn some_memory_is_there() {
        assert!(super::available_memory() > 1 << 20);
    }
}
