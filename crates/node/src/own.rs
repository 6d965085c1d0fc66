//! Writes of rows that only their owner may change (rules 4 and 5).
//!
//! The lease of a row's home is looked at as the row is accepted, and again as the answer leaves
//! (see [`crate::answer`]). In between the row is an ordinary part of a transaction: what is logged
//! replicates, and no receiver refuses it. New work without a lease is accepted all the same, pinned
//! to this region.
//!
//! Deliberately absent: what the rows are about, and who is given them to work on.

use std::collections::BTreeMap;

use rhumb_ports::store::Write;
use rhumb_state::{
    RowId,
    owned::{Acceptor, accept},
};
use rhumb_types::{
    AckLevel, DomainId, MonoTime, RegionId, Timestamp,
    record::{OwnedId, OwnedRow, VersionVector},
};

use crate::{
    answer::Answer,
    event::{Effect, Effects, SubmitError, SubmitOwned},
    limits,
    node::{Node, carries_domain},
    status::Phase,
    write::{Executed, Lane, Parked},
};

/// Owned rows lie in every region, so that any of them can take over.
const LANE: Lane = Lane::Logged(DomainId::EVERYWHERE);

impl Node {
    /// A machine's writes of owned rows.
    pub(crate) fn own(&mut self, now: Timestamp, submit: SubmitOwned, out: &mut Effects) {
        let refusal = self.refusal().or_else(|| {
            let elsewhere = !carries_domain(&self.config, DomainId::EVERYWHERE);
            let full = self.is_full();
            let error = if elsewhere { SubmitError::Elsewhere } else { SubmitError::Overloaded };
            (elsewhere || full).then_some(error)
        });
        let refusal = refusal.or_else(|| check(&submit).err());
        if let Some(refusal) = refusal {
            return refuse(&submit, refusal, out);
        }
        self.writing.begin();
        self.try_own(now, submit, out);
    }

    /// Rows that are over are forgotten with the next commit.
    pub(crate) fn drop_owned(&mut self, ids: Vec<OwnedId>) {
        // A snapshot that is being loaded may write past the table.
        if self.phase != Phase::Running {
            return;
        }
        for id in ids {
            let _kept = self.table.drop_owned(&id);
        }
    }

    /// Accepts once the rows are at hand.
    pub(crate) fn try_own(&mut self, now: Timestamp, mut submit: SubmitOwned, out: &mut Effects) {
        self.table.admit(std::mem::take(&mut submit.reads));
        let ids = submit.ops.iter().map(|op| RowId::Owned(op.id().clone()));
        let missing: Vec<RowId> = ids.filter(|id| !self.table.has(id.into())).collect();
        if !missing.is_empty() {
            let ticket = self.ticket();
            out.push(Effect::Fetch { ticket, rows: missing });
            return self.writing.park(ticket, Parked::Owned(submit));
        }
        match self.accept(now.mono, &submit) {
            Ok(rows) => self.log_owned(now, &submit, rows),
            Err(error) => {
                self.writing.end();
                refuse(&submit, error, out);
            }
        }
    }

    /// The versions that the ops make; none when one of them is refused.
    fn accept(&self, now: MonoTime, submit: &SubmitOwned) -> Result<Vec<OwnedRow>, SubmitError> {
        let lease = |home: &RegionId| self.leases.get(home)?.at(now);
        let at = Acceptor { region: &self.config.region, home: &submit.home, lease: &lease };
        let mut newest: BTreeMap<&OwnedId, OwnedRow> = BTreeMap::new();
        let mut rows = Vec::with_capacity(submit.ops.len());
        for op in &submit.ops {
            let existing = match (newest.get(op.id()), self.table.owned(op.id())) {
                (Some(newest), _) => Some(newest),
                (None, Ok(row)) => row,
                (None, Err(missing)) => unreachable!("{missing}, and was looked for"),
            };
            let row = accept(existing, op, &at)?;
            newest.insert(op.id(), row.clone());
            rows.push(row);
        }
        Ok(rows)
    }

    /// Writes into the open transaction, which has room for one request.
    fn log_owned(&mut self, now: Timestamp, submit: &SubmitOwned, rows: Vec<OwnedRow>) {
        let SubmitOwned { request, ack, deadline, .. } = *submit;
        let mut draft = self.take_draft(now, LANE);
        for row in &rows {
            let taken = draft.own(&mut self.table, row.clone());
            assert!(taken.is_ok(), "the rows are in the table");
        }
        let mut written = VersionVector::new();
        if !rows.is_empty() {
            let dot = draft.dot();
            written.raise(dot.origin, dot.version);
        }
        let full = draft.is_full();
        self.put_draft(LANE, draft);
        if full {
            self.close_drafts();
        }
        let sync = ack > AckLevel::Memory && !written.is_empty();
        let answer = Answer::Owned(rows);
        self.writing.executed(Executed { request, answer, ack, deadline, written }, sync);
    }
}

/// Whether the request keeps to the bounds, and every store can hold the rows: one that it cannot
/// hold would be refused with everything that is committed beside it.
fn check(submit: &SubmitOwned) -> Result<(), SubmitError> {
    let (ops_max, bytes_max) = (limits::OWNED_OPS_MAX, limits::OWNED_BYTES_MAX);
    let bytes: usize = submit.ops.iter().map(|op| op.id().key.len() + op.payload().len()).sum();
    if submit.ops.len() > ops_max || bytes > bytes_max {
        let why = format!("one request writes at most {ops_max} owned rows of {bytes_max} bytes");
        return Err(SubmitError::Unfit(why.into()));
    }
    let mut rows = submit.ops.iter().map(|op| Write::OwnedDrop(op.id().clone()).check());
    rows.find_map(Result::err)
        .map_or(Ok(()), |error| Err(SubmitError::Unfit(error.to_string().into())))
}

pub(crate) fn refuse(submit: &SubmitOwned, error: SubmitError, out: &mut Effects) {
    let (request, written) = (submit.request, VersionVector::new());
    out.push(Effect::Owned { request, result: Err(error), written });
}

#[cfg(test)]
mod tests;
