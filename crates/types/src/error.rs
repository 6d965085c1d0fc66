//! The one small error code that crosses crates; servers map it to their protocol.

use serde::{Deserialize, Serialize};

/// What kind of failure a caller sees. Each server maps these to its own protocol's words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is malformed or against a limit; repeating it cannot help.
    #[error("invalid request")]
    Invalid,
    /// The caller did not say who it is, or could not prove it.
    #[error("not authenticated")]
    Unauthenticated,
    /// The caller may not do this.
    #[error("not allowed")]
    Forbidden,
    /// The thing does not exist.
    #[error("not found")]
    NotFound,
    /// The state does not allow it: wrong type, changed watch, stale epoch or receipt.
    #[error("conflict")]
    Conflict,
    /// Too much at once; try again later.
    #[error("overloaded")]
    Overloaded,
    /// What is needed cannot be reached now; nothing was done.
    #[error("unavailable")]
    Unavailable,
    /// Applied here and will replicate, but the acknowledgement asked for did not come in time
    /// (rule 13).
    #[error("unconfirmed")]
    Unconfirmed,
    /// A fault of this node, such as a failing disk.
    #[error("internal fault")]
    Internal,
}
