//! What the buckets that are caches did and hold.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::family::Family,
    registry::{Registry, Unit},
};
use rhumb_types::{RegionId, record::BucketName};

use super::{Count, Level};

/// A bucket; there is a bound on their number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bucket {
    bucket: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BucketAndRegion {
    bucket: String,
    region: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BucketAndReason {
    bucket: String,
    reason: &'static str,
}

/// The metrics of caches. Clones are handles of the same.
#[derive(Debug, Clone, Default)]
pub struct Caches {
    hits: Family<Bucket, Count>,
    remote: Family<BucketAndRegion, Count>,
    misses: Family<Bucket, Count>,
    refused: Family<BucketAndReason, Count>,
    evicted: Family<Bucket, Count>,
    evicted_bytes: Family<Bucket, Count>,
    given_up: Family<Bucket, Count>,
    held: Family<Bucket, Level>,
    objects: Family<Bucket, Level>,
}

impl Caches {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        let help = "Reads of caches that found what they asked for, by bucket";
        registry.register("cache_hits", help, own.hits.clone());
        let help = "Of these hits, those whose bytes came from another region, by that region";
        registry.register("cache_remote_hits", help, own.remote.clone());
        let help = "Questions to caches for what they have not got, by bucket";
        registry.register("cache_misses", help, own.misses.clone());
        let help =
            "Uploads and entries that were refused because they are not what they are called";
        registry.register("cache_refused", help, own.refused.clone());
        let help = "Objects that were removed because the cache was full, by bucket";
        registry.register("cache_evicted", help, own.evicted.clone());
        let (help, bytes) = ("Bytes of the objects that were removed", Unit::Bytes);
        registry.register_with_unit("cache_evicted", help, bytes, own.evicted_bytes.clone());
        let help = "Copies that were given up because the cache was full, and others hold them";
        registry.register("cache_given_up", help, own.given_up.clone());
        let help = "Bytes of caches that this region holds, as it last looked";
        registry.register_with_unit("cache_held", help, Unit::Bytes, own.held.clone());
        let help = "Objects of caches of which this region holds bytes, as it last looked";
        registry.register("cache_objects", help, own.objects.clone());
        own
    }

    /// An object was read; its bytes came from another region perhaps.
    pub fn hit(&self, bucket: &BucketName) {
        self.hits.get_or_create(&of(bucket)).inc();
    }

    /// Bytes of an object that is read came from another region.
    pub fn remote_hit(&self, bucket: &BucketName, region: &RegionId) {
        let labels =
            BucketAndRegion { bucket: bucket.to_string(), region: region.as_str().to_owned() };
        self.remote.get_or_create(&labels).inc();
    }

    /// There is no such object.
    pub fn miss(&self, bucket: &BucketName) {
        self.misses.get_or_create(&of(bucket)).inc();
    }

    /// Something is not what it is called. Reasons are part of the program.
    pub fn refused(&self, bucket: &BucketName, reason: &'static str) {
        let labels = BucketAndReason { bucket: bucket.to_string(), reason };
        self.refused.get_or_create(&labels).inc();
    }

    /// An object was removed.
    pub fn evicted(&self, bucket: &BucketName, bytes: u64) {
        self.evicted.get_or_create(&of(bucket)).inc();
        self.evicted_bytes.get_or_create(&of(bucket)).inc_by(bytes);
    }

    /// A copy was given up.
    pub fn given_up(&self, bucket: &BucketName) {
        self.given_up.get_or_create(&of(bucket)).inc();
    }

    /// What this region holds.
    pub fn holds(&self, bucket: &BucketName, bytes: u64, objects: u64) {
        let whole = |number| i64::try_from(number).unwrap_or(i64::MAX);
        self.held.get_or_create(&of(bucket)).set(whole(bytes));
        self.objects.get_or_create(&of(bucket)).set(whole(objects));
    }

    /// Shows nothing more of what a bucket holds that is a cache no more.
    pub fn forget(&self, bucket: &BucketName) {
        self.held.remove(&of(bucket));
        self.objects.remove(&of(bucket));
    }
}

fn of(bucket: &BucketName) -> Bucket {
    Bucket { bucket: bucket.to_string() }
}
