//! Every bound of the server, in one place.

use std::time::Duration;

use rhumb_queue::limits::{JOB_BYTES_MAX, REQUEST_BYTES_MAX};

/// Most connections at a time.
pub(crate) const CONNECTIONS_MAX: usize = 4_096;
/// Bytes of a request's body. A batch of 1 MiB grows by its escapes: three times at most, where two
/// bytes of UTF-8 are written as six of ASCII.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
/// Bytes of all bodies that are read or worked on at the same time, in KiB.
pub(crate) const BODIES_KIB_MAX: u32 = 256 << 10;
/// How long a request's body may take.
pub(crate) const BODY_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long a request may take after its body is read, beside the time that it waits for messages.
pub(crate) const REQUEST_WAIT_MAX: Duration = Duration::from_secs(30);
/// How much is logged of a request that changes a queue, in characters.
pub(crate) const LOGGED_CHARACTERS_MAX: usize = 1_024;
/// Requests that wait for messages at the same time.
pub(crate) const WAITING_MAX: usize = 4_096;
/// Of one access key or address.
pub(crate) const WAITING_PER_KEY_MAX: usize = 1_024;
/// Requests per second of one access key, or of one address without one.
pub(crate) const REQUESTS_PER_SECOND: f64 = 10_000.0;
/// Requests of one access key or address that may come at once.
pub(crate) const REQUESTS_BURST: f64 = 20_000.0;
/// Failed authentications per second of one address that are logged.
pub(crate) const FAILURES_PER_SECOND: f64 = 0.2;
/// Failed authentications of one address that may come at once.
pub(crate) const FAILURES_BURST: f64 = 10.0;

/// Entries of a batch.
pub(crate) const BATCH_MAX: usize = 10;
/// Longest id of an entry, in bytes.
pub(crate) const BATCH_ID_BYTES_MAX: usize = 80;
/// Largest message, its attributes included; that of SQS since August 2025.
pub(crate) const MESSAGE_BYTES_MAX: usize = JOB_BYTES_MAX;
/// Smallest bound that a queue can set itself.
pub(crate) const MESSAGE_BYTES_MIN: usize = 1 << 10;
/// Largest batch: what fits into one write.
pub(crate) const BATCH_BYTES_MAX: usize = REQUEST_BYTES_MAX;
/// Attributes of a message.
pub(crate) const MESSAGE_ATTRIBUTES_MAX: usize = 10;
/// Longest name of an attribute, and longest type, in bytes.
pub(crate) const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;
/// Longest group, deduplication id and attempt id, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 128;
/// Longest receipt handle, in bytes.
pub(crate) const HANDLE_BYTES_MAX: usize = 1_024;
/// Longest address of a queue, in bytes.
pub(crate) const QUEUE_URL_BYTES_MAX: usize = 2_048;
/// Longest delay of a message, in seconds.
pub(crate) const DELAY_SECONDS_MAX: u64 = 900;
/// Longest visibility timeout, in seconds.
pub(crate) const VISIBILITY_SECONDS_MAX: u64 = 43_200;
/// Longest wait for messages, in seconds.
pub(crate) const WAIT_SECONDS_MAX: u64 = 20;
/// How long the same deduplication id is the same message.
pub(crate) const DEDUPLICATION: Duration = Duration::from_secs(300);
/// How long after a purge another one is refused.
pub(crate) const PURGE_PAUSE: Duration = Duration::from_secs(60);
/// Purges that are remembered.
pub(crate) const PURGES_MAX: usize = 1_024;
/// Queues of a page of a list.
pub(crate) const LIST_MAX: usize = 1_000;
/// Tags of a queue.
pub(crate) const TAGS_MAX: usize = 50;
/// Longest key of a tag, in characters.
pub(crate) const TAG_KEY_MAX: usize = 128;
/// Longest value of a tag, in characters.
pub(crate) const TAG_VALUE_MAX: usize = 256;
/// Messages whose first receipt is remembered.
pub(crate) const FIRST_RECEIPTS_MAX: usize = 65_536;
/// Attempts to receive whose outcome is remembered,
pub(crate) const ATTEMPTS_MAX: usize = 256;
/// how large it may be, in bytes,
pub(crate) const ATTEMPT_BYTES_MAX: usize = 256 << 10;
/// and for how long.
pub(crate) const ATTEMPT_KEPT: Duration = Duration::from_secs(300);
