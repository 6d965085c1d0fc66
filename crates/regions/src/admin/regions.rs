//! What is wanted of regions, and their removal.

use rhumb_types::{
    NodeId, OriginId, RegionId,
    control::{
        AdminOutcome, AdminRefusal, AdminRequest, AdminState, FailoverState,
        limits::CLOSED_ORIGINS_MAX,
    },
};

use super::{
    agreed::{Agreed, Answer},
    validate::limit,
};

impl Agreed {
    pub(super) fn set_region_state(
        &mut self,
        request: &AdminRequest,
        region: &RegionId,
        state: AdminState,
        expected: Option<AdminState>,
    ) -> Answer {
        let found = self.region(region)?.state;
        if found == state {
            return Ok(AdminOutcome::Unchanged);
        }
        if expected.is_some_and(|expected| expected != found) {
            return Err(AdminRefusal::StateChanged { found });
        }
        if state != AdminState::Active {
            self.keep_one_without(region)?;
        }
        let status = self.region_mut(region)?;
        status.state = state;
        status.reason.clone_from(&request.reason);
        status.actor.clone_from(&request.actor);
        status.since = request.at;
        Ok(AdminOutcome::Done)
    }

    pub(super) fn set_ramp(&mut self, region: &RegionId, percent: u8) -> Answer {
        let status = self.region_mut(region)?;
        if status.ramp_percent == percent {
            return Ok(AdminOutcome::Unchanged);
        }
        status.ramp_percent = percent;
        Ok(AdminOutcome::Done)
    }

    /// Removes a region for good. Its origins are closed at their last versions, so that vectors
    /// and retention need not wait for them, and its pinned work is free (rule 5).
    pub(super) fn remove_region(
        &mut self,
        region: &RegionId,
        origins: &[(OriginId, u64)],
    ) -> Answer {
        self.region(region)?;
        self.keep_one_without(region)?;
        self.keep_a_voter_without(|member| member.region == *region)?;
        let new = origins.iter().filter(|(id, _)| !self.closed_origins.contains_key(id)).count();
        if self.closed_origins.len() + new > CLOSED_ORIGINS_MAX {
            return Err(limit("closed origins", CLOSED_ORIGINS_MAX));
        }
        let members: Vec<NodeId> =
            self.members.values().filter(|m| m.region == *region).map(|m| m.node).collect();
        members.into_iter().for_each(|node| self.retire(node));
        if let Some(lease) = self.leases.remove(region) {
            self.epoch_floor = self.epoch_floor.max(lease.epoch);
        }
        self.regions.remove(region);
        self.announce_homes();
        self.forget_ballots(region);
        self.heads.remove(region);
        for record in self.failovers.values_mut().filter(|record| record.plan.region == *region) {
            if !record.state.is_closed() {
                record.state = FailoverState::Cancelled;
                record.sequence += 1;
            }
        }
        for (origin, version) in origins {
            let closed = self.closed_origins.entry(*origin).or_default();
            *closed = (*closed).max(*version);
        }
        Ok(AdminOutcome::Done)
    }
}
