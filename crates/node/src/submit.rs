//! What clients and machines ask a node to write, and why it was not done.

use std::sync::Arc;

use rhumb_state::{
    Op, ReadSet,
    owned::{OwnedOp, Refusal},
};
use rhumb_types::{AckLevel, ErrorCode, MonoTime, RegionId, record::VersionVector};

use crate::event::{ConnectionId, RequestId};

/// Writes of one client, executed in order and committed together.
#[derive(Debug)]
pub struct Submit {
    /// Names the answer.
    pub request: RequestId,
    /// What to do.
    pub ops: Vec<Op>,
    /// What must be durable before the answer.
    pub ack: AckLevel,
    /// When `one_remote` and `quorum` give up and answer `unconfirmed`.
    pub deadline: MonoTime,
    /// The rows that the ops name.
    pub reads: ReadSet,
    /// Whether all of it must lie in one transaction (EXEC).
    pub atomic: bool,
    /// Refuse everything when a key watched by this connection has changed.
    pub guard: Option<ConnectionId>,
}

/// Writes of owned rows: all of them, or none.
#[derive(Debug)]
pub struct SubmitOwned {
    /// Names the answer.
    pub request: RequestId,
    /// The home of new rows.
    pub home: RegionId,
    /// What to do, in order; at most [`OWNED_OPS_MAX`](crate::limits::OWNED_OPS_MAX).
    pub ops: Vec<OwnedOp>,
    /// What must be durable before the answer.
    pub ack: AckLevel,
    /// When `one_remote` and `quorum` give up and answer `unconfirmed`.
    pub deadline: MonoTime,
    /// The rows that the ops name.
    pub reads: ReadSet,
}

/// A wait for remote acknowledgement of everything written here so far.
#[derive(Debug)]
pub struct WaitAcks {
    /// Names the answer: the number of other regions that have it fsynced.
    pub request: RequestId,
    /// What must be acknowledged; what this node has written when `None`.
    pub written: Option<VersionVector>,
    /// How many other regions are wanted.
    pub regions: usize,
    /// When to answer with what there is.
    pub deadline: MonoTime,
}

/// Why a submit was not done as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Too many requests wait.
    #[error("this node has too many requests waiting; try again")]
    Overloaded,
    /// The node is starting, stopping, or its disk or clock cannot be trusted.
    #[error("{0}")]
    Unavailable(Arc<str>),
    /// The disk failed; whether the write is on it is unknown, and it was not shipped.
    #[error("the disk failed: {0}")]
    Disk(Arc<str>),
    /// Applied here and will replicate, but not acknowledged in time.
    #[error(
        "applied here, but not acknowledged by {wanted} other regions in time; it will replicate"
    )]
    Unconfirmed {
        /// How many other regions were wanted.
        wanted: usize,
        /// How many had acknowledged.
        had: usize,
    },
    /// A watched key has changed; nothing was done.
    #[error("a watched key has changed")]
    Guarded,
    /// The ops touch two residency domains, or mix namespaces that cannot be mixed (rule 13).
    #[error("the keys of one transaction belong to different residency domains")]
    CrossDomain,
    /// What is asked is against a limit.
    #[error("{0}")]
    Unfit(Arc<str>),
    /// This region may not do that to an owned row; nothing was done (rules 4 and 5).
    #[error(transparent)]
    NotOwner(#[from] Refusal),
    /// The lease ran out between the write and its answer (rule 4). The write stays and replicates.
    #[error("written here, but the lease for {home} ran out before the answer; it will replicate")]
    Fenced {
        /// Whose lease.
        home: RegionId,
    },
    /// A key may not lie in this region (rule 3).
    #[error("the key must not lie in this region: ask one of its jurisdiction")]
    Elsewhere,
}

impl SubmitError {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Overloaded => ErrorCode::Overloaded,
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Disk(_) => ErrorCode::Internal,
            Self::Unconfirmed { .. } | Self::Fenced { .. } => ErrorCode::Unconfirmed,
            Self::Unfit(_) => ErrorCode::Invalid,
            Self::NotOwner(refusal) => refusal.code(),
            Self::Guarded | Self::CrossDomain => ErrorCode::Conflict,
            Self::Elsewhere => ErrorCode::Forbidden,
        }
    }
}
