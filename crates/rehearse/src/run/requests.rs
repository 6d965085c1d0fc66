//! The way of a request: to a node, through its line, back, and again to the next.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use rhumb_node::{Event, RequestId, Submit, SubmitError, reads};
use rhumb_sim::random::Random;
use rhumb_state::{
    Op, Reply, RowId,
    op::{Presence, SetExpiry},
};
use rhumb_types::{AckLevel, Ratio, RegionId, record::VersionVector};

use super::{
    Run,
    agenda::{Told, Try, What},
    host_of,
    stage::Stage,
};
use crate::{
    arrivals::Kind,
    books::Ended,
    capacity::Unserved,
    chance::unit,
    clients::{Population, RETRY_AFTER, SeatId},
    paths::Trip,
    rehearsal::{Clients, Rehearsal},
    safety::{KEYS_MAX, Written, is_stale},
    time::{Micros, micros},
};

/// How long a node waits for the acknowledgement of others, as the engine does.
const ACK_WAIT: Duration = Duration::from_secs(5);
/// Key of the requests that all want the same.
const HOT: u64 = 0;

/// A request without an end yet.
#[derive(Debug)]
pub(super) struct Asked {
    seat: SeatId,
    kind: Kind,
    key: u64,
    weight: u64,
    at: Micros,
    /// Which try is under way, from 0.
    nth: u32,
    /// What a read must show.
    needs: Written,
}

/// All clients, and what they have asked.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) populations: Vec<Population>,
    /// How many seats each of them has.
    seats: usize,
    /// Up to which point of 0 to 1 a request is of each population.
    shares: Vec<f64>,
    random: Random,
    requests: u64,
    asked: BTreeMap<u64, Asked>,
    submits: u64,
    submitted: BTreeMap<RequestId, Try>,
}

impl Crowd {
    pub(super) fn new(rehearsal: &Rehearsal, stage: &Stage, random: Random) -> Self {
        let acks = &rehearsal.traffic.acks;
        let population = |home: &usize, ack| {
            let mut nearest = stage.data.clone();
            nearest.sort_by_key(|host| (stage.paths.delay(*home, *host), *host != *home));
            let region = stage.regions.get(*home)?.clone();
            let Clients { finding, seats, .. } = &rehearsal.clients;
            Some(Population::new((*home, region), ack, nearest, finding, *seats))
        };
        // Those of the first level come first, one per region.
        let all = acks.iter().flat_map(|(ack, _)| stage.data.iter().map(move |home| (home, *ack)));
        let near = shares(&rehearsal.traffic.near, &rehearsal.regions().collect::<Vec<_>>());
        let mut shares = Vec::new();
        let mut before = 0.0;
        for (_, share) in acks {
            shares.extend(near.iter().map(|near| before + near * share.get()));
            before += share.get();
        }
        Self {
            populations: all.filter_map(|(home, ack)| population(home, ack)).collect(),
            seats: rehearsal.clients.seats,
            shares,
            random,
            requests: 0,
            asked: BTreeMap::new(),
            submits: 0,
            submitted: BTreeMap::new(),
        }
    }

    /// Groups of clients whose gaps are looked at by themselves: one per seat.
    pub(super) fn groups(&self) -> usize {
        self.populations.len() * self.seats
    }

    fn any_seat(&mut self) -> SeatId {
        let point = unit(&mut self.random);
        let population = self.shares.iter().position(|share| point < *share);
        let population = population.unwrap_or(self.shares.len().saturating_sub(1));
        let seat = self.populations.get(population).map(|it| it.any_seat(&mut self.random));
        SeatId { population, seat: seat.unwrap_or(0) }
    }

    fn any_key(&mut self, rehearsal: &Rehearsal) -> u64 {
        let keys = rehearsal.traffic.keys.clamp(1, KEYS_MAX);
        let hot = unit(&mut self.random) < rehearsal.traffic.hot.get();
        if hot { HOT } else { self.random.below(keys) }
    }

    /// Resolvers start with answers of any age, and everybody is connected.
    pub(super) fn look_everybody_up(&mut self, stage: &Stage) {
        let now = stage.now();
        for population in &mut self.populations {
            for seat in 0..self.seats {
                if population.node(seat, now).is_none() {
                    let routing = stage.routing(population.home);
                    population.look_up(seat, now, routing, |it| host_of(&stage.regions, it));
                }
                if let Some(node) = population.node(seat, now) {
                    population.connect(seat, node, now);
                }
            }
            population.age(&mut self.random, now);
        }
    }

    /// A process has ended: what it had not answered it never will.
    pub(super) fn forget(&mut self, host: usize) {
        self.submitted.retain(|_, it| it.node != host);
    }

    const fn group(&self, seat: SeatId) -> usize {
        seat.population * self.seats + seat.seat
    }

    const fn ended(&self, asked: &Asked) -> Ended {
        let Asked { seat, at, weight, nth, .. } = asked;
        let (group, retried) = (self.group(*seat), *nth > 0);
        Ended { population: seat.population, group, asked: *at, weight: *weight, retried }
    }

    fn is_current(&self, it: Try) -> bool {
        self.asked.get(&it.request).is_some_and(|asked| asked.nth == it.nth)
    }
}

/// The share of requests of each population, added up. What is not given is spread evenly over the
/// regions that are not named; when all are, in proportion to what is given.
pub(super) fn shares(near: &BTreeMap<RegionId, Ratio>, regions: &[&RegionId]) -> Vec<f64> {
    let given = |region| near.get(region).map(|share| share.get());
    let named: f64 = regions.iter().filter_map(|region| given(*region)).sum();
    let unnamed = regions.iter().filter(|region| given(**region).is_none()).count();
    let rest = (1.0 - named).max(0.0) / unnamed.max(1) as f64;
    let all: Vec<f64> = regions.iter().map(|region| given(*region).unwrap_or(rest)).collect();
    let total: f64 = all.iter().sum();
    let mut sum = 0.0;
    let even = 1.0 / all.len().max(1) as f64;
    let part = |share: &f64| if total > 0.0 { share / total } else { even };
    all.iter()
        .map(|share| {
            sum += part(share);
            sum
        })
        .collect()
}

impl Run<'_> {
    pub(super) fn plan_arrival(&mut self, nth: usize, after: Micros) {
        let (shape, end) = (&self.rehearsal.traffic.shape, self.end);
        let Some(arrivals) = self.arrivals.get_mut(nth) else { return };
        if let Some(arrival) = arrivals.next(shape, after, end) {
            self.agenda.plan(arrival.at, What::Arrive { nth, weight: arrival.weight });
        }
    }

    /// A request comes.
    pub(super) fn arrive(&mut self, nth: usize, weight: u64) {
        let now = self.stage.now();
        self.plan_arrival(nth, now);
        let Some(kind) = self.arrivals.get(nth).map(|arrivals| arrivals.kind) else { return };
        let seat = self.crowd.any_seat();
        let key = self.crowd.any_key(self.rehearsal);
        let needs = match kind {
            Kind::Read => self.freshness.needs(key),
            Kind::Write => Written::new(),
        };
        self.books.counts.asked += weight;
        self.weight_max = self.weight_max.max(weight);
        self.crowd.requests += 1;
        let request = self.crowd.requests;
        let asked = Asked { seat, kind, key, weight, at: now, nth: 0, needs };
        self.crowd.asked.insert(request, asked);
        self.send(request);
    }

    pub(super) fn again(&mut self, request: u64, nth: u32) {
        if self.crowd.asked.get(&request).is_some_and(|asked| asked.nth == nth) {
            self.send(request);
        }
    }

    /// Sends the try of a request that is due.
    fn send(&mut self, request: u64) {
        let now = self.stage.now();
        let Some(asked) = self.crowd.asked.get(&request) else { return };
        let (seat, kind, key, weight, nth) =
            (asked.seat, asked.kind, asked.key, asked.weight, asked.nth);
        let patience = micros(self.rehearsal.clients.timeout).max(1);
        let (node, looked) = self.find(seat);
        let population = seat.population;
        let connected = node.and_then(|node| self.connect(seat, node, now + looked));
        let connected = connected.filter(|at| *at < now + patience);
        // It waits as long for the answer as for the connection.
        let deadline = connected.unwrap_or(now).max(now) + patience;
        // A name without an answer leads nowhere, and no node has such a number.
        let to = node.unwrap_or(usize::MAX);
        let it = Try { request, nth, node: to, population, kind, key, weight, deadline };
        let home = self.crowd.populations.get(population).map_or(0, |it| it.home);
        let way = node.zip(connected).and_then(|(node, at)| {
            let paths = &self.stage.paths;
            let trip = Trip { near: home, node, asks: true };
            let way = paths.travel(&self.stage.condition, trip, &mut self.crowd.random)?;
            Some(at.max(now + looked) + way)
        });
        // What arrives after its client has given it up is not looked at any more.
        let way = way.filter(|at| *at < deadline);
        match way {
            Some(at) => self.agenda.plan(at, What::Reach(it)),
            None => self.agenda.plan(deadline, What::TimeOut(it)),
        }
        // What the node does with a write is not known before it is done.
        if way.is_some() && kind == Kind::Write {
            self.agenda.plan(deadline, What::TimeOut(it));
        }
    }

    /// When a seat can send to a node over its connection, which it makes if there is none; `None` when
    /// nobody answers.
    fn connect(&mut self, seat: SeatId, node: usize, now: Micros) -> Option<Micros> {
        let population = self.crowd.populations.get_mut(seat.population)?;
        if let Some(from) = population.connection(seat.seat, node) {
            return Some(from);
        }
        // Who has no process there, and a machine that says so, is told with the first packet.
        if self.stage.refuses(node) {
            return Some(now);
        }
        // A frozen one is connected all the same: its machine does that.
        self.stage.process(node)?;
        let (paths, condition) = (&self.stage.paths, &self.stage.condition);
        let takes = paths.connect(condition, population.home, node, &mut self.crowd.random)?;
        population.connect(seat.seat, node, now + takes);
        Some(now + takes)
    }

    /// The node that a seat asks, and how long it takes to find it.
    pub(super) fn find(&mut self, seat: SeatId) -> (Option<usize>, Micros) {
        let now = self.stage.now();
        let Some(population) = self.crowd.populations.get_mut(seat.population) else {
            return (None, 0);
        };
        if let Some(node) = population.node(seat.seat, now) {
            return (Some(node), 0);
        }
        let home = population.home;
        let answers = |host: &&usize| {
            let condition = &self.stage.condition;
            let open = !condition.is_cut_for_clients(home, **host, true)
                && !condition.is_cut_for_clients(home, **host, false);
            open && self.stage.frozen_until(**host).is_none()
                && self.stage.routing(**host).is_some()
        };
        let Some(server) = population.nearest.iter().find(answers).copied() else {
            return (None, 0);
        };
        let takes = self.stage.paths.delay(home, server) + self.stage.paths.delay(server, home);
        let takes = takes + micros(crate::paths::CLIENT_ROUND_TRIP);
        let routing = self.stage.routing(server);
        let regions = &self.stage.regions;
        (population.look_up(seat.seat, now, routing, |it| host_of(regions, it)), takes)
    }

    /// Whether a try cannot be served now: its node does not run, or is frozen. It is served when
    /// that goes on, if its client still waits.
    fn waits_for_node(&mut self, it: Try, then: fn(Try) -> What) -> bool {
        let frozen = self.stage.frozen_until(it.node);
        if self.stage.process(it.node).is_none() {
            if self.stage.refuses(it.node) {
                self.tell(it, Told::Refused);
            } else {
                self.give_up(it);
            }
            return true;
        }
        match frozen {
            Some(until) if until < it.deadline => self.agenda.plan(until, then(it)),
            Some(_) => self.give_up(it),
            None => return false,
        }
        true
    }

    /// A try arrives at its node.
    pub(super) fn reach(&mut self, it: Try) {
        let now = self.stage.now();
        if self.waits_for_node(it, What::Reach) {
            return;
        }
        let Some(line) = self.stage.lines.get_mut(it.node) else { return };
        match line.join(now, it.weight as f64, it.deadline.saturating_sub(now)) {
            Ok(wait) => self.agenda.plan(now + wait, What::Serve(it)),
            Err(Unserved::Late) => self.give_up(it),
            Err(Unserved::Full) => {
                self.course.refused(it.node, it.weight);
                self.tell(it, Told::Refused);
            }
        }
    }

    /// It is a try's turn at its node.
    pub(super) fn serve(&mut self, it: Try) {
        if self.waits_for_node(it, What::Serve) {
            return;
        }
        match it.kind {
            Kind::Read => {
                let needs = self.crowd.asked.get(&it.request).map(|asked| &asked.needs);
                let checker = &self.stage.world.checker;
                let stale = needs.is_some_and(|needs| is_stale(checker, it.node, needs));
                self.tell(it, Told::Read { stale });
            }
            Kind::Write => self.submit(it),
        }
    }

    /// How the writes of a try's client are acknowledged.
    fn ack(&self, it: Try) -> AckLevel {
        self.crowd.populations.get(it.population).map_or(AckLevel::Local, |clients| clients.ack)
    }

    fn submit(&mut self, it: Try) {
        let ack = self.ack(it);
        let world = &mut self.stage.world;
        let now = world.now();
        let Some(machine) = world.hosts.get(it.node) else { return };
        let Some(process) = &machine.process else { return };
        let op = Op::Set {
            key: Bytes::from(format!("rehearsal:{}", it.key)),
            value: value(it.request, self.rehearsal.traffic.value_bytes),
            when: Presence::Any,
            get: false,
            expiry: SetExpiry::Clear,
        };
        let mut rows = Vec::new();
        op.rows(&mut |row| rows.push(RowId::from(row)));
        let Ok(reads) = reads::read_rows(process.store.as_ref(), rows.into_iter()) else {
            return self.tell(it, Told::Refused);
        };
        let deadline = machine.clock(now + micros(ACK_WAIT)).mono;
        self.crowd.submits += 1;
        let request = RequestId(self.crowd.submits);
        self.crowd.submitted.insert(request, it);
        let submit =
            Submit { request, ops: vec![op], ack, deadline, reads, atomic: false, guard: None };
        world.submit(it.node, Event::Submit(submit));
    }

    /// A node has answered a write.
    pub(super) fn replied(
        &mut self,
        host: usize,
        request: RequestId,
        result: &Result<Vec<Reply>, SubmitError>,
        written: &VersionVector,
    ) {
        let Some(it) = self.crowd.submitted.remove(&request) else { return };
        let ack = self.ack(it);
        let told = match result {
            Ok(replies) if matches!(replies.as_slice(), [Reply::Error(_)]) => Told::Refused,
            Ok(_) => {
                self.stage.world.checker.acknowledged(host, ack, written);
                self.exposure.acknowledged(host, written, self.stage.now(), it.weight);
                Told::Written(written.iter().collect())
            }
            Err(SubmitError::Unconfirmed { .. }) => Told::Unconfirmed,
            Err(_) => Told::Refused,
        };
        self.tell(it, told);
    }

    /// A node's answer goes back to its client.
    fn tell(&mut self, it: Try, told: Told) {
        let now = self.stage.now();
        let home = self.crowd.populations.get(it.population).map_or(0, |it| it.home);
        let way = Trip { near: home, node: it.node, asks: false };
        let condition = &self.stage.condition;
        match self.stage.paths.travel(condition, way, &mut self.crowd.random) {
            Some(takes) if it.kind == Kind::Write || now + takes < it.deadline => {
                self.agenda.plan(now + takes, What::Answer(it, told));
            }
            _ => self.give_up(it),
        }
    }

    /// No answer will come to a read in time; its client finds that out.
    fn give_up(&mut self, it: Try) {
        if it.kind == Kind::Read {
            self.agenda.plan(it.deadline.max(self.stage.now()), What::TimeOut(it));
        }
    }

    /// A client hears of a try.
    pub(super) fn answer(&mut self, it: Try, told: Told) {
        if !self.crowd.is_current(it) {
            return;
        }
        match told {
            Told::Refused => return self.try_failed(it),
            Told::Read { stale } => self.books.counts.stale += if stale { it.weight } else { 0 },
            Told::Written(written) => self.freshness.acknowledged(it.key, &written),
            Told::Unconfirmed => self.books.counts.unconfirmed += it.weight,
        }
        let Some(asked) = self.crowd.asked.remove(&it.request) else { return };
        let now = self.stage.now();
        let latency = Duration::from_micros(now - asked.at);
        if latency >= self.rehearsal.clients.slow {
            self.books.counts.slow += it.weight;
        }
        let population = self.crowd.populations.get(it.population);
        let nearest = population.and_then(|population| population.nearest.first());
        let spilled = nearest != Some(&it.node);
        self.course.served(it.node, latency, it.weight, spilled);
        if let Some(stretch) = self.books.answered(self.crowd.ended(&asked), now) {
            self.watch.stretch(stretch);
        }
    }

    /// A client gives a try up.
    pub(super) fn time_out(&mut self, it: Try) {
        if !self.crowd.is_current(it) {
            return;
        }
        let seat = self.crowd.asked.get(&it.request).map(|asked| asked.seat);
        if let Some(seat) = seat
            && let Some(population) = self.crowd.populations.get_mut(seat.population)
        {
            population.disconnect(seat.seat, it.node);
        }
        self.try_failed(it);
    }

    fn try_failed(&mut self, it: Try) {
        let now = self.stage.now();
        let Some(asked) = self.crowd.asked.get_mut(&it.request) else { return };
        asked.nth += 1;
        let (seat, at, nth) = (asked.seat, asked.at, asked.nth);
        self.books.try_failed(self.crowd.group(seat), at, now, nth == 1);
        let Some(population) = self.crowd.populations.get_mut(seat.population) else { return };
        population.failed(seat.seat, it.node, now);
        let same = population.node(seat.seat, now) == Some(it.node);
        if nth > self.rehearsal.clients.retries {
            if let Some(asked) = self.crowd.asked.remove(&it.request) {
                self.course.failed(it.weight);
                self.books.failed(self.crowd.ended(&asked));
            }
            return;
        }
        self.books.counts.retried += it.weight;
        let pauses = same && now < it.deadline;
        let after = if pauses { micros(RETRY_AFTER) } else { 0 };
        self.agenda.plan(now + after, What::Again { request: it.request, nth });
    }
}

/// A value of a size; no two requests write the same.
fn value(request: u64, bytes: u32) -> Bytes {
    let mut value = vec![b'.'; usize::try_from(bytes).unwrap_or(usize::MAX).max(8)];
    for (place, byte) in value.iter_mut().zip(request.to_be_bytes()) {
        *place = byte;
    }
    Bytes::from(value)
}
