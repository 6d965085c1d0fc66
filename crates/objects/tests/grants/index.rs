//! A model of the index: logs of transactions that are applied in causal order, cells of entries by
//! dots, and removals that take away what their writer had seen.

use std::collections::{BTreeMap, BTreeSet};

use rhumb_types::{
    DomainId, OriginId,
    record::{Dot, VersionVector},
};

/// The blobs are few, so that uploads of the same bytes meet.
pub(crate) type Blob = u8;
pub(crate) type Key = u8;

#[derive(Clone, Debug, Default)]
pub(crate) struct Txn {
    pub(crate) deps: VersionVector,
    /// Entries that go.
    pub(crate) removes: Vec<(Key, Dot)>,
    /// An entry that comes.
    pub(crate) puts: Option<(Key, Blob)>,
    /// Whether the writer holds a blob: since when, and whether only cached.
    pub(crate) holds: Option<(Blob, Option<(u64, bool)>)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) applied: VersionVector,
    pub(crate) cells: BTreeMap<Key, BTreeMap<Dot, Blob>>,
    pub(crate) holders: BTreeMap<(Blob, usize), (u64, bool)>,
}

pub(crate) fn origin(region: usize) -> OriginId {
    OriginId::new(u64::try_from(region + 1).unwrap() << 16, DomainId::EVERYWHERE)
}

impl View {
    pub(crate) fn can_apply(&self, writer: usize, version: u64, txn: &Txn) -> bool {
        self.applied.get(origin(writer)) + 1 == version && self.applied.includes(&txn.deps)
    }

    pub(crate) fn apply(&mut self, writer: usize, version: u64, txn: &Txn) {
        let dot = Dot { origin: origin(writer), version };
        for (key, gone) in &txn.removes {
            if let Some(cell) = self.cells.get_mut(key) {
                cell.remove(gone);
                if cell.is_empty() {
                    self.cells.remove(key);
                }
            }
        }
        if let Some((key, blob)) = txn.puts {
            self.cells.entry(key).or_default().insert(dot, blob);
        }
        match txn.holds {
            Some((blob, Some(held))) => {
                self.holders.insert((blob, writer), held);
            }
            Some((blob, None)) => {
                self.holders.remove(&(blob, writer));
            }
            None => {}
        }
        self.applied.raise(dot.origin, version);
    }

    /// All blobs that some entry names.
    pub(crate) fn referenced(&self) -> BTreeSet<Blob> {
        self.cells.values().flat_map(BTreeMap::values).copied().collect()
    }

    pub(crate) fn dots(&self, key: Key) -> Vec<(Key, Dot)> {
        let cell = self.cells.get(&key);
        cell.into_iter().flat_map(BTreeMap::keys).map(|dot| (key, *dot)).collect()
    }
}
