//! Positions of regions in a snapshot, and sets of them in one machine word.

use serde::{Deserialize, Serialize};

use crate::registry::REGIONS_MAX;

/// The position of a region in one [`RoutingSnapshot`](crate::RoutingSnapshot); meaningless in
/// another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionIndex(pub(crate) u8);

impl RegionIndex {
    pub(crate) fn new(at: usize) -> Self {
        debug_assert!(at < REGIONS_MAX, "a snapshot holds at most {REGIONS_MAX} regions");
        Self(u8::try_from(at).unwrap_or(u8::MAX))
    }

    pub(crate) const fn at(self) -> usize {
        self.0 as usize
    }
}

/// A set of regions of one snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionSet(u64);

impl RegionSet {
    /// No region.
    pub const EMPTY: Self = Self(0);

    /// The set of one region.
    #[must_use]
    pub const fn of(region: RegionIndex) -> Self {
        Self(1 << region.0)
    }

    /// Whether no region is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many regions are in it.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether a region is in it.
    #[must_use]
    pub const fn contains(self, region: RegionIndex) -> bool {
        self.0 >> region.0 & 1 == 1
    }

    /// Adds a region.
    pub const fn insert(&mut self, region: RegionIndex) {
        self.0 |= 1 << region.0;
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// This set, or the other when this one is empty.
    #[must_use]
    pub const fn or_if_empty(self, other: Self) -> Self {
        if self.is_empty() { other } else { self }
    }

    /// Its regions, in order.
    #[must_use]
    pub const fn iter(self) -> RegionSetIter {
        RegionSetIter(self.0)
    }
}

impl FromIterator<RegionIndex> for RegionSet {
    fn from_iter<I: IntoIterator<Item = RegionIndex>>(regions: I) -> Self {
        let mut set = Self::EMPTY;
        regions.into_iter().for_each(|region| set.insert(region));
        set
    }
}

impl IntoIterator for RegionSet {
    type Item = RegionIndex;
    type IntoIter = RegionSetIter;
    fn into_iter(self) -> RegionSetIter {
        self.iter()
    }
}

/// The regions of a set, in order.
#[derive(Clone, Debug)]
pub struct RegionSetIter(u64);

impl Iterator for RegionSetIter {
    type Item = RegionIndex;
    fn next(&mut self) -> Option<RegionIndex> {
        let next = (self.0 != 0).then(|| RegionIndex::new(self.0.trailing_zeros() as usize));
        self.0 &= self.0.wrapping_sub(1);
        next
    }
}
