//! The conflict journal: what a merge put aside, so that a user can look at it.
//!
//! Reported when a received write and one that its writer had not seen meet in a cell: the one
//! with the lower stamp is not read any more. Equal values lose nothing and are not reported. The
//! journal is local: every node writes down what it meets itself.

use std::collections::VecDeque;

use bytes::Bytes;
use rhumb_types::{
    Hlc, RegionId,
    record::{Cell, CellId, Dot, Entry, Field, Record, Stamp, Transaction, Value},
};
use serde::{Deserialize, Serialize};

use crate::visible;

/// Most entries kept in the journal; the oldest go first.
pub const CONFLICT_JOURNAL_ENTRIES_MAX: u64 = 10_000;
/// Most bytes kept of a value that lost.
pub const CONFLICT_VALUE_BYTES_MAX: usize = 16 << 10;

/// What kind of conflict it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ConflictKind {
    /// Two regions wrote different values to a cell.
    ConcurrentWrite,
    /// Two regions gave a key different types.
    TypeConflict,
    /// A removal met a write that its writer had not seen; the write stays.
    ConcurrentRemove,
}

impl ConflictKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::ConcurrentWrite, Self::TypeConflict, Self::ConcurrentRemove];
}

/// One conflict.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConflictEntry {
    /// When the write that met the other one was made.
    pub at: Hlc,
    /// Where it was made.
    pub region: RegionId,
    /// Which cell.
    pub cell: CellId,
    /// What kind of conflict.
    pub kind: ConflictKind,
    /// The write that is read now.
    pub winner: Dot,
    /// Its stamp.
    pub winner_stamp: Stamp,
    /// The write that is not.
    pub loser: Dot,
    /// Its stamp.
    pub loser_stamp: Stamp,
    /// What it wrote, up to [`CONFLICT_VALUE_BYTES_MAX`]; `None` for a removal.
    pub loser_value: Option<Value>,
}

impl Record for ConflictEntry {
    const VERSION: u8 = 1;
}

/// Collects conflicts, counts them, and numbers them for the store.
#[derive(Debug, Default)]
pub struct ConflictSink {
    next: u64,
    pending: VecDeque<ConflictEntry>,
    counts: [u64; ConflictKind::ALL.len()],
}

/// Journal rows to write to the store.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct JournalWrites {
    /// New entries, each with its place.
    pub entries: Vec<(u64, ConflictEntry)>,
    /// Entries up to this place, this included, are to be forgotten.
    pub trim: Option<u64>,
}

impl ConflictSink {
    /// A journal that goes on at a place: one more than the last in the store, 0 when it is empty.
    #[must_use]
    pub fn resume(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// How many conflicts of a kind there were since the start.
    #[must_use]
    pub fn count(&self, kind: ConflictKind) -> u64 {
        self.counts.get(kind as usize).copied().unwrap_or_default()
    }

    /// The entries since the last call, with their places.
    #[must_use]
    pub fn take(&mut self) -> JournalWrites {
        if self.pending.is_empty() {
            return JournalWrites::default();
        }
        let entries: Vec<_> = (self.next..).zip(self.pending.drain(..)).collect();
        self.next += entries.len() as u64;
        JournalWrites { entries, trim: self.next.checked_sub(CONFLICT_JOURNAL_ENTRIES_MAX + 1) }
    }

    fn report(&mut self, entry: ConflictEntry) {
        if let Some(count) = self.counts.get_mut(entry.kind as usize) {
            *count += 1;
        }
        // Between two takes the journal's own bound holds too: what would be trimmed at once is
        // not kept.
        if self.pending.len() as u64 >= CONFLICT_JOURNAL_ENTRIES_MAX {
            self.pending.pop_front();
            self.next += 1;
        }
        self.pending.push_back(entry);
    }

    /// Looks at a cell after a received Put.
    pub(crate) fn after_put(&mut self, transaction: &Transaction, cell: &CellId, row: &Cell) {
        if row.entries.len() < 2 {
            return;
        }
        let dot = transaction.dot();
        let Some(written) = row.entries.iter().find(|entry| entry.dot == dot) else { return };
        let others = row.entries.iter().filter(|entry| entry.dot != dot);
        let Some(other) = others.max_by_key(|entry| entry.stamp()) else { return };
        let (winner, loser) =
            if written.stamp() > other.stamp() { (written, other) } else { (other, written) };
        if winner.value == loser.value {
            return;
        }
        self.report(ConflictEntry {
            at: transaction.timestamp,
            region: transaction.region.clone(),
            cell: cell.clone(),
            kind: kind_of(cell, winner, loser),
            winner: winner.dot,
            winner_stamp: winner.stamp(),
            loser: loser.dot,
            loser_stamp: loser.stamp(),
            loser_value: Some(shortened(&loser.value)),
        });
    }

    /// Looks at a cell after a received removal.
    pub(crate) fn after_remove(&mut self, transaction: &Transaction, cell: &CellId, row: &Cell) {
        let Some(winner) = visible::winner(row) else { return };
        // A removal of a key comes with one of its head; that is one conflict.
        let known = |last: &ConflictEntry| last.loser == transaction.dot() && last.cell == *cell;
        if self.pending.back().is_some_and(known) {
            return;
        }
        self.report(ConflictEntry {
            at: transaction.timestamp,
            region: transaction.region.clone(),
            cell: cell.clone(),
            kind: ConflictKind::ConcurrentRemove,
            winner: winner.dot,
            winner_stamp: winner.stamp(),
            loser: transaction.dot(),
            loser_stamp: Stamp { hlc: transaction.timestamp, origin: transaction.origin },
            loser_value: None,
        });
    }
}

fn kind_of(cell: &CellId, winner: &Entry, loser: &Entry) -> ConflictKind {
    let type_of = |value: &Value| match value {
        Value::Kind(kind) => Some(*kind),
        Value::Bytes(_) | Value::Unit | Value::Score(_) | Value::Decided(_) => None,
    };
    if cell.field == Field::Head && type_of(&winner.value) != type_of(&loser.value) {
        ConflictKind::TypeConflict
    } else {
        ConflictKind::ConcurrentWrite
    }
}

fn shortened(value: &Value) -> Value {
    match value {
        Value::Bytes(bytes) => {
            let kept = bytes.get(..CONFLICT_VALUE_BYTES_MAX).unwrap_or(bytes);
            // A copy, so that the journal does not keep a whole read buffer alive.
            Value::Bytes(Bytes::copy_from_slice(kept))
        }
        other => other.clone(),
    }
}
