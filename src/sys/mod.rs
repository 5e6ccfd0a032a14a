//! Layer 0: what the operating system says about this process, and the memory it is asked for.

mod limit;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod spill;
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
#[path = "spill_unsupported.rs"]
mod spill;

pub(crate) use limit::mapped_bytes;
pub use limit::{free_disk_bytes, free_memory_bytes};
pub(crate) use spill::about_to_read;
pub use spill::{
    MIN_LIMIT, SpillingAllocator, keep_within, kept_limit, most_spilled_bytes, resident_budget, spilling_was_refused,
};

/// Numbers whose bytes may all be 0, which is the number 0.
pub(crate) trait Plain: Copy + private::Sealed {}

mod private {
    pub(crate) trait Sealed {}
}

macro_rules! plain {
    ($($number:ty),*) => { $(impl private::Sealed for $number {} impl Plain for $number {})* };
}
plain!(f32, f64, u32);

/// `len` zeros that take no memory before they are written to, by whichever thread that is; `None` where there is no
/// room.
pub(crate) fn zeros<T: Plain>(len: usize) -> Option<Vec<T>> {
    let layout = std::alloc::Layout::array::<T>(len).ok()?;
    if layout.size() == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the layout has a size.
    let start = unsafe { std::alloc::alloc_zeroed(layout) }.cast::<T>();
    if start.is_null() {
        return None;
    }
    if !spill::is_spilled(start.cast()) {
        prefer_large_pages(start.cast(), layout.size());
    }
    // SAFETY: `start` comes from the global allocator with the layout of `len` values, all of which are 0.
    Some(unsafe { Vec::from_raw_parts(start, len, len) })
}

/// Hands back the memory behind the end, unless it stands in a file: that would mean to copy the rest into another.
pub(crate) fn shrink<T: Plain>(values: &mut Vec<T>) {
    if !spill::is_spilled(values.as_ptr().cast_mut().cast()) {
        values.shrink_to_fit();
    }
}

/// Bytes that may be held for a while beside all that a job cannot do without: a small part of the limit, or of the memory
/// that is free. Large allocations leave several times as much of a limit, see [`resident_budget`].
#[must_use]
pub fn spare_bytes(limit: Option<u64>) -> u64 {
    limit.or_else(free_memory_bytes).unwrap_or(0) / 32
}

/// Has a cache line fetched that will be read soon, where the processor can be told.
#[inline(always)]
pub(crate) fn fetch_ahead(word: &u32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every such processor has the instruction, which changes nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(word).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}

/// The same for one that will be read after much else: it must not drive that out of the first-level cache.
#[inline(always)]
pub(crate) fn fetch_early(word: &u32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(std::ptr::from_ref(word).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}

/// A large page, and the most that a fault maps of a file.
pub(crate) const LARGE_PAGE: usize = 2 << 20;

/// Asks for pages of 2 MiB in place of 4 KiB, where the system has them on request: what is read from one end to the
/// other is fetched across the borders of small pages only when it is asked for, and each costs a fault when it is
/// first written to.
#[cfg(target_os = "linux")]
fn prefer_large_pages(start: *mut u8, bytes: usize) {
    let skipped = start.addr().next_multiple_of(LARGE_PAGE) - start.addr();
    let whole = bytes.saturating_sub(skipped) / LARGE_PAGE * LARGE_PAGE;
    if whole > 0 {
        // SAFETY: these bytes belong to one allocation; the advice changes none of them. Where it is refused, small
        // pages serve.
        unsafe { libc::madvise(start.add(skipped).cast(), whole, libc::MADV_HUGEPAGE) };
    }
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
fn prefer_large_pages(_start: *mut u8, _bytes: usize) {}

/// Lets the allocator keep memory that was freed: decoders take and free buffers of a megabyte for every page, and
/// handing each back to the system and getting it again, zeroed, costs more than the decoding.
///
/// For the start of a program; a library's host decides for itself.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_freed_memory() {
    /// The most that glibc takes for it.
    const LARGE: libc::c_int = 32 << 20;
    // SAFETY: both are settings of the allocator that change no memory in use.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 * LARGE);
    }
}

/// Other allocators need no word.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_memory() {}

/// Hands freed memory that the allocator kept back to the system: after the decoding, whose buffers nothing else needs.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn return_freed_memory() {
    // SAFETY: this touches no memory in use.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators need no word.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn return_freed_memory() {}

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
    fn zeros_are_zeros() {
        for len in [0, 1, 1000, 5 << 20] {
            assert!(zeros::<f32>(len).unwrap().iter().all(|v| v.to_bits() == 0));
            assert_eq!(zeros::<u32>(len).unwrap().len(), len);
        }
        assert!(zeros::<f64>(usize::MAX / 4).is_none() && zeros::<f64>(usize::MAX / 32).is_none());
    }

    #[test]
    fn memory_behind_the_end_is_handed_back() {
        let mut values = zeros::<u32>(3 << 20).unwrap();
        values[99] = 7;
        values.truncate(100);
        shrink(&mut values);
        assert!(values.capacity() < 3 << 20);
        assert_eq!((values.len(), values[99]), (100, 7));
    }

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
