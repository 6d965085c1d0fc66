//! Every bound of this crate, in one place.

use std::time::Duration;

/// Largest webhook that GitHub sends, in bytes.
pub const WEBHOOK_BYTES_MAX: usize = 25 << 20;
/// Most secrets that are good at the same time, so that one can be replaced without a gap.
pub const SECRETS_MAX: usize = 2;
/// Fewest bytes of a secret.
pub const SECRET_BYTES_MIN: usize = 16;
/// Longest `X-GitHub-Delivery`, in bytes; GitHub sends a UUID.
pub const DELIVERY_BYTES_MAX: usize = 64;
/// Deliveries that are remembered as a short cut.
pub const DELIVERIES_MAX: usize = 16_384;
/// How old a queued job may be. GitHub cancels one after a day; deliveries can be repeated for
/// three.
pub const QUEUED_AGE_MAX: Duration = Duration::from_secs(3 * 24 * 3_600);
/// How long keys of jobs and their records are kept; more than [`QUEUED_AGE_MAX`], so that a
/// delivery that is repeated finds what it did before.
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Most labels of a job.
pub const LABELS_MAX: usize = 32;
/// Longest label, in bytes.
pub const LABEL_BYTES_MAX: usize = 128;
/// Longest name of a repository with its owner, in bytes.
pub const REPOSITORY_BYTES_MAX: usize = 200;
/// Longest name of a job or a workflow that is kept, in bytes; a longer one is cut.
pub const NAME_BYTES_MAX: usize = 128;

/// Most jobs that the machine of a region follows at a time.
pub const JOBS_MAX: usize = 8_192;
/// Most runners that the machine of a region knows at a time.
pub const RUNNERS_MAX: usize = 4_096;
/// Shortest wait after a runner could not be started; doubles with each.
pub const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// Longest such wait.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// How long a stop that did not work waits before it is tried again.
pub const STOP_AGAIN: Duration = Duration::from_secs(30);
/// Longest time between two questions about the same job.
pub const ASK_MAX: Duration = Duration::from_secs(30 * 60);
