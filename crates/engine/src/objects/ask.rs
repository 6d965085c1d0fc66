//! Changes of the index, as values: carried out here, or in a linearizable bucket by the region that
//! acts for the key's home.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_objects::{
    condition::Condition,
    index::{self, Target, Which, Writing},
    multipart::{self, ChosenPart, Whole},
    rows::{Change, Rows as _},
};
use rhumb_ports::clock::Entropy as _;
use rhumb_types::{
    AckLevel, Hlc,
    record::{
        BlobRef, Body, BucketDefinition, BucketName, Content, HolderRecord, IndexKey, ObjectRecord,
        PartRecord, Record as _, UploadRecord, VersionId,
    },
};
use serde::{Deserialize, Serialize};

use super::{ObjectError, Running, index::IndexRows};
use crate::{Engine, OsEntropy};

/// A change that somebody wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) bucket: BucketName,
    pub(super) key: Bytes,
    pub(super) what: What,
}

/// What it is about. The order of variants and fields is frozen (rule 16).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum What {
    Put {
        content: Content,
        condition: Condition,
    },
    Delete {
        which: Which,
        condition: Condition,
    },
    /// Of the version that is named only: its bytes are kept where this is asked.
    Tag {
        which: Which,
        version: VersionId,
        tags: BTreeMap<String, String>,
    },
    Begin {
        upload: UploadRecord,
    },
    Part {
        upload: VersionId,
        number: u16,
        part: PartRecord,
    },
    Complete {
        upload: VersionId,
        chosen: Vec<ChosenPart>,
        whole: Whole,
        condition: Condition,
    },
    Abort {
        upload: VersionId,
    },
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// There is this version now.
    Record(Box<ObjectRecord>),
    /// It is gone: the delete marker that was written, and the version that was removed, which may
    /// have been a marker.
    Deleted { marker: Option<VersionId>, told: Option<(Option<VersionId>, bool)> },
    /// An upload was begun.
    Begun(VersionId),
    /// Done.
    Done,
}

impl What {
    /// The blobs that it refers to.
    pub(super) fn blobs(&self) -> &[BlobRef] {
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

impl Engine {
    pub(super) fn new_version(&self) -> VersionId {
        let now = self.clock().now().wall;
        VersionId { hlc: Hlc::from_millis(now), entropy: OsEntropy.next_u64() }
    }

    /// Carries a change out in this region's index. Blobs that are held here are said to be, in the
    /// same transaction.
    pub(super) async fn decide(
        &self,
        running: &Running,
        definition: &BucketDefinition,
        ask: &Ask,
        ack: AckLevel,
    ) -> Result<(Answer, rhumb_types::record::VersionVector), ObjectError> {
        let Ask { bucket, key, what } = ask;
        let target = Target { bucket, versioning: definition.versioning, key };
        let at = self.clock().now().wall;
        let region = running.config.region.clone();
        let version = self.new_version();
        let writing = || Writing { version, at, region: region.clone() };
        self.change_index(ack, |rows| {
            let (answer, mut change) = match what {
                What::Put { content, condition } => {
                    let put = index::put(rows, target, writing(), content.clone(), condition)?;
                    (Answer::Record(put.record.into()), put.change)
                }
                What::Delete { which, condition } => {
                    let deleted = index::delete(rows, target, *which, writing(), condition)?;
                    let marker = deleted.marker.as_ref().map(|marker| marker.version);
                    (Answer::Deleted { marker, told: deleted.told() }, deleted.change)
                }
                What::Tag { which, version, tags } => {
                    let any = Condition::default();
                    let edited = index::edit(rows, target, *which, &any, |content| {
                        content.tags.clone_from(tags);
                    })?;
                    if edited.record.version != *version {
                        let why = "the object was written meanwhile; try again";
                        return Err(ObjectError::Unavailable(why.to_owned()));
                    }
                    (Answer::Record(edited.record.into()), edited.change)
                }
                What::Begin { upload } => {
                    let change = multipart::begin(target, version, upload.clone())?;
                    (Answer::Begun(version), change)
                }
                What::Part { upload, number, part } => {
                    let change = multipart::put_part(rows, target, *upload, *number, part)?;
                    (Answer::Done, change)
                }
                What::Complete { upload, chosen, whole, condition } => {
                    let done = multipart::complete(
                        rows,
                        target,
                        *upload,
                        writing(),
                        chosen,
                        whole,
                        condition,
                    )?;
                    (Answer::Record(done.record.into()), done.change)
                }
                What::Abort { upload } => (Answer::Done, multipart::abort(rows, target, *upload)?),
            };
            self.say_held(running, rows, what.blobs(), &mut change)?;
            Ok((answer, change))
        })
        .await
    }

    /// Adds to a change that this region holds some blobs, for good.
    pub(super) fn say_held(
        &self,
        running: &Running,
        rows: &IndexRows<'_>,
        blobs: &[BlobRef],
        change: &mut Change,
    ) -> Result<(), ObjectError> {
        for blob in blobs {
            let key = IndexKey::Holder { hash: blob.hash, region: running.config.region.clone() };
            let key = key.encode();
            let known = rows.row(&key)?;
            let known = known.and_then(|known| HolderRecord::decode(&known).ok());
            if known.is_some_and(|known| !known.cached) {
                continue;
            }
            let since = self.clock().now().wall;
            let holder = HolderRecord { bytes: blob.bytes, since, cached: false };
            change.write.push((key, Some(holder.encode())));
        }
        Ok(())
    }
}
