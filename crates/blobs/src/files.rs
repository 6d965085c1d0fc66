//! Blobs as files of a directory.
//!
//! ```text
//! format     the format of the directory
//! lock       held by the process that has it open
//! incoming/  blobs under way; emptied by an open
//! damaged/   blobs that were found damaged, for the operator; nothing is removed from it
//! 00/ .. ff/ blobs, by the first byte of their hash
//! ```
//!
//! A blob is written to `incoming/`, synced, renamed to its name, and told as stored once the
//! directory is synced, too. Renames that wait are done together and their directories synced
//! after them: the first sync of a batch commits all of the file system's journal, the others find
//! little to do.
//!
//! Work that blocks runs on the runtime's blocking threads, so much of it at a time as [`Options`]
//! say. Nothing of it is undone when its caller gives up: a blob that is nearly finished may appear.
//!
//! # After a failure
//!
//! A blob whose write or sync fails is removed, and others are not concerned. After a directory's
//! sync has failed nobody can say which names are on the disk, so nothing is stored any more until
//! the directory is opened again; reads go on.

mod directory;
mod open;
mod publish;
mod read;
mod write;

use std::{fs::File, ops::Range, path::Path, sync::Arc, thread::JoinHandle};

use bytes::Bytes;
use directory::Directory;
pub use open::OpenError;
use rhumb_ports::{
    BoxFuture,
    blobs::{BlobError, BlobWriter, Blobs, HeldBlob},
};
use rhumb_types::record::BlobHash;
use tokio::sync::Semaphore;

use crate::{counters::Counters, files::write::FileWriter, seal::Keys};

/// How a directory of blobs is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// What blobs are sealed with.
    pub keys: Keys,
    /// Most reads, checks and other questions that are on the disk at a time.
    pub reads_max: usize,
    /// Most writes and syncs of files that are on the disk at a time. Syncs that run together share
    /// the file system's work.
    pub writes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { keys: Keys::default(), reads_max: 32, writes_max: 64 }
    }
}

/// An open directory of blobs.
#[derive(Debug)]
pub struct FileBlobs {
    directory: Arc<Directory>,
    publisher: Option<JoinHandle<()>>,
    // Last, so that the directory is let go when nobody writes there any more.
    _lock: File,
}

impl FileBlobs {
    /// Opens a directory, or makes it, and removes what was under way in it. Blocks.
    ///
    /// # Errors
    /// [`OpenError`] when it is in use, newer or something else, or the disk fails.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let lock = open::open(path)?;
        let (directory, publishing) = Directory::new(path, options);
        let directory = Arc::new(directory);
        let thread = std::thread::Builder::new().name("blobs".to_owned());
        let publisher = Arc::clone(&directory);
        let publisher = thread
            .spawn(move || publish::run(&publisher, &publishing))
            .map_err(|error| OpenError::failed(path, &error))?;
        Ok(Self { directory, publisher: Some(publisher), _lock: lock })
    }

    /// What was done since the open.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.directory.counters)
    }

    /// Does something that blocks, within the bound of reads.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, BlobError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, BlobError>> {
        let directory = Arc::clone(&self.directory);
        Box::pin(async move {
            let permits = Arc::clone(&directory.reads);
            blocking(directory, permits, work).await
        })
    }
}

impl Drop for FileBlobs {
    fn drop(&mut self) {
        self.directory.close();
        if let Some(publisher) = self.publisher.take() {
            // It ends after the renames that it has; a panic in it was reported where it happened.
            let _ended = publisher.join();
        }
    }
}

/// Runs work on a blocking thread, once a permit is free. The permit is held until the work has
/// ended, whoever still waits for it.
async fn blocking<T: Send + 'static>(
    directory: Arc<Directory>,
    permits: Arc<Semaphore>,
    work: impl FnOnce(&Directory) -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    let place = directory.place.clone();
    let lost = |reason: String| BlobError::Failed { place, reason };
    let permit = match permits.acquire_owned().await {
        Ok(permit) => permit,
        Err(closed) => return Err(lost(closed.to_string())),
    };
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&directory);
        drop(permit);
        done
    });
    done.await.unwrap_or_else(|error| Err(lost(error.to_string())))
}

impl Blobs for FileBlobs {
    fn create(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, BlobError>> {
        Box::pin(async move {
            self.directory.usable()?;
            Ok(Box::new(FileWriter::new(Arc::clone(&self.directory))) as Box<dyn BlobWriter>)
        })
    }

    fn read(&self, hash: BlobHash, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, BlobError>> {
        self.blocking(move |directory| directory.read(hash, &range))
    }

    fn stat(&self, hash: BlobHash) -> BoxFuture<'_, Result<Option<HeldBlob>, BlobError>> {
        self.blocking(move |directory| directory.stat(hash))
    }

    fn remove(&self, hash: BlobHash) -> BoxFuture<'_, Result<(), BlobError>> {
        self.blocking(move |directory| directory.remove(hash))
    }

    fn list(
        &self,
        after: Option<BlobHash>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<HeldBlob>, BlobError>> {
        self.blocking(move |directory| directory.list(after, max))
    }

    fn verify(&self, hash: BlobHash) -> BoxFuture<'_, Result<(), BlobError>> {
        self.blocking(move |directory| directory.verify(hash))
    }
}
