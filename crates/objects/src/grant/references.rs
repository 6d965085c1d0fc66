//! Which blobs were referred to of late, in bounded memory.
//!
//! Eight bytes of each hash, in generations: each knows which transactions it is about at most. Two
//! hashes that begin alike are taken for one, which refuses a grant now and then. When the oldest
//! generation goes, the *floor* rises over what it was about: a grant must cover the floor.

use std::collections::{BTreeSet, VecDeque};

use rhumb_types::{
    DomainId,
    planted::{self, Planted},
    record::{BlobHash, Dot, VersionVector},
};

use super::{
    Refusal,
    limits::{GENERATION_MAX, GENERATIONS_MAX},
};

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// References in one generation.
    pub generation: usize,
    /// Generations.
    pub generations: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { generation: GENERATION_MAX, generations: GENERATIONS_MAX }
    }
}

#[derive(Debug, Clone, Default)]
struct Generation {
    seen: BTreeSet<u64>,
    upto: VersionVector,
}

/// The references that a region has applied of late.
#[derive(Debug, Clone)]
pub struct References {
    memory: Memory,
    floor: VersionVector,
    generations: VecDeque<Generation>,
}

impl References {
    /// Remembers nothing: grants must cover all that was applied before.
    #[must_use]
    pub fn new(memory: Memory, applied: &VersionVector) -> Self {
        let floor = if planted::is(Planted::ForgetFloor) {
            VersionVector::new()
        } else {
            everywhere(applied)
        };
        Self { memory, floor, generations: VecDeque::new() }
    }

    /// A transaction refers to a blob.
    pub fn add(&mut self, dot: Dot, hash: &BlobHash) {
        if self.generations.back().is_none_or(|last| last.seen.len() >= self.memory.generation) {
            self.generations.push_back(Generation::default());
        }
        if let Some(last) = self.generations.back_mut() {
            last.seen.insert(mark(hash));
            last.upto.raise(dot.origin, dot.version);
        }
        while self.generations.len() > self.memory.generations.max(1) {
            let Some(oldest) = self.generations.pop_front() else { break };
            if !planted::is(Planted::ForgetFloor) {
                self.floor.merge(&oldest.upto);
            }
        }
    }

    /// Forgets one by one what a vector covers: whoever comes with less is refused.
    pub fn cover(&mut self, vector: &VersionVector) {
        self.floor.merge(&everywhere(vector));
    }

    /// Whether a home that had applied `vector` knew all references to a blob that were applied here.
    ///
    /// # Errors
    /// [`Refusal::Forgotten`] and [`Refusal::Referenced`].
    pub fn check(&self, hash: &BlobHash, vector: &VersionVector) -> Result<(), Refusal> {
        if planted::is(Planted::RemoveReferenced) {
            return Ok(());
        }
        if !vector.includes(&self.floor) {
            return Err(Refusal::Forgotten);
        }
        let mark = mark(hash);
        let unseen = |it: &Generation| it.seen.contains(&mark) && !vector.includes(&it.upto);
        if self.generations.iter().any(unseen) { Err(Refusal::Referenced) } else { Ok(()) }
    }
}

/// What of a vector every region knows. Rows of the index lie in domain 0 alone.
pub(super) fn everywhere(vector: &VersionVector) -> VersionVector {
    vector.iter().filter(|(origin, _)| origin.domain() == DomainId(0)).collect()
}

fn mark(hash: &BlobHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rhumb_types::OriginId;

    use super::*;

    fn origin(n: u64) -> OriginId {
        OriginId(n << 16)
    }

    fn hash(n: u8) -> BlobHash {
        BlobHash([n; 32])
    }

    proptest! {
        /// Whatever is forgotten: what was referred to past a vector is never let go by it.
        #[test]
        fn never_lets_go_what_was_referred_to(
            adds in prop::collection::vec((0_u64..3, 0_u8..6), 0..60),
            vector in prop::collection::vec(0_u64..30, 3),
            generation in 1_usize..5, generations in 1_usize..4,
        ) {
            let mut references =
                References::new(Memory { generation, generations }, &VersionVector::new());
            let vector: VersionVector =
                (0..).map(origin).zip(vector.iter().copied()).collect();
            let mut versions = [0; 3];
            let mut unseen = std::collections::BTreeSet::new();
            for (at, blob) in adds {
                let version = &mut versions[usize::try_from(at).unwrap()];
                *version += 1;
                let dot = Dot { origin: origin(at), version: *version };
                references.add(dot, &hash(blob));
                if !vector.covers(dot) {
                    unseen.insert(blob);
                }
            }
            for blob in &unseen {
                prop_assert!(references.check(&hash(*blob), &vector).is_err());
            }
            let all: VersionVector = (0..).map(origin).zip(versions).collect();
            for blob in 0..6 {
                prop_assert_eq!(references.check(&hash(blob), &all), Ok(()), "who knows all may");
            }
        }
    }

    #[test]
    fn a_start_asks_for_all_that_was_applied_and_other_domains_do_not_count() {
        let elsewhere = OriginId((9 << 16) | 1);
        let applied: VersionVector = [(origin(1), 5), (elsewhere, 7)].into_iter().collect();
        let mut references = References::new(Memory::default(), &applied);
        let less: VersionVector = [(origin(1), 4)].into_iter().collect();
        let same: VersionVector = [(origin(1), 5)].into_iter().collect();
        assert_eq!(references.check(&hash(1), &less), Err(Refusal::Forgotten));
        assert_eq!(references.check(&hash(1), &same), Ok(()));
        references.cover(&[(origin(2), 1)].into_iter().collect());
        assert_eq!(references.check(&hash(1), &same), Err(Refusal::Forgotten));
    }
}
