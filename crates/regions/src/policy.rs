//! How traffic is spread: the strategy, and what surrounds it.

use std::fmt;

use rhumb_types::RegionId;
use serde::{Deserialize, Serialize};

/// In what order the regions of a level are tried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// In turn, each as often as its weight says.
    Weighted,
    /// The shortest round trip from the client, or else from this node.
    Latency,
    /// The shortest great circle from the client, or else from this node.
    Geographic,
    /// By level of priority; within a level by weighted rendezvous hashing of the key.
    Priority,
    /// The cheapest transfer.
    Cost,
    /// By weighted rendezvous hashing of the key.
    Affinity,
}

impl Strategy {
    /// All, in the order of the documents.
    pub const ALL: [Self; 7] = [
        Self::RoundRobin,
        Self::Weighted,
        Self::Latency,
        Self::Geographic,
        Self::Priority,
        Self::Cost,
        Self::Affinity,
    ];

    /// Its name in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
            Self::Latency => "latency",
            Self::Geographic => "geographic",
            Self::Priority => "priority",
            Self::Cost => "cost",
            Self::Affinity => "affinity",
        }
    }

    /// Whether the turn decides, and not the key.
    pub(crate) const fn takes_turns(self) -> bool {
        matches!(self, Self::RoundRobin | Self::Weighted)
    }

    /// Whether it spreads by weight, so that a region above its share gives way.
    pub(crate) const fn spreads_by_weight(self) -> bool {
        matches!(self, Self::Weighted | Self::Priority | Self::Affinity)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether levels of priority come before the strategy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Levels {
    /// All regions are one level.
    Flat,
    /// The lowest priority number first; the next level takes over what a level that is partly
    /// down cannot carry.
    ByPriority,
}

/// How traffic is spread.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// In what order the regions of a level are tried.
    pub strategy: Strategy,
    /// Whether levels come first.
    pub levels: Levels,
    /// Regions that come before all others while they are healthy, best first.
    pub preferred: Vec<RegionId>,
}

impl Policy {
    /// A strategy alone. `Priority` works by levels, the others on all regions as one level.
    #[must_use]
    pub const fn new(strategy: Strategy) -> Self {
        let levels = match strategy {
            Strategy::Priority => Levels::ByPriority,
            _ => Levels::Flat,
        };
        Self { strategy, levels, preferred: Vec::new() }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(Strategy::default())
    }
}
