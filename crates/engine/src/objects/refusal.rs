//! Why another region did nothing, as bytes: whoever asked tells its client what it would have said itself.

use rhumb_objects::{
    checksum::Algorithm,
    index::{CopyRefused, ReadRefused, Refused},
    multipart::{CompleteRefused, NoUpload, PartRefused},
};
use rhumb_types::{
    ErrorCode,
    record::{BucketName, VersionId},
};
use serde::{Deserialize, Serialize};

use super::ObjectError;

/// Why nothing was done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) why: String,
    pub(super) known: Option<Known>,
}

/// Refusals that servers have words of their own for. The order of variants is frozen (rule 16).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    NoBucket(BucketName),
    Key,
    RowTooLarge(usize),
    TooManyBlobs(usize),
    PartNumber,
    PartTooLarge,
    /// The name of the checksum.
    PartChecksum(String),
    /// What it has, and what was said.
    WholeSize(u64, u64),
    /// The name of the checksum.
    WholeChecksum(String),
    NothingToRead(Unread),
    CopyOfMarker,
    CopyOntoItself,
    CopyInline,
    /// What came, and what was said.
    Length(u64, u64),
}

/// What [`ReadRefused`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Unread {
    Key,
    Version,
    Deleted(Option<VersionId>),
    Marker(Option<VersionId>),
}

impl From<&ObjectError> for Refusal {
    fn from(error: &ObjectError) -> Self {
        Self { code: error.code(), why: error.to_string(), known: Known::of(error) }
    }
}

impl Known {
    fn of(error: &ObjectError) -> Option<Self> {
        Some(match error {
            ObjectError::Change(refused)
            | ObjectError::Complete(CompleteRefused::Object(refused)) => {
                return Self::of_change(refused);
            }
            ObjectError::NoUpload(_)
            | ObjectError::Part(PartRefused::NoUpload)
            | ObjectError::Complete(CompleteRefused::NoUpload) => Self::NoUpload,
            ObjectError::Complete(refused) => match refused {
                CompleteRefused::Count => Self::PartCount,
                CompleteRefused::Order { number } => Self::PartOrder(*number),
                CompleteRefused::Part { number } => Self::NoPart(*number),
                CompleteRefused::TooSmall { number, bytes } => Self::PartTooSmall(*number, *bytes),
                CompleteRefused::Size { bytes, said } => Self::WholeSize(*bytes, *said),
                CompleteRefused::Checksum(kind) => Self::WholeChecksum(kind.name().to_owned()),
                CompleteRefused::NoUpload | CompleteRefused::Object(_) => return None,
            },
            ObjectError::Part(refused) => match refused {
                PartRefused::Number => Self::PartNumber,
                PartRefused::TooLarge => Self::PartTooLarge,
                PartRefused::Checksum(kind) => Self::PartChecksum(kind.name().to_owned()),
                PartRefused::NoUpload | PartRefused::Inline => return None,
            },
            ObjectError::Read(refused) => Self::NothingToRead(match refused {
                ReadRefused::NoKey => Unread::Key,
                ReadRefused::NoVersion => Unread::Version,
                ReadRefused::Deleted { marker } => Unread::Deleted(*marker),
                ReadRefused::Marker { marker } => Unread::Marker(*marker),
            }),
            ObjectError::Copy(refused) => match refused {
                CopyRefused::Marker => Self::CopyOfMarker,
                CopyRefused::Same => Self::CopyOntoItself,
                CopyRefused::Inline => Self::CopyInline,
            },
            ObjectError::Length { found, said } => Self::Length(*found, *said),
            ObjectError::NoBucket(bucket) => Self::NoBucket(bucket.clone()),
            ObjectError::Unconfirmed(_) => Self::Unconfirmed,
            _ => return None,
        })
    }

    fn of_change(refused: &Refused) -> Option<Self> {
        Some(match refused {
            Refused::Key => Self::Key,
            Refused::NoObject => Self::NoObject,
            Refused::NoVersion => Self::NoVersion,
            Refused::Marker => Self::Marker,
            Refused::Precondition => Self::Precondition,
            Refused::TooLarge { bytes } => Self::RowTooLarge(*bytes),
            Refused::TooMany { blobs } => Self::TooManyBlobs(*blobs),
            Refused::About { .. } => return None,
        })
    }
}

impl From<Refusal> for ObjectError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, why, known } = refusal;
        let elsewhere = |why| Self::Elsewhere { code, why };
        let Some(known) = known else { return elsewhere(why) };
        match known {
            Known::NoObject => Refused::NoObject.into(),
            Known::NoVersion => Refused::NoVersion.into(),
            Known::Marker => Refused::Marker.into(),
            Known::Precondition => Refused::Precondition.into(),
            Known::Key => Refused::Key.into(),
            Known::RowTooLarge(bytes) => Refused::TooLarge { bytes }.into(),
            Known::TooManyBlobs(blobs) => Refused::TooMany { blobs }.into(),
            Known::NoUpload => NoUpload.into(),
            Known::PartNumber => PartRefused::Number.into(),
            Known::PartTooLarge => PartRefused::TooLarge.into(),
            Known::PartChecksum(name) => match Algorithm::parse(&name) {
                Some(kind) => PartRefused::Checksum(kind).into(),
                None => elsewhere(why),
            },
            Known::PartCount => CompleteRefused::Count.into(),
            Known::PartOrder(number) => CompleteRefused::Order { number }.into(),
            Known::NoPart(number) => CompleteRefused::Part { number }.into(),
            Known::PartTooSmall(number, bytes) => {
                CompleteRefused::TooSmall { number, bytes }.into()
            }
            Known::WholeSize(bytes, said) => CompleteRefused::Size { bytes, said }.into(),
            Known::WholeChecksum(name) => match Algorithm::parse(&name) {
                Some(kind) => CompleteRefused::Checksum(kind).into(),
                None => elsewhere(why),
            },
            Known::NothingToRead(unread) => match unread {
                Unread::Key => ReadRefused::NoKey,
                Unread::Version => ReadRefused::NoVersion,
                Unread::Deleted(marker) => ReadRefused::Deleted { marker },
                Unread::Marker(marker) => ReadRefused::Marker { marker },
            }
            .into(),
            Known::CopyOfMarker => CopyRefused::Marker.into(),
            Known::CopyOntoItself => CopyRefused::Same.into(),
            Known::CopyInline => CopyRefused::Inline.into(),
            Known::Length(found, said) => Self::Length { found, said },
            Known::NoBucket(bucket) => Self::NoBucket(bucket),
            Known::Unconfirmed => Self::Unconfirmed(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_region_refuses_is_told_as_if_it_were_refused_here() {
        let bucket = BucketName::new("photos").unwrap();
        let errors: Vec<ObjectError> = vec![
            Refused::NoObject.into(),
            Refused::NoVersion.into(),
            Refused::Marker.into(),
            Refused::Precondition.into(),
            Refused::Key.into(),
            Refused::TooLarge { bytes: 7 }.into(),
            Refused::TooMany { blobs: 7 }.into(),
            NoUpload.into(),
            PartRefused::Number.into(),
            PartRefused::TooLarge.into(),
            PartRefused::Checksum(Algorithm::Crc32c).into(),
            CompleteRefused::Count.into(),
            CompleteRefused::Order { number: 2 }.into(),
            CompleteRefused::Part { number: 3 }.into(),
            CompleteRefused::TooSmall { number: 4, bytes: 5 }.into(),
            CompleteRefused::Size { bytes: 6, said: 7 }.into(),
            CompleteRefused::Checksum(Algorithm::Sha1).into(),
            ReadRefused::NoKey.into(),
            ReadRefused::NoVersion.into(),
            ReadRefused::Deleted { marker: None }.into(),
            ReadRefused::Marker { marker: None }.into(),
            CopyRefused::Marker.into(),
            CopyRefused::Same.into(),
            CopyRefused::Inline.into(),
            ObjectError::Length { found: 1, said: 2 },
            ObjectError::NoBucket(bucket),
            ObjectError::Unconfirmed("perhaps".to_owned()),
        ];
        for error in errors {
            assert_eq!(ObjectError::from(Refusal::from(&error)), error);
        }
        let error = ObjectError::Unavailable("no room".to_owned());
        let told = ObjectError::from(Refusal::from(&error));
        assert_eq!((told.code(), told.to_string()), (error.code(), error.to_string()));
    }
}
