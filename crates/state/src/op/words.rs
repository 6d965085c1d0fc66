//! The conditions and times that operations carry.

use std::time::Duration;

use rhumb_types::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{EXPIRY_MAX, OpError};

/// When a time to live ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Deadline {
    /// At a time. A time that has passed deletes the key.
    At(UnixMillis),
    /// So many milliseconds after the operation is executed.
    In(u64),
}

impl Deadline {
    /// A time from when the operation is executed.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self::In(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    /// The time of this deadline, bounded by [`EXPIRY_MAX`].
    ///
    /// # Errors
    /// [`OpError::InvalidExpire`] past the bound.
    pub fn resolve(self, now: UnixMillis) -> Result<UnixMillis, OpError> {
        let at = match self {
            Self::At(at) => at,
            Self::In(ms) => now.saturating_add(Duration::from_millis(ms)),
        };
        if at > EXPIRY_MAX { Err(OpError::InvalidExpire) } else { Ok(at) }
    }
}

/// Whether a write needs its target to be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Presence {
    /// It does not matter.
    #[default]
    Any,
    /// `NX`: only when absent.
    Absent,
    /// `XX`: only when present.
    Present,
}

impl Presence {
    /// Whether the condition holds.
    #[must_use]
    pub const fn allows(self, present: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => !present,
            Self::Present => present,
        }
    }
}

/// What `SET` does to the time to live.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum SetExpiry {
    /// Clears it.
    #[default]
    Clear,
    /// `KEEPTTL`.
    Keep,
    /// `EX`, `PX`, `EXAT`, `PXAT`.
    Until(Deadline),
}

/// What `GETEX` does to the time to live. Without options it is a read: `Query::Get`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum GetExpiry {
    /// `PERSIST`.
    Persist,
    /// `EX`, `PX`, `EXAT`, `PXAT`.
    Until(Deadline),
}

/// When an `EXPIRE` takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum ExpireWhen {
    /// Always.
    #[default]
    Always,
    /// `NX`: the key has no time to live.
    Persistent,
    /// `XX`: the key has one.
    Volatile,
    /// `GT`, also with `XX`: the new one is longer; none counts as endless.
    Longer,
    /// `LT`: the new one is shorter; none counts as endless.
    Shorter,
    /// `LT XX`: the key has one, and the new one is shorter.
    VolatileShorter,
}

/// Which scores `ZADD` may replace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum ScoreWhen {
    /// Any.
    #[default]
    Any,
    /// `GT`: by a greater one.
    Greater,
    /// `LT`: by a smaller one.
    Less,
}

/// The conditions of `ZADD`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ZAddWhen {
    /// `NX` or `XX`, per member.
    pub presence: Presence,
    /// `GT` or `LT`, for members that are there.
    pub score: ScoreWhen,
}

/// How a lock is prolonged, once its value has been compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Prolong {
    /// To so many milliseconds from now (Redlock).
    To(u64),
    /// The same, if the key has a time to live at all (redis-py `extend(replace_ttl=True)`).
    VolatileTo(u64),
    /// By so many milliseconds, if the key has a time to live at all (redis-py `extend`).
    VolatileBy(u64),
}
