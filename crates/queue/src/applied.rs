//! Rows as they are applied, and leases as they come and go: what the index follows.

use std::sync::Arc;

use rhumb_regions::lease::{Leases, Tenure};
use rhumb_types::{
    MonoTime, RegionId, Timestamp,
    planted::{self, Planted},
    record::{
        CodecError, Frontier, FrontierKey, Job, JobKey, OwnedRow, OwnedState, Progress,
        QueueDefinition, QueueName, Record, job::JOBS, queue::FRONTIERS,
    },
};

use crate::{
    front::span,
    index::{Place, ShardId, Slot, Whose, version},
    limits::JOBS_MAX,
    queues::{Duty, Queues},
    shard::{QueueId, Shard},
    words::{Effect, Effects},
};

impl Queues {
    /// A row was applied, or found in the store.
    pub(crate) fn apply(&mut self, now: Timestamp, row: &OwnedRow, out: &mut Effects) {
        let done = match row.id.table {
            JOBS => self.apply_job(now, row, out),
            FRONTIERS => self.apply_frontier(row),
            _ => Ok(()),
        };
        if let Err(error) = done {
            let id = String::from_utf8_lossy(&row.id.key).into_owned();
            out.push(Effect::Alarm(format!("a row of the queues cannot be used ({id}): {error}")));
        }
    }

    fn apply_frontier(&mut self, row: &OwnedRow) -> Result<(), CodecError> {
        let FrontierKey { home, queue } = FrontierKey::of_row(&row.id)?;
        let frontier = Frontier::decode(&row.payload)?;
        let queue = self.queue_id(&queue);
        let shard = self.shard_for(queue, &Whose { home, pinned: false });
        self.index.shard_mut(shard).front.known = Some(frontier);
        Ok(())
    }

    fn apply_job(
        &mut self,
        now: Timestamp,
        row: &OwnedRow,
        out: &mut Effects,
    ) -> Result<(), CodecError> {
        let key = JobKey::of_row(&row.id)?;
        let job = Job::decode(&row.payload)?;
        self.saw_order(&row.home, job.order);
        let ended = row.state == OwnedState::Done || matches!(job.progress, Progress::Ended { .. });
        let found = self.index.find(key.id);
        match found {
            Some(slot) if version(row) < self.index.entry(slot).version && !ended => {}
            Some(slot) if ended => self.forget(now, slot),
            Some(slot) => self.update(now, slot, row, &job),
            None if ended => {}
            None if self.index.len() >= JOBS_MAX => {
                out.push(Effect::Alarm("more jobs wait than the index holds".to_owned()));
            }
            None => {
                let queue = self.queue_id(&key.queue);
                let whose = Whose { home: row.home.clone(), pinned: row.pinned };
                let shard = self.shard_for(queue, &whose);
                let slot = self.index.insert(row, key.id, &job, shard);
                self.place(now, slot, (row, &job), None);
            }
        }
        Ok(())
    }

    /// A newer version of a job that has not ended. What is leased stays leased: this node decides
    /// that, and not the row.
    fn update(&mut self, now: Timestamp, slot: Slot, row: &OwnedRow, job: &Job) {
        let dead = matches!(job.progress, Progress::Dead { .. });
        if dead {
            self.end_lease(slot);
        }
        let fixed = !dead && matches!(self.index.place(slot), Some(Place::Leased | Place::Busy));
        let whose = Whose { home: row.home.clone(), pinned: row.pinned };
        let queue = self.index.shard_of(slot).queue;
        let shard = self.shard_for(queue, &whose);
        let was = self.index.place(slot);
        // A row that is written again, for a repeated key, is held as long as before.
        let holding = self.index.shard_of(slot).held_until.get(&slot).copied();
        if shard != self.index.entry(slot).shard {
            let next = self.index.leave(slot);
            self.step_forward(now, next);
            self.index.entry_mut(slot).shard = shard;
            self.index.join(slot, fixed);
        } else if !fixed {
            self.index.unplace(slot);
        }
        let attempts = u16::try_from(job.attempts).unwrap_or(u16::MAX);
        let leased = self.live.contains_key(&slot);
        let entry = self.index.entry_mut(slot);
        entry.version = version(row);
        entry.attempts = if leased { entry.attempts.max(attempts) } else { attempts };
        if !fixed {
            entry.not_before = job.not_before;
            return self.place(now, slot, (row, job), holding);
        }
        // A job that is leased is in no set that its time orders.
        entry.not_before = job.not_before;
        self.note_long(slot, job.held_ms);
        if let Some(place) = was {
            self.index.put(slot, place);
        }
    }

    pub(crate) fn note_long(&mut self, slot: Slot, held_ms: u64) {
        let shard = self.index.entry(slot).shard;
        let long = &mut self.index.shard_mut(shard).long;
        if held_ms > 0 {
            long.insert(slot, held_ms);
        } else {
            long.remove(&slot);
        }
    }

    /// Gives a job that is not leased the place that its row calls for.
    fn place(
        &mut self,
        now: Timestamp,
        slot: Slot,
        (row, job): (&OwnedRow, &Job),
        holding: Option<MonoTime>,
    ) {
        let key = &self.key(slot);
        self.note_long(slot, job.held_ms);
        if matches!(job.progress, Progress::Dead { .. }) {
            let next = self.index.leave(slot);
            self.step_forward(now, next);
            return self.index.put(slot, Place::Dead);
        }
        let held = self.held_until(row, key, job).max(holding).filter(|until| *until > now.mono);
        self.settle_slot(now, slot, held);
    }

    /// Puts a job back among those that wait.
    pub(crate) fn settle_slot(&mut self, now: Timestamp, slot: Slot, held: Option<MonoTime>) {
        let queue = self.index.shard_of(slot).queue;
        if self.index.settle(slot, now.wall, held) == Place::Ready {
            self.dirty.insert(queue);
        }
    }

    /// The next of a group comes forward.
    pub(crate) fn step_forward(&mut self, now: Timestamp, next: Option<Slot>) {
        if let Some(next) = next
            && self.index.place(next) == Some(Place::Behind)
        {
            self.settle_slot(now, next, None);
        }
    }

    /// Until when a worker of an earlier owner may have a job that arrives now: one that an earlier
    /// owner wrote, and whose lease or frontier may be among what is not known.
    fn held_until(&self, row: &OwnedRow, key: &JobKey, job: &Job) -> Option<MonoTime> {
        let began = self.began?;
        if row.pinned {
            return None;
        }
        let duty = self.duties.get(&row.home)?;
        if row.epoch >= duty.epoch {
            return None;
        }
        let unknown = self.unknown_span(&row.home, &key.queue, duty);
        let longest = job.held_ms.max(unknown);
        (longest > 0).then(|| duty.began.max(began) + self.stretch(longest))
    }

    /// How long the leases last at most that a frontier spoke of which is not known; 0 when it is.
    fn unknown_span(&self, home: &RegionId, queue: &QueueName, duty: &Duty) -> u64 {
        let id = self.names.get(queue).copied();
        let shards = id.map_or(&[][..], |id| &self.queue(id).shards);
        let mut shards = shards.iter().map(|shard| self.index.shard(*shard));
        let blind = shards.any(|it| it.front.blind && it.whose.home == *home && !it.whose.pinned);
        if duty.majority && !blind {
            return 0;
        }
        self.definitions.get(queue).map_or(0, |it| millis(span(it)))
    }

    fn stretch(&self, longest_ms: u64) -> std::time::Duration {
        self.config.drift.stretch(std::time::Duration::from_millis(longest_ms))
    }

    /// A job has ended.
    fn forget(&mut self, now: Timestamp, slot: Slot) {
        self.end_lease(slot);
        let next = self.index.remove(slot);
        self.step_forward(now, next);
    }

    /// A lease of a job is over, in whichever way.
    pub(crate) fn end_lease(&mut self, slot: Slot) {
        if let Some(live) = self.live.remove(&slot) {
            self.expiries.remove(&(live.ends, slot));
        }
    }

    /// The shard of a queue's jobs.
    pub(crate) fn shard_for(&mut self, queue: QueueId, whose: &Whose) -> ShardId {
        let known = self.queue(queue).shards.iter().copied();
        let mut same = known.filter(|id| self.index.shard(*id).whose == *whose);
        if let Some(id) = same.next() {
            return id;
        }
        let id = ShardId(u32::try_from(self.index.shards.len()).unwrap_or(u32::MAX));
        self.index.shards.push(Shard::new(queue, whose.clone()));
        self.queue_mut(queue).shards.push(id);
        id
    }

    /// The leases under which this node may act have changed.
    pub(crate) fn lease(&mut self, now: Timestamp, leases: Arc<Leases>) {
        self.leases = leases;
        if self.began.is_some() {
            self.take_duties(now);
        }
    }

    /// Begins to act where a lease is new, once all rows are known.
    pub(crate) fn take_duties(&mut self, now: Timestamp) {
        let leases = Arc::clone(&self.leases);
        for (home, tenure) in leases.iter() {
            let Tenure { epoch, majority, .. } = *tenure;
            match self.duties.get(home) {
                // That a majority was heard later is no help: what it knows of the frontier gave way
                // to ours.
                Some(duty) if duty.epoch == epoch => {}
                _ => {
                    let duty = Duty { epoch, began: now.mono, majority };
                    self.duties.insert(home.clone(), duty);
                    self.each_shard(home, |this, shard| this.begin(now, shard, &duty));
                    self.chores.unpin(*home == self.config.region);
                }
            }
        }
    }

    pub(crate) fn each_shard(&mut self, home: &RegionId, mut each: impl FnMut(&mut Self, ShardId)) {
        let of_home = |shard: &Shard| shard.whose.home == *home && !shard.whose.pinned;
        let shards = (0_u32..).zip(&self.index.shards);
        let shards: Vec<ShardId> =
            shards.filter(|(_, shard)| of_home(shard)).map(|(id, _)| ShardId(id)).collect();
        shards.into_iter().for_each(|shard| each(self, shard));
    }

    /// Begins to act on a shard: what was leased under an earlier tenure is over here, and held back.
    fn begin(&mut self, now: Timestamp, shard: ShardId, duty: &Duty) {
        let leased = |slot: &Slot| self.index.entry(*slot).shard == shard;
        let leased: Vec<Slot> = self.live.keys().copied().filter(leased).collect();
        for slot in leased {
            self.end_lease(slot);
            self.settle_slot(now, slot, None);
        }
        let known = self.index.shard(shard).front.known.unwrap_or_default();
        let home = self.index.shard(shard).whose.home.clone();
        self.saw_order(&home, known.through);
        self.bar(shard, duty);
        let front = &mut self.index.shard_mut(shard).front;
        front.next_number = front.next_number.max(known.numbers);
        front.grant = crate::shard::Grant::default();
        (front.pending, front.leased, front.highest) = (None, 0, 0);
        front.retry_at = now.mono;
        front.wide_until = front.barrier_until;
        self.hold_long(now, shard, duty.began);
        let queue = self.index.shard(shard).queue;
        self.dirty.insert(queue);
    }

    /// Jobs whose rows speak of a lease wait for its end.
    pub(crate) fn hold_long(&mut self, now: Timestamp, shard: ShardId, began: MonoTime) {
        if planted::is(Planted::LeaseAtOnce) {
            return;
        }
        let long = self.index.shard(shard).long.clone();
        for (slot, held_ms) in long {
            if !matches!(self.index.place(slot), Some(Place::Dead | Place::Leased)) {
                let until = began + self.stretch(held_ms);
                self.settle_slot(now, slot, Some(until));
            }
        }
    }

    /// Holds back what an earlier owner may have leased. One that opened without a majority does not
    /// know the last frontier, and holds everything back.
    fn bar(&mut self, shard: ShardId, duty: &Duty) {
        let known = self.index.shard(shard).front.known.unwrap_or_default();
        let mut through = known.through;
        let mut longest = known.span_ms;
        let blind = !duty.majority || known.blind;
        if blind {
            let home = &self.index.shard(shard).whose.home;
            through = self.orders.get(home).copied().unwrap_or_default();
            let queue = self.queue(self.index.shard(shard).queue).definition.as_ref();
            let usual = QueueDefinition::default();
            longest = longest.max(millis(span(queue.map_or(&usual, |it| it))));
        }
        if planted::is(Planted::LeaseAtOnce) {
            through = 0;
        }
        let until = duty.began + self.stretch(longest);
        let shard = self.index.shard_mut(shard);
        shard.front.blind = blind;
        shard.bar(through, until);
    }
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
