//! What the store of blobs has done, read when it is shown.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
    registry::{Registry, Unit},
};
use rhumb_ports::blobs::BlobCounts;

type Read = Box<dyn Fn() -> BlobCounts + Send + Sync>;

/// Where the counts are read; before it is known, none are shown.
#[derive(Clone, Default)]
pub struct BlobMeter(Arc<OnceLock<Read>>);

impl fmt::Debug for BlobMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlobMeter").field(&self.0.get().map(|read| read())).finish()
    }
}

impl BlobMeter {
    /// Reads the counts there from now on. Only the first call counts: a node has one store.
    pub fn read_from(&self, read: impl Fn() -> BlobCounts + Send + Sync + 'static) {
        let _first = self.0.set(Box::new(read));
    }

    pub(super) fn register(registry: &mut Registry) -> Self {
        let meter = Self::default();
        registry.register_collector(Box::new(meter.clone()));
        meter
    }
}

impl Collector for BlobMeter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(counts) = self.0.get().map(|read| read()) else { return Ok(()) };
        let bytes = Some(&Unit::Bytes);
        let rows = [
            ("blobs_stored", "Blobs stored", None, counts.stored),
            ("blobs_stored", "Bytes of the blobs stored", bytes, counts.stored_bytes),
            ("blobs_kept", "Blobs written that were held already", None, counts.kept),
            ("blobs_reads", "Reads of parts of blobs", None, counts.reads),
            ("blobs_read", "Bytes read of blobs", bytes, counts.read_bytes),
            ("blobs_verified", "Blobs checked and found sound", None, counts.verified),
            ("blobs_verified", "Bytes of the blobs found sound", bytes, counts.verified_bytes),
            ("blobs_removed", "Blobs removed", None, counts.removed),
            ("blobs_damaged", "Blobs found damaged and set aside", None, counts.damaged),
            ("blobs_failed", "Operations that the store of blobs failed", None, counts.failed),
        ];
        for (name, help, unit, count) in rows {
            let counter = ConstCounter::new(count);
            let metric = encoder.encode_descriptor(name, help, unit, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}
