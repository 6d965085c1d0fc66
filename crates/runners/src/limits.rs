//! Every bound of this crate, in one place.

use std::time::Duration;

/// Largest webhook that GitHub sends, in bytes.
pub const WEBHOOK_BYTES_MAX: usize = 25 << 20;
/// How long what a webhook asks for may take until it is durable. GitHub waits for ten seconds, of which
/// the way of the body and of the answer is a part.
pub const WEBHOOK_WAIT: Duration = Duration::from_secs(8);
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

/// How long connecting to GitHub or a launcher may take, TLS included.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long an answer of theirs may take.
pub const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Requests to GitHub at a time; it asks for few.
pub const REQUESTS_MAX: usize = 8;
/// Entries of a page of a list.
pub const PAGE: usize = 100;
/// Most pages of a list.
pub const PAGES_MAX: usize = 50;
/// How long to wait when GitHub limits without saying how long; it asks for a minute at least.
pub const LIMITED_MIN: Duration = Duration::from_secs(60);
/// Longest wait that is believed.
pub const LIMITED_MAX: Duration = Duration::from_secs(3_600);
/// Longest wait after answers that failed.
pub const TROUBLE_MAX: Duration = Duration::from_secs(60);
/// How long before its end a token of an installation is replaced.
pub const TOKEN_MARGIN: Duration = Duration::from_secs(300);
/// Life of the token by which an app names itself; GitHub takes ten minutes at most.
pub const APP_TOKEN_LIFE: Duration = Duration::from_secs(9 * 60);
/// Installations whose tokens are remembered.
pub const INSTALLATIONS_MAX: usize = 256;

/// How long a job is leased to the dispatcher of its region; renewed when half of that is over.
pub const LEASE: Duration = Duration::from_secs(60);
/// How long one request for jobs waits.
pub const RECEIVE_WAIT: Duration = Duration::from_secs(10);
/// Jobs of one request.
pub const RECEIVE_MAX: usize = 10;
/// How often the machine hears that time passes, and records of jobs are read.
pub const TICK: Duration = Duration::from_millis(500);
/// Records that are read per tick.
pub const RECORDS_PER_TICK: usize = 512;
/// What waits for the dispatcher; who brings more waits.
pub const INPUTS_MAX: usize = 1_024;
/// Things that a dispatcher does at a time.
pub const WORKS_MAX: usize = 64;
/// How often a region says how it is doing.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// How often it says in the audit chain which runners came and went.
pub const NOTES_INTERVAL: Duration = Duration::from_secs(60);
/// Starts and ends of a label set that wait to be said there; an hour of one a second.
pub const NOTES_MAX: usize = 4_096;
/// How long that is shown when it says nothing more.
pub const STATUS_KEPT: Duration = Duration::from_secs(60);
/// Pause after something that should have worked did not.
pub const TRY_AGAIN: Duration = Duration::from_secs(2);
/// How long a runner has after SIGTERM.
pub const TERM_WAIT: Duration = Duration::from_secs(10);
/// How often a runner of an earlier process is looked at.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How old a job is when a "not found" is taken for its end: GitHub cancels what waits for a day.
pub const LOST_AFTER: Duration = Duration::from_secs(25 * 3_600);
/// Repositories that are asked for jobs that wait.
pub const REPOSITORIES_MAX: usize = 256;
/// When deliveries and waiting jobs are first looked for after the start of a node, at the latest.
pub const FIRST_RECONCILIATION: Duration = Duration::from_secs(30);
/// How long a job waits before it counts as unheard of, at most.
pub const UNHEARD_AFTER: Duration = Duration::from_secs(60);
