//! Times of a run, in microseconds, as the simulator counts them.

use std::time::Duration;

/// Microseconds.
pub(crate) type Micros = u64;

/// A second.
pub(crate) const SECOND: Micros = 1_000_000;

pub(crate) fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion from floating point saturates"
)]
pub(crate) fn of_seconds(seconds: f64) -> Micros {
    (seconds * 1e6) as Micros
}

/// A count as a double that was counted in doubles.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion from floating point saturates"
)]
pub(crate) fn whole(count: f64) -> u64 {
    count.round() as u64
}

pub(crate) fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
