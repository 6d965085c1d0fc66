//! Deleting an object, or one of its versions.

use bytes::Bytes;
use rhumb_types::{
    planted::{self, Planted},
    record::{IndexKey, ObjectRecord, VersionId, Versioning},
};

use super::{
    NULLS_MAX, Refused, Target, Which, Writing, check_key, find::found, met, put, replace,
};
use crate::{
    condition::Condition,
    rows::{Change, Failed, Row, Rows, decoded},
};

/// What a deletion comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// The delete marker that was written.
    pub marker: Option<ObjectRecord>,
    /// What is gone for good: at most one version, and `null` versions that another region wrote
    /// at the same time.
    pub gone: Vec<ObjectRecord>,
    /// What is to be done; nothing when there was nothing to delete, which is no error.
    pub change: Change,
}

impl Deleted {
    /// What clients are told: the id of the version that was written or is gone (`None`: `null`),
    /// and whether it is a delete marker.
    #[must_use]
    pub fn told(&self) -> Option<(Option<VersionId>, bool)> {
        let record = self.marker.as_ref().or_else(|| self.gone.first())?;
        Some((record.versioned.then_some(record.version), record.content.is_none()))
    }
}

/// Deletes an object, or one of its versions. Without a version, a bucket that keeps versions gets a
/// delete marker, even where there was no object.
///
/// # Errors
/// [`Refused`] for a key or condition that is not as it must be.
pub fn delete<S: Rows>(
    source: &S,
    target: Target<'_>,
    which: Which,
    writing: Writing,
    condition: &Condition,
) -> Result<Deleted, Failed<Refused, S::Error>> {
    check_key(target.key).map_err(Failed::Refused)?;
    if which != Which::Newest {
        return delete_version(source, target, which, condition);
    }
    let current: Row<ObjectRecord> = Row::read(source, &target.current())?;
    let target = target.as_seen(&current);
    met(condition, current.record.as_ref()).map_err(Failed::Refused)?;
    let mut change = Change::default();
    if target.versioning == Versioning::Off {
        if current.record.is_some() {
            change.expect(&current);
            change.take(current.key);
        }
        return Ok(Deleted { marker: None, gone: current.record.into_iter().collect(), change });
    }
    let marker = put::record(target, &current, writing, None);
    if planted::is(Planted::DeleteAll) {
        let prefix = IndexKey::versions_of(target.bucket, target.key);
        let all = source.rows(&prefix, None, usize::MAX).map_err(Failed::Rows)?;
        all.into_iter().for_each(|(key, _)| change.take(key));
    }
    let gone = replace(source, target, &current, &marker, &mut change)?;
    Ok(Deleted { marker: Some(marker), gone: gone.into_iter().collect(), change })
}

fn delete_version<S: Rows>(
    source: &S,
    target: Target<'_>,
    which: Which,
    condition: &Condition,
) -> Result<Deleted, Failed<Refused, S::Error>> {
    let found = found(source, target, which)?;
    met(condition, found.record()).map_err(Failed::Refused)?;
    let mut deleted = Deleted::default();
    let change = &mut deleted.change;
    let Some(record) = found.record().cloned() else { return Ok(deleted) };
    // The newest is expected in any case: what is deleted here must not become it meanwhile.
    change.expect(&found.current);
    if let Some(older) = &found.older {
        change.expect(older);
    }
    change.take(target.version(record.version).encode());
    let mut taken = vec![target.version(record.version).encode()];
    deleted.gone.push(record);
    if which == Which::Null {
        for other in target.nulls(source, NULLS_MAX)? {
            if taken.contains(&other.key) {
                continue;
            }
            change.expect(&other);
            change.take(other.key.clone());
            taken.push(other.key);
            deleted.gone.extend(other.record);
        }
    }
    if found.is_current {
        let next = newest_but(source, target, &taken)?;
        if let Some(next) = &next {
            change.expect(next);
        }
        change.write.push((found.current.key, next.and_then(|row| row.bytes)));
    }
    Ok(deleted)
}

/// The newest of the versions that are none of these.
fn newest_but<S: Rows, R>(
    source: &S,
    target: Target<'_>,
    taken: &[Bytes],
) -> Result<Option<Row<ObjectRecord>>, Failed<R, S::Error>> {
    let prefix = IndexKey::versions_of(target.bucket, target.key);
    let page = source.rows(&prefix, None, taken.len() + 1).map_err(Failed::Rows)?;
    let Some((key, bytes)) = page.into_iter().find(|(key, _)| !taken.contains(key)) else {
        return Ok(None);
    };
    let record = decoded(&key, &bytes)?;
    Ok(Some(Row { key, bytes: Some(bytes), record: Some(record) }))
}
