//! How long commits take, and what was not acknowledged in time.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use rhumb_ports::store::{Batch, Durability, Store, StoreError};
use rhumb_telemetry::{
    Metrics,
    metrics::{Commits, Count},
};
use rhumb_types::RegionId;

/// Measures, once somebody wants to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<OnceLock<Shown>>);

#[derive(Debug)]
struct Shown {
    commits: Commits,
    unconfirmed: Count,
    metrics: Arc<Metrics>,
}

impl Meter {
    /// Shows what happens from now on; what was given first stays.
    pub(crate) fn show(&self, metrics: &Arc<Metrics>) {
        let (commits, unconfirmed) = (metrics.commits.clone(), metrics.unconfirmed.clone());
        let _known = self.0.set(Shown { commits, unconfirmed, metrics: metrics.clone() });
    }

    /// The metrics, once there are some.
    pub(crate) fn metrics(&self) -> Option<&Metrics> {
        self.0.get().map(|shown| shown.metrics.as_ref())
    }

    /// An acknowledgement did not come in time.
    pub(crate) fn unconfirmed(&self) {
        if let Some(shown) = self.0.get() {
            shown.unconfirmed.inc();
        }
    }

    /// The duties of a region were taken over.
    pub(crate) fn taken_over(&self, region: &RegionId) {
        if let Some(shown) = self.0.get() {
            shown.metrics.region(region).failovers.inc();
        }
    }

    /// Commits, and notes how long it took.
    pub(crate) fn commit(
        &self,
        store: &impl Store,
        writes: &Batch,
        durability: Durability,
    ) -> Result<u64, StoreError> {
        let Some(Shown { commits: shown, .. }) = self.0.get() else {
            return store.commit(writes, durability);
        };
        let began = Instant::now();
        let result = store.commit(writes, durability);
        let took = began.elapsed();
        shown.seconds.observe_time(took);
        if durability == Durability::Synced {
            shown.synced_seconds.observe_time(took);
        }
        let rows = u32::try_from(writes.writes.len()).unwrap_or(u32::MAX);
        shown.rows.observe(f64::from(rows));
        if result.is_err() {
            shown.failed.inc();
        }
        result
    }
}
