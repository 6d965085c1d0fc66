//! Carrying out removals of whole keys and of ranges on the rows.
//!
//! Such a removal takes effect when it is applied; what it covers stays on disk until a sweep
//! takes it out, in chunks that the driver reads from the store. A chunk must include everything
//! that was in the table when the sweep began (its *fence*), so a sweep that begins while changes
//! are on their way to the disk is told [`SweepProgress::Stale`] until they have arrived.
//!
//! A key's sweep also counts the members, exactly, while they change: a change behind the sweep's
//! position adjusts the count, one ahead of it is remembered until the position has passed.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_types::record::{Cell, Head, Space};

use crate::{
    cell,
    row::{Missing, RowId, RowRef},
    table::{SlotRow, Table},
    visible,
};

/// Most keys, and most ranges, swept at the same time.
pub const SWEEPS_MAX: usize = 64;
/// Most members ahead of a sweep's position whose changes are remembered; beyond it the sweep
/// starts again.
pub const SWEEP_AHEAD_MAX: usize = 65_536;

/// How a sweep goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SweepProgress {
    /// The chunk is done: read the next one, after its last row.
    Continue,
    /// The chunk does not include what it must: read it again after the next commit.
    Stale,
    /// Something else was removed meanwhile: begin again.
    Restart,
    /// The sweep is over.
    Done,
}

/// A part of a key's members, or of the keys of a range, as read from the store in order.
#[derive(Clone, PartialEq, Debug)]
pub struct SweepChunk<R> {
    /// A commit that the read includes.
    pub commit: u64,
    /// The rows, after the last one of the chunk before.
    pub rows: Vec<(Bytes, R)>,
    /// Whether nothing follows.
    pub last: bool,
}

/// What a chunk must include.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fence {
    /// This take, which is not yet on disk.
    Take(u64),
    /// This commit.
    Commit(u64),
}

#[derive(Debug)]
struct KeySweep {
    fence: Fence,
    /// Members up to this one, included, are swept and counted.
    position: Option<Bytes>,
    counted: u64,
    /// Members after the position that changed since the sweep began, and whether they are live.
    ahead: BTreeMap<Bytes, bool>,
}

#[derive(Debug)]
struct PrefixSweep {
    space: Space,
    prefix: Bytes,
    /// The last removal of this range when the sweep began.
    sequence: u64,
    fence: Fence,
}

/// The sweeps under way.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    keys: BTreeMap<(Space, Bytes), KeySweep>,
    prefixes: Vec<PrefixSweep>,
}

impl Sweeps {
    /// A take has reached the disk.
    pub(crate) fn committed(&mut self, take: u64, commit: u64) {
        let fences = self.keys.values_mut().map(|sweep| &mut sweep.fence);
        for fence in fences.chain(self.prefixes.iter_mut().map(|sweep| &mut sweep.fence)) {
            if *fence == Fence::Take(take) {
                *fence = Fence::Commit(commit);
            }
        }
    }

    /// A member has changed.
    pub(crate) fn edited(
        &mut self,
        space: Space,
        key: &Bytes,
        member: &Bytes,
        before: bool,
        after: bool,
    ) {
        if self.keys.is_empty() {
            return;
        }
        let id = (space, key.clone());
        let Some(sweep) = self.keys.get_mut(&id) else { return };
        if sweep.position.as_ref().is_some_and(|position| member <= position) {
            sweep.counted = sweep.counted + u64::from(after) - u64::from(before);
            return;
        }
        sweep.ahead.insert(member.clone(), after);
        if sweep.ahead.len() > SWEEP_AHEAD_MAX {
            self.keys.remove(&id);
        }
    }

    /// A key was removed as a whole.
    pub(crate) fn key_cleared(&mut self, space: Space, key: &Bytes) {
        if !self.keys.is_empty() {
            self.keys.remove(&(space, key.clone()));
        }
    }

    /// A range of keys was removed.
    pub(crate) fn prefix_cleared(&mut self, space: Space, prefix: &Bytes) {
        self.keys.retain(|(other, key), _| *other != space || !key.starts_with(prefix));
    }
}

impl Table {
    /// Begins to sweep a key. Gives whether there is anything to sweep now: not when the key waits
    /// for no removal, and not while [`SWEEPS_MAX`] other sweeps are under way.
    ///
    /// # Errors
    /// [`Missing`] when the key's head is not in the table.
    pub fn begin_sweep(&mut self, space: Space, key: &Bytes) -> Result<bool, Missing> {
        let waits = !self.head(space, key)?.cleared.is_empty();
        let id = (space, key.clone());
        self.sweeps.keys.remove(&id);
        if !waits || self.sweeps.keys.len() >= SWEEPS_MAX {
            return Ok(false);
        }
        let fence = self.fence();
        let sweep = KeySweep { fence, position: None, counted: 0, ahead: BTreeMap::new() };
        self.sweeps.keys.insert(id, sweep);
        Ok(true)
    }

    /// Sweeps a chunk of a key's members.
    ///
    /// # Errors
    /// [`Missing`] when the key's head is not in the table; read it and pass the chunk again.
    pub fn sweep(
        &mut self,
        space: Space,
        key: &Bytes,
        chunk: &SweepChunk<Cell>,
    ) -> Result<SweepProgress, Missing> {
        self.head(space, key)?;
        let id = (space, key.clone());
        let Some(mut sweep) = self.sweeps.keys.remove(&id) else {
            return Ok(SweepProgress::Restart);
        };
        let Fence::Commit(fence) = sweep.fence else {
            self.sweeps.keys.insert(id, sweep);
            return Ok(SweepProgress::Stale);
        };
        if chunk.commit < fence {
            self.sweeps.keys.insert(id, sweep);
            return Ok(SweepProgress::Stale);
        }
        for (member, stored) in &chunk.rows {
            if !sweep.ahead.contains_key(member) {
                sweep.counted += u64::from(self.sweep_member(space, key, member, stored)?);
            }
        }
        let passed = match chunk.rows.last() {
            _ if chunk.last => std::mem::take(&mut sweep.ahead),
            Some((last, _)) => {
                // Keep what lies after the last row.
                let mut after = sweep.ahead.split_off(last);
                let at_last = after.remove(last);
                let mut passed = std::mem::replace(&mut sweep.ahead, after);
                passed.extend(at_last.map(|live| (last.clone(), live)));
                passed
            }
            None => BTreeMap::new(),
        };
        sweep.counted += passed.values().map(|live| u64::from(*live)).sum::<u64>();
        if chunk.last {
            self.finish_sweep(space, key, sweep.counted);
            return Ok(SweepProgress::Done);
        }
        sweep.position = chunk.rows.last().map(|(last, _)| last.clone()).or(sweep.position);
        self.sweeps.keys.insert(id, sweep);
        Ok(SweepProgress::Continue)
    }

    /// Takes out of one member's row what is removed. Gives whether the member is live.
    ///
    /// The row has not changed since before the fence, so where it is in the table it is as in
    /// the store.
    fn sweep_member(
        &mut self,
        space: Space,
        key: &Bytes,
        member: &Bytes,
        stored: &Cell,
    ) -> Result<bool, Missing> {
        let cleared = &self.head(space, key)?.cleared;
        let settled = cell::settled(stored, cleared);
        let live = visible::is_live(&settled);
        if matches!(settled, std::borrow::Cow::Borrowed(_)) {
            return Ok(live);
        }
        let settled = settled.into_owned();
        let at = match self.slots.find(RowRef::Member(space, key, member)) {
            Some(at) => at,
            None => self.insert_member(space, key.clone(), member.clone(), stored.clone()),
        };
        if let Some(SlotRow::Member { cell, .. }) = self.slots.row_mut(at) {
            *cell = settled;
        }
        self.forget_in_member(at);
        self.mark_dirty(at);
        Ok(live)
    }

    fn finish_sweep(&mut self, space: Space, key: &Bytes, members: u64) {
        let Some(at) = self.slots.find(RowRef::Head(space, key)) else { return };
        if let Some(SlotRow::Head { head, .. }) = self.slots.row_mut(at) {
            head.members = members;
            head.cleared = rhumb_types::record::Cleared::new();
            self.mark_dirty(at);
        }
    }

    /// Begins to sweep the keys of a removed range. Gives whether there is anything to sweep now.
    pub fn begin_prefix_sweep(&mut self, space: Space, prefix: &Bytes) -> bool {
        self.sweeps.prefixes.retain(|sweep| sweep.space != space || sweep.prefix != *prefix);
        let waiting = self.cleared(space).into_iter().flat_map(|list| &list.removals);
        let last = waiting.filter(|known| known.prefix == *prefix).map(|known| known.sequence);
        let Some(sequence) = last.max() else { return false };
        if self.sweeps.prefixes.len() >= SWEEPS_MAX {
            return false;
        }
        let fence = self.fence();
        self.sweeps.prefixes.push(PrefixSweep { space, prefix: prefix.clone(), sequence, fence });
        true
    }

    /// Sweeps a chunk of the keys of a removed range: writes what the removals make of their
    /// heads. Their members are left to each key's own sweep.
    pub fn sweep_prefix(
        &mut self,
        space: Space,
        prefix: &Bytes,
        chunk: &SweepChunk<Head>,
    ) -> SweepProgress {
        let known = |sweep: &PrefixSweep| sweep.space == space && sweep.prefix == *prefix;
        let Some(at) = self.sweeps.prefixes.iter().position(known) else {
            return SweepProgress::Restart;
        };
        let Some(&PrefixSweep { sequence, fence, .. }) = self.sweeps.prefixes.get(at) else {
            return SweepProgress::Restart;
        };
        match fence {
            Fence::Commit(commit) if commit <= chunk.commit && self.is_fresh(chunk.commit) => {}
            Fence::Commit(_) | Fence::Take(_) => return SweepProgress::Stale,
        }
        for (key, stored) in &chunk.rows {
            self.sweep_head(space, key, stored);
        }
        if !chunk.last {
            return SweepProgress::Continue;
        }
        self.sweeps.prefixes.remove(at);
        let list = self.cleared_mut(space);
        list.removals.retain(|known| known.prefix != *prefix || known.sequence > sequence);
        SweepProgress::Done
    }

    fn sweep_head(&mut self, space: Space, key: &Bytes, stored: &Head) {
        let mut settled = stored.clone();
        let list = self.cleared(space);
        if !list.is_some_and(|list| list.settle(key, &mut settled)) {
            return;
        }
        let at = match self.slots.find(RowRef::Head(space, key)) {
            // Passed through the list already, and maybe changed since.
            Some(at) => at,
            None => self.insert_head(space, key.clone(), stored.clone()),
        };
        self.forget_in_head(at);
        self.mark_dirty(at);
    }

    fn fence(&self) -> Fence {
        match self.unwritten_take() {
            Some(take) => Fence::Take(take),
            None => Fence::Commit(self.committed),
        }
    }
}

/// How many rows a visit to the garbage looked at and what it found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Collected {
    /// Rows out of which something was taken.
    pub rows: usize,
    /// Rows that must stay as they are for now.
    pub kept: usize,
}

impl Table {
    /// Rows with dead deltas that are due for a visit and not in the table: read and admit them,
    /// then call [`Table::collect_garbage`].
    #[must_use]
    pub fn garbage_to_read(&self, limit: usize) -> Vec<RowId> {
        let rows = self.garbage.iter().take(limit);
        let mut missing = Vec::new();
        for row in rows {
            if let RowId::Member(space, key, _) = row
                && self.slots.find(RowRef::Head(*space, key)).is_none()
            {
                missing.push(RowId::Head(*space, key.clone()));
            }
            if self.slots.find(RowRef::from(row)).is_none() {
                missing.push(row.clone());
            }
        }
        missing
    }

    /// Visits up to `limit` rows that hold dead deltas and takes out those that can be forgotten.
    /// Rows that must wait, or are not in the table, go to the end of the line.
    pub fn collect_garbage(&mut self, limit: usize) -> Collected {
        let mut collected = Collected::default();
        for _ in 0..limit.min(self.garbage.len()) {
            let Some(id) = self.garbage.pop_front() else { break };
            match self.visit_garbage(&id) {
                Visit::Cleaned => collected.rows += 1,
                Visit::Clean => {}
                Visit::Waits => {
                    collected.kept += 1;
                    self.garbage.push_back(id);
                }
            }
        }
        collected
    }

    fn visit_garbage(&mut self, id: &RowId) -> Visit {
        if !self.has(RowRef::from(id)) {
            return Visit::Waits;
        }
        let Some(at) = self.slots.find(RowRef::from(id)) else { return Visit::Waits };
        let (dead, ready) = match self.slots.row(at) {
            Some(SlotRow::Head { head, .. }) => self.stability.survey(&head.cell),
            Some(SlotRow::Member { cell, .. }) => self.stability.survey(cell),
            _ => (0, 0),
        };
        if dead == 0 {
            self.slots.unlist_garbage(at);
            return Visit::Clean;
        }
        if ready == 0 {
            return Visit::Waits;
        }
        self.slots.unlist_garbage(at);
        match id {
            RowId::Head(..) => self.forget_in_head(at),
            RowId::Member(..) | RowId::Owned(_) => self.forget_in_member(at),
        }
        self.mark_dirty(at);
        Visit::Cleaned
    }
}

enum Visit {
    Cleaned,
    Clean,
    Waits,
}
