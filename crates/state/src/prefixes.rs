//! Removals of all keys that start with a prefix (FLUSHDB and its kin).
//!
//! Such a removal takes effect at once: it is kept in a short list per space, and every head is
//! passed through the list when it is read. The sweep then walks the keys, writes what the list
//! makes of each head, and drops the removal from the list. A head remembers in `Head.settled` up
//! to which removal it already reflects, so that it is passed through each of them once.

use bytes::Bytes;
use rhumb_types::record::{Head, Record, Removal};
use serde::{Deserialize, Serialize};

use crate::{cell, visible::MEMBERS_UNKNOWN};

/// One removal of a range of keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClearedPrefix {
    /// Its place in the order in which this node applied such removals; from 1.
    pub sequence: u64,
    /// What the keys start with.
    pub prefix: Bytes,
    /// What it removes.
    pub removal: Removal,
    /// Whether it covered everything that this node had applied, so that every member is gone.
    pub complete: bool,
}

/// The removals of ranges of one space that are not yet swept, in the order applied.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct ClearedPrefixes {
    /// The highest sequence ever used.
    pub last: u64,
    /// The removals.
    pub removals: Vec<ClearedPrefix>,
}

impl Record for ClearedPrefixes {
    const VERSION: u8 = 1;
}

impl ClearedPrefixes {
    /// Adds a removal. One of the same prefix that its writer had seen is replaced.
    pub fn insert(&mut self, prefix: Bytes, removal: Removal, complete: bool) {
        self.last += 1;
        self.removals.retain(|known| {
            !(known.prefix.starts_with(&prefix) && removal.seen.covers(known.removal.dot))
        });
        self.removals.push(ClearedPrefix { sequence: self.last, prefix, removal, complete });
    }

    /// Passes a key's head through the removals that it does not reflect yet. Gives whether
    /// anything changed that must be written before a removal leaves the list.
    pub fn settle(&self, key: &[u8], head: &mut Head) -> bool {
        let mut changed = false;
        if head.settled >= self.last {
            return changed;
        }
        for removal in &self.removals {
            if removal.sequence > head.settled && key.starts_with(&removal.prefix) {
                changed |= clear_head(head, &removal.removal, removal.complete);
            }
        }
        head.settled = self.last;
        changed
    }
}

/// Removes a whole key: its head at once, its members for the sweep. `complete` says that the
/// removal covers everything applied here. Gives whether anything changed.
pub(crate) fn clear_head(head: &mut Head, removal: &Removal, complete: bool) -> bool {
    let mut changed = cell::clear(&mut head.cell, removal);
    // Members that are not visible need no removal: their additions are wholly marked, and marks
    // outlast the removal.
    if head.members != 0 {
        head.cleared.insert(removal.clone());
        head.members = if complete { 0 } else { MEMBERS_UNKNOWN };
        changed = true;
    }
    changed
}
