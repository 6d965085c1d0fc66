//! What time brings: leases that run out, delays that end, and the slow walk over the table.
//!
//! The walk reads all rows once at the start; after that it goes on for ever, slowly, and finds the rows
//! of jobs that ended long enough ago, and jobs that are older than their queue keeps them.

use bytes::Bytes;
use rhumb_types::{
    MonoTime, Timestamp,
    record::{
        Ending, Job, JobKey, OwnedId, OwnedRow, Progress, Record, job::JOBS, queue::FRONTIERS,
    },
};

use crate::{
    change::{Change, Kind, Then},
    index::{Place, ShardId, Slot},
    limits::{WALK_INTERVAL, WALK_PAUSE, WALK_ROWS},
    queues::Queues,
    words::{Effect, Effects},
};

/// Where the walk is.
#[derive(Debug)]
pub(crate) struct Walk {
    table: u8,
    after: Option<Bytes>,
    under_way: bool,
    next_at: MonoTime,
}

impl Default for Walk {
    fn default() -> Self {
        // Frontiers first: they say what may not be leased of what follows.
        Self { table: FRONTIERS, after: None, under_way: false, next_at: MonoTime(0) }
    }
}

impl Queues {
    /// Asks for the next rows.
    pub(crate) fn step(&mut self, out: &mut Effects) {
        self.walk.under_way = true;
        let Walk { table, after, .. } = &self.walk;
        out.push(Effect::Scan { table: *table, after: after.clone(), rows_max: WALK_ROWS });
    }

    /// The next rows of the walk are here.
    pub(crate) fn scanned(
        &mut self,
        now: Timestamp,
        rows: &[OwnedRow],
        end: bool,
        out: &mut Effects,
    ) {
        self.walk.under_way = false;
        self.walk.next_at = now.mono + if end { WALK_PAUSE } else { WALK_INTERVAL };
        let first_lap = self.began.is_none();
        let mut drops = Vec::new();
        for row in rows {
            if first_lap {
                self.apply(now, row, out);
            }
            if row.id.table == JOBS {
                self.look_at_age(now, row, &mut drops, out);
            }
        }
        if !drops.is_empty() {
            out.push(Effect::Drop(drops));
        }
        self.walk.after = rows.last().filter(|_| !end).map(|row| row.id.key.clone());
        if end && self.walk.table == JOBS && first_lap {
            self.begin_all(now);
        }
        if end {
            self.walk.table = JOBS;
        }
        if self.began.is_none() {
            self.step(out);
        }
    }

    /// All rows are known: this node may act.
    fn begin_all(&mut self, now: Timestamp) {
        self.began = Some(now.mono);
        for id in self.shard_ids().collect::<Vec<_>>() {
            let whose = &self.index.shard(id).whose;
            if whose.pinned && whose.home == self.config.region {
                self.hold_long(now, id, now.mono);
            }
            let queue = self.index.shard(id).queue;
            self.dirty.insert(queue);
        }
        self.take_duties(now);
    }

    fn look_at_age(
        &mut self,
        now: Timestamp,
        row: &OwnedRow,
        drops: &mut Vec<OwnedId>,
        out: &mut Effects,
    ) {
        let Ok(job) = Job::decode(&row.payload) else { return };
        if matches!(job.progress, Progress::Ended { .. }) {
            if job.keep_until < now.wall {
                drops.push(row.id.clone());
            }
            return;
        }
        let Ok(key) = JobKey::of_row(&row.id) else { return };
        let Some(slot) = self.index.find(key.id) else { return };
        let place = self.index.place(slot);
        let free = !matches!(place, Some(Place::Leased | Place::Busy | Place::Held));
        let kept = self.settings(slot).retention;
        let old = job.enqueued_at.saturating_add(kept) < now.wall;
        let barred = self.index.shard_of(slot).is_barred(now.mono);
        if old && free && !barred && self.epoch(slot, now.mono).is_some() {
            let kind = Kind::End(Ending::Expired);
            self.change(vec![self.change_of(slot, kind, Then::Nothing)], out);
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Timestamp, out: &mut Effects) {
        self.expire(now, out);
        self.end_quiet(now);
        for id in self.shard_ids() {
            self.ripen(now, id);
        }
        self.keep_frontiers(now, out);
        self.expire_waiters(now, out);
        self.step_chores(now, out);
        self.observe(now, out);
        if self.began.is_some() && !self.walk.under_way && self.walk.next_at <= now.mono {
            self.step(out);
        }
    }

    /// Leases that ran out: each counts as a failure.
    fn expire(&mut self, now: Timestamp, out: &mut Effects) {
        let mut written = Vec::new();
        while let Some((ends, slot)) = self.expiries.first().copied()
            && ends <= now.mono
        {
            self.expiries.remove(&(ends, slot));
            // What is being settled comes back when that did not come to be.
            if self.index.place(slot) == Some(Place::Leased) {
                written.extend(self.expire_one(now, slot));
            }
        }
        for change in written {
            self.change(vec![change], out);
        }
    }

    fn expire_one(&mut self, now: Timestamp, slot: Slot) -> Option<Change> {
        let live = self.live.remove(&slot)?;
        let tenant = live.job.as_ref().and_then(|job| job.tenant.clone());
        self.count_result(slot, tenant.as_deref(), false);
        let entry = self.index.entry_mut(slot);
        entry.attempts = entry.attempts.saturating_add(1);
        let attempts = u32::from(entry.attempts);
        let last = self.settings(slot).attempts_max.is_some_and(|most| attempts >= most);
        if live.written || last {
            return Some(self.change_of(slot, Kind::Expire, Then::Nothing));
        }
        self.settle_slot(now, slot, None);
        None
    }

    /// Jobs whose delay is over, or that no worker of an earlier owner has any more.
    fn ripen(&mut self, now: Timestamp, id: ShardId) {
        while let Some((at, slot)) = self.index.shard(id).delayed.first().copied()
            && at <= now.wall
        {
            self.settle_slot(now, slot, None);
        }
        while let Some((until, slot)) = self.index.shard(id).held.first().copied()
            && until <= now.mono
        {
            self.settle_slot(now, slot, None);
        }
    }

    fn expire_waiters(&mut self, now: Timestamp, out: &mut Effects) {
        let ids: Vec<_> = self.names.values().copied().collect();
        for id in ids {
            if !self.queue(id).waiters.is_empty() {
                let undefined = self.queue(id).definition.is_none();
                self.drop_waiters(id, |waiter| undefined || waiter.until <= now.mono, out);
                // Whatever held them up (too many leases, too much under way) may be over.
                self.dirty.insert(id);
            }
        }
    }
}
