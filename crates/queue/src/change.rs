//! Changes of jobs' rows: read, changed, written, and then the index follows.
//!
//! A job whose row is being changed is busy: nothing else is done with it. Several changes share a
//! write; one that is refused is split, so that each is answered for itself.

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::{
    AckLevel, MonoTime, RegionId, Timestamp, UnixMillis,
    record::{
        Ending, Job, JobId, JobKey, OwnedOp, OwnedRow, OwnedState, Progress, QueueDefinition,
        QueueName, Record,
    },
};

use crate::{
    applied::millis,
    index::{Place, Slot},
    job::id_of_move,
    limits::{BACKOFF_MAX, CHORE_BYTES_MAX, ENDED_KEPT},
    queues::{Member, Queues, UnderWay},
    words::{Answer, Effect, Effects, Finished, Refused, RequestId, Retry, WriteError},
};

/// Marks the numbers of leases that have the version of their row as their number.
const WRITTEN: u64 = 1 << 63;

/// What is done with a job.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A worker failed.
    Fail { why: String, retry: Retry },
    /// A lease ran out, and is written: its row spoke of it, or it was the last.
    Expire,
    /// It is leased, and its row says so.
    Lease { visibility: Duration, asked: MonoTime },
    /// Its lease becomes longer, and its row says so.
    Hold { visibility: Duration, asked: MonoTime, number: u64 },
    /// A worker gave it back, and its row said that it had it.
    Release,
    /// It ends.
    End(Ending),
    /// It goes on in another queue.
    Redrive { to: Option<QueueName> },
}

/// Who waits for it.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// Nobody.
    Nothing,
    /// One of several results of a request.
    Member(Member),
    /// A request for jobs.
    Receive(RequestId),
    /// A chore, by its number.
    Chore(u64),
}

/// One change of one job.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) slot: Slot,
    pub(crate) id: JobId,
    pub(crate) key: JobKey,
    pub(crate) kind: Kind,
    pub(crate) then: Then,
    /// The job: as it is written, for a lease that is answered with it; or as it ended, for those who
    /// follow.
    pub(crate) job: Option<Box<Job>>,
}

impl Queues {
    /// A change of a job.
    pub(crate) fn change_of(&self, slot: Slot, kind: Kind, then: Then) -> Change {
        let key = self.key(slot);
        Change { slot, id: key.id, key, kind, then, job: None }
    }

    /// Begins changes: the rows are read.
    pub(crate) fn change(&mut self, changes: Vec<Change>, out: &mut Effects) {
        let mut rows = Vec::with_capacity(changes.len());
        for change in &changes {
            if !matches!(change.kind, Kind::Hold { .. }) {
                self.index.put(change.slot, Place::Busy);
            }
            rows.push(self.key(change.slot).row());
        }
        if !rows.is_empty() {
            self.fetch(rows, UnderWay::Rows(changes), out);
        }
    }

    /// The rows are here: the changes are written.
    pub(crate) fn change_rows(
        &mut self,
        now: Timestamp,
        changes: Vec<Change>,
        rows: Vec<Option<OwnedRow>>,
        out: &mut Effects,
    ) {
        let mut writes: BTreeMap<RegionId, Vec<(Change, Vec<OwnedOp>)>> = BTreeMap::new();
        for (mut change, row) in changes.into_iter().zip(rows) {
            match self.prepare(now, &mut change, row.as_ref()) {
                Ok(ops) => {
                    let home = self.index.shard_of(change.slot).whose.home.clone();
                    writes.entry(home).or_default().push((change, ops));
                }
                Err(refused) => self.finish(now, change, Err(refused), out),
            }
        }
        for (home, changes) in writes {
            let mut together = Vec::new();
            let mut sum = 0;
            for change in changes {
                let bytes: usize = change.1.iter().map(|op| op.payload().len()).sum();
                if sum + bytes > CHORE_BYTES_MAX {
                    self.write(home.clone(), std::mem::take(&mut together), out);
                    sum = 0;
                }
                sum += bytes;
                together.push(change);
            }
            self.write(home, together, out);
        }
    }

    /// The ops of a change of a row as it was read.
    fn prepare(
        &mut self,
        now: Timestamp,
        change: &mut Change,
        row: Option<&OwnedRow>,
    ) -> Result<Vec<OwnedOp>, Refused> {
        if !self.index.is_still(change.slot, change.id) {
            return Err(Refused::Gone);
        }
        let job = row.and_then(|row| Job::decode(&row.payload).ok());
        let job = job.filter(|job| !matches!(job.progress, Progress::Ended { .. }));
        let job = job.ok_or(Refused::Gone)?;
        let unowned = || Refused::Unavailable("this region does not own the job now".into());
        self.build(now, change, job).ok_or_else(unowned)
    }

    /// Writes changes together, at the highest level that one of them asks for.
    pub(crate) fn write(
        &mut self,
        home: RegionId,
        changes: Vec<(Change, Vec<OwnedOp>)>,
        out: &mut Effects,
    ) {
        if changes.is_empty() {
            return;
        }
        let level = |(change, _): &(Change, Vec<OwnedOp>)| {
            let pinned = self.index.shard_of(change.slot).whose.pinned;
            match change.kind {
                // A successor must know of it.
                Kind::Lease { .. } | Kind::Hold { .. } if !pinned => AckLevel::Quorum,
                Kind::Lease { .. } | Kind::Hold { .. } => AckLevel::Local,
                _ => self.settings(change.slot).ack,
            }
        };
        let ack = changes.iter().map(level).max().unwrap_or_default();
        let ops = changes.iter().flat_map(|(_, ops)| ops.iter().cloned()).collect();
        self.own(home.clone(), ack, ops, UnderWay::Write { home, ack, changes }, out);
    }

    /// The ops of a change; `None` when this node may not act on the job.
    fn build(&mut self, now: Timestamp, change: &mut Change, mut job: Job) -> Option<Vec<OwnedOp>> {
        let slot = change.slot;
        let receipt = self.epoch(slot, now.mono)?;
        let key = self.key(slot);
        let definition = self.settings(slot);
        let attempts = u32::from(self.index.entry(slot).attempts);
        job.attempts = attempts;
        let mut more = Vec::new();
        match &change.kind {
            Kind::Fail { why, retry } => {
                job.attempts = attempts.saturating_add(1);
                job.last_failure.clone_from(why);
                let wait = match retry {
                    Retry::Backoff => backoff(&definition, job.attempts),
                    Retry::After(wait) => *wait,
                    Retry::Never | Retry::HandedBack => Duration::ZERO,
                };
                // Without a wait no clock has a say, for one may be far ahead.
                let until = UnixMillis(now.wall.0 + millis(wait));
                job.not_before = if wait.is_zero() { UnixMillis(0) } else { until };
                job.held_ms = 0;
                let most = if *retry == Retry::Never { Some(0) } else { definition.attempts_max };
                job = self.bury(now, &key, job, most, &definition, &mut more);
                change.job = is_over(&job).then(|| Box::new(job.clone()));
            }
            Kind::Expire => {
                "its lease ran out".clone_into(&mut job.last_failure);
                job.held_ms = 0;
                let most = definition.attempts_max;
                job = self.bury(now, &key, job, most, &definition, &mut more);
                change.job = is_over(&job).then(|| Box::new(job.clone()));
            }
            Kind::Lease { visibility, .. } | Kind::Hold { visibility, .. } => {
                // The span is counted from when this is asked for, at the earliest from here.
                let longest = self.config.drift.stretch(*visibility);
                job.held_ms = millis(longest).saturating_add(1);
                change.job = Some(Box::new(job.clone()));
            }
            Kind::Release => job.held_ms = 0,
            Kind::End(how) => {
                let kept = keep_until(now.wall, &job, &definition);
                job = job.ended(now.wall, how.clone(), kept);
            }
            Kind::Redrive { to } => {
                job = self.redriven(now, &key, job, to.clone(), &mut more);
            }
        }
        let state = match job.progress {
            Progress::Ended { .. } => OwnedState::Done,
            Progress::Waiting | Progress::Dead { .. } => OwnedState::Ready,
        };
        let first = OwnedOp::Change { id: key.row(), receipt, state, payload: job.encode() };
        more.insert(0, first);
        Some(more)
    }

    /// A job that failed: dead when that was often enough.
    fn bury(
        &mut self,
        now: Timestamp,
        key: &JobKey,
        mut job: Job,
        attempts_max: Option<u32>,
        definition: &QueueDefinition,
        more: &mut Vec<OwnedOp>,
    ) -> Job {
        if attempts_max.is_none_or(|most| job.attempts < most) {
            return job;
        }
        let why = match attempts_max {
            Some(0) => format!("is never to be tried again: {}", job.last_failure),
            _ => format!("failed {} times: {}", job.attempts, job.last_failure),
        };
        match &definition.dead_letters {
            Some(to) if *to != key.queue && self.definitions.contains_key(to) => {
                let kept = keep_until(now.wall, &job, definition);
                self.go_on(now, key, job, to.clone(), why, kept, more)
            }
            _ => {
                job.progress = Progress::Dead { at: now.wall, why };
                job
            }
        }
    }

    fn redriven(
        &mut self,
        now: Timestamp,
        key: &JobKey,
        mut job: Job,
        to: Option<QueueName>,
        more: &mut Vec<OwnedOp>,
    ) -> Job {
        job.not_before = UnixMillis(0);
        job.held_ms = 0;
        let from = job.provenance.moved_from.as_ref().map(|from| from.queue.clone());
        match to.or(from) {
            Some(to) if to != key.queue && self.definitions.contains_key(&to) => {
                let kept = now.wall.saturating_add(ENDED_KEPT);
                self.go_on(now, key, job, to, "taken back by hand".to_owned(), kept, more)
            }
            _ => {
                job.progress = Progress::Waiting;
                job.attempts = 0;
                job
            }
        }
    }

    /// The job goes on in another queue, as another row, in the same write.
    #[expect(clippy::too_many_arguments, reason = "a move has two ends and a reason")]
    fn go_on(
        &mut self,
        now: Timestamp,
        key: &JobKey,
        job: Job,
        to: QueueName,
        why: String,
        kept: UnixMillis,
        more: &mut Vec<OwnedOp>,
    ) -> Job {
        let id = id_of_move(&key.queue, key.id, &to);
        let to = JobKey { queue: to, id };
        let home = self.index.find(key.id).map(|slot| self.index.shard_of(slot).whose.home.clone());
        let home = home.unwrap_or_else(|| self.config.region.clone());
        let mut next = job.clone();
        next.order = self.next_order(&home);
        next.attempts = 0;
        next.not_before = UnixMillis(0);
        next.progress = Progress::Waiting;
        next.provenance.moved_from = Some(key.clone());
        next.provenance.why.clone_from(&why);
        more.push(OwnedOp::Put { id: to.row(), payload: next.encode() });
        job.ended(now.wall, Ending::Moved { to, region: None, why }, kept)
    }

    /// Changes were written, or not.
    pub(crate) fn written(
        &mut self,
        now: Timestamp,
        (home, ack): (RegionId, AckLevel),
        changes: Vec<(Change, Vec<OwnedOp>)>,
        result: Result<Vec<OwnedRow>, WriteError>,
        out: &mut Effects,
    ) {
        match result {
            Ok(rows) => {
                let mut rows = rows.iter();
                for (change, ops) in changes {
                    let row = rows.next();
                    // The rows of a move follow.
                    let _ = ops.iter().skip(1).all(|_| rows.next().is_some());
                    self.note_version(&change, row);
                    self.finish(now, change, Ok(()), out);
                }
            }
            Err(WriteError::Refused { .. }) if changes.len() > 1 => {
                for change in changes {
                    let ops = change.1.clone();
                    let then = UnderWay::Write { home: home.clone(), ack, changes: vec![change] };
                    self.own(home.clone(), ack, ops, then, out);
                }
            }
            Err(error) => {
                for (change, _) in changes {
                    self.finish(now, change, Err(error.clone().into()), out);
                }
            }
        }
    }

    /// A lease that is written has the version as its number that says so: no other has it.
    fn note_version(&mut self, change: &Change, row: Option<&OwnedRow>) {
        if let (Kind::Lease { .. }, Some(row)) = (&change.kind, row)
            && self.index.is_still(change.slot, change.id)
            && let Some(live) = self.live.get_mut(&change.slot)
        {
            (live.epoch, live.number) = (row.epoch, row.sequence | WRITTEN);
        }
    }

    /// A change is through, or did not come to be.
    fn finish(
        &mut self,
        now: Timestamp,
        change: Change,
        result: Result<(), Refused>,
        out: &mut Effects,
    ) {
        let still = self.index.is_still(change.slot, change.id);
        let Change { slot, key, kind, then, job, .. } = change;
        let done = result.is_ok();
        if let (true, Some(job)) = (done, &job) {
            self.publish(&kind, &key, job, out);
        }
        match (&kind, done && still) {
            (Kind::Lease { asked, visibility }, _) => {
                let ends = *asked + *visibility;
                return self.give(now, (slot, still && done, ends), then, job, result, out);
            }
            (Kind::Hold { asked, visibility, number }, true) => {
                let result = self.prolong(now, slot, *number, *asked + *visibility);
                return self.tell(then, result, out);
            }
            (Kind::Hold { .. }, false) => {}
            // The rows come before the answer, so a job that ended is gone by now.
            (_, true) => {
                self.end_lease(slot);
                if self.index.place(slot) == Some(Place::Busy) {
                    self.settle_slot(now, slot, None);
                }
            }
            (_, false) if still => self.give_up(now, slot),
            (_, false) => {}
        }
        self.tell(then, result, out);
    }

    /// What was to be done with a job did not come to be: it is as before.
    fn give_up(&mut self, now: Timestamp, slot: Slot) {
        if self.index.place(slot) != Some(Place::Busy) {
            return;
        }
        match self.live.get(&slot) {
            Some(live) => {
                let ends = live.ends;
                self.expiries.insert((ends, slot));
                self.index.put(slot, Place::Leased);
            }
            None => self.settle_slot(now, slot, None),
        }
    }

    /// A lease that is written is given to who asked.
    fn give(
        &mut self,
        now: Timestamp,
        (slot, done, ends): (Slot, bool, MonoTime),
        then: Then,
        job: Option<Box<Job>>,
        result: Result<(), Refused>,
        out: &mut Effects,
    ) {
        let Then::Receive(request) = then else { return };
        let numbered = self.live.get(&slot).is_some_and(|live| live.number > 0);
        if done && numbered && ends > now.mono && self.runs(self.index.entry(slot).shard, now.mono)
        {
            self.index.put(slot, Place::Leased);
            let leased = job.and_then(|job| self.leased(now, slot, *job));
            return out.answer(request, Ok(Answer::Received(leased.into_iter().collect())));
        }
        if self.live.contains_key(&slot) && self.index.place(slot) == Some(Place::Busy) {
            self.end_lease(slot);
            self.settle_slot(now, slot, None);
        }
        out.answer(request, result.map(|()| Answer::Received(Vec::new())));
    }

    fn prolong(
        &mut self,
        now: Timestamp,
        slot: Slot,
        number: u64,
        ends: MonoTime,
    ) -> Result<(), Refused> {
        let live = self.live.get_mut(&slot);
        let live = live.filter(|it| it.number == number && it.ends > now.mono);
        let live = live.ok_or(Refused::Stale)?;
        self.expiries.remove(&(live.ends, slot));
        (live.ends, live.written) = (ends, true);
        self.expiries.insert((ends, slot));
        Ok(())
    }

    fn tell(&mut self, then: Then, result: Result<(), Refused>, out: &mut Effects) {
        match then {
            Then::Nothing | Then::Receive(_) => {}
            Then::Member(member) => self.settled(member, result, out),
            Then::Chore(chore) => self.chore_step(chore, u64::from(result.is_ok()), out),
        }
    }

    /// Tells those who follow that a job ended, where it did.
    fn publish(&self, kind: &Kind, key: &JobKey, job: &Job, out: &mut Effects) {
        let completed = match kind {
            Kind::End(Ending::Completed) => true,
            Kind::Fail { .. } | Kind::Expire => false,
            _ => return,
        };
        let (tenant, why) = (job.tenant.clone(), job.last_failure.clone());
        out.push(Effect::Publish(Finished { key: key.clone(), completed, tenant, why }));
    }
}

/// Whether a job is not run again in its queue.
const fn is_over(job: &Job) -> bool {
    !matches!(job.progress, Progress::Waiting)
}

/// How long every region keeps the row of a job that ended.
pub(crate) fn keep_until(now: UnixMillis, job: &Job, definition: &QueueDefinition) -> UnixMillis {
    let least = now.saturating_add(ENDED_KEPT);
    match job.key {
        Some(_) => least.max(job.enqueued_at.saturating_add(definition.keys_kept)),
        None => least,
    }
}

/// The wait after a failure: doubles with each.
fn backoff(definition: &QueueDefinition, attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    definition.backoff.saturating_mul(1 << doublings).min(BACKOFF_MAX.max(definition.backoff))
}
