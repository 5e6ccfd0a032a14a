//! Memory beyond a limit: large allocations whose pages stand in files, so that the system can take them back.
//!
//! A program that sets [`SpillingAllocator`] as its global allocator and calls [`keep_within`] keeps its resident memory
//! within that limit. As long as the large allocations fit, they are made as always. Each one beyond is a mapping of a
//! file that has no name: the system writes its pages out and reads them again as they are asked for, whatever the code
//! does that uses them, so that nothing else has to know of the limit and no result depends on it. A thread watches the
//! resident size, and unmaps the pages of those files when it comes near the limit; what is read next is mapped again,
//! from the system's cache as long as that holds it.
//!
//! The files have no names from the start: no exit of any kind leaves one behind, nobody can shorten one, and their room
//! on the disk is reserved before a byte of it is used. There is one for each allocation, since giving room of a file back
//! holds up whoever reads the rest of it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Allocations of fewer bytes are never spilled: they are buffers that live for a moment.
const LARGE: usize = 4 << 20;
/// How often the resident size is looked at, beside [`about_to_read`].
const WATCH: Duration = Duration::from_millis(2);
/// How often it is asked whether there is anything to look at.
const IDLE: Duration = Duration::from_millis(20);
/// Bytes that threads may read of what may be spilled before they look at the resident size themselves: busy threads keep
/// the watch waiting, and passes over the data read more than a megabyte in the time it takes to wake up.
const READ_STEP: usize = 16 << 20;
/// The least limit that a whole job keeps: the program itself, its threads and the buffers of decoders take a part of it.
pub const MIN_LIMIT: u64 = 640 << 20;
/// What the pages of the file may add before they are unmapped: that much of the limit is never aimed at.
const SLACK: u64 = 128 << 20;
/// Pages of files that may be mapped, or an eighth of the limit if that is more: rows that are read here and there map
/// large pages faster than twice as many are unmapped.
const MAPPED: u64 = 320 << 20;

/// Bytes of all large allocations that stand in memory of their own.
static RESIDENT: AtomicUsize = AtomicUsize::new(0);
/// What they may come to; what goes beyond is spilled.
static BUDGET: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Bytes that are spilled now, and at most so far.
static SPILLED: AtomicUsize = AtomicUsize::new(0);
static MOST_SPILLED: AtomicUsize = AtomicUsize::new(0);
/// Whether the file could not take an allocation, which is in memory instead.
static REFUSED: AtomicBool = AtomicBool::new(false);
/// Bytes read so far, see [`about_to_read`].
static READ: AtomicUsize = AtomicUsize::new(0);
static SPILL: OnceLock<Spill> = OnceLock::new();

/// The system's allocator, and a file for large allocations beyond the limit of [`keep_within`]; without a limit the
/// system's allocator alone.
#[derive(Debug)]
pub struct SpillingAllocator;

// SAFETY: every block comes from the system's allocator or is a mapping of its own, at least as long as the layout asks
// for and aligned to a page; blocks go back to where they came from, which the addresses of the mappings tell.
unsafe impl GlobalAlloc for SpillingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() < LARGE {
            // SAFETY: the caller's promises are those that are asked for.
            return unsafe { System.alloc(layout) };
        }
        // SAFETY: as above.
        large(layout, || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() < LARGE {
            // SAFETY: the caller's promises are those that are asked for.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as above; a file's reserved room reads as zeros.
        large(layout, || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if layout.size() >= LARGE {
            if spill_in_use().is_some_and(|spill| spill.free(start)) {
                return;
            }
            RESIDENT.fetch_sub(layout.size(), Relaxed);
        }
        // SAFETY: the block is none of the file's, hence the system's.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.size() < LARGE && new_size < LARGE {
            // SAFETY: the caller's promises are those that are asked for.
            return unsafe { System.realloc(start, layout, new_size) };
        }
        // SAFETY: `new_size` is not 0 and no more than a layout may have, as the caller promises.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let grows_by = new_size.saturating_sub(layout.size());
        if !is_spilled(start) && RESIDENT.load(Relaxed).saturating_add(grows_by) <= BUDGET.load(Relaxed) {
            // SAFETY: the block is the system's.
            let moved = unsafe { System.realloc(start, layout, new_size) };
            if !moved.is_null() {
                count_resident(layout.size(), new_size);
            }
            return moved;
        }
        // SAFETY: both blocks are as long as what is copied, and the old one goes back to where it came from.
        unsafe {
            let moved = self.alloc(new_layout);
            if !moved.is_null() {
                std::ptr::copy_nonoverlapping(start, moved, layout.size().min(new_size));
                self.dealloc(start, layout);
            }
            moved
        }
    }
}

/// Keeps count of a resident block that changed its size.
fn count_resident(old: usize, new: usize) {
    let large = |size: usize| if size >= LARGE { size } else { 0 };
    RESIDENT.fetch_add(large(new), Relaxed);
    RESIDENT.fetch_sub(large(old), Relaxed);
}

/// A large block, in memory while the budget allows it, else in the file.
fn large(layout: Layout, from_system: impl FnOnce() -> *mut u8) -> *mut u8 {
    let size = layout.size();
    if RESIDENT.load(Relaxed).saturating_add(size) > BUDGET.load(Relaxed) && layout.align() <= PAGE {
        match SPILL.get().map(|spill| spill.allocate(size)) {
            Some(Some(start)) => return start,
            Some(None) => REFUSED.store(true, Relaxed),
            None => {}
        }
    }
    let start = from_system();
    if !start.is_null() {
        RESIDENT.fetch_add(size, Relaxed);
    }
    start
}

/// No page of any system that this runs on is smaller.
const PAGE: usize = 4096;

/// The file, where something stands in it.
#[inline]
fn spill_in_use() -> Option<&'static Spill> {
    if SPILLED.load(Relaxed) == 0 { None } else { SPILL.get() }
}

/// Where files are made, what is mapped of them, and the limit.
struct Spill {
    folder: PathBuf,
    /// Small, so that the allocator is never asked to make room here for itself; held for moments only, since the watch
    /// waits for it.
    mapped: Mutex<Vec<Mapped>>,
    limit: u64,
    /// `/proc/self/statm`
    statm: File,
}

/// A block, and its file, in the address space of the process.
struct Mapped {
    start: usize,
    bytes: usize,
}

impl Spill {
    fn mapped(&self) -> MutexGuard<'_, Vec<Mapped>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block of zeros; `None` where the disk or the address space has no room.
    fn allocate(&self, size: usize) -> Option<*mut u8> {
        let bytes = size.checked_next_multiple_of(PAGE)?;
        let file = tempfile::tempfile_in(&self.folder).ok()?;
        let descriptor = file.as_raw_fd();
        // SAFETY: the descriptor is open.
        if unsafe { libc::posix_fallocate(descriptor, 0, i64::try_from(bytes).ok()?) } != 0 {
            return None;
        }
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of room that the file has, which holds the file from here on.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, rights, libc::MAP_SHARED, descriptor, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let spilled = SPILLED.fetch_add(bytes, Relaxed) + bytes;
        MOST_SPILLED.fetch_max(spilled, Relaxed);
        self.mapped().push(Mapped {
            start: start.expose_provenance(),
            bytes,
        });
        Some(start.cast())
    }

    fn holds(&self, start: *mut u8) -> bool {
        self.mapped().iter().any(|block| block.start == start.addr())
    }

    /// Gives a block back; whether it was one of these.
    fn free(&self, start: *mut u8) -> bool {
        let block = {
            let mut mapped = self.mapped();
            let place = mapped.iter().position(|block| block.start == start.addr());
            match place {
                Some(place) => mapped.swap_remove(place),
                None => return false,
            }
        };
        // SAFETY: the block was mapped here, and its user is done with it; its file goes with it.
        unsafe { libc::munmap(start.cast(), block.bytes) };
        SPILLED.fetch_sub(block.bytes, Relaxed);
        true
    }

    /// Unmaps every page of the file where the limit is near, which keeps what it holds.
    fn look(&self) {
        let most = self.limit - (self.limit / 8).max(SLACK.min(self.limit / 2));
        let is_near = |[resident, of_files]: [u64; 2]| resident > most || of_files > MAPPED.max(self.limit / 8);
        if !resident(&self.statm).is_some_and(is_near) {
            return;
        }
        for block in &*self.mapped() {
            let start = std::ptr::with_exposed_provenance_mut(block.start);
            // SAFETY: the pages are those of a shared mapping of a file: whoever touches them next finds what they held.
            unsafe { libc::madvise(start, block.bytes, libc::MADV_DONTNEED) };
        }
    }
}

/// Keeps the memory of this process within `limit` bytes from here on, where its global allocator is
/// [`SpillingAllocator`] and the limit at least [`MIN_LIMIT`]: large allocations beyond go to a file in `folder`. For the
/// start of a program, once.
///
/// # Errors
/// Those of the system where no file can be made there, or no thread; where the folder is kept in memory itself.
pub fn keep_within(limit: u64, folder: &Path) -> io::Result<()> {
    if is_in_memory(&tempfile::tempfile_in(folder)?) {
        return Err(io::Error::other("that file system is kept in memory itself"));
    }
    let spill = Spill {
        folder: folder.canonicalize()?,
        mapped: Mutex::new(Vec::new()),
        limit,
        statm: File::open("/proc/self/statm")?,
    };
    let spill = SPILL.get_or_init(|| spill);
    let watch = std::thread::Builder::new().name("memory".into());
    watch.spawn(move || {
        loop {
            if SPILLED.load(Relaxed) > 0 {
                std::thread::sleep(WATCH);
                spill.look();
            } else {
                std::thread::sleep(IDLE);
            }
        }
    })?;
    BUDGET.store(usize::try_from(resident_budget(limit)).unwrap_or(usize::MAX), Relaxed);
    Ok(())
}

/// Whether a file's system has no disk.
fn is_in_memory(file: &File) -> bool {
    const RAMFS: libc::c_long = 0x8584_58f6;
    // SAFETY: all zeros are a value of this struct of integers.
    let mut figures: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the struct is there to be written to.
    let known = unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut figures) } == 0;
    known && [libc::TMPFS_MAGIC, RAMFS].contains(&figures.f_type)
}

/// Whether a block stands in the file.
pub(super) fn is_spilled(start: *mut u8) -> bool {
    spill_in_use().is_some_and(|spill| spill.holds(start))
}

/// To be told by whoever reads prepared data as fast as memory gives it.
#[inline]
pub(crate) fn about_to_read(bytes: usize) {
    if let Some(spill) = spill_in_use() {
        count_read(spill, bytes);
    }
}

#[cold]
fn count_read(spill: &Spill, bytes: usize) {
    let before = READ.fetch_add(bytes, Relaxed);
    if before / READ_STEP != before.wrapping_add(bytes) / READ_STEP {
        spill.look();
    }
}

/// The limit of [`keep_within`], where there is one.
#[must_use]
pub fn kept_limit() -> Option<u64> {
    SPILL.get().map(|spill| spill.limit)
}

/// What large allocations may take of a limit of so many bytes: the rest is for everything else, and for mapped pages of
/// the file.
#[must_use]
pub fn resident_budget(limit: u64) -> u64 {
    const REST: u64 = 1 << 30;
    limit - (limit / 8).max((limit / 2).min(REST))
}

/// Resident bytes, and those of them that are pages of files, from the text of `/proc/self/statm`.
fn resident(statm: &File) -> Option<[u64; 2]> {
    let mut text = [0; 64];
    let n = statm.read_at(&mut text, 0).ok()?;
    let mut pages = std::str::from_utf8(&text[..n]).ok()?.split(' ').skip(1);
    // SAFETY: this only asks.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    let mut next = || pages.next()?.parse::<u64>().ok()?.checked_mul(page);
    Some([next()?, next()?])
}

/// The most bytes that were in the file at once so far.
#[must_use]
pub fn most_spilled_bytes() -> u64 {
    MOST_SPILLED.load(Relaxed) as u64
}

/// Whether the disk had no room for something that is in memory instead, beyond the limit.
#[must_use]
pub fn spilling_was_refused() -> bool {
    REFUSED.load(Relaxed)
}
