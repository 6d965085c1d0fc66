//! When each blob is read again to see whether it is sound.
//!
//! Everything that is held is verified once in a period (14 days), in the order of hashes, at an even
//! pace: at any time, the part of the hash space that is behind the scrub is the part of the period that
//! has passed. A region that was down for long catches up at a bounded pace, and not at once. The
//! schedule holds one hash, which the driver keeps over a start.
//!
//! A blob that is damaged is asked for from another region, before anything else that is wanted; one
//! that no other region holds is lost, and counted.

use std::time::Duration;

use rhumb_types::{
    RegionId, UnixMillis,
    record::{BlobHash, BlobRef},
};
use serde::{Deserialize, Serialize};

use crate::want::{Priority, Wish};

/// In what time everything is verified.
pub const SCRUB_PERIOD: Duration = Duration::from_secs(14 * 24 * 3_600);
/// Shortest and longest period that may be configured.
pub const SCRUB_PERIODS: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(366 * 24 * 3_600));
/// Most blobs that one tick verifies.
pub const BLOBS_PER_TICK_MAX: usize = 64;
/// Most bytes that one tick verifies; the last blob may go past it.
pub const BYTES_PER_TICK_MAX: u64 = 256 << 20;

/// Where the scrub is; kept over a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// When this round over all hashes began.
    pub began: UnixMillis,
    /// The last blob that was verified in it.
    pub after: Option<BlobHash>,
    /// Rounds that were completed.
    pub rounds: u64,
}

/// What a tick is to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Blobs after this one, in the order of their hashes,
    pub after: Option<BlobHash>,
    /// up to this one; `None`: to the last.
    pub until: Option<BlobHash>,
    /// No more than so many,
    pub blobs_max: usize,
    /// and none once this many bytes were read.
    pub bytes_max: u64,
}

/// What a blob turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// As it was written.
    Sound,
    /// It is damaged, or gone though its row is there.
    Damaged,
    /// The store did not answer; it is looked at in the next round.
    Unknown,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Blobs that were verified.
    pub verified: u64,
    /// Their bytes.
    pub verified_bytes: u64,
    /// Blobs that were damaged.
    pub damaged: u64,
    /// Of these, the ones that no other region holds.
    pub lost: u64,
    /// Blobs of which the store said nothing.
    pub unknown: u64,
}

/// The schedule of one region.
#[derive(Debug, Clone)]
pub struct Scrub {
    period: Duration,
    progress: Progress,
    counts: Counts,
}

impl Scrub {
    /// Goes on from where it was.
    #[must_use]
    pub fn new(period: Duration, now: UnixMillis, progress: Option<Progress>) -> Self {
        let fresh = Progress { began: now, ..Progress::default() };
        let (shortest, longest) = SCRUB_PERIODS;
        Self {
            period: period.clamp(shortest, longest),
            progress: progress.unwrap_or(fresh),
            counts: Counts::default(),
        }
    }

    /// What is due; `None` when nothing is. To be asked at every tick, once the batch before has ended.
    pub fn next(&mut self, now: UnixMillis) -> Option<Batch> {
        // A clock that was set back begins the round's time anew, and goes on from where it is.
        if now < self.progress.began {
            self.progress.began = now;
        }
        let until = self.due(now);
        let due = until.is_none_or(|until| self.progress.after.is_none_or(|at| at < until));
        due.then_some(Batch {
            after: self.progress.after,
            until,
            blobs_max: BLOBS_PER_TICK_MAX,
            bytes_max: BYTES_PER_TICK_MAX,
        })
    }

    /// A blob of the batch was verified. Gives what is to be fetched in its place: `holders` are the
    /// other regions that hold it, the nearest first.
    pub fn on_verified(
        &mut self,
        blob: BlobRef,
        found: Found,
        holders: Vec<RegionId>,
    ) -> Option<Wish> {
        self.progress.after = self.progress.after.max(Some(blob.hash));
        match found {
            Found::Sound => {
                self.counts.verified += 1;
                self.counts.verified_bytes = self.counts.verified_bytes.saturating_add(blob.bytes);
                return None;
            }
            Found::Unknown => {
                self.counts.unknown += 1;
                return None;
            }
            Found::Damaged => self.counts.damaged += 1,
        }
        if holders.is_empty() {
            self.counts.lost += 1;
            return None;
        }
        let (priority, written) = (Priority::Repair, UnixMillis(0));
        Some(Wish { blob, priority, written, sources: holders })
    }

    /// The batch has ended: `exhausted` when there was no further blob up to its `until`.
    pub fn on_batch_end(&mut self, now: UnixMillis, batch: &Batch, exhausted: bool) {
        if !exhausted {
            return;
        }
        match batch.until {
            Some(until) => self.progress.after = self.progress.after.max(Some(until)),
            None => {
                let rounds = self.progress.rounds + 1;
                self.progress = Progress { began: now, after: None, rounds };
            }
        }
    }

    /// Where it is, to be kept.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// What happened since the start.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Up to which hash blobs ought to be verified by now; `None`: all.
    fn due(&self, now: UnixMillis) -> Option<BlobHash> {
        let passed = now.saturating_since(self.progress.began).as_millis();
        let period = self.period.as_millis().max(1);
        if passed >= period {
            return None;
        }
        let share = (passed << 64) / period;
        let mut hash = [0; 32];
        let (head, _) = hash.split_at_mut(8);
        head.copy_from_slice(&u64::try_from(share).unwrap_or(u64::MAX).to_be_bytes());
        Some(BlobHash(hash))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn hash(n: u64) -> BlobHash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        hash[8..16].copy_from_slice(&n.to_be_bytes());
        BlobHash(hash)
    }

    /// Does what a batch says over a store; gives what was verified.
    fn verify(
        scrub: &mut Scrub,
        now: UnixMillis,
        store: &BTreeMap<BlobHash, u64>,
    ) -> Vec<BlobHash> {
        let Some(batch) = scrub.next(now) else { return Vec::new() };
        let within = |hash: &BlobHash| {
            batch.after.is_none_or(|after| *hash > after)
                && batch.until.is_none_or(|until| *hash <= until)
        };
        let (mut seen, mut bytes, mut exhausted) = (Vec::new(), 0, true);
        for (hash, size) in store.iter().filter(|(hash, _)| within(hash)) {
            if seen.len() >= batch.blobs_max || bytes >= batch.bytes_max {
                exhausted = false;
                break;
            }
            bytes += size;
            seen.push(*hash);
            let blob = BlobRef { hash: *hash, bytes: *size };
            assert_eq!(scrub.on_verified(blob, Found::Sound, Vec::new()), None);
        }
        scrub.on_batch_end(now, &batch, exhausted);
        seen
    }

    proptest! {
        /// Every blob is verified once in a period, at an even pace and no more in a tick than allowed,
        /// whenever the region was down.
        #[test]
        fn verifies_everything_once_in_a_period(
            blobs in 1_u64..2_000, ticks in 200_u64..1_000, down in 0_u64..100,
        ) {
            let store: BTreeMap<_, _> = (0..blobs).map(|n| (hash(n), 1 << 20)).collect();
            let period = Duration::from_secs(ticks * 10);
            let mut scrub = Scrub::new(period, UnixMillis(0), None);
            let mut seen: BTreeMap<BlobHash, u32> = BTreeMap::new();
            let mut tick = 0;
            while scrub.progress().rounds == 0 {
                tick += 1;
                if tick == ticks / 2 {
                    scrub = Scrub::new(period, UnixMillis(0), Some(scrub.progress()));
                    tick += down;
                }
                let verified = verify(&mut scrub, UnixMillis(tick * 10_000), &store);
                prop_assert!(verified.len() <= BLOBS_PER_TICK_MAX);
                verified.into_iter().for_each(|hash| *seen.entry(hash).or_default() += 1);
                let total = u64::try_from(seen.len()).unwrap();
                let even = blobs * tick / ticks;
                prop_assert!(total <= even + blobs / 20 + 20, "{total} at {tick} of {ticks}");
                prop_assert!(tick <= ticks + down + 100, "it is late");
            }
            prop_assert_eq!(seen.len(), store.len());
            prop_assert!(seen.values().all(|count| *count == 1));
        }
    }

    #[test]
    fn what_is_damaged_is_fetched_first_and_what_is_nowhere_else_is_lost() {
        let mut scrub = Scrub::new(SCRUB_PERIOD, UnixMillis(0), None);
        let blob = BlobRef { hash: hash(1), bytes: 9 };
        let holder = RegionId::new("b").unwrap();
        let wish = scrub.on_verified(blob, Found::Damaged, vec![holder.clone()]).unwrap();
        assert_eq!((wish.priority, wish.sources), (Priority::Repair, vec![holder]));
        assert_eq!(scrub.on_verified(blob, Found::Damaged, Vec::new()), None);
        assert_eq!(scrub.on_verified(blob, Found::Unknown, Vec::new()), None);
        let expected = Counts { damaged: 2, lost: 1, unknown: 1, ..Counts::default() };
        assert_eq!(scrub.counts(), expected);
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let store: BTreeMap<_, _> = (0..100).map(|n| (hash(n), 1)).collect();
        let mut scrub = Scrub::new(Duration::from_secs(1_000), UnixMillis(900_000_000), None);
        let mut seen = 0;
        for tick in 0..=1_000 {
            seen += verify(&mut scrub, UnixMillis(tick * 1_000), &store).len();
        }
        assert_eq!((seen, scrub.progress().rounds), (100, 1));
    }
}
