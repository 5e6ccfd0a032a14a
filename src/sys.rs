//! Layer 0: what the operating system says about this process.

/// The most memory this process has held so far, in bytes; `None` where the system does not say.
#[must_use]
pub fn peak_memory_bytes() -> Option<u64> {
    peak_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The memory that this process holds now, in bytes; `None` where the system does not say.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    field_of(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Lets [`peak_memory_bytes`] begin anew, where the system can do that.
pub fn reset_peak_memory() {
    // Where it cannot, the mark stays, and whoever asks for it sees that it did not rise.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The high-water mark in the text of Linux's `/proc/PID/status`.
fn peak_of(status: &str) -> Option<u64> {
    field_of(status, "VmHWM:")
}

/// A size in that text, in bytes.
fn field_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read() {
        assert_eq!(
            peak_of("Name:\tkohort\nVmHWM:\t    1234 kB\nVmRSS:\t1 kB\n"),
            Some(1234 * 1024)
        );
        assert_eq!(peak_of("Name:\tkohort\n"), None);
        assert_eq!(peak_of("VmHWM: many kB"), None);
        if cfg!(target_os = "linux") {
            assert!(peak_memory_bytes().unwrap() >= memory_bytes().unwrap());
            assert!(memory_bytes().unwrap() > 1 << 20);
        }
    }
}
