//! Where every job is: waiting in its order, delayed, behind another of its group, leased.
//!
//! An entry is 64 bytes, and takes about 100 with what finds it. The bodies are in the store.
//!
//! Invariants: an entry is in exactly one place, and in the set of that place only; of a group at most
//! one job is anywhere but behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use rhumb_types::{
    MonoTime, RegionId, UnixMillis,
    planted::{self, Planted},
    record::{Job, JobId, OwnedRow, queue::PRIORITIES},
};
use xxhash_rust::xxh3::xxh3_64;

use crate::shard::Shard;

/// Names an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Slot(pub(crate) u32);

/// Names a shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ShardId(pub(crate) u32);

/// Where a job is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Place {
    /// Waiting to be leased.
    Ready,
    /// Not to be leased before a time.
    Delayed,
    /// Not to be leased, because a worker of an earlier owner may have it.
    Held,
    /// Behind another job of its group.
    Behind,
    /// A worker has it.
    Leased,
    /// Its row is being changed.
    Busy,
    /// It failed too often.
    Dead,
}

/// How many places there are.
pub(crate) const PLACES: usize = 7;

/// What orders the ready jobs of a shard: the higher priority first, then the order. Twelve bytes, of
/// which there are millions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rank {
    high: u32,
    low: u32,
    slot: u32,
}

const ORDER_BITS: u32 = 60;
const ORDER_MAX: u64 = (1 << ORDER_BITS) - 1;

impl Rank {
    pub(crate) fn new(priority: u8, order: u64, slot: Slot) -> Self {
        let inverse = u64::from(PRIORITIES - 1 - priority.min(PRIORITIES - 1));
        let bits = (inverse << ORDER_BITS) | order.min(ORDER_MAX);
        let [a, b, c, d, e, f, g, h] = bits.to_be_bytes();
        Self {
            high: u32::from_be_bytes([a, b, c, d]),
            low: u32::from_be_bytes([e, f, g, h]),
            slot: slot.0,
        }
    }

    pub(crate) const fn slot(self) -> Slot {
        Slot(self.slot)
    }

    pub(crate) const fn order(self) -> u64 {
        (((self.high as u64) << 32) | self.low as u64) & ORDER_MAX
    }
}

/// A job, as far as it must be at hand.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: JobId,
    /// Its place among the jobs of its home.
    pub(crate) order: u64,
    pub(crate) enqueued_at: UnixMillis,
    /// It is not leased before this.
    pub(crate) not_before: UnixMillis,
    /// A hash of its group, or 0.
    pub(crate) group: u64,
    /// The version of its row that is known: epoch and sequence.
    pub(crate) version: (u32, u32),
    pub(crate) shard: ShardId,
    /// Its failures, and the leases that ran out and are not written yet.
    pub(crate) attempts: u16,
    pub(crate) priority: u8,
    place: Option<Place>,
}

/// The version of a row, small: a row has fewer versions, and a region fewer takeovers.
pub(crate) fn version(row: &OwnedRow) -> (u32, u32) {
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    (small(row.epoch.0), small(row.sequence))
}

/// A hash of a group's name; never 0.
pub(crate) fn group_of(job: &Job) -> u64 {
    if planted::is(Planted::IgnoreGroups) {
        return 0;
    }
    job.group.as_ref().map_or(0, |group| xxh3_64(group.as_bytes()).max(1))
}

/// All jobs that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    free: Vec<u32>,
    ids: HashTable<u32>,
    pub(crate) shards: Vec<Shard>,
}

fn hash(id: JobId) -> u64 {
    use std::hash::BuildHasher;
    FixedState::default().hash_one(id.0)
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn entry(&self, slot: Slot) -> &Entry {
        match self.entries.get(slot.0 as usize) {
            Some(entry) => entry,
            None => unreachable!("slots are given out with their entries"),
        }
    }

    pub(crate) fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        match self.entries.get_mut(slot.0 as usize) {
            Some(entry) => entry,
            None => unreachable!("slots are given out with their entries"),
        }
    }

    pub(crate) fn shard(&self, id: ShardId) -> &Shard {
        match self.shards.get(id.0 as usize) {
            Some(shard) => shard,
            None => unreachable!("shards are never removed"),
        }
    }

    pub(crate) fn shard_mut(&mut self, id: ShardId) -> &mut Shard {
        match self.shards.get_mut(id.0 as usize) {
            Some(shard) => shard,
            None => unreachable!("shards are never removed"),
        }
    }

    /// The shard in which an entry is.
    pub(crate) fn shard_of(&self, slot: Slot) -> &Shard {
        self.shard(self.entry(slot).shard)
    }

    pub(crate) fn find(&self, id: JobId) -> Option<Slot> {
        let entries = &self.entries;
        let same = |slot: &u32| entries.get(*slot as usize).is_some_and(|entry| entry.id == id);
        self.ids.find(hash(id), same).map(|slot| Slot(*slot))
    }

    pub(crate) fn place(&self, slot: Slot) -> Option<Place> {
        self.entry(slot).place
    }

    /// Takes in a job that was not known, without a place yet.
    pub(crate) fn insert(&mut self, row: &OwnedRow, id: JobId, job: &Job, shard: ShardId) -> Slot {
        let entry = Entry {
            id,
            order: job.order,
            enqueued_at: job.enqueued_at,
            not_before: job.not_before,
            group: group_of(job),
            version: version(row),
            shard,
            attempts: u16::try_from(job.attempts).unwrap_or(u16::MAX),
            priority: job.priority,
            place: None,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.entry_mut(Slot(slot)) = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let entries = &self.entries;
        let rehash = |slot: &u32| entries.get(*slot as usize).map_or(0, |entry| hash(entry.id));
        self.ids.insert_unique(hash(id), slot, rehash);
        Slot(slot)
    }

    /// Forgets a job, and lets the next of its group come forward. Gives that one.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Slot> {
        let next = self.leave(slot);
        let id = self.entry(slot).id;
        if let Ok(found) = self.ids.find_entry(hash(id), |known| *known == slot.0) {
            found.remove();
        }
        self.entry_mut(slot).id = JobId::default();
        self.free.push(slot.0);
        next
    }

    /// Takes a job out of its shard and its group. Gives the next of the group, without a place.
    pub(crate) fn leave(&mut self, slot: Slot) -> Option<Slot> {
        self.unplace(slot);
        let Entry { shard, group, order, .. } = *self.entry(slot);
        let shard = self.shard_mut(shard);
        shard.long.remove(&slot);
        shard.ungroup(group, order, slot)
    }

    /// Takes a job out of the set of its place.
    pub(crate) fn unplace(&mut self, slot: Slot) {
        let Entry { shard, order, priority, not_before, .. } = *self.entry(slot);
        let Some(place) = self.entry_mut(slot).place.take() else { return };
        let shard = self.shard_mut(shard);
        shard.count(place, false);
        match place {
            Place::Ready => {
                shard.ready.remove(&Rank::new(priority, order, slot));
                if order <= shard.front.barrier {
                    shard.held_back = shard.held_back.saturating_sub(1);
                }
            }
            Place::Delayed => {
                shard.delayed.remove(&(not_before, slot));
            }
            Place::Held => {
                if let Some(until) = shard.held_until.remove(&slot) {
                    shard.held.remove(&(until, slot));
                }
            }
            Place::Dead => {
                shard.dead.remove(&(order, slot));
            }
            Place::Behind | Place::Leased | Place::Busy => {}
        }
    }

    /// Puts a job into a place.
    pub(crate) fn put(&mut self, slot: Slot, place: Place) {
        self.unplace(slot);
        let Entry { shard, order, priority, not_before, .. } = *self.entry(slot);
        self.entry_mut(slot).place = Some(place);
        let shard = self.shard_mut(shard);
        shard.count(place, true);
        match place {
            Place::Ready => {
                shard.ready.insert(Rank::new(priority, order, slot));
                shard.held_back += u64::from(order <= shard.front.barrier);
            }
            Place::Delayed => {
                shard.delayed.insert((not_before, slot));
            }
            Place::Dead => {
                shard.dead.insert((order, slot));
            }
            Place::Held | Place::Behind | Place::Leased | Place::Busy => {}
        }
    }

    /// Holds a job back until a time.
    pub(crate) fn hold(&mut self, slot: Slot, until: MonoTime) {
        self.put(slot, Place::Held);
        let shard = self.entry(slot).shard;
        let shard = self.shard_mut(shard);
        shard.held.insert((until, slot));
        shard.held_until.insert(slot, until);
    }

    /// Gives a waiting job the place that its row and its group call for. `held` says until when a
    /// worker of an earlier owner may have it.
    pub(crate) fn settle(&mut self, slot: Slot, now: UnixMillis, held: Option<MonoTime>) -> Place {
        let Entry { group, order, shard, not_before, .. } = *self.entry(slot);
        if group != 0 {
            match self.come_forward(slot, shard, group, order) {
                Some(Some(earlier)) => self.put(earlier, Place::Behind),
                Some(None) => {}
                None => {
                    self.put(slot, Place::Behind);
                    return Place::Behind;
                }
            }
        }
        let place = match held {
            Some(until) => {
                self.hold(slot, until);
                Place::Held
            }
            None if not_before > now => Place::Delayed,
            None => Place::Ready,
        };
        if place != Place::Held {
            self.put(slot, place);
        }
        place
    }

    /// Takes a job without a place into the group of its shard; one that is `fixed` is the one that is
    /// not behind.
    pub(crate) fn join(&mut self, slot: Slot, fixed: bool) {
        let Entry { group, order, shard, .. } = *self.entry(slot);
        if group == 0 || !fixed {
            return;
        }
        let front = self.shard_mut(shard).group(group, order, slot);
        if front != slot {
            self.put(front, Place::Behind);
            self.shard_mut(shard).set_front(group, slot);
        }
    }

    /// All jobs of a shard, in no order that matters.
    pub(crate) fn jobs_of(&self, shard: ShardId) -> Vec<(Slot, JobId)> {
        let slots = (0_u32..).zip(&self.entries);
        let there = slots.filter(|(_, entry)| entry.shard == shard && entry.place.is_some());
        there.map(|(slot, entry)| (Slot(slot), entry.id)).collect()
    }

    /// Whether a slot still is of the job that it was of.
    pub(crate) fn is_still(&self, slot: Slot, id: JobId) -> bool {
        let entry = self.entry(slot);
        entry.place.is_some() && entry.id == id
    }

    /// Whether a job may be the one of its group that is not behind; gives the one that it takes the
    /// place of.
    fn come_forward(
        &mut self,
        slot: Slot,
        shard: ShardId,
        group: u64,
        order: u64,
    ) -> Option<Option<Slot>> {
        let fixed = |place: Option<Place>| matches!(place, Some(Place::Leased | Place::Busy));
        let front = self.shard_mut(shard).group(group, order, slot);
        if front == slot {
            return Some(None);
        }
        let before = self.entry(front);
        if order < before.order && !fixed(before.place) {
            self.shard_mut(shard).set_front(group, slot);
            return Some(Some(front));
        }
        None
    }

    /// Bytes that the index takes, in bytes; an estimate of the trees, exact for the rest.
    pub(crate) fn bytes(&self) -> usize {
        let entries = self.entries.capacity() * size_of::<Entry>() + self.free.capacity() * 4;
        let ids = self.ids.allocation_size();
        let shards = self.shards.iter().map(Shard::bytes);
        entries + ids + shards.sum::<usize>()
    }
}

/// The jobs of one group in a shard.
#[derive(Debug)]
pub(crate) struct Group {
    /// The one that is not behind.
    front: Slot,
    jobs: BTreeSet<(u64, Slot)>,
}

impl Shard {
    /// Takes a job into its group; gives the one that is not behind.
    fn group(&mut self, group: u64, order: u64, slot: Slot) -> Slot {
        let jobs = BTreeSet::new();
        let known = self.groups.entry(group).or_insert(Group { front: slot, jobs });
        known.jobs.insert((order, slot));
        known.front
    }

    fn set_front(&mut self, group: u64, slot: Slot) {
        if let Some(known) = self.groups.get_mut(&group) {
            known.front = slot;
        }
    }

    /// Takes a job out of its group; gives the next when it was the one that was not behind.
    fn ungroup(&mut self, group: u64, order: u64, slot: Slot) -> Option<Slot> {
        let known = self.groups.get_mut(&group)?;
        known.jobs.remove(&(order, slot));
        let Some((_, next)) = known.jobs.first().copied() else {
            self.groups.remove(&group);
            return None;
        };
        let was_front = known.front == slot;
        if was_front {
            known.front = next;
        }
        was_front.then_some(next)
    }
}

/// What finds the jobs of a group.
pub(crate) type Groups = BTreeMap<u64, Group>;

/// How old what was taken in at a time is.
pub(crate) fn age(now: UnixMillis, enqueued_at: UnixMillis) -> Duration {
    now.saturating_since(enqueued_at)
}

/// The home of jobs, and whether they are pinned to it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Whose {
    pub(crate) home: RegionId,
    pub(crate) pinned: bool,
}
