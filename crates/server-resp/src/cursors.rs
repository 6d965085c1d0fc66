//! The cursors of scans: numbers that stand for the places where scans go on.
//!
//! Redis clients take a cursor for a number, and may give it back over any connection of a pool. A
//! place is a name of up to 32 KiB, so the node keeps a table for all its connections. The number
//! is drawn from the place with a key of this process: scans that stop at the same place share it,
//! it can be used any number of times, and one of an earlier run, or of another node, is not found
//! and refused instead of being taken for another place. A scan therefore either goes on exactly
//! where it stopped or says that it cannot; it never skips anything.
//!
//! Numbers stay below 2^53, because some clients keep them in a double.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::limits::{CURSORS_BYTES_MAX, CURSORS_MAX};

/// How many bits a cursor has at most: what a double holds exactly.
const CURSOR_BITS: u32 = 53;
/// How often another number is drawn where one stands for another place already. With a full
/// table one draw in 2^37 meets one.
const DRAWS_MAX: u64 = 8;

/// The places of unfinished scans. A lock, because a scan may go on over any connection; it is
/// held for a look-up once a page.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    hasher: RandomState,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    places: BTreeMap<u64, Place>,
    /// Cursors in the order in which they were last used.
    uses: BTreeMap<u64, u64>,
    next_use: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Place {
    after: Bytes,
    last_use: u64,
}

impl Cursors {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the place after a key or a member. Never 0, which ends a scan.
    pub(crate) fn keep(&self, after: Bytes) -> u64 {
        let draw = |nth: u64| (self.hasher.hash_one((&after, nth)) >> (64 - CURSOR_BITS)).max(1);
        let mut kept = self.kept();
        let is_free = |cursor: &u64| match kept.places.get(cursor) {
            Some(place) => place.after == after,
            None => true,
        };
        let cursor = (0..DRAWS_MAX).map(draw).find(is_free);
        // Whoever held this number is refused from now on.
        let cursor = cursor.unwrap_or_else(|| draw(DRAWS_MAX));
        kept.put(cursor, after);
        cursor
    }

    /// The place that a number stands for.
    pub(crate) fn place(&self, cursor: u64) -> Option<Bytes> {
        self.kept().get(cursor)
    }
}

impl Kept {
    fn put(&mut self, cursor: u64, after: Bytes) {
        self.drop_cursor(cursor);
        self.bytes += after.len();
        self.places.insert(cursor, Place { after, last_use: self.next_use });
        self.uses.insert(self.next_use, cursor);
        self.next_use += 1;
        while self.places.len() > CURSORS_MAX || self.bytes > CURSORS_BYTES_MAX {
            let Some((_, oldest)) = self.uses.pop_first() else { break };
            self.drop_cursor(oldest);
        }
    }

    fn get(&mut self, cursor: u64) -> Option<Bytes> {
        let place = self.places.get_mut(&cursor)?;
        self.uses.remove(&place.last_use);
        place.last_use = self.next_use;
        self.uses.insert(self.next_use, cursor);
        self.next_use += 1;
        Some(place.after.clone())
    }

    fn drop_cursor(&mut self, cursor: u64) {
        if let Some(place) = self.places.remove(&cursor) {
            self.uses.remove(&place.last_use);
            self.bytes -= place.after.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(nth: usize) -> Bytes {
        Bytes::from(format!("key:{nth}"))
    }

    #[test]
    fn a_place_has_one_number_that_can_be_used_again() {
        let cursors = Cursors::default();
        let cursor = cursors.keep(name(1));
        assert_eq!(cursors.keep(name(1)), cursor);
        assert_ne!(cursors.keep(name(2)), cursor);
        assert!((1..1 << CURSOR_BITS).contains(&cursor));
        for _ in 0..2 {
            assert_eq!(cursors.place(cursor), Some(name(1)));
        }
    }

    #[test]
    fn another_node_or_run_does_not_know_it() {
        let cursor = Cursors::default().keep(name(1));
        let other = Cursors::default();
        for nth in 0..1_000 {
            other.keep(name(nth));
        }
        assert_eq!(other.place(cursor), None);
        assert_eq!(other.place(0), None);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_used_stay() {
        let cursors = Cursors::default();
        let busy = cursors.keep(name(0));
        let idle = cursors.keep(name(1));
        for nth in 2..=CURSORS_MAX {
            cursors.keep(name(nth));
            assert!(cursors.place(busy).is_some());
        }
        assert_eq!(cursors.place(idle), None);
        let kept = cursors.kept();
        assert_eq!(kept.places.len(), CURSORS_MAX);
        assert_eq!(kept.uses.len(), CURSORS_MAX);
    }

    #[test]
    fn long_places_are_bounded_by_their_bytes() {
        let cursors = Cursors::default();
        let long = |nth: u16| {
            let mut name = vec![b'x'; 32 << 10];
            name.extend(nth.to_be_bytes());
            Bytes::from(name)
        };
        let numbers: Vec<u64> = (0..2_048).map(|nth| cursors.keep(long(nth))).collect();
        assert!(cursors.kept().bytes <= CURSORS_BYTES_MAX);
        assert!(cursors.place(*numbers.last().unwrap()).is_some());
        assert_eq!(cursors.place(*numbers.first().unwrap()), None);
    }
}
