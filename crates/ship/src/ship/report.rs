//! What became of a shipment, region by region.

use std::time::Duration;

use rhumb_types::RegionId;

use crate::read::Summary;

/// What became of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has the whole archive.
    Complete,
    /// It does not, and why.
    Lost(String),
    /// It was not needed.
    Spare,
}

/// What was done in one region.
#[derive(Clone, Debug)]
pub struct RegionReport {
    /// The region.
    pub region: RegionId,
    /// How it ended.
    pub outcome: Outcome,
    /// Objects that were sent to it, and their bytes.
    pub sent_objects: u64,
    /// Bytes that were sent to it.
    pub sent_bytes: u64,
    /// Objects that it had already.
    pub present: u64,
    /// Objects that it got from another region.
    pub mended: u64,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was read.
    pub summary: Summary,
    /// Packs of the archive.
    pub packs: usize,
    /// In how many regions it was to be.
    pub wanted: usize,
    /// How many were enough.
    pub enough: usize,
    /// The regions, in the order in which they were named.
    pub regions: Vec<RegionReport>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// The source was read again, for what had become of it.
    pub(super) fn follow(&mut self, next: Self) {
        let before = std::mem::replace(self, next);
        for (now, before) in self.regions.iter_mut().zip(before.regions) {
            now.sent_objects += before.sent_objects;
            now.sent_bytes += before.sent_bytes;
            now.mended += before.mended;
        }
    }

    /// In how many regions the archive is.
    #[must_use]
    pub fn complete(&self) -> usize {
        self.regions.iter().filter(|region| region.outcome == Outcome::Complete).count()
    }

    /// Whether it is in fewer regions than was asked for, and in enough.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        (self.enough..self.wanted).contains(&self.complete())
    }

    /// Whether it is in too few regions.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.complete() < self.enough
    }
}
