//! Uploads in parts: rows beside the object's own until they are completed or given up.
//!
//! An upload has a row, and a row for each part. Ending it takes the upload's row away and, when it is
//! completed, writes the object, in one change; whoever does that first has ended it. Rows of parts are
//! taken away afterwards, [`leftovers()`] by [`leftovers()`]: there may be more of them than fit into a
//! change, and without their upload's row they are nothing but space. A crash before that, and a part
//! that another region took at the same time, leave some behind: [`Orphans`] finds them.
//!
//! The bytes of a part are in blobs, however few they are, because an object is of blobs or inline.

mod complete;
mod orphans;

#[cfg(test)]
pub(crate) mod tests;

use rhumb_types::{
    ErrorCode,
    record::{
        Body, IndexKey, PartRecord, Record, UploadRecord, VersionId, object::OBJECT_PARTS_MAX,
    },
};

use crate::{
    checksum::{Algorithm, Method},
    index::{Refused, Target, check_key},
    rows::{Change, Failed, Never, Refusal, Row, Rows},
};

pub use complete::{ChosenPart, CompleteRefused, Completed, Whole, complete};
pub use orphans::{OrphanStep, Orphans};

/// Fewest bytes of a part that is not the last; the bound of S3.
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// Most bytes of a part; the bound of S3.
pub const PART_BYTES_MAX: u64 = 5 << 30;
/// How many rows of parts one change takes away.
pub const LEFTOVERS_MAX: usize = 1_000;

/// Why an upload does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BeginRefused {
    /// The key is not as it must be.
    #[error(transparent)]
    Key(Refused),
    /// No such kind of checksum is known.
    #[error("the checksum must be one of CRC32, CRC32C, CRC64NVME, SHA1, SHA256")]
    Checksum,
    /// The checksum is not over this.
    #[error("{} checksums of objects in parts are not {}", algorithm.name(), method.name())]
    Method {
        /// Of which kind.
        algorithm: Algorithm,
        /// Over what it was to be.
        method: Method,
    },
    /// It is said what the checksum is over, but not which.
    #[error("a checksum type needs a checksum algorithm, and must be COMPOSITE or FULL_OBJECT")]
    MethodAlone,
}

impl Refusal for BeginRefused {
    fn code(&self) -> ErrorCode {
        ErrorCode::Invalid
    }
}

/// Why a part is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartRefused {
    /// There is no such upload: it was completed, given up, or never begun.
    #[error("there is no such upload")]
    NoUpload,
    /// The number is not one that a part may have.
    #[error("the number of a part must be 1 to {OBJECT_PARTS_MAX}")]
    Number,
    /// The part is too long.
    #[error("a part has at most {PART_BYTES_MAX} bytes")]
    TooLarge,
    /// The part has no checksum of the kind that its upload named.
    #[error("the parts of this upload need a {} checksum", .0.name())]
    Checksum(Algorithm),
    /// The bytes are not in blobs.
    #[error("the bytes of a part must be in blobs")]
    Inline,
}

impl Refusal for PartRefused {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoUpload => ErrorCode::NotFound,
            Self::Inline => ErrorCode::Internal,
            _ => ErrorCode::Invalid,
        }
    }
}

/// That there is no such upload: it was completed, given up, or never begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such upload")]
pub struct NoUpload;

impl Refusal for NoUpload {
    fn code(&self) -> ErrorCode {
        ErrorCode::NotFound
    }
}

/// Which checksum the parts of an upload carry, and what that of the object is over.
///
/// # Errors
/// [`BeginRefused`] when the upload's own words contradict each other.
pub fn checksum(upload: &UploadRecord) -> Result<Option<(Algorithm, Method)>, BeginRefused> {
    let Some(name) = &upload.checksum else {
        let alone = upload.checksum_type.is_some();
        return if alone { Err(BeginRefused::MethodAlone) } else { Ok(None) };
    };
    let algorithm = Algorithm::parse(name).ok_or(BeginRefused::Checksum)?;
    let method = match &upload.checksum_type {
        Some(name) => Method::parse(name).ok_or(BeginRefused::MethodAlone)?,
        None => algorithm.method(),
    };
    if algorithm.allows(method) {
        Ok(Some((algorithm, method)))
    } else {
        Err(BeginRefused::Method { algorithm, method })
    }
}

/// Begins an upload. Reads nothing.
///
/// # Errors
/// [`BeginRefused`].
pub fn begin(
    target: Target<'_>,
    id: VersionId,
    mut upload: UploadRecord,
) -> Result<Change, BeginRefused> {
    check_key(target.key).map_err(BeginRefused::Key)?;
    if let Some((algorithm, method)) = checksum(&upload)? {
        upload.checksum = Some(algorithm.name().to_owned());
        upload.checksum_type = Some(method.name().to_owned());
    }
    let key = row(target, id).encode();
    let mut change = Change::default();
    change.expect.push((key.clone(), None));
    change.set(key, upload.encode());
    Ok(change)
}

/// Takes a part; a part of the same number is replaced. Reads the upload's row.
///
/// # Errors
/// [`PartRefused`].
pub fn put_part<S: Rows>(
    source: &S,
    target: Target<'_>,
    id: VersionId,
    number: u16,
    part: &PartRecord,
) -> Result<Change, Failed<PartRefused, S::Error>> {
    let upload = upload(source, target, id)?;
    let record = upload.record.as_ref().ok_or(Failed::Refused(PartRefused::NoUpload))?;
    check_part(record, number, part).map_err(Failed::Refused)?;
    let mut change = Change::default();
    // The upload is as it was: nobody has ended it.
    change.expect(&upload);
    change.set(IndexKey::Part { upload: id, number }.encode(), part.encode());
    Ok(change)
}

fn check_part(upload: &UploadRecord, number: u16, part: &PartRecord) -> Result<(), PartRefused> {
    if !(1..=OBJECT_PARTS_MAX).contains(&usize::from(number)) {
        return Err(PartRefused::Number);
    }
    if part.bytes > PART_BYTES_MAX {
        return Err(PartRefused::TooLarge);
    }
    if matches!(part.body, Body::Inline(_)) {
        return Err(PartRefused::Inline);
    }
    match checksum(upload) {
        Ok(Some((algorithm, _))) if algorithm.of(&part.checksums).is_none() => {
            Err(PartRefused::Checksum(algorithm))
        }
        _ => Ok(()),
    }
}

/// Gives an upload up. Reads its row.
///
/// # Errors
/// [`NoUpload`].
pub fn abort<S: Rows>(
    source: &S,
    target: Target<'_>,
    id: VersionId,
) -> Result<Change, Failed<NoUpload, S::Error>> {
    let upload = upload(source, target, id)?;
    if upload.record.is_none() {
        return Err(Failed::Refused(NoUpload));
    }
    let mut change = Change::default();
    change.expect(&upload);
    change.take(upload.key);
    Ok(change)
}

/// Takes away rows of parts of an upload that has ended, at most [`LEFTOVERS_MAX`] at a time. Nothing
/// when there are none, or the upload goes on.
///
/// # Errors
/// Refuses nothing; rows may be damaged, or not be readable.
pub fn leftovers<S: Rows>(
    source: &S,
    target: Target<'_>,
    id: VersionId,
) -> Result<Change, Failed<Never, S::Error>> {
    let upload = upload(source, target, id)?;
    let mut change = Change::default();
    if upload.record.is_some() {
        return Ok(change);
    }
    change.expect(&upload);
    let parts = source.rows(&IndexKey::parts_of(id), None, LEFTOVERS_MAX).map_err(Failed::Rows)?;
    parts.into_iter().for_each(|(key, _)| change.take(key));
    Ok(change)
}

fn row(target: Target<'_>, upload: VersionId) -> IndexKey {
    IndexKey::Upload { bucket: target.bucket.clone(), key: target.key.clone(), upload }
}

fn upload<S: Rows, R>(
    source: &S,
    target: Target<'_>,
    id: VersionId,
) -> Result<Row<UploadRecord>, Failed<R, S::Error>> {
    Row::read(source, &row(target, id))
}
