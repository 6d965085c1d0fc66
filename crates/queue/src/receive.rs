//! Leasing jobs to workers.
//!
//! A lease is in memory. It is given under the frontier, or, where it is long or the job is pinned, after
//! it was written into the job's row. Bodies are fetched before the answer.

use std::{sync::Arc, time::Duration};

use rhumb_types::{
    Epoch, MonoTime, Timestamp,
    record::{Job, JobId, OwnedRow, OwnedState, Progress, Record, queue::VISIBILITY_MAX},
};

use crate::{
    change::{Kind, Then},
    front::plain_lease,
    index::{Place, ShardId, Slot},
    limits::{FRONTIER_WAIT_MAX, JOBS_PER_REQUEST_MAX, LEASES_MAX, WAITERS_MAX},
    queues::{Queues, UnderWay},
    shard::QueueId,
    words::{Answer, Effect, Effects, Leased, Receipt, Receive, Refused, RequestId},
};

/// A lease.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// The epoch and the number of its receipt; 0 before there is one.
    pub(crate) epoch: Epoch,
    pub(crate) number: u64,
    pub(crate) ends: MonoTime,
    pub(crate) worker: Arc<str>,
    /// Whether the job's row speaks of it.
    pub(crate) written: bool,
    /// The job, without what only the worker needs.
    pub(crate) job: Option<Box<Job>>,
}

/// A request that waits for a job.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) request: RequestId,
    pub(crate) jobs_max: usize,
    pub(crate) visibility: Duration,
    pub(crate) until: MonoTime,
    pub(crate) worker: Arc<str>,
}

/// Jobs that were leased to one request, whose bodies are fetched.
#[derive(Debug)]
pub(crate) struct Picks {
    request: RequestId,
    slots: Vec<(Slot, JobId, u64)>,
}

/// What a look for jobs found.
enum Found {
    Plain(Vec<(Slot, JobId, u64)>),
    /// One that is leased once that is written.
    Written(Slot),
    Nothing,
    /// There are some, and the frontier is in the way.
    Blocked,
}

impl Queues {
    pub(crate) fn receive(
        &mut self,
        now: Timestamp,
        request: RequestId,
        receive: Receive,
        out: &mut Effects,
    ) {
        let Receive { queue, jobs_max, visibility, until, worker } = receive;
        let (id, definition) = match self.known(&queue) {
            Ok(known) => known,
            Err(refused) => return out.answer(request, Err(refused)),
        };
        let visibility = visibility.unwrap_or(definition.visibility);
        if visibility.is_zero() || visibility > VISIBILITY_MAX {
            let why = Refused::Invalid("a lease lasts up to 12 h, and not no time".into());
            return out.answer(request, Err(why));
        }
        if self.waiting >= WAITERS_MAX {
            return out.answer(request, Err(Refused::Overloaded));
        }
        let jobs_max = jobs_max.clamp(1, JOBS_PER_REQUEST_MAX);
        let waiter = Waiter { request, jobs_max, visibility, until, worker };
        self.queue_mut(id).waiters.push_back(waiter);
        self.waiting += 1;
        let blocked = self.serve_queue(now, id, out);
        let end = now.mono + FRONTIER_WAIT_MAX;
        let last = self.queue_mut(id).waiters.back_mut();
        if let Some(last) = last.filter(|it| it.request == request && it.until <= now.mono) {
            if blocked {
                last.until = end;
            } else {
                self.drop_waiters(id, |waiter| waiter.request == request, out);
            }
        }
    }

    /// Gives what has become ready to those who wait.
    pub(crate) fn serve(&mut self, now: Timestamp, out: &mut Effects) {
        while let Some(queue) = self.dirty.pop_first() {
            self.serve_queue(now, queue, out);
        }
    }

    /// Serves the waiters of a queue in their order; whether the frontier is in the way of the next.
    fn serve_queue(&mut self, now: Timestamp, id: QueueId, out: &mut Effects) -> bool {
        loop {
            let queue = self.queue(id);
            let Some(waiter) = queue.waiters.front().cloned() else { return false };
            if queue.definition.is_none() {
                return false;
            }
            match self.look(now, id, &waiter, out) {
                Found::Nothing => return false,
                Found::Blocked => return true,
                Found::Plain(slots) => {
                    self.pop_waiter(id);
                    let rows = slots.iter().map(|(slot, ..)| self.key(*slot).row()).collect();
                    let picks = Picks { request: waiter.request, slots };
                    self.fetch(rows, UnderWay::Bodies(picks), out);
                }
                Found::Written(slot) => {
                    self.pop_waiter(id);
                    let (request, visibility) = (waiter.request, waiter.visibility);
                    let kind = Kind::Lease { visibility, asked: now.mono };
                    let then = Then::Receive(request);
                    self.change(vec![self.change_of(slot, kind, then)], out);
                }
            }
        }
    }

    fn pop_waiter(&mut self, id: QueueId) {
        if self.queue_mut(id).waiters.pop_front().is_some() {
            self.waiting -= 1;
        }
    }

    /// Leases what is next to a waiter.
    fn look(&mut self, now: Timestamp, id: QueueId, waiter: &Waiter, out: &mut Effects) -> Found {
        if self.live.len() >= LEASES_MAX || self.is_full() {
            return Found::Nothing;
        }
        let queue = self.queue(id);
        // What an earlier owner leased of a group may be a job that is not known here yet.
        let fifo = queue.definition.as_ref().is_some_and(|it| it.fifo);
        let barred = |shard: ShardId| fifo && self.index.shard(shard).is_barred(now.mono);
        let runs = |shard: &ShardId| {
            self.runs(*shard, now.mono) && !barred(*shard) && !self.is_quiet(*shard, now.mono)
        };
        let next = |shard: ShardId| Some((self.index.shard(shard).next(now.mono)?, shard));
        let best = queue.shards.iter().copied().filter(runs).filter_map(next).min();
        let Some((rank, shard)) = best else { return Found::Nothing };
        let plain = queue.definition.as_ref().map_or(Duration::ZERO, |it| plain_lease(it));
        let ends = now.mono + waiter.visibility;
        if self.index.shard(shard).whose.pinned {
            self.begin_lease(now, rank.slot(), waiter, None);
            return Found::Written(rank.slot());
        }
        if waiter.visibility > plain {
            if !self.index.shard(shard).front.allows(rank.order(), now.mono) {
                return self.blocked(now, shard, rank.order(), out);
            }
            self.begin_lease(now, rank.slot(), waiter, None);
            return Found::Written(rank.slot());
        }
        let mut slots = Vec::new();
        while slots.len() < waiter.jobs_max
            && let Some(rank) = self.index.shard(shard).next(now.mono)
        {
            let slot = rank.slot();
            if !self.index.shard(shard).front.allows(rank.order(), ends) {
                if slots.is_empty() {
                    return self.blocked(now, shard, rank.order(), out);
                }
                break;
            }
            let number = self.take_number(shard, rank.order());
            self.begin_lease(now, slot, waiter, Some(number));
            slots.push((slot, self.index.entry(slot).id, number));
        }
        self.look_ahead(now, shard, plain, out);
        Found::Plain(slots)
    }

    fn blocked(&mut self, now: Timestamp, shard: ShardId, order: u64, out: &mut Effects) -> Found {
        let front = &mut self.index.shard_mut(shard).front;
        front.highest = front.highest.max(order);
        self.advance(now, shard, out);
        Found::Blocked
    }

    fn look_ahead(&mut self, now: Timestamp, shard: ShardId, plain: Duration, out: &mut Effects) {
        if self.index.shard(shard).front.is_short(now.mono, plain * 3 / 2) {
            self.advance(now, shard, out);
        }
    }

    pub(crate) fn take_number(&mut self, shard: ShardId, order: u64) -> u64 {
        let front = &mut self.index.shard_mut(shard).front;
        front.next_number = front.next_number.max(1);
        let number = front.next_number;
        front.next_number += 1;
        front.highest = front.highest.max(order);
        front.leased += 1;
        number
    }

    /// Leases a job; one without a number is not anybody's yet.
    fn begin_lease(&mut self, now: Timestamp, slot: Slot, waiter: &Waiter, number: Option<u64>) {
        let epoch = self.epoch(slot, now.mono).unwrap_or_default();
        let place = if number.is_some() { Place::Leased } else { Place::Busy };
        self.index.put(slot, place);
        let ends = now.mono + waiter.visibility;
        let (number, written) = (number.unwrap_or(0), number.is_none());
        let worker = waiter.worker.clone();
        self.live.insert(slot, Live { epoch, number, ends, worker, written, job: None });
        self.expiries.insert((ends, slot));
    }

    /// The bodies of what was leased are here.
    pub(crate) fn hand_out(
        &mut self,
        now: Timestamp,
        picks: Picks,
        rows: &[Option<OwnedRow>],
        out: &mut Effects,
    ) {
        let mut leased = Vec::new();
        for ((slot, id, number), row) in picks.slots.into_iter().zip(rows) {
            let counts = self.index.is_still(slot, id)
                && self.live.get(&slot).is_some_and(|live| live.number == number);
            if !counts {
                continue;
            }
            let job = row.as_ref().filter(|row| row.state == OwnedState::Ready);
            let job = job.and_then(|row| Job::decode(&row.payload).ok());
            match job.filter(|job| job.progress == Progress::Waiting) {
                Some(job) => leased.extend(self.leased(now, slot, job)),
                // It ended while the rows at the start were read, or its row is damaged.
                None => self.vanished(now, slot, row.is_some(), out),
            }
        }
        out.answer(picks.request, Ok(Answer::Received(leased)));
    }

    /// What the worker of a lease is told; nothing when it ran out meanwhile.
    pub(crate) fn leased(&mut self, now: Timestamp, slot: Slot, job: Job) -> Option<Leased> {
        let key = self.key(slot);
        let attempts = u32::from(self.index.entry(slot).attempts);
        let live = self.live.get_mut(&slot).filter(|live| live.ends > now.mono)?;
        let mut kept = job.clone();
        kept.strip();
        live.job = Some(Box::new(kept));
        let receipt = Receipt { key, epoch: live.epoch, number: live.number };
        Some(Leased { receipt, job, attempts, ends: live.ends })
    }

    fn vanished(&mut self, now: Timestamp, slot: Slot, ended: bool, out: &mut Effects) {
        let key = self.key(slot);
        if !ended {
            out.push(Effect::Alarm(format!("the row of job {} is not in the store", key.id)));
        }
        self.end_lease(slot);
        let next = self.index.remove(slot);
        self.step_forward(now, next);
    }

    /// Answers the waiters that match with nothing.
    pub(crate) fn drop_waiters(
        &mut self,
        id: QueueId,
        over: impl Fn(&Waiter) -> bool,
        out: &mut Effects,
    ) {
        let waiters = &mut self.queue_mut(id).waiters;
        let before = waiters.len();
        waiters.retain(|waiter| {
            let over = over(waiter);
            if over {
                out.answer(waiter.request, Ok(Answer::Received(Vec::new())));
            }
            !over
        });
        let dropped = before - waiters.len();
        self.waiting -= dropped;
    }

    /// A caller that waited is gone: nothing is leased to it any more.
    pub(crate) fn gone(&mut self, request: RequestId) {
        let mut dropped = 0;
        for queue in &mut self.queues {
            let before = queue.waiters.len();
            queue.waiters.retain(|waiter| waiter.request != request);
            dropped += before - queue.waiters.len();
        }
        self.waiting -= dropped;
    }
}
