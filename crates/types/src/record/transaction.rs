//! The unit of change.

use std::cmp;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Amount, CellId, Dot, OwnedRow, Space, Value, VersionVector};
use crate::{DomainId, Hlc, OriginId, RegionId, UnixMillis};

/// Most changes in one transaction.
pub const TRANSACTION_CHANGES_MAX: usize = 16_384;
/// Most bytes of an encoded transaction, in bytes; one value of a client may be at most half of
/// it.
pub const TRANSACTION_BYTES_MAX: usize = 8 << 20;

/// A transaction's global id: ordered by time, then by origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TransactionId {
    /// When it was committed, by the writer's hybrid clock.
    pub timestamp: Hlc,
    /// Who wrote it.
    pub origin: OriginId,
}

/// Everything that one group commit of one writing loop changed in one residency domain.
///
/// Travels and applies as one. Its **context** is `deps` plus every earlier version of its own
/// origin: what the writer had applied when it wrote. Every change removes exactly what the
/// context covers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Transaction {
    /// Who wrote it.
    pub origin: OriginId,
    /// Gapless per origin, from 1.
    pub version: u64,
    /// The writer's hybrid clock; grows with the version.
    pub timestamp: Hlc,
    /// Where it was written.
    pub region: RegionId,
    /// What the writer had applied of other origins.
    pub deps: VersionVector,
    /// What changed, in order. Between removals of a range, a cell has at most one
    /// [`Change::Put`] or [`Change::Remove`], and after it at most one [`Change::Add`].
    pub changes: Vec<Change>,
}

impl Transaction {
    /// Its global id.
    #[must_use]
    pub const fn id(&self) -> TransactionId {
        TransactionId { timestamp: self.timestamp, origin: self.origin }
    }

    /// The dot of everything it writes.
    #[must_use]
    pub const fn dot(&self) -> Dot {
        Dot { origin: self.origin, version: self.version }
    }

    /// The residency domain that it belongs to (rule 3).
    #[must_use]
    pub const fn domain(&self) -> DomainId {
        self.origin.domain()
    }

    /// Whether its writer had applied a write. Its own dot is not in its own context.
    #[must_use]
    pub fn has_seen(&self, dot: Dot) -> bool {
        if dot.origin == self.origin {
            return dot.version < self.version;
        }
        self.deps.covers(dot)
    }
}

impl PartialOrd for Transaction {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.id().cmp(&other.id()))
    }
}

/// One change inside a transaction. Each removes what the transaction's context covers; what the
/// writer did not see survives.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// Replaces what the context covers of a cell by one entry, and marks the deltas it covers.
    Put {
        /// Which cell.
        cell: CellId,
        /// Its new entry.
        value: Value,
        /// When the key ceases to be visible; only on head cells.
        expiry: Option<UnixMillis>,
        /// The deltas that the writer saw, which this write marks.
        marks: Vec<Mark>,
    },
    /// Adds to a counter; keeps the entries.
    Add {
        /// Which cell.
        cell: CellId,
        /// The version of the frame's first addition; the transaction's own for a new frame.
        frame: u64,
        /// This origin's new running sum of the frame.
        sum: Amount,
    },
    /// Removes what the context covers of a cell.
    Remove {
        /// Which cell.
        cell: CellId,
        /// The deltas that the writer saw, which this removal marks.
        marks: Vec<Mark>,
    },
    /// Removes what the context covers of every cell of a key. No earlier change of the same
    /// transaction leaves an entry or an addition of its own in the key.
    RemoveKey {
        /// The view.
        space: Space,
        /// The key.
        key: Bytes,
    },
    /// Removes what the context covers of every key that starts with a prefix; what is said of
    /// [`Change::RemoveKey`] holds for all these keys.
    RemovePrefix {
        /// The view.
        space: Space,
        /// The prefix; empty for all keys.
        prefix: Bytes,
    },
    /// Sets a row that only its home region may change. Never refused (rule 4).
    Own(OwnedRow),
}

/// How much of one origin's additions a write saw.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// Whose additions.
    pub origin: OriginId,
    /// Of which frame.
    pub frame: u64,
    /// Up to which version.
    pub version: u64,
    /// The sum at that version.
    pub sum: Amount,
}
