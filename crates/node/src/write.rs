//! From operations to group commits.
//!
//! Operations of many clients are executed one after the other on the table, and their changes
//! gather in one open draft per lane. While a commit is in flight the drafts go on filling; the
//! next flush closes them and commits everything that has gathered.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_ports::store::{MetaName, Write};
use rhumb_state::{
    Draft, DraftContext, NamespacePolicy, Op, Reply, RowId, RowWrite, execute, execute_with_ttl,
};
use rhumb_types::{
    AckLevel, Consistency, DomainId, MonoTime, OriginId, Timestamp,
    planted::{self, Planted},
    record::{Record, Transaction, VersionVector},
};

use crate::{
    answer::Answer,
    event::{Effect, Effects, RequestId, Submit, SubmitError, SubmitOwned, Ticket},
    limits,
    node::{Node, carries_domain},
    own,
    status::Phase,
};

mod commit;

/// Where an operation's changes go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Lane {
    /// Into the log of a residency domain.
    Logged(DomainId),
    /// Into this region's rows only.
    Cache,
}

impl Lane {
    /// The lane of a namespace.
    pub(crate) const fn of(policy: &NamespacePolicy) -> Self {
        match policy.consistency {
            Consistency::Cache => Self::Cache,
            Consistency::Eventual | Consistency::Session | Consistency::Strong => {
                Self::Logged(policy.domain)
            }
        }
    }
}

/// The origin of entries that are never logged. Its versions are clock readings, so that they
/// grow over restarts.
const CACHE_ORIGIN: OriginId = OriginId(0);

/// A submit that has been executed and waits for a commit.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) request: RequestId,
    pub(crate) answer: Answer,
    pub(crate) ack: AckLevel,
    pub(crate) deadline: MonoTime,
    pub(crate) written: VersionVector,
}

/// A transaction of a commit, on its way to being durable.
#[derive(Debug)]
struct Logged {
    origin: OriginId,
    version: u64,
    encoded: Bytes,
}

/// What has gathered for the next commit, or is in flight.
#[derive(Debug, Default)]
struct Gathered {
    logged: Vec<Logged>,
    executed: Vec<Executed>,
    extra: Vec<Write>,
    received: usize,
    needs_sync: bool,
    took_rows: bool,
    adopted: VersionVector,
}

/// A submit that waits for rows.
#[derive(Debug)]
pub(crate) enum Parked {
    Keys(Submit),
    Owned(SubmitOwned),
}

/// The writing side of a node.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    drafts: BTreeMap<Lane, Draft>,
    gathered: Gathered,
    in_flight: Option<(u64, Gathered)>,
    batches: u64,
    syncing: bool,
    unsynced: Vec<Logged>,
    unsynced_since: Option<MonoTime>,
    parked: BTreeMap<Ticket, Parked>,
    waiting: usize,
    last_commit: u64,
}

impl Writing {
    /// Submits that have not been answered and do not wait for other regions.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// A submit is taken.
    pub(crate) const fn begin(&mut self) {
        self.waiting += 1;
    }

    /// A submit was answered before it was executed.
    pub(crate) const fn end(&mut self) {
        self.waiting -= 1;
    }

    /// A submit waits for rows.
    pub(crate) fn park(&mut self, ticket: Ticket, parked: Parked) {
        self.parked.insert(ticket, parked);
    }

    /// A submit waits for the next commit, which must be synced where it wants that.
    pub(crate) fn executed(&mut self, executed: Executed, sync: bool) {
        self.gathered.needs_sync |= sync;
        self.gathered.executed.push(executed);
    }

    pub(crate) fn received_in_commit(&self) -> usize {
        self.gathered.received
    }

    /// Adds a write of the node itself to the next commit.
    pub(crate) fn extra(&mut self, write: Write) {
        self.gathered.extra.push(write);
    }

    /// Counts a received transaction into the next commit.
    pub(crate) fn received(&mut self, origin: OriginId, version: u64, encoded: Bytes) {
        self.gathered.logged.push(Logged { origin, version, encoded });
        self.gathered.received += 1;
        self.gathered.needs_sync = true;
    }

    pub(crate) fn require_sync(&mut self) {
        self.gathered.needs_sync = true;
    }

    /// Adopts a version with the next commit, without its log: a snapshot brought its effects.
    pub(crate) fn adopted(&mut self, origin: OriginId, version: u64) {
        self.gathered.adopted.raise(origin, version);
        self.gathered.needs_sync = true;
    }

    pub(crate) const fn last_commit(&self) -> u64 {
        self.last_commit
    }

    /// Whether nothing of this node's waits for a commit.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_idle()
            && self.drafts.is_empty()
            && self.gathered.executed.is_empty()
            && self.gathered.logged.is_empty()
            && self.gathered.extra.is_empty()
            && self.parked.is_empty()
            && self.unsynced.is_empty()
    }

    pub(crate) const fn is_idle(&self) -> bool {
        self.in_flight.is_none() && !self.syncing
    }
}

impl Node {
    /// A client's writes.
    pub(crate) fn submit(&mut self, now: Timestamp, submit: Submit, out: &mut Effects) {
        if let Some(refusal) = self.refusal() {
            refuse(&submit, refusal, out);
            if !planted::is(Planted::DoRefused) || self.phase != Phase::Running {
                return;
            }
        }
        if self.is_full() {
            return refuse(&submit, SubmitError::Overloaded, out);
        }
        self.writing.begin();
        self.try_execute(now, submit, out);
    }

    /// Whether no more submits are taken until others are answered.
    pub(crate) fn is_full(&self) -> bool {
        self.writing.waiting + self.acks.len() >= limits::SUBMITS_WAITING_MAX
    }

    /// Why no write is taken now.
    pub(crate) fn refusal(&self) -> Option<SubmitError> {
        let why = match self.phase {
            Phase::Running if self.peer_clocks.is_far() => {
                "this node's clock is more than 500 ms from its peers' median: set the clock"
            }
            Phase::Running => return None,
            Phase::Loading => "this node is loading a snapshot from a peer",
            Phase::Proving => "this node is starting: its peers are confirming its log",
            Phase::Failed => "this node's disk failed: it serves reads only",
        };
        Some(SubmitError::Unavailable(why.into()))
    }

    fn try_execute(&mut self, now: Timestamp, mut submit: Submit, out: &mut Effects) {
        if submit.guard.is_some_and(|connection| self.has_watched_change(connection)) {
            self.writing.end();
            return refuse(&submit, SubmitError::Guarded, out);
        }
        self.table.admit(std::mem::take(&mut submit.reads));
        let mut missing = Vec::new();
        for op in &submit.ops {
            op.rows(&mut |row| {
                if !self.table.has(row) {
                    missing.push(RowId::from(row));
                }
            });
        }
        if !missing.is_empty() {
            let ticket = self.ticket();
            out.push(Effect::Fetch { ticket, rows: missing });
            return self.writing.park(ticket, Parked::Keys(submit));
        }
        let lanes = match self.lanes(&submit) {
            Ok(lanes) => lanes,
            Err(error) => {
                self.writing.end();
                return refuse(&submit, error, out);
            }
        };
        self.execute(now, submit, &lanes);
    }

    /// The rows of a parked submit have come; says whether the ticket was one of these.
    pub(crate) fn unpark(&mut self, now: Timestamp, ticket: Ticket, out: &mut Effects) -> bool {
        let Some(parked) = self.writing.parked.remove(&ticket) else { return false };
        match parked {
            Parked::Keys(submit) => self.try_execute(now, submit, out),
            Parked::Owned(submit) => self.try_own(now, submit, out),
        }
        true
    }

    /// The rows of a parked submit cannot be read.
    pub(crate) fn refuse_parked(&mut self, ticket: Ticket, why: &str, out: &mut Effects) {
        if let Some(parked) = self.writing.parked.remove(&ticket) {
            self.writing.end();
            let error = SubmitError::Disk(why.into());
            match parked {
                Parked::Keys(submit) => refuse(&submit, error, out),
                Parked::Owned(submit) => own::refuse(&submit, error, out),
            }
        }
    }

    /// The lane of every op; one for all of them where they must be atomic.
    fn lanes(&self, submit: &Submit) -> Result<Vec<Lane>, SubmitError> {
        let lane = |op: &Op| -> Result<Lane, SubmitError> {
            let (mut lane, mut several, mut elsewhere) = (None, false, false);
            op.keys(&mut |key| {
                let policy = self.config.namespaces.policy(key);
                let of_key = Lane::of(policy);
                several |= lane.is_some_and(|known| known != of_key);
                elsewhere |= !carries_domain(&self.config, policy.domain);
                lane = Some(of_key);
            });
            if several {
                return Err(SubmitError::CrossDomain);
            }
            if elsewhere {
                return Err(SubmitError::Elsewhere);
            }
            Ok(lane.unwrap_or(Lane::Logged(DomainId::EVERYWHERE)))
        };
        let lanes = submit.ops.iter().map(lane).collect::<Result<Vec<_>, _>>()?;
        let first = lanes.first();
        if submit.atomic && lanes.iter().any(|lane| Some(lane) != first) {
            return Err(SubmitError::CrossDomain);
        }
        Ok(lanes)
    }

    fn execute(&mut self, now: Timestamp, submit: Submit, lanes: &[Lane]) {
        let Submit { request, ops, ack, deadline, atomic, .. } = submit;
        let mut replies = Vec::with_capacity(ops.len());
        let mut written = VersionVector::new();
        if atomic {
            // One transaction holds all of it, so it starts in a fresh one.
            self.close_drafts();
        }
        for (op, lane) in ops.iter().zip(lanes) {
            let mut draft = self.take_draft(now, *lane);
            let namespaces = &self.config.namespaces;
            let reply = if namespaces.has_ttl() {
                let ttl = |key: &Bytes| namespaces.policy(key).ttl;
                execute_with_ttl(op, now.wall, &ttl, &mut self.table, &mut draft)
            } else {
                execute(op, now.wall, &mut self.table, &mut draft)
            };
            // An op that changed nothing has seen what others changed in this transaction, so its
            // answer waits for that too.
            if !draft.is_empty() && *lane != Lane::Cache {
                let dot = draft.dot();
                written.raise(dot.origin, dot.version);
            }
            replies.push(reply.unwrap_or_else(Reply::Error));
            let full = draft.is_full() && !atomic;
            self.writing.drafts.insert(*lane, draft);
            if full {
                self.close_drafts();
            }
        }
        let sync = ack > AckLevel::Memory && !written.is_empty();
        let answer = Answer::Replies(replies);
        self.writing.executed(Executed { request, answer, ack, deadline, written }, sync);
    }

    pub(crate) fn put_draft(&mut self, lane: Lane, draft: Draft) {
        self.writing.drafts.insert(lane, draft);
    }

    pub(crate) fn take_draft(&mut self, now: Timestamp, lane: Lane) -> Draft {
        if let Some(draft) = self.writing.drafts.remove(&lane) {
            return draft;
        }
        let timestamp = self.tick_hlc(now);
        let (origin, version, deps) = match lane {
            Lane::Logged(domain) => {
                let origin = self.own_origin(domain);
                (origin, self.applied.get(origin) + 1, self.applied.clone())
            }
            Lane::Cache => (CACHE_ORIGIN, timestamp.0, VersionVector::new()),
        };
        let region = self.config.region.clone();
        Draft::open(DraftContext { origin, version, timestamp, region, deps })
    }

    /// Ends the open transactions; what follows goes into new ones.
    pub(crate) fn close_drafts(&mut self) {
        for (lane, draft) in std::mem::take(&mut self.writing.drafts) {
            let Some(transaction) = draft.finish() else { continue };
            if lane == Lane::Cache {
                continue;
            }
            let Transaction { origin, version, .. } = transaction;
            self.applied.raise(origin, version);
            let encoded = transaction.encode();
            self.writing.gathered.logged.push(Logged { origin, version, encoded });
        }
    }
}

fn refuse(submit: &Submit, error: SubmitError, out: &mut Effects) {
    out.push(Effect::Reply {
        request: submit.request,
        result: Err(error),
        written: VersionVector::new(),
    });
}

pub(crate) fn write_of(row: RowWrite) -> Write {
    match row {
        RowWrite::Head { space, key, head } => Write::Head { space, key, head },
        RowWrite::Member { space, key, member, cell } => Write::Member { space, key, member, cell },
        RowWrite::Score { space, key, score, member, present } => {
            Write::Score { space, key, score, member, present }
        }
        RowWrite::Expiry { at, space, key, present } => Write::Expiry { at, space, key, present },
        RowWrite::Owned(row) => Write::Owned(row),
        RowWrite::OwnedDrop(id) => Write::OwnedDrop(id),
        RowWrite::Cleared { space, prefixes } => {
            Write::Meta { name: MetaName::Cleared(space), value: Some(prefixes.encode()) }
        }
    }
}
