//! From what has gathered to what is on the disk, and the answers.

use rhumb_ports::store::{Batch, Durability, MetaName, StoreError, Write};
use rhumb_types::{
    AckLevel, MonoTime, Timestamp,
    planted::{self, Planted},
    record::{Record, VersionVector},
};

use super::{Executed, Logged, write_of};
use crate::{
    acks::Waiter,
    answer::Fence,
    event::{Alarm, Effect, Effects, SubmitError},
    limits,
    node::Node,
    status::Phase,
};

impl Node {
    /// Commits what has gathered, when nothing is in flight.
    pub(crate) fn flush(&mut self, now: Timestamp, out: &mut Effects) {
        if !self.writing.is_idle() || self.phase == Phase::Failed {
            return;
        }
        self.close_drafts();
        let mut gathered = std::mem::take(&mut self.writing.gathered);
        self.note_touched();
        let rows = if self.table.has_writes() { self.table.take_writes() } else { Vec::new() };
        let took_rows = !rows.is_empty();
        if rows.is_empty() && gathered.logged.is_empty() && gathered.extra.is_empty() {
            // Answers that wrote nothing have seen only what is committed.
            return self.answer(now, gathered.executed, out);
        }
        let mut writes: Vec<Write> = rows.into_iter().map(write_of).collect();
        let logged = gathered.logged.iter().map(|logged| Write::Log {
            origin: logged.origin,
            version: logged.version,
            transaction: logged.encoded.clone(),
        });
        writes.extend(logged);
        writes.append(&mut gathered.extra);
        if !gathered.logged.is_empty() || !gathered.adopted.is_empty() {
            let only = planted::is(Planted::ForgetApplied) && !gathered.adopted.is_empty();
            let applied = if only { &gathered.adopted } else { &self.applied };
            writes.push(Write::Meta { name: MetaName::Applied, value: Some(applied.encode()) });
        }
        self.persist_registry(&mut writes);
        self.journal_writes(&mut writes);
        gathered.took_rows = took_rows;
        let synced = gathered.needs_sync && !planted::is(Planted::SkipSync);
        let durability = if synced { Durability::Synced } else { Durability::Buffered };
        if planted::is(Planted::AnswerBeforeCommit) {
            self.answer(now, std::mem::take(&mut gathered.executed), out);
        }
        self.writing.batches += 1;
        let batch = self.writing.batches;
        if durability == Durability::Buffered && self.writing.unsynced_since.is_none() {
            self.writing.unsynced_since = Some(now.mono);
        }
        self.writing.in_flight = Some((batch, gathered));
        out.push(Effect::Commit { batch, writes: Batch { writes }, durability });
    }

    /// A commit has ended.
    pub(crate) fn committed(
        &mut self,
        now: Timestamp,
        batch: u64,
        result: Result<u64, StoreError>,
        out: &mut Effects,
    ) {
        let Some((in_flight, gathered)) = self.writing.in_flight.take() else { return };
        assert_eq!(in_flight, batch, "commits end in the order in which they began");
        let commit = match result {
            Ok(commit) => commit,
            Err(error) => return self.fail(gathered.executed, error, out),
        };
        self.writing.last_commit = commit;
        if gathered.took_rows {
            self.table.committed(commit);
        }
        self.durable.merge(&gathered.adopted);
        let received = gathered.received > 0;
        if gathered.needs_sync || planted::is(Planted::ShipBeforeSync) {
            let earlier = std::mem::take(&mut self.writing.unsynced);
            self.writing.unsynced_since = None;
            self.made_durable(now, earlier.into_iter().chain(gathered.logged), out);
        } else {
            self.writing.unsynced.extend(gathered.logged);
        }
        self.answer(now, gathered.executed, out);
        if received {
            self.acknowledge(out);
        }
        self.bootstrap_step(out);
        self.published.settle(now.mono, &self.durable, out);
    }

    /// Starts an fsync when something has waited long enough for one.
    pub(crate) fn sync_if_due(&mut self, now: MonoTime, out: &mut Effects) {
        let due = self
            .writing
            .unsynced_since
            .is_some_and(|since| now.saturating_since(since) >= limits::SYNC_DELAY_MAX);
        if due && self.writing.is_idle() && self.phase != Phase::Failed {
            self.writing.syncing = true;
            out.push(Effect::Sync);
        }
    }

    /// An fsync has ended.
    pub(crate) fn synced(
        &mut self,
        now: Timestamp,
        result: Result<(), StoreError>,
        out: &mut Effects,
    ) {
        self.writing.syncing = false;
        if let Err(error) = result {
            return self.fail(Vec::new(), error, out);
        }
        self.writing.unsynced_since = None;
        let earlier = std::mem::take(&mut self.writing.unsynced);
        self.made_durable(now, earlier.into_iter(), out);
    }

    fn made_durable(
        &mut self,
        now: Timestamp,
        logged: impl Iterator<Item = Logged>,
        out: &mut Effects,
    ) {
        for Logged { origin, version, encoded } in logged {
            self.durable.raise(origin, version);
            self.outgoing.durable(origin, version, encoded);
        }
        self.durable_at(now.mono);
        self.outgoing.pump(&self.durable, out);
    }

    fn answer(&mut self, now: Timestamp, executed: Vec<Executed>, out: &mut Effects) {
        for Executed { request, answer, ack, deadline, written } in executed {
            self.writing.waiting -= 1;
            let regions = if written.is_empty() { 0 } else { self.regions_wanted(ack, &written) };
            let fence = Fence::new(&self.leases, now.mono);
            if regions == 0 {
                out.push(answer.done(request, written, fence));
            } else {
                let waiter = Waiter { request, answer, written, regions, deadline };
                self.acks.wait_for_answer(waiter, fence, out);
            }
        }
    }

    /// How many other regions must acknowledge.
    fn regions_wanted(&self, ack: AckLevel, written: &VersionVector) -> usize {
        let counted = planted::is(Planted::CountWitness);
        let witnesses = self.peers.iter().filter(|(_, peer)| counted && !peer.is_data()).count();
        let wanted = self.data_regions_wanted(ack, written);
        wanted.saturating_sub(witnesses)
    }

    fn data_regions_wanted(&self, ack: AckLevel, written: &VersionVector) -> usize {
        match ack {
            AckLevel::Memory | AckLevel::Local => 0,
            AckLevel::OneRemote if planted::is(Planted::CountSelf) => 0,
            AckLevel::OneRemote => 1,
            AckLevel::Quorum => {
                // The strictest of the domains written; a majority with this region counted.
                let carriers = |domain| self.peers.data().filter(move |(_, p)| p.carries(domain));
                let others = written.iter().map(|(o, _)| carriers(o.domain()).count()).max();
                others.unwrap_or(0).div_ceil(2)
            }
        }
    }

    /// The disk failed: nothing is acknowledged any more (invariant: nothing unsynced is trusted).
    fn fail(&mut self, executed: Vec<Executed>, error: StoreError, out: &mut Effects) {
        self.phase = Phase::Failed;
        self.bootstrap.give_up();
        let why: std::sync::Arc<str> = error.to_string().into();
        let gathered = std::mem::take(&mut self.writing.gathered);
        for Executed { request, answer, .. } in executed.into_iter().chain(gathered.executed) {
            self.writing.waiting -= 1;
            let error = SubmitError::Disk(why.clone());
            out.push(answer.failed(request, VersionVector::new(), error));
        }
        out.push(Effect::Alarm(Alarm::Disk(error)));
    }
}
