//! Rows that only their home region may change.
//!
//! Merging never refuses (rule 4): of two versions of a row the greater one stays, where `Done` is
//! greater than everything else, and otherwise the higher (epoch, sequence) is. What is refused,
//! and only before it is logged, is work: completing a row with a receipt of an old epoch, or
//! running a pinned row elsewhere (rule 5).

use std::cmp::Ordering;

use rhumb_types::{
    Epoch, ErrorCode, RegionId,
    planted::{self, Planted},
    record::{OwnedRow, OwnedState},
};

pub use rhumb_types::record::OwnedOp;

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
    /// There is no such row.
    #[error("there is no such row")]
    Absent,
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

impl Refusal {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Done | Self::Pinned { .. } | Self::StaleEpoch { .. } => ErrorCode::Conflict,
            Self::Absent => ErrorCode::NotFound,
            Self::NoLease { .. } => ErrorCode::Unavailable,
        }
    }
}

/// Who accepts, and under what.
#[derive(Clone, Copy)]
pub struct Acceptor<'a> {
    /// The region that accepts.
    pub region: &'a RegionId,
    /// The home of new rows.
    pub home: &'a RegionId,
    /// The epoch under which this region holds a region's lease now, if it does.
    pub lease: &'a dyn Fn(&RegionId) -> Option<Epoch>,
}

impl std::fmt::Debug for Acceptor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { region, home, .. } = self;
        f.debug_struct("Acceptor").field("region", region).field("home", home).finish()
    }
}

/// The version of a row that an op makes; it supersedes the one that is there.
///
/// A row that is not pinned is of the epoch under which it was accepted, so that it is enough to
/// look at it to tell whether that tenure still lasts. A new row without a lease is pinned to the
/// region that accepts it, and loses its pin with its next version under that region's own lease
/// (rule 5).
///
/// # Errors
/// [`Refusal`] says why not.
pub fn accept(
    existing: Option<&OwnedRow>,
    op: &OwnedOp,
    at: &Acceptor<'_>,
) -> Result<OwnedRow, Refusal> {
    let Some(row) = existing else { return begin(op, at) };
    let lease = (at.lease)(&row.home);
    let (state, payload) = match op {
        OwnedOp::Put { .. } | OwnedOp::Claim { .. } => {
            standing(row, at.region, lease)?;
            (row.state, row.payload.clone())
        }
        OwnedOp::Change { receipt, state, payload, .. } => {
            may_accept(row, at.region, *receipt, lease)?;
            (*state, payload.clone())
        }
    };
    let epoch = lease.unwrap_or(row.epoch);
    if epoch < row.epoch {
        return Err(Refusal::StaleEpoch { receipt: epoch, current: row.epoch });
    }
    Ok(OwnedRow {
        id: row.id.clone(),
        home: row.home.clone(),
        pinned: row.pinned && lease.is_none(),
        epoch,
        sequence: if epoch == row.epoch { row.sequence.saturating_add(1) } else { 1 },
        state,
        payload,
    })
}

fn begin(op: &OwnedOp, at: &Acceptor<'_>) -> Result<OwnedRow, Refusal> {
    let lease = (at.lease)(at.home);
    let (id, payload) = match op {
        OwnedOp::Put { id, payload } => (id, payload),
        OwnedOp::Claim { id, payload } if lease.is_some() || planted::is(Planted::PinClaims) => {
            (id, payload)
        }
        OwnedOp::Claim { .. } => return Err(Refusal::NoLease { home: at.home.clone() }),
        OwnedOp::Change { .. } => return Err(Refusal::Absent),
    };
    let home = if lease.is_some() { at.home } else { at.region };
    Ok(OwnedRow {
        id: id.clone(),
        home: home.clone(),
        pinned: lease.is_none(),
        epoch: lease.unwrap_or_default(),
        sequence: 1,
        state: OwnedState::Ready,
        payload: payload.clone(),
    })
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
    let current = standing(row, region, lease)?;
    if receipt == current { Ok(()) } else { Err(Refusal::StaleEpoch { receipt, current }) }
}

/// The epoch of the receipts that count for a row, where a region may act on it.
fn standing(row: &OwnedRow, region: &RegionId, lease: Option<Epoch>) -> Result<Epoch, Refusal> {
    if row.pinned && !(planted::is(Planted::RunPinned) && lease.is_some()) {
        let own = row.home == *region;
        return if own { Ok(row.epoch) } else { Err(Refusal::Pinned { home: row.home.clone() }) };
    }
    let unfenced = planted::is(Planted::AcceptUnfenced).then_some(row.epoch);
    lease.or(unfenced).ok_or_else(|| Refusal::NoLease { home: row.home.clone() })
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

    fn ops() -> impl Strategy<Value = OwnedOp> {
        let id = OwnedId { table: 1, key: Bytes::from_static(b"job") };
        (0..3_u8, 0_u64..4, any::<bool>()).prop_map(move |(kind, receipt, done)| {
            let (id, payload) = (id.clone(), Bytes::from_static(b"new"));
            let state = if done { OwnedState::Done } else { OwnedState::Ready };
            let receipt = Epoch(receipt);
            match kind {
                0 => OwnedOp::Put { id, payload },
                1 => OwnedOp::Claim { id, payload },
                _ => OwnedOp::Change { id, receipt, state, payload },
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_accepted_supersedes_and_is_of_its_lease_or_pinned_here(
            row in proptest::option::of(rows()),
            op in ops(),
            here in prop_oneof![Just("us"), Just("eu"), Just("ap")],
            held in proptest::option::of(0_u64..4),
        ) {
            let (here, home) = (RegionId::new(here).unwrap(), RegionId::new("us").unwrap());
            let lease = |_: &RegionId| held.map(Epoch);
            let at = Acceptor { region: &here, home: &home, lease: &lease };
            if let Ok(accepted) = accept(row.as_ref(), &op, &at) {
                prop_assert!(supersedes(row.as_ref(), &accepted));
                if accepted.pinned {
                    prop_assert_eq!(&accepted.home, &here);
                    prop_assert_eq!(held, None);
                } else {
                    prop_assert_eq!(Some(accepted.epoch), held.map(Epoch));
                }
                if let Some(row) = row.filter(|row| row.pinned) {
                    prop_assert_eq!(row.home, here);
                }
            }
        }
    }

    #[test]
    fn a_pin_is_lost_under_the_own_lease_only() {
        let (us, eu) = (RegionId::new("us").unwrap(), RegionId::new("eu").unwrap());
        let put = OwnedOp::Put {
            id: OwnedId { table: 1, key: Bytes::from_static(b"job") },
            payload: Bytes::new(),
        };
        let claim = OwnedOp::Claim { id: put.id().clone(), payload: Bytes::new() };
        let (none, five) = (|_: &RegionId| None, |_: &RegionId| Some(Epoch(5)));
        let at_us = Acceptor { region: &us, home: &eu, lease: &none };
        let unowned = Err(Refusal::NoLease { home: eu.clone() });
        assert_eq!(accept(None, &claim, &at_us), unowned, "nothing is pinned by a claim");
        let pinned = accept(None, &put, &at_us).unwrap();
        assert_eq!((&pinned.home, pinned.pinned, pinned.epoch), (&us, true, Epoch(0)));
        let at_eu = Acceptor { region: &eu, home: &eu, lease: &five };
        let claimed = accept(None, &claim, &at_eu).unwrap();
        assert_eq!((&claimed.home, claimed.pinned, claimed.epoch), (&eu, false, Epoch(5)));
        let refused = Err(Refusal::Pinned { home: us.clone() });
        assert_eq!(accept(Some(&pinned), &put, &at_eu), refused);
        let unpinned = accept(Some(&pinned), &put, &Acceptor { lease: &five, ..at_us }).unwrap();
        assert_eq!((&unpinned.home, unpinned.pinned, unpinned.epoch), (&us, false, Epoch(5)));
        let change = |receipt| OwnedOp::Change {
            id: put.id().clone(),
            receipt: Epoch(receipt),
            state: OwnedState::Done,
            payload: Bytes::new(),
        };
        assert_eq!(accept(None, &change(5), &at_eu), Err(Refusal::Absent));
        assert!(accept(Some(&unpinned), &change(4), &at_eu).is_err());
        assert_eq!(accept(Some(&unpinned), &change(5), &at_eu).map(|row| row.sequence), Ok(2));
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
