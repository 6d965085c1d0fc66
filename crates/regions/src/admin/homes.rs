//! Which regions are homes: every change of the members is announced first and settled later.
//!
//! Nobody decides for a key whose home differs between what is in force and what is announced, once it
//! has seen the announcement. Whoever has not seen it decides under a lease that was renewed before it
//! was agreed, because a renewal counts for that only where it is seen among what is agreed. So a lease
//! later nobody decides by what was before, and the change is settled. While one is under way the members
//! may change again; that is announced as soon as this one is settled.

use std::collections::BTreeSet;

use rhumb_types::{
    RegionId,
    control::{AdminOutcome, AdminRefusal},
    planted::{self, Planted},
};

use super::agreed::{Agreed, Answer};

impl Agreed {
    /// Announces the regions that hold data now as homes, if others are in force and nothing is
    /// announced.
    pub(super) fn announce_homes(&mut self) {
        let holds = self.regions.iter().filter(|(_, status)| !status.witness);
        let wanted: BTreeSet<RegionId> = holds.map(|(region, _)| region.clone()).collect();
        // Before the first ones nobody decides, so that they may change until they are in force.
        let first = self.homes.since == 0;
        if self.homes.regions == wanted || self.homes.announced.is_some() && !first {
            return;
        }
        if self.homes.announced.as_ref() != Some(&wanted) {
            self.homes.version += 1;
            self.homes.announced = Some(wanted);
        }
        if planted::is(Planted::MoveHomesAtOnce) {
            self.put_in_force();
        }
    }

    pub(super) fn settle_homes(&mut self, version: u64) -> Answer {
        if self.homes.version != version {
            return Err(AdminRefusal::VersionChanged { found: self.homes.version });
        }
        if self.homes.announced.is_none() {
            return Ok(AdminOutcome::Unchanged);
        }
        self.put_in_force();
        self.announce_homes();
        Ok(AdminOutcome::Done)
    }

    fn put_in_force(&mut self) {
        let Some(announced) = self.homes.announced.take() else { return };
        self.homes.version += 1;
        self.homes.since = self.homes.version;
        self.homes.before = std::mem::replace(&mut self.homes.regions, announced);
    }
}
