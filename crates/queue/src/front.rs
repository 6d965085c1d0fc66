//! The lease frontier: written ahead of the leases, so that a successor knows what it must wait for.
//!
//! "Jobs up to this order may be leased; no such lease lasts longer than the span after this was asked
//! for; numbers are below this." The owner counts the span from before it asked, and shrinks it by the
//! drift; a successor counts it from when it began to act, which is after the owner's tenure, and
//! stretches it (rule 7). A lease is given only under a frontier that was answered with a yes.

use std::time::Duration;

use rhumb_types::{
    AckLevel, MonoTime, Timestamp,
    planted::{self, Planted},
    record::{Frontier, FrontierKey, OwnedOp, OwnedState, QueueDefinition, Record},
};

use crate::{
    applied::millis,
    index::{Place, ShardId},
    limits::{FRONTIER_PAUSE, PLAIN_LEASE_MAX, PLAIN_LEASE_MIN, SPAN_LEASES},
    queues::{Queues, UnderWay},
    shard::Grant,
    words::{Effects, WriteError},
};

/// The longest lease of a queue that is given under its frontier.
pub(crate) fn plain_lease(definition: &QueueDefinition) -> Duration {
    definition.visibility.clamp(PLAIN_LEASE_MIN, PLAIN_LEASE_MAX)
}

/// How long the leases last at most that are given under a queue's frontier.
pub(crate) fn span(definition: &QueueDefinition) -> Duration {
    plain_lease(definition) * SPAN_LEASES
}

impl Queues {
    /// Writes the frontier of a shard ahead, unless that is under way.
    pub(crate) fn advance(&mut self, now: Timestamp, id: ShardId, out: &mut Effects) {
        let shard = self.index.shard(id);
        let (queue, whose) = (shard.queue, shard.whose.clone());
        let waits = shard.front.pending.is_some() || now.mono < shard.front.retry_at;
        let Some(epoch) = self.acts_for(&whose.home, now.mono).filter(|_| !waits && !whose.pinned)
        else {
            return;
        };
        let queue = self.queue(queue);
        let definition = queue.definition.clone().unwrap_or_default();
        let row = FrontierKey { home: whose.home.clone(), queue: queue.name.clone() }.row();
        let wanted = span(&definition);
        let next_order = self.orders.get(&whose.home).copied().unwrap_or_default();
        let shard = self.index.shard_mut(id);
        if shard.ready.is_empty() {
            // The next job is a new one.
            shard.front.highest = shard.front.highest.max(next_order);
        }
        let front = &mut shard.front;
        // What an earlier frontier allowed may still be leased: it stays covered.
        let known = front.known.unwrap_or_default();
        let wide = Duration::from_millis(known.span_ms);
        let row_span = if wide > wanted && now.mono < front.wide_until { wide } else { wanted };
        if row_span == wanted {
            front.wide_until = now.mono + self.config.drift.stretch(row_span);
        }
        let step = front.step();
        front.leased = 0;
        let grant = Grant {
            through: known.through.max(front.highest.saturating_add(step)),
            until: now.mono + self.config.drift.shrink(wanted),
            numbers: front.next_number.saturating_add(step.saturating_mul(2)),
        };
        let blind = front.blind && now.mono < front.barrier_until;
        let Grant { through, numbers, .. } = grant;
        let payload = Frontier { through, span_ms: millis(row_span), numbers, blind }.encode();
        let op = if front.known.is_some() {
            OwnedOp::Change { id: row, receipt: epoch, state: OwnedState::Ready, payload }
        } else {
            OwnedOp::Claim { id: row, payload }
        };
        let then = UnderWay::Frontier { shard: id, grant };
        let token = self.own(whose.home, AckLevel::Quorum, vec![op], then, out);
        self.index.shard_mut(id).front.pending = Some((token, grant));
        if planted::is(Planted::LeaseBeforeFrontier) {
            self.index.shard_mut(id).front.grant = grant;
        }
    }

    /// Writes that nothing is leased, for a successor that need not wait then. From here on a lease is given
    /// only under a frontier that is written after it.
    pub(crate) fn retract(&mut self, now: Timestamp, id: ShardId, out: &mut Effects) {
        let shard = self.index.shard(id);
        let home = shard.whose.home.clone();
        let Some(known) = shard.front.known.filter(|known| known.span_ms > 0) else { return };
        // What an earlier owner may have leased is not for this one to say.
        let waits = shard.front.pending.is_some() || shard.is_barred(now.mono);
        let Some(epoch) = self.acts_for(&home, now.mono).filter(|_| !waits) else { return };
        let row = FrontierKey { home: home.clone(), queue: self.queue(shard.queue).name.clone() };
        let front = &mut self.index.shard_mut(id).front;
        let (through, numbers) = (known.through, known.numbers.max(front.next_number));
        let grant = Grant { through, until: MonoTime(0), numbers };
        front.grant = Grant::default();
        let payload = Frontier { through, span_ms: 0, numbers, blind: false }.encode();
        let op =
            OwnedOp::Change { id: row.row(), receipt: epoch, state: OwnedState::Ready, payload };
        let then = UnderWay::Frontier { shard: id, grant };
        let token = self.own(home, AckLevel::Quorum, vec![op], then, out);
        self.index.shard_mut(id).front.pending = Some((token, grant));
    }

    /// A frontier was written, or not.
    pub(crate) fn advanced(
        &mut self,
        now: Timestamp,
        id: ShardId,
        grant: Grant,
        result: Result<(), WriteError>,
    ) {
        let runs = self.runs(id, now.mono);
        let regions = self.config.regions;
        let shard = self.index.shard_mut(id);
        let queue = shard.queue;
        if shard.front.pending.map(|(_, pending)| pending) != Some(grant) {
            return;
        }
        shard.front.pending = None;
        let known = shard.front.known.unwrap_or_default();
        // A frontier that somebody else had put first keeps its content.
        let is_ours = (known.through, known.numbers) == (grant.through, grant.numbers);
        let durable = match result {
            Ok(()) => true,
            Err(WriteError::Unknown(_)) => regions <= 2,
            Err(WriteError::Refused { .. }) => false,
        };
        if durable && is_ours && runs {
            shard.front.grant = grant;
            self.dirty.insert(queue);
        } else {
            shard.front.retry_at = now.mono + FRONTIER_PAUSE;
        }
    }

    /// Keeps the frontiers of the queues ahead that are in use, and lifts barriers whose time has come.
    pub(crate) fn keep_frontiers(&mut self, now: Timestamp, out: &mut Effects) {
        for id in self.shard_ids() {
            let shard = self.index.shard(id);
            if shard.whose.pinned || !self.runs(id, now.mono) {
                continue;
            }
            let queue = shard.queue;
            if shard.front.barrier_until > MonoTime(0) && !shard.is_barred(now.mono) {
                self.index.shard_mut(id).bar(0, MonoTime(0));
                self.dirty.insert(queue);
            }
            let shard = self.index.shard(id);
            let waited_for = !self.queue(queue).waiters.is_empty();
            let used = waited_for || shard.counted(Place::Leased) + shard.front.leased > 0;
            let definition = self.queue(queue).definition.clone().unwrap_or_default();
            let used = used && !self.is_quiet(id, now.mono);
            if used && shard.front.is_short(now.mono, plain_lease(&definition) * 3 / 2) {
                self.advance(now, id, out);
            }
        }
    }

    pub(crate) fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        let shards = u32::try_from(self.index.shards.len()).unwrap_or(u32::MAX);
        (0..shards).map(ShardId)
    }
}
