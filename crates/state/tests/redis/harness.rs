//! One region that writes and one that follows, each with a table over rows in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    ops::Bound,
};

use bytes::Bytes;
use rhumb_state::{
    CellScan, Choice, ClearedPrefixes, ConflictSink, Draft, DraftContext, Op, OpError, Query,
    QueryError, ReadSet, Rehearsal, Reply, RowId, RowWrite, Table, TableLimits, answer, apply,
    execute, lower, query::ScoreSpan, rows_of,
};
use rhumb_types::{
    Hlc, OriginId, RegionId, UnixMillis,
    record::{Cell, Head, Transaction, VersionVector},
};

/// So few that rows are evicted and fetched again all the time.
const ROWS_MAX: usize = 24;
const START: UnixMillis = UnixMillis(1_000_000);

pub(crate) type Outcome = Result<Reply, OpError>;

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Rows as a store holds them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    commit: u64,
    heads: BTreeMap<Bytes, Head>,
    members: BTreeMap<(Bytes, Bytes), Cell>,
    scores: BTreeSet<(Bytes, u64, Bytes)>,
    prefixes: ClearedPrefixes,
}

/// A number that sorts as a score does.
fn rank(score: f64) -> u64 {
    let bits = score.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

fn score_of(rank: u64) -> f64 {
    f64::from_bits(if rank >> 63 == 0 { !rank } else { rank & !(1 << 63) })
}

impl Rows {
    fn commit(&mut self, writes: Vec<RowWrite>) -> u64 {
        self.commit += 1;
        for write in writes {
            match write {
                RowWrite::Head { key, head, .. } => {
                    match head {
                        Some(head) => self.heads.insert(key, head),
                        None => self.heads.remove(&key),
                    };
                }
                RowWrite::Member { key, member, cell, .. } => {
                    match cell {
                        Some(cell) => self.members.insert((key, member), cell),
                        None => self.members.remove(&(key, member)),
                    };
                }
                RowWrite::Score { key, score, member, present, .. } => {
                    let row = (key, rank(score), member);
                    if present {
                        self.scores.insert(row)
                    } else {
                        self.scores.remove(&row)
                    };
                }
                RowWrite::Cleared { prefixes, .. } => self.prefixes = prefixes,
                RowWrite::Expiry { .. } | RowWrite::Owned(_) | RowWrite::OwnedDrop(_) => {}
            }
        }
        self.commit
    }

    fn read(&self, ids: impl Iterator<Item = RowId>) -> ReadSet {
        let mut reads = ReadSet { commit: self.commit, ..ReadSet::default() };
        for id in ids {
            match id {
                RowId::Head(space, key) => {
                    let head = self.heads.get(&key).cloned();
                    reads.heads.push((space, key, head));
                }
                RowId::Member(space, key, member) => {
                    let cell = self.members.get(&(key.clone(), member.clone())).cloned();
                    reads.members.push((space, key, member, cell));
                }
                RowId::Owned(id) => reads.owned.push((id, None)),
            }
        }
        reads
    }
}

impl CellScan for Rows {
    type Error = Infallible;

    fn head(&self, key: &[u8]) -> Result<Option<Head>, Infallible> {
        Ok(self.heads.get(key).cloned())
    }

    fn member(&self, key: &[u8], member: &[u8]) -> Result<Option<Cell>, Infallible> {
        let id = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(member));
        Ok(self.members.get(&id).cloned())
    }

    fn members(
        &self,
        key: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Cell)>, Infallible> {
        let key = Bytes::copy_from_slice(key);
        let start = match after {
            Some(after) => Bound::Excluded((key.clone(), after.clone())),
            None => Bound::Included((key.clone(), Bytes::new())),
        };
        let rows = self.members.range((start, Bound::Unbounded));
        let rows = rows.take_while(|((other, _), _)| *other == key).take(limit);
        Ok(rows.map(|((_, member), cell)| (member.clone(), cell.clone())).collect())
    }

    fn scores(&self, key: &[u8], span: &ScoreSpan) -> Result<Vec<(f64, Bytes)>, Infallible> {
        let inside = |score: f64| score >= span.min && score <= span.max;
        let mut rows: Vec<(u64, Bytes)> = self
            .scores
            .iter()
            .filter(|(other, rank, _)| other.as_ref() == key && inside(score_of(*rank)))
            .map(|(_, rank, member)| (*rank, member.clone()))
            .collect();
        if span.reverse {
            rows.reverse();
        }
        let after = span.after.as_ref().map(|(score, member)| (rank(*score), member.clone()));
        let is_later = |row: &(u64, Bytes)| {
            after.as_ref().is_none_or(|after| if span.reverse { row < after } else { row > after })
        };
        let rows = rows.into_iter().filter(is_later).take(span.limit);
        Ok(rows.map(|(rank, member)| (score_of(rank), member)).collect())
    }

    fn keys(
        &self,
        prefix: &[u8],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Head)>, Infallible> {
        let rows = self
            .heads
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| *key > after));
        Ok(rows.take(limit).map(|(key, head)| (key.clone(), head.clone())).collect())
    }

    fn prefixes(&self) -> &ClearedPrefixes {
        &self.prefixes
    }
}

/// One region: a table over rows, and a log of its own.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) now: UnixMillis,
    origin: OriginId,
    applied: VersionVector,
    table: Table,
    rows: Rows,
}

impl Region {
    pub(crate) fn new(origin: u64) -> Self {
        let limits = TableLimits { rows_max: ROWS_MAX, ..TableLimits::default() };
        Self {
            now: START,
            origin: OriginId(origin << 16),
            applied: VersionVector::new(),
            table: Table::new(limits),
            rows: Rows::default(),
        }
    }

    /// Executes operations as one transaction.
    pub(crate) fn batch(&mut self, ops: &[Op]) -> (Vec<Outcome>, Option<Transaction>) {
        let mut deps = self.applied.clone();
        deps.remove(self.origin);
        let version = self.applied.get(self.origin) + 1;
        let mut draft = Draft::open(DraftContext {
            origin: self.origin,
            version,
            timestamp: Hlc(Hlc::from_millis(self.now).0 + version),
            region: RegionId::new("here").unwrap(),
            deps,
        });
        let replies = ops.iter().map(|op| self.execute(op, &mut draft)).collect();
        let transaction = draft.finish();
        if transaction.is_some() {
            self.applied.raise(self.origin, version);
            self.commit();
        }
        (replies, transaction)
    }

    fn execute(&mut self, op: &Op, draft: &mut Draft) -> Outcome {
        let first = execute(op, self.now, &mut self.table, draft);
        let Err(OpError::Missing(_)) = first else { return first };
        let mut ids = Vec::new();
        op.rows(&mut |row| ids.push(RowId::from(row)));
        // What the open draft has changed stays in the table, so the store's rows are not older.
        self.table.admit(self.rows.read(ids.into_iter()));
        execute(op, self.now, &mut self.table, draft)
    }

    /// Executes operations that must succeed.
    pub(crate) fn write(&mut self, ops: &[Op]) -> Transaction {
        let (replies, transaction) = self.batch(ops);
        assert!(replies.iter().all(Result::is_ok), "{replies:?}");
        transaction.unwrap()
    }

    pub(crate) fn apply(&mut self, transaction: &Transaction) {
        let mut conflicts = ConflictSink::resume(0);
        self.table.admit(self.rows.read(rows_of(transaction).map(RowId::from)));
        apply(transaction, &mut self.table, &mut conflicts).unwrap();
        self.applied.raise(transaction.origin, transaction.version);
        self.commit();
    }

    /// What is stored of a key itself.
    pub(crate) fn cell(&self, key: &str) -> Cell {
        self.rows.heads.get(&bytes(key)).map(|head| head.cell.clone()).unwrap_or_default()
    }

    pub(crate) fn ask(&self, query: &Query) -> Result<Reply, QueryError<Infallible>> {
        answer(query, self.now, &self.rows)
    }

    fn commit(&mut self) {
        let writes = self.table.take_writes();
        let commit = self.rows.commit(writes);
        self.table.committed(commit);
    }
}

/// A database in two regions: one writes, the other follows.
#[derive(Debug)]
pub(crate) struct Db {
    writer: Region,
    follower: Region,
}

impl Db {
    pub(crate) fn new() -> Self {
        Self { writer: Region::new(1), follower: Region::new(2) }
    }

    pub(crate) const fn now(&self) -> UnixMillis {
        self.writer.now
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.writer.now.0 += ms;
        self.follower.now.0 += ms;
    }

    /// Executes operations as one batch.
    pub(crate) fn batch(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let (replies, transaction) = self.writer.batch(ops);
        if let Some(transaction) = transaction {
            self.follower.apply(&transaction);
        }
        replies
    }

    pub(crate) fn run(&mut self, op: Op) -> Outcome {
        self.batch(&[op]).remove(0)
    }

    /// A transaction that nobody else sees, on what is committed.
    pub(crate) fn rehearsal(&self) -> Rehearsal<Rows> {
        Rehearsal::new(self.writer.rows.clone(), self.writer.applied.clone(), self.now())
    }

    pub(crate) fn lower(&self, choice: &Choice) -> Vec<Op> {
        lower(choice, self.now(), &self.writer.rows).unwrap()
    }

    pub(crate) fn choose(&mut self, choice: &Choice) -> Vec<Outcome> {
        let ops = self.lower(choice);
        self.batch(&ops)
    }

    /// Answers a query in both regions, which must agree.
    pub(crate) fn ask(&self, query: Query) -> Result<Reply, QueryError<Infallible>> {
        let here = self.writer.ask(&query);
        assert_eq!(here, self.follower.ask(&query), "{query:?}");
        here
    }

    pub(crate) fn read(&self, query: Query) -> Reply {
        self.ask(query).unwrap()
    }

    /// Leaves a row in the score index that no member bears out.
    pub(crate) fn plant_stale_score(&mut self, key: &str, score: f64, member: &str) {
        for region in [&mut self.writer, &mut self.follower] {
            region.rows.scores.insert((bytes(key), rank(score), bytes(member)));
        }
    }
}
