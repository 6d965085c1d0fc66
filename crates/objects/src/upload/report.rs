//! What is said of an upload in the end.

use rhumb_types::RegionId;

use super::Fault;

/// What became of a region of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionResult {
    /// Which.
    pub region: RegionId,
    /// Whether all is there, or why not.
    pub result: Result<(), Fault>,
    /// Bytes that it acknowledged.
    pub bytes: u64,
    /// How many parts were sent to it, those that failed and were sent again included.
    pub attempts: u64,
    /// In whose place it was used.
    pub in_place_of: Option<RegionId>,
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As many copies as were planned.
    Whole,
    /// Fewer, and as many as are needed.
    Degraded,
    /// Fewer than are needed.
    Failed,
}

/// What is said of an upload in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub verdict: Verdict,
    /// Length of the source, as far as it was read.
    pub bytes: u64,
    /// Each region that was used, in the order of their first use.
    pub regions: Vec<RegionResult>,
}
