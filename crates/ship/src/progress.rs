//! How far a transfer is, for whoever shows it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rhumb_types::RegionId;

/// A number that grows while others look at it.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Makes it larger.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How large it is.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far one region is.
#[derive(Debug)]
pub struct RegionProgress {
    /// The region.
    pub region: RegionId,
    /// Bytes that went to it or came from it.
    pub bytes: Count,
    /// Objects of which they are.
    pub objects: Count,
    /// Objects that were there already.
    pub present: Count,
    /// Whether it was set aside.
    pub lost: AtomicBool,
}

/// How far a transfer is.
#[derive(Debug)]
pub struct Progress {
    /// Bytes of data that there are; grows until [`counted`](Self::counted).
    pub total: Count,
    /// Whether `total` is all.
    pub counted: AtomicBool,
    /// Bytes of data that were read from files, or written to them.
    pub done: Count,
    /// Files, directories and links that were.
    pub entries: Count,
    /// The regions, in the order in which they were named.
    pub regions: Vec<RegionProgress>,
}

impl Progress {
    /// Nothing is done yet.
    pub fn new<'a>(regions: impl IntoIterator<Item = &'a RegionId>) -> Self {
        let region = |region: &RegionId| RegionProgress {
            region: region.clone(),
            bytes: Count::default(),
            objects: Count::default(),
            present: Count::default(),
            lost: AtomicBool::new(false),
        };
        Self {
            total: Count::default(),
            counted: AtomicBool::new(false),
            done: Count::default(),
            entries: Count::default(),
            regions: regions.into_iter().map(region).collect(),
        }
    }

    pub(crate) fn region(&self, region: &RegionId) -> Option<&RegionProgress> {
        self.regions.iter().find(|progress| progress.region == *region)
    }
}
