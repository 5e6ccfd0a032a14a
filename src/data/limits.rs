//! How much memory this process may still take: what refuses a file whose metadata declares more than any machine has.

use crate::sys::{free_memory_bytes, mapped_bytes};

/// Bytes that can still be had, see [`free_memory_bytes`]; `u64::MAX` where the system does not say.
pub(crate) fn available_memory() -> u64 {
    free_memory_bytes().unwrap_or(u64::MAX)
}

/// Lets this process take half of the memory that can still be had, at most `memory` bytes more than it has, and so many
/// seconds of processor time; it leaves no
/// image of its memory where it ends badly.
#[cfg(unix)]
pub(crate) fn restrain(memory: u64, cpu_seconds: u64) {
    let used = mapped_bytes().unwrap_or(0);
    let memory = match (available_memory(), memory) {
        (u64::MAX, u64::MAX) => libc::RLIM_INFINITY,
        (bytes, memory) => used.saturating_add(memory.min(bytes / 2)),
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
pub(crate) fn restrain(_memory: u64, _cpu_seconds: u64) {}

#[cfg(test)]
mod tests {
    #[test]
    fn some_memory_is_there() {
        assert!(super::available_memory() > 1 << 20);
    }
}
