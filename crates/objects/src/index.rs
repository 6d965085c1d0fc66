//! What a request does to the rows of one object.
//!
//! What holds of the rows, in each region, as long as regions change different objects:
//! - `Current` is the newest version, and is there if any version is;
//! - a version that clients name by an id ([`ObjectRecord::versioned`]) has a `Version` row;
//! - a `null` version has one once its bucket kept versions: at the latest when it is replaced;
//! - of `null` versions there is at most one;
//! - a `Current` that has a `Version` row too is the same bytes in both.
//!
//! Regions that change one object at a time without knowing of each other can break all but the
//! second, cell by cell; [`mend()`] restores them, and readers bear with it.
//!
//! What the rules read:
//!
//! | request | rows |
//! |---|---|
//! | [`put()`], [`delete()`] without a version | `Current`; after versioning was suspended, for the first such change of a key, its versions until one is `null` |
//! | [`find()`] | `Current`; for an older version its `Version` row; for an older `null` the versions until it comes |
//! | [`delete()`] of a version | as [`find()`]; two versions more if it was the newest |
//! | [`edit()`] | as [`find()`], and the other row of the same version |

mod delete;
mod edit;
mod find;
mod mend;
mod put;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use rhumb_types::{
    ErrorCode, RegionId, UnixMillis,
    record::{
        BucketName, Content, IndexKey, ObjectRecord, Record, VersionId, Versioning,
        object::OBJECT_KEY_BYTES_MAX,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    condition::{Condition, Unmet, Validators},
    rows::{Change, Failed, Refusal, Row, Rows, decoded},
};

pub use delete::{Deleted, delete};
pub use edit::{Edited, edit};
pub use find::{Found, ReadRefused, find};
pub use mend::mend;
pub use put::{Copied, CopyRefused, Put, copied, put};

/// Longest row of an object, in bytes; of a long one the list of its blobs is nearly all. Four such rows
/// are the most that a change names, as expected or to be written, and fit into one operation of the
/// loop.
pub const RECORD_BYTES_MAX: usize = 960 << 10;
/// Most blobs of an object, of up to 16 MiB each: 390 GiB. They leave room in its row for the lengths of
/// 10,000 parts, and for all that may be told of it.
pub const OBJECT_BLOBS_MAX: usize = 25_000;
/// Most bytes of an object's own metadata, names and values; the bound of S3.
pub const METADATA_BYTES_MAX: usize = 2 << 10;
/// Most bytes of an object's headers, names and values.
pub const HEADERS_BYTES_MAX: usize = 8 << 10;
/// Most tags of an object; the bound of S3.
pub const TAGS_MAX: usize = 10;
/// Longest name of a tag, in characters; the bound of S3.
pub const TAG_NAME_CHARS_MAX: usize = 128;
/// Longest value of a tag, in characters; the bound of S3.
pub const TAG_VALUE_CHARS_MAX: usize = 256;
/// How many `null` versions one deletion takes away; more than one are there only after regions wrote
/// them at a time.
pub(crate) const NULLS_MAX: usize = 2;
/// How many versions are read at a time.
pub(crate) const VERSIONS_PAGE: usize = 64;

/// The object that a change is about.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its bucket.
    pub bucket: &'a BucketName,
    /// Whether the bucket keeps versions.
    pub versioning: Versioning,
    /// Its key.
    pub key: &'a Bytes,
}

/// Who writes, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing {
    /// The id for what is written. It becomes a later one where what is replaced has a later one.
    pub version: VersionId,
    /// The time, by the clock of this node.
    pub at: UnixMillis,
    /// The region of this node.
    pub region: RegionId,
}

/// Which version of an object a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Which {
    /// The newest.
    #[default]
    Newest,
    /// The one without an id: `null`.
    Null,
    /// The one with this id.
    Version(VersionId),
}

impl Which {
    /// The version that clients name: `null`, or an id as it is displayed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "null" { Some(Self::Null) } else { VersionId::parse(text).map(Self::Version) }
    }

    fn is(self, record: &ObjectRecord) -> bool {
        match self {
            Self::Newest => true,
            Self::Null => !record.versioned,
            Self::Version(id) => record.versioned && record.version == id,
        }
    }
}

/// Why a change was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The key is empty, too long, or holds a zero byte.
    #[error("the key must have 1 to {OBJECT_KEY_BYTES_MAX} bytes, and no zero byte")]
    Key,
    /// The condition is about an object, and there is none.
    #[error("the condition is about an object, and there is none")]
    NoObject,
    /// There is no such version.
    #[error("there is no such version")]
    NoVersion,
    /// What is asked for cannot be done to a delete marker.
    #[error("the version is a delete marker")]
    Marker,
    /// The condition does not hold.
    #[error("the condition does not hold")]
    Precondition,
    /// What is told of the object is too much.
    #[error("{what} must be {rule}")]
    About {
        /// What.
        what: &'static str,
        /// Its bound.
        rule: &'static str,
    },
    /// The object is too large to be told of in one row.
    #[error("the object is of {blobs} blobs, and may be of {OBJECT_BLOBS_MAX}: 390 GiB")]
    TooMany {
        /// Of how many.
        blobs: usize,
    },
    /// The object is of too many blobs, or too much is told of it.
    #[error(
        "the object is too large: its row would have {bytes} bytes, and may have {RECORD_BYTES_MAX}"
    )]
    TooLarge {
        /// How long its row would be.
        bytes: usize,
    },
}

impl Refusal for Refused {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Key | Self::About { .. } | Self::TooLarge { .. } | Self::TooMany { .. } => {
                ErrorCode::Invalid
            }
            Self::NoObject | Self::NoVersion | Self::Marker => ErrorCode::NotFound,
            Self::Precondition => ErrorCode::Conflict,
        }
    }
}

/// Checks a key.
///
/// # Errors
/// [`Refused::Key`].
pub fn check_key(key: &[u8]) -> Result<(), Refused> {
    let fits = (1..=OBJECT_KEY_BYTES_MAX).contains(&key.len()) && !key.contains(&0);
    if fits { Ok(()) } else { Err(Refused::Key) }
}

/// Checks what is told of an object against its bounds.
///
/// # Errors
/// [`Refused::About`] for the first that is too much.
pub fn check_about(content: &Content) -> Result<(), Refused> {
    let bytes = |pairs: &std::collections::BTreeMap<String, String>| -> usize {
        pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
    };
    let named = |(name, value): (&String, &String)| {
        (1..=TAG_NAME_CHARS_MAX).contains(&name.chars().count())
            && value.chars().count() <= TAG_VALUE_CHARS_MAX
    };
    let rules = [
        ("metadata", "at most 2 KiB", bytes(&content.metadata) <= METADATA_BYTES_MAX),
        ("headers", "at most 8 KiB", bytes(&content.headers) <= HEADERS_BYTES_MAX),
        ("tags", "at most 10", content.tags.len() <= TAGS_MAX),
        (
            "a tag",
            "a name of 1 to 128 characters and a value of at most 256",
            content.tags.iter().all(named),
        ),
    ];
    let broken = rules.into_iter().find(|(_, _, kept)| !kept);
    broken.map_or(Ok(()), |(what, rule, _)| Err(Refused::About { what, rule }))
}

impl Target<'_> {
    pub(crate) fn current(&self) -> IndexKey {
        IndexKey::Current { bucket: self.bucket.clone(), key: self.key.clone() }
    }

    pub(crate) fn version(&self, version: VersionId) -> IndexKey {
        IndexKey::Version { bucket: self.bucket.clone(), key: self.key.clone(), version }
    }

    /// A bucket that has versions keeps them, although this region has not heard of it yet: its
    /// settings come another way than rows do.
    fn as_seen(mut self, current: &Row<ObjectRecord>) -> Self {
        let is_versioned = current.record.as_ref().is_some_and(|record| record.versioned);
        if self.versioning == Versioning::Off && is_versioned {
            self.versioning = Versioning::Enabled;
        }
        self
    }

    /// The newest `null` version among the `Version` rows.
    fn null<S: Rows, R>(
        &self,
        source: &S,
    ) -> Result<Option<Row<ObjectRecord>>, Failed<R, S::Error>> {
        let mut nulls = self.nulls(source, 1)?;
        Ok(nulls.pop())
    }

    /// The newest `null` versions among the `Version` rows, newest first. There are more than one
    /// only after regions made them at a time.
    fn nulls<S: Rows, R>(
        &self,
        source: &S,
        most: usize,
    ) -> Result<Vec<Row<ObjectRecord>>, Failed<R, S::Error>> {
        let prefix = IndexKey::versions_of(self.bucket, self.key);
        let mut after: Option<Bytes> = None;
        let mut found = Vec::new();
        loop {
            let page =
                source.rows(&prefix, after.as_deref(), VERSIONS_PAGE).map_err(Failed::Rows)?;
            let last = page.len() < VERSIONS_PAGE;
            for (key, bytes) in page {
                let record: ObjectRecord = decoded(&key, &bytes)?;
                after = Some(key.clone());
                if !record.versioned {
                    found.push(Row { key, bytes: Some(bytes), record: Some(record) });
                }
                if found.len() == most {
                    return Ok(found);
                }
            }
            if last {
                return Ok(found);
            }
        }
    }
}

/// What a condition may ask about a version; nothing of a delete marker.
fn validators(record: Option<&ObjectRecord>) -> Option<Validators<'_>> {
    let record = record?;
    let content = record.content.as_ref()?;
    Some(Validators { etag: &content.etag, modified: record.modified })
}

fn met(condition: &Condition, record: Option<&ObjectRecord>) -> Result<(), Refused> {
    condition.of_change(validators(record)).map_err(|unmet| match unmet {
        Unmet::NoObject => Refused::NoObject,
        Unmet::Fails => Refused::Precondition,
    })
}

/// A record as bytes, if it is not too long.
fn encoded(record: &ObjectRecord) -> Result<Bytes, Refused> {
    let bytes = record.encode();
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(Refused::TooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// Makes a new version the newest: the end of every request that writes one.
///
/// Gives what it replaces for good: the newest version of a bucket without versions, or the `null`
/// version.
fn replace<S: Rows>(
    source: &S,
    target: Target<'_>,
    current: &Row<ObjectRecord>,
    record: &ObjectRecord,
    change: &mut Change,
) -> Result<Option<ObjectRecord>, Failed<Refused, S::Error>> {
    let bytes = encoded(record).map_err(Failed::Refused)?;
    change.expect(current);
    change.set(current.key.clone(), bytes.clone());
    let old = current.record.as_ref();
    let old_null = old.filter(|old| !old.versioned);
    match target.versioning {
        Versioning::Off => return Ok(old_null.cloned()),
        Versioning::Enabled => {
            if let (Some(old), Some(old_bytes)) = (old_null, &current.bytes) {
                change.set(target.version(old.version).encode(), old_bytes.clone());
            }
            change.set(target.version(record.version).encode(), bytes);
            return Ok(None);
        }
        Versioning::Suspended => (),
    }
    let gone = if let Some(old) = old_null {
        change.take(target.version(old.version).encode());
        Some(old.clone())
    } else {
        let null = target.null(source)?;
        if let Some(row) = &null {
            change.expect(row);
            change.take(row.key.clone());
        }
        null.and_then(|row| row.record)
    };
    change.set(target.version(record.version).encode(), bytes);
    Ok(gone)
}

/// An id for what replaces a record, that is later than the record's.
fn later(version: VersionId, than: Option<&ObjectRecord>) -> VersionId {
    let Some(than) = than.map(|record| record.version) else { return version };
    if version > than {
        return version;
    }
    VersionId { hlc: than.hlc.tick(than.hlc.millis()), entropy: version.entropy }
}
