//! What a node has applied, per origin.

use serde::{Deserialize, Serialize};

use super::Dot;
use crate::OriginId;

/// The highest version applied of every origin. Logs are gapless, so this names an exact set of
/// transactions.
///
/// Kept sorted by origin; an origin that is absent is at version 0.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct VersionVector(Vec<(OriginId, u64)>);

impl VersionVector {
    /// A vector that covers nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The highest version of an origin; 0 when nothing of it is known.
    #[must_use]
    pub fn get(&self, origin: OriginId) -> u64 {
        self.position(origin).ok().and_then(|at| self.0.get(at)).map_or(0, |(_, version)| *version)
    }

    /// Whether a write is among those named.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        dot.version <= self.get(dot.origin)
    }

    /// Whether everything named by `other` is named here too.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        other.iter().all(|(origin, version)| version <= self.get(origin))
    }

    /// Raises one origin's version; a lower one changes nothing.
    pub fn raise(&mut self, origin: OriginId, version: u64) {
        if version == 0 {
            return;
        }
        match self.position(origin) {
            Ok(at) => {
                if let Some((_, known)) = self.0.get_mut(at) {
                    *known = version.max(*known);
                }
            }
            Err(at) => self.0.insert(at, (origin, version)),
        }
    }

    /// Raises every origin to what `other` names.
    pub fn merge(&mut self, other: &Self) {
        for (origin, version) in other.iter() {
            self.raise(origin, version);
        }
    }

    /// Forgets an origin.
    pub fn remove(&mut self, origin: OriginId) {
        if let Ok(at) = self.position(origin) {
            self.0.remove(at);
        }
    }

    /// Every origin with its version, in order of origins.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (OriginId, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Of what origins this names versions past those of `other`, and how many, in order of origins.
    pub fn beyond<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (OriginId, u64)> + 'a {
        let mut others = other.iter().peekable();
        self.iter().filter_map(move |(origin, version)| {
            while others.next_if(|(known, _)| *known < origin).is_some() {}
            let known = others.peek().filter(|(known, _)| *known == origin);
            let known = known.map_or(0, |(_, version)| *version);
            (version > known).then(|| (origin, version - known))
        })
    }

    /// How many origins are named.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn position(&self, origin: OriginId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&origin, |(known, _)| *known)
    }
}

impl FromIterator<(OriginId, u64)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (OriginId, u64)>>(pairs: I) -> Self {
        let mut vector = Self::new();
        for (origin, version) in pairs {
            vector.raise(origin, version);
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vectors() -> impl Strategy<Value = VersionVector> {
        proptest::collection::vec((0_u64..6, 0_u64..9), 0..8)
            .prop_map(|pairs| pairs.into_iter().map(|(o, v)| (OriginId(o), v)).collect())
    }

    proptest! {
        #[test]
        fn beyond_names_what_the_other_lacks(a in vectors(), b in vectors()) {
            let lacks = a.iter().map(|(origin, version)| {
                (origin, version.saturating_sub(b.get(origin)))
            });
            let lacks: Vec<_> = lacks.filter(|(_, more)| *more > 0).collect();
            prop_assert_eq!(a.beyond(&b).collect::<Vec<_>>(), lacks);
        }

        #[test]
        fn merge_is_a_least_upper_bound(a in vectors(), b in vectors(), c in vectors()) {
            let join = |x: &VersionVector, y: &VersionVector| { let mut j = x.clone(); j.merge(y); j };
            prop_assert_eq!(join(&a, &b), join(&b, &a));
            prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
            prop_assert_eq!(join(&a, &a), a.clone());
            prop_assert!(join(&a, &b).includes(&a));
            if c.includes(&a) && c.includes(&b) {
                prop_assert!(c.includes(&join(&a, &b)));
            }
        }
    }
}
