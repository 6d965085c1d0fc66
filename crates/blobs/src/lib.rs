//! The [`Blobs`](rhumb_ports::blobs::Blobs) port on a directory of files, and on a bucket.
//!
//! A stored blob is one file or object (see `format`): a header, the inner nodes of the blob's own BLAKE3
//! tree, and its bytes in blocks of 64 KiB. The tree's root is the blob's name, so any range is
//! verified against the name alone, by reading the blocks that it touches. With a key the blocks
//! and the tree are sealed; the name is still the hash of the plain bytes.
//!
//! Deliberately absent: what is referred to, what may be dropped, and when to check. Those are
//! decided above.

#[cfg(feature = "bucket")]
mod bucket;
mod counters;
mod files;
mod format;
mod pack;
mod seal;
mod tree;

#[cfg(feature = "bucket")]
pub use bucket::{BucketBlobs, BucketError, BucketSettings, Patience};
pub use counters::Counters;
pub use files::{FileBlobs, OpenError, Options};
pub use seal::{Key, KeyError, KeyId, Keys};
