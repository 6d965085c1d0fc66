//! Times of a run, in microseconds, as the simulator counts them, and rounding that saturates.

use std::time::Duration;

/// Microseconds.
pub type Micros = u64;

/// A second.
pub const SECOND: Micros = 1_000_000;

/// The microseconds of a duration.
#[must_use]
pub fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

/// The microseconds of so many seconds; none for less than none.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion from floating point saturates"
)]
pub fn of_seconds(seconds: f64) -> Micros {
    (seconds * 1e6) as Micros
}

/// A count that was counted in doubles.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion from floating point saturates"
)]
pub fn whole(count: f64) -> u64 {
    count.round() as u64
}

/// A number as a place in a list.
#[must_use]
pub fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
