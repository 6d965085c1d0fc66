//! How far a rehearsal is, on standard error.

use std::{
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
    said: Instant,
    on_terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { began: now, said: now, on_terminal: io::stderr().is_terminal() }
    }

    /// Says how far it is, if it is time to.
    pub(super) fn show(&mut self, done: usize, all: usize, simulated: Duration) {
        let line = || {
            let (simulated, took) = (shown::time(simulated), shown::time(self.began.elapsed()));
            format!("{done} of {all} runs, {simulated} simulated in {took}")
        };
        if self.on_terminal {
            // A terminal that is gone needs no progress.
            let _gone = write!(io::stderr(), "\r\x1b[K{}", line());
            let _gone = io::stderr().flush();
        } else if self.said.elapsed() >= LINE_INTERVAL {
            note(&line());
            self.said = Instant::now();
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn end(&self) {
        if self.on_terminal {
            let _gone = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
