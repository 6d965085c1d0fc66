//! Edits of rows in the table, shared by drafts and received transactions: apply a law to a cell,
//! keep the count of members, forget what can be forgotten, and note the rows as changed.

use bytes::Bytes;
use rhumb_types::record::{Cell, CellId, Dot, Field, OwnedRow, Removal, Space};

use crate::{
    cell, owned,
    prefixes::clear_head,
    row::{Missing, RowId, RowRef},
    table::{SlotRow, Table},
    visible::{self, MEMBERS_UNKNOWN},
};

/// Where a cell's rows are: the row itself, and its key's head for a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    row: u32,
    head: Option<u32>,
}

impl Table {
    /// Finds the rows of a cell.
    pub(crate) fn place(&self, id: &CellId) -> Result<Place, Missing> {
        let head = self
            .slots
            .find(RowRef::Head(id.space, &id.key))
            .ok_or_else(|| Missing(RowId::Head(id.space, id.key.clone())))?;
        match &id.field {
            Field::Head => Ok(Place { row: head, head: None }),
            Field::Member(member) => {
                let found = self.slots.find(RowRef::Member(id.space, &id.key, member));
                let row = found.ok_or_else(|| Missing(RowId::from(id)))?;
                Ok(Place { row, head: Some(head) })
            }
        }
    }

    /// The cell of a place, as its row has it.
    pub(crate) fn cell_at(&self, place: Place) -> Option<&Cell> {
        match self.slots.row(place.row) {
            Some(SlotRow::Head { head, .. }) => Some(&head.cell),
            Some(SlotRow::Member { cell, .. }) => Some(cell),
            _ => None,
        }
    }

    /// Whether the cell's row holds nothing at all.
    pub(crate) fn is_vacant(&self, place: Place) -> bool {
        self.cell_at(place).is_none_or(Cell::is_vacant)
    }

    /// Notes that the rows reflect a write, or soon will.
    pub(crate) fn reflect(&mut self, dot: Dot) {
        self.reflected.raise(dot.origin, dot.version);
    }

    /// Sets an owned row if it wins over the one that is there. Gives whether it did.
    pub(crate) fn adopt(&mut self, incoming: &OwnedRow) -> Result<bool, Missing> {
        let at = self
            .slots
            .find(RowRef::Owned(&incoming.id))
            .ok_or_else(|| Missing(RowId::Owned(incoming.id.clone())))?;
        let Some(SlotRow::Owned { row, .. }) = self.slots.row_mut(at) else { return Ok(false) };
        if !owned::supersedes(row.as_ref(), incoming) {
            return Ok(false);
        }
        *row = Some(incoming.clone());
        self.mark_dirty(at);
        Ok(true)
    }

    /// Applies an edit to a cell that was found before.
    pub(crate) fn edit<R>(&mut self, place: Place, law: impl FnOnce(&mut Cell) -> R) -> R {
        match place.head {
            None => self.edit_head_cell(place.row, law),
            Some(head) => self.edit_member(head, place.row, law),
        }
    }

    fn edit_head_cell<R>(&mut self, at: u32, law: impl FnOnce(&mut Cell) -> R) -> R {
        let Some(SlotRow::Head { head, .. }) = self.slots.row_mut(at) else {
            unreachable!("the place of a head holds a head");
        };
        let result = law(&mut head.cell);
        if !head.cell.deltas.is_empty() {
            self.forget_in_head(at);
        }
        self.mark_dirty(at);
        result
    }

    fn edit_member<R>(&mut self, head: u32, at: u32, law: impl FnOnce(&mut Cell) -> R) -> R {
        let Some((head_row, cell)) = self.slots.head_and_member(head, at) else {
            unreachable!("the places of a head and a member hold these");
        };
        if !head_row.cleared.is_empty() {
            cell::settle(cell, &head_row.cleared);
        }
        let before = visible::is_live(cell);
        let result = law(cell);
        let after = visible::is_live(cell);
        let has_deltas = !cell.deltas.is_empty();
        let counted = before != after && head_row.members != MEMBERS_UNKNOWN;
        if counted && after {
            head_row.members += 1;
        } else if counted {
            head_row.members = head_row.members.saturating_sub(1);
        }
        // Changed or not, the head must stay while its member waits for the disk: a draft that
        // takes the member's edit back needs both.
        self.mark_dirty(head);
        if has_deltas {
            self.forget_in_member(at);
        }
        if let Some(SlotRow::Member { space, key, member, .. }) = self.slots.row(at) {
            self.sweeps.edited(*space, key, member, before, after);
        }
        self.mark_dirty(at);
        result
    }

    /// Takes out of a head what can be forgotten.
    pub(crate) fn forget_in_head(&mut self, at: u32) {
        if let Some(SlotRow::Head { head, .. }) = self.slots.row_mut(at) {
            self.stability.forget(&mut head.cell);
        }
    }

    /// Takes out of a member what can be forgotten.
    pub(crate) fn forget_in_member(&mut self, at: u32) {
        if let Some(SlotRow::Member { cell, .. }) = self.slots.row_mut(at) {
            self.stability.forget(cell);
        }
    }

    /// Removes a whole key.
    pub(crate) fn clear_key(
        &mut self,
        space: Space,
        key: &Bytes,
        removal: &Removal,
    ) -> Result<(), Missing> {
        let complete = self.is_complete(removal);
        let at = self
            .slots
            .find(RowRef::Head(space, key))
            .ok_or_else(|| Missing(RowId::Head(space, key.clone())))?;
        if let Some(SlotRow::Head { head, .. }) = self.slots.row_mut(at)
            && clear_head(head, removal, complete)
        {
            self.forget_in_head(at);
            self.mark_dirty(at);
            self.sweeps.key_cleared(space, key);
        }
        Ok(())
    }

    /// Removes all keys that start with a prefix. Heads in the table are passed through it now,
    /// which walks the whole table: such removals are rare, and reads stay cheap. The others are
    /// passed through it when they are read.
    pub(crate) fn clear_prefix(&mut self, space: Space, prefix: &Bytes, removal: Removal) {
        let complete = self.is_complete(&removal);
        self.touch_prefix(space, prefix.clone());
        self.sweeps.prefix_cleared(space, prefix);
        let prefixes = self.cleared_mut(space);
        prefixes.insert(prefix.clone(), removal, complete);
        let prefixes = prefixes.clone();
        for row in self.slots.rows_mut() {
            if let SlotRow::Head { space: other, key, head, .. } = row
                && *other == space
            {
                prefixes.settle(key, head);
            }
        }
    }

    /// Whether a removal covers all that the rows reflect. What its own transaction wrote into
    /// the range before was taken back, so its own dot counts as covered.
    fn is_complete(&self, removal: &Removal) -> bool {
        self.reflected.iter().all(|(origin, version)| {
            removal.seen.covers(Dot { origin, version }) || (Dot { origin, version }) == removal.dot
        })
    }
}
