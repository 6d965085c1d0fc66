//! Clocks as data: wall time, monotonic time, and the hybrid logical clock.
//!
//! Machines never read a clock; the driver hands them a [`Timestamp`] with every event.

use std::{fmt, ops, time::Duration};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This time plus a duration, saturating at the largest time.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How far `self` is after `earlier`; zero when it is not.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A reading of a clock that never jumps and that counts suspend (`CLOCK_BOOTTIME`), in
/// microseconds from an arbitrary start.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MonoTime(pub u64);

impl MonoTime {
    /// How long after `earlier` this reading is; zero when it is not after.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl ops::Add<Duration> for MonoTime {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl ops::Sub<Duration> for MonoTime {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// One instant, read on both clocks: `wall` for stamps and expiry, `mono` for leases and
/// time-outs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Timestamp {
    /// What a person would call the time; may jump.
    pub wall: UnixMillis,
    /// What intervals are measured on; never jumps.
    pub mono: MonoTime,
}

/// A hybrid logical clock reading: 48 bits of Unix milliseconds, 16 bits of counter.
///
/// Kulkarni et al., "Logical Physical Clocks", 2014. Ordered as a plain number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first reading of a millisecond. Milliseconds past 48 bits (the year 10889) wrap.
    #[must_use]
    pub const fn from_millis(at: UnixMillis) -> Self {
        Self(at.0 << 16)
    }

    /// The physical part.
    #[must_use]
    pub const fn millis(self) -> UnixMillis {
        UnixMillis(self.0 >> 16)
    }

    /// The logical part.
    #[must_use]
    pub const fn counter(self) -> u16 {
        let [low, high, ..] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// The smallest reading that is after this one and not before `wall`.
    ///
    /// A full counter carries into the millisecond, so that the order never breaks.
    #[must_use]
    pub fn tick(self, wall: UnixMillis) -> Self {
        Self::from_millis(wall).max(Self(self.0 + 1))
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis().0, self.counter())
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hlc_never_goes_back_when_the_wall_clock_does() {
        let high = Hlc::from_millis(UnixMillis(1_000)).tick(UnixMillis(1_000));
        let next = high.tick(UnixMillis(10));
        assert!(next > high);
        assert_eq!(next.millis(), UnixMillis(1_000));
        assert_eq!(next.counter(), 2);
    }

    #[test]
    fn a_full_counter_carries_into_the_millisecond() {
        let full = Hlc((5 << 16) | 0xffff);
        assert_eq!(full.tick(UnixMillis(0)).millis(), UnixMillis(6));
    }
}
