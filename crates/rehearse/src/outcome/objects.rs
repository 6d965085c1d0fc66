//! What became of objects.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, ser::SerializeStruct};

use super::{Latencies, all_millis, millis};
use crate::prices::MicroDollars;

/// Objects by what became of them.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct ObjectsOutcome {
    /// All of them together.
    #[serde(flatten)]
    pub counts: ObjectCounts,
    /// How long things took.
    #[serde(flatten)]
    pub times: ObjectTimes,
    /// The most bytes that were still to be copied at one time, so that they are in as many regions as
    /// their bucket asks for.
    #[serde(rename = "backlog_max_bytes")]
    pub backlog_max: u64,
    /// How many there are at the end.
    #[serde(rename = "backlog_end_bytes")]
    pub backlog_end: u64,
    /// After each fault: from when it was mended until no more bytes were still to be copied than before
    /// it, and those of a few objects. Zero when there never were more, `None` when there still were as
    /// the next fault came, or the end.
    #[serde(rename = "converged_ms", serialize_with = "all_millis")]
    pub converged: Vec<Option<Duration>>,
    /// For each fault that took a region away: what was nowhere else.
    pub at_risk: Vec<AtRisk>,
    /// Each direction of each link, by "from>to".
    pub links: BTreeMap<String, LinkOutcome>,
}

/// How many objects something happened to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ObjectCounts {
    /// Clients had so many to upload,
    pub uploads: u64,
    /// of so many bytes.
    pub bytes: u64,
    /// Uploads that were acknowledged.
    pub acknowledged: u64,
    /// Uploads that no region took, with all tries.
    pub failed: u64,
    /// Acknowledged with fewer copies than the bucket's uploads wait for.
    pub degraded: u64,
    /// Acknowledged by another region than the one that they were begun in, because that failed.
    pub moved: u64,
    /// Under way at the end.
    pub left: u64,
    /// Acknowledged and known to no region; none, unless there is a bug.
    pub lost: u64,
    /// Deletions that were acknowledged.
    pub deletes: u64,
    /// Deletions that no region took, with all tries.
    pub deletes_failed: u64,
    /// Of those acknowledged, how many some region did not act on for longer than
    /// [`LATE`](crate::run::LATE).
    pub deletes_late: u64,
    /// Of those acknowledged, how many some region has not acted on at the end.
    pub fading: u64,
    /// Reads that were asked for.
    pub downloads: u64,
    /// Reads that were answered.
    pub read: u64,
    /// Reads that no region answered, with all tries.
    pub downloads_failed: u64,
    /// Of those answered, how many with bytes of another region.
    pub through: u64,
    /// Reads that found nothing where there is an object.
    pub missed: u64,
    /// Reads of what had been deleted before.
    pub ghosts: u64,
}

/// How long things took.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ObjectTimes {
    /// Uploads that were acknowledged.
    #[serde(rename = "upload_times")]
    pub uploads: Times,
    /// Reads that were answered.
    #[serde(rename = "read_times")]
    pub reads: Times,
    /// Of these, the ones that had to fetch bytes from another region.
    #[serde(rename = "through_times")]
    pub through: Times,
    /// From the answer to a deletion until no region shows the object; to a second.
    #[serde(rename = "delete_times")]
    pub deletes: Times,
}

/// Times of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Times {
    spread: Latencies,
    /// The longest; nothing when there was none.
    pub max: Option<Duration>,
}

impl Times {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.spread.add(time);
        self.max = self.max.max(Some(time));
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Self) {
        self.spread.merge(&other.spread);
        self.max = self.max.max(other.max);
    }

    /// Below which this share of them lies, within a quarter; never more than the longest.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        self.spread.percentile(share).min(self.max)
    }
}

impl Serialize for Times {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let millis = |time: Option<Duration>| time.map(|it| it.as_secs_f64() * 1e3);
        let mut shown = to.serialize_struct("Times", 3)?;
        shown.serialize_field("p50_ms", &millis(self.percentile(0.5)))?;
        shown.serialize_field("p99_ms", &millis(self.percentile(0.99)))?;
        shown.serialize_field("max_ms", &millis(self.max))?;
        shown.end()
    }
}

/// Acknowledged objects of which no other region had both the row and the bytes as a region failed. They
/// come back with its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct AtRisk {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The age of the oldest of them.
    #[serde(rename = "oldest_ms", serialize_with = "millis")]
    pub oldest: Duration,
}

/// One direction of a link.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct LinkOutcome {
    /// Bytes of objects, and what regions say to each other about them.
    pub bytes: u64,
    /// What these cost.
    #[serde(rename = "cost_micro_usd")]
    pub cost: MicroDollars,
    /// The most of its bandwidth that was in use, over ten seconds.
    #[serde(rename = "busy_max_share")]
    pub busy_max: f64,
    /// For how long it was full.
    #[serde(rename = "full_ms", serialize_with = "millis")]
    pub full: Duration,
}

impl ObjectsOutcome {
    /// The most that any fault put at risk.
    #[must_use]
    pub fn risk(&self) -> AtRisk {
        let most = |one: AtRisk, other: &AtRisk| AtRisk {
            objects: one.objects.max(other.objects),
            bytes: one.bytes.max(other.bytes),
            oldest: one.oldest.max(other.oldest),
        };
        self.at_risk.iter().fold(AtRisk::default(), most)
    }

    /// How busy the busiest link was.
    #[must_use]
    pub fn busy_max(&self) -> f64 {
        self.links.values().map(|link| link.busy_max).fold(0.0, f64::max)
    }

    /// Puts another run's beside it: of what has a most, the most of any.
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.times.merge(&other.times);
        self.backlog_max = self.backlog_max.max(other.backlog_max);
        self.backlog_end = self.backlog_end.max(other.backlog_end);
        self.converged.extend(&other.converged);
        self.at_risk.extend(&other.at_risk);
        for (ends, of_run) in &other.links {
            let sum = self.links.entry(ends.clone()).or_default();
            sum.bytes += of_run.bytes;
            sum.cost.0 += of_run.cost.0;
            sum.busy_max = sum.busy_max.max(of_run.busy_max);
            sum.full = sum.full.max(of_run.full);
        }
    }
}

impl ObjectTimes {
    fn merge(&mut self, other: &Self) {
        let Self { uploads, reads, through, deletes } = other;
        self.uploads.merge(uploads);
        self.reads.merge(reads);
        self.through.merge(through);
        self.deletes.merge(deletes);
    }
}

impl ObjectCounts {
    const fn add(&mut self, other: &Self) {
        self.uploads += other.uploads;
        self.bytes += other.bytes;
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        self.degraded += other.degraded;
        self.moved += other.moved;
        self.left += other.left;
        self.lost += other.lost;
        self.deletes += other.deletes;
        self.deletes_failed += other.deletes_failed;
        self.deletes_late += other.deletes_late;
        self.fading += other.fading;
        self.downloads += other.downloads;
        self.read += other.read;
        self.downloads_failed += other.downloads_failed;
        self.through += other.through;
        self.missed += other.missed;
        self.ghosts += other.ghosts;
    }
}
