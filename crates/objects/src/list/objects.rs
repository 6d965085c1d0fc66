//! Objects: the newest versions that are no delete markers.

use bytes::Bytes;
use rhumb_types::record::BucketName;

use super::{
    Gathered, HIDDEN_ROWS_MAX, ListedObject, Listing, Page, Position, Summary,
    cursor::{Cursor, Kind},
};
use crate::rows::{Failed, Never, Rows};

/// Lists objects. A page with fewer entries than asked for is not the last when it says where the next
/// begins.
///
/// # Errors
/// Refuses nothing; rows may be damaged, or not be readable.
pub fn objects<S: Rows>(
    source: &S,
    bucket: &BucketName,
    listing: &Listing,
) -> Result<Page<ListedObject>, Failed<Never, S::Error>> {
    let mut gathered = Gathered::new(listing);
    if gathered.max == 0 {
        return Ok(gathered.end());
    }
    let mut cursor = Cursor::new(source, Kind::Current, bucket, listing);
    if let Some(after) = &listing.after {
        cursor.seek(after);
    }
    let mut hidden = 0;
    while let Some(row) = cursor.next()? {
        let summary = Summary::decode(&row.bytes)
            .map_err(|source| Failed::Damaged { row: row.row.clone(), source })?;
        let group = listing.group(&row.key);
        if summary.content.is_none() {
            hidden += 1;
            // A key that is its own common prefix would, as a marker, stand for all of it.
            if hidden >= HIDDEN_ROWS_MAX && group != Some(&row.key) {
                gathered.last = Some(Position::Key(row.key));
                return Ok(gathered.cut());
            }
            continue;
        }
        if gathered.is_full() {
            return Ok(gathered.cut());
        }
        if let Some(group) = group {
            let group = Bytes::copy_from_slice(group);
            cursor.seek(&Position::Prefix(group.clone()));
            gathered.prefix(group);
        } else {
            let position = Position::Key(row.key.clone());
            gathered.entry(ListedObject { key: row.key, summary }, position);
        }
    }
    Ok(gathered.end())
}
