//! Changing what is told of a version, without a new one.

use rhumb_types::record::{Content, ObjectRecord};

use super::{Refused, Target, Which, check_about, check_key, encoded, find::found, met};
use crate::{
    condition::Condition,
    rows::{Change, Failed, Row, Rows},
};

/// What an edit comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The version as it is now.
    pub record: ObjectRecord,
    /// What is to be done; nothing when it is as it was.
    pub change: Change,
}

/// Changes what is told of a version: its tags. Id, time and bytes stay.
///
/// # Errors
/// [`Refused`] when there is no such version, it is a delete marker, or has too much told of it.
pub fn edit<S: Rows>(
    source: &S,
    target: Target<'_>,
    which: Which,
    condition: &Condition,
    edit: impl FnOnce(&mut Content),
) -> Result<Edited, Failed<Refused, S::Error>> {
    check_key(target.key).map_err(Failed::Refused)?;
    let found = found(source, target, which)?;
    met(condition, found.record()).map_err(Failed::Refused)?;
    let absent = if which == Which::Newest { Refused::NoObject } else { Refused::NoVersion };
    let mut record = found.record().cloned().ok_or(Failed::Refused(absent))?;
    let content = record.content.as_mut().ok_or(Failed::Refused(Refused::Marker))?;
    edit(content);
    check_about(content).map_err(Failed::Refused)?;
    let bytes = encoded(&record).map_err(Failed::Refused)?;
    let mut change = Change::default();
    let held = found.older.as_ref().unwrap_or(&found.current);
    if held.bytes.as_ref() == Some(&bytes) {
        return Ok(Edited { record, change });
    }
    change.expect(&found.current);
    if let Some(older) = &found.older {
        change.expect(older);
        change.set(older.key.clone(), bytes);
        return Ok(Edited { record, change });
    }
    change.set(found.current.key.clone(), bytes.clone());
    // A `null` version may be without a row of its own.
    let own: Row<ObjectRecord> = Row::read(source, &target.version(record.version))?;
    if own.record.is_some() {
        change.set(own.key, bytes);
    }
    Ok(Edited { record, change })
}
