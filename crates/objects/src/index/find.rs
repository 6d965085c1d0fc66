//! Finding a version of an object.

use bytes::Bytes;
use rhumb_types::{
    ErrorCode,
    record::{ObjectRecord, VersionId},
};

use super::{Target, Which};
use crate::rows::{Failed, Never, Refusal, Row, Rows};

/// A version that was found, with the row or rows that hold it.
#[derive(Debug)]
pub struct Found {
    /// The newest version, whichever was asked for.
    pub(super) current: Row<ObjectRecord>,
    /// What was asked for, if it is another than the newest.
    pub(super) older: Option<Row<ObjectRecord>>,
    pub(super) is_current: bool,
}

/// Why a version cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadRefused {
    /// There is no such object.
    #[error("there is no such object")]
    NoKey,
    /// There is no such version of it.
    #[error("there is no such version")]
    NoVersion,
    /// The newest version is a delete marker: as if there were no object.
    #[error("the object was deleted")]
    Deleted {
        /// The marker's id; `None` for `null`.
        marker: Option<VersionId>,
    },
    /// The version that was asked for is a delete marker, which holds nothing.
    #[error("the version is a delete marker")]
    Marker {
        /// The marker's id; `None` for `null`.
        marker: Option<VersionId>,
    },
}

impl Refusal for ReadRefused {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoKey | Self::NoVersion | Self::Deleted { .. } => ErrorCode::NotFound,
            // S3 answers 405.
            Self::Marker { .. } => ErrorCode::Conflict,
        }
    }
}

impl Found {
    /// The version, a delete marker too; `None` when there is none.
    #[must_use]
    pub fn record(&self) -> Option<&ObjectRecord> {
        if self.is_current {
            return self.current.record.as_ref();
        }
        self.older.as_ref().and_then(|row| row.record.as_ref())
    }

    /// The rows that it was found in, as a change may expect them.
    pub(crate) fn expected(&self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> + '_ {
        let rows = [Some(&self.current), self.older.as_ref()];
        rows.into_iter().flatten().map(|row| (row.key.clone(), row.bytes.clone()))
    }

    /// Whether it is the newest.
    #[must_use]
    pub const fn is_current(&self) -> bool {
        self.is_current
    }

    /// The version as an object that can be read.
    ///
    /// # Errors
    /// [`ReadRefused`] when there is none, or it is a delete marker.
    pub fn object(self, which: Which) -> Result<ObjectRecord, ReadRefused> {
        let row = if self.is_current { Some(self.current) } else { self.older };
        let newest = which == Which::Newest;
        let absent = if newest { ReadRefused::NoKey } else { ReadRefused::NoVersion };
        let record = row.and_then(|row| row.record).ok_or(absent)?;
        if record.content.is_some() {
            return Ok(record);
        }
        let marker = record.versioned.then_some(record.version);
        Err(if newest { ReadRefused::Deleted { marker } } else { ReadRefused::Marker { marker } })
    }
}

/// Finds a version.
///
/// # Errors
/// Refuses nothing; rows may be damaged, or not be readable.
pub fn find<S: Rows>(
    source: &S,
    target: Target<'_>,
    which: Which,
) -> Result<Found, Failed<Never, S::Error>> {
    found(source, target, which)
}

pub(super) fn found<S: Rows, R>(
    source: &S,
    target: Target<'_>,
    which: Which,
) -> Result<Found, Failed<R, S::Error>> {
    let current: Row<ObjectRecord> = Row::read(source, &target.current())?;
    let is_current = current.record.as_ref().is_some_and(|record| which.is(record));
    if is_current || which == Which::Newest {
        return Ok(Found { current, older: None, is_current });
    }
    let older = match which {
        Which::Version(id) => {
            let row = Row::read(source, &target.version(id))?;
            row.record.as_ref().is_some_and(|record| which.is(record)).then_some(row)
        }
        _ => target.null(source)?,
    };
    Ok(Found { current, older, is_current: false })
}
