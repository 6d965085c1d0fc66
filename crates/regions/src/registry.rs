//! The regions of a cluster, as its configuration names them.
//!
//! A [`Registry`] is checked once, when it is built: afterwards every region in it is known to be
//! well formed, names are unique, and the order is by name, so that the position of a region is
//! the same on every node that has the same configuration.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use rhumb_types::{RegionId, text_id};
use serde::{Deserialize, Serialize};

use crate::locations::{self, Location};

/// Most regions of one cluster, witnesses included: a set of regions is one 64-bit word.
pub const REGIONS_MAX: usize = 64;
/// Longest residency tag or capability name, in bytes.
pub const TAG_BYTES_MAX: usize = 63;
/// Largest weight of a region. Weights are relative, and sums of them stay exact.
pub const WEIGHT_MAX: u32 = 1_000_000;

macro_rules! tag {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a name: 1 to 63 bytes of a-z, 0-9, `-`, `_`, `.` and `:`.
            ///
            /// # Errors
            /// When the text is something else.
            pub fn new(name: &str) -> Result<Self, TagError> {
                check_tag(name).map(|()| Self(name.into()))
            }
        }

        text_id!($name, TagError);
    };
}

tag!(
    /// A jurisdiction in which data may have to stay, such as `eu` or `sg`.
    ResidencyTag
);
tag!(
    /// A part of the service that a region offers and may lose alone, such as `queue`, `objects`
    /// or a part that the user named.
    Capability
);

/// Why a text is neither a residency tag nor a capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a tag: use 1 to 63 of a-z, 0-9, `-`, `_`, `.` and `:`")]
pub struct TagError(String);

fn check_tag(name: &str) -> Result<(), TagError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.:".contains(&b);
    if !name.is_empty() && name.len() <= TAG_BYTES_MAX && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(TagError(name.to_owned()))
    }
}

/// A data rate in megabits (10^6 bits) per second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mbps(pub u32);

/// What a region can do at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capacity {
    /// Uploads in flight.
    pub concurrent_uploads: u32,
    /// Network rate.
    pub bandwidth: Mbps,
    /// Jobs that run at the same time.
    pub jobs: u32,
    /// Requests in flight.
    pub requests: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { concurrent_uploads: 10, bandwidth: Mbps(1_000), jobs: 100, requests: 10_000 }
    }
}

/// How a region is checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheck {
    /// Whether it is checked at all.
    pub enabled: bool,
    /// From one check to the next.
    pub interval: Duration,
    /// After how long a check without an answer has failed.
    pub timeout: Duration,
    /// Failures in a row that make it down.
    pub failure_threshold: u32,
    /// Successes in a row that make it up again.
    pub success_threshold: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            failure_threshold: 3,
            success_threshold: 2,
        }
    }
}

/// One region, as configured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Region {
    /// Its name.
    pub id: RegionId,
    /// Where its node listens for peers, as `host:port`.
    pub address: String,
    /// Where it is. `None` for a region that is not among the well-known ones and was given no
    /// coordinates; such a region comes last by distance.
    pub location: Option<Location>,
    /// Its priority level; 1 is used first.
    pub priority: u32,
    /// Its share of keys and traffic, relative to the other weights; 0 to [`WEIGHT_MAX`]. With 0
    /// it is used only when nothing else is left.
    pub weight: u32,
    /// What it can do at once.
    pub capacity: Capacity,
    /// The jurisdictions in which it lies.
    pub residency: BTreeSet<ResidencyTag>,
    /// What it offers. Empty means everything that the cluster offers.
    pub capabilities: BTreeSet<Capability>,
    /// Whether it only votes, and is never routed to.
    pub witness: bool,
    /// How it is checked.
    pub health_check: HealthCheck,
}

impl Region {
    /// A region with the defaults, placed from the table of well-known regions if its name is in
    /// it.
    #[must_use]
    pub fn new(id: RegionId, address: impl Into<String>) -> Self {
        Self {
            location: locations::well_known(id.as_str()).map(|known| known.location),
            id,
            address: address.into(),
            priority: 1,
            weight: 1,
            capacity: Capacity::default(),
            residency: BTreeSet::new(),
            capabilities: BTreeSet::new(),
            witness: false,
            health_check: HealthCheck::default(),
        }
    }

    /// Whether it offers a capability by configuration.
    #[must_use]
    pub fn offers(&self, capability: &Capability) -> bool {
        self.capabilities.is_empty() || self.capabilities.contains(capability)
    }
}

/// What is wrong with one part of a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryFault {
    /// No region that holds data.
    #[error("no region that holds data is configured: add at least one")]
    Empty,
    /// More than a set of regions can hold.
    #[error("{0} regions are configured; at most {REGIONS_MAX} are allowed")]
    TooMany(usize),
    /// The same name twice.
    #[error("region `{0}` is configured twice")]
    Duplicate(RegionId),
    /// The primary region is not there.
    #[error("the primary region `{0}` is not configured")]
    PrimaryUnknown(RegionId),
    /// The primary region cannot hold data.
    #[error("the primary region `{0}` is a witness: choose a region that holds data")]
    PrimaryIsWitness(RegionId),
    /// An address is missing.
    #[error("region `{0}` has no address: use `host:port`")]
    AddressMissing(RegionId),
    /// A weight above the bound.
    #[error("region `{region}` has weight {weight}; at most {WEIGHT_MAX} is allowed")]
    Weight {
        /// Whose.
        region: RegionId,
        /// How much.
        weight: u32,
    },
    /// Every region has weight 0.
    #[error("every region that holds data has weight 0: give at least one a weight")]
    Weightless,
    /// A priority of 0.
    #[error("region `{0}` has priority 0: 1 is the first level")]
    Priority(RegionId),
}

/// Everything that is wrong with a registry, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryError(pub Vec<RegistryFault>);

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if nth == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for RegistryError {}

/// The regions of a cluster, by name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Registry {
    regions: Vec<Region>,
    primary: RegionId,
}

impl Registry {
    /// Checks the regions. Without a `primary`, it is the data region of the first level whose
    /// name comes first.
    ///
    /// # Errors
    /// All faults together.
    pub fn new(mut regions: Vec<Region>, primary: Option<RegionId>) -> Result<Self, RegistryError> {
        regions.sort_by(|a, b| a.id.cmp(&b.id));
        let mut faults = faults_of(&regions.iter().collect::<Vec<_>>());
        let first = regions.iter().filter(|r| !r.witness).min_by_key(|r| r.priority);
        if let Some(named) = &primary {
            match regions.iter().find(|r| r.id == *named) {
                None => faults.push(RegistryFault::PrimaryUnknown(named.clone())),
                Some(region) if region.witness => {
                    faults.push(RegistryFault::PrimaryIsWitness(named.clone()));
                }
                Some(_) => {}
            }
        }
        match primary.or_else(|| first.map(|r| r.id.clone())) {
            Some(primary) if faults.is_empty() => Ok(Self { regions, primary }),
            _ => Err(RegistryError(faults)),
        }
    }

    /// All regions, by name, witnesses included.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The regions that hold data, by name.
    pub fn data_regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter().filter(|r| !r.witness)
    }

    /// A region by its name.
    #[must_use]
    pub fn get(&self, id: &RegionId) -> Option<&Region> {
        let at = self.regions.binary_search_by(|r| r.id.cmp(id)).ok()?;
        self.regions.get(at)
    }

    /// The primary region.
    #[must_use]
    pub const fn primary(&self) -> &RegionId {
        &self.primary
    }
}

/// Checks regions that are sorted by name.
pub(crate) fn check<'a>(sorted: impl Iterator<Item = &'a Region>) -> Result<(), RegistryError> {
    let faults = faults_of(&sorted.collect::<Vec<_>>());
    if faults.is_empty() { Ok(()) } else { Err(RegistryError(faults)) }
}

fn faults_of(sorted: &[&Region]) -> Vec<RegistryFault> {
    let mut faults = Vec::new();
    if sorted.iter().all(|r| r.witness) {
        faults.push(RegistryFault::Empty);
    } else if sorted.iter().all(|r| r.witness || r.weight == 0) {
        faults.push(RegistryFault::Weightless);
    }
    if sorted.len() > REGIONS_MAX {
        faults.push(RegistryFault::TooMany(sorted.len()));
    }
    for (region, next) in sorted.iter().zip(sorted.iter().skip(1)) {
        if region.id == next.id {
            faults.push(RegistryFault::Duplicate(region.id.clone()));
        }
    }
    for region in sorted {
        let id = || region.id.clone();
        if region.address.is_empty() {
            faults.push(RegistryFault::AddressMissing(id()));
        }
        if region.weight > WEIGHT_MAX {
            faults.push(RegistryFault::Weight { region: id(), weight: region.weight });
        }
        if region.priority == 0 {
            faults.push(RegistryFault::Priority(id()));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        Region::new(RegionId::new(name).unwrap(), format!("{name}.test:7401"))
    }

    #[test]
    fn reports_all_faults_together() {
        let mut heavy = region("b");
        heavy.weight = WEIGHT_MAX + 1;
        heavy.priority = 0;
        heavy.address.clear();
        let missing = RegionId::new("x").unwrap();
        let refused = Registry::new(vec![region("a"), region("a"), heavy], Some(missing.clone()));
        let b = RegionId::new("b").unwrap();
        assert_eq!(
            refused.unwrap_err().0,
            vec![
                RegistryFault::Duplicate(RegionId::new("a").unwrap()),
                RegistryFault::AddressMissing(b.clone()),
                RegistryFault::Weight { region: b.clone(), weight: WEIGHT_MAX + 1 },
                RegistryFault::Priority(b),
                RegistryFault::PrimaryUnknown(missing),
            ]
        );
    }

    #[test]
    fn a_cluster_of_witnesses_is_refused() {
        let mut witness = region("a");
        witness.witness = true;
        let refused = Registry::new(vec![witness], None).unwrap_err();
        assert_eq!(refused.0, vec![RegistryFault::Empty]);
    }

    #[test]
    fn the_primary_is_of_the_first_level_and_regions_are_found_by_name() {
        let mut second = region("a");
        second.priority = 2;
        let registry = Registry::new(vec![region("c"), second, region("b")], None).unwrap();
        assert_eq!(registry.primary().as_str(), "b");
        assert_eq!(registry.get(&RegionId::new("c").unwrap()).unwrap().id.as_str(), "c");
        assert!(registry.get(&RegionId::new("d").unwrap()).is_none());
    }

    #[test]
    fn well_known_regions_come_with_their_place() {
        assert!(region("eu-west-1").location.is_some());
        assert!(region("moon-1").location.is_none());
    }
}
