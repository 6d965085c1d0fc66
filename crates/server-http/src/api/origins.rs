//! In which region an origin writes.
//!
//! Nothing but the log says so, so the first transaction that is still kept is asked once.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use rhumb_types::{
    OriginId, RegionId,
    record::{Record, Transaction},
};

use crate::{limits::ORIGINS_REMEMBERED_MAX, server::Shared};

/// What is known already, by incarnation. A lock, because requests on all threads share it for a
/// look-up.
#[derive(Debug, Default)]
pub(crate) struct Origins(Mutex<BTreeMap<u64, RegionId>>);

impl Shared {
    /// The region that an origin writes in; `None` when its log is not kept here.
    pub(crate) fn region_of(&self, origin: OriginId) -> Option<RegionId> {
        let own = self.engine.status().origin;
        if own.incarnation() == origin.incarnation() {
            return Some(self.surroundings.region.clone());
        }
        let known = |known: &BTreeMap<u64, RegionId>| known.get(&origin.incarnation()).cloned();
        let lock = || self.origins.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(region) = known(&lock()) {
            return Some(region);
        }
        let region = self.read_region(origin)?;
        let mut origins = lock();
        if origins.len() < ORIGINS_REMEMBERED_MAX {
            origins.insert(origin.incarnation(), region.clone());
        }
        Some(region)
    }

    fn read_region(&self, origin: OriginId) -> Option<RegionId> {
        let reader = self.engine.reader();
        // One row, however large: a page holds at least one.
        let rows = reader.store().log(origin, 0, 1).ok()?;
        let (_, bytes) = rows.first()?;
        Transaction::decode(bytes).ok().map(|transaction| transaction.region)
    }
}
