//! Every bound of the adapter, in one place.

use std::time::Duration;

use rhumb_ports::peer::{FOLLOW_WINDOW_BYTES, LOG_BATCH_BYTES_MAX};
use rhumb_types::record::transaction::TRANSACTION_BYTES_MAX;

/// Most bytes of one message before compression, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a framed envelope: an incompressible message and its header.
pub const ENVELOPE_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1024;
/// Most origins in one version vector on the wire.
pub const VECTOR_ORIGINS_MAX: usize = 16_384;
/// Smaller messages are not worth compressing, in bytes.
pub const PACK_BYTES_MIN: usize = 512;
/// Larger messages are packed and unpacked on the blocking pool, so that they delay nobody.
pub const PACK_INLINE_BYTES_MAX: usize = 32 << 10;

/// Most bytes that wait on one bulk link; past that the link is dropped and resumed from cursors.
/// Two full windows: one for this node's own log, one for logs served for others.
pub const LINK_QUEUE_BYTES_MAX: usize = 2 * FOLLOW_WINDOW_BYTES;
/// Most heartbeats that wait on one connection.
pub const HEARTBEAT_QUEUE_MESSAGES_MAX: usize = 16;
/// Encoded messages that wait between the encoder and HTTP/2.
pub const ENCODED_MESSAGES_MAX: usize = 4;
/// Received messages that wait for the driver.
pub const EVENTS_MAX: usize = 1_024;
/// Received heartbeats that wait for the driver.
pub const HEARTBEAT_EVENTS_MAX: usize = 256;
/// Bytes of received messages per link that wait for the driver; past that the link is not read.
pub const LINK_INBOX_BYTES_MAX: usize = 32 << 20;

/// HTTP/2 flow control window of a stream and of its connection, in bytes. One window is in flight
/// per round trip: 1 MiB would be 5 MB/s at 200 ms.
pub const FLOW_WINDOW_BYTES: u32 = 64 << 20;
/// Largest HTTP/2 frame, in bytes.
pub const FRAME_BYTES_MAX: u32 = 256 << 10;
/// Bytes that HTTP/2 holds per stream before it takes more from the encoder.
pub const SEND_BUFFER_BYTES_MAX: usize = 4 << 20;
/// Most HTTP/2 streams on one connection.
pub const STREAMS_MAX: u32 = 1_024;

/// Most bytes of one call or answer, in bytes.
pub const CALL_BYTES_MAX: usize = 64 << 20;
/// Most calls to one service of one peer at once.
pub const CALLS_IN_FLIGHT_MAX: usize = 256;
/// Most calls to one service of one peer that wait for their turn.
pub const CALLS_WAITING_MAX: usize = 4_096;

/// How long a dial may take, TLS and HTTP/2 included.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the peer may take to open a link's stream.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an accepted connection may take to shake hands.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause before a redial.
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest pause before a redial.
pub const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A link that lasted this long makes the next pause short again.
pub const BACKOFF_RESET: Duration = Duration::from_secs(10);
/// How long a silent bulk connection waits before it asks for a sign of life.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How long it waits for that sign. Long, because the sign queues behind what the system's buffers
/// hold.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(8);
/// The same for connections that carry calls, so that consensus does not wait on a dead one.
pub const CALL_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// See [`CALL_KEEPALIVE_INTERVAL`].
pub const CALL_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(4);
/// The same for connections that carry heartbeats.
pub const HEARTBEAT_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// See [`HEARTBEAT_KEEPALIVE_INTERVAL`].
pub const HEARTBEAT_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a shutdown waits for calls that are being answered.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Most accepted connections at once.
pub const CONNECTIONS_MAX: usize = 512;
/// Most connections without a certificate at once.
pub const JOINERS_MAX: usize = 8;
/// How long a connection without a certificate may last.
pub const JOINER_LIFETIME: Duration = Duration::from_secs(20);
/// Most bytes of a join request, in bytes.
pub const JOIN_BYTES_MAX: usize = 16 << 10;

/// Most invitations that are open at once.
pub const INVITATIONS_MAX: usize = 256;

/// Most bytes that an injected delay holds per connection, in bytes.
pub const DELAYED_BYTES_MAX: usize = 128 << 20;

const _: () = {
    assert!(TRANSACTION_BYTES_MAX + LOG_BATCH_BYTES_MAX < MESSAGE_BYTES_MAX);
    assert!(FLOW_WINDOW_BYTES as usize >= FOLLOW_WINDOW_BYTES);
    assert!(LINK_INBOX_BYTES_MAX >= MESSAGE_BYTES_MAX);
    assert!(LINK_QUEUE_BYTES_MAX >= MESSAGE_BYTES_MAX);
    assert!(BACKOFF_MIN.as_millis() < BACKOFF_MAX.as_millis());
};
