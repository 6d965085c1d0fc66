//! What clients do, and what they were promised.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use rhumb_node::{Event, RequestId, Submit, reads};
use rhumb_ports::store::ReadStore;
use rhumb_state::{
    Op, Reply, RowId,
    op::{Presence, SetExpiry},
};
use rhumb_types::{AckLevel, record::Space};

use crate::{
    run::{Kind, Options},
    setup::DIVIDED,
    world::World,
};

pub mod jobs;
mod load;
pub mod objects;
pub mod owned;
pub mod registers;

use jobs::Jobs;
use load::Load;
use objects::Objects;
use owned::OwnedWork;
use registers::Registers;

/// Keys of each kind; few, so that they are hot.
const KEYS: u64 = 3;
/// How many of a thousand writes are followed by a message.
const PUBLISH_PER_MILLE: u64 = 100;
/// How many of a thousand writes are followed by calls to registers.
const REGISTERS_PER_MILLE: u64 = 200;
/// How long a client waits for other regions, in microseconds.
const REMOTE_WAIT_MICROS: u64 = 1_500_000;

/// A write whose fate is not known yet.
#[derive(Debug)]
struct Asked {
    host: usize,
    ack: AckLevel,
    what: What,
}

/// What a write adds.
#[derive(Clone, PartialEq, Eq, Debug)]
enum What {
    /// A member of a set that nobody removes.
    Member(Bytes, Bytes),
    /// An increment.
    Increment(Bytes),
    /// Something that others may overwrite or remove.
    Other,
}

/// The clients of a run, and their books.
#[derive(Debug)]
pub struct Workload {
    /// Whether some keys are of a domain that not every region carries.
    divided: bool,
    /// Rounds closed so far; each has keys of its own.
    round: u64,
    /// How much they do.
    load: Load,
    asked: BTreeMap<RequestId, Asked>,
    requests: u64,
    /// Members acknowledged at `local` or more, with the host that acknowledged.
    pub members: BTreeMap<(Bytes, Bytes), (usize, AckLevel)>,
    /// Increments acknowledged at `local` or more, by key and host.
    pub counted: BTreeMap<(Bytes, usize), u64>,
    /// Increments that may or may not have happened, by key.
    pub unknown: BTreeMap<Bytes, u64>,
    /// Messages, with the host that each was published at.
    pub published: BTreeMap<Bytes, usize>,
    /// How many writes were acknowledged.
    pub acknowledged: u64,
    /// How many were refused or unconfirmed.
    pub refused: u64,
    /// What is done with owned rows.
    pub(crate) owned: OwnedWork,
    /// What is done with jobs, where the run has queues.
    pub(crate) jobs: Option<Jobs>,
    /// What is done with objects, where the run has any.
    pub(crate) objects: Option<Objects>,
    /// What is done with registers.
    pub(crate) registers: Registers,
    /// Acknowledgement levels that were reached at least once.
    pub reached: BTreeSet<AckLevel>,
}

impl Workload {
    /// Clients that have written nothing yet.
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            divided: options.kind == Kind::Domains,
            round: 0,
            load: Load::of(options),
            asked: BTreeMap::new(),
            requests: 0,
            members: BTreeMap::new(),
            counted: BTreeMap::new(),
            unknown: BTreeMap::new(),
            published: BTreeMap::new(),
            acknowledged: 0,
            refused: 0,
            owned: OwnedWork::default(),
            jobs: (options.kind == Kind::Queues).then(|| Jobs::new(options)),
            objects: (options.kind == Kind::Objects).then(|| Objects::new(options)),
            registers: Registers::default(),
            reached: BTreeSet::new(),
        }
    }

    /// How long it is until somebody writes again.
    pub(crate) fn pause(&mut self, world: &World) -> Duration {
        self.load.pause(world.now())
    }

    /// All agree: the keys so far are removed, and what was promised of them is forgotten.
    pub(crate) fn settle(&mut self, world: &mut World) {
        self.asked.clear();
        let kinds = ["grow", "count", "text", "bag", "hash"];
        for (prefix, kind) in self.prefixes().iter().flat_map(|it| kinds.map(|kind| (it, kind))) {
            let keys = (0..KEYS).map(|nth| Bytes::from(format!("{prefix}{kind}{nth}"))).collect();
            self.submit(world, 0, (Op::Del { keys }, What::Other, AckLevel::Local));
        }
        let keys = self.registers.settle();
        self.submit(world, 0, (Op::Del { keys }, What::Other, AckLevel::Local));
        self.round += 1;
        self.members.clear();
        self.counted.clear();
        self.unknown.clear();
        self.published.clear();
        self.owned.settle();
        if let Some(jobs) = &mut self.jobs {
            jobs.settle();
        }
        if let Some(objects) = &mut self.objects {
            objects.settle();
        }
    }

    /// What the keys of the present round start with: those of every region, and those that are
    /// divided.
    fn prefixes(&self) -> Vec<String> {
        let round = if self.round == 0 { String::new() } else { format!("{}:", self.round) };
        let divided = format!("{}{round}", String::from_utf8_lossy(DIVIDED));
        if self.divided { vec![round, divided] } else { vec![round] }
    }

    /// The last writes of a round: of every host to the same keys at the same instant, so that their
    /// stamps differ in nothing but the origin.
    pub(crate) fn finale(&mut self, world: &mut World) {
        let hosts = world.hosts.iter().filter(|host| !host.config.witness).count();
        let keys = self.prefixes().into_iter();
        let keys = keys.flat_map(|prefix| (0..KEYS).map(move |nth| format!("{prefix}text{nth}")));
        for (key, host) in keys.flat_map(|key| (0..hosts).map(move |host| (key.clone(), host))) {
            let (key, value) = (Bytes::from(key), Bytes::from(format!("last{host}")));
            let (when, expiry) = (Presence::Any, SetExpiry::Clear);
            let op = Op::Set { key, value, when, get: false, expiry };
            self.submit(world, host, (op, What::Other, AckLevel::Local));
        }
    }

    /// One client of a host writes something.
    pub fn step(&mut self, world: &mut World, host: usize) {
        if world.random.chance(PUBLISH_PER_MILLE) {
            self.publish(world, host);
        }
        if world.random.chance(REGISTERS_PER_MILLE) {
            self.registers.step(world, host);
        }
        let levels = [AckLevel::Memory, AckLevel::Local, AckLevel::OneRemote, AckLevel::Quorum];
        let ack = *world.random.pick(&levels).unwrap_or(&AckLevel::Local);
        let (op, what) = self.op(world);
        self.submit(world, host, (op, what, ack));
    }

    fn submit(&mut self, world: &mut World, host: usize, (op, what, ack): (Op, What, AckLevel)) {
        self.requests += 1;
        let request = RequestId(self.requests);
        let now = world.now();
        let Some(machine) = world.hosts.get(host) else { return };
        let Some(process) = &machine.process else { return };
        let mut rows = Vec::new();
        op.rows(&mut |row| rows.push(RowId::from(row)));
        let Ok(reads) = reads::read_rows(process.store.as_ref(), rows.into_iter()) else { return };
        let deadline = machine.clock(now + REMOTE_WAIT_MICROS).mono;
        if let What::Increment(key) = &what {
            *self.unknown.entry(key.clone()).or_default() += 1;
        }
        self.asked.insert(request, Asked { host, ack, what });
        let submit =
            Submit { request, ops: vec![op], ack, deadline, reads, atomic: false, guard: None };
        world.submit(host, Event::Submit(submit));
    }

    fn op(&self, world: &mut World) -> (Op, What) {
        let nth = self.load.key(&mut world.random, KEYS);
        let value = Bytes::from(format!("v{}", self.requests + 1));
        // Where keys are divided, half of them are of the smaller domain.
        let prefix = world.random.pick(&self.prefixes()).cloned().unwrap_or_default();
        let key = |kind: &str| Bytes::from(format!("{prefix}{kind}{nth}"));
        match world.random.below(8) {
            0..=2 => {
                let key = key("grow");
                let what = What::Member(key.clone(), value.clone());
                (Op::SAdd { key, members: vec![value] }, what)
            }
            3 => (Op::IncrBy { key: key("count"), by: 1 }, What::Increment(key("count"))),
            4 => {
                let (when, expiry) = (Presence::Any, SetExpiry::Clear);
                (Op::Set { key: key("text"), value, when, get: false, expiry }, What::Other)
            }
            5 => (Op::SAdd { key: key("bag"), members: vec![value] }, What::Other),
            6 => {
                let pairs = vec![(Bytes::from_static(b"f"), value)];
                (Op::HSet { key: key("hash"), pairs }, What::Other)
            }
            _ => (Op::Del { keys: vec![key("bag"), key("text"), key("hash")] }, What::Other),
        }
    }

    /// The level that a write was asked at.
    #[must_use]
    pub fn level(&self, request: RequestId) -> Option<AckLevel> {
        self.asked.get(&request).map(|asked| asked.ack)
    }

    /// What a client was told to be written, and does not see at the node that told it.
    #[must_use]
    pub fn unseen(&self, request: RequestId, world: &World) -> Option<String> {
        let Asked { host, what: What::Member(key, member), .. } = self.asked.get(&request)? else {
            return None;
        };
        let process = world.hosts.get(*host)?.process.as_ref()?;
        let cell = process.store.member(Space::USER, key, member).ok()?;
        cell.is_none()
            .then(|| format!("host {host} does not show {key:?} {member:?} to its writer"))
    }

    /// A client of a host publishes a message.
    pub fn publish(&mut self, world: &mut World, host: usize) {
        self.requests += 1;
        let payload = Bytes::from(format!("m{}", self.requests));
        self.published.insert(payload.clone(), host);
        world.submit(host, Event::Publish { channel: Bytes::from_static(b"c"), payload });
    }

    /// A node has answered.
    pub fn answered(&mut self, request: RequestId, result: Result<&[Reply], ()>) {
        let Some(asked) = self.asked.remove(&request) else { return };
        let done = result.is_ok_and(|replies| !matches!(replies, [Reply::Error(_)]));
        if !done {
            self.refused += 1;
            return;
        }
        self.acknowledged += 1;
        self.reached.insert(asked.ack);
        // `memory` promises nothing.
        if asked.ack == AckLevel::Memory {
            return;
        }
        match asked.what {
            What::Member(key, member) => {
                self.members.insert((key, member), (asked.host, asked.ack));
            }
            What::Increment(key) => {
                *self.counted.entry((key.clone(), asked.host)).or_default() += 1;
                if let Some(unknown) = self.unknown.get_mut(&key) {
                    *unknown = unknown.saturating_sub(1);
                }
            }
            What::Other => {}
        }
    }
}
