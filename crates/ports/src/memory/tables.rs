//! The tables of a store as ordered maps: the reference that other stores are compared with.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use rhumb_types::{
    Hlc, OriginId, UnixMillis,
    record::{Cell, Head, OwnedId, OwnedRow, Record, Space, VersionVector},
};

use crate::store::{
    Batch, LogExtent, MetaName, Range, ReadStore, Recovered, ScoreRange, StoreError, Write,
};

/// A score that orders: -0 and 0 are one, and NaN does not occur.
#[derive(Debug, Clone, Copy)]
struct Score(f64);

impl Score {
    fn new(score: f64) -> Self {
        Self(score + 0.0)
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Score {}
impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[derive(Debug, Clone)]
struct LogRows {
    extent: LogExtent,
    rows: BTreeMap<u64, Bytes>,
}

type Map<K, V> = Arc<BTreeMap<K, V>>;

/// Every table, at one commit. A clone shares what neither side changes.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    commit: u64,
    heads: Map<(Space, Bytes), Head>,
    members: Map<(Space, Bytes, Bytes), Cell>,
    scores: Map<(Space, Bytes, Score, Bytes), ()>,
    expiry: Map<(UnixMillis, Space, Bytes), ()>,
    logs: Map<OriginId, LogRows>,
    owned: Map<(u8, Bytes), OwnedRow>,
    conflicts: Map<u64, Bytes>,
    meta: Map<MetaName, Bytes>,
}

/// Puts a row, or takes it out.
fn set<K: Ord + Clone, V: Clone>(map: &mut Map<K, V>, key: K, value: Option<V>) {
    let map = Arc::make_mut(map);
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

impl Tables {
    /// Whether a batch can be applied.
    ///
    /// # Errors
    /// [`StoreError::Record`] when it would leave a gap in a log, or [`Write::check`] refuses a row.
    pub fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut extents: BTreeMap<OriginId, LogExtent> = BTreeMap::new();
        for write in &batch.writes {
            write.check()?;
            let (origin, starting) = match write {
                Write::Log { origin, version, .. } => (*origin, *version),
                Write::LogTrim { origin, .. } => (*origin, 1),
                _ => continue,
            };
            let extent = extents.entry(origin).or_insert_with(|| {
                let known = self.logs.get(&origin).map(|log| log.extent);
                known.unwrap_or_else(|| LogExtent::starting(origin, starting))
            });
            match write {
                Write::LogTrim { through, .. } => extent.trim(*through),
                _ => extent.append(starting)?,
            }
        }
        Ok(())
    }

    /// Applies a batch as the next commit.
    ///
    /// # Errors
    /// As [`Tables::check`]; nothing is changed then.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.check(batch)?;
        self.apply_checked(batch)
    }

    /// Applies a batch that was checked on top of all those before it.
    pub(super) fn apply_checked(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for write in &batch.writes {
            self.write(write)?;
        }
        self.commit += 1;
        Ok(())
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        match write.clone() {
            Write::Head { space, key, head } => set(&mut self.heads, (space, key), head),
            Write::Member { space, key, member, cell } => {
                set(&mut self.members, (space, key, member), cell);
            }
            Write::Score { space, key, score, member, present } => {
                set(
                    &mut self.scores,
                    (space, key, Score::new(score), member),
                    present.then_some(()),
                );
            }
            Write::Expiry { at, space, key, present } => {
                set(&mut self.expiry, (at, space, key), present.then_some(()));
            }
            Write::Log { origin, version, transaction } => {
                let log = self.log_rows(origin, version);
                log.extent.append(version)?;
                log.rows.insert(version, transaction);
            }
            Write::LogTrim { origin, through } => {
                let log = self.log_rows(origin, 1);
                log.extent.trim(through);
                log.rows = log.rows.split_off(&through.saturating_add(1));
            }
            Write::Owned(row) => {
                set(&mut self.owned, (row.id.table, row.id.key.clone()), Some(row));
            }
            Write::OwnedDrop(id) => set(&mut self.owned, (id.table, id.key), None),
            Write::Conflict { sequence, entry } => set(&mut self.conflicts, sequence, Some(entry)),
            Write::ConflictTrim { through } => {
                let conflicts = Arc::make_mut(&mut self.conflicts);
                *conflicts = conflicts.split_off(&through.saturating_add(1));
            }
            Write::Meta { name, value } => set(&mut self.meta, name, value),
        }
        Ok(())
    }

    fn log_rows(&mut self, origin: OriginId, starting: u64) -> &mut LogRows {
        let extent = LogExtent::starting(origin, starting);
        match Arc::make_mut(&mut self.logs).entry(origin) {
            btree_map::Entry::Occupied(log) => log.into_mut(),
            btree_map::Entry::Vacant(log) => log.insert(LogRows { extent, rows: BTreeMap::new() }),
        }
    }

    /// Loses a log's rows from a version on.
    pub(super) fn lose_log(&mut self, origin: OriginId, from: u64) {
        let log = self.log_rows(origin, from);
        log.rows.split_off(&from);
        log.extent.last = log.extent.last.min(from.saturating_sub(1));
    }

    /// What an open finds.
    #[must_use]
    pub fn recovered(&self) -> Recovered {
        let meta = |name| self.meta.get(&name);
        let applied = meta(MetaName::Applied)
            .and_then(|bytes| VersionVector::decode(bytes).ok())
            .unwrap_or_default();
        let ceiling = meta(MetaName::HlcCeiling)
            .and_then(|bytes| bytes.as_ref().try_into().ok())
            .map_or(Hlc(0), |bytes| Hlc(u64::from_be_bytes(bytes)));
        let extents: Vec<_> = self.logs.values().map(|log| log.extent).collect();
        Recovered::judge(applied, ceiling, &extents)
    }
}

/// The rows of a map after one, or from one on.
fn start<K: Clone>(after: Option<K>, first: K) -> Bound<K> {
    after.map_or(Bound::Included(first), Bound::Excluded)
}

impl ReadStore for Tables {
    fn commit_number(&self) -> u64 {
        self.commit
    }

    fn head(&self, space: Space, key: &[u8]) -> Result<Option<Head>, StoreError> {
        Ok(self.heads.get(&(space, Bytes::copy_from_slice(key))).cloned())
    }

    fn member(&self, space: Space, key: &[u8], member: &[u8]) -> Result<Option<Cell>, StoreError> {
        let row = (space, Bytes::copy_from_slice(key), Bytes::copy_from_slice(member));
        Ok(self.members.get(&row).cloned())
    }

    fn members(
        &self,
        space: Space,
        key: &[u8],
        range: Range<Bytes>,
    ) -> Result<Vec<(Bytes, Cell)>, StoreError> {
        let key = Bytes::copy_from_slice(key);
        let after = range.after.map(|member| (space, key.clone(), member));
        let rows = self
            .members
            .range((start(after, (space, key.clone(), Bytes::new())), Bound::Unbounded));
        Ok(rows
            .take_while(|((row_space, row_key, _), _)| *row_space == space && *row_key == key)
            .take(range.limit)
            .map(|((_, _, member), cell)| (member.clone(), cell.clone()))
            .collect())
    }

    fn scores(
        &self,
        space: Space,
        key: &[u8],
        range: ScoreRange,
    ) -> Result<Vec<(f64, Bytes)>, StoreError> {
        let key = Bytes::copy_from_slice(key);
        let (min, max) = (Score::new(range.min), Score::new(range.max));
        let after = range.after.map(|(score, member)| (Score::new(score), member));
        let wanted = |score: Score, member: &Bytes| {
            let beyond = after.as_ref().is_none_or(|(after_score, after_member)| {
                let order = (score, member).cmp(&(*after_score, after_member));
                if range.reverse { order.is_lt() } else { order.is_gt() }
            });
            beyond && min <= score && score <= max
        };
        let first = (space, key.clone(), Score(f64::NEG_INFINITY), Bytes::new());
        let rows = self
            .scores
            .range(first..)
            .map(|(row, ())| row)
            .take_while(|(row_space, row_key, _, _)| *row_space == space && *row_key == key)
            .filter(|(_, _, score, member)| wanted(*score, member))
            .map(|(_, _, score, member)| (score.0, member.clone()));
        let mut rows: Vec<_> = rows.collect();
        if range.reverse {
            rows.reverse();
        }
        rows.truncate(range.limit);
        Ok(rows)
    }

    fn keys(
        &self,
        space: Space,
        prefix: &[u8],
        range: Range<Bytes>,
    ) -> Result<Vec<(Bytes, Head)>, StoreError> {
        let prefix = Bytes::copy_from_slice(prefix);
        let after = range.after.filter(|after| *after >= prefix).map(|key| (space, key));
        let rows = self.heads.range((start(after, (space, prefix.clone())), Bound::Unbounded));
        Ok(rows
            .take_while(|((row_space, key), _)| *row_space == space && key.starts_with(&prefix))
            .take(range.limit)
            .map(|((_, key), head)| (key.clone(), head.clone()))
            .collect())
    }

    fn expired(
        &self,
        until: UnixMillis,
        limit: usize,
    ) -> Result<Vec<(UnixMillis, Space, Bytes)>, StoreError> {
        let rows = self.expiry.keys().take_while(|(at, _, _)| *at <= until);
        Ok(rows.take(limit).cloned().collect())
    }

    fn log(
        &self,
        origin: OriginId,
        after: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let Some(log) = self.logs.get(&origin) else { return Ok(Vec::new()) };
        let mut bytes = 0_usize;
        let rows = log.rows.range((Bound::Excluded(after), Bound::Unbounded));
        let rows = rows.take_while(|(_, row)| {
            let fits = bytes == 0 || bytes.saturating_add(row.len()) <= bytes_max;
            bytes = bytes.saturating_add(row.len().max(1));
            fits
        });
        Ok(rows.map(|(version, row)| (*version, row.clone())).collect())
    }

    fn owned(&self, id: &OwnedId) -> Result<Option<OwnedRow>, StoreError> {
        Ok(self.owned.get(&(id.table, id.key.clone())).cloned())
    }

    fn owned_rows(&self, table: u8, range: Range<Bytes>) -> Result<Vec<OwnedRow>, StoreError> {
        let after = range.after.map(|key| (table, key));
        let rows = self.owned.range((start(after, (table, Bytes::new())), Bound::Unbounded));
        Ok(rows
            .take_while(|((row_table, _), _)| *row_table == table)
            .take(range.limit)
            .map(|(_, row)| row.clone())
            .collect())
    }

    fn conflicts(&self, limit: usize) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let rows = self.conflicts.iter().rev().take(limit);
        Ok(rows.map(|(sequence, entry)| (*sequence, entry.clone())).collect())
    }

    fn meta(&self, name: &MetaName) -> Result<Option<Bytes>, StoreError> {
        Ok(self.meta.get(name).cloned())
    }
}
