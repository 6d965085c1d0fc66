//! The open local transaction.
//!
//! Every edit is applied to the table at once and recorded as a change. Several edits of one cell
//! fold into one change, so that a counter incremented a thousand times in a batch travels once.
//! A removal of a whole key or of a range is a barrier: what the transaction itself wrote into
//! the range before is taken back, so that the removal finds only earlier transactions' writes,
//! and later edits are recorded after it.
//!
//! Its context is fixed when it is opened: finish it before a received transaction is applied.
//!
//! Long: every edit keeps the same books, and they are read together.

mod record;
mod size;

use std::{collections::BTreeMap, mem};

use bytes::Bytes;
use rhumb_types::{
    Hlc, OriginId, RegionId, UnixMillis,
    record::{
        Amount, Cell, CellId, Change, Delta, Dot, Entry, Field, Mark, OwnedId, OwnedRow, Space,
        Transaction, Value, VersionVector,
        transaction::{TRANSACTION_BYTES_MAX, TRANSACTION_CHANGES_MAX},
    },
};

use self::{
    record::{Recorded, Records},
    size::{change_bytes, context_bytes},
};
use crate::{cell, context::Context, edit::Place, row::Missing, table::Table, visible};

/// A draft with this many changes is full; one operation may bring as many again.
pub const DRAFT_CHANGES_MAX: usize = TRANSACTION_CHANGES_MAX / 2;
/// A draft of this many bytes is full; one operation may bring as many again.
pub const DRAFT_BYTES_MAX: usize = TRANSACTION_BYTES_MAX / 2;

/// What a transaction says about itself.
#[derive(Clone, PartialEq, Debug)]
pub struct DraftContext {
    /// Whose log it goes to.
    pub origin: OriginId,
    /// Its version: one more than the origin's last.
    pub version: u64,
    /// Its time, after that of every earlier transaction of the origin.
    pub timestamp: Hlc,
    /// Where it is written.
    pub region: RegionId,
    /// What is applied here of other origins.
    pub deps: VersionVector,
}

impl DraftContext {
    const fn context(&self) -> Context<'_> {
        Context { dot: Dot { origin: self.origin, version: self.version }, deps: &self.deps }
    }
}

/// The open local transaction.
#[derive(Debug)]
pub struct Draft {
    context: DraftContext,
    /// In order; a change that was taken back leaves a gap.
    changes: Vec<Option<Change>>,
    gaps: usize,
    bytes: usize,
    keys: Records,
    owned: BTreeMap<OwnedId, usize>,
    announced: bool,
}

impl Draft {
    /// An empty transaction.
    #[must_use]
    pub fn open(context: DraftContext) -> Self {
        Self {
            bytes: context_bytes(&context),
            context,
            changes: Vec::new(),
            gaps: 0,
            keys: Records::new(),
            owned: BTreeMap::new(),
            announced: false,
        }
    }

    /// What the transaction will say about itself.
    #[must_use]
    pub const fn context(&self) -> &DraftContext {
        &self.context
    }

    /// The dot of everything that it writes.
    #[must_use]
    pub const fn dot(&self) -> Dot {
        self.context.context().dot
    }

    /// Replaces a cell's content by one entry. `expiry` is for head cells only.
    ///
    /// # Errors
    /// [`Missing`] when a row of the cell is not in the table; nothing is changed then. So for
    /// every edit below.
    pub fn put(
        &mut self,
        table: &mut Table,
        cell: CellId,
        value: Value,
        expiry: Option<UnixMillis>,
    ) -> Result<(), Missing> {
        let place = table.place(&cell)?;
        if self.has_put(table, place, &value, expiry) {
            return Ok(());
        }
        self.announce(table);
        let at = self.keys.place(&cell);
        self.take_back_add(table, place, at, &cell.field);
        self.put_at(table, place, at, (cell, value, expiry), cell::marks);
        Ok(())
    }

    /// Whether this transaction has put the same into a cell, and nothing since has changed it:
    /// then another put changes nothing. The head of a collection is put with every member.
    /// Scores are not looked at: two that are equal may still be written differently.
    fn has_put(
        &self,
        table: &Table,
        place: Place,
        value: &Value,
        expiry: Option<UnixMillis>,
    ) -> bool {
        let dot = self.dot();
        table.cell_at(place).is_some_and(|cell| {
            let own = cell.entries.iter().find(|entry| entry.dot == dot);
            !matches!(value, Value::Score(_))
                && cell.deltas.is_empty()
                && own.is_some_and(|own| own.expiry == expiry && own.value == *value)
        })
    }

    /// Writes a key's head again with another expiry: its entry if it has one, else a base of
    /// zero. Additions go on counting.
    ///
    /// # Errors
    /// [`Missing`], as for [`Draft::put`].
    pub fn set_expiry(
        &mut self,
        table: &mut Table,
        space: Space,
        key: Bytes,
        expiry: Option<UnixMillis>,
    ) -> Result<(), Missing> {
        let head = &table.head(space, &key)?.cell;
        let zero = || Value::Bytes(Bytes::from_static(b"0"));
        let value = visible::winner(head).map_or_else(zero, |entry| entry.value.clone());
        let cell = CellId::head(space, key);
        let place = table.place(&cell)?;
        self.announce(table);
        let at = self.keys.place(&cell);
        self.put_at(table, place, at, (cell, value, expiry), |_, _| Vec::new());
        Ok(())
    }

    fn put_at(
        &mut self,
        table: &mut Table,
        place: Place,
        at: usize,
        (cell, value, expiry): (CellId, Value, Option<UnixMillis>),
        marks: impl FnOnce(&Cell, &Context<'_>) -> Vec<Mark>,
    ) {
        let context = self.context.context();
        let entry =
            Entry { dot: context.dot, hlc: self.context.timestamp, value: value.clone(), expiry };
        let mut marks = table.edit(place, |row| {
            let marks = marks(row, &context);
            cell::put(row, &context, entry, &marks);
            marks
        });
        marks.splice(0..0, self.recorded_marks(at, &cell.field));
        self.record_write(at, Change::Put { cell, value, expiry, marks });
    }

    /// Adds to a counter.
    ///
    /// # Errors
    /// [`Missing`], as for [`Draft::put`].
    pub fn add(&mut self, table: &mut Table, cell: CellId, amount: Amount) -> Result<(), Missing> {
        let place = table.place(&cell)?;
        self.announce(table);
        let at = self.keys.place(&cell);
        let dot = self.dot();
        let (before, frame, sum) = table.edit(place, |row| raise(row, dot, amount));
        let known = self.keys.get_mut(at).and_then(|key| key.cell(&cell.field).add.as_ref());
        match known.map(|(change, _)| *change) {
            Some(change) => {
                if let Some(Some(Change::Add { sum: recorded, .. })) = self.changes.get_mut(change)
                {
                    *recorded = sum;
                }
            }
            None => {
                let field = cell.field.clone();
                let change = self.push(Change::Add { cell, frame, sum });
                if let Some(key) = self.keys.get_mut(at) {
                    key.cell(&field).add = Some((change, before.map(Box::new)));
                }
            }
        }
        Ok(())
    }

    /// Removes a cell's content.
    ///
    /// # Errors
    /// [`Missing`], as for [`Draft::put`].
    pub fn remove(&mut self, table: &mut Table, cell: CellId) -> Result<(), Missing> {
        let place = table.place(&cell)?;
        if table.is_vacant(place) {
            return Ok(());
        }
        self.announce(table);
        let at = self.keys.place(&cell);
        self.take_back_add(table, place, at, &cell.field);
        let context = self.context.context();
        let mut marks = table.edit(place, |row| {
            let marks = cell::marks(row, &context);
            cell::remove(row, &context, &marks);
            marks
        });
        marks.splice(0..0, self.recorded_marks(at, &cell.field));
        self.record_write(at, Change::Remove { cell, marks });
        Ok(())
    }

    /// Removes a whole key. Of its members only those go that were written before; additions to a
    /// member that go on elsewhere meanwhile bring back what they build on. Remove the members
    /// one by one, where they are few, to mark exactly what was seen.
    ///
    /// # Errors
    /// [`Missing`], as for [`Draft::put`].
    pub fn remove_key(
        &mut self,
        table: &mut Table,
        space: Space,
        key: Bytes,
    ) -> Result<(), Missing> {
        let cell = CellId::head(space, key);
        let place = table.place(&cell)?;
        if table.head(space, &cell.key)?.is_vacant() {
            return Ok(());
        }
        self.announce(table);
        let at = self.keys.place(&cell);
        self.take_back_key(table, at)?;
        let context = self.context.context();
        let marks = table.edit(place, |row| {
            let marks = cell::marks(row, &context);
            cell::remove(row, &context, &marks);
            marks
        });
        let removal = context.removal();
        table.clear_key(space, &cell.key, &removal)?;
        let key = cell.key.clone();
        if !marks.is_empty() {
            self.push(Change::Remove { cell, marks });
        }
        self.push(Change::RemoveKey { space, key });
        Ok(())
    }

    /// Removes every key that starts with a prefix; all keys when it is empty.
    ///
    /// # Errors
    /// [`Missing`], as for [`Draft::put`]. Needs no rows but those that this draft has edited.
    pub fn remove_prefix(
        &mut self,
        table: &mut Table,
        space: Space,
        prefix: Bytes,
    ) -> Result<(), Missing> {
        self.announce(table);
        for at in 0..self.keys.len() {
            let key = self.keys.get(at);
            if key.is_some_and(|key| key.space == space && key.key.starts_with(&prefix)) {
                self.take_back_key(table, at)?;
            }
        }
        table.clear_prefix(space, &prefix, self.context.context().removal());
        self.push(Change::RemovePrefix { space, prefix });
        Ok(())
    }

    /// Sets an owned row, unless the row that is there absorbs it (rule 4).
    ///
    /// # Errors
    /// [`Missing`], as for [`Draft::put`].
    pub fn own(&mut self, table: &mut Table, row: OwnedRow) -> Result<(), Missing> {
        if !table.adopt(&row)? {
            return Ok(());
        }
        match self.owned.get(&row.id) {
            Some(at) => {
                if let Some(place) = self.changes.get_mut(*at) {
                    let change = Change::Own(row);
                    self.bytes -= place.as_ref().map_or(0, change_bytes);
                    self.bytes += change_bytes(&change);
                    *place = Some(change);
                }
            }
            None => {
                let id = row.id.clone();
                let at = self.push(Change::Own(row));
                self.owned.insert(id, at);
            }
        }
        Ok(())
    }

    /// Whether nothing was changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.len() == self.gaps
    }

    /// How many changes the transaction has.
    #[must_use]
    pub const fn changes(&self) -> usize {
        self.changes.len() - self.gaps
    }

    /// About how many bytes the transaction takes when it is encoded; never fewer.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the transaction should be finished before the next operation: one that brings at
    /// most [`DRAFT_CHANGES_MAX`] changes and [`DRAFT_BYTES_MAX`] bytes fits until then.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.changes() >= DRAFT_CHANGES_MAX || self.bytes >= DRAFT_BYTES_MAX
    }

    /// The transaction; `None` when nothing was changed, and the version is free for the next
    /// draft.
    #[must_use]
    pub fn finish(self) -> Option<Transaction> {
        if self.is_empty() {
            return None;
        }
        let DraftContext { origin, version, timestamp, region, deps } = self.context;
        let changes = self.changes.into_iter().flatten().collect();
        Some(Transaction { origin, version, timestamp, region, deps, changes })
    }

    fn announce(&mut self, table: &mut Table) {
        if !mem::replace(&mut self.announced, true) {
            table.reflect(self.dot());
        }
    }

    /// Marks that the recorded write of a cell carries: a write in its place must carry them too.
    fn recorded_marks(&mut self, key: usize, field: &Field) -> Vec<Mark> {
        let record = self.keys.get_mut(key).map(|key| key.cell(field).write);
        let change = record.flatten().and_then(|at| self.changes.get_mut(at));
        match change {
            Some(Some(Change::Put { marks, .. } | Change::Remove { marks, .. })) => {
                mem::take(marks)
            }
            _ => Vec::new(),
        }
    }

    /// Records a Put or Remove, in place of what was recorded of the cell.
    fn record_write(&mut self, key: usize, change: Change) {
        let (Change::Put { cell, .. } | Change::Remove { cell, .. }) = &change else { return };
        let Some(record) = self.keys.get_mut(key).map(|key| key.cell(&cell.field)) else { return };
        match record.write {
            Some(at) => {
                if let Some(place) = self.changes.get_mut(at) {
                    self.bytes -= place.as_ref().map_or(0, change_bytes);
                    self.bytes += change_bytes(&change);
                    *place = Some(change);
                }
            }
            None => {
                record.write = Some(self.changes.len());
                self.push(change);
            }
        }
    }

    fn push(&mut self, change: Change) -> usize {
        self.bytes += change_bytes(&change);
        self.changes.push(Some(change));
        self.changes.len() - 1
    }

    fn drop_change(&mut self, at: usize) {
        if let Some(change) = self.changes.get_mut(at).and_then(Option::take) {
            self.bytes -= change_bytes(&change);
            self.gaps += 1;
        }
    }

    /// Takes back what this draft added to a cell: a write in the same transaction removes it, so
    /// it never leaves. The next addition starts a frame of its own.
    fn take_back_add(&mut self, table: &mut Table, place: Place, key: usize, field: &Field) {
        let record = self.keys.get_mut(key).map(|key| key.cell(field));
        let Some((change, before)) = record.and_then(|record| record.add.take()) else { return };
        self.drop_change(change);
        let origin = self.context.origin;
        table.edit(place, |row| restore(row, origin, before.map(|before| *before)));
    }

    /// Takes back everything that this draft wrote into a key, but for the marks.
    fn take_back_key(&mut self, table: &mut Table, at: usize) -> Result<(), Missing> {
        let Some(key) = self.keys.get_mut(at) else { return Ok(()) };
        let (space, name) = (key.space, key.key.clone());
        let members = mem::take(&mut key.members);
        let head = mem::take(&mut key.head);
        for (member, record) in members {
            self.take_back(table, &CellId::member(space, name.clone(), member), record)?;
        }
        self.take_back(table, &CellId::head(space, name), head)
    }

    fn take_back(
        &mut self,
        table: &mut Table,
        cell: &CellId,
        record: Recorded,
    ) -> Result<(), Missing> {
        if record.add.is_none() && record.write.is_none() {
            return Ok(());
        }
        let place = table.place(cell)?;
        if let Some((change, before)) = record.add {
            self.drop_change(change);
            let origin = self.context.origin;
            table.edit(place, |row| restore(row, origin, before.map(|before| *before)));
        }
        let Some(at) = record.write else { return Ok(()) };
        let dot = self.dot();
        table.edit(place, |row| row.entries.retain(|entry| entry.dot != dot));
        let marks = match self.changes.get_mut(at) {
            Some(Some(Change::Put { marks, .. } | Change::Remove { marks, .. })) => {
                mem::take(marks)
            }
            _ => Vec::new(),
        };
        self.drop_change(at);
        if !marks.is_empty() {
            self.gaps -= 1;
            let remove = Change::Remove { cell: cell.clone(), marks };
            self.bytes += change_bytes(&remove);
            if let Some(place) = self.changes.get_mut(at) {
                *place = Some(remove);
            }
        }
        Ok(())
    }
}

/// Adds to the own delta of a cell: goes on with its frame while that counts, else starts one.
fn raise(row: &mut Cell, dot: Dot, amount: Amount) -> (Option<Delta>, u64, Amount) {
    let own = row.deltas.iter().find(|delta| delta.origin == dot.origin).cloned();
    let (frame, base) = match &own {
        Some(delta) if delta.counts() => (delta.frame, delta.sum),
        _ => (dot.version, Amount::default()),
    };
    let sum = Amount { int: base.int.wrapping_add(amount.int), float: base.float + amount.float };
    cell::add(row, dot, frame, sum);
    (own, frame, sum)
}

fn restore(row: &mut Cell, origin: OriginId, before: Option<Delta>) {
    let found = row.deltas.binary_search_by_key(&origin, |delta| delta.origin);
    match (found, before) {
        (Ok(at), None) => {
            row.deltas.remove(at);
        }
        (Ok(at), Some(before)) => {
            if let Some(delta) = row.deltas.get_mut(at) {
                *delta = before;
            }
        }
        (Err(at), Some(before)) => row.deltas.insert(at, before),
        (Err(_), None) => {}
    }
}
