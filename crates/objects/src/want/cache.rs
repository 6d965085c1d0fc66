//! What goes first where a region holds more of a bucket than it should: what was not read for longest.
//!
//! Nothing is kept per object: a [`Sweep`] looks at every object of a bucket once and remembers only the
//! least lately read, as many as may go in one turn. [`Reads`] remembers when objects were read; what it
//! has forgotten, or never knew because the process is new, counts as read when it was written. So a
//! cache may have any number of objects, and memory does not grow with it.
//!
//! Saying that an object may go lets no bytes go: a copy that others hold too is [given up](given_up) and
//! goes by grant ([`crate::grant`]); where this is the last copy, the object is removed first.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rhumb_types::{
    UnixMillis,
    record::{BlobHash, Body, HolderRecord, ObjectRecord},
};
use serde::{Deserialize, Serialize};

/// Objects whose last read is remembered, in each of two generations.
pub const READS_MAX: usize = 524_288;
/// Objects that may go in one turn.
pub const VICTIMS_MAX: usize = 4_096;
/// What is freed beyond the bound, as a part of it, so that not every write makes a turn.
pub const SLACK_PART: u64 = 16;

/// By what a read is remembered: blobs by the first of them, so that a holder that is asked for bytes
/// knows without the object; what lies in the index by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReadId(pub u64);

impl ReadId {
    /// Of bytes that a region holds.
    #[must_use]
    pub fn of_blob(hash: &BlobHash) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = hash.0;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Of an object.
    #[must_use]
    pub fn of(record: &ObjectRecord) -> Self {
        let first = match record.content.as_ref().map(|content| &content.body) {
            Some(Body::Blobs(blobs)) => blobs.first(),
            Some(Body::Inline(_)) | None => None,
        };
        first.map_or(Self(record.version.entropy), |blob| Self::of_blob(&blob.hash))
    }
}

/// When objects were read last, as far as that is remembered: at least the last [`READS_MAX`] of them.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    recent: BTreeMap<ReadId, UnixMillis>,
    earlier: BTreeMap<ReadId, UnixMillis>,
}

impl Reads {
    /// It was read; an older time than the known one changes nothing.
    pub fn note(&mut self, id: ReadId, at: UnixMillis) {
        if self.last(id).is_some_and(|known| known >= at) {
            return;
        }
        if self.recent.len() >= READS_MAX && !self.recent.contains_key(&id) {
            self.earlier = std::mem::take(&mut self.recent);
        }
        self.recent.insert(id, at);
    }

    /// When it was read last.
    #[must_use]
    pub fn last(&self, id: ReadId) -> Option<UnixMillis> {
        self.recent.get(&id).or_else(|| self.earlier.get(&id)).copied()
    }
}

/// What a holder's row says of a copy that the holder would rather be rid of: it is old enough for every
/// grant, and no copy to count on.
#[must_use]
pub const fn given_up(bytes: u64) -> HolderRecord {
    HolderRecord { bytes, since: UnixMillis(0), cached: true }
}

/// Whether a holder's row says that.
#[must_use]
pub const fn is_given_up(holder: &HolderRecord) -> bool {
    holder.cached && holder.since.0 == 0
}

/// An object that may go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Victim {
    /// When it was used last.
    pub used: UnixMillis,
    /// Its key.
    pub key: Bytes,
    /// Its bytes in this region.
    pub bytes: u64,
    /// By what its reads are remembered.
    pub read: ReadId,
    /// Whether nobody else holds it, so that the object itself must go.
    pub alone: bool,
}

/// What a look over a bucket came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Bytes that this region holds, those of copies that were given up included.
    pub held: u64,
    /// Objects of which it holds some.
    pub objects: u64,
    /// What goes now, the least lately used first.
    pub victims: Vec<Victim>,
}

/// A look over the objects of a bucket.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    held: u64,
    leaving: u64,
    objects: u64,
    oldest: BTreeSet<Victim>,
}

impl Sweep {
    /// An object of which bytes are here.
    pub fn on_object(&mut self, object: Victim) {
        self.held = self.held.saturating_add(object.bytes);
        self.objects += 1;
        self.oldest.insert(object);
        if self.oldest.len() > VICTIMS_MAX {
            self.oldest.pop_last();
        }
    }

    /// An object whose copy here was given up, and is not gone yet.
    pub fn on_leaving(&mut self, bytes: u64) {
        self.held = self.held.saturating_add(bytes);
        self.leaving = self.leaving.saturating_add(bytes);
        self.objects += 1;
    }

    /// Says what goes so that the rest fits, with some room to spare.
    #[must_use]
    pub fn finish(self, bytes_max: u64) -> Swept {
        let staying = self.held.saturating_sub(self.leaving);
        let mut victims = Vec::new();
        if staying > bytes_max {
            let mut over = staying - (bytes_max - bytes_max / SLACK_PART);
            for victim in self.oldest {
                if over == 0 {
                    break;
                }
                over = over.saturating_sub(victim.bytes);
                victims.push(victim);
            }
        }
        Swept { held: self.held, objects: self.objects, victims }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rhumb_types::{
        Hlc, RegionId,
        record::{BlobRef, Content, VersionId},
    };

    use super::*;

    fn object(used: u64, bytes: u64) -> Victim {
        let key = Bytes::from(format!("k{used}"));
        Victim { used: UnixMillis(used), key, bytes, read: ReadId(used), alone: true }
    }

    fn names(swept: &Swept) -> Vec<u64> {
        swept.victims.iter().map(|victim| victim.used.0).collect()
    }

    #[test]
    fn the_least_lately_used_go_until_the_rest_fits() {
        let sweep = |bytes_max| {
            let mut sweep = Sweep::default();
            for used in [5, 1, 4, 2, 3] {
                sweep.on_object(object(used, 100));
            }
            sweep.finish(bytes_max)
        };
        assert_eq!(sweep(500), Swept { held: 500, objects: 5, victims: Vec::new() });
        assert_eq!(names(&sweep(400)), [1, 2], "a sixteenth more than need be");
        assert_eq!(names(&sweep(0)), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_leaves_already_is_not_asked_for_again() {
        let mut sweep = Sweep::default();
        sweep.on_object(object(1, 100));
        sweep.on_leaving(400);
        let swept = sweep.finish(100);
        assert_eq!((swept.held, swept.objects, swept.victims), (500, 2, Vec::new()));
    }

    #[test]
    fn reads_are_remembered_up_to_a_bound() {
        let mut reads = Reads::default();
        let most = u64::try_from(READS_MAX).unwrap();
        for id in 0..3 * most {
            reads.note(ReadId(id), UnixMillis(id));
        }
        assert_eq!(reads.last(ReadId(3 * most - 1)), Some(UnixMillis(3 * most - 1)));
        assert!(reads.last(ReadId(2 * most)).is_some(), "the last so many are all there");
        assert_eq!(reads.last(ReadId(0)), None);
        assert!(reads.recent.len() + reads.earlier.len() <= 2 * READS_MAX);
        reads.note(ReadId(3 * most - 1), UnixMillis(1));
        assert_eq!(reads.last(ReadId(3 * most - 1)), Some(UnixMillis(3 * most - 1)));
    }

    #[test]
    fn a_holder_knows_a_read_of_its_bytes_without_the_object() {
        let (hash, other) = (BlobHash([1; 32]), BlobHash([2; 32]));
        let blob = |hash| BlobRef { hash, bytes: 1 };
        let of = |entropy, body| {
            let content = Content {
                bytes: 2,
                etag: String::new(),
                body,
                parts: Vec::new(),
                checksums: Default::default(),
                headers: Default::default(),
                metadata: Default::default(),
                tags: Default::default(),
            };
            ReadId::of(&ObjectRecord {
                version: VersionId { hlc: Hlc(1), entropy },
                versioned: false,
                modified: UnixMillis(1),
                region: RegionId::new("us").unwrap(),
                content: Some(content),
            })
        };
        let blobs = Body::Blobs(vec![blob(hash), blob(other)]);
        assert_eq!(of(1, blobs), ReadId::of_blob(&hash));
        let small = || Body::Inline(Bytes::from_static(b"x"));
        assert_ne!(of(1, small()), of(2, small()));
    }

    #[test]
    fn a_copy_that_was_given_up_is_told_from_every_other() {
        assert!(is_given_up(&given_up(9)));
        for (since, cached) in [(0, false), (1, true), (1, false)] {
            let holder = HolderRecord { bytes: 9, since: UnixMillis(since), cached };
            assert!(!is_given_up(&holder));
        }
    }

    proptest! {
        /// What goes is older than what stays, and what stays fits.
        #[test]
        fn what_stays_is_younger_and_fits(
            objects in proptest::collection::btree_map(0_u64..10_000, 0_u64..1_000, 0..200),
            bytes_max in 0_u64..100_000,
        ) {
            let mut sweep = Sweep::default();
            for (used, bytes) in &objects {
                sweep.on_object(object(*used, *bytes));
            }
            let swept = sweep.finish(bytes_max);
            let gone: BTreeSet<u64> = names(&swept).into_iter().collect();
            let stays: Vec<_> = objects.iter().filter(|(used, _)| !gone.contains(used)).collect();
            if let (Some(last), Some((first, _))) = (gone.last(), stays.first()) {
                prop_assert!(last < first);
            }
            let left: u64 = stays.iter().map(|(_, bytes)| **bytes).sum();
            prop_assert!(left <= bytes_max);
            prop_assert_eq!(swept.held, objects.values().sum::<u64>());
        }
    }
}
