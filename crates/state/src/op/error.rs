//! Why an operation did nothing.

use rhumb_types::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::RowId;

/// Why an operation did nothing. Whatever the reason, nothing was edited.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum OpError {
    /// A row that the operation reads is not in the table: fetch it and evaluate again.
    #[error("a row is not loaded")]
    Missing(RowId),
    /// What a lowered operation expected has changed since: lower it again.
    #[error("the key changed while the command was prepared")]
    Stale,
    /// The key holds another type.
    #[error("the key holds another type of value")]
    WrongType,
    /// The value is not a 64-bit integer.
    #[error("the value is not an integer or is out of range")]
    NotAnInteger,
    /// The value is not a number.
    #[error("the value is not a valid float")]
    NotAFloat,
    /// The hash field is not a 64-bit integer.
    #[error("the hash value is not an integer")]
    HashNotAnInteger,
    /// The hash field is not a number.
    #[error("the hash value is not a float")]
    HashNotAFloat,
    /// The sum does not fit in 64 bits.
    #[error("increment or decrement would overflow")]
    Overflow,
    /// The sum is not finite.
    #[error("increment would produce NaN or Infinity")]
    NotFinite,
    /// The score would not be a number.
    #[error("the resulting score is not a number")]
    ScoreNotANumber,
    /// A name is longer than [`crate::op::ROW_BYTES_MAX`], the value would be longer than
    /// [`crate::op::VALUE_BYTES_MAX`], or all together is more than [`crate::op::OP_BYTES_MAX`].
    #[error("the key or value exceeds the maximum allowed size")]
    TooLong,
    /// The operation names more rows than [`crate::op::OP_ROWS_MAX`].
    #[error("the command names too many keys or members")]
    TooManyRows,
    /// A time to live that is zero, negative, or too far away.
    #[error("invalid expire time")]
    InvalidExpire,
    /// Options that exclude each other.
    #[error("options exclude each other: {0}")]
    Options(OptionClash),
    /// The reply would be too large.
    #[error("the reply would be too large: read it in pages")]
    ReplyTooLarge,
    /// A strong namespace is at its limit of keys or bytes.
    #[error("the strong namespace is full")]
    Full,
    /// The operation is not available in strong namespaces.
    #[error("the command is not available in strong namespaces")]
    NotStrong,
}

/// Which options exclude each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum OptionClash {
    /// `GT`, `LT` and `NX` of `ZADD`.
    #[error("GT, LT and NX")]
    NxWithCompare,
    /// The index form of `ZRANGE` has no `LIMIT`.
    #[error("LIMIT needs BYSCORE or BYLEX")]
    LimitByIndex,
    /// `WITHSCORES` with `BYLEX`.
    #[error("WITHSCORES and BYLEX")]
    ScoresByLex,
}

impl OpError {
    /// What kind of failure it is.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Missing(_) | Self::Stale => ErrorCode::Unavailable,
            Self::WrongType => ErrorCode::Conflict,
            Self::Full => ErrorCode::Overloaded,
            _ => ErrorCode::Invalid,
        }
    }
}
