//! Transactions from peers, from their arrival to the commit that applies them.

use std::collections::BTreeSet;

use rhumb_ports::{
    peer::{LogBatch, PeerMessage},
    store::StoreError,
};
use rhumb_state::{ReadSet, RowId, apply, rows_of};
use rhumb_types::{
    OriginId, RegionId, Timestamp,
    planted::{self, Planted},
    record::{Change, Transaction},
};

use crate::{
    event::{Alarm, Effect, Effects, Ticket},
    limits,
    node::{Node, carries},
    receive::Took,
    status::Phase,
};

impl Node {
    pub(crate) fn log_batch(
        &mut self,
        now: Timestamp,
        from: &RegionId,
        batch: LogBatch,
        out: &mut Effects,
    ) {
        let origin = batch.origin;
        if !self.carries(origin) || origin.incarnation() == self.identity.incarnation {
            return;
        }
        match self.received.take(origin, batch.first, batch.transactions, &self.applied) {
            Took::Queued => {}
            Took::AskAgain { after } => {
                let message = PeerMessage::Follow { origin, after };
                out.push(Effect::Send { to: from.clone(), message });
            }
            Took::Parked(error) => out.push(Effect::Alarm(Alarm::Parked {
                region: from.clone(),
                origin,
                reason: error.to_string(),
            })),
        }
        self.apply_received(now, out);
    }

    /// Applies what is ready, up to the bound of one commit.
    pub(crate) fn apply_received(&mut self, now: Timestamp, out: &mut Effects) {
        if self.phase == Phase::Failed || self.bootstrap.is_loading() {
            return;
        }
        while self.writing.received_in_commit() < limits::RECEIVED_PER_COMMIT_MAX {
            let config = &self.config;
            let ready = self.received.ready(&self.applied, |origin| carries(config, origin));
            let Some(origin) = ready else { break };
            if !self.fetch_rows(origin, out) {
                continue;
            }
            self.apply_front(now, origin, out);
        }
    }

    /// Whether the rows of the front transaction are here; else asks for them, and for those of
    /// the next ones.
    fn fetch_rows(&mut self, origin: OriginId, out: &mut Effects) -> bool {
        let Some(front) = self.received.front(origin) else { return false };
        let table = &self.table;
        if rows_of(&front.transaction).all(|row| table.has(row)) {
            return true;
        }
        let rows: BTreeSet<RowId> = self
            .received
            .ahead(origin, limits::FETCH_AHEAD_TRANSACTIONS)
            .flat_map(rows_of)
            .filter(|row| !table.has(*row))
            .map(RowId::from)
            .collect();
        let ticket = self.ticket();
        self.received.fetching(origin, ticket);
        out.push(Effect::Fetch { ticket, rows: rows.into_iter().collect() });
        false
    }

    fn apply_front(&mut self, now: Timestamp, origin: OriginId, out: &mut Effects) {
        let Some(incoming) = self.received.pop(origin) else { return };
        // What was written here before did not see this transaction.
        self.close_drafts();
        let mut transaction = incoming.transaction;
        if planted::is(Planted::RefuseOldEpoch) {
            self.refuse_old(&mut transaction);
        }
        if !self.hlc.observe(transaction.timestamp, now.wall) {
            out.push(Effect::Alarm(Alarm::StampBeyondBound { origin }));
        }
        let applied = apply(&transaction, &mut self.table, &mut self.conflicts);
        assert!(applied.is_ok(), "the rows of a transaction are at hand before it is applied");
        self.applied.raise(origin, transaction.version);
        self.writing.received(origin, transaction.version, incoming.encoded);
    }

    /// Leaves out owned rows of an epoch that is over; only where that is planted.
    fn refuse_old(&self, transaction: &mut Transaction) {
        transaction.changes.retain(|change| {
            let Change::Own(row) = change else { return true };
            row.pinned || self.leases.get(&row.home).is_none_or(|held| held.epoch <= row.epoch)
        });
    }

    pub(crate) fn fetched(
        &mut self,
        now: Timestamp,
        ticket: Ticket,
        reads: Result<ReadSet, StoreError>,
        out: &mut Effects,
    ) {
        match reads {
            Ok(reads) => {
                self.table.admit(reads);
                if self.received.fetched(ticket) {
                    self.apply_received(now, out);
                } else if !self.sweep_fetched(now, ticket, out) {
                    self.unpark(now, ticket, out);
                }
            }
            Err(error) => {
                self.refuse_parked(ticket, &error.to_string(), out);
                out.push(Effect::Alarm(Alarm::Disk(error)));
            }
        }
    }
}
