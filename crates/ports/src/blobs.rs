//! Bytes by their hash: what a region holds of the contents of objects.
//!
//! A blob never changes. It is there whole or not at all, and what is read of it is what was written,
//! or an error: every implementation verifies.

use std::ops::Range;

use bytes::Bytes;
use rhumb_types::{
    ErrorCode, UnixMillis,
    record::{BlobHash, BlobRef},
};

use crate::BoxFuture;

/// Longest blob, in bytes; longer contents are several.
pub const BLOB_BYTES_MAX: u64 = 16 << 20;
/// Most bytes that one read gives.
pub const BLOB_READ_BYTES_MAX: u64 = 1 << 20;

/// What a store of blobs has done since it was opened, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlobCounts {
    /// Blobs that were stored.
    pub stored: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Blobs that were written and held already.
    pub kept: u64,
    /// Reads of ranges.
    pub reads: u64,
    /// The bytes that they gave.
    pub read_bytes: u64,
    /// Blobs that were read as a whole and found sound.
    pub verified: u64,
    /// Their bytes.
    pub verified_bytes: u64,
    /// Blobs that were removed.
    pub removed: u64,
    /// Blobs that were found damaged and set aside.
    pub damaged: u64,
    /// Operations that failed because the store did.
    pub failed: u64,
}

/// A blob that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBlob {
    /// Which.
    pub blob: BlobRef,
    /// Since when, by the clock of the store.
    pub since: UnixMillis,
}

/// Why bytes could not be stored or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob here.
    #[error("the blob {0} is not here")]
    Missing(BlobHash),
    /// It is here, and damaged. It is set aside, so that the next question finds it missing.
    #[error("the blob {hash} is damaged: {reason}")]
    Damaged {
        /// Which.
        hash: BlobHash,
        /// What is wrong.
        reason: String,
    },
    /// It is longer than a blob may be, or the read lies outside of it.
    #[error("{0}")]
    Bounds(String),
    /// There is no room left.
    #[error("{place} is full: free space there")]
    Full {
        /// The directory or bucket.
        place: String,
    },
    /// The store does not answer now; trying again may help.
    #[error("{place} does not answer: {reason}")]
    Unavailable {
        /// The directory or bucket.
        place: String,
        /// What it said.
        reason: String,
    },
    /// The store failed.
    #[error("{place} failed: {reason}")]
    Failed {
        /// The directory or bucket.
        place: String,
        /// What it said.
        reason: String,
    },
}

impl BlobError {
    /// What a caller sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Missing(_) => ErrorCode::NotFound,
            Self::Bounds(_) => ErrorCode::Invalid,
            Self::Full { .. } | Self::Unavailable { .. } => ErrorCode::Unavailable,
            Self::Damaged { .. } | Self::Failed { .. } => ErrorCode::Internal,
        }
    }

    /// More was written than a blob may be long.
    #[must_use]
    pub fn too_long() -> Self {
        Self::Bounds(format!("a blob has at most {BLOB_BYTES_MAX} bytes"))
    }
}

/// What a read of a range gives of a blob of that many bytes: the range, cut after
/// [`BLOB_READ_BYTES_MAX`].
///
/// # Errors
/// [`BlobError::Bounds`] when the range does not lie in the blob.
pub fn bounded(range: &Range<u64>, bytes: u64) -> Result<Range<u64>, BlobError> {
    if range.start > range.end || range.end > bytes {
        let Range { start, end } = range;
        let what = format!("bytes {start} to {end} do not lie in a blob of {bytes} bytes");
        return Err(BlobError::Bounds(what));
    }
    Ok(range.start..range.end.min(range.start.saturating_add(BLOB_READ_BYTES_MAX)))
}

/// Stores and reads blobs.
pub trait Blobs: Send + Sync + 'static {
    /// Begins a blob.
    fn create(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, BlobError>>;

    /// Reads a part of a blob, verified; at most [`BLOB_READ_BYTES_MAX`]. Gives less than asked only
    /// past that bound; a range that does not lie in the blob is [`BlobError::Bounds`].
    fn read(&self, hash: BlobHash, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, BlobError>>;

    /// Whether a blob is held, and since when.
    fn stat(&self, hash: BlobHash) -> BoxFuture<'_, Result<Option<HeldBlob>, BlobError>>;

    /// Forgets a blob. One that is not there is no error.
    fn remove(&self, hash: BlobHash) -> BoxFuture<'_, Result<(), BlobError>>;

    /// The blobs after one, in the order of their hashes; fewer than `max` means that these were the
    /// last.
    fn list(
        &self,
        after: Option<BlobHash>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<HeldBlob>, BlobError>>;

    /// Reads the whole of a blob and says whether it is sound; one that is not is set
    /// aside, as in [`BlobError::Damaged`].
    fn verify(&self, hash: BlobHash) -> BoxFuture<'_, Result<(), BlobError>>;
}

/// Writes one blob. Dropping it leaves nothing behind, and after an error it can only be dropped.
pub trait BlobWriter: Send {
    /// Adds bytes.
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), BlobError>>;

    /// Makes the blob durable, and visible under its hash. One that is held already is kept.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<BlobRef, BlobError>>;
}
