//! A walk over a bucket that says what is due.

use bytes::Bytes;
use rhumb_types::{
    UnixMillis,
    record::{BucketName, LifecycleRule, Versioning},
};

use super::{
    Due, Noncurrent, What, expires, first, has_size, is_about, of_marker, of_noncurrent, of_upload,
};
use crate::{
    index::{Target, Which, find},
    list::{self, ListedVersion, Listing, Position, Summary},
    rows::{Failed, Never, Rows},
};

/// How many versions or uploads one step looks at.
const STEP: usize = list::LISTED_MAX;

/// A walk over one bucket: first its versions, then its unfinished uploads. It holds no more than a
/// place, and what it knows of the object there.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    phase: Phase,
    after: Option<Position>,
    object: Option<Object>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Versions,
    Uploads,
    Done,
}

/// The object whose versions are being walked over.
#[derive(Debug, Clone)]
struct Object {
    key: Bytes,
    /// When the version before was written.
    replaced: UnixMillis,
    /// How many versions that are not the newest came before.
    noncurrent: u32,
    /// Its newest version, as long as it is a delete marker and no other came.
    marker: Option<Summary>,
}

/// What one step comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is due.
    pub due: Vec<Due>,
    /// Whether the walk is over.
    pub done: bool,
}

/// What a step rests on.
struct Judge<'a, S> {
    source: &'a S,
    bucket: &'a BucketName,
    rules: &'a [LifecycleRule],
    now: UnixMillis,
}

impl Sweep {
    /// Looks at the next thousand versions or uploads.
    ///
    /// # Errors
    /// Refuses nothing; rows may be damaged, or not be readable. The step may then be tried again.
    pub fn step<S: Rows>(
        &mut self,
        source: &S,
        bucket: &BucketName,
        rules: &[LifecycleRule],
        now: UnixMillis,
    ) -> Result<Step, Failed<Never, S::Error>> {
        let judge = Judge { source, bucket, rules, now };
        let listing = Listing { after: self.after.clone(), max: STEP, ..Listing::default() };
        let mut next = self.clone();
        let mut due = Vec::new();
        match self.phase {
            Phase::Versions => {
                let page = list::versions(source, bucket, &listing)?;
                for version in page.entries {
                    next.version(&judge, version, &mut due)?;
                }
                next.turn(page.next, Phase::Uploads);
                if next.phase == Phase::Uploads {
                    due.extend(next.object.take().and_then(|object| judge.marker(object)));
                }
            }
            Phase::Uploads => {
                let page = list::uploads(source, bucket, &listing)?;
                for one in page.entries {
                    let rule = of_upload(rules, &one.key, &one.upload, now);
                    let key = one.key;
                    due.extend(rule.map(|rule| Due { key, what: What::Abort(one.id), rule }));
                }
                next.turn(page.next, Phase::Done);
            }
            Phase::Done => (),
        }
        *self = next;
        Ok(Step { due, done: self.phase == Phase::Done })
    }

    fn turn(&mut self, after: Option<Position>, phase: Phase) {
        if after.is_none() {
            self.phase = phase;
        }
        self.after = after;
    }

    fn version<S: Rows>(
        &mut self,
        judge: &Judge<'_, S>,
        version: ListedVersion,
        due: &mut Vec<Due>,
    ) -> Result<(), Failed<Never, S::Error>> {
        let ListedVersion { key, summary, .. } = version;
        let modified = summary.modified;
        match &mut self.object {
            Some(object) if object.key == key => {
                object.marker = None;
                let replaced = object.replaced;
                let about = Noncurrent { summary: &summary, replaced, newer: object.noncurrent };
                due.extend(judge.noncurrent(&key, about)?);
                object.noncurrent = object.noncurrent.saturating_add(1);
                object.replaced = modified;
            }
            _ => {
                due.extend(judge.newest(&key, &summary)?);
                let marker = summary.content.is_none().then_some(summary);
                let object = Object { key, replaced: modified, noncurrent: 0, marker };
                due.extend(self.object.replace(object).and_then(|last| judge.marker(last)));
            }
        }
        Ok(())
    }
}

impl<S: Rows> Judge<'_, S> {
    fn newest(
        &self,
        key: &Bytes,
        summary: &Summary,
    ) -> Result<Option<Due>, Failed<Never, S::Error>> {
        let Some(content) = &summary.content else { return Ok(None) };
        let due = |rule: &LifecycleRule| {
            let about = is_about(rule, key) && has_size(rule, content.bytes);
            expires(rule, summary.modified).filter(|at| about && *at <= self.now)
        };
        let what = What::Expire(summary.version);
        if let Some((_, rule)) =
            first(self.rules, |rule| due(rule).filter(|_| rule.tags.is_empty()))
        {
            return Ok(Some(Due { key: key.clone(), what, rule }));
        }
        if first(self.rules, due).is_none() {
            return Ok(None);
        }
        let tags = self.tags(key, Which::Newest)?;
        let tagged = first(self.rules, |rule| due(rule).filter(|_| tags.has_all(rule)));
        Ok(tagged.map(|(_, rule)| Due { key: key.clone(), what, rule }))
    }

    fn noncurrent(
        &self,
        key: &Bytes,
        version: Noncurrent<'_>,
    ) -> Result<Option<Due>, Failed<Never, S::Error>> {
        let Summary { version: id, versioned, .. } = *version.summary;
        let what = What::Remove { version: id, versioned };
        let plain = |rule: &LifecycleRule| rule.tags.is_empty();
        if let Some(rule) = of_noncurrent(self.rules, key, version, plain, self.now) {
            return Ok(Some(Due { key: key.clone(), what, rule }));
        }
        if of_noncurrent(self.rules, key, version, |_| true, self.now).is_none() {
            return Ok(None);
        }
        let which = if versioned { Which::Version(id) } else { Which::Null };
        let tags = self.tags(key, which)?;
        let tagged = |rule: &LifecycleRule| tags.has_all(rule);
        let rule = of_noncurrent(self.rules, key, version, tagged, self.now);
        Ok(rule.map(|rule| Due { key: key.clone(), what, rule }))
    }

    fn marker(&self, object: Object) -> Option<Due> {
        let marker = object.marker?;
        let rule = of_marker(self.rules, &object.key, &marker, self.now)?;
        let what = What::Remove { version: marker.version, versioned: marker.versioned };
        Some(Due { key: object.key, what, rule })
    }

    /// The tags of a version: its row is read whole only where a rule asks for them.
    fn tags(&self, key: &Bytes, which: Which) -> Result<Tags, Failed<Never, S::Error>> {
        let target = Target { bucket: self.bucket, versioning: Versioning::Off, key };
        let found = find(self.source, target, which)?;
        let content = found.record().and_then(|record| record.content.as_ref());
        Ok(Tags(content.map(|content| content.tags.clone())))
    }
}

/// The tags of a version that is still there.
struct Tags(Option<std::collections::BTreeMap<String, String>>);

impl Tags {
    fn has_all(&self, rule: &LifecycleRule) -> bool {
        let Some(tags) = &self.0 else { return false };
        rule.tags.iter().all(|(name, value)| tags.get(name) == Some(value))
    }
}
