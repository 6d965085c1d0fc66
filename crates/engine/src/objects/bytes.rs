//! Reading bytes: from this region, else from the nearest that has them, block by block.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rhumb_objects::{
    refer,
    rows::Rows as _,
    want::{Priority, Wish},
};
use rhumb_ports::blobs::{BLOB_READ_BYTES_MAX, BlobError};
use rhumb_telemetry::metrics::Caches;
use rhumb_types::{
    RegionId, UnixMillis,
    record::{
        BlobHash, BlobRef, Body, BucketName, HolderRecord, IndexKey, ObjectRecord, Record as _,
    },
};
use tokio::sync::OnceCell;

use super::{ByteStream, ObjectClient, ObjectError, peers::Reader, replicate::Wished};
use crate::limits::READ_AHEAD_BLOCKS;

/// An object that was found to be read.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What is there.
    pub record: ObjectRecord,
    /// The beginning of its first blob, if another region sent that along.
    pub(super) first: Bytes,
}

impl From<ObjectRecord> for Opened {
    fn from(record: ObjectRecord) -> Self {
        Self { record, first: Bytes::new() }
    }
}

/// A blob that is being read.
#[derive(Debug)]
struct Source {
    blob: BlobRef,
    /// Its beginning, if another region sent that along.
    first: Bytes,
    taken_in: RegionId,
    bucket: BucketName,
    /// Where else it may be, the nearest first; looked up once it is not here.
    elsewhere: OnceCell<Vec<RegionId>>,
    /// Which of these answered last.
    answering: AtomicUsize,
    /// Counts the region once, where the bucket is a cache.
    hit: Option<Arc<RemoteHit>>,
}

/// A read of a cache's object, until its bytes come from another region.
#[derive(Debug)]
struct RemoteHit {
    shown: Caches,
    counted: AtomicBool,
}

impl RemoteHit {
    fn count(&self, bucket: &BucketName, region: &RegionId) {
        if !self.counted.swap(true, Ordering::Relaxed) {
            self.shown.remote_hit(bucket, region);
        }
    }
}

impl ObjectClient {
    /// Reads a range of a version's bytes. What is not here comes from the nearest region that has it;
    /// who asks often enough keeps it, as the bucket says. A cache counts a hit.
    #[must_use]
    pub fn read(
        &self,
        bucket: &BucketName,
        record: &ObjectRecord,
        range: Range<u64>,
    ) -> ByteStream {
        self.read_from(bucket, record, &Bytes::new(), range)
    }

    /// As [`read`](Self::read), of what was found by [`open`](Self::open).
    #[must_use]
    pub fn read_opened(
        &self,
        bucket: &BucketName,
        opened: &Opened,
        range: Range<u64>,
    ) -> ByteStream {
        self.read_from(bucket, &opened.record, &opened.first, range)
    }

    /// As [`read`](Self::read), and a cache counts nothing.
    #[must_use]
    pub fn peek(
        &self,
        bucket: &BucketName,
        record: &ObjectRecord,
        range: Range<u64>,
    ) -> ByteStream {
        self.stream((bucket, record, None), &Bytes::new(), range)
    }

    fn read_from(
        &self,
        bucket: &BucketName,
        record: &ObjectRecord,
        first: &Bytes,
        range: Range<u64>,
    ) -> ByteStream {
        let hit = self.is_cache(bucket).then(|| self.hit(bucket, record)).flatten();
        self.stream((bucket, record, hit.as_ref()), first, range)
    }

    fn stream(
        &self,
        (bucket, record, hit): (&BucketName, &ObjectRecord, Option<&Arc<RemoteHit>>),
        first: &Bytes,
        range: Range<u64>,
    ) -> ByteStream {
        let Some(content) = &record.content else { return Box::pin(stream::empty()) };
        let blobs = match &content.body {
            Body::Inline(bytes) => {
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
                let part = bytes.slice(at(range.start)..at(range.end).max(at(range.start)));
                return Box::pin(stream::iter((!part.is_empty()).then_some(Ok(part))));
            }
            Body::Blobs(blobs) => blobs,
        };
        let blocks = blocks((bucket, record, hit), first, blobs, &range);
        let client = self.clone();
        let read = move |(source, range): (Arc<Source>, Range<u64>)| {
            let client = client.clone();
            async move { client.block(&source, range).await }
        };
        Box::pin(stream::iter(blocks).map(read).buffered(READ_AHEAD_BLOCKS))
    }

    /// An object of a cache is read.
    fn hit(&self, bucket: &BucketName, record: &ObjectRecord) -> Option<Arc<RemoteHit>> {
        self.note_use(record);
        let shown = self.cache_metrics()?;
        shown.hit(bucket);
        Some(Arc::new(RemoteHit { shown, counted: AtomicBool::new(false) }))
    }

    async fn block(&self, source: &Source, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let Range { start, end } = range;
        match self.running().blobs.read(source.blob.hash, start..end).await {
            Ok(bytes) if bytes.len() as u64 == end - start => {
                self.running().keeper.read(&source.blob.hash);
                return Ok(bytes);
            }
            Ok(bytes) => {
                let found = start + bytes.len() as u64;
                let why = format!("a blob ends at {found}, and the index says later");
                return Err(ObjectError::Damaged(why));
            }
            Err(BlobError::Missing(_)) => {}
            Err(BlobError::Damaged { .. }) => self.repair(source.blob, &source.taken_in),
            Err(error) => {
                // A store that fails is no reason not to answer.
                tracing::warn!(%error, hash = %source.blob.hash, "a blob is read from elsewhere");
            }
        }
        self.block_elsewhere(source, start..end).await
    }

    /// What was found damaged is set aside by the store, and fetched anew. Nobody waits: what is left out
    /// the scrub finds.
    fn repair(&self, blob: BlobRef, taken_in: &RegionId) {
        let wish = Wish {
            blob,
            priority: Priority::Repair,
            written: UnixMillis(0),
            sources: self.holders(&blob.hash, taken_in),
        };
        let _full = self.running().fetch.try_send(Wished::Repair(wish));
    }

    /// Another region asked for a blob that is damaged or gone here: it is fetched anew, if this region
    /// says that it holds it.
    pub(super) fn restore(&self, hash: BlobHash) {
        let key = IndexKey::Holder { hash, region: self.region().clone() };
        let row = self.engine().index().row(&key.encode()).ok().flatten();
        let held = row.and_then(|row| HolderRecord::decode(&row).ok());
        // A copy that was given up is on its way out.
        let Some(held) = held.filter(|held| !held.cached) else { return };
        tracing::warn!(%hash, "a blob is damaged or gone, and is fetched from another region");
        self.repair(BlobRef { hash, bytes: held.bytes }, self.region());
    }

    async fn block_elsewhere(
        &self,
        source: &Source,
        range: Range<u64>,
    ) -> Result<Bytes, ObjectError> {
        let Range { start, end } = range;
        let look = async {
            self.wish(&source.bucket, source.blob, &source.taken_in);
            self.holders(&source.blob.hash, &source.taken_in)
        };
        let regions = source.elsewhere.get_or_init(|| look).await;
        if end <= source.first.len() as u64 {
            let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
            // Who sent it along is not known here; for the most part it is who took it in.
            source.hit.iter().for_each(|hit| hit.count(&source.bucket, &source.taken_in));
            return Ok(source.first.slice(at(start)..at(end)));
        }
        let mut why = "no region is known to hold it".to_owned();
        for turn in 0..regions.len() {
            let at = (source.answering.load(Ordering::Relaxed) + turn) % regions.len().max(1);
            let Some(region) = regions.get(at) else { continue };
            match self.ask_to_read(region, source.blob.hash, start..end, Reader::Client).await {
                Ok(bytes) if bytes.len() as u64 == end - start => {
                    source.answering.store(at, Ordering::Relaxed);
                    source.hit.iter().for_each(|hit| hit.count(&source.bucket, region));
                    return Ok(bytes);
                }
                Ok(_) => why = format!("{region} gave fewer bytes than there are"),
                Err(error) => why = format!("{region}: {error}"),
            }
        }
        Err(ObjectError::Unavailable(format!(
            "the bytes {} cannot be reached now: {why}",
            source.blob.hash
        )))
    }

    /// The other regions that may hold a blob, the nearest first: those that say so, the one that took
    /// it in, and then all others, because what they say may not be here yet.
    pub(super) fn holders(&self, hash: &BlobHash, taken_in: &RegionId) -> Vec<RegionId> {
        let Some(snapshot) = self.engine().routing() else { return Vec::new() };
        let Some(here) = snapshot.index(self.region()) else { return Vec::new() };
        refer::sources(&self.engine().index(), &snapshot, here, (hash, taken_in))
    }
}

/// The blocks of a range, each within one blob and no longer than a read.
fn blocks(
    (bucket, record, hit): (&BucketName, &ObjectRecord, Option<&Arc<RemoteHit>>),
    beginning: &Bytes,
    blobs: &[BlobRef],
    range: &Range<u64>,
) -> Vec<(Arc<Source>, Range<u64>)> {
    let mut blocks = Vec::new();
    let mut begin = 0_u64;
    for blob in blobs {
        let end = begin + blob.bytes;
        let (first, last) = (range.start.max(begin), range.end.min(end));
        if first < last {
            let source = Arc::new(Source {
                blob: *blob,
                first: if begin == 0 { beginning.clone() } else { Bytes::new() },
                taken_in: record.region.clone(),
                bucket: bucket.clone(),
                elsewhere: OnceCell::new(),
                answering: AtomicUsize::new(0),
                hit: hit.cloned(),
            });
            let mut at = first - begin;
            while at < last - begin {
                let to = (at + BLOB_READ_BYTES_MAX).min(last - begin);
                blocks.push((source.clone(), at..to));
                at = to;
            }
        }
        begin = end;
        if begin >= range.end {
            break;
        }
    }
    blocks
}
