//! Blobs as objects of a bucket: S3 and what speaks like it, Google Cloud Storage, Azure.
//!
//! ```text
//! PREFIX/blobs/HASH     a blob, as a file of it would be
//! PREFIX/damaged/HASH   one that was found damaged, for the operator
//! ```
//!
//! A blob is one object that is written at once, so a blob under way is in memory, and only so many
//! are under way at a time. An object is written only where there is none; one that is there is
//! looked at, and replaced when it is damaged. Several nodes of a region may share a bucket.
//!
//! What is read is verified as in a file. A first read of a blob fetches its tree, too, and the
//! trees of blobs that were read lately are kept, so that going on costs one request per read.

mod fault;
mod open;
mod read;
mod recent;
mod transport;
mod walk;
mod write;

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
pub use open::{BucketError, BucketSettings, Patience};
use rhumb_ports::{
    BoxFuture,
    blobs::{BlobError, BlobWriter, Blobs, HeldBlob},
};
use rhumb_types::record::BlobHash;
use tokio::sync::Semaphore;

use self::{recent::Recent, walk::Walk, write::BucketWriter};
use crate::{counters::Counters, seal::Keys};

/// Most reads and other questions under way.
const READS_MAX: usize = 64;
/// Most blobs under way, each with up to its length of memory.
const WRITERS_MAX: usize = 16;
/// Most checks of whole blobs under way, each with a blob's length of memory.
const CHECKS_MAX: usize = 2;

/// What every operation shares.
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// The bucket and its prefix, as errors name them.
    place: String,
    blobs: Path,
    damaged: Path,
    keys: Keys,
    counters: Arc<Counters>,
    reads: Semaphore,
    checks: Semaphore,
    writers: Arc<Semaphore>,
    recent: Mutex<Recent>,
    walk: Mutex<Option<Walk>>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("place", &self.place).finish_non_exhaustive()
    }
}

/// An open bucket of blobs.
#[derive(Debug)]
pub struct BucketBlobs {
    bucket: Arc<Bucket>,
}

impl BucketBlobs {
    /// A bucket as the settings say. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`BucketError`] when the settings do not make sense.
    pub fn open(settings: BucketSettings) -> Result<Self, BucketError> {
        let place = settings.url.clone();
        let keys = settings.keys.clone();
        let (store, prefix) = open::open(settings)?;
        Ok(Self::over(store, place, &prefix, keys))
    }

    /// Any store of objects.
    pub(crate) fn over(
        store: Arc<dyn ObjectStore>,
        place: String,
        prefix: &Path,
        keys: Keys,
    ) -> Self {
        let bucket = Bucket {
            store,
            place,
            blobs: prefix.clone().join("blobs"),
            damaged: prefix.clone().join("damaged"),
            keys,
            counters: Arc::default(),
            reads: Semaphore::new(READS_MAX),
            checks: Semaphore::new(CHECKS_MAX),
            writers: Arc::new(Semaphore::new(WRITERS_MAX)),
            recent: Mutex::new(Recent::default()),
            walk: Mutex::new(None),
        };
        Self { bucket: Arc::new(bucket) }
    }

    /// What was done since the open.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.bucket.counters)
    }
}

impl Bucket {
    fn object(&self, hash: BlobHash) -> Path {
        self.blobs.clone().join(hash.to_string())
    }

    async fn remove(&self, hash: BlobHash) -> Result<(), BlobError> {
        self.recent().forget(hash);
        match self.store.delete(&self.object(hash)).await {
            Ok(()) => {
                crate::counters::add(&self.counters.removed, 1);
                Ok(())
            }
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error(&error)),
        }
    }
}

impl Blobs for BucketBlobs {
    fn create(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, BlobError>> {
        Box::pin(async move {
            let writer = BucketWriter::new(Arc::clone(&self.bucket)).await?;
            Ok(Box::new(writer) as Box<dyn BlobWriter>)
        })
    }

    fn read(&self, hash: BlobHash, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, BlobError>> {
        Box::pin(async move { self.bucket.read(hash, range).await })
    }

    fn stat(&self, hash: BlobHash) -> BoxFuture<'_, Result<Option<HeldBlob>, BlobError>> {
        Box::pin(async move { self.bucket.stat(hash).await })
    }

    fn remove(&self, hash: BlobHash) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async move { self.bucket.remove(hash).await })
    }

    fn list(
        &self,
        after: Option<BlobHash>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<HeldBlob>, BlobError>> {
        Box::pin(async move { self.bucket.list(after, max).await })
    }

    fn verify(&self, hash: BlobHash) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async move { self.bucket.verify(hash).await })
    }
}

#[cfg(test)]
mod tests;
