//! A store in memory: rows, their indexes, and the commit number.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rhumb_state::{ClearedPrefixes, ReadSet, RowId, RowWrite, SweepChunk};
use rhumb_types::{
    UnixMillis,
    record::{Cell, Head, OwnedId, OwnedRow, Space},
};

#[derive(Default, Debug, Clone)]
pub(crate) struct MemoryStore {
    pub(crate) commit: u64,
    pub(crate) heads: BTreeMap<(Space, Bytes), Head>,
    pub(crate) members: BTreeMap<(Space, Bytes, Bytes), Cell>,
    pub(crate) scores: BTreeSet<(Space, Bytes, u64, Bytes)>,
    pub(crate) expiries: BTreeSet<(UnixMillis, Space, Bytes)>,
    pub(crate) owned: BTreeMap<OwnedId, OwnedRow>,
    pub(crate) cleared: BTreeMap<Space, ClearedPrefixes>,
}

impl MemoryStore {
    pub(crate) fn commit(&mut self, writes: Vec<RowWrite>) -> u64 {
        self.commit += 1;
        for write in writes {
            self.write(write);
        }
        self.commit
    }

    fn write(&mut self, write: RowWrite) {
        match write {
            RowWrite::Head { space, key, head: Some(head) } => {
                self.heads.insert((space, key), head);
            }
            RowWrite::Head { space, key, head: None } => {
                self.heads.remove(&(space, key));
            }
            RowWrite::Member { space, key, member, cell: Some(cell) } => {
                self.members.insert((space, key, member), cell);
            }
            RowWrite::Member { space, key, member, cell: None } => {
                self.members.remove(&(space, key, member));
            }
            RowWrite::Score { space, key, score, member, present } => {
                let row = (space, key, score.to_bits(), member);
                let changed =
                    if present { self.scores.insert(row) } else { self.scores.remove(&row) };
                assert!(changed, "the index is told only what differs");
            }
            RowWrite::Expiry { at, space, key, present } => {
                let row = (at, space, key);
                let changed =
                    if present { self.expiries.insert(row) } else { self.expiries.remove(&row) };
                assert!(changed, "the index is told only what differs");
            }
            RowWrite::Owned(row) => {
                self.owned.insert(row.id.clone(), row);
            }
            RowWrite::OwnedDrop(id) => {
                self.owned.remove(&id);
            }
            RowWrite::Cleared { space, prefixes } => {
                self.cleared.insert(space, prefixes);
            }
        }
    }

    pub(crate) fn read(&self, ids: &[RowId]) -> ReadSet {
        let mut reads = ReadSet { commit: self.commit, ..ReadSet::default() };
        for id in ids {
            match id.clone() {
                RowId::Head(space, key) => {
                    let head = self.heads.get(&(space, key.clone())).cloned();
                    reads.heads.push((space, key, head));
                }
                RowId::Member(space, key, member) => {
                    let cell = self.members.get(&(space, key.clone(), member.clone())).cloned();
                    reads.members.push((space, key, member, cell));
                }
                RowId::Owned(id) => {
                    let row = self.owned.get(&id).cloned();
                    reads.owned.push((id, row));
                }
            }
        }
        reads
    }

    pub(crate) fn members_after(
        &self,
        space: Space,
        key: &Bytes,
        after: Option<&Bytes>,
        limit: usize,
    ) -> SweepChunk<Cell> {
        let mut rows: Vec<_> = self
            .members
            .iter()
            .filter(|((s, k, m), _)| *s == space && k == key && after.is_none_or(|a| m > a))
            .map(|((_, _, member), cell)| (member.clone(), cell.clone()))
            .take(limit + 1)
            .collect();
        let last = rows.len() <= limit;
        rows.truncate(limit);
        SweepChunk { commit: self.commit, rows, last }
    }

    pub(crate) fn keys_after(
        &self,
        space: Space,
        prefix: &Bytes,
        after: Option<&Bytes>,
        limit: usize,
    ) -> SweepChunk<Head> {
        let mut rows: Vec<_> = self
            .heads
            .iter()
            .filter(|((s, k), _)| {
                *s == space && k.starts_with(prefix) && after.is_none_or(|a| k > a)
            })
            .map(|((_, key), head)| (key.clone(), head.clone()))
            .take(limit + 1)
            .collect();
        let last = rows.len() <= limit;
        rows.truncate(limit);
        SweepChunk { commit: self.commit, rows, last }
    }
}
