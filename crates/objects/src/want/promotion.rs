//! When a region that reads from afar should rather keep a copy.
//!
//! Reads of each blob are counted in a bounded table. The count of the last hour is that of the hour
//! that began with its first read, and of the hour before in proportion to what of it lies within the
//! last sixty minutes, as if its reads had been even.

use std::{collections::BTreeMap, collections::BTreeSet, time::Duration};

use rhumb_types::{MonoTime, record::BlobHash};

/// Within what time reads are counted.
pub const PROMOTION_WINDOW: Duration = Duration::from_secs(3_600);
/// Blobs whose reads are counted; past that the one that was not read for longest is forgotten.
pub const COUNTED_MAX: usize = 16_384;

#[derive(Debug, Clone, Copy)]
struct Count {
    began: MonoTime,
    last: MonoTime,
    before: u32,
    now: u32,
}

/// Counts of reads that went to other regions.
#[derive(Debug, Clone, Default)]
pub struct Promotions {
    counts: BTreeMap<BlobHash, Count>,
    by_last: BTreeSet<(MonoTime, BlobHash)>,
}

impl Promotions {
    /// A blob was read from another region. Says whether it was read so often within the hour that a
    /// copy should be kept (`after`; 0: never). Its count begins anew then.
    pub fn on_remote_read(&mut self, now: MonoTime, hash: BlobHash, after: u32) -> bool {
        if after == 0 {
            return false;
        }
        let fresh = Count { began: now, last: now, before: 0, now: 0 };
        let mut count = self.counts.get(&hash).copied().unwrap_or(fresh);
        self.by_last.remove(&(count.last, hash));
        count.add(now);
        if count.within_window(now) >= f64::from(after) {
            self.counts.remove(&hash);
            return true;
        }
        self.counts.insert(hash, count);
        self.by_last.insert((now, hash));
        if self.counts.len() > COUNTED_MAX
            && let Some((_, oldest)) = self.by_last.pop_first()
        {
            self.counts.remove(&oldest);
        }
        false
    }

    /// Blobs that are counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether none is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

impl Count {
    fn add(&mut self, now: MonoTime) {
        let age = now.saturating_since(self.began);
        if age >= PROMOTION_WINDOW * 2 {
            *self = Self { began: now, last: now, before: 0, now: 0 };
        } else if age >= PROMOTION_WINDOW {
            *self =
                Self { began: self.began + PROMOTION_WINDOW, last: now, before: self.now, now: 0 };
        }
        self.now = self.now.saturating_add(1);
        self.last = now;
    }

    fn within_window(&self, now: MonoTime) -> f64 {
        let age = now.saturating_since(self.began).as_secs_f64();
        let of_before = 1.0 - (age / PROMOTION_WINDOW.as_secs_f64()).min(1.0);
        f64::from(self.before) * of_before + f64::from(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(n: u64) -> MonoTime {
        MonoTime(n * 60_000_000)
    }

    #[test]
    fn the_third_read_within_an_hour_promotes() {
        let mut reads = Promotions::default();
        let hash = BlobHash([1; 32]);
        assert!(!reads.on_remote_read(minutes(0), hash, 3));
        assert!(!reads.on_remote_read(minutes(30), hash, 3));
        assert!(reads.on_remote_read(minutes(59), hash, 3));
        assert!(reads.is_empty(), "and the count begins anew");
        assert!(reads.on_remote_read(minutes(60), hash, 1));
    }

    #[test]
    fn reads_that_are_far_apart_never_do() {
        let mut reads = Promotions::default();
        let hash = BlobHash([1; 32]);
        for nth in 0..100 {
            assert!(!reads.on_remote_read(minutes(nth * 45), hash, 3));
            assert!(!reads.on_remote_read(minutes(nth * 45), BlobHash([2; 32]), 0));
        }
        assert_eq!(reads.len(), 1);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_stalest() {
        let mut reads = Promotions::default();
        let hash = |n: u64| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_be_bytes());
            BlobHash(hash)
        };
        let many = u64::try_from(COUNTED_MAX).unwrap();
        for nth in 0..many + 10 {
            reads.on_remote_read(MonoTime(nth), hash(nth), 2);
        }
        assert_eq!(reads.len(), COUNTED_MAX);
        assert!(!reads.on_remote_read(MonoTime(many + 10), hash(0), 2), "it was forgotten");
        assert!(reads.on_remote_read(MonoTime(many + 11), hash(many), 2));
    }
}
