//! The share of requests that end in errors, over a sliding window.

use std::{collections::VecDeque, time::Duration};

use rhumb_types::MonoTime;

/// Into how many parts the window is cut; the oldest drops out as a whole.
const PARTS: u32 = 10;

#[derive(Debug, Clone, Copy)]
struct Part {
    number: u64,
    errors: u64,
    total: u64,
}

/// Counts of the last window.
#[derive(Debug, Clone)]
pub(super) struct ErrorWindow {
    part: Duration,
    parts: VecDeque<Part>,
    in_row: u32,
}

impl ErrorWindow {
    pub(super) fn new(window: Duration) -> Self {
        Self { part: window / PARTS, parts: VecDeque::new(), in_row: 0 }
    }

    pub(super) fn record(&mut self, now: MonoTime, ok: bool) {
        self.in_row = if ok { 0 } else { self.in_row.saturating_add(1) };
        self.trim(now);
        let number = self.number(now);
        match self.parts.back_mut().filter(|part| part.number >= number) {
            Some(part) => {
                part.errors += u64::from(!ok);
                part.total += 1;
            }
            None => self.parts.push_back(Part { number, errors: u64::from(!ok), total: 1 }),
        }
    }

    /// Drops what is older than the window.
    pub(super) fn trim(&mut self, now: MonoTime) {
        let oldest = (self.number(now) + 1).saturating_sub(u64::from(PARTS));
        while self.parts.front().is_some_and(|part| part.number < oldest) {
            self.parts.pop_front();
        }
    }

    /// Errors without a success between them.
    pub(super) const fn in_row(&self) -> u32 {
        self.in_row
    }

    pub(super) fn forget_row(&mut self) {
        self.in_row = 0;
    }

    /// The share of errors, when there are at least `samples_min` requests.
    #[expect(clippy::cast_precision_loss, reason = "counts of seconds fit a double")]
    pub(super) fn share(&self, samples_min: u64) -> Option<f64> {
        let total: u64 = self.parts.iter().map(|part| part.total).sum();
        let errors: u64 = self.parts.iter().map(|part| part.errors).sum();
        (total >= samples_min.max(1)).then(|| errors as f64 / total as f64)
    }

    fn number(&self, now: MonoTime) -> u64 {
        now.0 / u64::try_from(self.part.as_micros()).unwrap_or(u64::MAX).max(1)
    }
}
