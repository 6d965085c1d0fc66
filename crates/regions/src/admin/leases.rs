//! Region leases as numbers (rule 7).
//!
//! At most one tenure of a lease is current: its epoch. An acquisition or a takeover names the
//! tenure that it follows, and a takeover also the renewal that it waited out; a renewal names
//! itself. Whatever is late or repeated names numbers that are gone, and is refused.

use rhumb_types::{
    Epoch, NodeId, RegionId,
    control::{AdminCommand, AdminOutcome, AdminRefusal, AdminState, LeaseParty, RegionLease},
    planted::{self, Planted},
};

use super::agreed::{Agreed, Answer};

/// What a takeover claims to have waited out.
#[derive(Clone, Copy)]
struct WaitedOut {
    epoch: Epoch,
    renewal: u64,
}

impl Agreed {
    pub(super) fn execute_lease(&mut self, command: &AdminCommand) -> Answer {
        use AdminCommand as C;
        match command {
            C::AcquireLease { region, node, epoch, duration_ms } => {
                self.acquire(region, *node, *epoch, *duration_ms)
            }
            C::RenewLease { region, node, epoch, renewal } => {
                self.renew(region, *node, *epoch, *renewal)
            }
            C::TakeOverLease { region, node, epoch, renewal, duration_ms } => {
                let seen = WaitedOut { epoch: *epoch, renewal: *renewal };
                self.take_over(region, *node, seen, *duration_ms)
            }
            C::ReleaseLease { region, node, epoch } => self.release(region, *node, *epoch),
            _ => Err(AdminRefusal::NotFound("lease command".to_owned())),
        }
    }

    fn acquire(&mut self, region: &RegionId, node: NodeId, epoch: Epoch, ms: u64) -> Answer {
        let lease = self.lease(region)?;
        if lease.epoch != epoch || lease.holder.is_some() || stays_free(lease) {
            return Err(AdminRefusal::LeaseChanged(lease.clone()));
        }
        let party = self.candidate(node)?;
        if party.region != *region {
            return Err(AdminRefusal::NotEligible(party.region));
        }
        self.begin_tenure(region, party, ms)
    }

    fn renew(&mut self, region: &RegionId, node: NodeId, epoch: Epoch, renewal: u64) -> Answer {
        let lease = self.lease(region)?;
        let Some(holder) = lease.holder.as_ref().filter(|holder| holder.node == node) else {
            return Err(AdminRefusal::LeaseChanged(lease.clone()));
        };
        let next = lease.renewal.saturating_add(1);
        if (epoch, renewal) != (lease.epoch, next) {
            return Err(AdminRefusal::LeaseChanged(lease.clone()));
        }
        if !self.in_good_standing(holder) {
            return Err(AdminRefusal::NotEligible(holder.region.clone()));
        }
        let lease = self.lease_mut(region)?;
        lease.renewal = renewal;
        Ok(AdminOutcome::Lease(lease.clone()))
    }

    fn take_over(&mut self, region: &RegionId, node: NodeId, seen: WaitedOut, ms: u64) -> Answer {
        let lease = self.lease(region)?;
        let renewed = lease.renewal != seen.renewal && !planted::is(Planted::IgnoreRenewals);
        if lease.epoch != seen.epoch || renewed {
            return Err(AdminRefusal::LeaseChanged(lease.clone()));
        }
        let party = self.candidate(node)?;
        let protected = match &lease.holder {
            None if stays_free(lease) => true,
            Some(holder) => self.in_good_standing(holder),
            // A free lease is its own region's, as long as that may hold it.
            None => party.region != *region && self.region(region)?.is_eligible(),
        };
        if protected {
            return Err(AdminRefusal::HolderInGoodStanding(region.clone()));
        }
        self.begin_tenure(region, party, ms)
    }

    fn release(&mut self, region: &RegionId, node: NodeId, epoch: Epoch) -> Answer {
        let lease = self.lease_mut(region)?;
        let held = lease.holder.as_ref().is_some_and(|holder| holder.node == node);
        if !held || lease.epoch != epoch {
            return Err(AdminRefusal::LeaseChanged(lease.clone()));
        }
        lease.holder = None;
        Ok(AdminOutcome::Lease(lease.clone()))
    }

    fn begin_tenure(&mut self, region: &RegionId, holder: LeaseParty, duration_ms: u64) -> Answer {
        let lease = self.lease_mut(region)?;
        let epoch = lease.epoch.next();
        *lease = RegionLease { epoch, renewal: 0, duration_ms, holder: Some(holder) };
        let begun = lease.clone();
        self.homes.lease_ms_max = self.homes.lease_ms_max.max(duration_ms);
        Ok(AdminOutcome::Lease(begun))
    }

    /// A member with data in a region that may be given duties.
    fn candidate(&self, node: NodeId) -> Result<LeaseParty, AdminRefusal> {
        let member = self.member(node)?;
        let region = member.region.clone();
        if !member.role.holds_data() || !self.region(&region)?.is_eligible() {
            return Err(AdminRefusal::NotEligible(region));
        }
        Ok(LeaseParty { node, region })
    }

    /// Whether a holder keeps its lease: still a member, no verdict on its region, not disabled. A
    /// draining region keeps what it has until it gives it up.
    fn in_good_standing(&self, holder: &LeaseParty) -> bool {
        let member = self.members.contains_key(&holder.node);
        let region = self.regions.get(&holder.region);
        member
            && region.is_some_and(|status| {
                status.verdict.is_none() && status.state != AdminState::Disabled
            })
    }

    fn lease(&self, region: &RegionId) -> Result<&RegionLease, AdminRefusal> {
        self.leases.get(region).ok_or_else(|| AdminRefusal::UnknownRegion(region.clone()))
    }

    fn lease_mut(&mut self, region: &RegionId) -> Result<&mut RegionLease, AdminRefusal> {
        self.leases.get_mut(region).ok_or_else(|| AdminRefusal::UnknownRegion(region.clone()))
    }
}

/// Whether nobody is let have a lease that was given up; only where that fault is planted.
fn stays_free(lease: &RegionLease) -> bool {
    planted::is(Planted::KeepFree) && lease.epoch != Epoch::default()
}
