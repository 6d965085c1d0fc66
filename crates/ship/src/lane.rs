//! One region of a shipment: what it has, and what is on its way to it.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rhumb_objects::transfer::{Controller, Event, Limits, Start, Trouble};
use rhumb_types::{MonoTime, RegionId};
use tokio_util::sync::CancellationToken;

use crate::{
    archive::{Part, Prefix},
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
    /// What waits to be sent, in order.
    pub(crate) queue: VecDeque<(Part, Body)>,
    /// How much may be under way at a time.
    pace: Controller,
    limits: Limits,
    /// What the meter said last.
    metered: u64,
    stop: CancellationToken,
    pub(crate) sent_bytes: u64,
    pub(crate) sent_objects: u64,
    /// Parts that needed not be sent.
    pub(crate) present: u64,
    /// Parts that came from another region.
    pub(crate) mended: u64,
}

impl Lane {
    pub(crate) fn new(remote: Remote, requests: usize, now: MonoTime) -> Self {
        let limits = Limits {
            concurrency_max: u32::try_from(requests).unwrap_or(u32::MAX),
            bytes_per_second_max: None,
            ..Limits::default()
        };
        Self {
            remote,
            state: State::Spare,
            has: BTreeSet::new(),
            pending: BTreeSet::new(),
            queue: VecDeque::new(),
            pace: Controller::new(now, limits),
            limits,
            metered: 0,
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
        self.queue.clear();
        self.state = State::Lost(reason);
    }

    /// The region answers again.
    pub(crate) fn revive(&mut self, has: BTreeSet<Part>, now: MonoTime) {
        self.pace = Controller::new(now, self.limits);
        self.stop = CancellationToken::new();
        self.has = has;
        self.state = State::Live;
    }

    /// The next upload, if one may begin now.
    pub(crate) fn next(&mut self, prefix: &Prefix, tries: Tries, now: MonoTime) -> Option<Upload> {
        if self.pace.may_start(now) != Start::Now {
            return None;
        }
        let (part, body) = self.queue.pop_front()?;
        self.pace.on_event(now, Event::Started { bytes: body.bytes() });
        let (remote, stop) = (self.remote.clone(), self.stop.clone());
        Some(Upload { remote, stop, part, key: prefix.key(part), body, tries })
    }

    /// An upload ended, after so many tries that failed.
    pub(crate) fn ended(&mut self, good: bool, now: MonoTime) {
        self.look(now);
        let event = if good { Event::Done } else { Event::Failed(Trouble::Broken) };
        self.pace.on_event(now, event);
    }

    /// Looks how many bytes left since the last look.
    pub(crate) fn look(&mut self, now: MonoTime) -> u64 {
        let moved = self.remote.moved();
        let bytes = moved.saturating_sub(self.metered);
        self.metered = moved;
        let event = if bytes > 0 { Event::Sent { bytes } } else { Event::Tick };
        self.pace.on_event(now, event);
        bytes
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
    stop: CancellationToken,
    pub(crate) part: Part,
    key: String,
    body: Body,
    tries: Tries,
}

impl Upload {
    pub(crate) fn bytes(&self) -> u64 {
        self.body.bytes()
    }

    /// Uploads, as often as it may be tried; nothing when the region was set aside meanwhile.
    pub(crate) async fn run(self) -> Option<Result<(), RemoteError>> {
        let put = || self.remote.put(&self.key, &self.body.pieces);
        self.stop.run_until_cancelled(retried(self.tries, put)).await
    }
}

/// Time since an instant of this process.
pub(crate) fn since(begun: Instant) -> MonoTime {
    MonoTime(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX))
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
