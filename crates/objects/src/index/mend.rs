//! Making the newest version the newest again, after regions changed an object at a time.
//!
//! The cells of a row merge one by one. An upload here and a deletion of the newest version there can
//! leave an older one in `Current`, because the deletion put it there; or a version that was deleted.

use rhumb_types::record::{IndexKey, ObjectRecord};

use super::Target;
use crate::rows::{Change, Failed, Never, Row, Rows, decoded};

/// What makes `Current` the newest of the versions. Nothing for an object that has no versions.
///
/// A `null` that has no row of its own may be from before the bucket kept versions: it gets one, if it is
/// not the newest.
///
/// # Errors
/// Refuses nothing; rows may be damaged, or not be readable.
pub fn mend<S: Rows>(source: &S, target: Target<'_>) -> Result<Change, Failed<Never, S::Error>> {
    let current: Row<ObjectRecord> = Row::read(source, &target.current())?;
    let prefix = IndexKey::versions_of(target.bucket, target.key);
    let newest = source.rows(&prefix, None, 1).map_err(Failed::Rows)?.pop();
    let mut change = Change::default();
    let Some((key, bytes)) = newest else {
        // Its own row was deleted where it was not the newest.
        if current.record.as_ref().is_some_and(|record| record.versioned) {
            change.expect(&current);
            change.take(current.key);
        }
        return Ok(change);
    };
    let record: ObjectRecord = decoded(&key, &bytes)?;
    let stays = current.record.as_ref().is_some_and(|now| {
        let own = now.version == record.version && current.bytes.as_ref() == Some(&bytes);
        own || (!now.versioned && now.version > record.version)
    });
    if !stays {
        let id = record.version;
        let newest = Row { key, bytes: Some(bytes.clone()), record: Some(record) };
        change.expect(&current);
        change.expect(&newest);
        change.set(current.key, bytes);
        let set_aside = current.record.filter(|record| !record.versioned).zip(current.bytes);
        if let Some((null, bytes)) = set_aside.filter(|(null, _)| null.version != id) {
            change.set(target.version(null.version).encode(), bytes);
        }
    }
    Ok(change)
}
