//! What the nodes of a group say to each other, inside a `PeerCall`.

use bytes::Bytes;
use openraft::{
    error::InstallSnapshotError,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest,
        InstallSnapshotResponse, VoteRequest, VoteResponse,
    },
};
use rhumb_ports::control::ControlError;
use rhumb_types::{NodeId, RegionId};
use serde::{Deserialize, Serialize};

use crate::raft::TypeConfig;

/// The version of these messages (rule 16).
pub(crate) const WIRE_VERSION: u16 = 1;

/// A request, with everything that is checked before it is looked at.
#[derive(Serialize, Deserialize)]
pub(crate) struct Envelope {
    /// The version of what follows.
    pub(crate) version: u16,
    /// The group.
    pub(crate) group: String,
    /// Whom it is for; a region's node may have been replaced. Anybody, when `None`.
    pub(crate) to: Option<NodeId>,
    /// Which forming or recovery of the group the sender follows.
    pub(crate) lineage: Option<u64>,
    /// What is asked.
    pub(crate) request: Request,
}

/// What is asked.
#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    /// Raft: entries, or a heartbeat.
    Append(AppendEntriesRequest<TypeConfig>),
    /// Raft: a candidate asks for a vote.
    Vote(VoteRequest<NodeId>),
    /// Raft: a part of a snapshot.
    Snapshot(InstallSnapshotRequest<TypeConfig>),
    /// Before the group is formed: who are you, and are you empty?
    Probe,
    /// To the leader.
    Lead {
        /// What to do.
        ask: Ask,
        /// For how long to try, in milliseconds.
        patience_ms: u64,
    },
}

/// What only the leader can do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Agree on a command.
    Propose(Bytes),
    /// Answer a query after everything agreed so far.
    Read(Bytes),
    /// Change the members.
    SetMember {
        /// Whom.
        node: NodeId,
        /// Where.
        region: RegionId,
        /// A voter, a learner, or gone.
        voter: Option<bool>,
    },
}

/// What is answered.
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To [`Request::Append`].
    Append(AppendEntriesResponse<NodeId>),
    /// To [`Request::Vote`].
    Vote(VoteResponse<NodeId>),
    /// To [`Request::Snapshot`].
    Snapshot(Result<InstallSnapshotResponse<NodeId>, InstallSnapshotError>),
    /// To [`Request::Probe`].
    Probe {
        /// Who answers.
        node: NodeId,
        /// Whether it has neither voted nor stored anything for the group.
        pristine: bool,
    },
    /// To [`Request::Lead`]: done.
    Done(Bytes),
    /// To [`Request::Lead`]: nothing was done; try again, elsewhere or later.
    Again(String),
    /// To [`Request::Lead`]: it failed, and trying again is not the group's business.
    Failed(Failure),
}

/// A [`ControlError`] on its way.
#[derive(Serialize, Deserialize)]
pub(crate) enum Failure {
    /// [`ControlError::NoLeader`].
    NoLeader(String),
    /// [`ControlError::Unknown`].
    Unknown,
    /// [`ControlError::Storage`].
    Storage(String),
    /// [`ControlError::Membership`].
    Membership(String),
    /// [`ControlError::Overloaded`].
    Overloaded(String),
    /// [`ControlError::Invalid`].
    Invalid(String),
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NoLeader { reason } => Self::NoLeader(reason),
            ControlError::Unknown => Self::Unknown,
            ControlError::Storage(what) => Self::Storage(what),
            ControlError::Membership(what) => Self::Membership(what),
            ControlError::Overloaded(what) => Self::Overloaded(what),
            ControlError::Invalid(what) => Self::Invalid(what),
        }
    }
}

impl From<Failure> for ControlError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoLeader(reason) => Self::NoLeader { reason },
            Failure::Unknown => Self::Unknown,
            Failure::Storage(what) => Self::Storage(what),
            Failure::Membership(what) => Self::Membership(what),
            Failure::Overloaded(what) => Self::Overloaded(what),
            Failure::Invalid(what) => Self::Invalid(what),
        }
    }
}

/// Encodes a message.
///
/// # Errors
/// When it cannot be encoded, in words.
pub(crate) fn encode(message: &impl Serialize) -> Result<Bytes, String> {
    postcard::to_stdvec(message).map(Bytes::from).map_err(|fault| fault.to_string())
}

/// Decodes a message.
///
/// # Errors
/// When the bytes are none, in words.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    postcard::from_bytes(bytes).map_err(|fault| format!("the message cannot be read: {fault}"))
}
