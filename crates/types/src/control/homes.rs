//! Which regions are homes of keys on which all regions must agree, and how that changes.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::RegionId;

/// The regions that the homes of keys of linearizable buckets are drawn among (rule 10).
///
/// They follow the members, but not at once: a change is announced first, and is in force once
/// everybody who has not heard of it has lost the leases under which it decided. Between the two
/// nobody decides for the keys that it moves. See ADR 0012.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Homes {
    /// Raised with every change, of announcements too; 0 before the cluster is formed.
    pub version: u64,
    /// Those in force.
    pub regions: BTreeSet<RegionId>,
    /// The version with which they came in force; 0 before the first.
    pub since: u64,
    /// Those that were in force before.
    pub before: BTreeSet<RegionId>,
    /// Those that are announced.
    pub announced: Option<BTreeSet<RegionId>>,
    /// The longest that a lease ever lasted, in milliseconds; never falls.
    pub lease_ms_max: u64,
}

impl Homes {
    /// How long after its announcement a change is put in force, in true time.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        Duration::from_millis(self.lease_ms_max)
    }
}
