//! The system's clocks and randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use rhumb_ports::clock::{Clock, Entropy};
use rhumb_types::{MonoTime, Timestamp, UnixMillis};
use rustix::time::{ClockId, clock_gettime};

/// The clocks of the operating system, with an offset of the wall clock for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock {
    /// Added to the wall clock, in milliseconds.
    pub wall_offset_millis: i64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        // Counts suspend, as leases need it (rule 7).
        let boot = clock_gettime(ClockId::Boottime);
        let micros = boot.tv_sec.unsigned_abs() * 1_000_000 + boot.tv_nsec.unsigned_abs() / 1_000;
        Timestamp {
            wall: UnixMillis(wall.saturating_add_signed(self.wall_offset_millis)),
            mono: MonoTime(micros),
        }
    }
}

/// The randomness of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl OsEntropy {
    /// Many random bytes with one question to the system.
    pub(crate) fn fill(self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the system gives no randomness: {error}");
        }
    }
}

impl Entropy for OsEntropy {
    fn next_u64(&self) -> u64 {
        match getrandom::u64() {
            Ok(random) => random,
            // Without randomness two incarnations could share an origin, which loses data.
            Err(error) => panic!("the system gives no randomness: {error}"),
        }
    }
}
