//! The key, three regions, and what may happen to them.

use std::collections::BTreeMap;

use bytes::Bytes;
use rhumb_check::{
    CallId, History, Limits, Register, RegisterAnswer as Heard, RegisterCall as Call, Verdict,
    check,
};
use rhumb_objects::{
    place,
    terms::{self, Fences, Look, fence_row},
};
use rhumb_state::{Context, cell, visible};
use rhumb_types::{
    DomainId, Epoch, Hlc, OriginId, RegionId, UnixMillis,
    record::{
        BucketName, Cell, Decided, Dot, Entry, FenceRecord, Record as _, Term, Value, VersionVector,
    },
};

const NODES: usize = 3;
const STEPS: usize = 220;
/// Bounds of the search for an order; most histories need a hundredth.
const LIMITS: Limits = Limits { steps_max: 100_000, states_max: 50_000 };

/// The generator of Steele, Lea and Flood (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((bits ^ (bits >> 31)) % bound as u64).unwrap()
    }
}

#[derive(Clone)]
enum Written {
    Decided(Decided),
    Fence(Bytes, FenceRecord),
    Forgotten,
}

#[derive(Clone)]
struct Transaction {
    dot: Dot,
    deps: VersionVector,
    written: Written,
}

#[derive(Default)]
struct Node {
    applied: VersionVector,
    cell: Cell,
    fences: BTreeMap<Bytes, Cell>,
}

/// What a region has decided and not written, or written and not answered.
struct Open {
    id: CallId,
    term: Term,
    node: usize,
    /// What the row held when this was decided, and what it is to hold.
    decided: Option<(Option<Bytes>, Option<Bytes>)>,
    answer: Heard,
    /// A majority must have this before the answer leaves.
    rests: Option<VersionVector>,
}

impl Open {
    fn changes(&self) -> bool {
        matches!(self.answer, Heard::Written | Heard::Swapped(true))
    }
}

/// What happened in a run.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) late_settled: usize,
    pub(crate) late_dropped: usize,
    pub(crate) forgotten: usize,
    pub(crate) answered: usize,
    pub(crate) unknown: usize,
}

pub(crate) struct World {
    random: Random,
    nodes: Vec<Node>,
    logs: BTreeMap<OriginId, Vec<Transaction>>,
    holder: usize,
    term: Term,
    /// What the holder knows, once its term has begun.
    fences: Option<Fences>,
    open: Vec<Open>,
    seen: History<Call, Heard>,
    values: u64,
    counts: Counts,
    traceless: bool,
}

fn origin(node: usize) -> OriginId {
    OriginId::new((node as u64 + 1) << 16, DomainId::EVERYWHERE)
}

fn home() -> RegionId {
    RegionId::new("eu").unwrap()
}

fn name() -> Vec<u8> {
    place::name(&BucketName::new("bucket").unwrap(), b"key")
}

fn value(row: Option<&Bytes>) -> Option<u64> {
    Some(std::str::from_utf8(row?).unwrap().parse().unwrap())
}

fn row(value: Option<u64>) -> Option<Bytes> {
    value.map(|value| Bytes::from(value.to_string()))
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            nodes: (0..NODES).map(|_| Node::default()).collect(),
            logs: BTreeMap::new(),
            holder: 0,
            term: Term { homes: 1, epoch: Epoch(1) },
            fences: None,
            open: Vec::new(),
            seen: History::default(),
            values: 0,
            counts: Counts::default(),
            traceless: false,
        }
    }

    /// That the key was decided to hold nothing leaves nothing that says so.
    pub(crate) fn traceless(self) -> Self {
        Self { traceless: true, ..self }
    }

    fn write(&mut self, node: usize, written: Written) -> Dot {
        let version = self.nodes[node].applied.get(origin(node)) + 1;
        let dot = Dot { origin: origin(node), version };
        let deps = self.nodes[node].applied.clone();
        let gone = matches!(&written, Written::Decided(decided) if decided.row.is_none());
        let written = if gone && self.traceless { Written::Forgotten } else { written };
        let transaction = Transaction { dot, deps, written };
        self.logs.entry(origin(node)).or_default().push(transaction.clone());
        self.apply(node, &transaction);
        dot
    }

    fn apply(&mut self, node: usize, transaction: &Transaction) {
        let Transaction { dot, deps, written } = transaction;
        let node = &mut self.nodes[node];
        let context = Context { dot: *dot, deps };
        // Clocks that are far apart: the time of a write says nothing of its term.
        let hlc = Hlc::from_millis(UnixMillis(1_000 * (9 - (dot.origin.0 >> 16)) + dot.version));
        let entry = |value| Entry { dot: *dot, hlc, value, expiry: None };
        match written {
            Written::Decided(decided) => {
                let value = Value::Decided(decided.clone());
                cell::put(&mut node.cell, &context, entry(value), &[]);
            }
            Written::Fence(key, record) => {
                let cell = node.fences.entry(key.clone()).or_default();
                cell::put(cell, &context, entry(Value::Bytes(record.encode())), &[]);
            }
            Written::Forgotten => cell::remove(&mut node.cell, &context, &[]),
        }
        node.applied.raise(dot.origin, dot.version);
    }

    /// One region hears all that another has.
    fn hear(&mut self, node: usize, from: usize) {
        let upto = self.nodes[from].applied.clone();
        self.deliver(node, &upto, usize::MAX);
    }

    /// A region applies at most so much of what there is, in an order that causality allows.
    fn deliver(&mut self, node: usize, upto: &VersionVector, most: usize) {
        for _ in 0..most {
            let applied = self.nodes[node].applied.clone();
            let next = self.logs.values().find_map(|log| {
                let of = log.first()?.dot.origin;
                let next = log.get(usize::try_from(applied.get(of)).unwrap())?;
                let ready =
                    next.deps.iter().all(|(origin, version)| applied.get(origin) >= version);
                (ready && upto.covers(next.dot)).then(|| next.clone())
            });
            let Some(next) = next else { return };
            self.apply(node, &next);
        }
    }

    /// How many regions have something.
    fn have(&self, wanted: &VersionVector) -> usize {
        self.nodes.iter().filter(|node| node.applied.includes(wanted)).count()
    }

    /// Another region takes the lease over, and hears from a majority.
    fn take_over(&mut self) {
        self.holder = self.random.below(NODES);
        self.term.epoch.0 += 1;
        self.fences = None;
        let other = (self.holder + 1 + self.random.below(NODES - 1)) % NODES;
        self.hear(self.holder, other);
    }

    fn begin(&mut self) {
        let key = fence_row(&home(), self.term);
        if !self.nodes[self.holder].fences.contains_key(&key) {
            let applied = self.nodes[self.holder].applied.clone();
            let record = FenceRecord { began: UnixMillis(0), homes: [home()].into(), applied };
            self.write(self.holder, Written::Fence(key.clone(), record));
        }
        let written = &self.nodes[self.holder].fences[&key].entries[0].dot;
        let written = [(written.origin, written.version)].into_iter().collect();
        if self.have(&written) * 2 > NODES {
            let rows = &self.nodes[self.holder].fences;
            self.fences = Some(Fences::read(rows).unwrap());
        }
    }

    /// What the holder finds; settles what is void.
    fn found(&mut self) -> Option<Option<Bytes>> {
        loop {
            let cell = &self.nodes[self.holder].cell;
            match self.fences.as_ref()?.look(self.term, &name(), cell) {
                Look::Clear => return Some(visible::whole(cell).cloned()),
                Look::Later => panic!("the holder is the last"),
                Look::Settle(row) => {
                    if cell.entries.len() > 1 {
                        self.counts.late_dropped += 1;
                    } else {
                        self.counts.late_settled += 1;
                    }
                    let term = self.term;
                    self.write(self.holder, Written::Decided(Decided { term, row }));
                }
            }
        }
    }

    /// The holder decides about a call; what it decides is written later.
    fn decide(&mut self) {
        let Some(found) = self.found() else { return self.begin() };
        let held = value(found.as_ref());
        self.values += 1;
        let fresh = Some(self.values);
        let call = match self.random.below(8) {
            0..=2 => Call::Read,
            3 => Call::Write(None),
            4 => Call::Write(fresh),
            5 => Call::CompareAndSet { expected: None, new: fresh },
            6 => Call::CompareAndSet { expected: held, new: None },
            _ => Call::CompareAndSet { expected: held, new: fresh },
        };
        let id = self.seen.start(call);
        let (decided, answer) = match call {
            Call::Read => (None, Heard::Value(held)),
            Call::CompareAndSet { expected, .. } if expected != held => {
                (None, Heard::Swapped(false))
            }
            Call::CompareAndSet { new, .. } => (Some((found, row(new))), Heard::Swapped(true)),
            Call::Write(new) => (Some((found, row(new))), Heard::Written),
        };
        let mut open =
            Open { id, term: self.term, node: self.holder, decided, answer, rests: None };
        if open.decided.is_none() {
            let node = &self.nodes[self.holder];
            let dots = node.cell.entries.iter().map(|entry| (entry.dot.origin, entry.dot.version));
            let empty = node.cell.entries.is_empty();
            open.rests = Some(if empty { node.applied.clone() } else { dots.collect() });
        }
        self.open.push(open);
    }

    /// What was decided is written, perhaps after the lease was lost.
    fn commit(&mut self, at: usize) {
        let (node, term) = (self.open[at].node, self.open[at].term);
        let Some((expected, row)) = self.open[at].decided.take() else { return };
        let cell = &self.nodes[node].cell;
        if visible::whole(cell) != expected.as_ref() || visible::term(cell) > Some(term) {
            let open = self.open.swap_remove(at);
            return self.seen.discard(open.id);
        }
        let dot = self.write(node, Written::Decided(Decided { term, row }));
        self.open[at].rests = Some([(dot.origin, dot.version)].into_iter().collect());
    }

    /// An answer leaves, if the lease is still held and a majority has what it rests on.
    fn answer(&mut self, at: usize) {
        let open = &self.open[at];
        let Some(rests) = &open.rests else { return };
        if open.term != self.term {
            let open = self.open.swap_remove(at);
            self.counts.unknown += usize::from(open.changes());
            if !open.changes() {
                self.seen.discard(open.id);
            }
        } else if self.have(rests) * 2 > NODES {
            let open = self.open.swap_remove(at);
            self.counts.answered += 1;
            self.seen.answer(open.id, open.answer);
        }
    }

    fn forget(&mut self) {
        let here = &self.nodes[self.holder];
        let said: Vec<VersionVector> = self.nodes.iter().map(|it| it.applied.clone()).collect();
        let common = terms::common(&here.applied, &said).filter(|_| self.fences.is_some());
        if common.is_some_and(|common| terms::forgettable(&here.cell, &common).is_some()) {
            self.counts.forgotten += 1;
            self.write(self.holder, Written::Forgotten);
        }
    }

    fn step(&mut self) {
        let at = |random: &mut Random, bound: usize| (bound > 0).then(|| random.below(bound));
        match self.random.below(40) {
            0 => self.take_over(),
            1..=4 => self.forget(),
            5..=10 => self.decide(),
            11..=18 => {
                let Some(at) = at(&mut self.random, self.open.len()) else { return };
                self.commit(at);
            }
            19..=26 => {
                let Some(at) = at(&mut self.random, self.open.len()) else { return };
                self.answer(at);
            }
            _ => {
                let (node, from) = (self.random.below(NODES), self.random.below(NODES));
                let upto = self.nodes[from].applied.clone();
                let most = 1 + self.random.below(6);
                self.deliver(node, &upto, most);
            }
        }
    }

    fn all_hear(&mut self) {
        for node in 0..NODES {
            (0..NODES).for_each(|from| self.hear(node, from));
        }
    }

    /// In the end everything arrives, and whoever decides then is asked once more.
    pub(crate) fn run(mut self) -> (Verdict, History<Call, Heard>, Counts) {
        (0..STEPS).for_each(|_| self.step());
        while let Some(open) = (0..self.open.len()).find(|at| self.open[*at].decided.is_some()) {
            self.commit(open);
        }
        // Nobody waits for the others any more, but they may have been done.
        for open in self.open.drain(..).filter(|open| !open.changes()) {
            self.seen.discard(open.id);
        }
        self.all_hear();
        let cells: Vec<&Cell> = self.nodes.iter().map(|node| &node.cell).collect();
        assert!(cells.iter().all(|cell| *cell == cells[0]), "{cells:?}");
        self.take_over();
        self.begin();
        self.all_hear();
        self.begin();
        let last = self.seen.start(Call::Read);
        let found = self.found().unwrap();
        self.seen.answer(last, Heard::Value(value(found.as_ref())));
        (check(&Register, &self.seen, LIMITS), self.seen, self.counts)
    }
}
