//! What a draft has recorded, by key and cell, so that edits of one cell fold.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher},
};

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use rhumb_types::record::{CellId, Delta, Field, Space};

/// What the draft has recorded about one cell since the last barrier.
#[derive(Clone, Default, Debug)]
pub(super) struct Recorded {
    /// The place of its Put or Remove among the changes.
    pub(super) write: Option<usize>,
    /// The place of its Add, with the origin's delta as it was before.
    pub(super) add: Option<(usize, Option<Box<Delta>>)>,
}

/// What the draft has recorded about one key since the last barrier.
#[derive(Debug)]
pub(super) struct KeyRecord {
    pub(super) space: Space,
    pub(super) key: Bytes,
    pub(super) head: Recorded,
    pub(super) members: BTreeMap<Bytes, Recorded>,
}

impl KeyRecord {
    pub(super) fn cell(&mut self, field: &Field) -> &mut Recorded {
        match field {
            Field::Head => &mut self.head,
            Field::Member(member) => self.members.entry(member.clone()).or_default(),
        }
    }
}

/// The keys that a draft has edited, in the order of their first edit.
#[derive(Debug)]
pub(super) struct Records {
    keys: Vec<KeyRecord>,
    index: HashTable<usize>,
    hasher: FixedState,
}

impl Records {
    pub(super) fn new() -> Self {
        Self { keys: Vec::new(), index: HashTable::new(), hasher: FixedState::default() }
    }

    pub(super) const fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&KeyRecord> {
        self.keys.get(at)
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut KeyRecord> {
        self.keys.get_mut(at)
    }

    /// The place of a cell's key, which is added if it is new.
    pub(super) fn place(&mut self, cell: &CellId) -> usize {
        let hash = hash_key(&self.hasher, cell.space, &cell.key);
        let is = |key: &KeyRecord| key.key == cell.key && key.space == cell.space;
        let known = self.index.find(hash, |at| self.keys.get(*at).is_some_and(is));
        if let Some(at) = known {
            return *at;
        }
        let at = self.keys.len();
        self.keys.push(KeyRecord {
            space: cell.space,
            key: cell.key.clone(),
            head: Recorded::default(),
            members: BTreeMap::new(),
        });
        let (keys, hasher) = (&self.keys, &self.hasher);
        self.index.insert_unique(hash, at, |at| {
            keys.get(*at).map_or(0, |key| hash_key(hasher, key.space, &key.key))
        });
        at
    }
}

fn hash_key(hasher: &FixedState, space: Space, key: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u8(space.0);
    state.write(key);
    state.finish()
}
