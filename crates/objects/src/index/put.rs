//! Writing an object, and copying one.

use std::collections::BTreeMap;

use rhumb_types::{
    ErrorCode,
    record::{Body, BucketDefinition, Content, ObjectRecord},
};
use serde::{Deserialize, Serialize};

use super::{Refused, Target, Writing, check_about, check_key, later, met, replace};
use crate::{
    condition::Condition,
    rows::{Change, Failed, Refusal, Row, Rows},
};

/// What a write comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// What is now there.
    pub record: ObjectRecord,
    /// What it replaces for good.
    pub replaced: Option<ObjectRecord>,
    /// What is to be done.
    pub change: Change,
}

/// Writes an object.
///
/// # Errors
/// [`Refused`] for a key, condition or content that is not as it must be.
pub fn put<S: Rows>(
    source: &S,
    target: Target<'_>,
    writing: Writing,
    content: Content,
    condition: &Condition,
) -> Result<Put, Failed<Refused, S::Error>> {
    check_key(target.key).and_then(|()| check_about(&content)).map_err(Failed::Refused)?;
    let current: Row<ObjectRecord> = Row::read(source, &target.current())?;
    let target = target.as_seen(&current);
    met(condition, current.record.as_ref()).map_err(Failed::Refused)?;
    let record = record(target, &current, writing, Some(content));
    let mut change = Change::default();
    let replaced = replace(source, target, &current, &record, &mut change)?;
    Ok(Put { record, replaced, change })
}

pub(super) fn record(
    target: Target<'_>,
    current: &Row<ObjectRecord>,
    writing: Writing,
    content: Option<Content>,
) -> ObjectRecord {
    ObjectRecord {
        version: later(writing.version, current.record.as_ref()),
        versioned: target.versioning == rhumb_types::record::Versioning::Enabled,
        modified: writing.at,
        region: writing.region,
        content,
    }
}

/// What of a copy is not its source's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Headers and metadata in place of the source's (S3: `REPLACE`).
    pub about: Option<(BTreeMap<String, String>, BTreeMap<String, String>)>,
    /// Tags in place of the source's.
    pub tags: Option<BTreeMap<String, String>>,
}

/// Why there is no copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyRefused {
    /// The source is a delete marker.
    #[error("the source is a delete marker")]
    Marker,
    /// The copy is its own source, and nothing of it is to change.
    #[error("an object is copied onto itself only to change its metadata, headers or tags")]
    Same,
    /// The bytes are in the index, and the bucket's may not be: they must be read and written.
    #[error("the source lies in the index, where objects of the target may not")]
    Inline,
}

impl Refusal for CopyRefused {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Marker | Self::Same => ErrorCode::Invalid,
            Self::Inline => ErrorCode::Conflict,
        }
    }
}

/// The content of a copy: the source's bytes, without reading them. Write it with [`put`].
///
/// The entity tag is the source's, that of an object in parts too.
///
/// # Errors
/// [`CopyRefused`]. After [`CopyRefused::Inline`] the bytes are to be written as a new object.
pub fn copied(
    source: &ObjectRecord,
    onto_itself: bool,
    into: &BucketDefinition,
    changed: Copied,
) -> Result<Content, CopyRefused> {
    let mut content = source.content.clone().ok_or(CopyRefused::Marker)?;
    if onto_itself && changed == Copied::default() {
        return Err(CopyRefused::Same);
    }
    if let Body::Inline(bytes) = &content.body
        && u64::try_from(bytes.len()).is_ok_and(|bytes| bytes > into.inline_bytes_max())
    {
        return Err(CopyRefused::Inline);
    }
    if let Some((headers, metadata)) = changed.about {
        (content.headers, content.metadata) = (headers, metadata);
    }
    if let Some(tags) = changed.tags {
        content.tags = tags;
    }
    Ok(content)
}
