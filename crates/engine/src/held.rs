//! A guess at which rows the node's table holds, so that writers do not read them for it.
//!
//! The table keeps what was used last. A row that passed here within the last two *generations*
//! of rows is most likely still there, and reading it from the store would be wasted. A wrong
//! guess costs time, never truth: the node fetches what it misses. So the guess is a table of
//! hashes without locks, and what two threads do to one slot at once does not matter.

use std::{
    hash::BuildHasher,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use foldhash::fast::FixedState;
use rhumb_node::limits::TABLE_ROWS_MAX;
use rhumb_state::RowRef;

/// Slots, 4 bytes each: a few for every row that the table may hold.
const SLOTS: usize = 1 << 19;
/// Bits of a slot that tell the generation; the others tell rows apart.
const GENERATION_BITS: u32 = 8;
/// Rows of a generation at most: two generations are what the table holds. Of the oldest some are
/// gone already; where they are many, generations become shorter by themselves.
const GENERATION_ROWS_MAX: usize = TABLE_ROWS_MAX / 2;
/// Rows of a generation at least, when the table holds few large rows.
const GENERATION_ROWS_MIN: usize = 64;

/// Wrong guesses are tolerated once in so many rows.
const ROWS_PER_MISS_MIN: usize = 16;

/// The guess.
pub(crate) struct Held {
    slots: Box<[AtomicU32]>,
    generation: AtomicU32,
    /// Rows that are new in this generation.
    rows: AtomicUsize,
    /// How many begin the next.
    rows_max: AtomicUsize,
    /// Wrong guesses in this generation.
    misses: AtomicUsize,
    hasher: FixedState,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            slots: std::iter::repeat_with(AtomicU32::default).take(SLOTS).collect(),
            // Slots of 0 are of no generation that counts.
            generation: AtomicU32::new(2),
            rows: AtomicUsize::new(0),
            rows_max: AtomicUsize::new(GENERATION_ROWS_MAX),
            misses: AtomicUsize::new(0),
            hasher: FixedState::default(),
        }
    }
}

impl Held {
    /// Whether the table most likely holds a row; notes that it will.
    pub(crate) fn passes(&self, row: RowRef<'_>) -> bool {
        let hash = self.hasher.hash_one(row);
        let [high, low] = halves(hash);
        let Some(slot) = usize::try_from(low).ok().and_then(|at| self.slots.get(at % SLOTS)) else {
            return false;
        };
        let generation = self.generation.load(Ordering::Relaxed);
        let fresh = high << GENERATION_BITS | generation & ((1 << GENERATION_BITS) - 1);
        let before = slot.load(Ordering::Relaxed);
        if before == fresh {
            return true;
        }
        slot.store(fresh, Ordering::Relaxed);
        let earlier =
            high << GENERATION_BITS | generation.wrapping_sub(1) & ((1 << GENERATION_BITS) - 1);
        self.count();
        before == earlier
    }

    /// The table missed a row. A few are to be expected, of writers that overtake the one that
    /// brings the row; many mean that the table holds fewer rows than was thought.
    pub(crate) fn missed(&self) {
        let rows_max = self.rows_max.load(Ordering::Relaxed);
        if self.misses.fetch_add(1, Ordering::Relaxed) < rows_max / ROWS_PER_MISS_MIN {
            return;
        }
        self.misses.store(0, Ordering::Relaxed);
        self.rows_max.store((rows_max / 2).max(GENERATION_ROWS_MIN), Ordering::Relaxed);
        // Nothing that passed until now counts any more.
        self.generation.fetch_add(2, Ordering::Relaxed);
        self.rows.store(0, Ordering::Relaxed);
    }

    fn count(&self) {
        let rows_max = self.rows_max.load(Ordering::Relaxed);
        if self.rows.fetch_add(1, Ordering::Relaxed) < rows_max {
            return;
        }
        self.rows.store(0, Ordering::Relaxed);
        self.misses.store(0, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Relaxed);
        let more = (rows_max + rows_max / 8).min(GENERATION_ROWS_MAX);
        self.rows_max.store(more, Ordering::Relaxed);
    }
}

fn halves(hash: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rhumb_types::record::Space;

    use super::*;

    fn passes(held: &Held, nth: usize) -> bool {
        held.passes(RowRef::Head(Space::USER, &Bytes::from(nth.to_string())))
    }

    #[test]
    fn what_passed_lately_is_held_and_what_passed_long_ago_is_not() {
        let held = Held::default();
        assert!(!passes(&held, 1));
        assert!(passes(&held, 1));
        for nth in 0..3 * GENERATION_ROWS_MAX {
            passes(&held, 100 + nth);
        }
        assert!(!passes(&held, 1));
    }

    #[test]
    fn many_misses_forget_and_make_generations_shorter() {
        let held = Held::default();
        passes(&held, 1);
        held.missed();
        assert!(passes(&held, 1), "one is not many");
        for _ in 0..GENERATION_ROWS_MAX / ROWS_PER_MISS_MIN {
            held.missed();
        }
        assert!(!passes(&held, 1));
        assert_eq!(held.rows_max.load(Ordering::Relaxed), GENERATION_ROWS_MAX / 2);
        for _ in 0..2 * GENERATION_ROWS_MAX / ROWS_PER_MISS_MIN {
            held.missed();
        }
        assert_eq!(held.rows_max.load(Ordering::Relaxed), GENERATION_ROWS_MIN);
    }
}
