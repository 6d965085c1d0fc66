//! One region of a transfer: how much may be on its way there, and what came of it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rhumb_objects::transfer::{Controller, Event, Limits, Start};
use rhumb_types::{MonoTime, RegionId};
use tokio_util::sync::CancellationToken;

use crate::remote::{Remote, RemoteError};

/// How requests are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tries {
    pub(crate) retries: u32,
    pub(crate) delay: Duration,
}

/// One region of a transfer. `T` is what waits to be sent.
#[derive(Debug)]
pub(crate) struct Lane<T> {
    pub(crate) remote: Remote,
    /// What waits until it may begin, in order.
    queue: VecDeque<(u64, T)>,
    /// How much may be under way at a time.
    pace: Controller,
    /// What was last said of that.
    told: Option<u32>,
    /// What the meter said last.
    metered: u64,
    pub(crate) stop: CancellationToken,
    /// What the region failed with last.
    pub(crate) reason: Option<String>,
}

impl<T> Lane<T> {
    /// A region that nothing is on its way to. Its site says how much may be, and so does the caller.
    pub(crate) fn new(remote: Remote, requests: usize, now: MonoTime) -> Self {
        let usual = Limits { bytes_per_second_max: None, ..Limits::default() };
        let most = u32::try_from(requests).unwrap_or(u32::MAX).max(1);
        let limits = match remote.site().limits {
            Some(limits) => Limits { concurrency_max: limits.concurrency_max.min(most), ..limits },
            None => Limits { concurrency_max: most, ..usual },
        };
        Self {
            metered: remote.moved(),
            remote,
            queue: VecDeque::new(),
            pace: Controller::new(now, limits),
            told: None,
            stop: CancellationToken::new(),
            reason: None,
        }
    }

    pub(crate) fn region(&self) -> &RegionId {
        self.remote.region()
    }

    /// How long the parts of an object should be whose length is known, or not.
    pub(crate) fn part_bytes(&self, total: Option<u64>) -> u64 {
        self.pace.part_bytes(total)
    }

    /// How many requests may be under way from now on, if that is not what was said last.
    pub(crate) fn window(&mut self) -> Option<usize> {
        let window = self.pace.gauge().window;
        (self.told.replace(window) != Some(window))
            .then(|| usize::try_from(window).unwrap_or(usize::MAX))
    }

    /// Has something of so many bytes wait for its turn.
    pub(crate) fn push(&mut self, bytes: u64, what: T) {
        self.queue.push_back((bytes, what));
    }

    /// What may begin now, and from then on is under way.
    pub(crate) fn next(&mut self, now: MonoTime) -> Option<T> {
        if self.pace.may_start(now) != Start::Now {
            return None;
        }
        let (bytes, what) = self.queue.pop_front()?;
        self.pace.on_event(now, Event::Started { bytes });
        Some(what)
    }

    /// When what waits may begin, if time alone decides.
    pub(crate) fn starts_at(&self, now: MonoTime) -> Option<MonoTime> {
        match self.pace.may_start(now) {
            Start::At(at) if !self.queue.is_empty() => Some(at),
            _ => None,
        }
    }

    /// Gives up all that waits or is under way.
    pub(crate) fn stop(&mut self) {
        self.stop.cancel();
        self.queue.clear();
    }

    /// A request ended; `None` when it was given up on this side.
    pub(crate) fn ended(&mut self, result: Option<Result<(), &RemoteError>>, now: MonoTime) {
        let event = match result {
            Some(Err(error)) => Event::Failed(error.trouble()),
            Some(Ok(())) | None => Event::Done,
        };
        self.pace.on_event(now, event);
        if let Some(Err(error)) = result {
            self.reason = Some(error.to_string());
        }
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

#[cfg(test)]
mod tests {
    use rhumb_objects::transfer::WINDOW_FIRST;

    use super::*;
    use crate::Site;

    const PART: u64 = 1 << 20;

    fn lane(limits: Option<(u32, Option<u64>)>, requests: usize) -> Lane<()> {
        let region = RegionId::new("east").unwrap();
        let mut site = Site::new(region, "http://127.0.0.1:1", "bucket");
        site.limits = limits.map(|(concurrency_max, bytes_per_second_max)| Limits {
            concurrency_max,
            bytes_per_second_max,
            ..Limits::default()
        });
        Lane::new(Remote::new(site).unwrap(), requests, MonoTime(0))
    }

    /// How many begin at once.
    fn begins(mut lane: Lane<()>) -> usize {
        (0..100).for_each(|_| lane.push(PART, ()));
        std::iter::from_fn(|| lane.next(MonoTime(0))).count()
    }

    #[test]
    fn the_caller_can_only_lower_what_a_region_may_take() {
        let first = usize::try_from(WINDOW_FIRST).unwrap();
        assert_eq!(begins(lane(Some((3, None)), 16)), 3);
        assert_eq!(begins(lane(Some((3, None)), 2)), 2);
        assert_eq!(begins(lane(Some((64, None)), 1)), 1);
        assert_eq!(begins(lane(Some((1, None)), 64)), 1);
        assert_eq!(begins(lane(None, 2)), 2);
        assert_eq!(begins(lane(None, 0)), 1, "nothing would never end");
        // More than that has to pay first.
        assert_eq!(begins(lane(None, 64)), first);
    }

    #[test]
    fn a_regions_rate_holds_whatever_the_caller_says() {
        let mut paced = lane(Some((8, Some(PART))), 16);
        (0..2).for_each(|_| paced.push(PART, ()));
        assert_eq!(paced.next(MonoTime(0)), Some(()));
        assert_eq!(
            (paced.next(MonoTime(0)), paced.starts_at(MonoTime(0))),
            (None, Some(MonoTime(1_000_000)))
        );
        assert_eq!(paced.next(MonoTime(1_000_000)), Some(()));
        assert_eq!(begins(lane(None, 2)), 2, "one without a rate is not paced");
    }
}
