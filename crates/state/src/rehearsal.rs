//! A transaction played through on rows of one moment, unseen by anybody else.
//!
//! Reads of a transaction must see its own earlier writes and nothing of anybody else. They are
//! answered here: each write is executed on a table of its own over some source of rows, and reads
//! see the source through what the writes have changed. The real writes are then submitted under a
//! guard on the keys; if the guard holds, they do exactly what was rehearsed.
//!
//! Nothing of a rehearsal is kept: its dots name an origin that does not exist.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use rhumb_types::{
    Hlc, OriginId, RegionId, UnixMillis,
    record::{Cell, Head, VersionVector},
};

use crate::{
    ClearedPrefixes, Draft, DraftContext, ReadSet, RowId, RowWrite, Table, TableLimits,
    op::{Op, SPACE},
    query::{CellScan, Choice, Query, QueryError, ScoreSpan, answer, lower},
    reply::Reply,
};

/// The table lives for one transaction, whose rows must all stay.
const UNLIMITED: TableLimits =
    TableLimits { rows_max: usize::MAX, bytes_max: usize::MAX, hash_seed: 0 };
/// The origin of what is only rehearsed.
const NOBODY: OriginId = OriginId(u64::MAX);

/// A transaction under rehearsal, over a source that stays as it is.
#[derive(Debug)]
pub struct Rehearsal<S> {
    now: UnixMillis,
    table: Table,
    draft: Draft,
    view: Changed<S>,
}

/// The source as the writes so far have changed it. Rows that are gone are vacant ones.
#[derive(Debug)]
struct Changed<S> {
    source: S,
    heads: BTreeMap<Bytes, Head>,
    members: BTreeMap<Bytes, BTreeMap<Bytes, Cell>>,
    /// Rows that came into the score indexes. Those that went are told by their cells.
    scores: BTreeMap<Bytes, BTreeSet<Scored>>,
    prefixes: Option<ClearedPrefixes>,
}

impl<S: CellScan> Rehearsal<S> {
    /// A rehearsal on a source whose rows reflect what was applied, at a time.
    #[must_use]
    pub fn new(source: S, applied: VersionVector, now: UnixMillis) -> Self {
        let mut table = Table::new(UNLIMITED);
        table.restore(0, applied.clone(), vec![(SPACE, source.prefixes().clone())]);
        let Ok(region) = RegionId::new("rehearsal") else { unreachable!("well-formed") };
        let context = DraftContext {
            origin: NOBODY,
            version: 1,
            timestamp: Hlc(u64::MAX),
            region,
            deps: applied,
        };
        let view = Changed {
            source,
            heads: BTreeMap::new(),
            members: BTreeMap::new(),
            scores: BTreeMap::new(),
            prefixes: None,
        };
        Self { now, table, draft: Draft::open(context), view }
    }

    /// Executes a write, where keys have a time to live unless it says otherwise. What is refused
    /// changes nothing and answers its error.
    ///
    /// # Errors
    /// When the source fails.
    pub fn write(
        &mut self,
        op: &Op,
        ttl: &dyn Fn(&Bytes) -> Option<Duration>,
    ) -> Result<Reply, S::Error> {
        let mut missing = Vec::new();
        op.rows(&mut |row| {
            if !self.table.has(row) {
                missing.push(RowId::from(row));
            }
        });
        let mut reads = ReadSet::default();
        for row in missing {
            self.view.read(row, &mut reads)?;
        }
        self.table.admit(reads);
        let done = crate::execute_with_ttl(op, self.now, ttl, &mut self.table, &mut self.draft);
        self.view.change(self.table.take_writes());
        Ok(done.unwrap_or_else(Reply::Error))
    }

    /// Answers a read.
    ///
    /// # Errors
    /// As [`answer`].
    pub fn read(&self, query: &Query) -> Result<Reply, QueryError<S::Error>> {
        answer(query, self.now, &self.view)
    }

    /// Chooses the members of a write that chooses them.
    ///
    /// # Errors
    /// As [`lower`].
    pub fn lower(&self, choice: &Choice) -> Result<Vec<Op>, QueryError<S::Error>> {
        lower(choice, self.now, &self.view)
    }
}

impl<S: CellScan> Changed<S> {
    /// Reads a row that no write has named so far.
    fn read(&self, row: RowId, reads: &mut ReadSet) -> Result<(), S::Error> {
        match row {
            RowId::Head(space, key) => {
                let head = self.source.head(&key)?;
                reads.heads.push((space, key, head));
            }
            RowId::Member(space, key, member) => {
                let cell = self.source.member(&key, &member)?;
                reads.members.push((space, key, member, cell));
            }
            RowId::Owned(_) => {}
        }
        Ok(())
    }

    fn change(&mut self, writes: Vec<RowWrite>) {
        for write in writes {
            match write {
                RowWrite::Head { key, head, .. } => {
                    self.heads.insert(key, head.unwrap_or_default());
                }
                RowWrite::Member { key, member, cell, .. } => {
                    let members = self.members.entry(key).or_default();
                    members.insert(member, cell.unwrap_or_default());
                }
                RowWrite::Score { key, score, member, present: true, .. } => {
                    self.scores.entry(key).or_default().insert(Scored(score, member));
                }
                RowWrite::Cleared { prefixes, .. } => self.prefixes = Some(prefixes),
                RowWrite::Score { .. }
                | RowWrite::Expiry { .. }
                | RowWrite::Owned(_)
                | RowWrite::OwnedDrop(_) => {}
            }
        }
    }
}

impl<S: CellScan> CellScan for Changed<S> {
    type Error = S::Error;

    fn head(&self, key: &[u8]) -> Result<Option<Head>, S::Error> {
        self.heads.get(key).map_or_else(|| self.source.head(key), |head| Ok(Some(head.clone())))
    }

    fn member(&self, key: &[u8], member: &[u8]) -> Result<Option<Cell>, S::Error> {
        let changed = self.members.get(key).and_then(|members| members.get(member));
        changed.map_or_else(|| self.source.member(key, member), |cell| Ok(Some(cell.clone())))
    }

    fn members(
        &self,
        key: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Cell)>, S::Error> {
        let rows = self.source.members(key, after, limit)?;
        let changed = self.members.get(key).into_iter().flatten();
        let changed = changed.filter(|(member, _)| after.is_none_or(|after| *member > after));
        let changed = changed.map(|(member, cell)| (member.clone(), cell.clone()));
        Ok(merged(changed, rows, limit, |one, other| one.0.cmp(&other.0)))
    }

    fn scores(&self, key: &[u8], span: &ScoreSpan) -> Result<Vec<(f64, Bytes)>, S::Error> {
        let order = |one: &(f64, Bytes), other: &(f64, Bytes)| {
            let order = one.0.total_cmp(&other.0).then_with(|| one.1.cmp(&other.1));
            if span.reverse { order.reverse() } else { order }
        };
        let rows = self.source.scores(key, span)?;
        let changed = self.scores.get(key).into_iter().flatten();
        let changed = changed.map(|Scored(score, member)| (*score, member.clone()));
        let changed = changed.filter(|row| {
            let follows = |after: &(f64, Bytes)| order(row, after) == Ordering::Greater;
            (span.min..=span.max).contains(&row.0) && span.after.as_ref().is_none_or(follows)
        });
        Ok(merged(changed, rows, span.limit, order))
    }

    fn keys(
        &self,
        prefix: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Head)>, S::Error> {
        let rows = self.source.keys(prefix, after, limit)?;
        let wanted = |key: &Bytes| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let changed = self.heads.iter().filter(|(key, _)| wanted(key));
        let changed = changed.map(|(key, head)| (key.clone(), head.clone()));
        Ok(merged(changed, rows, limit, |one, other| one.0.cmp(&other.0)))
    }

    fn prefixes(&self) -> &ClearedPrefixes {
        self.prefixes.as_ref().unwrap_or_else(|| self.source.prefixes())
    }
}

/// A page of the source with the changed rows that lie within it, each in place of its old one.
/// It may be longer than the limit, and is shorter only at the end.
fn merged<R: Clone>(
    changed: impl Iterator<Item = R>,
    rows: Vec<R>,
    limit: usize,
    order: impl Fn(&R, &R) -> Ordering,
) -> Vec<R> {
    let end = if rows.len() < limit { None } else { rows.last().cloned() };
    let within = |row: &R| end.as_ref().is_none_or(|end| order(row, end) != Ordering::Greater);
    let mut merged: Vec<R> = changed.filter(within).chain(rows).collect();
    // Stable, so that of a row the changed one comes first, and stays.
    merged.sort_by(&order);
    merged.dedup_by(|later, first| order(later, first) == Ordering::Equal);
    merged
}

/// A row of a score index, in its order.
#[derive(Clone, Debug)]
struct Scored(f64, Bytes);

impl Ord for Scored {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then_with(|| self.1.cmp(&other.1))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scored {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scored {}
