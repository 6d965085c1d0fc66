//! Every bound of the engine, in one place.

use std::time::Duration;

/// Most events that wait for the loop; past that senders wait.
pub const INPUTS_MAX: usize = 16_384;
/// Most events that the loop takes before it lets the node commit.
pub const EVENTS_PER_FLUSH_MAX: usize = 2_048;
/// How long a commit waits at most for the clients that the one before has just answered.
pub const COMMIT_LINGER_MAX: Duration = Duration::from_micros(200);
/// Answered operations from which on it is worth to wait for the next ones.
pub const SIBLINGS_MIN: usize = 4;
/// Answered operations up to which it is worth to wait for the next ones.
pub const SIBLINGS_MAX: usize = 256;
/// Most reads that wait for the reading thread.
pub const READS_WAITING_MAX: usize = 65_536;
/// Messages that a subscriber may leave unread before it is cut off.
pub const SUBSCRIBER_MESSAGES_MAX: usize = 8_192;
/// How long a write waits for remote acknowledgement unless the caller says otherwise.
pub const ACK_WAIT: Duration = Duration::from_secs(5);
/// How long a read waits for what a session has seen.
pub const SESSION_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a shutdown waits for tasks to end.
pub const SHUTDOWN_WAIT_MAX: Duration = Duration::from_secs(20);
/// Bytes of transactions in one page of the change feed, in bytes, unless one is larger.
pub const LOG_PAGE_BYTES_MAX: usize = 1 << 20;
/// How long a command or read in a strong namespace is tried, unless the caller says otherwise.
pub const STRONG_WAIT: Duration = Duration::from_secs(10);
/// How long an administrative command or question is tried, unless the caller says otherwise.
pub const ADMIN_WAIT: Duration = Duration::from_secs(10);
/// Pause between attempts to reach a group.
pub const AGREEMENT_PAUSE: Duration = Duration::from_millis(50);
/// Time between two ticks of the overseer; far below any heartbeat interval.
pub const OVERSEER_TICK: Duration = Duration::from_millis(50);
/// Events that wait for the overseer; past that observations are left out, and answers wait.
pub const OVERSEER_EVENTS_MAX: usize = 1_024;
/// How long a proposal of the overseer is tried at least.
pub const PROPOSAL_WAIT_MIN: Duration = Duration::from_millis(500);
/// Time between two looks at how full this node is.
pub const LOAD_INTERVAL: Duration = Duration::from_secs(1);
/// How much the newest look counts: the loop is full after some ten busy seconds.
pub const LOAD_WEIGHT: f64 = 0.25;
/// How finely utilisation is told apart; every step is a new routing snapshot.
pub const LOAD_STEPS: f64 = 100.0;
/// Time between two looks through the audit chain.
pub const AUDIT_INTERVAL: Duration = Duration::from_secs(30);
/// Time between two looks at whether a group's seats are the agreed members.
pub const SEATS_INTERVAL: Duration = Duration::from_secs(1);
/// How long a key that lies elsewhere is asked for, whichever regions are tried.
pub const FORWARD_WAIT: Duration = Duration::from_secs(10);
/// Most requests of other regions for keys of this one that are answered at once.
pub const FORWARDED_MAX: usize = 512;
/// How often members are chosen anew when they have changed meanwhile.
pub const CHOICES_MAX: usize = 8;
/// Events that wait for the queues; past that the committing thread and the loop wait.
pub const QUEUE_INPUTS_MAX: usize = 65_536;
/// Requests of callers among them; past that callers wait.
pub const QUEUE_ASKS_MAX: usize = 8_192;
/// Writes and reads of the queues that wait for the disk or the loop; the machine asks for no more.
pub const QUEUE_WORK_MAX: usize = 2 * rhumb_queue::limits::UNDER_WAY_MAX;
/// Jobs that were written a moment ago and need not be read to be leased,
pub const FRESH_ROWS_MAX: usize = 65_536;
/// and bytes of them.
pub const FRESH_BYTES_MAX: usize = 16 << 20;
/// Time between two ticks of the queues.
pub const QUEUE_TICK: Duration = Duration::from_millis(50);
/// Ended jobs that a follower may leave unread before it misses some.
pub const FINISHED_UNREAD_MAX: usize = 8_192;
/// How long a change of a queue is waited for here once it is agreed.
pub const DEFINED_WAIT: Duration = Duration::from_secs(5);
/// Pause before the queues of the file are proposed again.
pub const SEED_PAUSE: Duration = Duration::from_secs(1);
/// Most queues in a cluster.
pub const QUEUES_MAX: usize = 10_000;
/// Most tags of a queue, and most bytes of one, name and value together.
pub const TAGS_MAX: usize = 50;
/// See [`TAGS_MAX`].
pub const TAG_BYTES_MAX: usize = 512;
/// Rows that one look through a queue reads.
pub const LIST_PAGE_ROWS: usize = 512;
/// Pages that one look through a queue reads at most.
pub const LIST_PAGES_MAX: usize = 64;
/// How long new jobs are sent to their owner before the caller hears that it cannot be told.
pub const QUEUE_SEND_WAIT: Duration = Duration::from_secs(5);
/// How long the queues of another region are waited for.
pub const QUEUE_CALL_WAIT: Duration = Duration::from_secs(2);
/// How long another region's purge or redrive is waited for.
pub const QUEUE_MOVE_WAIT: Duration = Duration::from_secs(60);
/// Time between two looks at what is still leased in a drain.
pub const DRAIN_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Looks in a row that may fail before a drain waits no longer.
pub const DRAIN_TRIES: u32 = 3;
/// Pause before new jobs are sent again.
pub const QUEUE_CALL_PAUSE: Duration = Duration::from_millis(100);
/// Most questions of other regions to the queues that are answered at once.
pub const QUEUE_CALLS_MAX: usize = 1_024;
/// How long a worker waits for a job of this region before other regions are asked,
pub const RECEIVE_LINGER: Duration = Duration::from_millis(20);
/// and between two looks at them.
pub const RECEIVE_LOOK_PAUSE: Duration = Duration::from_millis(250);
/// Time between two looks at other regions for one queue that found nothing, whoever waits.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Jobs of other regions in the hands of workers of this node.
pub const BORROWED_MAX: usize = 65_536;
/// Advertisements that wait to be told.
pub const ADVERTS_MAX: usize = 64;
/// How long another region is waited for to hear one.
pub const ADVERT_WAIT: Duration = Duration::from_secs(1);
/// Workers that a region knows; more are not counted.
pub const WORKERS_MAX: usize = 65_536;
/// Jobs that a worker may say it works on.
pub const WORKER_JOBS_TOLD_MAX: usize = 64;
/// A worker that was silent for so long is gone.
pub const WORKER_SILENCE_MAX: Duration = Duration::from_secs(30);
/// Time between two counts of the workers.
pub const WORKERS_COUNTED_EVERY: Duration = Duration::from_secs(1);
/// Most buckets in a cluster.
pub const BUCKETS_MAX: usize = 10_000;
/// How often a change of the index is worked out anew when rows have changed meanwhile.
pub const INDEX_CHANGES_MAX: u32 = 16;
/// Pause before the third of these attempts; it grows with each.
pub const INDEX_PAUSE: Duration = Duration::from_millis(2);
/// How long the beginning of a term is kept after its end: in that time what is void about objects is
/// settled, many times over.
pub const FENCES_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// How often it is looked whether all is applied here that other regions had, before it is forgotten that
/// objects were deleted,
pub const FORGET_LOOKS: u32 = 20;
/// and the pause after each look.
pub const FORGET_PAUSE: Duration = Duration::from_millis(500);
/// How long another region is waited for that is asked about the index.
pub const INDEX_CALL_WAIT: Duration = Duration::from_secs(6);
/// Longest object, or part of one, that is written at once, in bytes. The bound of S3.
pub const OBJECT_BYTES_MAX: u64 = 5 << 30;
/// Blobs of one upload that are being made durable while the next is written.
pub const BLOBS_FINISHING_MAX: usize = 3;
/// Bytes of a body that are handed to the threads that compute over it at a time, or one piece more.
pub const DIGEST_PIECE_BYTES: usize = 128 << 10;
/// How many times that waits for each of them.
pub const DIGEST_UNREAD_MAX: usize = 4;
/// Blocks of one read that are fetched ahead of the reader, of 1 MiB each.
pub const READ_AHEAD_BLOCKS: usize = 4;
/// Blocks of one blob that are on their way from another region, of 1 MiB each.
pub const FETCH_BLOCKS_AHEAD: usize = 8;
/// Blobs that are fetched from other regions at a time.
pub const FETCHES: usize = 8;
/// How long a block of another region is waited for by who reads it,
pub const BLOB_CALL_WAIT: Duration = Duration::from_secs(10);
/// and by who fetches the blob, once it is the block's turn.
pub const FETCH_CALL_WAIT: Duration = Duration::from_secs(60);
/// How long another region may take to fetch the blobs of one call.
pub const KEEP_WAIT: Duration = Duration::from_secs(60);
/// Blobs that another region is asked to keep with one call.
pub const COPY_BLOBS_PER_CALL: usize = 4;
/// How often a region is asked again to keep the same blobs,
pub const COPY_RETRIES: u32 = 2;
/// and the pause before.
pub const COPY_PAUSE: Duration = Duration::from_secs(5);
/// How long an upload waits for its copies once all of it is here.
pub const COPY_WAIT: Duration = Duration::from_secs(30);
/// Requests that are passed on to other regions at a time, and that are carried out for others.
pub const PASSES_MAX: usize = 32;
/// Blocks of one body that wait to be pulled by the region that it is passed on to, of 1 MiB each.
pub const PASS_BLOCKS_AHEAD: usize = 4;
/// How long a pull waits for a client that is slow, before it is asked again.
pub const PULL_WAIT: Duration = Duration::from_secs(5);
/// How long nobody may pull before a request that was passed on is given up. Longer than an upload waits for
/// its copies.
pub const PASS_IDLE_MAX: Duration = Duration::from_secs(60);
/// How long what other regions know is waited for, before an upload or a part is said not to be there;
pub const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// and the time between two looks.
pub const CATCH_UP_LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Most questions of other regions about objects that are answered at once.
pub const OBJECT_CALLS_MAX: usize = 256;
/// Commits whose rows wait for who fetches bytes; what is left out is found by a walk.
pub const OBJECT_ROWS_UNREAD_MAX: usize = 1_024;
/// Reads from other regions that wait to be counted.
pub const WISHES_MAX: usize = 1_024;
/// Rows that one step of a walk over the index reads.
pub const WALK_PAGE_ROWS: usize = 256;
/// Time between two walks.
pub const WALK_INTERVAL: Duration = Duration::from_secs(600);
/// Time between two looks at who may hold bytes; a change of that begins a walk.
pub const PLACEMENT_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks at lifecycles, and at what is left of uploads.
pub const CHORES_INTERVAL: Duration = Duration::from_secs(3_600);
/// Time between two looks for blobs that may go.
pub const COLLECT_INTERVAL: Duration = Duration::from_secs(3_600);
/// The least time between two of these looks when regions gave copies up,
pub const GIVEN_UP_PAUSE: Duration = Duration::from_secs(5);
/// and the time until the next one when some are not gone.
pub const GIVEN_UP_AGAIN: Duration = Duration::from_secs(60);
/// How much longer than such a look the pause after it is, at least.
pub const GIVEN_UP_REST_PART: u32 = 10;
/// Time between two ticks of who grants their removal.
pub const COLLECT_TICK: Duration = Duration::from_secs(1);
/// How long a removal is waited for by who needs the blob.
pub const LEAVING_WAIT: Duration = Duration::from_secs(5);
/// A copy that is kept because it is read here may go once it was not for so long.
pub const LIKED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Time between two steps of the scrub.
pub const SCRUB_TICK: Duration = Duration::from_secs(10);
/// Time between two looks whether a cache is past its bound.
pub const CACHE_TICK: Duration = Duration::from_secs(1);
/// Time after which a cache is looked through although nothing says that it has grown.
pub const CACHE_LOOK_INTERVAL: Duration = Duration::from_secs(600);
/// How much longer than a look through a cache the pause after it is.
pub const CACHE_REST_PART: u32 = 10;
/// Objects of a cache whose given-up bytes are taken back after one look.
pub const BACK_MAX: usize = 1_024;
/// Objects of a full cache that are let go at the same time.
pub const EVICTIONS_AT_ONCE: usize = 64;
