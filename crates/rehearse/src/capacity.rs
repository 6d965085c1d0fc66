//! How many requests a region serves per second.
//!
//! Requests wait in one line and are served at an even rate. What waits longer than the bound is
//! refused at once; work that is accepted is done, whether or not its client still waits, so that
//! retries can keep a region full after the cause is gone.

use crate::time::{Micros, SECOND, of_seconds};

/// How long a request may have to wait for its turn; past that a region refuses.
pub(crate) const WAIT_MAX: Micros = SECOND;
/// Over how long load is measured.
pub(crate) const LOAD_WINDOW: Micros = 5 * SECOND;

/// A region refuses a request: too many wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

/// The line of a region.
#[derive(Debug)]
pub(crate) struct Line {
    /// What the region is made for, in requests per second.
    per_second: f64,
    /// How much of that it serves now.
    share: f64,
    waiting: f64,
    at: Micros,
    asked: f64,
}

impl Line {
    pub(crate) const fn new(per_second: f64) -> Self {
        Self { per_second, share: 1.0, waiting: 0.0, at: 0, asked: 0.0 }
    }

    fn rate(&self) -> f64 {
        self.per_second * self.share
    }

    fn settle(&mut self, now: Micros) {
        let passed = now.saturating_sub(self.at) as f64 / SECOND as f64;
        self.waiting = (self.waiting - passed * self.rate()).max(0.0);
        self.at = now;
    }

    /// Puts requests in the line; gives the time until it is their turn.
    pub(crate) fn join(&mut self, now: Micros, requests: f64) -> Result<Micros, Full> {
        self.settle(now);
        self.asked += requests;
        let rate = self.rate();
        if rate <= 0.0 {
            return Err(Full);
        }
        let wait = of_seconds(self.waiting / rate);
        if wait > WAIT_MAX {
            return Err(Full);
        }
        self.waiting += requests;
        Ok(wait)
    }

    /// The region serves another share of what it is made for from now on.
    pub(crate) fn set_share(&mut self, now: Micros, share: f64) {
        self.settle(now);
        self.share = share;
    }

    /// The process is gone, and with it what waited.
    pub(crate) fn clear(&mut self, now: Micros) {
        self.settle(now);
        self.waiting = 0.0;
    }

    /// How many wait.
    pub(crate) fn waiting(&mut self, now: Micros) -> f64 {
        self.settle(now);
        self.waiting
    }

    /// What was asked for since the last call, over what the region serves in that time.
    pub(crate) fn take_load(&mut self, passed: Micros) -> f64 {
        let serves = self.rate() * passed as f64 / SECOND as f64;
        let asked = std::mem::take(&mut self.asked);
        if serves > 0.0 { asked / serves } else { f64::from(u8::from(asked > 0.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_grows_when_more_come_than_are_served_and_refuses_past_its_bound() {
        let mut line = Line::new(100.0);
        let mut longest = 0;
        let mut refused = 0;
        // Twice as many as it serves, for four seconds.
        for nth in 0..800 {
            match line.join(nth * 5_000, 1.0) {
                Ok(wait) => longest = longest.max(wait),
                Err(Full) => refused += 1,
            }
        }
        assert!(longest <= WAIT_MAX && longest > WAIT_MAX - 20_000, "{longest}");
        // It fills within a second; of what comes after half is refused.
        assert!((290..310).contains(&refused), "{refused}");
        assert!((line.take_load(4 * SECOND) - 2.0).abs() < 1e-9);
        assert!(line.waiting(8 * SECOND) == 0.0);
    }

    #[test]
    fn a_slow_region_serves_its_share_and_a_stopped_one_nothing() {
        let mut line = Line::new(100.0);
        assert_eq!(line.join(0, 10.0), Ok(0));
        assert_eq!(line.join(0, 1.0), Ok(100_000));
        line.set_share(0, 0.5);
        assert_eq!(line.join(0, 1.0), Ok(220_000));
        line.set_share(0, 0.0);
        assert_eq!(line.join(0, 1.0), Err(Full));
        line.clear(0);
        line.set_share(0, 1.0);
        assert_eq!(line.join(0, 1.0), Ok(0));
    }
}
