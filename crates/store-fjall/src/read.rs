//! Reads, off the newest rows or off a snapshot.

use std::{
    ops::Bound,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use fjall::Readable;
use rhumb_ports::store::{MetaName, Range, ReadStore, ScoreRange, StoreError};
use rhumb_types::{
    OriginId, UnixMillis,
    record::{Cell, Head, OwnedId, OwnedRow, Space},
};

use crate::{
    commit::Places,
    error::store_error,
    keys::{self, KeyBuf},
    row::{self, Extent, Newest},
    tables::{Table, Tables},
};

/// What every reader of a store shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) tables: Tables,
    /// The newest commit that is visible.
    pub(crate) published: AtomicU64,
}

impl Shared {
    pub(crate) fn failed(&self, error: &fjall::Error) -> StoreError {
        store_error(&self.path, error)
    }
}

/// Where rows come from.
pub trait Rows: Send + Sync {
    /// The newest commit that every read includes.
    #[doc(hidden)]
    fn commit_number(&self, published: &AtomicU64) -> u64;
    /// One row.
    #[doc(hidden)]
    fn get(&self, table: &fjall::Keyspace, key: &[u8]) -> fjall::Result<Option<fjall::Slice>>;
    /// Rows between two bounds.
    #[doc(hidden)]
    fn range(&self, table: &fjall::Keyspace, bounds: Bounds) -> fjall::Iter;
}

/// A range of row keys.
#[doc(hidden)]
pub type Bounds = (Bound<KeyBuf>, Bound<KeyBuf>);

/// The newest rows, without a snapshot: a row is seen as soon as it is inserted, which for a
/// synced commit is after its fsync.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Direct;

impl Rows for Direct {
    fn commit_number(&self, published: &AtomicU64) -> u64 {
        published.load(Ordering::Acquire)
    }
    fn get(&self, table: &fjall::Keyspace, key: &[u8]) -> fjall::Result<Option<fjall::Slice>> {
        table.get(key)
    }
    fn range(&self, table: &fjall::Keyspace, bounds: Bounds) -> fjall::Iter {
        table.range(bounds)
    }
}

/// A snapshot's rows.
#[doc(hidden)]
pub struct Frozen {
    snapshot: fjall::Snapshot,
    number: u64,
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frozen").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Frozen {
    pub(crate) fn new(snapshot: fjall::Snapshot, shared: &Shared) -> Self {
        // What was published before is a lower bound in any case; the row inside tells exactly.
        let published = shared.published.load(Ordering::Acquire);
        let row = snapshot.get(shared.tables.get(Table::Meta), keys::commit());
        let newest = row.ok().flatten().and_then(|row| Newest::decode(&row));
        Self { snapshot, number: newest.map_or(published, |newest| newest.number) }
    }
}

impl Rows for Frozen {
    fn commit_number(&self, _published: &AtomicU64) -> u64 {
        self.number
    }
    fn get(&self, table: &fjall::Keyspace, key: &[u8]) -> fjall::Result<Option<fjall::Slice>> {
        self.snapshot.get(table, key)
    }
    fn range(&self, table: &fjall::Keyspace, bounds: Bounds) -> fjall::Iter {
        self.snapshot.range(table, bounds)
    }
}

/// Reads a store's records; see [`ReadStore`].
#[derive(Debug)]
pub struct Reader<R> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) rows: R,
}

impl<R: Rows> Reader<R> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if key.len() > keys::KEY_BYTES_MAX {
            return Ok(None);
        }
        let row = self.rows.get(self.shared.tables.get(table), key);
        Ok(row.map_err(|error| self.shared.failed(&error))?.map(Bytes::from))
    }

    /// Rows in order; from the last when `reverse`.
    pub(crate) fn rows(
        &self,
        table: Table,
        bounds: Bounds,
        reverse: bool,
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), StoreError>> + '_ {
        let bounds = clip(bounds);
        // A range that is empty by its bounds is no range to an ordered map.
        let iter =
            (!is_empty(&bounds)).then(|| self.rows.range(self.shared.tables.get(table), bounds));
        let mut iter = iter;
        std::iter::from_fn(move || {
            let iter = iter.as_mut()?;
            let row = if reverse { iter.next_back() } else { iter.next() }?.into_inner();
            Some(
                row.map(|(key, value)| (Bytes::from(key), Bytes::from(value)))
                    .map_err(|error| self.shared.failed(&error)),
            )
        })
    }

    pub(crate) fn extents(&self) -> Result<Vec<Extent>, StoreError> {
        self.rows(Table::Meta, within(KeyBuf::from_slice(&keys::EXTENTS), None), false)
            .map(|row| {
                let (key, value) = row?;
                let extent = keys::split_extent(&key).and_then(|o| Extent::decode(o, &value));
                extent.ok_or_else(|| StoreError::Record {
                    table: Table::Meta.name(),
                    reason: "a log's extent cannot be read".to_owned(),
                })
            })
            .collect()
    }

    /// Where the conflict journal has entries.
    pub(crate) fn conflict_places(&self) -> Result<Places, StoreError> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let row = self.rows(Table::Conflicts, all, false).next().transpose()?;
        let first = row.and_then(|(key, _)| keys::split_conflict(&key)).unwrap_or(u64::MAX);
        let last = self.conflicts(1)?.first().map_or(0, |(place, _)| *place);
        Ok(Places { first, last })
    }

    /// The lowest version that a log still keeps.
    fn log_first(&self, origin: OriginId) -> Result<Option<u64>, StoreError> {
        let row = self.get(Table::Meta, &keys::extent(origin))?;
        Ok(row.and_then(|row| Extent::decode(origin, &row)).map(|extent| extent.log.first))
    }
}

/// The same rows between bounds that fjall can hold. Of the keys that it can hold, none lies between
/// a longer one and the part of it that fits.
fn clip((from, to): Bounds) -> Bounds {
    let is_long = |key: &KeyBuf| key.len() > keys::KEY_BYTES_MAX;
    let fit = |mut key: KeyBuf| {
        key.truncate(keys::KEY_BYTES_MAX);
        key
    };
    let from = match from {
        Bound::Included(key) | Bound::Excluded(key) if is_long(&key) => Bound::Excluded(fit(key)),
        from => from,
    };
    let to = match to {
        Bound::Included(key) | Bound::Excluded(key) if is_long(&key) => Bound::Included(fit(key)),
        to => to,
    };
    (from, to)
}

fn is_empty((from, to): &Bounds) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

/// The rows that start with a prefix, after a row of them.
pub(crate) fn within(prefix: KeyBuf, after: Option<KeyBuf>) -> Bounds {
    let end = keys::after_prefix(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
    // A row before the prefix cuts nothing off.
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    (from, end)
}

impl<R: Rows> ReadStore for Reader<R> {
    fn commit_number(&self) -> u64 {
        self.rows.commit_number(&self.shared.published)
    }

    fn head(&self, space: Space, key: &[u8]) -> Result<Option<Head>, StoreError> {
        let row = self.get(Table::Heads, &keys::head(space, key))?;
        row.map(|row| row::decode(Table::Heads, &row)).transpose()
    }

    fn member(&self, space: Space, key: &[u8], member: &[u8]) -> Result<Option<Cell>, StoreError> {
        let row = self.get(Table::Members, &keys::member(space, key, member))?;
        row.map(|row| row::decode(Table::Members, &row)).transpose()
    }

    fn members(
        &self,
        space: Space,
        key: &[u8],
        range: Range<Bytes>,
    ) -> Result<Vec<(Bytes, Cell)>, StoreError> {
        let prefix = keys::members_of(space, key);
        let start = prefix.len();
        let after = range.after.map(|member| keys::member(space, key, &member));
        self.rows(Table::Members, within(prefix, after), false)
            .take(range.limit)
            .map(|row| {
                let (key, value) = row?;
                Ok((key.slice(start..), row::decode(Table::Members, &value)?))
            })
            .collect()
    }

    fn scores(
        &self,
        space: Space,
        key: &[u8],
        range: ScoreRange,
    ) -> Result<Vec<(f64, Bytes)>, StoreError> {
        let prefix = keys::members_of(space, key);
        let start = prefix.len();
        let mut from = Bound::Included(keys::score(space, key, range.min, b""));
        let highest = keys::score(space, key, range.max, b"");
        // Everything that starts with the highest score; +infinity has a successor too, for the
        // bits of a score are never all ones.
        let mut to = keys::after_prefix(&highest).map_or(Bound::Unbounded, Bound::Excluded);
        if let Some((score, member)) = range.after {
            let after = keys::score(space, key, score, &member);
            if range.reverse {
                to = lower(to, after);
            } else {
                from = higher(from, after);
            }
        }
        self.rows(Table::Scores, (from, to), range.reverse)
            .take(range.limit)
            .map(|row| {
                let (key, _) = row?;
                keys::split_score(&key, start).ok_or_else(|| StoreError::Record {
                    table: Table::Scores.name(),
                    reason: "a row's key is too short".to_owned(),
                })
            })
            .collect()
    }

    fn keys(
        &self,
        space: Space,
        prefix: &[u8],
        range: Range<Bytes>,
    ) -> Result<Vec<(Bytes, Head)>, StoreError> {
        let after = range.after.map(|key| keys::head(space, &key));
        self.rows(Table::Heads, within(keys::head(space, prefix), after), false)
            .take(range.limit)
            .map(|row| {
                let (key, value) = row?;
                Ok((key.slice(1..), row::decode(Table::Heads, &value)?))
            })
            .collect()
    }

    fn expired(
        &self,
        until: UnixMillis,
        limit: usize,
    ) -> Result<Vec<(UnixMillis, Space, Bytes)>, StoreError> {
        let end = until.0.checked_add(1).map(|end| KeyBuf::from_slice(&end.to_be_bytes()));
        let bounds = (Bound::Unbounded, end.map_or(Bound::Unbounded, Bound::Excluded));
        self.rows(Table::Expiry, bounds, false)
            .filter_map(|row| row.map(|(key, _)| keys::split_expiry(&key)).transpose())
            .take(limit)
            .collect()
    }

    fn log(
        &self,
        origin: OriginId,
        after: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let Some(first) = self.log_first(origin)? else { return Ok(Vec::new()) };
        let Some(from) = after.checked_add(1) else { return Ok(Vec::new()) };
        let from = Bound::Included(keys::log(origin, from.max(first)));
        let to = Bound::Included(keys::log(origin, u64::MAX));
        let mut read = Vec::new();
        let mut bytes = 0_usize;
        for row in self.rows(Table::Log, (from, to), false) {
            let (key, value) = row?;
            let Some((_, version)) = keys::split_log(&key) else { continue };
            let transaction = row::decode_log(origin, version, &value)?;
            if !read.is_empty() && bytes.saturating_add(transaction.len()) > bytes_max {
                break;
            }
            if let Some((last, _)) = read.last()
                && version != last + 1
            {
                return Err(StoreError::Record {
                    table: Table::Log.name(),
                    reason: format!("{origin} has a gap between {last} and {version}"),
                });
            }
            bytes = bytes.saturating_add(transaction.len().max(1));
            read.push((version, transaction));
        }
        Ok(read)
    }

    fn owned(&self, id: &OwnedId) -> Result<Option<OwnedRow>, StoreError> {
        let row = self.get(Table::Owned, &keys::owned(id.table, &id.key))?;
        row.map(|row| row::decode(Table::Owned, &row)).transpose()
    }

    fn owned_rows(&self, table: u8, range: Range<Bytes>) -> Result<Vec<OwnedRow>, StoreError> {
        let after = range.after.map(|key| keys::owned(table, &key));
        self.rows(Table::Owned, within(keys::owned(table, b""), after), false)
            .take(range.limit)
            .map(|row| row::decode(Table::Owned, &row?.1))
            .collect()
    }

    fn conflicts(&self, limit: usize) -> Result<Vec<(u64, Bytes)>, StoreError> {
        self.rows(Table::Conflicts, (Bound::Unbounded, Bound::Unbounded), true)
            .filter_map(|row| {
                row.map(|(key, value)| Some((keys::split_conflict(&key)?, value))).transpose()
            })
            .take(limit)
            .collect()
    }

    fn meta(&self, name: &MetaName) -> Result<Option<Bytes>, StoreError> {
        self.get(Table::Meta, &keys::meta(name))
    }
}

/// The higher of a lower bound and "after a row".
fn higher(from: Bound<KeyBuf>, after: KeyBuf) -> Bound<KeyBuf> {
    match from {
        Bound::Included(from) if from > after => Bound::Included(from),
        _ => Bound::Excluded(after),
    }
}

/// The lower of an upper bound and "before a row".
fn lower(to: Bound<KeyBuf>, before: KeyBuf) -> Bound<KeyBuf> {
    match to {
        Bound::Excluded(to) if to < before => Bound::Excluded(to),
        _ => Bound::Excluded(before),
    }
}
