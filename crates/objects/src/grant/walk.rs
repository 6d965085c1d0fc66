//! The walk of a home: what nobody refers to, and where there are more copies than need be.
//!
//! In passes, so that memory is bounded whatever the number of blobs. A pass takes in the holders' rows
//! of as many hashes as fit, which lie one after the other, and then all rows that refer to blobs, and
//! strikes out what they name. The next pass goes on after the last hash.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_regions::{RegionIndex, RegionSet, RoutingSnapshot};
use rhumb_types::{
    RegionId, UnixMillis,
    planted::{self, Planted},
    record::{
        BlobHash, BlobRef, Cell, CodecError, HolderRecord, IndexKey, Record, Value, VersionVector,
    },
};

use crate::{
    refer::{Referred, referred},
    want::cache::is_given_up,
};

use super::limits::{CACHED_GRACE, GRACE, SURPLUS_GRACE, WALK_HASHES_MAX};

/// How a walk decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkConfig {
    /// How old a copy is at least before its removal is granted, where nobody refers to the blob.
    pub grace: Duration,
    /// The same, where there are more copies than need be.
    pub surplus_grace: Duration,
    /// The same, where such a copy is a cached one: its holder says whether it likes to keep it.
    pub cached_grace: Duration,
    /// Hashes in one pass.
    pub hashes_max: usize,
}

impl Default for WalkConfig {
    fn default() -> Self {
        Self {
            grace: GRACE,
            surplus_grace: SURPLUS_GRACE,
            cached_grace: CACHED_GRACE,
            hashes_max: WALK_HASHES_MAX,
        }
    }
}

/// Why holders may remove a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Nobody refers to it.
    Unreferenced,
    /// There are more copies than need be.
    Surplus {
        /// Where copies ought to be.
        keep: Vec<RegionId>,
        /// How many there must be.
        copies: u8,
    },
}

/// A blob that may go, all over or in some regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub hash: BlobHash,
    /// Why.
    pub cause: Cause,
    /// Who holds it by the rows, and is to be asked.
    pub holders: Vec<RegionId>,
    /// Of these, whose copies are old enough to go.
    pub ripe: Vec<RegionId>,
    /// What had been applied before the walk.
    pub vector: Arc<VersionVector>,
}

/// Whether a row fitted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It did.
    Yes,
    /// The pass is full: this row and those after it are for the next one.
    Full,
}

/// What a pass has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalkCounts {
    /// Hashes with a holder.
    pub held: u64,
    /// Those that nobody refers to.
    pub unreferenced: u64,
    /// Those with fewer copies than there must be.
    pub short: u64,
    /// Those with more.
    pub surplus: u64,
    /// Copies that their holders would rather be rid of.
    pub given_up: u64,
}

/// What came out of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// What may go.
    pub candidates: Vec<Candidate>,
    /// After which hash the next pass goes on; `None` when this one was the last.
    pub next: Option<BlobHash>,
    /// Figures.
    pub counts: WalkCounts,
}

/// The regions among which hashes are shared out, in order: the agreed members that hold data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Homes(Vec<RegionId>);

impl FromIterator<RegionId> for Homes {
    fn from_iter<I: IntoIterator<Item = RegionId>>(members: I) -> Self {
        let mut homes: Vec<RegionId> = members.into_iter().collect();
        homes.sort();
        homes.dedup();
        Self(homes)
    }
}

impl Homes {
    /// The home of a hash. BLAKE3 is even, so the first bytes do.
    #[must_use]
    pub fn of(&self, hash: &BlobHash) -> Option<&RegionId> {
        let [first, second, ..] = hash.0;
        let number = usize::from(u16::from_be_bytes([first, second]));
        self.0.get(number % self.0.len().max(1))
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Row {
    holders: RegionSet,
    /// Old enough to go when nobody refers to the blob.
    old: RegionSet,
    /// Old enough to go when there are others.
    spare: RegionSet,
    wanted: RegionSet,
    copies: u8,
    referenced: bool,
}

/// One pass of a walk.
#[derive(Debug, Clone)]
pub struct Walk {
    config: WalkConfig,
    now: UnixMillis,
    vector: Arc<VersionVector>,
    rows: BTreeMap<BlobHash, Row>,
    full: bool,
    given_up: u64,
}

impl Walk {
    /// Begins a pass. `vector` is what had been applied before the first row was read, of domain 0.
    #[must_use]
    pub fn begin(config: WalkConfig, now: UnixMillis, vector: &VersionVector) -> Self {
        let vector = Arc::new(super::references::everywhere(vector));
        Self { config, now, vector, rows: BTreeMap::new(), full: false, given_up: 0 }
    }

    /// First, the holders' rows, in the order of their hashes, of hashes whose home this is.
    pub fn on_holder(
        &mut self,
        hash: BlobHash,
        region: RegionIndex,
        record: &HolderRecord,
    ) -> Taken {
        debug_assert!(
            self.rows.last_key_value().is_none_or(|(last, _)| *last <= hash),
            "holders' rows come in the order of their hashes"
        );
        let known = self.rows.contains_key(&hash);
        if self.full || (!known && self.rows.len() >= self.config.hashes_max.max(1)) {
            self.full = true;
            return Taken::Full;
        }
        self.given_up += u64::from(is_given_up(record));
        let age = self.now.saturating_since(record.since);
        let row = self.rows.entry(hash).or_default();
        row.holders.insert(region);
        if age >= self.config.grace {
            row.old.insert(region);
        }
        let spare =
            if record.cached { self.config.cached_grace } else { self.config.surplus_grace };
        if age >= spare {
            row.spare.insert(region);
        }
        Taken::Yes
    }

    /// The same of a page of rows, with all that their cells hold: those of hashes whose home this is.
    pub fn on_holders(
        &mut self,
        (homes, home): (&Homes, &RegionId),
        snapshot: &RoutingSnapshot,
        rows: &[(Bytes, Cell)],
    ) -> Taken {
        for (key, cell) in rows {
            let Ok(IndexKey::Holder { hash, region }) = IndexKey::decode(key) else { continue };
            let (Some(at), Some(record)) = (snapshot.index(&region), youngest(cell)) else {
                continue;
            };
            if homes.of(&hash) == Some(home) && self.on_holder(hash, at, &record) == Taken::Full {
                return Taken::Full;
            }
        }
        Taken::Yes
    }

    /// Strikes out what a row refers to: each entry of its cell, for a delete that saw only the winner
    /// leaves the others. `wanted` says where copies ought to be, and how many.
    ///
    /// # Errors
    /// When an entry cannot be understood: it may refer to anything, so that the walk must end.
    pub fn on_row(
        &mut self,
        (key, cell): (&[u8], &Cell),
        mut wanted: impl FnMut(&Referred, &BlobRef) -> (RegionSet, u8),
    ) -> Result<(), CodecError> {
        let winner = cell.entries.iter().map(rhumb_types::record::Entry::stamp).max();
        for entry in &cell.entries {
            let Some(bytes) = entry.value.bytes() else { continue };
            if planted::is(Planted::WalkWinners) && Some(entry.stamp()) != winner {
                continue;
            }
            let Some(referred) = referred(key, bytes)? else { continue };
            for blob in &referred.blobs {
                let (regions, copies) = wanted(&referred, blob);
                self.on_reference(&blob.hash, regions, copies);
            }
        }
        Ok(())
    }

    /// Then, every row that refers to a blob: of each entry of each cell. `wanted` is where copies ought
    /// to be by the bucket of that row, `copies` how many there must be.
    pub fn on_reference(&mut self, hash: &BlobHash, wanted: RegionSet, copies: u8) {
        if let Some(row) = self.rows.get_mut(hash) {
            row.referenced = true;
            row.wanted = row.wanted.or(wanted);
            row.copies = row.copies.max(copies);
        }
    }

    /// Ends the pass.
    #[must_use]
    pub fn finish(self, snapshot: &RoutingSnapshot) -> Pass {
        let next = self.full.then(|| self.rows.last_key_value().map(|(hash, _)| *hash)).flatten();
        let mut counts = WalkCounts { given_up: self.given_up, ..WalkCounts::default() };
        let mut candidates = Vec::new();
        let names = |set: RegionSet| set.iter().map(|at| snapshot.id(at).clone()).collect();
        for (hash, row) in &self.rows {
            counts.held += 1;
            let copies = row.copies.max(1);
            let (cause, ripe) = if row.referenced {
                counts.short += u64::from(row.holders.len() < usize::from(copies));
                counts.surplus += u64::from(row.holders.len() > usize::from(copies));
                let cause = Cause::Surplus { keep: names(row.wanted), copies };
                (cause, row.holders.without(row.wanted).and(row.spare))
            } else {
                counts.unreferenced += 1;
                (Cause::Unreferenced, row.old)
            };
            let enough = !row.referenced || row.holders.len() > usize::from(copies);
            if enough && !ripe.is_empty() {
                candidates.push(Candidate {
                    hash: *hash,
                    cause,
                    holders: names(row.holders),
                    ripe: names(ripe),
                    vector: Arc::clone(&self.vector),
                });
            }
        }
        Pass { candidates, next, counts }
    }
}

/// The youngest of what a cell says of a holder.
fn youngest(cell: &Cell) -> Option<HolderRecord> {
    let records = cell.entries.iter().filter_map(|entry| match &entry.value {
        Value::Bytes(bytes) => HolderRecord::decode(bytes).ok(),
        _ => None,
    });
    records.max_by_key(|record| record.since)
}

#[cfg(test)]
mod tests {
    use rhumb_regions::{Facts, Policy, Region, RegionFacts};

    use super::*;

    fn id(name: &str) -> RegionId {
        RegionId::new(name).unwrap()
    }

    fn snapshot() -> RoutingSnapshot {
        let region = |name: &str| RegionFacts::new(Region::new(id(name), "x:1"));
        RoutingSnapshot::build(Facts {
            version: 1,
            here: id("a"),
            regions: ["a", "b", "c"].map(region).into(),
            links: Vec::new(),
            rules: Vec::new(),
            policy: Policy::default(),
        })
        .unwrap()
    }

    fn hash(n: u8) -> BlobHash {
        BlobHash([n; 32])
    }

    const NOW: UnixMillis = UnixMillis(1_000_000_000);

    fn held(hours: u64, cached: bool) -> HolderRecord {
        HolderRecord { bytes: 1, since: UnixMillis(NOW.0 - hours * 3_600_000), cached }
    }

    #[test]
    fn finds_what_nobody_refers_to_once_it_is_old() {
        let map = snapshot();
        let at = |name: &str| map.index(&id(name)).unwrap();
        let mut walk = Walk::begin(WalkConfig::default(), NOW, &VersionVector::new());
        walk.on_holder(hash(1), at("a"), &held(25, false));
        walk.on_holder(hash(1), at("b"), &held(23, false));
        walk.on_holder(hash(2), at("a"), &held(99, false));
        walk.on_holder(hash(3), at("a"), &held(1, true));
        walk.on_reference(&hash(2), RegionSet::of(at("a")), 1);
        let pass = walk.finish(&map);
        let found: Vec<_> = pass.candidates.iter().map(|it| (it.hash, it.ripe.clone())).collect();
        assert_eq!(found, [(hash(1), vec![id("a")])]);
        assert_eq!(pass.candidates[0].holders, [id("a"), id("b")]);
        assert_eq!((pass.counts.held, pass.counts.unreferenced, pass.next), (3, 2, None));
    }

    #[test]
    fn finds_copies_that_nobody_asks_for_where_there_are_enough() {
        let map = snapshot();
        let at = |name: &str| map.index(&id(name)).unwrap();
        let mut walk = Walk::begin(WalkConfig::default(), NOW, &VersionVector::new());
        for (blob, others) in [(1, true), (2, false)] {
            walk.on_holder(hash(blob), at("a"), &held(9, false));
            if others {
                walk.on_holder(hash(blob), at("b"), &held(9, false));
            }
            walk.on_holder(hash(blob), at("c"), &held(25, true));
            walk.on_reference(&hash(blob), RegionSet::of(at("a")), 1);
            walk.on_reference(&hash(blob), RegionSet::of(at("b")), 2);
        }
        let pass = walk.finish(&map);
        assert_eq!(pass.candidates.len(), 1);
        assert_eq!(pass.candidates[0].ripe, [id("c")]);
        let keep = vec![id("a"), id("b")];
        assert_eq!(pass.candidates[0].cause, Cause::Surplus { keep, copies: 2 });
        assert_eq!(pass.counts.surplus, 1);
    }

    #[test]
    fn passes_share_out_the_hashes() {
        let map = snapshot();
        let at = |name: &str| map.index(&id(name)).unwrap();
        let config = WalkConfig { hashes_max: 2, ..WalkConfig::default() };
        let (mut found, mut from, mut passes) = (Vec::new(), None, 0);
        loop {
            let mut walk = Walk::begin(config, NOW, &VersionVector::new());
            let rows = (1..=5).map(hash).filter(|it| from.is_none_or(|from| *it > from));
            let mut rows = rows.flat_map(|blob| [(blob, "a"), (blob, "b")]);
            let taken =
                |(blob, region)| walk.on_holder(blob, at(region), &held(99, false)) == Taken::Yes;
            rows.all(taken);
            let pass = walk.finish(&map);
            found.extend(pass.candidates.iter().map(|it| (it.hash, it.holders.len())));
            (from, passes) = (pass.next, passes + 1);
            if from.is_none() {
                break;
            }
        }
        assert_eq!(found, (1..=5).map(|n| (hash(n), 2)).collect::<Vec<_>>());
        assert_eq!(passes, 3);
    }
}
