//! Disks that forget what they confirmed, and for how long what rests on them is in doubt.
//!
//! While a disk lies, or will be taken back, it counts as none of those that hold what is written. It
//! counts again once it has all that others held when it forgot: from then on everything that was
//! confirmed with its help is there.

use std::collections::BTreeMap;

use rhumb_types::{DomainId, record::VersionVector};

use super::Checker;

/// Whose disk may not be believed.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    /// Hosts whose disk lies now, or will be taken back, and for how many reasons.
    lying: BTreeMap<usize, u32>,
    /// What hosts that forgot do not hold again yet.
    owed: BTreeMap<usize, VersionVector>,
    /// What of single domains others than its writer count on.
    needed: VersionVector,
}

impl Checker {
    /// The disk of a host lies from now on, or will be taken back to how it is now.
    pub(crate) fn lies(&mut self, host: usize) {
        *self.doubt.lying.entry(host).or_default() += 1;
    }

    /// It has lost what it lost, and lies no longer, unless for another reason.
    pub(crate) fn forgot(&mut self, host: usize) {
        let mut owed = VersionVector::new();
        let others = self.hosts.iter().filter(|(other, _)| **other != host);
        others.for_each(|(_, account)| owed.merge(&account.synced));
        let owed = owed.iter().filter(|(origin, _)| self.carried.carries(host, *origin));
        self.doubt.owed.insert(host, owed.collect());
        let reasons = self.doubt.lying.entry(host).or_default();
        *reasons = reasons.saturating_sub(1);
        self.doubt.lying.retain(|_, reasons| *reasons > 0);
    }

    /// Whether the disk of a host lies now, or will be taken back.
    pub(crate) fn is_lying(&self, host: usize) -> bool {
        self.doubt.lying.contains_key(&host)
    }

    /// A transaction is on another disk than its writer's: it counts on what it had seen.
    pub(super) fn counts_on(&mut self, deps: &VersionVector) {
        let divided = deps.iter().filter(|(origin, _)| origin.domain() != DomainId::EVERYWHERE);
        divided.for_each(|(origin, version)| self.doubt.needed.raise(origin, version));
    }

    /// Whether a disk forgot what belongs to one domain and was on no other, and a later transaction of
    /// another domain is where the first does not belong: who carries both waits for what nobody has.
    pub(crate) fn waits_for_nobody(&self) -> bool {
        let held = |origin| self.hosts.values().map(|it| it.synced.get(origin)).max().unwrap_or(0);
        self.doubt.needed.iter().any(|(origin, version)| held(origin) < version)
    }

    /// Whether what is confirmed now may rest on a disk that forgets.
    pub(crate) fn is_in_doubt(&mut self) -> bool {
        let hosts = &self.hosts;
        self.doubt.owed.retain(|host, owed| {
            !hosts.get(host).is_some_and(|account| account.synced.includes(owed))
        });
        !self.doubt.lying.is_empty() || !self.doubt.owed.is_empty()
    }
}
