//! What came out of one seed.

use std::{collections::BTreeMap, time::Duration};

use rhumb_types::RegionId;
use serde::Serialize;

use crate::prices::MicroDollars;

mod objects;

pub use objects::{AtRisk, LinkOutcome, ObjectCounts, ObjectTimes, ObjectsOutcome, Times};

/// One run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// How many requests one that was simulated stands for, at most.
    pub weight: u64,
    /// What came of each fault of the scenario, in its order.
    pub faults: Vec<FaultOutcome>,
    /// All requests.
    pub requests: Counts,
    /// Answered requests by latency.
    pub latency: Latencies,
    /// Each region that holds data.
    pub regions: BTreeMap<RegionId, RegionOutcome>,
    /// Values that were kept beside each other, or replaced one another, because they were written
    /// at once.
    pub conflicts: u64,
    /// The greatest lag between any two regions. One that is gone, and one that catches up after it
    /// was, is not counted: see [`crate::run::CAUGHT_UP`].
    #[serde(rename = "lag_max_ms", serialize_with = "millis")]
    pub lag_max: Duration,
    /// Bytes from one region to another, by "from>to".
    #[serde(rename = "egress_bytes")]
    pub egress: BTreeMap<String, u64>,
    /// What they and the nodes cost.
    #[serde(rename = "cost_micro_usd")]
    pub cost: MicroDollars,
    /// What became of the jobs, if any were rehearsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<JobsOutcome>,
    /// What became of objects, if any were rehearsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectsOutcome>,
    /// The course of it; empty where only the course of another run is of interest.
    #[serde(skip_serializing_if = "Series::is_empty")]
    pub series: Series,
    /// Promises of the fabric that did not hold; none, unless there is a bug.
    pub violations: Vec<String>,
}

impl Outcome {
    /// How bad it is, for comparing: requests that failed, then the longest gap, then slow answers.
    #[must_use]
    pub fn badness(&self) -> (u64, Duration, u64) {
        let gap = self.faults.iter().map(|fault| fault.gap).max().unwrap_or_default();
        (self.requests.failed, gap, self.requests.slow)
    }
}

/// What came of one fault. What clients see counts until the next fault begins, or the rehearsal ends,
/// also after this one is mended; faults that begin at the same time share it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FaultOutcome {
    /// As it stands in the scenario.
    pub fault: String,
    /// When it happened.
    #[serde(rename = "at_ms", serialize_with = "millis")]
    pub at: Duration,
    /// Until another node no longer routed to the region; of links, and of what only slows a region
    /// down, until a node preferred others. `None` when none did before it was mended.
    #[serde(rename = "detected_ms", serialize_with = "maybe_millis")]
    pub detected: Option<Duration>,
    /// Until another region held the lease of the one that failed, or of one of the ends of a link.
    #[serde(rename = "owned_ms", serialize_with = "maybe_millis")]
    pub owned: Option<Duration>,
    /// Until clients everywhere were answered again as before: until the last of them asked in vain,
    /// in a second in which more requests failed, with all their tries, than usual and by chance.
    /// Zero when there was none, `None` when that went on to the end.
    #[serde(rename = "served_ms", serialize_with = "maybe_millis")]
    pub served: Option<Duration>,
    /// The longest that any group of clients asked without an answer: those of one process with a
    /// list, or those behind one resolver.
    #[serde(rename = "gap_ms", serialize_with = "millis")]
    pub gap: Duration,
    /// Whether it happened to the region that led the control plane: another is elected first then. Of a
    /// link, whether one of its ends did.
    pub led: bool,
    /// The greatest lag between two regions to which it did not happen, while it lasted.
    #[serde(rename = "lag_of_others_ms", serialize_with = "millis")]
    pub lag_of_others: Duration,
    /// Acknowledged writes that no other region had, when the region failed. They come back with
    /// its disk.
    #[serde(rename = "exposed_writes")]
    pub exposed: u64,
    /// The age of the oldest of them.
    #[serde(rename = "exposed_ms", serialize_with = "millis")]
    pub exposed_for: Duration,
}

/// Requests by what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// All.
    pub asked: u64,
    /// Not answered, with all retries.
    pub failed: u64,
    /// Answered late.
    pub slow: u64,
    /// Reads that did not show a write that was acknowledged before, anywhere.
    pub stale: u64,
    /// Sent again.
    pub retried: u64,
    /// Writes whose acknowledgement did not come in time.
    pub unconfirmed: u64,
}

/// One region.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct RegionOutcome {
    /// Requests that it answered.
    pub served: u64,
    /// Of them, those of clients that are nearest to another region.
    pub spilled: u64,
    /// Requests that it refused because too many waited.
    pub refused: u64,
    /// The most that it was asked for in a step, over what it serves; above 1 a queue grows.
    pub load_max: f64,
}

/// Jobs by what became of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct JobsOutcome {
    /// All of them together.
    #[serde(flatten)]
    pub counts: JobCounts,
    /// The most that waited at one time, in all regions.
    pub depth_max: u64,
    /// The longest that a job waited at any time.
    #[serde(rename = "oldest_max_ms", serialize_with = "millis")]
    pub oldest_max: Duration,
    /// After each fault: until no more jobs waited than in the minute before it, and a few. Zero when
    /// there never were more, `None` when there still were as the next fault came, or the end.
    #[serde(rename = "drained_ms", serialize_with = "all_millis")]
    pub drained: Vec<Option<Duration>>,
    /// Each region.
    pub regions: BTreeMap<RegionId, RegionJobs>,
}

/// How many jobs something happened to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct JobCounts {
    /// Producers had so many.
    pub offered: u64,
    /// Producers heard that they are taken in.
    pub taken: u64,
    /// Producers were told nothing but refusals, or nothing, with all their tries.
    pub refused: u64,
    /// Taken in by another region than the one that was asked, because that was overloaded.
    pub spilled: u64,
    /// Taken in without a lease, so that only the region that took them in runs them.
    pub pinned: u64,
    /// Executed to their end.
    pub done: u64,
    /// Executions that began when there had been one before.
    pub repeated: u64,
    /// Taken in and not done at the end, and known to a region that runs.
    pub left: u64,
    /// Taken in, not done, and known to nobody but perhaps to a region that is gone at the end.
    pub away: u64,
    /// Taken in, not done, and known to no region.
    pub lost: u64,
}

/// The jobs of one region.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RegionJobs {
    /// Executions that began here.
    pub ran: u64,
    /// Jobs that another region sent here.
    pub spilled_here: u64,
    /// The most that waited at one time for the region, wherever they were run in the end.
    pub depth_max: u64,
    /// The most workers that were busy at one time.
    pub busy_max: u64,
    /// How many there are.
    pub workers: u64,
}

/// Latencies in buckets that grow by a quarter each.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Latencies {
    counts: Vec<u64>,
}

/// The upper end of the first bucket, in microseconds.
const FIRST_MICROS: f64 = 100.0;
/// By how much each bucket is wider than the one before.
const GROWTH: f64 = 1.25;
/// How many there are; the last ends after some twenty minutes.
const BUCKETS: usize = 74;

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        self.add_many(latency, 1);
    }

    /// Adds several of the same.
    pub fn add_many(&mut self, latency: Duration, times: u64) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let bucket = UPPER_NANOS.partition_point(|end| *end < nanos).min(BUCKETS - 1);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += times;
        }
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// Below which this share of them lies; `None` when there are none.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.counts.iter().sum();
        let mut seen = 0;
        UPPER_NANOS.iter().zip(&self.counts).find_map(|(end, count)| {
            seen += count;
            (all > 0 && seen as f64 >= all as f64 * share).then(|| Duration::from_nanos(*end))
        })
    }
}

/// The upper end of each bucket, in nanoseconds.
const UPPER_NANOS: [u64; BUCKETS] = upper_ends();

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "worked out by the compiler, which refuses what does not fit"
)]
const fn upper_ends() -> [u64; BUCKETS] {
    let mut ends = [0; BUCKETS];
    let (mut nth, mut end) = (0, FIRST_MICROS * 1_000.0);
    while nth < BUCKETS {
        ends[nth] = end as u64;
        end *= GROWTH;
        nth += 1;
    }
    ends
}

/// The course of a run, in steps of the same length.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Series {
    /// The length of a step.
    #[serde(rename = "step_ms", serialize_with = "millis")]
    pub step: Duration,
    /// Requests answered per step, by the region that answered.
    pub served: BTreeMap<RegionId, Vec<u64>>,
    /// Requests failed per step.
    pub failed: Vec<u64>,
    /// The middle latency of each step, in milliseconds.
    #[serde(rename = "p50_ms")]
    pub p50_millis: Vec<f64>,
    /// That of the slowest hundredth.
    #[serde(rename = "p99_ms")]
    pub p99_millis: Vec<f64>,
    /// The greatest lag between any two regions, in milliseconds.
    #[serde(rename = "lag_ms")]
    pub lag_millis: Vec<f64>,
    /// Requests that wait in the fullest region.
    pub waiting: Vec<u64>,
    /// Jobs that wait for each region; of a rehearsal with jobs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub depth: BTreeMap<RegionId, Vec<u64>>,
    /// How long the oldest of them has waited, in milliseconds.
    #[serde(rename = "oldest_ms", skip_serializing_if = "Vec::is_empty")]
    pub oldest_millis: Vec<f64>,
    /// Bytes of objects that are still to be copied to other regions; of a rehearsal with objects.
    #[serde(rename = "backlog_bytes", skip_serializing_if = "Vec::is_empty")]
    pub backlog: Vec<u64>,
    /// The middle time of uploads that were acknowledged in a step, in milliseconds,
    #[serde(rename = "upload_p50_ms", skip_serializing_if = "Vec::is_empty")]
    pub upload_p50_millis: Vec<f64>,
    /// and that of the slowest hundredth.
    #[serde(rename = "upload_p99_ms", skip_serializing_if = "Vec::is_empty")]
    pub upload_p99_millis: Vec<f64>,
    /// How busy each link is, by "from>to", as a share of its bandwidth.
    #[serde(rename = "link_share", skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, Vec<f64>>,
    /// Cost from the start, in millionths of a dollar.
    #[serde(rename = "cost_micro_usd")]
    pub cost: Vec<u64>,
}

impl Series {
    /// Whether there is no step in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }
}

pub(crate) fn millis<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64() * 1_000.0)
}

pub(crate) fn all_millis<S: serde::Serializer>(
    durations: &[Option<Duration>],
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_seq(durations.iter().map(|it| it.map(|it| it.as_secs_f64() * 1_000.0)))
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn maybe_millis<S: serde::Serializer>(
    duration: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => millis(duration, to),
        None => to.serialize_none(),
    }
}
