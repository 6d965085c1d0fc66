//! What a store of blobs has done, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use rhumb_ports::blobs::BlobCounts;

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

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Counters {
    /// The counts now.
    #[must_use]
    pub fn now(&self) -> BlobCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BlobCounts {
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
