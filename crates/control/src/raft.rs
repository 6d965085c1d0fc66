//! The types that openraft is instantiated with.

use std::{
    io::Cursor,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use rhumb_types::{NodeId, RegionId};
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// The instantiation that every group shares.
    pub(crate) TypeConfig:
        D = Command,
        R = Bytes,
        NodeId = NodeId,
        Node = Seat,
        SnapshotData = Cursor<Vec<u8>>,
);

/// A running instance of openraft.
pub(crate) type Raft = openraft::Raft<TypeConfig>;
/// An entry of the log.
pub(crate) type Entry = openraft::Entry<TypeConfig>;
/// Names an entry: who led, in which term, at which index.
pub(crate) type LogId = openraft::LogId<NodeId>;
/// Whom a node voted for, and whether that one won.
pub(crate) type Vote = openraft::Vote<NodeId>;
/// A membership and the entry that set it.
pub(crate) type StoredMembership = openraft::StoredMembership<NodeId, Seat>;
/// What a snapshot contains.
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<NodeId, Seat>;
/// A storage fault in openraft's words.
pub(crate) type StorageError = openraft::StorageError<NodeId>;

/// Where a member lives. `None` only because openraft wants a default; every member has a region.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seat {
    /// The region, which is also the member's address.
    pub(crate) region: Option<RegionId>,
}

/// A command on its way through the log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Command {
    /// What the machine is given.
    pub(crate) bytes: Bytes,
    /// Raised when the command enters this node's own log; not part of the entry.
    #[serde(skip)]
    appended: Appended,
}

/// Tells whether a command entered the log of the leader that took it.
///
/// openraft answers `ForwardToLeader` both when a command never entered the log and when it did
/// and was cut off by a later leader. The second may still be agreed, through a follower that
/// kept it, so the caller must not be told that nothing happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Appended(Arc<AtomicBool>);

impl Appended {
    /// Whether the command entered the log.
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Command {
    /// A command, and where to see whether it entered the log.
    pub(crate) fn new(bytes: Bytes) -> (Self, Appended) {
        let appended = Appended::default();
        (Self { bytes, appended: appended.clone() }, appended)
    }

    /// Notes that the command is about to be written to the log.
    pub(crate) fn mark_appended(&self) {
        self.appended.0.store(true, Ordering::Release);
    }
}
