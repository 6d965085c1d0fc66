//! A region: a table over a store, a draft, a log, and operations like those of a server.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rhumb_state::{
    ConflictSink, Draft, DraftContext, KeyRows, KeyType, Missing, ReadSet, Readiness, RowId,
    RowRef, RowWrite, Stability, SweepProgress, Table, TableLimits, apply, readiness, rows_of,
    visible,
};
use rhumb_types::{
    Hlc, OriginId, RegionId, UnixMillis,
    record::{Amount, Cell, CellId, Dot, Field, Kind, Space, Transaction, Value, VersionVector},
};

use crate::store::MemoryStore;

pub(crate) const KEYS: [&str; 3] = ["a:1", "a:2", "b:1"];
pub(crate) const MEMBERS: [&str; 4] = ["m1", "m2", "m3", "m4"];
pub(crate) const SPACE: Space = Space::USER;

/// What a user may do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Set {
        key: usize,
        value: &'static str,
        expiry: Option<u64>,
    },
    Incr {
        key: usize,
        by: i64,
    },
    Expire {
        key: usize,
        at: Option<u64>,
    },
    Del {
        key: usize,
    },
    /// DEL member by member, as for small collections.
    DelEach {
        key: usize,
    },
    Hset {
        key: usize,
        member: usize,
        value: &'static str,
    },
    Hincr {
        key: usize,
        member: usize,
        by: i64,
    },
    Sadd {
        key: usize,
        member: usize,
    },
    Zadd {
        key: usize,
        member: usize,
        score: f64,
    },
    Zincr {
        key: usize,
        member: usize,
        by: f64,
    },
    Drop {
        key: usize,
        member: usize,
    },
    Flush {
        prefix: &'static str,
    },
}

/// What can be seen of a cell, entries in full, so that two regions that show the same also go on
/// alike.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct CellView {
    pub(crate) entries: Vec<(Dot, Value, Option<UnixMillis>)>,
    pub(crate) additions: Option<Amount>,
}

impl CellView {
    pub(crate) fn of(cell: &Cell) -> Self {
        let entries = cell.entries.iter();
        Self {
            entries: entries.map(|e| (e.dot, e.value.clone(), e.expiry)).collect(),
            additions: visible::additions(cell),
        }
    }

    pub(crate) fn is_vacant(&self) -> bool {
        self.entries.is_empty() && self.additions.is_none()
    }
}

/// All cells that hold anything.
pub(crate) type View = BTreeMap<CellId, CellView>;

pub(crate) fn key(at: usize) -> Bytes {
    Bytes::from_static(KEYS[at % KEYS.len()].as_bytes())
}

pub(crate) fn member(at: usize) -> Bytes {
    Bytes::from_static(MEMBERS[at % MEMBERS.len()].as_bytes())
}

pub(crate) struct Region {
    pub(crate) origin: OriginId,
    pub(crate) table: Table,
    pub(crate) store: MemoryStore,
    pub(crate) applied: VersionVector,
    pub(crate) conflicts: ConflictSink,
    pub(crate) stability: Stability,
    pub(crate) misses: usize,
    draft: Option<Draft>,
    /// Takes that have not reached the store.
    on_the_way: VecDeque<Vec<RowWrite>>,
    /// A read set that arrives late.
    pub(crate) late: Option<ReadSet>,
    sweep_after: BTreeMap<Bytes, Option<Bytes>>,
    prefix_after: BTreeMap<Bytes, Option<Bytes>>,
}

impl Region {
    pub(crate) fn new(origin: u64, rows_max: usize) -> Self {
        let limits = TableLimits { rows_max, bytes_max: usize::MAX, hash_seed: origin };
        Self {
            origin: OriginId(origin << 16),
            table: Table::new(limits),
            store: MemoryStore::default(),
            applied: VersionVector::new(),
            conflicts: ConflictSink::default(),
            stability: Stability::default(),
            misses: 0,
            draft: None,
            on_the_way: VecDeque::new(),
            late: None,
            sweep_after: BTreeMap::new(),
            prefix_after: BTreeMap::new(),
        }
    }

    /// A region that starts from rows that were merged, as a bootstrap writes them.
    pub(crate) fn from_rows(
        origin: u64,
        rows: &BTreeMap<Bytes, KeyRows>,
        applied: VersionVector,
    ) -> Self {
        let mut region = Self::new(origin, 1_000);
        let mut writes = Vec::new();
        for (key, rows) in rows {
            let head = Some(rows.head_row(0)).filter(|head| !head.is_vacant());
            for at in head.iter().filter_map(|head| visible::expiry(&head.cell)) {
                let key = key.clone();
                writes.push(RowWrite::Expiry { at, space: SPACE, key, present: true });
            }
            writes.push(RowWrite::Head { space: SPACE, key: key.clone(), head });
            for (member, cell) in &rows.members {
                let (key, member) = (key.clone(), member.clone());
                if let Some(score) = visible::score(cell) {
                    let (key, member) = (key.clone(), member.clone());
                    let present = true;
                    writes.push(RowWrite::Score { space: SPACE, key, score, member, present });
                }
                let cell = Some(cell.clone());
                writes.push(RowWrite::Member { space: SPACE, key, member, cell });
            }
        }
        let commit = region.store.commit(writes);
        region.table.restore(commit, applied.clone(), Vec::new());
        region.applied = applied;
        region
    }

    fn load(&mut self, rows: &[RowId]) {
        self.misses += 1;
        // A read set from before arrives first; the table must not take old rows from it.
        if let Some(late) = self.late.take() {
            self.table.admit(late);
        }
        let reads = self.store.read(rows);
        self.table.admit(reads);
    }

    /// Makes sure that all the rows of an operation are there, as the node does before it
    /// evaluates one.
    fn need(&mut self, key: &Bytes, members: &[Bytes]) {
        let mut rows = vec![RowId::Head(SPACE, key.clone())];
        rows.extend(members.iter().map(|m| RowId::Member(SPACE, key.clone(), m.clone())));
        for _ in 0..64 {
            if rows.iter().all(|row| self.table.has(RowRef::from(row))) {
                return;
            }
            self.load(&rows);
        }
        panic!("rows that were just read are missing again and again");
    }

    fn draft(&mut self, wall: u64) -> Draft {
        self.draft.take().unwrap_or_else(|| {
            let mut deps = self.applied.clone();
            deps.remove(self.origin);
            Draft::open(DraftContext {
                origin: self.origin,
                version: self.applied.get(self.origin) + 1,
                timestamp: Hlc::from_millis(UnixMillis(wall)),
                region: RegionId::new("here").unwrap(),
                deps,
            })
        })
    }

    pub(crate) fn run(&mut self, op: &Op, wall: u64) {
        let mut draft = self.draft(wall);
        self.evaluate(op, &mut draft);
        self.draft = Some(draft);
    }

    fn evaluate(&mut self, op: &Op, draft: &mut Draft) {
        match op {
            Op::Flush { prefix } => {
                let prefix = Bytes::from_static(prefix.as_bytes());
                draft.remove_prefix(&mut self.table, SPACE, prefix).unwrap();
            }
            Op::Set { key: k, .. }
            | Op::Incr { key: k, .. }
            | Op::Expire { key: k, .. }
            | Op::Del { key: k } => {
                self.need(&key(*k), &[]);
                evaluate_key(op, &key(*k), &mut self.table, draft);
            }
            Op::DelEach { key: k } => {
                let all: Vec<_> = (0..MEMBERS.len()).map(member).collect();
                self.need(&key(*k), &all);
                for member in all {
                    let cell = CellId::member(SPACE, key(*k), member);
                    draft.remove(&mut self.table, cell).unwrap();
                }
                draft.remove(&mut self.table, CellId::head(SPACE, key(*k))).unwrap();
            }
            Op::Hset { key: k, member: m, .. }
            | Op::Hincr { key: k, member: m, .. }
            | Op::Sadd { key: k, member: m }
            | Op::Zadd { key: k, member: m, .. }
            | Op::Zincr { key: k, member: m, .. }
            | Op::Drop { key: k, member: m } => {
                self.need(&key(*k), &[member(*m)]);
                evaluate_member(op, &key(*k), &member(*m), &mut self.table, draft);
            }
        }
    }

    pub(crate) fn draft_bytes(&self) -> usize {
        self.draft.as_ref().map_or(0, Draft::bytes)
    }

    /// Ends the open transaction and sends its rows on the way to the store.
    pub(crate) fn finish(&mut self) -> Option<Transaction> {
        let transaction = self.draft.take().and_then(Draft::finish);
        if let Some(transaction) = &transaction {
            self.applied.raise(self.origin, transaction.version);
        }
        self.send_writes();
        transaction
    }

    fn send_writes(&mut self) {
        if self.table.has_writes() {
            let writes = self.table.take_writes();
            self.on_the_way.push_back(writes);
        }
    }

    /// The oldest batch reaches the store.
    pub(crate) fn arrive(&mut self) {
        if let Some(writes) = self.on_the_way.pop_front() {
            let commit = self.store.commit(writes);
            self.table.committed(commit);
        }
    }

    pub(crate) fn arrive_all(&mut self) {
        self.send_writes();
        while !self.on_the_way.is_empty() {
            self.arrive();
        }
    }

    pub(crate) fn is_ready(&self, transaction: &Transaction) -> bool {
        readiness(transaction, &self.applied, |_| true) == Readiness::Ready
    }

    /// Applies a received transaction; the own draft must be finished.
    pub(crate) fn receive(&mut self, transaction: &Transaction) {
        assert!(self.draft.is_none() && self.is_ready(transaction));
        let rows: Vec<_> = rows_of(transaction).map(RowId::from).collect();
        for _ in 0..64 {
            match apply(transaction, &mut self.table, &mut self.conflicts) {
                Ok(()) => {
                    self.applied.raise(transaction.origin, transaction.version);
                    return self.send_writes();
                }
                Err(Missing(_)) => self.load(&rows),
            }
        }
        panic!("rows that were just read are missing again and again");
    }

    pub(crate) fn learn(&mut self, origin: OriginId, acked: VersionVector) {
        self.stability.acked.insert(origin, acked);
        self.stability.applied = self.applied.clone();
        self.table.set_stability(self.stability.clone());
    }

    pub(crate) fn collect(&mut self, limit: usize) {
        let rows = self.table.garbage_to_read(limit);
        let reads = self.store.read(&rows);
        self.table.admit(reads);
        self.table.collect_garbage(limit);
        self.send_writes();
    }

    /// One step of a key's sweep.
    pub(crate) fn sweep(&mut self, key: &Bytes, limit: usize) -> SweepProgress {
        self.need(key, &[]);
        let Some(after) = self.sweep_after.get(key).cloned() else {
            if self.table.begin_sweep(SPACE, key).unwrap() {
                self.sweep_after.insert(key.clone(), None);
                return SweepProgress::Continue;
            }
            return SweepProgress::Done;
        };
        let chunk = self.store.members_after(SPACE, key, after.as_ref(), limit);
        let progress = self.table.sweep(SPACE, key, &chunk).unwrap();
        match progress {
            SweepProgress::Continue => {
                let last = chunk.rows.last().map(|(member, _)| member.clone());
                self.sweep_after.insert(key.clone(), last);
            }
            SweepProgress::Stale => {}
            SweepProgress::Restart | SweepProgress::Done => {
                self.sweep_after.remove(key);
            }
        }
        self.send_writes();
        progress
    }

    /// One step of a range's sweep.
    pub(crate) fn sweep_prefix(&mut self, prefix: &Bytes, limit: usize) -> SweepProgress {
        let Some(after) = self.prefix_after.get(prefix).cloned() else {
            if self.table.begin_prefix_sweep(SPACE, prefix) {
                self.prefix_after.insert(prefix.clone(), None);
                return SweepProgress::Continue;
            }
            return SweepProgress::Done;
        };
        let chunk = self.store.keys_after(SPACE, prefix, after.as_ref(), limit);
        let progress = self.table.sweep_prefix(SPACE, prefix, &chunk);
        match progress {
            SweepProgress::Continue => {
                let last = chunk.rows.last().map(|(key, _)| key.clone());
                self.prefix_after.insert(prefix.clone(), last);
            }
            SweepProgress::Stale => {}
            SweepProgress::Restart | SweepProgress::Done => {
                self.prefix_after.remove(prefix);
            }
        }
        self.send_writes();
        progress
    }

    /// Sweeps until nothing waits.
    pub(crate) fn sweep_all(&mut self) {
        self.arrive_all();
        for prefix in ["", "a:"] {
            self.sweep_to_end(|region| {
                region.sweep_prefix(&Bytes::from_static(prefix.as_bytes()), 2)
            });
        }
        for at in 0..KEYS.len() {
            self.sweep_to_end(|region| region.sweep(&key(at), 2));
        }
        self.arrive_all();
    }

    /// A sweep that ends may leave a removal that came in meanwhile: goes on until a sweep ends at
    /// once.
    fn sweep_to_end(&mut self, mut step: impl FnMut(&mut Self) -> SweepProgress) {
        let mut done_before = false;
        for _ in 0..1_000 {
            let done = step(self) == SweepProgress::Done;
            self.arrive_all();
            if done && done_before {
                return;
            }
            done_before = done;
        }
        panic!("a sweep does not end");
    }

    pub(crate) fn view(&mut self) -> View {
        let mut view = View::new();
        for at in 0..KEYS.len() {
            let key = key(at);
            self.need(&key, &[]);
            let cell = CellView::of(&self.table.head(SPACE, &key).unwrap().cell);
            view.insert(CellId::head(SPACE, key.clone()), cell);
            for member in (0..MEMBERS.len()).map(member) {
                self.need(&key, std::slice::from_ref(&member));
                let cell = CellView::of(&self.table.member(SPACE, &key, &member).unwrap());
                view.insert(CellId::member(SPACE, key.clone(), member), cell);
            }
        }
        view.retain(|_, cell| !cell.is_vacant());
        view
    }

    /// How many members the head says that a key has.
    pub(crate) fn counted(&mut self, key: &Bytes) -> u64 {
        self.need(key, &[]);
        self.table.head(SPACE, key).unwrap().members
    }

    /// The rows of every key in the store, passed through what waits to be swept.
    pub(crate) fn key_rows(&mut self) -> BTreeMap<Bytes, KeyRows> {
        self.arrive_all();
        let prefixes = self.store.cleared.get(&SPACE).cloned().unwrap_or_default();
        let mut keys = BTreeMap::new();
        for key in (0..KEYS.len()).map(key) {
            let mut head = self.store.heads.get(&(SPACE, key.clone())).cloned().unwrap_or_default();
            prefixes.settle(&key, &mut head);
            let members = self.store.members_after(SPACE, &key, None, usize::MAX - 1).rows;
            keys.insert(key, KeyRows::new(head, members));
        }
        keys
    }
}

fn evaluate_key(op: &Op, key: &Bytes, table: &mut Table, draft: &mut Draft) {
    let cell = CellId::head(SPACE, key.clone());
    let head = table.head(SPACE, key).unwrap();
    let kind = visible::key_type(head);
    let has_members = head.members != 0;
    match op {
        Op::Set { value, expiry, .. } => {
            if has_members {
                draft.remove_key(table, SPACE, key.clone()).unwrap();
            }
            let value = Value::Bytes(Bytes::from_static(value.as_bytes()));
            draft.put(table, cell, value, expiry.map(UnixMillis)).unwrap();
        }
        Op::Incr { by, .. } if !matches!(kind, Some(KeyType::Collection(_))) => {
            draft.add(table, cell, Amount { int: *by, float: 0.0 }).unwrap();
        }
        Op::Expire { at, .. } if kind.is_some() => {
            draft.set_expiry(table, SPACE, key.clone(), at.map(UnixMillis)).unwrap();
        }
        Op::Del { .. } if has_members => {
            draft.remove_key(table, SPACE, key.clone()).unwrap();
        }
        Op::Del { .. } => draft.remove(table, cell).unwrap(),
        _ => {}
    }
}

fn evaluate_member(op: &Op, key: &Bytes, member: &Bytes, table: &mut Table, draft: &mut Draft) {
    let wanted = match op {
        Op::Hset { .. } | Op::Hincr { .. } => Some(Kind::Hash),
        Op::Sadd { .. } => Some(Kind::Set),
        Op::Zadd { .. } | Op::Zincr { .. } => Some(Kind::SortedSet),
        _ => None,
    };
    let head = table.head(SPACE, key).unwrap();
    let (expiry, kind) = (visible::expiry(&head.cell), visible::key_type(head));
    let live = visible::is_live(&table.member(SPACE, key, member).unwrap());
    let cell = CellId::member(SPACE, key.clone(), member.clone());
    let head_cell = CellId::head(SPACE, key.clone());
    let Some(wanted) = wanted else {
        if live {
            draft.remove(table, cell).unwrap();
            if table.head(SPACE, key).unwrap().members == 0 {
                draft.remove(table, head_cell).unwrap();
            }
        }
        return;
    };
    if kind.is_some_and(|kind| kind != KeyType::Collection(wanted)) {
        return;
    }
    draft.put(table, head_cell, Value::Kind(wanted), expiry).unwrap();
    match op {
        Op::Hset { value, .. } => {
            let value = Value::Bytes(Bytes::from_static(value.as_bytes()));
            draft.put(table, cell, value, None).unwrap();
        }
        Op::Hincr { by, .. } => {
            draft.add(table, cell, Amount { int: *by, float: 0.0 }).unwrap();
        }
        Op::Sadd { .. } => draft.put(table, cell, Value::Unit, None).unwrap(),
        Op::Zadd { score, .. } => draft.put(table, cell, Value::Score(*score), None).unwrap(),
        Op::Zincr { by, .. } => {
            if !live {
                draft.put(table, cell.clone(), Value::Score(0.0), None).unwrap();
            }
            draft.add(table, cell, Amount { int: 0, float: *by }).unwrap();
        }
        _ => {}
    }
}

/// Whether a cell is a member's.
pub(crate) fn is_member_of(cell: &CellId, key: &Bytes) -> bool {
    cell.key == *key && matches!(cell.field, Field::Member(_))
}
