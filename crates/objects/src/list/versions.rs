//! All versions of objects, the newest of each first, delete markers among them.
//!
//! Two ways through the index are walked side by side: `Current` rows say which version is the newest,
//! and are all there is of objects that were never versioned.

use bytes::Bytes;
use rhumb_types::record::{BucketName, CodecError, IndexKey, VersionId, Versioning};

use super::{
    Gathered, Listing, Page, Position, Summary,
    cursor::{Cursor, KeyedRow, Kind},
};
use crate::{
    index::{Target, Which, find},
    rows::{Failed, Never, Rows},
};

/// A version in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// The key of its object.
    pub key: Bytes,
    /// What is told of it.
    pub summary: Summary,
    /// Whether it is the newest.
    pub is_latest: bool,
}

/// Lists versions.
///
/// # Errors
/// Refuses nothing; rows may be damaged, or not be readable.
pub fn versions<S: Rows>(
    source: &S,
    bucket: &BucketName,
    listing: &Listing,
) -> Result<Page<ListedVersion>, Failed<Never, S::Error>> {
    let mut gathered = Gathered::new(listing);
    if gathered.max == 0 {
        return Ok(gathered.end());
    }
    let mut walk = Walk::new(source, bucket, listing)?;
    while let Some(key) = walk.key()? {
        if gathered.is_full() {
            return Ok(gathered.cut());
        }
        if let Some(group) = listing.group(&key) {
            let group = Bytes::copy_from_slice(group);
            let after = Position::Prefix(group.clone());
            walk.currents.seek(&after);
            walk.versions.seek(&after);
            gathered.prefix(group);
            continue;
        }
        if let Some(Placed { version, id }) = walk.next_of(&key)? {
            gathered.entry(version, Position::Id { key, id });
        }
    }
    Ok(gathered.end())
}

/// The place after a version that a client names: `null`, or an id.
///
/// # Errors
/// Refuses nothing; rows may be damaged, or not be readable.
pub fn after_version<S: Rows>(
    source: &S,
    bucket: &BucketName,
    key: Bytes,
    which: Which,
) -> Result<Position, Failed<Never, S::Error>> {
    let id = match which {
        Which::Newest => return Ok(Position::Key(key)),
        Which::Version(id) => Some(id),
        Which::Null => {
            let target = Target { bucket, versioning: Versioning::Off, key: &key };
            find(source, target, which)?.record().map(|record| record.version)
        }
    };
    Ok(id.map_or_else(|| Position::Key(key.clone()), |id| Position::Id { key: key.clone(), id }))
}

/// A version, and the id under which its row lies.
struct Placed {
    version: ListedVersion,
    id: VersionId,
}

/// Both ways through the index.
struct Walk<'a, S> {
    currents: Cursor<'a, S, Never>,
    versions: Cursor<'a, S, Never>,
    /// The object that is being listed, and the version of it that was listed first.
    object: Option<(Bytes, VersionId)>,
}

impl<'a, S: Rows> Walk<'a, S> {
    fn new(
        source: &'a S,
        bucket: &BucketName,
        listing: &Listing,
    ) -> Result<Self, Failed<Never, S::Error>> {
        let currents = Cursor::new(source, Kind::Current, bucket, listing);
        let versions = Cursor::new(source, Kind::Version, bucket, listing);
        let mut walk = Self { currents, versions, object: None };
        let Some(after) = &listing.after else { return Ok(walk) };
        let Position::Id { key, id } = after else {
            walk.currents.seek(after);
            walk.versions.seek(after);
            return Ok(walk);
        };
        walk.currents.seek(&Position::Key(key.clone()));
        let current = IndexKey::Current { bucket: bucket.clone(), key: key.clone() }.encode();
        let current = match source.row(&current).map_err(Failed::Rows)? {
            Some(bytes) => Some(decoded(&current, &bytes)?.version),
            None => None,
        };
        walk.object = current.map(|current| (key.clone(), current));
        // The newest was listed first, wherever its row lies among the versions.
        let from = if current == Some(*id) { Position::Before(key.clone()) } else { after.clone() };
        walk.versions.seek(&from);
        Ok(walk)
    }

    /// The key of the next version.
    fn key(&mut self) -> Result<Option<Bytes>, Failed<Never, S::Error>> {
        self.skip_listed()?;
        let current = self.currents.peek()?.map(|row| row.key.clone());
        let version = self.versions.peek()?.map(|row| row.key.clone());
        Ok(match (current, version) {
            (Some(current), Some(version)) => Some(current.min(version)),
            (current, version) => current.or(version),
        })
    }

    /// The row of a version that was listed first as the newest.
    fn skip_listed(&mut self) -> Result<(), Failed<Never, S::Error>> {
        let Some((key, first)) = &self.object else { return Ok(()) };
        let Some(row) = self.versions.peek()?.filter(|row| row.key == *key) else { return Ok(()) };
        if id_of(row)? == *first {
            self.versions.next()?;
        }
        Ok(())
    }

    /// The next version, which is of this key, and where its row lies.
    fn next_of(&mut self, key: &Bytes) -> Result<Option<Placed>, Failed<Never, S::Error>> {
        let is_latest = self.currents.peek()?.is_some_and(|row| row.key == *key);
        let row = if is_latest { self.currents.next()? } else { self.versions.next()? };
        let Some(row) = row else { return Ok(None) };
        let summary = decoded(&row.row, &row.bytes)?;
        let id = if is_latest { summary.version } else { id_of(&row)? };
        if is_latest {
            self.object = Some((key.clone(), id));
        }
        let version = ListedVersion { key: row.key, summary, is_latest };
        Ok(Some(Placed { version, id }))
    }
}

/// The id in the key of a `Version` row.
fn id_of<E>(row: &KeyedRow) -> Result<VersionId, Failed<Never, E>> {
    let source = match IndexKey::decode(&row.row) {
        Ok(IndexKey::Version { version, .. }) => return Ok(version),
        Ok(_) => CodecError::Damaged("the row is none of a version".to_owned()),
        Err(source) => source,
    };
    Err(Failed::Damaged { row: row.row.clone(), source })
}

fn decoded<E>(row: &Bytes, bytes: &[u8]) -> Result<Summary, Failed<Never, E>> {
    Summary::decode(bytes).map_err(|source| Failed::Damaged { row: row.clone(), source })
}
