//! Random causal histories: regions that write, commit, receive, sweep and forget in any order.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use rhumb_types::{
    OriginId,
    record::{Dot, Transaction},
};

use crate::region::{KEYS, Op, Region, View, key};

pub(crate) const REGIONS: usize = 3;

/// One step of a history.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Run {
        at: usize,
        op: Op,
    },
    Finish {
        at: usize,
    },
    Arrive {
        at: usize,
    },
    /// Receives the next transaction of an origin, if it is ready.
    Receive {
        at: usize,
        from: usize,
    },
    Sweep {
        at: usize,
        key: usize,
        limit: usize,
    },
    SweepPrefix {
        at: usize,
        prefix: &'static str,
    },
    /// Learns what another region has applied.
    Learn {
        at: usize,
        of: usize,
    },
    Collect {
        at: usize,
    },
    /// Reads rows now that reach the table late.
    ReadAhead {
        at: usize,
        key: usize,
    },
}

pub(crate) fn ops() -> impl Strategy<Value = Op> {
    let k = 0..KEYS.len();
    let m = 0..4_usize;
    let text = prop_oneof![Just("x"), Just("7"), Just("-2"), Just("y")];
    let ttl = prop_oneof![Just(None), (1_u64..9).prop_map(Some)];
    prop_oneof![
        3 => (k.clone(), text.clone(), ttl.clone())
            .prop_map(|(key, value, expiry)| Op::Set { key, value, expiry }),
        6 => (k.clone(), -3_i64..9).prop_map(|(key, by)| Op::Incr { key, by }),
        1 => (k.clone(), ttl).prop_map(|(key, at)| Op::Expire { key, at }),
        3 => k.clone().prop_map(|key| Op::Del { key }),
        1 => k.clone().prop_map(|key| Op::DelEach { key }),
        3 => (k.clone(), m.clone(), text)
            .prop_map(|(key, member, value)| Op::Hset { key, member, value }),
        4 => (k.clone(), m.clone(), 1_i64..9)
            .prop_map(|(key, member, by)| Op::Hincr { key, member, by }),
        1 => (k.clone(), m.clone()).prop_map(|(key, member)| Op::Sadd { key, member }),
        2 => (k.clone(), m.clone(), 0_u8..4).prop_map(|(key, member, score)| Op::Zadd {
            key, member, score: f64::from(score)
        }),
        4 => (k.clone(), m.clone(), 0_i8..4).prop_map(|(key, member, by)| Op::Zincr {
            key, member, by: f64::from(by)
        }),
        3 => (k, m).prop_map(|(key, member)| Op::Drop { key, member }),
        1 => prop_oneof![Just(""), Just("a:")].prop_map(|prefix| Op::Flush { prefix }),
    ]
}

pub(crate) fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let r = 0..REGIONS;
    let k = 0..KEYS.len();
    let prefix = prop_oneof![Just(""), Just("a:")];
    let step = prop_oneof![
        10 => (r.clone(), ops()).prop_map(|(at, op)| Step::Run { at, op }),
        6 => r.clone().prop_map(|at| Step::Finish { at }),
        5 => r.clone().prop_map(|at| Step::Arrive { at }),
        8 => (r.clone(), r.clone()).prop_map(|(at, from)| Step::Receive { at, from }),
        3 => (r.clone(), k.clone(), 1_usize..3)
            .prop_map(|(at, key, limit)| Step::Sweep { at, key, limit }),
        2 => (r.clone(), prefix).prop_map(|(at, prefix)| Step::SweepPrefix { at, prefix }),
        3 => (r.clone(), r.clone()).prop_map(|(at, of)| Step::Learn { at, of }),
        2 => r.clone().prop_map(|at| Step::Collect { at }),
        2 => (r, k).prop_map(|(at, key)| Step::ReadAhead { at, key }),
    ];
    proptest::collection::vec(step, 1..count)
}

/// Histories of one small collection with many removals of the whole, in which sweeps run all the
/// time.
pub(crate) fn sweeping_steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let m = 0..4_usize;
    let op = prop_oneof![
        8 => m.clone().prop_map(|member| Op::Sadd { key: 0, member }),
        3 => m.prop_map(|member| Op::Drop { key: 0, member }),
        2 => Just(Op::Del { key: 0 }),
        1 => Just(Op::Flush { prefix: "a:" }),
    ];
    let at = prop_oneof![3 => Just(0_usize), 1 => Just(1)];
    let step = prop_oneof![
        10 => (at.clone(), op).prop_map(|(at, op)| Step::Run { at, op }),
        3 => at.clone().prop_map(|at| Step::Finish { at }),
        8 => at.clone().prop_map(|at| Step::Arrive { at }),
        4 => at.clone().prop_map(|at| Step::Receive { at, from: 1 - at }),
        12 => at.clone().prop_map(|at| Step::Sweep { at, key: 0, limit: 1 }),
        3 => at.clone().prop_map(|at| Step::SweepPrefix { at, prefix: "a:" }),
        1 => at.prop_map(|at| Step::ReadAhead { at, key: 0 }),
    ];
    proptest::collection::vec(step, 1..count)
}

/// Histories of one counter and one hash field, in which everybody tells everybody what it has
/// applied, as soon as it has.
pub(crate) fn counting_steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let op = prop_oneof![
        6 => (1_i64..9).prop_map(|by| Op::Incr { key: 0, by }),
        2 => Just(Op::Set { key: 0, value: "7", expiry: None }),
        1 => Just(Op::Expire { key: 0, at: Some(9) }),
        2 => Just(Op::Del { key: 0 }),
        4 => (1_i64..9).prop_map(|by| Op::Hincr { key: 1, member: 0, by }),
        1 => Just(Op::Hset { key: 1, member: 0, value: "5" }),
        1 => Just(Op::Drop { key: 1, member: 0 }),
        2 => Just(Op::Del { key: 1 }),
        1 => Just(Op::Flush { prefix: "a:" }),
    ];
    let r = 0..REGIONS;
    let step = prop_oneof![
        8 => (r.clone(), op).prop_map(|(at, op)| Step::Run { at, op }),
        4 => r.clone().prop_map(|at| Step::Finish { at }),
        10 => (r.clone(), r.clone()).prop_map(|(at, from)| Step::Receive { at, from }),
        8 => (r.clone(), r.clone()).prop_map(|(at, of)| Step::Learn { at, of }),
        4 => r.clone().prop_map(|at| Step::Collect { at }),
        1 => r.clone().prop_map(|at| Step::Arrive { at }),
        1 => r.prop_map(|at| Step::Sweep { at, key: 1, limit: 1 }),
    ];
    proptest::collection::vec(step, 1..count)
}

/// Regions, and everything that was written.
pub(crate) struct World {
    pub(crate) regions: Vec<Region>,
    pub(crate) logs: BTreeMap<OriginId, Vec<Transaction>>,
    /// The operations of every transaction, each with its place in the history.
    pub(crate) done: Vec<(Dot, usize, Op)>,
    /// The operations of the open drafts.
    open: Vec<Vec<(usize, Op)>>,
    wall: u64,
    forgets: bool,
}

impl World {
    pub(crate) fn new(rows_max: usize, forgets: bool) -> Self {
        let regions = (1..=REGIONS as u64).map(|origin| Region::new(origin, rows_max)).collect();
        let open = vec![Vec::new(); REGIONS];
        Self { regions, logs: BTreeMap::new(), done: Vec::new(), open, wall: 0, forgets }
    }

    pub(crate) fn run(rows_max: usize, forgets: bool, steps: &[Step]) -> Self {
        let mut world = Self::new(rows_max, forgets);
        for step in steps {
            world.step(step);
        }
        world
    }

    pub(crate) fn step(&mut self, step: &Step) {
        self.wall += 1;
        match step {
            Step::Run { at, op } => {
                self.open[*at].push((usize::try_from(self.wall).unwrap(), op.clone()));
                self.regions[*at].run(op, self.wall);
            }
            Step::Finish { at } => self.finish(*at),
            Step::Arrive { at } => self.regions[*at].arrive(),
            Step::Receive { at, from } => {
                self.receive(*at, *from);
            }
            Step::Sweep { at, key: k, limit } => {
                self.finish(*at);
                self.regions[*at].sweep(&key(*k), *limit);
            }
            Step::SweepPrefix { at, prefix } => {
                self.finish(*at);
                self.regions[*at].sweep_prefix(&Bytes::from_static(prefix.as_bytes()), 1);
            }
            Step::Learn { at, of } if self.forgets => {
                let (origin, acked) = (self.regions[*of].origin, self.regions[*of].applied.clone());
                self.regions[*at].learn(origin, acked);
            }
            Step::Learn { .. } => {}
            Step::Collect { at } => {
                self.finish(*at);
                self.regions[*at].collect(3);
            }
            Step::ReadAhead { at, key: k } => {
                let region = &mut self.regions[*at];
                let members = (0..4).map(crate::region::member);
                let mut rows: Vec<_> = members
                    .map(|m| rhumb_state::RowId::Member(crate::region::SPACE, key(*k), m))
                    .collect();
                rows.push(rhumb_state::RowId::Head(crate::region::SPACE, key(*k)));
                region.late = Some(region.store.read(&rows));
            }
        }
    }

    pub(crate) fn finish(&mut self, at: usize) {
        let region = &mut self.regions[at];
        let ops = std::mem::take(&mut self.open[at]);
        if let Some(transaction) = region.finish() {
            let dot = transaction.dot();
            self.done.extend(ops.into_iter().map(|(place, op)| (dot, place, op)));
            self.logs.entry(region.origin).or_default().push(transaction);
        }
    }

    /// Gives whether there was one to receive.
    pub(crate) fn receive(&mut self, at: usize, from: usize) -> bool {
        self.finish(at);
        let origin = self.regions[from].origin;
        let region = &mut self.regions[at];
        let known = usize::try_from(region.applied.get(origin)).unwrap();
        let next = self.logs.get(&origin).and_then(|log| log.get(known));
        let ready = next.filter(|next| at != from && region.is_ready(next));
        ready.inspect(|next| region.receive(next)).is_some()
    }

    /// Delivers everything to everybody, each region in its own order.
    pub(crate) fn settle(&mut self, order: &[usize]) {
        for at in 0..REGIONS {
            self.finish(at);
        }
        let mut order = order.iter().cycle();
        loop {
            let mut any = false;
            for at in 0..REGIONS {
                let first = *order.next().unwrap_or(&0);
                for from in (0..REGIONS).map(|from| (from + first) % REGIONS) {
                    any |= self.receive(at, from);
                }
            }
            if !any {
                return;
            }
        }
    }

    pub(crate) fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.logs.values().flatten()
    }

    /// What a region has applied.
    pub(crate) fn applied(&self, at: usize) -> impl Iterator<Item = &Transaction> {
        let applied = &self.regions[at].applied;
        self.transactions().filter(|transaction| applied.covers(transaction.dot()))
    }

    pub(crate) fn views(&mut self) -> Vec<View> {
        self.regions.iter_mut().map(Region::view).collect()
    }
}
