//! What clients ask about objects, and what they hear.

use bytes::Bytes;
use rhumb_objects::{condition::Condition, index::Which};
use rhumb_types::{
    RegionId,
    record::{BlobRef, Body, BucketName, ObjectRecord, VersionId, VersionVector},
};

use super::calls::Failure;

/// What a client asks.
#[derive(Debug, Clone)]
pub enum Ask {
    /// To write an object.
    Put {
        /// In which bucket.
        bucket: BucketName,
        /// Under which key.
        key: Bytes,
        /// Its entity tag.
        etag: String,
        /// Its bytes.
        body: Body,
        /// Under which condition.
        condition: Condition,
    },
    /// To write one in parts; the client may go away before the end.
    Parts {
        /// In which bucket.
        bucket: BucketName,
        /// Under which key.
        key: Bytes,
        /// A number; the parts' entity tags begin with it.
        etag: String,
        /// The parts.
        parts: Vec<BlobRef>,
        /// What it does in the end.
        end: End,
    },
    /// To copy the newest version of one.
    Copy {
        /// In which bucket.
        bucket: BucketName,
        /// From which key.
        from: Bytes,
        /// Under which key.
        key: Bytes,
    },
    /// To give the newest version another tag.
    Tag {
        /// In which bucket.
        bucket: BucketName,
        /// Of which key.
        key: Bytes,
    },
    /// To delete one.
    Delete {
        /// In which bucket.
        bucket: BucketName,
        /// Of which key.
        key: Bytes,
        /// Which version.
        which: Which,
    },
    /// To begin an upload in parts.
    Begin {
        /// In which bucket.
        bucket: BucketName,
        /// Under which key.
        key: Bytes,
    },
    /// To write a part of one.
    Part {
        /// In which bucket.
        bucket: BucketName,
        /// Under which key.
        key: Bytes,
        /// Of which upload.
        upload: VersionId,
        /// Its number and its entity tag.
        part: (u16, String),
        /// Its bytes.
        blob: BlobRef,
    },
    /// To make an object of the parts.
    Complete {
        /// In which bucket.
        bucket: BucketName,
        /// Under which key.
        key: Bytes,
        /// Of which upload.
        upload: VersionId,
        /// Their numbers and entity tags, in their order.
        parts: Vec<(u16, String)>,
    },
    /// To forget an upload.
    Abort {
        /// In which bucket.
        bucket: BucketName,
        /// Under which key.
        key: Bytes,
        /// Which.
        upload: VersionId,
    },
    /// To read the newest version.
    Get {
        /// In which bucket.
        bucket: BucketName,
        /// Of which key.
        key: Bytes,
    },
}

impl Ask {
    /// The bucket whose bytes it brings, if it brings any.
    pub(super) const fn brings_to(&self) -> Option<&BucketName> {
        match self {
            Self::Put { bucket, .. }
            | Self::Part { bucket, .. }
            | Self::Complete { bucket, .. } => Some(bucket),
            _ => None,
        }
    }

    /// The length of its body.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Put { body: Body::Inline(bytes), .. } => bytes.len() as u64,
            Self::Put { body: Body::Blobs(blobs), .. } => blobs.iter().map(|blob| blob.bytes).sum(),
            Self::Part { blob, .. } => blob.bytes,
            _ => 0,
        }
    }
}

/// How an upload in parts ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is completed.
    Complete,
    /// It is given up.
    Abort,
    /// Nobody ever says.
    Forget,
    /// It is completed with a part that never came.
    Wrong,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// What is there, or was read; `None` where there is nothing.
    pub record: Option<ObjectRecord>,
    /// By which transaction it was changed.
    pub written: VersionVector,
    /// Regions that held the bytes as it was answered.
    pub copies: Vec<RegionId>,
    /// Regions that were asked, and had told of more than was applied here.
    pub ahead: Vec<RegionId>,
    /// The upload in parts that was begun.
    pub upload: Option<VersionId>,
    /// Whether bytes that were read came from another region.
    pub through: bool,
}

/// What a client hears.
pub(super) type Answer = Result<Done, Failure>;
