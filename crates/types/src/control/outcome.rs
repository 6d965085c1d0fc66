//! What the administrative group answers.

use serde::{Deserialize, Serialize};

use super::{AdminState, FailoverId, RegionLease};
use crate::{ErrorCode, NodeId, RegionId, record::Record};

/// What became of a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AdminOutcome {
    /// The state changed.
    Done,
    /// The state was so already.
    Unchanged,
    /// The lease as it is now.
    Lease(RegionLease),
    /// A document or the set of namespaces has this version now.
    Version(u64),
    /// The failover's record.
    Failover {
        /// Its number.
        id: FailoverId,
        /// The sequence that its next change must name.
        sequence: u64,
    },
    /// A vote was counted.
    Vote {
        /// How many votes now say that the subject is down and count.
        down: u64,
        /// How many are needed.
        needed: u64,
        /// Whether the subject is under a verdict now.
        verdict: bool,
    },
}

/// Why a command was refused. The state is unchanged, but for the audit entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum AdminRefusal {
    /// The bytes are no command that this binary knows.
    #[error("the command cannot be read: {0}")]
    Unreadable(String),
    /// The cluster's agreed version does not allow this command yet (rule 16).
    #[error("the command needs cluster version {needed}, and the cluster is at {agreed}")]
    TooNew {
        /// What it needs.
        needed: u16,
        /// What is agreed.
        agreed: u16,
    },
    /// The cluster has not been formed.
    #[error("the cluster has not been formed")]
    NotFormed,
    /// The cluster has been formed already.
    #[error("the cluster has been formed already")]
    AlreadyFormed,
    /// A field is malformed.
    #[error("{field} is not acceptable: {problem}")]
    Invalid {
        /// Which field.
        field: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A limit is reached.
    #[error("there are already {max} {what}, which is the most")]
    Limit {
        /// Of what.
        what: String,
        /// How many there may be.
        max: u64,
    },
    /// There is no such region.
    #[error("{0} is not a region of this cluster")]
    UnknownRegion(RegionId),
    /// There is no such member.
    #[error("{0} is not a member of this cluster")]
    UnknownMember(NodeId),
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(String),
    /// A node's id was used before; a node without its disk needs a new one (rule 15).
    #[error("{0} was a member before: a node without its disk returns under a new id")]
    NodeRetired(NodeId),
    /// Something of that name exists.
    #[error("that {0} exists already")]
    Exists(String),
    /// The last eligible region is never disabled, drained or condemned.
    #[error("{0} is the last active region")]
    LastActiveRegion(RegionId),
    /// The last voter cannot go.
    #[error("{0} is the last voter")]
    LastVoter(NodeId),
    /// The region is not in the state that the caller expected.
    #[error("the region is {found:?}")]
    StateChanged {
        /// What it is.
        found: AdminState,
    },
    /// The document has another version than the caller expected.
    #[error("the version is {found}, not the expected one: read it again and decide again")]
    VersionChanged {
        /// What it is.
        found: u64,
    },
    /// The lease's numbers are not those that the caller saw.
    #[error("the lease is at epoch {}, renewal {}", .0.epoch, .0.renewal)]
    LeaseChanged(RegionLease),
    /// The region is under a verdict, or disabled, and gets no lease and no renewal (rule 7).
    #[error("{0} is under a verdict or not active, and holds no lease")]
    NotEligible(RegionId),
    /// The holder is an eligible member, so nobody may take its lease.
    #[error("the holder of the lease of {0} is in good standing")]
    HolderInGoodStanding(RegionId),
    /// A vote that does not count, such as a region's about itself.
    #[error("the vote does not count: {0}")]
    VoteVoid(String),
    /// An idempotency key was used for something else.
    #[error("the idempotency key was used for another request, failover {0:?}")]
    KeyReused(FailoverId),
    /// Another failover of the region is open.
    #[error("failover {0:?} of that region is still open")]
    FailoverOpen(FailoverId),
    /// The token is unknown, used, expired, or for another region or role.
    #[error("the token is not valid here: {0}")]
    TokenRefused(String),
}

impl AdminRefusal {
    /// A short name that never changes: it is hashed into the audit chain, which must come out
    /// the same on nodes of different releases.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::TooNew { .. } => "too-new",
            Self::NotFormed => "not-formed",
            Self::AlreadyFormed => "already-formed",
            Self::Invalid { .. } => "invalid",
            Self::Limit { .. } => "limit",
            Self::UnknownRegion(_) => "unknown-region",
            Self::UnknownMember(_) => "unknown-member",
            Self::NotFound(_) => "not-found",
            Self::NodeRetired(_) => "node-retired",
            Self::Exists(_) => "exists",
            Self::LastActiveRegion(_) => "last-active-region",
            Self::LastVoter(_) => "last-voter",
            Self::StateChanged { .. } => "state-changed",
            Self::VersionChanged { .. } => "version-changed",
            Self::LeaseChanged(_) => "lease-changed",
            Self::NotEligible(_) => "not-eligible",
            Self::HolderInGoodStanding(_) => "holder-in-good-standing",
            Self::VoteVoid(_) => "vote-void",
            Self::KeyReused(_) => "key-reused",
            Self::FailoverOpen(_) => "failover-open",
            Self::TokenRefused(_) => "token-refused",
        }
    }

    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unreadable(_) | Self::Invalid { .. } => ErrorCode::Invalid,
            Self::UnknownRegion(_) | Self::UnknownMember(_) | Self::NotFound(_) => {
                ErrorCode::NotFound
            }
            Self::Limit { .. } => ErrorCode::Overloaded,
            Self::TokenRefused(_) => ErrorCode::Forbidden,
            Self::NotFormed => ErrorCode::Unavailable,
            _ => ErrorCode::Conflict,
        }
    }
}

/// What the machine answers to a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdminAnswer(pub Result<AdminOutcome, AdminRefusal>);

impl Record for AdminAnswer {
    const VERSION: u8 = 1;
}
