//! Heads that were read lately, decoded, so that reading a key again asks the store nothing.
//!
//! A reader never sees less than it has seen: while a commit is under way nobody finds what it changes
//! here, so that whoever has read something new from the store does not find something older here.
//!
//! - Before a commit its keys are taken out, and their shards are closed: readers go to the store and
//!   bring nothing back. What a reader fetched before the commit it may not bring back after it either,
//!   because the shard counts its commits.
//! - After the commit the shards are open again, and what was taken out returns as it is now.
//!
//! Each shard keeps two generations: what is used moves to the younger, and when that is full the older
//! is forgotten. Locks, one per shard, because a map changes on reads too.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use foldhash::fast::FixedState;
use rhumb_ports::store::{Batch, Write};
use rhumb_types::record::{Head, Space, Value};

/// Shards; many more than threads that read.
const SHARDS: usize = 128;
/// Bytes of all generations, at most.
const BYTES_MAX: usize = 64 << 20;
/// Bytes of a generation of a shard, at most.
const GENERATION_BYTES_MAX: usize = BYTES_MAX / SHARDS / 2;
/// Heads larger than this are not kept.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// What a head without a value takes: its place in a map that is three quarters full, and what the
/// allocator adds to the key and the value.
const HEAD_BYTES_MIN: usize = size_of::<(Bytes, Head)>() * 4 / 3 + 32;

type Generation = HashMap<Bytes, Head, FixedState>;

#[derive(Default)]
struct Shard {
    young: Generation,
    old: Generation,
    young_bytes: usize,
    /// Commits that have touched it, begun and ended ones.
    commits: u64,
    /// Whether one is under way.
    closed: bool,
}

impl Shard {
    fn get(&mut self, key: &[u8]) -> Option<Head> {
        if let Some(head) = self.young.get(key) {
            return Some(head.clone());
        }
        let (key, head) = self.old.remove_entry(key)?;
        self.put(key, head.clone());
        Some(head)
    }

    fn put(&mut self, key: Bytes, head: Head) {
        let bytes = bytes_of(&key, &head);
        if bytes > HEAD_BYTES_MAX {
            return;
        }
        if self.young_bytes + bytes > GENERATION_BYTES_MAX {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        // What it replaces is counted twice until the generation ends.
        self.young.insert(key, head);
    }

    /// Takes a key out; says whether it was there.
    fn take(&mut self, key: &[u8]) -> bool {
        let young = self.young.remove(key).is_some();
        self.old.remove(key).is_some() || young
    }
}

fn bytes_of(key: &Bytes, head: &Head) -> usize {
    let value = |value: &Value| value.bytes().map_or(0, Bytes::len);
    let values: usize = head.cell.entries.iter().map(|entry| value(&entry.value)).sum();
    let more = head.cell.entries.len().saturating_sub(1) + head.cell.deltas.len();
    HEAD_BYTES_MIN + key.len() + values + more * 64
}

/// A place for what a reader fetches from the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gap {
    shard: usize,
    commits: u64,
}

/// What a reader found.
pub(crate) enum Found {
    /// The head.
    Here(Head),
    /// Nothing; what the store has may be brought back.
    Gap(Gap),
    /// Nothing, and a commit is under way.
    Closed,
}

/// The heads. See the module.
pub(crate) struct Recent {
    shards: Box<[Mutex<Shard>]>,
    hasher: FixedState,
}

impl Default for Recent {
    fn default() -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS);
        Self { shards: shards.collect(), hasher: FixedState::default() }
    }
}

impl Recent {
    /// Looks a key up.
    pub(crate) fn find(&self, key: &[u8]) -> Found {
        let at = self.place(key);
        let Some(mut shard) = self.shard(at) else { return Found::Closed };
        match shard.get(key) {
            Some(head) => Found::Here(head),
            None if shard.closed => Found::Closed,
            None => Found::Gap(Gap { shard: at, commits: shard.commits }),
        }
    }

    /// Keeps what the store had, unless a commit has touched the shard since the gap was found.
    pub(crate) fn fill(&self, gap: Gap, key: &[u8], head: &Head) {
        let Some(mut shard) = self.shard(gap.shard) else { return };
        if !shard.closed && shard.commits == gap.commits {
            // The store's rows share their blocks' memory; a copy holds nothing else alive.
            shard.put(Bytes::copy_from_slice(key), own(head));
        }
    }

    /// A commit begins; gives what ends it.
    pub(crate) fn begin<'w>(&self, writes: &'w Batch) -> Begun<'_, 'w> {
        let mut begun = Begun { recent: self, shards: Vec::new(), known: HashMap::default() };
        for write in &writes.writes {
            let Write::Head { space: Space::USER, key, head } = write else { continue };
            let at = self.place(key);
            let Some(mut shard) = self.shard(at) else { continue };
            if !shard.closed {
                shard.closed = true;
                shard.commits += 1;
                begun.shards.push(at);
            }
            if shard.take(key) {
                begun.known.insert(key, (at, head.as_ref()));
            } else if !begun.known.is_empty()
                && let Some(known) = begun.known.get_mut(key)
            {
                // A later write of the same key wins.
                known.1 = head.as_ref();
            }
        }
        begun
    }

    fn place(&self, key: &[u8]) -> usize {
        let mut hasher = self.hasher.build_hasher();
        key.hash(&mut hasher);
        let hash = std::hash::Hasher::finish(&hasher);
        usize::try_from(hash % SHARDS as u64).unwrap_or_default()
    }

    fn shard(&self, at: usize) -> Option<MutexGuard<'_, Shard>> {
        Some(self.shards.get(at)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A commit that has begun; there is one at a time. Dropped without an end, what it took out stays
/// out.
pub(crate) struct Begun<'r, 'w> {
    recent: &'r Recent,
    shards: Vec<usize>,
    /// What was taken out: its shard, and what it is after the commit.
    known: HashMap<&'w Bytes, (usize, Option<&'w Head>), FixedState>,
}

impl Begun<'_, '_> {
    /// The commit ended well: what was known before is known again, as it is now.
    pub(crate) fn committed(mut self) {
        #[expect(clippy::iter_over_hash_type, reason = "each key is put back by itself")]
        for (key, (at, head)) in mem::take(&mut self.known) {
            if let (Some(mut shard), Some(head)) = (self.recent.shard(at), head) {
                shard.put(Bytes::copy_from_slice(key), own(head));
            }
        }
    }
}

impl Drop for Begun<'_, '_> {
    fn drop(&mut self) {
        for at in &self.shards {
            if let Some(mut shard) = self.recent.shard(*at) {
                shard.closed = false;
            }
        }
    }
}

/// A head with memory of its own.
fn own(head: &Head) -> Head {
    let mut head = head.clone();
    for entry in &mut head.cell.entries {
        if let Value::Bytes(bytes) = &mut entry.value {
            *bytes = Bytes::copy_from_slice(bytes);
        }
    }
    head
}

#[cfg(test)]
mod tests;
