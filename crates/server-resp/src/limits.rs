//! Every bound of the server, in one place.

use std::time::Duration;

/// Most connections at a time.
pub(crate) const CONNECTIONS_MAX: usize = 10_000;
/// How long a TLS handshake may take.
pub(crate) const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Bytes asked of the socket at a time.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// Most writes of one pipeline that go to the engine together.
pub(crate) const WRITES_TOGETHER_MAX: usize = 256;
/// Most commands between MULTI and EXEC.
pub(crate) const QUEUED_MAX: usize = 4_096;
/// Replies are sent when so many bytes have gathered, even inside a pipeline.
pub(crate) const REPLY_BYTES_MAX: usize = 1 << 20;
/// How long a client may leave replies unread before it is closed.
pub(crate) const WRITE_WAIT_MAX: Duration = Duration::from_secs(60);
/// How many passwords in a row an address may get wrong.
pub(crate) const PASSWORD_TRIES: u32 = 10;
/// How long it takes until an address that has used them up may try one more.
pub(crate) const PASSWORD_TRY_AGAIN: Duration = Duration::from_secs(6);
/// Most addresses whose wrong passwords are counted.
pub(crate) const GUESSERS_MAX: usize = 4_096;
/// How long a refused password delays its connection.
pub(crate) const PASSWORD_PAUSE: Duration = Duration::from_millis(100);
/// How long `WAIT 0` and session reads wait at most.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Most unfinished scans whose places a node keeps.
pub(crate) const CURSORS_MAX: usize = 65_536;
/// Most bytes of their places.
pub(crate) const CURSORS_BYTES_MAX: usize = 32 << 20;
/// How often a transaction that reads is played through, when its keys change meanwhile.
pub(crate) const REHEARSALS_MAX: usize = 64;
