//! The [`Store`] port on fjall: every record of a node in one data directory.
//!
//! One fjall database holds eight tables (see `tables` and `keys`), and one batch over all of them
//! is atomic. Commits are serialised here; grouping many clients' writes into one commit is the
//! caller's business. A reader takes no lock and no snapshot for a single row.
//!
//! # What is checked at open
//!
//! 1. The directory is this process's alone, and its format is known.
//! 2. **Skew**: every table is at the newest commit. fjall flushes tables one by one, so that a
//!    journal that lost its end can leave them apart; then nothing fits together and the open
//!    fails with what to do.
//! 3. **Rewind**: the newest commit is not older than the `watermark`, a number kept outside
//!    fjall. A lower one means that synced commits are gone, which fjall alone does not tell. What
//!    is left fits together, so the store opens, and reports every origin as one that may have
//!    written more: the node's own origins must not be used again (a dot names one write for
//!    ever), and those of others are fetched from their peers as after any absence.
//! 4. **Logs**: the newest rows of each log are there and have the right checksum, and each log
//!    ends where the views have applied it. Log and views change in one atomic batch; when only
//!    log rows are damaged, the views still hold their effect. So the views and the vector stay as
//!    they are, the log is cut before the first bad row, and the report says from which version it
//!    must be fetched again, for serving it to others only.
//!
//! The rest is read in the background by [`Reader::verify_all`].
//!
//! # After a failure
//!
//! A failed fsync leaves the page cache and the disk apart (Rebello et al., "Can applications
//! recover from fsync failures?", USENIX ATC 2020), so after one the store refuses every commit
//! until it is opened again, and keeps answering reads. The batch that failed is not visible; a new
//! open may find it, as any write that was not answered.
//!
//! Deliberately absent: merge laws, time, and any policy on what is kept.

mod commit;
mod error;
mod journal;
mod keys;
mod open;
mod read;
mod row;
mod tables;
mod verify;
mod watermark;

use std::{
    fs::File,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use fjall::{Database, PersistMode};
pub use open::{FORMAT_VERSION, OpenError, set_aside};
pub use read::Reader;
#[doc(hidden)]
pub use read::{Bounds, Rows};
use read::{Direct, Frozen};
use rhumb_ports::store::{Batch, Durability, Recovered, Store, StoreError};

use crate::commit::Writer;

/// An open data directory.
pub type FjallStore = Reader<Live>;
/// A view of a store that stays as it is. fjall keeps old rows for it, so keep it short.
pub type FjallSnapshot = Reader<Frozen>;

/// The newest rows, and the way to new ones.
pub struct Live {
    writer: Mutex<Writer>,
    recovered: Recovered,
    // In this order: fjall is closed before the directory is unlocked.
    database: Database,
    _lock: File,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic inside a commit leaves the writer as it was before it.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows for Live {
    fn commit_number(&self, published: &AtomicU64) -> u64 {
        Direct.commit_number(published)
    }
    fn get(&self, table: &fjall::Keyspace, key: &[u8]) -> fjall::Result<Option<fjall::Slice>> {
        Direct.get(table, key)
    }
    fn range(&self, table: &fjall::Keyspace, bounds: Bounds) -> fjall::Iter {
        Direct.range(table, bounds)
    }
}

impl FjallStore {
    /// Opens a data directory, or makes it, and checks what it holds.
    ///
    /// # Errors
    /// [`OpenError`] when it is in use, newer, something else, or damaged beyond what
    /// [`Recovered::damage`] can describe.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let open::Opened { database, shared, writer, recovered, lock } = open::open(path)?;
        let rows = Live { writer: Mutex::new(writer), recovered, database, _lock: lock };
        Ok(Self { shared, rows })
    }
}

impl Store for FjallStore {
    type Snapshot = FjallSnapshot;

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<u64, StoreError> {
        self.rows.writer().commit(&self.rows.database, &self.shared, batch, durability)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut writer = self.rows.writer();
        if let Some(failed) = &writer.failed {
            return Err(failed.clone());
        }
        let synced = self.rows.database.persist(PersistMode::SyncData);
        synced.map_err(|error| writer.fail(&self.shared, self.shared.failed(&error)))?;
        let number = self.shared.published.load(Ordering::Acquire);
        writer.witness(&self.shared, number)
    }

    fn snapshot(&self) -> Self::Snapshot {
        let frozen = Frozen::new(self.rows.database.snapshot(), &self.shared);
        Reader { shared: Arc::clone(&self.shared), rows: frozen }
    }

    fn recovered(&self) -> &Recovered {
        &self.rows.recovered
    }
}
