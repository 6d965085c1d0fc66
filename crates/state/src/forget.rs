//! When a delta can be forgotten.
//!
//! A delta that no longer counts must stay until no addition of its frame can arrive any more:
//! such an addition would build on the sum, and the mark tells how much of it is gone. Its origin
//! starts a new frame once it has applied a write that marked or cleared all of the old one. So
//! the delta can go when the origin has acknowledged that write, and everything that the origin
//! wrote before this acknowledgement has been applied here.

use std::collections::BTreeMap;

use rhumb_types::{
    OriginId,
    record::{Cell, Delta, VersionVector},
};

/// What every origin is known to have applied.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Stability {
    /// Per origin, the vector that its node last acknowledged. The origin's own entry in it is
    /// how far its log went at that time.
    pub acked: BTreeMap<OriginId, VersionVector>,
    /// Origins that never write again, with their last version.
    pub ended: BTreeMap<OriginId, u64>,
    /// What this node has applied.
    pub applied: VersionVector,
}

impl Stability {
    /// Whether no addition to this delta's frame can arrive here any more, and nothing of it
    /// counts.
    #[must_use]
    pub fn forgettable(&self, delta: &Delta) -> bool {
        if delta.counts() {
            return false;
        }
        let applied = self.applied.get(delta.origin);
        if self.ended.get(&delta.origin).is_some_and(|last| *last <= applied) {
            return true;
        }
        let (Some(by), Some(acked)) = (delta.marked_by, self.acked.get(&delta.origin)) else {
            return false;
        };
        acked.covers(by) && acked.get(delta.origin) <= applied
    }

    /// Takes out what can be forgotten.
    pub fn forget(&self, cell: &mut Cell) {
        cell.deltas.retain(|delta| !self.forgettable(delta));
    }

    /// How many deltas of a cell no longer count, and how many of these can be forgotten.
    #[must_use]
    pub fn survey(&self, cell: &Cell) -> (usize, usize) {
        let dead = cell.deltas.iter().filter(|delta| !delta.counts());
        dead.fold((0, 0), |(dead, ready), delta| {
            (dead + 1, ready + usize::from(self.forgettable(delta)))
        })
    }
}
