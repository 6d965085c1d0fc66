//! How runners are doing, for people.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

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
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    /// One more. Names are part of the program, so their number is bounded.
    pub fn add(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One of them.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(what).copied().unwrap_or(0)
    }
}
