//! The leases: this region's own, those taken over, and giving them back (rules 4 and 7).

use std::sync::Arc;

use rhumb_regions::LeaseHolder;
use rhumb_types::{
    RegionId, Timestamp,
    control::{
        AdminState, ControlView, FailoverKind, FailoverPlan, FailoverRecord, FailoverState,
        FailoverStep, RegionLease, StepState,
    },
};

use crate::status::Phase;

use super::{
    Leases, Overseer, OverseerEffect, OverseerEffects, Tenure, opening::Open, proposals::Purpose,
    words::is_held_by,
};

impl Overseer {
    /// Renews, acquires, takes over and gives up what the agreed state calls for.
    pub(super) fn keep_leases(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        if !self.live || !self.agreed_own().is_some_and(|own| own.role.holds_data()) {
            return;
        }
        let view = self.view.clone();
        for (region, lease) in &view.leases {
            let mine = *region == self.config.region || is_held_by(lease, self.config.node);
            if mine || self.holders.contains_key(region) {
                self.keep_lease(now, &view, region, lease, out);
            }
            if self.is_my_turn(&view, region) {
                self.take_over(now, region, lease, out);
            }
        }
        self.holders.retain(|region, _| view.leases.contains_key(region));
        self.publish_leases(now, out);
    }

    fn keep_lease(
        &mut self,
        now: Timestamp,
        view: &ControlView,
        region: &RegionId,
        lease: &RegionLease,
        out: &mut OverseerEffects,
    ) {
        // A disk that failed stays so until the next start; nothing can be owned without one.
        let failed = self.status.phase == Phase::Failed;
        let release =
            self.must_release(view, region) || (failed && !self.given_up.contains(region));
        let holder = self.holder(region);
        holder.observe(lease);
        if release {
            if let Some(command) = holder.release(lease) {
                let purpose = Purpose::Release(region.clone());
                let reason = if failed { "its disk failed" } else { "its duties move" };
                self.propose(now, purpose, reason, command, out);
            }
            return;
        }
        let held = is_held_by(lease, self.config.node);
        let wanted =
            if held { self.in_good_standing(view) } else { self.may_acquire(view, region) };
        if !wanted || !self.serves() || self.is_busy(now, region) {
            return;
        }
        if let Some((command, attempt)) = self.holder(region).propose(now.mono, lease) {
            let purpose = Purpose::Lease(region.clone(), attempt);
            if !self.propose(now, purpose, "it owns what is here", command, out) {
                self.holder(region).on_not_granted(attempt);
            }
        }
    }

    fn take_over(
        &mut self,
        now: Timestamp,
        region: &RegionId,
        lease: &RegionLease,
        out: &mut OverseerEffects,
    ) {
        let waited_out = self.watch.may_take_over(now.mono, region, lease);
        let held = is_held_by(lease, self.config.node);
        if held || !waited_out || !self.serves() || self.is_busy(now, region) {
            return;
        }
        let (command, attempt) = self.holder(region).take_over(now.mono, lease);
        let purpose = Purpose::Lease(region.clone(), attempt);
        if !self.propose(now, purpose, "it takes the duties over", command, out) {
            self.holder(region).on_not_granted(attempt);
        }
    }

    /// Whether something about a lease is under way, or was refused a moment ago.
    fn is_busy(&self, now: Timestamp, region: &RegionId) -> bool {
        self.proposals.has_lease(region)
            || self.lease_after.get(region).is_some_and(|after| now.mono < *after)
    }

    pub(super) fn holder(&mut self, region: &RegionId) -> &mut LeaseHolder {
        let config = &self.config;
        self.holders.entry(region.clone()).or_insert_with(|| {
            let (lease, drift) = (config.health.lease, config.health.drift);
            LeaseHolder::new(config.node, region.clone(), lease, drift)
        })
    }

    /// Whether this region keeps what it holds: the group would refuse the renewal otherwise.
    fn in_good_standing(&self, view: &ControlView) -> bool {
        let own = view.regions.get(&self.config.region);
        own.is_some_and(|own| own.verdict.is_none() && own.state != AdminState::Disabled)
    }

    /// Whether this node may ask for a free lease: its own region's, when nobody else is about to
    /// take it.
    fn may_acquire(&self, view: &ControlView, region: &RegionId) -> bool {
        let own = view.regions.get(&self.config.region);
        let moving = moving(view, region).any(|record| successor(record) != Some(region));
        *region == self.config.region && own.is_some_and(|own| own.is_eligible()) && !moving
    }

    /// Whether this node must stop to act for a region: its own is disabled, or one that it took
    /// over is failed back.
    fn must_release(&self, view: &ControlView, region: &RegionId) -> bool {
        if *region == self.config.region {
            let own = view.regions.get(region);
            return own.is_some_and(|own| own.state == AdminState::Disabled);
        }
        moving(view, region).any(|record| successor(record) != Some(&self.config.region))
    }

    /// Whether a run-book waits for this region to take a lease.
    fn is_my_turn(&self, view: &ControlView, region: &RegionId) -> bool {
        let eligible = view.regions.get(&self.config.region).is_some_and(|own| own.is_eligible());
        let waits = |record: &FailoverRecord| {
            let last = record.steps.last();
            last.is_some_and(|line| {
                line.step == FailoverStep::TakeOver && line.state == StepState::Running
            })
        };
        let mut moving = moving(view, region);
        eligible && moving.any(|r| waits(r) && successor(r) == Some(&self.config.region))
    }

    /// Shows what this node may act on, when that changed.
    pub(super) fn publish_leases(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        let held = |(region, holder): (&RegionId, &LeaseHolder)| {
            let epoch = holder.may_act(now.mono)?;
            let until = now.mono + holder.remaining(now.mono);
            let seen_until = now.mono + holder.remaining_seen(now.mono);
            Some((region.clone(), epoch, (until, seen_until), holder.asked()?))
        };
        let held: Vec<_> = self.holders.iter().filter_map(held).collect();
        self.look_at_homes(now.mono);
        let mut leases = Leases::new();
        for (region, epoch, (until, seen_until), asked) in held {
            if let Some(Open { majority }) = self.opened(now.mono, &region, epoch, asked) {
                let homes = self.homes.placed(seen_until);
                leases.insert(region, Tenure { epoch, until, majority, homes });
            }
        }
        self.openings.retain(|region, _| self.holders.contains_key(region));
        self.tell_of_openings(now.mono, out);
        if *self.leases != leases {
            self.leases = Arc::new(leases);
            out.push(OverseerEffect::Leases(self.leases.clone()));
        }
    }
}

/// The open failovers of a region that are about to move its lease.
fn moving<'v>(
    view: &'v ControlView,
    region: &RegionId,
) -> impl Iterator<Item = &'v FailoverRecord> {
    let moves = |record: &&FailoverRecord| {
        let at = record.steps.last().map(|line| line.step);
        record.state == FailoverState::Running
            && matches!(at, Some(FailoverStep::Fence | FailoverStep::TakeOver))
    };
    let region = region.clone();
    view.open_failovers.iter().filter(move |record| record.plan.region == region).filter(moves)
}

/// Who takes the lease in a failover.
pub(super) const fn successor_of(plan: &FailoverPlan) -> Option<&RegionId> {
    match plan.kind {
        FailoverKind::FailBack => Some(&plan.region),
        FailoverKind::Failover | FailoverKind::Drain => plan.successor.as_ref(),
    }
}

const fn successor(record: &FailoverRecord) -> Option<&RegionId> {
    successor_of(&record.plan)
}
