//! Stores without a disk, with the faults of one.
//!
//! [`MemoryDisk`] is what outlives a process, [`MemoryStore`] is what one process opens on it. The
//! contract suite compares other stores with it, tests of machines run on it, and the simulator
//! crashes it: what was committed as `Buffered` and not synced since can be lost, in whole batches
//! from the newest back, as with a journal.
//!
//! Deliberately absent: time. A slow disk is the business of whoever drives the calls.

#![allow(
    clippy::disallowed_types,
    reason = "a store is shared by reference, as a disk is; whoever drives it has one thread"
)]

mod blobs;
mod tables;

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

pub use blobs::{BlobFaults, MemoryBlobs};
use bytes::Bytes;
use rhumb_types::{
    OriginId, UnixMillis,
    record::{Cell, Head, OwnedId, OwnedRow, Space},
};
pub use tables::Tables;

use crate::store::{
    Batch, Durability, MetaName, Range, ReadStore, Recovered, ScoreRange, Store, StoreError,
};

/// The path that errors of a disk without one name.
const PATH: &str = "memory";

/// What goes wrong on a disk from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Every sync fails. The store that sees it refuses all later commits.
    pub sync_fails: bool,
    /// Every sync is acknowledged and does nothing.
    pub sync_lies: bool,
    /// Nothing more can be written.
    pub full: bool,
}

#[derive(Debug, Clone, Default)]
struct Disk {
    /// What readers see.
    visible: Tables,
    /// What a crash of the machine cannot take.
    durable: Tables,
    /// What `visible` has and `durable` has not, oldest first.
    pending: VecDeque<Batch>,
    /// A batch whose sync failed: a crash may keep it or not.
    doubtful: Option<Batch>,
    faults: Faults,
    /// How many synced commits a rewind took that no commit has replaced; found by every open
    /// until the next commit.
    lost: u64,
    /// Counts crashes and opens, so that a store of an earlier process cannot write any more.
    generation: u64,
    /// Why the present process may not commit any more.
    failed: Option<StoreError>,
}

impl Disk {
    /// Makes everything visible durable, whatever the faults.
    fn settle(&mut self) {
        self.pending.clear();
        self.doubtful = None;
        self.durable = self.visible.clone();
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if self.faults.sync_fails {
            let failed = failure("fsync failed");
            self.failed = Some(failed.clone());
            return Err(failed);
        }
        if !self.faults.sync_lies {
            for batch in self.pending.drain(..) {
                self.durable.apply_checked(&batch)?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch, durability: Durability) -> Result<u64, StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if self.faults.full {
            return Err(StoreError::Full { path: PATH.to_owned() });
        }
        self.visible.check(batch)?;
        if durability == Durability::Synced && self.faults.sync_fails {
            self.doubtful = Some(batch.clone());
            return self.sync().map(|()| self.visible.commit_number());
        }
        self.visible.apply_checked(batch)?;
        if durability == Durability::Synced {
            self.sync()?;
        }
        if durability == Durability::Synced && !self.faults.sync_lies {
            self.durable.apply_checked(batch)?;
        } else {
            self.pending.push_back(batch.clone());
        }
        self.lost = 0;
        Ok(self.visible.commit_number())
    }
}

fn failure(reason: &str) -> StoreError {
    StoreError::Disk { path: PATH.to_owned(), reason: reason.to_owned() }
}

/// What outlives a process. Clones are handles of the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<RwLock<Disk>>);

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a process on the disk. A store opened earlier can read, and not commit any more.
    #[must_use]
    pub fn open(&self) -> MemoryStore {
        let mut disk = self.write();
        disk.generation += 1;
        disk.failed = None;
        disk.doubtful = None;
        let recovered = disk.visible.recovered().rewound_by(disk.lost);
        MemoryStore { disk: self.clone(), generation: disk.generation, recovered }
    }

    /// How many batches a crash of the machine could take now.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.read().pending.len()
    }

    /// Crashes the machine: of the batches that were not synced only the `kept` oldest survive; a
    /// batch whose sync failed counts as the newest. Stores opened earlier cannot commit any more.
    pub fn crash(&self, kept: usize) {
        let mut disk = self.write();
        disk.generation += 1;
        let pending = std::mem::take(&mut disk.pending);
        let doubtful = disk.doubtful.take();
        for batch in pending.into_iter().chain(doubtful).take(kept) {
            if disk.durable.apply(&batch).is_err() {
                unreachable!("every batch was checked on top of those before it");
            }
        }
        disk.visible = disk.durable.clone();
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.write().faults = faults;
    }

    /// What is wrong with it.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.read().faults
    }

    /// A copy of what is on the disk, durable or not, as a backup would take it.
    #[must_use]
    pub fn image(&self) -> Self {
        let mut copy = self.read().clone();
        copy.settle();
        Self(Arc::new(RwLock::new(copy)))
    }

    /// A copy of what a crash of the machine cannot take, as a backup is that syncs first.
    #[must_use]
    pub fn durable_image(&self) -> Self {
        let durable = self.read().durable.clone();
        Self(Arc::new(RwLock::new(Disk { visible: durable.clone(), durable, ..Disk::default() })))
    }

    /// Damages a log: the rows from a version on cannot be read any more. The next open reports
    /// it and sets them aside.
    pub fn damage_log(&self, origin: OriginId, from: u64) {
        let mut disk = self.write();
        disk.generation += 1;
        disk.settle();
        disk.durable.lose_log(origin, from);
        disk.visible = disk.durable.clone();
    }

    /// Takes the disk back to an earlier [`MemoryDisk::image`] of it, as a damaged journal or a
    /// restored backup does. The next open reports every log as rewound.
    pub fn rewind(&self, earlier: &Self) {
        let mut disk = self.write();
        let now = disk.visible.commit_number();
        disk.visible = earlier.read().visible.clone();
        disk.lost = now.saturating_sub(disk.visible.commit_number());
        disk.generation += 1;
        disk.settle();
    }

    fn read(&self) -> RwLockReadGuard<'_, Disk> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Disk> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process's store on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryStore {
    disk: MemoryDisk,
    generation: u64,
    recovered: Recovered,
}

impl MemoryStore {
    /// A store on a new disk.
    #[must_use]
    pub fn new() -> Self {
        MemoryDisk::new().open()
    }

    /// The disk under it.
    #[must_use]
    pub const fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    fn current(&self) -> Result<RwLockWriteGuard<'_, Disk>, StoreError> {
        let disk = self.disk.write();
        if disk.generation == self.generation {
            Ok(disk)
        } else {
            Err(failure("the process that opened this store has crashed"))
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    type Snapshot = Tables;

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<u64, StoreError> {
        self.current()?.commit(batch, durability)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.current()?.sync()
    }

    fn snapshot(&self) -> Self::Snapshot {
        self.disk.read().visible.clone()
    }

    fn recovered(&self) -> &Recovered {
        &self.recovered
    }
}

impl ReadStore for MemoryStore {
    fn commit_number(&self) -> u64 {
        self.disk.read().visible.commit_number()
    }

    fn head(&self, space: Space, key: &[u8]) -> Result<Option<Head>, StoreError> {
        self.disk.read().visible.head(space, key)
    }

    fn member(&self, space: Space, key: &[u8], member: &[u8]) -> Result<Option<Cell>, StoreError> {
        self.disk.read().visible.member(space, key, member)
    }

    fn members(
        &self,
        space: Space,
        key: &[u8],
        range: Range<Bytes>,
    ) -> Result<Vec<(Bytes, Cell)>, StoreError> {
        self.disk.read().visible.members(space, key, range)
    }

    fn scores(
        &self,
        space: Space,
        key: &[u8],
        range: ScoreRange,
    ) -> Result<Vec<(f64, Bytes)>, StoreError> {
        self.disk.read().visible.scores(space, key, range)
    }

    fn keys(
        &self,
        space: Space,
        prefix: &[u8],
        range: Range<Bytes>,
    ) -> Result<Vec<(Bytes, Head)>, StoreError> {
        self.disk.read().visible.keys(space, prefix, range)
    }

    fn expired(
        &self,
        until: UnixMillis,
        limit: usize,
    ) -> Result<Vec<(UnixMillis, Space, Bytes)>, StoreError> {
        self.disk.read().visible.expired(until, limit)
    }

    fn log(
        &self,
        origin: OriginId,
        after: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        self.disk.read().visible.log(origin, after, bytes_max)
    }

    fn owned(&self, id: &OwnedId) -> Result<Option<OwnedRow>, StoreError> {
        self.disk.read().visible.owned(id)
    }

    fn owned_rows(&self, table: u8, range: Range<Bytes>) -> Result<Vec<OwnedRow>, StoreError> {
        self.disk.read().visible.owned_rows(table, range)
    }

    fn conflicts(&self, limit: usize) -> Result<Vec<(u64, Bytes)>, StoreError> {
        self.disk.read().visible.conflicts(limit)
    }

    fn meta(&self, name: &MetaName) -> Result<Option<Bytes>, StoreError> {
        self.disk.read().visible.meta(name)
    }
}

#[cfg(test)]
mod tests;
