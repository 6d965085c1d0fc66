//! What must hold at every step, and at the end.
//!
//! The checker sees every commit and every message, and keeps its own account of what each disk
//! holds. The first violation ends a run.

use std::collections::BTreeMap;

use rhumb_ports::{
    peer::PeerMessage,
    store::{Batch, Durability, MetaName, Store, Write},
};
use rhumb_types::{
    OriginId,
    record::{Record, Transaction, VersionVector},
};

use crate::{host::Host, world::fingerprint};

/// What the checker knows of one host.
#[derive(Debug, Default)]
struct Account {
    /// What its views have applied.
    applied: VersionVector,
    /// What of that a power failure cannot take.
    synced: VersionVector,
    /// Whether its disk has lied, so that nothing can be said about what is durable.
    lied: bool,
}

/// The account of a run.
#[derive(Debug, Default)]
pub struct Checker {
    hosts: BTreeMap<usize, Account>,
    /// The content of every transaction that was ever shipped, by origin and version.
    shipped: BTreeMap<(OriginId, u64), u64>,
    violation: Option<String>,
    /// Transactions checked.
    pub transactions: u64,
}

impl Checker {
    /// The first thing that did not hold.
    #[must_use]
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Notes a violation found elsewhere.
    pub fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn account(&mut self, host: usize) -> &mut Account {
        self.hosts.entry(host).or_default()
    }

    /// A process starts on what its disk holds.
    pub(crate) fn started(&mut self, host: usize, machine: &Host) {
        let Some(process) = &machine.process else { return };
        let applied = process.store.recovered().applied.clone();
        let account = self.account(host);
        if !account.lied && !applied.includes(&account.synced) {
            let what = format!("host {host} starts without what it had fsynced");
            self.violated(what);
        }
        let account = self.account(host);
        account.applied = applied.clone();
        account.synced = applied;
    }

    /// A disk lies about fsync from now on.
    pub(crate) fn lies(&mut self, host: usize) {
        self.account(host).lied = true;
    }

    /// A batch is on a disk.
    pub(crate) fn committed(&mut self, host: usize, writes: &Batch, durability: Durability) {
        for write in &writes.writes {
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
                return self.violated(format!("host {host} logs what it cannot read: {error}"));
            }
        };
        let applied = &self.account(host).applied;
        let known = applied.get(origin);
        let missing = transaction.deps.iter().find(|(other, needed)| *needed > applied.get(*other));
        if version != known + 1 {
            let what = format!("host {host} applies {origin} version {version} after {known}");
            self.violated(what);
        }
        if let Some((other, needed)) = missing {
            let what = format!(
                "host {host} applies {origin} version {version} before {other} version {needed}"
            );
            self.violated(what);
        }
        self.account(host).applied.raise(origin, version);
    }

    /// The stored vector: what was logged, or what a snapshot brought.
    fn adopted(&mut self, host: usize, value: &[u8]) {
        match VersionVector::decode(value) {
            Ok(applied) => {
                if !applied.includes(&self.account(host).applied) {
                    self.violated(format!("host {host} forgets what it has applied"));
                }
                self.account(host).applied.merge(&applied);
            }
            Err(error) => {
                self.violated(format!("host {host} stores a vector that is none: {error}"))
            }
        }
    }

    /// A message leaves a host: nothing of a log may that is not fsynced there (rule 1), and a dot
    /// names one write for ever.
    pub(crate) fn sent(&mut self, host: usize, message: &PeerMessage) {
        let PeerMessage::Log(batch) = message else { return };
        let synced = self.account(host).synced.get(batch.origin);
        for (version, bytes) in (batch.first..).zip(&batch.transactions) {
            if version > synced {
                let what = format!(
                    "host {host} ships {} version {version}, and has fsynced {synced}",
                    batch.origin
                );
                self.violated(what);
            }
            let Ok(transaction) = Transaction::decode(bytes) else { continue };
            let content = fingerprint(&transaction);
            let first = *self.shipped.entry((batch.origin, version)).or_insert(content);
            if first != content {
                let what = format!("{} version {version} names two transactions", batch.origin);
                self.violated(what);
            }
        }
    }
}
