//! How runners are doing, for people.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rhumb_engine::telemetry::metrics::runners::Runners as Meters;
use rhumb_types::{RegionId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::capacity::{PoolCounts, PoolId};

/// How the runners of a region are doing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegionStatus {
    /// Which region.
    pub region: RegionId,
    /// When it said so.
    pub at: UnixMillis,
    /// Its pools.
    pub pools: Vec<PoolStatus>,
    /// For how many seconds more GitHub wants to be left alone; 0 when it does not.
    #[serde(default)]
    pub limited_seconds: u64,
    /// What happened since the start of its node, by name.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
}

/// What there is of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Which.
    pub pool: PoolId,
    /// What there is.
    #[serde(flatten)]
    pub counts: PoolCounts,
}

/// What happened, by name. A lock, because every task counts.
#[derive(Debug)]
pub struct Counts {
    by_name: Mutex<BTreeMap<&'static str, u64>>,
    meters: Meters,
}

impl Counts {
    /// Nothing happened yet; it will show in the node's metrics, too.
    #[must_use]
    pub fn new(meters: Meters) -> Self {
        Self { by_name: Mutex::default(), meters }
    }

    /// The node's metrics of runners.
    #[must_use]
    pub const fn meters(&self) -> &Meters {
        &self.meters
    }

    /// One more. Names are part of the program, so their number is bounded.
    pub fn add(&self, what: &'static str) {
        *self.names().entry(what).or_default() += 1;
        self.meters.happened(what);
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.names().clone()
    }

    /// One of them.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.names().get(what).copied().unwrap_or(0)
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
