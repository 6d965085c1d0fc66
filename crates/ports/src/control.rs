//! Agreement: replicated machines, and the group that runs them.

use bytes::Bytes;
use rhumb_types::{ErrorCode, NodeId, RegionId};

use crate::BoxFuture;

/// A deterministic machine that a consensus group replicates. Bytes in, bytes out; the group does
/// not know what they mean.
pub trait Replicated: Send + 'static {
    /// Applies an agreed command; the same bytes in the same order give the same answers on every
    /// node.
    fn apply(&mut self, index: u64, command: &[u8]) -> Bytes;
    /// Answers a read from the present state.
    fn read(&self, query: &[u8]) -> Bytes;
    /// The whole state.
    fn snapshot(&self) -> Bytes;
    /// Replaces the state.
    ///
    /// # Errors
    /// What is wrong with the bytes, in words; the state is unchanged then.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String>;
}

/// Why a group did not agree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No majority could be reached; nothing was agreed.
    #[error("the control plane has no leader in reach: {reason}")]
    NoLeader {
        /// What was tried.
        reason: String,
    },
    /// The answer did not come in time; it may still be agreed.
    #[error("the control plane did not answer in time; the command may still take effect")]
    Unknown,
    /// This node's control log cannot be written.
    #[error("the control log failed: {0}")]
    Storage(String),
    /// A change of members was refused.
    #[error("the change of members was refused: {0}")]
    Membership(String),
    /// Too many proposals at once, or more per second than the group admits; nothing was agreed.
    #[error("the control plane is overloaded: {0}")]
    Overloaded(String),
    /// The command is against a limit of the group; nothing was agreed.
    #[error("the control plane does not take this command: {0}")]
    Invalid(String),
}

impl ControlError {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NoLeader { .. } => ErrorCode::Unavailable,
            Self::Unknown => ErrorCode::Unconfirmed,
            Self::Storage(_) => ErrorCode::Internal,
            Self::Membership(_) => ErrorCode::Conflict,
            Self::Overloaded(_) => ErrorCode::Overloaded,
            Self::Invalid(_) => ErrorCode::Invalid,
        }
    }
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub node: NodeId,
    /// Its region.
    pub region: RegionId,
    /// Whether it votes.
    pub voter: bool,
}

/// What a group knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupStatus {
    /// The leader, when one is known.
    pub leader: Option<NodeId>,
    /// The Raft term.
    pub term: u64,
    /// The last log index applied here.
    pub applied: u64,
    /// The members.
    pub members: Vec<GroupMember>,
    /// Why this node is not in a working group: what formation waits for, or the fault that
    /// stopped it. `None` while all is well.
    pub trouble: Option<String>,
}

/// A consensus group, seen from one of its nodes.
pub trait Control: Send + Sync + 'static {
    /// Proposes a command, through the leader wherever it is, and gives the machine's answer.
    /// Dropping the future leaves the outcome unknown.
    fn propose(&self, command: Bytes) -> BoxFuture<'_, Result<Bytes, ControlError>>;
    /// Answers a query linearizably: after everything agreed before the call.
    fn read(&self, query: Bytes) -> BoxFuture<'_, Result<Bytes, ControlError>>;
    /// Answers a query from what this node has applied, without asking anybody.
    fn read_local(&self, query: &[u8]) -> Bytes;
    /// What the group knows of itself.
    fn status(&self) -> GroupStatus;
    /// Makes a node a voter, or a learner, or removes it (`None`).
    fn set_member(
        &self,
        node: NodeId,
        region: RegionId,
        voter: Option<bool>,
    ) -> BoxFuture<'_, Result<(), ControlError>>;
}
