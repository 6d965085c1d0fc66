//! The rows of the table in memory: a slab, and an index by address.

use std::{
    hash::{BuildHasher, Hasher},
    mem,
};

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use rhumb_types::{
    UnixMillis,
    record::{Cell, Delta, Entry, Head, OwnedId, OwnedRow, Space},
};

use super::HeadIndex;
use crate::{
    row::{RowId, RowRef, RowWrite},
    visible,
};

/// A row with what the store's indexes hold about it.
#[derive(Debug)]
pub(crate) enum SlotRow {
    Head { space: Space, key: Bytes, head: Head, indexed: HeadIndex },
    Member { space: Space, key: Bytes, member: Bytes, cell: Cell, indexed: Option<f64> },
    Owned { id: OwnedId, row: Option<OwnedRow> },
}

/// A row and its place in the life of a cache entry.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) row: SlotRow,
    dirty: bool,
    referenced: bool,
    /// In how many takes that are not yet on disk the row is.
    pub(crate) in_flight: u32,
    /// The commit that holds its last change; 0 when it has not changed since it was read.
    pub(crate) changed_at: u64,
    /// Whether the row is listed for a visit to take dead deltas out.
    listed: bool,
    weight: usize,
}

impl Slot {
    fn new(row: SlotRow) -> Self {
        let weight = weight(&row);
        Self {
            row,
            dirty: false,
            referenced: true,
            in_flight: 0,
            changed_at: 0,
            listed: false,
            weight,
        }
    }

    pub(crate) fn head(space: Space, key: Bytes, head: Head) -> Self {
        let indexed = HeadIndex::of(&head);
        Self::new(SlotRow::Head { space, key, head, indexed })
    }

    pub(crate) fn member(space: Space, key: Bytes, member: Bytes, cell: Cell) -> Self {
        let indexed = visible::score(&cell);
        Self::new(SlotRow::Member { space, key, member, cell, indexed })
    }

    pub(crate) fn owned(id: OwnedId, row: Option<OwnedRow>) -> Self {
        Self::new(SlotRow::Owned { id, row })
    }

    /// Writes the row out, with the difference that it makes to the indexes.
    pub(super) fn take(&mut self, writes: &mut Vec<RowWrite>) {
        self.dirty = false;
        self.in_flight += 1;
        match &mut self.row {
            SlotRow::Head { space, key, head, indexed } => {
                let now = HeadIndex::of(head);
                let mut expiry = |at, present| {
                    writes.push(RowWrite::Expiry { at, space: *space, key: key.clone(), present });
                };
                if now.expiry != indexed.expiry {
                    indexed.expiry.into_iter().for_each(|at| expiry(at, false));
                    now.expiry.into_iter().for_each(|at| expiry(at, true));
                }
                if now.pending != indexed.pending {
                    expiry(UnixMillis(0), now.pending);
                }
                *indexed = now;
                let head = (!head.is_vacant()).then(|| head.clone());
                writes.push(RowWrite::Head { space: *space, key: key.clone(), head });
            }
            SlotRow::Member { space, key, member, cell, indexed } => {
                let now = visible::score(cell);
                let mut score = |score, present| {
                    let (key, member) = (key.clone(), member.clone());
                    writes.push(RowWrite::Score { space: *space, key, score, member, present });
                };
                if now.map(f64::to_bits) != indexed.map(f64::to_bits) {
                    indexed.iter().for_each(|old| score(*old, false));
                    now.iter().for_each(|new| score(*new, true));
                }
                *indexed = now;
                let cell = (!cell.is_vacant()).then(|| cell.clone());
                let (key, member) = (key.clone(), member.clone());
                writes.push(RowWrite::Member { space: *space, key, member, cell });
            }
            SlotRow::Owned { row: Some(row), .. } => writes.push(RowWrite::Owned(row.clone())),
            SlotRow::Owned { id, row: None } => writes.push(RowWrite::OwnedDrop(id.clone())),
        }
    }

    /// The row's address, when it holds dead deltas and is not listed for a visit; now it is.
    pub(super) fn list_garbage(&mut self) -> Option<RowId> {
        let (deltas, id) = match &self.row {
            SlotRow::Head { space, key, head, .. } => {
                (&head.cell.deltas, RowId::Head(*space, key.clone()))
            }
            SlotRow::Member { space, key, member, cell, .. } => {
                (&cell.deltas, RowId::Member(*space, key.clone(), member.clone()))
            }
            SlotRow::Owned { .. } => return None,
        };
        let fresh = !self.listed && !deltas.iter().all(Delta::counts);
        self.listed |= fresh;
        fresh.then_some(id)
    }

    fn is(&self, id: RowRef<'_>) -> bool {
        match (&self.row, id) {
            (SlotRow::Head { space, key, .. }, RowRef::Head(other, wanted)) => {
                *space == other && key == wanted
            }
            (SlotRow::Member { space, key, member, .. }, RowRef::Member(other, k, m)) => {
                *space == other && member == m && key == k
            }
            (SlotRow::Owned { id, .. }, RowRef::Owned(wanted)) => id == wanted,
            _ => false,
        }
    }

    fn id(&self) -> RowRef<'_> {
        match &self.row {
            SlotRow::Head { space, key, .. } => RowRef::Head(*space, key),
            SlotRow::Member { space, key, member, .. } => RowRef::Member(*space, key, member),
            SlotRow::Owned { id, .. } => RowRef::Owned(id),
        }
    }
}

/// The slab and its index.
#[derive(Debug)]
pub(crate) struct Slots {
    slab: Vec<Option<Slot>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: FixedState,
    bytes: usize,
}

impl Slots {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slab: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            bytes: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.slab.len() - self.free.len()
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.slab.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn find(&self, id: RowRef<'_>) -> Option<u32> {
        let hash = hash(&self.hasher, id);
        self.index.find(hash, |at| self.get(*at).is_some_and(|slot| slot.is(id))).copied()
    }

    /// Notes that a row is used. Gives whether it is present.
    pub(crate) fn touch(&mut self, id: RowRef<'_>) -> bool {
        let Some(slot) = self.find(id).and_then(|at| self.get_mut(at)) else { return false };
        slot.referenced = true;
        true
    }

    pub(crate) fn get(&self, at: u32) -> Option<&Slot> {
        self.slab.get(at as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut Slot> {
        self.slab.get_mut(at as usize)?.as_mut()
    }

    pub(crate) fn row(&self, at: u32) -> Option<&SlotRow> {
        self.get(at).map(|slot| &slot.row)
    }

    pub(crate) fn row_mut(&mut self, at: u32) -> Option<&mut SlotRow> {
        self.get_mut(at).map(|slot| &mut slot.row)
    }

    /// A head and one of its members at once.
    pub(crate) fn head_and_member(
        &mut self,
        head: u32,
        member: u32,
    ) -> Option<(&mut Head, &mut Cell)> {
        let places = self.slab.get_disjoint_mut([head as usize, member as usize]).ok()?;
        let [
            Some(Slot { row: SlotRow::Head { head, .. }, .. }),
            Some(Slot { row: SlotRow::Member { cell, .. }, .. }),
        ] = places
        else {
            return None;
        };
        Some((head, cell))
    }

    /// Every row, in no particular order.
    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut SlotRow> {
        self.slab.iter_mut().flatten().map(|slot| &mut slot.row)
    }

    pub(super) fn insert(&mut self, slot: Slot) -> u32 {
        self.bytes += slot.weight;
        let hash = hash(&self.hasher, slot.id());
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.slab.push(None);
                u32::try_from(self.slab.len() - 1)
                    .unwrap_or_else(|_| unreachable!("a table of 2^32 rows does not fit in memory"))
            }
        };
        if let Some(place) = self.slab.get_mut(at as usize) {
            *place = Some(slot);
        }
        let (slab, hasher) = (&self.slab, &self.hasher);
        self.index.insert_unique(hash, at, |at| {
            let slot = slab.get(*at as usize).and_then(Option::as_ref);
            slot.map_or(0, |slot| self::hash(hasher, slot.id()))
        });
        at
    }

    /// Notes a change of a row: it is used, its weight may differ. Gives whether this is its first
    /// change since the last take.
    pub(super) fn note_change(&mut self, at: u32) -> bool {
        let Some(slot) = self.slab.get_mut(at as usize).and_then(Option::as_mut) else {
            return false;
        };
        let weight = weight(&slot.row);
        self.bytes = self.bytes - slot.weight + weight;
        slot.weight = weight;
        slot.referenced = true;
        !mem::replace(&mut slot.dirty, true)
    }

    /// The row is not listed any more.
    pub(crate) fn unlist_garbage(&mut self, at: u32) {
        if let Some(slot) = self.get_mut(at) {
            slot.listed = false;
        }
    }

    /// The hand passes a slot: takes its mark of use away, or evicts the row. Gives the commit of
    /// an evicted row's last change.
    pub(super) fn evict_at(&mut self, at: usize) -> Option<u64> {
        let slot = self.slab.get_mut(at)?.as_mut()?;
        if slot.dirty || slot.in_flight > 0 || mem::take(&mut slot.referenced) {
            return None;
        }
        let slot = self.slab.get_mut(at)?.take()?;
        let place = u32::try_from(at).ok()?;
        let hash = hash(&self.hasher, slot.id());
        if let Ok(entry) = self.index.find_entry(hash, |known| *known == place) {
            entry.remove();
        }
        self.free.push(place);
        self.bytes -= slot.weight;
        Some(slot.changed_at)
    }
}

fn hash(hasher: &FixedState, id: RowRef<'_>) -> u64 {
    let mut state = hasher.build_hasher();
    match id {
        RowRef::Head(space, key) => {
            state.write_u8(space.0);
            state.write(key);
        }
        RowRef::Member(space, key, member) => {
            state.write_u8(space.0);
            state.write(key);
            state.write_usize(key.len());
            state.write(member);
        }
        RowRef::Owned(id) => {
            state.write_u8(id.table);
            state.write(&id.key);
            state.write_u8(u8::MAX);
        }
    }
    state.finish()
}

fn weight(row: &SlotRow) -> usize {
    // The slab's place, the index's entry, and the headers of the shared buffers.
    const ROW_OVERHEAD: usize = size_of::<Option<Slot>>() + 16 + 32;
    ROW_OVERHEAD
        + match row {
            SlotRow::Head { key, head, .. } => {
                key.len() + cell_weight(&head.cell) + 64 * head.cleared.iter().len()
            }
            SlotRow::Member { key, member, cell, .. } => {
                key.len() + member.len() + cell_weight(cell)
            }
            SlotRow::Owned { id, row } => {
                2 * id.key.len() + row.as_ref().map_or(0, |row| row.payload.len())
            }
        }
}

fn cell_weight(cell: &Cell) -> usize {
    let spilled = if cell.entries.spilled() { cell.entries.len() * size_of::<Entry>() } else { 0 };
    let values = cell.entries.iter().filter_map(|entry| entry.value.bytes()).map(Bytes::len);
    spilled + values.sum::<usize>() + cell.deltas.len() * size_of::<Delta>()
}
