//! One region of a shipment: what it has, and what is on its way to it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_types::RegionId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    archive::Part,
    budget::Held,
    remote::{Remote, RemoteError},
};

/// How a lane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It gets what there is.
    Live,
    /// It would take the place of another.
    Spare,
    /// It was set aside.
    Lost(String),
}

/// How requests are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tries {
    pub(crate) retries: u32,
    pub(crate) delay: Duration,
}

/// One region of a shipment.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) remote: Remote,
    pub(crate) state: State,
    /// What the region has, as far as is known.
    pub(crate) has: BTreeSet<Part>,
    /// What is on its way.
    pub(crate) pending: BTreeSet<Part>,
    /// How many requests may be under way.
    pub(crate) slots: Arc<Semaphore>,
    stop: CancellationToken,
    pub(crate) sent_bytes: u64,
    pub(crate) sent_objects: u64,
    /// Parts that needed not be sent.
    pub(crate) present: u64,
    /// Parts that came from another region.
    pub(crate) mended: u64,
}

impl Lane {
    pub(crate) fn new(remote: Remote, requests: usize) -> Self {
        Self {
            remote,
            state: State::Spare,
            has: BTreeSet::new(),
            pending: BTreeSet::new(),
            slots: Arc::new(Semaphore::new(requests)),
            stop: CancellationToken::new(),
            sent_bytes: 0,
            sent_objects: 0,
            present: 0,
            mended: 0,
        }
    }

    pub(crate) fn region(&self) -> &RegionId {
        self.remote.region()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// Whether the region has yet to get this part.
    pub(crate) fn lacks(&self, part: Part) -> bool {
        !self.has.contains(&part) && !self.pending.contains(&part)
    }

    /// Sets the region aside, with all that is on its way to it.
    pub(crate) fn lose(&mut self, reason: String) {
        self.stop.cancel();
        self.pending.clear();
        self.state = State::Lost(reason);
    }

    /// The region answers again.
    pub(crate) fn revive(&mut self, has: BTreeSet<Part>) {
        self.stop = CancellationToken::new();
        self.has = has;
        self.state = State::Live;
    }

    /// What uploads one part to this region.
    pub(crate) fn upload(&self, key: String, body: Body, tries: Tries) -> Upload {
        Upload {
            remote: self.remote.clone(),
            slots: Arc::clone(&self.slots),
            stop: self.stop.clone(),
            key,
            body,
            tries,
        }
    }
}

/// The bytes of an object, with their share of the budget; all regions send the same.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) pieces: Arc<[Bytes]>,
    pub(crate) _held: Arc<Held>,
}

impl Body {
    pub(crate) fn new(pieces: Vec<Bytes>, held: Held) -> Self {
        Self { pieces: pieces.into(), _held: Arc::new(held) }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

/// An upload that was not begun yet.
#[derive(Debug)]
pub(crate) struct Upload {
    remote: Remote,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
    key: String,
    body: Body,
    tries: Tries,
}

impl Upload {
    /// Uploads, as often as it may be tried; nothing when the region was set aside meanwhile.
    pub(crate) async fn run(self) -> Option<Result<(), RemoteError>> {
        let all = async {
            let _slot = self.slots.acquire().await;
            retried(self.tries, || self.remote.put(&self.key, &self.body.pieces)).await
        };
        self.stop.run_until_cancelled(all).await
    }
}

/// Makes a request as often as it may be tried.
pub(crate) async fn retried<T, F>(
    tries: Tries,
    mut request: impl FnMut() -> F,
) -> Result<T, RemoteError>
where
    F: Future<Output = Result<T, RemoteError>>,
{
    let mut left = tries.retries;
    loop {
        match request().await {
            Err(error) if left > 0 && error.may_pass() => {
                left -= 1;
                tracing::debug!(%error, left, "a request is tried again");
                tokio::time::sleep(tries.delay).await;
            }
            other => return other,
        }
    }
}
