//! The jobs of one home in one queue, and how far they may be leased.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_types::{
    MonoTime, UnixMillis,
    record::{Frontier, queue::PRIORITIES},
};

use crate::{
    index::{Groups, PLACES, Place, Rank, Slot, Whose},
    limits::{FRONTIER_STEP_MAX, FRONTIER_STEP_MIN},
    words::Token,
};

/// Names a queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct QueueId(pub(crate) u32);

/// The jobs of one home in one queue; those that are pinned to it apart.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) queue: QueueId,
    pub(crate) whose: Whose,
    pub(crate) ready: BTreeSet<Rank>,
    pub(crate) delayed: BTreeSet<(UnixMillis, Slot)>,
    pub(crate) held: BTreeSet<(MonoTime, Slot)>,
    /// Until when each of those is held.
    pub(crate) held_until: BTreeMap<Slot, MonoTime>,
    pub(crate) dead: BTreeSet<(u64, Slot)>,
    pub(crate) groups: Groups,
    /// Jobs whose rows speak of a lease, with how long it may last, in milliseconds.
    pub(crate) long: BTreeMap<Slot, u64>,
    /// Ready jobs that are held back by the barrier.
    pub(crate) held_back: u64,
    pub(crate) front: Front,
    counts: [u64; PLACES],
}

/// The frontier of a shard: what an earlier owner may have leased, and what this one may.
#[derive(Debug, Default)]
pub(crate) struct Front {
    /// The row, as applied last, and whether there is one.
    pub(crate) known: Option<Frontier>,
    /// An earlier owner, or this process before it was started again, may have leased the jobs up to
    /// this order; they are held back until then.
    pub(crate) barrier: u64,
    pub(crate) barrier_until: MonoTime,
    /// Whether what an earlier owner may have leased is not known: until then all is held back.
    pub(crate) blind: bool,
    /// What is durable.
    pub(crate) grant: Grant,
    /// What is being written.
    pub(crate) pending: Option<(Token, Grant)>,
    pub(crate) retry_at: MonoTime,
    /// Until when leases of a wider span than now may last.
    pub(crate) wide_until: MonoTime,
    pub(crate) next_number: u64,
    /// The highest order that was leased or asked for.
    pub(crate) highest: u64,
    /// Leases since the last frontier.
    pub(crate) leased: u64,
}

/// Leases may be given of jobs up to an order, that end before a time, with numbers below one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Grant {
    pub(crate) through: u64,
    pub(crate) until: MonoTime,
    pub(crate) numbers: u64,
}

impl Front {
    /// How far ahead the next frontier goes: twice what was leased since the last.
    pub(crate) fn step(&self) -> u64 {
        self.leased.saturating_mul(2).clamp(FRONTIER_STEP_MIN, FRONTIER_STEP_MAX)
    }

    /// Whether a job may be leased until a time.
    pub(crate) fn allows(&self, order: u64, ends: MonoTime) -> bool {
        order <= self.grant.through
            && ends <= self.grant.until
            && self.next_number < self.grant.numbers
    }

    /// Whether the frontier ought to be written again before it is in the way.
    pub(crate) fn is_short(&self, now: MonoTime, ahead: Duration) -> bool {
        let half = FRONTIER_STEP_MIN / 2;
        self.grant.through.saturating_sub(self.highest) < half
            || self.grant.until < now + ahead
            || self.grant.numbers.saturating_sub(self.next_number) < half
    }
}

impl Shard {
    pub(crate) fn new(queue: QueueId, whose: Whose) -> Self {
        Self {
            queue,
            whose,
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            held: BTreeSet::new(),
            held_until: BTreeMap::new(),
            dead: BTreeSet::new(),
            groups: BTreeMap::new(),
            long: BTreeMap::new(),
            held_back: 0,
            front: Front::default(),
            counts: [0; PLACES],
        }
    }

    pub(crate) fn count(&mut self, place: Place, enters: bool) {
        if let Some(count) = self.counts.get_mut(place as usize) {
            *count = if enters { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// How many jobs are in a place.
    pub(crate) fn counted(&self, place: Place) -> u64 {
        self.counts.get(place as usize).copied().unwrap_or_default()
    }

    /// How many jobs can be leased now.
    pub(crate) fn leasable(&self) -> u64 {
        self.counted(Place::Ready).saturating_sub(self.held_back)
    }

    pub(crate) fn is_barred(&self, now: MonoTime) -> bool {
        now < self.front.barrier_until
    }

    /// The ready job that is leased next.
    pub(crate) fn next(&self, now: MonoTime) -> Option<Rank> {
        if !self.is_barred(now) || self.front.barrier == 0 {
            return self.ready.first().copied();
        }
        let above = self.front.barrier.saturating_add(1);
        (0..PRIORITIES).rev().find_map(|priority| self.first_of(priority, above))
    }

    fn first_of(&self, priority: u8, above: u64) -> Option<Rank> {
        let from = Rank::new(priority, above, Slot(0));
        let through = Rank::new(priority, u64::MAX, Slot(u32::MAX));
        (from <= through).then(|| self.ready.range(from..=through).next().copied()).flatten()
    }

    /// The ready job of the lowest order of every priority: the oldest is one of them.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = Slot> {
        self.oldest_above(0)
    }

    /// The same, of those that are not held back.
    pub(crate) fn oldest_leasable(&self) -> impl Iterator<Item = Slot> {
        self.oldest_above(if self.held_back == 0 {
            0
        } else {
            self.front.barrier.saturating_add(1)
        })
    }

    fn oldest_above(&self, above: u64) -> impl Iterator<Item = Slot> {
        (0..PRIORITIES).filter_map(move |priority| self.first_of(priority, above)).map(Rank::slot)
    }

    /// Sets the barrier anew.
    pub(crate) fn bar(&mut self, through: u64, until: MonoTime) {
        self.front.barrier = through;
        self.front.barrier_until = until;
        let ready = self.ready.iter().filter(|rank| rank.order() <= through);
        self.held_back = if through == 0 { 0 } else { ready.count() as u64 };
    }

    /// Bytes of the trees, estimated: leaves are filled to a little more than half.
    pub(crate) fn bytes(&self) -> usize {
        let tree = |items: usize, bytes: usize| items * bytes * 2;
        tree(self.ready.len(), size_of::<Rank>())
            + tree(self.delayed.len() + self.held.len() + self.dead.len(), 16)
            + self.groups.len() * 128
            + tree(self.long.len(), 16)
    }
}
