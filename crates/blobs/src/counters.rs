//! What a store of blobs has done, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts from the start of the process. Reading them takes no lock.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) stored: AtomicU64,
    pub(crate) stored_bytes: AtomicU64,
    pub(crate) kept: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) verified: AtomicU64,
    pub(crate) verified_bytes: AtomicU64,
    pub(crate) removed: AtomicU64,
    pub(crate) damaged: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Blobs that were stored.
    pub stored: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Blobs that were written and held already.
    pub kept: u64,
    /// Reads of ranges.
    pub reads: u64,
    /// The bytes that they gave.
    pub read_bytes: u64,
    /// Blobs that were read as a whole and found sound.
    pub verified: u64,
    /// Their bytes.
    pub verified_bytes: u64,
    /// Blobs that were removed.
    pub removed: u64,
    /// Blobs that were found damaged and set aside.
    pub damaged: u64,
    /// Operations that failed because the store did.
    pub failed: u64,
}

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Counters {
    /// The counts now.
    #[must_use]
    pub fn now(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            stored: of(&self.stored),
            stored_bytes: of(&self.stored_bytes),
            kept: of(&self.kept),
            reads: of(&self.reads),
            read_bytes: of(&self.read_bytes),
            verified: of(&self.verified),
            verified_bytes: of(&self.verified_bytes),
            removed: of(&self.removed),
            damaged: of(&self.damaged),
            failed: of(&self.failed),
        }
    }
}
