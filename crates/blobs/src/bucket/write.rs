//! Writing a blob: packed in memory, then put at once.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use rhumb_ports::{
    BoxFuture,
    blobs::{BlobError, BlobWriter},
};
use rhumb_types::record::{BlobHash, BlobRef};
use tokio::{
    sync::OwnedSemaphorePermit,
    task::{JoinHandle, spawn_blocking},
};

use super::Bucket;
use crate::{
    counters::add,
    pack::{Gathered, Packer},
};

/// How often a blob is put again when the one that was there is damaged, or gone when it is looked at.
const PUTS_MAX: usize = 3;

/// A blob under way, where it is packed.
#[derive(Debug)]
struct Work {
    packer: Packer,
    packed: Vec<Bytes>,
}

impl Work {
    fn pack(&mut self, mut piece: BytesMut, is_last: bool) {
        self.packer.pack(&mut piece, is_last);
        self.packed.push(piece.freeze());
    }

    fn end(mut self, piece: BytesMut) -> (BlobRef, PutPayload) {
        self.pack(piece, true);
        let index = self.packer.index();
        let blob = BlobRef { hash: index.hash(), bytes: index.bytes };
        let front = Bytes::from(index.encode());
        (blob, std::iter::once(front).chain(self.packed).collect())
    }
}

/// Packs one blob in memory.
pub(super) struct BucketWriter {
    bucket: Arc<Bucket>,
    gathered: Gathered,
    work: Option<Work>,
    busy: Option<JoinHandle<Work>>,
    /// Whether no call has failed or was given up.
    is_sound: bool,
    _permit: OwnedSemaphorePermit,
}

impl BucketWriter {
    pub(super) async fn new(bucket: Arc<Bucket>) -> Result<Self, BlobError> {
        let permit = Arc::clone(&bucket.writers).acquire_owned().await;
        let permit = permit.map_err(|closed| bucket.failed(closed))?;
        let packer = Packer::new(&bucket.keys).map_err(|error| bucket.failed(error))?;
        let work = Some(Work { packer, packed: Vec::new() });
        let gathered = Gathered::default();
        Ok(Self { bucket, gathered, work, busy: None, is_sound: true, _permit: permit })
    }

    /// A call begins: until it has ended well, the writer is of no use.
    fn begin(&mut self) -> Result<(), BlobError> {
        if std::mem::take(&mut self.is_sound) {
            return Ok(());
        }
        Err(self.bucket.failed("an earlier write of this blob did not come to its end"))
    }

    /// Waits for the piece before, and takes the work back.
    async fn rested(&mut self) -> Result<Work, BlobError> {
        if let Some(busy) = &mut self.busy {
            let done = busy.await;
            self.busy = None;
            return done.map_err(|error| self.bucket.failed(error));
        }
        self.work.take().ok_or_else(|| self.bucket.failed("this blob was given up"))
    }

    async fn add(&mut self, mut bytes: Bytes) -> Result<(), BlobError> {
        self.gathered.admit(bytes.len())?;
        while !bytes.is_empty() {
            if let Some(piece) = self.gathered.fill(&mut bytes) {
                let mut work = self.rested().await?;
                self.busy = Some(spawn_blocking(move || {
                    work.pack(piece, false);
                    work
                }));
            }
        }
        Ok(())
    }

    async fn end(mut self: Box<Self>) -> Result<BlobRef, BlobError> {
        self.begin()?;
        let work = self.rested().await?;
        let piece = self.gathered.rest();
        let packed = spawn_blocking(move || work.end(piece)).await;
        let (blob, payload) = packed.map_err(|error| self.bucket.failed(error))?;
        self.bucket.put(blob.hash, payload).await.map(|is_new| {
            let counters = &self.bucket.counters;
            if is_new {
                add(&counters.stored, 1);
                add(&counters.stored_bytes, blob.bytes);
            } else {
                add(&counters.kept, 1);
            }
            blob
        })
    }
}

impl Bucket {
    /// Puts a blob where none is; whether there was none. One that is there is kept, unless it is
    /// damaged.
    async fn put(&self, hash: BlobHash, payload: PutPayload) -> Result<bool, BlobError> {
        let path = self.object(hash);
        let mut mode = PutMode::Create;
        for _ in 0..PUTS_MAX {
            let options = PutOptions { mode: mode.clone(), ..PutOptions::default() };
            match self.store.put_opts(&path, payload.clone(), options).await {
                Ok(_) => return Ok(true),
                // Also what another writer is just putting: look whether it came to its end.
                Err(object_store::Error::AlreadyExists { .. }) => {
                    if self.is_held(hash).await? {
                        return Ok(false);
                    }
                }
                Err(object_store::Error::NotImplemented { .. }) if mode == PutMode::Create => {
                    if self.is_held(hash).await? {
                        return Ok(false);
                    }
                    mode = PutMode::Overwrite;
                }
                Err(error) => return Err(self.error(&error)),
            }
        }
        let reason =
            format!("the blob {hash} is there when it is put and gone when it is looked at");
        Err(BlobError::Unavailable { place: self.place.clone(), reason })
    }
}

impl BlobWriter for BucketWriter {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        Box::pin(async move {
            self.begin()?;
            self.add(bytes).await?;
            self.is_sound = true;
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<BlobRef, BlobError>> {
        Box::pin(self.end())
    }
}
