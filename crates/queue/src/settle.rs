//! What workers do with the jobs that they hold. Only the receipt of the live lease counts.

use std::time::Duration;

use rhumb_types::{
    Timestamp,
    planted::{self, Planted},
    record::{Ending, OwnedOp, OwnedState, Record, queue::VISIBILITY_MAX},
};

use crate::{
    change::{Change, Kind, Then},
    front::plain_lease,
    index::{Place, Slot},
    limits::{JOBS_PER_REQUEST_MAX, WHY_BYTES_MAX},
    queues::{Member, Queues, Results},
    words::{Answer, Effects, Receipt, Refused, RequestId, Retry},
};

impl Queues {
    /// The job whose live lease a receipt is of.
    fn check_receipt(&self, now: Timestamp, receipt: &Receipt) -> Result<Slot, Refused> {
        let slot = self.index.find(receipt.key.id).ok_or(Refused::Gone)?;
        if self.key(slot) != receipt.key {
            return Err(Refused::Gone);
        }
        let live = self.live.get(&slot).ok_or(Refused::Stale)?;
        let same = (live.epoch, live.number) == (receipt.epoch, receipt.number);
        let any = planted::is(Planted::AnyReceipt);
        let fresh = live.ends > now.mono && self.index.place(slot) == Some(Place::Leased);
        if !((same && fresh) || any) || live.number == 0 {
            return Err(Refused::Stale);
        }
        if self.epoch(slot, now.mono).is_none() {
            let why = "this region does not own the job now";
            return Err(Refused::Unavailable(why.into()));
        }
        Ok(slot)
    }

    pub(crate) fn complete(
        &mut self,
        now: Timestamp,
        request: RequestId,
        receipts: Vec<Receipt>,
        out: &mut Effects,
    ) {
        if receipts.is_empty() || receipts.len() > JOBS_PER_REQUEST_MAX {
            let why = "one request completes 1 to 100 jobs";
            return out.answer(request, Err(Refused::Invalid(why.into())));
        }
        let results = Results::Completed(receipts.iter().map(|_| None).collect());
        let batch = self.batch(request, receipts.len(), results);
        let mut writes = std::collections::BTreeMap::new();
        for (nth, receipt) in receipts.into_iter().enumerate() {
            let member = Member { batch, nth };
            match self.check_receipt(now, &receipt) {
                Ok(slot) => {
                    if planted::is(Planted::CompleteEarly) {
                        self.settled(member, Ok(()), out);
                    }
                    if let Some((change, op)) = self.completed(now, slot, member) {
                        let home = self.index.shard_of(slot).whose.home.clone();
                        let together: &mut Vec<_> = writes.entry(home).or_default();
                        together.push((change, vec![op]));
                    } else {
                        self.settled(member, Err(Refused::Stale), out);
                    }
                }
                Err(refused) => self.settled(member, Err(refused), out),
            }
        }
        for (home, changes) in writes {
            self.write(home, changes, out);
        }
    }

    /// What is left of the job is at hand since it was leased: nothing is read.
    fn completed(
        &mut self,
        now: Timestamp,
        slot: Slot,
        member: Member,
    ) -> Option<(Change, OwnedOp)> {
        let receipt = self.epoch(slot, now.mono)?;
        let definition = self.settings(slot);
        let mut job = self.live.get(&slot)?.job.as_deref()?.clone();
        // Leases that ran out are counted in memory, until the row is changed.
        job.attempts = u32::from(self.index.entry(slot).attempts);
        let kept = crate::change::keep_until(now.wall, &job, &definition);
        self.count_result(slot, job.tenant.as_deref(), true);
        let job = job.ended(now.wall, Ending::Completed, kept);
        let payload = job.encode();
        let id = self.key(slot).row();
        self.index.put(slot, Place::Busy);
        let kind = Kind::End(Ending::Completed);
        let mut change = self.change_of(slot, kind, Then::Member(member));
        change.job = Some(Box::new(job));
        Some((change, OwnedOp::Change { id, receipt, state: OwnedState::Done, payload }))
    }

    pub(crate) fn fail(
        &mut self,
        now: Timestamp,
        request: RequestId,
        receipt: &Receipt,
        mut why: String,
        retry: Retry,
        out: &mut Effects,
    ) {
        if matches!(retry, Retry::After(wait) if wait > VISIBILITY_MAX) {
            let why = "a job waits at most 12 h";
            return out.answer(request, Err(Refused::Invalid(why.into())));
        }
        let slot = match self.check_receipt(now, receipt) {
            Ok(slot) => slot,
            Err(refused) => return out.answer(request, Err(refused)),
        };
        let end = (0..=WHY_BYTES_MAX.min(why.len())).rev().find(|at| why.is_char_boundary(*at));
        why.truncate(end.unwrap_or_default());
        let tenant = self.live.get(&slot).and_then(|live| live.job.as_ref()?.tenant.clone());
        if retry != Retry::HandedBack {
            self.count_result(slot, tenant.as_deref(), false);
        }
        self.start(request, slot, Kind::Fail { why, retry }, out);
    }

    pub(crate) fn extend(
        &mut self,
        now: Timestamp,
        request: RequestId,
        receipt: &Receipt,
        visibility: Duration,
        out: &mut Effects,
    ) {
        if visibility.is_zero() {
            return self.release(now, request, receipt, out);
        }
        if visibility > VISIBILITY_MAX {
            let why = "a lease lasts at most 12 h";
            return out.answer(request, Err(Refused::Invalid(why.into())));
        }
        let slot = match self.check_receipt(now, receipt) {
            Ok(slot) => slot,
            Err(refused) => return out.answer(request, Err(refused)),
        };
        let ends = now.mono + visibility;
        let front = &self.index.shard_of(slot).front;
        let plain = visibility <= plain_lease(&self.settings(slot)) && ends <= front.grant.until;
        if let Some(live) = self.live.get_mut(&slot)
            && (plain && !live.written || ends <= live.ends)
        {
            self.expiries.remove(&(live.ends, slot));
            live.ends = ends;
            self.expiries.insert((ends, slot));
            return out.answer(request, Ok(Answer::Settled));
        }
        let kind = Kind::Hold { visibility, asked: now.mono, number: receipt.number };
        self.start(request, slot, kind, out);
    }

    pub(crate) fn release(
        &mut self,
        now: Timestamp,
        request: RequestId,
        receipt: &Receipt,
        out: &mut Effects,
    ) {
        let slot = match self.check_receipt(now, receipt) {
            Ok(slot) => slot,
            Err(refused) => return out.answer(request, Err(refused)),
        };
        if self.live.get(&slot).is_some_and(|live| live.written) {
            return self.start(request, slot, Kind::Release, out);
        }
        self.end_lease(slot);
        self.settle_slot(now, slot, None);
        out.answer(request, Ok(Answer::Settled));
    }

    fn start(&mut self, request: RequestId, slot: Slot, kind: Kind, out: &mut Effects) {
        let batch = self.batch(request, 1, Results::Settled(None));
        let then = Then::Member(Member { batch, nth: 0 });
        self.change(vec![self.change_of(slot, kind, then)], out);
    }
}
