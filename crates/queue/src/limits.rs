//! Every bound of the queues, in one place.

use std::time::Duration;

/// A lease of at most the queue's own visibility is given under the frontier, where that is not
/// shorter than this,
pub const PLAIN_LEASE_MIN: Duration = Duration::from_secs(30);
/// nor longer than this; a longer lease is written into its job's row.
pub const PLAIN_LEASE_MAX: Duration = Duration::from_secs(120);
/// A frontier spans so many of these leases.
pub const SPAN_LEASES: u32 = 2;
/// How many orders a frontier is ahead of what is leased, at least,
pub const FRONTIER_STEP_MIN: u64 = 256;
/// and at most.
pub const FRONTIER_STEP_MAX: u64 = 65_536;
/// Pause after a frontier that was not written.
pub const FRONTIER_PAUSE: Duration = Duration::from_millis(250);
/// How long a request that need not wait waits for a frontier all the same.
pub const FRONTIER_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long the jobs of a home are not leased after it was asked for last.
pub const QUIET_FOR: Duration = Duration::from_secs(5);
/// Most jobs in one request.
pub const JOBS_PER_REQUEST_MAX: usize = 100;
/// Longest body with its attributes, in bytes.
pub const JOB_BYTES_MAX: usize = 1 << 20;
/// Longest bodies of one request together, in bytes; with their rows they fit into one write.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Longest key, group, tenant or workflow, in bytes.
pub const NAME_BYTES_MAX: usize = 512;
/// Longest reason that is kept of a failure, in bytes.
pub const WHY_BYTES_MAX: usize = 1_024;
/// Jobs in the index; past that new ones are refused.
pub const JOBS_MAX: usize = 16_000_000;
/// Leases that are live at once; past that none are given.
pub const LEASES_MAX: usize = 262_144;
/// Requests that wait for jobs.
pub const WAITERS_MAX: usize = 65_536;
/// Writes and reads without an answer; past that requests are refused.
pub const UNDER_WAY_MAX: usize = 65_536;
/// How long a job without a key that ended is remembered.
pub const ENDED_KEPT: Duration = Duration::from_secs(600);
/// Rows that one step of the walk over the table reads,
pub const WALK_ROWS: usize = 1_024;
/// the time between two steps, once everything was read,
pub const WALK_INTERVAL: Duration = Duration::from_millis(100);
/// and between two walks.
pub const WALK_PAUSE: Duration = Duration::from_secs(30);
/// Jobs that one step of a purge, of a redrive or of unpinning changes.
pub const CHORE_JOBS: usize = 64;
/// Bytes of bodies that one write of moved jobs carries, in bytes.
pub const CHORE_BYTES_MAX: usize = 512 << 10;
/// Time between two looks at how full a region is.
pub const OBSERVE_INTERVAL: Duration = Duration::from_secs(1);
/// Looks that the share of failures is taken over.
pub const RESULTS_WINDOWS: usize = 30;
/// Tenants whose results are told apart; the others count for the region alone.
pub const TENANTS_MAX: usize = 1_024;
/// Longest wait after a failure.
pub const BACKOFF_MAX: Duration = Duration::from_secs(3_600);
