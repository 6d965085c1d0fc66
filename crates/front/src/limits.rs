//! Every bound of a connection, in one place.

use std::time::Duration;

/// How long an entrance rests after a connection that could not be accepted.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most requests in flight on one HTTP/2 connection.
pub(crate) const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// Bytes of a request's head: the line and all headers.
pub(crate) const HEAD_BYTES_MAX: usize = 32 << 10;
/// [`HEAD_BYTES_MAX`] as HTTP/2 counts it.
pub(crate) const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
/// Most headers of a request.
pub(crate) const HEADERS_MAX: usize = 100;
/// How long a handshake may take.
pub(crate) const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a request's head may take, and how long an idle connection is kept.
pub(crate) const HEAD_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a client may leave what is sent to it unread, or let a connection lie still.
pub(crate) const WRITE_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often an HTTP/2 connection is asked whether it is still there.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long requests in flight may go on when the node stops.
pub(crate) const DRAIN_WAIT_MAX: Duration = Duration::from_secs(10);
/// Bytes of a refused body that are thrown away, so that its sender sees why.
pub(crate) const LINGER_BYTES_MAX: usize = 16 << 20;
/// How long that may take.
pub(crate) const LINGER_WAIT_MAX: Duration = Duration::from_secs(5);
/// Tokens and addresses whose rates are remembered.
pub(crate) const BEARERS_MAX: usize = 4_096;
/// Longest access key id, in bytes.
pub(crate) const ACCESS_KEY_BYTES_MAX: usize = 128;
