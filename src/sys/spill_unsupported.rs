//! What stands for [`super::SpillingAllocator`] where the system has no files that memory can be spilled to.

use std::io;
use std::path::Path;

pub use std::alloc::System as SpillingAllocator;

/// The least limit.
pub const MIN_LIMIT: u64 = 640 << 20;

/// Refuses.
///
/// # Errors
/// Always.
pub fn keep_within(_limit: u64, _folder: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There is none.
#[must_use]
pub fn kept_limit() -> Option<u64> {
    None
}

/// All of it.
#[must_use]
pub fn resident_budget(limit: u64) -> u64 {
    limit
}

/// None.
#[must_use]
pub fn most_spilled_bytes() -> u64 {
    0
}

/// Nothing was asked for.
#[must_use]
pub fn spilling_was_refused() -> bool {
    false
}

/// Nothing is spilled.
#[inline]
pub(crate) fn about_to_read(_bytes: usize) {}

/// Nothing is.
pub(super) fn is_spilled(_start: *mut u8) -> bool {
    false
}
