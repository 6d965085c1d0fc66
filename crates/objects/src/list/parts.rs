//! The parts of an upload.

use rhumb_types::record::{IndexKey, PartRecord, VersionId};

use super::LISTED_MAX;
use crate::rows::{Failed, Never, Rows, decoded};

/// A part in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPart {
    /// Its number.
    pub number: u16,
    /// What is told of it.
    pub part: PartRecord,
}

/// Lists parts whose numbers are greater than `after`, and says whether there are more than `max`, of
/// which [`LISTED_MAX`] is the most. That there is such an upload is the caller's to know.
///
/// # Errors
/// Refuses nothing; rows may be damaged, or not be readable.
pub fn parts<S: Rows>(
    source: &S,
    upload: VersionId,
    after: u16,
    max: usize,
) -> Result<(Vec<ListedPart>, bool), Failed<Never, S::Error>> {
    let max = max.min(LISTED_MAX);
    if max == 0 {
        return Ok((Vec::new(), false));
    }
    let after = IndexKey::Part { upload, number: after }.encode();
    let rows =
        source.rows(&IndexKey::parts_of(upload), Some(&after), max + 1).map_err(Failed::Rows)?;
    let more = rows.len() > max;
    let mut parts = Vec::with_capacity(rows.len());
    for (key, bytes) in rows.into_iter().take(max) {
        match IndexKey::decode(&key) {
            Ok(IndexKey::Part { number, .. }) => {
                parts.push(ListedPart { number, part: decoded(&key, &bytes)? });
            }
            Ok(_) => (),
            Err(source) => return Err(Failed::Damaged { row: key, source }),
        }
    }
    Ok((parts, more))
}
