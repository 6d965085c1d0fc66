//! What goes into the strong machine and what comes out.

use bytes::Bytes;
use rhumb_types::{UnixMillis, record::Record};
use serde::{Deserialize, Serialize};

use crate::{
    op::Op,
    query::{Choice, Query},
    reply::Reply,
};

/// A random name of one command, the same however often it is proposed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u128);

/// One part of a command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum StrongStep {
    /// A write.
    Write(Op),
    /// A write that chooses its members.
    Choose(Choice),
    /// A read between writes, as in MULTI.
    Read(Query),
}

impl StrongStep {
    /// Shows every key that the step names.
    pub fn keys(&self, visit: &mut impl FnMut(&Bytes)) {
        match self {
            Self::Write(op) => op.keys(visit),
            Self::Choose(choice) => visit(choice.key()),
            Self::Read(query) => query.keys(visit),
        }
    }

    /// The first key that the step names.
    #[must_use]
    pub fn first_key(&self) -> Option<Bytes> {
        match self {
            Self::Write(op) => op.first_key(),
            Self::Choose(choice) => Some(choice.key().clone()),
            Self::Read(query) => query.first_key(),
        }
    }
}

/// A command to agree on. Without steps it only moves the machine's time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StrongCommand {
    /// Its name.
    pub request: RequestId,
    /// The proposer's clock when it was first proposed.
    pub now: UnixMillis,
    /// `WATCH`: keys with the versions that they must still have.
    pub if_unchanged: Vec<(Bytes, u64)>,
    /// What to do, in order. An error of one step does not undo the others, as in Redis.
    pub steps: Vec<StrongStep>,
}

/// What a command answers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StrongAnswer {
    /// A reply per step; [`Reply::Error`] where one failed.
    pub replies: Vec<Reply>,
    /// The fencing token of the first key of the first step, as it is afterwards; `None` when the
    /// key is absent.
    pub fence: Option<u64>,
}

/// What became of a command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum StrongOutcome {
    /// It was applied.
    Answered(StrongAnswer),
    /// A watched key has changed: nothing was done.
    Changed,
    /// It was not applied.
    Refused(StrongRefusal),
}

/// Why a command was not applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum StrongRefusal {
    /// It may have been applied before, too long ago to remember: its outcome stays unknown.
    #[error("the command is older than the answers that are remembered")]
    TooOld,
    /// It was applied before; its answer was too long to remember.
    #[error("the command was applied already, and its answer is not kept")]
    AppliedBefore,
    /// It has more steps than allowed.
    #[error("the command has more than {} steps", super::STRONG_STEPS_MAX)]
    TooManySteps,
    /// Its bytes are damaged or newer than this node.
    #[error("the command cannot be read: {0}")]
    Unreadable(String),
}

/// A question to the machine. `now` is the asker's clock.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum StrongQuery {
    /// A read of data.
    Data {
        /// The asker's clock.
        now: UnixMillis,
        /// The read.
        query: Query,
    },
    /// `RHUMB.FENCE`: a key's fencing token.
    Fence {
        /// The asker's clock.
        now: UnixMillis,
        /// The key.
        key: Bytes,
    },
    /// Keys' versions, for `WATCH`.
    Versions {
        /// The asker's clock.
        now: UnixMillis,
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// How full the machine is.
    Usage,
}

/// How full the machine is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StrongUsage {
    /// Keys, those included whose time is over and that are not yet removed.
    pub keys: usize,
    /// Bytes, by estimate.
    pub bytes: usize,
    /// Remembered answers.
    pub requests: usize,
}

/// What a question answers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum StrongRead {
    /// The data; [`Reply::Error`] when the read failed.
    Data(Reply),
    /// The token; `None` when the key is absent.
    Fence(Option<u64>),
    /// A version per key; 0 for an absent one.
    Versions(Vec<u64>),
    /// How full the machine is.
    Usage(StrongUsage),
    /// Something expires between the machine's time and the asker's: propose a command without
    /// steps, which moves the time, and ask again.
    TimeBehind,
    /// The question's bytes are damaged or newer than this node.
    Unreadable(String),
}

impl Record for StrongCommand {
    const VERSION: u8 = 1;
}
impl Record for StrongOutcome {
    const VERSION: u8 = 1;
}
impl Record for StrongQuery {
    const VERSION: u8 = 1;
}
impl Record for StrongRead {
    const VERSION: u8 = 1;
}
