//! Merging a snapshot of another region with what this node has of its own.
//!
//! A node that is far behind, or that returns with writes which nobody else has, takes a
//! snapshot: the rows of a peer and the vector that they reflect. For every key the result is
//! what applying the union of both sides' transactions would have given:
//!
//! - what both sides have stays;
//! - what one side alone has stays unless the other side had applied it: then that side has
//!   removed it. *Absent but covered* means deleted, which is why no tombstones are kept.
//!
//! The vectors must name only origins of residency domains that both carry (rule 3): absence means
//! nothing where a side does not look.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_types::record::{Cell, Delta, Dot, Entry, Head, VersionVector};

use crate::{cell, visible};

/// A key with all its members, removals of the whole key carried out.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct KeyRows {
    /// The head's cell.
    pub head: Cell,
    /// The members' cells.
    pub members: BTreeMap<Bytes, Cell>,
}

impl KeyRows {
    /// A key from its rows as they are stored. The head must have been passed through the removals
    /// of ranges ([`crate::ClearedPrefixes::settle`]).
    pub fn new(head: Head, members: impl IntoIterator<Item = (Bytes, Cell)>) -> Self {
        let members = members.into_iter().filter_map(|(member, mut row)| {
            cell::settle(&mut row, &head.cleared);
            (!row.is_vacant()).then_some((member, row))
        });
        Self { members: members.collect(), head: head.cell }
    }

    /// The row of the key's head, with its members counted. `settled` is the sequence of the last
    /// removal of a range that this node applied.
    #[must_use]
    pub fn head_row(&self, settled: u64) -> Head {
        let members = self.members.values().filter(|row| visible::is_live(row)).count() as u64;
        Head { cell: self.head.clone(), members, settled, ..Head::default() }
    }
}

/// One side of a merge: what a region had applied.
#[derive(Debug)]
pub struct Side<'a, T> {
    /// Its rows.
    pub rows: &'a T,
    /// The vector that they reflect.
    pub vector: &'a VersionVector,
}

impl<T> Clone for Side<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Side<'_, T> {}

/// Merges a key of two regions. Commutative, associative and idempotent, where each side's rows
/// reflect its vector and vectors are merged along.
#[must_use]
pub fn merge_key(local: Side<'_, KeyRows>, theirs: Side<'_, KeyRows>) -> KeyRows {
    let nothing = Cell::default();
    let head = merge_cell(
        Side { rows: &local.rows.head, vector: local.vector },
        Side { rows: &theirs.rows.head, vector: theirs.vector },
    );
    let names = local.rows.members.keys().chain(theirs.rows.members.keys());
    let mut members = BTreeMap::new();
    for name in names {
        if members.contains_key(name) {
            continue;
        }
        let merged = merge_cell(
            Side { rows: local.rows.members.get(name).unwrap_or(&nothing), vector: local.vector },
            Side { rows: theirs.rows.members.get(name).unwrap_or(&nothing), vector: theirs.vector },
        );
        members.insert(name.clone(), merged);
    }
    members.retain(|_, row| !row.is_vacant());
    KeyRows { head, members }
}

/// Merges one cell of two regions; for a key whose members are too many to merge at once.
#[must_use]
pub fn merge_cell(local: Side<'_, Cell>, theirs: Side<'_, Cell>) -> Cell {
    let stays = |entry: &&Entry, other: Side<'_, Cell>| {
        !other.vector.covers(entry.dot) || other.rows.entries.iter().any(|e| e.dot == entry.dot)
    };
    let mut entries: Vec<Entry> =
        local.rows.entries.iter().filter(|entry| stays(entry, theirs)).cloned().collect();
    let only_theirs = theirs
        .rows
        .entries
        .iter()
        .filter(|entry| !local.rows.entries.iter().any(|known| known.dot == entry.dot))
        .filter(|entry| stays(entry, local));
    entries.extend(only_theirs.cloned());
    entries.sort_unstable_by_key(|entry| entry.dot);

    let mut deltas = BTreeMap::new();
    for (own, other) in [(local, theirs), (theirs, local)] {
        for delta in &own.rows.deltas {
            let known = other.rows.deltas.iter().find(|known| known.origin == delta.origin);
            match known {
                Some(known) => {
                    deltas.insert(delta.origin, merge_delta(delta, known));
                }
                None => {
                    // Absent though applied: the other side has forgotten it, since nothing of it
                    // counts and nothing can follow.
                    let last = Dot { origin: delta.origin, version: delta.version };
                    if !other.vector.covers(last) {
                        deltas.insert(delta.origin, delta.clone());
                    }
                }
            }
        }
    }
    Cell { entries: entries.into(), deltas: deltas.into_values().collect() }
}

/// Merges what two regions know of one origin's additions: the newest addition, the highest mark
/// of its frame, and whether a removal of the whole key covered it.
#[must_use]
pub fn merge_delta(left: &Delta, right: &Delta) -> Delta {
    let order = |delta: &Delta| (delta.frame, delta.version);
    let (newer, older) = if order(left) >= order(right) { (left, right) } else { (right, left) };
    let mut merged = newer.clone();
    if older.frame != newer.frame {
        return merged;
    }
    if older.version == newer.version {
        merged.cleared |= older.cleared;
        merged.marked_by = newer.marked_by.max(older.marked_by);
    }
    if older.mark_version > newer.mark_version {
        merged.mark_version = older.mark_version;
        merged.mark = older.mark;
    }
    merged
}
