//! What the runs of many seeds say together.

mod figures;
mod findings;
pub mod shown;
mod spread;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::RegionId;
use serde::Serialize;

pub use self::{
    figures::{Figure, Value, per_hour},
    findings::{FaultSpread, Findings, document},
    spread::Spread,
};
use crate::outcome::{
    Counts, FaultOutcome, JobCounts, JobsOutcome, Latencies, ObjectsOutcome, Outcome, RegionOutcome,
};

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

    /// Times of one kind, of every fault of every run.
    #[must_use]
    pub fn spread(&self, which: impl Fn(&FaultOutcome) -> Option<Duration>) -> Spread {
        Spread::of(self.runs.iter().flat_map(|run| &run.faults).map(which))
    }

    /// Each region: requests of all runs, and the highest load of any.
    #[must_use]
    pub fn regions(&self) -> BTreeMap<&RegionId, RegionOutcome> {
        let mut regions: BTreeMap<&RegionId, RegionOutcome> = BTreeMap::new();
        for (region, of_run) in self.runs.iter().flat_map(|run| &run.regions) {
            let sum = regions.entry(region).or_default();
            sum.served += of_run.served;
            sum.spilled += of_run.spilled;
            sum.refused += of_run.refused;
            sum.load_max = sum.load_max.max(of_run.load_max);
        }
        regions
    }

    /// What became of the jobs of all runs, if any were rehearsed: of what has a most, the most of any.
    #[must_use]
    pub fn jobs(&self) -> Option<JobsOutcome> {
        summed(self.runs.iter().filter_map(|run| run.jobs.as_ref()), JobsOutcome::add)
    }

    /// What became of the objects of all runs, if any were rehearsed: of what has a most, the most of any.
    #[must_use]
    pub fn objects(&self) -> Option<ObjectsOutcome> {
        summed(self.runs.iter().filter_map(|run| run.objects.as_ref()), ObjectsOutcome::add)
    }

    /// Bytes of all runs from one region to another, by "from>to".
    #[must_use]
    pub fn egress(&self) -> BTreeMap<&str, u64> {
        let mut egress = BTreeMap::new();
        for (pair, bytes) in self.runs.iter().flat_map(|run| &run.egress) {
            *egress.entry(pair.as_str()).or_default() += bytes;
        }
        egress
    }

    /// The run that went worst; of equals the first.
    #[must_use]
    pub fn worst(&self) -> Option<&Outcome> {
        self.runs.iter().rev().max_by_key(|run| run.badness())
    }
}

/// The sum of what came of each run, if anything did.
fn summed<'a, T: Clone + 'a>(
    mut of_runs: impl Iterator<Item = &'a T>,
    add: impl Fn(&mut T, &T),
) -> Option<T> {
    let first = of_runs.next()?.clone();
    Some(of_runs.fold(first, |mut sum, run| {
        add(&mut sum, run);
        sum
    }))
}

impl JobsOutcome {
    fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.depth_max = self.depth_max.max(other.depth_max);
        self.oldest_max = self.oldest_max.max(other.oldest_max);
        self.drained.extend(&other.drained);
        for (region, of_run) in &other.regions {
            let sum = self.regions.entry(region.clone()).or_default();
            sum.ran += of_run.ran;
            sum.spilled_here += of_run.spilled_here;
            sum.depth_max = sum.depth_max.max(of_run.depth_max);
            sum.busy_max = sum.busy_max.max(of_run.busy_max);
            sum.workers = of_run.workers;
        }
    }
}

impl JobCounts {
    const fn add(&mut self, other: &Self) {
        let Self { offered, taken, refused, spilled, pinned, done, repeated, left, away, lost } =
            other;
        self.offered += *offered;
        self.taken += *taken;
        self.refused += *refused;
        self.spilled += *spilled;
        self.pinned += *pinned;
        self.done += *done;
        self.repeated += *repeated;
        self.left += *left;
        self.away += *away;
        self.lost += *lost;
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
