//! What nodes ask of each other about objects, as bytes. The order of variants and fields is frozen
//! (rule 16).

use bytes::Bytes;
use rhumb_objects::{
    ask::{Answer, Ask},
    grant,
    index::{Refused, Which},
    multipart::{CompleteRefused, NoUpload, PartRefused},
};
use rhumb_types::{
    ErrorCode,
    record::{BlobHash, BucketName, ObjectRecord, Record, VersionVector},
};
use serde::{Deserialize, Serialize};

use super::{ObjectError, peers::Keep};

/// A question of one node to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Call {
    /// A part of a blob.
    Read { hash: BlobHash, from: u64, to: u64 },
    /// To fetch blobs from the asker, and to keep them.
    Keep(Keep),
    /// A version of an object, as the asked node knows it, of what the asker has not applied.
    Find { bucket: BucketName, key: Bytes, which: Which, seen: VersionVector },
    /// A change of the index, at the home of its key.
    Change(Box<Ask>),
    /// Whether a blob is held (rule 12).
    Ask(grant::Ask),
    /// To remove one.
    Grant(grant::Grant),
    /// As `Find`, by who goes on to read: the first bytes come along, which saves a round trip.
    FindToRead { bucket: BucketName, key: Bytes, which: Which, seen: VersionVector },
}

impl Record for Call {
    const VERSION: u8 = 1;
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    Bytes(Bytes),
    Kept,
    Found(Option<Box<ObjectRecord>>),
    /// Changed, and by which transaction.
    Changed(Box<Answer>, VersionVector),
    /// Nothing was done.
    Refused(Refusal),
    /// There is no such blob.
    NoBlob,
    Holding(grant::Told),
    Outcome(grant::Outcome),
    /// A version, and the first bytes of its first blob.
    FoundWith(Box<ObjectRecord>, Bytes),
}

/// Why nothing was done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) why: String,
    pub(super) known: Option<Known>,
}

/// Refusals that servers have words of their own for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Known {
    NoObject,
    NoVersion,
    Marker,
    Precondition,
    NoUpload,
    PartCount,
    PartOrder(u16),
    NoPart(u16),
    PartTooSmall(u16, u64),
    Unconfirmed,
}

impl From<&ObjectError> for Refusal {
    fn from(error: &ObjectError) -> Self {
        Self { code: error.code(), why: error.to_string(), known: known(error) }
    }
}

fn known(error: &ObjectError) -> Option<Known> {
    let change = |refused: &Refused| match refused {
        Refused::NoObject => Some(Known::NoObject),
        Refused::NoVersion => Some(Known::NoVersion),
        Refused::Marker => Some(Known::Marker),
        Refused::Precondition => Some(Known::Precondition),
        _ => None,
    };
    match error {
        ObjectError::Change(refused) | ObjectError::Complete(CompleteRefused::Object(refused)) => {
            change(refused)
        }
        ObjectError::NoUpload(_)
        | ObjectError::Part(PartRefused::NoUpload)
        | ObjectError::Complete(CompleteRefused::NoUpload) => Some(Known::NoUpload),
        ObjectError::Complete(refused) => Some(match refused {
            CompleteRefused::Count => Known::PartCount,
            CompleteRefused::Order { number } => Known::PartOrder(*number),
            CompleteRefused::Part { number } => Known::NoPart(*number),
            CompleteRefused::TooSmall { number, bytes } => Known::PartTooSmall(*number, *bytes),
            _ => return None,
        }),
        ObjectError::Unconfirmed(_) => Some(Known::Unconfirmed),
        _ => None,
    }
}

impl From<Refusal> for ObjectError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, why, known } = refusal;
        match known {
            None => Self::Elsewhere { code, why },
            Some(Known::NoObject) => Refused::NoObject.into(),
            Some(Known::NoVersion) => Refused::NoVersion.into(),
            Some(Known::Marker) => Refused::Marker.into(),
            Some(Known::Precondition) => Refused::Precondition.into(),
            Some(Known::NoUpload) => NoUpload.into(),
            Some(Known::PartCount) => CompleteRefused::Count.into(),
            Some(Known::PartOrder(number)) => CompleteRefused::Order { number }.into(),
            Some(Known::NoPart(number)) => CompleteRefused::Part { number }.into(),
            Some(Known::PartTooSmall(number, bytes)) => {
                CompleteRefused::TooSmall { number, bytes }.into()
            }
            Some(Known::Unconfirmed) => Self::Unconfirmed(why),
        }
    }
}

impl Record for Told {
    const VERSION: u8 = 1;
}
