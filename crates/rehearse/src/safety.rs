//! What clients were told is written: what a failure would expose, and what a reader must see.

use std::collections::{BTreeMap, VecDeque};

use rhumb_sim::check::Checker;
use rhumb_types::{OriginId, record::VersionVector};

use crate::time::Micros;

/// Most acknowledged writes of a host that are kept one by one while no other region has them; of
/// more, neighbours are counted together.
const EXPOSED_MAX: usize = 65_536;
/// Most keys whose newest writes are kept apart.
pub(crate) const KEYS_MAX: u64 = 1 << 20;

/// Versions of origins.
pub(crate) type Written = Vec<(OriginId, u64)>;

/// Writes that were acknowledged together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Group {
    origin: OriginId,
    /// The highest version.
    version: u64,
    /// When the first was acknowledged.
    since: Micros,
    writes: u64,
}

/// The acknowledged writes of each host that may be fsynced nowhere else.
#[derive(Debug)]
pub(crate) struct Exposure {
    hosts: Vec<VecDeque<Group>>,
}

impl Exposure {
    pub(crate) fn new(hosts: usize) -> Self {
        Self { hosts: vec![VecDeque::new(); hosts] }
    }

    /// A host has said yes to so many writes.
    pub(crate) fn acknowledged(
        &mut self,
        host: usize,
        written: &VersionVector,
        now: Micros,
        writes: u64,
    ) {
        let Some(groups) = self.hosts.get_mut(host) else { return };
        for (origin, version) in written.iter() {
            groups.push_back(Group { origin, version, since: now, writes });
        }
        if groups.len() > EXPOSED_MAX {
            halve(groups);
        }
    }

    /// Forgets what another host has fsynced too.
    pub(crate) fn settle(&mut self, checker: &Checker) {
        let hosts = self.hosts.len();
        for (host, groups) in self.hosts.iter_mut().enumerate() {
            let elsewhere = |origin| {
                let others = (0..hosts).filter(|other| *other != host);
                others.map(|other| checker.synced_of(other, origin)).max().unwrap_or(0)
            };
            let mut known = BTreeMap::new();
            groups.retain(|group| {
                let safe = *known.entry(group.origin).or_insert_with(|| elsewhere(group.origin));
                group.version > safe
            });
        }
    }

    /// How many writes only this host has, and how long ago the oldest was acknowledged.
    pub(crate) fn of(&self, host: usize, now: Micros) -> (u64, Micros) {
        let Some(groups) = self.hosts.get(host) else { return (0, 0) };
        let writes = groups.iter().map(|group| group.writes).sum();
        let oldest = groups.iter().map(|group| group.since).min();
        (writes, oldest.map_or(0, |since| now - since))
    }
}

/// Counts every two neighbours of an origin together.
fn halve(groups: &mut VecDeque<Group>) {
    let mut halved: VecDeque<Group> = VecDeque::with_capacity(groups.len() / 2 + 1);
    let mut merge = false;
    for group in groups.drain(..) {
        match halved.back_mut() {
            Some(last) if merge && last.origin == group.origin => {
                last.version = group.version;
                last.writes += group.writes;
                merge = false;
            }
            _ => {
                halved.push_back(group);
                merge = true;
            }
        }
    }
    *groups = halved;
}

/// The newest writes of each key that clients were told of.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    keys: BTreeMap<u64, Written>,
}

impl Freshness {
    /// A client was told that it has written a key.
    pub(crate) fn acknowledged(&mut self, key: u64, written: &Written) {
        let newest = self.keys.entry(key).or_default();
        for (origin, version) in written {
            match newest.iter_mut().find(|(known, _)| known == origin) {
                Some((_, known)) => *known = (*known).max(*version),
                None => newest.push((*origin, *version)),
            }
        }
    }

    /// What a read that begins now must see.
    pub(crate) fn needs(&self, key: u64) -> Written {
        self.keys.get(&key).cloned().unwrap_or_default()
    }
}

/// Whether a host shows less than a read must see.
pub(crate) fn is_stale(checker: &Checker, host: usize, needs: &Written) -> bool {
    needs.iter().any(|(origin, version)| !checker.has_applied(host, *origin, *version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(origin: u64, version: u64) -> VersionVector {
        [(OriginId(origin), version)].into_iter().collect()
    }

    #[test]
    fn what_nobody_else_has_is_exposed_since_it_was_acknowledged() {
        let mut exposure = Exposure::new(2);
        assert_eq!(exposure.of(0, 9), (0, 0));
        exposure.acknowledged(0, &written(1, 1), 100, 2);
        exposure.acknowledged(0, &written(1, 2), 300, 3);
        // Nobody has fsynced anything.
        exposure.settle(&Checker::default());
        assert_eq!(exposure.of(0, 1_000), (5, 900));
        assert_eq!(exposure.of(1, 1_000), (0, 0));
    }

    #[test]
    fn very_many_are_counted_together_and_none_is_forgotten() {
        let mut exposure = Exposure::new(1);
        let writes = 3 * EXPOSED_MAX as u64;
        for version in 1..=writes {
            exposure.acknowledged(0, &written(1, version), version, 1);
        }
        assert_eq!(exposure.of(0, writes), (writes, writes - 1));
        assert!(exposure.hosts[0].len() <= EXPOSED_MAX);
        assert_eq!(exposure.hosts[0].back().map(|group| group.version), Some(writes));
    }

    #[test]
    fn a_read_needs_the_newest_write_of_each_origin() {
        let mut freshness = Freshness::default();
        freshness.acknowledged(7, &vec![(OriginId(1), 5)]);
        freshness.acknowledged(7, &vec![(OriginId(2), 3)]);
        // Answers come in any order.
        freshness.acknowledged(7, &vec![(OriginId(1), 4)]);
        assert_eq!(freshness.needs(7), [(OriginId(1), 5), (OriginId(2), 3)]);
        assert_eq!(freshness.needs(8), []);
        assert!(is_stale(&Checker::default(), 0, &freshness.needs(7)));
        assert!(!is_stale(&Checker::default(), 0, &freshness.needs(8)));
    }
}
