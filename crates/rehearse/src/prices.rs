//! What bytes between regions and nodes cost.

use std::collections::BTreeMap;

use rhumb_regions::snapshot::MicroDollarsPerGb;
use rhumb_types::RegionId;

/// Millionths of a dollar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, serde::Serialize)]
pub struct MicroDollars(pub u64);

/// A price table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prices {
    /// A gigabyte from one region to another.
    pub between: BTreeMap<(RegionId, RegionId), MicroDollarsPerGb>,
    /// A gigabyte from a region to another, where the pair has no price of its own.
    pub egress: BTreeMap<RegionId, MicroDollarsPerGb>,
    /// An hour of a region's node.
    pub node_hour: BTreeMap<RegionId, MicroDollars>,
}
