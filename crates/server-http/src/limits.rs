//! Every bound of the server, in one place.

use std::time::Duration;

use rhumb_state::op;

/// Most connections at a time.
pub(crate) const CONNECTIONS_MAX: usize = 4_096;
/// Most parameters of a query string.
pub(crate) const PARAMETERS_MAX: usize = 16;
/// How long a request's body may take.
pub(crate) const BODY_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long a request may take after its body is read; longer than anything the engine waits for.
pub(crate) const REQUEST_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a sticky token holds; it is renewed when half of that is over.
pub(crate) const STICKY_LASTING: Duration = Duration::from_secs(24 * 3_600);

/// Bytes of a value in `/v1/kv`.
pub(crate) const VALUE_BYTES_MAX: usize = op::VALUE_BYTES_MAX;
/// Bytes of a key in `/v1/kv`, before it is percent-encoded.
pub(crate) const KEY_BYTES_MAX: usize = op::ROW_BYTES_MAX;
/// Bytes of a webhook: the largest that GitHub sends.
pub(crate) const WEBHOOK_BYTES_MAX: usize = 25 << 20;
/// Bytes of a JSON body.
pub(crate) const JSON_BYTES_MAX: usize = 2 << 20;
/// Bytes of all bodies that are read at the same time, in KiB.
pub(crate) const BODIES_KIB_MAX: u32 = 256 << 10;

/// Requests per second of one token, or of one address without a token.
pub(crate) const REQUESTS_PER_SECOND: f64 = 10_000.0;
/// Requests of one token or address that may come at once.
pub(crate) const REQUESTS_BURST: f64 = 20_000.0;
/// Failed authentications per second of one address.
pub(crate) const FAILURES_PER_SECOND: f64 = 0.2;
/// Failed authentications of one address that may come at once.
pub(crate) const FAILURES_BURST: f64 = 10.0;
/// Longest bearer token, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 256;
/// Random bytes of the secret of a new token.
pub(crate) const SECRET_BYTES: usize = 32;
/// Random bytes of an idempotency key that the caller left out.
pub(crate) const REQUEST_KEY_BYTES: usize = 16;
/// Life of a new token unless the caller says otherwise.
pub(crate) const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(90 * 24 * 3_600);
/// Longest life of a new token.
pub(crate) const TOKEN_LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);
/// Life of a join token unless the caller says otherwise.
pub(crate) const INVITATION_DEFAULT: Duration = Duration::from_secs(3_600);
/// Longest life of a join token.
pub(crate) const INVITATION_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Longest session token or cursor, in bytes.
pub(crate) const VECTOR_BYTES_MAX: usize = 8 << 10;
/// Keys of a page unless the caller says otherwise.
pub(crate) const KEYS_DEFAULT: usize = 100;
/// Most keys of a page.
pub(crate) const KEYS_MAX: usize = 1_000;
/// Transactions of a page of the change feed unless the caller says otherwise.
pub(crate) const TRANSACTIONS_DEFAULT: usize = 100;
/// Most transactions of a page of the change feed.
pub(crate) const TRANSACTIONS_MAX: usize = 10_000;
/// Transactions that a stream of the change feed reads at a time.
pub(crate) const TRANSACTIONS_TOGETHER_MAX: usize = 256;
/// Bytes that a page of the change feed expects of a transaction.
pub(crate) const TRANSACTION_BYTES_USUAL: usize = 1 << 10;
/// Bytes of each origin's log in a page of the change feed, unless one transaction is larger.
pub(crate) const FEED_BYTES_MAX: usize = 1 << 20;
/// Most streams of the change feed at a time.
pub(crate) const FEEDS_MAX: usize = 256;
/// How long a request for a page of the change feed may wait for something new.
pub(crate) const FEED_WAIT_MAX: Duration = Duration::from_secs(20);
/// How often a stream of the change feed says that it is still there.
pub(crate) const FEED_HEARTBEAT: Duration = Duration::from_secs(10);
/// Origins whose regions are remembered.
pub(crate) const ORIGINS_REMEMBERED_MAX: usize = 1_024;

/// Most jobs that one request is given.
pub(crate) const RECEIVE_MAX: usize = 10;
/// How long a request for jobs may wait for one.
pub(crate) const RECEIVE_WAIT_MAX: Duration = Duration::from_secs(20);
/// Jobs of a page unless the caller says otherwise.
pub(crate) const JOBS_DEFAULT: usize = 100;
/// Most jobs of a page.
pub(crate) const JOBS_MAX: usize = 1_000;
/// Dead jobs that one request takes back unless the caller says otherwise.
pub(crate) const REDRIVE_DEFAULT: u64 = 10_000;
/// Most dead jobs that one request takes back.
pub(crate) const REDRIVE_MAX: u64 = 1_000_000;
/// Moves of a job that are followed to say why it is where it is.
pub(crate) const MOVES_MAX: usize = 8;
/// Longest name of a worker, in bytes.
pub(crate) const WORKER_NAME_BYTES_MAX: usize = 128;
/// Jobs that a worker may name as its own.
pub(crate) const ACTIVE_MAX: usize = 1_024;
/// A worker of which no heartbeat came for so long, three of them, is late.
pub(crate) const WORKER_LATE_AFTER: Duration = Duration::from_secs(15);

/// Most origins whose logs are looked at to find the oldest cursor.
pub(crate) const TRIMS_MAX: usize = 64;
/// Alarms that are remembered.
pub(crate) const ALARMS_MAX: usize = 128;
/// Failover records of an answer unless the caller says otherwise.
pub(crate) const FAILOVERS_DEFAULT: u64 = 20;
/// Audit entries of an answer unless the caller says otherwise.
pub(crate) const AUDIT_DEFAULT: u64 = 100;
