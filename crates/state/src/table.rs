//! The loop's write-back cache of rows.
//!
//! The loop is the only writer, so a row in the table is the truth, and newer than what the store
//! returns. A row that is not in the table is taken from a read set, unless a row was evicted
//! whose last change is newer than the read set: the read set might show it as it was before.
//!
//! Rows that hold changes not yet on disk are never evicted. Of the others the table keeps those
//! used of late (the CLOCK algorithm: one bit per row and a hand that goes round).
//!
//! Member cells are stored as they were before a removal of their whole key until the sweep or a
//! write rewrites them; [`Table::member`] passes them through `Head.cleared`.

mod slots;

use std::{borrow::Cow, collections::VecDeque, mem};

use bytes::Bytes;
use rhumb_types::{
    UnixMillis,
    record::{Cell, Head, OwnedId, OwnedRow, OwnedState, Space, VersionVector},
};

use self::slots::Slots;
pub(crate) use self::slots::{Slot, SlotRow};
use crate::{
    cell,
    forget::Stability,
    prefixes::ClearedPrefixes,
    row::{Missing, ReadSet, RowId, RowRef, RowWrite, Touched},
    sweep::Sweeps,
    visible,
};

/// Most rows that wait for a visit to have dead deltas taken out. Rows beyond it, and those that
/// waited when the node stopped, are cleaned when they are next written.
pub const GARBAGE_ROWS_MAX: usize = 65_536;
/// How many rows the hand passes, at most, for each row that comes in: bounds the cost when nearly
/// all rows hold changes not yet on disk.
const EVICTION_STEPS_MAX: usize = 16;

/// How much the table may hold. Rows that cannot be evicted yet may go beyond it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableLimits {
    /// Most rows.
    pub rows_max: usize,
    /// Most bytes, by estimate.
    pub bytes_max: usize,
    /// Seeds the hash of the rows' addresses. Draw it at random, so that clients cannot choose
    /// keys that collide.
    pub hash_seed: u64,
}

impl Default for TableLimits {
    fn default() -> Self {
        Self { rows_max: 1 << 20, bytes_max: 256 << 20, hash_seed: 0 }
    }
}

/// The loop's cache of rows.
#[derive(Debug)]
pub struct Table {
    pub(crate) slots: Slots,
    limits: TableLimits,
    /// Slots with changes since the last take, in order of their first change.
    dirty: Vec<u32>,
    /// Slots of the takes that are not yet on disk, oldest first.
    in_flight: VecDeque<Vec<u32>>,
    hand: usize,
    /// The highest commit that holds the last change of an evicted row.
    evicted_floor: u64,
    /// The last commit known to be on disk.
    pub(crate) committed: u64,
    pub(crate) cleared: Vec<(Space, ClearedPrefixes)>,
    cleared_dirty: Vec<Space>,
    touched_prefixes: Vec<(Space, Bytes)>,
    /// What the rows reflect: everything applied, and the dots of open drafts.
    pub(crate) reflected: VersionVector,
    pub(crate) stability: Stability,
    pub(crate) garbage: VecDeque<RowId>,
    pub(crate) sweeps: Sweeps,
    /// How many takes there were, and how many of them are on disk.
    takes: u64,
    takes_done: u64,
}

impl Table {
    /// An empty table over an empty store.
    #[must_use]
    pub fn new(limits: TableLimits) -> Self {
        Self {
            slots: Slots::new(limits.hash_seed),
            limits,
            dirty: Vec::new(),
            in_flight: VecDeque::new(),
            hand: 0,
            evicted_floor: 0,
            committed: 0,
            cleared: Vec::new(),
            cleared_dirty: Vec::new(),
            touched_prefixes: Vec::new(),
            reflected: VersionVector::new(),
            stability: Stability::default(),
            garbage: VecDeque::new(),
            sweeps: Sweeps::default(),
            takes: 0,
            takes_done: 0,
        }
    }

    /// Takes over what a store holds at start: its last commit, what its rows reflect, and the
    /// removals of ranges that are not yet swept. Call it before anything else.
    pub fn restore(
        &mut self,
        commit: u64,
        applied: VersionVector,
        cleared: Vec<(Space, ClearedPrefixes)>,
    ) {
        self.committed = commit;
        self.evicted_floor = commit;
        self.reflected = applied;
        self.cleared = cleared;
    }

    /// Takes rows that are not present from a read set. They stay at least until the next
    /// admission or [`Table::committed`].
    ///
    /// Nothing is taken when the read set may be older than a row that was evicted; access then
    /// gives [`Missing`], and all rows of the operation must be read again.
    pub fn admit(&mut self, reads: ReadSet) {
        let rows = reads.heads.len() + reads.members.len() + reads.owned.len();
        self.make_room(rows, rows);
        let fresh = self.is_fresh(reads.commit);
        for (space, key, head) in reads.heads {
            if !self.slots.touch(RowRef::Head(space, &key)) && fresh {
                self.insert_head(space, key, head.unwrap_or_default());
            }
        }
        for (space, key, member, cell) in reads.members {
            if !self.slots.touch(RowRef::Member(space, &key, &member)) && fresh {
                self.insert_member(space, key, member, cell.unwrap_or_default());
            }
        }
        for (id, row) in reads.owned {
            if !self.slots.touch(RowRef::Owned(&id)) && fresh {
                self.slots.insert(Slot::owned(id, row));
            }
        }
    }

    pub(crate) fn is_fresh(&self, commit: u64) -> bool {
        commit >= self.evicted_floor
    }

    pub(crate) fn insert_head(&mut self, space: Space, key: Bytes, head: Head) -> u32 {
        let mut slot = Slot::head(space, key, head);
        if let SlotRow::Head { key, head, .. } = &mut slot.row
            && let Some(prefixes) = cleared_of(&self.cleared, space)
        {
            prefixes.settle(key, head);
        }
        self.slots.insert(slot)
    }

    pub(crate) fn insert_member(
        &mut self,
        space: Space,
        key: Bytes,
        member: Bytes,
        cell: Cell,
    ) -> u32 {
        self.slots.insert(Slot::member(space, key, member, cell))
    }

    /// Evicts rows until as many as come in have room. All of them are let in before the next
    /// eviction, so that the rows of one operation do not drive each other out.
    fn make_room(&mut self, incoming: usize, effort: usize) {
        let mut steps = EVICTION_STEPS_MAX.saturating_mul(effort);
        while steps > 0
            && (self.slots.len() + incoming > self.limits.rows_max
                || self.slots.bytes() >= self.limits.bytes_max)
        {
            steps -= 1;
            if let Some(changed_at) = self.slots.evict_at(self.hand) {
                self.evicted_floor = self.evicted_floor.max(changed_at);
            }
            self.hand = if self.hand + 1 >= self.slots.capacity() { 0 } else { self.hand + 1 };
        }
    }

    /// Whether a row is present, so that access to it cannot give [`Missing`].
    #[must_use]
    pub fn has(&self, row: RowRef<'_>) -> bool {
        let has_head = match row {
            RowRef::Member(space, key, _) => self.slots.find(RowRef::Head(space, key)).is_some(),
            RowRef::Head(..) | RowRef::Owned(_) => true,
        };
        has_head && self.slots.find(row).is_some()
    }

    /// A key's head; a vacant one where the key is not there.
    ///
    /// # Errors
    /// [`Missing`] when the row must be read first.
    pub fn head(&self, space: Space, key: &Bytes) -> Result<&Head, Missing> {
        match self.slots.find(RowRef::Head(space, key)).and_then(|at| self.slots.row(at)) {
            Some(SlotRow::Head { head, .. }) => Ok(head),
            _ => Err(Missing(RowId::Head(space, key.clone()))),
        }
    }

    /// A member's cell, without what removals of the whole key took out of it; a vacant one where
    /// the member is not there.
    ///
    /// # Errors
    /// [`Missing`] when the row, or its key's head, must be read first.
    pub fn member(
        &self,
        space: Space,
        key: &Bytes,
        member: &Bytes,
    ) -> Result<Cow<'_, Cell>, Missing> {
        let head = self.head(space, key)?;
        let at = self.slots.find(RowRef::Member(space, key, member));
        match at.and_then(|at| self.slots.row(at)) {
            Some(SlotRow::Member { cell, .. }) => Ok(cell::settled(cell, &head.cleared)),
            _ => Err(Missing(RowId::Member(space, key.clone(), member.clone()))),
        }
    }

    /// An owned row.
    ///
    /// # Errors
    /// [`Missing`] when the row must be read first.
    pub fn owned(&self, id: &OwnedId) -> Result<Option<&OwnedRow>, Missing> {
        match self.slots.find(RowRef::Owned(id)).and_then(|at| self.slots.row(at)) {
            Some(SlotRow::Owned { row, .. }) => Ok(row.as_ref()),
            _ => Err(Missing(RowId::Owned(id.clone()))),
        }
    }

    /// Forgets an owned row that is done, here and with the next take in the store; says whether it
    /// did. Reads that are older do not bring it back.
    pub fn drop_owned(&mut self, id: &OwnedId) -> bool {
        let at = match self.slots.find(RowRef::Owned(id)) {
            Some(at) => at,
            None => self.slots.insert(Slot::owned(id.clone(), None)),
        };
        let Some(SlotRow::Owned { row, .. }) = self.slots.row_mut(at) else { return false };
        if row.as_ref().is_some_and(|row| row.state != OwnedState::Done) {
            return false;
        }
        *row = None;
        self.mark_dirty(at);
        true
    }

    /// The removals of ranges of a space that are not yet swept.
    #[must_use]
    pub fn cleared(&self, space: Space) -> Option<&ClearedPrefixes> {
        cleared_of(&self.cleared, space)
    }

    /// What changed since the last [`Table::take_writes`].
    #[must_use]
    pub fn touched(&self) -> Touched {
        let mut keys: Vec<(Space, Bytes)> = Vec::with_capacity(self.dirty.len());
        for at in &self.dirty {
            if let Some(SlotRow::Head { space, key, .. } | SlotRow::Member { space, key, .. }) =
                self.slots.row(*at)
                && keys.last().is_none_or(|(last_space, last)| (last_space, last) != (space, key))
            {
                keys.push((*space, key.clone()));
            }
        }
        Touched { keys, prefixes: self.touched_prefixes.clone() }
    }

    /// Whether there is anything to take.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        !self.dirty.is_empty() || !self.cleared_dirty.is_empty()
    }

    /// The rows changed since the last call, with the rows of the indexes derived from them.
    /// They stay in the table until [`Table::committed`] says that they are on disk. Finish every
    /// draft first, so that rows never reach the disk ahead of their transaction.
    #[must_use]
    pub fn take_writes(&mut self) -> Vec<RowWrite> {
        let dirty = mem::take(&mut self.dirty);
        let mut writes = Vec::with_capacity(dirty.len() + dirty.len() / 4 + 1);
        for at in &dirty {
            if let Some(slot) = self.slots.get_mut(*at) {
                slot.take(&mut writes);
                if self.garbage.len() < GARBAGE_ROWS_MAX {
                    self.garbage.extend(slot.list_garbage());
                }
            }
        }
        for space in mem::take(&mut self.cleared_dirty) {
            if let Some(prefixes) = cleared_of(&self.cleared, space) {
                writes.push(RowWrite::Cleared { space, prefixes: prefixes.clone() });
            }
        }
        self.touched_prefixes.clear();
        self.in_flight.push_back(dirty);
        self.takes += 1;
        writes
    }

    /// The writes of the oldest take that was still under way are on disk from this commit on.
    pub fn committed(&mut self, commit: u64) {
        self.committed = self.committed.max(commit);
        if self.takes_done < self.takes {
            self.takes_done += 1;
            self.sweeps.committed(self.takes_done, commit);
        }
        let written = self.in_flight.pop_front().unwrap_or_default();
        for at in &written {
            if let Some(slot) = self.slots.get_mut(*at) {
                slot.in_flight = slot.in_flight.saturating_sub(1);
                slot.changed_at = commit;
            }
        }
        self.make_room(0, written.len());
    }

    /// Forgets every row: the store's rows were changed past the table, by a commit up to this
    /// one. Reads that are older are refused from now on, and sweeps under way begin again.
    ///
    /// # Panics
    /// When a row holds changes that are not on disk.
    pub fn clear(&mut self, commit: u64) {
        assert!(self.dirty.is_empty() && self.in_flight.is_empty(), "every change is on disk");
        self.slots = Slots::new(self.limits.hash_seed);
        self.sweeps = Sweeps::default();
        self.hand = 0;
        self.committed = self.committed.max(commit);
        self.evicted_floor = self.committed;
    }

    /// Takes over what a loaded snapshot reflects.
    pub fn reflects(&mut self, applied: &VersionVector) {
        self.reflected.merge(applied);
    }

    /// Tells the table what every origin has applied, so that it can forget dead deltas.
    pub fn set_stability(&mut self, stability: Stability) {
        self.stability = stability;
    }

    /// How many rows are in the table, and how many bytes they take by estimate.
    #[must_use]
    pub const fn size(&self) -> (usize, usize) {
        (self.slots.len(), self.slots.bytes())
    }

    /// The take that holds, or will hold, the newest change that is not yet on disk.
    pub(crate) fn unwritten_take(&self) -> Option<u64> {
        if self.has_writes() {
            Some(self.takes + 1)
        } else {
            (self.takes_done < self.takes).then_some(self.takes)
        }
    }

    pub(crate) fn mark_dirty(&mut self, at: u32) {
        if self.slots.note_change(at) {
            self.dirty.push(at);
        }
    }

    pub(crate) fn cleared_mut(&mut self, space: Space) -> &mut ClearedPrefixes {
        if !self.cleared_dirty.contains(&space) {
            self.cleared_dirty.push(space);
        }
        let at = match self.cleared.iter().position(|(known, _)| *known == space) {
            Some(at) => at,
            None => {
                self.cleared.push((space, ClearedPrefixes::default()));
                self.cleared.len() - 1
            }
        };
        match self.cleared.get_mut(at) {
            Some((_, prefixes)) => prefixes,
            None => unreachable!("the space was just found or added"),
        }
    }

    pub(crate) fn touch_prefix(&mut self, space: Space, prefix: Bytes) {
        self.touched_prefixes.push((space, prefix));
    }
}

fn cleared_of(cleared: &[(Space, ClearedPrefixes)], space: Space) -> Option<&ClearedPrefixes> {
    cleared.iter().find(|(known, _)| *known == space).map(|(_, prefixes)| prefixes)
}

/// Where the indexes list a head.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(crate) struct HeadIndex {
    /// Its row in the expiry index.
    pub(crate) expiry: Option<UnixMillis>,
    /// Whether it has a row at time 0.
    pub(crate) pending: bool,
}

impl HeadIndex {
    pub(crate) fn of(head: &Head) -> Self {
        Self { expiry: visible::expiry(&head.cell), pending: !head.cleared.is_empty() }
    }
}
