//! From all regions to the candidates of one request: hard filters, health, levels and panic.

use rhumb_types::RegionId;
use smallvec::SmallVec;

use crate::{
    plan::{Exclusion, Reason, Reasons},
    policy::Levels,
    registry::{Capability, ResidencyTag},
    set::RegionSet,
    snapshot::RoutingSnapshot,
};

/// How much of a level's traffic its healthy part is trusted to carry more than its share: a
/// level is full until less than 1/1.4 (71 %) of it is healthy. Envoy's rule and default
/// ("Priority levels" in its load-balancing documentation).
pub const OVERPROVISIONING: f64 = 1.4;
/// When all levels together are healthy for less than this share, health is not believed.
pub const PANIC_BELOW: f64 = 0.5;

/// Why no region may serve a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No region lies in any of the jurisdictions.
    #[error("no region carries the residency tag `{0}`: add it to a region or drop the demand")]
    ResidencyUnknown(ResidencyTag),
    /// The regions that lie there are disabled, or hold no data.
    #[error("data that must stay in `{tag}` may go nowhere: {regions:?} cannot serve; enable one")]
    ResidencyUnavailable {
        /// The jurisdiction.
        tag: ResidencyTag,
        /// Its regions.
        regions: Vec<RegionId>,
    },
    /// Nothing that is allowed offers the capability by configuration.
    #[error("no allowed region offers `{0}`: add it to a region's capabilities")]
    CapabilityMissing(Capability),
    /// Every region that holds data is disabled.
    #[error("every region is disabled: enable one")]
    AllDisabled,
}

/// One level's part in the traffic.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct LevelShare {
    pub(crate) priority: u32,
    pub(crate) members: RegionSet,
    /// The share of this and all earlier levels.
    pub(crate) cumulative: f64,
}

/// What one request chooses from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    /// What policy allows, whatever the health and load.
    pub(crate) allowed: RegionSet,
    /// What new work may go to.
    pub(crate) candidates: RegionSet,
    /// What is not to be used; empty in a panic.
    pub(crate) down: RegionSet,
    pub(crate) panic: bool,
    pub(crate) levels: SmallVec<[LevelShare; 4]>,
    pub(crate) reasons: Reasons,
}

/// What a request demands of its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand<'a> {
    pub(crate) residency: &'a [ResidencyTag],
    pub(crate) needs: &'a [Capability],
}

impl Demand<'_> {
    pub(crate) const fn is_plain(&self) -> bool {
        self.residency.is_empty() && self.needs.is_empty()
    }
}

impl RoutingSnapshot {
    /// The pool of a request that demands something.
    pub(crate) fn pool_for(&self, demand: Demand<'_>, levels: Levels) -> Result<Pool, RouteError> {
        let mut allowed = self.data();
        let mut lost = RegionSet::EMPTY;
        let mut reasons = Reasons::new();
        if !demand.residency.is_empty() {
            let residents = self.residents_of_any(demand.residency)?;
            exclude(&mut reasons, allowed.without(residents), Exclusion::Residency);
            allowed = allowed.and(residents);
        }
        for capability in demand.needs {
            let offer = self.offer(capability);
            exclude(&mut reasons, allowed.without(offer.configured), Exclusion::Capability);
            allowed = allowed.and(offer.configured);
            if allowed.is_empty() {
                return Err(RouteError::CapabilityMissing(capability.clone()));
            }
            exclude(&mut reasons, allowed.and(offer.lost), Exclusion::CapabilityLost);
            lost = lost.or(offer.lost);
        }
        Ok(self.pool(allowed, lost, levels, reasons))
    }

    /// The regions in which data may lie that must stay in one of the jurisdictions.
    pub(crate) fn residents_of_any(&self, tags: &[ResidencyTag]) -> Result<RegionSet, RouteError> {
        let residents =
            tags.iter().map(|tag| self.residents(tag)).fold(RegionSet::EMPTY, RegionSet::or);
        if !residents.and(self.data()).is_empty() {
            return Ok(residents);
        }
        let carried = tags.iter().find(|tag| !self.residents(tag).is_empty());
        match (carried, tags.first()) {
            (Some(tag), _) => {
                let regions = self.residents(tag).iter().map(|at| self.id(at).clone()).collect();
                Err(RouteError::ResidencyUnavailable { tag: tag.clone(), regions })
            }
            (None, Some(tag)) => Err(RouteError::ResidencyUnknown(tag.clone())),
            (None, None) => Ok(self.sets.all),
        }
    }

    /// Health and load over what is allowed. Empty only when that is.
    pub(crate) fn pool(
        &self,
        allowed: RegionSet,
        lost: RegionSet,
        levels: Levels,
        mut reasons: Reasons,
    ) -> Pool {
        let sets = &self.sets;
        let down = sets.down.or(lost);
        exclude(&mut reasons, sets.disabled, Exclusion::Disabled);
        let draining = allowed.and(sets.draining);
        let mut active = allowed.without(draining);
        if active.without(down).is_empty() {
            relax(&mut reasons, draining, Exclusion::Draining);
            active = allowed;
        } else {
            exclude(&mut reasons, draining, Exclusion::Draining);
        }
        let (health, mut shares) = self.level_shares(active, down, levels);
        let panic = health < PANIC_BELOW;
        let down = if panic {
            reasons.push(Reason::Panic { down: active.and(down) });
            shares = self.level_shares(active, RegionSet::EMPTY, levels).1;
            RegionSet::EMPTY
        } else {
            exclude(&mut reasons, active.and(sets.down), Exclusion::Down);
            down
        };
        let up = active.without(down);
        let saturated = up.and(sets.saturated);
        let fresh = up.without(saturated);
        if fresh.is_empty() {
            relax(&mut reasons, saturated, Exclusion::Saturated);
        } else {
            exclude(&mut reasons, saturated, Exclusion::Saturated);
        }
        Pool { allowed, candidates: fresh.or_if_empty(up), down, panic, levels: shares, reasons }
    }

    /// How healthy all levels together are, 0 to 1, and how traffic is shared among them.
    fn level_shares(
        &self,
        active: RegionSet,
        down: RegionSet,
        levels: Levels,
    ) -> (f64, SmallVec<[LevelShare; 4]>) {
        let mut shares: SmallVec<[LevelShare; 4]> = SmallVec::new();
        let mut sum = 0.0;
        for (priority, members) in self.levels_for(levels) {
            let members = members.and(active);
            if !members.is_empty() {
                let health = self.health_of(members, down);
                sum += health;
                shares.push(LevelShare { priority, members, cumulative: health });
            }
        }
        let total = f64::min(sum, 1.0);
        let mut assigned = 0.0;
        for share in &mut shares {
            let carried = if total > 0.0 { share.cumulative / total } else { 0.0 };
            assigned = f64::min(assigned + carried, 1.0);
            share.cumulative = assigned;
        }
        (total, shares)
    }

    /// How much of its own traffic a level can carry, 0 to 1, by weight.
    fn health_of(&self, members: RegionSet, down: RegionSet) -> f64 {
        let weight = |set: RegionSet| set.iter().map(|at| self.entry(at).weight).sum::<f64>();
        let up = members.without(down);
        let healthy = if weight(members) > 0.0 {
            weight(up) / weight(members)
        } else if up.is_empty() {
            0.0
        } else {
            1.0
        };
        f64::min(healthy * OVERPROVISIONING, 1.0)
    }
}

fn exclude(reasons: &mut Reasons, regions: RegionSet, because: Exclusion) {
    if !regions.is_empty() {
        reasons.push(Reason::Excluded { regions, because });
    }
}

fn relax(reasons: &mut Reasons, regions: RegionSet, because: Exclusion) {
    if !regions.is_empty() {
        reasons.push(Reason::Relaxed { regions, because });
    }
}
