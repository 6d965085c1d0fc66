//! The homes of keys on which all regions must agree, as they move (rule 10, ADR 0012).
//!
//! Members that join or leave are announced as homes first. The node that leads waits until whoever has
//! not seen the announcement has lost its leases, and has the change put in force. Whoever sees that
//! then decides by the new homes, once it holds what a majority of the old ones and a majority of
//! all regions had fsynced by then: as after a takeover of a lease (rule 6).

use rhumb_regions::lease::Placed;
use rhumb_types::{
    MonoTime, Timestamp,
    control::AdminCommand,
    planted::{self, Planted},
};

use super::{Overseer, OverseerEffects, opening::Hearing, proposals::Purpose};
use crate::limits::FORM_WAIT;

/// The homes as this node has seen them.
#[derive(Debug, Default)]
pub(super) struct HomesWatch {
    version: u64,
    /// When this version was seen first.
    seen: MonoTime,
    /// The version with which those came in force that are.
    in_force: u64,
    /// What was said after that was seen.
    hearing: Hearing,
    /// Whether what was decided by those before them is known here.
    known: bool,
}

impl HomesWatch {
    pub(super) const fn are_known(&self) -> bool {
        self.known || self.in_force == 0
    }

    /// The homes by which this node may decide under a lease that is seen to last until a time.
    pub(super) fn placed(&self, until: MonoTime) -> Option<Placed> {
        self.known.then_some(Placed { version: self.version, until })
    }
}

impl Overseer {
    /// The homes as they are agreed now.
    pub(super) fn follow_homes(&mut self, now: Timestamp) {
        let homes = &self.view.homes;
        if homes.version != self.homes.version {
            (self.homes.version, self.homes.seen) = (homes.version, now.mono);
        }
        if homes.since != self.homes.in_force {
            self.homes.in_force = homes.since;
            self.homes.hearing = Hearing::since(now.mono);
            self.homes.known = false;
        }
    }

    /// Has an announced change put in force, once nobody decides by what is in force now.
    pub(super) fn settle_homes(&mut self, now: Timestamp, out: &mut OverseerEffects) {
        let homes = &self.view.homes;
        // Nobody decides before the first ones; whoever forms the cluster joins in the meantime.
        let wait = if homes.since == 0 { FORM_WAIT } else { homes.wait() };
        let wait = self.config.health.drift.stretch(wait);
        let waited = now.mono.saturating_since(self.homes.seen) >= wait;
        if homes.announced.is_none() || !waited || !self.leads() {
            return;
        }
        let version = homes.version;
        let command = AdminCommand::SettleHomes { version };
        let reason = "who has not seen the announcement has lost its leases";
        self.propose(now, Purpose::Homes(version), reason, command, out);
    }

    /// Looks whether all is known that was decided by the homes before those in force.
    pub(super) fn look_at_homes(&mut self, now: MonoTime) {
        if self.homes.are_known() {
            return;
        }
        let mut hearing = std::mem::take(&mut self.homes.hearing);
        self.hear(&mut hearing);
        let members = &self.view.regions;
        let before = self.view.homes.before.iter().filter(|region| members.contains_key(*region));
        self.homes.known = planted::is(Planted::MoveHomesAtOnce)
            || self.waits_for(now, &hearing).is_none()
                && self.has_majority(&hearing, before)
                && self.has_majority(&hearing, self.data_regions());
        self.homes.hearing = hearing;
    }
}
