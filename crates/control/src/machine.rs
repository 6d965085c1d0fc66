//! The replicated machine as openraft sees it.

use std::{
    fmt,
    io::{self, Cursor},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError,
    storage::RaftStateMachine,
};
use rhumb_ports::control::Replicated;
use tokio::sync::{self, watch};

use crate::{
    disk::Disk,
    log::OpenLogError,
    raft::{Entry, LogId, SnapshotMeta, StorageError, StoredMembership, TypeConfig},
    snapshot::{SNAPSHOT_NAME, Stored},
};

/// The machine, its place in the log, and its snapshot. Clones share it.
#[derive(Clone)]
pub(crate) struct Machine(Arc<Inner>);

/// How far the snapshot on the disk reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It covers the log through here.
    Through(Option<LogId>),
    /// It could not be saved; the group is about to stop.
    Failed,
}

struct Inner {
    disk: Arc<dyn Disk>,
    /// Starts the names of snapshots, so that chunks of two never pass for one.
    salt: u64,
    snapshots: AtomicU64,
    /// Where the snapshot on the disk stands; held while it is replaced, because openraft builds
    /// one while it may be installing another, and the older must not win.
    saved: sync::Mutex<Option<LogId>>,
    /// The same, for the log: it must not forget what the snapshot does not cover yet.
    reach: watch::Sender<Reach>,
    /// A lock, because local reads come from any thread and must not wait for the group.
    hosted: Mutex<Hosted>,
}

/// The machine and its place in the log.
pub(crate) struct Hosted {
    machine: Box<dyn Replicated>,
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("applied", &self.hosted().applied).finish_non_exhaustive()
    }
}

impl Machine {
    /// Hosts a machine, restored from the snapshot on the disk.
    pub(crate) async fn open(
        disk: Arc<dyn Disk>,
        machine: Box<dyn Replicated>,
        salt: u64,
    ) -> Result<Self, OpenLogError> {
        let hosted = Hosted::open(disk.as_ref(), machine).await?;
        let reach = watch::Sender::new(Reach::Through(hosted.applied));
        Ok(Self(Arc::new(Inner {
            disk,
            salt,
            snapshots: AtomicU64::new(0),
            saved: sync::Mutex::new(hosted.applied),
            reach,
            hosted: Mutex::new(hosted),
        })))
    }

    /// The last entry that is applied.
    pub(crate) fn applied(&self) -> Option<LogId> {
        self.hosted().applied
    }

    /// Saves a snapshot unless the one on the disk stands later.
    async fn save(&self, stored: &Stored) -> io::Result<()> {
        let mut saved = self.0.saved.lock().await;
        if *saved > stored.meta.last_log_id {
            return Ok(());
        }
        let result = stored.save(self.0.disk.as_ref()).await;
        if result.is_ok() {
            *saved = stored.meta.last_log_id;
        }
        self.0.reach.send_replace(match result {
            Ok(()) => Reach::Through(*saved),
            Err(_) => Reach::Failed,
        });
        result
    }

    /// Tells how far the snapshot on the disk reaches.
    pub(crate) fn reach(&self) -> watch::Receiver<Reach> {
        self.0.reach.subscribe()
    }

    /// Answers a query from what is applied here.
    pub(crate) fn read(&self, query: &[u8]) -> Bytes {
        self.hosted().read(query)
    }

    fn hosted(&self) -> MutexGuard<'_, Hosted> {
        self.0.hosted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hosted {
    /// A machine, restored from the snapshot on the disk.
    pub(crate) async fn open(
        disk: &dyn Disk,
        mut machine: Box<dyn Replicated>,
    ) -> Result<Self, OpenLogError> {
        let (mut applied, mut membership) = (None, StoredMembership::default());
        if let Some(stored) = Stored::load(disk).await? {
            machine
                .restore(&stored.data)
                .map_err(|what| OpenLogError::Damaged { file: SNAPSHOT_NAME.to_owned(), what })?;
            (applied, membership) = (stored.meta.last_log_id, stored.meta.last_membership);
        }
        Ok(Self { machine, applied, membership })
    }

    /// The last entry that is applied.
    pub(crate) const fn applied(&self) -> Option<LogId> {
        self.applied
    }

    /// The members, as the last entry left them.
    pub(crate) const fn membership(&self) -> &StoredMembership {
        &self.membership
    }

    /// Answers a query from what is applied.
    pub(crate) fn read(&self, query: &[u8]) -> Bytes {
        self.machine.read(query)
    }

    /// The machine's state.
    pub(crate) fn snapshot(&self) -> Bytes {
        self.machine.snapshot()
    }

    /// Applies a command at a place.
    pub(crate) fn command(&mut self, place: LogId, command: &[u8]) -> Bytes {
        self.applied = Some(place);
        self.machine.apply(place.index, command)
    }

    pub(crate) fn apply(&mut self, entry: Entry) -> Bytes {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Bytes::new(),
            EntryPayload::Normal(command) => self.command(entry.log_id, &command.bytes),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Bytes::new()
            }
        }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let number = self.0.snapshots.fetch_add(1, Ordering::Relaxed);
        let stored = {
            let hosted = self.hosted();
            let meta = SnapshotMeta {
                last_log_id: hosted.applied,
                last_membership: hosted.membership.clone(),
                snapshot_id: format!("{:x}-{number}", self.0.salt),
            };
            Stored { meta, data: hosted.machine.snapshot() }
        };
        let saved = self.save(&stored).await;
        saved.map_err(|fault| {
            StorageIOError::write_snapshot(Some(stored.meta.signature()), &fault)
        })?;
        let snapshot = Box::new(Cursor::new(stored.data.to_vec()));
        Ok(Snapshot { meta: stored.meta, snapshot })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let hosted = self.hosted();
        Ok((hosted.applied, hosted.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Bytes>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter();
        let mut hosted = self.hosted();
        Ok(entries.map(|entry| hosted.apply(entry)).collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let stored = Stored { meta: meta.clone(), data: snapshot.into_inner().into() };
        let fault = |what: io::Error| StorageIOError::write_snapshot(Some(meta.signature()), &what);
        {
            let mut hosted = self.hosted();
            let restored = hosted.machine.restore(&stored.data);
            restored.map_err(|what| {
                self.0.reach.send_replace(Reach::Failed);
                fault(io::Error::other(what))
            })?;
            hosted.applied = meta.last_log_id;
            hosted.membership = meta.last_membership.clone();
        }
        let saved = self.save(&stored).await;
        saved.map_err(|what| fault(what).into())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let stored = Stored::load(self.0.disk.as_ref()).await;
        let stored = stored.map_err(|fault| StorageIOError::read_snapshot(None, &fault))?;
        Ok(stored.map(|stored| Snapshot {
            snapshot: Box::new(Cursor::new(stored.data.to_vec())),
            meta: stored.meta,
        }))
    }
}
