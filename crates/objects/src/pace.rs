//! How much of what is copied may be on its way from a region at once: no more than the way carries.
//!
//! Everything that comes from a region shares one way: what a client reads through, what an upload waits
//! for, and copies that nobody waits for. Copies are fetched in blocks, and more blocks under way than fill
//! the way only wait for each other on it, and hold up a client's. So they wait here instead, where who
//! comes first can still be chosen. The *window* is how many bytes of copies may be under way. A block that
//! began with `n` bytes under way and took `t` says that the way carries `n / t`. The window follows from
//! that: it is what comes within [`QUEUE_MAX`] and the time that a block takes alone, as in delay-based
//! congestion control (Brakmo and Peterson, "TCP Vegas", 1995; RFC 6817). A block at a time is always
//! under way, however slow the way is.
//!
//! The time that a block takes alone is the shortest that was seen. When blocks take too long and that is
//! [`LOOK_EVERY`] ago, one begins alone, so that a source that is slow by itself is not taken for a way that
//! is full, and the other way round.
//!
//! While a client reads from a region, what nobody waits for comes one block at a time. It never stands
//! still: it may be the second copy of something.
//!
//! [`transfer`](crate::transfer) is the other controller, for uploads to where nothing else is on its way:
//! it counts streams, measures what comes of one more, and keeps seconds of work under way.
//!
//! Deliberately absent: which blob is fetched (see [`want`](crate::want)), and what others take of the way.

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::MonoTime;

#[cfg(test)]
mod tests;

/// How long blocks may wait for each other on the way, besides the time that one takes alone.
pub const QUEUE_MAX: Duration = Duration::from_millis(250);
/// The window at first, and after [`LOOK_EVERY`] without a block, in bytes.
pub const WINDOW_FIRST: u64 = 2 << 20;
/// Smallest and largest window, in bytes.
pub const WINDOW: (u64, u64) = (256 << 10, 64 << 20);
/// Shortest and longest block, in bytes, and of what they are multiples.
pub const BLOCK: (u64, u64) = (256 << 10, 1 << 20);
/// See [`BLOCK`].
pub const BLOCK_UNIT: u64 = 64 << 10;
/// A block is this part of the window.
pub const BLOCK_PART: u64 = 4;
/// How long the time that a block takes alone is believed.
pub const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What a block is fetched for; the first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// An upload or a client waits for the copy.
    Awaited,
    /// Nobody does.
    Background,
}

/// A block that waits for its turn or has it, by what it is for and then by when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    need: Need,
    number: u64,
}

/// A block under way.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: MonoTime,
    bytes: u64,
    /// Bytes under way when it began, its own included.
    with: u64,
}

/// The way from one region.
#[derive(Debug, Clone)]
pub struct Pace {
    window: u64,
    waiting: BTreeMap<Ticket, u64>,
    under_way: BTreeMap<Ticket, Begun>,
    /// Bytes of what is under way.
    bytes: u64,
    tickets: u64,
    /// Reads of clients under way.
    reads: u32,
    /// The shortest time that a block took lately, and when that was last asked.
    alone: Option<(Duration, MonoTime)>,
    /// The next block begins alone.
    looking: bool,
    ended: Option<MonoTime>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            window: WINDOW_FIRST,
            waiting: BTreeMap::new(),
            under_way: BTreeMap::new(),
            bytes: 0,
            tickets: 0,
            reads: 0,
            alone: None,
            looking: false,
            ended: None,
        }
    }
}

impl Pace {
    /// How long the blocks of a blob should be that is fetched from now on, in bytes.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        let part = (self.window / BLOCK_PART).clamp(BLOCK.0, BLOCK.1);
        part - part % BLOCK_UNIT
    }

    /// Bytes that may be under way.
    #[must_use]
    pub const fn window(&self) -> u64 {
        self.window
    }

    /// Bytes that are.
    #[must_use]
    pub const fn under_way(&self) -> u64 {
        self.bytes
    }

    /// A block of so many bytes waits for its turn, which [`next`](Self::next) tells. Who waits for it
    /// [ends](Self::end) it in any case.
    pub fn wait(&mut self, need: Need, bytes: u64) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket { need, number: self.tickets };
        self.waiting.insert(ticket, bytes);
        ticket
    }

    /// The next block that begins now, if one may.
    pub fn next(&mut self, now: MonoTime) -> Option<Ticket> {
        let (ticket, bytes) = self.waiting.first_key_value().map(|(it, bytes)| (*it, *bytes))?;
        let yields = ticket.need == Need::Background && self.reads > 0;
        let room = if self.looking || yields { 0 } else { self.window };
        let with = self.bytes.saturating_add(bytes);
        if !self.under_way.is_empty() && with > room {
            return None;
        }
        self.waiting.remove(&ticket);
        if self.under_way.is_empty() && self.ended.is_some_and(|it| is_old(it, now)) {
            self.window = self.window.min(WINDOW_FIRST);
        }
        self.under_way.insert(ticket, Begun { at: now, bytes, with });
        self.bytes = with;
        Some(ticket)
    }

    /// A block came, or will not come, whether or not it had its turn.
    pub fn end(&mut self, now: MonoTime, ticket: Ticket, came: bool) {
        self.waiting.remove(&ticket);
        let Some(begun) = self.under_way.remove(&ticket) else { return };
        self.bytes -= begun.bytes;
        self.ended = Some(now);
        let took = now.saturating_since(begun.at).max(Duration::from_micros(1));
        if came {
            self.believe(now, took, begun);
        }
        let wanted = self.alone.map_or(Duration::ZERO, |(took, _)| took) + QUEUE_MAX;
        let carried = scaled(begun.with, wanted, took);
        if took > wanted {
            // Whoever gave up a block early has measured nothing; this was late.
            self.window = self.window.min(carried).max(WINDOW.0);
            self.looking |= self.alone.is_none_or(|(_, at)| is_old(at, now));
        } else if came && begun.with.saturating_mul(2) >= self.window {
            // In time, and with half of the window in use or more: the window grows by a block, as far as
            // the way carries by this measure. One block more than was under way is tried even where that
            // is too much: blocks begin whole, so a smaller step lets none begin, and nothing would show
            // whether the way carries it. If it does not, a block is late, and the window shrinks again.
            let most = carried.max(begun.with.saturating_add(begun.bytes)).max(self.window);
            let next = self.window.saturating_add(begun.bytes).min(most);
            self.window = next.min(WINDOW.1);
        }
    }

    /// A client begins to read something from the region.
    pub fn read_begins(&mut self) {
        self.reads = self.reads.saturating_add(1);
    }

    /// A read of a client ended.
    pub fn read_ends(&mut self) {
        self.reads = self.reads.saturating_sub(1);
    }

    /// Takes in how long a block took.
    fn believe(&mut self, now: MonoTime, took: Duration, begun: Begun) {
        let is_alone = begun.with == begun.bytes;
        let is_asked = self.looking || self.alone.is_none_or(|(_, at)| is_old(at, now));
        if is_alone && is_asked {
            self.alone = Some((took, now));
            self.looking = false;
        } else if let Some((known, _)) = &mut self.alone {
            *known = (*known).min(took);
        }
    }
}

/// Whether something was long ago.
fn is_old(at: MonoTime, now: MonoTime) -> bool {
    now.saturating_since(at) >= LOOK_EVERY
}

/// Bytes that come in a time, if so many took another.
fn scaled(bytes: u64, wanted: Duration, took: Duration) -> u64 {
    let scaled = u128::from(bytes) * wanted.as_micros() / took.as_micros().max(1);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
