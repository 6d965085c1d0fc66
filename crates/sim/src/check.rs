//! What must hold at every step, and at the end.
//!
//! The checker sees every commit and every message, and keeps its own account of what each disk
//! holds. The first violation ends a run.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rhumb_ports::{
    peer::{PeerMessage, Published},
    store::{Batch, Durability, MetaName, Store, Write},
};
use rhumb_queue::promises::Promise;
use rhumb_types::{
    AckLevel, OriginId, RegionId,
    record::{Dot, Record, Transaction, VersionVector},
};

mod doubt;
mod owned;
mod residency;

use doubt::Doubt;
use owned::Fencing;
pub(crate) use owned::Tenures;
pub(crate) use residency::Carried;

use crate::host::Host;

/// Which check a violation was found by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Check {
    /// Nothing fsynced is missing at a start.
    Durable,
    /// What is stored can be read, and a node forgets nothing.
    Whole,
    /// Every origin is applied without gaps, once, after everything in its context.
    Causal,
    /// Nothing of a log leaves before it is fsynced (rule 1).
    Shipped,
    /// A dot names one write for ever (rule 1).
    Dots,
    /// A writer sees what was answered (rule 2).
    OwnWrites,
    /// An answer says no more than its level: who has fsynced it (rule 13).
    Acknowledged,
    /// A node whose clock is far off acknowledges nothing (rule 8).
    Clocks,
    /// A message comes after what it follows is applied, and once at most (rule 14).
    Published,
    /// Owned rows are accepted, and answered with a yes, under the lease of their home (rule 4).
    Fenced,
    /// What is pinned to a region is changed by that region only (rule 5).
    Pinned,
    /// Who begins to act under a lease holds what the regions in reach held (rule 6).
    Opened,
    /// What belongs to a domain reaches only regions that carry it (rule 3).
    Residency,
    /// At most one node acts under a region's lease, at every instant (rule 7).
    Leases,
    /// At most one node decides for a key of a linearizable bucket, at every instant (rule 10).
    Homes,
    /// Everything agreed is in the audit chain, and every host's chain is the same (rule 18).
    Audited,
    /// No key changes its home but for a reason at one of its two homes.
    Stable,
    /// Nothing goes back and forth: not peers in and out, not duties away and back.
    Steady,
    /// All agree in the end, and every region has an owner.
    Agreed,
    /// All regions hold the same in the end.
    Converged,
    /// What the clients of a register saw has one order (linearizability).
    Ordered,
    /// Of a job at most one lease is live.
    OneLease,
    /// Only the receipt of a job's last lease counts.
    Receipts,
    /// The jobs of a group run one after the other, in their order.
    Groups,
    /// A key names one job.
    Keys,
    /// What was completed does not run again.
    Completed,
    /// Every job that was taken in runs, and ends everywhere.
    Kept,
    /// A job is sent on once at most, and none of a group is.
    Spilled,
    /// No region begins and ends to send jobs on faster than its limits say.
    Swings,
    /// What a region in reach holds is never said not to be there (rule 11).
    Missed,
    /// What was deleted or replaced does not come back.
    Deleted,
    /// An upload is answered once its bytes are durable in as many regions as its bucket says.
    Copied,
    /// An upload in parts is completed only of parts that came.
    Parts,
    /// Bytes are where the policy of their bucket wants them in the end, and nowhere else.
    Placed,
    /// Bytes that nobody refers to go in the end (rule 12).
    Collected,
    /// Bytes go by a grant that knew of every reference to them, and one copy stays of what is referred
    /// to (rule 12).
    Granted,
    /// Nothing acknowledged is missing in the end.
    Lost,
    /// No machine panics.
    Panics,
}

impl Check {
    /// The check of a promise of the queues.
    #[must_use]
    pub const fn of(promise: Promise) -> Self {
        match promise {
            Promise::OneLease => Self::OneLease,
            Promise::Receipts => Self::Receipts,
            Promise::Groups => Self::Groups,
            Promise::Keys => Self::Keys,
            Promise::Completed => Self::Completed,
            Promise::Kept => Self::Kept,
        }
    }
}

/// What did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The check that found it.
    pub check: Check,
    /// In words.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.check, self.what)
    }
}

/// What the checker knows of one host.
#[derive(Debug, Default)]
struct Account {
    /// What its views have applied.
    applied: VersionVector,
    /// What of that a power failure cannot take.
    synced: VersionVector,
}

/// The account of a run.
#[derive(Debug, Default)]
pub struct Checker {
    hosts: BTreeMap<usize, Account>,
    /// The content of every transaction that reached another disk than its writer's, by origin and
    /// version.
    named: BTreeMap<(OriginId, u64), u64>,
    /// The same of the round before.
    named_before: BTreeMap<(OriginId, u64), u64>,
    /// Which region wrote an origin.
    writers: BTreeMap<OriginId, RegionId>,
    violation: Option<Violation>,
    /// Messages delivered, by payload and host.
    delivered: BTreeSet<(Bytes, usize)>,
    carried: Carried,
    fencing: Fencing,
    doubt: Doubt,
    /// Transactions checked.
    pub transactions: u64,
}

impl Checker {
    /// A checker of hosts that carry these domains.
    pub(crate) fn new(carried: Carried) -> Self {
        Self { carried, ..Self::default() }
    }

    /// Which region wrote an origin.
    pub(crate) fn writer(&self, origin: OriginId) -> Option<&RegionId> {
        self.writers.get(&origin)
    }

    /// Which host carries what.
    pub(crate) const fn carried(&self) -> &Carried {
        &self.carried
    }

    /// The first thing that did not hold.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Notes a violation found elsewhere.
    pub fn violated(&mut self, check: Check, what: String) {
        self.violation.get_or_insert(Violation { check, what });
    }

    /// A round has ended and all agree: what was before it is forgotten.
    pub(crate) fn settle(&mut self) {
        self.named_before = std::mem::take(&mut self.named);
        self.delivered.clear();
        self.fencing.settle();
    }

    fn account(&mut self, host: usize) -> &mut Account {
        self.hosts.entry(host).or_default()
    }

    /// A process starts on what its disk holds.
    pub(crate) fn started(&mut self, host: usize, machine: &Host) {
        let Some(process) = &machine.process else { return };
        let applied = process.store.recovered().applied.clone();
        let lies = self.is_lying(host);
        if !lies && !applied.includes(&self.account(host).synced) {
            let what = format!("host {host} starts without what it had fsynced");
            self.violated(Check::Durable, what);
        }
        let account = self.account(host);
        account.applied = applied.clone();
        account.synced = applied;
    }

    /// A batch is on a disk.
    pub(crate) fn committed(&mut self, host: usize, writes: &Batch, durability: Durability) {
        for write in &writes.writes {
            self.stored(host, write);
            match write {
                Write::Log { origin, version, transaction } => {
                    self.logged(host, *origin, *version, transaction);
                }
                Write::Meta { name: MetaName::Applied, value: Some(value) } => {
                    self.adopted(host, value);
                }
                _ => {}
            }
        }
        if durability == Durability::Synced {
            self.synced(host);
        }
    }

    /// Whether a host's readers see what an origin wrote up to a version.
    #[must_use]
    pub fn has_applied(&self, host: usize, origin: OriginId, version: u64) -> bool {
        self.hosts.get(&host).is_some_and(|account| account.applied.get(origin) >= version)
    }

    /// Up to which version of an origin a host has fsynced.
    #[must_use]
    pub fn synced_of(&self, host: usize, origin: OriginId) -> u64 {
        self.hosts.get(&host).map_or(0, |account| account.synced.get(origin))
    }

    /// What a host has fsynced.
    pub(crate) fn holds(&self, host: usize) -> VersionVector {
        self.hosts.get(&host).map(|account| account.synced.clone()).unwrap_or_default()
    }

    /// Everything that is on a disk has been fsynced.
    pub(crate) fn synced(&mut self, host: usize) {
        let account = self.account(host);
        account.synced = account.applied.clone();
    }

    fn logged(&mut self, host: usize, origin: OriginId, version: u64, bytes: &[u8]) {
        self.transactions += 1;
        let transaction = match Transaction::decode(bytes) {
            Ok(transaction) => transaction,
            Err(error) => {
                let what = format!("host {host} logs what it cannot read: {error}");
                return self.violated(Check::Whole, what);
            }
        };
        let account = self.hosts.entry(host).or_default();
        let known = account.applied.get(origin);
        let missing = transaction.deps.iter().find(|(other, needed)| {
            self.carried.carries(host, *other) && *needed > account.applied.get(*other)
        });
        account.applied.raise(origin, version);
        if version == 1 {
            self.writers.insert(origin, transaction.region.clone());
        }
        if version != known + 1 {
            let what = format!("host {host} applies {origin} version {version} after {known}");
            self.violated(Check::Causal, what);
        }
        if let Some((other, needed)) = missing {
            let what = format!(
                "host {host} applies {origin} version {version} before {other} version {needed}"
            );
            self.violated(Check::Causal, what);
        }
        if self.carried.region(host) != Some(&transaction.region) {
            self.counts_on(&transaction.deps);
            self.name(origin, version, bytes);
        }
    }

    /// A dot names one write for ever (rule 1). What a lying disk lost before anybody else had it
    /// was seen by nobody, and its number may be given again.
    fn name(&mut self, origin: OriginId, version: u64, transaction: &[u8]) {
        let content = fingerprint(transaction);
        let before = self.named_before.get(&(origin, version));
        let known = *self.named.entry((origin, version)).or_insert(content);
        if known != content || before.is_some_and(|before| *before != content) {
            self.violated(
                Check::Dots,
                format!("{origin} version {version} names two transactions"),
            );
        }
    }

    /// The stored vector: what was logged, or what a snapshot brought.
    fn adopted(&mut self, host: usize, value: &[u8]) {
        match VersionVector::decode(value) {
            Ok(applied) => {
                if !applied.includes(&self.account(host).applied) {
                    let what = format!("host {host} forgets what it has applied");
                    self.violated(Check::Whole, what);
                }
                self.account(host).applied.merge(&applied);
            }
            Err(error) => {
                let what = format!("host {host} stores a vector that is none: {error}");
                self.violated(Check::Whole, what);
            }
        }
    }

    /// A message leaves a host: nothing of a log may that is not fsynced there (rule 1).
    pub(crate) fn sent(&mut self, host: usize, to: usize, message: &PeerMessage) {
        self.ships(to, message);
        let PeerMessage::Log(batch) = message else { return };
        let synced = self.account(host).synced.get(batch.origin);
        for (version, _) in (batch.first..).zip(&batch.transactions) {
            if version > synced {
                let what = format!(
                    "host {host} ships {} version {version}, and has fsynced {synced}",
                    batch.origin
                );
                self.violated(Check::Shipped, what);
            }
        }
    }

    /// A write is answered: its level says who must have fsynced it by now.
    pub fn acknowledged(&mut self, host: usize, ack: AckLevel, written: &VersionVector) {
        // A disk that lies says that it has what it has not; nobody can know.
        if self.is_in_doubt() {
            return;
        }
        let has = |account: &Account| account.synced.includes(written);
        let own = self.hosts.get(&host).is_some_and(has);
        let carries =
            |nth: usize| written.iter().all(|(origin, _)| self.carried.carries(nth, origin));
        let carriers = self.hosts.keys().filter(|nth| carries(**nth)).count();
        let others =
            self.hosts.iter().filter(|(nth, account)| **nth != host && has(account)).count();
        let enough = match ack {
            AckLevel::Memory => true,
            AckLevel::Local => own,
            AckLevel::OneRemote => own && others >= 1,
            // A majority of all, this one counted.
            AckLevel::Quorum => own && (others + 1) * 2 > carriers,
        };
        if !enough {
            let what = format!(
                "host {host} answers {written:?} at {ack:?}, and {others} others have fsynced it"
            );
            self.violated(Check::Acknowledged, what);
        }
    }

    /// A message reaches the subscribers of a host. At its publisher's own it does so at once.
    pub(crate) fn delivered(&mut self, host: usize, publisher: usize, message: &Published) {
        let applied = &self.account(host).applied;
        let late = |dot: &Dot| host != publisher && !applied.covers(*dot);
        if let Some(after) = message.after.filter(late) {
            let what = format!("host {host} delivers a message before {after:?}");
            self.violated(Check::Published, what);
        }
        if !self.delivered.insert((message.payload.clone(), host)) {
            let what = format!("host {host} delivers {:?} twice", message.payload);
            self.violated(Check::Published, what);
        }
    }
}

/// A number that tells encoded records apart.
fn fingerprint(encoded: &[u8]) -> u64 {
    let words = encoded.chunks_exact(8);
    let rest = words.remainder().iter().map(|byte| u64::from(*byte));
    let words = words.map(|word| word.try_into().map_or(0, u64::from_le_bytes));
    words.chain(rest).fold(encoded.len() as u64, |hash, word| {
        (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}
