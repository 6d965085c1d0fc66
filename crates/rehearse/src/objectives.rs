//! What is asked for, and whether a report gives it.
//!
//! One objective per line, each with its unit; `#` begins a comment:
//!
//! ```text
//! served < 5s             # also: owned, detected, gap, exposed, lag
//! failed < 0.1%           # also: slow, stale, load
//! exposed writes < 1
//! jobs drained < 10m      # also: oldest job; of a rehearsal with jobs
//! jobs repeated < 100     # also: jobs lost, jobs refused, queue depth
//! uploads failed < 0.1%   # also: uploads degraded, downloads failed, link; with objects
//! upload time < 60s       # also: read through, converged; the longest
//! objects at risk < 1     # also: late deletions
//! backlog < 10GB
//! cost per hour < 3 USD
//! ```

mod parse;
#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

use rhumb_types::{ByteSize, Ratio};

pub use self::{
    parse::parse,
    verdict::{Verdict, judge},
};
use crate::prices::MicroDollars;

/// What is asked for: none of these is exceeded, in any run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Objective {
    /// The time until clients are served again, at most.
    Served(Duration),
    /// The time until a failed region's lease is held elsewhere, at most.
    Owned(Duration),
    /// The time until a fault is known, at most.
    Detected(Duration),
    /// The longest gap of any group of clients, at most.
    Gap(Duration),
    /// The share of requests that fail, at most.
    Failed(Ratio),
    /// The share of answers that are slow, at most.
    Slow(Ratio),
    /// The share of reads that are stale, at most.
    Stale(Ratio),
    /// Acknowledged writes that no other region has, at most.
    ExposedWrites(u64),
    /// The age of the oldest of them, at most.
    ExposedFor(Duration),
    /// The load of any region, at most.
    Load(Ratio),
    /// The lag between any two regions, at most.
    Lag(Duration),
    /// The cost per hour, at most.
    CostPerHour(MicroDollars),
    /// The time from a fault until no more jobs wait than before, at most.
    JobsDrained(Duration),
    /// The age of the oldest job that waits, at most.
    OldestJob(Duration),
    /// Jobs that wait at one time, at most.
    QueueDepth(u64),
    /// Executions of jobs that had been executed before, at most.
    JobsRepeated(u64),
    /// Jobs that producers could not get taken in, at most.
    JobsRefused(u64),
    /// Jobs that were taken in and are known to no region at the end, at most.
    JobsLost(u64),
    /// The share of uploads that fail, at most.
    UploadsFailed(Ratio),
    /// The share of acknowledged uploads with fewer copies than wished, at most.
    UploadsDegraded(Ratio),
    /// The longest that an upload takes, at most.
    UploadTime(Duration),
    /// The share of reads of objects that fail or find nothing, at most.
    DownloadsFailed(Ratio),
    /// The longest that a read takes that needs bytes of another region, at most.
    ReadThrough(Duration),
    /// Acknowledged objects that only a region had which failed, at most.
    ObjectsAtRisk(u64),
    /// Bytes that are still to be copied, at most.
    Backlog(ByteSize),
    /// The time from the end of a fault until all copies are made that it held up, at most.
    Converged(Duration),
    /// Deletions on which some region acts late, at most.
    LateDeletions(u64),
    /// How busy any link is, at most.
    Link(Ratio),
}

impl Objective {
    /// Whether it is asked of jobs.
    #[must_use]
    pub const fn is_of_jobs(&self) -> bool {
        matches!(
            self,
            Self::JobsDrained(_)
                | Self::OldestJob(_)
                | Self::QueueDepth(_)
                | Self::JobsRepeated(_)
                | Self::JobsRefused(_)
                | Self::JobsLost(_)
        )
    }

    /// Whether it is asked of objects.
    #[must_use]
    pub const fn is_of_objects(&self) -> bool {
        matches!(
            self,
            Self::UploadsFailed(_)
                | Self::UploadsDegraded(_)
                | Self::UploadTime(_)
                | Self::DownloadsFailed(_)
                | Self::ReadThrough(_)
                | Self::ObjectsAtRisk(_)
                | Self::Backlog(_)
                | Self::Converged(_)
                | Self::LateDeletions(_)
                | Self::Link(_)
        )
    }
}
