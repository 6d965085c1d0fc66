//! Who acts for the regions whose jobs are asked for, as far as this node knows.

use rhumb_queue::Refused;
use rhumb_regions::Health;
use rhumb_types::RegionId;

use super::client::QueueClient;

/// Who acts for a home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    Here,
    There(RegionId),
    /// Nobody that looks well from here.
    Nobody,
}

impl QueueClient {
    /// Who acts for a home, as far as this node knows.
    pub(super) fn owner(&self, home: &RegionId) -> Owner {
        let engine = self.engine();
        if engine.may_act(home).is_some() {
            return Owner::Here;
        }
        let Some(agreed) = engine.agreed() else { return Owner::Nobody };
        let acting = agreed.borrow().acting_for(home).cloned();
        match acting {
            Some(region) if region == *self.region() => Owner::Here,
            Some(region) if !self.looks_down(&region) => Owner::There(region),
            _ => Owner::Nobody,
        }
    }

    fn looks_down(&self, region: &RegionId) -> bool {
        let Some(snapshot) = self.engine().routing() else { return true };
        let at = snapshot.index(region);
        at.is_none_or(|at| snapshot.region(at).health == Health::Down)
    }

    /// The regions that act for any home, this one first.
    ///
    /// # Errors
    /// When nobody acts for one of them, or who does cannot be reached.
    pub(super) fn owners(&self) -> Result<Vec<RegionId>, Refused> {
        let mut owners = vec![self.region().clone()];
        for home in self.data_regions() {
            match self.owner(&home) {
                Owner::Here => {}
                Owner::There(region) if owners.contains(&region) => {}
                Owner::There(region) => owners.push(region),
                Owner::Nobody => {
                    let why = format!("nobody who acts for {home} can be reached");
                    return Err(Refused::Unavailable(why.into()));
                }
            }
        }
        Ok(owners)
    }

    /// The regions that hold data.
    pub(super) fn data_regions(&self) -> Vec<RegionId> {
        let Some(snapshot) = self.engine().routing() else { return Vec::new() };
        let regions = snapshot.regions().map(|(_, facts)| &facts.region);
        regions.filter(|region| !region.witness).map(|region| region.id.clone()).collect()
    }
}
