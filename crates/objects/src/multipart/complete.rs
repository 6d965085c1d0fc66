//! Completing an upload: its parts become an object, without reading their bytes.
//!
//! The object's version has the random half of the upload's id. So a completion that is asked for
//! again, because its answer was lost, is known as what was done, and answered as it was.

use rhumb_types::{
    ErrorCode,
    planted::{self, Planted},
    record::{
        BlobRef, Body, Checksums, Content, IndexKey, ObjectRecord, PartRecord, UploadRecord,
        VersionId, object::OBJECT_PARTS_MAX,
    },
};

use serde::{Deserialize, Serialize};

use super::{PART_BYTES_MIN, checksum, upload};
use crate::{
    checksum::{Algorithm, Method, mismatch},
    condition::Condition,
    etag,
    index::{OBJECT_BLOBS_MAX, Put, Refused, Target, Writing, put},
    rows::{Change, Failed, Refusal, Row, Rows, decoded},
};

/// How many rows of parts are read at a time.
const PARTS_PAGE: usize = 1_000;

/// A part that an object is to be made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenPart {
    /// Its number.
    pub number: u16,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// Checksums that it must have.
    pub checksums: Checksums,
}

/// What the whole object must be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Its length, in bytes.
    pub bytes: Option<u64>,
    /// Its checksums.
    pub checksums: Checksums,
}

/// What a completion comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// What is now there.
    pub record: ObjectRecord,
    /// What it replaces for good.
    pub replaced: Option<ObjectRecord>,
    /// What is to be done; nothing when it was done before. Then
    /// [`leftovers()`](super::leftovers()).
    pub change: Change,
}

/// Why an upload is not completed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompleteRefused {
    /// There is no such upload: it was completed, given up, or never begun.
    #[error("there is no such upload")]
    NoUpload,
    /// No parts are named, or too many.
    #[error("name 1 to {OBJECT_PARTS_MAX} parts")]
    Count,
    /// The parts are not in ascending order.
    #[error("parts must be in ascending order, and part {number} is not")]
    Order {
        /// The first that is not greater than the one before it.
        number: u16,
    },
    /// A part is not there, or is another than was named.
    #[error("part {number} is not there, or its entity tag or checksum is another")]
    Part {
        /// Which.
        number: u16,
    },
    /// A part is too short.
    #[error("part {number} has {bytes} bytes, and all but the last must have {PART_BYTES_MIN}")]
    TooSmall {
        /// Which.
        number: u16,
        /// How many bytes it has.
        bytes: u64,
    },
    /// The whole has another length than was said.
    #[error("the parts have {bytes} bytes together, and {said} were announced")]
    Size {
        /// How many it has.
        bytes: u64,
        /// How many it was to have.
        said: u64,
    },
    /// The whole has another checksum than was said, or none of that kind.
    #[error("the {} checksum of the object is another, or cannot be told", .0.name())]
    Checksum(Algorithm),
    /// The object cannot be written.
    #[error(transparent)]
    Object(Refused),
}

impl Refusal for CompleteRefused {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoUpload => ErrorCode::NotFound,
            Self::Object(refused) => refused.code(),
            _ => ErrorCode::Invalid,
        }
    }
}

/// Completes an upload. Reads its row, those of its parts, and what [`put()`] reads.
///
/// # Errors
/// [`CompleteRefused`].
pub fn complete<S: Rows>(
    source: &S,
    target: Target<'_>,
    id: VersionId,
    writing: Writing,
    chosen: &[ChosenPart],
    whole: &Whole,
    condition: &Condition,
) -> Result<Completed, Failed<CompleteRefused, S::Error>> {
    check_order(chosen).map_err(Failed::Refused)?;
    let upload = upload(source, target, id)?;
    let Some(begun) = upload.record.clone() else {
        return repeated(source, target, id, chosen);
    };
    let known = |part: &&ChosenPart| parts::<S>(source, id, std::slice::from_ref(*part)).is_ok();
    let unchecked: Option<Vec<ChosenPart>> = planted::is(Planted::CompleteUnchecked)
        .then(|| chosen.iter().filter(known).cloned().collect());
    let chosen = unchecked.as_deref().unwrap_or(chosen);
    let parts = parts(source, id, chosen)?;
    let content = joined(begun, chosen, parts, whole).map_err(Failed::Refused)?;
    let version = VersionId { entropy: id.entropy, ..writing.version };
    let writing = Writing { version, ..writing };
    let Put { record, replaced, mut change } = put(source, target, writing, content, condition)
        .map_err(|failed| failed.map_refused(CompleteRefused::Object))?;
    change.expect(&upload);
    change.take(upload.key);
    Ok(Completed { record, replaced, change })
}

fn check_order(chosen: &[ChosenPart]) -> Result<(), CompleteRefused> {
    if !(1..=OBJECT_PARTS_MAX).contains(&chosen.len()) {
        return Err(CompleteRefused::Count);
    }
    let unordered = chosen.iter().zip(chosen.iter().skip(1)).find(|(a, b)| a.number >= b.number);
    match unordered {
        Some((_, ChosenPart { number, .. })) => Err(CompleteRefused::Order { number: *number }),
        None => Ok(()),
    }
}

/// The answer to a completion that was carried out before.
fn repeated<S: Rows>(
    source: &S,
    target: Target<'_>,
    id: VersionId,
    chosen: &[ChosenPart],
) -> Result<Completed, Failed<CompleteRefused, S::Error>> {
    let current: Row<ObjectRecord> = Row::read(source, &target.current())?;
    let md5s: Option<Vec<_>> = chosen.iter().map(|part| etag::md5_of(&part.etag)).collect();
    let wanted = md5s.map(|md5s| etag::of_parts(&md5s));
    let done = current.record.filter(|record| {
        let etag = record.content.as_ref().map(|content| &content.etag);
        record.version.entropy == id.entropy && etag.is_some() && etag == wanted.as_ref()
    });
    let record = done.ok_or(Failed::Refused(CompleteRefused::NoUpload))?;
    Ok(Completed { record, replaced: None, change: Change::default() })
}

/// The parts that were chosen, in their order.
fn parts<S: Rows>(
    source: &S,
    id: VersionId,
    chosen: &[ChosenPart],
) -> Result<Vec<PartRecord>, Failed<CompleteRefused, S::Error>> {
    let prefix = IndexKey::parts_of(id);
    let mut after = None;
    let mut parts = Vec::with_capacity(chosen.len());
    let mut wanted = chosen.iter();
    let mut want = wanted.next();
    while let Some(part) = want {
        let page = source.rows(&prefix, after.as_deref(), PARTS_PAGE).map_err(Failed::Rows)?;
        let last = page.len() < PARTS_PAGE;
        for (key, bytes) in page {
            if want.is_some_and(|part| key == row(id, part.number)) {
                parts.push(decoded(&key, &bytes)?);
                want = wanted.next();
            }
            after = Some(key);
        }
        if last && want.is_some() {
            let number = chosen.get(parts.len()).map_or(part.number, |part| part.number);
            return Err(Failed::Refused(CompleteRefused::Part { number }));
        }
    }
    Ok(parts)
}

fn row(upload: VersionId, number: u16) -> bytes::Bytes {
    IndexKey::Part { upload, number }.encode()
}

/// The object that the parts are together.
fn joined(
    upload: UploadRecord,
    chosen: &[ChosenPart],
    parts: Vec<PartRecord>,
    whole: &Whole,
) -> Result<Content, CompleteRefused> {
    let mut md5s = Vec::with_capacity(parts.len());
    for (index, (chosen, part)) in chosen.iter().zip(&parts).enumerate() {
        let number = chosen.number;
        let differs = chosen.etag != part.etag
            || mismatch(&chosen.checksums, &part.checksums).is_some()
            || matches!(part.body, Body::Inline(_));
        let md5 = etag::md5_of(&part.etag).filter(|_| !differs);
        md5s.push(md5.ok_or(CompleteRefused::Part { number })?);
        if part.bytes < PART_BYTES_MIN && index + 1 < parts.len() {
            return Err(CompleteRefused::TooSmall { number, bytes: part.bytes });
        }
    }
    let lengths: Vec<u64> = parts.iter().map(|part| part.bytes).collect();
    let bytes = lengths.iter().sum();
    if let Some(said) = whole.bytes.filter(|said| *said != bytes) {
        return Err(CompleteRefused::Size { bytes, said });
    }
    let checksums = checksums_of(&upload, &parts);
    if let Some(algorithm) = mismatch(&whole.checksums, &checksums) {
        return Err(CompleteRefused::Checksum(algorithm));
    }
    let blobs: Vec<BlobRef> = parts.into_iter().flat_map(|part| blobs(part.body)).collect();
    if blobs.len() > OBJECT_BLOBS_MAX {
        return Err(CompleteRefused::Object(Refused::TooMany { blobs: blobs.len() }));
    }
    Ok(Content {
        bytes,
        etag: etag::of_parts(&md5s),
        body: Body::Blobs(blobs),
        parts: lengths,
        checksums,
        headers: upload.headers,
        metadata: upload.metadata,
        tags: upload.tags,
    })
}

fn blobs(body: Body) -> Vec<BlobRef> {
    match body {
        Body::Blobs(blobs) => blobs,
        // Refused above.
        Body::Inline(_) => Vec::new(),
    }
}

/// The checksums of the whole: the one that the upload named, or over the whole each CRC that all parts
/// have.
fn checksums_of(upload: &UploadRecord, parts: &[PartRecord]) -> Checksums {
    let mut checksums = Checksums::default();
    let wanted = match checksum(upload) {
        Ok(Some(named)) => vec![named],
        _ => Algorithm::ALL.map(|algorithm| (algorithm, Method::FullObject)).to_vec(),
    };
    for (algorithm, method) in wanted {
        let of = |part: &PartRecord| {
            let text = algorithm.of(&part.checksums)?;
            Some((algorithm.read(text).ok()?, part.bytes))
        };
        let all: Option<Vec<_>> = parts.iter().map(of).collect();
        if let Some(joined) = all.and_then(|all| algorithm.join(method, &all)) {
            algorithm.set(&mut checksums, joined);
            checksums.composite = method == Method::Composite;
        }
    }
    checksums
}
