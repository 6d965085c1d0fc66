//! Every bound of the node, in one place.

use std::time::Duration;

/// Most rows that the table keeps.
pub const TABLE_ROWS_MAX: usize = 200_000;
/// Most bytes that the table keeps, in bytes.
pub const TABLE_BYTES_MAX: usize = 64 << 20;
/// Most submits that wait for a commit, for rows, or for remote acknowledgement; past that a
/// submit is answered `overloaded`.
pub const SUBMITS_WAITING_MAX: usize = 65_536;
/// Most owned rows that one request writes.
pub const OWNED_OPS_MAX: usize = 1_024;
/// Most bytes of their keys and payloads, in bytes: jobs of 1 MiB with what stands around them.
pub const OWNED_BYTES_MAX: usize = 3 << 19;
/// Bytes of recent transactions kept in memory for followers, over all origins, in bytes.
pub const TAIL_BYTES_MAX: usize = 16 << 20;
/// Transactions received that wait for their dependencies, in bytes over all origins; past that
/// the stream is asked again later.
pub const RECEIVED_BYTES_MAX: usize = 256 << 20;
/// Received transactions whose rows are fetched ahead, per origin.
pub const FETCH_AHEAD_TRANSACTIONS: usize = 64;
/// Received transactions that one commit may carry.
pub const RECEIVED_PER_COMMIT_MAX: usize = 512;
/// How long an unsynced commit may wait for its fsync.
pub const SYNC_DELAY_MAX: Duration = Duration::from_millis(200);
/// How long a start waits for every peer to confirm that its own log is whole, before it mints a
/// new origin.
pub const PROVE_WAIT_MAX: Duration = Duration::from_millis(2_000);
/// How long a heartbeat goes unanswered before the peer counts as silent in the clock's median.
pub const CLOCK_SAMPLE_AGE_MAX: Duration = Duration::from_secs(10);
/// After so many heartbeat intervals without a word from a peer its region's log is asked of others.
pub const SILENT_AFTER: u32 = 8;
/// Heartbeats to a peer that an answer may still come to; older ones tell nothing.
pub const HEARTBEATS_UNANSWERED_MAX: usize = 64;
/// How far this node's clock may be from its peers' median (rule 8).
pub const CLOCK_OFFSET_MAX: Duration = Duration::from_millis(500);
/// How many connections may watch keys, and how many keys they may watch in all.
pub const WATCHED_KEYS_MAX: usize = 65_536;
/// Pub/sub messages that wait for the transaction they follow.
pub const PUBLISHED_WAITING_MAX: usize = 4_096;
/// How long a pub/sub message waits for the transaction it follows, before it is dropped.
pub const PUBLISHED_WAIT_MAX: Duration = Duration::from_secs(10);
/// Samples of (time, version) kept per origin to tell the age of a log's head.
pub const RETENTION_SAMPLES_MAX: usize = 256;
/// Member rows that one step of a sweep reads.
pub const SWEEP_ROWS_MAX: usize = 1_024;
/// Keys whose expiry or sweep is handled in one tick.
pub const SWEEP_KEYS_MAX: usize = 256;
/// Origins that a node knows; past that it alarms, and an operator must remove dead regions.
pub const ORIGINS_MAX: usize = 4_096;
/// Transfers of a snapshot that a node serves at once.
pub const SNAPSHOT_TRANSFERS_MAX: usize = 2;
/// Bytes of keys in one chunk of a snapshot, in bytes, unless a single key is larger.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 1 << 20;
/// Time between two looks at what every origin has acknowledged, for forgetting dead deltas.
pub const STABILITY_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks at what of the logs may be forgotten.
pub const RETENTION_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two looks for expired keys and unfinished removals.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// How long the leader has to form the cluster before every other node with data tries: a witness may
/// lead, and cannot form one.
pub const FORM_WAIT: Duration = Duration::from_secs(2);
/// Proposals of the overseer without an answer yet.
pub const PROPOSALS_MAX: usize = 128;
/// Pause after a proposal that was not agreed, before it is made again.
pub const PROPOSAL_PAUSE: Duration = Duration::from_millis(250);
/// Pause after a lease was refused: until then the agreed view should show why.
pub const LEASE_PAUSE: Duration = Duration::from_millis(100);
/// How long a lease may be held without acting under it (rule 6) before a person is told; the node
/// waits on.
pub const OPENING_ALARM_AFTER: Duration = Duration::from_secs(10);
/// Works that one event lets a run-book do.
pub const RUN_WORKS_PER_EVENT_MAX: usize = 64;
