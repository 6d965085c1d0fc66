//! What a write costs the loop: rows in, an edit, rows out, for batches of a thousand.

#![expect(clippy::unwrap_used, reason = "a benchmark may fail by panicking")]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rhumb_state::{Draft, DraftContext, ReadSet, Table, TableLimits};
use rhumb_types::{
    Hlc, OriginId, RegionId,
    record::{Amount, CellId, Kind, Space, Value, VersionVector},
};

const BATCH: usize = 1_000;
const KEYS: usize = 100_000;

struct Loop {
    table: Table,
    version: u64,
    next: usize,
    keys: Vec<Bytes>,
    deps: VersionVector,
}

impl Loop {
    fn new() -> Self {
        let keys: Vec<_> = (0..KEYS).map(|at| Bytes::from(format!("key:{at:012}"))).collect();
        let mut table = Table::new(TableLimits::default());
        for key in &keys {
            table.admit(ReadSet {
                commit: 0,
                heads: vec![(Space::USER, key.clone(), None)],
                members: vec![(Space::USER, key.clone(), Bytes::from_static(b"field"), None)],
                owned: Vec::new(),
            });
        }
        let deps = [(OriginId(2), 9), (OriginId(3), 9)].into_iter().collect();
        Self { table, version: 0, next: 0, keys, deps }
    }

    fn batch(&mut self, mut edit: impl FnMut(&mut Draft, &mut Table, &Bytes)) -> usize {
        self.version += 1;
        let mut draft = Draft::open(DraftContext {
            origin: OriginId(1),
            version: self.version,
            timestamp: Hlc(self.version),
            region: RegionId::new("here").unwrap(),
            deps: self.deps.clone(),
        });
        for _ in 0..BATCH {
            // A stride that visits all keys and seldom the same cache line twice.
            self.next = (self.next + 7_919) % KEYS;
            let Some(key) = self.keys.get(self.next) else { continue };
            edit(&mut draft, &mut self.table, key);
        }
        let changes = draft.finish().unwrap().changes.len();
        let rows = self.table.take_writes().len();
        self.table.committed(self.version);
        changes + rows
    }
}

fn writes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("writes");
    group.throughput(Throughput::Elements(BATCH as u64));
    let value = Bytes::from_static(b"a value of thirty-two bytes, say");
    let mut run = |name: &str, edit: &dyn Fn(&mut Draft, &mut Table, &Bytes)| {
        let mut state = Loop::new();
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| (), |()| state.batch(edit), BatchSize::SmallInput);
        });
    };
    run("set", &|draft, table, key| {
        let cell = CellId::head(Space::USER, key.clone());
        draft.put(table, cell, Value::Bytes(value.clone()), None).unwrap();
    });
    run("incr", &|draft, table, key| {
        let cell = CellId::head(Space::USER, key.clone());
        draft.add(table, cell, Amount { int: 1, float: 0.0 }).unwrap();
    });
    run("hset", &|draft, table, key| {
        let head = CellId::head(Space::USER, key.clone());
        let field = CellId::member(Space::USER, key.clone(), Bytes::from_static(b"field"));
        draft.put(table, head, Value::Kind(Kind::Hash), None).unwrap();
        draft.put(table, field, Value::Bytes(value.clone()), None).unwrap();
    });
    group.finish();
}

criterion_group!(benches, writes);
criterion_main!(benches);
