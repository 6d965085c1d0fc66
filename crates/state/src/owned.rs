//! Rows that only their home region may change.
//!
//! Merging never refuses (rule 4): of two versions of a row the greater one stays, where `Done` is
//! greater than everything else, and otherwise the higher (epoch, sequence) is. What is refused,
//! and only before it is logged, is work: completing a row with a receipt of an old epoch, or
//! running a pinned row elsewhere (rule 5).

use std::cmp::Ordering;

use rhumb_types::{
    Epoch, RegionId,
    record::{OwnedRow, OwnedState},
};

/// Which of two versions of a row wins. Versions that agree in state, epoch and sequence are the
/// same version; should they differ all the same, every region still picks the same one.
#[must_use]
pub fn compare(left: &OwnedRow, right: &OwnedRow) -> Ordering {
    fn rank(row: &OwnedRow) -> (bool, Epoch, u64) {
        (row.state == OwnedState::Done, row.epoch, row.sequence)
    }
    rank(left)
        .cmp(&rank(right))
        .then_with(|| left.home.cmp(&right.home))
        .then_with(|| left.pinned.cmp(&right.pinned))
        .then_with(|| left.payload.cmp(&right.payload))
}

/// Whether an incoming version takes the place of the one that is there.
#[must_use]
pub fn supersedes(existing: Option<&OwnedRow>, incoming: &OwnedRow) -> bool {
    existing.is_none_or(|existing| compare(incoming, existing).is_gt())
}

/// The version that stays.
#[must_use]
pub fn adopt(existing: Option<OwnedRow>, incoming: OwnedRow) -> OwnedRow {
    match existing {
        Some(existing) if !supersedes(Some(&existing), &incoming) => existing,
        _ => incoming,
    }
}

/// Why a region may not act on a row.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The work is finished.
    #[error("the row is done")]
    Done,
    /// The row is pinned to another region (rule 5).
    #[error("the row is pinned to {home}")]
    Pinned {
        /// The region that alone may run it.
        home: RegionId,
    },
    /// This region does not hold the lease of the row's home.
    #[error("this region does not hold the lease for {home}")]
    NoLease {
        /// The region whose duty it is.
        home: RegionId,
    },
    /// The receipt was given under another epoch.
    #[error("the receipt is of epoch {receipt}, and the row's is {current}")]
    StaleEpoch {
        /// The epoch that the caller names.
        receipt: Epoch,
        /// The epoch that counts.
        current: Epoch,
    },
}

/// Whether a region may accept work on a row, by a receipt given under an epoch.
///
/// `lease` is the epoch under which this region holds the lease for the row's home now, if it
/// does. A pinned row needs no lease: it was accepted without one, and its home alone runs it,
/// under the epoch in the row.
///
/// # Errors
/// [`Refusal`] says why not.
pub fn may_accept(
    row: &OwnedRow,
    region: &RegionId,
    receipt: Epoch,
    lease: Option<Epoch>,
) -> Result<(), Refusal> {
    if row.state == OwnedState::Done {
        return Err(Refusal::Done);
    }
    let current = if row.pinned {
        if row.home != *region {
            return Err(Refusal::Pinned { home: row.home.clone() });
        }
        row.epoch
    } else {
        lease.ok_or_else(|| Refusal::NoLease { home: row.home.clone() })?
    };
    if receipt == current { Ok(()) } else { Err(Refusal::StaleEpoch { receipt, current }) }
}
