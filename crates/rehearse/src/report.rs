//! What the runs of many seeds say together.

use std::time::Duration;

use serde::Serialize;

use crate::outcome::{Counts, Latencies, Outcome};

/// All runs of a rehearsal.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Each run, in order of seeds.
    pub runs: Vec<Outcome>,
    /// Requests of all runs.
    pub requests: Counts,
    /// Latencies of all runs.
    pub latency: Latencies,
}

impl Report {
    /// Puts runs together.
    #[must_use]
    pub fn new(runs: Vec<Outcome>) -> Self {
        let (mut requests, mut latency) = (Counts::default(), Latencies::default());
        for run in &runs {
            requests.add(&run.requests);
            latency.merge(&run.latency);
        }
        Self { runs, requests, latency }
    }

    /// Times of one kind, of every fault of every run, the shortest first; those that never came
    /// are left out.
    #[must_use]
    pub fn times(
        &self,
        which: impl Fn(&crate::outcome::FaultOutcome) -> Option<Duration>,
    ) -> Vec<Duration> {
        let faults = self.runs.iter().flat_map(|run| &run.faults);
        let mut times: Vec<Duration> = faults.filter_map(which).collect();
        times.sort_unstable();
        times
    }
}

impl Counts {
    /// Adds those of another run.
    pub const fn add(&mut self, other: &Self) {
        let Self { asked, failed, slow, stale, retried, unconfirmed } = other;
        self.asked += *asked;
        self.failed += *failed;
        self.slow += *slow;
        self.stale += *stale;
        self.retried += *retried;
        self.unconfirmed += *unconfirmed;
    }
}
