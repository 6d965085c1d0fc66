//! Rows that only their home region may change: a job, a URL.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Epoch, RegionId};

/// The id of an owned row: a table and a key within it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct OwnedId {
    /// Which kind of row, such as `jobs`.
    pub table: u8,
    /// Its key within the table.
    pub key: Bytes,
}

/// How far an owned row has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum OwnedState {
    /// Waiting for its owner to run it.
    Ready,
    /// Finished; absorbs every other state (rule 4).
    Done,
}

/// One version of an owned row. Of two versions, `Done` wins, otherwise the higher
/// (epoch, sequence).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwnedRow {
    /// Which row.
    pub id: OwnedId,
    /// The region whose duty it is.
    pub home: RegionId,
    /// Whether only `home` may ever run it, because it was accepted without a lease (rule 5).
    pub pinned: bool,
    /// The lease epoch under which this version was written.
    pub epoch: Epoch,
    /// Counts the versions written under one epoch.
    pub sequence: u64,
    /// How far it has come.
    pub state: OwnedState,
    /// What the row is about; opaque here.
    pub payload: Bytes,
}

/// What is asked of an owned row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnedOp {
    /// Takes work in. A row that is there already keeps its state and its payload, and is written
    /// again, so that this answer promises what it says of the row.
    Put {
        /// Which row.
        id: OwnedId,
        /// What it is about.
        payload: Bytes,
    },
    /// As [`Put`](Self::Put), but new work is refused where it would be pinned, for the lease of its home
    /// is not held: work whose order counts, and what nobody but an owner may say.
    Claim {
        /// Which row.
        id: OwnedId,
        /// What it is about.
        payload: Bytes,
    },
    /// Changes a row.
    Change {
        /// Which row.
        id: OwnedId,
        /// The epoch under which the caller was given the row.
        receipt: Epoch,
        /// How far it has come now.
        state: OwnedState,
        /// What it is about now.
        payload: Bytes,
    },
}

impl OwnedOp {
    /// Which row it is about.
    #[must_use]
    pub const fn id(&self) -> &OwnedId {
        match self {
            Self::Put { id, .. } | Self::Claim { id, .. } | Self::Change { id, .. } => id,
        }
    }

    /// What the row would be about.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        match self {
            Self::Put { payload, .. }
            | Self::Claim { payload, .. }
            | Self::Change { payload, .. } => payload,
        }
    }
}
