//! Regions, their disks, the links between them, and what goes wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_objects::grant::{
    Ask, Authority, Grant, Holder, HolderConfig, HolderEvent, Home, HomeEvent, Memory, Outcome,
    Told, Walk,
};
use rhumb_regions::{Facts, Policy, Region, RegionFacts, RoutingSnapshot};
use rhumb_types::{
    Epoch, MonoTime, RegionId,
    record::{BlobHash, Dot},
};

use crate::index::{Blob, Key, Txn, View, origin};

mod walks;
mod way;

const BLOBS: u64 = 6;
const KEYS: u64 = 5;
/// The time of trouble, and of peace after it, in milliseconds.
const TROUBLE: u64 = 3_000_000;
const PEACE: u64 = 3_000_000;
const LEASE: u64 = 40_000;
const GRACE: Duration = Duration::from_secs(40);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) regions: usize,
}

/// Something under way in one process; it dies with it.
#[derive(Clone, Debug)]
enum Work {
    /// Bytes are pinned and on their way; then the row is committed.
    Write {
        blob: Blob,
        key: Key,
        fetched: Option<usize>,
        moved: Option<Key>,
    },
    Commit {
        blob: Blob,
        key: Key,
        moved: Option<Key>,
    },
    /// A copy that the policy asks for, or that is cached.
    Fetch {
        blob: Blob,
        from: usize,
        cached: bool,
    },
    Looked {
        blob: Blob,
        look: u64,
    },
    RemoveRow(Blob),
    RemoveBytes(Blob),
    WalkOn,
}

#[derive(Clone, Debug)]
enum Message {
    Ask(Ask),
    Told(Told),
    Grant(Grant),
    Ended(Outcome),
}

#[derive(Clone, Debug)]
enum Event {
    Work { at: usize, life: u64, work: Work },
    Message { from: usize, to: usize, about: usize, message: Message },
    Restart(usize),
}

struct Walking {
    duty: usize,
    walk: Walk,
    next: Key,
    after: Option<BlobHash>,
}

struct Node {
    up: bool,
    life: u64,
    view: View,
    disk: BTreeSet<Blob>,
    in_flight: Vec<Blob>,
    holder: Holder,
    /// By the region whose lease is held.
    homes: BTreeMap<usize, Home>,
    homes_known: u64,
    walking: Option<Walking>,
    /// Of the others' logs, and of the agreed state.
    cut_off_until: u64,
    apart_until: u64,
}

/// The lease of one region, as it is agreed.
#[derive(Clone, Copy, Debug)]
struct Lease {
    by: usize,
    epoch: u64,
    until: u64,
}

pub(crate) struct World {
    options: Options,
    seed: u64,
    now: u64,
    map: RoutingSnapshot,
    nodes: Vec<Node>,
    logs: Vec<Vec<Txn>>,
    merged: View,
    leases: Vec<Lease>,
    homes: u64,
    /// How many copies every bucket asks for, and a number from which it follows where.
    copies: u8,
    policy: usize,
    /// Users do little, and copies move much: what was seen long ago still counts.
    calm: bool,
    events: BTreeMap<(u64, u64), Event>,
    number: u64,
    found: Option<String>,
}

fn hash(blob: Blob) -> BlobHash {
    BlobHash([blob; 32])
}

fn blob_of(hash: &BlobHash) -> Blob {
    hash.0[0]
}

fn id(at: usize) -> RegionId {
    RegionId::new(&format!("r{at}")).unwrap()
}

fn mono(now: u64) -> MonoTime {
    MonoTime((now + 1_000) * 1_000)
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let regions = (0..options.regions).map(|at| RegionFacts::new(Region::new(id(at), "x:1")));
        let map = RoutingSnapshot::build(Facts {
            version: 1,
            here: id(0),
            regions: regions.collect(),
            links: Vec::new(),
            rules: Vec::new(),
            policy: Policy::default(),
        })
        .unwrap();
        let mut world = Self {
            options,
            seed: options.seed,
            now: 0,
            map,
            nodes: Vec::new(),
            logs: vec![Vec::new(); options.regions],
            merged: View::default(),
            leases: Vec::new(),
            homes: 1,
            copies: 1 + u8::from(options.seed.is_multiple_of(2)),
            policy: 0,
            calm: !options.seed.is_multiple_of(3),
            events: BTreeMap::new(),
            number: 1,
            found: None,
        };
        for at in 0..options.regions {
            let holder = world.new_holder(&View::default());
            world.nodes.push(Node {
                up: true,
                life: 0,
                view: View::default(),
                disk: BTreeSet::new(),
                in_flight: Vec::new(),
                holder,
                homes: BTreeMap::new(),
                homes_known: 1,
                walking: None,
                cut_off_until: 0,
                apart_until: 0,
            });
            world.leases.push(Lease { by: at, epoch: 1, until: 0 });
        }
        world
    }

    pub(crate) fn run(mut self) -> Option<String> {
        while self.now < TROUBLE && self.found.is_none() {
            self.step(true);
        }
        while self.now < TROUBLE + PEACE && self.found.is_none() {
            self.step(false);
        }
        self.found.take().or_else(|| self.left_over())
    }

    // Chance.

    fn draw(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn pick(&mut self) -> usize {
        let count = u64::try_from(self.nodes.len()).unwrap();
        usize::try_from(self.draw(count)).unwrap()
    }

    fn chance(&mut self, of_thousand: u64) -> bool {
        self.draw(1_000) < of_thousand
    }

    fn small(&mut self, below: u64) -> u8 {
        u8::try_from(self.draw(below)).unwrap()
    }

    fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn later(&mut self, most: u64, event: Event) {
        let at = self.now + 1 + self.draw(most);
        let number = self.number();
        self.events.insert((at, number), event);
    }

    fn work(&mut self, at: usize, most: u64, work: Work) {
        let life = self.nodes[at].life;
        self.later(most, Event::Work { at, life, work });
    }

    // A step: what is due, then what somebody does, then what time does.

    fn step(&mut self, trouble: bool) {
        self.now += 1 + self.draw(600);
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= self.now
        {
            let event = entry.remove();
            self.on_event(event, trouble);
            self.check();
        }
        let at = self.pick();
        if self.nodes[at].up {
            let (busy, pulls) = (!self.calm || self.chance(60), !self.calm || self.chance(300));
            match self.draw(20) {
                0 if trouble && busy => self.upload(at),
                1 | 2 if trouble && busy => self.copy(at),
                3 if trouble && busy => self.delete(at),
                4..=7 => self.replicate(at, trouble),
                8 | 9 => self.start_walk(at),
                _ if pulls || !trouble => self.pull(at),
                _ => {}
            }
        }
        if trouble {
            self.go_wrong();
        }
        self.learn(trouble);
        self.tick();
        self.check();
    }

    fn go_wrong(&mut self) {
        let at = self.pick();
        if self.chance(2) && self.nodes[at].up {
            self.crash(at);
        }
        if self.chance(6) {
            self.nodes[at].cut_off_until = self.now + self.draw(200_000);
        }
        if self.chance(3) {
            self.nodes[at].apart_until = self.now + self.draw(200_000);
        }
        if self.options.seed % 4 < 2 && self.chance(5) {
            self.homes += 1;
        }
        if self.chance(if self.calm { 12 } else { 3 }) {
            self.policy += 1;
        }
    }

    fn crash(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.up = false;
        node.life += 1;
        node.in_flight.clear();
        node.homes.clear();
        node.walking = None;
        self.later(90_000, Event::Restart(at));
    }

    fn new_holder(&mut self, view: &View) -> Holder {
        let generation = if self.calm { 64 } else { 4 };
        let memory = Memory { generation, generations: 3 };
        let config = HolderConfig { memory, ..HolderConfig::default() };
        let first = self.number() << 32;
        Holder::new(config, mono(self.now), &view.applied, first)
    }

    /// A start makes the rows agree with the disk.
    fn restart(&mut self, at: usize) {
        let view = self.nodes[at].view.clone();
        self.nodes[at].holder = self.new_holder(&view);
        self.nodes[at].up = true;
        for blob in 0..u8::try_from(BLOBS).unwrap() {
            let held = self.nodes[at].disk.contains(&blob);
            match (held, view.holders.contains_key(&(blob, at))) {
                (true, false) => self.hold(at, blob, true),
                (false, true) => {
                    self.commit(at, Txn { holds: Some((blob, None)), ..Txn::default() });
                }
                _ => {}
            }
        }
    }

    /// Agreed state reaches the nodes when it likes; leases are renewed, run out and are taken over.
    fn learn(&mut self, trouble: bool) {
        let at = self.pick();
        let learns = !trouble || (self.nodes[at].apart_until <= self.now && self.chance(30));
        if self.nodes[at].up && learns {
            self.nodes[at].homes_known = self.homes;
        }
        for region in 0..self.leases.len() {
            let lease = self.leases[region];
            let free = self.now >= lease.until;
            let candidate = if self.chance(900) { region } else { self.pick() };
            let reachable =
                self.nodes[candidate].up && self.nodes[candidate].apart_until <= self.now;
            if free && reachable && self.chance(300) {
                self.leases[region] =
                    Lease { by: candidate, epoch: lease.epoch + 1, until: self.now + LEASE };
                self.lead(candidate, region);
            } else if !free
                && self.nodes[lease.by].up
                && self.nodes[lease.by].apart_until <= self.now
                && (!trouble || self.chance(120))
            {
                self.leases[region].until = self.now + LEASE;
                self.lead(lease.by, region);
            }
        }
    }

    fn lead(&mut self, at: usize, region: usize) {
        let lease = self.leases[region];
        let authority = Authority {
            homes: self.nodes[at].homes_known,
            region: id(region),
            epoch: Epoch(lease.epoch),
        };
        let first = self.number() << 32;
        let home = self.nodes[at].homes.entry(region).or_insert_with(|| Home::new(first));
        let mut out = Vec::new();
        home.on_event(
            mono(self.now),
            HomeEvent::Lead(Some((authority, mono(lease.until)))),
            &mut out,
        );
        self.home_effects(at, region, out);
    }

    fn tick(&mut self) {
        for at in 0..self.nodes.len() {
            if !self.nodes[at].up {
                continue;
            }
            let mut out = Vec::new();
            self.nodes[at].holder.on_event(mono(self.now), HolderEvent::Tick, &mut out);
            self.holder_effects(at, out);
            let duties: Vec<_> = self.nodes[at].homes.keys().copied().collect();
            for duty in duties {
                self.home_event(at, duty, HomeEvent::Tick);
            }
        }
    }

    // The index.

    fn commit(&mut self, at: usize, mut txn: Txn) {
        txn.deps = self.nodes[at].view.applied.clone();
        let version = u64::try_from(self.logs[at].len()).unwrap() + 1;
        self.nodes[at].view.apply(at, version, &txn);
        self.merged.apply(at, version, &txn);
        self.tell_applied(at, at, version, &txn);
        self.logs[at].push(txn);
    }

    fn tell_applied(&mut self, at: usize, writer: usize, version: u64, txn: &Txn) {
        let references: Vec<_> = txn.puts.iter().map(|(_, blob)| hash(*blob)).collect();
        let dot = Dot { origin: origin(writer), version };
        let event = HolderEvent::Applied { dot, references: &references };
        let mut out = Vec::new();
        self.nodes[at].holder.on_event(mono(self.now), event, &mut out);
        assert!(out.is_empty());
    }

    fn hold(&mut self, at: usize, blob: Blob, cached: bool) {
        let since = self.now;
        self.commit(at, Txn { holds: Some((blob, Some((since, cached)))), ..Txn::default() });
    }

    /// Applies some of what another region has.
    fn pull(&mut self, at: usize) {
        let from = self.pick();
        let cut = |node: &Node| !node.up || node.cut_off_until > self.now;
        if from == at || cut(&self.nodes[at]) || cut(&self.nodes[from]) {
            return;
        }
        for _ in 0..1 + self.draw(12) {
            let writer = self.pick();
            let version = self.nodes[at].view.applied.get(origin(writer)) + 1;
            if writer == at || self.nodes[from].view.applied.get(origin(writer)) < version {
                continue;
            }
            let txn = self.logs[writer][usize::try_from(version).unwrap() - 1].clone();
            if self.nodes[at].view.can_apply(writer, version, &txn) {
                self.nodes[at].view.apply(writer, version, &txn);
                self.tell_applied(at, writer, version, &txn);
            }
        }
    }

    // What is promised.

    fn check(&mut self) {
        for blob in self.merged.referenced() {
            if !self.nodes.iter().any(|node| node.disk.contains(&blob)) {
                self.found = Some(format!("lost: {blob} is referred to, at {}", self.now));
            }
        }
        for (at, node) in self.nodes.iter().enumerate() {
            if let Some(blob) = node.in_flight.iter().find(|blob| !node.disk.contains(*blob)) {
                self.found = Some(format!("lost: {blob} was in flight in {at}, at {}", self.now));
            }
        }
    }

    fn left_over(&self) -> Option<String> {
        let referenced = self.merged.referenced();
        for blob in 0..u8::try_from(BLOBS).unwrap() {
            let holders: Vec<_> =
                (0..self.nodes.len()).filter(|at| self.nodes[*at].disk.contains(&blob)).collect();
            let wanted: Vec<_> = (0..self.nodes.len())
                .filter(|at| self.wanted(blob).contains(self.index(*at)))
                .collect();
            let expected = if referenced.contains(&blob) { wanted } else { Vec::new() };
            if holders != expected {
                let Options { seed, regions } = self.options;
                return Some(format!(
                    "left over: {blob} is in {holders:?} and ought to be in {expected:?} (seed {seed}, \
                     {regions} regions)"
                ));
            }
        }
        None
    }
}
