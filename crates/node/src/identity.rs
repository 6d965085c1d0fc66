//! Who this node is, and under which incarnation it writes.

use std::collections::BTreeMap;

use rhumb_ports::{peer::OriginInfo, store::Recovered};
use rhumb_state::ClearedPrefixes;
use rhumb_types::{
    ClusterId, DomainId, Hlc, NodeId, OriginId, RegionId,
    record::{Record, Space, VersionVector},
};
use serde::{Deserialize, Serialize};

/// The stored identity of a node and of its writing loop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster whose data this is.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// The random part of the origins that this loop writes; see [`OriginId::new`].
    pub incarnation: u64,
    /// When the incarnation was minted.
    pub minted: Hlc,
}

impl Record for Identity {
    const VERSION: u8 = 1;
}

impl Identity {
    /// The origin under which the loop writes in a domain.
    #[must_use]
    pub const fn origin(&self, domain: DomainId) -> OriginId {
        OriginId::new(self.incarnation, domain)
    }

    /// What peers are told about that origin.
    #[must_use]
    pub fn info(&self, domain: DomainId) -> OriginInfo {
        OriginInfo { origin: self.origin(domain), region: self.region.clone(), minted: self.minted }
    }
}

/// What a start found on its disk.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Boot {
    /// What the store recovered.
    pub recovered: Recovered,
    /// The stored identity; `None` on a fresh disk.
    pub identity: Option<Identity>,
    /// The stored registry of origins.
    pub origins: Origins,
    /// The store's last commit.
    pub commit: u64,
    /// Removals of ranges of keys that are not yet swept.
    pub cleared: Vec<(Space, ClearedPrefixes)>,
    /// The next place in the conflict journal.
    pub conflicts: u64,
    /// A random number, used if a new incarnation must be minted.
    pub entropy: u64,
}

/// Who wrote which origin.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Origins(BTreeMap<OriginId, OriginInfo>);

impl Record for Origins {
    const VERSION: u8 = 1;
}

impl Origins {
    /// Learns of an origin; says whether it was new.
    pub fn learn(&mut self, info: &OriginInfo) -> bool {
        if self.0.contains_key(&info.origin) {
            return false;
        }
        self.0.insert(info.origin, info.clone());
        true
    }

    /// The region that wrote an origin.
    #[must_use]
    pub fn region(&self, origin: OriginId) -> Option<&RegionId> {
        self.0.get(&origin).map(|info| &info.region)
    }

    /// Every origin known.
    pub fn iter(&self) -> impl Iterator<Item = &OriginInfo> {
        self.0.values()
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether the peers' words prove that this node's own log is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    /// Every peer that could know more has answered, and none does.
    Whole,
    /// Some have not answered yet.
    Open,
    /// A peer has more of this node's log than this node: the disk was rewound.
    Rewound,
}

/// Weighs what the data peers said about this node's own origins (rule 1). `None` is a peer that
/// has not answered.
pub(crate) fn prove<'a>(
    incarnation: u64,
    own: &VersionVector,
    peers: impl Iterator<Item = Option<&'a VersionVector>>,
) -> Proof {
    let mut proof = Proof::Whole;
    for peer in peers {
        let Some(durable) = peer else {
            proof = Proof::Open;
            continue;
        };
        let more = durable.iter().any(|(origin, version)| {
            origin.incarnation() == incarnation && version > own.get(origin)
        });
        if more {
            return Proof::Rewound;
        }
    }
    proof
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(version: u64) -> VersionVector {
        [(OriginId::new(0xabc0_0000, DomainId(0)), version)].into_iter().collect()
    }

    #[test]
    fn a_log_is_whole_only_when_every_peer_has_confirmed() {
        let own = vector(5);
        let (four, five, six) = (vector(4), vector(5), vector(6));
        let ask =
            |peers: &[Option<&VersionVector>]| prove(0xabc0_0000, &own, peers.iter().copied());
        assert_eq!(ask(&[Some(&four), Some(&five)]), Proof::Whole);
        assert_eq!(ask(&[Some(&four), None]), Proof::Open);
        assert_eq!(ask(&[None, Some(&six)]), Proof::Rewound);
        assert_eq!(ask(&[]), Proof::Whole);
    }
}
