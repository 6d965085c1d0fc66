//! What a region ought to hold and does not: a bounded queue of fetches.
//!
//! The queue promises nothing about what it forgets: every node walks over the index
//! after its start and from time to time, and finds again what is missing. So it may be bounded, and drops
//! what matters least when it is full. A blob is in it once, whoever asks for it.
//!
//! [`promotion`] says when a region that reads from afar should rather keep a copy, and [`cache`] what
//! may go first where there are more bytes than there should be.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_regions::RoutingSnapshot;
use rhumb_types::{
    MonoTime, RegionId, UnixMillis,
    planted::{self, Planted},
    record::{BlobHash, BlobRef, BucketDefinition},
};

use crate::place::may_lie;
use promotion::Promotions;

pub mod cache;
pub mod promotion;
#[cfg(test)]
mod tests;

/// Most blobs in the queue.
pub const WANTED_MAX: usize = 65_536;
/// Most sources that are remembered of a blob.
pub const SOURCES_MAX: usize = 8;
/// Fetches in flight from one source.
pub const FETCHES_PER_SOURCE_MAX: usize = 8;
/// Fetches in flight together.
pub const FETCHES_MAX: usize = 32;
/// How many blobs whose sources are all busy are passed over to find one that can begin.
pub const PASSED_OVER_MAX: usize = 256;
/// Failures after which a blob is forgotten until the next walk.
pub const FETCH_TRIES_MAX: u32 = 10;
/// Pause after a first failure; it doubles with each further one,
pub const FETCH_PAUSE_MIN: Duration = Duration::from_secs(1);
/// up to this.
pub const FETCH_PAUSE_MAX: Duration = Duration::from_secs(300);

/// Why a blob is wanted; the first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A copy was lost or damaged, so that there are fewer than there must be.
    Repair,
    /// It was written just now, and its bucket wants it here.
    Written,
    /// It was read so often that it should be here.
    Promoted,
    /// A walk found that it is missing.
    Missing,
}

/// Which of two blobs of different priority comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Repairs, then what was written, the newest first.
    #[default]
    RepairFirst,
    /// What was written, the newest first, then repairs.
    WrittenFirst,
}

/// One blob that is wanted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Which.
    pub blob: BlobRef,
    /// Why.
    pub priority: Priority,
    /// When the object that needs it was written; newer ones come first.
    pub written: UnixMillis,
    /// Who holds it, the nearest first.
    pub sources: Vec<RegionId>,
}

/// A fetch to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// What.
    pub blob: BlobRef,
    /// From whom.
    pub source: RegionId,
    /// Why.
    pub priority: Priority,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchEnd {
    /// The blob is here, verified.
    Held,
    /// The source does not have it, or a damaged one: the next one is asked.
    NotThere,
    /// The source did not answer, or there is no room here: later again.
    Failed,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Blobs that arrived.
    pub fetched: u64,
    /// Bytes of them.
    pub fetched_bytes: u64,
    /// Fetches that did not succeed.
    pub failed: u64,
    /// Blobs that were dropped because the queue was full.
    pub dropped: u64,
    /// Blobs that were given up until the next walk.
    pub given_up: u64,
}

/// Ready blobs are ordered by this: rank of the priority, newest, hash.
type Rank = (u8, Reverse<UnixMillis>, BlobHash);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Pausing(MonoTime),
    Fetching,
}

#[derive(Debug, Clone)]
struct Wanted {
    wish: Wish,
    state: State,
    /// The source of the fetch in flight or of the next one, by position.
    source: usize,
    tries: u32,
}

/// The queue of one region.
#[derive(Debug, Clone, Default)]
pub struct Want {
    order: Order,
    wanted: BTreeMap<BlobHash, Wanted>,
    /// All that do not fetch, by rank; the last is dropped first.
    ranked: BTreeSet<Rank>,
    /// All that are ready, by rank.
    ready: BTreeSet<Rank>,
    pausing: BTreeSet<(MonoTime, BlobHash)>,
    in_flight: BTreeMap<RegionId, usize>,
    counts: Counts,
}

impl Want {
    /// An empty queue.
    #[must_use]
    pub fn new(order: Order) -> Self {
        Self { order, ..Self::default() }
    }

    /// Adds a blob. One that is wanted already takes the better of both priorities and all sources.
    /// A full queue drops what comes last, which may be this one; one that nobody holds is not taken.
    pub fn add(&mut self, mut wish: Wish) {
        wish.sources.truncate(SOURCES_MAX);
        let hash = wish.blob.hash;
        if let Some(known) = self.wanted.get(&hash) {
            let rank = self.rank(&known.wish);
            let ready = self.ready.remove(&rank);
            let ranked = self.ranked.remove(&rank);
            if let Some(known) = self.wanted.get_mut(&hash) {
                known.take_in(wish);
            }
            let rank = self.wanted.get(&hash).map(|known| self.rank(&known.wish));
            self.ready.extend(rank.filter(|_| ready));
            self.ranked.extend(rank.filter(|_| ranked));
            return;
        }
        if wish.sources.is_empty() {
            self.counts.given_up += 1;
            return;
        }
        let rank = self.rank(&wish);
        self.wanted.insert(hash, Wanted { wish, state: State::Ready, source: 0, tries: 0 });
        self.ranked.insert(rank);
        self.ready.insert(rank);
        if self.wanted.len() > WANTED_MAX
            && let Some((.., last)) = self.ranked.last().copied()
        {
            self.forget(&last);
            self.counts.dropped += 1;
        }
    }

    /// Forgets a blob: it is here, or nobody refers to it any more. A fetch in flight may end as it
    /// likes.
    pub fn forget(&mut self, hash: &BlobHash) {
        let Some(wanted) = self.wanted.remove(hash) else { return };
        let rank = self.rank(&wanted.wish);
        self.ready.remove(&rank);
        self.ranked.remove(&rank);
        match wanted.state {
            State::Ready => {}
            State::Pausing(until) => {
                self.pausing.remove(&(until, *hash));
            }
            State::Fetching => self.leave(wanted.wish.sources.get(wanted.source)),
        }
    }

    /// The next fetch to begin, within the bounds of each source; `None` when none can now.
    pub fn next(&mut self, now: MonoTime) -> Option<Fetch> {
        self.wake(now);
        if self.in_flight.values().sum::<usize>() >= FETCHES_MAX {
            return None;
        }
        let free = |rank: &Rank| {
            let wanted = self.wanted.get(&rank.2)?;
            let sources = &wanted.wish.sources;
            let turns = (0..sources.len()).map(|step| (wanted.source + step) % sources.len());
            let busy = |at: &usize| {
                let source = sources.get(*at);
                source.and_then(|region| self.in_flight.get(region)).copied().unwrap_or(0)
            };
            let at = turns.into_iter().find(|at| busy(at) < FETCHES_PER_SOURCE_MAX)?;
            Some((*rank, at))
        };
        let (rank, at) = self.ready.iter().take(PASSED_OVER_MAX).find_map(free)?;
        self.ready.remove(&rank);
        self.ranked.remove(&rank);
        let wanted = self.wanted.get_mut(&rank.2)?;
        wanted.state = State::Fetching;
        wanted.source = at;
        let source = wanted.wish.sources.get(at)?.clone();
        *self.in_flight.entry(source.clone()).or_default() += 1;
        Some(Fetch { blob: wanted.wish.blob, source, priority: wanted.wish.priority })
    }

    /// A fetch ended. One of a blob that was forgotten meanwhile changes nothing.
    pub fn on_end(&mut self, now: MonoTime, hash: &BlobHash, end: FetchEnd) {
        let Some(wanted) = self.wanted.get_mut(hash) else { return };
        if wanted.state != State::Fetching {
            return;
        }
        let source = wanted.wish.sources.get(wanted.source).cloned();
        if end == FetchEnd::Held {
            self.counts.fetched += 1;
            self.counts.fetched_bytes += wanted.wish.blob.bytes;
            return self.forget(hash);
        }
        self.counts.failed += 1;
        wanted.tries += 1;
        // Whoever was asked comes last: others are added meanwhile, and each must have its turn.
        if wanted.source < wanted.wish.sources.len() {
            let asked = wanted.wish.sources.remove(wanted.source);
            if end != FetchEnd::NotThere {
                wanted.wish.sources.push(asked);
            }
        }
        wanted.source = 0;
        let (tries, gone) = (wanted.tries, wanted.wish.sources.is_empty());
        // The state says no longer whose slot it has.
        let until = now + pause_after(tries);
        wanted.state = State::Pausing(until);
        let rank = (rank_of(self.order, wanted.wish.priority), Reverse(wanted.wish.written), *hash);
        self.leave(source.as_ref());
        self.ranked.insert(rank);
        self.pausing.insert((until, *hash));
        if gone || tries >= FETCH_TRIES_MAX {
            self.counts.given_up += 1;
            self.forget(hash);
        }
    }

    /// When to call [`next`](Self::next) again although nothing happened.
    #[must_use]
    pub fn wakes_at(&self) -> Option<MonoTime> {
        self.pausing.first().map(|(until, _)| *until)
    }

    /// Blobs in the queue, those in flight included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Blobs whose fetch could begin, as far as they themselves go.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Whether a blob is in the queue, or in flight.
    #[must_use]
    pub fn is_wanted(&self, hash: &BlobHash) -> bool {
        self.wanted.contains_key(hash)
    }

    /// Fetches in flight from a source.
    #[must_use]
    pub fn in_flight(&self, source: &RegionId) -> usize {
        self.in_flight.get(source).copied().unwrap_or(0)
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    fn wake(&mut self, now: MonoTime) {
        while let Some((until, hash)) = self.pausing.first().copied()
            && until <= now
        {
            self.pausing.pop_first();
            if let Some(wanted) = self.wanted.get_mut(&hash) {
                wanted.state = State::Ready;
                let rank = rank_of(self.order, wanted.wish.priority);
                self.ready.insert((rank, Reverse(wanted.wish.written), hash));
            }
        }
    }

    fn leave(&mut self, source: Option<&RegionId>) {
        let Some(source) = source else { return };
        if let Some(count) = self.in_flight.get_mut(source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.in_flight.remove(source);
            }
        }
    }

    fn rank(&self, wish: &Wish) -> Rank {
        (rank_of(self.order, wish.priority), Reverse(wish.written), wish.blob.hash)
    }
}

impl Wanted {
    fn take_in(&mut self, wish: Wish) {
        self.wish.priority = self.wish.priority.min(wish.priority);
        self.wish.written = self.wish.written.max(wish.written);
        for source in wish.sources {
            if self.wish.sources.len() < SOURCES_MAX && !self.wish.sources.contains(&source) {
                self.wish.sources.push(source);
            }
        }
    }
}

/// Whether a region keeps a copy of a blob that it has read from another once more: it was read often
/// enough, and may lie there.
pub fn promotes(
    promotions: &mut Promotions,
    now: MonoTime,
    (snapshot, here): (&RoutingSnapshot, &RegionId),
    definition: &BucketDefinition,
    hash: BlobHash,
) -> bool {
    let may = may_lie(snapshot, definition, here) || planted::is(Planted::PromoteAnywhere);
    may && promotions.on_remote_read(now, hash, definition.promote_after)
}

const fn rank_of(order: Order, priority: Priority) -> u8 {
    match (order, priority) {
        (Order::RepairFirst, Priority::Repair) | (Order::WrittenFirst, Priority::Written) => 0,
        (Order::RepairFirst, Priority::Written) | (Order::WrittenFirst, Priority::Repair) => 1,
        (_, Priority::Promoted) => 2,
        (_, Priority::Missing) => 3,
    }
}

fn pause_after(tries: u32) -> Duration {
    let doubled = FETCH_PAUSE_MIN.saturating_mul(1 << tries.saturating_sub(1).min(16));
    doubled.min(FETCH_PAUSE_MAX)
}
