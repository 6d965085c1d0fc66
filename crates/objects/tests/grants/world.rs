//! Regions, their disks, the links between them, and what goes wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rhumb_objects::grant::{
    Ask, Authority, Grant, Holder, HolderConfig, HolderEffect, HolderEvent, Home, HomeEffect,
    HomeEvent, Memory, Outcome, Pinning, Told, Walk, WalkConfig, walk::Taken,
};
use rhumb_regions::{Facts, Policy, Region, RegionFacts, RegionIndex, RegionSet, RoutingSnapshot};
use rhumb_types::{
    Epoch, MonoTime, RegionId, UnixMillis,
    planted::{self, Planted},
    record::{BlobHash, Dot, HolderRecord},
};

use crate::index::{Blob, Key, Txn, View, origin};

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
            self.holder_effects(at, 0, out);
            let duties: Vec<_> = self.nodes[at].homes.keys().copied().collect();
            for duty in duties {
                self.home_event(at, duty, HomeEvent::Tick);
            }
        }
    }

    // What users do.

    fn pin(&mut self, at: usize, blob: Blob) -> bool {
        self.nodes[at].holder.pin(hash(blob)) == Pinning::Pinned
    }

    fn upload(&mut self, at: usize) {
        let (blob, key) = (self.small(BLOBS), self.small(KEYS));
        if self.pin(at, blob) {
            self.work(at, 3_000, Work::Write { blob, key, fetched: None, moved: None });
        }
    }

    /// Copies an object to another key, or moves it there, or writes its row anew.
    fn copy(&mut self, at: usize) {
        let (from, same) = (self.small(KEYS), self.chance(300));
        let key = if same { from } else { self.small(KEYS) };
        let moved = self.chance(500).then_some(from).filter(|from| *from != key);
        let cell = self.nodes[at].view.cells.get(&from);
        let Some(blob) = cell.and_then(|cell| cell.values().next_back().copied()) else { return };
        if planted::is(Planted::CommitUnheld) {
            return self.work(at, 3_000, Work::Commit { blob, key, moved });
        }
        if !self.pin(at, blob) {
            return;
        }
        let fetched = if self.nodes[at].disk.contains(&blob) {
            None
        } else {
            match self.source(at, blob) {
                Some(source) => Some(source),
                None => return self.nodes[at].holder.unpin(&hash(blob)),
            }
        };
        self.work(at, 3_000, Work::Write { blob, key, fetched, moved });
    }

    fn delete(&mut self, at: usize) {
        let key = self.small(KEYS);
        let removes = self.nodes[at].view.dots(key);
        if !removes.is_empty() {
            self.commit(at, Txn { removes, ..Txn::default() });
        }
    }

    fn source(&mut self, at: usize, blob: Blob) -> Option<usize> {
        let first = self.pick();
        let count = self.nodes.len();
        (0..count).map(|step| (first + step) % count).find(|other| {
            let it = &self.nodes[*other];
            *other != at && it.up && it.cut_off_until <= self.now && it.disk.contains(&blob)
        })
    }

    /// Fetches what ought to be here, or now and then caches what need not be.
    fn replicate(&mut self, at: usize, trouble: bool) {
        let blob = self.small(BLOBS);
        let here = self.index(at);
        let wanted = self.wanted(blob).contains(here);
        let cached = !wanted && trouble && self.chance(300);
        let referenced = self.nodes[at].view.referenced().contains(&blob);
        if !referenced || self.nodes[at].disk.contains(&blob) || !(wanted || cached) {
            return;
        }
        if let Some(from) = self.source(at, blob)
            && self.pin(at, blob)
        {
            self.work(at, 5_000, Work::Fetch { blob, from, cached });
        }
    }

    fn index(&self, at: usize) -> RegionIndex {
        self.map.index(&id(at)).unwrap()
    }

    fn wanted(&self, blob: Blob) -> RegionSet {
        let count = self.nodes.len();
        let first = usize::from(blob) + self.policy;
        (0..usize::from(self.copies)).map(|nth| self.index((first + nth) % count)).collect()
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

    // What is under way.

    fn on_event(&mut self, event: Event, trouble: bool) {
        match event {
            Event::Work { at, life, work } => {
                if self.nodes[at].life == life {
                    self.on_work(at, work);
                }
            }
            Event::Message { from, to, about, message } => {
                if !self.nodes[to].up || !self.nodes[from].up && self.chance(500) {
                    return;
                }
                if trouble && self.chance(300) {
                    let message = message.clone();
                    self.later(300_000, Event::Message { from, to, about, message });
                }
                self.on_message(from, to, about, message);
            }
            Event::Restart(at) => self.restart(at),
        }
    }

    fn on_work(&mut self, at: usize, work: Work) {
        match work {
            Work::Write { blob, key, fetched, moved } => {
                let there = fetched.is_none_or(|from| self.nodes[from].disk.contains(&blob));
                if !there {
                    return self.nodes[at].holder.unpin(&hash(blob));
                }
                self.nodes[at].disk.insert(blob);
                self.nodes[at].in_flight.push(blob);
                self.work(at, 20_000, Work::Commit { blob, key, moved });
            }
            Work::Commit { blob, key, moved } => {
                let mut removes = self.nodes[at].view.dots(key);
                removes.extend(moved.iter().flat_map(|from| self.nodes[at].view.dots(*from)));
                let known = self.nodes[at].view.holders.get(&(blob, at)).copied();
                let held = self.nodes[at].disk.contains(&blob);
                let row = (held && known.is_none()).then_some((blob, Some((self.now, false))));
                self.commit(
                    at,
                    Txn { removes, puts: Some((key, blob)), holds: row, ..Txn::default() },
                );
                if let Some(place) = self.nodes[at].in_flight.iter().position(|it| *it == blob) {
                    self.nodes[at].in_flight.remove(place);
                    self.nodes[at].holder.unpin(&hash(blob));
                }
            }
            Work::Fetch { blob, from, cached } => {
                if self.nodes[from].disk.contains(&blob) && self.nodes[at].disk.insert(blob) {
                    self.hold(at, blob, cached);
                }
                self.nodes[at].holder.unpin(&hash(blob));
            }
            Work::Looked { blob, look } => {
                let held = Some(self.nodes[at].disk.contains(&blob));
                self.holder_event(at, 0, HolderEvent::Looked { hash: hash(blob), look, held });
            }
            Work::RemoveRow(blob) => {
                self.commit(at, Txn { holds: Some((blob, None)), ..Txn::default() });
                self.work(at, 4_000, Work::RemoveBytes(blob));
            }
            Work::RemoveBytes(blob) => {
                self.nodes[at].disk.remove(&blob);
                let event = HolderEvent::Removed { hash: hash(blob), gone: true };
                self.holder_event(at, 0, event);
            }
            Work::WalkOn => self.walk_on(at),
        }
    }

    fn on_message(&mut self, from: usize, to: usize, about: usize, message: Message) {
        let region = id(from);
        match message {
            Message::Ask(ask) => {
                self.holder_event(to, about, HolderEvent::Asked { from: region, ask });
            }
            Message::Grant(grant) => {
                self.holder_event(to, about, HolderEvent::Granted { from: region, grant });
            }
            Message::Told(told) => {
                self.home_event(to, about, HomeEvent::Told { from: region, told });
            }
            Message::Ended(outcome) => {
                self.home_event(to, about, HomeEvent::Ended { from: region, outcome });
            }
        }
    }

    fn holder_event(&mut self, at: usize, about: usize, event: HolderEvent<'_>) {
        let mut out = Vec::new();
        self.nodes[at].holder.on_event(mono(self.now), event, &mut out);
        self.holder_effects(at, about, out);
    }

    /// Every home of a region hears its answers: rounds have their own numbers.
    fn holder_effects(&mut self, at: usize, _about: usize, effects: Vec<HolderEffect>) {
        for effect in effects {
            match effect {
                HolderEffect::Look { hash, look } => {
                    self.work(at, 500, Work::Looked { blob: blob_of(&hash), look });
                }
                HolderEffect::Remove(hash) => {
                    self.work(at, 4_000, Work::RemoveRow(blob_of(&hash)));
                }
                HolderEffect::Tell(to, told) => self.answer(at, &to, &Message::Told(told)),
                HolderEffect::End(to, outcome) => self.answer(at, &to, &Message::Ended(outcome)),
            }
        }
    }

    fn answer(&mut self, from: usize, to: &RegionId, message: &Message) {
        let to = (0..self.nodes.len()).find(|at| id(*at) == *to).unwrap();
        let duties: Vec<_> = self.nodes[to].homes.keys().copied().collect();
        for about in duties {
            self.send(from, to, about, message.clone());
        }
    }

    fn home_event(&mut self, at: usize, duty: usize, event: HomeEvent) {
        let mut out = Vec::new();
        if let Some(home) = self.nodes[at].homes.get_mut(&duty) {
            home.on_event(mono(self.now), event, &mut out);
        }
        self.home_effects(at, duty, out);
    }

    fn home_effects(&mut self, at: usize, duty: usize, effects: Vec<HomeEffect>) {
        for effect in effects {
            let (to, message) = match effect {
                HomeEffect::Ask(to, ask) => (to, Message::Ask(ask)),
                HomeEffect::Grant(to, grant) => (to, Message::Grant(grant)),
            };
            let to = (0..self.nodes.len()).find(|at| id(*at) == to).unwrap();
            self.send(at, to, duty, message);
        }
    }

    fn send(&mut self, from: usize, to: usize, about: usize, message: Message) {
        if self.now < TROUBLE && self.chance(50) {
            return;
        }
        let slow = self.now < TROUBLE && self.chance(250);
        let most = if slow { 30_000 } else { 400 };
        self.later(most, Event::Message { from, to, about, message });
    }

    // Walks.

    fn start_walk(&mut self, at: usize) {
        let duties: Vec<_> = self.nodes[at].homes.keys().copied().collect();
        let (Some(count), None) =
            (u64::try_from(duties.len()).ok().filter(|n| *n > 0), &self.nodes[at].walking)
        else {
            return;
        };
        let duty = duties[usize::try_from(self.draw(count)).unwrap()];
        self.begin_pass(at, duty, None);
    }

    fn begin_pass(&mut self, at: usize, duty: usize, after: Option<BlobHash>) {
        let config = WalkConfig { grace: GRACE, surplus_grace: GRACE / 2, hashes_max: 4 };
        let node = &self.nodes[at];
        let mut walk = Walk::begin(config, UnixMillis(self.now), &node.view.applied);
        let homes = usize::try_from(node.homes_known).unwrap();
        for ((blob, region), (since, cached)) in &node.view.holders {
            let mine = (usize::from(*blob) + homes) % self.nodes.len() == duty;
            let past = after.is_none_or(|after| hash(*blob) > after);
            let since = UnixMillis(*since);
            let record = HolderRecord { bytes: 1, since, cached: *cached };
            if mine
                && past
                && walk.on_holder(hash(*blob), self.index(*region), &record) == Taken::Full
            {
                break;
            }
        }
        self.nodes[at].walking = Some(Walking { duty, walk, next: 0, after });
        self.work(at, 4_000, Work::WalkOn);
    }

    /// Reads the rows of one key, as they are by now.
    fn walk_on(&mut self, at: usize) {
        let Some(mut walking) = self.nodes[at].walking.take() else { return };
        let cell = self.nodes[at].view.cells.get(&walking.next).cloned().unwrap_or_default();
        let winner = cell.last_key_value().map(|(dot, _)| *dot);
        for (dot, blob) in cell {
            if Some(dot) == winner || !planted::is(Planted::WalkWinners) {
                walking.walk.on_reference(&hash(blob), self.wanted(blob), self.copies);
            }
        }
        walking.next += 1;
        if u64::from(walking.next) < KEYS {
            self.nodes[at].walking = Some(walking);
            return self.work(at, 4_000, Work::WalkOn);
        }
        let pass = walking.walk.finish(&self.map);
        assert!(walking.after.is_none_or(|after| pass.next.is_none_or(|next| next > after)));
        for mut candidate in pass.candidates {
            if planted::is(Planted::LookLate) {
                candidate.vector = self.nodes[at].view.applied.clone().into();
            }
            self.home_event(at, walking.duty, HomeEvent::Found(candidate));
        }
        if pass.next.is_some() {
            self.begin_pass(at, walking.duty, pass.next);
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
