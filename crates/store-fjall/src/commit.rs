//! The one writer: a batch of the port becomes one batch of fjall.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use fjall::{Database, OwnedWriteBatch, PersistMode};
use rhumb_ports::store::{Batch, Durability, StoreError, Write};
use rhumb_types::{OriginId, record::Record};

use crate::{
    error::io_error,
    journal,
    keys::{self, KeyBuf},
    read::Shared,
    row::{self, Extent, Newest},
    tables::{TABLES, Table},
    watermark::Watermark,
};

/// Rows of trimmed logs that one commit removes at most; the rest waits for later commits.
const SWEEP_ROWS_PER_COMMIT: u64 = 4_096;

/// What only the writer knows.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) newest: Newest,
    pub(crate) extents: BTreeMap<OriginId, Extent>,
    pub(crate) watermark: Watermark,
    /// Where the conflict journal may have rows.
    pub(crate) conflicts: Places,
    /// Why no commit is taken any more.
    pub(crate) failed: Option<StoreError>,
}

/// A range of places in the conflict journal, empty when `last < first`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// A batch on its way.
struct Staged {
    batch: OwnedWriteBatch,
    touched: [bool; TABLES],
    extents: BTreeMap<OriginId, Extent>,
    conflicts: Places,
}

impl Writer {
    /// Commits a batch and publishes its number.
    pub(crate) fn commit(
        &mut self,
        database: &Database,
        shared: &Arc<Shared>,
        batch: &Batch,
        durability: Durability,
    ) -> Result<u64, StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let mut staged = self.stage(database, shared, batch)?;
        let newest = staged.seal(shared, &self.newest);
        let mode = match durability {
            Durability::Buffered => PersistMode::Buffer,
            Durability::Synced => PersistMode::SyncData,
        };
        let committed = staged.batch.durability(Some(mode)).commit();
        committed.map_err(|error| self.fail(shared, shared.failed(&error)))?;
        self.newest = newest;
        self.extents.append(&mut staged.extents);
        self.conflicts = staged.conflicts;
        // Release: whoever reads the number reads the rows that fjall inserted before.
        shared.published.store(newest.number, Ordering::Release);
        if durability == Durability::Synced {
            self.witness(shared, newest.number)?;
        }
        Ok(newest.number)
    }

    /// Notes outside fjall that everything up to a commit is synced.
    pub(crate) fn witness(&mut self, shared: &Shared, number: u64) -> Result<(), StoreError> {
        let noted = self.watermark.set(number);
        noted.map_err(|error| self.fail(shared, io_error(&shared.path, &error)))
    }

    /// Refuses every later commit.
    pub(crate) fn fail(&mut self, shared: &Shared, error: StoreError) -> StoreError {
        tracing::error!(%error, "the store takes no more commits");
        journal::note_failure(&shared.path);
        self.failed.get_or_insert_with(|| error.clone());
        error
    }

    fn stage(
        &self,
        database: &Database,
        shared: &Shared,
        batch: &Batch,
    ) -> Result<Staged, StoreError> {
        // Two rows for the store itself, one mark per table, and slack for extents.
        let capacity = batch.writes.len() + TABLES + 4;
        let mut staged = Staged {
            batch: OwnedWriteBatch::with_capacity(database.clone(), capacity),
            touched: [false; TABLES],
            extents: BTreeMap::new(),
            conflicts: self.conflicts,
        };
        for write in &batch.writes {
            staged.write(shared, &self.extents, write)?;
        }
        staged.sweep(shared, &self.extents);
        let changed: Vec<Extent> = staged.extents.values().copied().collect();
        for extent in changed {
            let row = Some(extent.encode().into());
            staged.put(shared, Table::Meta, keys::extent(extent.log.origin), row);
        }
        Ok(staged)
    }
}

impl Staged {
    fn put(&mut self, shared: &Shared, table: Table, key: KeyBuf, value: Option<Bytes>) {
        let keyspace = shared.tables.get(table);
        let key = Bytes::copy_from_slice(&key);
        match value {
            Some(value) => self.batch.insert(keyspace, key, value),
            None => self.batch.remove(keyspace, key),
        }
        if let Some(touched) = self.touched.get_mut(table as usize) {
            *touched = true;
        }
    }

    fn write(
        &mut self,
        shared: &Shared,
        extents: &BTreeMap<OriginId, Extent>,
        write: &Write,
    ) -> Result<(), StoreError> {
        write.check()?;
        match write {
            Write::Head { space, key, head } => {
                let row = head.as_ref().map(Record::encode);
                self.put(shared, Table::Heads, keys::head(*space, key), row);
            }
            Write::Member { space, key, member, cell } => {
                let row = cell.as_ref().map(Record::encode);
                self.put(shared, Table::Members, keys::member(*space, key, member), row);
            }
            Write::Score { space, key, score, member, present } => {
                let row = present.then(Bytes::new);
                self.put(shared, Table::Scores, keys::score(*space, key, *score, member), row);
            }
            Write::Expiry { at, space, key, present } => {
                let row = present.then(Bytes::new);
                self.put(shared, Table::Expiry, keys::expiry(*at, *space, key), row);
            }
            Write::Log { origin, version, transaction } => {
                self.extent(extents, *origin, *version).append(*version)?;
                let row = row::encode_log(*origin, *version, transaction).into();
                self.put(shared, Table::Log, keys::log(*origin, *version), Some(row));
            }
            Write::LogTrim { origin, through } => self.extent(extents, *origin, 1).trim(*through),
            Write::Owned(row) => {
                let key = keys::owned(row.id.table, &row.id.key);
                self.put(shared, Table::Owned, key, Some(row.encode()));
            }
            Write::OwnedDrop(id) => {
                self.put(shared, Table::Owned, keys::owned(id.table, &id.key), None);
            }
            Write::Conflict { sequence, entry } => {
                self.conflicts.first = self.conflicts.first.min(*sequence);
                self.conflicts.last = self.conflicts.last.max(*sequence);
                let key = keys::conflict(*sequence);
                self.put(shared, Table::Conflicts, key, Some(entry.clone()));
            }
            Write::ConflictTrim { through } => self.trim_conflicts(shared, *through),
            Write::Meta { name, value } => {
                self.put(shared, Table::Meta, keys::meta(name), value.clone());
            }
        }
        Ok(())
    }

    fn extent(
        &mut self,
        known: &BTreeMap<OriginId, Extent>,
        origin: OriginId,
        starting: u64,
    ) -> &mut Extent {
        self.extents.entry(origin).or_insert_with(|| {
            known.get(&origin).copied().unwrap_or_else(|| Extent::starting(origin, starting))
        })
    }

    /// Removes entries of the journal, which its writer keeps short.
    fn trim_conflicts(&mut self, shared: &Shared, through: u64) {
        for sequence in self.conflicts.first..=through.min(self.conflicts.last) {
            self.put(shared, Table::Conflicts, keys::conflict(sequence), None);
        }
        self.conflicts.first = self.conflicts.first.max(through.saturating_add(1));
    }

    /// Removes rows of trimmed logs.
    fn sweep(&mut self, shared: &Shared, known: &BTreeMap<OriginId, Extent>) {
        let mut left = SWEEP_ROWS_PER_COMMIT;
        let origins: Vec<OriginId> = known.keys().chain(self.extents.keys()).copied().collect();
        for origin in origins {
            let current = self.extents.get(&origin).or_else(|| known.get(&origin));
            let Some(mut extent) = current.copied() else { continue };
            let swept = extent.sweep(left);
            if swept.is_empty() {
                continue;
            }
            left -= swept.end - swept.start;
            for version in swept {
                self.put(shared, Table::Log, keys::log(origin, version), None);
            }
            self.extents.insert(origin, extent);
        }
    }

    /// Adds the commit's number and the marks of the tables that it touches.
    fn seal(&mut self, shared: &Shared, newest: &Newest) -> Newest {
        let mut next = Newest { number: newest.number + 1, ..*newest };
        if let Some(meta) = self.touched.get_mut(Table::Meta as usize) {
            *meta = true;
        }
        for (table, (mark, touched)) in
            Table::ALL.into_iter().zip(next.touched.iter_mut().zip(self.touched))
        {
            if touched {
                *mark = next.number;
                let row = Some(row::encode_mark(next.number));
                self.put(shared, table, KeyBuf::from_slice(&keys::MARK), row);
            }
        }
        self.put(shared, Table::Meta, keys::commit(), Some(next.encode().into()));
        next
    }
}
