//! Every bound of the server, in one place.

use std::time::Duration;

/// Most connections at a time.
pub(crate) const CONNECTIONS_MAX: usize = 4_096;
/// Bytes of an object that is put in one request, and of a part; the bound of S3.
pub(crate) const PUT_BYTES_MAX: u64 = 5 << 30;
/// What the framing of chunks may add to a body: 8 KiB is the smallest chunk of AWS's clients, and its
/// lines take less than 128 bytes.
pub(crate) const FRAMING_BYTES_MAX: u64 = PUT_BYTES_MAX >> 5;
/// Bytes of a body that is no object: 10,000 parts with all of their checksums.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// Bytes of all such bodies that are read or worked on at the same time, in KiB.
pub(crate) const DOCUMENTS_KIB_MAX: u32 = 256 << 10;
/// Longest chunk of a body in chunks, in bytes.
pub(crate) const CHUNK_BYTES_MAX: u64 = PUT_BYTES_MAX;
/// Longest line of the framing, trailers among them, in bytes.
pub(crate) const CHUNK_LINE_BYTES_MAX: usize = 1_024;
/// Most trailers of a body.
pub(crate) const TRAILERS_MAX: usize = 16;
/// Of a body that is waited for, so much must come
pub(crate) const PACE_BYTES_MIN: u64 = 32 << 10;
/// in so much time that is spent waiting for it.
pub(crate) const PACE: Duration = Duration::from_secs(30);
/// How long a request may take that carries no object in or out.
pub(crate) const REQUEST_WAIT_MAX: Duration = Duration::from_secs(60);
/// Requests per second of one access key, or of one address without one.
pub(crate) const REQUESTS_PER_SECOND: f64 = 10_000.0;
/// Requests of one access key or address that may come at once.
pub(crate) const REQUESTS_BURST: f64 = 20_000.0;
/// Failed authentications per second of one address that are logged.
pub(crate) const FAILURES_PER_SECOND: f64 = 0.2;
/// Failed authentications of one address that may come at once.
pub(crate) const FAILURES_BURST: f64 = 10.0;

/// Tags of an object; the bound of S3.
pub(crate) const OBJECT_TAGS_MAX: usize = 10;
/// Tags of a bucket; the bound of S3.
pub(crate) const BUCKET_TAGS_MAX: usize = 50;
/// Longest key of a tag, in characters; the bound of S3.
pub(crate) const TAG_KEY_MAX: usize = 128;
/// Longest value of a tag, in characters; the bound of S3.
pub(crate) const TAG_VALUE_MAX: usize = 256;
/// Entries of a page of a listing; the bound of S3.
pub(crate) const LIST_MAX: usize = 1_000;
/// Keys of one deletion; the bound of S3.
pub(crate) const DELETE_MAX: usize = 1_000;
/// How many of those are under way at a time: one commit takes many.
pub(crate) const DELETES_AT_ONCE: usize = 64;
/// Buckets of a page of their list; the bound of S3.
pub(crate) const BUCKETS_PAGE_MAX: usize = 10_000;
