//! How far a rehearsal is, on standard error.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use rhumb_rehearse::report::shown;

use crate::commands::note;

/// Time between two looks on a terminal.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Time between two lines where there is none.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// What is shown of it.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    lines: Lines,
    on_terminal: bool,
}

/// Lines at a distance of time, where each stays.
#[derive(Debug)]
struct Lines {
    interval: Duration,
    /// When the last one was due, since the beginning.
    last: Duration,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
struct Far {
    done: usize,
    all: usize,
    simulated: Duration,
    took: Duration,
}

impl Progress {
    pub(super) fn new() -> Self {
        let lines = Lines { interval: LINE_INTERVAL, last: Duration::ZERO };
        Self { began: Instant::now(), lines, on_terminal: io::stderr().is_terminal() }
    }

    /// Says how far it is, if it is time to.
    pub(super) fn show(&mut self, done: usize, all: usize, simulated: Duration) {
        let far = Far { done, all, simulated, took: self.began.elapsed() };
        if self.on_terminal {
            // A terminal that is gone needs no progress.
            let _gone = write!(io::stderr(), "\r\x1b[K{far}");
            let _gone = io::stderr().flush();
        } else if self.lines.is_due(far.took) {
            note(&far.to_string());
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn end(&self) {
        if self.on_terminal {
            let _gone = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Lines {
    /// Whether a line is due now, so long after the beginning. Then the next one is due an interval
    /// later.
    fn is_due(&mut self, now: Duration) -> bool {
        let due = now.saturating_sub(self.last) >= self.interval;
        if due {
            self.last = now;
        }
        due
    }
}

impl fmt::Display for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (simulated, took) = (shown::time(self.simulated), shown::time(self.took));
        write!(f, "{} of {} runs, {simulated} simulated in {took}", self.done, self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_per_interval_and_tells_how_far_it_is() {
        let mut lines = Lines { interval: Duration::from_secs(3), last: Duration::ZERO };
        let said = |second: u64| {
            let took = Duration::from_secs(second);
            let done = usize::try_from(second).unwrap();
            let far = Far { done, all: 20, simulated: took * 600, took };
            lines.is_due(took).then(|| far.to_string())
        };
        // Nobody looks from 7 s to 10 s: one line is late, and none is made up for.
        let said: Vec<String> = (0..=6).chain(11..=14).filter_map(said).collect();
        assert_eq!(
            said,
            [
                "3 of 20 runs, 30 min simulated in 3.00 s",
                "6 of 20 runs, 1 h simulated in 6.00 s",
                "11 of 20 runs, 1 h 50 min simulated in 11.0 s",
                "14 of 20 runs, 2 h 20 min simulated in 14.0 s",
            ]
        );
    }
}
