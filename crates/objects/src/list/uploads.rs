//! Unfinished uploads, by key and then by when they were begun.

use bytes::Bytes;
use rhumb_types::record::{BucketName, IndexKey, UploadRecord, VersionId};

use super::{
    Gathered, Listing, Page, Position,
    cursor::{Cursor, Kind},
};
use crate::rows::{Failed, Never, Rows, decoded};

/// An upload in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUpload {
    /// The key of the object to be.
    pub key: Bytes,
    /// Its id.
    pub id: VersionId,
    /// What is told of it.
    pub upload: UploadRecord,
}

/// Lists unfinished uploads.
///
/// # Errors
/// Refuses nothing; rows may be damaged, or not be readable.
pub fn uploads<S: Rows>(
    source: &S,
    bucket: &BucketName,
    listing: &Listing,
) -> Result<Page<ListedUpload>, Failed<Never, S::Error>> {
    let mut gathered = Gathered::new(listing);
    if gathered.max == 0 {
        return Ok(gathered.end());
    }
    let mut cursor = Cursor::new(source, Kind::Upload, bucket, listing);
    if let Some(after) = &listing.after {
        cursor.seek(after);
    }
    while let Some(row) = cursor.next()? {
        if gathered.is_full() {
            return Ok(gathered.cut());
        }
        if let Some(group) = listing.group(&row.key) {
            let group = Bytes::copy_from_slice(group);
            cursor.seek(&Position::Prefix(group.clone()));
            gathered.prefix(group);
            continue;
        }
        let id = match IndexKey::decode(&row.row) {
            Ok(IndexKey::Upload { upload, .. }) => upload,
            Ok(_) => continue,
            Err(source) => return Err(Failed::Damaged { row: row.row, source }),
        };
        let upload = decoded(&row.row, &row.bytes)?;
        let position = Position::Id { key: row.key.clone(), id };
        gathered.entry(ListedUpload { key: row.key, id, upload }, position);
    }
    Ok(gathered.end())
}
