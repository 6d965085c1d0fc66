//! Removals of a whole key, or of a range of keys, that are not yet carried out row by row.

use serde::{Deserialize, Serialize};

use super::{Dot, VersionVector};

/// One removal of a range of cells: which write removed, and what its writer had seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Removal {
    /// The removing write.
    pub dot: Dot,
    /// Its context, the earlier versions of its own origin included.
    pub seen: VersionVector,
}

/// The removals that a row has not yet been passed through, in order of their dots.
///
/// A removal whose dot another one has seen adds nothing and is left out, so there are as many as
/// removed concurrently: one, nearly always.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Cleared(Vec<Removal>);

impl Cleared {
    /// Removes nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether a write is gone.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        self.0.iter().any(|removal| removal.seen.covers(dot))
    }

    /// The first removal that took a write away.
    #[must_use]
    pub fn removal_of(&self, dot: Dot) -> Option<&Removal> {
        self.0.iter().find(|removal| removal.seen.covers(dot))
    }

    /// Adds a removal, in place of those that its writer had seen.
    pub fn insert(&mut self, removal: Removal) {
        if self.0.iter().any(|known| known.dot == removal.dot || known.seen.covers(removal.dot)) {
            return;
        }
        self.0.retain(|known| !removal.seen.covers(known.dot));
        let at = self.0.partition_point(|known| known.dot < removal.dot);
        self.0.insert(at, removal);
    }

    /// The removals, in order of their dots.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Removal> {
        self.0.iter()
    }

    /// Whether nothing is removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OriginId;

    fn removal(origin: u64, version: u64, seen: &[(u64, u64)]) -> Removal {
        Removal {
            dot: Dot { origin: OriginId(origin), version },
            seen: seen.iter().map(|(o, v)| (OriginId(*o), *v)).collect(),
        }
    }

    #[test]
    fn a_later_removal_takes_the_place_of_those_it_saw() {
        let mut cleared = Cleared::new();
        cleared.insert(removal(1, 5, &[(1, 4), (2, 3)]));
        cleared.insert(removal(2, 9, &[(1, 2), (2, 8)]));
        assert_eq!(cleared.iter().len(), 2);
        assert!(cleared.covers(Dot { origin: OriginId(1), version: 4 }));
        assert!(!cleared.covers(Dot { origin: OriginId(1), version: 5 }));
        cleared.insert(removal(1, 6, &[(1, 5), (2, 9)]));
        assert_eq!(cleared.iter().len(), 1);
        cleared.insert(removal(2, 9, &[(1, 2), (2, 8)]));
        assert_eq!(cleared.iter().len(), 1);
    }
}
