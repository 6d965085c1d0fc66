//! Reading: any range against the tree, and the whole for a check.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use rhumb_ports::blobs::{BLOB_READ_BYTES_MAX, BlobError, bounded};
use rhumb_types::record::BlobHash;
use tokio::task::spawn_blocking;

use super::{Bucket, fault::Refused};
use crate::{
    counters::add,
    format::{FRONT_BYTES_MAX, Flaw, Index, Layout},
    tree::BLOCK_BYTES,
};

const BLOCK: u64 = BLOCK_BYTES as u64;
/// A first read that begins before this place fetches tree and bytes with one request.
const NEAR_BYTES: u64 = 256 << 10;

/// A part of an object, from its beginning.
struct Beginning {
    index: Arc<Index>,
    /// The data that came with it.
    data: Bytes,
}

impl Bucket {
    pub(super) async fn read(&self, hash: BlobHash, range: Range<u64>) -> Result<Bytes, BlobError> {
        let _permit = self.reads.acquire().await.map_err(|closed| self.failed(closed))?;
        let read = match self.read_once(hash, &range).await {
            // It may have been replaced since its tree was kept, or came over damaged.
            Err(Refused::Flaw(Flaw::Damaged(_))) => {
                self.recent().forget(hash);
                self.read_once(hash, &range).await
            }
            first => first,
        };
        let read = self.settled(hash, read).await?;
        add(&self.counters.reads, 1);
        add(&self.counters.read_bytes, read.len() as u64);
        Ok(read)
    }

    /// Reads the whole.
    pub(super) async fn verify(&self, hash: BlobHash) -> Result<(), BlobError> {
        let _permit = self.checks.acquire().await.map_err(|closed| self.failed(closed))?;
        self.recent().forget(hash);
        let checked = match self.verify_once(hash).await {
            Err(Refused::Flaw(Flaw::Damaged(_))) => self.verify_once(hash).await,
            first => first,
        };
        let bytes = self.settled(hash, checked).await?;
        add(&self.counters.verified, 1);
        add(&self.counters.verified_bytes, bytes);
        Ok(())
    }

    /// Whether a blob is here with a sound tree. One that is damaged is set aside.
    pub(super) async fn is_held(&self, hash: BlobHash) -> Result<bool, BlobError> {
        self.recent().forget(hash);
        let begun = self.begin(hash, 0).await;
        match self.settled(hash, begun).await {
            Ok(_) => Ok(true),
            Err(BlobError::Missing(_) | BlobError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn read_once(&self, hash: BlobHash, range: &Range<u64>) -> Result<Bytes, Refused> {
        let kept = self.recent().find(hash);
        let Beginning { index, data } = match kept {
            Some(index) => Beginning { index, data: Bytes::new() },
            None if range.start < NEAR_BYTES => {
                let end = range.end.min(range.start + BLOB_READ_BYTES_MAX);
                self.begin(hash, end.next_multiple_of(BLOCK)).await?
            }
            None => self.begin(hash, 0).await?,
        };
        let part = bounded(range, index.bytes)?;
        if part.is_empty() {
            return Ok(Bytes::new());
        }
        let first = part.start / BLOCK;
        let from = first * BLOCK;
        let to = part.end.next_multiple_of(BLOCK).min(index.bytes);
        let blocks = match data.get(length(from)..length(to)) {
            Some(blocks) => data.slice_ref(blocks),
            None => {
                let at = index.layout().data_at();
                self.fetch(hash, at + from..at + to).await?.0
            }
        };
        if blocks.len() as u64 != to - from {
            return Err(Flaw::Damaged("it is cut off".to_owned()).into());
        }
        let bytes = self.checked(index, first, blocks).await?;
        Ok(bytes.slice(length(part.start - from)..length(part.end - from)))
    }

    async fn verify_once(&self, hash: BlobHash) -> Result<u64, Refused> {
        let Beginning { index, data } = self.begin(hash, u64::MAX).await?;
        let bytes = index.bytes;
        if data.len() as u64 != bytes {
            return Err(Flaw::Damaged("it is cut off".to_owned()).into());
        }
        self.checked(index, 0, data).await?;
        Ok(bytes)
    }

    /// Fetches the tree, and data up to some place of the blob with it.
    async fn begin(&self, hash: BlobHash, data_to: u64) -> Result<Beginning, Refused> {
        let to = FRONT_BYTES_MAX.saturating_add(data_to);
        let (front, size) = self.fetch(hash, 0..to).await?;
        let no_blob = || Flaw::Damaged("it has a size that no blob has".to_owned());
        let layout = Layout::of_size(size).ok_or_else(no_blob)?;
        let index = Arc::new(Index::decode(hash, layout, &front, &self.keys)?);
        self.recent().keep(hash, &index);
        let data = front.slice(length(layout.data_at()).min(front.len())..);
        Ok(Beginning { index, data })
    }

    /// A part of an object, as much of it as there is, and the size of the whole.
    async fn fetch(&self, hash: BlobHash, range: Range<u64>) -> Result<(Bytes, u64), BlobError> {
        let whole = range.start == 0 && range.end == u64::MAX;
        let range = (!whole).then_some(GetRange::Bounded(range));
        let options = GetOptions { range, ..GetOptions::default() };
        let missing = |error| match error {
            object_store::Error::NotFound { .. } => BlobError::Missing(hash),
            error => self.error(&error),
        };
        let got = self.store.get_opts(&self.object(hash), options).await.map_err(missing)?;
        let size = got.meta.size;
        Ok((got.bytes().await.map_err(missing)?, size))
    }

    /// Opens and verifies blocks, off the runtime's workers.
    async fn checked(
        &self,
        index: Arc<Index>,
        first: u64,
        blocks: Bytes,
    ) -> Result<Bytes, Refused> {
        let checked = spawn_blocking(move || {
            let mut bytes = BytesMut::from(blocks);
            for (number, block) in (first..).zip(bytes.chunks_mut(BLOCK_BYTES)) {
                index.check(number, block)?;
            }
            Ok::<Bytes, Flaw>(bytes.freeze())
        });
        Ok(checked.await.map_err(|error| self.failed(error))??)
    }

    /// What is told to the caller; a damaged blob is set aside first.
    async fn settled<T>(&self, hash: BlobHash, read: Result<T, Refused>) -> Result<T, BlobError> {
        match read {
            Ok(read) => Ok(read),
            Err(Refused::Said(error)) => Err(error),
            Err(Refused::Flaw(Flaw::Damaged(reason))) => Err(self.set_aside(hash, reason).await),
            Err(Refused::Flaw(Flaw::NoKey(id))) => {
                Err(self
                    .failed(format!("the blob {hash} is sealed with the key {id}: configure it")))
            }
            Err(Refused::Flaw(Flaw::Newer(version))) => {
                Err(self.failed(format!("the blob {hash} has format {version}: upgrade this node")))
            }
        }
    }

    /// Moves a damaged blob out of the way.
    pub(super) async fn set_aside(&self, hash: BlobHash, reason: String) -> BlobError {
        self.recent().forget(hash);
        tracing::error!(%hash, reason, place = self.place, "a blob is damaged");
        let aside = self.damaged.clone().join(hash.to_string());
        match self.store.rename(&self.object(hash), &aside).await {
            Ok(()) => add(&self.counters.damaged, 1),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::error!(%hash, %error, "a damaged blob cannot be moved"),
        }
        BlobError::Damaged { hash, reason }
    }
}

/// Lengths here are those of reads and blobs, which are bounded.
fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
