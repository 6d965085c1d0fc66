//! A condition that must hold without a break before it counts.

use std::time::Duration;

use rhumb_types::MonoTime;

/// Since when a condition has held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held(Option<MonoTime>);

impl Held {
    /// Takes notice of the condition.
    pub(super) fn observe(&mut self, now: MonoTime, holds: bool) {
        self.0 = if holds { self.0.or(Some(now)) } else { None };
    }

    /// Whether it has held for so long.
    pub(super) fn is_for(self, now: MonoTime, wanted: Duration) -> bool {
        self.0.is_some_and(|since| now.saturating_since(since) >= wanted)
    }
}
