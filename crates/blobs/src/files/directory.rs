//! The directory: where blobs are, what is asked about them without reading them, and its errors.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::SystemTime,
};

use rhumb_ports::blobs::{BlobError, HeldBlob};
use rhumb_types::{
    UnixMillis,
    record::{BlobHash, BlobRef},
};
use tokio::sync::Semaphore;

use super::{Options, publish::Finished};
use crate::{
    counters::{Counters, add},
    format::Layout,
    seal::Keys,
};

/// Blobs under way.
pub(super) const INCOMING: &str = "incoming";
/// Blobs that were found damaged.
pub(super) const DAMAGED: &str = "damaged";
/// How many directories blobs are spread over: one per first byte of the hash.
pub(super) const SHARDS: usize = 256;
/// Most blobs that wait for their names.
const FINISHED_MAX: usize = 1_024;

/// What every operation shares.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) root: PathBuf,
    /// The root, as errors name it.
    pub(super) place: String,
    pub(super) keys: Keys,
    pub(super) counters: Arc<Counters>,
    pub(super) reads: Arc<Semaphore>,
    pub(super) writes: Arc<Semaphore>,
    /// Where finished blobs wait; `None` once the store is closed.
    finished: Mutex<Option<SyncSender<Finished>>>,
    /// What a directory's sync failed with.
    failed: OnceLock<String>,
    /// How often the names in each shard have changed.
    changes: Vec<AtomicU64>,
    /// Where the last list stopped.
    walk: Mutex<Option<Walk>>,
    /// Held while a damaged blob is set aside.
    pub(super) aside: Mutex<()>,
}

/// The names of one shard, so that the next page of a list need not read them again.
#[derive(Debug)]
struct Walk {
    shard: usize,
    /// How often the shard had changed before its names were read.
    changes: u64,
    names: Vec<BlobHash>,
}

impl Directory {
    pub(super) fn new(path: &Path, options: Options) -> (Self, Receiver<Finished>) {
        let (finished, publishing) = sync_channel(FINISHED_MAX);
        let directory = Self {
            root: path.to_owned(),
            place: path.display().to_string(),
            keys: options.keys,
            counters: Arc::default(),
            reads: Arc::new(Semaphore::new(options.reads_max.max(1))),
            writes: Arc::new(Semaphore::new(options.writes_max.max(1))),
            finished: Mutex::new(Some(finished)),
            failed: OnceLock::new(),
            changes: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            walk: Mutex::new(None),
            aside: Mutex::new(()),
        };
        (directory, publishing)
    }

    /// The directory of a blob.
    pub(super) fn shard(&self, hash: BlobHash) -> PathBuf {
        self.shard_at(shard_of(hash))
    }

    fn shard_at(&self, shard: usize) -> PathBuf {
        self.root.join(format!("{shard:02x}"))
    }

    /// The file of a blob.
    pub(super) fn file(&self, hash: BlobHash) -> PathBuf {
        let mut path = self.shard(hash);
        path.push(hash.to_string());
        path
    }

    /// An error of the disk, in the words of the port.
    pub(super) fn error(&self, error: &io::Error) -> BlobError {
        add(&self.counters.failed, 1);
        let place = self.place.clone();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full { place },
            _ => BlobError::Failed { place, reason: error.to_string() },
        }
    }

    /// Whether blobs can be stored.
    pub(super) fn usable(&self) -> Result<(), BlobError> {
        let Some(failed) = self.failed.get() else { return Ok(()) };
        let reason =
            format!("an earlier sync failed ({failed}); start again once the disk is well");
        Err(BlobError::Failed { place: self.place.clone(), reason })
    }

    /// Nothing is stored from now on.
    pub(super) fn poison(&self, error: &io::Error) {
        tracing::error!(place = self.place, %error, "a directory of blobs cannot be synced");
        let _first = self.failed.set(error.to_string());
    }

    /// Hands a finished blob to the publisher; waits while too many are there.
    pub(super) fn publish(&self, finished: Finished) -> Result<(), BlobError> {
        let queue = lock(&self.finished).clone();
        let closed = || {
            let reason = "it was closed".to_owned();
            BlobError::Failed { place: self.place.clone(), reason }
        };
        queue.ok_or_else(closed)?.send(finished).map_err(|_| closed())
    }

    /// Lets the publisher end after what it has.
    pub(super) fn close(&self) {
        lock(&self.finished).take();
    }

    /// The names of a blob's shard have changed.
    pub(super) fn changed(&self, hash: BlobHash) {
        if let Some(changes) = self.changes.get(shard_of(hash)) {
            changes.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn stat(&self, hash: BlobHash) -> Result<Option<HeldBlob>, BlobError> {
        match fs::metadata(self.file(hash)) {
            Ok(found) => match held(hash, &found) {
                Some(held) => Ok(Some(held)),
                None => Err(self.set_aside(hash, &found, "it has a size that no blob has".into())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(&error)),
        }
    }

    /// Removes a blob. Not synced: one that comes back after a crash is found by whoever looks for
    /// blobs that nothing refers to.
    pub(super) fn remove(&self, hash: BlobHash) -> Result<(), BlobError> {
        match fs::remove_file(self.file(hash)) {
            Ok(()) => {
                self.changed(hash);
                add(&self.counters.removed, 1);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.error(&error)),
        }
    }

    pub(super) fn list(
        &self,
        after: Option<BlobHash>,
        max: usize,
    ) -> Result<Vec<HeldBlob>, BlobError> {
        let mut out = Vec::new();
        let first = after.map_or(0, shard_of);
        for shard in first..SHARDS {
            let walk = self.walk(shard)?;
            let from = after.map_or(0, |after| walk.names.partition_point(|name| *name <= after));
            for name in walk.names.iter().skip(from) {
                if out.len() >= max {
                    *lock(&self.walk) = Some(walk);
                    return Ok(out);
                }
                match fs::metadata(self.file(*name)) {
                    Ok(found) => out.extend(held(*name, &found)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(self.error(&error)),
                }
            }
        }
        Ok(out)
    }

    /// The names of a shard in order: those of the last list, if they still hold.
    fn walk(&self, shard: usize) -> Result<Walk, BlobError> {
        let changes = self.changes.get(shard).map_or(0, |count| count.load(Ordering::Acquire));
        let last = lock(&self.walk).take();
        if let Some(walk) = last.filter(|walk| walk.shard == shard && walk.changes == changes) {
            return Ok(walk);
        }
        let names = read_names(&self.shard_at(shard)).map_err(|error| self.error(&error))?;
        Ok(Walk { shard, changes, names })
    }
}

/// Locks what holds no invariant over a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shard_of(hash: BlobHash) -> usize {
    let [first, ..] = hash.0;
    usize::from(first)
}

/// What is not named like a blob is not ours.
fn read_names(shard: &Path) -> io::Result<Vec<BlobHash>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(shard)? {
        names.extend(entry?.file_name().to_str().and_then(BlobHash::parse));
    }
    names.sort_unstable();
    Ok(names)
}

/// A blob as its file's size and time tell it.
fn held(hash: BlobHash, found: &fs::Metadata) -> Option<HeldBlob> {
    let Layout { bytes } = Layout::of_size(found.size())?;
    let since = found.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    Some(HeldBlob { blob: BlobRef { hash, bytes }, since })
}
