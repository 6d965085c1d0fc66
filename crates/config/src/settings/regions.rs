//! One region.

use std::collections::BTreeSet;

use rhumb_regions::registry::{Capability, Capacity, ResidencyTag};
use rhumb_types::RegionId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ListenersSettings, ObjectsSettings, SpilloverSettings};
use crate::units::{Period, Rate};

/// One region.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegionSettings {
    /// Where the other nodes reach its node, as `host:port`.
    pub address: String,
    /// Its priority level; 1 is used first.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub priority: u32,
    /// Its share of keys and traffic, relative to the other weights. 0: only when nothing else is
    /// left.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
    /// Where it is. Known for the regions of AWS, Google Cloud and Azure by their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationSettings>,
    /// What it can do at once.
    #[serde(default, skip_serializing_if = "CapacitySettings::is_default")]
    pub capacity: CapacitySettings,
    /// The jurisdictions in which it lies, such as `eu` or `sg`.
    #[serde(default)]
    #[schemars(with = "BTreeSet<String>")]
    pub residency: BTreeSet<ResidencyTag>,
    /// The parts of the service that it offers. Without any: all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(with = "BTreeSet<String>")]
    pub capabilities: BTreeSet<Capability>,
    /// Whether its node only votes, and holds no data.
    #[serde(default)]
    pub witness: bool,
    /// When new work leaves this region; replaces `spillover`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spillover: Option<SpilloverSettings>,
    /// Where this region keeps the bytes of objects; replaces `objects`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectsSettings>,
    /// What listens in this region only; replaces the server of the same name under `listeners`.
    #[serde(default)]
    pub listeners: ListenersSettings,
}

const fn one() -> u32 {
    1
}

// What a region does not say is not written either: a witness, for one, must not say it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
const fn is_one(number: &u32) -> bool {
    *number == 1
}

/// A place on the globe, in degrees.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocationSettings {
    /// North is positive; -90 to 90.
    pub latitude: f64,
    /// East is positive; -180 to 180.
    pub longitude: f64,
}

/// How long a packet takes between two regions and back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoundTripSettings {
    /// The two regions.
    #[schemars(with = "[String; 2]")]
    pub between: [RegionId; 2],
    /// There and back.
    pub time: Period,
}

/// What a region can do at once.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CapacitySettings {
    /// Uploads in flight.
    pub concurrent_uploads: u32,
    /// Network rate.
    pub bandwidth: Rate,
    /// Jobs that run at the same time.
    pub jobs: u32,
    /// Requests in flight.
    pub requests: u32,
}

impl CapacitySettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for CapacitySettings {
    fn default() -> Self {
        let Capacity { concurrent_uploads, bandwidth, jobs, requests } = Capacity::default();
        Self { concurrent_uploads, bandwidth: Rate(bandwidth), jobs, requests }
    }
}

impl From<CapacitySettings> for Capacity {
    fn from(settings: CapacitySettings) -> Self {
        let CapacitySettings { concurrent_uploads, bandwidth, jobs, requests } = settings;
        Self { concurrent_uploads, bandwidth: bandwidth.0, jobs, requests }
    }
}
