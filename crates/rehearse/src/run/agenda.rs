//! What will happen in a rehearsal beside what happens in the simulator.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{transfers, work::Deed};
use crate::{arrivals::Kind, safety::Written, time::Micros};

/// One try of a request at one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Try {
    /// Which request.
    pub(super) request: u64,
    /// Which try of it, from 0.
    pub(super) nth: u32,
    pub(super) node: usize,
    pub(super) population: usize,
    pub(super) kind: Kind,
    pub(super) key: u64,
    pub(super) weight: u64,
    /// When its client gives it up.
    pub(super) deadline: Micros,
}

/// What a client is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// A read: whether it shows all that it must.
    Read { stale: bool },
    /// Written.
    Written(Written),
    /// Written, and not acknowledged in time.
    Unconfirmed,
    /// No.
    Refused,
}

/// Something that will happen.
#[derive(Debug)]
pub(super) enum What {
    /// A request comes of the nth kind.
    Arrive { nth: usize, weight: u64 },
    /// A request is sent again.
    Again { request: u64, nth: u32 },
    /// A try arrives at its node.
    Reach(Try),
    /// It is its turn there.
    Serve(Try),
    /// Its client hears of it.
    Answer(Try, Told),
    /// Its client gives it up.
    TimeOut(Try),
    /// A fault of the scenario begins.
    Begin(usize),
    /// One is mended.
    Mend,
    /// Producers and workers of jobs.
    Work(Deed),
    /// Clients of objects.
    Transfer(transfers::Deed),
    /// It is time to look at lines and bytes.
    Look,
    /// It is time to look at lag.
    LookAtLag,
}

#[derive(Debug)]
struct Planned {
    at: Micros,
    order: u64,
    what: What,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Planned {}
impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What will happen, the next first; of the same time, what was planned first.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    order: u64,
    queue: BinaryHeap<Reverse<Planned>>,
}

impl Agenda {
    pub(super) fn plan(&mut self, at: Micros, what: What) {
        self.order += 1;
        self.queue.push(Reverse(Planned { at, order: self.order, what }));
    }

    /// When the next is due.
    pub(super) fn next_at(&self) -> Option<Micros> {
        self.queue.peek().map(|Reverse(planned)| planned.at)
    }

    /// Takes the next that is due by a time.
    pub(super) fn take(&mut self, by: Micros) -> Option<What> {
        if self.next_at()? > by {
            return None;
        }
        self.queue.pop().map(|Reverse(planned)| planned.what)
    }
}
