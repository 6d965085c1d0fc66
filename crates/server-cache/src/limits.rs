//! Every bound of the server, in one place.

use std::time::Duration;

/// Most connections at a time.
pub(crate) const CONNECTIONS_MAX: usize = 4_096;
/// Bytes of an entry that is stored as it comes: the most that is written at once.
pub(crate) const ENTRY_BYTES_MAX: u64 = 5 << 30;
/// Bytes of an action result.
pub(crate) const ACTION_BYTES_MAX: u64 = 8 << 20;
/// Bytes of a tree of directories, or of one directory, that an action result names.
pub(crate) const TREE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of all action results and trees that are in hand at the same time, in KiB.
pub(crate) const IN_HAND_KIB_MAX: u32 = 256 << 10;
/// Blobs that one action result names, those of its trees included.
pub(crate) const NAMED_MAX: usize = 65_536;
/// How long the next piece of a body may take.
pub(crate) const BODY_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a request may take before its answer begins, beside its own body.
pub(crate) const REQUEST_WAIT_MAX: Duration = Duration::from_secs(60);
/// Requests per second of one key or token, or of one address without one.
pub(crate) const REQUESTS_PER_SECOND: f64 = 10_000.0;
/// Requests of one of these that may come at once.
pub(crate) const REQUESTS_BURST: f64 = 20_000.0;
/// Failed authentications per second of one address that are logged.
pub(crate) const FAILURES_PER_SECOND: f64 = 0.2;
/// Failed authentications of one address that may come at once.
pub(crate) const FAILURES_BURST: f64 = 10.0;
/// Longest authorization header, in bytes.
pub(crate) const AUTHORIZATION_BYTES_MAX: usize = 2_048;
