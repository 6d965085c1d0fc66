//! Lists in pages of our own, over lists in pages of the bucket's.

use std::{
    fmt,
    sync::PoisonError,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::BoxStream};
use object_store::{ObjectMeta, ObjectStoreExt};
use rhumb_ports::blobs::{BlobError, HeldBlob};
use rhumb_types::{
    UnixMillis,
    record::{BlobHash, BlobRef},
};

use super::Bucket;
use crate::format::Layout;

/// How long a list can be gone on with. Its page of the bucket's may be as old.
const WALK_MAX: Duration = Duration::from_secs(30);

/// A list that stopped at some blob, and what comes after.
pub(super) struct Walk {
    after: BlobHash,
    begun: Instant,
    rest: BoxStream<'static, object_store::Result<ObjectMeta>>,
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("after", &self.after).finish_non_exhaustive()
    }
}

impl Bucket {
    pub(super) async fn stat(&self, hash: BlobHash) -> Result<Option<HeldBlob>, BlobError> {
        let _permit = self.reads.acquire().await.map_err(|closed| self.failed(closed))?;
        match self.store.head(&self.object(hash)).await {
            Ok(found) => match held(hash, &found) {
                Some(held) => Ok(Some(held)),
                None => Err(self.set_aside(hash, "it has a size that no blob has".into()).await),
            },
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error(&error)),
        }
    }

    pub(super) async fn list(
        &self,
        after: Option<BlobHash>,
        max: usize,
    ) -> Result<Vec<HeldBlob>, BlobError> {
        let _permit = self.reads.acquire().await.map_err(|closed| self.failed(closed))?;
        let (begun, mut rest) = self.walk(after);
        let mut out: Vec<HeldBlob> = Vec::new();
        while out.len() < max {
            let Some(found) = rest.next().await else { return Ok(out) };
            let found = found.map_err(|error| self.error(&error))?;
            // What is not named like a blob is not ours.
            let name = found.location.filename().and_then(BlobHash::parse);
            let Some(held) = name.and_then(|hash| held(hash, &found)) else { continue };
            let before = out.last().map(|held| held.blob.hash).or(after);
            if before.is_some_and(|before| held.blob.hash <= before) {
                return Err(self.failed("it does not list in the order of names, which this needs"));
            }
            out.push(held);
        }
        if let Some(last) = out.last() {
            let walk = Walk { after: last.blob.hash, begun, rest };
            *self.walk.lock().unwrap_or_else(PoisonError::into_inner) = Some(walk);
        }
        Ok(out)
    }

    /// Goes on where the last list stopped, if that is where this one begins.
    fn walk(
        &self,
        after: Option<BlobHash>,
    ) -> (Instant, BoxStream<'static, object_store::Result<ObjectMeta>>) {
        let last = self.walk.lock().unwrap_or_else(PoisonError::into_inner).take();
        let goes_on = |walk: &Walk| Some(walk.after) == after && walk.begun.elapsed() < WALK_MAX;
        if let Some(walk) = last.filter(goes_on) {
            return (walk.begun, walk.rest);
        }
        let rest = match after {
            Some(after) => self.store.list_with_offset(Some(&self.blobs), &self.object(after)),
            None => self.store.list(Some(&self.blobs)),
        };
        (Instant::now(), rest)
    }
}

/// A blob as its object's size and time tell it.
fn held(hash: BlobHash, found: &ObjectMeta) -> Option<HeldBlob> {
    let Layout { bytes } = Layout::of_size(found.size)?;
    let since = u64::try_from(found.last_modified.timestamp_millis()).unwrap_or(0);
    Some(HeldBlob { blob: BlobRef { hash, bytes }, since: UnixMillis(since) })
}
