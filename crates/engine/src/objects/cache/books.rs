//! What is noted of caches between two looks at them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rhumb_objects::want::cache::{ReadId, Reads, is_given_up};
use rhumb_types::{
    UnixMillis,
    record::{BucketName, HolderRecord, ObjectRecord, Record as _},
};

/// What is noted of caches between two looks. Locks, because readers and the committer note on threads of
/// their own; each is held for a look-up.
#[derive(Debug, Default)]
pub(crate) struct Books {
    reads: Mutex<Reads>,
    /// By how much each cache may have grown since it was looked at.
    growth: RwLock<BTreeMap<BucketName, AtomicU64>>,
    given_up: AtomicBool,
}

impl Books {
    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn growth(&self) -> RwLockReadGuard<'_, BTreeMap<BucketName, AtomicU64>> {
        self.growth.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes were read.
    pub(super) fn read(&self, id: ReadId, at: UnixMillis) {
        self.reads().note(id, at);
    }

    pub(super) fn last_read(&self, id: ReadId) -> Option<UnixMillis> {
        self.reads().last(id)
    }

    /// Whether there are caches at all.
    pub(super) fn is_empty(&self) -> bool {
        self.growth().is_empty()
    }

    /// From now on these buckets are caches.
    pub(super) fn follow(&self, caches: &BTreeSet<BucketName>) {
        if self.growth().keys().eq(caches) {
            return;
        }
        let mut growth = self.growth.write().unwrap_or_else(PoisonError::into_inner);
        growth.retain(|bucket, _| caches.contains(bucket));
        for bucket in caches {
            growth.entry(bucket.clone()).or_default();
        }
    }

    /// Whether a row with this key may say anything of a cache. Copies are given up by other regions
    /// too, which may know of a cache before this one follows it.
    pub(crate) fn looks_at(&self, key: &[u8]) -> bool {
        match key.first() {
            Some(b'c') => !self.is_empty(),
            first => first == Some(&b'h'),
        }
    }

    /// A row was committed. That of an object is decoded only where it belongs to a cache.
    pub(crate) fn committed(&self, key: &[u8], row: &[u8]) {
        match key.first() {
            Some(b'c') => {
                let growth = self.growth();
                let name = key.get(1..).unwrap_or_default().split(|byte| *byte == 0).next();
                let name = name.and_then(|name| std::str::from_utf8(name).ok());
                let known = name.and_then(|name| BucketName::new(name).ok());
                let Some(grown) = known.and_then(|name| growth.get(&name)) else { return };
                let record = ObjectRecord::decode(row).ok();
                let bytes = record.and_then(|record| Some(record.content?.bytes));
                grown.fetch_add(bytes.unwrap_or_default(), Ordering::Relaxed);
            }
            Some(b'h') if HolderRecord::decode(row).is_ok_and(|row| is_given_up(&row)) => {
                self.given_up.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Bytes of a bucket are on their way here.
    pub(in crate::objects) fn fetching(&self, bucket: &BucketName, bytes: u64) {
        if let Some(grown) = self.growth().get(bucket) {
            grown.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn grown(&self, bucket: &BucketName) -> u64 {
        self.growth().get(bucket).map_or(0, |grown| grown.load(Ordering::Relaxed))
    }

    pub(super) fn take_grown(&self, bucket: &BucketName) {
        if let Some(grown) = self.growth().get(bucket) {
            grown.store(0, Ordering::Relaxed);
        }
    }

    /// Whether a region gave copies up since this was last asked.
    pub(in crate::objects) fn take_given_up(&self) -> bool {
        self.given_up.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use rhumb_objects::want::cache::given_up;
    use rhumb_types::{
        RegionId,
        record::{BlobHash, IndexKey},
    };

    use super::*;

    /// Once the region that grants removals knew of it an hour later.
    #[test]
    fn a_copy_that_another_region_gives_up_is_noted_before_any_cache_is_followed() {
        let books = Books::default();
        let region = RegionId::new("us").unwrap();
        let key = IndexKey::Holder { hash: BlobHash([1; 32]), region }.encode();
        let held = HolderRecord { bytes: 9, since: UnixMillis(1), cached: false };
        for (row, given_up) in [(held, false), (given_up(9), true)] {
            assert!(books.looks_at(&key));
            books.committed(&key, &row.encode());
            assert_eq!(books.take_given_up(), given_up);
        }
        assert!(!books.looks_at(b"cphotos\0k"), "nothing of it is a cache");
    }
}
