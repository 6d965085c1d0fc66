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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use rhumb_types::record::OwnedId;

    use super::*;

    fn rows() -> impl Strategy<Value = OwnedRow> {
        let home = prop_oneof![Just("us"), Just("eu")];
        (home, any::<bool>(), 0_u64..3, 0_u64..3, any::<bool>(), 0_u8..2).prop_map(
            |(home, pinned, epoch, sequence, done, payload)| OwnedRow {
                id: OwnedId { table: 1, key: Bytes::from_static(b"job") },
                home: RegionId::new(home).unwrap(),
                pinned,
                epoch: Epoch(epoch),
                sequence,
                state: if done { OwnedState::Done } else { OwnedState::Ready },
                payload: Bytes::copy_from_slice(&[payload]),
            },
        )
    }

    fn merge(left: &OwnedRow, right: &OwnedRow) -> OwnedRow {
        adopt(Some(left.clone()), right.clone())
    }

    proptest! {
        #[test]
        fn merging_is_a_join(a in rows(), b in rows(), c in rows()) {
            prop_assert_eq!(merge(&a, &b), merge(&b, &a));
            prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
            prop_assert_eq!(merge(&a, &a), a.clone());
            prop_assert_eq!(adopt(None, a.clone()), a);
        }

        #[test]
        fn done_absorbs_and_otherwise_the_higher_epoch_wins(a in rows(), b in rows()) {
            let merged = merge(&a, &b);
            let done = |row: &OwnedRow| row.state == OwnedState::Done;
            prop_assert_eq!(done(&merged), done(&a) || done(&b));
            if done(&a) == done(&b) {
                prop_assert_eq!(merged.epoch, a.epoch.max(b.epoch));
            }
        }
    }

    #[test]
    fn work_is_accepted_under_the_present_epoch_only() {
        let (us, eu) = (RegionId::new("us").unwrap(), RegionId::new("eu").unwrap());
        let mut row = OwnedRow {
            id: OwnedId { table: 1, key: Bytes::new() },
            home: us.clone(),
            pinned: false,
            epoch: Epoch(3),
            sequence: 1,
            state: OwnedState::Ready,
            payload: Bytes::new(),
        };
        // After a takeover the lease is of epoch 4, whatever the row still says.
        assert_eq!(may_accept(&row, &eu, Epoch(4), Some(Epoch(4))), Ok(()));
        let stale = Refusal::StaleEpoch { receipt: Epoch(3), current: Epoch(4) };
        assert_eq!(may_accept(&row, &us, Epoch(3), Some(Epoch(4))), Err(stale));
        let none = Refusal::NoLease { home: us.clone() };
        assert_eq!(may_accept(&row, &us, Epoch(3), None), Err(none));
        row.pinned = true;
        assert_eq!(may_accept(&row, &us, Epoch(3), None), Ok(()));
        let pinned = Refusal::Pinned { home: us.clone() };
        assert_eq!(may_accept(&row, &eu, Epoch(4), Some(Epoch(4))), Err(pinned));
        row.state = OwnedState::Done;
        assert_eq!(may_accept(&row, &us, Epoch(3), None), Err(Refusal::Done));
    }
}
