//! What an operator should hear of.

use rhumb_ports::store::StoreError;
use rhumb_types::{OriginId, RegionId};

/// Something that an operator should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// The disk failed; the node has stopped acknowledging.
    Disk(StoreError),
    /// This node's clock is too far from its peers' median (rule 8); it has stopped
    /// acknowledging. Milliseconds ahead, negative when behind.
    Clock {
        /// How far.
        offset_millis: i64,
    },
    /// The clock is within bounds again.
    ClockRecovered,
    /// A peer sent stamps beyond the clock's bound; they were applied and did not move our clock.
    StampBeyondBound {
        /// Who wrote.
        origin: OriginId,
    },
    /// A peer sent what this binary cannot read (rule 16); its stream is parked.
    Parked {
        /// Which peer.
        region: RegionId,
        /// Whose log.
        origin: OriginId,
        /// What the decoder said.
        reason: String,
    },
    /// A peer belongs to another cluster.
    ForeignCluster {
        /// Which peer.
        region: RegionId,
    },
    /// A peer's file says otherwise where keys lie: which are strong, kept in a jurisdiction, or only a
    /// cache.
    Namespaces {
        /// Which peer.
        region: RegionId,
    },
    /// This start could not prove that its log is whole, and writes under a new origin.
    OriginMinted {
        /// The origin it wrote before, if any.
        old: Option<OriginId>,
        /// The new one.
        new: OriginId,
        /// Why.
        reason: &'static str,
    },
    /// A member is too far behind our logs, or we behind its: a snapshot is being loaded.
    Bootstrapping {
        /// From whom.
        from: RegionId,
    },
    /// The overseer tells a person.
    Overseer(String),
    /// The queues tell a person.
    Queues(String),
    /// A bound was reached; what it is and what it means.
    Limit(&'static str),
}
