//! Contradictions: settings that are well formed each, and cannot be meant together.

mod access;
mod cluster;
mod failover;
mod listeners;
mod objects;
pub(crate) mod probes;
mod queues;
mod runners;
mod ship;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use rhumb_regions::{Registry, health::HealthConfig};
use rhumb_types::{
    DomainId, RegionId,
    control::{AffinityRule, NamespacePolicy},
};

use crate::{Domain, Outside, Settings, fault::Fault, path::Path, read::Reading, timing, voters};

/// What the checks found out on the way.
pub(crate) struct Found {
    pub(crate) health: HealthConfig,
    pub(crate) voters: Vec<RegionId>,
    pub(crate) registry: Registry,
    pub(crate) rules: Vec<AffinityRule>,
    pub(crate) namespaces: Vec<NamespacePolicy>,
    pub(crate) domains: BTreeMap<DomainId, Domain>,
    pub(crate) notes: Vec<String>,
}

/// The outcome of the checks.
pub(crate) struct Checked {
    /// `None` when the regions themselves are wrong.
    pub(crate) found: Option<Found>,
    pub(crate) faults: Vec<Fault>,
}

/// The settings under review, and what was found wrong so far.
struct Review<'a> {
    reading: &'a Reading,
    health: HealthConfig,
    /// Every region that the file names, also those whose settings could not be read.
    named: BTreeSet<String>,
    faults: Vec<Fault>,
    notes: Vec<String>,
}

impl<'a> Review<'a> {
    const fn settings(&self) -> &'a Settings {
        &self.reading.settings
    }

    /// Notes a fault, unless the value was refused for its form already.
    fn refuse(&mut self, path: &Path, message: impl Into<String>) {
        if self.reading.faults.iter().any(|known| path.is_within(&known.path)) {
            return;
        }
        let place = self.reading.tree.place_of(path);
        self.faults.push(Fault { place, path: path.clone(), message: message.into() });
    }

    /// Whether the file says anything about a setting.
    fn is_given(&self, path: &Path) -> bool {
        self.reading.tree.find(path).is_some()
    }

    /// Notes a fault when a region that is referred to is not in the file.
    fn require_region(&mut self, path: &Path, region: &RegionId) -> bool {
        let known = self.named.contains(region.as_str());
        if !known {
            let all: Vec<&str> = self.named.iter().map(String::as_str).collect();
            let message = match rhumb_types::spelling::closest(region.as_str(), &all) {
                Some(near) => format!("there is no region `{region}`; did you mean `{near}`?"),
                None => format!("there is no region `{region}`; add it under `regions`"),
            };
            self.refuse(path, message);
        }
        known
    }
}

/// Compares the parts of a reading with each other.
pub(crate) fn check(reading: &Reading, outside: &Outside<'_>) -> Checked {
    let settings = &reading.settings;
    let voters = voters::voters(settings);
    let worst_election = (outside.worst_election)(voters::round_trip_max(settings, &voters));
    let health = timing::health(settings, worst_election);
    let named = names_of_regions(reading);
    let mut review = Review { reading, health, named, faults: Vec::new(), notes: Vec::new() };
    let registry = cluster::check(&mut review);
    failover::check(&mut review);
    probes::check(&mut review);
    listeners::check(&mut review);
    access::check(&mut review);
    objects::check(&mut review);
    queues::check(&mut review);
    runners::check(&mut review);
    ship::check(&mut review);
    let rules = cluster::rules(&mut review);
    let (namespaces, domains) = state::check(&mut review);
    let Review { faults, notes, health, .. } = review;
    let found = registry.map(|registry| Found {
        health,
        voters,
        registry,
        rules,
        namespaces,
        domains,
        notes,
    });
    Checked { found, faults }
}

fn names_of_regions(reading: &Reading) -> BTreeSet<String> {
    use crate::tree::Value;
    match reading.tree.find(&Path::to("regions")).map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|entry| entry.key.clone()).collect(),
        _ => BTreeSet::new(),
    }
}
