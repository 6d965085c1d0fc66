//! What bytes between regions and nodes cost.

mod list;
mod parse;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use rhumb_regions::snapshot::MicroDollarsPerGb;
use rhumb_types::RegionId;

pub(crate) use self::parse::dollars;
pub use self::{list::listed, parse::parse};

/// Clouds bill by 10^9 bytes.
const BYTES_PER_GB: u128 = 1_000_000_000;

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

impl fmt::Display for MicroDollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, micro) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let decimals = format!("{micro:06}");
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            decimals => write!(f, "{whole}.{decimals}"),
        }
    }
}

impl Prices {
    /// What a gigabyte from one region to another costs, if that is known.
    #[must_use]
    pub fn per_gb(&self, from: &RegionId, to: &RegionId) -> Option<MicroDollarsPerGb> {
        let pair = self.between.get(&(from.clone(), to.clone()));
        pair.or_else(|| self.egress.get(from)).copied()
    }

    /// What so many bytes from one region to another cost, if that is known; nothing within a region.
    #[must_use]
    pub fn traffic(&self, from: &RegionId, to: &RegionId, bytes: u64) -> Option<MicroDollars> {
        if from == to {
            return Some(MicroDollars(0));
        }
        let price = self.per_gb(from, to)?;
        let micros = u128::from(price.0) * u128::from(bytes) / BYTES_PER_GB;
        Some(MicroDollars(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// What has no price, in words; it costs nothing in a rehearsal, which then says so.
    #[must_use]
    pub fn unknown(&self, regions: &[RegionId]) -> Vec<String> {
        let mut unknown = Vec::new();
        for from in regions {
            if !self.node_hour.contains_key(from) {
                unknown.push(format!("a node in {from}"));
            }
            let others = || regions.iter().filter(|to| *to != from);
            let to: Vec<&str> = others()
                .filter(|to| self.per_gb(from, to).is_none())
                .map(RegionId::as_str)
                .collect();
            if !to.is_empty() && to.len() == others().count() {
                unknown.push(format!("traffic from {from}"));
            } else if !to.is_empty() {
                unknown.push(format!("traffic from {from} to {}", to.join(" and ")));
            }
        }
        unknown
    }
}
