//! The parts of one object, as S3 takes them: one request for a short object, else an upload in parts.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use rhumb_types::RegionId;
use tokio::{sync::OnceCell, time::timeout};

use super::{
    UploadError,
    source::{Again, Opened},
};
use crate::{
    drive::{Errand, Freight, Next, Request, Wanted},
    limits::{ABORT_TIME_MAX, PARTS_PER_DOUBLING},
    remote::{Reason, Remote, RemoteError},
};

/// Most parts of an object.
const PARTS_MAX: usize = rhumb_objects::upload::PARTS_MAX;

/// How long the parts are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// All but the last, where that is given.
    pub(super) fixed: Option<u64>,
    /// The longest, unless there would be too many of them.
    pub(super) most: u64,
}

pub(super) struct Parts {
    key: String,
    source: Opened,
    lengths: Lengths,
    read: u64,
    count: usize,
    /// All of it is one part, which needs no upload in parts.
    whole: bool,
    ended: bool,
    uploads: BTreeMap<RegionId, Upload>,
}

/// An upload in parts to one region.
#[derive(Default)]
struct Upload {
    id: Arc<OnceCell<String>>,
    tags: BTreeMap<usize, String>,
}

impl Parts {
    pub(super) fn new(key: &str, source: Opened, lengths: Lengths) -> Self {
        Self {
            key: key.to_owned(),
            source,
            lengths,
            read: 0,
            count: 0,
            whole: false,
            ended: false,
            uploads: BTreeMap::new(),
        }
    }

    /// How long the next part is to be: as long as suits the region that takes the shortest ones.
    fn length(&self, measured: &[u64]) -> u64 {
        let (shortest, _) = rhumb_objects::transfer::PART_BYTES;
        let measured = measured.iter().copied().min().unwrap_or(shortest);
        let doublings = u32::try_from(self.count / PARTS_PER_DOUBLING).unwrap_or(u32::MAX);
        let least = match self.source.total {
            // As many as are left to be sent in as many parts as are left.
            Some(total) => {
                let left = PARTS_MAX.saturating_sub(self.count).max(1) as u64;
                total.saturating_sub(self.read).div_ceil(left)
            }
            None => shortest.saturating_mul(2_u64.saturating_pow(doublings)).min(self.lengths.most),
        };
        self.lengths.fixed.unwrap_or(measured.min(self.lengths.most)).max(least)
    }
}

impl Freight for Parts {
    type Part = Bytes;
    /// The part's tag, if it is one of several.
    type Sent = Option<String>;
    type Error = UploadError;

    async fn next(&mut self, wanted: Wanted<'_>) -> Result<Option<Next<Bytes>>, UploadError> {
        if self.ended {
            return Ok(None);
        }
        let length = usize::try_from(self.length(&wanted.lengths)).unwrap_or(usize::MAX);
        if self.count == PARTS_MAX {
            return Err(UploadError::TooLong { bytes: self.read });
        }
        let part = self.source.read(length).await?;
        let bytes = part.len() as u64;
        self.read += bytes;
        self.ended = match self.source.total {
            Some(total) => self.read >= total,
            None => part.len() < length,
        };
        // An empty last part is none, unless there is nothing else.
        if part.is_empty() && self.count > 0 {
            return Ok(None);
        }
        self.whole = self.ended && self.count == 0;
        self.count += 1;
        Ok(Some(Next { part, bytes, there: Vec::new() }))
    }

    fn send(&mut self, errand: Errand<Bytes>) -> Request<Option<String>> {
        let Errand { remote, number, offset, bytes, part } = errand;
        let (key, again, whole) = (self.key.clone(), self.source.again.clone(), self.whole);
        let id = Arc::clone(&self.uploads.entry(remote.region().clone()).or_default().id);
        Box::pin(async move {
            let body = match part {
                Some(body) => body,
                None => read_again(again, offset, bytes).await?,
            };
            if whole {
                return remote.put(&key, &[body]).await.map(|()| None);
            }
            let id = id.get_or_try_init(|| remote.begin(&key)).await?;
            remote.part(&key, id, number, body).await.map(Some)
        })
    }

    fn sent(&mut self, region: &RegionId, number: usize, tag: Option<String>) {
        if let (Some(upload), Some(tag)) = (self.uploads.get_mut(region), tag) {
            upload.tags.insert(number, tag);
        }
    }

    fn finish(&mut self, remote: &Remote) -> Request<()> {
        let upload = self.uploads.get(remote.region()).filter(|_| !self.whole);
        let parts = upload.map(|upload| {
            (Arc::clone(&upload.id), upload.tags.values().cloned().collect::<Vec<_>>())
        });
        let (remote, key, bytes) = (remote.clone(), self.key.clone(), self.read);
        Box::pin(async move {
            let Some((id, tags)) = parts else { return check(&remote, &key, bytes, None).await };
            let Some(id) = id.get() else { return Err(RemoteError::failed("it did not begin")) };
            let count = tags.len();
            match remote.finish(&key, id, tags).await {
                // The region may have finished it when it was told before, and its answer been lost.
                Err(error) if error.reason == Reason::Missing => {
                    check(&remote, &key, bytes, Some(count)).await.map_err(|_| error)
                }
                Err(error) => Err(error),
                Ok(()) => check(&remote, &key, bytes, None).await,
            }
        })
    }

    fn abort(&mut self, remote: &Remote) -> Option<Request<()>> {
        let id = self.uploads.get(remote.region())?.id.get()?.clone();
        let (remote, key) = (remote.clone(), self.key.clone());
        Some(Box::pin(async move {
            let late = |_| RemoteError::failed("no answer in time");
            timeout(ABORT_TIME_MAX, remote.abort(&key, &id)).await.map_err(late)?
        }))
    }
}

async fn read_again(again: Again, offset: u64, bytes: u64) -> Result<Bytes, RemoteError> {
    again
        .read(offset, bytes)
        .await
        .map_err(|error| RemoteError::gone(format!("the source cannot be read again: {error}")))
}

/// Whether an object has this length; and, where it matters, is of so many parts.
async fn check(
    remote: &Remote,
    key: &str,
    bytes: u64,
    parts: Option<usize>,
) -> Result<(), RemoteError> {
    let there = remote.head(key).await?;
    let ending = parts.map(|parts| format!("-{parts}\""));
    let alike = ending.is_none_or(|ending| there.tag.is_some_and(|tag| tag.ends_with(&ending)));
    if there.bytes == bytes && alike {
        Ok(())
    } else {
        Err(RemoteError::failed(format!("{} of {bytes} bytes are there", there.bytes)))
    }
}
