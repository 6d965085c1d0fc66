//! What a node tells of itself.

use std::sync::Arc;

use rhumb_types::{MonoTime, OriginId, RegionId, record::VersionVector};

/// Where a node is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// Waiting for peers to confirm that its own log is whole (rule 1); takes no writes.
    #[default]
    Proving,
    /// Taking writes.
    Running,
    /// Loading a snapshot because a log is no longer kept far enough back; takes no writes.
    Loading,
    /// The disk failed: reads only, nothing is acknowledged.
    Failed,
}

/// A node, as it sees itself and its peers.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct NodeStatus {
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether its clock is within bounds.
    pub clock_ok: bool,
    /// The origin that it writes in the domain of every region.
    pub origin: OriginId,
    /// What it has applied, this including what is not yet durable.
    pub applied: VersionVector,
    /// What it has applied and fsynced.
    pub durable: VersionVector,
    /// Its peers, in order of regions.
    pub peers: Vec<PeerStatus>,
    /// Received transactions that wait.
    pub received_waiting: usize,
    /// Their bytes.
    pub received_bytes: usize,
    /// Submits and waits for remote acknowledgement.
    pub acks_waiting: usize,
    /// Conflicts settled so far.
    pub conflicts: u64,
    /// Pub/sub messages dropped.
    pub published_dropped: u64,
    /// Whether a snapshot is being loaded.
    pub bootstrapping: bool,
}

impl NodeStatus {
    /// How many other regions make, with this one, a majority of those that hold data.
    #[must_use]
    pub fn others_of_majority(&self) -> usize {
        self.peers.iter().filter(|peer| !peer.witness).count().div_ceil(2)
    }

    /// Whether a region has told of transactions that this node has not applied.
    #[must_use]
    pub fn lacks_of(&self, region: &RegionId) -> bool {
        self.peers.iter().any(|peer| peer.region == *region && peer.ahead_transactions > 0)
    }

    /// What some regions last said that they hold; `None` when one has not.
    pub fn reported<'r>(
        &self,
        regions: impl IntoIterator<Item = &'r RegionId>,
    ) -> Option<Vec<VersionVector>> {
        let of = |region: &RegionId| {
            let peer = self.peers.iter().find(|peer| peer.region == *region)?;
            Some(peer.report.as_ref()?.durable.clone())
        };
        regions.into_iter().map(of).collect()
    }
}

/// A peer, as a node sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerStatus {
    /// Its region.
    pub region: RegionId,
    /// Whether it only votes.
    pub witness: bool,
    /// Whether the link stands.
    pub up: bool,
    /// The last round trip of a heartbeat, in microseconds.
    pub round_trip_micros: Option<u64>,
    /// How many heartbeats came from it since this node's start.
    pub heartbeats: u64,
    /// How long ago it was last heard, in microseconds.
    pub silent_micros: u64,
    /// Our clock minus its clock, in milliseconds.
    pub clock_offset_millis: Option<i64>,
    /// How many of this node's transactions it has not acknowledged.
    pub behind_transactions: u64,
    /// For how long the oldest of them has been durable here, in milliseconds.
    pub behind_millis: u64,
    /// How many transactions of its region this node has not applied.
    pub ahead_transactions: u64,
    /// Whether it says that it serves.
    pub serving: bool,
    /// Its load, from 0 to 1.
    pub load: f64,
    /// Capabilities that it says are broken.
    pub impaired: Vec<String>,
    /// Which regions it hears.
    pub hears: Vec<RegionId>,
    /// What it last said that it holds.
    pub report: Option<Arc<Report>>,
}

/// What a peer said that it holds, in words that are newer than something that it had heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The peer had heard what this node sent at this time, on this node's clock.
    pub asked: MonoTime,
    /// Applied and fsynced there.
    pub durable: VersionVector,
}
