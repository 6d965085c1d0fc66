//! How many requests a region serves per second.
//!
//! Requests wait in one line and are served at an even rate. What would wait longer than the bound is
//! refused at once. A request whose client gives it up before its turn costs the region nothing: a
//! client that gives up closes its connection, and what a server has not read of it is gone. So an
//! overload takes away what is too much, and not all of it; a line that works through what nobody
//! waits for any more would not recover while its clients retry (Bronson et al., "Metastable failures
//! in distributed systems", 2021).

use rhumb_types::Ratio;

use crate::time::{Micros, SECOND, of_seconds};

/// How long a request may have to wait for its turn; past that a region refuses.
pub(crate) const WAIT_MAX: Micros = SECOND;
/// How much the newest look at a region's load counts in what its node tells, as in the engine.
const LOAD_WEIGHT: f64 = 0.25;
/// How finely a node tells how full it is, as in the engine.
const LOAD_STEPS: f64 = 100.0;

/// Why a request does not get its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unserved {
    /// Too many wait: the region refuses.
    Full,
    /// Its client gives it up before.
    Late,
}

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

    /// Puts requests in the line that wait for so long at most; gives the time until their turn.
    pub(crate) fn join(
        &mut self,
        now: Micros,
        requests: f64,
        patience: Micros,
    ) -> Result<Micros, Unserved> {
        self.settle(now);
        self.asked += requests;
        let rate = self.rate();
        if rate <= 0.0 {
            return Err(Unserved::Full);
        }
        let wait = of_seconds(self.waiting / rate);
        if wait > WAIT_MAX {
            return Err(Unserved::Full);
        }
        if wait >= patience {
            return Err(Unserved::Late);
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

/// How full a node says that it is, looked at every second as in the engine.
#[derive(Debug, Default)]
pub(crate) struct Fullness {
    share: f64,
    told: f64,
}

impl Fullness {
    /// So much was asked for in the last second, over what is served; gives what there is to tell.
    pub(crate) fn look(&mut self, load: f64) -> Option<Ratio> {
        self.share += (load.min(1.0) - self.share) * LOAD_WEIGHT;
        let told = (self.share * LOAD_STEPS).round() / LOAD_STEPS;
        let changed = told.to_bits() != self.told.to_bits();
        self.told = told;
        changed.then(|| Ratio::clamped(told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twice as many as are served, for four seconds: the longest wait, and how many got no turn.
    fn overload(line: &mut Line, patience: Micros) -> (Micros, u64, u64) {
        let (mut longest, mut full, mut late) = (0, 0, 0);
        for nth in 0..800 {
            match line.join(nth * 5_000, 1.0, patience) {
                Ok(wait) => longest = longest.max(wait),
                Err(Unserved::Full) => full += 1,
                Err(Unserved::Late) => late += 1,
            }
        }
        (longest, full, late)
    }

    #[test]
    fn a_line_grows_when_more_come_than_are_served_and_refuses_past_its_bound() {
        let mut line = Line::new(100.0);
        let (longest, full, late) = overload(&mut line, Micros::MAX);
        assert!(longest <= WAIT_MAX && longest > WAIT_MAX - 20_000, "{longest}");
        // It fills within a second; of what comes after half is refused.
        assert!((290..310).contains(&full), "{full}");
        assert_eq!(late, 0);
        assert!((line.take_load(4 * SECOND) - 2.0).abs() < 1e-9);
        assert!(line.waiting(8 * SECOND) == 0.0);
    }

    #[test]
    fn who_gives_up_before_its_turn_costs_nothing() {
        let mut line = Line::new(100.0);
        let (longest, full, late) = overload(&mut line, SECOND / 2);
        assert!(longest < SECOND / 2, "{longest}");
        // It is as long as clients wait after half a second; of what comes then half is served.
        assert_eq!(full, 0);
        assert!((340..360).contains(&late), "{late}");
    }

    #[test]
    fn a_node_is_full_after_some_busy_seconds_and_tells_only_what_changes() {
        let mut fullness = Fullness::default();
        assert_eq!(fullness.look(0.0), None);
        assert_eq!(fullness.look(3.0), Some(Ratio::clamped(0.25)));
        let told: Vec<Ratio> = (0..60).filter_map(|_| fullness.look(3.0)).collect();
        assert!((8..25).contains(&told.len()), "{told:?}");
        assert_eq!(told.last(), Some(&Ratio::ONE));
    }

    #[test]
    fn a_slow_region_serves_its_share_and_a_stopped_one_nothing() {
        let mut line = Line::new(100.0);
        assert_eq!(line.join(0, 10.0, SECOND), Ok(0));
        assert_eq!(line.join(0, 1.0, SECOND), Ok(100_000));
        line.set_share(0, 0.5);
        assert_eq!(line.join(0, 1.0, SECOND), Ok(220_000));
        line.set_share(0, 0.0);
        assert_eq!(line.join(0, 1.0, SECOND), Err(Unserved::Full));
        line.clear(0);
        line.set_share(0, 1.0);
        assert_eq!(line.join(0, 1.0, SECOND), Ok(0));
    }
}
