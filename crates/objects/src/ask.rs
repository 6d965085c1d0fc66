//! Changes of the index as values: carried out where they are asked, or in a linearizable bucket by the
//! region that acts for the key's home (rule 10).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use rhumb_types::{
    ErrorCode, RegionId, UnixMillis,
    planted::{self, Planted},
    record::{
        BlobRef, Body, BucketName, Cell, Content, HolderRecord, IndexKey, ObjectRecord, PartRecord,
        Record, UploadRecord, VersionId, VersionVector, Versioning,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    condition::Condition,
    index::{self, Refused, Target, Which, Writing},
    multipart::{self, BeginRefused, ChosenPart, CompleteRefused, NoUpload, PartRefused, Whole},
    rows::{Change, Failed, Refusal, Rows},
    terms::Found,
};

/// A change that somebody wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ask {
    /// In which bucket.
    pub bucket: BucketName,
    /// Of which key.
    pub key: Bytes,
    /// What.
    pub what: What,
}

/// What it is about. The order of variants and fields is frozen (rule 16).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum What {
    /// A new version.
    Put {
        /// What it holds.
        content: Content,
        /// Under which condition.
        condition: Condition,
    },
    /// The end of an object, or of a version of it.
    Delete {
        /// Which version.
        which: Which,
        /// Under which condition.
        condition: Condition,
    },
    /// Other tags, of the version that is named only: its bytes are kept where this is asked.
    Tag {
        /// As the client named it.
        which: Which,
        /// Which that was.
        version: VersionId,
        /// The tags.
        tags: BTreeMap<String, String>,
    },
    /// The beginning of an upload in parts.
    Begin {
        /// What is known of it.
        upload: UploadRecord,
    },
    /// A part of one.
    Part {
        /// Of which.
        upload: VersionId,
        /// The part's number.
        number: u16,
        /// The part.
        part: PartRecord,
    },
    /// An object of the parts of an upload.
    Complete {
        /// Of which.
        upload: VersionId,
        /// Of which parts.
        chosen: Vec<ChosenPart>,
        /// What is said of the whole.
        whole: Whole,
        /// Under which condition.
        condition: Condition,
    },
    /// The end of an upload without an object.
    Abort {
        /// Of which.
        upload: VersionId,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// There is this version now.
    Record(Box<ObjectRecord>),
    /// It is gone.
    Deleted {
        /// The delete marker that was written,
        marker: Option<VersionId>,
        /// and the version that was removed, which may have been a marker.
        told: Option<(Option<VersionId>, bool)>,
    },
    /// An upload was begun.
    Begun(VersionId),
    /// Done.
    Done,
}

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskRefused {
    /// A change of an object.
    #[error(transparent)]
    Object(#[from] Refused),
    /// An upload is not begun.
    #[error(transparent)]
    Begin(#[from] BeginRefused),
    /// A part is not taken.
    #[error(transparent)]
    Part(#[from] PartRefused),
    /// An upload is not completed.
    #[error(transparent)]
    Complete(#[from] CompleteRefused),
    /// There is no such upload.
    #[error(transparent)]
    NoUpload(#[from] NoUpload),
    /// The version is not the one that the asker saw.
    #[error("the object was written meanwhile; try again")]
    Meanwhile,
}

impl Refusal for AskRefused {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Object(refused) => refused.code(),
            Self::Begin(refused) => refused.code(),
            Self::Part(refused) => refused.code(),
            Self::Complete(refused) => refused.code(),
            Self::NoUpload(refused) => refused.code(),
            Self::Meanwhile => ErrorCode::Unavailable,
        }
    }
}

impl What {
    /// The blobs that it refers to.
    #[must_use]
    pub fn blobs(&self) -> &[BlobRef] {
        let body = match self {
            Self::Put { content, .. } => &content.body,
            Self::Part { part, .. } => &part.body,
            _ => return &[],
        };
        match body {
            Body::Blobs(blobs) => blobs,
            Body::Inline(_) => &[],
        }
    }
}

/// What a change comes to, by the rows as they are.
///
/// # Errors
/// [`AskRefused`]; rows may be damaged, or not be readable.
pub fn decide<S: Rows>(
    rows: &Found<S>,
    versioning: Versioning,
    ask: &Ask,
    writing: Writing,
) -> Result<(Answer, Change), Failed<AskRefused, S::Error>> {
    let Ask { bucket, key, what } = ask;
    let target = Target { bucket, versioning, key };
    match what {
        What::Put { content, condition } => {
            let put = index::put(rows, target, writing, content.clone(), condition);
            let put = put.map_err(|failed| failed.map_refused(AskRefused::from))?;
            Ok((Answer::Record(put.record.into()), put.change))
        }
        What::Delete { which, condition } => {
            let deleted = index::delete(rows, target, *which, writing, condition);
            let deleted = deleted.map_err(|failed| failed.map_refused(AskRefused::from))?;
            let marker = deleted.marker.as_ref().map(|marker| marker.version);
            Ok((Answer::Deleted { marker, told: deleted.told() }, deleted.change))
        }
        What::Tag { which, version, tags } => tag(rows, target, (*which, *version), tags),
        What::Begin { upload } => {
            let id = writing.version;
            let change = multipart::begin(target, id, upload.clone());
            let change = change.map_err(|refused| Failed::Refused(refused.into()))?;
            Ok((Answer::Begun(id), change))
        }
        What::Part { upload, number, part } => {
            let change = multipart::put_part(rows, target, *upload, *number, part);
            Ok((Answer::Done, change.map_err(|failed| failed.map_refused(AskRefused::from))?))
        }
        What::Complete { upload, chosen, whole, condition } => {
            let done =
                multipart::complete(rows, target, *upload, writing, chosen, whole, condition);
            let done = done.map_err(|failed| failed.map_refused(AskRefused::from))?;
            Ok((Answer::Record(done.record.into()), done.change))
        }
        What::Abort { upload } => {
            let change = multipart::abort(rows, target, *upload);
            let mut change = change.map_err(|failed| failed.map_refused(AskRefused::from))?;
            if !change.is_empty() {
                // It may have been completed in an earlier term, by a change that is not here yet.
                rows.rest_on(&mut change);
            }
            Ok((Answer::Done, change))
        }
    }
}

fn tag<S: Rows>(
    rows: &S,
    target: Target<'_>,
    (which, version): (Which, VersionId),
    tags: &BTreeMap<String, String>,
) -> Result<(Answer, Change), Failed<AskRefused, S::Error>> {
    let edited = index::edit(rows, target, which, &Condition::default(), |content| {
        content.tags.clone_from(tags);
    });
    let edited = edited.map_err(|failed| failed.map_refused(AskRefused::from))?;
    if edited.record.version != version {
        return Err(Failed::Refused(AskRefused::Meanwhile));
    }
    Ok((Answer::Record(edited.record.into()), edited.change))
}

/// What an answer about an object of a linearizable bucket rests on: the transactions that wrote what is
/// there, or, where nothing is, all that is applied. A majority must have them before the answer leaves,
/// for else the next home may not know of them.
#[must_use]
pub fn rests_on(current: Option<&Cell>, applied: VersionVector) -> VersionVector {
    if planted::is(Planted::AnswerUnsettled) {
        return VersionVector::new();
    }
    match current {
        Some(cell) if !cell.entries.is_empty() => {
            cell.entries.iter().map(|entry| (entry.dot.origin, entry.dot.version)).collect()
        }
        _ => applied,
    }
}

/// Adds to a change that a region holds some blobs, for good. What was said longer than `renew` ago is said
/// again: who counts on a copy before anything refers to it needs one that is young, because old ones may go.
///
/// # Errors
/// When rows cannot be read.
pub fn say_held<S: Rows>(
    rows: &S,
    (region, since): (&RegionId, UnixMillis),
    (blobs, renew): (&[BlobRef], Duration),
    change: &mut Change,
) -> Result<(), S::Error> {
    for blob in blobs {
        let key = IndexKey::Holder { hash: blob.hash, region: region.clone() }.encode();
        let known = rows.row(&key)?;
        let known = known.and_then(|known| HolderRecord::decode(&known).ok());
        let stays = |known: &HolderRecord| since.saturating_since(known.since) < renew;
        if known.is_some_and(|known| !known.cached && stays(&known)) {
            continue;
        }
        let holder = HolderRecord { bytes: blob.bytes, since, cached: false };
        change.set(key, holder.encode());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rhumb_types::record::BlobHash;

    use super::*;
    use crate::memory::Memory;

    #[test]
    fn what_is_said_of_old_copies_is_said_again_to_who_counts_on_them() {
        let region = RegionId::new("eu").unwrap();
        let blobs = [BlobRef { hash: BlobHash([7; 32]), bytes: 10 }];
        let (mut rows, hour) = (Memory::default(), Duration::from_secs(3_600));
        let mut say = |at, renew| {
            let mut change = Change::default();
            say_held(&rows, (&region, UnixMillis(at)), (&blobs, renew), &mut change).unwrap();
            rows.carry_out(&change);
            change.write.len()
        };
        assert_eq!(say(0, Duration::MAX), 1);
        assert_eq!(say(3_599_999, hour), 0, "it is young");
        assert_eq!(say(3_600_000, Duration::MAX), 0, "nobody counts on it");
        assert_eq!(say(3_600_000, hour), 1);
        assert_eq!(say(3_600_001, hour), 0, "it is young again");
    }
}
