//! The ways from other regions, and whose turn it is on them; by what rule is the business of
//! `rhumb_objects::pace`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rhumb_objects::pace::{Need, Pace, Ticket};
use rhumb_ports::clock::Clock;
use rhumb_types::{MonoTime, RegionId};
use tokio::sync::oneshot;

/// The way from one region, and who waits for a turn on it.
#[derive(Debug, Default)]
struct Way {
    pace: Pace,
    waiting: BTreeMap<Ticket, oneshot::Sender<()>>,
}

impl Way {
    /// Tells those who may begin.
    fn go_on(&mut self, now: MonoTime) {
        while let Some(ticket) = self.pace.next(now) {
            if let Some(waits) = self.waiting.remove(&ticket) {
                // Who is gone gives its turn back.
                let _gone = waits.send(());
            }
        }
    }
}

/// The ways from all other regions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ways {
    clock: Arc<dyn Clock>,
    /// Locked for a few steps in memory. No task owns it, because turns are given back where they are
    /// dropped, which cannot wait.
    ways: Arc<Mutex<BTreeMap<RegionId, Way>>>,
}

impl Ways {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, ways: Arc::default() }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<RegionId, Way>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the way from a region, and lets those begin who may then.
    fn change<T>(&self, from: &RegionId, change: impl FnOnce(&mut Way, MonoTime) -> T) -> T {
        let now = self.clock.now().mono;
        let mut ways = self.locked();
        let way = ways.entry(from.clone()).or_default();
        let changed = change(way, now);
        way.go_on(now);
        changed
    }

    /// How long the blocks of a blob should be that is fetched from a region now, in bytes.
    pub(super) fn block_bytes(&self, from: &RegionId) -> u64 {
        self.locked().entry(from.clone()).or_default().pace.block_bytes()
    }

    /// Waits until a block of so many bytes may be fetched.
    pub(super) async fn turn(&self, from: &RegionId, need: Need, bytes: u64) -> Turn {
        let (goes, told) = oneshot::channel();
        let ticket = self.change(from, |way, _now| {
            let ticket = way.pace.wait(need, bytes);
            way.waiting.insert(ticket, goes);
            ticket
        });
        let turn = Turn { ways: self.clone(), from: from.clone(), ticket, came: false };
        // It is told, or this is dropped: the sender stays here until then.
        let _told = told.await;
        turn
    }

    /// A client reads from a region, until this is dropped.
    pub(super) fn reading(&self, from: &RegionId) -> Reading {
        self.change(from, |way, _now| way.pace.read_begins());
        Reading { ways: self.clone(), from: from.clone() }
    }
}

/// A block that may be fetched, or is waited for; dropping it says that it is not under way any more.
pub(super) struct Turn {
    ways: Ways,
    from: RegionId,
    ticket: Ticket,
    came: bool,
}

impl Turn {
    /// Says whether it came.
    pub(super) fn end(mut self, came: bool) {
        self.came = came;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.ways.change(&self.from, |way, now| {
            way.waiting.remove(&self.ticket);
            way.pace.end(now, self.ticket, self.came);
        });
    }
}

/// A read of a client that is under way.
pub(super) struct Reading {
    ways: Ways,
    from: RegionId,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.ways.change(&self.from, |way, _now| way.pace.read_ends());
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Poll};

    use futures_util::poll;
    use rhumb_objects::pace::WINDOW_FIRST;

    use super::*;
    use crate::SystemClock;

    #[tokio::test]
    async fn turns_that_are_dropped_are_given_to_the_next() {
        let ways = Ways::new(Arc::new(SystemClock::default()));
        let from = RegionId::new("eu").unwrap();
        let turn = || ways.turn(&from, Need::Background, WINDOW_FIRST);
        let first = turn().await;
        {
            let mut given_up = pin!(turn());
            assert!(poll!(given_up.as_mut()).is_pending(), "the first has it");
        }
        let mut second = pin!(turn());
        assert!(poll!(second.as_mut()).is_pending());
        drop(first);
        let Poll::Ready(second) = poll!(second.as_mut()) else { panic!("it is its turn") };
        let reading = ways.reading(&from);
        let mut third = pin!(turn());
        assert!(poll!(third.as_mut()).is_pending());
        second.end(true);
        assert!(poll!(third.as_mut()).is_ready());
        drop(reading);
        assert_eq!(ways.locked()[&from].pace.under_way(), 0);
    }
}
