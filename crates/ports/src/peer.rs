//! What nodes say to each other.
//!
//! Messages are data; the adapter frames, authenticates and delivers them in order per link, and
//! drops a link rather than a message.

use bytes::Bytes;
use rhumb_types::{
    ClusterId, Hlc, NodeId, OriginId, RegionId, UnixMillis,
    record::{Cell, Dot, Head, OwnedRow, Space, VersionVector},
};
use serde::{Deserialize, Serialize};

use crate::BoxFuture;

/// Most messages that wait on one link; past that the link is dropped and resumed from cursors.
pub const LINK_QUEUE_MESSAGES_MAX: usize = 1_024;
/// Bytes of log that a sender may have unacknowledged per follower and origin, in bytes. Large
/// enough for 1 Gbit/s at 250 ms.
pub const FOLLOW_WINDOW_BYTES: usize = 32 << 20;
/// Most bytes of transactions in one [`LogBatch`], in bytes, unless a single one is larger.
pub const LOG_BATCH_BYTES_MAX: usize = 1 << 20;
/// The version of the protocol that this binary speaks (rule 16). Each kind of message, command and call
/// says since which version it is there:
///
/// 1. What is not named below.
/// 2. A region asks another whether its workers are through, before its duties move; a failover whose
///    successor is lost names another.
/// 3. A queue may have a residency.
/// 4. Keys of linearizable buckets are decided about in terms.
pub const PROTOCOL_VERSION: u16 = 4;

/// What one node sends to another.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum PeerMessage {
    /// The first message of a link, in both directions.
    Hello(Hello),
    /// On a connection of its own: alive, and how.
    Heartbeat(Heartbeat),
    /// The answer to a heartbeat, at once.
    HeartbeatReply(HeartbeatReply),
    /// Asks for an origin's log after a version.
    Follow {
        /// Whose log.
        origin: OriginId,
        /// The highest version that the asker has.
        after: u64,
    },
    /// Ends a [`PeerMessage::Follow`].
    Unfollow {
        /// Whose log.
        origin: OriginId,
    },
    /// Transactions of one origin.
    Log(LogBatch),
    /// What the sender has fsynced; opens windows, answers `one_remote` and `quorum`, and bounds
    /// what must be kept.
    Ack {
        /// Applied and fsynced.
        durable: VersionVector,
    },
    /// The log asked for starts later: the asker must load a snapshot.
    Trimmed {
        /// Whose log.
        origin: OriginId,
        /// The lowest version kept.
        first: u64,
    },
    /// Asks for a snapshot of everything, continuing after a key.
    SnapshotPull {
        /// Chosen by the asker; names the transfer.
        transfer: u64,
        /// The last key received; from the first when `None`.
        after: Option<(Space, Bytes)>,
    },
    /// A part of a snapshot.
    Snapshot(SnapshotChunk),
    /// A message for subscribers (rule 14).
    Publish(Published),
}

/// Who speaks, what it has, and what it can read.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The highest protocol version that the sender speaks.
    pub protocol: u16,
    /// The cluster that the sender belongs to.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// Whether it only votes and holds no data.
    pub witness: bool,
    /// What it has applied and fsynced.
    pub durable: VersionVector,
    /// What it has received besides and may still write, where that is more. A node that hears here
    /// of more of its own log than it has knows that its disk lost something (rule 1).
    pub received: VersionVector,
    /// Who wrote the origins that it knows.
    pub origins: Vec<OriginInfo>,
    /// Its wall clock as it sent this.
    pub wall: UnixMillis,
    /// What its file says about where keys lie, as a number; 0 from a node that does not tell.
    pub namespaces: u64,
}

/// Where an origin came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OriginInfo {
    /// The origin.
    pub origin: OriginId,
    /// The region of its loop.
    pub region: RegionId,
    /// When it was minted, by the hybrid clock of its node; of two origins of one region and
    /// domain the later is the live one.
    pub minted: Hlc,
}

/// A sign of life, sent at the heartbeat interval.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Counts the sender's heartbeats on this link.
    pub sequence: u64,
    /// The sender's wall clock.
    pub wall: UnixMillis,
    /// The highest fsynced version of each origin that the sender itself writes.
    pub heads: VersionVector,
    /// What the sender has applied and fsynced, for bounds of retention and lag.
    pub durable: VersionVector,
    /// How loaded the sender is, from 0 to 1.
    pub load: f64,
    /// Whether the sender works at all: a failing disk or clock says no.
    pub serving: bool,
    /// Capabilities that the sender's own checks found broken, by name.
    pub impaired: Vec<String>,
    /// Which regions the sender hears now.
    pub hears: Vec<RegionId>,
}

/// The answer to a heartbeat.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The heartbeat's number.
    pub sequence: u64,
    /// The answerer's wall clock.
    pub wall: UnixMillis,
}

/// Transactions of one origin, in order and without gaps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LogBatch {
    /// Whose log.
    pub origin: OriginId,
    /// The version of the first transaction.
    pub first: u64,
    /// Encoded transactions.
    pub transactions: Vec<Bytes>,
    /// The highest version that the sender holds, so that lag can be told.
    pub head: u64,
}

/// A part of a snapshot: everything of the keys in a range, so that what is absent is deleted
/// where the vector covers it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// The transfer.
    pub transfer: u64,
    /// What the snapshot contains; the same in every chunk of a transfer.
    pub vector: VersionVector,
    /// Who wrote the origins in it.
    pub origins: Vec<OriginInfo>,
    /// The range starts after this key.
    pub after: Option<(Space, Bytes)>,
    /// The range ends with this key; `None` for the last chunk.
    pub through: Option<(Space, Bytes)>,
    /// The keys of the range.
    pub keys: Vec<SnapshotKey>,
    /// Owned rows; all in the last chunk.
    pub owned: Vec<OwnedRow>,
}

/// A key inside a snapshot.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SnapshotKey {
    /// The view.
    pub space: Space,
    /// The key.
    pub key: Bytes,
    /// Its head.
    pub head: Head,
    /// All its members.
    pub members: Vec<(Bytes, Cell)>,
}

/// A pub/sub message on its way to other regions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Published {
    /// Delivered once this is applied (rule 14); `None` when its origin had written nothing.
    pub after: Option<Dot>,
    /// The channel.
    pub channel: Bytes,
    /// The message.
    pub payload: Bytes,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no link to that region now.
    #[error("there is no link to {0}")]
    Down(RegionId),
    /// The link's queue was full; the link is being dropped.
    #[error("the link to {0} is full and was dropped")]
    Full(RegionId),
}

/// Sends messages to peers. Received ones reach the driver as events.
pub trait PeerLink: Send + Sync + 'static {
    /// Puts a message on the link to a region; never waits.
    ///
    /// # Errors
    /// [`SendError`] when there is no link, or when it could not take the message.
    fn send(&self, to: &RegionId, message: PeerMessage) -> Result<(), SendError>;
}

/// Which part of a node a [`PeerCall`] is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Service {
    /// Raft of the administrative group.
    ControlRaft,
    /// Raft of the strong group.
    StrongRaft,
    /// Forwarded proposals and reads of either group.
    Control,
    /// Requests forwarded to the region that owns their key.
    Forward,
    /// Handing out identities.
    Join,
    /// Questions to the queues of the region that owns their jobs.
    Queue,
    /// Questions about objects, and their bytes.
    Objects,
}

/// Why a call had no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer could not be reached; the request was not delivered, or its fate is unknown when
    /// `sent`.
    #[error("{peer} could not be reached: {reason}")]
    Unreachable {
        /// Whom.
        peer: String,
        /// Whether the request may have been delivered.
        sent: bool,
        /// What went wrong.
        reason: String,
    },
    /// The peer answered with an error.
    #[error("{peer} refused: {reason}")]
    Refused {
        /// Whom.
        peer: String,
        /// What it said.
        reason: String,
    },
}

/// Asks a peer and waits for its answer.
pub trait PeerCall: Send + Sync + 'static {
    /// Sends an opaque request to a service of a node at a region and waits; the future can be
    /// dropped at any time. The time-out is the caller's.
    fn call(
        &self,
        to: RegionId,
        service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, CallError>>;
}

/// Answers calls of peers.
pub trait PeerService: Send + Sync + 'static {
    /// Answers one request from an authenticated peer, or says why not.
    fn answer(
        &self,
        from: RegionId,
        service: Service,
        request: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>>;
}
