//! Where keys live, and who writes: what servers tell those who ask why.

use std::collections::BTreeSet;

use rhumb_node::Origins;
use rhumb_ports::store::{MetaName, StoreError};
use rhumb_regions::{Key, ResidencyTag};
use rhumb_types::{DomainId, Epoch, OriginId, RegionId, record::Record};

use super::RoutingError;
use crate::Engine;

/// Whose a key is, and who acts for that region now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seat {
    /// The key's home region: the same on every node with the same agreed state.
    pub home: RegionId,
    /// The region that holds the home's lease, as this node knows it.
    pub acting: Option<RegionId>,
    /// The lease's epoch, which every takeover raises.
    pub epoch: Option<Epoch>,
}

impl Engine {
    /// Whose a key is, and who acts for that region now.
    ///
    /// # Errors
    /// [`RoutingError`].
    pub fn seat(&self, key: &Key<'_>, residency: &[ResidencyTag]) -> Result<Seat, RoutingError> {
        let home = self.home(key, residency)?;
        let agreed = self.agreed().ok_or(RoutingError::Off)?;
        let view = agreed.borrow();
        let acting = view.acting_for(&home).cloned();
        let epoch = view.leases.get(&home).map(|lease| lease.epoch);
        Ok(Seat { home, acting, epoch })
    }

    /// The tags that a domain's regions carry and no other does, so that who asks for any of them
    /// asks for the domain's regions. None for the domain of every region.
    #[must_use]
    pub fn tags(&self, domain: DomainId) -> Vec<ResidencyTag> {
        let Some(snapshot) = self.routing().filter(|_| domain != DomainId::EVERYWHERE) else {
            return Vec::new();
        };
        let carriers: BTreeSet<RegionId> = self.carriers(domain).into_iter().collect();
        let tags_of = |carried: bool| -> BTreeSet<&ResidencyTag> {
            let regions = snapshot.regions().map(|(_, facts)| &facts.region);
            let regions = regions.filter(|region| carriers.contains(&region.id) == carried);
            regions.flat_map(|region| &region.residency).collect()
        };
        tags_of(true).difference(&tags_of(false)).map(|tag| (*tag).clone()).collect()
    }

    /// The region that writes an origin, as this node has learnt.
    ///
    /// # Errors
    /// [`StoreError`] when what it has learnt cannot be read.
    pub fn region_of(&self, origin: OriginId) -> Result<Option<RegionId>, StoreError> {
        let reader = self.reader();
        let Some(bytes) = reader.store().meta(&MetaName::Origins)? else { return Ok(None) };
        let origins = Origins::decode(&bytes)
            .map_err(|error| StoreError::Record { table: "meta", reason: error.to_string() })?;
        Ok(origins.region(origin).cloned())
    }
}
