//! The discipline of the hybrid logical clock (rule 8).
//!
//! Stamps never repeat and never go back, across restarts too: a ceiling above every stamp used is
//! stored with the transactions, and a start goes on from there. The ceiling lies only a little
//! ahead, so that a restarted node's stamps stay within what its peers accept.

use std::time::Duration;

use rhumb_types::{Hlc, UnixMillis};

/// How far a stamp may be ahead of this node's wall clock, and this node's clock away from its
/// peers' median.
pub const CLOCK_OFFSET_MAX: Duration = Duration::from_millis(500);
/// How far ahead of the stamps in use the stored ceiling is raised: it is written at most four
/// times a second.
pub const HLC_CEILING_AHEAD: Duration = Duration::from_millis(250);

/// A stamp, and what must be stored with what it stamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tick {
    /// The stamp.
    pub hlc: Hlc,
    /// A new ceiling, to be committed in the same batch as the stamped transaction.
    pub ceiling: Option<Hlc>,
}

/// The node's hybrid logical clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HlcClock {
    last: Hlc,
    ceiling: Hlc,
    beyond: u64,
}

impl HlcClock {
    /// A clock that goes on from a stored ceiling; zero for a new node.
    #[must_use]
    pub const fn resume(ceiling: Hlc) -> Self {
        Self { last: ceiling, ceiling, beyond: 0 }
    }

    /// The next stamp.
    #[must_use]
    pub fn tick(&mut self, now: UnixMillis) -> Tick {
        self.last = self.last.tick(now);
        let raised = self.last > self.ceiling;
        if raised {
            self.ceiling = Hlc::from_millis(self.last.millis().saturating_add(HLC_CEILING_AHEAD));
        }
        Tick { hlc: self.last, ceiling: raised.then_some(self.ceiling) }
    }

    /// Notes a stamp that was received. Gives whether it was within [`CLOCK_OFFSET_MAX`] of the
    /// wall clock; one beyond does not advance this clock and is counted.
    pub fn observe(&mut self, received: Hlc, now: UnixMillis) -> bool {
        if received.millis().saturating_since(now) > CLOCK_OFFSET_MAX {
            self.beyond += 1;
            return false;
        }
        self.last = self.last.max(received);
        true
    }

    /// The last stamp given or accepted.
    #[must_use]
    pub const fn last(&self) -> Hlc {
        self.last
    }

    /// How many stamps were beyond the bound.
    #[must_use]
    pub const fn beyond(&self) -> u64 {
        self.beyond
    }
}

/// How far this node's clock is ahead of the median of its peers', in milliseconds; negative when
/// it is behind. `peers` are the peers' clocks less this node's. `None` without peers.
#[must_use]
pub fn offset_from_peers(peers: &mut [i64]) -> Option<i64> {
    peers.sort_unstable();
    let upper = *peers.get(peers.len() / 2)?;
    let lower = *peers.get((peers.len() - 1) / 2)?;
    Some(i64::midpoint(lower, upper).saturating_neg())
}

/// Whether a clock so far from its peers' median must stop acknowledging.
#[must_use]
pub const fn is_adrift(offset_ms: i64) -> bool {
    offset_ms.unsigned_abs() as u128 > CLOCK_OFFSET_MAX.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_across_restarts_and_wall_clock_jumps() {
        let mut clock = HlcClock::resume(Hlc(0));
        let mut stored = Hlc(0);
        let mut last = Hlc(0);
        let walls = [1_000, 1_001, 1_400, 900, 900, 2_000, 1_999];
        for (turn, wall) in walls.into_iter().cycle().take(70).enumerate() {
            let tick = clock.tick(UnixMillis(wall));
            stored = tick.ceiling.unwrap_or(stored);
            assert!(tick.hlc > last && tick.hlc <= stored, "{turn}");
            last = tick.hlc;
            if turn % 5 == 4 {
                clock = HlcClock::resume(stored);
            }
        }
    }

    #[test]
    fn the_ceiling_is_written_rarely_and_lies_within_what_peers_accept() {
        let mut clock = HlcClock::resume(Hlc(0));
        let start = 1_000_000;
        let written = (0..10_000)
            .filter(|at| clock.tick(UnixMillis(start + at / 10)).ceiling.is_some())
            .count();
        assert!(written <= 4, "{written} writes in a second");
        let mut again = HlcClock::resume(clock.ceiling);
        let stamp = again.tick(UnixMillis(start + 1_000)).hlc;
        assert!(HlcClock::resume(Hlc(0)).observe(stamp, UnixMillis(start + 1_000)));
    }

    #[test]
    fn a_stamp_beyond_the_bound_is_counted_and_does_not_advance() {
        let mut clock = HlcClock::resume(Hlc(0));
        let now = UnixMillis(10_000);
        assert!(clock.observe(Hlc::from_millis(UnixMillis(10_500)), now));
        assert!(!clock.observe(Hlc::from_millis(UnixMillis(10_501)), now));
        assert_eq!((clock.last().millis(), clock.beyond()), (UnixMillis(10_500), 1));
        assert!(clock.tick(now).hlc > Hlc::from_millis(UnixMillis(10_500)));
    }

    #[test]
    fn the_offset_is_taken_from_the_median() {
        assert_eq!(offset_from_peers(&mut []), None);
        assert_eq!(offset_from_peers(&mut [-600]), Some(600));
        assert_eq!(offset_from_peers(&mut [0, 900_000, 4]), Some(-4));
        assert_eq!(offset_from_peers(&mut [10, 20, 30, 900_000]), Some(-25));
        assert!(is_adrift(501) && is_adrift(-501) && !is_adrift(500) && is_adrift(i64::MIN));
    }
}
