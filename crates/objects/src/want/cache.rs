//! What may go first where a region keeps more than it should: copies that no policy asks for, then
//! what was not read for longest.
//!
//! Saying that a blob may go lets nothing go: every removal needs a grant ([`crate::grant`]), or in a
//! bucket that forgets (`cache_bytes_max`) the removal of the object first.

use std::collections::{BTreeMap, BTreeSet};

use rhumb_types::{UnixMillis, record::BlobHash};

/// Blobs of which the last read is known; what is past that goes first.
pub const CACHED_MAX: usize = 1_048_576;
/// Blobs that are on their way out at once.
pub const LEAVING_MAX: usize = 1_024;

/// By this blobs go: those that are kept for good last, the least lately read first.
type Turn = (bool, UnixMillis, BlobHash);

#[derive(Debug, Clone, Copy)]
struct Held {
    bytes: u64,
    read: UnixMillis,
    kept: bool,
}

impl Held {
    const fn turn(&self, hash: BlobHash) -> Turn {
        (self.kept, self.read, hash)
    }
}

/// The blobs of one bucket in one region, or all copies that a region caches.
#[derive(Debug, Clone)]
pub struct Cache {
    bytes_max: u64,
    bytes: u64,
    leaving_bytes: u64,
    held: BTreeMap<BlobHash, Held>,
    turns: BTreeSet<Turn>,
    leaving: BTreeMap<BlobHash, Held>,
}

impl Cache {
    /// An empty cache of so many bytes.
    #[must_use]
    pub const fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            leaving_bytes: 0,
            held: BTreeMap::new(),
            turns: BTreeSet::new(),
            leaving: BTreeMap::new(),
        }
    }

    /// A blob is here: `kept` when a policy asks for it. One that is known is changed.
    pub fn put(&mut self, hash: BlobHash, bytes: u64, read: UnixMillis, kept: bool) {
        self.remove(&hash);
        let held = Held { bytes, read, kept };
        self.bytes = self.bytes.saturating_add(bytes);
        self.turns.insert(held.turn(hash));
        self.held.insert(hash, held);
    }

    /// A blob was read. One that was on its way out is not kept back: what was asked for may be under
    /// way already.
    pub fn on_read(&mut self, hash: &BlobHash, at: UnixMillis) {
        if let Some(held) = self.held.get_mut(hash)
            && held.read < at
        {
            self.turns.remove(&held.turn(*hash));
            held.read = at;
            self.turns.insert(held.turn(*hash));
        }
    }

    /// A blob is gone.
    pub fn remove(&mut self, hash: &BlobHash) {
        if let Some(held) = self.held.remove(hash) {
            self.turns.remove(&held.turn(*hash));
            self.bytes = self.bytes.saturating_sub(held.bytes);
        }
        if let Some(held) = self.leaving.remove(hash) {
            self.leaving_bytes = self.leaving_bytes.saturating_sub(held.bytes);
        }
    }

    /// A blob that was on its way out stays: its removal was refused.
    pub fn on_refused(&mut self, hash: &BlobHash, now: UnixMillis) {
        if let Some(held) = self.leaving.remove(hash) {
            self.leaving_bytes = self.leaving_bytes.saturating_sub(held.bytes);
            self.put(*hash, held.bytes, now, held.kept);
        }
    }

    /// The blob to let go next; it counts as leaving from here on. `None` when what stays fits.
    pub fn evict(&mut self) -> Option<BlobHash> {
        let fits = self.bytes <= self.bytes_max && self.held.len() <= CACHED_MAX;
        if fits || self.leaving.len() >= LEAVING_MAX {
            return None;
        }
        let turn = self.turns.pop_first()?;
        let held = self.held.remove(&turn.2)?;
        self.bytes = self.bytes.saturating_sub(held.bytes);
        self.leaving_bytes = self.leaving_bytes.saturating_add(held.bytes);
        self.leaving.insert(turn.2, held);
        Some(turn.2)
    }

    /// Another bound, from now on.
    pub const fn resize(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Bytes that are here, those of blobs on their way out included.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes.saturating_add(self.leaving_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u8) -> BlobHash {
        BlobHash([n; 32])
    }

    #[test]
    fn cached_copies_go_first_and_then_the_least_lately_read() {
        let mut cache = Cache::new(100);
        for (n, kept) in [(1, true), (2, false), (3, true), (4, false)] {
            cache.put(hash(n), 40, UnixMillis(u64::from(n)), kept);
        }
        cache.on_read(&hash(2), UnixMillis(9));
        assert_eq!(cache.evict(), Some(hash(4)));
        assert_eq!(cache.evict(), Some(hash(2)), "cached, though it was read last");
        assert_eq!(cache.evict(), None);
        assert_eq!(cache.bytes(), 160, "they are here until they are gone");
        cache.remove(&hash(4));
        cache.on_refused(&hash(2), UnixMillis(10));
        assert_eq!(cache.bytes(), 120);
        assert_eq!(cache.evict(), Some(hash(2)));
        cache.resize(40);
        assert_eq!(cache.evict(), Some(hash(1)));
        assert_eq!(cache.evict(), None);
    }

    #[test]
    fn a_blob_that_comes_twice_counts_once() {
        let mut cache = Cache::new(100);
        cache.put(hash(1), 60, UnixMillis(1), false);
        cache.put(hash(1), 60, UnixMillis(2), true);
        assert_eq!((cache.bytes(), cache.evict()), (60, None));
        cache.remove(&hash(1));
        assert_eq!(cache.bytes(), 0);
    }
}
