//! The part of the log that is held in memory: all that is not purged.

use std::{
    collections::VecDeque,
    ops::{Bound, RangeBounds},
};

use openraft::EntryPayload;

use crate::raft::{Entry, LogId};

/// The log in memory.
pub(super) struct Memory {
    pub(super) lineage: Option<u64>,
    pub(super) purged: Option<LogId>,
    pub(super) entries: VecDeque<Entry>,
    /// Payload bytes of the entries.
    pub(super) bytes: usize,
}

impl Memory {
    pub(super) fn first(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }

    pub(super) fn next(&self) -> u64 {
        self.first() + self.entries.len() as u64
    }

    /// The entries of a range that are there.
    pub(super) fn range(&self, range: impl RangeBounds<u64>) -> impl Iterator<Item = &Entry> {
        let first = self.first();
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let place = |index: u64| usize::try_from(index.saturating_sub(first)).unwrap_or(usize::MAX);
        let (skip, upto) = (place(start), place(end));
        self.entries.iter().skip(skip).take(upto.saturating_sub(skip))
    }
}

pub(super) fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(command) => command.bytes.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}
