//! How hard to compress: as hard as the link leaves time for.

use crate::limits::{LEVEL_FIRST, LEVELS, STAGED_BYTES_MAX, STAGED_BYTES_MIN};

/// Follows how full the staging room is. While packs wait for the network, it has time for a higher level;
/// while the network waits for packs, a lower one serves it.
#[derive(Debug)]
pub(crate) struct Level {
    at: usize,
    room: usize,
}

impl Level {
    pub(crate) fn new(room: usize) -> Self {
        Self { at: LEVEL_FIRST, room: room.clamp(STAGED_BYTES_MIN, STAGED_BYTES_MAX) }
    }

    /// The level for the next pack, with so many bytes of the room free.
    pub(crate) fn next(&mut self, free: usize) -> i32 {
        if free < self.room / 4 {
            self.at = (self.at + 1).min(LEVELS.len() - 1);
        } else if free > self.room / 2 {
            self.at = self.at.saturating_sub(1);
        }
        LEVELS.get(self.at).copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_raises_the_level_and_a_fast_one_lowers_it() {
        let mut level = Level::new(STAGED_BYTES_MIN);
        let full: Vec<i32> = (0..5).map(|_| level.next(0)).collect();
        assert_eq!(full, [6, 8, 8, 8, 8]);
        assert_eq!(level.next(STAGED_BYTES_MIN / 3), 8);
        let empty: Vec<i32> = (0..5).map(|_| level.next(STAGED_BYTES_MIN)).collect();
        assert_eq!(empty, [6, 3, 1, 1, 1]);
    }
}
