//! Jobs that were written a moment ago: most are leased within moments, and need not be read for it.
//!
//! It is told of rows in the order of commits, by the thread that asks for them, so that what it holds is
//! at least as new as all that the machine was told.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use rhumb_types::record::{OwnedId, OwnedRow, OwnedState, job::JOBS};

use crate::limits::{FRESH_BYTES_MAX, FRESH_ROWS_MAX};

/// The newest rows of jobs that wait.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    rows: HashMap<OwnedId, (u64, OwnedRow), RandomState>,
    /// The rows in the order in which they came; one that was replaced or taken out since is passed over.
    order: VecDeque<(u64, OwnedId)>,
    next: u64,
    bytes: usize,
}

impl Fresh {
    /// A row was committed.
    pub(super) fn note(&mut self, row: &OwnedRow) {
        if row.id.table != JOBS {
            return;
        }
        self.forget(&row.id);
        // A job that has ended is not leased, and a large one is worth its reading.
        if row.state != OwnedState::Ready || bytes(row) > FRESH_BYTES_MAX / 64 {
            return;
        }
        self.next += 1;
        self.bytes += bytes(row);
        self.order.push_back((self.next, row.id.clone()));
        self.rows.insert(row.id.clone(), (self.next, row.clone()));
        while self.bytes > FRESH_BYTES_MAX || self.order.len() > FRESH_ROWS_MAX {
            let Some((number, id)) = self.order.pop_front() else { return };
            if self.rows.get(&id).is_some_and(|(newest, _)| *newest == number) {
                self.forget(&id);
            }
        }
    }

    /// All of the rows, or nothing.
    pub(super) fn all(&self, ids: &[OwnedId]) -> Option<Vec<Option<OwnedRow>>> {
        ids.iter().map(|id| self.rows.get(id).map(|(_, row)| Some(row.clone()))).collect()
    }

    fn forget(&mut self, id: &OwnedId) {
        if let Some((_, row)) = self.rows.remove(id) {
            self.bytes -= bytes(&row);
        }
    }
}

/// What a row takes here, about.
fn bytes(row: &OwnedRow) -> usize {
    2 * row.id.key.len() + row.payload.len() + size_of::<OwnedRow>()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rhumb_types::{Epoch, RegionId};

    use super::*;

    fn row(nth: usize, bytes: usize, state: OwnedState) -> OwnedRow {
        OwnedRow {
            id: OwnedId { table: JOBS, key: Bytes::from(nth.to_string()) },
            home: RegionId::new("us").unwrap(),
            epoch: Epoch(1),
            sequence: 1,
            state,
            pinned: false,
            payload: vec![0; bytes].into(),
        }
    }

    #[test]
    fn the_newest_version_of_what_waits_is_at_hand() {
        let mut fresh = Fresh::default();
        let (first, second) = (row(1, 10, OwnedState::Ready), row(2, 10, OwnedState::Ready));
        fresh.note(&first);
        assert_eq!(fresh.all(std::slice::from_ref(&first.id)), Some(vec![Some(first.clone())]));
        assert_eq!(fresh.all(&[first.id.clone(), second.id.clone()]), None);
        let newer = OwnedRow { sequence: 2, ..first.clone() };
        fresh.note(&newer);
        fresh.note(&second);
        assert_eq!(
            fresh.all(&[second.id.clone(), first.id.clone()]),
            Some(vec![Some(second), Some(newer)])
        );
        fresh.note(&row(1, 0, OwnedState::Done));
        assert_eq!(fresh.all(&[first.id]), None);
    }

    #[test]
    fn what_is_held_is_bounded_by_rows_and_by_bytes() {
        let mut fresh = Fresh::default();
        for nth in 0..2 * FRESH_ROWS_MAX {
            // The same job over and over takes one place.
            fresh.note(&row(nth / 2 * 2, 1, OwnedState::Ready));
        }
        assert!(fresh.order.len() <= FRESH_ROWS_MAX && fresh.rows.len() <= FRESH_ROWS_MAX);
        let last = 2 * FRESH_ROWS_MAX - 2;
        assert!(fresh.all(&[row(last, 1, OwnedState::Ready).id]).is_some());
        assert!(fresh.all(&[row(0, 1, OwnedState::Ready).id]).is_none());
        let large = FRESH_BYTES_MAX / 64 - 1_000;
        for nth in 0..200 {
            fresh.note(&row(nth, large, OwnedState::Ready));
            assert!(fresh.bytes <= FRESH_BYTES_MAX);
        }
        fresh.note(&row(7, FRESH_BYTES_MAX, OwnedState::Ready));
        assert!(fresh.all(&[row(7, 0, OwnedState::Ready).id]).is_none());
        let held: usize = fresh.rows.values().map(|(_, row)| bytes(row)).sum();
        assert_eq!(fresh.bytes, held);
    }
}
