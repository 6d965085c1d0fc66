//! Time, and the queue of what will happen.
//!
//! Every event happens at a microsecond of the run; events of the same microsecond happen in the
//! order in which they were planned, so a run is a function of its seed.

use std::{sync::Arc, time::Duration};

use rhumb_node::{Effect, Event, oversee::OverseerEvent, reads};
use rhumb_ports::store::{Batch, Durability};
use rhumb_types::{Ratio, RegionId, record::OwnedId};

use crate::{
    branch::Branches,
    check::{Carried, Checker},
    group::Group,
    history::History,
    host::{Host, Process},
    network::{Lane, Network, Packet},
    random::Random,
    time::micros,
    trace::Trace,
};

mod agenda;
mod agree;
mod homes;
mod links;
mod machines;
pub mod objects;
mod openings;
mod oversight;
mod owned;
mod queues;
mod spills;
mod steady;
mod versions;
mod watch;

use agenda::Agenda;
use agree::Deed;
use openings::Openings;
pub use queues::Beside;
use spills::Spills;

/// The time of a local read, in microseconds.
const READ_MICROS: u64 = 50;
/// How often links are looked at, in microseconds.
const LINK_CHECK_MICROS: u64 = 20_000;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum What {
    /// An event for a node.
    Node(Event),
    /// A commit reaches the disk.
    Commit { batch: u64, writes: Batch, durability: Durability },
    /// A sync reaches the disk.
    Sync,
    /// A message arrives over a connection.
    Arrival { from: usize, connection: u64, packet: Packet },
    /// Time passes for a node.
    Tick,
    /// Time passes for an overseer.
    Oversee,
    /// An event for an overseer.
    Overseer(OverseerEvent),
    /// Time passes for the queues.
    QueueTick,
    /// An event for the queues.
    Queue(rhumb_queue::Event),
    /// The queues read rows.
    QueueFetch { token: rhumb_queue::Token, rows: Vec<OwnedId> },
    /// Something happens to the objects.
    Object(objects::Happening),
    /// The group does something.
    Group(Deed),
    /// A host goes on with what it was given while it was frozen or busy.
    Resume,
    /// Links are looked at.
    Links,
    /// Whoever drives the run wants to be called.
    Wake(u64),
}

#[derive(Debug)]
pub(crate) struct Planned {
    at: u64,
    order: u64,
    host: usize,
    incarnation: u64,
    what: What,
}

/// What the driver of a run is called for.
#[derive(Debug)]
pub enum Call {
    /// A wake that it planned.
    Wake(u64),
    /// A node answered, delivered or raised something.
    Effect {
        /// Which host.
        host: usize,
        /// What.
        effect: Effect,
    },
    /// What an overseer routes or acts by has changed.
    Overseen {
        /// Which host.
        host: usize,
    },
    /// The queues of a host answer.
    Queue {
        /// Which host.
        host: usize,
        /// Which request.
        request: rhumb_queue::RequestId,
        /// With what.
        result: Result<rhumb_queue::Answer, rhumb_queue::Refused>,
    },
    /// The objects of a host answer.
    Object {
        /// Which host.
        host: usize,
        /// Which request.
        request: u64,
        /// With what.
        answer: Box<Result<objects::Done, objects::Failure>>,
    },
    /// An overseer tells a person something.
    Alarm {
        /// Which host.
        host: usize,
        /// What.
        text: String,
    },
}

/// The whole of a run.
#[derive(Debug)]
pub struct World {
    now: u64,
    order: u64,
    queue: Agenda,
    /// The machines.
    pub hosts: Vec<Host>,
    /// The links between them.
    pub network: Network,
    /// What is agreed.
    pub group: Group,
    openings: Openings,
    /// The queues that there are.
    definitions: Arc<rhumb_queue::Definitions>,
    /// The buckets that there are.
    buckets: Arc<objects::Buckets>,
    /// The times of objects.
    pace: objects::Pace,
    /// Blobs that were damaged on some disk.
    pub(crate) rotten: std::collections::BTreeSet<rhumb_types::record::BlobHash>,
    /// Jobs that have ended and that hosts have forgotten.
    pub(crate) forgotten: std::collections::BTreeSet<(usize, OwnedId)>,
    /// The host that is of an older release.
    older: Option<usize>,
    /// The run's randomness.
    pub random: Random,
    /// What watches every step.
    pub checker: Checker,
    /// What is rare, counted.
    pub branches: Branches,
    /// The last events in words, if they are wanted.
    pub history: History,
    /// Since when nothing is wrong, in microseconds of the run.
    mended_at: Option<u64>,
    calls: std::collections::VecDeque<Call>,
    events: u64,
    spills: Spills,
    trace: Trace,
}

impl World {
    /// Machines that are down, with empty disks.
    #[must_use]
    pub fn new(hosts: Vec<Host>, random: Random) -> Self {
        let carried = Carried::new(hosts.iter().map(|host| &host.config));
        let mut world = Self {
            now: 0,
            order: 0,
            queue: Agenda::default(),
            network: Network::new(hosts.len()),
            group: Group::default(),
            openings: Openings::default(),
            definitions: Arc::default(),
            buckets: Arc::default(),
            pace: objects::Pace::QUICK,
            rotten: std::collections::BTreeSet::new(),
            forgotten: std::collections::BTreeSet::new(),
            older: None,
            hosts,
            random,
            checker: Checker::new(carried),
            branches: Branches::default(),
            history: History::default(),
            mended_at: None,
            calls: std::collections::VecDeque::new(),
            events: 0,
            trace: Trace::new(),
            spills: Spills::default(),
        };
        world.plan(LINK_CHECK_MICROS, 0, What::Links);
        world
    }

    /// The time of the run, in microseconds.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// How many events nodes have handled.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Notes something in the history of the run.
    pub fn note(&mut self, host: usize, what: std::fmt::Arguments<'_>) {
        self.history.note(self.now, Some(host), what);
    }

    /// A round has ended and all agree: forgets what nothing later is compared with.
    pub(crate) fn settle(&mut self) {
        self.checker.settle();
        self.settle_openings();
        self.forgotten.clear();
        self.drop_owned();
        let applied = self.hosts.iter().map(|host| host.seat.applied).min();
        self.group.settle(applied.unwrap_or(0));
    }

    fn plan(&mut self, after: u64, host: usize, what: What) {
        let incarnation = self.hosts.get(host).map_or(0, |host| host.incarnation);
        self.order += 1;
        let planned = Planned { at: self.now + after, order: self.order, host, incarnation, what };
        self.queue.push(planned);
    }

    /// Calls the driver after some time.
    pub fn wake(&mut self, after: Duration, token: u64) {
        self.plan(micros(after), 0, What::Wake(token));
    }

    /// The host of a region.
    #[must_use]
    pub fn host_of(&self, region: &RegionId) -> Option<usize> {
        self.hosts.iter().position(|host| host.config.region == *region)
    }

    /// Hands an event to a node, as if a client had.
    pub fn submit(&mut self, host: usize, event: Event) {
        self.plan(1, host, What::Node(event));
    }

    /// Tells a node how full it is.
    pub fn utilised(&mut self, host: usize, utilisation: Ratio) {
        self.plan(1, host, What::Overseer(OverseerEvent::Utilised(utilisation)));
    }

    /// Runs until the driver is called, or until a time.
    pub fn run_until(&mut self, end: u64) -> Option<Call> {
        loop {
            if let Some(call) = self.calls.pop_front() {
                return Some(call);
            }
            if self.queue.next_at().is_none_or(|at| at > end) {
                self.now = end;
                return None;
            }
            let planned = self.queue.pop()?;
            self.now = planned.at;
            self.happen(planned);
        }
    }

    fn happen(&mut self, planned: Planned) {
        let Planned { at, host, incarnation, what, .. } = planned;
        match what {
            What::Links => {
                self.look_at_links();
                self.look_at_leader();
                return self.plan(LINK_CHECK_MICROS, 0, What::Links);
            }
            What::Wake(token) => return self.calls.push_back(Call::Wake(token)),
            _ => {}
        }
        let Some(machine) = self.hosts.get_mut(host) else { return };
        if machine.incarnation != incarnation || machine.process.is_none() {
            return;
        }
        if matches!(what, What::Resume) {
            return self.resume(host);
        }
        if machine.is_held(at) || !machine.inbox.is_empty() {
            // A frozen process does nothing, and a busy one one thing at a time; what comes
            // meanwhile waits in its order.
            machine.inbox.push_back(what);
            if machine.inbox.len() == 1 {
                let after = machine.held_until().saturating_sub(at);
                self.plan(after, host, What::Resume);
            }
            return;
        }
        self.handle(host, what);
    }

    /// A host that was frozen or busy goes on.
    fn resume(&mut self, host: usize) {
        loop {
            let now = self.now;
            let Some(machine) = self.hosts.get_mut(host) else { return };
            if machine.inbox.is_empty() {
                return;
            }
            if machine.is_held(now) {
                let after = machine.held_until() - now;
                return self.plan(after, host, What::Resume);
            }
            if let Some(what) = machine.inbox.pop_front() {
                self.handle(host, what);
            }
        }
    }

    fn handle(&mut self, host: usize, what: What) {
        let at = self.now;
        self.trace.mix(at ^ ((host as u64) << 56));
        self.trace.mix_kind(&what);
        self.history.note(at, Some(host), &what);
        if let Some(machine) = self.hosts.get_mut(host) {
            machine.busy_until = at + machine.handling_micros;
            let stalled = machine.disk_stalled_until;
            if stalled > at && matches!(what, What::Commit { .. } | What::Sync) {
                return self.plan(stalled - at, host, what);
            }
        }
        match what {
            What::Node(event) => self.event(host, event),
            What::Tick => {
                self.event(host, Event::Tick);
                self.plan(Event::TICK_MILLIS * 1_000, host, What::Tick);
            }
            What::Commit { batch, writes, durability } => {
                let result = self.commit(host, &writes, durability);
                if result.is_ok() {
                    self.queue_rows(host, &writes);
                    self.object_rows(host, &writes);
                }
                self.event(host, Event::Committed { batch, result });
            }
            What::Sync => {
                let result = self.sync(host);
                self.event(host, Event::Synced { result });
            }
            What::Arrival { from, connection, packet } => {
                self.arrival(host, from, connection, packet);
            }
            What::Oversee => self.overseer_tick(host),
            What::Overseer(event) => self.oversee(host, event),
            What::QueueTick => self.queues_tick(host),
            What::Queue(event) => self.queue_event(host, event),
            What::QueueFetch { token, rows } => self.queue_fetch(host, token, &rows),
            What::Object(happening) => self.object_event(host, happening),
            What::Group(deed) => self.do_deed(host, deed),
            What::Resume | What::Links | What::Wake(_) => {}
        }
    }

    fn arrival(&mut self, host: usize, from: usize, connection: u64, packet: Packet) {
        let link = self.network.link(from, host);
        if !link.up || link.connection != connection {
            return;
        }
        if packet.lane() == Lane::Heartbeat {
            let now = self.now;
            self.network.direction(from, host).note_heard(now);
        }
        match packet {
            Packet::Peer(message) => {
                let message = self.as_found_by(host, message);
                let from = self.region(from);
                self.event(host, Event::Peer { from, message });
            }
            Packet::Group(message) => self.group_message(host, from, message),
            Packet::Object(message) => self.object_message(host, from, message),
            Packet::Advert(advert) => {
                self.queue_event(host, rhumb_queue::Event::Advertised(advert));
            }
        }
    }

    fn region(&self, host: usize) -> RegionId {
        match self.hosts.get(host) {
            Some(host) => host.config.region.clone(),
            None => unreachable!("hosts are numbered"),
        }
    }

    /// Gives an event to a node, lets it commit, and carries out what it wants.
    fn event(&mut self, host: usize, event: Event) {
        self.deliver(host, event);
        self.deliver(host, Event::Flush);
    }

    fn deliver(&mut self, host: usize, event: Event) {
        self.events += 1;
        self.show_leases(host);
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let clock = machine.clock(now);
        let Some(process) = &mut machine.process else { return };
        self.trace.mix_kind(&event);
        process.node.on_event(clock, event, &mut process.effects);
        while let Some(effect) = self.next_effect(host) {
            self.carry_out(host, effect);
        }
    }

    fn next_effect(&mut self, host: usize) -> Option<Effect> {
        self.process(host)?.effects.pop()
    }

    fn process(&mut self, host: usize) -> Option<&mut Process> {
        self.hosts.get_mut(host)?.process.as_mut()
    }

    fn carry_out(&mut self, host: usize, effect: Effect) {
        self.watch_effect(host, &effect);
        self.trace.mix_kind(&effect);
        match effect {
            Effect::Commit { batch, writes, durability } => {
                self.trace.mix(writes.writes.len() as u64);
                self.check_accepted(host, &writes);
                let after = self.disk_time(host, durability);
                self.plan(after, host, What::Commit { batch, writes, durability });
            }
            Effect::Sync => {
                let after = self.disk_time(host, Durability::Synced);
                self.plan(after, host, What::Sync);
            }
            Effect::Send { to, message } => self.send(host, &to, message),
            Effect::Owned { request, result, written } => {
                if let Ok(rows) = &result {
                    self.check_yes(host, rows);
                }
                if self.queue_owned(host, request, &result) {
                    return;
                }
                let effect = Effect::Owned { request, result, written };
                self.calls.push_back(Call::Effect { host, effect });
            }
            Effect::Reply { request, result, written } if objects::is_theirs(request) => {
                let result = result.map(|replies| (replies, written));
                self.object_replied(host, request, result);
            }
            Effect::Acked { request, regions } if objects::is_theirs(request) => {
                self.object_acked(host, request, regions);
            }
            Effect::Reply { .. } | Effect::Acked { .. } | Effect::Deliver(_) | Effect::Alarm(_) => {
                self.calls.push_back(Call::Effect { host, effect });
            }
            Effect::Status(status) => {
                let status = Arc::new(*status);
                if let Some(process) = self.process(host) {
                    process.status = status.clone();
                }
                self.oversee(host, OverseerEvent::Status(status));
            }
            read => {
                let answer = self.process(host).and_then(|process| {
                    reads::answer(process.store.as_ref(), &mut process.transfers, read)
                });
                if let Some(event) = answer {
                    self.plan(READ_MICROS, host, What::Node(event));
                }
            }
        }
    }
}
