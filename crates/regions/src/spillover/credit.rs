//! Spare capacity that other regions advertised, and which workflows went where.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use rhumb_types::{MonoTime, RegionId};

/// How long an advertisement counts. A region that is silent has no spare capacity.
pub const CREDIT_LIFETIME: Duration = Duration::from_secs(10);
/// How many workflows are remembered; beyond this the oldest are forgotten.
pub const WORKFLOWS_MAX: usize = 65_536;

/// What belongs together and stays together, by a hash of its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Workflow(pub u64);

#[derive(Clone, Copy, Debug)]
struct Advert {
    left: u32,
    until: MonoTime,
}

/// What other regions can take on. A receiver's last word replaces its earlier ones, and must
/// count what it was sent in the meantime.
#[derive(Clone, Debug, Default)]
pub struct Credits(BTreeMap<RegionId, Advert>);

impl Credits {
    /// A region says how many jobs more it can take.
    pub fn advertise(&mut self, now: MonoTime, region: RegionId, jobs: u32) {
        self.0.retain(|_, advert| advert.until > now);
        self.0.insert(region, Advert { left: jobs, until: now + CREDIT_LIFETIME });
    }

    /// How many jobs more a region can take.
    #[must_use]
    pub fn left(&self, now: MonoTime, region: &RegionId) -> u32 {
        self.0.get(region).filter(|advert| advert.until > now).map_or(0, |advert| advert.left)
    }

    /// Whether a region has spoken lately.
    pub(super) fn is_advertised(&self, now: MonoTime, region: &RegionId) -> bool {
        self.0.get(region).is_some_and(|advert| advert.until > now)
    }

    /// Takes one credit, if there is one.
    pub(super) fn take(&mut self, now: MonoTime, region: &RegionId) -> bool {
        self.left(now, region) > 0 && {
            self.spend(now, region);
            true
        }
    }

    /// Uses up one credit, if there is one.
    pub(super) fn spend(&mut self, now: MonoTime, region: &RegionId) {
        if let Some(advert) = self.0.get_mut(region).filter(|advert| advert.until > now) {
            advert.left = advert.left.saturating_sub(1);
        }
    }
}

/// Which workflows went where; the oldest are forgotten first.
#[derive(Clone, Debug, Default)]
pub(super) struct Workflows {
    regions: BTreeMap<Workflow, RegionId>,
    order: VecDeque<Workflow>,
}

impl Workflows {
    pub(super) fn get(&self, workflow: Workflow) -> Option<&RegionId> {
        self.regions.get(&workflow)
    }

    pub(super) fn insert(&mut self, workflow: Workflow, region: RegionId) {
        if self.regions.insert(workflow, region).is_none() {
            self.order.push_back(workflow);
        }
        while self.order.len() > WORKFLOWS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.regions.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_workflows_are_forgotten() {
        let region = RegionId::new("a").unwrap();
        let mut workflows = Workflows::default();
        for n in 0..=WORKFLOWS_MAX as u64 {
            workflows.insert(Workflow(n), region.clone());
        }
        assert_eq!(workflows.get(Workflow(0)), None);
        assert_eq!(workflows.get(Workflow(1)), Some(&region));
        assert_eq!(workflows.regions.len(), workflows.order.len());
    }
}
