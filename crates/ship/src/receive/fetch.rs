//! Gets parts from whichever region is likely to have them here first.
//!
//! A region's share follows from what it did: each part goes to the region where what it still has to
//! send, and this part, would be done soonest at its rate. A part that is missing or damaged in one
//! region comes from another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use rhumb_pack::{Pack, PackId};
use rhumb_types::RegionId;

use super::ReceiveError;
use crate::{
    archive::{Part, Prefix, is_part},
    lane::Tries,
    progress::Progress,
    remote::{Reason, Remote, RemoteError},
};

/// Bytes per second that a region is taken for before anything came from it; high, so that each is tried.
const RATE_FIRST: u64 = 1 << 30;
/// Of less than this the round trip is most of the time, which says nothing of the rate.
const RATED_BYTES_MIN: usize = 1 << 20;
/// The newest part counts for one in so many in a region's rate.
const RATE_PARTS: u64 = 4;
/// After so many failures in a row a region is asked last.
const FAILURES_MAX: u32 = 2;

#[derive(Debug)]
struct Holder {
    remote: Remote,
    /// Bytes per second, of single parts.
    rate: AtomicU64,
    /// Bytes that were asked for and did not come yet.
    waiting: AtomicU64,
    /// In a row.
    failures: AtomicU32,
    /// Parts that were damaged there.
    damaged: AtomicU64,
}

/// The regions that parts come from.
#[derive(Debug)]
pub(super) struct Holders {
    holders: Vec<Holder>,
    prefix: Prefix,
    tries: Tries,
    progress: Arc<Progress>,
}

impl Holders {
    pub(super) fn new(
        remotes: Vec<Remote>,
        prefix: Prefix,
        tries: Tries,
        progress: Arc<Progress>,
    ) -> Self {
        let holder = |remote| Holder {
            remote,
            rate: AtomicU64::new(RATE_FIRST),
            waiting: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            damaged: AtomicU64::new(0),
        };
        Self { holders: remotes.into_iter().map(holder).collect(), prefix, tries, progress }
    }

    /// How many parts were damaged in each region.
    pub(super) fn damaged(&self) -> Vec<(RegionId, u64)> {
        let of = |holder: &Holder| {
            (holder.remote.region().clone(), holder.damaged.load(Ordering::Relaxed))
        };
        self.holders.iter().map(of).collect()
    }

    /// A list of files, as it was sent.
    pub(super) async fn segment(&self, part: Part, most: usize) -> Result<Bytes, ReceiveError> {
        self.any(part, most, move |bytes| is_part(part, &bytes).then_some(bytes)).await
    }

    /// The plain chunks of a pack.
    pub(super) async fn pack(&self, id: PackId, most: usize) -> Result<Vec<Bytes>, ReceiveError> {
        let unpack = move |bytes: Bytes| {
            let pack = Pack::parse(bytes, id).ok()?;
            (0..pack.chunks()).map(|at| pack.chunk(at).ok()).collect()
        };
        self.any(Part::Pack(id), most, unpack).await
    }

    /// What `check` makes of a part, from the first region whose copy it accepts.
    async fn any<T: Send + 'static>(
        &self,
        part: Part,
        most: usize,
        check: impl Fn(Bytes) -> Option<T> + Clone + Send + 'static,
    ) -> Result<T, ReceiveError> {
        let key = self.prefix.key(part);
        let mut round = 0;
        loop {
            let refused = match self.round(&key, most, &check).await {
                Ok(good) => return Ok(good),
                Err(refused) => refused,
            };
            if !refused.may_pass || round >= self.tries.retries {
                return Err(ReceiveError::Lost { key, reasons: refused.reasons.join("; ") });
            }
            round += 1;
            tokio::time::sleep(self.tries.delay).await;
        }
    }

    /// Asks each region once.
    async fn round<T: Send + 'static>(
        &self,
        key: &str,
        most: usize,
        check: &(impl Fn(Bytes) -> Option<T> + Clone + Send + 'static),
    ) -> Result<T, Refused> {
        let mut refused = Refused::default();
        let mut asked = vec![false; self.holders.len()];
        while let Some((at, holder)) = self.best(&asked, most) {
            if let Some(asked) = asked.get_mut(at) {
                *asked = true;
            }
            let region = holder.remote.region();
            let bytes = match self.from(holder, key, most).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    refused.may_pass |= error.may_pass();
                    refused.reasons.push(format!("{region}: {error}"));
                    continue;
                }
            };
            let check = check.clone();
            if let Ok(Some(good)) = tokio::task::spawn_blocking(move || check(bytes)).await {
                return Ok(good);
            }
            holder.damaged.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%region, key, "an object is damaged");
            refused.reasons.push(format!("{region}: it is damaged"));
        }
        Err(refused)
    }

    /// The region where a part of this size would be here first, of those that were not asked.
    fn best(&self, asked: &[bool], bytes: usize) -> Option<(usize, &Holder)> {
        let cost = |holder: &Holder| {
            let failing = holder.failures.load(Ordering::Relaxed) >= FAILURES_MAX;
            let all = holder.waiting.load(Ordering::Relaxed) + bytes as u64;
            let rate = holder.rate.load(Ordering::Relaxed).max(1);
            (failing, u128::from(all) * 1_000_000 / u128::from(rate))
        };
        let open = self.holders.iter().enumerate().zip(asked).filter(|(_, asked)| !**asked);
        open.map(|(holder, _)| holder).min_by_key(|(_, holder)| cost(holder))
    }

    async fn from(&self, holder: &Holder, key: &str, most: usize) -> Result<Bytes, RemoteError> {
        let begun = Instant::now();
        let _waiting = Waiting::new(&holder.waiting, most as u64);
        let got = holder.remote.get(key, most).await;
        let shown = self.progress.region(holder.remote.region());
        match &got {
            Ok(bytes) => {
                holder.failures.store(0, Ordering::Relaxed);
                let micros = begun.elapsed().as_micros().max(1);
                let now =
                    u64::try_from(bytes.len() as u128 * 1_000_000 / micros).unwrap_or(u64::MAX);
                let before = holder.rate.load(Ordering::Relaxed);
                let mean = if bytes.len() < RATED_BYTES_MIN {
                    before
                } else if before == RATE_FIRST {
                    now
                } else {
                    before - before / RATE_PARTS + now / RATE_PARTS
                };
                holder.rate.store(mean, Ordering::Relaxed);
                if let Some(shown) = shown {
                    shown.bytes.add(bytes.len() as u64);
                    shown.objects.add(1);
                    shown.lost.store(false, Ordering::Relaxed);
                }
            }
            Err(error) if error.reason == Reason::Missing => {}
            Err(_) => {
                let failures = holder.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if let Some(shown) = shown {
                    shown.lost.store(failures >= FAILURES_MAX, Ordering::Relaxed);
                }
            }
        }
        got
    }
}

/// What the regions said that do not have a part.
#[derive(Default)]
struct Refused {
    reasons: Vec<String>,
    /// Whether one of them may have it a little later.
    may_pass: bool,
}

/// Bytes that are waited for, until this is dropped, whatever ends the waiting.
struct Waiting<'a> {
    sum: &'a AtomicU64,
    bytes: u64,
}

impl<'a> Waiting<'a> {
    fn new(sum: &'a AtomicU64, bytes: u64) -> Self {
        sum.fetch_add(bytes, Ordering::Relaxed);
        Self { sum, bytes }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.sum.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
