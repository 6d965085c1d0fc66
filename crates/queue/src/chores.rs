//! Work on many jobs, a few at a time: emptying a queue, taking dead jobs back, unpinning.

use std::collections::{BTreeMap, VecDeque};

use rhumb_types::{
    AckLevel, Timestamp,
    record::{Ending, JobId, OwnedOp, QueueName},
};

use bytes::Bytes;

use crate::{
    change::{Kind, Then},
    index::{Place, ShardId, Slot},
    limits::CHORE_JOBS,
    queues::{Queues, UnderWay},
    shard::QueueId,
    words::{Answer, Effects, Refused, RequestId},
};

/// Chores at once; past that a caller is refused.
const CHORES_MAX: usize = 64;

/// A chore.
#[derive(Debug)]
struct Chore {
    request: RequestId,
    kind: Kind,
    todo: VecDeque<(Slot, JobId)>,
    under_way: usize,
    done: u64,
}

/// The chores that are under way.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    all: BTreeMap<u64, Chore>,
    next: u64,
    /// Whether pinned jobs are to lose their pins.
    unpin: bool,
}

impl Chores {
    pub(crate) const fn unpin(&mut self, wanted: bool) {
        self.unpin |= wanted;
    }
}

impl Queues {
    /// The shards of a queue that this node runs.
    fn own_shards(&self, now: Timestamp, queue: QueueId) -> Vec<ShardId> {
        let shards = self.queue(queue).shards.iter().copied();
        shards.filter(|shard| self.runs(*shard, now.mono)).collect()
    }

    pub(crate) fn purge(
        &mut self,
        now: Timestamp,
        request: RequestId,
        queue: &QueueName,
        out: &mut Effects,
    ) {
        let id = match self.known(queue) {
            Ok((id, _)) => id,
            Err(refused) => return out.answer(request, Err(refused)),
        };
        let shards = self.own_shards(now, id);
        let todo = shards.into_iter().flat_map(|shard| self.index.jobs_of(shard)).collect();
        self.begin_chore(request, Kind::End(Ending::Purged), todo, out);
    }

    pub(crate) fn redrive(
        &mut self,
        now: Timestamp,
        request: RequestId,
        (queue, to): (&QueueName, Option<QueueName>),
        jobs_max: u64,
        out: &mut Effects,
    ) {
        let known = self.known(queue).and_then(|known| {
            to.as_ref().map_or(Ok(()), |to| self.known(to).map(drop))?;
            Ok(known)
        });
        let id = match known {
            Ok((id, _)) => id,
            Err(refused) => return out.answer(request, Err(refused)),
        };
        let dead_letters =
            self.definitions.values().any(|it| it.dead_letters.as_ref() == Some(queue));
        let shards = self.own_shards(now, id);
        let jobs = shards.into_iter().flat_map(|shard| self.index.jobs_of(shard));
        // In a queue of dead letters all are dead; elsewhere those that died there.
        let dead = |place: Option<Place>| match place {
            Some(Place::Dead) => true,
            Some(Place::Ready | Place::Delayed | Place::Behind) => dead_letters,
            _ => false,
        };
        let jobs = jobs.filter(|(slot, _)| dead(self.index.place(*slot)));
        let jobs_max = usize::try_from(jobs_max).unwrap_or(usize::MAX);
        let mut todo: Vec<_> = jobs.collect();
        todo.sort_by_key(|(slot, _)| self.index.entry(*slot).order);
        todo.truncate(jobs_max);
        self.begin_chore(request, Kind::Redrive { to }, todo.into(), out);
    }

    fn begin_chore(
        &mut self,
        request: RequestId,
        kind: Kind,
        todo: VecDeque<(Slot, JobId)>,
        out: &mut Effects,
    ) {
        if self.chores.all.len() >= CHORES_MAX {
            return out.answer(request, Err(Refused::Overloaded));
        }
        self.chores.next += 1;
        let id = self.chores.next;
        let chore = Chore { request, kind, todo, under_way: 0, done: 0 };
        self.chores.all.insert(id, chore);
        self.push_chore(id, out);
    }

    /// One job of a chore is through.
    pub(crate) fn chore_step(&mut self, id: u64, done: u64, out: &mut Effects) {
        let Some(chore) = self.chores.all.get_mut(&id) else { return };
        chore.done += done;
        chore.under_way = chore.under_way.saturating_sub(1);
        if chore.under_way == 0 {
            self.push_chore(id, out);
        }
    }

    /// The next jobs of a chore, or its answer.
    fn push_chore(&mut self, id: u64, out: &mut Effects) {
        let Some(mut chore) = self.chores.all.remove(&id) else { return };
        let mut changes = Vec::new();
        while changes.len() < CHORE_JOBS
            && let Some((slot, job)) = chore.todo.pop_front()
        {
            let there = self.index.is_still(slot, job);
            if there && self.index.place(slot) != Some(Place::Busy) {
                changes.push(self.change_of(slot, chore.kind.clone(), Then::Chore(id)));
            }
        }
        if changes.is_empty() {
            return out.answer(chore.request, Ok(Answer::Moved(chore.done)));
        }
        chore.under_way = changes.len();
        self.chores.all.insert(id, chore);
        self.change(changes, out);
    }

    /// Pinned jobs lose their pins under the region's own lease, by being written again.
    pub(crate) fn step_chores(&mut self, now: Timestamp, out: &mut Effects) {
        let here = self.config.region.clone();
        if !self.chores.unpin || self.acts_for(&here, now.mono).is_none() {
            return;
        }
        let shards = self.shard_ids().filter(|id| {
            let whose = &self.index.shard(*id).whose;
            whose.pinned && whose.home == here
        });
        let jobs = shards.flat_map(|shard| self.index.jobs_of(shard));
        let idle = |slot: Slot| {
            !matches!(self.index.place(slot), Some(Place::Leased | Place::Busy) | None)
        };
        let jobs: Vec<Slot> =
            jobs.map(|(slot, _)| slot).filter(|slot| idle(*slot)).take(CHORE_JOBS).collect();
        if jobs.is_empty() {
            self.chores.unpin = self.live.values().any(|live| live.written);
            return;
        }
        let put = |slot: &Slot| OwnedOp::Put { id: self.key(*slot).row(), payload: Bytes::new() };
        let ops = jobs.iter().map(put).collect();
        self.chores.unpin = false;
        self.own(here, AckLevel::Local, ops, UnderWay::Unpin, out);
    }
}
