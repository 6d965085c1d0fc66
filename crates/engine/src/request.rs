//! What callers ask of an engine, and what they are told.

use std::time::Duration;

use rhumb_node::{ConnectionId, SubmitError};
use rhumb_ports::store::StoreError;
use rhumb_state::{Op, Reply, query::QueryError};
use rhumb_types::{AckLevel, ErrorCode, record::VersionVector};

use crate::limits;

/// Writes of one client.
#[derive(Debug)]
pub struct Request {
    /// What to do, in order; everything that waits in a pipeline may go together.
    pub ops: Vec<Op>,
    /// What must be durable before the answer; the strictest of the keys' namespaces when `None`.
    pub ack: Option<AckLevel>,
    /// Whether all of it must lie in one transaction (EXEC).
    pub atomic: bool,
    /// Do nothing when a key that this connection watches has changed.
    pub guard: Option<ConnectionId>,
    /// How long to wait for other regions.
    pub wait: Duration,
}

impl Request {
    /// Ops at their namespaces' acknowledgement level.
    #[must_use]
    pub const fn new(ops: Vec<Op>) -> Self {
        Self { ops, ack: None, atomic: false, guard: None, wait: limits::ACK_WAIT }
    }
}

/// What came of a [`Request`].
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// A reply per op.
    pub replies: Vec<Reply>,
    /// What it wrote; empty when nothing.
    pub written: VersionVector,
}

/// Why a write was not done as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The node refused it.
    #[error(transparent)]
    Refused(SubmitError),
    /// The rows that it needs cannot be read.
    #[error("the rows cannot be read")]
    Store(#[source] StoreError),
    /// The node is stopping; whether the write was done is unknown when it had been handed over.
    #[error("this node is stopping")]
    Stopped,
}

impl WriteError {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Store(error) => error.code(),
            Self::Stopped => ErrorCode::Unavailable,
        }
    }
}

/// Why a read has no answer.
pub type ReadError = QueryError<StoreError>;
