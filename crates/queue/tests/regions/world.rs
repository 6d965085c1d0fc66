//! Time, links, leases, faults, clients and workers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use rhumb_queue::{
    Answer, Ask, Definitions, Effect, Enqueue, Enqueued, Event, NewJob, Receipt, Receive,
    RequestId, Retry, Token, promises::Promises,
};
use rhumb_regions::{DriftBound, lease::Tenure};
use rhumb_types::{
    AckLevel, Epoch, MonoTime,
    record::{JobId, JobKey, QueueDefinition, QueueName},
};

use crate::host::{Host, Tx, Waiting, region};

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
/// Faults and load end here; then everything must come right.
const LOAD: u64 = 120 * SECOND;
const END: u64 = 340 * SECOND;
const LEASE: u64 = 6 * SECOND;
const WORKERS: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) regions: usize,
}

#[derive(Debug)]
enum Action {
    Complete,
    Fail,
    Release,
    Extend(u64),
}

#[derive(Debug)]
enum Ev {
    Tick(usize),
    Gossip { from: usize, to: usize },
    Arrive { to: usize, txs: Vec<(usize, Tx)> },
    Acked { to: usize, from: usize, applied: Vec<u64> },
    Commit { host: usize, life: u64, token: Token, tx: Tx, ack: AckLevel },
    Local { host: usize, life: u64, event: Event },
    Renew,
    Client,
    Work { host: usize, worker: usize },
    Settle { host: usize, receipt: Receipt, action: Action },
    Fault,
    Start(usize),
    Mend(usize, usize),
}

#[derive(Debug)]
enum Asked {
    Enqueue { keys: Vec<Option<String>>, group: Option<String> },
    Receive { host: usize, worker: usize },
    Complete(Receipt),
    Extend(Receipt, MonoTime),
    Other,
}

/// Who holds a home's lease, in true time.
#[derive(Clone, Copy, Debug)]
struct Holder {
    host: usize,
    epoch: u64,
    until: u64,
    /// What the holder must have applied before it acts, and whether a majority was heard.
    open: bool,
    majority: bool,
}

pub(crate) struct World {
    options: Options,
    random: u64,
    now: u64,
    events: BTreeMap<(u64, u64), Ev>,
    next: u64,
    hosts: Vec<Host>,
    cut: BTreeMap<(usize, usize), u64>,
    holders: Vec<Holder>,
    asked: BTreeMap<(usize, RequestId), (u64, Asked)>,
    requests: u64,
    jobs: u64,
    check: Promises,
}

fn name(text: &str) -> QueueName {
    QueueName::new(text).unwrap()
}

fn definitions() -> Arc<Definitions> {
    let plain =
        QueueDefinition { visibility: Duration::from_secs(20), ..QueueDefinition::default() };
    let safe = QueueDefinition { ack: AckLevel::Quorum, ..plain.clone() };
    let fifo = QueueDefinition { fifo: true, ..safe.clone() };
    Arc::new(Definitions::from([(name("plain"), safe), (name("fifo"), fifo)]))
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let Options { seed, regions } = options;
        let rates = [9_000_i64, -9_000, 4_000];
        let hosts = (0..regions).map(|index| {
            let rate = rates[(index + usize::try_from(seed).unwrap()) % rates.len()];
            Host::new(index, regions, rate)
        });
        let holder = |host| Holder { host, epoch: 1, until: 0, open: false, majority: false };
        let mut world = Self {
            options,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: 0,
            events: BTreeMap::new(),
            next: 0,
            hosts: hosts.collect(),
            cut: BTreeMap::new(),
            holders: (0..regions).map(holder).collect(),
            asked: BTreeMap::new(),
            requests: 0,
            jobs: 0,
            check: Promises::default(),
        };
        for host in 0..regions {
            world.after(1 + host as u64, Ev::Tick(host));
            (0..WORKERS).for_each(|worker| world.after(50 * MS, Ev::Work { host, worker }));
            world.begin(host);
            for to in (0..regions).filter(|to| *to != host) {
                world.after(5 * MS, Ev::Gossip { from: host, to });
            }
        }
        world.after(0, Ev::Renew);
        world.after(500 * MS, Ev::Client);
        world.after(10 * SECOND, Ev::Fault);
        world
    }

    fn begin(&mut self, host: usize) {
        let now = self.now;
        self.hosts[host].event(now, Event::Definitions(definitions()));
        self.drain(host);
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below.max(1)
    }

    fn pick(&mut self, below: usize) -> usize {
        usize::try_from(self.draw(below as u64)).unwrap()
    }

    fn after(&mut self, micros: u64, event: Ev) {
        self.next += 1;
        self.events.insert((self.now + micros, self.next), event);
    }

    pub(crate) fn run(mut self) -> Option<String> {
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            if at > END || self.check.broken.is_some() {
                break;
            }
            self.step(event);
        }
        if self.check.broken.is_none() {
            let ended: Vec<_> = self.hosts.iter().map(Host::ended).collect();
            self.check.at_the_end(&ended);
            self.explain();
            if self.check.leased < 100 {
                return Some(format!("only {} leases", self.check.leased));
            }
        }
        self.check.broken.map(|broken| broken.what)
    }

    /// Where a job is that is not where it ought to be.
    fn explain(&mut self) {
        let Some((id, violation)) =
            self.check.lost.zip(self.check.broken.as_mut().map(|it| &mut it.what))
        else {
            return;
        };
        for (host, queue) in self.hosts.iter().flat_map(|host| [(host, "plain"), (host, "fifo")]) {
            let key = JobKey { queue: name(queue), id };
            let at = host.queues.whereabouts(&key);
            violation.push_str(&format!("; {queue} in {}: {at:?}", host.name));
        }
        violation.push_str(&format!("; {:?}", self.holders));
    }

    /// The host that an event is for.
    fn host_of(event: &Ev) -> Option<usize> {
        match event {
            Ev::Tick(host)
            | Ev::Arrive { to: host, .. }
            | Ev::Acked { to: host, .. }
            | Ev::Commit { host, .. }
            | Ev::Local { host, .. }
            | Ev::Settle { host, .. }
            | Ev::Work { host, .. } => Some(*host),
            _ => None,
        }
    }

    fn step(&mut self, event: Ev) {
        if let Some(host) = Self::host_of(&event) {
            let until = self.hosts[host].frozen_until;
            if until > self.now {
                let wait = until - self.now;
                return self.after(wait, event);
            }
        }
        match event {
            Ev::Tick(host) => {
                if self.hosts[host].up {
                    self.hosts[host].look_at_acks(self.now);
                    self.hosts[host].event(self.now, Event::Tick);
                    self.drain(host);
                }
                self.after(100 * MS, Ev::Tick(host));
            }
            Ev::Gossip { from, to } => self.gossip(from, to),
            Ev::Arrive { to, txs } => {
                if self.hosts[to].up {
                    self.hosts[to].receive(self.now, txs);
                    self.drain(to);
                }
            }
            Ev::Acked { to, from, applied } => {
                let version = applied[to];
                let host = &mut self.hosts[to];
                host.acked[from] = host.acked[from].max(version);
                if host.up {
                    host.look_at_acks(self.now);
                    self.drain(to);
                }
            }
            Ev::Commit { host, life, token, tx, ack } => self.commit(host, life, token, tx, ack),
            Ev::Local { host, life, event } => {
                if self.hosts[host].life == life {
                    self.hosts[host].event(self.now, event);
                    self.drain(host);
                }
            }
            Ev::Renew => self.renew(),
            Ev::Client => self.client(),
            Ev::Work { host, worker } => self.work(host, worker),
            Ev::Settle { host, receipt, action } => self.settle(host, receipt, &action),
            Ev::Fault => self.fault(),
            Ev::Start(host) => {
                self.hosts[host].start(self.options.regions);
                self.begin(host);
                (0..WORKERS).for_each(|worker| self.after(50 * MS, Ev::Work { host, worker }));
            }
            Ev::Mend(a, b) => {
                self.cut.remove(&(a, b));
            }
        }
    }

    fn linked(&self, a: usize, b: usize) -> bool {
        !self.cut.contains_key(&(a.min(b), a.max(b)))
    }

    /// What `from` has and `to` has not is on its way.
    fn gossip(&mut self, from: usize, to: usize) {
        let pause = 20 * MS + self.draw(40 * MS);
        self.after(pause, Ev::Gossip { from, to });
        let frozen =
            self.hosts[from].frozen_until > self.now || self.hosts[to].frozen_until > self.now;
        if !self.linked(from, to) || !self.hosts[from].up || !self.hosts[to].up || frozen {
            return;
        }
        let has = self.hosts[to].applied();
        let logs = self.hosts[from].logs.iter().enumerate();
        let txs: Vec<(usize, Tx)> = logs
            .flat_map(|(origin, log)| {
                log.iter()
                    .skip(usize::try_from(has[origin]).unwrap())
                    .take(200)
                    .map(move |tx| (origin, tx.clone()))
            })
            .collect();
        let delay = 5 * MS + self.draw(20 * MS);
        let applied = self.hosts[from].applied();
        self.after(delay, Ev::Acked { to, from, applied });
        if !txs.is_empty() {
            self.after(delay, Ev::Arrive { to, txs });
        }
    }

    fn commit(&mut self, host: usize, life: u64, token: Token, tx: Tx, ack: AckLevel) {
        let (now, it) = (self.now, &mut self.hosts[host]);
        if it.life != life {
            return;
        }
        let (version, rows) = (tx.version, tx.rows.clone());
        it.commit(now, tx);
        if Host::needs_others(ack) {
            it.waiting.push(Waiting { token, version, deadline: now + 2 * SECOND, rows });
        } else {
            it.answer(now, token, rows);
        }
        self.drain(host);
    }

    /// Does what the queues of a host want done.
    fn drain(&mut self, host: usize) {
        while let Some(effect) = self.hosts[host].out.pop() {
            let life = self.hosts[host].life;
            match effect {
                Effect::Own { token, home, ops, ack, .. } => {
                    match self.hosts[host].accept(self.now, &home, &ops) {
                        Ok(tx) => {
                            let disk = 500 + self.draw(6 * MS);
                            let it = &mut self.hosts[host];
                            it.commit_at = (self.now + disk).max(it.commit_at + 1);
                            let wait = it.commit_at - self.now;
                            self.after(wait, Ev::Commit { host, life, token, tx, ack });
                        }
                        Err(error) => {
                            let event = Event::Owned { token, result: Err(error) };
                            self.after(0, Ev::Local { host, life, event });
                        }
                    }
                }
                Effect::Fetch { token, rows } => {
                    let store = &self.hosts[host].store;
                    let rows = rows.iter().map(|id| store.get(id).cloned()).collect();
                    let event = Event::Fetched { token, rows };
                    let wait = self.draw(2 * MS);
                    self.after(wait, Ev::Local { host, life, event });
                }
                Effect::Scan { table, after, rows_max } => {
                    let rows = self.hosts[host].scan(table, after, rows_max);
                    let end = rows.len() < rows_max;
                    let event = Event::Scanned { rows, end };
                    self.after(MS, Ev::Local { host, life, event });
                }
                Effect::Answer { request, result } => {
                    if let Some((asked_by, asked)) = self.asked.remove(&(host, request))
                        && asked_by == life
                    {
                        self.answered(host, asked, result.ok());
                    }
                }
                Effect::Alarm(text) => panic!("{text}"),
                Effect::Drop(_) | Effect::Publish(_) | Effect::Advertise(_) => {}
            }
        }
    }

    fn ask(&mut self, host: usize, asked: Asked, ask: Ask) {
        self.requests += 1;
        let request = RequestId(self.requests);
        let life = self.hosts[host].life;
        self.asked.insert((host, request), (life, asked));
        self.hosts[host].event(self.now, Event::Request { request, ask });
        self.drain(host);
    }

    fn is_alone(&self, host: usize) -> bool {
        let up = |other: usize| other != host && self.hosts[other].up && self.linked(host, other);
        self.options.regions > 1 && !(0..self.options.regions).any(up)
    }

    /// The region leases: renewed where the holder is in touch, taken over where they ran out, given
    /// back to their regions. A perfect authority, in true time; with two regions a witness stands by
    /// the one that is up.
    fn renew(&mut self) {
        self.after(SECOND, Ev::Renew);
        for home in 0..self.options.regions {
            let holder = self.holders[home];
            let two = self.options.regions == 2;
            let in_touch = |world: &Self, host: usize| {
                world.hosts[host].up
                    && world.hosts[host].frozen_until <= world.now
                    && (!world.is_alone(host)
                        || (two && host == 0)
                        || (two && !world.hosts[1 - host].up))
            };
            let own = in_touch(self, home) && !self.is_alone(home);
            let gives_back =
                holder.host != home && own && self.now > 30 * SECOND && self.draw(8) == 0;
            if in_touch(self, holder.host) && !gives_back && self.now < holder.until.max(LEASE) {
                self.prolong(home);
            } else if self.now >= holder.until {
                let order =
                    [home, (home + 1) % self.options.regions, (home + 2) % self.options.regions];
                if let Some(host) = order.into_iter().find(|host| in_touch(self, *host)) {
                    let epoch = holder.epoch + 1;
                    self.holders[home] =
                        Holder { host, epoch, until: 0, open: false, majority: false };
                    self.prolong(home);
                }
            }
        }
    }

    fn prolong(&mut self, home: usize) {
        let Holder { host, epoch, open, .. } = self.holders[home];
        self.holders[home].until = self.now + LEASE;
        if !open {
            let reach: Vec<usize> = (0..self.options.regions)
                .filter(|it| *it == host || (self.hosts[*it].up && self.linked(*it, host)))
                .collect();
            self.holders[home].majority = reach.len() * 2 > self.options.regions;
            let applied = self.hosts[host].applied();
            let has = reach.iter().all(|it| {
                self.hosts[*it].applied().iter().zip(&applied).all(|(their, ours)| their <= ours)
            });
            if !has {
                return;
            }
            self.holders[home].open = true;
        }
        let majority = self.holders[home].majority;
        let it = &self.hosts[host];
        let shrunk = DriftBound::default().shrink(Duration::from_micros(LEASE));
        let until = it.clock.at(self.now).mono + shrunk;
        let tenure = Tenure { epoch: Epoch(epoch), until, majority, homes: None };
        self.hosts[host].grant(self.now, &region(home), Some(tenure));
        self.drain(host);
    }

    fn client(&mut self) {
        if self.now < LOAD {
            let pause = 30 * MS + self.draw(200 * MS);
            self.after(pause, Ev::Client);
        }
        let home = self.pick(self.options.regions);
        let fifo = self.draw(4) == 0;
        let holder = self.holders[home].host;
        let host = if fifo || self.draw(4) > 0 { holder } else { home };
        if !self.hosts[host].up || self.hosts[host].frozen_until > self.now {
            return;
        }
        // A key that is taken in on both sides of a cut is two jobs until they meet: see ADR 0008.
        let owned = self.hosts[host].lease(self.now, &region(home)).is_some();
        let keyed = self.draw(4) == 0 && owned;
        let mut keys = Vec::new();
        let count = if keyed || fifo { 1 } else { 1 + self.draw(3) };
        let group = fifo.then(|| format!("{home}-{}", self.draw(3)));
        let mut jobs = Vec::new();
        for _ in 0..count {
            self.jobs += 1;
            let mut id = [0; 16];
            id[..8].copy_from_slice(&self.jobs.to_be_bytes());
            let mut job = NewJob::new(JobId(id), Bytes::from_static(b"body"), Vec::new());
            job.group.clone_from(&group);
            if !fifo {
                job.priority = u8::try_from(self.draw(3)).unwrap();
            }
            if keyed && !fifo {
                job.key = Some(format!("key-{home}-{}", self.draw(1 + self.jobs / 2)));
            }
            keys.push(job.key.clone());
            jobs.push(job);
        }
        let queue = name(if fifo { "fifo" } else { "plain" });
        let enqueue = Enqueue { queue, home: region(home), allowed: Vec::new(), jobs };
        self.ask(host, Asked::Enqueue { keys, group }, Ask::Enqueue(enqueue));
    }

    fn work(&mut self, host: usize, worker: usize) {
        // A worker whose host dies asks again when it is back.
        if !self.hosts[host].up {
            return;
        }
        let fifo = worker == 0;
        let until = self.hosts[host].clock.at(self.now).mono + Duration::from_secs(1);
        let visibility = match self.draw(6) {
            0 => Some(Duration::from_secs(3)),
            1 => Some(Duration::from_secs(45)),
            _ => None,
        };
        let receive = Receive {
            queue: name(if fifo { "fifo" } else { "plain" }),
            jobs_max: 1 + self.pick(4),
            visibility,
            until,
            worker: format!("{host}/{worker}").into(),
        };
        self.ask(host, Asked::Receive { host, worker }, Ask::Receive(receive));
    }

    fn answered(&mut self, host: usize, asked: Asked, answer: Option<Answer>) {
        match (asked, answer) {
            (Asked::Enqueue { keys, group }, Some(Answer::Enqueued(results))) => {
                for (key, result) in keys.iter().zip(results) {
                    if let Ok(Enqueued::Created { id, .. } | Enqueued::Duplicate { id, .. }) =
                        result
                    {
                        self.check.accepted(id, key.as_deref(), group.as_deref());
                    }
                }
            }
            (Asked::Receive { host, worker }, answer) => {
                self.after(20 * MS, Ev::Work { host, worker });
                let Some(Answer::Received(leased)) = answer else { return };
                for it in leased {
                    let until = self.hosts[host].clock.when(it.ends);
                    self.check.granted(
                        self.now,
                        until,
                        it.receipt.clone(),
                        (it.job.order, it.job.enqueued_at),
                    );
                    self.plan(host, it.receipt, until);
                }
            }
            (Asked::Complete(receipt), Some(Answer::Completed(results)))
                if results.iter().all(Result::is_ok) =>
            {
                self.check.completed(&receipt, true);
            }
            (Asked::Extend(receipt, ends), Some(Answer::Settled)) => {
                let until = self.hosts[host].clock.when(ends);
                self.check.extended(&receipt, until);
            }
            _ => {}
        }
    }

    /// What a worker does with a job.
    fn plan(&mut self, host: usize, receipt: Receipt, until: u64) {
        let left = until.saturating_sub(self.now);
        let calm = self.now > LOAD;
        let (wait, action) = match self.draw(if calm { 8 } else { 16 }) {
            0..=7 => (self.draw(2 * SECOND), Action::Complete),
            8 => (self.draw(left), Action::Complete),
            9 => (left + self.draw(5 * SECOND), Action::Complete),
            10 | 11 => (self.draw(left), Action::Fail),
            12 => (self.draw(left), Action::Release),
            13 | 14 => (self.draw(left), Action::Extend(3 + self.draw(40))),
            _ => return,
        };
        self.after(wait, Ev::Settle { host, receipt, action });
    }

    fn settle(&mut self, host: usize, receipt: Receipt, action: &Action) {
        if !self.hosts[host].up {
            return;
        }
        match action {
            Action::Complete => {
                self.check.let_go(self.now, &receipt);
                let receipts = vec![receipt.clone()];
                self.ask(host, Asked::Complete(receipt), Ask::Complete { receipts });
            }
            Action::Fail => {
                self.check.let_go(self.now, &receipt);
                let why = "it failed".to_owned();
                let retry = Retry::After(Duration::from_millis(500));
                self.ask(host, Asked::Other, Ask::Fail { receipt, why, retry });
            }
            Action::Release => {
                self.check.let_go(self.now, &receipt);
                self.ask(host, Asked::Other, Ask::Release { receipt });
            }
            Action::Extend(seconds) => {
                let visibility = Duration::from_secs(*seconds);
                let ends = self.hosts[host].clock.at(self.now).mono + visibility;
                // Its time may become shorter too.
                let until = self.hosts[host].clock.when(ends);
                self.check.shortened(until, &receipt);
                let asked = Asked::Extend(receipt.clone(), ends);
                self.ask(host, asked, Ask::Extend { receipt: receipt.clone(), visibility });
                let wait = self.draw(seconds * SECOND);
                self.after(wait, Ev::Settle { host, receipt, action: Action::Complete });
            }
        }
    }

    fn fault(&mut self) {
        if self.now > LOAD {
            return;
        }
        let pause = 4 * SECOND + self.draw(12 * SECOND);
        self.after(pause, Ev::Fault);
        let host = self.pick(self.options.regions);
        match self.draw(4) {
            0 => {
                if self.hosts[host].up {
                    self.hosts[host].crash();
                    let down = 500 * MS + self.draw(25 * SECOND);
                    self.after(down, Ev::Start(host));
                }
            }
            1 => {
                for other in (0..self.options.regions).filter(|other| *other != host) {
                    self.cut_link(host, other, 25);
                }
            }
            2 => {
                let other = (host + 1) % self.options.regions;
                self.cut_link(host, other, 15);
            }
            _ => self.hosts[host].frozen_until = self.now + self.draw(12 * SECOND),
        }
    }

    fn cut_link(&mut self, a: usize, b: usize, seconds: u64) {
        let link = (a.min(b), a.max(b));
        if self.cut.insert(link, self.now).is_none() {
            let pause = SECOND + self.draw(seconds * SECOND);
            self.after(pause, Ev::Mend(link.0, link.1));
        }
    }
}
