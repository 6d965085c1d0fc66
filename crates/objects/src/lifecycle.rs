//! Lifecycles: what of a bucket goes with time.
//!
//! [`Sweep`] walks a bucket a page at a time and says what is due; [`carry_out()`] turns that into a
//! change, if it is still so. What is due is decided by the rules and the index alone, so that any
//! region may do it, and it does no harm if two do.
//!
//! As in S3 a time of whole days ends at the next midnight, UTC. Shorter times end when they end.
//! A rule with tags or sizes is about objects, not about delete markers and uploads.

mod check;
mod sweep;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use rhumb_types::{
    UnixMillis,
    record::{LifecycleRule, ObjectRecord, UploadRecord, VersionId},
};

use crate::{
    condition::Condition,
    index::{Refused, Target, Which, Writing, delete, find},
    list::Summary,
    multipart::{self, NoUpload},
    rows::{Change, Failed, Rows},
};

pub use check::{NONCURRENT_KEPT_MAX, RULE_NAME_BYTES_MAX, RulesRefused, check};
pub use sweep::{Step, Sweep};

const DAY: u64 = 24 * 60 * 60 * 1_000;

/// Something that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The key that it is about.
    pub key: Bytes,
    /// What.
    pub what: What,
    /// By which rule: its place in the list.
    pub rule: usize,
}

/// What is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// An object expires while this is its newest version: it is deleted, or gets a delete marker.
    Expire(VersionId),
    /// A version that is not the newest, or a delete marker without others, goes for good.
    Remove {
        /// Which.
        version: VersionId,
        /// Whether clients see that id, or `null`.
        versioned: bool,
    },
    /// An upload is given up.
    Abort(VersionId),
}

/// When the newest version of an object expires, and by which rule; for the header that tells clients.
#[must_use]
pub fn expiry(
    rules: &[LifecycleRule],
    key: &[u8],
    object: &ObjectRecord,
) -> Option<(UnixMillis, usize)> {
    let content = object.content.as_ref()?;
    let about = |rule: &LifecycleRule| {
        is_about(rule, key)
            && has_size(rule, content.bytes)
            && rule.tags.iter().all(|(name, value)| content.tags.get(name) == Some(value))
    };
    first(rules, |rule| about(rule).then(|| expires(rule, object.modified)).flatten())
}

/// Turns what is due into a change; nothing when it is no longer so.
///
/// # Errors
/// Refuses nothing that is due; rows may be damaged, or not be readable.
pub fn carry_out<S: Rows>(
    source: &S,
    target: Target<'_>,
    what: What,
    writing: Writing,
) -> Result<Change, Failed<Refused, S::Error>> {
    let none = Condition::default();
    let (which, version) = match what {
        What::Abort(upload) => {
            return match multipart::abort(source, target, upload) {
                Err(Failed::Refused(NoUpload)) => Ok(Change::default()),
                done => done.map_err(|failed| failed.map_refused(|NoUpload| Refused::NoVersion)),
            };
        }
        What::Expire(version) => (Which::Newest, version),
        What::Remove { version, versioned: true } => (Which::Version(version), version),
        What::Remove { version, versioned: false } => (Which::Null, version),
    };
    let found =
        find(source, target, which).map_err(|failed| failed.map_refused(|it| match it {}))?;
    let is_same = |record: &ObjectRecord| {
        let marked = which == Which::Newest && record.content.is_none();
        record.version == version && !marked
    };
    if !found.record().is_some_and(is_same) {
        return Ok(Change::default());
    }
    let change = delete(source, target, which, writing, &none)?.change;
    // The deletion rests on the very rows that were judged, not on newer ones.
    let same = found.expected().all(|row| change.expect.contains(&row));
    Ok(if same { change } else { Change::default() })
}

fn is_about(rule: &LifecycleRule, key: &[u8]) -> bool {
    !rule.disabled && key.starts_with(rule.prefix.as_bytes())
}

fn has_size(rule: &LifecycleRule, bytes: u64) -> bool {
    rule.larger_than.is_none_or(|least| bytes > least)
        && rule.smaller_than.is_none_or(|most| bytes < most)
}

/// Whether a rule is about all that has its prefix, so that it may be about markers and uploads.
fn is_plain(rule: &LifecycleRule) -> bool {
    rule.tags.is_empty() && rule.larger_than.is_none() && rule.smaller_than.is_none()
}

fn expires(rule: &LifecycleRule, modified: UnixMillis) -> Option<UnixMillis> {
    let by_age = rule.expire_after.map(|after| ends(modified, after));
    // Of both the earlier.
    by_age.into_iter().chain(rule.expire_at).min()
}

/// When a time after an event has passed.
fn ends(from: UnixMillis, after: Duration) -> UnixMillis {
    let end = from.saturating_add(after);
    let days = after.as_millis() > 0 && after.as_millis().is_multiple_of(u128::from(DAY));
    if days { UnixMillis(end.0.div_ceil(DAY).saturating_mul(DAY)) } else { end }
}

/// The earliest time that rules give, and the first rule that gives it.
fn first(
    rules: &[LifecycleRule],
    at: impl Fn(&LifecycleRule) -> Option<UnixMillis>,
) -> Option<(UnixMillis, usize)> {
    rules.iter().enumerate().filter_map(|(place, rule)| Some((at(rule)?, place))).min()
}

/// The rule by which an upload is to be given up.
fn of_upload(
    rules: &[LifecycleRule],
    key: &[u8],
    upload: &UploadRecord,
    now: UnixMillis,
) -> Option<usize> {
    let due = |rule: &LifecycleRule| {
        let after = rule.abort_uploads_after.filter(|_| is_about(rule, key) && is_plain(rule))?;
        Some(ends(upload.begun, after))
    };
    first(rules, due).filter(|(at, _)| *at <= now).map(|(_, rule)| rule)
}

/// The rule by which a version goes, that was replaced at some time, when so many that were replaced
/// are newer.
fn of_noncurrent(
    rules: &[LifecycleRule],
    key: &[u8],
    version: Noncurrent<'_>,
    tagged: impl Fn(&LifecycleRule) -> bool,
    now: UnixMillis,
) -> Option<usize> {
    rules.iter().position(|rule| {
        let Some(after) = rule.noncurrent_after else { return false };
        let sized = match &version.summary.content {
            Some(content) => has_size(rule, content.bytes),
            None => is_plain(rule),
        };
        is_about(rule, key)
            && sized
            && version.newer >= rule.noncurrent_kept
            && ends(version.replaced, after) <= now
            && tagged(rule)
    })
}

/// A version that is not the newest.
#[derive(Debug, Clone, Copy)]
struct Noncurrent<'a> {
    summary: &'a Summary,
    /// When the next was written.
    replaced: UnixMillis,
    /// How many that were replaced, too, are newer.
    newer: u32,
}

/// The rule by which a delete marker goes that has no other versions.
fn of_marker(
    rules: &[LifecycleRule],
    key: &[u8],
    marker: &Summary,
    now: UnixMillis,
) -> Option<usize> {
    rules.iter().position(|rule| {
        let expired = expires(rule, marker.modified).is_some_and(|at| at <= now);
        is_about(rule, key) && is_plain(rule) && (rule.expire_markers || expired)
    })
}
