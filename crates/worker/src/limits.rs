//! Every bound of a worker, in one place.

use std::time::Duration;

/// Most commands that one worker runs at a time.
pub const CONCURRENCY_MAX: usize = 1_024;
/// Most jobs that one request asks for; what a node gives at once.
pub const JOBS_PER_REQUEST_MAX: usize = 10;
/// A lease is renewed when one part of so many of it is over.
pub const RENEW_PARTS: u32 = 3;
/// A renewal that failed is tried again after one part of so many of the lease,
pub const RENEW_AGAIN_PARTS: u32 = 12;
/// but not sooner than this.
pub const RENEW_AGAIN_MIN: Duration = Duration::from_millis(250);
/// Pause after no node answered; doubles with each time
pub const PAUSE_MIN: Duration = Duration::from_millis(250);
/// up to this.
pub const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a command may take to end after SIGTERM, before SIGKILL.
pub const KILL_AFTER: Duration = Duration::from_secs(10);
/// How long standard error is read after a command's end.
pub const ERRORS_WAIT_MAX: Duration = Duration::from_secs(1);
/// Bytes of the end of standard error that are kept as the reason of a failure.
pub const TAIL_BYTES: usize = 800;
/// Signals that may wait for a command.
pub const SIGNALS_MAX: usize = 8;
