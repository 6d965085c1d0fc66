//! Reading a range of keys whole: what a snapshot is made of.

use bytes::Bytes;
use rhumb_ports::{
    peer::SnapshotKey,
    store::{MetaName, Range, ReadStore, StoreError},
};
use rhumb_state::ClearedPrefixes;
use rhumb_types::record::{OwnedRow, Record, Space, VersionVector};

use crate::{event::SnapshotPart, limits::SNAPSHOT_CHUNK_BYTES_MAX};

/// Spaces in the order in which snapshots go through them.
const SPACES: [Space; 3] = Space::ALL;
/// Heads or members read at a time.
const PAGE_ROWS: usize = 256;
/// Tables of owned rows, as many as a byte can name.
const TABLES: std::ops::RangeInclusive<u8> = 0..=u8::MAX;

/// Reads the keys after one: up to a given one (`Some`), or until the part is large enough
/// (`None`), in which case the part says where it ends.
///
/// # Errors
/// [`StoreError`] when the store fails.
pub fn read(
    store: &dyn ReadStore,
    transfer: u64,
    after: Option<(Space, Bytes)>,
    bound: Option<Option<(Space, Bytes)>>,
) -> Result<SnapshotPart, StoreError> {
    let mut part = SnapshotPart {
        transfer,
        vector: applied(store)?,
        after: after.clone(),
        ..SnapshotPart::default()
    };
    let through = bound.clone().flatten();
    let bytes_max = if bound.is_some() { usize::MAX } else { SNAPSHOT_CHUNK_BYTES_MAX };
    let mut bytes = 0;
    let mut cursor = after;
    while let Some((space, heads)) = next_page(store, cursor.as_ref())? {
        let cleared = cleared(store, space)?;
        for (key, mut head) in heads {
            cleared.settle(&key, &mut head);
            let place = (space, key.clone());
            if through.as_ref().is_some_and(|end| place > *end) {
                return Ok(part);
            }
            let members = members(store, space, &key)?;
            bytes +=
                key.len() + 64 + members.iter().map(|(name, _)| name.len() + 64).sum::<usize>();
            part.keys.push(SnapshotKey { space, key, head, members });
            cursor = Some(place);
            if bytes >= bytes_max {
                part.through = cursor;
                return Ok(part);
            }
        }
    }
    part.through = through;
    if part.through.is_none() {
        part.owned = owned(store)?;
    }
    Ok(part)
}

fn applied(store: &dyn ReadStore) -> Result<VersionVector, StoreError> {
    let Some(bytes) = store.meta(&MetaName::Applied)? else { return Ok(VersionVector::new()) };
    VersionVector::decode(&bytes)
        .map_err(|error| StoreError::Record { table: "meta", reason: error.to_string() })
}

/// Removals of ranges that the sweep has not yet carried out on the heads.
fn cleared(store: &dyn ReadStore, space: Space) -> Result<ClearedPrefixes, StoreError> {
    let Some(bytes) = store.meta(&MetaName::Cleared(space))? else {
        return Ok(ClearedPrefixes::default());
    };
    ClearedPrefixes::decode(&bytes)
        .map_err(|error| StoreError::Record { table: "meta", reason: error.to_string() })
}

type Page = (Space, Vec<(Bytes, rhumb_types::record::Head)>);

/// The next heads after a place, from the first space that has any.
fn next_page(
    store: &dyn ReadStore,
    after: Option<&(Space, Bytes)>,
) -> Result<Option<Page>, StoreError> {
    for space in SPACES {
        let after = match after {
            Some((at, _)) if space < *at => continue,
            Some((at, key)) if space == *at => Some(key.clone()),
            _ => None,
        };
        let heads = store.keys(space, b"", Range { after, limit: PAGE_ROWS })?;
        if !heads.is_empty() {
            return Ok(Some((space, heads)));
        }
    }
    Ok(None)
}

fn members(
    store: &dyn ReadStore,
    space: Space,
    key: &[u8],
) -> Result<Vec<(Bytes, rhumb_types::record::Cell)>, StoreError> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|(member, _): &(Bytes, _)| member.clone());
        let page = store.members(space, key, Range { after, limit: PAGE_ROWS })?;
        let last = page.len() < PAGE_ROWS;
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

fn owned(store: &dyn ReadStore) -> Result<Vec<OwnedRow>, StoreError> {
    let mut all = Vec::new();
    for table in TABLES {
        let mut after = None;
        loop {
            let page = store.owned_rows(table, Range { after, limit: PAGE_ROWS })?;
            after = page.last().map(|row| row.id.key.clone());
            let last = page.len() < PAGE_ROWS;
            all.extend(page);
            if last {
                break;
            }
        }
    }
    Ok(all)
}
